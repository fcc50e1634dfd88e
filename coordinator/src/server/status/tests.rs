//! Holds the table to its promises, and `docs/protocol.md` to the table.

use std::collections::BTreeSet;
use std::time::Duration;

use super::*;
use crate::engine::ids::{QueueName, ShardId, TaskId, Timestamp};

const PROTOCOL: &str = include_str!("../../../../docs/protocol.md");

/// One of every way of saying no.
fn every() -> Vec<Refused> {
    let id = TaskId::new(Timestamp(1), ShardId(0), 1);
    let (field, problem) = ("task.queue".to_owned(), "is required".to_owned());
    let invalid = InvalidRequest {
        field: field.clone(),
        problem: problem.clone(),
    };
    let rejections = [
        Rejection::TaskNotFound(id),
        Rejection::QueueNotFound(QueueName::new("default", "mail").unwrap()),
        Rejection::WrongState {
            id,
            state: "DEAD",
            wanted: "redrive it first",
        },
        Rejection::Invalid { field, problem },
        Rejection::KeyNotFound,
        Rejection::KindNotFound(QueueName::new("default", "send").unwrap()),
        Rejection::RequestIdReused {
            id: "r-1".to_owned(),
        },
        Rejection::KeyReused { task: id },
        Rejection::UniqueKeyHeld {
            task: id,
            state: "READY",
            wanted: "wait",
        },
        Rejection::MemoriesFull { limit: 7 },
        Rejection::MemoryFull {
            used_bytes: 9,
            limit_bytes: 10,
        },
        Rejection::DiskFull,
        Rejection::LimitReached {
            what: "waiting calls",
            limit: 7,
        },
        Rejection::ShuttingDown,
        Rejection::HelloExpected,
        Rejection::HelloRepeated,
        Rejection::LinkReplaced,
    ];
    let own = [
        Refused::Invalid(invalid.clone()),
        Refused::BeyondBound(invalid),
        Refused::Busy,
        Refused::Stopped,
        Refused::PolicyNotFound("\"x\"".to_owned()),
        Refused::CountDiffers {
            what: "dead letters",
            expected: 3,
            found: 4,
        },
        Refused::CursorGone,
        Refused::WatcherLagged(Lagged { missed: 5 }),
        Refused::HelloLate(10),
        Refused::StreamCut,
        Refused::Confused,
    ];
    rejections
        .map(Refused::Rejected)
        .into_iter()
        .chain(own)
        .collect()
}

#[test]
fn every_reason_is_used_and_named_once() {
    let used: BTreeSet<&str> = every()
        .iter()
        .map(|refused| refused.reason().row().0)
        .collect();
    let all: Vec<&str> = Reason::ALL.iter().map(|reason| reason.row().0).collect();
    assert_eq!(used, all.iter().copied().collect());
    assert_eq!(used.len(), all.len(), "no name is given twice");
}

#[test]
fn the_protocol_lists_every_reason_with_its_code_and_whether_to_try_again() {
    let section = PROTOCOL.split("\n## Error reasons\n").nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let listed: BTreeSet<(String, String, bool)> = section
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let reason = cells[1].trim_matches('`').to_owned();
            (reason, cells[2].to_owned(), cells[3] != "no")
        })
        .collect();
    let code = |code: Code| {
        let mut name = String::new();
        for character in format!("{code:?}").chars() {
            if character.is_uppercase() && !name.is_empty() {
                name.push('_');
            }
            name.push(character.to_ascii_uppercase());
        }
        name
    };
    let row = |reason: &Reason| {
        let (name, number, retry_ms) = reason.row();
        (name.to_owned(), code(number), retry_ms.is_some())
    };
    assert_eq!(listed, Reason::ALL.iter().map(row).collect());
}

#[test]
fn a_status_and_a_refusal_say_the_same() {
    for refused in every() {
        let (reason, code, retry_ms) = refused.reason().row();
        let (status, refusal) = (refused.status("Test"), refused.refusal());
        let details = status.get_error_details();
        let info = details.error_info().unwrap();
        assert_eq!(
            (info.domain.as_str(), info.reason.as_str()),
            (DOMAIN, reason)
        );
        assert_eq!(
            (status.code(), status.message()),
            (code, refused.to_string().as_str())
        );
        assert_eq!(refusal.code, i32::from(code));
        assert_eq!(
            (refusal.reason.as_str(), refusal.message),
            (reason, refused.to_string())
        );
        let told = details.retry_info().and_then(|retry| retry.retry_delay);
        assert_eq!(told, retry_ms.map(Duration::from_millis));
        assert_eq!(refusal.retry_after, retry_ms.map(duration));
        let violated = details
            .bad_request()
            .map(|bad| bad.field_violations[0].field.clone());
        assert_eq!(violated.unwrap_or_default(), refusal.field);
    }
}

#[test]
fn details_name_what_is_missing_in_the_wrong_state_or_spent() {
    let details = |refused: Refused| refused.status("Test").get_error_details();
    let queue = QueueName::new("default", "mail").unwrap();
    let missing = details(Rejection::QueueNotFound(queue).into());
    assert_eq!(
        missing.resource_info().unwrap().resource_name,
        "default/mail"
    );
    let full = Rejection::MemoryFull {
        used_bytes: 9,
        limit_bytes: 10,
    };
    let full = details(full.into());
    assert_eq!(
        full.quota_failure().unwrap().violations[0].subject,
        "memory_bytes"
    );
    assert_eq!(full.error_info().unwrap().metadata["limit_bytes"], "10");
    let differs = details(Refused::CountDiffers {
        what: "dead letters",
        expected: 3,
        found: 4,
    });
    assert_eq!(
        differs.precondition_failure().unwrap().violations[0].subject,
        "expected_count"
    );
    assert_eq!(differs.error_info().unwrap().metadata["found"], "4");
}

#[test]
fn what_is_in_the_way_of_a_key_is_named_with_its_task() {
    let task = TaskId::new(Timestamp(1), ShardId(0), 1);
    let (state, wanted) = ("READY", "wait");
    for refused in [
        Rejection::KeyReused { task },
        Rejection::UniqueKeyHeld {
            task,
            state,
            wanted,
        },
    ] {
        let details = Refused::from(refused).status("Test").get_error_details();
        let resource = details.resource_info().unwrap();
        assert_eq!(resource.resource_name, task.to_string());
        let info = details.error_info().unwrap();
        assert_eq!(info.metadata["task_id"], task.to_string());
    }
}

#[test]
fn a_value_beyond_a_bound_keeps_its_field_and_is_out_of_range() {
    let rejection = Rejection::Invalid {
        field: "timeouts.hard".to_owned(),
        problem: "would be 9 ms".to_owned(),
    };
    let refusal = Refused::from(rejection).beyond_bound().refusal();
    assert_eq!(refusal.code, i32::from(Code::OutOfRange));
    assert_eq!(refusal.field, "timeouts.hard");
    assert_eq!(Refused::Busy.beyond_bound(), Refused::Busy);
}

#[test]
fn messages_begin_small_and_end_without_a_stop() {
    for refused in every() {
        let text = refused.to_string();
        assert!(!text.ends_with('.'), "{text}");
        assert!(
            !text.starts_with(char::is_uppercase) || text.starts_with("Hello"),
            "{text}"
        );
    }
}

#[test]
fn a_field_keeps_its_problem_behind_another_path() {
    let rejection = Rejection::Invalid {
        field: "queue".to_owned(),
        problem: "is full".to_owned(),
    };
    let below = Refused::from(rejection).below("task");
    assert_eq!(below.to_string(), "task.queue is full");
    assert_eq!(Refused::Busy.below("task"), Refused::Busy);
}
