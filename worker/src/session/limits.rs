//! What ends a run, or asks it to end, from outside: cancels, time limits, deadlines.
//!
//! Owns the alarms of runs. They count on the caller's clock, connected or not: what the coordinator
//! would say is done without it where it cannot be heard.

use std::time::Duration;

use bytes::Bytes;
use redrive_proto::v1::{Cancel, CancelReason, FailureClass, TimeoutsChange};

use super::{
    Action, RunId, Session,
    leases::{Hold, Running},
    wire,
};
use crate::{
    context::StopReason,
    report::{Outcome, failure},
};

/// What a moment of a run is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Limit {
    /// It is asked to stop.
    Soft,
    /// It is ended.
    Hard,
    /// Its task's life is over, and with it the run.
    Deadline,
    /// The grace of its cancel is over.
    Revoked,
    /// It was stopped and should have returned its slot.
    Stuck,
}

impl Session {
    pub(super) fn cancelled(&mut self, now_ms: u64, cancel: Cancel, actions: &mut Vec<Action>) {
        let reason = cancel.reason();
        let token = &cancel.lease_token;
        match reason {
            CancelReason::Requested | CancelReason::Unspecified => {
                self.cancel_requested(now_ms, cancel, actions);
            }
            CancelReason::SoftTimeout => {
                let run = self.running_of(token).map(|running| running.run);
                actions.extend(run.map(|run| Action::Signal {
                    run,
                    reason: StopReason::SoftTimeout,
                }));
            }
            CancelReason::HardTimeout | CancelReason::LeaseLost => {
                self.take_away(now_ms, token, StopReason::LeaseLost, actions);
            }
            CancelReason::Deadline => {
                self.take_away(now_ms, token, StopReason::Deadline, actions);
            }
            CancelReason::Revoked => {
                self.take_away(now_ms, token, StopReason::Revoked, actions);
            }
        }
    }

    /// Somebody cancelled the task: its handler has until the end of the grace.
    fn cancel_requested(&mut self, now_ms: u64, cancel: Cancel, actions: &mut Vec<Action>) {
        let Some(lease) = self.leases.get_mut(&cancel.lease_token) else {
            return;
        };
        match &mut lease.hold {
            Hold::Running(running) => {
                // A later order replaces the grace of an earlier one.
                let revoked_at = wire::limit_ms(cancel.grace).map(|ms| now_ms.saturating_add(ms));
                let run = running.run;
                if let Some(old) = std::mem::replace(&mut running.revoked_at, revoked_at) {
                    self.limits.remove(&(old, run, Limit::Revoked));
                }
                self.limits
                    .extend(revoked_at.map(|at| (at, run, Limit::Revoked)));
                actions.push(Action::Cancel {
                    run,
                    until_ms: revoked_at,
                    detail: cancel.detail,
                });
            }
            Hold::Buffered(_) => {
                let outcome = Outcome::release("cancelled before it began");
                self.end(&cancel.lease_token, None, outcome);
            }
            Hold::Ended { .. } => {}
        }
    }

    /// Stops what is not over. A result that is ready is still sent: the answer says what won.
    pub(super) fn take_away(
        &mut self,
        now_ms: u64,
        token: &Bytes,
        reason: StopReason,
        actions: &mut Vec<Action>,
    ) {
        match self.leases.get(token).map(|lease| &lease.hold) {
            Some(Hold::Buffered(_) | Hold::Running(_)) => {
                self.lose(now_ms, token, reason, actions);
            }
            Some(Hold::Ended { .. }) | None => {}
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
            Hold::Running(running) => {
                for alarm in running.alarms() {
                    self.limits.remove(&alarm);
                }
                let from = running.started_ms;
                let at = |limit| wire::limit_ms(limit).map(|ms| from.saturating_add(ms));
                running.limits.soft = at(change.soft_timeout);
                running.limits.hard = at(change.hard_timeout);
                self.limits.extend(running.alarms());
                actions.push(Action::Limits {
                    run: running.run,
                    limits: running.limits,
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
        let settled = match limit {
            Limit::Soft => {
                actions.push(Action::Signal {
                    run,
                    reason: StopReason::SoftTimeout,
                });
                return;
            }
            Limit::Stuck => {
                slot.stuck = true;
                self.stuck += 1;
                return;
            }
            Limit::Hard => (
                StopReason::HardTimeout,
                self.timed_out(now_ms, run, "its hard limit"),
            ),
            Limit::Deadline => (
                StopReason::Deadline,
                self.timed_out(now_ms, run, "the task's deadline"),
            ),
            Limit::Revoked => (
                StopReason::Revoked,
                Outcome::release("the grace of the cancel is over"),
            ),
        };
        let Some(token) = self.slots.get(&run).map(|slot| slot.token.clone()) else {
            return;
        };
        self.abort(now_ms, &token, settled, actions);
    }

    fn timed_out(&self, now_ms: u64, run: RunId, limit: &str) -> Outcome {
        let ran = self
            .running(run)
            .map_or(0, |running| now_ms.saturating_sub(running.started_ms));
        let ran = Duration::from_millis(ran);
        let text = format!("the run was ended at {limit}, after {ran:?}");
        Outcome::fail(failure(FailureClass::Timeout, HARD_TIMEOUT, &text))
    }

    /// The run, while its lease is held and its handler may go on.
    pub(super) fn running(&self, run: RunId) -> Option<&Running> {
        let slot = self.slots.get(&run)?;
        self.running_of(&slot.token)
            .filter(|running| running.run == run)
    }

    /// The run of a lease that is held and whose handler may go on.
    pub(super) fn running_of(&self, token: &Bytes) -> Option<&Running> {
        match &self.leases.get(token)?.hold {
            Hold::Running(running) => Some(running),
            Hold::Buffered(_) | Hold::Ended { .. } => None,
        }
    }
}

const HARD_TIMEOUT: &str = "rust:redrive_worker::HardTimeout";
