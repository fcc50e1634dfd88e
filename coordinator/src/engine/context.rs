//! The payload of a follow-up task: what it has to know of the end that it follows, as JSON.
//!
//! Owns its form, which `FailureContext` in the protos documents; a field is added, never changed.
//! Part of the engine because it is recorded with the end that it speaks of. Invariant: it fits a
//! payload whatever the task ([`BYTES_MAX`]).

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::value::RawValue;

use super::failure::Failure;
use super::ledger::history::RunRecord;
use super::ledger::task::{Payload, State, Task};
use super::ledger::terms::Transition;
use super::limits;
use super::retry::DeadReason;

/// What every follow-up's payload is.
const CONTENT_TYPE: &str = "application/json";

/// Arrays and objects within each other of JSON that is told as it stands: readers give up beyond
/// 100 or so, and the whole would be lost to them with a part.
const JSON_DEPTH_MAX: usize = 64;

/// The most bytes that it can take: all parts at their worst.
pub(super) const BYTES_MAX: usize = {
    // A byte of a text is six at worst (\u0001), three of a payload are four.
    const fn text(bytes: usize) -> usize {
        6 * bytes
    }
    const fn content(bytes: usize) -> usize {
        FIELDS_BYTES + text(limits::CONTENT_TYPE_BYTES_MAX) + bytes.div_ceil(3) * 4
    }
    // The names and numbers of one object.
    const FIELDS_BYTES: usize = 512;
    let payloads = 2 * content(limits::CONTEXT_PAYLOAD_BYTES_MAX);
    let argument = content(limits::TEMPLATE_PAYLOAD_BYTES_MAX);
    let types = (1 + limits::ANCESTORS_MAX) * text(limits::ERROR_TYPE_BYTES_MAX);
    let texts = text(limits::FAILURE_MESSAGE_BYTES_MAX + limits::STACK_KEPT_BYTES_MAX);
    let failure = FIELDS_BYTES + types + texts;
    let run_texts = limits::HISTORY_MESSAGE_BYTES_MAX + limits::ERROR_TYPE_BYTES_MAX;
    let run = FIELDS_BYTES + text(run_texts) + limits::NAME_BYTES_MAX;
    let label = 8 + limits::NAME_BYTES_MAX + text(limits::LABEL_VALUE_BYTES_MAX);
    let names = 3 * limits::NAME_BYTES_MAX + text(limits::REASON_BYTES_MAX);
    payloads
        + argument
        + failure
        + 2 * limits::HISTORY_RUNS_MAX * run
        + limits::LABELS_MAX * label
        + FIELDS_BYTES
        + names
};
const _: () = assert!(BYTES_MAX <= limits::PAYLOAD_BYTES_MAX);

#[derive(Serialize)]
struct Context<'a> {
    transition: &'static str,
    task_id: String,
    namespace: &'a str,
    queue: &'a str,
    kind: &'a str,
    schema_version: u32,
    payload: Content<'a>,
    labels: BTreeMap<&'a str, &'a str>,
    attempts: u32,
    crashes: u32,
    runs: u32,
    reason: &'a str,
    enqueue_time_ms: u64,
    end_time_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<Fact<'a>>,
    history: Vec<Run<'a>>,
    history_omitted: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Content<'a>>,
    outcome_label: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    argument: Option<Content<'a>>,
}

/// Bytes: as JSON where they are, else in base64; neither where they are too large.
#[derive(Serialize)]
struct Content<'a> {
    content_type: &'a str,
    bytes: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    json: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
}

#[derive(Serialize)]
struct Fact<'a> {
    class: &'static str,
    code: i32,
    error_type: &'a str,
    ancestors: Vec<&'a str>,
    message: &'a str,
    stack: &'a str,
}

#[derive(Serialize)]
struct Run<'a> {
    run: u32,
    attempt: u32,
    worker_id: &'a str,
    outcome: &'static str,
    class: &'static str,
    error_type: &'a str,
    message: &'a str,
    lease_time_ms: u64,
    end_time_ms: u64,
}

/// The payload of the task that follows this end.
pub(super) fn payload(
    task: &Task,
    transition: Transition,
    reason: Option<DeadReason>,
    argument: &Payload,
) -> Payload {
    let side = task.side.as_deref();
    let finished = match &task.state {
        State::Finished(finished) => Some(&**finished),
        State::Pending { .. } | State::Leased(_) | State::Dead { .. } => None,
    };
    let ended_at = match &task.state {
        State::Dead { at, .. } => *at,
        State::Finished(finished) => finished.at,
        State::Pending { .. } | State::Leased(_) => task.enqueued_at,
    };
    let labels = side.map_or(&[][..], |side| &side.labels);
    let history = side.map(|side| &side.history);
    let tally = task.tally();
    let runs = history.into_iter().flat_map(|history| history.runs());
    let context = Context {
        transition: transition.name(),
        task_id: task.id.to_string(),
        namespace: task.queue.namespace(),
        queue: task.queue.queue(),
        kind: &task.kind,
        schema_version: task.version,
        payload: Content::of(&task.payload),
        labels: labels.iter().map(|(k, v)| (&**k, &**v)).collect(),
        attempts: tally.failures,
        crashes: tally.crashes,
        runs: task.runs(),
        reason: reason.map_or("", DeadReason::name),
        enqueue_time_ms: task.enqueued_at.0,
        end_time_ms: ended_at.0,
        failure: side
            .and_then(|side| side.last_failure.as_ref())
            .map(Fact::of),
        history: runs.map(Run::of).collect(),
        history_omitted: history.map_or(0, |history| history.omitted()),
        result: finished
            .and_then(|finished| finished.result.as_ref())
            .map(Content::of),
        outcome_label: finished
            .and_then(|finished| finished.label.as_deref())
            .unwrap_or(""),
        argument: (*argument != Payload::default()).then(|| Content::of(argument)),
    };
    let data = serde_json::to_vec(&context).expect("texts and numbers are always JSON");
    Payload {
        data: data.into(),
        content_type: Some(CONTENT_TYPE.into()),
    }
}

impl<'a> Content<'a> {
    fn of(payload: &'a Payload) -> Self {
        let content_type = payload.content_type.as_deref().unwrap_or("");
        let bytes = payload.data.len();
        let fits = bytes <= limits::CONTEXT_PAYLOAD_BYTES_MAX;
        let claims = content_type.is_empty() || content_type.contains("json");
        let json = (fits && claims && bytes > 0 && is_shallow(&payload.data))
            .then(|| serde_json::from_slice(&payload.data).ok())
            .flatten();
        let base64 = (fits && json.is_none()).then(|| STANDARD.encode(&payload.data));
        Self {
            content_type,
            bytes,
            json,
            base64,
        }
    }
}

/// Whether JSON is nested no deeper than readers follow; nothing is said of what is no JSON.
fn is_shallow(data: &[u8]) -> bool {
    let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
    for byte in data {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_text,
            b'"' => in_text = !in_text,
            b'[' | b'{' if !in_text => depth += 1,
            b']' | b'}' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > JSON_DEPTH_MAX {
            return false;
        }
    }
    true
}

impl<'a> Fact<'a> {
    fn of(failure: &'a Failure) -> Self {
        Self {
            class: failure.class.name(),
            code: failure.code,
            error_type: &failure.error_type,
            ancestors: failure
                .ancestors
                .iter()
                .map(|ancestor| &**ancestor)
                .collect(),
            message: &failure.message,
            stack: &failure.stack,
        }
    }
}

impl<'a> Run<'a> {
    fn of(record: &'a RunRecord) -> Self {
        let failure = record.failure.as_ref();
        Self {
            run: record.run,
            attempt: record.attempt,
            worker_id: &record.worker,
            outcome: record.outcome.name(),
            class: failure.map_or("", |failure| failure.class.name()),
            error_type: failure.map_or("", |failure| &failure.error_type),
            message: failure.map_or("", |failure| &failure.message),
            lease_time_ms: record.leased_at.0,
            end_time_ms: record.ended_at.0,
        }
    }
}
