//! What a session is told, and what it asks for.
//!
//! Owns the vocabulary between the session and its driver; no rule of its own.

use std::time::Duration;

use bytes::Bytes;
use redrive_proto::v1::{Delivery, Payload, Progress, Refusal, WorkerInfo, work_response};

use crate::{
    context::{StopReason, Timeouts},
    report::Outcome,
};

/// One run of one task on this worker. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(pub u64);

/// What happened, told to [`super::Session::step`].
#[derive(Debug)]
pub enum Input {
    /// The coordinator sent this.
    Received(Box<work_response::Message>),
    /// The stream ended, however it did.
    Closed,
    /// A handler ended and its slot is free. `None`: it was stopped and has nothing to say.
    Ended {
        /// Which run.
        run: RunId,
        /// How it ended.
        outcome: Option<Box<Outcome>>,
    },
    /// The handler of a run that was just aborted had saved this for the next run.
    Saved {
        /// Which run.
        run: RunId,
        /// What it saved.
        checkpoint: Payload,
    },
    /// A handler has something to say, which `Action::Collect` will ask for.
    Spoke {
        /// Which run.
        run: RunId,
        /// It waits for an answer.
        urgent: bool,
    },
    /// What a handler had to say, in answer to `Action::Collect`.
    Said {
        /// Which run.
        run: RunId,
        /// What it said.
        said: Box<Said>,
    },
    /// Finish what runs, give back the rest, leave. What is not finished within `deadline` is given
    /// back too; `None`: everything is finished first.
    Drain {
        /// Why, for people.
        reason: String,
        /// How long what runs may go on.
        deadline: Option<Duration>,
    },
    /// Give everything back now, and leave.
    ReleaseAll {
        /// Why, for people.
        reason: String,
    },
    /// A deadline has come.
    Tick,
}

/// What the driver must do.
#[derive(Debug, PartialEq)]
pub enum Action {
    /// Run this. Its slot is taken until `Input::Ended` names the run.
    Start {
        /// Names the run from here on.
        run: RunId,
        /// What to run.
        delivery: Box<Delivery>,
        /// When it is asked to stop and ended, in milliseconds of the session's clock.
        limits: Limits<u64>,
    },
    /// Tell the handler to stop soon.
    Signal {
        /// Which run.
        run: RunId,
        /// Why.
        reason: StopReason,
    },
    /// Tell the handler that its task was cancelled.
    Cancel {
        /// Which run.
        run: RunId,
        /// When the lease will be revoked, in milliseconds of the session's clock. `None`: the
        /// handler may take its time.
        until_ms: Option<u64>,
        /// Why, for people.
        detail: String,
    },
    /// Stop the handler now, whatever it does. Its outcome is settled already.
    Abort {
        /// Which run.
        run: RunId,
        /// Why.
        reason: StopReason,
    },
    /// The limits of a run have changed.
    Limits {
        /// Which run.
        run: RunId,
        /// As they stand, in milliseconds of the session's clock.
        limits: Limits<u64>,
    },
    /// Ask the handler what it has to say, and pass it on by `Input::Said`.
    Collect {
        /// Which run.
        run: RunId,
    },
    /// Answer a handler that asked for other limits.
    Extended {
        /// Which run.
        run: RunId,
        /// The number of its question.
        number: u64,
        /// The limits that hold now, counted from the run's start; or why not.
        answer: Result<Timeouts, Refusal>,
    },
    /// Leave this stream and open another, not before `after` where it is given.
    Disconnect {
        /// How long the coordinator asked to wait.
        after: Option<Duration>,
        /// Why, for people.
        reason: String,
    },
    /// The coordinator could not use something that was sent.
    Refused(Refusal),
    /// A report was not taken as it was meant; for the log.
    Note {
        /// The task's lease.
        token: Bytes,
        /// What became of the report.
        text: String,
    },
}

/// What does not change over a session's life.
#[derive(Clone, Debug)]
pub struct SessionConfig {
    /// The namespace whose queues are served.
    pub namespace: String,
    /// Who the worker is.
    pub worker: WorkerInfo,
    /// How many handlers run at once, at least 1.
    pub slots: u32,
    /// How many deliveries may wait beyond the slots. With the slots, at most 10,000.
    pub prefetch: u32,
    /// The most payload bytes to hold; 0 for no limit.
    pub bytes_max: u64,
}

/// What a handler said of its run since it was asked before. The latest of each.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Said {
    /// How far it has come.
    pub progress: Option<Progress>,
    /// What the next run should be handed.
    pub checkpoint: Option<Payload>,
    /// The time limits that it asks for.
    pub extend: Option<Extend>,
}

/// A handler's question for other time limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extend {
    /// Grows with every question of the run.
    pub number: u64,
    /// The limits, counted from the run's start. What is `None` stays as it is.
    pub wanted: Timeouts,
}

/// When a run is asked to stop and ended, each where there is such a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits<T> {
    /// It is asked to stop.
    pub soft: Option<T>,
    /// It is ended.
    pub hard: Option<T>,
    /// The task's life is over, and with it the run.
    pub deadline: Option<T>,
}

impl<T> Default for Limits<T> {
    fn default() -> Self {
        Self {
            soft: None,
            hard: None,
            deadline: None,
        }
    }
}

impl<T> Limits<T> {
    /// The same limits on another clock.
    pub fn map<U>(self, read: impl Fn(T) -> U) -> Limits<U> {
        Limits {
            soft: self.soft.map(&read),
            hard: self.hard.map(&read),
            deadline: self.deadline.map(&read),
        }
    }
}

impl<T: Copy + Ord> Limits<T> {
    /// When the run ends at the latest.
    pub fn end(&self) -> Option<T> {
        match (self.hard, self.deadline) {
            (Some(hard), Some(deadline)) => Some(hard.min(deadline)),
            (hard, deadline) => hard.or(deadline),
        }
    }
}
