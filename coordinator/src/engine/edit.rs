//! Changes of a task that waits, or of a dead letter, at somebody's wish.
//!
//! Owns the vocabulary: what is `None` stays as it is. What may be changed when is decided by
//! `handlers/edit.rs`.

use std::sync::Arc;

use super::ids::Timestamp;
use super::ledger::more::{ActKind, Life};
use super::ledger::task::{Own, Payload, Priority};

/// How a task is changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Edit {
    /// What kind of change it is, for the task's acts.
    pub what: ActKind,
    /// Who made it, as they said; empty where they did not.
    pub by: Arc<str>,
    /// Why, or what exactly; may be empty.
    pub note: Arc<str>,
    /// A new payload. What an earlier one left, its checkpoint, goes with it.
    pub payload: Option<Payload>,
    /// A new version of the payload's schema.
    pub version: Option<u32>,
    /// A new priority.
    pub priority: Option<Priority>,
    /// New labels, all of them.
    pub labels: Option<Vec<(Arc<str>, Arc<str>)>>,
    /// All that was said for it alone.
    pub own: Option<Box<Own>>,
    /// A new earliest instant of its next lease; only where it waits.
    pub not_before: Option<Timestamp>,
    /// A new life.
    pub life: Option<Life>,
}

impl Edit {
    /// A change of this kind by somebody, that changes nothing yet.
    #[must_use]
    pub fn new(what: ActKind, by: Arc<str>, note: Arc<str>) -> Self {
        Self {
            what,
            by,
            note,
            payload: None,
            version: None,
            priority: None,
            labels: None,
            own: None,
            not_before: None,
            life: None,
        }
    }

    /// About how many bytes it takes.
    #[must_use]
    pub fn weight_bytes(&self) -> u64 {
        let payload = self.payload.as_ref().map_or(0, Payload::weight_bytes);
        let labels = self.labels.iter().flatten();
        let labels: usize = labels.map(|(k, v)| k.len() + v.len()).sum();
        let own = self.own.as_ref().map_or(0, |own| own.terms_bytes());
        payload + (labels + own) as u64
    }
}
