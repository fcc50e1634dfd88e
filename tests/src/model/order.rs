//! Who goes first (docs/delivery.md, "Order, priority, aging"), and which queues stand still.
//!
//! Owns what waits in each queue, in its order, and the pauses. A task is certainly ready where its
//! start came before a tick of the engine that came before the grant.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use redrive_coordinator::engine::ids::{QueueName, TaskId, Timestamp};
use redrive_coordinator::engine::ledger::task::Priority;

use super::task::{Stand, Task};

/// Ticks that are remembered.
const TICKS_MAX: usize = 256;
/// Tasks that wait, of a queue or of one of its priorities, that are looked at: the first ones..
const LOOKED_AT_MAX: usize = 256;
/// ..and of these so many that may be ready.
const READY_MAX: usize = 24;

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
#[derive(Clone, Debug)]
struct Waits {
    not_before: Timestamp,
    /// It was due when it came.
    at_once: bool,
    /// Since when its waiting counts.
    since: Timestamp,
    /// When it is over unless somebody begins with it.
    over: Option<Timestamp>,
    kind: Arc<str>,
    version: u32,
}

/// A grant to somebody who runs everything.
pub(super) struct Granted<'a> {
    pub(super) queue: &'a QueueName,
    pub(super) priority: Priority,
    pub(super) place: u64,
    pub(super) id: TaskId,
    pub(super) at: Timestamp,
    /// One level for each so many milliseconds; 0 for none.
    pub(super) aging_ms: u64,
}

impl Granted<'_> {
    /// What decides among the first tasks of each priority, kind and version: the lower goes first.
    fn rank(&self, (priority, place, _): Place, waits: &Waits) -> (u64, u64) {
        let level = Priority::ALL.iter().position(|level| *level == priority);
        let level = level.expect("it is one of all") as u64;
        let waited_ms = self.at.since_ms(waits.since);
        let gained = waited_ms.checked_div(self.aging_ms).unwrap_or(0);
        (level.saturating_sub(gained), place)
    }
}

impl Waits {
    fn is_same_lane(&self, other: &Self) -> bool {
        self.kind == other.kind && self.version == other.version
    }

    fn may_be_ready(&self, at: Timestamp) -> bool {
        self.not_before <= at
    }

    /// `tick` is the latest one that certainly came before `at`.
    fn is_ready(&self, at: Timestamp, tick: Option<Timestamp>) -> bool {
        let is_due = self.at_once || tick.is_some_and(|tick| self.not_before <= tick);
        is_due && self.over.is_none_or(|over| at < over)
    }
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

    /// A task waits; `at_once` where it was due when it came to wait.
    pub(super) fn wait(&mut self, id: TaskId, task: &Task, at_once: bool) {
        let Stand::Pending(not_before) = task.stand else {
            return;
        };
        let life = task.life.as_ref();
        let start_by = life.and_then(|life| life.start_by().filter(|_| !life.begun));
        let end_by = life.and_then(|life| life.end_by());
        let waits = Waits {
            not_before,
            at_once,
            since: not_before.max(task.enqueued_at),
            over: start_by.into_iter().chain(end_by).min(),
            kind: Arc::clone(&task.kind),
            version: task.version,
        };
        let lane = match self.waiting.get_mut(&task.queue) {
            Some(lane) => lane,
            None => self.waiting.entry(task.queue.clone()).or_default(),
        };
        lane.insert((task.priority, task.place, id), waits);
    }

    pub(super) fn leave(&mut self, id: TaskId, task: &Task) {
        if let Some(lane) = self.waiting.get_mut(&task.queue) {
            lane.remove(&(task.priority, task.place, id));
        }
    }

    /// The latest tick that certainly came before this.
    fn tick_before(&self, at: Timestamp) -> Option<Timestamp> {
        self.ticks.iter().rev().find(|tick| **tick < at).copied()
    }

    /// Whether a queue certainly has a task that anybody may be given at this instant.
    pub(super) fn has_ready(&self, queue: &QueueName, at: Timestamp) -> bool {
        let Some(lane) = self.waiting.get(queue).filter(|_| !self.is_paused(queue)) else {
            return false;
        };
        let tick = self.tick_before(at);
        let mut first = lane.values().take(LOOKED_AT_MAX);
        first.any(|waits| waits.is_ready(at, tick))
    }

    /// A task that should have gone before the one that is granted: of each priority, kind and
    /// version the first one that is ready counts.
    pub(super) fn overtaken(&self, granted: &Granted<'_>) -> Option<TaskId> {
        let lane = self.waiting.get(granted.queue)?;
        let own_place = (granted.priority, granted.place, granted.id);
        let own = lane.get(&own_place)?;
        let own_rank = granted.rank(own_place, own);
        let tick = self.tick_before(granted.at);
        for priority in Priority::ALL {
            let level = lane.range((priority, 0, TaskId::MIN)..);
            let level = level.take_while(|((of, ..), _)| *of == priority);
            // Kinds whose first task is found, or may be.
            let mut behind: Vec<&Waits> = Vec::new();
            let level = level.take(LOOKED_AT_MAX);
            let ready = level.filter(|(_, waits)| waits.may_be_ready(granted.at));
            for (place, waits) in ready.take(READY_MAX) {
                if behind.iter().any(|first| first.is_same_lane(waits)) {
                    continue;
                }
                let before = if priority == granted.priority && waits.is_same_lane(own) {
                    *place < own_place
                } else {
                    granted.rank(*place, waits) < own_rank
                };
                if !before {
                    behind.push(waits);
                } else if waits.is_ready(granted.at, tick) {
                    return Some(place.2);
                }
            }
        }
        None
    }

    /// Whether a task is granted though a more urgent one is ready: where that is not overtaken,
    /// because of its age.
    pub(super) fn has_aged(&self, granted: &Granted<'_>) -> bool {
        let place = (granted.priority, granted.place, granted.id);
        let lane = self.waiting.get(granted.queue).into_iter().flatten();
        let tick = self.tick_before(granted.at);
        let mut ready = lane
            .take(LOOKED_AT_MAX)
            .filter(|(_, waits)| waits.is_ready(granted.at, tick));
        granted.aging_ms > 0 && ready.next().is_some_and(|((most, ..), _)| *most < place.0)
    }
}
