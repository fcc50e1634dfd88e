//! Claims about rules, limits and budgets.

use super::super::delay_window;
use super::super::policy::ExhaustAction;
use super::*;

#[test]
fn the_first_rule_that_matches_decides() {
    let everything = |id, action| Rule::new(id, Match::default(), action);
    let policy = with_rules(vec![
        own_limit("net", FailureClass::Network, 3),
        everything("first", RuleAction::Fail),
        everything("second", RuleAction::Discard),
    ]);
    let verdict = Task::new(&policy).fails(&failure(FailureClass::Internal), 0.5);
    assert_eq!(
        (verdict.rule.as_deref(), verdict.next),
        (Some("first"), Next::Fail)
    );
    let verdict = Task::new(&policy).fails(&failure(FailureClass::Network), 0.5);
    assert_eq!(
        (verdict.rule.as_deref(), delay_ms(&verdict)),
        (Some("net"), 1000)
    );
}

#[test]
fn all_that_a_rule_sets_must_match() {
    let matches = Match {
        classes: vec![FailureClass::Network, FailureClass::Internal],
        codes: vec![14, 4],
        ..Match::default()
    };
    let policy = with_rules(vec![Rule::new("both", matches, RuleAction::Fail)]);
    let matched = |failure: &Failure| Task::new(&policy).fails(failure, 0.5).rule.is_some();
    assert!(matched(&coded(14)) && matched(&coded(4)));
    assert!(!matched(&coded(13)));
    assert!(!matched(&Failure {
        code: 14,
        ..failure(FailureClass::Business)
    }));
}

#[test]
fn a_star_stands_for_any_rest_at_the_end_only() {
    let go = with_rules(vec![for_types(
        "go",
        RuleAction::Fail,
        &["*net.OpError"],
        &[],
    )]);
    assert!(
        Task::new(&go)
            .fails(&typed("*net.OpError", &[]), 0.5)
            .rule
            .is_some()
    );
    assert!(
        Task::new(&go)
            .fails(&typed("xnet.OpError", &[]), 0.5)
            .rule
            .is_none()
    );
    let any = with_rules(vec![for_types(
        "any",
        RuleAction::Fail,
        &["*"],
        &["java:*"],
    )]);
    assert!(Task::new(&any).fails(&typed("", &[]), 0.5).rule.is_some());
    assert!(
        Task::new(&any)
            .fails(&typed("rust:Io", &["java:X"]), 0.5)
            .rule
            .is_none()
    );
}

#[test]
fn an_attempt_range_counts_from_one_and_includes_both_ends() {
    let matches = Match {
        attempt_min: 2,
        attempt_max: 3,
        ..Match::default()
    };
    let policy = with_rules(vec![Rule::new("middle", matches, RuleAction::Retry)]);
    let mut task = Task::new(&policy);
    let named: Vec<bool> = (0..5)
        .map(|_| {
            task.fails(&failure(FailureClass::Internal), 0.5)
                .rule
                .is_some()
        })
        .collect();
    assert_eq!(named, [false, true, true, false, false]);
}

#[test]
fn a_rule_s_own_limit_replaces_the_policy_s_both_ways() {
    for (own, expected) in [(1, 1), (2, 2), (10, 10)] {
        let policy = with_rules(vec![own_limit("net", FailureClass::Network, own)]);
        let mut task = Task::new(&policy);
        let mut runs = 0;
        let end = loop {
            runs += 1;
            let verdict = task.fails(&failure(FailureClass::Network), 0.5);
            if !matches!(verdict.next, Next::Retry { .. }) {
                break verdict;
            }
        };
        assert_eq!(runs, expected);
        assert_eq!(
            end.rule.as_deref(),
            Some("net"),
            "the rule's own limit ended it"
        );
    }
}

#[test]
fn a_rule_counts_its_own_retries_and_backs_off_by_them() {
    let rule = Rule {
        backoff: Some(Backoff {
            jitter: Jitter::None,
            ..Backoff::default()
        }),
        ..own_limit("net", FailureClass::Network, 3)
    };
    let policy = Policy {
        max_attempts: 0,
        ..with_rules(vec![rule])
    };
    let mut task = Task::new(&policy);
    for _ in 0..3 {
        task.fails(&failure(FailureClass::Internal), 0.5);
    }
    assert_eq!(
        delay_ms(&task.fails(&failure(FailureClass::Network), 0.5)),
        1000
    );
    task.fails(&failure(FailureClass::Internal), 0.5);
    assert_eq!(
        delay_ms(&task.fails(&failure(FailureClass::Network), 0.5)),
        2000
    );
    assert_eq!(
        task.fails(&failure(FailureClass::Network), 0.5).next,
        EXHAUSTED.unwrap()
    );
}

#[test]
fn the_task_s_own_limit_caps_the_rule_s_and_cannot_raise_it() {
    let policy = with_rules(vec![own_limit("net", FailureClass::Network, 10)]);
    for (own, expected, by_rule) in [(3, 3, false), (30, 10, true), (0, 10, true)] {
        let mut task = Task::new(&policy);
        task.max_attempts = Some(own);
        let verdicts: Vec<Verdict> = (0..expected)
            .map(|_| task.fails(&failure(FailureClass::Network), 0.5))
            .collect();
        let (last, earlier) = verdicts.split_last().unwrap();
        assert!(
            earlier
                .iter()
                .all(|verdict| matches!(verdict.next, Next::Retry { .. }))
        );
        assert_eq!(
            (last.next, last.rule.is_some()),
            (EXHAUSTED.unwrap(), by_rule)
        );
    }
}

#[test]
fn a_rule_that_spares_attempts_uses_deferrals_and_ends_with_either() {
    let rule = Rule {
        spares_attempts: true,
        ..own_limit("slow", FailureClass::RateLimited, 5)
    };
    let limited = failure(FailureClass::RateLimited);
    let policy = with_rules(vec![rule]);
    let mut task = Task::new(&policy);
    for _ in 0..4 {
        assert_eq!(task.fails(&limited, 0.5).budget, Budget::Deferral);
    }
    assert_eq!((task.failures, task.deferrals), (0, 4));
    assert_eq!(task.fails(&limited, 0.5).next, EXHAUSTED.unwrap());

    let few = Policy {
        max_deferrals: 2,
        ..policy
    };
    let mut task = Task::new(&few);
    delay_ms(&task.fails(&limited, 0.5));
    assert_eq!(
        task.fails(&limited, 0.5).next,
        Next::Dead(DeadReason::DeferralsExhausted)
    );

    // A task that must never be retried is not, but one that has a last attempt keeps it.
    let mut once = Task::new(&few);
    once.max_attempts = Some(1);
    assert_eq!(once.fails(&limited, 0.5).next, EXHAUSTED.unwrap());
    let mut last = Task::new(&few);
    (last.max_attempts, last.failures) = (Some(3), 2);
    delay_ms(&last.fails(&limited, 0.5));
}

#[test]
fn not_retryable_yields_to_a_rule_that_ends_the_task_only() {
    let internal = failure(FailureClass::Internal);
    let final_word = Ending::Failed {
        failure: &internal,
        not_retryable: true,
        retry_after_ms: None,
    };
    for (action, expected, named) in [
        (
            RuleAction::Retry,
            Next::Dead(DeadReason::NotRetryable),
            None,
        ),
        (RuleAction::Fail, Next::Fail, Some("rule")),
        (RuleAction::Discard, Next::Discard, Some("rule")),
        (
            RuleAction::DeadLetter,
            Next::Dead(DeadReason::Rule),
            Some("rule"),
        ),
    ] {
        let policy = with_rules(vec![Rule::new("rule", Match::default(), action)]);
        let verdict = Task::new(&policy).ends(&final_word, 0.5);
        assert_eq!((verdict.next, verdict.rule.as_deref()), (expected, named));
        assert_eq!(verdict.budget, Budget::Attempt);
    }
}

#[test]
fn on_exhausted_says_how_spent_attempts_and_spent_time_end() {
    for (action, by_attempts, by_time) in [
        (
            ExhaustAction::DeadLetter,
            Next::Dead(DeadReason::AttemptsExhausted),
            Next::Dead(DeadReason::RetryDurationExceeded),
        ),
        (ExhaustAction::Fail, Next::Fail, Next::Fail),
        (ExhaustAction::Discard, Next::Discard, Next::Discard),
    ] {
        let policy = Policy {
            on_exhausted: action,
            max_attempts: 1,
            ..Policy::default()
        };
        let internal = failure(FailureClass::Internal);
        assert_eq!(Task::new(&policy).fails(&internal, 0.5).next, by_attempts);
        let policy = Policy {
            max_attempts: 0,
            max_retry_duration_ms: Some(999),
            backoff: fixed(1000),
            ..policy
        };
        assert_eq!(Task::new(&policy).fails(&internal, 0.5).next, by_time);
        let lost = failure(FailureClass::WorkerLost);
        let verdict = Task::new(&Policy {
            crash_backoff: fixed(1000),
            ..policy
        })
        .ends(&Ending::Crashed { failure: &lost }, 0.5);
        assert_eq!((verdict.budget, verdict.next), (Budget::Crash, by_time));
    }
}

#[test]
fn no_delay_is_outside_of_its_window() {
    let mut rng = StdRng::seed_from_u64(11);
    for policy in named_presets::all() {
        for class in FailureClass::ALL {
            let failure = failure(class);
            let mut task = Task::new(&policy);
            for _ in 0..60 {
                let retry_after_ms = rng.random_bool(0.3).then(|| rng.random_range(0..100_000));
                let ending = Ending::Failed {
                    failure: &failure,
                    not_retryable: false,
                    retry_after_ms,
                };
                let window = delay_window(&policy, &task.spent(), &ending);
                let verdict = task.ends(&ending, rng.random());
                let Next::Retry { delay_ms, .. } = verdict.next else {
                    assert_eq!(window, None);
                    break;
                };
                let window = window.expect("a retry has a window");
                assert!(
                    window.contains(delay_ms),
                    "{} {class:?} {window:?}",
                    policy.name
                );
                assert!(
                    window.contains(window.mean_ms),
                    "{} {class:?} {window:?}",
                    policy.name
                );
            }
        }
    }
}

#[test]
fn an_empty_policy_means_what_the_proto_says() {
    let policy = Policy::default();
    assert_eq!(
        (
            policy.max_attempts,
            policy.max_crashes,
            policy.max_deferrals
        ),
        (6, 3, 1000)
    );
    assert_eq!(
        (policy.backoff.max_ms, policy.crash_backoff.max_ms),
        (600_000, 60_000)
    );
    assert_eq!(
        (policy.timeout_growth, policy.timeout_growth_max),
        (1.0, 4.0)
    );
}
