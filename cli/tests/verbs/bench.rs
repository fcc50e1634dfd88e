//! `bench` as its users meet it: small numbers of tasks, whole processes. What comes out is checked
//! for its form and its books, never for how fast it was.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead as _, BufReader},
    process::{Command, Output, Stdio},
};

use serde_json::Value;

use super::stage::{Process, Stage, redrive, stderr};

/// Runs a bench of its own coordinator in a directory that must be empty afterwards.
fn bench(words: &[&str]) -> Output {
    let dir = tempfile::tempdir().unwrap();
    let mut command = redrive();
    command.arg("bench").args(words);
    let output = command.arg("--data-dir").arg(dir.path()).output().unwrap();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "{words:?}");
    output
}

fn report(output: &Output) -> Value {
    assert!(output.status.success(), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["self_check"]["ok"], true);
    report
}

/// The figures of a phase, each with a value of this name that is more than nothing.
fn rows(report: &Value, phase: &str, value: &str) -> BTreeSet<String> {
    let phases = report["phases"].as_array().unwrap();
    let phase = phases.iter().find(|one| one["phase"] == phase).unwrap();
    assert_eq!(phase["self_check"]["ok"], true, "{phase}");
    let row = |figure: &Value| {
        assert!(figure[value].as_f64().unwrap() > 0.0, "{figure}");
        figure["name"].as_str().unwrap().to_owned()
    };
    phase["figures"]
        .as_array()
        .unwrap()
        .iter()
        .map(row)
        .collect()
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

#[test]
fn rates_are_measured_and_every_task_is_done_once() {
    let output = bench(&["enqueue", "drain", "steady", "--tasks", "500", "-o", "json"]);
    let report = report(&output);
    let rate = "rate_per_second";
    let wanted = [
        "unary_1",
        "unary_64",
        "unary_256",
        "batch_100",
        "batch_1000",
        "stream",
        "stream_sdk",
    ];
    assert_eq!(rows(&report, "enqueue", rate), names(&wanted));
    assert_eq!(rows(&report, "drain", rate), names(&["drain"]));
    assert_eq!(rows(&report, "steady", rate), names(&["steady"]));
    let check = &report["phases"][2]["self_check"];
    assert_eq!(check["enqueued"], check["done"]);
    assert_eq!(report["coordinator"]["own_process"], true);
    assert!(stderr(&output).contains("measuring drain"));
}

#[test]
fn rates_are_told_as_shares_of_the_bare_servers_and_as_medians() {
    let words = "baseline enqueue drain steady --tasks 200 --runs 2 --queues 3 --keys -o json";
    let report = report(&bench(&words.split(' ').collect::<Vec<_>>()));
    let rate = "rate_per_second_max";
    let wanted = [
        "unary_1",
        "unary_64",
        "unary_256",
        "stream",
        "deliver",
        "steady",
    ];
    assert_eq!(rows(&report, "baseline", rate), names(&wanted));
    assert_eq!(rows(&report, "drain", "share_of_bare"), names(&["drain"]));
    assert_eq!(rows(&report, "steady", "share_of_bare"), names(&["steady"]));
    assert!(
        report["phases"][0]["figures"][0]
            .get("share_of_bare")
            .is_none()
    );
}

#[test]
fn latencies_retries_timers_memory_and_idle_workers_have_their_figures() {
    let words = "sync latency retries timers memory idle --tasks 200 --duration 200ms -o json";
    let report = report(&bench(&words.split(' ').collect::<Vec<_>>()));
    let of = |phase, value| rows(&report, phase, value);
    let syncs = names(&["zeroed", "growing", "append_1", "append_256"]);
    assert_eq!(of("sync", "rate_per_second"), syncs);
    let stations = names(&["sent", "accepted", "started", "recorded"]);
    assert_eq!(of("latency", "p99_9_us"), stations);
    assert_eq!(of("retries", "rate_per_second"), names(&["runs"]));
    let timers = names(&[
        "started",
        "other_before",
        "other_during",
        "spread",
        "spread_started",
    ]);
    assert_eq!(of("timers", "count"), timers);
    assert_eq!(of("memory", "rss_bytes_per_task"), names(&["waiting"]));
    assert_eq!(of("idle", "count"), names(&["bare", "idle"]));
}

#[test]
fn a_running_coordinator_is_measured_where_one_is_named() {
    let stage = Stage::new();
    let words = ["bench", "steady", "--tasks", "300", "-o", "jsonl"];
    let report: Value = serde_json::from_str(&stage.ok(&words)).unwrap();
    assert_eq!(report["coordinator"]["own_process"], false);
    let figure = &report["phases"][0]["figures"][0];
    assert_eq!(figure.get("coordinator_cpu_us_per_item"), None);
    assert!(stage.ok(&["queue", "list"]).contains("-steady-1-steady-0"));

    let refused = stage.run(&["bench", "memory"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(stderr(&refused).contains("--address"), "{refused:?}");
}

#[test]
fn what_cannot_be_measured_is_refused_with_the_remedy() {
    for (words, parts) in [
        (&["speed"][..], &["speed", "sync, baseline, enqueue"][..]),
        (&["drain", "--payload", "2MiB"], &["--payload", "1 MiB"]),
        (&["drain", "--runs", "0"], &["--runs", "1..=99"]),
    ] {
        let output = bench(words);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        for part in parts {
            assert!(stderr(&output).contains(part), "{}", stderr(&output));
        }
    }
    let mut nowhere = redrive();
    nowhere.args(["bench", "sync", "--data-dir", "/no/such/place"]);
    let output = nowhere.output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("/no/such/place"), "{output:?}");
}

/// The children of a process, whichever of its threads started them.
fn children(pid: u32) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    threads
        .map(|thread| thread.unwrap().path().join("children"))
        .flat_map(|path| {
            let text = fs::read_to_string(path).unwrap_or_default();
            let pids = text.split_whitespace().map(|pid| pid.parse().unwrap());
            pids.collect::<Vec<u32>>()
        })
        .collect()
}

#[test]
fn a_signal_ends_it_and_all_that_it_started() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = redrive()
        .args(["bench", "latency", "--duration", "1h", "--data-dir"])
        .arg(dir.path())
        .stderr(Stdio::piped())
        .spawn()
        .map(Process)
        .unwrap();
    let mut lines = BufReader::new(child.0.stderr.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().contains("measuring latency"));
    let started = loop {
        if let Some(started) = children(child.0.id()).first() {
            break *started;
        }
        std::thread::yield_now();
    };
    let pid = child.0.id().to_string();
    let sent = Command::new("kill").args(["-INT", &pid]).status();
    assert!(sent.unwrap().success());
    assert_eq!(child.0.wait().unwrap().code(), Some(130));
    assert!(lines.any(|line| line.unwrap().contains("SIGINT")));
    let stat = || fs::read_to_string(format!("/proc/{started}/stat")).unwrap_or_default();
    while !(stat().is_empty() || stat().contains(") Z")) {
        std::thread::yield_now();
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}
