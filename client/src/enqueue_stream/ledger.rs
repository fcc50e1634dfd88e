//! What is unacknowledged on an enqueue stream, and how far the present call has carried it.
//!
//! Owns the tasks until they are acknowledged, and their answers. Never talks to anybody.
//! Invariants: every answer is given exactly once; a task's place is free again only when all tasks
//! before it are acknowledged too; a call that was given up takes nothing more; what a coordinator
//! refuses because it goes away stays unacknowledged.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use redrive_proto::v1;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};
use tonic::Code;

use super::EnqueueTotals;
use crate::{
    enqueue::{Accepted, framed_len},
    error::{CallFailure, Error},
    limits::{BATCH_BYTES_MAX, BATCH_TASKS_MAX, UNACKNOWLEDGED_BYTES_MAX, UNACKNOWLEDGED_MAX},
    names::Lent,
};

/// Who is told what became of a task.
type Answer = oneshot::Sender<Result<Accepted, Error>>;

/// The room that one task takes.
#[derive(Debug)]
pub(super) struct Permits {
    item: OwnedSemaphorePermit,
    bytes: OwnedSemaphorePermit,
}

/// What the stream's user and its driver share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) namespace: String,
    pub(super) producer_id: String,
    ledger: Mutex<Ledger>,
    items: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    /// Told when there is more to send, or nothing more will come.
    pub(super) work: Notify,
}

/// What is unacknowledged, by sequence.
#[derive(Debug)]
pub(super) struct Ledger {
    lent: Lent,
    waiting: BTreeMap<u64, Waiting>,
    /// Places of acknowledged tasks behind one that is not.
    held: BTreeMap<u64, OwnedSemaphorePermit>,
    /// The call that carries tasks now; one that was given up has a lower number.
    call: u64,
    /// The first sequence that this call has not carried.
    next: u64,
    finished: bool,
    totals: EnqueueTotals,
    /// Set once, when the stream has ended: what later sends are told.
    closed: Option<Error>,
}

#[derive(Debug)]
struct Waiting {
    task: v1::TaskSpec,
    answer: Answer,
    /// False until it is part of a message: until then it certainly was not accepted.
    handed_over: bool,
    permits: Permits,
}

/// What a call may carry next.
#[derive(Debug)]
pub(super) enum Load {
    /// These.
    Items(Vec<v1::EnqueueItem>),
    /// Nothing now.
    Nothing,
    /// Nothing more, ever: all is carried and nothing will come, or the call was given up.
    End,
}

impl Ledger {
    /// Begins a call, which carries everything that is unacknowledged, and answers its number.
    pub(super) fn begin_call(&mut self) -> u64 {
        self.call += 1;
        self.next = 0;
        self.call
    }

    /// True where something is unacknowledged.
    pub(super) fn owes(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// How much is unacknowledged.
    pub(super) fn owed(&self) -> usize {
        self.waiting.len()
    }

    /// True where all is acknowledged and nothing will come.
    pub(super) fn is_done(&self) -> bool {
        self.finished && self.waiting.is_empty()
    }

    /// A message's worth of what `call` has not carried yet.
    pub(super) fn load(&mut self, call: u64) -> Load {
        if call != self.call || self.closed.is_some() {
            return Load::End;
        }
        let mut items: Vec<v1::EnqueueItem> = Vec::new();
        let mut bytes = 0_usize;
        for (&sequence, waiting) in self.waiting.range_mut(self.next..) {
            bytes += framed_len(&waiting.task);
            let full = items.len() == BATCH_TASKS_MAX || bytes > BATCH_BYTES_MAX;
            if full && !items.is_empty() {
                break;
            }
            waiting.handed_over = true;
            items.push(v1::EnqueueItem {
                sequence,
                task: Some(waiting.task.clone()),
            });
        }
        match items.last() {
            Some(last) => {
                self.next = last.sequence + 1;
                Load::Items(items)
            }
            None if self.finished => Load::End,
            None => Load::Nothing,
        }
    }

    /// Settles a task; where it was refused because the coordinator goes away, nothing is settled
    /// and that refusal is answered.
    pub(super) fn acknowledge(&mut self, ack: v1::EnqueueAck) -> Option<CallFailure> {
        let effect = ack.effect();
        let answer = match ack.result {
            Some(v1::enqueue_ack::Result::TaskId(task_id)) => Ok(Accepted { task_id, effect }),
            Some(v1::enqueue_ack::Result::Refusal(refusal)) => {
                let failure = CallFailure::from(refusal);
                if failure.code == Code::Unavailable {
                    return Some(failure);
                }
                Err(failure.into_error())
            }
            None => Err(Error::Incomplete { missing: "result" }),
        };
        self.settle(ack.sequence, answer);
        None
    }

    fn settle(&mut self, sequence: u64, answer: Result<Accepted, Error>) {
        let Some(waiting) = self.waiting.remove(&sequence) else {
            tracing::warn!(
                sequence,
                "an acknowledgement for no unacknowledged task was ignored"
            );
            return;
        };
        match &answer {
            Ok(accepted) => {
                self.totals.accepted += 1;
                if accepted.effect == v1::EnqueueEffect::Existing {
                    self.totals.existing += 1;
                }
            }
            Err(_) => self.totals.refused += 1,
        }
        // Nobody listens where the ticket was dropped.
        drop(waiting.answer.send(answer));
        let Permits { item, bytes } = waiting.permits;
        drop(bytes);
        self.held.insert(sequence, item);
        let first = self.waiting.keys().next().copied().unwrap_or(u64::MAX);
        while let Some(place) = self.held.first_entry().filter(|place| *place.key() < first) {
            drop(place.remove());
        }
    }

    /// Answers every ticket that is left after the stream ended with `cause`.
    fn abandon(&mut self, cause: &Error) {
        let not_sent = match cause {
            Error::Connect { .. } => cause.clone(),
            Error::Invalid { .. }
            | Error::Refused(_)
            | Error::Unanswered(_)
            | Error::OutcomeUnknown(_)
            | Error::NotSent { .. }
            | Error::Incomplete { .. } => Error::NotSent {
                problem: format!("the enqueue stream has ended ({cause})"),
            },
        };
        let unknown = unknown(cause);
        for waiting in std::mem::take(&mut self.waiting).into_values() {
            let error = if waiting.handed_over {
                &unknown
            } else {
                &not_sent
            };
            drop(waiting.answer.send(Err(error.clone())));
        }
        self.closed = Some(not_sent);
    }

    /// True where something was sent and its acknowledgement never came.
    fn leaves_open(&self) -> bool {
        self.waiting.values().any(|waiting| waiting.handed_over)
    }
}

/// What is told of a task that was sent before the stream ended with `cause`.
fn unknown(cause: &Error) -> Error {
    let failure = match cause {
        Error::Connect { address, problem } => CallFailure::new(
            cause.code(),
            format!("the connection broke and {address} cannot be reached again: {problem}"),
        ),
        Error::Refused(failure) | Error::Unanswered(failure) | Error::OutcomeUnknown(failure) => {
            (**failure).clone()
        }
        Error::Invalid { .. } | Error::NotSent { .. } | Error::Incomplete { .. } => {
            CallFailure::new(cause.code(), cause.to_string())
        }
    };
    Error::OutcomeUnknown(Box::new(failure))
}

impl Shared {
    pub(super) fn new(lent: Lent, namespace: String) -> Self {
        Self {
            namespace,
            producer_id: lent.producer.id.clone(),
            ledger: Mutex::new(Ledger {
                lent,
                waiting: BTreeMap::new(),
                held: BTreeMap::new(),
                call: 0,
                next: 0,
                finished: false,
                totals: EnqueueTotals::default(),
                closed: None,
            }),
            items: Arc::new(Semaphore::new(UNACKNOWLEDGED_MAX)),
            bytes: Arc::new(Semaphore::new(UNACKNOWLEDGED_BYTES_MAX)),
            work: Notify::new(),
        }
    }

    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for room.
    pub(super) async fn admit(&self, bytes: usize) -> Result<Permits, Error> {
        let bytes = u32::try_from(bytes.min(UNACKNOWLEDGED_BYTES_MAX)).unwrap_or(u32::MAX);
        let item = Arc::clone(&self.items).acquire_owned().await;
        let bytes = Arc::clone(&self.bytes).acquire_many_owned(bytes).await;
        match (item, bytes) {
            (Ok(item), Ok(bytes)) => Ok(Permits { item, bytes }),
            (Err(_), _) | (_, Err(_)) => Err(self.why_closed()),
        }
    }

    fn why_closed(&self) -> Error {
        self.ledger()
            .closed
            .clone()
            .unwrap_or_else(|| Error::NotSent {
                problem: "the enqueue stream has ended".into(),
            })
    }

    /// Takes a task over, and answers the sequence that names it.
    pub(super) fn register(
        &self,
        task: v1::TaskSpec,
        answer: Answer,
        permits: Permits,
    ) -> Result<u64, Error> {
        let mut ledger = self.ledger();
        if let Some(error) = &ledger.closed {
            return Err(error.clone());
        }
        let sequence = ledger.lent.producer.next;
        ledger.lent.producer.next += 1;
        let waiting = Waiting {
            task,
            answer,
            handed_over: false,
            permits,
        };
        ledger.waiting.insert(sequence, waiting);
        drop(ledger);
        self.work.notify_waiters();
        Ok(sequence)
    }

    /// Says that nothing more will come.
    pub(super) fn finish(&self) {
        self.ledger().finished = true;
        self.work.notify_waiters();
    }

    /// Ends the present call where nobody drives the stream any more.
    pub(super) fn retire(&self) {
        self.ledger().begin_call();
        self.work.notify_waiters();
    }

    /// Settles everything that is left, and wakes senders who wait for room.
    pub(super) fn close(&self, ended: Result<(), Error>) -> Result<EnqueueTotals, Error> {
        let mut ledger = self.ledger();
        let told = match &ended {
            Err(cause) if ledger.leaves_open() => Err(unknown(cause)),
            Ok(()) | Err(_) => ended.clone(),
        };
        let cause = ended.err().unwrap_or_else(|| Error::NotSent {
            problem: "the enqueue stream has ended".to_owned(),
        });
        ledger.abandon(&cause);
        self.items.close();
        self.bytes.close();
        told.map(|()| ledger.totals)
    }
}
