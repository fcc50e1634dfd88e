//! Scripts of idempotency keys: the same key, within its window, is the same task.

use std::sync::Arc;

use super::world::{
    World, by_key, cancel_as, complete, fail, ids, keyed, new_task, unique, with_id,
};
use crate::engine::command::{
    Call, Cancel, CancelMode, NewTask, OnConflict, ReportOutcome, TaskChange, TaskRef,
};
use crate::engine::effect::{Accepted, Answer, EnqueueEffect};
use crate::engine::ids::{QueueName, TaskId};
use crate::engine::ledger::memory::MemoryKey;
use crate::engine::ledger::task::{Payload, Priority, State};
use crate::engine::ledger::terms::Terms;
use crate::engine::rejection::Rejection;

/// A task that is forgotten at once when it has ended.
fn brief(key: &str) -> NewTask {
    let terms = Terms {
        result_ttl_ms: Some(0),
        ..Terms::default()
    };
    super::world::follow::with_terms(keyed("mail", key, 1), terms)
}

const fn existing(id: TaskId) -> Accepted {
    let how = EnqueueEffect::Existing;
    Accepted { id, how }
}

#[test]
fn a_second_task_with_the_key_is_the_first_one_until_the_window_is_over() {
    let mut world = World::new();
    let first = world.send_one(keyed("mail", "k", 1)).unwrap();
    assert_eq!(first.how, EnqueueEffect::Created);
    let recorded = world.recorded();
    world.now = world.now.plus_ms(9999);
    assert_eq!(
        world.send_one(keyed("mail", "k", 1)),
        Ok(existing(first.id))
    );
    assert_eq!(world.recorded(), recorded);
    world.now = world.now.plus_ms(1);
    let second = world.send_one(keyed("mail", "k", 1)).unwrap();
    assert_eq!(second.how, EnqueueEffect::Created);
    assert_eq!(
        world.send_one(keyed("mail", "k", 1)),
        Ok(existing(second.id))
    );
}

#[test]
fn other_content_under_a_key_is_refused_and_says_which_task_has_it() {
    let mut world = World::new();
    let task = world.send_one(keyed("mail", "k", 1)).unwrap().id;
    let reused = Err(Rejection::KeyReused { task });
    assert_eq!(world.send_one(keyed("mail", "k", 2)), reused);
    world.restart();
    assert_eq!(world.send_one(keyed("mail", "k", 2)), reused);
    assert_eq!(world.send_one(keyed("mail", "k", 1)), Ok(existing(task)));
    assert!(world.send_one(keyed("mail", "k2", 2)).is_ok());
    let elsewhere = world.send_one(keyed("other", "k", 2)).unwrap();
    assert_eq!(elsewhere.how, EnqueueEffect::Created);
}

#[test]
fn a_key_means_its_task_though_that_has_ended_and_was_forgotten() {
    let mut world = World::new();
    world.enqueue_as("t1", brief("k"));
    let id = world.id("t1");
    world.hello("w1", &["mail"], 1);
    world.report("w1", ("t1", 1), complete());
    assert_eq!(world.send_one(brief("k")), Ok(existing(id)));
    world.wait_ms(1);
    assert!(world.ledger(0).task(id).is_none());
    assert_eq!(world.send_one(brief("k")), Ok(existing(id)));
    let unknown = world.call(Call::GetTask(by_key("mail", "k")));
    assert_eq!(unknown.unwrap_err(), Rejection::TaskNotFound(id));
    world.restart();
    assert_eq!(world.send_one(brief("k")), Ok(existing(id)));
    world.wait_ms(9999);
    let anew = world.send_one(brief("k")).unwrap();
    assert_eq!(anew.how, EnqueueEffect::Created);
}

#[test]
fn two_with_one_key_in_a_batch_are_one_task() {
    let mut world = World::new();
    let tasks = vec![
        keyed("mail", "k", 1),
        keyed("mail", "k", 1),
        keyed("mail", "k", 2),
    ];
    let sent = world.send(super::world::enqueue_call(tasks));
    let id = sent[0].as_ref().unwrap().id;
    assert_eq!(sent[1], Ok(existing(id)));
    assert_eq!(sent[2], Err(Rejection::KeyReused { task: id }));
    assert_eq!(world.ledger(0).task_count(), 1);
}

#[test]
fn a_task_is_found_changed_waited_for_and_cancelled_by_its_key() {
    let mut world = World::with(|config| config.shard_count = 8);
    world.enqueue_as("t1", keyed("mail", "k", 1));
    let id = world.id("t1");
    let task = by_key("mail", "k");
    let Ok(Answer::Task(view)) = world.call(Call::GetTask(task.clone())) else {
        panic!("not found")
    };
    assert_eq!(view.task.id, id);
    let change = TaskChange {
        priority: Some(Priority::Highest),
        ..TaskChange::default()
    };
    let update = Call::UpdateTask {
        task: task.clone(),
        change: Box::new(change),
    };
    world.call(update).unwrap();
    assert_eq!(world.view("t1").task.priority, Priority::Highest);
    let wait = world.call_later(Call::WaitTask {
        task: task.clone(),
        timeout_ms: 5000,
    });
    let (mode, reason) = (CancelMode::Force, "".into());
    let cancel = Cancel { mode, reason };
    world.call(Call::CancelTask { task, cancel }).unwrap();
    let waited = world.replies.remove(&wait).unwrap();
    assert!(matches!(waited, Ok(Answer::Waited { ended: true, task }) if task.task.id == id));
}

#[test]
fn a_dead_letter_is_redriven_and_discarded_by_its_key() {
    let mut world = World::new();
    let task = NewTask {
        max_attempts: Some(1),
        ..keyed("mail", "k", 1)
    };
    world.enqueue_as("t1", task);
    world.hello("w1", &["mail"], 1);
    let by_key = || by_key("mail", "k");
    world.report("w1", ("t1", 1), fail());
    assert_eq!(world.state("t1"), "DEAD");
    let redrive = Call::RedriveTask {
        task: by_key(),
        delay_ms: 0,
        reason: "".into(),
    };
    world.call(redrive).unwrap();
    world.report("w1", ("t1", 2), fail());
    world
        .call(Call::DiscardTask {
            task: by_key(),
            reason: "".into(),
        })
        .unwrap();
    assert_eq!(world.state("t1"), "DISCARDED");
}

#[test]
fn a_result_is_found_by_its_key_and_the_handler_is_told_the_key() {
    let mut world = World::new();
    world.enqueue_as("t1", keyed("mail", "k", 1));
    world.hello("w1", &["mail"], 1);
    let delivery = &world.deliveries[&("t1".to_owned(), 1)];
    assert_eq!(delivery.key.as_deref(), Some("k"));
    let outcome = ReportOutcome::Complete {
        result: Some(Payload {
            data: "42".into(),
            content_type: None,
        }),
        label: None,
    };
    world.report("w1", ("t1", 1), outcome);
    let Ok(Answer::Waited { ended: true, task }) = world.call(Call::WaitTask {
        task: by_key("mail", "k"),
        timeout_ms: 5000,
    }) else {
        panic!("it has ended")
    };
    let State::Finished(finished) = task.task.state else {
        panic!("it has ended")
    };
    assert_eq!(finished.result.unwrap().data, "42");
}

#[test]
fn a_key_that_nobody_used_or_whose_window_is_over_names_nothing() {
    let mut world = World::new();
    let unknown = |world: &mut World, task: TaskRef| {
        world.call(Call::GetTask(task)).err() == Some(Rejection::KeyNotFound)
    };
    assert!(unknown(&mut world, by_key("mail", "k")));
    world.enqueue_as("t1", keyed("mail", "k", 1));
    assert!(unknown(&mut world, by_key("other", "k")));
    world.wait_ms(9999);
    assert!(!unknown(&mut world, by_key("mail", "k")));
    world.wait_ms(1);
    assert!(unknown(&mut world, by_key("mail", "k")));
    assert_eq!(world.state("t1"), "READY", "the task itself stays");
}

#[test]
fn a_key_that_met_a_unique_key_means_the_holder() {
    let mut world = World::new();
    world.enqueue_as("t1", unique("mail", "wr", OnConflict::ReturnExisting));
    let id = world.id("t1");
    let mut both = unique("mail", "wr", OnConflict::ReturnExisting);
    let keys = both.keys.as_mut().unwrap();
    (keys.key, keys.window_ms) = (Some("k".into()), 10_000);
    assert_eq!(world.send_one(both.clone()), Ok(existing(id)));
    world.call(cancel_as(id, "", CancelMode::Force)).unwrap();
    assert_eq!(world.send_one(both), Ok(existing(id)));
    let Ok(Answer::Task(view)) = world.call(Call::GetTask(by_key("mail", "k"))) else {
        panic!("not found")
    };
    assert_eq!(view.task.id, id);
}

#[test]
fn conflicts_over_a_unique_key_do_not_fill_the_memory_beyond_its_bound() {
    let mut world = World::new();
    world.remember_at_most(2);
    let with_key = |on_conflict, key: &str| {
        let mut task = unique("mail", "w", on_conflict);
        task.keys.as_mut().unwrap().key = Some(key.into());
        task.keys.as_mut().unwrap().window_ms = 10_000;
        task
    };
    let all = [
        OnConflict::ReturnExisting,
        OnConflict::ReplaceWaiting,
        OnConflict::RescheduleWaiting,
    ];
    world.send_one(with_key(all[0], "k0")).unwrap();
    world.send_one(with_key(all[0], "k1")).unwrap();
    for on_conflict in all {
        let full = world.send_one(with_key(on_conflict, "k2"));
        assert_eq!(full, Err(Rejection::MemoriesFull { limit: 2 }));
        assert!(world.send_one(with_key(on_conflict, "k1")).is_ok());
    }
}

#[test]
fn a_request_id_and_a_key_go_together() {
    let mut world = World::new();
    let call = || super::world::enqueue_call(vec![keyed("mail", "k", 1), new_task("mail")]);
    let first = world.send_as(with_id("r", 1), call()).unwrap();
    let again = world.send_as(with_id("r", 1), call()).unwrap();
    assert_eq!(ids(&again), ids(&first));
    let other = world.send_as(with_id("r2", 1), call()).unwrap();
    assert_eq!(ids(&other)[0], ids(&first)[0], "by the key");
    assert_ne!(ids(&other)[1], ids(&first)[1]);
}

#[test]
fn time_does_not_begin_again_before_what_was_forgotten_because_its_time_was_over() {
    let mut world = World::new();
    world.send_one(keyed("mail", "k", 1)).unwrap();
    world.wait_ms(10_000);
    let newest = world.engine.newest();
    assert!(newest >= world.now, "the key's end is known: {newest:?}");
    world.give(crate::engine::command::Command::OpenSegment);
    world.restart();
    assert!(world.engine.newest() >= newest);
}

/// The journal tells by a place in this order what is forgotten: it never changes.
#[test]
fn memories_are_in_the_order_of_their_kind_and_texts_wherever_these_lie() {
    let shared: Arc<str> = "b".into();
    let request = |namespace: &Arc<str>, id: &str| MemoryKey::Request {
        namespace: Arc::clone(namespace),
        id: id.into(),
    };
    let queue = |name| QueueName::new("a", name).unwrap();
    let key = |queue, key: &str| MemoryKey::Key {
        queue,
        key: key.into(),
    };
    let ordered = [
        request(&"a".into(), "z"),
        request(&shared, "x"),
        request(&"b".into(), "y"),
        request(&shared, "z"),
        key(queue("a"), "z"),
        key(queue("b"), "a"),
        MemoryKey::Producer {
            namespace: "a".into(),
            id: "a".into(),
        },
    ];
    assert!(ordered.is_sorted_by(|one, next| one < next), "{ordered:?}");
    assert_eq!(request(&shared, "x"), request(&"b".into(), "x"));
}
