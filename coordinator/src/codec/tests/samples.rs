//! Samples: each kind of event, once with everything that it can have and once with nothing.
//!
//! Owns the list, from which the golden bytes were made: what is in it never changes. A new kind of
//! event does not compile until it is in [`kind_of`], and fails the tests until it has a sample.

use super::lifecycle;
use super::values::{
    bare_run, full_run, full_task, id, leaves, pause, payload, plain_task, queue, settings,
    timeouts,
};
use crate::codec::shape::Layout as _;
use crate::engine::event::{Event, Recorded, ShardImage};
use crate::engine::ids::{Fence, SessionId, ShardId, Timestamp};
use crate::engine::ledger::queue::{Queue, QueueSettings, Totals};
use crate::engine::ledger::task::{Finished, Holder, Lease, Outcome, State, Task, Timeouts};
use crate::engine::ledger::terms::DeliveryMode;
use crate::engine::retry::{Budget, DeadReason};

pub(super) const AT: Timestamp = Timestamp(1_800_000_000_000);

/// A kind's name.
pub(super) const fn kind_of(event: &Event) -> &'static str {
    match event {
        Event::EpochStarted { .. } => "EpochStarted",
        Event::QueueConfigured { .. } => "QueueConfigured",
        Event::QueuePaused { .. } => "QueuePaused",
        Event::QueueResumed { .. } => "QueueResumed",
        Event::TaskEnqueued { .. } => "TaskEnqueued",
        Event::LeaseGranted { .. } => "LeaseGranted",
        Event::LeaseStarted { .. } => "LeaseStarted",
        Event::CancelRequested { .. } => "CancelRequested",
        Event::TimeoutsChanged { .. } => "TimeoutsChanged",
        Event::RetryScheduled { .. } => "RetryScheduled",
        Event::TaskDied { .. } => "TaskDied",
        Event::TaskFinished { .. } => "TaskFinished",
        Event::TaskRedriven { .. } => "TaskRedriven",
        Event::TasksForgotten { .. } => "TasksForgotten",
        Event::LeaseExtended { .. } => "LeaseExtended",
        Event::CheckpointSaved { .. } => "CheckpointSaved",
        Event::TaskEdited { .. } => "TaskEdited",
        Event::TaskExpired { .. } => "TaskExpired",
        Event::Remembered { .. } => "Remembered",
        Event::RememberedMore { .. } => "RememberedMore",
        Event::MemoriesForgotten { .. } => "MemoriesForgotten",
        Event::KindConfigured { .. } => "KindConfigured",
        Event::KindRemoved { .. } => "KindRemoved",
        Event::ExpiredThrough { .. } => "ExpiredThrough",
        Event::TransferSent { .. } => "TransferSent",
        Event::TransferReceived { .. } => "TransferReceived",
        Event::TransferConfirmed { .. } => "TransferConfirmed",
        Event::SegmentOpened { .. } => "SegmentOpened",
        Event::TaskImage { .. } => "TaskImage",
        Event::QueueImage { .. } => "QueueImage",
        Event::TransferImage { .. } => "TransferImage",
        Event::SegmentsCleaned { .. } => "SegmentsCleaned",
    }
}

/// All samples; each kind has at least one.
pub(super) fn all() -> Vec<Recorded> {
    let samples = [first(), second()].concat();
    let numbers: Vec<u8> = samples.iter().map(|it| number(&it.event)).collect();
    for (number, name, _) in Event::ROWS.iter().filter(|row| !row.1.ends_with(" (once)")) {
        assert!(numbers.contains(number), "{name} has no sample");
    }
    samples
}

/// The number that a kind is written with.
pub(super) fn number(event: &Event) -> u8 {
    let mut rows = Event::ROWS.iter();
    rows.find(|row| row.1 == kind_of(event)).unwrap().0
}

/// The samples of the first format, in the order of the numbers that they had in it.
pub(super) fn first() -> Vec<Recorded> {
    let groups = [shard_events(), task_events(), transfer_events(), images()];
    let mut samples: Vec<Event> = groups.into_iter().flatten().collect();
    samples.sort_by_key(|event| {
        let once = format!("{} (once)", kind_of(event));
        let row = Event::ROWS.iter().find(|row| row.1 == once);
        row.map_or_else(|| number(event), |row| row.0)
    });
    records(samples)
}

/// The samples of what came with Lifecycle, in the order of their numbers.
pub(super) fn second() -> Vec<Recorded> {
    let mut samples = lifecycle::events();
    samples.sort_by_key(number);
    records(samples)
}

fn records(samples: Vec<Event>) -> Vec<Recorded> {
    let record = |(index, event)| Recorded {
        shard: ShardId([0, 3, 4095][index % 3]),
        seq: [1, 127, 128, 40_000_000, u64::MAX][index % 5],
        event,
    };
    samples.into_iter().enumerate().map(record).collect()
}

fn shard_events() -> Vec<Event> {
    vec![
        Event::EpochStarted {
            epoch: 1_800_000_000,
            at: AT,
        },
        Event::QueueConfigured {
            queue: queue(),
            settings: settings(),
            revision: 2,
        },
        Event::QueueConfigured {
            queue: queue(),
            settings: QueueSettings::default(),
            revision: 0,
        },
        Event::QueuePaused {
            queue: queue(),
            pause: pause(),
            by: "".into(),
        },
        Event::QueueResumed { queue: queue() },
        Event::TasksForgotten {
            ids: vec![id(1), id(2)],
        },
        Event::TasksForgotten { ids: Vec::new() },
        Event::ExpiredThrough {
            at: AT.plus_ms(5),
            last: id(9),
        },
        Event::SegmentOpened {
            shard: Box::new(ShardImage {
                epoch: 1_800_000_000,
                newest: AT,
                sent_through: vec![(ShardId(1), 2), (ShardId(4095), 1 << 40)],
                received_through: vec![(ShardId(2), 300)],
            }),
        },
        Event::SegmentOpened {
            shard: Box::default(),
        },
        Event::SegmentsCleaned { below: 12 },
    ]
}

fn task_events() -> Vec<Event> {
    let granted = |holder, timeouts, started| Event::LeaseGranted {
        id: id(7),
        fence: Fence::new(1_800_000_000, 1),
        nonce: u64::MAX,
        holder,
        worker: "worker-1".into(),
        at: AT.plus_ms(3),
        timeouts,
        started,
        delivery: DeliveryMode::AtLeastOnce,
    };
    let events = vec![
        Event::TaskEnqueued {
            task: full_task().into(),
        },
        Event::TaskEnqueued {
            task: plain_task().into(),
        },
        granted(Holder::Session(SessionId(u128::MAX)), timeouts(), true),
        granted(Holder::Unary { ttl_ms: 45_000 }, Timeouts::default(), false),
        Event::LeaseStarted {
            id: id(7),
            at: AT.plus_ms(4),
        },
        Event::CancelRequested {
            id: id(7),
            order: Box::default(),
        },
        Event::TimeoutsChanged {
            id: id(7),
            timeouts: timeouts(),
        },
        Event::TimeoutsChanged {
            id: id(7),
            timeouts: Timeouts::default(),
        },
        Event::TaskRedriven {
            id: id(7),
            at: AT.plus_ms(400_000),
            not_before: Timestamp(0),
            by: "".into(),
            note: "".into(),
            kept: false,
        },
    ];
    events.into_iter().chain(ends_of_runs()).collect()
}

fn ends_of_runs() -> Vec<Event> {
    let mut events = Vec::new();
    for (run, leaves) in [(full_run(1), leaves()), (bare_run(1), Box::default())] {
        events.push(Event::RetryScheduled {
            id: id(7),
            run: Box::new(run.clone()),
            budget: Budget::Attempt,
            not_before: AT.plus_ms(5000),
            leaves: leaves.clone(),
        });
        events.push(Event::TaskDied {
            id: id(7),
            run: Box::new(run.clone()),
            budget: Budget::Crash,
            reason: DeadReason::TransferInvalid,
            at: AT.plus_ms(1020),
            leaves: leaves.clone(),
        });
        let full = run.started;
        events.push(Event::TaskFinished {
            id: id(7),
            run: full.then(|| Box::new(run)),
            budget: full.then_some(Budget::Deferral),
            outcome: Outcome::Routed,
            at: AT.plus_ms(1020),
            result: full.then(|| payload("done")),
            label: full.then(|| "sent".into()),
            leaves,
            expires_at: None,
            act: None,
        });
    }
    events
}

fn transfer_events() -> Vec<Event> {
    let pairs = [full_task(), plain_task()].map(|task| {
        let (target, number, task) = (ShardId(5), 300, Box::new(task));
        [
            Event::TransferSent {
                target,
                number,
                task: task.clone(),
            },
            Event::TransferReceived {
                origin: target,
                number,
                task: task.clone(),
            },
            Event::TransferImage {
                target,
                number,
                task,
            },
        ]
    });
    let confirmed = Event::TransferConfirmed {
        target: ShardId(5),
        through: 300,
    };
    pairs.into_iter().flatten().chain([confirmed]).collect()
}

fn images() -> Vec<Event> {
    let finished = |full: bool| Finished {
        outcome: Outcome::Succeeded,
        at: AT.plus_ms(99),
        result: full.then(|| payload("done")),
        label: full.then(|| "sent".into()),
        expires_at: None,
    };
    let dead = State::Dead {
        reason: DeadReason::Rule,
        at: AT.plus_ms(88),
    };
    let leased = State::Leased(Box::new(Lease {
        fence: Fence::new(1, 1),
        nonce: 0,
        holder: Holder::Unary { ttl_ms: 1000 },
        worker: "w".into(),
        granted_at: AT,
        timeouts: Timeouts::default(),
        started_at: None,
        cancel_requested: false,
        cancel: None,
        delivery: DeliveryMode::AtLeastOnce,
    }));
    let states = [
        State::Finished(Box::new(finished(true))),
        State::Finished(Box::new(finished(false))),
        dead,
        leased,
        State::Pending {
            not_before: Timestamp(u64::MAX),
        },
    ];
    let image = |state| Event::TaskImage {
        task: Box::new(Task {
            state,
            side: Some(Box::default()),
            ..plain_task()
        }),
    };
    let mut events: Vec<Event> = states.into_iter().map(image).collect();
    let queue = Queue::new(queue(), 5);
    events.push(Event::QueueImage {
        queue: Box::new(queue.clone()),
    });
    events.push(Event::QueueImage {
        queue: Box::new(Queue {
            settings: settings(),
            revision: 4,
            paused: Some(pause()),
            totals: Totals {
                enqueued: 1,
                succeeded: 200,
                failures: 3,
                crashes: 4,
                dead_lettered: 5,
                redriven: u64::MAX,
            },
            recorded_totals: Totals {
                enqueued: 1,
                ..Totals::default()
            },
            ..queue
        }),
    });
    events
}
