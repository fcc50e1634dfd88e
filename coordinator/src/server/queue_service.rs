//! QueueService: settings, counts, pause and resume.
//!
//! Owns the order of updates: one at a time, for one that takes a part of the terms reads the others
//! first.

use std::sync::Arc;

use prost::Message as _;
use redrive_proto::v1 as pb;
use redrive_proto::v1::queue_service_server::QueueService;
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status};

use super::convert::page::{NamesOf, name_cursor, name_token, page_size};
use super::convert::queue::{queue_view, update};
use super::convert::{At, field};
use super::edge::{Edge, PAGE_BYTES_MAX, asked, confused};
use super::status::{Refused, answer};
use crate::engine::command::{Call, Caller};
use crate::engine::effect::{Answer, QueueView};
use crate::engine::ids::QueueName;
use crate::engine::rejection::Rejection;

/// QueueService over the engine's inbox.
#[derive(Clone, Debug)]
pub(crate) struct Queues {
    edge: Edge,
    /// Held by the update under way.
    updating: Arc<Semaphore>,
}

/// The queue that a request is about.
fn named(namespace: &str, queue: &str) -> Result<QueueName, Refused> {
    let root = At::Root;
    let namespace = field::namespace(namespace, root.field("namespace"))?;
    Ok(field::queue(&namespace, queue, root.field("queue"))?)
}

impl Queues {
    pub(crate) fn new(edge: Edge) -> Self {
        let updating = Arc::new(Semaphore::new(1));
        Self { edge, updating }
    }

    async fn view(&self, by: Caller, call: Call) -> Result<Box<QueueView>, Refused> {
        let Answer::Queue(view) = self.edge.ask_as(by, call).await? else {
            return Err(confused("one queue"));
        };
        Ok(view)
    }

    async fn ask(&self, by: Caller, call: Call) -> Result<Option<pb::Queue>, Refused> {
        Ok(Some(queue_view(&*self.view(by, call).await?)))
    }

    async fn get(&self, request: pb::GetQueueRequest) -> Result<pb::GetQueueResponse, Refused> {
        let name = named(&request.namespace, &request.queue)?;
        Ok(pb::GetQueueResponse {
            queue: self.ask(Caller::default(), Call::GetQueue(name)).await?,
        })
    }

    async fn list(
        &self,
        request: pb::ListQueuesRequest,
    ) -> Result<pb::ListQueuesResponse, Refused> {
        let root = At::Root;
        let namespace = field::namespace(&request.namespace, root.field("namespace"))?;
        let count_max = page_size(request.page_size)?;
        let after = name_cursor(&request.page_token, NamesOf::Queues)?;
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
            .map(|view| name_token(&view.queue.name, NamesOf::Queues))
            .unwrap_or_default();
        Ok(pb::ListQueuesResponse {
            queues,
            next_page_token,
        })
    }

    async fn update(
        &self,
        request: Request<pb::UpdateQueueRequest>,
    ) -> Result<pb::UpdateQueueResponse, Refused> {
        let (caller, request) = asked(request)?;
        let queue = named(&request.namespace, &request.queue)?;
        let update = update(&queue, request.settings, request.update_mask)?;
        // Never closed; without a turn of its own the update is no less right, only less alone.
        let _turn = self.updating.acquire().await.ok();
        let known = if update.needs_terms() {
            self.known(&queue).await?
        } else {
            None
        };
        let known = known.as_ref().map(|view| &view.queue.settings);
        let change = update.complete(known.and_then(|settings| settings.terms.as_deref()));
        let call = Call::ConfigureQueue { queue, change };
        let queue = self.ask(caller, call).await?;
        Ok(pb::UpdateQueueResponse { queue })
    }

    /// A queue as it is, where it is known.
    async fn known(&self, queue: &QueueName) -> Result<Option<Box<QueueView>>, Refused> {
        let call = Call::GetQueue(queue.clone());
        match self.view(Caller::default(), call).await {
            Err(Refused::Rejected(Rejection::QueueNotFound(_))) => Ok(None),
            known => known.map(Some),
        }
    }

    async fn pause(
        &self,
        request: Request<pb::PauseQueueRequest>,
    ) -> Result<pb::PauseQueueResponse, Refused> {
        let root = At::Root;
        let (caller, request) = asked(request)?;
        let queue = named(&request.namespace, &request.queue)?;
        let reason = field::reason(&request.reason, root.field("reason"))?;
        let call = Call::PauseQueue { queue, reason };
        Ok(pb::PauseQueueResponse {
            queue: self.ask(caller, call).await?,
        })
    }

    async fn resume(
        &self,
        request: Request<pb::ResumeQueueRequest>,
    ) -> Result<pb::ResumeQueueResponse, Refused> {
        let (caller, request) = asked(request)?;
        let queue = named(&request.namespace, &request.queue)?;
        Ok(pb::ResumeQueueResponse {
            queue: self.ask(caller, Call::ResumeQueue(queue)).await?,
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
        answer("UpdateQueue", self.update(request).await)
    }

    async fn pause_queue(
        &self,
        request: Request<pb::PauseQueueRequest>,
    ) -> Result<Response<pb::PauseQueueResponse>, Status> {
        answer("PauseQueue", self.pause(request).await)
    }

    async fn resume_queue(
        &self,
        request: Request<pb::ResumeQueueRequest>,
    ) -> Result<Response<pb::ResumeQueueResponse>, Status> {
        answer("ResumeQueue", self.resume(request).await)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use prost_types::{Duration, FieldMask};

    use super::*;
    use crate::engine::effect::Counts;
    use crate::engine::ledger::queue::Queue;
    use crate::server::testing::Engine;

    /// An engine with at most one queue, whose settings it keeps.
    fn keeping() -> Engine {
        let kept: Mutex<Option<Queue>> = Mutex::default();
        Engine::answering(move |call| {
            let mut kept = kept.lock().unwrap();
            if let Call::ConfigureQueue { queue, change } = call {
                let known = kept.get_or_insert_with(|| Queue::new(queue, 0));
                if let Some(terms) = change.terms {
                    known.settings.terms = terms;
                }
            } else if let (Call::GetQueue(name), None) = (call, &*kept) {
                return Err(Rejection::QueueNotFound(name));
            }
            Ok(Answer::Queue(Box::new(QueueView {
                queue: kept.clone().unwrap(),
                counts: Counts::default(),
                oldest_ready_ms: 0,
                unserved: Vec::new(),
            })))
        })
    }

    const fn secs(seconds: i64) -> Duration {
        Duration { seconds, nanos: 0 }
    }

    #[tokio::test]
    async fn a_part_of_the_terms_is_set_beside_the_others() {
        let engine = keeping();
        let queues = Queues::new(engine.edge());
        let set = async |terms: pb::Terms, path: &str| {
            let settings = pb::QueueSettings {
                terms: Some(terms),
                ..Default::default()
            };
            let paths = vec![path.to_owned()];
            let request = pb::UpdateQueueRequest {
                queue: "mail".into(),
                settings: Some(settings),
                update_mask: Some(FieldMask { paths }),
                ..Default::default()
            };
            let updated = queues.update(Request::new(request)).await.unwrap();
            updated.queue.unwrap().settings.unwrap().terms
        };
        let ttl = |ttl| pb::Terms {
            ttl,
            ..Default::default()
        };
        let deadline = |deadline| pb::Terms {
            deadline,
            ..Default::default()
        };
        let first = set(ttl(Some(secs(5))), "terms.ttl").await.unwrap();
        assert_eq!((first.ttl, first.deadline), (Some(secs(5)), None));
        let both = set(deadline(Some(secs(9))), "terms.deadline")
            .await
            .unwrap();
        assert_eq!((both.ttl, both.deadline), (Some(secs(5)), Some(secs(9))));
        let one = set(ttl(None), "terms.ttl").await.unwrap();
        assert_eq!((one.ttl, one.deadline), (None, Some(secs(9))));
        assert_eq!(set(deadline(None), "terms").await, None);
    }
}
