//! Scripts of what is kept when a task has ended, and for how long.

use super::world::follow::with_terms;
use super::world::{World, complete, enqueue_call, new_task, queue};
use crate::engine::command::{Call, NewTask, QueueChange};
use crate::engine::effect::{Answer, TaskView};
use crate::engine::ids::TaskId;
use crate::engine::ledger::kind::{KindName, KindSettings};
use crate::engine::ledger::terms::{Source, Terms};
use crate::engine::{Why, rejection::Rejection};

fn kept_for(ms: u64) -> Terms {
    Terms {
        result_ttl_ms: Some(ms),
        ..Terms::default()
    }
}

fn configure(world: &mut World, name: &str, change: QueueChange) {
    let queue = queue(name);
    world.call(Call::ConfigureQueue { queue, change }).unwrap();
}

fn keep_at_most(world: &mut World, count: u32) {
    let change = QueueChange {
        finished_max: Some(Some(count)),
        ..QueueChange::default()
    };
    configure(world, "mail", change);
}

/// Runs a task to its end.
fn run(world: &mut World, name: &str, task: NewTask) -> TaskId {
    world.enqueue_as(name, task);
    world.report("w1", (name, 1), complete());
    world.id(name)
}

#[test]
fn a_finished_task_is_kept_as_long_as_its_most_special_level_says_and_not_longer() {
    let mut world = World::new();
    world.hello("w1", &["mail", "other"], 9);
    let change = QueueChange {
        terms: Some(Some(Box::new(kept_for(40_000)))),
        ..QueueChange::default()
    };
    configure(&mut world, "mail", change);
    let settings = KindSettings {
        terms: Some(Box::new(kept_for(20_000))),
        ..KindSettings::default()
    };
    world
        .call(Call::SetKind {
            name: KindName::new("default", "special").unwrap(),
            settings: Box::new(settings),
        })
        .unwrap();
    let special = |queue| NewTask {
        kind: "special".into(),
        ..new_task(queue)
    };
    let cases = [
        (
            with_terms(special("mail"), kept_for(7000)),
            7000,
            Source::Task,
        ),
        (special("mail"), 20_000, Source::Kind),
        (new_task("mail"), 40_000, Source::Queue),
        (new_task("other"), 3_600_000, Source::Server),
    ];
    for (number, (task, ms, source)) in cases.into_iter().enumerate() {
        let name = format!("t{number}");
        let id = run(&mut world, &name, task);
        let view = world.view(&name);
        assert_eq!(view.effective.result_ttl_ms, (ms, source));
        world.wait_alive_ms(ms - 1, &["w1"]);
        assert!(world.ledger(id.shard().0).task(id).is_some(), "{source:?}");
        world.wait_alive_ms(1, &["w1"]);
        assert!(world.ledger(id.shard().0).task(id).is_none(), "{source:?}");
    }
}

#[test]
fn the_next_deadline_says_when_a_finished_task_is_forgotten() {
    let mut world = World::new();
    world.hello("w1", &["mail"], 9);
    let id = run(
        &mut world,
        "t1",
        with_terms(new_task("mail"), kept_for(700)),
    );
    let deadline = world.engine.next_deadline().unwrap();
    assert_eq!(
        (deadline.at, deadline.why),
        (world.now.plus_ms(700), Why::Expiry)
    );
    let known = world.call(Call::GetTask(id.into()));
    assert!(known.is_ok());
    world.wait_ms(700);
    let gone = world.call(Call::GetTask(id.into()));
    assert_eq!(gone.unwrap_err(), Rejection::TaskNotFound(id));
}

#[test]
fn who_waits_for_a_task_that_is_not_kept_is_told_how_it_ended() {
    let mut world = World::new();
    world.hello("w1", &["mail"], 9);
    keep_at_most(&mut world, 0);
    world.enqueue_as("t1", with_terms(new_task("mail"), kept_for(0)));
    let id = world.id("t1");
    let wait = world.call_later(Call::WaitTask {
        task: id.into(),
        timeout_ms: 60_000,
    });
    world.quiet();
    world.report("w1", ("t1", 1), complete());
    world.expect(&["t1: Succeeded", "forgot 1", "ack t1: recorded"]);
    let Some(Ok(Answer::Waited { ended: true, task })) = world.replies.remove(&wait) else {
        panic!("not told")
    };
    assert_eq!(task.state.name(), "SUCCEEDED");
    assert!(world.ledger(0).task(id).is_none());
}

#[test]
fn a_result_that_is_not_kept_is_gone_with_the_next_tick() {
    let mut world = World::new();
    world.hello("w1", &["mail"], 9);
    let id = run(&mut world, "t1", with_terms(new_task("mail"), kept_for(0)));
    assert_eq!(world.engine.next_deadline().unwrap().at, world.now);
    world.wait_ms(0);
    assert!(world.ledger(0).task(id).is_none());
}

#[test]
fn a_queue_keeps_so_many_finished_tasks_the_latest() {
    let mut world = World::new();
    world.hello("w1", &["mail"], 9);
    keep_at_most(&mut world, 3);
    let all: Vec<TaskId> = (0..6)
        .map(|number| run(&mut world, &format!("t{number}"), new_task("mail")))
        .collect();
    let kept = |world: &World| -> Vec<bool> {
        let known = |id: &TaskId| world.ledger(0).task(*id).is_some();
        all.iter().map(known).collect()
    };
    assert_eq!(kept(&world), [false, false, false, true, true, true]);
    keep_at_most(&mut world, 1);
    assert_eq!(kept(&world), [false, false, false, false, false, true]);
    keep_at_most(&mut world, 0);
    assert_eq!(kept(&world), [false; 6]);
}

#[test]
fn a_dead_letter_is_kept_until_somebody_decides() {
    let mut world = World::new();
    keep_at_most(&mut world, 0);
    let terms = Terms {
        ttl_ms: Some(1000),
        ..kept_for(0)
    };
    world.enqueue_as("t1", with_terms(new_task("mail"), terms));
    world.wait_ms(30 * 24 * 3_600_000);
    assert_eq!(world.state("t1"), "DEAD");
}

#[test]
fn a_cancelled_or_discarded_task_that_is_not_kept_is_answered_all_the_same() {
    let mut world = World::new();
    keep_at_most(&mut world, 0);
    let sent = world.send(enqueue_call(vec![new_task("mail")]));
    let id = sent[0].as_ref().unwrap().id;
    let answer = world.call(super::world::cancel(id, "")).unwrap();
    let Answer::Cancelled { over: true, task } = answer else {
        panic!("{answer:?}")
    };
    let TaskView { state, .. } = *task;
    assert_eq!(state.name(), "CANCELLED");
    assert!(world.ledger(0).task(id).is_none());
}
