//! Who is taken for lost: only a worker that was gone, or in trouble.
//!
//! Owns one rule, that a coordinator which was itself asleep blames nobody for it. Pure. Judges only
//! histories that tell of all troubles, and only runs that arrived: what was on its way in a stream
//! that ended is nobody's fault.

use super::{
    Rule, Wrong,
    book::{Book, Task},
};
use crate::history::{Found, RunEnd};

pub(super) fn check(book: &Book<'_>, wrong: &mut Wrong) {
    if book.troubles.is_empty() {
        return;
    }
    for task in book.tasks.values() {
        if let Some(found) = task.found.first() {
            lost(found, task, &book.troubles, wrong);
        }
    }
}

fn lost(found: &Found, task: &Task<'_>, troubles: &[(u64, u64)], wrong: &mut Wrong) {
    for run in found.history.iter().filter(|run| run.end == RunEnd::Lost) {
        let arrived = task.deliveries.iter().any(|(_, one)| one.run == run.run);
        let felt = |trouble: &(u64, u64)| trouble.0 <= run.ended_ms && run.leased_ms <= trouble.1;
        let excused = task.abandoned.contains(&run.run) || troubles.iter().any(felt);
        if arrived && !excused {
            let says = format!(
                "task {}: run {} was taken for lost {} ms after its lease, and its worker was \
                 well",
                found.task_id,
                run.run,
                run.ended_ms.saturating_sub(run.leased_ms)
            );
            wrong.add(Rule::Blame, says);
        }
    }
}
