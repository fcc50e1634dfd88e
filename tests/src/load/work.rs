//! What both sorts of workers do alike: take down what was delivered, choose how a run ends, take
//! down what became of a report.
//!
//! Owns the words between the protocol and the history. Never talks to anybody.

use std::time::Duration;

use crate::{
    Dice,
    history::{Answer, Delivered, Fact, Origin, Reported, Says, digest},
    make,
};
use bytes::Bytes;
use redrive_client::v1 as pb;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::words;
use super::{Context, Phase, QUEUES, queue_of};

/// Bytes of a result.
const RESULT_BYTES_MAX: u64 = 300;

/// A run that a worker holds, or whose report it keeps until it is acknowledged.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) token: Bytes,
    pub(super) task_id: String,
    pub(super) run: u32,
    /// What was chosen; `None` while it runs.
    pub(super) report: Option<(Says, pb::Report)>,
    /// Of the result that was chosen.
    result: u64,
    /// How likely it ends whenever its worker looks, in a thousand: some runs take their time.
    pub(super) ends_per_mille: u64,
    /// Whether its completion makes room for another task: once, and not where an end made it.
    counts: bool,
}

impl Held {
    /// Takes down a delivery.
    pub(super) fn of(context: &Context, delivery: pb::Delivery, dice: &mut Dice) -> Self {
        let payload = delivery.payload.map(|payload| payload.data);
        let payload = payload.unwrap_or_default();
        let origin = words::origin(delivery.cause.as_deref(), &payload);
        let counts = matches!(origin, Origin::Sent(_));
        context.remember(&delivery.task_id);
        context.history.note(Fact::Delivered(Delivered {
            task_id: delivery.task_id.clone(),
            origin,
            digest: digest(&payload),
            run: delivery.run,
            attempt: delivery.attempt,
            fence: delivery.fence,
        }));
        Self {
            token: delivery.lease_token,
            task_id: delivery.task_id,
            run: delivery.run,
            report: None,
            result: digest(&[]),
            ends_per_mille: if dice.chance(100) { 30 } else { 700 },
            counts,
        }
    }

    /// Takes down that its worker will say nothing of it.
    pub(super) fn abandon(&self, context: &Context) {
        context.abandoned(&self.task_id, self.run);
    }

    /// Chooses how the run ends.
    pub(super) fn choose(&mut self, phase: Phase, dice: &mut Dice) {
        let (says, outcome) = match dice.between(0, 100) {
            0..15 if phase == Phase::Load => {
                let failure = pb::Failure {
                    message: "a failure of the test".to_owned(),
                    ..Default::default()
                };
                let fail = pb::Fail {
                    failure: Some(failure),
                    ..Default::default()
                };
                (Says::Fail, pb::report::Outcome::Fail(fail))
            }
            15..22 if phase == Phase::Load => {
                let defer = pb::Defer {
                    delay: Some(make::ms(dice.between(0, 100))),
                    ..Default::default()
                };
                (Says::Defer, pb::report::Outcome::Defer(defer))
            }
            22..26 if phase == Phase::Load => {
                let release = pb::Release::default();
                (Says::Release, pb::report::Outcome::Release(release))
            }
            _ => {
                let data: Vec<u8> = (0..dice.between(0, RESULT_BYTES_MAX))
                    .map(|_| dice.any().to_le_bytes()[0])
                    .collect();
                self.result = digest(&data);
                let result = pb::Payload {
                    data: data.into(),
                    ..Default::default()
                };
                let complete = pb::Complete {
                    result: Some(result),
                    ..Default::default()
                };
                (Says::Complete, pb::report::Outcome::Complete(complete))
            }
        };
        self.report = Some((says, make::report(&self.token, outcome)));
    }

    /// Takes down that the report is sent, and answers it.
    pub(super) fn send(&self, context: &Context) -> Option<pb::Report> {
        let (says, report) = self.report.clone()?;
        context
            .history
            .note(Fact::ReportInvoked(self.reported(says)));
        Some(report)
    }

    /// Takes down what became of the report; true where it can be forgotten.
    pub(super) fn answered(&mut self, context: &Context, ack: &pb::ReportAck) -> bool {
        let Some((says, _)) = self.report else {
            return true;
        };
        let answer = match ack.status() {
            pb::ReportStatus::Recorded => Answer::Recorded,
            pb::ReportStatus::Duplicate => Answer::Duplicate,
            pb::ReportStatus::Superseded => Answer::Superseded,
            pb::ReportStatus::Gone => Answer::Gone,
            pb::ReportStatus::Invalid => Answer::Invalid,
            pb::ReportStatus::Unspecified => panic!("never answered: {ack:?}"),
        };
        assert_ne!(answer, Answer::Invalid, "{ack:?}");
        // Where the first answer was lost, the next one calls it a duplicate.
        let kept = matches!(answer, Answer::Recorded | Answer::Duplicate);
        if kept && says == Says::Complete && self.counts {
            self.counts = false;
            context.completed();
        }
        let report = self.reported(says);
        context.history.note(Fact::ReportEnded { report, answer });
        true
    }

    fn reported(&self, says: Says) -> Reported {
        Reported {
            task_id: self.task_id.clone(),
            run: self.run,
            says,
            result: self.result,
        }
    }
}

/// A worker that serves every queue.
pub(super) fn info(worker_id: String) -> pb::WorkerInfo {
    let queues = (0..QUEUES).map(|marker| pb::QueueSubscription {
        queue: queue_of(marker),
        weight: 1,
    });
    pb::WorkerInfo {
        worker_id,
        queues: queues.collect(),
        ..Default::default()
    }
}

/// How often somebody looks again whom nobody tells.
pub(super) const BEAT: Duration = Duration::from_millis(10);

/// Ticks every [`BEAT`].
pub(super) fn beat() -> Interval {
    let mut beat = interval(BEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    beat
}
