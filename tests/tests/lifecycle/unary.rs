//! Work without a stream: LeaseTasks, ReportTasks and ExtendLeases mean the same as the stream.

use std::collections::BTreeSet;

use redrive_client::NewTask;
use redrive_proto::v1::{self as pb, FailureClass, ReportStatus, RunOutcome, TaskState};
use redrive_tests::{Harness, make, within};

use super::task;

fn lease(tasks_max: u32, wait_ms: u64, ttl_ms: u64) -> pb::LeaseTasksRequest {
    pb::LeaseTasksRequest {
        worker: Some(make::worker_info("poller", "q")),
        tasks_max,
        wait: Some(make::ms(wait_ms)),
        lease_ttl: Some(make::ms(ttl_ms)),
        ..Default::default()
    }
}

async fn leased(harness: &Harness, request: pb::LeaseTasksRequest) -> Vec<pb::Delivery> {
    let answer = within("the leases", harness.workers().lease_tasks(request)).await;
    answer.unwrap().into_inner().deliveries
}

async fn report(harness: &Harness, reports: Vec<pb::Report>) -> Vec<pb::ReportAck> {
    let request = pb::ReportTasksRequest { reports };
    harness
        .workers()
        .report_tasks(request)
        .await
        .unwrap()
        .into_inner()
        .acks
}

async fn extend(harness: &Harness, deliveries: &[&pb::Delivery]) -> Vec<pb::LeaseExtension> {
    let request = pb::ExtendLeasesRequest {
        lease_tokens: deliveries
            .iter()
            .map(|one| one.lease_token.clone())
            .collect(),
        lease_ttl: Some(make::ms(60_000)),
        ..Default::default()
    };
    harness
        .workers()
        .extend_leases(request)
        .await
        .unwrap()
        .into_inner()
        .extensions
}

async fn round_trips(harness: &Harness) {
    for _ in 0..3 {
        harness.client().server_info().await.unwrap();
    }
}

#[tokio::test]
async fn tasks_are_leased_extended_and_reported_without_a_stream() {
    let harness = Harness::start().await;
    let mut ids = BTreeSet::new();
    for _ in 0..3 {
        ids.insert(harness.enqueue(task("k", 2, 60_000)).await);
    }
    let two = leased(&harness, lease(2, 0, 60_000)).await;
    let [one, other] = &two[..] else {
        panic!("{two:?}")
    };
    assert_eq!(
        (one.sequence, one.run, one.attempt, one.attempts_max),
        (0, 1, 1, 2)
    );
    assert_eq!(harness.task(&one.task_id).await.state(), TaskState::Running);
    let held = extend(&harness, &[one, other]).await;
    assert!(
        held.iter()
            .all(|lease| lease.held && !lease.cancel_requested)
    );
    assert_eq!(held[0].lease_token, one.lease_token);

    let acks = report(&harness, vec![make::complete(one), make::fail(other, "no")]).await;
    assert_eq!(
        (acks[0].status(), acks[0].state()),
        (ReportStatus::Recorded, TaskState::Succeeded)
    );
    assert_eq!(
        (acks[1].status(), acks[1].state()),
        (ReportStatus::Recorded, TaskState::Retrying)
    );
    assert!(acks[1].next_attempt_time.is_some());
    let again = report(
        &harness,
        vec![make::complete(one), make::fail(one, "or not")],
    )
    .await;
    assert_eq!(again[0].status(), ReportStatus::Duplicate);
    assert_eq!(
        (again[1].status(), again[1].state()),
        (ReportStatus::Superseded, TaskState::Succeeded)
    );
    let gone = extend(&harness, &[one]).await;
    assert!(!gone[0].held, "its run is over");

    let rest = leased(&harness, lease(10, 0, 60_000)).await;
    assert_eq!(rest.len(), 1, "the third task; the failed one waits");
    let seen: BTreeSet<String> = two
        .iter()
        .chain(&rest)
        .map(|one| one.task_id.clone())
        .collect();
    assert_eq!(seen, ids);
    assert!(leased(&harness, lease(10, 0, 60_000)).await.is_empty());
}

#[tokio::test]
async fn a_lease_call_waits_for_the_first_task() {
    let harness = Harness::start().await;
    let waiting = leased(&harness, lease(10, 20_000, 60_000));
    let enqueue = harness.enqueue(NewTask::new("q", "k"));
    let (deliveries, id) = tokio::join!(waiting, enqueue);
    assert_eq!(deliveries.len(), 1);
    assert_eq!(deliveries[0].task_id, id);
}

#[tokio::test]
async fn a_lease_that_lapses_is_a_crash_and_its_late_report_is_superseded() {
    let harness = Harness::start().await;
    let id = harness.enqueue(task("k", 1, 1)).await;
    let first = leased(&harness, lease(1, 0, 1000)).await.remove(0);
    let second = leased(&harness, lease(1, 20_000, 60_000)).await.remove(0);
    assert_eq!((second.run, second.attempt, second.crashes), (2, 1, 1));
    assert!(second.fence > first.fence, "fences only grow");
    let acks = report(
        &harness,
        vec![make::complete(&first), make::complete(&second)],
    )
    .await;
    assert_eq!(
        (acks[0].status(), acks[0].state()),
        (ReportStatus::Superseded, TaskState::Running)
    );
    assert_eq!(acks[1].status(), ReportStatus::Recorded);
    let ended = harness.end_of(&id).await;
    assert_eq!(ended.history[0].outcome(), RunOutcome::Crashed);
    let failure = ended.history[0].failure.as_ref().unwrap();
    assert_eq!(failure.failure_class(), FailureClass::WorkerLost);
    assert!(failure.message.contains("poller"), "{}", failure.message);
}

#[tokio::test]
async fn a_cancel_is_told_with_the_next_extension() {
    let harness = Harness::start().await;
    let id = harness.enqueue(task("k", 3, 1)).await;
    let delivery = leased(&harness, lease(1, 0, 60_000)).await.remove(0);
    harness.client().cancel(&id, "enough").await.unwrap();
    let extended = extend(&harness, &[&delivery]).await;
    assert!(extended[0].held && extended[0].cancel_requested);
    let acks = report(&harness, vec![make::fail(&delivery, "stopped")]).await;
    assert_eq!(acks[0].state(), TaskState::Cancelled);
}

#[tokio::test]
async fn a_caller_that_hangs_up_takes_no_task_with_it() {
    let harness = Harness::start().await;
    let waiting = Box::pin(leased(&harness, lease(1, 60_000, 60_000)));
    // The same connection carries all: what is answered after the call shows that it has arrived.
    tokio::select! {
        deliveries = waiting => panic!("there is nothing to lease: {deliveries:?}"),
        () = round_trips(&harness) => {}
    }
    round_trips(&harness).await;
    let id = harness.enqueue(task("k", 1, 1)).await;
    let delivery = leased(&harness, lease(1, 20_000, 60_000)).await.remove(0);
    assert_eq!((delivery.task_id, delivery.run), (id, 1));
}
