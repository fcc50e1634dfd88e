//! `journal`: looks at the journal of a coordinator that does not run, and repairs one.
//!
//! Owns the words; what is damage and what is a torn tail the journal itself decides. Never changes
//! anything but in `repair --accept-loss`, which deletes nothing.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use redrive_coordinator::{
    journal::{
        self, Damage, DirStorage, LogVerdict, RepairError, Report, SegmentReport, SegmentVerdict,
        Storage as _,
    },
    run,
};
use serde_json::{Value, json};

use crate::{
    context::Context,
    exit,
    output::{
        self, Table, human,
        table::{Column, Style},
    },
};

const HELP: &str = "\
A torn tail (a write that was under way when the machine stopped) is no damage:
the next start cuts it, and nothing acknowledged was in it.

`inspect` looks at frames only and leaves everything alone. `verify` and
`repair` take the journal's lock, so that no coordinator starts meanwhile.

Exit codes: 0 well, or repaired; 78 it is damaged, or `repair` was not told to
accept the loss; 1 it cannot be read, is in use, or there is none.

Examples:
  redrive journal inspect /var/lib/redrive
  redrive journal verify /var/lib/redrive && redrive coordinator ...
  redrive journal repair /var/lib/redrive --accept-loss";

/// The flags of `journal`.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct JournalArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show the segments, what is in them, and what the next start makes of them
    Inspect(DirArgs),
    /// Check every frame and replay every record, as a start would
    Verify(DirArgs),
    /// Leave out everything from the first damage on; what is left out is kept beside it
    Repair(RepairArgs),
}

#[derive(Debug, Args)]
struct DirArgs {
    /// The data directory
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

#[derive(Debug, Args)]
struct RepairArgs {
    #[command(flatten)]
    dir: DirArgs,
    /// Go on without what is behind the damage
    #[arg(long)]
    accept_loss: bool,
}

pub(crate) fn run(context: &Context, args: JournalArgs) -> anyhow::Result<ExitCode> {
    match args.verb {
        Verb::Inspect(args) => inspect(context, &args),
        Verb::Verify(args) => verify(context, &args),
        Verb::Repair(args) => repair(context, &args),
    }
}

fn storage(args: &DirArgs) -> anyhow::Result<DirStorage> {
    DirStorage::existing(&args.dir).with_context(|| {
        format!(
            "{} is no data directory that can be read; name the --data-dir of a coordinator",
            args.dir.display()
        )
    })
}

fn inspect(context: &Context, args: &DirArgs) -> anyhow::Result<ExitCode> {
    let storage = storage(args)?;
    let running = is_running(&storage, args)?;
    let report = journal::inspect(&storage)
        .with_context(|| format!("cannot read {}", args.dir.display()))?;
    let json = report_json(&report, running);
    context
        .out
        .report(&json, |style| table(style, &report, running))?;
    Ok(code(&report.verdict))
}

/// Whether somebody has the lock. Makes none where there is none: looking leaves nothing behind.
fn is_running(storage: &DirStorage, args: &DirArgs) -> anyhow::Result<bool> {
    if !args.dir.join("LOCK").exists() {
        return Ok(false);
    }
    let lock = storage
        .lock()
        .with_context(|| format!("cannot read {}", args.dir.display()))?;
    Ok(lock.is_none())
}

fn code(verdict: &LogVerdict) -> ExitCode {
    match verdict {
        LogVerdict::Good => ExitCode::SUCCESS,
        LogVerdict::Damaged(_) => ExitCode::from(exit::DAMAGED),
        LogVerdict::Foreign { .. } => ExitCode::from(exit::OTHER),
    }
}

fn table(style: &Style, report: &Report, running: bool) -> String {
    if report.segments.is_empty() {
        return format!(
            "{} holds no journal: a start begins a new one",
            report.place
        );
    }
    let mut table = Table::wrapped(
        style,
        &[
            Column::Number("SEGMENT"),
            Column::Number("START"),
            Column::Number("BYTES"),
            Column::Number("FRAMES"),
            Column::Number("RECORDS"),
            Column::Text("VERDICT"),
        ],
    );
    for segment in &report.segments {
        table.row([
            segment.number.to_string(),
            segment
                .incarnation
                .map_or_else(|| "?".to_owned(), |n| n.to_string()),
            human::size(segment.bytes),
            segment.frames.to_string(),
            segment.records.to_string(),
            segment_verdict(&segment.verdict),
        ]);
    }
    let note = if running {
        "\nA coordinator runs on it: what is said of the last segment is of one moment."
    } else {
        ""
    };
    let verdict = log_verdict(&report.verdict);
    format!("{}\n\n{verdict}{note}", table.render())
}

fn segment_verdict(verdict: &SegmentVerdict) -> String {
    match verdict {
        SegmentVerdict::Good => "good".to_owned(),
        SegmentVerdict::Torn { offset } => format!("torn tail at byte {offset}"),
        SegmentVerdict::Unfinished => "nothing durable in it".to_owned(),
        SegmentVerdict::Damaged { offset, why } => format!("DAMAGED at byte {offset}: {why}"),
        SegmentVerdict::Behind => "behind the damage".to_owned(),
    }
}

fn log_verdict(verdict: &LogVerdict) -> String {
    match verdict {
        LogVerdict::Good => {
            "Good: every frame is whole, or a torn tail that the next start cuts.\n\
                             Whether its records make sense together says `redrive journal verify`."
                .to_owned()
        }
        LogVerdict::Damaged(damage) => format!("Damaged: {damage}"),
        LogVerdict::Foreign { file, why } => format!("Not ours: {file}: {why}"),
    }
}

fn report_json(report: &Report, running: bool) -> Value {
    let verdict = match &report.verdict {
        LogVerdict::Good => json!({ "verdict": "good" }),
        LogVerdict::Damaged(damage) => damage_json("damaged", damage),
        LogVerdict::Foreign { file, why } => {
            json!({ "verdict": "foreign", "file": file, "why": why })
        }
    };
    let segments: Vec<Value> = report.segments.iter().map(segment_json).collect();
    json!({ "place": report.place, "running": running, "log": verdict, "segments": segments })
}

fn damage_json(verdict: &str, damage: &Damage) -> Value {
    json!({
        "verdict": verdict,
        "file": damage.file,
        "offset": damage.offset,
        "why": damage.why,
        "framesLost": damage.frames_lost,
        "recordsLost": damage.records_lost,
        "segmentsAfter": damage.segments_after,
    })
}

fn segment_json(segment: &SegmentReport) -> Value {
    let (verdict, offset, why) = match &segment.verdict {
        SegmentVerdict::Good => ("good", None, None),
        SegmentVerdict::Torn { offset } => ("torn", Some(*offset), None),
        SegmentVerdict::Unfinished => ("unfinished", None, None),
        SegmentVerdict::Damaged { offset, why } => ("damaged", Some(*offset), Some(why)),
        SegmentVerdict::Behind => ("behind", None, None),
    };
    json!({
        "file": segment.file,
        "number": segment.number,
        "incarnation": segment.incarnation,
        "bytes": segment.bytes,
        "frames": segment.frames,
        "records": segment.records,
        "firstLsn": segment.lsns.map(|(first, _)| first),
        "lastLsn": segment.lsns.map(|(_, last)| last),
        "end": segment.end,
        "verdict": verdict,
        "offset": offset,
        "why": why,
    })
}

/// A directory without a journal is a mistake of the caller's: nothing is made in it.
fn some_journal(args: &DirArgs) -> anyhow::Result<DirStorage> {
    let storage = storage(args)?;
    let place = args.dir.display();
    if journal::is_empty(&storage).with_context(|| format!("cannot read {place}"))? {
        anyhow::bail!("{place} holds no journal; name the --data-dir of a coordinator");
    }
    Ok(storage)
}

fn verify(context: &Context, args: &DirArgs) -> anyhow::Result<ExitCode> {
    drop(some_journal(args)?);
    let verified = run::verify(&args.dir)?;
    let json = json!({
        "records": verified.records,
        "queues": verified.queues,
        "tasks": verified.tasks,
        "shards": verified.shards,
        "tornTail": verified.torn,
    });
    context.out.report(&json, |_| {
        let torn = verified.torn.as_ref();
        format!(
            "Good: a coordinator starts with it.\n{} records of {} queues with {} tasks, in {} \
             shards.{}",
            verified.records,
            verified.queues,
            verified.tasks,
            verified.shards,
            torn.map_or_else(String::new, |torn| format!(
                "\nThe start cuts a torn tail: {torn}."
            ))
        )
    })?;
    Ok(ExitCode::SUCCESS)
}

fn repair(context: &Context, args: &RepairArgs) -> anyhow::Result<ExitCode> {
    let storage = some_journal(&args.dir)?;
    let repaired = match journal::repair(&storage, args.accept_loss) {
        Ok(repaired) => repaired,
        Err(error @ RepairError::NotAccepted { .. }) => {
            output::note(&format!("redrive: {error}"));
            return Ok(ExitCode::from(exit::DAMAGED));
        }
        Err(error) => return Err(error.into()),
    };
    let Some(damage) = repaired.damage else {
        context.out.report(&json!({ "verdict": "good" }), |_| {
            "No frame is damaged: there is nothing to cut. Whether a coordinator starts says\n\
             `redrive journal verify`."
                .to_owned()
        })?;
        return Ok(ExitCode::SUCCESS);
    };
    let mut json = damage_json("repaired", &damage);
    json["setAside"] = json!(repaired.set_aside);
    context.out.report(&json, |_| {
        format!(
            "Repaired. Lost: at least {} frames with {} records from byte {} of\n{} on.\nKept \
             beside it: {}",
            damage.frames_lost,
            damage.records_lost,
            damage.offset,
            damage.file,
            repaired.set_aside.join(", ")
        )
    })?;
    Ok(ExitCode::SUCCESS)
}
