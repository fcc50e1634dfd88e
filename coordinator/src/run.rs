//! Starting and stopping a coordinator: the one place where all its parts meet.
//!
//! Owns the order of the start (settings, addresses, journal, engine, server) and hands the order
//! of the stop to `shell::shutdown`. Never decides anything at run time. Invariants: addresses are
//! taken before anything is begun, so that a start that fails has done nothing; nothing of a
//! coordinator is global, so that several run in one process.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, ConfigError};
use crate::engine::ledger::ReplayError;
use crate::journal::{JournalError, OpenError};
use crate::server::http::{self, Shown, ShownEngine};
use crate::shell::cleaner::Cleaner;
use crate::shell::shutdown::{Phase, ShutDown, StopError};
use crate::shell::start::Started;
pub use crate::shell::start::{Verified, verify};
use crate::shell::thread::{EngineEnded, EngineThread};
use crate::telemetry::Telemetry;
use crate::{server, shell};

/// The version of this coordinator.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// How often the histograms are tidied up.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Why a coordinator did not start. Nothing of it is left.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting cannot be.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// An address cannot be taken.
    #[error("{flag}: cannot listen on {address}: {cause}; {remedy}")]
    Listen {
        /// Which setting.
        flag: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the machine said.
        cause: io::Error,
        /// What to do.
        remedy: &'static str,
    },
    /// The machine gives no randomness.
    #[error("the machine gives no randomness: {0}")]
    Randomness(String),
    /// The journal's directory cannot be used.
    #[error("--data-dir: cannot use {}: {cause}; choose a directory that this user can write to", .dir.display())]
    DataDir {
        /// Which directory.
        dir: PathBuf,
        /// What the machine said.
        cause: io::Error,
    },
    /// The journal was made with another number of shards.
    #[error(
        "--shards: {} was made with {found} shards, which is fixed; start with --shards {found}, or \
         give another --data-dir for {asked}",
        .dir.display()
    )]
    Shards {
        /// Which directory.
        dir: PathBuf,
        /// What it was made with.
        found: u16,
        /// What was asked for.
        asked: u16,
    },
    /// The journal cannot be opened: in use, damaged, or unreadable.
    #[error("--data-dir: {0}")]
    Open(OpenError),
    /// The journal's records do not make sense together. No frame is damaged, so that a repair has
    /// nothing to cut.
    #[error(
        "--data-dir: {}: {problem}; a repair cannot help: restore the directory from a backup",
        .dir.display()
    )]
    Replay {
        /// Which directory.
        dir: PathBuf,
        /// What is wrong.
        problem: ReplayError,
    },
    /// A bug: the log has the panic's message.
    #[error("the start panicked; its message is in the log")]
    Panicked,
    /// The machine gives no thread or timer.
    #[error("the engine's thread cannot be started: {0}")]
    Thread(io::Error),
    /// The metrics cannot be set up.
    #[error("the metrics cannot be set up: {0}")]
    Telemetry(String),
    /// The journal failed.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

impl From<OpenError> for StartError {
    // By hand: as a source it would be told twice, in this error's words and by itself.
    fn from(error: OpenError) -> Self {
        Self::Open(error)
    }
}

impl StartError {
    /// Whether the journal is damaged: somebody has to decide what is to be lost.
    #[must_use]
    pub const fn is_damage(&self) -> bool {
        matches!(
            self,
            Self::Open(OpenError::Corrupt { .. } | OpenError::Refused { .. }) | Self::Replay { .. }
        )
    }
}

/// Why a coordinator that was started runs no more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    /// The engine has ended. Nothing is told to anybody any more; the process should end.
    #[error(transparent)]
    Engine(#[from] EngineEnded),
    /// gRPC is served no more.
    #[error("gRPC is served no more: {0}")]
    Server(String),
}

/// A coordinator that runs. Dropping it ends it at once; see [`Running::stop`].
#[derive(Debug)]
pub struct Running {
    grpc_addr: SocketAddr,
    http_addr: SocketAddr,
    deadline: Duration,
    phase: watch::Sender<Phase>,
    engine: EngineThread,
    server_stop: CancellationToken,
    server: JoinSet<Result<(), String>>,
    http_stop: CancellationToken,
    http: JoinSet<()>,
}

/// Starts a coordinator. It is ready when this returns.
///
/// # Errors
/// Where a setting cannot be, an address is in use, or the machine refuses something.
pub async fn start(config: Config) -> Result<Running, StartError> {
    config.check()?;
    let grpc = listen("--listen", config.listen).await?;
    let http = listen("--http-listen", config.http_listen).await?;
    let (grpc_addr, http_addr) = (
        address_of("--listen", &grpc)?,
        address_of("--http-listen", &http)?,
    );

    let telemetry = Telemetry::new(VERSION).map_err(|e| StartError::Telemetry(e.to_string()))?;
    let telemetry = Arc::new(telemetry);
    let (phase, phased) = watch::channel(Phase::Starting);
    let (server_stop, http_stop) = (CancellationToken::new(), CancellationToken::new());

    // Probes are answered while a long journal is replayed.
    let mut others = JoinSet::new();
    let shown = Shown::starting(Arc::clone(&telemetry), phased);
    let (engine_shown, stop) = (Arc::clone(&shown.engine), http_stop.clone());
    others.spawn(http::serve(http, shown, stop));

    let (settings, metrics) = (config.clone(), Arc::clone(&telemetry));
    let started = tokio::task::spawn_blocking(move || shell::start::start(&settings, metrics));
    let started = started.await.unwrap_or(Err(StartError::Panicked));
    let Started {
        thread,
        inbox,
        files,
    } = match started {
        Ok(started) => started,
        Err(error) => {
            // Its address is free again when the caller hears of it.
            others.shutdown().await;
            return Err(error);
        }
    };

    let mut server = JoinSet::new();
    let facts = inbox.facts().clone();
    let (asked, metrics, stop) = (inbox.clone(), Arc::clone(&telemetry), server_stop.clone());
    let served = server::serve(grpc, asked, facts, metrics, stop);
    server.spawn(async move { served.await.map_err(|error| error.to_string()) });

    if let Some(files) = &files {
        let cleaner = Cleaner::new(inbox.clone(), files.clone(), config.segment_bytes);
        others.spawn(cleaner.run());
    }
    others.spawn(async move { keep_up(&telemetry).await });
    engine_shown.get_or_init(|| ShownEngine { inbox, files });

    phase.send_replace(Phase::Ready);
    tracing::info!(grpc = %grpc_addr, http = %http_addr, version = VERSION, "ready");
    Ok(Running {
        grpc_addr,
        http_addr,
        deadline: config.shutdown_deadline,
        phase,
        engine: thread,
        server_stop,
        server,
        http_stop,
        http: others,
    })
}

impl Running {
    /// Where gRPC is served.
    #[must_use]
    pub const fn grpc_addr(&self) -> SocketAddr {
        self.grpc_addr
    }

    /// Where health, readiness and metrics are served.
    #[must_use]
    pub const fn http_addr(&self) -> SocketAddr {
        self.http_addr
    }

    /// Waits until the coordinator has failed; for ever while it is well. Dropping the future loses
    /// nothing.
    pub async fn failed(&mut self) -> RunError {
        tokio::select! {
            ended = self.engine.ended() => match ended {
                Err(error) => RunError::Engine(error),
                Ok(()) => RunError::Server("the engine was told to end".to_owned()),
            },
            Some(served) = self.server.join_next() => match served {
                Ok(Ok(())) => RunError::Server("the listener ended".to_owned()),
                Ok(Err(error)) => RunError::Server(error),
                Err(panicked) => RunError::Server(panicked.to_string()),
            },
        }
    }

    /// Stops gracefully: workers are told to reconnect elsewhere or later, calls under way are
    /// answered, the journal is flushed; whoever does not let go is cut off. Takes no longer than
    /// the shutdown deadline.
    ///
    /// # Errors
    /// Where the engine had failed, or the journal could not be flushed in time.
    pub async fn stop(self) -> Result<(), StopError> {
        let Self {
            deadline,
            phase,
            mut engine,
            server_stop,
            mut server,
            http_stop,
            ..
        } = self;
        let mut http = self.http;
        tracing::info!(?deadline, "stopping");
        let signals = engine.signals.clone();
        let shut_down = ShutDown {
            phase: &phase,
            server: &server_stop,
            signals: &signals,
            deadline,
        };
        // Dropped with what is left in it: connections that do not end are cut off.
        let quiet = async move { while server.join_next().await.is_some() {} };
        let stopped = shut_down.run(quiet, async { engine.ended().await }).await;
        http_stop.cancel();
        http.shutdown().await;
        stopped
    }
}

async fn listen(flag: &'static str, address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address)
        .await
        .map_err(|cause| cannot_listen(flag, address, cause))
}

fn address_of(flag: &'static str, listener: &TcpListener) -> Result<SocketAddr, StartError> {
    let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
    listener
        .local_addr()
        .map_err(|cause| cannot_listen(flag, nowhere, cause))
}

fn cannot_listen(flag: &'static str, address: SocketAddr, cause: io::Error) -> StartError {
    let remedy = if cause.kind() == io::ErrorKind::AddrInUse {
        "stop whatever listens there (another coordinator?), or choose another port"
    } else if cause.kind() == io::ErrorKind::PermissionDenied {
        "ports below 1024 are the administrator's; choose a higher one"
    } else if cause.kind() == io::ErrorKind::AddrNotAvailable {
        "this machine has no such address; choose one of its own, or 0.0.0.0 for all of them"
    } else {
        "choose another address"
    };
    StartError::Listen {
        flag,
        address,
        cause,
        remedy,
    }
}

/// Keeps the histograms small between scrapes.
async fn keep_up(telemetry: &Telemetry) {
    let mut beat = tokio::time::interval(UPKEEP_INTERVAL);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        beat.tick().await;
        telemetry.upkeep();
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    fn anywhere() -> Config {
        let free = SocketAddr::from(([127, 0, 0, 1], 0));
        Config {
            listen: free,
            http_listen: free,
            ..Config::default()
        }
    }

    async fn get(address: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head = format!("GET {path} HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    }

    #[tokio::test]
    async fn coordinators_start_on_free_ports_side_by_side_and_stop() {
        let (one, two) = (
            start(anywhere()).await.unwrap(),
            start(anywhere()).await.unwrap(),
        );
        let addresses = [
            one.grpc_addr(),
            one.http_addr(),
            two.grpc_addr(),
            two.http_addr(),
        ];
        assert!(addresses.iter().all(|address| address.port() != 0));
        for running in [&one, &two] {
            assert!(
                get(running.http_addr(), "/readyz")
                    .await
                    .starts_with("HTTP/1.1 200")
            );
            let metrics = get(running.http_addr(), "/metrics").await;
            assert!(metrics.contains("redrive_memory_limit_bytes "), "{metrics}");
        }
        one.stop().await.unwrap();
        assert!(
            TcpStream::connect(addresses[1]).await.is_err(),
            "the first is gone"
        );
        assert!(
            get(two.http_addr(), "/healthz")
                .await
                .starts_with("HTTP/1.1 200")
        );
        two.stop().await.unwrap();
    }

    #[tokio::test]
    async fn an_address_in_use_is_named_with_the_flag_to_change() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let told = start(Config {
            listen: address,
            ..anywhere()
        })
        .await
        .unwrap_err()
        .to_string();
        assert!(
            told.starts_with(&format!("--listen: cannot listen on {address}: ")),
            "{told}"
        );
        assert!(told.ends_with("or choose another port"), "{told}");
        let config = Config {
            http_listen: address,
            ..anywhere()
        };
        let told = start(config).await.unwrap_err().to_string();
        assert!(told.starts_with("--http-listen: "), "{told}");
    }

    #[tokio::test]
    async fn settings_that_cannot_be_are_refused_before_anything_is_begun() {
        let config = Config {
            shard_count: 0,
            ..anywhere()
        };
        assert!(matches!(start(config).await, Err(StartError::Config(_))));
    }

    #[tokio::test]
    async fn a_client_that_says_nothing_does_not_hold_up_the_stop() {
        let config = Config {
            shutdown_deadline: Duration::from_millis(200),
            ..anywhere()
        };
        let running = start(config).await.unwrap();
        let silent = TcpStream::connect(running.grpc_addr()).await.unwrap();
        running.stop().await.unwrap();
        drop(silent);
    }

    #[tokio::test]
    async fn an_engine_that_ends_is_noticed() {
        let mut running = start(anywhere()).await.unwrap();
        running.engine.signals.end.cancel();
        let told = running.failed().await;
        assert_eq!(
            told,
            RunError::Server("the engine was told to end".to_owned())
        );
    }
}
