//! Images: entities recorded again as they stand, so that older records of them may go.
//!
//! Owns how an image is applied and what is made of the shard itself when a segment of the journal
//! begins (rule 1). An image changes nothing but where the entity was last recorded; where the
//! entity is not known, which happens only in the replay of a log that was cleaned, it makes it.

use super::{Ledger, Outgoing};
use crate::engine::event::ShardImage;
use crate::engine::ids::ShardId;
use crate::engine::ledger::kind::Kind;
use crate::engine::ledger::queue::Queue;
use crate::engine::ledger::task::Task;

/// What an image of a queue takes in the journal, about. Bytes.
const QUEUE_IMAGE_BYTES: u64 = 160;

impl Ledger {
    /// The shard without its entities.
    #[must_use]
    pub fn image(&self) -> ShardImage {
        let sent = self.outgoing.iter().filter(|(_, out)| out.sent_through > 0);
        ShardImage {
            epoch: self.epoch,
            newest: self.newest(),
            sent_through: sent.map(|(to, out)| (*to, out.sent_through)).collect(),
            received_through: self
                .received_through
                .iter()
                .map(|(o, n)| (*o, *n))
                .collect(),
        }
    }

    /// About what images of all entities would take in the journal. Bytes.
    #[must_use]
    pub fn image_bytes(&self) -> u64 {
        let unconfirmed = self
            .outgoing
            .values()
            .flat_map(|out| out.unconfirmed.values());
        let transfers: u64 = unconfirmed.map(|task| task.image_bytes()).sum();
        let queues = self.queues.len() as u64 * QUEUE_IMAGE_BYTES;
        let kinds: u64 = self.kinds.values().map(Kind::image_bytes).sum();
        self.image_bytes + self.memory_bytes + transfers + queues + kinds
    }

    /// A log that begins here: the shard goes on from what this says.
    pub(super) fn adopt(&mut self, seq: u64, image: &ShardImage) {
        self.last_seq = seq - 1;
        self.epoch = image.epoch;
        self.newest = image.newest;
        for (target, sent_through) in &image.sent_through {
            let out = Outgoing {
                sent_through: *sent_through,
                ..Outgoing::default()
            };
            self.outgoing.insert(*target, out);
        }
        self.received_through
            .extend(image.received_through.iter().copied());
    }

    /// Whether this is what the shard is.
    pub(super) fn opens_with(&self, image: &ShardImage) -> bool {
        // Images of older builds do not know of what was forgotten.
        let newest = image.newest.max(self.newest);
        let known = ShardImage {
            newest,
            ..self.image()
        };
        *image == known
    }

    pub(super) fn segment_opened(&mut self, image: &ShardImage) {
        let known = self.opens_with(image);
        assert!(known, "a segment opens with what the shard is: {image:?}");
        self.newest = image.newest;
        self.passed = crate::engine::ids::Timestamp::default();
    }

    pub(super) fn task_image(&mut self, image: &Task) {
        let seq = self.last_seq;
        if !self.tasks.contains_key(&image.id) {
            self.insert(image);
            return;
        }
        let image = self.keep(image, seq);
        let task = self.tasks.get_mut(&image.id).expect("looked at just now");
        task.recorded_at = seq;
        assert_eq!(*task, image, "an image of a known task equals it");
    }

    pub(super) fn queue_image(&mut self, image: &Queue) {
        let image = Queue {
            recorded_at: self.last_seq,
            recorded_totals: image.totals,
            ..image.clone()
        };
        let known = self.queues.insert(image.name.clone(), image.clone());
        if let Some(known) = known.filter(|_| !self.partial) {
            let known = Queue {
                recorded_at: image.recorded_at,
                recorded_totals: image.recorded_totals,
                ..known
            };
            assert_eq!(known, image, "an image of a known queue equals it");
        }
    }

    pub(super) fn transfer_image(&mut self, target: ShardId, number: u64, image: &Task) {
        let image = self.keep(image, self.last_seq);
        let outgoing = self.outgoing.entry(target).or_default();
        assert!(
            number <= outgoing.sent_through,
            "only what was sent is recorded again"
        );
        match outgoing.unconfirmed.insert(number, image.clone()) {
            Some(mut known) => {
                known.recorded_at = image.recorded_at;
                assert_eq!(known, image, "an image of a known transfer equals it");
            }
            None => self.transfer_bytes += image.bytes(),
        }
    }
}
