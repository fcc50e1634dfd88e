//! `coordinator`: runs a coordinator until a signal says otherwise.
//!
//! Owns the flags and the way down: the first signal stops in good order, the second one at once.

use std::{net::SocketAddr, path::PathBuf, process::ExitCode, time::Duration};

use clap::Args;
use redrive_coordinator::{
    config::Config,
    journal::Durability,
    run::{self, Running},
};

use crate::{
    context::Context,
    descriptors, exit,
    signals::{self, Signals},
    values,
};

const HELP: &str = "\
SIGTERM or SIGINT stops in good order within the shutdown deadline: workers are
told to reconnect, what waits is answered. A second signal stops at once.

What --durability means, and what is lost (docs/durability.md):
  always    accepted = synced to disk; survives a power cut (the default)
  interval  accepted = written, synced every --sync-interval; survives kill -9,
            a power cut loses at most the last interval
  memory    nothing is kept: everything is gone when the coordinator ends

Ends with 78 where the journal is damaged: it says what would be lost, and
`redrive journal repair` accepts that.

Examples:
  redrive coordinator --data-dir /var/lib/redrive
  redrive coordinator --data-dir data --listen 0.0.0.0:7480 --insecure
  redrive coordinator --durability memory
  curl http://127.0.0.1:7481/metrics";

/// The flags of `coordinator`.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct CoordinatorArgs {
    /// Where gRPC is served
    #[arg(
        long,
        env = "REDRIVE_LISTEN",
        hide_env_values = true,
        default_value = "127.0.0.1:7480",
        value_name = "IP:PORT"
    )]
    listen: SocketAddr,
    /// Where health, readiness and metrics are served over HTTP
    #[arg(
        long,
        env = "REDRIVE_HTTP_LISTEN",
        hide_env_values = true,
        default_value = "127.0.0.1:7481",
        value_name = "IP:PORT"
    )]
    http_listen: SocketAddr,
    #[command(flatten)]
    settings: SettingsArgs,
    /// Listen beyond loopback although whoever reaches it may do anything
    #[arg(long, env = "REDRIVE_INSECURE", hide_env_values = true)]
    insecure: bool,
}

/// The settings that a coordinator and `dev` share.
#[derive(Debug, Args)]
pub(crate) struct SettingsArgs {
    /// How much memory tasks may take; enqueues are refused above 80% of it [default: half of the
    /// machine's, or of the cgroup's]
    #[arg(
        long,
        env = "REDRIVE_MEMORY_LIMIT",
        hide_env_values = true,
        value_parser = values::size,
        value_name = "SIZE"
    )]
    memory_limit: Option<u64>,
    /// How often a worker that holds work is pinged
    #[arg(
        long,
        env = "REDRIVE_PING_INTERVAL",
        hide_env_values = true,
        default_value = "5s",
        value_parser = values::duration,
        value_name = "TIME"
    )]
    ping_interval: Duration,
    /// How long a worker's silence is borne before its tasks go to others
    #[arg(
        long,
        env = "REDRIVE_GRACE",
        hide_env_values = true,
        default_value = "30s",
        value_parser = values::duration,
        value_name = "TIME"
    )]
    grace: Duration,
    /// The retry policy of tasks and queues that name none
    #[arg(
        long,
        env = "REDRIVE_DEFAULT_POLICY",
        hide_env_values = true,
        default_value = "recommended",
        value_name = "NAME"
    )]
    default_policy: String,
    /// How long stopping in good order may take
    #[arg(
        long,
        env = "REDRIVE_SHUTDOWN_DEADLINE",
        hide_env_values = true,
        default_value = "25s",
        value_parser = values::duration,
        value_name = "TIME"
    )]
    shutdown_deadline: Duration,
    /// Parts that the state is cut into
    #[arg(
        long,
        env = "REDRIVE_SHARDS",
        hide_env_values = true,
        default_value_t = 16,
        value_name = "N"
    )]
    shards: u16,
    #[command(flatten)]
    journal: JournalArgs,
}

/// Where and how tasks are remembered.
#[derive(Debug, Args)]
pub(crate) struct JournalArgs {
    /// The directory of the journal, made where it is missing
    #[arg(
        long,
        env = "REDRIVE_DATA_DIR",
        hide_env_values = true,
        value_name = "DIR"
    )]
    data_dir: Option<PathBuf>,
    /// What an accepted task survives [default: always; without --data-dir `dev` uses memory]
    #[arg(
        long,
        env = "REDRIVE_DURABILITY",
        hide_env_values = true,
        value_parser = values::durability(),
        value_name = "LEVEL"
    )]
    durability: Option<Durability>,
    /// How often the journal is synced with --durability interval
    #[arg(
        long,
        env = "REDRIVE_SYNC_INTERVAL",
        hide_env_values = true,
        default_value = "10ms",
        value_parser = values::duration,
        value_name = "TIME"
    )]
    sync_interval: Duration,
    /// How large a file of the journal is; an empty journal takes three of them
    #[arg(
        long,
        env = "REDRIVE_SEGMENT_SIZE",
        hide_env_values = true,
        default_value = "64MiB",
        value_parser = values::size,
        value_name = "SIZE"
    )]
    segment_size: u64,
}

impl SettingsArgs {
    /// The config of a coordinator at these addresses.
    pub(crate) fn config(self, listen: SocketAddr, http_listen: SocketAddr) -> Config {
        let default = Config::default();
        Config {
            listen,
            http_listen,
            memory_limit_bytes: self.memory_limit.unwrap_or(default.memory_limit_bytes),
            ping_interval: self.ping_interval,
            grace: self.grace,
            default_policy: self.default_policy,
            shutdown_deadline: self.shutdown_deadline,
            shard_count: self.shards,
            data_dir: self.journal.data_dir,
            durability: self.journal.durability,
            sync_interval: self.journal.sync_interval,
            segment_bytes: self.journal.segment_size,
            ..default
        }
    }
}

pub(crate) async fn run(_context: &Context, args: CoordinatorArgs) -> anyhow::Result<ExitCode> {
    let insecure = args.insecure;
    let mut config = Config {
        insecure,
        ..args.settings.config(args.listen, args.http_listen)
    };
    // Nothing is forgotten because nothing was said: memory has to be asked for.
    config.durability = config.durability.or(Some(Durability::Always));
    serve(config, |_running| Ok(())).await
}

/// Runs a coordinator until a signal or its own failure ends it. `announce` is called once, when
/// it serves.
pub(crate) async fn serve(
    config: Config,
    announce: impl FnOnce(&Running) -> anyhow::Result<()>,
) -> anyhow::Result<ExitCode> {
    config
        .check()
        .map_err(|error| exit::usage(error.to_string()))?;
    descriptors::raise_limit();
    let mut signals = Signals::listen()?;
    let mut running = run::start(config).await?;
    announce(&running)?;
    tokio::select! {
        signal = signals.next() => tracing::info!(signal, "stopping in good order"),
        error = running.failed() => return Err(error.into()),
    }
    match signals.unless_again(running.stop()).await {
        Some(stopped) => stopped.map(|()| ExitCode::SUCCESS).map_err(Into::into),
        None => Ok(signals::interrupted()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Only {
        #[command(flatten)]
        args: CoordinatorArgs,
    }

    fn config(flags: &[&str]) -> Config {
        let words = ["coordinator"].iter().chain(flags);
        let args = Only::try_parse_from(words).unwrap().args;
        Config {
            insecure: args.insecure,
            ..args.settings.config(args.listen, args.http_listen)
        }
    }

    #[test]
    fn without_flags_the_config_is_the_coordinators_own_default() {
        assert_eq!(config(&[]), Config::default());
    }

    #[test]
    fn every_flag_reaches_the_config() {
        let config = config(&[
            "--listen=[::1]:1",
            "--http-listen=[::1]:2",
            "--insecure",
            "--memory-limit=8GiB",
            "--ping-interval=1s",
            "--grace=6s",
            "--default-policy=sidekiq",
            "--shutdown-deadline=1m",
            "--shards=4",
            "--data-dir=data",
            "--durability=interval",
            "--sync-interval=5ms",
            "--segment-size=4MiB",
        ]);
        assert_eq!(config.data_dir, Some("data".into()));
        assert_eq!(config.durability, Some(Durability::Interval));
        assert_eq!(config.sync_interval, Duration::from_millis(5));
        assert_eq!(config.segment_bytes, 4 << 20);
        assert_eq!(config.listen.to_string(), "[::1]:1");
        assert_eq!(config.http_listen.to_string(), "[::1]:2");
        assert!(config.insecure);
        assert_eq!(config.memory_limit_bytes, 8 << 30);
        assert_eq!(config.ping_interval, Duration::from_secs(1));
        assert_eq!(config.grace, Duration::from_secs(6));
        assert_eq!(config.default_policy, "sidekiq");
        assert_eq!(config.shutdown_deadline, Duration::from_secs(60));
        assert_eq!(config.shard_count, 4);
    }
}
