//! Scripts of what people did to a task, and of which policy judged which of its runs.

use super::world::{
    World, cancel_as, complete, fail, inline, new_task, plain_policy, queue, redrive, text, update,
};
use crate::engine::command::{
    Bulk, BulkAct, Call, CancelMode, NewTask, QueueChange, ReportOutcome, Selection, Start,
    TaskChange,
};
use crate::engine::effect::Answer;
use crate::engine::filter::Filter;
use crate::engine::ledger::kind::KindSettings;
use crate::engine::ledger::more::ActKind;
use crate::engine::ledger::task::{Priority, Timeouts};
use crate::engine::ledger::terms::Source;
use crate::engine::limits::ACTS_MAX;
use crate::engine::rejection::Rejection;

fn retry_at_once() -> ReportOutcome {
    ReportOutcome::Retry {
        failure: super::world::failure(),
        start: Some(Start::After { delay_ms: 0 }),
        payload: None,
        max_attempts: None,
    }
}

fn policy_of_queue(world: &mut World, max_attempts: u32) {
    let change = QueueChange {
        policy: Some(Some(inline(plain_policy(max_attempts)))),
        ..QueueChange::default()
    };
    world.configure("mail", change);
}

fn policy_of_kind(world: &mut World, max_attempts: u32) {
    world.set_kind(KindSettings {
        policy: Some(inline(plain_policy(max_attempts))),
        ..KindSettings::default()
    });
}

#[test]
fn each_run_says_whose_policy_judged_it_and_in_which_revision() {
    let mut world = World::running(new_task("mail"));
    world.report("w1", ("t1", 1), retry_at_once());
    policy_of_queue(&mut world, 10);
    world.report("w1", ("t1", 2), retry_at_once());
    policy_of_queue(&mut world, 11);
    world.report("w1", ("t1", 3), retry_at_once());
    policy_of_kind(&mut world, 12);
    world.report("w1", ("t1", 4), retry_at_once());
    policy_of_kind(&mut world, 13);
    world.report("w1", ("t1", 5), retry_at_once());
    world.call(Call::DeleteKind(queue("work"))).unwrap();
    world.report("w1", ("t1", 6), retry_at_once());
    world.restart();
    let side = world.view("t1").task.side.unwrap();
    let runs = side.history.runs();
    let said: Vec<(Source, u64)> = runs.map(|r| (r.policy_source, r.policy_revision)).collect();
    assert_eq!(
        said,
        [
            (Source::Server, 0),
            (Source::Queue, 1),
            (Source::Queue, 2),
            (Source::Kind, 1),
            (Source::Kind, 2),
            (Source::Queue, 2),
        ]
    );
}

#[test]
fn a_task_s_own_policy_judges_it_whatever_others_say() {
    let mut world = World::running(NewTask {
        policy: Some(inline(plain_policy(2))),
        ..new_task("mail")
    });
    policy_of_queue(&mut world, 10);
    policy_of_kind(&mut world, 10);
    let effective = world.view("t1").effective;
    assert_eq!(
        (effective.policy, effective.policy_revision),
        (Source::Task, 0)
    );
    world.report("w1", ("t1", 1), retry_at_once());
    let run = world.last_run("t1");
    assert_eq!((run.policy_source, run.policy_revision), (Source::Task, 0));
    world.report("w1", ("t1", 2), retry_at_once());
    assert_eq!(world.state("t1"), "DEAD");
}

#[test]
fn a_run_keeps_its_delay_before_and_after_jitter() {
    let mut world = World::running(new_task("mail"));
    world.report("w1", ("t1", 1), fail());
    let delay = world.last_run("t1").delay.unwrap();
    assert_eq!((delay.base_ms, delay.drawn_ms), (10_000, 10_000));
}

#[test]
fn who_did_what_to_a_task_and_why_is_kept_in_order_over_a_restart() {
    let mut world = World::running(NewTask {
        max_attempts: Some(1),
        ..new_task("mail")
    });
    world.report("w1", ("t1", 1), fail());
    let id = world.id("t1");
    let change = TaskChange {
        max_attempts: Some(5),
        reason: "give it more".into(),
        ..TaskChange::default()
    };
    let update = Call::UpdateTask {
        task: id.into(),
        change: Box::new(change),
    };
    world.call_by("bob@desk", update).unwrap();
    let redrive = Call::RedriveTask {
        task: id.into(),
        delay_ms: 0,
        reason: "fixed".into(),
    };
    world.call_by("ann@desk", redrive).unwrap();
    let mode = CancelMode::Cooperative { grace_ms: None };
    world
        .call_by("cid@desk", cancel_as(id, "enough", mode))
        .unwrap();
    world.restart();
    assert_eq!(
        world.act_lines("t1"),
        [
            "EDITED by bob@desk: give it more",
            "REDRIVEN by ann@desk: fixed",
            "CANCEL_REQUESTED by cid@desk: enough",
        ]
    );
}

#[test]
fn who_redrives_many_is_kept_with_each() {
    let mut world = World::running(NewTask {
        max_attempts: Some(1),
        ..new_task("mail")
    });
    world.report("w1", ("t1", 1), fail());
    world.wait_ms(1);
    let bulk = Bulk {
        reason: "".into(),
        act: BulkAct::Redrive {
            delay_ms: 0,
            step_us: 0,
        },
        selection: Selection {
            namespace: "default".into(),
            queue: None,
            filter: Filter::default(),
        },
        before: world.now,
        after: None,
        count_max: 10,
    };
    world.call_by("ann@desk", Call::Bulk(bulk)).unwrap();
    assert_eq!(world.act_lines("t1"), ["REDRIVEN by ann@desk: "]);
}

#[test]
fn the_latest_sixteen_acts_are_kept_and_the_rest_is_counted() {
    let mut world = World::new();
    world.enqueue("t1", "mail");
    for number in 1..=20 {
        let change = TaskChange {
            max_attempts: Some(number),
            reason: format!("edit {number}").into(),
            ..TaskChange::default()
        };
        edit(&mut world, change).unwrap();
    }
    let task = world.view("t1").task;
    let more = task.more().unwrap();
    assert_eq!((more.acts.len(), more.acts_omitted), (ACTS_MAX, 4));
    assert_eq!(&*more.acts[0].note, "edit 5");
    assert_eq!(&*more.acts[15].note, "edit 20");
    assert!(more.acts.iter().all(|act| act.what == ActKind::Edited));
}

#[test]
fn who_paused_a_queue_is_shown_and_forgotten_when_it_goes_on() {
    let mut world = World::new();
    let pause = Call::PauseQueue {
        queue: queue("mail"),
        reason: "deploy".into(),
    };
    let by = |reply| match reply {
        Ok(Answer::Queue(view)) => view.queue.paused_by.to_string(),
        other => panic!("not answered: {other:?}"),
    };
    assert_eq!(by(world.call_by("ann@desk", pause.clone())), "ann@desk");
    assert_eq!(by(world.call_by("bob@desk", pause)), "bob@desk");
    world.restart();
    assert_eq!(by(world.call(Call::GetQueue(queue("mail")))), "bob@desk");
    assert_eq!(by(world.call(Call::ResumeQueue(queue("mail")))), "");
}

/// Changes t1.
fn edit(world: &mut World, change: TaskChange) -> Result<Answer, Rejection> {
    let (task, change) = (world.id("t1").into(), Box::new(change));
    world.call_by("ann@desk", Call::UpdateTask { task, change })
}

fn everything() -> TaskChange {
    TaskChange {
        timeouts: Some(Timeouts {
            hard_ms: Some(7000),
            ..Timeouts::default()
        }),
        payload: Some(text("new")),
        priority: Some(Priority::Highest),
        start: Some(Start::After { delay_ms: 5000 }),
        max_attempts: Some(7),
        reason: "".into(),
    }
}

#[test]
fn a_task_that_waits_can_be_changed_in_everything_at_once() {
    let mut scheduled = World::new();
    scheduled.enqueue_as(
        "t1",
        NewTask {
            start: Start::After { delay_ms: 60_000 },
            ..new_task("mail")
        },
    );
    let mut ready = World::new();
    ready.enqueue("t1", "mail");
    let mut retrying = World::running(new_task("mail"));
    retrying.report("w1", ("t1", 1), fail());
    retrying.cut("w1");
    for mut world in [scheduled, ready, retrying] {
        let Ok(Answer::Task(view)) = edit(&mut world, everything()) else {
            panic!("not changed");
        };
        assert_eq!((view.attempts_max, view.timeouts.hard_ms), (7, Some(7000)));
        assert_eq!(world.acts("t1").len(), 1);
        world.restart();
        world.hello("w2", &["mail"], 1);
        world.wait_alive_ms(4999, &["w2"]);
        world.expect(&[]);
        world.wait_ms(1);
        let run = world.view("t1").task.runs();
        let delivery = &world.deliveries[&("t1".to_owned(), run)];
        assert_eq!(delivery.payload, text("new"));
        assert_eq!(
            (delivery.priority, delivery.attempts_max),
            (Priority::Highest, 7)
        );
        assert_eq!(delivery.timeouts.hard_ms, Some(7000));
    }
}

#[test]
fn a_dead_letter_can_be_changed_and_runs_with_that_when_it_is_put_back() {
    let mut world = World::running(NewTask {
        max_attempts: Some(1),
        ..new_task("mail")
    });
    world.checkpoint("w1", ("t1", 1), "of the old payload");
    world.report("w1", ("t1", 1), fail());
    let change = TaskChange {
        start: None,
        ..everything()
    };
    edit(&mut world, change).unwrap();
    assert_eq!(world.state("t1"), "DEAD");
    let id = world.id("t1");
    world.call(redrive(id, 0)).unwrap();
    let delivery = &world.deliveries[&("t1".to_owned(), 2)];
    assert_eq!(delivery.payload, text("new"));
    assert_eq!(delivery.attempts_max, 7);
    assert_eq!(delivery.checkpoint, None, "it belonged to the old payload");
}

#[test]
fn while_a_worker_holds_it_only_its_timeouts_change_and_a_refusal_changes_nothing() {
    let mut unstarted = World::new();
    unstarted.enqueue("t1", "mail");
    unstarted.hello("w1", &["mail"], 1);
    for mut world in [unstarted, World::running(new_task("mail"))] {
        world.quiet();
        let before = (world.view("t1").task, world.ledger(0).last_seq());
        let only = |part: TaskChange| part;
        for change in [
            everything(),
            only(TaskChange {
                payload: Some(text("new")),
                ..TaskChange::default()
            }),
            only(TaskChange {
                priority: Some(Priority::High),
                ..TaskChange::default()
            }),
            only(TaskChange {
                start: Some(Start::After { delay_ms: 0 }),
                ..TaskChange::default()
            }),
            only(TaskChange {
                max_attempts: Some(9),
                ..TaskChange::default()
            }),
        ] {
            let refused = edit(&mut world, change);
            assert!(matches!(refused, Err(Rejection::WrongState { .. })));
        }
        assert_eq!((world.view("t1").task, world.ledger(0).last_seq()), before);
        world.expect(&[]);
        let id = world.id("t1");
        world.call(update(id, Timeouts::default())).unwrap();
    }
}

#[test]
fn a_dead_letter_has_no_start_and_what_is_over_cannot_be_changed() {
    let mut world = World::running(NewTask {
        max_attempts: Some(1),
        ..new_task("mail")
    });
    world.report("w1", ("t1", 1), fail());
    let before = world.view("t1").task;
    assert!(edit(&mut world, everything()).is_err());
    assert_eq!(world.view("t1").task, before);
    let mut world = World::running(new_task("mail"));
    world.report("w1", ("t1", 1), complete());
    let before = world.view("t1").task;
    let timeouts = TaskChange {
        timeouts: Some(Timeouts::default()),
        ..TaskChange::default()
    };
    for change in [everything(), timeouts] {
        let refused = edit(&mut world, change);
        assert!(matches!(
            refused,
            Err(Rejection::WrongState {
                state: "SUCCEEDED",
                ..
            })
        ));
    }
    assert_eq!(world.view("t1").task, before);
}

#[test]
fn a_changed_start_moves_a_task_both_ways() {
    let mut world = World::new();
    world.hello("w1", &["mail"], 1);
    world.enqueue_as(
        "t1",
        NewTask {
            start: Start::After { delay_ms: 60_000 },
            ..new_task("mail")
        },
    );
    let start = |delay_ms| TaskChange {
        start: Some(Start::After { delay_ms }),
        ..TaskChange::default()
    };
    edit(&mut world, start(90_000)).unwrap();
    world.quiet();
    world.wait_alive_ms(89_999, &["w1"]);
    world.expect(&[]);
    edit(&mut world, start(0)).unwrap();
    world.expect(&["t1: edited", "w1 gets t1#1"]);
    let mut world = World::new();
    world.enqueue("t1", "mail");
    edit(&mut world, start(1000)).unwrap();
    assert_eq!(world.state("t1"), "SCHEDULED");
    world.hello("w1", &["mail"], 1);
    world.quiet();
    world.wait_ms(1000);
    world.expect(&["w1 gets t1#1"]);
}

#[test]
fn a_changed_priority_changes_the_order_of_what_is_ready() {
    let mut world = World::new();
    world.enqueue("t0", "mail");
    world.enqueue("t1", "mail");
    let change = TaskChange {
        priority: Some(Priority::High),
        ..TaskChange::default()
    };
    edit(&mut world, change).unwrap();
    world.quiet();
    world.hello("w1", &["mail"], 2);
    world.expect(&["w1 gets t1#1", "w1 gets t0#1"]);
}

#[test]
fn fewer_attempts_than_were_used_make_the_next_failure_the_last() {
    let mut world = World::running(new_task("mail"));
    world.report("w1", ("t1", 1), fail());
    let change = TaskChange {
        max_attempts: Some(1),
        ..TaskChange::default()
    };
    edit(&mut world, change).unwrap();
    assert_eq!(world.state("t1"), "RETRYING");
    world.wait_alive_ms(10_000, &["w1"]);
    world.report("w1", ("t1", 2), fail());
    assert_eq!(world.dead_because("t1"), "ATTEMPTS_EXHAUSTED");
}

#[test]
fn changed_limits_of_a_task_that_waits_are_an_act_too() {
    let mut world = World::new();
    world.enqueue("t1", "mail");
    let change = TaskChange {
        timeouts: Some(Timeouts {
            hard_ms: Some(7000),
            ..Timeouts::default()
        }),
        reason: "it is slow".into(),
        ..TaskChange::default()
    };
    edit(&mut world, change).unwrap();
    assert_eq!(world.act_lines("t1"), ["EDITED by ann@desk: it is slow"]);
    assert_eq!(world.view("t1").timeouts.hard_ms, Some(7000));
}

#[test]
fn a_change_that_changes_nothing_is_answered_and_is_no_act() {
    let mut world = World::new();
    world.enqueue("t1", "mail");
    world.quiet();
    edit(&mut world, TaskChange::default()).unwrap();
    world.expect(&[]);
    assert!(world.acts("t1").is_empty());
}
