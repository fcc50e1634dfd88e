//! What workers with a stream hear, and what they make of it.
//!
//! Owns the worker's side of the protocol (docs/protocol.md). An honest worker stops what it is told to
//! stop, and forgets a report when it is acknowledged.

use redrive_coordinator::engine::command::{FromWorker, Report};
use redrive_coordinator::engine::effect::{
    CancelReason, Delivery, ReportAck, ReportStatus, ToWorker,
};
use redrive_coordinator::engine::ids::{LeaseToken, LinkId};

use super::situations::Situation;
use super::worker::{Job, report};
use super::world::World;

/// Reports of one message that are sent again.
const REPORTS_MAX: usize = 64;

impl World {
    /// A message reaches a worker, if it still listens there.
    pub(super) fn worker_hears(&mut self, link: LinkId, message: ToWorker) {
        let Some(index) = self.hears(link) else {
            return;
        };
        if self.workers[index].link != Some(link) {
            return;
        }
        let silent = self.workers[index].silent_us > self.now_us() && !self.healed;
        match message {
            ToWorker::Welcome(welcome) => {
                if welcome.resumed {
                    self.saw(if welcome.lost.is_empty() {
                        Situation::Resumed
                    } else {
                        Situation::ResumedWithLoss
                    });
                }
                let worker = &mut self.workers[index];
                if !welcome.resumed {
                    worker.received = 0;
                    worker.jobs.clear();
                    worker.unacknowledged.clear();
                }
                worker.welcomed = true;
                worker.session = Some(welcome.session);
                for token in welcome.lost {
                    worker.drop_job(token);
                }
                self.send_again(index, link);
            }
            ToWorker::Delivery(delivery) => self.worker_gets(index, &delivery),
            ToWorker::Acks(acks) => self.worker_is_acknowledged(index, &acks),
            ToWorker::Cancel { token, reason, .. } => {
                self.worker_is_cancelled(index, token, reason)
            }
            ToWorker::Ping { .. } => {
                if !silent {
                    self.worker_says(link, FromWorker::Pong);
                }
            }
            ToWorker::Drain { .. } => {
                self.saw(Situation::DrainTold);
                self.workers[index].leaving = true;
            }
            ToWorker::Reconnect { .. } => {
                self.workers[index].link = None;
                self.workers[index].welcomed = false;
                self.cut(link);
            }
            ToWorker::Beats(_) | ToWorker::Timeouts { .. } | ToWorker::Refused(_) => {}
        }
    }

    /// All that was not acknowledged is sent again on a new stream.
    fn send_again(&mut self, index: usize, link: LinkId) {
        let again = self.workers[index].unacknowledged.clone();
        if again.is_empty() {
            return;
        }
        self.saw(Situation::ReportsSentAgain);
        let reports = again.into_iter();
        let reports = reports.map(|(token, outcome)| report(token, outcome, &mut self.values));
        let reports: Vec<Report> = reports.collect();
        for some in reports.chunks(REPORTS_MAX) {
            self.worker_says(link, FromWorker::Reports(some.to_vec()));
        }
    }

    fn worker_gets(&mut self, index: usize, delivery: &Delivery) {
        let worker = &mut self.workers[index];
        worker.received = worker.received.max(delivery.sequence);
        worker.receipt_due = true;
        if !worker.holds(delivery.token) {
            worker.jobs.push(Job {
                token: delivery.token,
                sequence: delivery.sequence,
                begun: false,
                until_us: 0,
            });
        }
        let id = delivery.token.task;
        self.learn(id);
    }

    fn worker_is_acknowledged(&mut self, index: usize, acks: &[ReportAck]) {
        for ack in acks {
            self.saw(match ack.status {
                ReportStatus::Recorded => Situation::AckRecorded,
                ReportStatus::Duplicate => Situation::AckDuplicate,
                ReportStatus::Superseded => Situation::AckSuperseded,
                ReportStatus::Gone => Situation::AckGone,
                ReportStatus::Invalid(_) => continue,
            });
            if let Some(token) = LeaseToken::parse(&ack.raw_token) {
                self.workers[index].drop_job(token);
            }
        }
    }

    fn worker_is_cancelled(&mut self, index: usize, token: LeaseToken, reason: CancelReason) {
        let now = self.now_us();
        let told = match reason {
            CancelReason::Requested => Some(Situation::CancelTold),
            CancelReason::SoftTimeout => Some(Situation::SoftTimeoutTold),
            CancelReason::HardTimeout => Some(Situation::HardTimeoutTold),
            CancelReason::Deadline => Some(Situation::DeadlineTold),
            CancelReason::Revoked => Some(Situation::RevokedTold),
            // The coordinator never says it: workers do, to their handlers.
            CancelReason::LeaseLost => None,
        };
        if let Some(told) = told {
            self.saw(told);
        }
        let ends = matches!(reason, CancelReason::Requested | CancelReason::SoftTimeout);
        if ends {
            let jobs = self.workers[index].jobs.iter_mut();
            for job in jobs.filter(|job| job.token == token) {
                job.begun = true;
                job.until_us = job.until_us.min(now + 2000);
            }
        } else if !self.befalls(self.plan.lie) {
            self.workers[index].drop_job(token);
        }
    }

    /// A worker finds that its stream has ended.
    pub(super) fn worker_loses(&mut self, link: LinkId) {
        let Some(state) = self.links.get_mut(&link) else {
            return;
        };
        state.near = false;
        let (index, far) = (state.worker, state.far);
        if !far {
            self.links.remove(&link);
        }
        if self.workers[index].link == Some(link) {
            self.workers[index].link = None;
            self.workers[index].welcomed = false;
        }
    }

    /// A worker gives up its stream, to begin anew.
    pub(super) fn leave(&mut self, index: usize) -> Option<LinkId> {
        self.workers[index].silent_us = 0;
        self.workers[index].welcomed = false;
        self.workers[index].link.take()
    }
}
