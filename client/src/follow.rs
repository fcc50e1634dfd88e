//! Tasks that are there: look at them, wait for their end, cancel and change them.
//!
//! Keeps no state between calls. Invariant: a wait holds one call open and never polls.

use std::time::Duration;

use futures::stream::BoxStream;
use redrive_proto::v1::{self, task_service_client::TaskServiceClient};

use crate::{
    admin::messages,
    call::{Again, Effect, attempt, call, present},
    check::{check_bytes, span},
    check_life::check_cancel,
    client::Client,
    clock,
    error::{Error, Verdict},
    limits::{REASON_BYTES_MAX, STREAM_PAGE_SIZE, WAIT_SLICE_MAX},
    page::pages,
    task_ref::{Cancel, TaskRef, TaskUpdate},
};

/// How a wait went.
#[derive(Debug, Clone, PartialEq)]
pub enum Waited {
    /// The task ended or died; its state says how.
    Ended(v1::Task),
    /// The time ran out first; the task as it stands.
    TimedOut(v1::Task),
}

impl Client {
    /// One task, whole, its result included where it succeeded: by its id, or by its key
    /// ([`TaskRef::key`]). `NOT_FOUND` where the coordinator does not know it (any more).
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn get(&self, task: impl Into<TaskRef>) -> Result<v1::Task, Error> {
        let (task_id, task_key) = task.into().fields(&self.namespace)?;
        let request = v1::GetTaskRequest { task_id, task_key };
        let answer = call!(self, read TaskServiceClient::get_task, request)?;
        present(answer.task, "task")
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
        call!(self, read TaskServiceClient::list_tasks, request)
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
    pub async fn wait(&self, task: impl Into<TaskRef>, timeout: Duration) -> Result<Waited, Error> {
        let (task_id, task_key) = task.into().fields(&self.namespace)?;
        let request = v1::WaitTaskRequest {
            task_id,
            task_key,
            timeout: None,
        };
        const FOREVER: Duration = Duration::from_secs(1_000 * 365 * 24 * 3_600);
        let until = clock::now() + timeout.min(FOREVER);
        let mut backoff = self.caller.backoff();
        let mut away_since = None;
        loop {
            let begin = clock::now();
            let slice = until.saturating_duration_since(begin).min(WAIT_SLICE_MAX);
            let verdict = match self.wait_slice(&request, slice).await {
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
        request: &v1::WaitTaskRequest,
        slice: Duration,
    ) -> Result<v1::WaitTaskResponse, Verdict> {
        let mut request = tonic::Request::new(v1::WaitTaskRequest {
            timeout: Some(span(slice)),
            ..request.clone()
        });
        let allowed = slice + self.caller.deadline;
        request.set_timeout(allowed);
        let mut stub = self.tasks();
        attempt(clock::now() + allowed, stub.wait_task(request)).await
    }

    /// Cancels a task: one that waits ends at once, one that a worker holds is asked to stop.
    /// `reason` is for people, at most 256 bytes. [`Client::cancel_with`] can ask for less or more.
    ///
    /// # Errors
    /// See [`Error`]; `FAILED_PRECONDITION` where the task has ended or is dead.
    pub async fn cancel(&self, task: impl Into<TaskRef>, reason: &str) -> Result<v1::Task, Error> {
        let answer = self.cancel_with(task, Cancel::cooperative().reason(reason));
        present(answer.await?.task, "task")
    }

    /// Cancels a task as `how` says; the answer's `disposition` tells whether that is the end of it.
    ///
    /// # Errors
    /// See [`Error`]; `FAILED_PRECONDITION` where the task has ended or is dead, or is held by a
    /// worker and only a waiting one was to be cancelled.
    pub async fn cancel_with(
        &self,
        task: impl Into<TaskRef>,
        how: Cancel,
    ) -> Result<v1::CancelTaskResponse, Error> {
        let mut request = how.request()?;
        (request.task_id, request.task_key) = task.into().fields(&self.namespace)?;
        call!(self, change TaskServiceClient::cancel_task, request)
    }

    /// Cancels all selected tasks that wait or are held, and tells the progress; the last message
    /// has `done`. Dropping the stream stops it between batches. Safe to repeat after a failure. An
    /// unset selection, or one without a namespace, is this client's namespace.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn cancel_many(
        &self,
        mut request: v1::CancelTasksRequest,
    ) -> Result<BoxStream<'static, Result<v1::CancelTasksResponse, Error>>, Error> {
        check_bytes("reason", &request.reason, REASON_BYTES_MAX)?;
        check_cancel(request.mode(), request.grace.as_ref())?;
        self.fill_namespace(&mut request.selection);
        let answer = call!(self, open_change TaskServiceClient::cancel_tasks, request)?;
        Ok(messages(self.caller.clone(), Effect::Change, answer))
    }

    /// Changes a live task: all that `update` says or, where something is refused, nothing.
    ///
    /// # Errors
    /// See [`Error`]; [`Error::Invalid`] where nothing would change; `FAILED_PRECONDITION` where the
    /// task has ended, where a worker holds it and more than its time limits was to change, or where
    /// it is dead and its start was to be moved.
    pub async fn update(
        &self,
        task: impl Into<TaskRef>,
        update: TaskUpdate,
    ) -> Result<v1::Task, Error> {
        let mut request = update.request()?;
        (request.task_id, request.task_key) = task.into().fields(&self.namespace)?;
        let answer = call!(self, change TaskServiceClient::update_task, request)?;
        present(answer.task, "task")
    }

    /// Replaces both time limits of a live task, at once even where it runs; `None` means no limit.
    ///
    /// # Errors
    /// As [`Client::update`].
    pub async fn update_timeouts(
        &self,
        task: impl Into<TaskRef>,
        soft: Option<Duration>,
        hard: Option<Duration>,
    ) -> Result<v1::Task, Error> {
        self.update(task, TaskUpdate::new().timeouts(soft, hard))
            .await
    }
}
