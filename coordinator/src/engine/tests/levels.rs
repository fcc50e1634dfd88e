//! Scripts of what holds for a task: its own word, its kind's, its queue's, the server's.

use super::world::follow::{named, with_terms};
use super::world::{World, fail, new_task, plain_policy, redrive};
use crate::engine::command::{NewTask, QueueChange};
use crate::engine::effect::{Effective, TaskView};
use crate::engine::ledger::kind::KindSettings;
use crate::engine::ledger::task::Timeouts;
use crate::engine::ledger::terms::{DeliveryMode, Source, Terms};
use crate::engine::retry::{Policy, PolicyRef};

pub(super) fn hard(ms: u64) -> Timeouts {
    Timeouts {
        hard_ms: Some(ms),
        ..Timeouts::default()
    }
}

fn policy(name: &str, attempts: u32) -> PolicyRef {
    let policy = Policy {
        name: name.into(),
        ..plain_policy(attempts)
    };
    PolicyRef::Inline(policy.into())
}

fn terms(ms: u64, delivery: DeliveryMode) -> Terms {
    Terms {
        ttl_ms: Some(ms),
        deadline_ms: Some(10 * ms),
        result_ttl_ms: Some(100 * ms),
        delivery: Some(delivery),
        ..Terms::default()
    }
}

fn queue_settings() -> QueueChange {
    QueueChange {
        policy: Some(Some(policy("of-queue", 11))),
        timeouts: Some(Some(hard(11_000))),
        dead_letter_queue: Some(Some(named("of-queue"))),
        terms: Some(Some(Box::new(terms(11_000, DeliveryMode::AtLeastOnce)))),
        ..QueueChange::default()
    }
}

fn kind_settings() -> KindSettings {
    KindSettings {
        queue: None,
        policy: Some(policy("of-kind", 12)),
        timeouts: Some(hard(12_000)),
        max_attempts: Some(22),
        dead_letter_queue: Some(named("of-kind")),
        terms: Some(Box::new(terms(12_000, DeliveryMode::AtMostOnce))),
    }
}

fn own_settings() -> NewTask {
    let task = NewTask {
        policy: Some(policy("own", 13)),
        timeouts: Some(hard(13_000)),
        max_attempts: Some(33),
        ..new_task("mail")
    };
    with_terms(task, terms(13_000, DeliveryMode::AtLeastOnce))
}

/// What a view says, against what this level says of everything.
#[track_caller]
fn check(view: &TaskView, source: Source, (name, attempts, ms): (&str, u32, u64), queue: &str) {
    let Effective {
        policy,
        timeouts,
        attempts: _,
        start_by,
        end_by,
        result_ttl_ms,
        ..
    } = *view.effective;
    let from = view.task.enqueued_at;
    assert_eq!((&*view.policy, policy), (name, source));
    assert_eq!(view.attempts_max, attempts);
    assert_eq!((view.timeouts, timeouts), (hard(ms), source));
    assert_eq!(start_by, (Some(from.plus_ms(ms)), source));
    assert_eq!(end_by, (Some(from.plus_ms(10 * ms)), source));
    assert_eq!(result_ttl_ms, (100 * ms, source));
    let mode = match source {
        Source::Kind => DeliveryMode::AtMostOnce,
        Source::Task | Source::Queue | Source::Server => DeliveryMode::AtLeastOnce,
    };
    assert_eq!(view.effective.delivery, (mode, source));
    assert_eq!(view.effective.dead_letter_queue.0, Some(named(queue)));
}

#[test]
fn where_nobody_says_anything_the_server_does() {
    let mut world = World::new();
    world.enqueue("t1", "mail");
    let view = world.view("t1");
    let expected = Effective {
        result_ttl_ms: (3_600_000, Source::Server),
        ..Effective::default()
    };
    assert_eq!(*view.effective, expected);
    assert_eq!((&*view.policy, view.attempts_max), ("plain", 3));
    assert_eq!(view.timeouts, Timeouts::default());
}

#[test]
fn the_nearest_level_wins_and_is_named() {
    for shards in [1, 16] {
        let mut world = World::with(|config| config.shard_count = shards);
        world.configure("mail", queue_settings());
        world.enqueue("t1", "mail");
        let view = world.view("t1");
        check(&view, Source::Queue, ("of-queue", 11, 11_000), "of-queue");
        assert_eq!(view.effective.attempts, Source::Server, "the policy's");
        assert_eq!(view.effective.policy_revision, 1);
        assert_eq!(view.effective.dead_letter_queue.1, Source::Queue);

        world.set_kind_of("work", attempts_only()).unwrap();
        world.set_kind_of("work", kind_settings()).unwrap();
        world.enqueue("t2", "mail");
        let view = world.view("t2");
        check(&view, Source::Kind, ("of-kind", 22, 12_000), "of-kind");
        assert_eq!(view.effective.attempts, Source::Kind);
        assert_eq!(view.effective.policy_revision, 2);
        assert_eq!(view.effective.dead_letter_queue.1, Source::Kind);

        world.enqueue_as("t3", own_settings());
        let view = world.view("t3");
        check(&view, Source::Task, ("own", 33, 13_000), "of-kind");
        assert_eq!(view.effective.attempts, Source::Task);
        assert_eq!(view.effective.policy_revision, 0);
        assert_eq!(view.effective.dead_letter_queue.1, Source::Kind);
    }
}

fn attempts_only() -> KindSettings {
    KindSettings {
        max_attempts: Some(1),
        ..KindSettings::default()
    }
}

#[test]
fn each_thing_comes_from_its_own_level() {
    let mut world = World::new();
    let change = QueueChange {
        policy: Some(Some(policy("of-queue", 11))),
        ..QueueChange::default()
    };
    world.configure("mail", change);
    let kind = KindSettings {
        max_attempts: Some(2),
        ..KindSettings::default()
    };
    world.set_kind_of("work", kind).unwrap();
    let own = Terms {
        result_ttl_ms: Some(5),
        ..Terms::default()
    };
    world.enqueue_as("t1", with_terms(new_task("mail"), own));
    let view = world.view("t1");
    let expected = Effective {
        policy: Source::Queue,
        policy_revision: 1,
        attempts: Source::Kind,
        result_ttl_ms: (5, Source::Task),
        ..Effective::default()
    };
    assert_eq!(*view.effective, expected);
    assert_eq!((&*view.policy, view.attempts_max), ("of-queue", 2));
}

#[test]
fn a_change_of_a_kind_holds_from_the_next_grant_and_the_next_judgement() {
    let mut world = World::new();
    world.hello("w1", &["mail"], 1);
    world.enqueue("t0", "mail");
    world.enqueue("t1", "mail");
    assert_eq!(
        world.deliveries[&("t0".to_owned(), 1)].timeouts,
        Timeouts::default()
    );
    let kind = KindSettings {
        timeouts: Some(hard(7000)),
        max_attempts: Some(1),
        terms: Some(Box::new(Terms {
            delivery: Some(DeliveryMode::AtMostOnce),
            ..Terms::default()
        })),
        ..KindSettings::default()
    };
    world.set_kind_of("work", kind).unwrap();
    let lease = world.view("t0").task.lease().unwrap().clone();
    assert_eq!(
        (lease.timeouts, lease.delivery),
        (Timeouts::default(), DeliveryMode::AtLeastOnce)
    );
    world.quiet();
    world.report("w1", ("t0", 1), fail());
    world.expect(&[
        "t0: dead, ATTEMPTS_EXHAUSTED",
        "ack t0: recorded",
        "w1 gets t1#1",
    ]);
    let delivery = &world.deliveries[&("t1".to_owned(), 1)];
    assert_eq!((delivery.timeouts, delivery.attempts_max), (hard(7000), 1));
    assert_eq!(delivery.delivery, DeliveryMode::AtMostOnce);
    // What was granted as such stays so when the kind says no more.
    let kind = KindSettings::default();
    world.set_kind_of("work", kind).unwrap();
    world.begin("w1");
    world.cut("w1");
    world.wait_ms(30_000);
    world.expect(&["t1: begun", "t1: dead, LEASE_LOST"]);
}

#[test]
fn a_ttl_that_was_resolved_stays_as_it_was() {
    let mut world = World::new();
    let with_ttl = |ms| KindSettings {
        terms: Some(Box::new(Terms {
            ttl_ms: Some(ms),
            ..Terms::default()
        })),
        ..KindSettings::default()
    };
    world.set_kind_of("work", with_ttl(5000)).unwrap();
    let start = world.now;
    world.enqueue("t1", "mail");
    world.set_kind_of("work", with_ttl(60_000)).unwrap();
    world.enqueue("t2", "mail");
    let of = |world: &mut World, name: &str| world.view(name).effective.start_by;
    assert_eq!(
        of(&mut world, "t1"),
        (Some(start.plus_ms(5000)), Source::Kind)
    );
    assert_eq!(
        of(&mut world, "t2"),
        (Some(start.plus_ms(60_000)), Source::Kind)
    );
    world.wait_ms(5000);
    assert_eq!((world.state("t1"), world.state("t2")), ("DEAD", "READY"));
    let id = world.id("t1");
    world.call(redrive(id, 0)).unwrap();
    let again = world.now.plus_ms(5000);
    assert_eq!(of(&mut world, "t1"), (Some(again), Source::Kind));
}

#[test]
fn the_level_that_a_resolved_ttl_came_from_is_named_although_a_nearer_one_speaks_now() {
    let mut world = World::new();
    let terms = |ms| {
        Box::new(Terms {
            ttl_ms: Some(ms),
            deadline_ms: Some(10 * ms),
            ..Terms::default()
        })
    };
    let change = QueueChange {
        terms: Some(Some(terms(5000))),
        ..QueueChange::default()
    };
    world.configure("mail", change);
    world.enqueue("t1", "mail");
    let kind = KindSettings {
        terms: Some(terms(60_000)),
        ..KindSettings::default()
    };
    world.set_kind_of("work", kind).unwrap();
    let effective = world.view("t1").effective;
    let from = world.now;
    assert_eq!(
        effective.start_by,
        (Some(from.plus_ms(5000)), Source::Queue)
    );
    assert_eq!(
        effective.end_by,
        (Some(from.plus_ms(50_000)), Source::Queue)
    );
}
