//! Lists that must be complete: dependencies with their reasons, and decisions.
//!
//! Owns the comparison of each list with what it lists. Never judges a reason.

use std::collections::BTreeSet;

use crate::markdown::{links, tables};
use crate::tree::{Finding, Source, assert_finds, assert_none, below, read};

const DEPENDENCIES: &str = "docs/decisions/0001-dependencies.md";
const DECISIONS: &str = "docs/decisions/README.md";
const CRATES: [&str; 6] = ["proto", "coordinator", "client", "worker", "cli", "tests"];

/// Names that a manifest lists in its sections of dependencies, with their lines.
fn dependencies(manifest: &str) -> Vec<(String, usize)> {
    let mut inside = false;
    let mut found = Vec::new();
    for (line, text) in (1..).zip(manifest.lines()) {
        if text.starts_with('[') {
            inside = text.trim_end_matches(']').ends_with("dependencies");
        } else if inside
            && text.contains('=')
            && text.starts_with(|it: char| it.is_ascii_alphanumeric())
        {
            let name = text.split(['.', ' ', '=']).next().unwrap_or_default();
            found.push((name.to_owned(), line));
        }
    }
    found
}

/// Dependencies without a line, lines without a dependency.
fn unlisted(manifests: &[Source], page: &Source) -> Vec<Finding> {
    let listed: BTreeSet<String> = tables(&page.text)
        .into_iter()
        .flat_map(|table| table.rows)
        .filter_map(|row| row.into_iter().next())
        .collect();
    let mut found = Vec::new();
    let mut used = BTreeSet::new();
    for manifest in manifests {
        for (name, line) in dependencies(&manifest.text) {
            if !name.starts_with("redrive-") && !listed.contains(&name) {
                let says = format!(
                    "{name} has no line `| {name} | .. |` in {}: say what it is for",
                    page.path
                );
                found.push(Finding::new(&manifest.path, line, says));
            }
            used.insert(name);
        }
    }
    for name in listed.difference(&used) {
        let row = format!("| {name} |");
        let line = page
            .text
            .lines()
            .position(|text| text.starts_with(&row))
            .unwrap_or_default()
            + 1;
        found.push(Finding::new(
            &page.path,
            line,
            format!("nobody depends on {name}: take the line out"),
        ));
    }
    found
}

/// Decisions that the index does not link to, or whose heading has another number than their name.
fn unlisted_decisions(index: &Source, decisions: &[Source]) -> Vec<Finding> {
    let linked = links(&index.text);
    let mut found = Vec::new();
    for decision in decisions {
        let name = decision.path.rsplit('/').next().unwrap_or_default();
        let mut find = |says: String| found.push(Finding::new(&decision.path, 1, says));
        if !linked.iter().any(|link| link.target == name) {
            find(format!("not listed in {}: add it", index.path));
        }
        let number = name.split('-').next().unwrap_or_default();
        if !decision.text.starts_with(&format!("# {number}: ")) {
            find(format!("begin it with `# {number}: `, as it is named"));
        }
    }
    found
}

#[test]
fn every_dependency_has_its_line_and_every_line_its_dependency() {
    let folders = CRATES.iter().map(|name| format!("{name}/Cargo.toml"));
    let manifests: Vec<Source> = folders
        .chain(["Cargo.toml".to_owned()])
        .map(|path| read(&path))
        .collect();
    assert_none(unlisted(&manifests, &read(DEPENDENCIES)));
}

#[test]
fn every_decision_is_listed_under_its_number() {
    let mut decisions = below("docs/decisions", "md");
    decisions.retain(|page| page.path != DECISIONS);
    assert_none(unlisted_decisions(&read(DECISIONS), &decisions));
}

#[test]
fn a_dependency_without_a_line_and_a_line_without_a_dependency_are_found() {
    let manifest = "[package]\nname = \"x\"\n[dependencies]\none.workspace = true\n[dev-dependencies]\ntwo = \"1\"\n";
    let page = Source::new(
        "deps.md",
        "| crate | for |\n| --- | --- |\n| one | a |\n| three | b |\n",
    );
    let found = unlisted(&[Source::new("Cargo.toml", manifest)], &page);
    assert_finds(&found, 6, "two has no line");
    assert_finds(&found, 4, "nobody depends on three");
    assert_eq!(found.len(), 2);
}

#[test]
fn a_decision_that_is_not_listed_or_has_another_number_is_found() {
    let index = Source::new("README.md", "[0001](0001-a.md)");
    let decisions = [
        Source::new("0001-a.md", "# 0001: A\n"),
        Source::new("0003-b.md", "# 0002: B\n"),
    ];
    let found = unlisted_decisions(&index, &decisions);
    assert_finds(&found, 1, "not listed in README.md");
    assert_finds(&found, 1, "begin it with `# 0003: `");
    assert_eq!(found.len(), 2);
}
