//! Runs the simulator over many seeds, on all cores, for as long as one likes.
//!
//! Owns the choice of seeds, the threads and what is printed. What a seed means is
//! `redrive_tests::sim`. A seed that fails is printed with the command that runs it again.

#![expect(clippy::print_stdout, reason = "its words are its purpose")]

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use clap::Parser;
use redrive_tests::sim::situations::SEEN_MIN;
use redrive_tests::sim::{self, Course, Outcome, Seen};

/// Failing seeds that are printed.
const FAILURES_MAX: usize = 20;
/// Of so many seeds one is run twice, and must be the same run.
const TWICE_EVERY: u64 = 100;

/// Runs the simulator over many seeds.
#[derive(Debug, Parser)]
struct Args {
    /// For how many minutes.
    #[arg(long, conflicts_with = "seeds")]
    minutes: Option<u64>,
    /// How many seeds [default: 1000].
    #[arg(long)]
    seeds: Option<u64>,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Only this seed, with all that is known of it.
    #[arg(long, conflicts_with_all = ["minutes", "seeds", "from"])]
    seed: Option<u64>,
    /// Print everything that the coordinator of that seed is asked, records and answers.
    #[arg(long, requires = "seed")]
    story: bool,
    /// What happens in a seed's world until the faults stop.
    #[arg(long, default_value_t = sim::EVENTS)]
    events: u64,
    /// Everything is counted anew after so much.
    #[arg(long, default_value_t = sim::CHECK_EVERY)]
    check_every: u64,
    /// Threads [default: one for each core].
    #[arg(long)]
    jobs: Option<usize>,
    /// Plant each bug of the coordinator's list, one after another, and run seeds until one fails:
    /// a bug that survives so many seeds fails the run. Needs `--features mutants`.
    #[cfg(feature = "mutants")]
    #[arg(long, value_name = "SEEDS", conflicts_with_all = ["minutes", "seeds", "seed"])]
    mutants: Option<u64>,
    /// Also fail where a situation that must happen was seen less than 100 times.
    #[arg(long)]
    must_happen: bool,
}

/// What came of all seeds.
#[derive(Default)]
struct Sum {
    seeds: u64,
    events: u64,
    records: u64,
    seen: Seen,
    failed: Vec<Outcome>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let course = Course {
        events: args.events,
        check_every: args.check_every,
        story: args.story,
    };
    #[cfg(feature = "mutants")]
    if let Some(seeds) = args.mutants {
        return mutants::hunt(seeds, course);
    }
    if let Some(seed) = args.seed {
        return one(seed, course);
    }
    let (sum, took) = many(&args, course);
    report(&args, &sum, took)
}

fn one(seed: u64, course: Course) -> ExitCode {
    let outcome = sim::run(seed, course);
    for line in &outcome.story {
        println!("{line}");
    }
    println!("{:#?}", sim::Plan::of(seed));
    println!(
        "seed {seed}: {} events, {} records, trace {:016x}",
        outcome.events, outcome.records, outcome.trace
    );
    for violation in &outcome.violations {
        println!("{violation}");
    }
    if outcome.violations.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "how long it may take is measured"
)]
fn many(args: &Args, course: Course) -> (Sum, Duration) {
    let began = std::time::Instant::now();
    let limit = args
        .minutes
        .map(|minutes| Duration::from_secs(minutes * 60));
    let seeds = args.seeds.unwrap_or(1000);
    let next = AtomicU64::new(args.from);
    let sum = Mutex::new(Sum::default());
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    for seed in sim::regressions() {
        let mut sum = sum.lock().unwrap_or_else(PoisonError::into_inner);
        add(&mut sum, judged(seed, course));
    }
    std::thread::scope(|scope| {
        for _ in 0..args.jobs.unwrap_or_else(cores) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    let over = match limit {
                        Some(limit) => began.elapsed() >= limit,
                        None => seed >= args.from + seeds,
                    };
                    if over {
                        return;
                    }
                    let outcome = judged(seed, course);
                    let mut sum = sum.lock().unwrap_or_else(PoisonError::into_inner);
                    add(&mut sum, outcome);
                }
            });
        }
    });
    let sum = sum.into_inner().unwrap_or_else(PoisonError::into_inner);
    (sum, began.elapsed())
}

/// Runs a seed, now and then twice; an assertion of the engine that fails is a violation too.
fn judged(seed: u64, course: Course) -> Outcome {
    let run = || std::panic::catch_unwind(|| sim::run(seed, course));
    let mut outcome = match run() {
        Ok(outcome) => outcome,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            return Outcome::panicked(seed, text.unwrap_or_default());
        }
    };
    if seed.is_multiple_of(TWICE_EVERY) && run().is_ok_and(|again| again.trace != outcome.trace) {
        outcome
            .violations
            .push("the same seed was another run".to_owned());
    }
    outcome
}

fn add(sum: &mut Sum, outcome: Outcome) {
    sum.seeds += 1;
    sum.events += outcome.events;
    sum.records += outcome.records;
    sum.seen.add(&outcome.seen);
    if !outcome.violations.is_empty() {
        let again = "cargo run -p redrive-tests --release --bin swarm -- --seed";
        if sum.failed.len() < FAILURES_MAX {
            println!("seed {}: {}", outcome.seed, outcome.violations.join("; "));
            println!("  {again} {}", outcome.seed);
        }
        sum.failed.push(outcome);
    }
}

fn report(args: &Args, sum: &Sum, took: Duration) -> ExitCode {
    let seconds = took.as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    let rate = sum.events as f64 / seconds;
    println!(
        "{} seeds, {} events, {} records in {seconds:.0} s ({rate:.0} events/s); {} failed",
        sum.seeds,
        sum.events,
        sum.records,
        sum.failed.len()
    );
    let rare = sum.seen.rarer_than(SEEN_MIN);
    for (what, seen) in &rare {
        println!("rare: {what:?} was seen {seen} times");
    }
    if sum.failed.is_empty() && (!args.must_happen || rare.is_empty()) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Planted bugs, each of which some seed must find.
#[cfg(feature = "mutants")]
mod mutants {
    use std::process::ExitCode;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    use std::sync::{Mutex, PoisonError};

    use redrive_coordinator::mutants::{Mutant, plant};
    use redrive_tests::sim::{Course, Outcome};

    /// Plants one bug after another, and says what found each.
    pub(crate) fn hunt(seeds: u64, course: Course) -> ExitCode {
        // What a planted bug breaks off is expected, and told below.
        std::panic::set_hook(Box::new(|_| {}));
        let mut alive = 0;
        for (number, (mutant, says)) in (1..).zip(Mutant::ALL) {
            plant(Some(*mutant));
            match first_failure(seeds, course) {
                Some(outcome) => {
                    let by = outcome.violations.first().map_or("", String::as_str);
                    let by: String = by.chars().take(90).collect();
                    println!("{number:2} {mutant:?}: seed {} ({by})", outcome.seed);
                }
                None => {
                    alive += 1;
                    println!("{number:2} {mutant:?} LIVES after {seeds} seeds:{says}");
                }
            }
        }
        plant(None);
        println!("{} planted, {alive} alive", Mutant::ALL.len());
        if alive == 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }

    /// The failing seed with the lowest number that was found before others stopped the search.
    fn first_failure(seeds: u64, course: Course) -> Option<Outcome> {
        let (next, found) = (AtomicU64::new(0), AtomicBool::new(false));
        let first: Mutex<Option<Outcome>> = Mutex::new(None);
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    while !found.load(Ordering::Relaxed) {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= seeds {
                            return;
                        }
                        let outcome = super::judged(seed, course);
                        if outcome.violations.is_empty() {
                            continue;
                        }
                        found.store(true, Ordering::Relaxed);
                        let mut first = first.lock().unwrap_or_else(PoisonError::into_inner);
                        if first.as_ref().is_none_or(|other| other.seed > seed) {
                            *first = Some(outcome);
                        }
                    }
                });
            }
        });
        first.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}
