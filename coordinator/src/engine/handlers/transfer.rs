//! Tasks on their way from queue to queue, across shards.
//!
//! Owns the one mechanism by which anything crosses shards (rule 3): recorded at the origin, sent
//! in order and in a window, created and remembered by number at the target, confirmed. The same
//! for two shards as for one.

use crate::engine::command::Transfer;
use crate::engine::effect::Effect;
use crate::engine::event::{Event, Leaves};
use crate::engine::ids::{Fence, QueueName, ShardId, TaskId};
use crate::engine::ledger::Kept;
use crate::engine::ledger::task::{Own, State, Task};
use crate::engine::limits;
use crate::engine::retry::DeadReason;
use crate::engine::step::Step;

use super::end_run::side_of_continuation;
use super::enqueue::create_queue;
use super::follow_up::{self, End};
use super::resolve;

/// Sends a task on to another queue, as a new task with a fresh budget.
pub(super) fn route(step: &mut Step<'_>, id: TaskId, target: &QueueName, leaves: &Leaves) {
    let shard = id.shard();
    let task = step.task(id).expect("the caller has it");
    let side = Some(Box::new(side_of_continuation(task, leaves)));
    let own = Own {
        max_attempts: leaves.max_attempts.or_else(|| task.max_attempts()),
        ..task.own.as_deref().cloned().unwrap_or_default()
    };
    let copy = Task {
        queue: target.clone(),
        payload: leaves
            .payload
            .clone()
            .unwrap_or_else(|| task.payload.clone()),
        own: own.said(),
        state: State::Pending {
            not_before: step.now(),
        },
        fence: Fence::default(),
        side,
        ..task.clone()
    };
    send_task(step, shard, copy);
}

/// Sends a task from a shard to the queue that it names, where it is created.
pub(super) fn send_task(step: &mut Step<'_>, shard: ShardId, task: Task) {
    let to = step.shard_of(&task.queue);
    let number = step
        .ledger(shard)
        .outgoing_to(to)
        .map_or(0, |out| out.sent_through)
        + 1;
    step.record(
        shard,
        Event::TransferSent {
            target: to,
            number,
            task: Box::new(task),
        },
    );
    let oldest = step
        .ledger(shard)
        .outgoing_to(to)
        .and_then(|out| out.unconfirmed.keys().next());
    let window = limits::TRANSFERS_UNCONFIRMED_MAX as u64;
    if oldest.is_some_and(|oldest| number < oldest + window) {
        send(step, shard, to, number);
    }
}

/// A message between shards arrived.
pub(super) fn handle(step: &mut Step<'_>, transfer: Transfer) {
    match transfer {
        Transfer::Deliver {
            origin,
            target,
            number,
            task,
        } => {
            receive(step, origin, target, number, *task);
        }
        Transfer::Confirm {
            origin,
            target,
            through,
        } => confirm(step, origin, target, through),
    }
}

/// Sends what the target has not confirmed, from the first on, as much as the window allows.
pub(super) fn send_from_start(step: &mut Step<'_>, shard: ShardId, target: ShardId) {
    let Some(outgoing) = step.ledger(shard).outgoing_to(target) else {
        return;
    };
    let window = outgoing
        .unconfirmed
        .keys()
        .take(limits::TRANSFERS_UNCONFIRMED_MAX);
    let numbers: Vec<u64> = window.copied().collect();
    for number in numbers {
        send(step, shard, target, number);
    }
}

fn send(step: &mut Step<'_>, origin: ShardId, target: ShardId, number: u64) {
    let outgoing = step.ledger(origin).outgoing_to(target);
    let task = outgoing
        .and_then(|outgoing| outgoing.unconfirmed.get(&number))
        .map(Kept::whole);
    if let Some(task) = task {
        step.emit(Effect::Forward(Transfer::Deliver {
            origin,
            target,
            number,
            task,
        }));
    }
}

fn receive(step: &mut Step<'_>, origin: ShardId, target: ShardId, number: u64, sent: Task) {
    let through = step.ledger(target).received_through(origin);
    if number == through + 1 {
        arrive(step, origin, target, number, sent);
    }
    // A lower number is confirmed again; a gap is answered with what is there, and sent again.
    let through = step.ledger(target).received_through(origin);
    step.emit(Effect::Forward(Transfer::Confirm {
        origin,
        target,
        through,
    }));
}

fn arrive(step: &mut Step<'_>, origin: ShardId, target: ShardId, number: u64, sent: Task) {
    let now = step.now();
    if step.ledger(target).queue(&sent.queue).is_none() {
        create_queue(step, target, &sent.queue);
    }
    let id = step.new_task_id(target);
    let index = step.agenda(target).queue(&sent.queue);
    let fits =
        index.is_none_or(|i| i.has_room_for_kind(&sent.kind, sent.version, limits::KINDS_MAX));
    let not_before = match &sent.state {
        State::Pending { not_before } => (*not_before).max(now),
        State::Leased(_) | State::Dead { .. } | State::Finished(_) => now,
    };
    let state = if fits {
        State::Pending { not_before }
    } else {
        // It is never refused: what cannot be created as asked is a dead letter here.
        State::Dead {
            reason: DeadReason::TransferInvalid,
            at: now,
        }
    };
    let enqueue_seq = step.ledger(target).last_seq() + 1;
    let levels = resolve::Levels {
        own: sent.terms(),
        ..resolve::Levels::of(step, &sent.queue, &sent.kind)
    };
    let life = resolve::life(&levels, not_before);
    let mut side = sent.side.clone();
    if let Some(side) = &mut side {
        // Old records of what was sent have the instant at which the budgets of the first one began.
        side.tally.since = None;
    }
    if life.is_some() {
        let side = side.get_or_insert_default();
        side.more.get_or_insert_default().life = life;
    }
    let task = Task {
        side,
        id,
        enqueue_seq,
        enqueued_at: now,
        state,
        ..sent
    };
    let queue = task.queue.clone();
    step.record(
        target,
        Event::TransferReceived {
            origin,
            number,
            task: Box::new(task),
        },
    );
    if fits {
        step.touch_queue(&queue);
    } else {
        follow_up::after(step, id, End::Failed(DeadReason::TransferInvalid));
    }
}

fn confirm(step: &mut Step<'_>, origin: ShardId, target: ShardId, through: u64) {
    let Some(outgoing) = step.ledger(origin).outgoing_to(target) else {
        return;
    };
    let Some(first) = outgoing.unconfirmed.keys().next().copied() else {
        return;
    };
    if through < first {
        // The target has a gap, or answers what it had twice: go back once for each place.
        if step.mend_gap(origin, target, first) {
            send_from_start(step, origin, target);
        }
        return;
    }
    let window = limits::TRANSFERS_UNCONFIRMED_MAX as u64;
    let sent_before = first + window - 1;
    step.record(origin, Event::TransferConfirmed { target, through });
    let outgoing = step.ledger(origin).outgoing_to(target);
    let next: Vec<u64> = outgoing
        .map(|outgoing| {
            outgoing
                .unconfirmed
                .range(sent_before + 1..=through + window)
        })
        .into_iter()
        .flatten()
        .map(|(number, _)| *number)
        .collect();
    for number in next {
        send(step, origin, target, number);
    }
}
