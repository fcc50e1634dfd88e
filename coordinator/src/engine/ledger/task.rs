//! A task: its durable facts and the one table of its transitions.
//!
//! Owns the states and what each event does to a task. Computes nothing from another entity, reads
//! no clock, draws nothing (I7): what an event does not say is not known here.

use std::sync::Arc;

use bytes::Bytes;

use super::history::{History, RunRecord};
use crate::engine::failure::Failure;
use crate::engine::ids::{Fence, LeaseToken, QueueName, SessionId, TaskId, Timestamp};
use crate::engine::retry::{DeadReason, PolicyRef};

/// What the allocator takes for a block besides the bytes that were asked for, on average. Bytes.
const ALLOCATION_BYTES: usize = 12;

/// Opaque bytes with a label.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Payload {
    /// The bytes.
    pub data: Bytes,
    /// What they are; `None` where unstated.
    pub content_type: Option<Arc<str>>,
}

impl Payload {
    /// Its bytes.
    pub(crate) const fn weight_bytes(&self) -> u64 {
        self.data.len() as u64
    }
}

/// How urgent a task is within its queue; the order is the order of delivery.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// Before everything else.
    Highest,
    /// Before normal.
    High,
    /// The default.
    #[default]
    Normal,
    /// After normal.
    Low,
    /// After everything else.
    Lowest,
}

/// Time limits of one run, from its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// When the handler is asked to stop.
    pub soft_ms: Option<u64>,
    /// When the run is ended.
    pub hard_ms: Option<u64>,
}

/// A task.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// Its id, which names its shard.
    pub id: TaskId,
    /// Its queue.
    pub queue: QueueName,
    /// Which handler runs it.
    pub kind: Arc<str>,
    /// What the next run is given.
    pub payload: Payload,
    /// How urgent it is.
    pub priority: Priority,
    /// Its place in the order of its shard: lower goes first within a lane.
    pub enqueue_seq: u64,
    /// When it was accepted.
    pub enqueued_at: Timestamp,
    /// When its budgets began: accepted, or last redriven.
    pub budget_since: Timestamp,
    /// Where it stands.
    pub state: State,
    /// The fence of its latest lease; 0 before the first.
    pub fence: Fence,
    /// Leases granted over its life.
    pub runs: u32,
    /// Failures that counted since `budget_since`.
    pub failures: u32,
    /// Crashes since `budget_since`.
    pub crashes: u32,
    /// Deferrals since `budget_since`.
    pub deferrals: u32,
    /// Unstarted losses since it last began.
    pub unstarted_in_row: u32,
    /// Failures of class TIMEOUT since `budget_since`: what its limits grow by.
    pub timeouts_hit: u32,
    /// Times it was redriven.
    pub redrives: u32,
    /// What was said for it alone; `None` where nothing was.
    pub own: Option<Box<Own>>,
    /// What most tasks do not have.
    pub side: Option<Box<Side>>,
    /// The sequence of its latest full record; not part of it, 0 until the ledger keeps it.
    pub recorded_at: u64,
}

// Millions of them wait: what most do not have belongs behind a pointer, in `Own` or in `Side`.
const _: () = assert!(size_of::<Task>() <= 200);

/// What was said for one task alone, by its producer or since: it goes before what holds for the
/// queue. Costs nothing while nothing was said.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Own {
    /// Its limit of attempts; 0 means unlimited.
    pub max_attempts: Option<u32>,
    /// Its time limits.
    pub timeouts: Option<Timeouts>,
    /// Its policy.
    pub policy: Option<PolicyRef>,
}

impl Own {
    /// As a task has it: `None` where nothing was said, so that equal tasks are equal.
    #[must_use]
    pub fn said(self) -> Option<Box<Self>> {
        (self != Self::default()).then(|| Box::new(self))
    }

    fn bytes(&self) -> usize {
        let policy = match &self.policy {
            Some(PolicyRef::Inline(policy)) => policy.bytes(),
            Some(PolicyRef::Named(_)) | None => 0,
        };
        size_of::<Self>() + ALLOCATION_BYTES + policy
    }
}

/// What most tasks do not have: costs nothing while empty.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Side {
    /// The producer's labels, sorted by key.
    pub labels: Vec<(Arc<str>, Arc<str>)>,
    /// Its runs.
    pub history: History,
    /// Retries by rules that count for themselves.
    pub rule_retries: Vec<(Arc<str>, u32)>,
    /// The latest failure, with its stack.
    pub last_failure: Option<Failure>,
    /// What the next run is handed.
    pub checkpoint: Option<Payload>,
    /// The task that this one continues.
    pub origin: Option<TaskId>,
    /// Moves from queue to queue so far.
    pub hops: u32,
    /// The delay drawn for the latest retry.
    pub previous_delay_ms: Option<u64>,
}

/// Where a task stands. *Scheduled*, *ready* and *retrying* are views of `Pending`.
#[derive(Clone, Debug, PartialEq)]
pub enum State {
    /// Waits, for an instant or for a worker.
    Pending {
        /// The earliest instant of its next lease.
        not_before: Timestamp,
    },
    /// A worker holds it.
    Leased(Box<Lease>),
    /// Will not be tried again by itself.
    Dead {
        /// Why.
        reason: DeadReason,
        /// Since when.
        at: Timestamp,
    },
    /// Over; kept for those who ask.
    Finished(Box<Finished>),
}

/// The right of one holder to work a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Which lease of the task.
    pub fence: Fence,
    /// What makes its token a capability.
    pub nonce: u64,
    /// Who holds it.
    pub holder: Holder,
    /// The worker's name, for people and the history.
    pub worker: Arc<str>,
    /// Since when.
    pub granted_at: Timestamp,
    /// The limits that the worker was told.
    pub timeouts: Timeouts,
    /// When the worker was known to have begun, if it was.
    pub started_at: Option<Timestamp>,
    /// Somebody cancelled the task meanwhile.
    pub cancel_requested: bool,
}

/// Who holds a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Holder {
    /// A session, whose liveness keeps it.
    Session(SessionId),
    /// A worker without a stream, which extends it.
    Unary {
        /// How long it lives unless it is extended: what a restart gives it again.
        ttl_ms: u64,
    },
}

/// How a task ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Finished {
    /// How.
    pub outcome: Outcome,
    /// When.
    pub at: Timestamp,
    /// What came of it.
    pub result: Option<Payload>,
    /// What the handler called it.
    pub label: Option<Arc<str>>,
}

/// How a task can end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// Its handler completed.
    Succeeded,
    /// By a rule that wants no dead letter.
    Failed,
    /// By a cancel.
    Cancelled,
    /// Dropped by its handler, a rule or an operator.
    Discarded,
    /// Continued by a new task in another queue.
    Routed,
}

/// What users see of a task's state; a view, computed at an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TaskState {
    /// Not due yet, never run.
    Scheduled,
    /// Due.
    Ready,
    /// Held, not known to have begun.
    Leased,
    /// Held and begun.
    Running,
    /// Has run before and waits for its next attempt.
    Retrying,
    /// A dead letter.
    Dead,
    /// Over.
    Finished(Outcome),
}

impl TaskState {
    /// The name in UPPER_SNAKE_CASE, as filters and tables have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scheduled => "SCHEDULED",
            Self::Ready => "READY",
            Self::Leased => "LEASED",
            Self::Running => "RUNNING",
            Self::Retrying => "RETRYING",
            Self::Dead => "DEAD",
            Self::Finished(Outcome::Succeeded) => "SUCCEEDED",
            Self::Finished(Outcome::Failed) => "FAILED",
            Self::Finished(Outcome::Cancelled) => "CANCELLED",
            Self::Finished(Outcome::Discarded) => "DISCARDED",
            Self::Finished(Outcome::Routed) => "ROUTED",
        }
    }
}

impl Task {
    /// What users see of its state at this instant.
    #[must_use]
    pub fn view(&self, now: Timestamp) -> TaskState {
        match &self.state {
            State::Pending { not_before } if *not_before <= now => TaskState::Ready,
            State::Pending { .. } if self.runs > 0 => TaskState::Retrying,
            State::Pending { .. } => TaskState::Scheduled,
            State::Leased(lease) if lease.started_at.is_some() => TaskState::Running,
            State::Leased(_) => TaskState::Leased,
            State::Dead { .. } => TaskState::Dead,
            State::Finished(finished) => TaskState::Finished(finished.outcome),
        }
    }

    /// The attempt that its present or next run is: 1 + failures counted.
    #[must_use]
    pub const fn attempt(&self) -> u32 {
        self.failures.saturating_add(1)
    }

    /// Its own limit of attempts; 0 means unlimited.
    #[must_use]
    pub fn max_attempts(&self) -> Option<u32> {
        self.own.as_deref()?.max_attempts
    }

    /// Its own time limits.
    #[must_use]
    pub fn timeouts(&self) -> Option<Timeouts> {
        self.own.as_deref()?.timeouts
    }

    /// Its own policy.
    #[must_use]
    pub fn policy(&self) -> Option<&PolicyRef> {
        self.own.as_deref()?.policy.as_ref()
    }

    /// The lease, while it is leased.
    #[must_use]
    pub fn lease(&self) -> Option<&Lease> {
        match &self.state {
            State::Leased(lease) => Some(lease),
            State::Pending { .. } | State::Dead { .. } | State::Finished(_) => None,
        }
    }

    /// The token of its lease, while it is leased.
    #[must_use]
    pub fn token(&self) -> Option<LeaseToken> {
        let lease = self.lease()?;
        Some(LeaseToken {
            task: self.id,
            fence: lease.fence,
            nonce: lease.nonce,
        })
    }

    /// What every task takes in memory, as measured: the struct in its allocation, and its entries
    /// in the map of tasks and in a lane or among the timers, with an eighth for the room that is
    /// not used. Bytes.
    pub(crate) const FIXED_BYTES: u64 = {
        let entries = size_of::<(TaskId, Box<Self>)>() + size_of::<(u64, TaskId)>();
        (size_of::<Self>() + ALLOCATION_BYTES + entries / 8 * 9) as u64
    };

    /// What it takes in memory, for accounting: the struct, what it owns, and its place in the
    /// indexes. Shared texts are counted where they are long and rarely shared.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let side = self.side.as_deref().map_or(0, Side::bytes);
        let own = self.own.as_deref().map_or(0, Own::bytes);
        let content_type = self
            .payload
            .content_type
            .as_ref()
            .map_or(0, |text| text.len());
        let extra = own + content_type + self.kind.len();
        let result = match &self.state {
            State::Finished(finished) => {
                size_of::<Finished>() + finished.result.as_ref().map_or(0, |p| p.data.len())
            }
            State::Leased(_) => size_of::<Lease>(),
            State::Pending { .. } | State::Dead { .. } => 0,
        };
        let payload = match self.payload.data.len() {
            0 => 0,
            bytes => bytes + ALLOCATION_BYTES,
        };
        Self::FIXED_BYTES + (payload + side + result + extra) as u64
    }

    /// About what an image of it takes in the journal: its texts and payloads, and a little for the
    /// rest. Bytes.
    #[must_use]
    pub fn image_bytes(&self) -> u64 {
        const FIXED_BYTES: usize = 72;
        const LEASE_BYTES: usize = 72;
        let policy = match self.policy() {
            Some(PolicyRef::Named(policy) | PolicyRef::Inline(policy)) => policy.bytes(),
            None => 0,
        };
        let content_type = self.payload.content_type.as_ref();
        let texts = self.queue.as_str().len() + self.kind.len();
        let texts = texts + content_type.map_or(0, |text| text.len());
        let state = match &self.state {
            State::Finished(finished) => {
                finished.label.as_ref().map_or(0, |label| label.len())
                    + finished.result.as_ref().map_or(0, |p| p.data.len())
            }
            State::Leased(_) => LEASE_BYTES,
            State::Pending { .. } | State::Dead { .. } => 0,
        };
        let side = self.side.as_deref().map_or(0, Side::image_bytes);
        (FIXED_BYTES + texts + self.payload.data.len() + policy + state + side) as u64
    }

    /// What was said for it alone, made where nothing was; something is said then.
    pub(super) fn own_mut(&mut self) -> &mut Own {
        self.own.get_or_insert_default()
    }

    /// The side record, made where it is missing.
    pub fn side_mut(&mut self) -> &mut Side {
        self.side.get_or_insert_default()
    }
}

impl Side {
    fn bytes(&self) -> usize {
        let labels = self.labels.len() * 64;
        size_of::<Self>() + labels + self.texts_bytes() + self.history.bytes()
    }

    fn image_bytes(&self) -> usize {
        self.texts_bytes() + self.history.image_bytes()
    }

    fn texts_bytes(&self) -> usize {
        let labels = self.labels.iter().map(|(k, v)| k.len() + v.len());
        let failure = self.last_failure.as_ref().map_or(0, |f| {
            let ancestors: usize = f.ancestors.iter().map(|a| a.len() + 16).sum();
            f.message.len() + f.stack.len() + f.error_type.len() + ancestors
        });
        let checkpoint = self.checkpoint.as_ref().map_or(0, |c| c.data.len());
        labels.sum::<usize>() + failure + checkpoint
    }
}

/// The latest run, if it is the one of this fence.
pub(crate) fn run_of(task: &Task, fence: Fence) -> Option<&RunRecord> {
    task.side.as_deref()?.history.find(fence.run())
}
