//! Where a history is written down, and the one clock that it has.
//!
//! Owns the order of what was seen. Never judges, never forgets.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use super::{Entry, Fact};

/// A history in the making; clones write into the same one.
#[derive(Clone, Debug)]
pub struct Recorder {
    began: Instant,
    entries: Arc<Mutex<Vec<Entry>>>,
}

impl Default for Recorder {
    fn default() -> Self {
        Self::new()
    }
}

impl Recorder {
    /// An empty history that begins now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the history's own clock")]
    pub fn new() -> Self {
        Self {
            began: Instant::now(),
            entries: Arc::default(),
        }
    }

    /// Writes down what was seen just now.
    #[expect(clippy::disallowed_methods, reason = "the history's own clock")]
    pub fn note(&self, fact: Fact) {
        let mut entries = self.lock();
        // Read under the lock: the order of entries is the order of their instants.
        let at_us = Instant::now().duration_since(self.began).as_micros();
        let at_us = u64::try_from(at_us).unwrap_or(u64::MAX);
        entries.push(Entry { at_us, fact });
    }

    /// The machine's time, in milliseconds since 1970: comparable with what a coordinator on the
    /// same machine tells.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the machine's clock")]
    pub fn wall_ms() -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(0))
    }

    /// How much has been seen.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// True where nothing has been seen.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// All that was seen so far.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Entry>> {
        // A history is whole after every push, so a panic elsewhere leaves it usable.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The digest of a payload: 64-bit FNV-1a.
#[must_use]
pub fn digest(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
