//! Work: one worker's stream.
//!
//! Owns its two halves. The reader is a task of its own, so that a worker's reports and signs of
//! life are heard while a large delivery is still on its way out; it waits where the engine's inbox
//! is full, and the worker is read no further meanwhile. The writer is the response stream: it is
//! woken by the engine's journal directly and packs all that waits.
//!
//! Invariants: nothing is passed on before a good Hello; a message that cannot be used is answered
//! in the stream, which goes on; the engine ends every stream that said Hello, on shutdown too;
//! dropping the writer ends the reader and tells the engine.

use std::pin::Pin;
use std::time::Duration;

use futures::stream::{self, Stream, StreamExt as _};
use redrive_proto::v1 as pb;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tonic::Status;

use super::convert::worker::{WorkMessage, work_message};
use super::edge::Edge;
use super::pack::Packer;
use super::parts::parts_of;
use super::status::Refused;
use crate::engine::command::{Command, FromWorker};
use crate::engine::ids::LinkId;
use crate::engine::limits;
use crate::engine::rejection::Rejection;
use crate::shell::inbox::{Link, Speaker, Told};

const RPC: &str = "Work";
/// Seconds that a worker has for its Hello.
const HELLO_S_MAX: u64 = 10;
/// Refusals that wait for the writer; the worker is read no further while they are not taken.
const REFUSALS_WAITING_MAX: usize = 16;
/// Releases of the engine that are packed at once.
const TOLD_AT_ONCE_MAX: usize = 64;

/// What a worker is told.
pub(crate) type WorkStream = Pin<Box<dyn Stream<Item = Result<pb::WorkResponse, Status>> + Send>>;

/// Opens a worker's stream.
pub(crate) fn open<S>(
    edge: &Edge,
    incoming: S,
    shutdown: CancellationToken,
    readers: &TaskTracker,
) -> Result<WorkStream, Refused>
where
    S: Stream<Item = Result<pb::WorkRequest, Status>> + Send + Unpin + 'static,
{
    let link = edge.inbox.open_link()?;
    let (asides, from_reader) = mpsc::channel(REFUSALS_WAITING_MAX);
    let reader = Reader {
        incoming,
        link: link.id,
        speaker: link.speaker(),
        asides,
    };
    let gone = CancellationToken::new();
    let until = gone.clone();
    readers.spawn(async move {
        tokio::select! {
            () = until.cancelled() => {}
            () = reader.run(shutdown) => {}
        }
    });
    let writer = Writer {
        link,
        asides: Some(from_reader),
        packer: Packer::default(),
        ended: None,
        _reader: gone.drop_guard(),
    };
    let step = |mut writer: Writer| async move {
        let next = writer.next().await?;
        Some((next, writer))
    };
    Ok(stream::unfold(writer, step).boxed())
}

/// What the reader tells the writer; boxed, because a channel has room for 32 from the outset, and
/// most workers never need one.
enum Aside {
    /// The last message could not be used.
    Refusal(pb::Refusal),
    /// The worker's half is over: well, or with an error.
    End(Option<Status>),
}

/// The worker's half.
struct Reader<S> {
    incoming: S,
    link: LinkId,
    speaker: Speaker,
    asides: mpsc::Sender<Box<Aside>>,
}

impl<S> Reader<S>
where
    S: Stream<Item = Result<pb::WorkRequest, Status>> + Send + Unpin,
{
    async fn run(mut self, shutdown: CancellationToken) {
        let hello = tokio::select! {
            hello = self.hello() => hello,
            () = shutdown.cancelled() => {
                Err(Some(Refused::from(Rejection::ShuttingDown).status(RPC)))
            }
        };
        let end = match hello {
            Ok(hello) => self.later(hello).await,
            Err(end) => Some(end),
        };
        if let Some(end) = end {
            // Not taken only where the writer is gone and needs no telling.
            drop(self.asides.send(Box::new(Aside::End(end))).await);
        }
    }

    /// The first message; otherwise how the stream ends.
    async fn hello(&mut self) -> Result<Command, Option<Status>> {
        let limit = Duration::from_secs(HELLO_S_MAX);
        let refuse = |refused: Refused| Err(Some(refused.status(RPC)));
        match tokio::time::timeout(limit, self.incoming.next()).await {
            Err(_elapsed) => refuse(Refused::HelloLate(HELLO_S_MAX)),
            Ok(None) => refuse(Rejection::HelloExpected.into()),
            Ok(Some(Err(status))) => Err(Some(status)),
            Ok(Some(Ok(message))) => match work_message(message) {
                Ok(WorkMessage::Hello(hello)) => Ok(Command::Hello {
                    link: self.link,
                    hello,
                }),
                Ok(WorkMessage::Later(_)) => refuse(Rejection::HelloExpected.into()),
                Err(invalid) => refuse(invalid.into()),
            },
        }
    }

    /// Passes on the Hello and what follows it. Returns how the stream ends, or `None` where the
    /// engine ends it.
    async fn later(&mut self, hello: Command) -> Option<Option<Status>> {
        self.speaker.say(hello).await.ok()?;
        let mut goodbye = false;
        while let Some(message) = self.incoming.next().await {
            let refused = match message {
                Err(status) => return Some(Some(status)),
                Ok(message) => match work_message(message) {
                    Ok(WorkMessage::Later(message)) => {
                        goodbye |= matches!(message, FromWorker::Goodbye);
                        for message in in_parts(message) {
                            let link = self.link;
                            let command = Command::FromWorker { link, message };
                            self.speaker.say(command).await.ok()?;
                        }
                        continue;
                    }
                    Ok(WorkMessage::Hello(_)) => Rejection::HelloRepeated.into(),
                    Err(invalid) => Refused::from(invalid),
                },
            };
            let aside = Box::new(Aside::Refusal(refused.refusal()));
            self.asides.send(aside).await.ok()?;
        }
        // Half-closed: after a Goodbye the engine answers and ends the stream; without one the
        // worker cannot be heard any more, as if the stream had broken.
        if goodbye { None } else { Some(None) }
    }
}

/// A message as the engine takes it: many reports in several parts, for each may be followed by tasks
/// that take far more than it did, and a turn is bounded.
fn in_parts(message: FromWorker) -> Vec<FromWorker> {
    let FromWorker::Reports(reports) = message else {
        return vec![message];
    };
    let parts = parts_of(reports, limits::REPORTS_PER_COMMAND_MAX);
    parts.into_iter().map(FromWorker::Reports).collect()
}

/// The coordinator's half. Dropping it closes the link and ends the reader.
struct Writer {
    link: Link,
    /// `None` once the reader has nothing more to say.
    asides: Option<mpsc::Receiver<Box<Aside>>>,
    packer: Packer,
    /// Nothing more is taken; with the status that the stream then ends with, if it is not OK.
    ended: Option<Option<Status>>,
    _reader: DropGuard,
}

/// What the writer waited for.
enum Input {
    /// Everything that the engine had for this stream; nothing at the end.
    Told(Vec<Told>),
    Aside(Option<Aside>),
}

impl Writer {
    async fn next(&mut self) -> Option<Result<pb::WorkResponse, Status>> {
        loop {
            if let Some(message) = self.packer.pop() {
                return Some(Ok(message));
            }
            if let Some(end) = &mut self.ended {
                return end.take().map(Err);
            }
            match self.input().await {
                Input::Told(told) if told.is_empty() => {
                    self.ended = Some(Some(Refused::StreamCut.status(RPC)));
                }
                Input::Told(told) => told.into_iter().for_each(|told| self.take(told)),
                Input::Aside(Some(Aside::Refusal(refusal))) => self.packer.refuse(refusal),
                Input::Aside(Some(Aside::End(status))) => {
                    while let Ok(told) = self.link.told.try_recv() {
                        self.take(told);
                    }
                    self.ended.get_or_insert(status);
                }
                Input::Aside(None) => self.asides = None,
            }
        }
    }

    async fn input(&mut self) -> Input {
        let mut told = Vec::new();
        let told = async {
            self.link.told.recv_many(&mut told, TOLD_AT_ONCE_MAX).await;
            told
        };
        let Some(asides) = &mut self.asides else {
            return Input::Told(told.await);
        };
        tokio::select! {
            told = told => Input::Told(told),
            aside = asides.recv() => Input::Aside(aside.map(|aside| *aside)),
        }
    }

    fn take(&mut self, told: Told) {
        match told {
            Told::Messages(messages) => {
                messages
                    .into_iter()
                    .for_each(|message| self.packer.add(message));
            }
            Told::Close(why) => {
                self.ended = Some(why.map(|why| Refused::Rejected(*why).status(RPC)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use pb::work_request::Message as Said;
    use pb::work_response::Message as Heard;
    use tokio_stream::wrappers::ReceiverStream;
    use tonic::Code;

    use super::*;
    use crate::engine::effect::{Effect, ToWorker};
    use crate::server::convert::delivery::tests::sample;
    use crate::server::testing::Engine;

    type Sent = Result<pb::WorkRequest, Status>;

    struct Worker {
        engine: Engine,
        say: mpsc::Sender<Sent>,
        stream: WorkStream,
        shutdown: CancellationToken,
        readers: TaskTracker,
    }

    impl Worker {
        fn open() -> Self {
            let engine = Engine::silent();
            let (say, said) = mpsc::channel(16);
            let (shutdown, readers) = (CancellationToken::new(), TaskTracker::new());
            let incoming = ReceiverStream::new(said);
            let stream = open(&engine.edge(), incoming, shutdown.clone(), &readers).unwrap();
            Self {
                engine,
                say,
                stream,
                shutdown,
                readers,
            }
        }

        /// A worker whose Hello has reached the engine.
        async fn welcome() -> (Self, LinkId) {
            let worker = Self::open();
            worker.say(hello()).await;
            match worker.engine.commands().await.as_slice() {
                [Command::Hello { link, .. }] => {
                    let link = *link;
                    (worker, link)
                }
                other => panic!("a hello first: {other:?}"),
            }
        }

        async fn say(&self, message: Said) {
            self.say
                .send(Ok(pb::WorkRequest {
                    message: Some(message),
                }))
                .await
                .unwrap();
        }

        fn half_close(&mut self) {
            let (closed, _said) = mpsc::channel(1);
            drop(std::mem::replace(&mut self.say, closed));
        }

        async fn heard(&mut self) -> Heard {
            self.stream.next().await.unwrap().unwrap().message.unwrap()
        }

        /// The status that the stream ends with.
        async fn end(mut self) -> Status {
            let status = self.stream.next().await.unwrap().unwrap_err();
            assert!(self.stream.next().await.is_none());
            status
        }
    }

    fn hello() -> Said {
        let queue = pb::QueueSubscription {
            queue: "mail".into(),
            weight: 1,
        };
        let worker = pb::WorkerInfo {
            worker_id: "w".into(),
            queues: vec![queue],
            ..Default::default()
        };
        Said::Hello(pb::Hello {
            worker: Some(worker),
            ..Default::default()
        })
    }

    fn tell(link: LinkId, message: ToWorker) -> Effect {
        Effect::Tell { link, message }
    }

    #[tokio::test]
    async fn what_waits_is_told_in_order_in_as_few_messages_as_possible() {
        let (mut worker, link) = Worker::welcome().await;
        let delivery = |sequence| tell(link, ToWorker::Delivery(Box::new(sample(sequence, 10))));
        worker.engine.release(vec![delivery(1), delivery(2)]);
        worker
            .engine
            .release(vec![delivery(3), tell(link, ToWorker::Ping { nonce: 9 })]);
        let Heard::Deliveries(batch) = worker.heard().await else {
            panic!("deliveries first")
        };
        let sequences: Vec<u64> = batch.deliveries.iter().map(|each| each.sequence).collect();
        assert_eq!(sequences, [1, 2, 3]);
        assert_eq!(worker.heard().await, Heard::Ping(pb::Ping { nonce: 9 }));
    }

    #[tokio::test]
    async fn a_message_that_cannot_be_used_is_refused_and_the_stream_goes_on() {
        let (mut worker, link) = Worker::welcome().await;
        worker
            .say(Said::Capacity(pb::Capacity {
                tasks_max: 10_001,
                ..Default::default()
            }))
            .await;
        let Heard::Refusal(refusal) = worker.heard().await else {
            panic!("a refusal")
        };
        assert_eq!(refusal.field, "capacity.tasks_max");
        worker.say(hello()).await;
        let Heard::Refusal(refusal) = worker.heard().await else {
            panic!("a refusal")
        };
        assert_eq!(refusal.reason, "HELLO_REPEATED");
        worker.say(Said::Pong(pb::Pong { nonce: 1 })).await;
        let heard = worker.engine.commands().await;
        let pong = matches!(
            heard.as_slice(),
            [Command::FromWorker { link: from, message: FromWorker::Pong }] if *from == link
        );
        assert!(pong, "{heard:?}");
    }

    #[tokio::test]
    async fn the_first_message_must_be_a_good_hello() {
        let worker = Worker::open();
        worker.say(Said::Pong(pb::Pong { nonce: 1 })).await;
        assert_eq!(worker.end().await.code(), Code::FailedPrecondition);
        let worker = Worker::open();
        worker.say(Said::Hello(pb::Hello::default())).await;
        let status = worker.end().await;
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(status.message(), "hello.worker is required");
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_without_a_hello_ends_after_its_time() {
        let status = Worker::open().end().await;
        assert_eq!(status.code(), Code::DeadlineExceeded);
        assert!(
            status.message().contains("within 10 s"),
            "{}",
            status.message()
        );
    }

    #[tokio::test]
    async fn the_engines_last_words_are_heard_before_it_ends_the_stream() {
        let (mut worker, link) = Worker::welcome().await;
        let why = Some(Rejection::LinkReplaced);
        let ping = tell(link, ToWorker::Ping { nonce: 1 });
        worker
            .engine
            .release(vec![ping, Effect::CloseLink { link, why }]);
        assert_eq!(worker.heard().await, Heard::Ping(pb::Ping { nonce: 1 }));
        assert_eq!(worker.end().await.code(), Code::Aborted);
    }

    #[tokio::test]
    async fn a_goodbye_waits_for_the_engine_to_end_the_stream() {
        let (mut worker, link) = Worker::welcome().await;
        worker.say(Said::Goodbye(pb::Goodbye::default())).await;
        worker.half_close();
        assert_eq!(worker.engine.commands().await.len(), 1);
        worker.readers.close();
        worker.readers.wait().await;
        let last = tell(link, ToWorker::Ping { nonce: 2 });
        worker
            .engine
            .release(vec![last, Effect::CloseLink { link, why: None }]);
        assert_eq!(worker.heard().await, Heard::Ping(pb::Ping { nonce: 2 }));
        assert!(worker.stream.next().await.is_none());
    }

    #[tokio::test]
    async fn a_worker_that_hangs_up_without_a_goodbye_leaves_its_link() {
        let (mut worker, link) = Worker::welcome().await;
        worker.half_close();
        assert!(worker.stream.next().await.is_none());
        drop(worker.stream);
        let left = worker.engine.commands().await;
        assert!(matches!(left.as_slice(), [Command::LinkClosed { link: gone }] if *gone == link));
    }

    #[tokio::test]
    async fn dropping_the_stream_ends_the_reader_and_tells_the_engine() {
        let (worker, link) = Worker::welcome().await;
        drop(worker.stream);
        worker.readers.close();
        worker.readers.wait().await;
        let left = worker.engine.commands().await;
        assert!(matches!(left.as_slice(), [Command::LinkClosed { link: gone }] if *gone == link));
    }

    #[tokio::test]
    async fn a_shutdown_ends_a_stream_that_said_nothing_yet() {
        let worker = Worker::open();
        worker.shutdown.cancel();
        assert_eq!(worker.end().await.code(), Code::Unavailable);
    }

    #[tokio::test]
    async fn a_stream_that_is_cut_from_inside_says_so() {
        let (worker, _link) = Worker::welcome().await;
        worker.engine.desk.close();
        let status = worker.end().await;
        assert_eq!(status.code(), Code::Unavailable);
        assert!(
            status
                .message()
                .contains("connect again with your session id")
        );
    }
}
