//! Nothing is lost on the way, and little is added.

use bytes::Bytes;

use super::values::{id, plain_task};
use super::{encoded, samples, through_the_codec};
use crate::codec::cache::Cache;
use crate::codec::shape::{Layout, Wire};
use crate::codec::wire::{Cursor, Reader, Writer};
use crate::codec::{entity_of, place_of};
use crate::engine::command::Entity;
use crate::engine::event::{Event, Leaves, Recorded};
use crate::engine::failure::FailureClass;
use crate::engine::ids::{Fence, SessionId, ShardId, Timestamp};
use crate::engine::ledger::history::RunOutcome;
use crate::engine::ledger::task::{Holder, Outcome, Payload, Priority, State, Task, Timeouts};
use crate::engine::ledger::terms::DeliveryMode;
use crate::engine::retry::policy::{
    ExhaustAction, Jitter, RetryAfterMode, RuleAction, Shape, WorkerDelayMode,
};
use crate::engine::retry::{Budget, DeadReason, PolicyRef};

#[test]
fn every_kind_of_event_comes_back_as_it_was() {
    through_the_codec(&samples::all());
}

/// Numbers are dense from 1, and each variant without fields comes back as it was.
fn check_numbers<T: Layout + Wire>() {
    let mut rows = T::ROWS.to_vec();
    rows.sort_unstable();
    for (index, (number, name, fields)) in rows.iter().enumerate() {
        assert_eq!(usize::from(*number), index + 1, "{}::{name}", T::NAME);
        if fields.is_empty() {
            let mut cache = Cache::new();
            let mut reader = Reader::new(Cursor::new(std::slice::from_ref(number)), &mut cache);
            let value = T::get(&mut reader, T::NAME).unwrap();
            let mut out = Vec::new();
            value.put(&mut Writer::new(&mut out));
            assert_eq!(out, [*number], "{}::{name}", T::NAME);
        }
    }
    let mut cache = Cache::new();
    let mut reader = Reader::new(Cursor::new(&[0; 64]), &mut cache);
    assert!(
        T::get(&mut reader, T::NAME).is_err(),
        "nothing has number 0"
    );
}

#[test]
fn every_variant_has_its_number() {
    check_numbers::<State>();
    check_numbers::<Holder>();
    check_numbers::<Priority>();
    check_numbers::<Outcome>();
    check_numbers::<RunOutcome>();
    check_numbers::<FailureClass>();
    check_numbers::<Budget>();
    check_numbers::<DeadReason>();
    check_numbers::<PolicyRef>();
    check_numbers::<Shape>();
    check_numbers::<Jitter>();
    check_numbers::<RuleAction>();
    check_numbers::<ExhaustAction>();
    check_numbers::<RetryAfterMode>();
    check_numbers::<WorkerDelayMode>();
    check_numbers::<Event>();
}

#[test]
fn instants_and_numbers_come_back_from_both_ends_of_their_range() {
    let ends = [0, 1, 127, 128, u64::from(u32::MAX), u64::MAX - 1, u64::MAX];
    for epoch in ends {
        for at in ends {
            let event = Event::EpochStarted {
                epoch,
                at: Timestamp(at),
            };
            through_the_codec(&[record(event)]);
            let event = Event::TaskRedriven {
                id: id(1),
                at: Timestamp(at),
                not_before: Timestamp(epoch),
                by: "".into(),
                note: "".into(),
                kept: false,
            };
            through_the_codec(&[record(event)]);
        }
    }
}

fn record(event: Event) -> Recorded {
    Recorded {
        shard: ShardId(3),
        seq: 40_000_000,
        event,
    }
}

#[test]
fn the_records_of_a_plain_task_are_small() {
    const PAYLOAD_BYTES: usize = 100;
    let payload = Payload {
        data: Bytes::from_static(&[b'x'; PAYLOAD_BYTES]),
        content_type: Some("application/json".into()),
    };
    let task = Box::new(Task {
        payload,
        ..plain_task()
    });
    let enqueued = encoded(&record(Event::TaskEnqueued { task }));
    assert!(enqueued.len() - PAYLOAD_BYTES <= 75, "{}", enqueued.len());

    let granted = encoded(&record(Event::LeaseGranted {
        id: id(7),
        fence: Fence::new(1_800_000_000, 1),
        nonce: u64::MAX,
        holder: Holder::Session(SessionId(u128::MAX)),
        worker: "worker-1".into(),
        at: plain_task().enqueued_at.plus_ms(5000),
        timeouts: Timeouts::default(),
        started: false,
        delivery: DeliveryMode::default(),
    }));
    assert!(granted.len() <= 70, "{}", granted.len());

    let finished = encoded(&record(Event::TaskFinished {
        id: id(7),
        run: None,
        budget: None,
        outcome: Outcome::Succeeded,
        at: plain_task().enqueued_at.plus_ms(5000),
        result: None,
        label: None,
        leaves: Box::new(Leaves::default()),
        expires_at: None,
        act: None,
    }));
    assert!(finished.len() <= 28, "{}", finished.len());
}

#[test]
fn the_cleaner_learns_which_entity_a_record_speaks_of() {
    for sample in samples::all() {
        let entity = match &sample.event {
            Event::TaskEnqueued { task }
            | Event::TaskImage { task }
            | Event::TransferReceived { task, .. } => Some(Entity::Task(task.id)),
            Event::TransferSent { target, number, .. }
            | Event::TransferImage { target, number, .. } => Some(Entity::Transfer {
                target: *target,
                number: *number,
            }),
            Event::Remembered { key, .. } => Some(Entity::Memory(key.clone())),
            Event::KindConfigured { kind } => Some(Entity::Kind(kind.name.clone())),
            Event::EpochStarted { .. }
            | Event::LeaseExtended { .. }
            | Event::CheckpointSaved { .. }
            | Event::TaskEdited { .. }
            | Event::TaskExpired { .. }
            | Event::RememberedMore { .. }
            | Event::MemoriesForgotten { .. }
            | Event::KindRemoved { .. }
            | Event::QueueConfigured { .. }
            | Event::QueuePaused { .. }
            | Event::QueueResumed { .. }
            | Event::LeaseGranted { .. }
            | Event::LeaseStarted { .. }
            | Event::CancelRequested { .. }
            | Event::TimeoutsChanged { .. }
            | Event::RetryScheduled { .. }
            | Event::TaskDied { .. }
            | Event::TaskFinished { .. }
            | Event::TaskRedriven { .. }
            | Event::TasksForgotten { .. }
            | Event::ExpiredThrough { .. }
            | Event::TransferConfirmed { .. }
            | Event::SegmentOpened { .. }
            | Event::QueueImage { .. }
            | Event::SegmentsCleaned { .. } => None,
        };
        let found = entity_of(&encoded(&sample)).unwrap();
        assert_eq!(found, entity.map(|entity| (sample.shard, entity)));
    }
}

#[test]
fn every_record_says_first_whose_event_it_is_and_which() {
    for sample in samples::all() {
        let found = place_of(&encoded(&sample)).unwrap();
        assert_eq!(found, (sample.shard, sample.seq));
    }
}
