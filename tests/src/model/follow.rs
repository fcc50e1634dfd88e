//! What follows an end, once (docs/follow-ups.md), and tasks on their way between shards.
//!
//! Owns what the ends of the present frame ask for, and what is on its way.

use std::collections::{BTreeMap, BTreeSet};

use redrive_coordinator::engine::ids::{ShardId, TaskId};
use redrive_coordinator::engine::ledger::task::Task as Sent;
use redrive_coordinator::engine::ledger::terms::Transition;

use super::task::Task;
use super::verdict::Fate;
use super::{Model, Rule, digest};

/// Follow-ups of follow-ups, and moves from queue to queue.
const HOPS_MAX: u32 = 8;

/// What follows.
#[derive(Debug, Default)]
pub(super) struct Follow {
    /// What the ends of this frame ask for, and what was sent of it.
    wanted: BTreeMap<(TaskId, Follows), i32>,
    /// Ends of which nobody can tell from outside whether something was spent.
    unclear: BTreeSet<TaskId>,
    /// What is on its way: kind and payload of each.
    on_the_way: BTreeMap<(ShardId, ShardId, u64), (u64, std::sync::Arc<str>)>,
}

/// What follows an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Follows {
    /// A follow-up, or the next task of a chain.
    After(Transition),
    /// The same task in another queue.
    Routed,
}

impl Model {
    /// A task has come to an end: what follows it is to be in the same frame.
    pub(super) fn wants(
        &mut self,
        shard: ShardId,
        id: TaskId,
        task: &Task,
        (fate, routed): (Fate, bool),
    ) {
        // Moves from queue to queue have a limit of their own.
        let moves = u32::try_from(task.visited.len()).unwrap_or(u32::MAX);
        let depth = task.hops.saturating_sub(moves);
        let chained = task.own.as_deref().is_some_and(|own| !own.then.is_empty());
        let exhausted = match fate {
            Fate::Dead(reason) => reason.is_exhaustion(),
            Fate::FailedSpent => true,
            Fate::Failed | Fate::Succeeded | Fate::Cancelled | Fate::Discarded | Fate::Again(_) => {
                false
            }
        };
        let ends: &[Transition] = match fate {
            Fate::Succeeded if chained => &[Transition::Then],
            Fate::Succeeded => &[Transition::Success],
            Fate::Cancelled => &[Transition::Cancelled],
            Fate::Dead(_) | Fate::FailedSpent if exhausted => {
                &[Transition::Failure, Transition::Exhausted]
            }
            Fate::Dead(_) | Fate::Failed | Fate::FailedSpent => &[Transition::Failure],
            Fate::Discarded | Fate::Again(_) => &[],
        };
        for end in ends {
            let named = *end == Transition::Then
                || self.levels.follow_up(shard, task, *end).is_some() && depth < HOPS_MAX;
            if named {
                *self
                    .follow
                    .wanted
                    .entry((id, Follows::After(*end)))
                    .or_default() += 1;
            }
        }
        if routed {
            *self.follow.wanted.entry((id, Follows::Routed)).or_default() += 1;
        }
    }

    /// A task was sent on its way.
    pub(super) fn sent(&mut self, origin: ShardId, target: ShardId, number: u64, task: &Sent) {
        let latest = self.shards[usize::from(origin.0)]
            .sent
            .entry(target)
            .or_default();
        let follows = number == *latest + 1;
        *latest = number;
        if !follows {
            let says = format!("transfer {number} from {origin:?} to {target:?} follows none");
            self.wrong(Rule::Once, says);
        }
        let what = (digest(&task.payload), std::sync::Arc::clone(&task.kind));
        self.follow
            .on_the_way
            .insert((origin, target, number), what);
        let side = task.side.as_deref();
        let cause = side.and_then(|side| side.more.as_deref()?.cause);
        let routed = side.and_then(|side| side.origin);
        let what = match (cause, routed) {
            (_, Some(origin)) => Some((origin, Follows::Routed)),
            (Some(cause), None) => Some((cause.task, Follows::After(cause.transition))),
            (None, None) => None,
        };
        match what {
            Some(what) => *self.follow.wanted.entry(what).or_default() -= 1,
            None => self.wrong(
                Rule::NoLoss,
                format!("a task is sent that follows nothing: {task:?}"),
            ),
        }
    }

    /// A task has arrived.
    pub(super) fn received(&mut self, origin: ShardId, target: ShardId, number: u64, task: &Sent) {
        let latest = self.shards[usize::from(target.0)]
            .received
            .entry(origin)
            .or_default();
        let follows = number == *latest + 1;
        *latest = number;
        let sent = self.follow.on_the_way.remove(&(origin, target, number));
        let same = sent
            .is_some_and(|(payload, kind)| payload == digest(&task.payload) && kind == task.kind);
        if !(follows && same) {
            let says = format!("transfer {number} from {origin:?} arrived as none was sent");
            self.wrong(Rule::Once, says);
        }
    }

    /// The sender knows that all up to this number have arrived.
    pub(super) fn confirmed(&mut self, origin: ShardId, target: ShardId, through: u64) {
        let received = self.shards[usize::from(target.0)].received.get(&origin);
        if through > received.copied().unwrap_or(0) {
            let says =
                format!("transfer {through} from {origin:?} is confirmed and has not arrived");
            self.wrong(Rule::NoLoss, says);
        }
    }

    /// The frame is over: what its ends ask for was sent, and nothing else.
    pub(super) fn check_followed(&mut self) {
        if self.follow.wanted.is_empty() {
            return;
        }
        for ((id, what), missing) in std::mem::take(&mut self.follow.wanted) {
            let exhausted = Follows::After(Transition::Exhausted);
            if missing != 0 && !(what == exhausted && self.follow.unclear.contains(&id)) {
                let says = format!("{what:?} of {id}: {missing} of what should follow is missing");
                self.wrong(Rule::Once, says);
            }
        }
        self.follow.unclear.clear();
    }

    /// What a task ended by cannot be told.
    pub(super) fn is_unclear(&mut self, id: TaskId) {
        self.follow.unclear.insert(id);
    }

    /// Tasks that are on their way still.
    pub(super) fn on_the_way(&self) -> usize {
        self.follow.on_the_way.len()
    }
}
