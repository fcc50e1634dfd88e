//! Dead letters: see, redrive and discard them, one by one or by filter.
//!
//! Keeps no state. Bulk acts have no request id: they are safe to repeat by what they mean.

use std::time::Duration;

use futures::stream::BoxStream;
use redrive_proto::v1::{self, dead_letter_service_client::DeadLetterServiceClient};

use crate::{
    admin::messages,
    call::{Effect, call, present},
    check::{DELAY, check_bytes, check_span, span},
    client::Client,
    error::Error,
    limits::{REASON_BYTES_MAX, STREAM_PAGE_SIZE},
    page::pages,
    task_ref::TaskRef,
};

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
        call!(self, read DeadLetterServiceClient::list_dead_letters, request)
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
        let answer = call!(self, read DeadLetterServiceClient::get_dead_letter, request)?;
        present(answer.task, "task")
    }

    /// Puts one dead letter back with a fresh budget, to start after `delay`.
    ///
    /// # Errors
    /// See [`Error`]; `FAILED_PRECONDITION` where the task is not dead.
    pub async fn redrive(
        &self,
        task: impl Into<TaskRef>,
        delay: Duration,
        reason: &str,
    ) -> Result<v1::Task, Error> {
        check_bytes("reason", reason, REASON_BYTES_MAX)?;
        let delay = Some(span(delay));
        check_span("delay", delay.as_ref(), DELAY)?;
        let (task_id, task_key) = task.into().fields(&self.namespace)?;
        let request = v1::RedriveTaskRequest {
            task_id,
            task_key,
            delay,
            reason: reason.to_owned(),
            ..Default::default()
        };
        let answer = call!(self, change DeadLetterServiceClient::redrive_task, request)?;
        present(answer.task, "task")
    }

    /// Deletes one dead letter for good. There is no undo. Answers the task, DISCARDED; `reason` is
    /// for the log, at most 256 bytes.
    ///
    /// # Errors
    /// See [`Error`]; `FAILED_PRECONDITION` where the task is not dead.
    pub async fn discard(&self, task: impl Into<TaskRef>, reason: &str) -> Result<v1::Task, Error> {
        check_bytes("reason", reason, REASON_BYTES_MAX)?;
        let (task_id, task_key) = task.into().fields(&self.namespace)?;
        let request = v1::DiscardTaskRequest {
            task_id,
            task_key,
            reason: reason.to_owned(),
            ..Default::default()
        };
        let answer = call!(self, change DeadLetterServiceClient::discard_task, request)?;
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
        let answer =
            call!(self, open_change DeadLetterServiceClient::redrive_dead_letters, request)?;
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
        let answer =
            call!(self, open_change DeadLetterServiceClient::discard_dead_letters, request)?;
        Ok(messages(self.caller.clone(), Effect::Change, answer))
    }
}
