//! The delays that were drawn beside what the policy allows.
//!
//! Owns how a wait is traced back to its window: to its cause, and to how many retries came before.
//! Pure.

use std::{ops::RangeInclusive, time::Duration};

use redrive_proto::v1::{FailureClass, RunOutcome};

use super::{Check, Facts, is_shortened};
use crate::demo::{
    facts::{RunFacts, TaskFacts},
    policy::{Cause, Windows},
    text::grouped,
    upstream::{Hit, HitKey, Hits},
};

/// The waits that follow a lease whose worker was lost before it began: 1 s, doubling to 60 s, set
/// by the protocol and not by the policy.
const UNSTARTED_WAIT: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(60);
/// Runs at the beginning of a long history that are told without a gap.
const RUNS_BEFORE_GAP: u32 = 8;

/// Every delay lies in the window of its cause and retry, and was decided by that window's rule.
pub(super) fn within_windows(facts: &Facts) -> Check {
    let mut wrong = Vec::new();
    let (mut checked, mut untold) = (0_u64, 0_u64);
    for task in &facts.tasks {
        for run in &task.runs {
            let Some(delay) = run.delay else { continue };
            // Behind a gap in the history nobody can count the retries before.
            if is_shortened(task) && run.run > RUNS_BEFORE_GAP {
                untold = untold.saturating_add(1);
                continue;
            }
            checked = checked.saturating_add(1);
            if let Err(problem) = delay_holds(facts, task, run, delay) {
                wrong.push(format!("task {} run {}: {problem}", task.task_id, run.run));
            }
        }
    }
    let mut numbers = format!(
        "{} delays, beside what PreviewRetryPolicy says",
        grouped(checked)
    );
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
pub(in crate::demo) fn cause_of(task: &TaskFacts, run: &RunFacts, hits: &Hits) -> Option<Cause> {
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
pub(in crate::demo) fn retry_number(task: &TaskFacts, run: &RunFacts, windows: &Windows) -> u32 {
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
