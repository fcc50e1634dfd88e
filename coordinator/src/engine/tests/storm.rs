//! A storm: one engine, its journal, workers without manners, and what must hold whatever happens.
//!
//! Owns the checks: all invariants after every step, one reply to each call, nothing told to a stream
//! that ended, fences that grow, no lease before its time, no busy alarm clock; and when the storm is
//! over, a replay that equals what is there and an end for every task. Never chooses what is done:
//! that is `stress`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::squall::Promises;
use super::world::{START, plain_policy};
use crate::codec::tests::through_the_codec;
use crate::engine::agenda::Agenda;
use crate::engine::command::{Call, Caller, Command, Cursor, Transfer};
use crate::engine::effect::{Answer, Effect, ReportAck, ReportStatus, ToWorker};
use crate::engine::event::{Event, Recorded};
use crate::engine::ids::{
    Fence, LeaseToken, LinkId, QueueName, RequestId, SessionId, TaskId, Timestamp,
};
use crate::engine::ledger::history::RunOutcome;
use crate::engine::ledger::task::State;
use crate::engine::ledger::terms::DeliveryMode;
use crate::engine::sessions::{Held, Session};
use crate::engine::{Engine, EngineConfig, Turn, invariants};

pub(super) const SHARDS: u16 = 3;
pub(super) const QUEUES: [&str; 3] = ["a", "b", "c"];
/// The shortest hard limit that is ever asked for.
pub(super) const HARD_MS_MIN: u64 = 3000;
/// Requests, keys and producers that a shard remembers.
const MEMORIES_MAX: usize = 5;
/// Ticks that one instant may ask for.
const TICKS_MAX: usize = 64;

#[derive(Default)]
pub(super) struct Worker {
    pub(super) link: Option<LinkId>,
    pub(super) session: Option<SessionId>,
    pub(super) held: Vec<LeaseToken>,
    pub(super) sequence: u64,
}

pub(super) struct Storm {
    pub(super) engine: Engine,
    pub(super) rng: StdRng,
    pub(super) now: Timestamp,
    pub(super) next: u64,
    pub(super) journal: Vec<Recorded>,
    pub(super) workers: Vec<Worker>,
    pub(super) links: BTreeSet<LinkId>,
    pub(super) open: BTreeSet<RequestId>,
    pub(super) tokens: Vec<LeaseToken>,
    pub(super) tasks: Vec<TaskId>,
    pub(super) on_the_way: VecDeque<Transfer>,
    pub(super) not_before: BTreeMap<TaskId, Timestamp>,
    pub(super) fences: BTreeMap<TaskId, Fence>,
    pub(super) recorded: BTreeSet<(TaskId, Fence)>,
    pub(super) cursor: Option<Cursor>,
    pub(super) promises: Promises,
    /// What becomes of each task whose present lease ends without a report.
    delivery: BTreeMap<TaskId, DeliveryMode>,
    /// The segments of the journal: their numbers, and where in it they begin.
    pub(super) segments: Vec<(u64, usize)>,
}

fn config(seed: u64) -> EngineConfig {
    EngineConfig {
        shard_count: SHARDS,
        seed,
        default_policy: Arc::new(plain_policy(3)),
        ping_ms: 5000,
        grace_ms: 30_000,
        hard_margin_ms: 10_000,
        memory_bytes_max: 200_000,
        finished_retention_ms: 300_000,
        finished_per_queue_max: 1,
        aging_ms: 0,
    }
}

impl Storm {
    pub(super) fn new(seed: u64) -> Self {
        let mut storm = Self {
            engine: Engine::new(config(seed)),
            rng: StdRng::seed_from_u64(seed),
            now: START,
            next: 0,
            journal: Vec::new(),
            workers: (0..4).map(|_| Worker::default()).collect(),
            links: BTreeSet::new(),
            open: BTreeSet::new(),
            tokens: Vec::new(),
            tasks: Vec::new(),
            on_the_way: VecDeque::new(),
            not_before: BTreeMap::new(),
            fences: BTreeMap::new(),
            recorded: BTreeSet::new(),
            cursor: None,
            promises: Promises::default(),
            delivery: BTreeMap::new(),
            segments: Vec::new(),
        };
        storm.begin();
        storm
    }

    fn begin(&mut self) {
        self.engine.core.memories_max = MEMORIES_MAX;
        self.next_segment();
        let mut turn = Turn::default();
        let epoch = self.engine.last_epoch() + 1;
        self.engine.begin_epoch(self.now, epoch, &mut turn);
        self.take(turn);
    }

    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.rng.random_range(0..end)
    }

    pub(super) fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    pub(super) fn pick<T: Clone>(&mut self, from: &[T]) -> Option<T> {
        let index = self.rng.random_range(0..from.len().max(1));
        from.get(index).cloned()
    }

    pub(super) fn queue(&mut self) -> QueueName {
        let queue = self.pick(&QUEUES).unwrap();
        QueueName::new("default", queue).unwrap()
    }

    pub(super) fn give(&mut self, command: Command) {
        let goes_down = matches!(command, Command::Shutdown);
        let mut turn = Turn::default();
        self.engine.step(self.now, command, &mut turn);
        self.take(turn);
        if !goes_down {
            self.check_service();
        }
    }

    pub(super) fn call(&mut self, call: Call) {
        self.next += 1;
        self.call_with(RequestId(self.next), Caller::default(), call);
    }

    pub(super) fn call_with(&mut self, request: RequestId, caller: Caller, call: Call) {
        self.open.insert(request);
        self.give(Command::Call {
            request,
            caller,
            call,
        });
    }

    fn take(&mut self, turn: Turn) {
        for recorded in &turn.events {
            self.note(&recorded.event);
        }
        self.journal.extend(turn.events);
        for effect in turn.effects {
            match effect {
                Effect::Reply { request, reply } => {
                    assert!(self.open.remove(&request), "one reply a call");
                    if let Ok(answer) = reply {
                        self.promises.answered(request, &answer, self.now);
                        self.answered(answer);
                    }
                }
                Effect::Tell { link, message } => self.told(link, message),
                Effect::CloseLink { link, .. } => {
                    self.links.remove(&link);
                    for worker in self.workers.iter_mut().filter(|w| w.link == Some(link)) {
                        worker.link = None;
                    }
                }
                Effect::Forward(transfer) => self.on_the_way.push_back(transfer),
                Effect::Notice(_) => {}
            }
        }
        invariants::check(&self.engine);
        for shard in self.engine.core.shards() {
            // The call that fills the memory is still remembered, and so is its producer.
            let count = shard.ledger().memory_count();
            assert!(count <= MEMORIES_MAX + 2, "I9: {count} are remembered");
        }
    }

    /// Nobody idles while there is work for it, nobody serves a caller who has gone, and what a
    /// worker does not know of is not held for it.
    fn check_service(&self) {
        let core = &self.engine.core;
        let open = |request| self.open.contains(request);
        assert!(
            core.sessions().polls.keys().all(open),
            "who has gone waits no more"
        );
        let idle = |session: &&Session| session.wants_work();
        for session in core.sessions().iter().filter(idle) {
            for sub in &session.queues {
                let shard = &core.shards()[usize::from(sub.shard.0)];
                let queue = shard.ledger().queue(&sub.queue);
                let index = shard.agenda().queue(&sub.queue);
                let paused = queue.is_none_or(|queue| queue.paused.is_some());
                let Some(index) = index.filter(|_| !paused) else {
                    continue;
                };
                // With aging, what goes first changes with time, and time is looked at by ticks.
                let ages = queue.is_some_and(|queue| queue.settings.aging_ms.unwrap_or(0) > 0);
                if ages && session.capacity.bytes_max.is_some() {
                    continue;
                }
                let first = index.first_ready(&session.info.kinds, None);
                let bytes = |id| shard.ledger().task(id).unwrap().payload.data.len() as u64;
                let fits = first.is_some_and(|id| session.has_room(bytes(id)));
                assert!(
                    !fits,
                    "{} idles while {first:?} is ready",
                    session.info.worker
                );
            }
        }
        for worker in self.workers.iter().filter(|worker| worker.link.is_some()) {
            let session = worker.session.and_then(|id| core.sessions().get(id));
            let known = |(task, held): (&TaskId, &Held)| {
                worker
                    .held
                    .iter()
                    .any(|token| token.task == *task && token.fence == held.fence)
            };
            assert!(session.is_none_or(|session| session.held.iter().all(known)));
        }
    }

    /// No silence is borne longer than it should be.
    fn check_silence(&self) {
        let sessions = self.engine.core.sessions();
        for session in sessions.iter() {
            let idle = session.held.is_empty() && session.link.is_some();
            let limit_ms = if idle { 120_000 } else { 30_000 };
            let silence_ms = session.silence_ms(self.now, sessions.lateness_ms);
            let soon = self.engine.next_deadline();
            let ends = soon.is_some_and(|deadline| deadline.at <= self.now.plus_ms(1));
            assert!(
                silence_ms < limit_ms || ends,
                "{} is silent",
                session.info.worker
            );
        }
    }

    fn note(&mut self, event: &Event) {
        if let Event::TaskEnqueued { task } | Event::TransferReceived { task, .. } = event {
            self.tasks.push(task.id);
            if let State::Pending { not_before } = task.state {
                self.not_before.insert(task.id, not_before);
            }
        }
        if let Event::RetryScheduled { id, not_before, .. }
        | Event::TaskRedriven { id, not_before, .. } = event
        {
            self.not_before.insert(*id, *not_before);
        }
        if let Event::TaskEdited { id, edit, .. } = event
            && let Some(not_before) = edit.not_before
        {
            self.not_before.insert(*id, not_before);
        }
        if let Event::RetryScheduled { id, run, .. } = event
            && matches!(run.outcome, RunOutcome::Crashed | RunOutcome::TimedOut)
        {
            let delivery = self.delivery.get(id).copied().unwrap_or_default();
            let again = delivery == DeliveryMode::AtLeastOnce;
            assert!(again, "rule 6: {id} may run at most once");
        }
        if let Event::RetryScheduled { run, .. } | Event::TaskDied { run, .. } = event
            && run.outcome == RunOutcome::TimedOut
            && run.failure.is_some()
        {
            let ran_ms = run.ended_at.since_ms(run.leased_at);
            assert!(
                ran_ms >= HARD_MS_MIN + 10_000,
                "timed out after {ran_ms} ms"
            );
        }
        if let Event::LeaseGranted { id, delivery, .. } = event {
            self.delivery.insert(*id, *delivery);
        }
        if let Event::LeaseGranted { id, fence, at, .. } = event {
            assert!(self.not_before[id] <= *at, "I12: {id} before its time");
            let before = self.fences.insert(*id, *fence);
            assert!(
                before.is_none_or(|before| before < *fence),
                "I3: {id}'s fences grow"
            );
        }
    }

    fn answered(&mut self, answer: Answer) {
        match answer {
            Answer::Leased(deliveries) => {
                self.tokens
                    .extend(deliveries.iter().map(|delivery| delivery.token));
            }
            Answer::Acks(acks) => self.acknowledged(acks),
            Answer::Bulk { next, .. } | Answer::Page { next, .. } => self.cursor = next,
            Answer::Enqueued(_)
            | Answer::Task(_)
            | Answer::Waited { .. }
            | Answer::Extended(..)
            | Answer::Cancelled { .. }
            | Answer::Kind(_)
            | Answer::Kinds { .. }
            | Answer::Workers(_)
            | Answer::Drained(_)
            | Answer::Queue(_)
            | Answer::Queues { .. }
            | Answer::Refreshed { .. }
            | Answer::Done
            | Answer::Server(_) => {}
        }
    }

    fn acknowledged(&mut self, acks: Vec<ReportAck>) {
        for ack in acks
            .iter()
            .filter(|ack| ack.status == ReportStatus::Recorded)
        {
            let token = LeaseToken::parse(&ack.raw_token).unwrap();
            assert!(
                self.recorded.insert((token.task, token.fence)),
                "I13: settled once"
            );
        }
    }

    fn told(&mut self, link: LinkId, message: ToWorker) {
        assert!(
            self.links.contains(&link),
            "nothing is told to a stream that ended"
        );
        let Some(worker) = self.workers.iter_mut().find(|w| w.link == Some(link)) else {
            return;
        };
        if let ToWorker::Delivery(delivery) = message {
            worker.held.push(delivery.token);
            worker.sequence = delivery.sequence;
            self.tokens.push(delivery.token);
            let session = self
                .engine
                .core
                .sessions()
                .get(worker.session.unwrap())
                .unwrap();
            let serves = |(queue, _): &(QueueName, u32)| *queue == delivery.queue;
            assert!(
                session.info.queues.iter().any(serves),
                "it serves that queue"
            );
            let (held, room) = (session.held.len(), session.capacity.tasks_max as usize);
            assert!(held <= room, "I10: {held} held where {room} were asked for");
        } else if let ToWorker::Welcome(welcome) = message {
            worker.session = Some(welcome.session);
            worker
                .held
                .retain(|token| welcome.resumed && !welcome.lost.contains(token));
            if !welcome.resumed {
                worker.sequence = 0;
            }
        } else if let ToWorker::Acks(acks) = message {
            self.acknowledged(acks);
        }
    }

    /// Everything that is due happens, and nothing is due for ever.
    pub(super) fn ring(&mut self) {
        for _ in 0..TICKS_MAX {
            if self
                .engine
                .next_deadline()
                .is_none_or(|deadline| deadline.at > self.now)
            {
                return self.check_silence();
            }
            self.give(Command::Tick);
        }
        panic!(
            "I11: still due after {TICKS_MAX} ticks: {:?}",
            self.engine.next_deadline()
        );
    }

    pub(super) fn restart(&mut self) {
        let seed = self.rng.random();
        self.engine = self.replayed(seed);
        self.links.clear();
        self.open.clear();
        self.promises.restarted();
        self.on_the_way.clear();
        self.workers
            .iter_mut()
            .for_each(|worker| worker.link = None);
        self.begin();
    }

    fn replayed(&self, seed: u64) -> Engine {
        let mut engine = Engine::new(config(seed));
        engine.begin_replay(self.segments[0].0);
        for recorded in through_the_codec(&self.journal) {
            engine.replay(&recorded).unwrap();
        }
        engine.end_replay().unwrap();
        engine
    }

    pub(super) fn pass(&mut self, ms: u64) {
        let until = self.now.plus_ms(ms);
        while let Some(deadline) = self.engine.next_deadline().filter(|d| d.at <= until) {
            self.now = self.now.max(deadline.at);
            self.ring();
        }
        self.now = until;
    }

    /// The journal says all there is, and so does the ledger of what the agenda holds.
    pub(super) fn check_indexes(&mut self) {
        self.ring();
        let replayed = self.replayed(0);
        for shard in self.engine.core.shards() {
            let ledger = shard.ledger();
            assert_eq!(replayed.ledger(ledger.shard()), Some(ledger), "I1, I7");
            let mut rebuilt = Agenda::rebuild(ledger);
            while let Some((_, id)) = rebuilt.due_timer(self.now) {
                rebuilt.promote(ledger.task(id).unwrap());
            }
            assert_eq!(rebuilt.next_timer(), shard.agenda().next_timer());
            assert_eq!(rebuilt.deaths(), shard.agenda().deaths());
            for (queue, index) in rebuilt.queues() {
                assert_eq!(shard.agenda().queue(queue), Some(index), "rebuild == live");
            }
        }
    }
}
