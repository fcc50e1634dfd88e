//! What a handler says while it runs, until the session asks for it.
//!
//! Owns the latest of each thing said and the answer that a handler waits for. Bounded: one progress,
//! one checkpoint and one question for each run; a newer one takes the place of an older one.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use redrive_proto::v1::{Payload, Progress, Refusal};
use tokio::sync::{Notify, oneshot};

use crate::session::{Extend, RunId, Said};

/// Time limits of a run, counted from its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// After this the handler is asked to stop. `None`: no soft limit; in a question: as before.
    pub soft: Option<Duration>,
    /// After this the run is ended. `None`: no hard limit; in a question: as before.
    pub hard: Option<Duration>,
}

/// Why a run has not got the time limits that its handler asked for. The ones before hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExtendError {
    /// The coordinator refused them.
    #[error("other time limits were refused ({reason}): {field}: {message}")]
    Refused {
        /// A stable reason in `UPPER_SNAKE_CASE`.
        reason: String,
        /// The field at fault.
        field: String,
        /// What was wrong and what would be right.
        message: String,
    },
    /// A later question of the same run took the place of this one.
    #[error("a later question for time limits took the place of this one")]
    Replaced,
    /// The run is over, or its lease is gone.
    #[error("the run is over, its time limits cannot be changed any more")]
    Ended,
}

impl From<Refusal> for ExtendError {
    fn from(refusal: Refusal) -> Self {
        let Refusal {
            code: _,
            reason,
            message,
            field,
            retry_after: _,
        } = refusal;
        Self::Refused {
            reason,
            field,
            message,
        }
    }
}

pub(super) type Answer = oneshot::Receiver<Result<Timeouts, ExtendError>>;

/// Which runs have something to say.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    /// With whether an answer is waited for.
    runs: Mutex<BTreeMap<RunId, bool>>,
    wake: Notify,
}

impl Outbox {
    fn mark(&self, run: RunId, urgent: bool) {
        *lock(&self.runs).entry(run).or_default() |= urgent;
        self.wake.notify_one();
    }

    /// Waits for a run that has something to say. Safe to cancel; for one listener.
    pub(crate) async fn next(&self) -> (RunId, bool) {
        loop {
            let first = lock(&self.runs).pop_first();
            match first {
                Some(spoke) => return spoke,
                None => self.wake.notified().await,
            }
        }
    }
}

/// The voice of one run.
#[derive(Debug)]
pub(super) struct Voice {
    state: Mutex<State>,
    /// `None` without a session: whatever is asked for is granted.
    outbox: Option<(RunId, Arc<Outbox>)>,
}

#[derive(Debug, Default)]
struct State {
    progress: Option<Progress>,
    /// The latest checkpoint, until the run's end: it goes with the report, too.
    saved: Option<Payload>,
    saved_is_new: bool,
    extend: Option<Extend>,
    asked: u64,
    waiting: Option<oneshot::Sender<Result<Timeouts, ExtendError>>>,
    /// What is said is about to be collected; and whether at once.
    marked: Option<bool>,
    closed: bool,
}

impl Voice {
    pub(super) fn new(outbox: Option<(RunId, Arc<Outbox>)>) -> Self {
        Self {
            state: Mutex::default(),
            outbox,
        }
    }

    fn say(&self, urgent: bool, change: impl FnOnce(&mut State)) {
        let mut state = lock(&self.state);
        change(&mut state);
        let known = state
            .marked
            .is_some_and(|marked_urgent| marked_urgent || !urgent);
        if known || state.closed {
            return;
        }
        if let Some((run, outbox)) = &self.outbox {
            state.marked = Some(urgent);
            outbox.mark(*run, urgent);
        }
    }

    pub(super) fn progress(&self, progress: Progress) {
        self.say(false, |state| state.progress = Some(progress));
    }

    pub(super) fn save(&self, checkpoint: Payload) {
        self.say(false, |state| {
            state.saved = Some(checkpoint);
            state.saved_is_new = true;
        });
    }

    pub(super) fn extend(&self, wanted: Timeouts) -> Answer {
        let (sender, answer) = oneshot::channel();
        self.say(true, |state| {
            let (reply, dropped) = if state.closed {
                (Some(Err(ExtendError::Ended)), None)
            } else if self.outbox.is_none() {
                (Some(Ok(wanted)), None)
            } else {
                (None, state.waiting.take())
            };
            if let Some(earlier) = dropped {
                answer_to(earlier, Err(ExtendError::Replaced));
            }
            match reply {
                Some(reply) => answer_to(sender, reply),
                None => {
                    state.asked += 1;
                    let number = state.asked;
                    state.extend = Some(Extend { number, wanted });
                    state.waiting = Some(sender);
                }
            }
        });
        answer
    }

    /// What was said since this was called before.
    pub(super) fn collect(&self) -> Said {
        let mut state = lock(&self.state);
        state.marked = None;
        let is_new = std::mem::take(&mut state.saved_is_new);
        Said {
            progress: state.progress.take(),
            checkpoint: state.saved.clone().filter(|_| is_new),
            extend: state.extend.take(),
        }
    }

    /// Answers a question, unless a later one took its place.
    pub(super) fn answer(&self, number: u64, answer: Result<Timeouts, ExtendError>) {
        let mut state = lock(&self.state);
        if state.asked == number
            && let Some(waiting) = state.waiting.take()
        {
            answer_to(waiting, answer);
        }
    }

    /// Takes the latest checkpoint for the report. Nothing is heard from here on.
    pub(super) fn close(&self) -> Option<Payload> {
        let mut state = lock(&self.state);
        state.closed = true;
        if let Some(waiting) = state.waiting.take() {
            answer_to(waiting, Err(ExtendError::Ended));
        }
        state.saved.take()
    }
}

fn answer_to(
    waiting: oneshot::Sender<Result<Timeouts, ExtendError>>,
    answer: Result<Timeouts, ExtendError>,
) {
    if waiting.send(answer).is_err() {
        tracing::trace!("nobody waits for the answer any more");
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A handler that panicked between two statements here left a whole value behind.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
