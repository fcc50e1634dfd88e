//! Cancels of all tasks that a filter selects.

use std::time::Duration;

use redrive_client::NewTask;
use redrive_proto::v1::{self as pb, CancelMode, TaskState};
use redrive_tests::harness::End;
use redrive_tests::refusal::Expected;
use redrive_tests::{Harness, RawWorker, make, within};
use tonic::Code;

use super::{all, folder, raw, task};

/// Two that wait with the label, one that waits without, one that is held and one that has ended.
struct Scene {
    worker: RawWorker,
    wait: Vec<String>,
    other: String,
    held: String,
    delivery: pb::Delivery,
    ended: String,
}

fn labelled(new: NewTask) -> NewTask {
    new.label("import", "spring")
}

async fn scene(harness: &Harness) -> Scene {
    let mut worker = raw(harness).await;
    let ended = harness.enqueue(labelled(task(1, 1))).await;
    let delivery = worker.next_delivery().await;
    worker.complete(&delivery).await;
    let held = harness.enqueue(labelled(task(5, 1))).await;
    let delivery = worker.next_delivery().await;
    harness.task_in(&held, TaskState::Running).await;
    let mut wait = Vec::new();
    for _ in 0..2 {
        let later = task(1, 1).delay(Duration::from_secs(3600));
        wait.push(harness.enqueue(labelled(later)).await);
    }
    let other = harness
        .enqueue(task(1, 1).delay(Duration::from_secs(3600)))
        .await;
    Scene {
        worker,
        wait,
        other,
        held,
        delivery,
        ended,
    }
}

fn spring(harness: &Harness) -> pb::CancelTasksRequest {
    let filter = "labels.import = spring";
    pb::CancelTasksRequest {
        selection: Some(harness.client().select("q", filter)),
        reason: "wrong file".to_owned(),
        ..Default::default()
    }
}

/// The last word of a cancel.
async fn cancelled(harness: &Harness, request: pb::CancelTasksRequest) -> [u64; 3] {
    let answers = all(harness.tasks().cancel_tasks(request).await);
    let answers = within("the cancel", answers).await.unwrap();
    let (last, before) = answers.split_last().unwrap();
    assert!(last.done && before.iter().all(|one| !one.done));
    [last.matched, last.cancelled, last.cancelling]
}

#[tokio::test]
async fn what_waits_is_cancelled_and_what_is_held_is_asked_to_stop() {
    let harness = Harness::start().await;
    let mut scene = scene(&harness).await;
    assert_eq!(cancelled(&harness, spring(&harness)).await, [3, 2, 1]);
    for id in &scene.wait {
        assert_eq!(harness.task(id).await.state(), TaskState::Cancelled);
    }
    let told = scene.worker.next_cancel().await;
    assert_eq!(told.lease_token, scene.delivery.lease_token);
    assert_eq!(&*told.detail, "wrong file");
    let stopped = make::fail(&scene.delivery, "stopped");
    let ack = scene.worker.report_one(stopped).await;
    assert_eq!(ack.state(), TaskState::Cancelled);
    let states = [&scene.other, &scene.ended].map(|id| harness.task(id));
    let states = futures::future::join_all(states).await;
    let states: Vec<TaskState> = states.iter().map(pb::Task::state).collect();
    assert_eq!(states, [TaskState::Scheduled, TaskState::Succeeded]);
    assert_eq!(cancelled(&harness, spring(&harness)).await, [0, 0, 0]);
}

#[tokio::test]
async fn a_dry_run_and_another_count_than_expected_change_nothing() {
    let harness = Harness::start().await;
    let scene = scene(&harness).await;
    let dry_run = pb::CancelTasksRequest {
        dry_run: true,
        ..spring(&harness)
    };
    assert_eq!(cancelled(&harness, dry_run).await, [3, 0, 0]);
    let expecting = |count| pb::CancelTasksRequest {
        expected_count: Some(count),
        ..spring(&harness)
    };
    let answer = all(harness.tasks().cancel_tasks(expecting(4)).await).await;
    let says = ["3 live tasks", "4 were expected", "expected_count = 3"];
    Expected::reason(Code::FailedPrecondition, "COUNT_DIFFERS", &says)
        .check_status("another count", answer);
    assert_eq!(harness.task(&scene.held).await.cancel, None);
    for id in &scene.wait {
        assert_eq!(harness.task(id).await.state(), TaskState::Scheduled);
    }
    assert_eq!(cancelled(&harness, expecting(3)).await, [3, 2, 1]);
}

#[tokio::test]
async fn modes_say_what_becomes_of_those_that_are_held() {
    let harness = Harness::start().await;
    let mut scene = scene(&harness).await;
    let moded = |mode: CancelMode| pb::CancelTasksRequest {
        mode: mode.into(),
        ..spring(&harness)
    };
    let if_waiting = moded(CancelMode::IfWaiting);
    let counted = pb::CancelTasksRequest {
        expected_count: Some(2),
        ..if_waiting
    };
    assert_eq!(cancelled(&harness, counted).await, [2, 2, 0]);
    assert_eq!(harness.task(&scene.held).await.state(), TaskState::Running);
    assert_eq!(
        cancelled(&harness, moded(CancelMode::Force)).await,
        [1, 1, 0]
    );
    let told = scene.worker.next_cancel().await;
    assert_eq!(told.reason(), pb::CancelReason::Revoked);
    assert_eq!(
        harness.task(&scene.held).await.state(),
        TaskState::Cancelled
    );
}

#[tokio::test]
async fn thousands_go_in_steps_and_dropping_the_call_stops_it_between_two() {
    const TASKS: usize = 3500;
    let harness = Harness::start().await;
    let tasks = (0..TASKS).map(|_| NewTask::new("q", "k"));
    let ids = harness.client().enqueue_many(tasks).await;
    assert!(ids.iter().all(Result::is_ok));
    let some = pb::CancelTasksRequest {
        count_max: 10,
        ..Default::default()
    };
    assert_eq!(cancelled(&harness, some).await, [10, 10, 0]);
    let request = pb::CancelTasksRequest::default;
    let mut dropped = harness.tasks().cancel_tasks(request()).await.unwrap();
    let first = dropped.get_mut().message().await.unwrap().unwrap();
    assert!(
        (1..=1000).contains(&first.cancelled) && !first.done,
        "{first:?}"
    );
    drop(dropped);
    let [matched, now, cancelling] = cancelled(&harness, request()).await;
    assert!(
        matched == now && now <= TASKS as u64 - 10 && cancelling == 0,
        "{now}"
    );
    let counts = harness.client().queue("q").await.unwrap().counts.unwrap();
    assert_eq!((counts.ready, counts.scheduled), (0, 0));
    let mut worker = raw(&harness).await;
    worker.round_trip().await;
    assert!(worker.deliveries.is_empty());
}

#[tokio::test]
async fn what_a_filter_cancelled_is_cancelled_after_a_restart() {
    for end in End::ALL {
        let folder = folder();
        let harness = Harness::on(folder.path()).await;
        let scene = scene(&harness).await;
        let request = pb::CancelTasksRequest {
            grace: Some(make::ms(300)),
            ..spring(&harness)
        };
        assert_eq!(cancelled(&harness, request).await, [3, 2, 1]);
        drop(scene.worker);
        let harness = harness.again(end).await;
        for id in scene.wait.iter().chain([&scene.held]) {
            let ended = harness.end_of(id).await;
            assert_eq!(ended.state(), TaskState::Cancelled, "{end:?}");
        }
        let other = harness.task(&scene.other).await;
        assert_eq!(other.state(), TaskState::Scheduled, "{end:?}");
    }
}

#[tokio::test]
async fn a_cancel_of_many_that_cannot_be_is_refused() {
    let harness = Harness::start().await;
    let scene = scene(&harness).await;
    let with = |change: fn(&mut pb::CancelTasksRequest)| {
        let mut request = spring(&harness);
        change(&mut request);
        request
    };
    let of = Expected::field;
    let cases = [
        (with(|it| it.mode = 9), of("mode", &["is 9"])),
        (
            with(|it| it.grace = Some(make::ms(super::DAY_MS + 1))),
            of("grace", &["at most 24 h"]),
        ),
        (
            with(|it| {
                it.mode = CancelMode::Force.into();
                it.grace = Some(make::ms(1));
            }),
            of("grace", &["only mode COOPERATIVE"]),
        ),
        (
            with(|it| it.reason = "r".repeat(257)),
            of("reason", &["257", "256"]),
        ),
        (
            with(|it| it.selection.as_mut().unwrap().filter = "colour = red".to_owned()),
            of("selection.filter", &["colour"]),
        ),
        (
            with(|it| it.selection.as_mut().unwrap().queue = "a b".to_owned()),
            of("selection.queue", &["use letters"]),
        ),
    ];
    for (request, expected) in cases {
        let answer = all(harness.tasks().cancel_tasks(request).await).await;
        expected.check_status(&expected.field, answer);
    }
    assert_eq!(harness.task(&scene.held).await.cancel, None);
    harness.still_serves().await;
}
