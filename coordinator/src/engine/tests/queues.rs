//! Scripts of queues: settings, pause, routing of the dead.

use super::world::{World, complete, fail, plain_policy};
use crate::engine::command::{Call, QueueChange};
use crate::engine::effect::{Answer, QueueView};
use crate::engine::ids::QueueName;
use crate::engine::ledger::task::{Outcome, State};
use crate::engine::rejection::Rejection;
use crate::engine::retry::PolicyRef;

fn name(queue: &str) -> QueueName {
    QueueName::new("default", queue).unwrap()
}

fn configure(world: &mut World, queue: &str, change: QueueChange) -> Result<Answer, Rejection> {
    world.call(Call::ConfigureQueue {
        queue: name(queue),
        change,
    })
}

fn queue(world: &mut World, queue: &str) -> QueueView {
    match world.call(Call::GetQueue(name(queue))) {
        Ok(Answer::Queue(view)) => *view,
        other => panic!("no queue: {other:?}"),
    }
}

fn dead_letters_to(target: &str) -> QueueChange {
    QueueChange {
        dead_letter_queue: Some(Some(name(target))),
        ..QueueChange::default()
    }
}

#[test]
fn a_queue_that_nobody_used_is_not_found() {
    let mut world = World::new();
    let refused = world.call(Call::GetQueue(name("nowhere"))).unwrap_err();
    assert_eq!(refused, Rejection::QueueNotFound(name("nowhere")));
}

#[test]
fn settings_change_one_by_one_and_the_revision_counts() {
    let mut world = World::new();
    let policy = PolicyRef::Inline(plain_policy(1).into());
    let change = QueueChange {
        policy: Some(Some(policy)),
        ..QueueChange::default()
    };
    configure(&mut world, "mail", change).unwrap();
    configure(&mut world, "mail", dead_letters_to("graveyard")).unwrap();
    let view = queue(&mut world, "mail");
    assert_eq!(view.queue.revision, 2);
    assert!(view.queue.settings.policy.is_some());
    let clear = QueueChange {
        policy: Some(None),
        ..QueueChange::default()
    };
    configure(&mut world, "mail", clear).unwrap();
    let view = queue(&mut world, "mail");
    assert!(view.queue.settings.policy.is_none());
    assert_eq!(
        view.queue.settings.dead_letter_queue,
        Some(name("graveyard"))
    );
}

#[test]
fn a_queues_policy_judges_tasks_that_were_there_before() {
    let mut world = World::new();
    world.enqueue("t1", "mail");
    let policy = PolicyRef::Inline(plain_policy(1).into());
    let change = QueueChange {
        policy: Some(Some(policy)),
        ..QueueChange::default()
    };
    configure(&mut world, "mail", change).unwrap();
    world.hello("w1", &["mail"], 1);
    world.quiet();
    world.report("w1", ("t1", 1), fail());
    world.expect(&["t1: dead, ATTEMPTS_EXHAUSTED", "ack t1: recorded"]);
}

#[test]
fn a_paused_queue_hands_out_nothing_and_everything_else_goes_on() {
    let mut world = World::new();
    world.enqueue("t1", "mail");
    world.hello("w1", &["mail"], 1);
    world.quiet();
    world
        .call(Call::PauseQueue {
            queue: name("mail"),
            reason: "incident".into(),
        })
        .unwrap();
    world.enqueue("t2", "mail");
    world.report("w1", ("t1", 1), fail());
    world.expect(&["t1: Failed, Attempt, again in 10000 ms", "ack t1: recorded"]);
    world.wait_alive_ms(20_000, &["w1"]);
    world.expect(&[]);
    assert_eq!(queue(&mut world, "mail").counts.ready, 2);
    world.call(Call::ResumeQueue(name("mail"))).unwrap();
    world.expect(&["w1 gets t1#2"]);
    world.report("w1", ("t1", 2), complete());
    world.expect(&["t1: Succeeded", "ack t1: recorded", "w1 gets t2#1"]);
}

#[test]
fn a_pause_survives_a_restart() {
    let mut world = World::new();
    world
        .call(Call::PauseQueue {
            queue: name("mail"),
            reason: "incident".into(),
        })
        .unwrap();
    world.enqueue("t1", "mail");
    world.restart();
    world.hello("w1", &["mail"], 1);
    world.expect(&[]);
    let pause = queue(&mut world, "mail").queue.paused.unwrap();
    assert_eq!(&*pause.reason, "incident");
}

#[test]
fn a_queue_cannot_be_its_own_graveyard() {
    let mut world = World::new();
    let refused = configure(&mut world, "mail", dead_letters_to("mail")).unwrap_err();
    let Rejection::Invalid { field, problem } = refused else {
        panic!("refused otherwise")
    };
    assert_eq!(field, "settings.dead_letter_queue");
    assert!(problem.contains("name another queue"));
}

#[test]
fn a_spent_task_goes_on_in_the_dead_letter_queue_with_a_fresh_budget_and_its_lineage() {
    let mut world = World::with(|config| {
        config.shard_count = 16;
        config.default_policy = plain_policy(1).into();
    });
    assert_ne!(
        name("mail").shard(16),
        name("graveyard").shard(16),
        "it crosses shards"
    );
    configure(&mut world, "mail", dead_letters_to("graveyard")).unwrap();
    world.enqueue("t1", "mail");
    world.hello("w1", &["mail"], 1);
    world.quiet();
    world.report("w1", ("t1", 1), fail());
    world.expect(&["t1: Routed", "ack t1: recorded", "arrived in graveyard"]);
    assert_eq!(world.state("t1"), "ROUTED");
    let shard = name("graveyard").shard(16);
    let arrived = {
        let ledger = world.ledger(shard.0);
        let task = ledger
            .tasks_after(crate::engine::ids::TaskId::MIN)
            .next()
            .unwrap();
        let side = task.side.as_ref().unwrap();
        assert_eq!(side.origin, Some(world.id("t1")));
        assert_eq!(&*side.last_failure.as_ref().unwrap().message, "it broke");
        assert_eq!((task.runs(), task.tally().failures), (0, 0));
        task.id
    };
    world.call_it("t1b", arrived);
    world.hello("w2", &["graveyard"], 1);
    world.expect(&["w2 gets t1b#1"]);
    world.report("w2", ("t1b", 1), complete());
    let origin = name("mail").shard(16);
    let unconfirmed: usize = world
        .ledger(origin.0)
        .outgoing()
        .map(|(_, out)| out.unconfirmed.len())
        .sum();
    assert_eq!(unconfirmed, 0, "the target confirmed");
}

#[test]
fn two_graveyards_that_feed_each_other_stop_where_the_task_has_been() {
    let mut world = World::with(|config| config.default_policy = plain_policy(1).into());
    configure(&mut world, "a", dead_letters_to("b")).unwrap();
    configure(&mut world, "b", dead_letters_to("a")).unwrap();
    world.hello("w1", &["a", "b"], 1);
    world.enqueue("t0", "a");
    let mut current = world.id("t0");
    for hop in 0..=8 {
        let name = format!("t{hop}");
        world.call_it(&name, current);
        let delivered = world.deliveries.keys().any(|(task, _)| *task == name);
        if !delivered {
            let key = (current.to_string(), 1);
            let delivery = world
                .deliveries
                .remove(&key)
                .expect("delivered under its id");
            let report = super::world::report_with(delivery.token, fail());
            world.say(
                "w1",
                crate::engine::command::FromWorker::Reports(vec![report]),
            );
        } else {
            world.report("w1", (&name, 1), fail());
        }
        let next = world
            .ledger(0)
            .tasks_after(current)
            .last()
            .map(|task| task.id);
        let Some(next) = next else { break };
        current = next;
    }
    let ledger = world.ledger(0);
    let dead = ledger.task(current).unwrap();
    assert!(matches!(dead.state, State::Dead { .. }));
    assert_eq!(dead.side.as_ref().unwrap().hops, 1);
    let routed = ledger.tasks_after(crate::engine::ids::TaskId::MIN).filter(|task| {
        matches!(&task.state, State::Finished(finished) if finished.outcome == Outcome::Routed)
    });
    assert_eq!(routed.count(), 1);
}

#[test]
fn counts_say_where_the_tasks_of_a_queue_stand() {
    let mut world = World::with(|config| config.default_policy = plain_policy(2).into());
    let later = crate::engine::command::NewTask {
        start: crate::engine::command::Start::After {
            delay_ms: 1_000_000,
        },
        ..super::world::new_task("mail")
    };
    world.enqueue_as("later", later);
    for name in ["t1", "t2", "t3"] {
        world.enqueue(name, "mail");
    }
    world.hello("w1", &["mail"], 2);
    world.report("w1", ("t1", 1), fail());
    let view = queue(&mut world, "mail");
    let counts = view.counts;
    assert_eq!((counts.scheduled, counts.ready, counts.leased), (1, 0, 2));
    assert_eq!((counts.retrying, counts.dead), (1, 0));
    assert_eq!(
        (view.queue.totals.enqueued, view.queue.totals.failures),
        (4, 1)
    );
}

#[test]
fn queues_are_listed_by_name_and_page_by_page() {
    let mut world = World::with(|config| config.shard_count = 16);
    for queue in ["d", "a", "c", "b"] {
        world.enqueue(queue, queue);
    }
    let list = |world: &mut World, after: Option<QueueName>| {
        let call = Call::ListQueues {
            namespace: "default".into(),
            after,
            count_max: 3,
        };
        let Ok(Answer::Queues { queues, more }) = world.call(call) else {
            panic!("not answered")
        };
        let names: Vec<String> = queues
            .iter()
            .map(|view| view.queue.name.queue().to_owned())
            .collect();
        (names, more)
    };
    let (first, more) = list(&mut world, None);
    assert_eq!((first.join(""), more), ("abc".to_owned(), true));
    let (rest, more) = list(&mut world, Some(name("c")));
    assert_eq!((rest.join(""), more), ("d".to_owned(), false));
}
