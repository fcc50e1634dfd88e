//! The cleaner: keeps the journal small without stopping anything.
//!
//! Owns the beat, the calls to the engine and the work on files that would make it wait. What is done
//! next is `cleaning`'s to say; what lives is the engine's. Invariant: the answer to a call comes when
//! what it recorded is durable, and only then is it told to `cleaning`.

use std::time::Duration;

use futures::future::try_join_all;

use super::cleaning::{Cleaning, CleaningError, Next, SegmentWork};
use super::inbox::{CallError, Inbox};
use crate::journal::{JournalError, LogFiles, ReadError, SegmentInfo};

/// How often the cleaner looks at the journal.
const TICK: Duration = Duration::from_millis(100);
/// How often a segment that cannot be read is tried again: descriptors or memory may be short.
const READS_MAX: u32 = 100;

/// Why the cleaner stopped.
#[derive(Debug, thiserror::Error)]
enum CleanError {
    /// The coordinator has stopped.
    #[error(transparent)]
    Call(#[from] CallError),
    /// A file could not be removed: the journal has failed.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A segment cannot be read back, or a bug.
    #[error(transparent)]
    Cleaning(#[from] CleaningError),
}

/// Keeps the journal small.
pub(crate) struct Cleaner {
    inbox: Inbox,
    files: LogFiles,
    cleaning: Cleaning,
    reads_failed: u32,
}

impl Cleaner {
    /// A cleaner of these files, whose segments are of this size.
    pub(crate) const fn new(inbox: Inbox, files: LogFiles, segment_bytes: u64) -> Self {
        Self {
            inbox,
            files,
            cleaning: Cleaning::new(segment_bytes),
            reads_failed: 0,
        }
    }

    /// Cleans until the coordinator stops. Where a segment cannot be read back cleaning ends and
    /// the journal grows: the next start says what is wrong with it.
    pub(crate) async fn run(mut self) {
        let mut beat = tokio::time::interval(TICK);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            beat.tick().await;
            match self.tick().await {
                Ok(()) => {}
                // Whoever watches the journal and the engine says why they ended.
                Err(CleanError::Call(_) | CleanError::Journal(_)) => return,
                Err(CleanError::Cleaning(error)) => {
                    tracing::error!(%error, "the journal is cleaned no more: it only grows");
                    return;
                }
            }
        }
    }

    async fn tick(&mut self) -> Result<(), CleanError> {
        self.cleaning.tick(&self.files);
        loop {
            let goes_on = match self.cleaning.next(&self.files) {
                Next::Rest => false,
                Next::Ask(calls) => {
                    let calls = calls.into_iter();
                    let answers = calls.map(|call| self.inbox.call_when_room(call));
                    let answers = try_join_all(answers).await?;
                    self.cleaning.answered(answers, &self.files)?
                }
                Next::Read(info) => self.read(info).await?,
                Next::Remove { below } => self.remove(below).await?,
            };
            if !goes_on {
                return Ok(());
            }
        }
    }

    /// Reads a segment; says false where the machine cannot just now.
    async fn read(&mut self, info: SegmentInfo) -> Result<bool, CleanError> {
        let files = self.files.clone();
        let read = tokio::task::spawn_blocking(move || SegmentWork::read(&files, info));
        match read.await {
            Ok(Err(CleaningError::Read(error @ ReadError::Io { .. })))
                if self.reads_failed < READS_MAX =>
            {
                self.reads_failed += 1;
                tracing::warn!(%error, "a segment cannot be cleaned now; trying again");
                Ok(false)
            }
            Ok(work) => {
                self.reads_failed = 0;
                self.cleaning.begin(work?);
                Ok(true)
            }
            Err(ended) if ended.is_panic() => Err(CleaningError::Confused.into()),
            // The runtime goes down.
            Err(_ended) => Err(CallError::Stopped.into()),
        }
    }

    async fn remove(&mut self, below: u64) -> Result<bool, CleanError> {
        let files = self.files.clone();
        let removed = tokio::task::spawn_blocking(move || files.delete_below(below)).await;
        removed.unwrap_or(Ok(()))?;
        self.cleaning.removed();
        tracing::debug!(below, "segments of the journal were cleaned");
        Ok(true)
    }
}
