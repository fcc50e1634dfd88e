//! One direction of one connection.
//!
//! Owns what is on its way. Never reorders it, and never holds more than [`CHUNKS_MAX`] chunks: then
//! it reads no further, as a network whose buffers are full.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::{Link, State, Way, Weather};
use crate::dice::Dice;

/// Bytes that are forwarded at once.
const CHUNK_BYTES: usize = 16 * 1024;
/// Chunks on their way at once.
const CHUNKS_MAX: usize = 64;

/// Some bytes and when they arrive.
type Chunk = (Instant, Vec<u8>);

/// Forwards until either end is gone; where the network does not tell of that, until it does.
pub(super) async fn pump(
    (from, to): (impl AsyncRead + Unpin, impl AsyncWrite + Unpin),
    link: &Link,
    way: impl Fn(&Weather) -> Way,
    dice: Dice,
) {
    let (chunks, due) = mpsc::channel(CHUNKS_MAX);
    let state = link.state.subscribe();
    let written = write(due, to, link, way);
    // The writer ends when it has written what was read before the end.
    tokio::join!(read(from, chunks, state, dice), written);
    // Where ends are not told of, the other end hears of this one when they are again, or by a cut.
    let mut state = link.state.subscribe();
    drop(state.wait_for(|state| state.weather.tells_ends).await);
}

async fn read(
    mut from: impl AsyncRead + Unpin,
    chunks: mpsc::Sender<Chunk>,
    state: watch::Receiver<State>,
    mut dice: Dice,
) {
    let mut bytes = vec![0; CHUNK_BYTES];
    let mut free = now();
    let mut last = free;
    loop {
        let count = tokio::select! {
            count = from.read(&mut bytes) => count,
            () = chunks.closed() => return,
        };
        let Ok(count @ 1..) = count else {
            return;
        };
        let weather = state.borrow().weather;
        free = free.max(now()) + passage(&weather, count);
        let jitter_us = u64::try_from(weather.jitter.as_micros()).unwrap_or(u64::MAX);
        let jitter = Duration::from_micros(dice.between(0, jitter_us.saturating_add(1)));
        last = last.max(free + weather.latency + jitter);
        if chunks.send((last, bytes[..count].to_vec())).await.is_err() {
            return;
        }
    }
}

/// How long so many bytes take to pass.
fn passage(weather: &Weather, bytes: usize) -> Duration {
    let per_second = weather.bytes_per_second.unwrap_or(u64::MAX).max(1);
    let nanos = (bytes as u64).saturating_mul(1_000_000_000) / per_second;
    Duration::from_nanos(nanos)
}

async fn write(
    mut due: mpsc::Receiver<Chunk>,
    mut to: impl AsyncWrite + Unpin,
    link: &Link,
    way: impl Fn(&Weather) -> Way,
) {
    let mut state = link.state.subscribe();
    let mut holed = false;
    while let Some((at, bytes)) = due.recv().await {
        sleep_until(at).await;
        let passes = state.wait_for(|state| way(&state.weather) != Way::Held);
        let Ok(way) = passes.await.map(|state| way(&state.weather)) else {
            return;
        };
        match way {
            Way::Swallowed => {
                holed = true;
                link.spoil();
            }
            // No byte arrives behind a hole.
            Way::Open | Way::Held if holed => {}
            Way::Open | Way::Held => {
                if to.write_all(&bytes).await.is_err() {
                    return;
                }
            }
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the network's own clock")]
fn now() -> Instant {
    Instant::now()
}
