//! What producers were told, beside what turned up.
//!
//! Owns the rules about where tasks come from: nothing invented, nothing taken twice, no byte
//! changed. Pure.

use std::collections::BTreeMap;

use super::{
    Rule, Wrong,
    book::{Book, Task},
};
use crate::history::{Enqueued, Follows, Made, Origin};

/// Where a task turned up, with what it carries.
struct Seen<'a> {
    task_id: &'a str,
    origin: &'a Origin,
    digest: u64,
    place: String,
}

pub(super) fn check(book: &Book<'_>, wrong: &mut Wrong) {
    let mut ids: BTreeMap<u64, &str> = BTreeMap::new();
    for (marker, sending) in &book.sendings {
        if let Some(first) = sending.ids.first() {
            ids.insert(*marker, first);
        }
        if sending.ids.len() > 1 {
            let says = format!("sending {marker} was answered with {:?}", sending.ids);
            wrong.add(rule(sending.asks.keyed), says);
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
        let mut first = None;
        for seen in seen(task_id, task) {
            match seen.origin {
                Origin::Sent(marker) => check_sent(book, &seen, *marker, &mut ids, wrong),
                Origin::Made(made) => check_made(book, &seen, made, wrong),
            }
            let first = first.get_or_insert((seen.origin.clone(), seen.digest));
            if (&first.0, first.1) != (seen.origin, seen.digest) {
                let says = format!(
                    "task {task_id} ({}): it is not what it was before",
                    seen.place
                );
                wrong.add(Rule::Bytes, says);
            }
        }
    }
}

/// Of two tasks for one sending.
const fn rule(keyed: bool) -> Rule {
    if keyed {
        Rule::OneTaskAKey
    } else {
        Rule::NoInvention
    }
}

fn seen<'a>(task_id: &'a str, task: &Task<'a>) -> Vec<Seen<'a>> {
    let delivered = task.deliveries.iter().map(|(_, delivered)| Seen {
        task_id,
        origin: &delivered.origin,
        digest: delivered.digest,
        place: format!("delivered as run {}", delivered.run),
    });
    let found = task.found.iter().map(|found| Seen {
        task_id,
        origin: &found.origin,
        digest: found.digest,
        place: "found at the end".to_owned(),
    });
    delivered.chain(found).collect()
}

fn check_sent<'a>(
    book: &Book<'_>,
    seen: &Seen<'a>,
    marker: u64,
    ids: &mut BTreeMap<u64, &'a str>,
    wrong: &mut Wrong,
) {
    let Seen { task_id, place, .. } = seen;
    let Some(sending) = book.sendings.get(&marker) else {
        let says = format!("task {task_id} ({place}) carries marker {marker}: nobody sent that");
        return wrong.add(Rule::NoInvention, says);
    };
    if sending.outcome == Enqueued::Refused {
        let says = format!("task {task_id} ({place}): its sending {marker} was refused");
        wrong.add(Rule::NoInvention, says);
    }
    if sending.digest != seen.digest {
        let says = format!("task {task_id} ({place}): its payload is not the one that was sent");
        wrong.add(Rule::Bytes, says);
    }
    let known = *ids.entry(marker).or_insert(task_id);
    if known != *task_id {
        let says =
            format!("task {task_id} ({place}): its sending {marker} became task {known} already");
        wrong.add(rule(sending.asks.keyed), says);
    }
}

/// A link's payload is the result that the task before it was completed with; a follow-up's tells
/// whose end made it.
fn check_made(book: &Book<'_>, seen: &Seen<'_>, made: &Made, wrong: &mut Wrong) {
    let Seen { task_id, place, .. } = seen;
    let Made { by, follows, told } = made;
    let Some(before) = book.tasks.get(&**by) else {
        let says = format!("task {task_id} ({place}) was made by {by}: nobody knows that");
        return wrong.add(Rule::NoInvention, says);
    };
    let right = match follows {
        Follows::Link => {
            let completions = before.completions();
            completions.iter().any(|sent| sent.result == seen.digest)
        }
        Follows::Success | Follows::Failure | Follows::Exhausted | Follows::Cancelled => told
            .as_ref()
            .is_some_and(|told| (&told.0, told.1) == (by, *follows)),
    };
    if !right {
        let says = format!(
            "task {task_id} ({place}) was made by {by} as {follows:?}, and its payload tells \
             otherwise: {told:?}"
        );
        wrong.add(Rule::Bytes, says);
    }
}
