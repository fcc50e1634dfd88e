//! Each command to its handler, one exhaustive match.
//!
//! Owns the routing, and what ends every step: ready tasks are given to those who want work, and
//! queues forget what is beyond their history. A handler that refuses has recorded nothing.

mod cancel;
mod dead;
mod dispatch;
mod end_run;
mod enqueue;
pub(super) mod epoch;
mod journal;
mod lease;
mod leaving;
mod query;
mod queue;
mod resolve;
mod session;
mod settle;
mod tick;
mod transfer;

use super::command::{Call, Command, FromWorker};
use super::effect::Answer;
use super::event::Event;
use super::ids::{LinkId, RequestId};
use super::limits;
use super::rejection::Rejection;
use super::step::Step;

/// Handles one command.
pub(super) fn handle(step: &mut Step<'_>, command: Command) {
    match command {
        Command::Call { request, call } => {
            if let Some(reply) = call_now(step, request, call) {
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

/// Handles a call; `None` where the reply comes later.
fn call_now(
    step: &mut Step<'_>,
    request: RequestId,
    call: Call,
) -> Option<Result<Answer, Rejection>> {
    let reply = match call {
        Call::Refresh(refresh) => Ok(journal::refresh(step, &refresh)),
        Call::SegmentsCleaned { below } => Ok(journal::segments_cleaned(step, below)),
        Call::Enqueue(tasks) => enqueue::handle(step, tasks),
        Call::GetTask(id) => query::get_task(step, id),
        Call::ListTasks(list) => Ok(query::list_tasks(step, &list)),
        Call::WaitTask { id, timeout_ms } => {
            return query::wait_task(step, request, id, timeout_ms);
        }
        Call::CancelTask { id, reason } => cancel::cancel(step, id, &reason),
        Call::UpdateTask { id, timeouts } => cancel::update(step, id, timeouts),
        Call::LeaseTasks(lease) => return lease::lease_tasks(step, request, lease),
        Call::ReportTasks(reports) => Ok(Answer::Acks(settle::reports(step, None, reports))),
        Call::ExtendLeases { tokens, ttl_ms } => Ok(lease::extend(step, &tokens, ttl_ms)),
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
        Call::PauseQueue { queue, reason } => queue::pause(step, &queue, &reason),
        Call::ResumeQueue(queue) => queue::resume(step, &queue),
        Call::RedriveTask { id, delay_ms } => dead::redrive(step, id, delay_ms),
        Call::DiscardTask(id) => dead::discard(step, id),
        Call::Bulk(bulk) => Ok(dead::bulk(step, &bulk)),
        Call::ServerFacts => Ok(query::server_facts(step)),
    };
    Some(reply)
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
        FromWorker::Pong => {}
        FromWorker::Goodbye => session::goodbye(step, id),
    }
}

/// Queues that gained a finished task forget the oldest beyond their history, some at a time.
fn forget_beyond_history(step: &mut Step<'_>) {
    for queue in step.take_crowded() {
        let shard = step.shard_of(&queue);
        let keep = step.config().finished_per_queue_max;
        let Some(index) = step.agenda(shard).queue(&queue) else {
            continue;
        };
        if index.finished_count() < keep + limits::FINISHED_SLACK_MAX {
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
