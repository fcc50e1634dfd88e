//! At most once: a run that ends without a report is the last one. And the aging of what waits.

use std::sync::Arc;
use std::time::Duration;

use redrive_client::{Cancel, NewTask};
use redrive_proto::v1::{
    self as pb, DeliveryMode, Priority, ReportStatus, TaskState, report::Outcome,
};
use redrive_tests::harness::End;
use redrive_tests::refusal::Expected;
use redrive_tests::{Harness, SdkWorker, make};
use redrive_worker::{State, Stop, TaskContext, TaskError, TaskResult};

use super::{
    DAY_MS, Notes, be_hasty, folder, hasty, made, note, noted, raw, refused, refused_alone, sdk,
    task, when_noted,
};

fn once() -> NewTask {
    task(5, 1).at_most_once()
}

/// It is dead as LEASE_LOST after so many runs, and nobody is given it again.
async fn is_lost(harness: &Harness, id: &str, runs: u32) -> pb::Task {
    let dead = harness.end_of(id).await;
    assert_eq!(
        (dead.state(), &*dead.state_reason, dead.runs),
        (TaskState::Dead, "LEASE_LOST", runs)
    );
    let mut worker = raw(harness).await;
    worker.round_trip().await;
    assert!(worker.deliveries.is_empty());
    dead
}

/// Notes that it ran; fails, gives back or never ends as its kind says.
async fn transfer(State(notes): State<Notes>, task: TaskContext) -> TaskResult<()> {
    assert_eq!(task.delivery_mode(), DeliveryMode::AtMostOnce);
    note(&notes, format!("run {}", task.run()));
    match (task.kind(), task.run()) {
        ("endless", _) => std::future::pending().await,
        ("fails", 1) => Err(TaskError::retry_in(Duration::from_millis(1))),
        ("returns", 1) => Err(TaskError::release("not mine")),
        (_, _) => Ok(()),
    }
}

fn worker(harness: &Harness, notes: &Notes) -> SdkWorker {
    let builder = sdk(harness).with_state(Arc::clone(notes));
    let builder = builder.drain_timeout(Duration::from_millis(50));
    let builder = ["endless", "fails", "returns"]
        .into_iter()
        .fold(builder, |builder, kind| builder.task(kind, transfer));
    SdkWorker::start(builder.build().unwrap())
}

fn of_kind(kind: &str) -> NewTask {
    NewTask::new("q", kind).at_most_once()
}

#[tokio::test]
async fn a_worker_that_dies_takes_the_task_with_it_and_the_handler_ran_once() {
    let harness = hasty().await;
    let notes = Notes::default();
    let dying = worker(&harness, &notes);
    let next = redrive_client::NextTask::new("page").queue("after");
    let id = harness.enqueue(of_kind("endless").on_exhausted(next)).await;
    when_noted(&notes, 1).await;
    harness.task_in(&id, TaskState::Running).await;
    drop(dying);
    let other = worker(&harness, &notes);
    let dead = is_lost(&harness, &id, 1).await;
    assert_eq!(dead.history[0].outcome(), pb::RunOutcome::Crashed);
    let page = made(&harness, "after", "page").await;
    assert_eq!(page.cause.unwrap().task_id, id);
    assert_eq!(noted(&notes), ["run 1"]);
    other.stop().await;
}

#[tokio::test]
async fn a_reported_failure_a_release_and_a_drain_are_no_lost_lease() {
    let harness = Harness::start().await;
    let notes = Notes::default();
    let mut first = worker(&harness, &notes);
    for kind in ["fails", "returns"] {
        let ended = harness.end_of(&harness.enqueue(of_kind(kind)).await).await;
        assert_eq!(
            (ended.state(), ended.runs),
            (TaskState::Succeeded, 2),
            "{kind}"
        );
    }
    let id = harness.enqueue(of_kind("endless")).await;
    when_noted(&notes, 5).await;
    first.ask(Stop::Drain).await;
    assert_eq!(first.left().await.unwrap().released, 2);
    assert_eq!(
        harness.task(&id).await.state(),
        TaskState::Ready,
        "given back"
    );
}

#[tokio::test]
async fn what_never_arrived_goes_to_another_run_and_what_had_not_begun_is_lost() {
    let harness = hasty().await;
    let mut worker = raw(&harness).await;
    let lost = harness.enqueue(once()).await;
    let held = worker.next_unstarted().await;
    assert_eq!(held.delivery(), DeliveryMode::AtMostOnce);
    // It resumes and does not list it: it never arrived.
    let mut back = worker.cut().resume(&[]).await;
    let again = back.next_unstarted().await;
    assert_eq!((&again.task_id, again.run), (&lost, 2));
    let late = back.report_one(make::complete(&held)).await;
    assert_eq!(late.status(), ReportStatus::Superseded);
    drop(back);
    is_lost(&harness, &lost, 2).await;
}

#[tokio::test]
async fn a_lease_without_a_stream_that_lapses_is_lost_and_a_cancel_stays_a_cancel() {
    let harness = hasty().await;
    let id = harness.enqueue(once()).await;
    let request = pb::LeaseTasksRequest {
        worker: Some(make::worker_info("w", "q")),
        lease_ttl: Some(make::ms(1000)),
        ..Default::default()
    };
    harness.workers().lease_tasks(request).await.unwrap();
    let mut worker = raw(&harness).await;
    let cancelled = harness.enqueue(once()).await;
    worker.next_delivery().await;
    let how = Cancel::cooperative();
    harness.client().cancel_with(&cancelled, how).await.unwrap();
    drop(worker);
    assert_eq!(
        harness.end_of(&cancelled).await.state(),
        TaskState::Cancelled
    );
    is_lost(&harness, &id, 1).await;
}

/// Over an end of the coordinator.
async fn holds_over(end: End) {
    let folder = folder();
    let harness = Harness::on(folder.path()).await;
    let mut worker = raw(&harness).await;
    let (resumed, lost) = (harness.enqueue(once()).await, harness.enqueue(once()).await);
    let (held, gone) = (worker.next_delivery().await, worker.next_delivery().await);
    assert_eq!(gone.task_id, lost);
    worker.round_trip().await;
    let away = worker.cut();
    let harness = harness.again(end).await;
    let mut back = away.resume(&[&held, &gone]).await;
    back.complete(&held).await;
    drop(back);
    assert_eq!(harness.end_of(&resumed).await.state(), TaskState::Succeeded);
    // Now nobody comes back.
    let harness = harness.again_with(end, be_hasty).await;
    is_lost(&harness, &lost, 1).await;
    let harness = harness.again(end).await;
    is_lost(&harness, &lost, 1).await;
    let client = harness.client();
    client
        .redrive(&lost, Duration::ZERO, "looked after")
        .await
        .unwrap();
    let mut worker = raw(&harness).await;
    let again = worker.next_delivery().await;
    assert_eq!((&again.task_id, again.run), (&lost, 2), "{end:?}");
    let defer = Outcome::Defer(pb::Defer::default());
    worker
        .report_one(make::report(&again.lease_token, defer))
        .await;
    let again = worker.next_delivery().await;
    worker.complete(&again).await;
}

#[tokio::test]
async fn it_holds_over_a_stop_and_a_redrive_is_a_decision_of_a_person() {
    Box::pin(holds_over(End::Stopped)).await;
}

#[tokio::test]
async fn it_holds_over_an_end_without_a_word() {
    Box::pin(holds_over(End::Dropped)).await;
}

#[tokio::test]
async fn the_mode_is_that_of_the_nearest_level_when_the_run_was_granted() {
    let harness = Harness::start().await;
    let terms = |mode: DeliveryMode| {
        Some(pb::Terms {
            delivery: mode.into(),
            ..Default::default()
        })
    };
    let client = harness.client();
    let queue = pb::QueueSettings {
        terms: terms(DeliveryMode::AtMostOnce),
        ..Default::default()
    };
    client
        .update_queue("q", queue, &["terms.delivery"])
        .await
        .unwrap();
    let mut worker = raw(&harness).await;
    let mut mode = async |new: NewTask| {
        harness.enqueue(new).await;
        let delivery = worker.next_delivery().await;
        worker.complete(&delivery).await;
        delivery.delivery()
    };
    assert_eq!(mode(task(1, 1)).await, DeliveryMode::AtMostOnce);
    let kind = pb::KindSettings {
        terms: terms(DeliveryMode::AtLeastOnce),
        ..Default::default()
    };
    client.set_kind("k", kind).await.unwrap();
    assert_eq!(mode(task(1, 1)).await, DeliveryMode::AtLeastOnce);
    assert_eq!(mode(once()).await, DeliveryMode::AtMostOnce);
    let own = task(1, 1).at_least_once();
    client.delete_kind("k").await.unwrap();
    assert_eq!(mode(own).await, DeliveryMode::AtLeastOnce);
}

async fn aging(harness: &Harness, ms: Option<u64>) -> pb::QueueSettings {
    let settings = pb::QueueSettings {
        aging: ms.map(make::ms),
        ..Default::default()
    };
    let queue = harness.client().update_queue("q", settings, &["aging"]);
    queue.await.unwrap().settings.unwrap()
}

#[tokio::test]
async fn what_waits_long_enough_goes_before_what_is_more_urgent_unless_aging_is_off() {
    let harness = Harness::start().await;
    assert_eq!(
        aging(&harness, Some(60_000)).await.aging,
        Some(make::ms(60_000))
    );
    assert_eq!(aging(&harness, None).await.aging, None);
    let new = |kind: &str, priority| NewTask::new("q", kind).priority(priority);
    for (ms, first) in [(0, "urgent"), (1, "old")] {
        assert_eq!(aging(&harness, Some(ms)).await.aging, Some(make::ms(ms)));
        let old = harness.enqueue(new("old", Priority::Lowest)).await;
        // So that some milliseconds have passed.
        let brief = NewTask::new("nobody", "k").ttl(Duration::from_millis(20));
        harness.end_of(&harness.enqueue(brief).await).await;
        let urgent = harness.enqueue(new("urgent", Priority::Highest)).await;
        let hello = make::hello("one", "q", 1);
        let mut worker = redrive_tests::RawWorker::hello(harness.address(), hello).await;
        let delivery = worker.next_delivery().await;
        assert_eq!(delivery.kind, first, "aging {ms} ms");
        worker.complete(&delivery).await;
        let other = worker.next_delivery().await;
        worker.complete(&other).await;
        for id in [old, urgent] {
            harness.end_of(&id).await;
        }
        let goodbye = pb::work_request::Message::Goodbye(pb::Goodbye::default());
        worker.say(goodbye).await;
        worker.ended().await.unwrap();
    }
}

#[tokio::test]
async fn the_settings_of_a_queue_outlive_a_restart() {
    for end in End::ALL {
        let folder = folder();
        let harness = Harness::on(folder.path()).await;
        let settings = pb::QueueSettings {
            aging: Some(make::ms(0)),
            finished_max: Some(0),
            terms: Some(pb::Terms {
                delivery: DeliveryMode::AtMostOnce.into(),
                ttl: Some(make::ms(60_000)),
                ..Default::default()
            }),
            ..Default::default()
        };
        let client = harness.client();
        let before = client.update_queue("q", settings, &[]).await.unwrap();
        let harness = harness.again(end).await;
        let after = harness.client().queue("q").await.unwrap();
        assert_eq!(after, before, "{end:?}");
    }
}

#[tokio::test]
async fn operators_who_change_different_terms_at_once_lose_nothing() {
    let harness = Harness::start().await;
    let client = harness.client();
    for ms in 1..=30 {
        let terms = pb::Terms {
            ttl: Some(make::ms(ms)),
            deadline: Some(make::ms(ms)),
            result_ttl: Some(make::ms(ms)),
            ..Default::default()
        };
        let settings = pb::QueueSettings {
            terms: Some(terms.clone()),
            ..Default::default()
        };
        let update = |field| {
            let (client, settings) = (client.clone(), settings.clone());
            async move { client.update_queue("q", settings, &[field]).await.unwrap() }
        };
        let fields = ["terms.ttl", "terms.deadline", "terms.result_ttl"];
        futures::future::join_all(fields.map(update)).await;
        let queue = client.queue("q").await.unwrap();
        assert_eq!(queue.settings.unwrap().terms, Some(terms));
    }
}

#[tokio::test]
async fn a_mode_or_aging_that_cannot_be_is_refused() {
    let harness = Harness::start().await;
    let spec = pb::TaskSpec {
        terms: Some(Box::new(pb::Terms {
            delivery: 9,
            ..Default::default()
        })),
        ..make::spec("q", "k")
    };
    let of = Expected::field;
    let says = ["is 9", "does not know"];
    refused_alone(&harness, vec![(spec, of("terms.delivery", &says))]).await;
    let update = |aging, mask: &[&str]| pb::UpdateQueueRequest {
        queue: "q".to_owned(),
        settings: Some(pb::QueueSettings {
            aging: Some(aging),
            ..Default::default()
        }),
        update_mask: Some(prost_types::FieldMask {
            paths: mask.iter().map(|&path| path.to_owned()).collect(),
        }),
        ..Default::default()
    };
    let cases = [
        (
            update(make::ms(DAY_MS + 1), &["aging"]),
            of("settings.aging", &["86400001 ms", "at most 24 h"]),
        ),
        (
            update(super::NEGATIVE, &["aging"]),
            of("settings.aging", &["is negative"]),
        ),
        (
            update(make::ms(1), &["ageing"]),
            of("update_mask.paths[0]", &["\"ageing\"", "aging"]),
        ),
    ];
    refused!(harness.queues(), update_queue, cases);
    assert!(
        harness.client().queue("q").await.is_err(),
        "nothing was made"
    );
    harness.still_serves().await;
}
