//! Fuzzed records: bytes are refused, or are the one form of a record; a replay refuses what does
//! not follow, and never panics.

use std::sync::Arc;

use super::hostile::read;
use super::{encoded, samples};
use crate::codec::Decoder;
use crate::engine::Engine;
use crate::fuzz::{Target, engine_config, run};
use crate::journal::simulated::SimulatedStorage;
use crate::journal::{Options, Storage as _, open};

/// A journal that a coordinator with four shards wrote.
const GOLDEN: &[u8] =
    include_bytes!("../../../../tests/golden/journal-1/segment-0000000000000001.log");
const GOLDEN_SHARDS: u16 = 4;

/// Records of an input, at most: each is a step of the replay.
const RECORDS_MAX: usize = 64;

/// Records as they stand behind each other in an input: two bytes of length, little-endian, each.
fn records_of(mut input: &[u8]) -> Vec<&[u8]> {
    let mut records = Vec::new();
    while let Some((len, rest)) = input.split_first_chunk() {
        let len = usize::from(u16::from_le_bytes(*len)).min(rest.len());
        let (record, rest) = rest.split_at(len);
        records.push(record);
        input = rest;
    }
    records.truncate(RECORDS_MAX);
    records
}

fn input_of(records: &[Vec<u8>]) -> Vec<u8> {
    let with_len = |record: &Vec<u8>| {
        let len = u16::try_from(record.len()).unwrap();
        [&len.to_le_bytes()[..], record].concat()
    };
    records.iter().flat_map(with_len).collect()
}

fn golden_records() -> Vec<Vec<u8>> {
    let storage = SimulatedStorage::new();
    let file = storage.create("segment-0000000000000001.log").unwrap();
    file.write_at(0, GOLDEN).unwrap();
    let mut records = Vec::new();
    let mut log = open(Arc::new(storage), Options::new(1, GOLDEN_SHARDS)).unwrap();
    log.replay(&mut |_, record| {
        records.push(record.to_vec());
        Ok(())
    })
    .unwrap();
    records
}

fn seeds() -> Vec<Vec<u8>> {
    let golden = golden_records();
    let mut seeds = vec![input_of(&golden)];
    seeds.extend(golden.iter().map(|it| input_of(std::slice::from_ref(it))));
    seeds.extend(samples::all().iter().map(|it| input_of(&[encoded(it)])));
    seeds
}

fn engine() -> Engine {
    Engine::new(engine_config(GOLDEN_SHARDS))
}

/// Decodes and replays, up to the first refusal. Records with right checksums may tell a lie that
/// could be true, so that nothing more is asked of what a replay accepts.
fn replay(input: &[u8]) {
    let mut decoder = Decoder::new();
    let mut engine = engine();
    engine.begin_replay(1);
    for bytes in records_of(input) {
        let Ok(record) = read(&mut decoder, bytes) else {
            return;
        };
        let once_more = read(&mut decoder, &encoded(&record)).unwrap();
        assert_eq!(once_more, record, "what is written is read as it was");
        if engine.replay(&record).is_err() {
            return;
        }
    }
    drop(engine.end_replay());
}

#[test]
fn records_are_refused_or_have_one_form_and_a_replay_never_panics() {
    let target = Target {
        corpus: "fuzz/records",
        tries: 10_000,
        seeds,
    };
    run(&target, replay);
}
