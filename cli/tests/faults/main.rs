//! Disks that fail under the real binary: a call to the disk that is refused ends the process, with
//! a message that says what failed, and nothing is acknowledged after it. A disk that is full
//! refuses what grows, goes on with what shrinks, and recovers by itself.
//!
//! Owns the course and what must hold; `tracer` makes calls fail, `producer` is who is answered,
//! `full_disk` has a disk that is really full. Where the machine lets nobody trace or mount, a test
//! says SKIPPED and why, and passes.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod full_disk;
mod producer;
mod tracer;

use std::{collections::BTreeSet, io::Write as _, process::ExitStatus, time::SystemTime};

use futures::TryStreamExt as _;
use producer::{Answer, Sent};
use redrive_client::Client;
use redrive_tests::process::{Coordinator, Folder, Setup};
use tracer::{Fault, Traced};

/// Tasks that are accepted before a test makes the disk fail, where it needs a journal.
const TASKS_BEFORE: usize = 20;

fn setup(folder: &Folder) -> Setup {
    Setup::new(env!("CARGO_BIN_EXE_redrive"), folder.path()).with(&[
        "--segment-size",
        "1MiB",
        "--log",
        "warn",
    ])
}

/// Says why a test does nothing here.
fn skipped(why: &str) {
    // Where nobody reads, nobody is told.
    drop(writeln!(std::io::stderr(), "SKIPPED: {why}"));
}

#[tokio::test]
async fn a_failed_sync_ends_it_with_nothing_acknowledged_after_it() {
    let faults = [1, 2, 4, 9, 25].map(|when| Fault::new("fdatasync", "EIO", when));
    all_end_it(&faults).await;
}

#[tokio::test]
async fn a_failed_write_ends_it_with_nothing_acknowledged_after_it() {
    let faults = [1, 6, 12, 20].map(|when| Fault::new("pwrite64", "EIO", when));
    all_end_it(&faults).await;
}

#[tokio::test]
async fn a_write_that_finds_no_room_ends_it_with_nothing_acknowledged_after_it() {
    let faults = [12, 20].map(|when| Fault::new("pwrite64", "ENOSPC", when));
    all_end_it(&faults).await;
}

#[tokio::test]
async fn a_failed_sync_of_the_directory_ends_it_with_nothing_acknowledged_after_it() {
    let faults = [1, 2, 3].map(|when| Fault::new("fsync", "EIO", when));
    all_end_it(&faults).await;
}

#[tokio::test]
async fn a_failed_rename_ends_it_with_nothing_acknowledged_after_it() {
    let faults = [1, 2, 4].map(|when| Fault::new(tracer::RENAME, "EIO", when));
    all_end_it(&faults).await;
}

#[tokio::test]
async fn a_failed_cut_of_a_torn_tail_ends_the_start_and_loses_nothing() {
    let fault = Fault::new("ftruncate", "EIO", 1);
    if !traceable(&fault) {
        return;
    }
    let folder = Folder::new(env!("CARGO_TARGET_TMPDIR"), "cut");
    let setup = setup(&folder);
    let mut coordinator = setup.start().await;
    let before = producer::send(&setup, &mut coordinator, TASKS_BEFORE).await;
    coordinator.kill();

    let (traced, mut coordinator) = Traced::start(&setup, &folder, &fault);
    let status = coordinator.end().await;
    drop(coordinator);
    assert!(
        traced.failed_at(&fault).is_some(),
        "nothing was cut: {traced:?}"
    );
    assert_clear(&setup, status, &fault);
    assert_kept(&setup, &before).await;
}

/// Whether this machine lets a test make calls fail; says so where it does not.
fn traceable(fault: &Fault) -> bool {
    tracer::possible(fault).map_err(|why| skipped(&why)).is_ok()
}

async fn all_end_it(faults: &[Fault]) {
    for fault in faults {
        if !traceable(fault) {
            return;
        }
        ends_it(fault).await;
    }
}

/// A coordinator whose call fails ends; what it had acknowledged is there when it is started again.
async fn ends_it(fault: &Fault) {
    let folder = Folder::new(env!("CARGO_TARGET_TMPDIR"), "fault");
    let setup = setup(&folder);
    let (traced, mut coordinator) = Traced::start(&setup, &folder, fault);
    let sent = producer::send_until_end(&setup, &mut coordinator).await;
    let status = coordinator.end().await;
    drop(coordinator);

    let failed_at = traced.failed_at(fault);
    let failed_at = failed_at.unwrap_or_else(|| panic!("{fault:?} was never met: {sent:?}"));
    assert_clear(&setup, status, fault);
    for one in &sent {
        let late = one.begun_at > failed_at && matches!(one.answer, Answer::Accepted(_));
        assert!(!late, "{fault:?}: acknowledged after the failure: {one:?}");
    }
    if fault.is_sync() {
        assert_synced_first(&traced, &sent);
    }
    assert_kept(&setup, &sent).await;
}

/// Each was sent when the one before had been answered, so a sync of its own lies between its sending
/// and its answer.
fn assert_synced_first(traced: &Traced, sent: &[Sent]) {
    let syncs = traced.succeeded_on_segments();
    for one in sent {
        let own = |at: &&SystemTime| (one.begun_at..=one.ended_at).contains(*at);
        let unsynced =
            matches!(one.answer, Answer::Accepted(_)) && !syncs.iter().any(|at| own(&at));
        assert!(!unsynced, "acknowledged without a sync: {one:?}, {syncs:?}");
    }
}

fn accepted(sent: &[Sent]) -> BTreeSet<String> {
    let ids = sent.iter().filter_map(|one| match &one.answer {
        Answer::Accepted(task_id) => Some(task_id.clone()),
        Answer::Refused(_) | Answer::Unknown => None,
    });
    ids.collect()
}

/// It ended by its own decision, and the last thing that it said tells what failed and how.
fn assert_clear(setup: &Setup, status: ExitStatus, fault: &Fault) {
    let said = setup.last_words();
    assert_eq!(status.code(), Some(1), "{fault:?}: {status}\n{said}");
    let last = said.lines().last().unwrap_or_default();
    let place = setup.data_dir().display().to_string();
    let names = |line: &str| line.contains("the journal cannot") || line.contains(&place);
    assert!(
        names(last) && last.contains(fault.says()),
        "{fault:?}: not clear: {said}"
    );
    assert!(!said.contains("panicked"), "{fault:?}: {said}");
}

/// Started again on a disk that is well, it has all that was acknowledged, and works.
async fn assert_kept(setup: &Setup, sent: &[Sent]) {
    let mut coordinator: Coordinator = setup.start().await;
    let client = Client::connect(&setup.address().to_string()).await.unwrap();
    let tasks = client.list(client.select("", ""));
    let found: BTreeSet<String> = tasks
        .map_ok(|task| task.task_id)
        .try_collect()
        .await
        .unwrap();
    let lost: Vec<_> = accepted(sent).difference(&found).cloned().collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    let more = producer::send(setup, &mut coordinator, 1).await;
    assert_eq!(accepted(&more).len(), 1, "{more:?}");
    coordinator.kill();
}
