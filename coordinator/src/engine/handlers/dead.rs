//! Dead letters: redrive and discard, one or many.
//!
//! Owns what an operator does with them. A bulk act is a sequence of bounded steps (rule 17); what
//! dies again meanwhile is left alone.

use std::sync::Arc;

use crate::engine::command::{Bulk, BulkAct, Cancel, Cursor};
use crate::engine::effect::Answer;
use crate::engine::event::Event;
use crate::engine::ids::{TaskId, Timestamp};
use crate::engine::ledger::more::{Act, ActKind};
use crate::engine::ledger::task::{Outcome, State};
use crate::engine::limits;
use crate::engine::rejection::Rejection;
use crate::engine::step::Step;

use super::query::{scan_dead, scan_live};
use super::{cancel, end_run};

/// Puts one dead letter back with a fresh budget.
pub(super) fn redrive(
    step: &mut Step<'_>,
    id: TaskId,
    delay_ms: u64,
    (by, note): (&Arc<str>, &Arc<str>),
) -> Result<Answer, Rejection> {
    check_dead(step, id, "only dead letters are redriven")?;
    if !can_run_again(step, id) {
        let wanted = "it has used up its runs; enqueue it anew";
        return Err(cancel::wrong_state(step, id, wanted));
    }
    put_back(step, id, delay_ms, (by, note));
    cancel::answer(step, id)
}

/// Deletes one dead letter for good.
pub(super) fn discard(
    step: &mut Step<'_>,
    id: TaskId,
    who: (&Arc<str>, &Arc<str>),
) -> Result<Answer, Rejection> {
    check_dead(step, id, "only dead letters are discarded")?;
    throw_away(step, id, who);
    cancel::answer(step, id)
}

fn check_dead(step: &Step<'_>, id: TaskId, wanted: &'static str) -> Result<(), Rejection> {
    let task = step.task(id).ok_or(Rejection::TaskNotFound(id))?;
    match task.state {
        State::Dead { .. } => Ok(()),
        State::Pending { .. } | State::Leased(_) | State::Finished(_) => {
            Err(cancel::wrong_state(step, id, wanted))
        }
    }
}

/// Whether the fence has a number for another run.
fn can_run_again(step: &Step<'_>, id: TaskId) -> bool {
    step.task(id)
        .is_some_and(|task| task.runs() < limits::RUNS_MAX)
}

fn put_back(step: &mut Step<'_>, id: TaskId, delay_ms: u64, (by, note): (&Arc<str>, &Arc<str>)) {
    let at = step.now();
    let queue = step
        .task(id)
        .expect("found dead a moment ago")
        .queue
        .clone();
    let not_before = at.plus_ms(delay_ms);
    let (by, note) = (by.clone(), note.clone());
    step.record(
        id.shard(),
        Event::TaskRedriven {
            id,
            at,
            not_before,
            by,
            note,
            kept: true,
        },
    );
    step.touch_queue(&queue);
}

/// One step of a bulk act.
pub(super) fn bulk(step: &mut Step<'_>, bulk: &Bulk, by: &Arc<str>) -> Answer {
    let count_max = bulk.count_max.min(limits::BULK_TASKS_MAX);
    let wanted = |at: Timestamp| at < bulk.before;
    let (selection, after) = (&bulk.selection, bulk.after.as_ref());
    let (ids, next) = match bulk.act {
        BulkAct::Count | BulkAct::Redrive { .. } | BulkAct::Discard => {
            scan_dead(step, selection, after, count_max, &wanted)
        }
        BulkAct::CountLive | BulkAct::Cancel(_) => {
            scan_live(step, selection, after, count_max, bulk.before)
        }
    };
    let matched = ids.len() as u64;
    let changed = match &bulk.act {
        BulkAct::Count | BulkAct::CountLive => 0,
        BulkAct::Cancel(how) => return cancel_some(step, &ids, (how, by), next),
        BulkAct::Redrive { delay_ms, step_us } => {
            let ids = ids.iter().filter(|id| can_run_again(step, **id));
            let ids: Vec<TaskId> = ids.copied().collect();
            for (index, id) in (0..).zip(&ids) {
                let further_ms = step_us.saturating_mul(index) / 1000;
                let delay_ms = delay_ms.saturating_add(further_ms);
                put_back(step, *id, delay_ms, (by, &bulk.reason));
            }
            ids.len() as u64
        }
        BulkAct::Discard => {
            ids.iter()
                .for_each(|id| throw_away(step, *id, (by, &bulk.reason)));
            matched
        }
    };
    Answer::Bulk {
        matched,
        changed,
        next,
    }
}

/// Cancels live tasks, at least one and no more than a turn should hold: what follows each is part
/// of it.
fn cancel_some(
    step: &mut Step<'_>,
    ids: &[TaskId],
    (how, by): (&Cancel, &Arc<str>),
    mut next: Option<Cursor>,
) -> Answer {
    let (mut matched, mut changed) = (0_usize, 0);
    for id in ids {
        if let Some(before) = matched.checked_sub(1)
            && step.is_full()
        {
            let last = ids.get(before);
            next = last.map(|id| Cursor::Task {
                shard: id.shard(),
                id: *id,
            });
            break;
        }
        matched += 1;
        changed += u64::from(cancel::cancel(step, *id, how, by).is_ok());
    }
    Answer::Bulk {
        matched: matched as u64,
        changed,
        next,
    }
}

fn throw_away(step: &mut Step<'_>, id: TaskId, (by, note): (&Arc<str>, &Arc<str>)) {
    let act = Act {
        at: step.now(),
        what: ActKind::Discarded,
        by: by.clone(),
        note: note.clone(),
    };
    end_run::end_task(step, id, Outcome::Discarded, act);
}

/// Where a dead letter stands in the order of scans.
pub(super) fn cursor_of(step: &Step<'_>, id: TaskId) -> Option<Cursor> {
    let task = step.task(id)?;
    match &task.state {
        State::Dead { at, .. } => Some(Cursor::Dead {
            shard: id.shard(),
            queue: task.queue.clone(),
            at: *at,
            id,
        }),
        State::Pending { .. } | State::Leased(_) | State::Finished(_) => None,
    }
}
