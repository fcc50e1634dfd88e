//! The runs of a task: the first and the last few, whole, and how many lie between.
//!
//! Owns what is kept of a run and how many are. Each record is small: the failure's message was cut
//! before it came here.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::engine::failure::Failure;
use crate::engine::ids::Timestamp;
use crate::engine::ledger::terms::Source;
use crate::engine::limits::HISTORY_RUNS_MAX;

/// One run, from lease to end.
#[derive(Clone, Debug, PartialEq)]
pub struct RunRecord {
    /// 1, 2, 3 .. over the task's life.
    pub run: u32,
    /// 1 + failures counted when it was leased.
    pub attempt: u32,
    /// Who ran it.
    pub worker: Arc<str>,
    /// When it was leased.
    pub leased_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
    /// Whether the worker was known to have begun.
    pub started: bool,
    /// How it ended.
    pub outcome: RunOutcome,
    /// Where it failed, cut to size.
    pub failure: Option<Failure>,
    /// The rule that decided what follows.
    pub rule: Option<Arc<str>>,
    /// The policy that decided.
    pub policy: Option<Arc<str>>,
    /// Where that policy was said.
    pub policy_source: Source,
    /// The revision of the kind or queue that said it; 0 elsewhere.
    pub policy_revision: u64,
    /// The delay before and after jitter, where a retry followed.
    pub delay: Option<Delay>,
    /// What the worker said of a deferral, release or discard.
    pub note: Option<Arc<str>>,
}

impl RunRecord {
    /// The texts that are its own.
    fn texts_bytes(&self) -> usize {
        let note = self.note.as_ref().map_or(0, |note| note.len());
        let failure = self.failure.as_ref();
        note + failure.map_or(0, |f| f.message.len() + f.error_type.len())
    }
}

/// A delay as it was computed and as it was drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delay {
    /// Before jitter.
    pub base_ms: u64,
    /// As drawn.
    pub drawn_ms: u64,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RunOutcome {
    /// The handler completed.
    Succeeded,
    /// The handler reported a failure.
    Failed,
    /// The handler asked for a retry.
    Retried,
    /// The handler put it off.
    Deferred,
    /// The worker gave it back.
    Released,
    /// Over its hard limit, seen by the coordinator.
    TimedOut,
    /// The worker was lost while running it.
    Crashed,
    /// The worker was lost before it began.
    Unstarted,
    /// The handler dropped it.
    Discarded,
    /// It ended after a cancel was asked for, and did not succeed.
    Cancelled,
}

impl RunOutcome {
    /// The name in UPPER_SNAKE_CASE, as users see it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Succeeded => "SUCCEEDED",
            Self::Failed => "FAILED",
            Self::Retried => "RETRIED",
            Self::Deferred => "DEFERRED",
            Self::Released => "RELEASED",
            Self::TimedOut => "TIMED_OUT",
            Self::Crashed => "CRASHED",
            Self::Unstarted => "UNSTARTED",
            Self::Discarded => "DISCARDED",
            Self::Cancelled => "CANCELLED",
        }
    }
}

/// The runs kept of one task.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    first: Vec<RunRecord>,
    last: VecDeque<RunRecord>,
    omitted: u32,
}

impl History {
    /// Adds the latest run.
    pub fn push(&mut self, record: RunRecord) {
        if self.first.len() < HISTORY_RUNS_MAX {
            self.first.push(record);
            return;
        }
        if self.last.len() == HISTORY_RUNS_MAX {
            self.last.pop_front();
            self.omitted = self.omitted.saturating_add(1);
        }
        self.last.push_back(record);
    }

    /// A history of these runs and so many between them; `None` where it could not have come about,
    /// because more are kept than may be, or later ones before the places of earlier ones are full.
    #[must_use]
    pub fn restored(first: Vec<RunRecord>, last: Vec<RunRecord>, omitted: u32) -> Option<Self> {
        let full = HISTORY_RUNS_MAX;
        let kept = first.len() <= full && last.len() <= full;
        let in_order =
            (last.is_empty() || first.len() == full) && (omitted == 0 || last.len() == full);
        let last = last.into();
        (kept && in_order).then_some(Self {
            first,
            last,
            omitted,
        })
    }

    /// What [`History::restored`] takes.
    #[must_use]
    pub fn parts(&self) -> (&[RunRecord], &VecDeque<RunRecord>, u32) {
        let Self {
            first,
            last,
            omitted,
        } = self;
        (first, last, *omitted)
    }

    /// The runs kept, oldest first.
    pub fn runs(&self) -> impl Iterator<Item = &RunRecord> {
        self.first.iter().chain(&self.last)
    }

    /// The run of this number, if it is kept.
    #[must_use]
    pub fn find(&self, run: u32) -> Option<&RunRecord> {
        self.runs().find(|record| record.run == run)
    }

    /// How many lie between the first and the last and are not kept.
    #[must_use]
    pub const fn omitted(&self) -> u32 {
        self.omitted
    }

    /// What it takes in memory.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let texts = self.runs().map(RunRecord::texts_bytes);
        texts.map(|texts| size_of::<RunRecord>() + texts).sum()
    }

    /// About what it takes in the journal. Bytes.
    #[must_use]
    pub fn image_bytes(&self) -> usize {
        // Numbers, and the names of its worker, rule and policy.
        const FIXED_BYTES: usize = 56;
        let texts = self.runs().map(RunRecord::texts_bytes);
        texts.map(|texts| FIXED_BYTES + texts).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(run: u32) -> RunRecord {
        RunRecord {
            run,
            attempt: run,
            worker: "w".into(),
            leased_at: Timestamp(0),
            ended_at: Timestamp(1),
            started: true,
            outcome: RunOutcome::Failed,
            failure: None,
            rule: None,
            policy: None,
            policy_source: Source::Server,
            policy_revision: 0,
            delay: None,
            note: None,
        }
    }

    #[test]
    fn the_first_and_the_last_runs_are_kept_and_the_rest_is_counted() {
        let mut history = History::default();
        for run in 1..=30 {
            history.push(record(run));
        }
        let kept: Vec<u32> = history.runs().map(|r| r.run).collect();
        assert_eq!(
            kept,
            [1, 2, 3, 4, 5, 6, 7, 8, 23, 24, 25, 26, 27, 28, 29, 30]
        );
        assert_eq!(history.omitted(), 14);
        assert!(history.find(30).is_some() && history.find(15).is_none());
    }

    #[test]
    fn a_history_is_restored_from_its_parts_and_from_no_others() {
        let mut history = History::default();
        for run in 1..=30 {
            history.push(record(run));
            let (first, last, omitted) = history.parts();
            let last = last.iter().cloned().collect();
            let restored = History::restored(first.to_vec(), last, omitted);
            assert_eq!(restored.as_ref(), Some(&history));
        }
        let runs = |count| (0..count).map(record).collect::<Vec<_>>();
        assert_eq!(History::restored(runs(9), Vec::new(), 0), None);
        assert_eq!(History::restored(runs(7), runs(1), 0), None);
        assert_eq!(History::restored(runs(8), runs(7), 1), None);
        assert_eq!(History::restored(runs(8), runs(9), 1), None);
    }
}
