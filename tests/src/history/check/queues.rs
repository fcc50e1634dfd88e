//! Queues: what they count, and that a paused one hands out nothing.
//!
//! Owns the rules about queues. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::{Rule, Wrong, book::Book};
use crate::history::{Counted, Found, RunEnd, Says, Stands};

pub(super) fn check(book: &Book<'_>, wrong: &mut Wrong) {
    counts(book, wrong);
    pauses(book, wrong);
}

/// Every queue counts what its tasks tell.
fn counts(book: &Book<'_>, wrong: &mut Wrong) {
    let mut counted: BTreeMap<&str, Counted> = BTreeMap::new();
    // Queues whose failures nobody can sum up: a task of theirs forgot some of its runs.
    let mut shortened: BTreeSet<&str> = BTreeSet::new();
    for found in found(book) {
        let sum = counted.entry(&found.queue).or_insert_with(|| Counted {
            queue: found.queue.clone(),
            ..Counted::default()
        });
        sum.enqueued += 1;
        sum.failures += failures(found);
        sum.redriven += found.redriven_ms.len() as u64;
        sum.died += found.redriven_ms.len() as u64;
        match found.stands {
            Stands::Succeeded => sum.succeeded += 1,
            Stands::Dead => {
                sum.dead += 1;
                sum.died += 1;
            }
            Stands::Live => sum.live += 1,
            Stands::Cancelled | Stands::Otherwise => {}
        }
        if found.history.len() < found.runs as usize {
            shortened.insert(&found.queue);
        }
    }
    for queue in &book.queues {
        let mut ours = counted.remove(&*queue.queue).unwrap_or_else(|| Counted {
            queue: queue.queue.clone(),
            ..Counted::default()
        });
        if shortened.contains(&*queue.queue) {
            ours.failures = queue.failures;
        }
        if ours != **queue {
            let says = format!("the queue counts {queue:?}, its tasks make {ours:?}");
            wrong.add(Rule::Totals, says);
        }
    }
    for queue in counted.keys() {
        wrong.add(
            Rule::Totals,
            format!("queue {queue} has tasks, and is not counted"),
        );
    }
}

fn failures(found: &Found) -> u64 {
    let failed = RunEnd::Report(Says::Fail);
    let runs = found.history.iter().filter(|run| run.end == failed);
    runs.count() as u64
}

fn found<'b>(book: &'b Book<'_>) -> impl Iterator<Item = &'b Found> {
    let tasks = book.tasks.values();
    tasks.filter_map(|task| task.found.first().copied())
}

/// On the coordinator's own clock: no lease of a paused queue before somebody asked to resume it.
fn pauses(book: &Book<'_>, wrong: &mut Wrong) {
    let mut of_queue: BTreeMap<&str, Vec<(u64, u64)>> = BTreeMap::new();
    for pause in &book.pauses {
        let all = of_queue.entry(pause.queue).or_default();
        all.push((pause.from_ms, pause.until_ms));
    }
    for found in found(book) {
        let pauses = of_queue.get(&*found.queue);
        for (from_ms, until_ms) in pauses.into_iter().flatten() {
            let inside = |leased_ms: u64| *from_ms < leased_ms && leased_ms < *until_ms;
            let run = found.history.iter().find(|run| inside(run.leased_ms));
            if let Some(run) = run {
                let says = format!(
                    "task {}: run {} was leased {} ms after its queue was paused",
                    found.task_id,
                    run.run,
                    run.leased_ms - from_ms
                );
                wrong.add(Rule::Pauses, says);
            }
        }
    }
}
