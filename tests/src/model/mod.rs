//! The reference model: what the documents promise, kept in a second way.
//!
//! Owns a small state machine of its own, fed with what is durable, in the order of the log, and with
//! what goes in and out of the coordinator. Written from the documents (docs/, the protos,
//! ARCHITECTURE.md), never from the engine's handlers, judge or ledger: of the engine it uses the
//! vocabulary alone. Never touches the coordinator. Each event is judged in constant time, or in the
//! logarithm of what is there; text is made only where something is wrong.
//!
//! [`Model::recorded`] sees each record when it is durable, before anything is told of it, and
//! [`Model::frame_ends`] the end of its frame; `asked`, `heard` and their like see what reaches the
//! engine, `answered` and `told` what leaves. `record` and `ends` judge them, `task` are the states, `verdict` the retry policies,
//! `waits` their delays, `order` lanes and pauses, `shares` the turns of queues, `promises` what makes saying it twice harmless,
//! `follow` what follows an end, `talk` what workers are told and tell, `compare` the recounts.

mod compare;
mod ends;
mod follow;
mod levels;
mod order;
mod promises;
mod record;
mod shares;
mod talk;
mod task;
#[cfg(test)]
mod tests;
mod verdict;
mod waits;

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasherDefault, Hash, Hasher};

use redrive_coordinator::engine::EngineConfig;
use redrive_coordinator::engine::ids::{SessionId, ShardId, TaskId, Timestamp};
use redrive_coordinator::engine::ledger::task::Payload;

use follow::Follow;
use levels::Levels;
use order::Lanes;
use promises::Promises;
use shares::Shares;
use talk::Talk;
use task::{Run, Task};

/// Violations that are kept.
const KEPT_MAX: usize = 8;

/// A map whose hashes are the same in every run; nobody iterates it.
pub(crate) type Map<K, V> = HashMap<K, V, BuildHasherDefault<DefaultHasher>>;

/// A promise: the invariants of ARCHITECTURE.md by number, and what the documents say besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// I1: events follow each other without a gap, and what they say of a task is what it is.
    OneDoor,
    /// I2: what is told is durable.
    LogBeforeTell,
    /// I3: one holder, fences that grow, and only the holder ends a run.
    OneHolder,
    /// I4: every task is somewhere, and goes only where docs/state-machine.md lets it.
    Conservation,
    /// I5: runs 1, 2, 3 .. and the attempt is 1 + failures.
    Runs,
    /// I6: what follows an end is what the policy says.
    OneJudge,
    /// I7: the wait is within the policy's bounds, and drawn once.
    Backoff,
    /// I8: time and epochs only grow.
    Time,
    /// I10: a session never holds more than it asked for, and only what it serves.
    Capacity,
    /// I12: nothing is leased before its time, after its end, or while its queue is paused.
    NotBefore,
    /// I13: a run is settled once, and its report is answered truly.
    OneCompletion,
    /// I14: nothing that was told is lost, and nothing is invented.
    NoLoss,
    /// I15: what is said twice is done once; what follows an end is made once.
    Once,
    /// The most urgent ready task first, and among equals the one enqueued first.
    Order,
    /// I16: each queue of a worker gets the share that its weight says.
    Shares,
    /// A payload is delivered as it was sent.
    Bytes,
    /// What the model counts is what the coordinator counts.
    Replay,
    /// Every call has one answer.
    OneAnswer,
}

/// A promise that was not kept.
pub type Violation = crate::violation::Violation<Rule>;

/// The model.
#[derive(Debug)]
pub struct Model {
    settings: EngineConfig,
    tasks: Map<TaskId, Task>,
    /// Every task that ever was, the forgotten ones too.
    made: BTreeSet<TaskId>,
    /// Runs by task and fence, the ended ones too.
    runs: Map<(TaskId, u64), Run>,
    shards: Vec<Shard>,
    held: Map<SessionId, u32>,
    levels: Levels,
    lanes: Lanes,
    shares: Shares,
    seen: Seen,
    promises: Promises,
    follow: Follow,
    talk: Talk,
    touched: Vec<TaskId>,
    records: u64,
    wrong: Vec<Violation>,
}

/// How often there was something to judge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Grants of a task though a more urgent one is due, because of its age.
    pub aged: usize,
    /// Pairs of queues of a worker that both had work, at a grant from one of them.
    pub shares: usize,
}

/// What the model knows of a shard.
#[derive(Clone, Debug, Default)]
struct Shard {
    seq: u64,
    epoch: u64,
    /// Live tasks, for the recount.
    tasks: usize,
    /// Finished tasks in the order in which they are forgotten.
    finished: BTreeSet<(Timestamp, TaskId)>,
    /// For each shard that transfers were sent to: the number of the latest.
    sent: BTreeMap<ShardId, u64>,
    /// For each shard that transfers came from: the number of the latest.
    received: BTreeMap<ShardId, u64>,
}

impl Model {
    /// A model that has seen nothing.
    #[must_use]
    pub fn new(settings: EngineConfig) -> Self {
        Self {
            shards: vec![Shard::default(); usize::from(settings.shard_count)],
            levels: Levels::new(&settings),
            settings,
            tasks: Map::default(),
            made: BTreeSet::new(),
            runs: Map::default(),
            held: Map::default(),
            lanes: Lanes::default(),
            shares: Shares::default(),
            seen: Seen::default(),
            promises: Promises::default(),
            follow: Follow::default(),
            talk: Talk::default(),
            touched: Vec::new(),
            records: 0,
            wrong: Vec::new(),
        }
    }

    /// What was wrong so far; empty is good.
    #[must_use]
    pub fn violations(&self) -> &[Violation] {
        &self.wrong
    }

    /// Something is wrong.
    pub fn wrong(&mut self, rule: Rule, says: String) {
        if self.wrong.len() < KEPT_MAX {
            self.wrong.push(Violation { rule, says });
        }
    }

    /// Records seen so far.
    #[must_use]
    pub const fn records(&self) -> u64 {
        self.records
    }

    /// How often there was something to judge since this was asked last.
    pub fn take_seen(&mut self) -> Seen {
        std::mem::take(&mut self.seen)
    }

    /// The coordinator is gone: callers and streams with it.
    pub fn killed(&mut self) {
        self.talk.killed();
        self.promises.killed();
        self.shares.killed();
    }
}

/// A number for some bytes and what they are.
fn digest(payload: &Payload) -> u64 {
    let mut hasher = DefaultHasher::new();
    payload.data.hash(&mut hasher);
    payload.content_type.hash(&mut hasher);
    hasher.finish()
}
