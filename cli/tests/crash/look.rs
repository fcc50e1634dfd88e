//! What is read when all work has ended: every task, every queue.
//!
//! Owns how an answer of the protocol is written down. Never judges.

use std::{net::SocketAddr, time::Duration};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use redrive_client::{Client, v1 as pb};
use redrive_tests::{
    history::{Counted, Fact, Found, FoundRun, Recorder, Says, Stands, digest},
    wait::{patiently, until},
};

/// Tasks read at once.
const READS_AT_ONCE: usize = 32;
/// How long the last task may take on a busy machine.
const DRAIN_MAX: Duration = Duration::from_secs(90);
/// How long a call may take on a busy machine.
const DEADLINE: Duration = Duration::from_secs(20);

async fn client(address: SocketAddr) -> Client {
    let client = Client::connect(&address.to_string()).await.unwrap();
    client.with_deadline(DEADLINE)
}

/// Waits until nothing waits or runs any more.
pub(crate) async fn until_all_ended(address: SocketAddr) {
    let client = client(address).await;
    let ended = until(async || {
        let queues: Vec<pb::Queue> = client.queues().try_collect().await.unwrap();
        let live: u64 = queues.iter().map(|queue| counted(queue).live).sum();
        (live == 0).then_some(())
    });
    patiently(DRAIN_MAX, "all tasks have ended", ended).await;
}

/// Writes down every task and every queue.
pub(crate) async fn at_everything(address: SocketAddr, history: &Recorder) {
    let client = client(address).await;
    let listed: Vec<pb::Task> = client
        .list(client.select("", ""))
        .try_collect()
        .await
        .unwrap();
    let reads = listed.iter().map(|task| client.get(&task.task_id));
    let mut tasks = stream::iter(reads).buffered(READS_AT_ONCE);
    while let Some(task) = tasks.try_next().await.unwrap() {
        history.note(Fact::Found(found(&task)));
    }
    let mut queues = client.queues();
    while let Some(queue) = queues.try_next().await.unwrap() {
        history.note(Fact::Counted(counted(&queue)));
    }
}

fn counted(queue: &pb::Queue) -> Counted {
    let counts = queue.counts.unwrap();
    Counted {
        queue: queue.queue.clone(),
        enqueued: counts.enqueued_total,
        succeeded: counts.succeeded_total,
        dead: counts.dead,
        live: counts.scheduled + counts.ready + counts.leased + counts.retrying,
        failures: counts.failures_total,
    }
}

fn found(task: &pb::Task) -> Found {
    let spec = task.spec.as_ref().unwrap();
    let marker = spec
        .labels
        .get("marker")
        .and_then(|marker| marker.parse().ok());
    let payload = spec.payload.clone().unwrap_or_default();
    Found {
        task_id: task.task_id.clone(),
        marker: marker.unwrap_or(0),
        queue: spec.queue.clone(),
        stands: stands(task.state()),
        digest: digest(&payload.data),
        runs: task.runs,
        fence: task.fence,
        failures: task.budgets.unwrap_or_default().failures,
        enqueued_ms: ms(task.enqueue_time),
        history: task.history.iter().map(run).collect(),
    }
}

fn stands(state: pb::TaskState) -> Stands {
    match state {
        pb::TaskState::Succeeded => Stands::Succeeded,
        pb::TaskState::Dead => Stands::Dead,
        pb::TaskState::Failed
        | pb::TaskState::Cancelled
        | pb::TaskState::Discarded
        | pb::TaskState::Routed => Stands::Otherwise,
        pb::TaskState::Unspecified
        | pb::TaskState::Scheduled
        | pb::TaskState::Ready
        | pb::TaskState::Leased
        | pb::TaskState::Running
        | pb::TaskState::Retrying => Stands::Live,
    }
}

fn run(run: &pb::Run) -> FoundRun {
    let delay = run.delay.map(|delay| Duration::try_from(delay).unwrap());
    FoundRun {
        run: run.run,
        attempt: run.attempt,
        ended_by: ended_by(run.outcome()),
        leased_ms: ms(run.lease_time),
        ended_ms: ms(run.end_time),
        delay_ms: delay.map(|delay| u64::try_from(delay.as_millis()).unwrap()),
    }
}

fn ended_by(outcome: pb::RunOutcome) -> Option<Says> {
    match outcome {
        pb::RunOutcome::Succeeded => Some(Says::Complete),
        pb::RunOutcome::Failed | pb::RunOutcome::Retried => Some(Says::Fail),
        pb::RunOutcome::Deferred => Some(Says::Defer),
        pb::RunOutcome::Released => Some(Says::Release),
        pb::RunOutcome::Unspecified
        | pb::RunOutcome::TimedOut
        | pb::RunOutcome::Crashed
        | pb::RunOutcome::Unstarted
        | pb::RunOutcome::Cancelled
        | pb::RunOutcome::Discarded => None,
    }
}

fn ms(at: Option<prost_types::Timestamp>) -> u64 {
    let at = at.unwrap_or_default();
    let ms = at.seconds * 1000 + i64::from(at.nanos) / 1_000_000;
    u64::try_from(ms).unwrap()
}
