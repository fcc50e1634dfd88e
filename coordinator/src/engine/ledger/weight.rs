//! What tasks take: in memory, for accounting, and in the journal, for the cleaner.
//!
//! Owns the estimates. Memory is accounted exactly as they say (I9), so they are functions of the
//! task alone.

use super::Kept;
use super::more::More;
use super::task::{Finished, Lease, Own, Side, State, Task};
use super::terms::{Template, Terms};
use crate::engine::ids::TaskId;
use crate::engine::retry::PolicyRef;

/// What the allocator takes for a block besides the bytes that were asked for, on average. Bytes.
const ALLOCATION_BYTES: usize = 12;

impl Task {
    /// What every task takes in memory, as measured: the struct in its allocation, and its entries
    /// in the map of tasks and in a lane or among the timers, with an eighth for the room that is
    /// not used. Bytes.
    pub(crate) const FIXED_BYTES: u64 = {
        let entries = size_of::<(TaskId, Kept)>() + size_of::<(u64, TaskId)>();
        (size_of::<Self>() + ALLOCATION_BYTES + entries / 8 * 9) as u64
    };

    /// What it takes in memory, for accounting: the struct, what it owns, and its place in the
    /// indexes. Shared texts are counted where they are long and rarely shared.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let side = self.side.as_deref().map_or(0, Side::bytes);
        let own = self.own.as_deref().map_or(0, Own::bytes);
        let content_type = self
            .payload
            .content_type
            .as_ref()
            .map_or(0, |text| text.len());
        let extra = own + content_type + self.kind.len();
        let result = match &self.state {
            State::Finished(finished) => {
                size_of::<Finished>() + finished.result.as_ref().map_or(0, |p| p.data.len())
            }
            State::Leased(_) => size_of::<Lease>(),
            State::Pending { .. } | State::Dead { .. } => 0,
        };
        let payload = match self.payload.data.len() {
            0 => 0,
            bytes => bytes + ALLOCATION_BYTES,
        };
        Self::FIXED_BYTES + (payload + side + result + extra) as u64
    }

    /// About what an image of it takes in the journal: its texts and payloads, and a little for the
    /// rest. Bytes.
    #[must_use]
    pub fn image_bytes(&self) -> u64 {
        const FIXED_BYTES: usize = 72;
        const LEASE_BYTES: usize = 72;
        let policy = match self.policy() {
            Some(PolicyRef::Named(policy) | PolicyRef::Inline(policy)) => policy.bytes(),
            None => 0,
        };
        let content_type = self.payload.content_type.as_ref();
        let texts = self.queue.as_str().len() + self.kind.len();
        let texts = texts + content_type.map_or(0, |text| text.len());
        let state = match &self.state {
            State::Finished(finished) => {
                finished.label.as_ref().map_or(0, |label| label.len())
                    + finished.result.as_ref().map_or(0, |p| p.data.len())
            }
            State::Leased(_) => LEASE_BYTES,
            State::Pending { .. } | State::Dead { .. } => 0,
        };
        let side = self.side.as_deref().map_or(0, Side::image_bytes);
        let side = side + self.own.as_deref().map_or(0, Own::terms_bytes);
        (FIXED_BYTES + texts + self.payload.data.len() + policy + state + side) as u64
    }
}

impl Own {
    fn bytes(&self) -> usize {
        let policy = match &self.policy {
            Some(PolicyRef::Inline(policy)) => policy.bytes(),
            Some(PolicyRef::Named(_)) | None => 0,
        };
        size_of::<Self>() + ALLOCATION_BYTES + policy + self.terms_bytes()
    }

    pub(in crate::engine) fn terms_bytes(&self) -> usize {
        let terms = self.terms.as_deref();
        let terms = terms.map_or(0, |terms| size_of::<Terms>() + terms.bytes());
        terms + self.then.iter().map(Template::bytes).sum::<usize>()
    }
}

impl Side {
    fn bytes(&self) -> usize {
        let labels = self.labels.len() * 64;
        size_of::<Self>() + labels + self.texts_bytes() + self.history.bytes()
    }

    fn image_bytes(&self) -> usize {
        self.texts_bytes() + self.history.image_bytes()
    }

    fn texts_bytes(&self) -> usize {
        let labels = self.labels.iter().map(|(k, v)| k.len() + v.len());
        let failure = self.last_failure.as_ref().map_or(0, |f| {
            let ancestors: usize = f.ancestors.iter().map(|a| a.len() + 16).sum();
            f.message.len() + f.stack.len() + f.error_type.len() + ancestors
        });
        let checkpoint = self.checkpoint.as_ref().map_or(0, |c| c.data.len());
        let more = self.more.as_deref().map_or(0, More::bytes);
        labels.sum::<usize>() + failure + checkpoint + more
    }
}
