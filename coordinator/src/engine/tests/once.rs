//! Scripts of tasks that are delivered at most once: what returns, and what is a dead letter because
//! nobody knows whether its handler did its work.

use super::world::{
    World, cancel, fail, fail_with, inline, new_task, once, plain_policy, queue, redrive,
};
use crate::engine::command::{FromWorker, NewTask, QueueChange, ReportOutcome};
use crate::engine::failure::{Failure, FailureClass};
use crate::engine::ledger::history::RunOutcome;
use crate::engine::ledger::kind::KindSettings;
use crate::engine::ledger::task::Timeouts;
use crate::engine::ledger::terms::{DeliveryMode, Source, Terms};
use crate::engine::retry::Policy;
use crate::engine::retry::policy::ExhaustAction;

/// t1 is with w1, which is not known to have begun.
fn delivered() -> World {
    let mut world = World::new();
    world.enqueue_as("t1", once());
    world.hello("w1", &["mail"], 1);
    world.quiet();
    world
}

fn mode(mode: DeliveryMode) -> Box<Terms> {
    Box::new(Terms {
        delivery: Some(mode),
        ..Terms::default()
    })
}

fn lost(world: &mut World) {
    assert_eq!(world.dead_because("t1"), "LEASE_LOST");
    world.hello("w9", &["mail"], 1);
    world.wait_alive_ms(100_000, &["w9"]);
    assert_eq!(
        world.view("t1").task.runs(),
        1,
        "it never runs again by itself"
    );
}

#[test]
fn a_worker_that_is_lost_while_it_runs_the_task_leaves_a_dead_letter() {
    let mut world = World::running(once());
    world.wait_ms(30_000);
    world.expect(&[
        "ping w1",
        "ping w1",
        "ping w1",
        "ping w1",
        "ping w1",
        "t1: dead, LEASE_LOST",
        "close w1",
    ]);
    assert_eq!(world.last_run("t1").outcome, RunOutcome::Crashed);
    lost(&mut world);
}

#[test]
fn a_worker_that_is_lost_before_it_is_known_to_have_begun_leaves_a_dead_letter() {
    let mut world = delivered();
    world.wait_ms(30_000);
    assert_eq!(world.last_run("t1").outcome, RunOutcome::Unstarted);
    lost(&mut world);
}

#[test]
fn a_run_over_its_hard_limit_that_its_worker_does_not_report_is_a_dead_letter() {
    let mut world = World::running(NewTask {
        timeouts: Some(Timeouts {
            hard_ms: Some(5000),
            ..Timeouts::default()
        }),
        ..once()
    });
    world.wait_alive_ms(14_999, &["w1"]);
    world.expect(&[]);
    world.wait_alive_ms(1, &["w1"]);
    world.expect(&["t1: dead, LEASE_LOST", "w1 stop t1: HardTimeout"]);
    lost(&mut world);
}

#[test]
fn a_lease_without_a_stream_that_lapses_is_a_dead_letter() {
    let mut world = World::running_unary(once());
    world.wait_ms(30_000);
    world.expect(&["t1: dead, LEASE_LOST"]);
    lost(&mut world);
}

#[test]
fn a_task_that_its_holder_gives_back_returns() {
    let mut world = World::running(once());
    let outcome = ReportOutcome::Release { reason: "".into() };
    world.report("w1", ("t1", 1), outcome);
    world.expect(&[
        "t1: Released, Deferral, again in 0 ms",
        "ack t1: recorded",
        "w1 gets t1#2",
    ]);
}

#[test]
fn a_task_that_never_arrived_returns_when_its_worker_comes_back_without_it() {
    let mut world = delivered();
    world.cut("w1");
    world.wait_ms(5000);
    world.resume("w1", &["mail"], 1, &[]);
    world.expect(&["t1: Released, Deferral, again in 0 ms", "w1 gets t1#2"]);
}

#[test]
fn a_task_that_had_begun_is_a_dead_letter_when_its_worker_comes_back_without_it() {
    let mut world = World::running(once());
    world.cut("w1");
    world.wait_ms(28_000);
    world.resume("w1", &["mail"], 1, &[]);
    world.expect(&["t1: dead, LEASE_LOST"]);
    lost(&mut world);
}

#[test]
fn a_task_that_waited_in_the_buffer_of_a_worker_that_comes_back_without_it_is_a_dead_letter() {
    let mut world = delivered();
    let receipt = FromWorker::Receipt {
        through: 1,
        buffered: vec![1],
    };
    world.say("w1", receipt);
    world.cut("w1");
    world.resume("w1", &["mail"], 1, &[]);
    world.expect(&["t1: dead, LEASE_LOST"]);
}

#[test]
fn a_worker_that_was_silent_long_enough_to_give_up_its_runs_shows_nothing_by_not_listing_one() {
    // The receipt is lost with the stream; the worker begins, and stops after 25 s of silence.
    let mut world = delivered();
    world.cut("w1");
    world.wait_ms(26_000);
    world.resume("w1", &["mail"], 1, &[]);
    world.expect(&["t1: dead, LEASE_LOST"]);
}

#[test]
fn what_is_given_back_by_those_who_say_goodbye_returns() {
    let mut world = delivered();
    world.say("w1", FromWorker::Goodbye);
    world.expect(&["t1: Released, Deferral, again in 0 ms", "close w1"]);
}

#[test]
fn a_failure_that_is_reported_is_judged_as_always() {
    let mut world = World::running(once());
    world.report("w1", ("t1", 1), fail());
    world.wait_alive_ms(10_000, &["w1"]);
    let timed_out = Failure::new(FailureClass::Timeout, "over the hard limit");
    world.report("w1", ("t1", 2), fail_with(timed_out));
    world.expect(&[
        "t1: Failed, Attempt, again in 10000 ms",
        "ack t1: recorded",
        "w1 gets t1#2",
        "t1: Failed, Attempt, again in 10000 ms",
        "ack t1: recorded",
    ]);
}

#[test]
fn a_deferral_that_is_reported_is_judged_as_always() {
    let mut world = World::running(once());
    let outcome = ReportOutcome::Defer {
        delay_ms: 5000,
        reason: "".into(),
        payload: None,
    };
    world.report("w1", ("t1", 1), outcome);
    world.expect(&[
        "t1: Deferred, Deferral, again in 5000 ms",
        "ack t1: recorded",
    ]);
}

#[test]
fn the_mode_of_the_grant_holds_until_the_lease_ends() {
    for (before, after, dead) in [
        (DeliveryMode::AtMostOnce, DeliveryMode::AtLeastOnce, true),
        (DeliveryMode::AtLeastOnce, DeliveryMode::AtMostOnce, false),
    ] {
        let mut world = World::new();
        let set = |world: &mut World, to| {
            let change = QueueChange {
                terms: Some(Some(mode(to))),
                ..QueueChange::default()
            };
            world.configure("mail", change);
        };
        set(&mut world, before);
        world.enqueue("t1", "mail");
        world.hello("w1", &["mail"], 1);
        world.begin("w1");
        assert_eq!(world.deliveries[&("t1".to_owned(), 1)].delivery, before);
        set(&mut world, after);
        world.restart();
        world.wait_ms(30_000);
        assert_eq!(world.dead_because("t1") == "LEASE_LOST", dead);
    }
}

#[test]
fn the_task_s_own_mode_goes_before_its_kind_s_and_that_before_its_queue_s() {
    let mut world = World::new();
    let change = QueueChange {
        terms: Some(Some(mode(DeliveryMode::AtMostOnce))),
        ..QueueChange::default()
    };
    world.configure("mail", change);
    world.enqueue("t1", "mail");
    let effective = |world: &mut World, task: &str| world.view(task).effective.delivery;
    let (most, least) = (DeliveryMode::AtMostOnce, DeliveryMode::AtLeastOnce);
    assert_eq!(effective(&mut world, "t1"), (most, Source::Queue));
    world.set_kind(KindSettings {
        terms: Some(mode(least)),
        ..KindSettings::default()
    });
    assert_eq!(effective(&mut world, "t1"), (least, Source::Kind));
    world.enqueue_as("t2", once());
    assert_eq!(effective(&mut world, "t2"), (most, Source::Task));
}

#[test]
fn a_restart_makes_a_dead_letter_of_what_does_not_come_back() {
    let mut world = World::running(once());
    world.restart();
    world.wait_ms(29_999);
    assert_eq!(world.state("t1"), "RUNNING");
    world.wait_ms(1);
    lost(&mut world);
    let mut world = delivered();
    world.restart();
    world.wait_ms(30_000);
    lost(&mut world);
    let mut world = World::running_unary(once());
    world.restart();
    world.wait_ms(30_000);
    lost(&mut world);
}

#[test]
fn a_worker_that_comes_back_after_a_restart_goes_on_or_shows_nothing_by_not_listing_it() {
    let mut world = World::running(once());
    world.restart();
    world.resume("w1", &["mail"], 1, &[("t1", 1)]);
    assert_eq!(world.state("t1"), "RUNNING");
    let mut world = World::running(once());
    world.restart();
    world.resume("w1", &["mail"], 1, &[]);
    world.expect(&["t1: dead, LEASE_LOST"]);
    let mut world = delivered();
    world.now = world.now.plus_ms(25_000);
    world.restart();
    world.resume("w1", &["mail"], 1, &[]);
    world.expect(&["t1: dead, LEASE_LOST"]);
    // Had it arrived so short a time ago, it would be listed.
    let mut world = delivered();
    world.now = world.now.plus_ms(24_999);
    world.restart();
    world.resume("w1", &["mail"], 1, &[]);
    world.expect(&["t1: Released, Deferral, again in 0 ms", "w1 gets t1#2"]);
}

#[test]
fn a_lost_task_runs_again_when_somebody_says_so() {
    let mut world = World::running(once());
    world.wait_ms(30_000);
    let id = world.id("t1");
    world.call(redrive(id, 0)).unwrap();
    world.hello("w2", &["mail"], 1);
    assert_eq!(world.view("t1").task.runs(), 2);
    assert_eq!(
        world.deliveries[&("t1".to_owned(), 2)].delivery,
        DeliveryMode::AtMostOnce
    );
}

#[test]
fn a_lost_task_whose_cancel_was_asked_for_is_cancelled() {
    let mut world = World::running(once());
    let id = world.id("t1");
    world.call(cancel(id, "")).unwrap();
    world.wait_ms(30_000);
    assert_eq!(world.state("t1"), "CANCELLED");
}

#[test]
fn a_lost_task_is_a_dead_letter_whatever_becomes_of_spent_ones_and_goes_where_they_go() {
    let policy = Policy {
        on_exhausted: ExhaustAction::Discard,
        max_crashes: 0,
        ..plain_policy(0)
    };
    let mut world = World::running(NewTask {
        policy: Some(inline(policy)),
        ..once()
    });
    world.wait_ms(30_000);
    lost(&mut world);
    let mut world = World::new();
    let change = QueueChange {
        dead_letter_queue: Some(Some(queue("graveyard"))),
        ..QueueChange::default()
    };
    world.configure("mail", change);
    world.enqueue_as("t1", once());
    world.hello("w1", &["mail"], 1);
    world.quiet();
    world.wait_ms(29_999);
    world.quiet();
    world.wait_ms(1);
    world.expect(&["t1: Routed", "close w1", "arrived in graveyard"]);
}

#[test]
fn a_task_without_the_mode_runs_again_after_all_of_this() {
    let mut world = World::running(new_task("mail"));
    world.cut("w1");
    world.wait_ms(28_000);
    world.resume("w1", &["mail"], 1, &[]);
    world.expect(&["t1: Released, Deferral, again in 0 ms", "w1 gets t1#2"]);
}
