//! Flags that several verbs share: which task, and what is said of a task's life on every level.
//!
//! Owns how they become messages. Bounds are checked by the client; `exit` tells the flag.

use std::time::Duration;

use clap::Args;
use redrive_client::TaskRef;
use redrive_proto::v1;

use crate::values;

/// Which task a verb means.
#[derive(Debug, Args)]
pub(crate) struct WhichTask {
    /// The task's id; else name it by --queue and --key
    #[arg(
        value_name = "TASK_ID",
        required_unless_present = "key",
        conflicts_with_all = ["queue", "key"]
    )]
    id: Option<String>,
    /// The queue that it was enqueued into, with --key
    #[arg(short, long, value_name = "QUEUE", requires = "key")]
    queue: Option<String>,
    /// The idempotency key that it was enqueued with
    #[arg(long, value_name = "KEY", requires = "queue")]
    key: Option<String>,
}

impl WhichTask {
    pub(crate) fn task(self) -> TaskRef {
        match self.id {
            Some(id) => TaskRef::id(id),
            None => TaskRef::key(self.queue.unwrap_or_default(), self.key.unwrap_or_default()),
        }
    }
}

/// What is said of a task's life, by the task, its kind or its queue.
#[derive(Debug, Args)]
pub(crate) struct TermsArgs {
    /// Dead as TTL_EXPIRED unless a run has begun this long after it may start
    #[arg(long, value_parser = values::duration, value_name = "TIME")]
    pub(crate) ttl: Option<Duration>,
    /// Dead as DEADLINE_EXCEEDED this long after it may start, whatever it is at
    #[arg(long, value_parser = values::duration, value_name = "TIME")]
    pub(crate) deadline: Option<Duration>,
    /// How long it is kept with its result after its end [server's default: 1h]
    #[arg(long, value_parser = values::duration, value_name = "TIME")]
    pub(crate) result_ttl: Option<Duration>,
    /// Never run again by itself after a run that ended without a report
    #[arg(long, conflicts_with = "at_least_once")]
    pub(crate) at_most_once: bool,
    /// Run again after such a run, whatever the next level says
    #[arg(long)]
    pub(crate) at_least_once: bool,
    #[command(flatten)]
    pub(crate) follow_ups: FollowUpArgs,
}

/// Tasks that are made by a task's end.
#[derive(Debug, Args)]
pub(crate) struct FollowUpArgs {
    /// The task that is made when it succeeded
    #[arg(long, value_parser = values::next_task, value_name = "KIND[@QUEUE]")]
    on_success: Option<v1::TaskTemplate>,
    /// The task that is made when it failed for good, whatever the reason
    #[arg(long, value_parser = values::next_task, value_name = "KIND[@QUEUE]")]
    on_failure: Option<v1::TaskTemplate>,
    /// The task that is made, too, when a budget or time limit was spent
    #[arg(long, value_parser = values::next_task, value_name = "KIND[@QUEUE]")]
    on_exhausted: Option<v1::TaskTemplate>,
    /// The task that is made when it was cancelled
    #[arg(long, value_parser = values::next_task, value_name = "KIND[@QUEUE]")]
    on_cancelled: Option<v1::TaskTemplate>,
}

impl TermsArgs {
    /// The terms; `None` where nothing is said.
    pub(crate) fn terms(self) -> Option<v1::Terms> {
        let delivery = match (self.at_most_once, self.at_least_once) {
            (true, _) => v1::DeliveryMode::AtMostOnce,
            (false, true) => v1::DeliveryMode::AtLeastOnce,
            (false, false) => v1::DeliveryMode::Unspecified,
        };
        let terms = v1::Terms {
            ttl: self.ttl.map(values::proto_duration),
            deadline: self.deadline.map(values::proto_duration),
            result_ttl: self.result_ttl.map(values::proto_duration),
            delivery: delivery.into(),
            follow_ups: self.follow_ups.follow_ups().map(Box::new),
        };
        (terms != v1::Terms::default()).then_some(terms)
    }
}

impl FollowUpArgs {
    fn follow_ups(self) -> Option<v1::FollowUps> {
        let follow_ups = v1::FollowUps {
            on_success: self.on_success,
            on_failure: self.on_failure,
            on_exhausted: self.on_exhausted,
            on_cancelled: self.on_cancelled,
        };
        (follow_ups != v1::FollowUps::default()).then_some(follow_ups)
    }
}

/// The time limits of a run.
#[derive(Debug, Args)]
pub(crate) struct LimitArgs {
    /// After this long of a run its handler is asked to stop
    #[arg(long, value_parser = values::duration, value_name = "TIME")]
    pub(crate) soft: Option<Duration>,
    /// After this long of a run it is ended as a TIMEOUT failure
    #[arg(long, value_parser = values::duration, value_name = "TIME")]
    pub(crate) hard: Option<Duration>,
    /// How far heartbeats may extend the hard limit [default: 4 times --hard]
    #[arg(long, value_parser = values::duration, value_name = "TIME")]
    pub(crate) extend_max: Option<Duration>,
}

impl LimitArgs {
    /// The limits; `None` where none is said.
    pub(crate) fn timeouts(&self) -> Option<v1::Timeouts> {
        let timeouts = v1::Timeouts {
            soft: self.soft.map(values::proto_duration),
            hard: self.hard.map(values::proto_duration),
            extend_max: self.extend_max.map(values::proto_duration),
        };
        (timeouts != v1::Timeouts::default()).then_some(timeouts)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Which {
        #[command(flatten)]
        which: WhichTask,
    }

    #[test]
    fn a_task_is_named_by_its_id_or_by_queue_and_key() {
        let parse = |words: &[&str]| {
            let all = [&["get"], words].concat();
            Which::try_parse_from(all).map(|it| it.which.task())
        };
        assert_eq!(parse(&["a"]).unwrap(), TaskRef::id("a"));
        let by_key = parse(&["--queue", "mail", "--key", "k"]).unwrap();
        assert_eq!(by_key, TaskRef::key("mail", "k"));
        for wrong in [
            &[][..],
            &["--key", "k"],
            &["--queue", "mail"],
            &["a", "--queue", "mail", "--key", "k"],
        ] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[derive(Debug, clap::Parser)]
    struct Terms {
        #[command(flatten)]
        terms: TermsArgs,
    }

    #[test]
    fn every_term_has_its_flag_and_nothing_said_is_none() {
        let parse = |words: &[&str]| {
            let all = [&["set"], words].concat();
            Terms::try_parse_from(all).map(|it| it.terms.terms())
        };
        assert_eq!(parse(&[]).unwrap(), None);
        let terms = parse(&[
            "--ttl",
            "1s",
            "--deadline",
            "2s",
            "--result-ttl",
            "0",
            "--at-most-once",
            "--on-success",
            "a",
            "--on-failure",
            "b@q",
            "--on-exhausted",
            "c",
            "--on-cancelled",
            "d",
        ]);
        let terms = terms.unwrap().unwrap();
        let seconds = |span: Option<prost_types::Duration>| span.map(|it| it.seconds);
        assert_eq!(
            (seconds(terms.ttl), seconds(terms.deadline)),
            (Some(1), Some(2))
        );
        assert_eq!(seconds(terms.result_ttl), Some(0));
        assert_eq!(terms.delivery(), v1::DeliveryMode::AtMostOnce);
        let made = terms.follow_ups.unwrap();
        assert_eq!(made.on_success.unwrap().kind, "a");
        assert_eq!(made.on_failure.unwrap().queue, "q");
        assert_eq!(made.on_exhausted.unwrap().kind, "c");
        assert_eq!(made.on_cancelled.unwrap().kind, "d");
        assert!(parse(&["--at-most-once", "--at-least-once"]).is_err());
        let error = parse(&["--on-failure", "@q"]).unwrap_err().to_string();
        assert!(
            error.contains("--on-failure") && error.contains("KIND@QUEUE"),
            "{error}"
        );
    }
}
