//! Tasks as producers ask for them.
//!
//! Owns what a task says of itself. Its terms are [`terms`]'s, its keys [`keys`]'s.

use std::collections::BTreeMap;
use std::sync::Arc;

use prost_types::{Duration, Timestamp};
use redrive_proto::v1 as pb;

use super::field::{At, InvalidRequest, Parsed, duration_ms, instant, name, optional_payload};
use super::field::{optional_queue, text, timeouts, variant};
use super::{keys, policy, terms};
use crate::engine::command::{NewTask, Start};
use crate::engine::ledger::task::Priority;
use crate::engine::limits;
use crate::engine::retry::PolicyRef;

/// A task of an already checked namespace.
pub(crate) fn new_task(namespace: &str, spec: Option<pb::TaskSpec>, at: At<'_>) -> Parsed<NewTask> {
    let mut spec = spec.ok_or_else(|| missing_task(at))?;
    let keys = keys::new_keys(&mut spec, at)?;
    let payload = optional_payload(spec.payload, limits::PAYLOAD_BYTES_MAX, at.field("payload"))?;
    Ok(NewTask {
        queue: optional_queue(namespace, &spec.queue, at.field("queue"))?,
        kind: name(&spec.kind, at.field("kind"))?,
        version: spec.schema_version,
        payload: payload.unwrap_or_default(),
        priority: priority(spec.priority, at.field("priority"))?,
        start: start(spec.start, at)?,
        timeouts: spec
            .timeouts
            .map(|given| timeouts(&given, at.field("timeouts")))
            .transpose()?,
        policy: retry(spec.retry, at)?,
        max_attempts: spec.max_attempts,
        labels: labels(spec.labels, at.field("labels"))?,
        terms: terms::optional_terms(namespace, spec.terms.map(|it| *it), at.field("terms"))?,
        then: terms::chain(namespace, spec.then, at.field("then"))?,
        keys,
    })
}

/// Where the task itself is what is missing, its path is that of the request's root in a batch.
fn missing_task(at: At<'_>) -> InvalidRequest {
    match at {
        At::Root => {
            let root = At::Root;
            root.field("task").missing()
        }
        At::Field(..) | At::Index(..) | At::Key(..) | At::Path(..) => at.missing(),
    }
}

/// A priority; unset means NORMAL.
pub(crate) fn priority(number: i32, at: At<'_>) -> Parsed<Priority> {
    Ok(match variant(number, at)? {
        pb::Priority::Lowest => Priority::Lowest,
        pb::Priority::Low => Priority::Low,
        pb::Priority::Unspecified | pb::Priority::Normal => Priority::Normal,
        pb::Priority::High => Priority::High,
        pb::Priority::Highest => Priority::Highest,
    })
}

fn start(value: Option<pb::task_spec::Start>, at: At<'_>) -> Parsed<Start> {
    use pb::task_spec::Start as Given;
    match value {
        None => Ok(Start::After { delay_ms: 0 }),
        Some(Given::Delay(delay)) => start_after(&delay, at),
        Some(Given::NotBefore(not_before)) => start_at(&not_before, at),
    }
}

/// A start so long from now.
pub(crate) fn start_after(delay: &Duration, at: At<'_>) -> Parsed<Start> {
    let delay_ms = duration_ms(delay, limits::DELAY_MS_MAX, at.field("delay"))?;
    Ok(Start::After { delay_ms })
}

/// A start at an instant.
pub(crate) fn start_at(not_before: &Timestamp, at: At<'_>) -> Parsed<Start> {
    instant(not_before, at.field("not_before")).map(Start::At)
}

fn retry(value: Option<pb::task_spec::Retry>, at: At<'_>) -> Parsed<Option<PolicyRef>> {
    use pb::task_spec::Retry as Given;
    let parsed = value.map(|given| match given {
        Given::RetryPolicy(name) => policy::named(&name, at.field("retry_policy")),
        Given::InlineRetryPolicy(given) => policy::inline(*given, at.field("inline_retry_policy")),
    });
    parsed.transpose()
}

/// The labels of a task, sorted by key.
pub(crate) fn labels(
    value: BTreeMap<String, String>,
    at: At<'_>,
) -> Parsed<Vec<(Arc<str>, Arc<str>)>> {
    if value.len() > limits::LABELS_MAX {
        let count = value.len();
        let max = limits::LABELS_MAX;
        return Err(at.refuse(format_args!(
            "has {count} labels, at most {max} are allowed"
        )));
    }
    value
        .into_iter()
        .map(|(key, value)| {
            let at = at.key(&key);
            let value = text(&value, limits::LABEL_VALUE_BYTES_MAX, at)?;
            if key.is_empty() {
                return Err(at.refuse("has no key"));
            }
            Ok((name(&key, at)?, value))
        })
        .collect()
}

/// Labels as the wire has them.
pub(crate) fn labels_view(labels: &[(Arc<str>, Arc<str>)]) -> BTreeMap<String, String> {
    let labels = labels.iter();
    labels
        .map(|(key, value)| (key.to_string(), value.to_string()))
        .collect()
}

#[cfg(test)]
mod tests;
