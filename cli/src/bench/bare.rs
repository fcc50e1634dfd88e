//! A gRPC server that speaks the messages of the scheduler and schedules nothing: what the machine
//! could do if a coordinator cost nothing.
//!
//! Owns no tasks: every enqueue is answered at once with a fresh id, every worker is handed as many
//! made-up deliveries as it has room for. Runs as a child process, as the coordinator does, and
//! ends by itself where its parent is gone.

use std::{
    net::SocketAddr,
    os::unix::process::parent_id,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::{
    Stream, StreamExt as _,
    future::{self, BoxFuture},
    stream,
};
use redrive_proto::v1::{
    self, task_service_server::TaskService, task_service_server::TaskServiceServer, work_request,
    work_response, worker_service_server::WorkerService,
    worker_service_server::WorkerServiceServer,
};
use tonic::{Request, Response, Status, Streaming};

use crate::clock;

/// Deliveries of one message, as the coordinator has it.
const DELIVERIES_MAX: u32 = 256;
/// The largest message that is read, as the coordinator has it.
const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The windows that the coordinator gives its peers.
const STREAM_WINDOW_BYTES: u32 = 2 * 1024 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 8 * 1024 * 1024;
/// How often it is looked whether the parent still lives.
const PARENT_POLL: Duration = Duration::from_millis(500);

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Serves until the parent is gone.
///
/// # Errors
/// Where it cannot listen there.
pub(crate) async fn serve(listen: SocketAddr, payload: Bytes) -> anyhow::Result<()> {
    let parent = parent_id();
    let gone = async {
        while parent_id() == parent {
            clock::pause(PARENT_POLL).await;
        }
    };
    let bare = Bare {
        ids: Arc::default(),
        payload,
    };
    let workers = WorkerServiceServer::new(bare.clone());
    let tasks = TaskServiceServer::new(bare).max_decoding_message_size(MESSAGE_BYTES_MAX);
    tonic::transport::Server::builder()
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .tcp_nodelay(true)
        .add_service(workers)
        .add_service(tasks)
        .serve_with_shutdown(listen, gone)
        .await?;
    Ok(())
}

#[derive(Debug, Clone)]
struct Bare {
    ids: Arc<AtomicU64>,
    payload: Bytes,
}

impl Bare {
    fn id(&self) -> String {
        let number = self.ids.fetch_add(1, Ordering::Relaxed);
        format!("00000000-0000-7000-8000-{number:012x}")
    }
}

/// The calls that nothing is measured with.
macro_rules! not_here {
    ($($method:ident($request:ident) -> $answer:ident;)*) => {
        // As the attribute would write it, which does not look into macros.
        $(fn $method<'a, 'async_trait>(
            &'a self,
            _request: Request<v1::$request>,
        ) -> BoxFuture<'async_trait, Result<Response<v1::$answer>, Status>>
        where
            'a: 'async_trait,
            Self: 'async_trait,
        {
            let status = Status::unimplemented("the bare server of the bench schedules nothing");
            Box::pin(future::ready(Err(status)))
        })*
    };
}

#[tonic::async_trait]
impl TaskService for Bare {
    type EnqueueStreamStream = Answers<v1::EnqueueStreamResponse>;
    type CancelTasksStream = Answers<v1::CancelTasksResponse>;

    async fn cancel_tasks(
        &self,
        _request: Request<v1::CancelTasksRequest>,
    ) -> Result<Response<Self::CancelTasksStream>, Status> {
        let status = Status::unimplemented("the bare server of the bench schedules nothing");
        Err(status)
    }

    async fn enqueue_task(
        &self,
        _request: Request<v1::EnqueueTaskRequest>,
    ) -> Result<Response<v1::EnqueueTaskResponse>, Status> {
        Ok(Response::new(v1::EnqueueTaskResponse {
            task_id: self.id(),
            durability: "memory".to_owned(),
            ..Default::default()
        }))
    }

    async fn enqueue_tasks(
        &self,
        request: Request<v1::EnqueueTasksRequest>,
    ) -> Result<Response<v1::EnqueueTasksResponse>, Status> {
        let tasks = request.into_inner().tasks;
        let result = || v1::EnqueueResult {
            result: Some(v1::enqueue_result::Result::TaskId(self.id())),
            ..Default::default()
        };
        Ok(Response::new(v1::EnqueueTasksResponse {
            results: tasks.iter().map(|_task| result()).collect(),
            durability: "memory".to_owned(),
        }))
    }

    async fn enqueue_stream(
        &self,
        request: Request<Streaming<v1::EnqueueStreamRequest>>,
    ) -> Result<Response<Self::EnqueueStreamStream>, Status> {
        let bare = self.clone();
        let acks = request.into_inner().map(move |message| {
            let ack = |item: v1::EnqueueItem| v1::EnqueueAck {
                sequence: item.sequence,
                result: Some(v1::enqueue_ack::Result::TaskId(bare.id())),
                ..Default::default()
            };
            let acks = message?.items.into_iter().map(ack).collect();
            Ok(v1::EnqueueStreamResponse { acks })
        });
        Ok(Response::new(acks.boxed()))
    }

    not_here! {
        get_task(GetTaskRequest) -> GetTaskResponse;
        list_tasks(ListTasksRequest) -> ListTasksResponse;
        wait_task(WaitTaskRequest) -> WaitTaskResponse;
        cancel_task(CancelTaskRequest) -> CancelTaskResponse;
        update_task(UpdateTaskRequest) -> UpdateTaskResponse;
    }
}

#[tonic::async_trait]
impl WorkerService for Bare {
    type WorkStream = Answers<v1::WorkResponse>;

    async fn work(
        &self,
        request: Request<Streaming<v1::WorkRequest>>,
    ) -> Result<Response<Self::WorkStream>, Status> {
        let supply = Supply {
            bare: self.clone(),
            incoming: request.into_inner(),
            room: 0,
            held: 0,
            sequence: 0,
        };
        Ok(Response::new(
            stream::try_unfold(supply, Supply::next).boxed(),
        ))
    }

    not_here! {
        lease_tasks(LeaseTasksRequest) -> LeaseTasksResponse;
        report_tasks(ReportTasksRequest) -> ReportTasksResponse;
        extend_leases(ExtendLeasesRequest) -> ExtendLeasesResponse;
        list_workers(ListWorkersRequest) -> ListWorkersResponse;
        drain_workers(DrainWorkersRequest) -> DrainWorkersResponse;
    }
}

/// Deliveries without end for one worker.
struct Supply {
    bare: Bare,
    incoming: Streaming<v1::WorkRequest>,
    room: u32,
    held: u32,
    sequence: u64,
}

impl Supply {
    async fn next(mut self) -> Result<Option<(v1::WorkResponse, Self)>, Status> {
        let message = loop {
            if self.held < self.room {
                break self.deliver();
            }
            let request = self.incoming.message().await?;
            match request.and_then(|request| request.message) {
                Some(work_request::Message::Hello(hello)) => {
                    self.room = hello.capacity.unwrap_or_default().tasks_max;
                    break work_response::Message::Welcome(v1::Welcome::default());
                }
                Some(work_request::Message::Capacity(capacity)) => self.room = capacity.tasks_max,
                Some(work_request::Message::Reports(batch)) => break self.settle(batch),
                Some(
                    work_request::Message::Receipt(_)
                    | work_request::Message::Pong(_)
                    | work_request::Message::Heartbeats(_),
                ) => {}
                Some(work_request::Message::Goodbye(_)) | None => return Ok(None),
            }
        };
        let message = Some(message);
        Ok(Some((v1::WorkResponse { message }, self)))
    }

    fn deliver(&mut self) -> work_response::Message {
        let count = self.room.saturating_sub(self.held).min(DELIVERIES_MAX);
        self.held = self.held.saturating_add(count);
        let deliveries = (0..count).map(|_| self.delivery()).collect();
        work_response::Message::Deliveries(v1::DeliveryBatch { deliveries })
    }

    fn delivery(&mut self) -> v1::Delivery {
        self.sequence += 1;
        v1::Delivery {
            sequence: self.sequence,
            lease_token: Bytes::copy_from_slice(&[self.sequence.to_le_bytes(); 4].concat()),
            fence: self.sequence,
            task_id: self.bare.id(),
            namespace: "default".to_owned(),
            queue: "bench-bare".to_owned(),
            kind: "bench".to_owned(),
            payload: Some(v1::Payload {
                data: self.bare.payload.clone(),
                content_type: String::new(),
            }),
            enqueue_time: Some(prost_types::Timestamp {
                seconds: 1_790_000_000,
                nanos: 1_000_000,
            }),
            run: 1,
            attempt: 1,
            attempts_max: 6,
            ..Default::default()
        }
    }

    fn settle(&mut self, batch: v1::ReportBatch) -> work_response::Message {
        let count = u32::try_from(batch.reports.len()).unwrap_or(u32::MAX);
        self.held = self.held.saturating_sub(count);
        let ack = |report: v1::Report| v1::ReportAck {
            lease_token: report.lease_token,
            status: v1::ReportStatus::Recorded.into(),
            state: v1::TaskState::Succeeded.into(),
            ..Default::default()
        };
        work_response::Message::ReportAcks(v1::ReportAckBatch {
            acks: batch.reports.into_iter().map(ack).collect(),
        })
    }
}
