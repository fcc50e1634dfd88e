//! What a failure says of its effect, and how it reads.

use std::collections::HashMap;

use tonic_types::{ErrorDetails, StatusExt as _};

use super::*;

fn status(code: Code, retry_after: Option<Duration>) -> Status {
    let mut details = ErrorDetails::new();
    details.set_error_info("QUEUE_FULL", "redrive.dev", HashMap::new());
    details.add_bad_request_violation("task.queue", "is full");
    if retry_after.is_some() {
        details.set_retry_info(retry_after);
    }
    Status::with_error_details(code, "the queue is full", details)
}

#[test]
fn all_that_a_status_says_is_kept_and_printed() {
    let verdict = Verdict::of(&status(
        Code::ResourceExhausted,
        Some(Duration::from_secs(2)),
    ));
    let Verdict::Refused(failure) = verdict else {
        panic!("{verdict:?}")
    };
    assert_eq!(failure.reason, "QUEUE_FULL");
    assert_eq!(failure.violations[0].field, "task.queue");
    let error = Error::Refused(Box::new(failure));
    assert_eq!(
        error.to_string(),
        "refused: RESOURCE_EXHAUSTED QUEUE_FULL: the queue is full; task.queue: is full; try \
         again in 2s"
    );
    assert_eq!(
        (error.code(), error.reason(), error.retry_after()),
        (
            Code::ResourceExhausted,
            Some("QUEUE_FULL"),
            Some(Duration::from_secs(2))
        )
    );
}

#[test]
fn what_the_message_says_of_a_field_is_not_said_again() {
    let problem = "has no value after \"class\"";
    let mut details = ErrorDetails::new();
    details.add_bad_request_violation("selection.filter", problem);
    details.add_bad_request_violation("page_size", "is 5000, at most 1000 is allowed");
    let message = format!("selection.filter {problem}");
    let failure = CallFailure::from_status(&Status::with_error_details(
        Code::InvalidArgument,
        message,
        details,
    ));
    assert_eq!(failure.violations.len(), 2);
    assert_eq!(
        failure.to_string(),
        "INVALID_ARGUMENT: selection.filter has no value after \"class\"; page_size: is 5000, \
         at most 1000 is allowed"
    );
}

#[test]
fn only_a_refusal_that_asks_to_wait_is_retryable() {
    for (code, after, retryable) in [
        (Code::ResourceExhausted, Some(1), true),
        (Code::Unavailable, Some(1), true),
        (Code::ResourceExhausted, None, false),
        (Code::FailedPrecondition, Some(1), false),
        (Code::InvalidArgument, None, false),
    ] {
        let verdict = Verdict::of(&status(code, after.map(Duration::from_secs)));
        let Verdict::Refused(failure) = verdict else {
            panic!("{verdict:?}")
        };
        assert_eq!(
            Error::Refused(Box::new(failure)).is_retryable(),
            retryable,
            "{code:?}"
        );
    }
}

#[test]
fn a_code_that_does_not_say_whether_it_was_performed_is_unclear() {
    for code in [
        Code::Unavailable,
        Code::Internal,
        Code::DeadlineExceeded,
        Code::Cancelled,
    ] {
        let verdict = Verdict::of(&status(code, None));
        assert!(matches!(verdict, Verdict::Unclear(_)), "{verdict:?}");
    }
}

#[test]
fn an_item_refused_in_a_batch_reads_like_a_refused_call() {
    let error = Error::from(v1::Refusal {
        code: 8,
        reason: "MEMORY_FULL".to_owned(),
        message: "too full".to_owned(),
        field: "task.payload".to_owned(),
        retry_after: Some(prost_types::Duration {
            seconds: 3,
            nanos: 0,
        }),
    });
    assert!(error.is_retryable());
    assert_eq!(
        error.to_string(),
        "refused: RESOURCE_EXHAUSTED MEMORY_FULL: too full; try again in 3s"
    );
    assert_eq!(error.failure().unwrap().violations[0].field, "task.payload");
}
