//! The one place of this crate that reads a clock or lets time pass; the demo has its own.
//!
//! Ages are shown with it, child processes waited for, and the bench measures with it. Nothing
//! about tasks is decided by it.

use std::{
    thread,
    time::{Duration, Instant, SystemTime},
};

/// Now, on the wall clock.
#[expect(
    clippy::disallowed_methods,
    reason = "the command line's clock: ages are shown with it"
)]
pub(crate) fn now() -> SystemTime {
    SystemTime::now()
}

/// Now, on the monotonic clock.
#[expect(
    clippy::disallowed_methods,
    reason = "the command line's clock: what the bench measures"
)]
pub(crate) fn monotonic() -> Instant {
    Instant::now()
}

/// Lets `delay` pass.
#[expect(
    clippy::disallowed_methods,
    reason = "a child process says nowhere that it is ready: it is asked again after a pause"
)]
pub(crate) async fn pause(delay: Duration) {
    tokio::time::sleep(delay).await;
}

/// Lets `delay` pass on a thread of its own, finer than the runtime's timers of a millisecond.
#[expect(
    clippy::disallowed_methods,
    reason = "the pace of a fixed rate is set by time alone"
)]
pub(crate) fn nap(delay: Duration) {
    thread::sleep(delay);
}
