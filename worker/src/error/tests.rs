//! Claims about how errors become failures.

use std::{fmt, io, time::Duration};

use super::*;

#[derive(Debug)]
struct Outer(Middle);

#[derive(Debug)]
enum Middle {
    Refused { source: io::Error },
}

impl fmt::Display for Outer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("charge failed")
    }
}
impl StdError for Outer {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&self.0)
    }
}
impl fmt::Display for Middle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("gateway gone")
    }
}
impl StdError for Middle {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        let Self::Refused { source } = self;
        Some(source)
    }
}

fn chain() -> Outer {
    let source = io::Error::new(io::ErrorKind::ConnectionRefused, "connection refused");
    Outer(Middle::Refused { source })
}

fn fails() -> TaskResult<()> {
    Err(chain())?
}

fn fail_of(error: TaskError) -> Fail {
    let outcome = Outcome::from(error).outcome;
    let report::Outcome::Fail(fail) = outcome else {
        panic!("not a failure: {outcome:?}")
    };
    fail
}

#[test]
fn a_question_mark_reports_type_ancestors_and_the_texts_of_the_chain() {
    let fail = fail_of(fails().unwrap_err());
    assert!(!fail.not_retryable);
    let failure = fail.failure.unwrap();
    assert_eq!(failure.r#type, "rust:redrive_worker::error::tests::Outer");
    assert_eq!(
        failure.ancestors,
        [
            "debug:Refused",
            "rust:std::io::Error",
            "rust:std::io::ErrorKind::ConnectionRefused"
        ]
    );
    assert_eq!(
        failure.message,
        "charge failed: gateway gone: connection refused"
    );
    assert_eq!(failure.failure_class(), FailureClass::Network);
}

#[test]
fn a_grpc_status_keeps_its_code_and_implies_a_class() {
    let failure = TaskError::from(tonic::Status::resource_exhausted("slow down"))
        .inner
        .failure;
    assert_eq!(failure.code, 8);
    assert_eq!(failure.failure_class(), FailureClass::RateLimited);
    assert_eq!(failure.r#type, "rust:tonic::Status");
}

#[test]
fn an_unknown_error_is_internal() {
    let failure = TaskError::from("x".parse::<u8>().unwrap_err())
        .inner
        .failure;
    assert_eq!(failure.failure_class(), FailureClass::Internal);
    assert_eq!(failure.r#type, "rust:std::num::ParseIntError");
}

#[test]
fn fatal_on_a_result_forbids_retries_and_keeps_the_facts() {
    let fail = fail_of("x".parse::<u8>().fatal().unwrap_err());
    assert!(fail.not_retryable);
    assert_eq!(fail.failure.unwrap().r#type, "rust:std::num::ParseIntError");
}

#[test]
fn marks_on_a_result_can_be_chained() {
    let error = "x"
        .parse::<u8>()
        .class(FailureClass::Business)
        .expected()
        .fatal()
        .unwrap_err();
    let fail = fail_of(error);
    assert!(fail.not_retryable);
    let failure = fail.failure.unwrap();
    assert!(failure.expected);
    assert_eq!(failure.failure_class(), FailureClass::Business);
}

#[test]
fn retry_after_is_a_failure_with_the_others_delay() {
    let fail = fail_of(TaskError::retry_after(Duration::from_secs(7)));
    assert_eq!(fail.retry_after.unwrap().seconds, 7);
    assert_eq!(
        fail.failure.unwrap().failure_class(),
        FailureClass::RateLimited
    );
}

#[test]
fn retry_in_defer_release_and_discard_are_outcomes_of_their_own() {
    let outcome = |error| Outcome::from(error).outcome;
    let second = prost_types::Duration {
        seconds: 1,
        nanos: 0,
    };
    let report::Outcome::Retry(retry) =
        outcome(TaskError::retry_in(Duration::from_secs(1)).with_max_attempts(9))
    else {
        panic!("no retry")
    };
    assert_eq!(retry.start, Some(retry::Start::Delay(second)));
    assert_eq!(retry.max_attempts, Some(9));

    let report::Outcome::Defer(defer) =
        outcome(TaskError::defer(Duration::from_secs(1)).with_reason("maintenance"))
    else {
        panic!("no defer")
    };
    assert_eq!(
        (defer.delay, defer.reason.as_str()),
        (Some(second), "maintenance")
    );
    assert_eq!(
        outcome(TaskError::release("later")),
        report::Outcome::Release(Release {
            reason: "later".to_owned()
        })
    );
    assert_eq!(
        outcome(TaskError::discard("stale")),
        report::Outcome::Discard(Discard {
            reason: "stale".to_owned()
        })
    );
}

#[test]
fn a_checkpoint_travels_with_any_outcome() {
    let checkpoint = Payload {
        data: "17".into(),
        content_type: String::new(),
    };
    let outcome = Outcome::from(TaskError::from(chain()).with_checkpoint(checkpoint.clone()));
    assert_eq!(outcome.checkpoint, Some(checkpoint));
}

#[test]
fn texts_stay_within_the_protocols_limits() {
    let long = "x".repeat(100_000);
    let error = TaskError::new(FailureClass::Internal, &long)
        .with_stack(&long)
        .with_type(&long);
    let failure = fail_of(error).failure.unwrap();
    assert_eq!(failure.message.len(), crate::report::MESSAGE_BYTES_MAX);
    assert_eq!(failure.stack.len(), crate::report::STACK_BYTES_MAX);
    assert_eq!(failure.r#type.len(), crate::report::TYPE_BYTES_MAX);
}
