//! Tasks that cannot be: one table, sent by every way in.

use std::collections::BTreeMap;

use prost_types::Timestamp;
use redrive_proto::v1::{self as pb, task_spec};
use redrive_tests::refusal::Expected;
use redrive_tests::{Harness, make, within};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use super::{BAD_NAME, Case, NAME_RULE, durations};

fn case(field: &str, says: &[&str], change: impl FnOnce(&mut pb::TaskSpec)) -> Case<pb::TaskSpec> {
    let mut spec = make::spec("q", "k");
    change(&mut spec);
    (spec, Expected::field(field, says))
}

fn start(start: task_spec::Start) -> pb::TaskSpec {
    pb::TaskSpec {
        start: Some(start),
        ..make::spec("q", "k")
    }
}

fn limits(
    soft: Option<prost_types::Duration>,
    hard: Option<prost_types::Duration>,
) -> pb::TaskSpec {
    pb::TaskSpec {
        timeouts: Some(pb::Timeouts {
            soft,
            hard,
            ..Default::default()
        }),
        ..make::spec("q", "k")
    }
}

fn names() -> Vec<Case<pb::TaskSpec>> {
    let long = "x".repeat(129);
    vec![
        case(
            "queue",
            &["is empty", "kind k has no queue of its own", "name one"],
            |spec| spec.queue.clear(),
        ),
        case("queue", &["' '", NAME_RULE], |spec| {
            spec.queue = BAD_NAME.to_owned()
        }),
        case("queue", &["129", "128"], |spec| {
            spec.queue.clone_from(&long)
        }),
        case(
            "queue",
            &["'.'", "beginning with a letter or digit"],
            |spec| {
                spec.queue = ".hidden".to_owned();
            },
        ),
        case("queue", &["'é'", NAME_RULE], |spec| {
            spec.queue = "café".to_owned()
        }),
        case("kind", &["required"], |spec| spec.kind.clear()),
        case("kind", &["'/'", NAME_RULE], |spec| {
            spec.kind = "a/b".to_owned()
        }),
        case("kind", &["129", "128"], |spec| spec.kind.clone_from(&long)),
    ]
}

fn payloads_and_labels() -> Vec<Case<pb::TaskSpec>> {
    let payload = |bytes: usize, content_type: &str| {
        Some(pb::Payload {
            data: vec![0; bytes].into(),
            content_type: content_type.to_owned(),
        })
    };
    let label = |key: &str, value: &str| -> BTreeMap<String, String> {
        [(key.to_owned(), value.to_owned())].into()
    };
    vec![
        case(
            "payload.data",
            &["1048577", "1048576", "keep large data elsewhere"],
            |spec| {
                spec.payload = payload(1_048_577, "");
            },
        ),
        case("payload.content_type", &["129", "128"], |spec| {
            spec.payload = payload(0, &"x".repeat(129));
        }),
        case(
            "payload.content_type",
            &["'\\n'", "visible ASCII"],
            |spec| {
                spec.payload = payload(0, "text/\nplain");
            },
        ),
        case("labels", &["17", "16"], |spec| {
            spec.labels = (0..17).map(|n| (format!("k{n}"), String::new())).collect();
        }),
        case("labels[\"a b\"]", &[NAME_RULE], |spec| {
            spec.labels = label("a b", "")
        }),
        case("labels[\"\"]", &["no key"], |spec| {
            spec.labels = label("", "v")
        }),
        case("labels[\"k\"]", &["257", "256"], |spec| {
            spec.labels = label("k", &"v".repeat(257))
        }),
    ]
}

fn times_and_numbers() -> Vec<Case<pb::TaskSpec>> {
    let at = |seconds, nanos| start(task_spec::Start::NotBefore(Timestamp { seconds, nanos }));
    let mut cases = vec![
        case("priority", &["99", "does not know"], |spec| {
            spec.priority = 99
        }),
        case("priority", &["-1", "does not know"], |spec| {
            spec.priority = -1
        }),
        (
            at(0, -1),
            Expected::field("not_before", &["nanos must be 0 to 999999999"]),
        ),
        (
            at(i64::MAX, 0),
            Expected::field("not_before", &["beyond the year 9999"]),
        ),
        (
            limits(Some(make::ms(5001)), Some(make::ms(5000))),
            Expected::field("timeouts.soft", &["5001 ms", "above the hard limit of 5 s"]),
        ),
        (
            limits(None, Some(make::ms(0))),
            Expected::field("timeouts.hard", &["at least 1 ms", "unset for no limit"]),
        ),
        (
            limits(Some(make::ms(0)), None),
            Expected::field("timeouts.soft", &["at least 1 ms", "unset for no limit"]),
        ),
        (
            limits(None, Some(make::ms(31 * 86_400_000))),
            Expected::field("timeouts.hard", &["31 days", "at most 30 days"]),
        ),
        (
            start(task_spec::Start::Delay(make::ms(3651 * 86_400_000))),
            Expected::field("delay", &["3651 days", "at most 3650 days"]),
        ),
    ];
    cases.extend(durations("delay", |bad| {
        start(task_spec::Start::Delay(bad))
    }));
    cases.extend(durations("timeouts.soft", |bad| limits(Some(bad), None)));
    cases.extend(durations("timeouts.hard", |bad| limits(None, Some(bad))));
    cases
}

fn policies() -> Vec<Case<pb::TaskSpec>> {
    let inline = |policy| Some(task_spec::Retry::InlineRetryPolicy(policy));
    vec![
        case(
            "retry_policy",
            &["\"best\"", "recommended", "celery-default"],
            |spec| {
                spec.retry = Some(task_spec::Retry::RetryPolicy("best".to_owned()));
            },
        ),
        case(
            "retry_policy",
            &["no named policy", "recommended"],
            |spec| {
                spec.retry = Some(task_spec::Retry::RetryPolicy(String::new()));
            },
        ),
        case(
            "inline_retry_policy.backoff",
            &["no shape", "exponential, fixed"],
            |spec| {
                spec.retry = inline(Box::new(pb::RetryPolicy {
                    backoff: Some(pb::Backoff::default()),
                    ..make::policy(1, 1)
                }));
            },
        ),
        case(
            "inline_retry_policy.rules[0].id",
            &["must be set"],
            |spec| {
                spec.retry = inline(Box::new(pb::RetryPolicy {
                    rules: vec![pb::RetryRule::default()],
                    ..make::policy(1, 1)
                }));
            },
        ),
    ]
}

fn table() -> Vec<Case<pb::TaskSpec>> {
    [
        names(),
        payloads_and_labels(),
        times_and_numbers(),
        policies(),
    ]
    .concat()
}

#[tokio::test]
async fn a_task_that_cannot_be_is_refused_alone_with_the_path_of_its_fault() {
    let harness = Harness::start().await;
    for (spec, expected) in table() {
        let name = format!("EnqueueTask {}", expected.field);
        let request = pb::EnqueueTaskRequest {
            task: Some(spec),
            ..Default::default()
        };
        let answer = harness.tasks().enqueue_task(request).await;
        expected.below("task").check_status(&name, answer);
    }
    let none = harness
        .tasks()
        .enqueue_task(pb::EnqueueTaskRequest::default())
        .await;
    Expected::field("task", &["required"]).check_status("no task", none);
    let queues = harness
        .tasks()
        .list_tasks(pb::ListTasksRequest::default())
        .await
        .unwrap();
    assert!(queues.into_inner().tasks.is_empty(), "nothing was accepted");
    harness.still_serves().await;
}

#[tokio::test]
async fn in_a_batch_it_is_refused_alone_with_the_path_relative_to_the_task() {
    let harness = Harness::start().await;
    for (spec, expected) in table() {
        let name = format!("EnqueueTasks {}", expected.field);
        let tasks = vec![make::spec("q", "k"), spec, make::spec("q", "k")];
        let request = pb::EnqueueTasksRequest {
            tasks,
            ..Default::default()
        };
        let answer = harness
            .tasks()
            .enqueue_tasks(request)
            .await
            .unwrap()
            .into_inner();
        let mut refusals = Vec::new();
        for result in answer.results {
            match result.result.unwrap() {
                pb::enqueue_result::Result::TaskId(id) => assert!(!id.is_empty()),
                pb::enqueue_result::Result::Refusal(refusal) => refusals.push(refusal),
            }
        }
        assert_eq!(refusals.len(), 1, "{name}");
        expected.check(&name, &refusals[0]);
    }
    let counts = harness.client().queue("q").await.unwrap().counts.unwrap();
    assert_eq!(
        counts.enqueued_total,
        2 * u64::try_from(table().len()).unwrap()
    );
    harness.still_serves().await;
}

#[tokio::test]
async fn on_a_stream_it_is_refused_alone_and_the_stream_goes_on() {
    let harness = Harness::start().await;
    let (requests, outgoing) = mpsc::channel(1);
    let answers = harness
        .tasks()
        .enqueue_stream(ReceiverStream::new(outgoing))
        .await;
    let mut answers = answers.unwrap().into_inner();
    let mut ids = 0;
    for (spec, expected) in table() {
        let name = format!("EnqueueStream {}", expected.field);
        let tasks = [spec, make::spec("q", "k")];
        let items = (0..).zip(tasks).map(|(sequence, task)| {
            let task = Some(task);
            pb::EnqueueItem { sequence, task }
        });
        let items = items.collect();
        let message = pb::EnqueueStreamRequest {
            items,
            ..Default::default()
        };
        requests.send(message).await.unwrap();
        let mut results = BTreeMap::new();
        while results.len() < 2 {
            let answer = within(&name, answers.message()).await.unwrap().unwrap();
            results.extend(
                answer
                    .acks
                    .into_iter()
                    .map(|ack| (ack.sequence, ack.result.unwrap())),
            );
        }
        let Some(pb::enqueue_ack::Result::Refusal(refusal)) = results.get(&0) else {
            panic!("{name}: {results:?}");
        };
        expected.check(&name, refusal);
        assert!(
            matches!(&results[&1], pb::enqueue_ack::Result::TaskId(_)),
            "{name}"
        );
        ids += 1;
    }
    let none = pb::EnqueueItem {
        sequence: 7,
        task: None,
    };
    let message = pb::EnqueueStreamRequest {
        items: vec![none],
        ..Default::default()
    };
    requests.send(message).await.unwrap();
    let answer = within("no task", answers.message()).await.unwrap().unwrap();
    let Some(pb::enqueue_ack::Result::Refusal(refusal)) = &answer.acks[0].result else {
        panic!("{answer:?}");
    };
    Expected::field("task", &["required"]).check("no task", refusal);
    drop(requests);
    assert!(
        within("the end", answers.message())
            .await
            .unwrap()
            .is_none(),
        "it ends OK"
    );
    let counts = harness.client().queue("q").await.unwrap().counts.unwrap();
    assert_eq!(counts.enqueued_total, ids);
}

#[tokio::test]
async fn a_stream_message_with_too_many_items_or_none_ends_the_stream_with_the_reason() {
    let harness = Harness::start().await;
    for (count, says) in [(0, "1 to 1000"), (1001, "at most 1000")] {
        let item = pb::EnqueueItem {
            sequence: 1,
            task: Some(make::spec("q", "k")),
        };
        let items = vec![item; count];
        let message = pb::EnqueueStreamRequest {
            items,
            ..Default::default()
        };
        let outgoing = tokio_stream::iter([message]);
        let answer = super::all(harness.tasks().enqueue_stream(outgoing).await).await;
        Expected::field("items", &[says]).check_status("items", answer);
    }
    let items = vec![pb::EnqueueItem {
        sequence: 1,
        task: Some(make::spec("q", "k")),
    }];
    let message = pb::EnqueueStreamRequest {
        namespace: BAD_NAME.to_owned(),
        items,
        ..Default::default()
    };
    let outgoing = tokio_stream::iter([message]);
    let answers = super::all(harness.tasks().enqueue_stream(outgoing).await)
        .await
        .unwrap();
    let Some(pb::enqueue_ack::Result::Refusal(refusal)) = &answers[0].acks[0].result else {
        panic!("{answers:?}");
    };
    Expected::field("namespace", &[NAME_RULE]).check("namespace", refusal);
    harness.still_serves().await;
}

#[tokio::test]
async fn what_is_just_within_the_limits_is_accepted() {
    let harness = Harness::start().await;
    let mut spec = make::spec(&"q".repeat(128), &"k".repeat(128));
    spec.payload = Some(pb::Payload {
        data: vec![1; 1_048_576].into(),
        content_type: "x".repeat(128),
    });
    spec.labels = (0..16)
        .map(|n| (format!("{n}{}", "k".repeat(126)), "v".repeat(256)))
        .collect();
    spec.start = Some(task_spec::Start::Delay(make::ms(3650 * 86_400_000)));
    let month = Some(make::ms(30 * 86_400_000));
    spec.timeouts = Some(pb::Timeouts {
        soft: month,
        hard: month,
        ..Default::default()
    });
    let request = pb::EnqueueTaskRequest {
        task: Some(spec.clone()),
        ..Default::default()
    };
    let id = harness
        .tasks()
        .enqueue_task(request)
        .await
        .unwrap()
        .into_inner()
        .task_id;
    let kept = harness.task(&id).await.spec.unwrap();
    assert_eq!((kept.payload, kept.labels), (spec.payload, spec.labels));
    assert_eq!(kept.timeouts, spec.timeouts);
}

#[tokio::test]
async fn a_message_beyond_the_message_limit_is_refused_as_such() {
    let harness = Harness::start().await;
    let mut task = make::spec("q", "k");
    task.payload = Some(pb::Payload {
        data: vec![0; 5 << 20].into(),
        ..Default::default()
    });
    let request = pb::EnqueueTaskRequest {
        task: Some(task),
        ..Default::default()
    };
    let refused = harness.tasks().enqueue_task(request).await.unwrap_err();
    assert!(
        matches!(refused.code(), Code::OutOfRange | Code::ResourceExhausted),
        "{refused:?}"
    );
    assert!(refused.message().contains("4194304"), "{refused:?}");
    harness.still_serves().await;
}

#[tokio::test]
async fn memory_that_is_short_refuses_what_grows_and_still_takes_results() {
    let harness = Harness::with(|config| config.memory_limit_bytes = 16 * 1024 * 1024).await;
    let mut spec = make::spec("q", "k");
    spec.payload = Some(pb::Payload {
        data: vec![0; 1 << 20].into(),
        ..Default::default()
    });
    let request = pb::EnqueueTaskRequest {
        task: Some(spec),
        ..Default::default()
    };
    let mut accepted = Vec::new();
    let refused = loop {
        match harness.tasks().enqueue_task(request.clone()).await {
            Ok(answer) => accepted.push(answer.into_inner().task_id),
            Err(refused) => break refused,
        }
        assert!(accepted.len() < 16, "the limit never comes");
    };
    let says = ["16777216", "80 %", "--memory-limit"];
    Expected::reason(Code::ResourceExhausted, "MEMORY_FULL", &says)
        .check_status("memory", Err::<(), _>(refused.clone()));
    let details = tonic_types::StatusExt::get_error_details(&refused);
    assert!(
        details
            .retry_info()
            .is_some_and(|info| info.retry_delay.is_some())
    );
    let cancelled = harness.client().cancel(&accepted[0], "").await.unwrap();
    assert_eq!(cancelled.state(), pb::TaskState::Cancelled);
    assert!(accepted.len() > 8, "{}", accepted.len());
}
