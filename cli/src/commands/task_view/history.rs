//! The runs of a task, and what the policy made of them.
//!
//! Pure: protos in, text out.

use redrive_proto::v1;

use super::life::source;
use crate::output::{
    Table, human,
    table::{Column, Style},
};

/// The runs: who ran it, for how long, and how that ended. Empty where there was none.
pub(super) fn runs(style: &Style, task: &v1::Task) -> String {
    if task.history.is_empty() {
        return String::new();
    }
    let columns = [
        Column::Number("RUN"),
        Column::Number("ATTEMPT"),
        Column::Whole("OUTCOME"),
        Column::Text("WORKER"),
        Column::Number("TOOK"),
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
            ending(run),
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

/// What was decided after each run, and by which policy. Empty where nothing was.
pub(super) fn decisions(style: &Style, task: &v1::Task) -> String {
    let decided = |run: &&v1::Run| {
        run.delay.is_some() || !run.rule.is_empty() || !run.retry_policy.is_empty()
    };
    if !task.history.iter().any(|run| decided(&run)) {
        return String::new();
    }
    let columns = [
        Column::Number("RUN"),
        Column::Text("POLICY"),
        Column::Text("REVISION"),
        Column::Whole("FROM"),
        Column::Text("RULE"),
        Column::Number("BASE"),
        Column::Number("THEN WAIT"),
    ];
    let mut table = Table::wrapped(style, &columns);
    for run in task.history.iter().filter(decided) {
        let revision = match run.retry_policy_revision {
            0 => String::new(),
            revision => revision.to_string(),
        };
        table.row([
            run.run.to_string(),
            run.retry_policy.clone(),
            revision,
            source(run.retry_policy_source()),
            run.rule.clone(),
            human::maybe_span(run.base_delay.as_ref()),
            human::maybe_span(run.delay.as_ref()),
        ]);
    }
    table.render()
}

/// What the run failed with, or what the worker said of its end.
fn ending(run: &v1::Run) -> String {
    let failure = human::failure(run.failure.as_ref());
    match (failure.is_empty(), run.note.is_empty()) {
        (true, _) => run.note.clone(),
        (false, true) => failure,
        (false, false) => format!("{failure} ({})", run.note),
    }
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
