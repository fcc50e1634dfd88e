//! `enqueue`: how fast tasks are accepted, by every way in. Nobody works on them meanwhile; they
//! are drained afterwards, unmeasured, to check that each is there once.

use redrive_client::Client;

use super::{Measured, drain_all, duty, warm_up};
use crate::bench::{
    figure::{Figure, Metric},
    meter::Meter,
    producer,
    settings::{Maker, Settings},
    target::Target,
};

/// Calls in flight, and by how much fewer tasks these rows take than streams do.
pub(super) const IN_FLIGHT: [(usize, u64); 3] = [(1, 20), (64, 5), (256, 5)];
/// Tasks of one call.
const BATCHES: [usize; 2] = [100, 1_000];
/// The latencies of calls that are told.
const QUANTILES: [Metric; 2] = [Metric::P50, Metric::P99];

pub(super) async fn run(
    target: &Target,
    settings: &Settings,
    tasks: u64,
) -> anyhow::Result<Measured> {
    let mut check = warm_up(target, settings, tasks).await?;
    let clients = target.clients(settings.connections).await?;
    let queues = settings.queue_names("enqueue", settings.queues);
    let maker = settings.maker(&queues);
    let row = Row {
        target,
        settings,
        clients: &clients,
        maker: &maker,
    };
    let mut ids = Vec::new();
    let mut figures = Vec::new();
    for (in_flight, divisor) in IN_FLIGHT {
        let (figure, accepted) = row
            .unary(in_flight, Settings::share(tasks, divisor))
            .await?;
        figures.push(figure);
        ids.extend(accepted);
    }
    for batch in BATCHES {
        let (figure, accepted) = row.batches(batch, Settings::share(tasks, 2)).await?;
        figures.push(figure);
        ids.extend(accepted);
    }
    let (figure, accepted) = row.streams(tasks).await?;
    figures.push(figure);
    ids.extend(accepted);
    let (figure, accepted) = row.sdk_streams(tasks).await?;
    figures.push(figure);
    ids.extend(accepted);
    check.add(drain_all(target, settings, &duty("enqueue", &queues), &ids).await?);
    Ok(Measured {
        figures,
        check,
        coordinator: None,
    })
}

/// What every row of figures needs; the bare server is measured by the same rows.
pub(super) struct Row<'a> {
    pub(super) target: &'a Target,
    pub(super) settings: &'a Settings,
    pub(super) clients: &'a [Client],
    pub(super) maker: &'a Maker,
}

impl Row<'_> {
    /// One task a call, so many calls in flight.
    pub(super) async fn unary(
        &self,
        in_flight: usize,
        tasks: u64,
    ) -> anyhow::Result<(Figure, Vec<u128>)> {
        let how = (self.maker, self.settings.timeline);
        let meter = Meter::start(self.target);
        let (ids, latencies) = producer::unary(self.clients, in_flight, tasks, how).await?;
        let cost = meter.stop(self.target);
        let title = format!("call, {in_flight} in flight");
        let figure = cost
            .figure(&format!("unary_{in_flight}"), title, tasks)
            .with_latencies(&latencies, &QUANTILES);
        Ok((figure, ids))
    }

    async fn batches(&self, batch: usize, tasks: u64) -> anyhow::Result<(Figure, Vec<u128>)> {
        let fits = self.maker.batch(batch);
        let meter = Meter::start(self.target);
        let ids = producer::batches(self.clients, fits, tasks, self.maker).await?;
        let cost = meter.stop(self.target);
        let figure = cost.figure(&format!("batch_{batch}"), format!("call of {fits}"), tasks);
        Ok((figure, ids))
    }

    /// Streams spoken by hand.
    pub(super) async fn streams(&self, tasks: u64) -> anyhow::Result<(Figure, Vec<u128>)> {
        let meter = Meter::start(self.target);
        let ids = producer::streams(self.clients, tasks, self.maker).await?;
        let cost = meter.stop(self.target);
        Ok((cost.figure("stream", "stream", tasks), ids))
    }

    async fn sdk_streams(&self, tasks: u64) -> anyhow::Result<(Figure, Vec<u128>)> {
        let meter = Meter::start(self.target);
        let ids = producer::sdk_streams(self.clients, tasks, self.maker).await?;
        let cost = meter.stop(self.target);
        Ok((cost.figure("stream_sdk", "stream, Rust client", tasks), ids))
    }
}
