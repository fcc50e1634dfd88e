//! What a handler can know and do about its run.
//!
//! Owns the facts of the delivery, the signals that ask a handler to stop, and what it says while it
//! runs. Talks to nobody: the pool puts signals in and takes out what was said.

mod voice;

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use redrive_proto::v1::{
    Cause, Delivery, DeliveryMode, Failure, FailureClass, Payload, Priority, Progress,
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::{sync::watch, time::Instant};

use crate::{
    clock,
    error::{TaskError, TaskResult},
    report::{clip, json_payload},
    session::{Limits, RunId, Said},
};
pub(crate) use voice::Outbox;
use voice::Voice;
pub use voice::{ExtendError, Timeouts};

/// The longest message of a progress, in bytes.
const PROGRESS_BYTES_MAX: usize = 256;

/// Why a handler is asked to stop, or is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StopReason {
    /// Somebody cancelled the task. Stop soon: every end but success becomes CANCELLED. How soon is
    /// in [`TaskContext::cancellation`].
    Requested,
    /// The soft limit is over. Save what can be saved and return before the hard limit.
    SoftTimeout,
    /// The hard limit is over: the run has been reported as a failure of class TIMEOUT.
    HardTimeout,
    /// The lease is gone: the task may already run elsewhere, and nothing will be reported.
    LeaseLost,
    /// The worker leaves and gave the task back.
    Leaving,
    /// The task's deadline is over: it has ended, whatever the handler does.
    Deadline,
    /// The task was cancelled by force, or the grace of its cancel is over: it has ended.
    Revoked,
}

impl StopReason {
    /// True where the handler is not merely asked: the run is settled without it.
    pub fn is_final(self) -> bool {
        match self {
            Self::Requested | Self::SoftTimeout => false,
            Self::HardTimeout
            | Self::LeaseLost
            | Self::Leaving
            | Self::Deadline
            | Self::Revoked => true,
        }
    }
}

/// An order to cancel a task, as its handler sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cancellation {
    /// How long the handler may still take to stop; then it is stopped. `None`: as long as it needs.
    pub grace: Option<Duration>,
    /// Why, for people. May be empty.
    pub detail: Arc<str>,
}

/// The signals and limits of one run, as they stand.
#[derive(Clone, Debug, Default)]
pub(crate) struct Signals {
    pub(crate) stop: Option<StopReason>,
    pub(crate) cancel: Option<Cancel>,
    pub(crate) limits: Limits<Instant>,
    /// The worker is on its way out; the run may go on.
    pub(crate) draining: bool,
}

/// An order to cancel, on the worker's clock.
#[derive(Clone, Debug)]
pub(crate) struct Cancel {
    pub(crate) until: Option<Instant>,
    pub(crate) detail: Arc<str>,
}

impl Signals {
    /// Asks to stop. A soft limit says less than whatever was said before.
    pub(crate) fn stop(&mut self, reason: StopReason) {
        if self.stop.is_none() || reason != StopReason::SoftTimeout {
            self.stop = Some(reason);
        }
    }

    /// Sets other limits. A soft limit that lies ahead again takes back that it was over.
    pub(crate) fn set_limits(&mut self, limits: Limits<Instant>) {
        self.limits = limits;
        let ahead = limits.soft.is_none_or(|at| at > clock::now());
        if ahead && self.stop == Some(StopReason::SoftTimeout) {
            self.stop = None;
        }
    }
}

#[derive(Debug)]
struct Shared {
    delivery: Delivery,
    voice: Voice,
}

/// One run of one task, for its handler. Cheap to clone.
#[derive(Clone, Debug)]
pub struct TaskContext {
    shared: Arc<Shared>,
    signals: watch::Receiver<Signals>,
}

impl TaskContext {
    /// Of a run that no session hears.
    pub(crate) fn new(delivery: Delivery, signals: watch::Receiver<Signals>) -> Self {
        Self::with_voice(delivery, signals, Voice::new(None))
    }

    /// Of a run that speaks through `outbox`.
    pub(crate) fn of_run(
        delivery: Delivery,
        signals: watch::Receiver<Signals>,
        outbox: (RunId, Arc<Outbox>),
    ) -> Self {
        Self::with_voice(delivery, signals, Voice::new(Some(outbox)))
    }

    fn with_voice(delivery: Delivery, signals: watch::Receiver<Signals>, voice: Voice) -> Self {
        Self {
            shared: Arc::new(Shared { delivery, voice }),
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

    /// The key that the producer gave the task, unique in its queue for a while.
    pub fn idempotency_key(&self) -> Option<&str> {
        Some(self.delivery().idempotency_key.as_str()).filter(|key| !key.is_empty())
    }

    /// The version of the payload's format, where the producer stated one.
    pub fn schema_version(&self) -> Option<u32> {
        Some(self.delivery().schema_version).filter(|version| *version > 0)
    }

    /// The end of another task that made this one: it is a follow-up, or goes on a chain.
    pub fn cause(&self) -> Option<&Cause> {
        self.delivery().cause.as_deref()
    }

    /// What becomes of the task if this run ends without a report.
    pub fn delivery_mode(&self) -> DeliveryMode {
        match self.delivery().delivery() {
            DeliveryMode::Unspecified | DeliveryMode::AtLeastOnce => DeliveryMode::AtLeastOnce,
            DeliveryMode::AtMostOnce => DeliveryMode::AtMostOnce,
        }
    }

    /// The latest failure, where there was one.
    pub fn previous_failure(&self) -> Option<&Failure> {
        self.delivery().previous_failure.as_deref()
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

    /// Tells how far the run has come: `done` units of `total` (0: not known), and what it is at, for
    /// people, at most 256 bytes of it. Shown to whoever asks for the task, kept by nobody. Never
    /// blocks and is cheap to call often: at most one in 200 ms is sent, the latest.
    pub fn progress(&self, done: u64, total: u64, message: impl AsRef<str>) {
        self.shared.voice.progress(Progress {
            done,
            total,
            message: clip(message.as_ref(), PROGRESS_BYTES_MAX),
            time: None,
        });
    }

    /// Keeps this for the next run, whatever ends this one: it is sent at once, at most one in
    /// 200 ms, and goes with the report too, also of a failure, a panic, a hard timeout or a release.
    /// A crash of the worker loses what was saved in its last moments. At most 262,144 bytes; the
    /// latest one wins.
    pub fn save_checkpoint(&self, checkpoint: Payload) {
        self.shared.voice.save(checkpoint);
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

    /// Asks for other time limits of this run, counted from its start. What is `None` stays as it is.
    /// Returns the limits that hold now: the run's own clock has moved by then, and a soft limit that
    /// was over and lies ahead again no longer asks to stop. Waits for as long as the coordinator
    /// cannot be heard; the limits before hold meanwhile.
    ///
    /// # Errors
    ///
    /// [`ExtendError::Refused`] where the limits are not within the task's `extend_max`, or the soft
    /// one is above the hard one; [`ExtendError::Replaced`] where another call came after this one.
    pub async fn extend(
        &self,
        soft: Option<Duration>,
        hard: Option<Duration>,
    ) -> Result<Timeouts, ExtendError> {
        let answer = self.shared.voice.extend(Timeouts { soft, hard });
        // Dropped unanswered: the run is over.
        answer.await.unwrap_or(Err(ExtendError::Ended))
    }

    /// [`TaskContext::extend`] for blocking handlers.
    ///
    /// # Errors
    ///
    /// As [`TaskContext::extend`].
    ///
    /// # Panics
    ///
    /// In an asynchronous handler, which must not block.
    pub fn extend_blocking(
        &self,
        soft: Option<Duration>,
        hard: Option<Duration>,
    ) -> Result<Timeouts, ExtendError> {
        let answer = self.shared.voice.extend(Timeouts { soft, hard });
        answer.blocking_recv().unwrap_or(Err(ExtendError::Ended))
    }

    pub(crate) fn collect(&self) -> Said {
        self.shared.voice.collect()
    }

    pub(crate) fn answer(&self, number: u64, answer: Result<Timeouts, ExtendError>) {
        self.shared.voice.answer(number, answer);
    }

    /// The run is over: takes what it saved for the next one.
    pub(crate) fn close(&self) -> Option<Payload> {
        self.shared.voice.close()
    }

    /// How long the run may go on before it is asked to stop. `None`: no soft limit.
    pub fn time_until_soft_limit(&self) -> Option<Duration> {
        let at = self.signals.borrow().limits.soft?;
        Some(at.saturating_duration_since(clock::now()))
    }

    /// How long the run may go on at all: until its hard limit or the task's deadline, whichever
    /// comes first. `None`: neither.
    pub fn time_left(&self) -> Option<Duration> {
        let at = self.signals.borrow().limits.end()?;
        Some(at.saturating_duration_since(clock::now()))
    }

    /// How long until the task's deadline, which no run outlives. `None`: no deadline.
    pub fn time_until_deadline(&self) -> Option<Duration> {
        let at = self.signals.borrow().limits.deadline?;
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

    /// The order to cancel the task; `None` while nobody has cancelled it.
    pub fn cancellation(&self) -> Option<Cancellation> {
        let cancel = self.signals.borrow().cancel.clone()?;
        let left = |at: Instant| at.saturating_duration_since(clock::now());
        Some(Cancellation {
            grace: cancel.until.map(left),
            detail: cancel.detail,
        })
    }

    /// Waits until somebody cancels the task. `None`: the run is over and nobody did.
    pub async fn cancelled(&self) -> Option<Cancellation> {
        let mut signals = self.signals.clone();
        let seen = signals.wait_for(|signals| signals.cancel.is_some()).await;
        drop(seen.ok()?);
        self.cancellation()
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
                | StopReason::Leaving
                | StopReason::Deadline
                | StopReason::Revoked,
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
