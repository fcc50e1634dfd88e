//! The server's default policy: one rule for each kind of trouble.
//!
//! Owns the numbers of `recommended`. Never special: it is data that any user could write.

use crate::engine::failure::FailureClass;

use super::policy::{Backoff, Jitter, Match, Policy, RetryAfterMode, Rule, RuleAction, Shape};

const DESCRIPTION: &str = "The server's default: a rule for each kind of failure. network and \
    timeout: 1 s doubling to 600 s, full jitter, 6 attempts. rate-limited: retry_after and up to 10 \
    % more, without it 60 to 66 s, uses up no attempt, 50 times. conflict: 1 to 5 s, 4 \
    attempts. dependency-down: 60 s doubling to 3,600 s, upper half, 25 attempts. invalid, auth: \
    dead letter at once. not-found, business: failed at once. Everything else: as network, on the \
    task's own count of failures. The grpc rules say the same of failures of class INTERNAL that \
    carry a google.rpc code. A run that timed out lets the next take 1.5 times longer, up to 4 times.";

/// google.rpc.Code numbers.
const INVALID_ARGUMENT: i32 = 3;
const DEADLINE_EXCEEDED: i32 = 4;
const NOT_FOUND: i32 = 5;
const PERMISSION_DENIED: i32 = 7;
const RESOURCE_EXHAUSTED: i32 = 8;
const ABORTED: i32 = 10;
const UNAVAILABLE: i32 = 14;
const UNAUTHENTICATED: i32 = 16;

pub(super) fn recommended() -> Policy {
    Policy {
        name: "recommended".into(),
        description: DESCRIPTION.into(),
        rules: rules(),
        timeout_growth: 1.5,
        ..Policy::default()
    }
}

fn rules() -> Vec<Rule> {
    vec![
        network("network", class(FailureClass::Network)),
        rate_limited("rate-limited", class(FailureClass::RateLimited)),
        conflict("conflict", class(FailureClass::Conflict)),
        dependency_down("dependency-down", class(FailureClass::DependencyDown)),
        Rule::new(
            "invalid",
            class(FailureClass::Invalid),
            RuleAction::DeadLetter,
        ),
        Rule::new("not-found", class(FailureClass::NotFound), RuleAction::Fail),
        Rule::new("auth", class(FailureClass::Auth), RuleAction::DeadLetter),
        network("timeout", class(FailureClass::Timeout)),
        Rule::new("business", class(FailureClass::Business), RuleAction::Fail),
        network("grpc-unavailable", unclassified(&[UNAVAILABLE])),
        rate_limited(
            "grpc-resource-exhausted",
            unclassified(&[RESOURCE_EXHAUSTED]),
        ),
        conflict("grpc-aborted", unclassified(&[ABORTED])),
        Rule::new(
            "grpc-invalid-argument",
            unclassified(&[INVALID_ARGUMENT]),
            RuleAction::DeadLetter,
        ),
        Rule::new(
            "grpc-not-found",
            unclassified(&[NOT_FOUND]),
            RuleAction::Fail,
        ),
        Rule::new(
            "grpc-auth",
            unclassified(&[UNAUTHENTICATED, PERMISSION_DENIED]),
            RuleAction::DeadLetter,
        ),
        network("grpc-deadline-exceeded", unclassified(&[DEADLINE_EXCEEDED])),
    ]
}

fn network(id: &str, matches: Match) -> Rule {
    retry(id, matches, 6, Backoff::default())
}

fn rate_limited(id: &str, matches: Match) -> Rule {
    let shape = Shape::Fixed { delay_ms: 60_000 };
    let backoff = Backoff {
        jitter: Jitter::Additive { ratio: 0.1 },
        ..Backoff::of(shape)
    };
    Rule {
        spares_attempts: true,
        retry_after_mode: Some(RetryAfterMode::Instead),
        ..retry(id, matches, 50, backoff)
    }
}

fn conflict(id: &str, matches: Match) -> Rule {
    let shape = Shape::Fixed { delay_ms: 5000 };
    let backoff = Backoff {
        jitter: Jitter::Below { ratio: 0.8 },
        ..Backoff::of(shape)
    };
    retry(id, matches, 4, backoff)
}

fn dependency_down(id: &str, matches: Match) -> Rule {
    let shape = Shape::doubling(60_000);
    let backoff = Backoff {
        max_ms: 3_600_000,
        jitter: Jitter::Equal,
        ..Backoff::of(shape)
    };
    retry(id, matches, 25, backoff)
}

fn retry(id: &str, matches: Match, max_attempts: u32, backoff: Backoff) -> Rule {
    Rule {
        backoff: Some(backoff),
        max_attempts,
        ..Rule::new(id, matches, RuleAction::Retry)
    }
}

fn class(class: FailureClass) -> Match {
    Match {
        classes: vec![class],
        ..Match::default()
    }
}

/// Failures of which the worker knew no class, only a code.
fn unclassified(codes: &[i32]) -> Match {
    Match {
        codes: codes.to_vec(),
        ..class(FailureClass::Internal)
    }
}
