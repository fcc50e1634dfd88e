//! Fuzzed retry policies: one that is accepted is shown as it is, and every delay that its judge can
//! draw lies within its bounds and within what a preview shows.

use std::sync::Arc;

use prost::Message as _;
use redrive_proto::v1 as pb;

use crate::engine::failure::{Failure, FailureClass};
use crate::engine::ids::Timestamp;
use crate::engine::limits;
use crate::engine::retry::policy::{Backoff, Policy};
use crate::engine::retry::{
    Budget, Ending, Next, Spent, Verdict, decide, delay_window, grown_timeout_ms, presets, preview,
    window,
};
use crate::fuzz::{Target, run};
use crate::server::convert::At;
use crate::server::convert::failure::failure as parsed_failure;
use crate::server::convert::policy::policy as parsed_policy;
use crate::server::convert::policy_view::policy_view;

/// Attempts that are walked.
const ATTEMPTS: u32 = 40;
/// The draws that give the least, the middle and the most.
const DRAWS: [f64; 3] = [0.0, 0.5, 1.0 - f64::EPSILON];

/// The waits of one backoff, however often and after whatever wait it is asked.
fn check_backoff(backoff: &Backoff) {
    for n in [0, 1, 2, 3, 10, 63, 64, 65, 1000, u32::MAX - 1, u32::MAX] {
        for previous in [
            None,
            Some(0),
            Some(1),
            Some(limits::DELAY_MS_MAX),
            Some(u64::MAX),
        ] {
            let found = window(backoff, n, previous);
            let ordered = found.min_ms <= found.mean_ms && found.mean_ms <= found.max_ms;
            assert!(
                ordered,
                "{found:?} of {backoff:?} at {n} after {previous:?}"
            );
            // The policy's bounds hold before jitter, which may add to a delay at its cap.
            let bounds = backoff.min_ms..=backoff.max_ms;
            assert!(
                bounds.contains(&found.base_ms) && found.max_ms <= limits::DELAY_MS_MAX,
                "{found:?} of {backoff:?} at {n}"
            );
        }
    }
}

/// What a task has used up, as the walk goes.
#[derive(Default)]
struct Used {
    failures: u32,
    crashes: u32,
    deferrals: u32,
    rule_retries: Vec<(Arc<str>, u32)>,
    previous_delay_ms: Option<u64>,
}

impl Used {
    fn spent(&self) -> Spent<'_> {
        Spent {
            failures: self.failures,
            crashes: self.crashes,
            deferrals: self.deferrals,
            unstarted_in_row: 0,
            rule_retries: &self.rule_retries,
            max_attempts: None,
            since: Timestamp(0),
            previous_delay_ms: self.previous_delay_ms,
            end_by: None,
            at_most_once: false,
        }
    }

    fn count(&mut self, policy: &Policy, verdict: &Verdict, delay_ms: u64) {
        match verdict.budget {
            Budget::Attempt => self.failures += 1,
            Budget::Crash => self.crashes += 1,
            Budget::Deferral => self.deferrals += 1,
        }
        if let Some(rule) = verdict.counted_rule(policy) {
            match self.rule_retries.iter_mut().find(|(id, _)| *id == rule) {
                Some((_, count)) => *count += 1,
                None => self.rule_retries.push((rule, 1)),
            }
        }
        self.previous_delay_ms = Some(delay_ms);
    }
}

/// Fails a task again and again, always with the same luck, and compares with the preview.
fn walk(policy: &Policy, failure: &Failure, retry_after_ms: Option<u64>, luck: f64) {
    let shown = preview(policy, failure, retry_after_ms, ATTEMPTS);
    assert!(!shown.steps.is_empty());
    let ending = if failure.class == FailureClass::WorkerLost {
        Ending::Crashed { failure }
    } else {
        Ending::Failed {
            failure,
            not_retryable: false,
            retry_after_ms,
        }
    };
    let (mut used, mut now) = (Used::default(), Timestamp(0));
    for step in &shown.steps {
        let spent = used.spent();
        let can_be = delay_window(policy, &spent, &ending);
        let verdict = decide(policy, &spent, &ending, now, &mut || luck);
        let Next::Retry { delay_ms, .. } = verdict.next else {
            // Luck may end it before the last step: the time is over.
            let cut_off = policy.max_retry_duration_ms.is_some();
            assert!(step.wait.is_none() || cut_off, "{step:?}: {verdict:?}");
            return;
        };
        let wait = step.wait.expect("the preview goes on where the judge does");
        assert!(
            wait.contains(delay_ms),
            "{delay_ms} at {step:?} of {policy:?}"
        );
        assert!(can_be.is_some_and(|can_be| can_be.contains(delay_ms)));
        assert!(delay_ms <= 2 * limits::DELAY_MS_MAX, "{delay_ms}");
        used.count(policy, &verdict, delay_ms);
        now = now.plus_ms(delay_ms);
    }
}

fn check(input: &[u8]) {
    let Ok(request) = pb::PreviewRetryPolicyRequest::decode(input) else {
        return;
    };
    let root = At::Root;
    let Some(pb::preview_retry_policy_request::Policy::Inline(given)) = request.policy else {
        return;
    };
    let Ok(policy) = parsed_policy(given, root.field("inline")) else {
        return;
    };
    policy.check().expect("what is parsed is checked");
    let again = parsed_policy(policy_view(&policy), root.field("inline"));
    assert_eq!(again, Ok(policy.clone()), "a policy is shown as it is");
    let of_rules = policy.rules.iter().filter_map(|rule| rule.backoff.as_ref());
    for backoff in of_rules.chain([&policy.backoff, &policy.crash_backoff]) {
        check_backoff(backoff);
    }
    for timeouts in [0, 1, 2, 100, u32::MAX] {
        let grown = grown_timeout_ms(&policy, 1000, timeouts);
        assert!((1000..=limits::TIMEOUT_MS_MAX).contains(&grown), "{grown}");
    }
    let given = request.failure.unwrap_or_default();
    let failure = parsed_failure(given, root.field("failure"));
    let failure = failure.unwrap_or_else(|_| Failure::new(FailureClass::Network, "refused"));
    let retry_after_ms = request
        .retry_after
        .and_then(|wait| u64::try_from(wait.seconds).ok())
        .map(|seconds| seconds.saturating_mul(1000).min(limits::DELAY_MS_MAX));
    for luck in DRAWS {
        walk(&policy, &failure, retry_after_ms, luck);
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let policies = presets::all();
    let request = |policy: &Arc<Policy>, class: pb::FailureClass, retry_after: Option<i64>| {
        let inline = policy_view(policy);
        let request = pb::PreviewRetryPolicyRequest {
            policy: Some(pb::preview_retry_policy_request::Policy::Inline(inline)),
            failure: Some(pb::Failure {
                failure_class: class.into(),
                code: 429,
                ..Default::default()
            }),
            retry_after: retry_after.map(|seconds| prost_types::Duration { seconds, nanos: 0 }),
            attempts_max: 30,
        };
        request.encode_to_vec()
    };
    let of = |policy| {
        [
            request(policy, pb::FailureClass::Network, None),
            request(policy, pb::FailureClass::RateLimited, Some(7)),
            request(policy, pb::FailureClass::WorkerLost, None),
        ]
    };
    policies.iter().flat_map(of).collect()
}

#[test]
fn policies_are_refused_or_keep_their_delays_within_bounds_and_previews() {
    let target = Target {
        corpus: "fuzz/policies",
        tries: 3000,
        seeds,
    };
    run(&target, check);
}
