//! Leaving: finish or give back what is held, see it acknowledged, say goodbye.
//!
//! Owns the deadlines of a drain. However it goes, it ends: what runs is given back at the drain's
//! deadline, and unacknowledged reports are waited for a bounded time only.

use std::time::Duration;

use super::{Action, Link, Session, leases::Hold, millis_up};
use crate::{context::StopReason, report::Outcome};

/// How long the acknowledgements of the last reports are waited for once nothing runs any more, in
/// milliseconds.
const ACKS_WITHIN_MS: u64 = 10_000;
/// The code of a process that left with everything finished or given back, and recorded.
pub const EXIT_CLEAN: u8 = 0;
/// The code of a process that left with results that nobody acknowledged: the coordinator will
/// judge those runs as crashes unless the reports arrived after all.
pub const EXIT_UNREPORTED: u8 = 1;
/// The code of a process that left while blocking handlers still ran: their outcome was settled
/// without them, but they may have gone on working.
pub const EXIT_ABANDONED: u8 = 3;

/// What became of the tasks of a worker that stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StopReport {
    /// Runs whose outcome the coordinator recorded, whatever the outcome was.
    pub finished: u64,
    /// Runs that were given back, and recorded so.
    pub released: u64,
    /// Reports that came too late or could not be used: something else ended the run.
    pub superseded: u64,
    /// Leases that the coordinator took away, or that were given up after its silence.
    pub lost: u64,
    /// Leases still held at the end: their reports were not acknowledged.
    pub unreported: u64,
    /// Handlers that could not be stopped and still ran at the end.
    pub abandoned: u64,
}

impl StopReport {
    /// The exit code that tells this to a supervisor: [`EXIT_CLEAN`], [`EXIT_UNREPORTED`] or
    /// [`EXIT_ABANDONED`], the first of the last two that applies.
    pub fn exit_code(&self) -> u8 {
        if self.unreported > 0 {
            EXIT_UNREPORTED
        } else if self.abandoned > 0 {
            EXIT_ABANDONED
        } else {
            EXIT_CLEAN
        }
    }
}

/// The reason that given back tasks carry.
pub(super) const LEAVING: &str = "the worker is leaving";

#[derive(Debug)]
pub(super) struct Leaving {
    pub(super) reason: String,
    /// When what runs is given back. `None`: it may finish.
    release_at: Option<u64>,
    /// When the last acknowledgements are no longer waited for.
    give_up_at: Option<u64>,
}

impl Leaving {
    pub(super) fn next_deadline(&self) -> Option<u64> {
        match (self.release_at, self.give_up_at) {
            (Some(release), Some(give_up)) => Some(release.min(give_up)),
            (release, give_up) => release.or(give_up),
        }
    }
}

impl Session {
    pub(super) fn drain(&mut self, now_ms: u64, reason: String, deadline: Option<Duration>) {
        let asked = deadline.map(|deadline| now_ms.saturating_add(millis_up(deadline)));
        let leaving = self.leaving.get_or_insert(Leaving {
            reason,
            release_at: None,
            give_up_at: None,
        });
        leaving.release_at = match (leaving.release_at, asked) {
            (Some(earlier), Some(asked)) => Some(earlier.min(asked)),
            (earlier, asked) => earlier.or(asked),
        };
        while let Some(token) = self.buffer.front().cloned() {
            self.end(&token, None, Outcome::release(LEAVING));
        }
    }

    /// Gives back what still runs once the drain's deadline has passed.
    pub(super) fn release_overdue(&mut self, now_ms: u64, actions: &mut Vec<Action>) {
        let Some(leaving) = &mut self.leaving else {
            return;
        };
        if leaving.release_at.is_none_or(|at| at > now_ms) {
            return;
        }
        leaving.release_at = None;
        for token in self.active_tokens() {
            let settled = (StopReason::Leaving, Outcome::release(LEAVING));
            self.abort(now_ms, &token, settled, actions);
        }
    }

    /// Ends the session once nothing is held, or once waiting for acknowledgements was long enough.
    pub(super) fn settle_leaving(&mut self, now_ms: u64) {
        if self.has_active() {
            return;
        }
        // Without a stream there is nobody to take leave of.
        let alone = self.leases.is_empty() && self.link == Link::Down;
        let Some(leaving) = &mut self.leaving else {
            return;
        };
        leaving.release_at = None;
        let give_up_at = *leaving
            .give_up_at
            .get_or_insert_with(|| now_ms.saturating_add(ACKS_WITHIN_MS));
        if alone || now_ms >= give_up_at {
            self.finished = true;
        }
        debug_assert!(
            self.leases
                .values()
                .all(|lease| matches!(lease.hold, Hold::Ended { .. }))
        );
    }
}
