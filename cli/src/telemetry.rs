//! Logs: on stderr, text for a terminal and JSON lines for everything else.
//!
//! Set up once, before anything runs. The filter is `--log`, else `REDRIVE_LOG`, else `RUST_LOG`,
//! else a level by the kind of verb.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::{EnvFilter, fmt};

use crate::{
    args::{Global, LogFormat},
    exit,
};

/// Starts logging. `server` is true for what runs until it is told to stop.
///
/// # Errors
/// A usage error for a filter that cannot be read.
pub(crate) fn init(global: &Global, server: bool) -> anyhow::Result<()> {
    let default = if server { "info" } else { "warn" };
    let set = [&global.log, &global.rust_log];
    let text = set.into_iter().flatten().find(|text| !text.is_empty());
    let filter = EnvFilter::builder()
        .parse(text.map_or(default, String::as_str))
        .map_err(|error| exit::usage(format!("the log filter cannot be read: {error}")))?;
    let terminal = io::stderr().is_terminal();
    let format = global.log_format.unwrap_or(if terminal {
        LogFormat::Text
    } else {
        LogFormat::Json
    });
    // A reader of the log that goes away must not take the process with it: the complaint about it
    // would go to the same closed pipe, and panic.
    let logs = fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .log_internal_errors(false);
    let started = match format {
        LogFormat::Text => logs
            .with_ansi(terminal && !global.without_color())
            .try_init(),
        LogFormat::Json => logs.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("cannot start logging: {error}"))
}
