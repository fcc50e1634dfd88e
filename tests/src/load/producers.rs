//! Producers: one call a task, or a stream of them, or by hand under an idempotency key.
//!
//! Owns what an answer says of a sending. The client repeats what it sends, so that its sendings end
//! accepted, each once, whoever is killed; who sends by hand knows less, and sends again until an
//! answer comes, and now and then long after.

use std::{net::SocketAddr, time::Duration};

use crate::{
    Dice,
    history::{Asks, Enqueued, Fact},
};
use redrive_client::{
    Accepted, Client, Error, NewTask, Ticket,
    v1::{self as pb, task_service_client::TaskServiceClient},
};
use tokio::{
    sync::watch,
    time::{Interval, timeout},
};
use tonic::{Code, transport::Channel};

use super::{
    Context, PATIENT, Phase, now,
    tasks::{self, Made},
    work,
};

/// How long a call by hand may take; a coordinator that was killed answers never.
const CALL_MAX: Duration = Duration::from_secs(2);
/// Tasks that one sends to a site: all are looked at in the end, and a queue remembers 1,000.
const SITE_TASKS_MAX: u64 = 1500;
/// Tasks on their way in one stream.
const WINDOW: usize = 24;
/// Keys that may be sent again although they were accepted.
const KEYS_KEPT: usize = 64;

/// Enqueues one task after the other.
pub(super) async fn unary(context: Context, phase: watch::Receiver<Phase>, mut dice: Dice) {
    let client = Client::lazy(&context.address.to_string()).unwrap();
    let client = client.with_deadline(PATIENT);
    let mut beat = work::beat();
    while let Some(marker) = next(&context, &phase, &mut beat).await {
        let made = tasks::made(marker, &mut dice, false);
        enqueue(&context, &client, marker, made).await;
    }
}

/// Enqueues tasks that worker processes take to this site.
pub(super) async fn for_site(
    context: Context,
    phase: watch::Receiver<Phase>,
    mut dice: Dice,
    site: SocketAddr,
) {
    let client = Client::lazy(&context.address.to_string()).unwrap();
    let client = client.with_deadline(PATIENT);
    let mut beat = work::beat();
    for _ in 0..SITE_TASKS_MAX {
        let Some(marker) = next(&context, &phase, &mut beat).await else {
            return;
        };
        let made = tasks::for_site(marker, &mut dice, site);
        enqueue(&context, &client, marker, made).await;
        beat.tick().await;
    }
}

async fn enqueue(context: &Context, client: &Client, marker: u64, made: Made) {
    let task = noted(context, marker, made);
    let answer = client.enqueue(task).await.map(|answer| Accepted {
        effect: answer.effect(),
        task_id: answer.task_id,
    });
    note(context, marker, answer);
}

/// Enqueues over streams, of which one lives over some kills.
pub(super) async fn stream(context: Context, phase: watch::Receiver<Phase>, mut dice: Dice) {
    let client = Client::lazy(&context.address.to_string()).unwrap();
    let client = client.with_deadline(PATIENT);
    let mut beat = work::beat();
    while now(&phase) == Phase::Load {
        let stream = client.enqueue_stream();
        let mut waiting: Vec<(u64, Ticket)> = Vec::new();
        for _ in 0..dice.between(10, 200) {
            if waiting.len() >= WINDOW {
                settle(&context, waiting.drain(..WINDOW / 2)).await;
            }
            let Some(marker) = next(&context, &phase, &mut beat).await else {
                break;
            };
            let task = sent(&context, marker, &mut dice);
            waiting.push((marker, stream.send(task).await.unwrap()));
        }
        settle(&context, waiting.into_iter()).await;
        stream.finish().await.unwrap();
        beat.tick().await;
    }
}

async fn settle(context: &Context, waiting: impl Iterator<Item = (u64, Ticket)>) {
    for (marker, ticket) in waiting {
        note(context, marker, ticket.accepted().await);
    }
}

/// Enqueues by hand, each task under a key of its own, without a request id.
pub(super) async fn keyed(context: Context, phase: watch::Receiver<Phase>, mut dice: Dice) {
    let mut by_hand = ByHand {
        context: context.clone(),
        stub: TaskServiceClient::new(context.channel()),
        beat: work::beat(),
    };
    let mut accepted: Vec<Keyed> = Vec::new();
    while let Some(marker) = next(&context, &phase, &mut by_hand.beat).await {
        let Made { task, digest, asks } = tasks::made(marker, &mut dice, true);
        let keyed = Keyed {
            marker,
            digest,
            asks,
            spec: task.build().unwrap(),
        };
        by_hand.insist(&keyed).await;
        accepted.push(keyed);
        // Somebody who was told, and forgot.
        if dice.chance(200) {
            let any = usize::try_from(dice.any() % accepted.len() as u64).unwrap();
            by_hand.insist(&accepted[any]).await;
        }
        if accepted.len() > KEYS_KEPT {
            let any = usize::try_from(dice.any() % accepted.len() as u64).unwrap();
            accepted.swap_remove(any);
        }
    }
}

/// A task that is sent by hand.
struct Keyed {
    marker: u64,
    digest: u64,
    asks: Asks,
    spec: pb::TaskSpec,
}

struct ByHand {
    context: Context,
    stub: TaskServiceClient<Channel>,
    beat: Interval,
}

impl ByHand {
    /// Sends the same until it is accepted.
    async fn insist(&mut self, keyed: &Keyed) {
        loop {
            self.context.history.note(Fact::EnqueueInvoked {
                marker: keyed.marker,
                digest: keyed.digest,
                asks: keyed.asks,
            });
            let outcome = self.send(keyed.spec.clone()).await;
            let accepted = matches!(outcome, Enqueued::Accepted(_));
            self.context.ended(keyed.marker, outcome);
            if accepted {
                return;
            }
            self.beat.tick().await;
        }
    }

    async fn send(&mut self, spec: pb::TaskSpec) -> Enqueued {
        let request = pb::EnqueueTaskRequest {
            task: Some(spec),
            ..Default::default()
        };
        match timeout(CALL_MAX, self.stub.enqueue_task(request)).await {
            Ok(Ok(answer)) => Enqueued::Accepted(answer.into_inner().task_id),
            Ok(Err(status)) => {
                let lost = matches!(
                    status.code(),
                    Code::Unavailable | Code::Unknown | Code::Internal | Code::Cancelled
                );
                assert!(lost, "a key that was refused: {status:?}");
                Enqueued::Unknown
            }
            Err(_elapsed) => {
                // The connection may be dead and not know it.
                self.stub = TaskServiceClient::new(self.context.channel());
                Enqueued::Unknown
            }
        }
    }
}

/// The next marker, as soon as there is room for it; `None` when the load is over.
pub(super) async fn next(
    context: &Context,
    phase: &watch::Receiver<Phase>,
    beat: &mut Interval,
) -> Option<u64> {
    while now(phase) == Phase::Load {
        if let Some(marker) = context.marker() {
            return Some(marker);
        }
        beat.tick().await;
    }
    None
}

/// The task of a marker, noted as sent.
fn sent(context: &Context, marker: u64, dice: &mut Dice) -> NewTask {
    noted(context, marker, tasks::made(marker, dice, false))
}

fn noted(context: &Context, marker: u64, made: Made) -> NewTask {
    let Made { task, digest, asks } = made;
    context.history.note(Fact::EnqueueInvoked {
        marker,
        digest,
        asks,
    });
    task
}

fn note(context: &Context, marker: u64, answer: Result<Accepted, Error>) {
    match answer {
        Ok(accepted) => {
            if accepted.effect == pb::EnqueueEffect::Existing {
                context.repeated();
            }
            context.ended(marker, Enqueued::Accepted(accepted.task_id));
        }
        Err(error) => panic!("the client gave up on sending {marker}: {error}"),
    }
}
