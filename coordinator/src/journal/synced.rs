//! Which frames are known to be on disk, and the helper that sees to it at `interval`.
//!
//! Owns the highest lsn written and the highest lsn synced. Invariant: the latter only moves to an
//! lsn whose write had returned before a sync began that has returned since.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::JournalError;
use super::gate::{Poison, cannot};
use super::stats::{LogStats, Stopwatch};
use super::storage::StoredFile;

/// What is written and what is synced.
#[derive(Debug, Default)]
pub(super) struct Synced {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// The active segment. Older ones are synced before they are left.
    active: Option<(u64, Arc<dyn StoredFile>)>,
    written: u64,
    durable: u64,
    stop: bool,
}

impl Synced {
    /// All up to `lsn` is on disk.
    pub(super) fn starting_at(lsn: u64) -> Self {
        Self {
            state: Mutex::new(State {
                written: lsn,
                durable: lsn,
                ..State::default()
            }),
            changed: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Frames are written to another segment from now on. Everything before must be synced.
    pub(super) fn switch(&self, number: u64, file: Arc<dyn StoredFile>) {
        self.lock().active = Some((number, file));
    }

    /// A frame was written.
    pub(super) fn wrote(&self, lsn: u64) {
        let mut state = self.lock();
        if state.written == state.durable {
            self.changed.notify_all();
        }
        state.written = lsn;
    }

    /// The highest lsn known to be synced.
    pub(super) fn durable(&self) -> u64 {
        self.lock().durable
    }

    /// Syncs everything that was written before the call.
    pub(super) fn sync(&self, stats: &LogStats) -> Result<(), JournalError> {
        let (written, active) = {
            let state = self.lock();
            if state.written == state.durable {
                return Ok(());
            }
            (state.written, state.active.clone())
        };
        if let Some((number, file)) = active {
            let watch = Stopwatch::start();
            file.sync_data()
                .map_err(|cause| cannot(format!("sync segment {number}"), cause))?;
            stats.synced(watch.elapsed());
        }
        let mut state = self.lock();
        state.durable = state.durable.max(written);
        Ok(())
    }

    /// Syncs what was written, at most `every` after it was, until it is told to stop.
    pub(super) fn run(&self, every: Duration, stats: &LogStats, poison: &dyn Poison) {
        loop {
            let state = self.lock();
            let clean = |state: &mut State| !state.stop && state.written == state.durable;
            let state = self.changed.wait_while(state, clean);
            let state = state.unwrap_or_else(PoisonError::into_inner);
            let going = |state: &mut State| !state.stop;
            let waited = self.changed.wait_timeout_while(state, every, going);
            let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
            if state.stop {
                return;
            }
            drop(state);
            if let Err(error) = self.sync(stats) {
                poison.poison(error);
                return;
            }
        }
    }

    /// Ends the helper.
    pub(super) fn stop(&self) {
        self.lock().stop = true;
        self.changed.notify_all();
    }
}
