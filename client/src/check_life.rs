//! What the protos demand of a task's life: keys, terms, follow-ups, chains, settings.
//!
//! Pure. Invariant: every refusal names the field, the limit and the remedy.

use std::time::Duration;

use redrive_proto::v1;

use crate::{
    check::{
        Bounds, DELAY, check_bytes, check_labels, check_name, check_payload, check_policy,
        check_policy_name, check_span, check_timeouts, shortened,
    },
    error::Error,
    limits::{
        ACTOR_BYTES_MAX, AGING_MAX, FINISHED_MAX_MAX, FOLLOW_UP_PAYLOAD_BYTES_MAX, GRACE_MAX,
        IDEMPOTENCY_WINDOW_MAX, KEY_BYTES_MAX, LIFE_MAX, MEMORY_MIN, REQUEST_ID_BYTES_MAX,
        REQUEST_TTL_MAX, RESULT_TTL_MAX, SPAN_MIN, THEN_MAX,
    },
};

const LIFE: Bounds = Bounds {
    min: SPAN_MIN,
    max: LIFE_MAX,
    said: "1 ms to 3,650 days are allowed, or leave it unset",
};

const RESULT: Bounds = Bounds {
    min: Duration::ZERO,
    max: RESULT_TTL_MAX,
    said: "at most 30 days are allowed",
};

const WINDOW: Bounds = Bounds {
    min: MEMORY_MIN,
    max: IDEMPOTENCY_WINDOW_MAX,
    said: "1 s to 30 days are allowed, or leave it unset for 24 h",
};

const REQUEST: Bounds = Bounds {
    min: MEMORY_MIN,
    max: REQUEST_TTL_MAX,
    said: "1 s to 24 h are allowed",
};

const GRACE: Bounds = Bounds {
    min: Duration::ZERO,
    max: GRACE_MAX,
    said: "at most 24 h are allowed, or leave it unset for as long as the handler wants",
};

const AGING: Bounds = Bounds {
    min: Duration::ZERO,
    max: AGING_MAX,
    said: "at most 24 h are allowed, and 0 for none",
};

/// Checks a text that names something for machines: 1 to `max` bytes, all printable.
pub(crate) fn check_token(field: &str, token: &str, max: usize) -> Result<(), Error> {
    if token.is_empty() {
        let problem = format!("is empty; use 1 to {max} bytes of printable text");
        return Err(Error::invalid(field, problem));
    }
    check_bytes(field, token, max)?;
    if token.contains(char::is_control) {
        let problem = format!(
            "{:?} has control characters; use 1 to {max} bytes of printable text",
            shortened(token)
        );
        return Err(Error::invalid(field, problem));
    }
    Ok(())
}

/// Checks a request id.
pub(crate) fn check_request_id(id: &str) -> Result<(), Error> {
    check_token("request_id", id, REQUEST_ID_BYTES_MAX)
}

/// Checks how long a request id is to be remembered.
pub(crate) fn check_request_ttl(ttl: &prost_types::Duration) -> Result<(), Error> {
    check_span("request_ttl", Some(ttl), REQUEST).map(drop)
}

/// Checks the name of who acts, which travels as a header.
pub(crate) fn check_actor(actor: &str) -> Result<(), Error> {
    check_token("actor", actor, ACTOR_BYTES_MAX)?;
    if actor.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return Ok(());
    }
    let problem = format!("{:?} is not visible ASCII; use letters", shortened(actor));
    Err(Error::invalid("actor", problem))
}

/// Checks both keys of a task.
pub(crate) fn check_keys(task: &v1::TaskSpec) -> Result<(), Error> {
    if !task.idempotency_key.is_empty() {
        check_token("task.idempotency_key", &task.idempotency_key, KEY_BYTES_MAX)?;
    } else if task.idempotency_window.is_some() {
        return Err(Error::invalid(
            "task.idempotency_window",
            "is set without task.idempotency_key; set the key too, or leave both unset",
        ));
    }
    let window = task.idempotency_window.as_ref();
    check_span("task.idempotency_window", window, WINDOW)?;
    task.unique.as_deref().map_or(Ok(()), check_unique)
}

fn check_unique(unique: &v1::UniqueKey) -> Result<(), Error> {
    check_token("task.unique.key", &unique.key, KEY_BYTES_MAX)?;
    if unique.scope.contains(&0) {
        let problem = "names no state; use WAITING, RUNNING, DEAD or FINISHED";
        return Err(Error::invalid("task.unique.scope", problem));
    }
    let postpone_max = unique.postpone_max.as_ref();
    check_span("task.unique.postpone_max", postpone_max, DELAY)?;
    match unique.on_conflict() {
        v1::ConflictAction::ReplaceWaiting | v1::ConflictAction::RescheduleWaiting => Ok(()),
        v1::ConflictAction::Unspecified
        | v1::ConflictAction::ReturnExisting
        | v1::ConflictAction::Reject => match postpone_max {
            None => Ok(()),
            Some(_) => Err(Error::invalid(
                "task.unique.postpone_max",
                "needs an on_conflict that moves the holder's start; use REPLACE_WAITING or \
                 RESCHEDULE_WAITING, or leave it unset",
            )),
        },
    }
}

/// Checks what can be said of a task's life on every level.
pub(crate) fn check_terms(field: &str, terms: &v1::Terms) -> Result<(), Error> {
    for (name, span, bounds) in [
        ("ttl", &terms.ttl, LIFE),
        ("deadline", &terms.deadline, LIFE),
        ("result_ttl", &terms.result_ttl, RESULT),
    ] {
        check_span(&format!("{field}.{name}"), span.as_ref(), bounds)?;
    }
    let Some(follow_ups) = &terms.follow_ups else {
        return Ok(());
    };
    for (name, template) in [
        ("on_success", &follow_ups.on_success),
        ("on_failure", &follow_ups.on_failure),
        ("on_exhausted", &follow_ups.on_exhausted),
        ("on_cancelled", &follow_ups.on_cancelled),
    ] {
        if let Some(template) = template {
            check_template(&format!("{field}.follow_ups.{name}"), template)?;
        }
    }
    Ok(())
}

/// Checks the rest of a chain.
pub(crate) fn check_chain(chain: &[v1::TaskTemplate]) -> Result<(), Error> {
    if chain.len() > THEN_MAX {
        let len = chain.len();
        return Err(Error::invalid(
            "task.then",
            format!(
                "has {len} entries, at most {THEN_MAX} are allowed; let a handler enqueue more"
            ),
        ));
    }
    for (index, template) in chain.iter().enumerate() {
        let field = format!("task.then[{index}]");
        if template.payload.is_some() {
            return Err(Error::invalid(
                format!("{field}.payload"),
                "is set, but the payload in a chain is the result of the task before; leave it unset",
            ));
        }
        check_template(&field, template)?;
    }
    Ok(())
}

fn check_template(field: &str, template: &v1::TaskTemplate) -> Result<(), Error> {
    check_name(&format!("{field}.kind"), &template.kind)?;
    check_name_or_none(&format!("{field}.queue"), &template.queue)?;
    if let Some(payload) = &template.payload {
        let field = format!("{field}.payload");
        check_payload(&field, payload, FOLLOW_UP_PAYLOAD_BYTES_MAX)?;
    }
    check_span(&format!("{field}.delay"), template.delay.as_ref(), DELAY)?;
    check_labels(&format!("{field}.labels"), &template.labels)
}

/// Checks a name that may be left empty.
pub(crate) fn check_name_or_none(field: &str, name: &str) -> Result<(), Error> {
    if name.is_empty() {
        return Ok(());
    }
    check_name(field, name)
}

/// Checks how a task is to be cancelled.
pub(crate) fn check_cancel(
    mode: v1::CancelMode,
    grace: Option<&prost_types::Duration>,
) -> Result<(), Error> {
    check_span("grace", grace, GRACE)?;
    match mode {
        v1::CancelMode::Unspecified | v1::CancelMode::Cooperative => Ok(()),
        v1::CancelMode::IfWaiting | v1::CancelMode::Force => match grace {
            None => Ok(()),
            Some(_) => Err(Error::invalid(
                "grace",
                "is set, but only a COOPERATIVE cancel has one; leave it unset, or use that mode",
            )),
        },
    }
}

/// Checks the settings of a kind.
pub(crate) fn check_kind(settings: &v1::KindSettings) -> Result<(), Error> {
    check_name_or_none("settings.queue", &settings.queue)?;
    check_name_or_none("settings.dead_letter_queue", &settings.dead_letter_queue)?;
    match &settings.retry {
        Some(v1::kind_settings::Retry::RetryPolicy(name)) => {
            check_policy_name("settings.retry_policy", name, false)?;
        }
        Some(v1::kind_settings::Retry::InlineRetryPolicy(policy)) => {
            check_policy("settings.inline_retry_policy", policy)?;
        }
        None => {}
    }
    if let Some(timeouts) = &settings.timeouts {
        check_timeouts("settings.timeouts", timeouts)?;
    }
    let terms = settings.terms.as_ref();
    terms.map_or(Ok(()), |terms| check_terms("settings.terms", terms))
}

/// Checks the settings of a queue.
pub(crate) fn check_queue(settings: &v1::QueueSettings) -> Result<(), Error> {
    check_name_or_none("settings.dead_letter_queue", &settings.dead_letter_queue)?;
    check_span("settings.aging", settings.aging.as_ref(), AGING)?;
    let finished_max = settings.finished_max.unwrap_or_default();
    if finished_max > FINISHED_MAX_MAX {
        return Err(Error::invalid(
            "settings.finished_max",
            format!("is {finished_max}; at most {FINISHED_MAX_MAX} are allowed"),
        ));
    }
    if let Some(timeouts) = &settings.timeouts {
        check_timeouts("settings.timeouts", timeouts)?;
    }
    let terms = settings.terms.as_ref();
    terms.map_or(Ok(()), |terms| check_terms("settings.terms", terms))
}
