//! Who is there to work: worker sessions, and calls that wait for work. Volatile.
//!
//! Owns liveness, capacity, what each session holds, and the turn-taking among those that want
//! work. Never holds a fact: after a restart sessions are made anew from the leases that name them.

use crate::mutants::{self, Mutant};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::command::{Capacity, WorkerInfo};
use super::effect::WorkerState;
use super::ids::{Fence, LinkId, QueueName, RequestId, SessionId, TaskId, Timestamp};
use super::ledger::history::RunOutcome;
use super::limits;
use super::subscriptions::Subscription;

/// One that wants work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Member {
    /// A session.
    Session(SessionId),
    /// A call that waits for work.
    Poll(RequestId),
}

/// A lease that a session holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) fence: Fence,
    pub(super) bytes: u64,
    /// The sequence of its delivery; 0 where that is not known (any more).
    pub(super) sequence: u64,
    /// When a receipt showed that it began; the fact is recorded at the end of the turn.
    pub(super) begun_at: Option<Timestamp>,
    /// Its limits may be others than those of its delivery: they are told again after a resume.
    pub(super) limits_changed: bool,
}

/// One worker process, over all its reconnects.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: SessionId,
    pub(super) info: WorkerInfo,
    pub(super) queues: Vec<Subscription>,
    pub(super) capacity: Capacity,
    pub(super) link: Option<LinkId>,
    pub(super) since: Timestamp,
    pub(super) held: BTreeMap<TaskId, Held>,
    held_bytes: u64,
    /// Deliveries that no receipt has covered as begun.
    pub(super) undelivered: BTreeMap<u64, TaskId>,
    pub(super) sequence: u64,
    pub(super) received_through: u64,
    heard_at: Timestamp,
    heard_lateness_ms: u64,
    pub(super) next_ping_at: Timestamp,
    pub(super) nonce: u64,
    pub(super) suspect: bool,
    /// An operator asked it to leave: why, and when the rest should be given back.
    pub(super) drain_asked: Option<(Arc<str>, Option<u64>)>,
    /// Its time is over; its leases are being ended.
    pub(super) lost: bool,
    /// It left for good; its leases are being given back.
    pub(super) gone: bool,
    /// What it did not list when it came back, as far as that is not ended yet, and whether it may have
    /// run there.
    pub(super) unlisted: BTreeMap<TaskId, bool>,
    settled: VecDeque<(TaskId, Fence, RunOutcome)>,
}

impl Session {
    pub(super) fn new(
        id: SessionId,
        info: WorkerInfo,
        queues: Vec<Subscription>,
        now: Timestamp,
        lateness_ms: u64,
    ) -> Self {
        Self {
            id,
            info,
            queues,
            capacity: Capacity::default(),
            link: None,
            since: now,
            held: BTreeMap::new(),
            held_bytes: 0,
            undelivered: BTreeMap::new(),
            sequence: 0,
            received_through: 0,
            heard_at: now,
            heard_lateness_ms: lateness_ms,
            next_ping_at: now,
            nonce: 0,
            suspect: false,
            drain_asked: None,
            lost: false,
            gone: false,
            unlisted: BTreeMap::new(),
            settled: VecDeque::new(),
        }
    }

    /// How long nothing was heard of it while the engine listened (rule 10).
    pub(super) const fn silence_ms(&self, now: Timestamp, lateness_ms: u64) -> u64 {
        let deaf = lateness_ms - self.heard_lateness_ms;
        now.since_ms(self.heard_at).saturating_sub(deaf)
    }

    /// It gave a sign of life.
    pub(super) const fn heard(&mut self, now: Timestamp, lateness_ms: u64) {
        self.heard_at = now;
        self.heard_lateness_ms = lateness_ms;
        self.suspect = false;
    }

    /// Whether it may be given a task of so many bytes.
    pub(super) fn has_room(&self, bytes: u64) -> bool {
        let room = match self.capacity.bytes_max {
            Some(max) => self.held.is_empty() || self.held_bytes.saturating_add(bytes) <= max,
            None => true,
        };
        room && self.wants_work()
    }

    /// Whether it wants work at all.
    pub(super) fn wants_work(&self) -> bool {
        let tasks = u32::try_from(self.held.len()).unwrap_or(u32::MAX);
        self.link.is_some()
            && !self.suspect
            && !self.lost
            && !self.gone
            && self.drain_asked.is_none()
            && tasks < self.capacity.tasks_max + u32::from(mutants::is(Mutant::CapacityExceeded))
    }

    pub(super) fn hold(&mut self, task: TaskId, held: Held) {
        self.held_bytes += held.bytes;
        let double = self.held.insert(task, held);
        assert!(double.is_none(), "one holder at a time (I3)");
    }

    /// A held lease is known to have begun; false where that was known before.
    pub(super) fn begin(&mut self, task: TaskId, now: Timestamp) -> bool {
        let Some(held) = self.held.get_mut(&task) else {
            return false;
        };
        self.undelivered.remove(&held.sequence);
        let is_news = held.begun_at.is_none();
        held.begun_at = held.begun_at.or(Some(now));
        is_news
    }

    /// A held lease was not listed by the worker that came back: it is to be ended. No receipt speaks
    /// of its delivery any more.
    pub(super) fn unlist(&mut self, task: TaskId, may_have_run: bool) {
        if let Some(held) = self.held.get(&task) {
            self.undelivered.remove(&held.sequence);
            self.unlisted.insert(task, may_have_run);
        }
    }

    /// A held lease waits in the worker's buffer, under this sequence.
    pub(super) fn wait_in_buffer(&mut self, task: TaskId, sequence: u64) {
        let Some(held) = self.held.get_mut(&task) else {
            return;
        };
        if held.begun_at.is_none() && held.sequence != sequence {
            self.undelivered.remove(&held.sequence);
            held.sequence = sequence;
            self.sequence = self.sequence.max(sequence);
            if sequence > 0 {
                self.undelivered.insert(sequence, task);
            }
        }
    }

    /// The lease is over, however it ended.
    pub(super) fn let_go(&mut self, task: TaskId, outcome: RunOutcome) {
        self.unlisted.remove(&task);
        if let Some(held) = self.held.remove(&task) {
            self.held_bytes -= held.bytes;
            self.undelivered.remove(&held.sequence);
            if self.settled.len() == limits::SETTLED_TOKENS_MAX {
                self.settled.pop_front();
            }
            self.settled.push_back((task, held.fence, outcome));
        }
    }

    /// How a run that it held ended, if that was lately.
    pub(super) fn settled(&self, task: TaskId, fence: Fence) -> Option<RunOutcome> {
        let mut latest = self.settled.iter().rev();
        latest
            .find(|(t, f, _)| *t == task && *f == fence)
            .map(|(_, _, outcome)| *outcome)
    }

    pub(super) const fn state(&self) -> WorkerState {
        if self.link.is_none() {
            WorkerState::Disconnected
        } else if self.drain_asked.is_some() || self.capacity.draining {
            WorkerState::Draining
        } else if self.suspect {
            WorkerState::Suspect
        } else {
            WorkerState::Live
        }
    }
}

/// A call that waits for work.
#[derive(Debug)]
pub(super) struct Poll {
    pub(super) info: WorkerInfo,
    pub(super) queues: Vec<Subscription>,
    pub(super) room: u32,
    pub(super) ttl_ms: u64,
    pub(super) taken: Vec<super::effect::Delivery>,
    pub(super) taken_bytes: u64,
}

impl Poll {
    /// Whether a task of so many bytes fits its answer.
    pub(super) fn has_room(&self, bytes: u64) -> bool {
        let fits = self.taken_bytes.saturating_add(bytes) <= limits::UNARY_ANSWER_BYTES_MAX;
        self.room > 0 && (fits || self.taken.is_empty())
    }
}

/// All that want work, and who is next.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    by_id: BTreeMap<SessionId, Session>,
    by_link: BTreeMap<LinkId, SessionId>,
    pub(super) polls: BTreeMap<RequestId, Poll>,
    hungry: BTreeMap<QueueName, Hungry>,
    wakes: BTreeSet<(Timestamp, SessionId)>,
    wake_of: BTreeMap<SessionId, Timestamp>,
    /// Milliseconds that the engine was not listening, in all.
    pub(super) lateness_ms: u64,
    linked: u64,
}

/// Those that want work from one queue, served in turn.
#[derive(Debug, Default)]
struct Hungry {
    members: BTreeSet<Member>,
    latest: Option<Member>,
}

impl Sessions {
    pub(super) fn get(&self, id: SessionId) -> Option<&Session> {
        self.by_id.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: SessionId) -> Option<&mut Session> {
        self.by_id.get_mut(&id)
    }

    pub(super) fn of_link(&self, link: LinkId) -> Option<SessionId> {
        self.by_link.get(&link).copied()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Session> {
        self.by_id.values()
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Sessions that have a stream.
    pub(super) const fn linked(&self) -> u64 {
        self.linked
    }

    pub(super) fn insert(&mut self, session: Session) {
        assert!(session.link.is_none(), "links are attached afterwards");
        self.by_id.insert(session.id, session);
    }

    /// Gives a session its stream; answers the one it had.
    pub(super) fn attach(&mut self, id: SessionId, link: LinkId) -> Option<LinkId> {
        let before = self.detach(id);
        let session = self.by_id.get_mut(&id)?;
        session.link = Some(link);
        self.by_link.insert(link, id);
        self.linked += 1;
        before
    }

    /// Takes a session's stream away; answers it.
    pub(super) fn detach(&mut self, id: SessionId) -> Option<LinkId> {
        let link = self.by_id.get_mut(&id)?.link.take()?;
        self.by_link.remove(&link);
        self.linked -= 1;
        self.refresh(Member::Session(id));
        Some(link)
    }

    /// Forgets a session that holds nothing any more.
    pub(super) fn remove(&mut self, id: SessionId) -> Option<LinkId> {
        let link = self.detach(id);
        self.starve(Member::Session(id));
        if let Some(at) = self.wake_of.remove(&id) {
            self.wakes.remove(&(at, id));
        }
        let session = self.by_id.remove(&id);
        assert!(
            session.is_none_or(|s| s.held.is_empty()),
            "leases are ended first"
        );
        link
    }

    /// Says when a session is to be looked at next.
    pub(super) fn wake_at(&mut self, id: SessionId, at: Timestamp) {
        if let Some(before) = self.wake_of.insert(id, at) {
            self.wakes.remove(&(before, id));
        }
        self.wakes.insert((at, id));
    }

    pub(super) fn next_wake(&self) -> Option<Timestamp> {
        self.wakes.first().map(|(at, _)| *at)
    }

    /// The first session that is to be looked at by now.
    pub(super) fn due(&self, now: Timestamp) -> Option<SessionId> {
        self.wakes
            .first()
            .filter(|(at, _)| *at <= now)
            .map(|(_, id)| *id)
    }

    /// Whether a member wants work now; puts it among the hungry of its queues, or takes it out.
    pub(super) fn refresh(&mut self, member: Member) -> bool {
        let wants = match member {
            Member::Session(id) => self.by_id.get(&id).is_some_and(Session::wants_work),
            Member::Poll(request) => self.polls.get(&request).is_some_and(|poll| poll.room > 0),
        };
        if wants {
            self.feed(member)
        } else {
            self.starve(member)
        }
        wants
    }

    fn feed(&mut self, member: Member) {
        for queue in self.queues_of(member) {
            self.hungry.entry(queue).or_default().members.insert(member);
        }
    }

    /// Takes a member out of all its queues.
    pub(super) fn starve(&mut self, member: Member) {
        for queue in self.queues_of(member) {
            if let Some(hungry) = self.hungry.get_mut(&queue) {
                hungry.members.remove(&member);
                if hungry.members.is_empty() {
                    self.hungry.remove(&queue);
                }
            }
        }
    }

    /// Those that want work from a queue, the one whose turn it is first.
    pub(super) fn hungry_of(&self, queue: &QueueName) -> Vec<Member> {
        let Some(hungry) = self.hungry.get(queue) else {
            return Vec::new();
        };
        let Some(latest) = hungry.latest else {
            return hungry.members.iter().copied().collect();
        };
        use std::ops::Bound::{Excluded, Unbounded};
        let after = hungry.members.range((Excluded(latest), Unbounded));
        after
            .chain(hungry.members.range(..=latest))
            .copied()
            .collect()
    }

    /// The one whose turn it is.
    pub(super) fn next_hungry(&self, queue: &QueueName) -> Option<Member> {
        use std::ops::Bound::{Excluded, Unbounded};
        let hungry = self.hungry.get(queue)?;
        let after = hungry.latest.map_or(Unbounded, Excluded);
        let next = hungry.members.range((after, Unbounded)).next();
        next.or_else(|| hungry.members.first()).copied()
    }

    /// A member got a task of a queue: the next one's turn comes.
    pub(super) fn served(&mut self, queue: &QueueName, member: Member) {
        if let Some(hungry) = self.hungry.get_mut(queue) {
            hungry.latest = Some(member);
        }
    }

    fn queues_of(&self, member: Member) -> Vec<QueueName> {
        let queues = match member {
            Member::Session(id) => self.by_id.get(&id).map(|session| &session.queues),
            Member::Poll(request) => self.polls.get(&request).map(|poll| &poll.queues),
        };
        queues
            .into_iter()
            .flatten()
            .map(|sub| sub.queue.clone())
            .collect()
    }
}

/// The worker's name as leases keep it.
pub(super) fn worker_of(info: &WorkerInfo) -> Arc<str> {
    info.worker.clone()
}
