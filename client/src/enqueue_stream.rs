//! Enqueueing in a pipeline: one stream, many tasks on their way at once.
//!
//! Owns one `EnqueueStream` call and the ledger of what is unacknowledged on it. Batches what is
//! there when the transport asks for more, so that a lone task leaves at once and a flood leaves in
//! full messages. Never resends: after a cut nobody can tell whether an unacknowledged task was
//! accepted. Invariants: every ticket is answered exactly once; at most [`UNACKNOWLEDGED_MAX`]
//! tasks and [`UNACKNOWLEDGED_BYTES_MAX`] bytes are unacknowledged.

use std::{
    collections::{BTreeMap, VecDeque},
    future::Future,
    pin::{Pin, pin},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use futures::stream;
use redrive_proto::v1::{self, task_service_client::TaskServiceClient};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    task::JoinSet,
    time::timeout,
};
use tonic::{Code, transport::Channel};

use crate::{
    call::{Caller, Effect},
    client::{Client, framed_len},
    error::{CallFailure, Error, Verdict},
    limits::{
        ACK_SILENCE_MAX, BATCH_BYTES_MAX, BATCH_TASKS_MAX, UNACKNOWLEDGED_BYTES_MAX,
        UNACKNOWLEDGED_MAX,
    },
    task::NewTask,
};

/// A stream of tasks into the coordinator. Made by [`Client::enqueue_stream`].
///
/// Ends when it is finished, when it is dropped (unacknowledged tickets then say that their outcome
/// is unknown), or when it is cut.
#[derive(Debug)]
pub struct EnqueueStream {
    queue: mpsc::Sender<v1::EnqueueItem>,
    shared: Arc<Shared>,
    driver: JoinSet<Result<EnqueueTotals, Error>>,
}

/// The answer to one task of an [`EnqueueStream`], when it comes: its id, or why it was not
/// accepted. Dropping the ticket changes nothing.
#[derive(Debug)]
#[must_use = "the ticket is where it is told whether the task was accepted"]
pub struct Ticket {
    answer: oneshot::Receiver<Result<String, Error>>,
}

/// What became of the tasks of an [`EnqueueStream`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EnqueueTotals {
    /// How many the coordinator accepted.
    pub accepted: u64,
    /// How many it refused.
    pub refused: u64,
}

impl Client {
    /// Opens a stream for enqueueing many tasks without waiting for each.
    #[must_use]
    pub fn enqueue_stream(&self) -> EnqueueStream {
        let (queue, items) = mpsc::channel(UNACKNOWLEDGED_MAX);
        let shared = Arc::new(Shared::new());
        let outgoing = Outgoing {
            items,
            buffered: VecDeque::new(),
            shared: Arc::clone(&shared),
            namespace: self.namespace.clone(),
        };
        let mut driver = JoinSet::new();
        driver.spawn(drive(
            self.tasks(),
            outgoing,
            Arc::clone(&shared),
            self.caller.clone(),
        ));
        EnqueueStream {
            queue,
            shared,
            driver,
        }
    }
}

impl EnqueueStream {
    /// Sends one task on its way, and returns the ticket for its answer. Waits while
    /// [`UNACKNOWLEDGED_MAX`] tasks or [`UNACKNOWLEDGED_BYTES_MAX`] bytes are unacknowledged.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a task that cannot be one; [`Error::NotSent`] where the stream has
    /// ended. The task was not sent then.
    pub async fn send(&self, task: NewTask) -> Result<Ticket, Error> {
        let spec = task.build()?;
        let permits = self.shared.admit(framed_len(&spec)).await?;
        let (answer, ticket) = oneshot::channel();
        let sequence = self.shared.register(answer, permits)?;
        // The queue has room for all that is unacknowledged. Where it is closed, the driver is
        // about to answer all tickets, this one too.
        if let Err(mpsc::error::TrySendError::Full(_)) = self.queue.try_send(v1::EnqueueItem {
            sequence,
            task: Some(spec),
        }) {
            let problem = "the stream's queue is full".to_owned();
            self.shared
                .ledger()
                .settle(sequence, Err(Error::NotSent { problem }));
        }
        Ok(Ticket { answer: ticket })
    }

    /// Says that nothing more comes, and waits until everything sent is acknowledged.
    ///
    /// # Errors
    /// Where the stream was cut: the tickets say which tasks that concerns.
    pub async fn finish(self) -> Result<EnqueueTotals, Error> {
        let Self {
            queue,
            shared: _,
            mut driver,
        } = self;
        drop(queue);
        match driver.join_next().await {
            Some(Ok(ended)) => ended,
            Some(Err(_)) | None => Err(unanswered("the stream's task ended without a result")),
        }
    }
}

impl Future for Ticket {
    type Output = Result<String, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.answer).poll(context).map(|answer| {
            answer.unwrap_or_else(|_dropped| {
                Err(unanswered(
                    "the stream was dropped before the task was acknowledged",
                ))
            })
        })
    }
}

fn unanswered(message: &str) -> Error {
    Error::OutcomeUnknown(Box::new(CallFailure::new(Code::Cancelled, message)))
}

/// The room that one task takes until it is acknowledged.
#[derive(Debug)]
struct Permits {
    _item: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
}

#[derive(Debug)]
struct Shared {
    ledger: Mutex<Ledger>,
    items: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
}

/// What is unacknowledged, by sequence.
#[derive(Debug, Default)]
struct Ledger {
    sequences: u64,
    waiting: BTreeMap<u64, Waiting>,
    totals: EnqueueTotals,
    /// Set once, when the stream has ended: what later sends are told.
    closed: Option<Error>,
}

#[derive(Debug)]
struct Waiting {
    answer: oneshot::Sender<Result<String, Error>>,
    /// False until it is part of a message: until then it certainly was not accepted.
    handed_over: bool,
    _permits: Permits,
}

impl Ledger {
    fn settle(&mut self, sequence: u64, answer: Result<String, Error>) {
        let Some(waiting) = self.waiting.remove(&sequence) else {
            tracing::warn!(
                sequence,
                "an acknowledgement for no unacknowledged task was ignored"
            );
            return;
        };
        match &answer {
            Ok(_) => self.totals.accepted += 1,
            Err(_) => self.totals.refused += 1,
        }
        // Nobody listens where the ticket was dropped.
        drop(waiting.answer.send(answer));
    }

    fn acknowledge(&mut self, ack: v1::EnqueueAck) {
        let answer = match ack.result {
            Some(v1::enqueue_ack::Result::TaskId(id)) => Ok(id),
            Some(v1::enqueue_ack::Result::Refusal(refusal)) => Err(refusal.into()),
            None => Err(Error::Incomplete { missing: "result" }),
        };
        self.settle(ack.sequence, answer);
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
        let unknown = Error::OutcomeUnknown(Box::new(
            cause
                .failure()
                .cloned()
                .unwrap_or_else(|| CallFailure::new(cause.code(), cause.to_string())),
        ));
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
}

impl Shared {
    fn new() -> Self {
        Self {
            ledger: Mutex::default(),
            items: Arc::new(Semaphore::new(UNACKNOWLEDGED_MAX)),
            bytes: Arc::new(Semaphore::new(UNACKNOWLEDGED_BYTES_MAX)),
        }
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn admit(&self, bytes: usize) -> Result<Permits, Error> {
        let bytes = u32::try_from(bytes.min(UNACKNOWLEDGED_BYTES_MAX)).unwrap_or(u32::MAX);
        let item = Arc::clone(&self.items).acquire_owned().await;
        let bytes = Arc::clone(&self.bytes).acquire_many_owned(bytes).await;
        match (item, bytes) {
            (Ok(item), Ok(bytes)) => Ok(Permits {
                _item: item,
                _bytes: bytes,
            }),
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

    fn register(
        &self,
        answer: oneshot::Sender<Result<String, Error>>,
        permits: Permits,
    ) -> Result<u64, Error> {
        let mut ledger = self.ledger();
        if let Some(error) = &ledger.closed {
            return Err(error.clone());
        }
        ledger.sequences += 1;
        let sequence = ledger.sequences;
        let waiting = Waiting {
            answer,
            handed_over: false,
            _permits: permits,
        };
        ledger.waiting.insert(sequence, waiting);
        Ok(sequence)
    }

    fn hand_over(&self, items: &[v1::EnqueueItem]) {
        let mut ledger = self.ledger();
        for item in items {
            if let Some(waiting) = ledger.waiting.get_mut(&item.sequence) {
                waiting.handed_over = true;
            }
        }
    }

    /// Settles everything that is left, and wakes senders who wait for room.
    fn close(&self, ended: Result<(), Error>) -> Result<EnqueueTotals, Error> {
        let mut ledger = self.ledger();
        let ended = ended.and_then(|()| {
            if ledger.waiting.is_empty() {
                return Ok(());
            }
            let count = ledger.waiting.len();
            Err(unanswered(&format!(
                "the stream ended with {count} tasks unacknowledged"
            )))
        });
        match &ended {
            Ok(()) => {
                let problem = "the enqueue stream has ended".to_owned();
                ledger.abandon(&Error::NotSent { problem });
            }
            Err(cause) => ledger.abandon(cause),
        }
        self.items.close();
        self.bytes.close();
        ended.map(|()| ledger.totals)
    }

    /// Waits for `answer` while the stream is not silent with tasks unacknowledged.
    async fn unless_silent<T>(&self, answer: impl Future<Output = T>) -> Result<T, Error> {
        let mut answer = pin!(answer);
        loop {
            let owed = !self.ledger().waiting.is_empty();
            match timeout(ACK_SILENCE_MAX, &mut answer).await {
                Ok(answer) => return Ok(answer),
                Err(_elapsed) if owed => {
                    return Err(unanswered(&format!(
                        "no acknowledgement came for {ACK_SILENCE_MAX:?}"
                    )));
                }
                Err(_elapsed) => {}
            }
        }
    }
}

/// The messages of the stream, made when the transport asks for one.
struct Outgoing {
    items: mpsc::Receiver<v1::EnqueueItem>,
    buffered: VecDeque<v1::EnqueueItem>,
    shared: Arc<Shared>,
    namespace: String,
}

impl Outgoing {
    async fn next(mut self) -> Option<(v1::EnqueueStreamRequest, Self)> {
        if self.buffered.is_empty() {
            let mut taken = Vec::new();
            self.items.recv_many(&mut taken, BATCH_TASKS_MAX).await;
            self.buffered.extend(taken);
        }
        let mut items: Vec<v1::EnqueueItem> = Vec::new();
        let mut bytes = 0_usize;
        while let Some(item) = self.buffered.pop_front() {
            bytes += item.task.as_ref().map_or(0, framed_len);
            if bytes > BATCH_BYTES_MAX && !items.is_empty() {
                self.buffered.push_front(item);
                break;
            }
            items.push(item);
        }
        if items.is_empty() {
            return None;
        }
        self.shared.hand_over(&items);
        Some((
            v1::EnqueueStreamRequest {
                namespace: self.namespace.clone(),
                items,
                ..Default::default()
            },
            self,
        ))
    }
}

async fn drive(
    stub: TaskServiceClient<Channel>,
    outgoing: Outgoing,
    shared: Arc<Shared>,
    caller: Caller,
) -> Result<EnqueueTotals, Error> {
    let ended = read_acks(stub, outgoing, &shared, &caller).await;
    shared.close(ended)
}

async fn read_acks(
    mut stub: TaskServiceClient<Channel>,
    outgoing: Outgoing,
    shared: &Shared,
    caller: &Caller,
) -> Result<(), Error> {
    let failed = |status| caller.error(Effect::Change, Verdict::of(&status));
    let call = stub.enqueue_stream(stream::unfold(outgoing, Outgoing::next));
    let mut answers = shared
        .unless_silent(call)
        .await?
        .map_err(failed)?
        .into_inner();
    loop {
        match shared
            .unless_silent(answers.message())
            .await?
            .map_err(failed)?
        {
            Some(batch) => {
                let mut ledger = shared.ledger();
                for ack in batch.acks {
                    ledger.acknowledge(ack);
                }
            }
            None => return Ok(()),
        }
    }
}
