//! The engine's thread.
//!
//! Owns the thread and the news of its end. Never shares the engine: whoever wants something of it
//! uses the inbox.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::watch;

use super::driver::{Decides, Driver, Parts, Signals};
use crate::journal::JournalError;

/// Why the engine's thread ended before its time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineEnded {
    /// The journal failed. Whatever was not acknowledged may be lost; the process must end, and
    /// recovery does the rest.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A bug: the log has the panic's message.
    #[error("the engine panicked; its message is in the log")]
    Panicked,
}

/// The engine's thread.
#[derive(Debug)]
pub(crate) struct EngineThread {
    /// What it is told from outside.
    pub(crate) signals: Signals,
    ended: watch::Receiver<Option<Result<(), EngineEnded>>>,
    thread: Option<JoinHandle<()>>,
}

impl EngineThread {
    /// Starts the thread with a driver on it.
    pub(crate) fn start<E: Decides + 'static>(parts: Parts<E>) -> io::Result<Self> {
        let signals = Signals::default();
        let driver = Driver::new(parts, signals.clone());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()?;
        let (end, ended) = watch::channel(None);
        let end = Arc::new(end);
        let thread = std::thread::Builder::new()
            .name("redrive-engine".to_owned())
            .spawn(move || {
                let guard = PanicNews(Arc::clone(&end));
                let result = runtime.block_on(driver.run());
                end.send_replace(Some(result.map_err(EngineEnded::Journal)));
                drop(guard);
            })?;
        Ok(Self {
            signals,
            ended,
            thread: Some(thread),
        })
    }

    /// Waits for the end of the thread.
    ///
    /// # Errors
    /// Where it did not end because it was told to.
    pub(crate) async fn ended(&mut self) -> Result<(), EngineEnded> {
        let news = self
            .ended
            .wait_for(Option::is_some)
            .await
            .map(|end| (*end).clone());
        if let Some(thread) = self.thread.take() {
            // It has said its last word: this waits no longer than a thread takes to return.
            let _panicked_and_told = thread.join().is_err();
        }
        match news {
            Ok(Some(result)) => result,
            Ok(None) | Err(_) => Err(EngineEnded::Panicked),
        }
    }
}

impl Drop for EngineThread {
    /// Nobody will hear of it any more: the thread ends by itself, its journal closed.
    fn drop(&mut self) {
        self.signals.end.cancel();
    }
}

/// Tells of a panic, where nothing else was told before.
struct PanicNews(Arc<watch::Sender<Option<Result<(), EngineEnded>>>>);

impl Drop for PanicNews {
    fn drop(&mut self) {
        self.0.send_if_modified(|end| {
            let silent = end.is_none();
            if silent {
                *end = Some(Err(EngineEnded::Panicked));
            }
            silent
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::command::{Call, Command};
    use crate::engine::ids::Timestamp;
    use crate::engine::{Deadline, Turn};
    use crate::journal::MemoryJournal;
    use crate::shell::clock::{Clock, SystemTimeSource};
    use crate::shell::inbox::{CallError, Inbox};
    use crate::shell::outbox::Outbox;
    use crate::shell::testing::desk;

    struct Broken;

    impl Decides for Broken {
        fn step(&mut self, _: Timestamp, _: Command, _: &mut Turn) {
            panic!("this engine is broken on purpose");
        }

        fn next_deadline(&self) -> Option<Deadline> {
            None
        }
    }

    #[tokio::test]
    async fn a_panic_of_the_engine_sends_callers_away_and_is_told() {
        let desk = desk();
        let inbox = Inbox::new(Arc::clone(&desk));
        let (outbox, failed) = Outbox::new(Arc::clone(&desk));
        let journal = Box::new(MemoryJournal::new(outbox));
        let clock = Clock::new(Box::new(SystemTimeSource), Timestamp(0));
        let parts = Parts {
            engine: Broken,
            journal,
            clock,
            desk,
            failed,
        };
        let mut thread = EngineThread::start(parts).unwrap();
        let mut link = inbox.open_link().unwrap();

        assert_eq!(
            inbox.call(Call::ServerFacts).await.unwrap_err(),
            CallError::Stopped
        );
        assert_eq!(thread.ended().await, Err(EngineEnded::Panicked));
        assert!(link.told.recv().await.is_none());
        assert_eq!(inbox.open_link().unwrap_err(), CallError::Stopped);
        assert_eq!(
            inbox.call(Call::ServerFacts).await.unwrap_err(),
            CallError::Stopped
        );
    }

    #[tokio::test]
    async fn a_thread_that_is_told_to_end_ends_well() {
        let desk = desk();
        let (outbox, failed) = Outbox::new(Arc::clone(&desk));
        let journal = Box::new(MemoryJournal::new(outbox));
        let clock = Clock::new(Box::new(SystemTimeSource), Timestamp(0));
        let parts = Parts {
            engine: Broken,
            journal,
            clock,
            desk,
            failed,
        };
        let mut thread = EngineThread::start(parts).unwrap();
        thread.signals.end.cancel();
        assert_eq!(thread.ended().await, Ok(()));
    }
}
