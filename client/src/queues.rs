//! Queues and kinds: what holds for their tasks, how full queues are, pause and resume.
//!
//! Keeps no state.

use futures::stream::BoxStream;
use redrive_proto::v1::{
    self, kind_service_client::KindServiceClient, queue_service_client::QueueServiceClient,
};

use crate::{
    call::{call, present},
    check::{check_bytes, check_name},
    check_life::{check_kind, check_queue},
    client::Client,
    error::Error,
    limits::{REASON_BYTES_MAX, STREAM_PAGE_SIZE},
    page::pages,
};

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
        let answer = call!(self, read QueueServiceClient::get_queue, request)?;
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
                let page = call!(client, read QueueServiceClient::list_queues, request)?;
                Ok((page.queues, page.next_page_token))
            }
        })
    }

    /// Changes the settings of a queue that `fields` names ("retry_policy", "inline_retry_policy",
    /// "timeouts", "dead_letter_queue", "aging", "finished_max", "terms" for all of it or
    /// "terms.ttl", "terms.deadline", "terms.result_ttl", "terms.delivery", "terms.follow_ups" for
    /// one; none: all of them), creating the queue where it is new. A field named and unset in
    /// `settings` is cleared.
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
        check_queue(&settings)?;
        let paths: Vec<String> = fields.iter().map(|&field| field.to_owned()).collect();
        let request = v1::UpdateQueueRequest {
            namespace: self.namespace.clone(),
            queue: queue.to_owned(),
            settings: Some(settings),
            update_mask: (!paths.is_empty()).then_some(prost_types::FieldMask { paths }),
            ..Default::default()
        };
        let answer = call!(self, change QueueServiceClient::update_queue, request)?;
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
        let answer = call!(self, change QueueServiceClient::pause_queue, request)?;
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
        let answer = call!(self, change QueueServiceClient::resume_queue, request)?;
        present(answer.queue, "queue")
    }
}

/// Kinds.
impl Client {
    /// Sets what holds for all tasks of a kind. It replaces what was set before, whole: what is
    /// unset in `settings` is unset from now on.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn set_kind(
        &self,
        kind: &str,
        settings: v1::KindSettings,
    ) -> Result<v1::Kind, Error> {
        check_name("kind", kind)?;
        check_kind(&settings)?;
        let request = v1::SetKindRequest {
            namespace: self.namespace.clone(),
            kind: kind.to_owned(),
            settings: Some(settings),
            ..Default::default()
        };
        let answer = call!(self, change KindServiceClient::set_kind, request)?;
        present(answer.kind, "kind")
    }

    /// One kind, `NOT_FOUND` where it has no settings.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn kind(&self, kind: &str) -> Result<v1::Kind, Error> {
        check_name("kind", kind)?;
        let request = v1::GetKindRequest {
            namespace: self.namespace.clone(),
            kind: kind.to_owned(),
        };
        let answer = call!(self, read KindServiceClient::get_kind, request)?;
        present(answer.kind, "kind")
    }

    /// One page of the kinds that have settings, by name: at most `page_size` (1 to 1,000; 0 means
    /// 50), from `page_token` (empty for the first).
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn kinds_page(
        &self,
        page_size: u32,
        page_token: &str,
    ) -> Result<v1::ListKindsResponse, Error> {
        let request = v1::ListKindsRequest {
            namespace: self.namespace.clone(),
            page_size,
            page_token: page_token.to_owned(),
        };
        call!(self, read KindServiceClient::list_kinds, request)
    }

    /// All kinds of the namespace that have settings, by name.
    #[must_use]
    pub fn kinds(&self) -> BoxStream<'static, Result<v1::Kind, Error>> {
        let client = self.clone();
        pages(move |token| {
            let client = client.clone();
            async move {
                let page = client.kinds_page(STREAM_PAGE_SIZE, &token).await?;
                Ok((page.kinds, page.next_page_token))
            }
        })
    }

    /// Takes the settings of a kind away: its tasks follow their queue's. `NOT_FOUND` where it has
    /// none.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn delete_kind(&self, kind: &str) -> Result<(), Error> {
        check_name("kind", kind)?;
        let request = v1::DeleteKindRequest {
            namespace: self.namespace.clone(),
            kind: kind.to_owned(),
            ..Default::default()
        };
        call!(self, change KindServiceClient::delete_kind, request).map(drop)
    }
}
