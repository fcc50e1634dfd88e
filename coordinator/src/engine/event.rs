//! What has happened: the facts that the journal remembers, and the only thing that changes the
//! ledger (I1).
//!
//! Owns the vocabulary. An event that creates an entity carries its full value; one that changes an
//! entity says all that changes, so that `apply` resolves and computes nothing (I7).

use std::sync::Arc;

use super::edit::Edit;
use super::failure::Failure;
use super::ids::{Fence, QueueName, ShardId, TaskId, Timestamp};
use super::ledger::history::RunRecord;
use super::ledger::kind::{Kind, KindName};
use super::ledger::memory::{Memory, MemoryKey};
use super::ledger::more::{Act, CancelOrder};
use super::ledger::queue::{Pause, Queue, QueueSettings};
use super::ledger::task::{Holder, Outcome, Payload, Task, Timeouts};
use super::ledger::terms::DeliveryMode;
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
        /// Who, as they said.
        by: Arc<str>,
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
        /// What becomes of the task if the lease ends without a report.
        delivery: DeliveryMode,
    },
    /// The worker is known to have begun.
    LeaseStarted {
        /// Which task.
        id: TaskId,
        /// When that was known.
        at: Timestamp,
    },
    /// A cancel was asked for while the task is leased. A later one replaces an earlier one.
    CancelRequested {
        /// Which task.
        id: TaskId,
        /// By whom, why, and until when the handler has time.
        order: Box<CancelOrder>,
    },
    /// The time limits of the present run were replaced, at its handler's wish.
    LeaseExtended {
        /// Which task.
        id: TaskId,
        /// The new ones.
        timeouts: Timeouts,
    },
    /// A running task left a checkpoint.
    CheckpointSaved {
        /// Which task.
        id: TaskId,
        /// When.
        at: Timestamp,
        /// What its next run is handed.
        checkpoint: Payload,
    },
    /// A task that waits, or a dead letter, was changed.
    TaskEdited {
        /// Which.
        id: TaskId,
        /// When.
        at: Timestamp,
        /// How, and by whom.
        edit: Box<Edit>,
    },
    /// A task that waited became a dead letter because its time was over.
    TaskExpired {
        /// Which.
        id: TaskId,
        /// When.
        at: Timestamp,
        /// Which time.
        reason: DeadReason,
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
        /// When it is forgotten; `None` in old records.
        expires_at: Option<Timestamp>,
        /// Who ended it, where somebody did while no worker held it.
        act: Option<Box<Act>>,
    },
    /// A dead letter was put back with a fresh budget.
    TaskRedriven {
        /// Which.
        id: TaskId,
        /// When.
        at: Timestamp,
        /// The earliest instant of its next lease.
        not_before: Timestamp,
        /// Who did, as they said.
        by: Arc<str>,
        /// Why; may be empty.
        note: Arc<str>,
        /// Whether it is kept among the task's acts; not by old records, whose images know none.
        kept: bool,
    },
    /// Finished tasks were forgotten to keep the queue's history bounded.
    TasksForgotten {
        /// Which.
        ids: Vec<TaskId>,
    },
    /// Every finished task up to this place, in the order of (when it is to be forgotten, id), was
    /// removed.
    ///
    /// A place and not a number, so that each task is judged by itself: a log that was cleaned
    /// lacks some of those that were removed, and must not remove others in their stead.
    ExpiredThrough {
        /// When the last of them was to be forgotten.
        at: Timestamp,
        /// The last of them.
        last: TaskId,
    },
    /// A request, a key or a producer is remembered, whole: in place of what was before.
    Remembered {
        /// Under which key.
        key: MemoryKey,
        /// What.
        memory: Box<Memory>,
    },
    /// More came of a producer.
    RememberedMore {
        /// Under which key.
        key: MemoryKey,
        /// The sequences and their tasks.
        tasks: Vec<(u64, TaskId)>,
        /// From when on it is absent now.
        expires_at: Timestamp,
    },
    /// Every memory up to this place, in the order of (expiry, key), was removed.
    MemoriesForgotten {
        /// When the last of them had expired.
        at: Timestamp,
        /// The last of them.
        last: MemoryKey,
    },
    /// Something was said of a kind, whole: in place of what was said before.
    KindConfigured {
        /// The kind.
        kind: Box<Kind>,
    },
    /// What was said of a kind holds no more.
    KindRemoved {
        /// Which.
        name: KindName,
        /// When.
        at: Timestamp,
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
    /// A segment of the journal begins here: what a log that begins with it has to know of the
    /// shard besides its entities. Changes nothing where the shard is known.
    SegmentOpened {
        /// That.
        shard: Box<ShardImage>,
    },
    /// A task as it stands, recorded again so that older records of it may go (rule 1).
    TaskImage {
        /// The task, whole.
        task: Box<Task>,
    },
    /// A queue as it stands, recorded again.
    QueueImage {
        /// The queue, whole, its totals included.
        queue: Box<Queue>,
    },
    /// A transfer that is not confirmed yet, recorded again.
    TransferImage {
        /// To which shard.
        target: ShardId,
        /// Its number.
        number: u64,
        /// The task as it shall be created there.
        task: Box<Task>,
    },
    /// Everything that lives was recorded at or above this segment of the journal: older ones may
    /// go. Recorded in shard 0, for all. A log that begins with a later segment than the first is
    /// whole from here on: before, it may speak of entities whose records are gone.
    SegmentsCleaned {
        /// The oldest segment that is still needed.
        below: u64,
    },
}

impl Event {
    /// About how many bytes it takes: its payloads and texts, and a little for the rest. What a
    /// turn is bounded by.
    #[must_use]
    pub fn weight_bytes(&self) -> u64 {
        const REST_BYTES: u64 = 64;
        REST_BYTES
            + match self {
                Self::TaskEnqueued { task }
                | Self::TransferSent { task, .. }
                | Self::TransferReceived { task, .. }
                | Self::TaskImage { task }
                | Self::TransferImage { task, .. } => task.image_bytes(),
                Self::RetryScheduled { leaves, .. } | Self::TaskDied { leaves, .. } => {
                    leaves.weight_bytes()
                }
                Self::TaskFinished { leaves, result, .. } => {
                    leaves.weight_bytes() + result.as_ref().map_or(0, Payload::weight_bytes)
                }
                Self::TasksForgotten { ids } => 16 * ids.len() as u64,
                Self::QueueImage { queue } => queue.image_bytes(),
                Self::CheckpointSaved { checkpoint, .. } => checkpoint.weight_bytes(),
                Self::TaskEdited { edit, .. } => edit.weight_bytes(),
                Self::Remembered { key, memory } => memory.bytes(key),
                Self::RememberedMore { tasks, .. } => 24 * tasks.len() as u64,
                Self::KindConfigured { kind } => kind.image_bytes(),
                Self::EpochStarted { .. }
                | Self::QueueConfigured { .. }
                | Self::QueuePaused { .. }
                | Self::QueueResumed { .. }
                | Self::LeaseGranted { .. }
                | Self::LeaseStarted { .. }
                | Self::CancelRequested { .. }
                | Self::LeaseExtended { .. }
                | Self::TaskExpired { .. }
                | Self::MemoriesForgotten { .. }
                | Self::KindRemoved { .. }
                | Self::TimeoutsChanged { .. }
                | Self::TaskRedriven { .. }
                | Self::ExpiredThrough { .. }
                | Self::TransferConfirmed { .. }
                | Self::SegmentOpened { .. }
                | Self::SegmentsCleaned { .. } => 0,
            }
    }
}

/// A shard without its entities: sequences, watermarks, clock.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShardImage {
    /// The epoch that is running.
    pub epoch: u64,
    /// The newest instant that an event has named.
    pub newest: Timestamp,
    /// For each shard that transfers were sent to: the number of the latest.
    pub sent_through: Vec<(ShardId, u64)>,
    /// For each shard that transfers came from: the number of the latest.
    pub received_through: Vec<(ShardId, u64)>,
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

impl Leaves {
    fn weight_bytes(&self) -> u64 {
        let payload = self.payload.as_ref().map_or(0, Payload::weight_bytes);
        let checkpoint = self.checkpoint.as_ref().map_or(0, Payload::weight_bytes);
        let failure = self.failure.as_ref();
        let failure = failure.map_or(0, |failure| failure.message.len() + failure.stack.len());
        payload + checkpoint + failure as u64
    }
}
