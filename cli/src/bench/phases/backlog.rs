//! `backlog`: what enqueueing and draining cost while many other tasks wait, in another queue and
//! in the same one. Half of the backlog is ready and half is delayed by an hour.

use redrive_client::{Client, v1};

use super::{Measured, counts, duty, waiting, warm_up};
use crate::{
    bench::{
        check::{self, Done, SelfCheck, Share},
        crew::Crew,
        figure::{Figure, Metric, float, grouped},
        meter::Meter,
        producer,
        settings::Settings,
        target::Target,
    },
    values::proto_duration,
};

/// Tasks that wait.
const LEVELS: [u64; 4] = [0, 10_000, 100_000, 1_000_000];
/// The level of `--full`.
const LEVEL_FULL: u64 = 10_000_000;
/// How long the delayed half is delayed.
const DELAY: std::time::Duration = std::time::Duration::from_secs(3_600);

/// The most tasks that wait at once.
pub(super) fn most(settings: &Settings) -> u64 {
    levels(settings).last().copied().unwrap_or(0)
}

fn levels(settings: &Settings) -> Vec<u64> {
    let full = settings.full.then_some(LEVEL_FULL);
    LEVELS.into_iter().chain(full).collect()
}

pub(super) async fn run(
    target: &Target,
    settings: &Settings,
    tasks: u64,
) -> anyhow::Result<Measured> {
    let check = warm_up(target, settings, tasks).await?;
    let mut bench = Backlog {
        target,
        settings,
        clients: target.clients(settings.connections).await?,
        queue: settings.queue_names("backlog", 1),
        ids: Vec::new(),
        done: Vec::new(),
        check,
    };
    let mut figures = Vec::new();
    for level in levels(settings) {
        bench.grow(level).await?;
        figures.push(bench.beside(level, tasks).await?);
        if level > 0 {
            figures.push(bench.behind(level, tasks).await?);
        }
    }
    bench.balance().await?;
    Ok(Measured {
        figures,
        check: bench.check,
        coordinator: None,
    })
}

struct Backlog<'a> {
    target: &'a Target,
    settings: &'a Settings,
    clients: Vec<Client>,
    /// The queue that tasks wait in.
    queue: Vec<String>,
    /// All that were ever put into it.
    ids: Vec<u128>,
    /// All that were taken out of it.
    done: Vec<Done>,
    check: SelfCheck,
}

impl Backlog<'_> {
    /// Lets so many tasks wait.
    async fn grow(&mut self, level: u64) -> anyhow::Result<()> {
        let waiting = check::count(self.ids.len()).saturating_sub(check::count(self.done.len()));
        let missing = level.saturating_sub(waiting);
        let mut maker = self.settings.maker(&self.queue);
        let half = missing / 2;
        self.ids
            .extend(producer::streams(&self.clients, missing - half, &maker).await?);
        maker.start = Some(v1::task_spec::Start::Delay(proto_duration(DELAY)));
        self.ids
            .extend(producer::streams(&self.clients, half, &maker).await?);
        Ok(())
    }

    /// A fresh queue, while tasks wait in the other one.
    async fn beside(&mut self, level: u64, tasks: u64) -> anyhow::Result<Figure> {
        let queue = self.settings.queue_names(&format!("beside-{level}"), 1);
        let title = if level == 0 {
            "no others".to_owned()
        } else {
            format!("beside {} tasks", grouped(float(level)))
        };
        let (figure, ids, done) = self
            .probe(&queue, (format!("beside_{level}"), title), tasks)
            .await?;
        self.check.add(check::compare(&ids, &done, Share::All));
        Ok(figure)
    }

    /// The queue itself that tasks wait in: the oldest of them are done.
    async fn behind(&mut self, level: u64, tasks: u64) -> anyhow::Result<Figure> {
        let title = format!("behind {} tasks", grouped(float(level)));
        let queue = self.queue.clone();
        let (figure, ids, done) = self
            .probe(&queue, (format!("behind_{level}"), title), tasks)
            .await?;
        self.ids.extend(ids);
        self.done.extend(done);
        Ok(figure)
    }

    /// Enqueues tasks, then lets workers do as many.
    async fn probe(
        &self,
        queue: &[String],
        (key, title): (String, String),
        tasks: u64,
    ) -> anyhow::Result<(Figure, Vec<u128>, Vec<Done>)> {
        let maker = self.settings.maker(queue);
        let meter = Meter::start(self.target);
        let ids = producer::streams(&self.clients, tasks, &maker).await?;
        let enqueued = meter.stop(self.target);
        let meter = Meter::start(self.target);
        let duty = duty(&key, queue);
        let workers = self.settings.workers;
        let mut crew = Crew::start(self.target, self.settings, &duty, workers).await?;
        crew.until(tasks).await?;
        let drained = meter.stop(self.target);
        let deeds = crew.finish().await?;
        let figure = Figure::new(key, title, tasks)
            .with(Metric::EnqueueRate, enqueued.rate(tasks))
            .with(Metric::DrainRate, drained.rate(tasks))
            .with_some(Metric::Rss, self.target.rss_bytes().map(float));
        Ok((drained.with_cpu(figure), ids, deeds.done))
    }

    /// Compares the queue's counts with what was put in and taken out.
    async fn balance(&mut self) -> anyhow::Result<()> {
        let mut check = check::compare(&self.ids, &self.done, Share::Part);
        let counts = counts(self.target, &self.queue).await?;
        let (put, taken) = (check.enqueued, check.done);
        check.same(
            "the backlog's succeeded_total",
            counts.succeeded_total,
            taken,
        );
        check.same(
            "tasks left in the backlog",
            waiting(&counts),
            put - taken.min(put),
        );
        self.check.add(check);
        Ok(())
    }
}
