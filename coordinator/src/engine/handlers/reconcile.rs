//! A worker came back: what it holds is compared with what it should.
//!
//! Owns what becomes of leases that it does not list, and which of those that it lists are lost. Never
//! ends more of them than a step should: the rest follows when the session is looked at next.

use crate::mutants::{self, Mutant};
use std::collections::{BTreeMap, BTreeSet};

use crate::engine::command::Hello;
use crate::engine::failure::{Failure, FailureClass};
use crate::engine::ids::{LeaseToken, SessionId, TaskId};
use crate::engine::ledger::history::RunOutcome;
use crate::engine::ledger::task::Task;
use crate::engine::ledger::terms::DeliveryMode;
use crate::engine::retry::Ending;
use crate::engine::step::Step;

use super::end_run::{Ended, Extra, end_run};
use super::session::LEASES_ENDED_MAX;

/// Compares what the worker holds with what it should: what it does not list never arrived and is
/// released; what it lists and does not hold is answered as lost, but for what it reported itself
/// (its next report will be a DUPLICATE). What it holds and has not buffered has begun.
pub(super) fn reconcile(step: &mut Step<'_>, id: SessionId, hello: &Hello) -> Vec<LeaseToken> {
    let now = step.now();
    let session = step.sessions().get(id).expect("attached");
    let (mut kept, mut lost) = (BTreeSet::new(), Vec::new());
    for token in &hello.held {
        let held = session.held.get(&token.task);
        let holds = held.is_some_and(|held| held.fence == token.fence);
        if holds && step.task(token.task).and_then(Task::token) == Some(*token) {
            kept.insert(token.task);
        } else if !reported(session.settled(token.task, token.fence)) {
            lost.push(*token);
        }
    }
    let all = session.held.keys().copied();
    let all = all.filter(|_| !mutants::is(Mutant::UnlistedKept));
    let unlisted: Vec<TaskId> = all.filter(|task| !kept.contains(task)).collect();
    for task in unlisted {
        let may_have_run = may_have_run(step, id, task);
        let session = step.sessions_mut().get_mut(id).expect("attached");
        session.unlist(task, may_have_run);
    }
    end_unlisted(step, id, LEASES_ENDED_MAX);
    let buffered: BTreeMap<TaskId, u64> = hello
        .buffered
        .iter()
        .map(|(token, sequence)| (token.task, *sequence))
        .collect();
    for task in kept {
        let session = step.sessions_mut().get_mut(id).expect("attached");
        match buffered.get(&task) {
            Some(sequence) => session.wait_in_buffer(task, *sequence),
            None if session.begin(task, now) => step.note_begun(task),
            None => {}
        }
    }
    lost
}

/// Ends leases that their worker did not list when it came back, as many as a step should; answers
/// how many. The rest follows when the session is looked at next.
pub(super) fn end_unlisted(step: &mut Step<'_>, id: SessionId, leases_max: usize) -> usize {
    for ended in 0..leases_max {
        if step.is_full() {
            return ended;
        }
        let session = step.sessions_mut().get_mut(id).expect("looked at");
        let Some((task, may_have_run)) = session.unlisted.pop_first() else {
            return ended;
        };
        not_listed(step, task, may_have_run);
    }
    leases_max
}

/// Whether a task that its worker does not list on its return may have run there: it arrived or
/// began, or the worker may have stopped it meanwhile because it heard nothing.
fn may_have_run(step: &Step<'_>, id: SessionId, task: TaskId) -> bool {
    let (now, abort_after_ms) = (step.now(), step.config().abort_after_ms());
    let session = step.sessions().get(id).expect("attached");
    let held = session.held.get(&task).expect("it is held");
    let arrived =
        held.begun_at.is_some() || (held.sequence > 0 && held.sequence <= session.received_through);
    let lease = step.task(task).and_then(Task::lease);
    let lease = lease.expect("held tasks are leased");
    arrived || lease.started_at.is_some() || now.since_ms(lease.granted_at) >= abort_after_ms
}

/// Ends the lease of a task that its worker does not list on its return: it never arrived and is
/// released. A task that must not run twice is lost where that is not sure (rule 6).
fn not_listed(step: &mut Step<'_>, task: TaskId, may_have_run: bool) {
    let lease = step.task(task).and_then(Task::lease);
    let lease = lease.expect("held tasks are leased");
    let lost = if may_have_run && lease.delivery == DeliveryMode::AtMostOnce {
        let worker = &lease.worker;
        let message = format!("worker {worker} came back without it and did not report its end");
        Some(Failure::new(FailureClass::WorkerLost, &message))
    } else {
        None
    };
    let ending = match &lost {
        Some(failure) => Ending::Crashed { failure },
        None => Ending::Released,
    };
    end_run(step, task, Ended::Judged(ending), Extra::default());
}

/// Whether a run that the session remembers was ended by its own report.
const fn reported(outcome: Option<RunOutcome>) -> bool {
    match outcome {
        Some(
            RunOutcome::Succeeded
            | RunOutcome::Failed
            | RunOutcome::Retried
            | RunOutcome::Deferred
            | RunOutcome::Discarded,
        ) => true,
        Some(
            RunOutcome::Released
            | RunOutcome::TimedOut
            | RunOutcome::Crashed
            | RunOutcome::Unstarted
            | RunOutcome::Cancelled,
        )
        | None => false,
    }
}
