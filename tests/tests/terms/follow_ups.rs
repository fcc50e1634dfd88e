//! Follow-ups: made by a task's end, exactly once, and told all there is to know of it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use redrive_client::{Cancel, NewTask, NextTask};
use redrive_proto::v1::{self as pb, TaskState, Transition};
use redrive_tests::harness::End;
use redrive_tests::refusal::Expected;
use redrive_tests::{Harness, RawWorker, SdkWorker, eventually, make};
use redrive_worker::{
    FailureClass, FailureContext, Json, Labelled, State, TaskContext, TaskError, TaskResult,
    Transition as Told,
};

use super::{folder, hasty, made, of_kind, raw, raw_of, refused, refused_alone, sdk, task};

/// A task that names a follow-up in the queue "after" for every end.
fn followed(max_attempts: u32) -> NewTask {
    let next = |kind: &str| NextTask::new(kind).queue("after");
    task(max_attempts, 1)
        .on_success(next("thank"))
        .on_failure(next("note"))
        .on_exhausted(next("page"))
        .on_cancelled(next("undo"))
}

/// The kinds of all follow-ups that there are, when nothing is under way any more.
async fn follow_ups(harness: &Harness) -> Vec<String> {
    let mut worker = raw_of(harness, "settled", "after").await;
    worker.round_trip().await;
    let mut kinds: Vec<_> = worker.deliveries.iter().map(|it| it.kind.clone()).collect();
    kinds.sort_unstable();
    worker
        .say(pb::work_request::Message::Goodbye(pb::Goodbye::default()))
        .await;
    worker.ended().await.unwrap();
    kinds
}

async fn next(harness: &Harness, worker: &mut RawWorker, new: NewTask) -> (String, pb::Delivery) {
    let id = harness.enqueue(new).await;
    let delivery = worker.next_delivery().await;
    assert_eq!(delivery.task_id, id);
    (id, delivery)
}

#[tokio::test]
async fn each_end_makes_its_own_and_a_retry_makes_none() {
    let harness = Harness::start().await;
    let mut worker = raw(&harness).await;
    let (id, delivery) = next(&harness, &mut worker, followed(2)).await;
    worker.report_one(make::fail(&delivery, "no")).await;
    let delivery = worker.next_delivery().await;
    assert_eq!(follow_ups(&harness).await, [""; 0], "it goes on");
    worker.complete(&delivery).await;
    assert_eq!(follow_ups(&harness).await, ["thank"]);
    let cause = made(&harness, "after", "thank").await.cause.unwrap();
    assert_eq!(
        (&cause.task_id, cause.transition()),
        (&id, Transition::Succeeded)
    );
    let (_, delivery) = next(&harness, &mut worker, followed(1)).await;
    worker.report_one(make::fail(&delivery, "no")).await;
    assert_eq!(follow_ups(&harness).await, ["note", "page", "thank"]);
    let later = followed(1).delay(Duration::from_secs(60));
    let cancelled = harness.enqueue(later).await;
    let client = harness.client();
    client
        .cancel_with(&cancelled, Cancel::if_waiting())
        .await
        .unwrap();
    assert_eq!(
        follow_ups(&harness).await,
        ["note", "page", "thank", "undo"]
    );
    // Not retryable is for good, and no budget is spent.
    let (_, delivery) = next(&harness, &mut worker, followed(5)).await;
    let mut fatal = make::fail(&delivery, "bad data");
    let Some(pb::report::Outcome::Fail(fail)) = &mut fatal.outcome else {
        unreachable!()
    };
    fail.not_retryable = true;
    worker.report_one(fatal).await;
    let notes = ["note", "note", "page", "thank", "undo"];
    assert_eq!(follow_ups(&harness).await, notes);
    let (dead, delivery) = next(&harness, &mut worker, followed(1)).await;
    let discard = pb::report::Outcome::Discard(pb::Discard::default());
    let ack = worker.report_one(make::report(&delivery.lease_token, discard));
    assert_eq!(ack.await.state(), TaskState::Discarded);
    assert_eq!(follow_ups(&harness).await, notes, "a discard makes none");
    assert_eq!(harness.task(&dead).await.cause, None);
}

type Seen = Arc<Mutex<Vec<FailureContext>>>;

async fn ended(State(seen): State<Seen>, Json(context): Json<FailureContext>) -> TaskResult<()> {
    seen.lock().unwrap().push(context);
    Ok(())
}

async fn charge(Json(cents): Json<u32>, task: TaskContext) -> TaskResult<Labelled<Json<u32>>> {
    if cents == 0 {
        task.stopped().await;
        task.check()?;
    }
    if cents > 100 {
        let error = TaskError::new(FailureClass::DependencyDown, "the gateway answered 503");
        let error = error.with_type("python:gateway.Unavailable");
        return Err(error
            .with_ancestor("python:Exception")
            .with_stack("Traceback .."));
    }
    Ok(Labelled {
        label: "paid".to_owned(),
        result: Json(cents + 1),
    })
}

fn worker(harness: &Harness, seen: &Seen) -> SdkWorker {
    let builder = sdk(harness).queue("after", 1).with_state(Arc::clone(seen));
    let builder = ["thank", "note", "page", "undo"]
        .into_iter()
        .fold(builder, |builder, kind| builder.task(kind, ended));
    SdkWorker::start(builder.task("k", charge).build().unwrap())
}

async fn seen_all(seen: &Seen, count: usize) -> Vec<FailureContext> {
    let mut all = eventually("follow-ups have run", async || {
        let seen = seen.lock().unwrap();
        (seen.len() >= count).then(|| seen.clone())
    })
    .await;
    all.sort_by_key(|context| format!("{:?}", context.transition));
    all
}

#[tokio::test]
async fn a_handler_is_told_everything_of_a_failure() {
    let harness = Harness::start().await;
    let seen = Seen::default();
    let _worker = worker(&harness, &seen);
    let new = followed(2).json(&1999).unwrap();
    let next = NextTask::new("page")
        .queue("after")
        .json("on-call")
        .unwrap();
    let new = new
        .on_exhausted(next)
        .label("tenant", "acme")
        .schema_version(2);
    let id = harness.enqueue(new).await;
    let dead = harness.end_of(&id).await;
    let [exhausted, failed] = &seen_all(&seen, 2).await[..] else {
        panic!("{seen:?}")
    };
    assert_eq!(
        (exhausted.transition, failed.transition),
        (Told::Exhausted, Told::Failed)
    );
    for told in [exhausted, failed] {
        assert_eq!((&told.task_id, &*told.namespace), (&id, "default"));
        assert_eq!((&*told.queue, &*told.kind), ("q", "k"));
        assert_eq!((told.schema_version, &*told.labels["tenant"]), (2, "acme"));
        assert_eq!(told.payload_json::<u32>().unwrap(), 1999);
        assert_eq!((told.attempts, told.crashes, told.runs), (2, 0, 2));
        assert_eq!(&*told.reason, "ATTEMPTS_EXHAUSTED");
        let end_time: std::time::SystemTime = dead.end_time.unwrap().try_into().unwrap();
        assert_eq!(told.end_time(), end_time);
        let failure = told.failure.as_ref().unwrap();
        assert_eq!(&*failure.class, "DEPENDENCY_DOWN");
        assert_eq!(&*failure.error_type, "python:gateway.Unavailable");
        assert_eq!(failure.ancestors, ["python:Exception"]);
        assert_eq!(&*failure.message, "the gateway answered 503");
        assert_eq!(&*failure.stack, "Traceback ..");
        let runs: Vec<_> = told
            .history
            .iter()
            .map(|run| (run.run, &*run.outcome))
            .collect();
        assert_eq!(runs, [(1, "FAILED"), (2, "FAILED")]);
        assert!(told.history.iter().all(|run| run.worker_id == "w"));
        assert!(told.result.is_none());
    }
    assert_eq!(
        exhausted.argument_json::<String>().unwrap().unwrap(),
        "on-call"
    );
    assert!(failed.argument.is_none());
}

#[tokio::test]
async fn a_handler_is_told_the_result_of_a_success_and_the_end_of_a_cancel() {
    let harness = Harness::start().await;
    let seen = Seen::default();
    let _worker = worker(&harness, &seen);
    // Nothing is kept of it, and the follow-up has the result all the same.
    let new = followed(2).json(&50).unwrap().result_ttl(Duration::ZERO);
    harness.enqueue(new).await;
    let [told] = &seen_all(&seen, 1).await[..] else {
        panic!("{seen:?}")
    };
    assert_eq!(told.transition, Told::Succeeded);
    assert_eq!(told.result_json::<u32>().unwrap(), Some(51));
    assert_eq!(&*told.outcome_label, "paid");
    assert!(told.failure.is_none() && told.reason.is_empty());
    let id = harness.enqueue(followed(2).json(&0).unwrap()).await;
    harness.task_in(&id, TaskState::Running).await;
    harness.client().cancel(&id, "").await.unwrap();
    let told = seen_all(&seen, 2).await;
    let told = told.iter().find(|told| told.transition == Told::Cancelled);
    let told = told.unwrap();
    assert_eq!(&told.task_id, &id);
    assert_eq!(&*told.history[0].outcome, "CANCELLED");
}

#[tokio::test]
async fn a_killed_worker_and_an_expiry_make_them_too() {
    let harness = hasty().await;
    let mut killed = raw(&harness).await;
    let policy = pb::RetryPolicy {
        max_crashes: Some(1),
        ..make::policy(5, 1)
    };
    let id = harness
        .enqueue(followed(1).inline_retry_policy(policy))
        .await;
    killed.next_delivery().await;
    harness.task_in(&id, TaskState::Running).await;
    drop(killed);
    let dead = harness.end_of(&id).await;
    assert_eq!(&*dead.state_reason, "CRASHES_EXHAUSTED");
    assert_eq!(follow_ups(&harness).await, ["note", "page"]);
    let expired = followed(1).ttl(Duration::from_millis(10));
    harness.end_of(&harness.enqueue(expired).await).await;
    assert_eq!(follow_ups(&harness).await, ["note", "note", "page", "page"]);
    let seen = Seen::default();
    let _worker = worker(&harness, &seen);
    let all = seen_all(&seen, 4).await;
    let reasons: Vec<_> = all.iter().map(|told| &*told.reason).collect();
    assert!(reasons.contains(&"TTL_EXPIRED"), "{reasons:?}");
    let crashed = all.iter().find(|told| told.reason == "CRASHES_EXHAUSTED");
    let crashed = crashed.unwrap();
    assert_eq!(
        (crashed.crashes, &*crashed.history[0].outcome),
        (1, "CRASHED")
    );
}

#[tokio::test]
async fn the_nearest_level_names_the_follow_up_of_each_end_by_itself() {
    let harness = Harness::start().await;
    let template = |kind: &str| {
        Some(pb::TaskTemplate {
            queue: "after".to_owned(),
            kind: kind.to_owned(),
            ..Default::default()
        })
    };
    let terms = |follow_ups| {
        Some(pb::Terms {
            follow_ups: Some(Box::new(follow_ups)),
            ..Default::default()
        })
    };
    let of_queue = pb::QueueSettings {
        terms: terms(pb::FollowUps {
            on_success: template("of-queue"),
            on_failure: template("of-queue"),
            on_exhausted: template("of-queue"),
            ..Default::default()
        }),
        ..Default::default()
    };
    let of_kind = pb::KindSettings {
        terms: terms(pb::FollowUps {
            on_failure: template("of-kind"),
            on_exhausted: template("of-kind"),
            ..Default::default()
        }),
        ..Default::default()
    };
    let client = harness.client();
    client
        .update_queue("q", of_queue, &["terms.follow_ups"])
        .await
        .unwrap();
    client.set_kind("k", of_kind).await.unwrap();
    let own = NextTask::new("of-task").queue("after");
    let mut worker = raw(&harness).await;
    let new = || task(1, 1).on_exhausted(own.clone());
    let (id, delivery) = next(&harness, &mut worker, new()).await;
    let shown = harness.task(&id).await.effective.unwrap().follow_ups;
    let shown: Vec<_> = shown
        .iter()
        .map(|it| (it.transition(), &*it.kind, it.source()))
        .collect();
    use pb::Source::{Kind, Queue, Task};
    assert_eq!(
        shown,
        [
            (Transition::Succeeded, "of-queue", Queue),
            (Transition::Failed, "of-kind", Kind),
            (Transition::Exhausted, "of-task", Task),
        ]
    );
    worker.report_one(make::fail(&delivery, "no")).await;
    let (_, delivery) = next(&harness, &mut worker, new()).await;
    worker.complete(&delivery).await;
    assert_eq!(
        follow_ups(&harness).await,
        ["of-kind", "of-queue", "of-task"]
    );
}

#[tokio::test]
async fn a_redriven_task_that_dies_again_makes_them_again() {
    let harness = Harness::start().await;
    let mut worker = raw(&harness).await;
    let (id, delivery) = next(&harness, &mut worker, followed(1)).await;
    worker.report_one(make::fail(&delivery, "no")).await;
    harness
        .client()
        .redrive(&id, Duration::ZERO, "")
        .await
        .unwrap();
    let delivery = worker.next_delivery().await;
    worker.report_one(make::fail(&delivery, "no")).await;
    assert_eq!(follow_ups(&harness).await, ["note", "note", "page", "page"]);
    harness.client().discard(&id, "").await.unwrap();
    assert_eq!(follow_ups(&harness).await.len(), 4, "a discard makes none");
}

#[tokio::test]
async fn a_row_of_follow_ups_has_at_most_eight() {
    let harness = Harness::start().await;
    let template = pb::TaskTemplate {
        kind: "again".to_owned(),
        ..Default::default()
    };
    let terms = pb::Terms {
        follow_ups: Some(Box::new(pb::FollowUps {
            on_success: Some(template),
            ..Default::default()
        })),
        ..Default::default()
    };
    let settings = pb::QueueSettings {
        terms: Some(terms),
        ..Default::default()
    };
    harness
        .client()
        .update_queue("q", settings, &[])
        .await
        .unwrap();
    let mut worker = raw(&harness).await;
    harness.enqueue(task(1, 1)).await;
    for _ in 0..9 {
        let delivery = worker.next_delivery().await;
        worker.complete(&delivery).await;
    }
    worker.round_trip().await;
    assert!(worker.deliveries.is_empty(), "{:?}", worker.deliveries);
    assert_eq!(of_kind(&harness, "q", "again").await.len(), 8);
}

#[tokio::test]
async fn they_are_there_exactly_once_over_restarts() {
    for end in End::ALL {
        let folder = folder();
        let mut harness = Harness::on(folder.path()).await;
        let mut worker = raw(&harness).await;
        let (id, delivery) = next(&harness, &mut worker, followed(1)).await;
        worker.report_one(make::fail(&delivery, "no")).await;
        let expired = followed(1).ttl(Duration::from_millis(50));
        let expired = harness
            .enqueue(expired.delay(Duration::from_millis(50)))
            .await;
        drop(worker);
        harness = harness.again(end).await;
        harness.end_of(&expired).await;
        for _ in 0..2 {
            harness = harness.again(end).await;
            let kinds = follow_ups(&harness).await;
            assert_eq!(kinds, ["note", "note", "page", "page"], "{end:?}");
        }
        let causes = of_kind(&harness, "after", "page").await;
        let mut causes: Vec<_> = causes.iter().filter_map(|it| it.cause.clone()).collect();
        causes.sort_by_key(|cause| cause.task_id != id);
        let ids: Vec<_> = causes.iter().map(|cause| &cause.task_id).collect();
        assert_eq!(ids, [&id, &expired], "{end:?}");
    }
}

#[tokio::test]
async fn a_follow_up_that_cannot_be_is_refused_wherever_it_is_named() {
    let harness = Harness::start().await;
    let with = |change: fn(&mut pb::TaskTemplate)| {
        let mut template = pb::TaskTemplate {
            kind: "page".to_owned(),
            ..Default::default()
        };
        change(&mut template);
        Box::new(pb::FollowUps {
            on_exhausted: Some(template),
            ..Default::default()
        })
    };
    let bad: [(&str, &[&str], Box<pb::FollowUps>); 7] = [
        ("kind", &["required"], with(|it| it.kind.clear())),
        (
            "queue",
            &["use letters"],
            with(|it| it.queue = "a b".to_owned()),
        ),
        (
            "payload.data",
            &["16385", "at most 16384", "elsewhere"],
            with(|it| it.payload = Some(make::payload(vec![0; 16_385]))),
        ),
        ("priority", &["is 9"], with(|it| it.priority = 9)),
        (
            "delay",
            &["at most 3650 days"],
            with(|it| it.delay = Some(make::ms(3651 * super::DAY_MS))),
        ),
        (
            "delay",
            &["is negative"],
            with(|it| it.delay = Some(super::NEGATIVE)),
        ),
        (
            "labels",
            &["17", "16"],
            with(|it| it.labels = (0..17).map(|n| (format!("k{n}"), String::new())).collect()),
        ),
    ];
    let cases = bad.map(|(field, says, follow_ups)| {
        let terms = pb::Terms {
            follow_ups: Some(follow_ups),
            ..Default::default()
        };
        let field = format!("terms.follow_ups.on_exhausted.{field}");
        (Some(terms), Expected::field(&field, says))
    });
    let of_tasks = cases.iter().map(|(terms, expected)| {
        let spec = pb::TaskSpec {
            terms: terms.clone().map(Box::new),
            ..make::spec("q", "k")
        };
        (spec, expected.clone())
    });
    refused_alone(&harness, of_tasks.collect()).await;
    let of_queues = cases.into_iter().map(|(terms, expected)| {
        let settings = pb::QueueSettings {
            terms,
            ..Default::default()
        };
        let request = pb::UpdateQueueRequest {
            queue: "q".to_owned(),
            settings: Some(settings),
            ..Default::default()
        };
        (request, expected.below("settings"))
    });
    refused!(harness.queues(), update_queue, of_queues);
}
