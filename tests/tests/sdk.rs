//! The worker SDK against the real coordinator, over a network that breaks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use redrive_client::NewTask;
use redrive_proto::v1::{FailureClass, RunOutcome, TaskState, WorkerState};
use redrive_tests::{Harness, Proxy, SdkWorker, eventually, make, within};
use redrive_worker::session::EXIT_CLEAN;
use redrive_worker::{
    Json, State, Stop, StopReason, TaskContext, TaskResult, Worker, WorkerBuilder,
};
use tokio::sync::Semaphore;

/// What handlers share with their test.
#[derive(Debug)]
struct Shared {
    /// Runs that began.
    begun: AtomicU32,
    /// A permit lets one run end.
    gate: Semaphore,
    /// What handlers were told.
    told: std::sync::Mutex<Vec<StopReason>>,
}

type Probe = Arc<Shared>;

fn probe() -> Probe {
    Arc::new(Shared {
        begun: AtomicU32::new(0),
        gate: Semaphore::new(0),
        told: std::sync::Mutex::default(),
    })
}

impl Shared {
    async fn begun(&self, count: u32) {
        let enough = async || (self.begun.load(Ordering::SeqCst) >= count).then_some(());
        eventually("runs have begun", enough).await;
    }

    fn told(&self) -> Vec<StopReason> {
        self.told.lock().unwrap().clone()
    }
}

/// Ends when the test lets it.
async fn gated(State(probe): State<Probe>) -> TaskResult<Json<u32>> {
    let run = probe.begun.fetch_add(1, Ordering::SeqCst) + 1;
    probe.gate.acquire().await?.forget();
    Ok(Json(run))
}

/// Ends when it is asked to stop, and notes why.
async fn obedient(State(probe): State<Probe>, task: TaskContext) -> TaskResult<()> {
    probe.begun.fetch_add(1, Ordering::SeqCst);
    let why = task.stopped().await;
    probe.told.lock().unwrap().push(why);
    task.check()
}

fn builder(url: String, probe: &Probe) -> WorkerBuilder<Probe> {
    let builder = Worker::builder(url).worker_id("w").queue("q", 1).slots(2);
    builder
        .with_state(Arc::clone(probe))
        .task("gated", gated)
        .task("obedient", obedient)
}

fn task(kind: &str) -> NewTask {
    NewTask::new("q", kind).inline_retry_policy(make::policy(3, 1))
}

#[tokio::test]
async fn a_worker_whose_network_breaks_comes_back_and_its_run_goes_on_unharmed() {
    let harness = Harness::start().await;
    let proxy = Proxy::start(harness.address()).await;
    let probe = probe();
    let worker = SdkWorker::start(builder(proxy.url(), &probe).build().unwrap());
    let id = harness.enqueue(task("gated")).await;
    probe.begun(1).await;
    let session = harness.client().workers("q").await.unwrap()[0]
        .session_id
        .clone();
    for _ in 0..2 {
        proxy.cut();
        eventually("the coordinator notices", async || {
            let workers = harness.client().workers("q").await.unwrap();
            (workers[0].state() == WorkerState::Disconnected).then_some(())
        })
        .await;
        eventually("the worker is back", async || {
            let workers = harness.client().workers("q").await.unwrap();
            (workers[0].state() == WorkerState::Live).then_some(())
        })
        .await;
    }
    assert_eq!(
        harness.client().workers("q").await.unwrap()[0].session_id,
        session
    );
    probe.gate.add_permits(1);
    let ended = harness.end_of(&id).await;
    assert_eq!((ended.state(), ended.runs), (TaskState::Succeeded, 1));
    let report = worker.stop().await;
    assert_eq!(
        (report.finished, report.lost, report.exit_code()),
        (1, 0, EXIT_CLEAN)
    );
}

#[tokio::test]
async fn a_result_that_is_ready_while_the_network_is_down_is_reported_afterwards() {
    let harness = Harness::start().await;
    let proxy = Proxy::start(harness.address()).await;
    let probe = probe();
    let worker = SdkWorker::start(builder(proxy.url(), &probe).build().unwrap());
    let id = harness.enqueue(task("gated")).await;
    probe.begun(1).await;
    proxy.cut();
    probe.gate.add_permits(1);
    let ended = harness.end_of(&id).await;
    assert_eq!((ended.state(), ended.runs), (TaskState::Succeeded, 1));
    assert_eq!(worker.stop().await.finished, 1);
}

#[tokio::test]
async fn a_cut_between_report_and_acknowledgement_loses_nothing_and_records_once() {
    let harness = Harness::start().await;
    let proxy = Proxy::start(harness.address()).await;
    let probe = probe();
    let worker = SdkWorker::start(builder(proxy.url(), &probe).build().unwrap());
    let id = harness.enqueue(task("gated")).await;
    probe.begun(1).await;
    proxy.hold_answers();
    probe.gate.add_permits(1);
    let ended = harness.end_of(&id).await;
    assert_eq!(
        (ended.state(), &*ended.result.unwrap().data),
        (TaskState::Succeeded, &b"1"[..])
    );
    // The report is recorded; the acknowledgement is lost with the connection.
    proxy.cut_and_clear();
    let next = harness.enqueue(task("gated")).await;
    probe.gate.add_permits(1);
    harness.end_of(&next).await;
    let report = worker.stop().await;
    assert_eq!((report.finished, report.superseded, report.lost), (2, 0, 0));
    assert_eq!((report.unreported, report.exit_code()), (0, EXIT_CLEAN));
    assert_eq!(probe.begun.load(Ordering::SeqCst), 2, "each ran once");
    assert_eq!(
        harness
            .client()
            .queue("q")
            .await
            .unwrap()
            .counts
            .unwrap()
            .succeeded_total,
        2
    );
}

#[tokio::test]
async fn a_worker_that_hears_nothing_for_too_long_stops_what_it_runs() {
    let harness = Harness::with(|config| {
        config.ping_interval = Duration::from_millis(100);
        config.grace = Duration::from_millis(1200);
    })
    .await;
    let proxy = Proxy::start(harness.address()).await;
    let probe = probe();
    let worker = SdkWorker::start(builder(proxy.url(), &probe).build().unwrap());
    let id = harness.enqueue(task("obedient")).await;
    probe.begun(1).await;
    // The worker can be heard, and hears nothing, whatever connections it makes.
    proxy.hold_answers();
    eventually(
        "the coordinator gave the lease to another run",
        async || (harness.task(&id).await.budgets.unwrap().crashes == 1).then_some(()),
    )
    .await;
    proxy.cut_and_clear();
    probe.begun(2).await;
    assert_eq!(harness.task(&id).await.runs, 2);
    harness.client().cancel(&id, "").await.unwrap();
    assert_eq!(harness.end_of(&id).await.state(), TaskState::Cancelled);
    let report = worker.stop().await;
    assert_eq!(report.lost, 1);
}

#[tokio::test]
async fn a_drained_worker_finishes_what_runs_and_takes_nothing_new() {
    let harness = Harness::start().await;
    let probe = probe();
    let mut worker = SdkWorker::start(builder(harness.url(), &probe).build().unwrap());
    let running = harness.enqueue(task("gated")).await;
    probe.begun(1).await;
    worker.ask(Stop::Drain).await;
    eventually("the coordinator knows", async || {
        let workers = harness.client().workers("q").await.unwrap();
        (workers[0].state() == WorkerState::Draining).then_some(())
    })
    .await;
    let waiting = harness.enqueue(task("gated")).await;
    probe.gate.add_permits(1);
    let report = worker.left().await.unwrap();
    assert_eq!(
        (report.finished, report.released, report.exit_code()),
        (1, 0, EXIT_CLEAN)
    );
    assert_eq!(harness.end_of(&running).await.state(), TaskState::Succeeded);
    assert_eq!(harness.task(&waiting).await.state(), TaskState::Ready);
}

#[tokio::test]
async fn what_is_not_finished_when_the_drain_is_over_is_given_back_without_blame() {
    let harness = Harness::start().await;
    let probe = probe();
    let builder = builder(harness.url(), &probe).drain_timeout(Duration::from_millis(50));
    let worker = SdkWorker::start(builder.build().unwrap());
    let id = harness.enqueue(task("gated")).await;
    probe.begun(1).await;
    let report = worker.stop().await;
    assert_eq!(
        (report.finished, report.released, report.exit_code()),
        (0, 1, EXIT_CLEAN)
    );
    let task = harness.task(&id).await;
    assert_eq!(task.history[0].outcome(), RunOutcome::Released);
    assert_eq!(
        (
            task.budgets.unwrap().failures,
            task.budgets.unwrap().crashes
        ),
        (0, 0)
    );
}

#[tokio::test]
async fn a_second_stop_gives_everything_back_at_once() {
    let harness = Harness::start().await;
    let probe = probe();
    let mut worker = SdkWorker::start(builder(harness.url(), &probe).build().unwrap());
    harness.enqueue(task("gated")).await;
    probe.begun(1).await;
    worker.ask(Stop::Drain).await;
    worker.ask(Stop::Release).await;
    let report = worker.left().await.unwrap();
    assert_eq!((report.released, report.exit_code()), (1, EXIT_CLEAN));
}

#[tokio::test]
async fn an_operator_who_drains_a_worker_makes_it_leave() {
    let harness = Harness::start().await;
    let probe = probe();
    let mut worker = SdkWorker::start(builder(harness.url(), &probe).build().unwrap());
    let id = harness.enqueue(task("gated")).await;
    probe.begun(1).await;
    let deadline = Some(Duration::from_millis(50));
    harness
        .client()
        .drain_workers(&["w"], "a new version", deadline)
        .await
        .unwrap();
    let report = worker.left().await.unwrap();
    assert_eq!((report.released, report.exit_code()), (1, EXIT_CLEAN));
    assert!(harness.client().workers("q").await.unwrap().is_empty());
    assert_eq!(
        harness.task(&id).await.history[0].outcome(),
        RunOutcome::Released
    );
}

#[tokio::test]
async fn the_soft_limit_asks_and_the_handler_may_still_save_its_state() {
    let harness = Harness::start().await;
    let probe = probe();
    async fn saving(State(probe): State<Probe>, task: TaskContext) -> TaskResult<Json<String>> {
        if let Some(page) = task.checkpoint_json::<String>()? {
            return Ok(Json(page));
        }
        let why = task.stopped().await;
        probe.told.lock().unwrap().push(why);
        assert!(task.time_left().is_some(), "the hard limit is still ahead");
        task.save_checkpoint_json(&"page 3")?;
        task.check()?;
        Ok(Json("not asked to stop".to_owned()))
    }
    let builder = builder(harness.url(), &probe).task("saving", saving);
    let _worker = SdkWorker::start(builder.build().unwrap());
    let (soft, hard) = (Duration::from_millis(50), Duration::from_secs(20));
    let id = harness
        .enqueue(task("saving").timeouts(Some(soft), Some(hard)))
        .await;
    let ended = harness.end_of(&id).await;
    assert_eq!(&*ended.result.unwrap().data, br#""page 3""#);
    assert_eq!(probe.told(), [StopReason::SoftTimeout]);
    let first = &ended.history[0];
    assert_eq!((first.outcome(), ended.runs), (RunOutcome::Failed, 2));
    assert_eq!(
        first.failure.as_ref().unwrap().failure_class(),
        FailureClass::Timeout
    );
}

#[tokio::test]
async fn a_cancel_reaches_the_handler_and_ends_the_task_cancelled() {
    let harness = Harness::start().await;
    let probe = probe();
    let _worker = SdkWorker::start(builder(harness.url(), &probe).build().unwrap());
    let id = harness.enqueue(task("obedient")).await;
    probe.begun(1).await;
    harness.client().cancel(&id, "").await.unwrap();
    assert_eq!(harness.end_of(&id).await.state(), TaskState::Cancelled);
    assert_eq!(probe.told(), [StopReason::Requested]);
}

#[tokio::test]
async fn a_shorter_limit_set_from_outside_ends_a_run_that_would_not_end() {
    let harness = Harness::start().await;
    let probe = probe();
    let _worker = SdkWorker::start(builder(harness.url(), &probe).build().unwrap());
    let id = harness.enqueue(task("gated").max_attempts(1)).await;
    probe.begun(1).await;
    harness.task_in(&id, TaskState::Running).await;
    let hard = Some(Duration::from_millis(10));
    harness
        .client()
        .update_timeouts(&id, None, hard)
        .await
        .unwrap();
    let dead = harness.end_of(&id).await;
    assert_eq!(dead.state(), TaskState::Dead);
    assert_eq!(
        dead.last_failure.unwrap().failure_class(),
        FailureClass::Timeout
    );
}

#[tokio::test]
async fn a_blocking_handler_runs_on_a_thread_of_its_own_and_asks_whether_to_stop() {
    let harness = Harness::start().await;
    let probe = probe();
    fn blocking(State(probe): State<Probe>, task: TaskContext) -> TaskResult<Json<u32>> {
        let before = probe.begun.fetch_add(1, Ordering::SeqCst);
        if task.attempt() == 1 {
            while task.stop_reason().is_none() {
                std::thread::yield_now();
            }
            task.check()?;
        }
        Ok(Json(before))
    }
    let builder = builder(harness.url(), &probe).blocking_task("blocking", blocking);
    let worker = SdkWorker::start(builder.build().unwrap());
    let soft = Some(Duration::from_millis(50));
    let id = harness.enqueue(task("blocking").timeouts(soft, None)).await;
    let ended = harness.end_of(&id).await;
    assert_eq!(
        (ended.state(), &*ended.result.unwrap().data),
        (TaskState::Succeeded, &b"1"[..])
    );
    assert_eq!(worker.stop().await.exit_code(), EXIT_CLEAN);
}

#[tokio::test]
async fn slots_run_at_once_and_no_more_than_that() {
    let harness = Harness::start().await;
    let probe = probe();
    let worker = SdkWorker::start(builder(harness.url(), &probe).build().unwrap());
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(harness.enqueue(task("gated")).await);
    }
    probe.begun(2).await;
    let counts = harness.client().queue("q").await.unwrap().counts.unwrap();
    assert_eq!((counts.leased, counts.ready), (2, 3));
    probe.gate.add_permits(5);
    for id in &ids {
        assert_eq!(harness.end_of(id).await.state(), TaskState::Succeeded);
    }
    assert_eq!(worker.stop().await.finished, 5);
}

#[tokio::test]
async fn a_worker_outlives_a_coordinator_that_was_not_there_yet() {
    let probe = probe();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = nobody.local_addr().unwrap();
    drop(nobody);
    let worker = SdkWorker::start(
        builder(format!("http://{address}"), &probe)
            .build()
            .unwrap(),
    );
    let harness = Harness::with(|config| config.listen = address).await;
    let id = harness.enqueue(task("gated")).await;
    probe.gate.add_permits(1);
    assert_eq!(harness.end_of(&id).await.state(), TaskState::Succeeded);
    assert_eq!(worker.stop().await.exit_code(), EXIT_CLEAN);
}

#[tokio::test]
async fn a_thousand_short_tasks_pass_through_a_few_workers_each_run_once() {
    const TASKS: usize = 1000;
    let harness = Harness::start().await;
    let ran = Arc::new(std::sync::Mutex::new(Vec::new()));
    async fn note(
        State(ran): State<Arc<std::sync::Mutex<Vec<String>>>>,
        task: TaskContext,
    ) -> TaskResult<()> {
        ran.lock().unwrap().push(task.id().to_owned());
        Ok(())
    }
    let workers: Vec<SdkWorker> = (0..3)
        .map(|index| {
            let builder = Worker::builder(harness.url()).worker_id(format!("w{index}"));
            let builder = builder.queue("q", 1).slots(8).with_state(Arc::clone(&ran));
            SdkWorker::start(builder.task("k", note).build().unwrap())
        })
        .collect();
    let tasks = (0..TASKS).map(|_| NewTask::new("q", "k"));
    let results = harness.client().enqueue_many(tasks).await;
    let mut ids: Vec<String> = results.into_iter().map(Result::unwrap).collect();
    let all = eventually("all have succeeded", async || {
        let counts = harness.client().queue("q").await.unwrap().counts.unwrap();
        (counts.succeeded_total == 1000).then_some(counts)
    });
    let counts = within("all have succeeded", all).await;
    assert_eq!(
        (counts.failures_total, counts.crashes_total, counts.dead),
        (0, 0, 0)
    );
    let mut ran = ran.lock().unwrap().clone();
    ran.sort();
    ids.sort();
    assert_eq!(ran, ids);
    let mut finished = 0;
    for worker in workers {
        finished += worker.stop().await.finished;
    }
    assert_eq!(finished, 1000);
}
