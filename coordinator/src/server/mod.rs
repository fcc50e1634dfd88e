//! The edge: gRPC for producers, workers and operators, and HTTP for probes.
//!
//! Owns the border between the wire and the engine's words: [`convert`] parses, the services ask the
//! inbox and show the answer, [`status`] says no. Never decides anything about tasks and holds no
//! state of its own but streams under way and whose turn it is to update a queue. Invariants: whatever reaches the engine is well formed;
//! every refusal names its reason, and where a field is at fault the field, the limit and the
//! remedy; every stream of this module ends on shutdown; everything that a stranger can make grow
//! has a named limit.

mod bulk;
mod convert;
mod dead_letter_service;
mod edge;
mod enqueue;
mod enqueue_stream;
mod event_service;
mod filter;
pub mod http;
mod kind_service;
mod listen;
mod measure;
mod pack;
mod parts;
mod queue_service;
mod retry_policy_service;
mod server_service;
mod status;
mod task_service;
#[cfg(test)]
mod testing;
mod worker_service;
mod worker_stream;

use std::sync::Arc;
use std::time::Duration;

use redrive_proto::v1::dead_letter_service_server::DeadLetterServiceServer;
use redrive_proto::v1::event_service_server::EventServiceServer;
use redrive_proto::v1::kind_service_server::KindServiceServer;
use redrive_proto::v1::queue_service_server::QueueServiceServer;
use redrive_proto::v1::retry_policy_service_server::RetryPolicyServiceServer;
use redrive_proto::v1::server_service_server::ServerServiceServer;
use redrive_proto::v1::task_service_server::TaskServiceServer;
use redrive_proto::v1::worker_service_server::WorkerServiceServer;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use tonic_reflection::server::Error as ReflectionError;

pub use listen::CONNECTIONS_MAX;
pub use retry_policy_service::RetryPolicies;

use crate::engine::limits::MESSAGE_BYTES_MAX;
use crate::shell::inbox::{Facts, Inbox};
use crate::telemetry::Telemetry;
use edge::Edge;
use listen::Connections;

/// The version that the coordinator tells of itself.
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Calls and streams of one connection at once.
pub const CONNECTION_STREAMS_MAX: u32 = 256;
/// Bytes of one call's headers.
const HEADER_BYTES_MAX: u32 = 16 * 1024;
/// Bytes that a peer may send on one stream before they are read.
const STREAM_WINDOW_BYTES: u32 = 2 * 1024 * 1024;
/// Bytes that a peer may send on all streams of a connection before they are read.
const CONNECTION_WINDOW_BYTES: u32 = 8 * 1024 * 1024;
/// How often a quiet connection is pinged: one that is half open is found out.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// How long the answer to such a ping may take.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// Streams that a peer opened and reset before they were accepted.
const PENDING_RESETS_MAX: usize = 20;
/// Streams that were reset from here for a peer's errors.
const ERROR_RESETS_MAX: usize = 1024;

/// Why the gRPC server could not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The descriptors that this program was built with cannot be read.
    #[error("gRPC reflection cannot be set up: {0}")]
    Reflection(#[from] ReflectionError),
    /// The transport failed.
    #[error("the gRPC server failed: {0}")]
    Transport(#[from] tonic::transport::Error),
}

/// Serves every service of `redrive.v1`, health (v1) and reflection (v1 and v1alpha) until
/// `shutdown` is cancelled and all connections have ended. From the cancelling on health is
/// NOT_SERVING, nothing new is accepted, and streams end: worker streams by the engine's word, all
/// others from here. Dropping the future cuts off whoever is still connected. Every call is measured
/// in `telemetry`.
///
/// # Errors
/// Where the server cannot be set up. Trouble with one connection is that connection's alone.
pub async fn serve(
    listener: TcpListener,
    inbox: Inbox,
    facts: Facts,
    telemetry: Arc<Telemetry>,
    shutdown: CancellationToken,
) -> Result<(), ServeError> {
    let readers = TaskTracker::new();
    let health = Health::default();
    let edge = Edge {
        inbox,
        facts: Arc::new(facts),
    };
    let routes = routes(edge, &shutdown, &readers, &health).await?;
    let routes = measure::measured(routes, telemetry).map_err(ReflectionError::from)?;
    let connections = Connections::new(CONNECTIONS_MAX);
    let _cut = connections.cut.clone().drop_guard();
    let incoming = connections.accept(listener);
    let until = async {
        shutdown.cancelled().await;
        health.set(ServingStatus::NotServing).await;
    };
    tonic::transport::Server::builder()
        .max_concurrent_streams(CONNECTION_STREAMS_MAX)
        .concurrency_limit_per_connection(CONNECTION_STREAMS_MAX as usize)
        .load_shed(true)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .http2_max_header_list_size(HEADER_BYTES_MAX)
        .http2_max_pending_accept_reset_streams(Some(PENDING_RESETS_MAX))
        .http2_max_local_error_reset_streams(Some(ERROR_RESETS_MAX))
        .add_routes(routes)
        .serve_with_incoming_shutdown(incoming, until)
        .await?;
    readers.close();
    readers.wait().await;
    Ok(())
}

/// One service with the message limits of all.
macro_rules! limited {
    ($server:ident, $service:expr) => {
        $server::new($service)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    };
}

async fn routes(
    edge: Edge,
    shutdown: &CancellationToken,
    readers: &TaskTracker,
    health: &Health,
) -> Result<Routes, ServeError> {
    let policies = RetryPolicies::new(edge.facts.default_policy.clone());
    let shutdown = shutdown.clone();
    let tasks = task_service::Tasks {
        edge: edge.clone(),
        shutdown: shutdown.clone(),
    };
    let workers = worker_service::Workers {
        edge: edge.clone(),
        shutdown: shutdown.clone(),
        readers: readers.clone(),
    };
    let queues = queue_service::Queues::new(edge.clone());
    let kinds = kind_service::Kinds { edge: edge.clone() };
    let dead_letters = dead_letter_service::DeadLetters {
        edge: edge.clone(),
        shutdown: shutdown.clone(),
    };
    let events = event_service::Events {
        edge: edge.clone(),
        shutdown,
    };
    let server = server_service::Server { edge };

    health.set(ServingStatus::Serving).await;
    let descriptors = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(redrive_proto::DESCRIPTOR)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    Ok(Routes::new(limited!(TaskServiceServer, tasks))
        .add_service(limited!(WorkerServiceServer, workers))
        .add_service(limited!(QueueServiceServer, queues))
        .add_service(limited!(KindServiceServer, kinds))
        .add_service(limited!(DeadLetterServiceServer, dead_letters))
        .add_service(limited!(RetryPolicyServiceServer, policies))
        .add_service(limited!(EventServiceServer, events))
        .add_service(limited!(ServerServiceServer, server))
        .add_service(health.service())
        .add_service(descriptors().build_v1()?)
        .add_service(descriptors().build_v1alpha()?))
}

/// What is told of every service and of the whole, which has the empty name.
#[derive(Debug, Default)]
struct Health {
    reporter: HealthReporter,
}

impl Health {
    const NAMES: [&'static str; 9] = [
        "",
        TaskServiceServer::<task_service::Tasks>::NAME,
        WorkerServiceServer::<worker_service::Workers>::NAME,
        QueueServiceServer::<queue_service::Queues>::NAME,
        KindServiceServer::<kind_service::Kinds>::NAME,
        DeadLetterServiceServer::<dead_letter_service::DeadLetters>::NAME,
        RetryPolicyServiceServer::<RetryPolicies>::NAME,
        EventServiceServer::<event_service::Events>::NAME,
        ServerServiceServer::<server_service::Server>::NAME,
    ];

    fn service(
        &self,
    ) -> tonic_health::pb::health_server::HealthServer<tonic_health::server::HealthService> {
        let service =
            tonic_health::server::HealthService::from_health_reporter(self.reporter.clone());
        tonic_health::pb::health_server::HealthServer::new(service)
    }

    /// Tells whoever asks or watches. On NOT_SERVING watches end behind it: it is the last word.
    async fn set(&self, status: ServingStatus) {
        let mut reporter = self.reporter.clone();
        for name in Self::NAMES {
            reporter.set_service_status(name, status).await;
            if status == ServingStatus::NotServing {
                // Forgetting a name ends its watches; it is told again for those that ask later.
                reporter.clear_service_status(name).await;
                reporter.set_service_status(name, status).await;
            }
        }
    }
}

#[cfg(test)]
mod tests;
