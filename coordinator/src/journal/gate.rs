//! The one door out of the journal: releases go through it until the journal has failed.
//!
//! Owns the sink, and the first failure. Shared by the writer and its helpers. Invariant: once a
//! failure is known, to whatever thread, nothing is released any more, and the sink was told once.

use std::fmt::{self, Debug, Display};
use std::sync::{Mutex, OnceLock, PoisonError};

use super::{JournalError, Sink};

/// The sink, and whether the journal has failed.
pub(super) struct Gate<Release> {
    sink: Mutex<Box<dyn Sink<Release>>>,
    failed: OnceLock<JournalError>,
}

/// What a helper needs of the gate: to fail the journal, and to know that it has failed.
pub(super) trait Poison: Send + Sync {
    /// Fails the journal for good; the first failure wins and is returned.
    fn poison(&self, error: JournalError) -> JournalError;

    /// The failure, where there was one.
    fn failure(&self) -> Option<JournalError>;
}

impl<Release> Gate<Release> {
    pub(super) fn new(sink: Box<dyn Sink<Release>>) -> Self {
        Self {
            sink: Mutex::new(sink),
            failed: OnceLock::new(),
        }
    }

    /// Lets go of what one frame held back, unless the journal has failed.
    pub(super) fn release(&self, release: Release) {
        let mut sink = self.sink.lock().unwrap_or_else(PoisonError::into_inner);
        if self.failed.get().is_none() {
            sink.release(release);
        }
    }
}

impl<Release> Poison for Gate<Release> {
    fn poison(&self, error: JournalError) -> JournalError {
        let mut sink = self.sink.lock().unwrap_or_else(PoisonError::into_inner);
        let mut first = false;
        let error = self.failed.get_or_init(|| {
            first = true;
            error
        });
        if first {
            sink.failed(error.clone());
        }
        error.clone()
    }

    fn failure(&self) -> Option<JournalError> {
        self.failed.get().cloned()
    }
}

impl<Release> Debug for Gate<Release> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate")
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}

/// "the journal cannot `act`: `cause`".
pub(super) fn cannot(act: impl Into<String>, cause: impl Display) -> JournalError {
    JournalError {
        act: act.into(),
        cause: cause.to_string(),
    }
}
