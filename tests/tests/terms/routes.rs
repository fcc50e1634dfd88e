//! Dead-letter queues: where a dead task goes on, by what failed, and never in a loop.

use std::time::Duration;

use redrive_client::{NewTask, NextTask};
use redrive_proto::v1::{self as pb, TaskState};
use redrive_tests::harness::End;
use redrive_tests::refusal::Expected;
use redrive_tests::{Harness, RawWorker, make};

use super::{folder, made, of_kind, raw, raw_of, refused, refused_alone};

/// A policy whose rule for bad data sends it to the queue "data".
fn sorting() -> pb::RetryPolicy {
    let rule = |id: &str, class: pb::FailureClass, queue: &str| pb::RetryRule {
        id: id.to_owned(),
        r#match: Some(pb::FailureMatch {
            classes: vec![class.into()],
            ..Default::default()
        }),
        dead_letter_queue: queue.to_owned(),
        ..Default::default()
    };
    let action = pb::RuleAction::DeadLetter.into();
    let backoff = Some(make::exactly(1));
    pb::RetryPolicy {
        rules: vec![
            pb::RetryRule {
                action,
                ..rule("bad-data", pb::FailureClass::Invalid, "data")
            },
            pb::RetryRule {
                max_attempts: 2,
                backoff,
                ..rule("locked", pb::FailureClass::Conflict, "locks")
            },
        ],
        ..make::policy(1, 1)
    }
}

/// The next task of this worker fails so.
async fn fails(worker: &mut RawWorker, class: pb::FailureClass) -> (pb::Delivery, TaskState) {
    let delivery = worker.next_delivery().await;
    let failure = pb::Failure {
        failure_class: class.into(),
        message: "no".to_owned(),
        ..Default::default()
    };
    let outcome = pb::report::Outcome::Fail(pb::Fail {
        failure: Some(failure),
        ..Default::default()
    });
    let ack = worker.report_one(make::report(&delivery.lease_token, outcome));
    let state = ack.await.state();
    (delivery, state)
}

async fn sends_to(harness: &Harness, queue: &str, target: &str) {
    let settings = pb::QueueSettings {
        dead_letter_queue: target.to_owned(),
        ..Default::default()
    };
    let updated = harness
        .client()
        .update_queue(queue, settings, &["dead_letter_queue"]);
    updated.await.unwrap();
}

#[tokio::test]
async fn the_rule_goes_first_then_the_kind_then_the_queue() {
    let harness = Harness::start().await;
    let mut worker = raw(&harness).await;
    sends_to(&harness, "q", "of-queue").await;
    let of_kind = pb::KindSettings {
        dead_letter_queue: "of-kind".to_owned(),
        ..Default::default()
    };
    harness.client().set_kind("special", of_kind).await.unwrap();
    use pb::FailureClass::{Conflict, Internal, Invalid};
    for (kind, class, runs, queue) in [
        ("special", Invalid, 1, "data"),
        ("special", Conflict, 2, "locks"),
        ("special", Internal, 1, "of-kind"),
        ("plain", Internal, 1, "of-queue"),
    ] {
        let new = NewTask::new("q", kind).inline_retry_policy(sorting());
        let id = harness.enqueue(new).await;
        for run in 1..=runs {
            let (_, state) = fails(&mut worker, class).await;
            assert_eq!(
                state == TaskState::Routed,
                run == runs,
                "{queue}: {state:?}"
            );
        }
        assert_eq!(harness.end_of(&id).await.state(), TaskState::Routed);
        let copy = made(&harness, queue, kind).await;
        assert_eq!(copy.origin_task_id, id, "{queue}");
        assert_eq!(copy.budgets.unwrap().failures, 0, "a fresh budget");
        assert_eq!(copy.last_failure.unwrap().message, "no");
    }
}

#[tokio::test]
async fn a_routed_task_takes_its_work_along_and_leaves_its_keys_behind() {
    let harness = Harness::start().await;
    sends_to(&harness, "q", "review").await;
    let mut worker = raw(&harness).await;
    let new = NewTask::new("q", "k").json("order 17").unwrap();
    let new = new
        .inline_retry_policy(make::policy(1, 1))
        .label("tenant", "acme")
        .idempotency_key("a")
        .on_failure(NextTask::new("note").queue("notes"))
        .then(NextTask::new("second"));
    let id = harness.enqueue(new).await;
    let delivery = worker.next_delivery().await;
    let report = pb::Report {
        checkpoint: Some(make::payload("row 7")),
        ..make::fail(&delivery, "no")
    };
    worker.report_one(report).await;
    let mut review = raw_of(&harness, "w2", "review").await;
    let copy = review.next_delivery().await;
    assert_eq!(&*copy.payload.as_ref().unwrap().data, br#""order 17""#);
    assert_eq!(&*copy.checkpoint.as_ref().unwrap().data, b"row 7");
    assert_eq!(&*copy.labels["tenant"], "acme");
    assert_eq!((&*copy.idempotency_key, copy.attempt), ("", 1));
    let named = redrive_client::TaskRef::key("q", "a");
    assert_eq!(harness.client().get(named).await.unwrap().task_id, id);
    // Routed is failed, for those who follow; and the chain goes on where the copy succeeds.
    let note = made(&harness, "notes", "note").await.cause.unwrap();
    assert_eq!(note.task_id, id);
    review.report_one(make::complete_with(&copy, "one")).await;
    let second = review.next_delivery().await;
    assert_eq!(
        (&*second.kind, &*second.payload.unwrap().data),
        ("second", &b"one"[..])
    );
}

#[tokio::test]
async fn a_task_never_comes_to_a_queue_where_it_has_been() {
    let harness = Harness::start().await;
    sends_to(&harness, "q", "p").await;
    sends_to(&harness, "p", "q").await;
    let mut worker = raw(&harness).await;
    let mut other = raw_of(&harness, "w2", "p").await;
    let new = NewTask::new("q", "k").inline_retry_policy(make::policy(1, 1));
    harness.enqueue(new).await;
    let (_, state) = fails(&mut worker, pb::FailureClass::Internal).await;
    assert_eq!(state, TaskState::Routed);
    let (copy, state) = fails(&mut other, pb::FailureClass::Internal).await;
    assert_eq!(state, TaskState::Dead, "it stays there");
    worker.round_trip().await;
    assert!(worker.deliveries.is_empty());
    // Redriven it may die again, and stays again.
    let client = harness.client();
    client
        .redrive(&copy.task_id, Duration::ZERO, "")
        .await
        .unwrap();
    let (_, state) = fails(&mut other, pb::FailureClass::Internal).await;
    assert_eq!(state, TaskState::Dead);
}

#[tokio::test]
async fn what_expires_is_routed_and_its_time_begins_anew() {
    let harness = Harness::start().await;
    sends_to(&harness, "q", "review").await;
    let new = NewTask::new("q", "k").ttl(Duration::from_millis(100));
    let id = harness.enqueue(new).await;
    let ended = harness.end_of(&id).await;
    assert_eq!(ended.state(), TaskState::Routed);
    let copy = made(&harness, "review", "k").await;
    assert_eq!(copy.origin_task_id, id);
    let dead = harness.end_of(&copy.task_id).await;
    assert_eq!(
        (dead.state(), &*dead.state_reason),
        (TaskState::Dead, "TTL_EXPIRED")
    );
    assert!(make::ms_between(ended.end_time, dead.end_time) >= 100);
}

#[tokio::test]
async fn a_routed_task_is_there_exactly_once_over_restarts() {
    for end in End::ALL {
        let folder = folder();
        let mut harness = Harness::on(folder.path()).await;
        sends_to(&harness, "q", "review").await;
        let mut worker = raw(&harness).await;
        let new = NewTask::new("q", "k").inline_retry_policy(make::policy(1, 1));
        let id = harness.enqueue(new).await;
        fails(&mut worker, pb::FailureClass::Internal).await;
        drop(worker);
        for _ in 0..3 {
            harness = harness.again(end).await;
            assert_eq!(harness.task(&id).await.state(), TaskState::Routed);
            let copies = of_kind(&harness, "review", "k").await;
            assert_eq!(copies.len(), 1, "{end:?}: {copies:?}");
            assert_eq!(copies[0].origin_task_id, id, "{end:?}");
        }
    }
}

#[tokio::test]
async fn a_dead_letter_queue_that_cannot_be_is_refused() {
    let harness = Harness::start().await;
    let of = Expected::field;
    let spec = |queue: &str| {
        let mut policy = sorting();
        policy.rules[0].dead_letter_queue = queue.to_owned();
        pb::TaskSpec {
            retry: Some(pb::task_spec::Retry::InlineRetryPolicy(Box::new(policy))),
            ..make::spec("q", "k")
        }
    };
    let at = "inline_retry_policy.rules[0].dead_letter_queue";
    let cases = vec![(spec("a b"), of(at, &["use letters"]))];
    refused_alone(&harness, cases).await;
    let kind = |queue: &str| pb::SetKindRequest {
        kind: "k".to_owned(),
        settings: Some(pb::KindSettings {
            dead_letter_queue: queue.to_owned(),
            ..Default::default()
        }),
        ..Default::default()
    };
    let at = "settings.dead_letter_queue";
    refused!(
        harness.kinds(),
        set_kind,
        [(kind("a b"), of(at, &["use letters"]))]
    );
    let queue = |target: &str| pb::UpdateQueueRequest {
        queue: "q".to_owned(),
        settings: Some(pb::QueueSettings {
            dead_letter_queue: target.to_owned(),
            ..Default::default()
        }),
        ..Default::default()
    };
    let cases = [
        (queue("q"), of(at, &["the queue itself", "name another"])),
        (queue("a b"), of(at, &["use letters"])),
    ];
    refused!(harness.queues(), update_queue, cases);
}
