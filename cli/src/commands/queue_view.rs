//! Queues as people read them, and what kinds and queues say of their tasks.
//!
//! Pure: protos in, text out.

use redrive_proto::v1::{self, queue_settings::Retry};

use super::task_view;
use crate::{
    output::{
        Table, human,
        table::{Column, Style, details},
    },
    policy_text,
};

/// Many queues, one a line.
pub(crate) fn table(style: &Style, queues: &[v1::Queue]) -> String {
    let columns = [
        Column::Text("QUEUE"),
        Column::Number("READY"),
        Column::Number("LEASED"),
        Column::Number("SCHEDULED"),
        Column::Number("RETRYING"),
        Column::Number("DEAD"),
        Column::Text("STATE"),
    ];
    let mut table = Table::new(style, &columns);
    for queue in queues {
        let counts = queue.counts.unwrap_or_default();
        table.row([
            queue.queue.clone(),
            counts.ready.to_string(),
            counts.leased.to_string(),
            counts.scheduled.to_string(),
            counts.retrying.to_string(),
            counts.dead.to_string(),
            paused(style, queue),
        ]);
    }
    table.render()
}

fn paused(style: &Style, queue: &v1::Queue) -> String {
    if !queue.paused {
        return "active".to_owned();
    }
    let mut text = "paused".to_owned();
    if queue.pause_time.is_some() {
        let age = human::age(style.now, queue.pause_time.as_ref());
        text.push_str(&format!(" {age} ago"));
    }
    if !queue.pause_actor.is_empty() {
        text.push_str(&format!(" by {}", queue.pause_actor));
    }
    if !queue.pause_reason.is_empty() {
        text.push_str(&format!(": {}", queue.pause_reason));
    }
    text
}

/// One queue: counts, what holds for its tasks, what nobody runs.
pub(crate) fn full(style: &Style, queue: &v1::Queue) -> String {
    let settings = queue.settings.clone().unwrap_or_default();
    let counts = queue.counts.unwrap_or_default();
    let policy = match &settings.retry {
        None => "the server's default".to_owned(),
        Some(Retry::RetryPolicy(name)) => name.clone(),
        Some(Retry::InlineRetryPolicy(policy)) => inline(policy),
    };
    let timeouts = match task_view::timeouts(settings.timeouts.as_ref()) {
        none if none.is_empty() => "none".to_owned(),
        some => some,
    };
    let dead = match settings.dead_letter_queue.as_str() {
        "" => "kept here as dead letters".to_owned(),
        name => format!("go on in {name}"),
    };
    let standing = format!(
        "{} ready, {} leased, {} scheduled, {} retrying, {} dead",
        counts.ready, counts.leased, counts.scheduled, counts.retrying, counts.dead
    );
    let since = format!(
        "{} enqueued, {} succeeded, {} failures, {} crashes, {} dead-lettered, {} redriven",
        counts.enqueued_total,
        counts.succeeded_total,
        counts.failures_total,
        counts.crashes_total,
        counts.dead_lettered_total,
        counts.redriven_total
    );
    let aging = match &settings.aging {
        None => "one level each 10m (default)".to_owned(),
        Some(step) if *step == prost_types::Duration::default() => "off".to_owned(),
        Some(step) => format!("one level each {}", human::proto_span(step)),
    };
    let finished = settings
        .finished_max
        .map_or_else(|| "1000 (default)".to_owned(), |most| most.to_string());
    let mut entries = vec![
        ("Queue", queue.queue.clone()),
        ("Namespace", queue.namespace.clone()),
        ("State", paused(style, queue)),
        ("Tasks", standing),
        ("Since creation", since),
        ("Policy", policy),
        ("Timeouts", timeouts),
    ];
    entries.extend(terms(settings.terms.as_ref()));
    entries.extend([
        ("Spent tasks", dead),
        ("Aging", aging),
        ("Ended tasks kept", finished),
        ("Revision", queue.revision.to_string()),
    ]);
    let mut text = details(style, &entries);
    if !queue.unserved.is_empty() {
        text.push_str("\n\nReady, but no connected worker of the queue runs their kind:\n");
        text.push_str(&unserved(style, &queue.unserved));
    }
    text
}

fn unserved(style: &Style, kinds: &[v1::UnservedKind]) -> String {
    let columns = [
        Column::Text("KIND"),
        Column::Number("VERSION"),
        Column::Number("READY"),
    ];
    let mut table = Table::new(style, &columns);
    for kind in kinds {
        let version = match kind.schema_version {
            0 => "none".to_owned(),
            version => version.to_string(),
        };
        table.row([kind.kind.clone(), version, kind.ready.to_string()]);
    }
    table.render()
}

/// What a kind or queue says of its tasks' life; nothing where it says nothing.
pub(crate) fn terms(terms: Option<&v1::Terms>) -> Vec<(&'static str, String)> {
    let terms = terms.cloned().unwrap_or_default();
    let made = terms.follow_ups.clone().unwrap_or_default();
    let next = |template: Option<v1::TaskTemplate>| template.as_ref().map(next).unwrap_or_default();
    vec![
        ("Expire after", human::maybe_span(terms.ttl.as_ref())),
        ("Deadline", deadline(Some(&terms))),
        ("Results kept", human::maybe_span(terms.result_ttl.as_ref())),
        ("Delivery", task_view::delivery(terms.delivery())),
        ("On success", next(made.on_success)),
        ("On failure", next(made.on_failure)),
        ("On exhausted", next(made.on_exhausted)),
        ("On cancelled", next(made.on_cancelled)),
    ]
}

/// The deadline of terms, where they have one.
pub(crate) fn deadline(terms: Option<&v1::Terms>) -> String {
    human::maybe_span(terms.and_then(|terms| terms.deadline.as_ref()))
}

/// A task to be made, in a few words: "tell in ops".
pub(crate) fn next(template: &v1::TaskTemplate) -> String {
    match template.queue.as_str() {
        "" => template.kind.clone(),
        queue => format!("{} in {queue}", template.kind),
    }
}

/// A policy of its own, in a few words.
pub(crate) fn inline(policy: &v1::RetryPolicy) -> String {
    let name = if policy.name.is_empty() {
        "inline"
    } else {
        policy.name.as_str()
    };
    let backoff = policy
        .backoff
        .as_ref()
        .map(policy_text::backoff)
        .unwrap_or_default();
    if backoff.is_empty() {
        name.to_owned()
    } else {
        format!("{name}: {backoff}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_paused_queue_says_since_when_and_why() {
        let queue = v1::Queue {
            queue: "mail".to_owned(),
            paused: true,
            pause_reason: "provider down".to_owned(),
            pause_actor: "ada@build7".to_owned(),
            ..Default::default()
        };
        let text = table(&Style::plain(), &[queue]);
        assert!(
            text.contains("paused by ada@build7: provider down"),
            "{text}"
        );
    }

    #[test]
    fn a_queue_in_full_shows_its_terms_and_what_nobody_runs_in_eighty_columns() {
        let span = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
        let queue = v1::Queue {
            queue: "mail".to_owned(),
            settings: Some(v1::QueueSettings {
                terms: Some(v1::Terms {
                    ttl: span(3_600),
                    delivery: v1::DeliveryMode::AtMostOnce.into(),
                    follow_ups: Some(Box::new(v1::FollowUps {
                        on_failure: Some(v1::TaskTemplate {
                            kind: "tell".to_owned(),
                            ..Default::default()
                        }),
                        ..Default::default()
                    })),
                    ..Default::default()
                }),
                aging: span(0),
                finished_max: Some(50),
                ..Default::default()
            }),
            unserved: [3, 0]
                .map(|schema_version| v1::UnservedKind {
                    kind: "sms.send".to_owned(),
                    schema_version,
                    ready: 17,
                })
                .to_vec(),
            ..Default::default()
        };
        let style = Style {
            width: Some(80),
            ..Style::plain()
        };
        let text = full(&style, &queue);
        for part in [
            "1h",
            "at most once",
            "tell",
            "off",
            "50",
            "sms.send",
            "17",
            "no connected",
            // What states no version is not what any worker runs.
            "none",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        for line in text.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
    }
}
