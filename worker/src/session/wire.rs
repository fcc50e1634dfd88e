//! Durations and the Welcome, as they go over the wire.
//!
//! Owns the answer to odd values: a negative duration is none at all, and a pace that is not told
//! keeps its default.

use std::time::Duration;

use redrive_proto::v1::Welcome;

use super::{Pace, millis_up};

/// The wire's duration; a negative one is zero.
pub(crate) fn duration(wire: prost_types::Duration) -> Duration {
    Duration::try_from(wire).unwrap_or_default()
}

/// The duration on the wire; one beyond what the wire can say is its greatest.
pub(crate) fn of(duration: Duration) -> prost_types::Duration {
    let farthest = prost_types::Duration {
        seconds: i64::MAX,
        nanos: 0,
    };
    duration.try_into().unwrap_or(farthest)
}

/// A time limit in milliseconds, at least 1. `None`: no limit.
pub(super) fn limit_ms(wire: Option<prost_types::Duration>) -> Option<u64> {
    wire.map(|wire| millis_up(duration(wire)).max(1))
}

pub(super) fn pace(welcome: &Welcome) -> Pace {
    let default = Pace::default();
    let ms = |wire: Option<prost_types::Duration>, default| {
        wire.map(|wire| millis_up(duration(wire)))
            .filter(|ms| *ms > 0)
            .unwrap_or(default)
    };
    let bytes = |told: u64, default: u64| if told == 0 { default } else { told };
    Pace {
        ping_ms: ms(welcome.ping_interval, default.ping_ms),
        abort_after_ms: ms(welcome.abort_after, default.abort_after_ms),
        result_bytes_max: bytes(welcome.result_bytes_max, default.result_bytes_max),
        message_bytes_max: bytes(welcome.message_bytes_max, default.message_bytes_max),
    }
}
