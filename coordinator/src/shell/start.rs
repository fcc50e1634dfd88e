//! The start of the engine: its journal is opened, its facts are replayed, its epoch begins.
//!
//! Owns the order, which is what makes a restart safe: lock, replay, clock, epoch, thread (rules 4
//! and 10). Never serves anybody: nothing is granted before the new epoch is durable.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rand::TryRng;
use rand::rngs::SysRng;

use super::clock::{Clock, SystemTimeSource};
use super::driver::{Parts, TurnJournal};
use super::inbox::{Facts, Inbox};
use super::thread::EngineThread;
use super::{Desk, Outbox, revive};
use crate::codec::Encoder;
use crate::config::{Config, ConfigError};
use crate::engine::ids::ShardId;
use crate::engine::retry::presets;
use crate::engine::{Engine, EngineConfig, limits};
use crate::journal::{
    self, DirStorage, Durability, LogFiles, MemoryJournal, OpenError, Options, Recovered, Storage,
    Syncing,
};
use crate::run::StartError;
use crate::telemetry::Telemetry;

/// How much of a journal is replayed between two words about it.
const PROGRESS_BYTES: u64 = 1024 * 1024 * 1024;

/// An engine that runs.
pub(crate) struct Started {
    pub(crate) thread: EngineThread,
    pub(crate) inbox: Inbox,
    /// The journal's files, where it has some.
    pub(crate) files: Option<LogFiles>,
}

/// Starts the engine on its thread, with all that its journal remembers. Takes as long as the
/// replay does.
///
/// # Errors
/// Where the journal cannot be used or the machine refuses something.
pub(crate) fn start(config: &Config, telemetry: Arc<Telemetry>) -> Result<Started, StartError> {
    let mut engine = Engine::new(engine_config(config, random()?)?);
    let recovered = match &config.data_dir {
        Some(dir) => Some(recover(config, dir, &mut engine)?),
        None => None,
    };
    let mut clock = Clock::new(Box::new(SystemTimeSource), engine.newest());
    let now = clock.read().now;
    telemetry
        .start_time
        .set(Duration::from_millis(now.0).as_secs_f64());
    let facts = Facts {
        durability: config.durability(),
        default_policy: config.default_policy.as_str().into(),
        shard_count: config.shard_count,
        start_time: now,
        incarnation: random()?,
    };
    let desk = Arc::new(Desk::new(facts, telemetry));
    let (outbox, failed) = Outbox::new(Arc::clone(&desk));
    let (mut journal, files): (TurnJournal, _) = match recovered {
        Some(recovered) => {
            let journal = recovered.start(Box::new(Encoder), Box::new(outbox))?;
            let files = journal.files();
            (Box::new(journal), Some(files))
        }
        None => (Box::new(MemoryJournal::new(outbox)), None),
    };

    journal.append(revive::first_turn(&mut engine, now))?;

    let inbox = Inbox::new(Arc::clone(&desk));
    let parts = Parts {
        engine,
        journal,
        clock,
        desk,
        failed,
    };
    let thread = EngineThread::start(parts).map_err(StartError::Thread)?;
    Ok(Started {
        thread,
        inbox,
        files,
    })
}

/// Opens the journal and makes the engine know what it remembers.
fn recover(config: &Config, dir: &Path, engine: &mut Engine) -> Result<Recovered, StartError> {
    let unusable = |cause| StartError::DataDir {
        dir: dir.to_owned(),
        cause,
    };
    let storage = Arc::new(DirStorage::create(dir).map_err(unusable)?);
    let options = Options {
        segment_bytes: config.segment_bytes,
        syncing: match config.durability() {
            Durability::Interval => Syncing::Interval {
                sync_every: config.sync_interval,
            },
            Durability::Always | Durability::Memory => Syncing::Always,
        },
        ..Options::new(random()?, config.shard_count)
    };
    let mut recovered = match journal::open(storage, options) {
        Err(OpenError::WrongTag { found, asked, .. }) => {
            let dir = dir.to_owned();
            return Err(StartError::Shards { dir, found, asked });
        }
        opened => opened?,
    };
    replay(dir, &mut recovered, engine)?;
    if !engine.has_accepted_loss() && recovered.was_repaired().map_err(unusable)? {
        recovered.forget_repair().map_err(unusable)?;
    }
    Ok(recovered)
}

fn replay(dir: &Path, recovered: &mut Recovered, engine: &mut Engine) -> Result<u64, StartError> {
    let bytes = recovered.bytes();
    if bytes > 0 {
        tracing::info!(dir = %dir.display(), bytes, "replaying the journal");
    }
    let mut told = 0_u64;
    let revived = revive::replay(recovered, engine, |records, seen| {
        if seen - told >= PROGRESS_BYTES {
            told = seen;
            tracing::info!(records, bytes = seen, of = bytes, "replaying the journal");
        }
    });
    let records = match revived {
        Ok(records) => records,
        Err(revive::ReviveError::Open(error)) => return Err(error.into()),
        Err(revive::ReviveError::Incomplete { records, problem }) => {
            let unreadable = |cause| StartError::DataDir {
                dir: dir.to_owned(),
                cause,
            };
            if !recovered.was_repaired().map_err(unreadable)? {
                let dir = dir.to_owned();
                return Err(StartError::Replay { dir, problem });
            }
            tracing::warn!(%problem, "the journal was repaired: what its missing segments held is lost");
            engine.accept_loss();
            records
        }
    };
    if let Some(torn) = recovered.torn() {
        tracing::warn!(
            file = torn.file,
            offset = torn.offset,
            "the end of the journal was being written when it ended; nothing acknowledged is lost"
        );
    }
    if records > 0 {
        tracing::info!(records, "the journal is replayed");
    }
    Ok(records)
}

/// What a journal holds that a start would accept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Records replayed.
    pub records: u64,
    /// Queues that there are then.
    pub queues: u64,
    /// Tasks that there are then, whatever their state.
    pub tasks: u64,
    /// The number of shards that it was made with.
    pub shards: u16,
    /// Where the tail is torn that the next start would cut.
    pub torn: Option<String>,
}

/// Checks a journal as a start would, every frame and every record, and changes nothing. Takes its
/// lock meanwhile.
///
/// # Errors
/// As a start: where it is in use, damaged, unreadable, or its records make no sense together.
pub fn verify(dir: &Path) -> Result<Verified, StartError> {
    let storage = DirStorage::existing(dir).map_err(|cause| StartError::DataDir {
        dir: dir.to_owned(),
        cause,
    })?;
    let storage: Arc<dyn Storage> = Arc::new(storage);
    let open = |tag| journal::open(Arc::clone(&storage), Options::new(0, tag));
    let mut recovered = match open(Config::default().shard_count) {
        Err(OpenError::WrongTag { found, .. }) => open(found)?,
        opened => opened?,
    };
    let shards = recovered.tag();
    let config = Config {
        shard_count: shards,
        ..Config::default()
    };
    let mut engine = Engine::new(engine_config(&config, 0)?);
    let records = replay(dir, &mut recovered, &mut engine)?;
    let ledgers: Vec<_> = (0..shards)
        .filter_map(|shard| engine.ledger(ShardId(shard)))
        .collect();
    let torn = recovered.torn();
    Ok(Verified {
        records,
        queues: ledgers.iter().map(|l| l.queue_count() as u64).sum(),
        tasks: ledgers.iter().map(|l| l.task_count() as u64).sum(),
        shards,
        torn: torn.map(|torn| format!("{} at byte {}", torn.file, torn.offset)),
    })
}

fn random() -> Result<u64, StartError> {
    SysRng
        .try_next_u64()
        .map_err(|e| StartError::Randomness(e.to_string()))
}

fn engine_config(config: &Config, seed: u64) -> Result<EngineConfig, StartError> {
    let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let unknown = || ConfigError {
        flag: "--default-policy",
        problem: format!("there is no policy {:?}", config.default_policy),
    };
    Ok(EngineConfig {
        shard_count: config.shard_count,
        seed,
        default_policy: presets::named(&config.default_policy).ok_or_else(unknown)?,
        ping_ms: ms(config.ping_interval),
        grace_ms: ms(config.grace),
        hard_margin_ms: ms(config.hard_timeout_margin()),
        memory_bytes_max: config.memory_limit_bytes,
        finished_retention_ms: limits::FINISHED_RETENTION_MS,
        finished_per_queue_max: limits::FINISHED_PER_QUEUE_MAX,
        aging_ms: limits::AGING_MS_DEFAULT,
    })
}
