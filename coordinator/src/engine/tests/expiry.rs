//! Scripts of ttl and deadline: when a task's own time is over.

use super::world::{
    START, World, complete, fail, inline, plain_policy, redrive, with_deadline, with_terms,
    with_ttl,
};
use crate::engine::Why;
use crate::engine::command::{Call, Command, NewTask, ReportOutcome, Start, TaskChange};
use crate::engine::effect::Answer;
use crate::engine::ids::TaskId;
use crate::engine::ledger::history::RunOutcome;
use crate::engine::ledger::task::State;
use crate::engine::ledger::terms::Terms;
use crate::engine::retry::Policy;
use crate::engine::retry::policy::ExhaustAction;

fn later(delay_ms: u64, task: NewTask) -> NewTask {
    NewTask {
        start: Start::After { delay_ms },
        ..task
    }
}

fn waiting(task: NewTask) -> World {
    let mut world = World::new();
    world.enqueue_as("t1", task);
    world.quiet();
    world
}

fn deferred(delay_ms: u64) -> ReportOutcome {
    ReportOutcome::Defer {
        delay_ms,
        reason: "".into(),
        payload: None,
    }
}

fn start_at(world: &mut World, delay_ms: u64) {
    let change = TaskChange {
        start: Some(Start::After { delay_ms }),
        ..TaskChange::default()
    };
    let (task, change) = (world.id("t1").into(), Box::new(change));
    world.call(Call::UpdateTask { task, change }).unwrap();
}

#[test]
fn a_task_that_no_run_has_begun_is_dead_exactly_when_its_ttl_is_over() {
    let mut world = waiting(with_ttl(10_000));
    let deadline = world.engine.next_deadline().unwrap();
    assert_eq!(
        (deadline.at, deadline.why),
        (START.plus_ms(10_000), Why::Death)
    );
    world.wait_ms(9999);
    world.give(Command::Tick);
    world.expect(&[]);
    assert_eq!(world.state("t1"), "READY");
    world.wait_ms(1);
    world.expect(&["t1: dead, TTL_EXPIRED"]);
    let at = START.plus_ms(10_000);
    let state = world.view("t1").task.state;
    assert!(matches!(state, State::Dead { at: died, .. } if died == at));
    assert!(
        world
            .engine
            .next_deadline()
            .is_none_or(|d| d.why != Why::Death)
    );
}

#[test]
fn an_early_tick_records_nothing() {
    let mut world = waiting(with_ttl(10_000));
    let before = world.ledger(0).last_seq();
    world.wait_ms(9999);
    world.give(Command::Tick);
    assert_eq!(world.ledger(0).last_seq(), before);
}

#[test]
fn a_task_that_has_begun_does_not_expire_while_it_waits_for_its_retry() {
    let mut world = World::running(with_ttl(12_000));
    world.wait_ms(4000);
    world.report("w1", ("t1", 1), fail());
    world.cut("w1");
    world.quiet();
    world.wait_ms(100_000);
    assert_eq!(world.state("t1"), "READY");
}

#[test]
fn what_is_leased_and_never_begun_may_expire_again_when_it_comes_back() {
    let mut world = World::new();
    world.enqueue_as("t1", with_ttl(20_000));
    world.hello("w1", &["mail"], 1);
    world.quiet();
    world.wait_ms(29_999);
    world.expect(&["ping w1"; 5]);
    world.wait_ms(1);
    world.expect(&[
        "t1: Unstarted, Deferral, again in 1000 ms",
        "t1: dead, TTL_EXPIRED",
        "close w1",
    ]);
}

#[test]
fn after_an_unstarted_loss_the_ttl_goes_on() {
    let mut world = World::new();
    world.enqueue_as("t1", with_ttl(40_000));
    world.hello("w1", &["mail"], 1);
    world.wait_ms(39_999);
    assert_eq!(world.state("t1"), "READY");
    world.quiet();
    world.wait_ms(1);
    world.expect(&["t1: dead, TTL_EXPIRED"]);
}

#[test]
fn a_crash_of_a_run_that_had_begun_ends_the_ttl_for_good_over_a_restart_too() {
    let mut world = World::running(with_ttl(20_000));
    world.restart();
    world.wait_ms(30_000);
    world.expect(&["t1: Crashed, Crash, again in 1000 ms"]);
    world.restart();
    world.wait_ms(60_000);
    assert_eq!(world.state("t1"), "READY");
}

#[test]
fn a_ttl_counts_from_the_delayed_start() {
    let mut world = waiting(later(60_000, with_ttl(10_000)));
    world.wait_ms(69_999);
    assert_eq!(world.state("t1"), "READY");
    world.wait_ms(1);
    world.expect(&["t1: dead, TTL_EXPIRED"]);
}

#[test]
fn a_ttl_and_a_deadline_move_with_a_start_that_is_changed_before_the_first_run() {
    let both = Terms {
        ttl_ms: Some(10_000),
        deadline_ms: Some(20_000),
        ..Terms::default()
    };
    let mut world = waiting(with_terms(both));
    start_at(&mut world, 60_000);
    let effective = world.view("t1").effective;
    assert_eq!(effective.start_by.0, Some(START.plus_ms(70_000)));
    assert_eq!(effective.end_by.0, Some(START.plus_ms(80_000)));
    world.quiet();
    world.wait_ms(69_999);
    world.expect(&[]);
    world.wait_ms(1);
    world.expect(&["t1: dead, TTL_EXPIRED"]);
}

#[test]
fn a_deadline_stays_where_it_is_when_the_start_of_a_retry_is_changed() {
    let mut world = World::running(with_deadline(20_000));
    world.report("w1", ("t1", 1), fail());
    start_at(&mut world, 60_000);
    world.quiet();
    world.wait_alive_ms(20_000, &["w1"]);
    world.expect(&["t1: dead, DEADLINE_EXCEEDED"]);
}

#[test]
fn a_deadline_ends_a_task_that_waits_exactly_then() {
    let mut world = waiting(later(5000, with_deadline(10_000)));
    world.wait_ms(14_999);
    world.expect(&[]);
    world.wait_ms(1);
    world.expect(&["t1: dead, DEADLINE_EXCEEDED"]);
}

#[test]
fn a_deadline_ends_a_run_exactly_then_its_holder_is_told_and_its_report_is_superseded() {
    let mut world = World::running(with_deadline(12_000));
    world.wait_alive_ms(11_999, &["w1"]);
    world.give(Command::Tick);
    world.expect(&[]);
    world.wait_ms(1);
    world.expect(&["t1: dead, DEADLINE_EXCEEDED", "w1 stop t1: Deadline"]);
    assert_eq!(world.last_run("t1").outcome, RunOutcome::TimedOut);
    world.report("w1", ("t1", 1), complete());
    world.report("w1", ("t1", 1), fail());
    world.expect(&["ack t1: superseded", "ack t1: superseded"]);
    assert_eq!(world.dead_because("t1"), "DEADLINE_EXCEEDED");
}

#[test]
fn a_deadline_ends_what_is_leased_and_has_not_begun_too() {
    let mut world = World::new();
    world.enqueue_as("t1", with_deadline(12_000));
    world.hello("w1", &["mail"], 1);
    world.wait_alive_ms(11_999, &["w1"]);
    world.quiet();
    world.wait_ms(1);
    world.expect(&["t1: dead, DEADLINE_EXCEEDED", "w1 stop t1: Deadline"]);
    world.enqueue("t2", "mail");
    world.expect(&["w1 gets t2#1"]);
}

#[test]
fn a_deadline_ends_a_lease_without_a_stream() {
    let mut world = World::running_unary(with_deadline(12_000));
    world.wait_ms(12_000);
    world.expect(&["t1: dead, DEADLINE_EXCEEDED"]);
    let report = world.report_of(("t1", 1), complete());
    let Ok(Answer::Acks(acks)) = world.call(Call::ReportTasks(vec![report])) else {
        panic!("not answered");
    };
    assert_eq!(format!("{:?}", acks[0].status), "Superseded");
}

#[test]
fn a_retry_that_would_start_at_the_deadline_dies_at_once_and_a_millisecond_before_it_does_not() {
    for (failed_after_ms, line) in [
        (9999, "t1: Failed, Attempt, again in 10000 ms"),
        (10_000, "t1: dead, DEADLINE_EXCEEDED"),
        (15_000, "t1: dead, DEADLINE_EXCEEDED"),
    ] {
        let mut world = World::running(with_deadline(20_000));
        world.wait_alive_ms(failed_after_ms, &["w1"]);
        world.report("w1", ("t1", 1), fail());
        world.expect(&[line, "ack t1: recorded"]);
    }
}

#[test]
fn a_deferral_that_would_end_at_the_deadline_dies_at_once() {
    for (delay_ms, line) in [
        (19_999, "t1: Deferred, Deferral, again in 19999 ms"),
        (20_000, "t1: dead, DEADLINE_EXCEEDED"),
    ] {
        let mut world = World::running(with_deadline(20_000));
        world.report("w1", ("t1", 1), deferred(delay_ms));
        world.expect(&[line, "ack t1: recorded"]);
    }
}

#[test]
fn what_the_policy_makes_of_spent_tasks_holds_for_ttl_and_deadline() {
    for (action, state) in [
        (ExhaustAction::DeadLetter, "DEAD"),
        (ExhaustAction::Fail, "FAILED"),
        (ExhaustAction::Discard, "DISCARDED"),
    ] {
        let policy = || {
            Some(inline(Policy {
                on_exhausted: action,
                ..plain_policy(3)
            }))
        };
        let judged = |task: NewTask| NewTask {
            policy: policy(),
            ..task
        };
        for task in [with_ttl(1000), with_deadline(1000)] {
            let mut world = waiting(judged(task));
            world.wait_ms(1000);
            assert_eq!(world.state("t1"), state, "while it waits");
        }
        let mut world = World::running(judged(with_deadline(1000)));
        world.wait_ms(1000);
        assert_eq!(world.state("t1"), state, "while it runs");
        let mut world = World::running(judged(with_deadline(11_000)));
        world.wait_alive_ms(1000, &["w1"]);
        world.report("w1", ("t1", 1), fail());
        assert_eq!(world.state("t1"), state, "a retry that is too late");
    }
}

#[test]
fn a_redriven_task_has_its_whole_ttl_again_from_its_new_start() {
    let mut world = waiting(with_ttl(10_000));
    world.wait_ms(20_000);
    let id = world.id("t1");
    world.call(redrive(id, 5000)).unwrap();
    world.quiet();
    world.wait_ms(14_999);
    world.expect(&[]);
    world.wait_ms(1);
    world.expect(&["t1: dead, TTL_EXPIRED"]);
}

#[test]
fn a_redriven_task_that_had_begun_has_ttl_and_deadline_again() {
    let both = Terms {
        ttl_ms: Some(10_000),
        deadline_ms: Some(15_000),
        ..Terms::default()
    };
    let mut world = World::running(with_terms(both));
    world.wait_alive_ms(15_000, &["w1"]);
    assert_eq!(world.dead_because("t1"), "DEADLINE_EXCEEDED");
    world.cut("w1");
    world.restart();
    let id = world.id("t1");
    world.call(redrive(id, 0)).unwrap();
    let effective = world.view("t1").effective;
    assert_eq!(effective.start_by.0, Some(world.now.plus_ms(10_000)));
    assert_eq!(effective.end_by.0, Some(world.now.plus_ms(15_000)));
    world.wait_ms(10_000);
    assert_eq!(world.dead_because("t1"), "TTL_EXPIRED");
}

#[test]
fn ttl_and_deadline_survive_a_restart() {
    let mut world = waiting(with_ttl(10_000));
    world.enqueue_as("t2", with_deadline(12_000));
    world.wait_ms(5000);
    world.restart();
    world.wait_ms(4999);
    world.expect(&[]);
    world.wait_ms(1);
    world.expect(&["t1: dead, TTL_EXPIRED"]);
    world.wait_ms(2000);
    world.expect(&["t2: dead, DEADLINE_EXCEEDED"]);
}

#[test]
fn a_deadline_ends_a_run_within_the_grace_of_a_restart_and_the_holder_hears_that_it_lost() {
    let mut world = World::running(with_deadline(12_000));
    world.wait_ms(5000);
    world.restart();
    world.wait_ms(7000);
    world.expect(&["t1: dead, DEADLINE_EXCEEDED"]);
    let token = world.token("t1", 1);
    world.resume("w1", &["mail"], 1, &[("t1", 1)]);
    assert_eq!(world.worker("w1").lost, [token]);
    world.report("w1", ("t1", 1), complete());
    world.expect(&["ack t1: superseded"]);
}

#[test]
fn what_was_over_while_the_coordinator_was_down_ends_before_anybody_gets_it() {
    let mut world = waiting(with_ttl(10_000));
    world.now = world.now.plus_ms(60_000);
    world.restart();
    world.hello("w1", &["mail"], 1);
    world.give(Command::Tick);
    world.expect(&["t1: dead, TTL_EXPIRED"]);
}

#[test]
fn what_is_over_is_not_handed_out_before_the_tick() {
    let mut world = waiting(with_ttl(10_000));
    world.enqueue_as("t2", with_deadline(10_000));
    world.enqueue("t3", "mail");
    world.now = world.now.plus_ms(60_000);
    world.quiet();
    world.hello("w1", &["mail"], 1);
    world.expect(&[
        "t1: dead, TTL_EXPIRED",
        "t2: dead, DEADLINE_EXCEEDED",
        "w1 gets t3#1",
    ]);
    world.enqueue_as("t4", with_ttl(1000));
    world.enqueue("t5", "mail");
    world.now = world.now.plus_ms(1000);
    world.report("w1", ("t3", 1), complete());
    world.expect(&[
        "t3: Succeeded",
        "t4: dead, TTL_EXPIRED",
        "ack t3: recorded",
        "w1 gets t5#1",
    ]);
}

#[test]
fn more_tasks_than_one_turn_ends_all_end_in_their_instant() {
    let mut world = World::new();
    for index in 0..4100 {
        world.enqueue_unchecked(&format!("t{index}"), with_ttl(10_000));
    }
    world.wait_ms(10_000);
    let tasks = world.ledger(0).tasks_after(TaskId::MIN);
    let at = START.plus_ms(10_000);
    let dead = tasks.filter(|t| matches!(t.state, State::Dead { at: died, .. } if died == at));
    assert_eq!(dead.count(), 4100);
}

#[test]
fn of_ttl_and_deadline_the_one_that_was_over_first_is_the_reason_however_late_that_is_seen() {
    for (ttl_ms, deadline_ms, reason) in [
        (1000, 2000, "TTL_EXPIRED"),
        (2000, 1000, "DEADLINE_EXCEEDED"),
        (1000, 1000, "DEADLINE_EXCEEDED"),
    ] {
        let mut world = waiting(with_terms(Terms {
            ttl_ms: Some(ttl_ms),
            deadline_ms: Some(deadline_ms),
            ..Terms::default()
        }));
        world.now = world.now.plus_ms(3_600_000);
        world.give(Command::Tick);
        assert_eq!(world.dead_because("t1"), reason);
    }
}
