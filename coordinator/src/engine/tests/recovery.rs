//! Scripts of restarts: what a later run of the coordinator makes of its journal.

use super::world::{World, cancel, complete, fail, info, new_task};
use crate::engine::command::{Call, Command, LeaseTasks, NewTask, QueueChange, Start};
use crate::engine::ids::{Fence, QueueName};

fn working() -> World {
    let mut world = World::new();
    world.enqueue("t1", "mail");
    world.hello("w1", &["mail"], 1);
    world.begin("w1");
    world.quiet();
    world
}

#[test]
fn a_worker_that_comes_back_goes_on_as_if_nothing_had_been() {
    let mut world = working();
    world.restart();
    world.wait_ms(20_000);
    world.resume("w1", &["mail"], 1, &[("t1", 1)]);
    assert!(world.worker("w1").resumed && world.worker("w1").lost.is_empty());
    world.report("w1", ("t1", 1), complete());
    world.expect(&["t1: Succeeded", "ack t1: recorded"]);
}

#[test]
fn a_worker_that_does_not_come_back_within_the_grace_crashed() {
    let mut world = working();
    world.restart();
    world.wait_ms(29_999);
    assert_eq!(world.state("t1"), "RUNNING");
    world.wait_ms(1);
    world.expect(&["t1: Crashed, Crash, again in 1000 ms"]);
}

#[test]
fn what_had_not_begun_is_not_blamed_for_the_restart() {
    let mut world = World::new();
    world.enqueue("t1", "mail");
    world.hello("w1", &["mail"], 1);
    world.restart();
    world.wait_ms(30_000);
    world.expect(&["t1: Unstarted, Deferral, again in 1000 ms"]);
}

#[test]
fn what_a_returning_worker_does_not_hold_never_arrived_and_is_released() {
    let mut world = World::new();
    world.enqueue("t1", "mail");
    world.hello("w1", &["mail"], 1);
    world.quiet();
    world.restart();
    world.resume("w1", &["mail"], 1, &[]);
    world.expect(&["t1: Released, Deferral, again in 0 ms", "w1 gets t1#2"]);
}

#[test]
fn fences_grow_over_restarts() {
    let mut world = working();
    let before = world.token("t1", 1).fence;
    world.restart();
    world.wait_ms(31_000);
    world.hello("w2", &["mail"], 1);
    let after = world.token("t1", 2).fence;
    assert!(after > before);
    assert_eq!(after, Fence::new(world.ledger(0).epoch(), 2));
}

#[test]
fn retry_timers_go_on_and_overdue_ones_ring_at_once() {
    let mut world = working();
    world.report("w1", ("t1", 1), fail());
    world.restart();
    world.wait_ms(9999);
    assert_eq!(world.state("t1"), "RETRYING");
    world.wait_ms(1);
    assert_eq!(world.state("t1"), "READY");
    world.enqueue_as(
        "t2",
        NewTask {
            start: Start::After { delay_ms: 1000 },
            ..new_task("mail")
        },
    );
    world.now = world.now.plus_ms(60_000);
    world.restart();
    world.hello("w2", &["mail"], 5);
    world.give(Command::Tick);
    world.expect(&["w2 gets t1#2", "w2 gets t2#1"]);
}

#[test]
fn a_unary_lease_gets_its_full_life_again() {
    let mut world = World::new();
    world.enqueue("t1", "mail");
    let request = world.call_later(Call::LeaseTasks(LeaseTasks {
        worker: info("cron", &["mail"], &[]),
        count_max: 1,
        wait_ms: 0,
        ttl_ms: 45_000,
    }));
    world.leased(request);
    world.wait_ms(20_000);
    world.restart();
    world.wait_ms(44_999);
    assert_eq!(world.state("t1"), "RUNNING");
    world.wait_ms(1);
    world.expect(&["t1: Crashed, Crash, again in 1000 ms"]);
}

#[test]
fn a_hard_limit_of_an_earlier_run_ends_nothing_within_the_grace() {
    let mut world = World::new();
    let timeouts = crate::engine::ledger::task::Timeouts {
        soft_ms: None,
        hard_ms: Some(1000),
        extend_max_ms: None,
    };
    world.enqueue_as(
        "t1",
        NewTask {
            timeouts: Some(timeouts),
            ..new_task("mail")
        },
    );
    world.hello("w1", &["mail"], 1);
    world.begin("w1");
    world.wait_ms(10_000);
    world.restart();
    world.wait_ms(25_000);
    world.resume("w1", &["mail"], 1, &[("t1", 1)]);
    world.report("w1", ("t1", 1), complete());
    assert_eq!(world.state("t1"), "SUCCEEDED");
}

#[test]
fn a_transfer_under_way_is_sent_again_and_arrives_once() {
    let mut world = World::with(|config| {
        config.shard_count = 16;
        config.default_policy = super::world::plain_policy(1).into();
    });
    let target = QueueName::new("default", "graveyard").unwrap();
    let queue = QueueName::new("default", "mail").unwrap();
    let change = QueueChange {
        dead_letter_queue: Some(Some(target.clone())),
        ..QueueChange::default()
    };
    world.call(Call::ConfigureQueue { queue, change }).unwrap();
    world.hello("w1", &["mail"], 1);
    world.enqueue("t1", "mail");
    world.lose_transfers(true);
    world.report("w1", ("t1", 1), fail());
    world.expect(&["w1 gets t1#1", "t1: Routed", "ack t1: recorded"]);
    world.lose_transfers(false);
    world.restart();
    world.restart();
    let shard = target.shard(16);
    let arrived = world
        .ledger(shard.0)
        .tasks_after(crate::engine::ids::TaskId::MIN)
        .count();
    assert_eq!(arrived, 1);
}

#[test]
fn a_cancel_and_a_pause_are_instants_that_no_clock_starts_before() {
    let mut world = working();
    world.wait_alive_ms(1000, &["w1"]);
    let cancel = cancel(world.id("t1"), "why");
    world.call(cancel).unwrap();
    assert_eq!(world.engine.newest(), world.now);
    world.wait_alive_ms(1000, &["w1"]);
    let (queue, reason) = (QueueName::new("default", "mail").unwrap(), "why".into());
    world.call(Call::PauseQueue { queue, reason }).unwrap();
    assert_eq!(world.engine.newest(), world.now);
}

#[test]
fn the_newest_instant_of_the_journal_is_known_so_that_no_clock_starts_before_it() {
    let mut world = working();
    world.wait_ms(5000);
    world.report("w1", ("t1", 1), fail());
    let newest = world.now;
    world.restart();
    assert!(world.engine.newest() >= newest);
}
