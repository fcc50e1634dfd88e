//! The payload of a follow-up task: what became of the task that it follows.
//!
//! Owns how the coordinator's JSON (`failure_context.proto`) is read. Lenient: a field that is missing
//! is empty, one that is not known is passed over, so that either side may be newer.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use redrive_proto::v1::FailureClass;
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::value::RawValue;

use crate::error::{TaskError, TaskResult};

/// What became of a task, for the handler of its follow-up:
///
/// ```no_run
/// # use redrive_worker::{FailureContext, Json, TaskResult};
/// #[derive(serde::Deserialize)]
/// struct Order { id: String }
///
/// async fn refund(Json(ended): Json<FailureContext>) -> TaskResult<()> {
///     let order: Order = ended.payload_json()?;
///     println!("order {} failed: {}", order.id, ended.reason);
///     Ok(())
/// }
/// ```
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct FailureContext {
    /// Why this follow-up was made.
    pub transition: Transition,
    /// The id of the task that ended.
    pub task_id: String,
    /// Its namespace.
    pub namespace: String,
    /// Its queue.
    pub queue: String,
    /// Its kind.
    pub kind: String,
    /// The version of its payload's format; 0: none stated.
    pub schema_version: u32,
    /// Its payload.
    pub payload: Content,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Failures that counted, since its last redrive.
    pub attempts: u32,
    /// Workers lost while running it, since its last redrive.
    pub crashes: u32,
    /// How often it was handed to a worker, over its whole life.
    pub runs: u32,
    /// A dead-letter reason such as "ATTEMPTS_EXHAUSTED"; empty where it did not die.
    pub reason: String,
    /// When it was enqueued, in milliseconds since 1970 UTC.
    pub enqueue_time_ms: u64,
    /// When it ended or died, likewise.
    pub end_time_ms: u64,
    /// The latest failure, where it ever failed.
    pub failure: Option<FailureFacts>,
    /// Its runs, oldest first.
    pub history: Vec<RunFacts>,
    /// How many runs are left out between the first and the last of these.
    pub history_omitted: u32,
    /// Its result, where there is one.
    pub result: Option<Content>,
    /// What its handler called the outcome; may be empty.
    pub outcome_label: String,
    /// What the follow-up's template handed on, where it did.
    pub argument: Option<Content>,
}

/// How a task came to an end, as its follow-up sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[non_exhaustive]
pub enum Transition {
    /// It succeeded.
    Succeeded,
    /// It failed for good, whatever the reason.
    Failed,
    /// It failed for good because a budget or a time limit was spent.
    Exhausted,
    /// It was cancelled.
    Cancelled,
    /// One that this SDK does not know.
    #[default]
    #[serde(other)]
    Unknown,
}

/// Bytes of a task in a [`FailureContext`].
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Content {
    /// What the bytes are; may be empty.
    pub content_type: String,
    /// How many they are.
    pub bytes: u64,
    /// As they are, where they are JSON and not omitted.
    #[serde(deserialize_with = "present")]
    pub json: Option<Box<RawValue>>,
    /// In base64, where they are not JSON and not omitted.
    pub base64: Option<String>,
}

/// A failure in a [`FailureContext`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct FailureFacts {
    /// Its class without a prefix, for example "RATE_LIMITED"; see [`FailureFacts::failure_class`].
    pub class: String,
    /// Its `google.rpc.Code`; 0 where it was no RPC's.
    pub code: i32,
    /// Its type in its own language.
    pub error_type: String,
    /// The types that it is also one of, nearest first.
    pub ancestors: Vec<String>,
    /// What a person should read.
    pub message: String,
    /// The stack trace, or the last lines of a log.
    pub stack: String,
}

/// A run in a [`FailureContext`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct RunFacts {
    /// 1, 2, 3 .. over the task's whole life.
    pub run: u32,
    /// Which attempt it was.
    pub attempt: u32,
    /// Who ran it.
    pub worker_id: String,
    /// How it ended, for example "TIMED_OUT".
    pub outcome: String,
    /// The class of the failure that ended it; empty where none did.
    pub class: String,
    /// That failure's type.
    pub error_type: String,
    /// The beginning of that failure's message.
    pub message: String,
    /// When the lease was granted, in milliseconds since 1970 UTC.
    pub lease_time_ms: u64,
    /// When it ended, likewise.
    pub end_time_ms: u64,
}

impl FailureContext {
    /// The payload of the task that ended, as JSON.
    ///
    /// # Errors
    ///
    /// Final and of class INVALID where it was left out for its size (get the task by its id), or is
    /// not the JSON that is wanted.
    pub fn payload_json<T: DeserializeOwned>(&self) -> TaskResult<T> {
        self.payload.parse("payload")
    }

    /// The result of the task that ended, as JSON. `None` where it has none.
    ///
    /// # Errors
    ///
    /// As [`FailureContext::payload_json`].
    pub fn result_json<T: DeserializeOwned>(&self) -> TaskResult<Option<T>> {
        let parse = |result: &Content| result.parse("result");
        self.result.as_ref().map(parse).transpose()
    }

    /// What the follow-up's template handed on, as JSON. `None` where it has none.
    ///
    /// # Errors
    ///
    /// As [`FailureContext::payload_json`].
    pub fn argument_json<T: DeserializeOwned>(&self) -> TaskResult<Option<T>> {
        let parse = |argument: &Content| argument.parse("argument");
        self.argument.as_ref().map(parse).transpose()
    }

    /// When the task was enqueued, by the coordinator's clock.
    pub fn enqueue_time(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(self.enqueue_time_ms)
    }

    /// When the task ended or died, by the coordinator's clock.
    pub fn end_time(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(self.end_time_ms)
    }
}

impl Content {
    /// True where the bytes were left out because they are more than 262,144.
    pub fn is_omitted(&self) -> bool {
        self.bytes > 0 && self.json.is_none() && self.base64.is_none()
    }

    /// The bytes. `None` where they were left out.
    ///
    /// # Errors
    ///
    /// Final and of class INVALID where the base64 is none.
    pub fn to_bytes(&self) -> TaskResult<Option<Bytes>> {
        match (&self.json, &self.base64) {
            (Some(json), _) => Ok(Some(Bytes::copy_from_slice(json.get().as_bytes()))),
            (None, Some(text)) => {
                let decoded = STANDARD.decode(text);
                let data = decoded.map_err(|error| invalid(&format!("base64: {error}")))?;
                Ok(Some(data.into()))
            }
            (None, None) => Ok((!self.is_omitted()).then(Bytes::new)),
        }
    }

    fn parse<T: DeserializeOwned>(&self, what: &str) -> TaskResult<T> {
        let Some(data) = self.to_bytes()? else {
            let size = self.bytes;
            return Err(invalid(&format!(
                "the {what} of {size} bytes was left out for its size; get the task by its id"
            )));
        };
        serde_json::from_slice(&data).map_err(|error| {
            invalid(&format!(
                "the {what} is not the json that the handler wants: {error}"
            ))
        })
    }
}

impl FailureFacts {
    /// Its class; UNSPECIFIED where this SDK does not know it.
    pub fn failure_class(&self) -> FailureClass {
        let name = format!("FAILURE_CLASS_{}", self.class);
        FailureClass::from_str_name(&name).unwrap_or(FailureClass::Unspecified)
    }
}

/// What is there, also where it is `null`.
fn present<'de, D: Deserializer<'de>>(source: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::deserialize(source).map(Some)
}

fn invalid(text: &str) -> TaskError {
    TaskError::fatal(
        TaskError::new(FailureClass::Invalid, text)
            .with_type("rust:redrive_worker::InvalidPayload"),
    )
}

#[cfg(test)]
mod tests {
    use redrive_proto::v1::report;
    use serde_json::json;

    use super::*;
    use crate::{Json, Labelled, testing::TestTask};

    /// As `coordinator/src/engine/context.rs` writes it.
    fn exhausted() -> serde_json::Value {
        json!({
            "transition": "EXHAUSTED", "task_id": "t1", "namespace": "default", "queue": "q",
            "kind": "charge", "schema_version": 2,
            "payload": {
                "content_type": "application/json", "bytes": 12, "json": { "cents": 7 },
            },
            "labels": { "tenant": "acme" }, "attempts": 3, "crashes": 0, "runs": 3,
            "reason": "ATTEMPTS_EXHAUSTED",
            "enqueue_time_ms": 1_000, "end_time_ms": 2_500,
            "failure": {
                "class": "RATE_LIMITED", "code": 0, "error_type": "t", "ancestors": ["u"],
                "message": "m", "stack": "",
            },
            "history": [{
                "run": 1, "attempt": 1, "worker_id": "w1", "outcome": "FAILED",
                "class": "RATE_LIMITED", "error_type": "t", "message": "m",
                "lease_time_ms": 1_100, "end_time_ms": 1_200,
            }],
            "history_omitted": 2, "outcome_label": "",
            "argument": { "content_type": "text/plain", "bytes": 2, "base64": "aGk=" },
            "of_a_later_version": true,
        })
    }

    fn read(value: &serde_json::Value) -> FailureContext {
        serde_json::from_str(&value.to_string()).unwrap()
    }

    #[derive(Deserialize)]
    struct Charge {
        cents: u64,
    }

    #[test]
    fn a_failure_context_is_read_as_the_coordinator_writes_it() {
        let ended = read(&exhausted());
        assert_eq!(ended.transition, Transition::Exhausted);
        assert_eq!(ended.labels["tenant"], "acme");
        assert_eq!(ended.payload_json::<Charge>().unwrap().cents, 7);
        let argument = ended.argument.as_ref().unwrap();
        assert_eq!(argument.to_bytes().unwrap().unwrap(), "hi");
        assert_eq!(ended.result_json::<u32>().unwrap(), None);
        let failure = ended.failure.as_ref().unwrap();
        assert_eq!(failure.failure_class(), FailureClass::RateLimited);
        assert_eq!((ended.history[0].run, ended.history_omitted), (1, 2));
        let lived = ended.end_time().duration_since(ended.enqueue_time());
        assert_eq!(lived.unwrap(), Duration::from_millis(1_500));
    }

    #[tokio::test]
    async fn a_handler_of_a_follow_up_takes_it_by_the_json_extractor() {
        async fn refund(Json(ended): Json<FailureContext>) -> TaskResult<Labelled<Json<u64>>> {
            let charge: Charge = ended.payload_json()?;
            Ok(Labelled {
                label: ended.reason,
                result: Json(charge.cents),
            })
        }
        let task = TestTask::new("refund").json(&exhausted()).unwrap();
        let outcome = task.run(refund, &()).await;
        assert_eq!(outcome.result().unwrap().data, "7");
        let report::Outcome::Complete(complete) = &outcome.outcome else {
            panic!("{outcome:?}")
        };
        assert_eq!(complete.outcome_label, "ATTEMPTS_EXHAUSTED");
    }

    #[test]
    fn a_number_that_no_float_holds_comes_through() {
        let exact = "12345678901234567890.123456789";
        let text = format!(r#"{{"payload":{{"bytes":30,"json":{exact}}}}}"#);
        let ended: FailureContext = serde_json::from_str(&text).unwrap();
        assert_eq!(ended.payload.to_bytes().unwrap().unwrap(), exact);
    }

    #[test]
    fn a_payload_that_was_left_out_is_told_from_one_that_is_empty() {
        let mut value = exhausted();
        value["payload"] = json!({ "content_type": "", "bytes": 300_000 });
        let ended = read(&value);
        assert!(ended.payload.is_omitted());
        assert!(ended.payload.to_bytes().unwrap().is_none());
        let error = ended.payload_json::<Charge>().err().unwrap();
        let outcome = crate::Outcome::from(error);
        assert!(outcome.failure().unwrap().message.contains("get the task"));

        value["payload"] = json!({ "content_type": "", "bytes": 0, "base64": "" });
        assert_eq!(read(&value).payload.to_bytes().unwrap().unwrap(), "");

        value["payload"] = json!({ "content_type": "", "bytes": 4, "json": null });
        assert!(
            read(&value)
                .payload_json::<Option<u32>>()
                .unwrap()
                .is_none()
        );
    }

    #[test]
    fn a_transition_that_is_not_known_does_not_fail_the_task() {
        let ended = read(&json!({ "transition": "ABDUCTED" }));
        assert_eq!(ended.transition, Transition::Unknown);
        assert!(!ended.payload.is_omitted());
    }
}
