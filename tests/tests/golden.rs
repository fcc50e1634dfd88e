//! A journal that an earlier build wrote is read for ever: what was in it is there.
//!
//! Owns the golden logs in `tests/golden`, one folder for each version of the format. They were
//! written once, by a coordinator, and never change.

use std::collections::BTreeMap;
use std::path::Path;

use futures::TryStreamExt as _;
use redrive_coordinator::run::verify;
use redrive_proto::v1::{self as pb, TaskState};
use redrive_tests::process::Folder;
use redrive_tests::{Harness, harness};

const VERSION_1: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/golden/journal-1");

/// A copy that may be written to.
fn copy_of(golden: &str) -> Folder {
    let folder = Folder::new(env!("CARGO_TARGET_TMPDIR"), "golden");
    for file in std::fs::read_dir(golden).unwrap().map(Result::unwrap) {
        std::fs::copy(file.path(), folder.path().join(file.file_name())).unwrap();
    }
    folder
}

async fn started_on(data_dir: &Path) -> Harness {
    let mut config = harness::config();
    harness::keep(&mut config, data_dir);
    config.shard_count = 4;
    Harness::begin(config).await.unwrap()
}

/// All tasks, by their kind, whole.
async fn tasks(harness: &Harness) -> BTreeMap<String, pb::Task> {
    let selection = harness.client().select("", "");
    let listed: Vec<pb::Task> = harness
        .client()
        .list(selection)
        .try_collect()
        .await
        .unwrap();
    let mut tasks = BTreeMap::new();
    for task in listed {
        let task = harness.task(&task.task_id).await;
        tasks.insert(task.spec.clone().unwrap().kind, task);
    }
    tasks
}

#[tokio::test]
async fn a_journal_of_format_1_is_read_and_gone_on_with() {
    let folder = copy_of(VERSION_1);
    let verified = verify(folder.path()).unwrap();
    assert_eq!((verified.records, verified.shards), (29, 4));
    assert_eq!((verified.queues, verified.tasks), (4, 6));

    let mut harness = started_on(folder.path()).await;
    for _ in 0..2 {
        let tasks = tasks(&harness).await;
        // "ok" had ended, and is forgotten an hour after; "remind" was due in a year.
        for (kind, state) in [
            ("bad", TaskState::Dead),
            ("send", TaskState::Ready),
            ("ship", TaskState::Ready),
        ] {
            assert_eq!(tasks[kind].state(), state, "{kind}");
        }
        assert!(tasks.contains_key("remind"));
        let flaky = &tasks["flaky"].task_id;
        harness.task_in(flaky, TaskState::Ready).await;
        let send = tasks["send"].spec.clone().unwrap();
        assert_eq!(send.payload.unwrap().data, r#"{"to":"ann"}"#);
        assert_eq!(send.labels["customer"], "4711");
        assert_eq!(
            tasks["send"].task_id,
            "01a21544-82d6-7000-8000-00016ac95278"
        );
        let [run] = &tasks["bad"].history[..] else {
            panic!("{:?}", tasks["bad"])
        };
        assert_eq!((run.run, &*run.worker_id), (1, "w2"));
        assert_eq!(
            run.failure.as_ref().unwrap().message,
            "the command exited with 65: bad data"
        );
        assert!(tasks["flaky"].runs >= 1);
        assert_eq!(tasks["ship"].effective_retry_policy, "sidekiq");

        let orders = harness.client().queue("orders").await.unwrap();
        assert_eq!(
            (orders.paused, &*orders.pause_reason),
            (true, "stock taking")
        );
        let work = harness
            .client()
            .queue("work")
            .await
            .unwrap()
            .counts
            .unwrap();
        assert_eq!((work.enqueued_total, work.succeeded_total), (3, 1));
        harness = harness.restart().await;
    }
    harness.stop().await.unwrap();
}
