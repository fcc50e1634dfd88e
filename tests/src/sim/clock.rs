//! The machine's clocks in the simulated world.
//!
//! Owns a boot clock that only the world moves, and a wall clock that may jump. Never decides when.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use redrive_coordinator::shell::clock::{Readings, TimeSource};

/// What the wall clock says when the world begins. Milliseconds since the Unix epoch.
const WALL_MS: u64 = 1_800_000_000_000;

/// Both clocks. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Clocks {
    boot_us: Arc<AtomicU64>,
    skew_us: Arc<AtomicI64>,
}

impl Clocks {
    /// The boot clock stands there.
    pub fn set(&self, boot_us: u64) {
        self.boot_us.store(boot_us, Ordering::Relaxed);
    }

    /// The wall clock jumps.
    pub fn jump(&self, us: i64) {
        self.skew_us.fetch_add(us, Ordering::Relaxed);
    }
}

impl TimeSource for Clocks {
    fn read(&mut self) -> Readings {
        let boot_us = self.boot_us.load(Ordering::Relaxed);
        let wall_us =
            (WALL_MS * 1000 + boot_us).saturating_add_signed(self.skew_us.load(Ordering::Relaxed));
        Readings {
            wall_ns: wall_us * 1000,
            boot_ns: boot_us * 1000,
        }
    }
}
