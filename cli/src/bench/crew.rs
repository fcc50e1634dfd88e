//! The workers of the bench: each speaks the `Work` stream itself, runs nothing, and reports at
//! once what it was handed.
//!
//! Owns the streams and the record of what was done. A task counts as done when its completion was
//! answered as recorded, not when it was sent. Never reconnects: a stream that breaks is an error.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use futures::FutureExt as _;
use redrive_client::v1::{
    self, work_request, work_response::Message, worker_service_client::WorkerServiceClient,
};
use tokio::{
    sync::{Notify, mpsc, watch},
    task::JoinSet,
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::{
    check::{self, Done},
    meter::Timeline,
    settings::Settings,
    target::Target,
};
use crate::clock;

/// Tasks that one worker holds at most.
pub(crate) const HELD_MAX: u32 = 1_000;
/// Payload bytes that it holds at most.
const HELD_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Messages that wait to be sent. As many as tasks can be held, so that sending never waits: a
/// worker that waits to send and does not read could stand still together with the other side.
const OUTGOING_MAX: usize = 1_024;
/// The most reports of one message.
const REPORTS_MAX: usize = 1_000;
/// The largest message that is read.
const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How long nothing may be done until that is an error.
const STALL_MAX: Duration = Duration::from_secs(60);

/// What workers of one phase do.
#[derive(Debug, Clone)]
pub(crate) struct Duty {
    /// The queues that they serve.
    pub(crate) queues: Vec<String>,
    /// How often they fail each task before they complete it.
    pub(crate) failures: u32,
    /// Part of their names.
    pub(crate) name: String,
}

/// What workers have done.
#[derive(Debug, Default)]
pub(crate) struct Deeds {
    /// Tasks completed.
    pub(crate) done: Vec<Done>,
    /// Runs that were reported as failed, and recorded so.
    pub(crate) failed: u64,
    /// Reports that were answered with anything but "recorded".
    pub(crate) unrecorded: u64,
}

/// How far the workers are together.
#[derive(Debug, Default)]
struct Progress {
    done: AtomicU64,
    goal: AtomicU64,
    reached: Notify,
}

/// Workers at work; they end when this is dropped.
#[derive(Debug)]
pub(crate) struct Crew {
    hands: JoinSet<anyhow::Result<Deeds>>,
    progress: Arc<Progress>,
    stop: watch::Sender<bool>,
}

impl Crew {
    /// Connects so many workers, and returns when all of them are welcome.
    ///
    /// # Errors
    /// Where one is not.
    pub(crate) async fn start(
        target: &Target,
        settings: &Settings,
        duty: &Duty,
        count: usize,
    ) -> anyhow::Result<Self> {
        let progress = Arc::new(Progress::default());
        let (stop, stopped) = watch::channel(false);
        let mut hands = JoinSet::new();
        for number in 0..count {
            let hello = hello(target, settings, duty, number);
            let mut hand = Hand::connect(target, hello).await?;
            hand.timeline = settings.timeline;
            hand.failures = duty.failures;
            hand.progress = Arc::clone(&progress);
            hands.spawn(hand.work(stopped.clone()));
        }
        Ok(Self {
            hands,
            progress,
            stop,
        })
    }

    /// Waits until so many tasks are done.
    ///
    /// # Errors
    /// Where a worker ends before, or nothing is done for a minute.
    pub(crate) async fn until(&mut self, goal: u64) -> anyhow::Result<()> {
        self.progress.goal.store(goal, Ordering::SeqCst);
        loop {
            let done = self.progress.done.load(Ordering::SeqCst);
            if done >= goal {
                return Ok(());
            }
            tokio::select! {
                () = self.progress.reached.notified() => {}
                Some(ended) = self.hands.join_next() => {
                    ended??;
                    bail!("a worker ended before the work was done");
                }
                () = clock::pause(STALL_MAX) => {
                    anyhow::ensure!(
                        self.progress.done.load(Ordering::SeqCst) > done,
                        "nothing was done for {STALL_MAX:?}, with {done} of {goal} tasks done; \
                         look at the coordinator's log"
                    );
                }
            }
        }
    }

    /// Lets all workers report what they hold, say goodbye and leave, and answers what they did.
    ///
    /// # Errors
    /// Where a stream broke.
    pub(crate) async fn finish(mut self) -> anyhow::Result<Deeds> {
        self.stop.send_replace(true);
        let mut all = Deeds::default();
        while let Some(ended) = self.hands.join_next().await {
            let deeds = ended??;
            all.done.extend(deeds.done);
            all.failed += deeds.failed;
            all.unrecorded += deeds.unrecorded;
        }
        Ok(all)
    }
}

/// Waits until it is said, or nobody is left to say it.
async fn said(stop: &mut watch::Receiver<bool>) {
    while !*stop.borrow_and_update() {
        if stop.changed().await.is_err() {
            return;
        }
    }
}

fn hello(target: &Target, settings: &Settings, duty: &Duty, number: usize) -> v1::Hello {
    let subscribe = |queue: &String| v1::QueueSubscription {
        queue: queue.clone(),
        weight: 1,
    };
    v1::Hello {
        namespace: target.namespace().to_owned(),
        worker: Some(v1::WorkerInfo {
            worker_id: format!("bench-{}-{}-{number}", settings.tag, duty.name),
            queues: duty.queues.iter().map(subscribe).collect(),
            ..Default::default()
        }),
        capacity: Some(capacity(HELD_MAX)),
        ..Default::default()
    }
}

fn capacity(tasks_max: u32) -> v1::Capacity {
    v1::Capacity {
        tasks_max,
        bytes_max: HELD_BYTES_MAX,
        draining: tasks_max == 0,
    }
}

/// A report that was sent and is not answered yet.
#[derive(Debug)]
struct Reported {
    token: Bytes,
    id: u128,
    started: u64,
    completes: bool,
}

/// One worker.
struct Hand {
    requests: mpsc::Sender<v1::WorkRequest>,
    responses: Streaming<v1::WorkResponse>,
    timeline: Timeline,
    failures: u32,
    progress: Arc<Progress>,
    reported: VecDeque<Reported>,
    deeds: Deeds,
}

impl Hand {
    async fn connect(target: &Target, hello: v1::Hello) -> anyhow::Result<Self> {
        let (requests, outgoing) = mpsc::channel(OUTGOING_MAX);
        let message = Some(work_request::Message::Hello(hello));
        requests.try_send(v1::WorkRequest { message })?;
        let mut stub = WorkerServiceClient::new(target.channel().await?)
            .max_decoding_message_size(MESSAGE_BYTES_MAX);
        let call = stub.work(ReceiverStream::new(outgoing)).await;
        let mut responses = call
            .context("the coordinator takes no workers")?
            .into_inner();
        let first = timeout(STALL_MAX, responses.message()).await??;
        let Some(Message::Welcome(_)) = first.and_then(|first| first.message) else {
            bail!("the coordinator does not welcome a worker");
        };
        Ok(Self {
            requests,
            responses,
            timeline: Timeline::begin(),
            failures: 0,
            progress: Arc::default(),
            reported: VecDeque::new(),
            deeds: Deeds::default(),
        })
    }

    async fn work(mut self, mut stop: watch::Receiver<bool>) -> anyhow::Result<Deeds> {
        loop {
            tokio::select! {
                message = self.responses.message() => {
                    let message = message?.context("the coordinator ended a worker's stream")?;
                    self.take(message).await?;
                }
                () = said(&mut stop) => break,
            }
        }
        self.leave().await?;
        Ok(self.deeds)
    }

    /// Takes no more, waits for the answers to all reports, and ends the stream.
    async fn leave(&mut self) -> anyhow::Result<()> {
        self.say(work_request::Message::Capacity(capacity(0)))
            .await?;
        while !self.reported.is_empty() {
            let message = timeout(STALL_MAX, self.responses.message()).await??;
            let message = message.context("the coordinator ended a worker's stream")?;
            self.take(message).await?;
        }
        self.say(work_request::Message::Goodbye(v1::Goodbye::default()))
            .await?;
        // What still comes was never begun: the goodbye gives it back.
        while timeout(STALL_MAX, self.responses.message())
            .await??
            .is_some()
        {}
        Ok(())
    }

    async fn say(&self, message: work_request::Message) -> anyhow::Result<()> {
        let message = Some(message);
        let sent = self.requests.send(v1::WorkRequest { message }).await;
        sent.context("the coordinator ended a worker's stream")
    }

    /// Does what a message says, and what all those say that have arrived with it: reports leave
    /// together.
    async fn take(&mut self, message: v1::WorkResponse) -> anyhow::Result<()> {
        let mut reports = Vec::new();
        self.read(message, &mut reports).await?;
        while reports.len() < REPORTS_MAX {
            match self.responses.message().now_or_never() {
                Some(Ok(Some(message))) => self.read(message, &mut reports).await?,
                // The next read tells again how the stream ended.
                Some(Ok(None) | Err(_)) | None => break,
            }
        }
        while !reports.is_empty() {
            let rest = reports.split_off(reports.len().min(REPORTS_MAX));
            let batch = v1::ReportBatch { reports };
            self.say(work_request::Message::Reports(batch)).await?;
            reports = rest;
        }
        Ok(())
    }

    async fn read(
        &mut self,
        message: v1::WorkResponse,
        reports: &mut Vec<v1::Report>,
    ) -> anyhow::Result<()> {
        match message.message {
            Some(Message::Deliveries(batch)) => {
                let now = self.timeline.ns();
                for delivery in batch.deliveries {
                    reports.push(self.run(delivery, now)?);
                }
            }
            Some(Message::ReportAcks(batch)) => self.acknowledged(&batch)?,
            Some(Message::Ping(v1::Ping { nonce })) => {
                self.say(work_request::Message::Pong(v1::Pong { nonce }))
                    .await?;
            }
            Some(Message::Refusal(refusal)) => {
                bail!("the coordinator refused a message: {}", refusal.message)
            }
            Some(Message::Reconnect(_) | Message::Drain(_)) => {
                bail!("the coordinator is on its way out")
            }
            Some(
                Message::Welcome(_)
                | Message::Cancels(_)
                | Message::Timeouts(_)
                | Message::HeartbeatAcks(_),
            )
            | None => {}
        }
        Ok(())
    }

    /// Runs a task: nothing is done, and that is reported.
    fn run(&mut self, delivery: v1::Delivery, now: u64) -> anyhow::Result<v1::Report> {
        let completes = delivery.run > self.failures;
        self.reported.push_back(Reported {
            token: delivery.lease_token.clone(),
            id: check::id(&delivery.task_id)?,
            started: now,
            completes,
        });
        Ok(v1::Report {
            lease_token: delivery.lease_token,
            checkpoint: None,
            outcome: Some(if completes {
                v1::report::Outcome::Complete(v1::Complete::default())
            } else {
                v1::report::Outcome::Fail(v1::Fail {
                    failure: Some(v1::Failure {
                        failure_class: v1::FailureClass::Network.into(),
                        r#type: "bench:Refused".to_owned(),
                        message: "connection refused".to_owned(),
                        ..Default::default()
                    }),
                    ..Default::default()
                })
            }),
        })
    }

    fn acknowledged(&mut self, batch: &v1::ReportAckBatch) -> anyhow::Result<()> {
        let now = self.timeline.ns();
        let mut completed = 0;
        for ack in &batch.acks {
            let reported = self.reported.pop_front();
            let reported = reported.filter(|reported| reported.token == ack.lease_token);
            let reported = reported.context("a report was answered out of its order")?;
            if ack.status() != v1::ReportStatus::Recorded {
                self.deeds.unrecorded += 1;
            } else if reported.completes {
                completed += 1;
                self.deeds.done.push(Done {
                    id: reported.id,
                    started: reported.started,
                    recorded: now,
                });
            } else {
                self.deeds.failed += 1;
            }
        }
        let done = self.progress.done.fetch_add(completed, Ordering::SeqCst) + completed;
        if completed > 0 && done >= self.progress.goal.load(Ordering::SeqCst) {
            self.progress.reached.notify_one();
        }
        Ok(())
    }
}
