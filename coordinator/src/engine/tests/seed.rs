//! What the users of Celery know, told as scripts: one test for each row of the seed's checklist
//! that is about the scheduler as a whole. Rows about the judge alone are tested beside it
//! (`retry/tests`), rows about handlers in the worker crate.

use super::world::{
    World, complete, fail, fail_with, failure, named, new_task, plain_policy, redrive, update,
};
use crate::engine::command::{Call, FromWorker, NewTask, ReportOutcome, Start};
use crate::engine::effect::Answer;
use crate::engine::failure::{Failure, FailureClass};
use crate::engine::ids::QueueName;
use crate::engine::ledger::task::{Outcome, Payload, State, Timeouts};
use crate::engine::retry::PolicyRef;

fn running(task: NewTask) -> World {
    let mut world = World::new();
    world.enqueue_as("t1", task);
    world.hello("w1", &["mail"], 1);
    world.begin("w1");
    world.quiet();
    world
}

fn retry_at_once() -> ReportOutcome {
    let start = Some(Start::After { delay_ms: 0 });
    ReportOutcome::Retry {
        failure: failure(),
        start,
        payload: None,
        max_attempts: None,
    }
}

#[test]
fn s01_max_retries_3_runs_the_handler_exactly_4_times() {
    let mut world = running(NewTask {
        max_attempts: Some(3 + 1),
        ..new_task("mail")
    });
    for run in 1..=4 {
        world.report("w1", ("t1", run), retry_at_once());
    }
    let view = world.view("t1");
    assert_eq!((view.state.name(), view.task.runs()), ("DEAD", 4));
}

#[test]
fn s02_an_override_in_the_report_stays_with_the_task_over_a_restart() {
    let mut world = running(new_task("mail"));
    let outcome = ReportOutcome::Retry {
        failure: failure(),
        start: Some(Start::After { delay_ms: 0 }),
        payload: None,
        max_attempts: Some(7),
    };
    world.report("w1", ("t1", 1), outcome);
    world.restart();
    assert_eq!(world.view("t1").attempts_max, 7);
}

#[test]
fn s03_celery_default_retries_after_three_minutes() {
    let mut world = running(NewTask {
        policy: Some(named("celery-default")),
        ..new_task("mail")
    });
    world.report("w1", ("t1", 1), fail());
    world.expect(&[
        "t1: Failed, Attempt, again in 180000 ms",
        "ack t1: recorded",
    ]);
}

#[test]
fn s08_the_last_failure_keeps_both_the_reason_and_the_cause() {
    let mut world = running(NewTask {
        max_attempts: Some(1),
        ..new_task("mail")
    });
    let cause = Failure::new(FailureClass::Network, "connection refused by payments");
    world.report("w1", ("t1", 1), fail_with(cause));
    let task = world.view("t1").task;
    assert!(
        matches!(task.state, State::Dead { reason, .. } if reason.name() == "ATTEMPTS_EXHAUSTED")
    );
    let last = task.side.unwrap().last_failure.unwrap();
    assert_eq!(&*last.message, "connection refused by payments");
}

#[test]
fn s09_a_retry_is_the_same_task_with_everything_it_had() {
    let labels = vec![("tenant".into(), "acme".into())];
    let mut world = running(NewTask {
        labels,
        ..new_task("mail")
    });
    let before = world.view("t1").task;
    world.report("w1", ("t1", 1), retry_at_once());
    let after = world.view("t1").task;
    assert_eq!(after.id, before.id);
    assert_eq!(after.enqueued_at, before.enqueued_at);
    assert_eq!(
        (after.priority, after.kind.clone()),
        (before.priority, before.kind.clone())
    );
    assert_eq!(after.side.unwrap().labels, before.side.unwrap().labels);
}

#[test]
fn s10_a_retry_is_one_event_so_there_are_never_two_or_no_live_copies() {
    let mut world = running(new_task("mail"));
    world.report("w1", ("t1", 1), fail());
    // The report made one event: a coordinator that dies before it is durable still has the
    // lease, one that dies after has the retry.
    world.expect(&["t1: Failed, Attempt, again in 10000 ms", "ack t1: recorded"]);
    world.restart();
    assert_eq!(world.state("t1"), "RETRYING");
    world.wait_ms(10_000);
    assert_eq!(world.state("t1"), "READY");
}

#[test]
fn s11_one_report_ends_a_run_and_a_later_one_cannot_change_it() {
    let mut world = running(new_task("mail"));
    world.report("w1", ("t1", 1), fail());
    world.report("w1", ("t1", 1), complete());
    world.expect(&[
        "t1: Failed, Attempt, again in 10000 ms",
        "ack t1: recorded",
        "ack t1: superseded",
    ]);
}

#[test]
fn s12_a_failure_is_named_fields_and_arrives_as_it_was_sent() {
    let mut world = running(new_task("mail"));
    let mut sent = Failure::new(FailureClass::Conflict, "row is locked");
    sent.code = 10;
    sent.error_type = "python:psycopg.errors.LockNotAvailable".into();
    sent.ancestors = vec!["python:psycopg.OperationalError".into()];
    world.report("w1", ("t1", 1), fail_with(sent.clone()));
    assert_eq!(world.view("t1").task.side.unwrap().last_failure, Some(sent));
}

#[test]
fn s19_a_queues_policy_changed_meanwhile_changes_no_delay_that_was_drawn() {
    use crate::engine::command::QueueChange;
    let mut world = running(new_task("mail"));
    world.report("w1", ("t1", 1), fail());
    let policy = PolicyRef::Inline(plain_policy(9).into());
    let change = QueueChange {
        policy: Some(Some(policy)),
        ..QueueChange::default()
    };
    let queue = QueueName::new("default", "mail").unwrap();
    world.call(Call::ConfigureQueue { queue, change }).unwrap();
    world.quiet();
    world.wait_alive_ms(9999, &["w1"]);
    assert_eq!(world.state("t1"), "RETRYING");
    world.wait_ms(1);
    assert_eq!(world.deliveries[&("t1".to_owned(), 2)].attempts_max, 9);
}

#[test]
fn s21_a_handler_is_told_its_limits_so_that_it_can_derive_its_own() {
    let timeouts = Timeouts {
        soft_ms: Some(20_000),
        hard_ms: Some(30_000),
        extend_max_ms: None,
    };
    let world = running(NewTask {
        timeouts: Some(timeouts),
        ..new_task("mail")
    });
    assert_eq!(world.deliveries[&("t1".to_owned(), 1)].timeouts, timeouts);
}

#[test]
fn s22_a_task_can_be_failed_for_good_released_deferred_or_discarded() {
    let for_good = ReportOutcome::Fail {
        failure: Failure {
            expected: true,
            ..failure()
        },
        not_retryable: true,
        retry_after_ms: None,
    };
    let reason = || "".into();
    let cases = [
        (for_good, "DEAD"),
        (ReportOutcome::Release { reason: reason() }, "LEASED"),
        (
            ReportOutcome::Defer {
                delay_ms: 5,
                reason: reason(),
                payload: None,
            },
            "RETRYING",
        ),
        (ReportOutcome::Discard { reason: reason() }, "DISCARDED"),
    ];
    for (outcome, state) in cases {
        let mut world = running(new_task("mail"));
        world.report("w1", ("t1", 1), outcome);
        assert_eq!(world.state("t1"), state);
    }
}

#[test]
fn s22_a_release_is_capped() {
    let policy = crate::engine::retry::Policy {
        max_deferrals: 5,
        ..plain_policy(3)
    };
    let mut world = running(NewTask {
        policy: Some(PolicyRef::Inline(policy.into())),
        ..new_task("mail")
    });
    for run in 1..=5 {
        world.report(
            "w1",
            ("t1", run),
            ReportOutcome::Release { reason: "".into() },
        );
    }
    let task = world.view("t1").task;
    assert!(
        matches!(task.state, State::Dead { reason, .. } if reason.name() == "DEFERRALS_EXHAUSTED")
    );
}

#[test]
fn s25_a_business_outcome_has_a_label_and_is_no_error() {
    let mut world = running(new_task("mail"));
    let label = Some("insufficient_funds".into());
    world.report(
        "w1",
        ("t1", 1),
        ReportOutcome::Complete {
            result: None,
            label,
        },
    );
    let State::Finished(finished) = world.view("t1").task.state else {
        panic!("not over")
    };
    assert_eq!(finished.outcome, Outcome::Succeeded);
    assert_eq!(finished.label.as_deref(), Some("insufficient_funds"));
}

#[test]
fn s30_the_coordinator_says_when_the_soft_limit_is_over_in_every_language() {
    let timeouts = Timeouts {
        soft_ms: Some(300_000),
        hard_ms: Some(360_000),
        extend_max_ms: None,
    };
    let mut world = running(NewTask {
        timeouts: Some(timeouts),
        ..new_task("mail")
    });
    world.wait_alive_ms(300_000, &["w1"]);
    world.expect(&["w1 stop t1: SoftTimeout"]);
    assert_eq!(world.state("t1"), "RUNNING");
}

#[test]
fn s31_the_hard_limit_ends_the_run_voids_its_token_and_asks_the_judge() {
    let timeouts = Timeouts {
        soft_ms: None,
        hard_ms: Some(360_000),
        extend_max_ms: None,
    };
    let mut world = running(NewTask {
        timeouts: Some(timeouts),
        ..new_task("mail")
    });
    world.wait_alive_ms(370_000, &["w1"]);
    world.expect(&[
        "t1: TimedOut, Attempt, again in 10000 ms",
        "w1 stop t1: HardTimeout",
    ]);
    assert_eq!(world.view("t1").task.tally().failures, 1);
    world.report("w1", ("t1", 1), complete());
    world.expect(&["ack t1: superseded"]);
}

#[test]
fn s33_the_next_run_gets_the_remaining_items_or_the_checkpoint() {
    let mut world = running(new_task("mail"));
    let part = |text: &'static str| Payload {
        data: text.into(),
        content_type: None,
    };
    let outcome = ReportOutcome::Retry {
        failure: Failure::new(FailureClass::Timeout, "soft limit"),
        start: Some(Start::After { delay_ms: 60_000 }),
        payload: Some(part("[7,8,9]")),
        max_attempts: None,
    };
    let mut report = world.report_of(("t1", 1), outcome);
    report.content.as_mut().unwrap().checkpoint = Some(part("6 of 9"));
    world.say("w1", FromWorker::Reports(vec![report]));
    world.wait_alive_ms(60_000, &["w1"]);
    let delivery = &world.deliveries[&("t1".to_owned(), 2)];
    assert_eq!(
        (&delivery.payload, delivery.checkpoint.as_ref()),
        (&part("[7,8,9]"), Some(&part("6 of 9")))
    );
}

#[test]
fn s34_limits_given_at_enqueue_hold_for_the_very_first_run() {
    let timeouts = Timeouts {
        soft_ms: Some(300_000),
        hard_ms: Some(360_000),
        extend_max_ms: None,
    };
    let world = running(NewTask {
        timeouts: Some(timeouts),
        ..new_task("mail")
    });
    let delivered = world.deliveries[&("t1".to_owned(), 1)].timeouts;
    assert_eq!(
        (delivered.soft_ms, delivered.hard_ms),
        (Some(300_000), Some(360_000))
    );
}

#[test]
fn s35_a_timeout_is_judged_by_the_rules_for_timeouts() {
    let timeouts = Timeouts {
        soft_ms: None,
        hard_ms: Some(30_000),
        extend_max_ms: None,
    };
    let task = NewTask {
        policy: Some(named("recommended")),
        timeouts: Some(timeouts),
        ..new_task("mail")
    };
    let mut world = running(task);
    world.wait_alive_ms(40_000, &["w1"]);
    let task = world.view("t1").task;
    let side = task.side.unwrap();
    assert_eq!(
        side.history.runs().next().unwrap().rule.as_deref(),
        Some("timeout")
    );
}

#[test]
fn s36_new_limits_reach_the_running_attempt() {
    let mut world = running(new_task("mail"));
    let id = world.id("t1");
    let timeouts = Timeouts {
        soft_ms: Some(1000),
        hard_ms: Some(2000),
        extend_max_ms: None,
    };
    let Ok(Answer::Task(view)) = world.call(update(id, timeouts)) else {
        panic!("not updated");
    };
    assert_eq!(view.timeouts, timeouts);
    world.expect(&["t1: edited", "w1 limits t1: Some(1000) Some(2000)"]);
    world.wait_ms(1000);
    world.expect(&["w1 stop t1: SoftTimeout"]);
}

#[test]
fn s38_a_spent_task_is_dead_and_not_succeeded() {
    let mut world = running(NewTask {
        max_attempts: Some(1),
        ..new_task("mail")
    });
    world.report("w1", ("t1", 1), fail());
    assert_eq!(world.state("t1"), "DEAD");
}

#[test]
fn b8_limits_grow_with_every_timeout_and_start_again_after_a_redrive() {
    let timeouts = Timeouts {
        soft_ms: None,
        hard_ms: Some(30_000),
        extend_max_ms: None,
    };
    let task = NewTask {
        policy: Some(named("recommended")),
        timeouts: Some(timeouts),
        ..new_task("mail")
    };
    let mut world = running(task);
    let timed_out = || ReportOutcome::Retry {
        failure: Failure::new(FailureClass::Timeout, "over the hard limit"),
        start: Some(Start::After { delay_ms: 0 }),
        payload: None,
        max_attempts: None,
    };
    let mut limits = Vec::new();
    for run in 1..=5 {
        limits.push(
            world.deliveries[&("t1".to_owned(), run)]
                .timeouts
                .hard_ms
                .unwrap(),
        );
        world.report("w1", ("t1", run), timed_out());
    }
    assert_eq!(limits, [30_000, 45_000, 67_500, 101_250, 120_000]);
    world.report("w1", ("t1", 6), timed_out());
    let id = world.id("t1");
    world.call(redrive(id, 0)).unwrap();
    assert_eq!(
        world.deliveries[&("t1".to_owned(), 7)].timeouts.hard_ms,
        Some(30_000)
    );
}

#[test]
fn p2_a_task_is_gone_only_when_its_end_is_recorded() {
    let mut world = running(new_task("mail"));
    assert_eq!(world.state("t1"), "RUNNING");
    world.restart();
    assert_eq!(
        world.state("t1"),
        "RUNNING",
        "delivered and begun is not done"
    );
    world.resume("w1", &["mail"], 1, &[("t1", 1)]);
    world.report("w1", ("t1", 1), complete());
    world.restart();
    assert_eq!(world.state("t1"), "SUCCEEDED");
}

#[test]
fn p3_a_task_that_kills_its_workers_is_quarantined_after_three_and_burns_no_attempt() {
    let mut world = World::new();
    world.enqueue("t1", "mail");
    for run in 1..=3 {
        let worker = format!("w{run}");
        world.hello(&worker, &["mail"], 1);
        world.wait_ms(2000);
        world.begin(&worker);
        world.wait_ms(32_000);
    }
    let task = world.view("t1").task;
    assert!(
        matches!(task.state, State::Dead { reason, .. } if reason.name() == "CRASHES_EXHAUSTED")
    );
    assert_eq!((task.tally().crashes, task.tally().failures), (3, 0));
}
