//! TaskService: what producers call.
//!
//! Owns the order parse, ask, answer of each call. Never judges: the engine does.

use redrive_proto::v1 as pb;
use redrive_proto::v1::task_service_server::TaskService;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::bulk::{Act, BulkRun, Plan, Progress, Stepwise, filter_text, steps};
use super::convert::change;
use super::convert::page::ListOf;
use super::convert::request::task_ref;
use super::convert::task::new_task;
use super::convert::view::{Detail, task_view};
use super::convert::{At, field};
use super::edge::{Edge, asked, confused, said};
use super::enqueue::{Batch, WhenFull, effect_view};
use super::enqueue_stream::{AckStream, EnqueueStream};
use super::status::{Refused, answer};
use crate::engine::command::{Call, Caller};
use crate::engine::effect::Answer;
use crate::engine::limits;

/// TaskService over the engine's inbox.
#[derive(Clone, Debug)]
pub(crate) struct Tasks {
    pub(crate) edge: Edge,
    pub(crate) shutdown: CancellationToken,
}

impl Tasks {
    fn durability(&self) -> String {
        self.edge.facts.durability.name().to_owned()
    }

    async fn enqueue_one(
        &self,
        request: Request<pb::EnqueueTaskRequest>,
    ) -> Result<pb::EnqueueTaskResponse, Refused> {
        let root = At::Root;
        let (caller, request) = asked(request)?;
        let namespace = field::namespace(&request.namespace, root.field("namespace"))?;
        let task = new_task(&namespace, request.task, root.field("task"))?;
        let batch = Batch {
            namespace,
            tasks: vec![Ok(task)],
            producer: None,
        };
        let mut results = self.edge.enqueue(caller, batch, WhenFull::Refuse).await?;
        let accepted = results.pop().unwrap_or(Err(Refused::Confused));
        let accepted = accepted.map_err(|refused| refused.below("task"))?;
        Ok(pb::EnqueueTaskResponse {
            task_id: accepted.id.to_string(),
            durability: self.durability(),
            effect: effect_view(accepted.how).into(),
        })
    }

    async fn enqueue_many(
        &self,
        request: Request<pb::EnqueueTasksRequest>,
    ) -> Result<pb::EnqueueTasksResponse, Refused> {
        let root = At::Root;
        let (caller, request) = asked(request)?;
        let namespace = field::namespace(&request.namespace, root.field("namespace"))?;
        let at = root.field("tasks");
        field::batch(request.tasks.len(), limits::BATCH_ITEMS_MAX, at)?;
        let specs = request.tasks.into_iter();
        let tasks = specs.map(|spec| new_task(&namespace, Some(spec), root).map_err(Into::into));
        let batch = Batch {
            tasks: tasks.collect(),
            namespace,
            producer: None,
        };
        let results = self.edge.enqueue(caller, batch, WhenFull::Refuse).await?;
        let shown = results.into_iter().map(|result| {
            use pb::enqueue_result::Result as Shown;
            let (result, effect) = match result {
                Ok(task) => (Shown::TaskId(task.id.to_string()), effect_view(task.how)),
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
        let task = task_ref(&request.task_id, request.task_key.as_ref())?;
        let call = Call::GetTask(task);
        let task = self.edge.task(Caller::default(), call).await?;
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
        let task = task_ref(&request.task_id, request.task_key.as_ref())?;
        let timeout = request.timeout.as_ref();
        let timeout_ms = field::optional_ms(timeout, limits::WAIT_MS_MAX, root.field("timeout"))?;
        let timeout_ms = timeout_ms.unwrap_or(limits::WAIT_MS_DEFAULT);
        let call = Call::WaitTask { task, timeout_ms };
        let Answer::Waited { ended, task } = self.edge.ask(call).await? else {
            return Err(confused("a wait"));
        };
        let task = Some(task_view(&task, Detail::Whole));
        Ok(pb::WaitTaskResponse { ended, task })
    }

    async fn cancel(
        &self,
        request: Request<pb::CancelTaskRequest>,
    ) -> Result<pb::CancelTaskResponse, Refused> {
        let (caller, request) = asked(request)?;
        let task = task_ref(&request.task_id, request.task_key.as_ref())?;
        let cancel = change::cancel(request.mode, request.grace.as_ref(), &request.reason)?;
        let call = Call::CancelTask { task, cancel };
        let Answer::Cancelled { over, task } = self.edge.ask_as(caller, call).await? else {
            return Err(confused("a cancel"));
        };
        let disposition = if over {
            pb::CancelDisposition::Cancelled
        } else {
            pb::CancelDisposition::Cancelling
        };
        Ok(pb::CancelTaskResponse {
            task: Some(task_view(&task, Detail::Whole)),
            disposition: disposition.into(),
        })
    }

    async fn cancel_many(
        &self,
        request: Request<pb::CancelTasksRequest>,
    ) -> Result<Stepwise<pb::CancelTasksResponse>, Refused> {
        let (by, request) = said(request)?;
        let cancel = change::cancel(request.mode, request.grace.as_ref(), &request.reason)?;
        let plan = Plan {
            reason: cancel.reason.clone(),
            act: Act::Cancel(cancel),
            filter: filter_text(request.selection.as_ref()),
            selection: self.edge.selection(request.selection).await?,
            expected_count: request.expected_count,
            count_max: (request.count_max > 0).then_some(request.count_max),
            dry_run: request.dry_run,
            by,
        };
        let run = BulkRun::begin(self.edge.clone(), plan).await?;
        let told = |progress: Progress| pb::CancelTasksResponse {
            matched: progress.matched,
            cancelled: progress.changed,
            cancelling: progress.pending,
            done: progress.done,
        };
        Ok(steps("CancelTasks", run, self.shutdown.clone(), told))
    }

    async fn update(
        &self,
        request: Request<pb::UpdateTaskRequest>,
    ) -> Result<pb::UpdateTaskResponse, Refused> {
        let (caller, request) = asked(request)?;
        let task = task_ref(&request.task_id, request.task_key.as_ref())?;
        let change = Box::new(change::task_change(request)?);
        let call = Call::UpdateTask { task, change };
        let task = self.edge.task(caller, call).await?;
        Ok(pb::UpdateTaskResponse { task: Some(task) })
    }
}

#[tonic::async_trait]
impl TaskService for Tasks {
    type EnqueueStreamStream = AckStream;
    type CancelTasksStream = Stepwise<pb::CancelTasksResponse>;

    async fn enqueue_task(
        &self,
        request: Request<pb::EnqueueTaskRequest>,
    ) -> Result<Response<pb::EnqueueTaskResponse>, Status> {
        answer("EnqueueTask", self.enqueue_one(request).await)
    }

    async fn enqueue_tasks(
        &self,
        request: Request<pb::EnqueueTasksRequest>,
    ) -> Result<Response<pb::EnqueueTasksResponse>, Status> {
        answer("EnqueueTasks", self.enqueue_many(request).await)
    }

    async fn enqueue_stream(
        &self,
        request: Request<Streaming<pb::EnqueueStreamRequest>>,
    ) -> Result<Response<AckStream>, Status> {
        let opened = said(request).map(|(by, incoming)| {
            let stream = EnqueueStream::new(self.edge.clone(), by, incoming, self.shutdown.clone());
            stream.acks()
        });
        answer("EnqueueStream", opened)
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
        answer("CancelTask", self.cancel(request).await)
    }

    async fn cancel_tasks(
        &self,
        request: Request<pb::CancelTasksRequest>,
    ) -> Result<Response<Self::CancelTasksStream>, Status> {
        answer("CancelTasks", self.cancel_many(request).await)
    }

    async fn update_task(
        &self,
        request: Request<pb::UpdateTaskRequest>,
    ) -> Result<Response<pb::UpdateTaskResponse>, Status> {
        answer("UpdateTask", self.update(request).await)
    }
}
