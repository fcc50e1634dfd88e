//! What workers say: who they are, what they hold, and the messages of their stream.

use redrive_proto::v1 as pb;

use super::field::{At, Parsed, batch, duration_ms, name, namespace, quoted, text, token};
use super::field::{queue, reason};
use super::report;
use crate::engine::command::{Capacity, FromWorker, Hello, KindServed, LeaseTasks, WorkerInfo};
use crate::engine::ids::{LeaseToken, SessionId};
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
        // Stub: the engine takes no heartbeats yet.
        Message::Heartbeats(_) => {
            return Err(root.field("heartbeats").refuse("is not taken yet"));
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
    namespace: &std::sync::Arc<str>,
    value: Option<pb::WorkerInfo>,
    at: At<'_>,
) -> Parsed<WorkerInfo> {
    let value = value.ok_or_else(|| at.missing())?;
    let mut kinds = names(&value.kinds, limits::KINDS_MAX, at.field("kinds"))?;
    kinds.sort_unstable();
    kinds.dedup();
    Ok(WorkerInfo {
        namespace: namespace.clone(),
        worker: name(&value.worker_id, at.field("worker_id"))?,
        version: text(&value.version, limits::NAME_BYTES_MAX, at.field("version"))?,
        host: text(&value.host, limits::NAME_BYTES_MAX, at.field("host"))?,
        queues: subscriptions(namespace, &value.queues, at.field("queues"))?,
        kinds: kinds
            .iter()
            .map(|kind| KindServed::every_version(kind))
            .collect(),
        proposals: Vec::new(),
    })
}

fn subscriptions(
    namespace: &str,
    value: &[pb::QueueSubscription],
    at: At<'_>,
) -> Parsed<Vec<(crate::engine::ids::QueueName, u32)>> {
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
pub(crate) fn names(value: &[String], max: usize, at: At<'_>) -> Parsed<Vec<std::sync::Arc<str>>> {
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
mod tests {
    use bytes::Bytes;
    use prost_types::Duration;
    use redrive_proto::v1::work_request::Message;

    use super::*;

    fn info() -> pb::WorkerInfo {
        let queue = |queue: &str, weight| pb::QueueSubscription {
            queue: queue.into(),
            weight,
        };
        pb::WorkerInfo {
            worker_id: "w-1".into(),
            queues: vec![queue("mail", 0), queue("sms", 7)],
            kinds: vec!["b".into(), "a".into(), "b".into()],
            ..Default::default()
        }
    }

    fn parse(message: Message) -> Parsed<WorkMessage> {
        work_message(pb::WorkRequest {
            message: Some(message),
        })
    }

    fn refused(message: Message) -> String {
        parse(message).unwrap_err().to_string()
    }

    #[test]
    fn a_hello_is_sorted_weighted_and_complete() {
        let given = pb::Hello {
            worker: Some(info()),
            ..Default::default()
        };
        let WorkMessage::Hello(hello) = parse(Message::Hello(given)).unwrap() else {
            panic!("a hello");
        };
        let weights: Vec<(&str, u32)> = hello
            .worker
            .queues
            .iter()
            .map(|(queue, weight)| (queue.as_str(), *weight))
            .collect();
        assert_eq!(weights, [("default/mail", 1), ("default/sms", 7)]);
        let kinds: Vec<&str> = hello.worker.kinds.iter().map(|kind| &**kind).collect();
        assert_eq!(kinds, ["a", "b"]);
        assert_eq!(hello.session, None);
        assert_eq!(hello.capacity, Capacity::default());
    }

    #[test]
    fn what_is_wrong_in_a_hello_is_named_in_full() {
        let with = |change: fn(&mut pb::Hello)| {
            let mut hello = pb::Hello {
                worker: Some(info()),
                ..Default::default()
            };
            change(&mut hello);
            parse(Message::Hello(hello)).unwrap_err().field
        };
        let worker = |hello: &mut pb::Hello| hello.worker.take().unwrap();
        assert_eq!(with(|h| h.namespace = "a b".into()), "hello.namespace");
        assert_eq!(with(|h| h.worker = None), "hello.worker");
        assert_eq!(with(|h| h.session_id = "zz".into()), "hello.session_id");
        assert_eq!(
            with(|h| h.held = vec![Bytes::from_static(b"short")]),
            "hello.held[0]"
        );
        assert_eq!(
            with(|h| h.capacity = Some(pb::Capacity {
                tasks_max: 10_001,
                ..Default::default()
            })),
            "hello.capacity.tasks_max"
        );
        let queues = |change: fn(&mut pb::WorkerInfo)| {
            let mut hello = pb::Hello {
                worker: Some(info()),
                ..Default::default()
            };
            let mut info = worker(&mut hello);
            change(&mut info);
            hello.worker = Some(info);
            parse(Message::Hello(hello)).unwrap_err().field
        };
        assert_eq!(
            queues(|w| w.worker_id = String::new()),
            "hello.worker.worker_id"
        );
        assert_eq!(
            queues(|w| w.version = "v".repeat(129)),
            "hello.worker.version"
        );
        assert_eq!(queues(|w| w.queues.clear()), "hello.worker.queues");
        assert_eq!(
            queues(|w| w.queues[1].queue = "mail".into()),
            "hello.worker.queues[1].queue"
        );
        assert_eq!(
            queues(|w| w.queues[1].weight = 1001),
            "hello.worker.queues[1].weight"
        );
        assert_eq!(
            queues(|w| w.kinds[2] = "a/b".into()),
            "hello.worker.kinds[2]"
        );
    }

    #[test]
    fn a_receipt_names_only_what_has_arrived() {
        let receipt = |received_through, buffered| {
            Message::Receipt(pb::Receipt {
                received_through,
                buffered,
            })
        };
        assert!(parse(receipt(5, vec![4, 5])).is_ok());
        assert!(refused(receipt(5, vec![4, 6])).starts_with("receipt.buffered[1] is 6, above"));
        assert!(refused(receipt(5, vec![1; 10_001])).contains("at most 10000"));
    }

    #[test]
    fn an_empty_message_is_refused() {
        let refused = work_message(pb::WorkRequest { message: None }).unwrap_err();
        assert_eq!(refused.field, "message");
    }

    #[test]
    fn a_unary_lease_has_documented_defaults_and_bounds() {
        let secs = |seconds| Some(Duration { seconds, nanos: 0 });
        let base = || pb::LeaseTasksRequest {
            worker: Some(info()),
            ..Default::default()
        };
        let parsed = lease_tasks(base()).unwrap();
        assert_eq!(
            (parsed.count_max, parsed.wait_ms, parsed.ttl_ms),
            (1, 0, 30_000)
        );
        let cases = [
            (
                pb::LeaseTasksRequest {
                    tasks_max: 1001,
                    ..base()
                },
                "tasks_max",
            ),
            (
                pb::LeaseTasksRequest {
                    wait: secs(61),
                    ..base()
                },
                "wait",
            ),
            (
                pb::LeaseTasksRequest {
                    lease_ttl: secs(0),
                    ..base()
                },
                "lease_ttl",
            ),
            (
                pb::LeaseTasksRequest {
                    lease_ttl: secs(3601),
                    ..base()
                },
                "lease_ttl",
            ),
            (
                pb::LeaseTasksRequest {
                    worker: None,
                    ..base()
                },
                "worker",
            ),
        ];
        for (value, field) in cases {
            assert_eq!(lease_tasks(value).unwrap_err().field, field);
        }
    }
}
