//! The one place where the worker reads a clock.
//!
//! Owns nothing but the reading: the session is handed milliseconds, the pool is handed instants.
//! The monotonic clock is tokio's, so that tests pause and move it.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// Milliseconds since the worker began, on the monotonic clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    origin: Instant,
}

impl Clock {
    /// Starts counting now.
    pub(crate) fn start() -> Self {
        Self { origin: now() }
    }

    /// Milliseconds since the start, rounded down.
    pub(crate) fn now_ms(&self) -> u64 {
        millis(now().saturating_duration_since(self.origin))
    }

    /// The instant at which [`Clock::now_ms`] reads `at_ms`.
    pub(crate) fn instant(&self, at_ms: u64) -> Instant {
        // A deadline beyond what an instant can hold is as good as a year away.
        const FAR: Duration = Duration::from_secs(365 * 24 * 3_600);
        self.origin
            .checked_add(Duration::from_millis(at_ms))
            .unwrap_or_else(|| self.origin + FAR)
    }
}

/// The monotonic instant.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place where the worker reads a clock"
)]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// The wall clock: only for comparing with dates that other systems name.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place where the worker reads a clock"
)]
pub(crate) fn wall() -> SystemTime {
    SystemTime::now()
}

/// Whole milliseconds of a duration, saturating.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
