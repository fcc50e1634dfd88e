//! The one place that knows gRPC codes: every way of saying no, with its code, its reason for
//! machines, and whether trying again makes sense.
//!
//! Owns the table of [`Reason`]s, which `docs/protocol.md` lists (a test compares them), and its two
//! forms: a [`tonic::Status`] with google.rpc details, and a [`pb::Refusal`] where the rest of a
//! batch or stream goes on. Both say the same. Never carries a payload.

mod details;

use redrive_proto::v1 as pb;
use tonic::{Code, Response, Status};
use tonic_types::StatusExt as _;

use super::convert::InvalidRequest;
use super::convert::field::duration;
use super::convert::policy::known;
use crate::engine::rejection::Rejection;
use crate::shell::inbox::{CallError, Lagged};

/// Who makes the reasons.
pub(crate) const DOMAIN: &str = "redrive.dev";

/// Why a call, an item of a batch or a message of a stream is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    /// It can never be right as it is.
    #[error(transparent)]
    Invalid(#[from] InvalidRequest),
    /// It is beyond a bound that depends on the state of things.
    #[error(transparent)]
    BeyondBound(InvalidRequest),
    /// The engine says no.
    #[error(transparent)]
    Rejected(Rejection),
    /// Too much waits already. Nothing was done.
    #[error("the coordinator is busy: too much waits already; try again in a moment")]
    Busy,
    /// The coordinator stopped. Whether it was done is not known.
    #[error("the coordinator has stopped; ask again whether it was done")]
    Stopped,
    /// No policy has this name, which is quoted already.
    #[error("retry policy {name} is not known; there are {known}", name = .0, known = known())]
    PolicyNotFound(String),
    /// Not as many are selected as were expected.
    #[error(
        "{found} {what} are selected, {expected} were expected: nothing was changed; look \
         again, and repeat with expected_count = {found}"
    )]
    CountDiffers {
        /// What is selected.
        what: &'static str,
        /// How many the caller expected.
        expected: u64,
        /// How many there are.
        found: u64,
    },
    /// Events after this cursor are not remembered, or it was another process's.
    #[error(
        "the cursor cannot be resumed from: it is older than what is remembered, or was given \
         before the coordinator restarted; watch without a cursor and list what was missed"
    )]
    CursorGone,
    /// Events came faster than they were read.
    #[error(transparent)]
    WatcherLagged(#[from] Lagged),
    /// No Hello came.
    #[error("no Hello came within {0} s: it must be the first message of the stream")]
    HelloLate(u64),
    /// The worker's stream was ended from inside, without a reason.
    #[error(
        "the stream was cut: it read too slowly, or the coordinator stopped; connect again with \
         your session id"
    )]
    StreamCut,
    /// The engine answered something else than was asked: a defect.
    #[error("the coordinator could not make sense of its own answer: please report this")]
    Confused,
}

impl From<Rejection> for Refused {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}

impl From<CallError> for Refused {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Refused(rejection) => Self::Rejected(rejection),
            CallError::Busy => Self::Busy,
            CallError::Stopped => Self::Stopped,
        }
    }
}

/// A reason for machines: stable, in UPPER_SNAKE_CASE on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    FieldInvalid,
    OutOfRange,
    TaskNotFound,
    QueueNotFound,
    RetryPolicyNotFound,
    KindNotFound,
    RequestIdReused,
    IdempotencyKeyReused,
    UniqueKeyHeld,
    WrongState,
    CountDiffers,
    HelloExpected,
    HelloRepeated,
    HelloLate,
    StreamReplaced,
    StreamCut,
    MemoryOfRequestsFull,
    MemoryFull,
    DiskFull,
    LimitReached,
    Busy,
    WatcherLagged,
    CursorGone,
    ShuttingDown,
    Stopped,
    Internal,
}

/// What a reason means to a caller: its name, its code, and after how many milliseconds trying
/// again makes sense.
type Row = (&'static str, Code, Option<u64>);

impl Reason {
    #[cfg(test)]
    pub(crate) const ALL: [Self; 26] = [
        Self::FieldInvalid,
        Self::OutOfRange,
        Self::TaskNotFound,
        Self::QueueNotFound,
        Self::RetryPolicyNotFound,
        Self::KindNotFound,
        Self::RequestIdReused,
        Self::IdempotencyKeyReused,
        Self::UniqueKeyHeld,
        Self::MemoryOfRequestsFull,
        Self::WrongState,
        Self::CountDiffers,
        Self::HelloExpected,
        Self::HelloRepeated,
        Self::HelloLate,
        Self::StreamReplaced,
        Self::StreamCut,
        Self::MemoryFull,
        Self::DiskFull,
        Self::LimitReached,
        Self::Busy,
        Self::WatcherLagged,
        Self::CursorGone,
        Self::ShuttingDown,
        Self::Stopped,
        Self::Internal,
    ];

    /// The table.
    pub(crate) const fn row(self) -> Row {
        match self {
            Self::FieldInvalid => ("FIELD_INVALID", Code::InvalidArgument, None),
            Self::OutOfRange => ("OUT_OF_RANGE", Code::OutOfRange, None),
            Self::TaskNotFound => ("TASK_NOT_FOUND", Code::NotFound, None),
            Self::QueueNotFound => ("QUEUE_NOT_FOUND", Code::NotFound, None),
            Self::RetryPolicyNotFound => ("RETRY_POLICY_NOT_FOUND", Code::NotFound, None),
            Self::KindNotFound => ("KIND_NOT_FOUND", Code::NotFound, None),
            Self::RequestIdReused => ("REQUEST_ID_REUSED", Code::AlreadyExists, None),
            Self::IdempotencyKeyReused => ("IDEMPOTENCY_KEY_REUSED", Code::AlreadyExists, None),
            Self::UniqueKeyHeld => ("UNIQUE_KEY_HELD", Code::AlreadyExists, None),
            Self::MemoryOfRequestsFull => (
                "MEMORY_OF_REQUESTS_FULL",
                Code::ResourceExhausted,
                Some(5000),
            ),
            Self::WrongState => ("WRONG_STATE", Code::FailedPrecondition, None),
            Self::CountDiffers => ("COUNT_DIFFERS", Code::FailedPrecondition, None),
            Self::HelloExpected => ("HELLO_EXPECTED", Code::FailedPrecondition, None),
            Self::HelloRepeated => ("HELLO_REPEATED", Code::FailedPrecondition, None),
            Self::HelloLate => ("HELLO_LATE", Code::DeadlineExceeded, None),
            Self::StreamReplaced => ("STREAM_REPLACED", Code::Aborted, None),
            Self::StreamCut => ("STREAM_CUT", Code::Unavailable, Some(100)),
            Self::MemoryFull => ("MEMORY_FULL", Code::ResourceExhausted, Some(1000)),
            Self::DiskFull => ("DISK_FULL", Code::ResourceExhausted, Some(1000)),
            Self::LimitReached => ("LIMIT_REACHED", Code::ResourceExhausted, Some(5000)),
            Self::Busy => ("BUSY", Code::ResourceExhausted, Some(100)),
            Self::WatcherLagged => ("WATCHER_LAGGED", Code::ResourceExhausted, None),
            Self::CursorGone => ("CURSOR_GONE", Code::OutOfRange, None),
            Self::ShuttingDown => ("SHUTTING_DOWN", Code::Unavailable, Some(1000)),
            Self::Stopped => ("STOPPED", Code::Unavailable, Some(1000)),
            Self::Internal => ("INTERNAL", Code::Internal, None),
        }
    }
}

impl Refused {
    pub(crate) const fn reason(&self) -> Reason {
        match self {
            Self::Invalid(_) | Self::Rejected(Rejection::Invalid { .. }) => Reason::FieldInvalid,
            Self::BeyondBound(_) => Reason::OutOfRange,
            Self::Rejected(Rejection::TaskNotFound(_)) => Reason::TaskNotFound,
            Self::Rejected(Rejection::QueueNotFound(_)) => Reason::QueueNotFound,
            Self::Rejected(Rejection::KeyNotFound) => Reason::TaskNotFound,
            Self::Rejected(Rejection::KindNotFound(_)) => Reason::KindNotFound,
            Self::Rejected(Rejection::RequestIdReused { .. }) => Reason::RequestIdReused,
            Self::Rejected(Rejection::KeyReused { .. }) => Reason::IdempotencyKeyReused,
            Self::Rejected(Rejection::UniqueKeyHeld { .. }) => Reason::UniqueKeyHeld,
            Self::Rejected(Rejection::MemoriesFull { .. }) => Reason::MemoryOfRequestsFull,
            Self::Rejected(Rejection::WrongState { .. }) => Reason::WrongState,
            Self::Rejected(Rejection::MemoryFull { .. }) => Reason::MemoryFull,
            Self::Rejected(Rejection::DiskFull) => Reason::DiskFull,
            Self::Rejected(Rejection::LimitReached { .. }) => Reason::LimitReached,
            Self::Rejected(Rejection::ShuttingDown) => Reason::ShuttingDown,
            Self::Rejected(Rejection::HelloExpected) => Reason::HelloExpected,
            Self::Rejected(Rejection::HelloRepeated) => Reason::HelloRepeated,
            Self::Rejected(Rejection::LinkReplaced) => Reason::StreamReplaced,
            Self::Busy => Reason::Busy,
            Self::Stopped => Reason::Stopped,
            Self::PolicyNotFound(_) => Reason::RetryPolicyNotFound,
            Self::CountDiffers { .. } => Reason::CountDiffers,
            Self::CursorGone => Reason::CursorGone,
            Self::WatcherLagged(_) => Reason::WatcherLagged,
            Self::HelloLate(_) => Reason::HelloLate,
            Self::StreamCut => Reason::StreamCut,
            Self::Confused => Reason::Internal,
        }
    }

    /// The field at fault, where one is, and what is wrong with it.
    fn field(&self) -> Option<(&str, &str)> {
        match self {
            Self::Invalid(InvalidRequest { field, problem })
            | Self::BeyondBound(InvalidRequest { field, problem })
            | Self::Rejected(Rejection::Invalid { field, problem }) => Some((field, problem)),
            Self::Rejected(
                Rejection::TaskNotFound(_)
                | Rejection::QueueNotFound(_)
                | Rejection::KeyNotFound
                | Rejection::KindNotFound(_)
                | Rejection::RequestIdReused { .. }
                | Rejection::KeyReused { .. }
                | Rejection::UniqueKeyHeld { .. }
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
            | Self::Busy
            | Self::Stopped
            | Self::PolicyNotFound(_)
            | Self::CountDiffers { .. }
            | Self::CursorGone
            | Self::WatcherLagged(_)
            | Self::HelloLate(_)
            | Self::StreamCut
            | Self::Confused => None,
        }
    }

    /// The same refusal with its field behind another path.
    #[must_use]
    pub(crate) fn below(self, parent: &str) -> Self {
        match self.field() {
            Some((field, problem)) => Self::Invalid(InvalidRequest {
                field: format!("{parent}.{field}"),
                problem: problem.to_owned(),
            }),
            None => self,
        }
    }

    /// The same refusal of a field where its value fits no bound that depends on the state of things.
    #[must_use]
    pub(crate) fn beyond_bound(self) -> Self {
        match self.field() {
            Some((field, problem)) => Self::BeyondBound(InvalidRequest {
                field: field.to_owned(),
                problem: problem.to_owned(),
            }),
            None => self,
        }
    }

    /// As the end of a call or stream.
    #[must_use]
    pub(crate) fn status(&self, rpc: &'static str) -> Status {
        let (reason, code, _retry) = self.reason().row();
        tracing::debug!(rpc, reason, code = ?code, problem = %self, "refused");
        Status::with_error_details(code, self.to_string(), self.details())
    }

    /// As the answer to one thing of many.
    #[must_use]
    pub(crate) fn refusal(&self) -> pb::Refusal {
        let (reason, code, retry_ms) = self.reason().row();
        tracing::debug!(reason, code = ?code, problem = %self, "refused one of many");
        pb::Refusal {
            code: code.into(),
            reason: reason.to_owned(),
            message: self.to_string(),
            field: self
                .field()
                .map(|(field, _)| field.to_owned())
                .unwrap_or_default(),
            retry_after: retry_ms.map(duration),
        }
    }
}

/// The end of a unary call.
pub(crate) fn answer<T>(
    rpc: &'static str,
    result: Result<T, Refused>,
) -> Result<Response<T>, Status> {
    result
        .map(Response::new)
        .map_err(|refused| refused.status(rpc))
}

#[cfg(test)]
mod tests;
