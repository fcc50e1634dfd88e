//! The loop with the real engine in it: what a producer and a worker see, in simulated time.

use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;

use super::*;
use crate::engine::command::{
    Call, Capacity, Enqueue, FromWorker, Hello, NewTask, Report, ReportContent, ReportOutcome,
    Start, WorkerInfo,
};
use crate::engine::effect::{Answer, Delivery, ReportStatus, ToWorker};
use crate::engine::ids::{QueueName, TaskId};
use crate::engine::ledger::task::{Payload, Priority};
use crate::engine::retry::presets;
use crate::engine::{Engine, EngineConfig, Turn};
use crate::journal::held::held_journal;
use crate::shell::inbox::{Inbox, Link, Told};
use crate::shell::outbox::Outbox;
use crate::shell::testing::{SimulatedTime, WALL_MS, desk, memory_driver};

const HOUR_MS: u64 = 3_600_000;

fn engine() -> Engine {
    let mut engine = Engine::new(EngineConfig::for_tests(
        4,
        presets::named("recommended").unwrap(),
    ));
    engine.begin_epoch(Timestamp(WALL_MS), WALL_MS / 1000, &mut Turn::default());
    engine
}

fn mail() -> QueueName {
    QueueName::new("default", "mail").unwrap()
}

fn enqueue(delay_ms: u64) -> Call {
    let task = NewTask {
        queue: Some(mail()),
        version: 0,
        terms: None,
        then: Vec::new(),
        keys: None,
        kind: "send".into(),
        payload: Payload {
            data: Bytes::from_static(b"{}"),
            content_type: None,
        },
        priority: Priority::Normal,
        start: Start::After { delay_ms },
        timeouts: None,
        policy: None,
        max_attempts: None,
        labels: Vec::new(),
    };
    Call::Enqueue(Enqueue {
        namespace: "default".into(),
        tasks: vec![task],
        producer: None,
    })
}

fn accepted(answer: Answer) -> TaskId {
    let Answer::Enqueued(results) = answer else {
        panic!("another answer: {answer:?}")
    };
    results.into_iter().next().unwrap().unwrap().id
}

async fn say_hello(link: &Link) {
    let worker = WorkerInfo {
        namespace: "default".into(),
        worker: "w1".into(),
        version: "".into(),
        host: "".into(),
        queues: vec![(mail(), 1)],
        kinds: Vec::new(),
        proposals: Vec::new(),
    };
    let capacity = Capacity {
        tasks_max: 1,
        ..Capacity::default()
    };
    let hello = Box::new(Hello {
        worker,
        session: None,
        held: Vec::new(),
        buffered: Vec::new(),
        capacity,
    });
    link.say(Command::Hello {
        link: link.id,
        hello,
    })
    .await
    .unwrap();
}

/// Answers pings until something else is told, and returns that.
async fn next_but_pings(link: &mut Link) -> ToWorker {
    loop {
        let Some(Told::Messages(messages)) = link.told.recv().await else {
            panic!("the stream ended");
        };
        for message in messages {
            if !matches!(message, ToWorker::Ping { .. }) {
                return message;
            }
            let pong = Command::FromWorker {
                link: link.id,
                message: FromWorker::Pong,
            };
            link.say(pong).await.unwrap();
        }
    }
}

async fn next_delivery(link: &mut Link) -> Delivery {
    let message = next_but_pings(link).await;
    let ToWorker::Delivery(delivery) = message else {
        panic!("another message: {message:?}")
    };
    *delivery
}

fn done(delivery: &Delivery) -> FromWorker {
    let token = delivery.token;
    let outcome = ReportOutcome::Complete {
        result: None,
        label: None,
    };
    let content = Ok(ReportContent {
        token,
        outcome,
        checkpoint: None,
    });
    FromWorker::Reports(vec![Report {
        raw_token: Bytes::copy_from_slice(&token.to_bytes()),
        content,
    }])
}

#[tokio::test(start_paused = true)]
async fn a_task_delayed_by_an_hour_reaches_its_worker_then_and_its_end_reaches_who_waits() {
    let desk = desk();
    let inbox = Inbox::new(Arc::clone(&desk));
    let signals = Signals::default();
    let driver = memory_driver(engine(), &desk, signals.clone());
    let user = async {
        let mut link = inbox.open_link().unwrap();
        say_hello(&link).await;
        assert!(matches!(
            next_but_pings(&mut link).await,
            ToWorker::Welcome(_)
        ));
        let id = accepted(inbox.call(enqueue(HOUR_MS)).await.unwrap());

        let delivery = next_delivery(&mut link).await;
        assert_eq!(delivery.token.task, id);
        let Ok(Answer::Server(facts)) = inbox.call(Call::ServerFacts).await else {
            panic!("no facts");
        };
        let late_ms = facts.now.since_ms(Timestamp(WALL_MS + HOUR_MS));
        assert!(
            facts.now.0 >= WALL_MS + HOUR_MS && late_ms <= 5,
            "{late_ms} ms late"
        );

        let wait = inbox.call(Call::WaitTask {
            task: id.into(),
            timeout_ms: 60_000,
        });
        let report = async {
            let message = done(&delivery);
            link.say(Command::FromWorker {
                link: link.id,
                message,
            })
            .await
            .unwrap();
            let told = next_but_pings(&mut link).await;
            let ToWorker::Acks(acks) = told else {
                panic!("another message: {told:?}")
            };
            assert_eq!(acks[0].status, ReportStatus::Recorded);
        };
        let (waited, ()) = tokio::join!(wait, report);
        assert!(matches!(waited, Ok(Answer::Waited { ended: true, .. })));

        signals.shut_down.cancel();
        assert!(matches!(
            next_but_pings(&mut link).await,
            ToWorker::Reconnect { .. }
        ));
        assert!(matches!(link.told.recv().await, Some(Told::Close(None))));
        signals.end.cancel();
    };
    let (driven, ()) = tokio::join!(driver.run(), user);
    assert_eq!(driven, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn neither_the_producer_nor_the_worker_hears_of_a_task_before_it_is_durable() {
    let desk = desk();
    let inbox = Inbox::new(Arc::clone(&desk));
    let (outbox, failed) = Outbox::new(Arc::clone(&desk));
    let (journal, writer) = held_journal(Box::new(outbox));
    let clock = Clock::new(Box::new(SimulatedTime::new()), Timestamp(0));
    let parts = Parts {
        engine: engine(),
        journal: Box::new(journal),
        clock,
        desk,
        failed,
    };
    let mut driver = Driver::new(parts, Signals::default());

    let mut link = inbox.open_link().unwrap();
    say_hello(&link).await;
    let mut producer = Box::pin(inbox.call(enqueue(0)));
    assert!((&mut producer).now_or_never().is_none());
    driver.turn("command", false).unwrap();

    assert!(writer.records_held() >= 2, "the task and its lease");
    assert!(
        (&mut producer).now_or_never().is_none(),
        "the engine knows, the producer does not"
    );
    assert!(link.told.try_recv().is_err(), "nor does the worker");
    writer.sync_one();
    accepted(producer.await.unwrap());
    assert!(matches!(
        next_but_pings(&mut link).await,
        ToWorker::Welcome(_)
    ));
}
