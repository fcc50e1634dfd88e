//! Scripts of settle: what reports mean, and how they are answered.

use super::world::{World, complete, fail, fail_with, report_with};
use crate::engine::command::{FromWorker, Malformed, Report, ReportOutcome, Start};
use crate::engine::failure::{Failure, FailureClass};
use crate::engine::ids::LeaseToken;
use crate::engine::ledger::history::RunOutcome;
use crate::engine::ledger::task::{Payload, State};

fn working() -> World {
    let mut world = World::new();
    world.enqueue("t1", "mail");
    world.hello("w1", &["mail"], 1);
    world.begin("w1");
    world.quiet();
    world
}

fn payload(text: &'static str) -> Payload {
    Payload {
        data: text.into(),
        content_type: None,
    }
}

#[test]
fn a_completed_task_keeps_its_result_and_its_label() {
    let mut world = working();
    let result = Some(payload("42"));
    let outcome = ReportOutcome::Complete {
        result,
        label: Some("insufficient_funds".into()),
    };
    world.report("w1", ("t1", 1), outcome);
    world.expect(&["t1: Succeeded", "ack t1: recorded"]);
    let view = world.view("t1");
    let State::Finished(finished) = &view.task.state else {
        panic!("not finished")
    };
    assert_eq!(finished.result, Some(payload("42")));
    assert_eq!(finished.label.as_deref(), Some("insufficient_funds"));
}

#[test]
fn a_failed_task_runs_again_after_its_backoff_until_its_attempts_are_spent() {
    let mut world = working();
    world.report("w1", ("t1", 1), fail());
    world.expect(&["t1: Failed, Attempt, again in 10000 ms", "ack t1: recorded"]);
    assert_eq!(world.state("t1"), "RETRYING");
    world.wait_alive_ms(9999, &["w1"]);
    world.expect(&[]);
    world.wait_ms(1);
    world.quiet();
    world.report("w1", ("t1", 2), fail());
    world.wait_alive_ms(10_000, &["w1"]);
    world.quiet();
    world.report("w1", ("t1", 3), fail());
    world.expect(&["t1: dead, ATTEMPTS_EXHAUSTED", "ack t1: recorded"]);
}

#[test]
fn runs_are_numbered_over_the_whole_life_and_attempts_by_failures() {
    let mut world = working();
    let release = || ReportOutcome::Release { reason: "".into() };
    world.report("w1", ("t1", 1), release());
    world.report("w1", ("t1", 2), fail());
    world.wait_alive_ms(10_000, &["w1"]);
    assert_eq!(world.deliveries[&("t1".into(), 3)].attempt, 2);
    world.report("w1", ("t1", 3), release());
    let view = world.view("t1");
    let side = view.task.side.unwrap();
    let runs: Vec<_> = side
        .history
        .runs()
        .map(|run| (run.run, run.attempt, run.outcome))
        .collect();
    let (failed, released) = (RunOutcome::Failed, RunOutcome::Released);
    assert_eq!(runs, [(1, 1, released), (2, 1, failed), (3, 2, released)]);
}

#[test]
fn a_report_sent_twice_is_recorded_once() {
    let mut world = working();
    world.report("w1", ("t1", 1), complete());
    world.report("w1", ("t1", 1), complete());
    world.expect(&["t1: Succeeded", "ack t1: recorded", "ack t1: duplicate"]);
}

/// I13: a run is settled once.
#[test]
fn a_failure_sent_twice_burns_one_attempt() {
    let mut world = working();
    world.report("w1", ("t1", 1), fail());
    world.report("w1", ("t1", 1), fail());
    world.expect(&[
        "t1: Failed, Attempt, again in 10000 ms",
        "ack t1: recorded",
        "ack t1: duplicate",
    ]);
    assert_eq!(world.view("t1").task.tally().failures, 1);
}

#[test]
fn a_report_that_contradicts_the_recorded_one_is_superseded() {
    let mut world = working();
    world.report("w1", ("t1", 1), fail());
    world.report("w1", ("t1", 1), complete());
    world.expect(&[
        "t1: Failed, Attempt, again in 10000 ms",
        "ack t1: recorded",
        "ack t1: superseded",
    ]);
    assert_eq!(world.state("t1"), "RETRYING");
}

#[test]
fn a_forged_token_changes_nothing() {
    let mut world = working();
    let token = world.token("t1", 1);
    let forged = LeaseToken {
        nonce: token.nonce ^ 1,
        ..token
    };
    world.say(
        "w1",
        FromWorker::Reports(vec![report_with(forged, complete())]),
    );
    world.expect(&["ack t1: superseded"]);
    assert_eq!(world.state("t1"), "RUNNING");
}

#[test]
fn a_token_of_a_forgotten_task_is_gone_for_those_who_did_not_end_it() {
    let mut world = World::with(|config| config.finished_retention_ms = 1000);
    world.enqueue("t1", "mail");
    world.hello("w1", &["mail"], 1);
    world.report("w1", ("t1", 1), complete());
    world.wait_ms(2000);
    world.say("w1", FromWorker::Goodbye);
    world.hello("w1", &["mail"], 1);
    world.quiet();
    world.report("w1", ("t1", 1), complete());
    world.expect(&["ack t1: gone"]);
}

#[test]
fn one_bad_report_fails_alone_and_its_lease_stands() {
    let mut world = World::new();
    world.enqueue("t1", "mail");
    world.enqueue("t2", "mail");
    world.hello("w1", &["mail"], 2);
    world.quiet();
    let mut bad = world.report_of(("t1", 1), complete());
    let field = "reports[0].complete.result".to_owned();
    let problem = "has 300000 bytes, at most 262144 are allowed".to_owned();
    bad.content = Err(Malformed { field, problem });
    let good = world.report_of(("t2", 1), complete());
    world.say("w1", FromWorker::Reports(vec![bad, good]));
    world.expect(&[
        "t2: Succeeded",
        "ack t1: invalid, reports[0].complete.result has 300000 bytes, at most 262144 are allowed",
        "ack t2: recorded",
    ]);
    world.report("w1", ("t1", 1), fail());
    world.expect(&["t1: Failed, Attempt, again in 10000 ms", "ack t1: recorded"]);
}

#[test]
fn bytes_that_are_no_token_at_all_are_told_so() {
    let mut world = working();
    let problem = "is no token of this coordinator".to_owned();
    let content = Err(Malformed {
        field: "reports[0].lease_token".to_owned(),
        problem,
    });
    world.say(
        "w1",
        FromWorker::Reports(vec![Report {
            raw_token: "nonsense".into(),
            content,
        }]),
    );
    world.expect(&["ack ?: invalid, reports[0].lease_token is no token of this coordinator"]);
}

#[test]
fn a_retry_with_a_chosen_delay_waits_exactly_that_and_burns_an_attempt() {
    let mut world = working();
    let retry = |start| ReportOutcome::Retry {
        failure: super::world::failure(),
        start,
        payload: None,
        max_attempts: None,
    };
    world.report(
        "w1",
        ("t1", 1),
        retry(Some(Start::After { delay_ms: 1234 })),
    );
    world.expect(&["t1: Retried, Attempt, again in 1234 ms", "ack t1: recorded"]);
    world.wait_ms(1234);
    world.quiet();
    let at = world.now.plus_ms(777);
    world.report("w1", ("t1", 2), retry(Some(Start::At(at))));
    world.expect(&["t1: Retried, Attempt, again in 777 ms", "ack t1: recorded"]);
    world.wait_ms(777);
    world.quiet();
    world.report("w1", ("t1", 3), retry(Some(Start::After { delay_ms: 0 })));
    world.expect(&["t1: dead, ATTEMPTS_EXHAUSTED", "ack t1: recorded"]);
}

#[test]
fn a_retry_can_replace_the_payload_and_the_attempts() {
    let mut world = working();
    let retry = ReportOutcome::Retry {
        failure: super::world::failure(),
        start: Some(Start::After { delay_ms: 0 }),
        payload: Some(payload("the remaining items")),
        max_attempts: Some(9),
    };
    world.report("w1", ("t1", 1), retry);
    let delivery = &world.deliveries[&("t1".to_owned(), 2)];
    assert_eq!(delivery.payload, payload("the remaining items"));
    assert_eq!((delivery.attempt, delivery.attempts_max), (2, 9));
}

#[test]
fn a_deferral_burns_no_attempt_and_waits_as_asked() {
    let mut world = working();
    let reason = "maintenance until six".into();
    world.report(
        "w1",
        ("t1", 1),
        ReportOutcome::Defer {
            delay_ms: 60_000,
            reason,
            payload: None,
        },
    );
    world.expect(&[
        "t1: Deferred, Deferral, again in 60000 ms",
        "ack t1: recorded",
    ]);
    let view = world.view("t1");
    assert_eq!(
        (
            view.task.tally().failures,
            view.task.tally().deferrals,
            view.task.attempt()
        ),
        (0, 1, 1)
    );
    let side = view.task.side.unwrap();
    let note = side.history.runs().next().unwrap().note.clone();
    assert_eq!(note.as_deref(), Some("maintenance until six"));
}

#[test]
fn a_released_task_goes_to_somebody_else_at_once() {
    let mut world = working();
    world.hello("w2", &["mail"], 1);
    let capacity = crate::engine::command::Capacity::default();
    world.say("w1", FromWorker::Capacity(capacity));
    world.report(
        "w1",
        ("t1", 1),
        ReportOutcome::Release {
            reason: "draining".into(),
        },
    );
    world.expect(&[
        "t1: Released, Deferral, again in 0 ms",
        "ack t1: recorded",
        "w2 gets t1#2",
    ]);
}

#[test]
fn a_discarded_task_is_over_without_a_result() {
    let mut world = working();
    world.report(
        "w1",
        ("t1", 1),
        ReportOutcome::Discard {
            reason: "stale".into(),
        },
    );
    world.expect(&["t1: Discarded", "ack t1: recorded"]);
    assert_eq!(world.state("t1"), "DISCARDED");
}

#[test]
fn what_a_run_leaves_reaches_the_next_one() {
    let mut world = working();
    let mut failure = Failure::new(FailureClass::Network, "connection reset");
    failure.stack = "at line 7".into();
    let mut report = world.report_of(("t1", 1), fail_with(failure));
    report.content.as_mut().unwrap().checkpoint = Some(payload("half done"));
    world.say("w1", FromWorker::Reports(vec![report]));
    world.wait_alive_ms(10_000, &["w1"]);
    let delivery = &world.deliveries[&("t1".to_owned(), 2)];
    let failure = delivery.previous_failure.as_ref().unwrap();
    assert_eq!(
        (&*failure.message, &*failure.stack),
        ("connection reset", "at line 7")
    );
    assert_eq!(delivery.checkpoint, Some(payload("half done")));
}

#[test]
fn a_failure_of_the_class_worker_lost_is_judged_as_a_crash() {
    let mut world = working();
    let killed = Failure::new(
        FailureClass::WorkerLost,
        "the process was killed by signal 9",
    );
    world.report("w1", ("t1", 1), fail_with(killed));
    world.expect(&["t1: Crashed, Crash, again in 1000 ms", "ack t1: recorded"]);
    let view = world.view("t1");
    assert_eq!(
        (view.task.tally().failures, view.task.tally().crashes),
        (0, 1)
    );
}

#[test]
fn a_report_before_the_receipt_implies_that_the_run_began() {
    let mut world = World::new();
    world.enqueue("t1", "mail");
    world.hello("w1", &["mail"], 1);
    world.quiet();
    world.report("w1", ("t1", 1), complete());
    world.expect(&["t1: Succeeded", "ack t1: recorded"]);
}

#[test]
fn who_waits_for_the_end_is_told_when_it_comes() {
    use crate::engine::command::Call;
    use crate::engine::effect::Answer;
    let mut world = working();
    let id = world.id("t1");
    let request = world.call_later(Call::WaitTask {
        task: id.into(),
        timeout_ms: 60_000,
    });
    assert!(!world.replies.contains_key(&request));
    world.report("w1", ("t1", 1), complete());
    let Some(Ok(Answer::Waited { ended, task })) = world.replies.remove(&request) else {
        panic!("the wait is answered");
    };
    assert!(ended && task.state.name() == "SUCCEEDED");
    let again = world.call(Call::WaitTask {
        task: id.into(),
        timeout_ms: 60_000,
    });
    assert!(
        matches!(again, Ok(Answer::Waited { ended: true, .. })),
        "at once when it is over"
    );
}

#[test]
fn a_wait_is_over_when_its_time_is() {
    use crate::engine::command::Call;
    use crate::engine::effect::Answer;
    let mut world = working();
    let id = world.id("t1");
    let request = world.call_later(Call::WaitTask {
        task: id.into(),
        timeout_ms: 3000,
    });
    world.wait_ms(2999);
    assert!(!world.replies.contains_key(&request));
    world.wait_ms(1);
    let reply = world.replies.remove(&request);
    assert!(matches!(
        reply,
        Some(Ok(Answer::Waited { ended: false, .. }))
    ));
}
