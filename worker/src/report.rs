//! What a run ended with, in the words of the protocol.
//!
//! Owns the step from a handler's answer to a `Report`, and the limits of its texts: what leaves
//! here is never refused for its length. Decides nothing about retries: that is the coordinator's.

use bytes::Bytes;
use redrive_proto::v1::{
    Complete, Discard, Fail, Failure, FailureClass, Payload, Release, Report, report,
};
use serde::Serialize;

use crate::error::TaskError;

/// The longest message of a failure, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 4_096;
/// The longest stack of a failure, in bytes.
pub const STACK_BYTES_MAX: usize = 65_536;
/// The longest type or ancestor of a failure, in bytes.
pub const TYPE_BYTES_MAX: usize = 256;
/// The most ancestors of a failure.
pub const ANCESTORS_MAX: usize = 16;
/// The longest reason of a defer, release or discard, in bytes.
pub const REASON_BYTES_MAX: usize = 256;

/// How a handler ended: what will be reported, without the lease it is reported for.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// What happened.
    pub outcome: report::Outcome,
    /// What the next run is handed. `None`: the checkpoint stays as it was.
    pub checkpoint: Option<Payload>,
}

impl Outcome {
    /// The work is done, with this result.
    pub fn complete(complete: Complete) -> Self {
        Self {
            outcome: report::Outcome::Complete(complete),
            checkpoint: None,
        }
    }

    /// The work failed: a plain failure that the policy judges.
    pub fn fail(failure: Failure) -> Self {
        let fail = Fail {
            failure: Some(failure),
            not_retryable: false,
            retry_after: None,
        };
        Self {
            outcome: report::Outcome::Fail(fail),
            checkpoint: None,
        }
    }

    /// The task is given back untouched.
    pub fn release(reason: &str) -> Self {
        let reason = clip(reason, REASON_BYTES_MAX);
        Self {
            outcome: report::Outcome::Release(Release { reason }),
            checkpoint: None,
        }
    }

    /// The task is dropped: done, without a result.
    pub fn discard(reason: &str) -> Self {
        let reason = clip(reason, REASON_BYTES_MAX);
        Self {
            outcome: report::Outcome::Discard(Discard { reason }),
            checkpoint: None,
        }
    }

    /// The failure, where the run failed or asked for a retry.
    pub fn failure(&self) -> Option<&Failure> {
        match &self.outcome {
            report::Outcome::Fail(fail) => fail.failure.as_ref(),
            report::Outcome::Retry(retry) => retry.failure.as_ref(),
            report::Outcome::Complete(_)
            | report::Outcome::Defer(_)
            | report::Outcome::Release(_)
            | report::Outcome::Discard(_) => None,
        }
    }

    /// The result, where the run completed with one.
    pub fn result(&self) -> Option<&Payload> {
        match &self.outcome {
            report::Outcome::Complete(complete) => complete.result.as_ref(),
            report::Outcome::Fail(_)
            | report::Outcome::Retry(_)
            | report::Outcome::Defer(_)
            | report::Outcome::Release(_)
            | report::Outcome::Discard(_) => None,
        }
    }

    /// The report of the lease that `token` names.
    pub(crate) fn into_report(self, token: Bytes) -> Report {
        Report {
            lease_token: token,
            outcome: Some(self.outcome),
            checkpoint: self.checkpoint,
        }
    }
}

/// What a handler may return on success.
///
/// Implemented for `()` (no result), [`crate::Json`], [`crate::Raw`], [`Payload`], [`Labelled`] and
/// `Option` of these.
pub trait IntoResult {
    /// Turns the value into a completion.
    ///
    /// # Errors
    ///
    /// A [`TaskError`] where the value cannot be encoded.
    fn into_result(self) -> Result<Complete, TaskError>;
}

impl IntoResult for () {
    fn into_result(self) -> Result<Complete, TaskError> {
        Ok(Complete::default())
    }
}

impl IntoResult for Payload {
    fn into_result(self) -> Result<Complete, TaskError> {
        Ok(Complete {
            result: Some(self),
            outcome_label: String::new(),
        })
    }
}

impl<T: IntoResult> IntoResult for Option<T> {
    fn into_result(self) -> Result<Complete, TaskError> {
        self.map_or_else(|| Ok(Complete::default()), T::into_result)
    }
}

/// A result together with the name of the outcome, for filters and counts.
#[derive(Clone, Debug)]
pub struct Labelled<R> {
    /// The name, for example "insufficient_funds". Same characters as a queue's.
    pub label: String,
    /// The result.
    pub result: R,
}

impl<R: IntoResult> IntoResult for Labelled<R> {
    fn into_result(self) -> Result<Complete, TaskError> {
        let complete = self.result.into_result()?;
        Ok(Complete {
            outcome_label: self.label,
            ..complete
        })
    }
}

/// A payload of JSON.
///
/// # Errors
///
/// A [`TaskError`] of class INTERNAL where the value has no JSON form, for example a map whose keys
/// are not strings.
pub fn json_payload<T: Serialize>(value: &T) -> Result<Payload, TaskError> {
    let data = serde_json::to_vec(value)?;
    Ok(Payload {
        data: data.into(),
        content_type: "application/json".to_owned(),
    })
}

/// A failure of the given class, type and message, within the limits of the protocol.
pub fn failure(class: FailureClass, kind: &str, message: &str) -> Failure {
    Failure {
        failure_class: class.into(),
        r#type: clip(kind, TYPE_BYTES_MAX),
        message: clip(message, MESSAGE_BYTES_MAX),
        ..Failure::default()
    }
}

/// At most `max` bytes of `text`, cut between characters and marked with "..." where cut.
pub(crate) fn clip(text: &str, max: usize) -> String {
    const MARK: &str = "...";
    if text.len() <= max {
        return text.to_owned();
    }
    let mut end = max.saturating_sub(MARK.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{MARK}", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_characters_and_never_exceeds_its_limit() {
        let text = "\u{e9}".repeat(200);
        for max in 3..64 {
            let cut = clip(&text, max);
            assert!(cut.len() <= max, "{} bytes for a limit of {max}", cut.len());
            assert!(cut.ends_with("..."));
        }
        assert_eq!(clip("short", 5), "short");
    }

    #[test]
    fn a_label_travels_with_its_result() {
        let labelled = Labelled {
            label: "insufficient_funds".to_owned(),
            result: (),
        };
        let complete = labelled.into_result().unwrap();
        assert_eq!(complete.outcome_label, "insufficient_funds");
        assert_eq!(complete.result, None);
    }
}
