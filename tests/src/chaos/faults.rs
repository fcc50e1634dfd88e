//! What can happen, and how often: to a network, to a worker's process, to the coordinator's, and by
//! clients that behave badly.
//!
//! Owns the plan of an episode, and each fault from its beginning to its end, but for weather and for
//! what rude clients keep open, which may outlast the next faults. Invariants: the plan is drawn from
//! the dice alone, and each fault has dice of its own, so that what one meets changes no other; every
//! kind comes once before any comes twice.

use std::time::Duration;

use super::stage::{GRACE, Stage};
use crate::{
    Dice,
    load::{huge, rude},
    proxy::{Cut, Way, Weather},
    wait::lasting,
};

/// The shortest and the longest that a fault lasts which is to be borne, in milliseconds: up to just
/// below the grace, when workers have given up what they ran.
const SHORT_MS: (u64, u64) = (50, 950);
/// The same of one that is not, beyond the grace.
const LONG_MS: (u64, u64) = (300, 900);
/// Things seen between two faults, at the most.
const SEEN_MAX: u64 = 200;
/// The longest time between two faults.
const PAUSE_MAX: Duration = Duration::from_millis(400);
/// The same after a coordinator was started again: whoever was away comes back.
const RETURN_MAX: Duration = Duration::from_millis(1500);
/// How long a network stays bad with nothing else happening, in milliseconds.
const WEATHER_MS: (u64, u64) = (100, 1500);
/// The latest moment of a kill during a start, in milliseconds.
const START_MS_MAX: u64 = 120;
/// In so many of a thousand cases weather is for a whole network, and a cut for all its connections.
const ALL_PER_MILLE: u64 = 600;
/// In so many of a thousand cases weather outlasts the next fault.
const STAYS_PER_MILLE: u64 = 300;
/// Clients that come in a crowd.
const CROWD: u64 = 40;
/// Huge clients of an episode: their tasks are all looked at in the end.
const HUGE_MAX: u32 = 3;

/// What can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    SlowNetwork,
    NarrowNetwork,
    UpDead,
    DownDead,
    BlackHole,
    EndsUntold,
    CutByFin,
    CutByRst,
    WorkerStopped,
    WorkerStoppedLong,
    WorkerKilled,
    CoordinatorStopped,
    CoordinatorStoppedLong,
    CoordinatorKilled,
    CoordinatorKilledEarly,
    DeafWatcher,
    DeafWorker,
    GoneFromCalls,
    GoneFromStream,
    GoneFromAnswers,
    HalfWords,
    HugeClient,
}

impl Fault {
    /// All, with how often each comes beside the others, and its name.
    const ALL: [(Self, u64, &'static str); 22] = [
        (Self::SlowNetwork, 6, "slow network"),
        (Self::NarrowNetwork, 6, "narrow network"),
        (Self::UpDead, 6, "half open, up dead"),
        (Self::DownDead, 6, "half open, down dead"),
        (Self::BlackHole, 6, "black hole"),
        (Self::EndsUntold, 5, "ends untold"),
        (Self::CutByFin, 6, "cut by FIN"),
        (Self::CutByRst, 6, "cut by RST"),
        (Self::WorkerStopped, 4, "worker stopped shortly"),
        (
            Self::WorkerStoppedLong,
            4,
            "worker stopped beyond the grace",
        ),
        (Self::WorkerKilled, 5, "worker killed"),
        (Self::CoordinatorStopped, 3, "coordinator stopped shortly"),
        (
            Self::CoordinatorStoppedLong,
            3,
            "coordinator stopped beyond the grace",
        ),
        (Self::CoordinatorKilled, 5, "coordinator killed"),
        (
            Self::CoordinatorKilledEarly,
            2,
            "coordinator killed at its start",
        ),
        (Self::DeafWatcher, 4, "watcher that reads nothing"),
        (Self::DeafWorker, 4, "worker that reads nothing"),
        (Self::GoneFromCalls, 5, "clients vanish from calls"),
        (Self::GoneFromStream, 5, "client vanishes from a stream"),
        (Self::GoneFromAnswers, 4, "client vanishes from answers"),
        (Self::HalfWords, 3, "clients stop in their first words"),
        (Self::HugeClient, 2, "huge client"),
    ];

    fn name(self) -> &'static str {
        let own = Self::ALL.iter().find(|(fault, _, _)| *fault == self);
        own.map_or("", |(_, _, name)| name)
    }
}

/// So many faults, one after the other.
pub(super) fn plan(dice: &mut Dice, count: u32) -> Vec<Fault> {
    let mut plan: Vec<Fault> = Fault::ALL.iter().map(|(fault, _, _)| *fault).collect();
    for end in (1..plan.len()).rev() {
        plan.swap(end, any(dice, end + 1));
    }
    let weights: u64 = Fault::ALL.iter().map(|(_, weight, _)| weight).sum();
    let mut huge = 1;
    while plan.len() < count as usize {
        let mut left = dice.between(0, weights);
        let drawn = Fault::ALL.iter().find(|(_, weight, _)| {
            let here = left < *weight;
            left = left.saturating_sub(*weight);
            here
        });
        let Some((fault, _, _)) = drawn else {
            continue;
        };
        huge += u32::from(*fault == Fault::HugeClient);
        if *fault != Fault::HugeClient || huge <= HUGE_MAX {
            plan.push(*fault);
        }
    }
    plan.truncate(count as usize);
    plan
}

/// One fault, and a while after it.
pub(super) async fn strike(stage: &mut Stage, fault: Fault, mut dice: Dice) {
    let dice = &mut dice;
    match fault {
        Fault::SlowNetwork
        | Fault::NarrowNetwork
        | Fault::UpDead
        | Fault::DownDead
        | Fault::BlackHole
        | Fault::EndsUntold => weather(stage, fault, dice).await,
        Fault::CutByFin => cut(stage, Cut::Closed, dice),
        Fault::CutByRst => cut(stage, Cut::Reset, dice),
        Fault::WorkerStopped | Fault::WorkerStoppedLong | Fault::WorkerKilled => {
            worker(stage, fault, dice).await;
        }
        Fault::CoordinatorStopped
        | Fault::CoordinatorStoppedLong
        | Fault::CoordinatorKilled
        | Fault::CoordinatorKilledEarly => coordinator(stage, fault, dice).await,
        Fault::DeafWatcher
        | Fault::DeafWorker
        | Fault::GoneFromCalls
        | Fault::GoneFromStream
        | Fault::GoneFromAnswers
        | Fault::HalfWords
        | Fault::HugeClient => rudeness(stage, fault, dice).await,
    }
    stage.did(fault.name());
    let more = dice.between(1, SEEN_MAX);
    stage.meanwhile(more, PAUSE_MAX).await;
}

/// A network gets worse: for all its connections and those to come, or for one.
async fn weather(stage: &mut Stage, fault: Fault, dice: &mut Dice) {
    let network = any(dice, stage.networks.len());
    let weather = weather_of(fault, dice);
    if dice.chance(ALL_PER_MILLE) {
        stage.networks[network].set(weather);
    } else {
        stage.networks[network].set_one(dice, weather);
    }
    let time = between(dice, WEATHER_MS);
    stage.meanwhile(SEEN_MAX, time).await;
    if !dice.chance(STAYS_PER_MILLE) {
        stage.networks[network].set(Weather::FAIR);
    }
}

fn weather_of(fault: Fault, dice: &mut Dice) -> Weather {
    let fair = Weather::FAIR;
    let dead = if dice.chance(500) {
        Way::Held
    } else {
        Way::Swallowed
    };
    match fault {
        Fault::SlowNetwork => Weather {
            latency: Duration::from_millis(dice.between(1, 150)),
            jitter: Duration::from_millis(dice.between(0, 150)),
            ..fair
        },
        Fault::NarrowNetwork => Weather {
            bytes_per_second: Some(dice.between(2_000, 400_000)),
            ..fair
        },
        Fault::UpDead => Weather { up: dead, ..fair },
        Fault::DownDead => Weather { down: dead, ..fair },
        Fault::EndsUntold => Weather {
            tells_ends: false,
            ..fair
        },
        _ => Weather::BLACK_HOLE,
    }
}

fn cut(stage: &Stage, how: Cut, dice: &mut Dice) {
    let network = &stage.networks[any(dice, stage.networks.len())];
    if dice.chance(ALL_PER_MILLE) {
        network.cut_all(how);
    } else {
        network.cut_one(dice, how);
    }
}

async fn worker(stage: &mut Stage, fault: Fault, dice: &mut Dice) {
    let number = any(dice, stage.workers.len());
    let time = match fault {
        Fault::WorkerStopped => between(dice, SHORT_MS),
        Fault::WorkerStoppedLong => GRACE + between(dice, LONG_MS),
        _ => return stage.workers[number].replace(),
    };
    stage.workers[number].stop_short();
    lasting(time).await;
    stage.workers[number].go_on();
}

async fn coordinator(stage: &mut Stage, fault: Fault, dice: &mut Dice) {
    let time = match fault {
        Fault::CoordinatorStopped => Some(between(dice, SHORT_MS)),
        Fault::CoordinatorStoppedLong => Some(GRACE + between(dice, LONG_MS)),
        _ => None,
    };
    if let Some(time) = time {
        stage.coordinator.stop_short();
        lasting(time).await;
        stage.coordinator.go_on();
    } else {
        stage.replace_coordinator();
        if fault == Fault::CoordinatorKilledEarly {
            lasting(between(dice, (0, START_MS_MAX))).await;
            stage.replace_coordinator();
        }
        stage.coordinator.ready().await;
    }
    let more = dice.between(1, SEEN_MAX);
    stage.meanwhile(more, RETURN_MAX).await;
}

async fn rudeness(stage: &mut Stage, fault: Fault, dice: &mut Dice) {
    let network = any(dice, stage.networks.len());
    let somebody = stage.context.via(stage.networks[network].address());
    match fault {
        Fault::DeafWatcher => stage.keep(rude::watch_deafly(&somebody).await),
        Fault::DeafWorker => stage.keep(rude::work_deafly(&somebody, dice.any()).await),
        Fault::GoneFromCalls => {
            for _ in 0..CROWD {
                rude::vanish_in_a_call(&somebody, dice).await;
            }
        }
        Fault::GoneFromStream => rude::vanish_in_a_stream(&somebody, dice).await,
        Fault::GoneFromAnswers => drop(rude::watch_deafly(&somebody).await),
        Fault::HugeClient => stage.join(huge::visit(somebody, dice.clone())),
        _ => {
            for _ in 0..CROWD {
                stage.keep(rude::stop_halfway(&somebody).await);
            }
        }
    }
}

fn any(dice: &mut Dice, count: usize) -> usize {
    usize::try_from(dice.between(0, count as u64)).unwrap()
}

fn between(dice: &mut Dice, (least, most): (u64, u64)) -> Duration {
    Duration::from_millis(dice.between(least, most))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_has_every_kind_of_fault_and_is_the_same_again() {
        let mut plans = (1..50).map(|seed| plan(&mut Dice::new(seed), 60));
        assert!(plans.all(|plan| {
            let has = |fault: &Fault| plan.contains(fault);
            plan.len() == 60 && Fault::ALL.iter().all(|(fault, _, _)| has(fault))
        }));
        let again = || plan(&mut Dice::new(7), 60);
        assert_eq!(again(), again());
    }
}
