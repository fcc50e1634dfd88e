//! The one place of this crate that reads a clock.
//!
//! Read once a command, to show ages; nothing here decides anything.

use std::time::SystemTime;

/// Now, on the wall clock.
#[expect(
    clippy::disallowed_methods,
    reason = "the command line's clock: ages are shown with it"
)]
pub(crate) fn now() -> SystemTime {
    SystemTime::now()
}
