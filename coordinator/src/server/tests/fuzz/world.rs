//! A coordinator without threads, disk or clock: the real services, inbox, engine and outbox, driven
//! from one place.
//!
//! Owns time, which passes where nothing else happens, and the invariants, which are recounted after
//! every command. Never decides what is asked.

use std::pin::pin;
use std::sync::{Arc, LazyLock};

use futures::{FutureExt as _, StreamExt as _};
use redrive_proto::v1 as pb;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::Status;

use crate::codec::tests::through_the_codec;
use crate::engine::command::Command;
use crate::engine::event::Recorded;
use crate::engine::ids::{LeaseToken, ShardId, TaskId, Timestamp};
use crate::engine::ledger::task::State;
use crate::engine::{Engine, EngineConfig, Turn, Why, invariants};
use crate::fuzz::engine_config;
use crate::journal::Durability;
use crate::journal::Sink as _;
use crate::server::edge::Edge;
use crate::server::worker_stream::{self, WorkStream};
use crate::shell::inbox::{Facts, Inbox};
use crate::shell::{Desk, Outbox};
use crate::telemetry::Telemetry;

const START: Timestamp = Timestamp(1_800_000_000_000);
const SHARDS: u16 = 2;
/// Ticks after which a call that waits is given up by its caller.
const TICKS_MAX: usize = 8;
/// Turns that one call may take.
const TURNS_MAX: usize = 200;
/// Times that other tasks get to run before nothing more is expected of them.
const YIELDS: usize = 4;

/// Nothing here looks at it, and making it takes longer than most calls.
static TELEMETRY: LazyLock<Arc<Telemetry>> =
    LazyLock::new(|| Arc::new(Telemetry::new("0.0.0").unwrap()));

/// A stream of a worker: what it says, and what it hears.
struct Worker {
    say: mpsc::Sender<Result<pb::WorkRequest, Status>>,
    hear: WorkStream,
}

/// A coordinator.
pub(super) struct World {
    pub(super) edge: Edge,
    pub(super) shutdown: CancellationToken,
    pub(super) readers: TaskTracker,
    desk: Arc<Desk>,
    outbox: Outbox,
    engine: Engine,
    config: EngineConfig,
    now: Timestamp,
    journal: Vec<Recorded>,
    worker: Option<Worker>,
    session: String,
}

impl World {
    pub(super) fn new() -> Self {
        let config = engine_config(SHARDS);
        let facts = Facts {
            durability: Durability::Always,
            default_policy: "recommended".into(),
            shard_count: SHARDS,
            start_time: START,
            incarnation: 42,
        };
        let desk = Arc::new(Desk::new(facts, Arc::clone(&TELEMETRY)));
        let inbox = Inbox::new(Arc::clone(&desk));
        let facts = Arc::new(inbox.facts().clone());
        let (outbox, _failed) = Outbox::new(Arc::clone(&desk));
        let mut world = Self {
            edge: Edge { inbox, facts },
            shutdown: CancellationToken::new(),
            readers: TaskTracker::new(),
            desk,
            outbox,
            engine: Engine::new(config.clone()),
            config,
            now: START,
            journal: Vec::new(),
            worker: None,
            session: String::new(),
        };
        let mut turn = Turn::default();
        world.engine.begin_epoch(world.now, 1000, &mut turn);
        world.release(turn);
        world
    }

    fn release(&mut self, turn: Turn) {
        self.journal.extend(turn.events);
        self.outbox.release(turn.effects);
    }

    fn step(&mut self, command: Command) {
        let mut turn = Turn::default();
        self.engine.step(self.now, command, &mut turn);
        while self
            .engine
            .next_deadline()
            .is_some_and(|deadline| deadline.why == Why::Begun)
        {
            self.engine.step(self.now, Command::Tick, &mut turn);
        }
        self.release(turn);
        invariants::check(&self.engine);
    }

    /// Handles what has come; false where nothing has.
    async fn turn(&mut self) -> bool {
        for _ in 0..YIELDS {
            tokio::task::yield_now().await;
        }
        let mut commands = Vec::new();
        self.desk.queue.take(usize::MAX, &mut commands);
        let any = !commands.is_empty();
        commands.into_iter().for_each(|command| self.step(command));
        any
    }

    /// Handles everything that has come, and what comes of it.
    pub(super) async fn settle(&mut self) {
        for _ in 0..TURNS_MAX {
            if !self.turn().await {
                break;
            }
        }
        self.listen();
    }

    /// Time passes: up to the next deadline, or so long.
    pub(super) async fn wait_ms(&mut self, ms: u64) {
        let until = self.now.plus_ms(ms);
        for _ in 0..TICKS_MAX {
            let Some(due) = self.engine.next_deadline().filter(|due| due.at <= until) else {
                break;
            };
            self.now = self.now.max(due.at);
            self.step(Command::Tick);
            self.settle().await;
        }
        self.now = until;
        self.step(Command::Tick);
        self.settle().await;
    }

    /// Serves a call until it is answered, or gives it up; time passes where it waits.
    pub(super) async fn serve(&mut self, call: impl Future<Output = ()>) {
        let mut ticks = 0;
        {
            let mut call = pin!(call);
            for _ in 0..TURNS_MAX {
                if call.as_mut().now_or_never().is_some() {
                    break;
                }
                if !self.turn().await {
                    ticks += 1;
                    if ticks > TICKS_MAX {
                        break;
                    }
                    let due = self.engine.next_deadline().map_or(self.now, |due| due.at);
                    self.now = self.now.max(due);
                    self.step(Command::Tick);
                }
            }
        }
        self.settle().await;
    }

    /// A worker says something, on a stream that is opened for it.
    pub(super) async fn say(&mut self, message: pb::WorkRequest) {
        if self.worker.is_none() {
            let (say, said) = mpsc::channel(16);
            let incoming = ReceiverStream::new(said);
            let opened =
                worker_stream::open(&self.edge, incoming, self.shutdown.clone(), &self.readers);
            self.worker = opened.ok().map(|hear| Worker { say, hear });
        }
        if let Some(worker) = &self.worker {
            // Full or closed: the stream has come to an end.
            drop(worker.say.try_send(Ok(message)));
        }
        self.settle().await;
    }

    /// Reads what the worker is told, so that its stream is never full.
    fn listen(&mut self) {
        let Some(worker) = &mut self.worker else {
            return;
        };
        while let Some(heard) = worker.hear.next().now_or_never() {
            let Some(Ok(heard)) = heard else {
                self.worker = None;
                return;
            };
            if let Some(pb::work_response::Message::Welcome(welcome)) = heard.message {
                self.session = welcome.session_id;
            }
        }
    }

    /// The worker's stream breaks.
    pub(super) async fn hang_up(&mut self) {
        self.worker = None;
        self.settle().await;
    }

    /// The session that the worker had last.
    pub(super) fn session(&self) -> &str {
        &self.session
    }

    /// The tasks that there are.
    pub(super) fn tasks(&self) -> Vec<TaskId> {
        let ledgers = (0..SHARDS).filter_map(|shard| self.engine.ledger(ShardId(shard)));
        let tasks = ledgers.flat_map(|ledger| ledger.tasks_after(TaskId::MIN));
        tasks.map(|task| task.id).collect()
    }

    /// The leases that somebody holds.
    pub(super) fn tokens(&self) -> Vec<LeaseToken> {
        let ledgers = (0..SHARDS).filter_map(|shard| self.engine.ledger(ShardId(shard)));
        let tasks = ledgers.flat_map(|ledger| ledger.tasks_after(TaskId::MIN));
        let token = |task: &crate::engine::ledger::task::Task| match &task.state {
            State::Leased(lease) => Some(LeaseToken {
                task: task.id,
                fence: lease.fence,
                nonce: lease.nonce,
            }),
            State::Pending { .. } | State::Dead { .. } | State::Finished(_) => None,
        };
        tasks.filter_map(token).collect()
    }

    /// What was recorded makes the same state again, as bytes too (I1, I7).
    pub(super) fn check_replay(&self) {
        let mut engine = Engine::new(self.config.clone());
        engine.begin_replay(1);
        for recorded in through_the_codec(&self.journal) {
            engine.replay(&recorded).unwrap();
        }
        engine.end_replay().unwrap();
        for shard in (0..SHARDS).map(ShardId) {
            assert_eq!(engine.ledger(shard), self.engine.ledger(shard));
        }
    }
}
