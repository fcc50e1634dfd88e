//! Accepts tasks, each by itself.
//!
//! Owns the checks that depend on state (memory, kinds, queues) and the making of a task. Never
//! refuses a batch for one bad item.

use crate::engine::command::{NewTask, Start};
use crate::engine::effect::Answer;
use crate::engine::event::Event;
use crate::engine::ids::{Fence, QueueName, ShardId, TaskId, Timestamp};
use crate::engine::ledger::queue::QueueSettings;
use crate::engine::ledger::task::{Own, Side, State, Task};
use crate::engine::limits;
use crate::engine::rejection::Rejection;
use crate::engine::step::Step;

/// Accepts or refuses each task.
pub(super) fn handle(step: &mut Step<'_>, tasks: Vec<NewTask>) -> Result<Answer, Rejection> {
    if step.shutting_down() {
        return Err(Rejection::ShuttingDown);
    }
    if step.disk_full() {
        return Err(Rejection::DiskFull);
    }
    let results = tasks.into_iter().map(|task| enqueue(step, task)).collect();
    Ok(Answer::Enqueued(results))
}

fn enqueue(step: &mut Step<'_>, new: NewTask) -> Result<TaskId, Rejection> {
    let used_bytes = step.bytes();
    let limit_bytes = step.config().memory_bytes_max;
    if used_bytes.saturating_add(new.payload.data.len() as u64) > limit_bytes / 10 * 8 {
        return Err(Rejection::MemoryFull {
            used_bytes,
            limit_bytes,
        });
    }
    let shard = step.shard_of(&new.queue);
    let index = step.agenda(shard).queue(&new.queue);
    if index.is_some_and(|index| !index.has_room_for_kind(&new.kind, limits::KINDS_MAX)) {
        let limit = limits::KINDS_MAX as u64;
        return Err(Rejection::LimitReached {
            what: "kinds of pending tasks in the queue",
            limit,
        });
    }
    ensure_queue(step, shard, &new.queue)?;
    let id = step.new_task_id(shard);
    let task = Box::new(make(step, shard, id, new));
    let queue = task.queue.clone();
    step.record(shard, Event::TaskEnqueued { task });
    step.touch_queue(&queue);
    Ok(id)
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

fn make(step: &Step<'_>, shard: ShardId, id: TaskId, new: NewTask) -> Task {
    let now = step.now();
    let side = if new.labels.is_empty() {
        None
    } else {
        Some(Box::new(Side {
            labels: new.labels,
            ..Side::default()
        }))
    };
    let own = Own {
        max_attempts: new.max_attempts,
        timeouts: new.timeouts,
        policy: new.policy,
    };
    let own = own.said();
    Task {
        id,
        queue: new.queue,
        kind: new.kind,
        payload: new.payload,
        priority: new.priority,
        enqueue_seq: step.ledger(shard).last_seq() + 1,
        enqueued_at: now,
        budget_since: now,
        state: State::Pending {
            not_before: instant(now, new.start),
        },
        fence: Fence::default(),
        runs: 0,
        failures: 0,
        crashes: 0,
        deferrals: 0,
        unstarted_in_row: 0,
        timeouts_hit: 0,
        redrives: 0,
        own,
        side,
        recorded_at: 0,
    }
}
