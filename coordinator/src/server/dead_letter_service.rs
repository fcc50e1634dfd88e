//! DeadLetterService: what an operator does with tasks that will not be tried again by themselves.
//! Never touches a task: it parses, asks and answers.

use redrive_proto::v1 as pb;
use redrive_proto::v1::dead_letter_service_server::DeadLetterService;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::bulk::{Act, BulkRun, Plan, Progress, Stepwise, filter_text, steps};
use super::convert::page::ListOf;
use super::convert::request::task_ref;
use super::convert::view::{Detail, task_view};
use super::convert::{At, field};
use super::edge::{Edge, asked, said};
use super::status::{Refused, answer};
use crate::engine::command::{Call, Caller};
use crate::engine::ledger::task::TaskState;
use crate::engine::limits;
use crate::engine::rejection::Rejection;

/// DeadLetterService over the engine's inbox.
#[derive(Clone, Debug)]
pub(crate) struct DeadLetters {
    pub(crate) edge: Edge,
    pub(crate) shutdown: CancellationToken,
}

impl DeadLetters {
    async fn list(
        &self,
        request: pb::ListDeadLettersRequest,
    ) -> Result<pb::ListDeadLettersResponse, Refused> {
        let pb::ListDeadLettersRequest {
            selection,
            page_size,
            page_token,
        } = request;
        let request = pb::ListTasksRequest {
            selection,
            page_size,
            page_token,
        };
        let page = self.edge.page(request, ListOf::DeadLetters).await?;
        let next_page_token = page.next_page_token;
        Ok(pb::ListDeadLettersResponse {
            tasks: page.tasks,
            next_page_token,
        })
    }

    async fn get(
        &self,
        request: pb::GetDeadLetterRequest,
    ) -> Result<pb::GetDeadLetterResponse, Refused> {
        let id = field::task_id(&request.task_id, At::Root.field("task_id"))?;
        let call = Call::GetTask(id.into());
        let view = self.edge.task_answer(Caller::default(), call).await?;
        if view.state != TaskState::Dead {
            let wanted = "it would have to be DEAD; look at it with TaskService.GetTask";
            return Err(Rejection::WrongState {
                id,
                state: view.state.name(),
                wanted,
            }
            .into());
        }
        Ok(pb::GetDeadLetterResponse {
            task: Some(task_view(&view, Detail::Whole)),
        })
    }

    async fn redrive(
        &self,
        request: Request<pb::RedriveTaskRequest>,
    ) -> Result<pb::RedriveTaskResponse, Refused> {
        let root = At::Root;
        let (caller, request) = asked(request)?;
        let task = task_ref(&request.task_id, request.task_key.as_ref())?;
        let delay = request.delay.as_ref();
        let delay_ms = field::optional_ms(delay, limits::DELAY_MS_MAX, root.field("delay"))?;
        let reason = field::reason(&request.reason, root.field("reason"))?;
        let call = Call::RedriveTask {
            task,
            reason: reason.clone(),
            delay_ms: delay_ms.unwrap_or(0),
        };
        let by = caller.by.clone();
        let task = self.edge.task(caller, call).await?;
        let id = task.task_id.as_str();
        tracing::info!(task = id, actor = &*by, reason = &*reason, "redriven");
        Ok(pb::RedriveTaskResponse { task: Some(task) })
    }

    async fn discard(
        &self,
        request: Request<pb::DiscardTaskRequest>,
    ) -> Result<pb::DiscardTaskResponse, Refused> {
        let (caller, request) = asked(request)?;
        let task = task_ref(&request.task_id, request.task_key.as_ref())?;
        let reason = field::reason(&request.reason, At::Root.field("reason"))?;
        let by = caller.by.clone();
        let call = Call::DiscardTask {
            task,
            reason: reason.clone(),
        };
        let task = self.edge.task(caller, call).await?;
        let id = task.task_id.as_str();
        tracing::info!(task = id, actor = &*by, reason = &*reason, "discarded");
        Ok(pb::DiscardTaskResponse { task: Some(task) })
    }

    async fn redrive_many(
        &self,
        request: Request<pb::RedriveDeadLettersRequest>,
    ) -> Result<Stepwise<pb::RedriveDeadLettersResponse>, Refused> {
        let root = At::Root;
        let (by, request) = said(request)?;
        let spread = request.spread.as_ref();
        let spread_ms = field::optional_ms(spread, limits::DELAY_MS_MAX, root.field("spread"))?;
        let reason = field::reason(&request.reason, root.field("reason"))?;
        let plan = Plan {
            act: Act::Redrive {
                spread_ms: spread_ms.unwrap_or(0),
            },
            filter: filter_text(request.selection.as_ref()),
            selection: self.edge.selection(request.selection).await?,
            expected_count: request.expected_count,
            count_max: (request.count_max > 0).then_some(request.count_max),
            dry_run: request.dry_run,
            by,
            reason,
        };
        let run = BulkRun::begin(self.edge.clone(), plan).await?;
        let told = |progress: Progress| pb::RedriveDeadLettersResponse {
            matched: progress.matched,
            redriven: progress.changed,
            done: progress.done,
        };
        let shutdown = self.shutdown.clone();
        Ok(steps("RedriveDeadLetters", run, shutdown, told))
    }

    async fn discard_many(
        &self,
        request: Request<pb::DiscardDeadLettersRequest>,
    ) -> Result<Stepwise<pb::DiscardDeadLettersResponse>, Refused> {
        let root = At::Root;
        let (by, request) = said(request)?;
        let reason = field::reason(&request.reason, root.field("reason"))?;
        if request.expected_count.is_none() && !request.dry_run {
            return Err(root
                .field("expected_count")
                .refuse("is required, for there is no undo: count with dry_run first")
                .into());
        }
        let plan = Plan {
            act: Act::Discard,
            filter: filter_text(request.selection.as_ref()),
            selection: self.edge.selection(request.selection).await?,
            expected_count: request.expected_count,
            count_max: None,
            dry_run: request.dry_run,
            by,
            reason,
        };
        let run = BulkRun::begin(self.edge.clone(), plan).await?;
        let told = |progress: Progress| pb::DiscardDeadLettersResponse {
            matched: progress.matched,
            discarded: progress.changed,
            done: progress.done,
        };
        let shutdown = self.shutdown.clone();
        Ok(steps("DiscardDeadLetters", run, shutdown, told))
    }
}

#[tonic::async_trait]
impl DeadLetterService for DeadLetters {
    type RedriveDeadLettersStream = Stepwise<pb::RedriveDeadLettersResponse>;
    type DiscardDeadLettersStream = Stepwise<pb::DiscardDeadLettersResponse>;

    async fn list_dead_letters(
        &self,
        request: Request<pb::ListDeadLettersRequest>,
    ) -> Result<Response<pb::ListDeadLettersResponse>, Status> {
        answer("ListDeadLetters", self.list(request.into_inner()).await)
    }

    async fn get_dead_letter(
        &self,
        request: Request<pb::GetDeadLetterRequest>,
    ) -> Result<Response<pb::GetDeadLetterResponse>, Status> {
        answer("GetDeadLetter", self.get(request.into_inner()).await)
    }

    async fn redrive_task(
        &self,
        request: Request<pb::RedriveTaskRequest>,
    ) -> Result<Response<pb::RedriveTaskResponse>, Status> {
        answer("RedriveTask", self.redrive(request).await)
    }

    async fn discard_task(
        &self,
        request: Request<pb::DiscardTaskRequest>,
    ) -> Result<Response<pb::DiscardTaskResponse>, Status> {
        answer("DiscardTask", self.discard(request).await)
    }

    async fn redrive_dead_letters(
        &self,
        request: Request<pb::RedriveDeadLettersRequest>,
    ) -> Result<Response<Self::RedriveDeadLettersStream>, Status> {
        answer("RedriveDeadLetters", self.redrive_many(request).await)
    }

    async fn discard_dead_letters(
        &self,
        request: Request<pb::DiscardDeadLettersRequest>,
    ) -> Result<Response<Self::DiscardDeadLettersStream>, Status> {
        answer("DiscardDeadLetters", self.discard_many(request).await)
    }
}
