//! A history in another order: by sending, task and queue.
//!
//! Owns what was seen of each. Judges nothing but whether the history makes sense. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::{Rule, Wrong};
use crate::history::{
    Answer, Asks, Cancelled, Counted, Delivered, Enqueued, Entry, Fact, Follows, Found, Made,
    Origin, Reported, Says,
};

/// A sending.
pub(super) struct Sending<'a> {
    pub(super) invoked_us: u64,
    pub(super) digest: u64,
    pub(super) asks: Asks,
    /// The best that was said of it: accepted, else unknown, else refused.
    pub(super) outcome: Enqueued,
    /// All ids that it was answered with.
    pub(super) ids: BTreeSet<&'a str>,
}

/// All that was seen of one task.
#[derive(Default)]
pub(super) struct Task<'a> {
    /// The sendings that the coordinator answered with this id.
    pub(super) accepted_by: BTreeSet<u64>,
    pub(super) deliveries: Vec<(u64, &'a Delivered)>,
    pub(super) reports: BTreeMap<u32, Vec<Sent>>,
    pub(super) cancels: Acts<Cancelled>,
    pub(super) redrives: Acts<Option<bool>>,
    /// Runs of which nobody says more.
    pub(super) abandoned: BTreeSet<u32>,
    pub(super) found: Vec<&'a Found>,
}

/// What was asked of a task, and what was answered.
pub(super) struct Acts<T> {
    pub(super) asked: usize,
    pub(super) answers: Vec<T>,
}

impl<T> Default for Acts<T> {
    fn default() -> Self {
        Self {
            asked: 0,
            answers: Vec::new(),
        }
    }
}

impl<T> Acts<T> {
    /// How many may have been done: all but those that certainly were not.
    pub(super) fn possible(&self, refused: impl Fn(&T) -> bool) -> usize {
        let refusals = self.answers.iter().filter(|answer| refused(answer));
        self.asked - refusals.count()
    }
}

impl<'a> Task<'a> {
    /// Where it comes from, by the first that tells.
    pub(super) fn origin(&self) -> Option<&'a Origin> {
        let found = self.found.first().map(|found| &found.origin);
        let delivered = || self.deliveries.first().map(|(_, one)| &one.origin);
        found.or_else(delivered)
    }

    /// How often it may have been redriven.
    pub(super) fn redrives_possible(&self) -> usize {
        self.redrives.possible(|done| *done == Some(false))
    }

    /// How often it may have been cancelled.
    pub(super) fn cancels_possible(&self) -> usize {
        self.cancels
            .possible(|answer| *answer == Cancelled::Refused)
    }

    /// The reports of completion that may be what it ended by: those that certainly are, else those
    /// that nobody denied.
    pub(super) fn completions(&self) -> Vec<&Sent> {
        let sents = self.reports.values().flatten();
        let all: Vec<&Sent> = sents
            .filter(|sent| sent.says == Says::Complete && sent.may_be_kept())
            .collect();
        let kept: Vec<&Sent> = all.iter().copied().filter(|sent| sent.is_kept()).collect();
        if kept.is_empty() { all } else { kept }
    }
}

/// A report as it was sent, once or more often.
pub(super) struct Sent {
    pub(super) says: Says,
    pub(super) result: u64,
    pub(super) first_invoked_us: u64,
    pub(super) answers: Vec<Answer>,
    /// When it was last sent before it was recorded; only where it was.
    pub(super) recorded_invoked_us: Option<u64>,
    last_invoked_us: u64,
}

impl Sent {
    /// True where it is certain that the run ended by it.
    pub(super) fn is_kept(&self) -> bool {
        self.answers
            .iter()
            .any(|answer| matches!(answer, Answer::Recorded | Answer::Duplicate))
    }

    /// True where the run may have ended by it.
    pub(super) fn may_be_kept(&self) -> bool {
        // A report may have been recorded by a sending whose answer was lost; a later answer that
        // denies it settles the matter.
        let denied = |answer: &Answer| matches!(answer, Answer::Superseded | Answer::Invalid);
        self.is_kept() || !self.answers.iter().any(denied)
    }
}

/// What was seen of a queue in which nothing may have happened.
pub(super) struct Pause<'a> {
    pub(super) queue: &'a str,
    pub(super) from_ms: u64,
    /// When somebody asked to end it; for ever where nobody did.
    pub(super) until_ms: u64,
}

/// A history, task by task.
#[derive(Default)]
pub(super) struct Book<'a> {
    pub(super) sendings: BTreeMap<u64, Sending<'a>>,
    pub(super) tasks: BTreeMap<&'a str, Task<'a>>,
    pub(super) queues: Vec<&'a Counted>,
    pub(super) pauses: Vec<Pause<'a>>,
    /// When something could take workers away: from, until.
    pub(super) troubles: Vec<(u64, u64)>,
}

impl<'a> Book<'a> {
    pub(super) fn of(entries: &'a [Entry], wrong: &mut Wrong) -> Self {
        let mut book = Self::default();
        for entry in entries {
            book.read(entry, wrong);
        }
        book
    }

    /// What was asked for a task: by its sending or, for a link of a chain, by the one before, of
    /// which one link less is left. Nothing for a follow-up.
    pub(super) fn asks(&self, origin: &Origin) -> Option<Asks> {
        match origin {
            Origin::Sent(marker) => self.sendings.get(marker).map(|sending| sending.asks),
            Origin::Made(made) if made.follows == Follows::Link => {
                let before = self.asks(self.tasks.get(&*made.by)?.origin()?)?;
                Some(Asks {
                    links: before.links.checked_sub(1)?,
                    delay_ms: 0,
                    keyed: false,
                    at_most_once: false,
                    ..before
                })
            }
            Origin::Made(_) => Some(Asks::default()),
        }
    }

    fn read(&mut self, entry: &'a Entry, wrong: &mut Wrong) {
        match &entry.fact {
            Fact::EnqueueInvoked {
                marker,
                digest,
                asks,
            } => self.invoked(*marker, (*digest, *asks), entry.at_us, wrong),
            Fact::EnqueueEnded { marker, outcome } => self.ended(*marker, outcome, wrong),
            Fact::Delivered(delivered) => {
                let task = self.task(&delivered.task_id);
                task.deliveries.push((entry.at_us, delivered));
            }
            Fact::ReportInvoked(report) => self.sent(report, entry.at_us),
            Fact::ReportEnded { report, answer } => self.answered(report, *answer, wrong),
            Fact::Abandoned { task_id, run } => {
                self.task(task_id).abandoned.insert(*run);
            }
            Fact::Trouble { from_ms, until_ms } => self.troubles.push((*from_ms, *until_ms)),
            Fact::CancelInvoked { task_id } => self.task(task_id).cancels.asked += 1,
            Fact::CancelEnded { task_id, answer } => {
                self.task(task_id).cancels.answers.push(*answer);
            }
            Fact::RedriveInvoked { task_id } => self.task(task_id).redrives.asked += 1,
            Fact::RedriveEnded { task_id, done } => {
                self.task(task_id).redrives.answers.push(*done);
            }
            Fact::Paused { queue, at_ms } => self.pauses.push(Pause {
                queue,
                from_ms: *at_ms,
                until_ms: u64::MAX,
            }),
            Fact::Resuming { queue, at_ms } => {
                let last = self.pauses.iter_mut().rev().find(|one| one.queue == queue);
                if let Some(pause) = last {
                    pause.until_ms = pause.until_ms.min(*at_ms);
                }
            }
            Fact::Found(found) => self.task(&found.task_id).found.push(found),
            Fact::Counted(counted) => self.queues.push(counted),
        }
    }

    fn task(&mut self, task_id: &'a str) -> &mut Task<'a> {
        self.tasks.entry(task_id).or_default()
    }

    fn invoked(&mut self, marker: u64, what: (u64, Asks), at_us: u64, wrong: &mut Wrong) {
        let (digest, asks) = what;
        if let Some(first) = self.sendings.get(&marker) {
            if !asks.keyed || (first.digest, first.asks) != what {
                wrong.add(Rule::Nonsense, format!("marker {marker} was used twice"));
            }
            return;
        }
        let sending = Sending {
            invoked_us: at_us,
            digest,
            asks,
            outcome: Enqueued::Unknown,
            ids: BTreeSet::new(),
        };
        self.sendings.insert(marker, sending);
    }

    fn ended(&mut self, marker: u64, outcome: &'a Enqueued, wrong: &mut Wrong) {
        let Some(sending) = self.sendings.get_mut(&marker) else {
            wrong.add(Rule::Nonsense, format!("marker {marker} was never sent"));
            return;
        };
        match outcome {
            Enqueued::Accepted(task_id) => {
                sending.outcome = outcome.clone();
                sending.ids.insert(task_id);
                self.task(task_id).accepted_by.insert(marker);
            }
            // A keyed one whose fate was open stays open: another sending of it was refused.
            Enqueued::Refused if !sending.asks.keyed => sending.outcome = Enqueued::Refused,
            Enqueued::Refused | Enqueued::Unknown => {}
        }
    }

    fn sent(&mut self, report: &'a Reported, at_us: u64) {
        let of_run = self.task(&report.task_id).reports.entry(report.run);
        let sents = of_run.or_default();
        match sents.iter_mut().find(|sent| sent.says == report.says) {
            Some(sent) => sent.last_invoked_us = at_us,
            None => sents.push(Sent {
                says: report.says,
                result: report.result,
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

/// The end that made it, where one did.
pub(super) const fn made(origin: &Origin) -> Option<&Made> {
    match origin {
        Origin::Made(made) => Some(made),
        Origin::Sent(_) => None,
    }
}
