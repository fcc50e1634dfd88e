//! Who goes first (docs/delivery.md, "Order, priority, aging"), and which queues stand still.
//!
//! Owns what waits in each queue, in its order, and the pauses. A task is certainly ready where its
//! start came before a tick of the engine that came before the grant.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use redrive_coordinator::engine::ids::{QueueName, TaskId, Timestamp};
use redrive_coordinator::engine::ledger::task::Priority;

/// Ticks that are remembered.
const TICKS_MAX: usize = 256;
/// Tasks ahead of a grant that are looked at.
const LOOKED_AT_MAX: usize = 24;

/// A task in its place: the lower goes first.
type Place = (Priority, u64, TaskId);

/// What waits.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    waiting: BTreeMap<QueueName, BTreeMap<Place, Waits>>,
    paused: BTreeSet<QueueName>,
    ticks: VecDeque<Timestamp>,
}

/// Since when a task waits, and for what.
#[derive(Clone, Copy, Debug)]
struct Waits {
    not_before: Timestamp,
    /// It was due when it came.
    at_once: bool,
}

impl Lanes {
    pub(super) fn tick(&mut self, at: Timestamp) {
        if self.ticks.len() == TICKS_MAX {
            self.ticks.pop_front();
        }
        self.ticks.push_back(at);
    }

    pub(super) fn pause(&mut self, queue: &QueueName) {
        self.paused.insert(queue.clone());
    }

    pub(super) fn resume(&mut self, queue: &QueueName) {
        self.paused.remove(queue);
    }

    pub(super) fn is_paused(&self, queue: &QueueName) -> bool {
        self.paused.contains(queue)
    }

    pub(super) fn wait(
        &mut self,
        queue: &QueueName,
        place: Place,
        not_before: Timestamp,
        at_once: bool,
    ) {
        let waits = Waits {
            not_before,
            at_once,
        };
        if let Some(lane) = self.waiting.get_mut(queue) {
            lane.insert(place, waits);
        } else {
            self.waiting
                .insert(queue.clone(), BTreeMap::from([(place, waits)]));
        }
    }

    pub(super) fn leave(&mut self, queue: &QueueName, place: Place) {
        if let Some(lane) = self.waiting.get_mut(queue) {
            lane.remove(&place);
        }
    }

    /// A task that should have gone before the one of this place, which is granted at this instant.
    pub(super) fn overtaken(
        &self,
        queue: &QueueName,
        place: Place,
        at: Timestamp,
    ) -> Option<TaskId> {
        let lane = self.waiting.get(queue)?;
        // The latest tick that certainly came before the grant.
        let tick = self.ticks.iter().rev().find(|tick| **tick < at);
        let ahead = lane.range(..place).take(LOOKED_AT_MAX);
        let mut ready = ahead.filter(|(_, waits)| {
            waits.at_once || tick.is_some_and(|tick| waits.not_before <= *tick)
        });
        ready.next().map(|((_, _, id), _)| *id)
    }
}
