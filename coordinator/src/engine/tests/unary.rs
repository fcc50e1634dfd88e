//! Scripts of work without a stream.

use super::world::{World, cancel, complete};
use crate::engine::command::{Call, Command};
use crate::engine::effect::{Answer, Extension, ReportStatus};
use crate::engine::ids::LeaseToken;
use crate::engine::limits;

fn extend(world: &mut World, tokens: Vec<Option<LeaseToken>>) -> Vec<Extension> {
    let Ok(Answer::Extended(extensions, _)) = world.call(Call::ExtendLeases {
        tokens,
        ttl_ms: 30_000,
        beats: Vec::new(),
    }) else {
        panic!("not answered");
    };
    extensions
}

#[test]
fn a_call_gets_what_is_ready_up_to_what_it_asked_for() {
    let mut world = World::new();
    for name in ["t1", "t2", "t3"] {
        world.enqueue(name, "mail");
    }
    let request = world.lease("cron", "mail", 2, 0);
    assert_eq!(world.leased(request), ["t1#1", "t2#1"]);
    let request = world.lease("cron", "mail", 2, 0);
    assert_eq!(world.leased(request), ["t3#1"]);
    let request = world.lease("cron", "mail", 2, 0);
    assert_eq!(world.leased(request), [""; 0]);
}

#[test]
fn a_call_waits_for_the_first_task_and_no_longer_than_it_said() {
    let mut world = World::new();
    let early = world.lease("a", "mail", 1, 10_000);
    let late = world.lease("b", "mail", 1, 20_000);
    world.wait_ms(10_000);
    assert_eq!(world.leased(early), [""; 0]);
    world.enqueue("t1", "mail");
    assert_eq!(world.leased(late).len(), 1);
}

#[test]
fn a_caller_who_went_away_gets_nothing() {
    let mut world = World::new();
    let request = world.lease("a", "mail", 1, 10_000);
    world.give(Command::Hangup { request });
    world.enqueue("t1", "mail");
    assert_eq!(world.state("t1"), "READY");
    assert!(world.replies.is_empty());
}

#[test]
fn a_lease_lives_as_long_as_it_is_extended_and_then_counts_as_a_crash() {
    let mut world = World::new();
    world.enqueue("t1", "mail");
    let request = world.lease("cron", "mail", 1, 0);
    world.leased(request);
    let token = world.token("t1", 1);
    world.wait_ms(29_999);
    let held = Extension {
        held: true,
        cancel_requested: false,
    };
    assert_eq!(extend(&mut world, vec![Some(token)]), [held]);
    world.wait_ms(29_999);
    assert_eq!(world.state("t1"), "RUNNING");
    world.wait_ms(1);
    world.expect(&["t1: Crashed, Crash, again in 1000 ms"]);
    let gone = Extension {
        held: false,
        cancel_requested: false,
    };
    assert_eq!(extend(&mut world, vec![Some(token), None]), [gone, gone]);
}

#[test]
fn a_lease_is_not_lost_because_the_coordinator_did_not_listen() {
    let mut world = World::new();
    world.enqueue("t1", "mail");
    let request = world.lease("cron", "mail", 1, 0);
    world.leased(request);
    world.freeze_ms(60_000);
    assert_eq!(world.state("t1"), "RUNNING");
    world.wait_ms(30_000);
    assert_eq!(world.state("t1"), "RETRYING");
}

#[test]
fn reports_are_answered_like_those_of_a_stream() {
    let mut world = World::new();
    world.enqueue("t1", "mail");
    let request = world.lease("cron", "mail", 1, 0);
    world.leased(request);
    let statuses = |world: &mut World| {
        let report = world.report_of(("t1", 1), complete());
        let Ok(Answer::Acks(acks)) = world.call(Call::ReportTasks(vec![report])) else {
            panic!("not answered");
        };
        acks.into_iter().map(|ack| ack.status).collect::<Vec<_>>()
    };
    assert_eq!(statuses(&mut world), [ReportStatus::Recorded]);
    assert_eq!(statuses(&mut world), [ReportStatus::Duplicate]);
}

#[test]
fn a_worker_holds_at_most_1024_leases_without_a_stream() {
    let mut world = World::new();
    for index in 0..1030 {
        world.enqueue(&format!("t{index}"), "mail");
    }
    let first = world.lease("cron", "mail", 1000, 0);
    assert_eq!(world.leased(first).len(), 1000);
    let second = world.lease("cron", "mail", 1000, 0);
    assert_eq!(world.leased(second).len(), 24);
    let third = world.lease("cron", "mail", 1, 0);
    assert!(matches!(world.replies.remove(&third), Some(Err(_))));
    let other = world.lease("another", "mail", 1000, 0);
    assert_eq!(world.leased(other).len(), 6);
}

#[test]
fn a_cancel_reaches_a_worker_without_a_stream_when_it_extends() {
    let mut world = World::new();
    world.enqueue("t1", "mail");
    let request = world.lease("cron", "mail", 1, 0);
    world.leased(request);
    let id = world.id("t1");
    world.call(cancel(id, "")).unwrap();
    let token = world.token("t1", 1);
    let told = Extension {
        held: true,
        cancel_requested: true,
    };
    assert_eq!(extend(&mut world, vec![Some(token)]), [told]);
}

#[test]
fn an_answer_has_at_most_two_mebibytes_of_payload_but_always_one_task() {
    let mut world = World::new();
    let sized = |bytes: usize| crate::engine::command::NewTask {
        payload: crate::engine::ledger::task::Payload {
            data: vec![0; bytes].into(),
            content_type: None,
        },
        ..super::world::new_task("mail")
    };
    for index in 0..4 {
        world.enqueue_as(&format!("t{index}"), sized(900_000));
    }
    let request = world.lease("cron", "mail", 100, 0);
    assert_eq!(world.leased(request), ["t0#1", "t1#1"]);
    let request = world.lease("cron", "mail", 100, 0);
    assert_eq!(world.leased(request), ["t2#1", "t3#1"]);
}

#[test]
fn the_latest_fence_is_known_after_its_lease_is_over() {
    let mut world = World::new();
    world.enqueue("t1", "mail");
    let request = world.lease("cron", "mail", 1, 0);
    world.leased(request);
    let fence = world.token("t1", 1).fence;
    let report = world.report_of(("t1", 1), complete());
    world.call(Call::ReportTasks(vec![report])).unwrap();
    assert_eq!(world.view("t1").task.fence, fence);
}

#[test]
fn what_is_due_does_not_wait_for_those_who_fill_the_turn() {
    let mut world = World::new();
    world.enqueue("t1", "mail");
    let request = world.lease("cron", "mail", 1, 0);
    world.leased(request);
    world.quiet();
    world.now = world.now.plus_ms(30_000);
    world.give_into_a_turn_of(100 * limits::TURN_BYTES_MAX, Command::Tick);
    world.expect(&["t1: Crashed, Crash, again in 1000 ms"]);
}
