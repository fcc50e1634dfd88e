//! `latency`: at a fixed rate, how long from the instant at which a task was to be enqueued until
//! the call is answered, until its handler starts, and until its completion is recorded. Counts
//! from the intended instant, so that what comes late is not left out.

use std::future;

use super::{Measured, checked, duty, warm_up};
use crate::bench::{
    check::{self, Done, Share},
    crew::Crew,
    figure::{Figure, Latencies, Metric},
    meter::Meter,
    pacer::{self, Call, Pace},
    settings::Settings,
    target::Target,
};

/// What is told of latencies.
const QUANTILES: [Metric; 5] = [
    Metric::P50,
    Metric::P90,
    Metric::P99,
    Metric::P999,
    Metric::Max,
];
/// The most tasks of the warm-up.
const WARM_UP: u64 = 2_000;

pub(super) async fn run(target: &Target, settings: &Settings) -> anyhow::Result<Measured> {
    let mut check = warm_up(target, settings, WARM_UP).await?;
    let clients = target.clients(settings.connections).await?;
    let queues = settings.queue_names("latency", settings.queues);
    let maker = settings.maker(&queues);
    let duty = duty("latency", &queues);
    let mut crew = Crew::start(target, settings, &duty, settings.workers).await?;
    let pace = Pace::lasting(settings.rate, settings.duration);

    let meter = Meter::start(target);
    let how = (&maker, settings.timeline);
    let calls = pacer::enqueue(&clients, pace, how, future::pending()).await?;
    crew.until(check::count(calls.len())).await?;
    let cost = meter.stop(target);
    let deeds = crew.finish().await?;
    let ids: Vec<u128> = calls.iter().map(|call| call.id).collect();
    check.add(checked(target, &queues, (&ids, Share::All), &deeds).await?);
    let mut figures = figures(&calls, &deeds.done)?;
    if let Some(last) = figures.pop() {
        figures.push(cost.with_cpu(last));
    }
    Ok(Measured {
        figures,
        check,
        coordinator: None,
    })
}

/// The stations on a task's way, each counted from the intended instant of its call.
fn figures(calls: &[Call], done: &[Done]) -> anyhow::Result<Vec<Figure>> {
    let pairs = paired(calls, done);
    let figure = |key: &str, title: &str, at: fn(&(Call, Done)) -> u64| {
        let spans = pairs
            .iter()
            .map(|pair| at(pair).saturating_sub(pair.0.intended));
        summary(key, title, spans, &QUANTILES)
    };
    Ok(vec![
        figure("sent", "until sent", |(call, _)| call.made)?,
        figure("accepted", "until accepted", |(call, _)| call.answered)?,
        figure("started", "until started", |(_, done)| done.started)?,
        figure("recorded", "until recorded", |(_, done)| done.recorded)?,
    ])
}

/// The quantiles of some spans.
pub(super) fn summary(
    key: &str,
    title: &str,
    spans: impl Iterator<Item = u64>,
    quantiles: &[Metric],
) -> anyhow::Result<Figure> {
    let mut latencies = Latencies::new()?;
    let mut count = 0;
    for span in spans {
        latencies.record(span);
        count += 1;
    }
    Ok(Figure::new(key, title, count).with_latencies(&latencies, quantiles))
}

/// Each call with what became of its task.
pub(super) fn paired(calls: &[Call], done: &[Done]) -> Vec<(Call, Done)> {
    let (mut calls, mut done) = (calls.to_vec(), done.to_vec());
    calls.sort_unstable();
    done.sort_unstable();
    let mut done = done.into_iter().peekable();
    let pair = |call: Call| {
        while done.next_if(|done| done.id < call.id).is_some() {}
        let done = done.next_if(|done| done.id == call.id)?;
        Some((call, done))
    };
    calls.into_iter().filter_map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(id: u128, intended: u64) -> Call {
        Call {
            id,
            intended,
            made: intended + 1,
            answered: intended + 2,
        }
    }

    fn done(id: u128, started: u64) -> Done {
        Done {
            id,
            started,
            recorded: started + 10,
        }
    }

    #[test]
    fn calls_meet_their_tasks_in_any_order() {
        let calls = [call(3, 30), call(1, 10), call(2, 20)];
        let done = [done(2, 25), done(9, 0), done(3, 40)];
        let pairs = paired(&calls, &done);
        let ids: Vec<u128> = pairs.iter().map(|(call, _)| call.id).collect();
        assert_eq!(ids, [2, 3]);
    }

    #[test]
    fn every_station_counts_from_the_intended_instant() {
        let calls = [call(1, 1_000_000)];
        let figures = figures(&calls, &[done(1, 5_000_000)]).unwrap();
        let near = |key: &str, us: f64| {
            let figure = figures.iter().find(|figure| figure.key == key).unwrap();
            let found = figure.get(Metric::P50).unwrap();
            assert!((found - us).abs() <= us / 1_000.0 + 0.001, "{key} {found}");
        };
        near("started", 4_000.0);
        near("recorded", 4_000.01);
        near("accepted", 0.002);
    }
}
