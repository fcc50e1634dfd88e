//! The tasks that follow a task's end.
//!
//! Owns which ones do, and how they are made: in the same turn as the end, as transfers, so that
//! each is there exactly once whatever happens next. Never knows what they do.

use crate::engine::context;
use crate::engine::ids::{QueueName, TaskId};
use crate::engine::ledger::more::{Cause, More};
use crate::engine::ledger::task::{Outcome, Own, Payload, Side, State, Task};
use crate::engine::ledger::terms::{Template, Terms, Transition};
use crate::engine::limits;
use crate::engine::retry::DeadReason;
use crate::engine::step::Step;
use crate::mutants::{self, Mutant};

use super::{resolve, transfer};

/// How a task ended, for what follows.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    /// As finished, this way.
    Finished(Outcome),
    /// For good, for this reason: as a dead letter, as failed, or routed on.
    Failed(DeadReason),
}

/// Makes the tasks that follow the end of a task, which is a fact already.
pub(super) fn after(step: &mut Step<'_>, id: TaskId, end: End) {
    match end {
        End::Finished(Outcome::Succeeded) => succeeded(step, id),
        End::Finished(Outcome::Cancelled) if mutants::is(Mutant::FollowUpForgotten) => {}
        End::Finished(Outcome::Cancelled) => follow(step, id, Transition::Cancelled, None),
        End::Finished(Outcome::Failed) => follow(step, id, Transition::Failure, None),
        End::Finished(Outcome::Discarded | Outcome::Routed) => {}
        End::Failed(reason) => {
            follow(step, id, Transition::Failure, Some(reason));
            if reason.is_exhaustion() {
                follow(step, id, Transition::Exhausted, Some(reason));
            }
        }
    }
}

fn succeeded(step: &mut Step<'_>, id: TaskId) {
    let task = step.task(id).expect("it has just ended");
    let then = task.own.as_deref().map_or(&[][..], |own| &own.then);
    let Some((next, rest)) = then.split_first() else {
        follow(step, id, Transition::Success, None);
        if mutants::is(Mutant::FollowUpTwice) {
            follow(step, id, Transition::Success, None);
        }
        return;
    };
    let State::Finished(finished) = &task.state else {
        unreachable!("it has just succeeded");
    };
    let payload = finished.result.clone().unwrap_or_default();
    let terms = Terms {
        result_ttl_ms: task.terms().and_then(|terms| terms.result_ttl_ms),
        follow_ups: task
            .terms()
            .map(|terms| terms.follow_ups.clone())
            .unwrap_or_default(),
        ..Terms::default()
    };
    let own = Own {
        terms: (!terms.is_empty()).then(|| Box::new(terms)),
        then: rest.to_vec(),
        ..Own::default()
    };
    let hops = depth(task);
    let next = next.clone();
    send(
        step,
        id,
        &next,
        Made {
            transition: Transition::Then,
            payload,
            own,
            hops,
        },
    );
}

fn follow(step: &mut Step<'_>, id: TaskId, transition: Transition, reason: Option<DeadReason>) {
    let task = step.task(id).expect("it has just ended");
    let Some((template, _)) = resolve::follow_up(step, task, transition) else {
        return;
    };
    if !may_be_followed(task) {
        return;
    }
    let payload = context::payload(task, transition, reason, &template.payload);
    let own = Own::default();
    let hops = depth(task) + 1;
    send(
        step,
        id,
        &template,
        Made {
            transition,
            payload,
            own,
            hops,
        },
    );
}

/// Whether follow-ups of a task's end are made at all: not of one that is the last of too many.
pub(super) fn may_be_followed(task: &Task) -> bool {
    depth(task) < limits::FOLLOW_UP_DEPTH_MAX
}

/// Of how many follow-ups of follow-ups a task is the last one. Its hops but for those from queue to
/// queue as a dead letter, which have a limit of their own.
fn depth(task: &Task) -> u32 {
    let hops = task.side.as_deref().map_or(0, |side| side.hops);
    let routed = task.more().map_or(0, |more| more.visited.len());
    hops.saturating_sub(u32::try_from(routed).unwrap_or(u32::MAX))
}

/// What is made of a template.
struct Made {
    transition: Transition,
    payload: Payload,
    own: Own,
    hops: u32,
}

fn send(step: &mut Step<'_>, id: TaskId, template: &Template, made: Made) {
    let now = step.now();
    let task = step.task(id).expect("it has just ended");
    let queue = queue_of(step, task, template);
    let cause = Cause {
        task: id,
        transition: made.transition,
    };
    let more = More {
        cause: Some(cause),
        ..More::default()
    };
    let side = Side {
        labels: template.labels.clone(),
        hops: made.hops,
        more: more.said(),
        ..Side::default()
    };
    let next = Task {
        version: template.version,
        payload: made.payload,
        priority: template.priority,
        state: State::Pending {
            not_before: now.plus_ms(template.delay_ms),
        },
        own: made.own.said(),
        side: Some(Box::new(side)),
        ..Task::fresh(id, queue, template.kind.clone(), now)
    };
    transfer::send_task(step, id.shard(), next);
}

/// Where a task goes that is made of a template: as that says, else as its kind says, else where the
/// task is that it follows.
fn queue_of(step: &Step<'_>, task: &Task, template: &Template) -> QueueName {
    if let Some(queue) = &template.queue {
        return queue.clone();
    }
    let shard = task.id.shard();
    let kind = resolve::kind_beside(step, shard, &task.queue, &template.kind);
    let of_kind = kind.and_then(|kind| kind.settings.queue.clone());
    of_kind.unwrap_or_else(|| task.queue.clone())
}
