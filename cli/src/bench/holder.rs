//! Workers that hold a stream each and get no work, in a process of their own: what a coordinator
//! spends on those who wait.
//!
//! Owns the connections, one for each worker, and the word that all of them stand. Answers pings,
//! reports nothing. Ends by itself where its parent is gone.

use std::{os::unix::process::parent_id, time::Duration};

use anyhow::{Context as _, bail};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use redrive_client::{
    Address, connect,
    v1::{self, work_request, work_response::Message, worker_service_client::WorkerServiceClient},
};
use tokio::{sync::mpsc, task::JoinSet};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::{clock, output};

/// Workers that connect at the same time.
const CONNECTING_MAX: usize = 64;
/// Messages of one worker that wait to be sent: its Hello and answers to pings.
const OUTGOING_MAX: usize = 2;
/// How often it is looked whether the parent still lives.
const PARENT_POLL: Duration = Duration::from_millis(500);
/// What is printed once all stand.
pub(crate) const ALL_STAND: &str = "all workers stand";

/// What is held.
#[derive(Debug, Clone)]
pub(crate) struct Holding {
    /// Where.
    pub(crate) address: Address,
    /// In which namespace.
    pub(crate) namespace: String,
    /// How many workers.
    pub(crate) workers: u64,
    /// How many tasks each has room for; 0 where the server would make some up.
    pub(crate) room: u32,
}

/// A stream of one worker.
struct Line {
    requests: mpsc::Sender<v1::WorkRequest>,
    responses: Streaming<v1::WorkResponse>,
}

/// Connects all workers, says so, and holds them until the parent is gone.
///
/// # Errors
/// Where one is not welcome, or is sent away.
pub(crate) async fn hold(holding: &Holding) -> anyhow::Result<()> {
    let parent = parent_id();
    let connecting = (0..holding.workers).map(|number| connect(holding, number));
    let lines: Vec<Line> = stream::iter(connecting)
        .buffer_unordered(CONNECTING_MAX)
        .try_collect()
        .await?;
    let mut held = JoinSet::new();
    for line in lines {
        held.spawn(line.answer());
    }
    output::note(ALL_STAND);
    while parent_id() == parent {
        tokio::select! {
            () = clock::pause(PARENT_POLL) => {}
            Some(ended) = held.join_next() => return ended?,
        }
    }
    Ok(())
}

async fn connect(holding: &Holding, number: u64) -> anyhow::Result<Line> {
    let (requests, outgoing) = mpsc::channel(OUTGOING_MAX);
    let hello = v1::Hello {
        namespace: holding.namespace.clone(),
        worker: Some(v1::WorkerInfo {
            worker_id: format!("bench-idle-{number}"),
            queues: vec![v1::QueueSubscription {
                queue: "bench-idle".to_owned(),
                weight: 1,
            }],
            ..Default::default()
        }),
        capacity: Some(v1::Capacity {
            tasks_max: holding.room,
            ..Default::default()
        }),
        ..Default::default()
    };
    let message = Some(work_request::Message::Hello(hello));
    requests.try_send(v1::WorkRequest { message })?;
    let mut stub = WorkerServiceClient::new(connect::connect(&holding.address).await?);
    let call = stub.work(ReceiverStream::new(outgoing)).await;
    let mut responses = call
        .context("the coordinator takes no workers")?
        .into_inner();
    let first = responses.message().await?;
    let Some(Message::Welcome(_)) = first.and_then(|first| first.message) else {
        bail!("the coordinator does not welcome a worker");
    };
    Ok(Line {
        requests,
        responses,
    })
}

impl Line {
    /// Answers pings until the stream ends, which it must not.
    async fn answer(mut self) -> anyhow::Result<()> {
        while let Some(response) = self.responses.message().await? {
            if let Some(Message::Ping(v1::Ping { nonce })) = response.message {
                let message = Some(work_request::Message::Pong(v1::Pong { nonce }));
                self.requests.send(v1::WorkRequest { message }).await?;
            }
        }
        bail!("the coordinator ended the stream of an idle worker")
    }
}
