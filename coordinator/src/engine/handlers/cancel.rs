//! Changes a live task: cancel, new time limits.
//!
//! Owns what each means in each state. A cancel of a leased task is a fact that every end but
//! success obeys (rule 16).

use crate::engine::effect::{Answer, CancelReason};
use crate::engine::event::Event;
use crate::engine::ids::TaskId;
use crate::engine::ledger::task::{Holder, Outcome, State, Timeouts};
use crate::engine::rejection::Rejection;
use crate::engine::step::Step;

use super::{end_run, resolve, tick};

/// Cancels a task that waits; asks the worker of one that is leased to stop.
pub(super) fn cancel(step: &mut Step<'_>, id: TaskId, reason: &str) -> Result<Answer, Rejection> {
    let task = step.task(id).ok_or(Rejection::TaskNotFound(id))?;
    match &task.state {
        State::Pending { .. } => end_run::end_task(step, id, Outcome::Cancelled),
        State::Leased(lease) => {
            let (holder, asked, token) = (lease.holder, lease.cancel_requested, task.token());
            if !asked {
                step.record(id.shard(), Event::CancelRequested { id });
            }
            if let (Holder::Session(session), Some(token)) = (holder, token) {
                step.tell_cancel(session, token, (CancelReason::Requested, reason), None);
            }
        }
        State::Dead { .. } => {
            let wanted = "only live tasks are cancelled; discard a dead letter instead";
            return Err(wrong_state(step, id, wanted));
        }
        State::Finished(_) => {
            return Err(wrong_state(step, id, "only live tasks are cancelled"));
        }
    }
    answer(step, id)
}

/// Replaces the time limits of a task, effective at once.
pub(super) fn update(
    step: &mut Step<'_>,
    id: TaskId,
    timeouts: Timeouts,
) -> Result<Answer, Rejection> {
    let task = step.task(id).ok_or(Rejection::TaskNotFound(id))?;
    if matches!(task.state, State::Finished(_)) {
        return Err(wrong_state(step, id, "its time limits matter no more"));
    }
    step.record(id.shard(), Event::TimeoutsChanged { id, timeouts });
    tick::limits_changed(step, id);
    answer(step, id)
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
