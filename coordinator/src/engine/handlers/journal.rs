//! What the journal asks for: shards as a segment opens, entities recorded again.
//!
//! Owns what cleaning means for the engine (rules 1 and 2): which entities still point below a
//! place of the journal, and in which order they are recorded again. Never knows files or bytes on
//! disk; changes no fact.

use crate::mutants::{self, Mutant};
use std::ops::Bound::{Excluded, Unbounded};

use crate::engine::command::{Entity, Refresh, RefreshWhich};
use crate::engine::effect::Answer;
use crate::engine::event::Event;
use crate::engine::ids::{QueueName, ShardId};
use crate::engine::ledger::kind::Kind;
use crate::engine::limits;
use crate::engine::step::Step;

/// Records what every shard is besides its entities: a log may begin here.
pub(super) fn open_segment(step: &mut Step<'_>) {
    for shard in step.shard_ids() {
        let image = Box::new(step.ledger(shard).image());
        step.record(shard, Event::SegmentOpened { shard: image });
    }
}

/// Records entities again that are still there and were last recorded below the place: at least one,
/// and no more than a turn should hold.
pub(super) fn refresh(step: &mut Step<'_>, refresh: &Refresh) -> Answer {
    let (mut looked_at, mut next) = (0, None);
    match &refresh.which {
        RefreshWhich::Entities(entities) => {
            for entity in entities.iter().take(limits::REFRESH_ENTITIES_MAX) {
                if step.is_full() {
                    break;
                }
                looked_at += 1;
                if let Some(image) = image_of(step, refresh, entity) {
                    step.record(refresh.shard, image);
                }
            }
        }
        RefreshWhich::QueuesAfter(after) => next = refresh_queues(step, refresh, after.as_ref()),
    }
    let shards = step.shard_ids();
    let live_bytes = shards.map(|shard| step.ledger(shard).image_bytes()).sum();
    Answer::Refreshed {
        looked_at,
        image_bytes: step.recorded_bytes(),
        next,
        live_bytes,
    }
}

/// Everything that lives was recorded at or above a segment: said once, for all shards.
pub(super) fn segments_cleaned(step: &mut Step<'_>, below: u64) -> Answer {
    step.record(ShardId(0), Event::SegmentsCleaned { below });
    Answer::Done
}

fn image_of(step: &Step<'_>, refresh: &Refresh, entity: &Entity) -> Option<Event> {
    let ledger = step.ledger(refresh.shard);
    match entity {
        Entity::Task(id) => {
            let task = ledger.task_kept(*id);
            let task = task.filter(|task| task.recorded_at < refresh.below)?;
            if mutants::is(Mutant::LeasedImageDropped) && task.lease().is_some() {
                return None;
            }
            let task = task.whole();
            Some(Event::TaskImage { task })
        }
        Entity::Transfer { target, number } => {
            let (target, number) = (*target, *number);
            let unconfirmed = &ledger.outgoing_to(target)?.unconfirmed;
            let task = unconfirmed.get(&number);
            let task = task.filter(|task| task.recorded_at < refresh.below)?;
            let task = task.whole();
            Some(Event::TransferImage {
                target,
                number,
                task,
            })
        }
        Entity::Memory(key) => {
            let memory = ledger.memory_kept(key);
            let memory = memory.filter(|memory| memory.recorded_at < refresh.below)?;
            if mutants::is(Mutant::MemoryImageDropped) {
                return None;
            }
            let (key, memory) = (key.clone(), Box::new(memory.clone()));
            Some(Event::Remembered { key, memory })
        }
        Entity::Kind(name) => {
            let kind = ledger.kind(name);
            let kind = kind.filter(|kind| kind.recorded_at < refresh.below)?;
            if mutants::is(Mutant::KindImageDropped) {
                return None;
            }
            // Where it was last recorded is not part of it.
            let kind = Box::new(Kind {
                recorded_at: 0,
                ..kind.clone()
            });
            Some(Event::KindConfigured { kind })
        }
    }
}

/// Records queues after a name again whose record is old or whose totals have moved; says where to
/// go on. Looks at a bounded number of them.
fn refresh_queues(
    step: &mut Step<'_>,
    refresh: &Refresh,
    after: Option<&QueueName>,
) -> Option<QueueName> {
    let from = after.map_or(Unbounded, |after| Excluded(after.clone()));
    let queues = step.ledger(refresh.shard).queues_from(from);
    let mut names = queues.map(|queue| queue.name.clone());
    let chunk: Vec<QueueName> = names.by_ref().take(limits::REFRESH_ENTITIES_MAX).collect();
    let more = names.next().is_some();
    drop(names);
    let mut last = None;
    for (index, name) in chunk.iter().enumerate() {
        if step.is_full() {
            return chunk.get(index.wrapping_sub(1)).cloned();
        }
        let queue = step.ledger(refresh.shard).queue(name);
        let stale = queue.filter(|queue| {
            queue.recorded_at < refresh.below || queue.recorded_totals != queue.totals
        });
        if let Some(queue) = stale.cloned().map(Box::new) {
            step.record(refresh.shard, Event::QueueImage { queue });
        }
        last = Some(name.clone());
    }
    last.filter(|_| more)
}
