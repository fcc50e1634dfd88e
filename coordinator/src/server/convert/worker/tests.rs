//! What workers say of themselves and of what they hold.

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
