//! What a handler can know and do about its run.
//!
//! Owns the facts of the delivery, the signals that ask a handler to stop, and the checkpoint that
//! it saves. Talks to nobody: the pool puts signals in and takes the checkpoint out.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use redrive_proto::v1::{Delivery, Failure, FailureClass, Payload, Priority};
use serde::{Serialize, de::DeserializeOwned};
use tokio::{sync::watch, time::Instant};

use crate::{
    clock,
    error::{TaskError, TaskResult},
    report::json_payload,
};

/// Why a handler is asked to stop, or is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StopReason {
    /// Somebody cancelled the task. Stop soon: every end but success becomes CANCELLED.
    Requested,
    /// The soft limit is over. Save what can be saved and return before the hard limit.
    SoftTimeout,
    /// The hard limit is over: the run has been reported as a failure of class TIMEOUT.
    HardTimeout,
    /// The lease is gone: the task may already run elsewhere, and nothing will be reported.
    LeaseLost,
    /// The worker leaves and gave the task back.
    Leaving,
}

impl StopReason {
    /// True where the handler is not merely asked: the run is settled without it.
    pub fn is_final(self) -> bool {
        matches!(self, Self::HardTimeout | Self::LeaseLost | Self::Leaving)
    }
}

/// The signals and limits of one run, as they stand.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Signals {
    pub(crate) stop: Option<StopReason>,
    pub(crate) soft_at: Option<Instant>,
    pub(crate) hard_at: Option<Instant>,
    /// The worker is on its way out; the run may go on.
    pub(crate) draining: bool,
}

#[derive(Debug)]
struct Shared {
    delivery: Delivery,
    saved: Mutex<Option<Payload>>,
}

/// One run of one task, for its handler. Cheap to clone.
#[derive(Clone, Debug)]
pub struct TaskContext {
    shared: Arc<Shared>,
    signals: watch::Receiver<Signals>,
}

impl TaskContext {
    pub(crate) fn new(delivery: Delivery, signals: watch::Receiver<Signals>) -> Self {
        let shared = Shared {
            delivery,
            saved: Mutex::new(None),
        };
        Self {
            shared: Arc::new(shared),
            signals,
        }
    }

    fn delivery(&self) -> &Delivery {
        &self.shared.delivery
    }

    /// The task's id, the same over all runs: a good idempotency key for calls to others.
    pub fn id(&self) -> &str {
        &self.delivery().task_id
    }

    /// The namespace of its queue.
    pub fn namespace(&self) -> &str {
        &self.delivery().namespace
    }

    /// Its queue.
    pub fn queue(&self) -> &str {
        &self.delivery().queue
    }

    /// Its kind.
    pub fn kind(&self) -> &str {
        &self.delivery().kind
    }

    /// What the producer, or the run before, left to work on.
    pub fn payload(&self) -> &Payload {
        static EMPTY: Payload = Payload {
            data: bytes::Bytes::new(),
            content_type: String::new(),
        };
        self.delivery().payload.as_ref().unwrap_or(&EMPTY)
    }

    /// Its priority; NORMAL where none was said.
    pub fn priority(&self) -> Priority {
        match self.delivery().priority() {
            Priority::Unspecified => Priority::Normal,
            said @ (Priority::Lowest
            | Priority::Low
            | Priority::Normal
            | Priority::High
            | Priority::Highest) => said,
        }
    }

    /// The producer's labels.
    pub fn labels(&self) -> &BTreeMap<String, String> {
        &self.delivery().labels
    }

    /// When it was enqueued, by the coordinator's clock.
    pub fn enqueue_time(&self) -> Option<SystemTime> {
        self.delivery()
            .enqueue_time
            .and_then(|time| time.try_into().ok())
    }

    /// How often it was handed out over its life, this time included.
    pub fn run(&self) -> u32 {
        self.delivery().run
    }

    /// Which attempt this is: 1 + failures counted since the last redrive.
    pub fn attempt(&self) -> u32 {
        self.delivery().attempt
    }

    /// The attempt whose failure ends the task. `None`: unlimited.
    pub fn attempts_max(&self) -> Option<u32> {
        Some(self.delivery().attempts_max).filter(|max| *max > 0)
    }

    /// True where a failure now would spend the last attempt.
    pub fn is_final_attempt(&self) -> bool {
        self.delivery().is_final_attempt
    }

    /// How many workers died or were lost while they ran it.
    pub fn crashes(&self) -> u32 {
        self.delivery().crashes
    }

    /// A number that only ever grows for this task. Store it beside what the handler writes, and
    /// refuse writes that come with a lower one.
    pub fn fence(&self) -> u64 {
        self.delivery().fence
    }

    /// The latest failure, where there was one.
    pub fn previous_failure(&self) -> Option<&Failure> {
        self.delivery().previous_failure.as_ref()
    }

    /// What the run before left for this one.
    pub fn checkpoint(&self) -> Option<&Payload> {
        self.delivery().checkpoint.as_ref()
    }

    /// The checkpoint as JSON. `None` where there is none.
    ///
    /// # Errors
    ///
    /// The parser's, as a plain failure, where it is not the JSON that is wanted.
    pub fn checkpoint_json<T: DeserializeOwned>(&self) -> TaskResult<Option<T>> {
        let parse = |payload: &Payload| serde_json::from_slice(&payload.data);
        Ok(self.checkpoint().map(parse).transpose()?)
    }

    /// Keeps this for the next run, however this one ends: it travels with the report, also of a
    /// failure, a panic, a hard timeout or a release. It does not survive a crash of the worker. At
    /// most 262,144 bytes; the latest one wins.
    pub fn save_checkpoint(&self, checkpoint: Payload) {
        *self.saved() = Some(checkpoint);
    }

    /// [`TaskContext::save_checkpoint`] with a value in JSON.
    ///
    /// # Errors
    ///
    /// Where the value has no JSON form.
    pub fn save_checkpoint_json<T: Serialize>(&self, checkpoint: &T) -> TaskResult<()> {
        self.save_checkpoint(json_payload(checkpoint)?);
        Ok(())
    }

    pub(crate) fn take_saved(&self) -> Option<Payload> {
        self.saved().take()
    }

    fn saved(&self) -> std::sync::MutexGuard<'_, Option<Payload>> {
        // A handler that panicked between two statements here left a whole value behind.
        self.shared
            .saved
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// How long the run may go on before it is asked to stop. `None`: no soft limit.
    pub fn time_until_soft_limit(&self) -> Option<Duration> {
        let at = self.signals.borrow().soft_at?;
        Some(at.saturating_duration_since(clock::now()))
    }

    /// How long the run may go on at all. `None`: no hard limit.
    pub fn time_left(&self) -> Option<Duration> {
        let at = self.signals.borrow().hard_at?;
        Some(at.saturating_duration_since(clock::now()))
    }

    /// Why the handler should stop; `None` while it need not. Never blocks: for loops and for
    /// blocking handlers.
    pub fn stop_reason(&self) -> Option<StopReason> {
        self.signals.borrow().stop
    }

    /// Waits until the handler is asked to stop. Returns at once where it was asked before.
    pub async fn stopped(&self) -> StopReason {
        let mut signals = self.signals.clone();
        // Without a sender the run is over and nobody will be asked any more.
        let Ok(signals) = signals.wait_for(|signals| signals.stop.is_some()).await else {
            return StopReason::LeaseLost;
        };
        signals.stop.unwrap_or(StopReason::LeaseLost)
    }

    /// Lets a loop give up: `task.check()?` does nothing until the handler is asked to stop.
    ///
    /// # Errors
    ///
    /// After a soft timeout a failure of class TIMEOUT; after a cancel or when the worker leaves a
    /// release, which the coordinator turns into CANCELLED where the task was cancelled.
    pub fn check(&self) -> TaskResult<()> {
        match self.stop_reason() {
            None => Ok(()),
            Some(StopReason::SoftTimeout) => Err(TaskError::new(
                FailureClass::Timeout,
                "the handler stopped at its soft limit",
            )
            .with_type("rust:redrive_worker::SoftTimeout")),
            Some(
                StopReason::Requested
                | StopReason::HardTimeout
                | StopReason::LeaseLost
                | StopReason::Leaving,
            ) => Err(TaskError::release("the handler stopped when asked to")),
        }
    }

    /// True while the worker is on its way out and this run may still finish: a long run may want
    /// to save a checkpoint and release itself.
    pub fn is_draining(&self) -> bool {
        self.signals.borrow().draining
    }

    /// Waits until the worker is on its way out.
    pub async fn draining(&self) {
        let mut signals = self.signals.clone();
        if signals.wait_for(|signals| signals.draining).await.is_err() {
            tracing::trace!("the run is over");
        }
    }
}
