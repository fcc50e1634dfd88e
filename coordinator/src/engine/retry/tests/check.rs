//! Claims about what is refused, and how it is said.

use super::super::policy::RetryAfterMode;
use super::*;
use crate::engine::limits;

/// The field that is at fault once this change was made to a good policy.
fn fault(change: impl FnOnce(&mut Policy)) -> String {
    let mut policy = (*preset("recommended")).clone();
    change(&mut policy);
    let error = policy.check().expect_err("it must be refused");
    let text = error.to_string();
    assert!(
        !text.ends_with('.') && text.starts_with(&error.field),
        "{text}"
    );
    error.field
}

fn backoff_fault(backoff: Backoff) -> String {
    let in_policy = fault(|policy| policy.backoff = backoff.clone());
    let in_crash = fault(|policy| policy.crash_backoff = backoff.clone());
    let in_rule = fault(|policy| policy.rules[2].backoff = Some(backoff));
    assert_eq!(in_crash, format!("crash_{in_policy}"));
    assert_eq!(in_rule, format!("rules[2].{in_policy}"));
    in_policy
}

fn shape_fault(shape: Shape) -> String {
    backoff_fault(Backoff::of(shape))
}

fn exponential(multiplier: f64) -> Shape {
    Shape::Exponential {
        initial_ms: 1,
        multiplier,
        doublings_max: 0,
        base_ms: 0,
    }
}

#[test]
fn every_preset_and_the_empty_policy_pass() {
    for policy in named_presets::all() {
        assert_eq!(policy.check(), Ok(()), "{}", policy.name);
    }
    assert_eq!(Policy::default().check(), Ok(()));
}

#[test]
fn a_refusal_names_the_field_the_limit_and_the_remedy() {
    let mut policy = (*preset("recommended")).clone();
    policy.rules[2].backoff = Some(Backoff::of(exponential(0.5)));
    assert_eq!(
        policy.check().unwrap_err().to_string(),
        "rules[2].backoff.exponential.multiplier: is 0.5: set 1.0 to 100.0"
    );
}

#[test]
fn shapes_have_bounds() {
    for multiplier in [0.99, 100.1, f64::NAN, f64::INFINITY, -2.0] {
        assert_eq!(
            shape_fault(exponential(multiplier)),
            "backoff.exponential.multiplier"
        );
    }
    assert_eq!(
        shape_fault(Shape::doubling(0)),
        "backoff.exponential.initial"
    );
    let late = limits::DELAY_MS_MAX + 1;
    assert_eq!(
        shape_fault(Shape::doubling(late)),
        "backoff.exponential.initial"
    );
    assert_eq!(
        shape_fault(Shape::Fixed { delay_ms: late }),
        "backoff.fixed.delay"
    );
    let linear = |initial_ms, step_ms| {
        shape_fault(Shape::Linear {
            initial_ms,
            step_ms,
        })
    };
    assert_eq!(linear(late, 0), "backoff.linear.initial");
    assert_eq!(linear(0, late), "backoff.linear.step");
    let polynomial = |degree, offset| {
        shape_fault(Shape::Polynomial {
            base_ms: 0,
            scale_ms: 1,
            degree,
            offset,
        })
    };
    assert_eq!(polynomial(0, 0), "backoff.polynomial.degree");
    assert_eq!(polynomial(9, 0), "backoff.polynomial.degree");
    assert_eq!(polynomial(1, 1001), "backoff.polynomial.offset");
    assert_eq!(
        shape_fault(Shape::Delays(Arc::from([]))),
        "backoff.delays.delays"
    );
    assert_eq!(
        shape_fault(Shape::Delays(vec![1; 65].into())),
        "backoff.delays.delays"
    );
    assert_eq!(
        shape_fault(Shape::Delays(Arc::from([1, late]))),
        "backoff.delays.delays[1]"
    );
    assert_eq!(
        shape_fault(Shape::Decorrelated { base_ms: 0 }),
        "backoff.decorrelated.base"
    );
}

#[test]
fn floors_caps_jitter_and_granularity_have_bounds() {
    let good = Backoff::default;
    let ratio = |ratio| {
        backoff_fault(Backoff {
            jitter: Jitter::Additive { ratio },
            ..good()
        })
    };
    for wrong in [-0.1, 1.1, f64::NAN, f64::NEG_INFINITY] {
        assert_eq!(ratio(wrong), "backoff.jitter.ratio");
    }
    let late = limits::DELAY_MS_MAX + 1;
    let per_attempt = Jitter::PerAttempt {
        per_attempt_ms: late,
    };
    assert_eq!(
        backoff_fault(Backoff {
            jitter: per_attempt,
            ..good()
        }),
        "backoff.jitter.per_attempt"
    );
    assert_eq!(
        backoff_fault(Backoff {
            min_ms: 2,
            max_ms: 1,
            ..good()
        }),
        "backoff.min"
    );
    assert_eq!(
        backoff_fault(Backoff {
            max_ms: late,
            ..good()
        }),
        "backoff.max"
    );
    assert_eq!(
        backoff_fault(Backoff {
            granularity_ms: 0,
            ..good()
        }),
        "backoff.granularity"
    );
    let doubly = Backoff {
        jitter: Jitter::Full,
        ..Backoff::of(Shape::Decorrelated { base_ms: 1 })
    };
    assert_eq!(backoff_fault(doubly), "backoff.jitter");
}

#[test]
fn rules_have_bounds_and_ids_of_their_own() {
    let rule = |id: &str| Rule::new(id, Match::default(), RuleAction::Retry);
    assert_eq!(fault(|policy| policy.rules = vec![rule("a"); 33]), "rules");
    assert_eq!(
        fault(|policy| policy.rules = vec![rule("a"), rule("b"), rule("a")]),
        "rules[2].id"
    );
    for id in ["", "a b", "ä", "a/b", &"x".repeat(65)] {
        assert_eq!(fault(|policy| policy.rules = vec![rule(id)]), "rules[0].id");
    }
    let good = Policy {
        rules: vec![rule("A.b_c-9")],
        ..Policy::default()
    };
    assert_eq!(good.check(), Ok(()));
}

#[test]
fn a_match_has_bounds() {
    let matching = |matches: Match| {
        fault(|policy| policy.rules = vec![Rule::new("a", matches, RuleAction::Retry)])
    };
    let codes = |codes: Vec<i32>| {
        matching(Match {
            codes,
            ..Match::default()
        })
    };
    assert_eq!(codes(vec![14, 17]), "rules[0].match.codes[1]");
    assert_eq!(codes(vec![-1]), "rules[0].match.codes[0]");
    assert_eq!(codes(vec![1; 33]), "rules[0].match.codes");
    let types = |error_types: Vec<Arc<str>>| {
        matching(Match {
            error_types,
            ..Match::default()
        })
    };
    assert_eq!(types(vec!["".into()]), "rules[0].match.error_types[0]");
    assert_eq!(types(vec!["x".into(); 33]), "rules[0].match.error_types");
    assert_eq!(
        types(vec!["x".repeat(257).into()]),
        "rules[0].match.error_types[0]"
    );
    let exclude_error_types = vec!["x".into(); 33];
    assert_eq!(
        matching(Match {
            exclude_error_types,
            ..Match::default()
        }),
        "rules[0].match.exclude_error_types"
    );
    let backwards = Match {
        attempt_min: 3,
        attempt_max: 2,
        ..Match::default()
    };
    assert_eq!(matching(backwards), "rules[0].match.attempt_min");
}

#[test]
fn what_contradicts_itself_is_refused() {
    let rule = Rule::new("a", Match::default(), RuleAction::Retry);
    let endless = Rule {
        spares_attempts: true,
        ..rule.clone()
    };
    assert_eq!(
        fault(|policy| policy.rules = vec![endless]),
        "rules[0].max_attempts"
    );
    for action in [
        RuleAction::Fail,
        RuleAction::DeadLetter,
        RuleAction::Discard,
    ] {
        let waits = Rule {
            backoff: Some(Backoff::default()),
            action,
            ..rule.clone()
        };
        assert_eq!(
            fault(|policy| policy.rules = vec![waits]),
            "rules[0].backoff"
        );
        let counts = Rule {
            max_attempts: 2,
            action,
            ..rule.clone()
        };
        assert_eq!(
            fault(|policy| policy.rules = vec![counts]),
            "rules[0].max_attempts"
        );
        let heeds = Rule {
            retry_after_mode: Some(RetryAfterMode::Instead),
            action,
            ..rule.clone()
        };
        assert_eq!(
            fault(|policy| policy.rules = vec![heeds]),
            "rules[0].retry_after_mode"
        );
    }
}

#[test]
fn the_policy_s_own_fields_have_bounds() {
    assert_eq!(fault(|policy| policy.name = "x".repeat(129).into()), "name");
    assert_eq!(
        fault(|policy| policy.description = "x".repeat(1025).into()),
        "description"
    );
    assert_eq!(fault(|policy| policy.max_deferrals = 0), "max_deferrals");
    for wrong in [0.9, 10.1, f64::NAN, 0.0] {
        assert_eq!(
            fault(|policy| policy.timeout_growth = wrong),
            "timeout_growth"
        );
    }
    for wrong in [0.9, 100.1, f64::NAN] {
        assert_eq!(
            fault(|policy| policy.timeout_growth_max = wrong),
            "timeout_growth_max"
        );
    }
}
