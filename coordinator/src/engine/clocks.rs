//! When something of a lease or of a wait is over. Volatile.
//!
//! Owns the deadlines of running leases (soft, hard, and the life of a unary lease) and of calls
//! that wait. Never decides what their end means.

use std::collections::{BTreeMap, BTreeSet};

use super::ids::{RequestId, TaskId, Timestamp};

/// What is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Alarm {
    /// The soft limit of a run.
    Soft(TaskId),
    /// The hard limit of a run, and the margin that the worker had to act itself.
    Hard(TaskId),
    /// The life of a unary lease.
    Life(TaskId),
    /// The time that the handler of a cancelled task has.
    Cancel(TaskId),
    /// The next checkpoint of a run may be recorded.
    Checkpoint(TaskId),
    /// A wait for a task's end, or for work.
    Wait(RequestId),
}

/// Deadlines, each at most once.
#[derive(Debug, Default)]
pub(super) struct Clocks {
    queue: BTreeSet<(Timestamp, Alarm)>,
    at: BTreeMap<Alarm, Timestamp>,
}

impl Clocks {
    /// Sets an alarm, in place of an earlier one of its kind.
    pub(super) fn set(&mut self, alarm: Alarm, at: Timestamp) {
        self.clear(alarm);
        self.at.insert(alarm, at);
        self.queue.insert((at, alarm));
    }

    /// Takes an alarm back, if it is set.
    pub(super) fn clear(&mut self, alarm: Alarm) {
        if let Some(at) = self.at.remove(&alarm) {
            self.queue.remove(&(at, alarm));
        }
    }

    /// Takes back all alarms of a lease.
    pub(super) fn clear_lease(&mut self, task: TaskId) {
        for alarm in [
            Alarm::Soft(task),
            Alarm::Hard(task),
            Alarm::Life(task),
            Alarm::Cancel(task),
            Alarm::Checkpoint(task),
        ] {
            self.clear(alarm);
        }
    }

    /// The next one.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.queue.first().map(|(at, _)| *at)
    }

    /// Takes the first one that is due.
    pub(super) fn pop_due(&mut self, now: Timestamp) -> Option<Alarm> {
        let (at, alarm) = *self.queue.first()?;
        if at > now {
            return None;
        }
        self.clear(alarm);
        Some(alarm)
    }

    /// Postpones the life of every unary lease: the engine did not listen for so long.
    pub(super) fn postpone_lives(&mut self, by_ms: u64) {
        let first = Alarm::Life(TaskId::MIN);
        let lives: Vec<(Alarm, Timestamp)> = self
            .at
            .range(first..)
            .take_while(|(alarm, _)| matches!(alarm, Alarm::Life(_)))
            .map(|(alarm, at)| (*alarm, *at))
            .collect();
        for (alarm, at) in lives {
            self.set(alarm, at.plus_ms(by_ms));
        }
    }
}
