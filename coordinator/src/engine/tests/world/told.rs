//! What a script reads: events and messages as lines of text.
//!
//! Owns the words. Everything that could surprise has a line; what every script expects has none.

use super::World;
use crate::engine::effect::{CancelReason, ReportStatus, ToWorker};
use crate::engine::event::Event;
use crate::engine::ids::{LeaseToken, LinkId};
use crate::engine::ledger::task::State;
use crate::engine::retry::DeadReason;

impl World {
    pub(super) fn note_event(&mut self, event: &Event) {
        let line = match event {
            Event::RetryScheduled {
                id,
                run,
                budget,
                not_before,
                ..
            } => {
                let wait = not_before.since_ms(self.now);
                let outcome = run.outcome;
                format!(
                    "{}: {outcome:?}, {budget:?}, again in {wait} ms",
                    self.name(*id)
                )
            }
            Event::TaskDied { id, reason, .. } => {
                format!("{}: dead, {}", self.name(*id), reason.name())
            }
            Event::TaskFinished { id, outcome, .. } => format!("{}: {outcome:?}", self.name(*id)),
            Event::TaskRedriven { id, .. } => format!("{}: redriven", self.name(*id)),
            Event::CancelRequested { id, .. } => format!("{}: cancel requested", self.name(*id)),
            Event::LeaseStarted { id, .. } => format!("{}: begun", self.name(*id)),
            Event::TaskExpired { id, reason, .. } => {
                format!("{}: dead, {}", self.name(*id), reason.name())
            }
            Event::TaskEdited { id, edit, .. } => {
                format!("{}: {}", self.name(*id), edit.what.name().to_lowercase())
            }
            Event::CheckpointSaved { id, .. } => format!("{}: checkpoint", self.name(*id)),
            Event::LeaseExtended { id, .. } => format!("{}: extended", self.name(*id)),
            Event::TransferReceived { task, .. } => {
                let dead = matches!(
                    task.state,
                    State::Dead {
                        reason: DeadReason::TransferInvalid,
                        ..
                    }
                );
                format!(
                    "arrived in {}{}",
                    task.queue.queue(),
                    if dead { ", dead" } else { "" }
                )
            }
            Event::TasksForgotten { ids } => format!("forgot {}", ids.len()),
            Event::EpochStarted { .. }
            | Event::Remembered { .. }
            | Event::RememberedMore { .. }
            | Event::MemoriesForgotten { .. }
            | Event::KindConfigured { .. }
            | Event::KindRemoved { .. }
            | Event::QueueConfigured { .. }
            | Event::QueuePaused { .. }
            | Event::QueueResumed { .. }
            | Event::TaskEnqueued { .. }
            | Event::LeaseGranted { .. }
            | Event::TimeoutsChanged { .. }
            | Event::ExpiredThrough { .. }
            | Event::TransferSent { .. }
            | Event::TransferConfirmed { .. }
            | Event::SegmentOpened { .. }
            | Event::TaskImage { .. }
            | Event::QueueImage { .. }
            | Event::TransferImage { .. }
            | Event::SegmentsCleaned { .. } => return,
        };
        self.told.push(line);
    }

    pub(super) fn note_told(&mut self, link: LinkId, message: ToWorker) {
        let worker = self.links.get(&link).cloned().unwrap_or_default();
        let line = match message {
            ToWorker::Welcome(welcome) => {
                let entry = self.workers.entry(worker).or_default();
                entry.session = Some(welcome.session);
                entry.resumed = welcome.resumed;
                entry.lost = welcome.lost;
                return;
            }
            ToWorker::Delivery(delivery) => {
                let key = (self.name(delivery.token.task), delivery.token.fence.run());
                self.tokens.insert(key.clone(), delivery.token);
                let line = format!("{worker} gets {}#{}", key.0, key.1);
                self.deliveries.insert(key, *delivery);
                line
            }
            ToWorker::Acks(acks) => {
                for ack in acks {
                    let token = LeaseToken::parse(&ack.raw_token);
                    let name = token.map_or_else(|| "?".to_owned(), |token| self.name(token.task));
                    let status = match ack.status {
                        ReportStatus::Invalid(rejection) => format!("invalid, {rejection}"),
                        status @ (ReportStatus::Recorded
                        | ReportStatus::Duplicate
                        | ReportStatus::Superseded
                        | ReportStatus::Gone) => format!("{status:?}").to_lowercase(),
                    };
                    self.told.push(format!("ack {name}: {status}"));
                }
                return;
            }
            ToWorker::Beats(acks) => {
                for ack in acks {
                    let token = LeaseToken::parse(&ack.raw_token);
                    let name = token.map_or_else(|| "?".to_owned(), |token| self.name(token.task));
                    let line = match (ack.refusal, ack.held) {
                        (Some(refusal), _) => format!("beat {name}: refused, {refusal}"),
                        (None, true) => format!("beat {name}: held"),
                        (None, false) => format!("beat {name}: lost"),
                    };
                    self.told.push(line);
                }
                return;
            }
            ToWorker::Cancel {
                token,
                reason,
                grace_ms,
                ..
            } => {
                let task = self.name(token.task);
                match grace_ms.filter(|_| reason == CancelReason::Requested) {
                    Some(ms) => format!("{worker} stop {task}: {reason:?} in {ms} ms"),
                    None => format!("{worker} stop {task}: {reason:?}"),
                }
            }
            ToWorker::Timeouts { token, timeouts } => {
                let (soft, hard) = (timeouts.soft_ms, timeouts.hard_ms);
                format!(
                    "{worker} limits {}: {soft:?} {hard:?}",
                    self.name(token.task)
                )
            }
            ToWorker::Ping { .. } => format!("ping {worker}"),
            ToWorker::Drain { .. } => format!("drain {worker}"),
            ToWorker::Reconnect { .. } => format!("reconnect {worker}"),
            ToWorker::Refused(rejection) => format!("refuse {worker}: {rejection}"),
        };
        self.told.push(line);
    }
}
