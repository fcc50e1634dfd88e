//! One call: its deadline, its retries, and what its failure means.
//!
//! Owns the rule of what may be tried again: a read on anything that smells of a lost coordinator,
//! a change only where it is certain that it was not performed. Never waits past the deadline, and
//! never tries again without a jittered pause.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::{Instant, timeout_at};
use tonic::{Code, Request, Response, Status};

use crate::{
    clock,
    connect::ReconnectBackoff,
    error::{Error, Verdict},
};

/// Whether a call changes anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// It only reads: trying it again is always safe.
    Read,
    /// It changes something.
    Change,
}

/// What all calls of a client share.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// For errors.
    pub(crate) address: Arc<str>,
    /// How long each call may take, retries included.
    pub(crate) deadline: Duration,
    seed: Arc<AtomicU64>,
}

impl Caller {
    pub(crate) fn new(address: &str, deadline: Duration, seed: u64) -> Self {
        Self {
            address: address.into(),
            deadline,
            seed: Arc::new(AtomicU64::new(seed)),
        }
    }

    /// A backoff of its own for each call, so that two calls never draw the same waits.
    pub(crate) fn backoff(&self) -> ReconnectBackoff {
        ReconnectBackoff::new(self.seed.fetch_add(1, Ordering::Relaxed))
    }

    /// Makes a unary call, trying again while that is safe and the deadline allows.
    pub(crate) async fn call<Req, Res, F, Fut>(
        &self,
        effect: Effect,
        request: Req,
        send: F,
    ) -> Result<Res, Error>
    where
        Req: Clone,
        F: FnMut(Request<Req>) -> Fut,
        Fut: Future<Output = Result<Response<Res>, Status>>,
    {
        self.persist(
            Terms {
                effect,
                tell_deadline: true,
            },
            request,
            send,
        )
        .await
    }

    /// Makes a call that is answered by a stream: the deadline holds for its beginning only.
    pub(crate) async fn open<Req, Res, F, Fut>(
        &self,
        effect: Effect,
        request: Req,
        send: F,
    ) -> Result<Res, Error>
    where
        Req: Clone,
        F: FnMut(Request<Req>) -> Fut,
        Fut: Future<Output = Result<Response<Res>, Status>>,
    {
        self.persist(
            Terms {
                effect,
                tell_deadline: false,
            },
            request,
            send,
        )
        .await
    }

    async fn persist<Req, Res, F, Fut>(
        &self,
        terms: Terms,
        request: Req,
        mut send: F,
    ) -> Result<Res, Error>
    where
        Req: Clone,
        F: FnMut(Request<Req>) -> Fut,
        Fut: Future<Output = Result<Response<Res>, Status>>,
    {
        let until = clock::now() + self.deadline;
        let mut backoff = self.backoff();
        loop {
            let mut request = Request::new(request.clone());
            if terms.tell_deadline {
                // The coordinator is told too, so that it drops work that nobody waits for.
                request.set_timeout(until.saturating_duration_since(clock::now()));
            }
            let verdict = match attempt(until, Box::pin(send(request))).await {
                Ok(answer) => return Ok(answer),
                Err(verdict) => verdict,
            };
            match self
                .pause_before_retry(terms.effect, &verdict, &mut backoff, until)
                .await
            {
                Again::Yes => {}
                Again::No => return Err(self.error(terms.effect, verdict)),
            }
        }
    }

    /// Lets the drawn pause pass where trying again is safe and would begin before `until`.
    pub(crate) async fn pause_before_retry(
        &self,
        effect: Effect,
        verdict: &Verdict,
        backoff: &mut ReconnectBackoff,
        until: Instant,
    ) -> Again {
        let (safe, floor) = match verdict {
            Verdict::NotConnected(_) => (true, None),
            Verdict::Refused(failure) => (failure.is_retryable(), failure.retry_after),
            Verdict::Unclear(failure) => (
                effect == Effect::Read && failure.code == Code::Unavailable,
                None,
            ),
        };
        let wait = backoff.next().max(floor.unwrap_or_default());
        if !safe || clock::now() + wait >= until {
            return Again::No;
        }
        tracing::debug!(?verdict, ?wait, "trying again");
        clock::pause(wait).await;
        Again::Yes
    }

    /// What a verdict means for the caller.
    pub(crate) fn error(&self, effect: Effect, verdict: Verdict) -> Error {
        match (verdict, effect) {
            (Verdict::NotConnected(problem), Effect::Read | Effect::Change) => Error::Connect {
                address: self.address.to_string(),
                problem,
            },
            (Verdict::Refused(failure), Effect::Read | Effect::Change) => {
                Error::Refused(Box::new(failure))
            }
            (Verdict::Unclear(failure), Effect::Read) => Error::Unanswered(Box::new(failure)),
            (Verdict::Unclear(failure), Effect::Change) => Error::OutcomeUnknown(Box::new(failure)),
        }
    }
}

/// How a call is made.
#[derive(Debug, Clone, Copy)]
struct Terms {
    effect: Effect,
    /// False where the answer is a stream that outlives the deadline.
    tell_deadline: bool,
}

/// Whether to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Again {
    /// Yes: the pause is over.
    Yes,
    /// No: it is not safe, or there is no time.
    No,
}

/// Waits for one answer, until the deadline.
pub(crate) async fn attempt<Res>(
    until: Instant,
    answer: impl Future<Output = Result<Response<Res>, Status>>,
) -> Result<Res, Verdict> {
    match timeout_at(until, answer).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(Verdict::of(&status)),
        Err(_elapsed) => Err(Verdict::deadline()),
    }
}

/// A part of an answer that the protocol promises.
pub(crate) fn present<T>(part: Option<T>, missing: &'static str) -> Result<T, Error> {
    part.ok_or(Error::Incomplete { missing })
}
