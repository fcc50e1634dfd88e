//! Checkpoints: what a run leaves for the next one, whatever ended it.

use std::sync::Arc;
use std::time::Duration;

use redrive_client::{NewTask, TaskUpdate};
use redrive_proto::v1::{self as pb, RunOutcome, TaskState};
use redrive_tests::harness::End;
use redrive_tests::{Harness, RawWorker, SdkWorker, eventually, make};
use redrive_worker::{FailureClass, Json, State, Stop, TaskContext, TaskError, TaskResult};

use super::{Notes, folder, hasty, note, raw, sdk, task, when_noted};

/// Saves how far it is, then ends as its payload says; with a checkpoint it is done.
async fn import(
    Json(end): Json<String>,
    State(notes): State<Notes>,
    task: TaskContext,
) -> TaskResult<Json<u32>> {
    if let Some(row) = task.checkpoint_json::<u32>()? {
        return Ok(Json(row));
    }
    task.save_checkpoint_json(&1)?;
    task.save_checkpoint_json(&7)?;
    note(&notes, "saved");
    match &*end {
        "failure" => Err(TaskError::new(FailureClass::Network, "no")),
        "panic" => panic!("a bug"),
        "deferral" => Err(TaskError::defer(Duration::from_millis(1))),
        _ => std::future::pending().await,
    }
}

fn worker(harness: &Harness, notes: &Notes) -> SdkWorker {
    let builder = sdk(harness).slots(4).with_state(Arc::clone(notes));
    let builder = builder.drain_timeout(Duration::from_millis(50));
    SdkWorker::start(builder.task("k", import).build().unwrap())
}

fn ending(how: &str) -> NewTask {
    task(2, 1).json(how).unwrap()
}

/// It succeeded in its second run with what the first one saved.
async fn took_over(harness: &Harness, id: &str) -> pb::Task {
    let ended = harness.end_of(id).await;
    assert_eq!((ended.state(), ended.runs), (TaskState::Succeeded, 2));
    assert_eq!(&*ended.result.as_ref().unwrap().data, b"7");
    ended
}

#[tokio::test]
async fn after_a_failure_a_panic_a_deferral_and_a_timeout_the_next_run_has_the_checkpoint() {
    let harness = Harness::start().await;
    let _worker = worker(&harness, &Notes::default());
    for (how, outcome) in [
        ("failure", RunOutcome::Failed),
        ("panic", RunOutcome::Failed),
        ("deferral", RunOutcome::Deferred),
        ("timeout", RunOutcome::Failed),
    ] {
        let hard = (how == "timeout").then_some(Duration::from_millis(100));
        let id = harness.enqueue(ending(how).timeouts(None, hard)).await;
        let ended = took_over(&harness, &id).await;
        assert_eq!(ended.history[0].outcome(), outcome, "{how}");
    }
}

async fn saved(harness: &Harness, id: &str) {
    eventually("the coordinator has the checkpoint", async || {
        let checkpoint = harness.task(id).await.checkpoint?;
        (&*checkpoint.data == b"7").then_some(())
    })
    .await;
}

#[tokio::test]
async fn after_a_worker_was_killed_the_next_run_has_the_checkpoint() {
    let harness = hasty().await;
    let notes = Notes::default();
    let killed = worker(&harness, &notes);
    let id = harness.enqueue(ending("kill")).await;
    when_noted(&notes, 1).await;
    saved(&harness, &id).await;
    drop(killed);
    harness.task_in(&id, TaskState::Ready).await;
    let _worker = worker(&harness, &notes);
    let ended = took_over(&harness, &id).await;
    assert_eq!(ended.history[0].outcome(), RunOutcome::Crashed);
}

#[tokio::test]
async fn after_a_drain_the_next_run_has_the_checkpoint() {
    let harness = Harness::start().await;
    let notes = Notes::default();
    let mut draining = worker(&harness, &notes);
    let id = harness.enqueue(ending("drain")).await;
    when_noted(&notes, 1).await;
    draining.ask(Stop::Drain).await;
    assert_eq!(draining.left().await.unwrap().released, 1);
    let _worker = worker(&harness, &notes);
    let ended = took_over(&harness, &id).await;
    assert_eq!(ended.history[0].outcome(), RunOutcome::Released);
}

#[tokio::test]
async fn a_redriven_task_has_its_checkpoint_and_another_payload_drops_it() {
    let harness = Harness::start().await;
    let _worker = worker(&harness, &Notes::default());
    let dead = async || {
        let id = harness.enqueue(ending("failure").max_attempts(1)).await;
        assert_eq!(harness.end_of(&id).await.state(), TaskState::Dead);
        id
    };
    let client = harness.client();
    let id = dead().await;
    client.redrive(&id, Duration::ZERO, "").await.unwrap();
    took_over(&harness, &id).await;
    let id = dead().await;
    let rest = TaskUpdate::new().json("failure").unwrap();
    let updated = client.update(&id, rest.reason("rows 1 to 7 are in"));
    assert_eq!(updated.await.unwrap().checkpoint, None);
    client.redrive(&id, Duration::ZERO, "").await.unwrap();
    let ended = harness.end_of(&id).await;
    assert_eq!((ended.state(), ended.runs), (TaskState::Dead, 2));
}

/// The checkpoint that a delivery brings.
fn brought(delivery: &pb::Delivery) -> Option<&[u8]> {
    delivery.checkpoint.as_ref().map(|it| &*it.data)
}

async fn say(worker: &mut RawWorker, delivery: &pb::Delivery, checkpoint: &'static str) {
    let beat = pb::Heartbeat {
        checkpoint: Some(make::payload(checkpoint)),
        ..make::beat(delivery)
    };
    worker.beat(vec![beat]).await;
    worker.round_trip().await;
}

#[tokio::test]
async fn the_latest_one_counts_and_that_of_a_report_goes_before_it() {
    let harness = Harness::start().await;
    let mut worker = raw(&harness).await;
    harness.enqueue(task(9, 1)).await;
    let first = worker.next_delivery().await;
    assert_eq!(brought(&first), None);
    for checkpoint in ["1", "2", "3"] {
        say(&mut worker, &first, checkpoint).await;
    }
    worker.report_one(make::fail(&first, "no")).await;
    let second = worker.next_delivery().await;
    assert_eq!(brought(&second), Some(&b"3"[..]));
    say(&mut worker, &second, "4").await;
    let report = pb::Report {
        checkpoint: Some(make::payload("of the report")),
        ..make::fail(&second, "no")
    };
    worker.report_one(report).await;
    let third = worker.next_delivery().await;
    assert_eq!(brought(&third), Some(&b"of the report"[..]));
    worker.report_one(make::fail(&third, "no")).await;
    let fourth = worker.next_delivery().await;
    assert_eq!(brought(&fourth), Some(&b"of the report"[..]), "it stays");
    worker.complete(&fourth).await;
}

#[tokio::test]
async fn a_recorded_checkpoint_and_an_extension_outlive_a_restart() {
    for end in End::ALL {
        let folder = folder();
        let harness = Harness::on(folder.path()).await;
        let mut worker = raw(&harness).await;
        let new = task(2, 1).timeouts(None, Some(Duration::from_secs(360)));
        let id = harness.enqueue(new).await;
        let delivery = worker.next_delivery().await;
        let beat = pb::Heartbeat {
            progress: Some(pb::Progress {
                done: 7,
                ..Default::default()
            }),
            checkpoint: Some(make::payload("7")),
            timeouts: Some(pb::Timeouts {
                hard: Some(make::ms(660_000)),
                ..Default::default()
            }),
            ..make::beat(&delivery)
        };
        worker.beat(vec![beat]).await;
        worker.next_beat_ack().await;
        let away = worker.cut();
        let harness = harness.again(end).await;
        let shown = harness.task(&id).await;
        assert_eq!(&*shown.checkpoint.unwrap().data, b"7", "{end:?}");
        let hard = shown.effective_timeouts.unwrap().hard;
        assert_eq!(hard, Some(make::ms(660_000)), "{end:?}");
        assert_eq!(shown.progress, None, "{end:?}: volatile");
        let mut back = away.resume(&[&delivery]).await;
        back.report_one(make::fail(&delivery, "no")).await;
        let again = back.next_delivery().await;
        assert_eq!(brought(&again), Some(&b"7"[..]), "{end:?}");
        assert_eq!(again.hard_timeout, Some(make::ms(360_000)), "{end:?}");
    }
}
