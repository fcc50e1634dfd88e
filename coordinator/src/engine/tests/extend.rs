//! Scripts of handlers that want other limits for the run that goes on (S34).

use super::world::{World, complete, fail, new_task, update};
use crate::engine::command::NewTask;
use crate::engine::ledger::task::Timeouts;
use crate::engine::limits::TIMEOUT_MS_MAX;

const fn limits(soft_ms: Option<u64>, hard_ms: Option<u64>) -> Timeouts {
    Timeouts {
        soft_ms,
        hard_ms,
        extend_max_ms: None,
    }
}

fn running(timeouts: Timeouts) -> World {
    World::running(NewTask {
        timeouts: Some(timeouts),
        ..new_task("mail")
    })
}

fn ask(world: &mut World, soft_ms: Option<u64>, hard_ms: Option<u64>) {
    world.beat("w1", ("t1", 1), |beat| {
        beat.timeouts = Some(limits(soft_ms, hard_ms));
    });
}

#[test]
fn s34_a_handler_that_wants_300_and_360_seconds_gets_them_at_once() {
    let mut world = running(limits(None, Some(100_000)));
    world.wait_alive_ms(60_000, &["w1"]);
    ask(&mut world, Some(300_000), Some(360_000));
    world.expect(&[
        "t1: extended",
        "w1 limits t1: Some(300000) Some(360000)",
        "beat t1: held",
    ]);
    world.wait_alive_ms(239_999, &["w1"]);
    world.expect(&[]);
    world.wait_ms(1);
    world.expect(&["ping w1", "w1 stop t1: SoftTimeout"]);
    assert_eq!(world.state("t1"), "RUNNING");
    world.wait_alive_ms(69_999, &["w1"]);
    world.expect(&[]);
    world.wait_alive_ms(1, &["w1"]);
    world.expect(&[
        "t1: TimedOut, Attempt, again in 10000 ms",
        "w1 stop t1: HardTimeout",
    ]);
}

#[test]
fn only_this_run_has_more_time_the_next_one_has_what_was_said() {
    let mut world = running(limits(None, Some(100_000)));
    ask(&mut world, None, Some(200_000));
    world.report("w1", ("t1", 1), fail());
    world.wait_alive_ms(10_000, &["w1"]);
    let delivered = world.deliveries[&("t1".to_owned(), 2)].timeouts;
    assert_eq!(delivered, limits(None, Some(100_000)));
    assert_eq!(world.view("t1").timeouts, limits(None, Some(100_000)));
}

#[test]
fn what_is_not_asked_for_stays() {
    let mut world = running(limits(Some(50_000), Some(100_000)));
    ask(&mut world, None, Some(200_000));
    world.expect(&[
        "t1: extended",
        "w1 limits t1: Some(50000) Some(200000)",
        "beat t1: held",
    ]);
}

#[test]
fn more_than_four_times_the_hard_limit_is_refused_however_often_it_is_asked_for() {
    let mut world = running(limits(None, Some(100_000)));
    ask(&mut world, None, Some(400_001));
    world.expect(&[
        "beat t1: refused, timeouts.hard would be 400001 ms, more than the 400000 ms that this \
         task may ask for; raise extend_max of its timeouts",
    ]);
    assert_eq!(world.view("t1").timeouts.hard_ms, Some(100_000));
    ask(&mut world, None, Some(400_000));
    ask(&mut world, None, Some(400_001));
    world.expect(&[
        "t1: extended",
        "w1 limits t1: None Some(400000)",
        "beat t1: held",
        "beat t1: refused, timeouts.hard would be 400001 ms, more than the 400000 ms that this \
         task may ask for; raise extend_max of its timeouts",
    ]);
    ask(&mut world, Some(400_001), None);
    assert_eq!(world.view("t1").timeouts.soft_ms, None);
}

#[test]
fn the_task_s_own_bound_goes_before_four_times_the_hard_limit() {
    let mut world = running(Timeouts {
        extend_max_ms: Some(150_000),
        ..limits(None, Some(100_000))
    });
    ask(&mut world, None, Some(150_001));
    assert_eq!(world.view("t1").timeouts.hard_ms, Some(100_000));
    ask(&mut world, None, Some(150_000));
    assert_eq!(world.view("t1").timeouts.hard_ms, Some(150_000));
}

#[test]
fn a_run_without_a_hard_limit_may_ask_for_up_to_thirty_days() {
    let mut world = running(limits(None, None));
    ask(&mut world, None, Some(TIMEOUT_MS_MAX + 1));
    assert_eq!(world.view("t1").timeouts.hard_ms, None);
    ask(&mut world, Some(1000), Some(TIMEOUT_MS_MAX));
    assert_eq!(world.view("t1").timeouts.hard_ms, Some(TIMEOUT_MS_MAX));
    let mut world = running(limits(None, Some(TIMEOUT_MS_MAX / 2)));
    ask(&mut world, None, Some(TIMEOUT_MS_MAX + 1));
    assert_eq!(world.view("t1").timeouts.hard_ms, Some(TIMEOUT_MS_MAX / 2));
}

#[test]
fn a_limit_that_grew_beyond_the_bound_can_still_be_asked_about() {
    let mut world = running(Timeouts {
        extend_max_ms: Some(50_000),
        ..limits(None, Some(100_000))
    });
    ask(&mut world, Some(90_000), None);
    assert_eq!(world.view("t1").timeouts.soft_ms, Some(90_000));
    ask(&mut world, None, Some(100_001));
    assert_eq!(world.view("t1").timeouts.hard_ms, Some(100_000));
}

#[test]
fn a_soft_limit_above_the_hard_one_is_refused_and_changes_nothing() {
    let mut world = running(limits(Some(50_000), Some(100_000)));
    ask(&mut world, Some(100_001), None);
    world.expect(&[
        "beat t1: refused, timeouts.hard would be 100000 ms, less than the soft limit of 100001 \
         ms; ask for both",
    ]);
    assert_eq!(world.view("t1").timeouts.soft_ms, Some(50_000));
}

#[test]
fn a_handler_may_ask_for_less() {
    let mut world = running(limits(None, Some(100_000)));
    ask(&mut world, None, Some(20_000));
    world.quiet();
    world.wait_alive_ms(30_000, &["w1"]);
    world.expect(&[
        "t1: TimedOut, Attempt, again in 10000 ms",
        "w1 stop t1: HardTimeout",
    ]);
}

#[test]
fn more_time_survives_a_restart() {
    let mut world = running(limits(None, Some(100_000)));
    ask(&mut world, None, Some(300_000));
    world.restart();
    world.resume("w1", &["mail"], 1, &[("t1", 1)]);
    assert_eq!(world.view("t1").timeouts.hard_ms, Some(300_000));
    world.quiet();
    world.wait_alive_ms(309_999, &["w1"]);
    world.expect(&[]);
    world.wait_ms(1);
    assert_eq!(world.state("t1"), "RETRYING");
}

#[test]
fn a_run_that_has_not_begun_gets_time_from_the_word_that_asks_for_it() {
    let mut world = World::new();
    world.enqueue_as(
        "t1",
        NewTask {
            timeouts: Some(limits(None, Some(100_000))),
            ..new_task("mail")
        },
    );
    world.hello("w1", &["mail"], 1);
    world.wait_alive_ms(50_000, &["w1"]);
    ask(&mut world, None, Some(200_000));
    world.quiet();
    world.wait_alive_ms(209_999, &["w1"]);
    world.expect(&[]);
    world.wait_ms(1);
    assert_eq!(world.state("t1"), "RETRYING");
}

#[test]
fn limits_set_by_an_operator_replace_those_asked_for_and_bound_the_next_wish() {
    let mut world = running(limits(None, Some(100_000)));
    ask(&mut world, None, Some(400_000));
    let id = world.id("t1");
    world.call(update(id, limits(None, Some(50_000)))).unwrap();
    ask(&mut world, None, Some(200_001));
    assert_eq!(world.view("t1").timeouts.hard_ms, Some(50_000));
    ask(&mut world, None, Some(200_000));
    assert_eq!(world.view("t1").timeouts.hard_ms, Some(200_000));
    world.report("w1", ("t1", 1), complete());
    assert_eq!(world.state("t1"), "SUCCEEDED");
}

#[test]
fn a_worker_that_was_away_is_told_the_limits_that_changed_meanwhile() {
    let mut world = running(limits(None, Some(100_000)));
    let id = world.id("t1");
    world.cut("w1");
    world.call(update(id, limits(None, Some(200_000)))).unwrap();
    world.expect(&["t1: edited"]);
    world.resume("w1", &["mail"], 1, &[("t1", 1)]);
    world.expect(&["w1 limits t1: None Some(200000)"]);
}

#[test]
fn a_change_of_limits_that_may_have_been_lost_with_its_stream_is_told_again() {
    let mut world = running(limits(None, Some(100_000)));
    ask(&mut world, None, Some(200_000));
    world.cut("w1");
    world.quiet();
    world.resume("w1", &["mail"], 1, &[("t1", 1)]);
    world.expect(&["w1 limits t1: None Some(200000)"]);
    world.restart();
    world.resume("w1", &["mail"], 1, &[("t1", 1)]);
    world.expect(&["w1 limits t1: None Some(200000)"]);
}

#[test]
fn limits_that_did_not_change_are_not_told_again() {
    let mut world = running(limits(None, Some(100_000)));
    world.cut("w1");
    world.quiet();
    world.resume("w1", &["mail"], 1, &[("t1", 1)]);
    world.expect(&[]);
}
