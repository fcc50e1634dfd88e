//! Sessions: hello, resume, capacity, receipts, pings, silence, drain, goodbye.
//!
//! Owns what each message of a worker stream means for its session, and when silence ends one. How
//! the leases of a lost session end is `end_run`.

use crate::mutants::{self, Mutant};
use std::collections::BTreeSet;

use crate::engine::command::{Capacity, Hello, Report};
use crate::engine::effect::{Effect, ToWorker, Welcome};
use crate::engine::event::Event;
use crate::engine::failure::{Failure, FailureClass};
use crate::engine::ids::{LinkId, SessionId, TaskId};
use crate::engine::ledger::task::Task;
use crate::engine::limits;
use crate::engine::rejection::Rejection;
use crate::engine::retry::Ending;
use crate::engine::sessions::{Member, Session};
use crate::engine::step::Step;
use crate::engine::subscriptions::{Subscription, go_on};

use super::end_run::{Ended, Extra, end_run};
use super::kind::{self, Proposer};
use super::{cancel, reconcile};

/// Leases that one step ends because their session is over.
pub(super) const LEASES_ENDED_MAX: usize = 1000;

/// A stream opened: a new session, or an earlier one comes back.
pub(super) fn hello(step: &mut Step<'_>, link: LinkId, hello: Hello) {
    if step.sessions().of_link(link).is_some() {
        step.tell(link, ToWorker::Refused(Rejection::HelloRepeated));
        return;
    }
    if step.shutting_down() {
        step.emit(Effect::CloseLink {
            link,
            why: Some(Rejection::ShuttingDown),
        });
        return;
    }
    let known = hello
        .session
        .filter(|id| step.sessions().get(*id).is_some_and(|s| !s.lost && !s.gone));
    if known.is_none() && step.sessions().len() >= limits::SESSIONS_MAX {
        let limit = limits::SESSIONS_MAX as u64;
        let why = Some(Rejection::LimitReached {
            what: "worker sessions",
            limit,
        });
        step.emit(Effect::CloseLink { link, why });
        return;
    }
    let id = known.unwrap_or_else(|| open(step, &hello));
    attach(step, id, link, &hello);
    let lost = reconcile::reconcile(step, id, &hello);
    let config = step.config();
    let welcome = Welcome {
        session: id,
        resumed: known.is_some(),
        lost,
        ping_ms: config.ping_ms,
        grace_ms: config.grace_ms,
        abort_after_ms: config.abort_after_ms(),
    };
    step.tell(link, ToWorker::Welcome(welcome));
    let proposer = match known {
        None => Proposer::Session,
        Some(_) => Proposer::Again,
    };
    kind::propose(step, &hello.worker, proposer);
    tell_again(step, id);
    schedule(step, id);
    step.touch_member(Member::Session(id));
}

fn open(step: &mut Step<'_>, hello: &Hello) -> SessionId {
    let mut id = SessionId(step.random_u128());
    while step.sessions().get(id).is_some() {
        id = SessionId(step.random_u128());
    }
    let queues = Subscription::of(&hello.worker, step.config().shard_count);
    let (now, lateness) = (step.now(), step.sessions().lateness_ms);
    let session = Session::new(id, hello.worker.clone(), queues, now, lateness);
    step.sessions_mut().insert(session);
    id
}

/// The stream belongs to the session now; an older one ends.
fn attach(step: &mut Step<'_>, id: SessionId, link: LinkId, hello: &Hello) {
    let mut queues = Subscription::of(&hello.worker, step.config().shard_count);
    let (now, ping_ms) = (step.now(), step.config().ping_ms);
    let lateness = step.sessions().lateness_ms;
    step.sessions_mut().starve(Member::Session(id));
    let session = step.sessions_mut().get_mut(id).expect("opened or found");
    session.info = hello.worker.clone();
    // Its turns go on where they were.
    go_on(&mut queues, &session.queues);
    session.queues = queues;
    session.capacity = hello.capacity;
    session.heard(now, lateness);
    session.next_ping_at = now.plus_ms(ping_ms);
    if let Some(older) = step.sessions_mut().attach(id, link) {
        let why = Some(Rejection::LinkReplaced);
        step.emit(Effect::CloseLink { link: older, why });
    }
}

/// What was asked of the worker while it was away is asked again.
fn tell_again(step: &mut Step<'_>, id: SessionId) {
    let session = step.sessions().get(id).expect("attached");
    let Some(link) = session.link else { return };
    let drain = session.drain_asked.clone();
    let held = session.held.iter();
    let held: Vec<(TaskId, bool)> = held.map(|(id, held)| (*id, held.limits_changed)).collect();
    for (task, limits_changed) in held {
        let Some(lease) = step.task(task).and_then(Task::lease) else {
            continue;
        };
        let (timeouts, cancelled) = (lease.timeouts, lease.cancel_requested);
        let token = step.task(task).and_then(Task::token);
        if let Some(token) = token.filter(|_| limits_changed) {
            step.tell(link, ToWorker::Timeouts { token, timeouts });
        }
        if cancelled {
            cancel::tell(step, task);
        }
    }
    if let Some((reason, deadline_ms)) = drain {
        step.tell(
            link,
            ToWorker::Drain {
                reason,
                deadline_ms,
            },
        );
    }
}

/// A message came on a stream without a session.
pub(super) fn refuse_stranger(step: &mut Step<'_>, link: LinkId) {
    step.emit(Effect::CloseLink {
        link,
        why: Some(Rejection::HelloExpected),
    });
}

/// A message came: the session lives.
pub(super) fn heard(step: &mut Step<'_>, id: SessionId) {
    let (now, lateness) = (step.now(), step.sessions().lateness_ms);
    let Some(session) = step.sessions_mut().get_mut(id) else {
        return;
    };
    let was_suspect = session.suspect;
    session.heard(now, lateness);
    if was_suspect {
        step.touch_member(Member::Session(id));
    }
}

/// The session's capacity is replaced.
pub(super) fn capacity(step: &mut Step<'_>, id: SessionId, capacity: Capacity) {
    let session = step
        .sessions_mut()
        .get_mut(id)
        .expect("the link has a session");
    session.capacity = capacity;
    step.touch_member(Member::Session(id));
}

/// Deliveries arrived; those that are not buffered have begun.
pub(super) fn receipt(step: &mut Step<'_>, id: SessionId, through: u64, buffered: &[u64]) {
    let now = step.now();
    let buffered: BTreeSet<u64> = buffered.iter().copied().collect();
    let session = step
        .sessions_mut()
        .get_mut(id)
        .expect("the link has a session");
    let Some(link) = session.link else { return };
    if through > session.sequence {
        let problem = format!(
            "is {through}, but only {} deliveries were sent; name the highest received",
            session.sequence
        );
        let field = "receipt.received_through".to_owned();
        step.tell(
            link,
            ToWorker::Refused(Rejection::Invalid { field, problem }),
        );
        return;
    }
    session.received_through = session.received_through.max(through);
    let begun: Vec<TaskId> = session
        .undelivered
        .range(..=session.received_through)
        .filter(|(sequence, _)| !buffered.contains(sequence))
        .map(|(_, task)| *task)
        .collect();
    for task in begun {
        let session = step
            .sessions_mut()
            .get_mut(id)
            .expect("the link has a session");
        if session.begin(task, now) {
            step.note_begun(task);
        }
    }
}

/// Records the runs that receipts showed to have begun and that are still running.
pub(super) fn record_begun(step: &mut Step<'_>) {
    use crate::engine::ledger::task::Holder;
    for id in step.take_begun() {
        let Some(lease) = step.task(id).and_then(Task::lease) else {
            continue;
        };
        let Holder::Session(session) = lease.holder else {
            continue;
        };
        if lease.started_at.is_some() {
            continue;
        }
        let held = step
            .sessions()
            .get(session)
            .and_then(|session| session.held.get(&id));
        let Some(at) = held.and_then(|held| held.begun_at) else {
            continue;
        };
        step.record(id.shard(), Event::LeaseStarted { id, at });
        super::dispatch::set_limits(step, id, Some(at));
    }
}

/// Runs of a session ended.
pub(super) fn reports(step: &mut Step<'_>, id: SessionId, link: LinkId, reports: Vec<Report>) {
    let acks = super::settle::reports(step, Some(id), reports);
    step.tell(link, ToWorker::Acks(acks));
}

/// The worker leaves for good: what it holds is given back.
pub(super) fn goodbye(step: &mut Step<'_>, id: SessionId) {
    let session = step.sessions_mut().get_mut(id);
    session.expect("the link has a session").gone = true;
    leave(step, id, LEASES_ENDED_MAX);
}

/// Gives back what a session holds that left for good, as much as a step should, and forgets it
/// when nothing is left; answers the work done.
fn leave(step: &mut Step<'_>, id: SessionId, leases_max: usize) -> usize {
    let now = step.now();
    let session = step.sessions().get(id).expect("looked at");
    let held: Vec<TaskId> = session.held.keys().take(leases_max).copied().collect();
    for task in &held {
        if step.is_full() {
            break;
        }
        let released = Ended::Judged(Ending::Released);
        end_run(step, *task, released, Extra::default());
    }
    let session = step.sessions().get(id).expect("looked at");
    if !session.held.is_empty() {
        step.sessions_mut().wake_at(id, now);
    } else if let Some(link) = step.sessions_mut().remove(id) {
        step.emit(Effect::CloseLink { link, why: None });
    }
    held.len().max(1)
}

/// A stream broke: its leases wait for the session to come back.
pub(super) fn link_closed(step: &mut Step<'_>, link: LinkId) {
    let Some(id) = step.sessions().of_link(link) else {
        return;
    };
    step.sessions_mut().detach(id);
    schedule(step, id);
}

/// Looks at the sessions whose time has come: ping, suspect, or give up. Ends at most so many
/// leases; the rest follow in the next turn.
pub(super) fn wake_due(step: &mut Step<'_>) {
    let now = step.now();
    let mut left = LEASES_ENDED_MAX;
    while left > 0 && !step.is_full() {
        let Some(id) = step.sessions().due(now) else {
            return;
        };
        left = left.saturating_sub(wake(step, id, left));
    }
}

/// Looks at one session; answers the work done, at least 1.
fn wake(step: &mut Step<'_>, id: SessionId, leases_max: usize) -> usize {
    let (now, lateness) = (step.now(), step.sessions().lateness_ms);
    let config = step.config().clone();
    let session = step.sessions().get(id).expect("only known sessions wake");
    if session.gone {
        return leave(step, id, leases_max);
    }
    if !session.unlisted.is_empty() {
        let ended = reconcile::end_unlisted(step, id, leases_max);
        schedule(step, id);
        return ended.max(1);
    }
    let silence = session.silence_ms(now, lateness);
    let idle = session.held.is_empty() && session.link.is_some();
    let suspect_ms = if idle {
        config.idle_suspect_ms()
    } else {
        config.suspect_ms()
    };
    let lost_ms = if idle {
        suspect_ms + config.grace_ms
    } else {
        config.grace_ms
    };
    if session.lost || silence >= lost_ms {
        return give_up(step, id, leases_max);
    }
    let (link, ping_due) = (session.link, session.next_ping_at <= now);
    if silence >= suspect_ms && !session.suspect {
        step.sessions_mut().get_mut(id).expect("looked at").suspect = true;
        step.sessions_mut().refresh(Member::Session(id));
    }
    if let (Some(link), true) = (link, ping_due) {
        // Idle sessions are pinged apart from each other, 20 % to either side, but some at the same
        // instant: thousands would wake every thread for each.
        let spread = (step.draw() - 0.5).mul_add(0.4, 1.0);
        let idle_at = now.plus_ms(scale(config.idle_ping_ms(), spread));
        let idle_at = idle_at.rounded_up(config.idle_ping_step_ms());
        let session = step.sessions_mut().get_mut(id).expect("looked at");
        session.nonce += 1;
        let nonce = session.nonce;
        session.next_ping_at = if idle {
            idle_at
        } else {
            now.plus_ms(config.ping_ms)
        };
        step.tell(link, ToWorker::Ping { nonce });
    }
    schedule(step, id);
    1
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a ping interval times about one is a small positive number"
)]
fn scale(ms: u64, factor: f64) -> u64 {
    (ms as f64 * factor) as u64
}

/// Says when the session is to be looked at next.
fn schedule(step: &mut Step<'_>, id: SessionId) {
    let (now, lateness) = (step.now(), step.sessions().lateness_ms);
    let config = step.config();
    let (suspect_busy, suspect_idle) = (config.suspect_ms(), config.idle_suspect_ms());
    let grace = config.grace_ms;
    let Some(session) = step.sessions().get(id) else {
        return;
    };
    if session.lost || session.gone || !session.unlisted.is_empty() {
        step.sessions_mut().wake_at(id, now);
        return;
    }
    let silence = session.silence_ms(now, lateness);
    let in_ms = |limit: u64| now.plus_ms(limit.saturating_sub(silence).max(1));
    let idle = session.held.is_empty() && session.link.is_some();
    let suspect_ms = if idle { suspect_idle } else { suspect_busy };
    let lost_at = in_ms(if idle { suspect_ms + grace } else { grace });
    let mut next = lost_at;
    if session.link.is_some() {
        next = next.min(session.next_ping_at);
        if !session.suspect {
            next = next.min(in_ms(suspect_ms));
        }
    }
    step.sessions_mut().wake_at(id, next);
}

/// A session was silent for too long: runs that had begun crashed, others never started.
fn give_up(step: &mut Step<'_>, id: SessionId, leases_max: usize) -> usize {
    let now = step.now();
    let session = step.sessions_mut().get_mut(id).expect("looked at");
    session.lost = true;
    let worker = session.info.worker.clone();
    let held: Vec<TaskId> = session.held.keys().take(leases_max).copied().collect();
    let mut more = session.held.len() > held.len();
    let message = format!("worker {worker} was lost: nothing was heard of it within the grace");
    let failure = Failure::new(FailureClass::WorkerLost, &message);
    let count = held.len();
    for task in held {
        if step.is_full() {
            more = true;
            break;
        }
        let begun = {
            let session = step.sessions().get(id).expect("looked at");
            let begun = session
                .held
                .get(&task)
                .is_some_and(|held| held.begun_at.is_some());
            begun
                || step
                    .task(task)
                    .and_then(Task::lease)
                    .is_some_and(|l| l.started_at.is_some())
        };
        let begun = begun && !mutants::is(Mutant::StartedForgiven);
        let ending = if begun || mutants::is(Mutant::UnstartedBlamed) {
            Ending::Crashed { failure: &failure }
        } else {
            Ending::Unstarted
        };
        end_run(step, task, Ended::Judged(ending), Extra::default());
    }
    if more {
        step.sessions_mut().wake_at(id, now);
    } else if let Some(link) = step.sessions_mut().remove(id) {
        step.emit(Effect::CloseLink { link, why: None });
    }
    count.max(1)
}
