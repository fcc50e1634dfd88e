//! The numbers that the demo shows: facts added up, for tables and for JSON alike.
//!
//! Pure. Never judges: whether the numbers are right is the books' business.

use std::{collections::BTreeMap, time::Duration};

use redrive_proto::v1::RunOutcome;
use serde::Serialize;

use super::{
    behaviour::Behaviour,
    books::{Check, Facts, cause_of, retry_number},
    facts::{End, RunFacts, TaskFacts},
    policy::Cause,
};

/// Into how many equal parts a window is cut to show where its delays fell.
pub(super) const PARTS: usize = 10;

/// Everything that is reported, and the JSON object of `--report json`.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Summary {
    /// Tasks enqueued.
    pub(super) tasks: u64,
    /// Delivered in the end.
    pub(super) succeeded: u64,
    /// Ended for good without being delivered and without a dead letter.
    pub(super) failed: u64,
    /// Dead in the end, by reason.
    pub(super) dead: BTreeMap<String, u64>,
    /// Runs handed to workers.
    pub(super) attempts: u64,
    /// Runs that failed and were tried again.
    pub(super) retries: u64,
    /// Runs whose worker was lost.
    pub(super) crashes: u64,
    /// Whether every check holds.
    pub(super) books_balanced: bool,
    /// Dead letters before the redrive, by reason.
    pub(super) dead_before_redrive: BTreeMap<String, u64>,
    /// Dead letters put back.
    pub(super) redriven: u64,
    /// Whether the coordinator was killed on the way and started again on its journal.
    pub(super) coordinator_killed: bool,
    /// How long nobody was answered: from the kill until the next one was ready.
    pub(super) coordinator_down_ms: u64,
    /// Lines of the input that could not be used.
    pub(super) bad_lines: usize,
    /// What the preset's durations were divided by.
    pub(super) scale: u32,
    /// How long it took, without the start of the processes.
    pub(super) seconds: f64,
    /// By behaviour.
    pub(super) behaviours: Vec<Row>,
    /// By cause and retry.
    pub(super) delays: Vec<DelayRow>,
    /// Dead in the end.
    pub(super) dead_letters: Vec<DeadRow>,
    /// The checks.
    pub(super) books: Vec<Check>,
}

/// One behaviour.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Row {
    /// Its name; "all" in the last row.
    pub(super) behaviour: String,
    /// Tasks.
    pub(super) tasks: u64,
    /// Runs.
    pub(super) attempts: u64,
    /// Runs that failed and were tried again.
    pub(super) retries: u64,
    /// Runs whose worker was lost.
    pub(super) crashes: u64,
    /// Delivered.
    pub(super) succeeded: u64,
    /// Ended for good without being delivered: a rule said that trying again is no use.
    pub(super) failed: u64,
    /// Dead letters.
    pub(super) dead: u64,
}

/// The delays before one retry, beside what the policy allows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct DelayRow {
    /// The failure's class; WORKER_LOST for a crash.
    pub(super) cause: String,
    /// Which retry, from 1.
    pub(super) retry: u32,
    /// How many were drawn.
    pub(super) count: u64,
    /// The shortest drawn, in milliseconds.
    pub(super) drawn_min_ms: u64,
    /// The mean.
    pub(super) drawn_mean_ms: u64,
    /// The longest drawn.
    pub(super) drawn_max_ms: u64,
    /// The shortest allowed.
    pub(super) allowed_min_ms: u64,
    /// The longest allowed.
    pub(super) allowed_max_ms: u64,
    /// How many fell into each tenth of the window.
    pub(super) tenths: [u64; PARTS],
}

/// Dead letters of one behaviour and reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct DeadRow {
    /// The behaviour.
    pub(super) behaviour: Behaviour,
    /// Why they are dead.
    pub(super) reason: String,
    /// How many.
    pub(super) count: u64,
    /// What the failure of the first of them said.
    pub(super) example: String,
}

/// One row for each behaviour that occurs, and one for all.
pub(super) fn rows(tasks: &[TaskFacts]) -> Vec<Row> {
    let mut rows: Vec<Row> = Behaviour::ALL
        .into_iter()
        .map(|behaviour| {
            let of_it = tasks.iter().filter(|task| task.behaviour == behaviour);
            row(behaviour.name(), of_it)
        })
        .filter(|row| row.tasks > 0)
        .collect();
    rows.push(row("all", tasks.iter()));
    rows
}

fn row<'a>(name: &str, tasks: impl Iterator<Item = &'a TaskFacts>) -> Row {
    let mut row = Row {
        behaviour: name.to_owned(),
        ..Row::default()
    };
    for task in tasks {
        row.tasks = row.tasks.saturating_add(1);
        row.attempts = row.attempts.saturating_add(task.runs_total.into());
        for run in &task.runs {
            row.retries = row.retries.saturating_add(run.is_retried().into());
            let crashed = run.outcome == RunOutcome::Crashed;
            row.crashes = row.crashes.saturating_add(crashed.into());
        }
        match &task.end {
            End::Succeeded => row.succeeded = row.succeeded.saturating_add(1),
            End::Dead(_) => row.dead = row.dead.saturating_add(1),
            End::Otherwise(_) => row.failed = row.failed.saturating_add(1),
            End::Unfinished(_) => {}
        }
    }
    row
}

/// Dead letters by reason.
pub(super) fn dead_by_reason(tasks: &[TaskFacts]) -> BTreeMap<String, u64> {
    let mut by_reason = BTreeMap::new();
    for task in tasks {
        if let End::Dead(reason) = &task.end {
            let count: &mut u64 = by_reason.entry(reason.clone()).or_default();
            *count = count.saturating_add(1);
        }
    }
    by_reason
}

/// Dead letters by behaviour and reason.
pub(super) fn dead_rows(tasks: &[TaskFacts]) -> Vec<DeadRow> {
    let mut rows: BTreeMap<(Behaviour, &str), DeadRow> = BTreeMap::new();
    for task in tasks {
        let End::Dead(reason) = &task.end else {
            continue;
        };
        let row = rows
            .entry((task.behaviour, reason))
            .or_insert_with(|| DeadRow {
                behaviour: task.behaviour,
                reason: reason.clone(),
                count: 0,
                example: task.message.clone(),
            });
        row.count = row.count.saturating_add(1);
    }
    rows.into_values().collect()
}

/// The delays by cause and retry, those that have a window.
pub(super) fn delay_rows(facts: &Facts) -> Vec<DelayRow> {
    let mut drawn: BTreeMap<(Cause, u32), Vec<Duration>> = BTreeMap::new();
    for task in &facts.tasks {
        for run in &task.runs {
            if let (Some(delay), Some(cause)) = (run.delay, cause_of(task, run, &facts.hits)) {
                let n = retry_number(task, run, &facts.windows);
                drawn.entry((cause, n)).or_default().push(delay);
            }
        }
    }
    let rows = drawn.into_iter().filter_map(|((cause, n), delays)| {
        let window = facts.windows.find(cause, n)?;
        Some(delay_row(
            cause,
            n,
            &delays,
            (millis(window.min), millis(window.max)),
        ))
    });
    rows.collect()
}

fn delay_row(cause: Cause, n: u32, delays: &[Duration], (min, max): (u64, u64)) -> DelayRow {
    let drawn: Vec<u64> = delays.iter().copied().map(millis).collect();
    let count = u64::try_from(drawn.len()).unwrap_or(u64::MAX);
    let sum = drawn
        .iter()
        .fold(0_u64, |sum, delay| sum.saturating_add(*delay));
    let mut tenths = [0_u64; PARTS];
    for delay in &drawn {
        if let Some(tenth) = tenths.get_mut(tenth_of(*delay, min, max)) {
            *tenth = tenth.saturating_add(1);
        }
    }
    DelayRow {
        cause: match cause {
            Cause::Failure(class, _) => class
                .as_str_name()
                .trim_start_matches("FAILURE_CLASS_")
                .to_owned(),
            Cause::Crash => "WORKER_LOST".to_owned(),
        },
        retry: n.saturating_add(1),
        count,
        drawn_min_ms: drawn.iter().copied().min().unwrap_or(0),
        drawn_mean_ms: sum.checked_div(count).unwrap_or(0),
        drawn_max_ms: drawn.iter().copied().max().unwrap_or(0),
        allowed_min_ms: min,
        allowed_max_ms: max,
        tenths,
    }
}

/// Which tenth of the window a delay fell into; what is outside counts to the nearest.
fn tenth_of(delay: u64, min: u64, max: u64) -> usize {
    let width = max.saturating_sub(min).max(1);
    let tenth = delay
        .saturating_sub(min)
        .saturating_mul(10)
        .checked_div(width)
        .unwrap_or(0);
    usize::try_from(tenth)
        .unwrap_or(PARTS)
        .min(PARTS.saturating_sub(1))
}

/// A duration as reports have it.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// True for a run of this worker that was lost with it.
pub(super) fn lost_with(run: &RunFacts, worker_id: &str) -> bool {
    run.is_lost() && run.worker_id == worker_id
}

#[cfg(test)]
mod tests {
    use redrive_proto::v1::FailureClass;

    use super::*;

    fn run(run: u32, outcome: RunOutcome, delay: Option<u64>) -> RunFacts {
        RunFacts {
            run,
            attempt: run,
            worker_id: "demo-1".to_owned(),
            started: true,
            outcome,
            class: Some(FailureClass::Network),
            rule: String::new(),
            delay: delay.map(Duration::from_millis),
            leased: std::time::SystemTime::UNIX_EPOCH,
            ended: std::time::SystemTime::UNIX_EPOCH,
        }
    }

    fn task(behaviour: Behaviour, end: End, runs: Vec<RunFacts>) -> TaskFacts {
        TaskFacts {
            task_id: "t".to_owned(),
            behaviour,
            end,
            runs_total: u32::try_from(runs.len()).unwrap(),
            runs,
            redrives: 0,
            runs_before_redrive: 0,
            last_class: Some(FailureClass::NotFound),
            message: "404: there is no such page".to_owned(),
        }
    }

    #[test]
    fn rows_add_up_to_the_last_one() {
        let tasks = [
            task(
                Behaviour::Network,
                End::Succeeded,
                vec![
                    run(1, RunOutcome::Failed, Some(5)),
                    run(2, RunOutcome::Crashed, Some(5)),
                    run(3, RunOutcome::Succeeded, None),
                ],
            ),
            task(
                Behaviour::Auth,
                End::Dead("RULE".to_owned()),
                vec![run(1, RunOutcome::Failed, None)],
            ),
        ];
        let rows = rows(&tasks);
        let names: Vec<&str> = rows.iter().map(|row| row.behaviour.as_str()).collect();
        assert_eq!(names, ["network", "auth", "all"]);
        let all = Row {
            behaviour: "all".to_owned(),
            tasks: 2,
            attempts: 4,
            retries: 1,
            crashes: 1,
            succeeded: 1,
            failed: 0,
            dead: 1,
        };
        assert_eq!(rows[2], all);
        assert_eq!(
            dead_by_reason(&tasks),
            BTreeMap::from([("RULE".to_owned(), 1)])
        );
        assert_eq!(dead_rows(&tasks)[0].example, "404: there is no such page");
    }

    #[test]
    fn delays_are_spread_over_the_tenths_of_their_window() {
        let delays = [0, 5, 10, 99, 100].map(Duration::from_millis);
        let row = delay_row(Cause::Crash, 0, &delays, (0, 100));
        assert_eq!(row.tenths, [2, 1, 0, 0, 0, 0, 0, 0, 0, 2]);
        assert_eq!(
            (row.drawn_min_ms, row.drawn_mean_ms, row.drawn_max_ms),
            (0, 42, 100)
        );
        assert_eq!(
            (row.cause.as_str(), row.retry, row.count),
            ("WORKER_LOST", 1, 5)
        );
    }

    #[test]
    fn a_window_of_one_value_has_one_tenth() {
        assert_eq!(tenth_of(7, 7, 7), 0);
        assert_eq!(tenth_of(1_100, 1_000, 1_100), 9);
    }
}
