//! Scripts of what a cold reader found: each failed before it was mended.
//!
//! Owns the stories that no other file tells: late turns, lost receipts, batches beyond the usual,
//! and the corners between two mechanisms.

use super::world::{START, World, complete, fail, failure, info, new_task, plain_policy, redrive};
use crate::engine::command::{
    Bulk, BulkAct, Call, Caller, Capacity, Command, FromWorker, Hello, NewTask, QueueChange,
    ReportOutcome, Selection,
};
use crate::engine::ids::{Fence, LinkId, QueueName, RequestId, ShardId, TaskId, Timestamp};
use crate::engine::ledger::task::{Payload, State, Timeouts};

fn name(q: &str) -> QueueName {
    QueueName::new("default", q).unwrap()
}

#[test]
fn what_the_last_run_left_reaches_the_routed_task() {
    let mut world = World::with(|c| c.default_policy = plain_policy(1).into());
    let change = QueueChange {
        dead_letter_queue: Some(Some(name("graveyard"))),
        ..QueueChange::default()
    };
    world
        .call(Call::ConfigureQueue {
            queue: name("mail"),
            change,
        })
        .unwrap();
    world.enqueue("t1", "mail");
    world.hello("w1", &["mail"], 1);
    let rest = Payload {
        data: "rest".into(),
        content_type: None,
    };
    let mut report = world.report_of(
        ("t1", 1),
        ReportOutcome::Retry {
            failure: failure(),
            start: None,
            payload: Some(rest.clone()),
            max_attempts: None,
        },
    );
    report.content.as_mut().unwrap().checkpoint = Some(rest.clone());
    world.say("w1", FromWorker::Reports(vec![report]));
    let id = world.id("t1");
    let task = world.ledger(0).tasks_after(id).next().unwrap().clone();
    assert_eq!(task.payload, rest);
    assert_eq!(task.side.unwrap().checkpoint, Some(rest));
}

#[test]
fn finished_tasks_are_bounded_though_a_thousand_end_at_once() {
    let mut world = World::with(|c| c.finished_per_queue_max = 10);
    world.hello("w1", &["mail"], 1000);
    for round in 0..4 {
        for i in 0..1000 {
            world.enqueue_unchecked(&format!("r{round}t{i}"), new_task("mail"));
        }
        let reports = (0..1000)
            .map(|i| world.report_of((&format!("r{round}t{i}"), 1), complete()))
            .collect();
        world.say("w1", FromWorker::Reports(reports));
    }
    let kept = world.ledger(0).tasks_after(TaskId::MIN).count();
    assert!(kept < 10 + 64, "{kept}");
}

#[test]
fn limits_told_at_the_grant_hold_for_the_run() {
    let mut world = World::new();
    let conf = |world: &mut World, ms| {
        let t = Timeouts {
            soft_ms: None,
            hard_ms: Some(ms),
            extend_max_ms: None,
        };
        let change = QueueChange {
            timeouts: Some(Some(t)),
            ..QueueChange::default()
        };
        world
            .call(Call::ConfigureQueue {
                queue: name("mail"),
                change,
            })
            .unwrap();
    };
    conf(&mut world, 600_000);
    world.enqueue("t1", "mail");
    world.hello("w1", &["mail"], 1);
    assert_eq!(
        world.deliveries[&("t1".to_owned(), 1)].timeouts.hard_ms,
        Some(600_000)
    );
    conf(&mut world, 1000);
    world.begin("w1");
    world.wait_alive_ms(60_000, &["w1"]);
    assert_eq!(world.state("t1"), "RUNNING");
}

#[test]
fn a_waiting_call_gets_work_when_the_leases_of_its_worker_end() {
    let mut world = World::new();
    for i in 0..1023 {
        world.enqueue_unchecked(&format!("t{i}"), new_task("mail"));
    }
    let a = world.lease("cron", "mail", 1000, 0);
    world.leased(a);
    let b = world.lease("cron", "mail", 23, 0);
    world.leased(b);
    let c = world.lease("cron", "mail", 1, 60_000);
    let d = world.lease("cron", "mail", 1, 60_000);
    world.enqueue("x", "mail");
    assert_eq!(world.leased(c), ["x#1"]);
    world.enqueue("y", "mail");
    assert!(!world.replies.contains_key(&d));
    let reports = (0..100)
        .map(|i| world.report_of((&format!("t{i}"), 1), complete()))
        .collect();
    world.call(Call::ReportTasks(reports)).unwrap();
    assert_eq!(world.leased(d), ["y#1"]);
}

#[test]
fn a_lost_transfer_is_sent_again_when_the_target_sees_a_gap() {
    let mut world = World::with(|c| {
        c.shard_count = 16;
        c.default_policy = plain_policy(1).into();
    });
    let change = QueueChange {
        dead_letter_queue: Some(Some(name("graveyard"))),
        ..QueueChange::default()
    };
    world
        .call(Call::ConfigureQueue {
            queue: name("mail"),
            change,
        })
        .unwrap();
    world.hello("w1", &["mail"], 1);
    world.enqueue("t1", "mail");
    world.lose_transfers(true);
    world.report("w1", ("t1", 1), fail());
    world.lose_transfers(false);
    world.enqueue("t2", "mail");
    world.report("w1", ("t2", 1), fail());
    let shard = name("graveyard").shard(16);
    assert_eq!(world.ledger(shard.0).tasks_after(TaskId::MIN).count(), 2);
}

#[test]
fn a_report_is_a_duplicate_while_the_session_remembers_it() {
    let mut world = World::with(|c| c.finished_retention_ms = 1000);
    world.enqueue("t1", "mail");
    world.hello("w1", &["mail"], 1);
    world.report("w1", ("t1", 1), complete());
    world.wait_ms(2000);
    world.quiet();
    world.report("w1", ("t1", 1), complete());
    world.expect(&["ack t1: duplicate"]);
}

#[test]
fn inline_policies_and_kinds_are_accounted() {
    use crate::engine::retry::PolicyRef;
    let mut world = World::new();
    let mut policy = plain_policy(3);
    policy.description = "x".repeat(1024).into();
    world.enqueue("plain", "mail");
    let before = world.ledger(0).bytes();
    world.enqueue_as(
        "fat",
        NewTask {
            kind: "k".repeat(128).into(),
            policy: Some(PolicyRef::Inline(policy.into())),
            ..new_task("mail")
        },
    );
    let cost = world.ledger(0).bytes() - before;
    assert!(cost > 1024, "{cost}");
}

#[test]
fn finished_tasks_are_bounded_though_a_thousand_are_discarded() {
    let mut world = World::with(|c| {
        c.finished_per_queue_max = 10;
        c.default_policy = plain_policy(1).into();
    });
    world.hello("w1", &["mail"], 1000);
    for i in 0..1000 {
        world.enqueue_unchecked(&format!("t{i}"), new_task("mail"));
    }
    let reports = (0..1000)
        .map(|i| world.report_of((&format!("t{i}"), 1), fail()))
        .collect();
    world.say("w1", FromWorker::Reports(reports));
    let bulk = Bulk {
        reason: "".into(),
        act: BulkAct::Discard,
        selection: Selection {
            namespace: "default".into(),
            queue: None,
            filter: Default::default(),
        },
        before: Timestamp(u64::MAX),
        after: None,
        count_max: 1000,
    };
    world.call(Call::Bulk(bulk)).unwrap();
    world.wait_ms(10_000);
    let kept = world.ledger(0).tasks_after(TaskId::MIN).count();
    assert!(kept < 10 + 64, "{kept}");
}

#[test]
fn a_redrive_after_the_last_run_is_refused() {
    use crate::engine::event::{Event, Recorded};
    use crate::engine::{Engine, EngineConfig, Turn};
    let mut world = World::new();
    world.enqueue("t1", "mail");
    let mut task = world.view("t1").task;
    task.fence = Fence::new(1, crate::engine::limits::RUNS_MAX);
    task.enqueue_seq = 2;
    task.state = State::Dead {
        reason: crate::engine::retry::DeadReason::AttemptsExhausted,
        at: START,
    };
    let mut e = Engine::new(EngineConfig {
        shard_count: 1,
        seed: 1,
        default_policy: plain_policy(3).into(),
        ping_ms: 5000,
        grace_ms: 30_000,
        hard_margin_ms: 10_000,
        memory_bytes_max: 1 << 30,
        finished_retention_ms: 1000,
        finished_per_queue_max: 1000,
        aging_ms: 0,
    });
    e.replay(&Recorded {
        shard: ShardId(0),
        seq: 1,
        event: Event::QueueConfigured {
            queue: name("mail"),
            settings: Default::default(),
            revision: 0,
        },
    })
    .unwrap();
    let (id, task) = (task.id, Box::new(task));
    e.replay(&Recorded {
        shard: ShardId(0),
        seq: 2,
        event: Event::TaskEnqueued { task },
    })
    .unwrap();
    let mut t = Turn::default();
    e.begin_epoch(START, 1000, &mut t);
    e.step(
        START,
        Command::Call {
            request: RequestId(1),
            caller: Caller::default(),
            call: redrive(id, 0),
        },
        &mut t,
    );
    let hello = Hello {
        worker: info("w", &["mail"], &[]),
        session: None,
        held: vec![],
        buffered: vec![],
        capacity: Capacity {
            tasks_max: 1,
            ..Capacity::default()
        },
    };
    e.step(
        START,
        Command::Hello {
            link: LinkId(1),
            hello: Box::new(hello),
        },
        &mut t,
    );
}

#[test]
fn a_task_that_fits_goes_to_who_has_room_once_the_large_one_before_it_is_gone() {
    let mut world = World::new();
    let sized = |bytes: usize| NewTask {
        payload: Payload {
            data: vec![0; bytes].into(),
            content_type: None,
        },
        ..new_task("mail")
    };
    world.hello("w1", &["mail"], 0);
    world.say(
        "w1",
        FromWorker::Capacity(Capacity {
            tasks_max: 5,
            bytes_max: Some(100),
            draining: false,
        }),
    );
    world.enqueue_as("s0", sized(60));
    world.enqueue_as("big", sized(90));
    world.enqueue_as("s1", sized(20));
    world.quiet();
    world.hello("w2", &["mail"], 1);
    world.expect(&["w2 gets big#1", "w1 gets s1#1"]);
}
