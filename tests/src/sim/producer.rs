//! Producers, in the simulated world: they enqueue, and repeat what was not answered.
//!
//! Owns what a producer has on its way. Never looks into the coordinator.

use redrive_coordinator::engine::command::{Call, Caller, Enqueue, Once, Producer as Stream};
use redrive_coordinator::engine::effect::{Answer, EnqueueEffect};
use redrive_coordinator::engine::rejection::Rejection;

use super::situations::Situation;
use super::values::NAMESPACE;
use super::world::{Due, Who, World};

/// Tasks of one call.
const BATCH_MAX: u64 = 6;

/// A producer.
#[derive(Debug)]
pub struct Producer {
    name: String,
    /// What is on its way, to be sent again where nobody answers.
    sent: Option<(Caller, Enqueue)>,
    waiting: bool,
    sequence: u64,
    requests: u64,
}

impl Producer {
    /// A producer that was not there before.
    #[must_use]
    pub fn new(index: usize) -> Self {
        Self {
            name: format!("producer-{index}"),
            sent: None,
            waiting: false,
            sequence: 0,
            requests: 0,
        }
    }
}

impl World {
    /// A producer does the next thing.
    pub(super) fn producer_acts(&mut self, index: usize) {
        let us = self.dice.between(2000, 60_000);
        self.agenda.after(us, Due::Act(Who::Producer(index)));
        if self.producers[index].waiting {
            return;
        }
        let sent = self.producers[index].sent.take();
        let (caller, enqueue) = match sent {
            Some(again) => {
                self.saw(Situation::EnqueueSentAgain);
                again
            }
            None if self.healed => return,
            None => self.new_enqueue(index),
        };
        let repeatable = caller.once.is_some() || enqueue.producer.is_some();
        if repeatable {
            self.producers[index].sent = Some((caller.clone(), enqueue.clone()));
        }
        self.producers[index].waiting = true;
        self.call(Who::Producer(index), caller, Call::Enqueue(enqueue));
    }

    fn new_enqueue(&mut self, index: usize) -> (Caller, Enqueue) {
        let count = self.dice.between(1, BATCH_MAX + 1);
        let tasks = (0..count).map(|_| self.values.task()).collect();
        let mut enqueue = Enqueue {
            namespace: self.values.word(NAMESPACE),
            tasks,
            producer: None,
        };
        let mut caller = Caller::default();
        if !self.plan.keys {
            return (caller, enqueue);
        }
        let producer = &mut self.producers[index];
        match self.values.below(3) {
            0 => {
                let first = producer.sequence;
                producer.sequence += count;
                enqueue.producer = Some(Stream {
                    id: self.values.word(&producer.name),
                    sequences: (first..first + count)
                        .map(|sequence| sequence + 1)
                        .collect(),
                });
            }
            1 => {
                producer.requests += 1;
                // Sometimes an id that was used before, with another content.
                let reused = self.values.one_in(12);
                let number = producer.requests - u64::from(reused && producer.requests > 1);
                let id = format!("{}-{number}", producer.name);
                caller.once = Some(Box::new(Once {
                    namespace: self.values.word(NAMESPACE),
                    id: id.into(),
                    ttl_ms: self.values.one_of(&[1000, 20_000, 600_000]),
                    digest: producer.requests,
                }));
            }
            _ => {}
        }
        (caller, enqueue)
    }

    /// An answer reaches a producer, or the word that none will come.
    pub(super) fn producer_hears(
        &mut self,
        index: usize,
        reply: Option<Result<Answer, Rejection>>,
    ) {
        self.producers[index].waiting = false;
        match reply {
            Some(Ok(Answer::Enqueued(results))) => {
                self.producers[index].sent = None;
                for result in results {
                    match result {
                        Ok(accepted) => {
                            self.saw(match accepted.how {
                                EnqueueEffect::Created => Situation::EnqueueCreated,
                                EnqueueEffect::Existing => Situation::EnqueueExisting,
                                EnqueueEffect::Replaced => Situation::EnqueueReplaced,
                                EnqueueEffect::Rescheduled => Situation::EnqueueRescheduled,
                            });
                            self.learn(accepted.id);
                        }
                        Err(why) => self.note_refusal(&why),
                    }
                }
            }
            Some(Err(why)) => {
                self.producers[index].sent = None;
                self.note_refusal(&why);
            }
            Some(Ok(_)) | None => {}
        }
    }

    fn note_refusal(&mut self, why: &Rejection) {
        if let Rejection::MemoryFull { .. } = why {
            self.saw(Situation::MemoryFull);
        } else if let Rejection::DiskFull = why {
            self.saw(Situation::DiskFullRefused);
        } else if let Rejection::RequestIdReused { .. } = why {
            self.saw(Situation::RequestIdReused);
        } else if let Rejection::KeyReused { .. } = why {
            self.saw(Situation::KeyReused);
        } else if let Rejection::UniqueKeyHeld { .. } = why {
            self.saw(Situation::UniqueKeyHeld);
        } else if let Rejection::ShuttingDown = why {
            self.saw(Situation::RefusedShuttingDown);
        }
    }
}
