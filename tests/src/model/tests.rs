//! Rules can be broken, and are then found to be; what is right is not.
//!
//! Owns a few hand-made histories. Most rules are tried by the bugs that are planted in the
//! coordinator itself (docs/testing.md).

use std::sync::Arc;

use redrive_coordinator::engine::EngineConfig;
use redrive_coordinator::engine::command::{Call, Caller, Command, Enqueue, NewTask};
use redrive_coordinator::engine::effect::{Accepted, Answer, EnqueueEffect};
use redrive_coordinator::engine::event::{Event, Recorded};
use redrive_coordinator::engine::ids::{
    Fence, QueueName, RequestId, SessionId, ShardId, TaskId, Timestamp,
};
use redrive_coordinator::engine::ledger::task::{Holder, Priority, State, Task, Timeouts};
use redrive_coordinator::engine::ledger::terms::DeliveryMode;
use redrive_coordinator::engine::retry::policy::{Backoff, Jitter, Policy, Shape};

use super::order::{Granted, Lanes};
use super::shares::Shares;
use super::task::Task as Waiting;
use super::waits::bounds;
use super::{Model, Rule};

const EPOCH: u64 = 5;

/// A history of one shard, told to a model.
struct History {
    model: Model,
    seq: u64,
}

fn mail() -> QueueName {
    QueueName::new("default", "mail").unwrap()
}

fn id(number: u64) -> TaskId {
    TaskId::new(Timestamp(1000), ShardId(0), number)
}

fn task(number: u64, not_before: u64) -> Task {
    Task {
        enqueue_seq: number,
        state: State::Pending {
            not_before: Timestamp(not_before),
        },
        ..Task::fresh(id(number), mail(), "send".into(), Timestamp(1000))
    }
}

impl History {
    /// An epoch has begun, and somebody has asked for a task ten times.
    fn new() -> Self {
        let config = EngineConfig {
            shard_count: 1,
            seed: 1,
            default_policy: Arc::new(Policy::default()),
            ping_ms: 1000,
            grace_ms: 6000,
            hard_margin_ms: 1000,
            memory_bytes_max: 1 << 20,
            finished_retention_ms: 1000,
            finished_per_queue_max: 10,
            aging_ms: 0,
        };
        let mut history = Self {
            model: Model::new(config),
            seq: 0,
        };
        history.asks(1, 10);
        history.tells(Event::EpochStarted {
            epoch: EPOCH,
            at: Timestamp(1000),
        });
        history
    }

    fn asks(&mut self, request: u64, count: usize) {
        let new = NewTask {
            queue: Some(mail()),
            ..NewTask::of("send")
        };
        let enqueue = Enqueue {
            namespace: "default".into(),
            tasks: vec![new; count],
            producer: None,
        };
        let command = Command::Call {
            request: RequestId(request),
            caller: Caller::default(),
            call: Call::Enqueue(enqueue),
        };
        self.model.sees(Timestamp(1000), &command);
    }

    fn tells(&mut self, event: Event) -> &mut Self {
        self.seq += 1;
        self.model.recorded(&Recorded {
            shard: ShardId(0),
            seq: self.seq,
            event,
        });
        self.model.frame_ends();
        self
    }

    fn enqueued(&mut self, number: u64, not_before: u64) -> &mut Self {
        let task = Box::new(task(number, not_before));
        self.tells(Event::TaskEnqueued { task })
    }

    fn granted(&mut self, number: u64, run: u32, at: u64) -> &mut Self {
        self.tells(Event::LeaseGranted {
            id: id(number),
            fence: Fence::new(EPOCH, run),
            nonce: 7,
            holder: Holder::Session(SessionId(1)),
            worker: "w1".into(),
            at: Timestamp(at),
            timeouts: Timeouts::default(),
            started: false,
            delivery: DeliveryMode::AtLeastOnce,
        })
    }

    #[track_caller]
    fn breaks(&self, rule: Rule) {
        let rules = self.model.violations().iter().map(|it| it.rule);
        let rules: Vec<Rule> = rules.collect();
        assert!(rules.contains(&rule), "{:?}", self.model.violations());
    }

    #[track_caller]
    fn is_right(&self) {
        assert_eq!(self.model.violations(), &[]);
    }
}

#[test]
fn a_task_that_is_made_granted_and_granted_again_to_nobody_else_is_right() {
    let mut history = History::new();
    history.enqueued(1, 1000).granted(1, 1, 1000);
    history.is_right();
}

#[test]
fn what_nobody_asked_for_is_found() {
    let mut history = History::new();
    for number in 1..=11 {
        history.enqueued(number, 1000);
    }
    history.breaks(Rule::NoLoss);
}

#[test]
fn a_second_lease_of_a_leased_task_is_found() {
    let mut history = History::new();
    history
        .enqueued(1, 1000)
        .granted(1, 1, 1000)
        .granted(1, 2, 1001);
    history.breaks(Rule::OneHolder);
}

#[test]
fn a_lease_before_its_time_is_found() {
    let mut history = History::new();
    history.enqueued(1, 5000).granted(1, 1, 4999);
    history.breaks(Rule::NotBefore);
}

#[test]
fn a_gap_in_the_runs_is_found() {
    let mut history = History::new();
    history.enqueued(1, 1000).granted(1, 2, 1000);
    history.breaks(Rule::OneHolder);
}

#[test]
fn a_gap_in_the_events_is_found() {
    let mut history = History::new();
    history.seq += 1;
    history.enqueued(1, 1000);
    history.breaks(Rule::OneDoor);
}

#[test]
fn an_epoch_that_does_not_grow_is_found() {
    let mut history = History::new();
    history.tells(Event::EpochStarted {
        epoch: EPOCH,
        at: Timestamp(1000),
    });
    history.breaks(Rule::Time);
}

#[test]
fn an_answer_that_is_not_durable_is_found() {
    let mut history = History::new();
    let accepted = Accepted {
        id: id(1),
        how: EnqueueEffect::Created,
    };
    let reply = Ok(Answer::Enqueued(vec![Ok(accepted); 10]));
    history.model.answered(RequestId(1), &reply);
    history.breaks(Rule::LogBeforeTell);
}

#[test]
fn a_second_answer_is_found() {
    let mut history = History::new();
    history.model.answered(RequestId(1), &Ok(Answer::Done));
    history.is_right();
    history.model.answered(RequestId(1), &Ok(Answer::Done));
    history.breaks(Rule::OneAnswer);
}

#[test]
fn a_task_that_is_forgotten_while_it_lives_is_found() {
    let mut history = History::new();
    history
        .enqueued(1, 1000)
        .tells(Event::TasksForgotten { ids: vec![id(1)] });
    history.breaks(Rule::NoLoss);
}

#[test]
fn a_transfer_out_of_its_turn_is_found() {
    let mut history = History::new();
    history.tells(Event::TransferReceived {
        origin: ShardId(0),
        number: 1,
        task: Box::new(task(1, 1000)),
    });
    history.breaks(Rule::Once);
}

/// The bounds of the first waits, in whole milliseconds.
#[expect(clippy::cast_possible_truncation, reason = "they are small and whole")]
fn waits(backoff: &Backoff, count: u32) -> Vec<(i64, i64)> {
    let bound = |n| bounds(backoff, n, None);
    let waits = (0..count).map(bound);
    waits
        .map(|wait| (wait.min as i64, wait.max as i64))
        .collect()
}

#[test]
fn waits_are_those_of_the_documents() {
    let doubling = Backoff {
        max_ms: 4000,
        ..Backoff::of(Shape::doubling(1000))
    };
    let full = [(0, 1000), (0, 2000), (0, 4000), (0, 4000)];
    assert_eq!(waits(&doubling, 4), full);
    // Google Cloud Tasks: 10, 20, 40, 80 s, then 80 s more each time, at most 300 s.
    let cloud = Backoff {
        max_ms: 300_000,
        jitter: Jitter::None,
        ..Backoff::of(Shape::Exponential {
            initial_ms: 10_000,
            multiplier: 2.0,
            doublings_max: 3,
            base_ms: 0,
        })
    };
    let all = waits(&cloud, 7).into_iter().map(|(min, _)| min / 1000);
    assert_eq!(all.collect::<Vec<_>>(), [10, 20, 40, 80, 160, 240, 300]);
    // Sidekiq: n^4 + 15 + rand(10 * (n + 1)) s, in whole seconds.
    let sidekiq = Backoff {
        jitter: Jitter::PerAttempt {
            per_attempt_ms: 10_000,
        },
        granularity_ms: 1000,
        ..Backoff::of(Shape::Polynomial {
            base_ms: 15_000,
            scale_ms: 1000,
            degree: 4,
            offset: 0,
        })
    };
    assert_eq!(waits(&sidekiq, 2), [(15_000, 25_000), (16_000, 36_000)]);
}

/// Who is overtaken where the second of two tasks is granted, 100 ms after the first one's wait began.
fn overtaken(aging_ms: u64, (first, second): (Priority, Priority)) -> Option<TaskId> {
    let mut lanes = Lanes::default();
    let of = |number, priority, not_before| {
        Waiting::of(&Task {
            priority,
            ..task(number, not_before)
        })
    };
    lanes.wait(id(1), &of(1, first, 2000), true);
    lanes.wait(id(2), &of(2, second, 2100), true);
    lanes.overtaken(&Granted {
        queue: &mail(),
        priority: second,
        place: 2,
        id: id(2),
        at: Timestamp(2100),
        aging_ms,
    })
}

#[test]
fn who_has_waited_long_enough_is_not_overtaken() {
    use Priority::{High, Highest, Low};
    assert_eq!(overtaken(0, (High, High)), Some(id(1)));
    assert_eq!(overtaken(0, (Low, High)), None);
    assert_eq!(overtaken(51, (Low, High)), None, "one level is not enough");
    assert_eq!(overtaken(50, (Low, High)), Some(id(1)));
    assert_eq!(overtaken(1, (Low, Highest)), Some(id(1)));
}

#[test]
fn a_queue_that_gets_more_than_its_weight_is_found_where_both_have_work() {
    let (one, two) = (SessionId(1), mail());
    let other = QueueName::new("default", "sms").unwrap();
    let mut shares = Shares::default();
    shares.begin(one, &[(two.clone(), 3), (other.clone(), 1)]);
    let mut got = |queue: &QueueName, both: bool| shares.granted(one, queue, |_| both);
    for _ in 0..4 {
        assert_eq!(got(&two, true), (1, None));
    }
    let (_, unfair) = got(&two, true);
    let unfair = unfair.expect("5 / 3 is more than 1 / 3 + 1");
    assert_eq!((unfair.got.0, unfair.apart), (two.clone(), 5));
    for _ in 0..9 {
        assert_eq!(got(&two, false), (0, None), "the other one had nothing");
    }
    assert_eq!(got(&other, true), (1, None));
    assert_eq!(got(&other, true).1.map(|it| it.apart), Some(6));
}

#[test]
fn a_stretch_that_is_unfair_is_found_though_all_of_it_is_not() {
    let (session, one) = (SessionId(1), mail());
    let two = QueueName::new("default", "sms").unwrap();
    let mut shares = Shares::default();
    shares.begin(session, &[(one.clone(), 1), (two.clone(), 1)]);
    let unfair = |queue: &QueueName| shares.granted(session, queue, |_| true).1.is_some();
    let turns = [&one, &one, &two, &two, &two];
    let found: Vec<bool> = turns.into_iter().map(unfair).collect();
    assert_eq!(found, [false, false, false, false, true], "three in a row");
}
