//! Fuzzed logs: whatever the files hold, opening, replaying, inspecting and repairing end without a
//! panic and agree with each other; what is accepted is accepted again and gone on with; and of a
//! log that was confirmed, damage loses nothing unnoticed.

use super::*;
use crate::fuzz::{Target, run};
use format::{ALIGN, BLOCK_BYTES, FRAME_BYTES, FrameHeader, SegmentHeader};

/// A coordinator's journal.
const GOLDEN: &[u8] =
    include_bytes!("../../../../tests/golden/journal-1/segment-0000000000000001.log");
/// Bytes of a header block that say something; the rest is zero, and left out of inputs.
const HEADER_BYTES: usize = 88;
/// Segments of an input, at most.
const SEGMENTS_MAX: usize = 4;
/// Frames of a log that is made to be damaged, at most.
const FRAMES_MAX: usize = 24;

/// What is put right in files, so that what is behind the checksums is reached too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mended {
    Nothing,
    /// Checksums.
    Sums,
    /// Checksums, the numbers of frames, and what links frames and segments.
    Chains,
}

/// A segment file of an input: its number, how many zeros follow (in units of 64 bytes; 255 fills
/// the file up), the length of the rest, the header, the frames.
fn take_segment(input: &mut &[u8]) -> Option<(u64, Vec<u8>)> {
    let ([number, zeros, low, high], rest) = input.split_first_chunk()?;
    let len = usize::from(u16::from_le_bytes([*low, *high])).min(rest.len());
    let (said, rest) = rest.split_at(len);
    *input = rest;
    let (header, frames) = said.split_at(said.len().min(HEADER_BYTES));
    let mut bytes = header.to_vec();
    if said.len() > HEADER_BYTES {
        bytes.resize(BLOCK_BYTES, 0);
        bytes.extend_from_slice(frames);
    }
    let small = usize::try_from(SMALL).unwrap();
    let end = match zeros {
        255 => small.max(bytes.len()),
        zeros => bytes.len() + usize::from(*zeros) * 64,
    };
    bytes.resize(end, 0);
    // The last byte stands for the last number.
    let number = match number {
        255 => u64::MAX,
        number => u64::from(*number),
    };
    Some((number, bytes))
}

fn put_segment(input: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0) + 1;
    let whole = bytes.len() >= usize::try_from(SMALL).unwrap();
    let end = if whole { end } else { bytes.len() };
    let said = [
        &bytes[..HEADER_BYTES],
        &bytes[BLOCK_BYTES..end.max(BLOCK_BYTES)],
    ]
    .concat();
    let len = u16::try_from(said.len()).unwrap().to_le_bytes();
    input.extend([number, if whole { 255 } else { 0 }, len[0], len[1]]);
    input.extend(said);
}

fn number_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().unwrap()
}

/// A header as its bytes say, whatever its checksum.
fn raw_header(bytes: &[u8]) -> SegmentHeader {
    let u64_at = |at| u64::from_le_bytes(number_at(bytes, at));
    SegmentHeader {
        uuid: number_at(bytes, 16),
        incarnation: u64_at(32),
        number: u64_at(40),
        salt: u32::from_le_bytes(number_at(bytes, 48)),
        tag: u16::from_le_bytes(number_at(bytes, 52)),
        first_lsn: u64_at(56),
        prev_last_lsn: u64_at(64),
        prev_chain: u64_at(72),
        capacity: u64_at(80),
    }
}

/// A frame's header as its bytes say, whatever its checksum.
fn raw_frame(bytes: &[u8]) -> FrameHeader {
    let u32_at = |at| u32::from_le_bytes(number_at(bytes, at));
    let u64_at = |at| u64::from_le_bytes(number_at(bytes, at));
    FrameHeader {
        body_len: u32_at(4),
        body_crc: u32_at(12),
        lsn: u64_at(16),
        prev_chain: u64_at(24),
        durable_lsn: u64_at(32),
        n_records: u32_at(40),
        flags: u32_at(44),
    }
}

/// Puts right what is wrong; `before` is the last lsn of the segment before, and the chain after it.
fn mend(bytes: &mut [u8], how: Mended, before: &mut Option<(u64, u64)>) {
    if how == Mended::Nothing || bytes.len() < BLOCK_BYTES {
        return;
    }
    let mut header = raw_header(bytes);
    if let (Mended::Chains, Some((lsn, chain))) = (how, *before) {
        header.first_lsn = lsn.wrapping_add(1);
        (header.prev_last_lsn, header.prev_chain) = (lsn, chain);
    }
    bytes[..BLOCK_BYTES].copy_from_slice(&header.encode());
    let (mut lsn, mut chain) = (header.prev_last_lsn, header.prev_chain);
    let mut at = BLOCK_BYTES;
    while bytes.len() >= at + FRAME_BYTES && bytes[at..].starts_with(b"RFRM") {
        let mut frame = raw_frame(&bytes[at..]);
        let body_len = usize::try_from(frame.body_len).unwrap();
        let Some(body) = bytes[at + FRAME_BYTES..].get(..body_len) else {
            break;
        };
        frame.body_crc = format::body_crc(header.salt, body);
        if how == Mended::Chains {
            lsn = lsn.wrapping_add(1);
            (frame.lsn, frame.prev_chain) = (lsn, chain);
            frame.durable_lsn = frame.durable_lsn.min(lsn.saturating_sub(1));
        }
        chain = frame.chain();
        bytes[at..at + FRAME_BYTES].copy_from_slice(&frame.encode(header.salt));
        at += format::aligned(FRAME_BYTES + body_len);
    }
    *before = Some((lsn, chain));
}

fn write(storage: &SimulatedStorage, number: u64, bytes: &[u8]) {
    // The same number twice: the first one stays.
    if let Ok(file) = storage.create(&format::segment_name(number)) {
        file.write_at(0, bytes).unwrap();
        file.set_len(bytes.len() as u64).unwrap();
        file.sync_data().unwrap();
        storage.sync_dir().unwrap();
    }
}

fn files_of(mut input: &[u8], how: Mended) -> SimulatedStorage {
    let storage = SimulatedStorage::new();
    let mut before = None;
    for _ in 0..SEGMENTS_MAX {
        let Some((number, mut bytes)) = take_segment(&mut input) else {
            break;
        };
        mend(&mut bytes, how, &mut before);
        write(&storage, number, &bytes);
    }
    storage
}

/// Opens, whatever tag the journal was made with.
fn opened(storage: &SimulatedStorage) -> Result<Recovered, OpenError> {
    match open(disk(storage), ALWAYS) {
        Err(OpenError::WrongTag { found, .. }) => open(
            disk(storage),
            Options {
                tag: found,
                ..ALWAYS
            },
        ),
        other => other,
    }
}

/// All records; `None` where a frame is not made of records, which is nothing that recovery mends.
fn records(storage: &SimulatedStorage) -> Result<Option<Vec<Vec<u8>>>, OpenError> {
    let mut found = Vec::new();
    let replayed = opened(storage)?.replay(&mut |_, record| {
        found.push(record.to_vec());
        Ok(())
    });
    match replayed {
        Ok(()) => Ok(Some(found)),
        Err(OpenError::Refused { .. }) => Ok(None),
        Err(other) => Err(other),
    }
}

/// What is accepted is accepted again, and gone on with.
fn goes_on(storage: &SimulatedStorage) {
    let Some(mut known) = records(storage).unwrap() else {
        return;
    };
    let ear = Ear::new(storage);
    let started = opened(storage)
        .unwrap()
        .start_inline(Box::new(Plain), Box::new(ear.clone()));
    let mut journal: TestJournal = match started {
        Ok(journal) => journal,
        Err(refused) => {
            assert!(refused.to_string().contains("no more numbers"), "{refused}");
            return;
        }
    };
    append(&mut journal, 7..=7).unwrap();
    journal.close().unwrap();
    assert_eq!(ear.releases(), [7]);
    drop(journal);
    known.push(record(7));
    assert_eq!(
        records(storage).unwrap(),
        Some(known),
        "nothing is lost by going on"
    );
}

fn recover(input: &[u8], how: Mended) {
    let storage = files_of(input, how);
    let verdict = inspect(&storage).unwrap().verdict;
    let judged = opened(&storage).map(|mut log| log.judged());
    match verdict {
        LogVerdict::Good => {
            judged.unwrap().unwrap();
            goes_on(&storage);
        }
        LogVerdict::Foreign { .. } => {
            assert!(
                matches!(judged, Err(OpenError::Version { .. })),
                "{judged:?}"
            );
            assert!(matches!(
                repair(&storage, true),
                Err(RepairError::Foreign { .. })
            ));
        }
        LogVerdict::Damaged(damage) => {
            assert!(
                judged.is_err() || judged.is_ok_and(|tail| tail.is_err()),
                "{damage}"
            );
            assert!(matches!(
                repair(&storage, false),
                Err(RepairError::NotAccepted { .. })
            ));
            repair(&storage, true).unwrap();
            assert_eq!(inspect(&storage).unwrap().verdict, LogVerdict::Good);
            goes_on(&storage);
        }
    }
}

/// A log of frames and starts as the input says, closed; then one byte rots, or a file is cut. All
/// is there, or the log is refused.
fn rot_of(input: &[u8]) {
    let Some(([file, kind, low, high, mask], shape)) = input.split_first_chunk() else {
        return;
    };
    let storage = SimulatedStorage::new();
    let mut last = 0;
    let (mut journal, _, _) = start(&storage, ALWAYS);
    for step in shape.iter().take(FRAMES_MAX) {
        let count = u64::from(step % 8);
        if count > 0 {
            append(&mut journal, last + 1..=last + count).unwrap();
            last += count;
        } else if last > 0 {
            if *step & 8 > 0 {
                journal.close().unwrap();
            }
            drop(journal);
            (journal, _, _) = start(&storage, ALWAYS);
        }
    }
    append(&mut journal, last + 1..=last + 1).unwrap();
    last += 1;
    journal.close().unwrap();
    drop(journal);
    let files = segment_files(&storage);
    let file = &files[usize::from(*file) % files.len()];
    let bytes = usize::try_from(file.bytes).unwrap();
    let at = usize::from(u16::from_le_bytes([*low, *high])) % bytes;
    if kind % 2 == 0 {
        storage.rot(&file.name, at, *mask);
    } else {
        storage.cut(&file.name, at);
    }
    match replay(&storage, ALWAYS) {
        Ok((_, found)) => assert_eq!(found.count, last, "lost unnoticed: {} {at}", file.name),
        Err(OpenError::Corrupt { .. } | OpenError::Version { .. }) => {}
        Err(error) => panic!("{error}"),
    }
}

fn check(input: &[u8]) {
    let Some((mode, rest)) = input.split_first() else {
        return;
    };
    match mode % 4 {
        0 => recover(rest, Mended::Nothing),
        1 => recover(rest, Mended::Sums),
        2 => recover(rest, Mended::Chains),
        _ => rot_of(rest),
    }
}

/// The files of a disk as an input.
fn input_of(storage: &SimulatedStorage, mode: u8) -> Vec<u8> {
    let mut input = vec![mode];
    for (number, file) in (1..).zip(segment_files(storage)) {
        let mut bytes = Vec::new();
        let opened = storage.open(&file.name).unwrap();
        survey::read_whole(&*opened, &mut bytes).unwrap();
        put_segment(&mut input, number, &bytes);
    }
    input
}

/// The golden segment under this number, after a frame of this one.
fn golden_at(number: u8, lsn: u64) -> Vec<u8> {
    let mut bytes = GOLDEN.to_vec();
    if number == 255 {
        bytes[40..48].copy_from_slice(&u64::MAX.to_le_bytes());
    }
    bytes[56..64].copy_from_slice(&lsn.wrapping_add(1).to_le_bytes());
    bytes[64..72].copy_from_slice(&lsn.to_le_bytes());
    let mut input = Vec::new();
    put_segment(&mut input, number, &bytes);
    input
}

fn seeds() -> Vec<Vec<u8>> {
    const _: () = assert!(ALIGN == 8);
    let mut seeds = Vec::new();
    for mode in 0..3 {
        let mut golden = vec![mode];
        put_segment(&mut golden, 1, GOLDEN);
        seeds.push(golden);
        for closed in [true, false] {
            let storage = SimulatedStorage::new();
            let mut last = 0;
            for size in [1, 2, 1] {
                let (mut journal, _, _) = start(&storage, ALWAYS);
                append(&mut journal, last + 1..=last + 1).unwrap();
                append(&mut journal, last + 2..=last + 1 + size).unwrap();
                last += 1 + size;
                if closed {
                    journal.close().unwrap();
                }
            }
            seeds.push(input_of(&storage, mode));
        }
    }
    for (number, lsn) in [(1, u64::MAX - 3), (1, u64::MAX - 1), (255, 0)] {
        seeds.push([vec![2], golden_at(number, lsn)].concat());
    }
    for (kind, at) in [(0, 20_u16), (0, 4100), (0, 4200), (1, 4150), (1, 20)] {
        let [low, high] = at.to_le_bytes();
        seeds.push(vec![3, 0, kind, low, high, 1, 1, 3, 8, 2, 0, 5, 1]);
        seeds.push(vec![3, 1, kind, low, high, 0x80, 7, 8, 7, 7, 7, 0, 1]);
    }
    seeds
}

#[test]
fn a_log_with_the_last_numbers_is_not_gone_on_with() {
    for (number, lsn) in [(1, u64::MAX / 2), (255, 0)] {
        let storage = files_of(&golden_at(number, lsn), Mended::Chains);
        assert_eq!(inspect(&storage).unwrap().verdict, LogVerdict::Good);
        let log = opened(&storage).unwrap();
        let Err(refused) = log.start_inline(Box::new(Plain), Box::new(Ear::new(&storage))) else {
            panic!("gone on with")
        };
        assert!(refused.to_string().contains("no more numbers"), "{refused}");
    }
}

#[test]
fn whatever_the_files_hold_recovery_neither_panics_nor_loses_unnoticed() {
    let target = Target {
        corpus: "fuzz/journal",
        tries: 1500,
        seeds,
    };
    run(&target, check);
}
