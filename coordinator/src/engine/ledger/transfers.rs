//! Transfers on their way, and what events say of queues.
//!
//! Owns how these events change the ledger; called from [`Ledger::apply`], and from nowhere else.

use super::Ledger;
use super::queue::Queue;
use super::task::Task;
use crate::engine::event::Event;
use crate::engine::ids::{QueueName, ShardId};

impl Ledger {
    pub(super) fn transfer_sent(&mut self, target: ShardId, number: u64, task: &Task) {
        let task = self.keep(task, self.last_seq);
        let outgoing = self.outgoing.entry(target).or_default();
        assert_eq!(number, outgoing.sent_through + 1, "transfers are dense");
        outgoing.sent_through = number;
        self.transfer_bytes += task.bytes();
        outgoing.unconfirmed.insert(number, task);
    }

    pub(super) fn transfer_received(&mut self, origin: ShardId, number: u64, task: &Task) {
        let through = self.received_through.entry(origin).or_default();
        assert_eq!(number, *through + 1, "transfers arrive in order");
        *through = number;
        self.accept(task);
    }

    pub(super) fn transfer_confirmed(&mut self, target: ShardId, through: u64) {
        let outgoing = self.outgoing.entry(target).or_default();
        let left = outgoing.unconfirmed.split_off(&(through + 1));
        let confirmed = std::mem::replace(&mut outgoing.unconfirmed, left);
        let freed: u64 = confirmed.values().map(|task| task.bytes()).sum();
        self.transfer_bytes -= freed;
    }

    pub(super) fn queue_event(&mut self, seq: u64, event: &Event) {
        if let Event::QueueConfigured {
            queue,
            settings,
            revision,
        } = event
        {
            let entry = self
                .queues
                .entry(queue.clone())
                .or_insert_with(|| Queue::new(queue.clone(), seq));
            entry.settings = settings.clone();
            entry.revision = *revision;
        } else if let Event::QueuePaused { queue, pause, by } = event {
            let queue = self.queue_mut(queue);
            queue.paused = Some(pause.clone());
            queue.paused_by = by.clone();
        } else if let Event::QueueResumed { queue } = event {
            let queue = self.queue_mut(queue);
            queue.paused = None;
            queue.paused_by = "".into();
        }
    }

    fn queue_mut(&mut self, name: &QueueName) -> &mut Queue {
        self.queues
            .get_mut(name)
            .expect("an event speaks of a queue that exists")
    }
}
