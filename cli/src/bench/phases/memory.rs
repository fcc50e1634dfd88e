//! `memory`: what a waiting task takes: the growth of the resident set, and what the coordinator
//! accounts for, each divided by the number of tasks. Never looks inside the coordinator: the
//! system and `GetServerInfo` tell.

use super::{Measured, counts, waiting};
use crate::bench::{
    check::{self, Share},
    figure::{Figure, Metric, float},
    producer,
    settings::Settings,
    target::Target,
};

pub(super) async fn run(
    target: &Target,
    settings: &Settings,
    tasks: u64,
) -> anyhow::Result<Measured> {
    // No warm-up: what it leaves free would be used again, and missing in the difference.
    let clients = target.clients(settings.connections).await?;
    let queues = settings.queue_names("memory", settings.queues);
    let (rss, accounted) = (target.rss_bytes(), target.info().await?.memory_bytes);
    let ids = producer::streams(&clients, tasks, &settings.maker(&queues)).await?;
    let (rss_after, info) = (target.rss_bytes(), target.info().await?);

    let each = |before: u64, after: u64| float(after.saturating_sub(before)) / float(tasks.max(1));
    let grown = rss
        .zip(rss_after)
        .map(|(before, after)| each(before, after));
    let figure = Figure::new("waiting", "waiting tasks", tasks)
        .with_some(Metric::Rss, rss_after.map(float))
        .with_some(Metric::RssPerTask, grown)
        .with(Metric::AccountedPerTask, each(accounted, info.memory_bytes));

    let mut check = check::compare(&ids, &[], Share::Part);
    let counts = counts(target, &queues).await?;
    check.same("tasks waiting in the queues", waiting(&counts), tasks);
    Ok(Measured {
        figures: vec![figure],
        check,
        coordinator: None,
    })
}
