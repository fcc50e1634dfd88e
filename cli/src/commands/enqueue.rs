//! `task enqueue`: one task from flags. A file of tasks is `enqueue_many`.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::Args;
use redrive_client::NewTask;
use redrive_proto::v1;

use super::{enqueue_many, task};
use crate::{
    context::Context,
    exit, files,
    output::{self, Format},
    values,
};

const HELP: &str = "\
Prints the task's id once it is accepted. With --wait prints the ended task, and
the exit code says how it ended, as for `task wait`.

--from-file reads one JSON object a line: the proto3 JSON of a TaskSpec, where
`payload` may be any JSON value (sent as application/json); an object of just
the texts `data` (base64) and `contentType` is sent as those bytes. Lines that
are no task, or that the coordinator refuses, are told on stderr and counted;
the rest goes through. Exit code 1 if any was refused. With -o jsonl one
EnqueueAck a line is printed, its `sequence` being the line's number; -o json
prints the totals.

Examples:
  redrive task enqueue mail.send -q mail --payload '{\"to\":\"ada\"}'
  redrive task enqueue report -q slow --delay 5m --hard 10m --priority high
  ID=$(redrive task enqueue sync -q erp --max-attempts 3 --label tenant=acme)
  redrive task enqueue thumbnail -q img --payload-file cat.png --wait
  jq -c '{queue:\"mail\",kind:\"send\",payload:.}' users.jsonl |
    redrive task enqueue --from-file -
  echo '{\"queue\":\"mail\",\"kind\":\"send\",\"delay\":\"300s\",\"maxAttempts\":3}' |
    redrive task enqueue --from-file -";

/// The flags that describe one task, which a file does by itself.
const ONE_TASK: [&str; 16] = [
    "kind",
    "queue",
    "payload",
    "payload_file",
    "content_type",
    "priority",
    "delay",
    "at",
    "soft",
    "hard",
    "policy",
    "policy_file",
    "max_attempts",
    "labels",
    "wait",
    "wait_timeout",
];

/// The flags of `task enqueue`.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct EnqueueArgs {
    /// Which handler runs it, for example "mail.send"
    #[arg(required_unless_present = "from_file")]
    kind: Option<String>,
    /// The queue, created on first use
    #[arg(
        short,
        long,
        required_unless_present = "from_file",
        value_name = "QUEUE"
    )]
    queue: Option<String>,
    #[command(flatten)]
    payload: PayloadArgs,
    #[command(flatten)]
    spec: SpecArgs,
    /// Wait for the end, print the task, exit as `task wait`
    #[arg(short, long)]
    wait: bool,
    /// How long to wait [default: for ever]
    #[arg(long, requires = "wait", value_parser = values::duration, value_name = "TIME")]
    wait_timeout: Option<Duration>,
    /// Enqueue a file of tasks, one a line; `-` reads stdin
    #[arg(long, value_name = "FILE", conflicts_with_all = ONE_TASK)]
    from_file: Option<PathBuf>,
}

/// What the handler is given.
#[derive(Debug, Args)]
struct PayloadArgs {
    /// What the handler is given, as JSON
    #[arg(short, long, value_name = "JSON", conflicts_with = "payload_file")]
    payload: Option<String>,
    /// The same, from a file of any bytes; `-` reads stdin
    #[arg(long, value_name = "FILE")]
    payload_file: Option<PathBuf>,
    /// What the bytes are [default: application/json for --payload and files that end in .json,
    /// else application/octet-stream]
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,
}

/// When and how it runs.
#[derive(Debug, Args)]
struct SpecArgs {
    /// How urgent it is within its queue [default: normal]
    #[arg(long, value_enum, hide_possible_values = false)]
    priority: Option<values::Priority>,
    /// It may start only after this long
    #[arg(long, value_parser = values::duration, value_name = "TIME", conflicts_with = "at")]
    delay: Option<Duration>,
    /// It may start only at this instant, as in 2027-01-31T08:00:00Z
    #[arg(long, value_parser = values::instant, value_name = "INSTANT")]
    at: Option<prost_types::Timestamp>,
    /// After this long of a run its handler is asked to stop [default: the queue's]
    #[arg(long, value_parser = values::duration, value_name = "TIME")]
    soft: Option<Duration>,
    /// After this long of a run it is ended as a TIMEOUT failure [default: the queue's]
    #[arg(long, value_parser = values::duration, value_name = "TIME")]
    hard: Option<Duration>,
    /// The named retry policy [default: the queue's, else the server's]
    #[arg(long, value_name = "NAME", conflicts_with = "policy_file")]
    policy: Option<String>,
    /// A retry policy of its own: proto3 JSON of a RetryPolicy
    #[arg(long, value_name = "FILE")]
    policy_file: Option<PathBuf>,
    /// Failures that end it; 0 is unlimited, 1 never retries [default: the policy's]
    #[arg(long, value_name = "N")]
    max_attempts: Option<u32>,
    /// A searchable fact; may be repeated
    #[arg(short, long = "label", value_parser = values::label, value_name = "KEY=VALUE")]
    labels: Vec<(String, String)>,
}

pub(crate) async fn run(context: &Context, args: EnqueueArgs) -> anyhow::Result<ExitCode> {
    if let Some(path) = args.from_file {
        return enqueue_many::run(context, &path).await;
    }
    let (wait, timeout) = (args.wait, args.wait_timeout);
    let task = build(args)?;
    let client = context.client().await?;
    let answer = client.enqueue(task).await?;
    if !wait {
        context
            .out
            .answer(&answer, |_style| answer.task_id.clone())?;
        return Ok(ExitCode::SUCCESS);
    }
    if context.out.format == Format::Table {
        output::note(&format!("enqueued {}, waiting for its end", answer.task_id));
    }
    task::wait(context, &client, &answer.task_id, timeout).await
}

fn build(args: EnqueueArgs) -> anyhow::Result<NewTask> {
    let payload = read_payload(args.payload)?;
    let spec = args.spec;
    let mut task = NewTask::new(
        args.queue.unwrap_or_default(),
        args.kind.unwrap_or_default(),
    )
    .timeouts(spec.soft, spec.hard);
    if let Some(payload) = payload {
        task = task.bytes(payload.data, payload.content_type);
    }
    if let Some(priority) = spec.priority {
        task = task.priority(priority.into());
    }
    if let Some(delay) = spec.delay {
        task = task.delay(delay);
    }
    if let Some(at) = spec.at {
        let at = std::time::SystemTime::try_from(at)
            .map_err(|error| exit::usage(format!("--at is out of range: {error}")))?;
        task = task.not_before(at);
    }
    if let Some(name) = spec.policy {
        task = task.retry_policy(name);
    }
    if let Some(path) = spec.policy_file {
        task = task.inline_retry_policy(files::read_policy(&path)?);
    }
    if let Some(attempts) = spec.max_attempts {
        task = task.max_attempts(attempts);
    }
    for (key, value) in spec.labels {
        task = task.label(key, value);
    }
    Ok(task)
}

fn read_payload(args: PayloadArgs) -> anyhow::Result<Option<v1::Payload>> {
    const JSON: &str = "application/json";
    let (data, default) = match (args.payload, args.payload_file) {
        (Some(text), _) => {
            if args.content_type.is_none()
                && let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(&text)
            {
                return Err(exit::usage(format!(
                    "--payload is no JSON ({error}); quote texts as '\"text\"', or say what it is \
                     with --content-type, or give any bytes with --payload-file (- for stdin)"
                )));
            }
            (text.into_bytes(), JSON)
        }
        (None, Some(path)) => {
            let is_json = path.extension().is_some_and(|end| end == "json");
            let default = if is_json {
                JSON
            } else {
                "application/octet-stream"
            };
            (files::read(&path, files::PAYLOAD_BYTES_MAX)?, default)
        }
        (None, None) if args.content_type.is_some() => {
            return Err(exit::usage(
                "--content-type needs --payload or --payload-file",
            ));
        }
        (None, None) => return Ok(None),
    };
    let content_type = args.content_type.unwrap_or_else(|| default.to_owned());
    Ok(Some(v1::Payload {
        data: data.into(),
        content_type,
    }))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Only {
        #[command(flatten)]
        args: EnqueueArgs,
    }

    fn spec(flags: &[&str]) -> anyhow::Result<v1::TaskSpec> {
        let words = ["enqueue", "send", "-q", "mail"].iter().chain(flags);
        Ok(build(Only::try_parse_from(words)?.args)?.build()?)
    }

    #[test]
    fn every_flag_reaches_the_task() {
        let spec = spec(&[
            "--payload",
            "{\"a\": 1}",
            "--priority",
            "high",
            "--delay",
            "5m",
            "--soft",
            "1m",
            "--hard",
            "2m",
            "--policy",
            "sidekiq",
            "--max-attempts",
            "0",
            "--label",
            "a=b",
        ])
        .unwrap();
        let span = |seconds| prost_types::Duration { seconds, nanos: 0 };
        assert_eq!((spec.queue.as_str(), spec.kind.as_str()), ("mail", "send"));
        let payload = spec.payload.as_ref().unwrap();
        assert_eq!(payload.data, "{\"a\": 1}");
        assert_eq!(payload.content_type, "application/json");
        assert_eq!(spec.priority(), v1::Priority::High);
        assert_eq!(spec.start, Some(v1::task_spec::Start::Delay(span(300))));
        let timeouts = v1::Timeouts {
            soft: Some(span(60)),
            hard: Some(span(120)),
            ..Default::default()
        };
        assert_eq!(spec.timeouts, Some(timeouts));
        assert_eq!(
            spec.retry,
            Some(v1::task_spec::Retry::RetryPolicy("sidekiq".to_owned()))
        );
        assert_eq!(spec.max_attempts, Some(0));
        assert_eq!(spec.labels["a"], "b");
    }

    #[test]
    fn a_payload_that_is_no_json_needs_to_say_what_it_is() {
        let error = spec(&["--payload", "hello"]).unwrap_err();
        assert_eq!(exit::code(&error), exit::USAGE);
        let spec = spec(&["--payload", "hello", "--content-type", "text/plain"]).unwrap();
        assert_eq!(spec.payload.unwrap().content_type, "text/plain");
    }

    #[test]
    fn a_file_of_tasks_excludes_the_flags_of_one_task() {
        let parse = |words: &[&str]| Only::try_parse_from([&["enqueue"], words].concat());
        assert!(parse(&["--from-file", "-"]).is_ok());
        for words in [
            &["send"][..],
            &["-q", "mail"],
            &["--hard", "1s"],
            &["--wait"],
        ] {
            assert!(
                parse(&[&["--from-file", "-"], words].concat()).is_err(),
                "{words:?}"
            );
        }
        assert!(parse(&["send"]).is_err(), "a task needs a queue");
        assert!(parse(&["-q", "mail"]).is_err(), "a task needs a kind");
        assert!(
            parse(&[
                "send",
                "-q",
                "m",
                "--delay",
                "1s",
                "--at",
                "2027-01-01T00:00:00Z"
            ])
            .is_err()
        );
    }
}
