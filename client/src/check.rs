//! What the protos demand of names, sizes and time limits, checked before anything is sent.
//!
//! Pure. Invariant: every refusal names the field, the limit and the remedy. The tests are beside
//! the callers, who are the only way in.

use std::{collections::BTreeMap, time::Duration};

use redrive_proto::v1;

use crate::{
    error::Error,
    limits::{
        CONTENT_TYPE_BYTES_MAX, DELAY_MAX, HARD_TIMEOUT_MAX, LABEL_VALUE_BYTES_MAX, LABELS_MAX,
        NAME_CHARS_MAX, POLICY_DESCRIPTION_BYTES_MAX, POLICY_NAME_BYTES_MAX, POLICY_RULES_MAX,
        RULE_ERROR_TYPES_MAX, RULE_ID_BYTES_MAX, TIMEOUT_MIN,
    },
};

/// Checks the name of a queue, kind, namespace or label key.
pub(crate) fn check_name(field: &str, name: &str) -> Result<(), Error> {
    let first = name
        .chars()
        .next()
        .is_some_and(|c| c.is_ascii_alphanumeric());
    let rest = name
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
    if first && rest && name.len() <= NAME_CHARS_MAX {
        return Ok(());
    }
    Err(Error::invalid(
        field,
        format!(
            "{:?} is no name; use 1 to {NAME_CHARS_MAX} letters, digits, '.', '_' and '-', \
             beginning with a letter or digit",
            shortened(name)
        ),
    ))
}

/// Checks a text that is limited in bytes.
pub(crate) fn check_bytes(field: &str, text: &str, max: usize) -> Result<(), Error> {
    if text.len() <= max {
        return Ok(());
    }
    let len = text.len();
    Err(Error::invalid(
        field,
        format!("has {len} bytes, at most {max} are allowed; shorten it"),
    ))
}

/// What a span must keep to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// No less.
    pub(crate) min: Duration,
    /// No more.
    pub(crate) max: Duration,
    /// The same in words.
    pub(crate) said: &'static str,
}

/// When a task may start.
pub(crate) const DELAY: Bounds = Bounds {
    min: Duration::ZERO,
    max: DELAY_MAX,
    said: "at most 3,650 days are allowed",
};

const RUN_LIMIT: Bounds = Bounds {
    min: TIMEOUT_MIN,
    max: HARD_TIMEOUT_MAX,
    said: "1 ms to 30 days are allowed, or leave it unset",
};

/// Checks a span, where there is one, and answers it.
pub(crate) fn check_span(
    field: &str,
    span: Option<&prost_types::Duration>,
    bounds: Bounds,
) -> Result<Option<Duration>, Error> {
    let Some(proto) = span else { return Ok(None) };
    let Ok(span) = Duration::try_from(*proto) else {
        let problem = format!("is negative; {}", bounds.said);
        return Err(Error::invalid(field, problem));
    };
    if (bounds.min..=bounds.max).contains(&span) {
        return Ok(Some(span));
    }
    Err(Error::invalid(
        field,
        format!("is {}; {}", spoken(span), bounds.said),
    ))
}

/// A span in the largest unit that it is a whole number of, as the coordinator tells it.
fn spoken(span: Duration) -> String {
    const DAY_MS: u128 = 86_400_000;
    const UNITS: [(u128, &str); 4] = [
        (DAY_MS, "days"),
        (3_600_000, "h"),
        (60_000, "min"),
        (1000, "s"),
    ];
    let ms = span.as_millis();
    if span.is_zero() {
        return "0".to_owned();
    }
    if !span.subsec_nanos().is_multiple_of(1_000_000) {
        return format!("{span:?}");
    }
    // One day is told as 24 h: there is no singular here.
    let fits = |unit: u128| ms >= unit && ms.is_multiple_of(unit) && (ms, unit) != (DAY_MS, DAY_MS);
    let whole = UNITS.iter().find(|(unit, _)| fits(*unit));
    let (count, unit) = whole.map_or((ms, "ms"), |(unit, name)| (ms / unit, name));
    format!("{count} {unit}")
}

/// Checks the time limits of a run, each by itself and together.
pub(crate) fn check_timeouts(field: &str, timeouts: &v1::Timeouts) -> Result<(), Error> {
    let limit = |name: &str, limit: &Option<prost_types::Duration>| {
        check_span(&format!("{field}.{name}"), limit.as_ref(), RUN_LIMIT)
    };
    let soft = limit("soft", &timeouts.soft)?;
    let hard = limit("hard", &timeouts.hard)?;
    let extend_max = limit("extend_max", &timeouts.extend_max)?;
    let Some(hard) = hard else { return Ok(()) };
    if let Some(soft) = soft.filter(|soft| *soft > hard) {
        let problem = format!(
            "is {}, above the hard limit of {}; lower it, or raise the hard limit",
            spoken(soft),
            spoken(hard)
        );
        return Err(Error::invalid(format!("{field}.soft"), problem));
    }
    if let Some(extend_max) = extend_max.filter(|extend_max| *extend_max < hard) {
        let problem = format!(
            "is {}, below the hard limit of {}; raise it, or leave it unset for 4 times the hard limit",
            spoken(extend_max),
            spoken(hard)
        );
        return Err(Error::invalid(format!("{field}.extend_max"), problem));
    }
    Ok(())
}

/// A span as a message. One that is longer than a message can say stays too long for every limit.
pub(crate) fn span(span: Duration) -> prost_types::Duration {
    prost_types::Duration::try_from(span).unwrap_or(prost_types::Duration {
        seconds: i64::MAX,
        nanos: 0,
    })
}

/// Checks what the handler is given.
pub(crate) fn check_payload(field: &str, payload: &v1::Payload, max: usize) -> Result<(), Error> {
    let len = payload.data.len();
    if len > max {
        return Err(Error::invalid(
            format!("{field}.data"),
            format!(
                "has {len} bytes, at most {max} are allowed; store it elsewhere and enqueue where \
                 it is"
            ),
        ));
    }
    let field = format!("{field}.content_type");
    check_bytes(&field, &payload.content_type, CONTENT_TYPE_BYTES_MAX)?;
    if payload
        .content_type
        .bytes()
        .all(|byte| (b' '..=b'~').contains(&byte))
    {
        return Ok(());
    }
    Err(Error::invalid(
        field,
        format!(
            "{:?} is not visible ASCII; use a media type",
            payload.content_type
        ),
    ))
}

/// Checks the labels of a task.
pub(crate) fn check_labels(field: &str, labels: &BTreeMap<String, String>) -> Result<(), Error> {
    if labels.len() > LABELS_MAX {
        let len = labels.len();
        return Err(Error::invalid(
            field,
            format!("has {len} entries, at most {LABELS_MAX} are allowed; leave some out"),
        ));
    }
    for (key, value) in labels {
        check_name(field, key)?;
        check_bytes(&format!("{field}.{key}"), value, LABEL_VALUE_BYTES_MAX)?;
    }
    Ok(())
}

/// Checks a retry policy's name.
pub(crate) fn check_policy_name(field: &str, name: &str, may_be_empty: bool) -> Result<(), Error> {
    if name.is_empty() && !may_be_empty {
        return Err(Error::invalid(
            field,
            "is empty; name a policy, or leave it unset",
        ));
    }
    check_bytes(field, name, POLICY_NAME_BYTES_MAX)
}

/// Checks the sizes and names of an inline retry policy; its arithmetic is the coordinator's.
pub(crate) fn check_policy(field: &str, policy: &v1::RetryPolicy) -> Result<(), Error> {
    check_policy_name(&format!("{field}.name"), &policy.name, true)?;
    let description = format!("{field}.description");
    check_bytes(
        &description,
        &policy.description,
        POLICY_DESCRIPTION_BYTES_MAX,
    )?;
    if policy.rules.len() > POLICY_RULES_MAX {
        let len = policy.rules.len();
        return Err(Error::invalid(
            format!("{field}.rules"),
            format!("has {len} entries, at most {POLICY_RULES_MAX} are allowed; merge some"),
        ));
    }
    let mut ids = Vec::with_capacity(policy.rules.len());
    for (index, rule) in policy.rules.iter().enumerate() {
        let field = format!("{field}.rules[{index}]");
        check_rule(&field, rule)?;
        if ids.contains(&&rule.id) {
            let problem = format!("{:?} is another rule's too; give each its own", rule.id);
            return Err(Error::invalid(format!("{field}.id"), problem));
        }
        ids.push(&rule.id);
    }
    Ok(())
}

fn check_rule(field: &str, rule: &v1::RetryRule) -> Result<(), Error> {
    let of_id = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let len = rule.id.len();
    if len == 0 || len > RULE_ID_BYTES_MAX || !rule.id.chars().all(of_id) {
        return Err(Error::invalid(
            format!("{field}.id"),
            format!(
                "{:?} is no id; use 1 to {RULE_ID_BYTES_MAX} letters, digits, '.', '_' and '-'",
                shortened(&rule.id)
            ),
        ));
    }
    if rule.spares_attempts && rule.max_attempts == 0 {
        return Err(Error::invalid(
            format!("{field}.max_attempts"),
            "is 0 on a rule that spares attempts; say how often the rule may retry",
        ));
    }
    let Some(matched) = &rule.r#match else {
        return Ok(());
    };
    for (name, types) in [
        ("error_types", &matched.error_types),
        ("exclude_error_types", &matched.exclude_error_types),
    ] {
        if types.len() > RULE_ERROR_TYPES_MAX {
            let len = types.len();
            return Err(Error::invalid(
                format!("{field}.match.{name}"),
                format!("has {len} entries, at most {RULE_ERROR_TYPES_MAX} are allowed"),
            ));
        }
    }
    Ok(())
}

/// What of a refused text is worth repeating.
pub(crate) fn shortened(text: &str) -> String {
    const SHOWN: usize = 40;
    if text.chars().count() <= SHOWN {
        return text.to_owned();
    }
    text.chars().take(SHOWN).chain("...".chars()).collect()
}
