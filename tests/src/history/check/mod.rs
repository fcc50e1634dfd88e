//! Judges a history: what was promised, and was not kept.
//!
//! Owns the rules, each with the promise that it holds the coordinator to. Written from the documents
//! (the protocol, the invariants of ARCHITECTURE.md), never from the engine's code, and shares nothing
//! with it. Ambiguity is allowed only where a client saw no answer. Pure; linear in the length of the
//! history but for sorting each task's deliveries by run.

mod ends;
mod enqueues;
mod runs;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, fmt};

use super::{Answer, Counted, Delivered, Enqueued, Entry, Fact, Found, Reported, Says};

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
    /// A queue's counts are those of its tasks.
    Totals,
    /// The history itself makes no sense: a defect of whoever wrote it down.
    Nonsense,
}

/// A promise that was not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub rule: Rule,
    /// How.
    pub says: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.rule, self.says)
    }
}

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
        ends::check_task(task_id, task, &book, drained, &mut wrong);
    }
    if drained == Drained::Yes {
        ends::check_queues(&book, &mut wrong);
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

/// A sending.
struct Sending {
    invoked_us: u64,
    digest: u64,
    delay_ms: u64,
    outcome: Enqueued,
}

/// All that was seen of one task.
#[derive(Default)]
struct Task<'a> {
    /// The sending that the coordinator answered with this id.
    accepted_by: Vec<u64>,
    deliveries: Vec<(u64, &'a Delivered)>,
    reports: BTreeMap<u32, Vec<Sent>>,
    found: Vec<&'a Found>,
}

/// A report as it was sent, once or more often.
struct Sent {
    says: Says,
    first_invoked_us: u64,
    answers: Vec<Answer>,
    /// When it was last sent before it was recorded; only where it was.
    recorded_invoked_us: Option<u64>,
    last_invoked_us: u64,
}

impl Sent {
    /// True where it is certain that the run ended by it.
    fn is_kept(&self) -> bool {
        self.answers
            .iter()
            .any(|answer| matches!(answer, Answer::Recorded | Answer::Duplicate))
    }

    /// True where the run may have ended by it.
    fn may_be_kept(&self) -> bool {
        // A report may have been recorded by a sending whose answer was lost; a later answer that
        // denies it settles the matter.
        let denied = |answer: &Answer| matches!(answer, Answer::Superseded | Answer::Invalid);
        self.is_kept() || !self.answers.iter().any(denied)
    }
}

/// A history, task by task.
struct Book<'a> {
    sendings: BTreeMap<u64, Sending>,
    tasks: BTreeMap<&'a str, Task<'a>>,
    queues: Vec<&'a Counted>,
}

impl<'a> Book<'a> {
    fn of(entries: &'a [Entry], wrong: &mut Wrong) -> Self {
        let mut book = Self {
            sendings: BTreeMap::new(),
            tasks: BTreeMap::new(),
            queues: Vec::new(),
        };
        for entry in entries {
            book.read(entry, wrong);
        }
        book
    }

    fn read(&mut self, entry: &'a Entry, wrong: &mut Wrong) {
        match &entry.fact {
            Fact::EnqueueInvoked {
                marker,
                digest,
                delay_ms,
            } => {
                let sending = Sending {
                    invoked_us: entry.at_us,
                    digest: *digest,
                    delay_ms: *delay_ms,
                    outcome: Enqueued::Unknown,
                };
                if self.sendings.insert(*marker, sending).is_some() {
                    wrong.add(Rule::Nonsense, format!("marker {marker} was used twice"));
                }
            }
            Fact::EnqueueEnded { marker, outcome } => {
                let Some(sending) = self.sendings.get_mut(marker) else {
                    wrong.add(Rule::Nonsense, format!("marker {marker} was never sent"));
                    return;
                };
                sending.outcome = outcome.clone();
                if let Enqueued::Accepted(task_id) = outcome {
                    self.task(task_id).accepted_by.push(*marker);
                }
            }
            Fact::Delivered(delivered) => {
                let task = self.task(&delivered.task_id);
                task.deliveries.push((entry.at_us, delivered));
            }
            Fact::ReportInvoked(report) => self.sent(report, entry.at_us),
            Fact::ReportEnded { report, answer } => self.answered(report, *answer, wrong),
            Fact::Found(found) => self.task(&found.task_id).found.push(found),
            Fact::Counted(counted) => self.queues.push(counted),
        }
    }

    fn task(&mut self, task_id: &'a str) -> &mut Task<'a> {
        self.tasks.entry(task_id).or_default()
    }

    fn sent(&mut self, report: &'a Reported, at_us: u64) {
        let of_run = self.task(&report.task_id).reports.entry(report.run);
        let sents = of_run.or_default();
        match sents.iter_mut().find(|sent| sent.says == report.says) {
            Some(sent) => sent.last_invoked_us = at_us,
            None => sents.push(Sent {
                says: report.says,
                first_invoked_us: at_us,
                answers: Vec::new(),
                recorded_invoked_us: None,
                last_invoked_us: at_us,
            }),
        }
    }

    fn answered(&mut self, report: &'a Reported, answer: Answer, wrong: &mut Wrong) {
        let sents = self.task(&report.task_id).reports.get_mut(&report.run);
        let sent = sents.and_then(|sents| sents.iter_mut().find(|sent| sent.says == report.says));
        let Some(sent) = sent else {
            wrong.add(Rule::Nonsense, format!("{report:?} was never sent"));
            return;
        };
        if answer == Answer::Recorded {
            sent.recorded_invoked_us = Some(sent.last_invoked_us);
        }
        sent.answers.push(answer);
    }
}
