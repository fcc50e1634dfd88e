//! What the fake coordinator answers operators: dead letters, kinds, queues.
//!
//! Owns no state: it notes in the fake's what arrives.

use std::time::Duration;

use futures::stream::BoxStream;
use redrive_proto::v1::{
    self, dead_letter_service_server::DeadLetterService, kind_service_server::KindService,
    queue_service_server::QueueService,
};
use tonic::{Request, Response, Status};

use super::{Fake, task, untold};
use crate::clock;

#[tonic::async_trait]
impl DeadLetterService for Fake {
    type RedriveDeadLettersStream =
        BoxStream<'static, Result<v1::RedriveDeadLettersResponse, Status>>;
    type DiscardDeadLettersStream =
        BoxStream<'static, Result<v1::DiscardDeadLettersResponse, Status>>;

    async fn list_dead_letters(
        &self,
        _: Request<v1::ListDeadLettersRequest>,
    ) -> Result<Response<v1::ListDeadLettersResponse>, Status> {
        untold()
    }

    async fn get_dead_letter(
        &self,
        _: Request<v1::GetDeadLetterRequest>,
    ) -> Result<Response<v1::GetDeadLetterResponse>, Status> {
        untold()
    }

    async fn redrive_task(
        &self,
        request: Request<v1::RedriveTaskRequest>,
    ) -> Result<Response<v1::RedriveTaskResponse>, Status> {
        let said = request.get_ref();
        self.note(&request, &said.request_id, said.request_ttl);
        self.note_task(&said.task_id, said.task_key.as_ref());
        self.called().await?;
        let task = Some(task("redriven"));
        Ok(Response::new(v1::RedriveTaskResponse { task }))
    }

    async fn discard_task(
        &self,
        request: Request<v1::DiscardTaskRequest>,
    ) -> Result<Response<v1::DiscardTaskResponse>, Status> {
        let said = request.get_ref();
        self.note(&request, &said.request_id, said.request_ttl);
        self.note_task(&said.task_id, said.task_key.as_ref());
        self.called().await?;
        let task = Some(task(request.into_inner().task_id));
        Ok(Response::new(v1::DiscardTaskResponse { task }))
    }

    /// A minute apart: half, then all; then the script's next answer.
    async fn redrive_dead_letters(
        &self,
        request: Request<v1::RedriveDeadLettersRequest>,
    ) -> Result<Response<Self::RedriveDeadLettersStream>, Status> {
        if request.into_inner().selection.unwrap().namespace != "acme" {
            return Err(Status::invalid_argument(
                "the fake knows the namespace acme",
            ));
        }
        let fake = self.clone();
        let progress = futures::stream::unfold(1_u64, move |n| {
            let fake = fake.clone();
            async move {
                let message = if n < 3 {
                    clock::pause(Duration::from_secs(60)).await;
                    let done = n == 2;
                    Ok(v1::RedriveDeadLettersResponse {
                        matched: 2,
                        redriven: n,
                        done,
                    })
                } else {
                    Err(fake.follow_script().await.err()?)
                };
                Some((message, n + 1))
            }
        });
        Ok(Response::new(Box::pin(progress)))
    }

    async fn discard_dead_letters(
        &self,
        _: Request<v1::DiscardDeadLettersRequest>,
    ) -> Result<Response<Self::DiscardDeadLettersStream>, Status> {
        untold()
    }
}

fn kind(name: &str) -> v1::Kind {
    v1::Kind {
        kind: name.to_owned(),
        ..Default::default()
    }
}

#[tonic::async_trait]
impl KindService for Fake {
    async fn set_kind(
        &self,
        request: Request<v1::SetKindRequest>,
    ) -> Result<Response<v1::SetKindResponse>, Status> {
        let said = request.get_ref();
        self.note(&request, &said.request_id, said.request_ttl);
        let said = request.into_inner();
        self.state().kinds.push(said.settings.unwrap());
        let kind = Some(kind(&said.kind));
        Ok(Response::new(v1::SetKindResponse { kind }))
    }

    async fn get_kind(
        &self,
        request: Request<v1::GetKindRequest>,
    ) -> Result<Response<v1::GetKindResponse>, Status> {
        let kind = Some(kind(&request.into_inner().kind));
        Ok(Response::new(v1::GetKindResponse { kind }))
    }

    /// Two pages of one kind each.
    async fn list_kinds(
        &self,
        request: Request<v1::ListKindsRequest>,
    ) -> Result<Response<v1::ListKindsResponse>, Status> {
        let (name, next) = match request.into_inner().page_token.as_str() {
            "" => ("a", "more"),
            _ => ("b", ""),
        };
        let answer = v1::ListKindsResponse {
            kinds: vec![kind(name)],
            next_page_token: next.into(),
        };
        Ok(Response::new(answer))
    }

    async fn delete_kind(
        &self,
        request: Request<v1::DeleteKindRequest>,
    ) -> Result<Response<v1::DeleteKindResponse>, Status> {
        let said = request.get_ref();
        self.note(&request, &said.request_id, said.request_ttl);
        Ok(Response::new(v1::DeleteKindResponse {}))
    }
}

#[tonic::async_trait]
impl QueueService for Fake {
    async fn get_queue(
        &self,
        _: Request<v1::GetQueueRequest>,
    ) -> Result<Response<v1::GetQueueResponse>, Status> {
        untold()
    }

    async fn list_queues(
        &self,
        _: Request<v1::ListQueuesRequest>,
    ) -> Result<Response<v1::ListQueuesResponse>, Status> {
        untold()
    }

    async fn update_queue(
        &self,
        request: Request<v1::UpdateQueueRequest>,
    ) -> Result<Response<v1::UpdateQueueResponse>, Status> {
        let said = request.get_ref();
        self.note(&request, &said.request_id, said.request_ttl);
        self.state().queues.push(request.into_inner());
        let queue = Some(v1::Queue::default());
        Ok(Response::new(v1::UpdateQueueResponse { queue }))
    }

    async fn pause_queue(
        &self,
        request: Request<v1::PauseQueueRequest>,
    ) -> Result<Response<v1::PauseQueueResponse>, Status> {
        let said = request.get_ref();
        self.note(&request, &said.request_id, said.request_ttl);
        let queue = Some(v1::Queue::default());
        Ok(Response::new(v1::PauseQueueResponse { queue }))
    }

    async fn resume_queue(
        &self,
        request: Request<v1::ResumeQueueRequest>,
    ) -> Result<Response<v1::ResumeQueueResponse>, Status> {
        let said = request.get_ref();
        self.note(&request, &said.request_id, said.request_ttl);
        let queue = Some(v1::Queue::default());
        Ok(Response::new(v1::ResumeQueueResponse { queue }))
    }
}
