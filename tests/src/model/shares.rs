//! What each queue of a worker gets of it (docs/delivery.md, "Order, priority, aging").
//!
//! Owns the counts of grants for each two queues of a session since both have had work all the
//! time. The bound is that of start-time fair queueing, and holds from any moment to any other.

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
    /// For queue `i` and queue `j`, at `i * n + j`: grants from `i` while both had work.
    had: Vec<u64>,
}

/// Two queues whose shares are not what their weights say.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unfair {
    /// The one that got more, its weight, and what it got.
    pub(super) more: (QueueName, u32, u64),
    /// The other one.
    pub(super) less: (QueueName, u32, u64),
}

impl Shares {
    /// A session serves these queues from now on.
    pub(super) fn begin(&mut self, session: SessionId, queues: &[(QueueName, u32)]) {
        let session_of = Session {
            queues: queues.to_vec(),
            had: vec![0; queues.len() * queues.len()],
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
            let (mine, theirs) = (own * count + other, other * count + own);
            if !has_work(&session.queues[other].0) {
                // With all others, too: it had nothing at this turn.
                for third in 0..count {
                    session.had[other * count + third] = 0;
                    session.had[third * count + other] = 0;
                }
                continue;
            }
            session.had[mine] += 1;
            let (more, less) = (session.had[mine], session.had[theirs]);
            let [(_, own_weight), (_, other_weight)] =
                [&session.queues[own], &session.queues[other]];
            let (own_weight, other_weight) = (u64::from(*own_weight), u64::from(*other_weight));
            compared += 1;
            // |more / own_weight - less / other_weight| <= 1 / own_weight + 1 / other_weight
            if (more * other_weight).saturating_sub(less * own_weight) > own_weight + other_weight {
                let of = |index: usize, got| {
                    let (queue, weight) = &session.queues[index];
                    (queue.clone(), *weight, got)
                };
                unfair = Some(Unfair {
                    more: of(own, more),
                    less: of(other, less),
                });
            }
        }
        (compared, unfair)
    }
}
