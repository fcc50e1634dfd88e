//! Fuzzing: inputs kept in a corpus, and many more made of them, given to something that must never
//! panic.
//!
//! Owns how inputs are found and changed. Never knows what an input means: a target does, and says
//! by a panic that something does not hold. Two engines run the same targets: a plain `cargo test`
//! gives each the whole corpus and a fixed number of changed inputs, the same ones every time; a
//! build with `--cfg fuzzing` (`.ci/fuzz`) hands the target to libFuzzer, which is led by coverage
//! and stops when it is told to.

#[cfg(not(fuzzing))]
mod changes;

use std::path::Path;

#[cfg(not(fuzzing))]
use rand::{SeedableRng as _, rngs::StdRng};

use crate::engine::{EngineConfig, retry::presets};

/// Bytes of an input, at most.
pub(super) const INPUT_BYTES_MAX: usize = 16 << 10;

/// Something to be fuzzed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target<'a> {
    /// The folder with its inputs, relative to the package.
    pub(crate) corpus: &'a str,
    /// How many changed inputs a plain test gives it.
    pub(crate) tries: u64,
    /// Makes inputs of real things, from which the corpus began.
    pub(crate) seeds: fn() -> Vec<Vec<u8>>,
}

/// Gives the target inputs until one makes it panic, or the engine has enough.
///
/// # Panics
/// Where the target does, or the corpus is not there.
#[cfg(fuzzing)]
pub(crate) fn run(target: &Target<'_>, check: fn(&[u8])) {
    // Set by `.ci/fuzz seeds`, and by nothing else.
    let seeds_to = std::env::var_os("REDRIVE_FUZZ_SEEDS_TO");
    if let Some(folder) = seeds_to {
        for (number, seed) in (target.seeds)().iter().enumerate() {
            let file = Path::new(&folder).join(format!("seed-{number:03}"));
            std::fs::write(file, seed).expect("the folder can be written to");
        }
        return;
    }
    let _plain = target.tries;
    bolero::check!(name = target.corpus).for_each(|input: &[u8]| check(input));
}

/// Gives the target its corpus and then a fixed number of changed inputs, the same ones every time.
///
/// # Panics
/// Where the target does, or the corpus is not there.
#[cfg(not(fuzzing))]
pub(crate) fn run(target: &Target<'_>, check: fn(&[u8])) {
    let corpus = read_corpus(&Path::new(env!("CARGO_MANIFEST_DIR")).join(target.corpus));
    assert!(!corpus.is_empty(), "{} has no inputs", target.corpus);
    let mut pool: Vec<Vec<u8>> = corpus.into_iter().map(|(_, input)| input).collect();
    pool.extend((target.seeds)());
    for input in &pool {
        try_input(input, check);
    }
    let seed = target.corpus.bytes().map(u64::from).sum();
    let mut dice = StdRng::seed_from_u64(seed);
    for _ in 0..target.tries {
        let input = changes::changed(&pool, &mut dice);
        try_input(&input, check);
    }
}

/// The inputs in a folder, by name.
#[cfg(not(fuzzing))]
fn read_corpus(folder: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let files = std::fs::read_dir(folder).expect("the corpus is there");
    let read = |file: std::io::Result<std::fs::DirEntry>| {
        let path = file.expect("the folder can be read").path();
        let input = std::fs::read(&path).expect("inputs can be read");
        (path, input)
    };
    let mut inputs: Vec<_> = files.map(read).collect();
    inputs.sort();
    inputs
}

#[cfg(not(fuzzing))]
fn try_input(input: &[u8], check: fn(&[u8])) {
    let blame = Blame(input);
    check(input);
    drop(blame);
}

/// Shows the input while a panic goes by.
#[cfg(not(fuzzing))]
struct Blame<'a>(&'a [u8]);

#[cfg(not(fuzzing))]
impl Drop for Blame<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let hex: String = self.0.iter().map(|byte| format!("{byte:02x}")).collect();
            eprintln!("this input fails (xxd -r -p makes a file of it):\n{hex}");
        }
    }
}

/// What an engine that is fuzzed is made with: what a coordinator has unless told otherwise.
pub(crate) fn engine_config(shard_count: u16) -> EngineConfig {
    EngineConfig::for_tests(shard_count, presets::named("recommended").unwrap())
}
