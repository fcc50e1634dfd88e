//! Kinds and their settings, both ways. Names the field that cannot be used, and never resolves a
//! level.

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::ids::{QueueName, Timestamp};

    fn parse(value: pb::KindSettings) -> Parsed<KindSettings> {
        settings("default", Some(value), At::Root.field("settings"))
    }

    const fn secs(seconds: i64) -> prost_types::Duration {
        prost_types::Duration { seconds, nanos: 0 }
    }

    fn all() -> pb::KindSettings {
        pb::KindSettings {
            queue: "mail".into(),
            retry: Some(pb::kind_settings::Retry::RetryPolicy("recommended".into())),
            timeouts: Some(pb::Timeouts {
                soft: None,
                hard: Some(secs(5)),
                extend_max: Some(secs(9)),
            }),
            max_attempts: Some(0),
            terms: Some(pb::Terms {
                ttl: Some(secs(60)),
                ..Default::default()
            }),
            dead_letter_queue: "graveyard".into(),
        }
    }

    #[test]
    fn the_settings_of_a_kind_come_back_as_they_went() {
        let parsed = parse(all()).unwrap();
        assert_eq!(parsed.queue.as_ref().unwrap().as_str(), "default/mail");
        assert_eq!(settings_view(&parsed), all());
        let nothing = settings("default", None, At::Root).unwrap();
        assert_eq!(nothing, KindSettings::default());
        assert_eq!(settings_view(&nothing), pb::KindSettings::default());
    }

    #[test]
    fn a_kind_names_who_proposed_it() {
        let mut kind = Kind {
            name: QueueName::new("billing", "send").unwrap(),
            settings: KindSettings::default(),
            revision: 4,
            at: Timestamp(2000),
            proposed_by: Some("w-1".into()),
            recorded_at: 0,
        };
        let shown = kind_view(&kind);
        let names = (shown.namespace.as_str(), shown.kind.as_str());
        assert_eq!(names, ("billing", "send"));
        assert_eq!((shown.revision, shown.proposed_by.as_str()), (4, "w-1"));
        kind.proposed_by = None;
        assert_eq!(kind_view(&kind).proposed_by, "");
    }

    /// The field that the refusal names, and what was sent.
    type BadSettings = (&'static str, fn(&mut pb::KindSettings));

    #[test]
    fn what_is_wrong_in_settings_is_named_in_full() {
        use pb::kind_settings::Retry;
        let cases: [BadSettings; 6] = [
            ("queue", |s| s.queue = "a b".into()),
            ("dead_letter_queue", |s| s.dead_letter_queue = "a b".into()),
            ("retry_policy", |s| {
                s.retry = Some(Retry::RetryPolicy("nope".into()));
            }),
            ("inline_retry_policy.on_exhausted", |s| {
                let inline = pb::RetryPolicy {
                    on_exhausted: 9,
                    ..Default::default()
                };
                s.retry = Some(Retry::InlineRetryPolicy(inline));
            }),
            ("timeouts.extend_max", |s| {
                s.timeouts.as_mut().unwrap().extend_max = Some(secs(4));
            }),
            ("terms.ttl", |s| {
                s.terms.as_mut().unwrap().ttl = Some(secs(0))
            }),
        ];
        for (field, spoil) in cases {
            let mut sent = all();
            spoil(&mut sent);
            let refused = parse(sent).unwrap_err();
            assert_eq!(refused.field, format!("settings.{field}"));
        }
    }
}
