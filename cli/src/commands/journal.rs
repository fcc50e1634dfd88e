//! `journal`: looks at the journal of a coordinator that does not run, and repairs one.
//!
//! Owns the words; what is damage and what is a torn tail the journal itself decides. Never changes
//! anything but in `repair --accept-loss`, which deletes nothing.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use redrive_coordinator::{
    journal::{self, DirStorage, LogVerdict, RepairError, Report, SegmentReport, SegmentVerdict},
    run,
};
use serde_json::{Value, json};

use crate::{
    context::Context,
    exit,
    output::{
        self, Format, Table, human,
        table::{Column, Style},
    },
};

const HELP: &str = "\
A torn tail (a write that was under way when the machine stopped) is no damage:
the next start cuts it, and nothing acknowledged was in it.

Exit codes: 0 it starts; 78 it is damaged, or `repair` was not told to accept
the loss; 1 it cannot be read.

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
    let report = journal::inspect(&storage(args)?)
        .with_context(|| format!("cannot read {}", args.dir.display()))?;
    match context.out.format {
        Format::Table => context
            .out
            .text(&context.out.view(|style| table(style, &report)))?,
        Format::Json => context
            .out
            .text(&serde_json::to_string_pretty(&report_json(&report))?)?,
        Format::Jsonl => {
            let lines = report
                .segments
                .iter()
                .map(|one| segment_json(one).to_string() + "\n");
            context.out.text(&lines.collect::<String>())?;
        }
    }
    Ok(code(&report.verdict))
}

fn code(verdict: &LogVerdict) -> ExitCode {
    match verdict {
        LogVerdict::Good => ExitCode::SUCCESS,
        LogVerdict::Damaged(_) => ExitCode::from(exit::DAMAGED),
        LogVerdict::Foreign { .. } => ExitCode::from(exit::OTHER),
    }
}

fn table(style: &Style, report: &Report) -> String {
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
    format!("{}\n\n{}", table.render(), log_verdict(&report.verdict))
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
        LogVerdict::Good => "Good: a coordinator starts with it.".to_owned(),
        LogVerdict::Damaged(damage) => format!("Damaged: {damage}"),
        LogVerdict::Foreign { file, why } => format!("Not ours: {file}: {why}"),
    }
}

fn report_json(report: &Report) -> Value {
    let verdict = match &report.verdict {
        LogVerdict::Good => json!({ "verdict": "good" }),
        LogVerdict::Damaged(damage) => json!({
            "verdict": "damaged",
            "file": damage.file,
            "offset": damage.offset,
            "why": damage.why,
            "framesLost": damage.frames_lost,
            "recordsLost": damage.records_lost,
            "segmentsAfter": damage.segments_after,
        }),
        LogVerdict::Foreign { file, why } => {
            json!({ "verdict": "foreign", "file": file, "why": why })
        }
    };
    let segments: Vec<Value> = report.segments.iter().map(segment_json).collect();
    json!({ "place": report.place, "log": verdict, "segments": segments })
}

fn segment_json(segment: &SegmentReport) -> Value {
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
        "verdict": segment_verdict(&segment.verdict),
    })
}

fn verify(context: &Context, args: &DirArgs) -> anyhow::Result<ExitCode> {
    let storage = storage(args)?;
    if journal::is_empty(&storage).with_context(|| format!("cannot read {}", args.dir.display()))? {
        let place = args.dir.display();
        anyhow::bail!("{place} holds no journal; name the --data-dir of a coordinator");
    }
    let verified = run::verify(&args.dir)?;
    match context.out.format {
        Format::Table => context.out.text(&format!(
            "Good: {} records of {} queues with {} tasks, in {} shards; a coordinator starts with it.",
            verified.records, verified.queues, verified.tasks, verified.shards
        ))?,
        Format::Json | Format::Jsonl => context.out.text(
            &json!({
                "records": verified.records,
                "queues": verified.queues,
                "tasks": verified.tasks,
                "shards": verified.shards,
                "tornTail": verified.torn,
            })
            .to_string(),
        )?,
    }
    Ok(ExitCode::SUCCESS)
}

fn repair(context: &Context, args: &RepairArgs) -> anyhow::Result<ExitCode> {
    let storage = storage(&args.dir)?;
    match journal::repair(&storage, args.accept_loss) {
        Ok(repaired) => {
            let Some(damage) = repaired.damage else {
                context
                    .out
                    .text("Nothing to repair: a coordinator starts with it.")?;
                return Ok(ExitCode::SUCCESS);
            };
            context.out.text(&format!(
                "Repaired. Lost: at least {} frames with {} records from byte {} of {} on.\nKept \
                 beside it: {}",
                damage.frames_lost,
                damage.records_lost,
                damage.offset,
                damage.file,
                repaired.set_aside.join(", ")
            ))?;
            Ok(ExitCode::SUCCESS)
        }
        Err(error @ RepairError::NotAccepted { .. }) => {
            output::note(&format!("redrive: {error}"));
            Ok(ExitCode::from(exit::DAMAGED))
        }
        Err(error) => Err(error.into()),
    }
}
