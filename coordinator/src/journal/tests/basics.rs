//! What is appended comes back, in order, once; what may not be opened is not.

use super::*;

#[test]
fn records_come_back_in_order_over_restarts_and_segments() {
    let storage = SimulatedStorage::new();
    let mut last = 0;
    for start_no in 0..6 {
        let (mut journal, ear, replayed) = start(&storage, ALWAYS);
        assert_eq!((replayed.count, replayed.last), (last, last));
        for size in 1..=20 {
            append(&mut journal, last + 1..=last + size % 5 + 1).unwrap();
            last += size % 5 + 1;
        }
        if start_no % 2 == 0 {
            journal.close().unwrap();
        }
        assert_eq!(ear.releases().len(), 20);
        assert!(ear.releases().is_sorted());
    }
    let (_, replayed) = replay(&storage, ALWAYS).unwrap();
    assert_eq!(replayed.count, last);
}

#[test]
fn positions_name_the_segment_and_the_byte_of_each_record() {
    let storage = closed_log(200);
    let mut recovered = open(disk(&storage), ALWAYS).unwrap();
    let mut found = Vec::new();
    recovered
        .replay(&mut |pos, bytes| {
            found.push((pos, bytes.to_vec()));
            Ok(())
        })
        .unwrap();
    assert!(found.is_sorted());
    for (pos, bytes) in found {
        let name = format::segment_name(pos.segment);
        let mut there = vec![0; bytes.len() + format::PREFIX_BYTES];
        let file = storage.open(&name).unwrap();
        file.read_at(pos.offset, &mut there).unwrap();
        assert_eq!(&there[format::PREFIX_BYTES..], bytes);
    }
}

#[test]
fn a_new_journal_is_new_until_its_first_frame_is_durable() {
    let storage = SimulatedStorage::new();
    let recovered = open(disk(&storage), ALWAYS).unwrap();
    assert!(recovered.is_new());
    assert_eq!(recovered.first_segment(), None);
    drop(recovered);
    let (mut journal, _, _) = start(&storage, ALWAYS);
    append(&mut journal, 1..=1).unwrap();
    drop(journal);
    let recovered = open(disk(&storage), ALWAYS).unwrap();
    assert!(!recovered.is_new());
    assert_eq!((recovered.first_segment(), recovered.tag()), (Some(1), TAG));
}

#[test]
fn a_directory_has_one_owner_until_the_journal_ends() {
    let storage = SimulatedStorage::new();
    let (mut journal, _, _) = start(&storage, ALWAYS);
    let refused = open(disk(&storage), ALWAYS).unwrap_err();
    assert!(matches!(refused, OpenError::Locked { .. }), "{refused}");
    assert!(
        refused.to_string().contains("simulated disk is in use"),
        "{refused}"
    );
    append(&mut journal, 1..=1).unwrap();
    journal.close().unwrap();
    assert!(open(disk(&storage), ALWAYS).is_ok());
}

#[test]
fn a_journal_keeps_the_tag_it_was_made_with() {
    let storage = closed_log(3);
    let other = Options { tag: 4, ..ALWAYS };
    let refused = open(disk(&storage), other).unwrap_err();
    assert!(
        matches!(
            refused,
            OpenError::WrongTag {
                found: TAG,
                asked: 4,
                ..
            }
        ),
        "{refused}"
    );
}

#[test]
fn a_record_that_the_caller_refuses_is_named_and_not_to_be_repaired() {
    let storage = closed_log(300);
    let mut recovered = open(disk(&storage), ALWAYS).unwrap();
    let refused = recovered.replay(&mut |_, bytes| {
        if number_of(bytes) == 150 {
            return Err("an event of an unknown kind".to_owned());
        }
        Ok(())
    });
    let Err(error @ OpenError::Refused { .. }) = refused else {
        panic!("{refused:?}");
    };
    let told = error.to_string();
    for part in [
        "segment-",
        "at byte",
        "an event of an unknown kind",
        "a repair cannot help",
    ] {
        assert!(told.contains(part), "{told}");
    }
}

#[test]
fn frames_without_records_are_released_in_their_turn_without_a_write() {
    let storage = SimulatedStorage::new();
    let (journal, ear, _) = start(&storage, ALWAYS);
    let mut journal = journal.on_demand();
    append(&mut journal, 1..=2).unwrap();
    for release in [3, 4] {
        let empty = Frame {
            records: Vec::new(),
            release,
            opens_segment: false,
        };
        journal.append(empty).unwrap();
    }
    assert_eq!((journal.queued(), ear.releases().len()), (3, 0));
    journal.commit().unwrap();
    assert_eq!(ear.releases(), [2, 3, 4]);
    let frames = journal.files().stats().numbers().frames;
    assert_eq!(frames, 1);
    let before = storage.operations();
    let empty = Frame {
        records: Vec::new(),
        release: 5,
        opens_segment: false,
    };
    journal.append(empty).unwrap();
    journal.commit().unwrap();
    assert_eq!(storage.operations(), before);
    assert_eq!(ear.releases(), [2, 3, 4, 5]);
}

#[test]
fn what_waits_is_written_as_one_frame_with_one_sync_up_to_the_limits() {
    let storage = SimulatedStorage::new();
    let roomy = Options {
        segment_bytes: 8 << 20,
        ..ALWAYS
    };
    let (mut journal, _, _) = start(&storage, roomy);
    append(&mut journal, 1..=1).unwrap();
    let mut journal = journal.on_demand();
    for number in 2..=9001 {
        append(&mut journal, number..=number).unwrap();
    }
    let before = journal.files().stats().numbers();
    journal.commit().unwrap();
    let after = journal.files().stats().numbers();
    // 9,000 records, at most 4,096 a frame.
    assert_eq!(after.frames - before.frames, 3);
    assert_eq!(after.syncs - before.syncs, 3);
    assert_eq!(after.records, 9001);
    drop(journal);
    assert_eq!(replay(&storage, roomy).unwrap().1.count, 9001);
}

#[test]
fn the_first_frame_must_open_a_segment() {
    let storage = SimulatedStorage::new();
    let (mut journal, ear, _) = start(&storage, ALWAYS);
    assert!(journal.asks().opener);
    assert!(journal.append(frame(1..=1, false)).is_err());
    assert_eq!(ear.told.lock().unwrap().failures.len(), 1);
    assert!(journal.append(frame(1..=1, true)).is_err(), "it has failed");
    assert!(ear.releases().is_empty());
}

#[test]
fn at_interval_frames_are_released_when_written_and_close_syncs() {
    let storage = SimulatedStorage::new();
    let every = std::time::Duration::from_millis(5);
    let interval = options(Syncing::Interval { sync_every: every });
    let (mut journal, ear, _) = start(&storage, interval);
    for number in 1..=5 {
        append(&mut journal, number..=number).unwrap();
    }
    assert_eq!(ear.releases(), [1, 2, 3, 4, 5]);
    assert_eq!(
        journal.durable_lsn(),
        1,
        "only what opens a segment is synced at once"
    );
    let cut = storage.crash(simulated::Tear::Nothing);
    assert_eq!(replay(&cut, interval).unwrap().1.count, 1);
    let ended = storage.crash(simulated::Tear::Everything);
    assert_eq!(replay(&ended, interval).unwrap().1.count, 5);
    journal.sync().unwrap();
    assert_eq!(journal.durable_lsn(), 5);
    append(&mut journal, 6..=6).unwrap();
    journal.close().unwrap();
    let cut = storage.crash(simulated::Tear::Nothing);
    assert_eq!(replay(&cut, interval).unwrap().1.count, 6);
}

#[test]
fn segments_of_an_impossible_size_are_refused() {
    for segment_bytes in [0, SMALL - 1, SMALL + 1, limits::SEGMENT_BYTES_MAX + 1] {
        let wrong = Options {
            segment_bytes,
            ..ALWAYS
        };
        let refused = open(disk(&SimulatedStorage::new()), wrong).unwrap_err();
        assert!(
            matches!(refused, OpenError::SegmentBytes { .. }),
            "{refused}"
        );
    }
}

#[test]
fn the_real_directory_keeps_what_was_appended_and_has_one_owner() {
    use std::os::unix::fs::PermissionsExt;
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("made").join("journal");
    let storage: Arc<dyn Storage> = Arc::new(DirStorage::create(&path).unwrap());
    let ear = Ear::new(&SimulatedStorage::new());
    let recovered = open(Arc::clone(&storage), ALWAYS).unwrap();
    let locked = open(Arc::clone(&storage), ALWAYS).unwrap_err().to_string();
    assert!(locked.starts_with(path.to_str().unwrap()), "{locked}");
    let mut journal = recovered
        .start(Box::new(Plain), Box::new(ear.clone()))
        .unwrap();
    for number in 1..=200 {
        let opener = Journal::<Vec<u8>, u64>::asks(&journal).opener;
        journal.append(frame(number..=number, opener)).unwrap();
    }
    journal.close().unwrap();
    assert_eq!(ear.releases().len(), 200);
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o700);
    for file in storage.list().unwrap() {
        assert_eq!(mode(&path.join(file.name)), 0o600);
    }
    let mut recovered = open(storage, ALWAYS).unwrap();
    let mut count = 0;
    recovered
        .replay(&mut |_, bytes| {
            count += 1;
            assert_eq!(number_of(bytes), count);
            Ok(())
        })
        .unwrap();
    assert_eq!(count, 200);
}

#[test]
fn a_simulated_file_that_grows_again_after_a_power_cut_reads_as_zeros_there() {
    let storage = SimulatedStorage::new();
    let file = storage.create("f").unwrap();
    file.write_at(0, &[1; 100]).unwrap();
    file.sync_data().unwrap();
    storage.sync_dir().unwrap();
    file.write_at(100, &[2; 100]).unwrap();
    let mut shorter = 0;
    for seed in 0..64 {
        let piece_bytes = 512;
        let cut = storage.crash(simulated::Tear::Some { seed, piece_bytes });
        let file = cut.open("f").unwrap();
        if file.len().unwrap() == 100 {
            shorter += 1;
            file.set_len(200).unwrap();
            let mut grown = [9; 100];
            file.read_at(100, &mut grown).unwrap();
            assert_eq!(grown, [0; 100], "seed {seed}");
        }
    }
    assert!(shorter > 0, "some lengths were lost");
}
