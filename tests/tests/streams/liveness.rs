//! Streams that break, workers that fall silent, sessions that come back.

use std::time::Duration;

use redrive_proto::v1::work_request::Message;
use redrive_proto::v1::{self as pb, ReportStatus, RunOutcome, TaskState, WorkerState};
use redrive_tests::refusal::Expected;
use redrive_tests::{Harness, RawWorker, eventually, make, within};
use tonic::Code;

use super::{enqueue, raw};

/// A coordinator that gives up on silent workers soon.
async fn impatient() -> Harness {
    Harness::with(|config| {
        config.ping_interval = Duration::from_millis(100);
        config.grace = Duration::from_millis(1500);
    })
    .await
}

#[tokio::test]
async fn a_cut_stream_resumes_with_the_lease_it_holds_and_the_report_is_recorded_once() {
    let harness = Harness::start().await;
    let mut worker = raw(&harness, "w", 1).await;
    let id = enqueue(&harness).await;
    let delivery = worker.next_delivery().await;
    worker.round_trip().await;
    let session_id = worker.welcome.session_id.clone();
    let away = worker.cut();
    eventually("the stream is known to be cut", async || {
        let workers = harness.client().workers("q").await.unwrap();
        (workers[0].state() == WorkerState::Disconnected).then_some(())
    })
    .await;
    assert_eq!(
        harness.task(&id).await.state(),
        TaskState::Running,
        "a broken stream ends nothing"
    );

    let mut back = away.resume(&[&delivery]).await;
    assert!(back.welcome.resumed && back.welcome.lost.is_empty());
    assert_eq!(back.welcome.session_id, session_id);
    back.round_trip().await;
    assert!(
        back.deliveries.is_empty(),
        "what it holds is not delivered again"
    );
    back.complete(&delivery).await;
    let again = back.report_one(make::complete(&delivery)).await;
    assert_eq!(again.status(), ReportStatus::Duplicate);
    assert_eq!(harness.end_of(&id).await.runs, 1);
}

#[tokio::test]
async fn a_lease_that_is_not_listed_on_resume_never_arrived_and_is_released() {
    let harness = Harness::start().await;
    let mut worker = raw(&harness, "w", 2).await;
    let (kept_id, lost_id) = (enqueue(&harness).await, enqueue(&harness).await);
    let kept = worker.next_delivery().await;
    let lost = worker.next_unstarted().await;
    assert_eq!((&kept.task_id, &lost.task_id), (&kept_id, &lost_id));
    worker.round_trip().await;
    let mut back = worker.cut().resume(&[&kept]).await;
    let again = back.next_delivery().await;
    assert_eq!((&again.task_id, again.run, again.attempt), (&lost_id, 2, 1));
    assert_eq!(again.crashes, 0, "released without blame");
    assert!(again.fence > lost.fence);
    let late = back.report_one(make::complete(&lost)).await;
    assert_eq!(late.status(), ReportStatus::Superseded);
    back.complete(&kept).await;
    back.complete(&again).await;
    let ended = harness.end_of(&lost_id).await;
    assert_eq!(ended.history[0].outcome(), RunOutcome::Released);
}

#[tokio::test]
async fn what_a_worker_reported_itself_is_no_loss_when_it_comes_back_but_a_duplicate() {
    let harness = Harness::start().await;
    let mut worker = raw(&harness, "w", 1).await;
    enqueue(&harness).await;
    let first = worker.next_delivery().await;
    worker.complete(&first).await;
    enqueue(&harness).await;
    let second = worker.next_delivery().await;
    worker.round_trip().await;
    let mut back = worker.cut().resume(&[&first, &second]).await;
    assert!(back.welcome.lost.is_empty());
    let again = back.report_one(make::complete(&first)).await;
    assert_eq!(again.status(), ReportStatus::Duplicate);
    back.complete(&second).await;
}

#[tokio::test]
async fn what_is_listed_on_resume_but_held_no_more_is_told_as_lost() {
    let harness = Harness::start().await;
    let mut worker = raw(&harness, "w", 1).await;
    enqueue(&harness).await;
    let first = worker.next_delivery().await;
    worker.round_trip().await;
    // Not listed once: released, and leased anew.
    let mut back = worker.cut().resume(&[]).await;
    let second = back.next_delivery().await;
    back.round_trip().await;
    let mut back = back.cut().resume(&[&first, &second]).await;
    assert_eq!(&back.welcome.lost[..], [&first.lease_token]);
    back.complete(&second).await;
}

#[tokio::test]
async fn an_unknown_session_begins_anew_and_holds_nothing() {
    let harness = Harness::start().await;
    let mut worker = raw(&harness, "w", 1).await;
    let id = enqueue(&harness).await;
    let delivery = worker.next_delivery().await;
    let stranger = pb::Hello {
        session_id: "0123456789abcdef0123456789abcdef".to_owned(),
        held: vec![delivery.lease_token.clone()],
        ..make::hello("w2", "q", 1)
    };
    let answer = RawWorker::try_hello(harness.address(), stranger).await;
    let stranger = answer.unwrap();
    assert!(!stranger.welcome.resumed);
    assert_eq!(
        &stranger.welcome.lost[..],
        [&delivery.lease_token],
        "it is another's"
    );
    worker.complete(&delivery).await;
    assert_eq!(harness.end_of(&id).await.runs, 1);
}

#[tokio::test]
async fn of_two_streams_of_one_session_the_older_is_closed() {
    let harness = Harness::start().await;
    let mut older = raw(&harness, "w", 1).await;
    let id = enqueue(&harness).await;
    let delivery = older.next_delivery().await;
    older.round_trip().await;
    let mut newer = older.twin().resume(&[&delivery]).await;
    let expected = Expected::reason(
        Code::Aborted,
        "STREAM_REPLACED",
        &["resumed on another stream"],
    );
    expected.check_status("the older stream", older.ended().await);
    newer.complete(&delivery).await;
    assert_eq!(harness.end_of(&id).await.runs, 1);
    assert_eq!(harness.client().workers("q").await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_worker_that_answers_pings_keeps_its_lease_for_longer_than_the_grace() {
    const PINGS: u32 = 25;
    let harness = impatient().await;
    let mut worker = raw(&harness, "w", 1).await;
    let id = enqueue(&harness).await;
    let delivery = worker.next_delivery().await;
    let before = worker.pings;
    worker
        .until("more pings than fit the grace", |worker| {
            (worker.pings >= before + PINGS).then_some(())
        })
        .await;
    worker.complete(&delivery).await;
    assert_eq!(harness.end_of(&id).await.runs, 1);
}

#[tokio::test]
async fn a_silent_worker_is_suspected_then_lost_and_what_it_ran_has_crashed() {
    let harness = impatient().await;
    let mut silent = raw(&harness, "silent", 2).await;
    let (begun_id, unbegun_id) = (enqueue(&harness).await, enqueue(&harness).await);
    let begun = silent.next_delivery().await;
    let unbegun = silent.next_unstarted().await;
    assert_eq!((&begun.task_id, &unbegun.task_id), (&begun_id, &unbegun_id));
    silent.answers_pings = false;
    // It has room and does not get this one any more once it is suspect.
    eventually("the worker is suspect", async || {
        let workers = harness.client().workers("q").await.unwrap();
        workers
            .iter()
            .any(|worker| worker.state() == WorkerState::Suspect)
            .then_some(())
    })
    .await;

    let mut other = raw(&harness, "other", 2).await;
    let mut runs = std::collections::BTreeMap::new();
    for _ in 0..2 {
        let delivery = other.next_delivery().await;
        other.complete(&delivery).await;
        runs.insert(delivery.task_id.clone(), delivery);
    }
    let (again, fresh) = (&runs[&begun_id], &runs[&unbegun_id]);
    assert_eq!(
        (again.run, again.attempt, again.crashes),
        (2, 1, 1),
        "a crash is no attempt"
    );
    assert_eq!(
        (fresh.run, fresh.crashes),
        (2, 0),
        "what had not begun is not blamed"
    );
    let history = harness.task(&begun_id).await.history;
    assert_eq!(history[0].outcome(), RunOutcome::Crashed);
    assert!(
        history[0]
            .failure
            .as_ref()
            .unwrap()
            .message
            .contains("silent")
    );
    let history = harness.task(&unbegun_id).await.history;
    assert_eq!(
        (history[0].outcome(), history[0].started),
        (RunOutcome::Unstarted, false)
    );
    silent.ended().await.unwrap();
}

#[tokio::test]
async fn a_worker_that_never_comes_back_is_lost_after_the_grace() {
    let harness = impatient().await;
    let mut worker = raw(&harness, "w", 1).await;
    let id = enqueue(&harness).await;
    let delivery = worker.next_delivery().await;
    worker.round_trip().await;
    let away = worker.cut();
    let mut other = raw(&harness, "other", 1).await;
    let again = other.next_delivery().await;
    assert_eq!((&again.task_id, again.crashes), (&id, 1));
    // Back too late: the session is another one, and the lease is told as lost.
    let mut back = away.resume(&[&delivery]).await;
    assert!(!back.welcome.resumed);
    assert_eq!(&back.welcome.lost[..], [&delivery.lease_token]);
    let late = back.report_one(make::complete(&delivery)).await;
    assert_eq!(late.status(), ReportStatus::Superseded);
    other.complete(&again).await;
}

#[tokio::test]
async fn a_task_that_takes_down_worker_after_worker_is_quarantined() {
    let harness = Harness::with(|config| {
        config.ping_interval = Duration::from_millis(20);
        config.grace = Duration::from_millis(200);
    })
    .await;
    let mut policy = make::policy(5, 1);
    policy.max_crashes = Some(2);
    let new = redrive_client::NewTask::new("q", "k").inline_retry_policy(policy);
    let id = harness.enqueue(new).await;
    for name in ["first", "second"] {
        let mut worker = raw(&harness, name, 1).await;
        worker.next_delivery().await;
        worker.round_trip().await;
        drop(worker.cut());
    }
    let dead = harness.end_of(&id).await;
    assert_eq!(
        (dead.state(), &*dead.state_reason),
        (TaskState::Dead, "CRASHES_EXHAUSTED")
    );
    assert_eq!(
        (
            dead.budgets.unwrap().crashes,
            dead.budgets.unwrap().failures
        ),
        (2, 0)
    );
}

#[tokio::test]
async fn the_coordinator_ends_a_run_that_the_worker_does_not_end_at_its_hard_limit() {
    let harness = Harness::with(|config| config.ping_interval = Duration::from_millis(50)).await;
    let mut worker = raw(&harness, "w", 1).await;
    let new = redrive_client::NewTask::new("q", "k")
        .inline_retry_policy(make::policy(2, 60_000))
        .timeouts(
            Some(Duration::from_millis(50)),
            Some(Duration::from_millis(100)),
        );
    let id = harness.enqueue(new).await;
    let delivery = worker.next_delivery().await;
    let soft = worker.next_cancel().await;
    assert_eq!(soft.reason(), pb::CancelReason::SoftTimeout);
    assert_eq!(
        (soft.grace, &soft.lease_token),
        (Some(make::ms(50)), &delivery.lease_token)
    );
    let hard = worker.next_cancel().await;
    assert_eq!(hard.reason(), pb::CancelReason::HardTimeout);
    let retrying = harness.task(&id).await;
    assert_eq!(retrying.state(), TaskState::Retrying);
    assert_eq!(retrying.history[0].outcome(), RunOutcome::TimedOut);
    let late = worker.report_one(make::complete(&delivery)).await;
    assert_eq!(
        (late.status(), late.state()),
        (ReportStatus::Superseded, TaskState::Retrying)
    );
}

#[tokio::test]
async fn a_worker_that_reads_nothing_is_cut_while_the_others_are_served_and_may_come_back() {
    let harness = Harness::start().await;
    let mut worker = raw(&harness, "slow", 1).await;
    let id = enqueue(&harness).await;
    let delivery = worker.next_delivery().await;
    worker.round_trip().await;
    // Every report is answered; nothing reads the answers.
    let token = bytes::Bytes::from_static(&[1; 64]);
    let reports = vec![
        pb::Report {
            lease_token: token,
            ..Default::default()
        };
        1000
    ];
    let flood = Message::Reports(pb::ReportBatch { reports });
    let flooding = async {
        let message = || pb::WorkRequest {
            message: Some(flood.clone()),
        };
        while worker.requests.send(message()).await.is_ok() {}
    };
    let cut = eventually("the stream is cut", async || {
        (harness.metric("redrive_links_cut_total").await > 0.0).then_some(())
    });
    within("the flood is stopped", async {
        tokio::select! {
            () = async { tokio::join!(flooding, std::future::pending::<()>()); } => {}
            () = cut => {}
        }
    })
    .await;
    harness.still_serves().await;
    let mut back = worker.cut().resume(&[&delivery]).await;
    assert!(back.welcome.resumed);
    back.complete(&delivery).await;
    assert_eq!(harness.end_of(&id).await.runs, 1);
}
