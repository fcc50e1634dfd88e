//! What the loop promises: log before tell (I2), input before timers, forgiveness for its own
//! lateness, and an end for everybody.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;

use super::*;
use crate::engine::command::{Call, FromWorker, Transfer};
use crate::engine::effect::{Answer, ServerFacts, ToWorker};
use crate::engine::event::Event;
use crate::engine::ids::{LinkId, ShardId};
use crate::engine::{Turn, Why};
use crate::journal::held::{Writer, held_journal};
use crate::shell::clock::{Readings, TimeSource};
use crate::shell::inbox::{CallError, Inbox, Link, Told};
use crate::shell::outbox::Outbox;
use crate::shell::testing::{WALL_MS, desk, memory_driver, notice};

/// An engine that answers every call, tells every stream that speaks, forwards a transfer when a
/// worker leaves, and wants a tick when it is told to.
#[derive(Clone, Default)]
struct Scripted {
    stepped: Arc<Mutex<Vec<(u64, Command)>>>,
    deadlines: Arc<Mutex<Vec<Timestamp>>>,
}

impl Scripted {
    /// What it was asked, in short, without the times.
    fn asked(&self) -> Vec<String> {
        let stepped = self.stepped.lock().unwrap();
        stepped.iter().map(|(_, command)| short(command)).collect()
    }

    fn tick_at(&self, ms: u64) {
        self.deadlines.lock().unwrap().push(Timestamp(ms));
    }
}

fn short(command: &Command) -> String {
    match command {
        Command::Call { .. } => "call".to_owned(),
        Command::Hangup { .. } => "hangup".to_owned(),
        Command::Hello { .. } => "hello".to_owned(),
        Command::FromWorker { .. } => "worker".to_owned(),
        Command::LinkClosed { .. } => "closed".to_owned(),
        Command::Transfer(_) => "transfer".to_owned(),
        Command::Late { ms } => format!("late {ms}"),
        Command::Tick => "tick".to_owned(),
        Command::Shutdown => "shutdown".to_owned(),
        Command::OpenSegment => "open segment".to_owned(),
        Command::DiskFull(full) => format!("disk full {full}"),
    }
}

impl Decides for Scripted {
    fn step(&mut self, now: Timestamp, command: Command, turn: &mut Turn) {
        let mut effects = Vec::new();
        if let Command::Call { request, call, .. } = &command {
            if let Call::ServerFacts = call {
                let facts = ServerFacts {
                    now,
                    ..ServerFacts::default()
                };
                effects.push(Effect::Reply {
                    request: *request,
                    reply: Ok(Answer::Server(facts)),
                });
            }
        } else if let Command::FromWorker { link, message } = &command {
            effects.push(Effect::Tell {
                link: *link,
                message: ToWorker::Ping { nonce: 1 },
            });
            effects.push(Effect::Notice(Box::new(notice(7))));
            if let FromWorker::Goodbye = message {
                effects.push(Effect::Forward(confirm()));
            }
        } else if let Command::Tick = command {
            let mut deadlines = self.deadlines.lock().unwrap();
            if !deadlines.is_empty() {
                deadlines.remove(0);
            }
        }
        if !effects.is_empty() {
            let event = Event::EpochStarted { epoch: 1, at: now };
            turn.events.push(Recorded {
                shard: ShardId(0),
                seq: 1,
                event,
            });
            turn.effects.append(&mut effects);
        }
        self.stepped.lock().unwrap().push((now.0, command));
    }

    fn next_deadline(&self) -> Option<Deadline> {
        let deadlines = self.deadlines.lock().unwrap();
        deadlines.first().map(|&at| Deadline {
            at,
            why: Why::Timer,
        })
    }
}

fn confirm() -> Transfer {
    Transfer::Confirm {
        origin: ShardId(0),
        target: ShardId(1),
        through: 1,
    }
}

fn from_worker(link: LinkId, message: FromWorker) -> Command {
    Command::FromWorker { link, message }
}

/// Clocks that stand until they are moved. Milliseconds.
#[derive(Clone, Default)]
struct Manual(Arc<AtomicU64>);

impl Manual {
    fn advance(&self, ms: u64) {
        self.0.fetch_add(ms, Ordering::Relaxed);
    }
}

impl TimeSource for Manual {
    fn read(&mut self) -> Readings {
        let boot_ns = self.0.load(Ordering::Relaxed) * 1_000_000;
        Readings {
            wall_ns: WALL_MS * 1_000_000 + boot_ns,
            boot_ns,
        }
    }
}

struct Bench {
    inbox: Inbox,
    engine: Scripted,
    signals: Signals,
    time: Manual,
    writer: Writer<Recorded, Vec<Effect>>,
}

/// A driver whose journal and time are moved by hand.
fn bench() -> (Driver<Scripted>, Bench) {
    let desk = desk();
    let (outbox, failed) = Outbox::new(Arc::clone(&desk));
    let (journal, writer) = held_journal(Box::new(outbox));
    let (engine, signals, time) = (Scripted::default(), Signals::default(), Manual::default());
    let clock = Clock::new(Box::new(time.clone()), Timestamp(0));
    let inbox = Inbox::new(Arc::clone(&desk));
    let parts = Parts {
        engine: engine.clone(),
        journal: Box::new(journal),
        clock,
        desk,
        failed,
    };
    let driver = Driver::new(parts, signals.clone());
    (
        driver,
        Bench {
            inbox,
            engine,
            signals,
            time,
            writer,
        },
    )
}

/// Lets everything else run until a condition holds.
async fn until(mut condition: impl FnMut() -> bool) {
    while !condition() {
        tokio::task::yield_now().await;
    }
}

/// Lets everything else run for a while, for what must not happen meanwhile.
async fn breathe() {
    for _ in 0..64 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_told_before_the_journal_is_durable_and_everything_after() {
    let (driver, bench) = bench();
    let tester = async {
        let mut link = bench.inbox.open_link().unwrap();
        let mut watch = bench.inbox.watch(None).unwrap();
        let call = bench.inbox.call(Call::ServerFacts);
        tokio::pin!(call);
        assert!((&mut call).now_or_never().is_none());
        link.say(from_worker(link.id, FromWorker::Goodbye))
            .await
            .unwrap();
        until(|| bench.writer.records_held() == 2).await;
        breathe().await;

        assert!((&mut call).now_or_never().is_none(), "no reply");
        assert!(link.told.try_recv().is_err(), "no delivery");
        assert!(watch.next().now_or_never().is_none(), "no notice");
        assert_eq!(bench.engine.asked(), ["call", "worker"], "no transfer");

        while bench.writer.frames_held() > 0 {
            bench.writer.sync_one();
        }
        assert!(matches!(call.await, Ok(Answer::Server(_))));
        assert!(matches!(link.told.recv().await, Some(Told::Messages(_))));
        assert_eq!(watch.next().await.unwrap().0.len(), 1);
        until(|| bench.engine.asked().len() == 3).await;
        assert_eq!(bench.engine.asked(), ["call", "worker", "transfer"]);
        bench.signals.end.cancel();
    };
    let (driven, ()) = tokio::join!(driver.run(), tester);
    assert_eq!(driven, Ok(()));
    assert!(bench.writer.is_closed());
}

#[tokio::test(start_paused = true)]
async fn after_a_failure_of_the_journal_nothing_is_told_and_the_loop_ends() {
    let (driver, bench) = bench();
    let error = JournalError {
        act: "sync segment 7".to_owned(),
        cause: "no device".to_owned(),
    };
    let tester = async {
        let mut link = bench.inbox.open_link().unwrap();
        let mut watch = bench.inbox.watch(None).unwrap();
        link.say(from_worker(link.id, FromWorker::Pong))
            .await
            .unwrap();
        let fail = async {
            until(|| bench.writer.records_held() == 2).await;
            bench.writer.fail(error.clone());
        };
        let (answer, ()) = tokio::join!(bench.inbox.call(Call::ServerFacts), fail);
        assert_eq!(answer.unwrap_err(), CallError::Stopped);
        assert!(
            link.told.recv().await.is_none(),
            "the stream ends without a word"
        );
        assert!(watch.next().now_or_never().is_none(), "no notice");
        let later = bench.inbox.call(Call::ServerFacts).await;
        assert_eq!(later.unwrap_err(), CallError::Stopped);
    };
    let (driven, ()) = tokio::join!(driver.run(), tester);
    assert_eq!(driven, Err(error));
    assert!(!bench.writer.is_closed());
}

#[tokio::test(start_paused = true)]
async fn an_append_to_a_failed_journal_ends_the_loop() {
    let (mut driver, bench) = bench();
    let error = JournalError {
        act: "write".to_owned(),
        cause: "disk full".to_owned(),
    };
    bench.writer.fail(error.clone());
    let link = bench.inbox.open_link().unwrap();
    link.say(from_worker(link.id, FromWorker::Pong))
        .await
        .unwrap();
    assert_eq!(driver.turn("command", false), Err(error));
}

#[tokio::test(start_paused = true)]
async fn a_full_inbox_refuses_calls_at_once_and_makes_streams_wait() {
    let desk = desk();
    let inbox = Inbox::new(Arc::clone(&desk));
    let engine = Scripted::default();
    let signals = Signals::default();
    let driver = memory_driver(engine.clone(), &desk, signals.clone());
    let link = inbox.open_link().unwrap();
    for _ in 0..limits::INBOX_COMMANDS_MAX {
        link.say(from_worker(link.id, FromWorker::Pong))
            .await
            .unwrap();
    }
    tokio::task::yield_now().await;
    let refused = inbox
        .call(Call::ServerFacts)
        .now_or_never()
        .expect("refused at once");
    assert_eq!(refused.unwrap_err(), CallError::Busy);
    let waiting = link.say(from_worker(link.id, FromWorker::Goodbye));
    tokio::pin!(waiting);
    assert!(
        (&mut waiting).now_or_never().is_none(),
        "streams wait for room"
    );
    let other = inbox.open_link().unwrap();
    drop(other);
    assert_eq!(
        desk.queue.len(),
        limits::INBOX_COMMANDS_MAX + 1,
        "departures never wait"
    );

    let tester = async {
        waiting.await.unwrap();
        assert!(
            inbox.call(Call::ServerFacts).await.is_ok(),
            "there is room again"
        );
        signals.end.cancel();
    };
    let (driven, ()) = tokio::join!(driver.run(), tester);
    assert_eq!(driven, Ok(()));
    let asked = engine.asked();
    let spoken = asked.iter().filter(|command| *command == "worker").count();
    assert_eq!(spoken, limits::INBOX_COMMANDS_MAX + 1);
    let refused = "redrive_inbox_refused_total 1\n";
    assert!(desk.telemetry.render().contains(refused));
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_leaves_before_its_turn_is_not_asked_for_and_one_that_leaves_later_hangs_up()
{
    let (mut driver, bench) = bench();
    let early = bench.inbox.call(Call::ServerFacts);
    assert!(early.now_or_never().is_none(), "asked, and dropped here");
    driver.turn("command", false).unwrap();
    assert_eq!(bench.engine.asked(), ["hangup"]);

    let mut late = Box::pin(bench.inbox.call(Call::ServerFacts));
    assert!((&mut late).now_or_never().is_none());
    driver.turn("command", false).unwrap();
    drop(late);
    driver.turn("command", false).unwrap();
    assert_eq!(bench.engine.asked(), ["hangup", "call", "hangup"]);

    let mut answered = Box::pin(bench.inbox.call(Call::ServerFacts));
    assert!((&mut answered).now_or_never().is_none());
    driver.turn("command", false).unwrap();
    while bench.writer.frames_held() > 0 {
        bench.writer.sync_one();
    }
    assert!(answered.await.is_ok());
    driver.turn("command", false).unwrap();
    assert_eq!(bench.engine.asked(), ["hangup", "call", "hangup", "call"]);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_ends_is_told_of_behind_what_it_said() {
    let (mut driver, bench) = bench();
    let link: Link = bench.inbox.open_link().unwrap();
    link.say(from_worker(link.id, FromWorker::Goodbye))
        .await
        .unwrap();
    drop(link);
    driver.turn("command", false).unwrap();
    assert_eq!(bench.engine.asked(), ["worker", "closed"]);
}

#[tokio::test(start_paused = true)]
async fn input_goes_before_timers_and_between_overdue_ones() {
    let (mut driver, bench) = bench();
    let link = bench.inbox.open_link().unwrap();
    for overdue in [1, 2] {
        bench.engine.tick_at(overdue);
    }
    link.say(from_worker(link.id, FromWorker::Pong))
        .await
        .unwrap();
    driver.turn("timer", false).unwrap();
    assert_eq!(bench.engine.asked(), ["worker", "tick"]);
    link.say(from_worker(link.id, FromWorker::Pong))
        .await
        .unwrap();
    let next = driver.next_input().now_or_never();
    assert!(matches!(next, Some(Input::Commands)), "{next:?}");
    driver.turn("command", false).unwrap();
    assert_eq!(bench.engine.asked()[2..], ["worker", "tick"]);
}

#[tokio::test(start_paused = true)]
async fn one_turn_takes_a_bounded_number_of_commands_and_appends_one_frame() {
    let (mut driver, bench) = bench();
    let link = bench.inbox.open_link().unwrap();
    for _ in 0..=limits::COMMANDS_PER_TURN_MAX {
        link.say(from_worker(link.id, FromWorker::Pong))
            .await
            .unwrap();
    }
    driver.turn("command", false).unwrap();
    assert_eq!(bench.engine.asked().len(), limits::COMMANDS_PER_TURN_MAX);
    assert_eq!(bench.writer.frames_held(), 1);
    assert_eq!(bench.writer.records_held(), limits::COMMANDS_PER_TURN_MAX);
    driver.turn("command", false).unwrap();
    assert_eq!(bench.writer.frames_held(), 2);
    driver.turn("timer", false).unwrap();
    assert_eq!(
        bench.writer.frames_held(),
        2,
        "a turn without events and effects appends nothing"
    );
}

#[tokio::test(start_paused = true)]
async fn an_overdue_start_is_not_lateness_but_oversleeping_and_long_turns_are() {
    let (mut driver, bench) = bench();
    // Overdue by years when the wait begins: nobody slept.
    bench.engine.tick_at(5);
    assert!(matches!(
        driver.next_input().now_or_never(),
        Some(Input::Deadline("timer"))
    ));
    driver.turn("timer", false).unwrap();
    assert_eq!(bench.engine.asked().last().unwrap(), "tick");

    // Woken a second after the plan: usual. Woken 1,001 ms after it: late by all of that.
    for (overslept_ms, told) in [(1000, "tick"), (1001, "late 1001")] {
        bench
            .engine
            .tick_at(WALL_MS + bench.time.0.load(Ordering::Relaxed) + 50);
        assert!(driver.next_input().now_or_never().is_none());
        bench.time.advance(50 + overslept_ms);
        let before = bench.engine.asked().len();
        driver.turn("timer", false).unwrap();
        assert_eq!(bench.engine.asked()[before], told);
    }

    // The turn before took 4 s: told although no deadline is due.
    driver.turn("command", false).unwrap();
    bench.time.advance(4000);
    assert!(driver.next_input().now_or_never().is_none());
    driver.turn("command", false).unwrap();
    assert_eq!(bench.engine.asked().last().unwrap(), "late 4000");
}

/// Lets simulated time pass.
async fn pass(seconds: u64) {
    let elapsed = tokio::time::timeout(Duration::from_secs(seconds), std::future::pending::<()>());
    assert!(elapsed.await.is_err());
}

#[tokio::test(start_paused = true)]
async fn the_engine_is_ticked_when_its_deadline_comes_and_told_of_a_shutdown_once() {
    let desk = desk();
    let engine = Scripted::default();
    let signals = Signals::default();
    let driver = memory_driver(engine.clone(), &desk, signals.clone());
    engine.tick_at(WALL_MS + 60_000);
    let tester = async {
        pass(59).await;
        assert!(engine.asked().is_empty(), "not before");
        pass(2).await;
        let stepped = engine.stepped.lock().unwrap().clone();
        let [(at, Command::Tick)] = stepped[..] else {
            panic!("{stepped:?}")
        };
        assert!((WALL_MS + 60_000..=WALL_MS + 60_002).contains(&at), "{at}");
        signals.shut_down.cancel();
        pass(1).await;
        assert_eq!(engine.asked(), ["tick", "shutdown"]);
        signals.end.cancel();
    };
    let (driven, ()) = tokio::join!(driver.run(), tester);
    assert_eq!(driven, Ok(()));
}
