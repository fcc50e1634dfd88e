//! `idle`: workers that are connected and get no work: what each takes of memory, and all of them of
//! one core, beside the same streams on the bare server. Owns the order and the two stretches that
//! are measured; the workers are a process of their own, `holder`.

use std::time::Duration;

use super::Measured;
use crate::{
    bench::{
        check::SelfCheck,
        figure::{Figure, Metric, float},
        meter::Meter,
        settings::Settings,
        target::{Held, Target},
    },
    clock,
};

/// How long memory is given to come to rest once all workers stand.
const REST: Duration = Duration::from_secs(2);

pub(super) async fn run(
    target: &Target,
    settings: &Settings,
    workers: u64,
) -> anyhow::Result<Measured> {
    let bare = Target::bare(settings).await?;
    let figures = vec![
        row(&bare, settings, ("bare", "bare streams", 0, workers)).await?,
        row(target, settings, ("idle", "idle workers", 1, workers)).await?,
    ];
    bare.end().await?;
    Ok(Measured {
        figures,
        check: SelfCheck::default(),
        coordinator: None,
    })
}

async fn row(
    target: &Target,
    settings: &Settings,
    (key, title, room, workers): (&str, &str, u32, u64),
) -> anyhow::Result<Figure> {
    let before = target.rss_bytes();
    let mut held = Held::start(target, workers, room).await?;
    clock::pause(REST).await;
    let after = target.rss_bytes();
    let meter = Meter::start(target);
    clock::pause(settings.duration).await;
    let cost = meter.stop(target);
    held.end().await?;

    let grown = before.zip(after).map(|(before, after)| {
        let bytes = after.saturating_sub(before);
        float(bytes) / float(workers.max(1))
    });
    Ok(Figure::new(key, title, workers)
        .with_some(Metric::Rss, after.map(float))
        .with_some(Metric::RssPerTask, grown)
        .with_some(Metric::CoreShare, cost.core_share()))
}
