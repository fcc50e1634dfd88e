//! Scripts of dead letters that go on in another queue.

use std::sync::Arc;

use super::world::follow::named;
use super::world::{World, fail, fail_with, fixed, new_task, plain_policy, report_with};
use crate::engine::command::{FromWorker, NewTask, QueueChange, ReportOutcome};
use crate::engine::event::Event;
use crate::engine::failure::{Failure, FailureClass};
use crate::engine::ids::TaskId;
use crate::engine::ledger::kind::KindSettings;
use crate::engine::ledger::task::{Payload, Priority, State, Task};
use crate::engine::ledger::terms::{Source, Terms};
use crate::engine::retry::policy::{Match, Rule, RuleAction};
use crate::engine::retry::{Policy, PolicyRef};
use crate::engine::{Engine, limits};

fn dead_letters_to(queue: &str) -> QueueChange {
    QueueChange {
        dead_letter_queue: Some(Some(named(queue))),
        ..QueueChange::default()
    }
}

fn kind_to(queue: &str) -> KindSettings {
    KindSettings {
        dead_letter_queue: Some(named(queue)),
        ..KindSettings::default()
    }
}

/// A rule for failures of this class, with a queue for its dead letters.
fn rule(class: FailureClass, action: RuleAction, to: Option<&str>) -> Rule {
    let matches = Match {
        classes: vec![class],
        ..Match::default()
    };
    Rule {
        dead_letter_queue: to.map(Into::into),
        ..Rule::new(&format!("on-{class:?}").to_lowercase(), matches, action)
    }
}

fn with_rules(rules: Vec<Rule>) -> World {
    World::with(|config| {
        config.default_policy = Policy {
            rules,
            ..plain_policy(2)
        }
        .into();
    })
}

fn no(class: FailureClass) -> ReportOutcome {
    fail_with(Failure::new(class, "no"))
}

/// The tasks of an engine that continue another one.
fn continued_in(engine: &Engine, origin: TaskId) -> Vec<Task> {
    let shards = engine.core.shards().iter();
    let tasks = shards.flat_map(|shard| shard.ledger().tasks_after(TaskId::MIN));
    let continues = |task: &&Task| task.side.as_deref().and_then(|s| s.origin) == Some(origin);
    tasks.filter(continues).cloned().collect()
}

/// Where a task went on; `None` where it is a dead letter.
#[track_caller]
fn went_to(world: &mut World, task: &str) -> Option<String> {
    let mut continued = continued_in(&world.engine, world.id(task));
    let state = world.state(task);
    assert_eq!(
        state,
        if continued.is_empty() {
            "DEAD"
        } else {
            "ROUTED"
        }
    );
    assert!(continued.len() <= 1);
    Some(continued.pop()?.queue.queue().to_owned())
}

#[test]
fn the_rule_that_kills_says_where_to_else_the_kind_else_the_queue() {
    use FailureClass::{Auth, Business, Conflict, Invalid, Network};
    let mut own_limit = rule(Conflict, RuleAction::Retry, Some("of-limit"));
    own_limit.max_attempts = 1;
    let mut world = with_rules(vec![
        rule(Auth, RuleAction::DeadLetter, Some("of-rule")),
        rule(Invalid, RuleAction::DeadLetter, None),
        rule(Business, RuleAction::Retry, Some("of-retry")),
        own_limit,
    ]);
    world.hello("w1", &["mail"], 9);
    world.configure("mail", dead_letters_to("of-queue"));
    let ended = |world: &mut World, name: &str, class: FailureClass| {
        world.enqueue(name, "mail");
        for run in 1.. {
            world.report("w1", (name, run), no(class));
            world.wait_alive_ms(10_000, &["w1"]);
            if world.view(name).task.runs() == run {
                break;
            }
        }
        went_to(world, name).unwrap()
    };
    assert_eq!(ended(&mut world, "t1", Auth), "of-rule");
    assert_eq!(ended(&mut world, "t2", Invalid), "of-queue");
    assert_eq!(ended(&mut world, "t3", Network), "of-queue");
    // The policy's limit is spent, not the rule's own.
    assert_eq!(ended(&mut world, "t4", Business), "of-queue");
    assert_eq!(ended(&mut world, "t5", Conflict), "of-limit");
    world.set_kind_of("work", kind_to("of-kind")).unwrap();
    assert_eq!(ended(&mut world, "t6", Auth), "of-rule");
    assert_eq!(ended(&mut world, "t7", Invalid), "of-kind");
    assert_eq!(ended(&mut world, "t8", Network), "of-kind");
    assert_eq!(ended(&mut world, "t9", Conflict), "of-limit");
    let said = world.view("t9").effective.dead_letter_queue;
    assert_eq!(said, (Some(named("of-kind")), Source::Kind));
}

#[test]
fn what_a_rule_fails_goes_nowhere() {
    let rules = vec![rule(
        FailureClass::Auth,
        RuleAction::Fail,
        Some("graveyard"),
    )];
    let mut world = with_rules(rules);
    world.configure("mail", dead_letters_to("graveyard"));
    world.hello("w1", &["mail"], 1);
    world.enqueue("t1", "mail");
    world.report("w1", ("t1", 1), no(FailureClass::Auth));
    assert_eq!(world.state("t1"), "FAILED");
    assert!(continued_in(&world.engine, world.id("t1")).is_empty());
}

#[test]
fn a_task_goes_on_as_it_was_left_with_a_fresh_budget_and_a_fresh_life() {
    for shards in [1, 16] {
        let mut world = World::with(|config| {
            config.shard_count = shards;
            config.default_policy = plain_policy(2).into();
        });
        world.configure("mail", dead_letters_to("graveyard"));
        world.hello("w1", &["mail"], 1);
        let labels: Vec<(Arc<str>, Arc<str>)> = vec![("tenant".into(), "acme".into())];
        let task = NewTask {
            version: 3,
            priority: Priority::High,
            labels: labels.clone(),
            terms: Some(Box::new(Terms {
                deadline_ms: Some(60_000),
                ..Terms::default()
            })),
            ..new_task("mail")
        };
        world.enqueue_as("t1", task);
        world.report("w1", ("t1", 1), fail());
        world.wait_alive_ms(10_000, &["w1"]);
        let text = |data: &'static str| Payload {
            data: data.into(),
            content_type: None,
        };
        let outcome = ReportOutcome::Retry {
            failure: Failure::new(FailureClass::NotFound, "gone"),
            start: None,
            payload: Some(text("the rest")),
            max_attempts: None,
        };
        let mut report = world.report_of(("t1", 2), outcome);
        report.content.as_mut().unwrap().checkpoint = Some(text("half"));
        world.say("w1", FromWorker::Reports(vec![report]));
        assert_eq!(went_to(&mut world, "t1").as_deref(), Some("graveyard"));

        let id = world.id("t1");
        let on = continued_in(&world.engine, id).remove(0);
        assert_eq!((&*on.kind, on.version), ("work", 3));
        assert_eq!(
            (on.priority, &on.payload),
            (Priority::High, &text("the rest"))
        );
        assert_eq!(
            (on.runs(), on.tally().failures, on.enqueued_at),
            (0, 0, world.now)
        );
        let side = on.side.as_deref().unwrap();
        assert_eq!(
            (&side.labels, &side.checkpoint),
            (&labels, &Some(text("half")))
        );
        assert_eq!(&*side.last_failure.as_ref().unwrap().message, "gone");
        let end_by = on.life().unwrap().end_by();
        assert_eq!(end_by, Some(world.now.plus_ms(60_000)));
        world.at_every_cut(|log, engine, all_arrived| {
            let routed = log.iter().any(|recorded| {
                matches!(&recorded.event, Event::TaskFinished { id: of, .. } if *of == id)
            });
            let continued = continued_in(engine, id).len();
            assert!(continued <= usize::from(routed));
            assert!(!all_arrived || continued == usize::from(routed));
        });
    }
}

#[test]
fn a_task_whose_time_is_over_goes_on_too() {
    let mut world = World::new();
    world.configure("mail", dead_letters_to("graveyard"));
    let task = NewTask {
        terms: Some(Box::new(Terms {
            ttl_ms: Some(1000),
            ..Terms::default()
        })),
        ..new_task("mail")
    };
    world.enqueue_as("t1", task);
    world.wait_ms(1000);
    assert_eq!(went_to(&mut world, "t1").as_deref(), Some("graveyard"));
    // What it said of itself holds there too, from when it came.
    world.wait_ms(1000);
    let on = continued_in(&world.engine, world.id("t1")).remove(0);
    assert!(matches!(on.state, State::Dead { .. }));
}

/// Fails a task wherever it goes on, until it goes nowhere; the queues on its way.
fn way(world: &mut World, queue: &str) -> Vec<String> {
    world.enqueue("first", queue);
    let mut current = world.id("first");
    let mut way = Vec::new();
    loop {
        let task = world.ledger(0).task(current).unwrap();
        way.push(task.queue.queue().to_owned());
        let token = task.token().expect("it was delivered at once");
        world.say("w1", FromWorker::Reports(vec![report_with(token, fail())]));
        let mut continued = continued_in(&world.engine, current);
        let Some(next) = continued.pop() else {
            break;
        };
        assert!(continued.is_empty());
        current = next.id;
    }
    world.call_it("last", current);
    assert_eq!(world.state("last"), "DEAD");
    way
}

fn deadly() -> World {
    let mut world = World::with(|config| config.default_policy = plain_policy(1).into());
    let queues: Vec<String> = (0..12).map(|index| format!("q{index}")).collect();
    let queues: Vec<&str> = queues.iter().map(String::as_str).collect();
    world.hello("w1", &queues, 9);
    world
}

#[test]
fn a_task_never_comes_back_to_where_it_was() {
    let mut world = deadly();
    world.set_kind_of("work", kind_to("q0")).unwrap();
    assert_eq!(way(&mut world, "q0"), ["q0"], "its kind's is its own");
    assert_eq!(way(&mut world, "q1"), ["q1", "q0"]);

    let mut world = deadly();
    world.configure("q0", dead_letters_to("q1"));
    world.configure("q1", dead_letters_to("q0"));
    assert_eq!(way(&mut world, "q0"), ["q0", "q1"], "a pair");

    let mut world = deadly();
    for (from, to) in [("q0", "q1"), ("q1", "q2"), ("q2", "q0")] {
        world.configure(from, dead_letters_to(to));
    }
    assert_eq!(way(&mut world, "q1"), ["q1", "q2", "q0"], "a ring");
    let id = world.id("last");
    let State::Dead { reason, .. } = &world.ledger(0).task(id).unwrap().state else {
        panic!("it stays there");
    };
    assert_eq!(reason.name(), "ATTEMPTS_EXHAUSTED");
}

#[test]
fn a_rule_that_names_where_it_was_keeps_it_there() {
    let rules = vec![rule(
        FailureClass::Internal,
        RuleAction::DeadLetter,
        Some("q1"),
    )];
    let policy = Policy {
        rules,
        ..plain_policy(1)
    };
    let mut world = deadly();
    for queue in ["q0", "q1"] {
        let change = QueueChange {
            policy: Some(Some(PolicyRef::Inline(policy.clone().into()))),
            ..dead_letters_to("q2")
        };
        world.configure(queue, change);
    }
    assert_eq!(way(&mut world, "q0"), ["q0", "q1"]);
}

#[test]
fn a_long_way_ends_after_so_many_queues() {
    let mut world = deadly();
    for index in 0..11 {
        let to = format!("q{}", index + 1);
        world.configure(&format!("q{index}"), dead_letters_to(&to));
    }
    assert_eq!(way(&mut world, "q0").len(), 1 + limits::ROUTE_HOPS_MAX);
}

#[test]
fn a_rule_for_crashes_routes_too() {
    let mut rule = rule(
        FailureClass::WorkerLost,
        RuleAction::DeadLetter,
        Some("poison"),
    );
    rule.backoff = Some(fixed(1));
    let mut world = with_rules(vec![rule]);
    world.hello("w1", &["mail"], 1);
    world.enqueue("t1", "mail");
    world.begin("w1");
    world.cut("w1");
    world.wait_ms(30_000);
    assert_eq!(went_to(&mut world, "t1").as_deref(), Some("poison"));
}
