//! Chaos over real sockets: a coordinator and workers in processes of their own, behind networks that
//! delay, narrow, cut, half-open and swallow, while processes are stopped and killed and clients behave
//! badly.
//!
//! Owns the seeds and what must at least have happened. The courses are `redrive_tests::chaos`, the
//! judge is `redrive_tests::history::check`. A failure tells the seed and the command that repeats it.

use std::io::Write as _;

use redrive_tests::chaos::{self, Report, Settings, flood, sleep};

/// Faults of the one episode that runs here; `chaos` of `redrive-tests` plays as many as one likes.
const FAULTS: u32 = 60;
/// Of that episode.
const SEED: u64 = 0x0dd_ba11;
/// Most memory that a coordinator may have had in it, in bytes: its tasks' and much more.
const MEMORY_MAX_BYTES: u64 = 512 << 20;

fn settings(seed: u64) -> Settings {
    Settings {
        program: env!("CARGO_BIN_EXE_redrive").to_owned(),
        folder: env!("CARGO_TARGET_TMPDIR").into(),
        seed,
        faults: FAULTS,
    }
}

fn told(report: &Report, memory_max_bytes: u64) {
    // Where nobody reads, nobody is told.
    drop(writeln!(std::io::stderr(), "{report}"));
    report.assert_kept();
    assert!(report.memory_peak_bytes <= memory_max_bytes, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_networks_stopped_processes_and_rude_clients_lose_nothing() {
    let command = chaos::command(SEED, FAULTS);
    drop(writeln!(std::io::stderr(), "to repeat it: {command}"));
    let report = chaos::episode(&settings(SEED)).await;
    told(&report, MEMORY_MAX_BYTES);
    for (sort, least) in [
        ("accepted", 1000),
        ("unknown", 10),
        ("deliveries", 1000),
        ("reports recorded", 1000),
        ("reports duplicate", 10),
        ("runs abandoned", 10),
        ("cancels over", 5),
        ("redrives done", 5),
        ("follow-ups of successes found", 50),
        ("links found", 50),
    ] {
        assert!(report.count(sort) >= least, "too little happened: {report}");
    }
    assert_eq!(report.faults_total(), FAULTS, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_coordinator_that_slept_beyond_the_grace_blames_no_worker() {
    let report = sleep::episode(&settings(SEED)).await;
    told(&report, MEMORY_MAX_BYTES);
    assert!(report.count("deliveries") >= 1000, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_take_all_they_can_get_take_no_more_memory_than_there_is_for_them() {
    let report = flood::episode(&settings(SEED)).await;
    told(&report, flood::MEMORY_MAX_BYTES);
    assert!(report.count("accepted") >= 40, "{report}");
}
