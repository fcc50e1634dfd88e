//! `drain` and `steady`: tasks that wait already, and producers and workers at once. Owns both
//! loads; checking that every task was done once is `check`'s.

use super::{Measured, checked, duty, warm_up};
use crate::bench::{
    check::Share, crew::Crew, meter::Meter, producer, settings::Settings, target::Target,
};

/// Preloads tasks, then measures workers that do nothing: from when they may take tasks until the
/// last completion is recorded.
pub(super) async fn drain(
    target: &Target,
    settings: &Settings,
    tasks: u64,
) -> anyhow::Result<Measured> {
    let mut check = warm_up(target, settings, tasks).await?;
    let clients = target.clients(settings.connections).await?;
    let queues = settings.queue_names("drain", settings.queues);
    let ids = producer::streams(&clients, tasks, &settings.maker(&queues)).await?;

    let meter = Meter::start(target);
    let duty = duty("drain", &queues);
    let mut crew = Crew::start(target, settings, &duty, settings.workers).await?;
    crew.until(tasks).await?;
    let cost = meter.stop(target);
    let deeds = crew.finish().await?;
    check.add(checked(target, &queues, (&ids, Share::All), &deeds).await?);
    Ok(Measured {
        figures: vec![cost.figure("drain", "drained", tasks)],
        check,
        coordinator: None,
    })
}

/// Measures streams of producers and workers at once, from the first task sent until the last
/// completion is recorded.
pub(super) async fn run(
    target: &Target,
    settings: &Settings,
    tasks: u64,
) -> anyhow::Result<Measured> {
    let mut check = warm_up(target, settings, tasks).await?;
    let clients = target.clients(settings.connections).await?;
    let queues = settings.queue_names("steady", settings.queues);
    let maker = settings.maker(&queues);
    let duty = duty("steady", &queues);
    let mut crew = Crew::start(target, settings, &duty, settings.workers).await?;

    let meter = Meter::start(target);
    let produced = producer::streams(&clients, tasks, &maker);
    let (ids, ()) = tokio::try_join!(produced, crew.until(tasks))?;
    let cost = meter.stop(target);
    let deeds = crew.finish().await?;
    check.add(checked(target, &queues, (&ids, Share::All), &deeds).await?);
    Ok(Measured {
        figures: vec![cost.figure("steady", "enqueued and done", tasks)],
        check,
        coordinator: None,
    })
}
