//! The demo checks its own books: facts in, discrepancies out.
//!
//! Owns what must hold between the coordinator's word (tasks, runs, totals), the upstream's own
//! count and the policy's windows. Pure. No check depends on time; the allowances are stated in them:
//! of a run whose worker was lost nobody can say whether its request went out, and a wait that ends
//! while there is no coordinator is followed late.

mod delays;
mod outage;
mod requests;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use redrive_proto::v1::RunOutcome;
use serde::Serialize;

use super::{
    coordinator::Down,
    facts::{End, QueueFacts, RunFacts, TaskFacts},
    policy::Windows,
    text::{grouped, grouped_len},
    upstream::Hits,
};
pub(super) use delays::{cause_of, retry_number};
pub(super) use outage::says as says_of_outage;

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
    /// When there was no coordinator, where it was killed.
    pub(super) down: Option<Down>,
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
        requests::hits(facts),
        requests::accepted(facts),
        delays::within_windows(facts),
        outage::waits(facts),
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
            "{} enqueued = {} succeeded + {} failed + {} dead",
            grouped(facts.enqueued),
            grouped(succeeded),
            grouped(otherwise),
            grouped(dead)
        ),
        discrepancies: wrong,
    }
}

fn runs(facts: &Facts) -> Check {
    let mut wrong = Vec::new();
    let (mut total, mut retried, mut lost, mut back) = (0_u64, 0_u64, 0_u64, 0_u64);
    let (mut crashed, mut redriven) = (0_u64, 0_u64);
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
        back = back.saturating_add(task_back);
        redriven = redriven.saturating_add(task.redrives.into());
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
    let mut numbers = format!(
        "{} runs = {} first + {} retries + {} lost + {} redriven",
        grouped(total),
        grouped_len(facts.tasks.len()),
        grouped(retried),
        grouped(lost),
        grouped(redriven)
    );
    if back > 0 {
        numbers.push_str(&format!(" + {} put back", grouped(back)));
    }
    Check {
        name: "runs are 1, 2, 3 .. and each has its cause",
        numbers,
        discrepancies: wrong,
    }
}

/// True where the coordinator left out the middle of a long history.
fn is_shortened(task: &TaskFacts) -> bool {
    u32::try_from(task.runs.len()).is_ok_and(|told| told >= 16 && told < task.runs_total)
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
