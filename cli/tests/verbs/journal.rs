//! `journal` as operators use it: a journal that is well, one that is torn, one that is damaged.

use std::{
    fs::OpenOptions,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::Output,
};

use redrive_tests::process::{Folder, Setup};
use serde_json::Value;

use super::stage::{redrive, stderr};

/// Where the first frame of a segment begins, and some bytes into its body.
const IN_THE_FIRST_FRAME: u64 = 4096 + 60;

fn journal(words: &[&str], dir: &Path) -> Output {
    redrive()
        .arg("journal")
        .args(words)
        .arg(dir)
        .output()
        .unwrap()
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &stderr(output)
}

/// A data directory with some tasks in it, whose coordinator was killed.
async fn used(folder: &Folder) -> Setup {
    let setup = Setup::new(env!("CARGO_BIN_EXE_redrive"), folder.path());
    let setup = setup.with(&["--segment-size", "1MiB", "--log", "warn"]);
    let coordinator = setup.start().await;
    for _ in 0..3 {
        let enqueued = redrive()
            .args(["task", "enqueue", "send", "-q", "mail"])
            .env("REDRIVE_ADDRESS", setup.address().to_string())
            .output()
            .unwrap();
        assert!(enqueued.status.success(), "{}", told(&enqueued));
    }
    coordinator.kill();
    setup
}

fn first_segment(setup: &Setup) -> PathBuf {
    setup.data_dir().join("segment-0000000000000001.log")
}

fn flip(path: &Path, offset: u64) {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[!byte[0]], offset).unwrap();
}

#[tokio::test]
async fn a_journal_that_is_well_is_shown_and_verified() {
    let folder = Folder::new(env!("CARGO_TARGET_TMPDIR"), "journal");
    let setup = used(&folder).await;
    let shown = journal(&["inspect"], setup.data_dir());
    assert_eq!(shown.status.code(), Some(0), "{}", told(&shown));
    let text = told(&shown);
    assert!(text.contains("SEGMENT") && text.contains("Good"), "{text}");
    assert!(
        text.lines().all(|line| line.chars().count() <= 80),
        "{text}"
    );

    let verified = journal(&["verify", "-o", "json"], setup.data_dir());
    assert_eq!(verified.status.code(), Some(0), "{}", told(&verified));
    let found: Value = serde_json::from_slice(&verified.stdout).unwrap();
    assert_eq!((&found["tasks"], &found["queues"]), (&3.into(), &1.into()));

    let repaired = journal(&["repair"], setup.data_dir());
    assert_eq!(repaired.status.code(), Some(0));
    assert!(told(&repaired).contains("nothing to cut"));
}

#[tokio::test]
async fn damage_is_refused_told_and_repaired_only_with_consent() {
    let folder = Folder::new(env!("CARGO_TARGET_TMPDIR"), "journal");
    let setup = used(&folder).await;
    // Another start seals the first segment: nothing in it can be a torn write then.
    setup.start().await.kill();
    flip(&first_segment(&setup), IN_THE_FIRST_FRAME);

    for words in [&["inspect"][..], &["verify"], &["repair"]] {
        let refused = journal(words, setup.data_dir());
        assert_eq!(refused.status.code(), Some(78), "{}", told(&refused));
        let text = told(&refused);
        let remedies = text.matches("--accept-loss").count();
        assert_eq!(remedies, 1, "told once: {text}");
        for part in ["segment-0000000000000001.log", "4096"] {
            assert!(text.contains(part), "{words:?} does not say {part}: {text}");
        }
    }
    let mut refused = setup.spawn();
    assert_eq!(
        refused.end().await.code(),
        Some(78),
        "{}",
        setup.last_words()
    );
    let words = setup.last_words();
    assert!(words.contains("--accept-loss"), "{words}");

    let repaired = journal(&["repair", "--accept-loss"], setup.data_dir());
    assert_eq!(repaired.status.code(), Some(0), "{}", told(&repaired));
    assert!(told(&repaired).contains(".lost"), "{}", told(&repaired));
    setup.start().await.kill();
}

#[tokio::test]
async fn a_running_coordinator_keeps_its_journal_to_itself() {
    let folder = Folder::new(env!("CARGO_TARGET_TMPDIR"), "journal");
    let setup = used(&folder).await;
    let running = setup.start().await;
    for words in [&["verify"][..], &["repair", "--accept-loss"]] {
        let refused = journal(words, setup.data_dir());
        assert_eq!(refused.status.code(), Some(1), "{}", told(&refused));
        let text = told(&refused);
        assert!(text.contains("in use by another process"), "{text}");
    }
    running.kill();
}

#[test]
fn what_is_no_journal_is_named_with_the_remedy() {
    let folder = Folder::new(env!("CARGO_TARGET_TMPDIR"), "journal");
    let nowhere = journal(&["inspect"], &folder.path().join("nowhere"));
    assert_eq!(nowhere.status.code(), Some(1));
    let text = told(&nowhere);
    assert!(
        text.contains("nowhere") && text.contains("--data-dir"),
        "{text}"
    );
    let empty = journal(&["inspect"], folder.path());
    assert_eq!(empty.status.code(), Some(0));
    assert!(
        told(&empty).contains("holds no journal"),
        "{}",
        told(&empty)
    );
    let empty = journal(&["verify"], folder.path());
    assert_eq!(empty.status.code(), Some(1));
    let text = told(&empty);
    assert!(text.contains("holds no journal"), "{text}");
    let left = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(left, 0, "a look leaves nothing behind");
}

#[test]
fn a_coordinator_is_told_where_its_journal_lies_or_that_there_is_none() {
    let asked = redrive()
        .args(["coordinator", "--listen", "127.0.0.1:0"])
        .output()
        .unwrap();
    assert_eq!(asked.status.code(), Some(2));
    let text = told(&asked);
    assert!(
        text.contains("--data-dir") && text.contains("--durability memory"),
        "{text}"
    );
}
