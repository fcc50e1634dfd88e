//! What the journal asks for: shards as a segment opens, entities recorded again.
//!
//! Owns what cleaning means for the engine (rules 1 and 2): which entities still point below a
//! place of the journal, and in which order they are recorded again. Never knows files or bytes on
//! disk; changes no fact.

use std::ops::Bound::{Excluded, Unbounded};

use crate::engine::command::{Entity, Refresh, RefreshWhich};
use crate::engine::effect::Answer;
use crate::engine::event::Event;
use crate::engine::ids::{QueueName, ShardId};
use crate::engine::ledger::queue::Queue;
use crate::engine::limits;
use crate::engine::step::Step;

/// Records what every shard is besides its entities: a log may begin here.
pub(super) fn open_segment(step: &mut Step<'_>) {
    for shard in step.shard_ids() {
        let image = Box::new(step.ledger(shard).image());
        step.record(shard, Event::SegmentOpened { shard: image });
    }
}

/// Records entities again that are still there and were last recorded below the place.
pub(super) fn refresh(step: &mut Step<'_>, refresh: &Refresh) -> Answer {
    let Refresh {
        shard,
        below,
        which,
    } = refresh;
    let (images, next) = match which {
        RefreshWhich::Entities(entities) => {
            let chunk = entities.iter().take(limits::REFRESH_ENTITIES_MAX);
            let events = chunk.filter_map(|entity| image_of(step, *shard, *below, *entity));
            (events.collect::<Vec<_>>(), None)
        }
        RefreshWhich::QueuesAfter(after) => queue_images(step, *shard, *below, after.as_ref()),
    };
    let count = images.len();
    for event in images {
        step.record(*shard, event);
    }
    let shards = step.shard_ids();
    let live_bytes = shards.map(|shard| step.ledger(shard).image_bytes()).sum();
    Answer::Refreshed {
        images: count,
        next,
        live_bytes,
    }
}

/// Everything that lives was recorded at or above a segment: said once, for all shards.
pub(super) fn segments_cleaned(step: &mut Step<'_>, below: u64) -> Answer {
    step.record(ShardId(0), Event::SegmentsCleaned { below });
    Answer::Done
}

fn image_of(step: &Step<'_>, shard: ShardId, below: u64, entity: Entity) -> Option<Event> {
    let ledger = step.ledger(shard);
    match entity {
        Entity::Task(id) => {
            let task = ledger.task(id).filter(|task| task.recorded_at < below)?;
            let task = Box::new(task.clone());
            Some(Event::TaskImage { task })
        }
        Entity::Transfer { target, number } => {
            let unconfirmed = &ledger.outgoing_to(target)?.unconfirmed;
            let task = unconfirmed.get(&number);
            let task = task.filter(|task| task.recorded_at < below)?.clone();
            Some(Event::TransferImage {
                target,
                number,
                task,
            })
        }
    }
}

/// Images of queues after a name, and where to go on; looks at a bounded number of them.
fn queue_images(
    step: &Step<'_>,
    shard: ShardId,
    below: u64,
    after: Option<&QueueName>,
) -> (Vec<Event>, Option<QueueName>) {
    let from = after.map_or(Unbounded, |after| Excluded(after.clone()));
    let mut queues = step.ledger(shard).queues_from(from);
    let chunk: Vec<&Queue> = queues.by_ref().take(limits::REFRESH_ENTITIES_MAX).collect();
    let more = queues.next().is_some();
    let next = chunk
        .last()
        .map(|queue| queue.name.clone())
        .filter(|_| more);
    let stale =
        |queue: &&&Queue| queue.recorded_at < below || queue.recorded_totals != queue.totals;
    let images = chunk.iter().filter(stale).map(|queue| {
        let queue = Box::new((*queue).clone());
        Event::QueueImage { queue }
    });
    (images.collect(), next)
}
