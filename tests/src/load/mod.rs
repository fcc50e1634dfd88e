//! Who works with a coordinator while it is killed, stopped or cut off: producers, operators and
//! workers, each with a course of its own, all writing down what they see.
//!
//! Owns who there is, and the phases: load, then drain (everything is completed, nothing new comes),
//! then the end. Never judges.

pub mod huge;
pub mod look;
mod operator;
mod producers;
pub mod rude;
pub mod site;
mod stream_worker;
mod tasks;
mod unary_worker;
mod words;
mod work;

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::{
    Dice,
    history::{Enqueued, Fact, Recorder},
    wait::patiently,
};
use redrive_client::{Client, v1};
use tokio::{sync::watch, task::JoinSet};
use tonic::transport::{Channel, Endpoint};

/// Queues, so that every shard has work.
pub const QUEUES: u64 = 32;
/// Queues of worker processes.
const SITE_QUEUES: u64 = 4;
/// Tasks of all producers. A queue remembers the last 1,000 that ended, and all are looked at, with
/// what follows them.
const TASKS_MAX: u64 = QUEUES * 300;
/// Producers of each sort.
const PRODUCERS: u64 = 2;
/// Operators: many, because each is away with every kill.
const OPERATORS: u64 = 8;
/// Workers with a stream.
const STREAM_WORKERS: u64 = 3;
/// Workers without.
const UNARY_WORKERS: u64 = 2;
/// Tasks accepted beyond those completed, before producers hold back.
const BACKLOG_MAX: u64 = 400;
/// Tasks that an operator may think of.
const TASKS_RECENT: usize = 400;
/// How long connecting may take, by hand.
const CONNECT_MAX: Duration = Duration::from_secs(2);
/// How long the client repeats itself: longer than a coordinator is away, however often it is killed
/// while it starts.
const PATIENT: Duration = Duration::from_secs(60);
/// How long they may take to leave: a call that was swallowed is given up and made again.
const LEAVE_MAX: Duration = Duration::from_secs(75);

/// What everybody does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Producers produce; workers complete, fail, defer and die.
    Load,
    /// Workers complete.
    Drain,
    /// All leave.
    End,
}

/// How those behave who work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manners {
    /// As in life: they die, are cut off, and forget what they hold.
    Human,
    /// They do what they should, so that whatever goes wrong is not their doing. Nobody works without
    /// a stream: a lease without one lapses by the clock.
    Perfect,
}

/// What all share.
#[derive(Clone, Debug)]
pub struct Context {
    /// Where the coordinator is, when it is.
    pub address: SocketAddr,
    /// What was seen.
    pub history: Recorder,
    manners: Manners,
    markers: Arc<AtomicU64>,
    /// Tasks for which there was room.
    begun: Arc<AtomicU64>,
    completed: Arc<AtomicU64>,
    recent: Arc<Mutex<VecDeque<String>>>,
    /// Enqueues that were answered by what an earlier sending of theirs had done.
    repeated: Arc<AtomicU64>,
}

impl Context {
    /// Nothing has happened yet.
    #[must_use]
    pub fn new(address: SocketAddr, history: Recorder) -> Self {
        Self {
            address,
            history,
            manners: Manners::Human,
            markers: Arc::new(AtomicU64::new(1)),
            begun: Arc::default(),
            completed: Arc::default(),
            recent: Arc::default(),
            repeated: Arc::default(),
        }
    }

    /// The same, but all behave like this.
    #[must_use]
    pub const fn with(mut self, manners: Manners) -> Self {
        self.manners = manners;
        self
    }

    /// The same for somebody who reaches the coordinator at another address.
    #[must_use]
    pub fn via(&self, address: SocketAddr) -> Self {
        Self {
            address,
            ..self.clone()
        }
    }

    /// A connection to be, for those who speak by hand.
    fn channel(&self) -> Channel {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address)).unwrap();
        endpoint.connect_timeout(CONNECT_MAX).connect_lazy()
    }

    /// True now and then, in so many of a thousand cases, for those who behave as in life.
    fn stumbles(&self, phase: Phase, dice: &mut Dice, per_mille: u64) -> bool {
        let stumbles = dice.chance(per_mille);
        stumbles && phase == Phase::Load && self.manners == Manners::Human
    }

    /// The next marker, where there is room for another task.
    fn marker(&self) -> Option<u64> {
        let open = self.begun.load(Ordering::Relaxed);
        // One in ten may end in another way than by a completion.
        let done = self.completed.load(Ordering::Relaxed);
        let room = open < done + done / 4 + BACKLOG_MAX && open < TASKS_MAX;
        room.then(|| {
            self.begun.fetch_add(1, Ordering::Relaxed);
            self.any_marker()
        })
    }

    /// The next marker, of somebody who does not ask for room.
    fn any_marker(&self) -> u64 {
        self.markers.fetch_add(1, Ordering::Relaxed)
    }

    fn repeated(&self) {
        self.repeated.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes down that nobody will say more of this run.
    fn abandoned(&self, task_id: &str, run: u32) {
        let task_id = task_id.to_owned();
        self.history.note(Fact::Abandoned { task_id, run });
    }

    fn completed(&self) {
        self.completed.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes down how a sending ended.
    fn ended(&self, marker: u64, outcome: Enqueued) {
        if let Enqueued::Accepted(task_id) = &outcome {
            self.remember(task_id);
        }
        self.history.note(Fact::EnqueueEnded { marker, outcome });
    }

    /// Makes a task one that an operator may think of.
    fn remember(&self, task_id: &str) {
        let mut recent = self.recent.lock().unwrap();
        recent.push_back(task_id.to_owned());
        if recent.len() > TASKS_RECENT {
            recent.pop_front();
        }
    }

    /// One of the latest tasks.
    fn any_task(&self, dice: &mut Dice) -> Option<String> {
        let recent = self.recent.lock().unwrap();
        let count = u64::try_from(recent.len())
            .ok()
            .filter(|count| *count > 0)?;
        let index = usize::try_from(dice.between(0, count)).ok()?;
        recent.get(index).cloned()
    }
}

/// The queue of a marker.
#[must_use]
pub fn queue_of(marker: u64) -> String {
    format!("crash-{:02}", marker % QUEUES)
}

/// The queue of a marker whose task worker processes take.
fn site_queue_of(marker: u64) -> String {
    format!("site-{}", marker % SITE_QUEUES)
}

/// The queues that worker processes serve.
pub fn site_queues() -> impl Iterator<Item = String> {
    (0..SITE_QUEUES).map(site_queue_of)
}

/// Says what holds for the tasks that ends make, and answers what was answered.
pub async fn prepare(context: &Context) -> Vec<v1::Kind> {
    let client = Client::lazy(&context.address.to_string()).unwrap();
    let mut kinds = Vec::new();
    for name in [tasks::FOLLOW, tasks::LINK] {
        kinds.push(client.set_kind(name, tasks::kind()).await.unwrap());
    }
    kinds
}

/// The kinds are as they were.
pub async fn assert_kept(context: &Context, kinds: Vec<v1::Kind>) {
    let client = Client::lazy(&context.address.to_string()).unwrap();
    for kind in kinds {
        assert_eq!(client.kind(&kind.kind).await.unwrap(), kind);
    }
}

/// All who work.
pub struct Load {
    phase: watch::Sender<Phase>,
    producers: JoinSet<()>,
    workers: JoinSet<()>,
}

impl Load {
    /// Everybody begins. They reach the coordinator by these addresses, in turn.
    #[must_use]
    pub fn begin(context: &Context, routes: &[SocketAddr], dice: &mut Dice) -> Self {
        let mut load = Self::workers(context, routes, dice);
        let (producers, seen) = (&mut load.producers, load.phase.subscribe());
        let mut dice = || Dice::new(dice.any());
        let mut routes = routes.iter().cycle();
        let mut context = || context.via(*routes.next().unwrap());
        for _ in 0..PRODUCERS {
            producers.spawn(producers::unary(context(), seen.clone(), dice()));
            producers.spawn(producers::stream(context(), seen.clone(), dice()));
            producers.spawn(producers::keyed(context(), seen.clone(), dice()));
        }
        for number in 0..OPERATORS {
            let operator = operator::Operator::new(context(), number, dice());
            producers.spawn(operator.run(seen.clone()));
        }
        load
    }

    /// Workers begin, and nobody else.
    #[must_use]
    pub fn workers(context: &Context, routes: &[SocketAddr], dice: &mut Dice) -> Self {
        let (phase, seen) = watch::channel(Phase::Load);
        let mut workers = JoinSet::new();
        let mut dice = || Dice::new(dice.any());
        let mut routes = routes.iter().cycle();
        let mut context = || context.via(*routes.next().unwrap());
        for number in 0..STREAM_WORKERS {
            let worker = stream_worker::StreamWorker::new(context(), number, dice());
            workers.spawn(worker.run(seen.clone()));
        }
        let unary_workers = match context().manners {
            Manners::Human => UNARY_WORKERS,
            Manners::Perfect => 0,
        };
        for number in 0..unary_workers {
            let worker = unary_worker::UnaryWorker::new(context(), number, dice());
            workers.spawn(worker.run(seen.clone()));
        }
        Self {
            phase,
            producers: JoinSet::new(),
            workers,
        }
    }

    /// What everybody does, for others who work with them.
    #[must_use]
    pub fn phase(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    /// One more produces until the load is over.
    pub fn join(&mut self, producer: impl Future<Output = ()> + Send + 'static) {
        self.producers.spawn(producer);
    }

    /// Everything is completed from now on.
    pub fn only_completes(&self) {
        self.phase.send_replace(Phase::Drain);
    }

    /// Nothing new comes, and everything is completed from now on.
    pub async fn drain(&mut self) {
        self.only_completes();
        until_left(&mut self.producers).await;
    }

    /// All leave.
    pub async fn end(mut self) {
        self.phase.send_replace(Phase::End);
        until_left(&mut self.workers).await;
    }
}

async fn until_left(set: &mut JoinSet<()>) {
    while let Some(left) = patiently(LEAVE_MAX, "all leave", Box::pin(set.join_next())).await {
        left.unwrap();
    }
}

/// The phase now.
fn now(phase: &watch::Receiver<Phase>) -> Phase {
    *phase.borrow()
}

/// A loop of kills shows something only where much happened in between.
pub fn assert_lively(context: &Context, counts: &BTreeMap<&'static str, usize>) {
    let repeated = context.repeated.load(Ordering::Relaxed);
    assert!(repeated > 0, "no lost answer was given again, {counts:?}");
    for (sort, least) in [
        ("accepted", 500),
        ("unknown", 1),
        ("deliveries", 500),
        ("reports recorded", 500),
        ("reports duplicate", 10),
        ("cancels over", 10),
        ("cancels asked", 2),
        ("redrives done", 5),
        ("pauses", 2),
        ("follow-ups of successes found", 50),
        ("follow-ups of deaths found", 10),
        ("follow-ups of cancels found", 5),
        ("links found", 50),
    ] {
        let seen = counts.get(sort).copied().unwrap_or(0);
        assert!(
            seen >= least,
            "too little happened: {seen} {sort}, {counts:?}"
        );
    }
}
