//! What must hold in the simulated world, at every step.
//!
//! Owns the reference model's place in the world: it is shown what is durable in the order of the
//! log, before anything is told of it, and what goes in and out. Never moves anything.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::sync::Arc;

use redrive_coordinator::engine::Engine;
use redrive_coordinator::engine::command::Command;
use redrive_coordinator::engine::effect::{Answer, ToWorker};
use redrive_coordinator::engine::event::Recorded;
use redrive_coordinator::engine::ids::{LinkId, RequestId, Timestamp};
use redrive_coordinator::engine::rejection::Rejection;

use super::plan::Plan;
use crate::model::{Model, Seen};

/// Violations that are kept besides the model's.
const KEPT_MAX: usize = 8;
/// What is told of an instant: milliseconds of it.
const TOLD_MS: u64 = 100_000_000;

/// The judge.
#[derive(Debug)]
pub struct Judge {
    model: Model,
    /// For each shard, the last event that was shown.
    shown: Vec<u64>,
    /// Frames of the coordinator before that nobody was told of.
    unreleased: VecDeque<Arc<Vec<Recorded>>>,
    wrong: Vec<String>,
    /// Everything that is seen, as text, where somebody wants to read it.
    pub(super) story: Option<Vec<String>>,
}

/// What became of the frames that nobody was told of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fates {
    /// Those that the disk held.
    pub survived: usize,
    /// Those that it did not.
    pub lost: usize,
}

impl Judge {
    /// A judge who has seen nothing.
    #[must_use]
    pub fn new(plan: &Plan) -> Self {
        Self {
            model: Model::new(plan.engine.clone()),
            shown: vec![0; usize::from(plan.shards)],
            unreleased: VecDeque::new(),
            wrong: Vec::new(),
            story: None,
        }
    }

    /// The engine's time, as last seen.
    #[must_use]
    pub const fn now(&self) -> Timestamp {
        self.model.now()
    }

    /// Something is wrong.
    pub fn wrong(&mut self, rule: &str, says: &str) {
        if self.wrong.len() < KEPT_MAX {
            self.wrong.push(format!("{rule}: {says}"));
        }
    }

    /// Whether nothing was wrong so far.
    #[must_use]
    pub fn is_content(&self) -> bool {
        self.wrong.is_empty() && self.model.violations().is_empty()
    }

    /// What was wrong so far.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        let model = self.model.violations().iter().map(ToString::to_string);
        model.chain(self.wrong.iter().cloned()).collect()
    }

    fn tell(&mut self, what: &str, it: &dyn Debug) {
        if let Some(story) = &mut self.story {
            let at = self.model.now().0 % TOLD_MS;
            story.push(format!("{at} {what} {it:?}"));
        }
    }

    /// The engine is about to handle a command.
    pub fn sees(&mut self, now: Timestamp, command: &Command) {
        self.tell("asked", command);
        self.model.sees(now, command);
    }

    /// A caller has left.
    pub fn hung_up(&mut self, request: RequestId) {
        self.tell("hung up", &request);
        self.model.hung_up(request);
    }

    /// A frame is durable.
    pub fn recorded(&mut self, records: &[Recorded]) {
        for recorded in records {
            self.tell("durable", recorded);
            self.shown[usize::from(recorded.shard.0)] = recorded.seq;
            self.model.recorded(recorded);
        }
        self.model.frame_ends();
    }

    /// How often order and shares were judged since this was asked last.
    pub fn take_seen(&mut self) -> Seen {
        self.model.take_seen()
    }

    /// A caller is answered.
    pub fn answered(&mut self, request: RequestId, reply: &Result<Answer, Rejection>) {
        self.tell("answered", &(request, reply));
        self.model.answered(request, reply);
    }

    /// A worker is told something.
    pub fn told(&mut self, link: LinkId, message: &ToWorker) {
        self.tell("told", &(link, message));
        self.model.told(link, message);
    }

    /// A stream is ended by the coordinator.
    pub fn closed(&mut self, link: LinkId) {
        self.tell("closed", &link);
        self.model.closed(link);
    }

    /// The coordinator is gone, and these frames had not been told of.
    pub fn killed(&mut self, unreleased: VecDeque<Arc<Vec<Recorded>>>) {
        self.tell("killed", &unreleased.len());
        self.model.killed();
        self.unreleased = unreleased;
    }

    /// The coordinator has begun again on a disk that held so many events of each shard: what of
    /// its untold frames is among them is a fact.
    pub fn began(&mut self, now: Timestamp, newest: Timestamp, replayed: &[u64]) -> Fates {
        self.model.began(now, newest);
        self.tell("began", &replayed);
        let mut fates = Fates::default();
        for frame in std::mem::take(&mut self.unreleased) {
            let Some(last) = frame.last() else { continue };
            if last.seq <= replayed[usize::from(last.shard.0)] {
                fates.survived += 1;
                self.recorded(&frame);
            } else {
                fates.lost += 1;
            }
        }
        for (shard, last) in replayed.iter().enumerate() {
            let shown = self.shown[shard];
            if shown != *last {
                let says = format!("the disk of shard {shard} ends at {last}, {shown} was told");
                self.wrong("NoLoss", &says);
            }
        }
        fates
    }

    /// A coordinator does not start, on what it left behind itself.
    pub fn refused(&mut self, why: &str) {
        self.wrong("NoLoss", &format!("a good disk is refused: {why}"));
    }

    /// What was touched since the last time is compared: all that the engine has recorded is durable.
    pub fn agrees(&mut self, engine: &Engine) {
        self.model.agrees(engine);
    }

    /// Everything is compared.
    pub fn agrees_whole(&mut self, engine: &Engine) {
        self.model.agrees_whole(engine);
    }

    /// Everything has come to an end.
    pub fn drained(&mut self) {
        self.model.drained();
    }

    /// Records that were shown.
    #[must_use]
    pub const fn records(&self) -> u64 {
        self.model.records()
    }

    /// Callers that still wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.model.waiting()
    }
}
