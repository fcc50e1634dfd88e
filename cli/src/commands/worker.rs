//! `worker`: two ready-made workers, and a look at those connected.
//!
//! The runners are the worker SDK's; this module hands them their flags and runs them until a
//! signal, or the coordinator, says otherwise.

use std::{process::ExitCode, time::Duration};

use clap::{Args, Subcommand};
use redrive_proto::v1;
use redrive_worker::{
    StopReport, Worker, WorkerBuilder,
    runners::{exec, http},
};

use crate::{
    context::Context,
    exit,
    output::{
        self, Format, Table, human,
        table::{Column, Style},
    },
    values,
};

/// The verbs of `worker`.
#[derive(Debug, Args)]
pub(crate) struct WorkerArgs {
    #[command(subcommand)]
    verb: Verb,
}

impl WorkerArgs {
    /// True for the verbs that run until they are told to stop.
    pub(crate) fn is_server(&self) -> bool {
        match self.verb {
            Verb::Http(_) | Verb::Exec(_) => true,
            Verb::List(_) | Verb::Drain(_) => false,
        }
    }
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run a worker that makes each task an HTTP request
    Http(HttpArgs),
    /// Run a worker that makes each task a process
    Exec(ExecArgs),
    /// List the workers connected
    List(ListArgs),
    /// Ask workers to finish what they hold and leave
    Drain(DrainArgs),
}

/// What every ready-made worker has.
#[derive(Debug, Args)]
struct RunArgs {
    /// A queue to serve, with its share while all have work, as in mail:3; may be repeated
    #[arg(
        short,
        long = "queue",
        env = "REDRIVE_QUEUES",
        hide_env_values = true,
        value_delimiter = ',',
        required = true,
        value_parser = values::weighted_queue,
        value_name = "QUEUE[:WEIGHT]"
    )]
    queues: Vec<v1::QueueSubscription>,
    /// How many tasks run at once
    #[arg(
        long,
        env = "REDRIVE_SLOTS",
        hide_env_values = true,
        default_value_t = redrive_worker::DEFAULT_SLOTS,
        value_name = "N"
    )]
    slots: u32,
    /// How long what runs may go on after a signal to stop; then it is given back
    #[arg(
        long,
        env = "REDRIVE_DRAIN_TIMEOUT",
        hide_env_values = true,
        default_value = "30s",
        value_parser = values::duration,
        value_name = "TIME"
    )]
    drain_timeout: Duration,
    /// The worker's name [default: the machine's name and the process id]
    #[arg(
        long,
        env = "REDRIVE_WORKER_ID",
        hide_env_values = true,
        value_name = "NAME"
    )]
    worker_id: Option<String>,
}

const HTTP_HELP: &str = "\
A task's payload is a JSON object: `url` (required), `method` (GET, or POST
where there is a body), `headers` (an object of strings), `body` (a string as it
is, anything else as JSON). The request carries Redrive-Task-Id, -Attempt, -Run,
-Fence, and an Idempotency-Key.

2xx completes the task with the response as its result. 429 is RATE_LIMITED
(Retry-After is passed on), 409 and 423 CONFLICT, 502 to 504 DEPENDENCY_DOWN,
404 and 410 NOT_FOUND, 401 and 403 AUTH, 408 TIMEOUT, other 4xx INVALID, no
connection NETWORK; what that means is the retry policy's to say.

Whoever may enqueue can make this worker call whatever it can reach.

Examples:
  redrive worker http --queue hooks --slots 64
  redrive task enqueue call -q hooks -p '{\"url\":\"http://localhost:8000/\"}'";

#[derive(Debug, Args)]
#[command(after_help = HTTP_HELP)]
struct HttpArgs {
    #[command(flatten)]
    run: RunArgs,
    /// How long one request may take, its response included
    #[arg(
        long,
        env = "REDRIVE_HTTP_TIMEOUT",
        hide_env_values = true,
        default_value = "30s",
        value_parser = values::duration,
        value_name = "TIME"
    )]
    timeout: Duration,
}

const EXEC_HELP: &str = "\
The program runs once a task, without a shell. It finds the payload on stdin and
the task in REDRIVE_TASK_ID, _QUEUE, _KIND, _RUN, _ATTEMPT, _ATTEMPTS_MAX,
_FINAL_ATTEMPT, _FENCE, _LABELS, _CONTENT_TYPE, _SOFT_LIMIT_MS, _HARD_LIMIT_MS,
_PREVIOUS_FAILURE_CLASS and a few more. How it ends is told by its exit code:
  0 completed, with stdout as the result     69 DEPENDENCY_DOWN
 75 try again                                76 CONFLICT
 65 INVALID                                  77 AUTH
 68 NETWORK                                  other codes INTERNAL
Killed by a signal counts as a crash. The end of stderr is kept for people. At
the soft limit or a cancel it gets SIGTERM, at the hard limit SIGKILL.

Examples:
  redrive worker exec --queue demo -- sh -c 'cat; echo done >&2'
  redrive worker exec --queue video --slots 2 -- ./transcode.sh --fast";

#[derive(Debug, Args)]
#[command(after_help = EXEC_HELP)]
struct ExecArgs {
    #[command(flatten)]
    run: RunArgs,
    /// The program and its arguments, after --
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
}

#[derive(Debug, Args)]
struct ListArgs {
    /// Only those that serve this queue [default: all]
    #[arg(
        short,
        long,
        default_value = "",
        value_name = "QUEUE",
        hide_default_value = true
    )]
    queue: String,
}

const DRAIN_HELP: &str = "\
Exit code 1 where a worker named is not connected.

Examples:
  redrive worker drain host1-4711 --deadline 5m
  redrive worker list -o jsonl | jq -r .info.workerId |
    xargs redrive worker drain";

#[derive(Debug, Args)]
#[command(after_help = DRAIN_HELP)]
struct DrainArgs {
    /// The workers' ids; see `redrive worker list`
    #[arg(required = true, value_name = "WORKER_ID")]
    ids: Vec<String>,
    /// Why, for people
    #[arg(
        long,
        default_value = "",
        value_name = "TEXT",
        hide_default_value = true
    )]
    reason: String,
    /// What is not finished by then is given back [default: everything is finished first]
    #[arg(long, value_parser = values::duration, value_name = "TIME")]
    deadline: Option<Duration>,
}

pub(crate) async fn run(context: &Context, args: WorkerArgs) -> anyhow::Result<ExitCode> {
    match args.verb {
        Verb::Http(args) => {
            let options = http::Options {
                timeout: args.timeout,
                ..http::Options::default()
            };
            let runner =
                http::Runner::new(options).map_err(|error| exit::usage(error.to_string()))?;
            serve(builder(context, args.run)?.fallback(runner)).await
        }
        Verb::Exec(args) => {
            let mut words = args.command.into_iter();
            let program = words.next().unwrap_or_default();
            let runner = exec::Runner::new(program, words, exec::Options::default())
                .map_err(|error| exit::usage(error.to_string()))?;
            serve(builder(context, args.run)?.fallback(runner)).await
        }
        Verb::List(args) => list(context, &args.queue).await,
        Verb::Drain(args) => drain(context, args).await,
    }
}

fn builder(context: &Context, args: RunArgs) -> anyhow::Result<WorkerBuilder<()>> {
    let mut builder = Worker::builder(context.address()?.to_string())
        .namespace(&context.global.namespace)
        .version(env!("CARGO_PKG_VERSION"))
        .slots(args.slots)
        .drain_timeout(args.drain_timeout);
    for queue in args.queues {
        builder = builder.queue(queue.queue, queue.weight);
    }
    if let Some(id) = args.worker_id {
        builder = builder.worker_id(id);
    }
    Ok(builder)
}

async fn serve(builder: WorkerBuilder<()>) -> anyhow::Result<ExitCode> {
    let worker = builder
        .build()
        .map_err(|error| exit::usage(error.to_string()))?;
    tracing::info!(worker_id = worker.id(), "serving; SIGTERM or Ctrl-C drains");
    let report = worker.run_until_signalled().await?;
    tell(&report);
    Ok(ExitCode::from(report.exit_code()))
}

fn tell(report: &StopReport) {
    tracing::info!(
        finished = report.finished,
        released = report.released,
        superseded = report.superseded,
        lost = report.lost,
        unreported = report.unreported,
        abandoned = report.abandoned,
        "left"
    );
}

async fn list(context: &Context, queue: &str) -> anyhow::Result<ExitCode> {
    let workers = context.client().await?.workers(queue).await?;
    if workers.is_empty() && context.out.format == Format::Table {
        output::note("no workers are connected");
        return Ok(ExitCode::SUCCESS);
    }
    let answer = v1::ListWorkersResponse { workers };
    context.out.list(&answer, &answer.workers, |style| {
        table(style, &answer.workers)
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn drain(context: &Context, args: DrainArgs) -> anyhow::Result<ExitCode> {
    let client = context.client().await?;
    let ids: Vec<&str> = args.ids.iter().map(String::as_str).collect();
    let worker_ids = client
        .drain_workers(&ids, &args.reason, args.deadline)
        .await?;
    let missing: Vec<&str> = ids
        .into_iter()
        .filter(|id| !worker_ids.iter().any(|found| found == id))
        .collect();
    let answer = v1::DrainWorkersResponse { worker_ids };
    context.out.answer(&answer, |_style| {
        answer
            .worker_ids
            .iter()
            .map(|id| format!("asked {id} to drain\n"))
            .collect()
    })?;
    if missing.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    output::note(&format!("redrive: not connected: {}", missing.join(", ")));
    Ok(ExitCode::from(exit::OTHER))
}

fn table(style: &Style, workers: &[v1::Worker]) -> String {
    let columns = [
        Column::Text("WORKER"),
        Column::Text("STATE"),
        Column::Number("HELD"),
        Column::Number("SLOTS"),
        Column::Text("QUEUES"),
        Column::Text("CONNECTED"),
        Column::Text("SILENT"),
        Column::Text("VERSION"),
    ];
    let mut table = Table::new(style, &columns);
    for worker in workers {
        let info = worker.info.clone().unwrap_or_default();
        let queues: Vec<String> = info.queues.iter().map(share).collect();
        table.row([
            info.worker_id,
            human::enum_name(worker.state().as_str_name(), "WORKER_STATE_"),
            worker.held.to_string(),
            worker.tasks_max.to_string(),
            queues.join(","),
            human::age(style.now, worker.connect_time.as_ref()),
            silence(worker),
            info.version,
        ]);
    }
    table.render()
}

fn share(queue: &v1::QueueSubscription) -> String {
    match queue.weight {
        0 | 1 => queue.queue.clone(),
        weight => format!("{}:{weight}", queue.queue),
    }
}

fn silence(worker: &v1::Worker) -> String {
    let silence = worker
        .silence
        .and_then(|silence| Duration::try_from(silence).ok());
    silence.map(human::short).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Only {
        #[command(subcommand)]
        verb: Verb,
    }

    fn parse(words: &[&str]) -> Result<Verb, clap::Error> {
        Only::try_parse_from([&["worker"], words].concat()).map(|it| it.verb)
    }

    #[test]
    fn queues_come_with_their_weights() {
        let verb = parse(&["http", "--queue", "mail:3", "-q", "slow"]).unwrap();
        let Verb::Http(args) = verb else {
            panic!("{verb:?}")
        };
        let shares: Vec<String> = args.run.queues.iter().map(share).collect();
        assert_eq!(shares, ["mail:3", "slow"]);
    }

    #[test]
    fn everything_after_two_dashes_is_the_command() {
        let verb = parse(&["exec", "-q", "a", "--", "sh", "-c", "exit 1", "--queue"]).unwrap();
        let Verb::Exec(args) = verb else {
            panic!("{verb:?}")
        };
        assert_eq!(args.command, ["sh", "-c", "exit 1", "--queue"]);
        assert!(parse(&["exec", "-q", "a"]).is_err(), "a command is needed");
        assert!(parse(&["exec", "--", "true"]).is_err(), "a queue is needed");
    }

    #[test]
    fn only_what_runs_logs_as_a_server() {
        for (words, server) in [
            (&["http", "-q", "a"][..], true),
            (&["exec", "-q", "a", "--", "true"], true),
            (&["list"], false),
            (&["drain", "w1"], false),
        ] {
            let args = WorkerArgs {
                verb: parse(words).unwrap(),
            };
            assert_eq!(args.is_server(), server, "{words:?}");
        }
    }
}
