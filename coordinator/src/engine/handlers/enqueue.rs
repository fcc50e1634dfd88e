//! Accepts tasks, each by itself.
//!
//! Owns the checks that depend on state (memory, kinds, queues), what makes an enqueue that is
//! repeated harmless (rule 8), and the making of a task. Never refuses a batch for one bad item.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::engine::command::{Caller, Enqueue, NewTask, Once, Producer, Start};
use crate::engine::effect::{Accepted, Answer, EnqueueEffect};
use crate::engine::event::Event;
use crate::engine::ids::{QueueName, ShardId, TaskId, Timestamp};
use crate::engine::ledger::memory::{Memory, MemoryKey};
use crate::engine::ledger::more::{More, Unique};
use crate::engine::ledger::queue::QueueSettings;
use crate::engine::ledger::task::{Own, Side, State, Task};
use crate::engine::limits;
use crate::engine::rejection::Rejection;
use crate::engine::step::Step;

use super::{remember, resolve, unique};

/// What one call has accepted so far, by place: it is remembered when all is done.
type Done = BTreeMap<u64, TaskId>;

/// How a call is remembered.
struct Remembering {
    key: MemoryKey,
    digest: u64,
    ttl_ms: u64,
    /// False: certainly nothing is remembered under its key. True: something was when the call
    /// began, and is to be looked for again.
    is_known: bool,
    /// The highest place that is known: what comes after it need not be looked for.
    highest: Option<u64>,
}

/// Accepts or refuses each task.
pub(super) fn handle(
    step: &mut Step<'_>,
    mut enqueue: Enqueue,
    caller: &Caller,
) -> Result<Answer, Rejection> {
    if step.shutting_down() {
        return Err(Rejection::ShuttingDown);
    }
    if step.disk_full() {
        return Err(Rejection::DiskFull);
    }
    let mut memories = Vec::new();
    if let Some(producer) = &enqueue.producer {
        memories.push(of_producer(step, &enqueue.namespace, producer));
    }
    if let Some(once) = &caller.once {
        memories.push(of_request(step, once)?);
    }
    if memories
        .iter()
        .any(|it| it.key.is_producer() && it.highest.is_none())
    {
        remember::make_room_for_producer(step);
    }
    let producer = enqueue.producer.take();
    let sequences = producer.map(|producer| producer.sequences);
    let mut done = Done::new();
    let mut results = Vec::with_capacity(enqueue.tasks.len());
    for (index, task) in enqueue.tasks.into_iter().enumerate() {
        // Its place in the request, or its sequence of the producer.
        let place = sequences.as_ref().and_then(|all| all.get(index).copied());
        let place = place.unwrap_or(index as u64);
        if !memories.is_empty() {
            let known = known(step, &memories, place);
            if let Some(id) = known.or_else(|| done.get(&place).copied()) {
                results.push(Ok(existing(id)));
                continue;
            }
        }
        let by = (&*enqueue.namespace, &caller.by);
        let result = accept(step, by, &memories, task);
        if let (Ok(accepted), false) = (&result, memories.is_empty()) {
            done.insert(place, accepted.id);
        }
        results.push(result);
    }
    if !done.is_empty() {
        remember_all(step, memories, &done);
    }
    Ok(Answer::Enqueued(results))
}

pub(super) const fn existing(id: TaskId) -> Accepted {
    Accepted {
        id,
        how: EnqueueEffect::Existing,
    }
}

/// A call of a producer's stream is remembered with the producer.
fn of_producer(step: &Step<'_>, namespace: &Arc<str>, producer: &Producer) -> Remembering {
    let key = MemoryKey::Producer {
        namespace: Arc::clone(namespace),
        id: producer.id.clone(),
    };
    let known = remember::known(step, &key);
    Remembering {
        is_known: known.is_some(),
        highest: known.and_then(Memory::highest),
        key,
        digest: 0,
        ttl_ms: limits::PRODUCER_TTL_MS,
    }
}

/// A call with an id is remembered by it.
fn of_request(step: &Step<'_>, once: &Once) -> Result<Remembering, Rejection> {
    let known = remember::recall(step, once)?;
    Ok(Remembering {
        is_known: known.is_some(),
        highest: known.and_then(Memory::highest),
        key: remember::key_of(once),
        digest: once.digest,
        ttl_ms: once.ttl_ms,
    })
}

/// The task that the item of this place became when it was sent before.
fn known(step: &Step<'_>, memories: &[Remembering], place: u64) -> Option<TaskId> {
    let memories = memories.iter().filter(|it| Some(place) <= it.highest);
    let mut known = memories.filter_map(|it| remember::known(step, &it.key));
    known.find_map(|memory| memory.task(place))
}

/// Where a task goes: where its producer says, or else its kind.
fn queue_of(step: &Step<'_>, namespace: &str, task: &mut NewTask) -> Result<QueueName, Rejection> {
    if let Some(queue) = task.queue.take() {
        return Ok(queue);
    }
    let kind = step.ledger(ShardId(0)).kind_named(namespace, &task.kind);
    let queue = kind.and_then(|kind| kind.settings.queue.clone());
    queue.ok_or_else(|| Rejection::Invalid {
        field: "queue".to_owned(),
        problem: format!(
            "is empty, and kind {} has no queue of its own; name one, or set it for the kind",
            task.kind
        ),
    })
}

/// Remembers what was accepted under every key of the call.
fn remember_all(step: &mut Step<'_>, memories: Vec<Remembering>, done: &Done) {
    let at = step.now();
    for Remembering {
        key,
        digest,
        ttl_ms,
        is_known,
        highest: _,
    } in memories
    {
        let tasks = done.iter().map(|(place, id)| (*place, *id));
        let expires_at = at.plus_ms(ttl_ms);
        let shard = step.home_of(&key);
        let known = is_known.then(|| remember::known(step, &key)).flatten();
        let event = if let Some(known) = known {
            Event::RememberedMore {
                tasks: tasks.collect(),
                // What was promised of the others holds.
                expires_at: expires_at.max(known.expires_at),
                key,
            }
        } else {
            let memory = Box::new(Memory {
                at,
                expires_at,
                digest,
                tasks: tasks.collect(),
                recorded_at: 0,
            });
            Event::Remembered { key, memory }
        };
        step.record(shard, event);
    }
}

fn accept(
    step: &mut Step<'_>,
    (namespace, by): (&str, &Arc<str>),
    memories: &[Remembering],
    mut new: NewTask,
) -> Result<Accepted, Rejection> {
    for memory in memories {
        remember::room(step, &memory.key)?;
    }
    let queue = queue_of(step, namespace, &mut new)?;
    let shard = step.shard_of(&queue);
    if let Some(keys) = &new.keys {
        if let Some(key) = &keys.key {
            let key = unique::memory_key(&queue, key);
            if let Some(id) = unique::by_key(step, &key, keys.digest)? {
                return Ok(existing(id));
            }
            remember::room(step, &key)?;
        }
        if let Some(wanted) = &keys.unique
            && let Some(holder) = unique::live_holder(step, shard, &queue, &wanted.key)
        {
            return unique::conflict(step, holder, &queue, new, by);
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

/// Whether there is room for one more task: bytes and kinds.
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
        version: new.version,
        payload: new.payload,
        priority: new.priority,
        enqueue_seq: step.ledger(id.shard()).last_seq() + 1,
        state: State::Pending { not_before },
        own: own.said(),
        side,
        ..Task::fresh(id, queue, new.kind, now)
    }
}
