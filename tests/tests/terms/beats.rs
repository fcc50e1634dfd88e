//! What handlers say while they run: how far they are, and how much time they want.

use std::sync::Arc;
use std::time::Duration;

use redrive_client::{NewTask, TaskUpdate};
use redrive_proto::v1::{self as pb, TaskState};
use redrive_tests::refusal::Expected;
use redrive_tests::{Harness, SdkWorker, eventually, make};
use redrive_worker::{
    ExtendError, FailureClass, State, TaskContext, TaskError, TaskResult, Timeouts,
};
use tokio::sync::Semaphore;
use tonic::Code;

use super::{DAY_MS, raw, sdk, task};

const SECS: fn(u64) -> Duration = Duration::from_secs;

fn limits(soft: u64, hard: u64) -> (Option<Duration>, Option<Duration>) {
    (Some(SECS(soft)), Some(SECS(hard)))
}

fn timeouts(soft: u64, hard: u64) -> Timeouts {
    let (soft, hard) = limits(soft, hard);
    Timeouts { soft, hard }
}

fn effective(task: &pb::Task) -> (Option<u64>, Option<u64>) {
    let secs = |limit: Option<prost_types::Duration>| {
        limit.map(|limit| Duration::try_from(limit).unwrap().as_secs())
    };
    let timeouts = task.effective_timeouts.unwrap();
    (secs(timeouts.soft), secs(timeouts.hard))
}

#[tokio::test]
async fn progress_is_shown_while_the_handler_runs_and_not_after() {
    let harness = Harness::start().await;
    async fn rows(State(gate): State<Arc<Semaphore>>, task: TaskContext) -> TaskResult<()> {
        for done in 1..=1000 {
            task.progress(done, 1000, format!("row {done}"));
        }
        gate.acquire().await?.forget();
        Ok(())
    }
    let gate = Arc::new(Semaphore::new(0));
    let builder = sdk(&harness).with_state(Arc::clone(&gate));
    let _worker = SdkWorker::start(builder.task("k", rows).build().unwrap());
    let id = harness.enqueue(task(1, 1)).await;
    let progress = eventually("all rows are shown", async || {
        let progress = harness.task(&id).await.progress?;
        (progress.done == 1000).then_some(progress)
    })
    .await;
    assert_eq!((progress.total, &*progress.message), (1000, "row 1000"));
    assert!(progress.time.is_some());
    gate.add_permits(1);
    assert_eq!(harness.end_of(&id).await.progress, None);
}

/// Asks for the limits of the S34 example, which a policy of five minutes has once and for all.
async fn wants_more(State(gate): State<Arc<Semaphore>>, task: TaskContext) -> TaskResult<()> {
    let asked = task.time_until_soft_limit().unwrap();
    assert!(asked <= SECS(300) && asked > SECS(290), "{asked:?}");
    if task.attempt() == 2 {
        return Ok(());
    }
    let got = task.extend(Some(SECS(600)), Some(SECS(660))).await?;
    assert_eq!(got, timeouts(600, 660));
    assert!(task.time_until_soft_limit().unwrap() > SECS(590));
    assert!(task.time_left().unwrap() > SECS(650));
    // What is not named stays.
    let got = task.extend(None, Some(SECS(1440))).await?;
    assert_eq!(got, timeouts(600, 1440));
    for (soft, hard) in [(None, Some(SECS(1441))), (Some(SECS(1441)), None)] {
        let refused = task.extend(soft, hard).await.unwrap_err();
        let ExtendError::Refused {
            reason,
            field,
            message,
        } = refused
        else {
            panic!("{refused:?}");
        };
        assert_eq!((&*reason, &*field), ("OUT_OF_RANGE", "timeouts.hard"));
        assert!(message.contains("1440000 ms"), "{message}");
        assert!(message.contains("raise extend_max"), "{message}");
    }
    let refused = task.extend(Some(SECS(700)), Some(SECS(650))).await;
    assert!(matches!(refused, Err(ExtendError::Refused { .. })));
    gate.acquire().await?.forget();
    Err(TaskError::new(FailureClass::Internal, "not yet"))
}

#[tokio::test]
async fn a_handler_gets_more_time_for_this_run_within_its_bound() {
    let harness = Harness::start().await;
    let gate = Arc::new(Semaphore::new(0));
    let builder = sdk(&harness).with_state(Arc::clone(&gate));
    let _worker = SdkWorker::start(builder.task("k", wants_more).build().unwrap());
    let (soft, hard) = limits(300, 360);
    let id = harness.enqueue(task(2, 1).timeouts(soft, hard)).await;
    let running = eventually("the new limits are shown", async || {
        let task = harness.task(&id).await;
        (effective(&task) == (Some(600), Some(1440))).then_some(task)
    })
    .await;
    assert_eq!(running.state(), TaskState::Running);
    gate.add_permits(1);
    let ended = harness.end_of(&id).await;
    assert_eq!(ended.state(), TaskState::Succeeded, "{ended:?}");
    assert_eq!(
        ended.history[0].failure.as_ref().unwrap().message,
        "not yet"
    );
    assert_eq!(
        effective(&ended),
        (Some(300), Some(360)),
        "of that run alone"
    );
}

#[tokio::test]
async fn the_task_says_how_much_a_handler_may_ask_for() {
    let harness = Harness::start().await;
    let mut worker = raw(&harness).await;
    let hard = |new: NewTask, secs| new.timeouts(None, Some(SECS(secs)));
    for (new, bound) in [
        (hard(task(1, 1), 60), 240),
        (hard(task(1, 1), 60).extend_max(SECS(90)), 90),
        (task(1, 1), 30 * 86_400),
        (hard(task(1, 1), 20 * 86_400), 30 * 86_400),
    ] {
        harness.enqueue(new).await;
        let delivery = worker.next_delivery().await;
        let ask = |ms| pb::Heartbeat {
            timeouts: Some(pb::Timeouts {
                hard: Some(make::ms(ms)),
                ..Default::default()
            }),
            ..make::beat(&delivery)
        };
        worker.beat(vec![ask(bound * 1000)]).await;
        let ack = worker.next_beat_ack().await;
        assert!(ack.held && ack.refusal.is_none(), "{ack:?}");
        assert_eq!(ack.timeouts.unwrap().hard, Some(make::ms(bound * 1000)));
        if bound < 30 * 86_400 {
            worker.beat(vec![ask(bound * 1000 + 1)]).await;
            let ack = worker.next_beat_ack().await;
            let says = [format!("more than the {} ms", bound * 1000)];
            Expected {
                code: Code::OutOfRange,
                reason: "OUT_OF_RANGE",
                ..Expected::field("timeouts.hard", &[&says[0], "raise extend_max"])
            }
            .check("extend", &ack.refusal.unwrap());
            assert_eq!(ack.timeouts.unwrap().hard, Some(make::ms(bound * 1000)));
        }
        worker.complete(&delivery).await;
    }
}

#[tokio::test]
async fn an_operator_gives_a_running_handler_more_time() {
    let harness = Harness::start().await;
    async fn patient(State(gate): State<Arc<Semaphore>>, task: TaskContext) -> TaskResult<()> {
        gate.acquire().await?.forget();
        assert!(task.time_left().unwrap() > SECS(3500));
        Ok(())
    }
    let gate = Arc::new(Semaphore::new(0));
    let builder = sdk(&harness).with_state(Arc::clone(&gate));
    let _worker = SdkWorker::start(builder.task("k", patient).build().unwrap());
    let new = task(1, 1).timeouts(None, Some(SECS(360)));
    let id = harness.enqueue(new).await;
    harness.task_in(&id, TaskState::Running).await;
    let more = TaskUpdate::new().timeouts(None, Some(SECS(3600)));
    let more = more.extend_max(SECS(7200)).reason("a large archive");
    let updated = harness.client().update(&id, more).await.unwrap();
    assert_eq!(effective(&updated), (None, Some(3600)));
    // The worker is told before it is told of the next task.
    let next = harness.enqueue(NewTask::new("q", "k").timeouts(None, Some(SECS(3600))));
    let next = next.await;
    harness.task_in(&next, TaskState::Running).await;
    gate.add_permits(2);
    assert_eq!(harness.end_of(&id).await.state(), TaskState::Succeeded);
    assert_eq!(harness.end_of(&next).await.state(), TaskState::Succeeded);
}

#[tokio::test]
async fn without_a_stream_each_heartbeat_is_answered_and_renews_its_lease() {
    let harness = Harness::start().await;
    let id = harness.enqueue(task(1, 1)).await;
    let gone = harness.enqueue(task(1, 1)).await;
    let request = pb::LeaseTasksRequest {
        worker: Some(make::worker_info("w", "q")),
        tasks_max: 2,
        lease_ttl: Some(make::ms(1000)),
        ..Default::default()
    };
    let leased = harness.workers().lease_tasks(request).await.unwrap();
    let deliveries = leased.into_inner().deliveries;
    let reports = vec![make::complete(&deliveries[1])];
    let report = pb::ReportTasksRequest { reports };
    harness.workers().report_tasks(report).await.unwrap();
    let beat = |delivery, done| pb::Heartbeat {
        progress: Some(pb::Progress {
            done,
            ..Default::default()
        }),
        ..make::beat(delivery)
    };
    let extend = |beats| pb::ExtendLeasesRequest {
        heartbeats: beats,
        lease_ttl: Some(make::ms(60_000)),
        ..Default::default()
    };
    let beats = vec![beat(&deliveries[0], 3), beat(&deliveries[1], 9)];
    let answer = harness.workers().extend_leases(extend(beats)).await;
    let acks = answer.unwrap().into_inner().heartbeat_acks;
    let held: Vec<bool> = acks.iter().map(|ack| ack.held).collect();
    assert_eq!(held, [true, false]);
    assert_eq!(harness.task(&id).await.progress.unwrap().done, 3);
    harness.client().cancel(&id, "").await.unwrap();
    let beats = vec![beat(&deliveries[0], 4)];
    let answer = harness.workers().extend_leases(extend(beats)).await;
    let acks = answer.unwrap().into_inner().heartbeat_acks;
    assert!(acks[0].held && acks[0].cancel_requested, "{acks:?}");
    // A lease of another second would have lapsed by now.
    let other = harness
        .enqueue(NewTask::new("nobody", "k").ttl(SECS(1)))
        .await;
    harness.end_of(&other).await;
    assert_eq!(harness.task(&id).await.state(), TaskState::Running);
    assert_eq!(harness.task(&gone).await.state(), TaskState::Succeeded);
}

type Bad = (pb::Heartbeat, Expected);

fn bad_beats(delivery: &pb::Delivery) -> Vec<Bad> {
    let with = |change: fn(&mut pb::Heartbeat)| {
        let mut beat = make::beat(delivery);
        change(&mut beat);
        beat
    };
    let limits = |change: fn(&mut pb::Timeouts)| {
        let mut timeouts = pb::Timeouts::default();
        change(&mut timeouts);
        pb::Heartbeat {
            timeouts: Some(timeouts),
            ..make::beat(delivery)
        }
    };
    let of = Expected::field;
    vec![
        (
            with(|it| it.lease_token.clear()),
            of("lease_token", &["required"]),
        ),
        (
            with(|it| it.lease_token.truncate(31)),
            of("lease_token", &["31 bytes", "32 are expected"]),
        ),
        (
            with(|it| it.checkpoint = Some(make::payload(vec![0; 262_145]))),
            of("checkpoint.data", &["262145", "262144", "elsewhere"]),
        ),
        (
            with(|it| {
                it.progress = Some(pb::Progress {
                    message: "m".repeat(257),
                    ..Default::default()
                });
            }),
            of("progress.message", &["257", "at most 256"]),
        ),
        (
            limits(|it| it.hard = Some(make::ms(0))),
            of("timeouts.hard", &["is 0", "at least 1 ms"]),
        ),
        (
            limits(|it| it.soft = Some(super::NEGATIVE)),
            of("timeouts.soft", &["is negative"]),
        ),
        (
            limits(|it| it.hard = Some(make::ms(30 * DAY_MS + 1))),
            of("timeouts.hard", &["at most 30 days"]),
        ),
        (
            limits(|it| (it.soft, it.hard) = (Some(make::ms(2)), Some(make::ms(1)))),
            of("timeouts.soft", &["above the hard limit of 1 ms"]),
        ),
        (
            limits(|it| it.extend_max = Some(make::ms(1000))),
            of("timeouts.extend_max", &["own bound", "leave it unset"]),
        ),
    ]
}

#[tokio::test]
async fn a_heartbeat_that_cannot_be_is_refused_alone_and_the_lease_is_not_touched() {
    let harness = Harness::start().await;
    let mut worker = raw(&harness).await;
    let (one, other) = (
        harness.enqueue(task(1, 1)).await,
        harness.enqueue(task(1, 1)).await,
    );
    let delivery = worker.next_delivery().await;
    let beside = worker.next_delivery().await;
    for (done, (beat, expected)) in (1..).zip(bad_beats(&delivery)) {
        let good = pb::Heartbeat {
            progress: Some(pb::Progress {
                done,
                ..Default::default()
            }),
            ..make::beat(&beside)
        };
        worker.beat(vec![beat.clone(), good]).await;
        let ack = worker.next_beat_ack().await;
        let named = ack.lease_token == delivery.lease_token;
        assert_eq!(ack.held, named, "{ack:?}: what is no token holds nothing");
        expected.check(&expected.field, &ack.refusal.unwrap());
        let progress = harness.task(&other).await.progress;
        assert_eq!(progress.unwrap().done, done, "the other one counts");
        let request = pb::ExtendLeasesRequest {
            heartbeats: vec![beat],
            ..Default::default()
        };
        let answer = harness.workers().extend_leases(request).await.unwrap();
        let ack = answer.into_inner().heartbeat_acks.remove(0);
        expected.check(&expected.field, &ack.refusal.unwrap());
    }
    let shown = harness.task(&one).await;
    assert_eq!((shown.progress, shown.checkpoint), (None, None));
    for count in [0, 1001] {
        worker.beat(vec![make::beat(&delivery); count]).await;
        let refusal = worker.next_refusal().await;
        Expected::field("heartbeats.heartbeats", &["1000"]).check("batch", &refusal);
    }
    worker.complete(&delivery).await;
    worker.complete(&beside).await;
}

#[tokio::test]
async fn a_bound_that_cannot_be_is_refused_wherever_it_is_said() {
    let harness = Harness::start().await;
    let mut cases = Vec::new();
    for (hard, extend_max, says) in [
        (
            5000,
            4999,
            vec!["4999 ms", "below the hard limit of 5 s", "raise it"],
        ),
        (5000, 0, vec!["is 0", "at least 1 ms"]),
        (5000, 30 * DAY_MS + 1, vec!["at most 30 days"]),
    ] {
        let timeouts = pb::Timeouts {
            soft: None,
            hard: Some(make::ms(hard)),
            extend_max: Some(make::ms(extend_max)),
        };
        cases.push((timeouts, Expected::field("timeouts.extend_max", &says)));
    }
    let of_tasks = cases.iter().map(|(timeouts, expected)| {
        let spec = pb::TaskSpec {
            timeouts: Some(*timeouts),
            ..make::spec("q", "k")
        };
        (spec, expected.clone())
    });
    super::refused_alone(&harness, of_tasks.collect()).await;
    let id = harness.enqueue(task(1, 1)).await;
    let updates = cases.iter().map(|(timeouts, expected)| {
        let update = pb::UpdateTaskRequest {
            task_id: id.clone(),
            timeouts: Some(*timeouts),
            ..Default::default()
        };
        (update, expected.clone())
    });
    super::refused!(harness.tasks(), update_task, updates);
    assert_eq!(effective(&harness.task(&id).await), (None, None));
}
