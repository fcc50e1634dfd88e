//! The journal on disk without a thread: for tests, and for simulators that must be deterministic.
//!
//! Owns the frames appended and not yet committed. It is the same writer as [`super::LocalJournal`]:
//! what differs is who calls it, and when.

use std::collections::VecDeque;
use std::fmt::{self, Debug};
use std::sync::Arc;

use super::files::{Log, LogFiles};
use super::gate::{Gate, Poison, cannot};
use super::open::Syncing;
use super::start::Ready;
use super::writer::Writer;
use super::{Asks, Durability, Frame, Journal, JournalError};

/// A journal on disk whose work is done by whoever calls it.
pub struct InlineJournal<Record, Release> {
    log: Arc<Log>,
    gate: Arc<Gate<Release>>,
    writer: Writer<Record, Release>,
    queue: VecDeque<Frame<Record, Release>>,
    on_demand: bool,
    closed: bool,
}

impl<Record, Release> InlineJournal<Record, Release> {
    pub(super) fn new(ready: Ready<Record, Release>) -> Self {
        Self {
            log: ready.log,
            gate: ready.gate,
            writer: ready.writer,
            queue: VecDeque::new(),
            on_demand: false,
            closed: false,
        }
    }

    /// Frames wait for [`InlineJournal::commit`] from now on, instead of being committed by
    /// `append`.
    #[must_use]
    pub const fn on_demand(mut self) -> Self {
        self.on_demand = true;
        self
    }

    /// Frames that wait.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Commits all frames that wait, as the writer's thread would.
    ///
    /// # Errors
    /// Where the journal fails or has failed.
    pub fn commit(&mut self) -> Result<(), JournalError> {
        self.writer.commit(&mut self.queue)
    }

    /// What the writer's thread does 50 ms after the last sync.
    ///
    /// # Errors
    /// Where the journal fails or has failed.
    pub fn confirm(&mut self) -> Result<(), JournalError> {
        self.writer.confirm()
    }

    /// What the helper does every now and then at `interval`.
    ///
    /// # Errors
    /// Where the journal fails or has failed.
    pub fn sync(&mut self) -> Result<(), JournalError> {
        self.writer.sync()
    }

    /// What the helper of the reserve files does: one attempt to make one, where there are too few.
    /// Says whether it made one.
    ///
    /// # Errors
    /// Where the journal fails or has failed; not for a full disk.
    pub fn tend(&mut self) -> Result<bool, JournalError> {
        let tended = self.log.spares.tend()?;
        Ok(tended == super::spares::Tended::Filled)
    }

    /// The journal's files.
    #[must_use]
    pub fn files(&self) -> LogFiles {
        LogFiles::new(Arc::clone(&self.log))
    }

    /// The highest lsn that is known to be synced.
    #[must_use]
    pub fn durable_lsn(&self) -> u64 {
        self.log.synced.durable()
    }
}

impl<Record: Send, Release: Send> Journal<Record, Release> for InlineJournal<Record, Release> {
    fn durability(&self) -> Durability {
        Syncing::durability(self.log.options.syncing)
    }

    fn asks(&self) -> Asks {
        self.log.asks()
    }

    fn append(&mut self, frame: Frame<Record, Release>) -> Result<(), JournalError> {
        if let Some(error) = self.gate.failure() {
            return Err(error);
        }
        if self.closed {
            return Err(cannot("take a frame", "it was closed"));
        }
        if frame.opens_segment {
            self.log.opener_queued();
        }
        self.queue.push_back(frame);
        if self.on_demand {
            return Ok(());
        }
        self.commit()
    }

    fn close(&mut self) -> Result<(), JournalError> {
        if let Some(error) = self.gate.failure() {
            return Err(error);
        }
        if !self.closed {
            self.closed = true;
            self.commit()?;
            self.writer.finish()?;
            self.log.unlock();
        }
        Ok(())
    }
}

impl<Record, Release> Drop for InlineJournal<Record, Release> {
    fn drop(&mut self) {
        self.log.unlock();
    }
}

impl<Record, Release> Debug for InlineJournal<Record, Release> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InlineJournal")
            .field("writer", &self.writer)
            .finish_non_exhaustive()
    }
}
