//! Single values: names, texts, sizes, durations, instants, enum numbers, tokens.
//!
//! Owns the path of the field at fault and the words of each refusal. Never knows which message a
//! value belongs to.

use std::fmt::{self, Write as _};
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use prost_types::{Duration, Timestamp as ProtoTimestamp};
use redrive_proto::v1 as pb;

use crate::engine::ids::{LeaseToken, QueueName, TaskId, Timestamp, check_name};
use crate::engine::ledger::task::{Payload, Timeouts};
use crate::engine::limits;

/// The namespace of requests that name none.
pub(crate) const NAMESPACE_DEFAULT: &str = "default";
/// Characters of a refused value that its refusal repeats.
const QUOTE_CHARACTERS_MAX: usize = 48;
/// Seconds of the last instant that a timestamp may name: the end of the year 9999.
const TIMESTAMP_SECONDS_MAX: u64 = 253_402_300_799;
const NANOS_PER_SECOND: i32 = 1_000_000_000;
const NANOS_PER_MS: u64 = 1_000_000;

/// A request, or an item of one, that can never be right as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} {problem}")]
pub(crate) struct InvalidRequest {
    /// The path of the field at fault, for example `task.timeouts.soft`.
    pub(crate) field: String,
    /// What is wrong and what would be right; continues the sentence that the field begins.
    pub(crate) problem: String,
}

/// What parsing yields.
pub(crate) type Parsed<T> = Result<T, InvalidRequest>;

/// Where in a request we are. Costs nothing until something is refused.
#[derive(Clone, Copy, Debug)]
pub(crate) enum At<'a> {
    /// The request itself.
    Root,
    /// A field of it.
    Field(&'a Self, &'static str),
    /// An element of a repeated field.
    Index(&'a Self, usize),
    /// A value of a map, by its key.
    Key(&'a Self, &'a str),
    /// A path that was written elsewhere.
    Path(&'a Self, &'a str),
}

impl<'a> At<'a> {
    /// The field of this name.
    pub(crate) const fn field(&'a self, name: &'static str) -> Self {
        Self::Field(self, name)
    }

    /// The element of this index.
    pub(crate) const fn index(&'a self, index: usize) -> Self {
        Self::Index(self, index)
    }

    /// The value of this key.
    pub(crate) const fn key(&'a self, key: &'a str) -> Self {
        Self::Key(self, key)
    }

    /// The field at this relative path.
    pub(crate) const fn path(&'a self, path: &'a str) -> Self {
        Self::Path(self, path)
    }

    /// Refuses the value here.
    pub(crate) fn refuse(&self, problem: impl fmt::Display) -> InvalidRequest {
        InvalidRequest {
            field: self.to_string(),
            problem: problem.to_string(),
        }
    }

    /// Refuses the absence of a value here.
    pub(crate) fn missing(&self) -> InvalidRequest {
        self.refuse("is required")
    }
}

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let joined = |f: &mut fmt::Formatter<'_>, parent: &At<'_>, part: &str| match parent {
            At::Root => f.write_str(part),
            At::Field(..) | At::Index(..) | At::Key(..) | At::Path(..) => {
                write!(f, "{parent}.{part}")
            }
        };
        match self {
            Self::Root => Ok(()),
            Self::Field(parent, name) => joined(f, parent, name),
            Self::Path(parent, path) => joined(f, parent, path),
            Self::Index(parent, index) => write!(f, "{parent}[{index}]"),
            Self::Key(parent, key) => write!(f, "{parent}[{}]", quoted(key)),
        }
    }
}

/// The first characters of a refused value, quoted, control characters escaped.
pub(crate) fn quoted(text: &str) -> String {
    let mut characters = text.chars();
    let mut out = String::from("\"");
    for character in characters.by_ref().take(QUOTE_CHARACTERS_MAX) {
        out.extend(character.escape_debug());
    }
    out.push_str(if characters.next().is_some() {
        "…\""
    } else {
        "\""
    });
    out
}

/// A checked name: a queue, kind, worker id, label key.
pub(crate) fn name(text: &str, at: At<'_>) -> Parsed<Arc<str>> {
    if text.is_empty() {
        return Err(at.missing());
    }
    check_name(text).map_err(|problem| at.refuse(problem))?;
    Ok(text.into())
}

/// A checked name, or `None` where it is empty.
pub(crate) fn optional_name(text: &str, at: At<'_>) -> Parsed<Option<Arc<str>>> {
    if text.is_empty() {
        Ok(None)
    } else {
        name(text, at).map(Some)
    }
}

/// A namespace; empty means the default one.
pub(crate) fn namespace(text: &str, at: At<'_>) -> Parsed<Arc<str>> {
    static DEFAULT: LazyLock<Arc<str>> = LazyLock::new(|| NAMESPACE_DEFAULT.into());
    if text.is_empty() || text == NAMESPACE_DEFAULT {
        Ok(Arc::clone(&DEFAULT))
    } else {
        name(text, at)
    }
}

/// A queue of an already checked namespace.
pub(crate) fn queue(namespace: &str, text: &str, at: At<'_>) -> Parsed<QueueName> {
    if text.is_empty() {
        return Err(at.missing());
    }
    QueueName::new(namespace, text).map_err(|problem| at.refuse(problem))
}

/// A queue, or `None` where the name is empty.
pub(crate) fn optional_queue(namespace: &str, text: &str, at: At<'_>) -> Parsed<Option<QueueName>> {
    if text.is_empty() {
        Ok(None)
    } else {
        queue(namespace, text, at).map(Some)
    }
}

/// A task id.
pub(crate) fn task_id(text: &str, at: At<'_>) -> Parsed<TaskId> {
    if text.is_empty() {
        return Err(at.missing());
    }
    TaskId::parse(text).ok_or_else(|| {
        at.refuse(format_args!(
            "is {}, not a task id: a UUID of version 7",
            quoted(text)
        ))
    })
}

/// A lease token.
pub(crate) fn token(bytes: &[u8], at: At<'_>) -> Parsed<LeaseToken> {
    if bytes.is_empty() {
        return Err(at.missing());
    }
    LeaseToken::parse(bytes).ok_or_else(|| {
        at.refuse(format_args!(
            "is not a lease token: {} bytes, where 32 are expected as the delivery brought them",
            bytes.len()
        ))
    })
}

/// A text of at most `bytes_max` bytes.
pub(crate) fn text(value: &str, bytes_max: usize, at: At<'_>) -> Parsed<Arc<str>> {
    if value.len() > bytes_max {
        let bytes = value.len();
        return Err(at.refuse(format_args!(
            "has {bytes} bytes, at most {bytes_max} are allowed"
        )));
    }
    Ok(value.into())
}

/// A reason for people.
pub(crate) fn reason(value: &str, at: At<'_>) -> Parsed<Arc<str>> {
    text(value, limits::REASON_BYTES_MAX, at)
}

/// A count between two bounds; 0 means the default.
pub(crate) fn count(value: u32, default: u32, max: u32, at: At<'_>) -> Parsed<u32> {
    match value {
        0 => Ok(default),
        value if value <= max => Ok(value),
        value => Err(at.refuse(format_args!("is {value}, at most {max} is allowed"))),
    }
}

/// The number of elements of a repeated field, at least one.
pub(crate) fn batch(items: usize, max: usize, at: At<'_>) -> Parsed<()> {
    match items {
        0 => Err(at.refuse(format_args!("is empty, 1 to {max} are needed"))),
        items if items <= max => Ok(()),
        items => Err(at.refuse(format_args!(
            "has {items} elements, at most {max} are allowed: send several requests"
        ))),
    }
}

/// Milliseconds of a duration between 0 and `ms_max`; parts of one round up.
pub(crate) fn duration_ms(value: &Duration, ms_max: u64, at: At<'_>) -> Parsed<u64> {
    let nanos_fit = value.nanos > -NANOS_PER_SECOND && value.nanos < NANOS_PER_SECOND;
    let signs_agree =
        (value.seconds >= 0 && value.nanos >= 0) || (value.seconds <= 0 && value.nanos <= 0);
    if !nanos_fit || !signs_agree {
        return Err(at.refuse(
            "is malformed: nanos must lie within a second and have the sign of the seconds",
        ));
    }
    let (Ok(seconds), Ok(nanos)) = (u64::try_from(value.seconds), u64::try_from(value.nanos))
    else {
        return Err(at.refuse(format_args!(
            "is negative ({} s), durations are at least 0",
            value.seconds
        )));
    };
    let ms = seconds
        .saturating_mul(1000)
        .saturating_add(nanos.div_ceil(NANOS_PER_MS));
    if ms > ms_max {
        return Err(at.refuse(format_args!(
            "is {}, at most {} is allowed",
            span(ms),
            span(ms_max)
        )));
    }
    Ok(ms)
}

/// Milliseconds of a duration, or `None` where it is unset.
pub(crate) fn optional_ms(
    value: Option<&Duration>,
    ms_max: u64,
    at: At<'_>,
) -> Parsed<Option<u64>> {
    value
        .map(|value| duration_ms(value, ms_max, at))
        .transpose()
}

/// Milliseconds of a duration between `ms_min` and `ms_max`, or `None` where it is unset.
pub(crate) fn bounded_ms(
    value: Option<&Duration>,
    (ms_min, ms_max): (u64, u64),
    at: At<'_>,
) -> Parsed<Option<u64>> {
    match optional_ms(value, ms_max, at)? {
        Some(ms) if ms < ms_min => Err(at.refuse(format_args!(
            "is {}, at least {} is needed",
            span(ms),
            span(ms_min)
        ))),
        other => Ok(other),
    }
}

/// A key that a caller chose: printable, of at most `bytes_max` bytes; `None` where it is empty.
pub(crate) fn optional_key(value: &str, bytes_max: usize, at: At<'_>) -> Parsed<Option<Arc<str>>> {
    if let Some(bad) = value.chars().find(|c| c.is_control()) {
        return Err(at.refuse(format_args!("contains {bad:?}: use printable characters")));
    }
    let key = text(value, bytes_max, at)?;
    Ok((!key.is_empty()).then_some(key))
}

/// The same where it must not be empty.
pub(crate) fn key(value: &str, bytes_max: usize, at: At<'_>) -> Parsed<Arc<str>> {
    optional_key(value, bytes_max, at)?.ok_or_else(|| at.missing())
}

/// An instant; one before 1970 is as good as the first instant of 1970, parts of a millisecond
/// round up.
pub(crate) fn instant(value: &ProtoTimestamp, at: At<'_>) -> Parsed<Timestamp> {
    if !(0..NANOS_PER_SECOND).contains(&value.nanos) {
        return Err(at.refuse("is malformed: nanos must be 0 to 999999999"));
    }
    let seconds = u64::try_from(value.seconds).unwrap_or(0);
    let nanos = if value.seconds < 0 {
        0
    } else {
        u64::try_from(value.nanos).unwrap_or(0)
    };
    let ms = seconds
        .saturating_mul(1000)
        .saturating_add(nanos.div_ceil(NANOS_PER_MS));
    // What was rounded up must be sayable too.
    if ms / 1000 > TIMESTAMP_SECONDS_MAX {
        return Err(at.refuse("lies beyond the year 9999"));
    }
    Ok(Timestamp(ms))
}

/// The variant of this number.
pub(crate) fn variant<T: TryFrom<i32>>(number: i32, at: At<'_>) -> Parsed<T> {
    T::try_from(number).map_err(|_unknown| {
        at.refuse(format_args!(
            "is {number}, which this coordinator does not know: see the enum's numbers"
        ))
    })
}

/// Opaque bytes of at most `bytes_max`.
pub(crate) fn payload(value: pb::Payload, bytes_max: usize, at: At<'_>) -> Parsed<Payload> {
    let bytes = value.data.len();
    if bytes > bytes_max {
        return Err(at.field("data").refuse(format_args!(
            "has {bytes} bytes, at most {bytes_max} are allowed: keep large data elsewhere and \
             send where it is"
        )));
    }
    let content_type = if value.content_type.is_empty() {
        None
    } else {
        Some(content_type(&value.content_type, at.field("content_type"))?)
    };
    Ok(Payload {
        // What came is a slice of the stream's receive buffer: it would keep the whole of that
        // alive for as long as a task lives, and no account of memory would know.
        data: Bytes::copy_from_slice(&value.data),
        content_type,
    })
}

fn content_type(value: &str, at: At<'_>) -> Parsed<Arc<str>> {
    let content_type = text(value, limits::CONTENT_TYPE_BYTES_MAX, at)?;
    let is_visible = |c: char| c.is_ascii_graphic() || c == ' ';
    match value.chars().find(|c| !is_visible(*c)) {
        Some(bad) => Err(at.refuse(format_args!("contains {bad:?}: use visible ASCII"))),
        None => Ok(content_type),
    }
}

/// Opaque bytes, or `None` where they are unset.
pub(crate) fn optional_payload(
    value: Option<pb::Payload>,
    bytes_max: usize,
    at: At<'_>,
) -> Parsed<Option<Payload>> {
    value.map(|value| payload(value, bytes_max, at)).transpose()
}

/// Time limits of a run.
pub(crate) fn timeouts(value: &pb::Timeouts, at: At<'_>) -> Parsed<Timeouts> {
    let limit = |value: Option<&Duration>, name: &'static str| -> Parsed<Option<u64>> {
        let at = at.field(name);
        match optional_ms(value, limits::TIMEOUT_MS_MAX, at)? {
            Some(0) => Err(at.refuse("is 0, at least 1 ms is needed; leave it unset for no limit")),
            other => Ok(other),
        }
    };
    let parsed = Timeouts {
        soft_ms: limit(value.soft.as_ref(), "soft")?,
        hard_ms: limit(value.hard.as_ref(), "hard")?,
        extend_max_ms: limit(value.extend_max.as_ref(), "extend_max")?,
    };
    if let (Some(soft), Some(hard)) = (parsed.soft_ms, parsed.hard_ms)
        && soft > hard
    {
        return Err(at.field("soft").refuse(format_args!(
            "is {}, above the hard limit of {}: lower it, or raise the hard limit",
            span(soft),
            span(hard)
        )));
    }
    if let (Some(hard), Some(extend_max)) = (parsed.hard_ms, parsed.extend_max_ms)
        && extend_max < hard
    {
        return Err(at.field("extend_max").refuse(format_args!(
            "is {}, below the hard limit of {}: raise it, or leave it unset for 4 times that",
            span(extend_max),
            span(hard)
        )));
    }
    Ok(parsed)
}

/// A length of time for people: the largest unit that says it exactly.
pub(crate) fn span(ms: u64) -> String {
    const DAY_MS: u64 = 86_400_000;
    const UNITS: [(u64, &str); 4] = [
        (DAY_MS, "days"),
        (3_600_000, "h"),
        (60_000, "min"),
        (1000, "s"),
    ];
    let mut out = String::new();
    let exact = UNITS
        .iter()
        // One day is told as 24 h: there is no singular here.
        .find(|(unit, _)| ms > *unit && ms.is_multiple_of(*unit) || ms == *unit && ms < DAY_MS);
    let (count, unit) = exact.map_or((ms, "ms"), |(unit, name)| (ms / unit, *name));
    write!(out, "{count} {unit}").expect("writing to a string");
    out
}

/// A duration of so many milliseconds.
pub(crate) fn duration(ms: u64) -> Duration {
    Duration {
        seconds: i64::try_from(ms / 1000).unwrap_or(i64::MAX),
        nanos: nanos_of_ms(ms),
    }
}

/// An instant as the wire has it.
pub(crate) fn timestamp(at: Timestamp) -> ProtoTimestamp {
    ProtoTimestamp {
        seconds: i64::try_from(at.0 / 1000).unwrap_or(i64::MAX),
        nanos: nanos_of_ms(at.0),
    }
}

fn nanos_of_ms(ms: u64) -> i32 {
    i32::try_from(ms % 1000).expect("below 1000") * 1_000_000
}

/// Opaque bytes as the wire has them.
pub(crate) fn payload_view(payload: &Payload) -> pb::Payload {
    pb::Payload {
        data: payload.data.clone(),
        content_type: payload
            .content_type
            .as_deref()
            .unwrap_or_default()
            .to_owned(),
    }
}

/// Time limits as the wire has them; unset where there are none.
pub(crate) fn timeouts_view(timeouts: Timeouts) -> pb::Timeouts {
    pb::Timeouts {
        soft: timeouts.soft_ms.map(duration),
        hard: timeouts.hard_ms.map(duration),
        extend_max: timeouts.extend_max_ms.map(duration),
    }
}

#[cfg(test)]
mod tests;
