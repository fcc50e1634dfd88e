//! Time has passed: what is due happens, a bounded part of it each turn.
//!
//! Owns the order of duties. What is left over is announced by `next_deadline`.

use crate::engine::clocks::Alarm;
use crate::engine::effect::{CancelReason, ToWorker};
use crate::engine::event::Event;
use crate::engine::failure::{Failure, FailureClass};
use crate::engine::ids::TaskId;
use crate::engine::ledger::history::RunOutcome;
use crate::engine::ledger::task::{Holder, Task};
use crate::engine::limits;
use crate::engine::retry::{DeadReason, Ending};
use crate::engine::sessions::Member;
use crate::engine::step::Step;
use crate::mutants::{self, Mutant};

use super::end_run::{Ended, Extra, end_run};
use super::{beat, cancel, dispatch, end_run, query, remember, session};

/// Alarms handled by one tick.
const ALARMS_MAX: usize = 1000;

/// Finished tasks that one tick removes, over all shards.
const EXPIRED_MAX: usize = 4096;

/// The engine was not listening: silence counts only while it did (rule 10).
pub(super) fn late(step: &mut Step<'_>, ms: u64) {
    step.sessions_mut().lateness_ms += ms;
    step.clocks_mut().postpone_lives(ms);
}

/// Does what is due.
pub(super) fn handle(step: &mut Step<'_>) {
    session::record_begun(step);
    session::wake_due(step);
    ring_due(step);
    end_overdue(step);
    step.promote_due(limits::PROMOTIONS_PER_TURN_MAX);
    step.retry_blocked();
    expire(step);
    remember::expire(step);
}

fn ring_due(step: &mut Step<'_>) {
    let now = step.now();
    for _ in 0..ALARMS_MAX {
        if step.is_full() {
            return;
        }
        let Some(alarm) = step.clocks_mut().pop_due(now) else {
            return;
        };
        match alarm {
            Alarm::Soft(id) => soft_limit(step, id),
            Alarm::Hard(id) => hard_limit(step, id),
            Alarm::Life(id) => life_over(step, id),
            Alarm::Cancel(id) => cancel::revoke(step, id),
            Alarm::Checkpoint(id) => beat::save(step, id),
            Alarm::Wait(request) => {
                if step.sessions().polls.contains_key(&request) {
                    dispatch::finish_poll(step, request);
                } else {
                    query::end_wait(step, request);
                }
            }
        }
    }
}

/// The handler should come to an end: its worker is reminded (S30).
fn soft_limit(step: &mut Step<'_>, id: TaskId) {
    let task = step.task(id).expect("alarms are of leased tasks");
    let (Some(token), Some(lease)) = (task.token(), task.lease()) else {
        return;
    };
    let Holder::Session(session) = lease.holder else {
        return;
    };
    let timeouts = lease.timeouts;
    let grace_ms = match (timeouts.soft_ms, timeouts.hard_ms) {
        (Some(soft), Some(hard)) => Some(hard.saturating_sub(soft)),
        (None, _) | (_, None) => None,
    };
    let detail = "the soft limit is over: finish or report";
    step.tell_cancel(
        session,
        token,
        (CancelReason::SoftTimeout, detail),
        grace_ms,
    );
}

/// The worker did not end a run that is over its hard limit: the coordinator does (S31).
fn hard_limit(step: &mut Step<'_>, id: TaskId) {
    let task = step.task(id).expect("alarms are of leased tasks");
    let (Some(token), Some(lease)) = (task.token(), task.lease()) else {
        return;
    };
    let holder = lease.holder;
    let hard_ms = lease.timeouts.hard_ms.unwrap_or_default();
    let message = format!("the run was over its hard limit of {hard_ms} ms");
    let failure = Failure::new(FailureClass::Timeout, &message);
    let ending = Ending::Overrun { failure: &failure };
    let extra = Extra {
        outcome: Some(RunOutcome::TimedOut),
        ..Extra::default()
    };
    end_run(step, id, Ended::Judged(ending), extra);
    if let Holder::Session(session) = holder {
        let detail = "the hard limit is over and the lease is gone";
        step.tell_cancel(session, token, (CancelReason::HardTimeout, detail), None);
    }
}

/// A unary lease was not extended: its worker counts as lost.
fn life_over(step: &mut Step<'_>, id: TaskId) {
    let task = step.task(id).expect("alarms are of leased tasks");
    let Some(worker) = task.lease().map(|lease| lease.worker.clone()) else {
        return;
    };
    let message = format!("worker {worker} let its lease lapse: it neither extended nor reported");
    let failure = Failure::new(FailureClass::WorkerLost, &message);
    end_run(
        step,
        id,
        Ended::Judged(Ending::Crashed { failure: &failure }),
        Extra::default(),
    );
}

/// Tasks whose ttl or deadline is over end, on time, a bounded number of them.
fn end_overdue(step: &mut Step<'_>) {
    let now = step.now();
    let mut left = limits::EXPIRIES_PER_TURN_MAX;
    for shard in step.shard_ids() {
        while left > 0 && !step.is_full() {
            let Some(id) = step.agenda(shard).due_death(now) else {
                break;
            };
            left -= 1;
            over(step, id);
        }
    }
}

/// Whether the time of a task that waits is over, before the tick that ends such tasks: it ends now,
/// where the step has room for that, and nobody gets it.
pub(super) fn is_over(step: &mut Step<'_>, id: TaskId) -> bool {
    let is_over = should_be_over(step, id);
    if is_over && !step.is_full() {
        over(step, id);
    }
    is_over
}

/// Whether the time of a task that waits is over.
pub(super) fn should_be_over(step: &Step<'_>, id: TaskId) -> bool {
    let dies_at = step.task(id).and_then(Task::dies_at);
    let ignored = mutants::is(Mutant::DeadlineIgnored);
    dies_at.is_some_and(|at| at <= step.now()) && !ignored
}

/// Ends a task whose time is over, however much the step has recorded: one whose key is asked for.
pub(super) fn end_if_over(step: &mut Step<'_>, id: TaskId) -> bool {
    let dies_at = step.task(id).and_then(Task::dies_at);
    let is_over = dies_at.is_some_and(|at| at <= step.now());
    if is_over {
        over(step, id);
    }
    is_over
}

/// One task's time is over.
fn over(step: &mut Step<'_>, id: TaskId) {
    let task = step.task(id).expect("deaths are of live tasks");
    let (Some(token), Some(lease)) = (task.token(), task.lease()) else {
        let end_by = task.life().and_then(|life| life.end_by());
        let reason = if end_by == task.dies_at() {
            DeadReason::DeadlineExceeded
        } else {
            DeadReason::TtlExpired
        };
        end_run::expire(step, id, reason);
        return;
    };
    let holder = lease.holder;
    let reason = DeadReason::DeadlineExceeded;
    end_run(
        step,
        id,
        Ended::Judged(Ending::Expired { reason }),
        Extra::default(),
    );
    if let Holder::Session(session) = holder {
        let detail = "the task's deadline is over and the lease is gone";
        step.tell_cancel(session, token, (CancelReason::Deadline, detail), None);
    }
}

/// Finished tasks whose time is over are forgotten (rule 14).
fn expire(step: &mut Step<'_>) {
    let at = step.now();
    let mut left = EXPIRED_MAX;
    for shard in step.shard_ids() {
        let early = u64::from(mutants::is(Mutant::FinishedForgottenEarly)) * 1000;
        let due = step
            .ledger(shard)
            .finished_through((at.plus_ms(early), TaskId::MAX));
        let (count, last) = due
            .take(left)
            .fold((0, None), |(count, _), place| (count + 1, Some(place)));
        if let Some((at, last)) = last {
            left -= count;
            step.record(shard, Event::ExpiredThrough { at, last });
        }
    }
}

/// A running task's limits were replaced: its alarms and its worker follow.
pub(super) fn limits_changed(step: &mut Step<'_>, id: TaskId) {
    let task = step.task(id).expect("changed a moment ago");
    let Some(lease) = task.lease() else { return };
    let (holder, started_at, token) = (lease.holder, lease.started_at, task.token());
    let timeouts = lease.timeouts;
    let begun_at = match holder {
        Holder::Session(session) => {
            let session = step.sessions().get(session);
            session
                .and_then(|s| s.held.get(&id))
                .and_then(|held| held.begun_at)
        }
        Holder::Unary { .. } => None,
    };
    dispatch::set_limits(step, id, started_at.or(begun_at));
    if let (Holder::Session(session), Some(token)) = (holder, token) {
        let known = step.sessions_mut().get_mut(session);
        let link = known.and_then(|known| {
            known.held.get_mut(&id)?.limits_changed = true;
            known.link
        });
        if let Some(link) = link {
            step.tell(link, ToWorker::Timeouts { token, timeouts });
        }
        step.touch_member(Member::Session(session));
    }
}
