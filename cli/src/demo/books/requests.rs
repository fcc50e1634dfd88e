//! The runs beside what reached the upstream.
//!
//! Owns what a run's outcome says of its requests. Pure.

use std::{collections::BTreeSet, ops::RangeInclusive};

use redrive_proto::v1::RunOutcome;

use super::{Check, Facts, is_shortened};
use crate::demo::{
    facts::{End, RunFacts, TaskFacts},
    text::grouped,
    upstream::{Hit, HitKey},
};

/// Every run whose end its worker told made one request, and no request came from elsewhere.
pub(super) fn hits(facts: &Facts) -> Check {
    let mut wrong = Vec::new();
    let (mut reported, mut lost, mut lost_hits) = (0_u64, 0_u64, 0_u64);
    let mut known = BTreeSet::new();
    for (task, run) in facts
        .tasks
        .iter()
        .flat_map(|task| task.runs.iter().map(move |run| (task, run)))
    {
        let hit = hit_of(facts, task, run);
        let expected = requests_of(run);
        if !expected.contains(&hit.requests) {
            wrong.push(format!(
                "task {} run {} ({}, {}): {} requests reached the upstream, not {}",
                task.task_id,
                run.run,
                run.outcome.as_str_name(),
                run.worker_id,
                hit.requests,
                expected.end()
            ));
        }
        if run.is_reported() {
            reported = reported.saturating_add(1);
        } else {
            lost = lost.saturating_add(1);
            lost_hits = lost_hits.saturating_add(hit.requests.into());
        }
        known.insert(key_of(task, run.run));
    }
    known.extend(
        facts
            .tasks
            .iter()
            .filter(|task| is_shortened(task))
            .flat_map(untold),
    );
    for (key, hit) in facts
        .hits
        .runs
        .iter()
        .filter(|(key, _)| !known.contains(key))
    {
        wrong.push(format!(
            "task {} run {}: {} requests reached the upstream, but no such run is recorded",
            key.task_id, key.run, hit.requests
        ));
    }
    if facts.hits.strangers > 0 {
        wrong.push(format!(
            "{} requests named no task and run",
            facts.hits.strangers
        ));
    }
    let requests: u64 = facts
        .hits
        .runs
        .values()
        .map(|hit| u64::from(hit.requests))
        .sum();
    Check {
        name: "the upstream was hit once by every run",
        numbers: format!(
            "{} hits = {} reported runs + {} of {} lost ones",
            grouped(requests),
            grouped(reported),
            grouped(lost_hits),
            grouped(lost)
        ),
        discrepancies: wrong,
    }
}

/// The runs in the middle of a long history, which nobody tells of: each may have made its request.
fn untold(task: &TaskFacts) -> Vec<HitKey> {
    let told: BTreeSet<u32> = task.runs.iter().map(|run| run.run).collect();
    let untold = (1..=task.runs_total).filter(|run| !told.contains(run));
    untold.map(|run| key_of(task, run)).collect()
}

fn key_of(task: &TaskFacts, run: u32) -> HitKey {
    HitKey {
        task_id: task.task_id.clone(),
        run,
    }
}

fn hit_of(facts: &Facts, task: &TaskFacts, run: &RunFacts) -> Hit {
    facts
        .hits
        .runs
        .get(&key_of(task, run.run))
        .copied()
        .unwrap_or_default()
}

/// How many requests a run must have made.
const fn requests_of(run: &RunFacts) -> RangeInclusive<u32> {
    match run.outcome {
        RunOutcome::Succeeded
        | RunOutcome::Failed
        | RunOutcome::Retried
        | RunOutcome::Deferred
        | RunOutcome::Discarded => 1..=1,
        RunOutcome::Released => 0..=0,
        RunOutcome::Unspecified
        | RunOutcome::TimedOut
        | RunOutcome::Crashed
        | RunOutcome::Unstarted
        | RunOutcome::Cancelled => 0..=1,
    }
}

/// Every success is one that the upstream accepted, and a task succeeds once.
pub(super) fn accepted(facts: &Facts) -> Check {
    let mut wrong = Vec::new();
    let mut delivered = 0_u64;
    for task in &facts.tasks {
        let successes: Vec<&RunFacts> = task
            .runs
            .iter()
            .filter(|run| run.outcome == RunOutcome::Succeeded)
            .collect();
        let expected = usize::from(task.end == End::Succeeded);
        if successes.len() != expected {
            wrong.push(format!(
                "task {}: {} successful runs, not {expected}",
                task.task_id,
                successes.len()
            ));
        }
        for run in successes {
            let accepted = hit_of(facts, task, run).accepted;
            if accepted != 1 {
                wrong.push(format!(
                    "task {} run {}: succeeded, but the upstream accepted {accepted} requests of it",
                    task.task_id, run.run
                ));
            }
            delivered = delivered.saturating_add(1);
        }
    }
    Check {
        name: "what succeeded was accepted by the upstream, once",
        numbers: format!("{} deliveries", grouped(delivered)),
        discrepancies: wrong,
    }
}
