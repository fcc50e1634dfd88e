//! What asks a worker to stop.
//!
//! Owns the reading of SIGTERM and SIGINT: the first one drains, the next one gives everything back
//! now.

use std::io;

use futures::{Stream, stream};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// How a worker is asked to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Finish what runs within the drain timeout, give back the rest, leave.
    Drain,
    /// Give back everything now, and leave.
    Release,
}

/// The stops that the operating system's signals ask for: [`Stop::Drain`] at the first SIGTERM or
/// SIGINT, [`Stop::Release`] at each further one. From here on neither ends the process by itself.
///
/// # Errors
///
/// Where the handlers cannot be installed.
pub fn stops() -> io::Result<impl Stream<Item = Stop> + Send + Unpin> {
    let terminate = signal(SignalKind::terminate())?;
    let interrupt = signal(SignalKind::interrupt())?;
    let signals = (terminate, interrupt, Stop::Drain);
    Ok(Box::pin(stream::unfold(
        signals,
        |(mut terminate, mut interrupt, stop)| async move {
            either(&mut terminate, &mut interrupt).await?;
            Some((stop, (terminate, interrupt, Stop::Release)))
        },
    )))
}

async fn either(terminate: &mut Signal, interrupt: &mut Signal) -> Option<()> {
    tokio::select! {
        seen = terminate.recv() => seen,
        seen = interrupt.recv() => seen,
    }
}
