//! The one place of the demo that reads a clock or lets time pass.
//!
//! It paces the screen, makes the upstream slow and down for a while, and says how long the demo took
//! and when there was no coordinator. No check depends on how fast the machine is.

use std::time::Duration;

use tokio::time::Instant;

/// Now, on the monotonic clock.
#[expect(clippy::disallowed_methods, reason = "the demo's clock")]
pub(super) fn now() -> Instant {
    Instant::now()
}

/// Lets `delay` pass.
#[expect(
    clippy::disallowed_methods,
    reason = "the demo's clock: the pace of the screen"
)]
pub(super) async fn pause(delay: Duration) {
    tokio::time::sleep(delay).await;
}
