//! A coordinator that a test plays by hand: real gRPC on a port of its own, no logic.

use std::{collections::VecDeque, net::SocketAddr, time::Duration};

use redrive_proto::v1::{
    Capacity, Delivery, DeliveryBatch, DrainWorkersRequest, DrainWorkersResponse,
    ExtendLeasesRequest, ExtendLeasesResponse, Hello, LeaseTasksRequest, LeaseTasksResponse,
    ListWorkersRequest, ListWorkersResponse, Payload, Receipt, Report, ReportAck, ReportAckBatch,
    ReportStatus, ReportTasksRequest, ReportTasksResponse, Welcome, WorkRequest, WorkResponse,
    work_request, work_response,
    worker_service_server::{WorkerService, WorkerServiceServer},
};
use tokio::{net::TcpListener, sync::mpsc, task::JoinSet, time::timeout};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming};

/// Nothing that a test waits for takes longer, unless it is broken.
const PATIENCE: Duration = Duration::from_secs(20);

type Opened = (
    Streaming<WorkRequest>,
    mpsc::Sender<Result<WorkResponse, Status>>,
);

struct Service {
    opened: mpsc::Sender<Opened>,
}

#[tonic::async_trait]
impl WorkerService for Service {
    type WorkStream = ReceiverStream<Result<WorkResponse, Status>>;

    async fn work(
        &self,
        request: Request<Streaming<WorkRequest>>,
    ) -> Result<Response<Self::WorkStream>, Status> {
        let (sender, receiver) = mpsc::channel(64);
        let opened = (request.into_inner(), sender);
        self.opened
            .send(opened)
            .await
            .map_err(|gone| Status::unavailable(gone.to_string()))?;
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn lease_tasks(
        &self,
        _: Request<LeaseTasksRequest>,
    ) -> Result<Response<LeaseTasksResponse>, Status> {
        Err(Status::unimplemented("a fake"))
    }

    async fn report_tasks(
        &self,
        _: Request<ReportTasksRequest>,
    ) -> Result<Response<ReportTasksResponse>, Status> {
        Err(Status::unimplemented("a fake"))
    }

    async fn extend_leases(
        &self,
        _: Request<ExtendLeasesRequest>,
    ) -> Result<Response<ExtendLeasesResponse>, Status> {
        Err(Status::unimplemented("a fake"))
    }

    async fn list_workers(
        &self,
        _: Request<ListWorkersRequest>,
    ) -> Result<Response<ListWorkersResponse>, Status> {
        Err(Status::unimplemented("a fake"))
    }

    async fn drain_workers(
        &self,
        _: Request<DrainWorkersRequest>,
    ) -> Result<Response<DrainWorkersResponse>, Status> {
        Err(Status::unimplemented("a fake"))
    }
}

/// The fake coordinator; ends with its value.
pub(crate) struct Fake {
    pub(crate) address: SocketAddr,
    opened: mpsc::Receiver<Opened>,
    _server: JoinSet<()>,
}

impl Fake {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, opened) = mpsc::channel(4);
        let mut server = JoinSet::new();
        server.spawn(async move {
            tonic::transport::Server::builder()
                .add_service(WorkerServiceServer::new(Service { opened: sender }))
                .serve_with_incoming(TcpListenerStream::new(listener))
                .await
                .unwrap();
        });
        Self {
            address,
            opened,
            _server: server,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Waits for a worker's stream and its hello.
    pub(crate) async fn accept(&mut self) -> (Peer, Hello) {
        let (requests, responses) = timeout(PATIENCE, self.opened.recv())
            .await
            .unwrap()
            .unwrap();
        let mut peer = Peer {
            requests,
            responses,
            seen: VecDeque::new(),
        };
        let work_request::Message::Hello(hello) = peer.next().await else {
            panic!("no hello")
        };
        (peer, hello)
    }

    /// Accepts a worker and welcomes it to a new session.
    pub(crate) async fn welcome(&mut self) -> Peer {
        let (peer, _) = self.accept().await;
        peer.welcome("s1", false).await;
        peer
    }
}

/// One stream, seen from the coordinator.
pub(crate) struct Peer {
    requests: Streaming<WorkRequest>,
    responses: mpsc::Sender<Result<WorkResponse, Status>>,
    seen: VecDeque<work_request::Message>,
}

impl Peer {
    pub(crate) async fn send(&self, message: work_response::Message) {
        self.responses
            .send(Ok(WorkResponse {
                message: Some(message),
            }))
            .await
            .unwrap();
    }

    pub(crate) async fn refuse(&self, status: Status) {
        self.responses.send(Err(status)).await.unwrap();
    }

    pub(crate) async fn welcome(&self, session_id: &str, resumed: bool) {
        let session_id = session_id.to_owned();
        let welcome = Welcome {
            session_id,
            resumed,
            ..Welcome::default()
        };
        self.send(work_response::Message::Welcome(welcome)).await;
    }

    pub(crate) async fn deliver(&self, deliveries: Vec<Delivery>) {
        self.send(work_response::Message::Deliveries(DeliveryBatch {
            deliveries,
        }))
        .await;
    }

    pub(crate) async fn ack(&self, report: &Report) {
        let ack = ReportAck {
            lease_token: report.lease_token.clone(),
            status: ReportStatus::Recorded.into(),
            ..ReportAck::default()
        };
        self.send(work_response::Message::ReportAcks(ReportAckBatch {
            acks: vec![ack],
        }))
        .await;
    }

    async fn read(&mut self) -> Option<work_request::Message> {
        let read = timeout(PATIENCE, self.requests.message())
            .await
            .expect("the worker is silent");
        read.ok().flatten().and_then(|request| request.message)
    }

    pub(crate) async fn next(&mut self) -> work_request::Message {
        match self.seen.pop_front() {
            Some(message) => message,
            None => self.read().await.expect("the worker ended the stream"),
        }
    }

    /// The first message that `pick` takes; the others are kept for later.
    pub(crate) async fn find<T>(
        &mut self,
        mut pick: impl FnMut(&work_request::Message) -> Option<T>,
    ) -> T {
        for at in 0..self.seen.len() {
            if let Some(found) = pick(&self.seen[at]) {
                self.seen.remove(at);
                return found;
            }
        }
        loop {
            let message = self.read().await.expect("the worker ended the stream");
            if let Some(found) = pick(&message) {
                return found;
            }
            self.seen.push_back(message);
        }
    }

    pub(crate) async fn receipt(&mut self) -> Receipt {
        self.find(|message| {
            let work_request::Message::Receipt(receipt) = message else {
                return None;
            };
            Some(receipt.clone())
        })
        .await
    }

    pub(crate) async fn capacity(&mut self) -> Capacity {
        self.find(|message| {
            let work_request::Message::Capacity(capacity) = message else {
                return None;
            };
            Some(*capacity)
        })
        .await
    }

    pub(crate) async fn reports(&mut self) -> Vec<Report> {
        self.find(|message| {
            let work_request::Message::Reports(batch) = message else {
                return None;
            };
            Some(batch.reports.clone())
        })
        .await
    }

    /// Waits for the goodbye and ends the stream, as a coordinator does.
    pub(crate) async fn goodbye(mut self) {
        self.find(|message| matches!(message, work_request::Message::Goodbye(_)).then_some(()))
            .await;
    }

    /// Waits for the worker to end its side.
    pub(crate) async fn ended(&mut self) {
        while self.read().await.is_some() {}
    }
}

pub(crate) fn delivery(sequence: u64, token: &'static str, kind: &str, payload: &str) -> Delivery {
    Delivery {
        sequence,
        lease_token: token.into(),
        task_id: format!("task-{token}"),
        kind: kind.to_owned(),
        payload: Some(Payload {
            data: payload.to_owned().into(),
            content_type: "application/json".to_owned(),
        }),
        run: 1,
        attempt: 1,
        attempts_max: 3,
        ..Delivery::default()
    }
}
