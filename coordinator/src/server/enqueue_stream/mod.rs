//! EnqueueStream: tasks without waiting for one another.
//!
//! Owns how much may be on its way: a message is one question to the engine, and no message is taken
//! that would leave more than `limits::ENQUEUE_STREAM_UNACKED_MAX` items without an answer.
//! The producer that the first message names, or none, is the stream's.
//! Invariants: each item read is acknowledged once; after half-close everything is acknowledged,
//! then the stream ends OK; where it ends with an error, what was read before is acknowledged first.
//!
//! There is no task of its own: the stream makes progress when it is polled, so a client that does
//! not read its acknowledgements is not read either.

use std::pin::Pin;
use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::{self, FuturesUnordered, Stream, StreamExt as _};
use redrive_proto::v1 as pb;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::convert::task::new_task;
use super::convert::{At, Parsed, field};
use super::edge::Edge;
use super::enqueue::{Batch, WhenFull, effect_view};
use super::status::Refused;
use crate::engine::command::{Caller, Producer};
use crate::engine::effect::Accepted;
use crate::engine::limits;
use crate::engine::rejection::Rejection;

const RPC: &str = "EnqueueStream";

/// The acknowledgements.
pub(crate) type AckStream =
    Pin<Box<dyn Stream<Item = Result<pb::EnqueueStreamResponse, Status>> + Send>>;

/// The state of one stream.
pub(crate) struct EnqueueStream<S> {
    edge: Edge,
    /// Who sends, as they say.
    by: Arc<str>,
    shutdown: CancellationToken,
    incoming: S,
    /// The producer that the first message named, or none; `None` until that was read.
    producer: Option<Option<Arc<str>>>,
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
    pub(crate) fn new(edge: Edge, by: Arc<str>, incoming: S, shutdown: CancellationToken) -> Self {
        let in_flight = FuturesUnordered::new();
        Self {
            edge,
            by,
            shutdown,
            incoming,
            producer: None,
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
        let items = message.items.len();
        if let Err(refused) = self.check(&message) {
            self.ended = Some(Some(Refused::from(refused).status(RPC)));
            return;
        }
        if self.unacked + items > limits::ENQUEUE_STREAM_UNACKED_MAX {
            self.held_back = Some(message);
            return;
        }
        self.unacked += items;
        let by = Caller {
            by: self.by.clone(),
            once: None,
        };
        let producer = self.producer.clone().flatten();
        self.in_flight
            .push(enqueue(self.edge.clone(), by, producer, message).boxed());
    }

    /// What is wrong with a message as a whole; takes the producer of the first.
    fn check(&mut self, message: &pb::EnqueueStreamRequest) -> Parsed<()> {
        let root = At::Root;
        field::batch(
            message.items.len(),
            limits::BATCH_ITEMS_MAX,
            root.field("items"),
        )?;
        let at = root.field("producer_id");
        let named = field::optional_name(&message.producer_id, at)?;
        match (&self.producer, named) {
            (None, named) => {
                self.producer = Some(named);
                Ok(())
            }
            (Some(Some(known)), Some(named)) if *known != named => Err(at.refuse(format_args!(
                "is {}, but the stream's producer is {known}: open another stream",
                field::quoted(&named)
            ))),
            // What came before it is not remembered: it would only seem repeatable.
            (Some(None), Some(named)) => Err(at.refuse(format_args!(
                "is {}, but the stream's first message named no producer: open another stream",
                field::quoted(&named)
            ))),
            (Some(_), _) => Ok(()),
        }
    }
}

/// Asks the engine for all items of one message and acknowledges each.
async fn enqueue(
    edge: Edge,
    by: Caller,
    producer: Option<Arc<str>>,
    message: pb::EnqueueStreamRequest,
) -> Vec<pb::EnqueueAck> {
    let root = At::Root;
    let namespace = field::namespace(&message.namespace, root.field("namespace"));
    let mut sequences = Vec::with_capacity(message.items.len());
    let mut tasks = Vec::with_capacity(message.items.len());
    for item in message.items {
        sequences.push(item.sequence);
        tasks.push(match &namespace {
            Ok(namespace) => new_task(namespace, item.task, root).map_err(Refused::from),
            Err(refused) => Err(refused.clone().into()),
        });
    }
    let batch = Batch {
        namespace: namespace.unwrap_or_default(),
        tasks,
        producer: producer.map(|id| Producer {
            id,
            sequences: sequences.clone(),
        }),
    };
    match edge.enqueue(by, batch, WhenFull::Wait).await {
        Ok(results) => sequences
            .into_iter()
            .zip(results)
            .map(|(sequence, result)| ack(sequence, result))
            .collect(),
        Err(refused) => sequences
            .into_iter()
            .map(|sequence| ack(sequence, Err(refused.clone())))
            .collect(),
    }
}

fn ack(sequence: u64, result: Result<Accepted, Refused>) -> pb::EnqueueAck {
    use pb::enqueue_ack::Result as Shown;
    let (result, effect) = match result {
        Ok(task) => (Shown::TaskId(task.id.to_string()), effect_view(task.how)),
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
mod tests;
