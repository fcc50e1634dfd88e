//! What is shown of tasks, whole and in lists.

use super::*;
use crate::engine::effect::{Effective, Progress};
use crate::engine::failure::{Failure, FailureClass};
use crate::engine::ids::{Fence, QueueName, ShardId, TaskId};
use crate::engine::ledger::history::Delay;
use crate::engine::ledger::more::{Act, ActKind, CancelOrder, Cause, More, Scope, Unique};
use crate::engine::ledger::tally::Tally;
use crate::engine::ledger::task::{Finished, Holder, Lease, Own, Timeouts};
use crate::engine::ledger::terms::{DeliveryMode, Source, Template, Terms, Transition};
use crate::engine::retry::DeadReason;

fn full_run(failure: &Failure) -> RunRecord {
    RunRecord {
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
        policy_source: Source::Queue,
        policy_revision: 7,
        delay: Some(Delay {
            base_ms: 1000,
            drawn_ms: 700,
        }),
        note: Some("soon".into()),
    }
}

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
    side.history.push(full_run(&failure));
    side.tally = Tally {
        failures: 1,
        deferrals: 2,
        redrives: 3,
        ..Tally::default()
    };
    let own = Own {
        max_attempts: Some(4),
        ..Own::default()
    };
    let task = Task {
        id: TaskId::new(Timestamp(5), ShardId(0), 1),
        queue: QueueName::new("default", "mail").unwrap(),
        kind: "send".into(),
        version: 2,
        payload: payload("body"),
        priority: Priority::High,
        enqueue_seq: 1,
        enqueued_at: Timestamp(5),
        state,
        fence: Fence::new(2, 1),
        own: Some(Box::new(own)),
        side: Some(Box::new(side)),
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
            extend_max_ms: None,
        },
        effective: Box::default(),
        progress: None,
        no_worker: false,
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
        expires_at: Some(Timestamp(95)),
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
        cancel: Some(Box::new(CancelOrder {
            at: Timestamp(30),
            until: Some(Timestamp(40)),
            by: "kim".into(),
            reason: "over".into(),
        })),
        delivery: DeliveryMode::AtLeastOnce,
    };
    let shown = task_view(&full_view(State::Leased(Box::new(lease))), Detail::Whole);
    assert_eq!(shown.state(), pb::TaskState::Leased);
    assert_eq!(shown.state_reason, "CANCEL_REQUESTED");
    let order = shown.cancel.unwrap();
    assert_eq!(
        (order.actor.as_str(), order.reason.as_str()),
        ("kim", "over")
    );
    assert_eq!(order.until, Some(timestamp(Timestamp(40))));
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

fn ready() -> TaskView {
    full_view(State::Pending {
        not_before: Timestamp(1),
    })
}

#[test]
fn a_run_tells_which_policy_judged_it_and_who_named_that() {
    let shown = task_view(&ready(), Detail::Whole);
    let run = &shown.history[0];
    assert_eq!(run.retry_policy_revision, 7);
    assert_eq!(run.retry_policy_source(), pb::Source::Queue);
    let mut view = ready();
    let mut record = view
        .task
        .side
        .as_ref()
        .unwrap()
        .history
        .runs()
        .next()
        .unwrap()
        .clone();
    record.policy = None;
    view.task.side_mut().history.push(record);
    let shown = task_view(&view, Detail::Whole);
    assert_eq!(
        shown.history[1].retry_policy_source(),
        pb::Source::Unspecified
    );
}

#[test]
fn a_ready_task_that_nobody_runs_says_so() {
    let mut view = ready();
    assert_eq!(task_view(&view, Detail::Listed).state_reason, "");
    view.no_worker = true;
    assert_eq!(task_view(&view, Detail::Listed).state_reason, "NO_WORKER");
}

#[test]
fn an_ended_task_says_until_when_it_is_kept() {
    let finished = Finished {
        outcome: Outcome::Failed,
        at: Timestamp(90),
        result: None,
        label: None,
        expires_at: Some(Timestamp(3_600_090)),
    };
    let view = full_view(State::Finished(Box::new(finished)));
    let shown = task_view(&view, Detail::Listed);
    assert_eq!(shown.forget_time, Some(timestamp(Timestamp(3_600_090))));
    assert_eq!(task_view(&ready(), Detail::Whole).forget_time, None);
}

/// A task with keys, acts, a cause, terms and a chain.
fn told() -> TaskView {
    let mut view = ready();
    let more = More {
        key: Some("order 7".into()),
        unique: Some(Unique {
            key: "customer 3".into(),
            scope: Scope {
                waiting: true,
                running: false,
                dead: false,
                finished: false,
            },
        }),
        cause: Some(Cause {
            task: TaskId::new(Timestamp(2), ShardId(0), 3),
            transition: Transition::Failure,
        }),
        acts: vec![Act {
            at: Timestamp(50),
            what: ActKind::Redriven,
            by: "kim".into(),
            note: "mended".into(),
        }],
        acts_omitted: 2,
        ..More::default()
    };
    view.task.side_mut().more = Some(Box::new(more));
    let link = Template {
        queue: None,
        kind: "archive".into(),
        payload: Payload::default(),
        priority: Priority::Normal,
        delay_ms: 0,
        version: 0,
        labels: Vec::new(),
    };
    let own = view.task.own.as_mut().unwrap();
    own.then = vec![link];
    own.terms = Some(Box::new(Terms {
        ttl_ms: Some(1000),
        ..Terms::default()
    }));
    view
}

#[test]
fn keys_terms_chain_cause_and_acts_are_shown() {
    let shown = task_view(&told(), Detail::Whole);
    let spec = shown.spec.unwrap();
    assert_eq!(
        (spec.schema_version, spec.idempotency_key.as_str()),
        (2, "order 7")
    );
    assert_eq!(spec.unique.unwrap().key, "customer 3");
    assert_eq!(spec.then[0].kind, "archive");
    assert_eq!(spec.terms.unwrap().ttl, Some(duration(1000)));
    assert_eq!(shown.cause.unwrap().transition(), pb::Transition::Failed);
    let act = &shown.acts[0];
    assert_eq!(act.act(), pb::ActKind::Redriven);
    assert_eq!((act.actor.as_str(), act.note.as_str()), ("kim", "mended"));
    assert_eq!(shown.acts_omitted, 2);
    let listed = task_view(&told(), Detail::Listed);
    assert!(listed.acts.is_empty() && listed.effective.is_none());
    assert!(listed.cause.is_some());
}

#[test]
fn every_effective_value_has_its_source_and_what_nobody_set_is_unset() {
    let mut view = ready();
    view.timeouts = Timeouts::default();
    let plain = *task_view(&view, Detail::Whole).effective.unwrap();
    assert!(plain.timeouts.is_none() && plain.dead_letter_queue.is_none());
    assert!(plain.expire_time.is_none() && plain.deadline_time.is_none());
    let attempts = plain.max_attempts.unwrap();
    assert_eq!(
        (attempts.max_attempts, attempts.source()),
        (4, pb::Source::Server)
    );
    *view.effective = Effective {
        policy: Source::Queue,
        policy_revision: 5,
        timeouts: Source::Kind,
        attempts: Source::Server,
        start_by: (Some(Timestamp(7)), Source::Task),
        end_by: (Some(Timestamp(8)), Source::Queue),
        result_ttl_ms: (60_000, Source::Kind),
        delivery: (DeliveryMode::AtMostOnce, Source::Task),
        follow_ups: vec![(Transition::Exhausted, "page".into(), Source::Queue)],
        dead_letter_queue: (QueueName::new("default", "graveyard").ok(), Source::Kind),
    };
    let shown = *task_view(&view, Detail::Whole).effective.unwrap();
    let policy = shown.retry_policy.unwrap();
    assert_eq!((policy.name.as_str(), policy.revision), ("recommended", 5));
    assert_eq!(policy.source(), pb::Source::Queue);
    assert_eq!(shown.timeouts.unwrap().source(), pb::Source::Kind);
    let attempts = shown.max_attempts.unwrap().source();
    assert_eq!(attempts, pb::Source::Queue, "whose policy says the number");
    let expires = shown.expire_time.unwrap();
    assert_eq!(expires.time, Some(timestamp(Timestamp(7))));
    assert_eq!(expires.source(), pb::Source::Task);
    assert_eq!(shown.deadline_time.unwrap().source(), pb::Source::Queue);
    assert_eq!(shown.result_ttl.unwrap().duration, Some(duration(60_000)));
    let delivery = shown.delivery.unwrap();
    assert_eq!(delivery.delivery(), pb::DeliveryMode::AtMostOnce);
    let follow_up = &shown.follow_ups[0];
    assert_eq!(follow_up.transition(), pb::Transition::Exhausted);
    assert_eq!(follow_up.kind, "page");
    assert_eq!(shown.dead_letter_queue.unwrap().queue, "graveyard");
}

#[test]
fn progress_is_shown_with_its_time() {
    let mut view = ready();
    view.progress = Some(Progress {
        done: 1,
        total: 4,
        message: "rows".into(),
        at: Timestamp(60),
    });
    let shown = task_view(&view, Detail::Listed).progress.unwrap();
    assert_eq!(
        (shown.done, shown.total, shown.message.as_str()),
        (1, 4, "rows")
    );
    assert_eq!(shown.time, Some(timestamp(Timestamp(60))));
}
