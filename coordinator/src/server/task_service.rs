//! TaskService: what producers call.
//!
//! Owns the order parse, ask, answer of each call. Never judges: the engine does.

use futures::stream::Empty;
use redrive_proto::v1 as pb;
use redrive_proto::v1::task_service_server::TaskService;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::convert::page::ListOf;
use super::convert::task::new_task;
use super::convert::view::{Detail, task_view};
use super::convert::{At, field};
use super::edge::{Edge, confused};
use super::enqueue_stream::{AckStream, EnqueueStream};
use super::status::{Refused, answer};
use crate::engine::command::{self, Call, NewTask};
use crate::engine::effect::Answer;
use crate::engine::ids::TaskId;
use crate::engine::limits;

/// What became of each of many tasks, in order.
pub(crate) type Enqueued = Vec<Result<TaskId, Refused>>;

/// TaskService over the engine's inbox.
#[derive(Clone, Debug)]
pub(crate) struct Tasks {
    pub(crate) edge: Edge,
    pub(crate) shutdown: CancellationToken,
}

/// What becomes of a question while the inbox is full.
#[derive(Clone, Copy, Debug)]
pub(crate) enum WhenFull {
    /// It is refused at once: a unary call.
    Refuse,
    /// It waits, and its stream is read no further.
    Wait,
}

impl Edge {
    /// Enqueues those that could be parsed, in one call; the others keep their own refusals.
    pub(crate) async fn enqueue(
        &self,
        parsed: Vec<Result<NewTask, Refused>>,
        full: WhenFull,
    ) -> Result<Enqueued, Refused> {
        let mut tasks = Vec::with_capacity(parsed.len());
        let mut results: Vec<Option<Refused>> = Vec::with_capacity(parsed.len());
        for item in parsed {
            results.push(item.map(|task| tasks.push(task)).err());
        }
        let answers = if tasks.is_empty() {
            Vec::new()
        } else {
            let call = Call::Enqueue(command::Enqueue {
                namespace: "default".into(),
                tasks,
                producer: None,
            });
            let answer = match full {
                WhenFull::Refuse => self.inbox.call(call).await?,
                WhenFull::Wait => self.inbox.call_when_room(call).await?,
            };
            let Answer::Enqueued(answers) = answer else {
                return Err(confused("new tasks"));
            };
            answers
        };
        let mut answers = answers.into_iter();
        let mut next = || match answers.next() {
            Some(answer) => answer
                .map(|accepted| accepted.id)
                .map_err(Refused::Rejected),
            None => Err(Refused::Confused),
        };
        Ok(results
            .into_iter()
            .map(|own| own.map_or_else(&mut next, Err))
            .collect())
    }
}

impl Tasks {
    fn durability(&self) -> String {
        self.edge.facts.durability.name().to_owned()
    }

    async fn enqueue_one(
        &self,
        request: pb::EnqueueTaskRequest,
    ) -> Result<pb::EnqueueTaskResponse, Refused> {
        let root = At::Root;
        let namespace = field::namespace(&request.namespace, root.field("namespace"))?;
        let task = new_task(&namespace, request.task, root.field("task"))?;
        let mut results = self.edge.enqueue(vec![Ok(task)], WhenFull::Refuse).await?;
        let id = results.pop().unwrap_or(Err(Refused::Confused));
        let task_id = id.map_err(|refused| refused.below("task"))?.to_string();
        Ok(pb::EnqueueTaskResponse {
            task_id,
            durability: self.durability(),
            effect: pb::EnqueueEffect::Created.into(),
        })
    }

    async fn enqueue_many(
        &self,
        request: pb::EnqueueTasksRequest,
    ) -> Result<pb::EnqueueTasksResponse, Refused> {
        let root = At::Root;
        let namespace = field::namespace(&request.namespace, root.field("namespace"))?;
        field::batch(
            request.tasks.len(),
            limits::BATCH_ITEMS_MAX,
            root.field("tasks"),
        )?;
        let specs = request.tasks.into_iter();
        let parsed = specs.map(|spec| new_task(&namespace, Some(spec), root).map_err(Into::into));
        let results = self
            .edge
            .enqueue(parsed.collect(), WhenFull::Refuse)
            .await?;
        let shown = results.into_iter().map(|result| {
            use pb::enqueue_result::Result as Shown;
            let (result, effect) = match result {
                Ok(id) => (Shown::TaskId(id.to_string()), pb::EnqueueEffect::Created),
                Err(refused) => (
                    Shown::Refusal(refused.refusal()),
                    pb::EnqueueEffect::Unspecified,
                ),
            };
            pb::EnqueueResult {
                result: Some(result),
                effect: effect.into(),
            }
        });
        Ok(pb::EnqueueTasksResponse {
            results: shown.collect(),
            durability: self.durability(),
        })
    }

    async fn get(&self, request: pb::GetTaskRequest) -> Result<pb::GetTaskResponse, Refused> {
        let id = task_id(&request.task_id)?;
        let task = self.edge.task(Call::GetTask(id.into())).await?;
        Ok(pb::GetTaskResponse { task: Some(task) })
    }

    async fn list(&self, request: pb::ListTasksRequest) -> Result<pb::ListTasksResponse, Refused> {
        let page = self.edge.page(request, ListOf::Tasks).await?;
        Ok(pb::ListTasksResponse {
            tasks: page.tasks,
            next_page_token: page.next_page_token,
        })
    }

    async fn wait(&self, request: pb::WaitTaskRequest) -> Result<pb::WaitTaskResponse, Refused> {
        let root = At::Root;
        let id = task_id(&request.task_id)?;
        let timeout = request.timeout.as_ref();
        let timeout_ms = field::optional_ms(timeout, limits::WAIT_MS_MAX, root.field("timeout"))?;
        let timeout_ms = timeout_ms.unwrap_or(limits::WAIT_MS_DEFAULT);
        let call = Call::WaitTask {
            task: id.into(),
            timeout_ms,
        };
        let Answer::Waited { ended, task } = self.edge.ask(call).await? else {
            return Err(confused("a wait"));
        };
        let task = Some(task_view(&task, Detail::Whole));
        Ok(pb::WaitTaskResponse { ended, task })
    }

    async fn cancel(
        &self,
        request: pb::CancelTaskRequest,
    ) -> Result<pb::CancelTaskResponse, Refused> {
        let root = At::Root;
        let id = task_id(&request.task_id)?;
        let reason = field::reason(&request.reason, root.field("reason"))?;
        let cancel = command::Cancel {
            mode: command::CancelMode::Cooperative { grace_ms: None },
            reason,
        };
        let task = id.into();
        let task = self.edge.ask(Call::CancelTask { task, cancel }).await?;
        let Answer::Cancelled { task, .. } = task else {
            return Err(confused("a cancel"));
        };
        let task = task_view(&task, Detail::Whole);
        let disposition = if task.state() == pb::TaskState::Cancelled {
            pb::CancelDisposition::Cancelled
        } else {
            pb::CancelDisposition::Cancelling
        };
        Ok(pb::CancelTaskResponse {
            task: Some(task),
            disposition: disposition.into(),
        })
    }

    async fn update(
        &self,
        request: pb::UpdateTaskRequest,
    ) -> Result<pb::UpdateTaskResponse, Refused> {
        let root = At::Root;
        let id = task_id(&request.task_id)?;
        let at = root.field("timeouts");
        let given = request.timeouts.ok_or_else(|| at.missing())?;
        let timeouts = field::timeouts(&given, at)?;
        let change = Box::new(command::TaskChange {
            timeouts: Some(timeouts),
            ..command::TaskChange::default()
        });
        let task = id.into();
        let task = self.edge.task(Call::UpdateTask { task, change }).await?;
        Ok(pb::UpdateTaskResponse { task: Some(task) })
    }
}

/// The id of a request that is about one task.
pub(crate) fn task_id(text: &str) -> Result<TaskId, Refused> {
    let root = At::Root;
    Ok(field::task_id(text, root.field("task_id"))?)
}

#[tonic::async_trait]
impl TaskService for Tasks {
    type EnqueueStreamStream = AckStream;
    type CancelTasksStream = Empty<Result<pb::CancelTasksResponse, Status>>;

    async fn enqueue_task(
        &self,
        request: Request<pb::EnqueueTaskRequest>,
    ) -> Result<Response<pb::EnqueueTaskResponse>, Status> {
        answer("EnqueueTask", self.enqueue_one(request.into_inner()).await)
    }

    async fn enqueue_tasks(
        &self,
        request: Request<pb::EnqueueTasksRequest>,
    ) -> Result<Response<pb::EnqueueTasksResponse>, Status> {
        answer(
            "EnqueueTasks",
            self.enqueue_many(request.into_inner()).await,
        )
    }

    async fn enqueue_stream(
        &self,
        request: Request<Streaming<pb::EnqueueStreamRequest>>,
    ) -> Result<Response<AckStream>, Status> {
        let stream = EnqueueStream::new(
            self.edge.clone(),
            request.into_inner(),
            self.shutdown.clone(),
        );
        Ok(Response::new(stream.acks()))
    }

    async fn get_task(
        &self,
        request: Request<pb::GetTaskRequest>,
    ) -> Result<Response<pb::GetTaskResponse>, Status> {
        answer("GetTask", self.get(request.into_inner()).await)
    }

    async fn list_tasks(
        &self,
        request: Request<pb::ListTasksRequest>,
    ) -> Result<Response<pb::ListTasksResponse>, Status> {
        answer("ListTasks", self.list(request.into_inner()).await)
    }

    async fn wait_task(
        &self,
        request: Request<pb::WaitTaskRequest>,
    ) -> Result<Response<pb::WaitTaskResponse>, Status> {
        answer("WaitTask", self.wait(request.into_inner()).await)
    }

    async fn cancel_task(
        &self,
        request: Request<pb::CancelTaskRequest>,
    ) -> Result<Response<pb::CancelTaskResponse>, Status> {
        answer("CancelTask", self.cancel(request.into_inner()).await)
    }

    // Stub: the engine cannot cancel in bulk yet.
    async fn cancel_tasks(
        &self,
        _request: Request<pb::CancelTasksRequest>,
    ) -> Result<Response<Self::CancelTasksStream>, Status> {
        Err(Status::unimplemented("CancelTasks is not built yet"))
    }

    async fn update_task(
        &self,
        request: Request<pb::UpdateTaskRequest>,
    ) -> Result<Response<pb::UpdateTaskResponse>, Status> {
        answer("UpdateTask", self.update(request.into_inner()).await)
    }
}
