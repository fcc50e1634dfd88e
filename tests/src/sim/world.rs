//! The simulated world: everybody in one thread, from one seed.
//!
//! Owns the loop, the coordinator's process, calls and streams on their way. Never decides what is
//! right: that is [`super::judge`]. Invariants: the only chance is the seed's, the only time is the
//! agenda's; a message of an earlier life of the coordinator never reaches a later one.

use std::collections::BTreeMap;

use redrive_coordinator::engine::command::{Call, Caller, Command, Transfer};
use redrive_coordinator::engine::effect::{Answer, Effect, ToWorker};
use redrive_coordinator::engine::ids::{LinkId, RequestId, TaskId};
use redrive_coordinator::engine::rejection::Rejection;
use redrive_coordinator::journal::simulated::SimulatedStorage;

use super::agenda::Agenda;
use super::calls::is_wanted;
use super::clock::Clocks;
use super::judge::Judge;
use super::plan::Plan;
use super::server::{Release, Server};
use super::situations::{Seen, Situation};
use super::values::Values;
use super::{operator, producer, trace, unary, worker};
use crate::Dice;

/// How often the writer's helpers look after the journal. Microseconds.
const TEND_US: u64 = 60_000;
/// How often the cleaner looks at the journal. Microseconds.
const CLEAN_US: u64 = 100_000;
/// Tasks that clients remember, to do something with them.
const KNOWN_MAX: usize = 256;

/// Somebody who acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// A producer.
    Producer(usize),
    /// A worker with a stream.
    Worker(usize),
    /// A worker without one.
    Unary(usize),
    /// An operator.
    Operator(usize),
    /// The cleaner of the journal, inside of the coordinator: the place of its call.
    Cleaner(usize),
    /// Who helps to bring everything to an end.
    Helper,
}

/// What comes to the coordinator.
#[derive(Debug)]
pub enum Arriving {
    /// A call of this operation.
    Call(u64, Caller, Call),
    /// A client left before its answer.
    Hangup(u64),
    /// Something on a worker's stream.
    Link(LinkId, Command),
}

/// What is planned.
#[derive(Debug)]
pub enum Due {
    /// Something reaches the coordinator, if it is the one that it was sent to.
    Arrive(u32, Arriving),
    /// A turn, unless another one came first.
    Turn(u64),
    /// A commit is done.
    Commit(u32),
    /// The journal's helpers.
    Tend(u32),
    /// The cleaner's beat.
    Clean(u32),
    /// An answer, or that none will come.
    Answer(u64, Option<Box<Result<Answer, Rejection>>>),
    /// A task on its way between shards arrives.
    Forward(u32, Transfer),
    /// A message reaches a worker.
    Told(LinkId, Box<ToWorker>),
    /// A worker finds that its stream has ended.
    Broken(LinkId),
    /// Somebody does something.
    Act(Who),
    /// Something fails.
    Fault,
    /// The coordinator starts again.
    Start,
    /// The weather clears up: a partition ends, the disk has room.
    Clear,
}

/// A stream.
#[derive(Debug)]
pub struct Link {
    /// Whose.
    pub worker: usize,
    /// The worker still listens.
    pub near: bool,
    /// The coordinator still listens.
    pub far: bool,
    /// When the last message up arrives. Microseconds.
    pub up_us: u64,
    /// When the last message down arrives. Microseconds.
    pub down_us: u64,
}

/// The world.
pub struct World {
    pub(super) plan: Plan,
    pub(super) agenda: Agenda<Due>,
    pub(super) dice: Dice,
    pub(super) values: Values,
    pub(super) clocks: Clocks,
    pub(super) server: Option<Server>,
    pub(super) disk: SimulatedStorage,
    /// Which life of the coordinator this is.
    pub(super) life: u32,
    turn: u64,
    turn_at_us: Option<u64>,
    /// No turn begins before that: the engine is busy, or the machine stands still. Microseconds.
    pub(super) stalled_us: u64,
    pub(super) commit_planned: bool,
    /// The next commits take so much longer. Microseconds.
    pub(super) slow_us: u64,
    /// The next commit is the last one.
    pub(super) doom: Option<super::faults::Doom>,
    /// The network is down until then. Microseconds.
    pub(super) partition_us: u64,
    next: u64,
    pub(super) calls: BTreeMap<RequestId, u64>,
    pub(super) operations: BTreeMap<u64, Who>,
    pub(super) links: BTreeMap<LinkId, Link>,
    pub(super) producers: Vec<producer::Producer>,
    pub(super) workers: Vec<worker::Worker>,
    pub(super) unary: Vec<unary::Unary>,
    pub(super) operators: Vec<operator::Operator>,
    pub(super) cleaner: super::cleaner::Cleaner,
    pub(super) known: Vec<TaskId>,
    /// In which life of the coordinator each task was leased last.
    pub(super) leased_in: BTreeMap<TaskId, u32>,
    /// When the last task on its way between shards arrives. Microseconds.
    forward_us: u64,
    pub(super) judge: Judge,
    pub(super) seen: Seen,
    pub(super) healed: bool,
    /// What happened so far.
    pub(super) events: u64,
    pub(super) trace: u64,
}

impl World {
    /// The world of a seed, at its beginning.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let plan = Plan::of(seed);
        let mut world = Self {
            agenda: Agenda::new(),
            dice: Dice::new(seed),
            values: Values::new(seed, &plan),
            clocks: Clocks::default(),
            server: None,
            disk: SimulatedStorage::new(),
            life: 0,
            turn: 0,
            turn_at_us: None,
            stalled_us: 0,
            commit_planned: false,
            slow_us: 0,
            doom: None,
            partition_us: 0,
            next: 0,
            calls: BTreeMap::new(),
            operations: BTreeMap::new(),
            links: BTreeMap::new(),
            producers: (0..plan.producers).map(producer::Producer::new).collect(),
            workers: (0..plan.workers).map(worker::Worker::new).collect(),
            unary: (0..plan.unary).map(unary::Unary::new).collect(),
            operators: (0..plan.operators)
                .map(|_| operator::Operator::default())
                .collect(),
            cleaner: super::cleaner::Cleaner::default(),
            known: Vec::new(),
            leased_in: BTreeMap::new(),
            forward_us: 0,
            judge: Judge::new(&plan),
            seen: Seen::default(),
            healed: false,
            events: 0,
            trace: 0,
            plan,
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        self.agenda.after(0, Due::Start);
        for index in 0..self.producers.len() {
            self.agenda.after(1000, Due::Act(Who::Producer(index)));
        }
        for index in 0..self.workers.len() {
            self.agenda.after(2000, Due::Act(Who::Worker(index)));
        }
        for index in 0..self.unary.len() {
            self.agenda.after(3000, Due::Act(Who::Unary(index)));
        }
        for index in 0..self.operators.len() {
            self.agenda.after(20_000, Due::Act(Who::Operator(index)));
        }
        self.plan_fault();
    }

    /// What time it is. Microseconds since the beginning.
    #[must_use]
    pub const fn now_us(&self) -> u64 {
        self.agenda.now_us()
    }

    /// A number that was not used before.
    pub(super) const fn fresh(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// One in so many occasions.
    pub(super) const fn one_in(&mut self, count: u64) -> bool {
        self.dice.between(0, count) == 0
    }

    /// Whether something of this rate happens; nothing does in a world that is healed.
    pub(super) const fn befalls(&mut self, per_mille: u64) -> bool {
        !self.healed && per_mille > 0 && self.dice.chance(per_mille)
    }

    /// How long a message is on its way. Microseconds.
    pub(super) fn net_us(&mut self) -> u64 {
        let usual = 20 + self.dice.between(0, self.plan.net_us_max);
        if self.befalls(10) { usual * 20 } else { usual }
    }

    /// Something was seen that must happen now and then.
    pub(super) const fn saw(&mut self, what: Situation) {
        self.seen.count(what);
    }

    /// Lets the next thing happen; false where nothing is planned any more.
    pub fn step(&mut self) -> bool {
        let Some(due) = self.agenda.pop() else {
            return false;
        };
        self.events += 1;
        self.clocks.set(self.agenda.now_us());
        self.happen(due);
        true
    }

    fn happen(&mut self, due: Due) {
        self.trace = trace::mixed(self.trace, self.agenda.now_us());
        match due {
            Due::Arrive(life, what) => self.arrive(life, what),
            Due::Turn(number) => {
                if number == self.turn {
                    self.take_turn();
                }
            }
            Due::Commit(life) => {
                if life == self.life {
                    self.commit();
                }
            }
            Due::Tend(life) => {
                if life == self.life {
                    self.tend();
                }
            }
            Due::Clean(life) => {
                if life == self.life {
                    self.cleaner_beat();
                    self.agenda.after(CLEAN_US, Due::Clean(life));
                }
            }
            Due::Answer(operation, reply) => self.answer(operation, reply.map(|reply| *reply)),
            Due::Forward(life, transfer) => {
                if life == self.life {
                    self.give(Command::Transfer(transfer));
                }
            }
            Due::Told(link, message) => self.worker_hears(link, *message),
            Due::Broken(link) => self.worker_loses(link),
            Due::Act(who) => self.act(who),
            Due::Fault => self.fault(),
            Due::Start => self.start(),
            Due::Clear => self.clear(),
        }
    }

    fn act(&mut self, who: Who) {
        match who {
            Who::Producer(index) => self.producer_acts(index),
            Who::Worker(index) => self.worker_acts(index),
            Who::Unary(index) => self.unary_acts(index),
            Who::Operator(index) => self.operator_acts(index),
            Who::Cleaner(_) | Who::Helper => {}
        }
    }

    /// A task that somebody heard of.
    pub(super) fn learn(&mut self, id: TaskId) {
        if self.known.len() < KNOWN_MAX {
            self.known.push(id);
        } else {
            let at = self.dice.between(0, KNOWN_MAX as u64);
            self.known[usize::try_from(at).unwrap()] = id;
        }
    }

    /// One of the tasks that somebody heard of.
    pub(super) fn some_task(&mut self) -> Option<TaskId> {
        if self.known.is_empty() {
            return None;
        }
        let at = self.dice.between(0, self.known.len() as u64);
        Some(self.known[usize::try_from(at).unwrap()])
    }

    /// A turn is due in so long, if none is due before.
    pub(super) fn plan_turn(&mut self, us: u64) {
        let at_us = (self.now_us() + us).max(self.stalled_us);
        if self.turn_at_us.is_none_or(|planned| planned > at_us) {
            self.turn += 1;
            self.turn_at_us = Some(at_us);
            self.agenda.at(at_us, Due::Turn(self.turn));
        }
    }

    fn take_turn(&mut self) {
        self.turn_at_us = None;
        if self.stalled_us > self.now_us() {
            return self.plan_turn(0);
        }
        let Some(server) = &mut self.server else {
            return;
        };
        if !server.has_room() {
            // The writer is behind; its commit begins the next turn.
            self.saw(Situation::WriterBehind);
            return;
        }
        let (judge, calls) = (&mut self.judge, &self.calls);
        let mut see = |now, command: &Command| judge.sees(now, command);
        let next_ms = server.turn(false, &mut see, &|command| is_wanted(calls, command));
        let is_writing = server.is_writing();
        match next_ms {
            Ok(Some(ms)) => self.plan_turn((ms * 1000).max(20)),
            Ok(None) => {}
            Err(_failed) => return self.fail(),
        }
        if is_writing && !self.commit_planned {
            self.plan_commit();
        }
    }

    fn plan_commit(&mut self) {
        let us =
            20 + self.dice.between(0, self.plan.disk_us_max) + std::mem::take(&mut self.slow_us);
        self.commit_planned = true;
        self.agenda.after(us, Due::Commit(self.life));
    }

    fn commit(&mut self) {
        self.commit_planned = false;
        if self.dies_writing() {
            return;
        }
        let Some(server) = &mut self.server else {
            return;
        };
        match server.commit() {
            Ok(released) => {
                let behind = self.turn_at_us.is_none();
                self.release(released);
                if behind {
                    self.plan_turn(0);
                }
                self.check_touched();
            }
            Err(_failed) => self.fail(),
        }
    }

    fn tend(&mut self) {
        self.agenda.after(TEND_US, Due::Tend(self.life));
        if let Some(server) = &mut self.server
            && server.tend().is_err()
        {
            self.fail();
        }
    }

    /// What the journal has released goes out.
    pub(super) fn release(&mut self, released: Vec<Release>) {
        for release in released {
            self.judge.recorded(&release.records);
            for recorded in release.records.iter() {
                self.notice(recorded);
            }
            let judged = self.judge.take_seen();
            self.seen.add_many(Situation::AgedGoesFirst, judged.aged);
            self.seen.add_many(Situation::SharesCompared, judged.shares);
            for effect in release.effects {
                self.effect(effect);
            }
        }
    }

    fn effect(&mut self, effect: Effect) {
        match effect {
            Effect::Reply { request, reply } => {
                self.judge.answered(request, &reply);
                let Some(operation) = self.calls.remove(&request) else {
                    return;
                };
                if let Some(Who::Cleaner(_)) = self.operations.get(&operation) {
                    self.agenda
                        .after(1, Due::Answer(operation, Some(Box::new(reply))));
                } else if self.befalls(self.plan.lose) {
                    self.saw(Situation::AnswerLost);
                    self.nobody_answers(operation);
                } else {
                    let us = self.net_us();
                    self.agenda
                        .after(us, Due::Answer(operation, Some(Box::new(reply))));
                }
            }
            Effect::Tell { link, message } => {
                self.judge.told(link, &message);
                self.tell(link, message);
            }
            Effect::CloseLink { link, .. } => {
                self.judge.closed(link);
                self.link_ended(link);
                self.break_link(link);
            }
            Effect::Forward(transfer) => {
                // In order, at once; sometimes the engine's inbox is long.
                let us = if self.befalls(30) { 900_000 } else { 1 };
                self.forward_us = self.forward_us.max(self.now_us() + us);
                let at_us = self.forward_us;
                self.agenda.at(at_us, Due::Forward(self.life, transfer));
            }
            Effect::Notice(_) => {}
        }
    }

    /// The coordinator starts on what is on the disk.
    fn start(&mut self) {
        if self.server.is_some() {
            return;
        }
        self.life += 1;
        let seed = self.dice.any();
        match Server::start(&self.plan, self.disk.clone(), &self.clocks, seed) {
            Ok(mut server) => {
                let now = server.now();
                let newest = server.engine.newest();
                let fates = self.judge.began(now, newest, &server.replayed);
                self.seen
                    .add_many(Situation::UntoldFrameSurvived, fates.survived);
                self.seen.add_many(Situation::UntoldFrameLost, fates.lost);
                if self.one_in(4) {
                    self.check_rot(&server);
                }
                self.server = Some(server);
                self.commit_planned = false;
                self.plan_commit();
                self.plan_turn(100);
                self.agenda.after(TEND_US, Due::Tend(self.life));
                self.agenda.after(CLEAN_US, Due::Clean(self.life));
            }
            Err(why) => {
                self.judge.refused(&why);
                self.life += 1;
                let us = 50_000;
                self.agenda.after(us, Due::Start);
            }
        }
    }

    /// A sum of everything that happened, and of every byte that the present coordinator recorded.
    #[must_use]
    pub fn trace(&self) -> u64 {
        let sum = self.server.as_ref().map_or(0, Server::sum);
        trace::mixed(self.trace, sum)
    }
}
