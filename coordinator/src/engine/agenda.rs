//! What is ready and what is due: an index over the ledger, forgettable and rebuildable.
//!
//! Owns the order of delivery (lanes), the retry timers, and per-queue orders of dead and finished
//! tasks. Never holds a fact that the ledger does not (the test: `rebuild == live`), never decides.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::dense::DenseMap;
use super::effect::Counts;
use super::ids::{QueueName, TaskId, Timestamp};
use super::ledger::Ledger;
use super::ledger::task::{Priority, State, Task};

/// The index of one shard.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Agenda {
    timers: Places,
    queues: BTreeMap<QueueName, QueueIndex>,
}

/// The index of one queue.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct QueueIndex {
    lanes: BTreeMap<(Priority, Arc<str>), Lane>,
    /// Pending tasks of each kind, due or not.
    kinds: BTreeMap<Arc<str>, u64>,
    counts: Counts,
    dead: Places,
    finished: Places,
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
        self.timers.first().map(|((at, _), ())| *at)
    }

    /// The first timer that is due.
    pub(super) fn due_timer(&self, now: Timestamp) -> Option<(Timestamp, TaskId)> {
        let (first, ()) = self.timers.first()?;
        (first.0 <= now).then_some(*first)
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
        let index = self
            .queues
            .get_mut(&task.queue)
            .expect("indexed tasks have a queue");
        let there = match place {
            Place::Timer { at, retrying } => {
                *index.waiting_mut(*retrying) -= 1;
                index.kind_leaves(&task.kind);
                self.timers.remove(&(*at, task.id)).is_some()
            }
            Place::Lane {
                priority,
                kind,
                seq,
            } => {
                let key = (*priority, kind.clone());
                let lane = index.lanes.get_mut(&key).expect("ready tasks have a lane");
                let there = lane.remove(seq) == Some(task.id);
                if lane.is_empty() {
                    index.lanes.remove(&key);
                }
                index.counts.ready -= 1;
                index.kind_leaves(&task.kind);
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
        let index = match self.queues.get_mut(&task.queue) {
            Some(index) => index,
            None => self.queues.entry(task.queue.clone()).or_default(),
        };
        let new = match place {
            Place::Timer { at, retrying } => {
                *index.waiting_mut(retrying) += 1;
                index.kind_arrives(&task.kind);
                self.timers.insert((at, task.id), ()).is_none()
            }
            Place::Lane {
                priority,
                kind,
                seq,
            } => {
                index.counts.ready += 1;
                index.kind_arrives(&task.kind);
                let lane = index.lanes.entry((priority, kind)).or_default();
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

    /// The task that goes first among those of these kinds (empty: every kind): the most urgent
    /// level, and within it the lowest enqueue sequence.
    #[must_use]
    pub(super) fn first_ready(&self, kinds: &[Arc<str>]) -> Option<TaskId> {
        if kinds.is_empty() || self.lanes.len() <= kinds.len() {
            let wanted = |kind: &Arc<str>| kinds.is_empty() || kinds.binary_search(kind).is_ok();
            return first_of(
                self.lanes
                    .iter()
                    .filter(|((_, kind), _)| wanted(kind))
                    .map(|((p, _), l)| (*p, l)),
            );
        }
        let levels = [
            Priority::Highest,
            Priority::High,
            Priority::Normal,
            Priority::Low,
            Priority::Lowest,
        ];
        levels.into_iter().find_map(|priority| {
            let lanes = kinds
                .iter()
                .filter_map(|kind| self.lanes.get(&(priority, kind.clone())));
            first_of(lanes.map(|lane| (priority, lane)))
        })
    }

    /// Whether a pending task of this kind is there, or room for one more kind.
    #[must_use]
    pub(super) fn has_room_for_kind(&self, kind: &Arc<str>, kinds_max: usize) -> bool {
        self.kinds.len() < kinds_max || self.kinds.contains_key(kind)
    }

    fn kind_arrives(&mut self, kind: &Arc<str>) {
        match self.kinds.get_mut(kind) {
            Some(count) => *count += 1,
            None => {
                self.kinds.insert(kind.clone(), 1);
            }
        }
    }

    fn kind_leaves(&mut self, kind: &Arc<str>) {
        let count = self.kinds.get_mut(kind).expect("pending tasks are counted");
        *count -= 1;
        if *count == 0 {
            self.kinds.remove(kind);
        }
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
            retrying: task.runs > 0,
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
        seq: task.enqueue_seq,
    }
}

/// The first task of lanes that come in the order of their priority.
fn first_of<'a>(lanes: impl Iterator<Item = (Priority, &'a Lane)>) -> Option<TaskId> {
    let mut best: Option<(Priority, (u64, TaskId))> = None;
    for (priority, lane) in lanes {
        if best.is_some_and(|(level, _)| level < priority) {
            break;
        }
        let Some((seq, id)) = lane.first() else {
            continue;
        };
        let first = (*seq, *id);
        if best.is_none_or(|(_, task)| first < task) {
            best = Some((priority, first));
        }
    }
    best.map(|(_, (_, id))| id)
}
