//! What was done with a task from outside, or must not be: cancels, redrives, at most once.
//!
//! Owns the rules about operators' answers, and about runs that nobody may repeat. Pure.

use super::{
    Rule, Wrong,
    book::{Book, Task},
};
use crate::history::{Cancelled, Delivered, Found, RunEnd, Says, Stands};

pub(super) fn check(task_id: &str, task: &Task<'_>, book: &Book<'_>, wrong: &mut Wrong) {
    let asks = task.origin().and_then(|origin| book.asks(origin));
    let at_most_once = asks.is_some_and(|asks| asks.at_most_once);
    if at_most_once {
        once_seen(task_id, task, wrong);
    }
    for answer in &task.cancels.answers {
        cancelled(task_id, task, *answer, wrong);
    }
    let Some(found) = task.found.first() else {
        return;
    };
    if found.stands == Stands::Cancelled && task.cancels_possible() == 0 {
        let says = format!("task {task_id} is cancelled, and nobody cancelled it");
        wrong.add(Rule::Cancels, says);
    }
    redriven(found, task, wrong);
    if at_most_once {
        once_told(found, wrong);
    }
}

/// After the answer there is no run beyond those that it told of, and the end is what it said.
fn cancelled(task_id: &str, task: &Task<'_>, answer: Cancelled, wrong: &mut Wrong) {
    let (runs, ends): (u32, &[Stands]) = match answer {
        Cancelled::Over { runs } => (runs, &[Stands::Cancelled]),
        // A success is stronger than an order that was not obeyed.
        Cancelled::Asked { runs } => (runs, &[Stands::Cancelled, Stands::Succeeded]),
        Cancelled::Refused | Cancelled::Unknown => return,
    };
    let later = task.deliveries.iter().find(|(_, one)| one.run > runs);
    if let Some((_, Delivered { run, .. })) = later {
        let says = format!("task {task_id}: run {run} was delivered, {answer:?} was answered");
        wrong.add(Rule::Cancels, says);
    }
    let Some(found) = task.found.first() else {
        return;
    };
    if found.runs > runs || !ends.contains(&found.stands) {
        let says = format!(
            "task {task_id}: {answer:?} was answered, and it is {:?} after {} runs",
            found.stands, found.runs
        );
        wrong.add(Rule::Cancels, says);
    }
}

/// At least those redrives that were acknowledged, at most those that were not refused.
fn redriven(found: &Found, task: &Task<'_>, wrong: &mut Wrong) {
    let done = task
        .redrives
        .answers
        .iter()
        .filter(|done| **done == Some(true));
    let (least, most) = (done.count(), task.redrives_possible());
    let times = found.redriven_ms.len();
    if !(least..=most).contains(&times) {
        let says = format!(
            "task {}: it was redriven {times} times, {least} to {most} were asked for",
            found.task_id
        );
        wrong.add(Rule::Redrives, says);
    }
}

/// A run that arrived is followed by another only where its holder may have asked for that.
fn once_seen(task_id: &str, task: &Task<'_>, wrong: &mut Wrong) {
    if task.redrives_possible() > 0 {
        // Judged by what the coordinator tells in the end: it knows when.
        return;
    }
    let mut deliveries: Vec<&Delivered> = task.deliveries.iter().map(|(_, one)| *one).collect();
    deliveries.sort_by_key(|one| one.run);
    for pair in deliveries.windows(2) {
        let run = pair[0].run;
        let sents = task.reports.get(&run);
        let again = sents.is_some_and(|sents| {
            let mut sents = sents.iter();
            sents.any(|sent| sent.says != Says::Complete && sent.may_be_kept())
        });
        if !again && pair[1].run != run {
            let says = format!(
                "task {task_id}: run {} was delivered although run {run} had arrived and nobody \
                 gave it back",
                pair[1].run
            );
            wrong.add(Rule::AtMostOnce, says);
        }
    }
}

/// A run that was lost is the last one, but for a redrive in between.
fn once_told(found: &Found, wrong: &mut Wrong) {
    for pair in found.history.windows(2) {
        let (lost, next) = (pair[0], pair[1]);
        let between = lost.ended_ms..=next.leased_ms;
        let redriven = found.redriven_ms.iter().any(|at| between.contains(at));
        if lost.end == RunEnd::Lost && !redriven {
            let says = format!(
                "task {}: run {} followed although run {} was lost",
                found.task_id, next.run, lost.run
            );
            wrong.add(Rule::AtMostOnce, says);
        }
    }
    let last = found.history.last();
    let lost =
        last.is_some_and(|run| run.end == RunEnd::Lost && !redriven_after(found, run.ended_ms));
    if lost && found.stands != Stands::Dead {
        let says = format!(
            "task {}: its last run was lost, and it is {:?}",
            found.task_id, found.stands
        );
        wrong.add(Rule::AtMostOnce, says);
    }
}

fn redriven_after(found: &Found, ended_ms: u64) -> bool {
    found.redriven_ms.iter().any(|at| *at >= ended_ms)
}
