//! Queues and their settings, both ways.

use redrive_proto::v1 as pb;

use super::field::{At, Parsed, optional_queue, quoted, timeouts, timeouts_view, timestamp};
use super::policy;
use super::policy_view::policy_view;
use crate::engine::command::QueueChange;
use crate::engine::effect::QueueView;
use crate::engine::ids::QueueName;
use crate::engine::ledger::queue::QueueSettings;
use crate::engine::retry::PolicyRef;

const RETRY_POLICY: &str = "retry_policy";
const INLINE_RETRY_POLICY: &str = "inline_retry_policy";
const TIMEOUTS: &str = "timeouts";
const DEAD_LETTER_QUEUE: &str = "dead_letter_queue";
/// What an update mask may name.
const PATHS: [&str; 4] = [
    RETRY_POLICY,
    INLINE_RETRY_POLICY,
    TIMEOUTS,
    DEAD_LETTER_QUEUE,
];

/// What an update changes: what its mask names, or everything where it names nothing.
pub(crate) fn change(
    queue: &QueueName,
    settings: Option<pb::QueueSettings>,
    mask: Option<prost_types::FieldMask>,
) -> Parsed<QueueChange> {
    let root = At::Root;
    let mask = Mask::new(mask.unwrap_or_default().paths, root.field("update_mask"))?;
    let settings = settings.unwrap_or_default();
    let at = root.field("settings");
    let policy = if mask.names(RETRY_POLICY) || mask.names(INLINE_RETRY_POLICY) {
        Some(retry(settings.retry, &mask, at)?)
    } else {
        None
    };
    let timeouts = if mask.names(TIMEOUTS) {
        let given = settings.timeouts;
        Some(
            given
                .map(|given| timeouts(&given, at.field(TIMEOUTS)))
                .transpose()?,
        )
    } else {
        None
    };
    let dead_letter_queue = if mask.names(DEAD_LETTER_QUEUE) {
        let at = at.field(DEAD_LETTER_QUEUE);
        let target = optional_queue(queue.namespace(), &settings.dead_letter_queue, at)?;
        if target.as_ref() == Some(queue) {
            return Err(at.refuse(
                "is the queue itself: name another one, or leave it empty to keep dead letters here",
            ));
        }
        Some(target)
    } else {
        None
    };
    Ok(QueueChange {
        policy,
        timeouts,
        dead_letter_queue,
        ..QueueChange::default()
    })
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
        unserved: Vec::new(),
        pause_actor: String::new(),
    }
}

fn settings_view(settings: &QueueSettings) -> pb::QueueSettings {
    use pb::queue_settings::Retry;
    let target = settings.dead_letter_queue.as_ref();
    pb::QueueSettings {
        retry: settings.policy.as_ref().map(|policy| match policy {
            PolicyRef::Named(policy) => Retry::RetryPolicy(policy.name.to_string()),
            PolicyRef::Inline(policy) => Retry::InlineRetryPolicy(policy_view(policy)),
        }),
        timeouts: settings.timeouts.map(timeouts_view),
        dead_letter_queue: target
            .map(|target| target.queue().to_owned())
            .unwrap_or_default(),
        terms: None,
        aging: None,
        finished_max: None,
    }
}

#[cfg(test)]
mod tests {
    use prost_types::{Duration, FieldMask};

    use super::super::field::queue;

    use super::*;
    use crate::engine::ledger::task::Timeouts;

    fn parse(settings: pb::QueueSettings, paths: &[&str]) -> Parsed<QueueChange> {
        let queue = queue("default", "mail", At::Root)?;
        let paths = paths.iter().map(ToString::to_string).collect();
        change(&queue, Some(settings), Some(FieldMask { paths }))
    }

    fn settings() -> pb::QueueSettings {
        pb::QueueSettings {
            retry: Some(pb::queue_settings::Retry::RetryPolicy("recommended".into())),
            timeouts: Some(pb::Timeouts {
                soft: None,
                hard: Some(Duration {
                    seconds: 5,
                    nanos: 0,
                }),
                ..Default::default()
            }),
            dead_letter_queue: "graveyard".into(),
            ..Default::default()
        }
    }

    #[test]
    fn an_empty_mask_takes_everything_and_clears_what_is_unset() {
        let change = parse(settings(), &[]).unwrap();
        assert!(matches!(change.policy, Some(Some(PolicyRef::Named(_)))));
        assert_eq!(
            change.timeouts,
            Some(Some(Timeouts {
                soft_ms: None,
                hard_ms: Some(5000)
            }))
        );
        assert_eq!(
            change.dead_letter_queue.unwrap().unwrap().as_str(),
            "default/graveyard"
        );
        let cleared = parse(pb::QueueSettings::default(), &[]).unwrap();
        let all = QueueChange {
            policy: Some(None),
            timeouts: Some(None),
            dead_letter_queue: Some(None),
        };
        assert_eq!(cleared, all);
    }

    #[test]
    fn a_mask_takes_what_it_names_and_leaves_the_rest() {
        let change = parse(settings(), &["timeouts"]).unwrap();
        assert!(change.timeouts.is_some());
        assert_eq!((change.policy, change.dead_letter_queue), (None, None));
    }

    #[test]
    fn a_path_that_is_no_setting_is_refused_with_those_that_are() {
        let refused = parse(settings(), &["timeouts", "timeout"]).unwrap_err();
        assert_eq!(refused.field, "update_mask.paths[1]");
        assert!(
            refused
                .problem
                .contains("retry_policy, inline_retry_policy, timeouts")
        );
    }

    #[test]
    fn a_policy_that_the_mask_does_not_name_is_refused_not_dropped() {
        let refused = parse(settings(), &["inline_retry_policy"]).unwrap_err();
        assert_eq!(refused.field, "settings.retry_policy");
        let cleared = parse(pb::QueueSettings::default(), &["inline_retry_policy"]).unwrap();
        assert_eq!(cleared.policy, Some(None));
    }

    #[test]
    fn a_queue_is_not_its_own_dead_letter_queue() {
        let own = pb::QueueSettings {
            dead_letter_queue: "mail".into(),
            ..settings()
        };
        let refused = parse(own, &[]).unwrap_err();
        assert_eq!(refused.field, "settings.dead_letter_queue");
        assert!(refused.problem.contains("another one"));
    }
}
