//! The loop that joins session, pool and stream.
//!
//! Owns the order in which things happen: one `select!` yields one event, the session takes it in,
//! and its actions are done before the next. Never decides; logs what an operator wants to know.

use std::{collections::VecDeque, pin::Pin, time::Duration};

use futures::{Stream, StreamExt as _};
use tokio::time::timeout;
use tonic::{Code, Status};

use crate::{
    builder::RunError,
    clock::Clock,
    context::ExtendError,
    pool::Pool,
    report::Outcome,
    session::{Action, Input, RunId, Session, StopReport},
    signals::Stop,
    stream::{Link, LinkEvent},
};

/// How long the coordinator may take to end a stream after the Goodbye.
const GOODBYE_WITHIN: Duration = Duration::from_secs(2);
/// How long handlers that were stopped may take to end before they count as abandoned.
const HANDLERS_WITHIN: Duration = Duration::from_secs(1);
/// After so many events in a row deadlines are looked at and messages sent, however busy it is.
const EVENTS_IN_A_ROW_MAX: u32 = 64;

/// Everything that a running worker consists of.
pub(crate) struct Driver {
    clock: Clock,
    session: Session,
    pool: Pool,
    link: Link,
    stops: Pin<Box<dyn Stream<Item = Stop> + Send>>,
    drain_timeout: Duration,
    events_in_a_row: u32,
}

/// What the loop wakes up for.
enum Event {
    Stop(Stop),
    Link(LinkEvent),
    Ended(RunId, Option<Box<Outcome>>),
    /// A handler has something to say; true where it waits for an answer.
    Spoke(RunId, bool),
    Deadline,
    /// The stream can take a message.
    Room,
}

impl Driver {
    pub(crate) fn new(
        (session, pool, link): (Session, Pool, Link),
        stops: Pin<Box<dyn Stream<Item = Stop> + Send>>,
        drain_timeout: Duration,
    ) -> Self {
        let clock = Clock::start();
        Self {
            clock,
            session,
            pool,
            link,
            stops,
            drain_timeout,
            events_in_a_row: 0,
        }
    }

    /// Runs until the session is finished.
    pub(crate) async fn run(mut self) -> Result<StopReport, RunError> {
        while !self.session.is_finished() {
            let event = self.next_event().await;
            self.turn(event)?;
        }
        Ok(self.leave().await)
    }

    async fn next_event(&mut self) -> Event {
        if self.events_in_a_row >= EVENTS_IN_A_ROW_MAX {
            self.events_in_a_row = 0;
            if self
                .session
                .next_deadline()
                .is_some_and(|at| at <= self.clock.now_ms())
            {
                return Event::Deadline;
            }
            if self.session.wants_to_send() && self.link.outgoing.is_some() {
                return Event::Room;
            }
        }
        self.events_in_a_row += 1;

        let deadline = self.session.next_deadline();
        let wake = self.clock.instant(deadline.unwrap_or_default());
        let Link { incoming, outgoing } = &mut self.link;
        let outbox = self.pool.outbox();
        let room = async {
            match outgoing {
                Some(sender) => sender.reserve().await.is_ok(),
                None => std::future::pending().await,
            }
        };
        // What has happened comes before what is due, and both before speaking: what is ready
        // together is sent together.
        tokio::select! {
            biased;
            Some(stop) = self.stops.next() => Event::Stop(stop),
            event = incoming.next() => Event::Link(event),
            (run, outcome) = self.pool.ended() => Event::Ended(run, outcome.map(Box::new)),
            (run, urgent) = outbox.next() => Event::Spoke(run, urgent),
            () = tokio::time::sleep_until(wake), if deadline.is_some() => Event::Deadline,
            true = room, if self.session.wants_to_send() => Event::Room,
        }
    }

    fn turn(&mut self, event: Event) -> Result<(), RunError> {
        let input = match event {
            Event::Stop(Stop::Drain) => {
                tracing::info!("asked to stop: finishing what runs");
                let deadline = Some(self.drain_timeout);
                Input::Drain {
                    reason: "the process was asked to stop".to_owned(),
                    deadline,
                }
            }
            Event::Stop(Stop::Release) => {
                tracing::info!("asked to stop at once: giving back what runs");
                Input::ReleaseAll {
                    reason: "the process was asked to stop at once".to_owned(),
                }
            }
            Event::Link(LinkEvent::Due) => {
                let hello = self.session.hello(self.clock.now_ms());
                self.link.open(hello);
                return Ok(());
            }
            Event::Link(LinkEvent::Received(message)) => Input::Received(message),
            Event::Link(LinkEvent::Closed(status)) => {
                self.link.outgoing = None;
                self.closed(status)?;
                Input::Closed
            }
            Event::Ended(run, outcome) => Input::Ended { run, outcome },
            Event::Spoke(run, urgent) => Input::Spoke { run, urgent },
            Event::Deadline => Input::Tick,
            Event::Room => {
                self.send();
                return Ok(());
            }
        };
        self.step(input);
        Ok(())
    }

    fn step(&mut self, input: Input) {
        let now_ms = self.clock.now_ms();
        let was_leaving = self.session.is_leaving();
        let mut inputs = VecDeque::from([input]);
        let mut actions = Vec::new();
        while let Some(input) = inputs.pop_front() {
            self.session.step(now_ms, input, &mut actions);
            if self.session.is_leaving() && !was_leaving {
                self.pool.drain();
            }
            for action in actions.drain(..) {
                inputs.extend(self.act(action));
            }
        }
    }

    /// Does what the session wants; what it wanted to know is for it to hear next.
    fn act(&mut self, action: Action) -> Option<Input> {
        match action {
            Action::Start {
                run,
                delivery,
                limits,
            } => {
                let limits = limits.map(|at| self.clock.instant(at));
                self.pool.start(run, *delivery, limits);
            }
            Action::Signal { run, reason } => self.pool.signal(run, reason),
            Action::Cancel {
                run,
                until_ms,
                detail,
            } => {
                let until = until_ms.map(|at| self.clock.instant(at));
                self.pool.cancel(run, until, &detail);
            }
            Action::Abort { run, reason } => {
                tracing::debug!(?run, ?reason, "stopping a handler");
                let checkpoint = self.pool.abort(run, reason)?;
                return Some(Input::Saved { run, checkpoint });
            }
            Action::Limits { run, limits } => {
                let limits = limits.map(|at| self.clock.instant(at));
                self.pool.limits(run, limits);
            }
            Action::Collect { run } => {
                let said = Box::new(self.pool.collect(run)?);
                return Some(Input::Said { run, said });
            }
            Action::Extended {
                run,
                number,
                answer,
            } => self
                .pool
                .answer(run, number, answer.map_err(ExtendError::from)),
            Action::Disconnect { after, reason } => {
                let wait = self.link.close(after);
                tracing::info!(reason, ?wait, "leaving the stream, to open another");
            }
            Action::Refused(refusal) => {
                tracing::warn!(
                    reason = refusal.reason,
                    field = refusal.field,
                    "the coordinator refused a message: {}",
                    refusal.message
                );
            }
            Action::Note { token: _, text } => tracing::warn!("{text}"),
        }
        None
    }

    fn send(&mut self) {
        let Some(sender) = &self.link.outgoing else {
            return;
        };
        while self.session.wants_to_send() {
            let Ok(permit) = sender.try_reserve() else {
                return;
            };
            let Some(request) = self.session.next_request() else {
                return;
            };
            permit.send(request);
        }
    }

    /// A refusal that trying again cannot change ends a worker that holds nothing.
    fn closed(&self, status: Option<Box<Status>>) -> Result<(), RunError> {
        let Some(status) = status else {
            tracing::info!("the coordinator ended the stream; connecting again");
            return Ok(());
        };
        let hopeless = matches!(
            status.code(),
            Code::InvalidArgument
                | Code::PermissionDenied
                | Code::Unauthenticated
                | Code::Unimplemented
        );
        if hopeless && !self.session.holds_leases() {
            return Err(RunError::Refused(status));
        }
        tracing::warn!(
            code = ?status.code(),
            "no stream to the coordinator: {}; trying again",
            status.message()
        );
        Ok(())
    }

    async fn leave(mut self) -> StopReport {
        // The end of our side; the coordinator then ends its own.
        let spoke = self.link.outgoing.take().is_some();
        if spoke {
            let ended =
                async { while !matches!(self.link.incoming.next().await, LinkEvent::Closed(_)) {} };
            if timeout(GOODBYE_WITHIN, ended).await.is_err() {
                tracing::debug!("the coordinator left the stream open after the goodbye");
            }
        }
        let ended = async {
            while !self.pool.is_empty() {
                self.pool.ended().await;
            }
        };
        if timeout(HANDLERS_WITHIN, ended).await.is_err() {
            tracing::warn!(
                handlers = self.pool.len(),
                "leaving handlers that cannot be stopped"
            );
        }
        let abandoned = u64::try_from(self.pool.len()).unwrap_or(u64::MAX);
        StopReport {
            abandoned,
            ..self.session.report()
        }
    }
}
