//! What clients and workers saw of a coordinator, in the order in which they saw it.
//!
//! Owns the words of a history and its one clock. Knows nothing of gRPC and nothing of the engine:
//! whoever drives a coordinator (real processes, or a simulation with a clock of its own) writes
//! these facts down, and [`check::violations`] judges them by the documents alone. Invariant: a fact
//! of an invocation is recorded before its message is sent, one of an answer after it has arrived.

pub mod check;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

/// One thing that was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When, in microseconds of the history's own clock.
    pub at_us: u64,
    /// What.
    pub fact: Fact,
}

/// What can be seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// A producer sends a task. `marker` is its own number for this sending, never used twice, and
    /// travels in the task.
    EnqueueInvoked {
        /// Which sending.
        marker: u64,
        /// Of the payload.
        digest: u64,
        /// How long the task must wait at least.
        delay_ms: u64,
    },
    /// A producer was answered, or knows that it will not be.
    EnqueueEnded {
        /// Which sending.
        marker: u64,
        /// How it ended.
        outcome: Enqueued,
    },
    /// A worker got a task.
    Delivered(Delivered),
    /// A worker sends a report, for the first time or again.
    ReportInvoked(Reported),
    /// A worker was answered.
    ReportEnded {
        /// Which report.
        report: Reported,
        /// What the coordinator said of it.
        answer: Answer,
    },
    /// After the end of all work: what the coordinator tells of one task.
    Found(Found),
    /// After the end of all work: what it tells of one queue.
    Counted(Counted),
}

/// How a sending ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Enqueued {
    /// The coordinator took it: this is its id.
    Accepted(String),
    /// It is certain that it was not taken.
    Refused,
    /// Nobody can tell.
    Unknown,
}

/// A task as a worker got it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// Its id.
    pub task_id: String,
    /// The marker that it carries.
    pub marker: u64,
    /// Of the payload that arrived.
    pub digest: u64,
    /// Its run.
    pub run: u32,
    /// Its attempt.
    pub attempt: u32,
    /// Its fence.
    pub fence: u64,
}

/// A report of a run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reported {
    /// The task.
    pub task_id: String,
    /// The run.
    pub run: u32,
    /// What it says.
    pub says: Says,
}

/// What a report says, or how a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Says {
    /// The work is done.
    Complete,
    /// It failed.
    Fail,
    /// It is put off without blame.
    Defer,
    /// It is given back untouched.
    Release,
}

/// What the coordinator says of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is recorded now.
    Recorded,
    /// It had been recorded before.
    Duplicate,
    /// Something else ended the run.
    Superseded,
    /// The task is not remembered.
    Gone,
    /// The report cannot be used.
    Invalid,
    /// No answer came.
    Unknown,
}

/// A task after the end of all work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its id.
    pub task_id: String,
    /// The marker that it carries.
    pub marker: u64,
    /// Its queue.
    pub queue: String,
    /// Where it stands.
    pub stands: Stands,
    /// Of its payload.
    pub digest: u64,
    /// How often it was handed out.
    pub runs: u32,
    /// The fence of its latest lease.
    pub fence: u64,
    /// Failures counted.
    pub failures: u32,
    /// When it was accepted, on the coordinator's clock.
    pub enqueued_ms: u64,
    /// The runs that are remembered, oldest first.
    pub history: Vec<FoundRun>,
}

/// Where a task stands after the end of all work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stands {
    /// It ended well.
    Succeeded,
    /// It is a dead letter.
    Dead,
    /// It ended in another way.
    Otherwise,
    /// It has not ended.
    Live,
}

/// A run, as the coordinator remembers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundRun {
    /// Its number.
    pub run: u32,
    /// Its attempt.
    pub attempt: u32,
    /// How it ended, where a report ended it; else its worker was lost, or it was cancelled.
    pub ended_by: Option<Says>,
    /// When it was leased, on the coordinator's clock.
    pub leased_ms: u64,
    /// When it ended, on the coordinator's clock.
    pub ended_ms: u64,
    /// The wait that was drawn, where another run followed.
    pub delay_ms: Option<u64>,
}

/// A queue's own counts after the end of all work.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Its name.
    pub queue: String,
    /// Accepted so far.
    pub enqueued: u64,
    /// Ended well so far.
    pub succeeded: u64,
    /// Dead letters now.
    pub dead: u64,
    /// Waiting or running now.
    pub live: u64,
    /// Failures so far.
    pub failures: u64,
}

/// A history in the making; clones write into the same one.
#[derive(Clone, Debug)]
pub struct Recorder {
    began: Instant,
    entries: Arc<Mutex<Vec<Entry>>>,
}

impl Default for Recorder {
    fn default() -> Self {
        Self::new()
    }
}

impl Recorder {
    /// An empty history that begins now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the history's own clock")]
    pub fn new() -> Self {
        Self {
            began: Instant::now(),
            entries: Arc::default(),
        }
    }

    /// Writes down what was seen just now.
    #[expect(clippy::disallowed_methods, reason = "the history's own clock")]
    pub fn note(&self, fact: Fact) {
        let mut entries = self.lock();
        // Read under the lock: the order of entries is the order of their instants.
        let at_us = Instant::now().duration_since(self.began).as_micros();
        let at_us = u64::try_from(at_us).unwrap_or(u64::MAX);
        entries.push(Entry { at_us, fact });
    }

    /// How much has been seen.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// True where nothing has been seen.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// All that was seen so far.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Entry>> {
        // A history is whole after every push, so a panic elsewhere leaves it usable.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The digest of a payload: 64-bit FNV-1a.
#[must_use]
pub fn digest(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// What a history is made of, for people: how many entries of each sort.
#[must_use]
pub fn summary(entries: &[Entry]) -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::new();
    for entry in entries {
        let sort = match &entry.fact {
            Fact::EnqueueInvoked { .. } => "enqueues",
            Fact::EnqueueEnded { outcome, .. } => match outcome {
                Enqueued::Accepted(_) => "accepted",
                Enqueued::Refused => "refused",
                Enqueued::Unknown => "unknown",
            },
            Fact::Delivered(_) => "deliveries",
            Fact::ReportInvoked(_) => "reports",
            Fact::ReportEnded { answer, .. } => match answer {
                Answer::Recorded => "reports recorded",
                Answer::Duplicate => "reports duplicate",
                Answer::Superseded => "reports superseded",
                Answer::Gone => "reports gone",
                Answer::Invalid => "reports invalid",
                Answer::Unknown => "reports unanswered",
            },
            Fact::Found(_) => "tasks found",
            Fact::Counted(_) => "queues counted",
        };
        *counts.entry(sort).or_default() += 1;
    }
    counts
}
