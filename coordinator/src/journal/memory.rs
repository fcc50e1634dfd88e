//! A journal that remembers nothing: every frame counts as durable at once.
//!
//! Owns the sink, and releases in the appender's own thread. For tests and for caches of work.

use super::{Durability, Frame, Journal, JournalError, Sink};

/// A journal that remembers nothing and releases at once.
#[derive(Debug)]
pub struct MemoryJournal<S> {
    sink: S,
    closed: bool,
}

impl<S> MemoryJournal<S> {
    /// A journal that releases into `sink`.
    pub const fn new(sink: S) -> Self {
        Self {
            sink,
            closed: false,
        }
    }
}

impl<Record: Send, Release, S: Sink<Release>> Journal<Record, Release> for MemoryJournal<S> {
    fn durability(&self) -> Durability {
        Durability::Memory
    }

    fn append(&mut self, frame: Frame<Record, Release>) -> Result<(), JournalError> {
        if self.closed {
            return Err(JournalError {
                act: "take a frame".to_owned(),
                cause: "it was closed".to_owned(),
            });
        }
        self.sink.release(frame.release);
        Ok(())
    }

    fn close(&mut self) -> Result<(), JournalError> {
        self.closed = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    struct Told(mpsc::Sender<u32>);

    impl Sink<u32> for Told {
        fn release(&mut self, release: u32) {
            self.0.send(release).unwrap();
        }

        fn failed(&mut self, error: JournalError) {
            panic!("memory does not fail: {error}");
        }
    }

    #[test]
    fn memory_releases_in_order_before_append_returns_and_nothing_after_its_close() {
        let (tell, told) = mpsc::channel();
        let mut journal = MemoryJournal::new(Told(tell));
        for release in 1..=2 {
            journal
                .append(Frame {
                    records: vec!["fact"],
                    release,
                    opens_segment: false,
                })
                .unwrap();
            assert_eq!(told.try_recv(), Ok(release));
        }
        Journal::<&str, u32>::close(&mut journal).unwrap();
        assert!(
            journal
                .append(Frame {
                    records: vec!["late"],
                    release: 3,
                    opens_segment: false,
                })
                .is_err()
        );
        assert!(told.try_recv().is_err());
        assert_eq!(Journal::<&str, u32>::durability(&journal).name(), "memory");
    }
}
