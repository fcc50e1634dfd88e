//! Huge clients: the largest payloads, batches and messages that are allowed, and what is just above.
//!
//! Owns what is at a bound and what is beyond it, by the documents' figures. What is beyond is refused,
//! and the history knows: it must not turn up.

use std::time::Duration;

use redrive_client::{
    NewTask,
    v1::{self as pb, enqueue_result, task_service_client::TaskServiceClient},
};
use tokio::time::timeout;
use tonic::{Code, transport::Channel};

use super::{Context, queue_of, tasks};
use crate::{
    Dice,
    history::{Asks, Enqueued, Fact, digest},
};

/// Bytes of the largest payload.
const PAYLOAD_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of a marker, which every payload begins with.
const MARKER_BYTES: usize = 8;
/// Tasks of the largest batch.
const BATCH_MAX: usize = 1000;
/// Largest payloads that are more than the largest message.
const PAYLOADS_TOO_MANY: usize = 5;
/// How long a call may take: a megabyte over a bad network.
const CALL_MAX: Duration = Duration::from_secs(20);

/// What somebody huge does.
#[derive(Clone, Copy, Debug)]
enum Feat {
    /// A task with a payload of so many bytes.
    Payload(usize),
    /// So many small tasks in one call.
    Batch(usize),
    /// So many of the largest payloads in one call.
    Payloads(usize),
}

impl Feat {
    const ALL: [(Self, bool); 6] = [
        (Self::Payload(PAYLOAD_BYTES_MAX), true),
        (Self::Payload(PAYLOAD_BYTES_MAX + 1), false),
        (Self::Batch(BATCH_MAX), true),
        (Self::Batch(BATCH_MAX + 1), false),
        (Self::Payloads(PAYLOADS_TOO_MANY - 2), true),
        (Self::Payloads(PAYLOADS_TOO_MANY), false),
    ];
}

/// Does all of it once. Large batches are done with one in two of the `dice`.
pub async fn visit(context: Context, mut dice: Dice) {
    for (feat, allowed) in Feat::ALL {
        let batch = matches!((feat, allowed), (Feat::Batch(_), true));
        if batch && dice.chance(500) {
            continue;
        }
        let mut stub = TaskServiceClient::new(context.channel())
            .max_encoding_message_size(2 * PAYLOADS_TOO_MANY * PAYLOAD_BYTES_MAX);
        match feat {
            Feat::Payload(bytes) => {
                one(&context, &mut stub, (bytes, allowed), &mut dice).await;
            }
            Feat::Batch(count) => {
                many(
                    &context,
                    &mut stub,
                    (count, MARKER_BYTES, allowed),
                    &mut dice,
                )
                .await;
            }
            Feat::Payloads(count) => {
                let what = (count, PAYLOAD_BYTES_MAX, allowed);
                many(&context, &mut stub, what, &mut dice).await;
            }
        }
    }
}

/// Sends one task with the largest payload, and answers what came of it.
pub async fn largest(context: &Context, dice: &mut Dice) -> Enqueued {
    let mut stub = TaskServiceClient::new(context.channel());
    one(context, &mut stub, (PAYLOAD_BYTES_MAX, true), dice).await
}

async fn one(
    context: &Context,
    stub: &mut TaskServiceClient<Channel>,
    (bytes, allowed): (usize, bool),
    dice: &mut Dice,
) -> Enqueued {
    let (marker, spec) = sent(context, bytes, dice);
    let request = pb::EnqueueTaskRequest {
        task: Some(spec),
        ..Default::default()
    };
    let outcome = match timeout(CALL_MAX, stub.enqueue_task(request)).await {
        Ok(Ok(answer)) => Enqueued::Accepted(answer.into_inner().task_id),
        Ok(Err(status)) => fate(status.code()),
        Err(_elapsed) => Enqueued::Unknown,
    };
    assert!(
        allowed || !matches!(outcome, Enqueued::Accepted(_)),
        "{bytes} bytes were taken"
    );
    context.ended(marker, outcome.clone());
    outcome
}

async fn many(
    context: &Context,
    stub: &mut TaskServiceClient<Channel>,
    (count, bytes, allowed): (usize, usize, bool),
    dice: &mut Dice,
) {
    let (markers, tasks): (Vec<u64>, Vec<pb::TaskSpec>) =
        (0..count).map(|_| sent(context, bytes, dice)).unzip();
    let request = pb::EnqueueTasksRequest {
        tasks,
        ..Default::default()
    };
    let outcomes: Vec<Enqueued> = match timeout(CALL_MAX, stub.enqueue_tasks(request)).await {
        Ok(Ok(answer)) => {
            let results = answer.into_inner().results.into_iter();
            results.map(|result| outcome(result.result)).collect()
        }
        Ok(Err(status)) => vec![fate(status.code()); count],
        Err(_elapsed) => vec![Enqueued::Unknown; count],
    };
    assert_eq!(outcomes.len(), count, "one answer for each task");
    let accepted = |one: &Enqueued| matches!(one, Enqueued::Accepted(_));
    assert!(
        allowed || !outcomes.iter().any(accepted),
        "{count} tasks of {bytes} bytes were taken"
    );
    for (marker, outcome) in markers.into_iter().zip(outcomes) {
        context.ended(marker, outcome);
    }
}

/// A task with a payload of so many bytes, written down as sent.
fn sent(context: &Context, bytes: usize, dice: &mut Dice) -> (u64, pb::TaskSpec) {
    let marker = context.any_marker();
    let payload = tasks::payload(marker, bytes - MARKER_BYTES, dice);
    context.history.note(Fact::EnqueueInvoked {
        marker,
        digest: digest(&payload),
        asks: Asks::default(),
    });
    let task = NewTask::new(queue_of(marker), "work").build().unwrap();
    let payload = pb::Payload {
        data: payload.into(),
        ..Default::default()
    };
    let spec = pb::TaskSpec {
        payload: Some(payload),
        ..task
    };
    (marker, spec)
}

fn outcome(result: Option<enqueue_result::Result>) -> Enqueued {
    match result.unwrap() {
        enqueue_result::Result::TaskId(task_id) => Enqueued::Accepted(task_id),
        enqueue_result::Result::Refusal(_) => Enqueued::Refused,
    }
}

/// What a status says of a call: a refusal of what is too large, or of anybody for want of room, did
/// nothing; all else leaves it open.
const fn fate(code: Code) -> Enqueued {
    match code {
        Code::InvalidArgument | Code::OutOfRange | Code::ResourceExhausted => Enqueued::Refused,
        _ => Enqueued::Unknown,
    }
}
