//! Scripts of aging: what has waited long enough goes before what is more urgent.

use super::world::{World, complete, fail, info, new_task, text};
use crate::engine::command::{
    Call, Capacity, FromWorker, KindServed, NewTask, QueueChange, Start, TaskChange,
};
use crate::engine::ledger::task::Priority;

/// The server's aging in these scripts.
const AGING_MS: u64 = 10_000;

fn aging() -> World {
    World::with(|config| config.aging_ms = AGING_MS)
}

fn urgent(priority: Priority) -> NewTask {
    NewTask {
        priority,
        ..new_task("mail")
    }
}

fn set(world: &mut World, aging_ms: Option<u64>) {
    let change = QueueChange {
        aging_ms: Some(aging_ms),
        ..QueueChange::default()
    };
    world.configure("mail", change);
}

/// A stream of tasks of the highest priority, one each second to one worker that works one each
/// second and has more than it can do; answers after how long the lowest one was begun, if it was.
fn starve(world: &mut World, seconds: u64) -> Option<u64> {
    for index in 0..3 {
        world.enqueue_as(&format!("backlog{index}"), urgent(Priority::Highest));
    }
    world.hello("w1", &["mail"], 1);
    world.enqueue_as("lowest", urgent(Priority::Lowest));
    let mut held = ("backlog0".to_owned(), 1);
    for second in 1..=seconds {
        world.wait_alive_ms(1000, &["w1"]);
        world.enqueue_as(&format!("t{second}"), urgent(Priority::Highest));
        world.report("w1", (&held.0, held.1), complete());
        if world.state("lowest") == "LEASED" {
            return Some(second * 1000);
        }
        let next = (0..3).map(|index| format!("backlog{index}"));
        let next = next.chain((1..=second).map(|index| format!("t{index}")));
        let next = next.into_iter().find(|task| world.state(task) == "LEASED");
        held = (next?, 1);
    }
    None
}

#[test]
fn the_lowest_priority_starts_after_four_times_the_aging_under_a_steady_stream_of_the_highest() {
    let mut world = aging();
    // It was there before the tasks of its level that came later: it goes first among them.
    assert_eq!(starve(&mut world, 60), Some(4 * AGING_MS));
}

#[test]
fn without_aging_the_lowest_priority_starves() {
    let mut world = World::new();
    assert_eq!(starve(&mut world, 60), None);
    let mut world = aging();
    set(&mut world, Some(0));
    assert_eq!(starve(&mut world, 60), None, "0 says so for one queue");
}

#[test]
fn a_queue_s_own_aging_goes_before_the_server_s() {
    let mut world = aging();
    set(&mut world, Some(2000));
    assert_eq!(starve(&mut world, 60), Some(8000));
    let mut world = World::new();
    set(&mut world, Some(5000));
    assert_eq!(starve(&mut world, 60), Some(20_000));
    let mut world = aging();
    set(&mut world, Some(2000));
    set(&mut world, None);
    assert_eq!(starve(&mut world, 60), Some(40_000));
}

#[test]
fn each_level_takes_one_aging_and_equal_levels_go_by_age() {
    let mut world = aging();
    world.enqueue_as("low", urgent(Priority::Low));
    world.wait_ms(AGING_MS - 1);
    world.enqueue_as("normal", urgent(Priority::Normal));
    world.hello("w1", &["mail"], 1);
    world.expect(&["w1 gets normal#1"]);
    world.wait_ms(1);
    world.enqueue_as("normal-2", urgent(Priority::Normal));
    world.enqueue_as("high", urgent(Priority::High));
    world.report("w1", ("normal", 1), complete());
    world.report("w1", ("high", 1), complete());
    world.report("w1", ("low", 1), complete());
    world.expect(&[
        "normal: Succeeded",
        "ack normal: recorded",
        "w1 gets high#1",
        "high: Succeeded",
        "ack high: recorded",
        "w1 gets low#1",
        "low: Succeeded",
        "ack low: recorded",
        "w1 gets normal-2#1",
    ]);
}

#[test]
fn nothing_counts_as_more_urgent_than_the_highest_and_the_older_goes_first() {
    let mut world = aging();
    world.enqueue_as("highest", urgent(Priority::Highest));
    world.enqueue_as("lowest", urgent(Priority::Lowest));
    world.wait_ms(100 * AGING_MS);
    world.hello("w1", &["mail"], 2);
    world.expect(&["w1 gets highest#1", "w1 gets lowest#1"]);
}

#[test]
fn age_counts_from_when_a_task_is_ready_and_not_from_when_it_was_accepted() {
    let mut world = aging();
    let later = NewTask {
        start: Start::After {
            delay_ms: 5 * AGING_MS,
        },
        ..urgent(Priority::Low)
    };
    world.enqueue_as("later", later);
    world.wait_ms(5 * AGING_MS);
    world.enqueue_as("normal", urgent(Priority::Normal));
    world.hello("w1", &["mail"], 2);
    world.expect(&["w1 gets normal#1", "w1 gets later#1"]);
}

#[test]
fn age_counts_among_kinds_of_one_priority_too() {
    let mut world = aging();
    let later = NewTask {
        start: Start::After {
            delay_ms: 2 * AGING_MS,
        },
        ..urgent(Priority::Low)
    };
    world.enqueue_as("later", later);
    let other = NewTask {
        kind: "other".into(),
        ..urgent(Priority::Low)
    };
    world.enqueue_as("patient", other);
    world.wait_ms(2 * AGING_MS);
    world.hello("w1", &["mail"], 2);
    world.expect(&["w1 gets patient#1", "w1 gets later#1"]);
}

#[test]
fn a_retry_ages_from_its_own_instant() {
    let mut world = aging();
    world.enqueue_as("low", urgent(Priority::Low));
    world.hello("w1", &["mail"], 1);
    world.report("w1", ("low", 1), fail());
    world.cut("w1");
    world.wait_ms(10_000 + AGING_MS - 1);
    world.enqueue_as("normal", urgent(Priority::Normal));
    world.resume("w1", &["mail"], 1, &[]);
    world.report("w1", ("normal", 1), complete());
    world.expect(&[
        "w1 gets low#1",
        "low: Failed, Attempt, again in 10000 ms",
        "ack low: recorded",
        "w1 gets normal#1",
        "normal: Succeeded",
        "ack normal: recorded",
        "w1 gets low#2",
    ]);
}

#[test]
fn age_counts_among_the_kinds_and_versions_that_a_worker_runs() {
    let mut world = aging();
    let task = |priority, kind: &str, version| NewTask {
        kind: kind.into(),
        version,
        ..urgent(priority)
    };
    world.enqueue_as("other", task(Priority::Lowest, "other", 0));
    world.enqueue_as("v1", task(Priority::Lowest, "work", 1));
    world.enqueue_as("v2", task(Priority::Lowest, "work", 2));
    world.wait_ms(4 * AGING_MS);
    world.enqueue_as("urgent-v2", task(Priority::Highest, "work", 2));
    world.enqueue_as("urgent-v3", task(Priority::Highest, "work", 3));
    let mut worker = info(
        "w1",
        &["mail"],
        &["a", "b", "c", "d", "e", "f", "g", "work"],
    );
    let served = worker.kinds.last_mut().unwrap();
    *served = KindServed {
        kind: "work".into(),
        version_min: 2,
        version_max: 3,
    };
    world.hello_as("w1", worker, 9, &[]);
    world.expect(&["w1 gets v2#1", "w1 gets urgent-v2#1", "w1 gets urgent-v3#1"]);
    let worker = info("w2", &["mail"], &["work"]);
    world.hello_as("w2", worker, 9, &[]);
    world.expect(&["w2 gets v1#1"]);
}

#[test]
fn time_alone_brings_the_older_one_to_who_has_no_room_for_the_more_urgent() {
    let mut world = aging();
    let sized = |priority, bytes: usize| NewTask {
        payload: text(&"x".repeat(bytes)),
        ..urgent(priority)
    };
    world.hello("w1", &["mail"], 0);
    let capacity = |tasks_max| Capacity {
        tasks_max,
        bytes_max: Some(100),
        draining: false,
    };
    world.say("w1", FromWorker::Capacity(capacity(1)));
    world.enqueue_as("first", sized(Priority::Highest, 60));
    world.enqueue_as("small", sized(Priority::Low, 10));
    world.wait_alive_ms(5000, &["w1"]);
    world.enqueue_as("big", sized(Priority::Normal, 80));
    world.say("w1", FromWorker::Capacity(capacity(5)));
    world.expect(&["w1 gets first#1"]);
    world.wait_alive_ms(4999, &["w1"]);
    world.expect(&[]);
    // It counts as urgent as the other one now, and is older. The next tick sees that, and ticks
    // come with the pings at the latest.
    world.wait_alive_ms(5000, &["w1"]);
    world.expect(&["w1 gets small#1"]);
}

#[test]
fn age_survives_a_restart_and_follows_a_changed_priority() {
    let mut world = aging();
    world.enqueue_as("lowest", urgent(Priority::Lowest));
    world.wait_ms(4 * AGING_MS);
    world.restart();
    world.enqueue_as("highest", urgent(Priority::Highest));
    world.hello("w1", &["mail"], 1);
    world.expect(&["w1 gets lowest#1"]);
    world.enqueue_as("low", urgent(Priority::Low));
    world.enqueue_as("lowest-2", urgent(Priority::Lowest));
    let change = TaskChange {
        priority: Some(Priority::Highest),
        ..TaskChange::default()
    };
    let (task, change) = (world.id("lowest-2").into(), Box::new(change));
    world.call(Call::UpdateTask { task, change }).unwrap();
    world.quiet();
    world.report("w1", ("lowest", 1), complete());
    world.report("w1", ("highest", 1), complete());
    world.expect(&[
        "lowest: Succeeded",
        "ack lowest: recorded",
        "w1 gets highest#1",
        "highest: Succeeded",
        "ack highest: recorded",
        "w1 gets lowest-2#1",
    ]);
}
