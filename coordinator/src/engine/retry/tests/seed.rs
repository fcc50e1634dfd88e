//! The rows of the Celery checklist that concern the judge, one test a row.

use super::*;

fn celery_like(initial_s: u64, max_s: u64, max_retries: u32, jitter: Jitter) -> Policy {
    Policy {
        max_attempts: max_retries + 1,
        backoff: Backoff {
            max_ms: max_s * 1000,
            jitter,
            ..Backoff::of(Shape::doubling(initial_s * 1000))
        },
        ..Policy::default()
    }
}

#[test]
fn s01_three_retries_are_four_attempts() {
    let policy = Policy {
        max_attempts: 3 + 1,
        ..Policy::default()
    };
    let (delays, end) = seconds(&policy, 0.5, 100);
    assert_eq!((delays.len() + 1, end), (4, EXHAUSTED));
}

#[test]
fn s02_zero_attempts_are_unlimited_and_one_is_no_retry() {
    let unlimited = Policy {
        max_attempts: 0,
        ..Policy::default()
    };
    assert_eq!(seconds(&unlimited, 0.5, 5000).1, None);
    let never = Policy {
        max_attempts: 1,
        ..Policy::default()
    };
    assert_eq!(seconds(&never, 0.5, 100), (vec![], EXHAUSTED));
}

#[test]
fn s02_the_task_s_own_limit_takes_the_place_of_the_policy_s() {
    let policy = Policy::default();
    let internal = failure(FailureClass::Internal);
    for (own, expected) in [(1, 1), (2, 2), (6, 6), (9, 9)] {
        let mut task = Task::new(&policy);
        task.max_attempts = Some(own);
        let runs = (1..100).find(|_| task.fails(&internal, 0.5).next == EXHAUSTED.unwrap());
        assert_eq!(runs, Some(expected));
    }
    let mut task = Task::new(&policy);
    task.max_attempts = Some(0);
    assert!((1..1000).all(|_| task.fails(&internal, 0.5).next != EXHAUSTED.unwrap()));
}

#[test]
fn s03_celery_s_default_waits_three_minutes_three_times() {
    assert_eq!(
        seconds(&preset("celery-default"), 0.5, 100),
        (vec![180, 180, 180], EXHAUSTED)
    );
}

#[test]
fn s03_a_retry_without_a_delay_waits_as_the_policy_says_and_with_0_not_at_all() {
    let policy = preset("celery-default");
    let internal = failure(FailureClass::Internal);
    let mut task = Task::new(&policy);
    let retried = |delay_ms| Ending::Retried {
        failure: &internal,
        delay_ms,
    };
    assert_eq!(delay_ms(&task.ends(&retried(None), 0.5)), 180_000);
    assert_eq!(delay_ms(&task.ends(&retried(Some(0)), 0.5)), 0);
}

#[test]
fn s04_the_worker_s_delay_replaces_the_policy_s_for_one_retry() {
    let policy = Policy {
        max_attempts: 6,
        ..(*preset("celery-default")).clone()
    };
    let internal = failure(FailureClass::Internal);
    let mut task = Task::new(&policy);
    let asked = Ending::Retried {
        failure: &internal,
        delay_ms: Some(60_000),
    };
    assert_eq!(delay_ms(&task.ends(&asked, 0.5)), 60_000);
    assert_eq!(delay_ms(&task.fails(&internal, 0.5)), 180_000);
    let rest: Vec<Verdict> = (0..4).map(|_| task.ends(&asked, 0.5)).collect();
    assert_eq!(
        rest.last().map(|last| last.next),
        EXHAUSTED,
        "it counts as an attempt"
    );
}

#[test]
fn s04_clamp_cuts_the_worker_s_delay_to_the_backoff_s_max() {
    let exact = celery_like(1, 600, 5, Jitter::Full);
    let clamp = Policy {
        worker_delay_mode: super::super::policy::WorkerDelayMode::Clamp,
        ..exact.clone()
    };
    let internal = failure(FailureClass::Internal);
    let asked = Ending::Retried {
        failure: &internal,
        delay_ms: Some(3_600_000),
    };
    assert_eq!(delay_ms(&Task::new(&exact).ends(&asked, 0.5)), 3_600_000);
    assert_eq!(delay_ms(&Task::new(&clamp).ends(&asked, 0.5)), 600_000);
    let short = Ending::Retried {
        failure: &internal,
        delay_ms: Some(0),
    };
    assert_eq!(delay_ms(&Task::new(&clamp).ends(&short, 0.5)), 0);
}

#[test]
fn s05_exponential_backoff_doubles_from_a_minute_and_then_dead_letters() {
    let policy = celery_like(60, 86_400, 5, Jitter::None);
    assert_eq!(
        seconds(&policy, 0.5, 100),
        (vec![60, 120, 240, 480, 960], EXHAUSTED)
    );
}

#[test]
fn s06_additive_jitter_adds_up_to_a_tenth_in_milliseconds() {
    let jitter = Jitter::Additive { ratio: 0.1 };
    let backoff = celery_like(60, 86_400, 5, jitter).backoff;
    let delays = drawn(&backoff, 1, None);
    assert!(delays[0] >= 120_000 && delays[DRAWS - 1] <= 132_000);
    assert_near(mean(&delays), 126_000.0, 0.01, 12_000.0);
    assert!(
        delays.iter().any(|delay| delay % 1000 != 0),
        "not rounded to seconds"
    );
}

#[test]
fn s07_every_preset_spreads_its_retries_but_those_that_quote_others_without_jitter() {
    let without: Vec<String> = named_presets::all()
        .iter()
        .filter(|policy| {
            let spread = super::super::window(&policy.backoff, 3, Some(8000));
            spread.min_ms == spread.max_ms
        })
        .map(|policy| policy.name.to_string())
        .collect();
    assert_eq!(
        without,
        [
            "bullmq",
            "celery-default",
            "cloud-tasks",
            "graphile",
            "hatchet",
            "immediate",
            "never",
            "rabbitmq-4.3",
            "restate",
            "temporal"
        ]
    );
    assert_eq!(Backoff::default().jitter, Jitter::Full);
}

#[test]
fn s08_exhaustion_is_the_reason_and_leaves_the_cause_to_the_failure() {
    let (_, end) = life(
        &Policy::default(),
        &failure(FailureClass::Network),
        0.5,
        100,
    );
    assert_eq!(end, Some(Next::Dead(DeadReason::AttemptsExhausted)));
}

#[test]
fn s13_a_rule_catches_subclasses_by_their_ancestors() {
    let types = ["python:builtins.ConnectionError"];
    let policy = with_rules(vec![for_types("net", RuleAction::DeadLetter, &types, &[])]);
    let reset = typed(
        "python:builtins.ConnectionResetError",
        &["python:builtins.ConnectionError"],
    );
    let verdict = Task::new(&policy).fails(&reset, 0.5);
    assert_eq!(verdict.rule.as_deref(), Some("net"));
    assert_eq!(verdict.next, Next::Dead(DeadReason::Rule));
    let other = typed("python:builtins.ValueError", &["python:builtins.Exception"]);
    assert_eq!(Task::new(&policy).fails(&other, 0.5).rule, None);
}

#[test]
fn s13_exclusions_win() {
    let excluded = ["python:builtins.BrokenPipeError"];
    let types = ["python:builtins.ConnectionError"];
    let policy = with_rules(vec![for_types("net", RuleAction::Fail, &types, &excluded)]);
    let broken = typed("python:builtins.BrokenPipeError", &types);
    assert_eq!(Task::new(&policy).fails(&broken, 0.5).rule, None);
}

#[test]
fn s14_celery_s_autoretry_doubles_from_a_second() {
    let policy = celery_like(1, 600, 5, Jitter::None);
    assert_eq!(
        seconds(&policy, 0.5, 100),
        (vec![1, 2, 4, 8, 16], EXHAUSTED)
    );
    let ceilings: Vec<u64> = (0..5)
        .map(|n| super::super::window(&preset("celery-autoretry").backoff, n, None).max_ms)
        .collect();
    assert_eq!(ceilings, [1000, 2000, 4000, 8000, 16_000]);
}

#[test]
fn s14_a_backoff_of_half_a_second_stays_half_a_second() {
    let policy = Policy {
        backoff: Backoff {
            jitter: Jitter::None,
            ..Backoff::of(Shape::doubling(500))
        },
        ..Policy::default()
    };
    let (delays, _) = life(&policy, &failure(FailureClass::Internal), 0.5, 3);
    assert_eq!(delays, [500, 1000, 2000]);
}

#[test]
fn s15_the_cap_comes_before_the_jitter() {
    let jitter = Jitter::Additive { ratio: 0.1 };
    let capped = celery_like(1, 600, 0, jitter).backoff;
    let window = super::super::window(&capped, 20, None);
    assert_eq!(
        (window.base_ms, window.min_ms, window.max_ms),
        (600_000, 600_000, 659_999)
    );
    assert_eq!(preset("celery-autoretry").backoff.max_ms, 600_000);
}

#[test]
fn s16_full_jitter_draws_whole_seconds_from_0_to_the_ceiling() {
    let backoff = &preset("celery-autoretry").backoff;
    let delays = drawn(backoff, 3, None);
    assert_eq!(
        (delays[0], delays[DRAWS - 1]),
        (0, 8000),
        "a retry can be immediate"
    );
    assert!(delays.iter().all(|delay| delay % 1000 == 0));
    assert_near(mean(&delays), 4000.0, 0.01, 8000.0);
    assert_eq!(
        (delays[DRAWS / 4], delays[DRAWS / 2], delays[DRAWS * 3 / 4]),
        (2000, 4000, 6000)
    );
}

#[test]
fn s17_the_seed_s_robust_call_has_these_ceilings() {
    let policy = celery_like(60, 3600, 10, Jitter::None);
    let ceilings = [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600, 3600];
    assert_eq!(seconds(&policy, 0.5, 100), (ceilings.to_vec(), EXHAUSTED));
    let jittered = Policy {
        backoff: Backoff {
            granularity_ms: 1000,
            ..celery_like(60, 3600, 10, Jitter::Full).backoff
        },
        ..policy
    };
    assert_eq!(
        seconds(&jittered, 0.0, 100),
        (vec![0; 10], EXHAUSTED),
        "and no floor"
    );
    assert_eq!(
        seconds(&jittered, ALMOST_ONE, 100),
        (ceilings.to_vec(), EXHAUSTED)
    );
}

#[test]
fn s18_immediate_is_a_policy_of_its_own() {
    assert_eq!(
        seconds(&preset("immediate"), 0.5, 100),
        (vec![0, 0, 0], EXHAUSTED)
    );
}

#[test]
fn s19_judging_changes_no_policy() {
    let policy = preset("recommended");
    let before = (*policy).clone();
    life(&policy, &failure(FailureClass::RateLimited), 0.5, 100);
    assert_eq!(*policy, before);
}

#[test]
fn s20_types_are_free_strings_and_classes_are_portable() {
    let types = ["python:requests.*", "python:builtins.ConnectionError"];
    let by_type = with_rules(vec![for_types("net", RuleAction::DeadLetter, &types, &[])]);
    let requests = typed(
        "python:requests.exceptions.ConnectionError",
        &["python:builtins.OSError"],
    );
    assert_eq!(
        Task::new(&by_type).fails(&requests, 0.5).rule.as_deref(),
        Some("net")
    );
    let java = Failure {
        error_type: "java:java.net.ConnectException".into(),
        ..requests
    };
    assert_eq!(Task::new(&by_type).fails(&java, 0.5).rule, None);
    let java = Failure {
        class: FailureClass::Network,
        ..java
    };
    let recommended = preset("recommended");
    assert_eq!(
        Task::new(&recommended).fails(&java, 0.5).rule.as_deref(),
        Some("network")
    );
}

#[test]
fn s22_not_retryable_ends_it_and_expected_is_judged_like_any_other() {
    let policy = Policy::default();
    let internal = failure(FailureClass::Internal);
    let final_word = Ending::Failed {
        failure: &internal,
        not_retryable: true,
        retry_after_ms: Some(5),
    };
    let verdict = Task::new(&policy).ends(&final_word, 0.5);
    assert_eq!(verdict.next, Next::Dead(DeadReason::NotRetryable));
    let expected = Failure {
        expected: true,
        ..internal.clone()
    };
    assert_eq!(
        Task::new(&policy).fails(&expected, 0.5),
        Task::new(&policy).fails(&internal, 0.5)
    );
}

#[test]
fn s22_a_release_burns_no_attempt_and_is_capped() {
    let policy = Policy {
        max_deferrals: 5,
        ..Policy::default()
    };
    let mut task = Task::new(&policy);
    for _ in 0..4 {
        let verdict = task.ends(&Ending::Released, 0.5);
        assert_eq!((verdict.budget, delay_ms(&verdict)), (Budget::Deferral, 0));
    }
    let last = task.ends(&Ending::Released, 0.5);
    assert_eq!(last.next, Next::Dead(DeadReason::DeferralsExhausted));
    assert_eq!(task.failures, 0);
}

#[test]
fn s35_a_timeout_is_a_class_like_any_other() {
    let matches = Match {
        classes: vec![FailureClass::Timeout],
        ..Match::default()
    };
    let policy = with_rules(vec![Rule::new("slow", matches, RuleAction::Discard)]);
    let verdict = Task::new(&policy).fails(&failure(FailureClass::Timeout), 0.5);
    assert_eq!(
        (verdict.rule.as_deref(), verdict.next),
        (Some("slow"), Next::Discard)
    );
}

#[test]
fn p3_crashes_have_a_budget_of_their_own() {
    let policy = Policy::default();
    let lost = failure(FailureClass::WorkerLost);
    let mut task = Task::new(&policy);
    task.failures = 4;
    for expected in [1000, 2000] {
        let verdict = task.ends(&Ending::Crashed { failure: &lost }, ALMOST_ONE);
        assert_eq!(
            (verdict.budget, delay_ms(&verdict)),
            (Budget::Crash, expected)
        );
    }
    let last = task.ends(&Ending::Crashed { failure: &lost }, 0.5);
    assert_eq!(last.next, Next::Dead(DeadReason::CrashesExhausted));
    assert_eq!(task.failures, 4);
}
