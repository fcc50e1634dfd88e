//! The simulator: a coordinator and all who work with it, in one thread, from one seed.
//!
//! Owns the world: many producers, workers and operators around one coordinator, which is the real
//! engine, the real turns, the real journal code on a simulated disk and the real cleaning. The
//! network drops, delays, repeats and cuts; workers crash, stall, lie and come back; the disk fails,
//! tears and fills; the clock jumps; the coordinator is killed at any write. Then the faults stop and
//! everything must come to an end. Never sleeps, spawns or reads a clock. Invariant: the same seed is
//! the same run, byte for byte.
//!
//! [`run`] is one seed; `cargo run -p redrive-tests --release --bin swarm` runs as many as one likes.

pub mod agenda;
mod calls;
mod checks;
mod cleaner;
mod clock;
mod ears;
mod faults;
mod judge;
mod links;
mod operator;
mod plan;
mod producer;
mod server;
pub mod situations;
mod trace;
mod unary;
mod values;
mod worker;
pub mod world;

pub use plan::Plan;
pub use situations::{Seen, Situation};
use world::World;

/// What happens in the world of one seed, until the faults stop.
pub const EVENTS: u64 = 20_000;
/// How often everything is counted anew, in events.
pub const CHECK_EVERY: u64 = 1000;

/// What came of a seed.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// What was wrong; empty is good.
    pub violations: Vec<String>,
    /// What happened in all.
    pub events: u64,
    /// What the coordinator recorded.
    pub records: u64,
    /// A sum of all that happened.
    pub trace: u64,
    /// The situations that were seen.
    pub seen: Seen,
    /// All of it as text, where it was asked for.
    pub story: Vec<String>,
}

impl Outcome {
    /// A seed whose run broke off: an assertion did not hold.
    #[must_use]
    pub fn panicked(seed: u64, says: String) -> Self {
        Self {
            seed,
            violations: vec![says],
            events: 0,
            records: 0,
            trace: 0,
            seen: Seen::default(),
            story: Vec::new(),
        }
    }
}

/// How a seed is run.
#[derive(Clone, Copy, Debug)]
pub struct Course {
    /// What happens until the faults stop.
    pub events: u64,
    /// Everything is counted anew after so much.
    pub check_every: u64,
    /// Whether all of it is to be told as text.
    pub story: bool,
}

impl Default for Course {
    fn default() -> Self {
        Self {
            events: EVENTS,
            check_every: CHECK_EVERY,
            story: false,
        }
    }
}

/// Runs the world of a seed: under faults, then until everything has come to an end. Stops at the
/// first thing that is wrong.
#[must_use]
pub fn run(seed: u64, course: Course) -> Outcome {
    let mut world = World::new(seed);
    world.judge.story = course.story.then(Vec::new);
    while world.events < course.events && world.judge.is_content() && world.step() {
        if world.events.is_multiple_of(course.check_every) {
            world.check_everything();
        }
    }
    if world.judge.is_content() {
        world.heal();
        world.check_everything();
        world.judge.drained();
    }
    Outcome {
        seed,
        violations: world.judge.violations(),
        events: world.events,
        records: world.judge.records(),
        trace: world.trace(),
        seen: world.seen.clone(),
        story: world.judge.story.take().unwrap_or_default(),
    }
}

/// The seeds that failed once, from `regressions.txt`.
#[must_use]
pub fn regressions() -> Vec<u64> {
    let lines = include_str!("../../regressions.txt").lines();
    let seeds = lines.filter(|line| !line.starts_with('#'));
    seeds.filter_map(|line| line.trim().parse().ok()).collect()
}
