//! Histories made by hand: a good one, and for each promise one that breaks it. Each is caught, by
//! the rule that it breaks and by no other.

mod blame;
mod life;
mod made;

use super::*;
use crate::history::{Answer, Counted, Delivered, Enqueued, Fact, Found, RunEnd, Says, Stands};
use made::{Made, counted, delivered, ends, found, good, report, run, with_ends};

fn broken(made: &Made, drained: Drained) -> (Vec<Rule>, String) {
    let violations = violations(&made.0, drained);
    let said: Vec<String> = violations.iter().map(ToString::to_string).collect();
    let mut rules: Vec<Rule> = violations.iter().map(|one| one.rule).collect();
    rules.dedup();
    (rules, said.join("; "))
}

#[track_caller]
fn assert_breaks(made: &Made, drained: Drained, rule: Rule, says: &str) {
    let (rules, said) = broken(made, drained);
    assert_eq!(rules, [rule], "{said}");
    assert!(said.contains(says), "{said}");
}

/// The good history with a change in its ends breaks this rule.
#[track_caller]
fn assert_ends_break(change: impl FnOnce(&mut [Found; 3]), rule: Rule, says: &str) {
    let mut ends = ends();
    change(&mut ends);
    assert_breaks(&with_ends(good(), ends), Drained::Yes, rule, says);
}

/// The good history with more at its end breaks this rule.
#[track_caller]
fn assert_more_breaks(more: impl FnOnce(&mut Made), rule: Rule, says: &str) {
    let mut made = good();
    more(&mut made);
    assert_breaks(&made, Drained::No, rule, says);
}

#[test]
fn a_history_without_a_fault_breaks_nothing() {
    for (made, drained) in [
        (good(), Drained::No),
        (with_ends(good(), ends()), Drained::Yes),
    ] {
        let (rules, said) = broken(&made, drained);
        assert_eq!(rules, [], "{said}");
    }
}

#[test]
fn an_acknowledged_task_that_is_not_found_is_caught() {
    let [a, _, d] = ends();
    let mut made = with_ends(good(), [a, d]);
    let mut counts = counted();
    (counts.enqueued, counts.dead, counts.died, counts.failures) = (2, 0, 0, 1);
    made.0.pop();
    made.add(Fact::Counted(counts));
    assert_breaks(&made, Drained::Yes, Rule::NoLoss, "found 0 times");
}

#[test]
fn a_delivered_task_of_an_unknown_sending_that_vanishes_is_caught() {
    let [a, b, _] = ends();
    let mut made = with_ends(good(), [a, b]);
    let mut counts = counted();
    (counts.enqueued, counts.succeeded) = (2, 1);
    made.0.pop();
    made.add(Fact::Counted(counts));
    assert_breaks(&made, Drained::Yes, Rule::NoLoss, "task d was delivered");
}

#[test]
fn a_task_found_twice_or_not_ended_is_caught() {
    let [a, b, d] = ends();
    let made = with_ends(good(), [a, b.clone(), b, d]);
    assert_breaks(&made, Drained::Yes, Rule::NoLoss, "found 2 times");
    let mut ends = ends();
    ends[1].stands = Stands::Live;
    let mut made = with_ends(good(), ends);
    made.0.pop();
    made.add(Fact::Counted(Counted {
        dead: 0,
        died: 0,
        live: 1,
        ..counted()
    }));
    assert_breaks(&made, Drained::Yes, Rule::NoLoss, "has not ended");
}

#[test]
fn a_task_that_nobody_sent_or_that_was_refused_is_caught() {
    let strange = |made: &mut Made| {
        made.delivered("x", 1, 1);
    };
    assert_more_breaks(strange, Rule::NoInvention, "nobody sent that");
    let refused = |made: &mut Made| {
        made.delivered("c", 1, 1);
    };
    assert_more_breaks(refused, Rule::NoInvention, "was refused");
}

#[test]
fn a_sending_that_became_two_tasks_is_caught() {
    let twice = |made: &mut Made| {
        let mut other = delivered("d", 1, 1);
        other.task_id = "e".to_owned();
        made.add(Fact::Delivered(other));
    };
    assert_more_breaks(twice, Rule::NoInvention, "became task");
    let shared = |made: &mut Made| {
        made.sent("e", 0)
            .ended("e", Enqueued::Accepted("a".to_owned()));
    };
    let mut made = good();
    shared(&mut made);
    let (rules, said) = broken(&made, Drained::No);
    assert!(rules.contains(&Rule::NoInvention), "{said}");
    assert!(said.contains("one id for several sendings"), "{said}");
}

#[test]
fn a_success_or_a_failure_that_nobody_reported_is_caught() {
    let mut made = Made::default();
    made.accepted("a").delivered("a", 1, 1);
    let complete = vec![run(1, 1, Some(Says::Complete))];
    made.found(found("a", Stands::Succeeded, complete));
    made.add(Fact::Counted(Counted {
        queue: "q".to_owned(),
        enqueued: 1,
        succeeded: 1,
        ..Counted::default()
    }));
    let (rules, said) = broken(&made, Drained::Yes);
    assert_eq!(rules, [Rule::NoInvention], "{said}");
    assert!(said.contains("nobody completed it") && said.contains("nobody sent"));
}

#[test]
fn a_run_that_was_given_back_though_its_holder_had_it_is_caught() {
    let mut changed = ends();
    changed[0].history[1].end = RunEnd::Report(Says::Release);
    let made = with_ends(good(), changed.clone());
    let says = "run 2 ended by a Release that nobody sent";
    assert_breaks(&made, Drained::Yes, Rule::NoInvention, says);
    // One that never arrived may be given back by the coordinator.
    let mut made = with_ends(good(), changed);
    made.0
        .retain(|entry| !matches!(&entry.fact, Fact::Delivered(one) if one.run == 2));
    made.0.retain(|entry| {
        let (Fact::ReportInvoked(report) | Fact::ReportEnded { report, .. }) = &entry.fact else {
            return true;
        };
        report.run != 2
    });
    assert_eq!(broken(&made, Drained::Yes).0, []);
}

#[test]
fn a_payload_that_changed_is_caught_on_its_way_and_at_the_end() {
    let changed = |made: &mut Made| {
        let delivered = delivered("d", 2, 1);
        made.add(Fact::Delivered(Delivered {
            digest: 8,
            ..delivered
        }));
    };
    assert_more_breaks(changed, Rule::Bytes, "task d (delivered as run 2)");
    assert_ends_break(|ends| ends[0].digest = 8, Rule::Bytes, "found at the end");
}

#[test]
fn a_delivery_before_its_time_is_caught() {
    let early = |made: &mut Made| {
        made.sent("e", 3000).delivered("e", 1, 1);
    };
    assert_more_breaks(early, Rule::NotBefore, "2000 ms before its time");
    // Sent at one instant, delivered two entries later: not early by more than the clocks differ.
    let close = |made: &mut Made| {
        made.sent("e", 2400).ended("e", Enqueued::Unknown);
        made.delivered("e", 1, 1);
    };
    let mut made = good();
    close(&mut made);
    assert_eq!(broken(&made, Drained::No).0, []);
}

#[test]
fn a_lease_before_its_time_is_caught_to_the_millisecond_on_the_coordinators_own_clock() {
    let first = |ends: &mut [Found; 3]| ends[1].enqueued_ms = 6001;
    assert_ends_break(first, Rule::NotBefore, "run 1 was leased 1 ms before");
    let retry = |ends: &mut [Found; 3]| ends[0].history[0].delay_ms = Some(501);
    assert_ends_break(retry, Rule::NotBefore, "run 2 was leased 1 ms before");
}

#[test]
fn two_completions_of_one_task_are_caught() {
    let mut made = Made::default();
    made.accepted("a").delivered("a", 1, 1);
    made.reported(("a", 1, Says::Complete), Answer::Recorded);
    made.delivered("a", 2, 1);
    made.reported(("a", 2, Says::Complete), Answer::Recorded);
    assert_breaks(&made, Drained::No, Rule::OneCompletion, "runs [1, 2]");
}

#[test]
fn a_run_that_was_settled_twice_is_caught() {
    let again = |made: &mut Made| {
        made.reported(("b", 1, Says::Fail), Answer::Recorded);
    };
    assert_more_breaks(again, Rule::OneCompletion, "settled 2 times");
    let otherwise = |made: &mut Made| {
        made.reported(("b", 1, Says::Defer), Answer::Recorded);
    };
    assert_more_breaks(otherwise, Rule::OneCompletion, "settled 2 times");
}

#[test]
fn two_holders_of_one_run_are_caught() {
    let again = |made: &mut Made| {
        made.delivered("a", 2, 2);
    };
    assert_more_breaks(again, Rule::OneHolder, "run 2 was delivered twice");
}

#[test]
fn a_fence_that_does_not_grow_is_caught() {
    for fence in [102, 103] {
        let stale = |made: &mut Made| {
            let delivered = delivered("a", 4, 2);
            made.add(Fact::Delivered(Delivered { fence, ..delivered }));
        };
        assert_more_breaks(stale, Rule::OneHolder, "it must grow");
    }
}

#[test]
fn a_holder_that_was_replaced_and_settles_its_run_is_caught() {
    let mut made = Made::default();
    made.accepted("a").delivered("a", 1, 1).delivered("a", 2, 1);
    let early = made.clone();
    made.reported(("a", 1, Says::Defer), Answer::Recorded);
    assert_breaks(&made, Drained::No, Rule::OneHolder, "a later run had");
    // Sent before the other was seen, and answered after: that is no fault.
    let mut made = Made(early.0[..3].to_vec());
    let report = report("a", 1, Says::Defer);
    made.add(Fact::ReportInvoked(report.clone()));
    made.delivered("a", 2, 1);
    made.add(Fact::ReportEnded {
        report,
        answer: Answer::Recorded,
    });
    assert_eq!(broken(&made, Drained::No).0, []);
}

#[test]
fn an_attempt_that_skips_or_forgets_a_failure_is_caught() {
    for attempt in [1, 3] {
        let wrong = |made: &mut Made| {
            made.delivered("b", 2, attempt);
        };
        assert_more_breaks(wrong, Rule::Attempts, "1 to 1 failures came before");
    }
    // An unanswered failure may count or not, but not twice.
    for (attempt, rules) in [(1, vec![]), (2, vec![]), (3, vec![Rule::Attempts])] {
        let mut made = Made::default();
        made.accepted("a").delivered("a", 1, 1);
        made.reported(("a", 1, Says::Fail), Answer::Unknown);
        made.delivered("a", 2, attempt);
        assert_eq!(broken(&made, Drained::No).0, rules, "attempt {attempt}");
    }
}

#[test]
fn runs_with_a_gap_or_beyond_what_is_known_are_caught() {
    let gap = |ends: &mut [Found; 3]| ends[0].history.truncate(2);
    let mut ends = ends();
    gap(&mut ends);
    let (rules, said) = broken(&with_ends(good(), ends), Drained::Yes);
    assert!(rules.contains(&Rule::Attempts), "{said}");
    let fence = |ends: &mut [Found; 3]| ends[0].fence = 102;
    assert_ends_break(fence, Rule::OneHolder, "fence 103 was delivered");
}

#[test]
fn attempts_that_the_remembered_runs_do_not_explain_are_caught() {
    let crash = |ends: &mut [Found; 3]| ends[2].history[0].attempt = 2;
    let mut changed = ends();
    crash(&mut changed);
    let (rules, said) = broken(&with_ends(good(), changed), Drained::Yes);
    assert_eq!(rules, [Rule::Attempts], "{said}");
}

#[test]
fn an_acknowledged_report_that_was_forgotten_is_caught() {
    let mut changed = ends();
    changed[2].stands = Stands::Dead;
    let mut made = with_ends(good(), changed);
    made.0.pop();
    made.add(Fact::Counted(Counted {
        succeeded: 1,
        dead: 2,
        died: 2,
        ..counted()
    }));
    let says = "the completion of run 1 was acknowledged, but it is Dead";
    assert_breaks(&made, Drained::Yes, Rule::ReportKept, says);
    let mut changed = ends();
    changed[1].history[0].end = RunEnd::Lost;
    changed[1].failures = 0;
    let mut made = with_ends(good(), changed);
    made.0.pop();
    made.add(Fact::Counted(Counted {
        failures: 1,
        ..counted()
    }));
    assert_breaks(&made, Drained::Yes, Rule::ReportKept, "it ended by Lost");
}

#[test]
fn a_queue_that_counts_otherwise_is_caught() {
    let wrong = |change: fn(&mut Counted)| {
        let mut counts = counted();
        change(&mut counts);
        let mut made = with_ends(good(), ends());
        made.0.pop();
        made.add(Fact::Counted(counts));
        assert_breaks(&made, Drained::Yes, Rule::Totals, "its tasks make");
    };
    wrong(|counts| counts.enqueued = 4);
    wrong(|counts| counts.succeeded = 1);
    wrong(|counts| counts.failures = 3);
    let mut made = with_ends(good(), ends());
    made.0.pop();
    assert_breaks(&made, Drained::Yes, Rule::Totals, "is not counted");
}

#[test]
fn a_history_that_makes_no_sense_is_not_taken_for_a_good_one() {
    let twice = |made: &mut Made| {
        made.sent("a", 0);
    };
    let mut made = good();
    twice(&mut made);
    assert!(broken(&made, Drained::No).0.contains(&Rule::Nonsense));
    let mut made = good();
    made.ended("z", Enqueued::Refused);
    made.add(Fact::ReportEnded {
        report: report("b", 9, Says::Fail),
        answer: Answer::Recorded,
    });
    assert_breaks(&made, Drained::No, Rule::Nonsense, "never sent");
}
