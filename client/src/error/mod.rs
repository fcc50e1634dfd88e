//! What can go wrong with a call, and what each failure says about its effect.
//!
//! The variants are cut by the one question that matters after a failure: was it performed?
//! Nothing here retries; `call.rs` does. Invariant: a mutation's failure is `Refused`, `Connect`,
//! `NotSent` or `Invalid` only where it is certain that nothing was performed.

use std::{error::Error as StdError, fmt, time::Duration};

use redrive_proto::v1;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// The one reason with which the coordinator does not say that it did nothing: it ended under the
/// call, and asks to look before repeating it.
const STOPPED: &str = "STOPPED";

/// Why a call failed. Cheap to clone; compares by value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// What the caller gave cannot be sent. Found by the client: nothing was sent.
    #[error("{field}: {problem}")]
    Invalid {
        /// The field at fault, for example "task.queue".
        field: String,
        /// What is wrong, the limit, and what would be right.
        problem: String,
    },
    /// No connection could be made: nothing was sent.
    #[error("cannot connect to {address}: {problem}; nothing was sent")]
    Connect {
        /// The coordinator's address.
        address: String,
        /// What the operating system or HTTP/2 said.
        problem: String,
    },
    /// The coordinator refused: it did nothing (or, for a stream of progress, nothing further).
    #[error("refused: {0}")]
    Refused(Box<CallFailure>),
    /// A read got no answer within its deadline. Nothing can have been changed by it.
    #[error("no answer: {0}")]
    Unanswered(Box<CallFailure>),
    /// A change was sent and its answer never arrived: it may have been performed or not.
    #[error("outcome unknown: {0}; it may have been performed, so look before sending it again")]
    OutcomeUnknown(Box<CallFailure>),
    /// It was never sent, because something before it failed.
    #[error("not sent: {problem}")]
    NotSent {
        /// What failed before.
        problem: String,
    },
    /// The coordinator's answer lacks something that the protocol promises.
    #[error("the answer has no {missing}: the coordinator speaks another version of the protocol")]
    Incomplete {
        /// What is missing.
        missing: &'static str,
    },
}

/// What the status of a failed call said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallFailure {
    /// The gRPC code. `UNAVAILABLE` where the connection broke, `DEADLINE_EXCEEDED` where the
    /// client's own deadline ran out.
    pub code: Code,
    /// The stable reason in UPPER_SNAKE_CASE (`ErrorInfo.reason`); empty where none was given.
    pub reason: String,
    /// What a person should read.
    pub message: String,
    /// The fields at fault, where fields are.
    pub violations: Vec<FieldViolation>,
    /// Wait at least this long before trying again; unset where the coordinator did not ask for it.
    pub retry_after: Option<Duration>,
}

/// One field that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldViolation {
    /// The field's path, for example "task.timeouts.soft".
    pub field: String,
    /// What is wrong with it.
    pub description: String,
}

impl Error {
    pub(crate) fn invalid(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Invalid {
            field: field.into(),
            problem: problem.into(),
        }
    }

    pub(crate) fn not_sent(cause: &Self) -> Self {
        Self::NotSent {
            problem: format!("an earlier call failed ({cause})"),
        }
    }

    /// True where trying the same again makes sense and is safe, whatever the call: it could not
    /// connect, was never sent, or was refused for a while (`RESOURCE_EXHAUSTED` or `UNAVAILABLE`
    /// with a `RetryInfo`). The client has then already tried until the call's deadline.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::NotSent { .. } => true,
            Self::Refused(failure) => failure.is_retryable(),
            Self::Invalid { .. }
            | Self::Unanswered(_)
            | Self::OutcomeUnknown(_)
            | Self::Incomplete { .. } => false,
        }
    }

    /// True where the call may or may not have been performed.
    #[must_use]
    pub fn is_outcome_unknown(&self) -> bool {
        matches!(self, Self::OutcomeUnknown(_))
    }

    /// What the status said, where there was one.
    #[must_use]
    pub fn failure(&self) -> Option<&CallFailure> {
        match self {
            Self::Refused(failure) | Self::Unanswered(failure) | Self::OutcomeUnknown(failure) => {
                Some(failure)
            }
            Self::Invalid { .. }
            | Self::Connect { .. }
            | Self::NotSent { .. }
            | Self::Incomplete { .. } => None,
        }
    }

    /// The gRPC code that says the same.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Invalid { .. } => Code::InvalidArgument,
            Self::Connect { .. } | Self::NotSent { .. } => Code::Unavailable,
            Self::Incomplete { .. } => Code::Internal,
            Self::Refused(failure) | Self::Unanswered(failure) | Self::OutcomeUnknown(failure) => {
                failure.code
            }
        }
    }

    /// The stable reason in UPPER_SNAKE_CASE, where the coordinator gave one.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        self.failure()
            .map(|failure| failure.reason.as_str())
            .filter(|reason| !reason.is_empty())
    }

    /// How long the coordinator asked to wait before trying again, where it did.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.failure().and_then(|failure| failure.retry_after)
    }
}

/// What one item of a batch or stream was refused for.
impl From<v1::Refusal> for Error {
    fn from(refusal: v1::Refusal) -> Self {
        CallFailure::from(refusal).into_error()
    }
}

impl From<v1::Refusal> for CallFailure {
    fn from(refusal: v1::Refusal) -> Self {
        let violations = if refusal.field.is_empty() {
            Vec::new()
        } else {
            let description = refusal.message.clone();
            vec![FieldViolation {
                field: refusal.field,
                description,
            }]
        };
        Self {
            code: Code::from_i32(refusal.code),
            reason: refusal.reason,
            message: refusal.message,
            violations,
            retry_after: refusal
                .retry_after
                .and_then(|after| Duration::try_from(after).ok()),
        }
    }
}

impl CallFailure {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            reason: String::new(),
            message: message.into(),
            violations: Vec::new(),
            retry_after: None,
        }
    }

    /// What the refusal of one item means.
    pub(crate) fn into_error(self) -> Error {
        if self.reason == STOPPED {
            Error::OutcomeUnknown(Box::new(self))
        } else {
            Error::Refused(Box::new(self))
        }
    }

    fn from_status(status: &Status) -> Self {
        let details = status.get_error_details();
        let violations = details.bad_request().map_or_else(Vec::new, |bad| {
            bad.field_violations
                .iter()
                .map(|violation| FieldViolation {
                    field: violation.field.clone(),
                    description: violation.description.clone(),
                })
                .collect()
        });
        Self {
            code: status.code(),
            reason: details
                .error_info()
                .map(|info| info.reason.clone())
                .unwrap_or_default(),
            message: status.message().to_owned(),
            violations,
            retry_after: details.retry_info().and_then(|info| info.retry_delay),
        }
    }

    /// The fields at fault that the message does not tell of already, so that a text made of both
    /// says every fact once.
    pub fn violations_beyond_message(&self) -> impl Iterator<Item = &FieldViolation> {
        let told = |FieldViolation { field, description }: &FieldViolation| {
            self.message == *description
                || (self.message.contains(field) && self.message.contains(description))
        };
        self.violations
            .iter()
            .filter(move |violation| !told(violation))
    }

    pub(crate) fn is_retryable(&self) -> bool {
        self.retry_after.is_some()
            && matches!(self.code, Code::ResourceExhausted | Code::Unavailable)
    }
}

impl fmt::Display for CallFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(code_name(self.code))?;
        if !self.reason.is_empty() {
            write!(f, " {}", self.reason)?;
        }
        write!(f, ": {}", self.message)?;
        for violation in self.violations_beyond_message() {
            write!(f, "; {}: {}", violation.field, violation.description)?;
        }
        if let Some(after) = self.retry_after {
            write!(f, "; try again in {after:?}")?;
        }
        Ok(())
    }
}

/// What a failed call means, before it is known whether the call was a read or a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// No connection was made.
    NotConnected(String),
    /// The coordinator said no and did nothing.
    Refused(CallFailure),
    /// Anything else: performed or not, nobody here knows.
    Unclear(CallFailure),
}

impl Verdict {
    /// Judges a status as tonic gave it.
    pub(crate) fn of(status: &Status) -> Self {
        if let Some(cause) = cause::<tonic::ConnectError>(status) {
            return Self::NotConnected(chain(cause));
        }
        if cause::<tonic::TimeoutExpired>(status).is_some() {
            return Self::deadline();
        }
        if status.source().is_some() {
            // Only statuses made on this side have a source: the connection broke.
            return Self::Unclear(CallFailure::new(
                Code::Unavailable,
                format!("the connection broke: {}", status.message()),
            ));
        }
        let failure = CallFailure::from_status(status);
        let known = failure.is_retryable() || says_not_performed(failure.code);
        if known && failure.reason != STOPPED {
            Self::Refused(failure)
        } else {
            Self::Unclear(failure)
        }
    }

    /// The client's own deadline ran out.
    pub(crate) fn deadline() -> Self {
        Self::Unclear(CallFailure::new(
            Code::DeadlineExceeded,
            "the call's deadline passed before its answer came",
        ))
    }
}

/// True for the codes with which a server says that it did nothing.
fn says_not_performed(code: Code) -> bool {
    match code {
        Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::Unauthenticated => true,
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss => false,
    }
}

fn cause<E: StdError + 'static>(status: &Status) -> Option<&E> {
    let mut source = status.source();
    while let Some(error) = source {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        source = error.source();
    }
    None
}

/// An error with its sources, each said once.
pub(crate) fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        source = error.source();
    }
    text
}

fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
mod tests;
