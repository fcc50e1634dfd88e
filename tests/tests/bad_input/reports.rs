//! Reports that cannot be: one table of ends of a run, reported on a stream and by a call.

use redrive_client::NewTask;
use redrive_proto::v1::{self as pb, ReportStatus, report::Outcome};
use redrive_tests::refusal::Expected;
use redrive_tests::{Harness, RawWorker, make};

use super::{BAD_NAME, Case, NAME_RULE, durations};

fn big(bytes: usize) -> Option<pb::Payload> {
    Some(pb::Payload {
        data: vec![0; bytes].into(),
        ..Default::default()
    })
}

fn failing(change: impl FnOnce(&mut pb::Failure)) -> Outcome {
    let mut failure = pb::Failure::default();
    change(&mut failure);
    Outcome::Fail(pb::Fail {
        failure: Some(failure),
        ..Default::default()
    })
}

/// Ends of a run that cannot be.
fn completions_and_failures() -> Vec<Case<Outcome>> {
    let of = Expected::field;
    let complete = |result, label: &str| {
        Outcome::Complete(pb::Complete {
            result,
            outcome_label: label.to_owned(),
        })
    };
    let mut cases = vec![
        (
            complete(big(262_145), ""),
            of("complete.result.data", &["262145", "262144"]),
        ),
        (
            complete(None, BAD_NAME),
            of("complete.outcome_label", &[NAME_RULE]),
        ),
        (
            failing(|it| it.failure_class = 99),
            of("fail.failure.failure_class", &["99"]),
        ),
        (
            failing(|it| it.code = 17),
            of("fail.failure.code", &["17", "0 to 16"]),
        ),
        (
            failing(|it| it.message = "m".repeat(4097)),
            of("fail.failure.message", &["4097", "4096"]),
        ),
        (
            failing(|it| it.stack = "s".repeat(65_537)),
            of("fail.failure.stack", &["65537", "65536"]),
        ),
        (
            failing(|it| it.r#type = "t".repeat(257)),
            of("fail.failure.type", &["257", "256"]),
        ),
        (
            failing(|it| it.ancestors = vec![String::new(); 17]),
            of("fail.failure.ancestors", &["17", "16"]),
        ),
        (
            failing(|it| it.ancestors = vec!["a".repeat(257)]),
            of("fail.failure.ancestors[0]", &["257", "256"]),
        ),
    ];
    cases.extend(durations("fail.retry_after", |bad| {
        Outcome::Fail(pb::Fail {
            retry_after: Some(bad),
            ..Default::default()
        })
    }));
    cases
}

/// Other ends of a run that cannot be.
fn retries_and_refusals() -> Vec<Case<Outcome>> {
    let of = Expected::field;
    let retry = |start| {
        Outcome::Retry(pb::Retry {
            start: Some(start),
            ..Default::default()
        })
    };
    let long = || "r".repeat(257);
    let mut cases = vec![
        (
            retry(pb::retry::Start::NotBefore(prost_types::Timestamp {
                seconds: 0,
                nanos: -1,
            })),
            of("retry.not_before", &["malformed"]),
        ),
        (
            Outcome::Retry(pb::Retry {
                replace_payload: big(1_048_577),
                ..Default::default()
            }),
            of("retry.replace_payload.data", &["1048577", "1048576"]),
        ),
        (
            Outcome::Defer(pb::Defer {
                reason: long(),
                ..Default::default()
            }),
            of("defer.reason", &["257", "256"]),
        ),
        (
            Outcome::Release(pb::Release { reason: long() }),
            of("release.reason", &["257", "256"]),
        ),
        (
            Outcome::Discard(pb::Discard { reason: long() }),
            of("discard.reason", &["257", "256"]),
        ),
    ];
    cases.extend(durations("retry.delay", |bad| {
        retry(pb::retry::Start::Delay(bad))
    }));
    cases.extend(durations("defer.delay", |bad| {
        Outcome::Defer(pb::Defer {
            delay: Some(bad),
            ..Default::default()
        })
    }));
    cases
}

#[tokio::test]
async fn a_report_that_cannot_be_is_invalid_alone_and_the_lease_stays_held() {
    let harness = Harness::start().await;
    let mut worker = RawWorker::hello(harness.address(), make::hello("w", "q", 2)).await;
    for _ in 0..2 {
        harness
            .enqueue(NewTask::new("q", "k").max_attempts(1))
            .await;
    }
    let (one, other) = (worker.next_delivery().await, worker.next_delivery().await);
    let mut reports: Vec<Case<pb::Report>> = [completions_and_failures(), retries_and_refusals()]
        .concat()
        .into_iter()
        .map(|(outcome, expected)| (make::report(&one.lease_token, outcome), expected))
        .collect();
    let checkpoint = big(262_145);
    let report = pb::Report {
        checkpoint,
        ..make::complete(&one)
    };
    reports.push((
        report,
        Expected::field("checkpoint.data", &["262145", "262144"]),
    ));
    for (index, (report, expected)) in reports.into_iter().enumerate() {
        let name = format!("report {index} ({})", expected.field);
        let ack = worker.report_one(report.clone()).await;
        assert_eq!(ack.status(), ReportStatus::Invalid, "{name}");
        assert_eq!(ack.lease_token, one.lease_token, "{name}");
        expected.check(&name, &ack.refusal.unwrap());
        let request = pb::ReportTasksRequest {
            reports: vec![report],
        };
        let answer = harness
            .workers()
            .report_tasks(request)
            .await
            .unwrap()
            .into_inner();
        assert_eq!(answer.acks[0].status(), ReportStatus::Invalid, "{name}");
        expected.check(&name, answer.acks[0].refusal.as_ref().unwrap());
    }
    let bad = pb::Report {
        outcome: None,
        ..make::complete(&one)
    };
    let acks = worker
        .report(vec![bad, make::complete(&other), make::complete(&one)])
        .await;
    let statuses: Vec<ReportStatus> = acks.iter().map(pb::ReportAck::status).collect();
    let expected = [
        ReportStatus::Invalid,
        ReportStatus::Recorded,
        ReportStatus::Recorded,
    ];
    assert_eq!(statuses, expected, "the bad one fails alone");
    harness.still_serves().await;
}
