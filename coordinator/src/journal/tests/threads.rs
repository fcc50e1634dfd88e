//! The journal with its threads: what callers see, and that they are told what went wrong.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use super::simulated::{OpKind, Tear};
use super::*;

/// A sink that sends on what it is told.
struct Wire(Sender<Result<u64, JournalError>>);

impl Sink<u64> for Wire {
    fn release(&mut self, release: u64) {
        self.0.send(Ok(release)).unwrap_or_default();
    }

    fn failed(&mut self, error: JournalError) {
        self.0.send(Err(error)).unwrap_or_default();
    }
}

type Threaded = LocalJournal<Vec<u8>, u64>;

fn begin(
    storage: &SimulatedStorage,
    options: Options,
) -> (Threaded, Receiver<Result<u64, JournalError>>) {
    let (tell, told) = channel();
    let (recovered, _) = replay(storage, options).unwrap();
    let journal = recovered.start(Box::new(Plain), Box::new(Wire(tell)));
    (journal.unwrap(), told)
}

fn put(journal: &mut Threaded, number: u64) -> Result<(), JournalError> {
    let opener = Journal::<Vec<u8>, u64>::asks(journal).opener;
    journal.append(frame(number..=number, opener))
}

fn interval(ms: u64) -> Options {
    options(Syncing::Interval {
        sync_every: Duration::from_millis(ms),
    })
}

#[test]
fn threads_release_everything_in_order_and_end_with_the_journal() {
    for options in [ALWAYS, interval(1)] {
        let storage = SimulatedStorage::new();
        let mut last = 0;
        for _ in 0..3 {
            let (mut journal, told) = begin(&storage, options);
            for number in last + 1..=last + 500 {
                put(&mut journal, number).unwrap();
            }
            journal.close().unwrap();
            journal.close().unwrap();
            assert!(put(&mut journal, 1).is_err(), "it was closed");
            drop(journal);
            let released: Vec<u64> = told.iter().map(Result::unwrap).collect();
            assert_eq!(released, (last + 1..=last + 500).collect::<Vec<_>>());
            last += 500;
        }
        let image = storage.crash(Tear::Nothing);
        assert_eq!(replay(&image, options).unwrap().1.count, last);
    }
}

#[test]
fn a_journal_that_is_dropped_is_left_as_by_the_end_of_the_process() {
    let storage = SimulatedStorage::new();
    let (mut journal, told) = begin(&storage, ALWAYS);
    for number in 1..=50 {
        put(&mut journal, number).unwrap();
    }
    drop(journal);
    let acked = told.iter().map(Result::unwrap).max().unwrap_or(0);
    let (_, found) = replay(&storage.crash(Tear::Nothing), ALWAYS).unwrap();
    assert!(found.last >= acked);
}

#[test]
fn a_quiet_journal_confirms_its_last_frame_by_itself() {
    for options in [ALWAYS, interval(1)] {
        let storage = SimulatedStorage::new();
        let (mut journal, told) = begin(&storage, options);
        put(&mut journal, 1).unwrap();
        put(&mut journal, 2).unwrap();
        assert_eq!(told.recv().unwrap().unwrap(), 1);
        assert_eq!(told.recv().unwrap().unwrap(), 2);
        // Nobody appends: the empty frame comes after 50 ms.
        let segment = segment_files(&storage).pop().unwrap();
        let last = || rot::frames_of(&storage, &segment).pop().unwrap();
        while last().n_records > 0 {
            std::thread::yield_now();
        }
        drop(journal);
    }
}

#[test]
fn a_failed_sync_is_told_once_and_ends_the_journal() {
    for (options, nth) in [(ALWAYS, 1), (ALWAYS, 5), (interval(1), 2)] {
        let storage = SimulatedStorage::new();
        let (mut journal, told) = begin(&storage, options);
        put(&mut journal, 1).unwrap();
        assert_eq!(told.recv().unwrap().unwrap(), 1);
        // The reserve is full: only frames are synced from now on.
        while journal.files().stats().numbers().spares_ready < 2 {
            std::thread::yield_now();
        }
        storage.fail_nth(OpKind::Sync, nth);
        let mut number = 1;
        let error = loop {
            number += 1;
            if let Err(error) = put(&mut journal, number) {
                break error;
            }
        };
        let told: Vec<_> = std::iter::from_fn(|| told.recv().ok())
            .take_while(|told| told.as_ref() != Err(&error))
            .collect();
        assert!(told.iter().all(Result::is_ok), "nothing else was told");
        assert_eq!(put(&mut journal, 999), Err(error.clone()));
        assert_eq!(journal.close(), Err(error));
    }
}

#[test]
fn an_encoder_that_panics_fails_the_journal() {
    struct Panics;
    impl Encode<Vec<u8>> for Panics {
        fn encode(&self, _: &Vec<u8>, _: &mut Vec<u8>) {
            panic!("a bug of the encoder");
        }
    }
    let storage = SimulatedStorage::new();
    let (tell, told) = channel();
    let recovered = open(disk(&storage), ALWAYS).unwrap();
    let mut journal: Threaded = recovered
        .start(Box::new(Panics), Box::new(Wire(tell)))
        .unwrap();
    put(&mut journal, 1).unwrap();
    assert!(told.recv().unwrap().is_err());
    assert!(put(&mut journal, 2).is_err());
    assert!(journal.close().is_err());
}

#[test]
fn a_full_disk_is_noticed_and_forgiven_by_the_helper_alone() {
    let storage = SimulatedStorage::new();
    let (mut journal, told) = begin(&storage, ALWAYS);
    put(&mut journal, 1).unwrap();
    told.recv().unwrap().unwrap();
    while journal.files().stats().numbers().spares_ready < 2 {
        std::thread::yield_now();
    }
    storage.set_capacity(Some(storage.used_bytes()));
    let mut number = 1;
    while !Journal::<Vec<u8>, u64>::asks(&journal).refuse_growth {
        number += 1;
        put(&mut journal, number).unwrap();
        told.recv().unwrap().unwrap();
        if journal.files().sealed().len() == 1 {
            while !Journal::<Vec<u8>, u64>::asks(&journal).refuse_growth {
                std::thread::yield_now();
            }
        }
    }
    number += 1;
    put(&mut journal, number).unwrap();
    told.recv().unwrap().unwrap();
    storage.set_capacity(None);
    while Journal::<Vec<u8>, u64>::asks(&journal).refuse_growth {
        std::thread::yield_now();
    }
    journal.close().unwrap();
    assert_eq!(replay(&storage, ALWAYS).unwrap().1.last, number);
}

#[test]
fn a_large_log_streams_through_the_thread_that_reads_ahead() {
    let storage = SimulatedStorage::new();
    let roomy = Options {
        segment_bytes: 1 << 20,
        ..ALWAYS
    };
    let (mut journal, _, _) = start(&storage, roomy);
    for batch in 0..600 {
        append(&mut journal, batch * 50 + 1..=batch * 50 + 50).unwrap();
    }
    journal.close().unwrap();
    drop(journal);
    assert!(segment_files(&storage).len() > 4);
    assert_eq!(replay(&storage, roomy).unwrap().1.count, 30_000);
    let mut recovered = open(disk(&storage), roomy).unwrap();
    let stopped = recovered.replay(&mut |pos, _| {
        if pos.segment == 2 {
            return Err("enough".to_owned());
        }
        Ok(())
    });
    assert!(matches!(stopped, Err(OpenError::Refused { .. })));
    drop(recovered);
    storage.rot(&format::segment_name(3), 50_000, 1);
    let refused = replay(&storage, roomy).unwrap_err();
    assert!(matches!(refused, OpenError::Corrupt { .. }), "{refused}");
}
