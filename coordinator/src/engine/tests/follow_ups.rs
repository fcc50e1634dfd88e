//! Scripts of follow-ups: who says which one, and what it is made of.

use std::sync::Arc;

use super::world::follow::{followed, for_every_end, named, template, with_terms};
use super::world::{World, cancel, complete, fail, info, new_task, plain_policy};
use crate::engine::command::{
    Bulk, BulkAct, Call, Cancel, CancelMode, FromWorker, NewTask, QueueChange, Selection,
};
use crate::engine::effect::Answer;
use crate::engine::event::Event;
use crate::engine::filter::Filter;
use crate::engine::ids::TaskId;
use crate::engine::ledger::kind::KindSettings;
use crate::engine::ledger::more::Cause;
use crate::engine::ledger::task::{Payload, Priority, State, Task};
use crate::engine::ledger::terms::{FollowUps, Source, Template, Terms, Transition};
use crate::engine::limits;
use crate::engine::retry::PolicyRef;

fn single() -> World {
    World::with(|config| config.default_policy = plain_policy(1).into())
}

fn on_failure(template: Template) -> FollowUps {
    FollowUps {
        on_failure: Some(Box::new(template)),
        ..FollowUps::default()
    }
}

fn kind_with(follow_ups: FollowUps) -> KindSettings {
    KindSettings {
        terms: Some(Box::new(followed(follow_ups))),
        ..KindSettings::default()
    }
}

fn queue_with(follow_ups: FollowUps) -> QueueChange {
    QueueChange {
        terms: Some(Some(Box::new(followed(follow_ups)))),
        ..QueueChange::default()
    }
}

/// Fails a new task of this name for good.
fn fail_one(world: &mut World, name: &str, task: NewTask) {
    world.enqueue_as(name, task);
    world.report("w1", (name, 1), fail());
}

#[test]
fn the_first_level_that_names_one_for_an_end_wins_for_that_end_alone() {
    let mut world = single();
    world.hello("w1", &["mail"], 9);
    world.configure("mail", queue_with(for_every_end("queue")));
    let exhausted = FollowUps {
        on_exhausted: Some(Box::new(template("kind-exhausted"))),
        on_success: Some(Box::new(template("kind-success"))),
        ..FollowUps::default()
    };
    world.set_kind_of("work", kind_with(exhausted)).unwrap();
    let own = followed(FollowUps {
        on_success: Some(Box::new(template("own-success"))),
        ..FollowUps::default()
    });

    fail_one(&mut world, "t1", with_terms(new_task("mail"), own.clone()));
    let expected = [
        (Transition::Failure, "queue-failure".to_owned()),
        (Transition::Exhausted, "kind-exhausted".to_owned()),
    ];
    assert_eq!(world.fired("t1"), expected);
    let follow_ups = world.view("t1").effective.follow_ups;
    let said: Vec<_> = follow_ups
        .iter()
        .map(|(_, kind, source)| (&**kind, *source))
        .collect();
    let effective = [
        ("own-success", Source::Task),
        ("queue-failure", Source::Queue),
        ("kind-exhausted", Source::Kind),
        ("queue-cancelled", Source::Queue),
    ];
    assert_eq!(said, effective);

    world.enqueue_as("t2", with_terms(new_task("mail"), own));
    world.report("w1", ("t2", 1), complete());
    let expected = [(Transition::Success, "own-success".to_owned())];
    assert_eq!(world.fired("t2"), expected);

    world.enqueue("t3", "mail");
    world.report("w1", ("t3", 1), complete());
    let expected = [(Transition::Success, "kind-success".to_owned())];
    assert_eq!(world.fired("t3"), expected);

    world.enqueue("t4", "mail");
    let id = world.id("t4");
    world.call(cancel(id, "no")).unwrap();
    world.report("w1", ("t4", 1), fail());
    let expected = [(Transition::Cancelled, "queue-cancelled".to_owned())];
    assert_eq!(world.fired("t4"), expected);
}

#[test]
fn nothing_follows_where_nobody_says_so() {
    let mut world = single();
    world.hello("w1", &["mail"], 9);
    fail_one(&mut world, "t1", new_task("mail"));
    assert_eq!(world.fired("t1"), []);
    assert_eq!(world.ledger(0).task_count(), 1);
}

#[test]
fn a_follow_up_is_what_its_template_says_and_knows_its_cause() {
    let mut world = single();
    world.hello("w1", &["mail"], 9);
    let labels: Vec<(Arc<str>, Arc<str>)> = vec![("tenant".into(), "acme".into())];
    let said = Template {
        priority: Priority::High,
        delay_ms: 7000,
        version: 3,
        labels: labels.clone(),
        ..template("alarm")
    };
    let terms = followed(on_failure(said));
    fail_one(&mut world, "t1", with_terms(new_task("mail"), terms));
    let task = world.follower("t1", Transition::Failure);
    assert_eq!((&*task.kind, &task.queue), ("alarm", &named("after")));
    assert_eq!((task.priority, task.version), (Priority::High, 3));
    assert_eq!(
        (task.runs(), task.tally().failures, task.own.clone()),
        (0, 0, None)
    );
    let not_before = world.now.plus_ms(7000);
    assert_eq!(task.state, State::Pending { not_before });
    let side = task.side.as_deref().unwrap();
    assert_eq!((&side.labels, side.origin), (&labels, None));
    let cause = Cause {
        task: world.id("t1"),
        transition: Transition::Failure,
    };
    assert_eq!(task.more().unwrap().cause, Some(cause));

    world.call_it("f1", task.id);
    world.hello("w2", &["after"], 1);
    world.wait_alive_ms(7000, &["w1", "w2"]);
    let delivery = &world.deliveries[&("f1".to_owned(), 1)];
    assert_eq!((delivery.version, delivery.cause), (3, Some(cause)));
    assert_eq!(delivery.labels, labels);
}

#[test]
fn a_follow_up_lives_by_what_its_own_kind_and_queue_say() {
    let mut world = World::with(|config| {
        config.shard_count = 16;
        config.default_policy = plain_policy(1).into();
    });
    let policy = |attempts| Some(PolicyRef::Inline(plain_policy(attempts).into()));
    let kind = KindSettings {
        policy: policy(7),
        ..KindSettings::default()
    };
    world.set_kind_of("alarm", kind).unwrap();
    let change = QueueChange {
        policy: Some(policy(9)),
        terms: Some(Some(Box::new(Terms {
            ttl_ms: Some(60_000),
            ..Terms::default()
        }))),
        ..QueueChange::default()
    };
    world.configure("after", change);
    world.hello("w1", &["mail"], 9);
    let mut terms = followed(on_failure(template("alarm")));
    terms.deadline_ms = Some(5_000);
    fail_one(&mut world, "t1", with_terms(new_task("mail"), terms));
    let task = world.follower("t1", Transition::Failure);
    world.call_it("f1", task.id);
    let view = world.view("f1");
    assert_eq!(
        (view.attempts_max, view.effective.policy),
        (7, Source::Kind)
    );
    let start_by = Some(world.now.plus_ms(60_000));
    assert_eq!(view.effective.start_by, (start_by, Source::Queue));
    assert_eq!(view.effective.end_by, (None, Source::Server));
}

#[test]
fn a_follow_up_goes_where_its_template_says_else_its_kind_else_where_the_task_was() {
    let mut world = single();
    world.hello_as("w1", info("w1", &["mail"], &["work"]), 9, &[]);
    let nowhere = || Template {
        queue: None,
        ..template("alarm")
    };
    let task = |template| with_terms(new_task("mail"), followed(on_failure(template)));
    fail_one(&mut world, "t1", task(nowhere()));
    let queue = world.follower("t1", Transition::Failure).queue;
    assert_eq!(queue, named("mail"));
    let settings = KindSettings {
        queue: Some(named("alarms")),
        ..KindSettings::default()
    };
    world.set_kind_of("alarm", settings).unwrap();
    fail_one(&mut world, "t2", task(nowhere()));
    let queue = world.follower("t2", Transition::Failure).queue;
    assert_eq!(queue, named("alarms"));
    fail_one(&mut world, "t3", task(template("alarm")));
    let queue = world.follower("t3", Transition::Failure).queue;
    assert_eq!(queue, named("after"));
}

/// The tasks of the only shard after this one.
fn after(world: &World, id: TaskId) -> Vec<Task> {
    world.ledger(0).tasks_after(id).cloned().collect()
}

#[test]
fn follow_ups_of_follow_ups_end_at_the_eighth() {
    let mut world = single();
    world.configure("loop", queue_with(on_failure(template("work"))));
    world.configure("after", queue_with(on_failure(template("work"))));
    world.hello("w1", &["loop", "after"], 1);
    world.enqueue("t0", "loop");
    world.report("w1", ("t0", 1), fail());
    let mut depth = 0;
    let mut current = world.id("t0");
    while let Some(next) = after(&world, current).first() {
        depth += 1;
        current = next.id;
        let token = world.engine.core.shards()[0].ledger().task(current);
        let token = token.unwrap().token().expect("it was delivered at once");
        let report = super::world::report_with(token, fail());
        world.say("w1", FromWorker::Reports(vec![report]));
        assert!(depth <= 20, "it goes on for ever");
    }
    assert_eq!(depth, limits::FOLLOW_UP_DEPTH_MAX);
    world.call_it("last", current);
    assert_eq!(world.fired("last"), []);
    assert_eq!(world.state("last"), "DEAD");
    assert_eq!(world.view("last").effective.follow_ups, [], "and says so");
    assert_eq!(world.view("t0").effective.follow_ups.len(), 1);
}

#[test]
fn what_was_routed_before_is_followed_all_the_same_and_what_follows_is_routed() {
    let mut world = single();
    world.hello(
        "w1",
        &["q0", "q1", "q2", "q3", "q4", "q5", "q6", "q7", "q8"],
        9,
    );
    for index in 0..8 {
        let change = QueueChange {
            dead_letter_queue: Some(Some(named(&format!("q{}", index + 1)))),
            ..QueueChange::default()
        };
        world.configure(&format!("q{index}"), change);
    }
    let back = Template {
        queue: Some(named("q0")),
        ..template("second")
    };
    world.configure("q8", queue_with(on_failure(back)));
    world.enqueue("t0", "q0");
    let mut current = world.id("t0");
    let mut ends = Vec::new();
    loop {
        let task = world.ledger(0).task(current).unwrap();
        let token = task.token().expect("it was delivered at once");
        let report = super::world::report_with(token, fail());
        world.say("w1", FromWorker::Reports(vec![report]));
        let task = world.ledger(0).task(current).unwrap();
        if matches!(task.state, State::Dead { .. }) {
            ends.push((task.kind.to_string(), task.queue.queue().to_owned()));
        }
        let Some(next) = after(&world, current).first().map(|next| next.id) else {
            break;
        };
        current = next;
    }
    let mut expected = vec![("work".to_owned(), "q8".to_owned())];
    for _ in 0..limits::FOLLOW_UP_DEPTH_MAX {
        expected.push(("second".to_owned(), "q8".to_owned()));
    }
    assert_eq!(ends, expected);
}

#[test]
fn what_cannot_be_made_where_it_was_sent_is_a_dead_letter_and_followed_as_such() {
    let mut world = single();
    for index in 0..limits::KINDS_MAX {
        let task = NewTask {
            kind: format!("kind-{index}").into(),
            ..new_task("after")
        };
        world.enqueue_unchecked(&format!("k{index}"), task);
    }
    let alarm = Template {
        queue: Some(named("alarms")),
        ..template("alarm")
    };
    world.configure("after", queue_with(on_failure(alarm)));
    world.hello("w1", &["mail"], 1);
    let terms = followed(on_failure(template("one-too-many")));
    fail_one(&mut world, "t1", with_terms(new_task("mail"), terms));
    let dead = world.follower("t1", Transition::Failure);
    assert!(matches!(dead.state, State::Dead { .. }));
    world.call_it("dead", dead.id);
    let alarm = world.follower("dead", Transition::Failure);
    assert_eq!((&*alarm.kind, alarm.queue.queue()), ("alarm", "alarms"));
    assert_eq!(World::json_of(&alarm)["reason"], "TRANSFER_INVALID");
    assert_eq!(alarm.payload.content_type, Some("application/json".into()));
    assert_ne!(alarm.payload, Payload::default());
}

#[test]
fn many_that_are_cancelled_are_followed_in_turns_of_a_bounded_size() {
    let mut world = World::new();
    world.configure("mail", queue_with(for_every_end("then")));
    let names: Vec<String> = (0..30).map(|index| format!("t{index}")).collect();
    for name in &names {
        let mut task = new_task("mail");
        task.payload.data = vec![7; 60_000].into();
        world.enqueue_as(name, task);
    }
    world.wait_ms(1);
    let (mut after, mut steps, mut matched, mut changed) = (None, 0, 0, 0);
    loop {
        let before = world.journal().len();
        let bulk = Bulk {
            reason: "".into(),
            act: BulkAct::Cancel(Cancel {
                mode: CancelMode::Force,
                reason: "".into(),
            }),
            selection: Selection {
                namespace: "default".into(),
                queue: Some(named("mail")),
                filter: Filter::default(),
            },
            before: world.now,
            after,
            count_max: 1000,
        };
        let Ok(Answer::Bulk {
            matched: found,
            changed: done,
            next,
        }) = world.call(Call::Bulk(bulk))
        else {
            panic!("no bulk answer")
        };
        let sent = world.journal()[before..]
            .iter()
            .filter(|recorded| matches!(recorded.event, Event::TransferSent { .. }));
        let bytes: u64 = sent.map(|recorded| recorded.event.weight_bytes()).sum();
        assert!(bytes < 2 * limits::TURN_BYTES_MAX, "{bytes}");
        (steps, matched, changed) = (steps + 1, matched + found, changed + done);
        after = next;
        if after.is_none() {
            break;
        }
    }
    assert!(steps > 2, "{steps}");
    assert_eq!((matched, changed), (30, 30));
    for name in &names {
        assert_eq!(world.followers(name, Transition::Cancelled).len(), 1);
    }
}
