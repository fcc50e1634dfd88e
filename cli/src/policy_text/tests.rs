//! What policies and previews read like.

use super::*;

fn seconds(seconds: u64) -> Option<prost_types::Duration> {
    prost_types::Duration::try_from(Duration::from_secs(seconds)).ok()
}

fn exponential(most: u64) -> v1::Backoff {
    let shape = v1::Exponential {
        initial: seconds(1),
        multiplier: 2.0,
        ..Default::default()
    };
    v1::Backoff {
        shape: Some(Shape::Exponential(shape)),
        max: seconds(most),
        granularity: seconds(1),
        ..Default::default()
    }
}

/// Full jitter over 1, 2, 4, 8, 16 s.
fn production() -> v1::PreviewRetryPolicyResponse {
    let step = |attempt: u32| v1::PreviewStep {
        attempt,
        base: seconds(1 << (attempt - 1)),
        min: seconds(0),
        mean: Some(prost_types::Duration {
            seconds: (1_i64 << (attempt - 1)) / 2,
            nanos: if attempt == 1 { 500_000_000 } else { 0 },
        }),
        max: seconds(1 << (attempt - 1)),
        ..Default::default()
    };
    let mut steps: Vec<v1::PreviewStep> = (1..=5).map(step).collect();
    steps.push(v1::PreviewStep {
        attempt: 6,
        ..Default::default()
    });
    v1::PreviewRetryPolicyResponse {
        steps,
        give_up_min: seconds(0),
        give_up_mean: Some(prost_types::Duration {
            seconds: 15,
            nanos: 500_000_000,
        }),
        give_up_max: seconds(31),
        ends_as: "ATTEMPTS_EXHAUSTED".to_owned(),
    }
}

#[test]
fn a_preview_lists_the_windows_and_says_when_it_gives_up() {
    let policy = v1::RetryPolicy {
        backoff: Some(exponential(600)),
        ..Default::default()
    };
    let text = preview(&Style::plain(), &production(), Some(&policy));
    let lines: Vec<&str> = text.lines().collect();
    let cells: Vec<&str> = lines[5].split_whitespace().collect();
    assert_eq!(cells, ["5", "-", "16s", "0s", "8s", "16s", "31s"]);
    assert_eq!(lines[6].split_whitespace().last(), Some("up"));
    assert_eq!(
        lines[8],
        "gives up after at most 31s (mean 15.5s) as ATTEMPTS_EXHAUSTED"
    );
    assert!(lines[9].contains("drawn as 0s"), "{text}");
    assert!(lines[10].contains("cap of 10m is never reached"), "{text}");
    assert!(lines[10].contains("16s"), "{text}");
}

#[test]
fn hints_are_given_only_where_they_hold() {
    let policy = v1::RetryPolicy {
        backoff: Some(exponential(16)),
        ..Default::default()
    };
    let mut answer = production();
    for step in &mut answer.steps {
        step.min.clone_from(&step.max);
    }
    let text = preview(&Style::plain(), &answer, Some(&policy));
    assert!(!text.contains("hint"), "{text}");
}

#[test]
fn a_policy_that_never_retries_or_never_ends_is_said_to() {
    let mut answer = production();
    answer.steps.truncate(1);
    assert_eq!(
        verdict(&answer),
        "gives up at the first failure as ATTEMPTS_EXHAUSTED"
    );
    answer.ends_as.clear();
    assert!(verdict(&answer).starts_with("does not give up within the 1 attempts"));
}

#[test]
fn backoffs_are_said_in_words() {
    let fixed = v1::Fixed {
        delay: seconds(180),
    };
    let none = v1::Jitter {
        mode: v1::JitterMode::None.into(),
        ..Default::default()
    };
    let fixed = v1::Backoff {
        shape: Some(Shape::Fixed(fixed)),
        jitter: Some(none),
        ..Default::default()
    };
    assert_eq!(backoff(&fixed), "fixed 3m, no jitter");
    assert_eq!(
        backoff(&exponential(600)),
        "exponential from 1s, x2, at most 10m, full jitter, multiples of 1s"
    );
}

#[test]
fn rules_say_what_they_match() {
    let wanted = v1::FailureMatch {
        classes: vec![
            v1::FailureClass::Network.into(),
            v1::FailureClass::Timeout.into(),
        ],
        exclude_error_types: vec!["KeyError".to_owned()],
        attempt_min: 2,
        ..Default::default()
    };
    assert_eq!(
        matches(Some(&wanted)),
        "NETWORK|TIMEOUT and not KeyError and attempt >= 2"
    );
    assert_eq!(matches(Some(&v1::FailureMatch::default())), "everything");
}

#[test]
fn a_rule_shows_what_becomes_of_a_retry_after_and_whether_it_costs_an_attempt() {
    let rule = |id: &str| v1::RetryRule {
        id: id.to_owned(),
        backoff: Some(exponential(600)),
        ..Default::default()
    };
    let limited = v1::RetryRule {
        retry_after_mode: v1::RetryAfterMode::Instead.into(),
        spares_attempts: true,
        ..rule("limited")
    };
    let shown = v1::RetryPolicy {
        rules: vec![rule("plain"), limited],
        ..Default::default()
    };
    let text = policy(&Style::plain(), &shown);
    let line = |id: &str| text.lines().find(|line| line.starts_with(id)).unwrap();
    assert!(line("plain").ends_with("multiples of 1s"), "{text}");
    assert!(
        line("limited").ends_with(
            "multiples of 1s; a Retry-After is the wait (+10%); uses up no attempt of the task"
        ),
        "{text}"
    );
}
