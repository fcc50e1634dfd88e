//! Follow-ups, chains and kinds in scripts, and the journal cut wherever a turn ended.
//!
//! Owns the words for what follows an end, and the restarts that must neither lose nor double it.

use std::collections::VecDeque;

use serde_json::Value;

use super::World;
use crate::codec::tests::through_the_codec;
use crate::engine::command::{Call, Command, NewTask};
use crate::engine::effect::{Answer, Effect};
use crate::engine::event::Recorded;
use crate::engine::ids::{QueueName, TaskId};
use crate::engine::ledger::kind::{Kind, KindName, KindSettings};
use crate::engine::ledger::task::{Payload, Priority, Task};
use crate::engine::ledger::terms::{FollowUps, Template, Terms, Transition};
use crate::engine::rejection::Rejection;
use crate::engine::{Engine, EngineConfig, Turn};

/// A queue of the scripts' namespace.
pub(in crate::engine::tests) fn named(queue: &str) -> QueueName {
    QueueName::new("default", queue).unwrap()
}

/// A later task of this kind, in the queue "after", which nobody serves unless a script says so.
pub(in crate::engine::tests) fn template(kind: &str) -> Template {
    Template {
        queue: Some(named("after")),
        kind: kind.into(),
        payload: Payload::default(),
        priority: Priority::Normal,
        delay_ms: 0,
        version: 0,
        labels: Vec::new(),
    }
}

/// One for each end; their kinds begin with this word.
pub(in crate::engine::tests) fn for_every_end(word: &str) -> FollowUps {
    let to = |end: &str| Some(Box::new(template(&format!("{word}-{end}"))));
    FollowUps {
        on_success: to("success"),
        on_failure: to("failure"),
        on_exhausted: to("exhausted"),
        on_cancelled: to("cancelled"),
    }
}

/// Terms that say what follows, and no more.
pub(in crate::engine::tests) fn followed(follow_ups: FollowUps) -> Terms {
    Terms {
        follow_ups,
        ..Terms::default()
    }
}

/// The same task with these terms.
pub(in crate::engine::tests) fn with_terms(task: NewTask, terms: Terms) -> NewTask {
    NewTask {
        terms: Some(Box::new(terms)),
        ..task
    }
}

/// The tasks of an engine that follow this end of a task, in the order of their making.
pub(in crate::engine::tests) fn followers_in(
    engine: &Engine,
    task: TaskId,
    transition: Option<Transition>,
) -> Vec<Task> {
    let shards = engine.core.shards().iter();
    let tasks = shards.flat_map(|shard| shard.ledger().tasks_after(TaskId::MIN));
    let follows = |task_: &&Task| {
        let cause = task_.more().and_then(|more| more.cause);
        cause.is_some_and(|cause| {
            cause.task == task && transition.is_none_or(|only| only == cause.transition)
        })
    };
    let mut followers: Vec<Task> = tasks.filter(follows).cloned().collect();
    followers.sort_by_key(|task| task.id);
    followers
}

/// Does everything that is on its way between shards; of what is sent, every second message is lost
/// where they are to be lost. What was recorded.
fn flow(engine: &mut Engine, world: &World, turn: Turn, lose: bool) -> Vec<Recorded> {
    let mut recorded = turn.events;
    let mut on_the_way: VecDeque<Effect> = turn.effects.into();
    let mut count = 0;
    while let Some(effect) = on_the_way.pop_front() {
        let Effect::Forward(transfer) = effect else {
            continue;
        };
        count += 1;
        if lose && count % 2 == 1 {
            continue;
        }
        let mut turn = Turn::default();
        engine.step(world.now, Command::Transfer(transfer), &mut turn);
        recorded.extend(turn.events);
        on_the_way.extend(turn.effects);
    }
    recorded
}

impl World {
    /// The tasks that follow this end of a task.
    pub(in crate::engine::tests) fn followers(
        &self,
        task: &str,
        transition: Transition,
    ) -> Vec<Task> {
        followers_in(&self.engine, self.id(task), Some(transition))
    }

    /// The one task that follows this end of a task.
    #[track_caller]
    pub(in crate::engine::tests) fn follower(&self, task: &str, transition: Transition) -> Task {
        let mut followers = self.followers(task, transition);
        assert_eq!(followers.len(), 1, "{followers:?}");
        followers.remove(0)
    }

    /// The ends of a task that something follows, with the kinds of what does.
    pub(in crate::engine::tests) fn fired(&self, task: &str) -> Vec<(Transition, String)> {
        let followers = followers_in(&self.engine, self.id(task), None);
        let fired = followers.iter().map(|follower| {
            let cause = follower.more().and_then(|more| more.cause);
            let cause = cause.expect("followers have a cause");
            (cause.transition, follower.kind.to_string())
        });
        let mut fired: Vec<_> = fired.collect();
        fired.sort();
        fired
    }

    /// The payload of a task, which is JSON.
    pub(in crate::engine::tests) fn json_of(task: &Task) -> Value {
        let content_type = task.payload.content_type.as_deref();
        assert_eq!(content_type, Some("application/json"));
        serde_json::from_slice(&task.payload.data).expect("it is JSON")
    }

    /// All that was recorded.
    pub(in crate::engine::tests) fn journal(&self) -> &[Recorded] {
        &self.journal
    }

    /// An operator says what holds for a kind, if he may.
    pub(in crate::engine::tests) fn set_kind_of(
        &mut self,
        kind: &str,
        settings: KindSettings,
    ) -> Result<Kind, Rejection> {
        let name: KindName = named(kind);
        let settings = Box::new(settings);
        let answer = self.call(Call::SetKind { name, settings })?;
        let Answer::Kind(kind) = answer else {
            panic!("no kind: {answer:?}")
        };
        Ok(*kind)
    }

    /// Looks at what every restart makes of the journal: for each turn, a coordinator that died
    /// right after it, began again, and let what was on its way arrive; once with a second death
    /// when half of that had been lost. Handed over with what the journal had at the first death,
    /// and whether all has arrived.
    pub(in crate::engine::tests) fn at_every_cut(
        &self,
        check: impl Fn(&[Recorded], &Engine, bool),
    ) {
        for end in &self.ends {
            let log = &self.journal[..*end];
            for lose in [false, true] {
                let mut log_after = log.to_vec();
                let engine = self.begun_again(&mut log_after, lose);
                check(log, &engine, !lose);
                if lose {
                    let engine = self.begun_again(&mut log_after, false);
                    check(log, &engine, true);
                }
            }
        }
    }

    /// What a restart makes of the journal from this record on, which begins its second segment.
    pub(in crate::engine::tests) fn cleaned(&self, from: usize) -> Engine {
        let mut engine = Engine::new(self.config.clone());
        engine.begin_replay(2);
        for recorded in through_the_codec(&self.journal[from..]) {
            engine.replay(&recorded).unwrap();
        }
        engine.end_replay().unwrap();
        engine
    }

    fn begun_again(&self, log: &mut Vec<Recorded>, lose: bool) -> Engine {
        // Another run draws other numbers: ids that it gives at the same instant are new ones.
        let seed = u64::MAX - log.len() as u64;
        let config = EngineConfig {
            seed,
            ..self.config.clone()
        };
        let mut engine = Engine::new(config);
        for recorded in through_the_codec(log) {
            engine.replay(&recorded).unwrap();
        }
        let mut turn = Turn::default();
        let epoch = engine.last_epoch() + 1;
        engine.begin_epoch(self.now, epoch, &mut turn);
        log.extend(flow(&mut engine, self, turn, lose));
        engine
    }
}
