//! Calls at a fixed rate, whatever becomes of the calls before.
//!
//! Owns the schedule. Each call has the instant at which it was to be made, and latencies count
//! from there: a call that had to wait for its turn because others were slow counts that wait
//! (otherwise the slow moments would hide themselves: "coordinated omission").

use std::time::Duration;

use redrive_client::{Client, NewTask};
use tokio::{sync::mpsc, task::JoinSet};

use super::{check, meter::Timeline, settings::Maker};
use crate::clock;

/// Calls in flight on one connection: the coordinator takes 256.
const IN_FLIGHT_PER_CLIENT: usize = 200;
/// Instants that may wait for their call.
const DUE_MAX: usize = 65_536;
/// Nanoseconds from the start of the schedule to its first call.
const LEAD_NS: u64 = 10_000_000;
const NS_PER_SECOND: u64 = 1_000_000_000;

/// A task that was enqueued at its appointed time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Call {
    /// The task's id.
    pub(crate) id: u128,
    /// When the call was to be made.
    pub(crate) intended: u64,
    /// When it was made.
    pub(crate) made: u64,
    /// When it was answered.
    pub(crate) answered: u64,
}

/// So many calls a second, so many in all.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// Calls a second.
    pub(crate) rate: u32,
    /// All of them.
    pub(crate) calls: u64,
}

impl Pace {
    /// A pace for so long.
    pub(crate) fn lasting(rate: u32, span: Duration) -> Self {
        let calls = u128::from(rate) * span.as_millis() / 1_000;
        Self {
            rate,
            calls: u64::try_from(calls).unwrap_or(u64::MAX).max(1),
        }
    }

    /// When a call is due, in nanoseconds from the first one.
    fn due(self, number: u64) -> u64 {
        let ns = u128::from(number) * u128::from(NS_PER_SECOND) / u128::from(self.rate.max(1));
        u64::try_from(ns).unwrap_or(u64::MAX)
    }
}

/// Enqueues tasks at this pace, one a call, over the clients in turn; ends early, at the next call,
/// when `stop` is ready.
///
/// # Errors
/// The first call that fails.
pub(crate) async fn enqueue(
    clients: &[Client],
    pace: Pace,
    (maker, timeline): (&Maker, Timeline),
    stop: impl Future<Output = ()>,
) -> anyhow::Result<Vec<Call>> {
    let (tell, mut due) = mpsc::channel(DUE_MAX);
    let pacer = tokio::task::spawn_blocking(move || keep_time(pace, timeline, &tell));
    let in_flight_max = clients.len() * IN_FLIGHT_PER_CLIENT;
    let mut calls = JoinSet::new();
    let mut answered = Vec::new();
    let mut numbers = 0..;
    let mut senders = clients.iter().cycle();
    let mut stop = Box::pin(stop);
    loop {
        let intended = tokio::select! {
            intended = due.recv(), if calls.len() < in_flight_max => intended,
            Some(ended) = calls.join_next() => {
                answered.push(ended??);
                continue;
            }
            () = &mut stop => None,
        };
        let (Some(intended), Some(client)) = (intended, senders.next()) else {
            break;
        };
        let task = NewTask::from(maker.spec(numbers.next().unwrap_or_default()));
        let client = client.clone();
        calls.spawn(async move {
            let made = timeline.ns();
            let answer = client.enqueue(task).await?;
            anyhow::Ok(Call {
                answered: timeline.ns(),
                id: check::id(&answer.task_id)?,
                intended,
                made,
            })
        });
    }
    drop(due);
    while let Some(ended) = calls.join_next().await {
        answered.push(ended??);
    }
    pacer.await?;
    Ok(answered)
}

/// Tells each instant when it has come, on a thread of its own; ends when nobody listens.
fn keep_time(pace: Pace, timeline: Timeline, tell: &mpsc::Sender<u64>) {
    let first = timeline.ns() + LEAD_NS;
    for number in 0..pace.calls {
        let due = first.saturating_add(pace.due(number));
        let early = due.saturating_sub(timeline.ns());
        if early > 0 {
            clock::nap(Duration::from_nanos(early));
        }
        if tell.blocking_send(due).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_due_at_equal_distances_without_drift() {
        let pace = Pace::lasting(3, Duration::from_secs(2));
        assert_eq!(pace.calls, 6);
        let due: Vec<u64> = (0..4).map(|number| pace.due(number)).collect();
        assert_eq!(due, [0, 333_333_333, 666_666_666, 1_000_000_000]);
        assert_eq!(Pace::lasting(1, Duration::from_millis(1)).calls, 1);
    }
}
