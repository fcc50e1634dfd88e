//! The one place of this crate that reads a clock or lets time pass.
//!
//! Never used to poll: what passes here is a backoff that was drawn, and nothing else. Under
//! tokio's paused clock everything here is simulated.

use std::time::Duration;

use tokio::time::Instant;

/// Now, on the monotonic clock that deadlines are counted on.
#[expect(clippy::disallowed_methods, reason = "the client's clock")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Lets `delay` pass.
#[expect(
    clippy::disallowed_methods,
    reason = "the client's clock: a drawn backoff"
)]
pub(crate) async fn pause(delay: Duration) {
    tokio::time::sleep(delay).await;
}
