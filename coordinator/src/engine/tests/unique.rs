//! Scripts of unique keys: the lock is the task itself, in the states of its scope.

use super::world::follow::with_terms;
use super::world::{
    START, World, cancel_as, complete, effects, enqueue_call, fail, new_task, redrive, unique,
};
use crate::engine::command::{
    Call, Caller, CancelMode, NewTask, OnConflict, ReportOutcome, Start, TaskChange,
};
use crate::engine::effect::EnqueueEffect;
use crate::engine::ids::TaskId;
use crate::engine::ledger::task::{Payload, Priority};
use crate::engine::ledger::terms::{DeliveryMode, Terms};
use crate::engine::rejection::Rejection;

use OnConflict::{Reject, ReplaceWaiting, RescheduleWaiting, ReturnExisting};

fn after(delay_ms: u64, task: NewTask) -> NewTask {
    let start = Start::After { delay_ms };
    NewTask { start, ..task }
}

fn postponed_at_most(ms: u64, mut task: NewTask) -> NewTask {
    let unique = task.keys.as_mut().and_then(|keys| keys.unique.as_mut());
    unique.unwrap().postpone_max_ms = Some(ms);
    task
}

fn holding(data: &'static str, task: NewTask) -> NewTask {
    let payload = Payload {
        data: bytes::Bytes::from_static(data.as_bytes()),
        content_type: None,
    };
    NewTask { payload, ..task }
}

fn held(task: TaskId, state: &str, refused: &Rejection) {
    let Rejection::UniqueKeyHeld {
        task: by,
        state: stands,
        ..
    } = refused
    else {
        panic!("{refused:?}")
    };
    assert_eq!((*by, *stands), (task, state));
}

/// Whether somebody holds the key now.
fn is_held(world: &mut World) -> bool {
    world.send_one(unique("mail", "", Reject)).is_err()
}

#[test]
fn who_finds_the_key_held_gets_the_holder_or_is_refused() {
    let mut world = World::new();
    world.enqueue_as("t1", unique("mail", "wr", ReturnExisting));
    let id = world.id("t1");
    let recorded = world.recorded();
    let again = world
        .send_one(unique("mail", "wr", ReturnExisting))
        .unwrap();
    assert_eq!((again.id, again.how), (id, EnqueueEffect::Existing));
    let refused = world.send_one(unique("mail", "wr", Reject)).unwrap_err();
    held(id, "READY", &refused);
    assert_eq!(world.recorded(), recorded);
    let elsewhere = world.send_one(unique("other", "wr", Reject)).unwrap();
    assert_eq!(elsewhere.how, EnqueueEffect::Created);
}

#[test]
fn each_state_holds_the_key_only_where_the_scope_names_it() {
    for (scope, expected) in [
        ("w", [true, false, false, false]),
        ("r", [false, true, false, false]),
        ("d", [false, false, true, false]),
        ("f", [false, false, false, true]),
        ("wrdf", [true, true, true, true]),
        ("", [false, false, false, false]),
    ] {
        let mut world = World::new();
        let once = |name: &str, world: &mut World| {
            let task = unique("mail", scope, Reject);
            let max_attempts = Some(1);
            world.enqueue_as(
                name,
                NewTask {
                    max_attempts,
                    ..task
                },
            );
        };
        once("t1", &mut world);
        let waiting = is_held(&mut world);
        world.hello("w1", &["mail"], 1);
        let running = is_held(&mut world);
        world.report("w1", ("t1", 1), fail());
        let dead = is_held(&mut world);
        world
            .call(Call::DiscardTask {
                task: world.id("t1").into(),
                reason: "".into(),
            })
            .unwrap();
        let finished = is_held(&mut world);
        assert_eq!([waiting, running, dead, finished], expected, "{scope}");
        world.wait_ms(3_600_000);
        assert!(!is_held(&mut world), "forgotten");
    }
}

#[test]
fn whatever_ends_a_task_its_key_is_free() {
    let start = || {
        let mut world = World::new();
        let terms = Terms {
            deadline_ms: Some(20_000),
            ..Terms::default()
        };
        let task = NewTask {
            max_attempts: Some(1),
            ..unique("mail", "wr", Reject)
        };
        world.enqueue_as("t1", with_terms(task, terms));
        world.hello("w1", &["mail"], 1);
        world.begin("w1");
        assert!(is_held(&mut world));
        world
    };
    let reports = [
        complete(),
        fail(),
        ReportOutcome::Discard { reason: "".into() },
    ];
    for outcome in reports {
        let mut world = start();
        world.report("w1", ("t1", 1), outcome);
        assert!(!is_held(&mut world));
    }
    let mut world = start();
    let id = world.id("t1");
    world.call(cancel_as(id, "", CancelMode::Force)).unwrap();
    assert!(!is_held(&mut world));
    let mut world = start();
    world.wait_alive_ms(20_000, &["w1"]);
    assert_eq!(world.state("t1"), "DEAD");
    assert!(!is_held(&mut world));
    // A crash, and the task runs no more.
    let mut world = World::new();
    let terms = Terms {
        delivery: Some(DeliveryMode::AtMostOnce),
        ..Terms::default()
    };
    world.enqueue_as("t1", with_terms(unique("mail", "wr", Reject), terms));
    world.hello("w1", &["mail"], 1);
    world.begin("w1");
    world.cut("w1");
    world.restart();
    assert!(is_held(&mut world), "the index is made anew");
    world.wait_ms(30_000);
    assert_eq!(world.state("t1"), "DEAD");
    assert!(!is_held(&mut world));
    world.restart();
    assert!(!is_held(&mut world));
}

#[test]
fn a_task_that_comes_back_into_its_scope_is_never_refused() {
    let mut world = World::new();
    world.enqueue_as("t1", unique("mail", "w", Reject));
    world.hello("w1", &["mail"], 1);
    world.enqueue_as("t2", after(60_000, unique("mail", "w", Reject)));
    world.report("w1", ("t1", 1), fail());
    assert_eq!(world.state("t1"), "RETRYING");
    let again = world.send_one(unique("mail", "w", ReturnExisting)).unwrap();
    assert_eq!(again.id, world.id("t1"), "the earlier one of two");
    for run in [2, 3] {
        world.wait_alive_ms(10_000, &["w1"]);
        world.report("w1", ("t1", run), fail());
    }
    assert_eq!(world.state("t1"), "DEAD");
    let again = world.send_one(unique("mail", "w", ReturnExisting)).unwrap();
    assert_eq!(again.id, world.id("t2"));
    world.call(redrive(world.id("t1"), 60_000)).unwrap();
    let again = world.send_one(unique("mail", "w", ReturnExisting)).unwrap();
    assert_eq!(again.id, world.id("t1"));
}

#[test]
fn a_replaced_task_has_the_new_content_under_the_same_id_at_the_same_place() {
    let mut world = World::new();
    let old = holding("old", unique("mail", "w", ReplaceWaiting));
    world.enqueue_as(
        "t1",
        NewTask {
            labels: vec![("a".into(), "1".into())],
            ..old
        },
    );
    world.enqueue("t2", "mail");
    let new = NewTask {
        priority: Priority::Normal,
        version: 3,
        max_attempts: Some(9),
        labels: vec![("b".into(), "2".into())],
        ..holding("new", unique("mail", "w", ReplaceWaiting))
    };
    let ann = Caller {
        by: "ann".into(),
        once: None,
    };
    let sent = world.send_as(ann, enqueue_call(vec![new]));
    let replaced = sent.unwrap().remove(0).unwrap();
    assert_eq!(replaced.how, EnqueueEffect::Replaced);
    assert_eq!(replaced.id, world.id("t1"));
    let view = world.view("t1");
    assert_eq!(
        (&view.task.payload.data[..], view.task.version),
        (&b"new"[..], 3)
    );
    assert_eq!(view.attempts_max, 9);
    let labels = &view.task.side.as_ref().unwrap().labels;
    assert_eq!(labels, &[("b".into(), "2".into())]);
    let acts = &view.task.more().unwrap().acts;
    let act = acts.last().unwrap();
    assert_eq!((act.what.name(), &*act.by), ("REPLACED", "ann"));
    world.quiet();
    world.hello("w1", &["mail"], 2);
    world.expect(&["w1 gets t1#1", "w1 gets t2#1"]);
    let delivery = &world.deliveries[&("t1".to_owned(), 1)];
    assert_eq!(&delivery.payload.data[..], b"new");
}

#[test]
fn only_a_waiting_holder_is_replaced_or_moved() {
    for on_conflict in [ReplaceWaiting, RescheduleWaiting] {
        let mut world = World::new();
        let task = NewTask {
            max_attempts: Some(1),
            ..unique("mail", "wrd", on_conflict)
        };
        world.enqueue_as("t1", task);
        let id = world.id("t1");
        world.hello("w1", &["mail"], 1);
        let refused = world.send_one(unique("mail", "wrd", on_conflict));
        held(id, "LEASED", &refused.unwrap_err());
        world.report("w1", ("t1", 1), fail());
        let refused = world.send_one(unique("mail", "wrd", on_conflict));
        held(id, "DEAD", &refused.unwrap_err());
    }
}

#[test]
fn a_task_of_another_kind_replaces_nothing() {
    let mut world = World::new();
    world.enqueue_as("t1", unique("mail", "w", ReplaceWaiting));
    let other = NewTask {
        kind: "other".into(),
        ..unique("mail", "w", ReplaceWaiting)
    };
    held(world.id("t1"), "READY", &world.send_one(other).unwrap_err());
}

#[test]
fn a_debounced_task_runs_once_with_the_latest_content_and_not_later_than_its_bound() {
    let mut world = World::new();
    world.hello("w1", &["mail"], 1);
    let task = |data| {
        let task = holding(data, unique("mail", "w", ReplaceWaiting));
        postponed_at_most(10_000, after(4000, task))
    };
    world.enqueue_as("t1", task("0"));
    for data in ["3000", "6000", "9000"] {
        world.wait_alive_ms(3000, &["w1"]);
        let replaced = world.send_one(task(data)).unwrap();
        assert_eq!(replaced.how, EnqueueEffect::Replaced);
    }
    world.quiet();
    world.wait_alive_ms(999, &["w1"]);
    world.expect(&[]);
    world.wait_alive_ms(1, &["w1"]);
    world.expect(&["w1 gets t1#1"]);
    let delivery = &world.deliveries[&("t1".to_owned(), 1)];
    assert_eq!(&delivery.payload.data[..], b"9000");
    assert_eq!(world.now, START.plus_ms(10_000));
}

#[test]
fn a_rescheduled_task_keeps_its_content_and_may_come_earlier_too() {
    let mut world = World::new();
    let task = |data, delay_ms| {
        after(
            delay_ms,
            holding(data, unique("mail", "w", RescheduleWaiting)),
        )
    };
    world.enqueue_as("t1", task("old", 60_000));
    let moved = world.send_one(task("new", 5000)).unwrap();
    assert_eq!(moved.how, EnqueueEffect::Rescheduled);
    assert_eq!(moved.id, world.id("t1"));
    world.wait_ms(4999);
    assert_eq!(world.state("t1"), "SCHEDULED");
    world.wait_ms(1);
    assert_eq!(world.state("t1"), "READY");
    assert_eq!(&world.view("t1").task.payload.data[..], b"old");
}

#[test]
fn a_bound_that_is_past_means_at_once_and_takes_no_time_from_the_new_content() {
    for on_conflict in [ReplaceWaiting, RescheduleWaiting] {
        let mut world = World::new();
        let terms = || Terms {
            ttl_ms: Some(5000),
            ..Terms::default()
        };
        let first = after(3_600_000, unique("mail", "w", on_conflict));
        world.enqueue_as("t1", with_terms(first, terms()));
        world.wait_ms(30_000);
        let late = after(9000, unique("mail", "w", on_conflict));
        let late = postponed_at_most(1000, with_terms(late, terms()));
        world.send_one(late).unwrap();
        assert_eq!(world.state("t1"), "READY", "{on_conflict:?}");
        world.wait_ms(4999);
        assert_eq!(world.state("t1"), "READY", "{on_conflict:?}");
        world.wait_ms(1);
        assert_eq!(world.state("t1"), "DEAD", "{on_conflict:?}");
    }
}

#[test]
fn moving_a_ready_task_again_and_again_does_not_make_it_live_longer_than_its_bound() {
    let mut world = World::new();
    let terms = Terms {
        ttl_ms: Some(5000),
        ..Terms::default()
    };
    let task = || postponed_at_most(1000, after(1000, unique("mail", "w", RescheduleWaiting)));
    world.enqueue_as("t1", with_terms(task(), terms));
    for _ in 0..5 {
        world.wait_ms(1000);
        world.send_one(task()).unwrap();
    }
    assert_eq!(world.state("t1"), "READY");
    world.wait_ms(1000);
    assert_eq!(world.state("t1"), "DEAD");
}

#[test]
fn those_of_one_batch_see_each_other() {
    let mut world = World::new();
    let task = |data, on_conflict| holding(data, unique("mail", "w", on_conflict));
    let batch = vec![
        task("1", ReturnExisting),
        task("2", ReturnExisting),
        task("3", Reject),
        task("4", ReplaceWaiting),
        task("5", RescheduleWaiting),
    ];
    let mut sent = world.send(enqueue_call(batch));
    let refused = sent.remove(2).unwrap_err();
    let id = sent[0].as_ref().unwrap().id;
    held(id, "READY", &refused);
    use EnqueueEffect::{Created, Existing, Replaced, Rescheduled};
    assert_eq!(effects(&sent), [Created, Existing, Replaced, Rescheduled]);
    assert!(sent.iter().all(|it| it.as_ref().unwrap().id == id));
    assert_eq!(world.ledger(0).task_count(), 1);
    assert_eq!(&world.ledger(0).task(id).unwrap().payload.data[..], b"4");
}

#[test]
fn a_key_of_a_queue_says_nothing_of_tasks_without_one() {
    let mut world = World::new();
    world.enqueue_as("t1", unique("mail", "wrdf", Reject));
    assert!(world.send_one(new_task("mail")).is_ok());
}

#[test]
fn the_time_of_a_task_is_counted_from_its_start_though_that_is_moved() {
    let mut world = World::new();
    let terms = Terms {
        ttl_ms: Some(5000),
        deadline_ms: Some(9000),
        ..Terms::default()
    };
    world.enqueue_as("t1", with_terms(new_task("mail"), terms));
    let start = Some(Start::After { delay_ms: 60_000 });
    let change = TaskChange {
        start,
        ..TaskChange::default()
    };
    let update = Call::UpdateTask {
        task: world.id("t1").into(),
        change: Box::new(change),
    };
    world.call(update).unwrap();
    world.wait_ms(64_999);
    assert_eq!(world.state("t1"), "READY");
    world.wait_ms(1);
    assert_eq!(world.state("t1"), "DEAD");
}

#[test]
fn a_task_that_has_run_keeps_its_deadline_though_its_start_is_moved() {
    let mut world = World::new();
    let terms = Terms {
        deadline_ms: Some(60_000),
        ..Terms::default()
    };
    world.enqueue_as(
        "t1",
        with_terms(unique("mail", "w", RescheduleWaiting), terms),
    );
    world.hello("w1", &["mail"], 1);
    world.begin("w1");
    world.report("w1", ("t1", 1), fail());
    let end_by = Some(START.plus_ms(60_000));
    world
        .send_one(after(30_000, unique("mail", "w", RescheduleWaiting)))
        .unwrap();
    assert_eq!(world.view("t1").effective.end_by.0, end_by);
    let change = TaskChange {
        start: Some(Start::After { delay_ms: 40_000 }),
        ..TaskChange::default()
    };
    let update = Call::UpdateTask {
        task: world.id("t1").into(),
        change: Box::new(change),
    };
    world.call(update).unwrap();
    assert_eq!(world.view("t1").effective.end_by.0, end_by);
    // What replaces it has a life of its own.
    let terms = Terms {
        deadline_ms: Some(5000),
        ..Terms::default()
    };
    let new = with_terms(unique("mail", "w", ReplaceWaiting), terms);
    world.send_one(after(1000, new)).unwrap();
    let end_by = Some(START.plus_ms(6000));
    assert_eq!(world.view("t1").effective.end_by.0, end_by);
}
