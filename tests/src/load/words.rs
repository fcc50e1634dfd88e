//! How the protocol's words are written into a history.
//!
//! Owns the translation alone: never talks to anybody, never judges.

use crate::history::{Follows, Made, Origin};
use redrive_client::v1 as pb;

/// Where a task comes from: the end that made it, else the marker at the front of its payload.
pub fn origin(cause: Option<&pb::Cause>, payload: &[u8]) -> Origin {
    let Some(cause) = cause else {
        return Origin::Sent(marker(payload));
    };
    let follows = follows(cause.transition());
    Origin::Made(Made {
        by: cause.task_id.clone(),
        follows,
        told: match follows {
            Follows::Link => None,
            Follows::Success | Follows::Failure | Follows::Exhausted | Follows::Cancelled => {
                told(payload)
            }
        },
    })
}

/// The number that every payload of a producer begins with, or that a request's URL ends with.
fn marker(payload: &[u8]) -> u64 {
    if payload.starts_with(br#"{"url""#) {
        // No marker in bytes is that large.
        let text = std::str::from_utf8(payload).unwrap_or_default();
        let path = text.split(['/', '"']).nth(6);
        return path.and_then(|path| path.parse().ok()).unwrap_or(0);
    }
    payload.first_chunk().copied().map_or(0, u64::from_le_bytes)
}

/// What the context of a follow-up says of what made it.
fn told(payload: &[u8]) -> Option<(String, Follows)> {
    let context: serde_json::Value = serde_json::from_slice(payload).ok()?;
    let of = |field: &str| Some(context.get(field)?.as_str()?.to_owned());
    let name = format!("TRANSITION_{}", of("transition")?);
    let transition = pb::Transition::from_str_name(&name)?;
    Some((of("task_id")?, follows(transition)))
}

fn follows(transition: pb::Transition) -> Follows {
    match transition {
        pb::Transition::Succeeded => Follows::Success,
        pb::Transition::Failed => Follows::Failure,
        pb::Transition::Exhausted => Follows::Exhausted,
        pb::Transition::Cancelled => Follows::Cancelled,
        pb::Transition::Chained => Follows::Link,
        pb::Transition::Unspecified => panic!("never answered: {transition:?}"),
    }
}

/// Milliseconds since 1970.
pub fn ms(at: Option<prost_types::Timestamp>) -> u64 {
    let at = at.unwrap_or_default();
    let ms = at.seconds * 1000 + i64::from(at.nanos) / 1_000_000;
    u64::try_from(ms).unwrap()
}
