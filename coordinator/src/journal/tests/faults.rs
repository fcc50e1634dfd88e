//! A failed operation is the end: nothing is acknowledged after it, and nothing before it is lost.

use super::simulated::{OpKind, Tear};
use super::*;

/// Appends up to `last` with all that goes with it; ends at the first error.
fn work(storage: &SimulatedStorage, options: Options, last: u64) -> Result<(), JournalError> {
    let (recovered, replayed) =
        replay(storage, options).map_err(|error| gate::cannot("open", error))?;
    let ear = Ear::new(storage);
    let started = recovered.start_inline(Box::new(Plain), Box::new(ear.clone()));
    let mut journal: TestJournal = started?;
    let worked = drive(&mut journal, replayed.last, last);
    check_failure(&mut journal, &ear, &worked);
    worked
}

fn drive(journal: &mut TestJournal, from: u64, last: u64) -> Result<(), JournalError> {
    for number in from + 1..=last {
        append(journal, number..=number)?;
        match number % 20 {
            7 => assert!(journal.tend()? || journal.files().stats().numbers().spares_ready == 2),
            11 => journal.confirm()?,
            13 => journal.sync()?,
            17 => {
                let sealed = journal.files().sealed();
                if let [.., kept, _] = sealed.as_slice() {
                    journal.files().delete_below(kept.number)?;
                }
            }
            _ => {}
        }
    }
    journal.close()
}

/// After the first error everything is refused with the same error, and the sink was told once.
fn check_failure(journal: &mut TestJournal, ear: &Ear, worked: &Result<(), JournalError>) {
    let Err(error) = worked else {
        assert!(ear.told.lock().unwrap().failures.is_empty());
        return;
    };
    let released = ear.releases().len();
    let refused = [
        journal.append(frame(999..=999, true)),
        journal.confirm(),
        journal.sync(),
        journal.close(),
    ];
    assert!(
        refused.iter().all(|refused| refused == worked),
        "{refused:?}"
    );
    let told = ear.told.lock().unwrap();
    assert_eq!(told.failures, std::slice::from_ref(error), "told once");
    assert_eq!(
        (told.late, told.releases.len()),
        (0, released),
        "released after the failure"
    );
}

#[test]
fn whichever_operation_fails_nothing_is_told_after_it_and_nothing_told_is_lost() {
    let every = std::time::Duration::from_millis(5);
    for options in [ALWAYS, options(Syncing::Interval { sync_every: every })] {
        let mut failed = 0;
        for nth in 1.. {
            let storage = SimulatedStorage::new();
            storage.fail_nth_of_any(nth);
            let result = work(&storage, options, 130);
            if storage.has_faults() {
                assert_eq!(result, Ok(()));
                break;
            }
            assert!(
                result.is_err(),
                "operation {nth} failed, and nobody noticed"
            );
            failed += 1;
            // As the process finds it that is started next, and as a power cut leaves it.
            work(&storage, options, 140).unwrap();
            for tear in [
                Tear::Nothing,
                Tear::Everything,
                Tear::Some {
                    seed: nth,
                    piece_bytes: 512,
                },
            ] {
                replay(&storage.crash(tear), options).unwrap();
            }
        }
        assert!(failed > 150, "{failed} operations failed");
    }
}

#[test]
fn what_was_acknowledged_before_a_failed_operation_is_there_after_a_power_cut() {
    let mut failed = 0;
    for nth in 1.. {
        let storage = SimulatedStorage::new();
        let (mut journal, ear, _) = start(&storage, ALWAYS);
        storage.fail_nth_of_any(nth);
        let worked = drive(&mut journal, 0, 130);
        if worked.is_ok() {
            break;
        }
        failed += 1;
        let acked = ear.releases().last().copied().unwrap_or(0);
        for seed in 0..8 {
            let piece_bytes = 512;
            let image = storage.crash(Tear::Some { seed, piece_bytes });
            let (_, found) = replay(&image, ALWAYS).unwrap();
            assert!(found.last >= acked, "{found:?} lacks some of {acked}");
        }
    }
    assert!(failed > 150, "{failed} operations failed");
}

#[test]
fn a_start_that_fails_changes_nothing_that_a_second_start_needs() {
    let kinds = [
        OpKind::SetLen,
        OpKind::Sync,
        OpKind::Remove,
        OpKind::SyncDir,
    ];
    for kind in kinds {
        let storage = closed_log(100);
        // A tail that was torn off, a segment that was begun, and a reserve that was not finished.
        let last = segment_files(&storage).pop().unwrap();
        let number = format::segment_number(&last.name).unwrap();
        let begun = storage.create(&format::segment_name(number + 1)).unwrap();
        begun.write_at(0, &[0; 16 << 10]).unwrap();
        storage.create("reserve-9.part").unwrap();
        storage.fail_nth(kind, 1);
        let (recovered, found) = replay(&storage, ALWAYS).unwrap();
        assert_eq!(found.count, 100);
        let ear = Ear::new(&storage);
        let started: Result<TestJournal, _> =
            recovered.start_inline(Box::new(Plain), Box::new(ear));
        assert!(started.is_err(), "{kind:?}");
        let (mut journal, _, found) = start(&storage, ALWAYS);
        assert_eq!(found.count, 100);
        append(&mut journal, 101..=101).unwrap();
        journal.close().unwrap();
        assert_eq!(replay(&storage, ALWAYS).unwrap().1.count, 101);
    }
}
