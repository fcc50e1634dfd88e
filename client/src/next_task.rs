//! Tasks that another one's end makes, and the key that keeps tasks apart: parts of a task to be
//! enqueued, and of a kind's and queue's settings.
//!
//! Pure: built here, checked where the whole is (`check_life.rs`).

use std::time::Duration;

use bytes::Bytes;
use redrive_proto::v1;
use serde::Serialize;

use crate::{check::span, error::Error};

/// A task that will be made when another one has come to an end: a follow-up, or the next link of a
/// chain. It becomes a task like any other.
///
/// ```
/// use redrive_client::{NewTask, NextTask};
///
/// let task = NewTask::new("billing", "invoice.render")
///     .then(NextTask::new("invoice.send").queue("mail"))
///     .on_failure(NextTask::new("invoice.failed").json(&"tell accounting")?);
/// assert_eq!(task.build()?.then[0].kind, "invoice.send");
/// # Ok::<(), redrive_client::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct NextTask {
    template: v1::TaskTemplate,
}

impl NextTask {
    /// A task of `kind`, in its kind's default queue, else in the queue of the task that it follows.
    pub fn new(kind: impl Into<String>) -> Self {
        let kind = kind.into();
        Self {
            template: v1::TaskTemplate {
                kind,
                ..Default::default()
            },
        }
    }

    /// Its queue.
    #[must_use]
    pub fn queue(mut self, queue: impl Into<String>) -> Self {
        self.template.queue = queue.into();
        self
    }

    /// What a follow-up is handed as `FailureContext.argument`, as JSON; at most
    /// [`FOLLOW_UP_PAYLOAD_BYTES_MAX`](crate::limits::FOLLOW_UP_PAYLOAD_BYTES_MAX). Refused in a
    /// chain, where the payload is the result of the task before.
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
        self.template.payload = Some(v1::Payload {
            data: data.into(),
            content_type: content_type.into(),
        });
        self
    }

    /// How urgent it is within its queue. Default: `NORMAL`.
    #[must_use]
    pub fn priority(mut self, priority: v1::Priority) -> Self {
        self.template.priority = priority.into();
        self
    }

    /// It may start this long after it was made. Default: at once.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.template.delay = Some(span(delay));
        self
    }

    /// Which version of its payload's format it has; 0 says none.
    #[must_use]
    pub fn schema_version(mut self, version: u32) -> Self {
        self.template.schema_version = version;
        self
    }

    /// A searchable fact, as [`NewTask::label`](crate::NewTask::label).
    #[must_use]
    pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.template.labels.insert(key.into(), value.into());
        self
    }
}

impl From<NextTask> for v1::TaskTemplate {
    fn from(next: NextTask) -> Self {
        next.template
    }
}

impl From<v1::TaskTemplate> for NextTask {
    fn from(template: v1::TaskTemplate) -> Self {
        Self { template }
    }
}

/// At most one task of a queue at a time has this key: the holder is the one that has it and whose
/// state is in its own scope.
///
/// ```
/// use redrive_client::{NewTask, UniqueKey, v1};
///
/// // A burst of changes becomes one indexing, which takes the latest payload.
/// let unique = UniqueKey::new("index:4711").on_conflict(v1::ConflictAction::ReplaceWaiting);
/// let task = NewTask::new("search", "index").unique(unique);
/// assert!(task.build()?.unique.is_some());
/// # Ok::<(), redrive_client::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct UniqueKey {
    unique: v1::UniqueKey,
}

impl UniqueKey {
    /// A key of 1 to 256 bytes of printable text.
    pub fn new(key: impl Into<String>) -> Self {
        Self {
            unique: v1::UniqueKey {
                key: key.into(),
                ..Default::default()
            },
        }
    }

    /// In which states the task will hold the key. Default: waiting and running where a conflict
    /// returns the holder or is refused, waiting where it changes the holder.
    #[must_use]
    pub fn scope(mut self, states: impl IntoIterator<Item = v1::UniqueState>) -> Self {
        self.unique.scope = states.into_iter().map(i32::from).collect();
        self
    }

    /// What becomes of this enqueue where another task holds the key. Default: it is answered with
    /// the holder's id and effect `EXISTING`.
    #[must_use]
    pub fn on_conflict(mut self, action: v1::ConflictAction) -> Self {
        self.unique.on_conflict = action.into();
        self
    }

    /// Where a conflict moves the holder's start: never later than this long after the holder was
    /// enqueued. Default: no limit.
    #[must_use]
    pub fn postpone_max(mut self, most: Duration) -> Self {
        self.unique.postpone_max = Some(span(most));
        self
    }
}

impl From<UniqueKey> for v1::UniqueKey {
    fn from(unique: UniqueKey) -> Self {
        unique.unique
    }
}
