//! A journal for tests that holds every frame until it is told to go on, and fails when told to.
//!
//! Owns the frames between append and release. It is a model of a writer thread: what it does
//! happens in the tester's thread, at the moment of the tester's choice.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Durability, Frame, Journal, JournalError, Sink};

/// The appender's end.
pub(crate) struct HeldJournal<Record, Release> {
    state: Arc<Mutex<State<Record, Release>>>,
}

/// The tester's end: the writer thread, by hand.
pub(crate) struct Writer<Record, Release> {
    state: Arc<Mutex<State<Record, Release>>>,
}

struct State<Record, Release> {
    held: VecDeque<Frame<Record, Release>>,
    sink: Box<dyn Sink<Release>>,
    failed: Option<JournalError>,
    closed: bool,
}

/// A journal that releases into `sink` when its writer says so.
pub(crate) fn held_journal<Record, Release>(
    sink: Box<dyn Sink<Release>>,
) -> (HeldJournal<Record, Release>, Writer<Record, Release>) {
    let state = State {
        held: VecDeque::new(),
        sink,
        failed: None,
        closed: false,
    };
    let state = Arc::new(Mutex::new(state));
    (
        HeldJournal {
            state: Arc::clone(&state),
        },
        Writer { state },
    )
}

fn lock<T>(state: &Mutex<T>) -> MutexGuard<'_, T> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<Record, Release> Writer<Record, Release> {
    /// How many frames wait to become durable.
    pub(crate) fn frames_held(&self) -> usize {
        lock(&self.state).held.len()
    }

    /// How many records wait to become durable.
    pub(crate) fn records_held(&self) -> usize {
        lock(&self.state)
            .held
            .iter()
            .map(|frame| frame.records.len())
            .sum()
    }

    /// The oldest frame becomes durable and is released.
    pub(crate) fn sync_one(&self) {
        let mut state = lock(&self.state);
        let frame = state.held.pop_front().expect("a frame is held");
        state.sink.release(frame.release);
    }

    /// The next sync fails: what is held is never released.
    pub(crate) fn fail(&self, error: JournalError) {
        let mut state = lock(&self.state);
        state.held.clear();
        state.failed = Some(error.clone());
        state.sink.failed(error);
    }

    /// Whether the journal was closed.
    pub(crate) fn is_closed(&self) -> bool {
        lock(&self.state).closed
    }
}

impl<Record: Send, Release: Send> Journal<Record, Release> for HeldJournal<Record, Release> {
    fn durability(&self) -> Durability {
        Durability::Always
    }

    fn append(&mut self, frame: Frame<Record, Release>) -> Result<(), JournalError> {
        let mut state = lock(&self.state);
        if let Some(error) = &state.failed {
            return Err(error.clone());
        }
        state.held.push_back(frame);
        Ok(())
    }

    fn close(&mut self) -> Result<(), JournalError> {
        let mut state = lock(&self.state);
        if let Some(error) = &state.failed {
            return Err(error.clone());
        }
        while let Some(frame) = state.held.pop_front() {
            state.sink.release(frame.release);
        }
        state.closed = true;
        Ok(())
    }
}
