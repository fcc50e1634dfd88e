//! What the session wants to send, made from its state when the stream has room.
//!
//! Nothing is queued: a newer receipt or capacity replaces an older one, and results that are ready
//! together leave together. Owns the limits of one message.

use bytes::Bytes;
use prost::Message as _;
use redrive_proto::v1::{
    BufferedLease, Goodbye, Hello, Pong, Receipt, Report, ReportBatch, WorkRequest,
    work_request::Message,
};

use super::{Link, Session, leases::Hold};
use crate::report::{REASON_BYTES_MAX, clip};

/// The most reports or heartbeats in one message.
pub(super) const BATCH_ITEMS_MAX: usize = 1_000;
/// The most bytes of reports in one message, unless a single one is larger; never above half of
/// what the coordinator takes. Heartbeats may exceed it by one of them.
pub(super) const BATCH_BYTES_MAX: u64 = 1_048_576;

impl Session {
    /// The first message of a new stream. From here on the Welcome is awaited.
    pub fn hello(&mut self, now_ms: u64) -> WorkRequest {
        self.link = Link::Greeting { since_ms: now_ms };
        self.untold = false;
        self.pong = None;
        self.receipt_due = false;
        self.unsent.clear();
        for lease in self.leases.values_mut() {
            if let Hold::Ended { sent, .. } = &mut lease.hold {
                *sent = false;
            }
        }
        self.capacity_told = self.capacity();
        request(Message::Hello(Hello {
            namespace: self.config.namespace.clone(),
            worker: Some(self.config.worker.clone()),
            session_id: self.session_id.clone(),
            held: self.leases.keys().cloned().collect(),
            capacity: Some(self.capacity_told),
            buffered: self.buffered_leases(),
        }))
    }

    fn buffered_leases(&self) -> Vec<BufferedLease> {
        let waiting = |token: &Bytes| {
            let lease = self.leases.get(token)?;
            Some(BufferedLease {
                lease_token: token.clone(),
                sequence: lease.sequence.unwrap_or_default(),
            })
        };
        self.buffer.iter().filter_map(waiting).collect()
    }

    /// True where [`Session::next_request`] has something to send.
    pub fn wants_to_send(&self) -> bool {
        self.link == Link::Up
            && (self.pong.is_some()
                || !self.unsent.is_empty()
                || self.receipt_due
                || self.beats.wants_to_send()
                || self.capacity() != self.capacity_told
                || self.wants_goodbye())
    }

    /// The next message to send; call it only when the stream can take one.
    pub fn next_request(&mut self) -> Option<WorkRequest> {
        if self.link != Link::Up {
            return None;
        }
        if let Some(nonce) = self.pong.take() {
            return Some(request(Message::Pong(Pong { nonce })));
        }
        // Before the reports: each frees a slot, which a worker on its way out must not get filled.
        let capacity = self.capacity();
        if capacity != self.capacity_told {
            self.capacity_told = capacity;
            return Some(request(Message::Capacity(capacity)));
        }
        if let Some(batch) = self.report_batch() {
            return Some(request(Message::Reports(batch)));
        }
        if self.receipt_due {
            self.receipt_due = false;
            return Some(request(Message::Receipt(self.receipt())));
        }
        if let Some(batch) = self.heartbeat_batch() {
            return Some(request(Message::Heartbeats(batch)));
        }
        if self.wants_goodbye() {
            self.finished = true;
            let reason = self
                .leaving
                .as_ref()
                .map_or("", |leaving| leaving.reason.as_str());
            let reason = clip(reason, REASON_BYTES_MAX);
            return Some(request(Message::Goodbye(Goodbye { reason })));
        }
        None
    }

    fn wants_goodbye(&self) -> bool {
        self.leaving.is_some() && self.leases.is_empty() && !self.finished
    }

    fn report_batch(&mut self) -> Option<ReportBatch> {
        let bytes_max = BATCH_BYTES_MAX.min(self.pace.message_bytes_max / 2);
        let mut reports = Vec::new();
        let mut bytes = 0_u64;
        while let Some(token) = self.unsent.front() {
            let Some(report) = self.take_report(&token.clone()) else {
                self.unsent.pop_front();
                continue;
            };
            let size = u64::try_from(report.encoded_len()).unwrap_or(u64::MAX);
            let full = reports.len() == BATCH_ITEMS_MAX || bytes.saturating_add(size) > bytes_max;
            if full && !reports.is_empty() {
                break;
            }
            bytes = bytes.saturating_add(size);
            self.mark_sent(&report.lease_token);
            reports.push(report);
            self.unsent.pop_front();
        }
        (!reports.is_empty()).then_some(ReportBatch { reports })
    }

    /// The report of a lease that ended and was not sent on this stream.
    fn take_report(&self, token: &Bytes) -> Option<Report> {
        match &self.leases.get(token)?.hold {
            Hold::Ended {
                report,
                sent: false,
                ..
            } => Some(Report::clone(report)),
            Hold::Ended { .. } | Hold::Buffered(_) | Hold::Running(_) => None,
        }
    }

    fn mark_sent(&mut self, token: &Bytes) {
        if let Some(lease) = self.leases.get_mut(token)
            && let Hold::Ended { sent, .. } = &mut lease.hold
        {
            *sent = true;
        }
    }

    fn receipt(&self) -> Receipt {
        let mut buffered: Vec<u64> = self
            .buffer
            .iter()
            .filter_map(|token| self.leases.get(token))
            .filter_map(|lease| lease.sequence)
            .collect();
        buffered.sort_unstable();
        Receipt {
            received_through: self.received_through,
            buffered,
        }
    }
}

fn request(message: Message) -> WorkRequest {
    WorkRequest {
        message: Some(message),
    }
}
