//! Power cuts at every operation of recorded runs: what was acknowledged is there afterwards.
//!
//! An image is the disk as it may be found after a power cut: all that was synced, and any subset of
//! what was not, in pieces of 512 bytes or 4 KiB.

use std::time::Duration;

use super::simulated::{Crashes, Tear};
use super::*;

/// A run, and what it may and must leave behind.
struct Run {
    storage: SimulatedStorage,
    options: Options,
    /// For each acknowledged record, the operations done by then. At `interval`: once it was synced.
    acked: Vec<(u64, usize)>,
    /// The highest number that was appended.
    appended: u64,
    /// For each deletion, the operations done before it, and the first number that it kept.
    deleted: Vec<(usize, u64)>,
}

impl Run {
    /// Records the work of several starts: frames of different sizes, rotations, deletions, refilled
    /// reserves, confirmations, ends without a close.
    fn record(options: Options, frames: u64) -> Self {
        let mut run = Self {
            storage: SimulatedStorage::new(),
            options,
            acked: Vec::new(),
            appended: 0,
            deleted: Vec::new(),
        };
        for start_no in 0..3 {
            run.work(start_no, frames / 3);
        }
        run
    }

    fn work(&mut self, start_no: u64, frames: u64) {
        let (mut journal, ear, _) = start(&self.storage, self.options);
        let mut openers: Vec<(u64, u64)> = Vec::new();
        for turn in 0..frames {
            let first = self.appended + 1;
            let last = first + turn % 4;
            if Journal::<Vec<u8>, u64>::asks(&journal).opener {
                let number = journal
                    .files()
                    .sealed()
                    .last()
                    .map_or(1, |last| last.number + 1);
                openers.push((number, first));
            }
            append(&mut journal, first..=last).unwrap();
            self.appended = last;
            if turn % 7 == 3 {
                journal.tend().unwrap();
            }
            if turn % 5 == 4 {
                journal.sync().unwrap();
                self.note_synced();
            }
            if turn % 11 == 10 {
                journal.confirm().unwrap();
            }
            if turn % 13 == 12 {
                self.clean(&journal, &openers);
            }
        }
        if start_no == 1 {
            journal.close().unwrap();
            self.note_synced();
        }
        if self.options.syncing == Syncing::Always {
            self.acked.extend(ear.told.lock().unwrap().releases.iter());
        }
    }

    fn note_synced(&mut self) {
        if self.options.syncing != Syncing::Always {
            self.acked.push((self.appended, self.storage.operations()));
        }
    }

    /// Deletes all but the last sealed segment.
    fn clean(&mut self, journal: &TestJournal, openers: &[(u64, u64)]) {
        let sealed = journal.files().sealed();
        let kept = sealed.last().map_or(0, |last| last.number);
        let first_kept = openers.iter().find(|(number, _)| *number == kept);
        if let Some((_, first_kept)) = first_kept {
            self.deleted.push((self.storage.operations(), *first_kept));
            journal.files().delete_below(kept).unwrap();
        }
    }

    /// The highest record that must be there after a power cut behind that many operations.
    fn acked_by(&self, operations: usize) -> u64 {
        let acked = self.acked.iter().filter(|(_, at)| *at <= operations);
        acked.map(|(number, _)| *number).max().unwrap_or(0)
    }

    /// The first record that may be missing no more: deletions begun keep it and all after it.
    fn kept_by(&self, operations: usize) -> u64 {
        let begun = self
            .deleted
            .iter()
            .filter(|(before, _)| *before <= operations);
        begun.map(|(_, kept)| *kept).max().unwrap_or(1)
    }

    /// Recovers one image and holds it to the promise.
    fn check(&self, image: &SimulatedStorage, operations: usize) -> (Recovered, Replayed) {
        let acked = self.acked_by(operations);
        let opened = replay(image, self.options);
        let (recovered, found) = opened.unwrap_or_else(|error| {
            panic!("after {operations} operations: {error}");
        });
        let kept = self.kept_by(operations);
        assert!(
            found.last >= acked,
            "{operations}: {found:?} lacks some of {acked}"
        );
        assert!(found.last <= self.appended, "{operations}: {found:?}");
        assert!(
            acked == 0 || found.first <= kept,
            "{operations}: {found:?} begins behind {kept}"
        );
        (recovered, found)
    }

    /// Recovers all images of all prefixes; says how many.
    fn check_all(&self, images_a_prefix: u64) -> u64 {
        let mut crashes = self.storage.crashes();
        let mut images = 0;
        loop {
            for tear in tears(images_a_prefix) {
                self.check(&crashes.image(tear), crashes.done());
                images += 1;
            }
            if !crashes.step() {
                return images;
            }
        }
    }
}

/// Nothing, everything, and subsets in pieces of both sizes.
fn tears(count: u64) -> impl Iterator<Item = Tear> {
    let some = (2..count).map(|seed| Tear::Some {
        seed,
        piece_bytes: if seed % 2 == 0 { 512 } else { 4096 },
    });
    [Tear::Nothing, Tear::Everything].into_iter().chain(some)
}

const INTERVAL: Options = options(Syncing::Interval {
    sync_every: Duration::from_millis(5),
});

/// I14, and the journal's part of I2: what was told is there.
#[test]
fn after_a_power_cut_at_any_operation_all_that_was_acknowledged_is_there() {
    let run = Run::record(ALWAYS, 300);
    assert!(run.deleted.len() > 5, "segments were deleted");
    let images = run.check_all(47);
    assert!(images >= 40_000, "{images} images");
}

#[test]
fn after_a_power_cut_at_interval_all_that_was_synced_is_there() {
    let run = Run::record(INTERVAL, 300);
    assert!(run.deleted.len() > 5, "segments were deleted");
    let images = run.check_all(36);
    assert!(images >= 20_000, "{images} images");
}

#[test]
fn after_the_end_of_the_process_at_interval_all_that_was_released_is_there() {
    let storage = SimulatedStorage::new();
    let (mut journal, ear, _) = start(&storage, INTERVAL);
    for number in 1..=150 {
        append(&mut journal, number..=number).unwrap();
    }
    let mut crashes = storage.crashes();
    while crashes.step() {
        let done = crashes.done();
        let told = ear.told.lock().unwrap();
        let acked = told.releases.iter().filter(|(_, at)| *at <= done).count();
        drop(told);
        let (_, found) = replay(&crashes.image(Tear::Everything), INTERVAL).unwrap();
        assert!(found.count >= acked as u64);
    }
}

#[test]
fn a_power_cut_in_the_middle_of_a_recovery_loses_nothing_either() {
    for options in [ALWAYS, INTERVAL] {
        let run = Run::record(options, 120);
        let mut crashes = run.storage.crashes();
        let mut images = 0;
        while crashes.step() {
            if !crashes.done().is_multiple_of(9) {
                continue;
            }
            for tear in tears(4) {
                images += recover_twice(&run, &crashes, tear);
            }
        }
        assert!(images >= 2_000, "{images} images");
    }
}

/// Recovers an image, goes on a little, and recovers the images of that.
fn recover_twice(run: &Run, crashes: &Crashes, tear: Tear) -> u64 {
    let image = crashes.image(tear);
    let (recovered, found) = run.check(&image, crashes.done());
    let ear = Ear::new(&image);
    let mut journal: TestJournal = recovered
        .start_inline(Box::new(Plain), Box::new(ear.clone()))
        .unwrap();
    append(&mut journal, found.last + 1..=found.last + 2).unwrap();
    let mut again = image.crashes();
    let mut images = 0;
    loop {
        for tear in tears(4) {
            let told = ear.told.lock().unwrap();
            let acked = told.releases.iter().any(|(_, at)| *at <= again.done());
            drop(told);
            let (_, second) = replay(&again.image(tear), run.options).unwrap();
            let must = found.last + if acked { 2 } else { 0 };
            assert!(second.last >= must, "{second:?} after {found:?}");
            assert!(found.last == 0 || second.first == found.first);
            images += 1;
        }
        if !again.step() {
            return images;
        }
    }
}

#[test]
fn the_simulated_disk_promises_what_was_synced_and_nothing_else() {
    let storage = SimulatedStorage::new();
    let file = storage.create("a").unwrap();
    file.write_at(0, &[1; 1024]).unwrap();
    assert!(storage.crash(Tear::Nothing).list().unwrap().is_empty());
    storage.sync_dir().unwrap();
    assert_eq!(storage.crash(Tear::Nothing).list().unwrap()[0].bytes, 0);
    file.sync_data().unwrap();
    file.write_at(512, &[2; 1024]).unwrap();
    storage.rename("a", "b").unwrap();
    let lost = storage.crash(Tear::Nothing);
    let mut bytes = [0; 1024];
    lost.open("a").unwrap().read_at(0, &mut bytes).unwrap();
    assert_eq!(bytes, [1; 1024]);
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..200 {
        let piece_bytes = 512;
        let image = storage.crash(Tear::Some { seed, piece_bytes });
        let file = image.open("a").or_else(|_| image.open("b")).unwrap();
        let mut sector = [0; 512];
        file.read_at(512, &mut sector).unwrap();
        seen.insert((
            image.list().unwrap()[0].clone().name,
            file.len().unwrap(),
            sector[0],
        ));
    }
    assert_eq!(
        seen.len(),
        8,
        "old and new name, length and sector, each on its own"
    );
    storage.forget();
    assert_eq!(storage.crash(Tear::Nothing).list().unwrap()[0].name, "a");
    assert_eq!(storage.crash(Tear::Everything).list().unwrap()[0].name, "b");
}
