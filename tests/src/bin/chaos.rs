//! Chaos for as long as one likes: episode after episode, each from the next seed.
//!
//! Owns the flags and what is printed. Everything else is `redrive_tests::chaos`. Needs the binary
//! `redrive` beside its own, or where `--redrive` says: `cargo build -p redrive` makes it.

#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a tool for people, who wait by the clock"
)]

use std::{
    collections::BTreeMap,
    env,
    path::PathBuf,
    time::{Duration, Instant},
};

use clap::{Parser, ValueEnum};
use redrive_tests::chaos::{self, Report, Settings, flood, sleep};

/// Plays chaos against real processes, and ends with the first promise that is broken.
#[derive(Debug, Parser)]
struct Args {
    /// The first seed; each episode takes the next one
    #[arg(long, default_value = "1", value_parser = seed)]
    seed: u64,
    /// Episodes [default: until the time is over]
    #[arg(long)]
    episodes: Option<u64>,
    /// No episode begins after so many minutes
    #[arg(long, default_value_t = 1)]
    minutes: u64,
    /// What is played
    #[arg(long, value_enum, default_value_t = Course::Faults)]
    course: Course,
    /// Faults of an episode, where faults are played
    #[arg(long, default_value_t = 60)]
    faults: u32,
    /// The binary of Redrive [default: the one beside this one]
    #[arg(long)]
    redrive: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Course {
    /// Bad networks, stopped and killed processes, rude clients
    Faults,
    /// A coordinator that sleeps beyond the grace
    Sleep,
    /// Clients that take all they can get
    Flood,
}

async fn play(course: Course, settings: &Settings) -> Report {
    match course {
        Course::Faults => chaos::episode(settings).await,
        Course::Sleep => sleep::episode(settings).await,
        Course::Flood => flood::episode(settings).await,
    }
}

fn seed(text: &str) -> Result<u64, std::num::ParseIntError> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    }
}

fn main() {
    let args = Args::parse();
    let beside = env::current_exe().unwrap().with_file_name("redrive");
    let program = args.redrive.unwrap_or(beside);
    assert!(program.exists(), "no {program:?}: cargo build -p redrive");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let runtime = runtime.unwrap();
    let began = Instant::now();
    let time = Duration::from_secs(args.minutes * 60);
    let mut totals: BTreeMap<&'static str, u64> = BTreeMap::new();
    let mut episodes = 0;
    while args
        .episodes
        .map_or(began.elapsed() < time, |most| episodes < most)
    {
        let settings = Settings {
            program: program.to_str().unwrap().to_owned(),
            folder: env::temp_dir(),
            seed: args.seed + episodes,
            faults: args.faults,
        };
        println!(
            "{}, {:?}",
            chaos::command(settings.seed, settings.faults),
            args.course
        );
        let report = runtime.block_on(play(args.course, &settings));
        println!("{report}");
        report.assert_kept();
        for (name, count) in &report.faults {
            *totals.entry(name).or_default() += u64::from(*count);
        }
        for (name, count) in &report.seen {
            *totals.entry(name).or_default() += *count as u64;
        }
        episodes += 1;
    }
    println!("{episodes} episodes in {:?}: {totals:?}", began.elapsed());
}
