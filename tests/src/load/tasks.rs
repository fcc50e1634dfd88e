//! What tasks are like.
//!
//! Owns what a producer asks for, and the queues and kinds of what follows. Never sends anything.

use std::{net::SocketAddr, time::Duration};

use crate::{
    Dice,
    history::{Asks, digest},
    make,
};
use redrive_client::{NewTask, NextTask, v1};

use super::{queue_of, site_queue_of};

/// Bytes of a payload, behind its marker.
const PAYLOAD_BYTES_MAX: u64 = 8000;
/// Words of 16 characters in a request's body.
const SITE_WORDS_MAX: u64 = 200;
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
    let bytes = dice.between(0, PAYLOAD_BYTES_MAX);
    let payload = payload(marker, usize::try_from(bytes).unwrap(), dice);
    let asks = asks(dice, keyed);
    let digest = digest(&payload);
    let task = NewTask::new(queue_of(marker), "work").bytes(payload, "");
    Made {
        task: asking(with_policy(task, marker, dice), marker, asks),
        digest,
        asks,
    }
}

/// The task of a marker that a worker process takes to a site.
pub(super) fn for_site(marker: u64, dice: &mut Dice, site: SocketAddr) -> Made {
    let body: String = (0..dice.between(0, SITE_WORDS_MAX))
        .map(|_| format!("{:016x}", dice.any()))
        .collect();
    let payload = site_payload(site, marker, &body);
    let asks = asks(dice, false);
    let digest = digest(payload.as_bytes());
    let task = NewTask::new(site_queue_of(marker), "call").bytes(payload, "application/json");
    Made {
        task: asking(with_policy(task, marker, dice), marker, asks),
        digest,
        asks,
    }
}

/// The payload of a task that is a request to a site.
pub(super) fn site_payload(site: SocketAddr, marker: u64, body: &str) -> String {
    format!(r#"{{"url":"http://{site}/{marker}","body":"{body}"}}"#)
}

/// A marker and so many bytes of chance.
pub(super) fn payload(marker: u64, bytes: usize, dice: &mut Dice) -> Vec<u8> {
    let mut payload = marker.to_le_bytes().to_vec();
    let end = payload.len() + bytes;
    while payload.len() < end {
        payload.extend(dice.any().to_le_bytes());
    }
    payload.truncate(end);
    payload
}

fn asks(dice: &mut Dice, keyed: bool) -> Asks {
    Asks {
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
    }
}

fn with_policy(task: NewTask, marker: u64, dice: &mut Dice) -> NewTask {
    let max_attempts = u32::try_from(dice.between(1, 5)).unwrap();
    let policy = v1::RetryPolicy {
        max_crashes: dice.chance(500).then_some(0),
        ..make::policy(max_attempts, dice.between(1, 150))
    };
    task.label("marker", marker.to_string())
        .inline_retry_policy(policy)
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
