//! Scripts of late turns, lost receipts and returning workers: what a cold reader found.
//!
//! Owns the corners of sessions that the scripts of each message do not reach.

use super::world::{World, complete, info, new_task};
use crate::engine::command::{Call, Capacity, Command, FromWorker, Hello, NewTask, ReportOutcome};
use crate::engine::effect::{Effect, ToWorker};
use crate::engine::ids::{LinkId, TaskId};
use crate::engine::ledger::task::Timeouts;

#[test]
fn a_word_in_the_late_turn_buys_no_more_silence_than_any_other() {
    let mut world = World::new();
    world.enqueue("t1", "mail");
    world.hello("w1", &["mail"], 1);
    world.begin("w1");
    world.now = world.now.plus_ms(3_600_000); // the machine slept an hour
    world.give(Command::Late { ms: 3_600_000 });
    world.say("w1", FromWorker::Pong);
    world.give(Command::Tick);
    world.wait_ms(30_000);
    assert_eq!(world.state("t1"), "RETRYING");
}

#[test]
fn an_extension_in_the_late_turn_lives_as_long_as_asked() {
    let mut world = World::new();
    world.enqueue("t1", "mail");
    let r = world.lease("cron", "mail", 1, 0);
    world.leased(r);
    let token = world.token("t1", 1);
    world.now = world.now.plus_ms(3_600_000);
    world.give(Command::Late { ms: 3_600_000 });
    world
        .call(Call::ExtendLeases {
            tokens: vec![Some(token)],
            ttl_ms: 30_000,
            beats: Vec::new(),
        })
        .unwrap();
    world.give(Command::Tick);
    world.wait_ms(30_000);
    assert_eq!(world.state("t1"), "RETRYING");
}

#[test]
fn a_receipt_that_buffers_the_second_run_does_not_begin_it() {
    let mut world = World::new();
    world.enqueue("t1", "mail");
    world.hello("w1", &["mail"], 1);
    world.report(
        "w1",
        ("t1", 1),
        ReportOutcome::Release { reason: "".into() },
    );
    world.say(
        "w1",
        FromWorker::Receipt {
            through: 2,
            buffered: vec![2],
        },
    );
    assert_eq!(world.state("t1"), "LEASED");
}

#[test]
fn a_receipt_after_a_resume_does_not_begin_the_next_run() {
    let mut world = World::new();
    world.enqueue("t1", "mail");
    world.hello("w1", &["mail"], 1);
    world.cut("w1");
    world.resume("w1", &["mail"], 1, &[]);
    world.say(
        "w1",
        FromWorker::Receipt {
            through: 2,
            buffered: vec![2],
        },
    );
    assert_eq!(world.state("t1"), "LEASED");
}

#[test]
fn what_waits_for_a_receipt_is_no_more_than_what_is_held() {
    let mut world = World::new();
    world.hello("w1", &["mail"], 1);
    for i in 0..500 {
        let n = format!("t{i}");
        world.enqueue(&n, "mail");
        world.report("w1", (&n, 1), complete());
    }
    let s = world.worker("w1").session.unwrap();
    let s = world.engine.core.sessions().get(s).unwrap();
    assert!(
        s.undelivered.len() <= s.held.len(),
        "{}",
        s.undelivered.len()
    );
}

#[test]
fn a_run_that_a_worker_lists_after_a_restart_is_known_to_have_begun() {
    let mut world = World::new();
    world.enqueue_as(
        "t1",
        NewTask {
            timeouts: Some(Timeouts {
                soft_ms: None,
                hard_ms: Some(1000),
                extend_max_ms: None,
            }),
            ..new_task("mail")
        },
    );
    world.hello("w1", &["mail"], 1);
    // the receipt is lost with the coordinator
    world.restart();
    world.resume("w1", &["mail"], 1, &[("t1", 1)]);
    world.say(
        "w1",
        FromWorker::Receipt {
            through: 0,
            buffered: vec![],
        },
    );
    world.wait_alive_ms(20_000, &["w1"]);
    world.cut("w1");
    world.wait_ms(40_000);
    let task = world.view("t1").task;
    assert_eq!(
        task.tally().crashes + task.tally().failures,
        1,
        "{:?}",
        task
    );
}

#[test]
fn a_drained_worker_that_was_away_hears_its_deadline() {
    let mut world = World::new();
    world.enqueue("t1", "mail");
    world.hello("w1", &["mail"], 1);
    world.cut("w1");
    world
        .call(Call::DrainWorkers {
            namespace: "default".into(),
            workers: vec!["w1".into()],
            reason: "deploy".into(),
            deadline_ms: Some(5000),
        })
        .unwrap();
    world.quiet();
    // direct look at effect
    let session = world.worker("w1").session;
    let mut turn = crate::engine::Turn::default();
    let hello = Hello {
        worker: info("w1", &["mail"], &[]),
        session,
        held: vec![world.token("t1", 1)],
        buffered: vec![],
        capacity: Capacity {
            tasks_max: 1,
            bytes_max: None,
            draining: false,
        },
    };
    world.engine.step(
        world.now,
        Command::Hello {
            link: LinkId(77),
            hello: Box::new(hello),
        },
        &mut turn,
    );
    let drain = turn.effects.iter().find_map(|effect| {
        let Effect::Tell { message, .. } = effect else {
            return None;
        };
        let ToWorker::Drain {
            deadline_ms,
            reason,
        } = message
        else {
            return None;
        };
        Some((*deadline_ms, reason.to_string()))
    });
    assert_eq!(drain, Some((Some(5000), "deploy".to_owned())));
}

#[test]
fn a_restart_with_the_same_seed_makes_no_session_twice() {
    let mut world = World::new();
    world.hello("w1", &["mail"], 1);
    world.enqueue("t1", "mail");
    world.restart();
    world.hello("w2", &["mail"], 1);
}

#[test]
fn a_session_given_up_in_pieces_is_not_kept_by_a_word() {
    let mut world = World::new();
    for i in 0..2500 {
        world.enqueue_unchecked(&format!("t{i}"), new_task("mail"));
    }
    world.hello("w1", &["mail"], 10_000);
    world.begin("w1");
    world.now = world.now.plus_ms(30_000);
    world.give(Command::Tick);
    world.say("w1", FromWorker::Pong);
    world.cut("w1");
    world.wait_ms(10);
    let tasks = world.ledger(0).tasks_after(TaskId::MIN);
    assert_eq!(tasks.filter(|task| task.tally().crashes == 1).count(), 2500);
}

#[test]
fn a_receipt_after_a_resume_over_a_restart_is_understood() {
    let mut world = World::new();
    for i in 0..3 {
        world.enqueue(&format!("t{i}"), "mail");
    }
    world.hello("w1", &["mail"], 3);
    world.say(
        "w1",
        FromWorker::Receipt {
            through: 3,
            buffered: vec![2, 3],
        },
    );
    world.restart();
    world.resume_buffering(
        "w1",
        &["mail"],
        3,
        (&[("t0", 1), ("t1", 1), ("t2", 1)], &[("t1", 1), ("t2", 1)]),
    );
    world.quiet();
    // the worker begins t1; it counts as it did within this session
    world.say(
        "w1",
        FromWorker::Receipt {
            through: 3,
            buffered: vec![3],
        },
    );
    assert_eq!(world.state("t1"), "RUNNING");
    world.expect(&["t1: begun"]);
}

#[test]
fn a_lost_receipt_is_made_good_by_the_resume() {
    // worker started t1, its receipt was lost with the stream; the Hello lists it as held
    let mut world = World::new();
    world.enqueue("t1", "mail");
    world.hello("w1", &["mail"], 1);
    world.cut("w1");
    world.resume("w1", &["mail"], 1, &[("t1", 1)]);
    world.wait_alive_ms(60_000, &["w1"]);
    assert_eq!(world.state("t1"), "RUNNING");
}
