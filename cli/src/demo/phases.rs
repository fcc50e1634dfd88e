//! What happens on the stage: enqueue, follow, kill, kill again, repair, redrive.
//!
//! Owns the course of the demo and collects the facts. Never judges them: see `books`.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use anyhow::{Context as _, bail};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use redrive_client::{
    NewTask, Ticket,
    v1::{self, RedriveDeadLettersRequest},
};
use serde_json::json;

use super::{
    behaviour::Behaviour,
    clock,
    coordinator::Down,
    facts::{End, QueueFacts, TaskFacts},
    input::Delivery,
    screen::{Progress, Screen},
    stage::{Queues, Stage},
    text::grouped,
};

/// When a worker is killed: so many percent are finished.
const KILL_AT_PERCENT: u64 = 40;
/// When the coordinator is killed: so many percent are finished, and the lost worker's runs are
/// still open.
const KILL_COORDINATOR_AT_PERCENT: u64 = 55;
/// How often the queues are looked at.
const POLL: Duration = Duration::from_millis(200);
/// Without any progress for this long the demo fails instead of going on for ever.
const STALL_MAX: Duration = Duration::from_secs(60);
/// Tasks that are asked for at once.
const READS_AT_ONCE: usize = 32;
/// Over how long the redriven tasks are spread.
const REDRIVE_SPREAD: Duration = Duration::from_secs(1);
/// Which dead letters are redriven: bad data stays bad.
const REDRIVE_FILTER: &str = "class != INVALID";

/// A task that the coordinator acknowledged.
#[derive(Clone, Debug)]
pub(super) struct Accepted {
    /// Its id.
    pub(super) task_id: String,
    /// How the upstream treats it.
    pub(super) behaviour: Behaviour,
}

/// A worker that was killed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Killed {
    /// Its name.
    pub(super) worker_id: String,
    /// What it held.
    pub(super) held: u32,
}

/// Who was killed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Casualties {
    /// A worker.
    pub(super) worker: Option<Killed>,
    /// The coordinator, and how long there was none.
    pub(super) coordinator: Option<Down>,
}

/// Enqueues all deliveries over one stream.
///
/// # Errors
/// Where one is refused: the demo's books need them all.
pub(super) async fn enqueue(
    stage: &Stage,
    deliveries: &[Delivery],
    queues: &Queues,
) -> anyhow::Result<Vec<Accepted>> {
    let stream = stage.client.enqueue_stream();
    let mut accepted = Vec::with_capacity(deliveries.len());
    let mut waiting: VecDeque<(Ticket, &Delivery)> = VecDeque::new();
    for (delivery, queue) in deliveries.iter().zip(&queues.of_delivery) {
        waiting.push_back((stream.send(task(stage, delivery, queue)?).await?, delivery));
        // The stream lets no more than its limit be unacknowledged; neither is more kept here.
        if waiting.len() >= redrive_client::limits::UNACKNOWLEDGED_MAX
            && let Some((ticket, delivery)) = waiting.pop_front()
        {
            accepted.push(settle(ticket, delivery).await?);
        }
    }
    for (ticket, delivery) in waiting {
        accepted.push(settle(ticket, delivery).await?);
    }
    stream.finish().await?;
    Ok(accepted)
}

async fn settle(ticket: Ticket, delivery: &Delivery) -> anyhow::Result<Accepted> {
    let task_id = ticket
        .await
        .with_context(|| format!("line {}: not accepted", delivery.line))?;
    Ok(Accepted {
        task_id,
        behaviour: delivery.behaviour,
    })
}

fn task(stage: &Stage, delivery: &Delivery, queue: &str) -> anyhow::Result<NewTask> {
    let payload = json!({
        "url": format!("http://{}{}", stage.upstream.address(), delivery.path),
        "method": delivery.method,
        "headers": delivery.headers,
        "body": delivery.body,
    });
    let id: String = delivery.id.chars().take(64).collect();
    Ok(NewTask::new(queue, &delivery.kind)
        .json(&payload)?
        .label("delivery", id))
}

/// Waits until every task has ended or is dead, shows how far they are, and, where asked to, kills
/// a worker and then the coordinator on the way.
///
/// # Errors
/// Where a process ends by itself, the coordinator does not answer, or nothing moves for 60 s.
pub(super) async fn follow(
    stage: &mut Stage,
    screen: &mut Screen,
    queues: &Queues,
    mut kill: Option<&mut Casualties>,
) -> anyhow::Result<()> {
    let mut last = Vec::new();
    let mut moved_at = clock::now();
    loop {
        let now = totals(stage).await?;
        screen.show(&progress(&now, queues));
        let sum = |of: fn(&QueueFacts) -> u64| now.iter().map(of).fold(0, u64::saturating_add);
        if sum(|queue| queue.live) == 0 {
            return Ok(());
        }
        if let Some(killed) = kill.as_deref_mut() {
            let finished = sum(QueueFacts::finished).saturating_mul(100);
            let percent = finished
                .checked_div(sum(|queue| queue.enqueued))
                .unwrap_or(0);
            let open = (sum(|queue| queue.retrying), sum(|queue| queue.leased));
            if killed.worker.is_none() && percent >= KILL_AT_PERCENT {
                killed.worker = kill_one(stage, screen).await?;
            } else if killed.coordinator.is_none() && percent >= KILL_COORDINATOR_AT_PERCENT {
                killed.coordinator = Some(kill_coordinator(stage, screen, open).await?);
            }
        }
        stage.check()?;
        if now != last {
            (last, moved_at) = (now, clock::now());
        } else if clock::now() >= moved_at + STALL_MAX {
            bail!("nothing moved for {STALL_MAX:?}: {last:?}");
        }
        clock::pause(POLL).await;
    }
}

async fn kill_one(stage: &mut Stage, screen: &Screen) -> anyhow::Result<Option<Killed>> {
    let Some((worker_id, pid, held)) = stage.kill_busiest().await? else {
        return Ok(None);
    };
    screen.say(&format!(
        "\nkill -9 {pid}: {worker_id} is gone while it held {held} tasks; the coordinator gives\n\
         them to others when the grace is over\n"
    ));
    Ok(Some(Killed { worker_id, held }))
}

async fn kill_coordinator(
    stage: &mut Stage,
    screen: &Screen,
    (waiting, running): (u64, u64),
) -> anyhow::Result<Down> {
    let pid = stage.coordinator.pid();
    screen.say(&format!(
        "\nkill -9 {pid}: the coordinator is gone; {} tasks waited for a retry, {} ran",
        grouped(waiting),
        grouped(running)
    ));
    let down = stage.coordinator.kill_and_restart().await?;
    screen.say(&format!(
        "the next one, process {}, has read its journal and serves after {} ms; the workers\n\
         come back and go on with what they hold\n",
        stage.coordinator.pid(),
        down.unanswered.as_millis()
    ));
    Ok(down)
}

/// The coordinator's totals, queue by queue.
///
/// # Errors
/// Where it does not answer.
pub(super) async fn totals(stage: &Stage) -> anyhow::Result<Vec<QueueFacts>> {
    let queues: Vec<v1::Queue> = stage.client.queues().try_collect().await?;
    Ok(queues.iter().map(QueueFacts::of).collect())
}

fn progress(totals: &[QueueFacts], queues: &Queues) -> Vec<Progress> {
    let mut by_behaviour: BTreeMap<Behaviour, Progress> = BTreeMap::new();
    for queue in totals {
        let Some(behaviour) = queues.behaviours.get(&queue.queue).copied() else {
            continue;
        };
        let now = by_behaviour.entry(behaviour).or_insert(Progress {
            behaviour,
            total: 0,
            finished: 0,
            running: 0,
            retrying: 0,
            dead: 0,
        });
        now.total = now.total.saturating_add(queue.enqueued);
        now.finished = now.finished.saturating_add(queue.finished());
        now.running = now.running.saturating_add(queue.leased);
        now.retrying = now.retrying.saturating_add(queue.retrying);
        now.dead = now.dead.saturating_add(queue.dead);
    }
    by_behaviour.into_values().collect()
}

/// What the coordinator tells of every task. `before` are the facts before a redrive, in the same
/// order; empty where there was none.
///
/// # Errors
/// Where it does not answer or does not know one.
pub(super) async fn collect(
    stage: &Stage,
    accepted: &[Accepted],
    before: &[TaskFacts],
) -> anyhow::Result<Vec<TaskFacts>> {
    let reads = accepted.iter().enumerate().map(|(index, accepted)| {
        let client = stage.client.clone();
        async move {
            let task = client.get(&accepted.task_id).await?;
            let runs = before.get(index).map_or(0, |facts| facts.runs_total);
            let runs_before = if task.redrives > 0 { runs } else { 0 };
            anyhow::Ok(TaskFacts::of(&task, accepted.behaviour, runs_before))
        }
    });
    stream::iter(reads)
        .buffered(READS_AT_ONCE)
        .try_collect()
        .await
}

/// Puts back the dead letters that the repaired upstream accepts; answers how many.
///
/// # Errors
/// Where another number of tasks is selected than the facts tell of.
pub(super) async fn redrive(
    stage: &Stage,
    screen: &Screen,
    facts: &[TaskFacts],
) -> anyhow::Result<u64> {
    let due = facts.iter().filter(|task| is_redriven(task)).count();
    let due = u64::try_from(due)?;
    screen
        .say("\nrepairing the upstream: it knows the credentials again, and its connections hold");
    stage.upstream.repair();
    screen.say(&format!(
        "redriving {} dead letters ({REDRIVE_FILTER}: bad data would be rejected again)\n",
        grouped(due)
    ));
    let request = RedriveDeadLettersRequest {
        selection: Some(stage.client.select("", REDRIVE_FILTER)),
        expected_count: Some(due),
        spread: prost_types::Duration::try_from(REDRIVE_SPREAD).ok(),
        reason: "the upstream was repaired".to_owned(),
        ..Default::default()
    };
    let mut answers = stage.client.redrive_many(request).await?;
    let mut redriven = 0;
    while let Some(answer) = answers.try_next().await? {
        redriven = answer.redriven;
    }
    Ok(redriven)
}

fn is_redriven(task: &TaskFacts) -> bool {
    matches!(task.end, End::Dead(_)) && task.last_class != Some(v1::FailureClass::Invalid)
}
