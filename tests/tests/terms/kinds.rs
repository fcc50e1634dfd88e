//! Kinds: said once for all tasks of a kind, by an operator or as a proposal of its workers.

use std::time::Duration;

use futures::TryStreamExt as _;
use redrive_client::NewTask;
use redrive_proto::v1::{self as pb, Source, TaskState};
use redrive_tests::harness::End;
use redrive_tests::refusal::Expected;
use redrive_tests::{Harness, RawWorker, SdkWorker, eventually, make};
use redrive_worker::{FollowUp, KindDefaults, TaskContext, TaskResult};
use tonic::Code;

use super::{DAY_MS, folder, made, raw, refused, sdk};

/// Settings that say something of everything.
fn all() -> pb::KindSettings {
    let follow_ups = pb::FollowUps {
        on_exhausted: Some(pb::TaskTemplate {
            queue: "alerts".to_owned(),
            kind: "page".to_owned(),
            priority: pb::Priority::High.into(),
            ..Default::default()
        }),
        ..Default::default()
    };
    pb::KindSettings {
        queue: "images".to_owned(),
        retry: Some(pb::kind_settings::Retry::RetryPolicy("sidekiq".to_owned())),
        timeouts: Some(pb::Timeouts {
            soft: None,
            hard: Some(make::ms(30_000)),
            extend_max: Some(make::ms(60_000)),
        }),
        max_attempts: Some(3),
        terms: Some(pb::Terms {
            ttl: Some(make::ms(3_600_000)),
            deadline: Some(make::ms(7_200_000)),
            result_ttl: Some(make::ms(600_000)),
            delivery: pb::DeliveryMode::AtMostOnce.into(),
            follow_ups: Some(Box::new(follow_ups)),
        }),
        dead_letter_queue: "review".to_owned(),
    }
}

async fn attempts(harness: &Harness, new: NewTask) -> (u32, Source) {
    let task = harness.task(&harness.enqueue(new).await).await;
    let said = task.effective.unwrap().max_attempts.unwrap();
    (said.max_attempts, said.source())
}

fn said(max_attempts: u32) -> pb::KindSettings {
    pb::KindSettings {
        max_attempts: Some(max_attempts),
        ..Default::default()
    }
}

#[tokio::test]
async fn what_an_operator_says_holds_for_all_its_tasks_and_is_shown_with_its_source() {
    let harness = Harness::start().await;
    let set = harness.client().set_kind("thumbnail", all()).await.unwrap();
    assert_eq!(set.settings, Some(all()));
    assert_eq!((set.revision, &*set.proposed_by), (1, ""));
    // The kind's default queue.
    let id = harness.enqueue(NewTask::new("", "thumbnail")).await;
    let task = harness.task(&id).await;
    assert_eq!(task.spec.as_ref().unwrap().queue, "images");
    let it = *task.effective.clone().unwrap();
    let policy = it.retry_policy.unwrap();
    assert_eq!((&*policy.name, policy.revision), ("sidekiq", 1));
    let limits = it.timeouts.unwrap();
    assert_eq!(limits.timeouts.unwrap().hard, Some(make::ms(30_000)));
    let (attempts, target) = (it.max_attempts.unwrap(), it.dead_letter_queue.unwrap());
    assert_eq!((attempts.max_attempts, &*target.queue), (3, "review"));
    let (expires, ends) = (it.expire_time.unwrap(), it.deadline_time.unwrap());
    assert_eq!(make::ms_between(task.enqueue_time, expires.time), 3_600_000);
    assert_eq!(make::ms_between(task.enqueue_time, ends.time), 7_200_000);
    let (ttl, delivery) = (it.result_ttl.unwrap(), it.delivery.unwrap());
    assert_eq!(ttl.duration, Some(make::ms(600_000)));
    assert_eq!(delivery.delivery(), pb::DeliveryMode::AtMostOnce);
    let sources = [
        policy.source(),
        limits.source(),
        attempts.source(),
        target.source(),
        expires.source(),
        ends.source(),
        ttl.source(),
        delivery.source(),
        it.follow_ups[0].source(),
    ];
    assert_eq!(sources, [Source::Kind; 9]);
    let mut worker = RawWorker::hello(harness.address(), make::hello("w", "images", 1)).await;
    let delivery = worker.next_delivery().await;
    assert_eq!(delivery.hard_timeout, Some(make::ms(30_000)));
    assert_eq!(
        (delivery.attempts_max, delivery.delivery()),
        (3, pb::DeliveryMode::AtMostOnce)
    );
    worker.complete(&delivery).await;
}

#[tokio::test]
async fn kinds_are_set_whole_listed_by_name_and_deleted_over_a_restart() {
    for end in End::ALL {
        let folder = folder();
        let harness = Harness::on(folder.path()).await;
        let client = harness.client();
        client.set_kind("b", all()).await.unwrap();
        client.set_kind("a", said(1)).await.unwrap();
        let waiting = harness.enqueue(NewTask::new("q", "a")).await;
        let again = client.set_kind("b", said(7)).await.unwrap();
        assert_eq!(again.settings, Some(said(7)), "what is not named is unset");
        assert_eq!(again.revision, 2);
        let other = client.clone().with_namespace("other").unwrap();
        other.set_kind("a", said(9)).await.unwrap();
        let harness = harness.again(end).await;
        let client = harness.client();
        let kinds: Vec<pb::Kind> = client.kinds().try_collect().await.unwrap();
        let names: Vec<_> = kinds.iter().map(|it| (&*it.kind, it.revision)).collect();
        assert_eq!(names, [("a", 1), ("b", 2)], "{end:?}");
        assert_eq!(client.kind("b").await.unwrap(), again, "{end:?}");
        let page = client.kinds_page(1, "").await.unwrap();
        let rest = client.kinds_page(1, &page.next_page_token).await.unwrap();
        assert_eq!(
            (page.kinds, rest.kinds),
            (kinds[..1].to_vec(), kinds[1..].to_vec())
        );
        assert!(rest.next_page_token.is_empty());
        client.delete_kind("a").await.unwrap();
        let harness = harness.again(end).await;
        let gone = harness.client().kind("a").await.unwrap_err();
        assert_eq!(gone.reason(), Some("KIND_NOT_FOUND"), "{end:?}");
        let task = harness.task(&waiting).await;
        assert_eq!(task.state(), TaskState::Ready, "its tasks stay");
        let source = task.effective.unwrap().max_attempts.unwrap().source();
        assert_eq!(source, Source::Server, "{end:?}");
        let of_other = NewTask::new("q", "b");
        assert_eq!(
            attempts(&harness, of_other).await,
            (7, Source::Kind),
            "{end:?}"
        );
    }
}

#[tokio::test]
async fn a_change_holds_for_tasks_that_are_there_from_their_next_failure() {
    let harness = Harness::start().await;
    let client = harness.client();
    let mut worker = raw(&harness).await;
    let id = harness.enqueue(NewTask::new("q", "k")).await;
    let delivery = worker.next_delivery().await;
    client.set_kind("k", said(1)).await.unwrap();
    let ack = worker.report_one(make::fail(&delivery, "no")).await;
    assert_eq!(ack.state(), TaskState::Dead);
    assert_eq!(&*harness.task(&id).await.state_reason, "ATTEMPTS_EXHAUSTED");
    let own = NewTask::new("q", "k").max_attempts(5);
    assert_eq!(attempts(&harness, own).await, (5, Source::Task));
}

async fn fine(_: TaskContext) -> TaskResult<()> {
    Ok(())
}

/// A worker that proposes so many attempts for its kind.
fn proposing(harness: &Harness, worker_id: &str, attempts: u32) -> SdkWorker {
    let defaults = KindDefaults::new()
        .queue("q")
        .max_attempts(attempts)
        .hard_timeout(Duration::from_secs(30))
        .on_success(FollowUp::new("thank").queue("after"));
    let builder = sdk(harness).worker_id(worker_id).task("k", fine);
    let worker = builder.kind_defaults("k", defaults).build();
    SdkWorker::start(worker.unwrap())
}

async fn proposed(harness: &Harness, by: &str) -> pb::Kind {
    eventually("the proposal is there", async || {
        let kind = harness.client().kind("k").await.ok()?;
        (kind.proposed_by == by).then_some(kind)
    })
    .await
}

#[tokio::test]
async fn the_latest_proposal_holds_until_an_operator_speaks_and_again_after_a_delete() {
    let harness = Harness::start().await;
    let client = harness.client();
    let first = proposing(&harness, "w1", 3);
    let kind = proposed(&harness, "w1").await;
    assert_eq!(kind.settings.unwrap().max_attempts, Some(3));
    let second = proposing(&harness, "w2", 4);
    let kind = proposed(&harness, "w2").await;
    assert_eq!(
        (kind.settings.unwrap().max_attempts, kind.revision),
        (Some(4), 2)
    );
    // Proposals work like anything that is said of a kind.
    let id = harness.enqueue(NewTask::new("", "k")).await;
    assert_eq!(harness.end_of(&id).await.state(), TaskState::Succeeded);
    made(&harness, "after", "thank").await;
    let set = client.set_kind("k", said(9)).await.unwrap();
    assert_eq!((&*set.proposed_by, set.revision), ("", 3));
    first.stop().await;
    second.stop().await;
    let third = proposing(&harness, "w3", 5);
    eventually("the worker is there", async || {
        let workers = client.workers("q").await.unwrap();
        workers
            .iter()
            .any(|it| it.info.as_ref().unwrap().worker_id == "w3")
            .then_some(())
    })
    .await;
    assert_eq!(
        client.kind("k").await.unwrap(),
        set,
        "proposals change nothing"
    );
    client.delete_kind("k").await.unwrap();
    third.stop().await;
    let fourth = proposing(&harness, "w4", 6);
    let kind = proposed(&harness, "w4").await;
    assert_eq!(kind.settings.unwrap().max_attempts, Some(6));
    fourth.stop().await;
}

#[tokio::test]
async fn the_same_proposal_again_is_no_change_and_a_worker_is_taken_in_any_case() {
    let harness = Harness::start().await;
    let first = proposing(&harness, "w1", 3);
    let before = proposed(&harness, "w1").await;
    first.stop().await;
    let worker = proposing(&harness, "w2", 3);
    let id = harness.enqueue(NewTask::new("q", "k")).await;
    harness.end_of(&id).await;
    assert_eq!(harness.client().kind("k").await.unwrap(), before);
    worker.stop().await;
}

fn set(change: impl FnOnce(&mut pb::SetKindRequest)) -> pb::SetKindRequest {
    let mut request = pb::SetKindRequest {
        kind: "k".to_owned(),
        settings: Some(pb::KindSettings::default()),
        ..Default::default()
    };
    change(&mut request);
    request
}

#[tokio::test]
async fn a_kind_that_cannot_be_is_refused_and_nothing_is_set() {
    let harness = Harness::start().await;
    let settings = |change: fn(&mut pb::KindSettings)| {
        let mut settings = pb::KindSettings::default();
        change(&mut settings);
        set(|it| it.settings = Some(settings))
    };
    let of = Expected::field;
    let cases = [
        (set(|it| it.kind.clear()), of("kind", &["required"])),
        (
            set(|it| it.kind = "a b".to_owned()),
            of("kind", &["use letters"]),
        ),
        (
            set(|it| it.kind = "k".repeat(129)),
            of("kind", &["129", "128"]),
        ),
        (
            set(|it| it.namespace = "a b".to_owned()),
            of("namespace", &["use letters"]),
        ),
        (
            settings(|it| it.queue = "a b".to_owned()),
            of("settings.queue", &["use letters"]),
        ),
        (
            settings(|it| {
                it.retry = Some(pb::kind_settings::Retry::RetryPolicy("best".to_owned()));
            }),
            of("settings.retry_policy", &["\"best\"", "recommended"]),
        ),
        (
            settings(|it| {
                it.timeouts = Some(pb::Timeouts {
                    soft: Some(make::ms(2)),
                    hard: Some(make::ms(1)),
                    extend_max: None,
                });
            }),
            of("settings.timeouts.soft", &["above the hard limit"]),
        ),
        (
            settings(|it| it.terms.get_or_insert_default().delivery = 9),
            of("settings.terms.delivery", &["is 9"]),
        ),
    ];
    refused!(harness.kinds(), set_kind, cases);
    assert!(harness.client().kind("k").await.is_err());
    harness.still_serves().await;
}

#[tokio::test]
async fn a_kind_without_settings_is_not_found_and_a_page_that_cannot_be_is_refused() {
    let harness = Harness::start().await;
    let of = Expected::field;
    let unknown = Expected::reason(Code::NotFound, "KIND_NOT_FOUND", &["default/k"]);
    let get = pb::GetKindRequest {
        kind: "k".to_owned(),
        ..Default::default()
    };
    refused!(harness.kinds(), get_kind, [(get, unknown.clone())]);
    let delete = pb::DeleteKindRequest {
        kind: "k".to_owned(),
        ..Default::default()
    };
    refused!(harness.kinds(), delete_kind, [(delete, unknown)]);
    let list = pb::ListKindsRequest {
        page_size: 1001,
        ..Default::default()
    };
    let token = pb::ListKindsRequest {
        page_token: "nonsense".to_owned(),
        ..Default::default()
    };
    let cases = [
        (list, of("page_size", &["1001", "at most 1000"])),
        (token, of("page_token", &["page"])),
    ];
    refused!(harness.kinds(), list_kinds, cases);
    harness.still_serves().await;
}

fn declared(
    field: &str,
    says: &[&str],
    change: fn(&mut Vec<pb::KindDeclaration>),
) -> (pb::WorkerInfo, Expected) {
    let mut kinds = vec![pb::KindDeclaration {
        kind: "k".to_owned(),
        ..Default::default()
    }];
    change(&mut kinds);
    let worker = pb::WorkerInfo {
        kinds: vec!["plain".to_owned()],
        declared_kinds: kinds,
        ..make::worker_info("w", "q")
    };
    let field = format!("worker.declared_kinds{field}");
    (worker, Expected::field(&field, says))
}

#[tokio::test]
async fn a_declaration_that_cannot_be_is_refused_and_proposes_nothing() {
    let harness = Harness::start().await;
    let cases = [
        declared("[0].kind", &["required"], |it| it[0].kind.clear()),
        declared("[0].kind", &["use letters"], |it| {
            it[0].kind = "a b".to_owned()
        }),
        declared("[0].kind", &["named twice"], |it| {
            it[0].kind = "plain".to_owned()
        }),
        declared("[1].kind", &["named twice"], |it| it.push(it[0].clone())),
        declared(
            "[0].version_max",
            &["is 1", "version_min, which is 2", "0"],
            |it| {
                (it[0].version_min, it[0].version_max) = (2, 1);
            },
        ),
        declared("", &["1025", "at most 1024"], |it| {
            *it = vec![it[0].clone(); 1025]
        }),
        declared(
            "[0].defaults.terms.ttl",
            &["3651 days", "at most 3650 days"],
            |it| {
                let terms = pb::Terms {
                    ttl: Some(make::ms(3651 * DAY_MS)),
                    ..Default::default()
                };
                it[0].defaults = Some(pb::KindSettings {
                    terms: Some(terms),
                    ..Default::default()
                });
            },
        ),
    ];
    let leases = cases.clone().map(|(worker, expected)| {
        let request = pb::LeaseTasksRequest {
            worker: Some(worker),
            ..Default::default()
        };
        (request, expected)
    });
    refused!(harness.workers(), lease_tasks, leases);
    for (worker, expected) in cases {
        let hello = pb::Hello {
            worker: Some(worker),
            ..make::hello("w", "q", 1)
        };
        let name = expected.field.clone();
        let answer = RawWorker::try_hello(harness.address(), hello).await;
        expected.below("hello").check_status(&name, answer);
    }
    assert!(harness.client().kind("k").await.is_err());
    harness.still_serves().await;
}
