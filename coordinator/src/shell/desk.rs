//! The desk between those who ask and the engine: who waits for which reply, which streams are
//! open, what happened lately.
//!
//! Owns the registrations. Never decides what is told to whom: the engine does. Invariants: a call
//! gets exactly one reply, or learns that the coordinator stopped; a caller that goes away before
//! its reply leaves one `Command::Hangup`; a stream leaves one `Command::LinkClosed`, behind
//! everything it said before. No guard of a map is held over an await.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dashmap::DashMap;
use tokio::sync::{mpsc, oneshot};

use super::inbox::{Facts, Told};
use super::notices::Notices;
use super::queue::CommandQueue;
use crate::engine::command::Command;
use crate::engine::effect::Answer;
use crate::engine::ids::{LinkId, RequestId};
use crate::engine::limits;
use crate::engine::rejection::Rejection;
use crate::telemetry::Telemetry;

/// What a call is answered with.
pub(crate) type Reply = Result<Answer, Rejection>;

/// What both sides of the engine share.
pub(crate) struct Desk {
    pub(crate) queue: CommandQueue,
    pub(crate) notices: Arc<Notices>,
    pub(crate) telemetry: Arc<Telemetry>,
    pub(crate) facts: Facts,
    calls: DashMap<RequestId, oneshot::Sender<Reply>>,
    links: DashMap<LinkId, mpsc::Sender<Told>>,
    requests: AtomicU64,
    link_ids: AtomicU64,
}

/// What became of a message to a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Post {
    /// It is on its way.
    Sent,
    /// The stream is gone.
    Gone,
    /// The stream reads too slowly and was cut.
    Cut,
}

impl Desk {
    /// A desk without callers.
    pub(crate) fn new(facts: Facts, telemetry: Arc<Telemetry>) -> Self {
        Self {
            queue: CommandQueue::new(limits::INBOX_COMMANDS_MAX),
            notices: Arc::new(Notices::new(limits::EVENTS_REMEMBERED_MAX)),
            telemetry,
            facts,
            calls: DashMap::new(),
            links: DashMap::new(),
            requests: AtomicU64::new(1),
            link_ids: AtomicU64::new(1),
        }
    }

    /// Registers somebody who waits for a reply.
    pub(crate) fn await_reply(&self) -> (RequestId, oneshot::Receiver<Reply>) {
        let request = RequestId(self.requests.fetch_add(1, Ordering::Relaxed));
        let (reply, replied) = oneshot::channel();
        self.calls.insert(request, reply);
        (request, replied)
    }

    /// Whether somebody still waits for the reply.
    pub(crate) fn is_awaited(&self, request: RequestId) -> bool {
        self.calls.contains_key(&request)
    }

    /// Forgets a call without a word to the engine. True where it was still waiting.
    pub(crate) fn forget_call(&self, request: RequestId) -> bool {
        self.calls.remove(&request).is_some()
    }

    /// Answers a call. Nothing happens where its caller has gone.
    pub(crate) fn reply(&self, request: RequestId, reply: Reply) {
        if let Some((_, waiting)) = self.calls.remove(&request) {
            // The caller may go away in this very moment; it is then as if it had a little later.
            drop(waiting.send(reply));
        }
    }

    /// Registers a stream; `None` where there are as many as there may be.
    pub(crate) fn open_link(&self) -> Option<(LinkId, mpsc::Receiver<Told>)> {
        if self.links.len() >= limits::SESSIONS_MAX {
            return None;
        }
        let link = LinkId(self.link_ids.fetch_add(1, Ordering::Relaxed));
        let (tell, told) = mpsc::channel(limits::LINK_MESSAGES_MAX);
        self.links.insert(link, tell);
        Some((link, told))
    }

    /// Puts something on its way to a stream. One whose channel is full reads too slowly: it is cut.
    pub(crate) fn post(&self, link: LinkId, told: Told) -> Post {
        let sent = match self.links.get(&link) {
            Some(tell) => tell.try_send(told),
            None => return Post::Gone,
        };
        match sent {
            Ok(()) => Post::Sent,
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.close_link(link);
                Post::Cut
            }
            Err(mpsc::error::TrySendError::Closed(_)) => Post::Gone,
        }
    }

    /// Forgets a stream: its reader comes to an end, and the engine is told once.
    pub(crate) fn close_link(&self, link: LinkId) {
        if self.links.remove(&link).is_some() {
            self.queue.push_reserved(Command::LinkClosed { link });
        }
    }

    /// Whether a stream is open.
    pub(crate) fn is_open(&self, link: LinkId) -> bool {
        self.links.contains_key(&link)
    }

    /// Streams that are open.
    pub(crate) fn links_open(&self) -> usize {
        self.links.len()
    }

    /// The engine has stopped: nothing is taken, every caller is sent away, every stream ends.
    pub(crate) fn close(&self) {
        // First the queue: whoever registers after this finds it closed.
        self.queue.close();
        self.calls.clear();
        self.links.clear();
    }
}
