//! Who may be taken for lost: made by hand.

use super::*;

/// The good history, in which run 2 of "a" is lost, with one more fact.
fn lost_and(fact: Fact) -> Made {
    let mut made = good();
    made.add(fact);
    with_ends(made, ends())
}

#[test]
fn a_worker_that_was_well_and_is_taken_for_lost_is_caught() {
    let (early, late) = ((0, 6999), (7501, 9000));
    for (from_ms, until_ms) in [early, late] {
        let made = lost_and(Fact::Trouble { from_ms, until_ms });
        assert_breaks(&made, Drained::Yes, Rule::Blame, "run 2 was taken for lost");
    }
}

#[test]
fn a_worker_in_trouble_may_be_taken_for_lost() {
    for (from_ms, until_ms) in [(0, 7000), (7500, 9000), (7100, 7200)] {
        let made = lost_and(Fact::Trouble { from_ms, until_ms });
        let (rules, said) = broken(&made, Drained::Yes);
        assert_eq!(rules, [], "{said}");
    }
}

#[test]
fn a_run_that_its_worker_forgot_may_be_taken_for_lost() {
    let mut made = good();
    made.add(Fact::Trouble {
        from_ms: 0,
        until_ms: 0,
    });
    made.add(Fact::Abandoned {
        task_id: "a".to_owned(),
        run: 2,
    });
    let (rules, said) = broken(&with_ends(made, ends()), Drained::Yes);
    assert_eq!(rules, [], "{said}");
}
