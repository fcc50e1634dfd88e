//! What a failure is: facts that a worker reports or the coordinator observes.
//!
//! Owns the portable classes and how a failure is cut to size for keeping. Never says what a
//! failure means: that is `retry::decide` (I6).

use std::sync::Arc;

use super::limits;

/// What kind of trouble it was, in words that mean the same in every language.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FailureClass {
    /// The other side could not be reached, or the connection broke.
    Network,
    /// The other side asked for fewer calls.
    RateLimited,
    /// A lock or a concurrent change was in the way.
    Conflict,
    /// The other side is there but out of order.
    DependencyDown,
    /// The task's data is wrong.
    Invalid,
    /// What the task speaks of does not exist.
    NotFound,
    /// Credentials were refused.
    Auth,
    /// The run, or a call that it made, took too long.
    Timeout,
    /// The worker died or fell silent while it ran the task.
    WorkerLost,
    /// The worker had no handler for the kind.
    UnknownKind,
    /// Anything else.
    Internal,
    /// The business said no.
    Business,
}

impl FailureClass {
    /// All classes, in the order of the proto.
    pub const ALL: [Self; 12] = [
        Self::Network,
        Self::RateLimited,
        Self::Conflict,
        Self::DependencyDown,
        Self::Invalid,
        Self::NotFound,
        Self::Auth,
        Self::Timeout,
        Self::WorkerLost,
        Self::UnknownKind,
        Self::Internal,
        Self::Business,
    ];

    /// The name in UPPER_SNAKE_CASE, as filters and tables have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Network => "NETWORK",
            Self::RateLimited => "RATE_LIMITED",
            Self::Conflict => "CONFLICT",
            Self::DependencyDown => "DEPENDENCY_DOWN",
            Self::Invalid => "INVALID",
            Self::NotFound => "NOT_FOUND",
            Self::Auth => "AUTH",
            Self::Timeout => "TIMEOUT",
            Self::WorkerLost => "WORKER_LOST",
            Self::UnknownKind => "UNKNOWN_KIND",
            Self::Internal => "INTERNAL",
            Self::Business => "BUSINESS",
        }
    }
}

/// A failure, as facts. Sizes were checked at the edge; see `proto/redrive/v1/common.proto`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The portable class.
    pub class: FailureClass,
    /// A google.rpc.Code number, 0 where there was none.
    pub code: i32,
    /// The error's type in its own language; may be empty.
    pub error_type: Arc<str>,
    /// The types it is also one of, nearest first.
    pub ancestors: Vec<Arc<str>>,
    /// What a person should read.
    pub message: Arc<str>,
    /// The stack trace; empty where there is none, or where it was not kept.
    pub stack: Arc<str>,
    /// A normal part of business, no reason to wake anybody.
    pub expected: bool,
}

impl Failure {
    /// A failure of this class with this message, and nothing else known.
    #[must_use]
    pub fn new(class: FailureClass, message: &str) -> Self {
        let empty: Arc<str> = Arc::from("");
        Self {
            class,
            code: 0,
            error_type: empty.clone(),
            ancestors: Vec::new(),
            message: message.into(),
            stack: empty,
            expected: false,
        }
    }

    /// The part that each run of the history keeps: no ancestors, no stack, a short message.
    #[must_use]
    pub fn for_history(&self) -> Self {
        Self {
            class: self.class,
            code: self.code,
            error_type: self.error_type.clone(),
            ancestors: Vec::new(),
            message: cut(&self.message, limits::HISTORY_MESSAGE_BYTES_MAX),
            stack: Arc::from(""),
            expected: self.expected,
        }
    }

    /// The part that is kept of the latest failure: everything, the stack cut to size, or dropped
    /// and marked where memory is short.
    #[must_use]
    pub fn for_keeping(&self, keep_stack: bool) -> Self {
        let stack = if keep_stack || self.stack.is_empty() {
            cut(&self.stack, limits::STACK_KEPT_BYTES_MAX)
        } else {
            Arc::from("[stack not kept: memory is short]")
        };
        Self {
            stack,
            ..self.clone()
        }
    }
}

/// The first `bytes_max` bytes of a text, cut at a character and marked where something is gone.
fn cut(text: &Arc<str>, bytes_max: usize) -> Arc<str> {
    const MARK: &str = "…";
    if text.len() <= bytes_max {
        return text.clone();
    }
    let mut end = bytes_max - MARK.len();
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{MARK}", &text[..end]).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_at_a_character_and_marked() {
        let mut failure = Failure::new(FailureClass::Internal, &"ä".repeat(200));
        failure.stack = "s".repeat(10_000).into();
        let kept = failure.for_history();
        assert!(kept.message.len() <= limits::HISTORY_MESSAGE_BYTES_MAX);
        assert!(kept.message.ends_with('…'));
        assert!(kept.stack.is_empty());
        assert_eq!(
            failure.for_keeping(true).stack.len(),
            limits::STACK_KEPT_BYTES_MAX
        );
        assert!(failure.for_keeping(false).stack.contains("not kept"));
    }
}
