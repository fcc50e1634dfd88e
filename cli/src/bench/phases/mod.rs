//! One module for each phase, and what they share: the warm-up, draining, the queue's own counts.
//!
//! A phase is given a target that nothing else uses, measures, and answers figures and a check.

mod append;
mod backlog;
mod baseline;
mod enqueue;
mod idle;
mod latency;
mod memory;
mod recovery;
mod retries;
mod spread;
mod steady;
mod sync;
mod timers;

use redrive_client::v1;

use super::{
    check::{self, Done, SelfCheck, Share},
    crew::{Crew, Deeds, Duty},
    figure::Figure,
    phase::Phase,
    producer,
    settings::Settings,
    target::Target,
};

/// Tasks that a coordinator and the connections are warmed up with.
const WARM_UP_TASKS: u64 = 2_000;

/// What one run of a phase gave.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    /// The figures.
    pub(crate) figures: Vec<Figure>,
    /// What was counted.
    pub(crate) check: SelfCheck,
    /// What the coordinator says of itself, where one was asked.
    pub(crate) coordinator: Option<v1::GetServerInfoResponse>,
}

/// One run of a phase. Whatever it starts has ended when it returns, or is killed when the future
/// is dropped.
///
/// # Errors
/// Where something does not start, is refused, or breaks.
pub(crate) async fn run(phase: Phase, settings: &Settings) -> anyhow::Result<Measured> {
    let tasks = settings.tasks_of(phase);
    match phase {
        Phase::Sync => return sync::run(settings, tasks).await,
        Phase::Baseline => return Box::pin(baseline::run(settings, tasks)).await,
        Phase::Enqueue
        | Phase::Drain
        | Phase::Steady
        | Phase::Latency
        | Phase::Retries
        | Phase::Timers
        | Phase::Backlog
        | Phase::Memory
        | Phase::Idle
        | Phase::Recovery => {}
    }
    let mut target = Target::coordinator(settings, most_waiting(phase, settings, tasks)).await?;
    let info = target.info().await?;
    let mut measured = match phase {
        Phase::Enqueue => Box::pin(enqueue::run(&target, settings, tasks)).await?,
        Phase::Drain => Box::pin(steady::drain(&target, settings, tasks)).await?,
        Phase::Steady => Box::pin(steady::run(&target, settings, tasks)).await?,
        Phase::Latency => Box::pin(latency::run(&target, settings)).await?,
        Phase::Retries => Box::pin(retries::run(&target, settings, tasks)).await?,
        Phase::Timers => Box::pin(timers::run(&target, settings, tasks)).await?,
        Phase::Backlog => Box::pin(backlog::run(&target, settings, tasks)).await?,
        Phase::Memory => Box::pin(memory::run(&target, settings, tasks)).await?,
        Phase::Idle => Box::pin(idle::run(&target, settings, tasks)).await?,
        Phase::Recovery => Box::pin(recovery::run(&mut target, settings, tasks)).await?,
        Phase::Sync | Phase::Baseline => Measured::default(),
    };
    target.end().await?;
    measured.coordinator = Some(info);
    Ok(measured)
}

/// How many tasks wait at the same time at most.
fn most_waiting(phase: Phase, settings: &Settings, tasks: u64) -> u64 {
    match phase {
        Phase::Backlog => backlog::most(settings).saturating_add(tasks.saturating_mul(4)),
        Phase::Enqueue | Phase::Timers => tasks.saturating_mul(4),
        Phase::Latency => u64::from(settings.rate).saturating_mul(settings.duration.as_secs() + 1),
        Phase::Sync
        | Phase::Baseline
        | Phase::Drain
        | Phase::Steady
        | Phase::Retries
        | Phase::Memory
        | Phase::Idle
        | Phase::Recovery => tasks.saturating_mul(2),
    }
}

/// Workers that complete what is in these queues.
fn duty(name: &str, queues: &[String]) -> Duty {
    Duty {
        queues: queues.to_vec(),
        failures: 0,
        name: name.to_owned(),
    }
}

/// Sends some tasks through, so that what is measured then is no first time.
async fn warm_up(target: &Target, settings: &Settings, tasks: u64) -> anyhow::Result<SelfCheck> {
    let queues = settings.queue_names("warm", 1);
    let clients = target.clients(settings.connections).await?;
    let count = WARM_UP_TASKS.min(tasks);
    let ids = producer::streams(&clients, count, &settings.maker(&queues)).await?;
    drain_all(target, settings, &duty("warm", &queues), &ids).await
}

/// Lets workers do all of these tasks, unmeasured, and checks that each was done once.
async fn drain_all(
    target: &Target,
    settings: &Settings,
    duty: &Duty,
    ids: &[u128],
) -> anyhow::Result<SelfCheck> {
    let mut crew = Crew::start(target, settings, duty, settings.workers).await?;
    crew.until(check::count(ids.len())).await?;
    let deeds = crew.finish().await?;
    checked(target, &duty.queues, (ids, Share::All), &deeds).await
}

/// Compares what was enqueued with what workers did, and both with the coordinator's own counts.
async fn checked(
    target: &Target,
    queues: &[String],
    (ids, share): (&[u128], Share),
    deeds: &Deeds,
) -> anyhow::Result<SelfCheck> {
    let mut check = check::compare(ids, &deeds.done, share);
    check.same("reports answered as not recorded", deeds.unrecorded, 0);
    let counts = counts(target, queues).await?;
    let done = check::count(deeds.done.len());
    let enqueued = check::count(ids.len());
    check.same(
        "the queues' enqueued_total",
        counts.enqueued_total,
        enqueued,
    );
    check.same("the queues' succeeded_total", counts.succeeded_total, done);
    let left = enqueued.saturating_sub(done);
    check.same("tasks left in the queues", waiting(&counts), left);
    Ok(check)
}

/// Tasks that have not ended.
fn waiting(counts: &v1::QueueCounts) -> u64 {
    counts.scheduled + counts.ready + counts.leased + counts.retrying + counts.dead
}

/// The sums of the counts of some queues.
async fn counts(target: &Target, queues: &[String]) -> anyhow::Result<v1::QueueCounts> {
    let mut sum = v1::QueueCounts::default();
    for queue in queues {
        let counts = target.client.queue(queue).await?.counts.unwrap_or_default();
        sum.scheduled += counts.scheduled;
        sum.ready += counts.ready;
        sum.leased += counts.leased;
        sum.retrying += counts.retrying;
        sum.dead += counts.dead;
        sum.enqueued_total += counts.enqueued_total;
        sum.succeeded_total += counts.succeeded_total;
        sum.failures_total += counts.failures_total;
    }
    Ok(sum)
}

/// When the last of them was started; 0 where there is none.
fn last_started(done: &[Done]) -> u64 {
    done.iter().map(|done| done.started).max().unwrap_or(0)
}
