//! What must hold in the simulated world, at every step.
//!
//! Owns what was seen of the coordinator and what is wrong with it. Never moves anything. What is
//! durable is shown to it in the order of the log, before anything is told of it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use redrive_coordinator::engine::command::Command;
use redrive_coordinator::engine::effect::{Answer, ToWorker};
use redrive_coordinator::engine::event::Recorded;
use redrive_coordinator::engine::ids::{LinkId, RequestId, Timestamp};
use redrive_coordinator::engine::rejection::Rejection;

use super::plan::Plan;

/// Violations that are kept.
const KEPT_MAX: usize = 8;

/// The judge.
#[derive(Debug)]
pub struct Judge {
    now: Timestamp,
    open: BTreeMap<RequestId, Timestamp>,
    left: BTreeSet<RequestId>,
    shown: Vec<u64>,
    unreleased: VecDeque<Arc<Vec<Recorded>>>,
    wrong: Vec<String>,
    records: u64,
    /// Everything that is seen, as text, where somebody wants to read it.
    pub(super) story: Option<Vec<String>>,
    pub(super) survived: u64,
    pub(super) lost: u64,
}

impl Judge {
    /// A judge who has seen nothing.
    #[must_use]
    pub fn new(plan: &Plan) -> Self {
        Self {
            now: Timestamp(0),
            open: BTreeMap::new(),
            left: BTreeSet::new(),
            shown: vec![0; usize::from(plan.shards)],
            unreleased: VecDeque::new(),
            wrong: Vec::new(),
            records: 0,
            story: None,
            survived: 0,
            lost: 0,
        }
    }

    /// The engine's time, as last seen.
    #[must_use]
    pub const fn now(&self) -> Timestamp {
        self.now
    }

    /// Something is wrong.
    pub fn wrong(&mut self, rule: &str, says: String) {
        if self.wrong.len() < KEPT_MAX {
            self.wrong.push(format!("{rule}: {says}"));
        }
    }

    /// What was wrong so far.
    #[must_use]
    pub fn violations(&self) -> &[String] {
        &self.wrong
    }

    fn tell(&mut self, what: &str, it: &dyn std::fmt::Debug) {
        if let Some(story) = &mut self.story {
            let at = self.now.0 % 100_000_000;
            story.push(format!("{at} {what} {it:?}"));
        }
    }

    /// The engine is about to handle a command.
    pub fn sees(&mut self, now: Timestamp, command: &Command) {
        self.tell("asked", command);
        if now < self.now {
            let says = format!("engine time went from {:?} back to {now:?}", self.now);
            self.wrong("I8", says);
        }
        self.now = now;
        if let Command::Call { request, .. } = command {
            self.open.insert(*request, now);
        }
    }

    /// A caller has left.
    pub fn hung_up(&mut self, request: RequestId) {
        self.tell("hung up", &request);
        // Its answer may be on its way out already.
        if self.open.remove(&request).is_some() {
            self.left.insert(request);
        }
    }

    /// A record is durable.
    pub fn recorded(&mut self, recorded: &Recorded) {
        self.tell("durable", recorded);
        self.records += 1;
        let shown = &mut self.shown[usize::from(recorded.shard.0)];
        let follows = recorded.seq == *shown + 1;
        *shown = recorded.seq;
        if !follows {
            let says = format!(
                "event {} of shard {} follows none",
                recorded.seq, recorded.shard.0
            );
            self.wrong("I1", says);
        }
    }

    /// A caller is answered.
    pub fn answered(
        &mut self,
        _now: Timestamp,
        request: RequestId,
        reply: &Result<Answer, Rejection>,
    ) {
        self.tell("answered", &(request, reply));
        if self.open.remove(&request).is_none() && !self.left.remove(&request) {
            self.wrong(
                "one answer",
                format!("{request:?} is answered twice or unasked"),
            );
        }
    }

    /// A worker is told something.
    pub fn told(&mut self, _now: Timestamp, link: LinkId, message: &ToWorker) {
        self.tell("told", &(link, message));
    }

    /// A stream is ended by the coordinator.
    pub fn closed(&mut self, _now: Timestamp, _link: LinkId) {}

    /// The coordinator is gone, and these frames had not been told of.
    pub fn killed(&mut self, unreleased: VecDeque<Arc<Vec<Recorded>>>) {
        self.tell("killed", &unreleased.len());
        self.open.clear();
        self.left.clear();
        self.unreleased = unreleased;
    }

    /// The coordinator has begun again on a disk that held so many events of each shard: what of
    /// its untold frames is among them is a fact.
    pub fn began(&mut self, now: Timestamp, newest: Timestamp, replayed: &[u64]) {
        if now < newest {
            let says = format!("the journal knows {newest:?}, and time began at {now:?}");
            self.wrong("I8", says);
        }
        self.now = now;
        self.tell("began", &replayed);
        for frame in std::mem::take(&mut self.unreleased) {
            let Some(last) = frame.last() else { continue };
            if last.seq <= replayed[usize::from(last.shard.0)] {
                self.survived += 1;
                for recorded in frame.iter() {
                    self.recorded(recorded);
                }
            } else {
                self.lost += 1;
            }
        }
        for (shard, last) in replayed.iter().enumerate() {
            let shown = self.shown[shard];
            if shown != *last {
                let says = format!("the disk of shard {shard} ends at {last}, {shown} was told");
                self.wrong("I14", says);
            }
        }
    }

    /// A coordinator does not start.
    pub fn refused(&mut self, broken: bool, why: String) {
        if !broken {
            self.wrong("I18", format!("a good disk is refused: {why}"));
        }
    }

    /// Records that were shown.
    #[must_use]
    pub const fn records(&self) -> u64 {
        self.records
    }

    /// Callers that still wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.open.len()
    }
}
