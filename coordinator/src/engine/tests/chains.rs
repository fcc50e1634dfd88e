//! Scripts of chains: what goes on after a success, with its result.

use bytes::Bytes;

use super::world::follow::{followed, followers_in, for_every_end, named, template, with_terms};
use super::world::{World, cancel, complete, fail, new_task, plain_policy};
use crate::engine::command::{FromWorker, NewTask, ReportOutcome};
use crate::engine::event::{Event, Recorded};
use crate::engine::ids::TaskId;
use crate::engine::ledger::kind::KindSettings;
use crate::engine::ledger::more::Cause;
use crate::engine::ledger::task::{Payload, Priority, State, Task};
use crate::engine::ledger::terms::{FollowUps, Template, Terms, Transition};
use crate::engine::limits;

/// A world of so many shards, with a worker for the queue "mail".
fn world(shards: u16) -> World {
    let mut world = World::with(|config| {
        config.shard_count = shards;
        config.default_policy = plain_policy(1).into();
    });
    world.hello("w1", &["mail"], 9);
    world
}

/// A step that goes to a queue of its own.
fn step(kind: &str) -> Template {
    Template {
        queue: Some(named(kind)),
        ..template(kind)
    }
}

/// A task that goes on with these.
fn chain(then: Vec<Template>) -> NewTask {
    NewTask {
        then,
        ..with_terms(new_task("mail"), followed(for_every_end("own")))
    }
}

fn done(data: &'static str, content_type: Option<&str>) -> ReportOutcome {
    let result = Payload {
        data: Bytes::from_static(data.as_bytes()),
        content_type: content_type.map(Into::into),
    };
    ReportOutcome::Complete {
        result: Some(result),
        label: None,
    }
}

/// A task of a chain gets a name, and a worker of its own takes it.
fn take(world: &mut World, name: &str, before: &str) -> Task {
    let task = world.follower(before, Transition::Then);
    world.call_it(name, task.id);
    world.hello(&format!("of-{name}"), &[task.queue.queue()], 1);
    task
}

fn report(world: &mut World, name: &str, outcome: ReportOutcome) {
    world.report(&format!("of-{name}"), (name, 1), outcome);
}

fn kinds(task: &Task) -> Vec<&str> {
    let then = task.own.as_deref().map_or(&[][..], |own| &own.then);
    then.iter().map(|step| &*step.kind).collect()
}

#[test]
fn each_step_gets_the_result_of_the_one_before_and_the_rest_of_the_chain() {
    for shards in [1, 16] {
        let mut world = world(shards);
        let second = Template {
            priority: Priority::Low,
            delay_ms: 3000,
            version: 2,
            labels: vec![("step".into(), "two".into())],
            ..step("second")
        };
        world.enqueue_as("t1", chain(vec![second, step("third")]));
        world.report("w1", ("t1", 1), done("<a/>", Some("text/xml")));
        let second = take(&mut world, "t2", "t1");
        assert_eq!(second.payload.data, "<a/>");
        assert_eq!(second.payload.content_type.as_deref(), Some("text/xml"));
        assert_eq!((&*second.kind, kinds(&second)), ("second", vec!["third"]));
        assert_eq!((second.priority, second.version), (Priority::Low, 2));
        let not_before = world.now.plus_ms(3000);
        assert_eq!(second.state, State::Pending { not_before });
        let side = second.side.as_deref().unwrap();
        assert_eq!(side.labels, [("step".into(), "two".into())]);
        let cause = Cause {
            task: world.id("t1"),
            transition: Transition::Then,
        };
        assert_eq!(second.more().unwrap().cause, Some(cause));
        assert_eq!(world.fired("t1").len(), 1, "and nothing else follows");

        world.wait_alive_ms(3000, &["w1", "of-t2"]);
        report(&mut world, "t2", done("3", None));
        let third = take(&mut world, "t3", "t2");
        assert_eq!(
            third.payload,
            Payload {
                data: "3".into(),
                content_type: None
            }
        );
        assert_eq!(kinds(&third), [""; 0]);
        report(&mut world, "t3", complete());
        let end = [(Transition::Success, "own-success".to_owned())];
        assert_eq!(world.fired("t3"), end);
        assert_eq!(world.fired("t2").len(), 1);
    }
}

#[test]
fn without_a_result_the_next_step_gets_nothing() {
    let mut world = world(1);
    world.enqueue_as("t1", chain(vec![step("second")]));
    world.report("w1", ("t1", 1), complete());
    let second = take(&mut world, "t2", "t1");
    assert_eq!(second.payload, Payload::default());
}

#[test]
fn a_failure_stops_the_chain_and_is_followed_as_the_first_task_said() {
    for shards in [1, 16] {
        let mut world = world(shards);
        world.enqueue_as("t1", chain(vec![step("second"), step("third")]));
        world.report("w1", ("t1", 1), complete());
        take(&mut world, "t2", "t1");
        report(&mut world, "t2", fail());
        let end = [
            (Transition::Failure, "own-failure".to_owned()),
            (Transition::Exhausted, "own-exhausted".to_owned()),
        ];
        assert_eq!(world.fired("t2"), end);
    }
}

#[test]
fn a_failure_of_the_first_step_stops_the_chain_too() {
    let mut world = world(1);
    world.enqueue_as("t1", chain(vec![step("second")]));
    world.report("w1", ("t1", 1), fail());
    assert!(world.followers("t1", Transition::Then).is_empty());
    assert_eq!(world.fired("t1").len(), 2);
}

#[test]
fn a_cancel_stops_the_chain_and_is_followed_as_the_first_task_said() {
    let mut world = world(1);
    world.enqueue_as("t1", chain(vec![step("second"), step("third")]));
    world.report("w1", ("t1", 1), complete());
    let second = world.follower("t1", Transition::Then);
    world.call_it("t2", second.id);
    world.call(cancel(second.id, "no")).unwrap();
    let end = [(Transition::Cancelled, "own-cancelled".to_owned())];
    assert_eq!(world.fired("t2"), end);
}

#[test]
fn a_redriven_step_goes_on_with_the_chain() {
    let mut world = world(1);
    world.enqueue_as("t1", chain(vec![step("second"), step("third")]));
    world.report("w1", ("t1", 1), complete());
    let second = take(&mut world, "t2", "t1");
    report(&mut world, "t2", fail());
    world.call(super::world::redrive(second.id, 0)).unwrap();
    world.report("of-t2", ("t2", 2), done("late", None));
    let third = world.follower("t2", Transition::Then);
    assert_eq!((&*third.kind, third.payload.data), ("third", "late".into()));
}

#[test]
fn what_a_kind_says_of_its_success_waits_for_the_end_of_the_chain() {
    let mut world = world(1);
    let on_success = FollowUps {
        on_success: Some(Box::new(template("kind-success"))),
        ..FollowUps::default()
    };
    for kind in ["work", "second"] {
        let settings = KindSettings {
            terms: Some(Box::new(followed(on_success.clone()))),
            ..KindSettings::default()
        };
        world.set_kind_of(kind, settings).unwrap();
    }
    let task = NewTask {
        then: vec![step("second")],
        ..new_task("mail")
    };
    world.enqueue_as("t1", task);
    world.report("w1", ("t1", 1), complete());
    assert_eq!(world.fired("t1"), [(Transition::Then, "second".to_owned())]);
    take(&mut world, "t2", "t1");
    report(&mut world, "t2", complete());
    let end = [(Transition::Success, "kind-success".to_owned())];
    assert_eq!(world.fired("t2"), end);
}

#[test]
fn a_step_lives_by_its_own_kind_and_only_follow_ups_and_keeping_are_handed_on() {
    let mut world = world(1);
    let terms = Terms {
        ttl_ms: Some(1_000_000),
        deadline_ms: Some(2_000_000),
        result_ttl_ms: Some(5000),
        ..followed(for_every_end("own"))
    };
    let task = NewTask {
        max_attempts: Some(5),
        then: vec![step("second")],
        ..with_terms(new_task("mail"), terms)
    };
    world.enqueue_as("t1", task);
    world.report("w1", ("t1", 1), complete());
    let second = take(&mut world, "t2", "t1");
    let handed_on = Terms {
        result_ttl_ms: Some(5000),
        ..followed(for_every_end("own"))
    };
    assert_eq!(second.terms(), Some(&handed_on));
    assert_eq!((second.life(), second.max_attempts()), (None, None));
}

/// Completes every task of a chain, one after the other, over restarts; how many there were.
fn run(world: &mut World) -> u32 {
    let (mut steps, mut current) = (1, world.id("t1"));
    world.report("w1", ("t1", 1), done("r", None));
    while let Some(next) = next_of(world, current) {
        steps += 1;
        current = next.id;
        assert_eq!(next.payload.data, "r");
        if steps % 5 == 0 {
            world.now = world.now.plus_ms(1);
            world.restart();
        }
        let queue = next.queue.queue().to_owned();
        let name = format!("t{steps}");
        world.call_it(&name, current);
        let worker = format!("w{steps}");
        world.hello(&worker, &[&queue], 1);
        world.report(&worker, (&name, 1), done("r", None));
        world.say(&worker, FromWorker::Goodbye);
    }
    world.call_it("last", current);
    steps
}

fn next_of(world: &World, id: TaskId) -> Option<Task> {
    let mut next = followers_in(&world.engine, id, Some(Transition::Then));
    assert!(next.len() <= 1);
    next.pop()
}

#[test]
fn a_long_chain_goes_on_over_shards_and_restarts_and_counts_no_depth() {
    for shards in [1, 16] {
        let mut world = world(shards);
        let then = (0..limits::CHAIN_MAX).map(|index| step(&format!("step-{index}")));
        world.enqueue_as("t1", chain(then.collect()));
        assert_eq!(run(&mut world) as usize, 1 + limits::CHAIN_MAX);
        let end = [(Transition::Success, "own-success".to_owned())];
        assert_eq!(world.fired("last"), end);
        world.at_every_cut(|log, engine, all_arrived| {
            let ended = log.iter().filter_map(succeeded);
            for id in ended {
                let followers = followers_in(engine, id, None).len();
                assert!(followers <= 1 && (!all_arrived || followers == 1));
            }
        });
    }
}

fn succeeded(recorded: &Recorded) -> Option<TaskId> {
    if let Event::TaskFinished { id, .. } = &recorded.event {
        return Some(*id);
    }
    None
}
