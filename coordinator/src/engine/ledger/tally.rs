//! What a task's runs have used up.
//!
//! Owns the counts that its limits are compared with, which lie in its side record: most tasks have
//! none while they wait for their first run, and take no room for counts. Never decides what a count
//! means: `retry` does. Invariant: what was not counted is zero, with or without a side record.

use super::task::{Side, Task};
use crate::engine::ids::Timestamp;
use crate::engine::retry::Budget;
use crate::mutants::{self, Mutant};

/// What a task has used up since its budgets began, and how often they began anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// When the budgets began, where that was not when the task was accepted: last redriven.
    pub since: Option<Timestamp>,
    /// Failures that counted.
    pub failures: u32,
    /// Crashes.
    pub crashes: u32,
    /// Deferrals.
    pub deferrals: u32,
    /// Unstarted losses since it last began.
    pub unstarted_in_row: u16,
    /// Failures of class TIMEOUT: what its limits grow by.
    pub timeouts_hit: u32,
    /// Times it was redriven.
    pub redrives: u32,
}

impl Tally {
    /// One more of what a budget counts.
    pub(super) const fn spend(&mut self, budget: Budget) {
        let count = match budget {
            Budget::Attempt => &mut self.failures,
            Budget::Crash => &mut self.crashes,
            Budget::Deferral => &mut self.deferrals,
        };
        *count = count.saturating_add(1);
    }

    /// Redriven: the budgets begin anew, `since` then.
    pub(super) fn begin(&mut self, since: Option<Timestamp>) {
        let failures = if mutants::is(Mutant::BudgetKept) {
            self.failures
        } else {
            0
        };
        *self = Self {
            since,
            failures,
            redrives: self.redrives.saturating_add(1),
            ..Self::default()
        };
    }
}

impl Task {
    /// What it has used up.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.side
            .as_deref()
            .map_or_else(Tally::default, |side| side.tally)
    }

    /// Puts down what it has used up; a task that has used up nothing gets no side record for it.
    pub(crate) fn set_tally(&mut self, tally: Tally) {
        if let Some(side) = self.side.as_deref_mut() {
            side.tally = tally;
        } else if tally != Tally::default() {
            self.side = Some(Box::new(Side {
                tally,
                ..Side::default()
            }));
        }
    }

    /// When its budgets began: accepted, or last redriven.
    #[must_use]
    pub fn budget_since(&self) -> Timestamp {
        self.tally().since.unwrap_or(self.enqueued_at)
    }

    /// The same instant as the tally says it: `None` where it is when the task was accepted.
    pub(crate) fn unless_accepted(&self, since: Timestamp) -> Option<Timestamp> {
        (since != self.enqueued_at).then_some(since)
    }

    /// Leases granted over its life (I5).
    #[must_use]
    pub const fn runs(&self) -> u32 {
        self.fence.run()
    }

    /// The attempt that its present or next run is: 1 + failures counted.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.tally().failures.saturating_add(1)
    }
}
