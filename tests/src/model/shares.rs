//! What each queue of a worker gets of it (docs/delivery.md, "Order, priority, aging").
//!
//! Owns how far each two queues of a session have moved apart since both have had work all the time,
//! and how far at most before. The bound is that of start-time fair queueing, and holds from any
//! moment to any other.

use std::collections::BTreeMap;

use redrive_coordinator::engine::ids::{QueueName, SessionId};

/// The turns of sessions that run everything.
#[derive(Debug, Default)]
pub(super) struct Shares {
    sessions: BTreeMap<SessionId, Session>,
}

#[derive(Debug)]
struct Session {
    queues: Vec<(QueueName, u32)>,
    /// For queue `i` and queue `j > i`, at `i * n + j`: how far `i` is ahead of `j`.
    apart: Vec<Apart>,
}

/// Grants of one queue times the weight of another, less those of the other times its own, since
/// both have had work; and the lowest and the highest that this has been.
#[derive(Clone, Copy, Debug, Default)]
struct Apart {
    now: i64,
    lowest: i64,
    highest: i64,
}

/// Two queues whose shares are not what their weights say.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unfair {
    /// The one that got a task, and its weight.
    pub(super) got: (QueueName, u32),
    /// The other one.
    pub(super) other: (QueueName, u32),
    /// How far they moved apart, in units of which the sum of the weights is allowed.
    pub(super) apart: i64,
}

impl Shares {
    /// A session serves these queues from now on.
    pub(super) fn begin(&mut self, session: SessionId, queues: &[(QueueName, u32)]) {
        let session_of = Session {
            queues: queues.to_vec(),
            apart: vec![Apart::default(); queues.len() * queues.len()],
        };
        self.sessions.insert(session, session_of);
    }

    /// It may serve others from now on.
    pub(super) fn end(&mut self, session: SessionId) {
        self.sessions.remove(&session);
    }

    pub(super) fn killed(&mut self) {
        self.sessions.clear();
    }

    /// A session is granted a task of this queue, while `has_work` knows of the others. How many
    /// pairs were compared, and one that is beyond its bound.
    pub(super) fn granted(
        &mut self,
        session: SessionId,
        queue: &QueueName,
        has_work: impl Fn(&QueueName) -> bool,
    ) -> (usize, Option<Unfair>) {
        let Some(session) = self.sessions.get_mut(&session) else {
            return (0, None);
        };
        let count = session.queues.len();
        let Some(own) = session.queues.iter().position(|(of, _)| of == queue) else {
            return (0, None);
        };
        let (mut compared, mut unfair) = (0, None);
        for other in (0..count).filter(|other| *other != own) {
            if !has_work(&session.queues[other].0) {
                // With all others, too: it had nothing at this turn.
                for third in 0..count {
                    session.apart[other.min(third) * count + other.max(third)] = Apart::default();
                }
                continue;
            }
            let [(_, own_weight), (_, other_weight)] =
                [&session.queues[own], &session.queues[other]];
            let (own_weight, other_weight) = (i64::from(*own_weight), i64::from(*other_weight));
            let apart = &mut session.apart[own.min(other) * count + own.max(other)];
            apart.now += if own < other {
                other_weight
            } else {
                -other_weight
            };
            apart.lowest = apart.lowest.min(apart.now);
            apart.highest = apart.highest.max(apart.now);
            compared += 1;
            // From any moment to any other: |got / own_weight - got / other_weight| is at most
            // 1 / own_weight + 1 / other_weight.
            let apart = apart.highest - apart.lowest;
            if apart > own_weight + other_weight {
                unfair = Some(Unfair {
                    got: session.queues[own].clone(),
                    other: session.queues[other].clone(),
                    apart,
                });
            }
        }
        (compared, unfair)
    }
}
