//! A kind of task: what holds for all of its tasks, whatever their queue.
//!
//! Owns the settings of kinds. Every shard has its own copy of every kind, recorded in the same
//! turn (docs/decisions/0012), and judges by that.

use std::sync::Arc;

use super::Ledger;
use super::task::Timeouts;
use super::terms::Terms;
use crate::engine::ids::{QueueName, Timestamp};
use crate::engine::retry::PolicyRef;

/// The name of a kind within a namespace: written and ordered like that of a queue.
pub type KindName = QueueName;

/// A kind.
#[derive(Clone, Debug, PartialEq)]
pub struct Kind {
    /// Its name.
    pub name: KindName,
    /// What holds for its tasks.
    pub settings: KindSettings,
    /// Grows with every change.
    pub revision: u64,
    /// When it was set.
    pub at: Timestamp,
    /// The worker that proposed it; `None` where an operator set it.
    pub proposed_by: Option<Arc<str>>,
    /// The sequence of its latest full record; not part of it.
    pub recorded_at: u64,
}

/// What holds for all tasks of a kind. `None` leaves it to the queue.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KindSettings {
    /// Where tasks go that name no queue.
    pub queue: Option<QueueName>,
    /// The policy.
    pub policy: Option<PolicyRef>,
    /// The time limits.
    pub timeouts: Option<Timeouts>,
    /// The attempts that end a task; 0 means unlimited.
    pub max_attempts: Option<u32>,
    /// Where tasks go on when their budget is spent.
    pub dead_letter_queue: Option<QueueName>,
    /// The rest.
    pub terms: Option<Box<Terms>>,
}

impl Kind {
    /// What it takes in memory. Bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.image_bytes() + size_of::<Self>() as u64
    }

    /// About what a record of it takes in the journal. Bytes.
    #[must_use]
    pub fn image_bytes(&self) -> u64 {
        const FIXED_BYTES: usize = 64;
        let policy = match &self.settings.policy {
            Some(PolicyRef::Named(policy) | PolicyRef::Inline(policy)) => policy.bytes(),
            None => 0,
        };
        let terms = self.settings.terms.as_deref().map_or(0, Terms::bytes);
        (FIXED_BYTES + self.name.as_str().len() + policy + terms) as u64
    }
}

impl Ledger {
    /// The kind of this name, where anything was said of it.
    #[must_use]
    pub fn kind(&self, name: &KindName) -> Option<&Kind> {
        self.kinds.get(name)
    }

    /// The kind of this name in a namespace, where anything was said of it.
    #[must_use]
    pub fn kind_named(&self, namespace: &str, kind: &str) -> Option<&Kind> {
        let mut name = String::with_capacity(namespace.len() + 1 + kind.len());
        name.push_str(namespace);
        name.push('/');
        name.push_str(kind);
        self.kinds.get(name.as_str())
    }

    /// The kinds from this name on, by name.
    pub fn kinds_from(&self, from: std::ops::Bound<KindName>) -> impl Iterator<Item = &Kind> {
        let range = (from, std::ops::Bound::Unbounded);
        self.kinds.range(range).map(|(_, kind)| kind)
    }

    /// How many kinds there are.
    #[must_use]
    pub fn kind_count(&self) -> usize {
        self.kinds.len()
    }

    pub(super) fn kind_configured(&mut self, kind: &Kind) {
        let recorded_at = self.last_seq;
        let kind = Kind {
            recorded_at,
            ..kind.clone()
        };
        self.newest = self.newest.max(kind.at);
        self.kind_removed(&kind.name);
        self.kind_bytes += kind.bytes();
        self.kinds.insert(kind.name.clone(), kind);
    }

    pub(super) fn kind_removed(&mut self, name: &KindName) {
        if let Some(kind) = self.kinds.remove(name) {
            self.kind_bytes -= kind.bytes();
        }
    }
}
