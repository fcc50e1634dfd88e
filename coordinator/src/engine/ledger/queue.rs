//! A queue: its settings, whether it is paused, and its counts.
//!
//! Owns what holds for all tasks of a queue. Never holds tasks: they are entities of their own.

use std::sync::Arc;

use crate::engine::ids::{QueueName, Timestamp};
use crate::engine::ledger::task::Timeouts;
use crate::engine::ledger::terms::Terms;
use crate::engine::retry::PolicyRef;

/// A queue.
#[derive(Clone, Debug, PartialEq)]
pub struct Queue {
    /// Its name.
    pub name: QueueName,
    /// What holds for its tasks.
    pub settings: QueueSettings,
    /// Grows with every change of the settings; 0 where they were never set.
    pub revision: u64,
    /// Since when and why it is paused, where it is.
    pub paused: Option<Pause>,
    /// Who paused it, as they said; empty where they did not.
    pub paused_by: Arc<str>,
    /// How many tasks ended how so far.
    pub totals: Totals,
    /// The sequence of its latest full record; not part of it.
    pub recorded_at: u64,
    /// Its totals as that record has them; not part of it.
    pub recorded_totals: Totals,
}

/// What holds for all tasks of a queue.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QueueSettings {
    /// The policy of tasks that bring none; `None` means the server's.
    pub policy: Option<PolicyRef>,
    /// The time limits of tasks that bring none.
    pub timeouts: Option<Timeouts>,
    /// Where tasks go on when their budget is spent.
    pub dead_letter_queue: Option<QueueName>,
    /// How long its tasks may wait, live and be kept, and what follows their end.
    pub terms: Option<Box<Terms>>,
    /// How long a ready task waits until it counts as one level more urgent; 0 for ever, `None` means
    /// the server's number. Milliseconds.
    pub aging_ms: Option<u64>,
    /// How many finished tasks it keeps; `None` means the server's number.
    pub finished_max: Option<u32>,
}

/// A pause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pause {
    /// Since when.
    pub at: Timestamp,
    /// Why; may be empty.
    pub reason: Arc<str>,
}

/// Lifetime totals of a queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Accepted.
    pub enqueued: u64,
    /// Ended well.
    pub succeeded: u64,
    /// Failures counted, retried or not.
    pub failures: u64,
    /// Crashes.
    pub crashes: u64,
    /// Dead-lettered.
    pub dead_lettered: u64,
    /// Redriven.
    pub redriven: u64,
}

impl Queue {
    /// A queue as it is on first use, recorded by the event of this sequence.
    #[must_use]
    pub fn new(name: QueueName, recorded_at: u64) -> Self {
        Self {
            name,
            settings: QueueSettings::default(),
            revision: 0,
            paused: None,
            paused_by: Arc::default(),
            totals: Totals::default(),
            recorded_at,
            recorded_totals: Totals::default(),
        }
    }

    /// About what an image of it takes in the journal. Bytes.
    #[must_use]
    pub fn image_bytes(&self) -> u64 {
        const FIXED_BYTES: usize = 64;
        let policy = match &self.settings.policy {
            Some(PolicyRef::Named(policy) | PolicyRef::Inline(policy)) => policy.bytes(),
            None => 0,
        };
        let terms = self.settings.terms.as_deref().map_or(0, Terms::bytes);
        let policy = policy + terms;
        let reason = self.paused.as_ref().map_or(0, |pause| pause.reason.len());
        (FIXED_BYTES + self.name.as_str().len() + policy + reason) as u64
    }
}
