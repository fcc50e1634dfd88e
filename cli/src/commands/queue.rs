//! `queue`: how full queues are, what holds for their tasks, pause and resume. Owns the flags;
//! `queue_view` owns how queues look.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::{Args, Subcommand, ValueEnum};
use futures::{StreamExt as _, TryStreamExt as _};
use redrive_proto::v1::{self, queue_settings::Retry};

use super::{
    life::{LimitArgs, TermsArgs},
    queue_view::{full, table},
};
use crate::{
    context::Context,
    exit, files,
    output::{self, Format, ProtoJson},
    values,
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
    Set(Box<SetArgs>),
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
What is not named stays as it was, but --soft, --hard and --extend-max are
replaced together, and so are the follow-ups (--on-..): those left out are
removed. Holds for tasks that are already there too, from their next failure or
run; --ttl and --deadline for those that are enqueued or redriven from now on.

Examples:
  redrive queue set mail --policy sidekiq
  redrive queue set mail --soft 25s --hard 30s --dead-letter-queue mail-dead
  redrive queue set mail --ttl 1h --on-exhausted tell@ops --finished-max 5000
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
struct Changes {
    /// The named retry policy of tasks that bring none
    #[arg(long, value_name = "NAME", conflicts_with = "policy_file")]
    policy: Option<String>,
    /// The same as a policy of its own: proto3 JSON of a RetryPolicy
    #[arg(long, value_name = "FILE")]
    policy_file: Option<PathBuf>,
    #[command(flatten)]
    limits: LimitArgs,
    #[command(flatten)]
    terms: TermsArgs,
    /// A ready task counts one level more urgent each this long; 0 is never
    #[arg(long, value_parser = values::duration, value_name = "TIME")]
    aging: Option<Duration>,
    /// How many ended tasks are kept, the latest [server's default: 1000]
    #[arg(long, value_name = "N")]
    finished_max: Option<u32>,
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
    /// Tasks do not expire
    Ttl,
    /// Tasks have no deadline
    Deadline,
    /// Results are kept as long as the server says
    ResultTtl,
    /// At least once
    Delivery,
    /// No follow-ups of the queue's own
    FollowUps,
    /// One level each 10m
    Aging,
    /// 1000 ended tasks are kept
    FinishedMax,
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
            let SetArgs { name, changes } = *args;
            let (settings, fields) = settings(changes)?;
            let client = context.client().await?;
            let queue = Some(client.update_queue(&name, settings, &fields).await?);
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

impl Field {
    /// Its path in the settings.
    fn path(self) -> &'static str {
        match self {
            Self::Policy => "retry_policy",
            Self::Timeouts => "timeouts",
            Self::DeadLetterQueue => "dead_letter_queue",
            Self::Ttl => "terms.ttl",
            Self::Deadline => "terms.deadline",
            Self::ResultTtl => "terms.result_ttl",
            Self::Delivery => "terms.delivery",
            Self::FollowUps => "terms.follow_ups",
            Self::Aging => "aging",
            Self::FinishedMax => "finished_max",
        }
    }
}

/// What to set, and which fields of it count.
fn settings(args: Changes) -> anyhow::Result<(v1::QueueSettings, Vec<&'static str>)> {
    let retry = match (args.policy, args.policy_file) {
        (Some(name), _) => Some(Retry::RetryPolicy(name)),
        (None, Some(path)) => Some(Retry::InlineRetryPolicy(files::read_policy(&path)?)),
        (None, None) => None,
    };
    let settings = v1::QueueSettings {
        retry,
        timeouts: args.limits.timeouts(),
        dead_letter_queue: args.dead_letter_queue.unwrap_or_default(),
        terms: args.terms.terms(),
        aging: args.aging.map(values::proto_duration),
        finished_max: args.finished_max,
    };
    let mut fields = set_fields(&settings);
    for field in args.clear {
        let path = field.path();
        let other = (field == Field::Policy).then_some("inline_retry_policy");
        if fields.contains(&path) || other.is_some_and(|other| fields.contains(&other)) {
            return Err(exit::usage(format!(
                "{} cannot be both set and cleared; leave one of both out",
                exit::flag(path).as_deref().unwrap_or(path)
            )));
        }
        fields.push(path);
    }
    if fields.is_empty() {
        return Err(exit::usage(
            "say what to set or --clear; `redrive queue set --help` lists the settings",
        ));
    }
    Ok((settings, fields))
}

/// The paths of what is set.
fn set_fields(settings: &v1::QueueSettings) -> Vec<&'static str> {
    let terms = settings.terms.clone().unwrap_or_default();
    let retry = match &settings.retry {
        None => None,
        Some(Retry::RetryPolicy(_)) => Some("retry_policy"),
        Some(Retry::InlineRetryPolicy(_)) => Some("inline_retry_policy"),
    };
    let delivers = terms.delivery() != v1::DeliveryMode::Unspecified;
    let others = [
        (settings.timeouts.is_some(), Field::Timeouts),
        (
            !settings.dead_letter_queue.is_empty(),
            Field::DeadLetterQueue,
        ),
        (terms.ttl.is_some(), Field::Ttl),
        (terms.deadline.is_some(), Field::Deadline),
        (terms.result_ttl.is_some(), Field::ResultTtl),
        (delivers, Field::Delivery),
        (terms.follow_ups.is_some(), Field::FollowUps),
        (settings.aging.is_some(), Field::Aging),
        (settings.finished_max.is_some(), Field::FinishedMax),
    ];
    let others = others.into_iter().filter(|(is_set, _)| *is_set);
    retry
        .into_iter()
        .chain(others.map(|(_, field)| field.path()))
        .collect()
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
    fn every_term_is_named_by_its_path() {
        let (settings, fields) = set(&[
            "--ttl",
            "1h",
            "--deadline",
            "2h",
            "--result-ttl",
            "1d",
            "--at-least-once",
            "--on-cancelled",
            "tell",
            "--aging",
            "0",
            "--finished-max",
            "5",
            "--extend-max",
            "1h",
        ])
        .unwrap();
        let wanted = [
            "timeouts",
            "terms.ttl",
            "terms.deadline",
            "terms.result_ttl",
            "terms.delivery",
            "terms.follow_ups",
            "aging",
            "finished_max",
        ];
        assert_eq!(fields, wanted);
        assert_eq!(settings.aging, Some(prost_types::Duration::default()));
        assert_eq!(settings.finished_max, Some(5));
        let terms = settings.terms.unwrap();
        assert_eq!(terms.delivery(), v1::DeliveryMode::AtLeastOnce);
        let (settings, fields) = set(&["--clear", "follow-ups", "--clear", "aging"]).unwrap();
        assert_eq!(fields, ["terms.follow_ups", "aging"]);
        assert_eq!(settings, v1::QueueSettings::default());
        assert!(set(&["--ttl", "1h", "--clear", "ttl"]).is_err());
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
}
