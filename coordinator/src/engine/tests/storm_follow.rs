//! A storm with kinds, follow-ups and chains in it, over a journal that is cleaned meanwhile.
//!
//! Owns what is said of kinds and of ends at random, and the count of what follows: whatever is sent
//! from shard to shard arrives once, and every end of a task is followed as many times as it was
//! recorded with.

use std::collections::{BTreeMap, BTreeSet};

use rand::RngExt;

use super::storm::Storm;
use super::world::follow::template;
use super::world::{enqueue_call, new_task, plain_policy};
use crate::engine::command::{Call, NewTask};
use crate::engine::event::{Event, Recorded};
use crate::engine::ids::{QueueName, ShardId, TaskId};
use crate::engine::ledger::kind::{KindName, KindSettings};
use crate::engine::ledger::more::Cause;
use crate::engine::ledger::task::Task;
use crate::engine::ledger::terms::{DeliveryMode, FollowUps, Template, Terms, Transition};
use crate::engine::retry::PolicyRef;

const SEEDS: u64 = 6;
const STEPS: usize = 100;
const KINDS: [&str; 3] = ["x", "y", "z"];

/// A transfer: from where, to where, which.
type Place = (ShardId, ShardId, u64);

/// What was recorded of transfers and of ends.
#[derive(Default)]
struct Seen {
    through: BTreeMap<ShardId, u64>,
    sent: BTreeSet<Place>,
    arrived: BTreeSet<Place>,
    ends: BTreeMap<TaskId, usize>,
    follow: BTreeMap<(TaskId, Transition), usize>,
}

impl Seen {
    fn look(&mut self, journal: &[Recorded]) {
        for recorded in journal {
            let through = self.through.entry(recorded.shard).or_default();
            if recorded.seq <= *through {
                continue;
            }
            *through = recorded.seq;
            self.note(recorded);
        }
    }

    fn note(&mut self, recorded: &Recorded) {
        let here = recorded.shard;
        if let Event::TransferSent { target, number, .. } = &recorded.event {
            assert!(self.sent.insert((here, *target, *number)));
        }
        if let Event::TransferReceived {
            origin,
            number,
            task,
        } = &recorded.event
        {
            assert!(self.arrived.insert((*origin, here, *number)), "once");
            // What goes on in another queue keeps its cause.
            if let Some(cause) = cause_of(task) {
                *self
                    .follow
                    .entry((cause.task, cause.transition))
                    .or_default() += 1;
            }
        }
        if let Event::TaskFinished { id, .. }
        | Event::TaskDied { id, .. }
        | Event::TaskExpired { id, .. } = &recorded.event
        {
            *self.ends.entry(*id).or_default() += 1;
        }
    }
}

/// The end that a task follows; not what merely goes on elsewhere.
fn cause_of(task: &Task) -> Option<Cause> {
    let is_new = task.side.as_deref()?.origin.is_none();
    task.more()?.cause.filter(|_| is_new)
}

impl Storm {
    fn template(&mut self) -> Template {
        let queue = self.queue();
        Template {
            queue: Some(queue).filter(|_| !self.one_in(3)),
            delay_ms: self.below(2) * 700,
            version: u32::from(self.one_in(4)),
            ..template(self.pick(&KINDS).unwrap())
        }
    }

    fn some_template(&mut self) -> Option<Box<Template>> {
        (!self.one_in(3)).then(|| Box::new(self.template()))
    }

    fn terms(&mut self) -> Box<Terms> {
        let follow_ups = FollowUps {
            on_success: self.some_template().filter(|_| self.one_in(2)),
            on_failure: self.some_template().filter(|_| self.one_in(2)),
            on_exhausted: self.some_template().filter(|_| self.one_in(4)),
            on_cancelled: self.some_template(),
        };
        let ttl_ms = Some(4000).filter(|_| self.one_in(4));
        let deadline_ms = Some(20_000).filter(|_| self.one_in(4));
        let once = Some(DeliveryMode::AtMostOnce);
        Box::new(Terms {
            ttl_ms,
            deadline_ms,
            result_ttl_ms: Some(500).filter(|_| self.one_in(3)),
            delivery: once.filter(|_| self.one_in(4)),
            follow_ups,
        })
    }

    fn settings(&mut self) -> KindSettings {
        let policy = PolicyRef::Inline(plain_policy(self.rng.random_range(1..3)).into());
        let (queue, dead_letter_queue) = (self.queue(), self.queue());
        KindSettings {
            queue: Some(queue).filter(|_| self.one_in(2)),
            policy: Some(policy).filter(|_| self.one_in(2)),
            timeouts: None,
            max_attempts: Some(1).filter(|_| self.one_in(3)),
            dead_letter_queue: Some(dead_letter_queue).filter(|_| self.one_in(3)),
            terms: Some(self.terms()),
        }
    }

    fn chain(&mut self) -> NewTask {
        let queue: QueueName = self.queue();
        let then = (0..self.below(4)).map(|_| self.template()).collect();
        NewTask {
            queue: Some(queue).filter(|_| !self.one_in(4)),
            kind: self.pick(&KINDS).unwrap().into(),
            terms: Some(self.terms()).filter(|_| self.one_in(2)),
            then,
            ..new_task("a")
        }
    }

    fn follow(&mut self) {
        let name = KindName::new("default", self.pick(&KINDS).unwrap()).unwrap();
        let call = match self.below(6) {
            0 => {
                let settings = Box::new(self.settings());
                Call::SetKind { name, settings }
            }
            1 => Call::DeleteKind(name),
            2 => Call::GetKind(name),
            _ => {
                let tasks = (0..self.rng.random_range(1..4)).map(|_| self.chain());
                enqueue_call(tasks.collect())
            }
        };
        self.call(call);
    }

    /// Every shard says the same of kinds.
    fn check_kinds(&self) {
        let all = |shard: u16| -> Vec<(KindName, KindSettings, u64)> {
            let ledger = self.engine.ledger(ShardId(shard)).unwrap();
            let kinds = ledger.kinds_from(std::ops::Bound::Unbounded);
            let facts = kinds.map(|kind| (kind.name.clone(), kind.settings.clone(), kind.revision));
            facts.collect()
        };
        for shard in 1..super::storm::SHARDS {
            assert_eq!(all(shard), all(0));
        }
    }
}

fn weather(seed: u64) {
    let mut storm = Storm::new(seed);
    let mut seen = Seen::default();
    for _ in 0..STEPS {
        storm.any();
        seen.look(&storm.journal);
        if storm.one_in(3) {
            storm.follow();
            storm.check_kinds();
        }
        if storm.one_in(10) {
            storm.open_segment();
        }
        seen.look(&storm.journal);
        if storm.one_in(15) && storm.segments.len() > 2 {
            storm.clean(storm.segments.len() - 1);
            seen.look(&storm.journal);
            storm.check_indexes();
        }
    }
    storm.clear_up();
    seen.look(&storm.journal);
    storm.check_indexes();
    storm.check_kinds();
    assert_eq!(seen.sent, seen.arrived, "seed {seed}: all arrived");
    assert!(seen.follow.len() > 10, "seed {seed} says little");
    for ((id, transition), count) in seen.follow {
        let ends = seen.ends.get(&id).copied().unwrap_or_default();
        assert!(
            count <= ends,
            "seed {seed}: {transition:?} of {id}: {count} > {ends}"
        );
    }
}

#[test]
fn whatever_happens_each_end_is_followed_as_it_was_recorded() {
    for seed in 0..SEEDS {
        weather(seed);
    }
}
