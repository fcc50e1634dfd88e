//! A worker that speaks the protocol by hand, on a connection of its own, and does nothing unasked
//! but answer pings.
//!
//! Owns one stream and what has arrived on it. Never reconnects and never reports by itself.
//! Invariants: what arrives is kept, in order, until a test takes it; [`RawWorker::round_trip`]
//! returns only after everything that the engine said before.

use std::collections::VecDeque;
use std::net::SocketAddr;

use bytes::Bytes;
use redrive_proto::v1::worker_service_client::WorkerServiceClient;
use redrive_proto::v1::{self as pb, work_request, work_response::Message};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use crate::harness::connect;
use crate::make;
use crate::wait::within;

/// Messages that wait to be sent.
const OUTGOING_MAX: usize = 16;
/// A token that no lease has; its report is a question that the engine answers in its turn.
const ROUND_TRIP: &[u8] = b"round-trip";

/// One stream of a worker.
#[derive(Debug)]
pub struct RawWorker {
    /// What the coordinator answered to the Hello.
    pub welcome: pb::Welcome,
    /// Whether pings are answered. True from the beginning.
    pub answers_pings: bool,
    /// How many pings came.
    pub pings: u32,
    /// Deliveries that came and were not taken.
    pub deliveries: VecDeque<pb::Delivery>,
    /// The sending half, for what the methods do not do.
    pub requests: mpsc::Sender<pb::WorkRequest>,
    responses: Streaming<pb::WorkResponse>,
    acks: VecDeque<pb::ReportAck>,
    others: VecDeque<Message>,
    origin: (SocketAddr, pb::Hello),
}

/// A worker whose stream was cut.
#[derive(Clone, Debug)]
pub struct Away {
    address: SocketAddr,
    hello: pb::Hello,
}

/// Opens a stream whose first message is this, and answers the stream's two halves.
///
/// # Errors
/// Where the call is refused as such.
pub async fn open(
    address: SocketAddr,
    first: Option<work_request::Message>,
) -> Result<(mpsc::Sender<pb::WorkRequest>, Streaming<pb::WorkResponse>), Status> {
    let (requests, outgoing) = mpsc::channel(OUTGOING_MAX);
    if first.is_some() {
        let sent = requests.try_send(pb::WorkRequest { message: first });
        sent.expect("room for the first message");
    }
    let mut stub = WorkerServiceClient::new(connect(address).await);
    let responses = within("the stream", stub.work(ReceiverStream::new(outgoing))).await?;
    Ok((requests, responses.into_inner()))
}

impl RawWorker {
    /// Opens a session.
    pub async fn hello(address: SocketAddr, hello: pb::Hello) -> Self {
        Self::try_hello(address, hello).await.unwrap()
    }

    /// Opens a session, where the coordinator lets it.
    ///
    /// # Errors
    /// How the stream ended instead of a Welcome.
    pub async fn try_hello(address: SocketAddr, hello: pb::Hello) -> Result<Self, Status> {
        let first = work_request::Message::Hello(hello.clone());
        let (requests, mut responses) = open(address, Some(first)).await?;
        let answer = within("the Welcome", responses.message()).await?;
        let Some(Message::Welcome(welcome)) = answer.clone().and_then(|answer| answer.message)
        else {
            panic!("not a Welcome: {answer:?}");
        };
        Ok(Self {
            welcome,
            answers_pings: true,
            pings: 0,
            deliveries: VecDeque::new(),
            requests,
            responses,
            acks: VecDeque::new(),
            others: VecDeque::new(),
            origin: (address, hello),
        })
    }

    /// Sends a message.
    pub async fn say(&self, message: work_request::Message) {
        let message = Some(message);
        let sent = self.requests.send(pb::WorkRequest { message }).await;
        sent.expect("the stream takes messages");
    }

    /// Reads one message and keeps it; false at the end of the stream.
    async fn read(&mut self) -> Result<bool, Status> {
        let Some(response) = self.responses.message().await? else {
            return Ok(false);
        };
        match response.message.expect("a message says something") {
            Message::Deliveries(batch) => self.deliveries.extend(batch.deliveries),
            Message::ReportAcks(batch) => self.acks.extend(batch.acks),
            Message::Ping(pb::Ping { nonce }) => {
                self.pings += 1;
                if self.answers_pings {
                    let message = Some(work_request::Message::Pong(pb::Pong { nonce }));
                    // Where the stream has ended meanwhile, the next read tells.
                    drop(self.requests.send(pb::WorkRequest { message }).await);
                }
            }
            other @ (Message::Welcome(_)
            | Message::Cancels(_)
            | Message::Timeouts(_)
            | Message::Drain(_)
            | Message::Reconnect(_)
            | Message::Refusal(_)
            | Message::HeartbeatAcks(_)) => self.others.push_back(other),
        }
        Ok(true)
    }

    /// Reads until there is something, and answers it.
    pub async fn until<T>(&mut self, what: &str, look: impl Fn(&mut Self) -> Option<T>) -> T {
        let found = async {
            loop {
                if let Some(found) = look(self) {
                    return found;
                }
                match self.read().await {
                    Ok(true) => {}
                    ended => panic!("the stream ended ({ended:?}) before this came: {what}"),
                }
            }
        };
        within(what, found).await
    }

    /// Takes the next message that `pick` wants; keeps the others.
    pub async fn next<T>(&mut self, what: &str, pick: impl Fn(&Message) -> Option<T>) -> T {
        self.until(what, |worker| {
            let index = worker.others.iter().position(|one| pick(one).is_some())?;
            worker.others.remove(index).as_ref().and_then(&pick)
        })
        .await
    }

    /// The next refusal in the stream.
    pub async fn next_refusal(&mut self) -> pb::Refusal {
        self.next("a refusal", |message| match message {
            Message::Refusal(refusal) => Some(refusal.clone()),
            _ => None,
        })
        .await
    }

    /// The next run to be stopped.
    pub async fn next_cancel(&mut self) -> pb::Cancel {
        self.next("a cancel", |message| match message {
            Message::Cancels(batch) => batch.cancels.first().cloned(),
            _ => None,
        })
        .await
    }

    /// What became of the next heartbeat that is answered.
    pub async fn next_beat_ack(&mut self) -> pb::HeartbeatAck {
        self.next("the answer to a heartbeat", |message| match message {
            Message::HeartbeatAcks(batch) => batch.acks.first().cloned(),
            _ => None,
        })
        .await
    }

    /// Sends heartbeats.
    pub async fn beat(&self, heartbeats: Vec<pb::Heartbeat>) {
        let batch = pb::HeartbeatBatch { heartbeats };
        self.say(work_request::Message::Heartbeats(batch)).await;
    }

    /// The next delivery, without a word to the coordinator: it has not begun.
    pub async fn next_unstarted(&mut self) -> pb::Delivery {
        self.until("a delivery", |worker| worker.deliveries.pop_front())
            .await
    }

    /// The next delivery, begun at once: the receipt is sent.
    pub async fn next_delivery(&mut self) -> pb::Delivery {
        let delivery = self.next_unstarted().await;
        self.say(work_request::Message::Receipt(pb::Receipt {
            received_through: delivery.sequence,
            buffered: Vec::new(),
        }))
        .await;
        delivery
    }

    /// Reports runs and waits for the answers, in order.
    pub async fn report(&mut self, reports: Vec<pb::Report>) -> Vec<pb::ReportAck> {
        let count = reports.len();
        let batch = pb::ReportBatch { reports };
        self.say(work_request::Message::Reports(batch)).await;
        self.until("acknowledgements", |worker| {
            (worker.acks.len() >= count).then(|| worker.acks.drain(..count).collect())
        })
        .await
    }

    /// Reports one run and answers what became of the report.
    pub async fn report_one(&mut self, report: pb::Report) -> pb::ReportAck {
        self.report(vec![report]).await.remove(0)
    }

    /// Completes a run; it must be recorded.
    pub async fn complete(&mut self, delivery: &pb::Delivery) {
        let ack = self.report_one(make::complete(delivery)).await;
        assert_eq!(ack.status(), pb::ReportStatus::Recorded, "{ack:?}");
    }

    /// Asks the engine something and waits for the answer: all that it said before has arrived then.
    pub async fn round_trip(&mut self) {
        let token = Bytes::from_static(ROUND_TRIP);
        let outcome = work_outcome();
        let ack = self.report_one(make::report(&token, outcome)).await;
        assert_eq!(ack.status(), pb::ReportStatus::Invalid);
        assert_eq!(ack.lease_token, token);
    }

    /// Reads to the end of the stream.
    ///
    /// # Errors
    /// The status that it ended with.
    pub async fn ended(&mut self) -> Result<(), Status> {
        let end = async {
            while self.read().await? {}
            Ok(())
        };
        within("the end of the stream", end).await
    }

    /// Cuts the stream and its connection.
    #[must_use]
    pub fn cut(self) -> Away {
        let (address, mut hello) = self.origin;
        hello.session_id = self.welcome.session_id;
        Away { address, hello }
    }

    /// Who would come back if the stream were cut now.
    #[must_use]
    pub fn twin(&self) -> Away {
        let (address, mut hello) = self.origin.clone();
        hello.session_id.clone_from(&self.welcome.session_id);
        Away { address, hello }
    }
}

fn work_outcome() -> pb::report::Outcome {
    pb::report::Outcome::Complete(pb::Complete::default())
}

impl Away {
    /// Comes back, holding these leases.
    pub async fn resume(&self, held: &[&pb::Delivery]) -> RawWorker {
        let held = held.iter().map(|one| one.lease_token.clone()).collect();
        let hello = pb::Hello {
            held,
            ..self.hello.clone()
        };
        RawWorker::hello(self.address, hello).await
    }
}
