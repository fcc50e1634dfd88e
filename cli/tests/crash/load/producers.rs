//! Producers: one call a task, or a stream of them.
//!
//! Owns what tasks are like, and what an answer says of a sending. Never sends a task twice by itself;
//! the client does, under one name, over every kill that it outlives.

use std::time::Duration;

use redrive_client::{Accepted, Client, Error, NewTask, Ticket, v1};
use redrive_tests::{
    Dice,
    history::{Enqueued, Fact, digest},
    make,
};
use tokio::{sync::watch, time::Interval};

use super::{Context, Phase, now, queue_of, work};

/// How long a call may take; a coordinator that was killed answers never.
const DEADLINE: Duration = Duration::from_secs(2);
/// Tasks on their way in one stream.
const WINDOW: usize = 24;
/// Bytes of a payload, behind its marker.
const PAYLOAD_BYTES_MAX: u64 = 8000;

/// Enqueues one task after the other.
pub(super) async fn unary(context: Context, phase: watch::Receiver<Phase>, mut dice: Dice) {
    let client = Client::lazy(&context.address.to_string()).unwrap();
    let client = client.with_deadline(DEADLINE);
    let mut beat = work::beat();
    while let Some((marker, task)) = next(&context, &phase, &mut dice, &mut beat).await {
        let answer = client.enqueue(task).await.map(|answer| Accepted {
            effect: answer.effect(),
            task_id: answer.task_id,
        });
        note(&context, marker, answer);
    }
}

/// Enqueues over streams: a new one whenever one has ended, or is long enough.
pub(super) async fn stream(context: Context, phase: watch::Receiver<Phase>, mut dice: Dice) {
    let client = Client::lazy(&context.address.to_string()).unwrap();
    let client = client.with_deadline(DEADLINE);
    let mut beat = work::beat();
    while now(&phase) == Phase::Load {
        let stream = client.enqueue_stream();
        let mut waiting: Vec<(u64, Ticket)> = Vec::new();
        for _ in 0..dice.between(10, 200) {
            if waiting.len() >= WINDOW {
                settle(&context, waiting.drain(..WINDOW / 2)).await;
            }
            let Some((marker, task)) = next(&context, &phase, &mut dice, &mut beat).await else {
                break;
            };
            match stream.send(task).await {
                Ok(ticket) => waiting.push((marker, ticket)),
                Err(error) => {
                    note(&context, marker, Err(error));
                    break;
                }
            }
        }
        settle(&context, waiting.into_iter()).await;
        // Where it ended before, the tickets have said it.
        drop(stream.finish().await);
        beat.tick().await;
    }
}

async fn settle(context: &Context, waiting: impl Iterator<Item = (u64, Ticket)>) {
    for (marker, ticket) in waiting {
        note(context, marker, ticket.accepted().await);
    }
}

/// The next task, noted as sent, as soon as there is room for it; `None` when the load is over.
async fn next(
    context: &Context,
    phase: &watch::Receiver<Phase>,
    dice: &mut Dice,
    beat: &mut Interval,
) -> Option<(u64, NewTask)> {
    while now(phase) == Phase::Load {
        if let Some(marker) = context.marker() {
            return Some((marker, task(context, marker, dice)));
        }
        beat.tick().await;
    }
    None
}

fn task(context: &Context, marker: u64, dice: &mut Dice) -> NewTask {
    let mut payload = marker.to_le_bytes().to_vec();
    payload.extend((0..dice.between(0, PAYLOAD_BYTES_MAX)).map(|_| dice.any().to_le_bytes()[0]));
    let delay_ms = match dice.between(0, 20) {
        0 => dice.between(1000, 2500),
        1..=4 => dice.between(1, 600),
        _ => 0,
    };
    context.history.note(Fact::EnqueueInvoked {
        marker,
        digest: digest(&payload),
        delay_ms,
    });
    let max_attempts = u32::try_from(dice.between(1, 6)).unwrap();
    let policy = v1::RetryPolicy {
        max_crashes: dice.chance(500).then_some(0),
        ..make::policy(max_attempts, dice.between(1, 150))
    };
    let task = NewTask::new(queue_of(marker), "work")
        .bytes(payload, "")
        .label("marker", marker.to_string())
        .inline_retry_policy(policy);
    if delay_ms == 0 {
        return task;
    }
    task.delay(Duration::from_millis(delay_ms))
}

fn note(context: &Context, marker: u64, answer: Result<Accepted, Error>) {
    let outcome = match answer {
        Ok(accepted) => {
            if accepted.effect == v1::EnqueueEffect::Existing {
                context.repeated();
            }
            Enqueued::Accepted(accepted.task_id)
        }
        Err(error) => match error {
            Error::OutcomeUnknown(_) | Error::Unanswered(_) | Error::Incomplete { .. } => {
                Enqueued::Unknown
            }
            Error::Invalid { .. } => panic!("a task that cannot be one: {error}"),
            Error::Connect { .. } | Error::Refused(_) | Error::NotSent { .. } => Enqueued::Refused,
        },
    };
    context.history.note(Fact::EnqueueEnded { marker, outcome });
}
