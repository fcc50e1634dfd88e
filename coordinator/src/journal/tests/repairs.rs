//! Inspection says what a start would; a repair makes a log that starts, and deletes nothing.

use super::simulated::Tear;
use super::*;

fn damaged(at_segment: u64, offset: usize) -> SimulatedStorage {
    let storage = closed_log(200);
    storage.rot(&format::segment_name(at_segment), offset, 1);
    storage
}

#[test]
fn inspection_counts_everything_and_changes_nothing() {
    let storage = closed_log(200);
    let before = storage.operations();
    let report = inspect(&storage).unwrap();
    assert_eq!(report.verdict, LogVerdict::Good);
    assert_eq!(report.segments.iter().map(|s| s.records).sum::<u64>(), 200);
    assert_eq!(report.segments.iter().map(|s| s.frames).sum::<u64>(), 201);
    assert_eq!(report.segments[0].lsns.unwrap().0, 1);
    assert_eq!(report.segments.last().unwrap().lsns.unwrap().1, 201);
    assert!(
        report
            .segments
            .iter()
            .all(|segment| segment.verdict == SegmentVerdict::Good)
    );
    assert_eq!(storage.operations(), before);
    // It takes no lock: one may look at a journal that runs.
    let running = open(disk(&storage), ALWAYS).unwrap();
    assert_eq!(inspect(&storage).unwrap(), report);
    let locked = repair(&storage, true).unwrap_err();
    assert!(matches!(locked, RepairError::Locked { .. }), "{locked}");
    drop(running);
    let nothing = repair(&storage, true).unwrap();
    assert_eq!((nothing.damage, nothing.set_aside.len()), (None, 0));
}

#[test]
fn inspection_and_opening_agree_on_the_damage() {
    for (segment, offset) in [(1, 20), (1, 5000), (2, 5000), (3, 30), (3, 4100)] {
        let storage = damaged(segment, offset);
        let Err(OpenError::Corrupt { damage, .. }) = replay(&storage, ALWAYS) else {
            panic!("segment {segment} is damaged");
        };
        let report = inspect(&storage).unwrap();
        assert_eq!(report.verdict, LogVerdict::Damaged(damage));
        let verdicts = report.segments.iter().map(|segment| &segment.verdict);
        let good = verdicts.filter(|verdict| **verdict == SegmentVerdict::Good);
        assert_eq!(good.count() as u64, segment - 1);
    }
}

#[test]
fn a_repair_needs_consent_keeps_a_prefix_and_sets_the_rest_aside() {
    for (segment, offset) in [(1, 20), (1, 5000), (2, 5000), (3, 30), (3, 4100)] {
        let storage = damaged(segment, offset);
        let before = storage.list().unwrap();
        let refused = repair(&storage, false).unwrap_err();
        assert!(
            matches!(refused, RepairError::NotAccepted { .. }),
            "{refused}"
        );
        assert_eq!(storage.list().unwrap(), before);
        let segments = segment_files(&storage).len() as u64;

        let repaired = repair(&storage, true).unwrap();
        let damage = repaired.damage.unwrap();
        assert_eq!(repaired.set_aside.len() as u64, segments - segment + 1);
        let sizes = storage.list().unwrap();
        for name in &repaired.set_aside {
            let original = name.strip_suffix(".lost").unwrap();
            let bytes = |files: &[Stored], name: &str| {
                let file = files.iter().find(|file| file.name == name);
                file.map(|file| file.bytes)
            };
            assert_eq!(
                bytes(&sizes, name),
                bytes(&before, original),
                "{name} is whole"
            );
        }
        let (mut journal, _, found) = start(&storage, ALWAYS);
        assert_eq!(found.last, damage.first_lsn - 1, "one record a frame");
        // Without its header a segment, or a frame, does not say how many records it has.
        let known = found.last + damage.records_lost;
        assert!(known >= 199 || offset < 4096, "{damage}");
        append(&mut journal, found.last + 1..=found.last + 9).unwrap();
        journal.close().unwrap();
        drop(journal);
        assert_eq!(replay(&storage, ALWAYS).unwrap().1.last, found.last + 9);
        assert_eq!(inspect(&storage).unwrap().verdict, LogVerdict::Good);
    }
}

#[test]
fn a_gap_is_repaired_by_setting_aside_what_follows_it() {
    let storage = closed_log(200);
    storage.remove(&format::segment_name(2)).unwrap();
    let kept = frames_before(&storage, 2);
    let repaired = repair(&storage, true).unwrap();
    assert!(
        repaired
            .damage
            .unwrap()
            .why
            .contains("is missing before it")
    );
    assert_eq!(start(&storage, ALWAYS).2.last, kept);
    assert_eq!(segment_files(&storage).len(), 1);
}

/// How many records the segments before this one have.
fn frames_before(storage: &SimulatedStorage, number: u64) -> u64 {
    let report = inspect(storage).unwrap();
    let before = report
        .segments
        .iter()
        .filter(|segment| segment.number < number);
    before.map(|segment| segment.records).sum()
}

#[test]
fn another_versions_journal_is_not_repaired() {
    let storage = closed_log(200);
    storage.rot(&format::segment_name(2), 8, 3);
    let refused = repair(&storage, true).unwrap_err();
    assert!(matches!(refused, RepairError::Foreign { .. }), "{refused}");
}

#[test]
fn a_repair_cut_short_at_any_operation_can_be_repeated() {
    for (segment, offset) in [(1, 5000), (2, 5000), (3, 30)] {
        let storage = damaged(segment, offset);
        storage.forget();
        let kept = repair(&storage, true).unwrap().damage.unwrap().first_lsn - 1;
        let mut crashes = storage.crashes();
        loop {
            for seed in 0..30 {
                let piece_bytes = 512;
                let image = crashes.image(Tear::Some { seed, piece_bytes });
                match replay(&image, ALWAYS) {
                    Ok((_, found)) => assert_eq!(found.last, kept, "the repair was done"),
                    Err(OpenError::Corrupt { .. }) => {
                        repair(&image, true).unwrap();
                        assert_eq!(replay(&image, ALWAYS).unwrap().1.last, kept);
                    }
                    Err(error) => panic!("{error}"),
                }
            }
            if !crashes.step() {
                break;
            }
        }
    }
}
