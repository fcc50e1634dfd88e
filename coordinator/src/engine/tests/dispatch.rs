//! Scripts of dispatch: who gets what, in which order.

use std::sync::Arc;

use super::world::{World, complete, info, new_task};
use crate::engine::command::{
    Call, Capacity, FromWorker, LeaseTasks, NewTask, QueueChange, Start, WorkerInfo,
};
use crate::engine::ids::QueueName;
use crate::engine::ledger::task::{Payload, Priority};
use crate::engine::ledger::terms::Terms;
use crate::engine::limits;

fn with_priority(priority: Priority) -> NewTask {
    NewTask {
        priority,
        ..new_task("mail")
    }
}

/// A task that is due in a second.
fn later(queue: &str) -> NewTask {
    NewTask {
        start: Start::After { delay_ms: 1000 },
        ..new_task(queue)
    }
}

#[test]
fn the_most_urgent_goes_first_and_within_a_level_the_oldest() {
    let mut world = World::new();
    let order = [
        ("lowest", Priority::Lowest),
        ("normal-1", Priority::Normal),
        ("highest", Priority::Highest),
        ("low", Priority::Low),
        ("normal-2", Priority::Normal),
        ("high", Priority::High),
    ];
    for (name, priority) in order {
        world.enqueue_as(name, with_priority(priority));
    }
    world.hello("w1", &["mail"], 9);
    world.expect(&[
        "w1 gets highest#1",
        "w1 gets high#1",
        "w1 gets normal-1#1",
        "w1 gets normal-2#1",
        "w1 gets low#1",
        "w1 gets lowest#1",
    ]);
}

#[test]
fn a_worker_never_holds_more_than_it_asked_for() {
    let mut world = World::new();
    for name in ["t1", "t2", "t3"] {
        world.enqueue(name, "mail");
    }
    world.hello("w1", &["mail"], 2);
    world.expect(&["w1 gets t1#1", "w1 gets t2#1"]);
    world.report("w1", ("t1", 1), complete());
    world.expect(&["t1: Succeeded", "ack t1: recorded", "w1 gets t3#1"]);
}

#[test]
fn raising_the_capacity_brings_work_and_lowering_it_takes_nothing_away() {
    let mut world = World::new();
    for name in ["t1", "t2", "t3"] {
        world.enqueue(name, "mail");
    }
    world.hello("w1", &["mail"], 0);
    world.expect(&[]);
    let capacity = |tasks_max| Capacity {
        tasks_max,
        bytes_max: None,
        draining: false,
    };
    world.say("w1", FromWorker::Capacity(capacity(2)));
    world.expect(&["w1 gets t1#1", "w1 gets t2#1"]);
    world.say("w1", FromWorker::Capacity(capacity(1)));
    world.report("w1", ("t1", 1), complete());
    world.expect(&["t1: Succeeded", "ack t1: recorded"]);
    world.report("w1", ("t2", 1), complete());
    world.expect(&["t2: Succeeded", "ack t2: recorded", "w1 gets t3#1"]);
}

#[test]
fn bytes_are_a_capacity_too_but_one_task_is_always_given() {
    let mut world = World::new();
    let sized = |bytes: usize| NewTask {
        payload: Payload {
            data: vec![0; bytes].into(),
            content_type: None,
        },
        ..new_task("mail")
    };
    world.hello("w1", &["mail"], 0);
    world.enqueue_as("big", sized(500));
    world.enqueue_as("small", sized(10));
    let capacity = Capacity {
        tasks_max: 5,
        bytes_max: Some(100),
        draining: false,
    };
    world.say("w1", FromWorker::Capacity(capacity));
    world.expect(&["w1 gets big#1"]);
    world.report("w1", ("big", 1), complete());
    world.expect(&["big: Succeeded", "ack big: recorded", "w1 gets small#1"]);
}

#[test]
fn workers_take_turns() {
    let mut world = World::new();
    for worker in ["w1", "w2", "w3"] {
        world.hello(worker, &["mail"], 5);
    }
    for name in ["t1", "t2", "t3", "t4", "t5", "t6"] {
        world.enqueue(name, "mail");
    }
    let mut got: Vec<String> = Vec::new();
    for name in ["t1", "t2", "t3", "t4", "t5", "t6"] {
        let view = world.view(name);
        got.push(view.task.lease().unwrap().worker.to_string());
    }
    got[..3].sort();
    got[3..].sort();
    assert_eq!(got, ["w1", "w2", "w3", "w1", "w2", "w3"]);
}

#[test]
fn a_kind_goes_only_to_those_who_run_it_and_waits_for_them() {
    let mut world = World::new();
    let of_kind = |kind: &str| NewTask {
        kind: kind.into(),
        ..new_task("mail")
    };
    world.hello_as("resizer", info("resizer", &["mail"], &["resize"]), 5, &[]);
    world.enqueue_as("t1", of_kind("send"));
    world.enqueue_as("t2", of_kind("resize"));
    world.expect(&["resizer gets t2#1"]);
    assert_eq!(world.state("t1"), "READY");
    world.hello_as("sender", info("sender", &["mail"], &["send"]), 5, &[]);
    world.expect(&["sender gets t1#1"]);
}

#[test]
fn the_one_who_cannot_run_it_does_not_block_the_one_who_can() {
    let mut world = World::new();
    world.hello_as("a", info("a", &["mail"], &["other"]), 5, &[]);
    world.hello_as("b", info("b", &["mail"], &["work"]), 5, &[]);
    world.enqueue("t1", "mail");
    world.enqueue("t2", "mail");
    world.expect(&["b gets t1#1", "b gets t2#1"]);
}

/// How many of eight tasks with this prefix somebody holds.
fn leased(world: &mut World, prefix: &str) -> usize {
    let names = (0..8).map(|index| format!("{prefix}{index}"));
    names.filter(|name| world.state(name) == "LEASED").count()
}

/// A worker with queue a at weight 3 and queue b at weight 1.
fn three_to_one(worker: &str) -> WorkerInfo {
    let mut worker = info(worker, &["a", "b"], &[]);
    worker.queues[0].1 = 3;
    worker
}

/// I16.
#[test]
fn queues_of_a_worker_are_served_by_their_weights() {
    let mut world = World::new();
    for index in 0..8 {
        world.enqueue(&format!("a{index}"), "a");
        world.enqueue(&format!("b{index}"), "b");
    }
    world.hello_as("w1", three_to_one("w1"), 8, &[]);
    assert_eq!((leased(&mut world, "a"), leased(&mut world, "b")), (6, 2));
}

/// I16.
#[test]
fn weights_hold_for_a_worker_that_waited_when_the_work_came() {
    let mut world = World::new();
    world.hello_as("w1", three_to_one("w1"), 8, &[]);
    for index in 0..8 {
        world.enqueue_as(&format!("a{index}"), later("a"));
        world.enqueue_as(&format!("b{index}"), later("b"));
    }
    world.wait_ms(1000);
    assert_eq!((leased(&mut world, "a"), leased(&mut world, "b")), (6, 2));
}

/// I16.
#[test]
fn a_task_whose_time_is_over_takes_no_turn_from_its_queue() {
    let mut world = World::new();
    let brief = |queue: &str| NewTask {
        terms: Some(Box::new(Terms {
            ttl_ms: Some(1000),
            ..Terms::default()
        })),
        ..new_task(queue)
    };
    for index in 0..4 {
        world.enqueue_as(&format!("gone{index}"), brief("a"));
    }
    for index in 0..8 {
        world.enqueue(&format!("a{index}"), "a");
        world.enqueue(&format!("b{index}"), "b");
    }
    // Before a tick has ended them.
    world.now = world.now.plus_ms(1000);
    world.hello("w1", &["a", "b"], 8);
    assert_eq!((leased(&mut world, "a"), leased(&mut world, "b")), (4, 4));
}

#[test]
fn a_task_that_a_full_step_cannot_end_holds_up_no_other_queue() {
    let mut world = World::new();
    world.configure(
        "large",
        QueueChange {
            dead_letter_queue: Some(Some(QueueName::new("default", "graveyard").unwrap())),
            ..QueueChange::default()
        },
    );
    let task = |queue: &str, delay_ms: u64, ttl_ms: Option<u64>| NewTask {
        start: Start::After { delay_ms },
        terms: ttl_ms.map(|ttl_ms| {
            Box::new(Terms {
                ttl_ms: Some(ttl_ms),
                ..Terms::default()
            })
        }),
        ..new_task(queue)
    };
    let large = Payload {
        data: vec![0; limits::PAYLOAD_BYTES_MAX].into(),
        content_type: None,
    };
    world.enqueue_as(
        "large",
        NewTask {
            payload: large,
            ..task("large", 0, Some(1000))
        },
    );
    world.enqueue_as("over", task("a", 1000, Some(10)));
    world.enqueue_as("good", task("b", 1000, None));
    world.hello("w1", &["a", "b"], 5);
    // What is moved to the dead letters fills the step.
    world.now = world.now.plus_ms(5000);
    world.wait_ms(10);
    assert_eq!(world.state("over"), "DEAD");
    assert_eq!(world.state("good"), "LEASED");
}

#[test]
fn workers_take_turns_where_several_queues_have_something_new() {
    let mut world = World::new();
    let worker = |name: &str| {
        let mut worker = info(name, &["a", "b"], &[]);
        worker.queues[1].1 = 10;
        worker
    };
    for name in ["w1", "w2"] {
        world.hello_as(name, worker(name), 50, &[]);
        world.enqueue(&format!("first of {name}"), "a");
    }
    world.enqueue_as("a", later("a"));
    for index in 0..10 {
        world.enqueue_as(&format!("b{index}"), later("b"));
    }
    world.wait_ms(1000);
    let mut by_worker = [0, 0];
    for index in 0..10 {
        let view = world.view(&format!("b{index}"));
        by_worker[usize::from(&*view.task.lease().unwrap().worker == "w2")] += 1;
    }
    assert_eq!(by_worker, [5, 5]);
}

#[test]
fn calls_that_take_one_task_each_draw_lots_by_the_weights() {
    let mut world = World::new();
    for index in 0..400 {
        world.enqueue(&format!("a{index}"), "a");
        world.enqueue(&format!("b{index}"), "b");
    }
    let mut of_a = 0;
    for _ in 0..400 {
        let request = world.call_later(Call::LeaseTasks(LeaseTasks {
            worker: three_to_one("cron"),
            count_max: 1,
            wait_ms: 0,
            ttl_ms: 30_000,
        }));
        of_a += usize::from(world.leased(request)[0].starts_with('a'));
    }
    // 300 are expected; 45 are more than five standard deviations, and the lots are the same each time.
    assert!((255..=345).contains(&of_a), "{of_a} of 400");
}

#[test]
fn a_delivery_says_all_that_a_handler_needs() {
    let mut world = World::new();
    let labels: Vec<(Arc<str>, Arc<str>)> = vec![("tenant".into(), "acme".into())];
    let data = Payload {
        data: "hello".into(),
        content_type: Some("text/plain".into()),
    };
    world.enqueue_as(
        "t1",
        NewTask {
            labels,
            payload: data.clone(),
            ..with_priority(Priority::High)
        },
    );
    world.hello("w1", &["mail"], 1);
    let delivery = &world.deliveries[&("t1".to_owned(), 1)];
    assert_eq!(delivery.queue, QueueName::new("default", "mail").unwrap());
    assert_eq!(
        (delivery.sequence, delivery.attempt, delivery.attempts_max),
        (1, 1, 3)
    );
    assert_eq!(
        (&*delivery.kind, delivery.priority, &delivery.payload),
        ("work", Priority::High, &data)
    );
    assert_eq!(delivery.labels.len(), 1);
    assert!(delivery.previous_failure.is_none() && delivery.checkpoint.is_none());
}

#[test]
fn what_is_due_in_one_instant_is_handed_out_completely_over_all_shards() {
    let mut world = World::with(|config| config.shard_count = 4);
    world.hello("w1", &["q0", "q1", "q2", "q3", "q4", "q5", "q6"], 300);
    for index in 0..300 {
        world.enqueue_as(&format!("t{index}"), later(&format!("q{}", index % 7)));
    }
    world.wait_ms(999);
    assert_eq!(world.state("t0"), "SCHEDULED");
    world.wait_ms(1);
    for index in 0..300 {
        assert_eq!(world.state(&format!("t{index}")), "LEASED");
    }
}
