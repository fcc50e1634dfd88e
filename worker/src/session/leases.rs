//! The life of one lease on the worker: it arrives, waits, runs, ends, is acknowledged.
//!
//! Owns every change of a lease's state. A run whose lease is gone keeps its slot until its handler
//! has really ended; its outcome is then dropped.

use bytes::Bytes;
use redrive_proto::v1::{Delivery, FailureClass, Payload, Report, ReportAck, ReportStatus, report};

use super::{
    Action, Limits, Link, RunId, STUCK_AFTER_MS, Session, Slot, leaving::LEAVING, limits::Limit,
    wire,
};
use crate::{
    context::StopReason,
    report::{Outcome, failure},
};

/// A lease that the worker holds.
#[derive(Debug)]
pub(super) struct Lease {
    /// Where it was in the numbering of deliveries; `None` where that numbering began anew.
    pub(super) sequence: Option<u64>,
    /// When the task's life is over.
    pub(super) deadline_at: Option<u64>,
    pub(super) hold: Hold,
}

#[derive(Debug)]
pub(super) enum Hold {
    /// Waits for a slot.
    Buffered(Box<Delivery>),
    /// Its handler runs.
    Running(Running),
    /// It ended; the report is kept until it is acknowledged. `run` is the handler that may still
    /// hand in a checkpoint.
    Ended {
        run: Option<RunId>,
        report: Box<Report>,
        sent: bool,
        corrected: bool,
    },
}

/// A lease whose handler runs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Running {
    pub(super) run: RunId,
    pub(super) started_ms: u64,
    pub(super) limits: Limits<u64>,
    /// When the grace of a cancel is over.
    pub(super) revoked_at: Option<u64>,
}

impl Running {
    /// The moments at which something becomes of it.
    pub(super) fn alarms(&self) -> impl Iterator<Item = (u64, RunId, Limit)> + use<> {
        let Self {
            run,
            started_ms: _,
            limits,
            revoked_at,
        } = *self;
        [
            (limits.soft, Limit::Soft),
            (limits.hard, Limit::Hard),
            (limits.deadline, Limit::Deadline),
            (revoked_at, Limit::Revoked),
        ]
        .into_iter()
        .filter_map(move |(at, limit)| Some((at?, run, limit)))
    }
}

impl Session {
    pub(super) fn deliver(&mut self, now_ms: u64, delivery: Delivery) {
        if delivery.sequence <= self.received_through {
            // A coordinator that was restarted counts from 1 again.
            for lease in self.leases.values_mut() {
                lease.sequence = None;
            }
        }
        self.received_through = delivery.sequence;
        self.receipt_due = true;
        if self.leases.contains_key(&delivery.lease_token) {
            return;
        }
        let token = delivery.lease_token.clone();
        let sequence = Some(delivery.sequence);
        let deadline_at = wire::limit_ms(delivery.deadline).map(|ms| now_ms.saturating_add(ms));
        let lease = Lease {
            sequence,
            deadline_at,
            hold: Hold::Buffered(Box::new(delivery)),
        };
        self.leases.insert(token.clone(), lease);
        if self.leaving.is_some() {
            self.end(&token, None, Outcome::release(LEAVING));
        } else {
            self.buffer.push_back(token);
        }
    }

    /// Begins what waits, as far as slots are free and the coordinator is there.
    pub(super) fn start_buffered(&mut self, now_ms: u64, actions: &mut Vec<Action>) {
        let slots = usize::try_from(self.config.slots).unwrap_or(usize::MAX);
        while self.link == Link::Up && self.slots.len() < slots {
            let Some(token) = self.buffer.pop_front() else {
                break;
            };
            let run = RunId(self.next_run);
            let Some(lease) = self.leases.get_mut(&token) else {
                continue;
            };
            let Hold::Buffered(delivery) = &lease.hold else {
                continue;
            };
            if lease.deadline_at.is_some_and(|at| at <= now_ms) {
                // The coordinator is about to say the same.
                self.receipt_due = true;
                self.end(&token, None, Outcome::release(TOO_LATE));
                continue;
            }

            let at = |limit| wire::limit_ms(limit).map(|ms| now_ms.saturating_add(ms));
            let limits = Limits {
                soft: at(delivery.soft_timeout),
                hard: at(delivery.hard_timeout),
                deadline: lease.deadline_at,
            };
            let running = Running {
                run,
                started_ms: now_ms,
                limits,
                revoked_at: None,
            };
            let hold = Hold::Running(running);
            let Hold::Buffered(delivery) = std::mem::replace(&mut lease.hold, hold) else {
                continue;
            };
            self.next_run += 1;
            self.running += 1;
            self.receipt_due = true;
            let slot = Slot {
                token,
                stuck_at: None,
                stuck: false,
            };
            self.slots.insert(run, slot);
            self.limits.extend(running.alarms());
            actions.push(Action::Start {
                run,
                delivery,
                limits,
            });
        }
    }

    /// A handler ended: its slot is free, and its outcome is reported unless the run was settled.
    pub(super) fn ended(&mut self, run: RunId, outcome: Option<Box<Outcome>>) {
        let Some(slot) = self.slots.remove(&run) else {
            return;
        };
        if slot.stuck {
            self.stuck -= 1;
        }
        if let Some(stuck_at) = slot.stuck_at {
            self.limits.remove(&(stuck_at, run, Limit::Stuck));
            self.finished_after_all(&slot.token, run, outcome);
            return;
        }
        let outcome = outcome.map_or_else(
            || {
                Outcome::fail(failure(
                    FailureClass::Internal,
                    STOPPED,
                    "the handler was stopped",
                ))
            },
            |outcome| self.within_limits(*outcome),
        );
        self.end(&slot.token, None, outcome);
    }

    /// A handler completed in the moment in which it was stopped: its result is better than what was
    /// settled for it, as long as nobody was told.
    fn finished_after_all(&mut self, token: &Bytes, run: RunId, outcome: Option<Box<Outcome>>) {
        let complete = outcome
            .map(|outcome| self.within_limits(*outcome))
            .filter(|outcome| matches!(outcome.outcome, report::Outcome::Complete(_)));
        if let Some(outcome) = complete
            && let Some(lease) = self.leases.get_mut(token)
            && let Hold::Ended {
                run: of,
                report,
                sent: false,
                ..
            } = &mut lease.hold
            && *of == Some(run)
        {
            **report = outcome.into_report(token.clone());
        }
    }

    /// Settles a lease with an outcome: from here on there is a report to deliver.
    pub(super) fn end(&mut self, token: &Bytes, run: Option<RunId>, outcome: Outcome) {
        self.leave_active(token);
        let Some(lease) = self.leases.get_mut(token) else {
            return;
        };
        let report = Box::new(outcome.into_report(token.clone()));
        lease.hold = Hold::Ended {
            run,
            report,
            sent: false,
            corrected: false,
        };
        self.unsent.push_back(token.clone());
    }

    /// Takes a lease out of the counts of what runs or waits.
    fn leave_active(&mut self, token: &Bytes) {
        match self.leases.get(token).map(|lease| &lease.hold) {
            Some(&Hold::Running(running)) => {
                self.running -= 1;
                for alarm in running.alarms() {
                    self.limits.remove(&alarm);
                }
                self.beats.forget(running.run);
            }
            Some(Hold::Buffered(_)) => {
                if let Some(at) = self.buffer.iter().position(|waiting| waiting == token) {
                    self.buffer.remove(at);
                    self.receipt_due = true;
                }
            }
            Some(Hold::Ended { .. }) | None => {}
        }
    }

    /// Stops a run now and settles it; a run that has ended keeps its own report.
    pub(super) fn abort(
        &mut self,
        now_ms: u64,
        token: &Bytes,
        (reason, outcome): (StopReason, Outcome),
        actions: &mut Vec<Action>,
    ) {
        match self.leases.get(token).map(|lease| &lease.hold) {
            Some(&Hold::Running(Running { run, .. })) => {
                self.end(token, Some(run), outcome);
                self.stop(now_ms, run, reason, actions);
            }
            Some(Hold::Buffered(_)) => self.end(token, None, outcome),
            Some(Hold::Ended { .. }) | None => {}
        }
    }

    /// Forgets a lease that the coordinator took away, and stops what runs for it.
    pub(super) fn lose(
        &mut self,
        now_ms: u64,
        token: &Bytes,
        reason: StopReason,
        actions: &mut Vec<Action>,
    ) {
        self.leave_active(token);
        let Some(lease) = self.leases.remove(token) else {
            return;
        };
        self.counts.lost += 1;
        if let Hold::Running(Running { run, .. }) = lease.hold {
            self.stop(now_ms, run, reason, actions);
        }
    }

    fn stop(&mut self, now_ms: u64, run: RunId, reason: StopReason, actions: &mut Vec<Action>) {
        if let Some(slot) = self.slots.get_mut(&run) {
            let stuck_at = now_ms.saturating_add(STUCK_AFTER_MS);
            slot.stuck_at = Some(stuck_at);
            self.limits.insert((stuck_at, run, Limit::Stuck));
            actions.push(Action::Abort { run, reason });
        }
    }

    /// Attaches a checkpoint to the report of a run that was just aborted.
    pub(super) fn saved(&mut self, run: RunId, checkpoint: Payload) {
        let Some(slot) = self.slots.get(&run) else {
            return;
        };
        let fits = within(checkpoint.data.len(), self.pace.result_bytes_max);
        if let Some(lease) = self.leases.get_mut(&slot.token)
            && let Hold::Ended {
                run: of,
                report,
                sent: false,
                ..
            } = &mut lease.hold
            && *of == Some(run)
            && fits
        {
            report.checkpoint = Some(checkpoint);
        }
    }

    pub(super) fn acknowledged(&mut self, ack: ReportAck, actions: &mut Vec<Action>) {
        let token = ack.lease_token.clone();
        let Some(Lease {
            hold: Hold::Ended {
                report, corrected, ..
            },
            ..
        }) = self.leases.get_mut(&token)
        else {
            return;
        };
        let status = ack.status();
        match status {
            ReportStatus::Recorded | ReportStatus::Duplicate => match report.outcome {
                Some(report::Outcome::Release(_)) => self.counts.released += 1,
                Some(
                    report::Outcome::Complete(_)
                    | report::Outcome::Fail(_)
                    | report::Outcome::Retry(_)
                    | report::Outcome::Defer(_)
                    | report::Outcome::Discard(_),
                )
                | None => self.counts.finished += 1,
            },
            ReportStatus::Superseded | ReportStatus::Gone => {
                self.counts.superseded += 1;
                let text = format!(
                    "{}, now {}",
                    status.as_str_name(),
                    ack.state().as_str_name()
                );
                actions.push(Action::Note {
                    token: token.clone(),
                    text,
                });
            }
            ReportStatus::Invalid | ReportStatus::Unspecified => {
                let why = ack
                    .refusal
                    .map_or_else(|| "no reason given".to_owned(), |r| r.message);
                let text = format!("report refused: {why}");
                actions.push(Action::Note {
                    token: token.clone(),
                    text: text.clone(),
                });
                if !*corrected {
                    let plain = Outcome::fail(failure(FailureClass::Internal, INVALID, &text));
                    **report = plain.into_report(token.clone());
                    *corrected = true;
                    self.resend(token);
                    return;
                }
                self.counts.superseded += 1;
            }
        }
        self.leases.remove(&token);
    }

    fn resend(&mut self, token: Bytes) {
        if let Some(Lease {
            hold: Hold::Ended { sent, .. },
            ..
        }) = self.leases.get_mut(&token)
        {
            *sent = false;
            self.unsent.push_back(token);
        }
    }

    /// The outcome, or a failure where what it carries is larger than the coordinator takes.
    fn within_limits(&self, outcome: Outcome) -> Outcome {
        let max = self.pace.result_bytes_max;
        let result = outcome.result().map_or(0, |payload| payload.data.len());
        let checkpoint = outcome
            .checkpoint
            .as_ref()
            .map_or(0, |payload| payload.data.len());
        let refuse = |what: &str, size: usize| {
            let text = format!(
                "the {what} has {size} bytes, the most is {max}: keep it elsewhere and report \
                 where it is"
            );
            Outcome::fail(failure(FailureClass::Internal, INVALID, &text))
        };
        if !within(result, max) {
            refuse("result", result)
        } else if !within(checkpoint, max) {
            refuse("checkpoint", checkpoint)
        } else {
            outcome
        }
    }
}

/// The reason of a delivery that waited here until its task's life was over.
const TOO_LATE: &str = "its deadline came before it began";
const INVALID: &str = "rust:redrive_worker::InvalidReport";
const STOPPED: &str = "rust:redrive_worker::HandlerStopped";

pub(super) fn within(size: usize, max: u64) -> bool {
    u64::try_from(size).is_ok_and(|size| size <= max)
}
