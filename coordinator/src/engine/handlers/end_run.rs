//! Ends a run, however it ended, and makes what follows a fact.
//!
//! Owns the one path from an ending to its events: the judge is asked here and nowhere else (I6),
//! the slot is freed, who waits is told. Never decides itself whether to retry.

use crate::mutants::{self, Mutant};
use std::sync::Arc;

use crate::engine::effect::Answer;
use crate::engine::event::{Event, Leaves};
use crate::engine::failure::{Failure, FailureClass};
use crate::engine::ids::{QueueName, TaskId};
use crate::engine::ledger::history::{Delay, RunOutcome, RunRecord};
use crate::engine::ledger::more::{Act, More};
use crate::engine::ledger::task::{Holder, Outcome, Payload, Side, State, Task};
use crate::engine::ledger::terms::{DeliveryMode, Source};
use crate::engine::limits;
use crate::engine::retry::policy::Rule;
use crate::engine::retry::{self, Budget, DeadReason, Ending, Next, Policy, Spent, Verdict};
use crate::engine::sessions::Member;
use crate::engine::step::Step;

use super::follow_up::End;
use super::{beat, follow_up, resolve, transfer};

/// How a run ended.
pub(super) enum Ended<'a> {
    /// The handler completed.
    Completed {
        result: Option<Payload>,
        label: Option<Arc<str>>,
    },
    /// The handler dropped the task.
    Discarded,
    /// Anything that the judge decides.
    Judged(Ending<'a>),
}

/// What else is known of a run that ended.
#[derive(Default)]
pub(super) struct Extra {
    pub(super) outcome: Option<RunOutcome>,
    pub(super) note: Option<Arc<str>>,
    pub(super) payload: Option<Payload>,
    pub(super) checkpoint: Option<Payload>,
    pub(super) max_attempts: Option<u32>,
}

/// Ends the run that a task is leased for.
pub(super) fn end_run(step: &mut Step<'_>, id: TaskId, ended: Ended<'_>, extra: Extra) {
    let task = step.task(id).expect("only leased tasks have a run to end");
    let lease = task
        .lease()
        .expect("only leased tasks have a run to end")
        .clone();
    let (policy, source, revision) = resolve::policy_said(step, task);
    let mut run = record_of(step, task, &policy);
    (run.policy_source, run.policy_revision) = (source, revision);
    run.note.clone_from(&extra.note);
    run.outcome = outcome_of(&ended, &extra);
    let outcome = run.outcome;
    let unsaved = beat::end(step, id);
    let extra = Extra {
        checkpoint: extra.checkpoint.or(unsaved),
        ..extra
    };
    let has_checkpoint = extra.checkpoint.is_some();
    let mut leaves = leaves_of(step, &ended, extra);
    if has_checkpoint && leaves.checkpoint.is_none() {
        run.note = Some("[checkpoint not kept: memory is short]".into());
    }
    match ended {
        Ended::Completed { result, label } => {
            leaves.checkpoint = None;
            let finished = Finish {
                result,
                label,
                ..Finish::plain(Outcome::Succeeded)
            };
            finish(step, id, Some(run), finished, leaves);
        }
        _ if lease.cancel_requested && !mutants::is(Mutant::CancelForgotten) => {
            run.outcome = RunOutcome::Cancelled;
            finish(
                step,
                id,
                Some(run),
                Finish::plain(Outcome::Cancelled),
                leaves,
            );
        }
        Ended::Discarded => {
            finish(
                step,
                id,
                Some(run),
                Finish::plain(Outcome::Discarded),
                leaves,
            );
        }
        Ended::Judged(ending) => {
            run.failure = failure_of(&ending).map(Failure::for_history);
            let verdict = judge(step, id, &policy, &ending, leaves.max_attempts);
            leaves.rule_counted = verdict.counted_rule(&policy);
            follow(step, id, run, (verdict, &policy), leaves);
        }
    }
    free(step, id, lease.holder, &lease.worker, outcome);
    tell_waiting(step, id);
}

/// Ends a task that no run holds, as somebody wants it.
pub(super) fn end_task(step: &mut Step<'_>, id: TaskId, outcome: Outcome, act: Act) {
    let finished = Finish {
        act: Some(Box::new(act)),
        ..Finish::plain(outcome)
    };
    finish(step, id, None, finished, Leaves::default());
    tell_waiting(step, id);
}

/// Ends a task that waits, because its time is over: as the judge says (I6).
pub(super) fn expire(step: &mut Step<'_>, id: TaskId, reason: DeadReason) {
    let task = step.task(id).expect("the caller looked");
    let queue = task.queue.clone();
    let policy = resolve::policy(step, task);
    let verdict = judge(step, id, &policy, &Ending::Expired { reason }, None);
    let outcome = match verdict.next {
        Next::Fail => Some(Outcome::Failed),
        Next::Discard => Some(Outcome::Discarded),
        Next::Dead(_) | Next::Retry { .. } => None,
    };
    match (outcome, route_of(step, id, None)) {
        (Some(outcome), _) => {
            let finished = Finish {
                spent: verdict.spent,
                ..Finish::plain(outcome)
            };
            finish(step, id, None, finished, Leaves::default());
        }
        (None, Some(target)) => {
            transfer::route(step, id, &target, &Leaves::default());
            let finished = Finish {
                spent: Some(reason),
                ..Finish::plain(Outcome::Routed)
            };
            finish(step, id, None, finished, Leaves::default());
        }
        (None, None) => {
            let at = step.now();
            step.record(id.shard(), Event::TaskExpired { id, at, reason });
            follow_up::after(step, id, End::Failed(reason));
        }
    }
    // It may have stood before tasks that somebody can have.
    step.touch_queue(&queue);
    tell_waiting(step, id);
}

fn judge(
    step: &mut Step<'_>,
    id: TaskId,
    policy: &Policy,
    ending: &Ending<'_>,
    max_attempts: Option<u32>,
) -> Verdict {
    let drawn = step.draw();
    let task = step.task(id).expect("the caller has it");
    let (side, lease, tally) = (task.side.as_deref(), task.lease(), task.tally());
    let spent = Spent {
        failures: tally.failures,
        crashes: tally.crashes,
        deferrals: tally.deferrals,
        unstarted_in_row: tally.unstarted_in_row.into(),
        rule_retries: side.map_or(&[], |side| side.rule_retries.as_slice()),
        max_attempts: max_attempts.or_else(|| {
            let said = resolve::attempts_said(step, task);
            said.map(|(attempts, _)| attempts)
        }),
        since: task.budget_since(),
        previous_delay_ms: side.and_then(|side| side.previous_delay_ms),
        end_by: task.life().and_then(|life| life.end_by()),
        at_most_once: lease.is_some_and(|lease| lease.delivery == DeliveryMode::AtMostOnce),
    };
    let now = step.now();
    let mut verdict = retry::decide(policy, &spent, ending, now, &mut || drawn);
    if task.runs() == limits::RUNS_MAX && matches!(verdict.next, Next::Retry { .. }) {
        // Redrives refresh every budget, but the fence has no number for another run.
        verdict.next = Next::Dead(DeadReason::AttemptsExhausted);
        verdict.spent = Some(DeadReason::AttemptsExhausted);
    }
    verdict
}

/// Records what the judge said.
fn follow(
    step: &mut Step<'_>,
    id: TaskId,
    mut run: RunRecord,
    (verdict, policy): (Verdict, &Policy),
    mut leaves: Leaves,
) {
    let at = step.now();
    let budget = verdict.budget;
    run.rule.clone_from(&verdict.rule);
    match verdict.next {
        Next::Retry { base_ms, delay_ms } => {
            run.delay = Some(Delay {
                base_ms,
                drawn_ms: delay_ms,
            });
            if budget != Budget::Deferral {
                leaves.delay_ms = Some(delay_ms);
            }
            let not_before = at.plus_ms(delay_ms);
            let (run, leaves) = (Box::new(run), Box::new(leaves));
            step.record(
                id.shard(),
                Event::RetryScheduled {
                    id,
                    run,
                    budget,
                    not_before,
                    leaves,
                },
            );
            let queue = step.task(id).expect("recorded a moment ago").queue.clone();
            step.touch_queue(&queue);
        }
        Next::Dead(reason) => match route_of(step, id, routing_rule(&verdict, policy)) {
            Some(target) => {
                transfer::route(step, id, &target, &leaves);
                let finished = Finish {
                    budget: Some(budget),
                    spent: Some(reason),
                    ..Finish::plain(Outcome::Routed)
                };
                finish(step, id, Some(run), finished, leaves);
            }
            None => {
                let (run, leaves) = (Box::new(run), Box::new(leaves));
                step.record(
                    id.shard(),
                    Event::TaskDied {
                        id,
                        run,
                        budget,
                        reason,
                        at,
                        leaves,
                    },
                );
                follow_up::after(step, id, End::Failed(reason));
            }
        },
        Next::Fail | Next::Discard => {
            let outcome = if verdict.next == Next::Fail {
                Outcome::Failed
            } else {
                Outcome::Discarded
            };
            let finished = Finish {
                budget: Some(budget),
                spent: verdict.spent,
                ..Finish::plain(outcome)
            };
            finish(step, id, Some(run), finished, leaves);
        }
    }
}

/// Where a spent task goes on; `None` where it stays as a dead letter. A task never comes to a queue
/// where it has been.
fn route_of(step: &Step<'_>, id: TaskId, rule: Option<&Rule>) -> Option<QueueName> {
    let task = step.task(id)?;
    let of_rule = rule.and_then(|rule| rule.dead_letter_queue.as_deref());
    let of_rule = of_rule.and_then(|name| QueueName::new(task.queue.namespace(), name).ok());
    let said = || resolve::dead_letter_queue(step, task).map(|(queue, _)| queue);
    let target = of_rule.or_else(said)?;
    let visited = task.more().map_or(&[][..], |more| &more.visited);
    let been_there = target == task.queue || visited.contains(&target);
    (!been_there && visited.len() < limits::ROUTE_HOPS_MAX).then_some(target)
}

/// The rule that makes a task a dead letter, or whose own limit does.
fn routing_rule<'p>(verdict: &Verdict, policy: &'p Policy) -> Option<&'p Rule> {
    policy.rule(verdict.rule.as_deref()?)
}

struct Finish {
    outcome: Outcome,
    /// What is spent, where the task ended because of that.
    spent: Option<DeadReason>,
    budget: Option<Budget>,
    result: Option<Payload>,
    label: Option<Arc<str>>,
    act: Option<Box<Act>>,
}

impl Finish {
    const fn plain(outcome: Outcome) -> Self {
        Self {
            outcome,
            spent: None,
            budget: None,
            result: None,
            label: None,
            act: None,
        }
    }
}

fn finish(step: &mut Step<'_>, id: TaskId, run: Option<RunRecord>, finish: Finish, leaves: Leaves) {
    let Finish {
        outcome,
        spent,
        budget,
        result,
        label,
        act,
    } = finish;
    let (run, leaves, at) = (run.map(Box::new), Box::new(leaves), step.now());
    let task = step.task(id).expect("the caller has it");
    let (result_ttl_ms, _) = resolve::result_ttl_ms(step, task);
    let expires_at = Some(at.plus_ms(result_ttl_ms));
    let event = Event::TaskFinished {
        id,
        run,
        budget,
        outcome,
        at,
        result,
        label,
        leaves,
        expires_at,
        act,
    };
    step.record(id.shard(), event);
    let queue = step
        .task(id)
        .expect("finished tasks are kept")
        .queue
        .clone();
    step.crowd(&queue);
    step.unblock_queue(&queue);
    let end = match (outcome, spent) {
        (Outcome::Failed | Outcome::Routed, Some(reason)) => End::Failed(reason),
        (outcome, _) => End::Finished(outcome),
    };
    follow_up::after(step, id, end);
}

/// The record of a run that ends now; what it ended as is filled in by the caller.
fn record_of(step: &Step<'_>, task: &Task, policy: &Policy) -> RunRecord {
    let lease = task.lease().expect("the caller has it");
    let begun = match lease.holder {
        Holder::Session(session) => step
            .sessions()
            .get(session)
            .and_then(|session| session.held.get(&task.id))
            .is_some_and(|held| held.begun_at.is_some()),
        Holder::Unary { .. } => true,
    };
    RunRecord {
        run: lease.fence.run(),
        attempt: task.attempt(),
        worker: lease.worker.clone(),
        leased_at: lease.granted_at,
        ended_at: step.now(),
        started: begun || lease.started_at.is_some(),
        outcome: RunOutcome::Succeeded,
        failure: None,
        rule: None,
        policy: Some(policy.name.clone()),
        policy_source: Source::Server,
        policy_revision: 0,
        delay: None,
        note: None,
    }
}

fn outcome_of(ended: &Ended<'_>, extra: &Extra) -> RunOutcome {
    let plain = match ended {
        Ended::Completed { .. } => RunOutcome::Succeeded,
        Ended::Discarded => RunOutcome::Discarded,
        Ended::Judged(Ending::Failed { .. }) => RunOutcome::Failed,
        Ended::Judged(Ending::Retried { .. }) => RunOutcome::Retried,
        Ended::Judged(Ending::Crashed { .. }) => RunOutcome::Crashed,
        Ended::Judged(Ending::Deferred { .. }) => RunOutcome::Deferred,
        Ended::Judged(Ending::Released) => RunOutcome::Released,
        Ended::Judged(Ending::Unstarted) => RunOutcome::Unstarted,
        Ended::Judged(Ending::Overrun { .. } | Ending::Expired { .. }) => RunOutcome::TimedOut,
    };
    extra.outcome.unwrap_or(plain)
}

fn failure_of<'a>(ending: &Ending<'a>) -> Option<&'a Failure> {
    match ending {
        Ending::Failed { failure, .. }
        | Ending::Retried { failure, .. }
        | Ending::Crashed { failure }
        | Ending::Overrun { failure } => Some(failure),
        Ending::Deferred { .. } | Ending::Released | Ending::Unstarted | Ending::Expired { .. } => {
            None
        }
    }
}

/// What the run leaves; stacks and checkpoints are shed where memory is short (rule 21).
fn leaves_of(step: &Step<'_>, ended: &Ended<'_>, extra: Extra) -> Leaves {
    let short = step.bytes() > step.config().memory_bytes_max / 10 * 9;
    let failure = match ended {
        Ended::Judged(ending) => failure_of(ending),
        Ended::Completed { .. } | Ended::Discarded => None,
    };
    Leaves {
        failure: failure.map(|failure| failure.for_keeping(!short)),
        delay_ms: None,
        rule_counted: None,
        timeout_hit: failure.is_some_and(|failure| failure.class == FailureClass::Timeout),
        payload: extra.payload,
        checkpoint: extra.checkpoint.filter(|_| !short),
        max_attempts: extra.max_attempts,
    }
}

/// The slot of a run that is over goes to somebody else.
fn free(step: &mut Step<'_>, id: TaskId, holder: Holder, worker: &Arc<str>, outcome: RunOutcome) {
    step.clocks_mut().clear_lease(id);
    match holder {
        Holder::Session(session) => {
            if let Some(session) = step.sessions_mut().get_mut(session) {
                session.let_go(id, outcome);
            }
            step.touch_member(Member::Session(session));
        }
        Holder::Unary { .. } => {
            let was_full = step.unary_held(worker) == limits::UNARY_LEASES_MAX;
            step.unary_let_go(worker);
            if was_full {
                for request in step.polls_of(worker) {
                    step.touch_member(Member::Poll(request));
                }
            }
        }
    }
}

/// Calls that wait for the task's end are answered where it has come.
fn tell_waiting(step: &mut Step<'_>, id: TaskId) {
    let task = step.task(id).expect("it ended or lives");
    let over = matches!(task.state, State::Dead { .. } | State::Finished(_));
    if !over || !step.is_waited_for(id) {
        return;
    }
    let view = resolve::view(step, task);
    for request in step.take_waits(id) {
        step.clocks_mut()
            .clear(crate::engine::clocks::Alarm::Wait(request));
        step.reply(
            request,
            Ok(Answer::Waited {
                ended: true,
                task: Box::new(view.clone()),
            }),
        );
    }
}

/// The side record of a task that continues another one elsewhere, after what its last run left.
pub(super) fn side_of_continuation(task: &Task, leaves: &Leaves) -> Side {
    let side = task.side.as_deref().cloned().unwrap_or_default();
    let mut visited = side
        .more
        .as_deref()
        .map(|more| more.visited.clone())
        .unwrap_or_default();
    visited.push(task.queue.clone());
    let more = More {
        cause: side.more.as_deref().and_then(|more| more.cause),
        visited,
        ..More::default()
    };
    Side {
        more: more.said(),
        labels: side.labels,
        last_failure: leaves.failure.clone().or(side.last_failure),
        checkpoint: leaves.checkpoint.clone().or(side.checkpoint),
        origin: Some(task.id),
        hops: side.hops + 1,
        ..Side::default()
    }
}
