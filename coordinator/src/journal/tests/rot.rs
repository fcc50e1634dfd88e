//! Rot and careless hands: whatever bit flips, whatever is cut, all that was acknowledged is
//! recovered or the journal refuses to start.
//!
//! Exempt is exactly the last frame before an empty one has confirmed it: its rot cannot be told
//! from a write that was under way.

use super::*;

/// A disk with several short segments, from several starts, and how many records it has.
fn short_segments(confirmed: bool) -> (SimulatedStorage, u64) {
    let storage = SimulatedStorage::new();
    let mut last = 0;
    for _ in 0..3 {
        let (mut journal, _, _) = start(&storage, ALWAYS);
        for size in [1, 3, 2] {
            append(&mut journal, last + 1..=last + size).unwrap();
            last += size;
        }
        if confirmed {
            journal.close().unwrap();
        }
    }
    (storage, last)
}

/// Where the frames of a segment are, and its bytes.
pub(super) fn frames_of(storage: &SimulatedStorage, file: &Stored) -> Vec<recover::FrameAt> {
    let mut bytes = Vec::new();
    let opened = storage.open(&file.name).unwrap();
    survey::read_whole(&*opened, &mut bytes).unwrap();
    let header = format::SegmentHeader::decode(&bytes).unwrap();
    let mut frames = Vec::new();
    recover::scan(&bytes, &survey::Segment::expect(&header, true), &mut frames);
    frames
}

/// Bits of a segment to be flipped: all of what its header and its frames' headers say, one of every
/// other byte.
fn bits(file: &Stored, frames: &[recover::FrameAt]) -> Vec<(usize, u8)> {
    let mut bits = Vec::new();
    let headers = frames.iter().map(|frame| frame.offset..frame.body_at());
    let headers: Vec<_> = headers.chain(std::iter::once(0..96)).collect();
    let end = frames.last().unwrap().end() + 16;
    for at in 0..end.min(usize::try_from(file.bytes).unwrap()) {
        if headers.iter().any(|header| header.contains(&at)) {
            bits.extend((0..8).map(|bit| (at, 1 << bit)));
        } else {
            bits.push((at, 1 << (at % 8)));
        }
    }
    bits
}

#[test]
fn no_flipped_bit_loses_anything_but_the_last_unconfirmed_frame_unnoticed() {
    for confirmed in [true, false] {
        let (storage, last) = short_segments(confirmed);
        let files = segment_files(&storage);
        let (mut flips, mut refused, mut exempt) = (0, 0, 0);
        for file in &files {
            let frames = frames_of(&storage, file);
            let is_last = file == files.last().unwrap();
            for (at, bit) in bits(file, &frames) {
                storage.rot(&file.name, at, bit);
                match replay(&storage, ALWAYS) {
                    Ok((_, found)) if found.count < last => {
                        let unconfirmed = frames.last().unwrap();
                        let within = unconfirmed.offset..unconfirmed.end();
                        assert!(
                            !confirmed && is_last && within.contains(&at),
                            "{file:?} {at}"
                        );
                        assert_eq!(found.count, last - 2, "exactly that frame");
                        exempt += 1;
                    }
                    Ok((_, found)) => assert_eq!(found.count, last),
                    Err(OpenError::Corrupt { damage, .. }) => {
                        assert_eq!(damage.file, file.name, "{damage}");
                        refused += 1;
                    }
                    Err(OpenError::Version { .. }) => refused += 1,
                    Err(error) => panic!("{error}"),
                }
                storage.rot(&file.name, at, bit);
                flips += 1;
            }
        }
        assert!(
            flips > 15_000 && refused > 10_000,
            "{flips} flips, {refused} refused"
        );
        assert_eq!(exempt > 0, !confirmed);
        assert_eq!(
            replay(&storage, ALWAYS).unwrap().1.count,
            last,
            "all is as it was"
        );
    }
}

#[test]
fn a_segment_cut_at_any_byte_of_its_frames_refuses_unless_all_its_frames_are_left() {
    let (storage, last) = short_segments(true);
    let files = segment_files(&storage);
    for file in &files {
        let frames = frames_of(&storage, file);
        let end = frames.last().unwrap().end();
        let is_last = file == files.last().unwrap();
        for len in 0..usize::try_from(file.bytes).unwrap() {
            // In the header block and behind the frames some will do.
            let within = len + 64 > format::BLOCK_BYTES && len < end + 64;
            if !within && len % 32 != 0 {
                continue;
            }
            let image = storage.crash(simulated::Tear::Everything);
            image.cut(&file.name, len);
            match replay(&image, ALWAYS) {
                Ok((_, found)) => {
                    assert_eq!(found.count, last, "{file:?} cut at {len}");
                    assert!(len >= end && (!is_last || len == end + 8), "cut at {len}");
                }
                Err(OpenError::Corrupt { damage, .. }) => {
                    assert!(len < end || is_last, "{damage}");
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
}

#[test]
fn a_segment_that_is_gone_or_foreign_or_in_anothers_place_is_refused() {
    let (storage, _) = short_segments(true);
    let files = segment_files(&storage);
    let names: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
    let image = || storage.crash(simulated::Tear::Everything);
    let copy = |from: &SimulatedStorage, name: &str, to: &SimulatedStorage, new: &str| {
        let mut bytes = Vec::new();
        survey::read_whole(&*from.open(name).unwrap(), &mut bytes).unwrap();
        to.remove(new).unwrap_or_default();
        to.create(new).unwrap().write_at(0, &bytes).unwrap();
    };
    let refused = |storage: &SimulatedStorage, why: &str| {
        let error = replay(storage, ALWAYS).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
        assert!(
            error.contains("redrive journal repair DIR --accept-loss"),
            "{error}"
        );
    };

    let gap = image();
    gap.remove(names[1]).unwrap();
    refused(&gap, "segment-0000000000000002.log is missing before it");
    let swapped = image();
    copy(&storage, names[2], &swapped, names[1]);
    refused(&swapped, "under another's name");
    let relative = image();
    copy(&journal_of_another_seed(), names[1], &relative, names[1]);
    refused(&relative, "belongs to another journal");
    let headless = image();
    headless.rot(names[1], 40, 1);
    refused(&headless, "the segment's header is damaged");
}

fn journal_of_another_seed() -> SimulatedStorage {
    let storage = SimulatedStorage::new();
    let other = Options { seed: 8, ..ALWAYS };
    for number in 1..=3 {
        let (mut journal, _, _) = start(&storage, other);
        append(&mut journal, number..=number).unwrap();
    }
    storage
}

#[test]
fn a_newer_format_is_not_taken_for_damage() {
    let (storage, _) = short_segments(true);
    storage.rot(&format::segment_name(2), 8, 3);
    let refused = replay(&storage, ALWAYS).unwrap_err();
    assert!(matches!(refused, OpenError::Version { .. }), "{refused}");
    let told = refused.to_string();
    assert!(
        told.contains("format version 2, this program knows 1"),
        "{told}"
    );
    assert!(!told.contains("accept-loss"), "{told}");
}

#[test]
fn damage_says_which_file_which_byte_and_what_would_be_lost() {
    let storage = closed_log(200);
    let name = format::segment_name(2);
    let file = Stored {
        name: name.clone(),
        bytes: SMALL,
    };
    let frames = frames_of(&storage, &file);
    storage.rot(&name, frames[5].body_at() + 6, 1);
    let Err(OpenError::Corrupt { damage, place }) = replay(&storage, ALWAYS) else {
        panic!("it was refused");
    };
    let lsn = frames[5].lsn;
    assert_eq!(
        (damage.segment, damage.offset),
        (2, frames[5].offset as u64)
    );
    assert_eq!((damage.first_lsn, damage.last_lsn), (lsn, 201));
    assert_eq!(damage.records_lost, 200 - (lsn - 1));
    let after = segment_files(&storage).len() as u64 - 2;
    assert_eq!(damage.segments_after, after);
    assert_eq!(
        format!("{place}: {damage}"),
        format!(
            "simulated disk: {name} is damaged at byte {}: the frame's checksum does not match; at \
             least {} frames with {} records (lsn {lsn} to 201) would be lost, later \
             segments ({after}) among them; restore the files from a backup, or accept the loss with \
             `redrive journal repair DIR --accept-loss`",
            frames[5].offset,
            202 - lsn,
            201 - lsn,
        )
    );
}
