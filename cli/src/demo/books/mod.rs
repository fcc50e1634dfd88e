//! The demo checks its own books: facts in, discrepancies out.
//!
//! Owns what must hold between the coordinator's word (tasks, runs, totals), the upstream's own
//! count and the policy's windows. Pure. No check depends on time; the one allowance is stated in
//! it: of a run whose worker was lost nobody can say whether its request went out.

#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, ops::RangeInclusive, time::Duration};

use redrive_proto::v1::{FailureClass, RunOutcome};
use serde::Serialize;

use super::{
    facts::{End, QueueFacts, RunFacts, TaskFacts},
    policy::{Cause, Windows},
    text::{grouped, grouped_len},
    upstream::{Hit, HitKey, Hits},
};

/// The waits that follow a lease whose worker was lost before it began: 1 s, doubling to 60 s, set
/// by the protocol and not by the policy.
const UNSTARTED_WAIT: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(60);

/// All that the books are made of.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    /// Tasks that the coordinator acknowledged.
    pub(super) enqueued: u64,
    /// What it says of each of them at the end.
    pub(super) tasks: Vec<TaskFacts>,
    /// What it counted for each queue.
    pub(super) queues: Vec<QueueFacts>,
    /// What reached the upstream.
    pub(super) hits: Hits,
    /// What the policy allows.
    pub(super) windows: Windows,
    /// How many dead letters the redrive said it put back.
    pub(super) redriven: u64,
}

/// One thing that must hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Check {
    /// What must hold.
    pub(super) name: &'static str,
    /// What was compared, with its numbers.
    pub(super) numbers: String,
    /// Where it does not; empty is good.
    pub(super) discrepancies: Vec<String>,
}

impl Check {
    /// True where it holds.
    pub(super) fn holds(&self) -> bool {
        self.discrepancies.is_empty()
    }
}

/// Checks everything.
pub(super) fn audit(facts: &Facts) -> Vec<Check> {
    vec![
        ends(facts),
        runs(facts),
        hits(facts),
        accepted(facts),
        delays(facts),
        redrives(facts),
    ]
}

/// True where every check holds.
pub(super) fn balanced(checks: &[Check]) -> bool {
    checks.iter().all(Check::holds)
}

fn ends(facts: &Facts) -> Check {
    let mut wrong = Vec::new();
    let (mut succeeded, mut dead, mut otherwise) = (0_u64, 0_u64, 0_u64);
    let mut ids = BTreeSet::new();
    for task in &facts.tasks {
        if !ids.insert(&task.task_id) {
            wrong.push(format!("task {} was told twice", task.task_id));
        }
        match &task.end {
            End::Succeeded => succeeded = succeeded.saturating_add(1),
            End::Dead(_) => dead = dead.saturating_add(1),
            End::Otherwise(_) => otherwise = otherwise.saturating_add(1),
            End::Unfinished(state) => {
                wrong.push(format!(
                    "task {} has not ended: it is {state}",
                    task.task_id
                ));
            }
        }
    }
    let total =
        |of: fn(&QueueFacts) -> u64| facts.queues.iter().map(of).fold(0, u64::saturating_add);
    let told = u64::try_from(facts.tasks.len()).unwrap_or(u64::MAX);
    for (what, ours, theirs) in [
        (
            "tasks told of, against tasks acknowledged",
            told,
            facts.enqueued,
        ),
        (
            "the queues' enqueued_total, against tasks acknowledged",
            total(|q| q.enqueued),
            facts.enqueued,
        ),
        (
            "the queues' succeeded_total, against tasks SUCCEEDED",
            total(|q| q.succeeded),
            succeeded,
        ),
        (
            "the queues' dead, against tasks DEAD",
            total(|q| q.dead),
            dead,
        ),
        (
            "the queues' scheduled + ready + leased + retrying, against none",
            total(|q| q.live),
            0,
        ),
    ] {
        if ours != theirs {
            wrong.push(format!(
                "{what}: {} is not {}",
                grouped(ours),
                grouped(theirs)
            ));
        }
    }
    Check {
        name: "every task is in exactly one end state",
        numbers: format!(
            "{} enqueued = {} succeeded + {} dead + {} otherwise",
            grouped(facts.enqueued),
            grouped(succeeded),
            grouped(dead),
            grouped(otherwise)
        ),
        discrepancies: wrong,
    }
}

fn runs(facts: &Facts) -> Check {
    let mut wrong = Vec::new();
    let (mut total, mut retried, mut lost, mut back) = (0_u64, 0_u64, 0_u64, 0_u64);
    let mut crashed = 0_u64;
    for task in &facts.tasks {
        total = total.saturating_add(task.runs_total.into());
        let numbers: Vec<u32> = task.runs.iter().map(|run| run.run).collect();
        let whole = numbers.iter().copied().eq(1..=task.runs_total);
        if !whole && !is_shortened(task) {
            wrong.push(format!(
                "task {}: {} runs, told are {numbers:?}",
                task.task_id, task.runs_total
            ));
        }
        let count = |test: fn(&RunFacts) -> bool| -> u64 {
            task.runs.iter().filter(|run| test(run)).map(|_| 1).sum()
        };
        let task_retried = count(RunFacts::is_retried);
        let task_lost = count(|run| run.is_lost() && run.delay.is_some());
        let task_back =
            count(|run| matches!(run.outcome, RunOutcome::Deferred | RunOutcome::Released));
        crashed = crashed.saturating_add(count(|run| run.outcome == RunOutcome::Crashed));
        let causes = task_retried + task_lost + task_back + u64::from(task.redrives);
        if whole && u64::from(task.runs_total) != causes.saturating_add(1) {
            wrong.push(format!(
                "task {}: {} runs, but 1 + {task_retried} retried + {task_lost} after a lost \
                 worker + {task_back} put back + {} redriven",
                task.task_id, task.runs_total, task.redrives
            ));
        }
        retried = retried.saturating_add(task_retried);
        lost = lost.saturating_add(task_lost);
        back = back
            .saturating_add(task_back)
            .saturating_add(task.redrives.into());
    }
    let counted = facts
        .queues
        .iter()
        .map(|queue| queue.crashes)
        .fold(0, u64::saturating_add);
    if counted != crashed && !facts.tasks.iter().any(is_shortened) {
        wrong.push(format!(
            "the queues count {counted} crashes, the runs {crashed}"
        ));
    }
    Check {
        name: "runs are 1, 2, 3 .. and each has its cause",
        numbers: format!(
            "{} runs = {} first + {} retries + {} after a lost worker + {} put back or redriven",
            grouped(total),
            grouped_len(facts.tasks.len()),
            grouped(retried),
            grouped(lost),
            grouped(back)
        ),
        discrepancies: wrong,
    }
}

/// True where the coordinator left out the middle of a long history.
fn is_shortened(task: &TaskFacts) -> bool {
    u32::try_from(task.runs.len()).is_ok_and(|told| told >= 16 && told < task.runs_total)
}

fn hits(facts: &Facts) -> Check {
    let mut wrong = Vec::new();
    let (mut reported, mut lost, mut lost_hits) = (0_u64, 0_u64, 0_u64);
    let mut known = BTreeSet::new();
    for task in &facts.tasks {
        for run in &task.runs {
            let key = HitKey {
                task_id: task.task_id.clone(),
                run: run.run,
            };
            let requests = facts.hits.runs.get(&key).map_or(0, |hit| hit.requests);
            let expected = requests_of(run);
            if !expected.contains(&requests) {
                wrong.push(format!(
                    "task {} run {} ({}, {}): {requests} requests reached the upstream, not {}",
                    task.task_id,
                    run.run,
                    run.outcome.as_str_name(),
                    run.worker_id,
                    expected.end()
                ));
            }
            if run.is_reported() {
                reported = reported.saturating_add(1);
            } else {
                lost = lost.saturating_add(1);
                lost_hits = lost_hits.saturating_add(requests.into());
            }
            known.insert(key);
        }
        // The middle of a long history is not told: there a run may have had its one request.
        if is_shortened(task) {
            let told: BTreeSet<u32> = task.runs.iter().map(|run| run.run).collect();
            for run in (1..=task.runs_total).filter(|run| !told.contains(run)) {
                known.insert(HitKey {
                    task_id: task.task_id.clone(),
                    run,
                });
            }
        }
    }
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
            "{} hits = {} runs reported + {} of {} runs whose worker was lost (0 or 1 each)",
            grouped(requests),
            grouped(reported),
            grouped(lost_hits),
            grouped(lost)
        ),
        discrepancies: wrong,
    }
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

fn accepted(facts: &Facts) -> Check {
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
            let key = HitKey {
                task_id: task.task_id.clone(),
                run: run.run,
            };
            let accepted = facts.hits.runs.get(&key).map_or(0, |hit| hit.accepted);
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

fn delays(facts: &Facts) -> Check {
    let mut wrong = Vec::new();
    let (mut checked, mut untold) = (0_u64, 0_u64);
    for task in &facts.tasks {
        for run in &task.runs {
            let Some(delay) = run.delay else { continue };
            // Behind a gap in the history nobody can count the retries before.
            if is_shortened(task) && run.run > 8 {
                untold = untold.saturating_add(1);
                continue;
            }
            checked = checked.saturating_add(1);
            if let Err(problem) = delay_holds(facts, task, run, delay) {
                wrong.push(format!("task {} run {}: {problem}", task.task_id, run.run));
            }
        }
    }
    let mut numbers = format!("{} delays", grouped(checked));
    if untold > 0 {
        numbers.push_str(&format!(
            ", and {} of long histories not checked",
            grouped(untold)
        ));
    }
    Check {
        name: "no delay lies outside its window",
        numbers,
        discrepancies: wrong,
    }
}

fn delay_holds(
    facts: &Facts,
    task: &TaskFacts,
    run: &RunFacts,
    delay: Duration,
) -> Result<(), String> {
    let window = match cause_of(task, run, &facts.hits) {
        // Put back untouched, or never begun: these waits are not the policy's.
        None if run.outcome == RunOutcome::Unstarted => UNSTARTED_WAIT,
        None => return Ok(()),
        Some(cause) => {
            let n = retry_number(task, run, &facts.windows);
            let Some(window) = facts.windows.find(cause, n) else {
                return Err(format!(
                    "retry {n} after {cause:?} is one that the policy denies"
                ));
            };
            if window.rule != run.rule {
                return Err(format!(
                    "retry {n} after {cause:?} was decided by {:?}, not by {:?}",
                    run.rule, window.rule
                ));
            }
            window.min..=window.max
        }
    };
    if window.contains(&delay) {
        return Ok(());
    }
    Err(format!(
        "waited {delay:?}, allowed are {:?} to {:?}",
        window.start(),
        window.end()
    ))
}

/// What the wait after a run is due to; `None` where it is not the policy's.
pub(super) fn cause_of(task: &TaskFacts, run: &RunFacts, hits: &Hits) -> Option<Cause> {
    if run.outcome == RunOutcome::Crashed {
        return Some(Cause::Crash);
    }
    if !run.is_retried() {
        return None;
    }
    let class = run.class.unwrap_or(FailureClass::Internal);
    let key = HitKey {
        task_id: task.task_id.clone(),
        run: run.run,
    };
    let asked = hits.runs.get(&key).and_then(|hit: &Hit| hit.retry_after);
    Some(Cause::Failure(
        class,
        asked.filter(|_| class == FailureClass::RateLimited),
    ))
}

/// How many retries came before, as the judge counts them: crashes for a crash, the rule's own
/// retries where it has a limit of its own, the task's failures otherwise.
pub(super) fn retry_number(task: &TaskFacts, run: &RunFacts, windows: &Windows) -> u32 {
    let count = |test: &dyn Fn(&RunFacts) -> bool| {
        let before = task.budget_before(run).filter(|other| test(other)).count();
        u32::try_from(before).unwrap_or(u32::MAX)
    };
    if run.outcome == RunOutcome::Crashed {
        count(&|other| other.outcome == RunOutcome::Crashed)
    } else if windows.counts_for_itself(&run.rule) {
        count(&|other| other.is_retried() && other.rule == run.rule)
    } else {
        run.attempt.saturating_sub(1)
    }
}

fn redrives(facts: &Facts) -> Check {
    let told = facts
        .tasks
        .iter()
        .map(|task| u64::from(task.redrives))
        .sum::<u64>();
    let counted = facts
        .queues
        .iter()
        .map(|queue| queue.redriven)
        .fold(0, u64::saturating_add);
    let mut wrong = Vec::new();
    for (what, number) in [("the tasks tell of", told), ("the queues count", counted)] {
        if number != facts.redriven {
            wrong.push(format!(
                "{what} {} redrives, the redrive said {}",
                grouped(number),
                grouped(facts.redriven)
            ));
        }
    }
    Check {
        name: "every redrive is on its task",
        numbers: format!("{} redriven", grouped(facts.redriven)),
        discrepancies: wrong,
    }
}
