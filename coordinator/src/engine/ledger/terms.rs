//! What may be said of tasks on every level: for one task, for a kind, for a queue.
//!
//! Owns the terms (how long a task may wait, live and be kept, how often it is delivered) and the
//! follow-up tasks of its end. Never says which level wins: that is `handlers/resolve.rs`. Says
//! nothing where nothing was said: the server's defaults are in `limits`.

use std::sync::Arc;

use super::task::{Payload, Priority};
use crate::engine::ids::QueueName;

/// What may be said on every level. `None` leaves it to the next one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Terms {
    /// How long a task may wait until its first run begins, from when it may start. Milliseconds.
    pub ttl_ms: Option<u64>,
    /// How long its whole life may be, from when it may start. Milliseconds.
    pub deadline_ms: Option<u64>,
    /// How long it is kept when it has finished. Milliseconds.
    pub result_ttl_ms: Option<u64>,
    /// What becomes of a run that ends without a report.
    pub delivery: Option<DeliveryMode>,
    /// What follows its end.
    pub follow_ups: FollowUps,
}

/// What becomes of a task whose lease ends without a report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeliveryMode {
    /// It runs again: the handler may see it more than once.
    #[default]
    AtLeastOnce,
    /// It is a dead letter: nobody knows whether the handler did its work (rule 6).
    AtMostOnce,
}

/// The tasks that follow a task's end.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FollowUps {
    /// After it succeeded.
    pub on_success: Option<Box<Template>>,
    /// After it failed for good: as failed, as a dead letter, or routed on as one.
    pub on_failure: Option<Box<Template>>,
    /// After a failure for good because a budget or a time limit was spent.
    pub on_exhausted: Option<Box<Template>>,
    /// After it was cancelled.
    pub on_cancelled: Option<Box<Template>>,
}

/// An end that a task may follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Transition {
    /// It succeeded.
    Success,
    /// It failed for good.
    Failure,
    /// It failed for good because a budget or a time limit was spent.
    Exhausted,
    /// It was cancelled.
    Cancelled,
    /// It succeeded, and the next task of its chain begins with its result.
    Then,
}

impl Transition {
    /// The name in UPPER_SNAKE_CASE, as users see it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Success => "SUCCEEDED",
            Self::Failure => "FAILED",
            Self::Exhausted => "EXHAUSTED",
            Self::Cancelled => "CANCELLED",
            Self::Then => "CHAINED",
        }
    }
}

/// A task that is made later.
#[derive(Clone, Debug, PartialEq)]
pub struct Template {
    /// Where; `None` is the queue of the task that it follows.
    pub queue: Option<QueueName>,
    /// Which handler runs it.
    pub kind: Arc<str>,
    /// Its argument.
    pub payload: Payload,
    /// How urgent it is.
    pub priority: Priority,
    /// How long it waits. Milliseconds.
    pub delay_ms: u64,
    /// The version of its payload's schema; 0 for none.
    pub version: u32,
    /// Sorted by key.
    pub labels: Vec<(Arc<str>, Arc<str>)>,
}

/// Where an effective value was said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Source {
    /// For the task alone.
    Task,
    /// For its kind.
    Kind,
    /// For its queue.
    Queue,
    /// Nowhere: the server's default.
    #[default]
    Server,
}

impl Terms {
    /// Whether anything was said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What it takes in memory besides itself, and about what it takes in the journal. Bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let follow_ups = &self.follow_ups;
        let all = [
            &follow_ups.on_success,
            &follow_ups.on_failure,
            &follow_ups.on_exhausted,
            &follow_ups.on_cancelled,
        ];
        all.into_iter().flatten().map(|it| it.bytes()).sum()
    }
}

impl FollowUps {
    /// The task that follows this end, where one does.
    #[must_use]
    pub fn after(&self, transition: Transition) -> Option<&Template> {
        match transition {
            Transition::Success => self.on_success.as_deref(),
            Transition::Failure => self.on_failure.as_deref(),
            Transition::Exhausted => self.on_exhausted.as_deref(),
            Transition::Cancelled => self.on_cancelled.as_deref(),
            Transition::Then => None,
        }
    }
}

impl Template {
    /// What it takes in memory, and about what it takes in the journal. Bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let labels = self.labels.iter().map(|(k, v)| k.len() + v.len() + 32);
        let texts = self.kind.len() + self.payload.data.len();
        size_of::<Self>() + texts + labels.sum::<usize>()
    }
}
