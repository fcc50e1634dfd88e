//! Good requests at the wrong time: the task stands elsewhere, the count is another one.

use redrive_client::NewTask;
use redrive_proto::v1 as pb;
use redrive_tests::refusal::Expected;
use redrive_tests::{Harness, RawWorker, make};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::{refused, stream_refused};

fn wrong_state(says: &[&str]) -> Expected {
    Expected::reason(Code::FailedPrecondition, "WRONG_STATE", says)
}

fn cancel(id: &str) -> pb::CancelTaskRequest {
    pb::CancelTaskRequest {
        task_id: id.to_owned(),
        ..Default::default()
    }
}

fn redrive(id: &str) -> pb::RedriveTaskRequest {
    pb::RedriveTaskRequest {
        task_id: id.to_owned(),
        ..Default::default()
    }
}

fn dead_letter(id: &str) -> pb::GetDeadLetterRequest {
    pb::GetDeadLetterRequest {
        task_id: id.to_owned(),
    }
}

fn update(id: &str) -> pb::UpdateTaskRequest {
    let timeouts = Some(pb::Timeouts {
        soft: None,
        hard: Some(make::ms(5)),
        ..Default::default()
    });
    pb::UpdateTaskRequest {
        task_id: id.to_owned(),
        timeouts,
        ..Default::default()
    }
}

/// The details for machines say which task stands where.
fn names_the_state(status: &Status, id: &str) {
    let details = status.get_error_details();
    assert_eq!(details.error_info().unwrap().metadata["state"], "DEAD");
    let violation = &details.precondition_failure().unwrap().violations[0];
    assert_eq!(
        (&*violation.r#type, &*violation.subject),
        ("TASK_STATE", id)
    );
}

#[tokio::test]
async fn what_a_tasks_state_does_not_allow_is_refused_with_the_state_and_the_way_out() {
    let harness = Harness::start().await;
    let mut worker = RawWorker::hello(harness.address(), make::hello("w", "q", 1)).await;
    let enqueue = async || {
        harness
            .enqueue(NewTask::new("q", "k").max_attempts(1))
            .await
    };
    let finished = enqueue().await;
    let delivery = worker.next_delivery().await;
    worker.complete(&delivery).await;
    let dead = enqueue().await;
    let delivery = worker.next_delivery().await;
    worker.report_one(make::fail(&delivery, "no")).await;
    let running = enqueue().await;
    worker.next_delivery().await;
    worker.round_trip().await;
    let ready = enqueue().await;

    let cases = [
        (
            cancel(&finished),
            wrong_state(&[&finished, "SUCCEEDED", "only live tasks"]),
        ),
        (
            cancel(&dead),
            wrong_state(&["DEAD", "discard a dead letter instead"]),
        ),
    ];
    refused!(harness.tasks(), cancel_task, cases);
    let cases = [
        (
            redrive(&finished),
            wrong_state(&["SUCCEEDED", "only dead letters are redriven"]),
        ),
        (
            redrive(&running),
            wrong_state(&["RUNNING", "only dead letters are redriven"]),
        ),
        (
            redrive(&ready),
            wrong_state(&["READY", "only dead letters are redriven"]),
        ),
    ];
    refused!(harness.dead_letters(), redrive_task, cases);
    let cases = [
        (
            dead_letter(&finished),
            wrong_state(&["SUCCEEDED", "TaskService.GetTask"]),
        ),
        (
            dead_letter(&ready),
            wrong_state(&["READY", "TaskService.GetTask"]),
        ),
    ];
    refused!(harness.dead_letters(), get_dead_letter, cases);
    let cases = [(
        update(&finished),
        wrong_state(&["SUCCEEDED", "it is over, nothing of it can change"]),
    )];
    refused!(harness.tasks(), update_task, cases);

    let status = harness.tasks().cancel_task(cancel(&dead)).await;
    names_the_state(&status.unwrap_err(), &dead);
    harness.still_serves().await;
}

#[tokio::test]
async fn a_bulk_act_on_another_count_than_expected_does_nothing() {
    let harness = Harness::start().await;
    let mut worker = RawWorker::hello(harness.address(), make::hello("w", "q", 1)).await;
    for _ in 0..3 {
        harness
            .enqueue(NewTask::new("q", "k").max_attempts(1))
            .await;
        let delivery = worker.next_delivery().await;
        worker.report_one(make::fail(&delivery, "no")).await;
    }
    let without = pb::DiscardDeadLettersRequest::default();
    let required = Expected::field("expected_count", &["required", "no undo", "dry_run"]);
    stream_refused!(
        harness.dead_letters(),
        discard_dead_letters,
        [(without, required)]
    );
    let differs = |says: &[&str]| Expected::reason(Code::FailedPrecondition, "COUNT_DIFFERS", says);
    let says = ["3 dead letters", "2 were expected", "expected_count = 3"];
    let discard = pb::DiscardDeadLettersRequest {
        expected_count: Some(2),
        ..Default::default()
    };
    stream_refused!(
        harness.dead_letters(),
        discard_dead_letters,
        [(discard, differs(&says))]
    );
    let redrive = pb::RedriveDeadLettersRequest {
        expected_count: Some(2),
        ..Default::default()
    };
    stream_refused!(
        harness.dead_letters(),
        redrive_dead_letters,
        [(redrive, differs(&says))]
    );
    let none = pb::DiscardDeadLettersRequest {
        selection: Some(pb::Selection {
            queue: "elsewhere".to_owned(),
            ..Default::default()
        }),
        expected_count: Some(1),
        ..Default::default()
    };
    let says = ["0 dead letters", "1 were expected"];
    stream_refused!(
        harness.dead_letters(),
        discard_dead_letters,
        [(none, differs(&says))]
    );
    assert_eq!(
        harness
            .client()
            .queue("q")
            .await
            .unwrap()
            .counts
            .unwrap()
            .dead,
        3
    );
    harness.still_serves().await;
}

#[tokio::test]
async fn nothing_new_is_taken_while_the_coordinator_goes_down() {
    let harness = Harness::start().await;
    let proxy = redrive_tests::Proxy::start(harness.address()).await;
    // A connection that does not end keeps the server going until its deadline.
    let hello = make::hello("w", "q", 1);
    let mut worker = RawWorker::hello(proxy.address(), hello).await;
    worker.round_trip().await;
    proxy.hold_answers();
    let mut tasks = harness.tasks();
    let stop = harness.stop();
    let told = async {
        loop {
            let task = Some(make::spec("q", "k"));
            let request = pb::EnqueueTaskRequest {
                task,
                ..Default::default()
            };
            if let Err(status) = tasks.enqueue_task(request).await {
                return status;
            }
        }
    };
    let (stopped, status) = tokio::join!(stop, redrive_tests::within("a refusal", told));
    stopped.unwrap();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
}

#[tokio::test]
async fn a_limit_that_is_reached_is_named_with_its_number() {
    let harness = Harness::start().await;
    let expected = |says: &[&str]| {
        let code = Code::ResourceExhausted;
        Expected::reason(code, "LIMIT_REACHED", says)
    };
    let mut kinds = (0..1025).map(|n| make::spec("q", &format!("k{n}")));
    let tasks = kinds.by_ref().take(1000).collect();
    let request = pb::EnqueueTasksRequest {
        tasks,
        ..Default::default()
    };
    harness.tasks().enqueue_tasks(request).await.unwrap();
    let tasks = kinds.collect();
    let request = pb::EnqueueTasksRequest {
        tasks,
        ..Default::default()
    };
    let answer = harness.tasks().enqueue_tasks(request).await.unwrap();
    let results = answer.into_inner().results;
    let (last, accepted) = results.split_last().unwrap();
    let is_accepted =
        |one: &pb::EnqueueResult| matches!(one.result, Some(pb::enqueue_result::Result::TaskId(_)));
    assert!(accepted.iter().all(is_accepted));
    let Some(pb::enqueue_result::Result::Refusal(refusal)) = &last.result else {
        panic!("{last:?}");
    };
    expected(&["kinds and versions of pending tasks in the queue", "1024"]).check("kinds", refusal);
    assert!(refusal.retry_after.is_some(), "when workers have caught up");

    let lease = |tasks_max| pb::LeaseTasksRequest {
        worker: Some(make::worker_info("greedy", "q")),
        tasks_max,
        ..Default::default()
    };
    let mut held = 0;
    for tasks_max in [1000, 1000] {
        let answer = harness.workers().lease_tasks(lease(tasks_max)).await;
        held += answer.unwrap().into_inner().deliveries.len();
    }
    assert_eq!(held, 1024);
    let cases = [(lease(1), expected(&["leases of this worker", "1024"]))];
    refused!(harness.workers(), lease_tasks, cases);
    harness.still_serves().await;
}
