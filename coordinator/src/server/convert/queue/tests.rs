//! What an update of a queue changes, and what is refused.

use prost_types::{Duration, FieldMask};

use super::super::field::queue;

use super::*;
use crate::engine::ledger::task::Timeouts;

fn parse_update(settings: pb::QueueSettings, paths: &[&str]) -> Parsed<Update> {
    let queue = queue("default", "mail", At::Root)?;
    let paths = paths.iter().map(ToString::to_string).collect();
    update(&queue, Some(settings), Some(FieldMask { paths }))
}

fn parse(settings: pb::QueueSettings, paths: &[&str]) -> Parsed<QueueChange> {
    let update = parse_update(settings, paths)?;
    assert!(!update.needs_terms());
    Ok(update.complete(None))
}

const fn secs(seconds: i64) -> Duration {
    Duration { seconds, nanos: 0 }
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
            hard_ms: Some(5000),
            extend_max_ms: None,
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
        terms: Some(None),
        aging_ms: Some(None),
        finished_max: Some(None),
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

#[test]
fn aging_and_the_number_of_finished_tasks_have_their_bounds() {
    let with = |aging, finished_max| pb::QueueSettings {
        aging,
        finished_max,
        ..Default::default()
    };
    let change = parse(with(Some(secs(0)), Some(0)), &["aging", "finished_max"]).unwrap();
    assert_eq!(change.aging_ms, Some(Some(0)));
    assert_eq!((change.finished_max, change.terms), (Some(Some(0)), None));
    let field = |aging, finished_max| parse(with(aging, finished_max), &[]).unwrap_err().field;
    assert_eq!(field(Some(secs(86_401)), None), "settings.aging");
    assert_eq!(field(None, Some(100_001)), "settings.finished_max");
}

#[test]
fn a_part_of_the_terms_can_be_taken_beside_those_that_are_known() {
    let given = pb::QueueSettings {
        terms: Some(pb::Terms {
            ttl: Some(secs(60)),
            delivery: pb::DeliveryMode::AtMostOnce.into(),
            ..Default::default()
        }),
        ..Default::default()
    };
    let known = Terms {
        ttl_ms: Some(1),
        deadline_ms: Some(2),
        delivery: None,
        ..Terms::default()
    };
    let update = parse_update(given.clone(), &["terms.ttl", "terms.deadline"]).unwrap();
    assert!(update.needs_terms());
    let terms = update.complete(Some(&known)).terms.unwrap().unwrap();
    let expected = Terms {
        ttl_ms: Some(60_000),
        ..Terms::default()
    };
    assert_eq!(*terms, expected);
    let every: Vec<&str> = TERMS_PATHS.to_vec();
    let parts = parse_update(given.clone(), &every).unwrap();
    let whole = parse(given, &["terms"]).unwrap();
    assert_eq!(parts.complete(Some(&known)).terms, whole.terms);
    let cleared = parse_update(pb::QueueSettings::default(), &every).unwrap();
    assert_eq!(cleared.complete(Some(&known)).terms, Some(None));
}

#[test]
fn what_is_wrong_in_the_terms_of_a_queue_is_named_in_full() {
    let terms = Some(pb::Terms {
        ttl: Some(secs(0)),
        ..Default::default()
    });
    let given = pb::QueueSettings {
        terms,
        ..Default::default()
    };
    for path in ["terms", "terms.delivery"] {
        let refused = parse_update(given.clone(), &[path]).unwrap_err();
        assert_eq!(refused.field, "settings.terms.ttl");
    }
}

#[test]
fn a_queue_comes_back_as_it_was_set_and_names_who_paused_it_and_what_waits_for_nobody() {
    let name = queue("default", "mail", At::Root).unwrap();
    let mut queue = crate::engine::ledger::queue::Queue::new(name, 0);
    queue.settings.aging_ms = Some(0);
    queue.settings.finished_max = Some(7);
    queue.settings.terms = Some(Box::new(Terms {
        result_ttl_ms: Some(0),
        ..Terms::default()
    }));
    queue.paused_by = "kim".into();
    let unserved = Unserved {
        kind: "send".into(),
        version: 2,
        ready: 5,
    };
    let mut view = QueueView {
        queue,
        counts: Default::default(),
        oldest_ready_ms: 0,
        unserved: vec![unserved],
    };
    let shown = queue_view(&view);
    assert_eq!(shown.pause_actor, "", "it is not paused");
    let settings = shown.settings.unwrap();
    assert_eq!(
        (settings.aging, settings.finished_max),
        (Some(secs(0)), Some(7))
    );
    assert_eq!(settings.terms.unwrap().result_ttl, Some(secs(0)));
    let first = &shown.unserved[0];
    assert_eq!((first.schema_version, first.ready), (2, 5));
    view.queue.paused = Some(crate::engine::ledger::queue::Pause {
        at: crate::engine::ids::Timestamp(1),
        reason: "".into(),
    });
    assert_eq!(queue_view(&view).pause_actor, "kim");
}
