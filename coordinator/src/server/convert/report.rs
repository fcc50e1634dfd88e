//! Reports of runs that ended, and what became of them.
//!
//! A report that cannot be used refuses nothing but itself: it is carried to its place among the
//! answers as [`Malformed`].

use bytes::Bytes;
use redrive_proto::v1 as pb;

use super::failure::optional_failure;
use super::field::{At, InvalidRequest, Parsed, batch, duration_ms, instant, optional_ms};
use super::field::{optional_name, optional_payload, reason, timestamp, token};
use super::view::state_view;
use crate::engine::command::{Malformed, Report, ReportContent, ReportOutcome, Start};
use crate::engine::effect::{ReportAck, ReportStatus};
use crate::engine::limits;
use crate::server::status;

/// Bytes of a token that are echoed where it is none.
const ECHO_BYTES_MAX: usize = 64;

/// Reports of a message or call. Their field paths are relative to the report.
pub(crate) fn reports(value: Vec<pb::Report>, at: At<'_>) -> Parsed<Vec<Report>> {
    batch(value.len(), limits::BATCH_ITEMS_MAX, at)?;
    Ok(value.into_iter().map(report).collect())
}

/// A token's bytes as its answer repeats them.
pub(super) fn echoed(token: &[u8]) -> Bytes {
    Bytes::copy_from_slice(token.get(..ECHO_BYTES_MAX).unwrap_or(token))
}

fn report(value: pb::Report) -> Report {
    let raw_token = echoed(&value.lease_token);
    let malformed =
        |InvalidRequest { field, problem }: InvalidRequest| Malformed { field, problem };
    Report {
        raw_token,
        content: content(value, At::Root).map_err(malformed),
    }
}

fn content(value: pb::Report, at: At<'_>) -> Parsed<ReportContent> {
    let token = token(&value.lease_token, at.field("lease_token"))?;
    let given = value.outcome.ok_or_else(|| {
        at.field("outcome")
            .refuse("is required: complete, fail, retry, defer, release or discard")
    })?;
    let at_checkpoint = at.field("checkpoint");
    Ok(ReportContent {
        token,
        outcome: outcome(given, at)?,
        checkpoint: optional_payload(value.checkpoint, limits::RESULT_BYTES_MAX, at_checkpoint)?,
    })
}

fn outcome(value: pb::report::Outcome, at: At<'_>) -> Parsed<ReportOutcome> {
    use pb::report::Outcome;
    Ok(match value {
        Outcome::Complete(given) => {
            let at = at.field("complete");
            let max = limits::RESULT_BYTES_MAX;
            ReportOutcome::Complete {
                result: optional_payload(given.result, max, at.field("result"))?,
                label: optional_name(&given.outcome_label, at.field("outcome_label"))?,
            }
        }
        Outcome::Fail(given) => {
            let at = at.field("fail");
            let retry_after = given.retry_after.as_ref();
            ReportOutcome::Fail {
                failure: optional_failure(given.failure, at.field("failure"))?,
                not_retryable: given.not_retryable,
                retry_after_ms: optional_ms(
                    retry_after,
                    limits::DELAY_MS_MAX,
                    at.field("retry_after"),
                )?,
            }
        }
        Outcome::Retry(given) => retry(given, at.field("retry"))?,
        Outcome::Defer(given) => {
            let at = at.field("defer");
            let delay = given.delay.unwrap_or_default();
            let max = limits::PAYLOAD_BYTES_MAX;
            ReportOutcome::Defer {
                delay_ms: duration_ms(&delay, limits::DELAY_MS_MAX, at.field("delay"))?,
                reason: reason(&given.reason, at.field("reason"))?,
                payload: optional_payload(given.replace_payload, max, at.field("replace_payload"))?,
            }
        }
        Outcome::Release(given) => {
            let at = at.field("release");
            ReportOutcome::Release {
                reason: reason(&given.reason, at.field("reason"))?,
            }
        }
        Outcome::Discard(given) => {
            let at = at.field("discard");
            ReportOutcome::Discard {
                reason: reason(&given.reason, at.field("reason"))?,
            }
        }
    })
}

fn retry(value: pb::Retry, at: At<'_>) -> Parsed<ReportOutcome> {
    let start = match value.start {
        None => None,
        Some(pb::retry::Start::Delay(delay)) => {
            let delay_ms = duration_ms(&delay, limits::DELAY_MS_MAX, at.field("delay"))?;
            Some(Start::After { delay_ms })
        }
        Some(pb::retry::Start::NotBefore(not_before)) => {
            Some(Start::At(instant(&not_before, at.field("not_before"))?))
        }
    };
    let at_payload = at.field("replace_payload");
    Ok(ReportOutcome::Retry {
        failure: optional_failure(value.failure, at.field("failure"))?,
        start,
        payload: optional_payload(value.replace_payload, limits::PAYLOAD_BYTES_MAX, at_payload)?,
        max_attempts: value.max_attempts,
    })
}

/// What became of a report, as the wire has it.
pub(crate) fn ack_view(ack: ReportAck) -> pb::ReportAck {
    let (status, refusal) = match ack.status {
        ReportStatus::Recorded => (pb::ReportStatus::Recorded, None),
        ReportStatus::Duplicate => (pb::ReportStatus::Duplicate, None),
        ReportStatus::Superseded => (pb::ReportStatus::Superseded, None),
        ReportStatus::Gone => (pb::ReportStatus::Gone, None),
        ReportStatus::Invalid(rejection) => (
            pb::ReportStatus::Invalid,
            Some(status::Refused::Rejected(rejection).refusal()),
        ),
    };
    pb::ReportAck {
        lease_token: ack.raw_token,
        status: status.into(),
        state: ack
            .state
            .map_or(pb::TaskState::Unspecified, state_view)
            .into(),
        next_attempt_time: ack.next_attempt_at.map(timestamp),
        refusal,
    }
}

#[cfg(test)]
mod tests {
    use prost_types::Duration;
    use redrive_proto::v1::report::Outcome;

    use super::*;
    use crate::engine::ids::{Fence, LeaseToken, ShardId, TaskId, Timestamp};
    use crate::engine::rejection::Rejection;

    fn lease() -> Bytes {
        let task = TaskId::new(Timestamp(1), ShardId(2), 3);
        let token = LeaseToken {
            task,
            fence: Fence::new(1, 1),
            nonce: 9,
        };
        Bytes::copy_from_slice(&token.to_bytes())
    }

    fn refused(outcome: Outcome) -> Malformed {
        let value = pb::Report {
            lease_token: lease(),
            outcome: Some(outcome),
            checkpoint: None,
        };
        report(value).content.unwrap_err()
    }

    #[test]
    fn a_bad_report_refuses_itself_alone() {
        let good = pb::Report {
            lease_token: lease(),
            outcome: Some(Outcome::Complete(pb::Complete::default())),
            checkpoint: None,
        };
        let bad = pb::Report {
            lease_token: Bytes::from_static(b"what"),
            ..good.clone()
        };
        let parsed = reports(vec![good, bad], At::Root).unwrap();
        assert!(parsed[0].content.is_ok());
        assert_eq!(parsed[1].raw_token, Bytes::from_static(b"what"));
        let malformed = parsed[1].content.clone().unwrap_err();
        assert_eq!(malformed.field, "lease_token");
        assert!(malformed.problem.contains("4 bytes, where 32 are expected"));
    }

    /// The field that the answer names, and what was reported.
    type BadReport = (&'static str, fn() -> Outcome);

    const BAD: &[BadReport] = &[
        ("complete.result.data", || {
            Outcome::Complete(pb::Complete {
                result: Some(big(262_145)),
                ..Default::default()
            })
        }),
        ("complete.outcome_label", || {
            let outcome_label = "a b".to_owned();
            Outcome::Complete(pb::Complete {
                outcome_label,
                ..Default::default()
            })
        }),
        ("fail.retry_after", || {
            Outcome::Fail(pb::Fail {
                retry_after: Some(NEGATIVE),
                ..Default::default()
            })
        }),
        ("fail.failure.code", || {
            let failure = Some(pb::Failure {
                code: 99,
                ..Default::default()
            });
            Outcome::Fail(pb::Fail {
                failure,
                ..Default::default()
            })
        }),
        ("retry.delay", || {
            let start = Some(pb::retry::Start::Delay(NEGATIVE));
            Outcome::Retry(pb::Retry {
                start,
                ..Default::default()
            })
        }),
        ("retry.replace_payload.data", || {
            Outcome::Retry(pb::Retry {
                replace_payload: Some(big(1_048_577)),
                ..Default::default()
            })
        }),
        ("defer.delay", || {
            Outcome::Defer(pb::Defer {
                delay: Some(NEGATIVE),
                ..Default::default()
            })
        }),
        ("release.reason", || {
            Outcome::Release(pb::Release {
                reason: "x".repeat(257),
            })
        }),
        ("discard.reason", || {
            Outcome::Discard(pb::Discard {
                reason: "x".repeat(257),
            })
        }),
    ];

    const NEGATIVE: Duration = Duration {
        seconds: -1,
        nanos: 0,
    };

    fn big(bytes: usize) -> pb::Payload {
        pb::Payload {
            data: vec![0; bytes].into(),
            content_type: String::new(),
        }
    }

    #[test]
    fn what_is_wrong_in_a_report_is_named() {
        for (field, outcome) in BAD {
            assert_eq!(refused(outcome()).field, *field);
        }
        let empty = pb::Report {
            lease_token: lease(),
            ..Default::default()
        };
        assert_eq!(report(empty).content.unwrap_err().field, "outcome");
    }

    #[test]
    fn an_unusable_report_is_answered_with_its_reason() {
        let rejection = Rejection::Invalid {
            field: "fail.failure.code".into(),
            problem: "is 99".into(),
        };
        let view = ack_view(ReportAck {
            raw_token: lease(),
            status: ReportStatus::Invalid(rejection),
            state: None,
            next_attempt_at: None,
        });
        assert_eq!(view.status(), pb::ReportStatus::Invalid);
        let refusal = view.refusal.unwrap();
        assert_eq!(
            (refusal.code, refusal.field.as_str()),
            (3, "fail.failure.code")
        );
        assert_eq!(view.state, 0);
    }
}
