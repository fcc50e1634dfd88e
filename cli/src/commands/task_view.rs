//! Tasks as people read them: in lists, and one in full with its history.
//!
//! Pure: protos in, text out.

use std::collections::BTreeMap;

use redrive_proto::v1;

use crate::output::{
    Table, human,
    table::{Column, Style, details},
};

/// Many tasks, one a line.
pub(crate) fn list(style: &Style, tasks: &[v1::Task]) -> String {
    if tasks.is_empty() {
        return String::new();
    }
    let columns = [
        Column::Whole("ID"),
        Column::Text("QUEUE"),
        Column::Text("KIND"),
        Column::Whole("STATE"),
        Column::Whole("FAILED"),
        Column::Whole("AGE"),
        Column::Text("NEXT"),
        Column::Text("DETAIL"),
    ];
    let mut table = Table::new(style, &columns);
    for task in tasks {
        let spec = task.spec.clone().unwrap_or_default();
        table.row([
            task.task_id.clone(),
            spec.queue,
            spec.kind,
            state(task.state()),
            failures(task),
            human::age(style.now, task.enqueue_time.as_ref()),
            human::until(style.now, task.next_attempt_time.as_ref()),
            detail(task),
        ]);
    }
    table.render()
}

/// Many dead letters, one a line.
pub(crate) fn dead_list(style: &Style, tasks: &[v1::Task]) -> String {
    if tasks.is_empty() {
        return String::new();
    }
    let columns = [
        Column::Whole("ID"),
        Column::Text("QUEUE"),
        Column::Text("KIND"),
        Column::Whole("DEAD"),
        Column::Text("REASON"),
        Column::Text("FAILURE"),
    ];
    let mut table = Table::new(style, &columns);
    for task in tasks {
        let spec = task.spec.clone().unwrap_or_default();
        table.row([
            task.task_id.clone(),
            spec.queue,
            spec.kind,
            human::age(style.now, task.end_time.as_ref()),
            task.state_reason.clone(),
            human::failure(task.last_failure.as_ref()),
        ]);
    }
    table.render()
}

/// One task: what is known of it, its latest stack, its history.
pub(crate) fn full(style: &Style, task: &v1::Task) -> String {
    let mut text = details(style, &entries(style, task));
    let stack = task
        .last_failure
        .as_ref()
        .map_or("", |failure| failure.stack.as_str());
    if !stack.is_empty() {
        text.push_str("\n\nLatest stack:");
        text.extend(
            stack
                .lines()
                .map(|line| format!("\n  {}", human::printable(line))),
        );
    }
    if !task.history.is_empty() {
        text.push_str("\n\n");
        text.push_str(&history(style, task));
    }
    text
}

fn entries<'a>(style: &Style, task: &'a v1::Task) -> Vec<(&'a str, String)> {
    let now = style.now;
    let spec = task.spec.clone().unwrap_or_default();
    let budgets = task.budgets.unwrap_or_default();
    let labels: BTreeMap<String, String> = spec.labels.clone().into_iter().collect();
    let labels: Vec<String> = labels
        .into_iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    let priority = match spec.priority() {
        v1::Priority::Unspecified | v1::Priority::Normal => "",
        v1::Priority::Lowest => "lowest",
        v1::Priority::Low => "low",
        v1::Priority::High => "high",
        v1::Priority::Highest => "highest",
    };
    let times = |count: u32| {
        if count == 0 {
            String::new()
        } else {
            count.to_string()
        }
    };
    vec![
        ("Id", task.task_id.clone()),
        ("Namespace", task.namespace.clone()),
        ("Queue", spec.queue.clone()),
        ("Kind", spec.kind.clone()),
        ("State", state(task.state())),
        ("Reason", task.state_reason.clone()),
        ("Outcome", task.outcome_label.clone()),
        ("Worker", task.worker_id.clone()),
        (
            "Next attempt",
            human::instant(now, task.next_attempt_time.as_ref()),
        ),
        ("Enqueued", human::instant(now, task.enqueue_time.as_ref())),
        ("Ended", human::instant(now, task.end_time.as_ref())),
        ("Runs", task.runs.to_string()),
        ("Failures", of(budgets.failures, budgets.attempts_max)),
        ("Crashes", of(budgets.crashes, budgets.crashes_max)),
        ("Deferrals", of(budgets.deferrals, budgets.deferrals_max)),
        ("Redrives", times(task.redrives)),
        ("Routed from", task.origin_task_id.clone()),
        ("Policy", task.effective_retry_policy.clone()),
        ("Timeouts", timeouts(task.effective_timeouts.as_ref())),
        ("Priority", priority.to_owned()),
        ("Labels", labels.join(" ")),
        (
            "Payload",
            human::payload(spec.payload.as_ref(), human::PAYLOAD_CHARS_MAX),
        ),
        (
            "Result",
            human::payload(task.result.as_ref(), human::PAYLOAD_CHARS_MAX),
        ),
        (
            "Checkpoint",
            human::payload(task.checkpoint.as_ref(), human::PAYLOAD_CHARS_MAX),
        ),
        ("Last failure", human::failure(task.last_failure.as_ref())),
    ]
}

fn history(style: &Style, task: &v1::Task) -> String {
    let columns = [
        Column::Number("RUN"),
        Column::Number("ATTEMPT"),
        Column::Whole("OUTCOME"),
        Column::Text("WORKER"),
        Column::Number("TOOK"),
        Column::Text("RULE"),
        Column::Number("THEN WAIT"),
        Column::Text("FAILURE"),
    ];
    let mut table = Table::wrapped(style, &columns);
    for run in &task.history {
        table.row([
            run.run.to_string(),
            run.attempt.to_string(),
            outcome(run),
            run.worker_id.clone(),
            took(run),
            run.rule.clone(),
            human::maybe_span(run.delay.as_ref()),
            human::failure(run.failure.as_ref()),
        ]);
    }
    let mut text = table.render();
    if task.history_omitted > 0 {
        text.push_str(&format!(
            "\n{} runs in between are not kept",
            task.history_omitted
        ));
    }
    text
}

fn outcome(run: &v1::Run) -> String {
    let name = human::enum_name(run.outcome().as_str_name(), "RUN_OUTCOME_");
    match (name.is_empty(), run.started) {
        (false, _) => name,
        (true, true) => "(running)".to_owned(),
        (true, false) => "(leased)".to_owned(),
    }
}

fn took(run: &v1::Run) -> String {
    let instant = |at: Option<prost_types::Timestamp>| {
        at.and_then(|at| std::time::SystemTime::try_from(at).ok())
    };
    match (instant(run.lease_time), instant(run.end_time)) {
        (Some(begin), Some(end)) => human::span(std::time::Duration::from_millis(
            u64::try_from(end.duration_since(begin).unwrap_or_default().as_millis())
                .unwrap_or(u64::MAX),
        )),
        (_, _) => String::new(),
    }
}

/// A state's name as people read it.
pub(crate) fn state(state: v1::TaskState) -> String {
    human::enum_name(state.as_str_name(), "TASK_STATE_")
}

/// "2/6": used of allowed.
fn failures(task: &v1::Task) -> String {
    task.budgets
        .map(|budgets| of(budgets.failures, budgets.attempts_max))
        .unwrap_or_default()
}

fn of(used: u32, most: u32) -> String {
    if most == 0 {
        format!("{used} (no limit)")
    } else {
        format!("{used}/{most}")
    }
}

/// "soft 30s, hard 1m"; empty where there is none.
pub(crate) fn timeouts(timeouts: Option<&v1::Timeouts>) -> String {
    let Some(timeouts) = timeouts else {
        return String::new();
    };
    [("soft", &timeouts.soft), ("hard", &timeouts.hard)]
        .into_iter()
        .filter_map(|(name, limit)| {
            limit
                .as_ref()
                .map(|limit| format!("{name} {}", human::proto_span(limit)))
        })
        .collect::<Vec<_>>()
        .join(", ")
}

fn detail(task: &v1::Task) -> String {
    let failure = human::failure(task.last_failure.as_ref());
    let worker = match task.worker_id.as_str() {
        "" => String::new(),
        id => format!("on {id}"),
    };
    [
        task.state_reason.clone(),
        task.outcome_label.clone(),
        worker,
        failure,
    ]
    .into_iter()
    .filter(|part| !part.is_empty())
    .collect::<Vec<_>>()
    .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dead() -> v1::Task {
        let failure = v1::Failure {
            failure_class: v1::FailureClass::Network.into(),
            message: "refused".to_owned(),
            stack: "at main".to_owned(),
            ..Default::default()
        };
        v1::Task {
            task_id: "0190".to_owned(),
            state: v1::TaskState::Dead.into(),
            state_reason: "ATTEMPTS_EXHAUSTED".to_owned(),
            spec: Some(v1::TaskSpec {
                queue: "mail".to_owned(),
                kind: "send".to_owned(),
                payload: Some(v1::Payload {
                    data: "{}".into(),
                    ..Default::default()
                }),
                ..Default::default()
            }),
            budgets: Some(v1::Budgets {
                failures: 6,
                attempts_max: 6,
                ..Default::default()
            }),
            history: vec![v1::Run {
                run: 1,
                attempt: 1,
                outcome: v1::RunOutcome::Failed.into(),
                lease_time: Some(prost_types::Timestamp {
                    seconds: 1,
                    nanos: 0,
                }),
                end_time: Some(prost_types::Timestamp {
                    seconds: 2,
                    nanos: 500_000_000,
                }),
                failure: Some(failure.clone()),
                delay: Some(prost_types::Duration {
                    seconds: 90,
                    nanos: 0,
                }),
                ..Default::default()
            }],
            last_failure: Some(failure),
            ..Default::default()
        }
    }

    #[test]
    fn a_task_in_full_shows_why_it_died_and_what_it_went_through() {
        let text = full(&Style::plain(), &dead());
        for part in [
            "DEAD",
            "ATTEMPTS_EXHAUSTED",
            "6/6",
            "{}",
            "NETWORK: refused",
            "at main",
            "1.5s",
            "1m30s",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
    }

    #[test]
    fn lists_have_one_line_a_task_and_nothing_for_none() {
        assert_eq!(list(&Style::plain(), &[dead(), dead()]).lines().count(), 3);
        assert_eq!(dead_list(&Style::plain(), &[dead()]).lines().count(), 2);
        assert_eq!(list(&Style::plain(), &[]), "");
    }

    #[test]
    fn a_task_list_fits_into_eighty_columns_with_whole_ids() {
        let style = Style {
            width: Some(80),
            ..Style::plain()
        };
        let mut task = dead();
        task.task_id = "0192f0c1-2345-7abc-8def-0123456789ab".to_owned();
        let text = list(&style, &[task.clone()]);
        assert!(text.contains(&task.task_id), "{text}");
        assert!(
            text.lines().all(|line| line.chars().count() <= 80),
            "{text}"
        );
        let text = dead_list(&style, &[task.clone()]);
        assert!(text.contains(&task.task_id), "{text}");
        assert!(
            text.lines().all(|line| line.chars().count() <= 80),
            "{text}"
        );
    }
}
