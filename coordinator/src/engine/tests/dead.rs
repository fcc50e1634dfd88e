//! Scripts of dead letters.

use super::world::{World, complete, discard, fail, fail_with, plain_policy, redrive};
use crate::engine::command::{Bulk, BulkAct, Call, Cursor, ListTasks, Selection};
use crate::engine::effect::Answer;
use crate::engine::failure::{Failure, FailureClass};
use crate::engine::filter::{Clause, Equality, Filter};
use crate::engine::ids::{QueueName, TaskId, Timestamp};
use crate::engine::ledger::history::RunOutcome;
use crate::engine::rejection::Rejection;

/// So many dead letters in a queue, each a second after the one before.
fn graveyard(count: usize) -> World {
    let mut world = World::with(|config| config.default_policy = plain_policy(1).into());
    world.hello("w1", &["mail"], 1);
    for index in 0..count {
        let name = format!("t{index}");
        world.enqueue(&name, "mail");
        let class = if index % 2 == 0 {
            FailureClass::Network
        } else {
            FailureClass::Invalid
        };
        world.report("w1", (&name, 1), fail_with(Failure::new(class, "no")));
        world.wait_ms(1000);
        world.say("w1", crate::engine::command::FromWorker::Pong);
    }
    world.quiet();
    world
}

fn selection(filter: Filter) -> Selection {
    let queue = Some(QueueName::new("default", "mail").unwrap());
    Selection {
        namespace: "default".into(),
        queue,
        filter,
    }
}

fn bulk(
    world: &mut World,
    act: BulkAct,
    filter: Filter,
    count_max: usize,
    after: Option<Cursor>,
) -> (u64, u64, Option<Cursor>) {
    let before = world.now;
    let bulk = Bulk {
        reason: "".into(),
        act,
        selection: selection(filter),
        before,
        after,
        count_max,
    };
    match world.call(Call::Bulk(bulk)) {
        Ok(Answer::Bulk {
            matched,
            changed,
            next,
        }) => (matched, changed, next),
        other => panic!("no bulk answer: {other:?}"),
    }
}

#[test]
fn a_redriven_task_has_a_fresh_budget_and_keeps_its_history() {
    let mut world = World::new();
    world.enqueue("t1", "mail");
    world.hello("w1", &["mail"], 1);
    for run in 1..=3 {
        world.report("w1", ("t1", run), fail());
        world.wait_alive_ms(10_000, &["w1"]);
    }
    assert_eq!(world.state("t1"), "DEAD");
    world.quiet();
    let id = world.id("t1");
    world.call(redrive(id, 0)).unwrap();
    world.expect(&["t1: redriven", "w1 gets t1#4"]);
    let delivery = &world.deliveries[&("t1".to_owned(), 4)];
    assert_eq!((delivery.attempt, delivery.attempts_max), (1, 3));
    assert!(delivery.previous_failure.is_some());
    world.report("w1", ("t1", 4), complete());
    let task = world.view("t1").task;
    assert_eq!((task.tally().redrives, task.runs()), (1, 4));
    let side = task.side.unwrap();
    let outcomes: Vec<_> = side.history.runs().map(|run| run.outcome).collect();
    assert_eq!(outcomes[3], RunOutcome::Succeeded);
    assert_eq!(outcomes.len(), 4);
}

#[test]
fn a_redrive_can_wait() {
    let mut world = graveyard(1);
    let id = world.id("t0");
    world.call(redrive(id, 5000)).unwrap();
    world.expect(&["t0: redriven"]);
    world.wait_ms(4999);
    assert_eq!(world.state("t0"), "RETRYING");
    world.wait_ms(1);
    assert_eq!(world.state("t0"), "LEASED");
}

#[test]
fn only_the_dead_are_redriven() {
    let mut world = World::new();
    world.enqueue("t1", "mail");
    let id = world.id("t1");
    let refused = world.call(redrive(id, 0)).unwrap_err();
    assert!(matches!(
        refused,
        Rejection::WrongState { state: "READY", .. }
    ));
}

#[test]
fn dead_letters_are_listed_in_the_order_of_their_death_page_by_page() {
    let mut world = graveyard(5);
    let mut after = None;
    let mut found = Vec::new();
    loop {
        let list = ListTasks {
            selection: selection(Filter::default()),
            after,
            count_max: 2,
            dead_only: true,
        };
        let Ok(Answer::Page { tasks, next }) = world.call(Call::ListTasks(list)) else {
            panic!("no page");
        };
        found.extend(tasks.iter().map(|view| world.name(view.task.id)));
        after = next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(found, ["t0", "t1", "t2", "t3", "t4"]);
}

#[test]
fn many_are_redriven_in_bounded_steps_and_only_those_selected() {
    let mut world = graveyard(10);
    let network = || Filter {
        clauses: vec![Clause::Class(Equality::Is, FailureClass::Network)],
    };
    assert_eq!(
        bulk(&mut world, BulkAct::Count, network(), 1000, None),
        (5, 0, None)
    );
    let redrive = BulkAct::Redrive {
        delay_ms: 100_000,
        step_us: 500_000,
    };
    let (matched, changed, next) = bulk(&mut world, redrive.clone(), network(), 3, None);
    assert_eq!((matched, changed), (3, 3));
    let rest = bulk(&mut world, redrive, network(), 3, next);
    assert_eq!((rest.0, rest.1, rest.2), (2, 2, None));
    let waits: Vec<u64> = [0, 2, 4]
        .map(|index| {
            let task = world.view(&format!("t{index}")).task;
            let crate::engine::ledger::task::State::Pending { not_before } = task.state else {
                panic!("not redriven");
            };
            not_before.since_ms(world.now)
        })
        .to_vec();
    assert_eq!(waits, [100_000, 100_500, 101_000], "spread as asked");
    assert_eq!(world.state("t1"), "DEAD");
}

#[test]
fn what_dies_again_while_many_are_redriven_is_left_alone() {
    let mut world = graveyard(2);
    let before = Timestamp(world.now.0);
    let act = BulkAct::Redrive {
        delay_ms: 0,
        step_us: 0,
    };
    let again = |world: &mut World| {
        let bulk = Bulk {
            reason: "".into(),
            act: act.clone(),
            selection: selection(Filter::default()),
            before,
            after: None,
            count_max: 1000,
        };
        let Ok(Answer::Bulk { changed, .. }) = world.call(Call::Bulk(bulk)) else {
            panic!()
        };
        changed
    };
    assert_eq!(again(&mut world), 2);
    world.report("w1", ("t0", 2), fail());
    world.report("w1", ("t1", 2), fail());
    assert_eq!(again(&mut world), 0);
}

#[test]
fn discarded_dead_letters_are_over() {
    let mut world = graveyard(3);
    assert_eq!(
        bulk(&mut world, BulkAct::Discard, Filter::default(), 1000, None),
        (3, 3, None)
    );
    world.expect(&["t0: Discarded", "t1: Discarded", "t2: Discarded"]);
    assert_eq!(
        bulk(&mut world, BulkAct::Count, Filter::default(), 1000, None).0,
        0
    );
}

#[test]
fn one_dead_letter_is_discarded_and_the_others_stay() {
    let mut world = graveyard(2);
    let id = world.id("t0");
    let Ok(Answer::Task(view)) = world.call(discard(id)) else {
        panic!("no task");
    };
    assert_eq!((view.task.id, view.state.name()), (id, "DISCARDED"));
    world.expect(&["t0: Discarded"]);
    assert_eq!(world.state("t1"), "DEAD");
    let again = world.call(discard(id)).unwrap_err();
    assert!(matches!(
        again,
        Rejection::WrongState {
            state: "DISCARDED",
            ..
        }
    ));
    let redriven = world.call(redrive(id, 0)).unwrap_err();
    assert!(matches!(redriven, Rejection::WrongState { .. }));
    world.quiet();
}

#[test]
fn only_the_dead_are_discarded() {
    let mut world = World::new();
    world.enqueue("t1", "mail");
    world.quiet();
    let id = world.id("t1");
    let refused = world.call(discard(id)).unwrap_err();
    assert!(matches!(
        refused,
        Rejection::WrongState { state: "READY", .. }
    ));
    let stranger = TaskId::new(Timestamp(1), id.shard(), 1);
    assert_eq!(
        world.call(discard(stranger)).unwrap_err(),
        Rejection::TaskNotFound(stranger)
    );
    assert_eq!(world.state("t1"), "READY");
    world.quiet();
}

#[test]
fn tasks_are_listed_over_all_shards_in_the_order_of_their_ids() {
    let mut world = World::with(|config| config.shard_count = 8);
    for index in 0..30 {
        world.enqueue(&format!("t{index:02}"), &format!("q{}", index % 5));
        world.wait_ms(1);
    }
    let mut after = None;
    let mut found = Vec::new();
    loop {
        let selection = Selection {
            namespace: "default".into(),
            queue: None,
            filter: Filter::default(),
        };
        let list = ListTasks {
            selection,
            after,
            count_max: 7,
            dead_only: false,
        };
        let Ok(Answer::Page { tasks, next }) = world.call(Call::ListTasks(list)) else {
            panic!("no page");
        };
        found.extend(tasks.iter().map(|view| world.name(view.task.id)));
        after = next;
        if after.is_none() {
            break;
        }
    }
    let all: Vec<String> = (0..30).map(|index| format!("t{index:02}")).collect();
    assert_eq!(found, all);
}
