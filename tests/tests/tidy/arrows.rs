//! Which module may name which: the arrows of ARCHITECTURE.md, one line a module.
//!
//! Owns the map. A module without a line is a finding, so that a new one is drawn first. Reads paths
//! (`crate::`, `super::`, in macros too), never what they stand for.

use std::collections::BTreeSet;

use crate::rust::Rust;
use crate::tree::{Finding, Source, assert_finds, assert_none, below, read};

const ROOT: &str = "coordinator/src";

/// A module of the coordinator, and what it may name besides itself. A name covers what is below it;
/// a module that has no line of its own follows the one that it is in.
const MAP: &str = "
    engine           mutants
    engine::retry    mutants engine::failure engine::ids engine::limits
    engine::ledger   mutants engine::dense engine::edit engine::event engine::failure engine::ids engine::limits engine::retry
    codec            mutants engine
    journal          mutants
    shell            mutants engine codec journal config telemetry run::StartError
    server           mutants engine shell telemetry journal::LogFiles journal::Sink
    run              engine codec journal shell server config telemetry
    config           engine::retry::presets journal::Durability
    telemetry        engine journal::LogFiles journal::LogNumbers
    mutants
    fuzz             engine
";

/// A line of the map: its module, and what that may name.
struct Row<'a> {
    module: &'a str,
    may_name: Vec<&'a str>,
}

fn rows(map: &str) -> Vec<Row<'_>> {
    let lines = map.lines().map(str::split_whitespace);
    let rows = lines.filter_map(|mut words| {
        Some(Row {
            module: words.next()?,
            may_name: words.collect(),
        })
    });
    rows.collect()
}

/// The path is this module, or something in it.
fn is_in(path: &str, module: &str) -> bool {
    let rest = path.strip_prefix(module);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

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

/// Paths of a file that the map does not let it name.
fn outward_arrows(source: &Source, root: &str, map: &str) -> Vec<Finding> {
    let module = module_of(&source.path, root);
    let name = module.join("::");
    let mut rows = rows(map);
    rows.retain(|row| is_in(&name, row.module));
    let Some(row) = rows.into_iter().max_by_key(|row| row.module.len()) else {
        let says = format!("{name} is not on the map (arrows.rs): draw what it may name");
        let drawn = module.is_empty();
        return (!drawn)
            .then(|| Finding::new(&source.path, 1, says))
            .into_iter()
            .collect();
    };
    let rust = Rust::of(source);
    let mut found = BTreeSet::new();
    for named in rust.paths.iter().filter(|named| !rust.in_test(named.line)) {
        // A `pub(crate)` or `pub(in ..)` names nothing.
        let bare = named.path.len() == 1;
        let upward = |path: &Vec<String>| named.after_in && module.starts_with(path);
        let inside = [&module[..], &named.within].concat();
        let path = absolute(&named.path, &inside).filter(|path| !bare && !upward(path));
        let Some(path) = path.map(|path| path.join("::")) else {
            continue;
        };
        if !is_in(&path, row.module) && !row.may_name.iter().any(|it| is_in(&path, it)) {
            let says = format!(
                "{} names {path}: that arrow is not on the map (arrows.rs); ask from outside, or \
                 move what both need inwards",
                row.module
            );
            found.insert(Finding::new(&source.path, named.line, says));
        }
    }
    found.into_iter().collect()
}

#[test]
fn arrows_between_modules_are_those_of_the_map() {
    let sources = below(ROOT, "rs");
    let product = sources.iter().filter(|source| !source.is_test());
    assert_none(
        product
            .flat_map(|source| outward_arrows(source, ROOT, MAP))
            .collect(),
    );
}

/// A manifest names no crate of ours but these.
fn outward_crates(manifest: &Source, allowed: &[&str]) -> Vec<Finding> {
    let ours = (1..).zip(manifest.text.lines());
    let ours = ours.filter_map(|(line, text)| Some((line, text.split(['.', ' ']).next()?)));
    let ours = ours.filter(|(_, name)| name.starts_with("redrive-") && !allowed.contains(name));
    let find = |(line, name)| {
        let says = format!("depends on {name}: that arrow is not drawn in ARCHITECTURE.md");
        Finding::new(&manifest.path, line, says)
    };
    ours.map(find).collect()
}

#[test]
fn crates_depend_only_as_the_design_draws_it() {
    let rules: [(&str, &[&str]); 4] = [
        ("proto", &[]),
        ("client", &["redrive-proto"]),
        ("coordinator", &["redrive-proto"]),
        ("worker", &["redrive-client", "redrive-proto"]),
    ];
    let found = rules
        .iter()
        .flat_map(|(name, allowed)| outward_crates(&read(&format!("{name}/Cargo.toml")), allowed));
    assert_none(found.collect());
}

#[test]
fn an_arrow_that_is_not_on_the_map_is_found() {
    let map = "a b\nb\na::c a::d b::may";
    let found = |path: &str, text: &str| outward_arrows(&Source::new(path, text), "src", map);
    for (path, text, line, says) in [
        ("src/b.rs", "\nuse crate::a::A;\n", 2, "b names a::A"),
        (
            "src/b/x.rs",
            "fn f() { super::super::a::g(); }",
            1,
            "names a::g",
        ),
        ("src/b.rs", "fn f() { m!(crate::a::A) }", 1, "names a::A"),
        (
            "src/a/c.rs",
            "use crate::{b::B, a::d::D};",
            1,
            "a::c names b::B",
        ),
        (
            "src/b.rs",
            "mod c {\n    use super::super::a::A;\n}",
            2,
            "names a::A",
        ),
        ("src/attic.rs", "", 1, "attic is not on the map"),
    ] {
        assert_finds(&found(path, text), line, says);
    }
    for (path, text) in [
        (
            "src/a/mod.rs",
            "use crate::b::B;\nuse super::b;\nuse self::c::E;",
        ),
        (
            "src/a/c.rs",
            "use crate::b::may;\npub(in crate::a) fn f() {}",
        ),
        (
            "src/b.rs",
            "#[cfg(test)]\nmod tests {\n    use crate::a::A;\n}",
        ),
        ("src/b.rs", "mod c {\n    use super::D;\n}"),
        ("src/lib.rs", "mod a;"),
    ] {
        assert_eq!(found(path, text), []);
    }
}

#[test]
fn a_crate_that_points_outwards_is_found() {
    let manifest = "[dependencies]\nredrive-proto.workspace = true\nredrive-client = \"1\"\n";
    let found = outward_crates(&Source::new("a/Cargo.toml", manifest), &["redrive-proto"]);
    assert_finds(&found, 3, "depends on redrive-client");
    assert_eq!(found.len(), 1);
}
