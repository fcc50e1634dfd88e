//! The simulator, as far as a test run has time for it: a few seeds, and what it promises of itself.
//!
//! Owns the small slice; `swarm` runs the large ones (docs/testing.md).

use redrive_coordinator::mutants::{self, Mutant};
use redrive_tests::sim::{self, Course};

/// Seeds of a test run, besides those that failed once.
const SEEDS: u64 = 12;
/// What happens in each of their worlds until the faults stop.
const EVENTS: u64 = 6000;

fn course() -> Course {
    Course {
        events: EVENTS,
        ..Course::default()
    }
}

#[test]
fn nothing_is_lost_or_done_twice_under_faults_and_everything_ends_when_they_stop() {
    for seed in sim::regressions().into_iter().chain(0..SEEDS) {
        let outcome = sim::run(seed, course());
        let again = "cargo run -p redrive-tests --release --bin swarm -- --seed";
        assert!(
            outcome.violations.is_empty(),
            "{again} {seed} --events {EVENTS}\n{}",
            outcome.violations.join("\n")
        );
        assert!(outcome.records > 0, "seed {seed} did something");
    }
}

#[test]
fn the_same_seed_is_the_same_run_byte_for_byte_and_another_one_is_not() {
    let traces = [7, 7, 8].map(|seed| sim::run(seed, course()).trace);
    assert_eq!(traces[0], traces[1]);
    assert_ne!(traces[1], traces[2]);
}

#[test]
fn the_page_about_testing_names_every_planted_bug() {
    let page = include_str!("../../docs/testing.md");
    let table = page.split("<!-- mutants -->").nth(1).unwrap();
    let table = table.split("<!-- end -->").next().unwrap();
    let rows: Vec<&str> = table.lines().filter(|line| line.contains('`')).collect();
    assert_eq!(rows.len(), Mutant::ALL.len());
    for (row, (number, (mutant, says))) in rows.iter().zip((1..).zip(Mutant::ALL)) {
        let begin = format!("| {number} | `{mutant:?}` |{says} |");
        assert!(row.starts_with(&begin), "{row}\nshould begin with\n{begin}");
    }
}

#[test]
fn no_bug_is_planted_in_a_usual_build() {
    assert!(Mutant::ALL.iter().all(|(mutant, _)| !mutants::is(*mutant)));
}
