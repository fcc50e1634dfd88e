//! Results: kept for as long as somebody said, and waited for.

use std::time::Duration;

use futures::TryStreamExt as _;
use redrive_client::{NewTask, TaskRef, Waited};
use redrive_proto::v1::{self as pb, Source, TaskState, report::Outcome};
use redrive_tests::harness::End;
use redrive_tests::refusal::Expected;
use redrive_tests::wait::PATIENCE;
use redrive_tests::{Harness, RawWorker, SdkWorker, eventually, make};
use redrive_worker::{Json, Labelled, TaskContext, TaskResult};
use tonic::Code;

use super::{DAY_MS, folder, raw, refused, refused_alone, sdk, task};

async fn complete(harness: &Harness, worker: &mut RawWorker, task: NewTask) -> String {
    let id = harness.enqueue(task).await;
    let delivery = worker.next_delivery().await;
    worker
        .report_one(make::complete_with(&delivery, "done"))
        .await;
    id
}

async fn is_gone(harness: &Harness, id: &str) {
    eventually("it is forgotten", async || {
        let refused = harness.client().get(id).await.err()?;
        assert_eq!(refused.reason(), Some("TASK_NOT_FOUND"));
        Some(())
    })
    .await;
}

#[tokio::test]
async fn those_who_wait_before_the_end_are_answered_with_the_result_even_where_it_is_not_kept() {
    let harness = Harness::start().await;
    async fn greet(Json(name): Json<String>, task: TaskContext) -> TaskResult<Json<String>> {
        assert!(!task.id().is_empty());
        Ok(Json(format!("hello {name}")))
    }
    let new = NewTask::new("q", "k").json("ada").unwrap();
    let new = new.result_ttl(Duration::ZERO).idempotency_key("a");
    let id = harness.enqueue(new).await;
    let by_key = harness.client().wait(TaskRef::key("q", "a"), PATIENCE);
    let by_id = harness.client().wait(&id, PATIENCE);
    let worker = async {
        // The waits are there: one that asks for no time is answered at once.
        let now = harness.client().wait(&id, Duration::ZERO).await.unwrap();
        assert!(matches!(now, Waited::TimedOut(_)));
        SdkWorker::start(sdk(&harness).task("k", greet).build().unwrap())
    };
    let (by_key, by_id, _worker) = tokio::join!(by_key, by_id, worker);
    for waited in [by_key, by_id] {
        let Waited::Ended(task) = waited.unwrap() else {
            panic!("not ended");
        };
        assert_eq!(task.state(), TaskState::Succeeded);
        assert_eq!(&*task.result.unwrap().data, br#""hello ada""#);
    }
    is_gone(&harness, &id).await;
    let refused = harness.client().wait(&id, PATIENCE).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound, "not PENDING");
}

#[tokio::test]
async fn the_nearest_level_says_how_long_and_the_task_shows_until_when() {
    let harness = Harness::start().await;
    let mut worker = raw(&harness).await;
    let terms = |seconds: u64| {
        Some(pb::Terms {
            result_ttl: Some(make::ms(seconds * 1000)),
            ..Default::default()
        })
    };
    let kept = async |worker: &mut RawWorker, new: NewTask| {
        let id = complete(&harness, worker, new).await;
        let task = harness.end_of(&id).await;
        let said = task.effective.unwrap().result_ttl.unwrap();
        let ms = make::ms_between(task.end_time, task.forget_time);
        assert_eq!(said.duration, Some(make::ms(u64::try_from(ms).unwrap())));
        (ms / 1000, said.source())
    };
    let plain = || task(1, 1);
    let own = || plain().result_ttl(Duration::from_secs(60));
    assert_eq!(kept(&mut worker, plain()).await, (3600, Source::Server));
    let settings = pb::QueueSettings {
        terms: terms(600),
        ..Default::default()
    };
    let client = harness.client();
    client.update_queue("q", settings, &[]).await.unwrap();
    assert_eq!(kept(&mut worker, plain()).await, (600, Source::Queue));
    let settings = pb::KindSettings {
        terms: terms(300),
        ..Default::default()
    };
    client.set_kind("k", settings).await.unwrap();
    assert_eq!(kept(&mut worker, plain()).await, (300, Source::Kind));
    assert_eq!(kept(&mut worker, own()).await, (60, Source::Task));
}

#[tokio::test]
async fn of_each_queue_the_latest_ended_tasks_are_kept() {
    let harness = Harness::start().await;
    let settings = pb::QueueSettings {
        finished_max: Some(3),
        ..Default::default()
    };
    let client = harness.client();
    let queue = client.update_queue("q", settings, &["finished_max"]).await;
    assert_eq!(queue.unwrap().settings.unwrap().finished_max, Some(3));
    let mut worker = raw(&harness).await;
    let mut ids = Vec::new();
    for _ in 0..70 {
        ids.push(complete(&harness, &mut worker, task(1, 1)).await);
    }
    is_gone(&harness, &ids[0]).await;
    for id in &ids[67..] {
        assert_eq!(harness.task(id).await.state(), TaskState::Succeeded);
    }
    let selection = client.select("q", "state = SUCCEEDED");
    let kept: Vec<pb::Task> = client.list(selection).try_collect().await.unwrap();
    assert!(kept.len() < 70 && kept.len() <= 3 + 63, "{}", kept.len());
}

#[tokio::test]
async fn results_and_until_when_they_are_kept_outlive_a_restart() {
    for end in End::ALL {
        let folder = folder();
        let harness = Harness::on(folder.path()).await;
        let mut worker = raw(&harness).await;
        let id = complete(&harness, &mut worker, task(1, 1)).await;
        let brief = task(1, 1).result_ttl(Duration::from_millis(1));
        let brief = complete(&harness, &mut worker, brief).await;
        let before = harness.task(&id).await;
        drop(worker);
        let harness = harness.again(end).await;
        assert_eq!(harness.task(&id).await, before, "{end:?}");
        assert_eq!(before.result.as_ref().unwrap().data, "done");
        is_gone(&harness, &brief).await;
        let harness = harness.again(end).await;
        is_gone(&harness, &brief).await;
        assert_eq!(harness.task(&id).await, before, "{end:?}");
    }
}

#[tokio::test]
async fn an_outcome_has_a_label_that_filters_and_metrics_know() {
    let harness = Harness::start().await;
    async fn pay(Json(cents): Json<u32>) -> TaskResult<Labelled<Json<u32>>> {
        let label = if cents > 100 { "too_much" } else { "paid" };
        Ok(Labelled {
            label: label.to_owned(),
            result: Json(cents),
        })
    }
    let _worker = SdkWorker::start(sdk(&harness).task("k", pay).build().unwrap());
    for cents in [1, 2, 1000] {
        let id = harness.enqueue(task(1, 1).json(&cents).unwrap()).await;
        harness.end_of(&id).await;
    }
    let client = harness.client();
    for (filter, count) in [
        ("outcome_label = paid", 2),
        ("outcome_label = too_*", 1),
        ("outcome_label != paid", 1),
        ("outcome_label = nothing", 0),
    ] {
        let found = client.list(client.select("q", filter));
        let found: Vec<pb::Task> = found.try_collect().await.unwrap();
        assert_eq!(found.len(), count, "{filter}");
    }
    let (_, metrics) = harness.get("/metrics").await;
    let line = |label: &str| {
        let mut lines = metrics.lines();
        let line = lines.find(|line| line.contains(&format!("\"{label}\"")));
        line.and_then(|line| line.rsplit(' ').next())
            .unwrap_or("")
            .to_owned()
    };
    assert_eq!(
        (&*line("paid"), &*line("too_much")),
        ("2", "1"),
        "{metrics}"
    );
}

#[tokio::test]
async fn what_cannot_be_kept_or_selected_is_refused() {
    let harness = Harness::start().await;
    let with = |ms: prost_types::Duration| pb::Terms {
        result_ttl: Some(ms),
        ..Default::default()
    };
    let spec = |terms| pb::TaskSpec {
        terms: Some(terms),
        ..make::spec("q", "k")
    };
    let long = || make::ms(30 * DAY_MS + 1);
    let of = Expected::field;
    let says = ["2592000001 ms", "at most 30 days"];
    let cases = vec![
        (spec(Box::new(with(long()))), of("terms.result_ttl", &says)),
        (
            spec(Box::new(with(super::NEGATIVE))),
            of("terms.result_ttl", &["is negative"]),
        ),
    ];
    refused_alone(&harness, cases).await;
    let update = |settings| pb::UpdateQueueRequest {
        queue: "q".to_owned(),
        settings: Some(settings),
        ..Default::default()
    };
    let terms = pb::QueueSettings {
        terms: Some(with(long())),
        ..Default::default()
    };
    let finished = pb::QueueSettings {
        finished_max: Some(100_001),
        ..Default::default()
    };
    let cases = [
        (update(terms), of("settings.terms.result_ttl", &says)),
        (
            update(finished),
            of("settings.finished_max", &["100001", "at most 100000"]),
        ),
    ];
    refused!(harness.queues(), update_queue, cases);
    let list = |filter: &str| pb::ListTasksRequest {
        selection: Some(harness.client().select("", filter)),
        ..Default::default()
    };
    let at = |says: &[&str]| of("selection.filter", says);
    let cases = [
        (
            list("outcome_label < paid"),
            at(&["<", "= or !=", "character 15"]),
        ),
        (
            list("outcome_label"),
            at(&["nothing at character 14", "= or !="]),
        ),
    ];
    refused!(harness.tasks(), list_tasks, cases);
    // A label that cannot be leaves the lease where it is.
    let mut worker = raw(&harness).await;
    let id = harness.enqueue(task(1, 1)).await;
    let delivery = worker.next_delivery().await;
    let complete = Outcome::Complete(pb::Complete {
        outcome_label: "too much".to_owned(),
        ..Default::default()
    });
    let ack = worker.report_one(make::report(&delivery.lease_token, complete));
    let refusal = ack.await.refusal.unwrap();
    of("complete.outcome_label", &["' '", "use letters"]).check("label", &refusal);
    worker.complete(&delivery).await;
    assert_eq!(harness.end_of(&id).await.outcome_label, "");
}
