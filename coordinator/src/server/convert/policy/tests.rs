//! Policies from the wire: defaults, refusals, and the way back.

use super::super::policy_view::policy_view;
use super::*;

fn parse(value: pb::RetryPolicy) -> Parsed<Policy> {
    let root = At::Root;
    let task = root.field("task");
    policy(value, task.field("inline_retry_policy"))
}

const fn secs(seconds: i64) -> Duration {
    Duration { seconds, nanos: 0 }
}

#[test]
fn an_empty_policy_has_every_documented_default() {
    let policy = parse(pb::RetryPolicy::default()).unwrap();
    assert_eq!(&*policy.name, "inline");
    assert_eq!(
        (
            policy.max_attempts,
            policy.max_crashes,
            policy.max_deferrals
        ),
        (6, 3, 1000)
    );
    assert_eq!(policy.backoff, doubling(600_000));
    assert_eq!(policy.crash_backoff, doubling(60_000));
    assert_eq!(policy.on_exhausted, ExhaustAction::DeadLetter);
    assert_eq!(policy.retry_after_mode, RetryAfterMode::Floor);
    assert_eq!(policy.worker_delay_mode, WorkerDelayMode::Exact);
    assert_eq!(
        (policy.timeout_growth, policy.timeout_growth_max),
        (1.0, 4.0)
    );
    assert_eq!(policy.max_retry_duration_ms, None);
}

#[test]
fn zero_attempts_stay_unlimited_where_they_were_said() {
    let said = pb::RetryPolicy {
        max_attempts: Some(0),
        ..Default::default()
    };
    assert_eq!(parse(said).unwrap().max_attempts, 0);
}

#[test]
fn every_named_policy_survives_the_wire_and_back() {
    let all = presets::all();
    assert!(!all.is_empty());
    for preset in all {
        assert_eq!(
            parse(policy_view(&preset)),
            Ok((*preset).clone()),
            "{}",
            preset.name
        );
    }
}

#[test]
fn every_retry_after_mode_of_a_policy_and_of_a_rule_survives_the_wire_and_back() {
    for mode in [
        RetryAfterMode::Floor,
        RetryAfterMode::Exact,
        RetryAfterMode::Ignore,
        RetryAfterMode::Instead,
    ] {
        for of_rule in [None, Some(mode)] {
            let rule = Rule {
                retry_after_mode: of_rule,
                ..Rule::new("a", Match::default(), RuleAction::Retry)
            };
            let policy = Policy {
                retry_after_mode: mode,
                rules: vec![rule],
                ..Policy::default()
            };
            assert_eq!(parse(policy_view(&policy)), Ok(policy));
        }
    }
}

#[test]
fn decorrelated_backoff_has_no_other_jitter() {
    let shape = pb::backoff::Shape::Decorrelated(pb::Decorrelated {
        base: Some(secs(1)),
    });
    let given = pb::Backoff {
        shape: Some(shape),
        ..Default::default()
    };
    let parsed = parse(pb::RetryPolicy {
        backoff: Some(given),
        ..Default::default()
    })
    .unwrap();
    assert_eq!(parsed.backoff.jitter, Jitter::None);
    let mut view = policy_view(&parsed);
    view.backoff.as_mut().unwrap().jitter = Some(pb::Jitter::default());
    assert!(parse(view).unwrap_err().field.ends_with("backoff.jitter"));
}

/// The field that the refusal names, and what was sent.
type BadPolicy = (&'static str, fn(&mut pb::RetryPolicy));

const BAD: &[BadPolicy] = &[
    ("rules[0].id", |p| p.rules = vec![pb::RetryRule::default()]),
    ("rules[0].action", |p| {
        p.rules = rule("a", |r| r.action = 77)
    }),
    ("rules[0].match.classes[1]", |p| {
        p.rules = rule("a", |r| {
            r.r#match = Some(pb::FailureMatch {
                classes: vec![1, 99],
                ..Default::default()
            });
        });
    }),
    ("rules[0].backoff.fixed.delay", |p| {
        p.rules = rule("a", |r| {
            let fixed = pb::Fixed {
                delay: Some(secs(-1)),
            };
            let shape = Some(pb::backoff::Shape::Fixed(fixed));
            r.backoff = Some(pb::Backoff {
                shape,
                ..Default::default()
            });
        });
    }),
    ("crash_backoff", |p| {
        p.crash_backoff = Some(pb::Backoff::default())
    }),
    ("on_exhausted", |p| p.on_exhausted = -1),
    ("timeout_growth", |p| p.timeout_growth = f64::NAN),
    ("max_retry_duration", |p| {
        p.max_retry_duration = Some(secs(-1))
    }),
];

fn rule(id: &str, change: fn(&mut pb::RetryRule)) -> Vec<pb::RetryRule> {
    let mut rule = pb::RetryRule {
        id: id.into(),
        ..Default::default()
    };
    change(&mut rule);
    vec![rule]
}

#[test]
fn refusals_name_the_whole_path() {
    for (field, spoil) in BAD {
        let mut sent = pb::RetryPolicy::default();
        spoil(&mut sent);
        let refused = parse(sent).unwrap_err();
        assert_eq!(
            refused.field,
            format!("task.inline_retry_policy.{field}"),
            "{refused}"
        );
    }
}

#[test]
fn an_unknown_name_is_answered_with_the_known_ones() {
    let root = At::Root;
    let refused = named("recomended", root.field("retry_policy"))
        .unwrap_err()
        .to_string();
    assert!(refused.starts_with("retry_policy is \"recomended\", which is no named policy"));
    assert!(refused.contains("recommended"), "{refused}");
}

#[test]
fn the_dead_letter_queue_of_a_rule_survives_the_wire_and_back() {
    let rule = Rule {
        dead_letter_queue: Some("graveyard".into()),
        ..Rule::new("a", Match::default(), RuleAction::DeadLetter)
    };
    let policy = Policy {
        rules: vec![rule],
        ..Policy::default()
    };
    let mut view = policy_view(&policy);
    assert_eq!(parse(view.clone()), Ok(policy));
    view.rules[0].dead_letter_queue = "a b".into();
    let refused = parse(view).unwrap_err();
    assert!(refused.field.ends_with("rules[0].dead_letter_queue"));
}
