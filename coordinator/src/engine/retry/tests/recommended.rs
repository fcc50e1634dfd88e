//! The rows of the best-practice table, as the preset `recommended` has them.

use super::*;

fn windows(class: FailureClass, most: u32) -> Vec<(u64, u64)> {
    let preview = super::super::preview(&preset("recommended"), &failure(class), None, most);
    preview
        .steps
        .iter()
        .filter_map(|step| step.wait)
        .map(|wait| (wait.min_ms, wait.max_ms))
        .collect()
}

fn rule_of(failure: &Failure) -> (Option<String>, Next) {
    let policy = preset("recommended");
    let verdict = Task::new(&policy).fails(failure, 0.5);
    (verdict.rule.map(|id| id.to_string()), verdict.next)
}

#[test]
fn b1_network_errors_double_from_a_second_with_full_jitter_six_times() {
    assert_eq!(
        windows(FailureClass::Network, 100),
        [(0, 1000), (0, 2000), (0, 4000), (0, 8000), (0, 16_000)]
    );
    assert_eq!(rule_of(&coded(14)).0.as_deref(), Some("grpc-unavailable"));
}

#[test]
fn b2_rate_limits_wait_as_asked_or_a_minute_and_burn_no_attempt() {
    let policy = preset("recommended");
    let limited = failure(FailureClass::RateLimited);
    let asked = |retry_after_ms| Ending::Failed {
        failure: &limited,
        not_retryable: false,
        retry_after_ms,
    };
    for (retry_after_ms, low, middle, high) in [
        (None, 60_000, 63_000, 65_999),
        (Some(120_000), 120_000, 126_000, 131_999),
        (Some(5000), 5000, 5250, 5499),
        (Some(9), 9, 9, 9),
        (Some(0), 0, 0, 0),
    ] {
        for (u, expected) in [(0.0, low), (0.5, middle), (ALMOST_ONE, high)] {
            let verdict = Task::new(&policy).ends(&asked(retry_after_ms), u);
            assert_eq!(
                (verdict.budget, delay_ms(&verdict)),
                (Budget::Deferral, expected)
            );
        }
    }
    let code = coded(8);
    let unclassified = Ending::Failed {
        failure: &code,
        not_retryable: false,
        retry_after_ms: Some(5000),
    };
    for (u, expected) in [(0.0, 5000), (0.5, 5250), (ALMOST_ONE, 5499)] {
        let verdict = Task::new(&policy).ends(&unclassified, u);
        assert_eq!(delay_ms(&verdict), expected);
    }
    let mut task = Task::new(&policy);
    let runs = (1..1000).find(|_| task.fails(&limited, 0.5).next == EXHAUSTED.unwrap());
    assert_eq!((runs, task.failures), (Some(50), 0));
    assert_eq!(
        rule_of(&coded(8)).0.as_deref(),
        Some("grpc-resource-exhausted")
    );
}

#[test]
fn a_retry_after_shortens_no_wait_but_that_of_a_rate_limit() {
    let policy = preset("recommended");
    let down = failure(FailureClass::DependencyDown);
    let asked = Ending::Failed {
        failure: &down,
        not_retryable: false,
        retry_after_ms: Some(5000),
    };
    for (u, expected) in [(0.0, 30_000), (0.5, 45_000), (ALMOST_ONE, 59_999)] {
        let verdict = Task::new(&policy).ends(&asked, u);
        assert_eq!(delay_ms(&verdict), expected);
    }
}

#[test]
fn b3_conflicts_wait_one_to_five_seconds_four_attempts() {
    assert_eq!(windows(FailureClass::Conflict, 100), [(1001, 5000); 3]);
    assert_eq!(rule_of(&coded(10)).0.as_deref(), Some("grpc-aborted"));
    let delays = drawn(
        &preset("recommended")
            .rule("conflict")
            .unwrap()
            .backoff
            .clone()
            .unwrap(),
        0,
        None,
    );
    assert_near(mean(&delays), 3000.0, 0.01, 4000.0);
}

#[test]
fn b4_a_dependency_that_is_down_gets_minutes_and_25_attempts() {
    let found = windows(FailureClass::DependencyDown, 100);
    assert_eq!(found.len(), 24);
    let ceilings: Vec<u64> = found
        .iter()
        .take(8)
        .map(|(_, high)| high.div_ceil(1000))
        .collect();
    assert_eq!(ceilings, [60, 120, 240, 480, 960, 1920, 3600, 3600]);
    assert!(
        found.iter().all(|(low, high)| *low == high.div_ceil(2)),
        "never sooner than half"
    );
}

#[test]
fn b5_invalid_data_is_a_dead_letter_at_once() {
    let dead = Next::Dead(DeadReason::Rule);
    assert_eq!(
        rule_of(&failure(FailureClass::Invalid)),
        (Some("invalid".into()), dead)
    );
    assert_eq!(
        rule_of(&coded(3)),
        (Some("grpc-invalid-argument".into()), dead)
    );
}

#[test]
fn b6_not_found_fails_without_a_retry_or_a_dead_letter() {
    assert_eq!(
        rule_of(&failure(FailureClass::NotFound)),
        (Some("not-found".into()), Next::Fail)
    );
    assert_eq!(
        rule_of(&coded(5)),
        (Some("grpc-not-found".into()), Next::Fail)
    );
}

#[test]
fn b7_refused_credentials_are_a_dead_letter_at_once() {
    let dead = Next::Dead(DeadReason::Rule);
    assert_eq!(
        rule_of(&failure(FailureClass::Auth)),
        (Some("auth".into()), dead)
    );
    for code in [7, 16] {
        assert_eq!(rule_of(&coded(code)), (Some("grpc-auth".into()), dead));
    }
}

#[test]
fn b8_timeouts_are_retried_as_network_errors_are() {
    assert_eq!(
        windows(FailureClass::Timeout, 100),
        windows(FailureClass::Network, 100)
    );
    assert_eq!(
        rule_of(&coded(4)).0.as_deref(),
        Some("grpc-deadline-exceeded")
    );
    let policy = preset("recommended");
    assert_eq!(
        (policy.timeout_growth, policy.timeout_growth_max),
        (1.5, 4.0)
    );
}

#[test]
fn s25_what_the_business_refuses_fails_without_a_retry() {
    assert_eq!(
        rule_of(&failure(FailureClass::Business)),
        (Some("business".into()), Next::Fail)
    );
}

#[test]
fn what_no_rule_names_gets_six_attempts() {
    for class in [FailureClass::Internal, FailureClass::UnknownKind] {
        let (delays, end) = life(&preset("recommended"), &failure(class), 0.5, 100);
        assert_eq!((delays.len(), end), (5, EXHAUSTED));
        assert_eq!(rule_of(&failure(class)).0, None);
    }
}

#[test]
fn a_code_speaks_only_where_the_worker_knew_no_class() {
    let refused = Failure {
        code: 3,
        ..failure(FailureClass::DependencyDown)
    };
    assert_eq!(rule_of(&refused).0.as_deref(), Some("dependency-down"));
}

#[test]
fn each_kind_of_trouble_has_its_own_patience() {
    let policy = preset("recommended");
    let mut task = Task::new(&policy);
    let down = failure(FailureClass::DependencyDown);
    for _ in 0..20 {
        delay_ms(&task.fails(&down, 0.5));
    }
    // The outage is over; one broken connection and one conflict are still forgiven.
    let network = task.fails(&failure(FailureClass::Network), ALMOST_ONE);
    assert_eq!(delay_ms(&network), 1000, "its own first retry");
    assert_eq!(
        task.fails(&failure(FailureClass::Conflict), 0.0)
            .rule
            .as_deref(),
        Some("conflict")
    );
    // A failure that no rule names is counted with all the others.
    assert_eq!(
        task.fails(&failure(FailureClass::Internal), 0.5).next,
        EXHAUSTED.unwrap()
    );
}
