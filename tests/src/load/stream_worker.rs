//! A worker with a stream that does all that the protocol allows, and some of what happens to
//! workers: it holds runs for a while, sends reports again, loses its stream and resumes, dies.
//!
//! Owns its session and what it holds. Invariants: after a cut it sends every report again that was
//! not acknowledged, as the protocol asks; a stream that is silent for too long while it holds
//! something is one that was cut, and one that takes nothing more is too.

use std::{ops::ControlFlow, time::Duration};

use crate::Dice;
use redrive_client::v1::{
    self as pb, work_request, work_response::Message, worker_service_client::WorkerServiceClient,
};
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Streaming, transport::Endpoint};

use super::{
    Context, Phase, now,
    work::{self, Held},
};

/// How long connecting and the Welcome may take.
const OPEN_MAX: Duration = Duration::from_secs(5);
/// How long a message may wait for room.
const SAY_MAX: Duration = Duration::from_secs(2);
/// Runs held at once.
const CAPACITY: u32 = 16;
/// Messages that wait to be sent.
const OUTGOING_MAX: usize = 64;

/// See the module.
pub(super) struct StreamWorker {
    context: Context,
    number: u64,
    dice: Dice,
    lives: u32,
    session_id: String,
    received_through: u64,
    held: Vec<Held>,
    /// Looks since anything was heard.
    silent_looks: u128,
    /// So many, while it holds something, mean that the stream is dead.
    silent_looks_max: u128,
}

/// How a stream ended.
enum Ended {
    /// By the network, or the coordinator.
    Cut,
    /// The worker died.
    Died,
}

type Requests = mpsc::Sender<pb::WorkRequest>;

impl StreamWorker {
    /// A worker that has not connected yet.
    pub(super) fn new(context: Context, number: u64, dice: Dice) -> Self {
        Self {
            context,
            number,
            dice,
            lives: 0,
            session_id: String::new(),
            received_through: 0,
            held: Vec::new(),
            silent_looks: 0,
            silent_looks_max: u128::MAX,
        }
    }

    /// Works until the end.
    pub(super) async fn run(mut self, phase: watch::Receiver<Phase>) {
        let mut beat = work::beat();
        while now(&phase) != Phase::End {
            match self.live(&phase).await {
                Some(Ended::Died) => {
                    // Another process in its place, which knows nothing.
                    for held in &self.held {
                        held.abandon(&self.context);
                    }
                    self.lives += 1;
                    self.session_id.clear();
                    self.held.clear();
                }
                Some(Ended::Cut) | None => {}
            }
            beat.tick().await;
        }
    }

    /// One stream, from its Hello to its end; `None` where there was none.
    async fn live(&mut self, phase: &watch::Receiver<Phase>) -> Option<Ended> {
        let opened = timeout(OPEN_MAX, self.open()).await;
        let (requests, mut responses) = opened.ok().flatten()?;
        let mut beat = work::beat();
        let unacknowledged = self.resend();
        self.say_reports(&requests, unacknowledged).await?;
        loop {
            let flow = tokio::select! {
                message = responses.message() => match message {
                    Ok(Some(pb::WorkResponse { message: Some(message) })) => {
                        self.silent_looks = 0;
                        self.heard(message, now(phase), &requests).await?
                    }
                    Ok(Some(pb::WorkResponse { message: None })) => ControlFlow::Continue(()),
                    Ok(None) | Err(_) => ControlFlow::Break(Ended::Cut),
                },
                _ = beat.tick() => self.look(now(phase), &requests).await?,
            };
            if let ControlFlow::Break(ended) = flow {
                return Some(ended);
            }
        }
    }

    async fn open(&mut self) -> Option<(Requests, Streaming<pb::WorkResponse>)> {
        let url = format!("http://{}", self.context.address);
        let channel = Endpoint::from_shared(url).unwrap().connect().await.ok()?;
        let (requests, outgoing) = mpsc::channel(OUTGOING_MAX);
        let hello = pb::Hello {
            worker: Some(work::info(format!("stream-{}-{}", self.number, self.lives))),
            session_id: self.session_id.clone(),
            held: self.held.iter().map(|held| held.token.clone()).collect(),
            capacity: Some(pb::Capacity {
                tasks_max: CAPACITY,
                ..Default::default()
            }),
            ..Default::default()
        };
        let message = Some(work_request::Message::Hello(hello));
        requests.try_send(pb::WorkRequest { message }).unwrap();
        let mut stub = WorkerServiceClient::new(channel);
        let responses = stub.work(ReceiverStream::new(outgoing)).await.ok()?;
        let mut responses = responses.into_inner();
        let first = responses.message().await.ok()??;
        let Some(Message::Welcome(welcome)) = first.message else {
            panic!("not a Welcome: {first:?}");
        };
        if !welcome.resumed {
            self.received_through = 0;
        }
        self.session_id = welcome.session_id;
        let abort_after = Duration::try_from(welcome.abort_after.unwrap_or_default());
        self.silent_looks_max = abort_after.unwrap().as_millis() / work::BEAT.as_millis();
        self.silent_looks = 0;
        self.held.retain(|held| !welcome.lost.contains(&held.token));
        Some((requests, responses))
    }

    fn resend(&self) -> Vec<pb::Report> {
        let held = self.held.iter();
        held.filter_map(|held| held.send(&self.context)).collect()
    }

    async fn heard(
        &mut self,
        message: Message,
        phase: Phase,
        requests: &Requests,
    ) -> Option<ControlFlow<Ended>> {
        match message {
            Message::Deliveries(batch) => {
                for delivery in batch.deliveries {
                    self.received_through = self.received_through.max(delivery.sequence);
                    let held = Held::of(&self.context, delivery, &mut self.dice);
                    self.held.push(held);
                }
                let receipt = pb::Receipt {
                    received_through: self.received_through,
                    buffered: Vec::new(),
                };
                say(requests, work_request::Message::Receipt(receipt)).await?;
                // Sometimes a worker dies of what it got.
                if self.context.stumbles(phase, &mut self.dice, 8) {
                    return Some(ControlFlow::Break(Ended::Died));
                }
                return self.look(phase, requests).await;
            }
            Message::ReportAcks(batch) => {
                let again: Vec<_> = batch
                    .acks
                    .iter()
                    .filter_map(|ack| self.acked(ack))
                    .collect();
                self.say_reports(requests, again).await?;
            }
            Message::Ping(pb::Ping { nonce }) => {
                say(requests, work_request::Message::Pong(pb::Pong { nonce })).await?;
            }
            Message::Cancels(batch) => {
                // Who is only asked to stop goes on, and ends as chance wants.
                let lost = |held: &Held| {
                    let named = |cancel: &pb::Cancel| {
                        cancel.lease_token == held.token
                            && cancel.reason() != pb::CancelReason::Requested
                    };
                    held.report.is_none() && batch.cancels.iter().any(named)
                };
                self.held.retain(|held| !lost(held));
            }
            Message::Refusal(refusal) => panic!("refused: {refusal:?}"),
            Message::Welcome(_)
            | Message::Timeouts(_)
            | Message::Drain(_)
            | Message::Reconnect(_)
            | Message::HeartbeatAcks(_) => {}
        }
        Some(ControlFlow::Continue(()))
    }

    /// Forgets an acknowledged report; sometimes answers it to be sent once more.
    fn acked(&mut self, ack: &pb::ReportAck) -> Option<pb::Report> {
        let index = self
            .held
            .iter()
            .position(|held| held.token == ack.lease_token)?;
        self.held[index].answered(&self.context, ack);
        if ack.status() == pb::ReportStatus::Recorded && self.dice.chance(60) {
            return self.held[index].send(&self.context);
        }
        self.held.swap_remove(index);
        None
    }

    /// Ends some of the runs that it holds.
    async fn look(&mut self, phase: Phase, requests: &Requests) -> Option<ControlFlow<Ended>> {
        if phase == Phase::End {
            return Some(ControlFlow::Break(Ended::Cut));
        }
        let mut reports = Vec::new();
        for held in &mut self.held {
            let over = phase == Phase::Drain || self.dice.chance(held.ends_per_mille);
            if held.report.is_none() && over {
                held.choose(phase, &mut self.dice);
                reports.extend(held.send(&self.context));
            }
        }
        self.say_reports(requests, reports).await?;
        // Sometimes a network breaks.
        let cut = self.context.stumbles(phase, &mut self.dice, 4);
        self.silent_looks += u128::from(!self.held.is_empty());
        Some(if cut || self.silent_looks > self.silent_looks_max {
            ControlFlow::Break(Ended::Cut)
        } else {
            ControlFlow::Continue(())
        })
    }

    async fn say_reports(&self, requests: &Requests, reports: Vec<pb::Report>) -> Option<()> {
        if reports.is_empty() {
            return Some(());
        }
        let batch = pb::ReportBatch { reports };
        say(requests, work_request::Message::Reports(batch)).await
    }
}

/// Sends a message; `None` where the stream is gone, or takes nothing any more.
async fn say(requests: &Requests, message: work_request::Message) -> Option<()> {
    let message = Some(message);
    let sent = timeout(SAY_MAX, requests.send(pb::WorkRequest { message })).await;
    sent.ok()?.ok()
}
