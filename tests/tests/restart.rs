//! What a restart keeps, over real sockets: a coordinator that is stopped in good order, or ends
//! without a word, and is started again on its data directory.
//!
//! That nothing is lost by a SIGKILL at any moment is `cli/tests/crash`'s business; here each thing
//! that must go on is looked at by itself.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt as _;
use redrive_client::NewTask;
use redrive_coordinator::journal::Durability;
use redrive_proto::v1::{self as pb, ReportStatus, TaskState};
use redrive_tests::harness::End;
use redrive_tests::process::Folder;
use redrive_tests::{Harness, RawWorker, SdkWorker, harness, make};
use redrive_worker::{State, TaskResult, Worker};
use tokio::sync::Semaphore;

fn folder() -> Folder {
    Folder::new(env!("CARGO_TARGET_TMPDIR"), "restart")
}

async fn raw(harness: &Harness) -> RawWorker {
    RawWorker::hello(harness.address(), make::hello("raw", "q", 10)).await
}

/// A task of the queue "q" that is tried so often, each time after so many milliseconds.
fn task(max_attempts: u32, delay_ms: u64) -> NewTask {
    NewTask::new("q", "k").inline_retry_policy(make::policy(max_attempts, delay_ms))
}

#[tokio::test]
async fn a_worker_resumes_with_what_it_holds_and_its_report_is_recorded_once() {
    for end in End::ALL {
        let folder = folder();
        let harness = Harness::on(folder.path()).await;
        let mut worker = raw(&harness).await;
        let (held_id, lost_id) = (
            harness.enqueue(task(1, 1)).await,
            harness.enqueue(task(1, 1)).await,
        );
        let held = worker.next_delivery().await;
        let lost = worker.next_unstarted().await;
        worker.round_trip().await;
        let away = worker.cut();
        let harness = harness.again(end).await;

        let mut back = away.resume(&[&held]).await;
        assert!(back.welcome.resumed, "{end:?}");
        assert!(back.welcome.lost.is_empty(), "{end:?}");
        back.complete(&held).await;
        let twice = back.report_one(make::complete(&held)).await;
        assert_eq!(twice.status(), ReportStatus::Duplicate, "{end:?}");
        let ended = harness.end_of(&held_id).await;
        assert_eq!((ended.state(), ended.runs), (TaskState::Succeeded, 1));
        // What it does not list never arrived.
        let anew = back.next_delivery().await;
        assert_eq!((&anew.task_id, anew.run), (&lost_id, 2), "{end:?}");
        assert!(anew.fence > lost.fence, "{end:?}");
        assert_eq!((anew.attempt, anew.crashes), (1, 0), "without blame");
        let late = back.report_one(make::complete(&lost)).await;
        assert_eq!(late.status(), ReportStatus::Superseded, "{end:?}");
        back.complete(&anew).await;
    }
}

#[tokio::test]
async fn a_result_that_was_recorded_and_not_acknowledged_is_a_duplicate_after_the_restart() {
    for end in End::ALL {
        let folder = folder();
        let harness = Harness::on(folder.path()).await;
        let mut worker = raw(&harness).await;
        let failed_id = harness.enqueue(task(3, 3_600_000)).await;
        let failed = worker.next_delivery().await;
        let ack = worker.report_one(make::fail(&failed, "no")).await;
        assert_eq!(ack.status(), ReportStatus::Recorded);
        let away = worker.cut();
        let harness = harness.again(end).await;
        let mut back = away.resume(&[&failed]).await;
        let twice = back.report_one(make::fail(&failed, "no")).await;
        assert_eq!(twice.status(), ReportStatus::Duplicate, "{end:?}");
        let task = harness.task(&failed_id).await;
        assert_eq!(task.budgets.unwrap().failures, 1, "{end:?}");
    }
}

/// Ends when the test lets it.
async fn gated(State(gate): State<Arc<Semaphore>>) -> TaskResult<()> {
    gate.acquire().await?.forget();
    Ok(())
}

#[tokio::test]
async fn a_worker_of_the_sdk_finishes_what_it_ran_when_the_coordinator_went_away() {
    let folder = folder();
    let harness = Harness::on(folder.path()).await;
    let gate = Arc::new(Semaphore::new(0));
    let worker = Worker::builder(harness.url())
        .worker_id("w")
        .queue("q", 1)
        .slots(1)
        .with_state(Arc::clone(&gate))
        .task("k", gated);
    let worker = SdkWorker::start(worker.build().unwrap());
    let id = harness.enqueue(task(1, 1)).await;
    harness.task_in(&id, TaskState::Running).await;
    let harness = harness.crash().await;
    gate.add_permits(1);
    let ended = harness.end_of(&id).await;
    assert_eq!((ended.state(), ended.runs), (TaskState::Succeeded, 1));
    worker.stop().await;
}

#[tokio::test]
async fn a_retry_timer_and_a_delay_keep_their_instant() {
    for end in End::ALL {
        let folder = folder();
        let harness = Harness::on(folder.path()).await;
        let mut worker = raw(&harness).await;
        let retried = harness.enqueue(task(3, 700)).await;
        let delayed = NewTask::new("q", "k").delay(Duration::from_secs(3600));
        let delayed = harness.enqueue(delayed).await;
        let first = worker.next_delivery().await;
        worker.report_one(make::fail(&first, "no")).await;
        let before = [harness.task(&retried).await, harness.task(&delayed).await];
        drop(worker);
        let harness = harness.again(end).await;

        let after = [harness.task(&retried).await, harness.task(&delayed).await];
        assert_eq!(after[1], before[1], "{end:?}: all of it, its instant too");
        if after[0].state() == TaskState::Retrying {
            assert_eq!(after[0].next_attempt_time, before[0].next_attempt_time);
        }
        let mut worker = raw(&harness).await;
        let second = worker.next_delivery().await;
        assert_eq!((second.run, second.attempt), (2, 2), "{end:?}");
        worker.complete(&second).await;
        let ended = harness.end_of(&retried).await;
        let waited = make::ms_between(ended.history[0].end_time, ended.history[1].lease_time);
        assert!(waited >= 700, "{end:?}: never early: {waited} ms");
    }
}

/// The next task, leased by a call, so that nothing is under way when the coordinator ends.
async fn leased(harness: &Harness) -> pb::Delivery {
    let request = pb::LeaseTasksRequest {
        worker: Some(make::worker_info("w", "q")),
        wait: Some(make::ms(20_000)),
        ..Default::default()
    };
    let leased = harness.workers().lease_tasks(request).await.unwrap();
    leased.into_inner().deliveries.remove(0)
}

#[tokio::test]
async fn runs_fences_and_attempts_go_on_where_they_were() {
    for end in End::ALL {
        let folder = folder();
        let mut harness = Harness::on(folder.path()).await;
        let id = harness.enqueue(task(10, 1)).await;
        let (mut fence, mut crashed) = (0, 0);
        for run in 1..=4 {
            let delivery = leased(&harness).await;
            assert_eq!((delivery.run, delivery.attempt), (run, run), "{end:?}");
            assert!(delivery.fence > fence, "{end:?}: fences grow");
            fence = delivery.fence;
            let reports = vec![make::fail(&delivery, "no")];
            let request = pb::ReportTasksRequest { reports };
            harness.workers().report_tasks(request).await.unwrap();
            harness = harness.again(end).await;
            crashed += 1;
        }
        let task = harness.task(&id).await;
        assert_eq!((task.runs, task.history.len()), (crashed, 4), "{end:?}");
        assert_eq!(task.fence, fence, "{end:?}");
    }
}

#[tokio::test]
async fn queues_keep_settings_pause_counts_totals_and_dead_letters() {
    for end in End::ALL {
        let folder = folder();
        let harness = Harness::on(folder.path()).await;
        let before = busy_queue(&harness).await;
        let harness = harness.again(end).await;
        let after = harness.client().queue("q").await.unwrap();
        assert_eq!(after, before, "{end:?}");

        // And it is alive: what is paused stays, what is dead can be redriven.
        let mut worker = raw(&harness).await;
        worker.round_trip().await;
        assert!(worker.deliveries.is_empty(), "{end:?}: still paused");
        harness.client().resume_queue("q").await.unwrap();
        let waiting = worker.next_delivery().await;
        worker.complete(&waiting).await;
        let dead = dead_letters(&harness).await;
        let [letter] = &dead[..] else {
            panic!("{end:?}: {dead:?}")
        };
        assert_eq!(letter.last_failure.as_ref().unwrap().message, "no good");
        let redriven = harness
            .client()
            .redrive(&letter.task_id, Duration::ZERO, "");
        redriven.await.unwrap();
        let fresh = worker.next_delivery().await;
        assert_eq!((fresh.run, fresh.attempt), (2, 1), "{end:?}");
        worker.complete(&fresh).await;
        harness.end_of(&letter.task_id).await;
        let counts = harness.client().queue("q").await.unwrap().counts.unwrap();
        let totals = (counts.enqueued_total, counts.succeeded_total);
        assert_eq!(totals, (4, 3), "{end:?}");
        assert_eq!((counts.dead, counts.redriven_total), (0, 1), "{end:?}");
    }
}

/// A queue with settings, paused, that one task has succeeded in, one is dead in, one waits in, and
/// one is put off in.
async fn busy_queue(harness: &Harness) -> pb::Queue {
    let settings = pb::QueueSettings {
        retry: Some(pb::queue_settings::Retry::RetryPolicy("sidekiq".to_owned())),
        ..Default::default()
    };
    let updated = harness
        .client()
        .update_queue("q", settings, &["retry_policy"]);
    updated.await.unwrap();
    let mut worker = raw(harness).await;
    harness.enqueue(task(1, 1)).await;
    let good = worker.next_delivery().await;
    worker.complete(&good).await;
    harness.enqueue(task(1, 1)).await;
    let bad = worker.next_delivery().await;
    worker.report_one(make::fail(&bad, "no good")).await;
    harness
        .client()
        .pause_queue("q", "the provider is down")
        .await
        .unwrap();
    harness.enqueue(task(1, 1)).await;
    let late = task(1, 1).delay(Duration::from_secs(3600));
    harness.enqueue(late).await;
    drop(worker);
    let queue = harness.client().queue("q").await.unwrap();
    let counts = queue.counts.unwrap();
    assert_eq!((counts.ready, counts.scheduled, counts.dead), (1, 1, 1));
    queue
}

async fn dead_letters(harness: &Harness) -> Vec<pb::Task> {
    let letters = harness
        .client()
        .dead_letters(harness.client().select("q", ""));
    letters.try_collect().await.unwrap()
}

#[tokio::test]
async fn a_second_coordinator_on_the_same_directory_is_refused_by_name() {
    let folder = folder();
    let harness = Harness::on(folder.path()).await;
    let mut config = harness::config();
    harness::keep(&mut config, folder.path());
    let refused = Harness::begin(config).await.unwrap_err().to_string();
    let named = folder.path().display().to_string();
    assert!(
        refused.contains(&named) && refused.contains("in use"),
        "{refused}"
    );
    harness.still_serves().await;
}

#[tokio::test]
async fn answers_and_the_server_itself_say_what_accepted_means() {
    let levels = [
        (Some(Durability::Always), "always"),
        (Some(Durability::Interval), "interval"),
        (None, "always"),
    ];
    for (level, name) in levels {
        let folder = folder();
        says(&keeping(folder.path(), level).await, name).await;
    }
    says(&Harness::start().await, "memory").await;
}

async fn keeping(data_dir: &Path, level: Option<Durability>) -> Harness {
    Harness::with(|config| {
        harness::keep(config, data_dir);
        config.durability = level;
    })
    .await
}

async fn says(harness: &Harness, name: &str) {
    let accepted = harness.client().enqueue(task(1, 1)).await.unwrap();
    assert_eq!(accepted.durability, name);
    let info = harness.client().server_info().await.unwrap();
    assert_eq!(info.durability, name);
}

#[tokio::test]
async fn a_lease_without_a_stream_gets_its_own_life_again() {
    let folder = folder();
    let harness = Harness::on(folder.path()).await;
    harness.enqueue(task(1, 1)).await;
    let request = pb::LeaseTasksRequest {
        worker: Some(make::worker_info("w", "q")),
        lease_ttl: Some(make::ms(1000)),
        ..Default::default()
    };
    harness.workers().lease_tasks(request).await.unwrap();
    let harness = harness.restart().await;
    let again = leased(&harness).await;
    assert_eq!((again.run, again.crashes), (2, 1));
}

#[tokio::test]
async fn the_number_of_shards_is_fixed_and_a_start_with_another_says_so() {
    let folder = folder();
    let harness = Harness::on(folder.path()).await;
    harness.stop().await.unwrap();
    let mut config = harness::config();
    harness::keep(&mut config, folder.path());
    config.shard_count = 8;
    let told = Harness::begin(config).await.unwrap_err().to_string();
    for part in ["--shards", "made with 4 shards", "--shards 4"] {
        assert!(told.contains(part), "{told}");
    }
}
