//! Journals of before Lifecycle: what their records did not say, their images do not say either.

use super::world::{START, World, new_task};
use crate::engine::event::{Event, Recorded};
use crate::engine::ids::{Fence, ShardId, Timestamp};
use crate::engine::ledger::tally::Tally;
use crate::engine::ledger::task::{Holder, Lease, State, Task, Timeouts};
use crate::engine::ledger::terms::DeliveryMode;
use crate::engine::retry::DeadReason;

/// A task of a world that has one, in this state.
fn task_in(state: State) -> Task {
    let mut world = World::new();
    world.enqueue_as("t1", new_task("mail"));
    Task {
        state,
        ..world.view("t1").task
    }
}

/// Replays these events of one shard, as the first records of a journal.
fn replay(events: Vec<Event>) -> World {
    let world = World::new();
    let log = (1..).zip(events).map(|(seq, event)| Recorded {
        shard: ShardId(0),
        seq,
        event,
    });
    world.replay_records(&log.collect::<Vec<_>>());
    world
}

fn enqueued(task: &Task) -> Event {
    Event::TaskEnqueued {
        task: Box::new(task.clone()),
    }
}

fn image(task: Task) -> Event {
    Event::TaskImage {
        task: Box::new(task),
    }
}

#[test]
fn an_old_redrive_leaves_no_act_that_its_image_lacks() {
    let at = Timestamp(START.0 + 5);
    let dead = task_in(State::Dead {
        reason: DeadReason::Rule,
        at: START,
    });
    let mut redriven = Task {
        state: State::Pending { not_before: at },
        ..dead.clone()
    };
    redriven.set_tally(Tally {
        since: Some(at),
        redrives: 1,
        ..Tally::default()
    });
    replay(vec![
        enqueued(&dead),
        Event::TaskRedriven {
            id: dead.id,
            at,
            not_before: at,
            by: "".into(),
            note: "".into(),
            kept: false,
        },
        image(redriven),
    ]);
}

#[test]
fn an_old_cancel_leaves_nothing_that_its_image_lacks() {
    let lease = Lease {
        fence: Fence::new(1000, 1),
        nonce: 1,
        holder: Holder::Unary { ttl_ms: 1000 },
        worker: "w".into(),
        granted_at: START,
        timeouts: Timeouts::default(),
        started_at: Some(START),
        cancel_requested: false,
        cancel: None,
        delivery: DeliveryMode::AtLeastOnce,
    };
    let leased = task_in(State::Leased(Box::new(lease.clone())));
    let leased = Task {
        fence: lease.fence,
        ..leased
    };
    let cancelled = Task {
        state: State::Leased(Box::new(Lease {
            cancel_requested: true,
            ..lease
        })),
        ..leased.clone()
    };
    replay(vec![
        enqueued(&leased),
        Event::CancelRequested {
            id: leased.id,
            order: Box::default(),
        },
        image(cancelled),
    ]);
}
