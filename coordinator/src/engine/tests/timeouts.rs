//! Scripts of time limits: soft, hard, changed while running.

use super::world::{World, complete, fail, new_task, update};
use crate::engine::command::{Call, NewTask};
use crate::engine::ledger::history::RunOutcome;
use crate::engine::ledger::task::Timeouts;

fn limited(soft_ms: u64, hard_ms: u64) -> NewTask {
    let timeouts = Timeouts {
        soft_ms: Some(soft_ms),
        hard_ms: Some(hard_ms),
        extend_max_ms: None,
    };
    NewTask {
        timeouts: Some(timeouts),
        ..new_task("mail")
    }
}

fn running(task: NewTask) -> World {
    let mut world = World::new();
    world.enqueue_as("t1", task);
    world.hello("w1", &["mail"], 1);
    world.begin("w1");
    world.quiet();
    world
}

#[test]
fn the_worker_is_reminded_at_the_soft_limit_and_overruled_ten_seconds_after_the_hard_one() {
    let mut world = running(limited(300_000, 360_000));
    world.wait_alive_ms(299_999, &["w1"]);
    world.expect(&[]);
    world.wait_ms(1);
    world.expect(&["ping w1", "w1 stop t1: SoftTimeout"]);
    world.wait_alive_ms(69_999, &["w1"]);
    world.expect(&[]);
    world.wait_ms(1);
    world.expect(&[
        "t1: TimedOut, Attempt, again in 10000 ms",
        "ping w1",
        "w1 stop t1: HardTimeout",
    ]);
    let side = world.view("t1").task.side.unwrap();
    assert_eq!(
        side.history.runs().next().unwrap().outcome,
        RunOutcome::TimedOut
    );
    world.report("w1", ("t1", 1), complete());
    world.expect(&["ack t1: superseded"]);
}

#[test]
fn limits_count_from_the_start_and_not_from_the_delivery() {
    let mut world = World::new();
    world.enqueue_as("t1", limited(1000, 2000));
    world.hello("w1", &["mail"], 1);
    world.wait_alive_ms(10_000, &["w1"]);
    world.begin("w1");
    world.quiet();
    world.wait_ms(999);
    world.expect(&[]);
    world.wait_ms(1);
    world.expect(&["w1 stop t1: SoftTimeout"]);
}

#[test]
fn limits_of_the_queue_hold_for_tasks_that_bring_none() {
    use crate::engine::command::QueueChange;
    let mut world = World::new();
    let queue = crate::engine::ids::QueueName::new("default", "mail").unwrap();
    let timeouts = Timeouts {
        soft_ms: None,
        hard_ms: Some(5000),
        extend_max_ms: None,
    };
    let change = QueueChange {
        timeouts: Some(Some(timeouts)),
        ..QueueChange::default()
    };
    world.call(Call::ConfigureQueue { queue, change }).unwrap();
    world.enqueue("t1", "mail");
    world.enqueue_as("t2", limited(1, 2));
    world.hello("w1", &["mail"], 2);
    assert_eq!(world.deliveries[&("t1".to_owned(), 1)].timeouts, timeouts);
    assert_eq!(
        world.deliveries[&("t2".to_owned(), 1)].timeouts.hard_ms,
        Some(2)
    );
}

#[test]
fn new_limits_hold_for_the_running_attempt_at_once() {
    let mut world = running(limited(300_000, 360_000));
    world.wait_alive_ms(10_000, &["w1"]);
    let timeouts = Timeouts {
        soft_ms: Some(12_000),
        hard_ms: Some(14_000),
        extend_max_ms: None,
    };
    let id = world.id("t1");
    world.call(update(id, timeouts)).unwrap();
    world.expect(&["t1: edited", "w1 limits t1: Some(12000) Some(14000)"]);
    world.wait_ms(2000);
    world.expect(&["w1 stop t1: SoftTimeout"]);
    world.wait_alive_ms(12_000, &["w1"]);
    world.expect(&[
        "t1: TimedOut, Attempt, again in 10000 ms",
        "w1 stop t1: HardTimeout",
    ]);
}

#[test]
fn limits_taken_away_never_end_the_run() {
    let mut world = running(limited(3000, 6000));
    let id = world.id("t1");
    world.call(update(id, Timeouts::default())).unwrap();
    world.quiet();
    world.wait_alive_ms(100_000, &["w1"]);
    world.expect(&[]);
    assert_eq!(world.state("t1"), "RUNNING");
}

#[test]
fn a_run_that_ended_rings_no_alarm() {
    let mut world = running(limited(3000, 6000));
    world.report("w1", ("t1", 1), fail());
    world.quiet();
    world.wait_ms(5000);
    world.expect(&["ping w1"]);
}

#[test]
fn hard_limits_are_not_paused_by_a_broken_stream() {
    let mut world = running(limited(3000, 6000));
    world.cut("w1");
    world.wait_ms(16_000);
    world.expect(&["t1: TimedOut, Attempt, again in 10000 ms"]);
}
