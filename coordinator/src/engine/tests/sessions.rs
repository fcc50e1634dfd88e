//! Scripts of sessions: silence, resume, receipts, drain, goodbye.

use super::world::{World, complete, enqueue_call, info};
use crate::engine::command::{Call, Command, FromWorker};
use crate::engine::effect::{Answer, WorkerState};
use crate::engine::ids::{LinkId, SessionId};

fn working() -> World {
    let mut world = World::new();
    world.enqueue("t1", "mail");
    world.hello("w1", &["mail"], 1);
    world.begin("w1");
    world.quiet();
    world
}

#[test]
fn a_session_that_holds_work_is_pinged_every_five_seconds() {
    let mut world = working();
    world.wait_ms(4999);
    world.expect(&[]);
    world.wait_ms(1);
    world.expect(&["ping w1"]);
    world.say("w1", FromWorker::Pong);
    world.wait_ms(5000);
    world.expect(&["ping w1"]);
}

#[test]
fn a_session_without_work_is_pinged_at_leisure_and_not_in_step_with_others() {
    let mut world = World::new();
    for index in 0..20 {
        world.hello(&format!("w{index:02}"), &["mail"], 1);
    }
    world.wait_ms(5000);
    for index in 0..20 {
        world.say(&format!("w{index:02}"), FromWorker::Pong);
    }
    world.quiet();
    world.wait_ms(23_999);
    world.expect(&[]);
    let mut instants = std::collections::BTreeSet::new();
    while instants.len() < 20 && world.now.0 < super::world::START.0 + 60_000 {
        world.wait_ms(1);
        instants.insert(world.engine.next_deadline().unwrap().at);
    }
    assert!(
        instants.len() > 10,
        "spread over 24 s to 36 s: {}",
        instants.len()
    );
}

#[test]
fn many_sessions_without_work_are_pinged_some_at_the_same_instant() {
    let mut world = World::new();
    for index in 0..200 {
        world.hello(&format!("w{index:03}"), &["mail"], 1);
    }
    world.wait_ms(5000);
    for index in 0..200 {
        world.say(&format!("w{index:03}"), FromWorker::Pong);
    }
    let end = world.now.plus_ms(36_500);
    let mut instants = std::collections::BTreeSet::new();
    while let Some(next) = world.engine.next_deadline().filter(|next| next.at <= end) {
        instants.insert(next.at);
        world.wait_ms(next.at.since_ms(world.now).max(1));
    }
    // 24 s to 36 s in steps of half a second.
    assert!((20..=26).contains(&instants.len()), "{}", instants.len());
}

#[test]
fn fifteen_silent_seconds_make_a_session_suspect_and_a_word_makes_it_whole() {
    let mut world = World::new();
    world.enqueue("t1", "mail");
    world.hello("w1", &["mail"], 2);
    world.begin("w1");
    world.wait_ms(15_000);
    world.quiet();
    world.enqueue("t2", "mail");
    world.expect(&[]);
    assert_eq!(workers(&mut world)[0].1, WorkerState::Suspect);
    world.say("w1", FromWorker::Pong);
    world.expect(&["w1 gets t2#1"]);
    assert_eq!(workers(&mut world)[0].1, WorkerState::Live);
}

#[test]
fn thirty_silent_seconds_end_a_session_and_what_began_crashed() {
    let mut world = working();
    world.wait_ms(29_999);
    assert_eq!(world.state("t1"), "RUNNING");
    world.quiet();
    world.wait_ms(1);
    world.expect(&["t1: Crashed, Crash, again in 1000 ms", "close w1"]);
    assert_eq!(world.view("t1").task.tally().crashes, 1);
}

#[test]
fn only_what_began_is_blamed_for_the_loss_of_its_worker() {
    let mut world = World::new();
    world.enqueue("t1", "mail");
    world.enqueue("t2", "mail");
    world.hello("w1", &["mail"], 2);
    world.say(
        "w1",
        FromWorker::Receipt {
            through: 2,
            buffered: vec![2],
        },
    );
    world.wait_ms(29_999);
    world.quiet();
    world.wait_ms(1);
    world.expect(&[
        "t1: Crashed, Crash, again in 1000 ms",
        "t2: Unstarted, Deferral, again in 1000 ms",
        "close w1",
    ]);
    let view = world.view("t2");
    assert_eq!(
        (
            view.task.tally().crashes,
            view.task.tally().deferrals,
            view.task.tally().unstarted_in_row
        ),
        (0, 1, 1)
    );
}

#[test]
fn unstarted_losses_wait_twice_as_long_each_time_and_twenty_in_a_row_quarantine() {
    let mut world = World::new();
    world.enqueue("t1", "mail");
    let mut waits = Vec::new();
    for run in 1..=20 {
        world.hello(&format!("w{run}"), &["mail"], 1);
        world.quiet();
        world.wait_ms(30_000);
        let task = world.view("t1").task;
        if let crate::engine::ledger::task::State::Pending { not_before } = task.state {
            waits.push(not_before.since_ms(world.now) / 1000);
            world.wait_ms(not_before.since_ms(world.now));
        }
    }
    assert_eq!(waits[..8], [1, 2, 4, 8, 16, 32, 60, 60]);
    assert_eq!(waits.len(), 19);
    let reason = world.view("t1").task.state;
    assert!(matches!(
        reason,
        crate::engine::ledger::task::State::Dead { reason, .. } if reason.name() == "UNDELIVERABLE"
    ));
}

#[test]
fn silence_counts_only_while_the_engine_listened() {
    let mut world = working();
    world.freeze_ms(60_000);
    assert_eq!(world.state("t1"), "RUNNING");
    world.wait_ms(29_999);
    assert_eq!(world.state("t1"), "RUNNING");
    world.wait_ms(1);
    assert_eq!(world.state("t1"), "RETRYING");
}

#[test]
fn a_broken_stream_ends_nothing_and_the_worker_goes_on_where_it_was() {
    let mut world = working();
    world.cut("w1");
    world.expect(&[]);
    assert_eq!(workers(&mut world)[0].1, WorkerState::Disconnected);
    world.wait_ms(20_000);
    world.resume("w1", &["mail"], 1, &[("t1", 1)]);
    assert!(world.worker("w1").resumed && world.worker("w1").lost.is_empty());
    world.report("w1", ("t1", 1), complete());
    world.expect(&["t1: Succeeded", "ack t1: recorded"]);
    assert_eq!(world.view("t1").task.runs(), 1, "the task ran once");
}

#[test]
fn a_stream_that_stays_away_beyond_the_grace_is_a_crash() {
    let mut world = working();
    world.cut("w1");
    world.wait_ms(30_000);
    world.expect(&["t1: Crashed, Crash, again in 1000 ms"]);
    world.resume("w1", &["mail"], 1, &[("t1", 1)]);
    assert!(!world.worker("w1").resumed);
    assert_eq!(world.worker("w1").lost, [world.token("t1", 1)]);
}

#[test]
fn a_delivery_that_never_arrived_is_released_when_the_worker_comes_back() {
    let mut world = World::new();
    world.enqueue("t1", "mail");
    world.enqueue("t2", "mail");
    world.hello("w1", &["mail"], 2);
    world.quiet();
    world.cut("w1");
    world.resume("w1", &["mail"], 2, &[("t2", 1)]);
    world.expect(&[
        "t1: Released, Deferral, again in 0 ms",
        "w1 gets t1#2",
        "t2: begun",
    ]);
    assert_eq!(world.view("t1").task.tally().crashes, 0);
}

#[test]
fn a_stream_that_says_hello_for_a_live_session_takes_the_place_of_the_older_one() {
    let mut world = working();
    world.resume("w1", &["mail"], 1, &[("t1", 1)]);
    world.expect(&["close w1: the session was resumed on another stream"]);
    assert_eq!(world.state("t1"), "RUNNING");
}

#[test]
fn a_second_hello_on_one_stream_is_refused_and_breaks_nothing() {
    let mut world = working();
    let link = world.worker("w1").link.unwrap();
    let hello = crate::engine::command::Hello {
        worker: info("w1", &["mail"], &[]),
        session: None,
        held: Vec::new(),
        buffered: Vec::new(),
        capacity: crate::engine::command::Capacity::default(),
    };
    world.give(Command::Hello {
        link,
        hello: Box::new(hello),
    });
    world.expect(&[
        "refuse w1: Hello was said before on this stream; open another stream to begin or resume a \
         session",
    ]);
    world.report("w1", ("t1", 1), complete());
    world.expect(&["t1: Succeeded", "ack t1: recorded"]);
}

#[test]
fn a_message_before_hello_ends_the_stream() {
    let mut world = World::new();
    world.give(Command::FromWorker {
        link: LinkId(99),
        message: FromWorker::Pong,
    });
    world.expect(&["close : the first message of the stream must be Hello"]);
}

#[test]
fn an_unknown_session_id_is_a_new_session() {
    let mut world = World::new();
    world.claim_session("w1", SessionId(42));
    world.hello("w1", &["mail"], 1);
    assert!(!world.worker("w1").resumed);
    assert_ne!(world.worker("w1").session, Some(SessionId(42)));
}

#[test]
fn a_receipt_for_what_was_never_sent_is_refused_with_the_number_sent() {
    let mut world = working();
    world.say(
        "w1",
        FromWorker::Receipt {
            through: 9,
            buffered: Vec::new(),
        },
    );
    world.expect(&[
        "refuse w1: receipt.received_through is 9, but only 1 deliveries were sent; name the \
         highest received",
    ]);
}

#[test]
fn goodbye_gives_back_what_is_held_without_blame() {
    let mut world = working();
    world.say("w1", FromWorker::Goodbye);
    world.expect(&["t1: Released, Deferral, again in 0 ms", "close w1"]);
    let view = world.view("t1");
    assert_eq!(
        (
            view.task.tally().failures,
            view.task.tally().crashes,
            view.task.tally().deferrals
        ),
        (0, 0, 1)
    );
    assert!(workers(&mut world).is_empty());
}

#[test]
fn a_drained_worker_gets_no_more_work_and_its_running_tasks_go_on() {
    let mut world = World::new();
    world.enqueue("t1", "mail");
    world.hello("w1", &["mail"], 2);
    world.begin("w1");
    world.quiet();
    let call = Call::DrainWorkers {
        namespace: "default".into(),
        workers: vec!["w1".into(), "nobody".into()],
        reason: "deploy".into(),
        deadline_ms: None,
    };
    let Ok(Answer::Drained(drained)) = world.call(call) else {
        panic!("not answered")
    };
    assert_eq!(drained.len(), 1);
    world.enqueue("t2", "mail");
    world.expect(&["drain w1"]);
    assert_eq!(workers(&mut world)[0].1, WorkerState::Draining);
    world.report("w1", ("t1", 1), complete());
    world.expect(&["t1: Succeeded", "ack t1: recorded"]);
}

#[test]
fn shutting_down_sends_workers_away_and_takes_nothing_from_them() {
    let mut world = working();
    world.give(Command::Shutdown);
    world.expect(&["reconnect w1", "close w1"]);
    assert_eq!(world.state("t1"), "RUNNING");
    let refused = world.call(enqueue_call(vec![super::world::new_task("mail")]));
    assert!(matches!(
        refused,
        Err(crate::engine::rejection::Rejection::ShuttingDown)
    ));
}

#[test]
fn nothing_is_told_on_the_streams_that_a_shutdown_has_ended() {
    let mut world = working();
    world.give(Command::Shutdown);
    world.expect(&["reconnect w1", "close w1"]);
    world.wait_ms(5000);
    world.expect(&[]);
}

#[test]
fn a_session_with_a_thousand_leases_and_more_is_given_up_in_bounded_turns() {
    let mut world = World::new();
    for index in 0..2500 {
        world.enqueue_unchecked(&format!("t{index}"), super::world::new_task("mail"));
    }
    world.hello("w1", &["mail"], 10_000);
    world.begin("w1");
    world.quiet();
    world.wait_ms(30_000);
    let tasks = world.ledger(0).tasks_after(crate::engine::ids::TaskId::MIN);
    assert_eq!(tasks.filter(|task| task.tally().crashes == 1).count(), 2500);
}

fn workers(world: &mut World) -> Vec<(String, WorkerState)> {
    let call = Call::ListWorkers {
        namespace: "default".into(),
        queue: None,
    };
    let Ok(Answer::Workers(workers)) = world.call(call) else {
        panic!("not answered")
    };
    workers
        .into_iter()
        .map(|worker| (worker.info.worker.to_string(), worker.state))
        .collect()
}
