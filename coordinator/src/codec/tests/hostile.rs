//! Bytes that are no record: refused with what and where, without a panic, before memory is taken.

use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};

use super::values::{id, plain_task, policy};
use super::{encoded, samples};
use crate::codec::cache::Cache;
use crate::codec::shape::{Item, Wire};
use crate::codec::wire::{Cursor, Reader, Writer};
use crate::codec::{DecodeError, Decoder, Problem, entity_of, place_of};
use crate::engine::event::{Event, Recorded};
use crate::engine::ids::{Fence, ShardId};
use crate::engine::ledger::history::{RunOutcome, RunRecord};
use crate::engine::ledger::task::{Side, Task};
use crate::engine::ledger::terms::Source;
use crate::engine::retry::Policy;
use crate::engine::retry::policy::{Match, Rule, RuleAction};

/// Gives the bytes to everything that reads them. What is taken for a record has this one form, but
/// where an old one is written otherwise now.
pub(super) fn read(decoder: &mut Decoder, bytes: &[u8]) -> Result<Recorded, DecodeError> {
    let peeked = (entity_of(bytes), place_of(bytes));
    let decoded = decoder.decode(bytes);
    if let Ok(record) = &decoded {
        let written = encoded(record);
        let otherwise = written.first() != bytes.first();
        // Some numbers are read for ever, and another one is written.
        let once = otherwise && [3, 8, 13].contains(&bytes[0]);
        let once = once || has_side_for_its_tally(record);
        assert!(once || written == bytes, "one form: {record:?}");
        assert!(peeked.0.is_ok() && peeked.1.is_ok());
    }
    decoded
}

/// A task of which a record may say counts and no side record; it gets one, which is written.
fn has_side_for_its_tally(record: &Recorded) -> bool {
    let (Event::TaskEnqueued { task }
    | Event::TaskImage { task }
    | Event::TransferSent { task, .. }
    | Event::TransferImage { task, .. }
    | Event::TransferReceived { task, .. }) = &record.event
    else {
        return false;
    };
    task.side.as_deref().is_some_and(|side| {
        let tally = side.tally;
        *side
            == Side {
                tally,
                ..Side::default()
            }
    })
}

#[test]
fn a_record_that_is_cut_short_is_refused() {
    let mut decoder = Decoder::new();
    for sample in samples::all() {
        let bytes = encoded(&sample);
        for end in 0..bytes.len() {
            let error = read(&mut decoder, &bytes[..end]).unwrap_err();
            assert!(error.at <= end, "{error}");
        }
    }
}

#[test]
fn a_record_that_something_follows_is_refused() {
    let mut decoder = Decoder::new();
    for sample in samples::all() {
        let mut bytes = encoded(&sample);
        bytes.push(0);
        let error = read(&mut decoder, &bytes).unwrap_err();
        assert_eq!(error.problem, Problem::Trailing(1), "{error}");
    }
}

#[test]
fn a_changed_byte_is_refused_or_means_something_else() {
    let mut decoder = Decoder::new();
    for sample in samples::all() {
        let bytes = encoded(&sample);
        for at in 0..bytes.len() {
            for mask in [0x01, 0x10, 0x80, 0xff] {
                let mut bytes = bytes.clone();
                bytes[at] ^= mask;
                if let Ok(record) = read(&mut decoder, &bytes) {
                    assert_ne!(encoded(&record), encoded(&sample));
                }
            }
        }
    }
}

#[test]
fn a_task_with_more_or_fewer_runs_than_its_fence_says_is_refused() {
    let task = Task {
        fence: Fence::new(1_800_000_000, 19),
        ..plain_task()
    };
    let bytes = encoded(&Recorded {
        shard: ShardId(3),
        seq: 1,
        event: Event::TaskImage {
            task: Box::new(task),
        },
    });
    // The last part is the fence, of eight bytes.
    let runs = bytes.len() - 9;
    assert_eq!(bytes[runs], 19);
    for (said, refused) in [(18, true), (19, false), (20, true)] {
        let mut bytes = bytes.clone();
        bytes[runs] = said;
        let problem = read(&mut Decoder::new(), &bytes).map_err(|error| error.problem);
        assert_eq!(problem.is_err(), refused, "{said}: {problem:?}");
        assert!(problem.is_ok() || problem == Err(Problem::Contradicts));
    }
}

#[test]
fn noise_is_refused_without_a_panic() {
    let mut rng = StdRng::seed_from_u64(1);
    let mut decoder = Decoder::new();
    for _ in 0..20_000 {
        let length = rng.random_range(0..200);
        let mut bytes = vec![0; length];
        rng.fill_bytes(&mut bytes);
        if let Some(kind) = bytes.first_mut() {
            *kind %= 24;
        }
        // Small numbers reach further than large ones.
        let mask = [0x0f, 0x7f, 0xff][rng.random_range(0..3)];
        bytes.iter_mut().skip(1).for_each(|byte| *byte &= mask);
        drop(read(&mut decoder, &bytes));
    }
}

fn refused(bytes: &[u8]) -> String {
    read(&mut Decoder::new(), bytes).unwrap_err().to_string()
}

#[test]
fn errors_say_what_and_where() {
    assert_eq!(refused(&[]), "kind, at byte 0 of the record, is cut short");
    assert_eq!(
        refused(&[0, 0, 1]),
        "kind, at byte 0 of the record, has the unknown number 0"
    );
    assert_eq!(
        refused(&[23, 0, 0, 7]),
        "sequence, at byte 2 of the record, is a number out of range or of the wrong form"
    );
    assert_eq!(
        refused(&[23, 0xff, 0xff, 0x7f, 1, 7]),
        "shard, at byte 1 of the record, is a number out of range or of the wrong form"
    );
    assert_eq!(
        refused(&[4, 0, 1, 3, b'a', b'/', 0xff]),
        "QueueResumed.queue, at byte 3 of the record, is not UTF-8"
    );
    assert_eq!(
        refused(&[4, 0, 1, 3, b'a', b'b', b'c']),
        "QueueResumed.queue, at byte 3 of the record, is not the name of a queue"
    );
    let nobody = [&[8, 0, 1][..], &[0; 16]].concat();
    assert_eq!(
        refused(&nobody),
        "CancelRequested.id, at byte 3 of the record, is not a UUID of version 7"
    );
    let strange = [&[9, 0, 1][..], &id(1).to_bytes(), &[8]].concat();
    assert_eq!(
        refused(&strange),
        "the bit set of Timeouts, at byte 19 of the record, has the unknown number 8"
    );
}

#[test]
fn a_list_is_refused_before_memory_is_taken_for_it() {
    // A count in the billions, and nothing behind it.
    let claim = [&[14, 0, 1][..], &[0xff, 0xff, 0xff, 0xff, 0x7f], &[0; 32]].concat();
    let error = read(&mut Decoder::new(), &claim).unwrap_err();
    assert_eq!(error.problem, Problem::TooMany((1 << 35) - 1));
    // Three ids where there is room for two.
    let ids = [&[14, 0, 1, 3][..], &id(1).to_bytes(), &id(2).to_bytes()].concat();
    let error = read(&mut Decoder::new(), &ids).unwrap_err();
    assert_eq!(error.problem, Problem::TooMany(3));
    // A text that is longer than the record, even than memory.
    for length in [&[0x7f][..], &[0xff; 9]] {
        let text = [&[4, 0, 1][..], length, &[1], b"default/mail"].concat();
        let error = read(&mut Decoder::new(), &text).unwrap_err();
        assert_eq!(error.problem, Problem::CutShort, "{error}");
    }
}

/// What the shortest item of a list takes, and that memory is no large multiple of it.
fn check_item<T: Item>(shortest: &T) {
    const MULTIPLE_MAX: usize = 40;
    let mut out = Vec::new();
    shortest.put(&mut Writer::new(&mut out));
    assert!(out.len() >= T::BYTES_MIN, "{} bytes", out.len());
    assert!(size_of::<T>() <= MULTIPLE_MAX * T::BYTES_MIN);
}

#[test]
fn items_of_lists_take_what_their_length_is_checked_by() {
    check_item(&RunRecord {
        run: 0,
        attempt: 0,
        worker: "".into(),
        leased_at: Default::default(),
        ended_at: Default::default(),
        started: false,
        outcome: RunOutcome::Succeeded,
        failure: None,
        rule: None,
        policy: None,
        policy_source: Source::Server,
        policy_revision: 0,
        delay: None,
        note: None,
    });
    check_item(&Rule::new("", Match::default(), RuleAction::Retry));
    check_item(&(ShardId(0), 0_u64));
    check_item(&id(0));
    check_item(&Arc::<str>::from(""));
}

#[test]
fn numbers_have_one_form() {
    let read = |bytes: &[u8]| {
        let mut cache = Cache::new();
        let mut reader = Reader::new(Cursor::new(bytes), &mut cache);
        u64::get(&mut reader, "number").map_err(|error| error.problem)
    };
    assert_eq!(read(&[0x7f]), Ok(127));
    assert_eq!(read(&[0x80, 0x01]), Ok(128));
    assert_eq!(read(&[0x80, 0x00]), Err(Problem::BadNumber));
    let most = [&[0xff; 9][..], &[0x01]].concat();
    assert_eq!(read(&most), Ok(u64::MAX));
    let more = [&[0xff; 9][..], &[0x02]].concat();
    assert_eq!(read(&more), Err(Problem::BadNumber));
    assert_eq!(read(&[0xff; 11]), Err(Problem::BadNumber));
    assert_eq!(read(&[0xff; 9]), Err(Problem::CutShort));
}

#[test]
fn what_is_not_a_number_is_refused() {
    let read = |number: f64| {
        let mut cache = Cache::new();
        let bytes = number.to_be_bytes();
        let mut reader = Reader::new(Cursor::new(&bytes), &mut cache);
        f64::get(&mut reader, "ratio").map_err(|error| error.problem)
    };
    assert_eq!(read(0.25), Ok(0.25));
    assert_eq!(read(f64::NAN), Err(Problem::BadNumber));
    assert_eq!(read(-f64::NAN), Err(Problem::BadNumber));
}

#[test]
fn a_policy_that_is_longer_or_shorter_than_it_says_is_refused() {
    let mut out = Vec::new();
    Arc::new(policy()).put(&mut Writer::new(&mut out));
    let read = |bytes: &[u8]| {
        let mut cache = Cache::new();
        let mut reader = Reader::new(Cursor::new(bytes), &mut cache);
        Arc::<Policy>::get(&mut reader, "policy").is_ok()
    };
    assert!(read(&out));
    for change in [1, 0xff] {
        let mut wrong = out.clone();
        wrong[3] = wrong[3].wrapping_add(change);
        wrong.push(0);
        assert!(!read(&wrong));
    }
}
