//! The commands on their way to the engine: one queue, in order, with bounded room.
//!
//! Owns the waiting commands and their room. Never looks into them. Invariants: commands leave in
//! the order they came; at most `room` of those that ask for room wait at once. Departures and
//! transfers ask for none, so that they can never be stuck behind a full queue: they are bounded by
//! their nature (one departure for each call and stream, `limits::TRANSFERS_UNCONFIRMED_MAX`
//! transfers for each pair of shards).

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, Semaphore};

use crate::engine::command::Command;

/// The commands on their way to the engine.
pub(crate) struct CommandQueue {
    state: Mutex<State>,
    arrived: Notify,
    room: Semaphore,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Waiting>,
    closed: bool,
}

struct Waiting {
    command: Command,
    took_room: bool,
}

/// Why a command was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotTaken {
    /// There is no room.
    Full,
    /// Nobody will handle commands any more.
    Closed,
}

impl CommandQueue {
    /// An empty queue with room for so many commands.
    pub(crate) fn new(room: usize) -> Self {
        Self {
            state: Mutex::default(),
            arrived: Notify::new(),
            room: Semaphore::new(room.min(Semaphore::MAX_PERMITS)),
        }
    }

    /// Takes a command if there is room now.
    pub(crate) fn try_push(&self, command: Command) -> Result<(), NotTaken> {
        match self.room.try_acquire() {
            Ok(permit) => permit.forget(),
            Err(tokio::sync::TryAcquireError::NoPermits) => return Err(NotTaken::Full),
            Err(tokio::sync::TryAcquireError::Closed) => return Err(NotTaken::Closed),
        }
        self.enter(Waiting {
            command,
            took_room: true,
        })
    }

    /// Takes a command as soon as there is room. Those that wait are served in order.
    pub(crate) async fn push(&self, command: Command) -> Result<(), NotTaken> {
        match self.room.acquire().await {
            Ok(permit) => permit.forget(),
            Err(_closed) => return Err(NotTaken::Closed),
        }
        self.enter(Waiting {
            command,
            took_room: true,
        })
    }

    /// Takes a command that needs no room: a departure or a transfer. It is forgotten where the
    /// queue is closed: nobody needs it then.
    pub(crate) fn push_reserved(&self, command: Command) {
        match self.enter(Waiting {
            command,
            took_room: false,
        }) {
            Ok(()) | Err(NotTaken::Closed | NotTaken::Full) => {}
        }
    }

    fn enter(&self, waiting: Waiting) -> Result<(), NotTaken> {
        let mut state = self.lock();
        if state.closed {
            return Err(NotTaken::Closed);
        }
        let was_empty = state.waiting.is_empty();
        state.waiting.push_back(waiting);
        drop(state);
        if was_empty {
            self.arrived.notify_one();
        }
        Ok(())
    }

    /// Waits until a command is there. For one waiter at a time.
    pub(crate) async fn arrived(&self) {
        while self.len() == 0 {
            self.arrived.notified().await;
        }
    }

    /// Moves the oldest commands, at most so many, to the end of `into`.
    pub(crate) fn take(&self, count_max: usize, into: &mut impl Extend<Command>) {
        let mut state = self.lock();
        let count = state.waiting.len().min(count_max);
        let mut room = 0;
        into.extend(state.waiting.drain(..count).map(|waiting| {
            room += usize::from(waiting.took_room);
            waiting.command
        }));
        drop(state);
        self.room.add_permits(room);
    }

    /// How many commands wait.
    pub(crate) fn len(&self) -> usize {
        self.lock().waiting.len()
    }

    /// Whether commands are taken no more.
    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Takes no more, forgets what waits, and sends everybody away who waits for room.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.waiting.clear();
        drop(state);
        self.room.close();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::task::{Context, Poll, Waker};

    use super::*;
    use crate::engine::ids::RequestId;

    fn hangup(request: u64) -> Command {
        Command::Hangup {
            request: RequestId(request),
        }
    }

    fn numbers(commands: &[Command]) -> Vec<u64> {
        commands
            .iter()
            .map(|command| match command {
                Command::Hangup { request } => request.0,
                Command::Call { .. }
                | Command::Hello { .. }
                | Command::FromWorker { .. }
                | Command::LinkClosed { .. }
                | Command::Transfer(_)
                | Command::Late { .. }
                | Command::Tick
                | Command::OpenSegment
                | Command::DiskFull(_)
                | Command::Shutdown => panic!("not sent here: {command:?}"),
            })
            .collect()
    }

    #[test]
    fn a_full_queue_refuses_at_once_what_asks_for_room_and_takes_departures() {
        let queue = CommandQueue::new(2);
        assert_eq!(queue.try_push(hangup(1)), Ok(()));
        assert_eq!(queue.try_push(hangup(2)), Ok(()));
        assert_eq!(queue.try_push(hangup(3)), Err(NotTaken::Full));
        queue.push_reserved(hangup(4));

        let mut taken = Vec::new();
        queue.take(10, &mut taken);
        assert_eq!(numbers(&taken), [1, 2, 4], "in the order they came");
        assert_eq!(queue.len(), 0);

        // The departure gave back no room that it had not taken.
        assert_eq!(queue.try_push(hangup(5)), Ok(()));
        assert_eq!(queue.try_push(hangup(6)), Ok(()));
        assert_eq!(queue.try_push(hangup(7)), Err(NotTaken::Full));
    }

    #[test]
    fn who_waits_for_room_gets_it_when_commands_are_taken() {
        let queue = CommandQueue::new(1);
        queue.try_push(hangup(1)).unwrap();
        let mut context = Context::from_waker(Waker::noop());
        let mut push = std::pin::pin!(queue.push(hangup(2)));
        assert_eq!(push.as_mut().poll(&mut context), Poll::Pending);

        let mut taken = Vec::new();
        queue.take(1, &mut taken);
        assert_eq!(push.as_mut().poll(&mut context), Poll::Ready(Ok(())));
        queue.take(1, &mut taken);
        assert_eq!(numbers(&taken), [1, 2]);
    }

    #[test]
    fn a_closed_queue_sends_everybody_away() {
        let queue = CommandQueue::new(1);
        queue.try_push(hangup(1)).unwrap();
        let mut context = Context::from_waker(Waker::noop());
        let mut push = std::pin::pin!(queue.push(hangup(2)));
        assert_eq!(push.as_mut().poll(&mut context), Poll::Pending);

        queue.close();
        assert_eq!(
            push.as_mut().poll(&mut context),
            Poll::Ready(Err(NotTaken::Closed))
        );
        assert_eq!(queue.try_push(hangup(3)), Err(NotTaken::Closed));
        queue.push_reserved(hangup(4));
        assert_eq!(queue.len(), 0);
    }

    #[tokio::test]
    async fn the_one_who_takes_is_woken_by_the_first_command() {
        let queue = CommandQueue::new(4);
        let ((), ()) = tokio::join!(queue.arrived(), async {
            tokio::task::yield_now().await;
            queue.try_push(hangup(1)).unwrap();
        });
        assert_eq!(queue.len(), 1);
        queue.arrived().await;
    }
}
