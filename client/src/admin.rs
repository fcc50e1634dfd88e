//! What else operators ask: policies, workers, the server, the event stream.
//!
//! Keeps no state.

use std::time::Duration;

use futures::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use redrive_proto::v1::{
    self, event_service_client::EventServiceClient,
    retry_policy_service_client::RetryPolicyServiceClient,
    server_service_client::ServerServiceClient, worker_service_client::WorkerServiceClient,
};
use tonic::Streaming;

use crate::{
    call::{Caller, Effect, call, present},
    check::{check_bytes, span},
    client::Client,
    error::{Error, Verdict},
    limits::REASON_BYTES_MAX,
};

impl Client {
    /// The named retry policies, by name, every default filled in.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn retry_policies(&self) -> Result<Vec<v1::RetryPolicy>, Error> {
        let request = v1::ListRetryPoliciesRequest {};
        let answer = call!(self, read RetryPolicyServiceClient::list_retry_policies, request)?;
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
        let answer = call!(self, read RetryPolicyServiceClient::get_retry_policy, request)?;
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
        call!(self, read RetryPolicyServiceClient::preview_retry_policy, request)
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
        let answer = call!(self, read WorkerServiceClient::list_workers, request)?;
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
        let deadline = deadline.map(span);
        let request = v1::DrainWorkersRequest {
            namespace: self.namespace.clone(),
            worker_ids: worker_ids.iter().map(|&id| id.to_owned()).collect(),
            reason: reason.to_owned(),
            deadline,
            ..Default::default()
        };
        let answer = call!(self, change WorkerServiceClient::drain_workers, request)?;
        Ok(answer.worker_ids)
    }

    /// What the coordinator is, what it promises and what it allows.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn server_info(&self) -> Result<v1::GetServerInfoResponse, Error> {
        let request = v1::GetServerInfoRequest {};
        call!(self, read ServerServiceClient::get_server_info, request)
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
        let answer = call!(self, open_read EventServiceClient::watch_events, request)?;
        Ok(messages(self.caller.clone(), Effect::Read, answer))
    }
}

/// The messages of an answer that streams, up to its end or first error.
pub(crate) fn messages<T: Send + 'static>(
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
