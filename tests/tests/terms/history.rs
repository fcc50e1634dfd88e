//! Who did what with a task, and why it was judged as it was.

use std::time::Duration;

use futures::TryStreamExt as _;
use futures::stream::BoxStream;
use redrive_client::{Cancel, Client, Error, NewTask, TaskUpdate, UniqueKey};
use redrive_proto::v1::{self as pb, ActKind, ConflictAction, Source, TaskState};
use redrive_tests::harness::End;
use redrive_tests::refusal::Expected;
use redrive_tests::{Harness, make, within};
use tonic::Request;

use super::{folder, later, raw, task};

fn ann(harness: &Harness) -> Client {
    harness.client().clone().with_actor("ann@desk").unwrap()
}

/// What was done, by whom, with which note.
fn acts(task: &pb::Task) -> Vec<(ActKind, &str, &str)> {
    let acts = task.acts.iter();
    acts.map(|act| (act.act(), &*act.actor, &*act.note))
        .collect()
}

fn sidekiq() -> pb::QueueSettings {
    pb::QueueSettings {
        retry: Some(pb::queue_settings::Retry::RetryPolicy("sidekiq".to_owned())),
        ..Default::default()
    }
}

/// A kind whose policy decides by a rule.
fn of_kind() -> pb::KindSettings {
    let inline = pb::RetryPolicy {
        name: "of-kind".to_owned(),
        rules: vec![pb::RetryRule {
            id: "all".to_owned(),
            backoff: Some(make::exactly(20)),
            ..Default::default()
        }],
        ..make::policy(9, 3_600_000)
    };
    pb::KindSettings {
        retry: Some(pb::kind_settings::Retry::InlineRetryPolicy(inline)),
        ..Default::default()
    }
}

#[tokio::test]
async fn a_run_keeps_how_it_was_judged_after_the_policy_has_changed() {
    let harness = Harness::start().await;
    let client = harness.client();
    let mut worker = raw(&harness).await;
    let (queue, kind) = (sidekiq(), of_kind());
    let id = harness.enqueue(NewTask::new("q", "k")).await;
    let retry_now = TaskUpdate::new().delay(Duration::ZERO);
    let first = worker.next_delivery().await;
    worker.report_one(make::fail(&first, "no")).await;
    client.update(&id, retry_now.clone()).await.unwrap();
    let second = worker.next_delivery().await;
    for _ in 0..2 {
        client
            .update_queue("q", queue.clone(), &["retry_policy"])
            .await
            .unwrap();
    }
    worker.report_one(make::fail(&second, "no")).await;
    client.update(&id, retry_now).await.unwrap();
    client
        .set_kind("k", pb::KindSettings::default())
        .await
        .unwrap();
    client
        .set_kind("k", pb::KindSettings::default())
        .await
        .unwrap();
    client.set_kind("k", kind).await.unwrap();
    let third = worker.next_delivery().await;
    worker.report_one(make::fail(&third, "no")).await;
    let fourth = worker.next_delivery().await;
    worker.complete(&fourth).await;
    client.delete_kind("k").await.unwrap();
    let ended = harness.end_of(&id).await;
    let judged: Vec<_> = ended
        .history
        .iter()
        .map(|run| {
            (
                &*run.retry_policy,
                run.retry_policy_source(),
                run.retry_policy_revision,
            )
        })
        .collect();
    assert_eq!(
        judged[..3],
        [
            ("recommended", Source::Server, 0),
            ("sidekiq", Source::Queue, 2),
            ("of-kind", Source::Kind, 3),
        ]
    );
    let run = &ended.history[2];
    assert_eq!(
        (&*run.rule, run.base_delay, run.delay),
        ("all", Some(make::ms(20)), Some(make::ms(20)))
    );
    assert!(ended.history[0].base_delay.is_some() && ended.history[0].delay.is_some());
}

#[tokio::test]
async fn a_policy_of_the_task_itself_has_no_revision() {
    let harness = Harness::start().await;
    let mut worker = raw(&harness).await;
    let own = harness.enqueue(task(1, 1)).await;
    let delivery = worker.next_delivery().await;
    worker.report_one(make::fail(&delivery, "no")).await;
    let run = harness.end_of(&own).await.history.remove(0);
    assert_eq!(
        (&*run.retry_policy, run.retry_policy_source()),
        ("test", Source::Task)
    );
}

#[tokio::test]
async fn what_people_and_producers_do_is_kept_with_who_and_why_over_restarts() {
    for end in End::ALL {
        let folder = folder();
        let harness = Harness::on(folder.path()).await;
        let ann = ann(&harness);
        let mut worker = raw(&harness).await;
        let unique = || UniqueKey::new("u");
        let new = later()
            .unique(unique())
            .inline_retry_policy(make::policy(1, 1));
        let id = harness.enqueue(new.clone()).await;
        let replace = unique().on_conflict(ConflictAction::ReplaceWaiting);
        ann.enqueue(new.clone().unique(replace)).await.unwrap();
        let reschedule = unique().on_conflict(ConflictAction::RescheduleWaiting);
        ann.enqueue(new.unique(reschedule)).await.unwrap();
        let update = TaskUpdate::new().delay(Duration::ZERO).reason("now");
        ann.update(&id, update).await.unwrap();
        let delivery = worker.next_delivery().await;
        worker.report_one(make::fail(&delivery, "no")).await;
        let redriven = ann.redrive(&id, Duration::ZERO, "the route is back").await;
        assert_eq!(redriven.unwrap().redrives, 1);
        let delivery = worker.next_delivery().await;
        ann.cancel(&id, "wrong file").await.unwrap();
        worker.report_one(make::fail(&delivery, "stopped")).await;
        let before = harness.task(&id).await;
        assert_eq!(before.state(), TaskState::Cancelled);
        let by = "ann@desk";
        let seen = acts(&before);
        assert_eq!(
            (seen[0].0, seen[1].0),
            (ActKind::Replaced, ActKind::Rescheduled)
        );
        assert_eq!(
            seen[2..],
            [
                (ActKind::Edited, by, "now"),
                (ActKind::Redriven, by, "the route is back"),
                (ActKind::CancelRequested, by, "wrong file"),
            ]
        );
        assert!(before.acts.iter().all(|act| act.time.is_some()));
        drop(worker);
        let harness = harness.again(end).await;
        assert_eq!(harness.task(&id).await, before, "{end:?}");
    }
}

#[tokio::test]
async fn the_end_of_a_task_that_waited_or_was_dead_has_its_actor_too() {
    let harness = Harness::start().await;
    let ann = ann(&harness);
    let id = harness.enqueue(later()).await;
    let how = Cancel::if_waiting().reason("no use");
    let cancelled = ann.cancel_with(&id, how).await.unwrap().task.unwrap();
    let expected = [(ActKind::CancelRequested, "ann@desk", "no use")];
    assert_eq!(acts(&cancelled), expected);
    let id = harness
        .enqueue(task(1, 1).ttl(Duration::from_millis(1)))
        .await;
    harness.end_of(&id).await;
    let discarded = ann.discard(&id, "a duplicate").await.unwrap();
    let act = acts(&discarded)[0];
    assert_eq!((act.0, act.1), (ActKind::Discarded, "ann@desk"));
    let nobody = harness.enqueue(later()).await;
    let cancelled = harness.client().cancel(&nobody, "").await.unwrap();
    assert_eq!(acts(&cancelled)[0].1, "", "nobody was named");
}

#[tokio::test]
async fn the_latest_sixteen_acts_are_kept() {
    let harness = Harness::start().await;
    let id = harness.enqueue(later()).await;
    for number in 1..=20 {
        let update = TaskUpdate::new().max_attempts(number);
        let update = update.reason(number.to_string());
        harness.client().update(&id, update).await.unwrap();
    }
    let task = harness.task(&id).await;
    let notes: Vec<&str> = task.acts.iter().map(|act| &*act.note).collect();
    let expected: Vec<String> = (5..=20).map(|number: u32| number.to_string()).collect();
    assert_eq!(
        (notes, task.acts_omitted),
        (expected.iter().map(|it| &**it).collect(), 4)
    );
}

#[tokio::test]
async fn a_paused_queue_shows_who_paused_it_until_it_is_resumed() {
    for end in End::ALL {
        let folder = folder();
        let harness = Harness::on(folder.path()).await;
        let ann = ann(&harness);
        ann.pause_queue("q", "the ERP is down").await.unwrap();
        let harness = harness.again(end).await;
        let queue = harness.client().queue("q").await.unwrap();
        assert_eq!(
            (&*queue.pause_actor, &*queue.pause_reason),
            ("ann@desk", "the ERP is down"),
            "{end:?}"
        );
        let bob = harness.client().clone().with_actor("bob").unwrap();
        let again = bob.pause_queue("q", "still").await.unwrap();
        assert_eq!(&*again.pause_actor, "bob");
        let resumed = bob.resume_queue("q").await.unwrap();
        assert_eq!((resumed.paused, &*resumed.pause_actor), (false, ""));
    }
}

#[tokio::test]
async fn an_actor_that_cannot_be_is_refused_by_every_change_and_nothing_is_done() {
    let harness = Harness::start().await;
    let id = harness.enqueue(later()).await;
    let expected = Expected::field("metadata.redrive-actor", &["129", "at most 128"]);
    macro_rules! case {
        ($($stub:ident . $method:ident ( $request:expr )),* $(,)?) => {$({
            let mut request = Request::new($request);
            let actor = "a".repeat(129).parse().unwrap();
            request.metadata_mut().insert("redrive-actor", actor);
            let answer = harness.$stub().$method(request).await;
            expected.check_status(stringify!($method), answer);
        })*};
    }
    let (queue, kind) = (|| "q".to_owned(), || "k".to_owned());
    case!(
        tasks.enqueue_task(pb::EnqueueTaskRequest {
            task: Some(make::spec("q", "k")),
            ..Default::default()
        }),
        tasks.enqueue_tasks(pb::EnqueueTasksRequest {
            tasks: vec![make::spec("q", "k")],
            ..Default::default()
        }),
        tasks.cancel_task(pb::CancelTaskRequest {
            task_id: id.clone(),
            ..Default::default()
        }),
        tasks.cancel_tasks(pb::CancelTasksRequest::default()),
        tasks.update_task(pb::UpdateTaskRequest {
            task_id: id.clone(),
            max_attempts: Some(1),
            ..Default::default()
        }),
        dead_letters.redrive_task(pb::RedriveTaskRequest {
            task_id: id.clone(),
            ..Default::default()
        }),
        dead_letters.discard_task(pb::DiscardTaskRequest {
            task_id: id.clone(),
            ..Default::default()
        }),
        dead_letters.redrive_dead_letters(pb::RedriveDeadLettersRequest::default()),
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
    assert_eq!(harness.task(&id).await.state(), TaskState::Scheduled);
}

#[tokio::test]
async fn an_actor_is_printable() {
    let harness = Harness::start().await;
    let stray = Expected::field("metadata.redrive-actor", &["'\\t'", "use printable"]);
    let mut request = Request::new(pb::PauseQueueRequest {
        queue: "q".to_owned(),
        ..Default::default()
    });
    let actor = "a\tb".parse().unwrap();
    request.metadata_mut().insert("redrive-actor", actor);
    let answer = harness.queues().pause_queue(request).await;
    stray.check_status("a tab", answer);
    assert!(
        harness.client().queue("q").await.is_err(),
        "nothing was done"
    );
}

#[tokio::test]
async fn acts_on_many_are_kept_with_each_of_them() {
    let harness = Harness::start().await;
    let ann = ann(&harness);
    let mut worker = raw(&harness).await;
    let mut dead = Vec::new();
    for _ in 0..2 {
        dead.push(harness.enqueue(task(1, 1)).await);
        let delivery = worker.next_delivery().await;
        worker.report_one(make::fail(&delivery, "no")).await;
    }
    drop(worker);
    harness.client().pause_queue("q", "").await.unwrap();
    let waiting = harness.enqueue(later().label("import", "spring")).await;
    let reason = || "the route is back".to_owned();
    let redrive = pb::RedriveDeadLettersRequest {
        count_max: 1,
        reason: reason(),
        ..Default::default()
    };
    let discard = pb::DiscardDeadLettersRequest {
        expected_count: Some(1),
        reason: reason(),
        ..Default::default()
    };
    let cancel = pb::CancelTasksRequest {
        selection: Some(ann.select("q", "labels.import = spring")),
        reason: reason(),
        ..Default::default()
    };
    ended(ann.redrive_many(redrive)).await;
    ended(ann.discard_many(discard)).await;
    ended(ann.cancel_many(cancel)).await;
    let mut seen = Vec::new();
    for id in [&dead[0], &dead[1], &waiting] {
        let task = harness.task(id).await;
        let act = task.acts[0].clone();
        seen.push((act.act(), act.actor, act.note));
    }
    let kinds = [
        ActKind::Redriven,
        ActKind::Discarded,
        ActKind::CancelRequested,
    ];
    let expected = kinds.map(|kind| (kind, "ann@desk".to_owned(), reason()));
    assert_eq!(seen, expected);
}

/// Reads an act on many to its end.
async fn ended<T: std::fmt::Debug>(
    call: impl Future<Output = Result<BoxStream<'static, Result<T, Error>>, Error>>,
) {
    let progress: Vec<T> = call.await.unwrap().try_collect().await.unwrap();
    assert!(!progress.is_empty());
}

#[tokio::test]
async fn watchers_are_told_of_changes_cancels_and_expiries() {
    let harness = Harness::start().await;
    let client = harness.client();
    let mut watch = client.watch("q", "").await.unwrap();
    let id = harness.enqueue(later().ttl(Duration::from_millis(1))).await;
    let update = TaskUpdate::new().delay(Duration::ZERO);
    client.update(&id, update).await.unwrap();
    harness.end_of(&id).await;
    client
        .redrive(&id, Duration::from_secs(3600), "")
        .await
        .unwrap();
    client.cancel(&id, "").await.unwrap();
    let mut seen = Vec::new();
    while seen.len() < 5 {
        let told = within("events", watch.try_next()).await.unwrap().unwrap();
        let told = told.events.into_iter();
        seen.extend(told.map(|event| (event.r#type(), event.reason)));
    }
    use pb::EventType::{DeadLettered, Edited, Ended, Enqueued, Redriven};
    let expected = [
        (Enqueued, ""),
        (Edited, "EDITED"),
        (DeadLettered, "TTL_EXPIRED"),
        (Redriven, ""),
        (Ended, "CANCELLED"),
    ];
    assert_eq!(
        seen,
        expected.map(|(kind, reason)| (kind, reason.to_owned()))
    );
}
