//! What real processes and real networks do to a coordinator, from a seed: and in the end nothing is
//! lost, nothing was done twice, and the books balance.
//!
//! Owns the course: a stage is set, faults come one after the other while everybody works, then they
//! stop, everything must finish, and [`crate::history::check`] judges what was seen. `faults` is what
//! can happen, `sleep` a coordinator that sleeps, `flood` clients that take all they can get. Never
//! decides what is right. Invariants: which fault comes after which, and how, is drawn from the seed
//! alone; what it meets is up to the machine, so that a seed repeats the faults and not every moment. All traffic
//! stays on 127.0.0.1.

mod faults;
pub mod flood;
pub mod sleep;
mod stage;

use std::{collections::BTreeMap, fmt, path::PathBuf};

use crate::{
    Dice,
    history::{
        Entry,
        check::{self, Rule, Violation},
        summary,
    },
    load::{self, Context},
    process::Setup,
};
use stage::Stage;

/// Violations that are told.
const VIOLATIONS_TOLD: usize = 20;

/// What an episode is made of.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The binary: coordinator and workers.
    pub program: String,
    /// Where its files go.
    pub folder: PathBuf,
    /// Of all chance.
    pub seed: u64,
    /// How many faults come.
    pub faults: u32,
}

/// What an episode was.
#[derive(Clone, Debug)]
pub struct Report {
    /// Of all chance.
    pub seed: u64,
    /// Faults done, by kind.
    pub faults: BTreeMap<&'static str, u32>,
    /// What was seen, by sort.
    pub seen: BTreeMap<&'static str, usize>,
    /// What was promised and not kept; empty is good.
    pub violations: Vec<Violation>,
    /// The most memory that a coordinator had, in bytes; 0 where the machine does not say.
    pub memory_peak_bytes: u64,
    /// The last lines of the coordinator's log.
    pub last_words: String,
}

impl Report {
    /// Of an episode that is over: what everybody saw is judged.
    fn of(
        entries: &[Entry],
        seed: u64,
        faults: impl IntoIterator<Item = (&'static str, u32)>,
        (memory_peak_bytes, setup): (u64, &Setup),
    ) -> Self {
        Self {
            seed,
            faults: faults.into_iter().collect(),
            seen: summary(entries),
            violations: check::violations(entries, check::Drained::Yes),
            memory_peak_bytes,
            last_words: setup.last_words(),
        }
    }

    /// Faults done.
    #[must_use]
    pub fn faults_total(&self) -> u32 {
        self.faults.values().sum()
    }

    /// How many of a sort were seen.
    #[must_use]
    pub fn count(&self, sort: &str) -> usize {
        self.seen.get(sort).copied().unwrap_or(0)
    }

    /// Whether a rule was broken.
    #[must_use]
    pub fn breaks(&self, rule: Rule) -> bool {
        self.violations.iter().any(|one| one.rule == rule)
    }

    /// # Panics
    /// Where a promise was not kept.
    pub fn assert_kept(&self) {
        assert!(self.violations.is_empty(), "{self}\n{}", self.last_words);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "seed {:#x}: {} faults {:?}; seen {:?}; at most {} MiB; {} promises broken",
            self.seed,
            self.faults_total(),
            self.faults,
            self.seen,
            self.memory_peak_bytes >> 20,
            self.violations.len()
        )?;
        for violation in self.violations.iter().take(VIOLATIONS_TOLD) {
            write!(f, "\n  {violation}")?;
        }
        Ok(())
    }
}

/// The command that repeats an episode, for people.
#[must_use]
pub fn command(seed: u64, faults: u32) -> String {
    format!(
        "cargo build -p redrive && cargo run -p redrive-tests --bin chaos -- --seed {seed:#x} \
         --faults {faults} --episodes 1"
    )
}

/// Plays an episode.
///
/// # Panics
/// Where something ends that must not, or does not end that must.
pub async fn episode(settings: &Settings) -> Report {
    let mut dice = Dice::new(settings.seed);
    let mut stage = Stage::set(settings, &mut dice).await;
    for fault in faults::plan(&mut dice, settings.faults) {
        let own = Dice::new(dice.any());
        faults::strike(&mut stage, fault, own).await;
    }
    stage.finish().await
}

/// What is said of the kinds of tasks that ends make stays said.
async fn prepared(context: &Context) -> Vec<redrive_client::v1::Kind> {
    load::prepare(context).await
}
