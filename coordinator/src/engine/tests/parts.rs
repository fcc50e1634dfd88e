//! Scripts of sessions with very many leases: what ends them does so in parts of a bounded size.

use super::world::{World, new_task, once};
use crate::engine::command::FromWorker;
use crate::engine::ledger::task::State;

/// More leases than one step ends.
const LEASES: usize = 1500;
const SLOTS: u32 = 3000;

/// A worker that was given very many tasks.
fn loaded(at_most_once: bool) -> World {
    let mut world = World::new();
    world.check_nothing(true);
    for index in 0..LEASES {
        let task = if at_most_once {
            once()
        } else {
            new_task("mail")
        };
        world.enqueue_unchecked(&format!("t{index}"), task);
    }
    world.check_nothing(true);
    world.hello("w1", &["mail"], SLOTS);
    assert_eq!(held(&world), LEASES);
    world
}

fn held(world: &World) -> usize {
    let tasks = world.ledger(0).tasks_after(crate::engine::ids::TaskId::MIN);
    tasks.filter(|task| task.lease().is_some()).count()
}

fn dead(world: &World) -> usize {
    let tasks = world.ledger(0).tasks_after(crate::engine::ids::TaskId::MIN);
    tasks
        .filter(|task| matches!(task.state, State::Dead { .. }))
        .count()
}

#[test]
fn what_never_arrived_returns_though_it_is_ended_in_parts_and_new_deliveries_are_received_meanwhile()
 {
    let mut world = loaded(true);
    world.cut("w1");
    world.resume("w1", &["mail"], SLOTS, &[]);
    // It received what it was given anew: none of that speaks of what was lost on the way.
    world.begin("w1");
    world.wait_alive_ms(6000, &["w1"]);
    assert_eq!(dead(&world), 0);
    let runs = world.ledger(0).tasks_after(crate::engine::ids::TaskId::MIN);
    let most = runs.map(|task| task.runs()).max();
    assert_eq!(most, Some(2), "given once more, and no more");
    assert_eq!(held(&world), LEASES);
}

#[test]
fn all_that_a_worker_holds_returns_when_it_leaves_in_parts() {
    let mut world = loaded(false);
    world.say("w1", FromWorker::Goodbye);
    assert_eq!(held(&world), LEASES - 1000, "as many as a step ends");
    world.wait_ms(1);
    assert_eq!(held(&world), 0);
    world.hello("w2", &["mail"], SLOTS);
    assert_eq!(held(&world), LEASES);
    assert_eq!(dead(&world), 0);
}
