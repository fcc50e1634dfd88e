//! Calls that are made twice under one request id: done once, answered alike.

use std::collections::BTreeSet;
use std::time::Duration;

use redrive_client::{Client, NewTask};
use redrive_proto::v1::{self as pb, EnqueueEffect};
use redrive_tests::harness::End;
use redrive_tests::refusal::Expected;
use redrive_tests::{Harness, Proxy, RawWorker, eventually, make, within};
use tonic::Code;

use super::{DAY_MS, folder, later, raw, refused, task};

/// What a request id for something else is refused with.
fn reused() -> Expected {
    let says = ["used for another request", "an id of its own"];
    Expected::reason(Code::AlreadyExists, "REQUEST_ID_REUSED", &says)
}

/// Makes a call twice and with other content under the same id; answers what the first two said.
macro_rules! twice {
    ($stub:expr, $method:ident, $request:expr, $change:expr) => {{
        let name = stringify!($method);
        let mut stub = $stub;
        let mut request = $request;
        request.request_id = format!("id of {name}");
        let first = stub.$method(request.clone()).await.unwrap().into_inner();
        let again = stub.$method(request.clone()).await.unwrap().into_inner();
        let other = changed(request, $change);
        reused().check_status(name, stub.$method(other).await);
        (first, again)
    }};
}

fn changed<T>(mut request: T, change: impl FnOnce(&mut T)) -> T {
    change(&mut request);
    request
}

fn one(spec: pb::TaskSpec) -> pb::EnqueueTaskRequest {
    pb::EnqueueTaskRequest {
        task: Some(spec),
        ..Default::default()
    }
}

fn many(tasks: Vec<pb::TaskSpec>) -> pb::EnqueueTasksRequest {
    pb::EnqueueTasksRequest {
        tasks,
        ..Default::default()
    }
}

async fn enqueued(harness: &Harness, queue: &str) -> u64 {
    let queue = harness.client().queue(queue).await.unwrap();
    queue.counts.unwrap().enqueued_total
}

#[tokio::test]
async fn an_enqueue_is_done_once_and_answered_with_the_same_tasks() {
    let harness = Harness::start().await;
    let (first, again) = twice!(
        harness.tasks(),
        enqueue_task,
        one(make::spec("q", "k")),
        |it| it.task.as_mut().unwrap().kind = "l".to_owned()
    );
    assert_eq!(first.task_id, again.task_id);
    assert_eq!(
        (first.effect(), again.effect()),
        (EnqueueEffect::Created, EnqueueEffect::Existing)
    );
    let specs = ["a", "b", "c"].map(|queue| make::spec(queue, "k"));
    let mut batch = many(specs.to_vec());
    batch.request_id = "batch".to_owned();
    let mut stub = harness.tasks();
    let mut ask = async |batch: &pb::EnqueueTasksRequest| {
        let answer = stub.enqueue_tasks(batch.clone()).await;
        answer.unwrap().into_inner().results
    };
    let (first, again) = (ask(&batch).await, ask(&batch).await);
    for (first, again) in first.iter().zip(&again) {
        assert_eq!(first.result, again.result);
        assert_eq!(
            (first.effect(), again.effect()),
            (EnqueueEffect::Created, EnqueueEffect::Existing)
        );
    }
    batch.tasks.truncate(2);
    let other = harness.tasks().enqueue_tasks(batch).await;
    reused().check_status("another batch", other);
    for queue in ["q", "a", "b", "c"] {
        assert_eq!(enqueued(&harness, queue).await, 1, "{queue}");
    }
}

#[tokio::test]
async fn of_a_repeated_batch_only_what_was_refused_is_tried_again() {
    let harness = Harness::start().await;
    let unique = pb::UniqueKey {
        key: "u".to_owned(),
        on_conflict: pb::ConflictAction::Reject.into(),
        ..Default::default()
    };
    let keyed = pb::TaskSpec {
        unique: Some(Box::new(unique)),
        ..make::spec("q", "k")
    };
    let holder = harness.tasks().enqueue_task(one(keyed.clone())).await;
    let holder = holder.unwrap().into_inner().task_id;
    let bad = make::spec("q", "a b");
    let mut request = many(vec![make::spec("q", "k"), keyed, bad]);
    request.request_id = "r".to_owned();
    let effects = async || {
        let answer = harness.tasks().enqueue_tasks(request.clone()).await;
        let results = answer.unwrap().into_inner().results;
        let effects: Vec<_> = results.iter().map(pb::EnqueueResult::effect).collect();
        effects
    };
    use EnqueueEffect::{Created, Existing, Unspecified};
    assert_eq!(effects().await, [Created, Unspecified, Unspecified]);
    assert_eq!(effects().await, [Existing, Unspecified, Unspecified]);
    harness.client().cancel(&holder, "").await.unwrap();
    assert_eq!(effects().await, [Existing, Created, Unspecified]);
    assert_eq!(effects().await, [Existing, Existing, Unspecified]);
    assert_eq!(enqueued(&harness, "q").await, 3);
}

/// A dead letter of the queue "q".
async fn dead(harness: &Harness, worker: &mut RawWorker) -> String {
    let id = harness.enqueue(task(1, 1)).await;
    let delivery = worker.next_delivery().await;
    worker.report_one(make::fail(&delivery, "no")).await;
    id
}

#[tokio::test]
async fn every_other_change_of_a_task_is_done_once_and_answered_with_the_task_as_it_stands() {
    let harness = Harness::start().await;
    let mut worker = raw(&harness).await;
    let (first, again) = twice!(
        harness.tasks(),
        update_task,
        pb::UpdateTaskRequest {
            task_id: harness.enqueue(later()).await,
            max_attempts: Some(7),
            ..Default::default()
        },
        |it| it.max_attempts = Some(8)
    );
    assert_eq!(first, again);
    assert_eq!(again.task.unwrap().acts.len(), 1, "edited once");
    let (first, again) = twice!(
        harness.tasks(),
        cancel_task,
        pb::CancelTaskRequest {
            task_id: harness.enqueue(later()).await,
            ..Default::default()
        },
        |it| it.reason = "another".to_owned()
    );
    assert_eq!(first, again, "and not WRONG_STATE");
    assert_eq!(again.disposition(), pb::CancelDisposition::Cancelled);
    let (_, again) = twice!(
        harness.dead_letters(),
        redrive_task,
        pb::RedriveTaskRequest {
            task_id: dead(&harness, &mut worker).await,
            ..Default::default()
        },
        |it| it.delay = Some(make::ms(1))
    );
    assert_eq!(again.task.unwrap().redrives, 1);
    let redriven = worker.next_delivery().await;
    worker.complete(&redriven).await;
    let (first, again) = twice!(
        harness.dead_letters(),
        discard_task,
        pb::DiscardTaskRequest {
            task_id: dead(&harness, &mut worker).await,
            ..Default::default()
        },
        |it| it.reason = "another".to_owned()
    );
    assert_eq!(first, again);
    assert_eq!(again.task.unwrap().state(), pb::TaskState::Discarded);
}

#[tokio::test]
async fn every_change_of_queues_kinds_and_workers_is_done_once() {
    let harness = Harness::start().await;
    let queue = || "q".to_owned();
    let settings = pb::QueueSettings {
        finished_max: Some(7),
        ..Default::default()
    };
    let update = pb::UpdateQueueRequest {
        queue: queue(),
        settings: Some(settings),
        ..Default::default()
    };
    let (first, again) = twice!(harness.queues(), update_queue, update, |it| {
        it.settings = None;
    });
    assert_eq!(first, again);
    assert_eq!(again.queue.unwrap().revision, 1, "counted once");
    let pause = pb::PauseQueueRequest {
        queue: queue(),
        ..Default::default()
    };
    let (first, again) = twice!(harness.queues(), pause_queue, pause, |it| {
        it.reason = "another".to_owned();
    });
    assert_eq!(first, again);
    let resume = pb::ResumeQueueRequest {
        queue: queue(),
        ..Default::default()
    };
    let (_, again) = twice!(harness.queues(), resume_queue, resume.clone(), |it| {
        it.request_ttl = Some(make::ms(1000));
        it.queue = "p".to_owned();
    });
    assert!(!again.queue.unwrap().paused);
    let set = pb::SetKindRequest {
        kind: "k".to_owned(),
        ..Default::default()
    };
    let (first, again) = twice!(harness.kinds(), set_kind, set, |it| {
        it.settings = Some(pb::KindSettings {
            max_attempts: Some(1),
            ..Default::default()
        });
    });
    assert_eq!(first, again);
    assert_eq!(again.kind.unwrap().revision, 1);
    let delete = pb::DeleteKindRequest {
        kind: "k".to_owned(),
        ..Default::default()
    };
    twice!(harness.kinds(), delete_kind, delete, |it| {
        it.kind = "l".to_owned();
    });
    let _worker = raw(&harness).await;
    let drain = pb::DrainWorkersRequest {
        worker_ids: vec!["raw".to_owned(), "nobody".to_owned()],
        ..Default::default()
    };
    let (first, again) = twice!(harness.workers(), drain_workers, drain, |it| {
        it.reason = "another".to_owned();
    });
    assert_eq!(first.worker_ids, ["raw"]);
    assert_eq!(again, first, "those that are still there");
}

#[tokio::test]
async fn a_refused_request_is_not_remembered() {
    let harness = Harness::start().await;
    let id = harness.enqueue(later()).await;
    let mut redrive = pb::RedriveTaskRequest {
        task_id: id,
        request_id: "r".to_owned(),
        ..Default::default()
    };
    let wrong = Expected::reason(Code::FailedPrecondition, "WRONG_STATE", &[]);
    let answer = harness.dead_letters().redrive_task(redrive.clone()).await;
    wrong.check_status("not dead", answer);
    redrive.reason = "another content".to_owned();
    let answer = harness.dead_letters().redrive_task(redrive).await;
    wrong.check_status("the id is free", answer);
}

#[tokio::test]
async fn an_id_is_known_after_a_restart() {
    for end in End::ALL {
        let folder = folder();
        let harness = Harness::on(folder.path()).await;
        let named = |harness: &Harness| {
            let client = harness.client().clone();
            client.with_request_id("import-7").unwrap()
        };
        let first = named(&harness).enqueue(task(1, 1)).await.unwrap();
        let paused = named(&harness)
            .with_request_id("pause-7")
            .unwrap()
            .pause_queue("q", "stock taking")
            .await
            .unwrap();
        let harness = harness.again(end).await;
        let again = named(&harness).enqueue(task(1, 1)).await.unwrap();
        assert_eq!(again.task_id, first.task_id, "{end:?}");
        assert_eq!(again.effect(), EnqueueEffect::Existing, "{end:?}");
        let other = named(&harness).enqueue(task(2, 1)).await.unwrap_err();
        assert_eq!(other.reason(), Some("REQUEST_ID_REUSED"), "{end:?}");
        harness.client().resume_queue("q").await.unwrap();
        let again = named(&harness).with_request_id("pause-7").unwrap();
        let again = again.pause_queue("q", "stock taking").await.unwrap();
        assert!(!again.paused, "{end:?}: done once, shown as it stands");
        assert!(paused.paused);
    }
}

#[tokio::test]
async fn a_client_whose_answers_are_lost_asks_again_and_everything_is_done_once() {
    let harness = Harness::start().await;
    let proxy = Proxy::start(harness.address()).await;
    let client = Client::connect(&proxy.address().to_string()).await.unwrap();
    proxy.hold_answers();
    let ask = async {
        let tasks = (0..500).map(|_| NewTask::new("q", "k"));
        let ids = client.enqueue_many(tasks).await;
        ids.into_iter().collect::<Result<BTreeSet<_>, _>>().unwrap()
    };
    let lose = async {
        eventually("it was done", async || {
            let queue = harness.client().queue("q").await.ok()?;
            (queue.counts?.enqueued_total > 0).then_some(())
        })
        .await;
        proxy.cut_and_clear();
    };
    let (ids, ()) = within("the answer", async { tokio::join!(ask, lose) }).await;
    assert_eq!(ids.len(), 500);
    assert_eq!(enqueued(&harness, "q").await, 500, "nothing twice");
}

#[tokio::test]
async fn an_id_of_another_namespace_is_another_id_and_one_of_another_queue_is_not() {
    let harness = Harness::start().await;
    let mut request = one(make::spec("q", "k"));
    request.request_id = "r".to_owned();
    harness.tasks().enqueue_task(request.clone()).await.unwrap();
    request.namespace = "other".to_owned();
    let other = harness.tasks().enqueue_task(request.clone()).await;
    assert_eq!(other.unwrap().into_inner().effect(), EnqueueEffect::Created);
    for number in 0..8 {
        let mut request = one(make::spec(&format!("q{number}"), "k"));
        request.request_id = "r".to_owned();
        let answer = harness.tasks().enqueue_task(request).await;
        reused().check_status("another queue", answer);
    }
}

/// A call's request with a bad id, and with a bad life of it.
macro_rules! bad_ids {
    ($harness:ident, $($stub:ident . $method:ident ( $request:expr )),* $(,)?) => {$({
        let cases = faults().map(|(id, ttl, expected)| {
            let mut request = $request;
            (request.request_id, request.request_ttl) = (id, ttl);
            (request, expected)
        });
        refused!($harness.$stub(), $method, cases);
    })*};
}

type Fault = (String, Option<prost_types::Duration>, Expected);

fn faults() -> [Fault; 6] {
    let id = |says: &[&str]| Expected::field("request_id", says);
    let ttl = |says: &[&str]| Expected::field("request_ttl", says);
    let good = || "r".to_owned();
    [
        ("x".repeat(129), None, id(&["129", "at most 128"])),
        ("a\nb".to_owned(), None, id(&["'\\n'", "use printable"])),
        (
            good(),
            Some(make::ms(999)),
            ttl(&["999 ms", "at least 1 s"]),
        ),
        (
            good(),
            Some(make::ms(DAY_MS + 1)),
            ttl(&["86400001 ms", "at most 24 h"]),
        ),
        (good(), Some(super::NEGATIVE), ttl(&["is negative"])),
        (
            String::new(),
            Some(make::ms(5000)),
            ttl(&["without a request_id", "set both or neither"]),
        ),
    ]
}

#[tokio::test]
async fn an_id_that_cannot_be_is_refused_by_every_call_that_takes_one() {
    let harness = Harness::start().await;
    let task_id = harness.enqueue(later()).await;
    let id = || task_id.clone();
    let (queue, kind) = (|| "q".to_owned(), || "k".to_owned());
    bad_ids!(
        harness,
        tasks.enqueue_task(one(make::spec("q", "k"))),
        tasks.enqueue_tasks(many(vec![make::spec("q", "k")])),
        tasks.cancel_task(pb::CancelTaskRequest {
            task_id: id(),
            ..Default::default()
        }),
        tasks.update_task(pb::UpdateTaskRequest {
            task_id: id(),
            max_attempts: Some(1),
            ..Default::default()
        }),
        dead_letters.redrive_task(pb::RedriveTaskRequest {
            task_id: id(),
            ..Default::default()
        }),
        dead_letters.discard_task(pb::DiscardTaskRequest {
            task_id: id(),
            ..Default::default()
        }),
        queues.update_queue(pb::UpdateQueueRequest {
            queue: queue(),
            ..Default::default()
        }),
        queues.pause_queue(pb::PauseQueueRequest {
            queue: queue(),
            ..Default::default()
        }),
        queues.resume_queue(pb::ResumeQueueRequest {
            queue: queue(),
            ..Default::default()
        }),
        kinds.set_kind(pb::SetKindRequest {
            kind: kind(),
            ..Default::default()
        }),
        kinds.delete_kind(pb::DeleteKindRequest {
            kind: kind(),
            ..Default::default()
        }),
        workers.drain_workers(pb::DrainWorkersRequest {
            worker_ids: vec!["w".to_owned()],
            ..Default::default()
        }),
    );
    let task = harness.task(&task_id).await;
    assert_eq!(task.state(), pb::TaskState::Scheduled, "nothing was done");
    assert_eq!(enqueued(&harness, "q").await, 1);
    let queue = harness.client().queue("q").await.unwrap();
    assert_eq!((queue.revision, queue.paused), (0, false));
    harness.still_serves().await;
}

#[tokio::test]
async fn an_id_is_forgotten_after_its_time() {
    let harness = Harness::start().await;
    let client = harness.client().clone().with_request_id("r").unwrap();
    let client = client.with_request_ttl(Duration::from_secs(1)).unwrap();
    let first = client.enqueue(later()).await.unwrap();
    let again = client.enqueue(later()).await.unwrap();
    assert_eq!(again.task_id, first.task_id);
    let new = eventually("the id is free again", async || {
        let answer = client.enqueue(later()).await.unwrap();
        (answer.effect() == EnqueueEffect::Created).then_some(answer)
    })
    .await;
    assert_ne!(new.task_id, first.task_id);
}
