//! What few tasks have: keys, a life with an end, a cause, and what people did to them.
//!
//! Owns these parts and their bounds. Costs a task that has none of it nothing.

use std::sync::Arc;

use super::terms::Transition;
use crate::engine::ids::{QueueName, TaskId, Timestamp};
use crate::engine::limits;

/// What few tasks have.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct More {
    /// The producer's idempotency key.
    pub key: Option<Arc<str>>,
    /// The key that it holds while it is in certain states.
    pub unique: Option<Unique>,
    /// When its time is over.
    pub life: Option<Life>,
    /// The end of another task that it follows.
    pub cause: Option<Cause>,
    /// The queues where it has been before, as a dead letter on its way.
    pub visited: Vec<QueueName>,
    /// What people did to it, the latest ones.
    pub acts: Vec<Act>,
    /// How many acts are not kept any more.
    pub acts_omitted: u32,
}

/// A key that at most one task of a queue should hold. The lock is the task itself, in the states of
/// its scope: it cannot outlive it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unique {
    /// The key, within the queue.
    pub key: Arc<str>,
    /// In which states the task holds it.
    pub scope: Scope,
}

/// States of a task, as a set.
#[expect(clippy::struct_excessive_bools, reason = "a set of four states")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scope {
    /// While it waits, for an instant or for a worker.
    pub waiting: bool,
    /// While a worker holds it.
    pub running: bool,
    /// While it is a dead letter.
    pub dead: bool,
    /// While it is finished and kept.
    pub finished: bool,
}

/// When a task's time is over. Begins anew with a redrive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Life {
    /// How long it may wait for its first run. Milliseconds.
    pub ttl_ms: Option<u64>,
    /// How long it may live. Milliseconds.
    pub deadline_ms: Option<u64>,
    /// When it may first start: what both are counted from.
    pub from: Timestamp,
    /// Whether a run has begun since.
    pub begun: bool,
}

impl Life {
    /// When it is over if no run begins before.
    #[must_use]
    pub fn start_by(&self) -> Option<Timestamp> {
        let ttl_ms = self.ttl_ms.filter(|_| !self.begun)?;
        Some(self.from.plus_ms(ttl_ms))
    }

    /// When it is over, whatever happens.
    #[must_use]
    pub fn end_by(&self) -> Option<Timestamp> {
        Some(self.from.plus_ms(self.deadline_ms?))
    }
}

/// The end of another task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cause {
    /// Which task.
    pub task: TaskId,
    /// Which end.
    pub transition: Transition,
}

/// Something that somebody did to a task, besides running it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Act {
    /// When.
    pub at: Timestamp,
    /// What.
    pub what: ActKind,
    /// Who, as they said; empty where they did not.
    pub by: Arc<str>,
    /// Why, or what exactly; may be empty.
    pub note: Arc<str>,
}

/// What may be done to a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActKind {
    /// Put back with a fresh budget.
    Redriven,
    /// Changed.
    Edited,
    /// Its content was replaced by a later enqueue with its unique key.
    Replaced,
    /// Its start was moved by a later enqueue with its unique key.
    Rescheduled,
    /// Cancelled, or asked to stop.
    CancelRequested,
    /// Deleted as a dead letter.
    Discarded,
}

impl ActKind {
    /// The name in UPPER_SNAKE_CASE, as users see it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Redriven => "REDRIVEN",
            Self::Edited => "EDITED",
            Self::Replaced => "REPLACED",
            Self::Rescheduled => "RESCHEDULED",
            Self::CancelRequested => "CANCEL_REQUESTED",
            Self::Discarded => "DISCARDED",
        }
    }
}

/// Somebody wants a leased task to end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CancelOrder {
    /// Since when.
    pub at: Timestamp,
    /// When the lease is taken away if it has not ended; `None` waits for the handler.
    pub until: Option<Timestamp>,
    /// Who, as they said; empty where they did not.
    pub by: Arc<str>,
    /// Why; may be empty.
    pub reason: Arc<str>,
}

impl More {
    /// As a task has it: `None` where there is nothing, so that equal tasks are equal.
    #[must_use]
    pub fn said(self) -> Option<Box<Self>> {
        (self != Self::default()).then(|| Box::new(self))
    }

    /// Adds the latest act.
    pub(super) fn act(&mut self, act: Act) {
        if self.acts.len() >= limits::ACTS_MAX {
            self.acts.remove(0);
            self.acts_omitted += 1;
        }
        self.acts.push(act);
    }

    /// What it takes in memory, and about what it takes in the journal. Bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        const ACT_BYTES: usize = size_of::<Act>();
        let acts = self.acts.iter();
        let acts = acts.map(|act| ACT_BYTES + act.by.len() + act.note.len());
        let visited = self.visited.iter().map(|queue| queue.as_str().len() + 32);
        let keys = self.key.as_ref().map_or(0, |key| key.len())
            + self.unique.as_ref().map_or(0, |unique| unique.key.len());
        size_of::<Self>() + keys + acts.sum::<usize>() + visited.sum::<usize>()
    }
}
