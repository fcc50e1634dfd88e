//! What a command is told of its task.

use redrive_proto::v1::Priority;

use crate::context::TaskContext;

/// The variables that a command finds in its environment:
///
/// - `REDRIVE_TASK_ID`, `REDRIVE_NAMESPACE`, `REDRIVE_QUEUE`, `REDRIVE_KIND`;
/// - `REDRIVE_RUN`, `REDRIVE_FENCE`, `REDRIVE_CRASHES`;
/// - `REDRIVE_ATTEMPT`, `REDRIVE_ATTEMPTS_MAX` (0: unlimited), `REDRIVE_FINAL_ATTEMPT` (1 or 0);
/// - `REDRIVE_PRIORITY`: LOWEST, LOW, NORMAL, HIGH or HIGHEST;
/// - `REDRIVE_CONTENT_TYPE` of the payload, and `REDRIVE_LABELS`, a JSON object;
/// - `REDRIVE_SOFT_LIMIT_MS` and `REDRIVE_HARD_LIMIT_MS`: what is left at the start, where there is
///   such a limit;
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
        ("REDRIVE_PRIORITY", priority(task.priority()).to_owned()),
        ("REDRIVE_CONTENT_TYPE", task.payload().content_type.clone()),
        ("REDRIVE_LABELS", labels(task)),
    ];
    let limits = [
        ("REDRIVE_SOFT_LIMIT_MS", task.time_until_soft_limit()),
        ("REDRIVE_HARD_LIMIT_MS", task.time_left()),
    ];
    for (name, left) in limits {
        facts.extend(left.map(|left| (name, left.as_millis().to_string())));
    }
    if let Some(failure) = task.previous_failure() {
        let class = failure.failure_class().as_str_name();
        let class = class.strip_prefix("FAILURE_CLASS_").unwrap_or(class);
        facts.push(("REDRIVE_PREVIOUS_FAILURE_CLASS", class.to_owned()));
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

fn priority(priority: Priority) -> &'static str {
    let name = priority.as_str_name();
    name.strip_prefix("PRIORITY_").unwrap_or(name)
}
