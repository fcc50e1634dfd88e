//! Claims about what the client does on the wire, against the fake coordinator.
//!
//! Owns no helpers beyond the claims' own. Time is tokio's paused clock throughout.

mod fields;
mod repeating;
mod streams;

use std::{collections::HashMap, time::Duration};

use futures::TryStreamExt as _;
use tokio::time::Instant;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::{
    Error, NewTask, Waited, clock,
    fake::{Answer, Fake},
    v1,
};

const SECOND: Duration = Duration::from_secs(1);

fn task() -> NewTask {
    NewTask::new("mail", "send")
}

fn busy(after: Duration) -> Answer {
    let mut details = ErrorDetails::new();
    details.set_error_info("OVERLOADED", "redrive.dev", HashMap::new());
    details.set_retry_info(Some(after));
    Answer::Fail(Status::with_error_details(
        Code::ResourceExhausted,
        "busy",
        details,
    ))
}

fn code(code: Code) -> Answer {
    Answer::Fail(Status::new(code, "so it is"))
}

fn start() -> Instant {
    clock::now()
}

fn passed(begin: Instant) -> Duration {
    clock::now() - begin
}

#[tokio::test(start_paused = true)]
async fn an_enqueue_that_could_not_connect_is_sent_once_the_coordinator_is_there() {
    let (fake, client, _streams) = Fake::start();
    fake.state().refused_connections = 3;
    assert_eq!(client.enqueue(task()).await.unwrap().task_id, "id");
    assert_eq!(fake.state().enqueued.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_coordinator_that_stays_away_is_told_as_such_within_the_deadline() {
    let (fake, client, _streams) = Fake::start();
    fake.state().refused_connections = usize::MAX;
    let begin = start();
    let error = client.enqueue(task()).await.unwrap_err();
    assert!(
        matches!(&error, Error::Connect { address, .. } if address == "fake:1"),
        "{error}"
    );
    assert!(error.is_retryable());
    assert!(passed(begin) <= crate::DEADLINE_DEFAULT);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_for_a_while_is_tried_again_no_earlier_than_asked() {
    let (fake, client, _streams) = Fake::start();
    fake.answer_next([busy(3 * SECOND)]);
    let begin = start();
    client.enqueue(task()).await.unwrap();
    assert_eq!(fake.state().enqueued.len(), 2);
    assert!(passed(begin) >= 3 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_outlasts_the_deadline_is_returned_at_once() {
    let (fake, client, _streams) = Fake::start();
    fake.answer_next([busy(60 * SECOND)]);
    let begin = start();
    let error = client.enqueue(task()).await.unwrap_err();
    assert_eq!(error.reason(), Some("OVERLOADED"));
    assert_eq!(error.retry_after(), Some(60 * SECOND));
    assert!(error.is_retryable());
    assert!(passed(begin) < SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_change_that_fails_without_saying_whether_it_was_performed_is_never_sent_again() {
    for unclear in [Code::Internal, Code::Unknown, Code::DeadlineExceeded] {
        let (fake, client, _streams) = Fake::start();
        fake.answer_next([code(unclear)]);
        let error = client.enqueue(task()).await.unwrap_err();
        assert!(error.is_outcome_unknown(), "{error}");
        assert_eq!(fake.state().enqueued.len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_for_good_is_told_at_once() {
    let (fake, client, _streams) = Fake::start();
    fake.answer_next([code(Code::FailedPrecondition)]);
    let error = client.cancel("id", "").await.unwrap_err();
    assert!(
        matches!(error, Error::Refused(_)) && !error.is_retryable(),
        "{error}"
    );
    assert_eq!(fake.state().calls, 1);
}

#[tokio::test(start_paused = true)]
async fn a_change_without_an_answer_ends_at_its_deadline_with_its_outcome_unknown() {
    let (fake, client, _streams) = Fake::start();
    fake.answer_next([Answer::Hang]);
    let begin = start();
    let error = client
        .with_deadline(3 * SECOND)
        .enqueue(task())
        .await
        .unwrap_err();
    assert!(error.is_outcome_unknown(), "{error}");
    assert_eq!(
        (error.code(), passed(begin)),
        (Code::DeadlineExceeded, 3 * SECOND)
    );
}

#[tokio::test(start_paused = true)]
async fn a_read_is_tried_again_when_the_coordinator_is_away_or_the_connection_breaks() {
    let (fake, client, _streams) = Fake::start();
    fake.answer_next([code(Code::Unavailable), Answer::Hang]);
    let (answer, ()) = tokio::join!(client.get("id"), async {
        fake.hanging().await;
        fake.cut();
    });
    assert_eq!(answer.unwrap().task_id, "id");
    assert_eq!(fake.state().calls, 3);
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_its_task_is_an_error_and_no_panic() {
    let (_fake, client, _streams) = Fake::start();
    let error = client.cancel("id", "").await.unwrap_err();
    assert_eq!(error, Error::Incomplete { missing: "task" });
}

#[tokio::test(start_paused = true)]
async fn a_list_is_read_over_all_its_pages() {
    let (_fake, client, _streams) = Fake::start();
    let tasks: Vec<v1::Task> = client
        .list(client.select("", ""))
        .try_collect()
        .await
        .unwrap();
    assert_eq!(
        tasks
            .iter()
            .map(|task| task.task_id.as_str())
            .collect::<String>(),
        "ab"
    );
}

#[tokio::test(start_paused = true)]
async fn a_long_wait_is_cut_into_slices_that_end_on_time() {
    let (fake, client, _streams) = Fake::start();
    fake.state().waits_in_vain = usize::MAX;
    let begin = start();
    let waited = client.wait("id", 150 * SECOND).await.unwrap();
    assert!(matches!(waited, Waited::TimedOut(task) if task.task_id == "id"));
    assert_eq!(fake.state().waits, [60 * SECOND, 60 * SECOND, 30 * SECOND]);
    assert_eq!(passed(begin), 150 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_wait_without_limit_ends_with_its_task() {
    let (fake, client, _streams) = Fake::start();
    fake.state().waits_in_vain = 5;
    let waited = client.wait("id", Duration::MAX).await.unwrap();
    assert!(matches!(waited, Waited::Ended(_)));
    assert_eq!(fake.state().waits.len(), 6);
}

#[tokio::test(start_paused = true)]
async fn a_wait_survives_a_restart_of_the_coordinator_but_not_its_end() {
    let (fake, client, _streams) = Fake::start();
    fake.answer_next([Answer::Hang]);
    let (waited, ()) = tokio::join!(client.wait("id", Duration::MAX), async {
        fake.hanging().await;
        fake.state().refused_connections = 3;
        fake.cut();
    });
    assert!(matches!(waited.unwrap(), Waited::Ended(_)));

    fake.state().refused_connections = usize::MAX;
    fake.cut();
    assert!(matches!(
        client.wait("id", Duration::MAX).await,
        Err(Error::Connect { .. })
    ));
}

#[tokio::test(start_paused = true)]
async fn many_tasks_go_in_calls_of_a_thousand_and_are_answered_in_order() {
    let (fake, client, _streams) = Fake::start();
    let mut tasks: Vec<NewTask> = (0..2_500)
        .map(|n| NewTask::new("mail", format!("k{n}")))
        .collect();
    tasks[3] = NewTask::new("no name", "send");
    tasks[1_500] = NewTask::new("mail", "refused");
    let results = client.enqueue_many(tasks).await;
    assert_eq!(
        fake.state()
            .enqueued
            .iter()
            .map(Vec::len)
            .collect::<Vec<_>>(),
        [1_000, 1_000, 499]
    );
    for (n, result) in results.iter().enumerate() {
        match n {
            3 => assert!(matches!(result, Err(Error::Invalid { .. }))),
            1_500 => assert!(matches!(result, Err(Error::Refused(_)))),
            _ => assert_eq!(result, &Ok(format!("k{n}"))),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn many_large_tasks_go_in_messages_that_keep_the_limit() {
    let (fake, client, _streams) = Fake::start();
    let large = task().bytes(vec![0; 1_000_000], "");
    let results = client.enqueue_many(vec![large; 7]).await;
    assert!(results.iter().all(Result::is_ok));
    let calls: Vec<usize> = fake.state().enqueued.iter().map(Vec::len).collect();
    assert_eq!(calls, [3, 3, 1]);
}

#[tokio::test(start_paused = true)]
async fn after_a_call_that_failed_the_rest_of_many_is_not_sent() {
    let (fake, client, _streams) = Fake::start();
    fake.answer_next([code(Code::Internal)]);
    let results = client.enqueue_many(vec![task(); 1_500]).await;
    assert!(
        results[..1_000]
            .iter()
            .all(|it| it.as_ref().unwrap_err().is_outcome_unknown())
    );
    assert!(
        results[1_000..]
            .iter()
            .all(|it| matches!(it, Err(Error::NotSent { .. })))
    );
    assert_eq!(fake.state().enqueued.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn progress_is_streamed_beyond_the_deadline_in_the_clients_namespace() {
    let (fake, client, _streams) = Fake::start();
    let client = client.with_namespace("acme").unwrap();
    let request = v1::RedriveDeadLettersRequest::default();
    let progress = client.redrive_many(request.clone()).await.unwrap();
    let steps: Vec<_> = progress.try_collect().await.unwrap();
    assert_eq!(
        steps
            .iter()
            .map(|it| (it.redriven, it.done))
            .collect::<Vec<_>>(),
        [(1, false), (2, true)]
    );

    fake.answer_next([code(Code::Internal)]);
    let progress = client.redrive_many(request).await.unwrap();
    let error = progress.try_collect::<Vec<_>>().await.unwrap_err();
    assert!(error.is_outcome_unknown(), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_discard_without_an_expected_count_is_refused_before_it_is_sent() {
    let (_fake, client, _streams) = Fake::start();
    let error = client
        .discard_many(v1::DiscardDeadLettersRequest::default())
        .await
        .err()
        .unwrap();
    assert!(matches!(error, Error::Invalid { field, .. } if field == "expected_count"));
}

#[tokio::test(start_paused = true)]
async fn one_dead_letter_is_discarded_for_a_reason_that_fits() {
    let (fake, client, _streams) = Fake::start();
    assert_eq!(client.discard("a", "old").await.unwrap().task_id, "a");
    let error = client.discard("b", &"x".repeat(257)).await.unwrap_err();
    assert!(matches!(error, Error::Invalid { field, .. } if field == "reason"));
    assert_eq!(fake.state().calls, 1);
}
