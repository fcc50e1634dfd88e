//! Values as people read them: spans, ages, sizes, payloads, enum names.
//!
//! Pure: what "now" is comes from the caller.

use std::time::{Duration, SystemTime};

use bytesize::ByteSize;
use prost_types::{Duration as ProtoDuration, Timestamp};
use redrive_proto::v1;

/// Characters of a payload that a view shows.
pub(crate) const PAYLOAD_CHARS_MAX: usize = 400;

/// Bytes of a payload that is no text that a view shows.
const PAYLOAD_HEX_BYTES: usize = 16;

/// A span to the millisecond: "250ms", "15.5s", "1m30s", "2h5m", "3d4h".
pub(crate) fn span(span: Duration) -> String {
    if span.is_zero() {
        return "0s".to_owned();
    }
    if span < Duration::from_millis(1) {
        return format!("{}us", span.as_micros());
    }
    if span < Duration::from_secs(1) {
        return format!("{}ms", span.as_millis());
    }
    let seconds = span.as_secs();
    let counts = [
        (seconds / 86_400, 'd'),
        (seconds / 3_600 % 24, 'h'),
        (seconds / 60 % 60, 'm'),
    ];
    let mut text: String = counts
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, unit)| format!("{count}{unit}"))
        .collect();
    let fraction = format!(".{:03}", span.subsec_millis());
    let fraction = fraction.trim_end_matches('0').trim_end_matches('.');
    if !seconds.is_multiple_of(60) || !fraction.is_empty() {
        text.push_str(&format!("{}{fraction}s", seconds % 60));
    }
    text
}

/// A span of the protocol; negative ones read as zero.
pub(crate) fn proto_span(proto: &ProtoDuration) -> String {
    span(Duration::try_from(*proto).unwrap_or_default())
}

/// The same, empty where there is none.
pub(crate) fn maybe_span(proto: Option<&ProtoDuration>) -> String {
    proto.map(proto_span).unwrap_or_default()
}

/// A span in one unit: "42s", "3m", "5h", "9d".
pub(crate) fn short(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// How long ago, in one unit; empty where there is no instant.
pub(crate) fn age(now: SystemTime, at: Option<&Timestamp>) -> String {
    at.and_then(|at| SystemTime::try_from(*at).ok())
        .map(|at| short(now.duration_since(at).unwrap_or_default()))
        .unwrap_or_default()
}

/// How long until, as "in 3m", or "now" where it is past; empty where there is no instant.
pub(crate) fn until(now: SystemTime, at: Option<&Timestamp>) -> String {
    at.and_then(|at| SystemTime::try_from(*at).ok())
        .map(|at| match at.duration_since(now) {
            Ok(left) if left >= Duration::from_secs(1) => format!("in {}", short(left)),
            Ok(_) | Err(_) => "now".to_owned(),
        })
        .unwrap_or_default()
}

/// An instant with its age: "2027-01-31T08:00:00Z (3m ago)".
pub(crate) fn instant(now: SystemTime, at: Option<&Timestamp>) -> String {
    let Some(at) = at else { return String::new() };
    let shown = to_second(at);
    match SystemTime::try_from(*at) {
        Ok(when) if when > now => format!("{shown} ({})", until(now, Some(at))),
        Ok(_) => format!("{shown} ({} ago)", age(now, Some(at))),
        Err(_) => shown,
    }
}

/// An instant to the second, in UTC.
pub(crate) fn to_second(at: &Timestamp) -> String {
    Timestamp {
        seconds: at.seconds,
        nanos: 0,
    }
    .to_string()
}

/// An instant to the millisecond, in UTC.
pub(crate) fn to_millisecond(at: &Timestamp) -> String {
    let millis = at.nanos / 1_000_000;
    let shown = to_second(at);
    format!("{}.{millis:03}Z", shown.trim_end_matches('Z'))
}

/// A number of bytes: "1.5 MiB".
pub(crate) fn size(bytes: u64) -> String {
    ByteSize::b(bytes).display().iec().to_string()
}

/// A payload as text where it is UTF-8, else the head of its bytes in hexadecimal; its type and
/// size where that says more.
pub(crate) fn payload(payload: Option<&v1::Payload>, chars_max: usize) -> String {
    let Some(payload) = payload else {
        return String::new();
    };
    let label = if payload.content_type.is_empty() {
        String::new()
    } else {
        format!(" {}", payload.content_type)
    };
    if payload.data.is_empty() {
        return if label.is_empty() {
            String::new()
        } else {
            format!("(0 bytes{label})")
        };
    }
    let bytes = payload.data.len();
    match std::str::from_utf8(&payload.data) {
        Ok(text) if is_printable(text) => {
            let head: String = text.chars().take(chars_max).collect();
            if head.len() == text.len() {
                head.trim_end_matches('\n').to_owned()
            } else {
                format!("{head}… ({bytes} bytes{label})")
            }
        }
        Ok(_) | Err(_) => {
            let head: Vec<String> = payload
                .data
                .iter()
                .take(PAYLOAD_HEX_BYTES)
                .map(|b| format!("{b:02x}"))
                .collect();
            let more = if bytes > PAYLOAD_HEX_BYTES {
                " …"
            } else {
                ""
            };
            format!("0x {}{more} ({bytes} bytes{label})", head.join(" "))
        }
    }
}

/// A text without what speaks to the terminal: control characters other than line ends and tabs
/// become spaces.
pub(crate) fn printable(text: &str) -> String {
    text.replace(speaks_to_terminal, " ")
}

fn is_printable(text: &str) -> bool {
    !text.contains(speaks_to_terminal)
}

fn speaks_to_terminal(c: char) -> bool {
    c.is_control() && !matches!(c, '\n' | '\t')
}

/// An enum value's name without the prefix that the protos need: `TASK_STATE_DEAD` is "DEAD".
pub(crate) fn enum_name(name: &str, prefix: &str) -> String {
    let name = name.strip_prefix(prefix).unwrap_or(name);
    if name == "UNSPECIFIED" {
        String::new()
    } else {
        name.to_owned()
    }
}

/// A failure on one line: "NETWORK ConnectionError: connection reset".
pub(crate) fn failure(failure: Option<&v1::Failure>) -> String {
    let Some(failure) = failure else {
        return String::new();
    };
    let class = enum_name(failure.failure_class().as_str_name(), "FAILURE_CLASS_");
    let mut text = class;
    if !failure.r#type.is_empty() {
        text.push(' ');
        text.push_str(&failure.r#type);
    }
    if !failure.message.is_empty() {
        text.push_str(": ");
        text.push_str(&failure.message);
    }
    text.trim_start().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_as_people_write_them() {
        for (millis, text) in [
            (0, "0s"),
            (250, "250ms"),
            (1_000, "1s"),
            (15_500, "15.5s"),
            (31_000, "31s"),
            (60_000, "1m"),
            (90_000, "1m30s"),
            (600_000, "10m"),
            (192_050, "3m12.05s"),
            (7_500_000, "2h5m"),
            (86_400_000, "1d"),
            (273_600_000, "3d4h"),
        ] {
            assert_eq!(span(Duration::from_millis(millis)), text);
        }
        assert_eq!(span(Duration::from_micros(500)), "500us");
    }

    #[test]
    fn every_span_that_is_shown_can_be_given_back() {
        for millis in [0, 250, 15_500, 90_000, 192_050, 273_600_000] {
            let shown = span(Duration::from_millis(millis));
            assert_eq!(
                crate::values::duration(&shown),
                Ok(Duration::from_millis(millis))
            );
        }
    }

    #[test]
    fn ages_have_one_unit_and_the_future_says_in() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let at = |seconds: i64| Some(Timestamp { seconds, nanos: 0 });
        assert_eq!(age(now, at(999_800).as_ref()), "3m");
        assert_eq!(age(now, at(1_000_100).as_ref()), "0s");
        assert_eq!(age(now, None), "");
        assert_eq!(until(now, at(1_000_300).as_ref()), "in 5m");
        assert_eq!(until(now, at(999_000).as_ref()), "now");
        assert_eq!(
            instant(now, at(0).as_ref()),
            "1970-01-01T00:00:00Z (11d ago)"
        );
    }

    #[test]
    fn instants_have_three_digits_of_a_second() {
        let at = Timestamp {
            seconds: 1,
            nanos: 5_000_000,
        };
        assert_eq!(to_millisecond(&at), "1970-01-01T00:00:01.005Z");
    }

    #[test]
    fn payloads_are_text_where_they_can_be() {
        let of = |data: &[u8], kind: &str| {
            let payload = v1::Payload {
                data: data.to_vec().into(),
                content_type: kind.to_owned(),
            };
            super::payload(Some(&payload), 5)
        };
        assert_eq!(of(b"abc", ""), "abc");
        assert_eq!(of(b"abc\n", ""), "abc", "as a command prints it");
        assert_eq!(of(b"abcdefg", "text/plain"), "abcde… (7 bytes text/plain)");
        assert_eq!(of(&[0xff, 0], ""), "0x ff 00 (2 bytes)");
        assert_eq!(of(b"\x1b[31m", ""), "0x 1b 5b 33 31 6d (5 bytes)");
        assert_eq!(payload(None, 5), "");
    }

    #[test]
    fn nothing_that_others_wrote_speaks_to_the_terminal() {
        assert_eq!(printable("a\u{1b}[31mb\r\u{7}\n\tc"), "a [31mb  \n\tc");
    }

    #[test]
    fn a_failure_is_class_type_and_message() {
        let of = |class, kind: &str, message: &str| {
            failure(Some(&v1::Failure {
                failure_class: class,
                r#type: kind.to_owned(),
                message: message.to_owned(),
                ..Default::default()
            }))
        };
        assert_eq!(of(1, "E", "gone"), "NETWORK E: gone");
        assert_eq!(of(1, "", "gone"), "NETWORK: gone");
        assert_eq!(of(11, "E", ""), "INTERNAL E");
    }
}
