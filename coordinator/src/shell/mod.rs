//! The shell: runs the engine, and does what it decides.
//!
//! Owns the loop ([`driver`]: start reading there; [`turns`] is what it does each time), the clock, the way in ([`inbox`]) and the way
//! out (`outbox`), and the order in which all of it goes down. Never decides anything about tasks:
//! no `if` here is about attempts, priorities or states.

pub(crate) mod cleaner;
pub mod cleaning;
pub mod clock;
mod desk;
pub mod driver;
pub mod inbox;
pub mod notices;
mod outbox;
mod queue;
pub mod revive;
pub mod shutdown;
pub(crate) mod start;
#[cfg(test)]
pub(crate) mod testing;
pub mod thread;
pub mod turns;

pub(crate) use desk::Desk;
pub(crate) use outbox::Outbox;
