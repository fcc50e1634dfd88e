//! What has happened: the facts that the journal remembers, and the only thing that changes the
//! ledger (I1).
//!
//! Owns the vocabulary. An event that creates an entity carries its full value; one that changes an
//! entity says all that changes, so that `apply` resolves and computes nothing (I7).

use std::sync::Arc;

use super::failure::Failure;
use super::ids::{Fence, QueueName, ShardId, TaskId, Timestamp};
use super::ledger::history::RunRecord;
use super::ledger::queue::{Pause, QueueSettings};
use super::ledger::task::{Holder, Outcome, Payload, Task, Timeouts};
use super::retry::{Budget, DeadReason};

/// An event with its place: each shard numbers its own from 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded {
    /// Whose.
    pub shard: ShardId,
    /// Which, within the shard.
    pub seq: u64,
    /// What.
    pub event: Event,
}

/// What has happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A run of the coordinator began: fences made from here on are higher than all before.
    EpochStarted {
        /// The epoch.
        epoch: u64,
        /// When.
        at: Timestamp,
    },
    /// A queue was used or configured for the first time, or its settings changed.
    QueueConfigured {
        /// Which.
        queue: QueueName,
        /// The settings, whole.
        settings: QueueSettings,
        /// Their revision; 0 for a queue made by first use.
        revision: u64,
    },
    /// A queue was paused, or the reason of its pause changed.
    QueuePaused {
        /// Which.
        queue: QueueName,
        /// Since when and why.
        pause: Pause,
    },
    /// A queue was resumed.
    QueueResumed {
        /// Which.
        queue: QueueName,
    },
    /// A task was accepted.
    TaskEnqueued {
        /// The task, whole.
        task: Box<Task>,
    },
    /// A task was leased.
    LeaseGranted {
        /// Which.
        id: TaskId,
        /// The lease's fence; its low bits are the run.
        fence: Fence,
        /// What makes its token a capability.
        nonce: u64,
        /// To whom.
        holder: Holder,
        /// The worker's name.
        worker: Arc<str>,
        /// When.
        at: Timestamp,
        /// The limits that the worker is told.
        timeouts: Timeouts,
        /// Whether it counts as begun from the outset (unary leases do).
        started: bool,
    },
    /// The worker is known to have begun.
    LeaseStarted {
        /// Which task.
        id: TaskId,
        /// When that was known.
        at: Timestamp,
    },
    /// A cancel was asked for while the task is leased.
    CancelRequested {
        /// Which task.
        id: TaskId,
    },
    /// The time limits of a task were replaced.
    TimeoutsChanged {
        /// Which task.
        id: TaskId,
        /// The new ones.
        timeouts: Timeouts,
    },
    /// A run ended and another one follows.
    RetryScheduled {
        /// Which task.
        id: TaskId,
        /// The run.
        run: Box<RunRecord>,
        /// Which budget it used up.
        budget: Budget,
        /// The earliest instant of the next lease.
        not_before: Timestamp,
        /// What else the run left.
        leaves: Box<Leaves>,
    },
    /// A task became a dead letter.
    TaskDied {
        /// Which.
        id: TaskId,
        /// The run that ended with it.
        run: Box<RunRecord>,
        /// Which budget the run used up.
        budget: Budget,
        /// Why.
        reason: DeadReason,
        /// When.
        at: Timestamp,
        /// What else the run left.
        leaves: Box<Leaves>,
    },
    /// A task ended.
    TaskFinished {
        /// Which.
        id: TaskId,
        /// The run that ended with it, where one did.
        run: Option<Box<RunRecord>>,
        /// Which budget the run used up, where it did.
        budget: Option<Budget>,
        /// How the task ended.
        outcome: Outcome,
        /// When.
        at: Timestamp,
        /// What came of it.
        result: Option<Payload>,
        /// What the handler called it.
        label: Option<Arc<str>>,
        /// What else the run left.
        leaves: Box<Leaves>,
    },
    /// A dead letter was put back with a fresh budget.
    TaskRedriven {
        /// Which.
        id: TaskId,
        /// When.
        at: Timestamp,
        /// The earliest instant of its next lease.
        not_before: Timestamp,
    },
    /// Finished tasks were forgotten to keep the queue's history bounded.
    TasksForgotten {
        /// Which.
        ids: Vec<TaskId>,
    },
    /// Everything that had expired by then was removed, at most so many, the earliest first.
    ExpiredThrough {
        /// By then.
        at: Timestamp,
        /// At most so many.
        count_max: u32,
    },
    /// A task is on its way to another queue.
    TransferSent {
        /// To which shard.
        target: ShardId,
        /// 1, 2, 3 .. for this pair of shards.
        number: u64,
        /// The task as it shall be created there; its id and place are given there.
        task: Box<Task>,
    },
    /// A task arrived from another queue.
    TransferReceived {
        /// From which shard.
        origin: ShardId,
        /// Its number.
        number: u64,
        /// The task as it was created here.
        task: Box<Task>,
    },
    /// All transfers up to this one have arrived.
    TransferConfirmed {
        /// At which shard.
        target: ShardId,
        /// Up to which number.
        through: u64,
    },
}

/// What a run that ended leaves behind besides its record.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Leaves {
    /// The failure, as it is kept.
    pub failure: Option<Failure>,
    /// The delay drawn, for decorrelated backoff.
    pub delay_ms: Option<u64>,
    /// The rule whose own counter moves.
    pub rule_counted: Option<Arc<str>>,
    /// The failure was a timeout: limits grow.
    pub timeout_hit: bool,
    /// A new payload.
    pub payload: Option<Payload>,
    /// A new checkpoint.
    pub checkpoint: Option<Payload>,
    /// A new limit of attempts.
    pub max_attempts: Option<u32>,
}
