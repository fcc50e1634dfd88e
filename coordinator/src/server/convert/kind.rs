//! Kinds and their settings, both ways.

use redrive_proto::v1 as pb;

use super::field::{At, Parsed, optional_queue, timeouts, timeouts_view, timestamp};
use super::policy;
use super::policy_view::policy_view;
use super::terms::{optional_terms, queue_text, terms_view};
use super::view::Detail;
use crate::engine::ledger::kind::{Kind, KindSettings};
use crate::engine::retry::PolicyRef;

/// What holds for a kind of an already checked namespace; unset means that nothing is said.
pub(crate) fn settings(
    namespace: &str,
    value: Option<pb::KindSettings>,
    at: At<'_>,
) -> Parsed<KindSettings> {
    use pb::kind_settings::Retry as Given;
    let value = value.unwrap_or_default();
    let policy = value.retry.map(|given| match given {
        Given::RetryPolicy(name) => policy::named(&name, at.field("retry_policy")),
        Given::InlineRetryPolicy(given) => policy::inline(given, at.field("inline_retry_policy")),
    });
    let at_target = at.field("dead_letter_queue");
    Ok(KindSettings {
        queue: optional_queue(namespace, &value.queue, at.field("queue"))?,
        policy: policy.transpose()?,
        timeouts: value
            .timeouts
            .map(|given| timeouts(&given, at.field("timeouts")))
            .transpose()?,
        max_attempts: value.max_attempts,
        dead_letter_queue: optional_queue(namespace, &value.dead_letter_queue, at_target)?,
        terms: optional_terms(namespace, value.terms, at.field("terms"))?,
    })
}

/// A kind as the wire has it.
pub(crate) fn kind_view(kind: &Kind) -> pb::Kind {
    let proposed_by = kind.proposed_by.as_deref();
    pb::Kind {
        namespace: kind.name.namespace().to_owned(),
        kind: kind.name.queue().to_owned(),
        settings: Some(settings_view(&kind.settings)),
        revision: kind.revision,
        proposed_by: proposed_by.unwrap_or_default().to_owned(),
        update_time: Some(timestamp(kind.at)),
    }
}

/// What holds for a kind, as the wire has it.
pub(crate) fn settings_view(settings: &KindSettings) -> pb::KindSettings {
    use pb::kind_settings::Retry;
    let terms = settings.terms.as_deref();
    pb::KindSettings {
        queue: queue_text(settings.queue.as_ref()),
        retry: settings.policy.as_ref().map(|policy| match policy {
            PolicyRef::Named(policy) => Retry::RetryPolicy(policy.name.to_string()),
            PolicyRef::Inline(policy) => Retry::InlineRetryPolicy(policy_view(policy)),
        }),
        timeouts: settings.timeouts.map(timeouts_view),
        max_attempts: settings.max_attempts,
        terms: terms.map(|terms| terms_view(terms, Detail::Whole)),
        dead_letter_queue: queue_text(settings.dead_letter_queue.as_ref()),
    }
}
