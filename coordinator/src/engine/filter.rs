//! Which tasks a list or a bulk act speaks of.
//!
//! Owns the comparisons and how a task answers them. Text is parsed at the edge.

use std::sync::Arc;

use super::failure::FailureClass;
use super::ids::Timestamp;
use super::ledger::task::{Priority, State, Task, TaskState};
use super::retry::DeadReason;

/// Comparisons that must all hold. Empty matches everything.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    /// The comparisons.
    pub clauses: Vec<Clause>,
}

/// One comparison. Texts compare as equal, or by prefix where they end in '*'.
#[derive(Clone, Debug, PartialEq)]
pub enum Clause {
    /// Its state, as users see it, is this one (or is not).
    State(Equality, TaskState),
    /// Its kind.
    Kind(Equality, Arc<str>),
    /// Its priority.
    Priority(Equality, Priority),
    /// Why it is dead. Tasks that are not dead never match, nor do they match "is not".
    Reason(Equality, DeadReason),
    /// The class of its latest failure. Tasks that never failed never match.
    Class(Equality, FailureClass),
    /// The type of its latest failure, or one of its ancestors.
    ErrorType(Equality, Arc<str>),
    /// A label. A task without it matches "is not".
    Label(Equality, Arc<str>, Arc<str>),
    /// Failures counted since its last redrive.
    Attempts(Order, u32),
    /// Crashes since its last redrive.
    Crashes(Order, u32),
    /// When it was accepted.
    EnqueueTime(Order, Timestamp),
    /// When it died or ended. Live tasks never match.
    EndTime(Order, Timestamp),
    /// What its handler called its outcome. A task without it matches "is not".
    OutcomeLabel(Equality, Arc<str>),
}

/// Equal or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Equality {
    /// `=`
    Is,
    /// `!=`
    IsNot,
}

/// How numbers and instants compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// `<`
    Less,
    /// `<=`
    AtMost,
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `>=`
    AtLeast,
    /// `>`
    Greater,
}

impl Filter {
    /// Whether the task matches every comparison at this instant.
    #[must_use]
    pub fn matches(&self, task: &Task, now: Timestamp) -> bool {
        self.clauses.iter().all(|clause| clause.matches(task, now))
    }
}

impl Clause {
    fn matches(&self, task: &Task, now: Timestamp) -> bool {
        let failure = task
            .side
            .as_ref()
            .and_then(|side| side.last_failure.as_ref());
        match self {
            Self::State(op, state) => op.holds(task.view(now) == *state),
            Self::Kind(op, kind) => op.holds(text_matches(kind, &task.kind)),
            Self::Priority(op, priority) => op.holds(task.priority == *priority),
            Self::Reason(op, wanted) => match &task.state {
                State::Dead { reason, .. } => op.holds(reason == wanted),
                State::Pending { .. } | State::Leased(_) | State::Finished(_) => false,
            },
            Self::Class(op, class) => failure.is_some_and(|f| op.holds(f.class == *class)),
            Self::ErrorType(op, wanted) => failure.is_some_and(|f| {
                let ancestor = f.ancestors.iter().any(|a| text_matches(wanted, a));
                op.holds(ancestor || text_matches(wanted, &f.error_type))
            }),
            Self::Label(op, key, wanted) => op.holds(task.side.as_ref().is_some_and(|side| {
                side.labels
                    .iter()
                    .any(|(k, v)| k == key && text_matches(wanted, v))
            })),
            Self::Attempts(order, count) => order.holds(task.tally().failures, *count),
            Self::Crashes(order, count) => order.holds(task.tally().crashes, *count),
            Self::EnqueueTime(order, at) => order.holds(task.enqueued_at, *at),
            Self::EndTime(order, wanted) => match &task.state {
                State::Dead { at, .. } => order.holds(*at, *wanted),
                State::Finished(finished) => order.holds(finished.at, *wanted),
                State::Pending { .. } | State::Leased(_) => false,
            },
            Self::OutcomeLabel(op, wanted) => op.holds(match &task.state {
                State::Finished(finished) => {
                    let label = finished.label.as_deref();
                    label.is_some_and(|label| text_matches(wanted, label))
                }
                State::Pending { .. } | State::Leased(_) | State::Dead { .. } => false,
            }),
        }
    }
}

impl Equality {
    fn holds(self, equal: bool) -> bool {
        match self {
            Self::Is => equal,
            Self::IsNot => !equal,
        }
    }
}

impl Order {
    fn holds<T: Ord>(self, left: T, right: T) -> bool {
        match self {
            Self::Less => left < right,
            Self::AtMost => left <= right,
            Self::Equal => left == right,
            Self::NotEqual => left != right,
            Self::AtLeast => left >= right,
            Self::Greater => left > right,
        }
    }
}

/// Whether a text is the wanted one, or begins with it where that ends in '*'.
fn text_matches(wanted: &str, text: &str) -> bool {
    wanted
        .strip_suffix('*')
        .map_or_else(|| wanted == text, |prefix| text.starts_with(prefix))
}
