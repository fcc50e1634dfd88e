//! A worker's session with the coordinator: which leases it holds, and what must happen next.
//!
//! A pure value without clock, network, threads or randomness: `step(now, input)` yields actions,
//! `next_request` yields what to send, `next_deadline` says when to call again. The driver joins it
//! with the stream and the pool; a simulator may do the same.
//!
//! Never runs a handler and never judges a failure. Invariants:
//! - no more runs than slots, and none begins unless the coordinator is heard;
//! - a result is kept until it is acknowledged, and sent again on every new stream;
//! - what runs is stopped once the coordinator was silent for `abort_after`, and the coordinator
//!   hears of it in a new Hello as soon as it is heard again;
//! - limits count from the run's own start on the caller's monotonic clock, connected or not;
//! - memory is bounded by slots and prefetch: requests are made from state, not queued;
//! - a run's handler is heard at most once in `HEARTBEAT_INTERVAL_MS`, the latest of what it said.

mod beats;
mod leases;
mod leaving;
mod limits;
mod requests;
#[cfg(test)]
mod tests;
pub(crate) mod wire;
mod words;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use bytes::Bytes;
use redrive_proto::v1::{Capacity, Welcome, work_response};

use crate::{clock::millis, context::StopReason};
use beats::Beats;
use leases::{Hold, Lease};
use leaving::Leaving;
use limits::Limit;

pub use leaving::{EXIT_ABANDONED, EXIT_CLEAN, EXIT_UNREPORTED, StopReport};
pub use words::{Action, Extend, Input, Limits, RunId, Said, SessionConfig};

/// How long the Welcome may take after the Hello, in milliseconds.
pub const WELCOME_WITHIN_MS: u64 = 10_000;
/// After so many ping intervals of silence a stream that holds work is given up, and another tried:
/// well before the work itself must stop.
pub const STREAM_SILENCE_PINGS: u64 = 3;
/// The same for a stream that holds no work, which is pinged six times less often.
pub const IDLE_SILENCE_PINGS: u64 = 18;
/// How long a stopped handler may take to return its slot until the coordinator is told of a lower
/// capacity, in milliseconds.
pub const STUCK_AFTER_MS: u64 = 1_000;
/// How long after one heartbeat of a run the next one may be sent, in milliseconds. One that asks
/// for something does not wait.
pub const HEARTBEAT_INTERVAL_MS: u64 = 200;
/// The most slots and prefetched deliveries together.
pub const TASKS_MAX: u32 = 10_000;

/// What the coordinator told in its Welcome, or the defaults until then.
#[derive(Clone, Copy, Debug)]
struct Pace {
    ping_ms: u64,
    abort_after_ms: u64,
    result_bytes_max: u64,
    message_bytes_max: u64,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            ping_ms: 5_000,
            abort_after_ms: 25_000,
            result_bytes_max: 262_144,
            message_bytes_max: 4_194_304,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    /// No stream.
    Down,
    /// The Hello is sent and the Welcome awaited.
    Greeting { since_ms: u64 },
    /// Both sides have met.
    Up,
}

/// A handler that occupies a slot, whether its lease is still held or not.
#[derive(Debug)]
struct Slot {
    token: Bytes,
    /// Set where the handler was stopped and has not returned: from when on it counts as stuck.
    stuck_at: Option<u64>,
    /// Set where it is counted out of the capacity.
    stuck: bool,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Session {
    config: SessionConfig,
    pace: Pace,
    session_id: String,
    link: Link,
    /// When the coordinator was last heard.
    heard_ms: u64,
    leases: BTreeMap<Bytes, Lease>,
    /// Deliveries that wait for a slot, oldest first.
    buffer: VecDeque<Bytes>,
    slots: BTreeMap<RunId, Slot>,
    /// Slots whose handlers were stopped and have not returned for a while.
    stuck: u32,
    /// Slots whose lease is held and whose handler may go on.
    running: u32,
    /// Set where runs were lost to silence and no Hello has been said since: the coordinator may
    /// have slept, and takes them for held as long as this stream lives.
    untold: bool,
    limits: BTreeSet<(u64, RunId, Limit)>,
    /// What handlers say.
    beats: Beats,
    next_run: u64,
    received_through: u64,
    /// Results to send on this stream, oldest first.
    unsent: VecDeque<Bytes>,
    pong: Option<u64>,
    receipt_due: bool,
    capacity_told: Capacity,
    leaving: Option<Leaving>,
    finished: bool,
    counts: StopReport,
}

impl Session {
    /// A session that holds nothing and has no stream.
    pub fn new(config: SessionConfig) -> Self {
        Self {
            config,
            pace: Pace::default(),
            session_id: String::new(),
            link: Link::Down,
            heard_ms: 0,
            leases: BTreeMap::new(),
            buffer: VecDeque::new(),
            slots: BTreeMap::new(),
            stuck: 0,
            running: 0,
            untold: false,
            limits: BTreeSet::new(),
            beats: Beats::default(),
            next_run: 1,
            received_through: 0,
            unsent: VecDeque::new(),
            pong: None,
            receipt_due: false,
            capacity_told: Capacity::default(),
            leaving: None,
            finished: false,
            counts: StopReport::default(),
        }
    }

    /// Takes in what happened and appends what must be done. `now_ms` never goes back.
    pub fn step(&mut self, now_ms: u64, input: Input, actions: &mut Vec<Action>) {
        match input {
            Input::Received(message) => {
                self.heard_ms = now_ms;
                self.receive(now_ms, *message, actions);
                self.tell_lost(actions);
            }
            Input::Closed => self.link = Link::Down,
            Input::Ended { run, outcome } => self.ended(run, outcome),
            Input::Saved { run, checkpoint } => self.saved(run, checkpoint),
            Input::Spoke { run, urgent } => self.spoke(now_ms, run, urgent),
            Input::Said { run, said } => self.said(run, *said, actions),
            Input::Drain { reason, deadline } => self.drain(now_ms, reason, deadline),
            Input::ReleaseAll { reason } => self.drain(now_ms, reason, Some(Duration::ZERO)),
            Input::Tick => self.tick(now_ms, actions),
        }
        self.release_overdue(now_ms, actions);
        self.start_buffered(now_ms, actions);
        self.collect_due(now_ms, actions);
        self.settle_leaving(now_ms);
    }

    /// When [`Session::step`] wants `Input::Tick`, in milliseconds. Early is harmless; late, limits
    /// are late.
    pub fn next_deadline(&self) -> Option<u64> {
        let limit = self.limits.first().map(|(at, ..)| *at);
        let link = match self.link {
            Link::Down => None,
            Link::Greeting { since_ms } => Some(since_ms.saturating_add(WELCOME_WITHIN_MS)),
            Link::Up => Some(self.heard_ms.saturating_add(self.stream_silence_ms())),
        };
        let abort = self
            .has_active()
            .then(|| self.heard_ms.saturating_add(self.pace.abort_after_ms));
        let leaving = self.leaving.as_ref().and_then(Leaving::next_deadline);
        let beat = self.next_collection();
        [limit, link, abort, leaving, beat]
            .into_iter()
            .flatten()
            .min()
    }

    /// True once there is nothing left to do: the driver may end.
    pub fn is_finished(&self) -> bool {
        self.finished
    }

    /// True while the worker is on its way out.
    pub fn is_leaving(&self) -> bool {
        self.leaving.is_some()
    }

    /// True where a lease is held: running, waiting, or with a result not acknowledged.
    pub fn holds_leases(&self) -> bool {
        !self.leases.is_empty()
    }

    /// True where a handler still occupies a slot.
    pub fn occupied(&self) -> usize {
        self.slots.len()
    }

    /// What became of everything so far.
    pub fn report(&self) -> StopReport {
        let unreported = u64::try_from(self.leases.len()).unwrap_or(u64::MAX);
        StopReport {
            unreported,
            ..self.counts
        }
    }

    fn receive(&mut self, now_ms: u64, message: work_response::Message, out: &mut Vec<Action>) {
        use work_response::Message;
        match message {
            Message::Welcome(welcome) => self.welcome(now_ms, &welcome, out),
            Message::Deliveries(batch) => {
                for delivery in batch.deliveries {
                    self.deliver(now_ms, delivery);
                }
            }
            Message::ReportAcks(batch) => {
                for ack in batch.acks {
                    self.acknowledged(ack, out);
                }
            }
            Message::Cancels(batch) => {
                for cancel in batch.cancels {
                    self.cancelled(now_ms, cancel, out);
                }
            }
            Message::Timeouts(batch) => {
                for change in batch.changes {
                    self.limits_changed(&change, out);
                }
            }
            Message::Ping(ping) => self.pong = Some(ping.nonce),
            Message::Drain(drain) => {
                let deadline = drain.deadline.map(wire::duration);
                self.drain(now_ms, drain.reason, deadline);
            }
            Message::Reconnect(again) => {
                self.link = Link::Down;
                let after = again.after.map(wire::duration);
                out.push(Action::Disconnect {
                    after,
                    reason: again.reason,
                });
            }
            Message::Refusal(refusal) => out.push(Action::Refused(refusal)),
            Message::HeartbeatAcks(batch) => {
                for ack in batch.acks {
                    self.beat_answered(now_ms, ack, out);
                }
            }
        }
    }

    fn welcome(&mut self, now_ms: u64, welcome: &Welcome, actions: &mut Vec<Action>) {
        if !matches!(self.link, Link::Greeting { .. }) {
            return;
        }
        self.link = Link::Up;
        self.session_id.clone_from(&welcome.session_id);
        self.pace = wire::pace(welcome);

        for token in &welcome.lost {
            // A result is reported again all the same: the answer says whether it was recorded
            // before, when only the acknowledgement was lost.
            let ended = self.leases.get(token);
            if ended.is_some_and(|lease| matches!(lease.hold, Hold::Ended { .. })) {
                continue;
            }
            self.lose(now_ms, token, StopReason::LeaseLost, actions);
        }
        if !welcome.resumed {
            // Results outlive the session: each is answered for what it is. What runs does not.
            self.received_through = 0;
            for token in self.active_tokens() {
                self.lose(now_ms, &token, StopReason::LeaseLost, actions);
            }
        }
        self.unsent.clear();
        for (token, lease) in &self.leases {
            if matches!(lease.hold, Hold::Ended { .. }) {
                self.unsent.push_back(token.clone());
            }
        }
        self.receipt_due = !self.buffer.is_empty();
        self.repeat_beats();
    }

    fn tick(&mut self, now_ms: u64, actions: &mut Vec<Action>) {
        while let Some(&(at, run, limit)) = self.limits.first() {
            if at > now_ms {
                break;
            }
            self.limits.pop_first();
            self.limit_reached(now_ms, run, limit, actions);
        }
        if self.has_active() && now_ms >= self.heard_ms.saturating_add(self.pace.abort_after_ms) {
            for token in self.active_tokens() {
                self.lose(now_ms, &token, StopReason::LeaseLost, actions);
            }
            self.untold = true;
        }
        let reason = match self.link {
            Link::Greeting { since_ms } if now_ms >= since_ms.saturating_add(WELCOME_WITHIN_MS) => {
                "the coordinator did not answer the hello"
            }
            Link::Up if now_ms >= self.heard_ms.saturating_add(self.stream_silence_ms()) => {
                "the coordinator fell silent"
            }
            Link::Down | Link::Greeting { .. } | Link::Up => return,
        };
        self.leave_stream(reason, actions);
    }

    /// Leaves a stream on which the coordinator is heard again after runs were lost to its silence:
    /// only a Hello says what is held no more. Where it stays silent its grace ends the leases, and
    /// leaving would only make a network that is deaf one way grant and lose them again.
    fn tell_lost(&mut self, actions: &mut Vec<Action>) {
        if self.untold && self.link != Link::Down {
            self.leave_stream("the coordinator was silent for too long", actions);
        }
    }

    fn leave_stream(&mut self, reason: &str, actions: &mut Vec<Action>) {
        self.link = Link::Down;
        actions.push(Action::Disconnect {
            after: None,
            reason: reason.to_owned(),
        });
    }

    fn stream_silence_ms(&self) -> u64 {
        let pings = if self.leases.is_empty() {
            IDLE_SILENCE_PINGS
        } else {
            STREAM_SILENCE_PINGS
        };
        self.pace.ping_ms.saturating_mul(pings)
    }

    /// How much the worker will hold, as things stand.
    fn capacity(&self) -> Capacity {
        let draining = self.leaving.is_some();
        let slots = self.config.slots.saturating_sub(self.stuck);
        let tasks_max = if draining {
            0
        } else {
            slots.saturating_add(self.config.prefetch)
        };
        Capacity {
            tasks_max,
            bytes_max: self.config.bytes_max,
            draining,
        }
    }

    fn has_active(&self) -> bool {
        self.running > 0 || !self.buffer.is_empty()
    }

    fn active_tokens(&self) -> Vec<Bytes> {
        self.leases
            .iter()
            .filter(|(_, lease)| !matches!(lease.hold, Hold::Ended { .. }))
            .map(|(token, _)| token.clone())
            .collect()
    }
}

/// How much of `duration` there is, in whole milliseconds, rounded up: a limit is never early.
fn millis_up(duration: Duration) -> u64 {
    let whole = millis(duration);
    let exact = Duration::from_millis(whole) >= duration;
    if exact {
        whole
    } else {
        whole.saturating_add(1)
    }
}
