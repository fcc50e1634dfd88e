//! The three pipes of a command.
//!
//! Owns what goes in and what is kept of what comes out, within bounds. Always reads to the end: a
//! command never hangs because nobody wants its output.

use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, ChildStderr, ChildStdin, ChildStdout},
};

use super::STDERR_LINES_MAX;

/// How much of the end of the standard error is kept.
const STDERR_BYTES_MAX: usize = 8_192;
/// How much is read at once.
const CHUNK_BYTES: usize = 16_384;

#[derive(Debug)]
pub(super) struct Pipes {
    stdin: Option<ChildStdin>,
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
    payload: Bytes,
    output: Kept,
    errors: Kept,
}

/// What is kept of an output.
#[derive(Debug)]
struct Kept {
    bytes: Vec<u8>,
    max: usize,
    /// Which end is kept: the last bytes, else the first.
    last: bool,
    /// True where not everything was kept.
    cut: bool,
}

impl Pipes {
    pub(super) fn of(child: &mut Child, payload: Bytes, output_max: usize) -> Self {
        let kept = |max, last| Kept {
            bytes: Vec::new(),
            max,
            last,
            cut: false,
        };
        Self {
            stdin: child.stdin.take(),
            stdout: child.stdout.take(),
            stderr: child.stderr.take(),
            payload,
            output: kept(output_max, false),
            errors: kept(STDERR_BYTES_MAX, true),
        }
    }

    /// Feeds and reads until all three are closed. What was read is kept if this is dropped earlier.
    pub(super) async fn pump(&mut self) {
        tokio::join!(
            feed(&mut self.stdin, &self.payload),
            drain(&mut self.stdout, &mut self.output),
            drain(&mut self.stderr, &mut self.errors),
        );
    }

    /// The standard output, whether it was cut, and the last lines of the standard error.
    pub(super) fn into_parts(self) -> (Vec<u8>, bool, String) {
        let text = String::from_utf8_lossy(&self.errors.bytes);
        let lines: Vec<&str> = text.trim_end().lines().collect();
        let first = lines.len().saturating_sub(STDERR_LINES_MAX);
        (
            self.output.bytes,
            self.output.cut,
            lines[first..].join("\n"),
        )
    }
}

async fn feed(stdin: &mut Option<ChildStdin>, payload: &[u8]) {
    if let Some(stdin) = stdin
        && let Err(error) = stdin.write_all(payload).await
    {
        // A command may end without having read everything.
        tracing::trace!(%error, "the command does not read its payload");
    }
    // Dropped is closed: the command sees the end.
    *stdin = None;
}

async fn drain<R: AsyncRead + Unpin>(source: &mut Option<R>, kept: &mut Kept) {
    let Some(reader) = source else { return };
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        match reader.read(&mut chunk).await {
            Ok(0) => return,
            Ok(read) => kept.add(&chunk[..read]),
            Err(error) => {
                tracing::debug!(%error, "the output of a command cannot be read");
                return;
            }
        }
    }
}

impl Kept {
    fn add(&mut self, chunk: &[u8]) {
        if self.last {
            self.bytes.extend_from_slice(chunk);
            let over = self.bytes.len().saturating_sub(self.max);
            self.bytes.drain(..over);
            self.cut |= over > 0;
        } else {
            let room = self.max - self.bytes.len();
            self.bytes
                .extend_from_slice(&chunk[..chunk.len().min(room)]);
            self.cut |= chunk.len() > room;
        }
    }
}
