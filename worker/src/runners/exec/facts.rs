//! What a command is told of its task. Owns the names of its variables, and never runs anything.

use crate::context::TaskContext;

/// The variables that a command finds in its environment:
///
/// - `REDRIVE_TASK_ID`, `REDRIVE_NAMESPACE`, `REDRIVE_QUEUE`, `REDRIVE_KIND`;
/// - `REDRIVE_RUN`, `REDRIVE_FENCE`, `REDRIVE_CRASHES`;
/// - `REDRIVE_ATTEMPT`, `REDRIVE_ATTEMPTS_MAX` (0: unlimited), `REDRIVE_FINAL_ATTEMPT` (1 or 0);
/// - `REDRIVE_PRIORITY`: LOWEST, LOW, NORMAL, HIGH or HIGHEST;
/// - `REDRIVE_CONTENT_TYPE` of the payload, and `REDRIVE_LABELS`, a JSON object;
/// - `REDRIVE_SCHEMA_VERSION` of the payload (0: none stated), and `REDRIVE_DELIVERY`: AT_LEAST_ONCE
///   or AT_MOST_ONCE;
/// - `REDRIVE_IDEMPOTENCY_KEY`, where the producer gave one;
/// - `REDRIVE_CAUSE_TASK_ID` and `REDRIVE_CAUSE_TRANSITION` (SUCCEEDED, FAILED, EXHAUSTED, CANCELLED
///   or CHAINED), where another task's end made this one;
/// - `REDRIVE_SOFT_LIMIT_MS` and `REDRIVE_HARD_LIMIT_MS`: what is left at the start, where there is
///   such a limit; the latter until the deadline, where that comes first;
/// - `REDRIVE_DEADLINE_MS`: what is left of the task's life at the start, where it is limited;
/// - `REDRIVE_PREVIOUS_FAILURE_CLASS`, `.._TYPE` and `.._MESSAGE`, where there was a failure.
///
/// Bytes that a variable cannot hold are left out.
pub fn facts(task: &TaskContext) -> Vec<(&'static str, String)> {
    let number = |number: u32| number.to_string();
    let mut facts = vec![
        ("REDRIVE_TASK_ID", task.id().to_owned()),
        ("REDRIVE_NAMESPACE", task.namespace().to_owned()),
        ("REDRIVE_QUEUE", task.queue().to_owned()),
        ("REDRIVE_KIND", task.kind().to_owned()),
        ("REDRIVE_RUN", number(task.run())),
        ("REDRIVE_FENCE", task.fence().to_string()),
        ("REDRIVE_CRASHES", number(task.crashes())),
        ("REDRIVE_ATTEMPT", number(task.attempt())),
        (
            "REDRIVE_ATTEMPTS_MAX",
            number(task.attempts_max().unwrap_or(0)),
        ),
        (
            "REDRIVE_FINAL_ATTEMPT",
            number(u32::from(task.is_final_attempt())),
        ),
        (
            "REDRIVE_PRIORITY",
            bare(task.priority().as_str_name(), "PRIORITY_"),
        ),
        ("REDRIVE_CONTENT_TYPE", task.payload().content_type.clone()),
        ("REDRIVE_LABELS", labels(task)),
        (
            "REDRIVE_SCHEMA_VERSION",
            number(task.schema_version().unwrap_or(0)),
        ),
        (
            "REDRIVE_DELIVERY",
            bare(task.delivery_mode().as_str_name(), "DELIVERY_MODE_"),
        ),
    ];
    let key = task.idempotency_key();
    facts.extend(key.map(|key| ("REDRIVE_IDEMPOTENCY_KEY", key.to_owned())));
    if let Some(cause) = task.cause() {
        let transition = bare(cause.transition().as_str_name(), "TRANSITION_");
        facts.push(("REDRIVE_CAUSE_TASK_ID", cause.task_id.clone()));
        facts.push(("REDRIVE_CAUSE_TRANSITION", transition));
    }
    let limits = [
        ("REDRIVE_SOFT_LIMIT_MS", task.time_until_soft_limit()),
        ("REDRIVE_HARD_LIMIT_MS", task.time_left()),
        ("REDRIVE_DEADLINE_MS", task.time_until_deadline()),
    ];
    for (name, left) in limits {
        facts.extend(left.map(|left| (name, left.as_millis().to_string())));
    }
    if let Some(failure) = task.previous_failure() {
        let class = bare(failure.failure_class().as_str_name(), "FAILURE_CLASS_");
        facts.push(("REDRIVE_PREVIOUS_FAILURE_CLASS", class));
        facts.push(("REDRIVE_PREVIOUS_FAILURE_TYPE", failure.r#type.clone()));
        facts.push(("REDRIVE_PREVIOUS_FAILURE_MESSAGE", failure.message.clone()));
    }
    for (_, value) in &mut facts {
        value.retain(|c| c != '\0');
    }
    facts
}

fn labels(task: &TaskContext) -> String {
    let labels = task.labels().clone().into_iter();
    let sorted: std::collections::BTreeMap<_, _> = labels.collect();
    serde_json::json!(sorted).to_string()
}

/// The name of an enum's value, without what all of them begin with.
fn bare(name: &str, prefix: &str) -> String {
    name.strip_prefix(prefix).unwrap_or(name).to_owned()
}
