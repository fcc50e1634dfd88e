//! Durable facts: what the journal can rebuild.
//!
//! Owns every entity of a shard (tasks, queues, transfers) and [`Ledger::apply`], the only door to
//! them (I1), the same for a live run and for replay. Never reads a clock, draws or resolves (I7);
//! never answers "what is due": that is the agenda.

mod changes;
mod filed;
pub mod history;
mod images;
mod impossible;
mod keep;
pub mod kind;
pub mod memory;
pub mod more;
pub mod queue;
mod replay;
pub mod tally;
pub mod task;
pub mod terms;
mod transfers;
mod transition;
mod weight;

use std::collections::{BTreeMap, BTreeSet};

use super::dense::DenseMap;
use super::event::Event;
use super::ids::{QueueName, ShardId, TaskId, Timestamp};
use super::retry::Budget;
pub use keep::Kept;
use keep::Texts;
use kind::{Kind, KindName};
use memory::MemoryKey;
use queue::{Pause, Queue, Totals};
pub use replay::{ReplayError, ReplayProblem};
use task::{Outcome, State, Task};
pub use transition::{Stage, TaskEvent, transition};

/// The durable facts of one shard.
#[derive(Clone, Debug, PartialEq)]
pub struct Ledger {
    shard: ShardId,
    last_seq: u64,
    epoch: u64,
    newest: Timestamp,
    /// The newest instant up to which something was forgotten, or at which something was cancelled
    /// or paused, since the shard's latest image, which takes it over: it has passed as well. Apart
    /// from `newest`, because images of older builds do not know of it.
    passed: Timestamp,
    tasks: DenseMap<TaskId, Kept>,
    queues: BTreeMap<QueueName, Queue>,
    finished: DenseMap<(Timestamp, TaskId), ()>,
    outgoing: BTreeMap<ShardId, Outgoing>,
    received_through: BTreeMap<ShardId, u64>,
    memories: filed::Filed,
    memory_expiries: BTreeSet<(Timestamp, MemoryKey)>,
    memory_bytes: u64,
    producers: BTreeSet<(Timestamp, MemoryKey)>,
    kinds: BTreeMap<KindName, Kind>,
    kind_bytes: u64,
    transfer_bytes: u64,
    bytes: u64,
    image_bytes: u64,
    texts: Texts,
    /// Whether what is replayed may speak of entities whose records were cleaned away.
    partial: bool,
}

/// Transfers on their way to one shard.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outgoing {
    /// The number of the latest one; they are dense from 1.
    pub sent_through: u64,
    /// Those that the target has not confirmed.
    pub unconfirmed: BTreeMap<u64, Kept>,
}

impl Ledger {
    /// An empty ledger.
    #[must_use]
    pub fn new(shard: ShardId) -> Self {
        Self {
            shard,
            last_seq: 0,
            epoch: 0,
            newest: Timestamp(0),
            passed: Timestamp(0),
            tasks: DenseMap::default(),
            queues: BTreeMap::new(),
            finished: DenseMap::default(),
            outgoing: BTreeMap::new(),
            received_through: BTreeMap::new(),
            memories: filed::Filed::default(),
            memory_expiries: BTreeSet::new(),
            memory_bytes: 0,
            producers: BTreeSet::new(),
            kinds: BTreeMap::new(),
            kind_bytes: 0,
            transfer_bytes: 0,
            bytes: 0,
            image_bytes: 0,
            texts: Texts::default(),
            partial: false,
        }
    }

    /// Which shard's.
    #[must_use]
    pub const fn shard(&self) -> ShardId {
        self.shard
    }

    /// The sequence of the latest event; 0 before the first.
    #[must_use]
    pub const fn last_seq(&self) -> u64 {
        self.last_seq
    }

    /// The epoch that is running.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The newest instant that an event has named: the clock never starts before it (I8).
    #[must_use]
    pub fn newest(&self) -> Timestamp {
        self.newest.max(self.passed)
    }

    /// What tasks, memories, kinds and unconfirmed transfers take in memory.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes + self.memory_bytes + self.kind_bytes + self.transfer_bytes
    }

    /// The task of this id.
    #[must_use]
    pub fn task(&self, id: TaskId) -> Option<&Task> {
        self.tasks.get(&id).map(|task| &**task)
    }

    /// The task of this id, with where it was recorded.
    pub(super) fn task_kept(&self, id: TaskId) -> Option<&Kept> {
        self.tasks.get(&id)
    }

    /// The tasks after this id, in the order of ids.
    pub fn tasks_after(&self, id: TaskId) -> impl Iterator<Item = &Task> {
        self.tasks.after(Some(id)).map(|(_, task)| &**task)
    }

    /// How many tasks there are, whatever their state.
    #[must_use]
    pub const fn task_count(&self) -> usize {
        self.tasks.len()
    }

    /// The queue of this name.
    #[must_use]
    pub fn queue(&self, name: &QueueName) -> Option<&Queue> {
        self.queues.get(name)
    }

    /// All queues, by name.
    pub fn queues(&self) -> impl Iterator<Item = &Queue> {
        self.queues.values()
    }

    /// The queues from this name on, by name.
    pub fn queues_from(&self, from: std::ops::Bound<QueueName>) -> impl Iterator<Item = &Queue> {
        let range = (from, std::ops::Bound::Unbounded);
        self.queues.range(range).map(|(_, queue)| queue)
    }

    /// How many queues there are.
    #[must_use]
    pub fn queue_count(&self) -> usize {
        self.queues.len()
    }

    /// When the next finished task is to be forgotten.
    #[must_use]
    pub fn next_forgotten(&self) -> Option<Timestamp> {
        self.finished.first().map(|((at, _), ())| *at)
    }

    /// The transfers on their way to each shard.
    pub fn outgoing(&self) -> impl Iterator<Item = (ShardId, &Outgoing)> {
        self.outgoing
            .iter()
            .map(|(shard, outgoing)| (*shard, outgoing))
    }

    /// The transfers on their way to one shard.
    #[must_use]
    pub fn outgoing_to(&self, target: ShardId) -> Option<&Outgoing> {
        self.outgoing.get(&target)
    }

    /// The number of the latest transfer received from a shard.
    #[must_use]
    pub fn received_through(&self, origin: ShardId) -> u64 {
        self.received_through.get(&origin).copied().unwrap_or(0)
    }

    /// What all of these take in memory, counted anew: equals [`Ledger::bytes`].
    #[must_use]
    pub fn recount_bytes(&self) -> u64 {
        let tasks = self.tasks.iter().map(|(_, task)| task.bytes());
        let kinds = self.kinds.values().map(Kind::bytes);
        let outgoing = self
            .outgoing
            .values()
            .flat_map(|out| out.unconfirmed.values());
        let transfers = outgoing.map(|task| task.bytes());
        tasks.sum::<u64>()
            + self.recount_memory_bytes()
            + kinds.sum::<u64>()
            + transfers.sum::<u64>()
    }

    /// Makes one event a fact: the only change there is.
    ///
    /// # Panics
    /// Where the event is out of sequence, or speaks of an entity that is not there or stands
    /// elsewhere: a ledger that guesses is worse than a coordinator that stops.
    pub fn apply(&mut self, seq: u64, event: &Event) {
        self.count_event(seq, event);
        match event {
            Event::EpochStarted { epoch, .. } => {
                assert!(*epoch > self.epoch, "epochs only grow");
                self.epoch = *epoch;
            }
            Event::QueueConfigured { .. }
            | Event::QueuePaused { .. }
            | Event::QueueResumed { .. } => self.queue_event(seq, event),
            Event::Remembered { key, memory } => self.remembered(key, memory),
            Event::RememberedMore {
                key,
                tasks,
                expires_at,
            } => self.remembered_more(key, tasks, *expires_at),
            Event::MemoriesForgotten { at, last } => self.memories_forgotten(&(*at, last.clone())),
            Event::KindConfigured { kind } => self.kind_configured(kind),
            Event::KindRemoved { name, .. } => self.kind_removed(name),
            Event::TaskEnqueued { task } => self.accept(task),
            Event::TasksForgotten { ids } => ids.iter().for_each(|id| self.forget(*id)),
            Event::ExpiredThrough { at, last } => self.expire((*at, *last)),
            Event::TransferSent {
                target,
                number,
                task,
            } => self.transfer_sent(*target, *number, task),
            Event::TransferReceived {
                origin,
                number,
                task,
            } => self.transfer_received(*origin, *number, task),
            Event::TransferConfirmed { target, through } => {
                self.transfer_confirmed(*target, *through);
            }
            Event::LeaseGranted { id, .. }
            | Event::LeaseStarted { id, .. }
            | Event::CancelRequested { id, .. }
            | Event::LeaseExtended { id, .. }
            | Event::CheckpointSaved { id, .. }
            | Event::TimeoutsChanged { id, .. }
            | Event::TaskEdited { id, .. }
            | Event::TaskExpired { id, .. }
            | Event::RetryScheduled { id, .. }
            | Event::TaskDied { id, .. }
            | Event::TaskFinished { id, .. }
            | Event::TaskRedriven { id, .. } => self.change(*id, event),
            Event::SegmentOpened { shard } => self.segment_opened(shard),
            Event::TaskImage { task } => self.task_image(task),
            Event::QueueImage { queue } => self.queue_image(queue),
            Event::TransferImage {
                target,
                number,
                task,
            } => self.transfer_image(*target, *number, task),
            Event::SegmentsCleaned { .. } => {}
        }
    }

    /// An event has its place in the sequence, whatever becomes of it.
    fn count_event(&mut self, seq: u64, event: &Event) {
        if let (0, Event::SegmentOpened { shard }) = (self.last_seq, event) {
            self.adopt(seq, shard);
        }
        assert_eq!(seq, self.last_seq + 1, "events of a shard are dense");
        self.last_seq = seq;
        if let Some(at) = event.at() {
            self.newest = self.newest.max(at);
        }
        if let Event::ExpiredThrough { at, .. }
        | Event::MemoriesForgotten { at, .. }
        | Event::QueuePaused {
            pause: Pause { at, .. },
            ..
        } = event
        {
            self.passed = self.passed.max(*at);
        } else if let Event::CancelRequested { order, .. } = event {
            self.passed = self.passed.max(order.at);
        }
    }

    /// One event of an existing task.
    fn change(&mut self, id: TaskId, event: &Event) {
        let task = self
            .tasks
            .get_mut(&id)
            .expect("an event speaks of a task that exists");
        let (before, image_before) = (task.bytes(), task.image_bytes());
        task.apply(event);
        self.bytes = self.bytes - before + task.bytes();
        self.image_bytes = self.image_bytes - image_before + task.image_bytes();
        if let State::Finished(finished) = &task.state {
            self.finished.insert((finished.forgotten_at(), id), ());
        }
        if let Some(queue) = self.queues.get_mut(&task.queue) {
            count(&mut queue.totals, event);
        }
    }

    /// A task is new.
    fn accept(&mut self, task: &Task) {
        self.newest = self.newest.max(task.enqueued_at);
        if let Some(queue) = self.queues.get_mut(&task.queue) {
            queue.totals.enqueued += 1;
            queue.totals.dead_lettered += u64::from(matches!(task.state, State::Dead { .. }));
        }
        self.insert(task);
    }

    /// Keeps a task that is not known yet, recorded whole by the latest event.
    fn insert(&mut self, task: &Task) {
        assert_eq!(task.id.shard(), self.shard, "a task never leaves its shard");
        self.bytes += task.bytes();
        self.image_bytes += task.image_bytes();
        if let State::Finished(finished) = &task.state {
            self.finished.insert((finished.forgotten_at(), task.id), ());
        }
        let task = self.keep(task, self.last_seq);
        let known = self.tasks.insert(task.id, task);
        assert!(known.is_none(), "an id is given once");
    }

    fn forget(&mut self, id: TaskId) {
        let task = self
            .tasks
            .remove(&id)
            .expect("only tasks that exist are forgotten");
        let State::Finished(finished) = &task.state else {
            panic!("only finished tasks are forgotten (I4)");
        };
        self.finished.remove(&(finished.forgotten_at(), id));
        self.bytes -= task.bytes();
        self.image_bytes -= task.image_bytes();
    }

    /// Removes every finished task up to this place.
    fn expire(&mut self, through: (Timestamp, TaskId)) {
        while let Some((&(at, id), ())) = self.finished.first()
            && (at, id) <= through
        {
            self.forget(id);
        }
    }

    /// The places of the finished tasks up to this one, in their order: what
    /// [`Event::ExpiredThrough`] removes.
    pub(super) fn finished_through(
        &self,
        through: (Timestamp, TaskId),
    ) -> impl Iterator<Item = (Timestamp, TaskId)> {
        let places = self.finished.iter().map(|(place, ())| *place);
        places.take_while(move |place| *place <= through)
    }
}

/// Lifetime totals of the task's queue.
fn count(totals: &mut Totals, event: &Event) {
    let budget = match event {
        Event::RetryScheduled { budget, .. } | Event::TaskDied { budget, .. } => Some(*budget),
        Event::TaskFinished { budget, .. } => *budget,
        Event::EpochStarted { .. }
        | Event::QueueConfigured { .. }
        | Event::QueuePaused { .. }
        | Event::QueueResumed { .. }
        | Event::TaskEnqueued { .. }
        | Event::LeaseGranted { .. }
        | Event::LeaseStarted { .. }
        | Event::CancelRequested { .. }
        | Event::LeaseExtended { .. }
        | Event::CheckpointSaved { .. }
        | Event::TimeoutsChanged { .. }
        | Event::TaskEdited { .. }
        | Event::TaskExpired { .. }
        | Event::TaskRedriven { .. }
        | Event::TasksForgotten { .. }
        | Event::ExpiredThrough { .. }
        | Event::Remembered { .. }
        | Event::RememberedMore { .. }
        | Event::MemoriesForgotten { .. }
        | Event::KindConfigured { .. }
        | Event::KindRemoved { .. }
        | Event::TransferSent { .. }
        | Event::TransferReceived { .. }
        | Event::TransferConfirmed { .. }
        | Event::SegmentOpened { .. }
        | Event::TaskImage { .. }
        | Event::QueueImage { .. }
        | Event::TransferImage { .. }
        | Event::SegmentsCleaned { .. } => None,
    };
    totals.failures += u64::from(budget == Some(Budget::Attempt));
    totals.crashes += u64::from(budget == Some(Budget::Crash));
    let died = matches!(event, Event::TaskDied { .. } | Event::TaskExpired { .. });
    totals.dead_lettered += u64::from(died);
    totals.redriven += u64::from(matches!(event, Event::TaskRedriven { .. }));
    let succeeded =
        matches!(event, Event::TaskFinished { outcome, .. } if *outcome == Outcome::Succeeded);
    totals.succeeded += u64::from(succeeded);
}
