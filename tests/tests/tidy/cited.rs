//! Every invariant of ARCHITECTURE.md is cited by a test, and every rule of the judge of histories is
//! broken by one.
//!
//! Owns what counts as a citation: `I7` in the name (`fn i7_..`) or in the `///` of a function that is
//! run as a test. A comment elsewhere is no citation. Never judges whether the test holds it.

use std::collections::{BTreeMap, BTreeSet};

use crate::rust::Rust;
use crate::tree::{Finding, Source, assert_finds, assert_none, below, read, sources};

const MAP: &str = "ARCHITECTURE.md";
const JUDGE: &str = "tests/src/history/check/mod.rs";

/// Numbers of invariants with their lines.
fn invariants(map: &str) -> BTreeMap<String, usize> {
    let lines = (1..).zip(map.lines());
    let marked = lines.filter_map(|(line, text)| Some((line, text.strip_prefix("- **I")?)));
    let numbers =
        marked.filter_map(|(line, rest)| Some((format!("I{}", rest.split(' ').next()?), line)));
    numbers.collect()
}

fn cites(text: &str, number: &str) -> bool {
    let mut words = text.split(|letter: char| !letter.is_ascii_alphanumeric());
    words.any(|word| word == number)
}

fn uncited(map: &Source, tests: &[Source]) -> Vec<Finding> {
    let all = invariants(&map.text);
    let mut cited = BTreeSet::new();
    for source in tests {
        // Reading it as Rust takes its time.
        let may = |number: &&String| {
            cites(&source.text, number)
                || source
                    .text
                    .contains(&format!("fn {}_", number.to_lowercase()))
        };
        let numbers: Vec<&String> = all.keys().filter(may).collect();
        if numbers.is_empty() {
            continue;
        }
        for function in Rust::of(source).functions.iter().filter(|it| it.test) {
            let named = |number: &&&String| {
                let prefix = format!("{}_", number.to_lowercase());
                function.name.starts_with(&prefix) || cites(&function.doc, number)
            };
            cited.extend(numbers.iter().filter(named).map(|number| (*number).clone()));
        }
    }
    let missing = all.iter().filter(|(number, _)| !cited.contains(*number));
    let find = |(number, line): (&String, &usize)| {
        let says =
            format!("no test cites {number} in its name or its `///`: cite it where it is held");
        Finding::new(&map.path, *line, says)
    };
    missing.map(find).collect()
}

/// Variants of the enum `Rule` that no function run as a test, with what it calls in its file, names.
fn unbroken(judge: &Source, tests: &[Source]) -> Vec<Finding> {
    let rust = Rust::of(judge);
    let mut broken = BTreeSet::new();
    for source in tests {
        let rust = Rust::of(source);
        let of_a_test = |line: usize| {
            rust.functions
                .iter()
                .any(|it| it.test && it.body.contains(&line))
        };
        for named in rust.paths.iter().filter(|named| of_a_test(named.line)) {
            let rule = named
                .path
                .iter()
                .rev()
                .nth(1)
                .is_some_and(|word| word == "Rule");
            broken.extend(named.path.last().filter(|_| rule).cloned());
        }
    }
    let mut found = Vec::new();
    let rules = rust.enums.iter().filter(|(name, _)| name == "Rule");
    for rule in rules.flat_map(|(_, variants)| variants) {
        if !broken.contains(&rule.name) {
            let says = format!(
                "no test breaks Rule::{}: write the history that does",
                rule.name
            );
            found.push(Finding::new(&judge.path, rule.line, says));
        }
    }
    found
}

#[test]
fn every_invariant_is_cited_by_a_test() {
    let map = read(MAP);
    let numbers = invariants(&map.text).len();
    assert!(
        numbers >= 15,
        "{MAP} lists the invariants as `- **I1 ..`, found {numbers}"
    );
    assert_none(uncited(&map, &sources()));
}

#[test]
fn every_rule_of_the_judge_is_broken_by_a_test() {
    let tests = below("tests/src/history/check/tests", "rs");
    assert_none(unbroken(&read(JUDGE), &tests));
}

#[test]
fn an_invariant_without_a_test_is_found() {
    let map = Source::new(
        "MAP.md",
        "\n- **I1 One.** a\n- **I11 Two.** b\n- **I3 C.** c\n- **I4 D.** d\n",
    );
    let tests = "/// Holds (I11).\n#[test]\nfn a() {}\n#[test]\nfn i3_holds() {}\n/// I1\nfn helper() {}\n// I4\n";
    let found = uncited(&map, &[Source::new("a.rs", tests)]);
    assert_finds(&found, 2, "no test cites I1 ");
    assert_finds(&found, 5, "no test cites I4 ");
    assert_eq!(found.len(), 2);
}

#[test]
fn a_rule_that_no_test_breaks_is_found() {
    let judge = Source::new(
        "judge.rs",
        "enum Rule {\n    One,\n    Two,\n    Three,\n}\n",
    );
    let tests = "#[test]\nfn a() { breaks(Rule::One) }\nfn helper() { breaks(Rule::Two) }\n// Rule::Three\n";
    let found = unbroken(&judge, &[Source::new("tests.rs", tests)]);
    assert_finds(&found, 3, "Rule::Two");
    assert_finds(&found, 4, "Rule::Three");
    assert_eq!(found.len(), 2);
}
