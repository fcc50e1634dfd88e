//! `task`: follow, change and cancel tasks. Enqueueing is `enqueue` and `enqueue_many`.

use std::{process::ExitCode, time::Duration};

use clap::{Args, Subcommand};
use redrive_client::{Client, TaskRef, Waited};
use redrive_proto::v1;

use super::{
    FILTER_HELP, PageArgs, SelectArgs,
    cancel::{self, CancelArgs},
    enqueue::{self, EnqueueArgs},
    life::WhichTask,
    task_view,
    update::{self, UpdateArgs},
};
use crate::{
    context::Context,
    exit, listing,
    output::{self, Format},
    values,
};

/// The longest that anybody waits: "for ever".
const FOREVER: Duration = Duration::from_secs(100 * 365 * 24 * 3_600);

/// The verbs of `task`.
#[derive(Debug, Args)]
pub(crate) struct TaskArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Enqueue one task, or a file of them; prints the id
    Enqueue(Box<EnqueueArgs>),
    /// Show one task: where it stands, what holds for it, its history
    Get(GetArgs),
    /// List tasks, in the order of their enqueueing
    List(ListArgs),
    /// Wait until a task has ended; the exit code says how
    Wait(WaitArgs),
    /// Cancel tasks; a running one is asked to stop
    Cancel(Box<CancelArgs>),
    /// Change a task: time limits, payload, priority, start, attempts
    Update(Box<UpdateArgs>),
}

const GET_HELP: &str = "\
FROM says which level a value comes from: the task itself, its kind, its queue,
or the server's default. A task that was enqueued with --key is found by it as
long as the key is remembered.

Examples:
  redrive task get $ID
  redrive task get --queue mail --key user:4711
  redrive task get $ID -o json | jq .task.result";

#[derive(Debug, Args)]
#[command(after_help = GET_HELP)]
struct GetArgs {
    #[command(flatten)]
    which: WhichTask,
}

#[derive(Debug, Args)]
#[command(after_help = FILTER_HELP)]
struct ListArgs {
    #[command(flatten)]
    select: SelectArgs,
    #[command(flatten)]
    page: PageArgs,
}

const WAIT_HELP: &str = "\
Exit codes: 0 succeeded, 10 failed, routed on or dead letter, 11 cancelled or
discarded, 12 the time ran out first (the task goes on).

Examples:
  redrive task wait $ID
  redrive task wait --queue mail --key user:4711
  redrive task wait $ID --timeout 5m || echo \"it ended with code $?\"";

#[derive(Debug, Args)]
#[command(after_help = WAIT_HELP)]
struct WaitArgs {
    #[command(flatten)]
    which: WhichTask,
    /// How long to wait [default: for ever]
    #[arg(long, value_parser = values::duration, value_name = "TIME")]
    timeout: Option<Duration>,
}

pub(crate) async fn run(context: &Context, args: TaskArgs) -> anyhow::Result<ExitCode> {
    match args.verb {
        Verb::Enqueue(args) => Box::pin(enqueue::run(context, *args)).await,
        Verb::Get(args) => {
            let task = Some(context.client().await?.get(args.which.task()).await?);
            let answer = v1::GetTaskResponse { task };
            show(context, &answer, answer.task.as_ref())
        }
        Verb::List(args) => list(context, args).await,
        Verb::Wait(args) => {
            let client = context.client().await?;
            wait(context, &client, args.which.task(), args.timeout).await
        }
        Verb::Cancel(args) => Box::pin(cancel::run(context, *args)).await,
        Verb::Update(args) => {
            let (task, update) = update::build(*args)?;
            let task = Some(context.client().await?.update(task, update).await?);
            let answer = v1::UpdateTaskResponse { task };
            show(context, &answer, answer.task.as_ref())
        }
    }
}

/// Prints one task that an answer brought.
fn show<M: output::ProtoJson>(
    context: &Context,
    answer: &M,
    task: Option<&v1::Task>,
) -> anyhow::Result<ExitCode> {
    context.out.answer(answer, |style| {
        task.map(|task| task_view::full(style, task))
            .unwrap_or_default()
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn list(context: &Context, args: ListArgs) -> anyhow::Result<ExitCode> {
    let client = context.client().await?;
    let selection = client.select(&args.select.queue, &args.select.filter);
    let page = async |size: u32, token: String| {
        let page = client.list_page(selection.clone(), size, &token).await?;
        Ok((page.tasks, page.next_page_token))
    };
    let Some((tasks, next_page_token)) = listing::run(context, &args.page, page).await? else {
        return Ok(ExitCode::SUCCESS);
    };
    if tasks.is_empty() && context.out.format == Format::Table {
        output::note("no tasks");
    }
    let answer = v1::ListTasksResponse {
        tasks,
        next_page_token,
    };
    context.out.list(&answer, &answer.tasks, |style| {
        task_view::list(style, &answer.tasks)
    })?;
    listing::note_more(context, &answer.next_page_token);
    Ok(ExitCode::SUCCESS)
}

/// Waits for a task's end, prints it, and answers the code that says how it ended.
pub(crate) async fn wait(
    context: &Context,
    client: &Client,
    task: impl Into<TaskRef>,
    timeout: Option<Duration>,
) -> anyhow::Result<ExitCode> {
    let (ended, task) = match client.wait(task, timeout.unwrap_or(FOREVER)).await? {
        Waited::Ended(task) => (true, task),
        Waited::TimedOut(task) => (false, task),
    };
    let code = wait_code(ended, task.state());
    let answer = v1::WaitTaskResponse {
        ended,
        task: Some(task),
    };
    show(context, &answer, answer.task.as_ref())?;
    if !ended {
        output::note("redrive: the time ran out; the task goes on");
    }
    Ok(ExitCode::from(code))
}

fn wait_code(ended: bool, state: v1::TaskState) -> u8 {
    match state {
        _ if !ended => exit::WAIT_TIMED_OUT,
        v1::TaskState::Succeeded => 0,
        v1::TaskState::Dead | v1::TaskState::Failed | v1::TaskState::Routed => exit::WAIT_FAILED,
        v1::TaskState::Cancelled | v1::TaskState::Discarded => exit::WAIT_CANCELLED,
        v1::TaskState::Unspecified
        | v1::TaskState::Scheduled
        | v1::TaskState::Ready
        | v1::TaskState::Leased
        | v1::TaskState::Running
        | v1::TaskState::Retrying => exit::OTHER,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_of_a_wait_says_how_the_task_ended() {
        for (ended, state, code) in [
            (true, v1::TaskState::Succeeded, 0),
            (true, v1::TaskState::Dead, 10),
            (true, v1::TaskState::Failed, 10),
            (true, v1::TaskState::Routed, 10),
            (true, v1::TaskState::Cancelled, 11),
            (true, v1::TaskState::Discarded, 11),
            (false, v1::TaskState::Retrying, 12),
        ] {
            assert_eq!(wait_code(ended, state), code, "{state:?}");
        }
    }
}
