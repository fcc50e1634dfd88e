//! A coordinator for tests: real gRPC over in-memory pipes, answers from a script.
//!
//! Owns no scheduler logic. Everything runs on one thread under tokio's paused clock, so that waits
//! pass at once and by the same amount every time.

mod operators;

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use futures::stream::BoxStream;
use hyper_util::rt::TokioIo;
use redrive_proto::v1::{
    self,
    dead_letter_service_server::DeadLetterServiceServer,
    kind_service_server::KindServiceServer,
    queue_service_server::QueueServiceServer,
    task_service_server::{TaskService, TaskServiceServer},
};
use tokio::{
    io::{DuplexStream, copy_bidirectional, duplex},
    sync::{Notify, mpsc},
    task::JoinSet,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Request, Response, Status, Streaming,
    transport::{Server, Uri},
};

use crate::{Client, clock, connect};

const PIPE_BYTES: usize = 64 * 1024;

/// One scripted answer to a unary call.
pub(crate) enum Answer {
    /// This status.
    Fail(Status),
    /// None, ever.
    Hang,
}

/// One `EnqueueStream` call as the test drives it.
pub(crate) struct Opened {
    pub(crate) requests: Streaming<v1::EnqueueStreamRequest>,
    pub(crate) answers: mpsc::Sender<Result<v1::EnqueueStreamResponse, Status>>,
}

impl Opened {
    /// The next message's items; none where the client has half-closed.
    pub(crate) async fn items(&mut self) -> Vec<v1::EnqueueItem> {
        let message = self.requests.message().await.unwrap();
        message.map_or_else(Vec::new, |request| request.items)
    }

    /// The next message's producer, and the sequences of its items.
    pub(crate) async fn named(&mut self) -> (String, Vec<u64>) {
        let message = self.requests.message().await.unwrap().unwrap();
        let sequences = message.items.iter().map(|item| item.sequence);
        (message.producer_id, sequences.collect())
    }

    pub(crate) async fn accept(&self, items: &[v1::EnqueueItem]) {
        self.acknowledge(items.iter().map(|item| accepted(item.sequence)).collect())
            .await;
    }

    pub(crate) async fn acknowledge(&self, acks: Vec<v1::EnqueueAck>) {
        self.answers
            .send(Ok(v1::EnqueueStreamResponse { acks }))
            .await
            .unwrap();
    }
}

fn accepted(sequence: u64) -> v1::EnqueueAck {
    let result = Some(v1::enqueue_ack::Result::TaskId(format!("task-{sequence}")));
    v1::EnqueueAck {
        sequence,
        result,
        ..Default::default()
    }
}

/// What a change said of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) request_id: String,
    pub(crate) ttl_s: Option<i64>,
    pub(crate) actor: Option<String>,
}

/// What the test sets and reads.
#[derive(Default)]
pub(crate) struct State {
    /// Answers of the next calls, instead of good ones.
    pub(crate) script: VecDeque<Answer>,
    /// How many attempts to connect fail.
    pub(crate) refused_connections: usize,
    /// The tasks of each enqueue call that arrived, failed ones included.
    pub(crate) enqueued: Vec<Vec<v1::TaskSpec>>,
    /// How many other calls arrived.
    pub(crate) calls: usize,
    /// The request id and ttl of each change that arrived, and who said to make it.
    pub(crate) changes: Vec<Change>,
    /// What each call named its task by.
    pub(crate) named: Vec<(String, Option<v1::TaskKey>)>,
    /// The cancels that arrived.
    pub(crate) cancels: Vec<v1::CancelTaskRequest>,
    /// The updates that arrived.
    pub(crate) updates: Vec<v1::UpdateTaskRequest>,
    /// The settings of kinds that arrived.
    pub(crate) kinds: Vec<v1::KindSettings>,
    /// The changes of queues that arrived.
    pub(crate) queues: Vec<v1::UpdateQueueRequest>,
    /// The time asked for by each wait.
    pub(crate) waits: Vec<Duration>,
    /// How many waits run out before the task ends.
    pub(crate) waits_in_vain: usize,
    links: JoinSet<()>,
}

/// The coordinator: cheap to clone.
#[derive(Clone)]
pub(crate) struct Fake {
    state: Arc<Mutex<State>>,
    arrived: Arc<Notify>,
    opened: mpsc::Sender<Opened>,
}

impl Fake {
    /// A coordinator, a client of it, and the enqueue streams that the client opens.
    pub(crate) fn start() -> (Self, Client, mpsc::Receiver<Opened>) {
        let (opened, streams) = mpsc::channel(4);
        let fake = Self {
            state: Arc::default(),
            arrived: Arc::default(),
            opened,
        };
        let (connections, incoming) = mpsc::channel::<io::Result<DuplexStream>>(4);
        let server = Server::builder()
            .add_service(TaskServiceServer::new(fake.clone()))
            .add_service(DeadLetterServiceServer::new(fake.clone()))
            .add_service(KindServiceServer::new(fake.clone()))
            .add_service(QueueServiceServer::new(fake.clone()))
            .serve_with_incoming(ReceiverStream::new(incoming));
        // Lives as long as the client, whose connector holds the other end of `incoming`.
        let mut serving = JoinSet::new();
        serving.spawn(async move { server.await.unwrap() });
        serving.detach_all();
        let linking = fake.clone();
        let connector = tower::service_fn(move |_: Uri| {
            let (linking, connections) = (linking.clone(), connections.clone());
            async move {
                let (client_end, server_end) = linking.link()?;
                connections
                    .send(Ok(server_end))
                    .await
                    .map_err(io::Error::other)?;
                Ok::<_, io::Error>(TokioIo::new(client_end))
            }
        });
        let endpoint = connect::endpoint(&"fake:1".parse().unwrap());
        let channel = endpoint.connect_with_connector_lazy(connector);
        (
            fake,
            Client::with_channel(channel, "fake:1").unwrap(),
            streams,
        )
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(crate) fn answer_next(&self, answers: impl IntoIterator<Item = Answer>) {
        self.state().script.extend(answers);
    }

    /// Waits for the next call that is left hanging.
    pub(crate) async fn hanging(&self) {
        self.arrived.notified().await;
    }

    /// Breaks every connection.
    pub(crate) fn cut(&self) {
        self.state().links.abort_all();
    }

    fn link(&self) -> io::Result<(DuplexStream, DuplexStream)> {
        let mut state = self.state();
        if state.refused_connections > 0 {
            state.refused_connections -= 1;
            return Err(io::Error::from(io::ErrorKind::ConnectionRefused));
        }
        let (client_end, mut client_side) = duplex(PIPE_BYTES);
        let (mut server_side, server_end) = duplex(PIPE_BYTES);
        state.links.spawn(async move {
            copy_bidirectional(&mut client_side, &mut server_side)
                .await
                .ok();
        });
        Ok((client_end, server_end))
    }

    async fn follow_script(&self) -> Result<(), Status> {
        let answer = self.state().script.pop_front();
        match answer {
            Some(Answer::Fail(status)) => Err(status),
            Some(Answer::Hang) => {
                self.arrived.notify_one();
                std::future::pending().await
            }
            None => Ok(()),
        }
    }

    /// Notes what a change says of itself.
    fn note<T>(&self, request: &Request<T>, id: &str, ttl: Option<prost_types::Duration>) {
        let actor = request.metadata().get("redrive-actor");
        self.state().changes.push(Change {
            request_id: id.to_owned(),
            ttl_s: ttl.map(|ttl| ttl.seconds),
            actor: actor.map(|actor| actor.to_str().unwrap().to_owned()),
        });
    }

    fn note_task(&self, task_id: &str, key: Option<&v1::TaskKey>) {
        let named = (task_id.to_owned(), key.cloned());
        self.state().named.push(named);
    }

    async fn called(&self) -> Result<(), Status> {
        self.state().calls += 1;
        self.follow_script().await
    }
}

fn task(task_id: impl Into<String>) -> v1::Task {
    v1::Task {
        task_id: task_id.into(),
        ..Default::default()
    }
}

fn untold<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("the fake does not answer this"))
}

#[tonic::async_trait]
impl TaskService for Fake {
    type EnqueueStreamStream = BoxStream<'static, Result<v1::EnqueueStreamResponse, Status>>;
    type CancelTasksStream = BoxStream<'static, Result<v1::CancelTasksResponse, Status>>;

    /// All at once.
    async fn cancel_tasks(
        &self,
        request: Request<v1::CancelTasksRequest>,
    ) -> Result<Response<Self::CancelTasksStream>, Status> {
        self.called().await?;
        let request = request.into_inner();
        let answer = v1::CancelTasksResponse {
            matched: request.expected_count.unwrap(),
            cancelled: u64::from(request.mode() == v1::CancelMode::IfWaiting),
            done: request.selection.unwrap().namespace == "acme",
            ..Default::default()
        };
        Ok(Response::new(Box::pin(futures::stream::iter([Ok(answer)]))))
    }

    async fn enqueue_task(
        &self,
        request: Request<v1::EnqueueTaskRequest>,
    ) -> Result<Response<v1::EnqueueTaskResponse>, Status> {
        let said = request.get_ref();
        self.note(&request, &said.request_id, said.request_ttl);
        self.state()
            .enqueued
            .push(vec![request.into_inner().task.unwrap()]);
        self.follow_script().await?;
        let answer = v1::EnqueueTaskResponse {
            task_id: "id".into(),
            durability: "always".into(),
            effect: v1::EnqueueEffect::Existing.into(),
        };
        Ok(Response::new(answer))
    }

    /// Task ids are the kinds; the kind "refused" is refused.
    async fn enqueue_tasks(
        &self,
        request: Request<v1::EnqueueTasksRequest>,
    ) -> Result<Response<v1::EnqueueTasksResponse>, Status> {
        let said = request.get_ref();
        self.note(&request, &said.request_id, said.request_ttl);
        let tasks = request.into_inner().tasks;
        self.state().enqueued.push(tasks.clone());
        self.follow_script().await?;
        let results = tasks
            .into_iter()
            .map(|task| v1::EnqueueResult {
                result: Some(if task.kind == "refused" {
                    let refusal = v1::Refusal {
                        code: 8,
                        ..Default::default()
                    };
                    v1::enqueue_result::Result::Refusal(refusal)
                } else {
                    v1::enqueue_result::Result::TaskId(task.kind)
                }),
                effect: v1::EnqueueEffect::Created.into(),
            })
            .collect();
        let durability = "always".to_owned();
        Ok(Response::new(v1::EnqueueTasksResponse {
            results,
            durability,
        }))
    }

    async fn enqueue_stream(
        &self,
        request: Request<Streaming<v1::EnqueueStreamRequest>>,
    ) -> Result<Response<Self::EnqueueStreamStream>, Status> {
        let (answers, sent) = mpsc::channel(16);
        self.opened
            .send(Opened {
                requests: request.into_inner(),
                answers,
            })
            .await
            .unwrap();
        Ok(Response::new(Box::pin(ReceiverStream::new(sent))))
    }

    async fn get_task(
        &self,
        request: Request<v1::GetTaskRequest>,
    ) -> Result<Response<v1::GetTaskResponse>, Status> {
        self.called().await?;
        let said = request.into_inner();
        self.note_task(&said.task_id, said.task_key.as_ref());
        let task = Some(task(said.task_id));
        Ok(Response::new(v1::GetTaskResponse { task }))
    }

    /// Two pages of one task each.
    async fn list_tasks(
        &self,
        request: Request<v1::ListTasksRequest>,
    ) -> Result<Response<v1::ListTasksResponse>, Status> {
        self.called().await?;
        let (id, next) = match request.into_inner().page_token.as_str() {
            "" => ("a", "more"),
            _ => ("b", ""),
        };
        let answer = v1::ListTasksResponse {
            tasks: vec![task(id)],
            next_page_token: next.into(),
        };
        Ok(Response::new(answer))
    }

    async fn wait_task(
        &self,
        request: Request<v1::WaitTaskRequest>,
    ) -> Result<Response<v1::WaitTaskResponse>, Status> {
        let request = request.into_inner();
        let asked = Duration::try_from(request.timeout.unwrap()).unwrap();
        self.state().waits.push(asked);
        self.note_task(&request.task_id, request.task_key.as_ref());
        self.follow_script().await?;
        let ended = {
            let mut state = self.state();
            let ended = state.waits_in_vain == 0;
            state.waits_in_vain = state.waits_in_vain.saturating_sub(1);
            ended
        };
        if !ended {
            clock::pause(asked).await;
        }
        let task = Some(task(request.task_id));
        Ok(Response::new(v1::WaitTaskResponse { ended, task }))
    }

    async fn cancel_task(
        &self,
        request: Request<v1::CancelTaskRequest>,
    ) -> Result<Response<v1::CancelTaskResponse>, Status> {
        let said = request.get_ref();
        self.note(&request, &said.request_id, said.request_ttl);
        self.note_task(&said.task_id, said.task_key.as_ref());
        self.state().cancels.push(request.into_inner());
        self.called().await?;
        Ok(Response::new(v1::CancelTaskResponse {
            task: None,
            disposition: v1::CancelDisposition::Cancelling.into(),
        }))
    }

    async fn update_task(
        &self,
        request: Request<v1::UpdateTaskRequest>,
    ) -> Result<Response<v1::UpdateTaskResponse>, Status> {
        let said = request.get_ref();
        self.note(&request, &said.request_id, said.request_ttl);
        self.note_task(&said.task_id, said.task_key.as_ref());
        self.state().updates.push(request.into_inner());
        self.called().await?;
        let task = Some(task("changed"));
        Ok(Response::new(v1::UpdateTaskResponse { task }))
    }
}
