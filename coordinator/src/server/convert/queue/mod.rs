//! Queues and their settings, both ways. Names the field that cannot be used, and never looks at a
//! queue.

use redrive_proto::v1 as pb;

use super::field::{At, Parsed, duration, optional_ms, optional_queue, quoted, timeouts};
use super::field::{timeouts_view, timestamp};
use super::policy;
use super::policy_view::policy_view;
use super::terms::{optional_terms, queue_text, terms, terms_view};
use super::view::Detail;
use crate::engine::command::QueueChange;
use crate::engine::effect::{QueueView, Unserved};
use crate::engine::ids::QueueName;
use crate::engine::ledger::queue::QueueSettings;
use crate::engine::ledger::terms::Terms;
use crate::engine::limits;
use crate::engine::retry::PolicyRef;

const RETRY_POLICY: &str = "retry_policy";
const INLINE_RETRY_POLICY: &str = "inline_retry_policy";
const TIMEOUTS: &str = "timeouts";
const DEAD_LETTER_QUEUE: &str = "dead_letter_queue";
const AGING: &str = "aging";
const FINISHED_MAX: &str = "finished_max";
const TERMS: &str = "terms";
const TTL: &str = "terms.ttl";
const DEADLINE: &str = "terms.deadline";
const RESULT_TTL: &str = "terms.result_ttl";
const DELIVERY: &str = "terms.delivery";
const FOLLOW_UPS: &str = "terms.follow_ups";
/// What an update mask may name.
const PATHS: [&str; 12] = [
    RETRY_POLICY,
    INLINE_RETRY_POLICY,
    TIMEOUTS,
    DEAD_LETTER_QUEUE,
    AGING,
    FINISHED_MAX,
    TERMS,
    TTL,
    DEADLINE,
    RESULT_TTL,
    DELIVERY,
    FOLLOW_UPS,
];
/// What it may name of the terms.
const TERMS_PATHS: [&str; 5] = [TTL, DEADLINE, RESULT_TTL, DELIVERY, FOLLOW_UPS];

/// What an update changes.
#[derive(Debug)]
pub(crate) struct Update {
    change: QueueChange,
    /// New terms, of which the mask takes some: the others stay as they are known.
    partial: Option<(Terms, Mask)>,
}

impl Update {
    /// Whether the terms as they are must be known.
    pub(crate) const fn needs_terms(&self) -> bool {
        self.partial.is_some()
    }

    /// The change, beside terms that stay as they are in part.
    pub(crate) fn complete(self, known: Option<&Terms>) -> QueueChange {
        let mut change = self.change;
        if let Some((given, mask)) = self.partial {
            let mut terms = known.cloned().unwrap_or_default();
            if mask.names(TTL) {
                terms.ttl_ms = given.ttl_ms;
            }
            if mask.names(DEADLINE) {
                terms.deadline_ms = given.deadline_ms;
            }
            if mask.names(RESULT_TTL) {
                terms.result_ttl_ms = given.result_ttl_ms;
            }
            if mask.names(DELIVERY) {
                terms.delivery = given.delivery;
            }
            if mask.names(FOLLOW_UPS) {
                terms.follow_ups = given.follow_ups;
            }
            change.terms = Some((!terms.is_empty()).then(|| Box::new(terms)));
        }
        change
    }
}

/// What an update changes: what its mask names, or everything where it names nothing.
pub(crate) fn update(
    queue: &QueueName,
    settings: Option<pb::QueueSettings>,
    mask: Option<prost_types::FieldMask>,
) -> Parsed<Update> {
    let root = At::Root;
    let mask = Mask::new(mask.unwrap_or_default().paths, root.field("update_mask"))?;
    let settings = settings.unwrap_or_default();
    let at = root.field("settings");
    let mut change = QueueChange::default();
    if mask.names(RETRY_POLICY) || mask.names(INLINE_RETRY_POLICY) {
        change.policy = Some(retry(settings.retry, &mask, at)?);
    }
    if mask.names(TIMEOUTS) {
        let given = settings.timeouts;
        let parsed = given.map(|given| timeouts(&given, at.field(TIMEOUTS)));
        change.timeouts = Some(parsed.transpose()?);
    }
    if mask.names(DEAD_LETTER_QUEUE) {
        let at = at.field(DEAD_LETTER_QUEUE);
        change.dead_letter_queue = Some(target(queue, &settings.dead_letter_queue, at)?);
    }
    if mask.names(AGING) {
        let aging = settings.aging.as_ref();
        change.aging_ms = Some(optional_ms(aging, limits::AGING_MS_MAX, at.field(AGING))?);
    }
    if mask.names(FINISHED_MAX) {
        let at = at.field(FINISHED_MAX);
        change.finished_max = Some(finished_max(settings.finished_max, at)?);
    }
    let given = settings.terms.unwrap_or_default();
    let mut partial = None;
    if mask.names(TERMS) {
        change.terms = Some(optional_terms(
            queue.namespace(),
            Some(given),
            at.field(TERMS),
        )?);
    } else if TERMS_PATHS.iter().any(|path| mask.names(path)) {
        partial = Some((terms(queue.namespace(), given, at.field(TERMS))?, mask));
    }
    Ok(Update { change, partial })
}

fn target(queue: &QueueName, value: &str, at: At<'_>) -> Parsed<Option<QueueName>> {
    let target = optional_queue(queue.namespace(), value, at)?;
    if target.as_ref() == Some(queue) {
        return Err(at.refuse(
            "is the queue itself: name another one, or leave it empty to keep dead letters here",
        ));
    }
    Ok(target)
}

fn finished_max(value: Option<u32>, at: At<'_>) -> Parsed<Option<u32>> {
    let max = limits::FINISHED_PER_QUEUE_LIMIT;
    match value {
        Some(value) if value > max => {
            Err(at.refuse(format_args!("is {value}, at most {max} is allowed")))
        }
        other => Ok(other),
    }
}

fn retry(
    value: Option<pb::queue_settings::Retry>,
    mask: &Mask,
    at: At<'_>,
) -> Parsed<Option<PolicyRef>> {
    let unnamed = |at: At<'_>| {
        at.refuse("is set, but update_mask names the other way of setting the policy only")
    };
    match value {
        None => Ok(None),
        Some(pb::queue_settings::Retry::RetryPolicy(name)) => {
            let at = at.field(RETRY_POLICY);
            if mask.names(RETRY_POLICY) {
                policy::named(&name, at).map(Some)
            } else {
                Err(unnamed(at))
            }
        }
        Some(pb::queue_settings::Retry::InlineRetryPolicy(given)) => {
            let at = at.field(INLINE_RETRY_POLICY);
            if mask.names(INLINE_RETRY_POLICY) {
                policy::inline(given, at).map(Some)
            } else {
                Err(unnamed(at))
            }
        }
    }
}

/// Which settings an update speaks of.
#[derive(Debug)]
struct Mask(Vec<String>);

impl Mask {
    fn new(paths: Vec<String>, at: At<'_>) -> Parsed<Self> {
        let at = at.field("paths");
        let unknown = paths
            .iter()
            .position(|path| !PATHS.contains(&path.as_str()));
        if let Some(index) = unknown {
            return Err(at.index(index).refuse(format_args!(
                "is {}, not a setting of a queue: use {}",
                quoted(&paths[index]),
                PATHS.join(", ")
            )));
        }
        Ok(Self(paths))
    }

    fn names(&self, path: &str) -> bool {
        self.0.is_empty() || self.0.iter().any(|named| named == path)
    }
}

/// A queue as the wire has it.
pub(crate) fn queue_view(view: &QueueView) -> pb::Queue {
    let queue = &view.queue;
    let (counts, totals) = (&view.counts, &queue.totals);
    let pause = queue.paused.as_ref();
    pb::Queue {
        namespace: queue.name.namespace().to_owned(),
        queue: queue.name.queue().to_owned(),
        settings: Some(settings_view(&queue.settings)),
        revision: queue.revision,
        paused: pause.is_some(),
        pause_reason: pause
            .map(|pause| pause.reason.to_string())
            .unwrap_or_default(),
        pause_time: pause.map(|pause| timestamp(pause.at)),
        counts: Some(pb::QueueCounts {
            scheduled: counts.scheduled,
            ready: counts.ready,
            leased: counts.leased,
            retrying: counts.retrying,
            dead: counts.dead,
            enqueued_total: totals.enqueued,
            succeeded_total: totals.succeeded,
            failures_total: totals.failures,
            crashes_total: totals.crashes,
            dead_lettered_total: totals.dead_lettered,
            redriven_total: totals.redriven,
        }),
        unserved: view.unserved.iter().map(unserved).collect(),
        pause_actor: pause
            .map(|_| queue.paused_by.to_string())
            .unwrap_or_default(),
    }
}

fn unserved(unserved: &Unserved) -> pb::UnservedKind {
    pb::UnservedKind {
        kind: unserved.kind.to_string(),
        schema_version: unserved.version,
        ready: unserved.ready,
    }
}

fn settings_view(settings: &QueueSettings) -> pb::QueueSettings {
    use pb::queue_settings::Retry;
    let terms = settings.terms.as_deref();
    pb::QueueSettings {
        retry: settings.policy.as_ref().map(|policy| match policy {
            PolicyRef::Named(policy) => Retry::RetryPolicy(policy.name.to_string()),
            PolicyRef::Inline(policy) => Retry::InlineRetryPolicy(policy_view(policy)),
        }),
        timeouts: settings.timeouts.map(timeouts_view),
        dead_letter_queue: queue_text(settings.dead_letter_queue.as_ref()),
        terms: terms.map(|terms| terms_view(terms, Detail::Whole)),
        aging: settings.aging_ms.map(duration),
        finished_max: settings.finished_max,
    }
}

#[cfg(test)]
mod tests;
