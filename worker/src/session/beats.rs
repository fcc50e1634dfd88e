//! What handlers say while they run, on its way to the coordinator.
//!
//! Owns how often a run is heard, and questions for other time limits until they are answered: each
//! is asked again on every new stream, one at a time for a run. What is said is collected only when
//! it may be sent, so the latest wins and nothing piles up.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message as _;
use redrive_proto::v1::{
    self, Heartbeat, HeartbeatAck, HeartbeatBatch, Payload, Progress, Refusal, TimeoutsChange,
};

use super::{
    Action, Extend, HEARTBEAT_INTERVAL_MS, Link, RunId, Said, Session,
    leases::within,
    requests::{BATCH_BYTES_MAX, BATCH_ITEMS_MAX},
    wire,
};
use crate::context::{StopReason, Timeouts};

/// The longest content type of a checkpoint, in bytes.
const CONTENT_TYPE_BYTES_MAX: usize = 128;
/// The reason for which limits beyond a run's bound are refused.
const OUT_OF_RANGE: &str = "OUT_OF_RANGE";

/// What the handlers of a session say.
#[derive(Debug, Default)]
pub(super) struct Beats {
    of: BTreeMap<RunId, Beat>,
    /// When who is asked what it has to say.
    due: BTreeSet<(u64, RunId)>,
    /// Whose heartbeat is to be sent.
    unsent: BTreeSet<RunId>,
}

/// What the handler of one run said.
#[derive(Debug, Default)]
struct Beat {
    progress: Latest<Progress>,
    checkpoint: Latest<Payload>,
    asked: Option<Asked>,
    /// Waits until the question before it is answered.
    next: Option<Extend>,
    due_at: Option<u64>,
    /// Not collected before, unless it asks for something.
    next_at: u64,
}

/// The latest of something, kept for the next stream.
#[derive(Debug)]
struct Latest<T> {
    value: Option<T>,
    unsent: bool,
}

impl<T> Default for Latest<T> {
    fn default() -> Self {
        Self {
            value: None,
            unsent: false,
        }
    }
}

impl<T: Clone> Latest<T> {
    fn set(&mut self, value: Option<T>) {
        if value.is_some() {
            self.value = value;
            self.unsent = true;
        }
    }

    fn send(&mut self) -> Option<T> {
        std::mem::take(&mut self.unsent)
            .then(|| self.value.clone())
            .flatten()
    }
}

/// A question that is being asked.
#[derive(Clone, Copy, Debug)]
struct Asked {
    extend: Extend,
    sent: bool,
}

impl Beats {
    /// The run is over, or its lease is gone.
    pub(super) fn forget(&mut self, run: RunId) {
        if let Some(Beat {
            due_at: Some(at), ..
        }) = self.of.remove(&run)
        {
            self.due.remove(&(at, run));
        }
        self.unsent.remove(&run);
    }

    pub(super) fn wants_to_send(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Takes the question of a run that was answered; the one that waited behind it is asked.
    fn answered(&mut self, run: RunId) -> Option<Extend> {
        let beat = self.of.get_mut(&run)?;
        let asked = beat.asked.take_if(|asked| asked.sent)?;
        beat.asked = beat.next.take().map(|extend| Asked {
            extend,
            sent: false,
        });
        if beat.asked.is_some() {
            self.unsent.insert(run);
        }
        Some(asked.extend)
    }
}

impl Session {
    /// A handler has something to say: it is asked for it when the next heartbeat may be sent.
    pub(super) fn spoke(&mut self, now_ms: u64, run: RunId, urgent: bool) {
        if self.running(run).is_none() {
            return;
        }
        let beat = self.beats.of.entry(run).or_default();
        let at = if urgent {
            now_ms
        } else {
            beat.next_at.max(now_ms)
        };
        if let Some(old) = beat.due_at {
            if old <= at {
                return;
            }
            self.beats.due.remove(&(old, run));
        }
        beat.due_at = Some(at);
        self.beats.due.insert((at, run));
    }

    /// When a handler is asked next. Nobody is asked while there is no stream to send it on.
    pub(super) fn next_collection(&self) -> Option<u64> {
        let (at, _) = self.beats.due.first()?;
        (self.link == Link::Up).then_some(*at)
    }

    pub(super) fn collect_due(&mut self, now_ms: u64, actions: &mut Vec<Action>) {
        while self.next_collection().is_some_and(|at| at <= now_ms) {
            let Some((_, run)) = self.beats.due.pop_first() else {
                return;
            };
            if let Some(beat) = self.beats.of.get_mut(&run) {
                beat.due_at = None;
                beat.next_at = now_ms.saturating_add(HEARTBEAT_INTERVAL_MS);
                actions.push(Action::Collect { run });
            }
        }
    }

    pub(super) fn said(&mut self, run: RunId, said: Said, actions: &mut Vec<Action>) {
        let max = self.pace.result_bytes_max;
        let Some(beat) = self.beats.of.get_mut(&run) else {
            return;
        };
        let Said {
            progress,
            mut checkpoint,
            extend,
        } = said;
        if let Some(problem) = checkpoint.as_ref().and_then(|it| unfit(it, max)) {
            // It would be refused, and what came with it too. The report will say so.
            if let Some(slot) = self.slots.get(&run) {
                let token = slot.token.clone();
                let text = format!("a checkpoint is not sent: {problem}");
                actions.push(Action::Note { token, text });
            }
            checkpoint = None;
        }
        beat.progress.set(progress);
        beat.checkpoint.set(checkpoint);
        match &beat.asked {
            Some(_) => beat.next = extend.or(beat.next),
            None => {
                beat.asked = extend.map(|extend| Asked {
                    extend,
                    sent: false,
                });
            }
        }
        self.beats.unsent.insert(run);
    }

    /// On a new stream: what the one before may have lost is said again.
    pub(super) fn repeat_beats(&mut self) {
        for (run, beat) in &mut self.beats.of {
            beat.progress.unsent = beat.progress.value.is_some();
            beat.checkpoint.unsent = beat.checkpoint.value.is_some();
            if let Some(asked) = &mut beat.asked {
                asked.sent = false;
            }
            if beat.progress.unsent || beat.checkpoint.unsent || beat.asked.is_some() {
                self.beats.unsent.insert(*run);
            }
        }
    }

    /// What became of a heartbeat.
    pub(super) fn beat_answered(
        &mut self,
        now_ms: u64,
        ack: HeartbeatAck,
        actions: &mut Vec<Action>,
    ) {
        let token = ack.lease_token;
        if !ack.held {
            self.take_away(now_ms, &token, StopReason::LeaseLost, actions);
            return;
        }
        let run = self.running_of(&token).map(|running| running.run);
        // An earlier word may be refused while a question is on its way: that is no answer to it.
        let answers = ack.timeouts.is_some() || ack.refusal.as_ref().is_some_and(is_of_limits);
        let asked = run.filter(|_| answers).and_then(|run| {
            let extend = self.beats.answered(run)?;
            Some((run, extend.number))
        });
        match (asked, ack.refusal) {
            (Some((run, number)), Some(refusal)) => {
                actions.push(Action::Extended {
                    run,
                    number,
                    answer: Err(refusal),
                });
            }
            (Some((run, number)), None) => {
                let timeouts = ack.timeouts.unwrap_or_default();
                let timeouts = Timeouts {
                    soft: timeouts.soft.map(wire::duration),
                    hard: timeouts.hard.map(wire::duration),
                };
                let change = TimeoutsChange {
                    lease_token: token,
                    soft_timeout: timeouts.soft.map(wire::of),
                    hard_timeout: timeouts.hard.map(wire::of),
                };
                // The clock moves before the handler hears of it.
                self.limits_changed(&change, actions);
                actions.push(Action::Extended {
                    run,
                    number,
                    answer: Ok(timeouts),
                });
            }
            (None, Some(refusal)) => {
                let text = format!("heartbeat refused: {}", refusal.message);
                actions.push(Action::Note { token, text });
            }
            (None, None) => {}
        }
    }

    pub(super) fn heartbeat_batch(&mut self) -> Option<HeartbeatBatch> {
        let bytes_max = BATCH_BYTES_MAX.min(self.pace.message_bytes_max / 2);
        let mut heartbeats = Vec::new();
        let mut bytes = 0_u64;
        while let Some(&run) = self.beats.unsent.first() {
            if heartbeats.len() == BATCH_ITEMS_MAX || bytes >= bytes_max {
                break;
            }
            self.beats.unsent.remove(&run);
            if let Some(heartbeat) = self.heartbeat(run) {
                let size = u64::try_from(heartbeat.encoded_len()).unwrap_or(u64::MAX);
                bytes = bytes.saturating_add(size);
                heartbeats.push(heartbeat);
            }
        }
        (!heartbeats.is_empty()).then_some(HeartbeatBatch { heartbeats })
    }

    fn heartbeat(&mut self, run: RunId) -> Option<Heartbeat> {
        let lease_token = self.slots.get(&run)?.token.clone();
        let beat = self.beats.of.get_mut(&run)?;
        if let Some(asked) = beat.asked.as_mut().filter(|asked| !asked.sent) {
            asked.sent = true;
            if beat.progress.unsent || beat.checkpoint.unsent {
                // A question goes alone, so that nothing beside it can have it refused.
                self.beats.unsent.insert(run);
            }
            // What is not asked about stays unset: the limit known here may be an old one.
            let Timeouts { soft, hard } = asked.extend.wanted;
            let timeouts = Some(v1::Timeouts {
                soft: soft.map(wire::of),
                hard: hard.map(wire::of),
                extend_max: None,
            });
            return Some(Heartbeat {
                lease_token,
                timeouts,
                ..Heartbeat::default()
            });
        }
        let progress = beat.progress.send();
        let checkpoint = beat.checkpoint.send();
        (progress.is_some() || checkpoint.is_some()).then_some(Heartbeat {
            lease_token,
            progress,
            checkpoint,
            timeouts: None,
        })
    }
}

/// Why the coordinator would refuse a checkpoint.
fn unfit(checkpoint: &Payload, bytes_max: u64) -> Option<String> {
    let Payload { data, content_type } = checkpoint;
    let plain = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
    if !within(data.len(), bytes_max) {
        let bytes = data.len();
        Some(format!("it has {bytes} bytes, the most is {bytes_max}"))
    } else if content_type.len() > CONTENT_TYPE_BYTES_MAX {
        let bytes = content_type.len();
        let max = CONTENT_TYPE_BYTES_MAX;
        Some(format!(
            "its content type has {bytes} bytes, the most is {max}"
        ))
    } else if !content_type.bytes().all(plain) {
        Some("its content type is not visible ASCII".to_owned())
    } else {
        None
    }
}

/// True for the refusal of the time limits that a heartbeat asked for.
fn is_of_limits(refusal: &Refusal) -> bool {
    refusal.field.starts_with("timeouts") || refusal.reason == OUT_OF_RANGE
}
