//! Claims about the endings of runs: waits that others ask for, deferrals, losses and crashes.

use super::super::policy::RetryAfterMode;
use super::*;
use crate::engine::limits;

fn own_limit(id: &str, class: FailureClass, max_attempts: u32) -> Rule {
    let matches = Match {
        classes: vec![class],
        ..Match::default()
    };
    Rule {
        max_attempts,
        ..Rule::new(id, matches, RuleAction::Retry)
    }
}

#[test]
fn a_retry_may_start_at_the_last_instant_of_the_retry_duration() {
    let policy = Policy {
        max_retry_duration_ms: Some(3000),
        max_attempts: 0,
        backoff: fixed(1000),
        ..Policy::default()
    };
    let (delays, end) = life(&policy, &failure(FailureClass::Internal), 0.5, 100);
    assert_eq!(delays.len(), 3);
    assert_eq!(end, Some(Next::Dead(DeadReason::RetryDurationExceeded)));
    let mut task = Task::new(&policy);
    task.now = Timestamp(1 << 40);
    assert_eq!(
        delay_ms(&task.ends(&Ending::Deferred { delay_ms: 9 }, 0.5)),
        9,
        "no retry"
    );
}

#[test]
fn retry_after_is_a_floor_or_exact_or_ignored_or_in_place_of_the_backoff() {
    let internal = failure(FailureClass::Internal);
    let asked = Ending::Failed {
        failure: &internal,
        not_retryable: false,
        retry_after_ms: Some(10_000),
    };
    let low_and_high = |mode, backoff| {
        let policy = Policy {
            retry_after_mode: mode,
            backoff,
            ..Policy::default()
        };
        [0.0, ALMOST_ONE].map(|u| delay_ms(&Task::new(&policy).ends(&asked, u)))
    };
    let full = Backoff::of(Shape::Fixed { delay_ms: 20_000 });
    assert_eq!(
        low_and_high(RetryAfterMode::Floor, full.clone()),
        [10_000, 20_000]
    );
    assert_eq!(
        low_and_high(RetryAfterMode::Floor, fixed(1000)),
        [10_000, 10_999]
    );
    assert_eq!(
        low_and_high(RetryAfterMode::Floor, fixed(30_000)),
        [30_000; 2]
    );
    assert_eq!(
        low_and_high(RetryAfterMode::Exact, full.clone()),
        [10_000; 2]
    );
    assert_eq!(
        low_and_high(RetryAfterMode::Ignore, full.clone()),
        [0, 20_000]
    );
    assert_eq!(
        low_and_high(RetryAfterMode::Instead, full),
        [10_000, 10_999]
    );
    assert_eq!(
        low_and_high(RetryAfterMode::Instead, fixed(30_000)),
        [10_000, 10_999]
    );
    let below = Backoff {
        jitter: Jitter::Below { ratio: 1.0 },
        ..fixed(20_000)
    };
    assert_eq!(
        low_and_high(RetryAfterMode::Floor, below.clone()),
        [20_000, 10_000]
    );
    assert_eq!(
        low_and_high(RetryAfterMode::Instead, below),
        [10_000, 10_999]
    );
}

#[test]
fn a_rule_says_what_retry_after_does_where_it_decides_and_the_policy_elsewhere() {
    let with_modes = |policy_mode, rule_mode| {
        let rule = Rule {
            retry_after_mode: rule_mode,
            ..own_limit("limited", FailureClass::RateLimited, 9)
        };
        Policy {
            retry_after_mode: policy_mode,
            backoff: fixed(60_000),
            ..with_rules(vec![rule])
        }
    };
    let wait_at = |policy: &Policy, class, u| {
        let failure = failure(class);
        let asked = Ending::Failed {
            failure: &failure,
            not_retryable: false,
            retry_after_ms: Some(5000),
        };
        delay_ms(&Task::new(policy).ends(&asked, u))
    };
    let waits = |policy: &Policy, class| [0.0, 0.5, ALMOST_ONE].map(|u| wait_at(policy, class, u));
    let (ruled, unruled) = (FailureClass::RateLimited, FailureClass::Internal);
    let instead = with_modes(RetryAfterMode::Floor, Some(RetryAfterMode::Instead));
    assert_eq!(waits(&instead, ruled), [5000, 5250, 5499]);
    assert_eq!(waits(&instead, unruled), [60_000; 3]);
    let floor = with_modes(RetryAfterMode::Instead, Some(RetryAfterMode::Floor));
    assert_eq!(waits(&floor, ruled), [60_000; 3]);
    assert_eq!(waits(&floor, unruled), [5000, 5250, 5499]);
    let exact = with_modes(RetryAfterMode::Ignore, Some(RetryAfterMode::Exact));
    assert_eq!(waits(&exact, ruled), [5000; 3]);
    assert_eq!(waits(&exact, unruled), [60_000; 3]);
    let silent = with_modes(RetryAfterMode::Exact, None);
    assert_eq!(waits(&silent, ruled), [5000; 3]);
}

#[test]
fn those_who_were_told_the_same_do_not_come_back_together() {
    let policy = Policy {
        backoff: fixed(0),
        ..Policy::default()
    };
    let internal = failure(FailureClass::Internal);
    let asked = Ending::Failed {
        failure: &internal,
        not_retryable: false,
        retry_after_ms: Some(60_000),
    };
    let mut rng = StdRng::seed_from_u64(3);
    let mut delays: Vec<u64> = (0..DRAWS)
        .map(|_| delay_ms(&Task::new(&policy).ends(&asked, rng.random())))
        .collect();
    delays.sort_unstable();
    assert!(delays[0] >= 60_000 && delays[DRAWS - 1] <= 66_000);
    assert_near(mean(&delays), 63_000.0, 0.01, 6000.0);
    delays.dedup();
    assert!(delays.len() > 5000, "spread over the milliseconds");
}

#[test]
fn absurd_delays_are_cut_to_ten_years() {
    let policy = Policy {
        retry_after_mode: RetryAfterMode::Exact,
        ..Policy::default()
    };
    let internal = failure(FailureClass::Internal);
    let endings = [
        Ending::Failed {
            failure: &internal,
            not_retryable: false,
            retry_after_ms: Some(u64::MAX),
        },
        Ending::Retried {
            failure: &internal,
            delay_ms: Some(u64::MAX),
        },
        Ending::Deferred { delay_ms: u64::MAX },
    ];
    for ending in endings {
        assert_eq!(
            delay_ms(&Task::new(&policy).ends(&ending, 0.5)),
            limits::DELAY_MS_MAX
        );
        for retry_after_mode in [RetryAfterMode::Floor, RetryAfterMode::Instead] {
            let policy = Policy {
                retry_after_mode,
                ..Policy::default()
            };
            let latest = Task::new(&policy).ends(&ending, ALMOST_ONE);
            assert_eq!(delay_ms(&latest), limits::DELAY_MS_MAX);
        }
    }
    let timed = Policy {
        max_retry_duration_ms: Some(u64::MAX),
        ..policy
    };
    let mut task = Task::new(&timed);
    task.now = Timestamp(u64::MAX);
    delay_ms(&task.ends(&endings[1], 0.5));
}

#[test]
fn losses_before_the_start_wait_longer_each_time_and_twenty_in_a_row_are_the_end() {
    let policy = Policy::default();
    let mut task = Task::new(&policy);
    let delays: Vec<u64> = (0..19)
        .map(|_| delay_ms(&task.ends(&Ending::Unstarted, 0.5)) / 1000)
        .collect();
    assert_eq!(delays[..8], [1, 2, 4, 8, 16, 32, 60, 60]);
    let last = task.ends(&Ending::Unstarted, 0.5);
    assert_eq!(last.next, Next::Dead(DeadReason::Undeliverable));
    assert_eq!(
        (last.budget, task.failures, task.crashes),
        (Budget::Deferral, 0, 0)
    );
}

#[test]
fn deferrals_wait_exactly_as_long_as_asked() {
    let policy = Policy {
        max_deferrals: 3,
        ..Policy::default()
    };
    let mut task = Task::new(&policy);
    for asked in [0, 12_345] {
        let verdict = task.ends(&Ending::Deferred { delay_ms: asked }, 0.9);
        assert_eq!(
            (verdict.budget, delay_ms(&verdict)),
            (Budget::Deferral, asked)
        );
    }
    let last = task.ends(&Ending::Deferred { delay_ms: 0 }, 0.9);
    assert_eq!(last.next, Next::Dead(DeadReason::DeferralsExhausted));
}

#[test]
fn a_crash_asks_a_rule_for_its_action_and_its_wait_but_not_for_its_limit() {
    let lost = failure(FailureClass::WorkerLost);
    let crashed = Ending::Crashed { failure: &lost };
    let rule = own_limit("lost", FailureClass::WorkerLost, 1);
    let plain = with_rules(vec![rule.clone()]);
    assert_eq!(Task::new(&plain).ends(&crashed, ALMOST_ONE).rule, None);
    let waits = with_rules(vec![Rule {
        backoff: Some(fixed(7)),
        ..rule.clone()
    }]);
    let mut task = Task::new(&waits);
    for _ in 0..2 {
        let verdict = task.ends(&crashed, 0.5);
        assert_eq!(
            (verdict.rule.as_deref(), delay_ms(&verdict)),
            (Some("lost"), 7)
        );
    }
    assert!(task.rule_retries.is_empty());
    assert_eq!(
        task.ends(&crashed, 0.5).next,
        Next::Dead(DeadReason::CrashesExhausted)
    );
    let fails = with_rules(vec![Rule {
        action: RuleAction::Fail,
        ..rule
    }]);
    assert_eq!(Task::new(&fails).ends(&crashed, 0.5).next, Next::Fail);
    let unlimited = Policy {
        max_crashes: 0,
        ..Policy::default()
    };
    let mut task = Task::new(&unlimited);
    assert!((0..1000).all(|_| matches!(task.ends(&crashed, 0.5).next, Next::Retry { .. })));
}

#[test]
fn even_an_unlimited_task_ends_before_its_runs_can_no_longer_be_counted() {
    let policy = Policy {
        max_attempts: 0,
        max_crashes: 0,
        max_deferrals: u32::MAX,
        ..Policy::default()
    };
    let internal = failure(FailureClass::Internal);
    let endings = [
        (failed(&internal), DeadReason::AttemptsExhausted),
        (
            Ending::Crashed { failure: &internal },
            DeadReason::CrashesExhausted,
        ),
        (Ending::Released, DeadReason::DeferralsExhausted),
    ];
    for (ending, reason) in endings {
        let mut task = Task::new(&policy);
        (task.failures, task.crashes) = (limits::RUNS_MAX - 10, 8);
        delay_ms(&task.ends(&ending, 0.5));
        assert_eq!(task.ends(&ending, 0.5).next, Next::Dead(reason));
        task.failures = u32::MAX;
        task.crashes = u32::MAX;
        assert_eq!(task.ends(&ending, 0.5).next, Next::Dead(reason));
    }
}

#[test]
fn the_judge_draws_once_where_there_is_a_choice_and_else_never() {
    let policy = Policy::default();
    let internal = failure(FailureClass::Internal);
    let retry_after_ms = Some(5);
    let endings = [
        (failed(&internal), 1),
        (
            Ending::Failed {
                failure: &internal,
                not_retryable: false,
                retry_after_ms,
            },
            1,
        ),
        (
            Ending::Failed {
                failure: &internal,
                not_retryable: true,
                retry_after_ms,
            },
            0,
        ),
        (
            Ending::Retried {
                failure: &internal,
                delay_ms: Some(1),
            },
            0,
        ),
        (Ending::Released, 0),
    ];
    for (ending, expected) in endings {
        let mut draws = 0;
        let mut draw = || {
            draws += 1;
            0.5
        };
        let task = Task::new(&policy);
        let verdict = decide(&policy, &task.spent(), &ending, task.now, &mut draw);
        assert_eq!(draws, expected, "{verdict:?}");
    }
}
