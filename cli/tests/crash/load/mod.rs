//! Who works with the coordinator while it is killed: producers and workers, each with a course of
//! its own, all writing down what they see.
//!
//! Owns who there is, and the phases: load, then drain (everything is completed, nothing new comes),
//! then the end. Never judges.

mod operator;
mod producers;
mod stream_worker;
mod tasks;
mod unary_worker;
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

use redrive_client::{Client, v1};
use redrive_tests::{
    Dice,
    history::{Enqueued, Fact, Recorder},
    within,
};
use tokio::{sync::watch, task::JoinSet};

/// Queues, so that every shard has work.
pub(crate) const QUEUES: u64 = 32;
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
/// How long the client repeats itself: longer than a coordinator is away, however often it is killed
/// while it starts.
const PATIENT: Duration = Duration::from_secs(30);

/// What everybody does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Producers produce; workers complete, fail, defer and die.
    Load,
    /// Workers complete.
    Drain,
    /// All leave.
    End,
}

/// What all share.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    /// Where the coordinator is, when it is.
    pub(crate) address: SocketAddr,
    /// What was seen.
    pub(crate) history: Recorder,
    markers: Arc<AtomicU64>,
    completed: Arc<AtomicU64>,
    recent: Arc<Mutex<VecDeque<String>>>,
    /// Enqueues that were answered by what an earlier sending of theirs had done.
    repeated: Arc<AtomicU64>,
}

impl Context {
    /// Nothing has happened yet.
    pub(crate) fn new(address: SocketAddr, history: Recorder) -> Self {
        Self {
            address,
            history,
            markers: Arc::new(AtomicU64::new(1)),
            completed: Arc::default(),
            recent: Arc::default(),
            repeated: Arc::default(),
        }
    }

    /// The next marker, where there is room for another task.
    fn marker(&self) -> Option<u64> {
        let open = self.markers.load(Ordering::Relaxed);
        // One in ten may end in another way than by a completion.
        let done = self.completed.load(Ordering::Relaxed);
        let room = open < done + done / 4 + BACKLOG_MAX && open < TASKS_MAX;
        room.then(|| self.markers.fetch_add(1, Ordering::Relaxed))
    }

    fn repeated(&self) {
        self.repeated.fetch_add(1, Ordering::Relaxed);
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
pub(crate) fn queue_of(marker: u64) -> String {
    format!("crash-{:02}", marker % QUEUES)
}

/// Says what holds for the tasks that ends make, and answers what was answered.
pub(crate) async fn prepare(context: &Context) -> Vec<v1::Kind> {
    let client = Client::lazy(&context.address.to_string()).unwrap();
    let mut kinds = Vec::new();
    for name in [tasks::FOLLOW, tasks::LINK] {
        kinds.push(client.set_kind(name, tasks::kind()).await.unwrap());
    }
    kinds
}

/// The kinds are as they were.
pub(crate) async fn assert_kept(context: &Context, kinds: Vec<v1::Kind>) {
    let client = Client::lazy(&context.address.to_string()).unwrap();
    for kind in kinds {
        assert_eq!(client.kind(&kind.kind).await.unwrap(), kind);
    }
}

/// All who work.
pub(crate) struct Load {
    phase: watch::Sender<Phase>,
    producers: JoinSet<()>,
    workers: JoinSet<()>,
}

impl Load {
    /// Everybody begins.
    pub(crate) fn begin(context: &Context, dice: &mut Dice) -> Self {
        let (phase, seen) = watch::channel(Phase::Load);
        let (mut producers, mut workers) = (JoinSet::new(), JoinSet::new());
        let mut dice = || Dice::new(dice.any());
        for _ in 0..PRODUCERS {
            producers.spawn(producers::unary(context.clone(), seen.clone(), dice()));
            producers.spawn(producers::stream(context.clone(), seen.clone(), dice()));
            producers.spawn(producers::keyed(context.clone(), seen.clone(), dice()));
        }
        for number in 0..OPERATORS {
            let operator = operator::Operator::new(context.clone(), number, dice());
            producers.spawn(operator.run(seen.clone()));
        }
        for number in 0..STREAM_WORKERS {
            let worker = stream_worker::StreamWorker::new(context.clone(), number, dice());
            workers.spawn(worker.run(seen.clone()));
        }
        for number in 0..UNARY_WORKERS {
            let worker = unary_worker::UnaryWorker::new(context.clone(), number, dice());
            workers.spawn(worker.run(seen.clone()));
        }
        Self {
            phase,
            producers,
            workers,
        }
    }

    /// Nothing new comes, and everything is completed from now on.
    pub(crate) async fn drain(&mut self) {
        self.phase.send_replace(Phase::Drain);
        until_left(&mut self.producers).await;
    }

    /// All leave.
    pub(crate) async fn end(mut self) {
        self.phase.send_replace(Phase::End);
        until_left(&mut self.workers).await;
    }
}

async fn until_left(set: &mut JoinSet<()>) {
    while let Some(left) = within("all leave", set.join_next()).await {
        left.unwrap();
    }
}

/// The phase now.
fn now(phase: &watch::Receiver<Phase>) -> Phase {
    *phase.borrow()
}

/// A loop of kills shows something only where much happened in between.
pub(crate) fn assert_lively(context: &Context, counts: &BTreeMap<&'static str, usize>) {
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
