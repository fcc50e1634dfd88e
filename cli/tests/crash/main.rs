//! SIGKILL, again and again: a real coordinator under load is killed at moments that nobody chose,
//! started on what it left behind, and at the end everything that it had acknowledged is there.
//!
//! Owns the course; `redrive_tests::load` is who works with it meanwhile and what is read at the end,
//! and `redrive_tests::history::check` the judge. Moments are conditions (so many more things were
//! seen), drawn from a seed that a failure tells, but for kills during a start, which come after a
//! time drawn from the same seed: a start tells nobody how far it is.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

use std::{fs, io::Write as _, path::Path, time::Duration};

use redrive_tests::{
    Dice, eventually,
    history::{
        Recorder,
        check::{self, Drained},
        summary,
    },
    load::{self, Context, Load, look},
    process::{Folder, Setup},
};

/// Real SIGKILLs of one test.
const ROUNDS: u32 = 50;
/// In so many of a thousand rounds the coordinator lives long enough to fill a segment.
const LONG_PER_MILLE: u64 = 60;
/// In so many of a thousand rounds the kill comes while the coordinator still starts.
const EARLY_PER_MILLE: u64 = 150;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_kills_lose_nothing_that_was_synced_before_it_was_acknowledged() {
    survive(0x5ca1_ab1e, &["--durability", "always"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_kills_lose_nothing_that_was_written_before_it_was_acknowledged() {
    survive(0x0ddb_a115, &["--durability", "interval"]).await;
}

async fn survive(seed: u64, flags: &[&str]) {
    let folder = Folder::new(env!("CARGO_TARGET_TMPDIR"), "crash");
    let setup = Setup::new(env!("CARGO_BIN_EXE_redrive"), folder.path())
        .with(&["--segment-size", "1MiB", "--log", "warn"])
        .with(&["--ping-interval", "200ms", "--grace", "800ms"])
        .with(flags);
    let mut dice = Dice::new(seed);
    let context = Context::new(setup.address(), Recorder::new());
    let coordinator = setup.start().await;
    let kinds = load::prepare(&context).await;
    coordinator.kill();
    let mut load = Load::begin(&context, &[setup.address()], &mut dice);

    for round in 0..ROUNDS {
        kill_once(&setup, &context, &mut dice, round).await;
    }
    let coordinator = setup.start().await;
    load.drain().await;
    look::until_all_ended(setup.address()).await;
    load.end().await;
    // What is read in the end is what a replay says.
    coordinator.kill();
    let coordinator = setup.start().await;
    look::at_everything(setup.address(), &context.history).await;
    load::assert_kept(&context, kinds).await;
    coordinator.kill();

    let entries = context.history.entries();
    let told = format!(
        "seed {seed:#x}, {:?}, {:?}",
        summary(&entries),
        folder.path()
    );
    // Where nobody reads, nobody is told.
    drop(writeln!(std::io::stderr(), "{told}"));
    let wrong = check::violations(&entries, Drained::Yes);
    assert!(
        wrong.is_empty(),
        "{} promises broken: {:#?}\n{told}\n{}",
        wrong.len(),
        wrong
            .iter()
            .take(20)
            .map(ToString::to_string)
            .collect::<Vec<_>>(),
        setup.last_words()
    );
    load::assert_lively(&context, &summary(&entries));
    assert_cleaned(setup.data_dir());
}

/// Every start opens a segment: where the first ones are gone, the cleaner was killed at its work too.
fn assert_cleaned(data_dir: &Path) {
    let names = fs::read_dir(data_dir).unwrap();
    let mut segments: Vec<String> = names
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("segment-"))
        .collect();
    segments.sort();
    let first = segments.first().unwrap();
    assert!(
        !first.ends_with("01.log"),
        "nothing was cleaned: {segments:?}"
    );
}

/// Starts the coordinator and kills it: after so much more was seen, or before it was ready.
async fn kill_once(setup: &Setup, context: &Context, dice: &mut Dice, round: u32) {
    let mut coordinator = setup.spawn();
    if dice.chance(EARLY_PER_MILLE) {
        let moment = Duration::from_millis(dice.between(0, 120));
        let ended = tokio::time::timeout(moment, coordinator.end()).await;
        assert!(
            ended.is_err(),
            "it ended by itself:\n{}",
            setup.last_words()
        );
    } else {
        coordinator.ready().await;
        let more = match dice.chance(LONG_PER_MILLE) {
            true => dice.between(1000, 1500),
            false => dice.between(1, 300),
        };
        let target = context.history.len() + usize::try_from(more).unwrap();
        let what = format!("{target} things were seen by round {round}");
        eventually(&what, async || {
            if let Some(status) = coordinator.ended() {
                panic!("it ended by itself ({status}):\n{}", setup.last_words());
            }
            (context.history.len() >= target).then_some(())
        })
        .await;
    }
    coordinator.kill();
}
