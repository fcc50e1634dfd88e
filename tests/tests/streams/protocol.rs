//! Hello, tokens, receipts, capacity, and what is refused without ending the stream.

use std::collections::BTreeSet;

use bytes::Bytes;
use redrive_client::NewTask;
use redrive_proto::v1::{self as pb, ReportStatus, TaskState, work_request::Message};
use redrive_tests::raw_worker::open;
use redrive_tests::refusal::Expected;
use redrive_tests::{Harness, make, within};
use tonic::Code;

use super::{enqueue, raw};

fn receipt(received_through: u64, buffered: &[u64]) -> Message {
    Message::Receipt(pb::Receipt {
        received_through,
        buffered: buffered.to_vec(),
    })
}

#[tokio::test]
async fn a_stream_begins_with_hello_or_ends() {
    let harness = Harness::start().await;
    let before = [
        Message::Pong(pb::Pong::default()),
        Message::Capacity(pb::Capacity::default()),
        receipt(0, &[]),
        Message::Goodbye(pb::Goodbye::default()),
        Message::Reports(pb::ReportBatch {
            reports: vec![pb::Report::default()],
        }),
    ];
    let expected = Expected::reason(
        Code::FailedPrecondition,
        "HELLO_EXPECTED",
        &["first message", "must be Hello"],
    );
    for first in before {
        let name = format!("{first:?}");
        let (_requests, mut responses) = open(harness.address(), Some(first)).await.unwrap();
        expected.check_status(&name, within("the end", responses.message()).await);
    }
    let (requests, mut responses) = open(harness.address(), None).await.unwrap();
    drop(requests);
    expected.check_status(
        "nothing at all",
        within("the end", responses.message()).await,
    );
    harness.still_serves().await;
}

#[tokio::test]
async fn a_second_hello_is_refused_in_the_stream_which_goes_on() {
    let harness = Harness::start().await;
    let mut worker = raw(&harness, "w", 1).await;
    assert!(!worker.welcome.resumed && worker.welcome.lost.is_empty());
    worker.say(Message::Hello(make::hello("w", "q", 1))).await;
    let refusal = worker.next_refusal().await;
    let expected = Expected::reason(
        Code::FailedPrecondition,
        "HELLO_REPEATED",
        &["open another stream"],
    );
    expected.check("a second Hello", &refusal);
    let id = enqueue(&harness).await;
    let delivery = worker.next_delivery().await;
    assert_eq!(delivery.task_id, id);
    worker.complete(&delivery).await;
}

#[tokio::test]
async fn a_message_that_says_nothing_is_refused_in_the_stream_which_goes_on() {
    let harness = Harness::start().await;
    let mut worker = raw(&harness, "w", 1).await;
    worker
        .requests
        .send(pb::WorkRequest { message: None })
        .await
        .unwrap();
    Expected::field("message", &["empty"]).check("empty", &worker.next_refusal().await);
    let reason = "x".repeat(257);
    worker.say(Message::Goodbye(pb::Goodbye { reason })).await;
    let refusal = worker.next_refusal().await;
    Expected::field("goodbye.reason", &["257", "256"]).check("a long goodbye", &refusal);
    worker
        .say(Message::Reports(pb::ReportBatch::default()))
        .await;
    let refusal = worker.next_refusal().await;
    Expected::field("reports.reports", &["1 to 1000"]).check("no reports", &refusal);
    worker.round_trip().await;
}

#[tokio::test]
async fn short_forged_and_strange_tokens_harm_nobody() {
    let harness = Harness::start().await;
    let mut worker = raw(&harness, "w", 2).await;
    let mut other = raw(&harness, "other", 0).await;
    let id = enqueue(&harness).await;
    let delivery = worker.next_delivery().await;
    let real = delivery.lease_token.clone();
    let mut forged = real.to_vec();
    *forged.last_mut().unwrap() ^= 1;
    let complete = || pb::report::Outcome::Complete(pb::Complete::default());
    let report = |token: &[u8]| make::report(&Bytes::copy_from_slice(token), complete());

    let acks = worker
        .report(vec![
            report(b""),
            report(&real[..31]),
            report(&[real.as_ref(), b"x"].concat()),
            report(&[0; 32]),
            report(&forged),
        ])
        .await;
    for (index, words) in [(0, "is required"), (1, "31 bytes"), (2, "33 bytes")] {
        assert_eq!(acks[index].status(), ReportStatus::Invalid, "{index}");
        let refusal = acks[index].refusal.as_ref().unwrap();
        Expected::field("lease_token", &[words]).check("token", refusal);
    }
    for ack in &acks[3..] {
        let harmless = [
            ReportStatus::Gone,
            ReportStatus::Superseded,
            ReportStatus::Invalid,
        ];
        assert!(harmless.contains(&ack.status()), "{ack:?}");
    }
    assert_eq!(harness.task(&id).await.worker_id, "w", "the lease is held");
    // Whoever has the token has the lease: tokens are what reports are known by.
    let ack = other.report_one(report(&real)).await;
    assert_eq!(
        (ack.status(), ack.state()),
        (ReportStatus::Recorded, TaskState::Succeeded)
    );
    let ack = worker.report_one(report(&real)).await;
    assert_eq!(ack.status(), ReportStatus::Duplicate);
}

#[tokio::test]
async fn a_report_without_an_outcome_leaves_the_lease_held_and_can_be_sent_again() {
    let harness = Harness::start().await;
    let mut worker = raw(&harness, "w", 1).await;
    enqueue(&harness).await;
    let delivery = worker.next_delivery().await;
    let empty = pb::Report {
        outcome: None,
        ..make::complete(&delivery)
    };
    let ack = worker.report_one(empty).await;
    assert_eq!(ack.status(), ReportStatus::Invalid);
    let refusal = ack.refusal.unwrap();
    Expected::field(
        "outcome",
        &["complete, fail, retry, defer, release or discard"],
    )
    .check("no outcome", &refusal);
    worker.complete(&delivery).await;
}

#[tokio::test]
async fn capacity_is_never_exceeded() {
    const TASKS: usize = 50;
    let harness = Harness::start().await;
    let mut ids = BTreeSet::new();
    for _ in 0..TASKS {
        ids.insert(enqueue(&harness).await);
    }
    let mut worker = raw(&harness, "w", 2).await;
    for done in 0..TASKS {
        worker.round_trip().await;
        let held = worker.deliveries.len();
        assert_eq!(held, 2.min(TASKS - done), "two slots, both used");
        let delivery = worker.next_delivery().await;
        assert!(ids.remove(&delivery.task_id), "each once");
        worker.complete(&delivery).await;
    }
    assert!(ids.is_empty());
}

#[tokio::test]
async fn lowering_the_capacity_takes_nothing_away_and_raising_it_brings_more() {
    let harness = Harness::start().await;
    let mut worker = raw(&harness, "w", 3).await;
    for _ in 0..6 {
        enqueue(&harness).await;
    }
    let capacity = |tasks_max| {
        Message::Capacity(pb::Capacity {
            tasks_max,
            ..Default::default()
        })
    };
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(worker.next_delivery().await);
    }
    worker.say(capacity(1)).await;
    for delivery in held.drain(1..) {
        worker.complete(&delivery).await;
        worker.round_trip().await;
        assert!(worker.deliveries.is_empty(), "one slot, and it is taken");
    }
    worker.say(capacity(4)).await;
    for _ in 0..3 {
        held.push(worker.next_delivery().await);
    }
    for delivery in held {
        worker.complete(&delivery).await;
    }
}

#[tokio::test]
async fn the_bytes_that_a_worker_holds_are_bounded_but_one_task_is_always_sent() {
    let harness = Harness::start().await;
    for _ in 0..3 {
        harness
            .enqueue(NewTask::new("q", "k").bytes(vec![7; 10_000], ""))
            .await;
    }
    let mut hello = make::hello("w", "q", 10);
    hello.capacity.as_mut().unwrap().bytes_max = 100;
    let mut worker = redrive_tests::RawWorker::hello(harness.address(), hello).await;
    for _ in 0..3 {
        let delivery = worker.next_delivery().await;
        worker.round_trip().await;
        assert!(worker.deliveries.is_empty());
        worker.complete(&delivery).await;
    }
}

#[tokio::test]
async fn receipts_out_of_range_are_refused_and_change_nothing() {
    let harness = Harness::start().await;
    let mut worker = raw(&harness, "w", 2).await;
    let id = enqueue(&harness).await;
    let delivery = worker.next_unstarted().await;
    assert_eq!((delivery.sequence, delivery.run), (1, 1));
    worker.say(receipt(2, &[])).await;
    let refusal = worker.next_refusal().await;
    Expected::field("receipt.received_through", &["is 2", "only 1"]).check("ahead", &refusal);
    worker.say(receipt(1, &[1, 2])).await;
    let refusal = worker.next_refusal().await;
    Expected::field("receipt.buffered[1]", &["above received_through"]).check("ahead", &refusal);
    assert_eq!(
        harness.task(&id).await.state(),
        TaskState::Leased,
        "not begun"
    );
    worker.say(receipt(1, &[1])).await;
    worker.round_trip().await;
    assert_eq!(
        harness.task(&id).await.state(),
        TaskState::Leased,
        "buffered, not begun"
    );
    worker.say(receipt(1, &[])).await;
    worker.round_trip().await;
    assert_eq!(harness.task(&id).await.state(), TaskState::Running);
    worker.say(receipt(0, &[])).await;
    worker.round_trip().await;
    assert_eq!(
        harness.task(&id).await.state(),
        TaskState::Running,
        "receipts never fall"
    );
}

#[tokio::test]
async fn workers_of_one_queue_share_it_and_queues_share_a_worker_by_weight() {
    let harness = Harness::start().await;
    for _ in 0..40 {
        harness.enqueue(NewTask::new("heavy", "k")).await;
        harness.enqueue(NewTask::new("light", "k")).await;
    }
    let mut hello = make::hello("w", "heavy", 1);
    let queues = [("heavy", 3), ("light", 1)];
    hello.worker.as_mut().unwrap().queues = queues
        .map(|(queue, weight)| pb::QueueSubscription {
            queue: queue.to_owned(),
            weight,
        })
        .to_vec();
    let mut worker = redrive_tests::RawWorker::hello(harness.address(), hello).await;
    let mut heavy = 0;
    for _ in 0..40 {
        let delivery = worker.next_delivery().await;
        heavy += u32::from(delivery.queue == "heavy");
        worker.complete(&delivery).await;
    }
    assert_eq!(heavy, 30, "three of four while both have work");
}

#[tokio::test]
async fn what_a_delivery_brings_is_what_was_enqueued() {
    let harness = Harness::start().await;
    let mut worker = raw(&harness, "w", 1).await;
    let new = NewTask::new("q", "k")
        .bytes("body", "text/plain")
        .label("team", "a")
        .priority(pb::Priority::High)
        .timeouts(
            Some(std::time::Duration::from_secs(5)),
            Some(std::time::Duration::from_secs(9)),
        )
        .max_attempts(1);
    let id = harness.enqueue(new).await;
    let delivery = worker.next_delivery().await;
    let payload = delivery.payload.clone().unwrap();
    assert_eq!(
        (&*payload.data, &*payload.content_type),
        (&b"body"[..], "text/plain")
    );
    assert_eq!(
        (&delivery.task_id, &*delivery.namespace, &*delivery.queue),
        (&id, "default", "q")
    );
    assert_eq!(
        (delivery.priority(), &*delivery.labels["team"]),
        (pb::Priority::High, "a")
    );
    assert_eq!(delivery.soft_timeout, Some(make::ms(5000)));
    assert_eq!(delivery.hard_timeout, Some(make::ms(9000)));
    assert_eq!(
        (delivery.run, delivery.attempt, delivery.attempts_max),
        (1, 1, 1)
    );
    assert!(delivery.is_final_attempt && delivery.previous_failure.is_none());
    assert_eq!(delivery.enqueue_time, harness.task(&id).await.enqueue_time);
    assert_eq!(delivery.fence, harness.task(&id).await.fence);
    worker.complete(&delivery).await;
}
