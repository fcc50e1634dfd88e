//! Workers that say what cannot be: in their Hello, on their stream, in their calls, in reports.

use bytes::Bytes;
use redrive_client::NewTask;
use redrive_proto::v1::{self as pb, work_request::Message};
use redrive_tests::refusal::Expected;
use redrive_tests::{Harness, RawWorker, make};

use super::{BAD_NAME, Case, NAME_RULE, durations, refused};

fn info(
    field: &str,
    says: &[&str],
    change: impl FnOnce(&mut pb::WorkerInfo),
) -> Case<pb::WorkerInfo> {
    let mut info = make::worker_info("w", "q");
    change(&mut info);
    (info, Expected::field(&format!("worker.{field}"), says))
}

/// Workers that cannot be.
fn infos() -> Vec<Case<pb::WorkerInfo>> {
    let queue = |queue: &str, weight| pb::QueueSubscription {
        queue: queue.to_owned(),
        weight,
    };
    let many = |count| (0..count).map(|n| format!("n{n}")).collect::<Vec<String>>();
    vec![
        info("worker_id", &["required"], |it| it.worker_id.clear()),
        info("worker_id", &["' '", NAME_RULE], |it| {
            it.worker_id = BAD_NAME.to_owned()
        }),
        info("version", &["129", "128"], |it| {
            it.version = "v".repeat(129)
        }),
        info("host", &["129", "128"], |it| it.host = "h".repeat(129)),
        info("queues", &["1 to 64"], |it| it.queues.clear()),
        info("queues", &["65", "at most 64"], |it| {
            it.queues = many(65).iter().map(|name| queue(name, 1)).collect();
        }),
        info("queues[0].queue", &["required"], |it| {
            it.queues[0].queue.clear()
        }),
        info("queues[0].queue", &[NAME_RULE], |it| {
            it.queues[0].queue = BAD_NAME.to_owned()
        }),
        info("queues[1].queue", &["named twice"], |it| {
            it.queues.push(queue("q", 2))
        }),
        info("queues[0].weight", &["1001", "at most 1000"], |it| {
            it.queues[0].weight = 1001
        }),
        info("kinds", &["1025", "at most 1024"], |it| {
            it.kinds = many(1025)
        }),
        info("kinds[1]", &[NAME_RULE], |it| {
            it.kinds = vec!["k".to_owned(), BAD_NAME.to_owned()]
        }),
    ]
}

fn hellos() -> Vec<Case<pb::Hello>> {
    let good = || make::hello("w", "q", 1);
    let of = |field: &str, says: &[&str]| Expected::field(&format!("hello.{field}"), says);
    let mut cases: Vec<Case<pb::Hello>> = infos()
        .into_iter()
        .map(|(worker, expected)| {
            (
                pb::Hello {
                    worker: Some(worker),
                    ..good()
                },
                expected.below("hello"),
            )
        })
        .collect();
    let capacity = pb::Capacity {
        tasks_max: 10_001,
        ..Default::default()
    };
    let token = |bytes: usize| Bytes::from(vec![1; bytes]);
    cases.extend([
        (
            pb::Hello {
                worker: None,
                ..good()
            },
            of("worker", &["required"]),
        ),
        (
            pb::Hello {
                namespace: BAD_NAME.to_owned(),
                ..good()
            },
            of("namespace", &[NAME_RULE]),
        ),
        (
            pb::Hello {
                session_id: "mine".to_owned(),
                ..good()
            },
            of(
                "session_id",
                &["\"mine\"", "the one of your Welcome, or leave it empty"],
            ),
        ),
        (
            pb::Hello {
                capacity: Some(capacity),
                ..good()
            },
            of("capacity.tasks_max", &["10001", "at most 10000"]),
        ),
        (
            pb::Hello {
                held: vec![token(31)],
                ..good()
            },
            of("held[0]", &["31 bytes", "32 are expected"]),
        ),
        (
            pb::Hello {
                held: vec![token(32); 10_001],
                ..good()
            },
            of("held", &["10001", "at most 10000"]),
        ),
    ]);
    cases
}

#[tokio::test]
async fn a_hello_that_cannot_be_ends_the_stream_with_the_path_of_its_fault() {
    let harness = Harness::start().await;
    for (hello, expected) in hellos() {
        let name = format!("Hello {}", expected.field);
        expected.check_status(&name, RawWorker::try_hello(harness.address(), hello).await);
    }
    assert!(harness.client().workers("").await.unwrap().is_empty());
    harness.still_serves().await;
}

#[tokio::test]
async fn a_later_message_that_cannot_be_is_refused_in_the_stream_which_goes_on() {
    let harness = Harness::start().await;
    let mut worker = RawWorker::hello(harness.address(), make::hello("w", "q", 1)).await;
    let capacity = pb::Capacity {
        tasks_max: 10_001,
        ..Default::default()
    };
    let receipt = |received_through, buffered| {
        Message::Receipt(pb::Receipt {
            received_through,
            buffered,
        })
    };
    let reports = |count| {
        Message::Reports(pb::ReportBatch {
            reports: vec![pb::Report::default(); count],
        })
    };
    let cases = [
        (
            Message::Capacity(capacity),
            Expected::field("capacity.tasks_max", &["10001", "10000"]),
        ),
        (
            receipt(1, vec![0, 2]),
            Expected::field("receipt.buffered[1]", &["is 2", "which is 1"]),
        ),
        (
            receipt(0, vec![0; 10_001]),
            Expected::field("receipt.buffered", &["10001", "10000"]),
        ),
        (
            receipt(9, vec![]),
            Expected::field("receipt.received_through", &["is 9", "only 0"]),
        ),
        (
            reports(0),
            Expected::field("reports.reports", &["1 to 1000"]),
        ),
        (
            reports(1001),
            Expected::field("reports.reports", &["1001", "1000"]),
        ),
    ];
    for (message, expected) in cases {
        worker.say(message).await;
        let refusal = worker.next_refusal().await;
        expected.check(&expected.field, &refusal);
    }
    harness.enqueue(NewTask::new("q", "k")).await;
    let delivery = worker.next_delivery().await;
    worker.complete(&delivery).await;
}

#[tokio::test]
async fn a_lease_call_that_cannot_be_is_refused() {
    let harness = Harness::start().await;
    let good = || pb::LeaseTasksRequest {
        worker: Some(make::worker_info("w", "q")),
        ..Default::default()
    };
    let mut cases: Vec<Case<pb::LeaseTasksRequest>> = infos()
        .into_iter()
        .map(|(worker, expected)| {
            let worker = Some(worker);
            (
                pb::LeaseTasksRequest {
                    worker,
                    ..Default::default()
                },
                expected,
            )
        })
        .collect();
    let ttl = |ms| pb::LeaseTasksRequest {
        lease_ttl: Some(make::ms(ms)),
        ..good()
    };
    cases.extend([
        (
            pb::LeaseTasksRequest::default(),
            Expected::field("worker", &["required"]),
        ),
        (
            pb::LeaseTasksRequest {
                tasks_max: 1001,
                ..good()
            },
            Expected::field("tasks_max", &["1001", "at most 1000"]),
        ),
        (
            pb::LeaseTasksRequest {
                wait: Some(make::ms(60_001)),
                ..good()
            },
            Expected::field("wait", &["60001 ms", "1 min"]),
        ),
        (
            ttl(999),
            Expected::field("lease_ttl", &["999 ms", "at least 1 s"]),
        ),
        (
            ttl(3_600_001),
            Expected::field("lease_ttl", &["at most 1 h"]),
        ),
    ]);
    cases.extend(durations("wait", |bad| pb::LeaseTasksRequest {
        wait: Some(bad),
        ..good()
    }));
    cases.extend(durations("lease_ttl", |bad| pb::LeaseTasksRequest {
        lease_ttl: Some(bad),
        ..good()
    }));
    refused!(harness.workers(), lease_tasks, cases);
    harness.still_serves().await;
}

#[tokio::test]
async fn an_extension_that_cannot_be_is_refused_and_strange_tokens_hold_nothing() {
    let harness = Harness::start().await;
    let extend = |bad| pb::ExtendLeasesRequest {
        lease_tokens: vec![Bytes::from_static(&[1; 32])],
        lease_ttl: Some(bad),
        ..Default::default()
    };
    let mut cases = durations("lease_ttl", extend);
    cases.push((
        extend(make::ms(999)),
        Expected::field("lease_ttl", &["at least 1 s"]),
    ));
    refused!(harness.workers(), extend_leases, cases);
    let strange = pb::ExtendLeasesRequest {
        lease_tokens: [&b""[..], b"short", &[9; 32]]
            .map(Bytes::copy_from_slice)
            .to_vec(),
        lease_ttl: None,
        ..Default::default()
    };
    let answer = harness
        .workers()
        .extend_leases(strange)
        .await
        .unwrap()
        .into_inner();
    assert!(answer.extensions.len() == 3 && answer.extensions.iter().all(|one| !one.held));
    harness.still_serves().await;
}
