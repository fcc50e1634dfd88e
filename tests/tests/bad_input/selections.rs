//! Namespaces, queues, filters, pages and cursors that cannot be, wherever they are taken.

use redrive_proto::v1 as pb;
use redrive_tests::refusal::Expected;
use redrive_tests::{Harness, make};
use tonic::Code;

use super::{BAD_NAME, Case, NAME_RULE, refused, stream_refused};

fn selection(change: impl FnOnce(&mut pb::Selection)) -> pb::Selection {
    let mut selection = pb::Selection::default();
    change(&mut selection);
    selection
}

fn filter(text: &str) -> pb::Selection {
    selection(|selection| selection.filter = text.to_owned())
}

/// What cannot be selected.
fn table() -> Vec<Case<pb::Selection>> {
    let of = |field: &str, says: &[&str]| Expected::field(&format!("selection.{field}"), says);
    let long = format!("kind = \"{}\"", "x".repeat(2048));
    let many = vec!["kind = a"; 17].join(" AND ");
    vec![
        (
            selection(|it| it.namespace = BAD_NAME.to_owned()),
            of("namespace", &[NAME_RULE]),
        ),
        (
            selection(|it| it.queue = BAD_NAME.to_owned()),
            of("queue", &[NAME_RULE]),
        ),
        (
            selection(|it| it.queue = "q".repeat(129)),
            of("queue", &["129", "128"]),
        ),
        (filter(&long), of("filter", &["at most 2048"])),
        (filter(&many), of("filter", &["more than 16 comparisons"])),
        (
            filter("colour = red"),
            of("filter", &["\"colour\"", "character 1", "state, kind"]),
        ),
        (
            filter("state = SLEEPING"),
            of("filter", &["\"SLEEPING\"", "one of SCHEDULED, READY"]),
        ),
        (filter("kind > a"), of("filter", &["= or !="])),
        (filter("kind ="), of("filter", &["a value"])),
        (
            filter("kind = a OR kind = b"),
            of("filter", &["OR", "AND or the end"]),
        ),
        (
            filter("attempts > many"),
            of("filter", &["\"many\"", "a number from 0"]),
        ),
        (filter("attempts > -1"), of("filter", &["a number from 0"])),
        (
            filter("enqueue_time > yesterday"),
            of("filter", &["2026-01-31T12:00:00Z", "-15m"]),
        ),
        (filter("kind = \"open"), of("filter", &["closing quote"])),
        (filter("labels = x"), of("filter", &["labels.team"])),
        (
            filter("kind = a; drop"),
            of("filter", &["\";\"", "character 9"]),
        ),
        (filter("\u{0}\u{7f}"), of("filter", &["character 1"])),
    ]
}

#[tokio::test]
async fn a_selection_that_cannot_be_is_refused_wherever_it_is_taken() {
    let harness = Harness::start().await;
    let lists = table().into_iter().map(|(selection, expected)| {
        let selection = Some(selection);
        (
            pb::ListTasksRequest {
                selection,
                ..Default::default()
            },
            expected,
        )
    });
    refused!(harness.tasks(), list_tasks, lists);
    let lists = table().into_iter().map(|(selection, expected)| {
        let selection = Some(selection);
        (
            pb::ListDeadLettersRequest {
                selection,
                ..Default::default()
            },
            expected,
        )
    });
    refused!(harness.dead_letters(), list_dead_letters, lists);
    let acts = table().into_iter().map(|(selection, expected)| {
        let selection = Some(selection);
        (
            pb::RedriveDeadLettersRequest {
                selection,
                ..Default::default()
            },
            expected,
        )
    });
    stream_refused!(harness.dead_letters(), redrive_dead_letters, acts);
    let acts = table().into_iter().map(|(selection, expected)| {
        let (selection, expected_count) = (Some(selection), Some(0));
        (
            pb::DiscardDeadLettersRequest {
                selection,
                expected_count,
                ..Default::default()
            },
            expected,
        )
    });
    stream_refused!(harness.dead_letters(), discard_dead_letters, acts);
    harness.still_serves().await;
}

#[tokio::test]
async fn pages_that_cannot_be_are_refused_and_a_token_is_good_for_its_own_list_only() {
    let harness = Harness::start().await;
    for queue in ["a", "b"] {
        harness
            .enqueue(redrive_client::NewTask::new(queue, "k"))
            .await;
    }
    let one = pb::ListTasksRequest {
        page_size: 1,
        ..Default::default()
    };
    let of_tasks = harness
        .tasks()
        .list_tasks(one)
        .await
        .unwrap()
        .into_inner()
        .next_page_token;
    let one = pb::ListQueuesRequest {
        page_size: 1,
        ..Default::default()
    };
    let of_queues = harness
        .queues()
        .list_queues(one)
        .await
        .unwrap()
        .into_inner()
        .next_page_token;
    assert!(!of_tasks.is_empty() && !of_queues.is_empty());

    let foreign = Expected::field("page_token", &["send back next_page_token as it came"]);
    let large = Expected::field("page_size", &["1001", "at most 1000"]);
    let tasks = |page_size, page_token: &str| pb::ListTasksRequest {
        page_size,
        page_token: page_token.to_owned(),
        ..Default::default()
    };
    let garbage = [
        "?",
        "AAAA",
        "AQAA",
        of_queues.as_str(),
        "x".repeat(5000).leak(),
    ];
    let mut cases = vec![
        (tasks(1001, ""), large.clone()),
        (tasks(u32::MAX, ""), Expected::field("page_size", &["1000"])),
    ];
    cases.extend(garbage.map(|token| (tasks(0, token), foreign.clone())));
    refused!(harness.tasks(), list_tasks, cases);

    let dead = |page_size, page_token: &str| pb::ListDeadLettersRequest {
        page_size,
        page_token: page_token.to_owned(),
        ..Default::default()
    };
    let mut cases = vec![(dead(1001, ""), large.clone())];
    cases.extend(["?", &of_tasks, &of_queues].map(|token| (dead(0, token), foreign.clone())));
    refused!(harness.dead_letters(), list_dead_letters, cases);

    let queues = |page_size, page_token: &str| pb::ListQueuesRequest {
        page_size,
        page_token: page_token.to_owned(),
        ..Default::default()
    };
    let mut cases = vec![(queues(1001, ""), large)];
    cases.extend(["?", "AwAA", &of_tasks].map(|token| (queues(0, token), foreign.clone())));
    refused!(harness.queues(), list_queues, cases);
    harness.still_serves().await;
}

#[tokio::test]
#[expect(
    clippy::needless_update,
    reason = "some of the requests have no other field"
)]
async fn a_namespace_that_cannot_be_is_refused_by_every_call_that_takes_one() {
    let harness = Harness::start().await;
    let namespace = || BAD_NAME.to_owned();
    let queue = || "q".to_owned();
    let expected = || Expected::field("namespace", &["' '", NAME_RULE]);
    macro_rules! case {
        ($stub:ident, $method:ident, $request:ident { $($field:ident: $value:expr),* }) => {
            let request = pb::$request { namespace: namespace(), $($field: $value,)* ..Default::default() };
            refused!(harness.$stub(), $method, [(request, expected())]);
        };
    }
    case!(
        tasks,
        enqueue_task,
        EnqueueTaskRequest {
            task: Some(make::spec("q", "k"))
        }
    );
    case!(
        tasks,
        enqueue_tasks,
        EnqueueTasksRequest {
            tasks: vec![make::spec("q", "k")]
        }
    );
    case!(queues, get_queue, GetQueueRequest { queue: queue() });
    case!(queues, update_queue, UpdateQueueRequest { queue: queue() });
    case!(queues, pause_queue, PauseQueueRequest { queue: queue() });
    case!(queues, resume_queue, ResumeQueueRequest { queue: queue() });
    case!(
        workers,
        drain_workers,
        DrainWorkersRequest {
            worker_ids: vec![queue()]
        }
    );
    case!(
        workers,
        lease_tasks,
        LeaseTasksRequest {
            worker: Some(make::worker_info("w", "q"))
        }
    );
    let list = pb::ListQueuesRequest {
        namespace: namespace(),
        ..Default::default()
    };
    refused!(harness.queues(), list_queues, [(list, expected())]);
    let list = pb::ListWorkersRequest {
        namespace: namespace(),
        ..Default::default()
    };
    refused!(harness.workers(), list_workers, [(list, expected())]);
    let watch = pb::WatchEventsRequest {
        namespace: namespace(),
        ..Default::default()
    };
    stream_refused!(harness.events(), watch_events, [(watch, expected())]);
    harness.still_serves().await;
}

#[tokio::test]
async fn a_queue_that_cannot_be_is_refused_by_every_call_that_takes_one() {
    let harness = Harness::start().await;
    let bad = || {
        [
            (String::new(), Expected::field("queue", &["required"])),
            (
                BAD_NAME.to_owned(),
                Expected::field("queue", &["' '", NAME_RULE]),
            ),
            ("q".repeat(129), Expected::field("queue", &["129", "128"])),
        ]
    };
    macro_rules! case {
        ($method:ident, $request:ident) => {
            let cases = bad().map(|(queue, expected)| {
                (
                    pb::$request {
                        queue,
                        ..Default::default()
                    },
                    expected,
                )
            });
            refused!(harness.queues(), $method, cases);
        };
    }
    case!(get_queue, GetQueueRequest);
    case!(update_queue, UpdateQueueRequest);
    case!(pause_queue, PauseQueueRequest);
    case!(resume_queue, ResumeQueueRequest);
    let [_, named, _] = bad();
    let list = pb::ListWorkersRequest {
        queue: named.0.clone(),
        ..Default::default()
    };
    refused!(harness.workers(), list_workers, [(list, named.1.clone())]);
    let watch = pb::WatchEventsRequest {
        queue: named.0,
        ..Default::default()
    };
    stream_refused!(harness.events(), watch_events, [(watch, named.1)]);
    harness.still_serves().await;
}

#[tokio::test]
async fn a_cursor_is_refused_where_it_is_none_and_told_apart_where_it_is_too_old() {
    let harness = Harness::start().await;
    let watch = |cursor: &str| pb::WatchEventsRequest {
        cursor: cursor.to_owned(),
        ..Default::default()
    };
    let malformed = Expected::field("cursor", &["not a cursor", "send back"]);
    let gone = Expected::reason(
        Code::OutOfRange,
        "CURSOR_GONE",
        &["watch without a cursor and list what was missed"],
    );
    let of_another = format!("{:016x}.{:016x}", 0xdead_beef_u64, 1);
    let cases = [
        (watch("nonsense"), malformed.clone()),
        (watch("0.0"), malformed.clone()),
        (watch(&"f".repeat(5000)), malformed),
        (watch(&of_another), gone),
    ];
    stream_refused!(harness.events(), watch_events, cases);
    harness.still_serves().await;
}
