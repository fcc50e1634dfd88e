//! A whole worker against a coordinator that the test plays: handlers, reports, reconnects, drain.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod build;
mod fake;
mod life;

use std::{sync::Arc, time::Duration};

use fake::{Fake, Peer, delivery};
use futures::{StreamExt as _, stream};
use redrive_proto::v1::{
    FailureClass, Ping, Reconnect, Report, report, work_request, work_response,
};
use redrive_worker::{
    Json, Payload, Raw, RunError, State, Stop, StopReason, StopReport, TaskContext, TaskError,
    TaskResult, Worker, WorkerBuilder, session::EXIT_CLEAN,
};
use tokio::{
    sync::{Notify, oneshot},
    task::JoinSet,
};
use tonic::Status;

#[derive(serde::Deserialize)]
struct Sum {
    a: u32,
    b: u32,
}

async fn add(Json(sum): Json<Sum>) -> TaskResult<Json<u32>> {
    Ok(Json(sum.a + sum.b))
}

/// A worker that runs in the background, and the way to stop it.
struct Running {
    set: JoinSet<Result<StopReport, RunError>>,
    stop: oneshot::Sender<()>,
}

impl Running {
    fn start(worker: Worker) -> Self {
        let (stop, stopped) = oneshot::channel();
        let mut set = JoinSet::new();
        set.spawn(worker.run_until(async move {
            // Dropped is stopped, too.
            stopped.await.unwrap_or(());
        }));
        Self { set, stop }
    }

    async fn stop(mut self, peer: Peer) -> StopReport {
        self.stop.send(()).unwrap();
        peer.goodbye().await;
        self.set.join_next().await.unwrap().unwrap().unwrap()
    }
}

fn builder(fake: &Fake) -> WorkerBuilder<()> {
    Worker::builder(fake.url())
        .worker_id("w1")
        .queue("q", 1)
        .slots(4)
}

/// Runs one task to its report and stops the worker.
async fn report_of(
    build: impl FnOnce(WorkerBuilder<()>) -> WorkerBuilder<()>,
    payload: &str,
) -> Report {
    let mut fake = Fake::start().await;
    let running = Running::start(build(builder(&fake)).build().unwrap());
    let mut peer = fake.welcome().await;
    peer.deliver(vec![delivery(1, "t1", "k", payload)]).await;
    let report = peer.reports().await.remove(0);
    peer.ack(&report).await;
    assert_eq!(running.stop(peer).await.exit_code(), EXIT_CLEAN);
    report
}

fn failure_of(report: &Report) -> &redrive_proto::v1::Failure {
    let Some(report::Outcome::Fail(fail)) = &report.outcome else {
        panic!("{report:?}")
    };
    fail.failure.as_ref().unwrap()
}

fn result_of(report: &Report) -> &[u8] {
    let Some(report::Outcome::Complete(complete)) = &report.outcome else {
        panic!("{report:?}")
    };
    complete.result.as_ref().map_or(b"", |result| &result.data)
}

#[tokio::test]
async fn a_typed_handler_completes_with_its_result() {
    let report = report_of(|worker| worker.task("k", add), r#"{"a":2,"b":3}"#).await;
    assert_eq!(result_of(&report), b"5");
}

#[tokio::test]
async fn a_payload_that_does_not_parse_is_final_and_invalid() {
    let report = report_of(|worker| worker.task("k", add), r#"{"a":2}"#).await;
    assert_eq!(failure_of(&report).failure_class(), FailureClass::Invalid);
    assert!(failure_of(&report).message.contains("missing field `b`"));
    assert!(matches!(&report.outcome, Some(report::Outcome::Fail(fail)) if fail.not_retryable));
}

#[tokio::test]
async fn payload_state_and_context_reach_the_handler() {
    async fn handler(
        Raw(payload): Raw,
        State(state): State<Arc<str>>,
        task: TaskContext,
    ) -> TaskResult<Raw> {
        let attempts = task.attempts_max().unwrap();
        let text = String::from_utf8(payload.to_vec())?;
        Ok(Raw(format!(
            "{text} {state} {} {}/{attempts}",
            task.id(),
            task.attempt()
        )
        .into()))
    }
    let state: Arc<str> = "state".into();
    let report = report_of(
        |worker| worker.with_state(state).task("k", handler).with_state(()),
        "p",
    );
    assert_eq!(result_of(&report.await), b"p state task-t1 1/3");
}

#[tokio::test]
async fn a_panic_is_a_failure_that_may_be_retried_and_the_worker_goes_on() {
    async fn handler(Raw(_): Raw) -> TaskResult<()> {
        panic!("no luck");
    }
    let report = report_of(|worker| worker.task("k", handler), "").await;
    assert_eq!(failure_of(&report).failure_class(), FailureClass::Internal);
    assert_eq!(failure_of(&report).r#type, "panic");
    assert!(failure_of(&report).message.contains("no luck"));
    assert!(matches!(&report.outcome, Some(report::Outcome::Fail(fail)) if !fail.not_retryable));
}

#[tokio::test]
async fn a_blocking_handler_runs_and_its_panic_is_caught_too() {
    fn handler(Json(sum): Json<Sum>) -> TaskResult<Json<u32>> {
        assert!(sum.a < 100, "too much");
        let product = sum.a.checked_mul(sum.b);
        Ok(Json(product.ok_or_else(|| {
            TaskError::new(FailureClass::Invalid, "too large")
        })?))
    }
    let report = report_of(
        |worker| worker.blocking_task("k", handler),
        r#"{"a":2,"b":3}"#,
    )
    .await;
    assert_eq!(result_of(&report), b"6");
    let report = report_of(
        |worker| worker.blocking_task("k", handler),
        r#"{"a":200,"b":3}"#,
    )
    .await;
    assert_eq!(failure_of(&report).r#type, "panic");
}

#[tokio::test]
async fn a_kind_without_a_handler_fails_as_unknown_and_a_fallback_takes_it() {
    async fn any(task: TaskContext) -> TaskResult<Raw> {
        Ok(Raw(task.kind().to_owned().into()))
    }
    let report = report_of(|worker| worker.task("other", add), "").await;
    assert_eq!(
        failure_of(&report).failure_class(),
        FailureClass::UnknownKind
    );
    let report = report_of(|worker| worker.task("other", add).fallback(any), "").await;
    assert_eq!(result_of(&report), b"k");
}

#[tokio::test]
async fn a_saved_checkpoint_travels_with_a_failure() {
    async fn handler(task: TaskContext) -> TaskResult<()> {
        task.save_checkpoint_json(&17)?;
        Err(TaskError::new(FailureClass::Network, "gone"))
    }
    let report = report_of(|worker| worker.task("k", handler), "").await;
    assert_eq!(report.checkpoint.unwrap().data, "17");
}

#[tokio::test]
async fn the_hard_limit_ends_a_handler_and_reports_a_timeout_with_its_checkpoint() {
    async fn handler(task: TaskContext) -> TaskResult<()> {
        let reason = task.stopped().await;
        assert_eq!(reason, StopReason::SoftTimeout);
        assert!(task.check().is_err());
        task.save_checkpoint(Payload {
            data: "saved".into(),
            content_type: String::new(),
        });
        std::future::pending().await
    }
    let mut fake = Fake::start().await;
    let running = Running::start(builder(&fake).task("k", handler).build().unwrap());
    let mut peer = fake.welcome().await;
    let mut limited = delivery(1, "t1", "k", "");
    limited.soft_timeout = Some(Duration::from_millis(20).try_into().unwrap());
    limited.hard_timeout = Some(Duration::from_millis(400).try_into().unwrap());
    peer.deliver(vec![limited]).await;
    let report = peer.reports().await.remove(0);
    assert_eq!(failure_of(&report).failure_class(), FailureClass::Timeout);
    assert_eq!(report.checkpoint.as_ref().unwrap().data, "saved");
    peer.ack(&report).await;
    assert_eq!(running.stop(peer).await.finished, 1);
}

#[tokio::test]
async fn deliveries_are_receipted_and_pings_answered() {
    let mut fake = Fake::start().await;
    let running = Running::start(builder(&fake).task("k", add).build().unwrap());
    let (mut peer, hello) = fake.accept().await;
    let worker = hello.worker.unwrap();
    assert_eq!(
        (worker.worker_id.as_str(), &worker.kinds[..]),
        ("w1", &["k".to_owned()][..])
    );
    assert_eq!(
        (worker.queues[0].queue.as_str(), worker.queues[0].weight),
        ("q", 1)
    );
    assert_eq!(hello.capacity.unwrap().tasks_max, 4);
    peer.welcome("s1", false).await;

    peer.deliver(vec![
        delivery(1, "t1", "k", "{}"),
        delivery(2, "t2", "k", "{}"),
    ])
    .await;
    assert_eq!(peer.receipt().await.received_through, 2);
    let mut reports = peer.reports().await;
    while reports.len() < 2 {
        reports.extend(peer.reports().await);
    }
    for report in &reports {
        peer.ack(report).await;
    }
    peer.send(work_response::Message::Ping(Ping { nonce: 9 }))
        .await;
    let nonce = peer
        .find(|message| {
            let work_request::Message::Pong(pong) = message else {
                return None;
            };
            Some(pong.nonce)
        })
        .await;
    assert_eq!(nonce, 9);
    running.stop(peer).await;
}

#[tokio::test]
async fn a_broken_stream_is_resumed_with_what_is_held_and_results_are_sent_again() {
    let gate = Arc::new(Notify::new());
    async fn handler(State(gate): State<Arc<Notify>>, Raw(payload): Raw) -> TaskResult<Raw> {
        if payload == "wait" {
            gate.notified().await;
        }
        Ok(Raw(payload))
    }
    let mut fake = Fake::start().await;
    let worker = builder(&fake)
        .with_state(Arc::clone(&gate))
        .task("k", handler)
        .build()
        .unwrap();
    let running = Running::start(worker);
    let mut peer = fake.welcome().await;
    peer.deliver(vec![
        delivery(1, "t1", "k", "wait"),
        delivery(2, "t2", "k", "done"),
    ])
    .await;
    assert_eq!(peer.reports().await[0].lease_token, "t2");
    peer.refuse(Status::unavailable("restarting")).await;

    let (mut peer, hello) = fake.accept().await;
    assert_eq!(hello.session_id, "s1");
    assert_eq!(hello.held, ["t1", "t2"]);
    peer.welcome("s1", true).await;
    let again = peer.reports().await.remove(0);
    assert_eq!(again.lease_token, "t2");
    peer.ack(&again).await;

    gate.notify_one();
    let late = peer.reports().await.remove(0);
    assert_eq!(result_of(&late), b"wait", "the run went on while cut off");
    peer.ack(&late).await;
    assert_eq!(running.stop(peer).await.finished, 2);
}

#[tokio::test]
async fn a_reconnect_that_the_coordinator_asks_for_keeps_the_session() {
    let mut fake = Fake::start().await;
    let running = Running::start(builder(&fake).task("k", add).build().unwrap());
    let mut peer = fake.welcome().await;
    peer.send(work_response::Message::Reconnect(Reconnect::default()))
        .await;
    peer.ended().await;
    let (peer, hello) = fake.accept().await;
    assert_eq!(hello.session_id, "s1");
    peer.welcome("s1", true).await;
    running.stop(peer).await;
}

#[tokio::test]
async fn a_drain_lets_what_runs_finish() {
    let gate = Arc::new(Notify::new());
    async fn handler(State(gate): State<Arc<Notify>>, task: TaskContext) -> TaskResult<()> {
        task.draining().await;
        gate.notified().await;
        Ok(())
    }
    let mut fake = Fake::start().await;
    let worker = builder(&fake)
        .with_state(Arc::clone(&gate))
        .task("k", handler)
        .build()
        .unwrap();
    let mut running = Running::start(worker);
    let mut peer = fake.welcome().await;
    peer.deliver(vec![delivery(1, "t1", "k", "")]).await;
    peer.receipt().await;
    running.stop.send(()).unwrap();
    let capacity = peer.capacity().await;
    assert_eq!((capacity.tasks_max, capacity.draining), (0, true));

    gate.notify_one();
    let report = peer.reports().await.remove(0);
    peer.ack(&report).await;
    peer.goodbye().await;
    let report = running.set.join_next().await.unwrap().unwrap().unwrap();
    assert_eq!(
        (report.finished, report.released, report.exit_code()),
        (1, 0, EXIT_CLEAN)
    );
}

#[tokio::test]
async fn what_is_not_finished_in_the_drain_timeout_is_given_back() {
    async fn handler(Raw(_): Raw) -> TaskResult<()> {
        std::future::pending().await
    }
    let mut fake = Fake::start().await;
    let worker = builder(&fake)
        .task("k", handler)
        .drain_timeout(Duration::from_millis(20))
        .build()
        .unwrap();
    let mut running = Running::start(worker);
    let mut peer = fake.welcome().await;
    peer.deliver(vec![delivery(1, "t1", "k", "")]).await;
    peer.receipt().await;
    running.stop.send(()).unwrap();
    let report = peer.reports().await.remove(0);
    assert!(matches!(report.outcome, Some(report::Outcome::Release(_))));
    peer.ack(&report).await;
    peer.goodbye().await;
    let report = running.set.join_next().await.unwrap().unwrap().unwrap();
    assert_eq!(
        (report.finished, report.released, report.exit_code()),
        (0, 1, EXIT_CLEAN)
    );
}

#[tokio::test]
async fn a_second_stop_gives_back_what_runs_at_once() {
    async fn handler(Raw(_): Raw) -> TaskResult<()> {
        std::future::pending().await
    }
    let mut fake = Fake::start().await;
    let worker = builder(&fake)
        .task("k", handler)
        .drain_timeout(Duration::from_secs(3_600))
        .build()
        .unwrap();
    let (second, released) = oneshot::channel::<()>();
    let (first, drained) = oneshot::channel::<()>();
    let stops = stream::once(async move { drained.await.map_or(Stop::Drain, |()| Stop::Drain) })
        .chain(stream::once(async move {
            released.await.map_or(Stop::Release, |()| Stop::Release)
        }));
    let mut set = JoinSet::new();
    set.spawn(worker.run(stops));
    let mut peer = fake.welcome().await;
    peer.deliver(vec![delivery(1, "t1", "k", "")]).await;
    peer.receipt().await;
    first.send(()).unwrap();
    assert!(peer.capacity().await.draining);
    second.send(()).unwrap();
    let report = peer.reports().await.remove(0);
    assert!(matches!(report.outcome, Some(report::Outcome::Release(_))));
    peer.ack(&report).await;
    peer.goodbye().await;
}

#[tokio::test]
async fn a_refused_hello_ends_the_worker_with_the_reason() {
    let mut fake = Fake::start().await;
    let mut running = Running::start(builder(&fake).task("k", add).build().unwrap());
    let (peer, _) = fake.accept().await;
    peer.refuse(Status::invalid_argument("queue q is not yours"))
        .await;
    let error = running.set.join_next().await.unwrap().unwrap().unwrap_err();
    assert!(error.to_string().contains("queue q is not yours"));
}

#[tokio::test]
async fn a_worker_waits_for_a_coordinator_that_is_not_there_yet() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let worker = Worker::builder(address.to_string())
        .queue("q", 1)
        .task("k", add)
        .build()
        .unwrap();
    let mut running = Running::start(worker);
    assert!(running.set.try_join_next().is_none());
    running.stop.send(()).unwrap();
    let report = running.set.join_next().await.unwrap().unwrap().unwrap();
    assert_eq!(report, StopReport::default());
}
