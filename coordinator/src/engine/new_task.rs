//! What producers say: tasks, and what makes saying it twice harmless.
//!
//! Owns the vocabulary, parsed. What a repeated request means is `handlers/remember.rs`.

use std::sync::Arc;

use super::ids::{QueueName, Timestamp};
use super::ledger::more::Scope;
use super::ledger::task::{Payload, Priority, Timeouts};
use super::ledger::terms::{Template, Terms};
use super::retry::PolicyRef;

/// Tasks to accept, each by itself.
#[derive(Clone, Debug, Default)]
pub struct Enqueue {
    /// The namespace of all of them.
    pub namespace: Arc<str>,
    /// The tasks.
    pub tasks: Vec<NewTask>,
    /// The producer of the stream that they came on, with the sequence of each.
    pub producer: Option<Producer>,
}

/// The producer of an enqueue stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Producer {
    /// Its id, within the namespace.
    pub id: Arc<str>,
    /// The sequence of each task, in their order.
    pub sequences: Vec<u64>,
}

/// A task as its producer asks for it.
#[derive(Clone, Debug, PartialEq)]
pub struct NewTask {
    /// Where; `None` leaves it to the kind.
    pub queue: Option<QueueName>,
    /// Which handler.
    pub kind: Arc<str>,
    /// The version of the payload's schema; 0 for none.
    pub version: u32,
    /// With what.
    pub payload: Payload,
    /// How urgent.
    pub priority: Priority,
    /// When.
    pub start: Start,
    /// With what limits.
    pub timeouts: Option<Timeouts>,
    /// Under which policy.
    pub policy: Option<PolicyRef>,
    /// With how many attempts.
    pub max_attempts: Option<u32>,
    /// Sorted by key.
    pub labels: Vec<(Arc<str>, Arc<str>)>,
    /// How long it may wait, live and be kept, and what follows its end.
    pub terms: Option<Box<Terms>>,
    /// What its chain goes on with.
    pub then: Vec<Template>,
    /// What makes enqueueing it twice harmless.
    pub keys: Option<Box<NewKeys>>,
}

impl NewTask {
    /// A task of this kind that says nothing else: in its kind's queue, without a payload, at once.
    #[must_use]
    pub fn of(kind: &str) -> Self {
        Self {
            queue: None,
            kind: kind.into(),
            version: 0,
            payload: Payload::default(),
            priority: Priority::default(),
            start: Start::After { delay_ms: 0 },
            timeouts: None,
            policy: None,
            max_attempts: None,
            labels: Vec::new(),
            terms: None,
            then: Vec::new(),
            keys: None,
        }
    }
}

/// What makes enqueueing a task twice harmless.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewKeys {
    /// A second task with this key, within the window, is the first one.
    pub key: Option<Arc<str>>,
    /// For how long. Milliseconds.
    pub window_ms: u64,
    /// All that the producer said but the keys and the start: another content under the same key is
    /// an error.
    pub digest: u64,
    /// No two tasks with this key should be there at once.
    pub unique: Option<NewUnique>,
}

/// A key that at most one task of a queue should hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewUnique {
    /// The key.
    pub key: Arc<str>,
    /// In which states the task will hold it.
    pub scope: Scope,
    /// What happens where another one holds it.
    pub on_conflict: OnConflict,
    /// How long after its enqueueing a task's start is moved at most; `None` has no end.
    /// Milliseconds.
    pub postpone_max_ms: Option<u64>,
}

/// What happens where another task holds the unique key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnConflict {
    /// The answer is the other one.
    #[default]
    ReturnExisting,
    /// It is an error.
    Reject,
    /// The other one gets the new content, if it waits; it is an error if it does not.
    ReplaceWaiting,
    /// The other one starts at the new time, if it waits; it is an error if it does not.
    RescheduleWaiting,
}

/// When something may start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// After so long; 0 is at once.
    After {
        /// How long.
        delay_ms: u64,
    },
    /// Not before that instant.
    At(Timestamp),
}
