//! Accepts tasks, each by itself.
//!
//! Owns the checks that depend on state (memory, kinds, queues), what makes an enqueue that is
//! repeated harmless (rule 8), and the making of a task. Never refuses a batch for one bad item.

use std::collections::{BTreeMap, VecDeque};

use crate::engine::command::{Caller, Enqueue, NewTask, Start};
use crate::engine::effect::{Accepted, Answer, EnqueueEffect};
use crate::engine::event::Event;
use crate::engine::ids::{Fence, QueueName, ShardId, TaskId, Timestamp};
use crate::engine::ledger::memory::{Memory, MemoryKey};
use crate::engine::ledger::more::{More, Unique};
use crate::engine::ledger::queue::QueueSettings;
use crate::engine::ledger::task::{Own, Side, State, Task};
use crate::engine::limits;
use crate::engine::rejection::Rejection;
use crate::engine::step::Step;

use super::{remember, resolve, unique};

/// What one call has accepted so far, by shard and place: it is remembered when all is done.
type Done = BTreeMap<ShardId, BTreeMap<u64, TaskId>>;

/// A task on its way in.
struct Item {
    /// Its place in the request, or its sequence of the producer.
    place: u64,
    shard: ShardId,
    queue: QueueName,
}

/// Accepts or refuses each task.
pub(super) fn handle(
    step: &mut Step<'_>,
    enqueue: Enqueue,
    caller: &Caller,
) -> Result<Answer, Rejection> {
    if step.shutting_down() {
        return Err(Rejection::ShuttingDown);
    }
    if step.disk_full() {
        return Err(Rejection::DiskFull);
    }
    let mut done = Done::new();
    let remembers = enqueue.producer.is_some() || caller.once.is_some();
    let sequences = enqueue
        .producer
        .as_ref()
        .map(|producer| &producer.sequences);
    let producer = enqueue
        .producer
        .as_ref()
        .map(|producer| MemoryKey::Producer {
            namespace: enqueue.namespace.clone(),
            id: producer.id.clone(),
        });
    let mut results = Vec::with_capacity(enqueue.tasks.len());
    for (index, mut task) in enqueue.tasks.into_iter().enumerate() {
        let place = sequences.and_then(|sequences| sequences.get(index).copied());
        let place = place.unwrap_or(index as u64);
        let result = place_of(step, &enqueue.namespace, &mut task, place).and_then(|item| {
            if remembers && let Some(id) = known(step, &item, producer.as_ref(), caller, &done)? {
                return Ok(existing(id));
            }
            let (place, shard) = (item.place, item.shard);
            let accepted = accept(step, item, task)?;
            if remembers {
                done.entry(shard).or_default().insert(place, accepted.id);
            }
            Ok(accepted)
        });
        results.push(result);
    }
    for (shard, tasks) in done {
        remember_all(step, shard, producer.as_ref(), caller, tasks);
    }
    Ok(Answer::Enqueued(results))
}

pub(super) const fn existing(id: TaskId) -> Accepted {
    Accepted {
        id,
        how: EnqueueEffect::Existing,
    }
}

/// Where a task goes: where its producer says, or else its kind.
fn place_of(
    step: &Step<'_>,
    namespace: &str,
    task: &mut NewTask,
    place: u64,
) -> Result<Item, Rejection> {
    let queue = match task.queue.take() {
        Some(queue) => queue,
        None => {
            let kind = resolve::kind_of(step, ShardId(0), namespace, &task.kind);
            let queue = kind.and_then(|kind| kind.settings.queue.clone());
            queue.ok_or_else(|| Rejection::Invalid {
                field: "queue".to_owned(),
                problem: format!(
                    "is empty, and kind {} has no queue of its own; name one, or set it for the kind",
                    task.kind
                ),
            })?
        }
    };
    let shard = step.shard_of(&queue);
    Ok(Item {
        place,
        shard,
        queue,
    })
}

/// The task that this item became when it was sent before. Where it was not, there is room to
/// remember it.
fn known(
    step: &Step<'_>,
    item: &Item,
    producer: Option<&MemoryKey>,
    caller: &Caller,
    done: &Done,
) -> Result<Option<TaskId>, Rejection> {
    let now = step.now();
    let ledger = step.ledger(item.shard);
    let of_producer = producer.map(|key| ledger.memory(key, now));
    let of_request = match &caller.once {
        Some(once) => Some(remember::recall(step, item.shard, once)?),
        None => None,
    };
    let memories = [of_producer, of_request].into_iter().flatten();
    for memory in memories.clone().flatten() {
        if let Some(id) = memory.task(item.place) {
            return Ok(Some(id));
        }
    }
    let here = done.get(&item.shard);
    if let Some(id) = here.and_then(|done| done.get(&item.place)) {
        return Ok(Some(*id));
    }
    if here.is_none() && memories.clone().any(|memory| memory.is_none()) {
        remember::room(step, item.shard, producer.is_some())?;
    }
    Ok(None)
}

fn remember_all(
    step: &mut Step<'_>,
    shard: ShardId,
    producer: Option<&MemoryKey>,
    caller: &Caller,
    tasks: BTreeMap<u64, TaskId>,
) {
    let now = step.now();
    let tasks: Vec<(u64, TaskId)> = tasks.into_iter().collect();
    if let Some(key) = producer {
        let expires_at = now.plus_ms(limits::PRODUCER_TTL_MS);
        more(step, shard, key, (tasks.clone(), expires_at, 0));
    }
    if let Some(once) = &caller.once {
        let key = remember::key_of(once);
        let expires_at = now.plus_ms(once.ttl_ms);
        more(step, shard, &key, (tasks, expires_at, once.digest));
    }
}

/// Remembers more under a key, or makes the memory.
fn more(
    step: &mut Step<'_>,
    shard: ShardId,
    key: &MemoryKey,
    (tasks, expires_at, digest): (Vec<(u64, TaskId)>, Timestamp, u64),
) {
    let at = step.now();
    let known = step.ledger(shard).memory(key, at).is_some();
    let key = key.clone();
    let event = if known {
        Event::RememberedMore {
            key,
            tasks,
            expires_at,
        }
    } else {
        let memory = Box::new(Memory {
            at,
            expires_at,
            digest,
            tasks: VecDeque::from(tasks),
            recorded_at: 0,
        });
        Event::Remembered { key, memory }
    };
    step.record(shard, event);
}

fn accept(step: &mut Step<'_>, item: Item, new: NewTask) -> Result<Accepted, Rejection> {
    let Item { shard, queue, .. } = item;
    if let Some(keys) = &new.keys {
        if let Some(key) = &keys.key
            && let Some(id) = unique::by_key(step, shard, &queue, key, keys.digest)?
        {
            return Ok(existing(id));
        }
        if let Some(wanted) = &keys.unique
            && let Some(holder) = unique::holder(step, shard, &queue, &wanted.key)
        {
            return unique::conflict(step, holder, &queue, new);
        }
    }
    check_room(step, shard, &queue, &new)?;
    ensure_queue(step, shard, &queue)?;
    let id = step.new_task_id(shard);
    let key = new.keys.as_ref().and_then(|keys| {
        let window_ms = keys.window_ms;
        Some((keys.key.clone()?, window_ms, keys.digest))
    });
    let task = Box::new(make(step, id, queue.clone(), new));
    step.record(shard, Event::TaskEnqueued { task });
    if let Some(key) = key {
        unique::remember_key(step, id, &queue, key);
    }
    step.touch_queue(&queue);
    Ok(Accepted {
        id,
        how: EnqueueEffect::Created,
    })
}

/// Whether there is room for one more task: bytes, kinds, keys.
pub(super) fn check_room(
    step: &Step<'_>,
    shard: ShardId,
    queue: &QueueName,
    new: &NewTask,
) -> Result<(), Rejection> {
    let used_bytes = step.bytes();
    let limit_bytes = step.config().memory_bytes_max;
    if used_bytes.saturating_add(new.payload.data.len() as u64) > limit_bytes / 10 * 8 {
        return Err(Rejection::MemoryFull {
            used_bytes,
            limit_bytes,
        });
    }
    let index = step.agenda(shard).queue(queue);
    let fits = |(kind, version)| {
        index.is_none_or(|index| index.has_room_for_kind(kind, version, limits::KINDS_MAX))
    };
    if !fits((&new.kind, new.version)) {
        let limit = limits::KINDS_MAX as u64;
        return Err(Rejection::LimitReached {
            what: "kinds and versions of pending tasks in the queue",
            limit,
        });
    }
    if new.keys.as_ref().is_some_and(|keys| keys.key.is_some()) {
        remember::room(step, shard, false)?;
    }
    Ok(())
}

/// Makes the queue where it is new.
pub(super) fn ensure_queue(
    step: &mut Step<'_>,
    shard: ShardId,
    queue: &QueueName,
) -> Result<(), Rejection> {
    if step.ledger(shard).queue(queue).is_some() {
        return Ok(());
    }
    if step.ledger(shard).queue_count() >= limits::QUEUES_PER_SHARD_MAX {
        let limit = limits::QUEUES_PER_SHARD_MAX as u64;
        return Err(Rejection::LimitReached {
            what: "queues of this shard",
            limit,
        });
    }
    create_queue(step, shard, queue);
    Ok(())
}

/// Makes a queue that is new, whatever the limit.
pub(super) fn create_queue(step: &mut Step<'_>, shard: ShardId, queue: &QueueName) {
    let settings = QueueSettings::default();
    let event = Event::QueueConfigured {
        queue: queue.clone(),
        settings,
        revision: 0,
    };
    step.record(shard, event);
}

/// When something may start, seen from now.
pub(super) const fn instant(now: Timestamp, start: Start) -> Timestamp {
    match start {
        Start::After { delay_ms } => now.plus_ms(delay_ms),
        Start::At(at) if at.0 > now.0 => at,
        Start::At(_) => now,
    }
}

/// What a producer said for its task alone.
pub(super) fn own_of(new: &mut NewTask) -> Own {
    Own {
        max_attempts: new.max_attempts,
        timeouts: new.timeouts,
        policy: new.policy.take(),
        terms: new.terms.take().filter(|terms| !terms.is_empty()),
        then: std::mem::take(&mut new.then),
    }
}

fn make(step: &Step<'_>, id: TaskId, queue: QueueName, mut new: NewTask) -> Task {
    let now = step.now();
    let not_before = instant(now, new.start);
    let own = own_of(&mut new);
    let levels = resolve::Levels {
        own: own.terms.as_deref(),
        ..resolve::Levels::of(step, &queue, &new.kind)
    };
    let keys = new.keys.take();
    let more = More {
        life: resolve::life(&levels, not_before),
        key: keys.as_ref().and_then(|keys| keys.key.clone()),
        unique: keys.and_then(|keys| keys.unique).map(|wanted| Unique {
            key: wanted.key,
            scope: wanted.scope,
        }),
        ..More::default()
    };
    let more = more.said();
    let side = (!new.labels.is_empty() || more.is_some()).then(|| {
        Box::new(Side {
            labels: new.labels,
            more,
            ..Side::default()
        })
    });
    Task {
        id,
        queue,
        kind: new.kind,
        version: new.version,
        payload: new.payload,
        priority: new.priority,
        enqueue_seq: step.ledger(id.shard()).last_seq() + 1,
        enqueued_at: now,
        budget_since: now,
        state: State::Pending { not_before },
        fence: Fence::default(),
        runs: 0,
        failures: 0,
        crashes: 0,
        deferrals: 0,
        unstarted_in_row: 0,
        timeouts_hit: 0,
        redrives: 0,
        own: own.said(),
        side,
        recorded_at: 0,
    }
}
