//! Segments: when one is asked for, what sealing leaves, what the reserve is for, what cleaning may.

use super::*;

const SMALL_BYTES: usize = 16 << 10;

#[test]
fn an_opening_frame_is_asked_for_from_low_room_until_it_is_appended() {
    let storage = SimulatedStorage::new();
    let (journal, _, _) = start(&storage, ALWAYS);
    let mut journal = journal.on_demand();
    let asks = |journal: &TestJournal| Journal::<Vec<u8>, u64>::asks(journal).opener;
    assert!(asks(&journal), "the first frame opens a segment");
    journal.append(frame(1..=1, true)).unwrap();
    assert!(!asks(&journal), "it is on its way");
    journal.commit().unwrap();
    assert!(!asks(&journal));
    let mut number = 1;
    while !asks(&journal) {
        number += 1;
        journal.append(frame(number..=number, false)).unwrap();
        journal.commit().unwrap();
    }
    assert!(number > 15, "there was room for {number} records");
    // Frames that were under way do not make it ask again.
    journal
        .append(frame(number + 1..=number + 1, false))
        .unwrap();
    journal
        .append(frame(number + 2..=number + 2, true))
        .unwrap();
    assert!(!asks(&journal));
    journal.commit().unwrap();
    assert!(!asks(&journal));
    let sealed = journal.files().sealed();
    assert_eq!(
        sealed
            .iter()
            .map(|segment| segment.number)
            .collect::<Vec<_>>(),
        [1]
    );
}

#[test]
fn sealed_segments_are_as_long_as_their_frames_however_often_it_was_started() {
    let storage = SimulatedStorage::new();
    for number in 1..=20 {
        let (mut journal, _, _) = start(&storage, ALWAYS);
        append(&mut journal, number..=number).unwrap();
    }
    let files = segment_files(&storage);
    assert_eq!(files.len(), 20);
    let (last, sealed) = files.split_last().unwrap();
    assert_eq!(last.bytes, SMALL);
    for file in sealed {
        assert!(file.bytes < 5000, "{file:?}");
    }
    let (journal, _, _) = start(&storage, ALWAYS);
    let listed: Vec<u64> = journal.files().sealed().iter().map(|s| s.bytes).collect();
    let on_disk: Vec<u64> = segment_files(&storage).iter().map(|f| f.bytes).collect();
    assert_eq!(listed, on_disk);
    let total: u64 = storage.list().unwrap().iter().map(|file| file.bytes).sum();
    assert_eq!(journal.files().disk_bytes(), total);
}

#[test]
fn a_frame_larger_than_a_segment_makes_its_segment_larger() {
    let storage = SimulatedStorage::new();
    let (mut journal, ear, _) = start(&storage, ALWAYS);
    append(&mut journal, 1..=3).unwrap();
    append(&mut journal, 4..=400).unwrap();
    assert_eq!(ear.releases(), [3, 400]);
    assert!(journal.asks().opener);
    assert!(journal.files().disk_bytes() > 60_000);
    append(&mut journal, 401..=401).unwrap();
    assert_eq!(journal.files().sealed().len(), 1);
    drop(journal);
    assert_eq!(replay(&storage, ALWAYS).unwrap().1.count, 401);
}

#[test]
fn the_cleaner_reads_sealed_segments_and_deletes_the_oldest() {
    let storage = SimulatedStorage::new();
    let (mut journal, _, _) = start(&storage, ALWAYS);
    for number in 1..=400 {
        append(&mut journal, number..=number).unwrap();
    }
    let files = journal.files();
    let sealed = files.sealed();
    assert!(sealed.len() > 4);
    let mut next = 1;
    for segment in &sealed {
        assert_eq!(segment.first_lsn, next);
        let mut records = files.read(segment.number).unwrap();
        while let Some((pos, bytes)) = records.next_record() {
            assert_eq!(pos.segment, segment.number);
            assert_eq!(number_of(bytes), next);
            next += 1;
        }
    }
    let active = sealed.last().unwrap().number + 1;
    assert_eq!(
        files.read(active).unwrap_err(),
        ReadError::Unknown { number: active }
    );
    files.delete_below(3).unwrap();
    let left: Vec<u64> = files
        .sealed()
        .iter()
        .map(|segment| segment.number)
        .collect();
    assert_eq!(left, (3..active).collect::<Vec<_>>());
    assert_eq!(files.read(2).unwrap_err(), ReadError::Unknown { number: 2 });
    // Never the active one.
    files.delete_below(u64::MAX).unwrap();
    assert!(files.sealed().is_empty());
    journal.close().unwrap();
    assert!(
        files.delete_below(u64::MAX).is_ok(),
        "there is nothing left to delete"
    );
    let (recovered, found) = replay(&storage, ALWAYS).unwrap();
    assert_eq!(recovered.first_segment(), Some(active));
    assert_eq!(found.last, 400);
}

#[test]
fn nothing_is_deleted_once_the_journal_has_ended() {
    let storage = SimulatedStorage::new();
    let (mut journal, _, _) = start(&storage, ALWAYS);
    for number in 1..=200 {
        append(&mut journal, number..=number).unwrap();
    }
    let files = journal.files();
    journal.close().unwrap();
    let refused = files.delete_below(2).unwrap_err();
    assert!(
        refused.to_string().ends_with("the journal has ended"),
        "{refused}"
    );
    assert_eq!(replay(&storage, ALWAYS).unwrap().1.first, 1);
}

#[test]
fn rot_in_a_sealed_segment_is_found_by_whoever_reads_it() {
    let storage = SimulatedStorage::new();
    let (mut journal, ear, _) = start(&storage, ALWAYS);
    for number in 1..=200 {
        append(&mut journal, number..=number).unwrap();
    }
    storage.rot(&format::segment_name(1), 6000, 1);
    let refused = journal.files().read(1).unwrap_err();
    assert!(
        matches!(refused, ReadError::Corrupt { number: 1, .. }),
        "{refused}"
    );
    assert!(
        ear.told.lock().unwrap().failures.is_empty(),
        "the next start is concerned"
    );
}

#[test]
fn reserves_are_kept_over_a_restart_where_they_are_whole_and_blank() {
    let storage = SimulatedStorage::new();
    let (mut journal, _, _) = start(&storage, ALWAYS);
    while journal.tend().unwrap() {}
    drop(journal);
    let blank = |name: &str, bytes: usize, first: u8| {
        let file = storage.create(name).unwrap();
        let mut content = vec![0; bytes];
        content[0] = first;
        file.write_at(0, &content).unwrap();
    };
    blank("reserve-7.zero", SMALL_BYTES - 1, 0);
    blank("reserve-8.part", SMALL_BYTES, 0);
    blank("unrelated", 10, 0);
    storage.rot("reserve-1.zero", 4000, 1);
    let (journal, _, _) = start(&storage, ALWAYS);
    let names: Vec<String> = storage
        .list()
        .unwrap()
        .into_iter()
        .map(|f| f.name)
        .collect();
    assert_eq!(names, ["reserve-2.zero", "unrelated"]);
    assert_eq!(journal.files().stats().numbers().spares_ready, 1);
}

#[test]
fn a_full_disk_refuses_growth_keeps_the_reserve_for_what_shrinks_and_recovers_by_itself() {
    let storage = SimulatedStorage::new();
    let (mut journal, _, _) = start(&storage, ALWAYS);
    append(&mut journal, 1..=1).unwrap();
    while journal.tend().unwrap() {}
    assert!(!journal.asks().refuse_growth);
    // Full, but for the reserve.
    storage.set_capacity(Some(storage.used_bytes() + 3 * 512));
    let mut number = 1;
    while journal.files().sealed().is_empty() {
        number += 1;
        append(&mut journal, number..=number).unwrap();
    }
    assert!(!journal.asks().refuse_growth, "nobody has tried yet");
    assert!(!journal.tend().unwrap(), "there is no room");
    assert!(journal.asks().refuse_growth);
    assert!(
        storage
            .list()
            .unwrap()
            .iter()
            .all(|file| !file.name.ends_with(".part"))
    );
    // One more segment can be written, and cleaned: that makes room.
    while journal.files().sealed().len() < 2 {
        number += 1;
        append(&mut journal, number..=number).unwrap();
    }
    storage.set_capacity(Some(storage.used_bytes()));
    assert!(!journal.tend().unwrap());
    assert!(journal.asks().refuse_growth);
    journal.files().delete_below(3).unwrap();
    assert!(journal.tend().unwrap());
    assert!(journal.asks().refuse_growth, "one of two is ready");
    storage.set_capacity(None);
    assert!(journal.tend().unwrap());
    assert!(!journal.asks().refuse_growth);
    journal.close().unwrap();
    assert_eq!(replay(&storage, ALWAYS).unwrap().1.last, number);
}

#[test]
fn a_segment_that_cannot_be_had_is_the_end_of_the_journal() {
    let storage = SimulatedStorage::new();
    let (mut journal, ear, _) = start(&storage, ALWAYS);
    append(&mut journal, 1..=1).unwrap();
    storage.set_capacity(Some(storage.used_bytes()));
    let mut number = 1;
    let error = loop {
        number += 1;
        match append(&mut journal, number..=number) {
            Ok(()) => {}
            Err(error) => break error,
        }
    };
    assert!(error.cause.contains("the disk is full"), "{error}");
    assert_eq!(ear.releases().last(), Some(&(number - 1)));
    drop(journal);
    assert_eq!(replay(&storage, ALWAYS).unwrap().1.last, number - 1);
}

#[test]
fn at_interval_a_segment_goes_only_when_what_replaced_it_is_synced() {
    let storage = SimulatedStorage::new();
    let sync_every = std::time::Duration::from_secs(10);
    let interval = options(Syncing::Interval { sync_every });
    let (mut journal, _, _) = start(&storage, interval);
    let mut number = 0;
    while journal.files().sealed().is_empty() {
        number += 1;
        append(&mut journal, number..=number).unwrap();
    }
    append(&mut journal, number + 1..=number + 1).unwrap();
    let written = journal.durable_lsn();
    journal.files().delete_below(2).unwrap();
    assert!(
        journal.durable_lsn() > written,
        "what was written is synced"
    );
    assert!(journal.files().sealed().is_empty());
}
