//! The script language: a world with one engine, named tasks and workers, and a clock.
//!
//! Owns how scripts speak and what they read. [`World::expect`] compares everything that was told
//! and recorded since the last time, as lines of text.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::engine::command::{
    Call, Caller, Capacity, Command, FromWorker, Hello, LeaseTasks, NewTask, Report, ReportOutcome,
    WorkerInfo,
};
use crate::engine::effect::{Answer, Delivery, Effect, Notice, TaskView};
use crate::engine::event::Recorded;
use crate::engine::ids::{LeaseToken, LinkId, RequestId, SessionId, ShardId, TaskId, Timestamp};
use crate::engine::ledger::Ledger;
use crate::engine::rejection::Rejection;
use crate::engine::{Engine, EngineConfig, Turn, invariants};

mod asked;
pub(super) mod follow;
mod lifecycle;
mod parts;
mod replay;
mod told;

pub(super) use asked::*;
pub(super) use lifecycle::*;
pub(super) use parts::*;

/// When scripts begin.
pub(super) const START: Timestamp = Timestamp(1_800_000_000_000);

/// Runs by the names of their tasks.
type Runs<'a> = &'a [(&'a str, u32)];

/// One engine and what is known of its surroundings.
pub(super) struct World {
    pub(super) engine: Engine,
    pub(super) now: Timestamp,
    config: EngineConfig,
    journal: Vec<Recorded>,
    told: Vec<String>,
    tasks: BTreeMap<String, TaskId>,
    names: BTreeMap<TaskId, String>,
    workers: BTreeMap<String, Worker>,
    links: BTreeMap<LinkId, String>,
    tokens: BTreeMap<(String, u32), LeaseToken>,
    pub(super) deliveries: BTreeMap<(String, u32), Delivery>,
    pub(super) replies: BTreeMap<RequestId, Result<Answer, Rejection>>,
    next: u64,
    lose_transfers: bool,
    unchecked: bool,
    buffering: Vec<(LeaseToken, u64)>,
    /// Where in the journal each turn ended.
    ends: Vec<usize>,
    notices: Vec<Notice>,
}

/// A worker of the script.
#[derive(Clone, Default)]
pub(super) struct Worker {
    pub(super) link: Option<LinkId>,
    pub(super) session: Option<SessionId>,
    pub(super) resumed: bool,
    pub(super) lost: Vec<LeaseToken>,
}

impl World {
    /// A world with one shard, a plain policy of 3 attempts, pings every 5 s and a grace of 30 s.
    pub(super) fn new() -> Self {
        Self::with(|_| {})
    }

    /// The same, with something changed.
    pub(super) fn with(change: impl FnOnce(&mut EngineConfig)) -> Self {
        let mut config = EngineConfig::for_tests(1, Arc::new(plain_policy(3)));
        change(&mut config);
        let mut world = Self {
            engine: Engine::new(config.clone()),
            now: START,
            config,
            journal: Vec::new(),
            told: Vec::new(),
            tasks: BTreeMap::new(),
            names: BTreeMap::new(),
            workers: BTreeMap::new(),
            links: BTreeMap::new(),
            tokens: BTreeMap::new(),
            deliveries: BTreeMap::new(),
            replies: BTreeMap::new(),
            next: 0,
            lose_transfers: false,
            unchecked: false,
            buffering: Vec::new(),
            ends: Vec::new(),
            notices: Vec::new(),
        };
        let mut turn = Turn::default();
        world.engine.begin_epoch(world.now, 1000, &mut turn);
        world.settle(turn);
        world.told.clear();
        world
    }

    /// Everything told and recorded since the last time, which must be these lines.
    #[track_caller]
    pub(super) fn expect(&mut self, lines: &[&str]) {
        let told = std::mem::take(&mut self.told);
        assert_eq!(told, lines, "\ntold:\n{}\n", told.join("\n"));
    }

    /// Forgets what was told so far.
    pub(super) fn quiet(&mut self) {
        self.told.clear();
    }

    /// Time passes: so many milliseconds, with a tick at every deadline on the way.
    pub(super) fn wait_ms(&mut self, ms: u64) {
        let until = self.now.plus_ms(ms);
        while let Some(deadline) = self.engine.next_deadline().filter(|d| d.at <= until) {
            self.now = self.now.max(deadline.at);
            self.give(Command::Tick);
        }
        self.now = until;
    }

    /// Time passes during which the engine was not listening; then one late tick.
    pub(super) fn freeze_ms(&mut self, ms: u64) {
        self.now = self.now.plus_ms(ms);
        self.give(Command::Late { ms });
    }

    /// Every worker named answers a ping, so that silence is not what ends the story.
    pub(super) fn wait_alive_ms(&mut self, ms: u64, workers: &[&str]) {
        let mut left = ms;
        while left > 0 {
            let slice = left.min(self.config.ping_ms);
            self.wait_ms(slice);
            for worker in workers {
                self.say(worker, FromWorker::Pong);
            }
            left -= slice;
        }
        self.told.retain(|line| !line.starts_with("ping"));
    }

    /// Gives the engine a command, checks all invariants, and notes what follows.
    pub(super) fn give(&mut self, command: Command) {
        let mut turn = Turn::default();
        self.engine.step(self.now, command, &mut turn);
        self.settle(turn);
        while self
            .engine
            .next_deadline()
            .is_some_and(|d| d.why == crate::engine::Why::Begun)
        {
            let mut turn = Turn::default();
            self.engine.step(self.now, Command::Tick, &mut turn);
            self.settle(turn);
        }
    }

    fn settle(&mut self, turn: Turn) {
        let mut forwards = Vec::new();
        for recorded in &turn.events {
            self.note_event(&recorded.event);
        }
        self.journal.extend(turn.events);
        self.ends.push(self.journal.len());
        for effect in turn.effects {
            match effect {
                Effect::Reply { request, reply } => {
                    self.replies.insert(request, reply);
                }
                Effect::Tell { link, message } => self.note_told(link, message),
                Effect::CloseLink { link, why } => {
                    let worker = self.links.remove(&link).unwrap_or_default();
                    let why = why.map_or_else(String::new, |why| format!(": {why}"));
                    self.told.push(format!("close {worker}{why}"));
                    let worker = self.workers.entry(worker).or_default();
                    if worker.link == Some(link) {
                        worker.link = None;
                    }
                }
                Effect::Forward(transfer) => forwards.push(transfer),
                Effect::Notice(notice) => self.notices.push(*notice),
            }
        }
        if !self.unchecked {
            invariants::check(&self.engine);
        }
        for transfer in forwards {
            if !self.lose_transfers {
                self.give(Command::Transfer(transfer));
            }
        }
    }

    /// Calls the engine; the reply, if it came at once.
    pub(super) fn call(&mut self, call: Call) -> Result<Answer, Rejection> {
        let request = self.call_later(call);
        self.replies
            .remove(&request)
            .expect("this call is answered at once")
    }

    /// Calls the engine; the reply comes when it comes.
    pub(super) fn call_later(&mut self, call: Call) -> RequestId {
        self.next += 1;
        let request = RequestId(self.next);
        self.give(Command::Call {
            request,
            caller: Caller::default(),
            call,
        });
        request
    }

    /// Enqueues one task and names it.
    pub(super) fn enqueue_as(&mut self, name: &str, task: NewTask) {
        let before = self.told.len();
        let Ok(Answer::Enqueued(mut results)) = self.call(enqueue_call(vec![task])) else {
            panic!("an enqueue is answered item by item");
        };
        let id = results.remove(0).expect("the task is accepted").id;
        self.tasks.insert(name.to_owned(), id);
        self.names.insert(id, name.to_owned());
        // What was told of it before it had its name.
        let unnamed = id.to_string();
        for line in &mut self.told[before..] {
            *line = line.replace(&unnamed, name);
        }
        let runs = (unnamed.clone(), 0)..=(unnamed, u32::MAX);
        let late: Vec<_> = self
            .tokens
            .range(runs)
            .map(|(key, _)| key.clone())
            .collect();
        for key in late {
            let token = self.tokens.remove(&key).expect("listed");
            self.tokens.insert((name.to_owned(), key.1), token);
            if let Some(delivery) = self.deliveries.remove(&key) {
                self.deliveries.insert((name.to_owned(), key.1), delivery);
            }
        }
    }

    /// Enqueues one of very many tasks, without a recount of everything after it.
    pub(super) fn enqueue_unchecked(&mut self, name: &str, task: NewTask) {
        self.unchecked = true;
        self.enqueue_as(name, task);
        self.unchecked = false;
    }

    /// From now on transfers between shards are lost on their way, or not any more.
    pub(super) fn lose_transfers(&mut self, lose: bool) {
        self.lose_transfers = lose;
    }

    /// A worker believes that it has this session.
    pub(super) fn claim_session(&mut self, worker: &str, session: SessionId) {
        self.workers.entry(worker.to_owned()).or_default().session = Some(session);
    }

    /// Enqueues a plain task and names it.
    pub(super) fn enqueue(&mut self, name: &str, queue: &str) {
        self.enqueue_as(name, new_task(queue));
    }

    /// A worker opens a stream: so many slots, on these queues, for every kind.
    pub(super) fn hello(&mut self, worker: &str, queues: &[&str], slots: u32) {
        self.hello_as(worker, info(worker, queues, &[]), slots, &[]);
    }

    /// A worker comes back with these leases, all begun.
    pub(super) fn resume(&mut self, worker: &str, queues: &[&str], slots: u32, held: Runs<'_>) {
        self.resume_buffering(worker, queues, slots, (held, &[]));
    }

    /// A worker comes back with these leases, of which those have not begun.
    pub(super) fn resume_buffering(
        &mut self,
        worker: &str,
        queues: &[&str],
        slots: u32,
        leases: (Runs<'_>, Runs<'_>),
    ) {
        let token = |(task, run): &(&str, u32)| self.token(task, *run);
        let held: Vec<LeaseToken> = leases.0.iter().map(token).collect();
        let sequence = |(task, run): &(&str, u32)| {
            let delivery = &self.deliveries[&((*task).to_owned(), *run)];
            (delivery.token, delivery.sequence)
        };
        self.buffering = leases.1.iter().map(sequence).collect();
        self.hello_as(worker, info(worker, queues, &[]), slots, &held);
    }

    pub(super) fn hello_as(
        &mut self,
        worker: &str,
        info: WorkerInfo,
        slots: u32,
        held: &[LeaseToken],
    ) {
        self.next += 1;
        let link = LinkId(self.next);
        self.links.insert(link, worker.to_owned());
        let entry = self.workers.entry(worker.to_owned()).or_default();
        entry.link = Some(link);
        let session = entry.session;
        let capacity = Capacity {
            tasks_max: slots,
            bytes_max: None,
            draining: false,
        };
        let hello = Hello {
            worker: info,
            session,
            held: held.to_vec(),
            buffered: std::mem::take(&mut self.buffering),
            capacity,
        };
        self.give(Command::Hello {
            link,
            hello: Box::new(hello),
        });
    }

    /// A worker says something.
    pub(super) fn say(&mut self, worker: &str, message: FromWorker) {
        let link = self.workers[worker].link.expect("the worker has a stream");
        self.give(Command::FromWorker { link, message });
    }

    /// A worker has begun everything delivered so far.
    pub(super) fn begin(&mut self, worker: &str) {
        let through = self.sent_to(worker);
        self.say(
            worker,
            FromWorker::Receipt {
                through,
                buffered: Vec::new(),
            },
        );
    }

    pub(super) fn sent_to(&self, worker: &str) -> u64 {
        let session = self.workers[worker]
            .session
            .expect("the worker has a session");
        self.engine
            .core
            .sessions()
            .get(session)
            .map_or(0, |session| session.sequence)
    }

    /// A worker's stream breaks.
    pub(super) fn cut(&mut self, worker: &str) {
        let link = self
            .workers
            .get_mut(worker)
            .and_then(|w| w.link.take())
            .expect("has a stream");
        self.give(Command::LinkClosed { link });
    }

    /// A worker reports the end of a run; the answer's status is told.
    pub(super) fn report(&mut self, worker: &str, task: (&str, u32), outcome: ReportOutcome) {
        let report = self.report_of(task, outcome);
        self.say(worker, FromWorker::Reports(vec![report]));
    }

    pub(super) fn report_of(&self, task: (&str, u32), outcome: ReportOutcome) -> Report {
        let token = self.token(task.0, task.1);
        report_with(token, outcome)
    }

    /// Leases without a stream; waits so long.
    pub(super) fn lease(
        &mut self,
        worker: &str,
        queue: &str,
        count_max: u32,
        wait_ms: u64,
    ) -> RequestId {
        let worker = info(worker, &[queue], &[]);
        self.call_later(Call::LeaseTasks(LeaseTasks {
            worker,
            count_max,
            wait_ms,
            ttl_ms: 30_000,
        }))
    }

    /// What a call that leases was answered: the names of the tasks.
    pub(super) fn leased(&mut self, request: RequestId) -> Vec<String> {
        let Some(Ok(Answer::Leased(deliveries))) = self.replies.remove(&request) else {
            panic!("not answered with leases");
        };
        let named = |delivery: Delivery| {
            let key = (self.name(delivery.token.task), delivery.token.fence.run());
            self.tokens.insert(key.clone(), delivery.token);
            self.deliveries.insert(key.clone(), delivery);
            format!("{}#{}", key.0, key.1)
        };
        deliveries.into_iter().map(named).collect()
    }

    pub(super) fn id(&self, task: &str) -> TaskId {
        self.tasks[task]
    }

    pub(super) fn name(&self, id: TaskId) -> String {
        self.names
            .get(&id)
            .cloned()
            .unwrap_or_else(|| id.to_string())
    }

    /// Gives a name to a task that the engine made.
    pub(super) fn call_it(&mut self, name: &str, id: TaskId) {
        self.tasks.insert(name.to_owned(), id);
        self.names.insert(id, name.to_owned());
    }

    pub(super) fn token(&self, task: &str, run: u32) -> LeaseToken {
        *self
            .tokens
            .get(&(task.to_owned(), run))
            .expect("that run was delivered")
    }

    pub(super) fn worker(&self, worker: &str) -> &Worker {
        &self.workers[worker]
    }

    /// A task as it stands.
    pub(super) fn view(&mut self, task: &str) -> TaskView {
        match self.call(Call::GetTask(self.id(task).into())) {
            Ok(Answer::Task(view)) => *view,
            other => panic!("no task: {other:?}"),
        }
    }

    /// The name of a task's state.
    pub(super) fn state(&mut self, task: &str) -> &'static str {
        self.view(task).state.name()
    }

    pub(super) fn ledger(&self, shard: u16) -> &Ledger {
        self.engine.ledger(ShardId(shard)).unwrap()
    }

    /// The coordinator dies and starts again from its journal, in a later epoch.
    pub(super) fn restart(&mut self) {
        self.check_replay();
        // No two runs draw the same.
        self.config.seed += 1;
        let mut engine = Engine::new(self.config.clone());
        self.journal
            .iter()
            .for_each(|recorded| engine.replay(recorded).unwrap());
        self.engine = engine;
        self.links.clear();
        self.workers
            .values_mut()
            .for_each(|worker| worker.link = None);
        let epoch = self.engine.last_epoch() + 1;
        let mut turn = Turn::default();
        self.engine.begin_epoch(self.now, epoch, &mut turn);
        self.settle(turn);
        self.told.clear();
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.check_replay();
        }
    }
}
