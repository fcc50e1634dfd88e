//! The gRPC stream to the coordinator, and coming back when it breaks.
//!
//! Owns the connection, and when the next one is tried: full-jitter backoff that starts over only
//! after a stream was open for `STABLE_AFTER`. Every stream gets a fresh connection, so that a
//! half-dead one is never waited for. Knows nothing of what the messages mean.

use std::time::Duration;

use redrive_client::connect::{self, Address, ReconnectBackoff};
use redrive_proto::v1::{
    WorkRequest, WorkResponse, work_response, worker_service_client::WorkerServiceClient,
};
use tokio::{sync::mpsc, time::Instant};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use crate::{clock, handler::BoxFuture};

/// How many messages wait between the session and the connection. Few: what the session has not
/// handed over yet is still joined into larger messages.
const OUTGOING_MAX: usize = 8;
/// How long a stream must have been open for the backoff to start over.
const STABLE_AFTER: Duration = Duration::from_secs(30);
/// The largest message that is read.
const MESSAGE_BYTES_MAX: usize = 16 * 1_024 * 1_024;

/// What the link has to say.
#[derive(Debug)]
pub(crate) enum LinkEvent {
    /// It is time to open a stream, by [`Link::open`].
    Due,
    /// The coordinator sent this.
    Received(Box<work_response::Message>),
    /// The stream ended, or could not be opened. `None`: the coordinator ended it well.
    Closed(Option<Box<Status>>),
}

enum State {
    Waiting(Instant),
    Opening(BoxFuture<Result<Streaming<WorkResponse>, Status>>),
    Open {
        stream: Box<Streaming<WorkResponse>>,
        since: Instant,
    },
}

/// The side that listens.
pub(crate) struct Incoming {
    address: Address,
    backoff: ReconnectBackoff,
    state: State,
}

/// The way to the coordinator.
pub(crate) struct Link {
    /// The side that listens.
    pub(crate) incoming: Incoming,
    /// The side that speaks; `None` without a stream.
    pub(crate) outgoing: Option<mpsc::Sender<WorkRequest>>,
}

impl Link {
    /// A link that is due to be opened.
    pub(crate) fn new(address: Address, seed: u64) -> Self {
        let backoff = ReconnectBackoff::new(seed);
        let state = State::Waiting(clock::now());
        Self {
            incoming: Incoming {
                address,
                backoff,
                state,
            },
            outgoing: None,
        }
    }

    /// Opens a stream whose first message is `hello`.
    pub(crate) fn open(&mut self, hello: WorkRequest) {
        let (sender, receiver) = mpsc::channel(OUTGOING_MAX);
        let channel = connect::connect_lazy(&self.incoming.address);
        self.incoming.state = State::Opening(Box::pin(async move {
            let mut client =
                WorkerServiceClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
            let messages = ReceiverStream::new(receiver);
            client.work(messages).await.map(tonic::Response::into_inner)
        }));
        if sender.try_send(hello).is_ok() {
            self.outgoing = Some(sender);
        }
    }

    /// Ends the stream, if there is one, and waits until another is due: after `after` where it is
    /// given, else after the backoff. Returns how long the wait is.
    pub(crate) fn close(&mut self, after: Option<Duration>) -> Duration {
        self.outgoing = None;
        self.incoming.wait(after)
    }
}

impl Incoming {
    fn wait(&mut self, after: Option<Duration>) -> Duration {
        let now = clock::now();
        if let State::Open { since, .. } = self.state
            && now.saturating_duration_since(since) >= STABLE_AFTER
        {
            self.backoff.reset();
        }
        let drawn = self.backoff.next();
        let wait = after.unwrap_or(drawn);
        self.state = State::Waiting(now + wait);
        wait
    }

    /// Waits for the next event. Safe to cancel. After `Due` and `Closed` the caller acts: `Due`
    /// repeats until then.
    pub(crate) async fn next(&mut self) -> LinkEvent {
        loop {
            match &mut self.state {
                State::Waiting(until) => {
                    tokio::time::sleep_until(*until).await;
                    return LinkEvent::Due;
                }
                State::Opening(opening) => match opening.as_mut().await {
                    Ok(stream) => {
                        let stream = Box::new(stream);
                        self.state = State::Open {
                            stream,
                            since: clock::now(),
                        };
                    }
                    Err(status) => return self.closed(Some(status)),
                },
                State::Open { stream, .. } => match stream.message().await {
                    Ok(Some(WorkResponse {
                        message: Some(message),
                    })) => {
                        return LinkEvent::Received(Box::new(message));
                    }
                    // A message of a later version that this one does not know.
                    Ok(Some(WorkResponse { message: None })) => {}
                    Ok(None) => return self.closed(None),
                    Err(status) => return self.closed(Some(status)),
                },
            }
        }
    }

    fn closed(&mut self, status: Option<Status>) -> LinkEvent {
        self.wait(None);
        LinkEvent::Closed(status.map(Box::new))
    }
}
