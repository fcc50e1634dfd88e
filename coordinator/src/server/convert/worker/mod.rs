//! What workers say: who they are, what they hold, and the messages of their stream. Never judges a
//! report or a lease: the engine does.

use std::collections::BTreeMap;
use std::sync::Arc;

use redrive_proto::v1 as pb;

use super::field::{At, Parsed, batch, duration_ms, name, namespace, quoted, text, token};
use super::field::{queue, reason};
use super::{beat, kind, report};
use crate::engine::command::{Capacity, FromWorker, Hello, KindServed, LeaseTasks, WorkerInfo};
use crate::engine::ids::{LeaseToken, QueueName, SessionId};
use crate::engine::ledger::kind::KindSettings;
use crate::engine::limits;

/// Milliseconds of a call's wait where it states none.
const LEASE_WAIT_MS_DEFAULT: u64 = 0;

/// A message of a worker stream.
#[derive(Debug)]
pub(crate) enum WorkMessage {
    /// The first one.
    Hello(Box<Hello>),
    /// A later one.
    Later(FromWorker),
}

/// A message of a worker stream.
pub(crate) fn work_message(value: pb::WorkRequest) -> Parsed<WorkMessage> {
    use pb::work_request::Message;
    let root = At::Root;
    let message = value.message.ok_or_else(|| {
        root.field("message")
            .refuse("is empty, or of a kind that this coordinator does not know")
    })?;
    Ok(WorkMessage::Later(match message {
        Message::Hello(given) => {
            return hello(given, root.field("hello")).map(|h| WorkMessage::Hello(Box::new(h)));
        }
        Message::Capacity(given) => FromWorker::Capacity(capacity(given, root.field("capacity"))?),
        Message::Receipt(given) => receipt(given, root.field("receipt"))?,
        Message::Reports(given) => {
            let at = root.field("reports");
            FromWorker::Reports(report::reports(given.reports, at.field("reports"))?)
        }
        Message::Pong(_) => FromWorker::Pong,
        Message::Heartbeats(given) => {
            let at = root.field("heartbeats");
            FromWorker::Heartbeats(beat::heartbeats(given.heartbeats, at.field("heartbeats"))?)
        }
        Message::Goodbye(given) => {
            let at = root.field("goodbye");
            reason(&given.reason, at.field("reason"))?;
            FromWorker::Goodbye
        }
    }))
}

fn hello(value: pb::Hello, at: At<'_>) -> Parsed<Hello> {
    let namespace = namespace(&value.namespace, at.field("namespace"))?;
    let worker = worker_info(&namespace, value.worker, at.field("worker"))?;
    Ok(Hello {
        worker,
        session: session(&value.session_id, at.field("session_id"))?,
        held: held(&value.held, at.field("held"))?,
        buffered: buffered(&value.buffered, at.field("buffered"))?,
        capacity: capacity(value.capacity.unwrap_or_default(), at.field("capacity"))?,
    })
}

fn session(value: &str, at: At<'_>) -> Parsed<Option<SessionId>> {
    if value.is_empty() {
        return Ok(None);
    }
    SessionId::parse(value).map(Some).ok_or_else(|| {
        at.refuse(format_args!(
            "is {}, not a session id: send the one of your Welcome, or leave it empty",
            quoted(value)
        ))
    })
}

fn held(value: &[bytes::Bytes], at: At<'_>) -> Parsed<Vec<LeaseToken>> {
    let max = limits::CAPACITY_MAX as usize;
    if value.len() > max {
        let count = value.len();
        return Err(at.refuse(format_args!(
            "has {count} leases, a worker holds at most {max}"
        )));
    }
    value
        .iter()
        .enumerate()
        .map(|(index, bytes)| token(bytes, at.index(index)))
        .collect()
}

fn buffered(value: &[pb::BufferedLease], at: At<'_>) -> Parsed<Vec<(LeaseToken, u64)>> {
    let max = limits::CAPACITY_MAX as usize;
    if value.len() > max {
        let count = value.len();
        return Err(at.refuse(format_args!(
            "has {count} leases, a worker holds at most {max}"
        )));
    }
    let one = |(index, lease): (usize, &pb::BufferedLease)| {
        let at = at.index(index);
        let token = token(&lease.lease_token, at.field("lease_token"))?;
        Ok((token, lease.sequence))
    };
    value.iter().enumerate().map(one).collect()
}

fn capacity(value: pb::Capacity, at: At<'_>) -> Parsed<Capacity> {
    let max = limits::CAPACITY_MAX;
    if value.tasks_max > max {
        return Err(at.field("tasks_max").refuse(format_args!(
            "is {}, at most {max} is allowed",
            value.tasks_max
        )));
    }
    Ok(Capacity {
        tasks_max: value.tasks_max,
        bytes_max: (value.bytes_max > 0).then_some(value.bytes_max),
        draining: value.draining,
    })
}

fn receipt(value: pb::Receipt, at: At<'_>) -> Parsed<FromWorker> {
    let at_buffered = at.field("buffered");
    let max = limits::CAPACITY_MAX as usize;
    if value.buffered.len() > max {
        return Err(at_buffered.refuse(format_args!(
            "has {} sequences, a worker holds at most {max} tasks",
            value.buffered.len()
        )));
    }
    let through = value.received_through;
    if let Some(index) = value
        .buffered
        .iter()
        .position(|sequence| *sequence > through)
    {
        return Err(at_buffered.index(index).refuse(format_args!(
            "is {}, above received_through, which is {through}: name only what has arrived",
            value.buffered[index]
        )));
    }
    Ok(FromWorker::Receipt {
        through,
        buffered: value.buffered,
    })
}

/// Who a worker of an already checked namespace is.
fn worker_info(
    namespace: &Arc<str>,
    value: Option<pb::WorkerInfo>,
    at: At<'_>,
) -> Parsed<WorkerInfo> {
    let value = value.ok_or_else(|| at.missing())?;
    let plain = names(&value.kinds, limits::KINDS_MAX, at.field("kinds"))?;
    let (kinds, proposals) = kinds(
        namespace,
        &plain,
        value.declared_kinds,
        at.field("declared_kinds"),
    )?;
    Ok(WorkerInfo {
        namespace: namespace.clone(),
        worker: name(&value.worker_id, at.field("worker_id"))?,
        version: text(&value.version, limits::NAME_BYTES_MAX, at.field("version"))?,
        host: text(&value.host, limits::NAME_BYTES_MAX, at.field("host"))?,
        queues: subscriptions(namespace, &value.queues, at.field("queues"))?,
        kinds,
        proposals,
    })
}

/// What a worker proposes for a kind.
type Proposal = (Arc<str>, Box<KindSettings>);

/// The kinds that a worker runs, sorted, and what it proposes for them.
fn kinds(
    namespace: &str,
    plain: &[Arc<str>],
    declared: Vec<pb::KindDeclaration>,
    at: At<'_>,
) -> Parsed<(Vec<KindServed>, Vec<Proposal>)> {
    if declared.len() > limits::KINDS_MAX {
        let (count, max) = (declared.len(), limits::KINDS_MAX);
        return Err(at.refuse(format_args!("has {count} kinds, at most {max} are allowed")));
    }
    let mut served: BTreeMap<Arc<str>, KindServed> = plain
        .iter()
        .map(|kind| (kind.clone(), KindServed::every_version(kind)))
        .collect();
    let mut proposals = Vec::new();
    for (index, given) in declared.into_iter().enumerate() {
        let at = at.index(index);
        let range = range(&given, at)?;
        let name = range.kind.clone();
        if let Some(defaults) = given.defaults {
            let settings = kind::settings(namespace, Some(defaults), at.field("defaults"))?;
            proposals.push((name.clone(), Box::new(settings)));
        }
        if served.insert(name, range).is_some() {
            return Err(at
                .field("kind")
                .refuse("is named twice: name each kind once, in kinds or in declared_kinds"));
        }
    }
    Ok((served.into_values().collect(), proposals))
}

/// The versions of a kind that a worker declares.
fn range(given: &pb::KindDeclaration, at: At<'_>) -> Parsed<KindServed> {
    let version_max = match given.version_max {
        0 => u32::MAX,
        max if max < given.version_min => {
            return Err(at.field("version_max").refuse(format_args!(
                "is {max}, below version_min, which is {}: raise it, or leave it 0 for no limit",
                given.version_min
            )));
        }
        max => max,
    };
    Ok(KindServed {
        kind: name(&given.kind, at.field("kind"))?,
        version_min: given.version_min,
        version_max,
    })
}

fn subscriptions(
    namespace: &str,
    value: &[pb::QueueSubscription],
    at: At<'_>,
) -> Parsed<Vec<(QueueName, u32)>> {
    batch(value.len(), limits::WORKER_QUEUES_MAX, at)?;
    let mut queues = Vec::with_capacity(value.len());
    for (index, given) in value.iter().enumerate() {
        let at = at.index(index);
        let queue = queue(namespace, &given.queue, at.field("queue"))?;
        if queues.iter().any(|(other, _)| *other == queue) {
            return Err(at
                .field("queue")
                .refuse("is named twice: name each queue once"));
        }
        let max = limits::QUEUE_WEIGHT_MAX;
        let weight = super::field::count(given.weight, 1, max, at.field("weight"))?;
        queues.push((queue, weight));
    }
    Ok(queues)
}

/// Checked names, at most so many.
pub(crate) fn names(value: &[String], max: usize, at: At<'_>) -> Parsed<Vec<Arc<str>>> {
    if value.len() > max {
        let count = value.len();
        return Err(at.refuse(format_args!("has {count} names, at most {max} are allowed")));
    }
    value
        .iter()
        .enumerate()
        .map(|(index, given)| name(given, at.index(index)))
        .collect()
}

/// Work wanted without a stream.
pub(crate) fn lease_tasks(value: pb::LeaseTasksRequest) -> Parsed<LeaseTasks> {
    let root = At::Root;
    let namespace = namespace(&value.namespace, root.field("namespace"))?;
    let max = u32::try_from(limits::BATCH_ITEMS_MAX).unwrap_or(u32::MAX);
    let wait = value.wait.as_ref();
    let wait_ms = wait.map(|wait| duration_ms(wait, limits::WAIT_MS_MAX, root.field("wait")));
    Ok(LeaseTasks {
        worker: worker_info(&namespace, value.worker, root.field("worker"))?,
        count_max: super::field::count(value.tasks_max, 1, max, root.field("tasks_max"))?,
        wait_ms: wait_ms.transpose()?.unwrap_or(LEASE_WAIT_MS_DEFAULT),
        ttl_ms: lease_ttl(value.lease_ttl.as_ref(), root.field("lease_ttl"))?,
    })
}

/// How long a unary lease lives.
pub(crate) fn lease_ttl(value: Option<&prost_types::Duration>, at: At<'_>) -> Parsed<u64> {
    let Some(value) = value else {
        return Ok(limits::LEASE_TTL_MS_DEFAULT);
    };
    let ttl_ms = duration_ms(value, limits::LEASE_TTL_MS_MAX, at)?;
    if ttl_ms < limits::LEASE_TTL_MS_MIN {
        return Err(at.refuse(format_args!(
            "is {}, at least {} is needed",
            super::field::span(ttl_ms),
            super::field::span(limits::LEASE_TTL_MS_MIN)
        )));
    }
    Ok(ttl_ms)
}

#[cfg(test)]
mod tests;
