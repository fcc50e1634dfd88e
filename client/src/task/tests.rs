//! Claims about what a task to be enqueued puts on the wire, and what it refuses.

use super::*;
use crate::limits::{DELAY_MAX, HARD_TIMEOUT_MAX, THEN_MAX};

const SECOND: Duration = Duration::from_secs(1);

fn task() -> NewTask {
    NewTask::new("mail", "send")
}

fn fault(task: NewTask) -> (String, String) {
    match task.build() {
        Err(Error::Invalid { field, problem }) => (field, problem),
        other => panic!("{other:?}"),
    }
}

#[test]
fn all_that_is_set_reaches_the_wire() {
    let spec = task()
        .json(&serde_json::json!({ "to": "ada" }))
        .unwrap()
        .priority(v1::Priority::High)
        .delay(SECOND)
        .timeouts(Some(SECOND), Some(2 * SECOND))
        .retry_policy("sidekiq")
        .max_attempts(3)
        .label("tenant", "acme")
        .build()
        .unwrap();
    let payload = spec.payload.unwrap();
    assert_eq!(payload.data, br#"{"to":"ada"}"#.as_slice());
    assert_eq!(payload.content_type, "application/json");
    assert_eq!(spec.priority, i32::from(v1::Priority::High));
    assert!(matches!(spec.start, Some(v1::task_spec::Start::Delay(d)) if d.seconds == 1));
    assert_eq!(spec.timeouts.unwrap().hard.unwrap().seconds, 2);
    assert_eq!(
        spec.retry,
        Some(v1::task_spec::Retry::RetryPolicy("sidekiq".to_owned()))
    );
    assert_eq!(spec.max_attempts, Some(3));
    assert_eq!(spec.labels["tenant"], "acme");
}

#[test]
fn the_later_of_delay_and_not_before_holds() {
    let instant = SystemTime::UNIX_EPOCH + SECOND;
    let spec = task().delay(SECOND).not_before(instant).build().unwrap();
    assert!(matches!(spec.start, Some(v1::task_spec::Start::NotBefore(t)) if t.seconds == 1));
    let spec = task().not_before(instant).delay(SECOND).build().unwrap();
    assert!(matches!(spec.start, Some(v1::task_spec::Start::Delay(_))));
}

#[test]
fn a_bad_name_is_refused_by_its_field() {
    for name in [
        "",
        "-a",
        ".a",
        "a b",
        "a/b",
        "\u{e4}",
        "a".repeat(129).as_str(),
    ] {
        if !name.is_empty() {
            assert_eq!(fault(NewTask::new(name, "send")).0, "task.queue", "{name}");
        }
        assert_eq!(fault(NewTask::new("mail", name)).0, "task.kind", "{name}");
        assert_eq!(fault(task().label(name, "")).0, "task.labels", "{name}");
    }
    assert!(NewTask::new("a".repeat(128), "9.a_b-c").build().is_ok());
    assert!(NewTask::new("", "send").build().is_ok(), "the kind's queue");
}

#[test]
fn sizes_are_allowed_up_to_their_limit_and_refused_above() {
    assert!(task().bytes(vec![0; PAYLOAD_BYTES_MAX], "").build().is_ok());
    let (field, problem) = fault(task().bytes(vec![0; PAYLOAD_BYTES_MAX + 1], ""));
    assert_eq!(field, "task.payload.data");
    assert!(
        problem.contains("1048577") && problem.contains("1048576"),
        "{problem}"
    );

    assert!(task().label("k", "v".repeat(256)).build().is_ok());
    assert_eq!(fault(task().label("k", "v".repeat(257))).0, "task.labels.k");
    let labels = |n: usize| (0..n).fold(task(), |task, i| task.label(format!("k{i}"), ""));
    assert!(labels(16).build().is_ok());
    assert_eq!(fault(labels(17)).0, "task.labels");

    assert_eq!(
        fault(task().bytes("", "x".repeat(129))).0,
        "task.payload.content_type"
    );
    assert_eq!(
        fault(task().bytes("", "a\nb")).0,
        "task.payload.content_type"
    );
    assert!(task().delay(DELAY_MAX).build().is_ok());
    assert_eq!(fault(task().delay(DELAY_MAX + SECOND)).0, "task.delay");
}

#[test]
fn time_limits_that_contradict_each_other_are_refused() {
    let limits = |soft, hard| task().timeouts(soft, hard);
    assert!(limits(Some(SECOND), Some(SECOND)).build().is_ok());
    let (field, problem) = fault(limits(Some(2 * SECOND), Some(SECOND)));
    assert_eq!(field, "task.timeouts.soft");
    assert!(
        problem.contains("2 s") && problem.contains("1 s"),
        "{problem}"
    );
    assert_eq!(
        fault(limits(Some(Duration::ZERO), None)).0,
        "task.timeouts.soft"
    );
    assert_eq!(
        fault(limits(None, Some(Duration::ZERO))).0,
        "task.timeouts.hard"
    );
    assert_eq!(
        fault(limits(None, Some(HARD_TIMEOUT_MAX + SECOND))).0,
        "task.timeouts.hard"
    );
}

#[test]
fn a_policy_is_refused_by_the_rule_at_fault() {
    let rule = |id: &str| v1::RetryRule {
        id: id.to_owned(),
        ..Default::default()
    };
    let with = |rules| {
        task().inline_retry_policy(v1::RetryPolicy {
            rules,
            ..Default::default()
        })
    };
    assert!(with(vec![rule("a"), rule("b")]).build().is_ok());
    let at = |n, field| format!("task.inline_retry_policy.rules[{n}].{field}");
    assert_eq!(fault(with(vec![rule("a"), rule("a")])).0, at(1, "id"));
    assert_eq!(fault(with(vec![rule("")])).0, at(0, "id"));
    let sparing = v1::RetryRule {
        spares_attempts: true,
        ..rule("a")
    };
    assert_eq!(fault(with(vec![sparing])).0, at(0, "max_attempts"));
    let many = (0..33).map(|n| rule(&format!("r{n}"))).collect();
    assert_eq!(fault(with(many)).0, "task.inline_retry_policy.rules");
    assert_eq!(fault(task().retry_policy("")).0, "task.retry_policy");
}

#[test]
fn a_spec_read_elsewhere_is_built_back_unchanged() {
    let spec = task()
        .delay(SECOND)
        .timeouts(None, Some(SECOND))
        .label("a", "b");
    let spec = spec.build().unwrap();
    assert_eq!(NewTask::from(spec.clone()).build().unwrap(), spec);
}

#[test]
fn all_that_is_said_of_its_life_reaches_the_wire() {
    let spec = task()
        .ttl(SECOND)
        .deadline(2 * SECOND)
        .result_ttl(3 * SECOND)
        .at_most_once()
        .on_success(NextTask::new("done").queue("other"))
        .on_failure(NextTask::new("failed").json(&1).unwrap())
        .on_exhausted(NextTask::new("spent").priority(v1::Priority::High))
        .on_cancelled(NextTask::new("off").delay(SECOND).label("a", "b"))
        .then(NextTask::new("second").schema_version(2))
        .then(NextTask::new("third"))
        .idempotency_key("order:1")
        .idempotency_window(4 * SECOND)
        .unique(
            UniqueKey::new("customer:1")
                .scope([v1::UniqueState::Waiting, v1::UniqueState::Dead])
                .on_conflict(v1::ConflictAction::RescheduleWaiting)
                .postpone_max(5 * SECOND),
        )
        .schema_version(7)
        .timeouts(None, Some(6 * SECOND))
        .extend_max(7 * SECOND)
        .build()
        .unwrap();
    let terms = spec.terms.unwrap();
    let seconds = |span: Option<prost_types::Duration>| span.unwrap().seconds;
    assert_eq!((seconds(terms.ttl), seconds(terms.deadline)), (1, 2));
    assert_eq!(seconds(terms.result_ttl), 3);
    assert_eq!(terms.delivery(), v1::DeliveryMode::AtMostOnce);
    let follow_ups = terms.follow_ups.unwrap();
    let done = follow_ups.on_success.unwrap();
    assert_eq!((&*done.kind, &*done.queue), ("done", "other"));
    assert_eq!(follow_ups.on_failure.unwrap().payload.unwrap().data, "1");
    let spent = follow_ups.on_exhausted.unwrap();
    assert_eq!(spent.priority(), v1::Priority::High);
    let off = follow_ups.on_cancelled.unwrap();
    assert_eq!((seconds(off.delay), &*off.labels["a"]), (1, "b"));
    let chain: Vec<&str> = spec.then.iter().map(|next| &*next.kind).collect();
    assert_eq!(
        (chain, spec.then[0].schema_version),
        (vec!["second", "third"], 2)
    );
    assert_eq!(spec.idempotency_key, "order:1");
    assert_eq!(seconds(spec.idempotency_window), 4);
    let unique = spec.unique.unwrap();
    assert_eq!((&*unique.key, &*unique.scope), ("customer:1", &[1, 3][..]));
    assert_eq!(unique.on_conflict(), v1::ConflictAction::RescheduleWaiting);
    assert_eq!(seconds(unique.postpone_max), 5);
    assert_eq!(spec.schema_version, 7);
    assert_eq!(seconds(spec.timeouts.unwrap().extend_max), 7);
}

#[test]
fn what_is_wrong_with_its_life_is_told_by_its_field() {
    let next = || NextTask::new("next");
    let unique = || UniqueKey::new("k");
    for (wrong, field) in [
        (task().ttl(Duration::ZERO), "task.terms.ttl"),
        (task().deadline(DELAY_MAX + SECOND), "task.terms.deadline"),
        (
            task().result_ttl(31 * 86_400 * SECOND),
            "task.terms.result_ttl",
        ),
        (
            task().extend_max(SECOND).timeouts(None, Some(2 * SECOND)),
            "task.timeouts.extend_max",
        ),
        (
            task().on_success(NextTask::new("")),
            "task.terms.follow_ups.on_success.kind",
        ),
        (
            task().on_failure(next().queue("a b")),
            "task.terms.follow_ups.on_failure.queue",
        ),
        (
            task().on_failure(next().bytes(vec![0; 16_385], "")),
            "task.terms.follow_ups.on_failure.payload.data",
        ),
        (
            task().then(next()).then(next().bytes("1", "")),
            "task.then[1].payload",
        ),
        (
            (0..=THEN_MAX).fold(task(), |task, _| task.then(next())),
            "task.then",
        ),
        (task().idempotency_key("a\nb"), "task.idempotency_key"),
        (
            task().idempotency_key("k".repeat(257)),
            "task.idempotency_key",
        ),
        (task().idempotency_window(SECOND), "task.idempotency_window"),
        (
            task().idempotency_key("k").idempotency_window(SECOND / 2),
            "task.idempotency_window",
        ),
        (task().unique(UniqueKey::new("")), "task.unique.key"),
        (
            task().unique(unique().postpone_max(SECOND)),
            "task.unique.postpone_max",
        ),
        (
            task().unique(unique().scope([v1::UniqueState::Unspecified])),
            "task.unique.scope",
        ),
    ] {
        assert_eq!(fault(wrong).0, field);
    }
}
