//! Packs what a worker is told into as few messages as possible.
//!
//! Owns how much one message holds. Never reorders: only neighbours of the same kind are joined, so
//! that what the engine said first is heard first.

use std::collections::VecDeque;

use prost::Message as _;
use redrive_proto::v1 as pb;
use redrive_proto::v1::work_response::Message;

use super::convert::beat;
use super::convert::delivery::{cancel_view, delivery_view, timeouts_change, welcome_view};
use super::convert::field::duration;
use super::convert::report::ack_view;
use super::status::Refused;
use crate::engine::effect::{BeatAck, Delivery, ReportAck, ToWorker};
use crate::engine::limits;

/// Messages in the making, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Packer {
    messages: VecDeque<Message>,
    /// Bytes of the deliveries in the last message, while that is what it holds.
    batch_bytes: usize,
}

impl Packer {
    /// The next message.
    pub(crate) fn pop(&mut self) -> Option<pb::WorkResponse> {
        self.messages.pop_front().map(|message| pb::WorkResponse {
            message: Some(message),
        })
    }

    /// Puts one more thing behind what is there.
    pub(crate) fn add(&mut self, told: ToWorker) {
        let message = match told {
            ToWorker::Delivery(delivery) => return self.deliver(*delivery),
            ToWorker::Acks(acks) => return self.acknowledge(acks),
            ToWorker::Beats(acks) => return self.answer_beats(acks),
            ToWorker::Cancel {
                token,
                reason,
                grace_ms,
                detail,
            } => {
                return self.cancel(cancel_view(token, reason, grace_ms, &detail));
            }
            ToWorker::Timeouts { token, timeouts } => {
                return self.change_timeouts(timeouts_change(token, timeouts));
            }
            ToWorker::Welcome(welcome) => Message::Welcome(welcome_view(&welcome, super::VERSION)),
            ToWorker::Ping { nonce } => Message::Ping(pb::Ping { nonce }),
            ToWorker::Drain {
                reason,
                deadline_ms,
            } => Message::Drain(pb::Drain {
                reason: reason.to_string(),
                deadline: deadline_ms.map(duration),
            }),
            ToWorker::Reconnect { reason, after_ms } => Message::Reconnect(pb::Reconnect {
                reason: reason.to_string(),
                after: Some(duration(after_ms)),
            }),
            ToWorker::Refused(rejection) => {
                Message::Refusal(Refused::Rejected(rejection).refusal())
            }
        };
        self.messages.push_back(message);
    }

    /// Says that the last message from the worker could not be used.
    pub(crate) fn refuse(&mut self, refusal: pb::Refusal) {
        self.messages.push_back(Message::Refusal(refusal));
    }

    fn deliver(&mut self, delivery: Delivery) {
        let delivery = delivery_view(delivery);
        let bytes = delivery.encoded_len();
        if let Some(Message::Deliveries(batch)) = self.messages.back_mut()
            && batch.deliveries.len() < limits::DELIVERY_BATCH_ITEMS_MAX
            && self.batch_bytes + bytes <= limits::DELIVERY_BATCH_BYTES_MAX
        {
            batch.deliveries.push(delivery);
            self.batch_bytes += bytes;
            return;
        }
        self.batch_bytes = bytes;
        let batch = pb::DeliveryBatch {
            deliveries: vec![delivery],
        };
        self.messages.push_back(Message::Deliveries(batch));
    }

    fn acknowledge(&mut self, acks: Vec<ReportAck>) {
        for ack in acks.into_iter().map(ack_view) {
            match self.messages.back_mut() {
                Some(Message::ReportAcks(batch)) if batch.acks.len() < limits::BATCH_ITEMS_MAX => {
                    batch.acks.push(ack);
                }
                Some(_) | None => {
                    let batch = pb::ReportAckBatch { acks: vec![ack] };
                    self.messages.push_back(Message::ReportAcks(batch));
                }
            }
        }
    }

    fn answer_beats(&mut self, acks: Vec<BeatAck>) {
        for ack in acks.into_iter().map(beat::ack_view) {
            match self.messages.back_mut() {
                Some(Message::HeartbeatAcks(batch))
                    if batch.acks.len() < limits::BATCH_ITEMS_MAX =>
                {
                    batch.acks.push(ack);
                }
                Some(_) | None => {
                    let batch = pb::HeartbeatAckBatch { acks: vec![ack] };
                    self.messages.push_back(Message::HeartbeatAcks(batch));
                }
            }
        }
    }

    fn cancel(&mut self, cancel: pb::Cancel) {
        match self.messages.back_mut() {
            Some(Message::Cancels(batch)) if batch.cancels.len() < limits::BATCH_ITEMS_MAX => {
                batch.cancels.push(cancel);
            }
            Some(_) | None => {
                let batch = pb::CancelBatch {
                    cancels: vec![cancel],
                };
                self.messages.push_back(Message::Cancels(batch));
            }
        }
    }

    fn change_timeouts(&mut self, change: pb::TimeoutsChange) {
        match self.messages.back_mut() {
            Some(Message::Timeouts(batch)) if batch.changes.len() < limits::BATCH_ITEMS_MAX => {
                batch.changes.push(change);
            }
            Some(_) | None => {
                let batch = pb::TimeoutsBatch {
                    changes: vec![change],
                };
                self.messages.push_back(Message::Timeouts(batch));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::engine::effect::{CancelReason, ReportStatus};
    use crate::engine::ledger::task::Timeouts;
    use crate::server::convert::delivery::tests::sample;

    fn delivery(sequence: u64, bytes: usize) -> ToWorker {
        ToWorker::Delivery(Box::new(sample(sequence, bytes)))
    }

    fn ack() -> ReportAck {
        ReportAck {
            raw_token: Bytes::new(),
            status: ReportStatus::Recorded,
            state: None,
            next_attempt_at: None,
        }
    }

    fn packed(told: Vec<ToWorker>) -> Vec<Message> {
        let mut packer = Packer::default();
        told.into_iter().for_each(|told| packer.add(told));
        std::iter::from_fn(|| packer.pop())
            .map(|response| response.message.unwrap())
            .collect()
    }

    fn sizes(messages: &[Message]) -> Vec<usize> {
        let size = |message: &Message| match message {
            Message::Deliveries(batch) => batch.deliveries.len(),
            Message::ReportAcks(batch) => batch.acks.len(),
            Message::Cancels(batch) => batch.cancels.len(),
            Message::Timeouts(batch) => batch.changes.len(),
            Message::HeartbeatAcks(batch) => batch.acks.len(),
            Message::Welcome(_)
            | Message::Ping(_)
            | Message::Drain(_)
            | Message::Reconnect(_)
            | Message::Refusal(_) => 0,
        };
        messages.iter().map(size).collect()
    }

    #[test]
    fn neighbours_of_a_kind_share_a_message_and_nothing_is_reordered() {
        let token = sample(1, 0).token;
        let cancel = || ToWorker::Cancel {
            token,
            reason: CancelReason::Requested,
            grace_ms: None,
            detail: "".into(),
        };
        let messages = packed(vec![
            delivery(1, 10),
            delivery(2, 10),
            ToWorker::Acks(vec![ack(), ack()]),
            ToWorker::Acks(vec![ack()]),
            ToWorker::Ping { nonce: 7 },
            cancel(),
            cancel(),
            delivery(3, 10),
        ]);
        assert_eq!(sizes(&messages), [2, 3, 0, 2, 1]);
        assert!(matches!(messages[2], Message::Ping(pb::Ping { nonce: 7 })));
        let Message::Deliveries(last) = &messages[4] else {
            panic!("deliveries at the end")
        };
        assert_eq!(last.deliveries[0].sequence, 3);
    }

    #[test]
    fn a_message_of_deliveries_is_bounded_in_number() {
        let many = (0..600).map(|sequence| delivery(sequence, 0)).collect();
        assert_eq!(sizes(&packed(many)), [256, 256, 88]);
    }

    #[test]
    fn a_message_of_deliveries_is_bounded_in_bytes_but_a_large_one_goes_alone() {
        let half = limits::DELIVERY_BATCH_BYTES_MAX / 2;
        let whole = limits::PAYLOAD_BYTES_MAX;
        let told = vec![
            delivery(1, half - 1000),
            delivery(2, half - 1000),
            delivery(3, whole),
        ];
        let messages = packed(told);
        assert_eq!(sizes(&messages), [2, 1]);
        for message in messages {
            let response = pb::WorkResponse {
                message: Some(message),
            };
            assert!(response.encoded_len() <= limits::MESSAGE_BYTES_MAX);
        }
    }

    #[test]
    fn acknowledgements_are_bounded_in_number() {
        let acks = vec![ack(); 2500];
        assert_eq!(
            sizes(&packed(vec![ToWorker::Acks(acks)])),
            [1000, 1000, 500]
        );
    }

    #[test]
    fn heartbeats_are_answered_together_and_bounded_in_number() {
        let ack = BeatAck {
            raw_token: Bytes::from_static(b"t"),
            held: false,
            timeouts: Timeouts::default(),
            refusal: None,
        };
        let beats = |count| ToWorker::Beats(vec![ack.clone(); count]);
        let messages = packed(vec![beats(2), beats(1000)]);
        assert_eq!(sizes(&messages), [1000, 2]);
        let Message::HeartbeatAcks(batch) = &messages[0] else {
            panic!("acknowledgements of heartbeats")
        };
        assert!(!batch.acks[0].held);
    }
}
