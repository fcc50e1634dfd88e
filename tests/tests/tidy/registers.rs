//! Lists that must be complete: dependencies with their reasons, decisions, what has changed.
//!
//! Owns the comparison of each list with what it lists. Never judges a reason.

use std::collections::BTreeSet;

use crate::markdown::{links, tables};
use crate::tree::{Finding, Source, assert_finds, assert_none, below, read};

const DEPENDENCIES: &str = "docs/decisions/0001-dependencies.md";
const DECISIONS: &str = "docs/decisions/README.md";
/// What a decision tells, each as a heading or in bold.
const DECISION_PARTS: [&str; 3] = ["Context", "Choice", "Consequences"];
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

fn unlisted_decisions(index: &Source, decisions: &[Source]) -> Vec<Finding> {
    let linked: Vec<String> = links(&index.text)
        .into_iter()
        .map(|link| link.target)
        .collect();
    let mut found = Vec::new();
    for (number, decision) in (1..).zip(decisions) {
        let name = decision.path.rsplit('/').next().unwrap_or_default();
        let mut find = |says: String| found.push(Finding::new(&decision.path, 1, says));
        if !linked.iter().any(|it| it == name) {
            find(format!("not listed in {}: add it", index.path));
        }
        let digits = format!("{number:04}");
        if !name.starts_with(&digits) || !decision.text.starts_with(&format!("# {digits}: ")) {
            find(format!(
                "numbers have no gaps: name it {digits}-.. and begin it with `# {digits}: `"
            ));
        }
        let missing = DECISION_PARTS
            .iter()
            .filter(|part| !decision.text.contains(**part));
        let missing: Vec<&&str> = missing.collect();
        if number > 1 && !missing.is_empty() {
            find(format!("does not tell its {missing:?}"));
        }
    }
    found
}

fn changelog_faults(page: &Source) -> Vec<Finding> {
    let first = (1..)
        .zip(page.text.lines())
        .find_map(|(line, text)| Some((line, text.strip_prefix("## ")?)));
    match first {
        Some((_, "Unreleased")) => Vec::new(),
        Some((line, _)) => vec![Finding::new(&page.path, line, "begin with `## Unreleased`")],
        None => vec![Finding::new(&page.path, 1, "has no `## Unreleased`")],
    }
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
fn every_decision_is_listed_numbered_and_whole() {
    let mut decisions = below("docs/decisions", "md");
    decisions.retain(|page| page.path != DECISIONS);
    assert_none(unlisted_decisions(&read(DECISIONS), &decisions));
}

#[test]
fn the_changelog_begins_with_what_is_unreleased() {
    assert_none(changelog_faults(&read("CHANGELOG.md")));
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
fn a_decision_that_is_not_listed_numbered_or_whole_is_found() {
    let index = Source::new("README.md", "[0001](0001-a.md)");
    let decisions = [
        Source::new("0001-a.md", "# 0001: A\n"),
        Source::new("0003-b.md", "# 0003: B\n\n**Context** **Choice**\n"),
    ];
    let found = unlisted_decisions(&index, &decisions);
    for says in ["not listed", "0002-..", "Consequences"] {
        assert_finds(&found, 1, says);
    }
    assert_eq!(found.len(), 3);
}

#[test]
fn a_changelog_without_what_is_unreleased_is_found() {
    let found = |text: &str| changelog_faults(&Source::new("CHANGELOG.md", text));
    assert_finds(
        &found("# Changelog\n## 1.0\n## Unreleased\n"),
        2,
        "begin with",
    );
    assert_finds(&found("# Changelog\n"), 1, "has no");
    assert_eq!(found("# Changelog\n## Unreleased\n"), []);
}
