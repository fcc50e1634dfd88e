//! The other fields of calls: ids, reasons, durations, batches, masks.

use bytes::Bytes;
use redrive_proto::v1 as pb;
use redrive_tests::refusal::Expected;
use redrive_tests::{Harness, make};
use tonic::Code;

use super::{BAD_NAME, Case, NAME_RULE, durations, refused, stream_refused};

/// An id that nobody has.
const NOBODY: &str = "0190a0a0-0000-7000-8000-000000000000";

#[tokio::test]
async fn an_id_that_is_none_is_refused_and_one_that_nobody_has_is_not_found() {
    let harness = Harness::start().await;
    let bad = || {
        let wrong = |says: &[&str]| Expected::field("task_id", says);
        let unknown = &[NOBODY, "it never was, or it ended and was forgotten"];
        [
            (String::new(), wrong(&["required"])),
            ("7".to_owned(), wrong(&["\"7\"", "UUID of version 7"])),
            ("x".repeat(10_000), wrong(&["UUID of version 7"])),
            (
                "0190a0a0-0000-4000-8000-000000000000".to_owned(),
                wrong(&["UUID of version 7"]),
            ),
            (
                NOBODY.to_owned(),
                Expected::reason(Code::NotFound, "TASK_NOT_FOUND", unknown),
            ),
        ]
    };
    macro_rules! case {
        ($stub:ident, $method:ident, $request:ident { $($field:ident: $value:expr)? }) => {
            let cases = bad().map(|(task_id, expected)| {
                let request = pb::$request { task_id, $($field: $value,)? ..Default::default() };
                (request, expected)
            });
            refused!(harness.$stub(), $method, cases);
        };
    }
    let timeouts = || Some(pb::Timeouts::default());
    case!(tasks, wait_task, WaitTaskRequest {});
    case!(tasks, cancel_task, CancelTaskRequest {});
    case!(
        tasks,
        update_task,
        UpdateTaskRequest {
            timeouts: timeouts()
        }
    );
    case!(dead_letters, redrive_task, RedriveTaskRequest {});
    let cases = bad().map(|(task_id, expected)| {
        (
            pb::GetTaskRequest {
                task_id,
                ..Default::default()
            },
            expected,
        )
    });
    refused!(harness.tasks(), get_task, cases);
    let cases = bad().map(|(task_id, expected)| (pb::GetDeadLetterRequest { task_id }, expected));
    refused!(harness.dead_letters(), get_dead_letter, cases);
    harness.still_serves().await;
}

#[tokio::test]
async fn a_reason_for_people_has_at_most_256_bytes() {
    let harness = Harness::start().await;
    let reason = || "é".repeat(129);
    let expected = || Expected::field("reason", &["258", "256"]);
    let task_id = || NOBODY.to_owned();
    let cancel = pb::CancelTaskRequest {
        task_id: task_id(),
        reason: reason(),
        ..Default::default()
    };
    refused!(harness.tasks(), cancel_task, [(cancel, expected())]);
    let redrive = pb::RedriveTaskRequest {
        task_id: task_id(),
        delay: None,
        reason: reason(),
        ..Default::default()
    };
    refused!(
        harness.dead_letters(),
        redrive_task,
        [(redrive, expected())]
    );
    let pause = pb::PauseQueueRequest {
        queue: "q".to_owned(),
        reason: reason(),
        ..Default::default()
    };
    refused!(harness.queues(), pause_queue, [(pause, expected())]);
    let drain = pb::DrainWorkersRequest {
        worker_ids: vec!["w".to_owned()],
        reason: reason(),
        ..Default::default()
    };
    refused!(harness.workers(), drain_workers, [(drain, expected())]);
    let all = pb::RedriveDeadLettersRequest {
        reason: reason(),
        ..Default::default()
    };
    stream_refused!(
        harness.dead_letters(),
        redrive_dead_letters,
        [(all, expected())]
    );
    let all = pb::DiscardDeadLettersRequest {
        reason: reason(),
        dry_run: true,
        ..Default::default()
    };
    stream_refused!(
        harness.dead_letters(),
        discard_dead_letters,
        [(all, expected())]
    );
    harness.still_serves().await;
}

/// A request of the call with the id of a task that need not exist.
fn wait(timeout: prost_types::Duration) -> pb::WaitTaskRequest {
    pb::WaitTaskRequest {
        task_id: NOBODY.to_owned(),
        timeout: Some(timeout),
        ..Default::default()
    }
}

fn update(change: impl FnOnce(&mut pb::Timeouts)) -> pb::UpdateTaskRequest {
    let mut timeouts = pb::Timeouts::default();
    change(&mut timeouts);
    pb::UpdateTaskRequest {
        task_id: NOBODY.to_owned(),
        timeouts: Some(timeouts),
        ..Default::default()
    }
}

#[tokio::test]
async fn durations_and_limits_that_cannot_be_are_refused_by_every_call_that_takes_some() {
    let harness = Harness::start().await;
    let mut cases = durations("timeout", wait);
    cases.push((
        wait(make::ms(60_001)),
        Expected::field("timeout", &["60001 ms", "1 min"]),
    ));
    refused!(harness.tasks(), wait_task, cases);

    let mut cases = durations("timeouts.hard", |bad| update(|it| it.hard = Some(bad)));
    let none = pb::UpdateTaskRequest {
        task_id: NOBODY.to_owned(),
        timeouts: None,
        ..Default::default()
    };
    cases.push((none, Expected::field("timeouts", &["required"])));
    let above = update(|it| (it.soft, it.hard) = (Some(make::ms(2)), Some(make::ms(1))));
    cases.push((
        above,
        Expected::field("timeouts.soft", &["2 ms", "above the hard limit of 1 ms"]),
    ));
    refused!(harness.tasks(), update_task, cases);

    let redrive = |bad| pb::RedriveTaskRequest {
        task_id: NOBODY.to_owned(),
        delay: Some(bad),
        ..Default::default()
    };
    refused!(
        harness.dead_letters(),
        redrive_task,
        durations("delay", redrive)
    );
    let all = |bad| pb::RedriveDeadLettersRequest {
        spread: Some(bad),
        ..Default::default()
    };
    stream_refused!(
        harness.dead_letters(),
        redrive_dead_letters,
        durations("spread", all)
    );
    let drain = |bad| pb::DrainWorkersRequest {
        worker_ids: vec!["w".to_owned()],
        deadline: Some(bad),
        ..Default::default()
    };
    refused!(
        harness.workers(),
        drain_workers,
        durations("deadline", drain)
    );
    harness.still_serves().await;
}

#[tokio::test]
async fn a_batch_has_1_to_1000_items() {
    let harness = Harness::start().await;
    let counts = |field: &str| {
        [
            (0, Expected::field(field, &["1 to 1000"])),
            (
                1001,
                Expected::field(field, &["1001", "at most 1000", "several requests"]),
            ),
        ]
    };
    let cases = counts("tasks").map(|(count, expected)| {
        let tasks = vec![make::spec("q", "k"); count];
        (
            pb::EnqueueTasksRequest {
                tasks,
                ..Default::default()
            },
            expected,
        )
    });
    refused!(harness.tasks(), enqueue_tasks, cases);
    let cases = counts("reports").map(|(count, expected)| {
        let reports = vec![pb::Report::default(); count];
        (pb::ReportTasksRequest { reports }, expected)
    });
    refused!(harness.workers(), report_tasks, cases);
    let cases = counts("lease_tokens").map(|(count, expected)| {
        let lease_tokens = vec![Bytes::from_static(&[1; 32]); count];
        (
            pb::ExtendLeasesRequest {
                lease_tokens,
                lease_ttl: None,
                ..Default::default()
            },
            expected,
        )
    });
    refused!(harness.workers(), extend_leases, cases);
    let cases = counts("worker_ids").map(|(count, expected)| {
        let worker_ids = vec!["w".to_owned(); count];
        (
            pb::DrainWorkersRequest {
                worker_ids,
                ..Default::default()
            },
            expected,
        )
    });
    refused!(harness.workers(), drain_workers, cases);
    let drain = pb::DrainWorkersRequest {
        worker_ids: vec!["w".to_owned(), BAD_NAME.to_owned()],
        ..Default::default()
    };
    let expected = Expected::field("worker_ids[1]", &[NAME_RULE]);
    refused!(harness.workers(), drain_workers, [(drain, expected)]);
    harness.still_serves().await;
}

fn queue(
    settings: pb::QueueSettings,
    mask: &[&str],
    expected: Expected,
) -> Case<pb::UpdateQueueRequest> {
    let paths = mask.iter().map(|&path| path.to_owned()).collect();
    let request = pb::UpdateQueueRequest {
        queue: "q".to_owned(),
        settings: Some(settings),
        update_mask: Some(prost_types::FieldMask { paths }),
        ..Default::default()
    };
    (request, expected)
}

#[tokio::test]
async fn queue_settings_that_cannot_be_are_refused_and_change_nothing() {
    let harness = Harness::start().await;
    let named = |name: &str| pb::QueueSettings {
        retry: Some(pb::queue_settings::Retry::RetryPolicy(name.to_owned())),
        ..Default::default()
    };
    let route = |to: &str| pb::QueueSettings {
        dead_letter_queue: to.to_owned(),
        ..Default::default()
    };
    let limits = |soft, hard| pb::QueueSettings {
        timeouts: Some(pb::Timeouts {
            soft: Some(make::ms(soft)),
            hard: Some(make::ms(hard)),
            ..Default::default()
        }),
        ..Default::default()
    };
    let none = pb::QueueSettings::default;
    let mask = |says: &[&str]| Expected::field("update_mask.paths[0]", says);
    let of = |field: &str, says: &[&str]| Expected::field(&format!("settings.{field}"), says);
    let cases = [
        queue(
            none(),
            &["colour"],
            mask(&["\"colour\"", "retry_policy, inline_retry_policy"]),
        ),
        queue(none(), &["settings.timeouts"], mask(&["not a setting"])),
        queue(none(), &["*"], mask(&["not a setting"])),
        queue(
            route("q"),
            &[],
            of("dead_letter_queue", &["the queue itself", "name another"]),
        ),
        queue(route(BAD_NAME), &[], of("dead_letter_queue", &[NAME_RULE])),
        queue(
            named("best"),
            &[],
            of("retry_policy", &["\"best\"", "recommended"]),
        ),
        queue(
            named("temporal"),
            &["inline_retry_policy"],
            of("retry_policy", &["update_mask"]),
        ),
        queue(
            limits(2, 1),
            &[],
            of("timeouts.soft", &["above the hard limit"]),
        ),
        queue(limits(0, 1), &[], of("timeouts.soft", &["at least 1 ms"])),
    ];
    refused!(harness.queues(), update_queue, cases);
    let unknown = Expected::reason(
        Code::NotFound,
        "QUEUE_NOT_FOUND",
        &["default/q", "created when it is first used or configured"],
    );
    let get = pb::GetQueueRequest {
        queue: "q".to_owned(),
        ..Default::default()
    };
    refused!(harness.queues(), get_queue, [(get, unknown.clone())]);
    let resume = pb::ResumeQueueRequest {
        queue: "q".to_owned(),
        ..Default::default()
    };
    refused!(harness.queues(), resume_queue, [(resume, unknown)]);
    harness.still_serves().await;
}
