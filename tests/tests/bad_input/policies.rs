//! Retry policies that cannot be: one table, sent to every place that takes a policy.

use redrive_proto::v1::{self as pb, backoff::Shape, preview_retry_policy_request::Policy};
use redrive_tests::refusal::Expected;
use redrive_tests::{Harness, make};
use tonic::Code;

use super::{Case, durations, refused};

fn case(
    field: &str,
    says: &[&str],
    change: impl FnOnce(&mut pb::RetryPolicy),
) -> Case<pb::RetryPolicy> {
    let mut policy = make::policy(3, 10);
    change(&mut policy);
    (policy, Expected::field(field, says))
}

/// A fault in the shape of the backoff.
fn shape(field: &str, says: &[&str], shape: Shape) -> Case<pb::RetryPolicy> {
    case(&format!("backoff.{field}"), says, |policy| {
        policy.backoff = Some(pb::Backoff {
            shape: Some(shape),
            ..Default::default()
        });
    })
}

/// A fault in the jitter of the backoff.
fn jitter(field: &str, says: &[&str], jitter: pb::Jitter) -> Case<pb::RetryPolicy> {
    case(&format!("backoff.jitter.{field}"), says, |policy| {
        policy.backoff.get_or_insert_default().jitter = Some(jitter);
    })
}

/// A fault in the first rule.
fn rule(
    field: &str,
    says: &[&str],
    change: impl FnOnce(&mut pb::RetryRule),
) -> Case<pb::RetryPolicy> {
    let mut rule = pb::RetryRule {
        id: "r".to_owned(),
        ..Default::default()
    };
    change(&mut rule);
    case(&format!("rules[0].{field}"), says, |policy| {
        policy.rules = vec![rule]
    })
}

/// A fault in what the first rule matches.
fn matching(
    field: &str,
    says: &[&str],
    change: impl FnOnce(&mut pb::FailureMatch),
) -> Case<pb::RetryPolicy> {
    rule(&format!("match.{field}"), says, |rule| {
        change(rule.r#match.get_or_insert_default());
    })
}

fn whole() -> Vec<Case<pb::RetryPolicy>> {
    let ids = |count: usize| -> Vec<pb::RetryRule> {
        let rule = |n| pb::RetryRule {
            id: format!("r{n}"),
            ..Default::default()
        };
        (0..count).map(rule).collect()
    };
    let mut cases = vec![
        case("name", &["129", "128"], |policy| {
            policy.name = "n".repeat(129)
        }),
        case("description", &["1025", "1024"], |policy| {
            policy.description = "d".repeat(1025)
        }),
        case("rules", &["33", "32"], |policy| policy.rules = ids(33)),
        case("rules[1].id", &["rules[0].id", "its own"], |policy| {
            policy.rules = vec![ids(1).remove(0), ids(1).remove(0)];
        }),
        case(
            "max_deferrals",
            &["always bounded", "at least 1"],
            |policy| {
                policy.max_deferrals = Some(0);
            },
        ),
        case("timeout_growth", &["0.5", "1.0 to 10.0"], |policy| {
            policy.timeout_growth = 0.5
        }),
        case("timeout_growth", &["NaN"], |policy| {
            policy.timeout_growth = f64::NAN
        }),
        case("timeout_growth_max", &["101", "1.0 to 100.0"], |policy| {
            policy.timeout_growth_max = 101.0;
        }),
        case("on_exhausted", &["44", "does not know"], |policy| {
            policy.on_exhausted = 44
        }),
        case("retry_after_mode", &["44", "does not know"], |policy| {
            policy.retry_after_mode = 44
        }),
        case("worker_delay_mode", &["44", "does not know"], |policy| {
            policy.worker_delay_mode = 44
        }),
        case("crash_backoff", &["no shape"], |policy| {
            policy.crash_backoff = Some(pb::Backoff::default());
        }),
    ];
    cases.extend(
        durations("max_retry_duration", |bad| pb::RetryPolicy {
            max_retry_duration: Some(bad),
            ..make::policy(3, 10)
        })
        .into_iter()
        .filter(|(_, expected)| !expected.says.contains(&" is allowed".to_owned())),
    );
    cases
}

fn shapes() -> Vec<Case<pb::RetryPolicy>> {
    let long = Some(make::ms(3651 * 86_400_000));
    let exponential = |initial, multiplier| {
        Shape::Exponential(pb::Exponential {
            initial,
            multiplier,
            ..Default::default()
        })
    };
    let polynomial = |degree, offset| {
        Shape::Polynomial(pb::Polynomial {
            degree,
            offset,
            ..Default::default()
        })
    };
    let delays = |count| {
        Shape::Delays(pb::ExplicitDelays {
            delays: vec![make::ms(1); count],
        })
    };
    vec![
        shape(
            "exponential.initial",
            &["at least 1 ms"],
            exponential(None, 2.0),
        ),
        shape(
            "exponential.initial",
            &["3650 days"],
            exponential(long, 2.0),
        ),
        shape(
            "exponential.multiplier",
            &["0.5", "1.0 to 100.0"],
            exponential(Some(make::ms(1)), 0.5),
        ),
        shape(
            "exponential.multiplier",
            &["1.0 to 100.0"],
            exponential(Some(make::ms(1)), f64::INFINITY),
        ),
        shape(
            "fixed.delay",
            &["3650 days"],
            Shape::Fixed(pb::Fixed { delay: long }),
        ),
        shape(
            "linear.step",
            &["3650 days"],
            Shape::Linear(pb::Linear {
                initial: None,
                step: long,
            }),
        ),
        shape("polynomial.degree", &["is 0", "1 to 8"], polynomial(0, 0)),
        shape("polynomial.degree", &["is 9", "1 to 8"], polynomial(9, 0)),
        shape(
            "polynomial.offset",
            &["1001", "0 to 1000"],
            polynomial(2, 1001),
        ),
        shape("delays.delays", &["at least one"], delays(0)),
        shape("delays.delays", &["65", "64"], delays(65)),
        shape(
            "decorrelated.base",
            &["at least 1 ms"],
            Shape::Decorrelated(pb::Decorrelated::default()),
        ),
    ]
}

fn backoffs() -> Vec<Case<pb::RetryPolicy>> {
    let mut cases = vec![
        case(
            "backoff.min",
            &["2000 ms", "above max", "1000 ms"],
            |policy| {
                let backoff = policy.backoff.get_or_insert_default();
                (backoff.min, backoff.max) = (Some(make::ms(2000)), Some(make::ms(1000)));
            },
        ),
        case("backoff.granularity", &["at least 1 ms"], |policy| {
            policy.backoff.get_or_insert_default().granularity = Some(make::ms(0));
        }),
        case(
            "backoff.jitter",
            &["unset or NONE beside decorrelated"],
            |policy| {
                let base = Some(make::ms(1));
                policy.backoff = Some(pb::Backoff {
                    shape: Some(Shape::Decorrelated(pb::Decorrelated { base })),
                    jitter: Some(pb::Jitter::default()),
                    ..Default::default()
                });
            },
        ),
        jitter(
            "mode",
            &["99", "does not know"],
            pb::Jitter {
                mode: 99,
                ..Default::default()
            },
        ),
        jitter(
            "ratio",
            &["1.5", "0.0 to 1.0"],
            pb::Jitter {
                mode: pb::JitterMode::Additive.into(),
                ratio: 1.5,
                per_attempt: None,
            },
        ),
        jitter(
            "ratio",
            &["-0.1", "0.0 to 1.0"],
            pb::Jitter {
                mode: pb::JitterMode::Below.into(),
                ratio: -0.1,
                per_attempt: None,
            },
        ),
    ];
    cases.extend(durations("backoff.fixed.delay", |bad| {
        let fixed = pb::Fixed { delay: Some(bad) };
        let backoff = pb::Backoff {
            shape: Some(Shape::Fixed(fixed)),
            ..Default::default()
        };
        pb::RetryPolicy {
            backoff: Some(backoff),
            ..make::policy(3, 10)
        }
    }));
    cases
}

fn rules() -> Vec<Case<pb::RetryPolicy>> {
    vec![
        rule("id", &["must be set"], |rule| rule.id.clear()),
        rule("id", &["' '", "use letters"], |rule| {
            rule.id = "a b".to_owned()
        }),
        rule("id", &["65", "64"], |rule| rule.id = "r".repeat(65)),
        rule("action", &["99", "does not know"], |rule| rule.action = 99),
        rule("retry_after_mode", &["99", "does not know"], |rule| {
            rule.retry_after_mode = 99
        }),
        rule(
            "max_attempts",
            &["must be set beside spares_attempts"],
            |rule| {
                rule.spares_attempts = true;
            },
        ),
        rule("backoff", &["only for the action RETRY"], |rule| {
            rule.action = pb::RuleAction::DeadLetter.into();
            rule.backoff = Some(make::exactly(1));
        }),
        rule("max_attempts", &["only for the action RETRY"], |rule| {
            rule.action = pb::RuleAction::Fail.into();
            rule.max_attempts = 2;
        }),
        matching("classes[0]", &["99", "does not know"], |one| {
            one.classes = vec![99]
        }),
        matching("classes[1]", &["names no class"], |one| {
            one.classes = vec![1, 0]
        }),
        matching("codes[0]", &["17", "0 to 16"], |one| one.codes = vec![17]),
        matching("codes[0]", &["-1", "0 to 16"], |one| one.codes = vec![-1]),
        matching("error_types", &["33", "32"], |one| {
            one.error_types = vec!["a".to_owned(); 33];
        }),
        matching("error_types[0]", &["empty", "\"*\""], |one| {
            one.error_types = vec![String::new()];
        }),
        matching("exclude_error_types[0]", &["257", "256"], |one| {
            one.exclude_error_types = vec!["x".repeat(257)];
        }),
        matching("attempt_min", &["is 5", "which is 3"], |one| {
            (one.attempt_min, one.attempt_max) = (5, 3);
        }),
    ]
}

fn table() -> Vec<Case<pb::RetryPolicy>> {
    [whole(), shapes(), backoffs(), rules()].concat()
}

#[tokio::test]
async fn a_policy_that_cannot_be_is_refused_wherever_it_is_brought() {
    let harness = Harness::start().await;
    let previews = table().into_iter().map(|(policy, expected)| {
        let policy = Some(Policy::Inline(policy));
        let request = pb::PreviewRetryPolicyRequest {
            policy,
            ..Default::default()
        };
        (request, expected.below("inline"))
    });
    refused!(harness.policies(), preview_retry_policy, previews);
    let tasks = table().into_iter().map(|(policy, expected)| {
        let mut task = make::spec("q", "k");
        task.retry = Some(pb::task_spec::Retry::InlineRetryPolicy(Box::new(policy)));
        let request = pb::EnqueueTaskRequest {
            task: Some(task),
            ..Default::default()
        };
        (request, expected.below("task.inline_retry_policy"))
    });
    refused!(harness.tasks(), enqueue_task, tasks);
    let queues = table().into_iter().map(|(policy, expected)| {
        let retry = Some(pb::queue_settings::Retry::InlineRetryPolicy(policy));
        let request = pb::UpdateQueueRequest {
            queue: "q".to_owned(),
            settings: Some(pb::QueueSettings {
                retry,
                ..Default::default()
            }),
            ..Default::default()
        };
        (request, expected.below("settings.inline_retry_policy"))
    });
    refused!(harness.queues(), update_queue, queues);
    harness.still_serves().await;
}

#[tokio::test]
async fn a_policy_that_nobody_knows_is_answered_with_those_that_there_are() {
    let harness = Harness::start().await;
    let unknown = Expected::reason(
        Code::NotFound,
        "RETRY_POLICY_NOT_FOUND",
        &["\"best\"", "recommended", "temporal"],
    );
    let get = |name: &str| pb::GetRetryPolicyRequest {
        name: name.to_owned(),
    };
    let cases = [
        (get("best"), unknown.clone()),
        (
            get(""),
            Expected::field("name", &["required", "recommended"]),
        ),
    ];
    refused!(harness.policies(), get_retry_policy, cases);
    let preview = |change: fn(&mut pb::PreviewRetryPolicyRequest)| {
        let mut request = pb::PreviewRetryPolicyRequest::default();
        change(&mut request);
        request
    };
    let failure = |change: fn(&mut pb::Failure)| {
        let mut failure = pb::Failure::default();
        change(&mut failure);
        pb::PreviewRetryPolicyRequest {
            failure: Some(failure),
            ..Default::default()
        }
    };
    let mut cases = vec![
        (
            preview(|it| it.policy = Some(Policy::Name("best".to_owned()))),
            unknown,
        ),
        (
            preview(|it| it.attempts_max = 1001),
            Expected::field("attempts_max", &["1001", "1000"]),
        ),
        (
            failure(|it| it.code = 17),
            Expected::field("failure.code", &["17", "0 to 16"]),
        ),
        (
            failure(|it| it.failure_class = 99),
            Expected::field("failure.failure_class", &["99", "does not know"]),
        ),
        (
            failure(|it| it.r#type = "t".repeat(257)),
            Expected::field("failure.type", &["257", "256"]),
        ),
        (
            failure(|it| it.message = "m".repeat(4097)),
            Expected::field("failure.message", &["4097", "4096"]),
        ),
        (
            failure(|it| it.ancestors = vec!["a".to_owned(); 17]),
            Expected::field("failure.ancestors", &["17", "16", "keep the nearest"]),
        ),
    ];
    cases.extend(durations("retry_after", |bad| {
        pb::PreviewRetryPolicyRequest {
            retry_after: Some(bad),
            ..Default::default()
        }
    }));
    refused!(harness.policies(), preview_retry_policy, cases);
    harness.still_serves().await;
}
