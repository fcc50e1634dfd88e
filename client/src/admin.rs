//! What operators do: queues, dead letters, policies, workers, the server, the event stream.
//!
//! Keeps no state. Changes follow the same rule as tasks do: tried again only where it is certain
//! that nothing was performed.

use std::time::Duration;

use futures::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use redrive_proto::v1::{
    self, dead_letter_service_client::DeadLetterServiceClient,
    event_service_client::EventServiceClient, queue_service_client::QueueServiceClient,
    retry_policy_service_client::RetryPolicyServiceClient,
    server_service_client::ServerServiceClient, worker_service_client::WorkerServiceClient,
};
use tonic::Streaming;

use crate::{
    call::{Caller, Effect, present},
    check::{check_bytes, check_name, proto_duration},
    client::Client,
    error::{Error, Verdict},
    limits::{MESSAGE_BYTES_MAX, REASON_BYTES_MAX, STREAM_PAGE_SIZE},
    page::pages,
};

/// Makes one call of a service: `call` where the answer is one message, `open` where it is a stream.
macro_rules! call {
    ($client:expr, $how:ident $effect:expr, $stub:ident :: $method:ident, $request:expr) => {{
        let stub = $stub::new($client.channel.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        $client
            .caller
            .$how($effect, $request, |request| {
                let mut stub = stub.clone();
                async move { stub.$method(request).await }
            })
            .await
    }};
}

/// Queues.
impl Client {
    /// One queue, `NOT_FOUND` where nobody has used or configured it.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn queue(&self, queue: &str) -> Result<v1::Queue, Error> {
        let request = v1::GetQueueRequest {
            namespace: self.namespace.clone(),
            queue: queue.to_owned(),
        };
        let answer = call!(self, call Effect::Read, QueueServiceClient::get_queue, request)?;
        present(answer.queue, "queue")
    }

    /// All queues of the namespace, by name.
    #[must_use]
    pub fn queues(&self) -> BoxStream<'static, Result<v1::Queue, Error>> {
        let client = self.clone();
        pages(move |page_token| {
            let client = client.clone();
            async move {
                let request = v1::ListQueuesRequest {
                    namespace: client.namespace.clone(),
                    page_size: STREAM_PAGE_SIZE,
                    page_token,
                };
                let page =
                    call!(client, call Effect::Read, QueueServiceClient::list_queues, request)?;
                Ok((page.queues, page.next_page_token))
            }
        })
    }

    /// Changes the settings of a queue that `fields` names ("retry_policy", "inline_retry_policy",
    /// "timeouts", "dead_letter_queue"; none: all of them), creating the queue where it is new. A
    /// field named and unset in `settings` is cleared.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn update_queue(
        &self,
        queue: &str,
        settings: v1::QueueSettings,
        fields: &[&str],
    ) -> Result<v1::Queue, Error> {
        check_name("queue", queue)?;
        let paths: Vec<String> = fields.iter().map(|&field| field.to_owned()).collect();
        let request = v1::UpdateQueueRequest {
            namespace: self.namespace.clone(),
            queue: queue.to_owned(),
            settings: Some(settings),
            update_mask: (!paths.is_empty()).then_some(prost_types::FieldMask { paths }),
            ..Default::default()
        };
        let answer = call!(self, call Effect::Change, QueueServiceClient::update_queue, request)?;
        present(answer.queue, "queue")
    }

    /// Stops handing out the queue's tasks; `reason` is for people, at most 256 bytes.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn pause_queue(&self, queue: &str, reason: &str) -> Result<v1::Queue, Error> {
        check_name("queue", queue)?;
        check_bytes("reason", reason, REASON_BYTES_MAX)?;
        let request = v1::PauseQueueRequest {
            namespace: self.namespace.clone(),
            queue: queue.to_owned(),
            reason: reason.to_owned(),
            ..Default::default()
        };
        let answer = call!(self, call Effect::Change, QueueServiceClient::pause_queue, request)?;
        present(answer.queue, "queue")
    }

    /// Hands out the queue's tasks again.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn resume_queue(&self, queue: &str) -> Result<v1::Queue, Error> {
        let request = v1::ResumeQueueRequest {
            namespace: self.namespace.clone(),
            queue: queue.to_owned(),
            ..Default::default()
        };
        let answer = call!(self, call Effect::Change, QueueServiceClient::resume_queue, request)?;
        present(answer.queue, "queue")
    }
}

/// Dead letters.
impl Client {
    /// One page of dead letters, as [`Client::list_page`].
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn dead_letters_page(
        &self,
        selection: v1::Selection,
        page_size: u32,
        page_token: &str,
    ) -> Result<v1::ListDeadLettersResponse, Error> {
        let request = v1::ListDeadLettersRequest {
            selection: Some(selection),
            page_size,
            page_token: page_token.to_owned(),
        };
        call!(self, call Effect::Read, DeadLetterServiceClient::list_dead_letters, request)
    }

    /// All selected dead letters, the longest dead first within a queue.
    #[must_use]
    pub fn dead_letters(
        &self,
        selection: v1::Selection,
    ) -> BoxStream<'static, Result<v1::Task, Error>> {
        let client = self.clone();
        pages(move |token| {
            let (client, selection) = (client.clone(), selection.clone());
            async move {
                let page = client
                    .dead_letters_page(selection, STREAM_PAGE_SIZE, &token)
                    .await?;
                Ok((page.tasks, page.next_page_token))
            }
        })
    }

    /// One dead letter, whole; `FAILED_PRECONDITION` where the task is not dead.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn dead_letter(&self, task_id: &str) -> Result<v1::Task, Error> {
        let request = v1::GetDeadLetterRequest {
            task_id: task_id.to_owned(),
        };
        let answer =
            call!(self, call Effect::Read, DeadLetterServiceClient::get_dead_letter, request)?;
        present(answer.task, "task")
    }

    /// Puts one dead letter back with a fresh budget, to start after `delay`.
    ///
    /// # Errors
    /// See [`Error`]; `FAILED_PRECONDITION` where the task is not dead.
    pub async fn redrive(
        &self,
        task_id: &str,
        delay: Duration,
        reason: &str,
    ) -> Result<v1::Task, Error> {
        check_bytes("reason", reason, REASON_BYTES_MAX)?;
        let request = v1::RedriveTaskRequest {
            task_id: task_id.to_owned(),
            delay: Some(proto_duration("delay", delay)?),
            reason: reason.to_owned(),
            ..Default::default()
        };
        let answer =
            call!(self, call Effect::Change, DeadLetterServiceClient::redrive_task, request)?;
        present(answer.task, "task")
    }

    /// Deletes one dead letter for good. There is no undo. Answers the task, DISCARDED; `reason` is
    /// for the log, at most 256 bytes.
    ///
    /// # Errors
    /// See [`Error`]; `FAILED_PRECONDITION` where the task is not dead.
    pub async fn discard(&self, task_id: &str, reason: &str) -> Result<v1::Task, Error> {
        check_bytes("reason", reason, REASON_BYTES_MAX)?;
        let request = v1::DiscardTaskRequest {
            task_id: task_id.to_owned(),
            reason: reason.to_owned(),
            ..Default::default()
        };
        let answer =
            call!(self, call Effect::Change, DeadLetterServiceClient::discard_task, request)?;
        present(answer.task, "task")
    }

    /// Puts all selected dead letters back and tells the progress; the last message has `done`.
    /// Dropping the stream stops it between batches. Safe to repeat after a failure. An unset
    /// selection, or one without a namespace, is this client's namespace.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn redrive_many(
        &self,
        mut request: v1::RedriveDeadLettersRequest,
    ) -> Result<BoxStream<'static, Result<v1::RedriveDeadLettersResponse, Error>>, Error> {
        check_bytes("reason", &request.reason, REASON_BYTES_MAX)?;
        self.fill_namespace(&mut request.selection);
        let answer = call!(self, open Effect::Change, DeadLetterServiceClient::redrive_dead_letters, request)?;
        Ok(messages(self.caller.clone(), Effect::Change, answer))
    }

    /// Deletes all selected dead letters for good and tells the progress, as
    /// [`Client::redrive_many`]. There is no undo: `expected_count` is required unless it is a dry
    /// run.
    ///
    /// # Errors
    /// See [`Error`]; [`Error::Invalid`] without an expected count.
    pub async fn discard_many(
        &self,
        mut request: v1::DiscardDeadLettersRequest,
    ) -> Result<BoxStream<'static, Result<v1::DiscardDeadLettersResponse, Error>>, Error> {
        check_bytes("reason", &request.reason, REASON_BYTES_MAX)?;
        if request.expected_count.is_none() && !request.dry_run {
            return Err(Error::invalid(
                "expected_count",
                "is unset; there is no undo, so say how many it must be (a dry run counts them)",
            ));
        }
        self.fill_namespace(&mut request.selection);
        let answer = call!(self, open Effect::Change, DeadLetterServiceClient::discard_dead_letters, request)?;
        Ok(messages(self.caller.clone(), Effect::Change, answer))
    }

    fn fill_namespace(&self, selection: &mut Option<v1::Selection>) {
        let selection = selection.get_or_insert_default();
        if selection.namespace.is_empty() {
            self.namespace.clone_into(&mut selection.namespace);
        }
    }
}

/// Policies, workers, the server, events.
impl Client {
    /// The named retry policies, by name, every default filled in.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn retry_policies(&self) -> Result<Vec<v1::RetryPolicy>, Error> {
        let request = v1::ListRetryPoliciesRequest {};
        let answer =
            call!(self, call Effect::Read, RetryPolicyServiceClient::list_retry_policies, request)?;
        Ok(answer.policies)
    }

    /// One named retry policy, every default filled in. `NOT_FOUND` names those that there are.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn retry_policy(&self, name: &str) -> Result<v1::RetryPolicy, Error> {
        let request = v1::GetRetryPolicyRequest {
            name: name.to_owned(),
        };
        let answer =
            call!(self, call Effect::Read, RetryPolicyServiceClient::get_retry_policy, request)?;
        present(answer.policy, "policy")
    }

    /// What a policy would do with a task that fails the same way each time. Changes nothing.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn preview_retry_policy(
        &self,
        request: v1::PreviewRetryPolicyRequest,
    ) -> Result<v1::PreviewRetryPolicyResponse, Error> {
        call!(self, call Effect::Read, RetryPolicyServiceClient::preview_retry_policy, request)
    }

    /// The workers connected, or lost so lately that their leases still wait for them; `queue`
    /// narrows it to those that serve it (empty: all). Sorted by worker id, at most 10,000.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn workers(&self, queue: &str) -> Result<Vec<v1::Worker>, Error> {
        let request = v1::ListWorkersRequest {
            namespace: self.namespace.clone(),
            queue: queue.to_owned(),
        };
        let answer = call!(self, call Effect::Read, WorkerServiceClient::list_workers, request)?;
        Ok(answer.workers)
    }

    /// Asks workers (1 to 1,000 ids) to finish what they hold and leave; what is not finished after
    /// `deadline` is given back (`None`: everything is finished first). Answers the ids found.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn drain_workers(
        &self,
        worker_ids: &[&str],
        reason: &str,
        deadline: Option<Duration>,
    ) -> Result<Vec<String>, Error> {
        check_bytes("reason", reason, REASON_BYTES_MAX)?;
        let deadline = deadline
            .map(|it| proto_duration("deadline", it))
            .transpose()?;
        let request = v1::DrainWorkersRequest {
            namespace: self.namespace.clone(),
            worker_ids: worker_ids.iter().map(|&id| id.to_owned()).collect(),
            reason: reason.to_owned(),
            deadline,
            ..Default::default()
        };
        let answer = call!(self, call Effect::Change, WorkerServiceClient::drain_workers, request)?;
        Ok(answer.worker_ids)
    }

    /// What the coordinator is, what it promises and what it allows.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn server_info(&self) -> Result<v1::GetServerInfoResponse, Error> {
        let request = v1::GetServerInfoRequest {};
        call!(self, call Effect::Read, ServerServiceClient::get_server_info, request)
    }

    /// What happens to tasks, as it happens: of one queue (empty: all), after `cursor` (empty: from
    /// now on). Each message brings events and the cursor to resume with after them. Ends with an
    /// error when the connection breaks: watch again with the last cursor.
    ///
    /// # Errors
    /// See [`Error`]; `OUT_OF_RANGE` where the cursor is older than the coordinator's memory.
    pub async fn watch(
        &self,
        queue: &str,
        cursor: &str,
    ) -> Result<BoxStream<'static, Result<v1::WatchEventsResponse, Error>>, Error> {
        let request = v1::WatchEventsRequest {
            namespace: self.namespace.clone(),
            queue: queue.to_owned(),
            cursor: cursor.to_owned(),
        };
        let answer = call!(self, open Effect::Read, EventServiceClient::watch_events, request)?;
        Ok(messages(self.caller.clone(), Effect::Read, answer))
    }
}

/// The messages of an answer that streams, up to its end or first error.
fn messages<T: Send + 'static>(
    caller: Caller,
    effect: Effect,
    answer: Streaming<T>,
) -> BoxStream<'static, Result<T, Error>> {
    stream::try_unfold(answer, move |mut answer| {
        let caller = caller.clone();
        async move {
            match answer.message().await {
                Ok(message) => Ok(message.map(|message| (message, answer))),
                Err(status) => Err(caller.error(effect, Verdict::of(&status))),
            }
        }
    })
    .boxed()
}
