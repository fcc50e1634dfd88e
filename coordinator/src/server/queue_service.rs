//! QueueService: settings, counts, pause and resume.

use prost::Message as _;
use redrive_proto::v1 as pb;
use redrive_proto::v1::queue_service_server::QueueService;
use tonic::{Request, Response, Status};

use super::convert::page::{page_size, queue_cursor, queue_token};
use super::convert::queue::{change, queue_view};
use super::convert::{At, field};
use super::edge::{Edge, PAGE_BYTES_MAX, confused};
use super::status::{Refused, answer};
use crate::engine::command::Call;
use crate::engine::effect::Answer;
use crate::engine::ids::QueueName;

/// QueueService over the engine's inbox.
#[derive(Clone, Debug)]
pub(crate) struct Queues {
    pub(crate) edge: Edge,
}

/// The queue that a request is about.
fn named(namespace: &str, queue: &str) -> Result<QueueName, Refused> {
    let root = At::Root;
    let namespace = field::namespace(namespace, root.field("namespace"))?;
    Ok(field::queue(&namespace, queue, root.field("queue"))?)
}

impl Queues {
    async fn ask(&self, call: Call) -> Result<Option<pb::Queue>, Refused> {
        let Answer::Queue(view) = self.edge.ask(call).await? else {
            return Err(confused("one queue"));
        };
        Ok(Some(queue_view(&view)))
    }

    async fn get(&self, request: pb::GetQueueRequest) -> Result<pb::GetQueueResponse, Refused> {
        let name = named(&request.namespace, &request.queue)?;
        Ok(pb::GetQueueResponse {
            queue: self.ask(Call::GetQueue(name)).await?,
        })
    }

    async fn list(
        &self,
        request: pb::ListQueuesRequest,
    ) -> Result<pb::ListQueuesResponse, Refused> {
        let root = At::Root;
        let namespace = field::namespace(&request.namespace, root.field("namespace"))?;
        let count_max = page_size(request.page_size)?;
        let after = queue_cursor(&request.page_token)?;
        let call = Call::ListQueues {
            namespace,
            after,
            count_max,
        };
        let Answer::Queues {
            queues: found,
            mut more,
        } = self.edge.ask(call).await?
        else {
            return Err(confused("queues"));
        };
        let mut queues: Vec<pb::Queue> = Vec::with_capacity(found.len());
        let mut bytes = 0;
        for view in &found {
            let queue = queue_view(view);
            bytes += queue.encoded_len();
            queues.push(queue);
            if bytes > PAGE_BYTES_MAX {
                break;
            }
        }
        more |= queues.len() < found.len();
        let last = queues
            .len()
            .checked_sub(1)
            .and_then(|last| found.get(last))
            .filter(|_| more);
        let next_page_token = last
            .map(|view| queue_token(&view.queue.name))
            .unwrap_or_default();
        Ok(pb::ListQueuesResponse {
            queues,
            next_page_token,
        })
    }

    async fn update(
        &self,
        request: pb::UpdateQueueRequest,
    ) -> Result<pb::UpdateQueueResponse, Refused> {
        let queue = named(&request.namespace, &request.queue)?;
        let change = change(&queue, request.settings, request.update_mask)?;
        let queue = self.ask(Call::ConfigureQueue { queue, change }).await?;
        Ok(pb::UpdateQueueResponse { queue })
    }

    async fn pause(
        &self,
        request: pb::PauseQueueRequest,
    ) -> Result<pb::PauseQueueResponse, Refused> {
        let root = At::Root;
        let queue = named(&request.namespace, &request.queue)?;
        let reason = field::reason(&request.reason, root.field("reason"))?;
        Ok(pb::PauseQueueResponse {
            queue: self.ask(Call::PauseQueue { queue, reason }).await?,
        })
    }

    async fn resume(
        &self,
        request: pb::ResumeQueueRequest,
    ) -> Result<pb::ResumeQueueResponse, Refused> {
        let queue = named(&request.namespace, &request.queue)?;
        Ok(pb::ResumeQueueResponse {
            queue: self.ask(Call::ResumeQueue(queue)).await?,
        })
    }
}

#[tonic::async_trait]
impl QueueService for Queues {
    async fn get_queue(
        &self,
        request: Request<pb::GetQueueRequest>,
    ) -> Result<Response<pb::GetQueueResponse>, Status> {
        answer("GetQueue", self.get(request.into_inner()).await)
    }

    async fn list_queues(
        &self,
        request: Request<pb::ListQueuesRequest>,
    ) -> Result<Response<pb::ListQueuesResponse>, Status> {
        answer("ListQueues", self.list(request.into_inner()).await)
    }

    async fn update_queue(
        &self,
        request: Request<pb::UpdateQueueRequest>,
    ) -> Result<Response<pb::UpdateQueueResponse>, Status> {
        answer("UpdateQueue", self.update(request.into_inner()).await)
    }

    async fn pause_queue(
        &self,
        request: Request<pb::PauseQueueRequest>,
    ) -> Result<Response<pb::PauseQueueResponse>, Status> {
        answer("PauseQueue", self.pause(request.into_inner()).await)
    }

    async fn resume_queue(
        &self,
        request: Request<pb::ResumeQueueRequest>,
    ) -> Result<Response<pb::ResumeQueueResponse>, Status> {
        answer("ResumeQueue", self.resume(request.into_inner()).await)
    }
}
