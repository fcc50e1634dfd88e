//! What holds for a task: its own, else its kind's, else its queue's, else the server's.
//!
//! Owns that order, and where each value was said. What is resolved here is written into events;
//! `apply` resolves nothing.

use std::sync::Arc;

use crate::engine::effect::{Effective, TaskView};
use crate::engine::ids::{QueueName, ShardId, Timestamp};
use crate::engine::ledger::kind::Kind;
use crate::engine::ledger::more::Life;
use crate::engine::ledger::queue::Queue;
use crate::engine::ledger::task::{Task, Timeouts};
use crate::engine::ledger::terms::{DeliveryMode, Source, Template, Terms, Transition};
use crate::engine::retry::{self, Policy, PolicyRef};
use crate::engine::step::Step;

use super::follow_up;

/// The kind and the queue of a task, as far as anything was said of them.
pub(super) struct Levels<'s> {
    pub(super) own: Option<&'s Terms>,
    pub(super) kind: Option<&'s Kind>,
    pub(super) queue: Option<&'s Queue>,
}

impl<'s> Levels<'s> {
    /// Those of a kind in a queue.
    pub(super) fn of(step: &'s Step<'_>, queue: &QueueName, kind: &str) -> Self {
        let shard = step.shard_of(queue);
        Self {
            own: None,
            kind: kind_beside(step, shard, queue, kind),
            queue: step.ledger(shard).queue(queue),
        }
    }

    /// What the terms say, the task's own first.
    pub(super) fn term<T>(&self, get: impl Fn(&Terms) -> Option<T>) -> Option<(T, Source)> {
        let mut terms = self.terms();
        terms.find_map(|(terms, source)| Some((get(terms)?, source)))
    }

    /// Where a duration was said that was resolved when the task was accepted: at the first level
    /// that says the same; where none does any more, at the one that would be asked now.
    fn source_of(&self, get: GetMs, resolved_ms: Option<u64>) -> Source {
        let same = self.terms().find(|(terms, _)| get(terms) == resolved_ms);
        match same {
            Some((_, source)) => source,
            None => self.term(get).map_or(Source::Queue, |(_, source)| source),
        }
    }

    fn terms(&self) -> impl Iterator<Item = (&'s Terms, Source)> {
        let kind = self.kind.and_then(|kind| kind.settings.terms.as_deref());
        let queue = self.queue.and_then(|queue| queue.settings.terms.as_deref());
        let levels = [
            (self.own, Source::Task),
            (kind, Source::Kind),
            (queue, Source::Queue),
        ];
        let levels = levels.into_iter();
        levels.filter_map(|(terms, source)| Some((terms?, source)))
    }
}

/// The levels of a task.
pub(super) fn levels<'s>(step: &'s Step<'_>, task: &'s Task) -> Levels<'s> {
    let shard = task.id.shard();
    Levels {
        own: task.terms(),
        kind: kind_beside(step, shard, &task.queue, &task.kind),
        queue: step.ledger(shard).queue(&task.queue),
    }
}

/// What is said of a kind in the namespace of a queue, as the shard knows it.
pub(super) fn kind_beside<'s>(
    step: &'s Step<'_>,
    shard: ShardId,
    queue: &QueueName,
    kind: &str,
) -> Option<&'s Kind> {
    let ledger = step.ledger(shard);
    // Asked some nine times in a task's life, and where nobody has set a kind it costs nothing.
    if ledger.kind_count() == 0 {
        return None;
    }
    ledger.kind_named(queue.namespace(), kind)
}

/// The policy that judges a task.
pub(super) fn policy(step: &Step<'_>, task: &Task) -> Arc<Policy> {
    policy_said(step, task).0
}

/// The policy that judges a task, where it was said, and at which revision of kind or queue.
pub(super) fn policy_said(step: &Step<'_>, task: &Task) -> (Arc<Policy>, Source, u64) {
    if let Some(own) = task.policy() {
        return (own.policy().clone(), Source::Task, 0);
    }
    let levels = levels(step, task);
    let of_kind = levels
        .kind
        .and_then(|kind| Some((kind.settings.policy.as_ref()?, Source::Kind, kind.revision)));
    let of_queue = || {
        let queue = levels.queue?;
        let policy = queue.settings.policy.as_ref()?;
        Some((policy, Source::Queue, queue.revision))
    };
    match of_kind.or_else(of_queue) {
        Some((policy, source, revision)) => (PolicyRef::policy(policy).clone(), source, revision),
        None => (step.config().default_policy.clone(), Source::Server, 0),
    }
}

/// The limits of a task's next run, grown by the timeouts it has hit.
pub(super) fn timeouts(step: &Step<'_>, task: &Task, policy: &Policy) -> Timeouts {
    let (timeouts, _) = timeouts_said(step, task);
    let grown = |first| retry::grown_timeout_ms(policy, first, task.tally().timeouts_hit);
    Timeouts {
        soft_ms: timeouts.soft_ms.map(grown),
        hard_ms: timeouts.hard_ms.map(grown),
        extend_max_ms: timeouts.extend_max_ms,
    }
}

fn timeouts_said(step: &Step<'_>, task: &Task) -> (Timeouts, Source) {
    if let Some(own) = task.timeouts() {
        return (own, Source::Task);
    }
    let levels = levels(step, task);
    let of_kind = levels.kind.and_then(|kind| kind.settings.timeouts);
    let of_queue = levels.queue.and_then(|queue| queue.settings.timeouts);
    match (of_kind, of_queue) {
        (Some(timeouts), _) => (timeouts, Source::Kind),
        (None, Some(timeouts)) => (timeouts, Source::Queue),
        (None, None) => (Timeouts::default(), Source::Server),
    }
}

/// The attempts that end a task, where neither it nor its kind leaves them to the policy; 0 means
/// unlimited.
pub(super) fn attempts_said(step: &Step<'_>, task: &Task) -> Option<(u32, Source)> {
    if let Some(own) = task.max_attempts() {
        return Some((own, Source::Task));
    }
    let of_kind = levels(step, task).kind?.settings.max_attempts?;
    Some((of_kind, Source::Kind))
}

/// The attempts that end a task; 0 means unlimited.
pub(super) fn attempts_max(step: &Step<'_>, task: &Task, policy: &Policy) -> u32 {
    attempts_said(step, task).map_or(policy.max_attempts, |(attempts, _)| attempts)
}

/// What becomes of a run that ends without a report.
pub(super) fn delivery(step: &Step<'_>, task: &Task) -> (DeliveryMode, Source) {
    let said = levels(step, task).term(|terms| terms.delivery);
    said.unwrap_or_default()
}

/// How long a task is kept when it has finished. Milliseconds.
pub(super) fn result_ttl_ms(step: &Step<'_>, task: &Task) -> (u64, Source) {
    let said = levels(step, task).term(|terms| terms.result_ttl_ms);
    said.unwrap_or_else(|| (step.config().finished_retention_ms, Source::Server))
}

/// The task that follows this end.
pub(super) fn follow_up(
    step: &Step<'_>,
    task: &Task,
    transition: Transition,
) -> Option<(Template, Source)> {
    levels(step, task).term(|terms| terms.follow_ups.after(transition).cloned())
}

/// Where a task goes on that is to be a dead letter, leaving out what a rule says.
pub(super) fn dead_letter_queue(step: &Step<'_>, task: &Task) -> Option<(QueueName, Source)> {
    let levels = levels(step, task);
    let of_kind = levels
        .kind
        .and_then(|kind| kind.settings.dead_letter_queue.clone());
    let of_queue = || {
        levels
            .queue
            .and_then(|queue| queue.settings.dead_letter_queue.clone())
    };
    match of_kind {
        Some(queue) => Some((queue, Source::Kind)),
        None => Some((of_queue()?, Source::Queue)),
    }
}

/// When the time of a new task will be over, if it may start from this instant on.
pub(super) fn life(levels: &Levels<'_>, from: Timestamp) -> Option<Life> {
    let life = Life {
        ttl_ms: levels.term(|terms| terms.ttl_ms).map(|(ms, _)| ms),
        deadline_ms: levels.term(|terms| terms.deadline_ms).map(|(ms, _)| ms),
        from,
        begun: false,
    };
    (life.ttl_ms.is_some() || life.deadline_ms.is_some()).then_some(life)
}

/// A duration of the terms. Milliseconds.
type GetMs = fn(&Terms) -> Option<u64>;

/// A task as users see it now.
pub(super) fn view(step: &Step<'_>, task: &Task) -> TaskView {
    let (policy, source, revision) = policy_said(step, task);
    TaskView {
        state: task.view(step.now()),
        attempts_max: attempts_max(step, task, &policy),
        crashes_max: policy.max_crashes,
        deferrals_max: policy.max_deferrals,
        timeouts: match task.lease() {
            // As they hold for the present run, which may have asked for more.
            Some(lease) => lease.timeouts,
            None => timeouts(step, task, &policy),
        },
        policy: policy.name.clone(),
        effective: Box::new(effective(step, task, source, revision)),
        progress: step.progress(task.id).cloned(),
        no_worker: false,
        task: task.clone(),
    }
}

fn effective(step: &Step<'_>, task: &Task, policy: Source, policy_revision: u64) -> Effective {
    let levels = levels(step, task);
    let life = task.life();
    let (start_by, end_by) = (
        life.and_then(|l| l.start_by()),
        life.and_then(|l| l.end_by()),
    );
    let (ttl, deadline): (GetMs, GetMs) = (|terms| terms.ttl_ms, |terms| terms.deadline_ms);
    let (ttl_ms, deadline_ms) = (
        life.and_then(|life| life.ttl_ms),
        life.and_then(|life| life.deadline_ms),
    );
    let transitions = [
        Transition::Success,
        Transition::Failure,
        Transition::Exhausted,
        Transition::Cancelled,
    ];
    let followed = follow_up::may_be_followed(task);
    let transitions = transitions.into_iter().filter(|_| followed);
    let follow_ups = transitions.filter_map(|transition| {
        let said = levels.term(|terms| terms.follow_ups.after(transition).map(|t| t.kind.clone()));
        said.map(|(kind, source)| (transition, kind, source))
    });
    let dead_letters = dead_letter_queue(step, task);
    Effective {
        policy,
        policy_revision,
        timeouts: timeouts_said(step, task).1,
        attempts: attempts_said(step, task).map_or(Source::Server, |(_, source)| source),
        start_by: (
            start_by,
            start_by.map_or(Source::Server, |_| levels.source_of(ttl, ttl_ms)),
        ),
        end_by: (
            end_by,
            end_by.map_or(Source::Server, |_| levels.source_of(deadline, deadline_ms)),
        ),
        result_ttl_ms: result_ttl_ms(step, task),
        delivery: delivery(step, task),
        follow_ups: follow_ups.collect(),
        dead_letter_queue: match dead_letters {
            Some((queue, source)) => (Some(queue), source),
            None => (None, Source::Server),
        },
    }
}
