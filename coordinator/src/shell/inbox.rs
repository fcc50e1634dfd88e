//! The inbox: how the server asks the engine.
//!
//! Owns the callers' side: calls, worker streams, watchers, and facts that never change. Never
//! touches the engine, which lives on its own thread. Invariants: at most
//! `limits::INBOX_COMMANDS_MAX` commands wait; a call is refused at once when there is no room, a
//! stream waits for room and is read no further meanwhile.

use std::fmt;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::desk::Desk;
pub use super::notices::{Lagged, Watch, WatchGone};
use super::queue::NotTaken;
use crate::engine::command::{self, Call, Command};
use crate::engine::effect::{Answer, ToWorker};
use crate::engine::ids::{LinkId, RequestId, Timestamp};
use crate::engine::rejection::Rejection;
use crate::journal::Durability;

/// How the server asks the engine. Cheap to clone.
#[derive(Clone)]
pub struct Inbox {
    desk: Arc<Desk>,
}

/// What never changes while a coordinator runs.
#[derive(Clone, Debug)]
pub struct Facts {
    /// What "accepted" means.
    pub durability: Durability,
    /// The name of the policy of tasks and queues that name none.
    pub default_policy: Arc<str>,
    /// Parts that the state is cut into.
    pub shard_count: u16,
    /// When the coordinator started.
    pub start_time: Timestamp,
    /// A random number of this run of the process: cursors of other runs are not this one's.
    pub incarnation: u64,
}

/// Why a call has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The engine says no.
    #[error(transparent)]
    Refused(#[from] Rejection),
    /// Too many commands wait already, or too many streams are open. Nothing was done; trying again
    /// after a moment makes sense.
    #[error("the coordinator is busy: too much waits already; try again in a moment")]
    Busy,
    /// The coordinator has stopped. Whether the call was carried out is not known.
    #[error("the coordinator has stopped")]
    Stopped,
}

/// What a worker stream is told.
#[derive(Clone, Debug)]
pub enum Told {
    /// Messages, in order: all that one release had for this stream.
    Messages(Vec<ToWorker>),
    /// The stream is to be ended: well, or with an error. Always the last. Boxed: the channel of each
    /// stream has room for 32 of these from the outset.
    Close(Option<Box<Rejection>>),
}

impl Inbox {
    pub(crate) const fn new(desk: Arc<Desk>) -> Self {
        Self { desk }
    }

    /// Asks, and waits for the answer, which is as durable as the coordinator promises. Dropping
    /// the future withdraws the call: it is not carried out unless it has been already, and waits
    /// for nothing any more.
    ///
    /// # Errors
    /// The engine's refusal; [`CallError::Busy`] at once where the inbox is full;
    /// [`CallError::Stopped`] where the coordinator stopped before it answered.
    pub async fn call(&self, call: Call) -> Result<Answer, CallError> {
        self.call_as(command::Caller::default(), call).await
    }

    /// The same, for somebody who said who they are or gave the request an id.
    ///
    /// # Errors
    /// As [`Inbox::call`].
    pub async fn call_as(&self, by: command::Caller, call: Call) -> Result<Answer, CallError> {
        let (request, replied) = self.desk.await_reply();
        let caller = Caller {
            desk: &self.desk,
            request,
        };
        let command = Command::Call {
            request,
            caller: by,
            call,
        };
        match self.desk.queue.try_push(command) {
            Ok(()) => {}
            Err(refused) => {
                self.desk.forget_call(request);
                return Err(self.not_taken(refused));
            }
        }
        answer_of(caller, replied.await)
    }

    /// The same for what came on a stream: waits for room instead of being refused.
    ///
    /// # Errors
    /// As [`Inbox::call`], but never [`CallError::Busy`].
    pub async fn call_when_room(&self, call: Call) -> Result<Answer, CallError> {
        let nobody = command::Caller::default();
        self.call_as_when_room(nobody, call).await
    }

    /// The same, for somebody who said who they are.
    ///
    /// # Errors
    /// As [`Inbox::call_when_room`].
    pub async fn call_as_when_room(
        &self,
        by: command::Caller,
        call: Call,
    ) -> Result<Answer, CallError> {
        let (request, replied) = self.desk.await_reply();
        let caller = Caller {
            desk: &self.desk,
            request,
        };
        let command = Command::Call {
            request,
            caller: by,
            call,
        };
        let pushed = self.desk.queue.push(command).await;
        if let Err(refused) = pushed {
            self.desk.forget_call(request);
            return Err(self.not_taken(refused));
        }
        answer_of(caller, replied.await)
    }

    /// Opens a worker stream.
    ///
    /// # Errors
    /// [`CallError::Busy`] where `limits::SESSIONS_MAX` streams are open; [`CallError::Stopped`]
    /// where the coordinator has stopped.
    pub fn open_link(&self) -> Result<Link, CallError> {
        let (id, told) = self.desk.open_link().ok_or(CallError::Busy)?;
        let link = Link {
            id,
            told,
            desk: Arc::clone(&self.desk),
        };
        // Registered first, looked at second: a desk that closes in between has ended the stream.
        if self.desk.queue.is_closed() {
            Err(CallError::Stopped)
        } else {
            Ok(link)
        }
    }

    /// Follows what happens to tasks, from behind a cursor of this process (see
    /// [`Facts::incarnation`]), or from now on.
    ///
    /// # Errors
    /// Where the cursor is older than what is remembered, or was never given.
    pub fn watch(&self, after: Option<u64>) -> Result<Watch, WatchGone> {
        self.desk.notices.watch(after)
    }

    /// What never changes while the coordinator runs.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.desk.facts
    }

    /// What "accepted" means.
    #[must_use]
    pub fn durability(&self) -> Durability {
        self.desk.facts.durability
    }

    /// When the coordinator started.
    #[must_use]
    pub fn start_time(&self) -> Timestamp {
        self.desk.facts.start_time
    }

    /// Worker streams that are open.
    #[must_use]
    pub fn links_open(&self) -> usize {
        self.desk.links_open()
    }

    fn not_taken(&self, refused: NotTaken) -> CallError {
        match refused {
            NotTaken::Full => {
                self.desk.telemetry.inbox_refused.increment(1);
                CallError::Busy
            }
            NotTaken::Closed => CallError::Stopped,
        }
    }
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox")
            .field("waiting", &self.desk.queue.len())
            .finish_non_exhaustive()
    }
}

/// The reply to a caller, who waits no more.
fn answer_of<E>(
    caller: Caller<'_>,
    reply: Result<Result<Answer, Rejection>, E>,
) -> Result<Answer, CallError> {
    drop(caller);
    reply.map_or(Err(CallError::Stopped), |reply| {
        reply.map_err(CallError::Refused)
    })
}

/// Somebody who waits for a reply, and says so when it does no longer.
struct Caller<'a> {
    desk: &'a Desk,
    request: RequestId,
}

impl Drop for Caller<'_> {
    fn drop(&mut self) {
        if self.desk.forget_call(self.request) {
            self.desk.queue.push_reserved(Command::Hangup {
                request: self.request,
            });
        }
    }
}

/// A worker stream's two ends. Dropping it tells the engine that the stream is gone.
pub struct Link {
    /// Its id, for the commands it says.
    pub id: LinkId,
    /// What the worker is to be told. Ends after [`Told::Close`]; ends without one where the stream
    /// read too slowly or the coordinator stopped.
    pub told: mpsc::Receiver<Told>,
    desk: Arc<Desk>,
}

impl Link {
    /// Passes a command on, as soon as there is room.
    ///
    /// # Errors
    /// [`CallError::Stopped`] where the stream was ended from here or the coordinator has stopped.
    pub async fn say(&self, command: Command) -> Result<(), CallError> {
        self.speaker().say(command).await
    }

    /// The speaking end alone, for use beside [`Link::told`].
    #[must_use]
    pub fn speaker(&self) -> Speaker {
        Speaker {
            id: self.id,
            desk: Arc::clone(&self.desk),
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.desk.close_link(self.id);
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// The speaking end of a [`Link`]. Cheap to clone.
#[derive(Clone)]
pub struct Speaker {
    id: LinkId,
    desk: Arc<Desk>,
}

impl Speaker {
    /// Passes a command on, as soon as there is room.
    ///
    /// # Errors
    /// [`CallError::Stopped`] where the stream was ended from here or the coordinator has stopped.
    pub async fn say(&self, command: Command) -> Result<(), CallError> {
        if !self.desk.is_open(self.id) {
            return Err(CallError::Stopped);
        }
        self.desk
            .queue
            .push(command)
            .await
            .map_err(|_closed| CallError::Stopped)
    }
}

impl fmt::Debug for Speaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Speaker")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
