//! Rude clients: they do not read what they are sent, send half of what they began, and vanish in the
//! middle of a call or a stream.
//!
//! Owns what each left behind, as long as somebody keeps it. What was on its way when they vanished
//! has a fate that nobody knows, and the history says so.

use std::{any::Any, convert::Infallible, fmt, future::poll_fn, time::Duration};

use bytes::Bytes;
use futures::StreamExt as _;
use http_body_util::StreamBody;
use hyper::body::Frame;

use redrive_client::v1::{
    self as pb, event_service_client::EventServiceClient, task_service_client::TaskServiceClient,
    work_request, worker_service_client::WorkerServiceClient,
};
use tokio::{io::AsyncWriteExt as _, net::TcpStream, sync::mpsc, task::JoinSet, time::timeout};
use tokio_stream::{iter, wrappers::ReceiverStream};
use tonic::codegen::{Service as _, http};

use super::{
    Context,
    tasks::{self, Made},
    work,
};
use crate::{
    Dice,
    history::{Enqueued, Fact},
};

/// How long opening something may take.
const OPEN_MAX: Duration = Duration::from_secs(5);
/// Tasks that a worker asks for which reads nothing.
const DEAF_CAPACITY: u32 = 64;
/// Items of a stream whose sender vanishes.
const ITEMS_MAX: u64 = 100;
/// How long a call is watched that is to wait.
const WAIT_TO_SEE: Duration = Duration::from_millis(200);
/// The longest that somebody stays before they vanish, in microseconds.
const STAY_US_MAX: u64 = 20_000;
/// Bytes of the largest message.
const MESSAGE_BYTES_MAX: u32 = 4 << 20;
/// Bytes of it that are sent at once.
const CHUNK_BYTES: usize = 64 << 10;
/// What it is sent to.
const METHOD: &str = "/redrive.v1.TaskService/EnqueueTask";
/// What every HTTP/2 client says first.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// An empty SETTINGS frame.
const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
/// The beginning of a HEADERS frame of 200 bytes, which never come.
const HALF_HEADERS: [u8; 12] = [0, 0, 200, 1, 4, 0, 0, 0, 1, 0x82, 0x86, 0x84];

/// What a rude client keeps open until this is dropped.
pub struct Kept(#[expect(dead_code, reason = "it is open while it is there")] Box<dyn Any + Send>);

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").finish_non_exhaustive()
    }
}

/// Watches all events and reads none.
pub async fn watch_deafly(context: &Context) -> Option<Kept> {
    let mut stub = EventServiceClient::new(context.channel());
    let watching = stub.watch_events(pb::WatchEventsRequest::default());
    let stream = timeout(OPEN_MAX, watching).await.ok()?.ok()?;
    Some(Kept(Box::new((stub, stream))))
}

/// Asks for work and reads nothing, not even a ping.
pub async fn work_deafly(context: &Context, number: u64) -> Option<Kept> {
    let (requests, outgoing) = mpsc::channel(1);
    let hello = pb::Hello {
        worker: Some(work::info(format!("deaf-{number}"))),
        capacity: Some(pb::Capacity {
            tasks_max: DEAF_CAPACITY,
            ..Default::default()
        }),
        ..Default::default()
    };
    let message = Some(work_request::Message::Hello(hello));
    requests.try_send(pb::WorkRequest { message }).unwrap();
    let mut stub = WorkerServiceClient::new(context.channel());
    let working = stub.work(ReceiverStream::new(outgoing));
    let stream = timeout(OPEN_MAX, working).await.ok()?.ok()?;
    Some(Kept(Box::new((stub, requests, stream))))
}

/// Connects, and stops in the middle of its first words.
pub async fn stop_halfway(context: &Context) -> Option<Kept> {
    let mut stream = TcpStream::connect(context.address).await.ok()?;
    for words in [PREFACE, &SETTINGS, &HALF_HEADERS] {
        stream.write_all(words).await.ok()?;
    }
    Some(Kept(Box::new(stream)))
}

/// Opens so many streams of events on one connection, as many as it may have, and reads none.
pub async fn watch_at_once(context: &Context, streams: u32) -> Option<Kept> {
    let stub = EventServiceClient::new(context.channel());
    let mut open = Vec::new();
    for _ in 0..streams {
        let mut stub = stub.clone();
        let watching = stub.watch_events(pb::WatchEventsRequest::default());
        open.push(timeout(OPEN_MAX, watching).await.ok()?.ok()?);
    }
    // One too many waits until another one ends.
    let mut one_more = stub.clone();
    let watching = one_more.watch_events(pb::WatchEventsRequest::default());
    let waits = timeout(WAIT_TO_SEE, watching).await;
    assert!(
        waits.is_err(),
        "{streams} streams are not the most: {waits:?}"
    );
    Some(Kept(Box::new((stub, open))))
}

/// Begins a call whose message is the largest, and stops a byte before its end.
#[must_use]
pub fn half_a_message(context: &Context) -> Kept {
    let chunk = Bytes::from_static(&[0; CHUNK_BYTES]);
    let mut prefix = vec![0];
    prefix.extend(u32::to_be_bytes(MESSAGE_BYTES_MAX));
    let whole = MESSAGE_BYTES_MAX as usize / CHUNK_BYTES;
    let chunks = std::iter::once(Bytes::from(prefix))
        .chain(std::iter::repeat_n(chunk.clone(), whole - 1))
        .chain(std::iter::once(chunk.slice(1..)));
    let frames = chunks.map(|bytes| Ok::<_, Infallible>(Frame::data(bytes)));
    let body = StreamBody::new(futures::stream::iter(frames).chain(futures::stream::pending()));
    let request = http::Request::post(format!("http://{}{METHOD}", context.address))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(tonic::body::Body::new(body));
    let mut channel = context.channel();
    let mut call = JoinSet::new();
    call.spawn(async move {
        let ready = poll_fn(|cx| channel.poll_ready(cx)).await;
        // It waits for an answer for ever; whoever drops the set ends that.
        ready.ok()?;
        channel.call(request.ok()?).await.ok()
    });
    Kept(Box::new(call))
}

/// Enqueues a task and is gone before the answer, most of the time.
pub async fn vanish_in_a_call(context: &Context, dice: &mut Dice) {
    let Some((marker, spec)) = sent(context, dice) else {
        return;
    };
    let request = pb::EnqueueTaskRequest {
        task: Some(spec),
        ..Default::default()
    };
    let mut stub = TaskServiceClient::new(context.channel());
    let stay = Duration::from_micros(dice.between(0, STAY_US_MAX));
    let outcome = match timeout(stay, stub.enqueue_task(request)).await {
        Ok(Ok(answer)) => Enqueued::Accepted(answer.into_inner().task_id),
        Ok(Err(_)) | Err(_) => Enqueued::Unknown,
    };
    context.ended(marker, outcome);
}

/// Sends some items into a stream and is gone before they are acknowledged.
pub async fn vanish_in_a_stream(context: &Context, dice: &mut Dice) {
    let count = dice.between(1, ITEMS_MAX);
    let sent: Vec<_> = (0..count).filter_map(|_| sent(context, dice)).collect();
    let messages = sent.iter().map(|(marker, spec)| pb::EnqueueStreamRequest {
        items: vec![pb::EnqueueItem {
            sequence: *marker,
            task: Some(spec.clone()),
        }],
        ..Default::default()
    });
    let messages: Vec<_> = messages.collect();
    let mut stub = TaskServiceClient::new(context.channel());
    let stay = Duration::from_micros(dice.between(0, STAY_US_MAX));
    let gone = timeout(stay, async {
        let answer = stub.enqueue_stream(iter(messages)).await;
        // Some are there when the first acknowledgements come.
        answer.ok()?.into_inner().message().await.ok()
    });
    drop(gone.await);
    for (marker, _) in sent {
        context.ended(marker, Enqueued::Unknown);
    }
}

/// A task, written down as sent, where there is room for one.
fn sent(context: &Context, dice: &mut Dice) -> Option<(u64, pb::TaskSpec)> {
    let marker = context.marker()?;
    let Made { task, digest, asks } = tasks::made(marker, dice, false);
    context.history.note(Fact::EnqueueInvoked {
        marker,
        digest,
        asks,
    });
    Some((marker, task.build().unwrap()))
}
