//! Work without a stream: lease, extend, hang up.
//!
//! Owns the life of unary leases. They are matched with tasks like sessions are, count as begun
//! from the outset, and end as a crash when nobody extends them.

use crate::engine::clocks::Alarm;
use crate::engine::command::{Heartbeat, LeaseTasks};
use crate::engine::effect::{Answer, Extension};
use crate::engine::ids::{LeaseToken, RequestId};
use crate::engine::ledger::task::Holder;
use crate::engine::limits;
use crate::engine::rejection::Rejection;
use crate::engine::sessions::{Member, Poll};
use crate::engine::step::Step;
use crate::engine::subscriptions::Subscription;

use super::kind::{self, Proposer};
use super::{beat, dispatch};

/// Leases what is ready; waits for the first task where nothing is.
pub(super) fn lease_tasks(
    step: &mut Step<'_>,
    request: RequestId,
    lease: LeaseTasks,
) -> Option<Result<Answer, Rejection>> {
    if step.shutting_down() {
        return Some(Err(Rejection::ShuttingDown));
    }
    if step.wait_count() >= limits::WAITS_MAX {
        let limit = limits::WAITS_MAX as u64;
        return Some(Err(Rejection::LimitReached {
            what: "waiting calls",
            limit,
        }));
    }
    kind::propose(step, &lease.worker, Proposer::Again);
    let free = limits::UNARY_LEASES_MAX - step.unary_held(&lease.worker.worker);
    if free == 0 {
        let limit = limits::UNARY_LEASES_MAX as u64;
        return Some(Err(Rejection::LimitReached {
            what: "leases of this worker",
            limit,
        }));
    }
    let queues = Subscription::of(&lease.worker, step.config().shard_count);
    let poll = Poll {
        info: lease.worker,
        queues,
        room: lease.count_max,
        ttl_ms: lease.ttl_ms,
        taken: Vec::new(),
        taken_bytes: 0,
    };
    step.sessions_mut().polls.insert(request, poll);
    step.touch_member(Member::Poll(request));
    dispatch::fill(step);
    if step.sessions().polls.contains_key(&request) {
        if lease.wait_ms == 0 {
            dispatch::finish_poll(step, request);
        } else {
            let until = step.now().plus_ms(lease.wait_ms);
            step.clocks_mut().set(Alarm::Wait(request), until);
        }
    }
    None
}

/// Gives leases more time.
pub(super) fn extend(
    step: &mut Step<'_>,
    tokens: &[Option<LeaseToken>],
    ttl_ms: u64,
    beats: Vec<Heartbeat>,
) -> Answer {
    let until = step.now().plus_ms(ttl_ms);
    let mut extend = |token: &Option<LeaseToken>| {
        let lease = token.and_then(|token| {
            let task = step.task(token.task)?;
            let lease = task.lease().filter(|_| task.token() == Some(token))?;
            matches!(lease.holder, Holder::Unary { .. })
                .then_some((token.task, lease.cancel_requested))
        });
        match lease {
            Some((task, cancel_requested)) => {
                step.clocks_mut().set(Alarm::Life(task), until);
                Extension {
                    held: true,
                    cancel_requested,
                }
            }
            None => Extension {
                held: false,
                cancel_requested: false,
            },
        }
    };
    let token_of = |beat: &Heartbeat| LeaseToken::parse(&beat.raw_token);
    let renewed: Vec<Option<LeaseToken>> = beats.iter().map(token_of).collect();
    let extensions = tokens.iter().map(&mut extend).collect();
    renewed.iter().for_each(|token| {
        extend(token);
    });
    Answer::Extended(extensions, beat::heartbeats(step, beats))
}

/// A caller went away: it waits no more.
pub(super) fn hang_up(step: &mut Step<'_>, request: RequestId) {
    step.sessions_mut().starve(Member::Poll(request));
    step.sessions_mut().polls.remove(&request);
    step.stop_waiting(request);
    step.clocks_mut().clear(Alarm::Wait(request));
}
