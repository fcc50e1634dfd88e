//! `recovery`: SIGKILL with tasks waiting, the same directory again, and every task done once.
//! Never reads the journal itself: it asks the coordinator that came back.

use super::{Measured, counts, drain_all, duty, waiting};
use crate::bench::{
    figure::{Figure, Metric, float},
    producer,
    settings::Settings,
    target::Target,
};

pub(super) async fn run(
    target: &mut Target,
    settings: &Settings,
    tasks: u64,
) -> anyhow::Result<Measured> {
    let clients = target.clients(settings.connections).await?;
    let queues = settings.queue_names("recovery", settings.queues);
    let ids = producer::streams(&clients, tasks, &settings.maker(&queues)).await?;
    drop(clients);
    let disk = target.disk_bytes();

    let span = target.crash().await?;
    let rss = target.rss_bytes();
    let each = |bytes: Option<u64>| bytes.map(|bytes| float(bytes) / float(tasks.max(1)));
    let figure = Figure::new("restart", "waiting tasks", tasks)
        .with(Metric::Seconds, span.as_secs_f64())
        .with_some(Metric::Rss, rss.map(float))
        .with_some(Metric::RssPerTask, each(rss))
        .with_some(Metric::DiskPerTask, each(disk));

    let found = counts(target, &queues).await?;
    let mut check = drain_all(target, settings, &duty("recovery", &queues), &ids).await?;
    check.same("tasks after the restart", waiting(&found), tasks);
    Ok(Measured {
        figures: vec![figure],
        check,
        coordinator: None,
    })
}
