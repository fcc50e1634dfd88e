//! The producers of the bench: one call a task, many tasks a call, streams.
//!
//! Owns how tasks are sent and the ids that come back. A task that is refused is an error: what is
//! measured is work that was accepted.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use anyhow::Context as _;
use futures::stream;
use redrive_client::{
    Client, NewTask,
    limits::MESSAGE_BYTES_MAX,
    v1::{self, task_service_client::TaskServiceClient},
};
use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinSet,
};

use super::{check, figure::Latencies, meter::Timeline, settings::Maker};

/// Tasks of one message of a stream.
pub(crate) const STREAM_BATCH: usize = 250;
/// Tasks of a stream that are not acknowledged yet.
const STREAM_WINDOW: usize = 4_000;
/// Tickets of the client's stream that are not looked at yet.
const TICKETS_MAX: usize = 4_096;

/// Enqueues tasks one a call, with so many calls in flight over all clients. Answers the ids and
/// how long each call took.
///
/// # Errors
/// The first call that fails.
pub(crate) async fn unary(
    clients: &[Client],
    in_flight: usize,
    tasks: u64,
    (maker, timeline): (&Maker, Timeline),
) -> anyhow::Result<(Vec<u128>, Latencies)> {
    let next = Arc::new(AtomicU64::new(0));
    let mut callers = JoinSet::new();
    for client in clients.iter().cycle().take(in_flight) {
        let (client, maker, next) = (client.clone(), maker.clone(), Arc::clone(&next));
        callers.spawn(async move {
            let (mut ids, mut spans) = (Vec::new(), Vec::new());
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= tasks {
                    return anyhow::Ok((ids, spans));
                }
                let task = NewTask::from(maker.spec(number));
                let began = timeline.ns();
                let answer = client.enqueue(task).await?;
                spans.push(timeline.ns().saturating_sub(began));
                ids.push(check::id(&answer.task_id)?);
            }
        });
    }
    let (mut all, mut latencies) = (Vec::new(), Latencies::new()?);
    while let Some(ended) = callers.join_next().await {
        let (ids, spans) = ended??;
        all.extend(ids);
        spans.into_iter().for_each(|span| latencies.record(span));
    }
    Ok((all, latencies))
}

/// Enqueues tasks so many a call, with one call in flight on each client.
///
/// # Errors
/// The first task that is refused, or call that fails.
pub(crate) async fn batches(
    clients: &[Client],
    batch: usize,
    tasks: u64,
    maker: &Maker,
) -> anyhow::Result<Vec<u128>> {
    let step = check::count(batch);
    let next = Arc::new(AtomicU64::new(0));
    let mut callers = JoinSet::new();
    for client in clients {
        let (client, maker, next) = (client.clone(), maker.clone(), Arc::clone(&next));
        callers.spawn(async move {
            let mut ids = Vec::new();
            loop {
                let from = next.fetch_add(step, Ordering::Relaxed);
                if from >= tasks {
                    return anyhow::Ok(ids);
                }
                let numbers = from..tasks.min(from + step);
                let made = numbers.map(|number| NewTask::from(maker.spec(number)));
                for answer in client.enqueue_many(made).await {
                    ids.push(check::id(&answer?)?);
                }
            }
        });
    }
    joined(callers).await
}

/// Enqueues tasks by one `EnqueueStream` on each client, spoken by hand: full messages, as many on
/// their way as the protocol allows.
///
/// # Errors
/// The first task that is refused, or a stream that breaks.
pub(crate) async fn streams(
    clients: &[Client],
    tasks: u64,
    maker: &Maker,
) -> anyhow::Result<Vec<u128>> {
    let mut senders = JoinSet::new();
    for (client, range) in clients.iter().zip(parts(tasks, clients.len())) {
        senders.spawn(stream_one(client.clone(), range, maker.clone()));
    }
    joined(senders).await
}

async fn stream_one(client: Client, range: Range<u64>, maker: Maker) -> anyhow::Result<Vec<u128>> {
    let wanted = range.end.saturating_sub(range.start);
    let room = Arc::new(Semaphore::new(STREAM_WINDOW));
    let outgoing = stream::unfold(
        (
            range,
            Arc::clone(&room),
            maker,
            client.namespace().to_owned(),
        ),
        |(range, room, maker, namespace)| async move {
            let batch = maker.batch(STREAM_BATCH);
            let end = range.end.min(range.start + check::count(batch));
            let items: Vec<v1::EnqueueItem> = (range.start..end)
                .map(|sequence| v1::EnqueueItem {
                    sequence,
                    task: Some(maker.spec(sequence)),
                })
                .collect();
            let permits = u32::try_from(items.len()).ok()?;
            if permits == 0 {
                return None;
            }
            room.acquire_many(permits).await.ok()?.forget();
            let request = v1::EnqueueStreamRequest {
                namespace: namespace.clone(),
                items,
                ..Default::default()
            };
            Some((request, (end..range.end, room, maker, namespace)))
        },
    );
    let mut stub = TaskServiceClient::new(client.channel())
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let mut answers = stub.enqueue_stream(outgoing).await?.into_inner();
    let mut ids = Vec::with_capacity(usize::try_from(wanted)?);
    while let Some(answer) = answers.message().await? {
        room.add_permits(answer.acks.len());
        for ack in answer.acks {
            ids.push(acked(ack)?);
        }
    }
    anyhow::ensure!(
        check::count(ids.len()) == wanted,
        "an enqueue stream ended with {} of {wanted} tasks acknowledged",
        ids.len()
    );
    Ok(ids)
}

fn acked(ack: v1::EnqueueAck) -> anyhow::Result<u128> {
    match ack.result {
        Some(v1::enqueue_ack::Result::TaskId(id)) => check::id(&id),
        Some(v1::enqueue_ack::Result::Refusal(refusal)) => {
            Err(redrive_client::Error::from(refusal).into())
        }
        None => anyhow::bail!("an acknowledgement says nothing"),
    }
}

/// Enqueues tasks by the enqueue stream of the Rust client, one on each connection, with a ticket
/// for each task.
///
/// # Errors
/// The first task that is refused, or a stream that breaks.
pub(crate) async fn sdk_streams(
    clients: &[Client],
    tasks: u64,
    maker: &Maker,
) -> anyhow::Result<Vec<u128>> {
    let mut senders = JoinSet::new();
    for (client, range) in clients.iter().zip(parts(tasks, clients.len())) {
        senders.spawn(sdk_stream_one(client.clone(), range, maker.clone()));
    }
    joined(senders).await
}

async fn sdk_stream_one(
    client: Client,
    range: Range<u64>,
    maker: Maker,
) -> anyhow::Result<Vec<u128>> {
    let sender = client.enqueue_stream();
    let (put, mut tickets) = mpsc::channel(TICKETS_MAX);
    let send = async {
        for number in range {
            let ticket = sender.send(NewTask::from(maker.spec(number))).await?;
            put.send(ticket)
                .await
                .context("nobody looks at the tickets")?;
        }
        drop(put);
        anyhow::Ok(())
    };
    let collect = async {
        let mut ids = Vec::new();
        while let Some(ticket) = tickets.recv().await {
            ids.push(check::id(&ticket.await?)?);
        }
        anyhow::Ok(ids)
    };
    let ((), ids) = tokio::try_join!(send, collect)?;
    sender.finish().await?;
    Ok(ids)
}

async fn joined(mut parts: JoinSet<anyhow::Result<Vec<u128>>>) -> anyhow::Result<Vec<u128>> {
    let mut all = Vec::new();
    while let Some(ended) = parts.join_next().await {
        all.extend(ended.context("a producer ended")??);
    }
    Ok(all)
}

/// Cuts a number of tasks into equal parts, the last one shorter.
fn parts(tasks: u64, count: usize) -> impl Iterator<Item = Range<u64>> {
    let count = check::count(count).max(1);
    let each = tasks.div_ceil(count);
    (0..count).map(move |part| {
        let from = tasks.min(part * each);
        from..tasks.min(from + each)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_the_whole_without_gaps() {
        for (tasks, count) in [(10, 3), (2, 4), (0, 2), (7, 1)] {
            let numbers: Vec<u64> = parts(tasks, count).flatten().collect();
            assert_eq!(numbers, (0..tasks).collect::<Vec<u64>>());
            assert_eq!(parts(tasks, count).count(), count);
        }
    }
}
