//! Books that balance and books that do not: each discrepancy is found, and nothing else is.

use std::time::{Duration, SystemTime};

use redrive_proto::v1::{FailureClass, PreviewStep};

use super::*;
use crate::demo::{
    behaviour::Behaviour,
    policy::Cause,
    upstream::{Hit, HitKey},
};

pub(super) fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// So many milliseconds into the demo.
pub(super) fn at(millis: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(millis)
}

fn run(run: u32, outcome: RunOutcome, delay: Option<u64>) -> RunFacts {
    let class = if outcome == RunOutcome::Crashed {
        Some(FailureClass::WorkerLost)
    } else {
        (outcome == RunOutcome::Failed).then_some(FailureClass::Network)
    };
    RunFacts {
        run,
        attempt: run,
        worker_id: "demo-1".to_owned(),
        started: true,
        outcome,
        class,
        rule: if outcome == RunOutcome::Failed {
            "network".to_owned()
        } else {
            String::new()
        },
        delay: delay.map(millis),
        // A run takes 50 ms and begins every 100 ms.
        leased: at(u64::from(run) * 100),
        ended: at(u64::from(run) * 100 + 50),
    }
}

fn task(id: &str, end: End, runs: Vec<RunFacts>) -> TaskFacts {
    TaskFacts {
        task_id: id.to_owned(),
        behaviour: Behaviour::Network,
        end,
        runs_total: u32::try_from(runs.len()).unwrap(),
        runs,
        redrives: 0,
        runs_before_redrive: 0,
        last_class: None,
        message: String::new(),
    }
}

fn windows() -> Windows {
    let span = |ms| prost_types::Duration::try_from(millis(ms)).ok();
    let step = |rule: &str, max| PreviewStep {
        rule: rule.to_owned(),
        base: span(max),
        min: span(0),
        max: span(max),
        ..Default::default()
    };
    let mut windows = Windows::default();
    let network = Cause::Failure(FailureClass::Network, None);
    windows.learn(
        network,
        &[
            step("network", 10),
            step("network", 20),
            step("network", 40),
        ],
    );
    windows.learn(Cause::Crash, &[step("", 15), step("", 30)]);
    windows
}

/// One task that failed once and was then delivered, one that crashed its worker and was then
/// delivered, one that is dead: all as it should be.
pub(super) fn good() -> Facts {
    let tasks = vec![
        task(
            "a",
            End::Succeeded,
            vec![
                run(1, RunOutcome::Failed, Some(10)),
                run(2, RunOutcome::Succeeded, None),
            ],
        ),
        task(
            "b",
            End::Succeeded,
            vec![
                run(1, RunOutcome::Crashed, Some(15)),
                run(2, RunOutcome::Succeeded, None),
            ],
        ),
        task(
            "c",
            End::Dead("RULE".to_owned()),
            vec![run(1, RunOutcome::Failed, None)],
        ),
    ];
    let mut hits = Hits::default();
    for (task_id, run, accepted) in [
        ("a", 1, 0),
        ("a", 2, 1),
        ("b", 1, 0),
        ("b", 2, 1),
        ("c", 1, 0),
    ] {
        let key = HitKey {
            task_id: task_id.to_owned(),
            run,
        };
        hits.runs.insert(
            key,
            Hit {
                requests: 1,
                accepted,
                retry_after: None,
            },
        );
    }
    let queue = QueueFacts {
        enqueued: 3,
        succeeded: 2,
        dead: 1,
        crashes: 1,
        ..Default::default()
    };
    Facts {
        enqueued: 3,
        tasks,
        queues: vec![queue],
        hits,
        windows: windows(),
        redriven: 0,
        down: None,
    }
}

/// The names of the checks that fail, and all that they say.
pub(super) fn failing(facts: &Facts) -> (Vec<&'static str>, String) {
    let checks: Vec<Check> = audit(facts)
        .into_iter()
        .filter(|check| !check.holds())
        .collect();
    let said = checks
        .iter()
        .flat_map(|check| check.discrepancies.clone())
        .collect::<Vec<_>>();
    (
        checks.iter().map(|check| check.name).collect(),
        said.join("; "),
    )
}

#[track_caller]
pub(super) fn assert_only(facts: &Facts, name: &str, says: &str) {
    let (names, said) = failing(facts);
    assert_eq!(names, [name], "{said}");
    assert!(said.contains(says), "{said}");
}

const ENDS: &str = "every task is in exactly one end state";
const RUNS: &str = "runs are 1, 2, 3 .. and each has its cause";
const HITS: &str = "the upstream was hit once by every run";
const ACCEPTED: &str = "what succeeded was accepted by the upstream, once";
const DELAYS: &str = "no delay lies outside its window";
const REDRIVES: &str = "every redrive is on its task";

fn hit<'a>(facts: &'a mut Facts, task_id: &str, run: u32) -> &'a mut Hit {
    facts
        .hits
        .runs
        .get_mut(&HitKey {
            task_id: task_id.to_owned(),
            run,
        })
        .unwrap()
}

#[test]
fn books_without_a_fault_balance() {
    assert_eq!(failing(&good()).0, [] as [&str; 0]);
    assert!(balanced(&audit(&good())));
}

#[test]
fn a_task_that_has_not_ended_does_not_balance() {
    let mut facts = good();
    facts.tasks[2].end = End::Unfinished("RETRYING".to_owned());
    facts.queues[0].dead = 0;
    facts.queues[0].live = 1;
    assert_only(&facts, ENDS, "task c has not ended: it is RETRYING");
}

#[test]
fn a_task_that_nobody_tells_of_does_not_balance() {
    let mut facts = good();
    facts.tasks.truncate(2);
    facts.hits.runs.retain(|key, _| key.task_id != "c");
    assert_only(&facts, ENDS, "2 is not 3");
}

#[test]
fn a_task_told_twice_does_not_balance() {
    let mut facts = good();
    facts.tasks[2] = facts.tasks[0].clone();
    facts.hits.runs.retain(|key, _| key.task_id != "c");
    facts.queues[0] = QueueFacts {
        succeeded: 3,
        dead: 0,
        ..facts.queues[0].clone()
    };
    assert_only(&facts, ENDS, "task a was told twice");
}

#[test]
fn totals_that_differ_from_the_tasks_do_not_balance() {
    let mut facts = good();
    facts.queues[0].succeeded = 3;
    assert_only(&facts, ENDS, "succeeded_total");
}

#[test]
fn a_run_that_is_missing_does_not_balance() {
    let mut facts = good();
    facts.tasks[0].runs.remove(0);
    facts.hits.runs.remove(&HitKey {
        task_id: "a".to_owned(),
        run: 1,
    });
    assert_only(&facts, RUNS, "task a");
}

#[test]
fn a_run_without_a_cause_does_not_balance() {
    let mut facts = good();
    facts.tasks[0].runs[0].delay = None;
    assert_only(&facts, RUNS, "2 runs, but 1 + 0 retried");
}

#[test]
fn a_crash_that_the_queue_did_not_count_does_not_balance() {
    let mut facts = good();
    facts.queues[0].crashes = 0;
    assert_only(&facts, RUNS, "0 crashes, the runs 1");
}

#[test]
fn a_reported_run_that_hit_twice_or_never_does_not_balance() {
    for requests in [0, 2] {
        let mut facts = good();
        hit(&mut facts, "a", 1).requests = requests;
        assert_only(&facts, HITS, "task a run 1");
    }
}

#[test]
fn a_run_whose_worker_was_lost_may_have_hit_or_not_but_not_twice() {
    let mut facts = good();
    hit(&mut facts, "b", 1).requests = 0;
    assert_eq!(failing(&facts).0, [] as [&str; 0]);
    hit(&mut facts, "b", 1).requests = 2;
    assert_only(&facts, HITS, "task b run 1");
}

#[test]
fn a_hit_of_a_run_that_is_not_recorded_does_not_balance() {
    let mut facts = good();
    let key = HitKey {
        task_id: "c".to_owned(),
        run: 2,
    };
    facts.hits.runs.insert(
        key,
        Hit {
            requests: 1,
            accepted: 0,
            retry_after: None,
        },
    );
    assert_only(&facts, HITS, "task c run 2");
}

#[test]
fn a_request_that_names_no_run_does_not_balance() {
    let mut facts = good();
    facts.hits.strangers = 1;
    assert_only(&facts, HITS, "1 requests named no task");
}

#[test]
fn a_success_that_the_upstream_did_not_accept_does_not_balance() {
    let mut facts = good();
    hit(&mut facts, "a", 2).accepted = 0;
    assert_only(&facts, ACCEPTED, "task a run 2");
}

#[test]
fn a_delay_outside_its_window_does_not_balance() {
    let mut facts = good();
    facts.tasks[0].runs[0].delay = Some(millis(11));
    assert_only(&facts, DELAYS, "waited 11ms, allowed are 0ns to 10ms");
    facts = good();
    facts.tasks[1].runs[0].delay = Some(millis(16));
    assert_only(&facts, DELAYS, "task b run 1");
}

#[test]
fn a_delay_by_another_rule_than_the_policys_does_not_balance() {
    let mut facts = good();
    facts.tasks[0].runs[0].rule = "other".to_owned();
    assert_only(&facts, DELAYS, "\"other\"");
}

#[test]
fn a_retry_that_the_policy_denies_does_not_balance() {
    let mut facts = good();
    facts.tasks[0].runs[0].attempt = 4;
    assert_only(&facts, DELAYS, "denies");
}

#[test]
fn retries_are_counted_anew_after_a_redrive() {
    let mut facts = good();
    let mut runs: Vec<RunFacts> = vec![
        run(1, RunOutcome::Failed, Some(10)),
        run(2, RunOutcome::Failed, None),
        run(3, RunOutcome::Failed, Some(10)),
        run(4, RunOutcome::Succeeded, None),
    ];
    runs[2].attempt = 1;
    runs[3].attempt = 2;
    facts.tasks[0] = TaskFacts {
        redrives: 1,
        runs_before_redrive: 2,
        ..task("a", End::Succeeded, runs)
    };
    for (run, accepted) in [(2, 0), (3, 0), (4, 1)] {
        let key = HitKey {
            task_id: "a".to_owned(),
            run,
        };
        facts.hits.runs.insert(
            key,
            Hit {
                requests: 1,
                accepted,
                retry_after: None,
            },
        );
    }
    (facts.redriven, facts.queues[0].redriven) = (1, 1);
    assert_eq!(failing(&facts).0, [] as [&str; 0], "{}", failing(&facts).1);

    facts.tasks[0].runs[2].delay = Some(millis(11));
    assert_only(&facts, DELAYS, "task a run 3");
    facts.tasks[0].runs[2].delay = Some(millis(10));
    facts.redriven = 2;
    assert_only(&facts, REDRIVES, "1 redrives, the redrive said 2");
}

#[test]
fn a_rule_with_its_own_limit_counts_its_own_retries() {
    let mut facts = good();
    let policy = redrive_proto::v1::RetryPolicy {
        rules: vec![redrive_proto::v1::RetryRule {
            id: "network".to_owned(),
            max_attempts: 4,
            ..Default::default()
        }],
        ..Default::default()
    };
    let mut counting = Windows::of(&policy);
    let learned = windows();
    let network = Cause::Failure(FailureClass::Network, None);
    let step = |n| {
        let window = learned.find(network, n).unwrap();
        PreviewStep {
            rule: window.rule.clone(),
            base: prost_types::Duration::try_from(window.max).ok(),
            min: prost_types::Duration::try_from(window.min).ok(),
            max: prost_types::Duration::try_from(window.max).ok(),
            ..Default::default()
        }
    };
    counting.learn(network, &[step(0), step(1)]);
    counting.learn(Cause::Crash, &[step(0)]);
    facts.windows = counting;
    facts.tasks.remove(1);
    facts.hits.runs.retain(|key, _| key.task_id != "b");
    facts.enqueued = 2;
    facts.queues[0] = QueueFacts {
        enqueued: 2,
        succeeded: 1,
        crashes: 0,
        ..facts.queues[0].clone()
    };
    // The attempt says that failures of other kinds came before; the rule has seen none.
    facts.tasks[0].runs[0].attempt = 3;
    assert_eq!(failing(&facts).0, [] as [&str; 0], "{}", failing(&facts).1);
}

#[test]
fn the_untold_middle_of_a_long_history_is_allowed_its_hits_and_not_checked() {
    let mut facts = good();
    let mut runs: Vec<RunFacts> = (1..=20)
        .map(|number| run(number, RunOutcome::Failed, Some(0)))
        .collect();
    for run in &mut runs {
        run.attempt = 1;
    }
    runs[19] = run(20, RunOutcome::Succeeded, None);
    for number in 1..=20 {
        let key = HitKey {
            task_id: "a".to_owned(),
            run: number,
        };
        let accepted = u32::from(number == 20);
        facts.hits.runs.insert(
            key,
            Hit {
                requests: 1,
                accepted,
                retry_after: None,
            },
        );
    }
    runs.drain(8..12);
    facts.tasks[0] = TaskFacts {
        runs_total: 20,
        ..task("a", End::Succeeded, runs)
    };
    assert_eq!(failing(&facts).0, [] as [&str; 0], "{}", failing(&facts).1);
    let numbers = audit(&facts)[4].numbers.clone();
    assert!(numbers.contains("not checked"), "{numbers}");
}
