//! `dead`: what was given up, and what to do about it.
//!
//! Bulk acts, and all that deletes, look first and ask before they act; without a terminal they need
//! `--yes`.

use std::{process::ExitCode, time::Duration};

use clap::{Args, Subcommand};
use redrive_client::{Client, Error, TaskRef};
use redrive_proto::v1;

use super::{
    FILTER_HELP, PageArgs, SelectArgs,
    bulk::{ActArgs, check_selected, go_ahead, last},
    life::WhichTask,
    task_view,
};
use crate::{
    confirm,
    context::Context,
    listing,
    output::{self, Format, human},
    values,
};

/// The verbs of `dead`.
#[derive(Debug, Args)]
pub(crate) struct DeadArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List dead letters, the longest dead first within a queue
    List(ListArgs),
    /// Show one dead letter: why it died, its payload, its history
    Get(GetArgs),
    /// Put dead letters back into their queues with a fresh budget
    Redrive(RedriveArgs),
    /// Delete dead letters for good; there is no undo
    Discard(DiscardArgs),
}

#[derive(Debug, Args)]
#[command(after_help = FILTER_HELP)]
struct ListArgs {
    #[command(flatten)]
    select: SelectArgs,
    #[command(flatten)]
    page: PageArgs,
}

#[derive(Debug, Args)]
struct GetArgs {
    #[command(flatten)]
    which: WhichTask,
}

const REDRIVE_HELP: &str = "\
Counts first, then asks; without a terminal it needs --yes. Tasks named by id or
key are redriven without asking. Safe to repeat: what is not dead any more is
not selected again.

Examples:
  redrive dead redrive 0192f0c1-2345-7abc-8def-0123456789ab
  redrive dead redrive --queue pay --key order-17
  redrive dead redrive --queue mail --dry-run
  redrive dead redrive --queue mail --filter 'class = \"NETWORK\"' --spread 10m
  redrive dead redrive --all --limit 1000 --yes --reason 'provider is back'

Filters: as in `redrive dead list --help`.";

const DISCARD_HELP: &str = "\
Counts first, asks, and then deletes exactly as many or nothing; without a
terminal it needs --yes. Tasks named by id or key are looked up first: unless
all of them are dead, none is deleted.

Examples:
  redrive dead discard 0192f0c1-2345-7abc-8def-0123456789ab
  redrive dead discard --queue mail --dry-run
  redrive dead discard --queue mail --filter 'end_time < -30d'
  redrive dead discard --filter 'class = INVALID' --reason 'bad import'

Filters: as in `redrive dead list --help`.";

#[derive(Debug, Args)]
#[command(after_help = REDRIVE_HELP)]
struct RedriveArgs {
    /// The tasks' ids; else name one by --queue and --key, or select them
    #[arg(
        value_name = "TASK_ID",
        conflicts_with_all = ["queue", "filter", "key", "all", "limit"]
    )]
    ids: Vec<String>,
    #[command(flatten)]
    select: SelectArgs,
    /// The one dead letter of --queue that was enqueued with this idempotency key
    #[arg(
        long,
        value_name = "KEY",
        requires = "queue",
        conflicts_with_all = ["filter", "all", "limit"]
    )]
    key: Option<String>,
    /// Every dead letter of the namespace
    #[arg(long, conflicts_with_all = ["queue", "filter"])]
    all: bool,
    /// At most this many; 0 is no limit
    #[arg(long, default_value_t = 0, value_name = "N", hide_default_value = true)]
    limit: u64,
    /// Spread the restarts evenly over this long [default: all at once]
    #[arg(long, value_parser = values::duration, value_name = "TIME")]
    spread: Option<Duration>,
    #[command(flatten)]
    act: ActArgs,
}

#[derive(Debug, Args)]
#[command(after_help = DISCARD_HELP)]
struct DiscardArgs {
    /// The tasks' ids; else name one by --queue and --key, or select them
    #[arg(value_name = "TASK_ID", conflicts_with_all = ["queue", "filter", "key", "all"])]
    ids: Vec<String>,
    #[command(flatten)]
    select: SelectArgs,
    /// The one dead letter of --queue that was enqueued with this idempotency key
    #[arg(
        long,
        value_name = "KEY",
        requires = "queue",
        conflicts_with_all = ["filter", "all"]
    )]
    key: Option<String>,
    /// Every dead letter of the namespace
    #[arg(long, conflicts_with_all = ["queue", "filter"])]
    all: bool,
    #[command(flatten)]
    act: ActArgs,
}

pub(crate) async fn run(context: &Context, args: DeadArgs) -> anyhow::Result<ExitCode> {
    match args.verb {
        Verb::List(args) => list(context, args).await,
        Verb::Get(args) => {
            let client = context.client().await?;
            let id = id_of(&client, args.which.task()).await?;
            let task = client.dead_letter(&id).await?;
            let answer = v1::GetDeadLetterResponse { task: Some(task) };
            context.out.answer(&answer, |style| {
                answer
                    .task
                    .as_ref()
                    .map(|task| task_view::full(style, task))
                    .unwrap_or_default()
            })?;
            Ok(ExitCode::SUCCESS)
        }
        Verb::Redrive(args) if args.ids.is_empty() && args.key.is_none() => {
            redrive_selected(context, args).await
        }
        Verb::Redrive(args) => redrive_named(context, args).await,
        Verb::Discard(args) if args.ids.is_empty() && args.key.is_none() => {
            discard_selected(context, args).await
        }
        Verb::Discard(args) => discard_named(context, args).await,
    }
}

/// The id of the task that is meant. One that is named by its key is looked up.
async fn id_of(client: &Client, task: TaskRef) -> Result<String, Error> {
    match task {
        TaskRef::Id(id) => Ok(id),
        by_key @ TaskRef::Key { .. } => Ok(client.get(by_key).await?.task_id),
    }
}

/// The ids of the tasks named, one of them perhaps by its key.
async fn named(
    client: &Client,
    ids: &[String],
    queue: &str,
    key: Option<&String>,
) -> Result<Vec<String>, Error> {
    match key {
        None => Ok(ids.to_vec()),
        Some(key) => Ok(vec![id_of(client, TaskRef::key(queue, key)).await?]),
    }
}

async fn list(context: &Context, args: ListArgs) -> anyhow::Result<ExitCode> {
    let client = context.client().await?;
    let selection = client.select(&args.select.queue, &args.select.filter);
    let page = async |size: u32, token: String| {
        let page = client
            .dead_letters_page(selection.clone(), size, &token)
            .await?;
        Ok((page.tasks, page.next_page_token))
    };
    let Some((tasks, next_page_token)) = listing::run(context, &args.page, page).await? else {
        return Ok(ExitCode::SUCCESS);
    };
    if tasks.is_empty() && context.out.format == Format::Table {
        output::note("no dead letters");
    }
    let answer = v1::ListDeadLettersResponse {
        tasks,
        next_page_token,
    };
    context.out.list(&answer, &answer.tasks, |style| {
        task_view::dead_list(style, &answer.tasks)
    })?;
    listing::note_more(context, &answer.next_page_token);
    Ok(ExitCode::SUCCESS)
}

/// Redrives the tasks named, the first at once and the last towards the end of the spread.
async fn redrive_named(context: &Context, args: RedriveArgs) -> anyhow::Result<ExitCode> {
    let client = context.client().await?;
    let ids = named(&client, &args.ids, &args.select.queue, args.key.as_ref()).await?;
    let count = u32::try_from(ids.len()).unwrap_or(u32::MAX);
    let step = args.spread.unwrap_or_default() / count.max(1);
    let mut delay = Duration::ZERO;
    for id in &ids {
        let task = if args.act.dry_run {
            client.dead_letter(id).await?
        } else {
            client.redrive(id, delay, &args.act.reason).await?
        };
        delay = delay.saturating_add(step);
        let answer = v1::RedriveTaskResponse { task: Some(task) };
        let word = if args.act.dry_run {
            "would redrive"
        } else {
            "redriven"
        };
        context
            .out
            .answer(&answer, |_style| format!("{word} {id}"))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn redrive_selected(context: &Context, args: RedriveArgs) -> anyhow::Result<ExitCode> {
    let what = check_selected("dead letters", &args.select, args.all, &args.act)?;
    let client = context.client().await?;
    let request = |dry_run| v1::RedriveDeadLettersRequest {
        selection: Some(client.select(&args.select.queue, &args.select.filter)),
        expected_count: None,
        count_max: args.limit,
        dry_run,
        spread: args.spread.map(values::proto_duration),
        reason: args.act.reason.clone(),
    };
    if args.act.dry_run || !args.act.yes {
        let counted = last(context, client.redrive_many(request(true)).await?, false).await?;
        let count = if args.limit == 0 {
            counted.matched
        } else {
            counted.matched.min(args.limit)
        };
        let of = if count < counted.matched {
            format!("{count} of {}", counted.matched)
        } else {
            count.to_string()
        };
        if args.act.dry_run {
            context
                .out
                .answer(&counted, |_style| format!("would redrive {of}"))?;
            return Ok(ExitCode::SUCCESS);
        }
        let spread = match args.spread {
            Some(spread) => format!(", spread over {}", human::span(spread)),
            None => ", all at once".to_owned(),
        };
        if !go_ahead(count, &format!("redrive {of} {what}{spread}?"))? {
            return Ok(ExitCode::SUCCESS);
        }
    }
    let lines = context.out.format == Format::Jsonl;
    let done = last(context, client.redrive_many(request(false)).await?, lines).await?;
    if !lines {
        context
            .out
            .answer(&done, |_style| format!("redriven {}", done.redriven))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Deletes the tasks named, once it is known that all of them are dead.
async fn discard_named(context: &Context, args: DiscardArgs) -> anyhow::Result<ExitCode> {
    confirm::check_possible(args.act.yes || args.act.dry_run)?;
    let client = context.client().await?;
    let ids = named(&client, &args.ids, &args.select.queue, args.key.as_ref()).await?;
    let mut letters = Vec::with_capacity(ids.len());
    for id in &ids {
        letters.push(client.dead_letter(id).await?);
    }
    let print = |word: &str, task: v1::Task| {
        let text = format!("{word} {}", task.task_id);
        let answer = v1::DiscardTaskResponse { task: Some(task) };
        context.out.answer(&answer, |_style| text)
    };
    if args.act.dry_run {
        for letter in letters {
            print("would discard", letter)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let what = match letters.as_slice() {
        [letter] => format!("dead letter {}", letter.task_id),
        several => format!("these {} dead letters", several.len()),
    };
    let question = format!("delete {what} for good? there is no undo");
    let count = u64::try_from(letters.len()).unwrap_or(u64::MAX);
    if !args.act.yes && !go_ahead(count, &question)? {
        return Ok(ExitCode::SUCCESS);
    }
    for letter in &letters {
        let task = client.discard(&letter.task_id, &args.act.reason).await?;
        print("discarded", task)?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn discard_selected(context: &Context, args: DiscardArgs) -> anyhow::Result<ExitCode> {
    let what = check_selected("dead letters", &args.select, args.all, &args.act)?;
    let client = context.client().await?;
    let counted = discard_call(context, &client, &args, None).await?;
    if args.act.dry_run {
        context.out.answer(&counted, |_style| {
            format!("would discard {}", counted.matched)
        })?;
        return Ok(ExitCode::SUCCESS);
    }
    let question = format!(
        "delete {} {what} for good? there is no undo",
        counted.matched
    );
    if !args.act.yes && !go_ahead(counted.matched, &question)? {
        return Ok(ExitCode::SUCCESS);
    }
    let done = discard_call(context, &client, &args, Some(counted.matched)).await?;
    if context.out.format != Format::Jsonl {
        context
            .out
            .answer(&done, |_style| format!("discarded {}", done.discarded))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Counts what is selected, or deletes it where it is exactly that many.
async fn discard_call(
    context: &Context,
    client: &Client,
    args: &DiscardArgs,
    expected_count: Option<u64>,
) -> anyhow::Result<v1::DiscardDeadLettersResponse> {
    let request = v1::DiscardDeadLettersRequest {
        selection: Some(client.select(&args.select.queue, &args.select.filter)),
        expected_count,
        dry_run: expected_count.is_none(),
        reason: args.act.reason.clone(),
    };
    let lines = context.out.format == Format::Jsonl && expected_count.is_some();
    last(context, client.discard_many(request).await?, lines).await
}
