//! The engine's hot paths, counted in instructions: what guards its speed where clocks cannot.
//!
//! Owns the paths, and how their counts are compared with those that were counted before. A path is
//! walked by this process itself; who counts is callgrind, around a child ([`crate::hot::counted`]).
//! Invariants: a path does the same each time, whatever machine it is on; what comes before the
//! walk is the same for every length, so that the difference of two lengths is the walk's alone.

mod compare;
mod stage;

use std::hint::black_box;
use std::process::Command;

use redrive_coordinator::codec::{Decoder, Encoder};
use redrive_coordinator::engine::event::Recorded;

pub use compare::{compare, parse, printed};
use stage::{RETRY_MS, Stage};

/// Tasks of the shorter walk, and of the longer one.
const WALKS: (usize, usize) = (2_000, 4_000);
/// Tasks of one call where there are many.
const BATCH: usize = 100;

/// A path that every task takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Path {
    /// Accepted by a call of its own, which has a request id.
    Call,
    /// Accepted by a call of a hundred.
    Batch,
    /// Accepted by a hundred, delivered, begun, completed by a hundred.
    Cycle,
    /// The same, failing once before.
    Retry,
    /// Accepted for one instant, and delivered when that has come.
    Timer,
    /// The records of a cycle made bytes.
    Encode,
    /// The bytes of a cycle read and replayed.
    Replay,
}

impl Path {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Call,
        Self::Batch,
        Self::Cycle,
        Self::Retry,
        Self::Timer,
        Self::Encode,
        Self::Replay,
    ];

    /// Its name on the command line and in the table.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Call => "call",
            Self::Batch => "batch",
            Self::Cycle => "cycle",
            Self::Retry => "retry",
            Self::Timer => "timer",
            Self::Encode => "encode",
            Self::Replay => "replay",
        }
    }

    /// The path of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|path| path.name() == name)
    }

    /// Walks it with so many tasks.
    ///
    /// # Panics
    /// Where a task does not get where it should: then nothing was counted.
    pub fn walk(self, tasks: usize) {
        match self {
            Self::Call => {
                let mut stage = Stage::set();
                (0..tasks).for_each(|number| stage.enqueue_one(number));
                stage.assert_waiting(tasks);
            }
            Self::Batch => {
                let mut stage = Stage::set();
                stage.enqueue_all(tasks, 0);
                stage.assert_waiting(tasks);
            }
            Self::Cycle => drop(cycle(tasks, false)),
            Self::Retry => drop(cycle(tasks, true)),
            Self::Timer => {
                let mut stage = Stage::set();
                stage.enqueue_all(tasks, 60_000);
                stage.pass(60_000);
                stage.work(tasks, false);
                stage.assert_waiting(0);
            }
            Self::Encode => {
                let records = cycle(WALKS.1, false);
                let own = records.len() / WALKS.1 * tasks;
                let mut bytes = Vec::with_capacity(1 << 22);
                for record in &records[..own] {
                    bytes.clear();
                    Encoder.encode(black_box(record), &mut bytes);
                }
                black_box(&bytes);
            }
            Self::Replay => {
                let records = cycle(WALKS.1, false);
                let frames: Vec<Vec<u8>> = records.iter().map(encoded).collect();
                // A whole log of that many tasks: some records are of no task.
                let own = records.len() / WALKS.1 * tasks;
                let mut stage = Stage::empty();
                let mut decoder = Decoder::new();
                for frame in &frames[..own] {
                    let record = decoder.decode(black_box(frame)).expect("encoded above");
                    stage.replay(&record);
                }
            }
        }
    }
}

fn encoded(record: &Recorded) -> Vec<u8> {
    let mut bytes = Vec::new();
    Encoder.encode(record, &mut bytes);
    bytes
}

/// What so many tasks that run to their end leave in the journal.
fn cycle(tasks: usize, fails: bool) -> Vec<Recorded> {
    let mut stage = Stage::set();
    for _ in 0..tasks.div_ceil(BATCH) {
        stage.enqueue_all(BATCH, 0);
        if fails {
            stage.work(BATCH, true);
            stage.pass(RETRY_MS);
        }
        stage.work(BATCH, false);
    }
    stage.assert_waiting(0);
    stage.records
}

/// Instructions for each task of a path, counted by callgrind around two children of `program`,
/// which walk it by `walk NAME TASKS`.
///
/// # Errors
/// Where there is no valgrind, or it counts nothing.
pub fn counted(program: &str, path: Path) -> Result<u64, String> {
    let count = |tasks: usize| -> Result<u64, String> {
        let output = Command::new("valgrind")
            .args([
                "--tool=callgrind",
                "--callgrind-out-file=/dev/null",
                program,
            ])
            .args(["walk", path.name(), &tasks.to_string()])
            .output()
            .map_err(|error| format!("valgrind cannot be run ({error}); install it"))?;
        let words = String::from_utf8_lossy(&output.stderr);
        let collected = words
            .lines()
            .find_map(|line| line.split_once("Collected :"));
        let (_, number) = collected
            .filter(|_| output.status.success())
            .ok_or_else(|| format!("callgrind counted nothing:\n{words}"))?;
        let number = number.trim().parse();
        number.map_err(|error| format!("{error} in\n{words}"))
    };
    let (short, long) = WALKS;
    let walked = (long - short) as u64;
    Ok(count(long)?.saturating_sub(count(short)?) / walked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_can_be_walked() {
        for path in Path::ALL {
            path.walk(BATCH * 2);
            assert_eq!(Path::named(path.name()), Some(path));
        }
        assert_eq!(Path::named("moon"), None);
    }
}
