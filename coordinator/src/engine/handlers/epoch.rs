//! A run of the coordinator begins.
//!
//! Owns what is volatile after a restart: agendas are rebuilt, sessions that hold leases get the
//! grace to come back (rule 5), unary leases their full life (rule 11), transfers are sent again
//! (rule 3).

use crate::engine::clocks::Alarm;
use crate::engine::command::WorkerInfo;
use crate::engine::event::Event;
use crate::engine::ids::{Fence, QueueName, SessionId, TaskId, Timestamp};
use crate::engine::ledger::task::{Holder, Lease, Task, Timeouts};
use crate::engine::sessions::{Held, Session};
use crate::engine::step::Step;
use crate::mutants::{self, Mutant};

/// Begins the epoch in every shard.
pub(in crate::engine) fn begin(step: &mut Step<'_>, epoch: u64) {
    let now = step.now();
    step.rebuild_agendas();
    super::journal::open_segment(step);
    if let Some(below) = step.take_unsaid_cleaning() {
        super::journal::segments_cleaned(step, below);
    }
    for shard in step.shard_ids() {
        let mut epoch = epoch.max(step.ledger(shard).epoch() + 1);
        if mutants::is(Mutant::EpochReused) {
            epoch = step.ledger(shard).epoch().max(1);
        }
        step.record(shard, Event::EpochStarted { epoch, at: now });
        let ledger = step.ledger(shard);
        let leased: Vec<TaskId> = ledger
            .tasks_after(TaskId::MIN)
            .filter(|task| task.lease().is_some())
            .map(|task| task.id)
            .collect();
        let queues: Vec<QueueName> = ledger.queues().map(|queue| queue.name.clone()).collect();
        for id in leased {
            resume_lease(step, id);
        }
        for queue in queues {
            step.touch_queue(&queue);
        }
        let targets: Vec<_> = step
            .ledger(shard)
            .outgoing()
            .map(|(target, _)| target)
            .collect();
        for target in targets {
            if mutants::is(Mutant::TransferForgotten) {
                continue;
            }
            super::transfer::send_from_start(step, shard, target);
        }
    }
}

/// A lease of an earlier run waits for its holder.
fn resume_lease(step: &mut Step<'_>, id: TaskId) {
    let task = step.task(id).expect("collected a moment ago");
    let lease = task.lease().expect("collected a moment ago").clone();
    let held = held_of(task, &lease);
    super::cancel::set_alarm(step, id);
    let worker = lease.worker.clone();
    match lease.holder {
        Holder::Session(session) => {
            hold(step, session, id, &lease, held);
            super::dispatch::set_limits(step, id, lease.started_at);
        }
        Holder::Unary { ttl_ms } => {
            let until = step.now().plus_ms(ttl_ms);
            step.clocks_mut().set(Alarm::Life(id), until);
            step.unary_hold(&worker);
            super::dispatch::set_limits(step, id, lease.started_at);
        }
    }
}

fn held_of(task: &Task, lease: &Lease) -> Held {
    Held {
        fence: lease.fence,
        bytes: task.payload.data.len() as u64,
        sequence: 0,
        begun_at: lease.started_at,
        limits_changed: lease.timeouts != Timeouts::default(),
    }
}

fn hold(step: &mut Step<'_>, id: SessionId, task: TaskId, lease: &Lease, held: Held) {
    let epoch = step.ledger(task.shard()).epoch();
    let now = step.now();
    let grace = step.config().grace_ms;
    if step.sessions().get(id).is_none() {
        let namespace = step.task(task).map_or("", |task| task.queue.namespace());
        let info = WorkerInfo {
            namespace: namespace.into(),
            worker: lease.worker.clone(),
            version: "".into(),
            host: "".into(),
            queues: Vec::new(),
            kinds: Vec::new(),
            proposals: Vec::new(),
        };
        let lateness = step.sessions().lateness_ms;
        let mut session = Session::new(id, info, Vec::new(), now, lateness);
        // Deliveries of this run are numbered above all of earlier ones.
        session.sequence = Fence::new(epoch, 0).0;
        step.sessions_mut().insert(session);
        step.sessions_mut().wake_at(id, now.plus_ms(grace));
    }
    let session = step.sessions_mut().get_mut(id).expect("made above");
    session.hold(task, held);
}

/// The instant before which no hard limit of an earlier run ends a lease: its holder may still be
/// on its way back.
pub(super) fn earliest_end(step: &Step<'_>, lease_epoch_is_current: bool) -> Timestamp {
    if lease_epoch_is_current {
        Timestamp(0)
    } else {
        step.now().plus_ms(step.config().grace_ms)
    }
}
