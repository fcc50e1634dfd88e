//! What the rules look at: the files of the workspace, and what a rule found in one of them.
//!
//! Owns reading and naming files. Never judges: each rule takes texts and returns [`Finding`]s, so
//! that it can be shown to fail on a text that breaks it.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// Folders with sources of our own.
const SOURCES: [&str; 6] = [
    "proto",
    "coordinator/src",
    "worker",
    "client",
    "cli",
    "tests",
];

/// A file, by its path relative to the root of the workspace, and what is in it.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) path: String,
    pub(crate) text: String,
}

impl Source {
    pub(crate) fn new(path: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            text: text.into(),
        }
    }

    /// The file is all test: what it holds never gets into a product.
    pub(crate) fn is_test(&self) -> bool {
        let name = self.path.rsplit('/').next().unwrap_or_default();
        self.path.starts_with("tests/")
            || self.path.contains("/tests/")
            || self.path.contains("_tests/")
            || name == "tests.rs"
            || name.ends_with("_tests.rs")
    }
}

/// What a rule found: where, and the remedy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    path: String,
    line: usize,
    remedy: String,
}

impl Finding {
    pub(crate) fn new(path: &str, line: usize, remedy: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            line,
            remedy: remedy.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.remedy)
    }
}

/// Fails with all that was found.
#[track_caller]
pub(crate) fn assert_none(mut findings: Vec<Finding>) {
    findings.sort();
    let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
    assert!(
        lines.is_empty(),
        "{} found:\n{}",
        lines.len(),
        lines.join("\n")
    );
}

/// Fails unless a rule found something that says this: the rule can fail.
#[track_caller]
pub(crate) fn assert_finds(findings: &[Finding], line: usize, says: &str) {
    let found = findings
        .iter()
        .any(|it| it.line == line && it.remedy.contains(says));
    assert!(found, "nothing at line {line} says {says:?}: {findings:?}");
}

/// The root of the workspace.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap().to_owned()
}

/// The file at a path relative to the root.
pub(crate) fn read(path: &str) -> Source {
    let text = fs::read_to_string(root().join(path));
    Source::new(path, text.unwrap_or_else(|error| panic!("{path}: {error}")))
}

/// The files below a folder whose names end so, by path.
pub(crate) fn below(folder: &str, ending: &str) -> Vec<Source> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let hidden = path.file_name().unwrap().to_str().unwrap().starts_with('.');
            if path.is_dir() {
                // What tools leave behind is not ours.
                folders.extend((!hidden).then_some(path));
            } else if path.extension().is_some_and(|it| it == ending) {
                let name = path.strip_prefix(root()).unwrap().to_str().unwrap();
                found.push(read(name));
            }
        }
    }
    assert!(!found.is_empty(), "no .{ending} below {folder}");
    found.sort_by(|one, other| one.path.cmp(&other.path));
    found
}

/// Every Rust source of ours.
pub(crate) fn sources() -> Vec<Source> {
    let all = SOURCES.iter().flat_map(|folder| below(folder, "rs"));
    all.collect()
}

/// Every page: `docs/`, and those of the root.
pub(crate) fn pages() -> Vec<Source> {
    let of_the_root = fs::read_dir(root()).unwrap().filter_map(|entry| {
        let name = entry.unwrap().file_name().into_string().unwrap();
        name.ends_with(".md").then(|| read(&name))
    });
    let mut pages: Vec<Source> = of_the_root.chain(below("docs", "md")).collect();
    for folder in ["client/examples", "cli/samples"] {
        pages.extend(below(folder, "md"));
    }
    pages.sort_by(|one, other| one.path.cmp(&other.path));
    pages
}

#[test]
#[should_panic(expected = "a.rs:3: mend it")]
fn findings_are_told_with_file_line_and_remedy() {
    assert_none(vec![Finding::new("a.rs", 3, "mend it")]);
}

#[test]
fn a_test_is_known_by_where_it_is() {
    for (path, test) in [
        ("coordinator/src/engine/tests/acts.rs", true),
        ("coordinator/src/telemetry/tests.rs", true),
        ("client/src/wire_tests/fields.rs", true),
        ("tests/src/wait.rs", true),
        ("coordinator/src/engine/latest.rs", false),
    ] {
        assert_eq!(Source::new(path, "").is_test(), test, "{path}");
    }
}
