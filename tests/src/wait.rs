//! Waiting, by condition and never by time.
//!
//! Owns how long a test is patient, and how long faults last. Never sleeps for an effect to come about: it looks, and looks
//! again, or awaits what tells.

use std::time::Duration;

/// Nothing that a test waits for takes longer, unless it is broken.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// How often a condition is looked at that nobody announces.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// Waits for a future.
///
/// # Panics
/// Where it is not ready within [`PATIENCE`]; says what was waited for.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    patiently(PATIENCE, what, Box::pin(future)).await
}

/// Waits for a future that takes its time.
///
/// # Panics
/// Where it is not ready within `patience`; says what was waited for.
pub async fn patiently<T>(patience: Duration, what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(patience, future).await {
        Ok(value) => value,
        Err(_elapsed) => panic!("waited {patience:?} for this: {what}"),
    }
}

/// Looks until there is something, and answers it.
///
/// # Panics
/// Where there is nothing within [`PATIENCE`]; says what was waited for.
pub async fn eventually<T>(what: &str, look: impl AsyncFnMut() -> Option<T>) -> T {
    within(what, until(look)).await
}

/// Lets time pass, where time itself is what is done to somebody: how long a fault lasts. Never for
/// an effect to come about.
#[expect(clippy::disallowed_methods, reason = "a fault lasts by the clock")]
pub async fn lasting(time: Duration) {
    tokio::time::sleep(time).await;
}

/// Looks until there is something, however long that takes, and answers it.
pub async fn until<T>(mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let mut beat = tokio::time::interval(LOOK_INTERVAL);
    loop {
        beat.tick().await;
        if let Some(found) = look().await {
            return found;
        }
    }
}
