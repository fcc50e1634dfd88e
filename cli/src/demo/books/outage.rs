//! What a kill of the coordinator may have changed, and what not.
//!
//! Owns what is allowed of a wait that a coordinator without life lay in: it may begin late, by what
//! was left of the outage when it was due and as long as a slot is waited for, and never early. Pure.

use std::time::SystemTime;

use super::{Check, Facts};
use crate::demo::{
    coordinator::Down,
    facts::{RunFacts, TaskFacts},
    figures,
    text::{grouped, grouped_len},
};

/// On the coordinator's own clock, no run begins before the wait before it is over, and nothing is
/// recorded of a time without a coordinator.
pub(super) fn waits(facts: &Facts) -> Check {
    let mut wrong = Vec::new();
    let (mut waits, mut overdue) = (0_u64, 0_u64);
    for task in &facts.tasks {
        for run in &task.runs {
            lived(task, run, facts.down.as_ref(), &mut wrong);
        }
        for (run, next) in task.runs.iter().zip(task.runs.iter().skip(1)) {
            let Some(delay) = run.delay.filter(|_| next.run == run.run.saturating_add(1)) else {
                continue;
            };
            waits = waits.saturating_add(1);
            let due = run.ended.checked_add(delay).unwrap_or(run.ended);
            if next.leased < due {
                let early = due.duration_since(next.leased).unwrap_or_default();
                wrong.push(format!(
                    "task {} run {}: began {early:?} before its wait of {delay:?} was over",
                    task.task_id, next.run
                ));
            }
            let late = facts.down.is_some_and(|down| is_within(due, &down));
            overdue = overdue.saturating_add(late.into());
        }
    }
    let mut numbers = format!("{} waits", grouped(waits));
    if let Some(down) = &facts.down {
        let gone = down.until.duration_since(down.from).unwrap_or_default();
        numbers.push_str(&format!(
            "; {} ended while there was no coordinator for {} ms, and began after it",
            grouped(overdue),
            grouped(figures::millis(gone))
        ));
    }
    Check {
        name: "no run began before its wait was over",
        numbers,
        discrepancies: wrong,
    }
}

/// Nobody leased or ended a run while there was nobody.
fn lived(task: &TaskFacts, run: &RunFacts, down: Option<&Down>, wrong: &mut Vec<String>) {
    let Some(down) = down else { return };
    for (what, at) in [("leased", run.leased), ("ended", run.ended)] {
        if is_within(at, down) {
            wrong.push(format!(
                "task {} run {}: {what} while there was no coordinator",
                task.task_id, run.run
            ));
        }
    }
}

/// Facts have whole milliseconds, so one that begins within one of the kill's lies before it.
fn is_within(at: SystemTime, down: &Down) -> bool {
    at > down.from && at < down.until
}

/// The runs that the kill of the coordinator did not end: held by workers through it.
pub(in crate::demo) fn survived(tasks: &[TaskFacts], down: &Down) -> usize {
    let runs = tasks.iter().flat_map(|task| &task.runs);
    runs.filter(|run| run.leased <= down.from && run.ended >= down.until && run.is_reported())
        .count()
}

/// The tasks that waited for a retry through it.
pub(in crate::demo) fn waited(tasks: &[TaskFacts], down: &Down) -> usize {
    let waited = |task: &&TaskFacts| {
        let mut pairs = task.runs.iter().zip(task.runs.iter().skip(1));
        pairs.any(|(run, next)| run.ended <= down.from && next.leased >= down.until)
    };
    tasks.iter().filter(waited).count()
}

/// For the screen: what lived on.
pub(in crate::demo) fn says(tasks: &[TaskFacts], down: &Down) -> String {
    format!(
        "the coordinator's death ended none of the {} runs that its workers went on with and \
         reported\nto the next one, and none of the {} waits for a retry",
        grouped_len(survived(tasks, down)),
        grouped_len(waited(tasks, down))
    )
}

#[cfg(test)]
mod tests {
    use super::super::{
        QueueFacts, audit,
        tests::{assert_only, at, failing, good, millis},
    };
    use super::*;

    const WAITS: &str = "no run began before its wait was over";

    #[test]
    fn a_run_that_begins_before_its_wait_is_over_does_not_balance() {
        let mut facts = good();
        facts.tasks[0].runs[1].leased = at(160);
        assert_eq!(failing(&facts).0, [] as [&str; 0]);
        facts.tasks[0].runs[1].leased = at(159);
        assert_only(
            &facts,
            WAITS,
            "task a run 2: began 1ms before its wait of 10ms",
        );
    }

    #[test]
    fn a_wait_that_ends_without_a_coordinator_is_followed_late_and_counted() {
        let mut facts = good();
        let unanswered = millis(200);
        let down = Down {
            from: at(155),
            until: at(300),
            unanswered,
        };
        facts.down = Some(down);
        for task in &mut facts.tasks[..2] {
            (task.runs[1].leased, task.runs[1].ended) = (at(300), at(350));
        }
        assert_eq!(failing(&facts).0, [] as [&str; 0]);
        let checks = audit(&facts);
        let waits = checks.iter().find(|check| check.name == WAITS).unwrap();
        let told = "2 waits; 2 ended while there was no coordinator for 145 ms";
        assert!(waits.numbers.starts_with(told), "{}", waits.numbers);
        assert!(says(&facts.tasks, &down).contains("none of the 2 waits"));
    }

    #[test]
    fn a_run_that_somebody_leased_or_ended_without_a_coordinator_does_not_balance() {
        let down = Down {
            from: at(155),
            until: at(300),
            unanswered: millis(200),
        };
        for (leased, ended, says) in [(299, 350, "leased while"), (300, 299, "ended while")] {
            let mut facts = good();
            facts.down = Some(down);
            facts.tasks.truncate(1);
            facts.hits.runs.retain(|key, _| key.task_id == "a");
            facts.enqueued = 1;
            facts.queues[0] = QueueFacts {
                enqueued: 1,
                succeeded: 1,
                ..Default::default()
            };
            (facts.tasks[0].runs[1].leased, facts.tasks[0].runs[1].ended) = (at(leased), at(ended));
            assert_only(&facts, WAITS, says);
        }
    }
}
