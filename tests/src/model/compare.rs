//! The model and the coordinator side by side.
//!
//! Owns the comparisons: of what was touched, after each frame, and of everything, now and then.
//! They make sense only while all that the engine has recorded was shown to the model.

use redrive_coordinator::engine::Engine;
use redrive_coordinator::engine::ids::{ShardId, TaskId};

use super::task::Task;
use super::{Model, Rule};

impl Model {
    /// What was touched since the last time is the same on both sides.
    pub fn agrees(&mut self, engine: &Engine) {
        for id in std::mem::take(&mut self.touched) {
            self.compare(engine, id);
        }
    }

    fn compare(&mut self, engine: &Engine, id: TaskId) {
        let theirs = engine.ledger(id.shard()).and_then(|ledger| ledger.task(id));
        let theirs = theirs.map(Task::of);
        let differs = match (self.tasks.get(&id), &theirs) {
            (Some(mine), Some(theirs)) => mine.differs(theirs),
            (None, None) => None,
            (Some(_), None) | (None, Some(_)) => Some("existence"),
        };
        if let Some(what) = differs {
            let mine = self.tasks.get(&id);
            let says = format!("{id} has another {what}: {mine:?} and {theirs:?}");
            self.wrong(Rule::Replay, says);
        }
    }

    /// Everything is the same on both sides.
    pub fn agrees_whole(&mut self, engine: &Engine) {
        for shard in (0..self.settings.shard_count).map(ShardId) {
            let Some(ledger) = engine.ledger(shard) else {
                continue;
            };
            let mine = self.shards[usize::from(shard.0)].tasks;
            if mine != ledger.task_count() {
                let says = format!(
                    "{shard:?} has {} tasks, {mine} were made",
                    ledger.task_count()
                );
                self.wrong(Rule::Conservation, says);
            }
            for task in ledger.tasks_after(TaskId::MIN) {
                self.compare(engine, task.id);
            }
        }
    }

    /// Everything has come to an end: nobody waits, and nothing is on its way.
    pub fn drained(&mut self) {
        if self.waiting() > 0 || self.on_the_way() > 0 {
            let says = format!(
                "{} callers wait and {} tasks are on their way for ever",
                self.waiting(),
                self.on_the_way()
            );
            self.wrong(Rule::OneAnswer, says);
        }
    }
}
