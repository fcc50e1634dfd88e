//! What happened lately: a bounded ring of released notices that watchers follow with a cursor.
//!
//! Owns the ring and its numbering. Never filters: that is the watcher's. Invariants: notices are
//! numbered 1, 2, 3 .. without gaps over one run of the process; the ring holds the newest
//! `capacity` of them; a watcher sees each notice after its cursor exactly once, in order, or learns
//! that it came too late.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::engine::effect::Notice;

/// Notices handed out at once.
pub const WATCH_BATCH_MAX: usize = 256;

/// The ring.
pub(crate) struct Notices {
    ring: Mutex<Ring>,
    capacity: usize,
    latest: watch::Sender<u64>,
}

struct Ring {
    /// The number of the newest notice; 0 before the first.
    latest: u64,
    newest_last: VecDeque<Arc<Notice>>,
}

impl Ring {
    /// The cursor of somebody who has seen everything before what the ring still holds.
    fn oldest_cursor(&self) -> u64 {
        self.latest - self.newest_last.len() as u64
    }
}

/// The cursor is none of this process's that can be resumed from: it is older than what is
/// remembered, or was never given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "cursor {cursor} cannot be resumed from, only {oldest} to {latest} can: watch without a cursor \
     and list what was missed"
)]
pub struct WatchGone {
    /// What was asked for.
    pub cursor: u64,
    /// The oldest cursor that can be resumed from.
    pub oldest: u64,
    /// The newest.
    pub latest: u64,
}

/// The watcher fell behind by more notices than are remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the watcher read too slowly: {missed} events after its cursor are no longer remembered")]
pub struct Lagged {
    /// How many notices it can never see.
    pub missed: u64,
}

impl Notices {
    /// An empty ring of so many notices.
    pub(crate) fn new(capacity: usize) -> Self {
        let ring = Ring {
            latest: 0,
            newest_last: VecDeque::new(),
        };
        Self {
            ring: Mutex::new(ring),
            capacity,
            latest: watch::Sender::new(0),
        }
    }

    /// Adds what one release tells, and wakes the watchers once.
    pub(crate) fn add(&self, notices: impl Iterator<Item = Arc<Notice>>) {
        let mut ring = self.lock();
        let before = ring.latest;
        for notice in notices {
            if ring.newest_last.len() == self.capacity {
                ring.newest_last.pop_front();
            }
            ring.newest_last.push_back(notice);
            ring.latest += 1;
        }
        let latest = ring.latest;
        drop(ring);
        if latest != before {
            self.latest.send_replace(latest);
        }
    }

    /// Follows what comes after a cursor; `None` means from now on.
    pub(crate) fn watch(self: &Arc<Self>, after: Option<u64>) -> Result<Watch, WatchGone> {
        let ring = self.lock();
        let cursor = after.unwrap_or(ring.latest);
        let (oldest, latest) = (ring.oldest_cursor(), ring.latest);
        drop(ring);
        if cursor < oldest || cursor > latest {
            return Err(WatchGone {
                cursor,
                oldest,
                latest,
            });
        }
        Ok(Watch {
            cursor,
            latest: self.latest.subscribe(),
            notices: Arc::clone(self),
        })
    }

    /// The next notices after a cursor; none where there are none yet.
    fn after(&self, cursor: u64) -> Result<Vec<Arc<Notice>>, Lagged> {
        let ring = self.lock();
        let missed = ring.oldest_cursor().saturating_sub(cursor);
        if missed > 0 {
            return Err(Lagged { missed });
        }
        let ahead = usize::try_from(ring.latest - cursor).unwrap_or(usize::MAX);
        let begin = ring.newest_last.len().saturating_sub(ahead);
        Ok(ring
            .newest_last
            .iter()
            .skip(begin)
            .take(WATCH_BATCH_MAX)
            .cloned()
            .collect())
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody who follows what happens.
pub struct Watch {
    cursor: u64,
    latest: watch::Receiver<u64>,
    notices: Arc<Notices>,
}

impl Watch {
    /// Waits for notices: one to [`WATCH_BATCH_MAX`] of them, oldest first, and the cursor behind
    /// them. Pends for ever once the coordinator has stopped: whoever serves a watcher ends it then.
    /// Dropping the future loses nothing.
    ///
    /// # Errors
    /// Where the watcher fell so far behind that notices it has not seen are forgotten.
    pub async fn next(&mut self) -> Result<(Vec<Arc<Notice>>, u64), Lagged> {
        loop {
            let latest = *self.latest.borrow_and_update();
            if latest > self.cursor {
                let notices = self.notices.after(self.cursor)?;
                self.cursor += notices.len() as u64;
                return Ok((notices, self.cursor));
            }
            if self.latest.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// The cursor behind what was handed out so far.
    #[must_use]
    pub const fn cursor(&self) -> u64 {
        self.cursor
    }
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch")
            .field("cursor", &self.cursor)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::testing::notice;

    fn add(ring: &Notices, numbers: std::ops::RangeInclusive<u64>) {
        ring.add(numbers.map(|number| Arc::new(notice(number))));
    }

    fn times(notices: &[Arc<Notice>]) -> Vec<u64> {
        notices.iter().map(|notice| notice.at.0).collect()
    }

    #[tokio::test]
    async fn a_watcher_without_a_cursor_sees_what_comes_from_now_on() {
        let ring = Arc::new(Notices::new(8));
        add(&ring, 1..=3);
        let mut watch = ring.watch(None).unwrap();
        assert_eq!(watch.cursor(), 3);
        let ((), next) = tokio::join!(
            async {
                tokio::task::yield_now().await;
                add(&ring, 4..=5);
            },
            watch.next(),
        );
        let (notices, cursor) = next.unwrap();
        assert_eq!((times(&notices), cursor), (vec![4, 5], 5));
    }

    #[tokio::test]
    async fn a_cursor_resumes_behind_what_was_seen_without_gap_or_repeat() {
        let ring = Arc::new(Notices::new(1000));
        add(&ring, 1..=600);
        let mut seen = Vec::new();
        let mut cursor = 0;
        while cursor < 600 {
            let mut watch = ring.watch(Some(cursor)).unwrap();
            let (notices, next) = watch.next().await.unwrap();
            assert!(notices.len() <= WATCH_BATCH_MAX);
            seen.extend(times(&notices));
            cursor = next;
        }
        assert_eq!(seen, (1..=600).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn cursors_that_are_forgotten_or_were_never_given_are_refused() {
        let ring = Arc::new(Notices::new(4));
        add(&ring, 1..=10);
        assert!(ring.watch(Some(6)).is_ok());
        let gone = ring.watch(Some(5)).unwrap_err();
        assert_eq!(
            gone,
            WatchGone {
                cursor: 5,
                oldest: 6,
                latest: 10
            }
        );
        assert!(ring.watch(Some(10)).is_ok());
        assert!(ring.watch(Some(11)).is_err());
    }

    #[tokio::test]
    async fn a_watcher_that_falls_too_far_behind_is_told_how_much_it_missed() {
        let ring = Arc::new(Notices::new(4));
        let mut watch = ring.watch(None).unwrap();
        add(&ring, 1..=4);
        assert_eq!(times(&watch.next().await.unwrap().0), [1, 2, 3, 4]);
        add(&ring, 5..=11);
        assert_eq!(watch.next().await.unwrap_err(), Lagged { missed: 3 });
    }
}
