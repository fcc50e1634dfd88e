//! How a handler says that it did not succeed.
//!
//! Owns `TaskError` and the step from any Rust error to the facts of a `Failure`. Decides nothing:
//! `?` makes a plain failure that the coordinator's retry policy judges by class, type and
//! ancestors; the constructors say what a handler knows better.
//!
//! What is reported of an error:
//! - *type*: `rust:` and the type's name as the compiler prints it (`rust:my_app::pay::CardError`);
//!   well-known types are given their public path (`rust:std::io::Error`).
//! - *ancestors*: one entry for each error below it in its chain of sources, nearest first. Rust
//!   cannot name the type behind a source, so only well-known types appear as `rust:..`; any other
//!   appears as `debug:` and the first word of its `Debug` form, which for a derived `Debug` is the
//!   name of the struct or of the enum's variant.
//! - *message*: the texts of the whole chain, joined by ": ", each once.

mod causes;

use std::{error::Error as StdError, time::Duration};

use redrive_proto::v1::{
    Defer, Discard, Fail, Failure, FailureClass, Payload, Release, Retry, report, retry,
};

use crate::report::{Outcome, REASON_BYTES_MAX, clip, failure};

/// What a handler returns.
pub type TaskResult<R> = Result<R, TaskError>;

/// Why a handler did not succeed, and what it knows about trying again.
///
/// Any `std` error becomes one by `?`: a failure that the retry policy judges. It is not itself a
/// `std` error, as `anyhow::Error` is not, so that this conversion can exist.
#[derive(Debug)]
pub struct TaskError {
    // Boxed: a `Result` of it stays small on the path where nothing fails.
    inner: Box<Inner>,
}

#[derive(Debug)]
struct Inner {
    verdict: Verdict,
    failure: Failure,
    checkpoint: Option<Payload>,
    replace_payload: Option<Payload>,
}

#[derive(Debug)]
enum Verdict {
    Fail {
        not_retryable: bool,
        retry_after: Option<Duration>,
    },
    Retry {
        delay: Option<Duration>,
        max_attempts: Option<u32>,
    },
    Defer {
        delay: Duration,
        reason: String,
    },
    Release {
        reason: String,
    },
    Discard {
        reason: String,
    },
}

impl<E: StdError + Send + Sync + 'static> From<E> for TaskError {
    fn from(error: E) -> Self {
        Self::with(PLAIN, causes::failure_of(&error))
    }
}

const PLAIN: Verdict = Verdict::Fail {
    not_retryable: false,
    retry_after: None,
};

impl TaskError {
    fn with(verdict: Verdict, failure: Failure) -> Self {
        let inner = Inner {
            verdict,
            failure,
            checkpoint: None,
            replace_payload: None,
        };
        Self {
            inner: Box::new(inner),
        }
    }

    /// A failure of the given class and message, judged by the policy. Its type is
    /// `rust:redrive_worker::TaskError` until [`TaskError::with_type`] says better.
    pub fn new(class: FailureClass, message: impl AsRef<str>) -> Self {
        Self::with(
            PLAIN,
            failure(class, "rust:redrive_worker::TaskError", message.as_ref()),
        )
    }

    /// A failure that must not be tried again, whatever the policy says.
    pub fn fatal(error: impl Into<Self>) -> Self {
        let mut error = error.into();
        error.inner.verdict = Verdict::Fail {
            not_retryable: true,
            retry_after: None,
        };
        error
    }

    /// The other side asked to come back after `delay`: a failure of class RATE_LIMITED. What the
    /// delay does and what the failure costs is said by the policy's rule that matches, else by the
    /// policy. Where both are silent the delay, plus up to 10 %, is the least wait, and an attempt is
    /// used up. Under the policy `recommended` it is the wait, whatever the backoff, and no attempt is
    /// used up: 49 times since the task was enqueued or redriven, then it is dead.
    pub fn retry_after(delay: Duration) -> Self {
        Self::new(
            FailureClass::RateLimited,
            "the other side asked to come back later",
        )
        .with_retry_after(delay)
    }

    /// The handler knows when to try again: exactly after `delay`, instead of the policy's backoff.
    /// An attempt is used up. At most 3,650 days.
    pub fn retry_in(delay: Duration) -> Self {
        let facts = failure(
            FailureClass::Internal,
            "rust:redrive_worker::TaskError",
            "the handler asked to be run again",
        );
        Self::with(
            Verdict::Retry {
                delay: Some(delay),
                max_attempts: None,
            },
            facts,
        )
    }

    /// Not now: put the task off by `delay`. Uses up a deferral, no attempt.
    pub fn defer(delay: Duration) -> Self {
        Self::with(
            Verdict::Defer {
                delay,
                reason: String::new(),
            },
            Failure::default(),
        )
    }

    /// Give the task back untouched, to be run again soon. Uses up a deferral, no attempt.
    pub fn release(reason: impl Into<String>) -> Self {
        Self::with(
            Verdict::Release {
                reason: reason.into(),
            },
            Failure::default(),
        )
    }

    /// Drop the task: it ends without a result and without a dead letter.
    pub fn discard(reason: impl Into<String>) -> Self {
        Self::with(
            Verdict::Discard {
                reason: reason.into(),
            },
            Failure::default(),
        )
    }

    /// Sets the portable class of the failure.
    pub fn with_class(mut self, class: FailureClass) -> Self {
        self.inner.failure.failure_class = class.into();
        self
    }

    /// Sets the failure's type, at most 256 bytes.
    pub fn with_type(mut self, kind: &str) -> Self {
        self.inner.failure.r#type = clip(kind, crate::report::TYPE_BYTES_MAX);
        self
    }

    /// Adds a type that the failure's type is also one of, after those that are there. At most 16 of
    /// 256 bytes; more are left out.
    pub fn with_ancestor(mut self, kind: &str) -> Self {
        if self.inner.failure.ancestors.len() < crate::report::ANCESTORS_MAX {
            let kind = clip(kind, crate::report::TYPE_BYTES_MAX);
            self.inner.failure.ancestors.push(kind);
        }
        self
    }

    /// Sets the google.rpc code of the failure, 0 to 16.
    pub fn with_code(mut self, code: tonic::Code) -> Self {
        self.inner.failure.code = code.into();
        self
    }

    /// Says when the other side wants to be asked again; the policy decides what that means, as for
    /// [`TaskError::retry_after`]. Does nothing to an error that is no plain failure.
    pub fn with_retry_after(mut self, delay: Duration) -> Self {
        if let Verdict::Fail { retry_after, .. } = &mut self.inner.verdict {
            *retry_after = Some(delay);
        }
        self
    }

    /// Sets why, for people: the reason of a defer, release or discard, the message of a failure.
    pub fn with_reason(mut self, text: &str) -> Self {
        match &mut self.inner.verdict {
            Verdict::Defer { reason, .. }
            | Verdict::Release { reason }
            | Verdict::Discard { reason } => text.clone_into(reason),
            Verdict::Fail { .. } | Verdict::Retry { .. } => {
                self.inner.failure.message = clip(text, crate::report::MESSAGE_BYTES_MAX);
            }
        }
        self
    }

    /// Attaches the last lines of a log, or a stack. At most 65,536 bytes are sent.
    pub fn with_stack(mut self, stack: &str) -> Self {
        self.inner.failure.stack = clip(stack, crate::report::STACK_BYTES_MAX);
        self
    }

    /// Marks the failure as a normal part of business: counted apart, no reason to wake anybody.
    pub fn expected(mut self) -> Self {
        self.inner.failure.expected = true;
        self
    }

    /// Hands the next run a checkpoint, at most 262,144 bytes.
    pub fn with_checkpoint(mut self, checkpoint: Payload) -> Self {
        self.inner.checkpoint = Some(checkpoint);
        self
    }

    /// Hands the next run another payload ("the remaining items"). Only a retry or a defer can:
    /// a plain failure becomes a retry at the time the policy says.
    pub fn with_replaced_payload(mut self, payload: Payload) -> Self {
        self.inner.replace_payload = Some(payload);
        if matches!(
            self.inner.verdict,
            Verdict::Fail {
                not_retryable: false,
                ..
            }
        ) {
            self.inner.verdict = Verdict::Retry {
                delay: None,
                max_attempts: None,
            };
        }
        self
    }

    /// Makes a plain failure the handler's own wish to be run again: at the time the policy says,
    /// whatever its rules say of such a failure. An attempt is used up.
    pub fn into_retry(mut self) -> Self {
        if let Verdict::Fail { retry_after, .. } = self.inner.verdict {
            self.inner.verdict = Verdict::Retry {
                delay: retry_after,
                max_attempts: None,
            };
        }
        self
    }

    /// Overrides the attempts of the task from here on, 0 for unlimited. A plain failure becomes a
    /// retry at the time the policy says; does nothing to the others.
    pub fn with_max_attempts(mut self, attempts: u32) -> Self {
        let delay = match self.inner.verdict {
            Verdict::Retry { delay, .. } => delay,
            Verdict::Fail {
                not_retryable: false,
                retry_after,
            } => retry_after,
            Verdict::Fail { .. }
            | Verdict::Defer { .. }
            | Verdict::Release { .. }
            | Verdict::Discard { .. } => return self,
        };
        self.inner.verdict = Verdict::Retry {
            delay,
            max_attempts: Some(attempts),
        };
        self
    }

    /// The facts that will be reported, where this is a failure.
    pub fn failure(&self) -> &Failure {
        &self.inner.failure
    }
}

impl From<TaskError> for Outcome {
    fn from(error: TaskError) -> Self {
        let Inner {
            verdict,
            failure,
            checkpoint,
            replace_payload,
        } = *error.inner;
        let reason = |text: String| clip(&text, REASON_BYTES_MAX);
        let outcome = match verdict {
            Verdict::Fail {
                not_retryable,
                retry_after,
            } => report::Outcome::Fail(Fail {
                failure: Some(failure),
                not_retryable,
                retry_after: retry_after.map(wire_duration),
            }),
            Verdict::Retry {
                delay,
                max_attempts,
            } => report::Outcome::Retry(Retry {
                failure: Some(failure),
                replace_payload,
                max_attempts,
                start: delay.map(|delay| retry::Start::Delay(wire_duration(delay))),
            }),
            Verdict::Defer { delay, reason: why } => report::Outcome::Defer(Defer {
                delay: Some(wire_duration(delay)),
                reason: reason(why),
                replace_payload,
            }),
            Verdict::Release { reason: why } => report::Outcome::Release(Release {
                reason: reason(why),
            }),
            Verdict::Discard { reason: why } => report::Outcome::Discard(Discard {
                reason: reason(why),
            }),
        };
        Self {
            outcome,
            checkpoint,
        }
    }
}

/// What `?` cannot say, said on a `Result`: `parse(&text).fatal()?`.
pub trait ResultExt<T>: Sized {
    /// Makes the error final: not to be tried again, whatever the policy says.
    ///
    /// # Errors
    ///
    /// The error of the result, marked.
    fn fatal(self) -> TaskResult<T>;

    /// Says which class the error is of.
    ///
    /// # Errors
    ///
    /// The error of the result, marked.
    fn class(self, class: FailureClass) -> TaskResult<T>;

    /// Marks the error as a normal part of business.
    ///
    /// # Errors
    ///
    /// The error of the result, marked.
    fn expected(self) -> TaskResult<T>;
}

impl<T, E: Into<TaskError>> ResultExt<T> for Result<T, E> {
    fn fatal(self) -> TaskResult<T> {
        self.map_err(TaskError::fatal)
    }

    fn class(self, class: FailureClass) -> TaskResult<T> {
        self.map_err(|error| error.into().with_class(class))
    }

    fn expected(self) -> TaskResult<T> {
        self.map_err(|error| error.into().expected())
    }
}

/// The protocol's form of a duration; beyond its range, the longest it can say.
fn wire_duration(duration: Duration) -> prost_types::Duration {
    duration.try_into().unwrap_or(prost_types::Duration {
        seconds: i64::MAX,
        nanos: 0,
    })
}

#[cfg(test)]
mod tests;
