//! The traps in the seed: what its users copy and what silently does not work there, each with the
//! Redrive that does. Those about numbers alone are beside the judge (`retry/tests`).

use std::sync::Arc;

use super::world::{
    START, World, complete, fail, fail_with, inline, named, new_task, plain_policy, queue, text,
    with_terms,
};
use crate::engine::command::{NewTask, QueueChange, ReportOutcome, Start};
use crate::engine::effect::{Notice, NoticeKind};
use crate::engine::failure::{Failure, FailureClass};
use crate::engine::ids::TaskId;
use crate::engine::ledger::history::RunOutcome;
use crate::engine::ledger::task::{Outcome, Priority, State, Task, Timeouts};
use crate::engine::ledger::terms::{FollowUps, Template, Terms, Transition};
use crate::engine::retry::Policy;
use crate::engine::retry::policy::{Match, Rule, RuleAction};

/// What `raise self.retry(exc=exc)` says.
fn self_retry(message: &str) -> ReportOutcome {
    ReportOutcome::Retry {
        failure: Failure::new(FailureClass::Network, message),
        start: Some(Start::After { delay_ms: 0 }),
        payload: None,
        max_attempts: None,
    }
}

fn follow_up(kind: &str) -> Box<Template> {
    Box::new(Template {
        queue: Some(queue("review")),
        kind: kind.into(),
        payload: text(""),
        priority: Priority::Normal,
        delay_ms: 0,
        version: 0,
        labels: Vec::new(),
    })
}

/// A task whose failure for good is to be reviewed.
fn reviewed() -> NewTask {
    NewTask {
        max_attempts: Some(3),
        ..with_terms(Terms {
            follow_ups: FollowUps {
                on_exhausted: Some(follow_up("mark_for_review")),
                ..FollowUps::default()
            },
            ..Terms::default()
        })
    }
}

fn tasks_in(world: &World, name: &str) -> Vec<Task> {
    let tasks = world.ledger(0).tasks_after(TaskId::MIN);
    let there = tasks.filter(|task| task.queue == queue(name));
    there.cloned().collect()
}

#[test]
fn s26_on_exhausted_fires_once_where_the_except_clause_is_dead_code() {
    let mut world = World::running(reviewed());
    for run in 1..=3 {
        assert!(tasks_in(&world, "review").is_empty());
        world.report("w1", ("t1", run), self_retry("payments refused"));
    }
    // The report again, as after a lost acknowledgement, and a restart: still one.
    world.report("w1", ("t1", 3), self_retry("payments refused"));
    world.restart();
    let review = tasks_in(&world, "review");
    assert_eq!(review.len(), 1);
    assert_eq!(&*review[0].kind, "mark_for_review");
    let cause = review[0].more().unwrap().cause.unwrap();
    assert_eq!(
        (cause.task, cause.transition),
        (world.id("t1"), Transition::Exhausted)
    );
    // It knows what the original exception was, not only that retries are over.
    let context: serde_json::Value = serde_json::from_slice(&review[0].payload.data).unwrap();
    assert_eq!(context["failure"]["message"], "payments refused");
    assert_eq!(context["reason"], "ATTEMPTS_EXHAUSTED");
    assert_eq!(context["attempts"], 3);
    assert_eq!(context["history"].as_array().unwrap().len(), 3);
}

#[test]
fn s26_on_exhausted_fires_when_no_handler_is_left_to_catch_anything() {
    let mut world = World::running(NewTask {
        policy: Some(inline(Policy {
            max_crashes: 1,
            ..plain_policy(3)
        })),
        ..reviewed()
    });
    world.wait_ms(30_000);
    assert_eq!(world.dead_because("t1"), "CRASHES_EXHAUSTED");
    assert_eq!(tasks_in(&world, "review").len(), 1);
}

#[test]
fn s26_on_exhausted_does_not_fire_while_there_are_attempts_or_after_success() {
    let mut world = World::running(reviewed());
    world.report("w1", ("t1", 1), self_retry("no"));
    world.report("w1", ("t1", 2), complete());
    assert!(tasks_in(&world, "review").is_empty());
    assert_eq!(world.state("t1"), "SUCCEEDED");
}

#[test]
fn s28_nothing_is_released_twice_because_each_run_has_a_fence_of_its_own() {
    // A resource that remembers the highest fence it has seen, as the docs advise.
    let mut world = World::running(new_task("mail"));
    let mut released = Vec::new();
    let mut fences = Vec::new();
    for run in 1..=3 {
        if run > 1 {
            world.wait_alive_ms(10_000, &["w1"]);
        }
        fences.push(world.token("t1", run).fence);
        world.quiet();
        // The cleanup of the final attempt and that of every attempt both report: one counts.
        world.report("w1", ("t1", run), fail());
        world.report("w1", ("t1", run), fail());
        let run = world.last_run("t1");
        released.push((run.run, run.outcome));
    }
    assert!(
        fences.is_sorted_by(|a, b| a < b),
        "the older one can be told"
    );
    assert_eq!(
        released,
        [1, 2, 3].map(|run| (run, RunOutcome::Failed)),
        "one end for each run"
    );
    assert_eq!(world.state("t1"), "DEAD");
    assert_eq!(world.view("t1").task.tally().failures, 3);
}

#[test]
fn s28_a_run_that_lost_its_lease_cannot_release_what_the_next_one_holds() {
    let mut world = World::running(new_task("mail"));
    world.cut("w1");
    world.wait_ms(31_000);
    world.hello("w2", &["mail"], 1);
    world.begin("w2");
    let (older, newer) = (world.token("t1", 1).fence, world.token("t1", 2).fence);
    assert!(older < newer);
    world.resume("w1", &["mail"], 0, &[("t1", 1)]);
    assert_eq!(
        world.worker("w1").lost,
        [world.token("t1", 1)],
        "it is told"
    );
    world.quiet();
    world.report("w1", ("t1", 1), fail());
    world.expect(&["ack t1: superseded"]);
    assert_eq!(world.state("t1"), "RUNNING");
    world.report("w2", ("t1", 2), complete());
    assert_eq!(world.state("t1"), "SUCCEEDED");
}

#[test]
fn s34_limits_asked_for_by_the_running_attempt_hold_for_it_and_in_the_right_order() {
    let mut world = World::running(NewTask {
        timeouts: Some(Timeouts {
            hard_ms: Some(90_000),
            ..Timeouts::default()
        }),
        ..new_task("mail")
    });
    // timeout = 300: soft 300, hard 360; the seed says it the other way round, for a later run.
    let wanted = Timeouts {
        soft_ms: Some(300_000),
        hard_ms: Some(360_000),
        extend_max_ms: None,
    };
    world.beat("w1", ("t1", 1), |beat| beat.timeouts = Some(wanted));
    let held = world.view("t1").timeouts;
    assert_eq!((held.soft_ms, held.hard_ms), (Some(300_000), Some(360_000)));
    world.quiet();
    world.wait_alive_ms(300_000, &["w1"]);
    world.expect(&["w1 stop t1: SoftTimeout"]);
    let inverted = Timeouts {
        soft_ms: Some(360_000),
        hard_ms: Some(300_000),
        extend_max_ms: None,
    };
    world.beat("w1", ("t1", 1), |beat| beat.timeouts = Some(inverted));
    world.expect(&[
        "beat t1: refused, timeouts.hard would be 300000 ms, less than the soft limit of 360000 \
         ms; ask for both",
    ]);
}

#[test]
fn s38_a_spent_task_is_one_record_with_all_that_a_dead_letter_needs() {
    let labels: Vec<(Arc<str>, Arc<str>)> = vec![("tenant".into(), "acme".into())];
    let mut world = World::running(NewTask {
        max_attempts: Some(2),
        payload: text("{\"order\":7}"),
        labels: labels.clone(),
        ..new_task("mail")
    });
    let failure = |message: &str| {
        let mut failure = Failure::new(FailureClass::Network, message);
        failure.error_type = "python:requests.ConnectionError".into();
        failure.stack = "Traceback ..".into();
        failure
    };
    world.report("w1", ("t1", 1), fail_with(failure("first")));
    world.wait_alive_ms(10_000, &["w1"]);
    world.report("w1", ("t1", 2), fail_with(failure("second")));
    world.restart();
    let task = world.view("t1").task;
    let State::Dead { reason, at } = task.state else {
        panic!("not dead, but {:?}", task.state);
    };
    assert_eq!(
        (reason.name(), at),
        ("ATTEMPTS_EXHAUSTED", START.plus_ms(10_000))
    );
    assert_eq!((&*task.kind, task.payload), ("work", text("{\"order\":7}")));
    let side = task.side.unwrap();
    assert_eq!(side.labels, labels);
    let last = side.last_failure.unwrap();
    assert_eq!((&*last.message, &*last.stack), ("second", "Traceback .."));
    let runs: Vec<_> = side.history.runs().collect();
    let messages = runs.iter().map(|run| run.failure.as_ref().unwrap());
    let messages: Vec<&str> = messages.map(|failure| &*failure.message).collect();
    assert_eq!(messages, ["first", "second"]);
    assert!(
        runs.iter()
            .all(|run| &*run.worker == "w1" && run.policy.is_some())
    );
}

fn dead_letters_to(name: &str) -> QueueChange {
    QueueChange {
        dead_letter_queue: Some(Some(queue(name))),
        ..QueueChange::default()
    }
}

#[test]
fn s41_the_dead_letter_queue_catches_failed_tasks_and_not_only_rejected_ones() {
    let spent = [fail(), self_retry("no")];
    let rejected = ReportOutcome::Fail {
        failure: Failure::new(FailureClass::Invalid, "bad input"),
        not_retryable: true,
        retry_after_ms: None,
    };
    for outcome in spent.into_iter().chain([rejected]) {
        let mut world = World::new();
        world.configure("mail", dead_letters_to("graveyard"));
        world.enqueue_as(
            "t1",
            NewTask {
                max_attempts: Some(1),
                ..new_task("mail")
            },
        );
        world.hello("w1", &["mail"], 1);
        world.report("w1", ("t1", 1), outcome);
        let State::Finished(finished) = world.view("t1").task.state else {
            panic!("not over");
        };
        assert_eq!(finished.outcome, Outcome::Routed);
        let caught = tasks_in(&world, "graveyard");
        assert_eq!(caught.len(), 1);
        let side = caught[0].side.as_deref().unwrap();
        assert_eq!(side.origin, Some(world.id("t1")));
        assert!(side.last_failure.is_some());
    }
}

#[test]
fn s41_the_dead_letter_queue_catches_crashed_and_overdue_tasks_too_and_makes_no_circle() {
    let policy = Policy {
        max_crashes: 1,
        ..plain_policy(1)
    };
    let mut world = World::new();
    world.configure("mail", dead_letters_to("graveyard"));
    world.configure("graveyard", dead_letters_to("mail"));
    let task = |timeouts| NewTask {
        policy: Some(inline(policy.clone())),
        timeouts,
        ..new_task("mail")
    };
    world.enqueue_as("t1", task(None));
    world.hello("w1", &["mail"], 1);
    world.begin("w1");
    world.wait_ms(30_000);
    world.hello("w2", &["mail"], 1);
    let limits = Timeouts {
        hard_ms: Some(1000),
        ..Timeouts::default()
    };
    world.enqueue_as("t2", task(Some(limits)));
    world.begin("w2");
    world.wait_alive_ms(11_000, &["w2"]);
    let caught = tasks_in(&world, "graveyard");
    assert_eq!(caught.len(), 2);
    world.call_it("c1", caught[0].id);
    world.hello("undertaker", &["graveyard"], 1);
    world.report("undertaker", ("c1", 1), fail());
    assert_eq!(
        world.state("c1"),
        "DEAD",
        "it was in the other queue before"
    );
    assert!(tasks_in(&world, "mail").iter().all(|task| task.runs() == 1));
}

#[test]
fn s41_a_rule_says_where_its_failures_go() {
    let matches = Match {
        classes: vec![FailureClass::Invalid],
        ..Match::default()
    };
    let rule = Rule {
        dead_letter_queue: Some("bad-input".into()),
        ..Rule::new("invalid", matches, RuleAction::DeadLetter)
    };
    let policy = Policy {
        rules: vec![rule],
        ..plain_policy(1)
    };
    let mut world = World::new();
    world.configure("mail", dead_letters_to("graveyard"));
    world.hello("w1", &["mail"], 1);
    for (task, class) in [("t1", FailureClass::Invalid), ("t2", FailureClass::Network)] {
        let policy = Some(inline(policy.clone()));
        world.enqueue_as(
            task,
            NewTask {
                policy,
                ..new_task("mail")
            },
        );
        world.report("w1", (task, 1), fail_with(Failure::new(class, "no")));
    }
    for (place, task) in [("bad-input", "t1"), ("graveyard", "t2")] {
        let caught = tasks_in(&world, place);
        assert_eq!(caught.len(), 1, "{place}");
        assert_eq!(
            caught[0].side.as_deref().unwrap().origin,
            Some(world.id(task))
        );
    }
}

fn assert_whole(notice: &Notice) {
    assert!(notice.failure.is_some(), "{notice:?}");
    assert_eq!(notice.attempt, 1);
    assert_eq!(notice.worker.as_deref(), Some("w1"));
    assert_eq!(
        (&notice.queue, &*notice.task_kind),
        (&queue("mail"), "work")
    );
    let (at, delay_ms) = (notice.next_attempt_at.unwrap(), notice.delay_ms.unwrap());
    assert_eq!(at, notice.at.plus_ms(delay_ms));
    assert!(notice.run_ms.is_some());
}

#[test]
fn s54_every_notice_of_a_retry_has_all_its_fields_whatever_the_retry_is_about() {
    let limits = Timeouts {
        hard_ms: Some(1000),
        ..Timeouts::default()
    };
    let worker_lost = fail_with(Failure::new(FailureClass::WorkerLost, "killed"));
    let reported = [fail(), self_retry("no"), worker_lost];
    for outcome in reported {
        let mut world = World::running(new_task("mail"));
        world.report("w1", ("t1", 1), outcome);
        let notices = world.noticed(NoticeKind::RetryScheduled);
        assert_eq!(notices.len(), 1);
        assert_whole(notices[0]);
    }
    // Ended by the coordinator: a lost worker, and a hard limit.
    let mut world = World::running(new_task("mail"));
    world.wait_ms(30_000);
    assert_whole(world.noticed(NoticeKind::RetryScheduled)[0]);
    let mut world = World::running(NewTask {
        timeouts: Some(limits),
        ..new_task("mail")
    });
    world.wait_alive_ms(11_000, &["w1"]);
    assert_whole(world.noticed(NoticeKind::RetryScheduled)[0]);
}

#[test]
fn s54_a_cancelled_retry_is_told_as_cancelled_and_not_as_a_retry_with_holes() {
    let mut world = World::running(new_task("mail"));
    let id = world.id("t1");
    world.call(super::world::cancel(id, "")).unwrap();
    world.report("w1", ("t1", 1), self_retry("no"));
    assert!(world.noticed(NoticeKind::RetryScheduled).is_empty());
    let ended = world.noticed(NoticeKind::Ended);
    assert_eq!(ended[0].reason.as_deref(), Some("CANCELLED"));
    assert_eq!(ended[0].worker.as_deref(), Some("w1"));
}

#[test]
fn p1_the_production_block_is_dead_after_at_most_31_seconds() {
    let mut world = World::running(NewTask {
        policy: Some(named("celery-production")),
        ..new_task("mail")
    });
    for run in 1..=6 {
        world.report("w1", ("t1", run), fail());
        if run < 6 {
            world.wait_alive_ms(1000 << (run - 1), &["w1"]);
        }
    }
    assert_eq!(world.dead_because("t1"), "ATTEMPTS_EXHAUSTED");
    assert_eq!(world.now, START.plus_ms(31_000));
    assert_eq!(world.view("t1").task.runs(), 6);
}
