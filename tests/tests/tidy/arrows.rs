//! Which module may name which: the arrows of ARCHITECTURE.md, one row a module.
//!
//! Owns the map. A module without a row is a finding, so that a new one is drawn first. Reads paths
//! (`crate::`, `super::`, in macros too), never what they stand for.

use std::collections::BTreeSet;

use crate::rust::Rust;
use crate::tree::{Finding, Source, assert_finds, assert_none, below, read};

/// A module of the coordinator, and the others that it may name besides its own. A name covers what
/// is below it; `engine::*` are all modules of the engine.
const MAP: [(&str, &[&str]); 34] = [
    // The engine, from the bottom up.
    ("engine::limits", &[]),
    ("engine::dense", &[]),
    ("engine::ids", &["engine::limits"]),
    ("engine::failure", &["engine::limits"]),
    ("engine::clocks", &["engine::ids"]),
    ("engine::rejection", &["engine::ids"]),
    (
        "engine::retry",
        &["engine::failure", "engine::ids", "engine::limits"],
    ),
    (
        "engine::ledger",
        &[
            "engine::dense",
            "engine::edit",
            "engine::event",
            "engine::failure",
            "engine::ids",
            "engine::limits",
            "engine::retry",
        ],
    ),
    ("engine::edit", &["engine::ids", "engine::ledger"]),
    (
        "engine::event",
        &[
            "engine::edit",
            "engine::failure",
            "engine::ids",
            "engine::ledger",
            "engine::retry",
        ],
    ),
    (
        "engine::filter",
        &[
            "engine::failure",
            "engine::ids",
            "engine::ledger",
            "engine::retry",
        ],
    ),
    ("engine::refresh", &["engine::ids", "engine::ledger"]),
    (
        "engine::new_task",
        &["engine::ids", "engine::ledger", "engine::retry"],
    ),
    (
        "engine::from_worker",
        &[
            "engine::failure",
            "engine::ids",
            "engine::ledger",
            "engine::new_task",
        ],
    ),
    (
        "engine::command",
        &[
            "engine::filter",
            "engine::from_worker",
            "engine::ids",
            "engine::ledger",
            "engine::new_task",
            "engine::refresh",
            "engine::retry",
        ],
    ),
    (
        "engine::view",
        &[
            "engine::command",
            "engine::ids",
            "engine::ledger",
            "engine::rejection",
        ],
    ),
    (
        "engine::effect",
        &[
            "engine::command",
            "engine::failure",
            "engine::ids",
            "engine::ledger",
            "engine::rejection",
            "engine::view",
        ],
    ),
    (
        "engine::context",
        &[
            "engine::failure",
            "engine::ledger",
            "engine::limits",
            "engine::retry",
        ],
    ),
    (
        "engine::notice",
        &[
            "engine::effect",
            "engine::event",
            "engine::ids",
            "engine::ledger",
            "engine::retry",
        ],
    ),
    (
        "engine::agenda",
        &[
            "engine::command",
            "engine::dense",
            "engine::effect",
            "engine::ids",
            "engine::ledger",
        ],
    ),
    (
        "engine::sessions",
        &[
            "engine::command",
            "engine::effect",
            "engine::ids",
            "engine::ledger",
            "engine::limits",
        ],
    ),
    (
        "engine::shard",
        &[
            "engine::agenda",
            "engine::event",
            "engine::ids",
            "engine::ledger",
        ],
    ),
    (
        "engine::invariants",
        &[
            "engine::agenda",
            "engine::effect",
            "engine::ids",
            "engine::ledger",
        ],
    ),
    // A step is what its handlers are handed; together they are the engine.
    ("engine::step", &["engine::*"]),
    ("engine::handlers", &["engine::*"]),
    ("engine", &["engine::*"]),
    // Around it.
    ("journal", &[]),
    (
        "codec",
        &[
            "engine::command",
            "engine::edit",
            "engine::event",
            "engine::failure",
            "engine::ids",
            "engine::ledger",
            "engine::retry",
        ],
    ),
    (
        "telemetry",
        &["engine::effect", "engine::failure", "engine::ids"],
    ),
    ("config", &[]),
    (
        "shell",
        &[
            "codec",
            "config",
            "engine",
            "engine::*",
            "journal",
            "telemetry",
        ],
    ),
    ("server", &["engine::*", "shell", "telemetry"]),
    (
        "run",
        &[
            "codec",
            "config",
            "engine",
            "engine::*",
            "journal",
            "server",
            "shell",
            "telemetry",
        ],
    ),
    ("", &[]),
];

/// Arrows that are not on the map and stand all the same: from, the path, why.
const EXCEPTIONS: [(&str, &str, &str); 9] = [
    (
        "config",
        "engine::retry::presets",
        "a server's policy is checked where it is set",
    ),
    (
        "config",
        "journal::Durability",
        "a setting is of the type that it sets",
    ),
    (
        "engine::invariants",
        "engine::Engine",
        "recounts all that an engine has",
    ),
    (
        "engine::step",
        "engine::EngineConfig",
        "settings that handlers look up",
    ),
    ("telemetry", "journal::LogFiles", "figures of the files"),
    ("telemetry", "journal::LogNumbers", "figures of the writer"),
    ("server", "journal::LogFiles", "the same, for /metrics"),
    (
        "server",
        "journal::Sink",
        "of the engine that stands in for one in tests",
    ),
    (
        "shell",
        "run::StartError",
        "what a start ends with is said to whoever runs it",
    ),
];

/// The module that a file is, of a crate whose sources are at `root`.
fn module_of(path: &str, root: &str) -> Vec<String> {
    let inside = path.strip_prefix(root).unwrap_or(path).trim_matches('/');
    let name = inside.strip_suffix(".rs").unwrap_or(inside);
    let name = name.strip_suffix("/mod").unwrap_or(name);
    match name {
        "lib" | "main" => Vec::new(),
        _ => name.split('/').map(str::to_owned).collect(),
    }
}

/// The path from the root of the crate, or nothing where another crate or a name of its own is meant.
fn absolute(path: &[String], module: &[String]) -> Option<Vec<String>> {
    let mut from = module.to_vec();
    let mut rest = path;
    match path.first()?.as_str() {
        "crate" => {
            from.clear();
            rest = &path[1..];
        }
        "super" => {
            while let Some((_, after)) = rest.split_first().filter(|(word, _)| *word == "super") {
                from.pop();
                rest = after;
            }
        }
        "self" => rest = &path[1..],
        _ => return None,
    }
    from.extend(rest.iter().filter(|word| *word != "self").cloned());
    Some(from)
}

/// The row that a path belongs to: the longest name that it begins with.
fn row_of<'a>(path: &[String], rows: &BTreeSet<&'a str>) -> &'a str {
    for length in (0..=path.len()).rev() {
        let name = path[..length].join("::");
        if let Some(row) = rows.get(name.as_str()) {
            return row;
        }
    }
    ""
}

fn outward_arrows(source: &Source, root: &str, map: &[(&str, &[&str])]) -> Vec<Finding> {
    let rows: BTreeSet<&str> = map.iter().map(|(name, _)| *name).collect();
    let module = module_of(&source.path, root);
    let from = row_of(&module, &rows);
    let allowed = map.iter().find(|(name, _)| *name == from);
    let allowed = allowed.map_or(&[][..], |(_, allowed)| *allowed);
    let rust = Rust::of(source);
    let mut found = BTreeSet::new();
    for named in rust.paths.iter().filter(|named| !rust.in_test(named.line)) {
        // A `pub(crate)` or `pub(in ..)` names nothing.
        let bare = named.path.len() == 1;
        let upward = |path: &Vec<String>| named.after_in && module.starts_with(path);
        let path = absolute(&named.path, &module).filter(|path| !bare && !upward(path));
        let Some(path) = path else { continue };
        let to = row_of(&path, &rows);
        let below = |wide: &str| {
            to.strip_prefix(wide)
                .is_some_and(|rest| rest.starts_with("::"))
        };
        let allowed = to == from
            || allowed.iter().any(|name| match name.strip_suffix("::*") {
                Some(wide) => below(wide),
                None => to == *name,
            })
            || EXCEPTIONS
                .iter()
                .any(|(one, name, _)| (*one, *name) == (from, &*path.join("::")));
        if !allowed {
            let says = format!(
                "{from:?} names {} of {to:?}: that arrow is not on the map (arrows.rs)",
                path.join("::")
            );
            found.insert(Finding::new(&source.path, named.line, says));
        }
    }
    found.into_iter().collect()
}

/// Modules of the coordinator and of its engine that the map does not have.
fn undrawn(source: &Source, root: &str) -> Vec<Finding> {
    let module = module_of(&source.path, root).join("::");
    let rust = Rust::of(source);
    let mut found = Vec::new();
    for item in rust.modules.iter().filter(|item| !item.test) {
        let name = format!("{module}::{}", item.name);
        let name = name.trim_start_matches("::");
        if !MAP.iter().any(|(row, _)| *row == name) {
            let says = format!("{name} is not on the map (arrows.rs)");
            found.push(Finding::new(&source.path, item.line, says));
        }
    }
    found
}

const ROOT: &str = "coordinator/src";

#[test]
fn arrows_between_modules_are_those_of_the_map() {
    let sources = below(ROOT, "rs");
    let product = sources.iter().filter(|source| !source.is_test());
    assert_none(
        product
            .flat_map(|source| outward_arrows(source, ROOT, &MAP))
            .collect(),
    );
}

#[test]
fn every_module_of_the_coordinator_and_its_engine_is_on_the_map() {
    let places = ["coordinator/src/lib.rs", "coordinator/src/engine/mod.rs"];
    assert_none(
        places
            .iter()
            .flat_map(|path| undrawn(&read(path), ROOT))
            .collect(),
    );
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
        let manifest = read(&format!("{name}/Cargo.toml")).text;
        let ours = manifest.lines().filter(|line| line.starts_with("redrive-"));
        let ours: BTreeSet<&str> = ours
            .filter_map(|line| line.split(['.', ' ']).next())
            .collect();
        assert_eq!(ours, allowed.into_iter().collect(), "of {name}");
    }
}

#[test]
fn an_arrow_that_is_not_on_the_map_is_found() {
    let map: [(&str, &[&str]); 4] = [("a", &["b"]), ("b", &[]), ("a::c", &["a::*"]), ("", &[])];
    let found = |path: &str, text: &str| outward_arrows(&Source::new(path, text), "src", &map);
    assert_finds(&found("src/b.rs", "\nuse crate::a::A;\n"), 2, "names a::A");
    assert_finds(
        &found("src/b/x.rs", "fn f() { super::super::a::g(); }"),
        1,
        "names a::g",
    );
    assert_finds(
        &found("src/b.rs", "fn f() { m!(crate::a::A) }"),
        1,
        "names a::A",
    );
    assert_finds(
        &found("src/a/c.rs", "use crate::{b::B, a::c::D};"),
        1,
        "names b::B",
    );
    assert_eq!(
        found(
            "src/a/mod.rs",
            "use crate::b::B;\nuse super::b;\nuse self::d::E;"
        ),
        []
    );
    assert_eq!(
        found(
            "src/b.rs",
            "#[cfg(test)]\nmod tests {\n    use crate::a::A;\n}"
        ),
        []
    );
}

#[test]
fn every_exception_of_the_map_is_needed() {
    let sources = below(ROOT, "rs");
    for (from, path, why) in EXCEPTIONS {
        assert!(!why.is_empty());
        let of = |source: &&Source| {
            let module = module_of(&source.path, ROOT).join("::");
            module == from || module.starts_with(&format!("{from}::"))
        };
        let named = sources.iter().filter(of).any(|source| {
            let module = module_of(&source.path, ROOT);
            let rust = Rust::of(source);
            let mut all = rust
                .paths
                .iter()
                .filter_map(|named| absolute(&named.path, &module));
            all.any(|it| it.join("::") == path)
        });
        assert!(named, "{from} does not name {path} any more: take it out");
    }
}

#[test]
fn a_module_that_is_not_on_the_map_is_found() {
    let source = Source::new(
        "src/lib.rs",
        "mod engine;\nmod attic;\n#[cfg(test)]\nmod tests;\n",
    );
    let found = undrawn(&source, "src");
    assert_finds(&found, 2, "attic is not on the map");
    assert_eq!(found.len(), 1);
}
