//! What machines are told of a refusal besides its reason: google.rpc details. Never chooses the
//! code or the reason: the table does.

use std::collections::HashMap;
use std::time::Duration;

use tonic_types::ErrorDetails;

use super::{DOMAIN, Refused};
use crate::engine::rejection::Rejection;

impl Refused {
    /// The details of a refused call.
    pub(super) fn details(&self) -> ErrorDetails {
        let (reason, _code, retry_ms) = self.reason().row();
        let mut details = ErrorDetails::with_error_info(reason, DOMAIN, self.metadata());
        if let Some(ms) = retry_ms {
            details.set_retry_info(Some(Duration::from_millis(ms)));
        }
        if let Some((field, problem)) = self.field() {
            details.add_bad_request_violation(field, problem);
        }
        let text = self.to_string();
        if let Some((kind, name)) = self.missing() {
            details.set_resource_info(kind, name, "", text);
            return details;
        }
        if let Some(spent) = self.spent() {
            details.add_quota_failure_violation(spent, text);
            return details;
        }
        if let Self::Rejected(Rejection::WrongState { id, state, wanted }) = self {
            let description = format!("is {state}; {wanted}");
            details.add_precondition_failure_violation("TASK_STATE", id.to_string(), description);
        }
        if let Self::CountDiffers { .. } = self {
            details.add_precondition_failure_violation("COUNT", "expected_count", text);
        }
        details
    }

    /// The thing that is missing, or is in the way.
    fn missing(&self) -> Option<(&'static str, String)> {
        match self {
            Self::Rejected(
                Rejection::TaskNotFound(task)
                | Rejection::KeyReused { task }
                | Rejection::UniqueKeyHeld { task, .. },
            ) => Some(("redrive.v1.Task", task.to_string())),
            Self::Rejected(Rejection::QueueNotFound(queue)) => {
                Some(("redrive.v1.Queue", queue.to_string()))
            }
            Self::Rejected(Rejection::KindNotFound(kind)) => {
                Some(("redrive.v1.Kind", kind.to_string()))
            }
            Self::PolicyNotFound(name) => Some(("redrive.v1.RetryPolicy", name.clone())),
            Self::Rejected(
                Rejection::Invalid { .. }
                | Rejection::KeyNotFound
                | Rejection::RequestIdReused { .. }
                | Rejection::MemoriesFull { .. }
                | Rejection::WrongState { .. }
                | Rejection::MemoryFull { .. }
                | Rejection::DiskFull
                | Rejection::LimitReached { .. }
                | Rejection::ShuttingDown
                | Rejection::HelloExpected
                | Rejection::HelloRepeated
                | Rejection::LinkReplaced,
            )
            | Self::Invalid(_)
            | Self::BeyondBound(_)
            | Self::Busy
            | Self::Stopped
            | Self::CountDiffers { .. }
            | Self::CursorGone
            | Self::WatcherLagged(_)
            | Self::HelloLate(_)
            | Self::StreamCut
            | Self::Confused => None,
        }
    }

    /// The quota that is spent.
    const fn spent(&self) -> Option<&'static str> {
        match self {
            Self::Rejected(Rejection::MemoriesFull { .. }) => Some("memories"),
            Self::Rejected(Rejection::MemoryFull { .. }) => Some("memory_bytes"),
            Self::Rejected(Rejection::DiskFull) => Some("journal_disk"),
            Self::Rejected(Rejection::LimitReached { what, .. }) => Some(what),
            Self::Busy => Some("inbox_commands"),
            Self::WatcherLagged(_) => Some("events_remembered"),
            Self::Rejected(
                Rejection::TaskNotFound(_)
                | Rejection::QueueNotFound(_)
                | Rejection::Invalid { .. }
                | Rejection::KeyNotFound
                | Rejection::KindNotFound(_)
                | Rejection::RequestIdReused { .. }
                | Rejection::KeyReused { .. }
                | Rejection::UniqueKeyHeld { .. }
                | Rejection::WrongState { .. }
                | Rejection::ShuttingDown
                | Rejection::HelloExpected
                | Rejection::HelloRepeated
                | Rejection::LinkReplaced,
            )
            | Self::Invalid(_)
            | Self::BeyondBound(_)
            | Self::Stopped
            | Self::PolicyNotFound(_)
            | Self::CountDiffers { .. }
            | Self::CursorGone
            | Self::HelloLate(_)
            | Self::StreamCut
            | Self::Confused => None,
        }
    }

    /// What machines may want to know besides the reason.
    fn metadata(&self) -> HashMap<String, String> {
        let pairs = match self {
            Self::Rejected(Rejection::MemoryFull {
                used_bytes,
                limit_bytes,
            }) => {
                vec![
                    ("used_bytes", used_bytes.to_string()),
                    ("limit_bytes", limit_bytes.to_string()),
                ]
            }
            Self::Rejected(Rejection::LimitReached { limit, .. }) => {
                vec![("limit", limit.to_string())]
            }
            Self::Rejected(Rejection::WrongState { state, .. }) => {
                vec![("state", state.to_string())]
            }
            Self::Rejected(Rejection::KeyReused { task }) => vec![("task_id", task.to_string())],
            Self::Rejected(Rejection::UniqueKeyHeld { task, state, .. }) => vec![
                ("task_id", task.to_string()),
                ("state", (*state).to_owned()),
            ],
            Self::Rejected(Rejection::MemoriesFull { limit }) => {
                vec![("limit", limit.to_string())]
            }
            Self::CountDiffers {
                expected, found, ..
            } => {
                vec![
                    ("expected", expected.to_string()),
                    ("found", found.to_string()),
                ]
            }
            Self::WatcherLagged(lagged) => vec![("missed", lagged.missed.to_string())],
            Self::Invalid(_)
            | Self::BeyondBound(_)
            | Self::Rejected(
                Rejection::TaskNotFound(_)
                | Rejection::QueueNotFound(_)
                | Rejection::KeyNotFound
                | Rejection::KindNotFound(_)
                | Rejection::RequestIdReused { .. }
                | Rejection::Invalid { .. }
                | Rejection::DiskFull
                | Rejection::ShuttingDown
                | Rejection::HelloExpected
                | Rejection::HelloRepeated
                | Rejection::LinkReplaced,
            )
            | Self::Busy
            | Self::Stopped
            | Self::PolicyNotFound(_)
            | Self::CursorGone
            | Self::HelloLate(_)
            | Self::StreamCut
            | Self::Confused => Vec::new(),
        };
        pairs
            .into_iter()
            .map(|(key, value): (&str, String)| (key.to_owned(), value))
            .collect()
    }
}
