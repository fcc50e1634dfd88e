//! The journal is cleaned while it runs: it stays small whatever went through it, and what lives is
//! there after a restart.
//!
//! Which records may go at which cut is the engine's own test; here the files are real.

use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Duration;

use redrive_client::NewTask;
use redrive_coordinator::journal::{self, DirStorage};
use redrive_proto::v1::TaskState;
use redrive_tests::process::Folder;
use redrive_tests::wait::{eventually, patiently};
use redrive_tests::{Harness, RawWorker, harness, make};

/// Bytes of a segment in tests, as the harness sets it.
const SEGMENT_BYTES: u64 = 1024 * 1024;
/// What goes through the journal, in segments: several times what the finished tasks take that are
/// kept for those who ask.
const SEGMENTS_THROUGH: u64 = 14;
/// Bytes of each task's payload.
const PAYLOAD_BYTES: usize = 2000;
/// Tasks enqueued, delivered and completed at once.
const AT_ONCE: usize = 100;
/// How long the work may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// Tasks go through until the journal has written so many segments.
async fn work(harness: &Harness, worker: &mut RawWorker) {
    let task = || NewTask::new("q", "k").bytes(vec![7; PAYLOAD_BYTES], "application/x-sevens");
    while written_bytes(harness).await < SEGMENTS_THROUGH * SEGMENT_BYTES {
        let tasks = (0..AT_ONCE).map(|_| task());
        let accepted = harness.client().enqueue_many(tasks).await;
        assert!(accepted.iter().all(Result::is_ok), "{accepted:?}");
        let mut done = Vec::with_capacity(AT_ONCE);
        for _ in 0..AT_ONCE {
            done.push(make::complete(&worker.next_delivery().await));
        }
        worker.report(done).await;
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a counter of bytes"
)]
async fn written_bytes(harness: &Harness) -> u64 {
    harness.metric("redrive_journal_written_bytes_total ").await as u64
}

/// Bytes of the segment files in a folder.
fn segment_bytes(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
    let segments = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("segm"));
    // One may be removed between its listing and its reading.
    let sizes = segments.filter_map(|entry| entry.metadata().ok());
    sizes.map(|data| data.len()).sum()
}

#[tokio::test]
async fn a_task_delayed_for_a_year_pins_nothing_and_is_there_after_a_restart() {
    let folder = Folder::new(env!("CARGO_TARGET_TMPDIR"), "cleaning");
    let harness = Harness::on(folder.path()).await;
    let old = harness
        .enqueue(NewTask::new("calendar", "remind").delay(YEAR))
        .await;
    let before = harness.task(&old).await;
    let hello = make::hello("w", "q", AT_ONCE.try_into().unwrap());
    let mut worker = RawWorker::hello(harness.address(), hello).await;

    patiently(PATIENCE, "the work", work(&harness, &mut worker)).await;

    let first = folder.path().join("segment-0000000000000001.log");
    eventually("the first segment goes", async || {
        (!first.exists()).then_some(())
    })
    .await;
    // At most a thousand finished tasks live; the bound is twice that, and half a segment before
    // cleaning begins, and the active one (docs/durability.md, "Its size").
    let live_bytes = 1100 * (PAYLOAD_BYTES as u64 + 400);
    eventually("the journal is within its bound", async || {
        let bytes = segment_bytes(folder.path());
        (bytes <= 2 * live_bytes + 2 * SEGMENT_BYTES).then_some(())
    })
    .await;

    drop(worker);
    let harness = harness.restart().await;
    let after = harness.task(&old).await;
    assert_eq!(after.state(), TaskState::Scheduled);
    assert_eq!(after.next_attempt_time, before.next_attempt_time);
    assert_eq!(after.spec, before.spec);
    let queue = harness.client().queue("q").await.unwrap();
    let counts = queue.counts.unwrap();
    let (accepted, done) = (counts.enqueued_total, counts.succeeded_total);
    assert_eq!(accepted, done, "totals survive every cut");
    assert!(accepted > 1100, "more went through than is remembered");
    harness.stop().await.unwrap();
    damage_and_repair(folder.path()).await;
}

/// A cleaned log that is damaged before the record that says what was cleaned starts after a repair,
/// and again after that.
async fn damage_and_repair(data_dir: &Path) {
    let mut segments: Vec<_> = std::fs::read_dir(data_dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "log"))
        .collect();
    segments.sort();
    let first = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(&segments[0])
        .unwrap();
    let (mut byte, at) = ([0], 6000);
    first.read_exact_at(&mut byte, at).unwrap();
    first.write_all_at(&[!byte[0]], at).unwrap();

    let mut config = harness::config();
    harness::keep(&mut config, data_dir);
    let refused = Harness::begin(config.clone()).await.unwrap_err();
    assert!(refused.is_damage(), "{refused}");
    let storage = DirStorage::existing(data_dir).unwrap();
    let repaired = journal::repair(&storage, true).unwrap();
    assert!(repaired.damage.is_some() && !repaired.set_aside.is_empty());
    for _ in 0..2 {
        let harness = Harness::begin(config.clone()).await.unwrap();
        harness.still_serves().await;
        harness.stop().await.unwrap();
    }
    assert!(!data_dir.join("REPAIRED").exists(), "said by a record now");
}
