//! Tasks as callers see them.
//!
//! Owns what a list leaves out: payloads, results, checkpoints, stacks and histories. A single task
//! is shown whole.

use redrive_proto::v1 as pb;

use super::failure::{failure_brief, failure_view};
use super::field::{duration, payload_view, timeouts_view, timestamp};
use super::policy_view::policy_view;
use crate::engine::effect::TaskView;
use crate::engine::ids::Timestamp;
use crate::engine::ledger::history::{RunOutcome, RunRecord};
use crate::engine::ledger::task::{Outcome, Payload, Priority, Side, State, Task, TaskState};
use crate::engine::retry::PolicyRef;

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
        state_reason: state_reason(task).to_owned(),
        budgets: Some(budgets(view)),
        enqueue_time: Some(timestamp(task.enqueued_at)),
        next_attempt_time: next_attempt(view).map(timestamp),
        end_time: ended_at(task).map(timestamp),
        runs: task.runs,
        history: history
            .map(|history| history.runs().map(run).collect())
            .unwrap_or_default(),
        history_omitted: history.map_or(0, |history| history.omitted()),
        last_failure: side.and_then(|side| last_failure(side, detail)),
        result: shown(result),
        outcome_label: label.unwrap_or_default().to_owned(),
        checkpoint: shown(side.and_then(|side| side.checkpoint.as_ref())),
        redrives: task.redrives,
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
        progress: None,
        effective: None,
        acts: Vec::new(),
        acts_omitted: 0,
        cause: None,
        forget_time: None,
        cancel: None,
    }
}

/// What the producer said, as far as it still matters.
fn spec(task: &Task, detail: Detail) -> pb::TaskSpec {
    let labels = task
        .side
        .as_deref()
        .map(|side| side.labels.as_slice())
        .unwrap_or_default();
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
                pb::task_spec::Retry::InlineRetryPolicy(policy_view(policy))
            }
        }),
        max_attempts: task.max_attempts(),
        labels: labels
            .iter()
            .map(|(key, value)| (key.to_string(), value.to_string()))
            .collect(),
        schema_version: 0,
        terms: None,
        idempotency_key: String::new(),
        idempotency_window: None,
        unique: None,
        then: Vec::new(),
    }
}

const fn budgets(view: &TaskView) -> pb::Budgets {
    pb::Budgets {
        failures: view.task.failures,
        attempts_max: view.attempts_max,
        crashes: view.task.crashes,
        crashes_max: view.crashes_max,
        deferrals: view.task.deferrals,
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

fn state_reason(task: &Task) -> &'static str {
    match &task.state {
        State::Dead { reason, .. } => reason.name(),
        State::Leased(lease) if lease.cancel_requested => "CANCEL_REQUESTED",
        State::Finished(finished) if finished.outcome == Outcome::Routed => "ROUTED",
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
        retry_policy_revision: 0,
        retry_policy_source: 0,
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
pub(crate) mod tests {
    use super::*;
    use crate::engine::failure::{Failure, FailureClass};
    use crate::engine::ids::{Fence, QueueName, ShardId, TaskId};
    use crate::engine::ledger::history::Delay;
    use crate::engine::ledger::task::{Finished, Holder, Lease, Own, Timeouts};
    use crate::engine::retry::DeadReason;

    /// A task with something in every field that a view can show.
    pub(crate) fn full_view(state: State) -> TaskView {
        let payload = |text: &'static str| Payload {
            data: text.into(),
            content_type: None,
        };
        let mut failure = Failure::new(FailureClass::Network, "refused");
        failure.stack = "at line 1".into();
        failure.code = 14;
        failure.ancestors = vec!["OSError".into()];
        let mut side = Side {
            labels: vec![("team".into(), "a".into())],
            last_failure: Some(failure.clone()),
            checkpoint: Some(payload("half")),
            origin: Some(TaskId::new(Timestamp(1), ShardId(0), 7)),
            ..Side::default()
        };
        side.history.push(RunRecord {
            run: 1,
            attempt: 1,
            worker: "w".into(),
            leased_at: Timestamp(10),
            ended_at: Timestamp(20),
            started: true,
            outcome: RunOutcome::Failed,
            failure: Some(failure.for_history()),
            rule: Some("network".into()),
            policy: Some("recommended".into()),
            delay: Some(Delay {
                base_ms: 1000,
                drawn_ms: 700,
            }),
            note: Some("soon".into()),
        });
        let own = Own {
            max_attempts: Some(4),
            ..Own::default()
        };
        let task = Task {
            id: TaskId::new(Timestamp(5), ShardId(0), 1),
            queue: QueueName::new("default", "mail").unwrap(),
            kind: "send".into(),
            payload: payload("body"),
            priority: Priority::High,
            enqueue_seq: 1,
            enqueued_at: Timestamp(5),
            budget_since: Timestamp(5),
            state,
            fence: Fence::new(2, 1),
            runs: 1,
            failures: 1,
            crashes: 0,
            deferrals: 2,
            unstarted_in_row: 0,
            timeouts_hit: 0,
            redrives: 3,
            own: Some(Box::new(own)),
            side: Some(Box::new(side)),
            recorded_at: 1,
        };
        TaskView {
            state: task.view(Timestamp(100)),
            task,
            policy: "recommended".into(),
            attempts_max: 4,
            crashes_max: 3,
            deferrals_max: 1000,
            timeouts: Timeouts {
                soft_ms: None,
                hard_ms: Some(9000),
            },
        }
    }

    #[test]
    fn a_whole_task_shows_everything() {
        let result = Payload {
            data: "done".into(),
            content_type: None,
        };
        let finished = Finished {
            outcome: Outcome::Succeeded,
            at: Timestamp(90),
            result: Some(result),
            label: Some("fine".into()),
        };
        let shown = task_view(
            &full_view(State::Finished(Box::new(finished))),
            Detail::Whole,
        );
        assert_eq!(shown.state(), pb::TaskState::Succeeded);
        assert_eq!(&*shown.result.unwrap().data, b"done");
        assert_eq!(&*shown.checkpoint.unwrap().data, b"half");
        assert_eq!(shown.outcome_label, "fine");
        assert_eq!(
            &*shown.spec.as_ref().unwrap().payload.as_ref().unwrap().data,
            b"body"
        );
        assert_eq!(shown.spec.unwrap().labels["team"], "a");
        assert_eq!(shown.last_failure.unwrap().stack, "at line 1");
        assert_eq!(shown.history.len(), 1);
        assert_eq!(shown.history[0].delay, Some(duration(700)));
        assert_eq!(shown.end_time, Some(timestamp(Timestamp(90))));
        let budgets = shown.budgets.unwrap();
        assert_eq!(
            (budgets.failures, budgets.attempts_max, budgets.deferrals),
            (1, 4, 2)
        );
        assert!(!shown.origin_task_id.is_empty());
    }

    #[test]
    fn a_list_leaves_out_payloads_results_stacks_and_histories() {
        let dead = State::Dead {
            reason: DeadReason::AttemptsExhausted,
            at: Timestamp(80),
        };
        let shown = task_view(&full_view(dead), Detail::Listed);
        assert_eq!(shown.state_reason, "ATTEMPTS_EXHAUSTED");
        assert!(shown.spec.unwrap().payload.is_none());
        assert!(shown.result.is_none() && shown.checkpoint.is_none());
        assert!(shown.history.is_empty());
        let failure = shown.last_failure.unwrap();
        assert_eq!(
            (failure.message.as_str(), failure.stack.as_str()),
            ("refused", "")
        );
        assert_eq!(failure.failure_class(), pb::FailureClass::Network);
        assert!(failure.ancestors.is_empty());
    }

    #[test]
    fn a_held_task_names_its_worker_and_its_fence() {
        let lease = Lease {
            fence: Fence::new(2, 1),
            nonce: 0,
            holder: Holder::Unary { ttl_ms: 1000 },
            worker: "w-9".into(),
            granted_at: Timestamp(10),
            timeouts: Timeouts::default(),
            started_at: None,
            cancel_requested: true,
        };
        let shown = task_view(&full_view(State::Leased(Box::new(lease))), Detail::Whole);
        assert_eq!(shown.state(), pb::TaskState::Leased);
        assert_eq!(shown.state_reason, "CANCEL_REQUESTED");
        assert_eq!(
            (shown.worker_id.as_str(), shown.fence),
            ("w-9", Fence::new(2, 1).0)
        );
    }

    #[test]
    fn only_a_task_that_waits_for_an_instant_names_it() {
        let at = |ms| State::Pending {
            not_before: Timestamp(ms),
        };
        let waiting = task_view(&full_view(at(500)), Detail::Listed);
        assert_eq!(waiting.state(), pb::TaskState::Retrying);
        assert_eq!(waiting.next_attempt_time, Some(timestamp(Timestamp(500))));
        let ready = task_view(&full_view(at(100)), Detail::Listed);
        assert_eq!(ready.state(), pb::TaskState::Ready);
        assert_eq!(ready.next_attempt_time, None);
    }

    #[test]
    fn state_numbers_have_the_names_that_filters_use() {
        let outcomes = [
            Outcome::Succeeded,
            Outcome::Failed,
            Outcome::Cancelled,
            Outcome::Discarded,
            Outcome::Routed,
        ];
        let states = [
            TaskState::Scheduled,
            TaskState::Ready,
            TaskState::Leased,
            TaskState::Running,
            TaskState::Retrying,
            TaskState::Dead,
        ];
        for state in states.into_iter().chain(outcomes.map(TaskState::Finished)) {
            let name = state_view(state).as_str_name();
            assert_eq!(name, format!("TASK_STATE_{}", state.name()));
        }
    }
}
