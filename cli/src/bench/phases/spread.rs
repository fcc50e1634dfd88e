//! The second half of `timers`: as many tasks again, due evenly over an hour: what accepting them
//! costs, what a coordinator spends while they wait, and how late those start that fall due
//! meanwhile. Owns that spread; the rest of them stays behind in the queue.

use std::time::Duration;

use redrive_client::Client;

use super::{Measured, duty, latency::summary};
use crate::{
    bench::{
        check::{self, Done, SelfCheck, Share},
        crew::Crew,
        figure::{Figure, Metric, float},
        meter::{Meter, nanoseconds},
        producer,
        settings::{Settings, Spread},
        target::Target,
    },
    clock,
};

/// Over how long they fall due.
const OVER: Duration = Duration::from_secs(3_600);
/// What is told of how late they start.
const QUANTILES: [Metric; 3] = [Metric::P50, Metric::P99, Metric::Max];

pub(super) async fn run(
    target: &Target,
    settings: &Settings,
    (clients, tasks): (&[Client], u64),
    filling: Duration,
) -> anyhow::Result<Measured> {
    let queues = settings.queue_names("spread", 1);
    let mut maker = settings.maker(&queues);
    let ahead = filling + Duration::from_secs(1);
    let first_ns = settings.timeline.ns() + nanoseconds(ahead);
    let spread = Spread {
        first: clock::now() + ahead,
        step: OVER.div_f64(float(tasks.max(1))),
    };
    maker.spread = Some(spread);
    // One connection, so that ids come in the order in which the tasks fall due.
    let one = clients.get(..1).unwrap_or_default();
    let meter = Meter::start(target);
    let ids = producer::streams(one, tasks, &maker).await?;
    let accepted = meter
        .stop(target)
        .figure("spread", "enqueue, spread over 1h", tasks);

    let early = first_ns.saturating_sub(settings.timeline.ns());
    anyhow::ensure!(early > 0, "{}", super::timers::TOO_SLOW);
    let mut crew = Crew::start(target, settings, &duty("spread", &queues), 1).await?;
    clock::pause(Duration::from_nanos(early)).await;
    let meter = Meter::start(target);
    clock::pause(settings.duration).await;
    let cost = meter.stop(target);
    crew.until(1).await?;
    let deeds = crew.finish().await?;

    let due = figure(&ids, &deeds.done, (first_ns, spread))?
        .with_some(Metric::CoreShare, cost.core_share());
    let mut check = check::compare(&ids, &deeds.done, Share::Part);
    check.same("reports answered as not recorded", deeds.unrecorded, 0);
    Ok(Measured {
        figures: vec![accepted, due],
        check: SelfCheck {
            // What waits on is nobody's to do.
            enqueued: check.done,
            ..check
        },
        coordinator: None,
    })
}

/// How late those started that fell due.
fn figure(
    ids: &[u128],
    done: &[Done],
    (first_ns, spread): (u64, Spread),
) -> anyhow::Result<Figure> {
    let mut numbers: Vec<(u128, u64)> = ids.iter().copied().zip(0..).collect();
    numbers.sort_unstable();
    let late = |done: &Done| {
        let at = numbers.binary_search_by_key(&done.id, |(id, _)| *id).ok()?;
        let (_, number) = numbers.get(at)?;
        let due_ns = first_ns.saturating_add(nanoseconds(spread.after(*number)));
        Some(done.started.saturating_sub(due_ns))
    };
    let late = done.iter().filter_map(late);
    summary("spread_started", "those due meanwhile", late, &QUANTILES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_late_by_its_own_instant() {
        let spread = Spread {
            first: clock::now(),
            step: Duration::from_nanos(1_000),
        };
        let done = |id, started| Done {
            id,
            started,
            recorded: started,
        };
        let done = [done(9, 5_000), done(4, 7_500)];
        let figure = figure(&[9, 4], &done, (5_000, spread)).unwrap();
        assert_eq!(figure.count, 2);
        let max = figure.get(Metric::Max).unwrap();
        assert!((1.5..1.51).contains(&max), "{max} us");
    }
}
