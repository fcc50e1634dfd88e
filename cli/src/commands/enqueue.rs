//! `task enqueue`: one task from flags. A file of tasks is `enqueue_many`.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::{Args, builder::NonEmptyStringValueParser};
use redrive_client::NewTask;
use redrive_proto::v1;

use super::{
    enqueue_many,
    life::{LimitArgs, TermsArgs},
    payload::{PayloadArgs, read_payload},
    task,
};
use crate::{
    context::Context,
    files,
    output::{self, Format},
    values,
};

const HELP: &str = "\
Prints the task's id once it is accepted. With --wait prints the ended task, and
the exit code says how it ended, as for `task wait`. Where --request-id, --key
or --unique finds an earlier task, the id is that task's, and stderr says so.

--key names what the task means: enqueued again within the window, nothing
happens. --unique keeps two tasks from being there at once. --then goes on with
a chain: each task's payload is the result of the one before. The payload of a
follow-up (--on-..) is a FailureContext: which task ended, how, and why.

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
  redrive task enqueue welcome -q mail --key user:4711 --ttl 1h
  redrive task enqueue index -q search --unique doc:7 --on-conflict replace
  redrive task enqueue render -q pdf --then send@mail --on-exhausted tell@ops
  jq -c '{queue:\"mail\",kind:\"send\",payload:.}' users.jsonl |
    redrive task enqueue --from-file -
  echo '{\"queue\":\"mail\",\"kind\":\"send\",\"delay\":\"300s\",\"maxAttempts\":3}' |
    redrive task enqueue --from-file -";

/// The flags that describe one task, which a file does by itself.
const ONE_TASK: [&str; 35] = [
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
    "schema_version",
    "then",
    "extend_max",
    "ttl",
    "deadline",
    "result_ttl",
    "at_most_once",
    "at_least_once",
    "on_success",
    "on_failure",
    "on_exhausted",
    "on_cancelled",
    "request_id",
    "key",
    "key_window",
    "unique",
    "unique_scope",
    "on_conflict",
    "postpone_max",
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
    /// The queue, created on first use [default: the kind's]
    #[arg(short, long, value_parser = NonEmptyStringValueParser::new(), value_name = "QUEUE")]
    queue: Option<String>,
    #[command(flatten)]
    payload: PayloadArgs,
    #[command(flatten)]
    spec: SpecArgs,
    #[command(flatten)]
    keys: KeyArgs,
    #[command(flatten)]
    terms: TermsArgs,
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
    #[command(flatten)]
    limits: LimitArgs,
    /// The named retry policy [default: the kind's, else the queue's]
    #[arg(long, value_name = "NAME", conflicts_with = "policy_file")]
    policy: Option<String>,
    /// A retry policy of its own: proto3 JSON of a RetryPolicy
    #[arg(long, value_name = "FILE")]
    policy_file: Option<PathBuf>,
    /// Failures that end it; 0 is unlimited, 1 never retries [default: the policy's]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    max_attempts: Option<u32>,
    /// A searchable fact; may be repeated
    #[arg(short, long = "label", value_parser = values::label, value_name = "KEY=VALUE")]
    labels: Vec<(String, String)>,
    /// Which version of its payload's format it has: workers may ask for some only
    #[arg(long, value_name = "N")]
    schema_version: Option<u32>,
    /// Go on with this task when it has succeeded; may be repeated, for a chain
    #[arg(long, value_parser = values::next_task, value_name = "KIND[@QUEUE]")]
    then: Vec<v1::TaskTemplate>,
}

/// What makes enqueueing repeatable, or keeps tasks apart.
#[derive(Debug, Args)]
struct KeyArgs {
    /// Names this request: sent again with the same content it does nothing
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
    /// Names what the task means, within its queue: enqueued once
    #[arg(long, value_parser = NonEmptyStringValueParser::new(), value_name = "KEY")]
    key: Option<String>,
    /// How long the key is remembered [default: 24h]
    #[arg(long, value_parser = values::duration, value_name = "TIME", requires = "key")]
    key_window: Option<Duration>,
    /// At most one task of the queue at a time has this key
    #[arg(long, value_name = "KEY")]
    unique: Option<String>,
    /// In which states it holds the unique key [default: waiting, and running
    /// unless --on-conflict changes the holder]
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        value_name = "STATES",
        requires = "unique"
    )]
    unique_scope: Vec<values::UniqueScope>,
    /// What becomes of it where another task holds the unique key [default: return]
    #[arg(long, value_enum, value_name = "ACTION", requires = "unique")]
    on_conflict: Option<values::OnConflict>,
    /// How long after its enqueueing the holder's start may be put off at most
    #[arg(long, value_parser = values::duration, value_name = "TIME", requires = "unique")]
    postpone_max: Option<Duration>,
}

impl KeyArgs {
    fn apply(self, mut spec: v1::TaskSpec) -> v1::TaskSpec {
        spec.idempotency_key = self.key.unwrap_or_default();
        spec.idempotency_window = self.key_window.map(values::proto_duration);
        let states = self.unique_scope.into_iter().map(v1::UniqueState::from);
        let scope = states.map(i32::from).collect();
        let on_conflict = self.on_conflict.map(v1::ConflictAction::from);
        spec.unique = self.unique.map(|key| {
            Box::new(v1::UniqueKey {
                key,
                scope,
                on_conflict: on_conflict.unwrap_or_default().into(),
                postpone_max: self.postpone_max.map(values::proto_duration),
            })
        });
        spec
    }
}

pub(crate) async fn run(context: &Context, args: EnqueueArgs) -> anyhow::Result<ExitCode> {
    if let Some(path) = args.from_file {
        return enqueue_many::run(context, &path).await;
    }
    let (wait, timeout) = (args.wait, args.wait_timeout);
    let request_id = args.keys.request_id.clone();
    let task = build(args)?;
    let mut client = context.client().await?;
    if let Some(id) = request_id {
        client = client.with_request_id(&id)?;
    }
    let answer = client.enqueue(task).await?;
    if let Some(told) = effect(answer.effect()) {
        output::note(told);
    }
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

/// What is worth telling of what an enqueue did.
fn effect(effect: v1::EnqueueEffect) -> Option<&'static str> {
    match effect {
        v1::EnqueueEffect::Unspecified | v1::EnqueueEffect::Created => None,
        v1::EnqueueEffect::Existing => Some("nothing was enqueued: an earlier task answers for it"),
        v1::EnqueueEffect::Replaced => Some("nothing was enqueued: a waiting task took it over"),
        v1::EnqueueEffect::Rescheduled => {
            Some("nothing was enqueued: a waiting task took over its start")
        }
    }
}

fn build(args: EnqueueArgs) -> anyhow::Result<NewTask> {
    use v1::task_spec::{Retry, Start};

    let spec = args.spec;
    let start = match (spec.delay, spec.at) {
        (Some(delay), _) => Some(Start::Delay(values::proto_duration(delay))),
        (None, at) => at.map(Start::NotBefore),
    };
    let retry = match (spec.policy, spec.policy_file) {
        (Some(name), _) => Some(Retry::RetryPolicy(name)),
        (None, Some(path)) => Some(Retry::InlineRetryPolicy(files::read_policy(&path)?.into())),
        (None, None) => None,
    };
    let priority = spec.priority.map(v1::Priority::from).unwrap_or_default();
    let task = v1::TaskSpec {
        queue: args.queue.unwrap_or_default(),
        kind: args.kind.unwrap_or_default(),
        payload: read_payload(args.payload)?,
        priority: priority.into(),
        start,
        timeouts: spec.limits.timeouts(),
        retry,
        max_attempts: spec.max_attempts,
        labels: spec.labels.into_iter().collect(),
        schema_version: spec.schema_version.unwrap_or_default(),
        terms: args.terms.terms().map(Box::new),
        then: spec.then,
        ..Default::default()
    };
    Ok(args.keys.apply(task).into())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::exit;

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
    fn every_flag_of_its_life_and_keys_reaches_the_task() {
        let spec = spec(&[
            "--key",
            "user:1",
            "--key-window",
            "2h",
            "--unique",
            "doc:7",
            "--unique-scope",
            "waiting,dead",
            "--on-conflict",
            "replace",
            "--postpone-max",
            "10m",
            "--ttl",
            "1m",
            "--at-most-once",
            "--schema-version",
            "3",
            "--on-exhausted",
            "tell@ops",
            "--then",
            "send@mail",
            "--then",
            "done",
            "--hard",
            "1m",
            "--extend-max",
            "10m",
        ])
        .unwrap();
        let span = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
        assert_eq!(spec.idempotency_key, "user:1");
        assert_eq!(spec.idempotency_window, span(7_200));
        let unique = v1::UniqueKey {
            key: "doc:7".to_owned(),
            scope: vec![1, 3],
            on_conflict: v1::ConflictAction::ReplaceWaiting.into(),
            postpone_max: span(600),
        };
        assert_eq!(spec.unique, Some(Box::new(unique)));
        let terms = spec.terms.unwrap();
        assert_eq!(
            (terms.ttl, terms.delivery()),
            (span(60), v1::DeliveryMode::AtMostOnce)
        );
        let told = terms.follow_ups.unwrap().on_exhausted.unwrap();
        assert_eq!((&*told.kind, &*told.queue), ("tell", "ops"));
        assert_eq!(spec.schema_version, 3);
        let then: Vec<&str> = spec.then.iter().map(|next| &*next.kind).collect();
        assert_eq!(then, ["send", "done"]);
        assert_eq!(spec.timeouts.unwrap().extend_max, span(600));
    }

    #[test]
    fn what_makes_no_sense_alone_is_a_usage_error_that_names_the_flag() {
        for (flags, named) in [
            (&["--key-window", "1h"][..], "--key"),
            (&["--on-conflict", "reject"], "--unique"),
            (
                &["--unique-scope", "asleep", "--unique", "k"],
                "--unique-scope",
            ),
            // As a variable of a shell that is not set: no key would mean no protection.
            (&["--key", ""], "--key"),
            (&["--max-attempts", "-1"], "--max-attempts"),
        ] {
            let error = spec(flags).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
        let error = spec(&["--ttl", "0"]).unwrap_err();
        assert_eq!(exit::code(&error), 67);
        let told = exit::sentence(&error);
        assert!(told.starts_with("--ttl is 0; 1 ms to 3,650 days"), "{told}");
        let error = spec(&["--hard", "2s", "--extend-max", "1s"]).unwrap_err();
        assert!(exit::sentence(&error).starts_with("--extend-max is"));
    }

    #[test]
    fn a_task_that_was_there_is_told() {
        assert_eq!(effect(v1::EnqueueEffect::Created), None);
        assert!(
            effect(v1::EnqueueEffect::Existing)
                .unwrap()
                .contains("earlier")
        );
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
            &["--key", "k"],
            &["--ttl", "1s"],
            &["--then", "a"],
            &["--at-most-once"],
            &["--request-id", "r"],
        ] {
            assert!(
                parse(&[&["--from-file", "-"], words].concat()).is_err(),
                "{words:?}"
            );
        }
        assert!(parse(&["send"]).is_ok(), "the kind may have a queue");
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
