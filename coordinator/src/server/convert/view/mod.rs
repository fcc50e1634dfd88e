//! Tasks as callers see them.
//!
//! Owns what a list leaves out: payloads, results, checkpoints, stacks, histories, acts and the
//! effective values. A single task is shown whole.

mod effective;

use redrive_proto::v1 as pb;

use super::failure::{failure_brief, failure_view};
use super::field::{duration, payload_view, timeouts_view, timestamp};
use super::keys::unique_view;
use super::policy_view::policy_view;
use super::task::labels_view;
use super::terms::{source_view, template_view, terms_view};
use crate::engine::effect::TaskView;
use crate::engine::ids::Timestamp;
use crate::engine::ledger::history::{RunOutcome, RunRecord};
use crate::engine::ledger::task::{Outcome, Payload, Priority, Side, State, Task, TaskState};
use crate::engine::retry::PolicyRef;
pub(crate) use effective::cause_view;
use effective::{act, cancel_order, effective, progress};

/// How much of a task is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Detail {
    /// All of it.
    Whole,
    /// What a list shows.
    Listed,
}

/// A task as the wire has it.
pub(crate) fn task_view(view: &TaskView, detail: Detail) -> pb::Task {
    let task = &view.task;
    let side = task.side.as_deref();
    let more = task.more();
    let whole = detail == Detail::Whole;
    let finished = match &task.state {
        State::Finished(finished) => Some(finished),
        State::Pending { .. } | State::Leased(_) | State::Dead { .. } => None,
    };
    let result = finished.and_then(|finished| finished.result.as_ref());
    let label = finished.and_then(|finished| finished.label.as_deref());
    let shown = |payload: Option<&Payload>| payload.filter(|_| whole).map(payload_view);
    let history = side.map(|side| &side.history).filter(|_| whole);
    pb::Task {
        task_id: task.id.to_string(),
        namespace: task.queue.namespace().to_owned(),
        spec: Some(spec(task, detail)),
        state: state_view(view.state).into(),
        state_reason: state_reason(view).to_owned(),
        budgets: Some(budgets(view)),
        enqueue_time: Some(timestamp(task.enqueued_at)),
        next_attempt_time: next_attempt(view).map(timestamp),
        end_time: ended_at(task).map(timestamp),
        runs: task.runs(),
        history: history
            .map(|history| history.runs().map(run).collect())
            .unwrap_or_default(),
        history_omitted: history.map_or(0, |history| history.omitted()),
        last_failure: side.and_then(|side| last_failure(side, detail)),
        result: shown(result),
        outcome_label: label.unwrap_or_default().to_owned(),
        checkpoint: shown(side.and_then(|side| side.checkpoint.as_ref())),
        redrives: task.tally().redrives,
        origin_task_id: side
            .and_then(|side| side.origin)
            .map(|id| id.to_string())
            .unwrap_or_default(),
        fence: task.fence.0,
        worker_id: task
            .lease()
            .map(|lease| lease.worker.to_string())
            .unwrap_or_default(),
        effective_retry_policy: view.policy.to_string(),
        effective_timeouts: Some(timeouts_view(view.timeouts)),
        progress: view.progress.as_ref().map(progress),
        effective: whole.then(|| Box::new(effective(view))),
        acts: more
            .map(|more| more.acts.iter().map(act).collect())
            .filter(|_| whole)
            .unwrap_or_default(),
        acts_omitted: more.filter(|_| whole).map_or(0, |more| more.acts_omitted),
        cause: more.and_then(|more| more.cause).map(cause_view),
        forget_time: finished
            .and_then(|finished| finished.expires_at)
            .map(timestamp),
        cancel: task.lease().and_then(cancel_order),
    }
}

/// What the producer said, as far as it still matters.
fn spec(task: &Task, detail: Detail) -> pb::TaskSpec {
    let side = task.side.as_deref();
    let (own, more) = (task.own.as_deref(), task.more());
    let then = own.map(|own| own.then.as_slice()).unwrap_or_default();
    pb::TaskSpec {
        queue: task.queue.queue().to_owned(),
        kind: task.kind.to_string(),
        payload: match detail {
            Detail::Whole => Some(payload_view(&task.payload)),
            Detail::Listed => None,
        },
        priority: priority_view(task.priority).into(),
        start: None,
        timeouts: task.timeouts().map(timeouts_view),
        retry: task.policy().map(|policy| match policy {
            PolicyRef::Named(policy) => pb::task_spec::Retry::RetryPolicy(policy.name.to_string()),
            PolicyRef::Inline(policy) => {
                pb::task_spec::Retry::InlineRetryPolicy(policy_view(policy).into())
            }
        }),
        max_attempts: task.max_attempts(),
        labels: labels_view(side.map(|side| side.labels.as_slice()).unwrap_or_default()),
        schema_version: task.version,
        terms: task.terms().map(|terms| terms_view(terms, detail).into()),
        idempotency_key: more
            .and_then(|more| more.key.as_deref())
            .unwrap_or_default()
            .to_owned(),
        idempotency_window: None,
        unique: more
            .and_then(|more| more.unique.as_ref())
            .map(|unique| unique_view(unique).into()),
        then: then
            .iter()
            .map(|template| template_view(template, detail))
            .collect(),
    }
}

fn budgets(view: &TaskView) -> pb::Budgets {
    let tally = view.task.tally();
    pb::Budgets {
        failures: tally.failures,
        attempts_max: view.attempts_max,
        crashes: tally.crashes,
        crashes_max: view.crashes_max,
        deferrals: tally.deferrals,
        deferrals_max: view.deferrals_max,
    }
}

fn last_failure(side: &Side, detail: Detail) -> Option<pb::Failure> {
    let failure = side.last_failure.as_ref()?;
    Some(match detail {
        Detail::Whole => failure_view(failure),
        Detail::Listed => failure_brief(failure),
    })
}

fn state_reason(view: &TaskView) -> &'static str {
    match &view.task.state {
        State::Dead { reason, .. } => reason.name(),
        State::Leased(lease) if lease.cancel_requested => "CANCEL_REQUESTED",
        State::Finished(finished) if finished.outcome == Outcome::Routed => "ROUTED",
        State::Pending { .. } if view.no_worker => "NO_WORKER",
        State::Pending { .. } | State::Leased(_) | State::Finished(_) => "",
    }
}

fn next_attempt(view: &TaskView) -> Option<Timestamp> {
    let waits = matches!(view.state, TaskState::Scheduled | TaskState::Retrying);
    match &view.task.state {
        State::Pending { not_before } if waits => Some(*not_before),
        State::Pending { .. } | State::Leased(_) | State::Dead { .. } | State::Finished(_) => None,
    }
}

fn ended_at(task: &Task) -> Option<Timestamp> {
    match &task.state {
        State::Dead { at, .. } => Some(*at),
        State::Finished(finished) => Some(finished.at),
        State::Pending { .. } | State::Leased(_) => None,
    }
}

fn run(record: &RunRecord) -> pb::Run {
    pb::Run {
        run: record.run,
        attempt: record.attempt,
        worker_id: record.worker.to_string(),
        lease_time: Some(timestamp(record.leased_at)),
        end_time: Some(timestamp(record.ended_at)),
        started: record.started,
        outcome: run_outcome(record.outcome).into(),
        failure: record.failure.as_ref().map(failure_view),
        rule: record.rule.as_deref().unwrap_or_default().to_owned(),
        retry_policy: record.policy.as_deref().unwrap_or_default().to_owned(),
        base_delay: record.delay.map(|delay| duration(delay.base_ms)),
        delay: record.delay.map(|delay| duration(delay.drawn_ms)),
        note: record.note.as_deref().unwrap_or_default().to_owned(),
        retry_policy_revision: record.policy_revision,
        retry_policy_source: record
            .policy
            .as_ref()
            .map_or(pb::Source::Unspecified, |_| {
                source_view(record.policy_source)
            })
            .into(),
    }
}

const fn run_outcome(outcome: RunOutcome) -> pb::RunOutcome {
    match outcome {
        RunOutcome::Succeeded => pb::RunOutcome::Succeeded,
        RunOutcome::Failed => pb::RunOutcome::Failed,
        RunOutcome::Retried => pb::RunOutcome::Retried,
        RunOutcome::Deferred => pb::RunOutcome::Deferred,
        RunOutcome::Released => pb::RunOutcome::Released,
        RunOutcome::TimedOut => pb::RunOutcome::TimedOut,
        RunOutcome::Crashed => pb::RunOutcome::Crashed,
        RunOutcome::Unstarted => pb::RunOutcome::Unstarted,
        RunOutcome::Discarded => pb::RunOutcome::Discarded,
        RunOutcome::Cancelled => pb::RunOutcome::Cancelled,
    }
}

/// The number that a state has on the wire.
pub(crate) const fn state_view(state: TaskState) -> pb::TaskState {
    match state {
        TaskState::Scheduled => pb::TaskState::Scheduled,
        TaskState::Ready => pb::TaskState::Ready,
        TaskState::Leased => pb::TaskState::Leased,
        TaskState::Running => pb::TaskState::Running,
        TaskState::Retrying => pb::TaskState::Retrying,
        TaskState::Dead => pb::TaskState::Dead,
        TaskState::Finished(Outcome::Succeeded) => pb::TaskState::Succeeded,
        TaskState::Finished(Outcome::Failed) => pb::TaskState::Failed,
        TaskState::Finished(Outcome::Cancelled) => pb::TaskState::Cancelled,
        TaskState::Finished(Outcome::Discarded) => pb::TaskState::Discarded,
        TaskState::Finished(Outcome::Routed) => pb::TaskState::Routed,
    }
}

/// The number that a priority has on the wire.
pub(crate) const fn priority_view(priority: Priority) -> pb::Priority {
    match priority {
        Priority::Lowest => pb::Priority::Lowest,
        Priority::Low => pb::Priority::Low,
        Priority::Normal => pb::Priority::Normal,
        Priority::High => pb::Priority::High,
        Priority::Highest => pb::Priority::Highest,
    }
}

#[cfg(test)]
pub(crate) mod tests;
