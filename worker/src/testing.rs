//! Runs one handler without a coordinator, for the tests of those who write handlers.
//!
//! Owns nothing that runs in production. Time limits that a handler asks for are granted. Panics are not caught here: they fail the test.

use std::time::Duration;

use redrive_proto::v1::{Delivery, Failure, Payload, Priority};
use serde::Serialize;
use tokio::sync::watch;

use crate::{
    clock,
    context::{Cancel, Signals, StopReason, TaskContext},
    handler::{BlockingHandler, Handler},
    report::Outcome,
    session::{Limits, wire},
};

/// A task to try a handler on. Its context says attempt 1 of 5, unless told otherwise.
#[derive(Clone, Debug)]
pub struct TestTask {
    delivery: Delivery,
    signals: Signals,
}

impl TestTask {
    /// A task of this kind with an empty payload.
    pub fn new(kind: &str) -> Self {
        let delivery = Delivery {
            sequence: 1,
            lease_token: "test".into(),
            fence: 1,
            task_id: "01900000-0000-7000-8000-000000000000".to_owned(),
            namespace: "default".to_owned(),
            queue: "test".to_owned(),
            kind: kind.to_owned(),
            priority: Priority::Normal.into(),
            run: 1,
            attempt: 1,
            attempts_max: 5,
            ..Delivery::default()
        };
        Self {
            delivery,
            signals: Signals::default(),
        }
    }

    /// Gives it a payload.
    pub fn payload(mut self, data: impl Into<bytes::Bytes>, content_type: &str) -> Self {
        let content_type = content_type.to_owned();
        self.delivery.payload = Some(Payload {
            data: data.into(),
            content_type,
        });
        self
    }

    /// Gives it a payload in JSON.
    ///
    /// # Errors
    ///
    /// Where the value has no JSON form.
    pub fn json<T: Serialize>(self, value: &T) -> Result<Self, serde_json::Error> {
        Ok(self.payload(serde_json::to_vec(value)?, "application/json"))
    }

    /// Makes it this attempt of so many.
    pub fn attempt(mut self, attempt: u32, attempts_max: u32) -> Self {
        self.delivery.attempt = attempt;
        self.delivery.run = attempt;
        self.delivery.attempts_max = attempts_max;
        self.delivery.is_final_attempt = attempts_max > 0 && attempt >= attempts_max;
        self
    }

    /// Says how the attempt before failed.
    pub fn previous_failure(mut self, failure: Failure) -> Self {
        self.delivery.previous_failure = Some(Box::new(failure));
        self
    }

    /// Hands it what the run before left.
    pub fn checkpoint(mut self, checkpoint: Payload) -> Self {
        self.delivery.checkpoint = Some(checkpoint);
        self
    }

    /// Asks the handler to stop before it begins.
    pub fn stopped(mut self, reason: StopReason) -> Self {
        if reason == StopReason::Requested {
            return self.cancelled(None, "");
        }
        self.signals.stop = Some(reason);
        self
    }

    /// Cancels the task before the handler begins, with so much grace; nobody stops it then.
    pub fn cancelled(mut self, grace: Option<Duration>, detail: &str) -> Self {
        self.signals.stop = Some(StopReason::Requested);
        self.signals.cancel = Some(Cancel {
            until: grace.map(|grace| clock::now() + grace),
            detail: detail.into(),
        });
        self
    }

    /// Changes anything else about the delivery. Its time limits and its deadline are for the handler
    /// to read; nobody enforces them.
    pub fn with(mut self, change: impl FnOnce(&mut Delivery)) -> Self {
        change(&mut self.delivery);
        self
    }

    /// Runs an asynchronous handler; what it saved for the next run is in the outcome.
    pub async fn run<S, A>(self, handler: impl Handler<S, A>, state: &S) -> Outcome {
        let (task, signals) = self.begin();
        let outcome = handler.call(task.clone(), state).await;
        drop(signals);
        with_saved(&task, outcome)
    }

    /// Runs a blocking handler on this thread.
    pub fn run_blocking<S, A>(self, handler: impl BlockingHandler<S, A>, state: &S) -> Outcome {
        let (task, signals) = self.begin();
        let outcome = handler.call(task.clone(), state);
        drop(signals);
        with_saved(&task, outcome)
    }

    fn begin(self) -> (TaskContext, watch::Sender<Signals>) {
        let Self {
            delivery,
            mut signals,
        } = self;
        let now = clock::now();
        let at = |limit: Option<_>| now.checked_add(wire::duration(limit?));
        signals.limits = Limits {
            soft: at(delivery.soft_timeout),
            hard: at(delivery.hard_timeout),
            deadline: at(delivery.deadline),
        };
        let (sender, receiver) = watch::channel(signals);
        (TaskContext::new(delivery, receiver), sender)
    }
}

fn with_saved(task: &TaskContext, outcome: Outcome) -> Outcome {
    let checkpoint = outcome.checkpoint.or_else(|| task.close());
    Outcome {
        checkpoint,
        ..outcome
    }
}
