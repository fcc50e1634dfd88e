//! Scripts of cancelling many tasks at once, in bounded steps.

use super::world::{World, complete, fail, info, new_task, plain_policy};
use crate::engine::command::{
    Bulk, BulkAct, Call, Cancel, CancelMode, Capacity, Cursor, FromWorker, NewTask, Selection,
};
use crate::engine::effect::Answer;
use crate::engine::filter::{Clause, Equality, Filter};

fn bulk(
    world: &mut World,
    act: BulkAct,
    kind: &str,
    after: Option<Cursor>,
) -> (u64, u64, Option<Cursor>) {
    let clause = Clause::Kind(Equality::Is, kind.into());
    let bulk = Bulk {
        reason: "".into(),
        act,
        selection: Selection {
            namespace: "default".into(),
            queue: None,
            filter: Filter {
                clauses: vec![clause],
            },
        },
        before: world.now,
        after,
        count_max: 3,
    };
    match world.call_by("ann@desk", Call::Bulk(bulk)) {
        Ok(Answer::Bulk {
            matched,
            changed,
            next,
        }) => (matched, changed, next),
        other => panic!("not answered: {other:?}"),
    }
}

fn bulk_all(world: &mut World, act: &BulkAct, kind: &str) -> (u64, u64) {
    let (mut totals, mut after) = ((0, 0), None);
    loop {
        let (matched, changed, next) = bulk(world, act.clone(), kind, after);
        totals = (totals.0 + matched, totals.1 + changed);
        after = next;
        if after.is_none() {
            return totals;
        }
    }
}

fn cancelling(mode: CancelMode) -> BulkAct {
    BulkAct::Cancel(Cancel {
        mode,
        reason: "wrong batch".into(),
    })
}

/// Of each of two kinds: one dead, one over, two running, six waiting.
fn busy() -> World {
    let mut world = World::with(|config| {
        config.shard_count = 4;
        config.default_policy = plain_policy(1).into();
    });
    for kind in ["a", "b"] {
        for index in 0..10 {
            let queue = ["q0", "q1", "q2"][index % 3];
            let task = NewTask {
                kind: kind.into(),
                ..new_task(queue)
            };
            world.enqueue_as(&format!("{kind}{index}"), task);
        }
    }
    for (worker, kind) in [("w1", "a"), ("w2", "b")] {
        let info = info(worker, &["q0", "q1", "q2"], &[kind]);
        world.hello_as(worker, info, 4, &[]);
        let mut held: Vec<String> = (0..10).map(|index| format!("{kind}{index}")).collect();
        held.retain(|task| world.state(task) == "LEASED");
        let nothing = Capacity::default();
        world.say(worker, FromWorker::Capacity(nothing));
        world.report(worker, (&held[0], 1), fail());
        world.report(worker, (&held[1], 1), complete());
    }
    world.wait_ms(1);
    world.quiet();
    world
}

#[test]
fn many_are_cancelled_in_bounded_steps_live_ones_only_and_only_those_selected() {
    let mut world = busy();
    assert_eq!(bulk_all(&mut world, &BulkAct::CountLive, "a"), (8, 0));
    let act = cancelling(CancelMode::IfWaiting);
    assert_eq!(bulk_all(&mut world, &act, "a"), (8, 6), "two are held");
    let act = cancelling(CancelMode::Cooperative { grace_ms: None });
    assert_eq!(bulk_all(&mut world, &act, "a"), (2, 2));
    let act = cancelling(CancelMode::Force);
    assert_eq!(bulk_all(&mut world, &act, "a"), (2, 2));
    assert_eq!(bulk_all(&mut world, &BulkAct::CountLive, "a"), (0, 0));
    assert_eq!(bulk_all(&mut world, &BulkAct::CountLive, "b"), (8, 0));
    let mut states: Vec<&str> = (0..10)
        .map(|index| world.state(&format!("a{index}")))
        .collect();
    states.sort_unstable();
    assert_eq!(states[..8], ["CANCELLED"; 8]);
    assert_eq!(states[8..], ["DEAD", "SUCCEEDED"]);
}

#[test]
fn each_of_many_keeps_who_cancelled_it_and_what_comes_meanwhile_is_left_alone() {
    let mut world = busy();
    let task = NewTask {
        kind: "a".into(),
        ..new_task("q0")
    };
    world.enqueue_as("t1", task);
    let act = cancelling(CancelMode::Force);
    assert_eq!(bulk_all(&mut world, &act, "a"), (8, 8));
    assert_eq!(world.state("t1"), "READY");
    let cancelled: Vec<String> = (0..10).map(|index| format!("a{index}")).collect();
    for task in cancelled {
        if world.state(&task) == "CANCELLED" {
            assert_eq!(
                world.act_lines(&task),
                ["CANCEL_REQUESTED by ann@desk: wrong batch"]
            );
        }
    }
}
