//! TaskService: what producers call.
//!
//! Owns the order parse, ask, answer of each call. Never judges: the engine does.

use std::pin::Pin;

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

/// The answer to a unary call, under way.
type Answering<'a, T> = Pin<Box<dyn Future<Output = Result<Response<T>, Status>> + Send + 'a>>;

/// Who asks, and the one task that they want to be accepted.
fn one_task(request: Request<pb::EnqueueTaskRequest>) -> Result<(Caller, Batch), Refused> {
    let root = At::Root;
    let (caller, request) = asked(request)?;
    let namespace = field::namespace(&request.namespace, root.field("namespace"))?;
    let task = new_task(&namespace, request.task, root.field("task"))?;
    let batch = Batch {
        namespace,
        tasks: vec![Ok(task)],
        producer: None,
    };
    Ok((caller, batch))
}

impl Tasks {
    fn durability(&self) -> String {
        self.edge.facts.durability.name().to_owned()
    }

    async fn enqueue_one(
        &self,
        caller: Caller,
        batch: Batch,
    ) -> Result<pb::EnqueueTaskResponse, Refused> {
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

    /// As the attribute would write it, but that the request is parsed first: the future, of which
    /// there are as many as calls in flight, does not carry it.
    fn enqueue_task<'life0, 'async_trait>(
        &'life0 self,
        request: Request<pb::EnqueueTaskRequest>,
    ) -> Answering<'async_trait, pb::EnqueueTaskResponse>
    where
        'life0: 'async_trait,
    {
        let parsed = one_task(request);
        Box::pin(async move {
            let enqueued = match parsed {
                Ok((caller, batch)) => self.enqueue_one(caller, batch).await,
                Err(refused) => Err(refused),
            };
            answer("EnqueueTask", enqueued)
        })
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

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use futures::StreamExt as _;
    use tonic::Code;

    use super::*;
    use crate::engine::command::{Cancel, CancelMode, Once, TaskRef};
    use crate::engine::effect::{Accepted, EnqueueEffect, ServerFacts};
    use crate::engine::ids::{ShardId, TaskId, Timestamp};
    use crate::engine::ledger::task::State;
    use crate::engine::rejection::Rejection;
    use crate::server::convert::view::tests::full_view;
    use crate::server::testing::Engine;

    fn tasks(engine: &Engine) -> Tasks {
        Tasks {
            edge: engine.edge(),
            shutdown: CancellationToken::new(),
        }
    }

    /// A request of somebody.
    fn of_kim<R>(message: R) -> Request<R> {
        let mut request = Request::new(message);
        let metadata = request.metadata_mut();
        metadata.insert("redrive-actor", "kim".parse().unwrap());
        request
    }

    fn spec(kind: &str) -> pb::TaskSpec {
        pb::TaskSpec {
            kind: kind.into(),
            ..Default::default()
        }
    }

    /// An engine that accepts every task like this, and keeps who asked with which id.
    fn accepting(how: EnqueueEffect) -> (Engine, Arc<Mutex<Vec<Caller>>>) {
        let callers = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&callers);
        let engine = Engine::answering_callers(move |caller, call| {
            log.lock().unwrap().push(caller);
            let Call::Enqueue(enqueue) = call else {
                panic!("not asked here: {call:?}")
            };
            let id = TaskId::new(Timestamp(1), ShardId(0), 1);
            let accept = |_| Ok(Accepted { id, how });
            Ok(Answer::Enqueued(
                enqueue.tasks.into_iter().map(accept).collect(),
            ))
        });
        (engine, callers)
    }

    #[tokio::test]
    async fn an_enqueue_tells_what_it_did_and_carries_its_id_and_who_asks() {
        for (how, shown) in [
            (EnqueueEffect::Created, pb::EnqueueEffect::Created),
            (EnqueueEffect::Existing, pb::EnqueueEffect::Existing),
            (EnqueueEffect::Replaced, pb::EnqueueEffect::Replaced),
            (EnqueueEffect::Rescheduled, pb::EnqueueEffect::Rescheduled),
        ] {
            let (engine, callers) = accepting(how);
            let request = pb::EnqueueTaskRequest {
                namespace: "billing".into(),
                task: Some(spec("send")),
                request_id: "r-1".into(),
                ..Default::default()
            };
            let answer = tasks(&engine).enqueue_task(of_kim(request)).await;
            assert_eq!(answer.unwrap().into_inner().effect(), shown);
            let caller = callers.lock().unwrap().remove(0);
            let Once { namespace, id, .. } = *caller.once.unwrap();
            assert_eq!((&*caller.by, &*namespace, &*id), ("kim", "billing", "r-1"));
        }
    }

    #[tokio::test]
    async fn a_batch_tells_the_effect_of_each_that_was_accepted() {
        let (engine, _) = accepting(EnqueueEffect::Existing);
        let request = pb::EnqueueTasksRequest {
            tasks: vec![spec("a"), spec("a b"), spec("c")],
            ..Default::default()
        };
        let answer = tasks(&engine).enqueue_tasks(Request::new(request)).await;
        let effects: Vec<_> = answer
            .unwrap()
            .into_inner()
            .results
            .iter()
            .map(pb::EnqueueResult::effect)
            .collect();
        use pb::EnqueueEffect::{Existing, Unspecified};
        assert_eq!(effects, [Existing, Unspecified, Existing]);
    }

    #[tokio::test]
    async fn a_bad_actor_is_refused_on_every_call_that_changes_something() {
        let engine = Engine::answering(|call| panic!("not asked here: {call:?}"));
        let tasks = tasks(&engine);
        let mut request = Request::new(pb::CancelTaskRequest::default());
        let long = "x".repeat(129).parse().unwrap();
        request.metadata_mut().insert("redrive-actor", long);
        let status = tasks.cancel_task(request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(
            status
                .message()
                .starts_with("metadata.redrive-actor has 129 bytes")
        );
    }

    #[tokio::test]
    async fn a_cancel_says_whether_that_is_the_end_of_it() {
        for (over, expected) in [
            (true, pb::CancelDisposition::Cancelled),
            (false, pb::CancelDisposition::Cancelling),
        ] {
            let engine = Engine::answering(move |call| {
                let Call::CancelTask { task, cancel } = call else {
                    panic!("not asked here: {call:?}")
                };
                assert!(matches!(task, TaskRef::Key { .. }));
                let expected = Cancel {
                    mode: CancelMode::Force,
                    reason: "over".into(),
                };
                assert_eq!(cancel, expected);
                let not_before = Timestamp(1);
                let task = Box::new(full_view(State::Pending { not_before }));
                Ok(Answer::Cancelled { over, task })
            });
            let request = pb::CancelTaskRequest {
                task_key: Some(pb::TaskKey {
                    queue: "mail".into(),
                    idempotency_key: "k".into(),
                    ..Default::default()
                }),
                mode: pb::CancelMode::Force.into(),
                reason: "over".into(),
                ..Default::default()
            };
            let answer = tasks(&engine).cancel_task(of_kim(request)).await.unwrap();
            assert_eq!(answer.into_inner().disposition(), expected);
        }
    }

    #[tokio::test]
    async fn a_bulk_cancel_streams_its_progress() {
        let engine = Engine::answering(|call| {
            let Call::Bulk(bulk) = call else {
                return Ok(Answer::Server(ServerFacts::default()));
            };
            let waiting = !bulk.selection.filter.clauses.is_empty();
            let matched = if waiting { 2 } else { 1 };
            Ok(Answer::Bulk {
                matched,
                changed: matched,
                next: None,
            })
        });
        let request = Request::new(pb::CancelTasksRequest::default());
        let stream = tasks(&engine).cancel_tasks(request).await.unwrap();
        let told: Vec<_> = stream.into_inner().map(Result::unwrap).collect().await;
        let last = told.last().unwrap();
        assert_eq!((last.matched, last.cancelled, last.cancelling), (3, 2, 1));
        assert!(last.done);
    }

    #[tokio::test]
    async fn what_the_engine_refuses_of_a_task_is_named_below_the_task() {
        let engine = Engine::answering(|_| {
            let (field, problem) = ("queue".to_owned(), "is empty".to_owned());
            Ok(Answer::Enqueued(vec![Err(Rejection::Invalid {
                field,
                problem,
            })]))
        });
        let request = pb::EnqueueTaskRequest {
            task: Some(spec("send")),
            ..Default::default()
        };
        let status = tasks(&engine).enqueue_task(Request::new(request)).await;
        assert_eq!(status.unwrap_err().message(), "task.queue is empty");
    }
}
