//! `timers`: many tasks that are due at the same instant: how long until all of them have started,
//! and what another queue at a fixed rate notices of it; then `spread`. Owns what late means here, and never
//! judges it.

use std::time::Duration;

use redrive_client::{Client, v1};
use tokio::sync::oneshot;

use super::{
    Measured, checked, duty, last_started,
    latency::{paired, summary},
    spread, warm_up,
};
use crate::{
    bench::{
        check::{self, Done, Share},
        crew::{Crew, Deeds},
        figure::{Figure, Metric, float},
        meter::{Cost, Meter, nanoseconds},
        pacer::{self, Call, Pace},
        producer,
        settings::Settings,
        target::Target,
    },
    clock,
};

/// How long the other queue is watched before the instant.
const QUIET: Duration = Duration::from_secs(2);
/// How much longer than measured in the warm-up filling may take, in percent.
const MARGIN_PERCENT: u64 = 200;
/// How long the other queue is watched at most after the instant.
const WATCH_MAX: Duration = Duration::from_secs(600);
/// What is told of latencies.
const QUANTILES: [Metric; 3] = [Metric::P50, Metric::P99, Metric::Max];
/// How much earlier than due a task may seem to start: both clocks are read to a millisecond.
const EARLY_NS_MAX: u64 = 2_000_000;

/// Said where tasks are due before all of them were enqueued.
pub(super) const TOO_SLOW: &str = "enqueueing took longer than the warm-up let expect, so that tasks \
     were due before all were there; give fewer --tasks, or try again on a quiet machine";

/// The instant, on the coordinator's clock and on the bench's.
#[derive(Debug, Clone, Copy)]
struct Due {
    wall: prost_types::Timestamp,
    ns: u64,
}

pub(super) async fn run(
    target: &Target,
    settings: &Settings,
    tasks: u64,
) -> anyhow::Result<Measured> {
    let before = settings.timeline.ns();
    let mut check = warm_up(target, settings, tasks).await?;
    let warm_up_ns = settings.timeline.ns().saturating_sub(before);
    let clients = target.clients(settings.connections).await?;
    let queues = settings.queue_names("timers", settings.queues);
    let filling = filling(tasks, check.enqueued, warm_up_ns);
    let due = due_after(settings, filling);
    let mut maker = settings.maker(&queues);
    maker.start = Some(v1::task_spec::Start::NotBefore(due.wall));
    let ids = producer::streams(&clients, tasks, &maker).await?;
    let quiet_ns = due.ns.saturating_sub(nanoseconds(QUIET));
    let early = quiet_ns.saturating_sub(settings.timeline.ns());
    anyhow::ensure!(early > 0, "{TOO_SLOW}");
    let other = settings.queue_names("other", 1);
    let crews = [
        Crew::start(target, settings, &duty("timers", &queues), settings.workers).await?,
        Crew::start(target, settings, &duty("other", &other), 1).await?,
    ];
    clock::pause(Duration::from_nanos(early)).await;

    let watch = Watch {
        target,
        settings,
        clients: &clients,
    };
    let (calls, cost, [deeds, other_deeds]) = watch.fire(crews, tasks, &other).await?;
    check.add(checked(target, &queues, (&ids, Share::All), &deeds).await?);
    let other_ids: Vec<u128> = calls.iter().map(|call| call.id).collect();
    check.add(checked(target, &other, (&other_ids, Share::All), &other_deeds).await?);
    let early = |done: &&Done| done.started + EARLY_NS_MAX < due.ns;
    let early = deeds.done.iter().filter(early).count();
    check.same(
        "tasks that started before they were due",
        check::count(early),
        0,
    );
    let mut figures = vec![cost.with_cpu(fired(&deeds.done, due)?)];
    figures.extend(others(&paired(&calls, &other_deeds.done), due.ns)?);
    let spread = spread::run(target, settings, (&clients, tasks), filling).await?;
    figures.extend(spread.figures);
    check.add(spread.check);
    Ok(Measured {
        figures,
        check,
        coordinator: None,
    })
}

struct Watch<'a> {
    target: &'a Target,
    settings: &'a Settings,
    clients: &'a [Client],
}

impl Watch<'_> {
    /// Enqueues into the other queue at its rate until all that was due is done.
    async fn fire(
        &self,
        [mut crew, mut other_crew]: [Crew; 2],
        tasks: u64,
        other: &[String],
    ) -> anyhow::Result<(Vec<Call>, Cost, [Deeds; 2])> {
        let (all_done, stop) = oneshot::channel::<()>();
        let maker = self.settings.maker(other);
        let how = (&maker, self.settings.timeline);
        let pace = Pace::lasting(self.settings.rate, QUIET + WATCH_MAX);
        let meter = Meter::start(self.target);
        let watched = pacer::enqueue(self.clients, pace, how, async {
            // Nobody says it: the other end is dropped.
            drop(stop.await);
        });
        let worked = async {
            let ended = crew.until(tasks).await;
            drop(all_done);
            ended
        };
        let (calls, ()) = tokio::try_join!(watched, worked)?;
        let cost = meter.stop(self.target);
        other_crew.until(check::count(calls.len())).await?;
        let deeds = [crew.finish().await?, other_crew.finish().await?];
        Ok((calls, cost, deeds))
    }
}

/// How long filling may take, by what the warm-up took.
fn filling(tasks: u64, warmed_up: u64, warm_up_ns: u64) -> Duration {
    let each = warm_up_ns.checked_div(warmed_up).unwrap_or(0);
    Duration::from_nanos(each.saturating_mul(tasks).saturating_mul(MARGIN_PERCENT) / 100)
}

fn due_after(settings: &Settings, filling: Duration) -> Due {
    let ahead = filling + QUIET + Duration::from_secs(1);
    Due {
        wall: (clock::now() + ahead).into(),
        ns: settings.timeline.ns().saturating_add(nanoseconds(ahead)),
    }
}

fn fired(done: &[Done], due: Due) -> anyhow::Result<Figure> {
    let spans = done.iter().map(|done| done.started.saturating_sub(due.ns));
    let seconds = float(last_started(done).saturating_sub(due.ns)) / 1e9;
    Ok(
        summary("started", "from due to started", spans, &QUANTILES)?
            .with(Metric::Seconds, seconds),
    )
}

/// The other queue until the instant, and from then on.
fn others(pairs: &[(Call, Done)], due: u64) -> anyhow::Result<[Figure; 2]> {
    let spans = |after: bool| {
        let of_then = move |(call, _): &&(Call, Done)| (call.intended >= due) == after;
        let span = |(call, done): &(Call, Done)| done.started.saturating_sub(call.intended);
        pairs.iter().filter(of_then).map(span)
    };
    Ok([
        summary(
            "other_before",
            "other queue, before",
            spans(false),
            &QUANTILES,
        )?,
        summary(
            "other_during",
            "other queue, during",
            spans(true),
            &QUANTILES,
        )?,
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_queue_is_told_apart_by_the_instant_of_its_calls() {
        let pair = |id, intended: u64, span: u64| {
            let call = Call {
                id,
                intended,
                made: intended,
                answered: intended,
            };
            let done = Done {
                id,
                started: intended + span,
                recorded: intended + span,
            };
            (call, done)
        };
        let pairs = [pair(1, 10, 1_000), pair(2, 99, 1_000), pair(3, 100, 9_000)];
        let [before, after] = others(&pairs, 100).unwrap();
        assert_eq!((before.count, after.count), (2, 1));
        assert!(after.get(Metric::P50) > before.get(Metric::P99));
    }

    #[test]
    fn filling_is_expected_to_take_its_share_of_the_warm_up_and_more() {
        assert_eq!(filling(1_000, 100, 1_000_000), Duration::from_millis(20));
        assert_eq!(filling(1_000, 0, 1), Duration::ZERO);
    }
}
