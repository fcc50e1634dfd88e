//! What an update of a queue changes, and what is refused.

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
