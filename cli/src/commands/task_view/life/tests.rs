//! Claims about what `task get` tells of a task's life.

use prost_types::{Duration as Span, Timestamp};

use super::*;
use crate::commands::task_view::full;

#[expect(clippy::unnecessary_wraps, reason = "as the protocol has its fields")]
fn at(seconds: i64) -> Option<Timestamp> {
    Some(Timestamp { seconds, nanos: 0 })
}

#[expect(clippy::unnecessary_wraps, reason = "as the protocol has its fields")]
fn span(seconds: i64) -> Option<Span> {
    Some(Span { seconds, nanos: 0 })
}

/// For a terminal of eighty columns.
fn narrow() -> Style {
    Style {
        width: Some(80),
        ..Style::plain()
    }
}

fn held() -> v1::Effective {
    let (task, kind, queue) = (1, 2, 3);
    v1::Effective {
        retry_policy: Some(v1::EffectiveRetryPolicy {
            name: "recommended".to_owned(),
            revision: 7,
            source: kind,
        }),
        timeouts: Some(v1::EffectiveTimeouts {
            timeouts: Some(v1::Timeouts {
                soft: span(20),
                hard: span(30),
                extend_max: span(120),
            }),
            source: task,
        }),
        max_attempts: Some(v1::EffectiveMaxAttempts {
            max_attempts: 0,
            source: v1::Source::Server.into(),
        }),
        deadline_time: Some(v1::EffectiveTime {
            time: at(3_600),
            source: queue,
        }),
        result_ttl: Some(v1::EffectiveDuration {
            duration: span(86_400),
            source: queue,
        }),
        delivery: Some(v1::EffectiveDelivery {
            delivery: v1::DeliveryMode::AtMostOnce.into(),
            source: kind,
        }),
        follow_ups: vec![v1::EffectiveFollowUp {
            transition: v1::Transition::Exhausted.into(),
            kind: "ops.tell".to_owned(),
            source: kind,
        }],
        dead_letter_queue: Some(v1::EffectiveQueue {
            queue: "mail-dead".to_owned(),
            source: queue,
        }),
        ..Default::default()
    }
}

fn act(act: v1::ActKind, note: &str) -> v1::Act {
    v1::Act {
        time: at(60),
        act: act.into(),
        actor: "ada@build7".to_owned(),
        note: note.to_owned(),
    }
}

fn whole() -> v1::Task {
    v1::Task {
        task_id: "0192f0c1-2345-7abc-8def-0123456789ab".to_owned(),
        state: v1::TaskState::Running.into(),
        state_reason: "CANCEL_REQUESTED".to_owned(),
        spec: Some(v1::TaskSpec {
            queue: "mail".to_owned(),
            kind: "send".to_owned(),
            schema_version: 3,
            idempotency_key: "user:4711".to_owned(),
            unique: Some(Box::new(v1::UniqueKey {
                key: "doc:7".to_owned(),
                scope: vec![1, 3],
                on_conflict: v1::ConflictAction::Reject.into(),
                postpone_max: None,
            })),
            then: vec![v1::TaskTemplate {
                kind: "file".to_owned(),
                queue: "archive".to_owned(),
                ..Default::default()
            }],
            ..Default::default()
        }),
        effective: Some(Box::new(held())),
        progress: Some(v1::Progress {
            done: 3,
            total: 10,
            message: "resizing".to_owned(),
            time: at(0),
        }),
        acts: vec![
            act(
                v1::ActKind::Edited,
                "hard limit to 10m, priority to HIGH, as the customer asked",
            ),
            act(v1::ActKind::CancelRequested, "too late"),
        ],
        acts_omitted: 4,
        cause: Some(v1::Cause {
            task_id: "0192f0c1-2345-7abc-8def-0123456789aa".to_owned(),
            transition: v1::Transition::Chained.into(),
        }),
        cancel: Some(v1::CancelOrder {
            time: at(0),
            actor: "ada@build7".to_owned(),
            reason: "too late".to_owned(),
            until: at(90),
        }),
        history: vec![v1::Run {
            run: 1,
            attempt: 1,
            worker_id: "worker-17.example-host".to_owned(),
            outcome: v1::RunOutcome::Failed.into(),
            rule: "rate-limited".to_owned(),
            retry_policy: "recommended".to_owned(),
            retry_policy_revision: 6,
            retry_policy_source: v1::Source::Kind.into(),
            base_delay: span(60),
            delay: span(47),
            failure: Some(v1::Failure {
                failure_class: v1::FailureClass::RateLimited.into(),
                message: "429 from the provider, for the second time today".to_owned(),
                ..Default::default()
            }),
            ..Default::default()
        }],
        ..Default::default()
    }
}

#[test]
fn a_value_that_holds_is_shown_with_the_level_that_says_so() {
    let text = effective(&narrow(), &whole());
    for (value, from) in [
        ("recommended (revision 7)", "KIND"),
        ("soft 20s, hard 30s, extend to 2m", "TASK"),
        ("unlimited", "SERVER"),
        ("1970-01-01T01:00:00Z (in 1h)", "QUEUE"),
        ("1d", "QUEUE"),
        ("at most once", "KIND"),
        ("ops.tell", "KIND"),
        ("mail-dead", "QUEUE"),
    ] {
        let line = text.lines().find(|line| line.contains(value));
        assert!(
            line.is_some_and(|line| line.ends_with(from)),
            "{value}, {from}:\n{text}"
        );
    }
    assert!(
        !text.contains("expires"),
        "what is not set is left out:\n{text}"
    );
    assert_eq!(effective(&narrow(), &v1::Task::default()), "");
}

#[test]
fn a_deadline_that_an_ended_task_did_not_come_to_is_left_out() {
    let mut task = whole();
    task.end_time = at(90);
    let text = effective(&narrow(), &task);
    assert!(!text.contains("deadline"), "{text}");
    task.end_time = at(3_600);
    let text = effective(&narrow(), &task);
    assert!(text.contains("deadline"), "{text}");
}

#[test]
fn what_was_done_is_shown_with_when_by_whom_and_why() {
    let text = acts(&narrow(), &whole());
    for part in [
        "1970-01-01T00:01:00Z",
        "EDITED",
        "CANCEL_REQUESTED",
        "ada@build7",
        "too late",
        "4 acts",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
}

#[test]
fn a_whole_life_can_be_read_in_eighty_columns() {
    let text = full(&narrow(), &whole());
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "{line:?} of\n{text}");
    }
    let joined = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for part in [
        "Version: 3",
        "Key: user:4711",
        "doc:7 while WAITING or DEAD, on conflict REJECT",
        "Progress: 3 of 10 (30%), resizing, 0s ago",
        "Cause: CHAINED of 0192f0c1-2345-7abc-8def-0123456789aa",
        "Then: file in archive",
        "by ada@build7: too late; its lease is revoked at 1970-01-01T00:01:30Z (in 1m)",
        "recommended 6 KIND rate-limited 1m 47s",
    ] {
        assert!(joined.contains(part), "{part} is not in\n{text}");
    }
    assert!(!joined.contains("Policy:"), "told by level:\n{text}");
}

#[test]
fn progress_without_a_total_is_a_count() {
    let mut task = whole();
    task.progress = Some(v1::Progress {
        done: 7,
        ..Default::default()
    });
    assert_eq!(progress(&narrow(), &task), "7");
}

#[test]
fn a_task_that_nobody_runs_says_so() {
    let task = v1::Task {
        state: v1::TaskState::Ready.into(),
        state_reason: "NO_WORKER".to_owned(),
        ..Default::default()
    };
    let text = full(&narrow(), &task);
    assert!(text.contains("no connected worker runs its kind"), "{text}");
}
