//! Unique keys: at most one task at a time, and what becomes of another one.

use std::time::{Duration, SystemTime};

use futures::future::join_all;
use redrive_client::{Client, Error, NewTask, UniqueKey};
use redrive_proto::v1::{
    self as pb, ConflictAction, EnqueueEffect, TaskState, UniqueState, report::Outcome,
};
use redrive_tests::harness::End;
use redrive_tests::refusal::Expected;
use redrive_tests::{Harness, make};
use tonic::Code;
use tonic_types::StatusExt as _;

use super::{DAY_MS, folder, hasty, raw, refused_alone};

fn only(action: ConflictAction) -> UniqueKey {
    UniqueKey::new("u").on_conflict(action)
}

fn new(unique: UniqueKey) -> NewTask {
    NewTask::new("q", "k")
        .inline_retry_policy(make::policy(2, 3_600_000))
        .unique(unique)
}

async fn enqueue(harness: &Harness, task: NewTask) -> Result<(String, EnqueueEffect), Error> {
    let answer = harness.client().enqueue(task).await?;
    Ok((answer.task_id.clone(), answer.effect()))
}

async fn created(harness: &Harness, task: NewTask) -> String {
    let (id, effect) = enqueue(harness, task).await.unwrap();
    assert_eq!(effect, EnqueueEffect::Created);
    id
}

/// Who holds the key now.
async fn holder(harness: &Harness) -> Option<String> {
    let action = ConflictAction::Reject;
    let request = pb::EnqueueTaskRequest {
        task: Some(
            new(only(action))
                .delay(Duration::from_secs(9))
                .build()
                .unwrap(),
        ),
        ..Default::default()
    };
    match harness.tasks().enqueue_task(request).await {
        Ok(answer) => {
            // Nobody: the key is given back.
            let id = answer.into_inner().task_id;
            harness.client().cancel(&id, "").await.unwrap();
            None
        }
        Err(refused) => {
            let details = refused.get_error_details();
            let info = details.error_info().unwrap();
            assert_eq!(info.reason, "UNIQUE_KEY_HELD");
            assert!(info.metadata.contains_key("state"), "{info:?}");
            Some(info.metadata["task_id"].clone())
        }
    }
}

#[tokio::test]
async fn while_it_is_held_another_task_is_answered_with_the_holder_or_refused() {
    let harness = Harness::start().await;
    let id = created(&harness, new(UniqueKey::new("u"))).await;
    for action in [ConflictAction::Unspecified, ConflictAction::ReturnExisting] {
        let other = NewTask::new("q", "other").unique(only(action));
        let answer = enqueue(&harness, other).await.unwrap();
        assert_eq!(answer, (id.clone(), EnqueueEffect::Existing));
    }
    let request = pb::EnqueueTaskRequest {
        task: Some(new(only(ConflictAction::Reject)).build().unwrap()),
        ..Default::default()
    };
    let refused = harness.tasks().enqueue_task(request).await;
    let says = [id.as_str(), "is READY", "wait until"];
    Expected::reason(Code::AlreadyExists, "UNIQUE_KEY_HELD", &says)
        .check_status("rejected", refused);
    let counts = harness.client().queue("q").await.unwrap().counts.unwrap();
    assert_eq!(counts.enqueued_total, 1);
    let elsewhere = NewTask::new("p", "k").unique(only(ConflictAction::Reject));
    created(&harness, elsewhere).await;
}

#[tokio::test]
async fn a_replacement_takes_over_all_but_id_and_place() {
    let harness = Harness::start().await;
    let action = ConflictAction::ReplaceWaiting;
    let first = new(only(action))
        .json("old")
        .unwrap()
        .delay(Duration::from_secs(60));
    let id = created(&harness, first.label("from", "ann")).await;
    created(&harness, NewTask::new("q", "after")).await;
    let second = new(only(action))
        .json("new")
        .unwrap()
        .priority(pb::Priority::Normal)
        .label("from", "bob")
        .schema_version(2)
        .ttl(Duration::from_secs(60))
        .max_attempts(9);
    let answer = enqueue(&harness, second).await.unwrap();
    assert_eq!(answer, (id.clone(), EnqueueEffect::Replaced));
    let task = harness.task(&id).await;
    let spec = task.spec.unwrap();
    assert_eq!(&*spec.payload.unwrap().data, br#""new""#);
    assert_eq!((&*spec.labels["from"], spec.schema_version), ("bob", 2));
    assert_eq!(task.budgets.unwrap().attempts_max, 9);
    assert!(task.effective.unwrap().expire_time.is_some());
    assert_eq!(task.acts[0].act(), pb::ActKind::Replaced);
    let mut worker = raw(&harness).await;
    assert_eq!(worker.next_delivery().await.task_id, id, "its place stays");
    let another_kind =
        NewTask::new("q", "other").unique(only(action).scope([UniqueState::Running]));
    let created = enqueue(&harness, another_kind).await.unwrap();
    assert_eq!(created.1, EnqueueEffect::Created, "it is not held any more");
}

#[tokio::test]
async fn a_reschedule_moves_the_start_alone_and_never_beyond_the_bound() {
    let harness = Harness::start().await;
    let action = ConflictAction::RescheduleWaiting;
    let minutes = |count: u64| Duration::from_secs(60 * count);
    let first = new(only(action)).json("old").unwrap().delay(minutes(1));
    let id = created(&harness, first).await;
    let wait_ms = async || {
        let task = harness.task(&id).await;
        make::ms_between(task.enqueue_time, task.next_attempt_time)
    };
    let second = new(only(action)).json("new").unwrap().delay(minutes(5));
    let answer = enqueue(&harness, second).await.unwrap();
    assert_eq!(answer, (id.clone(), EnqueueEffect::Rescheduled));
    assert!((300_000..310_000).contains(&wait_ms().await));
    let bounded = only(action).postpone_max(minutes(10));
    let enqueued: SystemTime = harness
        .task(&id)
        .await
        .enqueue_time
        .unwrap()
        .try_into()
        .unwrap();
    let third = new(bounded).not_before(enqueued + minutes(60));
    enqueue(&harness, third).await.unwrap();
    assert_eq!(wait_ms().await, 600_000);
    let task = harness.task(&id).await;
    assert_eq!(&*task.spec.unwrap().payload.unwrap().data, br#""old""#);
    let acts: Vec<_> = task.acts.iter().map(pb::Act::act).collect();
    assert_eq!(acts, [pb::ActKind::Rescheduled; 2]);
}

#[tokio::test]
async fn a_holder_that_does_not_wait_is_not_changed() {
    let harness = Harness::start().await;
    let mut worker = raw(&harness).await;
    let id = created(&harness, new(UniqueKey::new("u")).json("old").unwrap()).await;
    let delivery = worker.next_delivery().await;
    let says = [id.as_str(), "only a waiting one", "WAITING"];
    let held = Expected::reason(Code::AlreadyExists, "UNIQUE_KEY_HELD", &says);
    for action in [
        ConflictAction::ReplaceWaiting,
        ConflictAction::RescheduleWaiting,
    ] {
        let request = pb::EnqueueTaskRequest {
            task: Some(new(only(action)).build().unwrap()),
            ..Default::default()
        };
        let answer = harness.tasks().enqueue_task(request).await;
        held.check_status(action.as_str_name(), answer);
    }
    worker.complete(&delivery).await;
    let task = harness.task(&id).await;
    assert_eq!(&*task.spec.unwrap().payload.unwrap().data, br#""old""#);
}

#[tokio::test]
async fn the_key_is_held_in_the_states_of_its_holders_scope_and_in_no_other() {
    use UniqueState::{Dead, Finished, Running, Waiting};
    let states = [Waiting, Running, Waiting, Dead, Finished];
    for scope in [
        vec![],
        vec![Waiting],
        vec![Running],
        vec![Dead, Finished],
        vec![Waiting, Running, Dead, Finished],
    ] {
        let harness = Harness::start().await;
        let mut worker = raw(&harness).await;
        harness.client().pause_queue("q", "").await.unwrap();
        let unique = UniqueKey::new("u").scope(scope.clone());
        let id = created(&harness, new(unique)).await;
        let mut held = vec![holder(&harness).await];
        harness.client().resume_queue("q").await.unwrap();
        let delivery = worker.next_delivery().await;
        held.push(holder(&harness).await);
        let retry = Outcome::Retry(pb::Retry {
            start: Some(pb::retry::Start::Delay(make::ms(50))),
            ..Default::default()
        });
        worker
            .report_one(make::report(&delivery.lease_token, retry))
            .await;
        held.push(holder(&harness).await);
        let delivery = worker.next_delivery().await;
        worker.report_one(make::fail(&delivery, "no")).await;
        harness.task_in(&id, TaskState::Dead).await;
        held.push(holder(&harness).await);
        harness.client().discard(&id, "").await.unwrap();
        held.push(holder(&harness).await);
        let scope = if scope.is_empty() {
            vec![Waiting, Running]
        } else {
            scope
        };
        let expected = states.map(|state| scope.contains(&state).then(|| id.clone()));
        assert_eq!(held, expected, "{scope:?}");
    }
}

#[tokio::test]
async fn a_lost_worker_leaves_no_key_behind_and_a_task_that_comes_back_is_not_refused() {
    let harness = hasty().await;
    let worker = raw(&harness).await;
    let unique = UniqueKey::new("u").scope([UniqueState::Running]);
    let lost = created(&harness, new(unique.clone())).await;
    let mut worker = worker;
    worker.next_delivery().await;
    assert_eq!(holder(&harness).await.as_ref(), Some(&lost));
    drop(worker);
    harness.task_in(&lost, TaskState::Retrying).await;
    assert_eq!(
        holder(&harness).await,
        None,
        "it waits, which is not its scope"
    );
    let mut worker = raw(&harness).await;
    let other = created(&harness, new(unique)).await;
    let delivery = worker.next_delivery().await;
    assert_eq!(delivery.task_id, other);
    // Both run, and the older one answers for the key.
    let now = redrive_client::TaskUpdate::new().delay(Duration::ZERO);
    harness.client().update(&lost, now).await.unwrap();
    assert_eq!(worker.next_delivery().await.task_id, lost);
    assert_eq!(holder(&harness).await, Some(lost));
}

#[tokio::test]
async fn a_key_is_held_over_a_restart() {
    for end in End::ALL {
        let folder = folder();
        let harness = Harness::on(folder.path()).await;
        let unique = only(ConflictAction::ReplaceWaiting);
        let later = Duration::from_secs(3600);
        let id = created(&harness, new(unique.clone()).delay(later)).await;
        let harness = harness.again(end).await;
        assert_eq!(holder(&harness).await.as_ref(), Some(&id), "{end:?}");
        let newer = new(unique).json("new").unwrap().delay(later);
        let answer = enqueue(&harness, newer).await.unwrap();
        assert_eq!(answer, (id.clone(), EnqueueEffect::Replaced), "{end:?}");
        let harness = harness.again(end).await;
        let spec = harness.task(&id).await.spec.unwrap();
        assert_eq!(&*spec.payload.unwrap().data, br#""new""#, "{end:?}");
        harness.client().cancel(&id, "").await.unwrap();
        let harness = harness.again(end).await;
        assert_eq!(holder(&harness).await, None, "{end:?}");
    }
}

#[tokio::test]
async fn of_clients_that_race_with_one_unique_key_exactly_one_creates() {
    let harness = Harness::start().await;
    let other = Client::connect(&harness.address().to_string()).await;
    let clients = [harness.client().clone(), other.unwrap()];
    let race = (0..50).map(|number| clients[number % 2].enqueue(new(only(ConflictAction::Reject))));
    let answers = join_all(race).await;
    let (created, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    assert_eq!((created.len(), refused.len()), (1, 49));
    for refused in refused {
        assert_eq!(refused.unwrap_err().reason(), Some("UNIQUE_KEY_HELD"));
    }
}

#[tokio::test]
async fn a_unique_key_that_cannot_be_is_refused_alone() {
    let harness = Harness::start().await;
    let case = |field: &str, says: &[&str], change: fn(&mut pb::UniqueKey)| {
        let mut unique = pb::UniqueKey {
            key: "u".to_owned(),
            ..Default::default()
        };
        change(&mut unique);
        let spec = pb::TaskSpec {
            unique: Some(Box::new(unique)),
            ..make::spec("q", "k")
        };
        (spec, Expected::field(&format!("unique.{field}"), says))
    };
    let cases = vec![
        case("key", &["required"], |it| it.key.clear()),
        case("key", &["257", "256"], |it| it.key = "u".repeat(257)),
        case("key", &["use printable"], |it| it.key = "\t".to_owned()),
        case("scope[1]", &["no state", "FINISHED"], |it| {
            it.scope = vec![1, 0]
        }),
        case("scope[0]", &["is 9", "does not know"], |it| {
            it.scope = vec![9]
        }),
        case("on_conflict", &["is 9", "does not know"], |it| {
            it.on_conflict = 9
        }),
        case(
            "postpone_max",
            &["REPLACE_WAITING", "leave it unset"],
            |it| {
                it.postpone_max = Some(make::ms(1));
            },
        ),
        case("postpone_max", &["3651 days", "at most 3650 days"], |it| {
            it.on_conflict = ConflictAction::ReplaceWaiting.into();
            it.postpone_max = Some(make::ms(3651 * DAY_MS));
        }),
        case("postpone_max", &["is negative"], |it| {
            it.on_conflict = ConflictAction::RescheduleWaiting.into();
            it.postpone_max = Some(super::NEGATIVE);
        }),
    ];
    refused_alone(&harness, cases).await;
    assert_eq!(holder(&harness).await, None);
}
