//! Samples of what came with Lifecycle: with everything that it can have, and with nothing.
//!
//! Owns them. Golden bytes were made from them: they never change.

use std::collections::VecDeque;
use std::sync::Arc;

use super::samples::AT;
use super::values::{
    full_run, full_task, id, leaves, pause, payload, plain_task, policy, queue, settings, timeouts,
};
use crate::engine::edit::Edit;
use crate::engine::event::Event;
use crate::engine::ids::{Fence, QueueName, SessionId};
use crate::engine::ledger::history::{History, RunRecord};
use crate::engine::ledger::kind::{Kind, KindSettings};
use crate::engine::ledger::memory::{Memory, MemoryKey};
use crate::engine::ledger::more::{Act, ActKind, CancelOrder, Cause, Life, More, Scope, Unique};
use crate::engine::ledger::queue::{Queue, QueueSettings};
use crate::engine::ledger::task::{
    Finished, Holder, Lease, Outcome, Own, Payload, Priority, Side, State, Task, Timeouts,
};
use crate::engine::ledger::terms::{DeliveryMode, FollowUps, Source, Template, Terms, Transition};
use crate::engine::retry::policy::Rule;
use crate::engine::retry::{DeadReason, Policy, PolicyRef};

fn template(kind: &str) -> Template {
    Template {
        queue: Some(queue()),
        kind: kind.into(),
        payload: payload("why"),
        priority: Priority::High,
        delay_ms: 1500,
        version: 3,
        labels: vec![("a".into(), "b".into())],
    }
}

fn bare_template() -> Template {
    Template {
        queue: None,
        kind: "k".into(),
        payload: Payload::default(),
        priority: Priority::Normal,
        delay_ms: 0,
        version: 0,
        labels: Vec::new(),
    }
}

fn terms() -> Terms {
    Terms {
        ttl_ms: Some(60_000),
        deadline_ms: Some(3_600_000),
        result_ttl_ms: Some(0),
        delivery: Some(DeliveryMode::AtMostOnce),
        follow_ups: FollowUps {
            on_success: Some(Box::new(template("s"))),
            on_failure: Some(Box::new(template("f"))),
            on_exhausted: Some(Box::new(template("e"))),
            on_cancelled: Some(Box::new(bare_template())),
        },
    }
}

fn act(what: ActKind) -> Act {
    Act {
        at: AT.plus_ms(9),
        what,
        by: "ops@host".into(),
        note: "the upstream is mended".into(),
    }
}

fn more() -> More {
    let kinds = [
        ActKind::Redriven,
        ActKind::Edited,
        ActKind::Replaced,
        ActKind::Rescheduled,
        ActKind::CancelRequested,
    ];
    More {
        key: Some("order-17".into()),
        unique: Some(Unique {
            key: "customer-4".into(),
            scope: Scope {
                waiting: true,
                running: true,
                dead: true,
                finished: true,
            },
        }),
        life: Some(Life {
            ttl_ms: Some(60_000),
            deadline_ms: Some(3_600_000),
            from: AT,
            begun: true,
        }),
        cause: Some(Cause {
            task: id(2),
            transition: Transition::Then,
        }),
        visited: vec![queue(), QueueName::new("default", "dead").unwrap()],
        acts: kinds.into_iter().map(act).collect(),
        acts_omitted: 12,
    }
}

fn order() -> CancelOrder {
    CancelOrder {
        at: AT.plus_ms(70_100),
        until: Some(AT.plus_ms(80_000)),
        by: "ops@host".into(),
        reason: "sent twice".into(),
    }
}

fn own() -> Own {
    let limits = Timeouts {
        extend_max_ms: Some(600_000),
        ..timeouts()
    };
    Own {
        max_attempts: Some(4),
        timeouts: Some(limits),
        policy: Some(PolicyRef::Inline(routing_policy().into())),
        terms: Some(Box::new(terms())),
        then: vec![template("next"), bare_template()],
    }
}

fn routing_policy() -> Policy {
    let rule = |rule: Rule| Rule {
        dead_letter_queue: Some("dead".into()),
        ..rule
    };
    let policy = policy();
    Policy {
        rules: policy.rules.into_iter().map(rule).collect(),
        ..policy
    }
}

/// A task with everything that came with Lifecycle.
pub(super) fn fullest_task() -> Task {
    let mut history = History::default();
    history.push(RunRecord {
        policy_source: Source::Kind,
        policy_revision: 300,
        ..full_run(1)
    });
    let lease = Lease {
        fence: Fence::new(1_800_000_000, 19),
        nonce: 5,
        holder: Holder::Session(SessionId(1)),
        worker: "worker-1".into(),
        granted_at: AT.plus_ms(70_000),
        timeouts: timeouts(),
        started_at: None,
        cancel_requested: true,
        cancel: Some(Box::new(order())),
        delivery: DeliveryMode::AtMostOnce,
    };
    Task {
        version: 3,
        state: State::Leased(Box::new(lease)),
        own: Some(Box::new(own())),
        side: Some(Box::new(Side {
            tally: full_task().tally(),
            history,
            more: Some(Box::new(more())),
            ..Side::default()
        })),
        ..full_task()
    }
}

fn tasks() -> Vec<Event> {
    let bare_more = Task {
        side: Some(Box::new(Side {
            more: Some(Box::default()),
            ..Side::default()
        })),
        ..plain_task()
    };
    let finished = Finished {
        outcome: Outcome::Cancelled,
        at: AT,
        result: None,
        label: None,
        expires_at: Some(AT.plus_ms(60_000)),
    };
    let finished = Task {
        state: State::Finished(Box::new(finished)),
        ..plain_task()
    };
    let reasons = [
        DeadReason::TtlExpired,
        DeadReason::DeadlineExceeded,
        DeadReason::LeaseLost,
    ];
    let dead = reasons.map(|reason| Task {
        state: State::Dead { reason, at: AT },
        ..plain_task()
    });
    let images = [fullest_task(), bare_more, finished];
    let images = images.into_iter().chain(dead);
    let image = |task| Event::TaskImage {
        task: Box::new(task),
    };
    images.map(image).collect()
}

fn edits() -> Vec<Event> {
    let full = Edit {
        what: ActKind::Replaced,
        by: "ops@host".into(),
        note: "because".into(),
        payload: Some(payload("new")),
        version: Some(4),
        priority: Some(Priority::Highest),
        labels: Some(vec![("a".into(), "b".into())]),
        own: Some(Box::new(own())),
        not_before: Some(AT.plus_ms(10)),
        life: Some(Life {
            from: AT.plus_ms(10),
            ..Life::default()
        }),
    };
    let bare = Edit::new(ActKind::Edited, "".into(), "".into());
    let edited = |edit| Event::TaskEdited {
        id: id(7),
        at: AT.plus_ms(2),
        edit: Box::new(edit),
    };
    vec![edited(full), edited(bare)]
}

fn memories() -> Vec<Event> {
    let (namespace, text): (Arc<str>, Arc<str>) = ("default".into(), "7b1".into());
    let keys = [
        MemoryKey::Request {
            namespace: namespace.clone(),
            id: text.clone(),
        },
        MemoryKey::Key {
            queue: queue(),
            key: text.clone(),
        },
        MemoryKey::Producer {
            namespace,
            id: text,
        },
    ];
    let memory = |tasks| {
        Box::new(Memory {
            at: AT,
            expires_at: AT.plus_ms(600_000),
            digest: u64::MAX,
            tasks,
            recorded_at: 0,
        })
    };
    let tasks = VecDeque::from([(0, id(1)), (1 << 40, id(2))]);
    let lists = [tasks.clone(), VecDeque::new(), tasks];
    let remembered = keys
        .iter()
        .zip(lists)
        .map(|(key, tasks)| Event::Remembered {
            key: key.clone(),
            memory: memory(tasks),
        });
    let mut events: Vec<Event> = remembered.collect();
    events.push(Event::RememberedMore {
        key: keys[2].clone(),
        tasks: vec![(9, id(9))],
        expires_at: AT.plus_ms(3_600_000),
    });
    events.push(Event::MemoriesForgotten {
        at: AT.plus_ms(600_000),
        last: keys[1].clone(),
    });
    events
}

fn kinds() -> Vec<Event> {
    let name = QueueName::new("default", "mail.send").unwrap();
    let full = Kind {
        name: name.clone(),
        settings: KindSettings {
            queue: Some(queue()),
            policy: Some(PolicyRef::Named(policy().into())),
            timeouts: Some(timeouts()),
            max_attempts: Some(0),
            dead_letter_queue: Some(QueueName::new("default", "dead").unwrap()),
            terms: Some(Box::new(terms())),
        },
        revision: 7,
        at: AT,
        proposed_by: Some("worker-1".into()),
        recorded_at: 0,
    };
    let bare = Kind {
        settings: KindSettings::default(),
        proposed_by: None,
        ..full.clone()
    };
    vec![
        Event::KindConfigured {
            kind: Box::new(full),
        },
        Event::KindConfigured {
            kind: Box::new(bare),
        },
        Event::KindRemoved { name, at: AT },
    ]
}

fn queues() -> Vec<Event> {
    let settings = QueueSettings {
        terms: Some(Box::new(terms())),
        aging_ms: Some(0),
        finished_max: Some(100_000),
        ..settings()
    };
    let image = Queue {
        settings: settings.clone(),
        paused: Some(pause()),
        paused_by: "ops@host".into(),
        ..Queue::new(queue(), 0)
    };
    vec![
        Event::QueueConfigured {
            queue: queue(),
            settings,
            revision: 3,
        },
        Event::QueuePaused {
            queue: queue(),
            pause: pause(),
            by: "ops@host".into(),
        },
        Event::QueueImage {
            queue: Box::new(image),
        },
    ]
}

fn changes() -> Vec<Event> {
    vec![
        Event::CancelRequested {
            id: id(7),
            order: Box::new(order()),
        },
        Event::LeaseExtended {
            id: id(7),
            timeouts: timeouts(),
        },
        Event::CheckpointSaved {
            id: id(7),
            at: AT.plus_ms(1),
            checkpoint: payload("half"),
        },
        Event::TaskExpired {
            id: id(7),
            at: AT.plus_ms(1),
            reason: DeadReason::TtlExpired,
        },
        Event::TaskRedriven {
            id: id(7),
            at: AT.plus_ms(1),
            not_before: AT.plus_ms(2),
            by: "ops@host".into(),
            note: "mended".into(),
            kept: true,
        },
    ]
}

/// The samples, in no order.
pub(super) fn events() -> Vec<Event> {
    let others = vec![
        Event::LeaseGranted {
            id: id(7),
            fence: Fence::new(1_800_000_000, 1),
            nonce: 1,
            holder: Holder::Unary { ttl_ms: 1000 },
            worker: "w".into(),
            at: AT,
            timeouts: timeouts(),
            started: false,
            delivery: DeliveryMode::AtMostOnce,
        },
        Event::TaskFinished {
            id: id(7),
            run: None,
            budget: None,
            outcome: Outcome::Cancelled,
            at: AT.plus_ms(1),
            result: None,
            label: None,
            leaves: leaves(),
            expires_at: Some(AT.plus_ms(60_001)),
            act: None,
        },
        Event::TaskFinished {
            id: id(7),
            run: None,
            budget: None,
            outcome: Outcome::Discarded,
            at: AT.plus_ms(1),
            result: None,
            label: None,
            leaves: Box::default(),
            expires_at: None,
            act: Some(Box::new(act(ActKind::Discarded))),
        },
    ];
    [
        others,
        changes(),
        tasks(),
        edits(),
        memories(),
        kinds(),
        queues(),
    ]
    .concat()
}
