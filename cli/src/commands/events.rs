//! `events`: what happens to tasks, line by line, until the reader goes away. Never asks again for
//! what it missed: it says how to.

use std::process::ExitCode;

use clap::Args;
use futures::TryStreamExt as _;
use redrive_proto::v1;

use crate::{
    context::Context,
    output::{self, Format, human, json},
};

const HELP: &str = "\
With -o json each line is one WatchEventsResponse with its cursor, with -o jsonl
one Event. --cursor goes on after that cursor, as long as the coordinator
remembers it (65,536 events) and was not restarted.

Examples:
  redrive events
  redrive events --queue mail
  redrive events -o jsonl |
    jq -r 'select(.type==\"EVENT_TYPE_DEAD_LETTERED\").taskId'";

/// The flags of `events`.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct EventsArgs {
    /// Only those of this queue [default: every queue of the namespace]
    #[arg(
        short,
        long,
        default_value = "",
        value_name = "QUEUE",
        hide_default_value = true
    )]
    queue: String,
    /// Begin after this cursor [default: what happens from now on]
    #[arg(
        long,
        default_value = "",
        value_name = "CURSOR",
        hide_default_value = true
    )]
    cursor: String,
}

pub(crate) async fn run(context: &Context, args: EventsArgs) -> anyhow::Result<ExitCode> {
    let client = context.client().await?;
    let mut answers = client.watch(&args.queue, &args.cursor).await?;
    if output::is_watched() && context.out.format == Format::Table {
        output::note("watching; Ctrl-C ends it");
    }
    while let Some(answer) = answers.try_next().await? {
        print(context, &answer)?;
    }
    output::note("redrive: the coordinator ended the stream");
    Ok(ExitCode::from(crate::exit::OTHER))
}

fn print(context: &Context, answer: &v1::WatchEventsResponse) -> anyhow::Result<()> {
    match context.out.format {
        Format::Json => context.out.text(&json::line(answer)?),
        Format::Jsonl => context.out.items(&answer.events),
        Format::Table => {
            let lines: String = answer
                .events
                .iter()
                .map(|event| line(event) + "\n")
                .collect();
            context.out.text(&lines)
        }
    }
}

/// One event on one line, in columns that need no look at the other lines.
fn line(event: &v1::Event) -> String {
    let time = event
        .time
        .as_ref()
        .map(human::to_millisecond)
        .unwrap_or_default();
    let kind = human::enum_name(event.r#type().as_str_name(), "EVENT_TYPE_");
    let mut text = format!(
        "{time}  {kind:<16}  {}  {}/{}  attempt {}",
        event.task_id, event.queue, event.kind, event.attempt
    );
    let next = event.next_attempt_time.as_ref();
    let next = next
        .map(|at| format!("next {}", human::to_second(at)))
        .unwrap_or_default();
    let worker = &event.worker_id;
    let worker = if worker.is_empty() {
        String::new()
    } else {
        format!("on {worker}")
    };
    for part in [
        worker,
        event.reason.clone(),
        next,
        human::failure(event.failure.as_ref()),
    ] {
        if !part.is_empty() {
            text.push_str("  ");
            text.push_str(&part.replace(char::is_control, " "));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_with_all_that_it_says() {
        let event = v1::Event {
            r#type: v1::EventType::RetryScheduled.into(),
            time: Some(prost_types::Timestamp {
                seconds: 0,
                nanos: 0,
            }),
            task_id: "id".to_owned(),
            queue: "mail".to_owned(),
            kind: "send".to_owned(),
            attempt: 2,
            worker_id: "w1".to_owned(),
            failure: Some(v1::Failure {
                failure_class: v1::FailureClass::Network.into(),
                message: "two\nlines".to_owned(),
                ..Default::default()
            }),
            next_attempt_time: Some(prost_types::Timestamp {
                seconds: 60,
                nanos: 0,
            }),
            ..Default::default()
        };
        assert_eq!(
            line(&event),
            "1970-01-01T00:00:00.000Z  RETRY_SCHEDULED   id  mail/send  attempt 2  on w1  next \
             1970-01-01T00:01:00Z  NETWORK: two lines"
        );
    }
}
