//! Cancels of one task: asked for, by force, only while it waits; over reconnects and restarts.

use std::slice;
use std::sync::Arc;
use std::time::Duration;

use redrive_client::{Cancel, NewTask};
use redrive_proto::v1::{
    self as pb, CancelDisposition, CancelReason, ReportStatus, RunOutcome, TaskState, WorkerState,
};
use redrive_tests::harness::End;
use redrive_tests::refusal::Expected;
use redrive_tests::{Harness, Proxy, RawWorker, SdkWorker, eventually, make};
use redrive_worker::{State, TaskContext, TaskResult};
use tonic::Code;

use super::{DAY_MS, Notes, folder, hasty, later, note, noted, raw, refused, task, when_noted};

const HOUR: Duration = Duration::from_secs(3600);

async fn running(harness: &Harness, worker: &mut RawWorker) -> (String, pb::Delivery) {
    let id = harness.enqueue(task(5, 1)).await;
    let delivery = worker.next_delivery().await;
    harness.task_in(&id, TaskState::Running).await;
    (id, delivery)
}

async fn cancel(harness: &Harness, id: &str, how: Cancel) -> (TaskState, CancelDisposition) {
    let answer = harness.client().cancel_with(id, how).await.unwrap();
    (answer.task.as_ref().unwrap().state(), answer.disposition())
}

/// It ended by the cancel, and nobody is given it again.
async fn never_again(harness: &Harness, worker: &mut RawWorker, id: &str, runs: u32) {
    let ended = harness.end_of(id).await;
    assert_eq!((ended.state(), ended.runs), (TaskState::Cancelled, runs));
    worker.round_trip().await;
    assert!(worker.deliveries.is_empty());
}

#[tokio::test]
async fn a_task_that_waits_is_cancelled_at_once_in_every_mode() {
    let harness = Harness::start().await;
    let mut worker = raw(&harness).await;
    for how in [Cancel::cooperative(), Cancel::if_waiting(), Cancel::force()] {
        for new in [later(), task(5, 3_600_000)] {
            let id = harness.enqueue(new.clone()).await;
            let mut runs = 0;
            if new != later() {
                let delivery = worker.next_delivery().await;
                worker.report_one(make::fail(&delivery, "no")).await;
                runs = 1;
            }
            let answer = cancel(&harness, &id, how.clone()).await;
            assert_eq!(answer, (TaskState::Cancelled, CancelDisposition::Cancelled));
            never_again(&harness, &mut worker, &id, runs).await;
        }
    }
}

#[tokio::test]
async fn a_cancel_only_while_it_waits_leaves_a_run_alone() {
    let harness = Harness::start().await;
    let mut worker = raw(&harness).await;
    let (id, delivery) = running(&harness, &mut worker).await;
    let request = pb::CancelTaskRequest {
        task_id: id.clone(),
        mode: pb::CancelMode::IfWaiting.into(),
        ..Default::default()
    };
    let says = ["is RUNNING", "COOPERATIVE asks its worker"];
    let wrong = Expected::reason(Code::FailedPrecondition, "WRONG_STATE", &says);
    refused!(harness.tasks(), cancel_task, [(request, wrong)]);
    assert_eq!(harness.task(&id).await.cancel, None);
    worker.complete(&delivery).await;
    assert_eq!(harness.end_of(&id).await.state(), TaskState::Succeeded);
}

#[tokio::test]
async fn by_force_the_lease_is_revoked_at_once_and_the_worker_told() {
    let harness = Harness::start().await;
    let mut worker = raw(&harness).await;
    let (id, delivery) = running(&harness, &mut worker).await;
    let answer = cancel(&harness, &id, Cancel::force()).await;
    assert_eq!(answer, (TaskState::Cancelled, CancelDisposition::Cancelled));
    let told = worker.next_cancel().await;
    assert_eq!(
        (told.reason(), &told.lease_token),
        (CancelReason::Revoked, &delivery.lease_token)
    );
    let late = worker.report_one(make::complete(&delivery)).await;
    assert_eq!(
        (late.status(), late.state()),
        (ReportStatus::Superseded, TaskState::Cancelled)
    );
    let ended = harness.task(&id).await;
    assert_eq!(ended.history[0].outcome(), RunOutcome::Cancelled);
    never_again(&harness, &mut worker, &id, 1).await;
}

#[tokio::test]
async fn when_the_grace_is_over_the_lease_is_revoked() {
    let harness = Harness::start().await;
    let mut worker = raw(&harness).await;
    let (id, delivery) = running(&harness, &mut worker).await;
    let order = Cancel::cooperative().grace(Duration::from_millis(300));
    let answer = cancel(&harness, &id, order.reason("wrong file")).await;
    assert_eq!(answer, (TaskState::Running, CancelDisposition::Cancelling));
    let shown = harness.task(&id).await.cancel.unwrap();
    assert_eq!(&*shown.reason, "wrong file");
    assert_eq!(make::ms_between(shown.time, shown.until), 300);
    let told = worker.next_cancel().await;
    assert_eq!(
        (told.reason(), &*told.detail),
        (CancelReason::Requested, "wrong file")
    );
    let grace = Duration::try_from(told.grace.unwrap()).unwrap();
    assert!(grace <= Duration::from_millis(300), "{grace:?}");
    let told = worker.next_cancel().await;
    assert_eq!(told.reason(), CancelReason::Revoked);
    let ended = harness.end_of(&id).await;
    assert!(make::ms_between(shown.time, ended.end_time) >= 300);
    let late = worker.report_one(make::complete(&delivery)).await;
    assert_eq!(late.status(), ReportStatus::Superseded);
    never_again(&harness, &mut worker, &id, 1).await;
}

#[tokio::test]
async fn a_second_cancel_shortens_the_time_and_never_lengthens_it() {
    let harness = Harness::start().await;
    let mut worker = raw(&harness).await;
    let (id, _delivery) = running(&harness, &mut worker).await;
    let client = harness.client();
    let order = async |grace: Option<Duration>, reason: &str| {
        let mut how = Cancel::cooperative().reason(reason);
        if let Some(grace) = grace {
            how = how.grace(grace);
        }
        let answer = client.cancel_with(&id, how).await.unwrap();
        let order = answer.task.unwrap().cancel.unwrap();
        (order.until.map(|until| until.seconds), order.reason)
    };
    let (first, _) = order(None, "first").await;
    assert_eq!(first, None);
    let (second, reason) = order(Some(HOUR), "second").await;
    assert!(second.is_some() && reason == "second");
    let kept = order(Some(2 * HOUR), "third").await;
    assert_eq!(kept, (second, "second".to_owned()));
    assert_eq!(order(None, "fourth").await, kept);
    let (shorter, reason) = order(Some(HOUR / 2), "fifth").await;
    assert!(shorter < second && reason == "fifth");
    let none = Cancel::cooperative().grace(Duration::ZERO);
    let answer = cancel(&harness, &id, none).await;
    assert_eq!(answer, (TaskState::Cancelled, CancelDisposition::Cancelled));
    never_again(&harness, &mut worker, &id, 1).await;
}

/// Notes what it is told, and stops where its payload says so.
async fn handler(State(notes): State<Notes>, task: TaskContext) -> TaskResult<()> {
    note(&notes, format!("run {}", task.run()));
    let cancel = task.cancelled().await.expect("somebody cancels it");
    let grace = cancel.grace.map(|grace| grace <= HOUR);
    note(&notes, format!("{} {grace:?}", cancel.detail));
    if task.kind() == "obedient" {
        return task.check();
    }
    std::future::pending().await
}

fn worker(url: String, notes: &Notes) -> SdkWorker {
    let builder = redrive_worker::Worker::builder(url)
        .worker_id("w")
        .queue("q", 1);
    let builder = builder.with_state(Arc::clone(notes));
    let builder = builder.task("obedient", handler).task("deaf", handler);
    SdkWorker::start(builder.build().unwrap())
}

#[tokio::test]
async fn a_handler_is_told_why_and_how_long_and_one_that_does_not_stop_is_stopped() {
    let harness = Harness::start().await;
    let notes = Notes::default();
    let worker = worker(harness.url(), &notes);
    let id = harness.enqueue(NewTask::new("q", "obedient")).await;
    when_noted(&notes, 1).await;
    let order = Cancel::cooperative().grace(HOUR).reason("too expensive");
    cancel(&harness, &id, order).await;
    assert_eq!(harness.end_of(&id).await.state(), TaskState::Cancelled);
    assert_eq!(noted(&notes), ["run 1", "too expensive Some(true)"]);
    let id = harness.enqueue(NewTask::new("q", "deaf")).await;
    when_noted(&notes, 3).await;
    cancel(&harness, &id, Cancel::cooperative()).await;
    when_noted(&notes, 4).await;
    cancel(&harness, &id, Cancel::force()).await;
    assert_eq!(harness.end_of(&id).await.state(), TaskState::Cancelled);
    assert_eq!(noted(&notes)[2..], ["run 1", " None"]);
    let left = worker.stop().await;
    assert_eq!(left.finished + left.released, 1, "the obedient one");
}

#[tokio::test]
async fn a_cancel_while_the_network_is_down_reaches_the_handler_when_it_is_back() {
    let harness = Harness::start().await;
    let proxy = Proxy::start(harness.address()).await;
    let notes = Notes::default();
    let _worker = worker(proxy.url(), &notes);
    let id = harness.enqueue(NewTask::new("q", "obedient")).await;
    when_noted(&notes, 1).await;
    harness.task_in(&id, TaskState::Running).await;
    proxy.hold_answers();
    cancel(&harness, &id, Cancel::cooperative().reason("now")).await;
    assert_eq!(harness.task(&id).await.state(), TaskState::Running);
    proxy.cut_and_clear();
    let ended = harness.end_of(&id).await;
    assert_eq!((ended.state(), ended.runs), (TaskState::Cancelled, 1));
    assert_eq!(noted(&notes), ["run 1", "now None"]);
}

#[tokio::test]
async fn a_lost_worker_and_a_failure_end_a_cancelled_task_without_a_retry() {
    let harness = hasty().await;
    let mut worker = raw(&harness).await;
    let (lost, _delivery) = running(&harness, &mut worker).await;
    cancel(&harness, &lost, Cancel::cooperative()).await;
    drop(worker);
    let mut worker = raw(&harness).await;
    never_again(&harness, &mut worker, &lost, 1).await;
    let (failed, delivery) = running(&harness, &mut worker).await;
    cancel(&harness, &failed, Cancel::cooperative()).await;
    let ack = worker.report_one(make::fail(&delivery, "no")).await;
    assert_eq!(ack.state(), TaskState::Cancelled);
    never_again(&harness, &mut worker, &failed, 1).await;
}

#[tokio::test]
async fn an_order_holds_over_a_restart_and_ends_when_it_said() {
    for end in End::ALL {
        let folder = folder();
        let harness = Harness::on(folder.path()).await;
        let mut worker = raw(&harness).await;
        let (asked, asked_delivery) = running(&harness, &mut worker).await;
        let (timed, timed_delivery) = running(&harness, &mut worker).await;
        let client = harness.client().clone().with_actor("ann@desk").unwrap();
        let order = Cancel::cooperative().reason("wrong file");
        client.cancel_with(&asked, order.clone()).await.unwrap();
        let timed_order = order.grace(Duration::from_millis(400));
        client.cancel_with(&timed, timed_order).await.unwrap();
        let before = harness.task(&asked).await.cancel;
        let away = worker.cut();
        let harness = harness.again(end).await;
        assert_eq!(harness.task(&asked).await.cancel, before, "{end:?}");
        // Nobody comes back for it, and its time is over all the same.
        let ended = harness.end_of(&timed).await;
        assert_eq!(ended.state(), TaskState::Cancelled, "{end:?}");
        let mut back = away.resume(&[&asked_delivery, &timed_delivery]).await;
        assert_eq!(
            back.welcome.lost,
            slice::from_ref(&timed_delivery.lease_token)
        );
        let told = back.next_cancel().await;
        assert_eq!(
            (told.reason(), &told.lease_token, &*told.detail),
            (
                CancelReason::Requested,
                &asked_delivery.lease_token,
                "wrong file"
            )
        );
        let ack = back
            .report_one(make::fail(&asked_delivery, "stopped"))
            .await;
        assert_eq!(ack.state(), TaskState::Cancelled, "{end:?}");
        let harness = harness.again(end).await;
        let mut worker = raw(&harness).await;
        for id in [&asked, &timed] {
            never_again(&harness, &mut worker, id, 1).await;
        }
    }
}

#[tokio::test]
async fn what_was_cancelled_while_its_worker_was_away_is_lost_to_it() {
    let harness = Harness::start().await;
    let mut worker = raw(&harness).await;
    let (id, delivery) = running(&harness, &mut worker).await;
    let away = worker.cut();
    eventually("the coordinator notices", async || {
        let workers = harness.client().workers("q").await.unwrap();
        (workers[0].state() == WorkerState::Disconnected).then_some(())
    })
    .await;
    cancel(&harness, &id, Cancel::force()).await;
    let mut back = away.resume(&[&delivery]).await;
    assert_eq!(back.welcome.lost, slice::from_ref(&delivery.lease_token));
    let late = back.report_one(make::complete(&delivery)).await;
    assert_eq!(late.status(), ReportStatus::Superseded);
    never_again(&harness, &mut back, &id, 1).await;
}

#[tokio::test]
async fn a_cancel_that_cannot_be_is_refused_and_changes_nothing() {
    let harness = Harness::start().await;
    let mut worker = raw(&harness).await;
    let (id, delivery) = running(&harness, &mut worker).await;
    let with = |change: fn(&mut pb::CancelTaskRequest)| {
        let mut request = pb::CancelTaskRequest {
            task_id: id.clone(),
            ..Default::default()
        };
        change(&mut request);
        request
    };
    let of = Expected::field;
    let only = ["only mode COOPERATIVE", "leave it unset"];
    let cases = [
        (
            with(|it| it.mode = 9),
            of("mode", &["is 9", "does not know"]),
        ),
        (
            with(|it| it.grace = Some(make::ms(DAY_MS + 1))),
            of("grace", &["86400001 ms", "at most 24 h"]),
        ),
        (
            with(|it| it.grace = Some(super::NEGATIVE)),
            of("grace", &["is negative"]),
        ),
        (
            with(|it| {
                it.mode = pb::CancelMode::Force.into();
                it.grace = Some(make::ms(0));
            }),
            of("grace", &only),
        ),
        (
            with(|it| {
                it.mode = pb::CancelMode::IfWaiting.into();
                it.grace = Some(make::ms(5));
            }),
            of("grace", &only),
        ),
        (
            with(|it| it.reason = "r".repeat(257)),
            of("reason", &["257", "at most 256"]),
        ),
    ];
    refused!(harness.tasks(), cancel_task, cases);
    assert_eq!(harness.task(&id).await.cancel, None);
    worker.complete(&delivery).await;
    let over = harness.client().cancel(&id, "").await.unwrap_err();
    assert_eq!(over.reason(), Some("WRONG_STATE"));
}
