//! How flag values are read: durations, sizes, labels, queues with a weight, classes, priorities.
//!
//! Pure. A refusal quotes what was given and shows what would be right.

use std::time::Duration;

use bytesize::ByteSize;
use clap::{
    ValueEnum,
    builder::{PossibleValuesParser, TypedValueParser},
};
use redrive_coordinator::journal::Durability;
use redrive_proto::v1;

/// A span of time such as "250ms", "90s", "1h30m", or "0".
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    humantime::parse_duration(text)
        .map_err(|error| format!("{error}; write a number and a unit, such as 250ms, 90s or 1h30m"))
}

/// A number of bytes such as "512MiB", "8GiB" or "1000000".
pub(crate) fn size(text: &str) -> Result<u64, String> {
    text.parse::<ByteSize>()
        .map(|size| size.as_u64())
        .map_err(|error| {
            format!("{error}; write a number and a unit, such as 512MiB, 8GiB or 1000000")
        })
}

/// `KEY=VALUE`.
pub(crate) fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        Some(_) | None => Err("is no label; write KEY=VALUE, such as customer=4711".to_owned()),
    }
}

/// `QUEUE` or `QUEUE:WEIGHT`.
pub(crate) fn weighted_queue(text: &str) -> Result<v1::QueueSubscription, String> {
    let (queue, weight) = match text.split_once(':') {
        None => (text, 1),
        Some((queue, weight)) => {
            let weight = weight
                .parse::<u32>()
                .ok()
                .filter(|weight| (1..=1_000).contains(weight));
            (
                queue,
                weight.ok_or("the weight after ':' is a number from 1 to 1000, as in mail:3")?,
            )
        }
    };
    if queue.is_empty() {
        return Err(
            "the queue's name is empty; write NAME or NAME:WEIGHT, as in mail:3".to_owned(),
        );
    }
    Ok(v1::QueueSubscription {
        queue: queue.to_owned(),
        weight,
    })
}

/// `KIND` or `KIND@QUEUE`, of a task to be made later.
pub(crate) fn next_task(text: &str) -> Result<v1::TaskTemplate, String> {
    let (kind, queue) = match text.split_once('@') {
        None => (text, ""),
        Some((_, "")) => ("", ""),
        Some((kind, queue)) => (kind, queue),
    };
    if kind.is_empty() {
        return Err(
            "names no task; write KIND or KIND@QUEUE, as in invoice.failed@mail".to_owned(),
        );
    }
    Ok(v1::TaskTemplate {
        kind: kind.to_owned(),
        queue: queue.to_owned(),
        ..Default::default()
    })
}

/// An instant such as "2027-01-31T08:00:00Z".
pub(crate) fn instant(text: &str) -> Result<prost_types::Timestamp, String> {
    text.parse().map_err(|_error: prost_types::TimestampError| {
        "is no instant of RFC 3339; write it as in 2027-01-31T08:00:00Z".to_owned()
    })
}

/// A level of durability by its name.
pub(crate) fn durability() -> impl TypedValueParser<Value = Durability> {
    const LEVELS: [Durability; 3] = [Durability::Always, Durability::Interval, Durability::Memory];
    PossibleValuesParser::new(LEVELS.map(Durability::name)).try_map(|name| {
        let level = LEVELS.into_iter().find(|level| level.name() == name);
        level.ok_or("is no level of durability")
    })
}

/// A failure class by its name without the prefix, such as NETWORK.
pub(crate) fn failure_class() -> impl TypedValueParser<Value = v1::FailureClass> {
    PossibleValuesParser::new(CLASSES).try_map(|name| {
        v1::FailureClass::from_str_name(&format!("FAILURE_CLASS_{}", name.to_ascii_uppercase()))
            .ok_or("is no failure class")
    })
}

const CLASSES: [&str; 12] = [
    "NETWORK",
    "RATE_LIMITED",
    "CONFLICT",
    "DEPENDENCY_DOWN",
    "INVALID",
    "NOT_FOUND",
    "AUTH",
    "TIMEOUT",
    "WORKER_LOST",
    "UNKNOWN_KIND",
    "INTERNAL",
    "BUSINESS",
];

/// In which states a task holds its unique key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum UniqueScope {
    /// Scheduled, ready or retrying
    Waiting,
    /// Held by a worker
    Running,
    /// A dead letter
    Dead,
    /// Ended, and still kept
    Finished,
}

impl From<UniqueScope> for v1::UniqueState {
    fn from(scope: UniqueScope) -> Self {
        match scope {
            UniqueScope::Waiting => Self::Waiting,
            UniqueScope::Running => Self::Running,
            UniqueScope::Dead => Self::Dead,
            UniqueScope::Finished => Self::Finished,
        }
    }
}

/// What becomes of an enqueue whose unique key is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnConflict {
    /// The holder's id is answered, nothing changes
    Return,
    /// It is refused
    Reject,
    /// The waiting holder takes over what is enqueued
    Replace,
    /// The waiting holder takes over the start alone
    Reschedule,
}

impl From<OnConflict> for v1::ConflictAction {
    fn from(action: OnConflict) -> Self {
        match action {
            OnConflict::Return => Self::ReturnExisting,
            OnConflict::Reject => Self::Reject,
            OnConflict::Replace => Self::ReplaceWaiting,
            OnConflict::Reschedule => Self::RescheduleWaiting,
        }
    }
}

/// What a cancel may do to a task that a worker holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum CancelMode {
    /// Its handler is asked to stop, within --grace
    #[default]
    Cooperative,
    /// Nothing: only a task that waits is cancelled
    IfWaiting,
    /// Its lease is revoked at once
    Force,
}

impl From<CancelMode> for v1::CancelMode {
    fn from(mode: CancelMode) -> Self {
        match mode {
            CancelMode::Cooperative => Self::Cooperative,
            CancelMode::IfWaiting => Self::IfWaiting,
            CancelMode::Force => Self::Force,
        }
    }
}

/// A task's priority.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Priority {
    /// After everything else
    Lowest,
    /// After normal
    Low,
    /// The default
    Normal,
    /// Before normal
    High,
    /// Before everything else
    Highest,
}

impl From<Priority> for v1::Priority {
    fn from(priority: Priority) -> Self {
        match priority {
            Priority::Lowest => Self::Lowest,
            Priority::Low => Self::Low,
            Priority::Normal => Self::Normal,
            Priority::High => Self::High,
            Priority::Highest => Self::Highest,
        }
    }
}

/// A span as the protocol writes it. Spans that flags can express always fit.
pub(crate) fn proto_duration(span: Duration) -> prost_types::Duration {
    prost_types::Duration::try_from(span).unwrap_or(prost_types::Duration {
        seconds: i64::MAX,
        nanos: 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_people_write_them() {
        for (text, millis) in [
            ("250ms", 250),
            ("90s", 90_000),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("0", 0),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn a_duration_without_a_unit_is_refused_with_the_remedy() {
        for text in ["90", "-5s", "soon", ""] {
            assert!(duration(text).unwrap_err().contains("90s"), "{text}");
        }
    }

    #[test]
    fn sizes_are_binary_or_decimal_as_written() {
        assert_eq!(size("8GiB"), Ok(8 << 30));
        assert_eq!(size("1MB"), Ok(1_000_000));
        assert_eq!(size("4096"), Ok(4096));
        assert!(size("many").unwrap_err().contains("8GiB"));
    }

    #[test]
    fn a_label_keeps_everything_after_its_first_equals_sign() {
        assert_eq!(label("k=a=b"), Ok(("k".to_owned(), "a=b".to_owned())));
        assert_eq!(label("k="), Ok(("k".to_owned(), String::new())));
        assert!(label("k").is_err() && label("=v").is_err());
    }

    #[test]
    fn a_queue_has_weight_one_unless_it_says_otherwise() {
        let of = |text| weighted_queue(text).map(|it| (it.queue, it.weight));
        assert_eq!(of("mail"), Ok(("mail".to_owned(), 1)));
        assert_eq!(of("mail:3"), Ok(("mail".to_owned(), 3)));
        for wrong in ["mail:0", "mail:1001", "mail:x", "mail:", ":3", ""] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_task_to_be_made_has_a_kind_and_perhaps_a_queue() {
        let of = |text| next_task(text).map(|it| (it.kind, it.queue));
        assert_eq!(of("tell"), Ok(("tell".to_owned(), String::new())));
        assert_eq!(of("tell@mail"), Ok(("tell".to_owned(), "mail".to_owned())));
        for wrong in ["", "@mail", "tell@", "@"] {
            assert!(of(wrong).unwrap_err().contains("KIND@QUEUE"), "{wrong}");
        }
    }

    #[test]
    fn every_failure_class_of_the_protocol_can_be_named() {
        for number in 1..=12 {
            let class = v1::FailureClass::try_from(number).unwrap();
            let name = class.as_str_name().strip_prefix("FAILURE_CLASS_").unwrap();
            assert!(CLASSES.contains(&name), "{name}");
        }
        assert!(v1::FailureClass::try_from(13).is_err());
    }
}
