//! ServerService: what the coordinator is, promises and allows. Shows limits by name and never sets
//! one.

use std::collections::BTreeMap;

use redrive_proto::v1 as pb;
use redrive_proto::v1::server_service_server::ServerService;
use tonic::{Request, Response, Status};

use super::convert::field::timestamp;
use super::convert::request::REQUEST_ID_BYTES_MAX;
use super::edge::Edge;
use super::status::{Refused, answer};
use crate::engine::limits;

/// ServerService over the engine's inbox.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    pub(crate) edge: Edge,
}

/// The limits that concern callers, by name.
const LIMITS: &[(&str, u64)] = &[
    ("name_bytes_max", limits::NAME_BYTES_MAX as u64),
    ("payload_bytes_max", limits::PAYLOAD_BYTES_MAX as u64),
    ("result_bytes_max", limits::RESULT_BYTES_MAX as u64),
    (
        "content_type_bytes_max",
        limits::CONTENT_TYPE_BYTES_MAX as u64,
    ),
    ("labels_max", limits::LABELS_MAX as u64),
    (
        "label_value_bytes_max",
        limits::LABEL_VALUE_BYTES_MAX as u64,
    ),
    ("reason_bytes_max", limits::REASON_BYTES_MAX as u64),
    (
        "failure_message_bytes_max",
        limits::FAILURE_MESSAGE_BYTES_MAX as u64,
    ),
    ("stack_bytes_max", limits::STACK_BYTES_MAX as u64),
    ("stack_kept_bytes_max", limits::STACK_KEPT_BYTES_MAX as u64),
    ("error_type_bytes_max", limits::ERROR_TYPE_BYTES_MAX as u64),
    ("ancestors_max", limits::ANCESTORS_MAX as u64),
    ("batch_items_max", limits::BATCH_ITEMS_MAX as u64),
    ("message_bytes_max", limits::MESSAGE_BYTES_MAX as u64),
    (
        "enqueue_stream_unacked_max",
        limits::ENQUEUE_STREAM_UNACKED_MAX as u64,
    ),
    ("delay_ms_max", limits::DELAY_MS_MAX),
    ("timeout_ms_max", limits::TIMEOUT_MS_MAX),
    ("wait_ms_max", limits::WAIT_MS_MAX),
    ("lease_ttl_ms_min", limits::LEASE_TTL_MS_MIN),
    ("lease_ttl_ms_max", limits::LEASE_TTL_MS_MAX),
    ("worker_queues_max", limits::WORKER_QUEUES_MAX as u64),
    ("queue_weight_max", limits::QUEUE_WEIGHT_MAX as u64),
    ("kinds_max", limits::KINDS_MAX as u64),
    ("capacity_tasks_max", limits::CAPACITY_MAX as u64),
    ("sessions_max", limits::SESSIONS_MAX as u64),
    ("unary_leases_max", limits::UNARY_LEASES_MAX as u64),
    ("queues_per_shard_max", limits::QUEUES_PER_SHARD_MAX as u64),
    ("page_size_max", limits::PAGE_SIZE_MAX as u64),
    ("filter_bytes_max", limits::FILTER_BYTES_MAX as u64),
    ("filter_comparisons_max", limits::FILTER_CLAUSES_MAX as u64),
    (
        "events_remembered_max",
        limits::EVENTS_REMEMBERED_MAX as u64,
    ),
    (
        "finished_per_queue_max",
        limits::FINISHED_PER_QUEUE_MAX as u64,
    ),
    ("finished_retention_ms", limits::FINISHED_RETENTION_MS),
    ("result_ttl_ms_max", limits::RESULT_TTL_MS_MAX),
    (
        "queue_finished_max",
        limits::FINISHED_PER_QUEUE_LIMIT as u64,
    ),
    ("chain_max", limits::CHAIN_MAX as u64),
    (
        "template_payload_bytes_max",
        limits::TEMPLATE_PAYLOAD_BYTES_MAX as u64,
    ),
    ("actor_bytes_max", limits::ACTOR_BYTES_MAX as u64),
    ("kind_settings_max", limits::KIND_SETTINGS_MAX as u64),
    ("request_id_bytes_max", REQUEST_ID_BYTES_MAX as u64),
    ("request_ttl_ms_max", limits::REQUEST_TTL_MS_MAX),
    ("key_bytes_max", limits::KEY_BYTES_MAX as u64),
    ("key_window_ms_max", limits::KEY_WINDOW_MS_MAX),
    ("producers_max", limits::PRODUCERS_MAX as u64),
    (
        "producer_sequences_max",
        limits::PRODUCER_SEQUENCES_MAX as u64,
    ),
    (
        "progress_message_bytes_max",
        limits::PROGRESS_MESSAGE_BYTES_MAX as u64,
    ),
    ("cancel_grace_ms_max", limits::CANCEL_GRACE_MS_MAX),
    ("aging_ms_max", limits::AGING_MS_MAX),
    ("connections_max", super::CONNECTIONS_MAX as u64),
    (
        "connection_streams_max",
        super::CONNECTION_STREAMS_MAX as u64,
    ),
];

impl Server {
    async fn info(&self) -> Result<pb::GetServerInfoResponse, Refused> {
        let now = self.edge.engine_facts().await?;
        let facts = &self.edge.facts;
        let limits: BTreeMap<String, u64> = LIMITS
            .iter()
            .map(|(name, limit)| ((*name).to_owned(), *limit))
            .collect();
        Ok(pb::GetServerInfoResponse {
            version: super::VERSION.to_owned(),
            durability: facts.durability.name().to_owned(),
            server_time: Some(timestamp(now.now)),
            start_time: Some(timestamp(facts.start_time)),
            shards: facts.shard_count.into(),
            default_retry_policy: facts.default_policy.to_string(),
            limits,
            workers: u32::try_from(now.workers).unwrap_or(u32::MAX),
            memory_bytes: now.memory_bytes,
            memory_bytes_max: now.memory_bytes_max,
        })
    }
}

#[tonic::async_trait]
impl ServerService for Server {
    async fn get_server_info(
        &self,
        _request: Request<pb::GetServerInfoRequest>,
    ) -> Result<Response<pb::GetServerInfoResponse>, Status> {
        answer("GetServerInfo", self.info().await)
    }
}
