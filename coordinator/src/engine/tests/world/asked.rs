//! What a script asks as somebody: with a request id, as a producer, with keys.
//!
//! Owns the words for what makes asking twice harmless, and how scripts see that nothing changed.

use std::sync::Arc;

use super::{World, new_task, queue};
use crate::engine::command::{
    Call, Caller, Command, Enqueue, NewKeys, NewTask, NewUnique, OnConflict, Once, Producer,
    TaskRef,
};
use crate::engine::effect::{Accepted, Answer, EnqueueEffect};
use crate::engine::ids::{RequestId, TaskId};
use crate::engine::ledger::more::Scope;
use crate::engine::rejection::Rejection;

/// What became of the tasks of a call.
pub(in crate::engine::tests) type Results = Vec<Result<Accepted, Rejection>>;

/// A scope of these states.
pub(in crate::engine::tests) fn scope(states: &str) -> Scope {
    Scope {
        waiting: states.contains('w'),
        running: states.contains('r'),
        dead: states.contains('d'),
        finished: states.contains('f'),
    }
}

/// Somebody with a request id that is remembered for 10 s.
pub(in crate::engine::tests) fn with_id(id: &str, digest: u64) -> Caller {
    let once = Once {
        namespace: "default".into(),
        id: id.into(),
        ttl_ms: 10_000,
        digest,
    };
    Caller {
        by: "ann".into(),
        once: Some(Box::new(once)),
    }
}

/// A task with an idempotency key that is remembered for 10 s.
pub(in crate::engine::tests) fn keyed(queue: &str, key: &str, digest: u64) -> NewTask {
    let keys = NewKeys {
        key: Some(key.into()),
        window_ms: 10_000,
        digest,
        unique: None,
    };
    NewTask {
        keys: Some(Box::new(keys)),
        ..new_task(queue)
    }
}

/// A task that holds the key "k" in these states.
pub(in crate::engine::tests) fn unique(
    queue: &str,
    states: &str,
    on_conflict: OnConflict,
) -> NewTask {
    let unique = NewUnique {
        key: "k".into(),
        scope: scope(states),
        on_conflict,
        postpone_max_ms: None,
    };
    let keys = NewKeys {
        unique: Some(unique),
        ..NewKeys::default()
    };
    NewTask {
        keys: Some(Box::new(keys)),
        ..new_task(queue)
    }
}

/// A task by its idempotency key.
pub(in crate::engine::tests) fn by_key(of: &str, key: &str) -> TaskRef {
    TaskRef::Key {
        queue: queue(of),
        key: key.into(),
    }
}

/// A call of a producer that enqueues tasks with these sequences.
pub(in crate::engine::tests) fn sent_by(
    producer: &str,
    tasks: impl IntoIterator<Item = (u64, NewTask)>,
) -> Call {
    let (sequences, tasks) = tasks.into_iter().unzip();
    let id: Arc<str> = producer.into();
    Call::Enqueue(Enqueue {
        namespace: "default".into(),
        tasks,
        producer: Some(Producer { id, sequences }),
    })
}

/// The ids of tasks that were all accepted.
pub(in crate::engine::tests) fn ids(results: &Results) -> Vec<TaskId> {
    let id = |result: &Result<Accepted, Rejection>| result.as_ref().expect("accepted").id;
    results.iter().map(id).collect()
}

/// What was done for tasks that were all accepted.
pub(in crate::engine::tests) fn effects(results: &Results) -> Vec<EnqueueEffect> {
    let how = |result: &Result<Accepted, Rejection>| result.as_ref().expect("accepted").how;
    results.iter().map(how).collect()
}

impl World {
    /// Somebody calls the engine; the reply comes at once.
    pub(in crate::engine::tests) fn call_as(
        &mut self,
        caller: Caller,
        call: Call,
    ) -> Result<Answer, Rejection> {
        self.next += 1;
        let request = RequestId(self.next);
        self.give(Command::Call {
            request,
            caller,
            call,
        });
        let reply = self.replies.remove(&request);
        reply.expect("this call is answered at once")
    }

    /// Enqueues as somebody; what became of each task.
    pub(in crate::engine::tests) fn send_as(
        &mut self,
        caller: Caller,
        call: Call,
    ) -> Result<Results, Rejection> {
        let answer = self.call_as(caller, call)?;
        let Answer::Enqueued(results) = answer else {
            panic!("an enqueue is answered item by item: {answer:?}")
        };
        Ok(results)
    }

    /// Enqueues; what became of each task.
    pub(in crate::engine::tests) fn send(&mut self, call: Call) -> Results {
        self.send_as(Caller::default(), call).expect("answered")
    }

    /// Enqueues one task; what became of it.
    pub(in crate::engine::tests) fn send_one(
        &mut self,
        task: NewTask,
    ) -> Result<Accepted, Rejection> {
        self.send(super::enqueue_call(vec![task])).remove(0)
    }

    /// From now on nothing is counted anew after each step, or is again.
    pub(in crate::engine::tests) const fn check_nothing(&mut self, unchecked: bool) {
        self.unchecked = unchecked;
    }

    /// How many events there were so far.
    pub(in crate::engine::tests) fn recorded(&self) -> usize {
        self.journal.len()
    }

    /// How much is remembered in all shards.
    pub(in crate::engine::tests) fn memories(&self) -> usize {
        let shards = 0..self.config.shard_count;
        shards.map(|shard| self.ledger(shard).memory_count()).sum()
    }

    /// So few requests, keys and producers may be remembered in a shard.
    pub(in crate::engine::tests) const fn remember_at_most(&mut self, memories_max: usize) {
        self.engine.core.memories_max = memories_max;
    }
}
