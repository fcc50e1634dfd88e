//! The runs of one task: who held it when, which attempt it was, what was accepted of it.
//!
//! Owns the rules about deliveries and reports. Pure. Deliveries are judged in the order of their
//! runs, never in the order of their arrival: a worker that was replaced may read late what was sent
//! to it early.

use super::{
    Rule, Wrong,
    book::{Book, Sent, Task},
};
use crate::history::{Answer, Delivered, Origin, Says};

/// How far the coordinator's clock may be from a client's (`docs`: skew at most 500 ms). The exact
/// rule is checked on the coordinator's own clock at the end.
const SKEW_US: u64 = 500_000;

pub(super) fn check(task_id: &str, task: &Task<'_>, book: &Book<'_>, wrong: &mut Wrong) {
    let mut deliveries = task.deliveries.clone();
    deliveries.sort_by_key(|(_, delivered)| delivered.run);
    holders(task_id, &deliveries, wrong);
    // A redrive begins anew; when that was only the coordinator can tell, in the end.
    if task.redrives_possible() == 0 {
        attempts(task_id, task, &deliveries, wrong);
    }
    not_before(task_id, &deliveries, book, wrong);
    completions(task_id, task, wrong);
    replaced(task_id, task, &deliveries, wrong);
}

fn holders(task_id: &str, deliveries: &[(u64, &Delivered)], wrong: &mut Wrong) {
    for pair in deliveries.windows(2) {
        let [(_, earlier), (_, later)] = pair else {
            continue;
        };
        if earlier.run == later.run {
            let says = format!("task {task_id}: run {} was delivered twice", later.run);
            wrong.add(Rule::OneHolder, says);
        } else if earlier.fence >= later.fence {
            let says = format!(
                "task {task_id}: run {} has fence {}, run {} has {}: it must grow",
                earlier.run, earlier.fence, later.run, later.fence
            );
            wrong.add(Rule::OneHolder, says);
        }
    }
    if deliveries.first().is_some_and(|(_, first)| first.run == 0) {
        wrong.add(
            Rule::Attempts,
            format!("task {task_id}: runs begin at 1, not 0"),
        );
    }
}

/// Every attempt is 1 + the failures counted before: at least those that are acknowledged, at most
/// those that were sent and never denied.
fn attempts(task_id: &str, task: &Task<'_>, deliveries: &[(u64, &Delivered)], wrong: &mut Wrong) {
    let mut reports = task.reports.iter().peekable();
    let (mut least, mut most) = (1_u32, 1_u32);
    for (_, delivered) in deliveries {
        while let Some((_, sents)) = reports.next_if(|(run, _)| **run < delivered.run) {
            let fails = || sents.iter().filter(|sent| sent.says == Says::Fail);
            least = least.saturating_add(u32::from(fails().any(Sent::is_kept)));
            most = most.saturating_add(u32::from(fails().any(Sent::may_be_kept)));
        }
        if !(least..=most).contains(&delivered.attempt) {
            let says = format!(
                "task {task_id}: run {} is attempt {}, but {} to {} failures came before",
                delivered.run,
                delivered.attempt,
                least - 1,
                most - 1
            );
            wrong.add(Rule::Attempts, says);
        }
        // What this attempt says of the failures before it holds for the later ones.
        (least, most) = (delivered.attempt, delivered.attempt);
    }
}

fn not_before(task_id: &str, deliveries: &[(u64, &Delivered)], book: &Book<'_>, wrong: &mut Wrong) {
    for (at_us, delivered) in deliveries {
        let Origin::Sent(marker) = &delivered.origin else {
            continue;
        };
        let Some(sending) = book.sendings.get(marker) else {
            continue;
        };
        let delay_us = sending.asks.delay_ms.saturating_mul(1000);
        let due_us = sending.invoked_us.saturating_add(delay_us);
        if at_us.saturating_add(SKEW_US) < due_us {
            let says = format!(
                "task {task_id}: run {} was delivered {} ms before its time",
                delivered.run,
                (due_us - at_us) / 1000
            );
            wrong.add(Rule::NotBefore, says);
        }
    }
}

fn completions(task_id: &str, task: &Task<'_>, wrong: &mut Wrong) {
    let recorded = |sent: &&Sent| sent.answers.contains(&Answer::Recorded);
    let mut completed = Vec::new();
    for (run, sents) in &task.reports {
        let times: usize = sents
            .iter()
            .map(|sent| {
                let answers = sent.answers.iter();
                answers.filter(|one| **one == Answer::Recorded).count()
            })
            .sum();
        if times > 1 {
            let says = format!("task {task_id}: run {run} was settled {times} times");
            wrong.add(Rule::OneCompletion, says);
        }
        let completes = sents.iter().filter(|sent| sent.says == Says::Complete);
        completed.extend(completes.filter(recorded).map(|_| *run));
    }
    if completed.len() > 1 {
        let says = format!("task {task_id}: completions of runs {completed:?} were accepted");
        wrong.add(Rule::OneCompletion, says);
    }
}

/// Who reports after a later run was seen settles nothing.
fn replaced(task_id: &str, task: &Task<'_>, deliveries: &[(u64, &Delivered)], wrong: &mut Wrong) {
    // When a run later than each was first seen: the least instant of the deliveries behind it.
    let mut seen_us = u64::MAX;
    let mut later_seen: Vec<(u32, u64)> = Vec::with_capacity(deliveries.len());
    for (at_us, delivered) in deliveries.iter().rev() {
        later_seen.push((delivered.run, seen_us));
        seen_us = seen_us.min(*at_us);
    }
    for (run, seen_us) in later_seen {
        for sent in task.reports.get(&run).into_iter().flatten() {
            // An earlier sending whose answer was lost may be what was recorded.
            let late = sent.first_invoked_us > seen_us
                && sent.recorded_invoked_us.is_some_and(|at| at > seen_us);
            if late {
                let says = format!(
                    "task {task_id}: a report of run {run} was recorded although a later run had \
                     been delivered before it was sent"
                );
                wrong.add(Rule::OneHolder, says);
            }
        }
    }
}
