//! What each verb does: one module for each, its flags beside its code.
//!
//! A verb reads its flags, calls the coordinator (or is one), hands the answer to `output`, and
//! answers an exit code. Never prints by itself.

pub(crate) mod bench;
mod bulk;
mod cancel;
pub(crate) mod completion;
pub(crate) mod coordinator;
pub(crate) mod dead;
pub(crate) mod dev;
pub(crate) mod enqueue;
pub(crate) mod enqueue_many;
pub(crate) mod events;
pub(crate) mod info;
pub(crate) mod journal;
pub(crate) mod kind;
mod life;
mod payload;
pub(crate) mod policy;
pub(crate) mod queue;
mod queue_view;
pub(crate) mod task;
pub(crate) mod task_view;
mod update;
pub(crate) mod worker;

use std::process::ExitCode;

use crate::{
    args::{Cli, Command},
    context::Context,
    demo,
};

/// Runs the verb.
///
/// # Errors
/// What `exit` turns into a message and a code.
pub(crate) async fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let context = Context::new(cli.global);
    match cli.command {
        Command::Coordinator(args) => Box::pin(coordinator::run(&context, args)).await,
        Command::Dev(args) => Box::pin(dev::run(&context, args)).await,
        Command::Bench(args) => Box::pin(bench::run(&context, args)).await,
        Command::Demo(args) => Box::pin(demo::run(args)).await,
        Command::Worker(args) => Box::pin(worker::run(&context, args)).await,
        Command::Task(args) => Box::pin(task::run(&context, args)).await,
        Command::Queue(args) => Box::pin(queue::run(&context, args)).await,
        Command::Kind(args) => Box::pin(kind::run(&context, args)).await,
        Command::Dead(args) => Box::pin(dead::run(&context, args)).await,
        Command::Policy(args) => policy::run(&context, args).await,
        Command::Events(args) => events::run(&context, args).await,
        Command::Info(args) => info::run(&context, &args).await,
        Command::Journal(args) => journal::run(&context, args),
        Command::Completion(args) => completion::run(&context, &args),
    }
}

/// What every list verb has.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct PageArgs {
    /// How many to show at most; 0 shows all, which needs -o jsonl
    #[arg(long, default_value_t = 100, value_name = "N")]
    pub(crate) limit: u32,
    /// Go on where a list before ended (it said how)
    #[arg(
        long,
        default_value = "",
        value_name = "TOKEN",
        hide_default_value = true
    )]
    pub(crate) page_token: String,
}

/// The filter of lists and bulk acts.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct SelectArgs {
    /// Only those of this queue [default: every queue of the namespace]
    #[arg(
        short,
        long,
        default_value = "",
        value_name = "QUEUE",
        hide_default_value = true
    )]
    pub(crate) queue: String,
    /// Only those that match: comparisons joined by AND (see below)
    #[arg(
        short,
        long,
        default_value = "",
        value_name = "FILTER",
        hide_default_value = true
    )]
    pub(crate) filter: String,
}

/// What filters can say, for the help of every verb that takes one.
pub(crate) const FILTER_HELP: &str = "\
Filters: comparisons joined by AND; a trailing * matches any rest.
  state kind priority reason class error_type              = !=
  outcome_label labels.KEY                                 = !=
  attempts crashes enqueue_time end_time                    = != < <= > >=
  for example: 'class = \"NETWORK\" AND attempts >= 3'";
