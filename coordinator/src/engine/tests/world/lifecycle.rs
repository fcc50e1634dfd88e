//! How scripts speak of lives, heartbeats, cancels and kinds.
//!
//! Owns the words that came with them, and what watchers were told.

use bytes::Bytes;

use super::{World, new_task};
use crate::engine::command::{
    Call, Caller, Command, FromWorker, Heartbeat, HeartbeatContent, NewTask, QueueChange,
};
use crate::engine::effect::{Answer, Notice, NoticeKind};
use crate::engine::ids::{LeaseToken, QueueName, RequestId};
use crate::engine::ledger::history::RunRecord;
use crate::engine::ledger::kind::KindSettings;
use crate::engine::ledger::more::Act;
use crate::engine::ledger::task::{Payload, State};
use crate::engine::ledger::terms::{DeliveryMode, Terms};
use crate::engine::rejection::Rejection;
use crate::engine::retry::{Policy, PolicyRef, presets};

/// A task with these terms.
pub(in crate::engine::tests) fn with_terms(terms: Terms) -> NewTask {
    NewTask {
        terms: Some(Box::new(terms)),
        ..new_task("mail")
    }
}

/// A task that dies if no run has begun within this time.
pub(in crate::engine::tests) fn with_ttl(ttl_ms: u64) -> NewTask {
    with_terms(Terms {
        ttl_ms: Some(ttl_ms),
        ..Terms::default()
    })
}

/// A task whose life has this end.
pub(in crate::engine::tests) fn with_deadline(deadline_ms: u64) -> NewTask {
    with_terms(Terms {
        deadline_ms: Some(deadline_ms),
        ..Terms::default()
    })
}

/// A task that must not run twice.
pub(in crate::engine::tests) fn once() -> NewTask {
    with_terms(Terms {
        delivery: Some(DeliveryMode::AtMostOnce),
        ..Terms::default()
    })
}

/// A queue of the namespace of scripts.
pub(in crate::engine::tests) fn queue(name: &str) -> QueueName {
    QueueName::new("default", name).unwrap()
}

/// A policy for one task alone.
pub(in crate::engine::tests) fn inline(policy: Policy) -> PolicyRef {
    PolicyRef::Inline(policy.into())
}

/// A policy that has a name.
pub(in crate::engine::tests) fn named(name: &str) -> PolicyRef {
    PolicyRef::Named(presets::named(name).unwrap())
}

/// Some text as a payload.
pub(in crate::engine::tests) fn text(text: &str) -> Payload {
    Payload {
        data: Bytes::copy_from_slice(text.as_bytes()),
        content_type: None,
    }
}

/// A heartbeat of a run that says nothing yet.
pub(in crate::engine::tests) fn beat_of(
    token: LeaseToken,
    say: impl FnOnce(&mut HeartbeatContent),
) -> Heartbeat {
    let mut content = HeartbeatContent {
        token,
        progress: None,
        checkpoint: None,
        timeouts: None,
    };
    say(&mut content);
    Heartbeat {
        raw_token: Bytes::copy_from_slice(&token.to_bytes()),
        content: Ok(content),
    }
}

impl World {
    /// A world in which this task runs on worker w1 as t1.
    pub(in crate::engine::tests) fn running(task: NewTask) -> Self {
        let mut world = Self::new();
        world.enqueue_as("t1", task);
        world.hello("w1", &["mail"], 1);
        world.begin("w1");
        world.quiet();
        world
    }

    /// A world in which this task runs as t1, without a stream.
    pub(in crate::engine::tests) fn running_unary(task: NewTask) -> Self {
        let mut world = Self::new();
        world.enqueue_as("t1", task);
        let request = world.lease("cron", "mail", 1, 0);
        world.leased(request);
        world.quiet();
        world
    }

    /// Somebody calls under a name; the reply comes at once.
    pub(in crate::engine::tests) fn call_by(
        &mut self,
        by: &str,
        call: Call,
    ) -> Result<Answer, Rejection> {
        self.next += 1;
        let request = RequestId(self.next);
        let caller = Caller {
            by: by.into(),
            once: None,
        };
        self.give(Command::Call {
            request,
            caller,
            call,
        });
        let reply = self.replies.remove(&request);
        reply.expect("this call is answered at once")
    }

    /// A handler says how its run goes.
    pub(in crate::engine::tests) fn beat(
        &mut self,
        worker: &str,
        task: (&str, u32),
        say: impl FnOnce(&mut HeartbeatContent),
    ) {
        let beat = beat_of(self.token(task.0, task.1), say);
        self.say(worker, FromWorker::Heartbeats(vec![beat]));
    }

    /// A handler leaves a checkpoint.
    pub(in crate::engine::tests) fn checkpoint(
        &mut self,
        worker: &str,
        task: (&str, u32),
        saved: &str,
    ) {
        self.beat(worker, task, |beat| beat.checkpoint = Some(text(saved)));
    }

    /// What the next run of t1 would be handed, as it is recorded.
    pub(in crate::engine::tests) fn recorded_checkpoint(&mut self) -> Option<String> {
        let side = self.view("t1").task.side?;
        let saved = side.checkpoint?;
        Some(String::from_utf8(saved.data.to_vec()).unwrap())
    }

    /// What a run was handed.
    pub(in crate::engine::tests) fn handed(&self, task: (&str, u32)) -> Option<String> {
        let delivery = &self.deliveries[&(task.0.to_owned(), task.1)];
        let saved = delivery.checkpoint.as_ref()?;
        Some(String::from_utf8(saved.data.to_vec()).unwrap())
    }

    /// Changes what holds for a queue.
    pub(in crate::engine::tests) fn configure(&mut self, name: &str, change: QueueChange) {
        let queue = queue(name);
        self.call(Call::ConfigureQueue { queue, change }).unwrap();
    }

    /// Says what holds for the kind of all scripts.
    pub(in crate::engine::tests) fn set_kind(&mut self, settings: KindSettings) {
        let settings = Box::new(settings);
        let name = queue("work");
        self.call(Call::SetKind { name, settings }).unwrap();
    }

    /// Why a task is dead.
    pub(in crate::engine::tests) fn dead_because(&mut self, task: &str) -> &'static str {
        match self.view(task).task.state {
            State::Dead { reason, .. } => reason.name(),
            State::Pending { .. } | State::Leased(_) | State::Finished(_) => "not dead",
        }
    }

    /// The latest run of a task.
    pub(in crate::engine::tests) fn last_run(&mut self, task: &str) -> RunRecord {
        let side = self.view(task).task.side.expect("it has run");
        side.history.runs().last().expect("it has run").clone()
    }

    /// What people did to a task.
    pub(in crate::engine::tests) fn acts(&mut self, task: &str) -> Vec<Act> {
        let task = self.view(task).task;
        task.more().map_or_else(Vec::new, |more| more.acts.clone())
    }

    /// The same as lines: what, by whom, why.
    pub(in crate::engine::tests) fn act_lines(&mut self, task: &str) -> Vec<String> {
        let acts = self.acts(task).into_iter();
        let line = |act: Act| format!("{} by {}: {}", act.what.name(), act.by, act.note);
        acts.map(line).collect()
    }

    /// The latest notices of a kind.
    pub(in crate::engine::tests) fn noticed(&self, kind: NoticeKind) -> Vec<&Notice> {
        let notices = self.notices.iter();
        notices.filter(|notice| notice.kind == kind).collect()
    }
}
