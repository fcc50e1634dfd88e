//! What the inhabitants of the simulated world say: tasks, policies, settings, changes.
//!
//! Owns the values, few of each so that they collide. Never decides who says what when. Everything
//! is well formed: what strangers send is another test's business.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use redrive_coordinator::engine::command::{
    Cancel, CancelMode, KindServed, NewKeys, NewTask, NewUnique, OnConflict, QueueChange, Start,
    TaskChange,
};
use redrive_coordinator::engine::failure::{Failure, FailureClass};
use redrive_coordinator::engine::ids::QueueName;
use redrive_coordinator::engine::ledger::kind::KindSettings;
use redrive_coordinator::engine::ledger::more::Scope;
use redrive_coordinator::engine::ledger::task::{Payload, Priority, Timeouts};
use redrive_coordinator::engine::ledger::terms::{DeliveryMode, FollowUps, Template, Terms};
use redrive_coordinator::engine::retry::policy::{
    Backoff, ExhaustAction, Jitter, Match, Policy, PolicyRef, RetryAfterMode, Rule, RuleAction,
    Shape, WorkerDelayMode,
};

use super::plan::Plan;
use crate::Dice;

/// The queues that there may be.
pub const QUEUES: [&str; 5] = ["mail", "bills", "thumbs", "sync", "night"];
/// The kinds of tasks.
pub const KINDS: [&str; 4] = ["send", "scale", "bill", "sweep"];
/// The only namespace.
pub const NAMESPACE: &str = "default";
/// The shortest hard limit that is asked for. Milliseconds.
const HARD_MS_MIN: u64 = 1000;

/// Draws of values.
#[derive(Debug)]
pub struct Values {
    pub(super) dice: Dice,
    queues: Vec<QueueName>,
    kinds: Vec<QueueName>,
    words: RefCell<BTreeMap<String, Arc<str>>>,
    policies: Vec<PolicyRef>,
    terms: bool,
    keys: bool,
    /// Whether there are dead-letter queues.
    routes: bool,
    next_marker: u64,
}

/// A policy of short waits, with or without rules.
pub fn policy(dice: &mut Dice) -> Arc<Policy> {
    let rules = (0..dice.between(0, 4).saturating_sub(1))
        .map(|number| rule(dice, number))
        .collect();
    let policy = Policy {
        max_attempts: [1, 2, 3, 6, 0][index(dice, 5)],
        backoff: backoff(dice),
        rules,
        max_retry_duration_ms: [None, None, Some(5000)][index(dice, 3)],
        max_crashes: [0, 1, 3][index(dice, 3)],
        crash_backoff: backoff(dice),
        max_deferrals: [1, 5, 1000][index(dice, 3)],
        on_exhausted: [
            ExhaustAction::DeadLetter,
            ExhaustAction::DeadLetter,
            ExhaustAction::Fail,
            ExhaustAction::Discard,
        ][index(dice, 4)],
        retry_after_mode: [
            RetryAfterMode::Floor,
            RetryAfterMode::Exact,
            RetryAfterMode::Ignore,
            RetryAfterMode::Instead,
        ][index(dice, 4)],
        worker_delay_mode: [WorkerDelayMode::Exact, WorkerDelayMode::Clamp][index(dice, 2)],
        timeout_growth: [1.0, 2.0][index(dice, 2)],
        ..Policy::default()
    };
    if policy.check().is_ok() {
        Arc::new(policy)
    } else {
        Arc::new(Policy::default())
    }
}

fn backoff(dice: &mut Dice) -> Backoff {
    Backoff {
        min_ms: [0, 0, 5, 700][index(dice, 4)],
        max_ms: [50, 3000, 60_000][index(dice, 3)].max(700),
        jitter: [
            Jitter::None,
            Jitter::Full,
            Jitter::Equal,
            Jitter::Additive { ratio: 0.25 },
            Jitter::Symmetric { ratio: 0.5 },
            Jitter::PerAttempt { per_attempt_ms: 30 },
            Jitter::Below { ratio: 0.3 },
        ][index(dice, 7)],
        granularity_ms: [1, 1, 1, 10, 1000][index(dice, 5)],
        ..Backoff::of(shape(dice))
    }
}

fn action(dice: &mut Dice) -> RuleAction {
    let rule = [
        RuleAction::Retry,
        RuleAction::Retry,
        RuleAction::Fail,
        RuleAction::DeadLetter,
        RuleAction::Discard,
    ];
    rule[index(dice, 5)]
}

/// A rule of a policy.
fn rule(dice: &mut Dice, number: u64) -> Rule {
    let matches = Match {
        classes: vec![FailureClass::ALL[index(dice, 12)], class(dice)],
        attempt_min: [0, 0, 2][index(dice, 3)],
        ..Match::default()
    };
    let action = action(dice);
    let retries = action == RuleAction::Retry;
    Rule {
        backoff: (retries && dice.chance(500)).then(|| backoff(dice)),
        max_attempts: if retries {
            [0, 2, 4][index(dice, 3)]
        } else {
            0
        },
        spares_attempts: retries && dice.chance(250),
        retry_after_mode: dice.chance(300).then_some(RetryAfterMode::Instead),
        ..Rule::new(&format!("rule-{number}"), matches, action)
    }
}

fn shape(dice: &mut Dice) -> Shape {
    match dice.between(0, 7) {
        0 => Shape::Fixed { delay_ms: 200 },
        1 => Shape::Linear {
            initial_ms: 10,
            step_ms: 150,
        },
        2 => Shape::Polynomial {
            base_ms: 20,
            scale_ms: 10,
            degree: 3,
            offset: 1,
        },
        3 => Shape::Delays(Arc::from([0, 40, 900])),
        4 => Shape::Decorrelated { base_ms: 50 },
        5 => Shape::Exponential {
            initial_ms: 20,
            multiplier: 3.0,
            doublings_max: 2,
            base_ms: 5,
        },
        _ => Shape::doubling(100),
    }
}

fn class(dice: &mut Dice) -> FailureClass {
    let usual = [
        FailureClass::Network,
        FailureClass::RateLimited,
        FailureClass::Timeout,
        FailureClass::WorkerLost,
        FailureClass::Business,
    ];
    usual[index(dice, 5)]
}

fn index(dice: &mut Dice, count: usize) -> usize {
    usize::try_from(dice.between(0, count as u64)).unwrap()
}

impl Values {
    /// The values of a plan.
    pub fn new(seed: u64, plan: &Plan) -> Self {
        let mut dice = Dice::new(seed ^ 0x0007_a1e5);
        let name = |name: &&str| QueueName::new(NAMESPACE, name).unwrap();
        let policies = (0..4)
            .map(|_| PolicyRef::Inline(policy(&mut dice)))
            .collect();
        Self {
            queues: QUEUES[..plan.queues].iter().map(name).collect(),
            kinds: KINDS.iter().map(name).collect(),
            words: RefCell::default(),
            policies,
            terms: plan.terms,
            keys: plan.keys,
            routes: dice.chance(700),
            next_marker: 0,
            dice,
        }
    }

    /// One of these.
    pub fn one_of<T: Copy>(&mut self, from: &[T]) -> T {
        from[index(&mut self.dice, from.len())]
    }

    /// True in one case of so many.
    pub const fn one_in(&mut self, count: u64) -> bool {
        self.dice.between(0, count) == 0
    }

    /// A number below this.
    pub const fn below(&mut self, end: u64) -> u64 {
        self.dice.between(0, end)
    }

    fn maybe<T>(&mut self, count: u64, value: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.one_in(count).then(|| value(self))
    }

    /// A text that is shared by all who say it.
    pub fn word(&self, text: &str) -> Arc<str> {
        if let Some(word) = self.words.borrow().get(text) {
            return Arc::clone(word);
        }
        let word: Arc<str> = text.into();
        let mut words = self.words.borrow_mut();
        words.insert(text.to_owned(), Arc::clone(&word));
        word
    }

    /// A queue in use.
    pub fn queue(&mut self) -> QueueName {
        let at = index(&mut self.dice, self.queues.len());
        self.queues[at].clone()
    }

    /// All queues in use.
    #[must_use]
    pub fn queues(&self) -> &[QueueName] {
        &self.queues
    }

    /// A kind's name.
    pub fn kind_name(&mut self) -> QueueName {
        let at = index(&mut self.dice, self.kinds.len());
        self.kinds[at].clone()
    }

    /// A kind.
    pub fn kind(&mut self) -> Arc<str> {
        let kind = self.one_of(&KINDS);
        self.word(kind)
    }

    /// What a worker serves: some kinds, or all.
    pub fn kinds_served(&mut self) -> Vec<KindServed> {
        if !self.one_in(3) {
            return Vec::new();
        }
        let count = 1 + index(&mut self.dice, KINDS.len());
        let mut served: Vec<KindServed> = KINDS[..count]
            .iter()
            .map(|kind| KindServed::every_version(kind))
            .collect();
        for one in &mut served {
            one.version_max = self.one_of(&[0, 1, u32::MAX]);
        }
        served.sort();
        served
    }

    /// A task, with a payload that no other has.
    pub fn task(&mut self) -> NewTask {
        let delay_ms = self.one_of(&[0, 0, 0, 1, 300, 4000]);
        let bytes_max = self.one_of(&[9, 60, 400]);
        self.next_marker += 1;
        let mut data = self.next_marker.to_le_bytes().to_vec();
        data.resize(8 + index(&mut self.dice, bytes_max), 7);
        let chain = if self.terms {
            self.below(12).saturating_sub(9)
        } else {
            0
        };
        NewTask {
            queue: Some(self.queue()).filter(|_| !self.terms || !self.one_in(12)),
            kind: self.kind(),
            version: if self.terms {
                self.one_of(&[0, 0, 0, 1, 2])
            } else {
                0
            },
            payload: Payload {
                data: data.into(),
                content_type: self.maybe(8, |this| this.word("text/plain")),
            },
            priority: self.one_of(&Priority::ALL),
            start: Start::After { delay_ms },
            timeouts: self.maybe(4, Self::timeouts),
            policy: self.maybe(3, Self::policy_ref),
            max_attempts: self.maybe(4, |this| this.one_of(&[1, 2, 5])),
            labels: Vec::new(),
            terms: (self.terms && self.one_in(3)).then(|| Box::new(self.some_terms())),
            then: (0..chain).map(|_| self.template()).collect(),
            keys: self.some_keys(),
        }
    }

    fn some_keys(&mut self) -> Option<Box<NewKeys>> {
        if !self.keys || !self.one_in(4) {
            return None;
        }
        let key = self.maybe(2, |this| {
            let text = format!("key-{}", this.below(12));
            this.word(&text)
        });
        let unique = self.maybe(2, |this| {
            let text = format!("unique-{}", this.below(6));
            NewUnique {
                key: this.word(&text),
                scope: Scope {
                    waiting: !this.one_in(4),
                    running: this.one_in(2),
                    dead: this.one_in(3),
                    finished: this.one_in(4),
                },
                on_conflict: this.one_of(&[
                    OnConflict::ReturnExisting,
                    OnConflict::Reject,
                    OnConflict::ReplaceWaiting,
                    OnConflict::RescheduleWaiting,
                ]),
                postpone_max_ms: this.maybe(2, |this| this.one_of(&[0, 4000, 100_000])),
            }
        });
        (key.is_some() || unique.is_some()).then(|| {
            Box::new(NewKeys {
                key,
                window_ms: self.one_of(&[500, 20_000, 200_000]),
                digest: self.below(2),
                unique,
            })
        })
    }

    /// Some bytes.
    pub fn payload(&mut self) -> Payload {
        let content_type = self.maybe(2, |this| this.word("application/json"));
        let data = self.one_of(&["", "{}", "{\"a\": [1, 2.5, null]}", "no json"]);
        Payload {
            data: Bytes::from_static(data.as_bytes()),
            content_type,
        }
    }

    /// A task that is made later.
    pub fn template(&mut self) -> Template {
        Template {
            queue: self.maybe(2, Self::queue),
            kind: self.kind(),
            payload: self.payload(),
            priority: self.one_of(&Priority::ALL),
            delay_ms: self.one_of(&[0, 0, 2000]),
            version: self.one_of(&[0, 0, 1]),
            labels: vec![(self.word("made"), self.word("later"))],
        }
    }

    /// Some terms.
    pub fn some_terms(&mut self) -> Terms {
        let follow = |this: &mut Self| this.maybe(5, |this| Box::new(this.template()));
        Terms {
            ttl_ms: self.maybe(5, |this| this.one_of(&[1, 500, 3000, 40_000])),
            deadline_ms: self.maybe(5, |this| this.one_of(&[1, 2000, 20_000, 100_000])),
            result_ttl_ms: self.maybe(4, |this| this.one_of(&[0, 1000, 900_000])),
            delivery: self.maybe(3, |this| {
                this.one_of(&[DeliveryMode::AtLeastOnce, DeliveryMode::AtMostOnce])
            }),
            follow_ups: FollowUps {
                on_success: follow(self),
                on_failure: follow(self),
                on_exhausted: follow(self),
                on_cancelled: follow(self),
            },
        }
    }

    /// Some terms of a kind or a queue. What their tasks make when they fail comes back to them, and
    /// so do copies in dead-letter queues: both together, or two for each end, are thousands of
    /// tasks for one at the eighth.
    pub fn shared_terms(&mut self) -> Terms {
        let mut terms = self.some_terms();
        if terms.follow_ups.on_failure.is_some() || self.routes {
            terms.follow_ups.on_exhausted = None;
        }
        if self.routes {
            terms.follow_ups.on_failure = None;
        }
        terms
    }

    fn dead_letter_queue(&mut self) -> Option<QueueName> {
        let queue = self.queue();
        Some(queue).filter(|_| self.routes)
    }

    /// Some limits.
    pub fn timeouts(&mut self) -> Timeouts {
        let hard_ms = HARD_MS_MIN + self.below(3) * 4000;
        Timeouts {
            soft_ms: self.maybe(2, |this| this.below(HARD_MS_MIN) + 1),
            hard_ms: self.maybe(2, |_| hard_ms),
            extend_max_ms: self.maybe(3, |_| hard_ms + 5000),
        }
    }

    /// One of a few policies.
    pub fn policy_ref(&mut self) -> PolicyRef {
        let at = index(&mut self.dice, self.policies.len());
        self.policies[at].clone()
    }

    /// What may be said of a kind.
    pub fn kind_settings(&mut self) -> KindSettings {
        KindSettings {
            queue: self.maybe(2, Self::queue),
            policy: self.maybe(3, Self::policy_ref),
            timeouts: self.maybe(3, Self::timeouts),
            max_attempts: self.maybe(3, |this| this.one_of(&[1, 2])),
            dead_letter_queue: self.maybe(4, Self::dead_letter_queue).flatten(),
            terms: self.maybe(2, |this| Box::new(this.shared_terms())),
        }
    }

    /// What may be changed of a queue.
    pub fn queue_change(&mut self) -> QueueChange {
        QueueChange {
            policy: self.maybe(2, |this| this.maybe(2, Self::policy_ref)),
            timeouts: self.maybe(2, |this| this.maybe(3, Self::timeouts)),
            dead_letter_queue: self
                .maybe(2, |this| this.maybe(2, Self::dead_letter_queue).flatten()),
            terms: self.maybe(2, |this| {
                this.maybe(2, |this| Box::new(this.shared_terms()))
            }),
            aging_ms: self.maybe(3, |this| this.one_of(&[None, Some(0), Some(2000)])),
            finished_max: self.maybe(3, |this| this.one_of(&[None, Some(0), Some(5)])),
        }
    }

    /// What may be changed of a task.
    pub fn task_change(&mut self) -> TaskChange {
        TaskChange {
            timeouts: self.maybe(2, Self::timeouts),
            payload: self.maybe(3, Self::payload),
            priority: self.maybe(3, |this| this.one_of(&Priority::ALL)),
            start: self.maybe(3, |this| Start::After {
                delay_ms: this.one_of(&[0, 1500, 10_000]),
            }),
            max_attempts: self.maybe(4, |this| this.one_of(&[0, 1, 5])),
            reason: self.word("so"),
        }
    }

    /// A way to cancel.
    pub fn cancel(&mut self) -> Cancel {
        let grace_ms = self.maybe(2, |this| this.one_of(&[0, 700, 60_000]));
        let mode = self.one_of(&[
            CancelMode::IfWaiting,
            CancelMode::Cooperative { grace_ms },
            CancelMode::Force,
        ]);
        Cancel {
            mode,
            reason: self.word("enough"),
        }
    }

    /// What went wrong in a handler.
    pub fn failure(&mut self) -> Failure {
        let class = class(&mut self.dice);
        let mut failure = Failure::new(class, "it broke");
        if self.one_in(3) {
            failure.error_type = self.word("IOError");
        }
        failure
    }
}
