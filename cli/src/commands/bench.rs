//! `bench`: measures a coordinator, checks itself, and prints what it found.
//!
//! Owns the flags, their limits and the exit code; `crate::bench` measures.

use std::{env, net::SocketAddr, path::PathBuf, process::ExitCode, time::Duration};

use bytes::Bytes;
use clap::Args;
use redrive_client::{Address, connect, limits::PAYLOAD_BYTES_MAX};
use redrive_coordinator::journal::Durability;
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    bench::{
        self, bare,
        holder::{self, Holding},
        meter::Timeline,
        phase::{self, Phase},
        report,
        settings::Settings,
        target,
    },
    clock,
    context::Context,
    descriptors, exit,
    output::{self, human},
    values,
};

/// How long killed processes may take to let go of their directory.
const LET_GO: Duration = Duration::from_millis(100);

const HELP: &str = "\
Each run of each phase has a fresh coordinator of its own, a child process with
a directory of its own, both gone at the end. With --address (or
REDRIVE_ADDRESS) a running one is measured instead: its queues named bench-..
stay, and its CPU and memory cannot be told.

Every phase that moves tasks checks itself: the ids that were answered to the
producers are compared with those that the workers completed, and with the
coordinator's own counts. Exit code 1: a task was lost or done twice.

What the figures mean: docs/performance.md

Examples:
  redrive bench                            # less than a minute
  redrive bench drain steady --runs 5 -o json
  redrive bench baseline enqueue --connections 4 --payload 1KiB
  redrive bench latency --rate 2000 --duration 30s
  redrive bench sync --data-dir /var/lib/redrive";

/// The flags of `bench`.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct BenchArgs {
    /// What to measure [default: sync baseline enqueue drain steady latency]
    #[arg(value_enum, value_name = "PHASE")]
    phases: Vec<Phase>,
    /// Tasks of each phase (or syncs, or idle workers); calls one by one take a share of them
    /// [default: what suits the phase]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    tasks: Option<u64>,
    /// Bytes of each task's payload
    #[arg(long, value_name = "SIZE", default_value = "100", value_parser = payload)]
    payload: usize,
    /// Connections of producers
    #[arg(
        long,
        value_name = "N",
        default_value_t = 2,
        value_parser = clap::value_parser!(u16).range(1..=64)
    )]
    connections: u16,
    /// Workers, each with a connection of its own and room for 1,000 tasks
    #[arg(
        long,
        value_name = "N",
        default_value_t = 2,
        value_parser = clap::value_parser!(u16).range(1..=64)
    )]
    workers: u16,
    /// Queues that the tasks are spread over
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1,
        value_parser = clap::value_parser!(u16).range(1..=64)
    )]
    queues: u16,
    /// Give each task an idempotency key of its own
    #[arg(long)]
    keys: bool,
    /// Tasks a second of latency, and of the other queue of timers
    #[arg(
        long,
        value_name = "N",
        default_value_t = 500,
        value_parser = clap::value_parser!(u32).range(1..=100_000)
    )]
    rate: u32,
    /// How long latency goes on, and idle workers are watched; at most 1 h
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    duration: Duration,
    /// How often each task of retries fails before it succeeds
    #[arg(
        long,
        value_name = "N",
        default_value_t = 3,
        value_parser = clap::value_parser!(u32).range(1..=100)
    )]
    failures: u32,
    /// Runs of each phase; medians are told
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(1..=99)
    )]
    runs: u32,
    /// Let backlog go on to ten million tasks
    #[arg(long)]
    full: bool,
    /// Where everything that is written to disk goes, into a directory that is removed at the end
    /// [default: the temporary directory]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// What the own coordinator promises of an accepted task [default: always]
    #[arg(long, value_name = "LEVEL", value_parser = values::durability())]
    durability: Option<Durability>,
    /// Be the bare server of the baseline there; the bench starts it itself
    #[arg(long, value_name = "IP:PORT", hide = true)]
    serve_bare: Option<SocketAddr>,
    /// Be the workers of `idle` there, `--tasks` of them; the bench starts them itself
    #[arg(long, value_name = "HOST:PORT", hide = true)]
    hold_idle: Option<Address>,
    /// For how many tasks each of them has room
    #[arg(long, value_name = "N", hide = true, default_value_t = 1)]
    hold_room: u32,
}

/// Runs the phases, or until a signal; either way everything that was started is gone when it
/// returns.
pub(crate) async fn run(context: &Context, args: BenchArgs) -> anyhow::Result<ExitCode> {
    descriptors::raise_limit();
    let payload = payload_bytes(args.payload);
    if let Some(listen) = args.serve_bare {
        bare::serve(listen, payload).await?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(address) = args.hold_idle {
        holder::hold(&Holding {
            address,
            namespace: context.global.namespace.clone(),
            workers: args.tasks.unwrap_or(1),
            room: args.hold_room,
        })
        .await?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut settings = settings(context, &args, payload)?;
    let home = target::own_dir(&settings)?;
    home.path().clone_into(&mut settings.data_dir);
    if let Some(address) = &settings.address {
        output::note(&format!(
            "the coordinator at {address} is measured; it is given tasks in queues named bench-{}-..",
            settings.tag
        ));
    }
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let outcomes = tokio::select! {
        outcomes = Box::pin(bench::run(&settings)) => outcomes,
        name = async {
            tokio::select! {
                _ = interrupt.recv() => "SIGINT",
                _ = terminate.recv() => "SIGTERM",
                _ = hang_up.recv() => "SIGHUP",
            }
        } => {
            // The children were killed with the future that owned them.
            output::note(&format!("{name}: the bench and all that it started are stopped"));
            clock::pause(LET_GO).await;
            home.close()?;
            return Ok(ExitCode::from(exit::INTERRUPTED));
        }
    };
    let outcomes = match outcomes {
        Ok(outcomes) => outcomes,
        Err(error) => {
            clock::pause(LET_GO).await;
            return Err(error);
        }
    };
    let json = report::json(&settings, &outcomes);
    context
        .out
        .report(&json, |style| report::text(style, &settings, &outcomes))?;
    home.close()?;
    Ok(if outcomes.ok() {
        ExitCode::SUCCESS
    } else {
        output::note("redrive: the self-check failed: tasks were lost or done twice, see above");
        ExitCode::from(exit::OTHER)
    })
}

fn settings(context: &Context, args: &BenchArgs, payload: Bytes) -> anyhow::Result<Settings> {
    let address = context.global.address.clone();
    let phases = phase::chosen(&args.phases);
    let durability = durability(args, address.is_some())?;
    check_phases(&phases, address.is_some(), durability)?;
    let data_dir = args.data_dir.clone().unwrap_or_else(env::temp_dir);
    if !data_dir.is_dir() {
        return Err(exit::usage(format!(
            "--data-dir {} is no directory; make it, or name another one",
            data_dir.display()
        )));
    }
    Ok(Settings {
        phases,
        address,
        namespace: context.global.namespace.clone(),
        data_dir,
        durability,
        payload,
        connections: usize::from(args.connections),
        workers: usize::from(args.workers),
        queues: usize::from(args.queues),
        keys: args.keys,
        tasks: args.tasks,
        duration: args.duration,
        rate: args.rate,
        failures: args.failures,
        runs: args.runs,
        full: args.full,
        tag: format!("{:x}", connect::os_seed()? >> 32),
        timeline: Timeline::begin(),
    })
}

/// What an own coordinator is told about durability; a running one has its own.
fn durability(args: &BenchArgs, running: bool) -> anyhow::Result<Option<Durability>> {
    match args.durability {
        Some(_) if running => Err(exit::usage(
            "--durability is for a coordinator that the bench starts itself; the running one has \
             its own: leave out --durability, or --address (and REDRIVE_ADDRESS)",
        )),
        None if running => Ok(None),
        durability => Ok(durability.or(Some(Durability::Always))),
    }
}

/// Refuses phases that cannot be measured so.
fn check_phases(
    phases: &[Phase],
    running: bool,
    durability: Option<Durability>,
) -> anyhow::Result<()> {
    let own = phases.iter().find(|phase| phase.needs_own_coordinator());
    if let (Some(phase), true) = (own, running) {
        return Err(exit::usage(format!(
            "{} needs a coordinator that the bench starts itself; leave out --address (and \
             REDRIVE_ADDRESS), or the phase",
            phase.name()
        )));
    }
    let kept = match durability {
        Some(Durability::Always | Durability::Interval) => true,
        Some(Durability::Memory) | None => false,
    };
    if phases.contains(&Phase::Recovery) && !kept {
        return Err(exit::usage(
            "recovery needs a coordinator that keeps tasks on disk (--durability always or \
             interval); leave the phase out",
        ));
    }
    Ok(())
}

/// Bytes that say nothing and do not compress.
fn payload_bytes(len: usize) -> Bytes {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let byte = |_| {
        // xorshift64: cheap, and the same every time.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..len).map(byte).collect()
}

fn payload(text: &str) -> Result<usize, String> {
    let size = values::size(text)?;
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    if size > PAYLOAD_BYTES_MAX {
        return Err(format!(
            "is more than a task's payload may have, {PAYLOAD_BYTES_MAX} bytes (1 MiB); give less"
        ));
    }
    Ok(size)
}

fn duration(text: &str) -> Result<Duration, String> {
    const LEAST: Duration = Duration::from_millis(100);
    const MOST: Duration = Duration::from_secs(3_600);
    let span = values::duration(text)?;
    if (LEAST..=MOST).contains(&span) {
        return Ok(span);
    }
    Err(format!(
        "is not between {} and {}; write for example 30s",
        human::span(LEAST),
        human::span(MOST)
    ))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Only {
        #[command(flatten)]
        args: BenchArgs,
    }

    fn parse(flags: &[&str]) -> Result<BenchArgs, String> {
        let words = ["bench"].iter().chain(flags);
        let only = Only::try_parse_from(words).map_err(|error| error.to_string());
        only.map(|only| only.args)
    }

    #[test]
    fn what_cannot_be_is_refused_with_the_flag_the_limit_and_the_remedy() {
        for (flags, parts) in [
            (
                &["--payload", "2MiB"][..],
                &["--payload", "1 MiB", "give less"][..],
            ),
            (
                &["--duration", "2h"],
                &["--duration", "100ms and 1h", "30s"],
            ),
            (&["--workers", "65"], &["--workers", "1..=64"]),
            (&["--tasks", "0"], &["--tasks", "1..=10000000"]),
            (&["--rate", "0"], &["--rate", "1..=100000"]),
            (&["speed"], &["speed", "sync", "recovery"]),
        ] {
            let told = parse(flags).unwrap_err();
            for part in parts {
                assert!(told.contains(part), "{flags:?}: {told}");
            }
        }
    }

    #[test]
    fn durability_is_always_where_nothing_else_is_said() {
        let of = |flags: &[&str], running| {
            let found = durability(&parse(flags).unwrap(), running);
            found.map_err(|error| error.to_string())
        };
        let memory = &["--durability", "memory"];
        assert_eq!(of(&[], false), Ok(Some(Durability::Always)));
        assert_eq!(of(&[], true), Ok(None));
        assert_eq!(of(memory, false), Ok(Some(Durability::Memory)));
        assert!(of(memory, true).unwrap_err().contains("--address"));
    }

    #[test]
    fn phases_that_cannot_be_measured_so_are_refused_with_the_remedy() {
        let check = |phase, running, durability| {
            let checked = check_phases(&[phase], running, durability);
            checked.map_err(|error| error.to_string())
        };
        assert_eq!(check(Phase::Drain, true, None), Ok(()));
        assert!(
            check(Phase::Memory, true, None)
                .unwrap_err()
                .contains("--address")
        );
        assert!(
            check(Phase::Recovery, false, None)
                .unwrap_err()
                .contains("--durability")
        );
        assert_eq!(
            check(Phase::Recovery, false, Some(Durability::Always)),
            Ok(())
        );
    }

    #[test]
    fn payloads_have_their_size_and_do_not_repeat() {
        let bytes = payload_bytes(64);
        assert_eq!(bytes.len(), 64);
        assert_ne!(bytes[..32], bytes[32..]);
        assert!(payload_bytes(0).is_empty());
    }
}
