//! Requests that are made twice are done once (rule 8).
//!
//! Owns what a repeated request is answered, whatever it asked for, and what is remembered of it:
//! with what it changed, in the same turn. Requests without an id are not looked at.

use crate::mutants::{self, Mutant};
use std::sync::Arc;

use crate::engine::command::{Call, Caller, Once, TaskRef};
use crate::engine::effect::Answer;
use crate::engine::event::Event;
use crate::engine::ids::{QueueName, RequestId, TaskId};
use crate::engine::ledger::Ledger;
use crate::engine::ledger::kind::KindName;
use crate::engine::ledger::memory::{Memory, MemoryKey};
use crate::engine::limits;
use crate::engine::rejection::Rejection;
use crate::engine::step::Step;

use super::{call_now, cancel, kind, leaving, query, reference};

/// Handles a call, unless it was handled before; `None` where the reply comes later.
pub(super) fn once(
    step: &mut Step<'_>,
    request: RequestId,
    mut caller: Caller,
    call: Call,
) -> Option<Result<Answer, Rejection>> {
    // Enqueued tasks are remembered one by one: see `enqueue`.
    let remembers = !matches!(call, Call::Enqueue(_));
    let Some(mut once) = caller.once.take_if(|_| remembers) else {
        return call_now(step, request, &caller, call);
    };
    if let Some(task) = named_by_id(&call).and_then(|id| step.task(id)) {
        once.namespace = task.queue.namespace().into();
    }
    let again = again(&call);
    match recall(step, &once) {
        Err(refused) => return Some(Err(refused)),
        Ok(Some(memory)) => {
            let task = memory.task(0);
            return Some(repeat(step, again, task));
        }
        Ok(None) => {}
    }
    if let Err(full) = room(step, &key_of(&once)) {
        return Some(Err(full));
    }
    let task = task_of(step, &call);
    let reply = call_now(step, request, &caller, call);
    if let Some(Ok(_)) = &reply {
        remember(step, &once, task);
    }
    reply
}

/// What is remembered of a request, if it was made before.
pub(super) fn recall<'s>(step: &'s Step<'_>, once: &Once) -> Result<Option<&'s Memory>, Rejection> {
    match known(step, &key_of(once)) {
        Some(memory)
            if memory.digest != once.digest && !mutants::is(Mutant::RequestContentIgnored) =>
        {
            Err(Rejection::RequestIdReused {
                id: once.id.to_string(),
            })
        }
        memory => Ok(memory),
    }
}

/// What is remembered under a key.
pub(super) fn known<'s>(step: &'s Step<'_>, key: &MemoryKey) -> Option<&'s Memory> {
    step.ledger(step.home_of(key)).memory(key, step.now())
}

/// Whether something is remembered under a key, or there is room for it.
pub(super) fn room(step: &Step<'_>, key: &MemoryKey) -> Result<(), Rejection> {
    let limit = step.memories_max();
    if step.ledger(step.home_of(key)).memory_count() < limit || known(step, key).is_some() {
        return Ok(());
    }
    Err(Rejection::MemoriesFull {
        limit: limit as u64,
    })
}

/// Makes room for one more producer: the one that has been silent the longest is forgotten where
/// there are as many as may be. Most are of programs that ended long ago.
pub(super) fn make_room_for_producer(step: &mut Step<'_>) {
    let shards = || step.shard_ids().map(|shard| step.ledger(shard));
    let producers: usize = shards().map(Ledger::producer_count).sum();
    if producers < limits::PRODUCERS_MAX {
        return;
    }
    let first = shards().filter_map(Ledger::first_producer).min();
    let Some((_, key)) = first.cloned() else {
        return;
    };
    let now = step.now();
    let memory = Box::new(Memory {
        at: now,
        expires_at: now,
        ..Memory::default()
    });
    let shard = step.home_of(&key);
    let at = now;
    step.record(
        shard,
        Event::Remembered {
            key: key.clone(),
            memory,
        },
    );
    // What expired before it goes with it, which was due anyway.
    let last = key;
    step.record(shard, Event::MemoriesForgotten { at, last });
}

/// Remembers a request, and the task that it changed.
fn remember(step: &mut Step<'_>, once: &Once, task: Option<TaskId>) {
    let at = step.now();
    let memory = Memory {
        at,
        expires_at: at.plus_ms(once.ttl_ms),
        digest: once.digest,
        tasks: task.map(|id| (0, id)).into_iter().collect(),
        recorded_at: 0,
    };
    let (key, memory) = (key_of(once), Box::new(memory));
    let shard = step.home_of(&key);
    step.record(shard, Event::Remembered { key, memory });
}

/// Forgets what has expired, a bounded part of it.
pub(super) fn expire(step: &mut Step<'_>) {
    let now = step.now();
    let mut left = limits::MEMORIES_FORGOTTEN_MAX;
    for shard in step.shard_ids() {
        let expired = step.ledger(shard).memories_expired(now).take(left);
        let (count, last) = expired.fold((0, None), |(count, _), place| (count + 1, Some(place)));
        left -= count;
        if let Some((at, last)) = last.cloned() {
            step.record(shard, Event::MemoriesForgotten { at, last });
        }
    }
}

pub(super) fn key_of(once: &Once) -> MemoryKey {
    MemoryKey::Request {
        namespace: once.namespace.clone(),
        id: once.id.clone(),
    }
}

/// The task that a call changes, where it names it by its id alone: its namespace is the task's.
fn named_by_id(call: &Call) -> Option<TaskId> {
    if let Call::CancelTask { task, .. }
    | Call::UpdateTask { task, .. }
    | Call::RedriveTask { task, .. }
    | Call::DiscardTask { task, .. } = call
        && let TaskRef::Id(id) = task
    {
        Some(*id)
    } else {
        None
    }
}

/// The task that a call changes.
fn task_of(step: &Step<'_>, call: &Call) -> Option<TaskId> {
    match call {
        Call::CancelTask { task, .. }
        | Call::UpdateTask { task, .. }
        | Call::RedriveTask { task, .. }
        | Call::DiscardTask { task, .. } => reference::id_of(step, task).ok(),
        Call::Refresh(_)
        | Call::SegmentsCleaned { .. }
        | Call::Enqueue(_)
        | Call::GetTask(_)
        | Call::ListTasks(_)
        | Call::WaitTask { .. }
        | Call::LeaseTasks(_)
        | Call::ReportTasks(_)
        | Call::ExtendLeases { .. }
        | Call::ListWorkers { .. }
        | Call::DrainWorkers { .. }
        | Call::GetQueue(_)
        | Call::ListQueues { .. }
        | Call::ConfigureQueue { .. }
        | Call::PauseQueue { .. }
        | Call::ResumeQueue(_)
        | Call::SetKind { .. }
        | Call::GetKind(_)
        | Call::ListKinds { .. }
        | Call::DeleteKind(_)
        | Call::Bulk(_)
        | Call::ServerFacts => None,
    }
}

/// What a repeated request looks at instead of doing anything.
enum Again {
    Task,
    Cancelled,
    Queue(QueueName),
    Kind(KindName),
    Workers(Arc<str>, Vec<Arc<str>>),
    Done,
}

fn again(call: &Call) -> Again {
    match call {
        Call::UpdateTask { .. } | Call::RedriveTask { .. } | Call::DiscardTask { .. } => {
            Again::Task
        }
        Call::CancelTask { .. } => Again::Cancelled,
        Call::ConfigureQueue { queue, .. }
        | Call::PauseQueue { queue, .. }
        | Call::ResumeQueue(queue) => Again::Queue(queue.clone()),
        Call::SetKind { name, .. } => Again::Kind(name.clone()),
        Call::DrainWorkers {
            namespace, workers, ..
        } => Again::Workers(namespace.clone(), workers.clone()),
        Call::Refresh(_)
        | Call::SegmentsCleaned { .. }
        | Call::Enqueue(_)
        | Call::GetTask(_)
        | Call::ListTasks(_)
        | Call::WaitTask { .. }
        | Call::LeaseTasks(_)
        | Call::ReportTasks(_)
        | Call::ExtendLeases { .. }
        | Call::ListWorkers { .. }
        | Call::GetQueue(_)
        | Call::ListQueues { .. }
        | Call::GetKind(_)
        | Call::ListKinds { .. }
        | Call::DeleteKind(_)
        | Call::Bulk(_)
        | Call::ServerFacts => Again::Done,
    }
}

/// The answer to a request that was made before: what it changed, as it stands now.
fn repeat(step: &Step<'_>, again: Again, task: Option<TaskId>) -> Result<Answer, Rejection> {
    match again {
        Again::Task => cancel::answer(step, task.ok_or(Rejection::KeyNotFound)?),
        Again::Cancelled => cancel::cancelled(step, task.ok_or(Rejection::KeyNotFound)?),
        Again::Queue(queue) => query::get_queue(step, &queue),
        Again::Kind(name) => kind::get(step, &name),
        Again::Workers(namespace, workers) => Ok(leaving::drained(step, &namespace, &workers)),
        Again::Done => Ok(Answer::Done),
    }
}
