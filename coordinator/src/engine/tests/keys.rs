//! Scripts of request ids: what is asked twice is done once (rule 8, I15).

use super::world::{
    World, cancel, cancel_as, complete, effects, enqueue_call, fail, ids, keyed, new_task, queue,
    redrive, update, with_id,
};
use crate::engine::command::{Call, CancelMode, NewTask, QueueChange, Start, TaskChange, TaskRef};
use crate::engine::effect::{Answer, EnqueueEffect};
use crate::engine::ids::TaskId;
use crate::engine::ledger::kind::{KindName, KindSettings};
use crate::engine::ledger::task::Timeouts;
use crate::engine::rejection::Rejection;

fn kind(name: &str) -> KindName {
    KindName::new("default", name).unwrap()
}

fn set_kind(name: &str, queue_name: &str) -> Call {
    let settings = KindSettings {
        queue: Some(queue(queue_name)),
        ..KindSettings::default()
    };
    Call::SetKind {
        name: kind(name),
        settings: Box::new(settings),
    }
}

fn three() -> Vec<NewTask> {
    ["a", "b", "c"].map(new_task).to_vec()
}

fn reused(id: &str) -> Rejection {
    Rejection::RequestIdReused { id: id.to_owned() }
}

/// Asks twice under one id, over a restart too: the second and third time nothing is recorded. Then
/// with other content under it.
#[track_caller]
fn is_done_once(world: &mut World, call: &Call) -> [Answer; 2] {
    let first = world.call_as(with_id("r", 1), call.clone()).unwrap();
    let recorded = world.recorded();
    let second = world.call_as(with_id("r", 1), call.clone()).unwrap();
    assert_eq!(world.recorded(), recorded, "nothing changes: {call:?}");
    let other = world.call_as(with_id("r", 2), call.clone());
    assert_eq!(other.unwrap_err(), reused("r"));
    world.restart();
    let recorded = world.recorded();
    world.call_as(with_id("r", 1), call.clone()).unwrap();
    assert_eq!(
        world.recorded(),
        recorded,
        "a restart is survived: {call:?}"
    );
    let other = world.call_as(with_id("r", 2), call.clone());
    assert_eq!(other.unwrap_err(), reused("r"));
    // The next one of the script uses the same id.
    world.wait_ms(10_000);
    assert_eq!(world.memories(), 0);
    [first, second]
}

/// I15, of what is said twice.
#[test]
fn a_batch_over_many_shards_that_is_sent_again_is_the_same_tasks() {
    let mut world = World::with(|config| config.shard_count = 16);
    let first = world
        .send_as(with_id("r", 1), enqueue_call(three()))
        .unwrap();
    assert_eq!(effects(&first), [EnqueueEffect::Created; 3]);
    let recorded = world.recorded();
    for _ in 0..2 {
        let again = world
            .send_as(with_id("r", 1), enqueue_call(three()))
            .unwrap();
        assert_eq!(ids(&again), ids(&first));
        assert_eq!(effects(&again), [EnqueueEffect::Existing; 3]);
    }
    assert_eq!(world.recorded(), recorded);
    world.restart();
    let again = world
        .send_as(with_id("r", 1), enqueue_call(three()))
        .unwrap();
    assert_eq!(ids(&again), ids(&first));
    let other = world.send_as(with_id("r", 2), enqueue_call(vec![new_task("d")]));
    assert_eq!(other, Err(reused("r")));
}

#[test]
fn the_id_of_a_request_is_one_for_the_namespace_whatever_it_is_about() {
    let mut world = World::with(|config| config.shard_count = 16);
    let pause = |name| Call::PauseQueue {
        queue: queue(name),
        reason: "".into(),
    };
    world.call_as(with_id("r", 1), pause("a")).unwrap();
    for name in ["b", "c", "d", "e", "f"] {
        let other = world.call_as(with_id("r", 2), pause(name));
        assert_eq!(other.unwrap_err(), reused("r"));
        let other = world.send_as(with_id("r", 2), enqueue_call(vec![new_task(name)]));
        assert_eq!(other, Err(reused("r")));
    }
    let mut elsewhere = with_id("r", 3);
    elsewhere.once.as_mut().unwrap().namespace = "other".into();
    assert!(world.call_as(elsewhere, pause("b")).is_ok());
}

#[test]
fn a_task_that_is_sent_again_is_the_same_though_its_kind_goes_elsewhere_now() {
    let mut world = World::with(|config| config.shard_count = 16);
    let task = || NewTask {
        queue: None,
        ..new_task("a")
    };
    let send = |world: &mut World| {
        let sent = world.send_as(with_id("r", 1), enqueue_call(vec![task()]));
        ids(&sent.unwrap())
    };
    world.call(set_kind("work", "a")).unwrap();
    let first = send(&mut world);
    for elsewhere in ["b", "c", "d"] {
        world.call(set_kind("work", elsewhere)).unwrap();
        assert_eq!(send(&mut world), first);
    }
    world.call(Call::DeleteKind(kind("work"))).unwrap();
    assert_eq!(send(&mut world), first);
}

#[test]
fn a_request_is_forgotten_when_its_time_is_over_and_not_a_millisecond_before() {
    let mut world = World::new();
    let send = |world: &mut World| {
        let sent = world.send_as(with_id("r", 1), enqueue_call(vec![new_task("mail")]));
        sent.unwrap()[0].clone().unwrap()
    };
    let first = send(&mut world);
    world.now = world.now.plus_ms(9999);
    assert_eq!(send(&mut world).id, first.id);
    let deadline = world.engine.next_deadline().unwrap();
    assert_eq!(deadline.at, world.now.plus_ms(1));
    world.now = world.now.plus_ms(1);
    // Exactly then, though no tick has come.
    let later = send(&mut world);
    assert_eq!(later.how, EnqueueEffect::Created);
    world.wait_ms(9999);
    assert_eq!(world.memories(), 1);
    world.wait_ms(1);
    assert_eq!(world.memories(), 0);
}

#[test]
fn an_item_that_was_refused_is_tried_anew_and_the_others_are_not() {
    let mut world = World::with(|config| config.memory_bytes_max = 1_000_000);
    let big = |bytes: usize| {
        let mut task = new_task("mail");
        task.payload.data = vec![0; bytes].into();
        task
    };
    let batch = || enqueue_call(vec![big(700_000), big(300_000), new_task("mail")]);
    let first = world.send_as(with_id("r", 1), batch()).unwrap();
    assert!(first[0].is_ok() && first[1].is_err() && first[2].is_ok());
    world.hello("w1", &["mail"], 2);
    for result in [&first[0], &first[2]] {
        let id = result.as_ref().unwrap().id;
        world.call(cancel_as(id, "", CancelMode::Force)).unwrap();
    }
    world.cut("w1");
    let recorded = world.recorded();
    let again = world.send_as(with_id("r", 1), batch()).unwrap();
    assert_eq!(again[0].as_ref().unwrap().id, first[0].as_ref().unwrap().id);
    assert_eq!(again[2].as_ref().unwrap().id, first[2].as_ref().unwrap().id);
    assert!(again[1].is_err(), "there is no more room than before");
    assert_eq!(world.recorded(), recorded);
    let mut world = World::new();
    let pause = Call::ResumeQueue(queue("mail"));
    world.call_as(with_id("r", 1), pause.clone()).unwrap_err();
    world.enqueue("t1", "mail");
    world.call_as(with_id("r", 1), pause).unwrap();
}

#[test]
fn a_cancel_is_done_once() {
    let mut world = World::with(|config| config.shard_count = 4);
    world.enqueue("t1", "mail");
    world.enqueue("t2", "mail");
    let ask = cancel(world.id("t1"), "");
    let [first, second] = is_done_once(&mut world, &ask);
    for answer in [first, second] {
        assert!(matches!(answer, Answer::Cancelled { over: true, .. }));
    }
    world.hello("w1", &["mail"], 1);
    let ask = cancel(world.id("t2"), "");
    let first = world.call_as(with_id("r2", 1), ask.clone()).unwrap();
    assert!(matches!(first, Answer::Cancelled { over: false, .. }));
    world.report("w1", ("t2", 1), complete());
    let second = world.call_as(with_id("r2", 1), ask).unwrap();
    let Answer::Cancelled { over: false, task } = second else {
        panic!("it is not cancelled: {second:?}")
    };
    assert_eq!(task.state.name(), "SUCCEEDED", "as it stands now");
}

#[test]
fn an_update_is_done_once() {
    let mut world = World::with(|config| config.shard_count = 4);
    world.enqueue("t1", "mail");
    let id = world.id("t1");
    is_done_once(&mut world, &update(id, Timeouts::default()));
    let change = TaskChange {
        start: Some(Start::After { delay_ms: 60_000 }),
        ..TaskChange::default()
    };
    let change = Box::new(change);
    let task = TaskRef::Id(id);
    let [first, second] = is_done_once(&mut world, &Call::UpdateTask { task, change });
    for answer in [first, second] {
        let Answer::Task(view) = answer else {
            panic!("{answer:?}")
        };
        assert_eq!(view.state.name(), "SCHEDULED");
    }
}

#[test]
fn a_redrive_and_a_discard_are_done_once() {
    let mut world = World::with(|config| config.shard_count = 4);
    let task = NewTask {
        max_attempts: Some(1),
        ..new_task("mail")
    };
    world.enqueue_as("t1", task);
    world.hello("w1", &["mail"], 1);
    world.report("w1", ("t1", 1), fail());
    world.cut("w1");
    let id = world.id("t1");
    let [first, second] = is_done_once(&mut world, &redrive(id, 60_000));
    for answer in [first, second] {
        assert!(matches!(answer, Answer::Task(view) if view.task.tally().redrives == 1));
    }
    world.wait_ms(60_000);
    world.hello("w1", &["mail"], 1);
    world.report("w1", ("t1", 2), fail());
    world.cut("w1");
    assert_eq!(world.state("t1"), "DEAD");
    is_done_once(
        &mut world,
        &Call::DiscardTask {
            task: id.into(),
            reason: "".into(),
        },
    );
    assert_eq!(world.state("t1"), "DISCARDED");
}

#[test]
fn what_changes_a_queue_or_a_kind_is_done_once() {
    let mut world = World::with(|config| config.shard_count = 4);
    let configure = Call::ConfigureQueue {
        queue: queue("mail"),
        change: QueueChange {
            finished_max: Some(Some(7)),
            ..QueueChange::default()
        },
    };
    for answer in is_done_once(&mut world, &configure) {
        assert!(matches!(answer, Answer::Queue(view) if view.queue.revision == 1));
    }
    let pause = Call::PauseQueue {
        queue: queue("mail"),
        reason: "lunch".into(),
    };
    for answer in is_done_once(&mut world, &pause) {
        assert!(matches!(answer, Answer::Queue(view) if &*view.queue.paused_by == "ann"));
    }
    is_done_once(&mut world, &Call::ResumeQueue(queue("mail")));
    for answer in is_done_once(&mut world, &set_kind("work", "mail")) {
        assert!(matches!(answer, Answer::Kind(kind) if kind.revision == 1));
    }
    is_done_once(&mut world, &Call::DeleteKind(kind("work")));
}

#[test]
fn what_came_between_stays_where_a_request_is_repeated() {
    let mut world = World::new();
    let pause = Call::PauseQueue {
        queue: queue("mail"),
        reason: "".into(),
    };
    world.call_as(with_id("r", 1), pause.clone()).unwrap();
    world.call(Call::ResumeQueue(queue("mail"))).unwrap();
    let again = world.call_as(with_id("r", 1), pause).unwrap();
    assert!(matches!(again, Answer::Queue(view) if view.queue.paused.is_none()));
}

#[test]
fn workers_are_asked_to_leave_once() {
    let mut world = World::new();
    world.hello("w1", &["mail"], 1);
    world.hello("w2", &["mail"], 1);
    world.quiet();
    let drain = Call::DrainWorkers {
        namespace: "default".into(),
        workers: vec!["w1".into(), "w3".into()],
        reason: "".into(),
        deadline_ms: None,
    };
    for told in [&["drain w1"][..], &[]] {
        let answer = world.call_as(with_id("r", 1), drain.clone()).unwrap();
        assert!(matches!(answer, Answer::Drained(workers) if workers == ["w1".into()]));
        world.expect(told);
    }
    let other = world.call_as(with_id("r", 2), drain);
    assert_eq!(other.unwrap_err(), reused("r"));
}

#[test]
fn a_repeated_request_is_about_the_task_that_it_changed_whatever_its_key_means_now() {
    let mut world = World::new();
    let first = world.send_one(keyed("mail", "k", 1)).unwrap();
    world.wait_ms(5000);
    let task = super::world::by_key("mail", "k");
    let cancel = Call::CancelTask {
        task,
        cancel: crate::engine::command::Cancel {
            mode: CancelMode::Force,
            reason: "".into(),
        },
    };
    let about = |answer: Result<Answer, Rejection>| {
        let Ok(Answer::Cancelled { task, .. }) = answer else {
            panic!("{answer:?}")
        };
        task.task.id
    };
    assert_eq!(
        about(world.call_as(with_id("r", 1), cancel.clone())),
        first.id
    );
    world.wait_ms(5000);
    assert_eq!(
        about(world.call_as(with_id("r", 1), cancel.clone())),
        first.id
    );
    let second = world.send_one(keyed("mail", "k", 2)).unwrap();
    assert_ne!(second.id, first.id);
    assert_eq!(about(world.call_as(with_id("r", 1), cancel)), first.id);
}

#[test]
fn a_full_memory_refuses_only_what_is_to_be_remembered() {
    let mut world = World::new();
    world.remember_at_most(2);
    let send = |world: &mut World, id: &str| {
        let call = enqueue_call(vec![new_task("mail")]);
        world.send_as(with_id(id, 1), call).unwrap().remove(0)
    };
    let full = Rejection::MemoriesFull { limit: 2 };
    let first = send(&mut world, "r1").unwrap();
    send(&mut world, "r2").unwrap();
    assert_eq!(send(&mut world, "r3"), Err(full.clone()));
    assert_eq!(send(&mut world, "r1").unwrap().id, first.id);
    assert_eq!(world.send_one(keyed("mail", "k", 1)), Err(full.clone()));
    assert!(world.send_one(new_task("mail")).is_ok());
    let pause = |world: &mut World, caller| {
        let reason = "".into();
        let queue = queue("mail");
        world.call_as(caller, Call::PauseQueue { queue, reason })
    };
    assert_eq!(pause(&mut world, with_id("r4", 1)).unwrap_err(), full);
    assert!(pause(&mut world, crate::engine::command::Caller::default()).is_ok());
    world.wait_ms(10_000);
    assert!(send(&mut world, "r3").is_ok(), "some have expired");
}

#[test]
fn a_request_about_what_is_not_there_is_not_remembered() {
    let mut world = World::new();
    let ask = cancel(TaskId::MIN, "");
    let unknown = Rejection::TaskNotFound(TaskId::MIN);
    for _ in 0..2 {
        let refused = world.call_as(with_id("r", 1), ask.clone());
        assert_eq!(refused.unwrap_err(), unknown);
    }
    assert_eq!(world.memories(), 0);
}
