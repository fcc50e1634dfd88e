//! `task cancel`: tasks named by id or key, or all that a filter selects.
//!
//! Those named are cancelled unasked. Those selected are counted and asked about first.

use std::{process::ExitCode, time::Duration};

use clap::Args;
use redrive_client::{Cancel, Client, Error, TaskRef};
use redrive_proto::v1;

use super::{
    FILTER_HELP, SelectArgs,
    bulk::{ActArgs, check_selected, go_ahead, last},
    task_view,
};
use crate::{
    context::Context,
    exit,
    output::{self, Format},
    values::{self, CancelMode},
};

const HELP: &str = "\
A task that waits is cancelled at once; --mode says what may happen to one that
a worker holds. Tasks named by id or key are cancelled without asking; those
selected are counted first, then it asks, and without a terminal it needs --yes.
Of several ids each is tried; those that fail are told on stderr, and the first
of them gives the exit code. With -o json their answers are one a line then.

Examples:
  redrive task cancel $ID --reason 'not needed'
  redrive task cancel $ID --grace 30s          # then its lease is revoked
  redrive task cancel --queue mail --key user:4711 --mode if-waiting
  redrive task cancel --queue mail --filter 'kind = welcome' --dry-run
  redrive task cancel --queue mail --filter 'kind = welcome' --expect 12 -y";

/// The flags of `task cancel`.
#[derive(Debug, Args)]
#[command(after_help = HELP, after_long_help = format!("{HELP}\n\n{FILTER_HELP}"))]
pub(crate) struct CancelArgs {
    /// The tasks' ids; else name one by --queue and --key, or select them
    #[arg(
        value_name = "TASK_ID",
        conflicts_with_all = ["queue", "filter", "key", "all", "expect", "limit"]
    )]
    ids: Vec<String>,
    #[command(flatten)]
    select: SelectArgs,
    /// The one task of --queue that was enqueued with this idempotency key
    #[arg(
        long,
        value_name = "KEY",
        requires = "queue",
        conflicts_with_all = ["filter", "all", "expect", "limit"]
    )]
    key: Option<String>,
    /// Every task of the namespace that waits or is held
    #[arg(long, conflicts_with_all = ["queue", "filter"])]
    all: bool,
    /// Cancel only where exactly this many are selected, else none; a dry run fails alike
    #[arg(long, value_name = "N")]
    expect: Option<u64>,
    /// At most this many of those selected; 0 is no limit
    #[arg(long, default_value_t = 0, value_name = "N", hide_default_value = true)]
    limit: u64,
    /// What may happen to a task that a worker holds
    #[arg(long, value_enum, default_value_t, value_name = "MODE")]
    mode: CancelMode,
    /// How long its handler may take; then the lease is revoked [default: for ever]
    #[arg(long, value_parser = values::duration, value_name = "TIME")]
    grace: Option<Duration>,
    #[command(flatten)]
    act: ActArgs,
}

pub(crate) async fn run(context: &Context, args: CancelArgs) -> anyhow::Result<ExitCode> {
    let named = match (&args.key, args.ids.as_slice()) {
        (Some(key), _) => TaskRef::key(&args.select.queue, key),
        (None, []) => return selected(context, args).await,
        (None, [id]) => TaskRef::from(id),
        (None, _) => return each(context, &args).await,
    };
    let client = context.client().await?;
    one(context, &client, named, &args).await?;
    Ok(ExitCode::SUCCESS)
}

/// Cancels each of several tasks, also where another cannot be; the first failure gives the code.
async fn each(context: &Context, args: &CancelArgs) -> anyhow::Result<ExitCode> {
    let client = context.client().await?;
    let mut code = None;
    for id in &args.ids {
        let Err(error) = one(context, &client, id.into(), args).await else {
            continue;
        };
        let away = match error.downcast_ref::<Error>() {
            Some(error) => matches!(error, Error::Connect { .. }),
            // Nobody reads what is printed.
            None => return Err(error),
        };
        output::note(&format!("redrive: {id}: {}", exit::sentence(&error)));
        code.get_or_insert_with(|| exit::code(&error));
        if away {
            // The next one would wait as long in vain.
            output::note("redrive: the tasks after it were not tried");
            break;
        }
    }
    Ok(code.map_or(ExitCode::SUCCESS, ExitCode::from))
}

async fn one(
    context: &Context,
    client: &Client,
    task: TaskRef,
    args: &CancelArgs,
) -> anyhow::Result<()> {
    let answer = if args.act.dry_run {
        let task = client.get(task).await?;
        output::note(&format!(
            "would cancel {}, which is {}",
            task.task_id,
            task_view::state(task.state())
        ));
        v1::CancelTaskResponse {
            task: Some(task),
            ..Default::default()
        }
    } else {
        client.cancel_with(task, how(args)).await?
    };
    if answer.disposition() == v1::CancelDisposition::Cancelling {
        output::note("a worker holds the task; it was asked to stop");
    }
    if args.ids.len() > 1 && context.out.format == Format::Json {
        return context.out.items(std::slice::from_ref(&answer));
    }
    context.out.answer(&answer, |style| {
        let task = answer.task.as_ref();
        task.map(|task| task_view::full(style, task))
            .unwrap_or_default()
    })
}

fn how(args: &CancelArgs) -> Cancel {
    let how = match args.mode {
        CancelMode::Cooperative => Cancel::cooperative(),
        CancelMode::IfWaiting => Cancel::if_waiting(),
        CancelMode::Force => Cancel::force(),
    };
    let how = how.reason(args.act.reason.as_str());
    match args.grace {
        Some(grace) => how.grace(grace),
        None => how,
    }
}

async fn selected(context: &Context, args: CancelArgs) -> anyhow::Result<ExitCode> {
    let nothing = args.select.queue.is_empty() && args.select.filter.is_empty() && !args.all;
    if nothing {
        return Err(exit::usage(
            "say which: TASK_ID, --queue with --key, --queue, --filter, or --all for every one",
        ));
    }
    let what = check_selected("tasks", &args.select, args.all, &args.act)?;
    let client = context.client().await?;
    if args.act.dry_run || !args.act.yes {
        let counting = client.cancel_many(request(&client, &args, true)).await?;
        let counted = last(context, counting, false).await?;
        let count = match args.limit {
            0 => counted.matched,
            limit => counted.matched.min(limit),
        };
        let of = if count < counted.matched {
            format!("{count} of {}", counted.matched)
        } else {
            count.to_string()
        };
        if args.act.dry_run {
            context
                .out
                .answer(&counted, |_style| format!("would cancel {of}"))?;
            return Ok(ExitCode::SUCCESS);
        }
        if !go_ahead(count, &format!("cancel {of} {what}?"))? {
            return Ok(ExitCode::SUCCESS);
        }
    }
    let lines = context.out.format == Format::Jsonl;
    let acting = client.cancel_many(request(&client, &args, false)).await?;
    let done = last(context, acting, lines).await?;
    if !lines {
        context.out.answer(&done, |_style| told(&done))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn request(client: &Client, args: &CancelArgs, dry_run: bool) -> v1::CancelTasksRequest {
    v1::CancelTasksRequest {
        selection: Some(client.select(&args.select.queue, &args.select.filter)),
        expected_count: args.expect,
        count_max: args.limit,
        dry_run,
        mode: v1::CancelMode::from(args.mode).into(),
        grace: args.grace.map(values::proto_duration),
        reason: args.act.reason.clone(),
    }
}

fn told(done: &v1::CancelTasksResponse) -> String {
    match done.cancelling {
        0 => format!("cancelled {}", done.cancelled),
        asked => format!(
            "cancelled {}, asked the workers of {asked} more to stop",
            done.cancelled
        ),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Only {
        #[command(flatten)]
        args: CancelArgs,
    }

    fn parse(words: &[&str]) -> Result<CancelArgs, clap::Error> {
        Only::try_parse_from([&["cancel"], words].concat()).map(|it| it.args)
    }

    #[tokio::test]
    async fn every_flag_of_a_selection_reaches_the_request() {
        let client = Client::lazy("127.0.0.1:1").unwrap();
        let words = [
            "--queue",
            "mail",
            "--filter",
            "kind = a",
            "--expect",
            "12",
            "--limit",
            "20",
            "--mode",
            "if-waiting",
            "--reason",
            "old",
            "-y",
        ];
        let args = parse(&words).unwrap();
        let sent = request(&client, &args, false);
        let selection = sent.selection.clone().unwrap();
        assert_eq!(
            (&*selection.queue, &*selection.filter),
            ("mail", "kind = a")
        );
        assert_eq!((sent.expected_count, sent.count_max), (Some(12), 20));
        assert_eq!(sent.mode(), v1::CancelMode::IfWaiting);
        assert_eq!((&*sent.reason, sent.dry_run), ("old", false));
        let counting = request(&client, &args, true);
        assert_eq!(
            (counting.expected_count, counting.dry_run),
            (Some(12), true)
        );
        let patient = parse(&["a", "--grace", "30s"]).unwrap();
        let wanted = Cancel::cooperative()
            .reason("")
            .grace(Duration::from_secs(30));
        assert_eq!(how(&patient), wanted);
    }

    #[test]
    fn a_task_is_named_or_selected_but_not_both() {
        assert_eq!(parse(&["a", "b"]).unwrap().ids, ["a", "b"]);
        assert!(parse(&["--queue", "q", "--key", "k"]).is_ok());
        for wrong in [
            &["a", "--queue", "q"][..],
            &["a", "--all"],
            &["--key", "k"],
            &["--queue", "q", "--key", "k", "--filter", "kind = a"],
            &["a", "--mode", "gently"],
        ] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn what_is_still_held_is_told_apart() {
        let mut done = v1::CancelTasksResponse {
            cancelled: 3,
            ..Default::default()
        };
        assert_eq!(told(&done), "cancelled 3");
        done.cancelling = 2;
        assert!(told(&done).contains("2 more"));
    }
}
