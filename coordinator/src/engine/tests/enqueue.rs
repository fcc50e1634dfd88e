//! Scripts of the enqueue handler.

use super::world::{START, World, enqueue_call, new_task};
use crate::engine::command::{Call, NewTask, Start};
use crate::engine::effect::Answer;
use crate::engine::ids::QueueName;
use crate::engine::ledger::task::Payload;
use crate::engine::rejection::Rejection;

#[test]
fn a_task_is_ready_at_once_and_its_queue_is_made_on_first_use() {
    let mut world = World::new();
    world.enqueue("t1", "mail");
    assert_eq!(world.state("t1"), "READY");
    let queue = QueueName::new("default", "mail").unwrap();
    let Ok(Answer::Queue(view)) = world.call(Call::GetQueue(queue)) else {
        panic!("no queue")
    };
    assert_eq!(
        (
            view.counts.ready,
            view.queue.totals.enqueued,
            view.queue.revision
        ),
        (1, 1, 0)
    );
}

/// I12: never before its instant.
#[test]
fn a_delayed_task_waits_until_its_instant_and_not_a_millisecond_less() {
    let mut world = World::new();
    world.hello("w1", &["mail"], 9);
    world.enqueue_as(
        "t1",
        NewTask {
            start: Start::After { delay_ms: 5000 },
            ..new_task("mail")
        },
    );
    let at = START.plus_ms(7000);
    world.enqueue_as(
        "t2",
        NewTask {
            start: Start::At(at),
            ..new_task("mail")
        },
    );
    assert_eq!(world.state("t1"), "SCHEDULED");
    world.wait_ms(4999);
    world.expect(&[]);
    world.wait_ms(1);
    world.expect(&["ping w1", "w1 gets t1#1"]);
    world.wait_ms(2000);
    world.expect(&["w1 gets t2#1"]);
}

#[test]
fn an_instant_that_is_past_means_at_once() {
    let mut world = World::new();
    world.enqueue_as(
        "t1",
        NewTask {
            start: Start::At(crate::engine::ids::Timestamp(5)),
            ..new_task("mail")
        },
    );
    assert_eq!(world.state("t1"), "READY");
}

#[test]
fn a_year_ahead_is_just_another_timer() {
    let mut world = World::new();
    let year_ms = 365 * 24 * 3_600_000;
    world.enqueue_as(
        "t1",
        NewTask {
            start: Start::After { delay_ms: year_ms },
            ..new_task("mail")
        },
    );
    world.wait_ms(year_ms - 1);
    assert_eq!(world.state("t1"), "SCHEDULED");
    world.wait_ms(1);
    assert_eq!(world.state("t1"), "READY");
}

#[test]
fn many_tasks_are_accepted_or_refused_each_by_itself() {
    let mut world = World::with(|config| config.memory_bytes_max = 1_000_000);
    let large = Payload {
        data: vec![0; 700_000].into(),
        content_type: None,
    };
    let larger = Payload {
        data: vec![0; 200_000].into(),
        content_type: None,
    };
    let tasks = vec![
        NewTask {
            payload: large,
            ..new_task("mail")
        },
        NewTask {
            payload: larger,
            ..new_task("mail")
        },
        new_task("mail"),
    ];
    let Ok(Answer::Enqueued(results)) = world.call(enqueue_call(tasks)) else {
        panic!("refused")
    };
    assert!(results[0].is_ok());
    assert!(matches!(
        results[1],
        Err(Rejection::MemoryFull {
            limit_bytes: 1_000_000,
            ..
        })
    ));
    assert!(
        results[2].is_ok(),
        "what fits is accepted though its neighbour did not"
    );
}

#[test]
fn memory_frees_up_when_work_is_done() {
    let mut world = World::with(|config| {
        config.memory_bytes_max = 100_000;
        config.finished_retention_ms = 1000;
    });
    let big = || Payload {
        data: vec![0; 70_000].into(),
        content_type: None,
    };
    world.enqueue_as(
        "t1",
        NewTask {
            payload: big(),
            ..new_task("mail")
        },
    );
    let refused = world.call(enqueue_call(vec![NewTask {
        payload: big(),
        ..new_task("mail")
    }]));
    assert!(matches!(refused, Ok(Answer::Enqueued(r)) if r[0].is_err()));
    world.hello("w1", &["mail"], 1);
    world.report("w1", ("t1", 1), super::world::complete());
    world.wait_ms(1001);
    world.enqueue_as(
        "t2",
        NewTask {
            payload: big(),
            ..new_task("mail")
        },
    );
}

#[test]
fn ids_of_a_queue_carry_its_shard_and_sort_in_the_order_of_enqueueing() {
    let mut world = World::with(|config| config.shard_count = 16);
    let queue = QueueName::new("default", "mail").unwrap();
    let names: Vec<String> = (0..50).map(|i| format!("t{i:02}")).collect();
    for name in &names {
        world.enqueue(name, "mail");
        assert_eq!(world.id(name).shard(), queue.shard(16));
    }
    let ids: Vec<_> = names.iter().map(|name| world.id(name)).collect();
    assert!(ids.is_sorted());
}

#[test]
fn a_task_of_one_kind_too_many_is_refused_while_so_many_kinds_are_ready() {
    let mut world = World::new();
    for kind in 0..1024 {
        let task = NewTask {
            kind: format!("k{kind}").into(),
            ..new_task("mail")
        };
        world.enqueue_unchecked(&format!("t{kind}"), task);
    }
    let more = vec![
        NewTask {
            kind: "one-more".into(),
            ..new_task("mail")
        },
        NewTask {
            kind: "k7".into(),
            ..new_task("mail")
        },
        NewTask {
            kind: "one-more".into(),
            ..new_task("other")
        },
    ];
    let Ok(Answer::Enqueued(results)) = world.call(enqueue_call(more)) else {
        panic!("refused")
    };
    assert!(matches!(
        results[0],
        Err(Rejection::LimitReached { limit: 1024, .. })
    ));
    assert!(results[1].is_ok() && results[2].is_ok());
}
