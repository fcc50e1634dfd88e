//! The journal is cleaned in the middle of a storm: whatever segments are gone, what remains says
//! all there is.
//!
//! Owns the cleaner's part as the engine sees it: segments that open, entities recorded again in
//! the order of the log, and the oldest segments cut off. Checks rules 1 and 2 (I14): for every cut
//! that a cleaner could make, a replay of what remains equals what is there.

use super::storm::Storm;
use super::world::{World, cancel, enqueue_call};
use crate::codec::{self, Encoder};
use crate::engine::command::{Call, Command, Entity, Refresh, RefreshWhich};
use crate::engine::effect::Answer;
use crate::engine::event::{Event, Recorded};
use crate::engine::ids::{QueueName, ShardId};
use crate::engine::ledger::{ReplayError, ReplayProblem};
use crate::engine::rejection::Rejection;

const SEEDS: u64 = 12;
const STEPS: usize = 200;

impl Storm {
    /// What is recorded from here on lies in another segment.
    pub(super) fn next_segment(&mut self) {
        let number = self.segments.last().map_or(1, |(number, _)| number + 1);
        self.segments.push((number, self.journal.len()));
    }

    pub(super) fn open_segment(&mut self) {
        self.next_segment();
        self.give(Command::OpenSegment);
    }

    /// Records again what lives of the oldest segments, some at a time with the storm in between,
    /// and cuts them off; sometimes a crash comes between.
    pub(super) fn clean(&mut self, count: usize) {
        let (below, end) = self.segments[count];
        let opener = |recorded: &&Recorded| matches!(recorded.event, Event::SegmentOpened { .. });
        let openers: Vec<(ShardId, u64)> = self.journal[end..]
            .iter()
            .take_while(opener)
            .map(|recorded| (recorded.shard, recorded.seq))
            .collect();
        let records = self.journal[..end].iter();
        let entities: Vec<(ShardId, Entity)> = records.filter_map(entity_of).collect();
        for (shard, seq) in &openers {
            let mine = entities.iter().filter(|(of, _)| of == shard);
            let mine: Vec<Entity> = mine.map(|(_, entity)| entity.clone()).collect();
            for chunk in mine.chunks(3) {
                self.refresh(*shard, *seq, RefreshWhich::Entities(chunk.to_vec()));
                self.any();
            }
        }
        for (shard, seq) in &openers {
            for after in [None, Some("a"), Some("b")] {
                let after = after.map(|queue| QueueName::new("default", queue).unwrap());
                self.refresh(*shard, *seq, RefreshWhich::QueuesAfter(after));
                self.any();
            }
        }
        self.call(Call::SegmentsCleaned { below });
        if self.one_in(2) {
            // Not deleted yet, or not all of them: what is there is enough whatever is there.
            self.check_indexes();
            self.cut(1);
            self.check_indexes();
            self.cut(count - 1);
        } else {
            self.cut(count);
        }
    }

    fn refresh(&mut self, shard: ShardId, below: u64, which: RefreshWhich) {
        let refresh = Refresh {
            shard,
            below,
            which,
        };
        self.call(Call::Refresh(refresh));
    }

    fn cut(&mut self, count: usize) {
        let (_, end) = self.segments[count];
        self.journal.drain(..end);
        self.segments.drain(..count);
        for (_, start) in &mut self.segments {
            *start -= end;
        }
    }
}

/// The entity that a full record speaks of, as the cleaner learns it.
fn entity_of(recorded: &Recorded) -> Option<(ShardId, Entity)> {
    let mut bytes = Vec::new();
    Encoder.encode(recorded, &mut bytes);
    codec::entity_of(&bytes).unwrap()
}

/// I14, with the real codec.
#[test]
fn a_journal_that_is_cleaned_in_a_storm_says_all_there_is_at_every_cut() {
    for seed in 0..SEEDS {
        let mut storm = Storm::new(seed);
        for _ in 0..STEPS {
            storm.any();
            if storm.one_in(8) {
                storm.open_segment();
            }
            if storm.one_in(12) && storm.segments.len() > 2 {
                let count = storm.segments.len() as u64 - 1;
                let count = storm.below(count) + 1;
                storm.clean(usize::try_from(count).unwrap());
                storm.check_indexes();
            }
        }
        assert!(storm.segments[0].0 > 1, "something was cut off");
        storm.clear_up();
        storm.check_indexes();
    }
}

#[test]
fn a_log_without_its_beginning_that_nobody_cleaned_is_refused() {
    let mut world = World::new();
    world.enqueue("t1", "mail");
    let missing = world.replay_from(2, |_| true);
    assert_eq!(missing, Err(ReplayError::NotWhole { first_segment: 2 }));
}

#[test]
fn what_speaks_of_an_unknown_task_is_refused_in_a_log_that_is_whole() {
    let mut world = World::new();
    world.enqueue("t1", "mail");
    world.hello("w1", &["mail"], 1);
    let id = world.id("t1");
    let lost = world.replay_from(1, |event| !matches!(event, Event::TaskEnqueued { .. }));
    let Err(ReplayError::Event { seq, problem, .. }) = lost else {
        panic!("{lost:?}")
    };
    assert_eq!(problem, ReplayProblem::OutOfSequence { last: seq - 2 });
    let unknown = world.replay_renumbered(|event| !matches!(event, Event::TaskEnqueued { .. }));
    let Err(ReplayError::Event { problem, .. }) = unknown else {
        panic!("{unknown:?}")
    };
    let what = format!("task {id}");
    assert_eq!(problem, ReplayProblem::Unknown { what });
}

#[test]
fn what_cannot_have_happened_is_refused_and_not_applied() {
    let mut world = World::new();
    world.enqueue("t1", "mail");
    world.hello("w1", &["mail"], 1);
    world.begin("w1");
    let begun = world.replay_renumbered(|event| !matches!(event, Event::LeaseGranted { .. }));
    let Err(error @ ReplayError::Event { .. }) = begun else {
        panic!("{begun:?}")
    };
    assert_eq!(
        error.to_string(),
        "event 5 of shard 0 says what cannot be: something that cannot happen to a task in its state"
    );
}

#[test]
fn what_contradicts_the_records_before_it_is_refused_with_its_reason() {
    let mut world = World::new();
    world.enqueue("t1", "mail");
    let ledger = world.engine.ledger(ShardId(0)).unwrap();
    let task = Box::new(ledger.task(world.id("t1")).unwrap().clone());
    let mut changed = task.clone();
    changed.payload.data = vec![7].into();
    let mut shard = Box::new(ledger.image());
    shard.epoch += 1;
    let (at, epoch, ids) = (world.now, ledger.epoch(), vec![task.id]);
    let contradictions = [
        (
            Event::EpochStarted { at, epoch },
            "an epoch that does not grow",
        ),
        (
            Event::TaskEnqueued { task: task.clone() },
            "a task that was there before",
        ),
        (
            Event::TasksForgotten { ids },
            "a task forgotten that is not over",
        ),
        (
            Event::TransferReceived {
                origin: ShardId(0),
                number: 2,
                task: task.clone(),
            },
            "a transfer that is not the next one",
        ),
        (Event::TaskImage { task: changed }, "an image that differs"),
        (
            Event::SegmentOpened { shard },
            "an image of the shard that differs",
        ),
    ];
    for (event, what) in contradictions {
        let Err(ReplayError::Event { problem, .. }) = world.replay_with(event) else {
            panic!("accepted: {what}")
        };
        assert_eq!(problem, ReplayProblem::Impossible { what });
    }
    assert_eq!(world.replay_with(Event::TaskImage { task }), Ok(()));
}

#[test]
fn segments_that_older_builds_opened_are_replayed() {
    let mut world = World::new();
    world.enqueue("t1", "mail");
    let id = world.id("t1");
    world.call(cancel(id, "not needed")).unwrap();
    let newest = world.engine.newest();
    world.wait_ms(3_600_000);
    world.give(Command::OpenSegment);
    let mut log = world.journal().to_vec();
    let opener = log.last_mut().unwrap();
    let Event::SegmentOpened { shard } = &mut opener.event else {
        panic!("{opener:?}")
    };
    // They did not count what was forgotten among the instants that time may not begin before.
    assert!(shard.newest > newest);
    shard.newest = newest;
    world.replay_records(&log);
}

fn try_enqueue(world: &mut World) -> Result<(), Rejection> {
    let task = super::world::new_task("mail");
    world.call(enqueue_call(vec![task])).map(drop)
}

#[test]
fn a_full_disk_refuses_what_grows_and_takes_what_shrinks() {
    let mut world = World::new();
    world.enqueue("t1", "mail");
    world.enqueue("t2", "mail");
    world.hello("w1", &["mail"], 1);
    world.give(Command::DiskFull(true));
    assert_eq!(try_enqueue(&mut world), Err(Rejection::DiskFull));
    world.report("w1", ("t1", 1), super::world::complete());
    assert_eq!(world.state("t1"), "SUCCEEDED");
    let id = world.id("t2");
    world.call(cancel(id, "not needed")).unwrap();
    world.give(Command::DiskFull(false));
    assert!(try_enqueue(&mut world).is_ok());
}

#[test]
fn a_refresh_looks_at_no_more_than_a_turn_should_hold_and_says_so() {
    let mut world = World::new();
    let names = ["t1", "t2", "t3"];
    for name in names {
        let mut task = super::world::new_task("mail");
        task.payload.data = vec![7; 600_000].into();
        world.enqueue_as(name, task);
    }
    let entities = names.map(|name| Entity::Task(world.id(name)));
    let mut refresh = |entities: &[Entity]| {
        let refresh = Refresh {
            shard: ShardId(0),
            below: u64::MAX,
            which: RefreshWhich::Entities(entities.to_vec()),
        };
        let answer = world.call(Call::Refresh(refresh)).unwrap();
        let Answer::Refreshed { looked_at, .. } = answer else {
            panic!("{answer:?}")
        };
        looked_at
    };
    assert_eq!(refresh(&entities), 2, "over a mebibyte with the second");
    assert_eq!(refresh(&entities[2..]), 1);
}
