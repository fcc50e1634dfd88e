//! Idempotency keys: the same work is asked for twice and is there once, and has a name.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::join_all;
use redrive_client::{Cancel, Client, NewTask, TaskRef, TaskUpdate, Waited};
use redrive_proto::v1::{self as pb, EnqueueEffect, TaskState};
use redrive_tests::harness::End;
use redrive_tests::refusal::Expected;
use redrive_tests::wait::PATIENCE;
use redrive_tests::{Harness, SdkWorker, eventually, make};
use redrive_worker::{Json, TaskContext, TaskError, TaskResult};
use tonic::Code;
use tonic_types::StatusExt as _;

use super::{DAY_MS, folder, raw, refused, refused_alone, sdk};

fn keyed(key: &str) -> NewTask {
    NewTask::new("q", "k")
        .json("order 17")
        .unwrap()
        .inline_retry_policy(make::policy(1, 1))
        .idempotency_key(key)
}

fn named(key: &str) -> TaskRef {
    TaskRef::key("q", key)
}

async fn enqueue(harness: &Harness, task: NewTask) -> (String, EnqueueEffect) {
    let answer = harness.client().enqueue(task).await.unwrap();
    (answer.task_id.clone(), answer.effect())
}

/// Hands the key back as the result.
async fn echo(task: TaskContext) -> TaskResult<Json<Option<String>>> {
    Ok(Json(task.idempotency_key().map(str::to_owned)))
}

#[tokio::test]
async fn the_first_task_answers_for_the_second_in_every_state_and_when_it_is_forgotten() {
    let harness = Harness::start().await;
    let (first, effect) = enqueue(&harness, keyed("a")).await;
    assert_eq!(effect, EnqueueEffect::Created);
    let again = async || {
        let put_off = keyed("a").delay(Duration::from_secs(60));
        let put_off = put_off.idempotency_window(Duration::from_secs(60));
        let answer = enqueue(&harness, put_off).await;
        assert_eq!(answer, (first.clone(), EnqueueEffect::Existing));
    };
    again().await;
    let mut worker = raw(&harness).await;
    let delivery = worker.next_delivery().await;
    assert_eq!(delivery.idempotency_key, "a", "the handler is told");
    again().await;
    worker.complete(&delivery).await;
    harness.end_of(&first).await;
    again().await;
    let (brief, _) = enqueue(&harness, keyed("b").result_ttl(Duration::ZERO)).await;
    let delivery = worker.next_delivery().await;
    worker.complete(&delivery).await;
    eventually("it is forgotten", async || {
        harness.client().get(&brief).await.err()
    })
    .await;
    let again = enqueue(&harness, keyed("b").result_ttl(Duration::ZERO)).await;
    assert_eq!(again, (brief, EnqueueEffect::Existing));
    let counts = harness.client().queue("q").await.unwrap().counts.unwrap();
    assert_eq!(counts.enqueued_total, 2);
}

#[tokio::test]
async fn another_task_with_the_key_is_refused_with_the_first_ones_id() {
    let harness = Harness::start().await;
    let (first, _) = enqueue(&harness, keyed("a")).await;
    let others = [
        keyed("a").json("order 18").unwrap(),
        keyed("a").label("tenant", "acme"),
        keyed("a").ttl(Duration::from_secs(60)),
        keyed("a").schema_version(2),
        keyed("a").priority(pb::Priority::High),
    ];
    let says = [first.as_str(), "with other content", "another key"];
    let expected = Expected::reason(Code::AlreadyExists, "IDEMPOTENCY_KEY_REUSED", &says);
    for other in others {
        let request = pb::EnqueueTaskRequest {
            task: Some(other.build().unwrap()),
            ..Default::default()
        };
        let refused = harness.tasks().enqueue_task(request).await.unwrap_err();
        let details = refused.get_error_details();
        assert_eq!(details.error_info().unwrap().metadata["task_id"], first);
        expected.check_status("another task", Err::<(), _>(refused));
    }
    // What holds unsaid too may be said.
    let said = keyed("a").priority(pb::Priority::Normal);
    let answer = enqueue(&harness, said).await;
    assert_eq!(answer, (first, EnqueueEffect::Existing));
    // In another queue or namespace it is another key.
    let mut elsewhere = keyed("a").build().unwrap();
    elsewhere.queue = "p".to_owned();
    let (_, effect) = enqueue(&harness, elsewhere.into()).await;
    assert_eq!(effect, EnqueueEffect::Created);
    let other = harness.client().clone().with_namespace("other").unwrap();
    let other = other.enqueue(keyed("a")).await.unwrap();
    assert_eq!(other.effect(), EnqueueEffect::Created);
}

#[tokio::test]
async fn a_key_names_its_task_for_every_call_over_a_restart() {
    for end in End::ALL {
        let folder = folder();
        let harness = Harness::on(folder.path()).await;
        let (id, _) = enqueue(&harness, keyed("a").delay(Duration::from_secs(3600))).await;
        let (dead, _) = enqueue(&harness, keyed("dead")).await;
        let mut worker = raw(&harness).await;
        let delivery = worker.next_delivery().await;
        worker.report_one(make::fail(&delivery, "no")).await;
        drop(worker);
        let harness = harness.again(end).await;
        let client = harness.client();
        let again = enqueue(&harness, keyed("a")).await;
        assert_eq!(again, (id.clone(), EnqueueEffect::Existing), "{end:?}");
        assert_eq!(client.get(named("a")).await.unwrap().task_id, id);
        let waited = client.wait(named("a"), Duration::ZERO).await.unwrap();
        assert!(matches!(waited, Waited::TimedOut(task) if task.task_id == id));
        let update = TaskUpdate::new().max_attempts(7);
        let updated = client.update(named("a"), update).await.unwrap();
        assert_eq!(updated.budgets.unwrap().attempts_max, 7, "{end:?}");
        let cancelled = client.cancel_with(named("a"), Cancel::if_waiting()).await;
        assert_eq!(cancelled.unwrap().task.unwrap().task_id, id);
        let delay = Duration::from_secs(3600);
        let redriven = client.redrive(named("dead"), delay, "").await.unwrap();
        assert_eq!((&redriven.task_id, redriven.redrives), (&dead, 1));
        client.redrive(named("dead"), delay, "").await.unwrap_err();
    }
}

#[tokio::test]
async fn a_result_is_waited_for_by_the_key_and_a_dead_letter_is_discarded_by_it() {
    let harness = Harness::start().await;
    async fn fatal(_: TaskContext) -> TaskResult<()> {
        Err(TaskError::new(redrive_worker::FailureClass::Internal, "no"))
    }
    let builder = sdk(&harness).task("k", echo).task("fatal", fatal);
    let wait = async {
        // Waits before there is a worker.
        match harness.client().wait(named("a"), PATIENCE).await.unwrap() {
            Waited::Ended(task) => task,
            Waited::TimedOut(task) => panic!("{task:?}"),
        }
    };
    let (id, _) = enqueue(&harness, keyed("a")).await;
    let (ended, _worker) = tokio::join!(wait, async { SdkWorker::start(builder.build().unwrap()) });
    assert_eq!((ended.state(), &ended.task_id), (TaskState::Succeeded, &id));
    assert_eq!(&*ended.result.unwrap().data, br#""a""#);
    let fatal = NewTask::new("q", "fatal").max_attempts(1);
    let (id, _) = enqueue(&harness, fatal.idempotency_key("f")).await;
    assert_eq!(harness.end_of(&id).await.state(), TaskState::Dead);
    let discarded = harness.client().discard(named("f"), "").await.unwrap();
    assert_eq!(discarded.state(), TaskState::Discarded);
}

#[tokio::test]
async fn of_clients_that_race_with_one_key_exactly_one_creates() {
    let harness = Harness::start().await;
    let other = Client::connect(&harness.address().to_string()).await;
    let clients = [harness.client().clone(), other.unwrap()];
    let race = (0..50).map(|number| clients[number % 2].enqueue(keyed("a")));
    let answers = join_all(race).await.into_iter().map(Result::unwrap);
    let answers: Vec<_> = answers.collect();
    let ids: BTreeSet<&str> = answers.iter().map(|one| one.task_id.as_str()).collect();
    assert_eq!(ids.len(), 1);
    let created = answers
        .iter()
        .filter(|one| one.effect() == EnqueueEffect::Created);
    assert_eq!(created.count(), 1);
}

#[tokio::test]
async fn after_its_window_a_key_makes_a_new_task_and_names_nothing_meanwhile() {
    let harness = Harness::start().await;
    let brief = || keyed("a").idempotency_window(Duration::from_secs(1));
    let (first, _) = enqueue(&harness, brief()).await;
    eventually("the key is forgotten", async || {
        let refused = harness.client().get(named("a")).await.err()?;
        assert_eq!(refused.reason(), Some("TASK_NOT_FOUND"));
        Some(())
    })
    .await;
    let (second, effect) = enqueue(&harness, brief()).await;
    assert_eq!(effect, EnqueueEffect::Created);
    assert_ne!(first, second);
    let task = harness.client().get(named("a")).await.unwrap();
    assert_eq!(task.task_id, second);
}

fn spec(change: impl FnOnce(&mut pb::TaskSpec)) -> pb::TaskSpec {
    let mut spec = pb::TaskSpec {
        idempotency_key: "a".to_owned(),
        ..make::spec("q", "k")
    };
    change(&mut spec);
    spec
}

#[tokio::test]
async fn a_key_or_window_that_cannot_be_is_refused_alone() {
    let harness = Harness::start().await;
    let window = |ms: u64| spec(|it| it.idempotency_window = Some(make::ms(ms)));
    let of = Expected::field;
    let cases = vec![
        (
            spec(|it| it.idempotency_key = "k".repeat(257)),
            of("idempotency_key", &["257", "at most 256"]),
        ),
        (
            spec(|it| it.idempotency_key = "a\0".to_owned()),
            of("idempotency_key", &["use printable"]),
        ),
        (window(999), of("idempotency_window", &["at least 1 s"])),
        (
            window(30 * DAY_MS + 1),
            of("idempotency_window", &["at most 30 days"]),
        ),
        (
            spec(|it| it.idempotency_window = Some(super::NEGATIVE)),
            of("idempotency_window", &["is negative"]),
        ),
        (
            pb::TaskSpec {
                idempotency_window: Some(make::ms(5000)),
                ..make::spec("q", "k")
            },
            of("idempotency_window", &["set both or neither"]),
        ),
    ];
    refused_alone(&harness, cases).await;
    let created = enqueue(&harness, spec(|_| {}).into()).await.1;
    assert_eq!(created, EnqueueEffect::Created, "the key is free");
}

/// Ways to name a task that are refused.
fn bad_names() -> Vec<(String, Option<pb::TaskKey>, Expected)> {
    let key = |queue: &str, key: &str| {
        Some(pb::TaskKey {
            queue: queue.to_owned(),
            idempotency_key: key.to_owned(),
            ..Default::default()
        })
    };
    let some_id = || "0190a0a0-0000-7000-8000-000000000000".to_owned();
    let none = String::new;
    let of = Expected::field;
    let unknown = ["by this idempotency key", "its window is over"];
    vec![
        (none(), None, of("task_id", &["required", "task_key"])),
        (
            some_id(),
            key("q", "a"),
            of("task_key", &["beside task_id", "one of them"]),
        ),
        (none(), key("", "a"), of("task_key.queue", &["required"])),
        (
            none(),
            key("a b", "a"),
            of("task_key.queue", &["use letters"]),
        ),
        (
            none(),
            key("q", ""),
            of("task_key.idempotency_key", &["required"]),
        ),
        (
            none(),
            key("q", &"k".repeat(257)),
            of("task_key.idempotency_key", &["257", "256"]),
        ),
        (
            none(),
            key("q", "nobody's"),
            Expected::reason(Code::NotFound, "TASK_NOT_FOUND", &unknown),
        ),
    ]
}

#[tokio::test]
async fn a_task_that_is_named_badly_is_refused_by_every_call() {
    let harness = Harness::start().await;
    macro_rules! case {
        ($stub:ident, $method:ident, $request:ident { $($field:ident: $value:expr)? }) => {
            let cases = bad_names().into_iter().map(|(task_id, task_key, expected)| {
                let request = pb::$request {
                    task_id,
                    task_key,
                    $($field: $value,)?
                    ..Default::default()
                };
                (request, expected)
            });
            refused!(harness.$stub(), $method, cases);
        };
    }
    let cases = bad_names()
        .into_iter()
        .map(|(task_id, task_key, expected)| (pb::GetTaskRequest { task_id, task_key }, expected));
    refused!(harness.tasks(), get_task, cases);
    case!(tasks, wait_task, WaitTaskRequest {});
    case!(tasks, cancel_task, CancelTaskRequest {});
    case!(
        tasks,
        update_task,
        UpdateTaskRequest {
            max_attempts: Some(1)
        }
    );
    case!(dead_letters, redrive_task, RedriveTaskRequest {});
    case!(dead_letters, discard_task, DiscardTaskRequest {});
    harness.still_serves().await;
}
