//! Ttl and deadline: whether it is still worth beginning, and worth anything.

use std::sync::Arc;
use std::time::Duration;

use redrive_client::{NewTask, TaskUpdate};
use redrive_proto::v1::{
    self as pb, CancelReason, ReportStatus, RunOutcome, Source, TaskState, report::Outcome,
};
use redrive_tests::harness::End;
use redrive_tests::refusal::Expected;
use redrive_tests::{Harness, SdkWorker, make};
use redrive_worker::{State, TaskContext, TaskResult};

use super::{
    DAY_MS, Notes, folder, note, noted, raw, refused, refused_alone, sdk, task, when_noted,
};

const MS: fn(u64) -> Duration = Duration::from_millis;

/// How long a task lived, from when it may have started. Milliseconds.
fn life_ms(task: &pb::Task) -> i64 {
    make::ms_between(task.enqueue_time, task.end_time)
}

#[tokio::test]
async fn what_has_not_begun_within_its_ttl_is_dead_with_and_without_a_worker() {
    let harness = Harness::start().await;
    let id = harness.enqueue(task(5, 1).ttl(MS(200))).await;
    let dead = harness.end_of(&id).await;
    assert_eq!(
        (dead.state(), &*dead.state_reason, dead.runs),
        (TaskState::Dead, "TTL_EXPIRED", 0)
    );
    assert!((200..2000).contains(&life_ms(&dead)), "{}", life_ms(&dead));
    // It counts from when it may start.
    let delayed = task(5, 1).delay(MS(300)).ttl(MS(1));
    let dead = harness.end_of(&harness.enqueue(delayed).await).await;
    assert!(life_ms(&dead) >= 301, "{}", life_ms(&dead));
    // A worker that holds it without having begun may still begin; if it gives it back, it dies.
    let mut worker = raw(&harness).await;
    let id = harness.enqueue(task(5, 1).ttl(MS(100))).await;
    let other = harness.enqueue(task(5, 1).ttl(MS(100))).await;
    let (held, back) = (worker.next_unstarted().await, worker.next_unstarted().await);
    let passed = task(5, 1).ttl(MS(150)).idempotency_key("later");
    let mut elsewhere = passed.build().unwrap();
    elsewhere.queue = "nobody".to_owned();
    harness
        .end_of(&harness.enqueue(elsewhere.into()).await)
        .await;
    assert_eq!(harness.task(&id).await.state(), TaskState::Leased);
    worker.complete(&held).await;
    assert_eq!(harness.end_of(&id).await.state(), TaskState::Succeeded);
    let release = Outcome::Release(pb::Release::default());
    worker
        .report_one(make::report(&back.lease_token, release))
        .await;
    let dead = harness.end_of(&other).await;
    assert_eq!(&*dead.state_reason, "TTL_EXPIRED");
}

#[tokio::test]
async fn once_a_run_has_begun_the_ttl_has_done_its_duty() {
    let harness = Harness::start().await;
    let mut worker = raw(&harness).await;
    let id = harness.enqueue(task(2, 400).ttl(MS(200))).await;
    let before = harness.task(&id).await.effective.unwrap();
    assert_eq!(before.expire_time.unwrap().source(), Source::Task);
    let delivery = worker.next_delivery().await;
    harness.task_in(&id, TaskState::Running).await;
    worker.report_one(make::fail(&delivery, "no")).await;
    let waiting = harness.task(&id).await;
    assert_eq!(waiting.state(), TaskState::Retrying);
    assert_eq!(waiting.effective.unwrap().expire_time, None);
    let again = worker.next_delivery().await;
    assert_eq!(again.attempt, 2);
    worker.complete(&again).await;
    assert_eq!(harness.end_of(&id).await.state(), TaskState::Succeeded);
}

#[tokio::test]
async fn at_its_deadline_a_run_is_over_and_its_report_comes_too_late() {
    let harness = Harness::start().await;
    let mut worker = raw(&harness).await;
    let id = harness.enqueue(task(5, 1).deadline(MS(300))).await;
    let delivery = worker.next_delivery().await;
    let left = Duration::try_from(delivery.deadline.unwrap()).unwrap();
    assert!(left <= MS(300), "{left:?}");
    let cancel = worker.next_cancel().await;
    assert_eq!(
        (cancel.reason(), &cancel.lease_token),
        (CancelReason::Deadline, &delivery.lease_token)
    );
    let dead = harness.end_of(&id).await;
    assert_eq!(
        (dead.state(), &*dead.state_reason),
        (TaskState::Dead, "DEADLINE_EXCEEDED")
    );
    assert!((300..2000).contains(&life_ms(&dead)), "{}", life_ms(&dead));
    assert_eq!(dead.history[0].outcome(), RunOutcome::TimedOut);
    let late = worker.report_one(make::complete(&delivery)).await;
    assert_eq!(
        (late.status(), late.state()),
        (ReportStatus::Superseded, TaskState::Dead)
    );
}

#[tokio::test]
async fn a_handler_sees_how_much_is_left_and_is_stopped_when_nothing_is() {
    let harness = Harness::start().await;
    struct Stopped(Notes);
    impl Drop for Stopped {
        fn drop(&mut self) {
            note(&self.0, "stopped");
        }
    }
    async fn endless(State(notes): State<Notes>, task: TaskContext) -> TaskResult<()> {
        let _stopped = Stopped(Arc::clone(&notes));
        let left = task.time_until_deadline().expect("it has a deadline");
        assert!(left <= MS(300) && task.time_left() <= Some(MS(300)));
        note(&notes, format!("begun {}", task.attempt()));
        std::future::pending().await
    }
    let notes = Notes::default();
    let builder = sdk(&harness).with_state(Arc::clone(&notes));
    let worker = SdkWorker::start(builder.task("k", endless).build().unwrap());
    // The hard limit is farther away.
    let new = task(5, 1).deadline(MS(300));
    let new = new.timeouts(None, Some(Duration::from_secs(60)));
    let dead = harness.end_of(&harness.enqueue(new).await).await;
    assert_eq!(&*dead.state_reason, "DEADLINE_EXCEEDED");
    when_noted(&notes, 2).await;
    assert_eq!(noted(&notes), ["begun 1", "stopped"]);
    assert_eq!(dead.runs, 1);
    let free = harness
        .enqueue(NewTask::new("q", "k").deadline(MS(1)))
        .await;
    harness.end_of(&free).await;
    worker.stop().await;
}

#[tokio::test]
async fn a_retry_that_would_start_too_late_is_not_planned() {
    let harness = Harness::start().await;
    let mut worker = raw(&harness).await;
    let far = Duration::from_secs(60);
    let id = harness.enqueue(task(5, 120_000).deadline(far)).await;
    let delivery = worker.next_delivery().await;
    let ack = worker.report_one(make::fail(&delivery, "no")).await;
    assert_eq!(ack.state(), TaskState::Dead, "at once");
    let dead = harness.task(&id).await;
    assert_eq!(&*dead.state_reason, "DEADLINE_EXCEEDED");
    assert_eq!(dead.last_failure.unwrap().message, "no");
    let id = harness.enqueue(task(5, 1).deadline(far)).await;
    let delivery = worker.next_delivery().await;
    let defer = Outcome::Defer(pb::Defer {
        delay: Some(make::ms(60_000)),
        ..Default::default()
    });
    worker
        .report_one(make::report(&delivery.lease_token, defer))
        .await;
    assert_eq!(harness.task(&id).await.state_reason, "DEADLINE_EXCEEDED");
}

#[tokio::test]
async fn the_policy_says_what_becomes_of_what_came_too_late() {
    let harness = Harness::start().await;
    for (action, state) in [
        (pb::ExhaustAction::Fail, TaskState::Failed),
        (pb::ExhaustAction::Discard, TaskState::Discarded),
        (pb::ExhaustAction::DeadLetter, TaskState::Dead),
    ] {
        let policy = pb::RetryPolicy {
            on_exhausted: action.into(),
            ..make::policy(5, 1)
        };
        let new = || NewTask::new("q", "k").inline_retry_policy(policy.clone());
        for new in [new().ttl(MS(10)), new().deadline(MS(10))] {
            let ended = harness.end_of(&harness.enqueue(new).await).await;
            assert_eq!(ended.state(), state);
        }
    }
}

#[tokio::test]
async fn a_redrive_and_a_new_start_begin_both_anew() {
    let harness = Harness::start().await;
    let both = || task(1, 1).ttl(MS(100)).deadline(MS(200));
    let id = harness.enqueue(both()).await;
    assert_eq!(harness.end_of(&id).await.state(), TaskState::Dead);
    let hour = Duration::from_secs(3600);
    let from = |task: &pb::Task, pick: fn(pb::Effective) -> Option<pb::EffectiveTime>| {
        let time = pick(*task.effective.clone().unwrap()).unwrap().time;
        make::ms_between(task.next_attempt_time, time)
    };
    let redriven = harness.client().redrive(&id, hour, "").await.unwrap();
    assert_eq!(from(&redriven, |it| it.expire_time), 100);
    assert_eq!(from(&redriven, |it| it.deadline_time), 200);
    let other = harness.enqueue(both().delay(hour)).await;
    let update = TaskUpdate::new().delay(2 * hour);
    let moved = harness.client().update(&other, update).await.unwrap();
    assert_eq!(from(&moved, |it| it.expire_time), 100);
    assert_eq!(from(&moved, |it| it.deadline_time), 200);
}

#[tokio::test]
async fn kind_and_queue_speak_for_later_tasks_and_the_task_goes_first() {
    let harness = Harness::start().await;
    let terms = |ms| {
        Some(pb::Terms {
            deadline: Some(make::ms(ms)),
            ..Default::default()
        })
    };
    let shown = async |new: NewTask| {
        let task = harness.task(&harness.enqueue(new).await).await;
        let deadline = task.effective.unwrap().deadline_time;
        deadline.map(|it| (make::ms_between(task.enqueue_time, it.time), it.source()))
    };
    let plain = || NewTask::new("q", "k");
    let early = harness.enqueue(plain()).await;
    assert_eq!(shown(plain()).await, None);
    let settings = pb::QueueSettings {
        terms: terms(70_000),
        ..Default::default()
    };
    let client = harness.client();
    client.update_queue("q", settings, &[]).await.unwrap();
    assert_eq!(shown(plain()).await, Some((70_000, Source::Queue)));
    let settings = pb::KindSettings {
        terms: terms(80_000),
        ..Default::default()
    };
    client.set_kind("k", settings).await.unwrap();
    assert_eq!(shown(plain()).await, Some((80_000, Source::Kind)));
    let own = plain().deadline(MS(90_000));
    assert_eq!(shown(own).await, Some((90_000, Source::Task)));
    let early = harness.task(&early).await.effective.unwrap();
    assert_eq!(early.deadline_time, None, "resolved when it was accepted");
}

#[tokio::test]
async fn both_keep_their_instants_over_a_restart_and_what_is_overdue_ends_afterwards() {
    for end in End::ALL {
        let folder = folder();
        let harness = Harness::on(folder.path()).await;
        let hour = Duration::from_secs(3600);
        let far = harness
            .enqueue(task(1, 1).ttl(hour).deadline(2 * hour))
            .await;
        let before = harness.task(&far).await;
        let mut worker = super::raw_of(&harness, "w2", "held").await;
        let soon = async |queue: &str, new: NewTask| {
            let mut spec = new.build().unwrap();
            spec.queue = queue.to_owned();
            harness.enqueue(spec.into()).await
        };
        let waits = soon("alone", task(1, 1).ttl(MS(250))).await;
        let held = soon("held", task(5, 1).deadline(MS(250))).await;
        let delivery = worker.next_delivery().await;
        harness.task_in(&held, TaskState::Running).await;
        let away = worker.cut();
        let harness = harness.again(end).await;
        assert_eq!(harness.task(&far).await, before, "{end:?}");
        for (id, reason, least_ms) in [
            (&waits, "TTL_EXPIRED", 250),
            (&held, "DEADLINE_EXCEEDED", 250),
        ] {
            let dead = harness.end_of(id).await;
            assert_eq!(&*dead.state_reason, reason, "{end:?}");
            assert!(life_ms(&dead) >= least_ms, "{end:?}");
        }
        let mut back = away.resume(&[&delivery]).await;
        let lost = std::slice::from_ref(&delivery.lease_token);
        assert_eq!(back.welcome.lost, lost, "{end:?}");
        let late = back.report_one(make::complete(&delivery)).await;
        assert_eq!(late.status(), ReportStatus::Superseded, "{end:?}");
    }
}

#[tokio::test]
async fn a_time_that_cannot_be_is_refused_wherever_it_is_said() {
    let harness = Harness::start().await;
    type Set = fn(&mut pb::Terms, prost_types::Duration);
    let fields: [(&str, Set); 2] = [
        ("ttl", |it, value| it.ttl = Some(value)),
        ("deadline", |it, value| it.deadline = Some(value)),
    ];
    let values = [
        (
            make::ms(0),
            vec!["is 0", "at least 1 ms", "unset for no limit"],
        ),
        (
            make::ms(3651 * DAY_MS),
            vec!["3651 days", "at most 3650 days"],
        ),
        (super::NEGATIVE, vec!["is negative"]),
    ];
    let mut cases = Vec::new();
    for (field, set) in fields {
        for (value, says) in &values {
            let mut terms = pb::Terms::default();
            set(&mut terms, *value);
            cases.push((terms, Expected::field(&format!("terms.{field}"), says)));
        }
    }
    let of_tasks = cases.iter().map(|(terms, expected)| {
        let spec = pb::TaskSpec {
            terms: Some(Box::new(terms.clone())),
            ..make::spec("q", "k")
        };
        (spec, expected.clone())
    });
    refused_alone(&harness, of_tasks.collect()).await;
    let of_queues = cases.iter().map(|(terms, expected)| {
        let settings = pb::QueueSettings {
            terms: Some(terms.clone()),
            ..Default::default()
        };
        let request = pb::UpdateQueueRequest {
            queue: "q".to_owned(),
            settings: Some(settings),
            ..Default::default()
        };
        (request, expected.clone().below("settings"))
    });
    refused!(harness.queues(), update_queue, of_queues);
    let of_kinds = cases.iter().map(|(terms, expected)| {
        let settings = pb::KindSettings {
            terms: Some(terms.clone()),
            ..Default::default()
        };
        let request = pb::SetKindRequest {
            kind: "k".to_owned(),
            settings: Some(settings),
            ..Default::default()
        };
        (request, expected.clone().below("settings"))
    });
    refused!(harness.kinds(), set_kind, of_kinds);
    assert!(harness.client().kind("k").await.is_err(), "nothing was set");
}
