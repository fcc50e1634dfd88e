//! Chains: the result of a task is the payload of the next one.

use std::time::Duration;

use redrive_client::{Cancel, NewTask, NextTask};
use redrive_proto::v1::{self as pb, TaskState, Transition};
use redrive_tests::harness::End;
use redrive_tests::refusal::Expected;
use redrive_tests::{Harness, SdkWorker, make};
use redrive_worker::{Json, TaskContext, TaskError, TaskResult};

use super::{folder, made, of_kind, raw, raw_of, refused_alone, sdk, task};

/// Appends its kind.
async fn append(
    Json(mut words): Json<Vec<String>>,
    task: TaskContext,
) -> TaskResult<Json<Vec<String>>> {
    words.push(task.kind().to_owned());
    Ok(Json(words))
}

fn next(kind: &str) -> NextTask {
    NextTask::new(kind).queue("after")
}

#[tokio::test]
async fn three_links_hand_on_their_results_and_the_last_one_makes_on_success() {
    let harness = Harness::start().await;
    let builder = sdk(&harness).queue("after", 1);
    let builder = ["fetch", "resize", "store"]
        .into_iter()
        .fold(builder, |builder, kind| builder.task(kind, append));
    let worker = SdkWorker::start(builder.build().unwrap());
    let new = NewTask::new("q", "fetch").json(&["cat.png"]).unwrap();
    let new = new
        .then(NextTask::new("resize").label("size", "small"))
        .then(next("store"))
        .on_success(next("thank"))
        .result_ttl(Duration::from_secs(600));
    let id = harness.enqueue(new).await;
    let first = harness.end_of(&id).await;
    let second = made(&harness, "q", "resize").await;
    let third = made(&harness, "after", "store").await;
    let third = harness.end_of(&third.task_id).await;
    let words = |task: &pb::Task| -> Vec<String> {
        serde_json::from_slice(&task.result.as_ref().unwrap().data).unwrap()
    };
    assert_eq!(words(&third), ["cat.png", "fetch", "resize", "store"]);
    let spec = second.spec.unwrap();
    assert_eq!(spec.payload, first.result, "bytes and content type");
    assert_eq!(&*spec.labels["size"], "small");
    assert_eq!(spec.then.len(), 1, "it carries the rest on");
    for (made, by) in [(&second.cause, &id), (&third.cause, &second.task_id)] {
        let cause = made.as_ref().unwrap();
        assert_eq!(
            (&cause.task_id, cause.transition()),
            (by, Transition::Chained)
        );
    }
    let ttl = third.effective.unwrap().result_ttl.unwrap();
    assert_eq!(ttl.duration, Some(make::ms(600_000)), "carried on too");
    let thank = made(&harness, "after", "thank").await.cause.unwrap();
    assert_eq!(thank.task_id, third.task_id, "once, at the end");
    worker.stop().await;
}

#[tokio::test]
async fn a_link_that_fails_ends_the_chain_with_its_own_facts_and_a_redrive_goes_on() {
    let harness = Harness::start().await;
    let mut worker = raw(&harness).await;
    let new = task(1, 1)
        .then(NextTask::new("second"))
        .then(NextTask::new("third"))
        .on_success(next("thank"))
        .on_exhausted(next("page"));
    harness.enqueue(new).await;
    let first = worker.next_delivery().await;
    worker.report_one(make::complete_with(&first, "one")).await;
    harness
        .client()
        .set_kind(
            "second",
            pb::KindSettings {
                max_attempts: Some(1),
                ..Default::default()
            },
        )
        .await
        .unwrap();
    let second = worker.next_delivery().await;
    assert_eq!(second.payload.as_ref().unwrap().data, "one");
    worker.report_one(make::fail(&second, "no")).await;
    let page = made(&harness, "after", "page").await;
    assert_eq!(page.cause.unwrap().task_id, second.task_id);
    worker.round_trip().await;
    assert!(worker.deliveries.is_empty(), "it ended there");
    let client = harness.client();
    client
        .redrive(&second.task_id, Duration::ZERO, "")
        .await
        .unwrap();
    let second = worker.next_delivery().await;
    // Without a result the next one has no payload.
    worker.complete(&second).await;
    let third = worker.next_delivery().await;
    assert_eq!(
        (&*third.kind, third.payload.unwrap_or_default().data.len()),
        ("third", 0)
    );
    assert!(of_kind(&harness, "after", "thank").await.is_empty());
}

#[tokio::test]
async fn a_cancelled_link_ends_the_chain_and_makes_on_cancelled() {
    let harness = Harness::start().await;
    let mut worker = raw(&harness).await;
    let late = NextTask::new("second").delay(Duration::from_secs(3600));
    let new = task(1, 1).then(late).on_cancelled(next("undo"));
    harness.enqueue(new).await;
    let first = worker.next_delivery().await;
    worker.complete(&first).await;
    let second = made(&harness, "q", "second").await;
    assert_eq!(second.state(), TaskState::Scheduled);
    let cancelled = harness
        .client()
        .cancel_with(&second.task_id, Cancel::force());
    cancelled.await.unwrap();
    let undo = made(&harness, "after", "undo").await.cause.unwrap();
    assert_eq!(undo.task_id, second.task_id);
}

#[tokio::test]
async fn a_chain_of_the_longest_length_runs_to_its_end() {
    let harness = Harness::start().await;
    let mut worker = raw(&harness).await;
    let new = (1..=32).fold(task(1, 1), |new, n| {
        new.then(NextTask::new(format!("k{n}")))
    });
    harness.enqueue(new.on_success(NextTask::new("last"))).await;
    for n in 0..=32 {
        let delivery = worker.next_delivery().await;
        let before = delivery.payload.clone().unwrap_or_default();
        assert_eq!(
            before.data,
            if n == 0 {
                String::new()
            } else {
                (n - 1).to_string()
            }
        );
        worker
            .report_one(make::complete_with(&delivery, &n.to_string()))
            .await;
    }
    assert_eq!(
        worker.next_delivery().await.kind,
        "last",
        "no link is a hop"
    );
}

/// The next task of a queue, leased by a call, so that nothing else is under way.
async fn leased(harness: &Harness, queue: &str) -> pb::Delivery {
    let request = pb::LeaseTasksRequest {
        worker: Some(make::worker_info("w", queue)),
        wait: Some(make::ms(20_000)),
        ..Default::default()
    };
    let leased = harness.workers().lease_tasks(request).await.unwrap();
    leased.into_inner().deliveries.remove(0)
}

#[tokio::test]
async fn a_chain_goes_on_exactly_once_over_restarts() {
    for end in End::ALL {
        let folder = folder();
        let mut harness = Harness::on(folder.path()).await;
        let new = task(1, 1).then(next("second")).then(next("third"));
        harness.enqueue(new.on_success(next("thank"))).await;
        let links = [("q", "k"), ("after", "second"), ("after", "third")];
        for (queue, kind) in links {
            let delivery = leased(&harness, queue).await;
            assert_eq!(delivery.kind, kind, "{end:?}");
            let reports = vec![make::complete_with(&delivery, kind)];
            let request = pb::ReportTasksRequest { reports };
            harness.workers().report_tasks(request).await.unwrap();
            harness = harness.again(end).await;
        }
        let mut worker = raw_of(&harness, "w", "after").await;
        let thank = worker.next_delivery().await;
        assert_eq!(thank.kind, "thank", "{end:?}");
        worker.complete(&thank).await;
        worker.round_trip().await;
        assert!(worker.deliveries.is_empty(), "{end:?}");
        let counts = harness.client().queue("after").await.unwrap().counts;
        assert_eq!(counts.unwrap().enqueued_total, 3, "{end:?}");
    }
}

#[tokio::test]
async fn a_chain_that_cannot_be_is_refused_alone() {
    let harness = Harness::start().await;
    let link = |change: fn(&mut pb::TaskTemplate)| {
        let mut template = pb::TaskTemplate {
            kind: "next".to_owned(),
            ..Default::default()
        };
        change(&mut template);
        template
    };
    let good = || link(|_| {});
    let spec = |then| pb::TaskSpec {
        then,
        ..make::spec("q", "k")
    };
    let of = Expected::field;
    let cases = vec![
        (
            spec(vec![good(); 33]),
            of("then", &["33", "at most 32", "another chain"]),
        ),
        (
            spec(vec![
                good(),
                link(|it| it.payload = Some(make::payload("x"))),
            ]),
            of("then[1].payload", &["result of the task before"]),
        ),
        (
            spec(vec![link(|it| it.kind.clear())]),
            of("then[0].kind", &["required"]),
        ),
        (
            spec(vec![link(|it| it.queue = "a b".to_owned())]),
            of("then[0].queue", &["use letters"]),
        ),
    ];
    refused_alone(&harness, cases).await;
}

#[tokio::test]
async fn a_handler_that_fails_its_payload_ends_the_chain_as_failed() {
    let harness = Harness::start().await;
    async fn text(_: TaskContext) -> TaskResult<Json<&'static str>> {
        Ok(Json("not a list"))
    }
    async fn give_up(_: TaskContext) -> TaskResult<()> {
        Err(TaskError::discard("nobody wants it"))
    }
    let builder = sdk(&harness).task("k", text).task("list", append);
    let builder = builder.task("discard", give_up);
    let _worker = SdkWorker::start(builder.build().unwrap());
    harness
        .enqueue(task(1, 1).then(NextTask::new("list")))
        .await;
    let list = made(&harness, "q", "list").await;
    let dead = harness.end_of(&list.task_id).await;
    assert_eq!(dead.state(), TaskState::Dead);
    let failure = dead.last_failure.unwrap();
    assert_eq!(
        failure.failure_class(),
        redrive_worker::FailureClass::Invalid
    );
    let chain = task(1, 1)
        .then(NextTask::new("discard"))
        .then(NextTask::new("k"));
    harness.enqueue(chain.on_success(next("thank"))).await;
    let discarded = made(&harness, "q", "discard").await;
    assert_eq!(
        harness.end_of(&discarded.task_id).await.state(),
        TaskState::Discarded
    );
    assert_eq!(
        of_kind(&harness, "q", "k").await.len(),
        2,
        "and no third one"
    );
}
