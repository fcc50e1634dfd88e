//! Counts the instructions of the engine's hot paths, and compares them with `tests/instructions.txt`.
//!
//! Owns the flags and the file. What is counted is `redrive_tests::hot`. Run it in a release build;
//! it needs valgrind.

#![expect(clippy::print_stdout, reason = "its words are its purpose")]

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::{env, fs};

use clap::{Parser, Subcommand};
use redrive_tests::hot::{Path, compare, counted, parse, printed};

/// Where the counts are kept.
const TABLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/instructions.txt");

/// Counts the instructions of the engine's hot paths.
#[derive(Debug, Parser)]
struct Args {
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// Counts and compares; fails where a path takes more than before.
    Check,
    /// Counts and writes the table anew.
    Write,
    /// Walks a path, to be counted or profiled.
    Walk {
        /// Which: call, batch, cycle, retry, timer, encode, replay.
        #[arg(value_parser = |name: &str| Path::named(name).ok_or("no such path"))]
        path: Path,
        /// With how many tasks.
        tasks: usize,
    },
}

fn main() -> ExitCode {
    match Args::parse().act {
        Act::Walk { path, tasks } => {
            path.walk(tasks);
            ExitCode::SUCCESS
        }
        Act::Check => told(counts().and_then(|now| {
            let before = parse(&fs::read_to_string(TABLE).map_err(|error| error.to_string())?)?;
            let (text, well) = compare(&before, &now);
            print!("{text}");
            if well {
                Ok(())
            } else {
                Err("a path takes more than before".to_owned())
            }
        })),
        Act::Write => told(counts().and_then(|now| {
            let text = printed(&now);
            print!("{text}");
            fs::write(TABLE, text).map_err(|error| error.to_string())
        })),
    }
}

fn counts() -> Result<BTreeMap<Path, u64>, String> {
    let program = env::current_exe().map_err(|error| error.to_string())?;
    let program = program.to_str().ok_or("a path that is no text")?;
    let count = |path| Ok((path, counted(program, path)?));
    Path::ALL.into_iter().map(count).collect()
}

fn told(result: Result<(), String>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}
