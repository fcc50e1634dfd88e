//! The coordinator of the simulated world: the engine, the turns, the journal and the cleaning that
//! the real one has, without its threads and sockets.
//!
//! Owns what a coordinator's process owns, and its death: of a kill at any write, of a disk that
//! fails, of a power cut. Never decides when something happens: the world does. Invariants: what is
//! released has gone through the real journal; what a death leaves is what the simulated disk holds.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redrive_coordinator::codec::Encoder;
use redrive_coordinator::engine::command::Command;
use redrive_coordinator::engine::effect::Effect;
use redrive_coordinator::engine::event::Recorded;
use redrive_coordinator::engine::ids::{ShardId, Timestamp};
use redrive_coordinator::engine::{Deadline, Engine, EngineConfig, Turn};
use redrive_coordinator::journal::simulated::{SimulatedStorage, Tear};
use redrive_coordinator::journal::{
    self, Encode, Frame, InlineJournal, Journal, JournalError, LogFiles, Options, Sink, Storage,
    Syncing,
};
use redrive_coordinator::shell::cleaning::Cleaning;
use redrive_coordinator::shell::clock::Clock;
use redrive_coordinator::shell::revive;
use redrive_coordinator::shell::turns::{Begins, Decides, TurnFrame, Turns};

use super::clock::Clocks;
use super::plan::Plan;

/// Frames that wait for the writer; while there are as many, no turn begins.
pub const FRAMES_MAX: usize = 64;
/// Recorded operations of the disk beyond which those that are safe are forgotten.
const OPERATIONS_KEPT: usize = 512;

/// A record of a frame, and the frame.
type Record = (Arc<Vec<Recorded>>, u32);

/// What a frame lets go once it is durable.
#[derive(Debug)]
pub struct Release {
    /// What it recorded.
    pub records: Arc<Vec<Recorded>>,
    /// What the outside is told.
    pub effects: Vec<Effect>,
    /// The operations of the disk when it was released.
    operations: usize,
}

/// What has left the journal.
#[derive(Clone, Default)]
struct Out(Arc<Mutex<Outbox>>);

#[derive(Default)]
struct Outbox {
    released: VecDeque<Release>,
    failed: Option<JournalError>,
}

struct Gatherer {
    out: Out,
    disk: SimulatedStorage,
}

impl Sink<Release> for Gatherer {
    fn release(&mut self, mut release: Release) {
        release.operations = self.disk.operations();
        self.out.lock().released.push_back(release);
    }

    fn failed(&mut self, error: JournalError) {
        self.out.lock().failed = Some(error);
    }
}

impl Out {
    fn lock(&self) -> std::sync::MutexGuard<'_, Outbox> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Encodes the records of shared frames, and remembers a sum of all bytes.
struct Shared {
    sum: Arc<Mutex<u64>>,
}

impl Encode<Record> for Shared {
    fn encode(&self, (frame, index): &Record, out: &mut Vec<u8>) {
        let begin = out.len();
        Encoder.encode(&frame[*index as usize], out);
        let mut sum = self.sum.lock().unwrap_or_else(PoisonError::into_inner);
        *sum = super::trace::folded(*sum, &out[begin..]);
    }
}

/// How a coordinator ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// SIGKILL: what was written stays.
    Kill,
    /// The power is cut: of what was not synced, anything may stay.
    PowerCut {
        /// Which of it.
        seed: u64,
    },
}

/// A coordinator that runs.
pub struct Server {
    pub(super) engine: Engine,
    journal: InlineJournal<Record, Release>,
    turns: Turns,
    clock: Clock,
    pub(super) cleaning: Cleaning,
    disk: SimulatedStorage,
    out: Out,
    /// Frames that were appended and are not released: what a death may or may not leave behind.
    unreleased: VecDeque<Arc<Vec<Recorded>>>,
    sum: Arc<Mutex<u64>>,
    /// The operations of the disk when the safe ones were last forgotten.
    forgotten: usize,
    /// For each shard, the last event that the disk held at the start.
    pub(super) replayed: Vec<u64>,
}

/// What a coordinator leaves behind.
pub struct Remains {
    /// The disk as it is found.
    pub disk: SimulatedStorage,
    /// Frames that nobody was told of: those that the disk holds are facts.
    pub unreleased: VecDeque<Arc<Vec<Recorded>>>,
    /// What had left before the end came, of the last commit.
    pub released: Vec<Release>,
}

/// The engine with somebody who sees every command first.
struct Watched<'a> {
    engine: &'a mut Engine,
    see: &'a mut (dyn FnMut(Timestamp, &Command) + Send),
}

impl Decides for Watched<'_> {
    fn step(&mut self, now: Timestamp, command: Command, turn: &mut Turn) {
        (self.see)(now, &command);
        self.engine.step(now, command, turn);
    }

    fn next_deadline(&self) -> Option<Deadline> {
        self.engine.next_deadline()
    }
}

/// The options of the journal.
fn options(plan: &Plan, seed: u64) -> Options {
    Options {
        segment_bytes: plan.segment_bytes,
        syncing: if plan.always {
            Syncing::Always
        } else {
            Syncing::Interval {
                sync_every: Duration::from_millis(50),
            }
        },
        ..Options::new(seed, plan.shards)
    }
}

/// An engine that was told all that a disk remembers, and what else the disk is opened for.
///
/// # Errors
/// Where the journal refuses, in words.
pub fn replayed(
    plan: &Plan,
    disk: &SimulatedStorage,
    seed: u64,
) -> Result<(Engine, journal::Recovered), String> {
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    let opened = journal::open(storage, options(plan, seed));
    let mut recovered = opened.map_err(|error| error.to_string())?;
    let mut engine = Engine::new(EngineConfig {
        seed: plan.engine.seed ^ seed,
        ..plan.engine.clone()
    });
    let replayed = revive::replay(&mut recovered, &mut engine, |_, _| {});
    replayed.map_err(|error| error.to_string())?;
    Ok((engine, recovered))
}

impl Server {
    /// Starts a coordinator on a disk, as the real one starts.
    ///
    /// # Errors
    /// Where the journal refuses, in words.
    pub fn start(
        plan: &Plan,
        disk: SimulatedStorage,
        clocks: &Clocks,
        seed: u64,
    ) -> Result<Self, String> {
        let (mut engine, recovered) = replayed(plan, &disk, seed)?;
        let mut clock = Clock::new(Box::new(clocks.clone()), engine.newest());
        let now = clock.read().now;
        let (out, sum) = (Out::default(), Arc::new(Mutex::new(0)));
        let encode = Shared {
            sum: Arc::clone(&sum),
        };
        let sink = Gatherer {
            out: out.clone(),
            disk: disk.clone(),
        };
        let started = recovered.start_inline(Box::new(encode), Box::new(sink));
        let journal = started.map_err(|error| error.to_string())?;
        let shards = (0..plan.shards).map(ShardId);
        let last = |shard| engine.ledger(shard).map_or(0, |ledger| ledger.last_seq());
        let replayed = shards.map(last).collect();
        let frame = revive::first_turn(&mut engine, now);
        let mut server = Self {
            engine,
            journal: journal.on_demand(),
            turns: Turns::new(now),
            clock,
            cleaning: Cleaning::new(plan.segment_bytes),
            disk,
            out,
            unreleased: VecDeque::new(),
            sum,
            forgotten: 0,
            replayed,
        };
        server.append(frame)?;
        Ok(server)
    }

    fn append(&mut self, frame: TurnFrame) -> Result<(), String> {
        let records = Arc::new(frame.records);
        let count = u32::try_from(records.len()).map_err(|error| error.to_string())?;
        self.unreleased.push_back(Arc::clone(&records));
        let shared = (0..count).map(|index| (Arc::clone(&records), index));
        let frame = Frame {
            records: shared.collect(),
            release: Release {
                records: Arc::clone(&records),
                effects: frame.release,
                operations: 0,
            },
            opens_segment: frame.opens_segment,
        };
        let appended = self.journal.append(frame);
        appended.map_err(|error| error.to_string())
    }

    /// What time it is for the engine.
    pub fn now(&mut self) -> Timestamp {
        self.clock.read().now
    }

    /// Takes a command for the next turn.
    pub fn take(&mut self, command: Command) {
        self.turns.commands().push_back(command);
    }

    /// Whether a turn may begin: the writer is not too far behind.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.journal.queued() < FRAMES_MAX
    }

    /// Whether frames wait for the disk.
    #[must_use]
    pub fn is_writing(&self) -> bool {
        self.journal.queued() > 0
    }

    /// One turn; `see` is shown each command just before the engine is; calls that are not `wanted` any
    /// more are left out. Says how many records it
    /// made, and when the next turn is due (milliseconds from now).
    ///
    /// # Errors
    /// Where the journal has failed, in words.
    pub fn turn(
        &mut self,
        shuts_down: bool,
        see: &mut (dyn FnMut(Timestamp, &Command) + Send),
        wanted: &dyn Fn(&Command) -> bool,
    ) -> Result<Option<u64>, String> {
        let now = self.clock.read().now;
        let begins = Begins {
            asks: self.journal.asks(),
            late_ms: self.turns.late_ms(now),
            shuts_down,
        };
        let mut watched = Watched {
            engine: &mut self.engine,
            see,
        };
        let made = self.turns.turn(now, &mut watched, begins, wanted);
        if let Some(frame) = made.frame {
            self.append(frame)?;
        }
        let now = self.clock.read().now;
        let deadline = self.engine.next_deadline();
        self.turns.rest(now, deadline);
        if self.turns.has_commands() {
            return Ok(Some(0));
        }
        Ok(deadline.map(|deadline| deadline.at.since_ms(now)))
    }

    /// Writes what waits, and answers what may leave.
    ///
    /// # Errors
    /// Where the disk fails: the process ends.
    pub fn commit(&mut self) -> Result<Vec<Release>, String> {
        let committed = self.journal.commit();
        let released = self.released();
        let operations = self.disk.operations();
        if operations - self.forgotten > OPERATIONS_KEPT {
            self.disk.forget();
            self.forgotten = operations;
        }
        committed.map_err(|error| error.to_string())?;
        Ok(released)
    }

    fn released(&mut self) -> Vec<Release> {
        let released: Vec<Release> = self.out.lock().released.drain(..).collect();
        self.unreleased
            .drain(..released.len().min(self.unreleased.len()));
        released
    }

    /// What the writer and its helpers do besides: confirm, sync, and fill a reserve file.
    ///
    /// # Errors
    /// Where the disk fails: the process ends.
    pub fn tend(&mut self) -> Result<(), String> {
        let tended = self.journal.confirm().and_then(|()| self.journal.sync());
        let tended = tended.and_then(|()| self.journal.tend());
        tended.map(drop).map_err(|error| error.to_string())
    }

    /// The journal's files.
    #[must_use]
    pub fn files(&self) -> LogFiles {
        self.journal.files()
    }

    /// The process ends now. Nothing that it has not told is told.
    #[must_use]
    pub fn die(self, death: Death) -> Remains {
        let operations = self.disk.operations();
        self.dead_at(operations, death)
    }

    /// The process ends at a moment of the next commit: when of its operations `at` (per mille) are
    /// done.
    #[must_use]
    pub fn die_writing(mut self, at: u64, death: Death) -> Remains {
        let before = self.disk.operations();
        // What fails in its last moments does not matter any more.
        drop(self.journal.commit());
        let made = self.disk.operations() - before;
        let done = usize::try_from(made as u64 * at / 1000).unwrap_or(made);
        self.dead_at(before + done, death)
    }

    fn dead_at(mut self, operations: usize, death: Death) -> Remains {
        let mut released: Vec<Release> = self.out.lock().released.drain(..).collect();
        released.retain(|release| release.operations <= operations);
        self.unreleased
            .drain(..released.len().min(self.unreleased.len()));
        let tear = match death {
            Death::Kill => Tear::Everything,
            Death::PowerCut { seed } if seed % 8 == 0 => Tear::Nothing,
            Death::PowerCut { seed } => Tear::Some {
                seed,
                piece_bytes: if seed % 2 == 0 { 512 } else { 4096 },
            },
        };
        Remains {
            disk: self.disk.crash_at(operations, tear),
            unreleased: self.unreleased,
            released,
        }
    }

    /// Closes the journal in good order, and ends: what was still held back leaves. Where the disk
    /// fails meanwhile it is a death like another; says which it was.
    #[must_use]
    pub fn close(mut self) -> (bool, Remains) {
        let closed = self.journal.close().is_ok();
        (closed, self.die(Death::Kill))
    }

    /// The disk as it is now, all of it, for a replay beside.
    #[must_use]
    pub fn disk_now(&self) -> SimulatedStorage {
        self.disk.crash(Tear::Everything)
    }

    /// The disk itself.
    #[must_use]
    pub const fn disk(&self) -> &SimulatedStorage {
        &self.disk
    }

    /// A sum of every byte that was recorded since the start.
    #[must_use]
    pub fn sum(&self) -> u64 {
        *self.sum.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
