//! Versions of payloads, and tasks that no worker runs.

use std::sync::Arc;
use std::time::Duration;

use redrive_client::NewTask;
use redrive_proto::v1::{self as pb, TaskState};
use redrive_tests::harness::End;
use redrive_tests::{Harness, RawWorker, SdkWorker, eventually, make};
use redrive_worker::{State, TaskContext, TaskResult};

use super::{Notes, folder, note, noted, raw, sdk};

fn versioned(version: u32) -> NewTask {
    NewTask::new("q", "charge").schema_version(version)
}

async fn charge(State(notes): State<Notes>, task: TaskContext) -> TaskResult<()> {
    let version = task.schema_version();
    note(&notes, format!("{version:?}"));
    Ok(())
}

async fn charge_new(State(notes): State<Notes>, task: TaskContext) -> TaskResult<()> {
    let version = task.schema_version();
    note(&notes, format!("new {version:?}"));
    Ok(())
}

async fn no_worker(harness: &Harness, id: &str) {
    eventually("nobody runs it", async || {
        let task = harness.task(id).await;
        assert_eq!(task.state(), TaskState::Ready);
        (task.state_reason == "NO_WORKER").then_some(())
    })
    .await;
}

async fn unserved(harness: &Harness) -> Vec<(String, u32, u64)> {
    let queue = harness.client().queue("q").await.unwrap();
    let unserved = queue.unserved.into_iter();
    unserved
        .map(|it| (it.kind, it.schema_version, it.ready))
        .collect()
}

#[tokio::test]
async fn in_a_rolling_deploy_each_version_goes_to_those_that_know_it_and_blocks_nobody() {
    let harness = Harness::start().await;
    let (of_old, of_new) = (Notes::default(), Notes::default());
    let old = sdk(&harness)
        .worker_id("old")
        .with_state(Arc::clone(&of_old));
    let old = old.task_versions("charge", 0..=2, charge).build();
    let old = SdkWorker::start(old.unwrap());
    let early = harness.enqueue(versioned(3)).await;
    let mut ids = Vec::new();
    for version in [0, 1, 2, 2] {
        ids.push(harness.enqueue(versioned(version)).await);
    }
    for id in &ids {
        let ended = harness.end_of(id).await;
        assert_eq!(&*ended.history[0].worker_id, "old");
    }
    no_worker(&harness, &early).await;
    assert_eq!(unserved(&harness).await, [("charge".to_owned(), 3, 1)]);
    let new = sdk(&harness)
        .worker_id("new")
        .with_state(Arc::clone(&of_new));
    let new = new
        .task_versions("charge", 2..=2, charge)
        .task_versions("charge", 3.., charge_new)
        .build();
    let new = SdkWorker::start(new.unwrap());
    let ended = harness.end_of(&early).await;
    assert_eq!(&*ended.history[0].worker_id, "new");
    assert_eq!(ended.runs, 1, "it was never handed to anybody else");
    old.stop().await;
    let unknown = harness.enqueue(versioned(0)).await;
    let known = harness.enqueue(versioned(7)).await;
    harness.end_of(&known).await;
    no_worker(&harness, &unknown).await;
    new.stop().await;
    let mut old = noted(&of_old);
    old.sort_unstable();
    assert_eq!(old, ["None", "Some(1)", "Some(2)", "Some(2)"]);
    assert_eq!(noted(&of_new), ["new Some(3)", "new Some(7)"]);
}

#[tokio::test]
async fn a_plain_name_takes_every_version_and_no_name_every_kind() {
    let harness = Harness::start().await;
    let plain = pb::WorkerInfo {
        kinds: vec!["charge".to_owned()],
        ..make::worker_info("plain", "q")
    };
    let everything = make::worker_info("everything", "q");
    for info in [plain, everything] {
        let hello = pb::Hello {
            worker: Some(info),
            ..make::hello("w", "q", 1)
        };
        let mut worker = RawWorker::hello(harness.address(), hello).await;
        for version in [0, 1, u32::MAX] {
            harness.enqueue(versioned(version)).await;
            let delivery = worker.next_delivery().await;
            assert_eq!(delivery.schema_version, version);
            worker.complete(&delivery).await;
        }
        let goodbye = pb::work_request::Message::Goodbye(pb::Goodbye::default());
        worker.say(goodbye).await;
        worker.ended().await.unwrap();
    }
}

#[tokio::test]
async fn a_task_that_nobody_runs_is_shown_and_waits_until_somebody_does() {
    let harness = Harness::start().await;
    let id = harness.enqueue(NewTask::new("q", "rare")).await;
    let other = harness.enqueue(versioned(3)).await;
    no_worker(&harness, &id).await;
    no_worker(&harness, &other).await;
    assert_eq!(
        unserved(&harness).await,
        [("charge".to_owned(), 3, 1), ("rare".to_owned(), 0, 1)]
    );
    let mut worker = raw(&harness).await;
    let (one, two) = (worker.next_delivery().await, worker.next_delivery().await);
    assert_eq!((one.task_id, two.task_id.clone()), (id, other.clone()));
    worker.complete(&two).await;
    let brief = harness.enqueue(NewTask::new("nobody", "rare").ttl(Duration::from_millis(50)));
    let dead = harness.end_of(&brief.await).await;
    assert_eq!(&*dead.state_reason, "TTL_EXPIRED");
    assert_eq!(unserved(&harness).await, []);
    let free = harness.enqueue(versioned(9)).await;
    let task = harness.task(&free).await;
    assert_ne!(&*task.state_reason, "NO_WORKER", "somebody runs every kind");
}

#[tokio::test]
async fn versions_and_what_nobody_runs_are_known_after_a_restart() {
    for end in End::ALL {
        let folder = folder();
        let harness = Harness::on(folder.path()).await;
        let new = harness.enqueue(versioned(3)).await;
        let old = harness.enqueue(versioned(1)).await;
        let harness = harness.again(end).await;
        no_worker(&harness, &new).await;
        let expected = [1, 3].map(|version| ("charge".to_owned(), version, 1));
        assert_eq!(unserved(&harness).await, expected, "{end:?}");
        let declared = pb::KindDeclaration {
            kind: "charge".to_owned(),
            version_max: 2,
            ..Default::default()
        };
        let info = pb::WorkerInfo {
            declared_kinds: vec![declared],
            ..make::worker_info("w", "q")
        };
        let hello = pb::Hello {
            worker: Some(info),
            ..make::hello("w", "q", 5)
        };
        let mut worker = RawWorker::hello(harness.address(), hello).await;
        let delivery = worker.next_delivery().await;
        assert_eq!((&delivery.task_id, delivery.schema_version), (&old, 1));
        worker.complete(&delivery).await;
        worker.round_trip().await;
        assert!(worker.deliveries.is_empty(), "{end:?}");
        let expected = [("charge".to_owned(), 3, 1)];
        assert_eq!(unserved(&harness).await, expected, "{end:?}");
    }
}
