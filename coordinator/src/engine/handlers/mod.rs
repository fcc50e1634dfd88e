//! Each command to its handler, one exhaustive match.
//!
//! Owns the routing, and what ends every step: ready tasks are given to those who want work, and
//! queues forget what is beyond their history. A handler that refuses has recorded nothing.

mod beat;
mod cancel;
mod dead;
mod dispatch;
mod edit;
mod end_run;
mod enqueue;
pub(super) mod epoch;
mod follow_up;
mod journal;
mod kind;
mod lease;
mod leaving;
mod query;
mod queue;
mod reference;
mod remember;
mod resolve;
mod session;
mod settle;
mod tick;
mod transfer;
mod unique;

pub(super) use beat::Beat;

use super::command::{Call, Caller, Command, FromWorker, TaskRef};
use super::effect::Answer;
use super::event::Event;
use super::ids::{LinkId, QueueName, RequestId, ShardId, TaskId};
use super::limits;
use super::rejection::Rejection;
use super::step::Step;

/// Handles one command.
pub(super) fn handle(step: &mut Step<'_>, command: Command) {
    match command {
        Command::Call {
            request,
            caller,
            call,
        } => {
            if let Some(reply) = remember::once(step, request, caller, call) {
                step.reply(request, reply);
            }
        }
        Command::Hangup { request } => lease::hang_up(step, request),
        Command::Hello { link, hello } => session::hello(step, link, *hello),
        Command::FromWorker { link, message } => from_worker(step, link, message),
        Command::LinkClosed { link } => session::link_closed(step, link),
        Command::Transfer(transfer) => transfer::handle(step, transfer),
        Command::Late { ms } => tick::late(step, ms),
        Command::Tick => tick::handle(step),
        Command::OpenSegment => journal::open_segment(step),
        Command::DiskFull(full) => step.set_disk_full(full),
        Command::Shutdown => leaving::shut_down(step),
    }
    dispatch::fill(step);
    forget_beyond_history(step);
}

/// Handles a call of somebody; `None` where the reply comes later.
fn call_now(
    step: &mut Step<'_>,
    request: RequestId,
    caller: &Caller,
    call: Call,
) -> Option<Result<Answer, Rejection>> {
    let by = &caller.by;
    let reply = match call {
        Call::Refresh(refresh) => Ok(journal::refresh(step, &refresh)),
        Call::SegmentsCleaned { below } => Ok(journal::segments_cleaned(step, below)),
        Call::Enqueue(enqueue) => enqueue::handle(step, enqueue, caller),
        Call::GetTask(task) => on(step, &task, |step, id| query::get_task(step, id)),
        Call::ListTasks(list) => Ok(query::list_tasks(step, &list)),
        Call::WaitTask { task, timeout_ms } => match reference::id_of(step, &task) {
            Ok(id) => return query::wait_task(step, request, id, timeout_ms),
            Err(unknown) => Err(unknown),
        },
        Call::CancelTask { task, cancel } => on(step, &task, |step, id| {
            cancel::cancel(step, id, &cancel, by)
        }),
        Call::UpdateTask { task, change } => {
            on(step, &task, |step, id| edit::update(step, id, &change, by))
        }
        Call::LeaseTasks(lease) => return lease::lease_tasks(step, request, lease),
        Call::ReportTasks(reports) => Ok(Answer::Acks(settle::reports(step, None, reports))),
        Call::ExtendLeases {
            tokens,
            ttl_ms,
            beats,
        } => Ok(lease::extend(step, &tokens, ttl_ms, beats)),
        Call::ListWorkers { namespace, queue } => {
            Ok(query::list_workers(step, &namespace, queue.as_ref()))
        }
        Call::DrainWorkers {
            namespace,
            workers,
            reason,
            deadline_ms,
        } => Ok(leaving::drain(
            step,
            &namespace,
            &workers,
            &reason,
            deadline_ms,
        )),
        Call::GetQueue(queue) => query::get_queue(step, &queue),
        Call::ListQueues {
            namespace,
            after,
            count_max,
        } => Ok(query::list_queues(
            step,
            &namespace,
            after.as_ref(),
            count_max,
        )),
        Call::ConfigureQueue { queue, change } => queue::configure(step, &queue, change),
        Call::PauseQueue { queue, reason } => queue::pause(step, &queue, &reason, by),
        Call::ResumeQueue(queue) => queue::resume(step, &queue),
        Call::RedriveTask {
            task,
            delay_ms,
            reason,
        } => on(step, &task, |step, id| {
            dead::redrive(step, id, delay_ms, (by, &reason))
        }),
        Call::DiscardTask { task, reason } => on(step, &task, |step, id| {
            dead::discard(step, id, (by, &reason))
        }),
        Call::SetKind { .. } | Call::GetKind(_) | Call::ListKinds { .. } | Call::DeleteKind(_) => {
            kind::call(step, call)
        }
        Call::Bulk(bulk) => Ok(dead::bulk(step, &bulk, by)),
        Call::ServerFacts => Ok(query::server_facts(step)),
    };
    Some(reply)
}

/// Does something with the task that is meant.
fn on(
    step: &mut Step<'_>,
    task: &TaskRef,
    act: impl FnOnce(&mut Step<'_>, TaskId) -> Result<Answer, Rejection>,
) -> Result<Answer, Rejection> {
    let id = reference::id_of(step, task)?;
    act(step, id)
}

fn from_worker(step: &mut Step<'_>, link: LinkId, message: FromWorker) {
    let Some(id) = step.sessions().of_link(link) else {
        session::refuse_stranger(step, link);
        return;
    };
    session::heard(step, id);
    match message {
        FromWorker::Capacity(capacity) => session::capacity(step, id, capacity),
        FromWorker::Receipt { through, buffered } => {
            session::receipt(step, id, through, &buffered);
        }
        FromWorker::Reports(reports) => session::reports(step, id, link, reports),
        FromWorker::Heartbeats(beats) => beat::on_stream(step, link, beats),
        FromWorker::Pong => {}
        FromWorker::Goodbye => session::goodbye(step, id),
    }
}

/// How many finished tasks a queue keeps.
fn kept_of(step: &Step<'_>, shard: ShardId, queue: &QueueName) -> usize {
    let settings = step.ledger(shard).queue(queue).map(|queue| &queue.settings);
    let said = settings.and_then(|settings| settings.finished_max);
    match said {
        Some(max) => max as usize,
        None => step.config().finished_per_queue_max,
    }
}

/// How many finished tasks beyond those to be kept gather before they are forgotten in one event:
/// few where few are kept.
fn slack_of(keep: usize) -> usize {
    (keep / 8).clamp(1, limits::FINISHED_SLACK_MAX)
}

/// Queues that gained a finished task, or are to keep fewer, forget the oldest beyond their history, some at a time.
fn forget_beyond_history(step: &mut Step<'_>) {
    for queue in step.take_crowded() {
        let shard = step.shard_of(&queue);
        let keep = kept_of(step, shard, &queue);
        let Some(index) = step.agenda(shard).queue(&queue) else {
            continue;
        };
        if index.finished_count() < keep + slack_of(keep) {
            continue;
        }
        loop {
            let index = step.agenda(shard).queue(&queue);
            let ids = index.map(|index| index.finished_beyond(keep, limits::FORGET_ITEMS_MAX));
            let Some(ids) = ids.filter(|ids| !ids.is_empty()) else {
                break;
            };
            step.record(shard, Event::TasksForgotten { ids });
        }
    }
}
