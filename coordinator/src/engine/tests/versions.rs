//! Scripts of schema versions: who gets which, and what is shown of what nobody gets.

use super::world::follow::named;
use super::world::{World, complete, info, new_task};
use crate::engine::command::{Call, FromWorker, KindServed, LeaseTasks, NewTask, WorkerInfo};
use crate::engine::effect::{Answer, QueueView, Unserved};
use crate::engine::limits;

fn of(kind: &str, version: u32) -> NewTask {
    NewTask {
        kind: kind.into(),
        version,
        ..new_task("mail")
    }
}

/// A worker of the queue "mail" for these kinds, each in these versions.
fn for_versions(worker: &str, kinds: &[(&str, u32, u32)]) -> WorkerInfo {
    let served = |(kind, version_min, version_max): &(&str, u32, u32)| KindServed {
        kind: (*kind).into(),
        version_min: *version_min,
        version_max: *version_max,
    };
    WorkerInfo {
        kinds: kinds.iter().map(served).collect(),
        ..info(worker, &["mail"], &[])
    }
}

fn queue(world: &mut World) -> QueueView {
    match world.call(Call::GetQueue(named("mail"))) {
        Ok(Answer::Queue(view)) => *view,
        other => panic!("no queue: {other:?}"),
    }
}

/// What nobody runs, as "kind/version: count".
fn unserved(world: &mut World) -> Vec<String> {
    let unserved = queue(world).unserved;
    let line = |it: &Unserved| format!("{}/{}: {}", it.kind, it.version, it.ready);
    unserved.iter().map(line).collect()
}

#[test]
fn a_range_of_versions_gets_those_and_no_others() {
    let mut world = World::new();
    for version in 0..=4 {
        world.enqueue_as(&format!("v{version}"), of("work", version));
    }
    world.hello_as("w1", for_versions("w1", &[("work", 1, 2)]), 9, &[]);
    world.expect(&["w1 gets v1#1", "w1 gets v2#1"]);
    world.enqueue_as("more", of("work", 2));
    world.enqueue_as("other", of("other", 1));
    world.expect(&["w1 gets more#1"]);
}

#[test]
fn a_plain_kind_gets_every_version_and_no_kinds_get_everything() {
    let mut world = World::new();
    for version in [0, 7, u32::MAX] {
        world.enqueue_as(&format!("v{version}"), of("work", version));
    }
    world.enqueue_as("other", of("other", 3));
    world.hello_as("w1", info("w1", &["mail"], &["work"]), 9, &[]);
    world.expect(&["w1 gets v0#1", "w1 gets v7#1", "w1 gets v4294967295#1"]);
    world.hello("w2", &["mail"], 9);
    world.expect(&["w2 gets other#1"]);
}

#[test]
fn the_oldest_goes_first_whatever_its_version() {
    let mut world = World::new();
    for (name, version) in [("a", 2), ("b", 1), ("c", 3), ("d", 1), ("e", 2)] {
        world.enqueue_as(name, of("work", version));
    }
    let one_to_two = for_versions("w1", &[("work", 1, 2), ("zzz", 0, u32::MAX)]);
    world.hello_as("w1", one_to_two, 9, &[]);
    world.expect(&["w1 gets a#1", "w1 gets b#1", "w1 gets d#1", "w1 gets e#1"]);
}

#[test]
fn what_nobody_runs_waits_is_shown_and_is_delivered_when_somebody_comes() {
    let mut world = World::new();
    world.hello_as("w1", for_versions("w1", &[("work", 0, 1)]), 9, &[]);
    world.enqueue_as("v2", of("work", 2));
    world.enqueue_as("w2", of("work", 2));
    world.enqueue_as("new", of("new", 0));
    world.expect(&[]);
    assert_eq!(unserved(&mut world), ["new/0: 1", "work/2: 2"]);
    assert!(world.view("v2").no_worker && world.view("new").no_worker);
    assert_eq!(world.state("v2"), "READY");
    world.wait_alive_ms(3_600_000, &["w1"]);
    world.expect(&[]);
    world.hello_as("two", for_versions("two", &[("work", 2, 2)]), 9, &[]);
    world.expect(&["two gets v2#1", "two gets w2#1"]);
    assert_eq!(unserved(&mut world), ["new/0: 1"]);
    assert!(!world.view("v2").no_worker);
    let request = world.call_later(Call::LeaseTasks(LeaseTasks {
        worker: info("cron", &["mail"], &["new"]),
        count_max: 1,
        wait_ms: 0,
        ttl_ms: 30_000,
    }));
    assert_eq!(world.leased(request), ["new#1"]);
    assert_eq!(unserved(&mut world), [""; 0]);
}

#[test]
fn who_has_no_room_or_waits_in_a_call_serves_and_who_is_gone_does_not() {
    let mut world = World::new();
    world.enqueue("t1", "mail");
    assert_eq!(unserved(&mut world), ["work/0: 1"]);
    world.hello("w1", &["mail"], 0);
    assert_eq!(unserved(&mut world), [""; 0]);
    assert!(!world.view("t1").no_worker);
    world.cut("w1");
    assert!(world.view("t1").no_worker);
    world.hello("other", &["elsewhere"], 1);
    assert_eq!(unserved(&mut world), ["work/0: 1"]);
    let only_new = info("cron", &["mail"], &["new"]);
    world.call_later(Call::LeaseTasks(LeaseTasks {
        worker: only_new,
        count_max: 1,
        wait_ms: 5000,
        ttl_ms: 30_000,
    }));
    world.enqueue_as("later", of("work", 3));
    assert_eq!(unserved(&mut world), ["work/0: 1", "work/3: 1"]);
}

#[test]
fn only_what_is_ready_is_unserved_and_so_much_is_listed() {
    let mut world = World::new();
    let later = NewTask {
        start: crate::engine::command::Start::After { delay_ms: 1000 },
        ..new_task("mail")
    };
    world.enqueue_as("later", later);
    assert_eq!(unserved(&mut world), [""; 0]);
    assert!(!world.view("later").no_worker);
    world.wait_ms(1000);
    assert_eq!(unserved(&mut world), ["work/0: 1"]);
    for index in 0..limits::UNSERVED_LISTED_MAX {
        world.enqueue_as(&format!("k{index}"), of(&format!("k{index}"), 0));
    }
    assert_eq!(unserved(&mut world).len(), limits::UNSERVED_LISTED_MAX);
}

#[test]
fn a_new_version_is_rolled_out_and_nothing_fails() {
    let mut world = World::new();
    let old = |worker: &str| for_versions(worker, &[("work", 0, 1)]);
    let new = |worker: &str| for_versions(worker, &[("work", 1, 2)]);
    world.hello_as("old-1", old("old-1"), 1, &[]);
    world.hello_as("old-2", old("old-2"), 1, &[]);
    // Producers go first: half of what they send is of the new version.
    for index in 0..8 {
        let version = 1 + index % 2;
        world.enqueue_as(&format!("t{index}"), of("work", version));
    }
    let finish = |world: &mut World, name: &str| {
        let task = world.view(name).task;
        let worker = task
            .lease()
            .expect("somebody is free for it")
            .worker
            .clone();
        world.report(&worker, (name, task.runs()), complete());
        assert_eq!(world.state(name), "SUCCEEDED");
    };
    finish(&mut world, "t0");
    finish(&mut world, "t2");
    assert_eq!(unserved(&mut world), ["work/2: 4"]);
    // One worker after the other is replaced.
    world.say("old-1", FromWorker::Goodbye);
    world.hello_as("new-1", new("new-1"), 1, &[]);
    assert_eq!(unserved(&mut world), [""; 0]);
    for name in ["t1", "t3", "t4", "t5", "t6", "t7"] {
        finish(&mut world, name);
        if name == "t3" {
            world.say("old-2", FromWorker::Goodbye);
            world.hello_as("new-2", new("new-2"), 1, &[]);
        }
    }
    for index in 0..8 {
        let task = world.view(&format!("t{index}")).task;
        assert_eq!((task.tally().failures, task.tally().crashes), (0, 0));
    }
}

#[test]
fn kinds_and_versions_of_a_queue_are_bounded_together() {
    let mut world = World::new();
    for version in 0..limits::KINDS_MAX {
        let version = u32::try_from(version).unwrap();
        world.enqueue_unchecked(&format!("v{version}"), of("work", version));
    }
    let call = |version| super::world::enqueue_call(vec![of("work", version)]);
    let enqueue = |world: &mut World, version| match world.call(call(version)) {
        Ok(Answer::Enqueued(mut results)) => results.remove(0).map(drop),
        other => panic!("not answered item by item: {other:?}"),
    };
    assert!(enqueue(&mut world, u32::MAX).is_err());
    assert!(enqueue(&mut world, 5).is_ok());
}
