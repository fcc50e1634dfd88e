//! What is read when all work has ended: every task, every queue.
//!
//! Owns how an answer of the protocol is written down. Never judges.

use std::{net::SocketAddr, time::Duration};

use crate::{
    history::{Counted, Fact, Found, FoundRun, Recorder, RunEnd, Says, Stands, digest},
    wait::until,
};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use redrive_client::{Client, v1 as pb};
use tokio::time::timeout;

use super::words::{self, ms};

/// Tasks read at once.
const READS_AT_ONCE: usize = 32;
/// How long the last task may take on a busy machine.
const DRAIN_MAX: Duration = Duration::from_secs(90);
/// Tasks that are told of where they do not end.
const LIVE_TOLD: usize = 4;
/// So often in a row nothing lives, and nothing came: what an end makes may be on its way from queue
/// to queue, where nobody counts it.
const LOOKS: u32 = 10;
/// Reasons of a death by a spent budget or time limit (`docs/state-machine.md`).
const SPENT: [&str; 8] = [
    "ATTEMPTS_EXHAUSTED",
    "RETRY_DURATION_EXCEEDED",
    "CRASHES_EXHAUSTED",
    "DEFERRALS_EXHAUSTED",
    "UNDELIVERABLE",
    "TTL_EXPIRED",
    "DEADLINE_EXCEEDED",
    "LEASE_LOST",
];
/// How long a call may take on a busy machine.
const DEADLINE: Duration = Duration::from_secs(20);

async fn client(address: SocketAddr) -> Client {
    let client = Client::connect(&address.to_string()).await.unwrap();
    client.with_deadline(DEADLINE)
}

/// Waits until nothing waits or runs any more.
pub async fn until_all_ended(address: SocketAddr) {
    let client = client(address).await;
    let (mut still, mut before) = (0, 0);
    let ended = until(async || {
        let queues: Vec<pb::Queue> = client.queues().try_collect().await.unwrap();
        let queues: Vec<Counted> = queues.iter().map(counted).collect();
        let live: u64 = queues.iter().map(|queue| queue.live).sum();
        let enqueued: u64 = queues.iter().map(|queue| queue.enqueued).sum();
        still = if live == 0 && enqueued == before {
            still + 1
        } else {
            0
        };
        before = enqueued;
        (still == LOOKS).then_some(())
    });
    if timeout(DRAIN_MAX, ended).await.is_err() {
        let left = still_live(&client).await;
        panic!("after {DRAIN_MAX:?} not all tasks have ended: {left:#?}");
    }
}

/// Some of the tasks that have not ended, and the queues that have any.
async fn still_live(client: &Client) -> (Vec<pb::Task>, Vec<pb::Queue>) {
    let live = |task: &pb::Task| stands(task.state()) == Stands::Live;
    let tasks = client.list(client.select("", "")).try_collect::<Vec<_>>();
    let tasks = tasks.await.unwrap().into_iter().filter(live);
    let mut told = Vec::new();
    for task in tasks.take(LIVE_TOLD) {
        let mut task = client.get(&task.task_id).await.unwrap();
        if let Some(spec) = &mut task.spec {
            spec.payload = None;
        }
        told.push(task);
    }
    let queues = client.queues().try_collect::<Vec<_>>().await.unwrap();
    let live = queues.into_iter().filter(|queue| counted(queue).live > 0);
    (told, live.collect())
}

/// Reads every queue.
pub async fn at_queues(address: SocketAddr) -> usize {
    let queues = client(address).await.queues().try_collect::<Vec<_>>();
    queues.await.unwrap().len()
}

/// Writes down every task and every queue.
pub async fn at_everything(address: SocketAddr, history: &Recorder) {
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
        died: counts.dead_lettered_total,
        redriven: counts.redriven_total,
    }
}

fn found(task: &pb::Task) -> Found {
    let spec = task.spec.as_ref().unwrap();
    let payload = spec.payload.clone().unwrap_or_default();
    let result = task.result.clone().unwrap_or_default();
    let redriven = |act: &&pb::Act| act.act() == pb::ActKind::Redriven;
    assert_eq!(task.acts_omitted, 0, "{task:?}");
    Found {
        task_id: task.task_id.clone(),
        origin: words::origin(task.cause.as_ref(), &payload.data),
        queue: spec.queue.clone(),
        stands: stands(task.state()),
        digest: digest(&payload.data),
        runs: task.runs,
        fence: task.fence,
        failures: task.budgets.unwrap_or_default().failures,
        result: digest(&result.data),
        spent: SPENT.contains(&&*task.state_reason),
        redriven_ms: task
            .acts
            .iter()
            .filter(redriven)
            .map(|act| ms(act.time))
            .collect(),
        enqueued_ms: ms(task.enqueue_time),
        history: task.history.iter().map(run).collect(),
    }
}

fn stands(state: pb::TaskState) -> Stands {
    match state {
        pb::TaskState::Succeeded => Stands::Succeeded,
        pb::TaskState::Dead => Stands::Dead,
        pb::TaskState::Cancelled => Stands::Cancelled,
        pb::TaskState::Failed | pb::TaskState::Discarded | pb::TaskState::Routed => {
            Stands::Otherwise
        }
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
        end: end(run.outcome()),
        leased_ms: ms(run.lease_time),
        ended_ms: ms(run.end_time),
        delay_ms: delay.map(|delay| u64::try_from(delay.as_millis()).unwrap()),
    }
}

fn end(outcome: pb::RunOutcome) -> RunEnd {
    match outcome {
        pb::RunOutcome::Succeeded => RunEnd::Report(Says::Complete),
        pb::RunOutcome::Failed | pb::RunOutcome::Retried => RunEnd::Report(Says::Fail),
        pb::RunOutcome::Deferred => RunEnd::Report(Says::Defer),
        pb::RunOutcome::Released => RunEnd::Report(Says::Release),
        pb::RunOutcome::Cancelled => RunEnd::Cancelled,
        pb::RunOutcome::TimedOut | pb::RunOutcome::Crashed | pb::RunOutcome::Unstarted => {
            RunEnd::Lost
        }
        pb::RunOutcome::Unspecified | pb::RunOutcome::Discarded => {
            panic!("nobody asked for that: {outcome:?}")
        }
    }
}
