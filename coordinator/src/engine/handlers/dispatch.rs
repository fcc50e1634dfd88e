//! Gives ready tasks to those who want work.
//!
//! Owns the matching (rule 18) and the grant: a lease is recorded before it is told. Never looks at
//! a task that it cannot deliver, never gives more than was asked for (I10).

use crate::engine::agenda::{Aging, QueueIndex};
use crate::engine::clocks::Alarm;
use crate::engine::command::KindServed;
use crate::engine::effect::{Answer, Delivery, ToWorker};
use crate::engine::event::Event;
use crate::engine::ids::{
    Fence, LeaseToken, QueueName, RequestId, SessionId, ShardId, TaskId, Timestamp,
};
use crate::engine::ledger::task::{Holder, Task};
use crate::engine::limits;
use crate::engine::sessions::{Held, Member, worker_of};
use crate::engine::step::Step;
use crate::engine::subscriptions::{Ready, Subscription, by_lot, had_turn, whose_turn};
use crate::mutants::{self, Mutant};

use super::{resolve, tick};

/// Matches what became ready with who wants work, until one of them is used up.
pub(super) fn fill(step: &mut Step<'_>) {
    loop {
        let (members, queues) = (step.take_dirty_members(), step.take_dirty_queues());
        if members.is_empty() && queues.is_empty() {
            break;
        }
        for member in members {
            while step.sessions_mut().refresh(member) && serve(step, member) {}
        }
        for queue in queues {
            offer(step, &queue);
        }
    }
    answer_polls(step);
}

/// Gives one task to a member, from the queue whose turn it is.
fn serve(step: &mut Step<'_>, member: Member) -> bool {
    if step.shutting_down() {
        return false;
    }
    let (mut ready, mut blocked) = (Vec::new(), Vec::new());
    let full = step.is_full();
    let Some((queues, kinds)) = wishes(step, member) else {
        return false;
    };
    for (index, sub) in queues.iter().enumerate() {
        let Some(id) = first_ready(step, sub.shard, &sub.queue, kinds) else {
            continue;
        };
        // A full step cannot end it, and its queue is looked at again when it ends: the others are
        // not to wait for that.
        if full && tick::should_be_over(step, id) {
            continue;
        }
        if has_room(step, member, id) {
            ready.push((index, id));
        } else {
            blocked.push(sub.queue.clone());
        }
    }
    for queue in blocked {
        step.block_queue(queue);
    }
    let Some(((index, id), queue)) = choose(step, member, &ready) else {
        return false;
    };
    if tick::is_over(step, id) {
        return !step.is_full();
    }
    if let Member::Session(session) = member
        && let Some(session) = step.sessions_mut().get_mut(session)
    {
        had_turn(&mut session.queues, index);
    }
    grant(step, member, id);
    step.sessions_mut().served(&queue, member);
    true
}

/// What a member gets next, of the first tasks of its queues. A session's queues take turns; a call is
/// there once and remembers none, so it draws lots.
fn choose(step: &mut Step<'_>, member: Member, ready: &[Ready]) -> Option<(Ready, QueueName)> {
    let random = match member {
        Member::Poll(_) if ready.len() > 1 => step.random_u64(),
        Member::Poll(_) | Member::Session(_) => 0,
    };
    let (queues, _) = wishes(step, member)?;
    let chosen = match member {
        Member::Session(_) => whose_turn(queues, ready)?,
        Member::Poll(_) => by_lot(queues, ready, random)?,
    };
    Some((chosen, queues[chosen.0].queue.clone()))
}

/// What a member wants: its queues and the kinds that it runs.
fn wishes<'s>(
    step: &'s Step<'_>,
    member: Member,
) -> Option<(&'s [Subscription], &'s [KindServed])> {
    match member {
        Member::Session(id) => {
            let session = step.sessions().get(id)?;
            Some((&session.queues, &session.info.kinds))
        }
        Member::Poll(request) => {
            let poll = step.sessions().polls.get(&request)?;
            Some((&poll.queues, &poll.info.kinds))
        }
    }
}

/// Gives a queue's ready tasks to those who want them, in turn.
fn offer(step: &mut Step<'_>, queue: &QueueName) {
    let shard = step.shard_of(queue);
    while has_ready(step, shard, queue) {
        let Some(first) = step.sessions().next_hungry(queue) else {
            return;
        };
        if offer_to(step, first) {
            // Be it with a task of another queue: its turn here is over.
            step.sessions_mut().served(queue, first);
            continue;
        }
        // The one whose turn it is cannot run what is ready: ask the others, once around.
        let others = step.sessions().hungry_of(queue);
        let mut others = others.into_iter().filter(|other| *other != first);
        if !others.any(|member| offer_to(step, member)) {
            return;
        }
    }
}

/// Gives one member one task, if there is one for it: of the queue whose turn it is there, be it
/// another than the one that has something new.
fn offer_to(step: &mut Step<'_>, member: Member) -> bool {
    let gets = step.sessions_mut().refresh(member) && serve(step, member);
    if gets {
        step.sessions_mut().refresh(member);
    }
    gets
}

/// Whether a queue has a ready task that may be given to somebody.
fn has_ready(step: &Step<'_>, shard: ShardId, queue: &QueueName) -> bool {
    let known = step.ledger(shard).queue(queue);
    let index = step.agenda(shard).queue(queue);
    let ignored = mutants::is(Mutant::PauseIgnored);
    known.is_some_and(|queue| queue.paused.is_none() || ignored)
        && index.is_some_and(QueueIndex::has_ready)
}

/// The ready task of a queue that goes first for somebody who runs these kinds.
fn first_ready(
    step: &Step<'_>,
    shard: ShardId,
    queue: &QueueName,
    kinds: &[KindServed],
) -> Option<TaskId> {
    let ledger = step.ledger(shard);
    let ignored = mutants::is(Mutant::PauseIgnored);
    let known = ledger
        .queue(queue)
        .filter(|queue| queue.paused.is_none() || ignored)?;
    let aging_ms = known.settings.aging_ms;
    let aging_ms = aging_ms.unwrap_or_else(|| step.config().aging_ms);
    let aging = Aging {
        aging_ms,
        now: step.now(),
        ledger,
    };
    let ages = aging_ms > 0 && !mutants::is(Mutant::AgingIgnored);
    let aging = ages.then_some(&aging);
    step.agenda(shard).queue(queue)?.first_ready(kinds, aging)
}

fn has_room(step: &Step<'_>, member: Member, id: TaskId) -> bool {
    let task = step.task(id).expect("ready tasks exist");
    match member {
        Member::Session(session) => {
            let bytes = task.payload.data.len() as u64;
            step.sessions()
                .get(session)
                .is_some_and(|session| session.has_room(bytes))
        }
        Member::Poll(request) => step.sessions().polls.get(&request).is_some_and(|poll| {
            poll.has_room(task.bytes())
                && step.unary_held(&poll.info.worker) < limits::UNARY_LEASES_MAX
        }),
    }
}

/// Records a lease and delivers the task.
fn grant(step: &mut Step<'_>, member: Member, id: TaskId) {
    let shard = id.shard();
    let nonce = step.random_u64();
    let at = step.now();
    let task = step.task(id).expect("ready tasks exist");
    let bytes = task.payload.data.len() as u64;
    let fence = Fence::new(step.ledger(shard).epoch(), task.runs() + 1);
    let timeouts = resolve::timeouts(step, task, &resolve::policy(step, task));
    let (delivery, _) = resolve::delivery(step, task);
    let queue = task.queue.clone();
    let (holder, worker) = match member {
        Member::Session(session) => {
            let info = &step.sessions().get(session).expect("it wants work").info;
            (Holder::Session(session), worker_of(info))
        }
        Member::Poll(request) => {
            let poll = step.sessions().polls.get(&request).expect("it wants work");
            let ttl_ms = poll.ttl_ms;
            (Holder::Unary { ttl_ms }, worker_of(&poll.info))
        }
    };
    let event = Event::LeaseGranted {
        id,
        fence,
        nonce,
        holder,
        worker,
        at,
        timeouts,
        started: matches!(holder, Holder::Unary { .. }),
        delivery,
    };
    step.record(shard, event);
    step.unblock_queue(&queue);
    let token = LeaseToken {
        task: id,
        fence,
        nonce,
    };
    match member {
        Member::Session(session) => deliver(step, session, token, bytes),
        Member::Poll(request) => take(step, request, token),
    }
}

/// Adds a leased task to the answer of a call that waits for work.
fn take(step: &mut Step<'_>, request: RequestId, token: LeaseToken) {
    let (id, at) = (token.task, step.now());
    let task = step.task(id).expect("leased a moment ago");
    let (bytes, worker) = (task.bytes(), task.lease().map(|lease| lease.worker.clone()));
    step.unary_hold(&worker.expect("leased a moment ago"));
    set_limits(step, id, Some(at));
    let delivery = delivery(step, token, 0);
    let poll = step
        .sessions_mut()
        .polls
        .get_mut(&request)
        .expect("it wants work");
    poll.room -= 1;
    poll.taken_bytes += bytes;
    let is_first = poll.taken.is_empty();
    poll.taken.push(delivery);
    let until = at.plus_ms(poll.ttl_ms);
    if !mutants::is(Mutant::UnaryLeaseForEver) {
        step.clocks_mut().set(Alarm::Life(id), until);
    }
    if is_first {
        step.note_served_poll(request);
    }
}

/// Sends a leased task on its way to the session that holds it.
fn deliver(step: &mut Step<'_>, id: SessionId, token: LeaseToken, bytes: u64) {
    let now = step.now();
    let ping_ms = step.config().ping_ms;
    let lateness = step.sessions().lateness_ms;
    let session = step.sessions_mut().get_mut(id).expect("it wants work");
    let was_idle = session.held.is_empty();
    let room = session.capacity.tasks_max as usize;
    assert!(session.held.len() < room, "never more than asked for (I10)");
    session.sequence += 1;
    let sequence = session.sequence;
    session.undelivered.insert(sequence, token.task);
    let held = Held {
        fence: token.fence,
        bytes,
        sequence,
        begun_at: None,
        limits_changed: false,
    };
    session.hold(token.task, held);
    let link = session.link.expect("who wants work has a stream");
    if was_idle {
        // Silence while it held nothing is no sign of anything: it is pinged at leisure then.
        session.heard(now, lateness);
        session.next_ping_at = session.next_ping_at.min(now.plus_ms(ping_ms));
        let next = session.next_ping_at;
        step.sessions_mut().wake_at(id, next);
    }
    let delivery = Box::new(delivery(step, token, sequence));
    step.tell(link, ToWorker::Delivery(delivery));
}

/// All that a handler needs.
fn delivery(step: &Step<'_>, token: LeaseToken, sequence: u64) -> Delivery {
    let task = step.task(token.task).expect("it was leased a moment ago");
    let policy = resolve::policy(step, task);
    let (side, more) = (task.side.as_deref(), task.more());
    let end_by = task.life().and_then(|life| life.end_by());
    Delivery {
        sequence,
        token,
        queue: task.queue.clone(),
        kind: task.kind.clone(),
        payload: task.payload.clone(),
        priority: task.priority,
        labels: side.map(|side| side.labels.clone()).unwrap_or_default(),
        enqueued_at: task.enqueued_at,
        attempt: task.attempt(),
        attempts_max: resolve::attempts_max(step, task, &policy),
        crashes: task.tally().crashes,
        timeouts: task.lease().map(|lease| lease.timeouts).unwrap_or_default(),
        previous_failure: side.and_then(|side| side.last_failure.clone()),
        checkpoint: side.and_then(|side| side.checkpoint.clone()),
        version: task.version,
        deadline_ms: end_by.map(|end_by| end_by.since_ms(step.now())),
        key: more.and_then(|more| more.key.clone()),
        cause: more.and_then(|more| more.cause),
        delivery: task.lease().map(|lease| lease.delivery).unwrap_or_default(),
    }
}

/// Sets the alarms of a run's limits, counted from its start; none where it has not begun.
pub(super) fn set_limits(step: &mut Step<'_>, id: TaskId, started_at: Option<Timestamp>) {
    let Some(started_at) = started_at else { return };
    let task = step.task(id).expect("leased tasks exist");
    let Some(timeouts) = task.lease().map(|lease| lease.timeouts) else {
        return;
    };
    let current = is_of_this_epoch(step, task);
    let margin_ms = step.config().hard_margin_ms;
    let earliest = super::epoch::earliest_end(step, current);
    let soft = timeouts.soft_ms.map(|ms| started_at.plus_ms(ms));
    let hard = timeouts
        .hard_ms
        .map(|ms| started_at.plus_ms(ms).plus_ms(margin_ms).max(earliest));
    let clocks = step.clocks_mut();
    for (alarm, at) in [(Alarm::Soft(id), soft), (Alarm::Hard(id), hard)] {
        match at {
            Some(at) => clocks.set(alarm, at),
            None => clocks.clear(alarm),
        }
    }
}

fn is_of_this_epoch(step: &Step<'_>, task: &Task) -> bool {
    let epoch = step.ledger(task.id.shard()).epoch();
    task.lease()
        .is_some_and(|lease| lease.fence == Fence::new(epoch, task.runs()))
}

/// Calls that got something are answered with all they got.
fn answer_polls(step: &mut Step<'_>) {
    for request in step.take_served_polls() {
        finish_poll(step, request);
    }
}

/// Answers a call that waits for work with what it got, be it nothing.
pub(super) fn finish_poll(step: &mut Step<'_>, request: RequestId) {
    step.sessions_mut().starve(Member::Poll(request));
    if let Some(poll) = step.sessions_mut().polls.remove(&request) {
        step.clocks_mut().clear(Alarm::Wait(request));
        step.reply(request, Ok(Answer::Leased(poll.taken)));
    }
}
