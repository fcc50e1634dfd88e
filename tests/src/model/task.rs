//! A task and its runs, as the model keeps them.
//!
//! Owns what is known of each. Judges nothing.

use std::sync::Arc;

use redrive_coordinator::engine::command::Start;
use redrive_coordinator::engine::failure::Failure;
use redrive_coordinator::engine::ids::{QueueName, Timestamp};
use redrive_coordinator::engine::ledger::history::RunOutcome;
use redrive_coordinator::engine::ledger::more::{Life, Unique};
use redrive_coordinator::engine::ledger::task::{self as vocabulary, Holder, Own, Priority, State};
use redrive_coordinator::engine::ledger::terms::DeliveryMode;
use redrive_coordinator::engine::retry::DeadReason;

use super::digest;

/// A task.
#[derive(Clone, Debug)]
pub(super) struct Task {
    pub(super) queue: QueueName,
    pub(super) kind: Arc<str>,
    pub(super) version: u32,
    pub(super) payload: u64,
    pub(super) checkpoint: Option<u64>,
    pub(super) priority: Priority,
    pub(super) place: u64,
    pub(super) enqueued_at: Timestamp,
    pub(super) stand: Stand,
    pub(super) fence: u64,
    pub(super) runs: u32,
    pub(super) failures: u32,
    pub(super) crashes: u32,
    pub(super) deferrals: u32,
    pub(super) unstarted_in_row: u16,
    pub(super) timeouts_hit: u32,
    pub(super) redrives: u32,
    pub(super) budget_since: Timestamp,
    pub(super) previous_delay_ms: Option<u64>,
    pub(super) rule_retries: Vec<(Arc<str>, u32)>,
    pub(super) own: Option<Box<Own>>,
    pub(super) life: Option<Life>,
    pub(super) unique: Option<Unique>,
    pub(super) visited: Vec<QueueName>,
    pub(super) hops: u32,
}

/// Where a task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stand {
    /// It waits until then.
    Pending(Timestamp),
    /// Somebody holds it.
    Leased(Lease),
    /// It is a dead letter.
    Dead(DeadReason),
    /// It is over, and will be forgotten then.
    Finished(vocabulary::Outcome, Timestamp),
}

/// A lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lease {
    pub(super) holder: Holder,
    pub(super) at: Timestamp,
    pub(super) started: bool,
    pub(super) hard_ms: Option<u64>,
    pub(super) at_most_once: bool,
    pub(super) cancelled: bool,
}

/// A run.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) nonce: u64,
    pub(super) payload: u64,
    pub(super) checkpoint: Option<u64>,
    pub(super) attempt: u32,
    pub(super) granted_at: Timestamp,
    /// How it ended.
    pub(super) ended: Option<RunOutcome>,
    /// What was reported of it, as the engine heard it.
    pub(super) heard: Vec<Heard>,
    /// A report of it was told to be recorded.
    pub(super) recorded: bool,
}

/// A report that reached the engine.
#[derive(Clone, Debug)]
pub(super) enum Heard {
    Complete,
    Fail {
        not_retryable: bool,
        retry_after_ms: Option<u64>,
    },
    Retry {
        start: Option<Start>,
    },
    Defer {
        delay_ms: u64,
    },
    Release,
    Discard,
}

impl Task {
    pub(super) fn of(task: &vocabulary::Task) -> Self {
        let side = task.side.as_deref();
        let more = side.and_then(|side| side.more.as_deref());
        let tally = task.tally();
        Self {
            queue: task.queue.clone(),
            kind: Arc::clone(&task.kind),
            version: task.version,
            payload: digest(&task.payload),
            checkpoint: side.and_then(|side| side.checkpoint.as_ref()).map(digest),
            priority: task.priority,
            place: task.enqueue_seq,
            enqueued_at: task.enqueued_at,
            stand: Stand::of(&task.state),
            fence: task.fence.0,
            runs: task.runs(),
            failures: tally.failures,
            crashes: tally.crashes,
            deferrals: tally.deferrals,
            unstarted_in_row: tally.unstarted_in_row,
            timeouts_hit: tally.timeouts_hit,
            redrives: tally.redrives,
            budget_since: task.budget_since(),
            previous_delay_ms: side.and_then(|side| side.previous_delay_ms),
            rule_retries: side.map_or_else(Vec::new, |side| side.rule_retries.clone()),
            own: task.own.clone(),
            life: more.and_then(|more| more.life),
            unique: more.and_then(|more| more.unique.clone()),
            visited: more.map_or_else(Vec::new, |more| more.visited.clone()),
            hops: side.map_or(0, |side| side.hops),
        }
    }

    /// What is not the same in another one; `None` where they are alike. What a run leaves behind
    /// of its beginning may be written down with the beginning or with the end.
    pub(super) fn differs(&self, other: &Self) -> Option<&'static str> {
        let runs = matches!(self.stand, Stand::Leased(_));
        let all = [
            (self.queue == other.queue, "queue"),
            (self.kind == other.kind, "kind"),
            (self.version == other.version, "version"),
            (self.payload == other.payload, "payload"),
            (self.checkpoint == other.checkpoint, "checkpoint"),
            (self.priority == other.priority, "priority"),
            (self.place == other.place, "place"),
            (self.stand == other.stand, "state"),
            (self.fence == other.fence, "fence"),
            (self.runs == other.runs, "runs"),
            (self.failures == other.failures, "failures"),
            (self.crashes == other.crashes, "crashes"),
            (self.deferrals == other.deferrals, "deferrals"),
            (
                runs || self.unstarted_in_row == other.unstarted_in_row,
                "losses in a row",
            ),
            (self.timeouts_hit == other.timeouts_hit, "timeouts"),
            (self.redrives == other.redrives, "redrives"),
            (self.budget_since == other.budget_since, "budget"),
            (
                self.previous_delay_ms == other.previous_delay_ms,
                "previous delay",
            ),
            (self.rule_retries == other.rule_retries, "retries by rules"),
            (self.own == other.own, "own settings"),
            (runs || self.life == other.life, "life"),
            (self.unique == other.unique, "unique key"),
        ];
        all.into_iter()
            .find(|(same, _)| !same)
            .map(|(_, what)| what)
    }
}

impl Stand {
    fn of(state: &State) -> Self {
        match state {
            State::Pending { not_before } => Self::Pending(*not_before),
            State::Leased(lease) => Self::Leased(Lease {
                holder: lease.holder,
                at: lease.granted_at,
                started: lease.started_at.is_some(),
                hard_ms: lease.timeouts.hard_ms,
                at_most_once: lease.delivery == DeliveryMode::AtMostOnce,
                cancelled: lease.cancel_requested,
            }),
            State::Dead { reason, .. } => Self::Dead(*reason),
            State::Finished(finished) => {
                Self::Finished(finished.outcome, finished.expires_at.unwrap_or(finished.at))
            }
        }
    }
}

/// What the judge needs of a failure.
pub(super) struct Facts<'a> {
    pub(super) failure: Option<&'a Failure>,
    pub(super) ended_at: Timestamp,
}
