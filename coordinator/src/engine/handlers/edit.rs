//! Changes a live task at somebody's wish: time limits, content, priority, start.
//!
//! Owns which change is possible in which state. Time limits change a running attempt at once; the
//! rest is of tasks that wait, or are dead letters.

use std::sync::Arc;

use crate::engine::command::TaskChange;
use crate::engine::edit::Edit;
use crate::engine::effect::Answer;
use crate::engine::event::Event;
use crate::engine::ids::TaskId;
use crate::engine::ledger::more::{ActKind, Life};
use crate::engine::ledger::task::{Own, State, Task};
use crate::engine::rejection::Rejection;
use crate::engine::step::Step;

use super::cancel::{answer, wrong_state};
use super::enqueue::instant;
use super::tick;

/// Changes a task; all of what is asked for, or nothing.
pub(super) fn update(
    step: &mut Step<'_>,
    id: TaskId,
    change: &TaskChange,
    by: &Arc<str>,
) -> Result<Answer, Rejection> {
    let task = step.task(id).ok_or(Rejection::TaskNotFound(id))?;
    let edit = edit_of(step, task, change, by);
    match &task.state {
        State::Finished(_) => {
            return Err(wrong_state(
                step,
                id,
                "it is over, nothing of it can change",
            ));
        }
        State::Leased(_) if edit.is_some() => {
            let wanted = "while a worker holds it only its timeouts can change; cancel it, or wait";
            return Err(wrong_state(step, id, wanted));
        }
        State::Dead { .. } if change.start.is_some() => {
            let wanted = "a dead letter has no start; redrive it with a delay instead";
            return Err(wrong_state(step, id, wanted));
        }
        State::Pending { .. } | State::Leased(_) | State::Dead { .. } => {}
    }
    if let Some(edit) = edit {
        record(step, id, edit);
    } else if let Some(timeouts) = change.timeouts {
        // Who did it is an edit that changes nothing.
        let edit = Edit::new(ActKind::Edited, by.clone(), change.reason.clone());
        record(step, id, edit);
        step.record(id.shard(), Event::TimeoutsChanged { id, timeouts });
        tick::limits_changed(step, id);
    }
    answer(step, id)
}

/// Makes an edit a fact; a task that waits is offered anew.
pub(super) fn record(step: &mut Step<'_>, id: TaskId, edit: Edit) {
    let (at, edit) = (step.now(), Box::new(edit));
    step.record(id.shard(), Event::TaskEdited { id, at, edit });
    let queue = step.task(id).expect("edited a moment ago").queue.clone();
    // Another task may be the first of its lane now, for those who had no room for this one.
    step.unblock_queue(&queue);
    step.touch_queue(&queue);
}

/// What of a change is an edit; `None` where nothing is.
fn edit_of(step: &Step<'_>, task: &Task, change: &TaskChange, by: &Arc<str>) -> Option<Edit> {
    let mut edit = Edit::new(ActKind::Edited, by.clone(), change.reason.clone());
    edit.payload.clone_from(&change.payload);
    edit.priority = change.priority;
    edit.not_before = change.start.map(|start| instant(step.now(), start));
    // Ttl and deadline count from when it may first start: from the new start, until it has begun.
    edit.life = edit.not_before.and_then(|from| {
        let life = task.life().filter(|life| !life.begun)?;
        Some(Life { from, ..life })
    });
    // Those of a running attempt change by an event of their own.
    let timeouts = change.timeouts.filter(|_| task.lease().is_none());
    if change.max_attempts.is_some() || timeouts.is_some() {
        let own = task.own.as_deref().cloned().unwrap_or_default();
        edit.own = Some(Box::new(Own {
            max_attempts: change.max_attempts.or(own.max_attempts),
            timeouts: timeouts.or(own.timeouts),
            ..own
        }));
    }
    let changes = edit.payload.is_some()
        || edit.priority.is_some()
        || edit.not_before.is_some()
        || edit.own.is_some();
    changes.then_some(edit)
}
