//! Scripts of the producers of enqueue streams: what is resent is the same task.

use super::world::{World, effects, ids, new_task, sent_by};
use crate::engine::command::{Call, NewTask};
use crate::engine::effect::EnqueueEffect;
use crate::engine::limits;
use crate::engine::rejection::Rejection;

const QUEUES: [&str; 5] = ["a", "b", "c", "d", "e"];

/// Tasks of these sequences, over queues of several shards.
fn sequences(of: std::ops::Range<u64>) -> Call {
    let task = |sequence: u64| {
        let queue = usize::try_from(sequence).unwrap() % QUEUES.len();
        (sequence, new_task(QUEUES[queue]))
    };
    sent_by("p", of.map(task))
}

#[test]
fn what_a_producer_resends_is_the_same_tasks_whatever_their_queues() {
    let mut world = World::with(|config| config.shard_count = 16);
    let first = world.send(sequences(0..10));
    let recorded = world.recorded();
    let again = world.send(sequences(0..10));
    assert_eq!(ids(&again), ids(&first));
    assert_eq!(effects(&again), [EnqueueEffect::Existing; 10]);
    assert_eq!(world.recorded(), recorded);
    let more = world.send(sequences(5..12));
    assert_eq!(ids(&more)[..5], ids(&first)[5..]);
    assert_eq!(effects(&more)[5..], [EnqueueEffect::Created; 2]);
    world.restart();
    let again = world.send(sequences(0..12));
    assert_eq!(ids(&again)[5..], ids(&more)[..]);
    assert_eq!(effects(&again), [EnqueueEffect::Existing; 12]);
}

#[test]
fn a_sequence_that_comes_twice_in_one_call_is_one_task() {
    let mut world = World::with(|config| config.shard_count = 16);
    let tasks = [(1, new_task("a")), (2, new_task("b")), (1, new_task("a"))];
    let sent = world.send(sent_by("p", tasks));
    let ids = ids(&sent);
    assert_eq!(ids[0], ids[2]);
    use EnqueueEffect::{Created, Existing};
    assert_eq!(effects(&sent), [Created, Created, Existing]);
}

#[test]
fn each_producer_counts_for_itself() {
    let mut world = World::new();
    let send = |world: &mut World, producer: &str| {
        ids(&world.send(sent_by(producer, [(1, new_task("a"))])))
    };
    let first = send(&mut world, "p");
    assert_ne!(send(&mut world, "q"), first);
    assert_eq!(send(&mut world, "p"), first);
}

#[test]
fn of_very_many_sequences_the_latest_are_remembered() {
    let mut world = World::with(|config| config.shard_count = 2);
    let max = limits::PRODUCER_SEQUENCES_MAX as u64;
    world.check_nothing(true);
    let mut all = Vec::new();
    for from in (0..=max).step_by(1000) {
        all.extend(ids(&world.send(sequences(from..(from + 1000).min(max + 1)))));
    }
    let latest = world.send(sequences(1..2));
    assert_eq!(ids(&latest), all[1..2]);
    let oldest = world.send(sequences(0..1));
    assert_eq!(effects(&oldest), [EnqueueEffect::Created]);
    let gone = world.send(sequences(1..2));
    assert_eq!(effects(&gone), [EnqueueEffect::Created]);
    world.check_nothing(false);
}

#[test]
fn a_refused_item_is_not_remembered() {
    let mut world = World::new();
    let nowhere = || NewTask {
        queue: None,
        ..new_task("a")
    };
    let sent = world.send(sent_by("p", [(1, nowhere()), (2, new_task("a"))]));
    assert!(sent[0].is_err() && sent[1].is_ok());
    let again = world.send(sent_by("p", [(1, new_task("a")), (2, new_task("a"))]));
    use EnqueueEffect::{Created, Existing};
    assert_eq!(effects(&again), [Created, Existing]);
}

#[test]
fn a_producer_is_forgotten_an_hour_after_its_latest_task() {
    let mut world = World::new();
    let hour_ms = 3_600_000;
    let first = world.send(sequences(0..1));
    world.wait_ms(hour_ms - 1);
    world.send(sequences(1..2));
    world.wait_ms(hour_ms - 1);
    assert_eq!(ids(&world.send(sequences(0..1))), ids(&first));
    world.wait_ms(1);
    assert_eq!(world.memories(), 0);
    let anew = world.send(sequences(0..2));
    assert_eq!(effects(&anew), [EnqueueEffect::Created; 2]);
}

#[test]
fn there_are_only_so_many_producers_whatever_their_shards() {
    let mut world = World::with(|config| config.shard_count = 4);
    world.check_nothing(true);
    let mut send = |producer: usize| {
        let call = sent_by(&format!("p{producer}"), [(1, new_task("a"))]);
        world.send(call).remove(0)
    };
    for producer in 0..limits::PRODUCERS_MAX {
        send(producer).unwrap();
    }
    let limit = limits::PRODUCERS_MAX as u64;
    assert_eq!(
        send(limits::PRODUCERS_MAX),
        Err(Rejection::MemoriesFull { limit })
    );
    assert!(send(7).is_ok());
}
