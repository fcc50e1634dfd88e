//! The order and number of what is read and acknowledged.

use futures::FutureExt as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::*;
use crate::engine::command::{Call, Command, NewTask};
use crate::engine::effect::{Answer, EnqueueEffect};
use crate::engine::ids::{RequestId, ShardId, TaskId, Timestamp};
use crate::server::testing::Engine;

type Sent = Result<pb::EnqueueStreamRequest, Status>;

fn open(engine: &Engine) -> (mpsc::Sender<Sent>, AckStream, CancellationToken) {
    let (send, receive) = mpsc::channel(64);
    let shutdown = CancellationToken::new();
    let incoming = ReceiverStream::new(receive);
    let stream = EnqueueStream::new(engine.edge(), "kim".into(), incoming, shutdown.clone());
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
    let id = |low| {
        Ok(Accepted {
            id: TaskId::new(Timestamp(1), ShardId(0), low),
            how: EnqueueEffect::Created,
        })
    };
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
        Ok(accept(&tasks.tasks))
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
                ..
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

#[tokio::test]
async fn a_producer_is_told_with_the_sequences_of_what_could_be_read() {
    let asked = Arc::new(std::sync::Mutex::new(Vec::new()));
    let log = Arc::clone(&asked);
    let engine = Engine::answering_callers(move |caller, call| {
        assert_eq!(&*caller.by, "kim");
        let Call::Enqueue(enqueue) = call else {
            panic!("not asked here: {call:?}")
        };
        log.lock().unwrap().push(enqueue.producer);
        Ok(Answer::Enqueued(
            enqueue
                .tasks
                .iter()
                .map(|_| {
                    Ok(Accepted {
                        id: TaskId::new(Timestamp(1), ShardId(0), 1),
                        how: EnqueueEffect::Existing,
                    })
                })
                .collect(),
        ))
    });
    let (send, mut stream, _) = open(&engine);
    let mut first = message(7..10);
    first.producer_id = "p-1".into();
    first.items[1].task.as_mut().unwrap().kind.clear();
    send.send(Ok(first)).await.unwrap();
    let told = acks(&mut stream).await;
    assert_eq!(told[0].effect(), pb::EnqueueEffect::Existing);
    assert_eq!(told[1].effect(), pb::EnqueueEffect::Unspecified);
    send.send(Ok(message(10..11))).await.unwrap();
    assert_eq!(sequences(&acks(&mut stream).await), [10]);
    let producer = |sequences: &[u64]| {
        Some(Producer {
            id: "p-1".into(),
            sequences: sequences.to_vec(),
        })
    };
    assert_eq!(*asked.lock().unwrap(), [producer(&[7, 9]), producer(&[10])]);
}

#[tokio::test]
async fn another_producer_ends_the_stream_behind_what_was_accepted() {
    let engine = accepting();
    for (later, field) in [("p-2", "producer_id is \"p-2\""), ("a b", "producer_id")] {
        let (send, mut stream, _) = open(&engine);
        let of = |producer: &str, sequences| pb::EnqueueStreamRequest {
            producer_id: producer.into(),
            ..message(sequences)
        };
        send.send(Ok(of("p-1", 0..2))).await.unwrap();
        send.send(Ok(of(later, 2..4))).await.unwrap();
        assert_eq!(sequences(&acks(&mut stream).await), [0, 1]);
        let status = stream.next().await.unwrap().unwrap_err();
        assert_eq!(status.code(), tonic::Code::InvalidArgument);
        assert!(status.message().starts_with(field), "{}", status.message());
    }
}

#[tokio::test]
async fn a_producer_that_the_first_message_did_not_name_ends_the_stream() {
    let engine = accepting();
    let (send, mut stream, _) = open(&engine);
    let late = pb::EnqueueStreamRequest {
        producer_id: "p-1".into(),
        ..message(2..4)
    };
    send.send(Ok(message(0..2))).await.unwrap();
    send.send(Ok(late)).await.unwrap();
    assert_eq!(sequences(&acks(&mut stream).await), [0, 1]);
    let status = stream.next().await.unwrap().unwrap_err();
    assert_eq!(status.code(), tonic::Code::InvalidArgument);
    assert_eq!(
        status.message(),
        "producer_id is \"p-1\", but the stream's first message named no producer: open another \
         stream"
    );
}
