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
        NAME_CHARS_MAX, PAYLOAD_BYTES_MAX, POLICY_DESCRIPTION_BYTES_MAX, POLICY_NAME_BYTES_MAX,
        POLICY_RULES_MAX, RULE_ERROR_TYPES_MAX, RULE_ID_BYTES_MAX, TIMEOUT_MIN,
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

/// Checks two time limits and puts them into their message.
pub(crate) fn timeouts(
    field: &str,
    soft: Option<Duration>,
    hard: Option<Duration>,
) -> Result<v1::Timeouts, Error> {
    for (name, limit) in [("soft", soft), ("hard", hard)] {
        if let Some(limit) = limit.filter(|limit| *limit < TIMEOUT_MIN) {
            let problem = format!("is {limit:?}; it must be at least {TIMEOUT_MIN:?}, or unset");
            return Err(Error::invalid(format!("{field}.{name}"), problem));
        }
    }
    if let Some(hard) = hard.filter(|hard| *hard > HARD_TIMEOUT_MAX) {
        let problem = format!("is {hard:?}; at most 30 days are allowed, or leave it unset");
        return Err(Error::invalid(format!("{field}.hard"), problem));
    }
    if let (Some(soft), Some(hard)) = (soft, hard)
        && soft > hard
    {
        let problem = format!(
            "is {soft:?}, above the hard limit of {hard:?}; lower it, or raise the hard limit"
        );
        return Err(Error::invalid(format!("{field}.soft"), problem));
    }
    let proto = |limit: Option<Duration>| limit.map(|it| proto_duration(field, it)).transpose();
    Ok(v1::Timeouts {
        soft: proto(soft)?,
        hard: proto(hard)?,
        ..Default::default()
    })
}

/// A duration as a message.
pub(crate) fn proto_duration(
    field: &str,
    duration: Duration,
) -> Result<prost_types::Duration, Error> {
    prost_types::Duration::try_from(duration)
        .map_err(|error| Error::invalid(field, format!("{duration:?} is too long ({error})")))
}

/// Checks how long a task is to wait.
pub(crate) fn check_delay(delay: Duration) -> Result<(), Error> {
    if delay <= DELAY_MAX {
        return Ok(());
    }
    Err(Error::invalid(
        "task.delay",
        format!("is {delay:?}; at most 3,650 days are allowed"),
    ))
}

/// Checks what the handler is given.
pub(crate) fn check_payload(payload: &v1::Payload) -> Result<(), Error> {
    let len = payload.data.len();
    if len > PAYLOAD_BYTES_MAX {
        return Err(Error::invalid(
            "task.payload.data",
            format!(
                "has {len} bytes, at most {PAYLOAD_BYTES_MAX} are allowed; store it elsewhere and \
                 enqueue where it is"
            ),
        ));
    }
    check_bytes(
        "task.payload.content_type",
        &payload.content_type,
        CONTENT_TYPE_BYTES_MAX,
    )?;
    if payload
        .content_type
        .bytes()
        .all(|byte| (b' '..=b'~').contains(&byte))
    {
        return Ok(());
    }
    Err(Error::invalid(
        "task.payload.content_type",
        format!(
            "{:?} is not visible ASCII; use a media type",
            payload.content_type
        ),
    ))
}

/// Checks the labels of a task.
pub(crate) fn check_labels(labels: &BTreeMap<String, String>) -> Result<(), Error> {
    if labels.len() > LABELS_MAX {
        let len = labels.len();
        return Err(Error::invalid(
            "task.labels",
            format!("has {len} entries, at most {LABELS_MAX} are allowed; leave some out"),
        ));
    }
    for (key, value) in labels {
        check_name("task.labels", key)?;
        check_bytes(&format!("task.labels.{key}"), value, LABEL_VALUE_BYTES_MAX)?;
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
pub(crate) fn check_policy(policy: &v1::RetryPolicy) -> Result<(), Error> {
    const FIELD: &str = "task.inline_retry_policy";
    check_policy_name(&format!("{FIELD}.name"), &policy.name, true)?;
    let description = format!("{FIELD}.description");
    check_bytes(
        &description,
        &policy.description,
        POLICY_DESCRIPTION_BYTES_MAX,
    )?;
    if policy.rules.len() > POLICY_RULES_MAX {
        let len = policy.rules.len();
        return Err(Error::invalid(
            format!("{FIELD}.rules"),
            format!("has {len} entries, at most {POLICY_RULES_MAX} are allowed; merge some"),
        ));
    }
    let mut ids = Vec::with_capacity(policy.rules.len());
    for (index, rule) in policy.rules.iter().enumerate() {
        let field = format!("{FIELD}.rules[{index}]");
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
fn shortened(text: &str) -> String {
    const SHOWN: usize = 40;
    if text.chars().count() <= SHOWN {
        return text.to_owned();
    }
    text.chars().take(SHOWN).chain("...".chars()).collect()
}
