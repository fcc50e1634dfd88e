//! `redrive bench`: measures a coordinator as its users meet it, over real sockets.
//!
//! Owns the order of phases and runs, and what they add up to. Every figure is measured, the median
//! where there are several runs; every phase that moves tasks checks by their ids that each was
//! done exactly once. Invariants: each run of each phase has a fresh coordinator, unless a running
//! one was named; nothing that was started is left behind.

pub(crate) mod bare;
mod check;
mod crew;
mod figure;
pub(crate) mod holder;
pub(crate) mod meter;
mod pacer;
pub(crate) mod phase;
mod phases;
mod proc;
mod producer;
pub(crate) mod report;
pub(crate) mod settings;
pub(crate) mod target;

use redrive_client::v1;

use self::{
    check::SelfCheck,
    figure::{Figure, Metric, medians},
    phase::Phase,
    settings::Settings,
};
use crate::output;

/// What a phase gave, over all its runs.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Which.
    pub(crate) phase: Phase,
    /// Its figures.
    pub(crate) figures: Vec<Figure>,
    /// What was counted in all runs.
    pub(crate) check: SelfCheck,
    /// How long it took with all that is not measured.
    pub(crate) seconds: f64,
}

/// What a bench gave.
#[derive(Debug)]
pub(crate) struct Outcomes {
    /// The phases, in their order.
    pub(crate) phases: Vec<Outcome>,
    /// What the coordinator says of itself, where one was asked.
    pub(crate) coordinator: Option<v1::GetServerInfoResponse>,
}

impl Outcomes {
    /// True where every self-check of every phase is well.
    pub(crate) fn ok(&self) -> bool {
        self.phases.iter().all(|outcome| outcome.check.ok())
    }
}

/// Runs all phases.
///
/// # Errors
/// The first thing that does not start, is refused, or breaks.
pub(crate) async fn run(settings: &Settings) -> anyhow::Result<Outcomes> {
    let mut outcomes = Outcomes {
        phases: Vec::new(),
        coordinator: None,
    };
    for &phase in &settings.phases {
        let began = settings.timeline.ns();
        let mut runs = Vec::new();
        let mut check = SelfCheck::default();
        for number in 1..=settings.runs {
            tell(settings, phase, number);
            let settings = Settings {
                tag: format!("{}-{}-{number}", settings.tag, phase.name()),
                ..settings.clone()
            };
            let measured = Box::pin(phases::run(phase, &settings)).await?;
            runs.push(measured.figures);
            check.add(measured.check);
            outcomes.coordinator = measured.coordinator.or(outcomes.coordinator);
        }
        let ns = settings.timeline.ns().saturating_sub(began);
        outcomes.phases.push(Outcome {
            phase,
            figures: medians(&runs),
            check,
            seconds: figure::float(ns) / 1e9,
        });
    }
    add_shares(&mut outcomes.phases);
    Ok(outcomes)
}

fn tell(settings: &Settings, phase: Phase, number: u32) {
    let of = if settings.runs > 1 {
        format!(" {number} of {}", settings.runs)
    } else {
        String::new()
    };
    output::note(&format!("measuring {}{of}", phase.name()));
}

/// Where the bare server was measured too, rates are told as a share of its.
fn add_shares(phases: &mut [Outcome]) {
    let baseline = phases.iter().find(|one| one.phase == Phase::Baseline);
    let Some(bare) = baseline.map(|one| one.figures.clone()) else {
        return;
    };
    for outcome in phases {
        for figure in &mut outcome.figures {
            let Some(key) = bare_key(outcome.phase, &figure.key) else {
                continue;
            };
            let same = bare.iter().find(|bare| bare.key == key);
            let bare_rate = same.and_then(|bare| bare.get(Metric::Rate));
            if let (Some(rate), Some(bare_rate)) = (figure.get(Metric::Rate), bare_rate)
                && bare_rate > 0.0
            {
                figure.values.insert(Metric::OfBare, rate / bare_rate);
            }
        }
    }
}

/// The bare server's figure of the same messages.
fn bare_key(phase: Phase, key: &str) -> Option<&str> {
    match phase {
        Phase::Enqueue => Some(key),
        Phase::Drain => Some("deliver"),
        Phase::Steady => Some("steady"),
        Phase::Sync
        | Phase::Baseline
        | Phase::Latency
        | Phase::Retries
        | Phase::Timers
        | Phase::Backlog
        | Phase::Memory
        | Phase::Idle
        | Phase::Recovery => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(phase: Phase, figures: &[(&str, f64)]) -> Outcome {
        let figure = |(key, rate): &(&str, f64)| Figure::new(*key, "", 1).with(Metric::Rate, *rate);
        Outcome {
            phase,
            figures: figures.iter().map(figure).collect(),
            check: SelfCheck::default(),
            seconds: 1.0,
        }
    }

    #[test]
    fn rates_are_shares_of_the_bare_servers_where_it_has_the_same_row() {
        let mut phases = [
            outcome(Phase::Enqueue, &[("unary_1", 50.0), ("batch_100", 9.0)]),
            outcome(Phase::Drain, &[("drain", 30.0)]),
            outcome(Phase::Steady, &[("steady", 30.0)]),
            outcome(
                Phase::Baseline,
                &[("unary_1", 200.0), ("deliver", 60.0), ("steady", 40.0)],
            ),
        ];
        add_shares(&mut phases);
        let share = |at: usize, row: usize| phases[at].figures[row].get(Metric::OfBare);
        assert_eq!((share(0, 0), share(0, 1)), (Some(0.25), None));
        assert_eq!((share(1, 0), share(2, 0)), (Some(0.5), Some(0.75)));
        assert_eq!(share(3, 0), None);
    }
}
