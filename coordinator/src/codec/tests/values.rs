//! The values that samples are made of, plain and with everything.
//!
//! Owns them. Golden bytes were made from them: they never change.

use bytes::Bytes;

use super::samples::AT;
use crate::engine::event::Leaves;
use crate::engine::failure::{Failure, FailureClass};
use crate::engine::ids::{Fence, QueueName, SessionId, ShardId, TaskId};
use crate::engine::ledger::history::{Delay, History, RunOutcome, RunRecord};
use crate::engine::ledger::queue::{Pause, QueueSettings};
use crate::engine::ledger::tally::Tally;
use crate::engine::ledger::task::{
    Holder, Lease, Own, Payload, Priority, Side, State, Task, Timeouts,
};
use crate::engine::ledger::terms::{DeliveryMode, Source};
use crate::engine::retry::policy::{
    Backoff, ExhaustAction, Jitter, Match, RetryAfterMode, Rule, RuleAction, Shape, WorkerDelayMode,
};
use crate::engine::retry::{Policy, PolicyRef};

pub(super) fn id(low: u64) -> TaskId {
    TaskId::new(AT, ShardId(3), low)
}

pub(super) fn queue() -> QueueName {
    QueueName::new("default", "mail").unwrap()
}

/// A task that says nothing beside what it must.
pub(super) fn plain_task() -> Task {
    Task {
        enqueue_seq: 40_000_000,
        ..Task::fresh(id(7), queue(), "mail.send".into(), AT)
    }
}

/// A task with everything.
pub(super) fn full_task() -> Task {
    Task {
        payload: payload("order 17"),
        priority: Priority::Lowest,
        state: State::Leased(Box::new(Lease {
            fence: Fence::new(1_800_000_000, 19),
            nonce: 0xfedc_ba98_7654_3210,
            holder: Holder::Session(SessionId(0x0123_4567_89ab_cdef << 64 | 1)),
            worker: "worker-1".into(),
            granted_at: AT.plus_ms(70_000),
            timeouts: timeouts(),
            started_at: Some(AT.plus_ms(70_003)),
            cancel_requested: true,
            cancel: None,
            delivery: DeliveryMode::AtLeastOnce,
        })),
        fence: Fence::new(1_800_000_000, 19),
        own: Some(Box::new(Own {
            max_attempts: Some(0),
            timeouts: Some(timeouts()),
            policy: Some(PolicyRef::Inline(policy().into())),
            ..Own::default()
        })),
        side: Some(Box::new(Side {
            tally: Tally {
                since: Some(AT.plus_ms(60_000)),
                failures: 1,
                crashes: 2,
                deferrals: 300,
                unstarted_in_row: 4,
                timeouts_hit: 5,
                redrives: 6,
            },
            ..side()
        })),
        ..plain_task()
    }
}

pub(super) fn payload(text: &'static str) -> Payload {
    Payload {
        data: Bytes::from_static(text.as_bytes()),
        content_type: Some("text/plain".into()),
    }
}

pub(super) const fn timeouts() -> Timeouts {
    Timeouts {
        soft_ms: Some(30_000),
        hard_ms: Some(60_000),
        extend_max_ms: None,
    }
}

pub(super) fn side() -> Side {
    let mut history = History::default();
    (1..=19).for_each(|run| history.push(bare_run(run)));
    history.push(full_run(20));
    Side {
        tally: Tally::default(),
        labels: vec![
            ("customer".into(), "ä".into()),
            ("region".into(), "".into()),
        ],
        history,
        rule_retries: vec![("busy".into(), 3)],
        last_failure: Some(failure()),
        checkpoint: Some(payload("half")),
        origin: Some(id(3)),
        hops: 2,
        previous_delay_ms: Some(1234),
        more: None,
    }
}

pub(super) fn failure() -> Failure {
    Failure {
        class: FailureClass::Business,
        code: -8,
        error_type: "mail.Refused".into(),
        ancestors: vec!["mail.Error".into(), "Error".into()],
        message: "no such address".into(),
        stack: "at send\nat main".into(),
        expected: true,
    }
}

pub(super) fn bare_run(run: u32) -> RunRecord {
    let leased_at = AT.plus_ms(u64::from(run) * 1000);
    RunRecord {
        run,
        attempt: run,
        worker: "worker-1".into(),
        leased_at,
        ended_at: leased_at.plus_ms(20),
        started: false,
        outcome: RunOutcome::Succeeded,
        failure: None,
        rule: None,
        policy: None,
        policy_source: Source::Server,
        policy_revision: 0,
        delay: None,
        note: None,
    }
}

pub(super) fn full_run(run: u32) -> RunRecord {
    RunRecord {
        started: true,
        outcome: RunOutcome::Cancelled,
        failure: Some(failure()),
        rule: Some("busy".into()),
        policy: Some("inline".into()),
        delay: Some(Delay {
            base_ms: 1000,
            drawn_ms: 777,
        }),
        note: Some("the other side is busy".into()),
        ..bare_run(run)
    }
}

/// A policy with everything: every shape, jitter and rule.
pub(super) fn policy() -> Policy {
    let shapes = [
        Shape::doubling(1000),
        Shape::Fixed { delay_ms: 10 },
        Shape::Linear {
            initial_ms: 1,
            step_ms: 2,
        },
        Shape::Polynomial {
            base_ms: 15,
            scale_ms: 1000,
            degree: 4,
            offset: 1,
        },
        Shape::Delays([60_000, 3_600_000].into()),
        Shape::Decorrelated { base_ms: 5 },
    ];
    let jitters = [
        Jitter::Full,
        Jitter::Equal,
        Jitter::Additive { ratio: 0.1 },
        Jitter::Symmetric { ratio: 0.2 },
        Jitter::PerAttempt { per_attempt_ms: 9 },
        Jitter::Below { ratio: 0.3 },
    ];
    let backoffs = shapes.into_iter().zip(jitters);
    let rule = |(index, (shape, jitter)): (usize, _)| Rule {
        backoff: Some(Backoff {
            shape,
            min_ms: 1,
            max_ms: 86_400_000,
            jitter,
            granularity_ms: 1000,
        }),
        max_attempts: 3,
        spares_attempts: true,
        retry_after_mode: Some(RetryAfterMode::Instead),
        ..Rule::new(&format!("rule-{index}"), matches(), RuleAction::Discard)
    };
    let mut rules: Vec<Rule> = backoffs.enumerate().map(rule).collect();
    rules.push(Rule::new("rest", Match::default(), RuleAction::Retry));
    Policy {
        name: "inline".into(),
        description: "everything at once".into(),
        max_attempts: 7,
        backoff: Backoff::of(Shape::Decorrelated { base_ms: 5 }),
        rules,
        max_retry_duration_ms: Some(3_600_000),
        max_crashes: 2,
        crash_backoff: Backoff::after_crash(),
        max_deferrals: 1000,
        on_exhausted: ExhaustAction::Discard,
        retry_after_mode: RetryAfterMode::Ignore,
        worker_delay_mode: WorkerDelayMode::Clamp,
        timeout_growth: 1.5,
        timeout_growth_max: 4.0,
    }
}

pub(super) fn matches() -> Match {
    Match {
        classes: FailureClass::ALL.to_vec(),
        codes: vec![14, -1],
        error_types: vec!["mail.*".into()],
        exclude_error_types: vec!["mail.Refused".into()],
        attempt_min: 1,
        attempt_max: 300,
    }
}

pub(super) fn leaves() -> Box<Leaves> {
    Box::new(Leaves {
        failure: Some(failure()),
        delay_ms: Some(777),
        rule_counted: Some("busy".into()),
        timeout_hit: true,
        payload: Some(payload("new")),
        checkpoint: Some(payload("half")),
        max_attempts: Some(9),
    })
}

pub(super) fn settings() -> QueueSettings {
    QueueSettings {
        policy: Some(PolicyRef::Named(policy().into())),
        timeouts: Some(timeouts()),
        dead_letter_queue: Some(QueueName::new("ops", "dead").unwrap()),
        ..QueueSettings::default()
    }
}

pub(super) fn pause() -> Pause {
    Pause {
        at: AT,
        reason: "the mail server moves".into(),
    }
}
