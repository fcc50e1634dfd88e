//! What tasks are like.
//!
//! Owns what a producer asks for, and the queues and kinds of what follows. Never sends anything.

use std::time::Duration;

use redrive_client::{NewTask, NextTask, v1};
use redrive_tests::{
    Dice,
    history::{Asks, digest},
    make,
};

use super::queue_of;

/// Bytes of a payload, behind its marker.
const PAYLOAD_BYTES_MAX: u64 = 8000;
/// The kind of what follows.
pub(super) const FOLLOW: &str = "follow";
/// The kind of a chain's later links.
pub(super) const LINK: &str = "link";

/// A task, and what a history must know of it.
pub(super) struct Made {
    pub(super) task: NewTask,
    pub(super) digest: u64,
    pub(super) asks: Asks,
}

/// The task of a marker; with an idempotency key where it is `keyed`.
pub(super) fn made(marker: u64, dice: &mut Dice, keyed: bool) -> Made {
    let mut payload = marker.to_le_bytes().to_vec();
    payload.extend((0..dice.between(0, PAYLOAD_BYTES_MAX)).map(|_| dice.any().to_le_bytes()[0]));
    let asks = Asks {
        delay_ms: match dice.between(0, 20) {
            0 => dice.between(1000, 2500),
            1..=4 => dice.between(1, 600),
            _ => 0,
        },
        keyed,
        at_most_once: dice.chance(200),
        on_success: dice.chance(300),
        on_exhausted: dice.chance(600),
        on_cancelled: dice.chance(600),
        links: match dice.between(0, 20) {
            0..=2 => 1,
            3 => 2,
            _ => 0,
        },
    };
    let max_attempts = u32::try_from(dice.between(1, 5)).unwrap();
    let policy = v1::RetryPolicy {
        max_crashes: dice.chance(500).then_some(0),
        ..make::policy(max_attempts, dice.between(1, 150))
    };
    let digest = digest(&payload);
    let task = NewTask::new(queue_of(marker), "work")
        .bytes(payload, "")
        .label("marker", marker.to_string())
        .inline_retry_policy(policy);
    Made {
        task: asking(task, marker, asks),
        digest,
        asks,
    }
}

/// What follows goes to other queues, so that it crosses shards.
fn asking(mut task: NewTask, marker: u64, asks: Asks) -> NewTask {
    let follow = |shift: u64| NextTask::new(FOLLOW).queue(queue_of(marker + shift));
    if asks.delay_ms > 0 {
        task = task.delay(Duration::from_millis(asks.delay_ms));
    }
    if asks.keyed {
        task = task.idempotency_key(format!("key-{marker}"));
    }
    if asks.at_most_once {
        task = task.at_most_once();
    }
    if asks.on_success {
        task = task.on_success(follow(7));
    }
    if asks.on_exhausted {
        task = task.on_exhausted(follow(11));
    }
    if asks.on_cancelled {
        task = task.on_cancelled(follow(13));
    }
    for link in 0..u64::from(asks.links) {
        task = task.then(NextTask::new(LINK).queue(queue_of(marker + 17 + link)));
    }
    task
}

/// What holds for what follows: few attempts, and little waiting.
pub(super) fn kind() -> v1::KindSettings {
    let policy = make::policy(2, 30);
    v1::KindSettings {
        retry: Some(v1::kind_settings::Retry::InlineRetryPolicy(policy)),
        ..Default::default()
    }
}
