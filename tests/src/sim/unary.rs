//! Workers without a stream, in the simulated world: they lease, extend and report by calls.
//!
//! Owns what such a worker holds. Never looks into the coordinator.

use redrive_coordinator::engine::command::{Call, Caller, LeaseTasks, Report, WorkerInfo};
use redrive_coordinator::engine::effect::{Answer, ReportStatus};
use redrive_coordinator::engine::ids::LeaseToken;
use redrive_coordinator::engine::rejection::Rejection;

use super::situations::Situation;
use super::values::NAMESPACE;
use super::worker::{outcome, report};
use super::world::{Arriving, Due, Who, World};

/// A worker without a stream.
#[derive(Debug)]
pub struct Unary {
    name: String,
    held: Vec<LeaseToken>,
    /// Reports that were sent and not answered.
    sent: Vec<Report>,
    waiting: bool,
}

impl Unary {
    /// A worker that was not there before.
    #[must_use]
    pub fn new(index: usize) -> Self {
        Self {
            name: format!("unary-{index}"),
            held: Vec::new(),
            sent: Vec::new(),
            waiting: false,
        }
    }
}

impl World {
    /// A worker without a stream does the next thing.
    pub(super) fn unary_acts(&mut self, index: usize) {
        let us = self.dice.between(5000, 200_000);
        self.agenda.after(us, Due::Act(Who::Unary(index)));
        if self.unary[index].waiting {
            return;
        }
        if self.befalls(self.plan.crash) {
            self.saw(Situation::UnaryCrashed);
            self.unary[index] = Unary::new(index);
            return;
        }
        let held = self.unary[index].held.len();
        let call = if !self.unary[index].sent.is_empty() {
            self.saw(Situation::ReportsSentAgain);
            Call::ReportTasks(self.unary[index].sent.clone())
        } else if held > 0 && self.one_in(3) {
            self.extend(index)
        } else if held > 0 {
            self.unary_reports(index)
        } else if self.healed {
            return;
        } else {
            self.lease(index)
        };
        let may_leave = matches!(call, Call::LeaseTasks(_));
        self.unary[index].waiting = true;
        let operation = self.call(Who::Unary(index), Caller::default(), call);
        if may_leave && self.befalls(60) {
            let us = self.dice.between(1000, 2_000_000);
            let leaves = Arriving::Hangup(operation);
            self.agenda.after(us, Due::Arrive(self.life, leaves));
        }
    }

    fn lease(&mut self, index: usize) -> Call {
        let queue = self.values.queue();
        let worker = WorkerInfo {
            namespace: self.values.word(NAMESPACE),
            worker: self.values.word(&self.unary[index].name),
            version: self.values.word("1.0"),
            host: self.values.word("host"),
            queues: vec![(queue, 1)],
            kinds: self.values.kinds_served(),
            proposals: Vec::new(),
        };
        Call::LeaseTasks(LeaseTasks {
            worker,
            count_max: self.values.one_of(&[1, 2, 5]),
            wait_ms: self.values.one_of(&[0, 500, 3000]),
            ttl_ms: self.values.one_of(&[1000, 5000]),
        })
    }

    fn extend(&mut self, index: usize) -> Call {
        let tokens = self.unary[index].held.iter().map(|token| Some(*token));
        Call::ExtendLeases {
            tokens: tokens.collect(),
            ttl_ms: self.values.one_of(&[1000, 5000]),
            beats: Vec::new(),
        }
    }

    fn unary_reports(&mut self, index: usize) -> Call {
        let fail = if self.healed { 0 } else { self.plan.fail };
        let held = std::mem::take(&mut self.unary[index].held);
        let values = &mut self.values;
        let reports = held.into_iter().map(|token| {
            let outcome = outcome(fail, values);
            report(token, outcome, values)
        });
        let reports: Vec<Report> = reports.collect();
        self.unary[index].sent.clone_from(&reports);
        Call::ReportTasks(reports)
    }

    /// An answer reaches a worker without a stream, or the word that none will come.
    pub(super) fn unary_hears(&mut self, index: usize, reply: Option<Result<Answer, Rejection>>) {
        self.unary[index].waiting = false;
        let Some(Ok(answer)) = reply else { return };
        if let Answer::Leased(deliveries) = answer {
            for delivery in deliveries {
                self.learn(delivery.token.task);
                self.unary[index].held.push(delivery.token);
            }
        } else if let Answer::Acks(acks) = answer {
            self.unary[index].sent.clear();
            if acks.iter().any(|ack| ack.status == ReportStatus::Duplicate) {
                self.saw(Situation::AckDuplicate);
            }
        } else if let Answer::Extended(extensions, _) = answer {
            if extensions.iter().any(|extension| !extension.held) {
                self.saw(Situation::ExtendTooLate);
            }
            let held = std::mem::take(&mut self.unary[index].held);
            let kept = held.into_iter().zip(extensions);
            let kept = kept.filter(|(_, extension)| extension.held);
            self.unary[index].held = kept.map(|(token, _)| token).collect();
        }
    }
}
