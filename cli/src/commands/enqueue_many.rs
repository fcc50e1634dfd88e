//! `task enqueue --from-file`: tasks by the million, in constant memory.
//!
//! Owns the pipeline: a thread reads lines, the stream carries tasks, tickets come back in the
//! order of the lines. What is on its way is bounded by the client's limit of unacknowledged tasks
//! and by [`LINES_AHEAD_MAX`]. Bad lines are told and counted, the rest goes through.

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    path::Path,
    process::ExitCode,
    time::Duration,
};

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};
use redrive_client::{Accepted, EnqueueStream, Error, NewTask, Ticket};
use redrive_proto::v1;
use tokio::sync::mpsc;

use crate::{
    context::Context,
    enqueue_file::{Line, Lines},
    exit,
    output::{self, Format},
};

/// Lines that are read ahead of the stream.
const LINES_AHEAD_MAX: usize = 1_024;

/// Tickets that wait to be looked at, a little more than can be unacknowledged.
const TICKETS_MAX: usize = 5_000;

/// Bytes that are read from the file at once.
const READ_BUFFER_BYTES: usize = 1024 * 1024;

/// Lines with problems that are told one by one; the rest is only counted.
const PROBLEMS_TOLD_MAX: u64 = 1_000;

/// How often the progress bar moves by itself.
const TICK: Duration = Duration::from_millis(200);

/// What became of the lines.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Totals {
    accepted: u64,
    /// Of those: answered by a task that was there before.
    existing: u64,
    /// No task, or refused by the coordinator.
    refused: u64,
    /// On their way when the connection broke: accepted or not.
    unknown: u64,
}

/// What became of one line.
enum Fate {
    Accepted(Accepted),
    Refused(String),
    Unknown(String),
}

/// A line on its way to the coordinator.
struct Sent {
    number: u64,
    read_bytes: u64,
    answer: Result<Ticket, String>,
}

pub(crate) async fn run(context: &Context, path: &Path) -> anyhow::Result<ExitCode> {
    let (input, bytes) = open(path)?;
    let client = context.client().await?;
    let (send_lines, lines) = mpsc::channel(LINES_AHEAD_MAX);
    let reader = tokio::task::spawn_blocking(move || read_lines(input, &send_lines));
    let (send_tickets, tickets) = mpsc::channel(TICKETS_MAX);
    let stream = client.enqueue_stream();
    let bar = progress_bar(bytes);
    let (sent, totals) = tokio::join!(
        send_all(&stream, lines, send_tickets),
        settle_all(context, &bar, tickets)
    );
    bar.finish_and_clear();
    let totals = totals?;
    summarize(context, totals)?;
    // The stream's own error says more than that of the line that it did not take.
    stream.finish().await?;
    sent?;
    reader
        .await?
        .with_context(|| format!("reading {}", path.display()))?;
    Ok(if totals.refused == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(exit::OTHER)
    })
}

/// The file, and how many bytes it has where that is known.
fn open(path: &Path) -> anyhow::Result<(Box<dyn BufRead + Send>, Option<u64>)> {
    if path.as_os_str() == "-" {
        return Ok((
            Box::new(BufReader::with_capacity(READ_BUFFER_BYTES, io::stdin())),
            None,
        ));
    }
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let meta = file.metadata()?;
    let bytes = meta.is_file().then_some(meta.len());
    Ok((
        Box::new(BufReader::with_capacity(READ_BUFFER_BYTES, file)),
        bytes,
    ))
}

fn read_lines(input: Box<dyn BufRead + Send>, lines: &mpsc::Sender<Line>) -> io::Result<()> {
    let mut read = Lines::new(input);
    while let Some(line) = read.next_line()? {
        if lines.blocking_send(line).is_err() {
            // Nobody wants more: the stream failed, and says so itself.
            break;
        }
    }
    Ok(())
}

/// Sends what the lines say. Ends early, with the line that was not sent, where the stream ended.
async fn send_all(
    stream: &EnqueueStream,
    mut lines: mpsc::Receiver<Line>,
    tickets: mpsc::Sender<Sent>,
) -> anyhow::Result<()> {
    while let Some(line) = lines.recv().await {
        let answer = match line.task {
            Err(problem) => Err(problem),
            Ok(task) => match stream.send(NewTask::from(task)).await {
                Ok(ticket) => Ok(ticket),
                Err(Error::Invalid { field, problem }) => Err(format!("{field}: {problem}")),
                Err(error) => {
                    let from = format!("lines from {} on were not sent", line.number);
                    return Err(anyhow::Error::new(error).context(from));
                }
            },
        };
        let sent = Sent {
            number: line.number,
            read_bytes: line.read_bytes,
            answer,
        };
        if tickets.send(sent).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// Looks at every ticket in the order of the lines, tells refusals and prints acknowledgements.
async fn settle_all(
    context: &Context,
    bar: &ProgressBar,
    mut tickets: mpsc::Receiver<Sent>,
) -> anyhow::Result<Totals> {
    let mut totals = Totals::default();
    while let Some(Sent {
        number,
        read_bytes,
        answer,
    }) = tickets.recv().await
    {
        let fate = fate(answer).await;
        bar.set_position(if bar.length().is_some() {
            read_bytes
        } else {
            number
        });
        let problem = match fate {
            Fate::Accepted(Accepted { task_id, effect }) => {
                totals.accepted += 1;
                totals.existing += u64::from(effect == v1::EnqueueEffect::Existing);
                if context.out.format == Format::Jsonl {
                    let result = Some(v1::enqueue_ack::Result::TaskId(task_id));
                    context.out.items(&[v1::EnqueueAck {
                        sequence: number,
                        result,
                        effect: effect.into(),
                    }])?;
                }
                continue;
            }
            Fate::Refused(problem) => {
                totals.refused += 1;
                problem
            }
            Fate::Unknown(problem) => {
                totals.unknown += 1;
                problem
            }
        };
        if totals.refused + totals.unknown <= PROBLEMS_TOLD_MAX {
            bar.suspend(|| output::note(&format!("line {number}: {problem}")));
        }
    }
    Ok(totals)
}

async fn fate(answer: Result<Ticket, String>) -> Fate {
    match answer {
        Err(problem) => Fate::Refused(problem),
        Ok(ticket) => match ticket.accepted().await {
            Ok(accepted) => Fate::Accepted(accepted),
            Err(error) if error.is_outcome_unknown() => Fate::Unknown(error.to_string()),
            Err(Error::Refused(failure)) => Fate::Refused(exit::refusal(&failure)),
            Err(error) => Fate::Refused(error.to_string()),
        },
    }
}

fn summarize(context: &Context, totals: Totals) -> anyhow::Result<()> {
    let Totals {
        accepted,
        existing,
        refused,
        unknown,
    } = totals;
    let untold = (refused + unknown).saturating_sub(PROBLEMS_TOLD_MAX);
    if untold > 0 {
        output::note(&format!("and {untold} more lines with problems"));
    }
    let open = if unknown > 0 {
        format!(", unknown {unknown}")
    } else {
        String::new()
    };
    let earlier = if existing > 0 {
        format!(" ({existing} of them earlier)")
    } else {
        String::new()
    };
    output::note(&format!(
        "accepted {accepted}{earlier}, refused {refused}{open}"
    ));
    if context.out.format == Format::Json {
        let totals = serde_json::json!({
            "accepted": accepted, "existing": existing, "refused": refused, "unknown": unknown,
        });
        context.out.text(&serde_json::to_string_pretty(&totals)?)?;
    }
    Ok(())
}

/// A bar over the file's bytes, or a count of lines. Draws nothing where stderr is no terminal.
fn progress_bar(bytes: Option<u64>) -> ProgressBar {
    let (bar, template) = match bytes {
        Some(bytes) => (
            ProgressBar::new(bytes),
            "{bar:30} {percent:>3}%  {binary_bytes}/{binary_total_bytes}  {eta} left",
        ),
        None => (
            ProgressBar::no_length(),
            "{spinner} {human_pos} lines  {per_sec}  {elapsed}",
        ),
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.enable_steady_tick(TICK);
    bar
}
