//! Operators, in the simulated world: they look, change, cancel, redrive, pause and go on.
//!
//! Owns where an operator's list or bulk act stopped. Never looks into the coordinator.

use redrive_coordinator::engine::command::{
    Bulk, BulkAct, Call, Caller, Cursor, ListTasks, Once, Selection, TaskRef,
};
use redrive_coordinator::engine::effect::Answer;
use redrive_coordinator::engine::filter::Filter;
use redrive_coordinator::engine::ids::QueueName;
use redrive_coordinator::engine::rejection::Rejection;

use super::situations::Situation;
use super::values::NAMESPACE;
use super::world::{Due, Who, World};

/// An operator.
#[derive(Debug, Default)]
pub struct Operator {
    waiting: bool,
    cursor: Option<Cursor>,
    requests: u64,
    paused: Vec<QueueName>,
}

impl World {
    /// An operator does the next thing.
    pub(super) fn operator_acts(&mut self, index: usize) {
        let us = self.dice.between(10_000, 400_000);
        self.agenda.after(us, Due::Act(Who::Operator(index)));
        if self.operators[index].waiting || self.healed {
            return;
        }
        let call = self.something(index);
        let caller = self.caller(index);
        self.operators[index].waiting = true;
        self.call(Who::Operator(index), caller, call);
    }

    fn caller(&mut self, index: usize) -> Caller {
        let by = self.values.word("ann");
        let once = (self.plan.keys && self.one_in(3)).then(|| {
            let operator = &mut self.operators[index];
            operator.requests += u64::from(!self.values.one_in(5));
            Box::new(Once {
                namespace: self.values.word(NAMESPACE),
                id: format!("operator-{index}-{}", operator.requests).into(),
                ttl_ms: 20_000,
                digest: operator.requests,
            })
        });
        Caller { by, once }
    }

    fn something(&mut self, index: usize) -> Call {
        // Whoever paused a queue lets it go on before long.
        if self.one_in(3)
            && let Some(queue) = self.operators[index].paused.pop()
        {
            return Call::ResumeQueue(queue);
        }
        let queue = self.values.queue();
        match self.dice.between(0, 20) {
            0 => {
                self.operators[index].paused.push(queue.clone());
                let reason = self.values.word("look");
                Call::PauseQueue { queue, reason }
            }
            1 | 2 if self.plan.settings => Call::ConfigureQueue {
                queue,
                change: self.values.queue_change(),
            },
            3 if self.plan.settings => self.about_kinds(),
            4..=6 => self.page(index, queue),
            7 => Call::DrainWorkers {
                namespace: self.values.word(NAMESPACE),
                workers: vec![self.values.word("worker-0")],
                reason: self.values.word("new build"),
                deadline_ms: Some(2000),
            },
            8 => Call::GetQueue(queue),
            9 => Call::ServerFacts,
            _ => self.about_a_task(queue),
        }
    }

    fn about_kinds(&mut self) -> Call {
        let name = self.values.kind_name();
        match self.dice.between(0, 4) {
            0 | 1 => Call::SetKind {
                name,
                settings: Box::new(self.values.kind_settings()),
            },
            2 => Call::DeleteKind(name),
            _ => Call::GetKind(name),
        }
    }

    fn about_a_task(&mut self, queue: QueueName) -> Call {
        let task = match self.some_task() {
            Some(id) if !self.plan.keys || !self.one_in(4) => TaskRef::Id(id),
            Some(_) | None => TaskRef::Key {
                queue,
                key: format!("key-{}", self.values.below(12)).into(),
            },
        };
        let reason = self.values.word("");
        match self.dice.between(0, 12) {
            0..=2 => Call::CancelTask {
                task,
                cancel: self.values.cancel(),
            },
            3 | 4 => Call::UpdateTask {
                task,
                change: Box::new(self.values.task_change()),
            },
            5..=7 => Call::RedriveTask {
                task,
                delay_ms: self.values.below(2) * 300,
                reason,
            },
            8 => Call::DiscardTask { task, reason },
            9 | 10 => Call::WaitTask {
                task,
                timeout_ms: self.values.below(3000),
            },
            _ => Call::GetTask(task),
        }
    }

    /// A step of a bulk act or of a list, from wherever the step before stopped.
    fn page(&mut self, index: usize, queue: QueueName) -> Call {
        let selection = Selection {
            namespace: self.values.word(NAMESPACE),
            queue: Some(queue).filter(|_| self.one_in(2)),
            filter: Filter::default(),
        };
        let after = self.operators[index].cursor.take();
        let count_max = self.values.one_of(&[1, 5, 100]);
        if self.one_in(3) {
            return Call::ListTasks(ListTasks {
                selection,
                after,
                count_max,
                dead_only: self.one_in(2),
            });
        }
        let act = match self.dice.between(0, 6) {
            0 => BulkAct::Count,
            1 => BulkAct::Discard,
            2 => BulkAct::CountLive,
            3 => BulkAct::Cancel(self.values.cancel()),
            _ => BulkAct::Redrive {
                delay_ms: self.values.below(2) * 500,
                step_us: 1000,
            },
        };
        Call::Bulk(Bulk {
            act,
            selection,
            before: self.judge.now().plus_ms(1),
            after,
            count_max,
            reason: self.values.word(""),
        })
    }

    /// An answer reaches an operator, or the word that none will come.
    pub(super) fn operator_hears(
        &mut self,
        index: usize,
        reply: Option<Result<Answer, Rejection>>,
    ) {
        self.operators[index].waiting = false;
        match reply {
            Some(Ok(Answer::Bulk { next, changed, .. })) => {
                if changed > 0 {
                    self.saw(Situation::BulkChanged);
                }
                self.operators[index].cursor = next;
            }
            Some(Ok(Answer::Page { next, .. })) => self.operators[index].cursor = next,
            Some(Ok(Answer::Waited { ended, .. })) => self.saw(if ended {
                Situation::WaitEnded
            } else {
                Situation::WaitTimedOut
            }),
            Some(Ok(Answer::Cancelled { over, .. })) => self.saw(if over {
                Situation::CancelOver
            } else {
                Situation::CancelAsked
            }),
            Some(Ok(_) | Err(_)) | None => {}
        }
    }
}
