//! What producers were told, beside what turned up.
//!
//! Owns the rules about sendings: nothing invented, nothing taken twice, no byte changed. Pure.

use std::collections::BTreeMap;

use super::{Book, Enqueued, Rule, Wrong};

/// Where a task turned up, with what it carries.
struct Seen<'a> {
    task_id: &'a str,
    marker: u64,
    digest: u64,
    place: String,
}

pub(super) fn check(book: &Book<'_>, wrong: &mut Wrong) {
    let mut ids: BTreeMap<u64, &str> = BTreeMap::new();
    for (marker, sending) in &book.sendings {
        if let Enqueued::Accepted(task_id) = &sending.outcome {
            ids.insert(*marker, task_id);
        }
    }
    for (task_id, task) in &book.tasks {
        if task.accepted_by.len() > 1 {
            let says = format!(
                "task {task_id} was acknowledged to {:?}: one id for several sendings",
                task.accepted_by
            );
            wrong.add(Rule::NoInvention, says);
        }
        let delivered = task.deliveries.iter().map(|(_, delivered)| Seen {
            task_id,
            marker: delivered.marker,
            digest: delivered.digest,
            place: format!("delivered as run {}", delivered.run),
        });
        let found = task.found.iter().map(|found| Seen {
            task_id,
            marker: found.marker,
            digest: found.digest,
            place: "found at the end".to_owned(),
        });
        for seen in delivered.chain(found) {
            check_seen(book, &seen, &mut ids, wrong);
        }
    }
}

fn check_seen<'a>(
    book: &Book<'_>,
    seen: &Seen<'a>,
    ids: &mut BTreeMap<u64, &'a str>,
    wrong: &mut Wrong,
) {
    let Seen {
        task_id,
        marker,
        digest,
        place,
    } = seen;
    let Some(sending) = book.sendings.get(marker) else {
        let says = format!("task {task_id} ({place}) carries marker {marker}: nobody sent that");
        return wrong.add(Rule::NoInvention, says);
    };
    if sending.outcome == Enqueued::Refused {
        let says = format!("task {task_id} ({place}): its sending {marker} was refused");
        wrong.add(Rule::NoInvention, says);
    }
    if sending.digest != *digest {
        let says = format!("task {task_id} ({place}): its payload is not the one that was sent");
        wrong.add(Rule::Bytes, says);
    }
    let known = *ids.entry(*marker).or_insert(task_id);
    if known != *task_id {
        let says =
            format!("task {task_id} ({place}): its sending {marker} became task {known} already");
        wrong.add(Rule::NoInvention, says);
    }
}
