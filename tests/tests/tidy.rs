//! The rules of the house, as tests: sizes, arrows, forbidden words, docs that match the code.
//!
//! A rule that is only written down drifts. Each test names what is wrong, where, and the remedy.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Lines of a source file.
const FILE_LINES_MAX: usize = 500;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

/// Every source file below a folder of the workspace, with its path relative to the root.
fn sources(below: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(below)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let name = path
                    .strip_prefix(root())
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .to_owned();
                found.push((name, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    assert!(!found.is_empty(), "no sources below {below}");
    found.sort();
    found
}

fn all_sources() -> Vec<(String, String)> {
    [
        "proto/src",
        "coordinator/src",
        "worker",
        "client",
        "cli",
        "tests",
    ]
    .into_iter()
    .flat_map(sources)
    .collect()
}

/// The code of a file: without comments, and without the inline module of its tests.
fn code_of(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let lines = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn no_source_file_is_longer_than_500_lines() {
    for (name, text) in all_sources() {
        let lines = text.lines().count();
        assert!(
            lines <= FILE_LINES_MAX,
            "{name} has {lines} lines: split it by duty"
        );
    }
}

#[test]
fn every_module_says_what_it_owns() {
    for (name, text) in all_sources() {
        let head: Vec<&str> = text
            .lines()
            .take_while(|line| line.starts_with("//!"))
            .collect();
        assert!(
            !head.is_empty(),
            "{name} does not begin with //! what it owns and never does"
        );
    }
}

#[test]
fn the_engine_touches_nothing() {
    let forbidden = [
        "tokio",
        "tonic",
        "prost",
        "async ",
        "await",
        "std::fs",
        "std::net",
        "std::thread",
        "std::env",
        "Instant::",
        "SystemTime",
        "tracing",
        "println!",
        "rand::rng(",
        "redrive_proto",
        "crate::shell",
        "crate::server",
        "crate::journal",
        "crate::codec",
    ];
    for (name, text) in sources("coordinator/src/engine") {
        if name.contains("/tests/") {
            continue;
        }
        let code = code_of(&text);
        for word in forbidden {
            assert!(
                !code.contains(word),
                "{name} says {word:?}: the engine is pure"
            );
        }
    }
}

#[test]
fn arrows_between_modules_point_inwards() {
    let rules: [(&str, &[&str]); 4] = [
        (
            "coordinator/src/codec",
            &[
                "crate::shell",
                "crate::server",
                "engine::Engine",
                "std::fs",
                "tokio",
                "tonic",
                "prost",
                "redrive_proto",
            ],
        ),
        (
            "coordinator/src/journal",
            &[
                "crate::engine",
                "crate::shell",
                "crate::server",
                "tonic",
                "redrive_proto",
            ],
        ),
        (
            "coordinator/src/shell",
            &["crate::server", "tonic", "redrive_proto"],
        ),
        (
            "coordinator/src/server",
            &["crate::journal::Journal", "Engine::", "engine::Engine"],
        ),
    ];
    for (folder, forbidden) in rules {
        for (name, text) in sources(folder) {
            if name.contains("/tests") {
                continue;
            }
            let code = code_of(&text);
            for word in forbidden {
                assert!(
                    !code.contains(word),
                    "{name} says {word:?}: that arrow points outwards"
                );
            }
        }
    }
}

#[test]
fn crates_depend_only_as_the_design_draws_it() {
    let rules = [
        ("client", vec!["redrive-proto"]),
        ("coordinator", vec!["redrive-proto"]),
        ("proto", vec![]),
        ("worker", vec!["redrive-client", "redrive-proto"]),
    ];
    for (name, allowed) in rules {
        let manifest = fs::read_to_string(root().join(name).join("Cargo.toml")).unwrap();
        let ours = manifest.lines().filter(|line| line.starts_with("redrive-"));
        let ours: BTreeSet<&str> = ours
            .map(|line| line.split(['.', ' ']).next().unwrap())
            .collect();
        assert_eq!(ours, allowed.into_iter().collect(), "of {name}");
    }
}

#[test]
fn facts_change_only_through_the_one_door() {
    for (name, text) in sources("coordinator/src/engine") {
        if name.contains("/tests/") || name.ends_with("ledger/mod.rs") || name.ends_with("shard.rs")
        {
            continue;
        }
        let code = code_of(&text);
        assert!(
            !code.contains("ledger.apply("),
            "{name} applies events: only shard.rs does (I1)"
        );
    }
}

#[test]
fn only_one_place_asks_the_judge() {
    let asks = |text: &str| code_of(text).contains("retry::decide(");
    let places: Vec<String> = sources("coordinator/src")
        .into_iter()
        .filter(|(name, text)| !name.contains("engine/retry") && asks(text))
        .map(|(name, _)| name)
        .collect();
    assert_eq!(
        places,
        ["coordinator/src/engine/handlers/end_run.rs"],
        "I6: one judge"
    );
}

#[test]
fn tests_never_sleep() {
    let naps = [concat!("thread::", "sleep("), concat!("time::", "sleep(")];
    for (name, text) in all_sources() {
        let test = if name.contains("/tests") {
            text.as_str()
        } else {
            text.split_once("#[cfg(test)]").map_or("", |(_, test)| test)
        };
        let naps = naps.iter().filter(|nap| test.contains(**nap));
        assert_eq!(naps.count(), 0, "{name} sleeps: await a condition instead");
    }
}

#[test]
fn nothing_is_left_open() {
    let marks = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("todo", "!("),
        concat!("#[", "ignore"),
    ];
    for (name, text) in all_sources() {
        for mark in marks {
            assert!(
                !text.contains(mark),
                "{name} says {mark}: do it, or file it"
            );
        }
    }
}

#[test]
fn every_invariant_is_cited_by_a_test() {
    let map = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let numbers: Vec<String> = map
        .lines()
        .filter_map(|line| line.strip_prefix("- **I"))
        .filter_map(|line| line.split([' ', '*']).next())
        .map(|number| format!("I{number}"))
        .collect();
    assert!(
        numbers.len() >= 12,
        "ARCHITECTURE.md lists the invariants as `- **I1 ..`"
    );
    let tests: String = all_sources()
        .into_iter()
        .filter(|(name, text)| {
            name.contains("/tests")
                || name.ends_with("invariants.rs")
                || text.contains("#[cfg(test)]")
        })
        .map(|(_, text)| text)
        .collect();
    for number in numbers {
        let cited = tests.contains(&format!("{number}:"))
            || tests.contains(&format!("({number}"))
            || tests.contains(&format!(" {number})"))
            || tests.contains(&format!("fn {}_", number.to_lowercase()));
        assert!(cited, "no test cites {number}");
    }
}

#[test]
fn every_dependency_has_its_line() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let decided: String = fs::read_dir(root().join("docs/decisions"))
        .unwrap()
        .map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap())
        .collect();
    let section = manifest.split("[workspace.dependencies]").nth(1).unwrap();
    let section = section.split("\n[").next().unwrap();
    for line in section
        .lines()
        .filter(|line| line.contains('=') && !line.starts_with("redrive-"))
    {
        let name = line.split([' ', '=']).next().unwrap();
        let cited = decided.contains(&format!("| {name} |"));
        assert!(
            cited,
            "{name} has no line `| {name} | .. |` in docs/decisions"
        );
    }
}

#[test]
fn no_path_of_a_machine_is_in_the_tree() {
    let home = concat!("/wo", "rk/");
    for (name, text) in all_sources() {
        assert!(
            !text.contains(home),
            "{name} names a path of somebody's machine"
        );
    }
}
