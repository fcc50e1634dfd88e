//! Heartbeats of runs that go on, and what became of them.
//!
//! A heartbeat that cannot be used refuses nothing but itself, like a report.

use redrive_proto::v1 as pb;

use super::field::{At, InvalidRequest, Parsed, batch, optional_payload, text, timeouts};
use super::field::{timeouts_view, token};
use super::report::echoed;
use crate::engine::command::{Heartbeat, HeartbeatContent, Malformed};
use crate::engine::effect::BeatAck;
use crate::engine::ledger::task::Timeouts;
use crate::engine::limits;
use crate::server::status::Refused;

/// Heartbeats of a message. Their field paths are relative to the heartbeat.
pub(crate) fn heartbeats(value: Vec<pb::Heartbeat>, at: At<'_>) -> Parsed<Vec<Heartbeat>> {
    batch(value.len(), limits::BATCH_ITEMS_MAX, at)?;
    Ok(value.into_iter().map(heartbeat).collect())
}

/// One heartbeat.
pub(crate) fn heartbeat(value: pb::Heartbeat) -> Heartbeat {
    let malformed =
        |InvalidRequest { field, problem }: InvalidRequest| Malformed { field, problem };
    Heartbeat {
        raw_token: echoed(&value.lease_token),
        content: content(value, At::Root).map_err(malformed),
    }
}

fn content(value: pb::Heartbeat, at: At<'_>) -> Parsed<HeartbeatContent> {
    let at_checkpoint = at.field("checkpoint");
    let progress = value.progress.map(|given| {
        let at = at.field("progress");
        let max = limits::PROGRESS_MESSAGE_BYTES_MAX;
        let message = text(&given.message, max, at.field("message"))?;
        Ok((given.done, given.total, message))
    });
    Ok(HeartbeatContent {
        token: token(&value.lease_token, at.field("lease_token"))?,
        progress: progress.transpose()?,
        checkpoint: optional_payload(value.checkpoint, limits::RESULT_BYTES_MAX, at_checkpoint)?,
        timeouts: value
            .timeouts
            .map(|given| wanted(&given, at.field("timeouts")))
            .transpose()?,
    })
}

/// The limits that a handler asks for.
fn wanted(value: &pb::Timeouts, at: At<'_>) -> Parsed<Timeouts> {
    if value.extend_max.is_some() {
        return Err(at.field("extend_max").refuse(
            "is set, but a handler does not choose its own bound: leave it unset, or update the \
             task",
        ));
    }
    timeouts(value, at)
}

/// What became of a heartbeat on a stream: only those are told that asked for limits, were refused
/// or are of a lease that is gone.
pub(crate) fn ack_view(ack: BeatAck) -> pb::HeartbeatAck {
    ack_of(ack, true, false)
}

/// What became of a heartbeat of a call; whether it asked for limits, and whether its task is to be
/// cancelled.
pub(crate) fn ack_of(ack: BeatAck, asked: bool, cancel_requested: bool) -> pb::HeartbeatAck {
    let limits_known = ack.timeouts != Timeouts::default();
    let looked_at = ack.refusal.is_none() || limits_known;
    let refusal = ack.refusal.map(|rejection| {
        let refused = Refused::Rejected(rejection);
        // What is malformed was never compared with the limits of the run, which are told otherwise.
        if limits_known {
            refused.beyond_bound()
        } else {
            refused
        }
    });
    pb::HeartbeatAck {
        lease_token: ack.raw_token,
        held: ack.held,
        timeouts: (ack.held && asked && looked_at).then(|| timeouts_view(ack.timeouts)),
        refusal: refusal.map(|refused| refused.refusal()),
        cancel_requested,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use prost_types::Duration;

    use super::*;
    use crate::engine::ids::{Fence, LeaseToken, ShardId, TaskId, Timestamp};
    use crate::engine::rejection::Rejection;

    fn lease() -> Bytes {
        let token = LeaseToken {
            task: TaskId::new(Timestamp(1), ShardId(2), 3),
            fence: Fence::new(1, 1),
            nonce: 9,
        };
        Bytes::copy_from_slice(&token.to_bytes())
    }

    const fn secs(seconds: i64) -> Duration {
        Duration { seconds, nanos: 0 }
    }

    fn beat() -> pb::Heartbeat {
        pb::Heartbeat {
            lease_token: lease(),
            ..Default::default()
        }
    }

    #[test]
    fn everything_that_a_handler_says_arrives_but_the_time() {
        let said = heartbeat(pb::Heartbeat {
            progress: Some(pb::Progress {
                done: 3,
                total: 9,
                message: "rows".into(),
                time: Some(prost_types::Timestamp::default()),
            }),
            checkpoint: Some(pb::Payload {
                data: "half".into(),
                ..Default::default()
            }),
            timeouts: Some(pb::Timeouts {
                hard: Some(secs(60)),
                ..Default::default()
            }),
            ..beat()
        });
        assert_eq!(said.raw_token, lease());
        let content = said.content.unwrap();
        assert_eq!(content.progress, Some((3, 9, "rows".into())));
        assert_eq!(&*content.checkpoint.unwrap().data, b"half");
        assert_eq!(content.timeouts.unwrap().hard_ms, Some(60_000));
        let bare = heartbeat(beat()).content.unwrap();
        assert!(bare.progress.is_none() && bare.checkpoint.is_none() && bare.timeouts.is_none());
    }

    /// The field that the answer names, and what was sent.
    type BadBeat = (&'static str, fn(&mut pb::Heartbeat));

    #[test]
    fn a_bad_heartbeat_refuses_itself_alone_and_names_what_is_wrong() {
        let cases: [BadBeat; 5] = [
            ("lease_token", |b| b.lease_token = Bytes::from_static(b"no")),
            ("progress.message", |b| {
                b.progress = Some(pb::Progress {
                    message: "x".repeat(257),
                    ..Default::default()
                });
            }),
            ("checkpoint.data", |b| {
                b.checkpoint = Some(pb::Payload {
                    data: vec![0; 262_145].into(),
                    ..Default::default()
                });
            }),
            ("timeouts.hard", |b| {
                b.timeouts = Some(pb::Timeouts {
                    hard: Some(secs(31 * 86_400)),
                    ..Default::default()
                });
            }),
            ("timeouts.extend_max", |b| {
                b.timeouts = Some(pb::Timeouts {
                    extend_max: Some(secs(9)),
                    ..Default::default()
                });
            }),
        ];
        for (field, spoil) in cases {
            let mut bad = beat();
            spoil(&mut bad);
            let parsed = heartbeats(vec![beat(), bad], At::Root).unwrap();
            assert!(parsed[0].content.is_ok());
            let malformed = parsed[1].content.as_ref().unwrap_err();
            assert_eq!(malformed.field, field);
        }
        assert!(heartbeats(Vec::new(), At::Root).is_err());
    }

    fn ack(timeouts: Timeouts, refusal: Option<Rejection>) -> BeatAck {
        BeatAck {
            raw_token: lease(),
            held: true,
            timeouts,
            refusal,
        }
    }

    const KNOWN: Timeouts = Timeouts {
        soft_ms: None,
        hard_ms: Some(9000),
        extend_max_ms: Some(36_000),
    };

    fn beyond() -> Rejection {
        Rejection::Invalid {
            field: "timeouts.hard".into(),
            problem: "would be 99 s".into(),
        }
    }

    #[test]
    fn limits_beyond_the_bound_are_out_of_range_and_malformed_ones_invalid() {
        let shown = ack_view(ack(KNOWN, Some(beyond())));
        let refusal = shown.refusal.unwrap();
        assert_eq!(refusal.code, i32::from(tonic::Code::OutOfRange));
        assert_eq!(refusal.field, "timeouts.hard");
        let limits = shown.timeouts.unwrap();
        assert_eq!(
            (limits.hard, limits.extend_max),
            (Some(secs(9)), Some(secs(36)))
        );
        let shown = ack_view(ack(Timeouts::default(), Some(beyond())));
        let refusal = shown.refusal.unwrap();
        assert_eq!(refusal.code, i32::from(tonic::Code::InvalidArgument));
        assert_eq!(shown.timeouts, None);
    }

    #[test]
    fn limits_are_told_to_those_that_asked_while_they_hold_the_lease() {
        assert!(ack_view(ack(KNOWN, None)).timeouts.is_some());
        let gone = BeatAck {
            held: false,
            ..ack(Timeouts::default(), None)
        };
        let shown = ack_view(gone);
        assert!(!shown.held && shown.timeouts.is_none());
        assert_eq!(ack_of(ack(KNOWN, None), false, true).timeouts, None);
        let malformed = ack(Timeouts::default(), Some(beyond()));
        assert_eq!(ack_of(malformed, true, false).timeouts, None);
    }
}
