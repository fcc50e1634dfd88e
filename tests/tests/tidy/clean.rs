//! What tests must not do, and what no source may leave behind.
//!
//! Owns the rules against sleeping, ignoring, leaving open and naming a machine. Never judges what a
//! test claims.

use std::collections::BTreeSet;

use crate::rust::Rust;
use crate::tree::{Finding, Source, assert_finds, assert_none, pages, sources};

/// Where time itself is what a test is about: how long a fault lasts, and how late a bad network is.
const CLOCKS: [&str; 2] = ["tests/src/wait.rs", "tests/src/proxy/pump.rs"];

/// Ways to let time go by instead of waiting for something: words one after another.
const NAPS: [&[&str]; 6] = [
    &["thread", "::", "sleep"],
    &["thread", "::", "park_timeout"],
    &["time", "::", "sleep"],
    &["time", "::", "sleep_until"],
    &["sleep", "("],
    &["sleep_until", "("],
];

fn naps(source: &Source) -> Vec<Finding> {
    let may = ["sleep", "park_timeout", "pause"];
    let clock = CLOCKS.contains(&&*source.path);
    if clock || !may.iter().any(|word| source.text.contains(word)) {
        return Vec::new();
    }
    let rust = Rust::of(source);
    let mut lines = BTreeSet::new();
    for nap in NAPS {
        let of_a_test = |line: &usize| source.is_test() || rust.in_test(*line);
        lines.extend(rust.lines_of(nap).into_iter().filter(of_a_test));
    }
    // Over real sockets a paused clock runs ahead of them: whatever waits for one times out.
    let whole = source.path.starts_with("tests/") || source.path.split('/').nth(1) == Some("tests");
    let pauses = [&["start_paused"][..], &["time", "::", "pause"]].map(|it| rust.lines_of(it));
    lines.extend(pauses.concat().into_iter().filter(|_| whole));
    let find = |line| {
        Finding::new(
            &source.path,
            line,
            "a test lets time go by: await a condition instead",
        )
    };
    lines.into_iter().map(find).collect()
}

fn ignored(source: &Source) -> Vec<Finding> {
    if !source.text.contains("ignore") {
        return Vec::new();
    }
    let rust = Rust::of(source);
    let lines = [
        rust.lines_of(&["[", "ignore"]),
        rust.lines_of(&["[", "should_panic", "]"]),
    ];
    let [ignored, vague] = lines;
    let find = |line, says| Finding::new(&source.path, line, says);
    let ignored = ignored
        .into_iter()
        .map(|line| find(line, "an ignored test: mend it or take it out"));
    let vague = vague
        .into_iter()
        .map(|line| find(line, "panics of what? say `expected`"));
    ignored.chain(vague).collect()
}

/// Marks of what somebody meant to do.
fn marks(source: &Source) -> Vec<Finding> {
    let marks = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X"),
        concat!("todo", "!("),
    ];
    let lines = (1..).zip(source.text.lines());
    let marked = lines.flat_map(|(line, text)| {
        let here = marks.iter().filter(move |mark| text.contains(**mark));
        here.map(move |mark| {
            Finding::new(
                &source.path,
                line,
                format!("says {mark}: do it, or file it"),
            )
        })
    });
    marked.collect()
}

/// Lines that name a path of the machine that it was written on.
fn machine_paths(source: &Source) -> Vec<Finding> {
    let homes = [
        concat!("/wo", "rk/"),
        concat!("/ho", "me/"),
        concat!("/ro", "ot/"),
        concat!("/Us", "ers/"),
    ];
    let lines = (1..).zip(source.text.lines());
    let found = lines.filter(|(_, text)| homes.iter().any(|home| text.contains(home)));
    found
        .map(|(line, _)| {
            Finding::new(
                &source.path,
                line,
                "a path of somebody's machine: make it relative",
            )
        })
        .collect()
}

#[test]
fn tests_never_sleep() {
    assert_none(sources().iter().flat_map(naps).collect());
}

#[test]
fn no_test_is_ignored_and_none_panics_of_just_anything() {
    assert_none(sources().iter().flat_map(ignored).collect());
}

#[test]
fn nothing_is_left_open() {
    assert_none(sources().iter().chain(&pages()).flat_map(marks).collect());
}

#[test]
fn no_path_of_a_machine_is_in_the_tree() {
    assert_none(
        sources()
            .iter()
            .chain(&pages())
            .flat_map(machine_paths)
            .collect(),
    );
}

#[test]
fn a_test_that_naps_is_found() {
    let found = |path: &str, text: &str| naps(&Source::new(path, text));
    let nap = "fn f() {\n    tokio::time::sleep(a).await;\n}";
    assert_finds(&found("a/tests/b.rs", nap), 2, "await a condition");
    assert_eq!(found("a/src/b.rs", nap), []);
    assert_finds(
        &found(
            "a/src/b.rs",
            &format!("#[cfg(test)]\nmod tests {{ {nap} }}"),
        ),
        3,
        "await",
    );
    assert_finds(
        &found(
            "a/tests/b.rs",
            "use std::thread::sleep;\nfn f() { sleep(a) }",
        ),
        2,
        "await",
    );
    assert_finds(
        &found(
            "a/tests/b.rs",
            "#[tokio::test(start_paused = true)]\nasync fn a() {}",
        ),
        1,
        "await",
    );
    assert_eq!(
        found(
            "a/tests/b.rs",
            "fn f() { run(\"sleep 9\") } // time::sleep("
        ),
        []
    );
}

#[test]
fn what_is_left_open_or_ignored_is_found() {
    let open = Source::new("a.rs", concat!("\n// TO", "DO: later\n"));
    assert_finds(&marks(&open), 2, "do it");
    let test = Source::new(
        "a.rs",
        "#[test]\n#[ignore]\nfn a() {}\n#[test]\n#[should_panic]\nfn b() {}",
    );
    assert_finds(&ignored(&test), 2, "ignored");
    assert_finds(&ignored(&test), 5, "expected");
    let homely = Source::new("a.md", concat!("in /ho", "me/ann/x"));
    assert_finds(&machine_paths(&homely), 1, "relative");
}
