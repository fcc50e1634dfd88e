//! `redrive demo`: the whole product on one screen, with real processes and real sockets.
//!
//! Owns the order of the demo and its exit code. A coordinator and three workers are started as
//! child processes of this binary, an upstream that misbehaves in eight ways in this one; webhooks
//! are delivered, a worker is killed and then the coordinator, dead letters are redriven, and at the
//! end the books are checked. Nothing outside this machine is called, and nothing is left behind.

mod behaviour;
mod books;
mod clock;
mod coordinator;
mod facts;
mod figures;
mod input;
mod phases;
mod policy;
mod report;
mod screen;
mod stage;
mod text;
mod upstream;

use std::{io::Write as _, path::PathBuf, process::ExitCode};

use clap::ValueEnum;
use tokio::{
    signal::unix::{SignalKind, signal},
    time::Instant,
};

use books::Facts;
use facts::TaskFacts;
use figures::Summary;
use input::Input;
use phases::{Accepted, Casualties};
use screen::Screen;
use stage::{Queues, Stage};

/// The exit code where the books do not balance.
const UNBALANCED: u8 = 1;
/// The exit code after a signal, as shells have it for SIGINT.
const INTERRUPTED: u8 = 130;
/// Bad lines that are told one by one; the rest is counted.
const BAD_LINES_SHOWN: usize = 5;

const HELP: &str = "\
Deliver thousands of webhooks to a server that misbehaves, and watch what
becomes of them.

Starts a coordinator, three workers of the http runner and a small upstream
server that behaves in eight ways (resets connections, answers 429 with
Retry-After, is locked, is down for a while, rejects data, has no such page,
refuses credentials, hangs). Enqueues one task for each webhook of a file,
kills one worker with SIGKILL in the middle and then the coordinator itself,
which is started again on its journal and goes on, shows what was retried when
and beside what the policy allows, repairs the upstream, redrives the dead
letters that it now accepts, and checks its own books. Everything is on
127.0.0.1 and in a temporary directory, and is removed with the demo.

Exit codes: 0 the books balance; 1 they do not, or something failed; 130
interrupted.";

/// The flags of `redrive demo`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_long_help = HELP)]
pub(crate) struct Args {
    /// Deliver the webhooks of this JSONL file (format: cli/samples/README.md) [default: the
    /// sample that ships with the product]
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// How the result is printed on stdout
    #[arg(long, value_enum, default_value_t)]
    report: Report,
    /// Divide every duration of the retry policy "recommended" by this
    #[arg(
        long,
        value_name = "FACTOR",
        default_value_t = policy::SCALE_DEFAULT,
        value_parser = clap::value_parser!(u32).range(1..=10_000)
    )]
    scale: u32,
    /// How many deliveries each worker makes at a time
    #[arg(
        long,
        value_name = "N",
        default_value_t = 16,
        value_parser = clap::value_parser!(u16).range(1..=256)
    )]
    slots: u16,
}

/// How the result is printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Report {
    /// Tables for people
    #[default]
    Table,
    /// One JSON object
    Json,
}

/// Runs the demo to its end, or until a signal; either way everything that it started is gone when
/// it returns.
///
/// # Errors
/// Where the input cannot be used, a process does not start or ends by itself, or nothing moves.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let stopped = tokio::select! {
        code = Box::pin(perform(&args)) => return code,
        _ = interrupt.recv() => "SIGINT",
        _ = terminate.recv() => "SIGTERM",
        _ = hang_up.recv() => "SIGHUP",
    };
    // The processes died with the future that owned them.
    Screen::new().say(&format!(
        "\n{stopped}: the demo and all that it started are stopped"
    ));
    Ok(ExitCode::from(INTERRUPTED))
}

async fn perform(args: &Args) -> anyhow::Result<ExitCode> {
    let mut screen = Screen::new();
    let input = read(args, &screen)?;
    let queues = Queues::of(&input.deliveries);
    let mut stage = Stage::start(&screen, &queues, args.slots, args.scale).await?;

    let began = clock::now();
    screen.say(&format!(
        "\nenqueuing {} webhooks",
        text::grouped_len(input.deliveries.len())
    ));
    let accepted = phases::enqueue(&stage, &input.deliveries, &queues).await?;
    let mut killed = Casualties::default();
    phases::follow(&mut stage, &mut screen, &queues, Some(&mut killed)).await?;
    screen.settle();
    let first = phases::collect(&stage, &accepted, &[]).await?;
    tell_killed(&screen, &killed, &first);
    if args.report == Report::Table {
        let hits = stage.upstream.settle().await?;
        let windows = stage.windows.clone();
        let facts = Facts {
            tasks: first.clone(),
            hits,
            windows,
            ..Facts::default()
        };
        print(&report::before_redrive(
            &first,
            &figures::delay_rows(&facts),
        ))?;
    }

    let redriven = phases::redrive(&stage, &screen, &first).await?;
    phases::follow(&mut stage, &mut screen, &queues, None).await?;
    screen.settle();
    let mut facts = gather(&stage, &accepted, &first, redriven).await?;
    facts.down = killed.coordinator;
    stage.end().await?;

    let summary = summarize(&facts, &first, began, (&input, args.scale));
    match args.report {
        Report::Table => print(&report::end(&summary))?,
        Report::Json => print(&format!("{}\n", report::json(&summary)?))?,
    }
    Ok(if summary.books_balanced {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(UNBALANCED)
    })
}

fn read(args: &Args, screen: &Screen) -> anyhow::Result<Input> {
    let (input, from) = match &args.input {
        Some(path) => (input::read(path)?, path.display().to_string()),
        None => (
            input::parse(input::SAMPLE),
            "the sample that ships with the product".to_owned(),
        ),
    };
    screen.say(&format!(
        "input        {} webhooks from {from}",
        text::grouped_len(input.deliveries.len())
    ));
    for bad in input.bad.iter().take(BAD_LINES_SHOWN) {
        screen.say(&format!("             skipped {bad}"));
    }
    let more = input.bad.len().saturating_sub(BAD_LINES_SHOWN);
    if more > 0 {
        screen.say(&format!(
            "             skipped {} more lines",
            text::grouped_len(more)
        ));
    }
    if input.left_out > 0 {
        screen.say(&format!(
            "             left out {} lines beyond the first {} deliveries",
            text::grouped_len(input.left_out),
            text::grouped_len(input::DELIVERIES_MAX)
        ));
    }
    Ok(input)
}

fn tell_killed(screen: &Screen, casualties: &Casualties, tasks: &[TaskFacts]) {
    match &casualties.coordinator {
        Some(down) => screen.say(&books::says_of_outage(tasks, down)),
        None => screen.say("the coordinator was not killed: the work was done before"),
    }
    let Some(killed) = &casualties.worker else {
        screen.say("no worker was killed: the work was done before one could be caught at it");
        return;
    };
    let runs = tasks.iter().flat_map(|task| &task.runs);
    let lost = runs
        .filter(|run| figures::lost_with(run, &killed.worker_id))
        .count();
    screen.say(&format!(
        "{} held {} tasks when it was killed; {} runs ended with it",
        killed.worker_id,
        killed.held,
        text::grouped_len(lost)
    ));
}

async fn gather(
    stage: &Stage,
    accepted: &[Accepted],
    first: &[TaskFacts],
    redriven: u64,
) -> anyhow::Result<Facts> {
    Ok(Facts {
        enqueued: u64::try_from(accepted.len())?,
        tasks: phases::collect(stage, accepted, first).await?,
        queues: phases::totals(stage).await?,
        hits: stage.upstream.settle().await?,
        windows: stage.windows.clone(),
        redriven,
        down: None,
    })
}

fn summarize(
    facts: &Facts,
    first: &[TaskFacts],
    began: Instant,
    (input, scale): (&Input, u32),
) -> Summary {
    let books = books::audit(facts);
    let behaviours = figures::rows(&facts.tasks);
    let all = behaviours.last().cloned().unwrap_or_default();
    Summary {
        tasks: all.tasks,
        succeeded: all.succeeded,
        failed: all.failed,
        dead: figures::dead_by_reason(&facts.tasks),
        attempts: all.attempts,
        retries: all.retries,
        crashes: all.crashes,
        books_balanced: books::balanced(&books),
        dead_before_redrive: figures::dead_by_reason(first),
        redriven: facts.redriven,
        coordinator_killed: facts.down.is_some(),
        coordinator_down_ms: facts
            .down
            .map_or(0, |down| figures::millis(down.unanswered)),
        bad_lines: input.bad.len(),
        scale,
        seconds: clock::now().duration_since(began).as_secs_f64(),
        behaviours,
        delays: figures::delay_rows(facts),
        dead_letters: figures::dead_rows(&facts.tasks),
        books,
    }
}

fn print(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}
