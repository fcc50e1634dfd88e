//! What is ready and what is due: an index over the ledger, forgettable and rebuildable.
//!
//! Owns the order of delivery (lanes), the retry timers, and per-queue orders of dead and finished
//! tasks. Never holds a fact that the ledger does not (the test: `rebuild == live`), never decides.

use crate::mutants::{self, Mutant};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::command::KindServed;
use super::dense::DenseMap;
use super::effect::Counts;
use super::ids::{QueueName, TaskId, Timestamp};
use super::ledger::Ledger;
use super::ledger::task::{Priority, State, Task};

/// The index of one shard.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Agenda {
    timers: Places,
    /// When tasks die unless something happens before.
    deaths: Places,
    queues: BTreeMap<QueueName, QueueIndex>,
}

/// The index of one queue.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct QueueIndex {
    lanes: BTreeMap<(Priority, Arc<str>, u32), Lane>,
    /// Pending tasks of each kind and version, due or not.
    kinds: BTreeMap<(Arc<str>, u32), u64>,
    counts: Counts,
    dead: Places,
    finished: Places,
    /// Who holds which unique key. More than one where a task came back to a state of its scope.
    holders: BTreeSet<(Arc<str>, TaskId)>,
}

/// Ready tasks of one priority and kind, in the order of their enqueueing.
type Lane = DenseMap<u64, TaskId>;

/// Tasks in the order of an instant.
type Places = DenseMap<(Timestamp, TaskId), ()>;

/// Where a task stands in the index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Timer {
        at: Timestamp,
        retrying: bool,
    },
    Lane {
        priority: Priority,
        kind: Arc<str>,
        version: u32,
        seq: u64,
    },
    Leased,
    Dead {
        at: Timestamp,
    },
    Finished {
        at: Timestamp,
    },
}

impl Agenda {
    /// The index of these facts. What is overdue after having been delayed stays a timer, so that
    /// it is promoted in order and a bounded number a turn.
    #[must_use]
    pub(super) fn rebuild(ledger: &Ledger) -> Self {
        let mut agenda = Self::default();
        for task in ledger.tasks_after(TaskId::MIN) {
            agenda.insert(task, task.enqueued_at);
        }
        agenda
    }

    /// The index of one queue.
    #[must_use]
    pub(super) fn queue(&self, queue: &QueueName) -> Option<&QueueIndex> {
        self.queues.get(queue)
    }

    /// Queues that have or had tasks, by name.
    pub(super) fn queues(&self) -> impl Iterator<Item = (&QueueName, &QueueIndex)> {
        self.queues.iter()
    }

    /// The next timer.
    #[must_use]
    pub(super) fn next_timer(&self) -> Option<Timestamp> {
        let first = self.timers.first().map(|((at, _), ())| *at);
        first.filter(|_| !mutants::is(Mutant::AlarmForgotten))
    }

    /// When the next task dies unless something happens before.
    #[must_use]
    pub(super) fn next_death(&self) -> Option<Timestamp> {
        self.deaths.first().map(|((at, _), ())| *at)
    }

    /// When tasks die unless something happens before.
    pub(super) const fn deaths(&self) -> &DenseMap<(Timestamp, TaskId), ()> {
        &self.deaths
    }

    /// The first task whose time is over.
    pub(super) fn due_death(&self, now: Timestamp) -> Option<TaskId> {
        let ((at, id), ()) = self.deaths.first()?;
        (*at <= now).then_some(*id)
    }

    /// The first timer that is due.
    pub(super) fn due_timer(&self, now: Timestamp) -> Option<(Timestamp, TaskId)> {
        let (first, ()) = self.timers.first()?;
        let early = u64::from(mutants::is(Mutant::TimerEarly));
        (first.0 <= now.plus_ms(early)).then_some(*first)
    }

    /// Moves a due task from its timer to its lane.
    pub(super) fn promote(&mut self, task: &Task) {
        let place = self.place(task);
        assert!(
            matches!(place, Place::Timer { .. }),
            "only timers are promoted"
        );
        self.remove_at(task, &place);
        self.insert_at(task, lane_of(task));
    }

    /// Where a task stands now; to be asked before an event changes it.
    pub(super) fn place(&self, task: &Task) -> Place {
        match &task.state {
            State::Pending { not_before } if !self.timers.contains_key(&(*not_before, task.id)) => {
                lane_of(task)
            }
            State::Pending { .. } | State::Leased(_) | State::Dead { .. } | State::Finished(_) => {
                settled_place(task)
            }
        }
    }

    /// Puts a task where its state belongs at this instant.
    pub(super) fn insert(&mut self, task: &Task, now: Timestamp) {
        let place = match &task.state {
            State::Pending { not_before } if *not_before <= now => lane_of(task),
            State::Pending { .. } | State::Leased(_) | State::Dead { .. } | State::Finished(_) => {
                settled_place(task)
            }
        };
        self.insert_at(task, place);
    }

    /// Takes a task from where it stood.
    pub(super) fn remove_at(&mut self, task: &Task, place: &Place) {
        if let Some(at) = task.dies_at() {
            self.deaths.remove(&(at, task.id));
        }
        let index = self
            .queues
            .get_mut(&task.queue)
            .expect("indexed tasks have a queue");
        if let Some(key) = task.held_key() {
            index.holders.remove(&(key.clone(), task.id));
        }
        let there = match place {
            Place::Timer { at, retrying } => {
                *index.waiting_mut(*retrying) -= 1;
                index.kind_leaves(task);
                self.timers.remove(&(*at, task.id)).is_some()
            }
            Place::Lane {
                priority,
                kind,
                version,
                seq,
            } => {
                let key = (*priority, kind.clone(), *version);
                let lane = index.lanes.get_mut(&key).expect("ready tasks have a lane");
                let there = lane.remove(seq) == Some(task.id);
                if lane.is_empty() {
                    index.lanes.remove(&key);
                }
                index.counts.ready -= 1;
                index.kind_leaves(task);
                there
            }
            Place::Leased => {
                index.counts.leased -= 1;
                true
            }
            Place::Dead { at } => {
                index.counts.dead -= 1;
                index.dead.remove(&(*at, task.id)).is_some()
            }
            Place::Finished { at } => index.finished.remove(&(*at, task.id)).is_some(),
        };
        assert!(there, "the agenda mirrors the ledger");
    }

    fn insert_at(&mut self, task: &Task, place: Place) {
        if let Some(at) = task.dies_at() {
            self.deaths.insert((at, task.id), ());
        }
        let index = match self.queues.get_mut(&task.queue) {
            Some(index) => index,
            None => self.queues.entry(task.queue.clone()).or_default(),
        };
        if let Some(key) = task.held_key() {
            index.holders.insert((key.clone(), task.id));
        }
        let new = match place {
            Place::Timer { at, retrying } => {
                *index.waiting_mut(retrying) += 1;
                index.kind_arrives(task);
                self.timers.insert((at, task.id), ()).is_none()
            }
            Place::Lane {
                priority,
                kind,
                version,
                seq,
            } => {
                index.counts.ready += 1;
                index.kind_arrives(task);
                let lane = index.lanes.entry((priority, kind, version)).or_default();
                lane.insert(seq, task.id).is_none()
            }
            Place::Leased => {
                index.counts.leased += 1;
                true
            }
            Place::Dead { at } => {
                index.counts.dead += 1;
                index.dead.insert((at, task.id), ()).is_none()
            }
            Place::Finished { at } => index.finished.insert((at, task.id), ()).is_none(),
        };
        assert!(new, "the agenda mirrors the ledger");
    }
}

impl QueueIndex {
    /// How many tasks stand where.
    #[must_use]
    pub(super) const fn counts(&self) -> Counts {
        self.counts
    }

    /// The task that goes first for somebody who runs these kinds (empty: every kind): the most
    /// urgent level, and within it the lowest enqueue sequence. With aging, a lane counts as one
    /// level more urgent for each `aging_ms` that its first task has been ready; `ready_since`
    /// knows since when.
    #[must_use]
    pub(super) fn first_ready(
        &self,
        kinds: &[KindServed],
        aging: Option<&Aging<'_>>,
    ) -> Option<TaskId> {
        let (first, last) = (self.lanes.first_key_value()?, self.lanes.last_key_value()?);
        let (most, least) = (first.0.0, last.0.0);
        // One lane has one first task, whatever its age.
        let aging = aging.filter(|_| self.lanes.len() > 1);
        let mut best: Option<(i64, u64, TaskId)> = None;
        let levels = Priority::ALL.into_iter();
        for priority in levels.filter(|level| (most..=least).contains(level)) {
            let all = mutants::is(Mutant::LeastUrgentFirst);
            if aging.is_none() && best.is_some() && !all {
                break;
            }
            self.each_lane(priority, kinds, &mut |lane| {
                let first = if mutants::is(Mutant::LastFirst) {
                    lane.iter().last()
                } else {
                    lane.first()
                };
                let Some((seq, id)) = first else {
                    return;
                };
                let level = match aging {
                    Some(aging) => aging.level(priority, *id),
                    None => priority.level(),
                };
                let level = if mutants::is(Mutant::LeastUrgentFirst) {
                    -level
                } else {
                    level
                };
                let candidate = (level, *seq, *id);
                if best.is_none_or(|best| candidate < best) {
                    best = Some(candidate);
                }
            });
        }
        best.map(|(_, _, id)| id)
    }

    /// Goes over the lanes of one priority that somebody who runs these kinds serves.
    fn each_lane(&self, priority: Priority, kinds: &[KindServed], look: &mut dyn FnMut(&Lane)) {
        if kinds.is_empty() || self.lanes.len() <= kinds.len() {
            let from = (priority, Arc::default(), 0);
            let lanes = self.lanes.range(from..);
            for ((level, kind, version), lane) in lanes {
                if *level != priority {
                    return;
                }
                if serves(kinds, kind, *version) {
                    look(lane);
                }
            }
            return;
        }
        for kind in kinds {
            let from = (priority, kind.kind.clone(), kind.version_min);
            let to = (priority, kind.kind.clone(), kind.version_max);
            self.lanes.range(from..=to).for_each(|(_, lane)| look(lane));
        }
    }

    /// Whether any task is ready.
    #[must_use]
    pub(super) const fn has_ready(&self) -> bool {
        self.counts.ready > 0
    }

    /// Whether a pending task of this kind is there, or room for one more kind.
    #[must_use]
    pub(super) fn has_room_for_kind(
        &self,
        kind: &Arc<str>,
        version: u32,
        kinds_max: usize,
    ) -> bool {
        self.kinds.len() < kinds_max || self.kinds.contains_key(&(kind.clone(), version))
    }

    fn kind_arrives(&mut self, task: &Task) {
        let kind = (task.kind.clone(), task.version);
        *self.kinds.entry(kind).or_default() += 1;
    }

    fn kind_leaves(&mut self, task: &Task) {
        let kind = (task.kind.clone(), task.version);
        let count = self.kinds.get_mut(&kind);
        let count = count.expect("pending tasks are counted");
        *count -= 1;
        if *count == 0 {
            self.kinds.remove(&kind);
        }
    }

    /// The task that holds a unique key; the earliest one where there are several.
    pub(super) fn holder(&self, key: &Arc<str>) -> Option<TaskId> {
        let first = self.holders.range((key.clone(), TaskId::MIN)..).next()?;
        (first.0 == *key).then_some(first.1)
    }

    /// Who holds which unique key.
    pub(super) const fn holders(&self) -> &BTreeSet<(Arc<str>, TaskId)> {
        &self.holders
    }

    /// Ready tasks of each lane.
    pub(super) fn ready_by_kind(&self) -> BTreeMap<(&Arc<str>, u32), u64> {
        let mut ready = BTreeMap::new();
        for ((_, kind, version), lane) in &self.lanes {
            *ready.entry((kind, *version)).or_default() += lane.len() as u64;
        }
        ready
    }

    /// Dead tasks after this place, in the order of their death.
    pub(super) fn dead_after(
        &self,
        after: Option<(Timestamp, TaskId)>,
    ) -> impl Iterator<Item = (Timestamp, TaskId)> {
        self.dead.after(after).map(|(place, ())| *place)
    }

    /// The finished tasks beyond `keep`, the earliest first, at most so many.
    #[must_use]
    pub(super) fn finished_beyond(&self, keep: usize, count_max: usize) -> Vec<TaskId> {
        let beyond = self.finished.len().saturating_sub(keep).min(count_max);
        self.finished
            .iter()
            .take(beyond)
            .map(|((_, id), ())| *id)
            .collect()
    }

    /// How many finished tasks are kept.
    #[must_use]
    pub(super) fn finished_count(&self) -> usize {
        self.finished.len()
    }

    const fn waiting_mut(&mut self, retrying: bool) -> &mut u64 {
        if retrying {
            &mut self.counts.retrying
        } else {
            &mut self.counts.scheduled
        }
    }
}

/// The place of a task that is not in a lane.
fn settled_place(task: &Task) -> Place {
    match &task.state {
        State::Pending { not_before } => Place::Timer {
            at: *not_before,
            retrying: task.runs() > 0,
        },
        State::Leased(_) => Place::Leased,
        State::Dead { at, .. } => Place::Dead { at: *at },
        State::Finished(finished) => Place::Finished { at: finished.at },
    }
}

fn lane_of(task: &Task) -> Place {
    Place::Lane {
        priority: task.priority,
        kind: task.kind.clone(),
        version: task.version,
        seq: task.enqueue_seq,
    }
}

/// Whether somebody who declares these kinds (empty: every kind) runs this one in this version.
pub(super) fn serves(kinds: &[KindServed], kind: &Arc<str>, version: u32) -> bool {
    kinds.is_empty() || mutants::is(Mutant::KindsIgnored) || {
        let found = kinds.binary_search_by(|served| served.kind.cmp(kind));
        found.is_ok_and(|index| kinds[index].has(version))
    }
}

/// How waiting makes a task more urgent.
pub(super) struct Aging<'a> {
    /// One level for each so many milliseconds.
    pub(super) aging_ms: u64,
    /// Now.
    pub(super) now: Timestamp,
    /// Who knows since when a task has been ready.
    pub(super) ledger: &'a Ledger,
}

impl Aging<'_> {
    /// The level of a lane whose first task is this one: the lower, the more urgent.
    fn level(&self, priority: Priority, first: TaskId) -> i64 {
        let task = self.ledger.task(first).expect("ready tasks exist");
        let State::Pending { not_before } = &task.state else {
            return priority.level();
        };
        let waited_ms = self.now.since_ms((*not_before).max(task.enqueued_at));
        let levels = waited_ms / self.aging_ms.max(1);
        let levels = i64::try_from(levels).unwrap_or(i64::MAX);
        (priority.level() - levels).max(Priority::Highest.level())
    }
}
