//! Scripts of what holds everywhere: bounded histories, the alarm clock, nothing without cause.

use super::world::{START, World, complete, fail, new_task};
use crate::engine::command::{Command, NewTask, Start};
use crate::engine::ids::TaskId;
use crate::engine::{Deadline, Why};

#[test]
fn i11_the_alarm_clock_names_the_next_instant_and_why() {
    let mut world = World::new();
    assert_eq!(world.engine.next_deadline(), None);
    world.enqueue_as(
        "t1",
        NewTask {
            start: Start::After { delay_ms: 9000 },
            ..new_task("mail")
        },
    );
    let timer = Deadline {
        at: START.plus_ms(9000),
        why: Why::Timer,
    };
    assert_eq!(world.engine.next_deadline(), Some(timer));
    world.hello("w1", &["mail"], 1);
    let session = Deadline {
        at: START.plus_ms(5000),
        why: Why::Session,
    };
    assert_eq!(world.engine.next_deadline(), Some(session));
}

#[test]
fn i11_an_early_tick_records_nothing() {
    let mut world = World::new();
    world.enqueue_as(
        "t1",
        NewTask {
            start: Start::After { delay_ms: 9000 },
            ..new_task("mail")
        },
    );
    let before = world.ledger(0).last_seq();
    for _ in 0..10 {
        world.give(Command::Tick);
    }
    assert_eq!(world.ledger(0).last_seq(), before);
}

#[test]
fn i9_a_queue_keeps_so_many_finished_tasks_and_forgets_the_oldest() {
    let mut world = World::with(|config| config.finished_per_queue_max = 10);
    world.hello("w1", &["mail"], 1);
    for index in 0..200 {
        let name = format!("t{index}");
        world.enqueue(&name, "mail");
        world.report("w1", (&name, 1), complete());
        world.wait_ms(1);
    }
    let kept = world.ledger(0).tasks_after(TaskId::MIN).count();
    assert!((10..10 + 64).contains(&kept), "{kept}");
    assert_eq!(world.state("t199"), "SUCCEEDED");
}

#[test]
fn i9_a_finished_task_is_kept_for_its_time_and_no_longer() {
    let mut world = World::new();
    world.enqueue("t1", "mail");
    world.hello("w1", &["mail"], 1);
    world.report("w1", ("t1", 1), complete());
    world.wait_alive_ms(3_599_999, &["w1"]);
    assert_eq!(world.state("t1"), "SUCCEEDED");
    world.wait_ms(1);
    assert_eq!(world.ledger(0).tasks_after(TaskId::MIN).count(), 0);
    assert_eq!(world.ledger(0).bytes(), 0);
}

#[test]
fn i9_timers_of_one_instant_ring_in_bounded_turns() {
    let mut world = World::new();
    for index in 0..5000 {
        let start = Start::After { delay_ms: 1000 };
        world.enqueue_unchecked(
            &format!("t{index}"),
            NewTask {
                start,
                ..new_task("mail")
            },
        );
    }
    world.now = START.plus_ms(1000);
    world.give(Command::Tick);
    let due = Deadline {
        at: START.plus_ms(1000),
        why: Why::Timer,
    };
    assert_eq!(
        world.engine.next_deadline(),
        Some(due),
        "the rest is announced"
    );
    world.give(Command::Tick);
    assert_eq!(world.engine.next_deadline(), None);
}

#[test]
fn i8_time_never_goes_back() {
    let mut world = World::new();
    world.wait_ms(10);
    world.give(Command::Tick);
    world.now = START;
    let engine = std::panic::AssertUnwindSafe(&mut world);
    let back = std::panic::catch_unwind(move || {
        let world = engine;
        world.0.give(Command::Tick);
    });
    assert!(back.is_err());
}

#[test]
fn i7_the_delay_drawn_is_in_the_event_and_a_replay_draws_nothing() {
    let mut world = World::with(|config| {
        config.default_policy = crate::engine::retry::presets::named("recommended").unwrap();
    });
    world.enqueue("t1", "mail");
    world.hello("w1", &["mail"], 1);
    world.report("w1", ("t1", 1), fail());
    let before = world.view("t1").task;
    world.restart();
    assert_eq!(world.view("t1").task, before);
}

#[test]
fn i9_when_memory_is_nearly_full_stacks_are_shed_and_failures_are_still_accepted() {
    let mut world = World::with(|config| config.memory_bytes_max = 100_000);
    let payload = crate::engine::ledger::task::Payload {
        data: vec![0; 79_000].into(),
        content_type: None,
    };
    world.enqueue_as(
        "big",
        NewTask {
            payload,
            ..new_task("mail")
        },
    );
    world.hello("w1", &["mail"], 1);
    let mut failure = super::world::failure();
    failure.stack = "s".repeat(8000).into();
    let bigger = crate::engine::ledger::task::Payload {
        data: vec![0; 92_000].into(),
        content_type: None,
    };
    let outcome = crate::engine::command::ReportOutcome::Retry {
        failure: failure.clone(),
        start: Some(Start::After { delay_ms: 0 }),
        payload: Some(bigger),
        max_attempts: None,
    };
    world.report("w1", ("big", 1), outcome);
    world.report("w1", ("big", 2), super::world::fail_with(failure));
    let side = world.view("big").task.side.unwrap();
    assert!(side.last_failure.unwrap().stack.contains("not kept"));
}
