//! What the outside must be told. An effect leaves only when the events recorded before it are
//! durable (I2).
//!
//! Owns the vocabulary: values with ids, never channels.

use std::sync::Arc;

use bytes::Bytes;

use super::command::{Cursor, Transfer};
use super::failure::Failure;
use super::ids::{LeaseToken, LinkId, QueueName, RequestId, SessionId, TaskId, Timestamp};
use super::ledger::kind::Kind;
use super::ledger::more::Cause;
use super::ledger::task::{Payload, Priority, TaskState, Timeouts};
use super::ledger::terms::DeliveryMode;
use super::rejection::Rejection;
pub use super::view::*;

/// What the outside must be told.
#[derive(Clone, Debug)]
pub enum Effect {
    /// The one reply to a call.
    Reply {
        /// Whom.
        request: RequestId,
        /// What.
        reply: Result<Answer, Rejection>,
    },
    /// A message on a worker stream, in order.
    Tell {
        /// Which stream.
        link: LinkId,
        /// What.
        message: ToWorker,
    },
    /// End a worker stream, after what was told on it.
    CloseLink {
        /// Which stream.
        link: LinkId,
        /// Why: `None` ends it well, a rejection as an error.
        why: Option<Rejection>,
    },
    /// Take this to its shard.
    Forward(Transfer),
    /// Something that watchers are told.
    Notice(Box<Notice>),
}

/// An answer to a call; `Call` says which one each gets.
#[derive(Clone, Debug)]
pub enum Answer {
    /// For each task, in order, its id or why it was refused.
    Enqueued(Vec<Result<Accepted, Rejection>>),
    /// A task that is cancelled, or about to be.
    Cancelled {
        /// Whether it is over already.
        over: bool,
        /// The task as it stands.
        task: Box<TaskView>,
    },
    /// A kind as it stands.
    Kind(Box<Kind>),
    /// Kinds in the order of their names.
    Kinds {
        /// The kinds.
        kinds: Vec<Kind>,
        /// Whether there are more after them.
        more: bool,
    },
    /// A task as it stands.
    Task(Box<TaskView>),
    /// A page of tasks.
    Page {
        /// The tasks.
        tasks: Vec<TaskView>,
        /// Where to go on; `None` at the end.
        next: Option<Cursor>,
    },
    /// The end of a wait.
    Waited {
        /// Whether the task ended or died in time.
        ended: bool,
        /// The task as it stands.
        task: Box<TaskView>,
    },
    /// Tasks leased without a stream.
    Leased(Vec<Delivery>),
    /// What became of reports, in order.
    Acks(Vec<ReportAck>),
    /// What became of leases, and of heartbeats, in order.
    Extended(Vec<Extension>, Vec<BeatAck>),
    /// The workers known.
    Workers(Vec<WorkerView>),
    /// Which workers were asked to leave.
    Drained(Vec<Arc<str>>),
    /// A queue as it stands.
    Queue(Box<QueueView>),
    /// Queues in the order of their names.
    Queues {
        /// The queues.
        queues: Vec<QueueView>,
        /// Whether there are more after them.
        more: bool,
    },
    /// One step of a bulk act.
    Bulk {
        /// How many of the selection this step found.
        matched: u64,
        /// How many it changed.
        changed: u64,
        /// Where to go on; `None` at the end.
        next: Option<Cursor>,
    },
    /// The engine's own facts.
    Server(ServerFacts),
    /// What was recorded again for the cleaning of the journal.
    Refreshed {
        /// How many of the entities named were looked at: the rest is for another call.
        looked_at: usize,
        /// About what the images take. Bytes.
        image_bytes: u64,
        /// Where to go on, where there are more queues.
        next: Option<QueueName>,
        /// About what images of all that lives would take. Bytes.
        live_bytes: u64,
    },
    /// It is done.
    Done,
}

/// A message to a worker.
#[derive(Clone, Debug)]
pub enum ToWorker {
    /// The answer to Hello.
    Welcome(Welcome),
    /// A task to run.
    Delivery(Box<Delivery>),
    /// What became of reports.
    Acks(Vec<ReportAck>),
    /// What became of heartbeats that asked for something or could not be used.
    Beats(Vec<BeatAck>),
    /// A run to stop.
    Cancel {
        /// Which.
        token: LeaseToken,
        /// Why.
        reason: CancelReason,
        /// Until the lease is gone, where that is known.
        grace_ms: Option<u64>,
        /// More, for people.
        detail: Arc<str>,
    },
    /// New limits of a running task.
    Timeouts {
        /// Which.
        token: LeaseToken,
        /// The new ones.
        timeouts: Timeouts,
    },
    /// Prove that you live.
    Ping {
        /// To be echoed.
        nonce: u64,
    },
    /// Finish or give back, then leave.
    Drain {
        /// Why.
        reason: Arc<str>,
        /// When the rest should be given back.
        deadline_ms: Option<u64>,
    },
    /// This stream is about to end.
    Reconnect {
        /// Why.
        reason: Arc<str>,
        /// How long to wait.
        after_ms: u64,
    },
    /// The last message could not be used.
    Refused(Rejection),
}

/// The answer to Hello.
#[derive(Clone, Debug)]
pub struct Welcome {
    /// The session.
    pub session: SessionId,
    /// Whether it is an earlier one.
    pub resumed: bool,
    /// Leases that the worker listed and does not hold any more.
    pub lost: Vec<LeaseToken>,
    /// How often it is pinged while it holds work.
    pub ping_ms: u64,
    /// How long its silence is borne.
    pub grace_ms: u64,
    /// When it must stop what it runs if it hears nothing.
    pub abort_after_ms: u64,
}

/// One task to run.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// 1, 2, 3 .. within a session; 0 without one.
    pub sequence: u64,
    /// The lease.
    pub token: LeaseToken,
    /// The task's queue.
    pub queue: QueueName,
    /// Its kind.
    pub kind: Arc<str>,
    /// Its payload.
    pub payload: Payload,
    /// Its priority.
    pub priority: Priority,
    /// Its labels.
    pub labels: Vec<(Arc<str>, Arc<str>)>,
    /// When it was accepted.
    pub enqueued_at: Timestamp,
    /// Which attempt this is.
    pub attempt: u32,
    /// The last one; 0 means unlimited.
    pub attempts_max: u32,
    /// Crashes so far.
    pub crashes: u32,
    /// The limits of this run.
    pub timeouts: Timeouts,
    /// The latest failure.
    pub previous_failure: Option<Failure>,
    /// What the run before left.
    pub checkpoint: Option<Payload>,
    /// The version of the payload's schema; 0 where none was said.
    pub version: u32,
    /// How long its life still is.
    pub deadline_ms: Option<u64>,
    /// The producer's idempotency key.
    pub key: Option<Arc<str>>,
    /// The end of another task that it follows.
    pub cause: Option<Cause>,
    /// What becomes of the task if this lease ends without a report.
    pub delivery: DeliveryMode,
}

/// What became of one report.
#[derive(Clone, Debug, PartialEq)]
pub struct ReportAck {
    /// The token's bytes as they came.
    pub raw_token: Bytes,
    /// What became of it.
    pub status: ReportStatus,
    /// Where the task stands.
    pub state: Option<TaskState>,
    /// When it is tried again.
    pub next_attempt_at: Option<Timestamp>,
}

/// What became of a report.
#[derive(Clone, Debug, PartialEq)]
pub enum ReportStatus {
    /// It counts.
    Recorded,
    /// It counted before.
    Duplicate,
    /// Something else counted.
    Superseded,
    /// Nobody remembers the task.
    Gone,
    /// It cannot be used; the lease stands.
    Invalid(Rejection),
}

/// What became of one lease that was to be extended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extension {
    /// It lives on.
    pub held: bool,
    /// Its task is to be cancelled.
    pub cancel_requested: bool,
}

/// Why a run should stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CancelReason {
    /// Somebody cancelled the task.
    Requested,
    /// The soft limit is over.
    SoftTimeout,
    /// The hard limit is over and the lease is gone.
    HardTimeout,
    /// The lease is gone.
    LeaseLost,
    /// The task's deadline is over and the lease is gone.
    Deadline,
    /// The task was cancelled by force, or its handler's time to end is over: the lease is gone.
    Revoked,
}

/// What watchers are told.
#[derive(Clone, Debug)]
pub struct Notice {
    /// What happened.
    pub kind: NoticeKind,
    /// When.
    pub at: Timestamp,
    /// The task.
    pub task: TaskId,
    /// Its queue.
    pub queue: QueueName,
    /// Its kind.
    pub task_kind: Arc<str>,
    /// The attempt it was at.
    pub attempt: u32,
    /// The worker, where one was involved.
    pub worker: Option<Arc<str>>,
    /// Where it failed.
    pub failure: Option<Failure>,
    /// When it may start again.
    pub next_attempt_at: Option<Timestamp>,
    /// The rule, dead-letter reason or final state.
    pub reason: Option<Arc<str>>,
    /// How long the run took, where one ended.
    pub run_ms: Option<u64>,
    /// How long the task had been ready, where it was leased.
    pub waited_ms: Option<u64>,
    /// The delay drawn, where a retry follows.
    pub delay_ms: Option<u64>,
    /// What the handler called the outcome.
    pub outcome_label: Option<Arc<str>>,
}

/// What happened to a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoticeKind {
    /// Accepted.
    Enqueued,
    /// Handed to a worker.
    Leased,
    /// Failed or crashed; another attempt is planned.
    RetryScheduled,
    /// Put back without blame.
    Deferred,
    /// Became a dead letter.
    DeadLettered,
    /// Put back by an operator.
    Redriven,
    /// Ended.
    Ended,
    /// A cancel was asked for.
    CancelRequested,
    /// Changed by somebody.
    Edited,
}
