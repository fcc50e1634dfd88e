//! SIGTERM and SIGINT, as something to wait for.
//!
//! The first one asks to stop in good order, the second one to stop at once. Nothing here ends the
//! process: `commands` returns and `main` does.

use std::{io, process::ExitCode};

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{exit, output};

/// Both signals, from the moment of [`Signals::listen`].
#[derive(Debug)]
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Takes both signals over from the operating system's default, which ends the process.
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next of them and answers its name.
    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }

    /// Lets a stop in good order finish, unless another signal comes first: `None` then.
    pub(crate) async fn unless_again<T>(&mut self, stop: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            done = stop => Some(done),
            name = self.next() => {
                output::note(&format!("redrive: {name} again: stopping at once"));
                None
            }
        }
    }
}

/// The code of a process that a second signal stopped at once.
pub(crate) fn interrupted() -> ExitCode {
    ExitCode::from(exit::INTERRUPTED)
}
