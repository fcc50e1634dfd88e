//! A task: its durable facts and the one table of its transitions.
//!
//! Owns the states and what each event does to a task. Computes nothing from another entity, reads
//! no clock, draws nothing (I7): what an event does not say is not known here.

use std::sync::Arc;

use bytes::Bytes;

use super::history::{History, RunRecord};
use super::more::{CancelOrder, Life, More};
use super::tally::Tally;
use super::terms::{DeliveryMode, Template, Terms};
use crate::engine::failure::Failure;
use crate::engine::ids::{Fence, LeaseToken, QueueName, SessionId, TaskId, Timestamp};
use crate::engine::retry::{DeadReason, PolicyRef};

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

impl Priority {
    /// All levels, the most urgent first.
    pub const ALL: [Self; 5] = [
        Self::Highest,
        Self::High,
        Self::Normal,
        Self::Low,
        Self::Lowest,
    ];

    /// How urgent it is: 0 for the most urgent, one more for each level below.
    #[must_use]
    pub const fn level(self) -> i64 {
        match self {
            Self::Highest => 0,
            Self::High => 1,
            Self::Normal => 2,
            Self::Low => 3,
            Self::Lowest => 4,
        }
    }
}

/// Time limits of one run, from its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// When the handler is asked to stop.
    pub soft_ms: Option<u64>,
    /// When the run is ended.
    pub hard_ms: Option<u64>,
    /// The longest hard limit that the running handler may ask for; `None` means
    /// `limits::EXTENSION_FACTOR` times the hard one.
    pub extend_max_ms: Option<u64>,
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
    /// The version of its payload's schema; 0 where none was said.
    pub version: u32,
    /// What the next run is given.
    pub payload: Payload,
    /// How urgent it is.
    pub priority: Priority,
    /// Its place in the order of its shard: lower goes first within a lane.
    pub enqueue_seq: u64,
    /// When it was accepted.
    pub enqueued_at: Timestamp,
    /// Where it stands.
    pub state: State,
    /// The fence of its latest lease; 0 before the first. Its run is how many were granted.
    pub fence: Fence,
    /// What was said for it alone; `None` where nothing was.
    pub own: Option<Box<Own>>,
    /// What most tasks do not have.
    pub side: Option<Box<Side>>,
}

// Millions of them wait: what most do not have belongs behind a pointer, in `Own` or in `Side`.
const _: () = assert!(size_of::<Task>() <= 160);

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
    /// How long it may wait, live and be kept, and what follows its end.
    pub terms: Option<Box<Terms>>,
    /// What its chain goes on with when it has succeeded, the next one first.
    pub then: Vec<Template>,
}

impl Own {
    /// As a task has it: `None` where nothing was said, so that equal tasks are equal.
    #[must_use]
    pub fn said(self) -> Option<Box<Self>> {
        (self != Self::default()).then(|| Box::new(self))
    }
}

/// What most tasks do not have: costs nothing while empty.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Side {
    /// The producer's labels, sorted by key.
    pub labels: Vec<(Arc<str>, Arc<str>)>,
    /// What its runs have used up.
    pub tally: Tally,
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
    /// Moves from queue to queue so far, and follow-ups of follow-ups before it.
    pub hops: u32,
    /// The delay drawn for the latest retry.
    pub previous_delay_ms: Option<u64>,
    /// What still fewer have.
    pub more: Option<Box<More>>,
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
    /// Who did, and until when; `None` in old records that do not say.
    pub cancel: Option<Box<CancelOrder>>,
    /// Whether the task must not run again if this lease ends without a report.
    pub delivery: DeliveryMode,
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
    /// When it is forgotten; `None` in old records, which are due.
    pub expires_at: Option<Timestamp>,
}

impl Finished {
    /// Its place in the order in which finished tasks are forgotten.
    #[must_use]
    pub fn forgotten_at(&self) -> Timestamp {
        self.expires_at.unwrap_or(self.at)
    }
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
    /// A task that nothing has happened to yet: normal, without a payload, due at once, with nothing
    /// said for it alone.
    #[must_use]
    pub fn fresh(id: TaskId, queue: QueueName, kind: Arc<str>, now: Timestamp) -> Self {
        Self {
            id,
            queue,
            kind,
            version: 0,
            payload: Payload::default(),
            priority: Priority::Normal,
            enqueue_seq: 0,
            enqueued_at: now,
            state: State::Pending { not_before: now },
            fence: Fence::default(),
            own: None,
            side: None,
        }
    }

    /// What users see of its state at this instant.
    #[must_use]
    pub fn view(&self, now: Timestamp) -> TaskState {
        match &self.state {
            State::Pending { not_before } if *not_before <= now => TaskState::Ready,
            State::Pending { .. } if self.runs() > 0 => TaskState::Retrying,
            State::Pending { .. } => TaskState::Scheduled,
            State::Leased(lease) if lease.started_at.is_some() => TaskState::Running,
            State::Leased(_) => TaskState::Leased,
            State::Dead { .. } => TaskState::Dead,
            State::Finished(finished) => TaskState::Finished(finished.outcome),
        }
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

    /// Its own terms.
    #[must_use]
    pub fn terms(&self) -> Option<&Terms> {
        self.own.as_deref()?.terms.as_deref()
    }

    /// What few tasks have.
    #[must_use]
    pub fn more(&self) -> Option<&More> {
        self.side.as_deref()?.more.as_deref()
    }

    /// When its time is over.
    #[must_use]
    pub fn life(&self) -> Option<Life> {
        self.more()?.life
    }

    /// When it dies unless something happens before: `None` where nothing limits it, or not in its
    /// state.
    #[must_use]
    pub fn dies_at(&self) -> Option<Timestamp> {
        let life = self.life()?;
        match &self.state {
            State::Pending { .. } => life.start_by().into_iter().chain(life.end_by()).min(),
            State::Leased(_) => life.end_by(),
            State::Dead { .. } | State::Finished(_) => None,
        }
    }

    /// The key that it holds in the state where it stands.
    #[must_use]
    pub fn held_key(&self) -> Option<&Arc<str>> {
        let unique = self.more()?.unique.as_ref()?;
        let holds = match &self.state {
            State::Pending { .. } => unique.scope.waiting,
            State::Leased(_) => unique.scope.running,
            State::Dead { .. } => unique.scope.dead,
            State::Finished(_) => unique.scope.finished,
        };
        holds.then_some(&unique.key)
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

    /// What was said for it alone, made where nothing was; something is said then.
    pub(super) fn own_mut(&mut self) -> &mut Own {
        self.own.get_or_insert_default()
    }

    /// The side record, made where it is missing.
    pub fn side_mut(&mut self) -> &mut Side {
        self.side.get_or_insert_default()
    }

    /// What few tasks have, made where it is missing; something is said then.
    pub(super) fn more_mut(&mut self) -> &mut More {
        self.side_mut().more.get_or_insert_default()
    }
}

/// The latest run, if it is the one of this fence.
pub(crate) fn run_of(task: &Task, fence: Fence) -> Option<&RunRecord> {
    task.side.as_deref()?.history.find(fence.run())
}
