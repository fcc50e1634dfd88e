//! What a policy must be to be accepted.
//!
//! Owns the bounds that `proto/redrive/v1/retry_policy.proto` states. Never changes a policy:
//! what is refused is refused with the field at fault, the limit and the remedy.

use super::policy::{Backoff, Jitter, Match, Policy, Rule, RuleAction, Shape};
use crate::engine::limits;

/// The largest google.rpc.Code.
const CODE_MAX: i32 = 16;
/// The largest degree of a polynomial backoff.
const DEGREE_MAX: u32 = 8;
/// The largest offset of a polynomial backoff.
const OFFSET_MAX: u32 = 1000;
/// The largest multiplier of an exponential backoff.
const MULTIPLIER_MAX: f64 = 100.0;
/// The largest growth of timeouts per TIMEOUT.
const TIMEOUT_GROWTH_MAX: f64 = 10.0;
/// The largest growth of timeouts in all.
const TIMEOUT_GROWTH_TOTAL_MAX: f64 = 100.0;

/// Why a policy is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct PolicyError {
    /// The field at fault, as a path in the proto's names, such as
    /// `rules[2].backoff.exponential.multiplier`.
    pub field: String,
    /// What is wrong, the limit, and the remedy.
    pub problem: String,
}

type Checked = Result<(), PolicyError>;

fn refuse(field: &str, problem: impl Into<String>) -> Checked {
    Err(PolicyError {
        field: field.into(),
        problem: problem.into(),
    })
}

impl Policy {
    /// Checks everything that the proto states about a policy.
    ///
    /// # Errors
    /// The first field at fault, in the order of the proto's fields.
    pub fn check(&self) -> Result<(), PolicyError> {
        bytes("name", &self.name, limits::NAME_BYTES_MAX)?;
        bytes(
            "description",
            &self.description,
            limits::DESCRIPTION_BYTES_MAX,
        )?;
        backoff("backoff", &self.backoff)?;
        items("rules", self.rules.len(), limits::RULES_MAX)?;
        for (index, one) in self.rules.iter().enumerate() {
            let field = format!("rules[{index}]");
            rule(&field, one)?;
            let earlier = self
                .rules
                .iter()
                .take(index)
                .position(|other| other.id == one.id);
            if let Some(earlier) = earlier {
                let problem = format!(
                    "is {:?} as rules[{earlier}].id is: give each its own",
                    one.id
                );
                return refuse(&format!("{field}.id"), problem);
            }
        }
        backoff("crash_backoff", &self.crash_backoff)?;
        if self.max_deferrals == 0 {
            return refuse(
                "max_deferrals",
                "is 0, which would end a task when it is put off or released for the first time: \
                 deferrals are always bounded, set at least 1 or leave it unset for 1,000",
            );
        }
        within(
            "timeout_growth",
            self.timeout_growth,
            1.0,
            TIMEOUT_GROWTH_MAX,
        )?;
        within(
            "timeout_growth_max",
            self.timeout_growth_max,
            1.0,
            TIMEOUT_GROWTH_TOTAL_MAX,
        )
    }
}

fn rule(field: &str, rule: &Rule) -> Checked {
    rule_id(&format!("{field}.id"), &rule.id)?;
    failures(&format!("{field}.match"), &rule.matches)?;
    if let Some(own) = &rule.backoff {
        backoff(&format!("{field}.backoff"), own)?;
    }
    if rule.spares_attempts && rule.max_attempts == 0 {
        return refuse(
            &format!("{field}.max_attempts"),
            "must be set beside spares_attempts, or nothing would end the retries: set how many \
             failures this rule may see",
        );
    }
    match rule.action {
        RuleAction::Retry => Ok(()),
        RuleAction::Fail | RuleAction::DeadLetter | RuleAction::Discard => {
            let said = [
                ("backoff", rule.backoff.is_some()),
                ("max_attempts", rule.max_attempts != 0),
                ("spares_attempts", rule.spares_attempts),
                ("retry_after_mode", rule.retry_after_mode.is_some()),
            ];
            said.into_iter()
                .find(|(_, is_set)| *is_set)
                .map_or(Ok(()), |(name, _)| {
                    let problem = "is only for the action RETRY: leave it unset, or set the action";
                    refuse(&format!("{field}.{name}"), problem)
                })
        }
    }
}

fn rule_id(field: &str, id: &str) -> Checked {
    if id.is_empty() {
        return refuse(
            field,
            "must be set: histories and previews name the rule by it",
        );
    }
    bytes(field, id, limits::RULE_ID_BYTES_MAX)?;
    let is_allowed = |one: char| one.is_ascii_alphanumeric() || matches!(one, '.' | '_' | '-');
    id.chars()
        .find(|one| !is_allowed(*one))
        .map_or(Ok(()), |one| {
            refuse(
                field,
                format!("contains {one:?}: use letters, digits, '.', '_' and '-'"),
            )
        })
}

fn failures(field: &str, matches: &Match) -> Checked {
    items(
        &format!("{field}.classes"),
        matches.classes.len(),
        limits::RULE_PATTERNS_MAX,
    )?;
    items(
        &format!("{field}.codes"),
        matches.codes.len(),
        limits::RULE_PATTERNS_MAX,
    )?;
    for (index, code) in matches.codes.iter().enumerate() {
        if !(0..=CODE_MAX).contains(code) {
            let problem = format!("is {code}: use a google.rpc.Code number, 0 to {CODE_MAX}");
            return refuse(&format!("{field}.codes[{index}]"), problem);
        }
    }
    let lists = [
        ("error_types", &matches.error_types),
        ("exclude_error_types", &matches.exclude_error_types),
    ];
    for (name, patterns) in lists {
        items(
            &format!("{field}.{name}"),
            patterns.len(),
            limits::RULE_PATTERNS_MAX,
        )?;
        for (index, pattern) in patterns.iter().enumerate() {
            let field = format!("{field}.{name}[{index}]");
            if pattern.is_empty() {
                return refuse(
                    &field,
                    "is empty: name an error type, or \"*\" for every type",
                );
            }
            bytes(&field, pattern, limits::ERROR_TYPE_BYTES_MAX)?;
        }
    }
    let (first, last) = (matches.attempt_min, matches.attempt_max);
    if last != 0 && first > last {
        let problem = format!(
            "is {first}, after attempt_max, which is {last}: no attempt is in that range, lower \
             it, or set attempt_max to 0 for no end"
        );
        return refuse(&format!("{field}.attempt_min"), problem);
    }
    Ok(())
}

fn backoff(field: &str, backoff: &Backoff) -> Checked {
    shape(field, &backoff.shape)?;
    if backoff.min_ms > backoff.max_ms {
        let problem = format!(
            "is {} ms, above max, which is {} ms: lower it, or raise max",
            backoff.min_ms, backoff.max_ms
        );
        return refuse(&format!("{field}.min"), problem);
    }
    delay(&format!("{field}.max"), backoff.max_ms, 0)?;
    let is_decorrelated = matches!(backoff.shape, Shape::Decorrelated { .. });
    if is_decorrelated && backoff.jitter != Jitter::None {
        return refuse(
            &format!("{field}.jitter"),
            "must be unset or NONE beside decorrelated, which is jitter in itself",
        );
    }
    jitter(field, backoff.jitter)?;
    delay(&format!("{field}.granularity"), backoff.granularity_ms, 1)
}

fn shape(field: &str, shape: &Shape) -> Checked {
    match shape {
        Shape::Exponential {
            initial_ms,
            multiplier,
            doublings_max: _,
            base_ms,
        } => {
            delay(&format!("{field}.exponential.initial"), *initial_ms, 1)?;
            let multiplier_field = format!("{field}.exponential.multiplier");
            within(&multiplier_field, *multiplier, 1.0, MULTIPLIER_MAX)?;
            delay(&format!("{field}.exponential.base"), *base_ms, 0)
        }
        Shape::Fixed { delay_ms } => delay(&format!("{field}.fixed.delay"), *delay_ms, 0),
        Shape::Linear {
            initial_ms,
            step_ms,
        } => {
            delay(&format!("{field}.linear.initial"), *initial_ms, 0)?;
            delay(&format!("{field}.linear.step"), *step_ms, 0)
        }
        Shape::Polynomial {
            base_ms,
            scale_ms,
            degree,
            offset,
        } => {
            delay(&format!("{field}.polynomial.base"), *base_ms, 0)?;
            delay(&format!("{field}.polynomial.scale"), *scale_ms, 0)?;
            if !(1..=DEGREE_MAX).contains(degree) {
                let problem = format!("is {degree}: set 1 to {DEGREE_MAX}");
                return refuse(&format!("{field}.polynomial.degree"), problem);
            }
            if *offset > OFFSET_MAX {
                let problem = format!("is {offset}: set 0 to {OFFSET_MAX}");
                return refuse(&format!("{field}.polynomial.offset"), problem);
            }
            Ok(())
        }
        Shape::Delays(delays) => {
            let field = format!("{field}.delays.delays");
            if delays.is_empty() {
                return refuse(&field, "is empty: list at least one delay");
            }
            items(&field, delays.len(), limits::EXPLICIT_DELAYS_MAX)?;
            delays
                .iter()
                .enumerate()
                .try_for_each(|(index, one)| delay(&format!("{field}[{index}]"), *one, 0))
        }
        Shape::Decorrelated { base_ms } => {
            delay(&format!("{field}.decorrelated.base"), *base_ms, 1)
        }
    }
}

fn jitter(field: &str, jitter: Jitter) -> Checked {
    match jitter {
        Jitter::None | Jitter::Full | Jitter::Equal => Ok(()),
        Jitter::Additive { ratio } | Jitter::Symmetric { ratio } | Jitter::Below { ratio } => {
            within(&format!("{field}.jitter.ratio"), ratio, 0.0, 1.0)
        }
        Jitter::PerAttempt { per_attempt_ms } => {
            delay(&format!("{field}.jitter.per_attempt"), per_attempt_ms, 0)
        }
    }
}

/// A number within bounds; what is no number is not.
fn within(field: &str, number: f64, least: f64, most: f64) -> Checked {
    if (least..=most).contains(&number) {
        return Ok(());
    }
    refuse(field, format!("is {number}: set {least:.1} to {most:.1}"))
}

fn delay(field: &str, delay_ms: u64, least_ms: u64) -> Checked {
    if delay_ms < least_ms {
        return refuse(
            field,
            format!("is {delay_ms} ms: set at least {least_ms} ms"),
        );
    }
    if delay_ms > limits::DELAY_MS_MAX {
        let problem = format!("is {delay_ms} ms: set at most 3,650 days");
        return refuse(field, problem);
    }
    Ok(())
}

fn bytes(field: &str, text: &str, most: usize) -> Checked {
    if text.len() > most {
        let problem = format!(
            "has {} bytes, at most {most} are allowed: shorten it",
            text.len()
        );
        return refuse(field, problem);
    }
    Ok(())
}

fn items(field: &str, count: usize, most: usize) -> Checked {
    if count > most {
        let problem = format!("has {count} entries, at most {most} are allowed: leave some out");
        return refuse(field, problem);
    }
    Ok(())
}
