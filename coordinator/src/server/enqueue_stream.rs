//! EnqueueStream: tasks without waiting for one another.
//!
//! Owns how much may be on its way: a message is one question to the engine, and no message is taken
//! that would leave more than `limits::ENQUEUE_STREAM_UNACKED_MAX` items without an answer.
//! Invariants: each item read is acknowledged once; after half-close everything is acknowledged,
//! then the stream ends OK; where it ends with an error, what was read before is acknowledged first.
//!
//! There is no task of its own: the stream makes progress when it is polled, so a client that does
//! not read its acknowledgements is not read either.

use std::pin::Pin;

use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::{self, FuturesUnordered, Stream, StreamExt as _};
use redrive_proto::v1 as pb;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::convert::task::new_task;
use super::convert::{At, field};
use super::edge::Edge;
use super::status::Refused;
use super::task_service::WhenFull;
use crate::engine::limits;
use crate::engine::rejection::Rejection;

const RPC: &str = "EnqueueStream";

/// The acknowledgements.
pub(crate) type AckStream =
    Pin<Box<dyn Stream<Item = Result<pb::EnqueueStreamResponse, Status>> + Send>>;

/// The state of one stream.
pub(crate) struct EnqueueStream<S> {
    edge: Edge,
    shutdown: CancellationToken,
    incoming: S,
    /// A message that was read and waits for room.
    held_back: Option<pb::EnqueueStreamRequest>,
    in_flight: FuturesUnordered<BoxFuture<'static, Vec<pb::EnqueueAck>>>,
    unacked: usize,
    /// Nothing more is read; with the status that the stream then ends with, if it is not OK.
    ended: Option<Option<Status>>,
}

/// What the stream waited for.
enum Input {
    Acked(Vec<pb::EnqueueAck>),
    Message(Option<Result<pb::EnqueueStreamRequest, Status>>),
    Shutdown,
}

impl<S> EnqueueStream<S>
where
    S: Stream<Item = Result<pb::EnqueueStreamRequest, Status>> + Send + Unpin + 'static,
{
    pub(crate) fn new(edge: Edge, incoming: S, shutdown: CancellationToken) -> Self {
        let in_flight = FuturesUnordered::new();
        Self {
            edge,
            shutdown,
            incoming,
            held_back: None,
            in_flight,
            unacked: 0,
            ended: None,
        }
    }

    /// The acknowledgements, until the stream is over.
    pub(crate) fn acks(self) -> AckStream {
        let step = |mut stream: Self| async move {
            let next = stream.next().await?;
            Some((next, stream))
        };
        stream::unfold(self, step).boxed()
    }

    async fn next(&mut self) -> Option<Result<pb::EnqueueStreamResponse, Status>> {
        loop {
            self.take_held_back();
            if self.in_flight.is_empty()
                && let Some(end) = &mut self.ended
            {
                return end.take().map(Err);
            }
            match self.input().await {
                Input::Acked(mut acks) => {
                    while let Some(Some(more)) = self.in_flight.next().now_or_never() {
                        acks.extend(more);
                    }
                    self.unacked -= acks.len();
                    return Some(Ok(pb::EnqueueStreamResponse { acks }));
                }
                Input::Message(Some(Ok(message))) => self.held_back = Some(message),
                Input::Message(Some(Err(status))) => self.ended = Some(Some(status)),
                Input::Message(None) => self.ended = Some(None),
                Input::Shutdown => {
                    let refused = Refused::from(Rejection::ShuttingDown);
                    self.ended = Some(Some(refused.status(RPC)));
                }
            }
        }
    }

    async fn input(&mut self) -> Input {
        let reads = self.ended.is_none() && self.held_back.is_none();
        tokio::select! {
            biased;
            Some(acks) = self.in_flight.next() => Input::Acked(acks),
            () = self.shutdown.cancelled(), if self.ended.is_none() => Input::Shutdown,
            message = self.incoming.next(), if reads => Input::Message(message),
        }
    }

    /// Sends a message on its way as soon as its items fit.
    fn take_held_back(&mut self) {
        let Some(message) = self.held_back.take() else {
            return;
        };
        let root = At::Root;
        let items = message.items.len();
        if let Err(refused) = field::batch(items, limits::BATCH_ITEMS_MAX, root.field("items")) {
            self.ended = Some(Some(Refused::from(refused).status(RPC)));
            return;
        }
        if self.unacked + items > limits::ENQUEUE_STREAM_UNACKED_MAX {
            self.held_back = Some(message);
            return;
        }
        self.unacked += items;
        self.in_flight
            .push(enqueue(self.edge.clone(), message).boxed());
    }
}

/// Asks the engine for all items of one message and acknowledges each.
async fn enqueue(edge: Edge, message: pb::EnqueueStreamRequest) -> Vec<pb::EnqueueAck> {
    let root = At::Root;
    let namespace = field::namespace(&message.namespace, root.field("namespace"));
    let mut sequences = Vec::with_capacity(message.items.len());
    let mut parsed = Vec::with_capacity(message.items.len());
    for item in message.items {
        sequences.push(item.sequence);
        parsed.push(match &namespace {
            Ok(namespace) => new_task(namespace, item.task, root).map_err(Refused::from),
            Err(refused) => Err(refused.clone().into()),
        });
    }
    match edge.enqueue(parsed, WhenFull::Wait).await {
        Ok(results) => sequences
            .into_iter()
            .zip(results)
            .map(|(sequence, result)| ack(sequence, result.map(|id| id.to_string())))
            .collect(),
        Err(refused) => sequences
            .into_iter()
            .map(|sequence| ack(sequence, Err(refused.clone())))
            .collect(),
    }
}

fn ack(sequence: u64, result: Result<String, Refused>) -> pb::EnqueueAck {
    use pb::enqueue_ack::Result as Shown;
    let (result, effect) = match result {
        Ok(id) => (Shown::TaskId(id), pb::EnqueueEffect::Created),
        Err(refused) => (
            Shown::Refusal(refused.refusal()),
            pb::EnqueueEffect::Unspecified,
        ),
    };
    pb::EnqueueAck {
        sequence,
        result: Some(result),
        effect: effect.into(),
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use tokio::sync::mpsc;
    use tokio_stream::wrappers::ReceiverStream;

    use super::*;
    use crate::engine::command::{Call, Command, NewTask};
    use crate::engine::effect::Answer;
    use crate::engine::ids::{RequestId, ShardId, TaskId, Timestamp};
    use crate::server::testing::Engine;

    type Sent = Result<pb::EnqueueStreamRequest, Status>;

    fn open(engine: &Engine) -> (mpsc::Sender<Sent>, AckStream, CancellationToken) {
        let (send, receive) = mpsc::channel(64);
        let shutdown = CancellationToken::new();
        let incoming = ReceiverStream::new(receive);
        let stream = EnqueueStream::new(engine.edge(), incoming, shutdown.clone());
        (send, stream.acks(), shutdown)
    }

    fn message(sequences: std::ops::Range<u64>) -> pb::EnqueueStreamRequest {
        let item = |sequence| pb::EnqueueItem {
            sequence,
            task: Some(pb::TaskSpec {
                queue: "mail".into(),
                kind: "send".into(),
                ..Default::default()
            }),
        };
        let items = sequences.map(item).collect();
        pb::EnqueueStreamRequest {
            namespace: String::new(),
            items,
            ..Default::default()
        }
    }

    fn accept(tasks: &[NewTask]) -> Answer {
        let id = |low| Ok(TaskId::new(Timestamp(1), ShardId(0), low));
        Answer::Enqueued((0..tasks.len() as u64).map(id).collect())
    }

    fn sequences(acks: &[pb::EnqueueAck]) -> Vec<u64> {
        acks.iter().map(|ack| ack.sequence).collect()
    }

    fn accepting() -> Engine {
        Engine::answering(|call| {
            let Call::Enqueue(tasks) = call else {
                panic!("not asked here: {call:?}")
            };
            Ok(accept(&tasks))
        })
    }

    async fn acks(stream: &mut AckStream) -> Vec<pb::EnqueueAck> {
        stream.next().await.unwrap().unwrap().acks
    }

    #[tokio::test]
    async fn half_close_is_answered_with_every_acknowledgement_and_then_ok() {
        let engine = accepting();
        let (send, mut stream, _) = open(&engine);
        for start in [0, 10, 20] {
            send.send(Ok(message(start..start + 10))).await.unwrap();
        }
        drop(send);
        let mut seen = Vec::new();
        while let Some(response) = stream.next().await {
            seen.extend(sequences(&response.unwrap().acks));
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..30).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_bad_item_is_refused_alone_and_in_its_place() {
        let engine = accepting();
        let (send, mut stream, _) = open(&engine);
        let mut bad = message(1..4);
        bad.items[1].task.as_mut().unwrap().kind = "a b".into();
        send.send(Ok(bad)).await.unwrap();
        let acks = acks(&mut stream).await;
        assert_eq!(sequences(&acks), [1, 2, 3]);
        let refused = |ack: &pb::EnqueueAck| match ack.result.clone().unwrap() {
            pb::enqueue_ack::Result::TaskId(_) => None,
            pb::enqueue_ack::Result::Refusal(refusal) => Some(refusal.field),
        };
        let refused: Vec<_> = acks.iter().map(refused).collect();
        assert_eq!(refused, [None, Some("kind".to_owned()), None]);
    }

    #[tokio::test]
    async fn no_more_is_read_than_may_be_unacknowledged() {
        let engine = Engine::silent();
        let (send, mut stream, _) = open(&engine);
        for start in 0..8 {
            send.send(Ok(message(start * 1000..start * 1000 + 1000)))
                .await
                .unwrap();
        }
        assert!(
            stream.next().now_or_never().is_none(),
            "nothing is answered yet"
        );
        let asked: Vec<RequestId> = engine
            .commands()
            .await
            .into_iter()
            .map(|command| {
                let Command::Call {
                    request,
                    call: Call::Enqueue(_),
                } = command
                else {
                    panic!("{command:?}");
                };
                request
            })
            .collect();
        assert_eq!(
            asked.len(),
            4,
            "4,000 items; the fifth message would make it 5,000"
        );
        engine.desk.reply(asked[2], Err(Rejection::ShuttingDown));
        assert_eq!(
            sequences(&acks(&mut stream).await),
            (2000..3000).collect::<Vec<_>>()
        );
        assert!(stream.next().now_or_never().is_none());
        assert_eq!(
            engine.commands().await.len(),
            1,
            "there is room for one more message"
        );
    }

    #[tokio::test]
    async fn a_message_without_items_ends_the_stream_behind_what_was_accepted() {
        let engine = accepting();
        let (send, mut stream, _) = open(&engine);
        send.send(Ok(message(0..2))).await.unwrap();
        send.send(Ok(message(0..0))).await.unwrap();
        assert_eq!(sequences(&acks(&mut stream).await), [0, 1]);
        let status = stream.next().await.unwrap().unwrap_err();
        assert_eq!(status.code(), tonic::Code::InvalidArgument);
        assert!(
            status.message().starts_with("items is empty"),
            "{}",
            status.message()
        );
        assert!(stream.next().await.is_none());
    }

    #[tokio::test]
    async fn a_shutdown_acknowledges_what_was_read_and_ends_the_stream() {
        let engine = accepting();
        let (send, mut stream, shutdown) = open(&engine);
        send.send(Ok(message(0..2))).await.unwrap();
        assert_eq!(sequences(&acks(&mut stream).await), [0, 1]);
        shutdown.cancel();
        let status = stream.next().await.unwrap().unwrap_err();
        assert_eq!(status.code(), tonic::Code::Unavailable);
        assert!(stream.next().await.is_none());
    }
}
