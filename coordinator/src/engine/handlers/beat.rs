//! What handlers say of runs that go on: progress, checkpoints, and how much time they want.
//!
//! Owns when a checkpoint is recorded: at most one in a while for each task, the latest; it waits
//! in memory until then, and goes with the run's end, whatever ends it. Progress is volatile.

use crate::engine::clocks::Alarm;
use crate::engine::command::{Heartbeat, HeartbeatContent};
use crate::engine::effect::{BeatAck, Progress, ToWorker};
use crate::engine::event::Event;
use crate::engine::ids::{LeaseToken, LinkId, TaskId, Timestamp};
use crate::engine::ledger::task::{Holder, Payload, Task, Timeouts};
use crate::engine::limits;
use crate::engine::rejection::Rejection;
use crate::engine::step::Step;

use super::tick;

/// What is known of a run that goes on, besides its lease. Volatile.
#[derive(Debug, Default)]
pub(in crate::engine) struct Beat {
    /// How far it is.
    pub(in crate::engine) progress: Option<Progress>,
    /// The latest checkpoint, while it is not recorded.
    pub(in crate::engine) unsaved: Option<Payload>,
    /// From when on the next one may be recorded.
    pub(in crate::engine) next_save_at: Timestamp,
}

/// Takes each heartbeat by itself.
pub(super) fn heartbeats(step: &mut Step<'_>, beats: Vec<Heartbeat>) -> Vec<BeatAck> {
    beats.into_iter().map(|beat| take(step, beat)).collect()
}

/// Whether a worker on a stream needs to be told: its lease is gone, what it said cannot be used, or
/// it asked for something.
pub(super) fn asks_for_answer(beat: &Heartbeat) -> bool {
    match &beat.content {
        Ok(content) => content.timeouts.is_some(),
        Err(_) => true,
    }
}

fn take(step: &mut Step<'_>, beat: Heartbeat) -> BeatAck {
    let raw_token = beat.raw_token;
    let token = LeaseToken::parse(&raw_token);
    let lease =
        token.and_then(|token| step.task(token.task).filter(|it| it.token() == Some(token)));
    let held = lease.is_some();
    let refused = |refusal| BeatAck {
        raw_token: raw_token.clone(),
        held,
        timeouts: Timeouts::default(),
        refusal: Some(refusal),
    };
    let content = match beat.content {
        Ok(content) => content,
        Err(malformed) => {
            let (field, problem) = (malformed.field, malformed.problem);
            return refused(Rejection::Invalid { field, problem });
        }
    };
    let id = content.token.task;
    if !held {
        return BeatAck {
            raw_token,
            held: false,
            timeouts: Timeouts::default(),
            refusal: None,
        };
    }
    let refusal = accept(step, id, content).err();
    let lease = step.task(id).and_then(Task::lease);
    BeatAck {
        raw_token,
        held: true,
        timeouts: lease.map(|lease| lease.timeouts).unwrap_or_default(),
        refusal,
    }
}

fn accept(step: &mut Step<'_>, id: TaskId, content: HeartbeatContent) -> Result<(), Rejection> {
    let at = step.now();
    begun(step, id);
    if let Some((done, total, message)) = content.progress {
        let progress = Progress {
            done,
            total,
            message,
            at,
        };
        step.beat_mut(id).progress = Some(progress);
    }
    if let Some(checkpoint) = content.checkpoint {
        step.set_unsaved(id, Some(checkpoint));
        let due_at = step.beat_mut(id).next_save_at;
        if due_at <= at {
            save(step, id);
        } else {
            step.clocks_mut().set(Alarm::Checkpoint(id), due_at);
        }
    }
    match content.timeouts {
        Some(timeouts) => extend(step, id, timeouts),
        None => Ok(()),
    }
}

/// Whether memory is so short that extras are not kept (rule 21).
fn is_short(step: &Step<'_>) -> bool {
    step.bytes() > step.config().memory_bytes_max / 10 * 9
}

/// A handler that speaks has begun.
fn begun(step: &mut Step<'_>, id: TaskId) {
    let now = step.now();
    let lease = step.task(id).and_then(Task::lease);
    let Some(Holder::Session(session)) = lease.map(|lease| lease.holder) else {
        return;
    };
    let session = step.sessions_mut().get_mut(session);
    if session.is_some_and(|session| session.begin(id, now)) {
        step.note_begun(id);
    }
}

/// Records the latest checkpoint of a run, where there is one that is not recorded.
pub(super) fn save(step: &mut Step<'_>, id: TaskId) {
    let at = step.now();
    let short = step.disk_full() || is_short(step);
    let Some(checkpoint) = step.beat_mut(id).unsaved.clone() else {
        return;
    };
    let beat = step.beat_mut(id);
    if short {
        // It waits for the run's end, which decides anew (rule 21), or for room on the disk.
        beat.next_save_at = at.plus_ms(limits::CHECKPOINT_INTERVAL_MS);
        let due_at = beat.next_save_at;
        step.clocks_mut().set(Alarm::Checkpoint(id), due_at);
        return;
    }
    let longer_ms = checkpoint.weight_bytes() / limits::CHECKPOINT_BYTES_PER_MS;
    beat.next_save_at = at.plus_ms(limits::CHECKPOINT_INTERVAL_MS + longer_ms);
    step.set_unsaved(id, None);
    let event = Event::CheckpointSaved { id, at, checkpoint };
    step.record(id.shard(), event);
}

/// The running handler wants other limits: of this run, within its bound (S34).
fn extend(step: &mut Step<'_>, id: TaskId, wanted: Timeouts) -> Result<(), Rejection> {
    let lease = step.task(id).and_then(Task::lease);
    let known = lease.expect("the caller looked").timeouts;
    let bound_ms = known.extend_max_ms.or_else(|| {
        let hard_ms = known.hard_ms?;
        Some(hard_ms.saturating_mul(limits::EXTENSION_FACTOR))
    });
    let bound_ms = bound_ms.unwrap_or(limits::TIMEOUT_MS_MAX);
    // Limits that grew with timeouts may be above it: asking for what holds is never too much.
    let bound_ms = bound_ms.max(known.hard_ms.unwrap_or(0));
    let bound_ms = bound_ms.min(limits::TIMEOUT_MS_MAX);
    let timeouts = Timeouts {
        soft_ms: wanted.soft_ms.or(known.soft_ms),
        hard_ms: wanted.hard_ms.or(known.hard_ms),
        extend_max_ms: Some(bound_ms),
    };
    let longest_ms = timeouts.soft_ms.max(timeouts.hard_ms).unwrap_or(0);
    let refuse = |problem: String| {
        let field = "timeouts.hard".to_owned();
        Err(Rejection::Invalid { field, problem })
    };
    if longest_ms > bound_ms {
        return refuse(format!(
            "would be {longest_ms} ms, more than the {bound_ms} ms that this task may ask for; \
             raise extend_max of its timeouts"
        ));
    }
    if let (Some(soft_ms), Some(hard_ms)) = (timeouts.soft_ms, timeouts.hard_ms)
        && soft_ms > hard_ms
    {
        return refuse(format!(
            "would be {hard_ms} ms, less than the soft limit of {soft_ms} ms; ask for both"
        ));
    }
    step.record(id.shard(), Event::LeaseExtended { id, timeouts });
    tick::limits_changed(step, id);
    Ok(())
}

/// What is not recorded of a run that ends: its latest checkpoint.
pub(super) fn end(step: &mut Step<'_>, id: TaskId) -> Option<Payload> {
    step.clocks_mut().clear(Alarm::Checkpoint(id));
    step.take_beat(id)?.unsaved
}

/// Heartbeats on a stream.
pub(super) fn on_stream(step: &mut Step<'_>, link: LinkId, beats: Vec<Heartbeat>) {
    let asked: Vec<bool> = beats.iter().map(asks_for_answer).collect();
    let acks = heartbeats(step, beats).into_iter().zip(asked);
    let needed = acks.filter(|(ack, asked)| *asked || !ack.held || ack.refusal.is_some());
    let needed: Vec<BeatAck> = needed.map(|(ack, _)| ack).collect();
    if !needed.is_empty() {
        step.tell(link, ToWorker::Beats(needed));
    }
}
