//! The producers' side: when tasks start, in which order, many at once, waits and lists.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _};
use redrive_client::{NewTask, Waited};
use redrive_proto::v1::{self as pb, Priority, TaskState, enqueue_ack, enqueue_result};
use redrive_tests::{Harness, make, within};
use redrive_worker::{State, TaskContext, TaskResult};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::{run, worker};

type Order = Arc<Mutex<Vec<String>>>;

async fn note(State(order): State<Order>, task: TaskContext) -> TaskResult<()> {
    let name = task.labels()["name"].clone();
    order.lock().unwrap().push(name);
    Ok(())
}

#[tokio::test]
async fn a_delayed_task_is_scheduled_and_never_starts_early() {
    let harness = Harness::start().await;
    let order = Order::default();
    let _worker = run(worker(&harness).with_state(order).task("k", note).build());
    let new = NewTask::new("q", "k")
        .label("name", "a")
        .delay(Duration::from_millis(250));
    let id = harness.enqueue(new).await;
    let scheduled = harness.task(&id).await;
    assert_eq!(scheduled.state(), TaskState::Scheduled);
    assert_eq!(
        make::ms_between(scheduled.enqueue_time, scheduled.next_attempt_time),
        250
    );
    let ended = harness.end_of(&id).await;
    assert_eq!(ended.state(), TaskState::Succeeded);
    assert!(make::ms_between(ended.enqueue_time, ended.history[0].lease_time) >= 250);
}

#[tokio::test]
async fn the_more_urgent_task_is_delivered_first_and_equals_in_their_order() {
    let harness = Harness::start().await;
    let order = Order::default();
    harness
        .client()
        .pause_queue("q", "to fill it")
        .await
        .unwrap();
    let urgencies = [
        ("low", Priority::Low),
        ("normal-1", Priority::Normal),
        ("highest", Priority::Highest),
        ("lowest", Priority::Lowest),
        ("high", Priority::High),
        ("normal-2", Priority::Unspecified),
    ];
    let mut ids = Vec::new();
    for (name, priority) in urgencies {
        let new = NewTask::new("q", "k")
            .label("name", name)
            .priority(priority);
        ids.push(harness.enqueue(new).await);
    }
    let _worker = run(worker(&harness)
        .with_state(Arc::clone(&order))
        .task("k", note)
        .build());
    harness.client().resume_queue("q").await.unwrap();
    for id in &ids {
        harness.end_of(id).await;
    }
    let order = order.lock().unwrap().clone();
    assert_eq!(
        order,
        ["highest", "high", "normal-1", "normal-2", "low", "lowest"]
    );
}

#[tokio::test]
async fn of_many_tasks_a_bad_one_is_refused_alone() {
    let harness = Harness::start().await;
    let mut tasks = vec![make::spec("q", "k"); 5];
    tasks[2].queue = "no/slash".to_owned();
    let request = pb::EnqueueTasksRequest {
        tasks,
        ..Default::default()
    };
    let answer = harness
        .tasks()
        .enqueue_tasks(request)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(answer.durability, "memory");
    assert_eq!(answer.results.len(), 5);
    for (index, result) in answer.results.into_iter().enumerate() {
        match result.result.unwrap() {
            enqueue_result::Result::TaskId(id) => {
                assert_ne!(index, 2);
                assert_eq!(harness.task(&id).await.state(), TaskState::Ready);
            }
            enqueue_result::Result::Refusal(refusal) => {
                assert_eq!((index, &*refusal.field), (2, "queue"));
            }
        }
    }
    let tasks = ["q", "no/slash", "q"].map(|queue| NewTask::new(queue, "k"));
    let by_client = harness.client().enqueue_many(tasks).await;
    assert!(by_client[0].is_ok() && by_client[1].is_err() && by_client[2].is_ok());
    assert_eq!(
        harness
            .client()
            .queue("q")
            .await
            .unwrap()
            .counts
            .unwrap()
            .ready,
        6
    );
}

/// Items of which every hundredth names no queue.
fn items(sequences: std::ops::Range<u64>) -> Vec<pb::EnqueueItem> {
    let item = |sequence: u64| pb::EnqueueItem {
        sequence,
        task: Some(make::spec(
            if sequence.is_multiple_of(100) {
                ""
            } else {
                "q"
            },
            "k",
        )),
    };
    sequences.map(item).collect()
}

#[tokio::test]
async fn of_5000_streamed_tasks_each_is_acknowledged_once_the_bad_ones_with_their_fault() {
    const TASKS: u64 = 5000;
    const A_MESSAGE: u64 = 250;
    let harness = Harness::start().await;
    let (requests, outgoing) = mpsc::channel(1);
    let mut stub = harness.tasks();
    let send = async {
        for begin in (0..TASKS).step_by(250) {
            let items = items(begin..begin + A_MESSAGE);
            let message = pb::EnqueueStreamRequest {
                items,
                ..Default::default()
            };
            requests.send(message).await.unwrap();
        }
        drop(requests);
    };
    let receive = async {
        let answers = stub
            .enqueue_stream(ReceiverStream::new(outgoing))
            .await
            .unwrap();
        answers.into_inner().try_collect::<Vec<_>>().await.unwrap()
    };
    let ((), answers) = within("all acknowledgements", async {
        tokio::join!(send, receive)
    })
    .await;
    let acks: Vec<pb::EnqueueAck> = answers.into_iter().flat_map(|answer| answer.acks).collect();
    assert_eq!(acks.len(), 5000);
    let mut ids = BTreeMap::new();
    for ack in &acks {
        let before = ids.insert(ack.sequence, ack);
        assert!(before.is_none(), "{} is acknowledged twice", ack.sequence);
        match ack.result.as_ref().unwrap() {
            enqueue_ack::Result::TaskId(_) => assert!(!ack.sequence.is_multiple_of(100)),
            enqueue_ack::Result::Refusal(refusal) => {
                assert!(ack.sequence.is_multiple_of(100));
                assert_eq!(
                    (&*refusal.field, &*refusal.reason),
                    ("queue", "FIELD_INVALID")
                );
            }
        }
    }
    assert_eq!(
        ids.keys().copied().collect::<Vec<_>>(),
        (0..TASKS).collect::<Vec<_>>()
    );
    let counts = harness.client().queue("q").await.unwrap().counts.unwrap();
    assert_eq!((counts.enqueued_total, counts.ready), (4950, 4950));
}

#[tokio::test]
async fn the_clients_stream_answers_every_ticket() {
    let harness = Harness::start().await;
    let stream = harness.client().enqueue_stream();
    let mut tickets = Vec::new();
    for _ in 0..300 {
        tickets.push(stream.send(NewTask::new("q", "k")).await.unwrap());
    }
    let totals = within("the stream's end", stream.finish()).await.unwrap();
    assert_eq!((totals.accepted, totals.refused), (300, 0));
    let mut ids = Vec::new();
    for ticket in tickets {
        ids.push(ticket.await.unwrap());
    }
    let selection = harness.client().select("q", "");
    let listed: Vec<pb::Task> = harness
        .client()
        .list(selection)
        .try_collect()
        .await
        .unwrap();
    ids.sort();
    assert_eq!(
        listed
            .into_iter()
            .map(|task| task.task_id)
            .collect::<Vec<_>>(),
        ids
    );
}

#[tokio::test]
async fn a_list_of_many_pages_shows_every_task_once_and_only_what_the_filter_selects() {
    let harness = Harness::start().await;
    for index in 0..25 {
        let kind = if index % 5 == 0 { "rare" } else { "usual" };
        let queue = format!("q{}", index % 3);
        harness
            .enqueue(NewTask::new(queue, kind).label("n", index.to_string()))
            .await;
    }
    let mut found = Vec::new();
    let mut token = String::new();
    loop {
        let selection = harness
            .client()
            .select("", "kind = \"usual\" AND state = READY");
        let page = harness
            .client()
            .list_page(selection, 3, &token)
            .await
            .unwrap();
        assert!(page.tasks.len() <= 3);
        for task in page.tasks {
            let spec = task.spec.unwrap();
            assert_eq!((&*spec.kind, spec.payload), ("usual", None));
            found.push(spec.labels["n"].parse::<u32>().unwrap());
        }
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    found.sort_unstable();
    assert_eq!(found, (0..25).filter(|n| n % 5 != 0).collect::<Vec<u32>>());
}

#[tokio::test]
async fn a_wait_ends_with_the_time_or_with_the_task_whichever_is_first() {
    let harness = Harness::start().await;
    let id = harness.enqueue(NewTask::new("q", "k")).await;
    let request = pb::WaitTaskRequest {
        task_id: id.clone(),
        timeout: Some(make::ms(1)),
        ..Default::default()
    };
    let answer = harness
        .tasks()
        .wait_task(request)
        .await
        .unwrap()
        .into_inner();
    assert!(!answer.ended);
    assert_eq!(answer.task.unwrap().state(), TaskState::Ready);
    let client = harness.client();
    let waited = client.wait(&id, Duration::from_secs(20));
    let (waited, cancelled) = tokio::join!(waited, client.cancel(&id, "not needed"));
    assert_eq!(cancelled.unwrap().state(), TaskState::Cancelled);
    let Waited::Ended(task) = waited.unwrap() else {
        panic!("timed out")
    };
    assert_eq!(task.state(), TaskState::Cancelled);
}

#[tokio::test]
async fn namespaces_do_not_see_each_other() {
    let harness = Harness::start().await;
    let other = harness.client().clone().with_namespace("other").unwrap();
    harness.enqueue(NewTask::new("q", "k")).await;
    let selection = other.select("", "");
    assert_eq!(other.list(selection).count().await, 0);
    assert_eq!(other.queues().count().await, 0);
    other.enqueue(NewTask::new("q", "k")).await.unwrap();
    let mine = harness.client().queue("q").await.unwrap();
    assert_eq!(
        (&*mine.namespace, mine.counts.unwrap().ready),
        ("default", 1)
    );
}
