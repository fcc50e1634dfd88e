//! What a coordinator shows of itself: gRPC health and reflection, HTTP probes, metrics, server
//! info, and where it listens.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use futures::{StreamExt as _, stream};
use redrive_client::NewTask;
use redrive_coordinator::run::start;
use redrive_proto::v1 as pb;
use redrive_tests::{Harness, RawWorker, harness, make, within};
use tonic::Code;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_reflection::pb::{v1, v1alpha};

const SERVICES: [&str; 8] = [
    "redrive.v1.DeadLetterService",
    "redrive.v1.EventService",
    "redrive.v1.KindService",
    "redrive.v1.QueueService",
    "redrive.v1.RetryPolicyService",
    "redrive.v1.ServerService",
    "redrive.v1.TaskService",
    "redrive.v1.WorkerService",
];

#[tokio::test]
async fn health_is_serving_for_the_whole_and_for_every_service() {
    let harness = Harness::start().await;
    let mut health = HealthClient::new(harness.client().channel());
    for service in SERVICES.into_iter().chain([""]) {
        let service = service.to_owned();
        let request = HealthCheckRequest {
            service: service.clone(),
        };
        let answer = health.check(request).await.unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "{service:?}");
    }
    let service = "redrive.v1.Nonsense".to_owned();
    let unknown = health
        .check(HealthCheckRequest { service })
        .await
        .unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
}

#[tokio::test]
async fn a_health_watch_is_told_of_the_stop_and_ends() {
    let harness = Harness::start().await;
    let mut health = HealthClient::new(harness.client().channel());
    let watch = health.watch(HealthCheckRequest::default()).await.unwrap();
    let mut watch = watch.into_inner();
    let mut next = async || within("the next status", watch.message()).await;
    assert_eq!(
        next().await.unwrap().unwrap().status(),
        ServingStatus::Serving
    );
    let (stopped, ()) = tokio::join!(harness.stop(), async {
        assert_eq!(
            next().await.unwrap().unwrap().status(),
            ServingStatus::NotServing
        );
        assert!(matches!(next().await, Ok(None) | Err(_)), "it ends");
    });
    stopped.unwrap();
}

#[tokio::test]
async fn reflection_lists_every_service_and_knows_every_method_in_both_versions() {
    let harness = Harness::start().await;
    let channel = harness.client().channel();

    let mut new = v1::server_reflection_client::ServerReflectionClient::new(channel.clone());
    let ask = |question| v1::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(question),
    };
    let list = v1::server_reflection_request::MessageRequest::ListServices(String::new());
    let symbol = "redrive.v1.WorkerService.Work".to_owned();
    let file = v1::server_reflection_request::MessageRequest::FileContainingSymbol;
    // No method speaks of it: it is what follow-ups are given.
    let context = "redrive.v1.FailureContext".to_owned();
    let questions = [ask(list), ask(file(symbol.clone())), ask(file(context))];
    let answers = new
        .server_reflection_info(stream::iter(questions))
        .await
        .unwrap();
    let answers: Vec<_> = answers.into_inner().collect().await;
    let answers: Vec<_> = answers
        .into_iter()
        .map(|one| one.unwrap().message_response)
        .collect();
    let Some(v1::server_reflection_response::MessageResponse::ListServicesResponse(listed)) =
        &answers[0]
    else {
        panic!("{answers:?}");
    };
    let listed: BTreeSet<&str> = listed.service.iter().map(|one| one.name.as_str()).collect();
    assert!(
        SERVICES.iter().all(|service| listed.contains(service)),
        "{listed:?}"
    );
    assert!(listed.contains("grpc.health.v1.Health"), "{listed:?}");
    for answer in &answers[1..] {
        assert!(
            matches!(
                answer,
                Some(v1::server_reflection_response::MessageResponse::FileDescriptorResponse(file))
                    if !file.file_descriptor_proto.is_empty()
            ),
            "{symbol}: {answer:?}"
        );
    }

    let mut old = v1alpha::server_reflection_client::ServerReflectionClient::new(channel);
    let list = v1alpha::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(
            v1alpha::server_reflection_request::MessageRequest::ListServices(String::new()),
        ),
    };
    let answers = old
        .server_reflection_info(stream::iter([list]))
        .await
        .unwrap();
    let answer = answers
        .into_inner()
        .message()
        .await
        .unwrap()
        .unwrap()
        .message_response;
    let Some(v1alpha::server_reflection_response::MessageResponse::ListServicesResponse(old)) =
        answer
    else {
        panic!("{answer:?}");
    };
    let old: BTreeSet<&str> = old.service.iter().map(|one| one.name.as_str()).collect();
    assert!(
        SERVICES.iter().all(|service| old.contains(service)),
        "{old:?}"
    );
}

#[tokio::test]
async fn probes_are_answered_over_http_and_anything_else_is_told_what_there_is() {
    let harness = Harness::start().await;
    for (path, code, says) in [
        ("/healthz", "200", "ok"),
        ("/readyz", "200", "ready"),
        ("/nonsense", "404", "/healthz, /readyz and /metrics"),
    ] {
        let (head, body) = harness.get(path).await;
        assert!(
            head.starts_with(&format!("HTTP/1.1 {code}")),
            "{path}: {head}"
        );
        assert!(body.contains(says), "{path}: {body}");
    }
}

/// A sample of the classic text format.
#[derive(Debug)]
struct Sample<'a> {
    name: &'a str,
    labels: BTreeMap<&'a str, &'a str>,
    value: f64,
}

fn sample(line: &str) -> Sample<'_> {
    let (series, value) = line.rsplit_once(' ').unwrap();
    let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
    let labels = labels.strip_suffix('}').unwrap();
    let pairs = labels.split("\",").filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| {
        let (key, value) = pair.split_once("=\"").unwrap();
        (key, value.trim_end_matches('"'))
    });
    Sample {
        name,
        labels: pairs.collect(),
        value: value.parse().unwrap(),
    }
}

/// Checks the classic text format and answers its samples.
fn checked(text: &str) -> Vec<Sample<'_>> {
    let mut types = BTreeMap::new();
    let mut helped = BTreeSet::new();
    let mut samples = Vec::new();
    let mut series = BTreeSet::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(types.insert(name, kind).is_none(), "{name} has two types");
        } else if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            assert!(!help.is_empty() && helped.insert(name), "{line}");
        } else {
            assert!(
                series.insert(line.rsplit_once(' ').unwrap().0),
                "twice: {line}"
            );
            samples.push(sample(line));
        }
    }
    for sample in &samples {
        let name = sample.name;
        let parts = ["_bucket", "_sum", "_count"];
        let family = parts
            .iter()
            .filter_map(|part| name.strip_suffix(part))
            .find(|family| types.get(family) == Some(&"histogram"))
            .unwrap_or(name);
        let kind = types
            .get(family)
            .unwrap_or_else(|| panic!("{name} has no TYPE"));
        assert!(helped.contains(family), "{name} has no HELP");
        assert_eq!(
            *kind == "counter",
            name.ends_with("_total"),
            "{name} is a {kind}"
        );
        let prefixes = ["redrive_", "rpc_server_"];
        assert!(
            prefixes.iter().any(|prefix| name.starts_with(prefix)),
            "{name}"
        );
        let has_base_unit = !["_ms", "_millis", "_kb", "_mb", "_minutes"]
            .iter()
            .any(|unit| name.ends_with(unit));
        assert!(has_base_unit, "{name}");
        if *kind == "histogram" {
            assert!(family.ends_with("_seconds"), "{name}");
        }
        assert!(
            !sample.labels.contains_key("task_id"),
            "{name} is labelled by task"
        );
    }
    samples
}

/// What the metrics count after the test below: name, labels, value.
const COUNTED: [(&str, &str, f64); 23] = [
    ("redrive_tasks_enqueued_total", "queue=mail", 3.0),
    (
        "redrive_attempts_total",
        "queue=mail outcome=succeeded",
        1.0,
    ),
    ("redrive_attempts_total", "queue=mail outcome=failed", 2.0),
    (
        "redrive_retries_scheduled_total",
        "queue=mail reason=INTERNAL",
        1.0,
    ),
    (
        "redrive_tasks_dead_lettered_total",
        "queue=mail reason=ATTEMPTS_EXHAUSTED",
        1.0,
    ),
    (
        "redrive_tasks_ended_total",
        "queue=mail state=succeeded",
        1.0,
    ),
    ("redrive_tasks", "queue=mail state=dead", 1.0),
    ("redrive_tasks", "queue=mail state=scheduled", 1.0),
    ("redrive_tasks", "queue=mail state=ready", 0.0),
    ("redrive_queue_paused", "queue=mail", 0.0),
    ("redrive_queue_oldest_ready_seconds", "queue=mail", 0.0),
    ("redrive_worker_slots", "state=used", 0.0),
    ("redrive_leases_expired_total", "", 0.0),
    ("redrive_workers", "", 1.0),
    ("redrive_links", "", 1.0),
    ("redrive_memory_limit_bytes", "", 268_435_456.0),
    ("redrive_queue_wait_seconds_count", "", 3.0),
    ("redrive_attempt_duration_seconds_count", "", 3.0),
    ("redrive_retry_delay_seconds_count", "", 1.0),
    ("redrive_inbox_refused_total", "", 0.0),
    ("redrive_links_cut_total", "", 0.0),
    (
        "rpc_server_call_duration_seconds_count",
        "rpc_method=redrive.v1.TaskService/EnqueueTask rpc_status_code=OK",
        3.0,
    ),
    (
        "rpc_server_call_duration_seconds_count",
        "rpc_method=redrive.v1.WorkerService/Work rpc_status_code=OK",
        1.0,
    ),
];

#[tokio::test]
async fn metrics_are_in_the_classic_format_in_base_units_and_count_what_happened() {
    let harness = Harness::start().await;
    let mut worker = RawWorker::hello(harness.address(), make::hello("w", "mail", 1)).await;
    let policy = make::policy(2, 1);
    harness
        .enqueue(NewTask::new("mail", "k").inline_retry_policy(policy))
        .await;
    for message in ["once", "twice"] {
        let delivery = worker.next_delivery().await;
        worker.report_one(make::fail(&delivery, message)).await;
    }
    harness.enqueue(NewTask::new("mail", "k")).await;
    let delivery = worker.next_delivery().await;
    worker.complete(&delivery).await;
    harness
        .enqueue(NewTask::new("mail", "k").delay(Duration::from_secs(60)))
        .await;

    let (head, body) = harness.get("/metrics").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(
        head.to_lowercase()
            .contains("content-type: text/plain; version=0.0.4"),
        "{head}"
    );
    let samples = checked(&body);
    let value = |name: &str, labels: &str| -> f64 {
        let is_it = |sample: &&Sample<'_>| {
            let mut pairs = labels
                .split_whitespace()
                .map(|pair| pair.split_once('=').unwrap());
            sample.name == name && pairs.all(|(key, value)| sample.labels.get(key) == Some(&value))
        };
        let found: Vec<&Sample<'_>> = samples.iter().filter(is_it).collect();
        assert_eq!(found.len(), 1, "{name} {labels} in {found:?}");
        found[0].value
    };
    for (name, labels, expected) in COUNTED {
        assert_eq!(value(name, labels), expected, "{name} {labels}");
    }
    let version = format!("version={}", redrive_coordinator::run::VERSION);
    assert_eq!(value("redrive_build_info", &version), 1.0);
    assert!(value("redrive_memory_bytes", "") > 0.0);
    assert!(value("redrive_start_time_seconds", "") > 1.7e9);
    assert!(value("redrive_turn_seconds_count", "") > 0.0);
}

#[tokio::test]
async fn server_info_tells_version_durability_and_the_limits_that_hold() {
    let harness = Harness::start().await;
    let _worker = RawWorker::hello(harness.address(), make::hello("w", "q", 1)).await;
    let info = harness.client().server_info().await.unwrap();
    assert_eq!(info.version, redrive_coordinator::run::VERSION);
    assert_eq!(
        (&*info.durability, info.shards, info.workers),
        ("memory", 4, 1)
    );
    assert_eq!(info.default_retry_policy, "recommended");
    assert!(make::ms_between(info.start_time, info.server_time) >= 0);
    assert_eq!(info.memory_bytes_max, 256 * 1024 * 1024);
    for (name, limit) in [
        ("name_bytes_max", 128),
        ("payload_bytes_max", 1_048_576),
        ("result_bytes_max", 262_144),
        ("batch_items_max", 1000),
        ("message_bytes_max", 4_194_304),
        ("labels_max", 16),
        ("page_size_max", 1000),
        ("wait_ms_max", 60_000),
        ("lease_ttl_ms_max", 3_600_000),
        ("capacity_tasks_max", 10_000),
        ("enqueue_stream_unacked_max", 4096),
        ("filter_bytes_max", 2048),
        ("events_remembered_max", 65_536),
        ("request_id_bytes_max", 128),
        ("request_ttl_ms_max", 86_400_000),
        ("key_bytes_max", 256),
        ("key_window_ms_max", 2_592_000_000),
        ("producers_max", 1000),
        ("result_ttl_ms_max", 2_592_000_000),
        ("cancel_grace_ms_max", 86_400_000),
        ("aging_ms_max", 86_400_000),
        ("actor_bytes_max", 128),
        ("chain_max", 32),
        ("kind_settings_max", 10_000),
    ] {
        assert_eq!(info.limits.get(name), Some(&limit), "{name}");
    }
}

#[tokio::test]
async fn the_named_policies_are_listed_shown_and_previewed() {
    let harness = Harness::start().await;
    let client = harness.client();
    let all = client.retry_policies().await.unwrap();
    let names: Vec<&str> = all.iter().map(|policy| policy.name.as_str()).collect();
    assert!(names.is_sorted() && names.contains(&"recommended") && names.contains(&"sidekiq"));
    for policy in &all {
        assert_eq!(&client.retry_policy(&policy.name).await.unwrap(), policy);
        // Every default is filled in, so it means the same when it is sent back inline.
        let preview = |policy| pb::PreviewRetryPolicyRequest {
            policy: Some(policy),
            attempts_max: 10,
            ..Default::default()
        };
        use pb::preview_retry_policy_request::Policy;
        let by_name = client.preview_retry_policy(preview(Policy::Name(policy.name.clone())));
        let inline = client.preview_retry_policy(preview(Policy::Inline(policy.clone())));
        let (by_name, inline) = (by_name.await.unwrap(), inline.await.unwrap());
        assert_eq!(by_name, inline, "{}", policy.name);
        assert!(!by_name.steps.is_empty(), "{}", policy.name);
    }
}

#[tokio::test]
async fn strangers_are_kept_out_unless_the_operator_says_otherwise() {
    let everywhere = SocketAddr::from(([0, 0, 0, 0], 0));
    for (flag, open) in [("--listen", true), ("--http-listen", false)] {
        let mut config = harness::config();
        if open {
            config.listen = everywhere;
        } else {
            config.http_listen = everywhere;
        }
        let told = start(config.clone()).await.unwrap_err().to_string();
        assert!(told.starts_with(&format!("{flag}: 0.0.0.0:0 ")), "{told}");
        assert!(
            told.contains("no authentication") && told.contains("--insecure"),
            "{told}"
        );
        config.insecure = true;
        start(config).await.unwrap().stop().await.unwrap();
    }
}
