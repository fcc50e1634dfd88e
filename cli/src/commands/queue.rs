//! `queue`: how full queues are, what holds for their tasks, pause and resume.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::{Args, Subcommand, ValueEnum};
use futures::{StreamExt as _, TryStreamExt as _};
use redrive_proto::v1::{self, queue_settings::Retry};

use super::task_view;
use crate::{
    context::Context,
    exit, files,
    output::{
        self, Format, ProtoJson, Table, human,
        table::{Column, Style, details},
    },
    policy_text, values,
};

/// The most queues that one list shows.
const QUEUES_MAX: usize = 10_000;

/// The verbs of `queue`.
#[derive(Debug, Args)]
pub(crate) struct QueueArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the queues: how many tasks stand where
    List,
    /// Show one queue: counts, settings, totals
    Get(NameArgs),
    /// Change the settings of a queue, creating it where it is new
    Set(SetArgs),
    /// Stop handing out its tasks; running tasks, timers and enqueues go on
    Pause(PauseArgs),
    /// Hand out its tasks again
    Resume(NameArgs),
}

#[derive(Debug, Args)]
struct NameArgs {
    /// The queue's name
    #[arg(value_name = "QUEUE")]
    name: String,
}

#[derive(Debug, Args)]
struct PauseArgs {
    /// The queue's name; it is created where it is new
    #[arg(value_name = "QUEUE")]
    name: String,
    /// Why, for people
    #[arg(
        long,
        default_value = "",
        value_name = "TEXT",
        hide_default_value = true
    )]
    reason: String,
}

const SET_HELP: &str = "\
What is not named stays as it was, but --soft and --hard are replaced together:
the one left out is removed. Holds for tasks that are already there too, from
their next failure or run.

Examples:
  redrive queue set mail --policy sidekiq
  redrive queue set mail --soft 25s --hard 30s --dead-letter-queue mail-dead
  redrive queue set mail --clear policy --clear timeouts
  redrive policy show recommended -o json > p.json   # then edit p.json
  redrive queue set mail --policy-file p.json";

#[derive(Debug, Args)]
#[command(
    after_help = SET_HELP,
    override_usage = "redrive queue set [OPTIONS] <QUEUE> (at least one of the settings below)"
)]
struct SetArgs {
    /// The queue's name
    #[arg(value_name = "QUEUE")]
    name: String,
    #[command(flatten)]
    changes: Changes,
}

/// What to change; at least one.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
struct Changes {
    /// The named retry policy of tasks that bring none
    #[arg(long, value_name = "NAME", conflicts_with = "policy_file")]
    policy: Option<String>,
    /// The same as a policy of its own: proto3 JSON of a RetryPolicy
    #[arg(long, value_name = "FILE")]
    policy_file: Option<PathBuf>,
    /// After this long of a run its handler is asked to stop, for tasks that bring no limits
    #[arg(long, value_parser = values::duration, value_name = "TIME")]
    soft: Option<Duration>,
    /// After this long of a run it is ended as a TIMEOUT failure, for tasks that bring no limits
    #[arg(long, value_parser = values::duration, value_name = "TIME")]
    hard: Option<Duration>,
    /// Where tasks go on when their budget is spent
    #[arg(long, value_name = "QUEUE")]
    dead_letter_queue: Option<String>,
    /// Back to the default; may be repeated
    #[arg(long, value_enum, value_name = "FIELD")]
    clear: Vec<Field>,
}

/// A setting that can be cleared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Field {
    /// The retry policy, named or of its own: the server's default holds
    Policy,
    /// Both time limits: none
    Timeouts,
    /// Spent tasks stay as dead letters
    DeadLetterQueue,
}

pub(crate) async fn run(context: &Context, args: QueueArgs) -> anyhow::Result<ExitCode> {
    match args.verb {
        Verb::List => return list(context).await,
        Verb::Get(args) => {
            let queue = Some(context.client().await?.queue(&args.name).await?);
            let answer = v1::GetQueueResponse { queue };
            show(context, &answer, answer.queue.as_ref())?;
        }
        Verb::Set(args) => {
            let (settings, fields) = settings(args.changes)?;
            let client = context.client().await?;
            let queue = Some(client.update_queue(&args.name, settings, &fields).await?);
            let answer = v1::UpdateQueueResponse { queue };
            show(context, &answer, answer.queue.as_ref())?;
        }
        Verb::Pause(args) => {
            let client = context.client().await?;
            let queue = Some(client.pause_queue(&args.name, &args.reason).await?);
            let answer = v1::PauseQueueResponse { queue };
            show(context, &answer, answer.queue.as_ref())?;
        }
        Verb::Resume(args) => {
            let queue = Some(context.client().await?.resume_queue(&args.name).await?);
            let answer = v1::ResumeQueueResponse { queue };
            show(context, &answer, answer.queue.as_ref())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn show<M: ProtoJson>(
    context: &Context,
    answer: &M,
    queue: Option<&v1::Queue>,
) -> anyhow::Result<()> {
    context.out.answer(answer, |style| {
        queue.map(|queue| full(style, queue)).unwrap_or_default()
    })
}

async fn list(context: &Context) -> anyhow::Result<ExitCode> {
    let client = context.client().await?;
    let queues: Vec<v1::Queue> = client.queues().take(QUEUES_MAX).try_collect().await?;
    if queues.is_empty() && context.out.format == Format::Table {
        output::note("no queues; a queue is created by the first task enqueued to it");
        return Ok(ExitCode::SUCCESS);
    }
    let answer = v1::ListQueuesResponse {
        queues,
        next_page_token: String::new(),
    };
    context.out.list(&answer, &answer.queues, |style| {
        table(style, &answer.queues)
    })?;
    Ok(ExitCode::SUCCESS)
}

/// What to set, and which fields of it count.
fn settings(args: Changes) -> anyhow::Result<(v1::QueueSettings, Vec<&'static str>)> {
    let mut settings = v1::QueueSettings::default();
    let mut fields = Vec::new();
    if let Some(name) = args.policy {
        settings.retry = Some(Retry::RetryPolicy(name));
        fields.push("retry_policy");
    }
    if let Some(path) = args.policy_file {
        settings.retry = Some(Retry::InlineRetryPolicy(files::read_policy(&path)?));
        fields.push("inline_retry_policy");
    }
    if args.soft.is_some() || args.hard.is_some() {
        settings.timeouts = Some(v1::Timeouts {
            soft: args.soft.map(values::proto_duration),
            hard: args.hard.map(values::proto_duration),
            ..Default::default()
        });
        fields.push("timeouts");
    }
    if let Some(queue) = args.dead_letter_queue {
        settings.dead_letter_queue = queue;
        fields.push("dead_letter_queue");
    }
    for field in args.clear {
        let (name, set) = match field {
            Field::Policy => ("retry_policy", settings.retry.is_some()),
            Field::Timeouts => ("timeouts", settings.timeouts.is_some()),
            Field::DeadLetterQueue => ("dead_letter_queue", !settings.dead_letter_queue.is_empty()),
        };
        if set {
            return Err(exit::usage(format!(
                "{name} cannot be both set and cleared"
            )));
        }
        fields.push(name);
    }
    Ok((settings, fields))
}

fn table(style: &Style, queues: &[v1::Queue]) -> String {
    let columns = [
        Column::Text("QUEUE"),
        Column::Number("READY"),
        Column::Number("LEASED"),
        Column::Number("SCHEDULED"),
        Column::Number("RETRYING"),
        Column::Number("DEAD"),
        Column::Text("STATE"),
    ];
    let mut table = Table::new(style, &columns);
    for queue in queues {
        let counts = queue.counts.unwrap_or_default();
        table.row([
            queue.queue.clone(),
            counts.ready.to_string(),
            counts.leased.to_string(),
            counts.scheduled.to_string(),
            counts.retrying.to_string(),
            counts.dead.to_string(),
            paused(style, queue),
        ]);
    }
    table.render()
}

fn paused(style: &Style, queue: &v1::Queue) -> String {
    if !queue.paused {
        return "active".to_owned();
    }
    let since = human::age(style.now, queue.pause_time.as_ref());
    if queue.pause_reason.is_empty() {
        format!("paused {since}")
    } else {
        format!("paused {since}: {}", queue.pause_reason)
    }
}

fn full(style: &Style, queue: &v1::Queue) -> String {
    let settings = queue.settings.clone().unwrap_or_default();
    let counts = queue.counts.unwrap_or_default();
    let policy = match &settings.retry {
        None => "the server's default".to_owned(),
        Some(Retry::RetryPolicy(name)) => name.clone(),
        Some(Retry::InlineRetryPolicy(policy)) => inline(policy),
    };
    let timeouts = match task_view::timeouts(settings.timeouts.as_ref()) {
        none if none.is_empty() => "none".to_owned(),
        some => some,
    };
    let dead = match settings.dead_letter_queue.as_str() {
        "" => "kept here as dead letters".to_owned(),
        name => format!("go on in {name}"),
    };
    let standing = format!(
        "{} ready, {} leased, {} scheduled, {} retrying, {} dead",
        counts.ready, counts.leased, counts.scheduled, counts.retrying, counts.dead
    );
    let since = format!(
        "{} enqueued, {} succeeded, {} failures, {} crashes, {} dead-lettered, {} redriven",
        counts.enqueued_total,
        counts.succeeded_total,
        counts.failures_total,
        counts.crashes_total,
        counts.dead_lettered_total,
        counts.redriven_total
    );
    details(
        style,
        &[
            ("Queue", queue.queue.clone()),
            ("Namespace", queue.namespace.clone()),
            ("State", paused(style, queue)),
            ("Tasks", standing),
            ("Since creation", since),
            ("Policy", policy),
            ("Timeouts", timeouts),
            ("Spent tasks", dead),
            ("Revision", queue.revision.to_string()),
        ],
    )
}

fn inline(policy: &v1::RetryPolicy) -> String {
    let name = if policy.name.is_empty() {
        "inline"
    } else {
        policy.name.as_str()
    };
    let backoff = policy
        .backoff
        .as_ref()
        .map(policy_text::backoff)
        .unwrap_or_default();
    if backoff.is_empty() {
        name.to_owned()
    } else {
        format!("{name}: {backoff}")
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Only {
        #[command(flatten)]
        args: SetArgs,
    }

    fn set(flags: &[&str]) -> anyhow::Result<(v1::QueueSettings, Vec<&'static str>)> {
        let words = ["set", "mail"].iter().chain(flags);
        settings(Only::try_parse_from(words)?.args.changes)
    }

    #[test]
    fn only_what_is_named_is_changed() {
        let (settings, fields) = set(&["--policy", "sidekiq"]).unwrap();
        assert_eq!(fields, ["retry_policy"]);
        assert_eq!(
            settings.retry,
            Some(Retry::RetryPolicy("sidekiq".to_owned()))
        );
        assert!(settings.timeouts.is_none() && settings.dead_letter_queue.is_empty());
        let (settings, fields) = set(&["--hard", "30s", "--dead-letter-queue", "dead"]).unwrap();
        assert_eq!(fields, ["timeouts", "dead_letter_queue"]);
        assert!(settings.timeouts.unwrap().soft.is_none());
    }

    #[test]
    fn what_is_cleared_is_named_and_left_unset() {
        let (settings, fields) = set(&["--clear", "policy", "--clear", "timeouts"]).unwrap();
        assert_eq!(fields, ["retry_policy", "timeouts"]);
        assert_eq!(settings, v1::QueueSettings::default());
    }

    #[test]
    fn contradictions_and_nothing_at_all_are_refused() {
        let error = set(&["--policy", "sidekiq", "--clear", "policy"]).unwrap_err();
        assert_eq!(exit::code(&error), exit::USAGE);
        assert!(set(&[]).is_err());
        assert!(set(&["--policy", "a", "--policy-file", "b"]).is_err());
    }

    #[test]
    fn a_paused_queue_says_since_when_and_why() {
        let queue = v1::Queue {
            queue: "mail".to_owned(),
            paused: true,
            pause_reason: "provider down".to_owned(),
            ..Default::default()
        };
        let text = table(&Style::plain(), &[queue]);
        assert!(
            text.contains("paused") && text.contains("provider down"),
            "{text}"
        );
    }
}
