//! What goes in and out: sessions, deliveries, reports, answers.
//!
//! Owns who is connected and what they said. What is told is compared with what is durable (I2).

use std::collections::{BTreeMap, BTreeSet};

use redrive_coordinator::engine::command::{
    Call, Caller, Command, FromWorker, Hello, Report, ReportOutcome,
};
use redrive_coordinator::engine::effect::{Answer, Delivery, ReportAck, ReportStatus, ToWorker};
use redrive_coordinator::engine::ids::{LeaseToken, LinkId, RequestId, SessionId, Timestamp};
use redrive_coordinator::engine::ledger::history::RunOutcome;
use redrive_coordinator::engine::ledger::task::{Outcome, State};
use redrive_coordinator::engine::rejection::Rejection;

use super::task::{Heard, Stand};
use super::{Model, Rule, digest};

/// Who is connected.
#[derive(Debug, Default)]
pub(super) struct Talk {
    calls: BTreeSet<RequestId>,
    left: BTreeSet<RequestId>,
    links: BTreeMap<LinkId, Link>,
    sessions: BTreeMap<SessionId, Wants>,
    now: Timestamp,
}

/// A stream.
#[derive(Debug)]
struct Link {
    hello: Box<Hello>,
    session: Option<SessionId>,
    closed: bool,
    /// What a worker whose session is not known yet would hold, since when.
    capacities: Vec<(Timestamp, u32)>,
}

/// What a session takes.
#[derive(Clone, Debug, Default)]
struct Wants {
    /// Every kind, whatever its size.
    everything: bool,
    /// The stream that it came on last.
    link: Option<LinkId>,
    /// What it would hold, since when.
    capacities: Vec<(Timestamp, u32)>,
}

impl Talk {
    pub(super) fn killed(&mut self) {
        self.calls.clear();
        self.left.clear();
        self.links.clear();
        // Whoever comes back says Hello again.
        self.sessions.clear();
    }

    /// Whether a session is known to run every kind, whatever its size.
    pub(super) fn runs_everything(&self, session: SessionId) -> bool {
        let wants = self.sessions.get(&session);
        wants.is_some_and(|wants| wants.everything)
    }
}

impl Model {
    /// The engine's time, as last seen.
    #[must_use]
    pub const fn now(&self) -> Timestamp {
        self.talk.now
    }

    /// Callers that still wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.talk.calls.len()
    }

    /// The coordinator begins at this time, on a journal whose newest time is that.
    pub fn began(&mut self, now: Timestamp, newest: Timestamp) {
        if now < newest {
            let says = format!("the journal knows {newest:?}, and time began at {now:?}");
            self.wrong(Rule::Time, says);
        }
        self.talk.now = now;
    }

    /// The engine is about to handle a command.
    pub fn sees(&mut self, now: Timestamp, command: &Command) {
        if now < self.talk.now {
            let says = format!("engine time went back from {:?} to {now:?}", self.talk.now);
            self.wrong(Rule::Time, says);
        }
        self.talk.now = now;
        match command {
            Command::Call {
                request,
                caller,
                call,
            } => self.asked(*request, caller, call),
            Command::Hello { link, hello } => {
                let link_state = Link {
                    hello: hello.clone(),
                    session: None,
                    closed: false,
                    capacities: vec![(now, hello.capacity.tasks_max)],
                };
                self.talk.links.insert(*link, link_state);
                // It may come back with other kinds: what it is given before its welcome is told.
                if let Some(session) = hello.session {
                    let wants = self.talk.sessions.entry(session).or_default();
                    wants.everything = false;
                    wants.link = Some(*link);
                    wants.capacities.push((now, hello.capacity.tasks_max));
                    self.shares.end(session);
                }
            }
            Command::FromWorker { link, message } => self.heard(now, *link, message),
            Command::LinkClosed { link } => {
                self.talk.links.remove(link);
            }
            Command::Tick => self.lanes.tick(now),
            Command::Hangup { .. }
            | Command::Transfer(_)
            | Command::Late { .. }
            | Command::OpenSegment
            | Command::DiskFull(_)
            | Command::Shutdown => {}
        }
    }

    fn asked(&mut self, request: RequestId, caller: &Caller, call: &Call) {
        self.talk.calls.insert(request);
        if let Call::Enqueue(enqueue) = call {
            self.promises.asked(self.talk.now, request, caller, enqueue);
        } else if let Call::ReportTasks(reports) = call {
            self.reported(reports);
        } else if let Call::CancelTask { task, .. } = call {
            self.promises.cancel(task);
        } else if let Call::Bulk(bulk) = call {
            self.promises.bulk(bulk);
        }
    }

    /// A caller has left; its answer may be on its way already.
    pub fn hung_up(&mut self, request: RequestId) {
        if self.talk.calls.remove(&request) {
            self.talk.left.insert(request);
        }
    }

    fn heard(&mut self, now: Timestamp, said_on: LinkId, message: &FromWorker) {
        if let FromWorker::Reports(reports) = message {
            self.reported(reports);
        } else if let FromWorker::Capacity(capacity) = message
            && let Some(link) = self.talk.links.get_mut(&said_on)
        {
            link.capacities.push((now, capacity.tasks_max));
            let session = link.session;
            // What a stream says that another one has replaced means nothing any more.
            if let Some(session) = session
                && let Some(wants) = self.talk.sessions.get_mut(&session)
                && wants.link == Some(said_on)
            {
                // A new capacity may bring a limit of bytes.
                wants.everything &= capacity.bytes_max.is_none();
                wants.capacities.push((now, capacity.tasks_max));
            }
        }
    }

    fn reported(&mut self, reports: &[Report]) {
        for report in reports {
            let Ok(content) = &report.content else {
                continue;
            };
            let token = content.token;
            let Some(run) = self.runs.get_mut(&(token.task, token.fence.0)) else {
                continue;
            };
            if run.nonce == token.nonce {
                run.heard.push(heard(&content.outcome));
            }
        }
    }

    /// A caller is answered.
    pub fn answered(&mut self, request: RequestId, reply: &Result<Answer, Rejection>) {
        if !self.talk.calls.remove(&request) && !self.talk.left.remove(&request) {
            self.wrong(
                Rule::OneAnswer,
                format!("{request:?} is answered twice or unasked"),
            );
        }
        let Ok(answer) = reply else { return };
        if let Answer::Enqueued(results) = answer {
            self.accepted(request, results);
        } else if let Answer::Acks(acks) = answer {
            self.check_acks(acks);
        } else if let Answer::Leased(deliveries) = answer {
            for delivery in deliveries {
                self.check_delivery(delivery);
            }
        } else if let Answer::Cancelled { over: true, task } = answer {
            let stands = self.tasks.get(&task.task.id).map(|task| task.stand);
            if !stands.is_none_or(|it| matches!(it, Stand::Finished(Outcome::Cancelled, _))) {
                let says = format!("{} is said to be cancelled and is {stands:?}", task.task.id);
                self.wrong(Rule::LogBeforeTell, says);
            }
        } else if let Answer::Waited { ended: false, task } = answer {
            if matches!(task.task.state, State::Finished(_) | State::Dead { .. }) {
                let says = format!(
                    "{} has ended, and who waited is told it has not",
                    task.task.id
                );
                self.wrong(Rule::OneAnswer, says);
            }
        } else if let Answer::Waited { ended: true, task } = answer {
            let stands = self.tasks.get(&task.task.id).map(|task| task.stand);
            if stands.is_some_and(|it| matches!(it, Stand::Leased(_)))
                && task.task.tally().redrives == 0
            {
                let says = format!("{} is said to have ended and is {stands:?}", task.task.id);
                self.wrong(Rule::LogBeforeTell, says);
            }
        }
    }

    /// A worker is told something.
    pub fn told(&mut self, link: LinkId, message: &ToWorker) {
        match self.talk.links.get(&link) {
            // The coordinator has heard of its end, and had said this before.
            None => return,
            Some(state) if state.closed => {
                self.wrong(
                    Rule::LogBeforeTell,
                    format!("{link:?} is told something after its end"),
                );
            }
            Some(_) => {}
        }
        if let ToWorker::Welcome(welcome) = message {
            self.welcomed(link, welcome.session);
        } else if let ToWorker::Delivery(delivery) = message {
            self.check_delivery(delivery);
            self.check_capacity(link, delivery);
        } else if let ToWorker::Acks(acks) = message {
            self.check_acks(acks);
        }
    }

    fn welcomed(&mut self, link: LinkId, session: SessionId) {
        let Some(state) = self.talk.links.get_mut(&link) else {
            return;
        };
        state.session = Some(session);
        let hello = &state.hello;
        let everything = hello.worker.kinds.is_empty() && hello.capacity.bytes_max.is_none();
        let wants = self.talk.sessions.entry(session).or_default();
        if hello.session.is_none() || wants.capacities.is_empty() {
            wants
                .capacities
                .splice(0..0, state.capacities.iter().copied());
        }
        if wants.link.is_none_or(|latest| latest == link) {
            wants.link = Some(link);
            wants.everything = everything;
            self.shares.begin(session, &hello.worker.queues);
        }
    }

    /// A stream is ended by the coordinator.
    pub fn closed(&mut self, link: LinkId) {
        if let Some(state) = self.talk.links.get_mut(&link) {
            state.closed = true;
        }
    }

    /// A delivery is of a lease that is durable, and is what was sent.
    fn check_delivery(&mut self, delivery: &Delivery) {
        let token = delivery.token;
        let Some(run) = self.runs.get(&(token.task, token.fence.0)) else {
            let says = format!("{} is delivered, and the lease is not durable", token.task);
            return self.wrong(Rule::LogBeforeTell, says);
        };
        let checkpoint = delivery.checkpoint.as_ref().map(digest);
        let same = run.nonce == token.nonce && run.payload == digest(&delivery.payload);
        if !same || run.checkpoint != checkpoint {
            let says = format!("{} is delivered as another than it is", token.task);
            self.wrong(Rule::Bytes, says);
        } else if run.attempt != delivery.attempt {
            let says = format!(
                "{} is delivered as attempt {}",
                token.task, delivery.attempt
            );
            self.wrong(Rule::Runs, says);
        }
    }

    /// A session holds no more than it asked for, and only what it serves.
    fn check_capacity(&mut self, link: LinkId, delivery: &Delivery) {
        let Some(state) = self.talk.links.get(&link) else {
            return;
        };
        let token = delivery.token;
        let granted_at = self.runs.get(&(token.task, token.fence.0));
        let granted_at = granted_at.map_or(Timestamp(0), |run| run.granted_at);
        let wants = state.session.and_then(|id| self.talk.sessions.get(&id));
        let capacities = wants.map_or(&state.capacities, |wants| &wants.capacities);
        let after = capacities.iter().filter(|(at, _)| *at >= granted_at);
        let before = capacities.iter().filter(|(at, _)| *at < granted_at);
        let before = before.max_by_key(|(at, _)| *at);
        let room = after.chain(before).map(|(_, tasks)| *tasks).max();
        let room = room.unwrap_or(0);
        let held = state.session.and_then(|session| self.held.get(&session));
        let held = held.copied().unwrap_or(0);
        let worker = &state.hello.worker;
        let kinds = &worker.kinds;
        let runs = kinds.is_empty()
            || kinds
                .iter()
                .any(|served| served.kind == delivery.kind && served.has(delivery.version));
        let serves = worker
            .queues
            .iter()
            .any(|(queue, _)| *queue == delivery.queue);
        if held > room {
            let says = format!("{} holds {held} where it asked for {room}", worker.worker);
            self.wrong(Rule::Capacity, says);
        } else if !(runs && serves) {
            let says = format!(
                "{} is given {} that it does not serve",
                worker.worker, token.task
            );
            self.wrong(Rule::Capacity, says);
        }
    }

    /// What is said of reports is what is durable.
    fn check_acks(&mut self, acks: &[ReportAck]) {
        for ack in acks {
            let Some(token) = LeaseToken::parse(&ack.raw_token) else {
                continue;
            };
            match ack.status {
                ReportStatus::Recorded => self.check_recorded(token, true),
                ReportStatus::Duplicate => self.check_recorded(token, false),
                ReportStatus::Gone => {
                    if self.tasks.contains_key(&token.task) {
                        let says = format!("{} is said to be gone", token.task);
                        self.wrong(Rule::NoLoss, says);
                    }
                }
                ReportStatus::Superseded => self.check_superseded(token),
                ReportStatus::Invalid(_) => {}
            }
        }
    }

    fn check_recorded(&mut self, token: LeaseToken, first: bool) {
        let run = self.runs.get_mut(&(token.task, token.fence.0));
        // Of a run that is over the history knows no nonce: whoever guesses it learns that it is.
        let run = run.filter(|run| run.nonce == token.nonce || !first);
        let Some(run) = run else {
            if !first {
                // Nor does it know epochs: a made-up fence of a run that is over is that run.
                return;
            }
            let says = format!("a report on {} is said to count, and none can", token.task);
            return self.wrong(Rule::OneHolder, says);
        };
        let again = first && std::mem::replace(&mut run.recorded, true);
        let ended = run.ended;
        if ended.is_none() {
            let says = format!(
                "a report on {} is said to be recorded and is not",
                token.task
            );
            self.wrong(Rule::LogBeforeTell, says);
        } else if matches!(ended, Some(RunOutcome::Unstarted)) || again {
            let says = format!(
                "a report on {} is recorded, its run was {ended:?}",
                token.task
            );
            self.wrong(Rule::OneCompletion, says);
        }
    }

    /// A report that does not count is one whose run has ended, or never was.
    fn check_superseded(&mut self, token: LeaseToken) {
        let run = self.runs.get(&(token.task, token.fence.0));
        let run = run.filter(|run| run.nonce == token.nonce);
        if run.is_some_and(|run| run.ended.is_none()) {
            let says = format!(
                "a report on {} is superseded though its lease lives",
                token.task
            );
            self.wrong(Rule::OneCompletion, says);
        }
    }
}

fn heard(outcome: &ReportOutcome) -> Heard {
    match outcome {
        ReportOutcome::Complete { .. } => Heard::Complete,
        ReportOutcome::Fail {
            not_retryable,
            retry_after_ms,
            ..
        } => Heard::Fail {
            not_retryable: *not_retryable,
            retry_after_ms: *retry_after_ms,
        },
        ReportOutcome::Retry { start, .. } => Heard::Retry { start: *start },
        ReportOutcome::Defer { delay_ms, .. } => Heard::Defer {
            delay_ms: *delay_ms,
        },
        ReportOutcome::Release { .. } => Heard::Release,
        ReportOutcome::Discard { .. } => Heard::Discard,
    }
}
