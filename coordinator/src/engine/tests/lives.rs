//! Scripts of ttl and deadline among all else: who says them, who is told, and what follows.

use super::world::{START, World, complete, fail, new_task, queue, with_deadline, with_ttl};
use crate::engine::command::{Call, NewTask, QueueChange};
use crate::engine::effect::Answer;
use crate::engine::ids::Timestamp;
use crate::engine::ledger::kind::KindSettings;
use crate::engine::ledger::terms::{Source, Terms};

fn waiting(task: NewTask) -> World {
    let mut world = World::new();
    world.enqueue_as("t1", task);
    world.quiet();
    world
}

fn terms_of(ttl_ms: u64, deadline_ms: u64) -> Box<Terms> {
    Box::new(Terms {
        ttl_ms: Some(ttl_ms),
        deadline_ms: Some(deadline_ms),
        ..Terms::default()
    })
}

#[test]
fn a_task_s_own_ttl_goes_before_its_kind_s_and_that_before_its_queue_s() {
    let mut world = World::new();
    let of_queue = QueueChange {
        terms: Some(Some(terms_of(10_000, 100_000))),
        ..QueueChange::default()
    };
    world.configure("mail", of_queue);
    world.enqueue("t1", "mail");
    world.set_kind(KindSettings {
        terms: Some(terms_of(20_000, 200_000)),
        ..KindSettings::default()
    });
    world.enqueue("t2", "mail");
    world.enqueue_as("t3", with_ttl(30_000));
    let told = |world: &mut World, task: &str| {
        let effective = world.view(task).effective;
        let ms = |(at, source): (Option<Timestamp>, Source)| (at.unwrap().since_ms(START), source);
        (ms(effective.start_by), ms(effective.end_by))
    };
    assert_eq!(
        told(&mut world, "t2"),
        ((20_000, Source::Kind), (200_000, Source::Kind))
    );
    assert_eq!(
        told(&mut world, "t3"),
        ((30_000, Source::Task), (200_000, Source::Kind))
    );
    // What was accepted keeps what it was accepted with.
    assert_eq!(told(&mut world, "t1").0.0, 10_000);
    world.quiet();
    world.wait_ms(30_000);
    world.expect(&[
        "t1: dead, TTL_EXPIRED",
        "t2: dead, TTL_EXPIRED",
        "t3: dead, TTL_EXPIRED",
    ]);
}

#[test]
fn a_delivery_says_how_long_the_task_s_life_still_is() {
    let mut world = waiting(with_deadline(60_000));
    world.wait_ms(20_000);
    world.hello("w1", &["mail"], 1);
    let remaining = |world: &World, run| world.deliveries[&("t1".to_owned(), run)].deadline_ms;
    assert_eq!(remaining(&world, 1), Some(40_000));
    world.report("w1", ("t1", 1), fail());
    world.wait_alive_ms(10_000, &["w1"]);
    assert_eq!(remaining(&world, 2), Some(30_000));
    world.report("w1", ("t1", 2), complete());
    world.enqueue("t2", "mail");
    assert_eq!(world.deliveries[&("t2".to_owned(), 1)].deadline_ms, None);
}

#[test]
fn a_paused_queue_stops_neither_ttl_nor_deadline() {
    let mut world = World::running(with_deadline(12_000));
    world.enqueue_as("t2", with_ttl(11_000));
    let pause = Call::PauseQueue {
        queue: queue("mail"),
        reason: "".into(),
    };
    world.call(pause).unwrap();
    world.quiet();
    world.wait_alive_ms(12_000, &["w1"]);
    world.expect(&[
        "t2: dead, TTL_EXPIRED",
        "t1: dead, DEADLINE_EXCEEDED",
        "w1 stop t1: Deadline",
    ]);
}

#[test]
fn an_expired_task_goes_on_to_the_dead_letter_queue_with_a_life_of_its_own() {
    let to_graveyard = || QueueChange {
        dead_letter_queue: Some(Some(queue("graveyard"))),
        ..QueueChange::default()
    };
    let mut world = World::new();
    world.configure("mail", to_graveyard());
    world.enqueue_as("t1", with_ttl(10_000));
    world.wait_ms(9999);
    world.quiet();
    world.wait_ms(1);
    world.expect(&["t1: Routed", "arrived in graveyard"]);
    world.hello("undertaker", &["graveyard"], 1);
    let (_, delivery) = world.deliveries.iter().next().unwrap();
    assert_eq!(delivery.queue, queue("graveyard"));
    let id = delivery.token.task;
    world.call_it("t2", id);
    let task = world.view("t2").task;
    let life = task.life().unwrap();
    assert_eq!(life.start_by(), Some(START.plus_ms(20_000)));
    assert_eq!(task.side.unwrap().origin, Some(world.id("t1")));
    let mut world = World::running(with_deadline(1000));
    world.configure("mail", to_graveyard());
    world.quiet();
    world.wait_ms(1000);
    world.expect(&["t1: Routed", "w1 stop t1: Deadline", "arrived in graveyard"]);
}

#[test]
fn who_waits_for_the_end_of_a_task_hears_that_its_time_is_over() {
    let mut world = waiting(with_ttl(10_000));
    let wait = Call::WaitTask {
        task: world.id("t1").into(),
        timeout_ms: 60_000,
    };
    let request = world.call_later(wait);
    world.wait_ms(10_000);
    let reply = world.replies.remove(&request);
    let Some(Ok(Answer::Waited { ended: true, task })) = reply else {
        panic!("not told: {reply:?}");
    };
    assert_eq!(task.state.name(), "DEAD");
}

#[test]
fn an_edited_or_cancelled_task_leaves_no_death_behind() {
    let mut world = waiting(with_ttl(10_000));
    world.enqueue_as("t2", with_deadline(10_000));
    world.enqueue_as("t3", new_task("mail"));
    for task in ["t1", "t2"] {
        let id = world.id(task);
        world.call(super::world::cancel(id, "")).unwrap();
    }
    world.quiet();
    world.wait_ms(20_000);
    world.expect(&[]);
}
