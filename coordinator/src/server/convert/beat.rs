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
    let asked = ack.refusal.is_none() || ack.timeouts != Timeouts::default();
    ack_of(ack, asked, false)
}

/// What became of a heartbeat of a call; whether it asked for limits, and whether its task is to be
/// cancelled.
pub(crate) fn ack_of(ack: BeatAck, asked: bool, cancel_requested: bool) -> pb::HeartbeatAck {
    let limits_known = ack.timeouts != Timeouts::default();
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
        timeouts: (ack.held && asked).then(|| timeouts_view(ack.timeouts)),
        refusal: refusal.map(|refused| refused.refusal()),
        cancel_requested,
    }
}
