//! The life of one lease on the worker: it arrives, waits, runs, ends, is acknowledged.
//!
//! Owns every change of a lease's state. A run whose lease is gone keeps its slot until its handler
//! has really ended; its outcome is then dropped.

use std::time::Duration;

use bytes::Bytes;
use redrive_proto::v1::{
    Cancel, CancelReason, Delivery, FailureClass, Payload, Report, ReportAck, ReportStatus,
    TimeoutsChange, report,
};

use super::{Action, Link, RunId, STUCK_AFTER_MS, Session, Slot, leaving::LEAVING, wire};
use crate::{
    context::StopReason,
    report::{Outcome, failure},
};

/// A lease that the worker holds.
#[derive(Debug)]
pub(super) struct Lease {
    /// Where it was in the numbering of deliveries; `None` where that numbering began anew.
    pub(super) sequence: Option<u64>,
    pub(super) hold: Hold,
}

#[derive(Debug)]
pub(super) enum Hold {
    /// Waits for a slot.
    Buffered(Box<Delivery>),
    /// Its handler runs.
    Running {
        run: RunId,
        started_ms: u64,
        soft_at: Option<u64>,
        hard_at: Option<u64>,
    },
    /// It ended; the report is kept until it is acknowledged. `run` is the handler that may still
    /// hand in a checkpoint.
    Ended {
        run: Option<RunId>,
        report: Box<Report>,
        sent: bool,
        corrected: bool,
    },
}

/// What a deadline of a run is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Limit {
    /// It is asked to stop.
    Soft,
    /// It is ended.
    Hard,
    /// It was stopped and should have returned its slot.
    Stuck,
}

impl Session {
    pub(super) fn deliver(&mut self, delivery: Delivery) {
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
        let hold = Hold::Buffered(Box::new(delivery));
        self.leases.insert(token.clone(), Lease { sequence, hold });
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

            let at = |limit| wire::limit_ms(limit).map(|ms| now_ms.saturating_add(ms));
            let soft_at = at(delivery.soft_timeout);
            let hard_at = at(delivery.hard_timeout);
            let hold = Hold::Running {
                run,
                started_ms: now_ms,
                soft_at,
                hard_at,
            };
            let Hold::Buffered(delivery) = std::mem::replace(&mut lease.hold, hold) else {
                continue;
            };
            self.next_run += 1;
            self.running += 1;
            self.receipt_due = true;
            self.slots.insert(
                run,
                Slot {
                    token,
                    stuck_at: None,
                    stuck: false,
                },
            );
            self.limits.extend(soft_at.map(|at| (at, run, Limit::Soft)));
            self.limits.extend(hard_at.map(|at| (at, run, Limit::Hard)));
            actions.push(Action::Start { run, delivery });
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
            Some(Hold::Running {
                run,
                soft_at,
                hard_at,
                ..
            }) => {
                self.running -= 1;
                for (at, limit) in [(soft_at, Limit::Soft), (hard_at, Limit::Hard)] {
                    if let Some(at) = at {
                        self.limits.remove(&(*at, *run, limit));
                    }
                }
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
            Some(&Hold::Running { run, .. }) => {
                self.end(token, Some(run), outcome);
                self.stop(now_ms, run, reason, actions);
            }
            Some(Hold::Buffered(_)) => self.end(token, None, outcome),
            Some(Hold::Ended { .. }) | None => {}
        }
    }

    /// Forgets a lease that the coordinator took away, and stops what runs for it.
    pub(super) fn lose(&mut self, now_ms: u64, token: &Bytes, actions: &mut Vec<Action>) {
        self.leave_active(token);
        let Some(lease) = self.leases.remove(token) else {
            return;
        };
        self.counts.lost += 1;
        if let Hold::Running { run, .. } = lease.hold {
            self.stop(now_ms, run, StopReason::LeaseLost, actions);
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

    pub(super) fn cancelled(&mut self, now_ms: u64, cancel: &Cancel, actions: &mut Vec<Action>) {
        let token = &cancel.lease_token;
        match cancel.reason() {
            CancelReason::Requested | CancelReason::Unspecified => {
                match self.leases.get(token).map(|lease| &lease.hold) {
                    Some(&Hold::Running { run, .. }) => {
                        actions.push(Action::Signal {
                            run,
                            reason: StopReason::Requested,
                        });
                    }
                    Some(Hold::Buffered(_)) => {
                        self.end(token, None, Outcome::release("cancelled before it began"));
                    }
                    Some(Hold::Ended { .. }) | None => {}
                }
            }
            CancelReason::SoftTimeout => {
                if let Some(&Hold::Running { run, .. }) =
                    self.leases.get(token).map(|lease| &lease.hold)
                {
                    actions.push(Action::Signal {
                        run,
                        reason: StopReason::SoftTimeout,
                    });
                }
            }
            CancelReason::HardTimeout
            | CancelReason::LeaseLost
            | CancelReason::Deadline
            | CancelReason::Revoked => {
                // A result that is ready is still sent: the answer says what won.
                let settled = matches!(
                    self.leases.get(token).map(|lease| &lease.hold),
                    Some(Hold::Ended { .. }) | None
                );
                if !settled {
                    self.lose(now_ms, token, actions);
                }
            }
        }
    }

    pub(super) fn limits_changed(&mut self, change: &TimeoutsChange, actions: &mut Vec<Action>) {
        let Some(lease) = self.leases.get_mut(&change.lease_token) else {
            return;
        };
        match &mut lease.hold {
            Hold::Buffered(delivery) => {
                delivery.soft_timeout = change.soft_timeout;
                delivery.hard_timeout = change.hard_timeout;
            }
            Hold::Running {
                run,
                started_ms,
                soft_at,
                hard_at,
            } => {
                let at = |limit| wire::limit_ms(limit).map(|ms| started_ms.saturating_add(ms));
                let new = [at(change.soft_timeout), at(change.hard_timeout)];
                for ((old, new), limit) in [soft_at, hard_at]
                    .into_iter()
                    .zip(new)
                    .zip([Limit::Soft, Limit::Hard])
                {
                    if let Some(old) = old {
                        self.limits.remove(&(*old, *run, limit));
                    }
                    self.limits.extend(new.map(|at| (at, *run, limit)));
                    *old = new;
                }
                let [soft_at_ms, hard_at_ms] = new;
                actions.push(Action::Limits {
                    run: *run,
                    soft_at_ms,
                    hard_at_ms,
                });
            }
            Hold::Ended { .. } => {}
        }
    }

    pub(super) fn limit_reached(
        &mut self,
        now_ms: u64,
        run: RunId,
        limit: Limit,
        actions: &mut Vec<Action>,
    ) {
        let Some(slot) = self.slots.get_mut(&run) else {
            return;
        };
        match limit {
            Limit::Soft => actions.push(Action::Signal {
                run,
                reason: StopReason::SoftTimeout,
            }),
            Limit::Hard => {
                let token = slot.token.clone();
                let ran = match self.leases.get(&token).map(|lease| &lease.hold) {
                    Some(Hold::Running { started_ms, .. }) => now_ms.saturating_sub(*started_ms),
                    Some(Hold::Buffered(_) | Hold::Ended { .. }) | None => 0,
                };
                let ran = Duration::from_millis(ran);
                let text = format!("the run was ended at its hard limit, after {ran:?}");
                let timeout = Outcome::fail(failure(FailureClass::Timeout, HARD_TIMEOUT, &text));
                self.abort(now_ms, &token, (StopReason::HardTimeout, timeout), actions);
            }
            Limit::Stuck => {
                slot.stuck = true;
                self.stuck += 1;
            }
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

const HARD_TIMEOUT: &str = "rust:redrive_worker::HardTimeout";
const INVALID: &str = "rust:redrive_worker::InvalidReport";
const STOPPED: &str = "rust:redrive_worker::HandlerStopped";

fn within(size: usize, max: u64) -> bool {
    u64::try_from(size).is_ok_and(|size| size <= max)
}
