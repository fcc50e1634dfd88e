//! What holds for a task and which level says so, how it ends, and what was done with it.
//!
//! Pure: protos in, text out.

#[cfg(test)]
mod tests;

use redrive_proto::v1;

use super::{delivery, timeouts};
use crate::{
    commands::queue_view,
    output::{
        Table, human,
        table::{Column, Style},
    },
};

/// The level that a value comes from, as people read it.
pub(super) fn source(source: v1::Source) -> String {
    human::enum_name(source.as_str_name(), "SOURCE_")
}

/// How a task ended, as people read it.
fn transition(transition: v1::Transition) -> String {
    human::enum_name(transition.as_str_name(), "TRANSITION_")
}

/// The values that hold for a task, with their sources; empty where none is known.
pub(super) fn effective(style: &Style, task: &v1::Task) -> String {
    let Some(effective) = &task.effective else {
        return String::new();
    };
    let columns = [
        Column::Whole("WHAT HOLDS"),
        Column::Text("VALUE"),
        Column::Whole("FROM"),
    ];
    let mut table = Table::wrapped(style, &columns);
    for (name, value, from) in values(style, effective) {
        if !value.is_empty() {
            table.row([name, value, source(from)]);
        }
    }
    table.render()
}

fn values(style: &Style, effective: &v1::Effective) -> Vec<(String, String, v1::Source)> {
    let mut values = judged(effective);
    let instant = |at: &v1::EffectiveTime| human::instant(style.now, at.time.as_ref());
    values.extend(
        [
            ("expires", &effective.expire_time),
            ("deadline", &effective.deadline_time),
        ]
        .into_iter()
        .filter_map(|(name, it)| {
            let it = it.as_ref()?;
            Some((name.to_owned(), instant(it), it.source()))
        }),
    );
    values.extend(effective.result_ttl.as_ref().map(|it| {
        let kept = human::maybe_span(it.duration.as_ref());
        ("result kept".to_owned(), kept, it.source())
    }));
    values.extend(effective.delivery.as_ref().map(|it| {
        let mode = delivery(it.delivery());
        ("delivery".to_owned(), mode, it.source())
    }));
    values.extend(effective.follow_ups.iter().map(|it| {
        let name = transition(it.transition()).to_ascii_lowercase();
        (format!("when {name}"), it.kind.clone(), it.source())
    }));
    values.extend(effective.dead_letter_queue.as_ref().map(|it| {
        let name = "dead letters to".to_owned();
        (name, it.queue.clone(), it.source())
    }));
    values
}

/// What judges its runs.
fn judged(effective: &v1::Effective) -> Vec<(String, String, v1::Source)> {
    let mut values = Vec::new();
    values.extend(effective.retry_policy.as_ref().map(|it| {
        let revision = match it.revision {
            0 => String::new(),
            revision => format!(" (revision {revision})"),
        };
        let policy = format!("{}{revision}", it.name);
        ("retry policy".to_owned(), policy, it.source())
    }));
    values.extend(effective.max_attempts.as_ref().map(|it| {
        let attempts = match it.max_attempts {
            0 => "unlimited".to_owned(),
            attempts => attempts.to_string(),
        };
        ("attempts".to_owned(), attempts, it.source())
    }));
    values.extend(effective.timeouts.as_ref().map(|it| {
        let limits = timeouts(it.timeouts.as_ref());
        ("timeouts".to_owned(), limits, it.source())
    }));
    values
}

/// What was done with the task, other than running it; empty where nothing was.
pub(super) fn acts(style: &Style, task: &v1::Task) -> String {
    if task.acts.is_empty() {
        return String::new();
    }
    let columns = [
        Column::Whole("WHEN"),
        Column::Whole("ACT"),
        Column::Text("BY"),
        Column::Text("NOTE"),
    ];
    let mut table = Table::wrapped(style, &columns);
    for act in &task.acts {
        let time = act.time.as_ref();
        table.row([
            time.map(human::to_second).unwrap_or_default(),
            human::enum_name(act.act().as_str_name(), "ACT_KIND_"),
            act.actor.clone(),
            act.note.clone(),
        ]);
    }
    let mut text = table.render();
    if task.acts_omitted > 0 {
        text.push_str(&format!("\n{} acts before are not kept", task.acts_omitted));
    }
    text
}

/// "3 of 10 (30%), resizing, 2s ago".
pub(super) fn progress(style: &Style, task: &v1::Task) -> String {
    let Some(progress) = &task.progress else {
        return String::new();
    };
    let count = match (progress.done, progress.total) {
        (0, 0) => String::new(),
        (done, 0) => done.to_string(),
        (done, total) => {
            let percent = u128::from(done) * 100 / u128::from(total);
            format!("{done} of {total} ({percent}%)")
        }
    };
    let age = match human::age(style.now, progress.time.as_ref()) {
        none if none.is_empty() => none,
        age => format!("{age} ago"),
    };
    [count, progress.message.clone(), age]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(", ")
}

/// What made the task, what its end makes, and the order to cancel it.
pub(super) fn endings(style: &Style, task: &v1::Task) -> Vec<(&'static str, String)> {
    let cause = task.cause.as_ref().map(|cause| {
        let how = transition(cause.transition());
        format!("{how} of {}", cause.task_id)
    });
    let then = task.spec.as_ref().map(|spec| {
        let links: Vec<String> = spec.then.iter().map(queue_view::next).collect();
        links.join(", then ")
    });
    // Once what holds is told by level, only growth is worth telling beside it.
    let (policy, limits) = match &task.effective {
        None => (task.effective_retry_policy.clone(), task.effective_timeouts),
        Some(it) => {
            let now = it.timeouts.as_ref().and_then(|it| it.timeouts);
            let grown = task.effective_timeouts.filter(|next| Some(*next) != now);
            (String::new(), grown)
        }
    };
    let name = match &task.effective {
        None => "Timeouts",
        Some(_) => "Next timeouts",
    };
    vec![
        ("Policy", policy),
        (name, timeouts(limits.as_ref())),
        ("Cause", cause.unwrap_or_default()),
        ("Then", then.unwrap_or_default()),
        ("Cancel", cancel(style, task)),
        (
            "Forgotten",
            human::instant(style.now, task.forget_time.as_ref()),
        ),
    ]
}

/// "ordered 2m ago by ada@build7: too late; revoked 2027-01-31T08:00:00Z (in 3m)".
fn cancel(style: &Style, task: &v1::Task) -> String {
    let Some(order) = &task.cancel else {
        return String::new();
    };
    let mut text = "ordered".to_owned();
    if order.time.is_some() {
        let age = human::age(style.now, order.time.as_ref());
        text.push_str(&format!(" {age} ago"));
    }
    if !order.actor.is_empty() {
        text.push_str(&format!(" by {}", order.actor));
    }
    if !order.reason.is_empty() {
        text.push_str(&format!(": {}", order.reason));
    }
    match &order.until {
        Some(until) => {
            let until = human::instant(style.now, Some(until));
            text.push_str(&format!("; its lease is revoked at {until}"));
        }
        None => text.push_str("; the handler may take as long as it wants"),
    }
    text
}

/// "doc:7 while WAITING or DEAD, else REJECT".
pub(super) fn unique(spec: &v1::TaskSpec) -> String {
    let Some(unique) = &spec.unique else {
        return String::new();
    };
    let mut text = unique.key.clone();
    let scope: Vec<String> = unique
        .scope()
        .map(|state| human::enum_name(state.as_str_name(), "UNIQUE_STATE_"))
        .collect();
    if !scope.is_empty() {
        text.push_str(&format!(" while {}", scope.join(" or ")));
    }
    let action = human::enum_name(unique.on_conflict().as_str_name(), "CONFLICT_ACTION_");
    if !action.is_empty() {
        text.push_str(&format!(", on conflict {action}"));
    }
    text
}
