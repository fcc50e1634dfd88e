//! Scripts of heartbeats: progress, checkpoints, and handlers that want more time.

use bytes::Bytes;

use super::world::{
    START, World, beat_of, cancel, complete, fail, new_task, queue, redrive, text, update,
    with_deadline,
};
use crate::engine::command::{
    Call, FromWorker, Heartbeat, Malformed, NewTask, QueueChange, ReportOutcome, Start,
};
use crate::engine::effect::{Answer, BeatAck, Extension};
use crate::engine::ledger::task::Timeouts;
use crate::engine::view::Progress;

fn unary_beat(world: &mut World, beats: Vec<Heartbeat>) -> (Vec<Extension>, Vec<BeatAck>) {
    let call = Call::ExtendLeases {
        tokens: Vec::new(),
        ttl_ms: 30_000,
        beats,
    };
    match world.call(call) {
        Ok(Answer::Extended(extensions, acks)) => (extensions, acks),
        other => panic!("not answered: {other:?}"),
    }
}

fn hard_limit(hard_ms: u64) -> NewTask {
    NewTask {
        timeouts: Some(Timeouts {
            hard_ms: Some(hard_ms),
            ..Timeouts::default()
        }),
        ..new_task("mail")
    }
}

#[test]
fn progress_is_shown_while_the_run_goes_on_and_is_recorded_nowhere() {
    let mut world = World::running(new_task("mail"));
    let before = world.ledger(0).last_seq();
    world.wait_ms(1000);
    world.beat("w1", ("t1", 1), |beat| {
        beat.progress = Some((3, 10, "third".into()));
    });
    world.expect(&[]);
    let told = Progress {
        done: 3,
        total: 10,
        message: "third".into(),
        at: START.plus_ms(1000),
    };
    assert_eq!(world.view("t1").progress, Some(told));
    world.beat("w1", ("t1", 1), |beat| {
        beat.progress = Some((4, 10, "".into()))
    });
    assert_eq!(world.view("t1").progress.unwrap().done, 4);
    assert_eq!(world.ledger(0).last_seq(), before);
    world.report("w1", ("t1", 1), fail());
    assert_eq!(world.view("t1").progress, None);
    world.wait_alive_ms(10_000, &["w1"]);
    assert_eq!(world.state("t1"), "LEASED");
    assert_eq!(world.view("t1").progress, None, "the next run has its own");
}

#[test]
fn progress_is_forgotten_by_a_restart() {
    let mut world = World::running(new_task("mail"));
    world.beat("w1", ("t1", 1), |beat| {
        beat.progress = Some((3, 10, "".into()))
    });
    world.restart();
    assert_eq!(world.view("t1").progress, None);
}

#[test]
fn a_heartbeat_without_progress_takes_none_back() {
    let mut world = World::running(new_task("mail"));
    world.beat("w1", ("t1", 1), |beat| {
        beat.progress = Some((3, 10, "".into()))
    });
    world.checkpoint("w1", ("t1", 1), "a");
    assert_eq!(world.view("t1").progress.unwrap().done, 3);
}

#[test]
fn a_handler_that_speaks_has_begun() {
    let mut world = World::new();
    world.enqueue("t1", "mail");
    world.hello("w1", &["mail"], 1);
    world.quiet();
    world.beat("w1", ("t1", 1), |beat| {
        beat.progress = Some((0, 1, "".into()))
    });
    world.expect(&["t1: begun"]);
    assert_eq!(world.state("t1"), "RUNNING");
}

#[test]
fn checkpoints_are_recorded_once_in_a_while_the_latest_and_when_the_while_is_over() {
    let mut world = World::running(new_task("mail"));
    world.checkpoint("w1", ("t1", 1), "a");
    world.expect(&["t1: checkpoint"]);
    for (saved, after_ms) in [("b", 300), ("c", 300), ("d", 399)] {
        world.wait_ms(after_ms);
        world.checkpoint("w1", ("t1", 1), saved);
    }
    world.expect(&[]);
    assert_eq!(world.recorded_checkpoint().as_deref(), Some("a"));
    world.wait_ms(1);
    world.expect(&["t1: checkpoint"]);
    assert_eq!(world.recorded_checkpoint().as_deref(), Some("d"));
    world.wait_ms(1000);
    world.expect(&[]);
    world.checkpoint("w1", ("t1", 1), "e");
    world.expect(&["t1: checkpoint"]);
}

#[test]
fn the_while_between_two_checkpoints_grows_with_their_size() {
    let mut world = World::running(new_task("mail"));
    world.checkpoint("w1", ("t1", 1), &"x".repeat(64 * 1000));
    world.checkpoint("w1", ("t1", 1), "b");
    world.expect(&["t1: checkpoint"]);
    world.wait_ms(1999);
    world.expect(&[]);
    world.wait_ms(1);
    world.expect(&["t1: checkpoint"]);
}

/// A run that said a, recorded, and b, not recorded.
fn unsaved() -> World {
    let mut world = World::running(hard_limit(20_000));
    world.checkpoint("w1", ("t1", 1), "a");
    world.checkpoint("w1", ("t1", 1), "b");
    world.quiet();
    world
}

#[test]
fn the_latest_checkpoint_goes_with_the_end_of_the_run_whatever_reports_it() {
    let reason = || "".into();
    let deferred = ReportOutcome::Defer {
        delay_ms: 5,
        reason: reason(),
        payload: None,
    };
    let released = ReportOutcome::Release { reason: reason() };
    for outcome in [fail(), deferred, released] {
        let mut world = unsaved();
        world.report("w1", ("t1", 1), outcome);
        assert_eq!(world.recorded_checkpoint().as_deref(), Some("b"));
    }
}

#[test]
fn the_latest_checkpoint_goes_with_the_end_of_the_run_when_its_worker_is_lost_or_leaves() {
    let mut world = World::running(new_task("mail"));
    world.wait_ms(500);
    world.checkpoint("w1", ("t1", 1), "a");
    world.wait_ms(29_500);
    world.say("w1", FromWorker::Pong);
    world.cut("w1");
    world.wait_ms(30_000);
    assert_eq!(world.state("t1"), "RETRYING");
    assert_eq!(world.recorded_checkpoint().as_deref(), Some("a"));
    let mut world = unsaved();
    world.say("w1", FromWorker::Goodbye);
    assert_eq!(world.recorded_checkpoint().as_deref(), Some("b"));
    let mut world = unsaved();
    world.resume("w1", &["mail"], 0, &[]);
    assert_eq!(world.recorded_checkpoint().as_deref(), Some("b"));
}

#[test]
fn the_latest_checkpoint_goes_with_a_run_that_its_own_report_brings_none_for() {
    let mut world = unsaved();
    let mut report = world.report_of(("t1", 1), fail());
    report.content.as_mut().unwrap().checkpoint = Some(text("c"));
    world.say("w1", FromWorker::Reports(vec![report]));
    assert_eq!(world.recorded_checkpoint().as_deref(), Some("c"));
}

#[test]
fn the_latest_checkpoint_goes_with_a_run_that_the_coordinator_ends() {
    // Of a run over its hard limit, one whose deadline is over, and one that is cancelled.
    let mut world = World::running(hard_limit(1000));
    world.wait_alive_ms(10_500, &["w1"]);
    world.checkpoint("w1", ("t1", 1), "a");
    world.checkpoint("w1", ("t1", 1), "b");
    world.quiet();
    world.wait_ms(500);
    world.expect(&[
        "t1: TimedOut, Attempt, again in 10000 ms",
        "w1 stop t1: HardTimeout",
    ]);
    assert_eq!(world.recorded_checkpoint().as_deref(), Some("b"));
    let mut world = World::running(with_deadline(500));
    world.checkpoint("w1", ("t1", 1), "a");
    world.checkpoint("w1", ("t1", 1), "b");
    world.wait_ms(500);
    assert_eq!(world.dead_because("t1"), "DEADLINE_EXCEEDED");
    assert_eq!(world.recorded_checkpoint().as_deref(), Some("b"));
    let mut world = unsaved();
    let id = world.id("t1");
    world.call(cancel(id, "")).unwrap();
    world.report("w1", ("t1", 1), fail());
    assert_eq!(world.state("t1"), "CANCELLED");
    assert_eq!(world.recorded_checkpoint().as_deref(), Some("b"));
}

#[test]
fn a_checkpoint_is_handed_to_the_next_attempt_and_again_after_a_redrive() {
    let mut world = World::running(NewTask {
        max_attempts: Some(2),
        ..new_task("mail")
    });
    world.checkpoint("w1", ("t1", 1), "a");
    world.checkpoint("w1", ("t1", 1), "b");
    world.report("w1", ("t1", 1), fail());
    world.wait_alive_ms(10_000, &["w1"]);
    assert_eq!(world.handed(("t1", 2)).as_deref(), Some("b"));
    world.report("w1", ("t1", 2), fail());
    let id = world.id("t1");
    world.call(redrive(id, 0)).unwrap();
    assert_eq!(world.handed(("t1", 3)).as_deref(), Some("b"));
}

#[test]
fn a_restart_keeps_the_checkpoint_that_was_recorded() {
    let mut world = unsaved();
    world.restart();
    world.wait_ms(40_000);
    world.hello("w2", &["mail"], 1);
    assert_eq!(world.handed(("t1", 2)).as_deref(), Some("a"));
}

#[test]
fn where_memory_is_short_a_checkpoint_waits_and_the_run_ends_without_it() {
    let mut world = World::with(|config| config.memory_bytes_max = 100_000);
    world.enqueue("t1", "mail");
    world.enqueue("t2", "mail");
    world.hello("w1", &["mail"], 2);
    world.begin("w1");
    let remaining = ReportOutcome::Retry {
        failure: super::world::failure(),
        start: Some(Start::After { delay_ms: 100_000 }),
        payload: Some(text(&"x".repeat(95_000))),
        max_attempts: None,
    };
    world.report("w1", ("t2", 1), remaining);
    world.quiet();
    world.checkpoint("w1", ("t1", 1), "a");
    world.wait_alive_ms(3000, &["w1"]);
    world.expect(&[]);
    world.report("w1", ("t1", 1), fail());
    assert_eq!(world.recorded_checkpoint(), None);
    let note = world.last_run("t1").note;
    assert_eq!(
        note.as_deref(),
        Some("[checkpoint not kept: memory is short]")
    );
}

#[test]
fn a_checkpoint_that_waited_for_memory_is_recorded_when_there_is_some() {
    let mut world = World::with(|config| config.memory_bytes_max = 100_000);
    world.enqueue("t1", "mail");
    world.enqueue("t2", "mail");
    world.hello("w1", &["mail"], 2);
    world.begin("w1");
    let remaining = ReportOutcome::Retry {
        failure: super::world::failure(),
        start: Some(Start::After { delay_ms: 100_000 }),
        payload: Some(text(&"x".repeat(95_000))),
        max_attempts: None,
    };
    world.report("w1", ("t2", 1), remaining);
    world.checkpoint("w1", ("t1", 1), "a");
    let change = crate::engine::command::TaskChange {
        payload: Some(text("small")),
        ..Default::default()
    };
    let (task, change) = (world.id("t2").into(), Box::new(change));
    world.call(Call::UpdateTask { task, change }).unwrap();
    world.quiet();
    world.wait_ms(1000);
    world.expect(&["t1: checkpoint"]);
}

#[test]
fn a_heartbeat_of_a_lease_that_is_gone_is_told_so() {
    let mut world = World::running(new_task("mail"));
    world.report("w1", ("t1", 1), fail());
    world.quiet();
    world.checkpoint("w1", ("t1", 1), "late");
    world.expect(&["beat t1: lost"]);
    assert_eq!(world.recorded_checkpoint(), None);
    world.wait_alive_ms(10_000, &["w1"]);
    world.quiet();
    world.checkpoint("w1", ("t1", 1), "of an earlier run");
    world.expect(&["beat t1: lost"]);
    world.beat("w1", ("t1", 2), |beat| {
        beat.progress = Some((1, 1, "".into()))
    });
    world.expect(&["t1: begun"]);
}

#[test]
fn a_malformed_heartbeat_is_refused_alone() {
    let mut world = World::running(new_task("mail"));
    let token = world.token("t1", 1);
    let bad = Heartbeat {
        raw_token: Bytes::copy_from_slice(&token.to_bytes()),
        content: Err(Malformed {
            field: "heartbeats[0].checkpoint".to_owned(),
            problem: "is too large".to_owned(),
        }),
    };
    let good = beat_of(token, |beat| beat.progress = Some((7, 9, "".into())));
    world.say("w1", FromWorker::Heartbeats(vec![bad, good]));
    world.expect(&["beat t1: refused, heartbeats[0].checkpoint is too large"]);
    assert_eq!(world.view("t1").progress.unwrap().done, 7);
    assert_eq!(world.state("t1"), "RUNNING");
}

#[test]
fn heartbeats_without_a_stream_renew_the_lease_and_are_always_answered() {
    let mut world = World::running_unary(new_task("mail"));
    let token = world.token("t1", 1);
    for done in 1..=3 {
        world.wait_ms(29_999);
        let beat = beat_of(token, |beat| beat.progress = Some((done, 3, "".into())));
        let (extensions, acks) = unary_beat(&mut world, vec![beat]);
        assert!(extensions.is_empty());
        assert!(acks[0].held && acks[0].refusal.is_none());
        assert_eq!(acks[0].raw_token, token.to_bytes().to_vec());
    }
    assert_eq!(world.view("t1").progress.unwrap().done, 3);
    world.wait_ms(29_999);
    assert_eq!(world.state("t1"), "RUNNING");
    world.wait_ms(1);
    world.expect(&["t1: Crashed, Crash, again in 1000 ms"]);
    let beat = beat_of(token, |beat| beat.progress = Some((4, 4, "".into())));
    let (_, acks) = unary_beat(&mut world, vec![beat]);
    assert!(!acks[0].held);
}

#[test]
fn a_checkpoint_without_a_stream_goes_with_a_lease_that_lapses() {
    let mut world = World::running_unary(new_task("mail"));
    let token = world.token("t1", 1);
    world.wait_ms(10_000);
    let saved = |saved: &str| beat_of(token, |beat| beat.checkpoint = Some(text(saved)));
    unary_beat(&mut world, vec![saved("a"), saved("b")]);
    world.expect(&["t1: checkpoint"]);
    world.wait_ms(1000);
    world.expect(&["t1: checkpoint"]);
    world.wait_ms(28_500);
    unary_beat(&mut world, Vec::new());
    world.wait_ms(500);
    assert_eq!(world.recorded_checkpoint().as_deref(), Some("b"));
}

#[test]
fn limits_of_a_run_are_shown_as_they_hold() {
    let mut world = World::running(hard_limit(100_000));
    let timeouts = Timeouts {
        soft_ms: Some(150_000),
        hard_ms: Some(200_000),
        extend_max_ms: None,
    };
    world.beat("w1", ("t1", 1), |beat| beat.timeouts = Some(timeouts));
    let shown = world.view("t1").timeouts;
    assert_eq!(
        (shown.soft_ms, shown.hard_ms),
        (Some(150_000), Some(200_000))
    );
    let id = world.id("t1");
    world.call(update(id, Timeouts::default())).unwrap();
    assert_eq!(world.view("t1").timeouts, Timeouts::default());
    world.report("w1", ("t1", 1), complete());
}

#[test]
fn an_answer_without_a_stream_says_which_limits_hold_and_why_a_wish_was_refused() {
    let mut world = World::running_unary(hard_limit(100_000));
    let token = world.token("t1", 1);
    let wish = |hard_ms| {
        let timeouts = Timeouts {
            hard_ms: Some(hard_ms),
            ..Timeouts::default()
        };
        beat_of(token, |beat| beat.timeouts = Some(timeouts))
    };
    let (_, acks) = unary_beat(&mut world, vec![wish(400_001), wish(200_000)]);
    assert_eq!(acks[0].timeouts.hard_ms, Some(100_000));
    let refusal = acks[0].refusal.as_ref().unwrap().to_string();
    assert!(refusal.contains("400000"), "{refusal}");
    assert_eq!(acks[1].timeouts.hard_ms, Some(200_000));
    assert_eq!(acks[1].refusal, None);
    for _ in 0..10 {
        world.wait_ms(20_999);
        unary_beat(&mut world, vec![beat_of(token, |_| {})]);
    }
    world.quiet();
    world.wait_ms(10);
    world.expect(&["t1: TimedOut, Attempt, again in 10000 ms"]);
}

#[test]
fn the_latest_checkpoint_goes_on_with_a_task_that_is_routed() {
    let mut world = World::running(with_deadline(500));
    world.configure(
        "mail",
        QueueChange {
            dead_letter_queue: Some(Some(queue("graveyard"))),
            ..QueueChange::default()
        },
    );
    world.checkpoint("w1", ("t1", 1), "a");
    world.checkpoint("w1", ("t1", 1), "b");
    world.hello("undertaker", &["graveyard"], 1);
    world.wait_ms(500);
    let (_, handed) = world
        .deliveries
        .iter()
        .find(|(_, d)| d.queue == queue("graveyard"))
        .unwrap();
    assert_eq!(handed.checkpoint, Some(text("b")));
}
