//! The layout of a task, its states, its runs and its failures.
//!
//! Owns their order of fields and their numbers, which are the journal's format and never change.

use super::plain::part_unless_default;
use super::shape::{Item, Wire, fixed, shape, variants};
use super::wire::{DecodeError, Problem, Reader, Writer};
use crate::engine::event::Leaves;
use crate::engine::failure::{Failure, FailureClass};
use crate::engine::ids::Timestamp;
use crate::engine::ledger::history::{Delay, History, RunOutcome, RunRecord};
use crate::engine::ledger::tally::Tally;
use crate::engine::ledger::task::{
    Finished, Holder, Lease, Outcome, Own, Payload, Priority, Side, State, Task, Timeouts,
};
use crate::engine::retry::{Budget, DeadReason};

shape!(Task {
    id, queue, kind, payload, enqueue_seq, enqueued_at, budget_since, state;
    own, side, priority, runs, fence, failures, crashes, deferrals, unstarted_in_row, timeouts_hit,
    redrives, version
} stored {
    id, queue, kind, payload, enqueue_seq, enqueued_at, state, own, side, priority, fence, version
} told by Told {
    budget_since, runs, failures, crashes, deferrals, unstarted_in_row, timeouts_hit, redrives
});

/// What a record says in fields of its own and a task keeps elsewhere: its tally, and its runs in
/// its fence.
struct Told {
    budget_since: Timestamp,
    runs: u32,
    failures: u32,
    crashes: u32,
    deferrals: u32,
    unstarted_in_row: u16,
    timeouts_hit: u32,
    redrives: u32,
}

impl Told {
    fn of(task: &Task) -> Self {
        let Tally {
            since: _,
            failures,
            crashes,
            deferrals,
            unstarted_in_row,
            timeouts_hit,
            redrives,
        } = task.tally();
        Self {
            budget_since: task.budget_since(),
            runs: task.runs(),
            failures,
            crashes,
            deferrals,
            unstarted_in_row,
            timeouts_hit,
            redrives,
        }
    }

    /// Puts it where the task keeps it; `None` where the fence is not the one of so many runs.
    fn into(self, mut task: Task) -> Option<Task> {
        let tally = Tally {
            since: task.unless_accepted(self.budget_since),
            failures: self.failures,
            crashes: self.crashes,
            deferrals: self.deferrals,
            unstarted_in_row: self.unstarted_in_row,
            timeouts_hit: self.timeouts_hit,
            redrives: self.redrives,
        };
        task.set_tally(tally);
        (task.runs() == self.runs).then_some(task)
    }
}

shape!(Own { ; policy, max_attempts, timeouts, terms, then });

shape!(Payload { data; content_type });

shape!(Timeouts { ; soft_ms, hard_ms, extend_max_ms });

shape!(Side {
    ;
    labels, history, rule_retries, last_failure, checkpoint, origin, hops, previous_delay_ms, more
} without { tally: Tally::default() });

variants!(State {
    1 = Pending { not_before },
    2 = Leased(lease),
    3 = Dead { reason, at },
    4 = Finished(finished),
});

shape!(Lease {
    fence, nonce via fixed, holder, worker, granted_at, timeouts;
    started_at, cancel_requested, cancel, delivery
});

variants!(Holder {
    1 = Session(session),
    2 = Unary { ttl_ms },
});

shape!(Finished { outcome, at; result, label, expires_at });

shape!(RunRecord {
    run, attempt, worker, leased_at, ended_at, outcome;
    started, failure, rule, policy, delay, note, policy_source, policy_revision
});

shape!(Delay { base_ms, drawn_ms });

shape!(Failure { class, message; code, error_type, ancestors, stack, expected });

shape!(Leaves {
    ;
    failure, delay_ms, rule_counted, timeout_hit, payload, checkpoint, max_attempts
});

variants!(Priority {
    1 = Highest,
    2 = High,
    3 = Normal,
    4 = Low,
    5 = Lowest,
});

variants!(Outcome {
    1 = Succeeded,
    2 = Failed,
    3 = Cancelled,
    4 = Discarded,
    5 = Routed,
});

variants!(RunOutcome {
    1 = Succeeded,
    2 = Failed,
    3 = Retried,
    4 = Deferred,
    5 = Released,
    6 = TimedOut,
    7 = Crashed,
    8 = Unstarted,
    9 = Discarded,
    10 = Cancelled,
});

variants!(FailureClass {
    1 = Network,
    2 = RateLimited,
    3 = Conflict,
    4 = DependencyDown,
    5 = Invalid,
    6 = NotFound,
    7 = Auth,
    8 = Timeout,
    9 = WorkerLost,
    10 = UnknownKind,
    11 = Internal,
    12 = Business,
});

variants!(Budget {
    1 = Attempt,
    2 = Crash,
    3 = Deferral,
});

variants!(DeadReason {
    1 = AttemptsExhausted,
    2 = RetryDurationExceeded,
    3 = NotRetryable,
    4 = Rule,
    5 = CrashesExhausted,
    6 = DeferralsExhausted,
    7 = Undeliverable,
    8 = TransferInvalid,
    9 = TtlExpired,
    10 = DeadlineExceeded,
    11 = LeaseLost,
});

part_unless_default!(Priority);
part_unless_default!(History);
part_unless_default!(Leaves);

impl Item for RunRecord {
    const BYTES_MIN: usize = 7;
}

/// The first runs, the last runs, and how many between them were not kept.
impl Wire for History {
    fn put(&self, w: &mut Writer<'_>) {
        let (first, last, omitted) = self.parts();
        w.varint(first.len() as u64);
        first.iter().for_each(|run| run.put(w));
        w.varint(last.len() as u64);
        last.iter().for_each(|run| run.put(w));
        omitted.put(w);
    }

    fn get(r: &mut Reader<'_, '_>, field: &'static str) -> Result<Self, DecodeError> {
        let before = r.cursor.clone();
        let first: Vec<RunRecord> = Vec::get(r, "History.first")?;
        let last: Vec<RunRecord> = Vec::get(r, "History.last")?;
        let omitted = u32::get(r, "History.omitted")?;
        let kept = (first.len() + last.len()) as u64;
        let restored = Self::restored(first, last, omitted);
        restored.ok_or_else(|| before.error(field, Problem::TooMany(kept)))
    }
}
