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
    let kinds: Vec<&str> = hello.worker.kinds.iter().map(|kind| &*kind.kind).collect();
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

fn declared(kind: &str, version_min: u32, version_max: u32) -> pb::KindDeclaration {
    pb::KindDeclaration {
        kind: kind.into(),
        version_min,
        version_max,
        defaults: None,
    }
}

fn worker_of(declared_kinds: Vec<pb::KindDeclaration>) -> Parsed<WorkerInfo> {
    let root = At::Root;
    let info = pb::WorkerInfo {
        declared_kinds,
        ..info()
    };
    worker_info(&"default".into(), Some(info), root.field("worker"))
}

#[test]
fn declared_kinds_have_ranges_and_proposals_and_stand_among_the_others() {
    let proposing = pb::KindDeclaration {
        defaults: Some(pb::KindSettings {
            queue: "mail".into(),
            max_attempts: Some(0),
            ..Default::default()
        }),
        ..declared("aa", 0, 0)
    };
    let worker = worker_of(vec![declared("c", 2, 4), proposing, declared("d", 3, 0)]).unwrap();
    let ranges: Vec<_> = worker
        .kinds
        .iter()
        .map(|it| (&*it.kind, it.version_min, it.version_max))
        .collect();
    let every = (0, u32::MAX);
    let expected = [
        ("a", every.0, every.1),
        ("aa", every.0, every.1),
        ("b", every.0, every.1),
        ("c", 2, 4),
        ("d", 3, u32::MAX),
    ];
    assert_eq!(ranges, expected);
    let [(kind, settings)] = worker.proposals.as_slice() else {
        panic!("one proposal")
    };
    assert_eq!((&**kind, settings.max_attempts), ("aa", Some(0)));
    assert_eq!(settings.queue.as_ref().unwrap().as_str(), "default/mail");
}

#[test]
fn what_is_wrong_in_a_declared_kind_is_named() {
    let proposing = pb::KindDeclaration {
        defaults: Some(pb::KindSettings {
            queue: "a b".into(),
            ..Default::default()
        }),
        ..declared("x", 0, 0)
    };
    let cases = [
        (vec![declared("", 0, 0)], "[0].kind"),
        (vec![declared("x", 5, 4)], "[0].version_max"),
        (vec![declared("a", 0, 0)], "[0].kind"),
        (vec![declared("x", 0, 0), declared("x", 1, 1)], "[1].kind"),
        (vec![proposing], "[0].defaults.queue"),
        (vec![pb::KindDeclaration::default(); 1025], ""),
    ];
    for (declared, field) in cases {
        let refused = worker_of(declared).unwrap_err();
        assert_eq!(refused.field, format!("worker.declared_kinds{field}"));
    }
}

#[test]
fn heartbeats_of_a_message_are_counted_and_each_is_judged_by_itself() {
    let batch = |heartbeats| Message::Heartbeats(pb::HeartbeatBatch { heartbeats });
    let WorkMessage::Later(FromWorker::Heartbeats(beats)) =
        parse(batch(vec![pb::Heartbeat::default()])).unwrap()
    else {
        panic!("heartbeats")
    };
    assert_eq!(beats[0].content.as_ref().unwrap_err().field, "lease_token");
    assert!(refused(batch(Vec::new())).starts_with("heartbeats.heartbeats is empty"));
    let many = vec![pb::Heartbeat::default(); 1001];
    assert!(refused(batch(many)).contains("at most 1000"));
}
