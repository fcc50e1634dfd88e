//! `task update`: change a live task. Sends only what was named, and never what was not.

use std::time::{Duration, SystemTime};

use clap::Args;
use redrive_client::{TaskRef, TaskUpdate};
use redrive_proto::v1;

use super::{
    life::{LimitArgs, WhichTask},
    payload::{PayloadArgs, read_payload},
};
use crate::{exit, values};

const HELP: &str = "\
All changes are made, or none. The time limits are replaced together: one left
out is removed. They count from the start of the run, on a running one too.
While a worker holds the task nothing but the time limits can change: a request
for anything else is refused with WRONG_STATE, the limits in it too.

Examples:
  redrive task update $ID --hard 10m
  redrive task update $ID --soft 9m --hard 10m --reason 'slow provider'
  redrive task update $ID --payload '{\"to\":\"grace\"}' --delay 0
  redrive task update --queue mail --key user:4711 --priority high";

/// The flags of `task update`.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct UpdateArgs {
    #[command(flatten)]
    which: WhichTask,
    #[command(flatten)]
    limits: LimitArgs,
    #[command(flatten)]
    payload: PayloadArgs,
    /// How urgent it is within its queue
    #[arg(long, value_enum)]
    priority: Option<values::Priority>,
    /// It may start only this long from now; 0 is at once
    #[arg(long, value_parser = values::duration, value_name = "TIME", conflicts_with = "at")]
    delay: Option<Duration>,
    /// It may start only at this instant, as in 2027-01-31T08:00:00Z
    #[arg(long, value_parser = values::instant, value_name = "INSTANT")]
    at: Option<prost_types::Timestamp>,
    /// Failures that end it from here on; 0 is unlimited
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    max_attempts: Option<u32>,
    /// Why, for the history
    #[arg(
        long,
        default_value = "",
        value_name = "TEXT",
        hide_default_value = true
    )]
    reason: String,
}

/// Which task to change, and how.
///
/// # Errors
/// A usage error where nothing would change, and where a value is out of range.
pub(crate) fn build(args: UpdateArgs) -> anyhow::Result<(TaskRef, TaskUpdate)> {
    let mut update = TaskUpdate::new();
    if let Some(most) = args.limits.extend_max {
        update = update.extend_max(most);
    }
    if args.limits.timeouts().is_some() {
        update = update.timeouts(args.limits.soft, args.limits.hard);
    }
    if let Some(payload) = read_payload(args.payload)? {
        update = update.bytes(payload.data, payload.content_type);
    }
    if let Some(priority) = args.priority {
        update = update.priority(v1::Priority::from(priority));
    }
    if let Some(delay) = args.delay {
        update = update.delay(delay);
    }
    if let Some(at) = args.at {
        let at = SystemTime::try_from(at)
            .map_err(|error| exit::usage(format!("--at is out of range: {error}")))?;
        update = update.not_before(at);
    }
    if let Some(attempts) = args.max_attempts {
        update = update.max_attempts(attempts);
    }
    if update == TaskUpdate::new() {
        return Err(exit::usage(
            "say what to change: --soft, --hard, --extend-max, --payload, --priority, --delay, \
             --at or --max-attempts",
        ));
    }
    Ok((args.which.task(), update.reason(args.reason)))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Only {
        #[command(flatten)]
        args: UpdateArgs,
    }

    fn parse(words: &[&str]) -> anyhow::Result<(TaskRef, TaskUpdate)> {
        build(Only::try_parse_from([&["update"], words].concat())?.args)
    }

    #[test]
    fn every_flag_reaches_the_update() {
        let (task, update) = parse(&[
            "a",
            "--soft",
            "1s",
            "--hard",
            "2s",
            "--extend-max",
            "3s",
            "--payload",
            "7",
            "--priority",
            "low",
            "--delay",
            "0",
            "--max-attempts",
            "0",
            "--reason",
            "slow",
        ])
        .unwrap();
        let second = Duration::from_secs(1);
        let wanted = TaskUpdate::new()
            .timeouts(Some(second), Some(2 * second))
            .extend_max(3 * second)
            .bytes("7", "application/json")
            .priority(v1::Priority::Low)
            .delay(Duration::ZERO)
            .max_attempts(0)
            .reason("slow");
        assert_eq!((task, update), (TaskRef::id("a"), wanted));
        let (task, _) =
            parse(&["--queue", "q", "--key", "k", "--at", "2027-01-31T08:00:00Z"]).unwrap();
        assert_eq!(task, TaskRef::key("q", "k"));
    }

    #[test]
    fn nothing_to_change_is_a_usage_error_that_names_the_flags() {
        for words in [&["a"][..], &["a", "--reason", "none"]] {
            let error = parse(words).unwrap_err();
            assert_eq!(exit::code(&error), exit::USAGE);
            assert!(error.to_string().contains("--hard"), "{error}");
        }
        assert!(parse(&["a", "--delay", "1s", "--at", "2027-01-31T08:00:00Z"]).is_err());
    }
}
