//! Cancels live tasks.
//!
//! Owns what a cancel means in each state and mode. A cancel of a leased task is a fact that every
//! end but success obeys (rule 16), over reconnects and restarts; once the answer says that a task
//! is cancelled, it never runs again.

use std::sync::Arc;

use crate::engine::clocks::Alarm;
use crate::engine::command::{Cancel, CancelMode};
use crate::engine::effect::{Answer, CancelReason};
use crate::engine::event::Event;
use crate::engine::ids::TaskId;
use crate::engine::ledger::history::RunOutcome;
use crate::engine::ledger::more::{Act, ActKind, CancelOrder};
use crate::engine::ledger::task::{Holder, Outcome, State};
use crate::engine::rejection::Rejection;
use crate::engine::retry::Ending;
use crate::engine::step::Step;

use super::end_run::{Ended, Extra, end_run};
use super::{end_run, resolve};

/// Cancels a task that waits; ends the run of one that is leased, or asks its worker to.
pub(super) fn cancel(
    step: &mut Step<'_>,
    id: TaskId,
    cancel: &Cancel,
    by: &Arc<str>,
) -> Result<Answer, Rejection> {
    let task = step.task(id).ok_or(Rejection::TaskNotFound(id))?;
    match &task.state {
        State::Pending { .. } => {
            let act = Act {
                at: step.now(),
                what: ActKind::CancelRequested,
                by: by.clone(),
                note: cancel.reason.clone(),
            };
            end_run::end_task(step, id, Outcome::Cancelled, act);
        }
        State::Leased(_) => leased(step, id, cancel, by)?,
        State::Dead { .. } => {
            let wanted = "only live tasks are cancelled; discard a dead letter instead";
            return Err(wrong_state(step, id, wanted));
        }
        State::Finished(_) => {
            return Err(wrong_state(step, id, "only live tasks are cancelled"));
        }
    }
    cancelled(step, id)
}

/// A task that was cancelled, or asked to stop, as it stands: asked again, that may be a success.
pub(super) fn cancelled(step: &Step<'_>, id: TaskId) -> Result<Answer, Rejection> {
    let task = step.task(id).ok_or(Rejection::TaskNotFound(id))?;
    let over = match &task.state {
        State::Finished(finished) => finished.outcome == Outcome::Cancelled,
        State::Pending { .. } | State::Leased(_) | State::Dead { .. } => false,
    };
    Ok(Answer::Cancelled {
        over,
        task: Box::new(resolve::view(step, task)),
    })
}

fn leased(
    step: &mut Step<'_>,
    id: TaskId,
    cancel: &Cancel,
    by: &Arc<str>,
) -> Result<(), Rejection> {
    let at = step.now();
    let until = match cancel.mode {
        CancelMode::IfWaiting => {
            let wanted =
                "only waiting tasks are cancelled in this mode; COOPERATIVE asks its worker";
            return Err(wrong_state(step, id, wanted));
        }
        CancelMode::Cooperative { grace_ms } => grace_ms.map(|ms| at.plus_ms(ms)),
        CancelMode::Force => Some(at),
    };
    let order = CancelOrder {
        at,
        until,
        by: by.clone(),
        reason: cancel.reason.clone(),
    };
    if is_news(step, id, &order) {
        let order = Box::new(order);
        step.record(id.shard(), Event::CancelRequested { id, order });
    }
    if until.is_some_and(|until| until <= at) {
        revoke(step, id);
    } else {
        set_alarm(step, id);
        tell(step, id);
    }
    Ok(())
}

/// Whether an order says more than the one before: the first, or one that ends sooner.
fn is_news(step: &Step<'_>, id: TaskId, order: &CancelOrder) -> bool {
    let lease = step.task(id).and_then(|task| task.lease());
    let lease = lease.expect("looked at a moment ago");
    let known = lease.cancel.as_deref();
    !lease.cancel_requested
        || match (order.until, known.and_then(|known| known.until)) {
            (Some(new), Some(old)) => new < old,
            (Some(_), None) => true,
            (None, _) => false,
        }
}

/// Tells the worker that holds a task to end it, as the order says.
pub(super) fn tell(step: &mut Step<'_>, id: TaskId) {
    let now = step.now();
    let Some(task) = step.task(id) else { return };
    let (Some(token), Some(lease)) = (task.token(), task.lease()) else {
        return;
    };
    let Holder::Session(session) = lease.holder else {
        return;
    };
    let order = lease.cancel.as_deref();
    let reason = order.map_or_else(Arc::default, |order| order.reason.clone());
    let grace_ms = order.and_then(|order| order.until);
    let grace_ms = grace_ms.map(|until| until.since_ms(now));
    step.tell_cancel(session, token, (CancelReason::Requested, &reason), grace_ms);
}

/// Sets the alarm for the end of the handler's time.
pub(super) fn set_alarm(step: &mut Step<'_>, id: TaskId) {
    let lease = step.task(id).and_then(|task| task.lease());
    let until = lease.and_then(|lease| lease.cancel.as_deref()?.until);
    if let Some(until) = until {
        step.clocks_mut().set(Alarm::Cancel(id), until);
    }
}

/// The handler's time is over: the lease is taken away, and the task is cancelled.
pub(super) fn revoke(step: &mut Step<'_>, id: TaskId) {
    let task = step.task(id).expect("alarms are of leased tasks");
    let (Some(token), Some(lease)) = (task.token(), task.lease()) else {
        return;
    };
    let holder = lease.holder;
    let extra = Extra {
        outcome: Some(RunOutcome::Cancelled),
        ..Extra::default()
    };
    end_run(step, id, Ended::Judged(Ending::Released), extra);
    if let Holder::Session(session) = holder {
        let detail = "the task was cancelled and the lease is gone";
        step.tell_cancel(session, token, (CancelReason::Revoked, detail), None);
    }
}

/// The rejection of something that the task's state does not allow.
pub(super) fn wrong_state(step: &Step<'_>, id: TaskId, wanted: &'static str) -> Rejection {
    let state = step
        .task(id)
        .map_or("gone", |task| task.view(step.now()).name());
    Rejection::WrongState { id, state, wanted }
}

/// The task as it stands.
pub(super) fn answer(step: &Step<'_>, id: TaskId) -> Result<Answer, Rejection> {
    let task = step.task(id).ok_or(Rejection::TaskNotFound(id))?;
    Ok(Answer::Task(Box::new(resolve::view(step, task))))
}
