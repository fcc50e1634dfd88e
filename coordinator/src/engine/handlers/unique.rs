//! What happens where another task is there already, under the same key.
//!
//! Owns the two kinds of keys. An *idempotency key* is remembered for its window, whatever becomes of
//! its task. A *unique key* is held by a task itself in the states of its scope: there is no lock
//! that could be left behind.

use crate::mutants::{self, Mutant};
use std::collections::VecDeque;
use std::sync::Arc;

use crate::engine::command::{NewTask, NewUnique, OnConflict};
use crate::engine::edit::Edit;
use crate::engine::effect::{Accepted, EnqueueEffect};
use crate::engine::event::Event;
use crate::engine::ids::{QueueName, ShardId, TaskId, Timestamp};
use crate::engine::ledger::memory::{Memory, MemoryKey};
use crate::engine::ledger::more::{ActKind, Life};
use crate::engine::ledger::task::{State, Task};
use crate::engine::rejection::Rejection;
use crate::engine::step::Step;

use super::enqueue::{check_room, existing, instant, own_of};
use super::{edit, remember, resolve, tick};

/// What an idempotency key is remembered under.
pub(super) fn memory_key(queue: &QueueName, key: &Arc<str>) -> MemoryKey {
    MemoryKey::Key {
        queue: queue.clone(),
        key: key.clone(),
    }
}

/// The task that was accepted with this idempotency key, while its window lasts.
pub(super) fn by_key(
    step: &Step<'_>,
    key: &MemoryKey,
    digest: u64,
) -> Result<Option<TaskId>, Rejection> {
    let Some(memory) = remember::known(step, key) else {
        return Ok(None);
    };
    let task = memory.task(0);
    match task {
        Some(task) if memory.digest != digest => Err(Rejection::KeyReused { task }),
        task => Ok(task),
    }
}

/// Remembers that a task was accepted with a key, for its window.
pub(super) fn remember_key(
    step: &mut Step<'_>,
    id: TaskId,
    queue: &QueueName,
    (key, window_ms, digest): (Arc<str>, u64, u64),
) {
    let at = step.now();
    let key = memory_key(queue, &key);
    let memory = Box::new(Memory {
        at,
        expires_at: at.plus_ms(window_ms >> u32::from(mutants::is(Mutant::KeyForgottenEarly))),
        digest,
        tasks: VecDeque::from([(0, id)]),
        recorded_at: 0,
    });
    step.record(id.shard(), Event::Remembered { key, memory });
}

/// The task that holds a unique key. One whose time is over ends first: it is as good as gone.
pub(super) fn live_holder(
    step: &mut Step<'_>,
    shard: ShardId,
    queue: &QueueName,
    key: &Arc<str>,
) -> Option<TaskId> {
    // Ends after as many rounds as there are holders: each that is over is ended.
    loop {
        let id = holder(step, shard, queue, key)?;
        if !tick::end_if_over(step, id) {
            return Some(id);
        }
    }
}

/// The task that holds a unique key.
pub(super) fn holder(
    step: &Step<'_>,
    shard: ShardId,
    queue: &QueueName,
    key: &Arc<str>,
) -> Option<TaskId> {
    step.agenda(shard).queue(queue)?.holder(key)
}

/// What the newcomer wants to happen where another task holds its key.
pub(super) fn conflict(
    step: &mut Step<'_>,
    holder: TaskId,
    queue: &QueueName,
    new: NewTask,
    by: &Arc<str>,
) -> Result<Accepted, Rejection> {
    let keys = new.keys.as_deref().expect("a conflict is about a key");
    let wanted = keys.unique.clone().expect("a conflict is about a key");
    let (how, edit) = match wanted.on_conflict {
        OnConflict::ReturnExisting => {
            return Ok(keep_key(step, holder, queue, &new, existing(holder)));
        }
        OnConflict::Reject => {
            let wanted = "wait until it has left the states of its scope, or use on_conflict";
            return Err(held(step, holder, wanted));
        }
        OnConflict::ReplaceWaiting => {
            check_room(step, holder.shard(), queue, &new)?;
            let edit = replacing(step, holder, &wanted, new.clone())?;
            (EnqueueEffect::Replaced, edit)
        }
        OnConflict::RescheduleWaiting => {
            let edit = rescheduling(step, holder, &wanted, &new)?;
            (EnqueueEffect::Rescheduled, edit)
        }
    };
    let by = by.clone();
    edit::record(step, holder, Edit { by, ..edit });
    let accepted = Accepted { id: holder, how };
    Ok(keep_key(step, holder, queue, &new, accepted))
}

/// The newcomer's idempotency key, if it has one, means the holder from now on.
fn keep_key(
    step: &mut Step<'_>,
    holder: TaskId,
    queue: &QueueName,
    new: &NewTask,
    accepted: Accepted,
) -> Accepted {
    let keys = new.keys.as_deref().expect("a conflict is about a key");
    if let Some(key) = &keys.key {
        let key = (key.clone(), keys.window_ms, keys.digest);
        remember_key(step, holder, queue, key);
    }
    accepted
}

fn waiting<'s>(step: &'s Step<'_>, holder: TaskId) -> Result<&'s Task, Rejection> {
    let task = step.task(holder).expect("the agenda mirrors the ledger");
    match &task.state {
        State::Pending { .. } => Ok(task),
        State::Leased(_) | State::Dead { .. } | State::Finished(_) => {
            let wanted = "only a waiting one can be changed; let its scope be WAITING to enqueue \
                          another one meanwhile";
            Err(held(step, holder, wanted))
        }
    }
}

fn start_of(step: &Step<'_>, task: &Task, wanted: &NewUnique, new: &NewTask) -> Timestamp {
    let start = instant(step.now(), new.start);
    let latest = wanted
        .postpone_max_ms
        .map(|ms| task.enqueued_at.plus_ms(ms));
    latest.map_or(start, |latest| start.min(latest))
}

fn replacing(
    step: &Step<'_>,
    holder: TaskId,
    wanted: &NewUnique,
    mut new: NewTask,
) -> Result<Edit, Rejection> {
    let task = waiting(step, holder)?;
    if task.kind != new.kind {
        return Err(held(
            step,
            holder,
            "its kind is another one: it cannot be replaced",
        ));
    }
    let not_before = start_of(step, task, wanted, &new);
    let own = own_of(&mut new);
    let levels = resolve::Levels {
        own: own.terms.as_deref(),
        ..resolve::Levels::of(step, &task.queue, &task.kind)
    };
    // What is said now is not over at once because the other task is late.
    let life = resolve::life(&levels, not_before.max(step.now()));
    Ok(Edit {
        payload: Some(new.payload),
        version: Some(new.version),
        priority: Some(new.priority),
        labels: Some(new.labels),
        not_before: Some(not_before),
        life: life.or_else(|| task.life().map(|_| Life::default())),
        own: Some(Box::new(own)),
        ..Edit::new(ActKind::Replaced, Arc::default(), Arc::default())
    })
}

fn rescheduling(
    step: &Step<'_>,
    holder: TaskId,
    wanted: &NewUnique,
    new: &NewTask,
) -> Result<Edit, Rejection> {
    let task = waiting(step, holder)?;
    let not_before = start_of(step, task, wanted, new);
    // Once it has run, its time goes on. A bound that is past takes away nothing of what was left,
    // and gives nothing.
    let unborn = task.life().filter(|life| !life.begun);
    let life = unborn.map(|life| Life {
        from: not_before.max(life.from.min(step.now())),
        ..life
    });
    Ok(Edit {
        not_before: Some(not_before),
        life,
        ..Edit::new(ActKind::Rescheduled, Arc::default(), Arc::default())
    })
}

fn held(step: &Step<'_>, holder: TaskId, wanted: &'static str) -> Rejection {
    let task = step.task(holder).expect("the agenda mirrors the ledger");
    Rejection::UniqueKeyHeld {
        task: holder,
        state: task.view(step.now()).name(),
        wanted,
    }
}
