//! One command being handled: the only way to record an event or to emit an effect.
//!
//! Owns the engine's state while a command is handled. Its fields are private: handlers read the
//! ledgers, and change them only through [`Step::record`] (I1). What a step emits is pushed by
//! value into the turn, so nothing can be told before it is recorded.

mod beats;
mod memory;
mod replay;

use crate::mutants::{self, Mutant};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::EngineConfig;
use super::agenda::Agenda;
use super::clocks::Clocks;
use super::effect::{Answer, CancelReason, Effect, ToWorker};
use super::event::{Event, Recorded};
use super::handlers::Beat;
use super::ids::{LeaseToken, LinkId, QueueName, RequestId, SessionId, ShardId, TaskId, Timestamp};
use super::ledger::Ledger;
use super::ledger::task::Task;
use super::limits;
use super::notice;
use super::rejection::Rejection;
use super::sessions::{Member, Sessions};
use super::shard::Shard;

/// What one or more steps produced: the frame of a turn.
#[derive(Debug, Default)]
pub struct Turn {
    /// What happened, in order.
    pub events: Vec<Recorded>,
    /// What the outside must be told once that is durable, in order.
    pub effects: Vec<Effect>,
    /// About how many bytes the events take.
    pub bytes: u64,
}

impl Turn {
    /// Whether it has as much to remember as it should: what is left waits for the next one.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.bytes >= limits::TURN_BYTES_MAX
    }
}

/// Everything the engine holds.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) config: EngineConfig,
    shards: Vec<Shard>,
    sessions: Sessions,
    clocks: Clocks,
    waits: BTreeMap<TaskId, Vec<RequestId>>,
    waited: BTreeMap<RequestId, TaskId>,
    unary_held: BTreeMap<Arc<str>, usize>,
    beats: BTreeMap<TaskId, Beat>,
    unsaved_bytes: u64,
    begun: Vec<TaskId>,
    promoted_first: usize,
    served_polls: Vec<RequestId>,
    gaps_mended: BTreeMap<(ShardId, ShardId), u64>,
    dirty_queues: BTreeSet<QueueName>,
    dirty_members: BTreeSet<Member>,
    blocked_queues: BTreeSet<QueueName>,
    crowded_queues: BTreeSet<QueueName>,
    rng: StdRng,
    now: Timestamp,
    shutting_down: bool,
    disk_full: bool,
    replayed_from: u64,
    partial: bool,
    unsaid_cleaning: Option<u64>,
    pub(super) memories_max: usize,
}

impl Core {
    pub(super) fn new(config: EngineConfig) -> Self {
        let shards = (0..config.shard_count)
            .map(|id| Shard::new(ShardId(id)))
            .collect();
        Self {
            rng: StdRng::seed_from_u64(config.seed),
            config,
            shards,
            sessions: Sessions::default(),
            clocks: Clocks::default(),
            waits: BTreeMap::new(),
            waited: BTreeMap::new(),
            unary_held: BTreeMap::new(),
            beats: BTreeMap::new(),
            unsaved_bytes: 0,
            begun: Vec::new(),
            promoted_first: 0,
            served_polls: Vec::new(),
            gaps_mended: BTreeMap::new(),
            dirty_queues: BTreeSet::new(),
            dirty_members: BTreeSet::new(),
            blocked_queues: BTreeSet::new(),
            crowded_queues: BTreeSet::new(),
            now: Timestamp(0),
            shutting_down: false,
            disk_full: false,
            replayed_from: 1,
            partial: false,
            unsaid_cleaning: None,
            memories_max: limits::MEMORIES_PER_SHARD_MAX,
        }
    }

    pub(super) fn shards(&self) -> &[Shard] {
        &self.shards
    }

    pub(super) const fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    pub(super) const fn clocks(&self) -> &Clocks {
        &self.clocks
    }

    /// Whether receipts wait to be recorded: to be done before the turn ends.
    pub(super) fn has_begun(&self) -> bool {
        !self.begun.is_empty()
    }

    pub(super) const fn now(&self) -> Timestamp {
        self.now
    }

    /// Whether queues have more to forget than one step does.
    pub(super) fn is_crowded(&self) -> bool {
        !self.crowded_queues.is_empty()
    }
}

/// One command being handled.
pub(super) struct Step<'a> {
    core: &'a mut Core,
    turn: &'a mut Turn,
    /// The bytes of the turn when the step began.
    bytes_before: u64,
}

impl<'a> Step<'a> {
    pub(super) fn new(core: &'a mut Core, now: Timestamp, turn: &'a mut Turn) -> Self {
        assert!(now >= core.now, "time never goes back (I8)");
        core.now = now;
        let bytes_before = turn.bytes;
        Self {
            core,
            turn,
            bytes_before,
        }
    }

    pub(super) const fn now(&self) -> Timestamp {
        self.core.now
    }

    pub(super) const fn config(&self) -> &EngineConfig {
        &self.core.config
    }

    pub(super) const fn shutting_down(&self) -> bool {
        self.core.shutting_down
    }

    pub(super) const fn shut_down(&mut self) {
        self.core.shutting_down = true;
    }

    /// The segment that the log begins with, where no record says that the ones before were cleaned.
    pub(super) const fn take_unsaid_cleaning(&mut self) -> Option<u64> {
        self.core.unsaid_cleaning.take()
    }

    /// Whether only what shrinks is accepted, because the disk is full.
    pub(super) const fn disk_full(&self) -> bool {
        self.core.disk_full
    }

    pub(super) const fn set_disk_full(&mut self, full: bool) {
        self.core.disk_full = full;
    }

    pub(super) fn ledger(&self, shard: ShardId) -> &Ledger {
        self.core.shards[usize::from(shard.0)].ledger()
    }

    pub(super) fn agenda(&self, shard: ShardId) -> &Agenda {
        self.core.shards[usize::from(shard.0)].agenda()
    }

    pub(super) fn shard_ids(&self) -> impl Iterator<Item = ShardId> + use<> {
        (0..self.core.config.shard_count).map(ShardId)
    }

    /// The shard of a queue.
    pub(super) fn shard_of(&self, queue: &QueueName) -> ShardId {
        queue.shard(self.core.config.shard_count)
    }

    /// The task of this id, in whichever shard it was born.
    pub(super) fn task(&self, id: TaskId) -> Option<&Task> {
        self.core
            .shards
            .get(usize::from(id.shard().0))?
            .ledger()
            .task(id)
    }

    pub(super) const fn sessions(&self) -> &Sessions {
        &self.core.sessions
    }

    pub(super) const fn sessions_mut(&mut self) -> &mut Sessions {
        &mut self.core.sessions
    }

    pub(super) const fn clocks_mut(&mut self) -> &mut Clocks {
        &mut self.core.clocks
    }

    /// Makes an event a fact and tells watchers.
    pub(super) fn record(&mut self, shard: ShardId, event: Event) {
        let now = self.core.now;
        let before = event
            .of_task()
            .and_then(|(id, _)| self.task(id))
            .map(notice::Before::of);
        let shard = &mut self.core.shards[usize::from(shard.0)];
        let recorded = shard.record(now, event);
        if let Some(notice) = notice::of(shard.ledger(), &recorded.event, before, now) {
            self.turn.effects.push(Effect::Notice(Box::new(notice)));
        }
        self.turn.bytes += recorded.event.weight_bytes();
        self.turn.events.push(recorded);
    }

    /// Whether the step has as much to remember as it should. What others put into the turn before
    /// does not count: what is due must not wait for those who enqueue.
    pub(super) const fn is_full(&self) -> bool {
        self.recorded_bytes() >= limits::TURN_BYTES_MAX
    }

    /// About how many bytes the events of this step take.
    pub(super) const fn recorded_bytes(&self) -> u64 {
        self.turn.bytes - self.bytes_before
    }

    /// Emits an effect.
    pub(super) fn emit(&mut self, effect: Effect) {
        self.turn.effects.push(effect);
    }

    /// Replies to a call.
    pub(super) fn reply(&mut self, request: RequestId, reply: Result<Answer, Rejection>) {
        self.emit(Effect::Reply { request, reply });
    }

    /// Tells a worker something on its stream.
    pub(super) fn tell(&mut self, link: LinkId, message: ToWorker) {
        // A shutdown has ended all streams: sessions keep theirs until they are told of the break.
        if !self.core.shutting_down {
            self.emit(Effect::Tell { link, message });
        }
    }

    /// Tells the session that holds or held a lease to stop; without a stream there is nobody to
    /// tell, and a resume will.
    pub(super) fn tell_cancel(
        &mut self,
        session: SessionId,
        token: LeaseToken,
        why: (CancelReason, &str),
        grace_ms: Option<u64>,
    ) {
        let (reason, detail) = why;
        let link = self
            .core
            .sessions
            .get(session)
            .and_then(|session| session.link);
        if let Some(link) = link {
            let detail = detail.into();
            self.tell(
                link,
                ToWorker::Cancel {
                    token,
                    reason,
                    grace_ms,
                    detail,
                },
            );
        }
    }

    pub(super) fn new_task_id(&mut self, shard: ShardId) -> TaskId {
        let random = self.core.rng.random();
        self.core.shards[usize::from(shard.0)].next_id(self.core.now, random)
    }

    pub(super) fn random_u64(&mut self) -> u64 {
        self.core.rng.random()
    }

    pub(super) fn random_u128(&mut self) -> u128 {
        self.core.rng.random()
    }

    /// Uniform in [0, 1).
    pub(super) fn draw(&mut self) -> f64 {
        self.core.rng.random()
    }

    /// A queue has a ready task that it had not, or is not paused any more.
    pub(super) fn touch_queue(&mut self, queue: &QueueName) {
        if !self.core.dirty_queues.contains(queue) {
            self.core.dirty_queues.insert(queue.clone());
        }
    }

    /// Somebody wants work who did not, or may have to be taken out.
    pub(super) fn touch_member(&mut self, member: Member) {
        self.core.dirty_members.insert(member);
    }

    pub(super) fn take_dirty_queues(&mut self) -> BTreeSet<QueueName> {
        std::mem::take(&mut self.core.dirty_queues)
    }

    pub(super) fn take_dirty_members(&mut self) -> BTreeSet<Member> {
        std::mem::take(&mut self.core.dirty_members)
    }

    /// Somebody who wants work has no room for the queue's first task: when that is gone, the next
    /// one may fit.
    pub(super) fn block_queue(&mut self, queue: QueueName) {
        self.core.blocked_queues.insert(queue);
    }

    /// Time has passed: another task may go first now, which fits those who had no room.
    pub(super) fn retry_blocked(&mut self) {
        let blocked = std::mem::take(&mut self.core.blocked_queues);
        self.core.dirty_queues.extend(blocked);
    }

    /// A task of the queue is not ready any more.
    pub(super) fn unblock_queue(&mut self, queue: &QueueName) {
        if self.core.blocked_queues.remove(queue) {
            self.touch_queue(queue);
        }
    }

    /// Whether a call waits for a task's end.
    pub(super) fn is_waited_for(&self, task: TaskId) -> bool {
        self.core.waits.contains_key(&task)
    }

    /// Marks the first attempt to mend a gap in transfers from here; false where it was made.
    pub(super) fn mend_gap(&mut self, origin: ShardId, target: ShardId, first: u64) -> bool {
        self.core.gaps_mended.insert((origin, target), first) != Some(first)
    }

    /// A queue has gained a finished task: it may have to forget older ones.
    pub(super) fn crowd(&mut self, queue: &QueueName) {
        self.core.crowded_queues.insert(queue.clone());
    }

    pub(super) fn take_crowded(&mut self) -> BTreeSet<QueueName> {
        std::mem::take(&mut self.core.crowded_queues)
    }

    /// Due timers become ready tasks, at most so many over all shards.
    pub(super) fn promote_due(&mut self, count_max: usize) {
        let mut left = count_max;
        let count = self.core.shards.len();
        self.core.promoted_first = (self.core.promoted_first + 1) % count;
        for offset in 0..count {
            // Another shard goes first each time, so that none waits for another's backlog.
            let index = (self.core.promoted_first + offset) % count;
            let shard = &mut self.core.shards[index];
            let promoted = shard.promote_due(self.core.now, left);
            left -= promoted.len();
            let ledger = shard.ledger();
            for id in promoted {
                let queue = &ledger.task(id).expect("promoted tasks exist").queue;
                if !self.core.dirty_queues.contains(queue) {
                    self.core.dirty_queues.insert(queue.clone());
                }
            }
        }
    }

    /// A receipt showed that a run began: the fact is recorded when the turn's input is handled,
    /// unless the run's report arrives before (rule 5).
    pub(super) fn note_begun(&mut self, id: TaskId) {
        self.core.begun.push(id);
    }

    pub(super) fn take_begun(&mut self) -> Vec<TaskId> {
        std::mem::take(&mut self.core.begun)
    }

    /// A call that waits for work got its first task: it is answered when the step ends.
    pub(super) fn note_served_poll(&mut self, request: RequestId) {
        self.core.served_polls.push(request);
    }

    pub(super) fn take_served_polls(&mut self) -> Vec<RequestId> {
        std::mem::take(&mut self.core.served_polls)
    }

    /// How many calls wait.
    pub(super) fn wait_count(&self) -> usize {
        self.core.waited.len() + self.core.sessions.polls.len()
    }

    pub(super) fn wait_for(&mut self, task: TaskId, request: RequestId) {
        self.core.waits.entry(task).or_default().push(request);
        self.core.waited.insert(request, task);
    }

    /// A wait is over before the task's end; answers which task it was for.
    pub(super) fn stop_waiting(&mut self, request: RequestId) -> Option<TaskId> {
        let task = self.core.waited.remove(&request)?;
        if let Some(requests) = self.core.waits.get_mut(&task) {
            requests.retain(|other| *other != request);
            if requests.is_empty() {
                self.core.waits.remove(&task);
            }
        }
        Some(task)
    }

    /// The calls that wait for a task's end, which has come.
    pub(super) fn take_waits(&mut self, task: TaskId) -> Vec<RequestId> {
        let mut requests = self.core.waits.remove(&task).unwrap_or_default();
        if mutants::is(Mutant::WaitForgotten) {
            requests.clear();
        }
        for request in &requests {
            self.core.waited.remove(request);
        }
        requests
    }

    /// All calls that wait for a task's end.
    pub(super) fn waiting_requests(&self) -> Vec<RequestId> {
        self.core.waited.keys().copied().collect()
    }

    /// Calls of a worker that wait for work.
    pub(super) fn polls_of(&self, worker: &str) -> Vec<RequestId> {
        let polls = self.core.sessions.polls.iter();
        let of_worker = polls.filter(|(_, poll)| &*poll.info.worker == worker);
        of_worker.map(|(request, _)| *request).collect()
    }

    /// How many unary leases a worker holds.
    pub(super) fn unary_held(&self, worker: &str) -> usize {
        self.core.unary_held.get(worker).copied().unwrap_or(0)
    }

    pub(super) fn unary_hold(&mut self, worker: &Arc<str>) {
        *self.core.unary_held.entry(worker.clone()).or_default() += 1;
    }

    pub(super) fn unary_let_go(&mut self, worker: &Arc<str>) {
        if let Some(count) = self.core.unary_held.get_mut(worker) {
            *count -= 1;
            if *count == 0 {
                self.core.unary_held.remove(worker);
            }
        }
    }

    /// Bytes accounted: over all shards, and checkpoints that are not recorded yet.
    pub(super) fn bytes(&self) -> u64 {
        let shards = self.core.shards.iter();
        let ledgers: u64 = shards.map(|shard| shard.ledger().bytes()).sum();
        ledgers + self.core.unsaved_bytes
    }

    pub(super) fn rebuild_agendas(&mut self) {
        self.core.shards.iter_mut().for_each(Shard::rebuild_agenda);
    }
}
