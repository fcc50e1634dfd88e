//! What can happen, and how often: to a network, to a worker's process, to the coordinator's, and by
//! clients that behave badly.
//!
//! Owns each fault from its beginning to its end, but for weather and for what rude clients keep open,
//! which may outlast the next faults. Draws all of it from the dice that it is given.

use std::time::Duration;

use super::stage::{GRACE, Stage};
use crate::{
    Dice,
    load::{huge, rude},
    proxy::{Cut, Way, Weather},
    wait::lasting,
};

/// The shortest and the longest that a fault lasts which is to be borne, in milliseconds.
const SHORT_MS: (u64, u64) = (50, 600);
/// The same of one that is not.
const LONG_MS: (u64, u64) = (300, 900);
/// Things seen between two faults, at the most.
const SEEN_MAX: u64 = 200;
/// The longest time between two faults.
const PAUSE_MAX: Duration = Duration::from_millis(400);
/// The same after a coordinator was started again: whoever was away comes back.
const RETURN_MAX: Duration = Duration::from_millis(1500);
/// How long a network stays bad with nothing else happening.
const WEATHER_MS: (u64, u64) = (100, 1500);
/// Clients that come in a crowd.
const CROWD: u64 = 40;
/// Huge clients of an episode: their tasks are all looked at in the end.
const HUGE_PER_MILLE: u64 = 300;

/// One fault, and a while after it.
pub(super) async fn strike(stage: &mut Stage, dice: &mut Dice) {
    match dice.between(0, 100) {
        0..38 => weather(stage, dice).await,
        38..50 => cut(stage, dice),
        50..62 => worker(stage, dice).await,
        62..75 => coordinator(stage, dice).await,
        _ => rudeness(stage, dice).await,
    }
    let more = dice.between(1, SEEN_MAX);
    stage.meanwhile(more, PAUSE_MAX).await;
}

/// A network gets worse, or better; for all its connections and those to come, or for one.
async fn weather(stage: &mut Stage, dice: &mut Dice) {
    let (name, weather) = any_weather(dice);
    let network = dice.between(0, stage.networks.len() as u64);
    let network = usize::try_from(network).unwrap();
    let all = dice.chance(600);
    if all {
        stage.networks[network].set(weather);
    } else {
        stage.networks[network].set_one(dice, weather);
    }
    stage.did(name);
    let stays = dice.chance(300);
    let time = between(dice, WEATHER_MS);
    stage.meanwhile(SEEN_MAX, time).await;
    if !stays {
        stage.networks[network].set(Weather::FAIR);
    }
}

fn any_weather(dice: &mut Dice) -> (&'static str, Weather) {
    let fair = Weather::FAIR;
    let half = if dice.chance(500) {
        Way::Held
    } else {
        Way::Swallowed
    };
    match dice.between(0, 7) {
        0 => {
            let latency = Duration::from_millis(dice.between(1, 150));
            let jitter = Duration::from_millis(dice.between(0, 150));
            let slow = Weather {
                latency,
                jitter,
                ..fair
            };
            ("slow network", slow)
        }
        1 => {
            let narrow = Weather {
                bytes_per_second: Some(dice.between(2_000, 400_000)),
                ..fair
            };
            ("narrow network", narrow)
        }
        2 => ("half open, up dead", Weather { up: half, ..fair }),
        3 => ("half open, down dead", Weather { down: half, ..fair }),
        4 => ("black hole", Weather::BLACK_HOLE),
        5 => {
            let untold = Weather {
                tells_ends: false,
                ..fair
            };
            ("ends untold", untold)
        }
        _ => ("fair again", fair),
    }
}

fn cut(stage: &mut Stage, dice: &mut Dice) {
    let (name, how) = if dice.chance(500) {
        ("cut by FIN", Cut::Closed)
    } else {
        ("cut by RST", Cut::Reset)
    };
    let network = dice.between(0, stage.networks.len() as u64);
    let network = &stage.networks[usize::try_from(network).unwrap()];
    if dice.chance(400) {
        network.cut_all(how);
    } else {
        network.cut_one(dice, how);
    }
    stage.did(name);
}

async fn worker(stage: &mut Stage, dice: &mut Dice) {
    let number = dice.between(0, stage.workers.len() as u64);
    let number = usize::try_from(number).unwrap();
    match dice.between(0, 3) {
        0 => {
            stage.workers[number].stop_short();
            let time = between(dice, SHORT_MS);
            stage.meanwhile(u64::MAX >> 1, time).await;
            stage.workers[number].go_on();
            stage.did("worker stopped shortly");
        }
        1 => {
            stage.workers[number].stop_short();
            let time = GRACE + between(dice, LONG_MS);
            stage.meanwhile(u64::MAX >> 1, time).await;
            stage.workers[number].go_on();
            stage.did("worker stopped beyond the grace");
        }
        _ => {
            stage.workers[number].replace();
            stage.did("worker killed");
        }
    }
}

async fn coordinator(stage: &mut Stage, dice: &mut Dice) {
    match dice.between(0, 5) {
        0 => {
            stage.coordinator.stop_short();
            lasting(between(dice, SHORT_MS)).await;
            stage.coordinator.go_on();
            stage.did("coordinator stopped shortly");
        }
        1 => {
            stage.coordinator.stop_short();
            lasting(GRACE + between(dice, LONG_MS)).await;
            stage.coordinator.go_on();
            stage.did("coordinator stopped beyond the grace");
        }
        2 => {
            stage.replace_coordinator();
            lasting(Duration::from_millis(dice.between(0, 120))).await;
            stage.replace_coordinator();
            stage.coordinator.ready().await;
            stage.did("coordinator killed");
            stage.did("coordinator killed at its start");
        }
        _ => {
            stage.replace_coordinator();
            stage.coordinator.ready().await;
            stage.did("coordinator killed");
        }
    }
    let more = dice.between(1, SEEN_MAX);
    stage.meanwhile(more, RETURN_MAX).await;
}

async fn rudeness(stage: &mut Stage, dice: &mut Dice) {
    let somebody = stage.somebody(dice);
    match dice.between(0, 7) {
        0 => {
            stage.keep(rude::watch_deafly(&somebody).await);
            stage.did("watcher that reads nothing");
        }
        1 => {
            stage.keep(rude::work_deafly(&somebody, dice.any()).await);
            stage.did("worker that reads nothing");
        }
        2 => {
            for _ in 0..CROWD {
                rude::vanish_in_a_call(&somebody, dice).await;
            }
            stage.did("clients vanish in calls");
        }
        3 => {
            rude::vanish_in_a_stream(&somebody, dice).await;
            stage.did("client vanishes in a stream");
        }
        4 => {
            for _ in 0..CROWD {
                let halfway = rude::stop_halfway(&stage.context).await;
                stage.keep(halfway);
            }
            stage.did("clients stop in their first words");
        }
        5 if dice.chance(HUGE_PER_MILLE) => {
            stage.join(huge::visit(somebody, Dice::new(dice.any())));
            stage.did("huge client");
        }
        _ => {
            let watched = rude::watch_deafly(&somebody).await;
            stage.did("client vanishes from a stream of answers");
            drop(watched);
        }
    }
}

fn between(dice: &mut Dice, (least, most): (u64, u64)) -> Duration {
    Duration::from_millis(dice.between(least, most))
}
