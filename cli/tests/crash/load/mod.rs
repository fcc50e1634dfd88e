//! Who works with the coordinator while it is killed: producers and workers, each with a course of
//! its own, all writing down what they see.
//!
//! Owns who there is, and the phases: load, then drain (everything is completed, nothing new comes),
//! then the end. Never judges.

mod producers;
mod stream_worker;
mod unary_worker;
mod work;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use redrive_tests::{Dice, history::Recorder, within};
use tokio::{sync::watch, task::JoinSet};

/// Queues, so that every shard has work.
pub(crate) const QUEUES: u64 = 32;
/// Tasks of all producers. A queue remembers the last 1,000 that ended, and all are looked at.
const TASKS_MAX: u64 = QUEUES * 900;
/// Producers of each sort.
const PRODUCERS: u64 = 2;
/// Workers with a stream.
const STREAM_WORKERS: u64 = 3;
/// Workers without.
const UNARY_WORKERS: u64 = 2;
/// Tasks accepted beyond those completed, before producers hold back.
const BACKLOG_MAX: u64 = 400;

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
}

/// The queue of a marker.
pub(crate) fn queue_of(marker: u64) -> String {
    format!("crash-{:02}", marker % QUEUES)
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
    pub(crate) async fn drain(&self) {
        self.phase.send_replace(Phase::Drain);
        tokio::task::yield_now().await;
    }

    /// All leave.
    pub(crate) async fn end(mut self) {
        self.phase.send_replace(Phase::End);
        for set in [&mut self.producers, &mut self.workers] {
            while let Some(left) = within("all leave", set.join_next()).await {
                left.unwrap();
            }
        }
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
        ("deliveries", 500),
        ("reports recorded", 500),
        ("reports duplicate", 10),
    ] {
        let seen = counts.get(sort).copied().unwrap_or(0);
        assert!(
            seen >= least,
            "too little happened: {seen} {sort}, {counts:?}"
        );
    }
}
