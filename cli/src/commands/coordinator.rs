//! `coordinator`: runs a coordinator until a signal says otherwise.
//!
//! Owns the flags and the way down: the first signal stops in good order, the second one at once.

use std::{net::SocketAddr, process::ExitCode, time::Duration};

use clap::Args;
use redrive_coordinator::{
    config::Config,
    run::{self, Running},
};

use crate::{
    context::Context,
    exit,
    signals::{self, Signals},
    values,
};

const HELP: &str = "\
SIGTERM or SIGINT stops in good order within the shutdown deadline: workers are
told to reconnect, what waits is answered. A second signal stops at once.

Tasks are kept in memory: they are gone when the coordinator ends.

Examples:
  redrive coordinator
  redrive coordinator --listen 0.0.0.0:7480 --insecure --memory-limit 8GiB
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
            ..default
        }
    }
}

pub(crate) async fn run(_context: &Context, args: CoordinatorArgs) -> anyhow::Result<ExitCode> {
    let insecure = args.insecure;
    let config = Config {
        insecure,
        ..args.settings.config(args.listen, args.http_listen)
    };
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
        ]);
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
