//! Who did what with a task, and why it was judged as it was.

use std::time::Duration;

use redrive_client::{Cancel, Client, NewTask, TaskUpdate, UniqueKey};
use redrive_proto::v1::{self as pb, ActKind, ConflictAction, Source, TaskState};
use redrive_tests::harness::End;
use redrive_tests::refusal::Expected;
use redrive_tests::{Harness, make};
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

#[tokio::test]
async fn a_run_keeps_how_it_was_judged_after_the_policy_has_changed() {
    let harness = Harness::start().await;
    let client = harness.client();
    let mut worker = raw(&harness).await;
    let named = |name: &str| Some(pb::queue_settings::Retry::RetryPolicy(name.to_owned()));
    let queue = pb::QueueSettings {
        retry: named("sidekiq"),
        ..Default::default()
    };
    let inline = pb::RetryPolicy {
        name: "of-kind".to_owned(),
        rules: vec![pb::RetryRule {
            id: "all".to_owned(),
            backoff: Some(make::exactly(20)),
            ..Default::default()
        }],
        ..make::policy(9, 3_600_000)
    };
    let kind = pb::KindSettings {
        retry: Some(pb::kind_settings::Retry::InlineRetryPolicy(inline)),
        ..Default::default()
    };
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
    let stray = Expected::field("metadata.redrive-actor", &["'\\t'", "use printable"]);
    let mut request = Request::new(pb::PauseQueueRequest {
        queue: queue(),
        ..Default::default()
    });
    let actor = "a\tb".parse().unwrap();
    request.metadata_mut().insert("redrive-actor", actor);
    let answer = harness.queues().pause_queue(request).await;
    stray.check_status("a tab", answer);
    assert!(!harness.client().queue("q").await.unwrap().paused);
}
