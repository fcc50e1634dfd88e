//! One call: its deadline, its retries, and what its failure means.
//!
//! Owns the rule of what may be tried again: a read on anything that smells of a lost coordinator;
//! a change that names itself by a request id on the same, for the coordinator performs it once; any
//! other change only where it is certain that it was not performed. Never waits past the deadline,
//! and never tries again without a jittered pause.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::{Instant, timeout_at};
use tonic::{
    Code, Request, Response, Status,
    metadata::{Ascii, MetadataValue},
};

use crate::{
    clock,
    connect::ReconnectBackoff,
    error::{CallFailure, Error, Verdict},
    names::{Named, Names, RequestName},
};

/// Makes one call of a service: `read`, or `change` under a request id, where the answer is one
/// message; `open_read` or `open_change` where it is a stream.
macro_rules! call {
    ($client:expr, $how:ident $stub:ident :: $method:ident, $request:expr) => {{
        let stub = $stub::new($client.channel.clone())
            .max_decoding_message_size($crate::limits::MESSAGE_BYTES_MAX)
            .max_encoding_message_size($crate::limits::MESSAGE_BYTES_MAX);
        $client
            .caller
            .$how($request, |request| {
                let mut stub = stub.clone();
                async move { stub.$method(request).await }
            })
            .await
    }};
}
pub(crate) use call;

/// The header that says who acts.
const ACTOR_HEADER: &str = "redrive-actor";

/// Whether a call changes anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// It only reads: trying it again is always safe.
    Read,
    /// It changes something.
    Change,
    /// It changes something under a name of its own: the coordinator performs it once, however often
    /// it arrives.
    NamedChange,
}

/// What all calls of a client share.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// For errors.
    pub(crate) address: Arc<str>,
    /// How long each call may take, retries included.
    pub(crate) deadline: Duration,
    /// Who acts, where that was said.
    pub(crate) actor: Option<MetadataValue<Ascii>>,
    /// What the user calls the next changes, where it was said.
    pub(crate) request: RequestName,
    /// Names for what the user does not name.
    pub(crate) names: Names,
    seed: Arc<AtomicU64>,
}

impl Caller {
    pub(crate) fn new(address: &str, deadline: Duration, seed: u64, names: Names) -> Self {
        Self {
            address: address.into(),
            deadline,
            actor: None,
            request: RequestName::default(),
            names,
            seed: Arc::new(AtomicU64::new(seed)),
        }
    }

    /// A backoff of its own for each call, so that two calls never draw the same waits.
    pub(crate) fn backoff(&self) -> ReconnectBackoff {
        ReconnectBackoff::new(self.seed.fetch_add(1, Ordering::Relaxed))
    }

    /// Makes a unary call that changes nothing, trying again while the deadline allows.
    pub(crate) async fn read<Req, Res, F, Fut>(&self, request: Req, send: F) -> Result<Res, Error>
    where
        Req: Clone,
        F: FnMut(Request<Req>) -> Fut,
        Fut: Future<Output = Result<Response<Res>, Status>>,
    {
        self.persist(UNARY_READ, request, send).await
    }

    /// Makes a unary call that changes something, under one request id however often it is sent.
    pub(crate) async fn change<Req, Res, F, Fut>(
        &self,
        mut request: Req,
        send: F,
    ) -> Result<Res, Error>
    where
        Req: Clone + Named,
        F: FnMut(Request<Req>) -> Fut,
        Fut: Future<Output = Result<Response<Res>, Status>>,
    {
        let (id, ttl) = self.request.or_made(&self.names, self.deadline);
        request.name(id, ttl);
        self.persist(UNARY_CHANGE, request, send).await
    }

    /// Makes a read that is answered by a stream: the deadline holds for its beginning only.
    pub(crate) async fn open_read<Req, Res, F, Fut>(
        &self,
        request: Req,
        send: F,
    ) -> Result<Res, Error>
    where
        Req: Clone,
        F: FnMut(Request<Req>) -> Fut,
        Fut: Future<Output = Result<Response<Res>, Status>>,
    {
        self.persist(STREAMED_READ, request, send).await
    }

    /// Makes a change that is answered by a stream of its progress.
    pub(crate) async fn open_change<Req, Res, F, Fut>(
        &self,
        request: Req,
        send: F,
    ) -> Result<Res, Error>
    where
        Req: Clone,
        F: FnMut(Request<Req>) -> Fut,
        Fut: Future<Output = Result<Response<Res>, Status>>,
    {
        self.persist(STREAMED_CHANGE, request, send).await
    }

    /// Says who acts, where that was said.
    pub(crate) fn sign<T>(&self, request: &mut Request<T>) {
        if let Some(actor) = &self.actor {
            request.metadata_mut().insert(ACTOR_HEADER, actor.clone());
        }
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
        let mut doubt = None;
        loop {
            let mut request = Request::new(request.clone());
            if terms.effect != Effect::Read {
                self.sign(&mut request);
            }
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
                Again::Yes => doubt = in_doubt(verdict).or(doubt),
                Again::No => return Err(self.error(terms.effect, still_in_doubt(verdict, doubt))),
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
                effect != Effect::Change && failure.code == Code::Unavailable,
                failure.retry_after,
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
        match verdict {
            Verdict::NotConnected(problem) => Error::Connect {
                address: self.address.to_string(),
                problem,
            },
            Verdict::Refused(failure) => Error::Refused(Box::new(failure)),
            Verdict::Unclear(failure) => match effect {
                Effect::Read => Error::Unanswered(Box::new(failure)),
                Effect::Change | Effect::NamedChange => Error::OutcomeUnknown(Box::new(failure)),
            },
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

const UNARY_READ: Terms = Terms {
    effect: Effect::Read,
    tell_deadline: true,
};

const UNARY_CHANGE: Terms = Terms {
    effect: Effect::NamedChange,
    tell_deadline: true,
};

const STREAMED_READ: Terms = Terms {
    effect: Effect::Read,
    tell_deadline: false,
};

const STREAMED_CHANGE: Terms = Terms {
    effect: Effect::Change,
    tell_deadline: false,
};

/// What an attempt leaves open that may have been performed.
fn in_doubt(verdict: Verdict) -> Option<CallFailure> {
    match verdict {
        Verdict::Unclear(failure) => Some(failure),
        Verdict::NotConnected(_) | Verdict::Refused(_) => None,
    }
}

/// The last verdict in the light of an earlier attempt that may have been performed: what was not
/// answered for good leaves it open. A refusal for good settles it, for what had been performed
/// would have been answered again.
fn still_in_doubt(verdict: Verdict, doubt: Option<CallFailure>) -> Verdict {
    match (verdict, doubt) {
        (Verdict::NotConnected(_), Some(doubt)) => Verdict::Unclear(doubt),
        (Verdict::Refused(failure), Some(doubt)) if failure.is_retryable() => {
            Verdict::Unclear(doubt)
        }
        (verdict, _) => verdict,
    }
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
