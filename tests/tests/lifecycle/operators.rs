//! What operators do with tasks and queues: cancel, new limits, pause, redrive, discard, watch.

use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _, stream::BoxStream};
use redrive_client::{Error, NewTask};
use redrive_proto::v1::{self as pb, EventType, TaskState, report::Outcome};
use redrive_tests::{Harness, RawWorker, make, within};

use super::task;

async fn raw(harness: &Harness) -> RawWorker {
    RawWorker::hello(harness.address(), make::hello("raw", "q", 10)).await
}

/// Dead letters of the queue "q".
async fn kill(harness: &Harness, worker: &mut RawWorker, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for _ in 0..count {
        ids.push(harness.enqueue(task("k", 1, 1)).await);
        let delivery = worker.next_delivery().await;
        let ack = worker.report_one(make::fail(&delivery, "no")).await;
        assert_eq!(ack.state(), TaskState::Dead);
    }
    ids
}

#[tokio::test]
async fn a_waiting_task_is_cancelled_at_once() {
    let harness = Harness::start().await;
    let id = harness
        .enqueue(NewTask::new("q", "k").delay(Duration::from_secs(60)))
        .await;
    let cancelled = harness
        .client()
        .cancel(&id, "changed my mind")
        .await
        .unwrap();
    assert_eq!(
        (cancelled.state(), cancelled.runs),
        (TaskState::Cancelled, 0)
    );
    let mut worker = raw(&harness).await;
    worker.round_trip().await;
    assert!(worker.deliveries.is_empty());
}

#[tokio::test]
async fn a_running_task_is_asked_to_stop_and_every_end_but_success_is_cancelled() {
    let harness = Harness::start().await;
    let mut worker = raw(&harness).await;
    let id = harness.enqueue(task("k", 5, 1)).await;
    let delivery = worker.next_delivery().await;
    harness.task_in(&id, TaskState::Running).await;
    let asked = harness.client().cancel(&id, "too expensive").await.unwrap();
    assert_eq!(
        (asked.state(), &*asked.state_reason),
        (TaskState::Running, "CANCEL_REQUESTED")
    );
    let cancel = worker.next_cancel().await;
    assert_eq!(cancel.lease_token, delivery.lease_token);
    assert_eq!(
        (cancel.reason(), &*cancel.detail),
        (pb::CancelReason::Requested, "too expensive")
    );
    let ack = worker.report_one(make::fail(&delivery, "stopped")).await;
    assert_eq!(
        (ack.status(), ack.state()),
        (pb::ReportStatus::Recorded, TaskState::Cancelled)
    );
    let ended = harness.end_of(&id).await;
    assert_eq!(ended.history[0].outcome(), pb::RunOutcome::Cancelled);
}

#[tokio::test]
async fn success_wins_over_a_cancel() {
    let harness = Harness::start().await;
    let mut worker = raw(&harness).await;
    let id = harness.enqueue(task("k", 5, 1)).await;
    let delivery = worker.next_delivery().await;
    harness.client().cancel(&id, "").await.unwrap();
    worker.next_cancel().await;
    worker.complete(&delivery).await;
    assert_eq!(harness.end_of(&id).await.state(), TaskState::Succeeded);
}

#[tokio::test]
async fn new_time_limits_reach_a_running_task_and_hold_for_one_that_waits() {
    let harness = Harness::start().await;
    let mut worker = raw(&harness).await;
    let id = harness.enqueue(task("k", 5, 1)).await;
    let delivery = worker.next_delivery().await;
    assert_eq!((delivery.soft_timeout, delivery.hard_timeout), (None, None));
    harness.task_in(&id, TaskState::Running).await;
    let (soft, hard) = (Duration::from_secs(40), Duration::from_secs(50));
    let updated = harness
        .client()
        .update_timeouts(&id, Some(soft), Some(hard))
        .await
        .unwrap();
    let limits = updated.effective_timeouts.unwrap();
    assert_eq!(
        (limits.soft, limits.hard),
        (Some(make::ms(40_000)), Some(make::ms(50_000)))
    );
    let change = worker.next("new limits", |message| match message {
        pb::work_response::Message::Timeouts(batch) => batch.changes.first().cloned(),
        _ => None,
    });
    let change = change.await;
    assert_eq!(change.lease_token, delivery.lease_token);
    assert_eq!(change.soft_timeout, Some(make::ms(40_000)));
    assert_eq!(change.hard_timeout, Some(make::ms(50_000)));
    worker.report_one(make::fail(&delivery, "again")).await;
    let again = worker.next_delivery().await;
    assert_eq!(again.hard_timeout, Some(make::ms(50_000)));
}

#[tokio::test]
async fn a_paused_queue_hands_out_nothing_until_it_is_resumed() {
    let harness = Harness::start().await;
    let mut worker = raw(&harness).await;
    let paused = harness
        .client()
        .pause_queue("q", "an outage")
        .await
        .unwrap();
    assert!(paused.paused && paused.pause_time.is_some());
    let id = harness.enqueue(task("k", 1, 1)).await;
    worker.round_trip().await;
    assert!(worker.deliveries.is_empty());
    let resumed = harness.client().resume_queue("q").await.unwrap();
    assert!(!resumed.paused && resumed.pause_reason.is_empty());
    let delivery = worker.next_delivery().await;
    assert_eq!(delivery.task_id, id);
}

#[tokio::test]
async fn a_queues_settings_hold_for_its_tasks_and_route_what_dies() {
    let harness = Harness::start().await;
    let settings = pb::QueueSettings {
        retry: Some(pb::queue_settings::Retry::InlineRetryPolicy(make::policy(
            1, 1,
        ))),
        timeouts: Some(pb::Timeouts {
            soft: None,
            hard: Some(make::ms(7000)),
            ..Default::default()
        }),
        dead_letter_queue: "morgue".to_owned(),
        ..Default::default()
    };
    let queue = harness
        .client()
        .update_queue("q", settings.clone(), &[])
        .await
        .unwrap();
    assert_eq!(queue.revision, 1);
    let mut worker = raw(&harness).await;
    let id = harness
        .enqueue(NewTask::new("q", "k").bytes("body", ""))
        .await;
    let delivery = worker.next_delivery().await;
    assert_eq!(
        (delivery.attempts_max, delivery.hard_timeout),
        (1, Some(make::ms(7000)))
    );
    worker.report_one(make::fail(&delivery, "no")).await;
    assert_eq!(harness.end_of(&id).await.state(), TaskState::Routed);
    let mut undertaker = RawWorker::hello(harness.address(), make::hello("u", "morgue", 1)).await;
    let routed = undertaker.next_delivery().await;
    assert_eq!(
        (&*routed.kind, &*routed.payload.unwrap().data),
        ("k", &b"body"[..])
    );
    assert_eq!(routed.previous_failure.unwrap().message, "no");
    let new = harness.task(&routed.task_id).await;
    assert_eq!((new.origin_task_id, new.budgets.unwrap().failures), (id, 0));
    let cleared = harness
        .client()
        .update_queue("q", pb::QueueSettings::default(), &["timeouts"]);
    let cleared = cleared.await.unwrap().settings.unwrap();
    assert_eq!(
        (cleared.timeouts, &*cleared.dead_letter_queue),
        (None, "morgue")
    );
}

#[tokio::test]
async fn many_dead_letters_are_counted_redriven_and_discarded_in_bulk() {
    let harness = Harness::start().await;
    let mut worker = raw(&harness).await;
    let ids = kill(&harness, &mut worker, 5).await;
    let client = harness.client();
    let selection = client.select("q", "reason = ATTEMPTS_EXHAUSTED");
    let listed: Vec<pb::Task> = client
        .dead_letters(selection.clone())
        .try_collect()
        .await
        .unwrap();
    assert_eq!(
        listed.iter().map(|one| &one.task_id).collect::<Vec<_>>(),
        ids.iter().collect::<Vec<_>>()
    );
    assert_eq!(
        client
            .dead_letter(&ids[0])
            .await
            .unwrap()
            .last_failure
            .unwrap()
            .message,
        "no"
    );

    let dry = pb::RedriveDeadLettersRequest {
        selection: Some(selection.clone()),
        dry_run: true,
        ..Default::default()
    };
    let last = last_of(client.redrive_many(dry).await.unwrap()).await;
    assert_eq!((last.matched, last.redriven, last.done), (5, 0, true));
    let three = pb::RedriveDeadLettersRequest {
        selection: Some(selection.clone()),
        expected_count: Some(5),
        count_max: 3,
        ..Default::default()
    };
    let last = last_of(client.redrive_many(three).await.unwrap()).await;
    assert_eq!((last.redriven, last.done), (3, true));
    for _ in 0..3 {
        let delivery = worker.next_delivery().await;
        assert_eq!((delivery.run, delivery.attempt), (2, 1));
        worker.complete(&delivery).await;
    }
    let discard = pb::DiscardDeadLettersRequest {
        selection: Some(selection),
        expected_count: Some(2),
        ..Default::default()
    };
    let last = last_of(client.discard_many(discard).await.unwrap()).await;
    assert_eq!((last.matched, last.discarded, last.done), (2, 2, true));
    let counts = client.queue("q").await.unwrap().counts.unwrap();
    assert_eq!(
        (
            counts.dead,
            counts.dead_lettered_total,
            counts.redriven_total
        ),
        (0, 5, 3)
    );
}

async fn last_of<T>(progress: BoxStream<'_, Result<T, Error>>) -> T {
    let all: Vec<T> = within("the last progress", progress.try_collect())
        .await
        .unwrap();
    all.into_iter().next_back().expect("at least the last one")
}

/// The next events, at least so many, and the cursor behind each message.
async fn watched(
    watch: &mut BoxStream<'_, Result<pb::WatchEventsResponse, Error>>,
    count: usize,
) -> (Vec<pb::Event>, Vec<String>) {
    let (mut events, mut cursors) = (Vec::new(), Vec::new());
    while events.len() < count {
        let next = within("the next event", watch.next()).await;
        let next = next.expect("a watch does not end").unwrap();
        events.extend(next.events);
        cursors.push(next.cursor);
    }
    (events, cursors)
}

#[tokio::test]
async fn a_watcher_sees_the_life_of_a_task_in_order_and_resumes_from_a_cursor() {
    let harness = Harness::start().await;
    let mut worker = raw(&harness).await;
    let mut watch = harness.client().watch("q", "").await.unwrap();
    harness.enqueue(NewTask::new("unwatched", "k")).await;
    let id = harness.enqueue(task("k", 2, 1)).await;
    let (first, cursors) = watched(&mut watch, 1).await;
    assert_eq!(
        (first[0].r#type(), &first[0].task_id),
        (EventType::Enqueued, &id)
    );
    let first_delivery = worker.next_delivery().await;
    worker.report_one(make::fail(&first_delivery, "once")).await;
    let second_delivery = worker.next_delivery().await;
    let outcome = Outcome::Complete(pb::Complete::default());
    worker
        .report_one(make::report(&second_delivery.lease_token, outcome))
        .await;

    let expected = [
        EventType::Enqueued,
        EventType::Leased,
        EventType::RetryScheduled,
        EventType::Leased,
        EventType::Ended,
    ];
    let (rest, _) = watched(&mut watch, 5 - first.len()).await;
    let seen: Vec<EventType> = first.iter().chain(&rest).map(pb::Event::r#type).collect();
    assert_eq!(seen, expected);
    let retry = rest
        .iter()
        .find(|event| event.r#type() == EventType::RetryScheduled)
        .unwrap();
    assert_eq!(retry.failure.as_ref().unwrap().message, "once");
    assert_eq!(
        (&*retry.queue, &*retry.kind, &*retry.worker_id),
        ("q", "k", "raw")
    );
    assert!(retry.next_attempt_time.is_some());
    assert_eq!(rest.last().unwrap().reason, "SUCCEEDED");

    let mut resumed = harness.client().watch("q", &cursors[0]).await.unwrap();
    let (again, _) = watched(&mut resumed, rest.len()).await;
    assert_eq!(again, rest, "nothing is missed and nothing is told twice");
}
