//! The journal on disk: a bounded queue, the writer's thread, and its helpers.
//!
//! Owns the threads; they end with the journal. Never writes or decides: the writer's core does.
//! Invariants: the queue is the back-pressure on whoever appends; dropping the journal without
//! closing it is like the end of the process; a thread that panics fails the journal.

use std::collections::VecDeque;
use std::fmt::{self, Debug};
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use super::files::{Log, LogFiles};
use super::gate::{Gate, Poison, cannot};
use super::limits::{CONFIRM_AFTER, FRAMES_QUEUED_MAX};
use super::open::Syncing;
use super::start::Ready;
use super::stats::Stopwatch;
use super::writer::Writer;
use super::{Asks, Durability, Frame, Journal, JournalError};

/// A journal on disk.
pub struct LocalJournal<Record, Release> {
    log: Arc<Log>,
    gate: Arc<Gate<Release>>,
    queue: Option<SyncSender<Message<Record, Release>>>,
    writer: Option<JoinHandle<Result<(), JournalError>>>,
    helpers: Vec<JoinHandle<()>>,
}

/// What the writer's thread is sent.
enum Message<Record, Release> {
    Append(Frame<Record, Release>),
    Close,
}

/// Fails the journal when the thread that holds it panics.
struct FailsInPanic(Arc<dyn Poison>);

impl Drop for FailsInPanic {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0
                .poison(cannot("go on", "one of its threads panicked"));
        }
    }
}

impl<Record: Send + 'static, Release: Send + 'static> LocalJournal<Record, Release> {
    pub(super) fn start(ready: Ready<Record, Release>) -> Result<Self, JournalError> {
        let Ready { log, gate, writer } = ready;
        let (queue, queued) = sync_channel(FRAMES_QUEUED_MAX);
        let mut journal = Self {
            log: Arc::clone(&log),
            gate,
            queue: Some(queue),
            writer: None,
            helpers: Vec::new(),
        };
        log.spares.expect_helper();
        journal.help("journal-spares", |log| log.spares.run())?;
        if let Syncing::Interval { sync_every } = log.options.syncing {
            journal.help("journal-sync", move |log| {
                log.synced.run(sync_every, &log.stats, &*log.poison);
            })?;
        }
        let guard = FailsInPanic(Arc::clone(&log.poison));
        let run = move || {
            let _guard = guard;
            run(writer, &queued)
        };
        journal.writer = Some(spawn("journal-write", run)?);
        Ok(journal)
    }

    fn help(
        &mut self,
        name: &str,
        work: impl FnOnce(&Log) + Send + 'static,
    ) -> Result<(), JournalError> {
        let log = Arc::clone(&self.log);
        let guard = FailsInPanic(Arc::clone(&log.poison));
        let helper = spawn(name, move || {
            let _guard = guard;
            work(&log);
        });
        self.helpers.push(helper?);
        Ok(())
    }
}

impl<Record, Release> LocalJournal<Record, Release> {
    /// The journal's files.
    #[must_use]
    pub fn files(&self) -> LogFiles {
        LogFiles::new(Arc::clone(&self.log))
    }

    /// Ends all threads; the writer's first, as it may wait for a helper.
    fn end(&mut self) -> Result<(), JournalError> {
        self.queue = None;
        let ended = self.writer.take().map_or(Ok(()), |writer| {
            let panicked = |_| Err(cannot("go on", "its writer panicked"));
            writer.join().unwrap_or_else(panicked)
        });
        self.log.spares.stop();
        self.log.synced.stop();
        for helper in self.helpers.drain(..) {
            // A panic of it has failed the journal.
            helper.join().unwrap_or_default();
        }
        self.log.unlock();
        ended
    }
}

fn spawn<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, JournalError> {
    let builder = thread::Builder::new().name(name.to_owned());
    let spawned: io::Result<JoinHandle<T>> = builder.spawn(work);
    spawned.map_err(|error| cannot("start a thread", error))
}

/// The writer's thread: everything that waits is committed together; while a sync runs, the next
/// frames gather. There is no timer but the one that confirms the last sync.
fn run<Record, Release>(
    mut writer: Writer<Record, Release>,
    queued: &Receiver<Message<Record, Release>>,
) -> Result<(), JournalError> {
    let mut batch = VecDeque::with_capacity(FRAMES_QUEUED_MAX);
    let mut since_sync = Stopwatch::start();
    loop {
        let mut close = false;
        match next(&writer, queued, since_sync) {
            Ok(Message::Append(frame)) => batch.push_back(frame),
            Ok(Message::Close) => close = true,
            Err(RecvTimeoutError::Timeout) => {
                writer.confirm()?;
                since_sync = Stopwatch::start();
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
        while batch.len() < FRAMES_QUEUED_MAX && !close {
            match queued.try_recv() {
                Ok(Message::Append(frame)) => batch.push_back(frame),
                Ok(Message::Close) => close = true,
                Err(_) => break,
            }
        }
        let before = writer.lsn();
        writer.commit(&mut batch)?;
        if close {
            return writer.finish();
        }
        if writer.lsn() > before {
            since_sync = Stopwatch::start();
        }
    }
}

/// The next message; a timeout where the last sync is to be confirmed first.
fn next<Record, Release>(
    writer: &Writer<Record, Release>,
    queued: &Receiver<Message<Record, Release>>,
    since_sync: Stopwatch,
) -> Result<Message<Record, Release>, RecvTimeoutError> {
    if !writer.is_unconfirmed() {
        return queued.recv().map_err(RecvTimeoutError::from);
    }
    let left = CONFIRM_AFTER.saturating_sub(since_sync.elapsed());
    if left.is_zero() {
        // Frames that only release must not put it off for ever.
        return Err(RecvTimeoutError::Timeout);
    }
    queued.recv_timeout(left)
}

impl<Record: Send, Release: Send> Journal<Record, Release> for LocalJournal<Record, Release> {
    fn durability(&self) -> Durability {
        Syncing::durability(self.log.options.syncing)
    }

    fn asks(&self) -> Asks {
        self.log.asks()
    }

    fn append(&mut self, frame: Frame<Record, Release>) -> Result<(), JournalError> {
        if let Some(error) = self.gate.failure() {
            return Err(error);
        }
        let Some(queue) = &self.queue else {
            return Err(cannot("take a frame", "it was closed"));
        };
        if frame.opens_segment {
            self.log.opener_queued();
        }
        queue.send(Message::Append(frame)).map_err(|_unsent| {
            let ended = || cannot("take a frame", "its writer has ended");
            self.gate.failure().unwrap_or_else(ended)
        })
    }

    fn close(&mut self) -> Result<(), JournalError> {
        if let Some(queue) = self.queue.take() {
            // Where the writer has ended, it says why below.
            queue.send(Message::Close).unwrap_or_default();
        }
        self.end()?;
        self.gate.failure().map_or(Ok(()), Err)
    }
}

impl<Record, Release> Drop for LocalJournal<Record, Release> {
    fn drop(&mut self) {
        // Nobody is left to be told; the sink was.
        self.end().unwrap_or_default();
    }
}

impl<Record, Release> Debug for LocalJournal<Record, Release> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalJournal")
            .field("failed", &self.gate.failure())
            .finish_non_exhaustive()
    }
}
