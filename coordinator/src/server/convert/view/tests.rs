//! What is shown of tasks, whole and in lists.

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
