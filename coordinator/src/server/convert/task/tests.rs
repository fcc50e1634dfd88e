//! What producers say of tasks: what arrives, what is refused, and in which words.

use prost_types::{Duration, Timestamp as ProtoTimestamp};
use redrive_proto::v1::task_spec;

use super::*;
use crate::engine::ids::Timestamp;
use crate::engine::ledger::task::Timeouts;

fn spec() -> pb::TaskSpec {
    pb::TaskSpec {
        queue: "mail".into(),
        kind: "send".into(),
        ..Default::default()
    }
}

fn parse(spec: pb::TaskSpec) -> Parsed<NewTask> {
    let root = At::Root;
    new_task("default", Some(spec), root.field("task"))
}

#[test]
fn a_task_needs_a_queue_and_a_kind_only() {
    let task = parse(spec()).unwrap();
    assert_eq!(task.queue.as_ref().unwrap().as_str(), "default/mail");
    assert_eq!(&*task.kind, "send");
    assert_eq!(task.priority, Priority::Normal);
    assert_eq!(task.start, Start::After { delay_ms: 0 });
    assert_eq!(
        (task.timeouts, task.policy, task.max_attempts),
        (None, None, None)
    );
    assert!(task.labels.is_empty() && task.payload.data.is_empty());
}

#[test]
fn everything_that_is_said_arrives() {
    let task = parse(pb::TaskSpec {
        payload: Some(pb::Payload {
            data: "{}".into(),
            content_type: "application/json".into(),
        }),
        priority: pb::Priority::Highest.into(),
        start: Some(task_spec::Start::NotBefore(ProtoTimestamp {
            seconds: 9,
            nanos: 0,
        })),
        timeouts: Some(pb::Timeouts {
            soft: Some(secs(5)),
            hard: Some(secs(9)),
            ..Default::default()
        }),
        retry: Some(task_spec::Retry::RetryPolicy("recommended".into())),
        max_attempts: Some(0),
        labels: [("b".into(), "2".into()), ("a".into(), "1".into())].into(),
        ..spec()
    })
    .unwrap();
    assert_eq!(
        task.payload.content_type.as_deref(),
        Some("application/json")
    );
    assert_eq!(task.start, Start::At(Timestamp(9000)));
    let timeouts = Timeouts {
        soft_ms: Some(5000),
        hard_ms: Some(9000),
        extend_max_ms: None,
    };
    assert_eq!(task.timeouts, Some(timeouts));
    assert!(matches!(task.policy, Some(PolicyRef::Named(_))));
    assert_eq!(task.max_attempts, Some(0));
    let keys: Vec<&str> = task.labels.iter().map(|(key, _)| &**key).collect();
    assert_eq!(keys, ["a", "b"]);
}

/// The field that the refusal names, what it says of limit and remedy, and what was sent.
type BadTask = (&'static str, &'static str, fn(&mut pb::TaskSpec));

const BAD_NAMES: &[BadTask] = &[
    ("task.queue", "use letters, digits", |t| {
        t.queue = "a b".into()
    }),
    ("task.queue", "at most 128", |t| t.queue = "x".repeat(129)),
    ("task.kind", "is required", |t| t.kind.clear()),
    ("task.kind", "beginning with a letter", |t| {
        t.kind = ".x".into()
    }),
    ("task.priority", "is 9", |t| t.priority = 9),
    ("task.retry_policy", "recommended", |t| {
        t.retry = Some(named("nope"))
    }),
    ("task.labels", "at most 16", |t| {
        t.labels = (0..17).map(|i| (format!("k{i}"), String::new())).collect();
    }),
    ("task.labels[\"a b\"]", "use letters", |t| {
        t.labels = label("a b", 0)
    }),
    ("task.labels[\"\"]", "has no key", |t| {
        t.labels = label("", 0)
    }),
    ("task.labels[\"a\"]", "at most 256", |t| {
        t.labels = label("a", 257)
    }),
];

const BAD_VALUES: &[BadTask] = &[
    (
        "task.payload.data",
        "has 1048577 bytes, at most 1048576 are allowed: keep large data elsewhere",
        |t| t.payload = Some(payload(1_048_577, "")),
    ),
    ("task.payload.content_type", "at most 128", |t| {
        t.payload = Some(payload(0, &"x".repeat(129)));
    }),
    ("task.payload.content_type", "use visible ASCII", |t| {
        t.payload = Some(payload(0, "a\nb"))
    }),
    ("task.delay", "negative", |t| {
        t.start = Some(task_spec::Start::Delay(secs(-1)))
    }),
    ("task.delay", "at most 3650 days is allowed", |t| {
        t.start = Some(task_spec::Start::Delay(secs(i64::MAX)));
    }),
    ("task.not_before", "nanos must be 0 to 999999999", |t| {
        let not_before = ProtoTimestamp {
            seconds: 1,
            nanos: -1,
        };
        t.start = Some(task_spec::Start::NotBefore(not_before));
    }),
    (
        "task.timeouts.soft",
        "is 9 s, above the hard limit of 8 s",
        |t| {
            t.timeouts = Some(pb::Timeouts {
                soft: Some(secs(9)),
                hard: Some(secs(8)),
                ..Default::default()
            });
        },
    ),
    ("task.timeouts.hard", "at least 1 ms", |t| {
        t.timeouts = Some(pb::Timeouts {
            soft: None,
            hard: Some(secs(0)),
            ..Default::default()
        });
    }),
    ("task.inline_retry_policy.backoff", "set exponential", |t| {
        let backoff = Some(pb::Backoff::default());
        let policy = pb::RetryPolicy {
            backoff,
            ..Default::default()
        };
        t.retry = Some(task_spec::Retry::InlineRetryPolicy(policy.into()));
    }),
];

const fn secs(seconds: i64) -> Duration {
    Duration { seconds, nanos: 0 }
}

fn payload(bytes: usize, content_type: &str) -> pb::Payload {
    pb::Payload {
        data: vec![0; bytes].into(),
        content_type: content_type.into(),
    }
}

fn named(name: &str) -> task_spec::Retry {
    task_spec::Retry::RetryPolicy(name.into())
}

fn label(key: &str, bytes: usize) -> BTreeMap<String, String> {
    [(key.to_owned(), "x".repeat(bytes))].into()
}

#[test]
fn what_is_wrong_is_refused_with_its_field_its_limit_and_the_remedy() {
    for (field, says, spoil) in BAD_NAMES.iter().chain(BAD_VALUES) {
        let mut sent = spec();
        spoil(&mut sent);
        let refused = parse(sent).unwrap_err();
        assert_eq!(refused.field, *field, "{refused}");
        assert!(refused.problem.contains(says), "{field}: {refused}");
    }
}

#[test]
fn a_refusal_stays_short_whatever_was_sent() {
    let retry = Some(task_spec::Retry::RetryPolicy("y".repeat(100_000)));
    let refused = parse(pb::TaskSpec { retry, ..spec() }).unwrap_err();
    assert!(refused.to_string().len() < 1000);
}

#[test]
fn a_missing_task_is_named_alone_and_in_a_batch() {
    let root = At::Root;
    let alone = new_task("default", None, root.field("task")).unwrap_err();
    assert_eq!(alone.to_string(), "task is required");
    assert_eq!(
        new_task("default", None, root).unwrap_err().to_string(),
        "task is required"
    );
}

#[test]
fn a_queue_may_be_left_to_the_kind() {
    let task = parse(pb::TaskSpec {
        queue: String::new(),
        ..spec()
    })
    .unwrap();
    assert_eq!(task.queue, None);
}

#[test]
fn versions_terms_keys_and_a_chain_arrive() {
    let task = parse(pb::TaskSpec {
        schema_version: 7,
        terms: Some(Box::new(pb::Terms {
            ttl: Some(secs(5)),
            ..Default::default()
        })),
        idempotency_key: "k".into(),
        then: vec![pb::TaskTemplate {
            kind: "archive".into(),
            ..Default::default()
        }],
        ..spec()
    })
    .unwrap();
    assert_eq!(task.version, 7);
    assert_eq!(task.terms.unwrap().ttl_ms, Some(5000));
    assert_eq!(task.keys.unwrap().key.as_deref(), Some("k"));
    assert_eq!(&*task.then[0].kind, "archive");
    let plain = parse(spec()).unwrap();
    assert!(plain.terms.is_none() && plain.keys.is_none() && plain.then.is_empty());
}

/// The field that the refusal names, and what was sent.
type BadPart = (&'static str, fn(&mut pb::TaskSpec));

#[test]
fn what_is_wrong_further_down_is_named_below_the_task() {
    let cases: [BadPart; 3] = [
        ("task.terms.delivery", |t| {
            t.terms = Some(Box::new(pb::Terms {
                delivery: 9,
                ..Default::default()
            }));
        }),
        ("task.then[0].kind", |t| {
            t.then = vec![pb::TaskTemplate::default()]
        }),
        ("task.unique.key", |t| {
            t.unique = Some(Box::new(pb::UniqueKey::default()))
        }),
    ];
    for (field, spoil) in cases {
        let mut sent = spec();
        spoil(&mut sent);
        assert_eq!(parse(sent).unwrap_err().field, field);
    }
}
