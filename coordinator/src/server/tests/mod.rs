//! The server over a real socket: what is served, the limits of messages, and the way down.

mod fuzz;

use futures::StreamExt as _;
use redrive_proto::v1 as pb;
use redrive_proto::v1::event_service_client::EventServiceClient;
use redrive_proto::v1::server_service_client::ServerServiceClient;
use redrive_proto::v1::task_service_client::TaskServiceClient;
use tokio::task::JoinHandle;
use tokio_util::task::AbortOnDropHandle;
use tonic::Code;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus as Served;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use super::testing::Engine;
use super::*;
use crate::engine::command::Call;
use crate::engine::effect::{Answer, ServerFacts};
use crate::engine::ids::Timestamp;
use crate::engine::rejection::Rejection;

struct Running {
    channel: Channel,
    shutdown: CancellationToken,
    served: JoinHandle<Result<(), ServeError>>,
    _engine: Engine,
}

#[expect(
    clippy::disallowed_methods,
    reason = "one task, joined or dropped with its test"
)]
async fn start() -> Running {
    let engine = Engine::answering(|call| {
        if !matches!(call, Call::ServerFacts) {
            return Err(Rejection::ShuttingDown);
        }
        let facts = ServerFacts {
            now: Timestamp(7000),
            workers: 3,
            ..ServerFacts::default()
        };
        Ok(Answer::Server(facts))
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let shutdown = CancellationToken::new();
    let edge = engine.edge();
    let facts = edge.inbox.facts().clone();
    let telemetry = Arc::clone(&engine.desk.telemetry);
    let served = serve(listener, edge.inbox, facts, telemetry, shutdown.clone());
    let served = tokio::spawn(served);
    let channel = Channel::from_shared(address)
        .unwrap()
        .connect()
        .await
        .unwrap();
    Running {
        channel,
        shutdown,
        served,
        _engine: engine,
    }
}

fn about(service: &str) -> HealthCheckRequest {
    HealthCheckRequest {
        service: service.to_owned(),
    }
}

#[tokio::test]
async fn every_service_is_healthy_and_described() {
    let running = start().await;
    let mut health = HealthClient::new(running.channel.clone());
    for name in Health::NAMES {
        let answer = health.check(about(name)).await.unwrap().into_inner();
        assert_eq!(answer.status(), Served::Serving, "{name}");
    }
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let requests = futures::stream::iter([request]);
    let mut reflection = ServerReflectionClient::new(running.channel.clone());
    let answers = reflection.server_reflection_info(requests).await.unwrap();
    let answer = answers
        .into_inner()
        .next()
        .await
        .unwrap()
        .unwrap()
        .message_response;
    let Some(MessageResponse::ListServicesResponse(listed)) = answer else {
        panic!("{answer:?}")
    };
    let listed: Vec<String> = listed
        .service
        .into_iter()
        .map(|service| service.name)
        .collect();
    for name in Health::NAMES.iter().filter(|name| !name.is_empty()) {
        assert!(
            listed.iter().any(|each| each == name),
            "{name} is not in {listed:?}"
        );
    }
    assert!(listed.iter().any(|each| each == "grpc.health.v1.Health"));
}

#[tokio::test]
async fn the_server_tells_its_facts_and_its_limits() {
    let running = start().await;
    let mut client = ServerServiceClient::new(running.channel.clone());
    let info = client
        .get_server_info(pb::GetServerInfoRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (info.durability.as_str(), info.shards, info.workers),
        ("always", 4, 3)
    );
    assert_eq!(info.server_time.unwrap().seconds, 7);
    assert_eq!(info.limits["payload_bytes_max"], 1_048_576);
}

#[tokio::test]
async fn a_message_above_the_limit_is_refused_by_the_transport() {
    let running = start().await;
    let mut client = TaskServiceClient::new(running.channel.clone());
    let payload = pb::Payload {
        data: vec![0; MESSAGE_BYTES_MAX].into(),
        ..Default::default()
    };
    let task = pb::TaskSpec {
        payload: Some(payload),
        ..Default::default()
    };
    let request = pb::EnqueueTaskRequest {
        task: Some(task),
        ..Default::default()
    };
    let status = client.enqueue_task(request).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange);
}

#[tokio::test]
async fn a_shutdown_is_told_to_watchers_ends_streams_and_lets_the_server_return() {
    let running = start().await;
    let mut health = HealthClient::new(running.channel.clone());
    let mut watched = health.watch(about("")).await.unwrap().into_inner();
    assert_eq!(
        watched.next().await.unwrap().unwrap().status(),
        Served::Serving
    );
    let mut events = EventServiceClient::new(running.channel.clone());
    let watch = pb::WatchEventsRequest::default();
    let mut events = events.watch_events(watch).await.unwrap().into_inner();

    running.shutdown.cancel();

    assert_eq!(
        watched.next().await.unwrap().unwrap().status(),
        Served::NotServing
    );
    assert!(watched.next().await.is_none());
    assert_eq!(
        events.next().await.unwrap().unwrap_err().code(),
        Code::Unavailable
    );
    running.served.await.unwrap().unwrap();
}

#[tokio::test]
async fn dropping_the_server_cuts_off_whoever_is_still_connected() {
    let running = start().await;
    let mut health = HealthClient::new(running.channel.clone());
    let mut watched = health.watch(about("")).await.unwrap().into_inner();
    watched.next().await.unwrap().unwrap();
    drop(AbortOnDropHandle::new(running.served));
    let rest = watched.next().await;
    assert!(!matches!(rest, Some(Ok(_))), "{rest:?}");
}
