//! Tasks as people read them: in lists, and one in full.
//!
//! Pure: protos in, text out. What holds for a task and what was done with it is in `life`, its runs
//! in `history`.

mod history;
mod life;

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
    for part in [
        life::effective(style, task),
        life::acts(style, task),
        history::runs(style, task),
        history::decisions(style, task),
    ] {
        if !part.is_empty() {
            text.push_str("\n\n");
            text.push_str(&part);
        }
    }
    text
}

fn entries(style: &Style, task: &v1::Task) -> Vec<(&'static str, String)> {
    let spec = task.spec.clone().unwrap_or_default();
    let mut entries = vec![
        ("Id", task.task_id.clone()),
        ("Namespace", task.namespace.clone()),
        ("Queue", spec.queue.clone()),
        ("Kind", spec.kind.clone()),
        ("Version", some(spec.schema_version)),
        ("Key", spec.idempotency_key.clone()),
        ("Unique key", life::unique(&spec)),
    ];
    entries.extend(standing(style, task));
    entries.extend(life::endings(style, task));
    entries.extend(contents(task, &spec));
    entries
}

/// Where the task stands, and what has been used of its budgets.
fn standing(style: &Style, task: &v1::Task) -> Vec<(&'static str, String)> {
    let now = style.now;
    let budgets = task.budgets.unwrap_or_default();
    let next = task.next_attempt_time.as_ref();
    vec![
        ("State", state(task.state())),
        ("Reason", reason(task)),
        ("Outcome", task.outcome_label.clone()),
        ("Worker", task.worker_id.clone()),
        ("Progress", life::progress(style, task)),
        ("Next attempt", human::instant(now, next)),
        ("Enqueued", human::instant(now, task.enqueue_time.as_ref())),
        ("Ended", human::instant(now, task.end_time.as_ref())),
        ("Runs", task.runs.to_string()),
        ("Failures", of(budgets.failures, budgets.attempts_max)),
        ("Crashes", of(budgets.crashes, budgets.crashes_max)),
        ("Deferrals", of(budgets.deferrals, budgets.deferrals_max)),
        ("Redrives", some(task.redrives)),
        ("Routed from", task.origin_task_id.clone()),
    ]
}

/// What the task brings and what it left.
fn contents(task: &v1::Task, spec: &v1::TaskSpec) -> Vec<(&'static str, String)> {
    let payload = |payload: Option<&v1::Payload>| human::payload(payload, human::PAYLOAD_CHARS_MAX);
    let labels: Vec<String> = spec
        .labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    let priority = match spec.priority() {
        v1::Priority::Unspecified | v1::Priority::Normal => "",
        v1::Priority::Lowest => "lowest",
        v1::Priority::Low => "low",
        v1::Priority::High => "high",
        v1::Priority::Highest => "highest",
    };
    vec![
        ("Priority", priority.to_owned()),
        ("Labels", labels.join(" ")),
        ("Payload", payload(spec.payload.as_ref())),
        ("Result", payload(task.result.as_ref())),
        ("Checkpoint", payload(task.checkpoint.as_ref())),
        ("Last failure", human::failure(task.last_failure.as_ref())),
    ]
}

/// Why it stands there, and what can be done where that is not plain.
fn reason(task: &v1::Task) -> String {
    match task.state_reason.as_str() {
        "NO_WORKER" => "NO_WORKER: no connected worker runs its kind and version".to_owned(),
        reason => reason.to_owned(),
    }
}

/// A count that is worth saying.
fn some(count: u32) -> String {
    match count {
        0 => String::new(),
        count => count.to_string(),
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

/// "at most once"; empty where nothing is said.
pub(crate) fn delivery(mode: v1::DeliveryMode) -> String {
    match mode {
        v1::DeliveryMode::Unspecified => "",
        v1::DeliveryMode::AtLeastOnce => "at least once",
        v1::DeliveryMode::AtMostOnce => "at most once",
    }
    .to_owned()
}

/// "soft 30s, hard 1m, extend to 4m"; empty where there is none.
pub(crate) fn timeouts(timeouts: Option<&v1::Timeouts>) -> String {
    let Some(timeouts) = timeouts else {
        return String::new();
    };
    let limits = [
        ("soft", &timeouts.soft),
        ("hard", &timeouts.hard),
        ("extend to", &timeouts.extend_max),
    ];
    limits
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
