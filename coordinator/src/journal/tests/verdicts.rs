//! The verdict on bytes, over every combination of what can stand where a frame should.

use super::format::{
    BLOCK_BYTES, FRAME_BYTES, FrameHeader, HeaderFault, SegmentHeader, aligned, body_crc, mixed,
};
use super::recover::{Ending, Expect, FrameAt, Verdict, Why, scan};

const SALT: u32 = 0xA5A5;
const CAPACITY: usize = BLOCK_BYTES + 1024;

/// What stands in the place of one frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Good,
    /// Its header does not check.
    BadHeader,
    /// Its body does not check.
    BadBody,
    /// Its bytes are zeros.
    Missing,
    /// Good, with another salt: of another file.
    Stale,
}

const KINDS: [At; 5] = [At::Good, At::BadHeader, At::BadBody, At::Missing, At::Stale];

/// Where a frame was written, and the last lsn that it knows to be synced.
struct Written {
    offset: usize,
    durable: u64,
}

/// A segment with these frames; the n-th has lsn n and knows syncs up to `durable(n)`.
fn segment(frames: &[At], durable: impl Fn(u64) -> u64) -> (Vec<u8>, Vec<Written>) {
    let mut bytes = vec![0; BLOCK_BYTES];
    let mut written = Vec::new();
    let mut chain = 9;
    for (lsn, at) in (1..).zip(frames) {
        let body = [&[4, 0, 0, 0][..], &[7; 4]].concat();
        let salt = if *at == At::Stale { SALT + 1 } else { SALT };
        let header = FrameHeader {
            body_len: 8,
            body_crc: body_crc(salt, &body),
            lsn,
            prev_chain: chain,
            durable_lsn: durable(lsn),
            n_records: 1,
            flags: 0,
        };
        chain = header.chain();
        let mut frame = header.encode(salt).to_vec();
        frame.extend(body);
        frame.resize(aligned(frame.len()), 0);
        match at {
            At::Good | At::Stale => {}
            At::BadHeader => frame[20] ^= 1,
            At::BadBody => frame[FRAME_BYTES + 5] ^= 1,
            At::Missing => frame.fill(0),
        }
        written.push(Written {
            offset: bytes.len(),
            durable: durable(lsn),
        });
        bytes.extend(frame);
    }
    bytes.resize(CAPACITY, 0);
    (bytes, written)
}

fn expect(last: bool) -> Expect {
    Expect {
        salt: SALT,
        next_lsn: 1,
        chain: 9,
        capacity: CAPACITY as u64,
        last,
    }
}

fn judge(bytes: &[u8], expect: &Expect) -> (Verdict, Vec<FrameAt>) {
    let mut frames = Vec::new();
    let verdict = scan(bytes, expect, &mut frames);
    (verdict, frames)
}

/// All combinations of kinds for `len` frames.
fn combinations(len: u32) -> impl Iterator<Item = Vec<At>> {
    (0..KINDS.len().pow(len)).map(move |mut code| {
        let mut kinds = Vec::new();
        for _ in 0..len {
            kinds.push(KINDS[code % KINDS.len()]);
            code /= KINDS.len();
        }
        kinds
    })
}

#[test]
fn a_torn_tail_is_cut_and_damage_refused_in_every_combination_of_frames() {
    type DurableOf = fn(u64) -> u64;
    // As `always` writes them; as `interval` does, synced now and then, and never.
    let levels: [DurableOf; 3] = [|lsn| lsn - 1, |lsn| (lsn - 1) / 2 * 2, |_| 0];
    let mut verdicts = 0;
    for durable in levels {
        for kinds in combinations(5) {
            let (bytes, written) = segment(&kinds, durable);
            let good = kinds.iter().take_while(|kind| **kind == At::Good).count();
            let rest = &kinds[good..];
            let blank = rest.iter().all(|kind| *kind == At::Missing);
            let bad_lsn = good as u64 + 1;
            // A header that is good tells, whether or not its body is.
            let told = |(at, kind): (usize, &At)| {
                at > 0
                    && matches!(kind, At::Good | At::BadBody)
                    && written[good + at].durable >= bad_lsn
            };
            let proven = rest.iter().enumerate().any(told);
            for last in [true, false] {
                let (verdict, frames) = judge(&bytes, &expect(last));
                assert_eq!(frames.len(), good, "{kinds:?}");
                assert_eq!(verdict.last_lsn, good as u64, "{kinds:?}");
                let right = match verdict.ending {
                    Ending::Clean => blank,
                    Ending::Torn(_) => last && !blank && !proven,
                    Ending::Corrupt(_) => !blank && (!last || proven),
                };
                assert!(right, "{kinds:?}, last: {last}: {:?}", verdict.ending);
                if let Ending::Torn(fault) | Ending::Corrupt(fault) = verdict.ending {
                    assert_eq!((fault.offset, fault.lsn), (written[good].offset, bad_lsn));
                }
                verdicts += 1;
            }
        }
    }
    assert_eq!(verdicts, 3 * 3125 * 2);
}

#[test]
fn a_good_header_in_a_wrong_place_is_damage_everywhere() {
    let (bytes, _) = segment(&[At::Good; 2], |lsn| lsn - 1);
    for last in [true, false] {
        let ahead = Expect {
            next_lsn: 2,
            ..expect(last)
        };
        let elsewhere = Expect {
            chain: 8,
            ..expect(last)
        };
        let (ahead, elsewhere) = (judge(&bytes, &ahead).0, judge(&bytes, &elsewhere).0);
        let why = |verdict: Verdict| match verdict.ending {
            Ending::Corrupt(fault) => Some(fault.why),
            Ending::Clean | Ending::Torn(_) => None,
        };
        assert_eq!(why(ahead), Some(Why::Lsn { found: 1 }));
        assert_eq!(why(elsewhere), Some(Why::Chain));
        let (bytes, _) = segment(&[At::Good, At::Good], |lsn| lsn);
        assert_eq!(why(judge(&bytes, &expect(last)).0), Some(Why::Durable));
    }
}

#[test]
fn a_file_that_was_cut_by_another_hand_is_damage_wherever_it_was_cut() {
    let (bytes, written) = segment(&[At::Good; 4], |lsn| lsn - 1);
    let ends: Vec<usize> = written.iter().map(|at| at.offset).collect();
    let used = ends[3] + ends[1] - ends[0];
    for len in BLOCK_BYTES..CAPACITY {
        let (verdict, frames) = judge(&bytes[..len], &expect(true));
        let sealed = len == used + 8;
        match verdict.ending {
            Ending::Clean => assert!(sealed, "{len}"),
            Ending::Corrupt(fault) => assert!(!sealed && fault.why == Why::Shortened, "{len}"),
            Ending::Torn(_) => panic!("{len}: a file that is too short was cut by somebody"),
        }
        assert_eq!(
            frames.len(),
            ends.iter().filter(|end| **end + 56 <= len).count()
        );
    }
}

#[test]
fn lengths_are_checked_against_the_file_and_no_bytes_make_the_scan_panic() {
    let (bytes, written) = segment(&[At::Good; 3], |lsn| lsn - 1);
    for body_len in [0, 1, 9, u32::MAX - 7, u32::MAX] {
        let mut bytes = bytes.clone();
        let mut header = FrameHeader::decode(SALT, &bytes[written[2].offset..]).unwrap();
        header.body_len = body_len;
        let place = written[2].offset..written[2].offset + FRAME_BYTES;
        bytes[place].copy_from_slice(&header.encode(SALT));
        let (verdict, frames) = judge(&bytes, &expect(true));
        assert_eq!(frames.len(), 2);
        assert!(matches!(verdict.ending, Ending::Torn(_)));
    }
    let mut noise = 1;
    for len in 0..600 {
        let mut bytes = bytes.clone();
        for byte in bytes.iter_mut().skip(BLOCK_BYTES + len) {
            noise = mixed(noise);
            *byte = noise.to_le_bytes()[0];
        }
        let good = written
            .iter()
            .filter(|at| at.offset + 56 <= BLOCK_BYTES + len);
        assert_eq!(judge(&bytes, &expect(true)).1.len(), good.count());
        judge(&bytes[..len], &expect(true));
    }
}

#[test]
fn headers_come_back_as_they_were_and_no_flipped_bit_passes() {
    let header = SegmentHeader {
        uuid: [3; 16],
        incarnation: 4,
        number: 5,
        salt: 6,
        tag: 7,
        first_lsn: 8,
        prev_last_lsn: 7,
        prev_chain: 10,
        capacity: 11,
    };
    let block = header.encode();
    assert_eq!(SegmentHeader::decode(&block), Ok(header));
    assert_eq!(
        SegmentHeader::decode(&block[..4095]),
        Err(HeaderFault::Damaged)
    );
    for bit in 0..BLOCK_BYTES * 8 {
        let mut block = block.clone();
        block[bit / 8] ^= 1 << (bit % 8);
        let version = (64..96).contains(&bit);
        match SegmentHeader::decode(&block) {
            Err(HeaderFault::Version(_)) => assert!(version, "bit {bit}"),
            Err(HeaderFault::Damaged) => assert!(!version, "bit {bit}"),
            Ok(_) => panic!("bit {bit} passes"),
        }
    }
    let frame = FrameHeader {
        body_len: 1,
        body_crc: 2,
        lsn: 3,
        prev_chain: 4,
        durable_lsn: 2,
        n_records: 5,
        flags: 1,
    };
    let bytes = frame.encode(SALT);
    assert_eq!(FrameHeader::decode(SALT, &bytes), Some(frame));
    assert_eq!(FrameHeader::decode(SALT + 1, &bytes), None);
    for bit in 0..FRAME_BYTES * 8 {
        let mut bytes = bytes;
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(FrameHeader::decode(SALT, &bytes), None, "bit {bit}");
    }
}

#[test]
fn the_chain_moves_with_every_field_of_a_frame() {
    let frame = FrameHeader {
        body_len: 1,
        body_crc: 2,
        lsn: 3,
        prev_chain: 4,
        durable_lsn: 2,
        n_records: 5,
        flags: 1,
    };
    let others = [
        FrameHeader {
            body_len: 2,
            ..frame
        },
        FrameHeader {
            body_crc: 3,
            ..frame
        },
        FrameHeader { lsn: 4, ..frame },
        FrameHeader {
            prev_chain: 5,
            ..frame
        },
        FrameHeader {
            durable_lsn: 1,
            ..frame
        },
        FrameHeader {
            n_records: 6,
            ..frame
        },
        FrameHeader { flags: 0, ..frame },
    ];
    for other in others {
        assert_ne!(other.chain(), frame.chain(), "{other:?}");
    }
}
