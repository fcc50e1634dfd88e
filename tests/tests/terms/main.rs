//! What may be said of a task's whole life, end to end: saying it twice, results, time limits,
//! heartbeats, cancels, follow-ups, kinds, history, delivery.
//!
//! One or more modules for each of these. What is wrong goes through the generated stubs, which
//! check nothing.

mod beats;
mod beats_kept;
mod cancels;
mod cancels_many;
mod chains;
mod deadlines;
mod delivery;
mod follow_ups;
mod history;
mod keys;
mod kinds;
mod producers;
mod requests;
mod results;
mod routes;
mod unique;
mod versions;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use redrive_client::NewTask;
use redrive_coordinator::config::Config;
use redrive_proto::v1 as pb;
use redrive_tests::process::Folder;
use redrive_tests::refusal::Expected;
use redrive_tests::{Harness, RawWorker, eventually, make};
use redrive_worker::{Worker, WorkerBuilder};
use tonic::{Response, Status, Streaming};

/// A duration that goes back.
const NEGATIVE: prost_types::Duration = prost_types::Duration {
    seconds: -1,
    nanos: 0,
};
/// Milliseconds of a day.
const DAY_MS: u64 = 86_400_000;

/// A directory for a coordinator's data.
fn folder() -> Folder {
    Folder::new(env!("CARGO_TARGET_TMPDIR"), "terms")
}

/// A worker by hand that serves the queue "q" and holds ten tasks.
async fn raw(harness: &Harness) -> RawWorker {
    RawWorker::hello(harness.address(), make::hello("raw", "q", 10)).await
}

/// A worker by hand of this name and queue.
async fn raw_of(harness: &Harness, worker_id: &str, queue: &str) -> RawWorker {
    RawWorker::hello(harness.address(), make::hello(worker_id, queue, 10)).await
}

/// A worker of the SDK that serves the queue "q".
fn sdk(harness: &Harness) -> WorkerBuilder<()> {
    Worker::builder(harness.url()).worker_id("w").queue("q", 1)
}

/// A coordinator that gives a lost worker little time.
async fn hasty() -> Harness {
    Harness::with(|config| {
        be_hasty(config);
    })
    .await
}

/// Gives a lost worker little time, and one on a busy machine enough.
fn be_hasty(config: &mut Config) {
    config.ping_interval = Duration::from_millis(100);
    config.grace = Duration::from_millis(800);
}

/// A task of the queue "q" that is tried so often, each time after so many milliseconds.
fn task(max_attempts: u32, delay_ms: u64) -> NewTask {
    NewTask::new("q", "k").inline_retry_policy(make::policy(max_attempts, delay_ms))
}

/// A task of the queue "q" that starts in an hour.
fn later() -> NewTask {
    NewTask::new("q", "k").delay(Duration::from_secs(3600))
}

/// The only task of a kind, whole, as soon as it is there.
async fn made(harness: &Harness, queue: &str, kind: &str) -> pb::Task {
    let what = format!("a task of kind {kind} in queue {queue}");
    let id = eventually(&what, async || {
        let mut tasks = of_kind(harness, queue, kind).await;
        assert!(tasks.len() <= 1, "{what}: {tasks:?}");
        tasks.pop().map(|task| task.task_id)
    })
    .await;
    harness.task(&id).await
}

/// The tasks of a kind that there are.
async fn of_kind(harness: &Harness, queue: &str, kind: &str) -> Vec<pb::Task> {
    use futures::TryStreamExt as _;
    let selection = harness.client().select(queue, &format!("kind = {kind}"));
    let tasks = harness.client().list(selection);
    tasks.try_collect().await.unwrap()
}

/// All that a call streams, or how it ends.
async fn all<T>(call: Result<Response<Streaming<T>>, Status>) -> Result<Vec<T>, Status> {
    let mut stream = call?.into_inner();
    let mut messages = Vec::new();
    while let Some(message) = stream.message().await? {
        messages.push(message);
    }
    Ok(messages)
}

/// Enqueues one bad task in each way, and good ones beside it: it is refused alone.
async fn refused_alone(harness: &Harness, cases: Vec<(pb::TaskSpec, Expected)>) {
    for (spec, expected) in cases {
        let name = format!("enqueue {} {:?}", expected.field, expected.says);
        let request = pb::EnqueueTaskRequest {
            task: Some(spec.clone()),
            ..Default::default()
        };
        let answer = harness.tasks().enqueue_task(request).await;
        expected.clone().below("task").check_status(&name, answer);
        let good = || make::spec("good", "k");
        let request = pb::EnqueueTasksRequest {
            tasks: vec![good(), spec, good()],
            ..Default::default()
        };
        let answer = harness.tasks().enqueue_tasks(request).await.unwrap();
        let results = answer.into_inner().results;
        use pb::enqueue_result::Result as Shown;
        let [
            Some(Shown::TaskId(_)),
            Some(Shown::Refusal(refusal)),
            Some(Shown::TaskId(_)),
        ] = [0, 1, 2].map(|index| results[index].result.as_ref())
        else {
            panic!("{name}: {results:?}");
        };
        expected.check(&name, refusal);
    }
    harness.still_serves().await;
}

/// What handlers and their test share: what was noted, in order.
type Notes = Arc<Mutex<Vec<String>>>;

fn note(notes: &Notes, text: impl Into<String>) {
    notes.lock().unwrap().push(text.into());
}

fn noted(notes: &Notes) -> Vec<String> {
    notes.lock().unwrap().clone()
}

/// Waits until so much was noted, and answers it.
async fn when_noted(notes: &Notes, count: usize) -> Vec<String> {
    eventually("handlers have noted something", async || {
        let noted = noted(notes);
        (noted.len() >= count).then_some(noted)
    })
    .await
}

/// Makes a unary call for each case and compares its refusal.
macro_rules! refused {
    ($stub:expr, $method:ident, $cases:expr) => {{
        let mut stub = $stub;
        for (index, (request, expected)) in ($cases).into_iter().enumerate() {
            let name = format!("{} {index} ({})", stringify!($method), expected.field);
            let answer = redrive_tests::within(&name, stub.$method(request)).await;
            expected.check_status(&name, answer);
        }
    }};
}
pub(crate) use refused;
