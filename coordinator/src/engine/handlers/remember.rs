//! Requests that are made twice are done once (rule 8).
//!
//! Owns what a repeated request is answered, whatever it asked for, and what is remembered of it:
//! with what it changed, in the same turn. Requests without an id are not looked at.

use std::collections::VecDeque;

use crate::engine::command::{Call, Caller, Once, TaskRef};
use crate::engine::effect::Answer;
use crate::engine::event::Event;
use crate::engine::ids::{QueueName, RequestId, ShardId, TaskId};
use crate::engine::ledger::kind::KindName;
use crate::engine::ledger::memory::{Memory, MemoryKey};
use crate::engine::limits;
use crate::engine::rejection::Rejection;
use crate::engine::step::Step;

use super::{call_now, cancel, kind, query, reference};

/// Handles a call, unless it was handled before; `None` where the reply comes later.
pub(super) fn once(
    step: &mut Step<'_>,
    request: RequestId,
    mut caller: Caller,
    call: Call,
) -> Option<Result<Answer, Rejection>> {
    // Enqueued tasks are remembered one by one: see `enqueue`.
    let remembers = !matches!(call, Call::Enqueue(_));
    let Some(once) = caller.once.take_if(|_| remembers) else {
        return call_now(step, request, &caller, call);
    };
    let shard = match shard_of(step, &call) {
        Ok(shard) => shard,
        Err(refused) => return Some(Err(refused)),
    };
    let again = again(&call);
    match recall(step, shard, &once) {
        Err(refused) => return Some(Err(refused)),
        Ok(Some(_)) => return Some(repeat(step, again)),
        Ok(None) => {}
    }
    if let Err(full) = room(step, shard, false) {
        return Some(Err(full));
    }
    let reply = call_now(step, request, &caller, call);
    if let Some(Ok(_)) = &reply {
        remember(step, shard, &once, VecDeque::new());
    }
    reply
}

/// What is remembered of a request, if it was made before.
pub(super) fn recall<'s>(
    step: &'s Step<'_>,
    shard: ShardId,
    once: &Once,
) -> Result<Option<&'s Memory>, Rejection> {
    let memory = step.ledger(shard).memory(&key_of(once), step.now());
    match memory {
        Some(memory) if memory.digest != once.digest => Err(Rejection::RequestIdReused {
            id: once.id.to_string(),
        }),
        memory => Ok(memory),
    }
}

/// Whether there is room for one more memory in a shard.
pub(super) fn room(step: &Step<'_>, shard: ShardId, producer: bool) -> Result<(), Rejection> {
    let ledger = step.ledger(shard);
    let full = |limit: usize| {
        Err(Rejection::MemoriesFull {
            limit: limit as u64,
        })
    };
    if ledger.memory_count() >= limits::MEMORIES_PER_SHARD_MAX {
        return full(limits::MEMORIES_PER_SHARD_MAX);
    }
    if producer && ledger.producer_count() >= limits::PRODUCERS_MAX {
        return full(limits::PRODUCERS_MAX);
    }
    Ok(())
}

/// Remembers a request and what came of it.
pub(super) fn remember(
    step: &mut Step<'_>,
    shard: ShardId,
    once: &Once,
    tasks: VecDeque<(u64, TaskId)>,
) {
    let at = step.now();
    let memory = Memory {
        at,
        expires_at: at.plus_ms(once.ttl_ms),
        digest: once.digest,
        tasks,
        recorded_at: 0,
    };
    let (key, memory) = (key_of(once), Box::new(memory));
    step.record(shard, Event::Remembered { key, memory });
}

/// Forgets what has expired, a bounded part of it.
pub(super) fn expire(step: &mut Step<'_>) {
    let now = step.now();
    for shard in step.shard_ids() {
        let expired = step.ledger(shard).memories_expired(now);
        let last = expired.take(limits::MEMORIES_FORGOTTEN_MAX).last().cloned();
        if let Some((at, last)) = last {
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

/// The shard that remembers a request: that of what it changes.
fn shard_of(step: &Step<'_>, call: &Call) -> Result<ShardId, Rejection> {
    let of_task = |task: &TaskRef| reference::id_of(step, task).map(TaskId::shard);
    match call {
        Call::CancelTask { task, .. }
        | Call::UpdateTask { task, .. }
        | Call::RedriveTask { task, .. }
        | Call::DiscardTask { task, .. } => {
            let shard = of_task(task)?;
            if step.shard_ids().any(|known| known == shard) {
                Ok(shard)
            } else {
                Ok(ShardId(0))
            }
        }
        Call::ConfigureQueue { queue, .. }
        | Call::PauseQueue { queue, .. }
        | Call::ResumeQueue(queue) => Ok(step.shard_of(queue)),
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
        | Call::SetKind { .. }
        | Call::GetKind(_)
        | Call::ListKinds { .. }
        | Call::DeleteKind(_)
        | Call::Bulk(_)
        | Call::ServerFacts => Ok(ShardId(0)),
    }
}

/// What a repeated request looks at instead of doing anything.
enum Again {
    Task(TaskRef),
    Cancelled(TaskRef),
    Queue(QueueName),
    Kind(KindName),
    Done,
}

fn again(call: &Call) -> Again {
    match call {
        Call::UpdateTask { task, .. }
        | Call::RedriveTask { task, .. }
        | Call::DiscardTask { task, .. } => Again::Task(task.clone()),
        Call::CancelTask { task, .. } => Again::Cancelled(task.clone()),
        Call::ConfigureQueue { queue, .. }
        | Call::PauseQueue { queue, .. }
        | Call::ResumeQueue(queue) => Again::Queue(queue.clone()),
        Call::SetKind { name, .. } => Again::Kind(name.clone()),
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
        | Call::GetKind(_)
        | Call::ListKinds { .. }
        | Call::DeleteKind(_)
        | Call::Bulk(_)
        | Call::ServerFacts => Again::Done,
    }
}

/// The answer to a request that was made before: what it changed, as it stands now.
fn repeat(step: &Step<'_>, again: Again) -> Result<Answer, Rejection> {
    match again {
        Again::Task(task) => cancel::answer(step, reference::id_of(step, &task)?),
        Again::Cancelled(task) => cancel::cancelled(step, reference::id_of(step, &task)?),
        Again::Queue(queue) => query::get_queue(step, &queue),
        Again::Kind(name) => kind::get(step, &name),
        Again::Done => Ok(Answer::Done),
    }
}
