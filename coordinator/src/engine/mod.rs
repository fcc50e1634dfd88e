//! The engine: a synchronous value that decides everything and touches nothing.
//!
//! Owns the ledgers (durable facts), the agendas (what is ready, what is due), the sessions and the
//! deadlines. [`Engine::step`] takes a command and yields events and effects; only `Ledger::apply`
//! changes facts, live and on replay alike (I1). Never sees a clock, a disk, a socket, a thread,
//! async code or unseeded randomness.

mod agenda;
mod clocks;
pub mod command;
mod context;
mod dense;
pub mod edit;
pub mod effect;
pub mod event;
pub mod failure;
pub mod filter;
mod from_worker;
mod handlers;
pub mod ids;
pub mod invariants;
pub mod ledger;
pub mod limits;
pub mod new_task;
mod notice;
mod refresh;
pub mod rejection;
pub mod retry;
mod sessions;
mod shard;
mod step;
mod subscriptions;
#[cfg(test)]
mod tests;
pub mod view;

use std::sync::Arc;

use command::Command;
use event::Recorded;
use ids::{ShardId, Timestamp};
use ledger::{Ledger, ReplayError};
use retry::Policy;
pub use step::Turn;
use step::{Core, Step};

/// What an engine is made with.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Shards of the state, 1 to 4,096; fixed for the life of a journal.
    pub shard_count: u16,
    /// Seeds all randomness.
    pub seed: u64,
    /// The policy of tasks and queues that name none.
    pub default_policy: Arc<Policy>,
    /// How often a session that holds work is pinged.
    pub ping_ms: u64,
    /// How long a session's silence is borne.
    pub grace_ms: u64,
    /// What is added to a hard timeout before the engine acts in the worker's place.
    pub hard_margin_ms: u64,
    /// Bytes that tasks may take; enqueues are refused above 80 %, extras are shed above 90 %.
    pub memory_bytes_max: u64,
    /// How long a finished task is kept.
    pub finished_retention_ms: u64,
    /// How many finished tasks are kept for each queue.
    pub finished_per_queue_max: usize,
    /// How long a ready task waits until it counts as one level more urgent, where its queue does
    /// not say; 0 for ever.
    pub aging_ms: u64,
}

impl EngineConfig {
    /// How long a worker may hear nothing before it must stop what it runs: a sixth of the grace
    /// before the coordinator gives it to others.
    #[must_use]
    pub const fn abort_after_ms(&self) -> u64 {
        self.grace_ms / 6 * 5
    }

    /// Silence after which a session that holds work gets no more.
    #[must_use]
    pub const fn suspect_ms(&self) -> u64 {
        self.ping_ms * 3
    }

    /// How often, on average, a session is pinged that holds no work.
    #[must_use]
    pub const fn idle_ping_ms(&self) -> u64 {
        self.ping_ms * 6
    }

    /// Pings of sessions that hold no work are due at multiples of this.
    #[must_use]
    pub const fn idle_ping_step_ms(&self) -> u64 {
        self.ping_ms.div_ceil(10)
    }

    /// What a coordinator has unless told otherwise, for tests: memory for a gibibyte, no aging.
    #[cfg(test)]
    pub(crate) fn for_tests(shard_count: u16, default_policy: Arc<Policy>) -> Self {
        Self {
            shard_count,
            seed: 7,
            default_policy,
            ping_ms: 5000,
            grace_ms: 30_000,
            hard_margin_ms: 10_000,
            memory_bytes_max: 1 << 30,
            finished_retention_ms: 3_600_000,
            finished_per_queue_max: 1000,
            aging_ms: 0,
        }
    }

    /// Silence after which a session that holds no work gets none.
    #[must_use]
    pub const fn idle_suspect_ms(&self) -> u64 {
        self.idle_ping_ms() * 3
    }
}

/// When the engine wants a `Command::Tick`, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    /// When. May have passed.
    pub at: Timestamp,
    /// Why.
    pub why: Why,
}

/// Why the engine wants a tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// Runs that began are to be recorded.
    Begun,
    /// A task falls due.
    Timer,
    /// A session is to be pinged, suspected or given up.
    Session,
    /// A limit of a lease or of a wait is over.
    Alarm,
    /// A task's time is over.
    Death,
    /// A finished task is to be forgotten.
    Expiry,
}

impl Why {
    /// The name, for metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Begun => "begun",
            Self::Timer => "timer",
            Self::Session => "session",
            Self::Alarm => "alarm",
            Self::Death => "death",
            Self::Expiry => "expiry",
        }
    }
}

/// The engine.
#[derive(Debug)]
pub struct Engine {
    core: Core,
}

impl Engine {
    /// An engine that knows nothing yet. Replay its journal ([`Engine::begin_replay`],
    /// [`Engine::replay`], [`Engine::end_replay`]), then [`Engine::begin_epoch`].
    ///
    /// # Panics
    /// Where there is no shard, or more than an id can name.
    #[must_use]
    pub fn new(config: EngineConfig) -> Self {
        assert!(
            (1..=4096).contains(&config.shard_count),
            "12 bits of an id name the shard"
        );
        assert!(
            config.ping_ms > 0 && config.grace_ms > config.ping_ms,
            "grace exceeds the ping"
        );
        Self {
            core: Core::new(config),
        }
    }

    /// The log to be replayed begins with this segment; a later one than 1 means that earlier ones
    /// were cleaned.
    pub fn begin_replay(&mut self, first_segment: u64) {
        self.core.begin_replay(first_segment);
    }

    /// Makes an event of the journal a fact; nothing else happens.
    ///
    /// # Errors
    /// Where it does not follow from what was replayed before: the journal lacks something.
    pub fn replay(&mut self, recorded: &Recorded) -> Result<(), ReplayError> {
        self.core.replay(recorded)
    }

    /// The whole log was replayed.
    ///
    /// # Errors
    /// Where segments are missing at its beginning that nobody cleaned.
    pub const fn end_replay(&self) -> Result<(), ReplayError> {
        self.core.end_replay()
    }

    /// A log that is not whole is all there is, after a repair that accepted the loss: it counts as
    /// whole from here on, and the next epoch says so.
    pub fn accept_loss(&mut self) {
        self.core.accept_loss();
    }

    /// Whether a loss was accepted that no epoch has recorded yet.
    #[must_use]
    pub const fn has_accepted_loss(&self) -> bool {
        self.core.has_accepted_loss()
    }

    /// Begins a run of the coordinator, and with it a segment of the journal: a new epoch in every
    /// shard, at least `epoch`; sessions that hold leases of earlier runs get the grace to come
    /// back; transfers under way are sent again.
    pub fn begin_epoch(&mut self, now: Timestamp, epoch: u64, turn: &mut Turn) {
        let mut step = Step::new(&mut self.core, now, turn);
        handlers::epoch::begin(&mut step, epoch);
    }

    /// Handles one command: records what happens, and emits what must be told once that is durable.
    ///
    /// # Panics
    /// Where `now` lies before an earlier one (I8), or an invariant is broken: a bug.
    pub fn step(&mut self, now: Timestamp, command: Command, turn: &mut Turn) {
        let mut step = Step::new(&mut self.core, now, turn);
        handlers::handle(&mut step, command);
    }

    /// When the engine next wants `Command::Tick`, and why.
    ///
    /// Never later than any timer, alarm or session's turn (I11). Waking early is harmless: the
    /// tick then records nothing. Waking late delays work but breaks no promise.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Deadline> {
        let begun = self
            .core
            .has_begun()
            .then_some((self.core.now(), Why::Begun));
        let session = self
            .core
            .sessions()
            .next_wake()
            .map(|at| (at, Why::Session));
        let alarm = self.core.clocks().next().map(|at| (at, Why::Alarm));
        let shards = self.core.shards().iter().flat_map(|shard| {
            let timer = shard.agenda().next_timer().map(|at| (at, Why::Timer));
            let ledger = shard.ledger();
            let forgotten = ledger.next_forgotten().into_iter();
            let forgotten = forgotten.chain(ledger.next_memory_expiry()).min();
            let death = shard.agenda().next_death().map(|at| (at, Why::Death));
            [timer, death, forgotten.map(|at| (at, Why::Expiry))]
        });
        let crowded = self.core.is_crowded();
        let crowded = crowded.then(|| (self.core.now(), Why::Expiry));
        let all = [begun, crowded, session, alarm].into_iter().chain(shards);
        all.flatten().min().map(|(at, why)| Deadline { at, why })
    }

    /// The newest instant that the journal has named: no clock may start before it (I8).
    #[must_use]
    pub fn newest(&self) -> Timestamp {
        let newest = self
            .core
            .shards()
            .iter()
            .map(|shard| shard.ledger().newest())
            .max();
        newest.unwrap_or_default()
    }

    /// The highest epoch that any shard has seen; 0 before the first.
    #[must_use]
    pub fn last_epoch(&self) -> u64 {
        let epochs = self
            .core
            .shards()
            .iter()
            .map(|shard| shard.ledger().epoch());
        epochs.max().unwrap_or(0)
    }

    /// The facts of one shard.
    #[must_use]
    pub fn ledger(&self, shard: ShardId) -> Option<&Ledger> {
        self.core
            .shards()
            .get(usize::from(shard.0))
            .map(shard::Shard::ledger)
    }
}
