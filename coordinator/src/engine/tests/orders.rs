//! Scripts of cancel in its three modes: what an order means in each state, and for how long.

use super::world::{START, World, cancel, cancel_as, complete, fail, new_task, redrive};
use crate::engine::command::{Call, CancelMode, NewTask, Start};
use crate::engine::effect::{Answer, Extension};
use crate::engine::ledger::history::RunOutcome;
use crate::engine::rejection::Rejection;

const ALL_MODES: [CancelMode; 4] = [
    CancelMode::IfWaiting,
    CancelMode::Cooperative { grace_ms: None },
    within(5000),
    CancelMode::Force,
];

const fn within(grace_ms: u64) -> CancelMode {
    CancelMode::Cooperative {
        grace_ms: Some(grace_ms),
    }
}

/// Cancels t1; answers whether it is over.
fn order(world: &mut World, mode: CancelMode) -> Result<bool, Rejection> {
    let id = world.id("t1");
    let answer = world.call_by("ann@desk", cancel_as(id, "not needed", mode))?;
    let Answer::Cancelled { over, task } = answer else {
        panic!("not answered: {answer:?}")
    };
    assert_eq!(over, task.state.name() == "CANCELLED");
    Ok(over)
}

fn running() -> World {
    World::running(new_task("mail"))
}

fn later() -> NewTask {
    NewTask {
        start: Start::After { delay_ms: 60_000 },
        ..new_task("mail")
    }
}

fn is_wrong_state(refused: &Result<bool, Rejection>, wanted: &str) -> bool {
    matches!(refused, Err(Rejection::WrongState { state, .. }) if *state == wanted)
}

#[test]
fn whatever_waits_is_cancelled_at_once_in_every_mode_and_never_runs() {
    for mode in ALL_MODES {
        let mut scheduled = World::new();
        scheduled.enqueue_as("t1", later());
        let mut ready = World::new();
        ready.enqueue("t1", "mail");
        let mut retrying = running();
        retrying.report("w1", ("t1", 1), fail());
        retrying.cut("w1");
        for (mut world, state) in [
            (scheduled, "SCHEDULED"),
            (ready, "READY"),
            (retrying, "RETRYING"),
        ] {
            assert_eq!(world.state("t1"), state);
            assert_eq!(order(&mut world, mode), Ok(true));
            world.restart();
            world.hello("w2", &["mail"], 1);
            world.wait_alive_ms(120_000, &["w2"]);
            world.expect(&[]);
            assert_eq!(world.state("t1"), "CANCELLED");
        }
    }
}

#[test]
fn what_is_held_is_not_cancelled_where_only_waiting_tasks_are_meant() {
    let mut unstarted = World::new();
    unstarted.enqueue("t1", "mail");
    unstarted.hello("w1", &["mail"], 1);
    for (mut world, state) in [(unstarted, "LEASED"), (running(), "RUNNING")] {
        world.quiet();
        let refused = order(&mut world, CancelMode::IfWaiting);
        assert!(is_wrong_state(&refused, state), "{refused:?}");
        world.expect(&[]);
        assert!(world.acts("t1").is_empty());
        world.report("w1", ("t1", 1), complete());
        assert_eq!(world.state("t1"), "SUCCEEDED");
    }
}

#[test]
fn force_takes_the_lease_away_at_once_whether_its_run_has_begun_or_not() {
    let mut unstarted = World::new();
    unstarted.enqueue("t1", "mail");
    unstarted.hello("w1", &["mail"], 1);
    for mut world in [unstarted, running()] {
        world.enqueue("t2", "mail");
        world.quiet();
        assert_eq!(order(&mut world, CancelMode::Force), Ok(true));
        world.expect(&[
            "t1: cancel requested",
            "t1: Cancelled",
            "w1 stop t1: Revoked",
            "w1 gets t2#1",
        ]);
        assert_eq!(world.last_run("t1").outcome, RunOutcome::Cancelled);
        world.report("w1", ("t1", 1), complete());
        world.expect(&["ack t1: superseded"]);
        assert_eq!(world.state("t1"), "CANCELLED");
    }
}

#[test]
fn a_report_of_a_run_that_was_revoked_does_not_count_whatever_it_says() {
    let mut world = running();
    order(&mut world, CancelMode::Force).unwrap();
    world.quiet();
    world.report("w1", ("t1", 1), fail());
    world.expect(&["ack t1: superseded"]);
    let mut world = running();
    order(&mut world, within(1000)).unwrap();
    world.wait_ms(1000);
    world.quiet();
    world.report("w1", ("t1", 1), fail());
    world.expect(&["ack t1: superseded"]);
}

#[test]
fn what_is_over_or_dead_is_cancelled_in_no_mode() {
    for mode in ALL_MODES {
        let mut world = running();
        world.report("w1", ("t1", 1), complete());
        assert!(is_wrong_state(&order(&mut world, mode), "SUCCEEDED"));
        let mut world = World::running(NewTask {
            max_attempts: Some(1),
            ..new_task("mail")
        });
        world.report("w1", ("t1", 1), fail());
        world.quiet();
        assert!(is_wrong_state(&order(&mut world, mode), "DEAD"));
        world.expect(&[]);
    }
}

#[test]
fn a_handler_has_until_the_end_of_the_grace_exactly() {
    let mut world = running();
    assert_eq!(order(&mut world, within(12_000)), Ok(false));
    world.expect(&["t1: cancel requested", "w1 stop t1: Requested in 12000 ms"]);
    let until = world
        .view("t1")
        .task
        .lease()
        .unwrap()
        .cancel
        .clone()
        .unwrap();
    assert_eq!(until.until, Some(START.plus_ms(12_000)));
    world.wait_alive_ms(11_999, &["w1"]);
    world.expect(&[]);
    assert_eq!(world.state("t1"), "RUNNING");
    world.wait_ms(1);
    world.expect(&["t1: Cancelled", "w1 stop t1: Revoked"]);
}

#[test]
fn a_grace_of_nothing_is_over_at_once() {
    let mut world = running();
    assert_eq!(order(&mut world, within(0)), Ok(true));
    world.expect(&[
        "t1: cancel requested",
        "t1: Cancelled",
        "w1 stop t1: Revoked",
    ]);
}

#[test]
fn success_wins_until_the_grace_is_over_and_every_other_end_is_cancelled() {
    let mut world = running();
    order(&mut world, within(12_000)).unwrap();
    world.wait_alive_ms(11_999, &["w1"]);
    world.report("w1", ("t1", 1), complete());
    assert_eq!(world.state("t1"), "SUCCEEDED");
    world.quiet();
    world.wait_alive_ms(10_000, &["w1"]);
    world.expect(&[]);
    let mut world = running();
    order(&mut world, within(12_000)).unwrap();
    world.report("w1", ("t1", 1), fail());
    assert_eq!(world.state("t1"), "CANCELLED");
}

#[test]
fn a_shorter_order_replaces_a_longer_one_and_not_the_reverse() {
    let mut world = running();
    order(&mut world, CancelMode::Cooperative { grace_ms: None }).unwrap();
    order(&mut world, within(20_000)).unwrap();
    order(&mut world, within(10_000)).unwrap();
    world.expect(&[
        "t1: cancel requested",
        "w1 stop t1: Requested",
        "t1: cancel requested",
        "w1 stop t1: Requested in 20000 ms",
        "t1: cancel requested",
        "w1 stop t1: Requested in 10000 ms",
    ]);
    order(&mut world, within(15_000)).unwrap();
    order(&mut world, CancelMode::Cooperative { grace_ms: None }).unwrap();
    world.expect(&[
        "w1 stop t1: Requested in 10000 ms",
        "w1 stop t1: Requested in 10000 ms",
    ]);
    assert_eq!(world.acts("t1").len(), 3);
    world.wait_alive_ms(9999, &["w1"]);
    world.expect(&[]);
    world.wait_alive_ms(1, &["w1"]);
    world.expect(&["t1: Cancelled", "w1 stop t1: Revoked"]);
}

#[test]
fn force_ends_what_was_asked_for_kindly_before() {
    let mut world = running();
    order(&mut world, within(20_000)).unwrap();
    world.quiet();
    assert_eq!(order(&mut world, CancelMode::Force), Ok(true));
    world.expect(&[
        "t1: cancel requested",
        "t1: Cancelled",
        "w1 stop t1: Revoked",
    ]);
}

#[test]
fn a_worker_that_was_away_is_told_how_much_of_the_grace_is_left() {
    let mut world = running();
    world.cut("w1");
    order(&mut world, within(12_000)).unwrap();
    world.expect(&["t1: cancel requested"]);
    world.wait_ms(4000);
    world.resume("w1", &["mail"], 1, &[("t1", 1)]);
    world.expect(&["w1 stop t1: Requested in 8000 ms"]);
    world.wait_alive_ms(7999, &["w1"]);
    world.expect(&[]);
    world.wait_ms(1);
    world.expect(&["t1: Cancelled", "w1 stop t1: Revoked"]);
}

#[test]
fn the_grace_ends_while_the_worker_is_away_and_it_hears_that_it_lost() {
    let mut world = running();
    world.cut("w1");
    order(&mut world, within(5000)).unwrap();
    world.quiet();
    world.wait_ms(5000);
    world.expect(&["t1: Cancelled"]);
    let token = world.token("t1", 1);
    world.resume("w1", &["mail"], 1, &[("t1", 1)]);
    assert_eq!(world.worker("w1").lost, [token]);
}

#[test]
fn an_order_survives_a_restart_with_its_end() {
    let mut world = running();
    order(&mut world, within(12_000)).unwrap();
    world.wait_ms(4000);
    world.restart();
    world.resume("w1", &["mail"], 1, &[("t1", 1)]);
    world.expect(&["w1 stop t1: Requested in 8000 ms"]);
    world.wait_alive_ms(7999, &["w1"]);
    assert_eq!(world.state("t1"), "RUNNING");
    world.quiet();
    world.wait_ms(1);
    world.expect(&["t1: Cancelled", "w1 stop t1: Revoked"]);
}

#[test]
fn an_order_whose_end_passed_while_the_coordinator_was_down_is_carried_out_at_once() {
    let mut world = running();
    order(&mut world, within(5000)).unwrap();
    world.now = world.now.plus_ms(20_000);
    world.restart();
    world.wait_ms(0);
    world.expect(&["t1: Cancelled"]);
}

#[test]
fn a_task_that_was_answered_as_cancelled_never_runs_again_whatever_becomes_of_its_worker() {
    for mode in [
        CancelMode::Cooperative { grace_ms: None },
        within(20_000),
        within(60_000),
        CancelMode::Force,
    ] {
        for restarts in [false, true] {
            let mut world = running();
            order(&mut world, mode).unwrap();
            if restarts {
                world.restart();
            } else {
                world.cut("w1");
            }
            world.wait_ms(100_000);
            assert_eq!(world.state("t1"), "CANCELLED");
            world.hello("w2", &["mail"], 1);
            world.wait_alive_ms(100_000, &["w2"]);
            assert_eq!(world.view("t1").task.runs(), 1);
        }
    }
}

#[test]
fn a_lease_without_a_stream_hears_of_the_order_and_loses_it_at_the_end_of_the_grace() {
    let mut world = World::running_unary(new_task("mail"));
    let token = world.token("t1", 1);
    assert_eq!(order(&mut world, within(12_000)), Ok(false));
    let extend = |world: &mut World| {
        let call = Call::ExtendLeases {
            tokens: vec![Some(token)],
            ttl_ms: 30_000,
            beats: Vec::new(),
        };
        match world.call(call) {
            Ok(Answer::Extended(extensions, _)) => extensions[0],
            other => panic!("not answered: {other:?}"),
        }
    };
    let told = |held, cancel_requested| Extension {
        held,
        cancel_requested,
    };
    world.wait_ms(11_999);
    assert_eq!(extend(&mut world), told(true, true));
    world.quiet();
    world.wait_ms(1);
    world.expect(&["t1: Cancelled"]);
    assert_eq!(extend(&mut world), told(false, false));
    let mut world = World::running_unary(new_task("mail"));
    assert_eq!(order(&mut world, CancelMode::Force), Ok(true));
}

#[test]
fn who_waits_for_the_end_hears_of_it_when_the_lease_is_revoked() {
    let mut world = running();
    let wait = Call::WaitTask {
        task: world.id("t1").into(),
        timeout_ms: 60_000,
    };
    let request = world.call_later(wait);
    order(&mut world, within(5000)).unwrap();
    world.wait_ms(4999);
    assert!(world.replies.is_empty());
    world.wait_ms(1);
    let reply = world.replies.remove(&request);
    assert!(matches!(
        reply,
        Some(Ok(Answer::Waited { ended: true, .. }))
    ));
}

#[test]
fn who_cancelled_and_why_is_kept_with_the_task() {
    let mut world = World::new();
    world.enqueue("t1", "mail");
    order(&mut world, CancelMode::IfWaiting).unwrap();
    assert_eq!(
        world.act_lines("t1"),
        ["CANCEL_REQUESTED by ann@desk: not needed"]
    );
    let mut world = running();
    order(&mut world, within(5000)).unwrap();
    world.restart();
    let lease = world.view("t1").task.lease().unwrap().clone();
    let known = lease.cancel.unwrap();
    assert_eq!((&*known.by, &*known.reason), ("ann@desk", "not needed"));
    world.wait_ms(5000);
    assert_eq!(
        world.act_lines("t1"),
        ["CANCEL_REQUESTED by ann@desk: not needed"]
    );
}

#[test]
fn a_cancelled_task_can_not_be_redriven() {
    let mut world = running();
    order(&mut world, CancelMode::Force).unwrap();
    let id = world.id("t1");
    assert!(world.call(redrive(id, 0)).is_err());
    assert!(world.call(cancel(id, "")).is_err());
}
