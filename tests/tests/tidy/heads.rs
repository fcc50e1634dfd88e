//! Every module opens with what it owns and what it never does, in words of its own.
//!
//! Owns the rule for `//!`. Never judges whether it is true: a reader does.

use std::collections::BTreeMap;

use crate::tree::{Finding, Source, assert_finds, assert_none, sources};

/// Sentences of a module of a product; tests may say what they hold in one.
const SENTENCES_MIN: usize = 2;

fn head_of(text: &str) -> String {
    let lines = text.lines().map_while(|line| line.strip_prefix("//!"));
    lines
        .map(str::trim)
        .collect::<Vec<_>>()
        .join(" ")
        .trim()
        .to_owned()
}

/// Sentences end in a stop before a blank or the end; `..` is a range, and so no end.
fn sentences(head: &str) -> usize {
    let words: Vec<&str> = head.split_whitespace().collect();
    let ends = words.iter().filter(|word| {
        let word = word.trim_end_matches([')', '"', '`', '*']);
        word.ends_with(['.', ';', '!', '?']) && !word.ends_with("..")
    });
    ends.count()
}

fn poor_heads(sources: &[Source]) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut seen: BTreeMap<String, &str> = BTreeMap::new();
    for source in sources {
        let mut find = |says: String| found.push(Finding::new(&source.path, 1, says));
        let head = head_of(&source.text);
        let wanted = if source.is_test() { 1 } else { SENTENCES_MIN };
        if head.is_empty() {
            find("begin it with `//!`: what it owns, what it never does".to_owned());
        } else if sentences(&head) < wanted {
            find(format!(
                "its `//!` has less than {wanted} sentences: say what it owns and never does"
            ));
        } else if let Some(other) = seen.insert(head, &source.path) {
            find(format!(
                "its `//!` is that of {other}: say what this one owns"
            ));
        }
    }
    found
}

#[test]
fn every_module_says_what_it_owns() {
    assert_none(poor_heads(&sources()));
}

#[test]
fn a_head_that_says_nothing_or_what_another_says_is_found() {
    let found = |text: &str| poor_heads(&[Source::new("a.rs", text)]);
    assert_finds(&found("use a;\n"), 1, "begin it with");
    assert_finds(&found("//! Owns 1..2 things.\n"), 1, "less than 2");
    assert_eq!(found("//! Owns a thing.\n//! Never another.\n"), []);
    let two = ["a.rs", "b.rs"].map(|path| Source::new(path, "//! Owns it. Never more.\n"));
    assert_finds(&poor_heads(&two), 1, "that of a.rs");
    let test = Source::new("a/tests/b.rs", "//! A claim.\n");
    assert_eq!(poor_heads(&[test]), []);
}
