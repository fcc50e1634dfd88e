//! Which task a call means, and what it is to do with it.
//!
//! Pure: built here and checked before anything is sent.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use redrive_proto::v1;
use serde::Serialize;

use crate::{
    check::{DELAY, check_bytes, check_name, check_payload, check_span, check_timeouts, span},
    check_life::{check_cancel, check_token},
    error::Error,
    limits::{KEY_BYTES_MAX, PAYLOAD_BYTES_MAX, REASON_BYTES_MAX},
};

/// Names a task: by its id, or by its queue and idempotency key. A text is an id.
///
/// ```
/// use redrive_client::TaskRef;
///
/// assert_eq!(TaskRef::from("0192f0c1"), TaskRef::id("0192f0c1"));
/// let by_key = TaskRef::key("mail", "welcome:4711");
/// # drop(by_key);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskRef {
    /// By its id.
    Id(String),
    /// By what it was enqueued with, in the client's namespace.
    Key {
        /// The queue that it was enqueued into.
        queue: String,
        /// Its idempotency key.
        idempotency_key: String,
    },
}

impl TaskRef {
    /// The task with this id.
    pub fn id(task_id: impl Into<String>) -> Self {
        Self::Id(task_id.into())
    }

    /// The task that was enqueued into `queue` with this idempotency key.
    pub fn key(queue: impl Into<String>, idempotency_key: impl Into<String>) -> Self {
        Self::Key {
            queue: queue.into(),
            idempotency_key: idempotency_key.into(),
        }
    }

    /// Both fields of a request, of which one is set.
    pub(crate) fn fields(self, namespace: &str) -> Result<(String, Option<v1::TaskKey>), Error> {
        match self {
            Self::Id(id) if id.is_empty() => Err(Error::invalid(
                "task_id",
                "is empty; give the id that the enqueue answered, or name the task by queue and \
                 idempotency key",
            )),
            Self::Id(id) => Ok((id, None)),
            Self::Key {
                queue,
                idempotency_key,
            } => {
                check_name("task_key.queue", &queue)?;
                check_token("task_key.idempotency_key", &idempotency_key, KEY_BYTES_MAX)?;
                let key = v1::TaskKey {
                    namespace: namespace.to_owned(),
                    queue,
                    idempotency_key,
                };
                Ok((String::new(), Some(key)))
            }
        }
    }
}

impl From<&str> for TaskRef {
    fn from(task_id: &str) -> Self {
        Self::id(task_id)
    }
}

impl From<&String> for TaskRef {
    fn from(task_id: &String) -> Self {
        Self::id(task_id)
    }
}

impl From<String> for TaskRef {
    fn from(task_id: String) -> Self {
        Self::Id(task_id)
    }
}

impl From<&Self> for TaskRef {
    fn from(task: &Self) -> Self {
        task.clone()
    }
}

/// How a task is to be cancelled. One that waits is always cancelled at once; this is about one
/// that a worker holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Cancel {
    mode: v1::CancelMode,
    grace: Option<prost_types::Duration>,
    reason: String,
}

impl Cancel {
    /// The handler is asked to stop, and may take as long as it wants.
    #[must_use]
    pub fn cooperative() -> Self {
        Self::of(v1::CancelMode::Cooperative)
    }

    /// It is left alone: the cancel is refused with `FAILED_PRECONDITION`.
    #[must_use]
    pub fn if_waiting() -> Self {
        Self::of(v1::CancelMode::IfWaiting)
    }

    /// Its lease is revoked and it is cancelled at once.
    #[must_use]
    pub fn force() -> Self {
        Self::of(v1::CancelMode::Force)
    }

    fn of(mode: v1::CancelMode) -> Self {
        Self {
            mode,
            grace: None,
            reason: String::new(),
        }
    }

    /// Of a cooperative one: how long the handler may take, at most 24 h; then the lease is revoked
    /// and the task is cancelled all the same.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = Some(span(grace));
        self
    }

    /// Why, for the history and the worker's log; at most 256 bytes.
    #[must_use]
    pub fn reason(mut self, reason: impl Into<String>) -> Self {
        self.reason = reason.into();
        self
    }

    pub(crate) fn request(self) -> Result<v1::CancelTaskRequest, Error> {
        check_bytes("reason", &self.reason, REASON_BYTES_MAX)?;
        check_cancel(self.mode, self.grace.as_ref())?;
        Ok(v1::CancelTaskRequest {
            reason: self.reason,
            mode: self.mode.into(),
            grace: self.grace,
            ..Default::default()
        })
    }
}

/// What to change of a live task. What is not set stays as it is.
///
/// While a worker holds the task only its time limits can change: an update that says anything else
/// is refused as a whole with `FAILED_PRECONDITION`, reason `WRONG_STATE`.
///
/// ```no_run
/// # async fn of(client: redrive_client::Client) -> Result<(), redrive_client::Error> {
/// use std::time::Duration;
/// use redrive_client::{TaskRef, TaskUpdate};
///
/// let more = TaskUpdate::new().timeouts(None, Some(Duration::from_secs(600)));
/// client.update(TaskRef::key("mail", "welcome:4711"), more.reason("slow provider")).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TaskUpdate {
    request: v1::UpdateTaskRequest,
}

impl TaskUpdate {
    /// No change yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Both time limits, at once even on a running attempt, counted from its start; `None` means
    /// no limit.
    #[must_use]
    pub fn timeouts(mut self, soft: Option<Duration>, hard: Option<Duration>) -> Self {
        let timeouts = self.request.timeouts.get_or_insert_default();
        (timeouts.soft, timeouts.hard) = (soft.map(span), hard.map(span));
        self
    }

    /// How far a heartbeat may extend the hard limit. Replaces all time limits: name those that
    /// are to stay with [`TaskUpdate::timeouts`].
    #[must_use]
    pub fn extend_max(mut self, most: Duration) -> Self {
        let timeouts = self.request.timeouts.get_or_insert_default();
        timeouts.extend_max = Some(span(most));
        self
    }

    /// The payload, as JSON; the checkpoint that belonged to the old one is dropped. Refused while a
    /// worker holds the task.
    ///
    /// # Errors
    /// [`Error::Invalid`] where `value` has no JSON form.
    pub fn json<T: Serialize + ?Sized>(self, value: &T) -> Result<Self, Error> {
        let data = serde_json::to_vec(value)
            .map_err(|error| Error::invalid("payload", format!("has no JSON: {error}")))?;
        Ok(self.bytes(data, "application/json"))
    }

    /// The same as bytes of some content type.
    #[must_use]
    pub fn bytes(mut self, data: impl Into<Bytes>, content_type: impl Into<String>) -> Self {
        self.request.payload = Some(v1::Payload {
            data: data.into(),
            content_type: content_type.into(),
        });
        self
    }

    /// How urgent it is; a ready task changes its place. Refused while a worker holds the task.
    #[must_use]
    pub fn priority(mut self, priority: v1::Priority) -> Self {
        self.request.priority = priority.into();
        self
    }

    /// Start this long from now; zero is at once. Refused while a worker holds the task.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.request.start = Some(v1::update_task_request::Start::Delay(span(delay)));
        self
    }

    /// Start no earlier than this instant. Refused while a worker holds the task.
    #[must_use]
    pub fn not_before(mut self, instant: SystemTime) -> Self {
        self.request.start = Some(v1::update_task_request::Start::NotBefore(instant.into()));
        self
    }

    /// How many failures end the task from here on; 0 is unlimited. Refused while a worker holds the
    /// task.
    #[must_use]
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.request.max_attempts = Some(attempts);
        self
    }

    /// Why, for the history; at most 256 bytes. No change by itself.
    #[must_use]
    pub fn reason(mut self, reason: impl Into<String>) -> Self {
        self.request.reason = reason.into();
        self
    }

    pub(crate) fn request(self) -> Result<v1::UpdateTaskRequest, Error> {
        let request = self.request;
        let unchanged = v1::UpdateTaskRequest {
            reason: request.reason.clone(),
            ..Default::default()
        };
        if request == unchanged {
            return Err(Error::invalid(
                "update",
                "changes nothing; set time limits, payload, priority, start or max_attempts",
            ));
        }
        check_bytes("reason", &request.reason, REASON_BYTES_MAX)?;
        if let Some(timeouts) = &request.timeouts {
            check_timeouts("timeouts", timeouts)?;
        }
        if let Some(payload) = &request.payload {
            check_payload("payload", payload, PAYLOAD_BYTES_MAX)?;
        }
        if let Some(v1::update_task_request::Start::Delay(delay)) = &request.start {
            check_span("delay", Some(delay), DELAY)?;
        }
        Ok(request)
    }
}
