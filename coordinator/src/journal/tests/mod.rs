//! Tests of the journal on disk: one helper, and a file for each kind of evidence.

mod basics;
mod crashes;
mod faults;
mod fuzz;
mod repairs;
mod rot;
mod segments;
mod threads;
mod verdicts;

use std::sync::{Arc, Mutex};

use super::simulated::SimulatedStorage;
use super::*;

/// Segments as small as they may be.
pub(super) const SMALL: u64 = limits::SEGMENT_BYTES_MIN;
/// The tag of the tests' journals.
pub(super) const TAG: u16 = 16;

pub(super) type TestJournal = InlineJournal<Vec<u8>, u64>;
pub(super) type TestFrame = Frame<Vec<u8>, u64>;

/// Records are bytes already.
pub(super) struct Plain;

impl Encode<Vec<u8>> for Plain {
    fn encode(&self, record: &Vec<u8>, out: &mut Vec<u8>) {
        out.extend_from_slice(record);
    }
}

/// What the journal let go of.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Each release, and how many operations the disk had done by then.
    pub(super) releases: Vec<(u64, usize)>,
    pub(super) failures: Vec<JournalError>,
    /// Releases that came after the failure.
    pub(super) late: usize,
}

/// A sink that remembers; it knows the disk to say when something was released.
#[derive(Clone)]
pub(super) struct Ear {
    pub(super) told: Arc<Mutex<Told>>,
    storage: SimulatedStorage,
}

impl Ear {
    pub(super) fn new(storage: &SimulatedStorage) -> Self {
        Self {
            told: Arc::default(),
            storage: storage.clone(),
        }
    }

    pub(super) fn releases(&self) -> Vec<u64> {
        let told = self.told.lock().unwrap();
        told.releases.iter().map(|(release, _)| *release).collect()
    }
}

impl Sink<u64> for Ear {
    fn release(&mut self, release: u64) {
        let operations = self.storage.operations();
        let mut told = self.told.lock().unwrap();
        told.late += told.failures.len();
        told.releases.push((release, operations));
    }

    fn failed(&mut self, error: JournalError) {
        self.told.lock().unwrap().failures.push(error);
    }
}

pub(super) const fn options(syncing: Syncing) -> Options {
    Options {
        segment_bytes: SMALL,
        syncing,
        seed: 7,
        tag: TAG,
    }
}

pub(super) const ALWAYS: Options = options(Syncing::Always);

pub(super) fn disk(storage: &SimulatedStorage) -> Arc<dyn Storage> {
    Arc::new(storage.clone())
}

/// What records are filled with, from a place that depends on their number.
const FILL: [u8; 1024] = {
    let mut fill = [0; 1024];
    let mut at = 0;
    while at < fill.len() {
        fill[at] = format::mixed(at as u64).to_le_bytes()[0];
        at += 1;
    }
    fill
};

/// The tail of a record, of a length that depends on its number.
fn tail(number: u64) -> &'static [u8] {
    let from = usize::try_from(number * 13 % 512).unwrap();
    let len = usize::try_from(number * 37 % 400).unwrap();
    &FILL[from..from + len]
}

/// A record that says its number.
pub(super) fn record(number: u64) -> Vec<u8> {
    [&number.to_le_bytes(), tail(number)].concat()
}

/// The number of a record; panics where it is not what [`record`] made.
pub(super) fn number_of(bytes: &[u8]) -> u64 {
    let (number, rest) = bytes.split_first_chunk().unwrap();
    let number = u64::from_le_bytes(*number);
    assert!(
        rest == tail(number),
        "record {number} is not what was appended"
    );
    number
}

/// A frame with the records of these numbers, whose release is the last number.
pub(super) fn frame(numbers: std::ops::RangeInclusive<u64>, opens_segment: bool) -> TestFrame {
    Frame {
        release: *numbers.end(),
        records: numbers.map(record).collect(),
        opens_segment,
    }
}

/// What a replay hands out.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Replayed {
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) count: u64,
}

/// Opens and replays; the numbers must follow each other.
pub(super) fn replay(
    storage: &SimulatedStorage,
    options: Options,
) -> Result<(Recovered, Replayed), OpenError> {
    let mut recovered = open(disk(storage), options)?;
    let mut replayed = Replayed::default();
    recovered.replay(&mut |_, bytes| {
        let number = number_of(bytes);
        if replayed.count == 0 {
            replayed.first = number;
        } else {
            assert_eq!(number, replayed.last + 1, "a gap in the records");
        }
        replayed.last = number;
        replayed.count += 1;
        Ok(())
    })?;
    Ok((recovered, replayed))
}

/// Opens, replays and starts without threads.
pub(super) fn start(storage: &SimulatedStorage, options: Options) -> (TestJournal, Ear, Replayed) {
    let (recovered, replayed) = replay(storage, options).unwrap();
    let ear = Ear::new(storage);
    let journal = recovered.start_inline(Box::new(Plain), Box::new(ear.clone()));
    (journal.unwrap(), ear, replayed)
}

/// Appends a frame with these numbers, which opens a segment where the journal asks for that.
pub(super) fn append(
    journal: &mut TestJournal,
    numbers: std::ops::RangeInclusive<u64>,
) -> Result<(), JournalError> {
    let opener = Journal::<Vec<u8>, u64>::asks(journal).opener;
    journal.append(frame(numbers, opener))
}

/// A disk whose journal has the records 1 to `last`, one a frame, and was closed.
pub(super) fn closed_log(last: u64) -> SimulatedStorage {
    let storage = SimulatedStorage::new();
    let (mut journal, _, _) = start(&storage, ALWAYS);
    for number in 1..=last {
        append(&mut journal, number..=number).unwrap();
    }
    journal.close().unwrap();
    drop(journal);
    storage
}

/// The segment files, with their lengths.
pub(super) fn segment_files(storage: &SimulatedStorage) -> Vec<Stored> {
    let mut files = storage.list().unwrap();
    files.retain(|file| format::segment_number(&file.name).is_some());
    files
}
