//! What the coordinator tells after the end of all work, beside what it had acknowledged.
//!
//! Owns the rules about ends and remembered runs. Pure.

use std::collections::BTreeMap;

use super::{
    Drained, Rule, Wrong,
    book::{Book, Sent, Task},
};
use crate::history::{Found, Origin, RunEnd, Says, Stands};

/// Runs that a history tells of a task at the least, at both ends together.
const RUNS_TOLD: usize = 16;

pub(super) fn check_task(
    task_id: &str,
    task: &Task<'_>,
    book: &Book<'_>,
    drained: Drained,
    wrong: &mut Wrong,
) {
    if task.found.is_empty() && drained == Drained::No {
        return;
    }
    let [found] = task.found[..] else {
        if task.found.is_empty() && task.accepted_by.is_empty() {
            // Delivered, and gone without a trace: its sender was never told anything.
            let says = format!("task {task_id} was delivered, and is not found");
            return wrong.add(Rule::NoLoss, says);
        }
        let says = format!(
            "task {task_id} was acknowledged, and is found {} times",
            task.found.len()
        );
        return wrong.add(Rule::NoLoss, says);
    };
    if found.stands == Stands::Live {
        let says = format!("task {task_id} has not ended although all work has");
        wrong.add(Rule::NoLoss, says);
    }
    runs(found, task, wrong);
    times(found, book, wrong);
    reports(found, task, wrong);
}

/// The remembered runs are 1, 2, 3 .. with attempts that count failures, and no delivery is beyond.
fn runs(found: &Found, task: &Task<'_>, wrong: &mut Wrong) {
    let task_id = &found.task_id;
    let told: Vec<u32> = found.history.iter().map(|run| run.run).collect();
    let whole = told.iter().copied().eq(1..=found.runs);
    let shortened = told.len() >= RUNS_TOLD && told.windows(2).all(|pair| pair[0] < pair[1]);
    if !whole && !shortened {
        let says = format!(
            "task {task_id}: {} runs, remembered are {told:?}",
            found.runs
        );
        wrong.add(Rule::Attempts, says);
    }
    if whole {
        let mut attempt = 1_u32;
        let mut redrives = found.redriven_ms.iter().peekable();
        for run in &found.history {
            // A redrive begins anew, whenever it was after the last run.
            while redrives.next_if(|at| **at <= run.leased_ms).is_some() {
                attempt = 1;
            }
            if run.attempt != attempt {
                let says = format!(
                    "task {task_id}: run {} is remembered as attempt {}, not {attempt}",
                    run.run, run.attempt
                );
                wrong.add(Rule::Attempts, says);
            }
            let failed = run.end == RunEnd::Report(Says::Fail);
            attempt = attempt.saturating_add(u32::from(failed));
        }
        if redrives.next().is_some() {
            attempt = 1;
        }
        if found.failures.saturating_add(1) != attempt {
            let says = format!(
                "task {task_id}: {} failures counted, its runs tell of {}",
                found.failures,
                attempt - 1
            );
            wrong.add(Rule::Attempts, says);
        }
    }
    let beyond = task
        .deliveries
        .iter()
        .find(|(_, delivered)| delivered.run > found.runs || delivered.fence > found.fence);
    if let Some((_, delivered)) = beyond {
        let says = format!(
            "task {task_id}: run {} with fence {} was delivered, known are {} runs, fence {}",
            delivered.run, delivered.fence, found.runs, found.fence
        );
        wrong.add(Rule::OneHolder, says);
    }
    for (_, delivered) in &task.deliveries {
        let remembered = found.history.iter().find(|run| run.run == delivered.run);
        if remembered.is_some_and(|run| run.attempt != delivered.attempt) {
            let says = format!(
                "task {task_id}: run {} was delivered as another attempt than is remembered",
                delivered.run
            );
            wrong.add(Rule::Attempts, says);
        }
    }
}

/// On the coordinator's own clock, exactly: no lease before the first wait is over, nor before the
/// wait that the run before drew.
fn times(found: &Found, book: &Book<'_>, wrong: &mut Wrong) {
    let task_id = &found.task_id;
    let delay_ms = match &found.origin {
        Origin::Sent(marker) => {
            let sending = book.sendings.get(marker);
            sending.map_or(0, |sending| sending.asks.delay_ms)
        }
        Origin::Made(_) => 0,
    };
    let mut due = (1_u32, found.enqueued_ms.saturating_add(delay_ms));
    for run in &found.history {
        let (of_run, due_ms) = due;
        if run.run == of_run && run.leased_ms < due_ms {
            let says = format!(
                "task {task_id}: run {} was leased {} ms before its time",
                run.run,
                due_ms - run.leased_ms
            );
            wrong.add(Rule::NotBefore, says);
        }
        let wait_ms = run.delay_ms.unwrap_or(0);
        due = (
            run.run.saturating_add(1),
            run.ended_ms.saturating_add(wait_ms),
        );
    }
}

/// What was acknowledged of a run is how it ended.
fn reports(found: &Found, task: &Task<'_>, wrong: &mut Wrong) {
    let task_id = &found.task_id;
    let told: BTreeMap<u32, RunEnd> = found.history.iter().map(|run| (run.run, run.end)).collect();
    let mut may_be_complete = false;
    for (run, sents) in &task.reports {
        for sent in sents {
            may_be_complete |= sent.says == Says::Complete && sent.may_be_kept();
            if !sent.is_kept() {
                continue;
            }
            if sent.says == Says::Complete && found.stands != Stands::Succeeded {
                let says = format!(
                    "task {task_id}: the completion of run {run} was acknowledged, but it is {:?}",
                    found.stands
                );
                wrong.add(Rule::ReportKept, says);
            }
            // Whatever a holder says that was asked to stop, but for a success, is a cancel.
            let obeyed = sent.says != Says::Complete && task.cancels_possible() > 0;
            let ended_so = |end: &RunEnd| {
                *end == RunEnd::Report(sent.says) || (obeyed && *end == RunEnd::Cancelled)
            };
            if told.get(run).is_some_and(|end| !ended_so(end)) {
                let says = format!(
                    "task {task_id}: of run {run} {:?} was acknowledged, but it ended by {:?}",
                    sent.says, told[run]
                );
                wrong.add(Rule::ReportKept, says);
            }
        }
    }
    if found.stands == Stands::Succeeded {
        result(found, task, may_be_complete, wrong);
    }
    for (run, end) in told {
        let says = match end {
            RunEnd::Report(says) => says,
            RunEnd::Lost => continue,
            RunEnd::Cancelled => {
                if found.stands != Stands::Cancelled {
                    let says = format!("task {task_id}: run {run} was cancelled, the task is not");
                    wrong.add(Rule::Cancels, says);
                }
                continue;
            }
        };
        // A lease that never arrived is given back by the coordinator itself (docs/durability.md,
        // "What a restart does").
        let arrived = || task.deliveries.iter().any(|(_, one)| one.run == run);
        if says == Says::Release && !arrived() {
            continue;
        }
        let sents = task.reports.get(&run);
        let sent = sents.and_then(|sents| sents.iter().find(|sent| sent.says == says));
        if !sent.is_some_and(Sent::may_be_kept) {
            let says = format!("task {task_id}: run {run} ended by a {says:?} that nobody sent");
            wrong.add(Rule::NoInvention, says);
        }
    }
}

/// The result is that of the completion.
fn result(found: &Found, task: &Task<'_>, may_be_complete: bool, wrong: &mut Wrong) {
    let task_id = &found.task_id;
    if !may_be_complete {
        let says = format!("task {task_id} succeeded, but nobody completed it");
        return wrong.add(Rule::NoInvention, says);
    }
    let completions = task.completions();
    if !completions.iter().any(|sent| sent.result == found.result) {
        let says = format!("task {task_id}: its result is not the one that was reported");
        wrong.add(Rule::Bytes, says);
    }
}
