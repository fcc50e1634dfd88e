//! Judges a history: what was promised, and was not kept.
//!
//! Owns the rules, each with the promise that it holds the coordinator to. Written from the documents
//! (the protocol, the invariants of ARCHITECTURE.md), never from the engine's code, and shares nothing
//! with it. Ambiguity is allowed only where a client saw no answer. Pure; linear in the length of the
//! history but for sorting each task's deliveries by run.

mod acts;
mod blame;
mod book;
mod ends;
mod enqueues;
mod follows;
mod queues;
mod runs;
#[cfg(test)]
mod tests;

use super::Entry;
use book::Book;

/// A promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// An acknowledged task is never lost (I4): it is found, once, in an end state.
    NoLoss,
    /// What is delivered or found was enqueued, and by one sending.
    NoInvention,
    /// The payload is what was sent.
    Bytes,
    /// Nothing is leased before its time (I12), and no retry before its delay is over.
    NotBefore,
    /// At most one completion of a task is accepted, and a run is settled once (I13).
    OneCompletion,
    /// One holder of a run, fences grow with runs (I3), and who was replaced settles nothing.
    OneHolder,
    /// Runs are 1, 2, 3 .. and the attempt is 1 + failures counted (I5).
    Attempts,
    /// A report that was acknowledged is what the run ended by, for good.
    ReportKept,
    /// An idempotency key makes one task, however often it is sent.
    OneTaskAKey,
    /// Each end makes the tasks that were asked for, each once, and no others.
    FollowUps,
    /// Who was answered that a task is cancelled sees it run no more, and nobody else cancels it.
    Cancels,
    /// A task that is delivered at most once is not run again after a run without a report, unless
    /// somebody redrives it.
    AtMostOnce,
    /// A redrive that was acknowledged happened, once.
    Redrives,
    /// Nobody is taken for lost without a reason: a run that its worker had got ended so only where
    /// its worker was gone, or in trouble.
    Blame,
    /// A queue that is paused hands out nothing.
    Pauses,
    /// A queue's counts are those of its tasks.
    Totals,
    /// The history itself makes no sense: a defect of whoever wrote it down.
    Nonsense,
}

/// A promise that was not kept.
pub type Violation = crate::violation::Violation<Rule>;

/// Everything in a history that breaks a promise; empty is good. With `drained`, the history ends
/// with a look at all tasks and queues after the end of all work; without, what would need it is
/// not judged.
#[must_use]
pub fn violations(entries: &[Entry], drained: Drained) -> Vec<Violation> {
    let mut wrong = Wrong(Vec::new());
    let book = Book::of(entries, &mut wrong);
    enqueues::check(&book, &mut wrong);
    for (task_id, task) in &book.tasks {
        runs::check(task_id, task, &book, &mut wrong);
        acts::check(task_id, task, &book, &mut wrong);
        ends::check_task(task_id, task, &book, drained, &mut wrong);
    }
    if drained == Drained::Yes {
        blame::check(&book, &mut wrong);
        follows::check(&book, &mut wrong);
        queues::check(&book, &mut wrong);
    }
    wrong.0
}

/// Whether the history ends with a look at everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// It does.
    Yes,
    /// It does not.
    No,
}

/// The violations found so far.
struct Wrong(Vec<Violation>);

impl Wrong {
    fn add(&mut self, rule: Rule, says: String) {
        self.0.push(Violation { rule, says });
    }
}
