//! What is done with a task that lives: cancels and changes. Never looks at a task: it knows the
//! request alone.

use redrive_proto::v1 as pb;

use super::field::{At, Parsed, optional_ms, optional_payload, reason, timeouts, variant};
use super::task::{priority, start_after, start_at};
use crate::engine::command::{Cancel, CancelMode, TaskChange};
use crate::engine::ledger::task::Priority;
use crate::engine::limits;

/// How a task is cancelled: of a call for one or for many.
pub(crate) fn cancel(
    mode: i32,
    grace: Option<&prost_types::Duration>,
    why: &str,
) -> Parsed<Cancel> {
    let root = At::Root;
    let at_grace = root.field("grace");
    let grace_ms = optional_ms(grace, limits::CANCEL_GRACE_MS_MAX, at_grace)?;
    let mode = match variant(mode, root.field("mode"))? {
        pb::CancelMode::Unspecified | pb::CancelMode::Cooperative => {
            CancelMode::Cooperative { grace_ms }
        }
        pb::CancelMode::IfWaiting => CancelMode::IfWaiting,
        pb::CancelMode::Force => CancelMode::Force,
    };
    let takes_grace = matches!(mode, CancelMode::Cooperative { .. });
    if grace_ms.is_some() && !takes_grace {
        return Err(at_grace.refuse(
            "is set, but only mode COOPERATIVE gives a handler time: leave it unset, or use that \
             mode",
        ));
    }
    Ok(Cancel {
        mode,
        reason: reason(why, root.field("reason"))?,
    })
}

/// What changes in a task; at least one thing.
pub(crate) fn task_change(value: pb::UpdateTaskRequest) -> Parsed<TaskChange> {
    use pb::update_task_request::Start as Given;
    let root = At::Root;
    let start = value.start.map(|given| match given {
        Given::Delay(delay) => start_after(&delay, root),
        Given::NotBefore(not_before) => start_at(&not_before, root),
    });
    let max = limits::PAYLOAD_BYTES_MAX;
    let change = TaskChange {
        timeouts: value
            .timeouts
            .map(|given| timeouts(&given, root.field("timeouts")))
            .transpose()?,
        payload: optional_payload(value.payload, max, root.field("payload"))?,
        priority: optional_priority(value.priority, root.field("priority"))?,
        start: start.transpose()?,
        max_attempts: value.max_attempts,
        reason: reason(&value.reason, root.field("reason"))?,
    };
    let without_reason = TaskChange {
        reason: TaskChange::default().reason,
        ..change.clone()
    };
    if without_reason == TaskChange::default() {
        return Err(root.field("timeouts").refuse(
            "is required where nothing else changes: set at least one of timeouts, payload, \
             priority, delay, not_before and max_attempts",
        ));
    }
    Ok(change)
}

/// A priority; unset leaves it as it is.
fn optional_priority(number: i32, at: At<'_>) -> Parsed<Option<Priority>> {
    let unset = number == i32::from(pb::Priority::Unspecified);
    Ok((!unset).then_some(priority(number, at)?))
}

#[cfg(test)]
mod tests {
    use prost_types::Duration;

    use super::*;
    use crate::engine::command::Start;
    use crate::engine::ledger::task::Timeouts;

    const fn secs(seconds: i64) -> Duration {
        Duration { seconds, nanos: 0 }
    }

    #[test]
    fn a_cancel_asks_and_waits_unless_it_says_otherwise() {
        let mode = |mode: pb::CancelMode, grace| {
            cancel(mode.into(), grace, "over").map(|cancel| cancel.mode)
        };
        let asks = |grace_ms| Ok(CancelMode::Cooperative { grace_ms });
        assert_eq!(mode(pb::CancelMode::Unspecified, None), asks(None));
        let grace = secs(5);
        assert_eq!(
            mode(pb::CancelMode::Cooperative, Some(&grace)),
            asks(Some(5000))
        );
        assert_eq!(mode(pb::CancelMode::Force, None), Ok(CancelMode::Force));
        let waiting = mode(pb::CancelMode::IfWaiting, None);
        assert_eq!(waiting, Ok(CancelMode::IfWaiting));
        for other in [pb::CancelMode::IfWaiting, pb::CancelMode::Force] {
            let refused = mode(other, Some(&grace)).unwrap_err();
            assert_eq!(refused.field, "grace");
            assert!(refused.problem.contains("COOPERATIVE"));
        }
    }

    #[test]
    fn what_is_wrong_in_a_cancel_is_named() {
        let field = |mode, grace: Option<i64>, why: &str| {
            let grace = grace.map(secs);
            cancel(mode, grace.as_ref(), why).unwrap_err().field
        };
        assert_eq!(field(4, None, ""), "mode");
        assert_eq!(field(0, Some(86_401), ""), "grace");
        assert_eq!(field(0, None, &"x".repeat(257)), "reason");
    }

    #[test]
    fn an_update_takes_what_is_set_and_leaves_the_rest() {
        let change = |value| task_change(value).unwrap();
        let priority = change(pb::UpdateTaskRequest {
            priority: pb::Priority::High.into(),
            reason: "hurry".into(),
            ..Default::default()
        });
        let expected = TaskChange {
            priority: Some(Priority::High),
            reason: "hurry".into(),
            ..TaskChange::default()
        };
        assert_eq!(priority, expected);
        let rest = change(pb::UpdateTaskRequest {
            timeouts: Some(pb::Timeouts::default()),
            payload: Some(pb::Payload::default()),
            start: Some(pb::update_task_request::Start::Delay(secs(0))),
            max_attempts: Some(0),
            ..Default::default()
        });
        assert_eq!(rest.timeouts, Some(Timeouts::default()));
        assert_eq!(rest.payload, Some(Default::default()));
        assert_eq!(rest.start, Some(Start::After { delay_ms: 0 }));
        assert_eq!((rest.max_attempts, rest.priority), (Some(0), None));
    }

    #[test]
    fn an_update_needs_a_change_and_a_reason_is_none() {
        let refused = task_change(pb::UpdateTaskRequest {
            reason: "why not".into(),
            ..Default::default()
        });
        let refused = refused.unwrap_err();
        assert_eq!(refused.field, "timeouts");
        assert!(refused.problem.contains("set at least one of"));
    }

    /// The field that the refusal names, and what was sent.
    type BadUpdate = (&'static str, fn(&mut pb::UpdateTaskRequest));

    #[test]
    fn what_is_wrong_in_an_update_is_named() {
        use pb::update_task_request::Start;
        let cases: [BadUpdate; 6] = [
            ("timeouts.hard", |u| {
                u.timeouts = Some(pb::Timeouts {
                    hard: Some(secs(0)),
                    ..Default::default()
                });
            }),
            ("payload.data", |u| {
                u.payload = Some(pb::Payload {
                    data: vec![0; 1_048_577].into(),
                    ..Default::default()
                });
            }),
            ("priority", |u| u.priority = 9),
            ("delay", |u| u.start = Some(Start::Delay(secs(-1)))),
            ("not_before", |u| {
                let (seconds, nanos) = (1, -1);
                let at = prost_types::Timestamp { seconds, nanos };
                u.start = Some(Start::NotBefore(at));
            }),
            ("reason", |u| u.reason = "x".repeat(257)),
        ];
        for (field, spoil) in cases {
            let mut sent = pb::UpdateTaskRequest {
                max_attempts: Some(1),
                ..Default::default()
            };
            spoil(&mut sent);
            assert_eq!(task_change(sent).unwrap_err().field, field);
        }
    }
}
