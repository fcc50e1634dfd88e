//! The `redrive` binary: reads the command line, starts logging and a runtime, runs one verb, and
//! turns what came of it into an exit code.
//!
//! Read `args` for the verbs, `commands` for what each does, `output` for what is printed.

mod args;
mod bench;
mod clock;
mod commands;
mod confirm;
mod context;
mod demo;
mod descriptors;
mod enqueue_file;
mod exit;
mod files;
mod listing;
mod output;
mod policy_text;
mod processes;
mod signals;
mod telemetry;
mod values;

use std::process::ExitCode;

use clap::Parser as _;
use mimalloc::MiMalloc;

use crate::args::Cli;

// A task is allocated on one thread and freed on another several times on its way, which the
// system's allocator is slow at: docs/performance.md has the figures.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    run(Cli::parse()).unwrap_or_else(|error| exit::report(&error))
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    telemetry::init(&cli.global, cli.command.is_server())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let result = runtime.block_on(commands::run(cli));
    // What still runs here was told to stop, or asked to be left behind by a second signal.
    runtime.shutdown_background();
    result
}
