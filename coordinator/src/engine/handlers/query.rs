//! Answers questions: tasks, lists, waits, queues, workers.
//!
//! Owns the views and the bounded scans (rule 17). Never changes a fact.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::engine::agenda::{QueueIndex, serves};
use crate::engine::clocks::Alarm;
use crate::engine::command::{Cursor, KindServed, ListTasks, Selection};
use crate::engine::effect::{
    Answer, Counts, QueueView, ServerFacts, TaskView, Unserved, WorkerView,
};
use crate::engine::ids::{QueueName, RequestId, ShardId, TaskId, Timestamp};
use crate::engine::ledger::queue::Queue;
use crate::engine::ledger::task::{State, Task, TaskState};
use crate::engine::limits;
use crate::engine::rejection::Rejection;
use crate::engine::step::Step;

use super::{dead, resolve};

/// One task.
pub(super) fn get_task(step: &Step<'_>, id: TaskId) -> Result<Answer, Rejection> {
    let task = step.task(id).ok_or(Rejection::TaskNotFound(id))?;
    let mut view = resolve::view(step, task);
    view.no_worker = view.state == TaskState::Ready && !is_served(step, task);
    Ok(Answer::Task(Box::new(view)))
}

/// Whether a worker is connected, or waits in a call, that runs this task.
fn is_served(step: &Step<'_>, task: &Task) -> bool {
    let served = workers_of(step, &task.queue);
    let mut served = served.into_iter();
    served.any(|kinds| serves(kinds, &task.kind, task.version))
}

/// What the workers of a queue run that are connected or wait in a call, each set of kinds once;
/// every kind, where there are more workers than are looked at.
fn workers_of<'s>(step: &'s Step<'_>, queue: &QueueName) -> BTreeSet<&'s [KindServed]> {
    let sessions = step.sessions().iter();
    let sessions = sessions.filter(|session| session.link.is_some() && !session.lost);
    let sessions = sessions.map(|session| (&session.queues, &session.info.kinds));
    let polls = step.sessions().polls.values();
    let polls = polls.map(|poll| (&poll.queues, &poll.info.kinds));
    let all = sessions.chain(polls);
    let of_queue = all.filter(|(queues, _)| queues.iter().any(|sub| sub.queue == *queue));
    let mut served = BTreeSet::new();
    for (looked_at, (_, kinds)) in of_queue.enumerate() {
        if kinds.is_empty() || looked_at == limits::WORKERS_LISTED_MAX {
            return BTreeSet::from([&[][..]]);
        }
        served.insert(kinds.as_slice());
    }
    served
}

/// Ready tasks of a queue that no worker that is connected runs.
fn unserved(step: &Step<'_>, queue: &QueueName, index: &QueueIndex) -> Vec<Unserved> {
    let ready = index.ready_by_kind();
    if ready.is_empty() {
        return Vec::new();
    }
    let workers = workers_of(step, queue);
    let unserved = ready.into_iter().filter(|((kind, version), _)| {
        let mut workers = workers.iter();
        !workers.any(|kinds| serves(kinds, kind, *version))
    });
    let unserved = unserved.map(|((kind, version), ready)| Unserved {
        kind: kind.clone(),
        version,
        ready,
    });
    unserved.take(limits::UNSERVED_LISTED_MAX).collect()
}

/// A page of tasks.
pub(super) fn list_tasks(step: &Step<'_>, list: &ListTasks) -> Answer {
    let count_max = list.count_max.min(limits::PAGE_SIZE_MAX);
    let (ids, next) = if list.dead_only {
        scan_dead(
            step,
            &list.selection,
            list.after.as_ref(),
            count_max,
            &|_| true,
        )
    } else {
        scan_tasks(step, &list.selection, list.after.as_ref(), count_max)
    };
    let view = |id: &TaskId| -> Option<TaskView> {
        let mut view = resolve::view(step, step.task(*id)?);
        trim(&mut view.task);
        Some(view)
    };
    Answer::Page {
        tasks: ids.iter().filter_map(view).collect(),
        next,
    }
}

/// Lists carry no payloads, results, checkpoints, stacks and histories.
fn trim(task: &mut Task) {
    task.payload = crate::engine::ledger::task::Payload::default();
    if let State::Finished(finished) = &mut task.state {
        finished.result = None;
    }
    if let Some(side) = task.side.as_deref_mut() {
        side.checkpoint = None;
        side.history = crate::engine::ledger::history::History::default();
        if let Some(failure) = &mut side.last_failure {
            *failure = failure.for_history();
        }
    }
}

/// Tasks in the order of their ids, over all shards or within that of one queue.
fn scan_tasks(
    step: &Step<'_>,
    selection: &Selection,
    after: Option<&Cursor>,
    count_max: usize,
) -> (Vec<TaskId>, Option<Cursor>) {
    let from = match after {
        Some(Cursor::Task { id, .. } | Cursor::Dead { id, .. }) => *id,
        None => TaskId::MIN,
    };
    let only = selection.queue.as_ref().map(|queue| step.shard_of(queue));
    let shards = step
        .shard_ids()
        .filter(|shard| only.is_none_or(|only| only == *shard));
    let mut scans: Vec<_> = shards
        .map(|shard| step.ledger(shard).tasks_after(from).peekable())
        .collect();
    let mut found = Vec::new();
    let mut last = None;
    for _ in 0..limits::SCAN_ENTRIES_MAX {
        let next = scans
            .iter_mut()
            .enumerate()
            .filter_map(|(index, scan)| scan.peek().map(|task| (task.id, index)))
            .min();
        let Some((id, index)) = next else {
            return (found, None);
        };
        let task = scans[index].next().expect("peeked");
        last = Some(Cursor::Task {
            shard: id.shard(),
            id,
        });
        if selects(step, selection, task) {
            found.push(id);
            if found.len() == count_max {
                break;
            }
        }
    }
    (found, last)
}

fn selects(step: &Step<'_>, selection: &Selection, task: &Task) -> bool {
    let queue = selection
        .queue
        .as_ref()
        .is_none_or(|queue| *queue == task.queue);
    queue
        && task.queue.namespace() == &*selection.namespace
        && selection.filter.matches(task, step.now())
}

/// Live tasks that were enqueued before an instant, in the order of their ids.
pub(super) fn scan_live(
    step: &Step<'_>,
    selection: &Selection,
    after: Option<&Cursor>,
    count_max: usize,
    before: Timestamp,
) -> (Vec<TaskId>, Option<Cursor>) {
    let (mut ids, next) = scan_tasks(step, selection, after, count_max);
    ids.retain(|id| {
        step.task(*id).is_some_and(|task| {
            let live = matches!(task.state, State::Pending { .. } | State::Leased(_));
            live && task.enqueued_at < before
        })
    });
    (ids, next)
}

/// Dead letters in the order (shard, queue, time of death, id).
pub(super) fn scan_dead(
    step: &Step<'_>,
    selection: &Selection,
    after: Option<&Cursor>,
    count_max: usize,
    wanted: &dyn Fn(Timestamp) -> bool,
) -> (Vec<TaskId>, Option<Cursor>) {
    let mut found = Vec::new();
    let mut scanned = 0;
    let mut last = None;
    for shard in step.shard_ids() {
        for (queue, index) in step.agenda(shard).queues() {
            let Some(from) = place_in(after, shard, queue) else {
                continue;
            };
            let other = selection.queue.as_ref().is_some_and(|only| only != queue);
            if other || queue.namespace() != &*selection.namespace {
                continue;
            }
            for (at, id) in index.dead_after(from) {
                if found.len() == count_max || scanned == limits::SCAN_ENTRIES_MAX {
                    return (found, last);
                }
                scanned += 1;
                last = dead::cursor_of(step, id);
                let task = step.task(id).expect("the agenda mirrors the ledger");
                if wanted(at) && selection.filter.matches(task, step.now()) {
                    found.push(id);
                }
            }
        }
    }
    (found, None)
}

/// Where a scan goes on within a queue: `None` where the queue lies before the cursor,
/// `Some(None)` at its beginning.
#[expect(
    clippy::option_option,
    reason = "skip, from the start, or from a place"
)]
fn place_in(
    after: Option<&Cursor>,
    shard: ShardId,
    queue: &QueueName,
) -> Option<Option<(Timestamp, TaskId)>> {
    let Some(Cursor::Dead {
        shard: at_shard,
        queue: at_queue,
        at,
        id,
    }) = after
    else {
        return Some(None);
    };
    match (shard, queue).cmp(&(*at_shard, at_queue)) {
        std::cmp::Ordering::Less => None,
        std::cmp::Ordering::Equal => Some(Some((*at, *id))),
        std::cmp::Ordering::Greater => Some(None),
    }
}

/// Waits for a task's end.
pub(super) fn wait_task(
    step: &mut Step<'_>,
    request: RequestId,
    id: TaskId,
    timeout_ms: u64,
) -> Option<Result<Answer, Rejection>> {
    let Some(task) = step.task(id) else {
        return Some(Err(Rejection::TaskNotFound(id)));
    };
    let ended = matches!(task.state, State::Dead { .. } | State::Finished(_));
    if ended || timeout_ms == 0 || step.shutting_down() {
        let task = Box::new(resolve::view(step, task));
        return Some(Ok(Answer::Waited { ended, task }));
    }
    if step.wait_count() >= limits::WAITS_MAX {
        let limit = limits::WAITS_MAX as u64;
        return Some(Err(Rejection::LimitReached {
            what: "waiting calls",
            limit,
        }));
    }
    step.wait_for(id, request);
    let until = step.now().plus_ms(timeout_ms);
    step.clocks_mut().set(Alarm::Wait(request), until);
    None
}

/// A wait is over before the task's end.
pub(super) fn end_wait(step: &mut Step<'_>, request: RequestId) {
    step.clocks_mut().clear(Alarm::Wait(request));
    let Some(id) = step.stop_waiting(request) else {
        return;
    };
    let reply = match step.task(id) {
        Some(task) => {
            let task = Box::new(resolve::view(step, task));
            Ok(Answer::Waited { ended: false, task })
        }
        None => Err(Rejection::TaskNotFound(id)),
    };
    step.reply(request, reply);
}

/// One queue.
pub(super) fn get_queue(step: &Step<'_>, name: &QueueName) -> Result<Answer, Rejection> {
    let shard = step.shard_of(name);
    let queue = step.ledger(shard).queue(name);
    let queue = queue.ok_or_else(|| Rejection::QueueNotFound(name.clone()))?;
    let mut view = view_of(step, shard, queue);
    if let Some(index) = step.agenda(shard).queue(name) {
        view.unserved = unserved(step, name, index);
    }
    Ok(Answer::Queue(Box::new(view)))
}

fn view_of(step: &Step<'_>, shard: ShardId, queue: &Queue) -> QueueView {
    let index = step.agenda(shard).queue(&queue.name);
    let first = index.and_then(|index| index.first_ready(&[], None));
    let ready_since = first.and_then(|id| match step.task(id)?.state {
        State::Pending { not_before } => Some(not_before),
        State::Leased(_) | State::Dead { .. } | State::Finished(_) => None,
    });
    QueueView {
        queue: queue.clone(),
        counts: index.map_or_else(Counts::default, |index| index.counts()),
        oldest_ready_ms: ready_since.map_or(0, |since| step.now().since_ms(since)),
        unserved: Vec::new(),
    }
}

/// Queues of a namespace in the order of their names.
pub(super) fn list_queues(
    step: &Step<'_>,
    namespace: &str,
    after: Option<&QueueName>,
    count_max: usize,
) -> Answer {
    let count_max = count_max.min(limits::PAGE_SIZE_MAX);
    let mut names: Vec<(QueueName, ShardId)> = Vec::new();
    for shard in step.shard_ids() {
        let queues = step.ledger(shard).queues().filter(|queue| {
            queue.name.namespace() == namespace && after.is_none_or(|after| queue.name > *after)
        });
        names.extend(
            queues
                .take(count_max + 1)
                .map(|queue| (queue.name.clone(), shard)),
        );
    }
    names.sort();
    let more = names.len() > count_max;
    names.truncate(count_max);
    let view = |(name, shard): &(QueueName, ShardId)| {
        let queue = step
            .ledger(*shard)
            .queue(name)
            .expect("listed a moment ago");
        view_of(step, *shard, queue)
    };
    Answer::Queues {
        queues: names.iter().map(view).collect(),
        more,
    }
}

/// The workers known.
pub(super) fn list_workers(step: &Step<'_>, namespace: &str, queue: Option<&QueueName>) -> Answer {
    let (now, lateness) = (step.now(), step.sessions().lateness_ms);
    let serves = |info: &crate::engine::command::WorkerInfo| {
        queue.is_none_or(|queue| info.queues.iter().any(|(served, _)| served == queue))
    };
    let wanted = step
        .sessions()
        .iter()
        .filter(|session| &*session.info.namespace == namespace && serves(&session.info));
    let mut workers: Vec<WorkerView> = wanted
        .take(limits::WORKERS_LISTED_MAX)
        .map(|session| WorkerView {
            info: session.info.clone(),
            session: session.id,
            state: session.state(),
            held: u32::try_from(session.held.len()).unwrap_or(u32::MAX),
            capacity: session.capacity,
            since: session.since,
            silence_ms: session.silence_ms(now, lateness),
        })
        .collect();
    workers.sort_by_key(|worker: &WorkerView| -> Arc<str> { worker.info.worker.clone() });
    Answer::Workers(workers)
}

/// The engine's own facts.
pub(super) fn server_facts(step: &Step<'_>) -> Answer {
    let (mut slots_used, mut slots_free) = (0, 0);
    for session in step
        .sessions()
        .iter()
        .filter(|session| session.link.is_some())
    {
        let used = session.held.len() as u64;
        slots_used += used;
        slots_free += u64::from(session.capacity.tasks_max).saturating_sub(used);
    }
    Answer::Server(ServerFacts {
        now: step.now(),
        workers: step.sessions().linked(),
        slots_used,
        slots_free,
        memory_bytes: step.bytes(),
        memory_bytes_max: step.config().memory_bytes_max,
    })
}
