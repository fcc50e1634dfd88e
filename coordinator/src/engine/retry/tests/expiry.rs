//! Claims about the ends that a task's own time and its delivery mode bring.

use super::super::policy::ExhaustAction;
use super::*;

/// What follows this ending at instant 0 for a task whose deadline is then, or that must not run
/// twice.
fn judged(
    policy: &Policy,
    ending: &Ending<'_>,
    end_by: Option<u64>,
    at_most_once: bool,
) -> Verdict {
    let task = Task::new(policy);
    let spent = Spent {
        end_by: end_by.map(Timestamp),
        at_most_once,
        ..task.spent()
    };
    decide(policy, &spent, ending, Timestamp(0), &mut || 0.5)
}

fn plain() -> Policy {
    with_rules(Vec::new())
}

fn doing(on_exhausted: ExhaustAction) -> Policy {
    Policy {
        on_exhausted,
        ..plain()
    }
}

const ACTIONS: [ExhaustAction; 3] = [
    ExhaustAction::DeadLetter,
    ExhaustAction::Fail,
    ExhaustAction::Discard,
];

fn made_of(action: ExhaustAction, reason: DeadReason) -> Next {
    match action {
        ExhaustAction::DeadLetter => Next::Dead(reason),
        ExhaustAction::Fail => Next::Fail,
        ExhaustAction::Discard => Next::Discard,
    }
}

#[test]
fn a_task_whose_time_is_over_ends_as_the_policy_says_of_spent_ones() {
    for action in ACTIONS {
        for reason in [DeadReason::TtlExpired, DeadReason::DeadlineExceeded] {
            let verdict = judged(&doing(action), &Ending::Expired { reason }, None, false);
            assert_eq!(verdict.next, made_of(action, reason));
            assert_eq!((verdict.spent, verdict.rule), (Some(reason), None));
        }
    }
}

#[test]
fn no_rule_and_no_limit_keeps_a_task_whose_time_is_over() {
    let policy = Policy {
        max_attempts: 0,
        rules: vec![own_limit("all", FailureClass::Timeout, 99)],
        ..plain()
    };
    let reason = DeadReason::DeadlineExceeded;
    for at_most_once in [false, true] {
        let verdict = judged(&policy, &Ending::Expired { reason }, Some(1), at_most_once);
        assert_eq!(verdict.next, Next::Dead(reason));
    }
}

#[test]
fn whatever_would_start_at_the_deadline_ends_at_once_and_a_millisecond_before_it_does_not() {
    let internal = failure(FailureClass::Internal);
    let policy = Policy {
        crash_backoff: fixed(1000),
        ..plain()
    };
    let deferred = Ending::Deferred { delay_ms: 1000 };
    let retried = Ending::Retried {
        failure: &internal,
        delay_ms: Some(1000),
    };
    let crashed = Ending::Crashed { failure: &internal };
    let overrun = Ending::Overrun { failure: &internal };
    let failed = failed(&internal);
    for ending in [
        failed,
        retried,
        crashed,
        overrun,
        deferred,
        Ending::Unstarted,
    ] {
        for end_by in [0, 999, 1000] {
            let verdict = judged(&policy, &ending, Some(end_by), false);
            let reason = DeadReason::DeadlineExceeded;
            assert_eq!(verdict.next, Next::Dead(reason), "{ending:?} {end_by}");
            assert_eq!(verdict.spent, Some(reason));
        }
        let verdict = judged(&policy, &ending, Some(1001), false);
        assert_eq!(delay_ms(&verdict), 1000, "{ending:?}");
    }
    let released = |end_by| judged(&policy, &Ending::Released, Some(end_by), false).next;
    assert_eq!(released(0), Next::Dead(DeadReason::DeadlineExceeded));
    assert!(matches!(released(1), Next::Retry { delay_ms: 0, .. }));
}

#[test]
fn what_would_start_too_late_ends_as_the_policy_says_and_uses_up_what_it_is() {
    let internal = failure(FailureClass::Internal);
    let late = Some(500);
    for action in ACTIONS {
        let policy = doing(action);
        let verdict = judged(&policy, &failed(&internal), late, false);
        let expected = made_of(action, DeadReason::DeadlineExceeded);
        assert_eq!((verdict.next, verdict.budget), (expected, Budget::Attempt));
        let deferred = Ending::Deferred { delay_ms: 1000 };
        let verdict = judged(&policy, &deferred, late, false);
        assert_eq!((verdict.next, verdict.budget), (expected, Budget::Deferral));
    }
}

#[test]
fn an_end_that_a_rule_or_a_limit_brings_goes_before_the_deadline() {
    let internal = failure(FailureClass::Internal);
    let spent_at_once = Policy {
        max_attempts: 1,
        ..plain()
    };
    let verdict = judged(&spent_at_once, &failed(&internal), Some(0), false);
    assert_eq!(verdict.next, Next::Dead(DeadReason::AttemptsExhausted));
    let matches = Match {
        classes: vec![FailureClass::Internal],
        ..Match::default()
    };
    let rule = Rule::new("end", matches, RuleAction::Fail);
    let verdict = judged(&with_rules(vec![rule]), &failed(&internal), Some(0), false);
    assert_eq!((verdict.next, verdict.spent), (Next::Fail, None));
}

#[test]
fn a_task_that_must_not_run_twice_is_lost_with_a_lease_that_ends_without_a_report() {
    let lost = failure(FailureClass::WorkerLost);
    let over = failure(FailureClass::Timeout);
    let crashed = Ending::Crashed { failure: &lost };
    let overrun = Ending::Overrun { failure: &over };
    for (ending, budget) in [
        (crashed, Budget::Crash),
        (overrun, Budget::Attempt),
        (Ending::Unstarted, Budget::Deferral),
    ] {
        for action in ACTIONS {
            let policy = Policy {
                max_attempts: 0,
                max_crashes: 0,
                ..doing(action)
            };
            let verdict = judged(&policy, &ending, None, true);
            assert_eq!(verdict.next, Next::Dead(DeadReason::LeaseLost));
            assert_eq!(verdict.budget, budget);
            assert_eq!(verdict.spent, Some(DeadReason::LeaseLost));
            let verdict = judged(&policy, &ending, None, false);
            assert!(matches!(verdict.next, Next::Retry { .. }), "{ending:?}");
        }
    }
}

#[test]
fn a_task_that_must_not_run_twice_is_judged_as_always_where_its_holder_speaks() {
    let internal = failure(FailureClass::Internal);
    let retried = Ending::Retried {
        failure: &internal,
        delay_ms: None,
    };
    let deferred = Ending::Deferred { delay_ms: 5 };
    for ending in [failed(&internal), retried, deferred, Ending::Released] {
        let policy = plain();
        let once = judged(&policy, &ending, None, true);
        assert_eq!(once, judged(&policy, &ending, None, false));
        assert!(matches!(once.next, Next::Retry { .. }), "{ending:?}");
    }
}

#[test]
fn a_run_over_its_limit_is_judged_like_a_reported_timeout_where_the_task_may_run_again() {
    let over = failure(FailureClass::Timeout);
    let policy = Policy {
        rules: vec![own_limit("slow", FailureClass::Timeout, 2)],
        ..plain()
    };
    let overrun = judged(&policy, &Ending::Overrun { failure: &over }, None, false);
    assert_eq!(overrun, judged(&policy, &failed(&over), None, false));
    assert_eq!(overrun.rule.as_deref(), Some("slow"));
}
