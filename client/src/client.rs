//! Tasks: enqueue, follow, list, cancel.
//!
//! Owns the client's settings. Keeps no state between calls and resends nothing on its own
//! authority: see `call.rs`. Invariant: a wait holds one call open and never polls.

use std::time::Duration;

use futures::stream::BoxStream;
use prost::Message as _;
use redrive_proto::v1::{self, task_service_client::TaskServiceClient};
use tonic::transport::Channel;

use crate::{
    call::{Again, Caller, Effect, attempt, present},
    check::{check_bytes, check_name, proto_duration, timeouts},
    clock,
    connect::{self, Address},
    error::{Error, Verdict},
    limits::{
        BATCH_BYTES_MAX, BATCH_TASKS_MAX, MESSAGE_BYTES_MAX, REASON_BYTES_MAX, STREAM_PAGE_SIZE,
        WAIT_SLICE_MAX,
    },
    page::pages,
    task::NewTask,
};

/// How long a call may take, retries included, unless the client says otherwise.
pub const DEADLINE_DEFAULT: Duration = Duration::from_secs(10);

/// A connection to a coordinator. Cheap to clone; clones share the connection.
///
/// Every call ends within its deadline. Calls that only read are tried again while the coordinator
/// is unavailable; calls that change something only where it is certain that they were not
/// performed. [`Error`] says which it was.
#[derive(Debug, Clone)]
pub struct Client {
    pub(crate) channel: Channel,
    pub(crate) caller: Caller,
    pub(crate) namespace: String,
}

/// How a wait went.
#[derive(Debug, Clone, PartialEq)]
pub enum Waited {
    /// The task ended or died; its state says how.
    Ended(v1::Task),
    /// The time ran out first; the task as it stands.
    TimedOut(v1::Task),
}

impl Client {
    /// Connects to `host:port` or `http://host:port`, in one attempt; later the connection is made
    /// again by itself whenever a call needs it.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an address that cannot be one, [`Error::Connect`] where nobody
    /// answers within 5 s.
    pub async fn connect(address: &str) -> Result<Self, Error> {
        let address: Address = address.parse()?;
        Self::with_channel(connect::connect(&address).await?, &address.to_string())
    }

    /// The same, but connects when the first call needs it. Needs a tokio runtime around it.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an address that cannot be one.
    pub fn lazy(address: &str) -> Result<Self, Error> {
        let address: Address = address.parse()?;
        Self::with_channel(connect::connect_lazy(&address), &address.to_string())
    }

    /// A client on a channel that was made elsewhere; `address` is for error messages.
    ///
    /// # Errors
    /// [`Error::Invalid`] where the operating system gives no randomness for the backoff.
    pub fn with_channel(channel: Channel, address: &str) -> Result<Self, Error> {
        let caller = Caller::new(address, DEADLINE_DEFAULT, connect::os_seed()?);
        Ok(Self {
            channel,
            caller,
            namespace: String::new(),
        })
    }

    /// The namespace of all later calls. Default: "default".
    ///
    /// # Errors
    /// [`Error::Invalid`] where it is no name.
    pub fn with_namespace(mut self, namespace: &str) -> Result<Self, Error> {
        check_name("namespace", namespace)?;
        namespace.clone_into(&mut self.namespace);
        Ok(self)
    }

    /// How long each later call may take, retries included. Default: [`DEADLINE_DEFAULT`]. Waits
    /// and streams last longer: there it is how long the coordinator may be out of reach.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.caller.deadline = deadline;
        self
    }

    /// The channel below, for calls that this client does not wrap.
    #[must_use]
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// The namespace set; empty for "default".
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    pub(crate) fn tasks(&self) -> TaskServiceClient<Channel> {
        TaskServiceClient::new(self.channel.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// Enqueues one task. When this returns, the task is as durable as the answer says.
    ///
    /// # Errors
    /// [`Error::Invalid`] before anything is sent; [`Error::OutcomeUnknown`] where the answer was
    /// lost: the task may be there.
    pub async fn enqueue(&self, task: NewTask) -> Result<v1::EnqueueTaskResponse, Error> {
        let request = v1::EnqueueTaskRequest {
            namespace: self.namespace.clone(),
            task: Some(task.build()?),
            ..Default::default()
        };
        let stub = self.tasks();
        self.caller
            .call(Effect::Change, request, |request| {
                let mut stub = stub.clone();
                async move { stub.enqueue_task(request).await }
            })
            .await
    }

    /// Enqueues many tasks, in calls of at most 1,000 tasks and 3 MiB, one after the other. The
    /// answer has one entry for each task, in order: its id, or why it was not accepted. After a
    /// call that failed as a whole the rest is not sent ([`Error::NotSent`]).
    pub async fn enqueue_many(
        &self,
        tasks: impl IntoIterator<Item = NewTask>,
    ) -> Vec<Result<String, Error>> {
        let mut results = Vec::new();
        let mut valid = Vec::new();
        for (index, task) in tasks.into_iter().enumerate() {
            let spec = task.build();
            results.push(Err(Error::NotSent {
                problem: "not reached".to_owned(),
            }));
            match spec {
                Ok(spec) => valid.push((index, spec)),
                Err(error) => results[index] = Err(error),
            }
        }
        let mut failed = None;
        for chunk in chunks(valid) {
            let (indices, specs): (Vec<usize>, Vec<v1::TaskSpec>) = chunk.into_iter().unzip();
            let answers = match &failed {
                Some(error) => vec![Err(Error::not_sent(error)); indices.len()],
                None => match self.enqueue_chunk(specs).await {
                    Ok(answers) => answers,
                    Err(error) => {
                        let answers = vec![Err(error.clone()); indices.len()];
                        failed = Some(error);
                        answers
                    }
                },
            };
            for (index, answer) in indices.into_iter().zip(answers) {
                results[index] = answer;
            }
        }
        results
    }

    async fn enqueue_chunk(
        &self,
        tasks: Vec<v1::TaskSpec>,
    ) -> Result<Vec<Result<String, Error>>, Error> {
        let count = tasks.len();
        let request = v1::EnqueueTasksRequest {
            namespace: self.namespace.clone(),
            tasks,
            ..Default::default()
        };
        let stub = self.tasks();
        let answer: v1::EnqueueTasksResponse = self
            .caller
            .call(Effect::Change, request, |request| {
                let mut stub = stub.clone();
                async move { stub.enqueue_tasks(request).await }
            })
            .await?;
        if answer.results.len() != count {
            return Err(Error::Incomplete {
                missing: "result for each task",
            });
        }
        Ok(answer
            .results
            .into_iter()
            .map(|result| match result.result {
                Some(v1::enqueue_result::Result::TaskId(id)) => Ok(id),
                Some(v1::enqueue_result::Result::Refusal(refusal)) => Err(refusal.into()),
                None => Err(Error::Incomplete { missing: "result" }),
            })
            .collect())
    }

    /// One task, whole. `NOT_FOUND` where the coordinator does not know it (any more).
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn get(&self, task_id: &str) -> Result<v1::Task, Error> {
        let stub = self.tasks();
        let request = v1::GetTaskRequest {
            task_id: task_id.to_owned(),
            ..Default::default()
        };
        let answer: v1::GetTaskResponse = self
            .caller
            .call(Effect::Read, request, |request| {
                let mut stub = stub.clone();
                async move { stub.get_task(request).await }
            })
            .await?;
        present(answer.task, "task")
    }

    /// What to list or act on: this client's namespace, a queue (empty: all of them) and a filter
    /// (empty: everything).
    #[must_use]
    pub fn select(&self, queue: &str, filter: &str) -> v1::Selection {
        v1::Selection {
            namespace: self.namespace.clone(),
            queue: queue.to_owned(),
            filter: filter.to_owned(),
        }
    }

    /// One page of tasks: at most `page_size` (1 to 1,000; 0 means 50), from `page_token` (empty
    /// for the first). A page may be short, even empty, and still have a `next_page_token`.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn list_page(
        &self,
        selection: v1::Selection,
        page_size: u32,
        page_token: &str,
    ) -> Result<v1::ListTasksResponse, Error> {
        let request = v1::ListTasksRequest {
            selection: Some(selection),
            page_size,
            page_token: page_token.to_owned(),
        };
        let stub = self.tasks();
        self.caller
            .call(Effect::Read, request, |request| {
                let mut stub = stub.clone();
                async move { stub.list_tasks(request).await }
            })
            .await
    }

    /// All selected tasks, page after page, in the order of their ids.
    #[must_use]
    pub fn list(&self, selection: v1::Selection) -> BoxStream<'static, Result<v1::Task, Error>> {
        let client = self.clone();
        pages(move |token| {
            let (client, selection) = (client.clone(), selection.clone());
            async move {
                let page = client
                    .list_page(selection, STREAM_PAGE_SIZE, &token)
                    .await?;
                Ok((page.tasks, page.next_page_token))
            }
        })
    }

    /// Waits until the task has ended or died, at most `timeout` ([`Duration::MAX`]: for ever).
    /// Survives restarts of the coordinator that take less than the call deadline.
    ///
    /// # Errors
    /// See [`Error`]; [`Error::Unanswered`] or [`Error::Connect`] where the coordinator was out of
    /// reach for longer than the call deadline.
    pub async fn wait(&self, task_id: &str, timeout: Duration) -> Result<Waited, Error> {
        const FOREVER: Duration = Duration::from_secs(1_000 * 365 * 24 * 3_600);
        let until = clock::now() + timeout.min(FOREVER);
        let mut backoff = self.caller.backoff();
        let mut away_since = None;
        loop {
            let begin = clock::now();
            let slice = until.saturating_duration_since(begin).min(WAIT_SLICE_MAX);
            let verdict = match self.wait_slice(task_id, slice).await? {
                Ok(answer) => {
                    let task = present(answer.task, "task")?;
                    let now = clock::now();
                    if answer.ended {
                        return Ok(Waited::Ended(task));
                    } else if now >= until {
                        return Ok(Waited::TimedOut(task));
                    } else if now >= begin + slice {
                        backoff.reset();
                    } else {
                        // An early answer, as from a coordinator on its way out.
                        clock::pause(backoff.next()).await;
                    }
                    away_since = None;
                    continue;
                }
                Err(verdict) => verdict,
            };
            let give_up = *away_since.get_or_insert_with(clock::now) + self.caller.deadline;
            match self
                .caller
                .pause_before_retry(Effect::Read, &verdict, &mut backoff, give_up)
                .await
            {
                Again::Yes => {}
                Again::No => return Err(self.caller.error(Effect::Read, verdict)),
            }
        }
    }

    async fn wait_slice(
        &self,
        task_id: &str,
        slice: Duration,
    ) -> Result<Result<v1::WaitTaskResponse, Verdict>, Error> {
        let mut request = tonic::Request::new(v1::WaitTaskRequest {
            task_id: task_id.to_owned(),
            timeout: Some(proto_duration("timeout", slice)?),
            ..Default::default()
        });
        let allowed = slice + self.caller.deadline;
        request.set_timeout(allowed);
        let mut stub = self.tasks();
        Ok(attempt(clock::now() + allowed, stub.wait_task(request)).await)
    }

    /// Cancels a task: one that waits ends at once, one that a worker holds is asked to stop.
    /// `reason` is for people, at most 256 bytes.
    ///
    /// # Errors
    /// See [`Error`]; `FAILED_PRECONDITION` where the task has ended or is dead.
    pub async fn cancel(&self, task_id: &str, reason: &str) -> Result<v1::Task, Error> {
        check_bytes("reason", reason, REASON_BYTES_MAX)?;
        let request = v1::CancelTaskRequest {
            task_id: task_id.to_owned(),
            reason: reason.to_owned(),
            ..Default::default()
        };
        let stub = self.tasks();
        let answer: v1::CancelTaskResponse = self
            .caller
            .call(Effect::Change, request, |request| {
                let mut stub = stub.clone();
                async move { stub.cancel_task(request).await }
            })
            .await?;
        present(answer.task, "task")
    }

    /// Replaces both time limits of a live task, at once even where it runs; `None` means no limit.
    ///
    /// # Errors
    /// See [`Error`]; [`Error::Invalid`] as in [`NewTask::timeouts`].
    pub async fn update_timeouts(
        &self,
        task_id: &str,
        soft: Option<Duration>,
        hard: Option<Duration>,
    ) -> Result<v1::Task, Error> {
        let timeouts = Some(timeouts("timeouts", soft, hard)?);
        let request = v1::UpdateTaskRequest {
            task_id: task_id.to_owned(),
            timeouts,
            ..Default::default()
        };
        let stub = self.tasks();
        let answer: v1::UpdateTaskResponse = self
            .caller
            .call(Effect::Change, request, |request| {
                let mut stub = stub.clone();
                async move { stub.update_task(request).await }
            })
            .await?;
        present(answer.task, "task")
    }
}

/// Cuts tasks into calls that keep both limits, in order.
fn chunks(tasks: Vec<(usize, v1::TaskSpec)>) -> Vec<Vec<(usize, v1::TaskSpec)>> {
    let mut chunks: Vec<Vec<(usize, v1::TaskSpec)>> = Vec::new();
    let mut bytes = 0_usize;
    for (index, task) in tasks {
        let len = framed_len(&task);
        match chunks.last_mut() {
            Some(last) if last.len() < BATCH_TASKS_MAX && bytes + len <= BATCH_BYTES_MAX => {
                bytes += len;
                last.push((index, task));
            }
            Some(_) | None => {
                bytes = len;
                chunks.push(vec![(index, task)]);
            }
        }
    }
    chunks
}

/// The bytes that a task takes in a batch, its tag, length and sequence included.
pub(crate) fn framed_len(task: &v1::TaskSpec) -> usize {
    const FRAME: usize = 24;
    task.encoded_len() + FRAME
}
