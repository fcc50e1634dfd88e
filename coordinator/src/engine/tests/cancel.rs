//! Scripts of cancel.

use super::world::{World, cancel, complete, fail};
use crate::engine::effect::Answer;
use crate::engine::rejection::Rejection;

fn cancel_it(world: &mut World, task: &str) -> Result<Answer, Rejection> {
    let id = world.id(task);
    world.call(cancel(id, "not needed"))
}

fn running() -> World {
    let mut world = World::new();
    world.enqueue("t1", "mail");
    world.hello("w1", &["mail"], 1);
    world.begin("w1");
    world.quiet();
    world
}

#[test]
fn a_waiting_task_is_cancelled_at_once_and_never_runs() {
    let mut world = World::new();
    world.enqueue("t1", "mail");
    cancel_it(&mut world, "t1").unwrap();
    world.expect(&["t1: Cancelled"]);
    world.hello("w1", &["mail"], 1);
    world.expect(&[]);
}

#[test]
fn the_worker_of_a_running_task_is_asked_to_stop_and_every_end_but_success_is_cancelled() {
    let mut world = running();
    cancel_it(&mut world, "t1").unwrap();
    world.expect(&["t1: cancel requested", "w1 stop t1: Requested"]);
    world.report("w1", ("t1", 1), fail());
    world.expect(&["t1: Cancelled", "ack t1: recorded"]);
    world.report("w1", ("t1", 1), fail());
    world.expect(&["ack t1: duplicate"]);
}

#[test]
fn success_wins_over_a_cancel() {
    let mut world = running();
    cancel_it(&mut world, "t1").unwrap();
    world.quiet();
    world.report("w1", ("t1", 1), complete());
    world.expect(&["t1: Succeeded", "ack t1: recorded"]);
}

#[test]
fn a_lost_worker_does_not_bring_a_cancelled_task_back() {
    let mut world = running();
    cancel_it(&mut world, "t1").unwrap();
    world.wait_ms(29_999);
    world.quiet();
    world.wait_ms(1);
    world.expect(&["t1: Cancelled", "close w1"]);
}

#[test]
fn a_worker_that_was_away_hears_of_the_cancel_when_it_is_back() {
    let mut world = running();
    world.cut("w1");
    cancel_it(&mut world, "t1").unwrap();
    world.expect(&["t1: cancel requested"]);
    world.resume("w1", &["mail"], 1, &[("t1", 1)]);
    world.expect(&["w1 stop t1: Requested"]);
}

#[test]
fn a_cancel_survives_a_restart() {
    let mut world = running();
    cancel_it(&mut world, "t1").unwrap();
    world.restart();
    world.resume("w1", &["mail"], 1, &[("t1", 1)]);
    world.expect(&["w1 stop t1: Requested"]);
    world.report("w1", ("t1", 1), fail());
    world.expect(&["t1: Cancelled", "ack t1: recorded"]);
}

#[test]
fn cancelling_twice_records_once() {
    let mut world = running();
    cancel_it(&mut world, "t1").unwrap();
    world.quiet();
    cancel_it(&mut world, "t1").unwrap();
    world.expect(&["w1 stop t1: Requested"]);
}

#[test]
fn what_is_over_cannot_be_cancelled_and_the_refusal_says_where_it_stands() {
    let mut world = running();
    world.report("w1", ("t1", 1), complete());
    let refused = cancel_it(&mut world, "t1").unwrap_err();
    assert!(matches!(
        refused,
        Rejection::WrongState {
            state: "SUCCEEDED",
            ..
        }
    ));
}
