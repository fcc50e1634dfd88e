//! WorkerService: the stream's door, the unary trio that means the same, and the operators' view of
//! workers. Never judges a report: it parses, asks and answers.

use std::sync::Arc;

use prost::Message as _;
use redrive_proto::v1 as pb;
use redrive_proto::v1::worker_service_server::WorkerService;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::{Request, Response, Status, Streaming};

use super::convert::beat::{ack_of, heartbeat};
use super::convert::delivery::{delivery_view, worker_view};
use super::convert::report::{ack_view, reports};
use super::convert::worker::{lease_tasks, lease_ttl, names};
use super::convert::{At, Parsed, field};
use super::edge::{Edge, asked, confused};
use super::parts::parts_of;
use super::status::{Refused, answer};
use super::worker_stream::{self, WorkStream};
use crate::engine::command::{Call, Heartbeat};
use crate::engine::effect::Answer;
use crate::engine::ids::LeaseToken;
use crate::engine::limits;

/// Bytes that an element of an answer takes besides its own: tag and length.
const ELEMENT_BYTES_MAX: usize = 8;

/// WorkerService over the engine's inbox.
#[derive(Clone, Debug)]
pub(crate) struct Workers {
    pub(crate) edge: Edge,
    pub(crate) shutdown: CancellationToken,
    pub(crate) readers: TaskTracker,
}

impl Workers {
    async fn lease(
        &self,
        request: pb::LeaseTasksRequest,
    ) -> Result<pb::LeaseTasksResponse, Refused> {
        let call = Call::LeaseTasks(lease_tasks(request)?);
        let Answer::Leased(leased) = self.edge.ask(call).await? else {
            return Err(confused("leases"));
        };
        // The engine bounds what one answer takes, so that it fits a message.
        let deliveries = leased.into_iter().map(delivery_view).collect();
        Ok(pb::LeaseTasksResponse { deliveries })
    }

    async fn report(
        &self,
        request: pb::ReportTasksRequest,
    ) -> Result<pb::ReportTasksResponse, Refused> {
        let root = At::Root;
        let reports = reports(request.reports, root.field("reports"))?;
        let mut shown = Vec::with_capacity(reports.len());
        for part in parts_of(reports, limits::REPORTS_PER_COMMAND_MAX) {
            // What was recorded of the parts before is told with the rest: it waits for room.
            let call = Call::ReportTasks(part);
            let answer = if shown.is_empty() {
                self.edge.ask(call).await?
            } else {
                self.edge.inbox.call_when_room(call).await?
            };
            let Answer::Acks(acks) = answer else {
                return Err(confused("reports"));
            };
            shown.extend(acks.into_iter().map(ack_view));
        }
        Ok(pb::ReportTasksResponse { acks: shown })
    }

    async fn extend(
        &self,
        request: pb::ExtendLeasesRequest,
    ) -> Result<pb::ExtendLeasesResponse, Refused> {
        let root = At::Root;
        let (mut given, said) = (request.lease_tokens, request.heartbeats);
        one_of_both(given.len(), said.len())?;
        let ttl_ms = lease_ttl(request.lease_ttl.as_ref(), root.field("lease_ttl"))?;
        let asked: Vec<bool> = said.iter().map(|beat| beat.timeouts.is_some()).collect();
        let beats: Vec<Heartbeat> = said.into_iter().map(heartbeat).collect();
        // A heartbeat's lease is looked at like those of the tokens: whether it is to be cancelled.
        let of_beat = |beat: &Heartbeat| LeaseToken::parse(&beat.raw_token);
        let tokens = given.iter().map(|bytes| LeaseToken::parse(bytes));
        let call = Call::ExtendLeases {
            tokens: tokens.chain(beats.iter().map(of_beat)).collect(),
            ttl_ms,
            beats,
        };
        let Answer::Extended(mut extended, acks) = self.edge.ask(call).await? else {
            return Err(confused("extensions"));
        };
        let of_beats = extended.split_off(given.len().min(extended.len()));
        let told = acks.into_iter().zip(asked).zip(of_beats);
        let heartbeat_acks = told
            .map(|((ack, asked), lease)| ack_of(ack, asked, lease.cancel_requested))
            .collect();
        let extensions = given.drain(..).zip(extended);
        Ok(pb::ExtendLeasesResponse {
            extensions: extensions
                .map(|(lease_token, lease)| pb::LeaseExtension {
                    lease_token,
                    held: lease.held,
                    cancel_requested: lease.cancel_requested,
                })
                .collect(),
            heartbeat_acks,
        })
    }

    async fn list(
        &self,
        request: pb::ListWorkersRequest,
    ) -> Result<pb::ListWorkersResponse, Refused> {
        let root = At::Root;
        let namespace = field::namespace(&request.namespace, root.field("namespace"))?;
        let queue = field::optional_queue(&namespace, &request.queue, root.field("queue"))?;
        let call = Call::ListWorkers { namespace, queue };
        let Answer::Workers(workers) = self.edge.ask(call).await? else {
            return Err(confused("workers"));
        };
        let mut bytes = 0;
        let shown = workers.iter().map(worker_view).take_while(|worker| {
            bytes += worker.encoded_len() + ELEMENT_BYTES_MAX;
            bytes <= limits::MESSAGE_BYTES_MAX
        });
        Ok(pb::ListWorkersResponse {
            workers: shown.collect(),
        })
    }

    async fn drain(
        &self,
        request: Request<pb::DrainWorkersRequest>,
    ) -> Result<pb::DrainWorkersResponse, Refused> {
        let root = At::Root;
        let (caller, request) = asked(request)?;
        let at = root.field("worker_ids");
        field::batch(request.worker_ids.len(), limits::BATCH_ITEMS_MAX, at)?;
        let namespace = field::namespace(&request.namespace, root.field("namespace"))?;
        let workers = names(&request.worker_ids, limits::BATCH_ITEMS_MAX, at)?;
        let deadline = request.deadline.as_ref();
        let call = Call::DrainWorkers {
            namespace: namespace.clone(),
            workers: workers.clone(),
            reason: field::reason(&request.reason, root.field("reason"))?,
            deadline_ms: field::optional_ms(
                deadline,
                limits::TIMEOUT_MS_MAX,
                root.field("deadline"),
            )?,
        };
        let answer = self.edge.ask_as(caller, call).await?;
        let mut drained = if let Answer::Drained(drained) = answer {
            drained
        } else if let Answer::Done = answer {
            // Asked before: of these, who is still there.
            self.connected(namespace).await?
        } else {
            return Err(confused("a drain"));
        };
        drained.retain(|worker| workers.contains(worker));
        let worker_ids = drained.iter().map(ToString::to_string).collect();
        Ok(pb::DrainWorkersResponse { worker_ids })
    }

    /// The ids of the workers of a namespace.
    async fn connected(&self, namespace: Arc<str>) -> Result<Vec<Arc<str>>, Refused> {
        let queue = None;
        let call = Call::ListWorkers { namespace, queue };
        let Answer::Workers(workers) = self.edge.ask(call).await? else {
            return Err(confused("workers"));
        };
        Ok(workers.into_iter().map(|view| view.info.worker).collect())
    }
}

/// The number of tokens and heartbeats together.
fn one_of_both(tokens: usize, heartbeats: usize) -> Parsed<()> {
    let max = limits::BATCH_ITEMS_MAX;
    match tokens + heartbeats {
        0 => Err(At::Root.field("lease_tokens").refuse(format_args!(
            "is empty, and so is heartbeats: 1 to {max} of both together are needed"
        ))),
        both if both <= max => Ok(()),
        both => Err(At::Root.field("lease_tokens").refuse(format_args!(
            "and heartbeats have {both} elements together, at most {max} are allowed: send several \
             requests"
        ))),
    }
}

#[tonic::async_trait]
impl WorkerService for Workers {
    type WorkStream = WorkStream;

    async fn work(
        &self,
        request: Request<Streaming<pb::WorkRequest>>,
    ) -> Result<Response<WorkStream>, Status> {
        let incoming = request.into_inner();
        let stream =
            worker_stream::open(&self.edge, incoming, self.shutdown.clone(), &self.readers);
        answer("Work", stream)
    }

    async fn lease_tasks(
        &self,
        request: Request<pb::LeaseTasksRequest>,
    ) -> Result<Response<pb::LeaseTasksResponse>, Status> {
        answer("LeaseTasks", self.lease(request.into_inner()).await)
    }

    async fn report_tasks(
        &self,
        request: Request<pb::ReportTasksRequest>,
    ) -> Result<Response<pb::ReportTasksResponse>, Status> {
        answer("ReportTasks", self.report(request.into_inner()).await)
    }

    async fn extend_leases(
        &self,
        request: Request<pb::ExtendLeasesRequest>,
    ) -> Result<Response<pb::ExtendLeasesResponse>, Status> {
        answer("ExtendLeases", self.extend(request.into_inner()).await)
    }

    async fn list_workers(
        &self,
        request: Request<pb::ListWorkersRequest>,
    ) -> Result<Response<pb::ListWorkersResponse>, Status> {
        answer("ListWorkers", self.list(request.into_inner()).await)
    }

    async fn drain_workers(
        &self,
        request: Request<pb::DrainWorkersRequest>,
    ) -> Result<Response<pb::DrainWorkersResponse>, Status> {
        answer("DrainWorkers", self.drain(request).await)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::effect::{BeatAck, Extension};
    use crate::engine::ledger::task::Timeouts;
    use crate::server::convert::delivery::tests::sample;
    use crate::server::testing::Engine;

    fn workers(engine: &Engine) -> Workers {
        let (shutdown, readers) = (CancellationToken::new(), TaskTracker::new());
        Workers {
            edge: engine.edge(),
            shutdown,
            readers,
        }
    }

    #[tokio::test]
    async fn an_extension_answers_every_token_in_its_place() {
        let engine = Engine::answering(|call| {
            let Call::ExtendLeases {
                tokens,
                ttl_ms: 30_000,
                beats,
            } = call
            else {
                panic!("{call:?}")
            };
            let extension = |token: &Option<LeaseToken>| Extension {
                held: token.is_some(),
                cancel_requested: false,
            };
            assert!(beats.is_empty());
            let extensions = tokens.iter().map(extension).collect();
            Ok(Answer::Extended(extensions, Vec::new()))
        });
        let good = bytes::Bytes::copy_from_slice(&sample(1, 0).token.to_bytes());
        let bad = bytes::Bytes::from_static(b"none");
        let lease_tokens = vec![bad.clone(), good.clone()];
        let request = pb::ExtendLeasesRequest {
            lease_tokens,
            lease_ttl: None,
            ..Default::default()
        };
        let answered = workers(&engine).extend(request).await.unwrap().extensions;
        let shown: Vec<_> = answered
            .into_iter()
            .map(|e| (e.lease_token, e.held))
            .collect();
        assert_eq!(shown, [(bad, false), (good, true)]);
    }

    #[tokio::test]
    async fn a_heartbeat_of_a_call_is_always_answered_and_tells_of_a_cancel() {
        let engine = Engine::answering(|call| {
            let Call::ExtendLeases { tokens, beats, .. } = call else {
                panic!("{call:?}")
            };
            let extension = |token: &Option<LeaseToken>| Extension {
                held: token.is_some(),
                cancel_requested: token.is_some(),
            };
            let ack = |beat: &Heartbeat| BeatAck {
                raw_token: beat.raw_token.clone(),
                held: true,
                timeouts: Timeouts {
                    hard_ms: Some(9000),
                    ..Timeouts::default()
                },
                refusal: None,
            };
            Ok(Answer::Extended(
                tokens.iter().map(extension).collect(),
                beats.iter().map(ack).collect(),
            ))
        });
        let lease_token = bytes::Bytes::copy_from_slice(&sample(1, 0).token.to_bytes());
        let beat = |timeouts| pb::Heartbeat {
            lease_token: lease_token.clone(),
            timeouts,
            ..Default::default()
        };
        let request = pb::ExtendLeasesRequest {
            heartbeats: vec![beat(None), beat(Some(pb::Timeouts::default()))],
            ..Default::default()
        };
        let answered = workers(&engine).extend(request).await.unwrap();
        assert!(answered.extensions.is_empty());
        let [quiet, asked] = answered.heartbeat_acks.try_into().unwrap();
        assert!(quiet.held && quiet.cancel_requested && quiet.timeouts.is_none());
        let hard = asked.timeouts.unwrap().hard;
        assert_eq!(hard.map(|hard| hard.seconds), Some(9));
    }

    #[test]
    fn tokens_and_heartbeats_are_bounded_together() {
        assert_eq!(one_of_both(0, 1), Ok(()));
        assert_eq!(one_of_both(1000, 0), Ok(()));
        for (tokens, heartbeats) in [(0, 0), (1, 1000)] {
            let refused = one_of_both(tokens, heartbeats).unwrap_err();
            assert_eq!(refused.field, "lease_tokens");
        }
    }

    #[tokio::test]
    async fn a_drain_that_was_asked_for_before_names_who_is_still_there() {
        let engine = Engine::answering(|call| {
            if let Call::DrainWorkers { .. } = call {
                return Ok(Answer::Done);
            }
            assert!(matches!(call, Call::ListWorkers { .. }), "{call:?}");
            Ok(Answer::Workers(Vec::new()))
        });
        let request = pb::DrainWorkersRequest {
            worker_ids: vec!["w-1".into()],
            request_id: "r-1".into(),
            ..Default::default()
        };
        let drained = workers(&engine).drain(Request::new(request)).await;
        assert!(drained.unwrap().worker_ids.is_empty());
    }
}
