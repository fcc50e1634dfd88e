//! `baseline`: the rows of `enqueue` and `drain` with the bare server in the coordinator's place,
//! so that other figures can be read as a share of what this machine could do. Never judges the
//! share: the report shows both.

use super::{
    Measured, duty,
    enqueue::{IN_FLIGHT, Row},
};
use crate::bench::{
    check::{self, SelfCheck},
    crew::Crew,
    meter::Meter,
    producer,
    settings::Settings,
    target::Target,
};

/// Deliveries that the workers are warmed up with.
const WARM_UP: u64 = 2_000;

pub(super) async fn run(settings: &Settings, tasks: u64) -> anyhow::Result<Measured> {
    let target = Target::bare(settings).await?;
    let clients = target.clients(settings.connections).await?;
    let maker = settings.maker(&settings.queue_names("bare", settings.queues));
    let row = Row {
        target: &target,
        settings,
        clients: &clients,
        maker: &maker,
    };
    row.streams(Settings::share(tasks, 10)).await?;
    let mut figures = Vec::new();
    for (in_flight, divisor) in IN_FLIGHT {
        let (figure, _ids) = row
            .unary(in_flight, Settings::share(tasks, divisor))
            .await?;
        figures.push(figure);
    }
    let (figure, _ids) = row.streams(tasks).await?;
    figures.push(figure);

    let duty = duty("bare", &settings.queue_names("bare", 1));
    let mut crew = Crew::start(&target, settings, &duty, settings.workers).await?;
    crew.until(WARM_UP).await?;
    let meter = Meter::start(&target);
    crew.until(WARM_UP.saturating_add(tasks)).await?;
    let cost = meter.stop(&target);
    let deeds = crew.finish().await?;
    figures.push(cost.figure("deliver", "deliver and report", tasks));
    let mut done = deeds.done;

    // Both at once, as `steady` has it: neither knows of the other here.
    let mut crew = Crew::start(&target, settings, &duty, settings.workers).await?;
    let meter = Meter::start(&target);
    let produced = producer::streams(&clients, tasks, &maker);
    let (_ids, ()) = tokio::try_join!(produced, crew.until(tasks))?;
    let cost = meter.stop(&target);
    done.extend(crew.finish().await?.done);
    figures.push(cost.figure("steady", "both at once", tasks));
    target.end().await?;

    let mut check = SelfCheck::default();
    let ids: Vec<u128> = done.iter().map(|done| done.id).collect();
    check.problems = check::compare(&ids, &done, check::Share::All).problems;
    Ok(Measured {
        figures,
        check,
        coordinator: None,
    })
}
