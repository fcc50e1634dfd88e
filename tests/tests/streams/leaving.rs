//! Workers that leave, are asked to leave, or are sent away by a coordinator that goes down.

use std::time::Duration;

use redrive_client::NewTask;
use redrive_proto::v1::work_response;
use redrive_proto::v1::{self as pb, RunOutcome, TaskState, WorkerState, work_request::Message};
use redrive_tests::{Harness, Proxy, RawWorker, eventually, make, within};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use super::{enqueue, raw};

#[tokio::test]
async fn an_operator_drains_a_worker_which_gets_no_more_and_finishes_what_it_holds() {
    let harness = Harness::start().await;
    let mut worker = raw(&harness, "leaver", 2).await;
    let held = enqueue(&harness).await;
    let delivery = worker.next_delivery().await;
    let client = harness.client();
    let deadline = Some(Duration::from_secs(7));
    let found = client
        .drain_workers(&["leaver", "nobody"], "a new version", deadline)
        .await;
    assert_eq!(found.unwrap(), ["leaver"]);
    let drain = worker.next("a drain", |message| match message {
        work_response::Message::Drain(drain) => Some(drain.clone()),
        _ => None,
    });
    let drain = drain.await;
    assert_eq!(
        (&*drain.reason, drain.deadline),
        ("a new version", Some(make::ms(7000)))
    );
    let workers = client.workers("q").await.unwrap();
    assert_eq!(
        (workers[0].state(), workers[0].held),
        (WorkerState::Draining, 1)
    );

    let waiting = enqueue(&harness).await;
    worker.round_trip().await;
    assert!(
        worker.deliveries.is_empty(),
        "it has room, and gets nothing"
    );
    worker.complete(&delivery).await;
    worker.say(Message::Goodbye(pb::Goodbye::default())).await;
    worker.ended().await.unwrap();
    assert_eq!(harness.end_of(&held).await.state(), TaskState::Succeeded);
    assert_eq!(harness.task(&waiting).await.state(), TaskState::Ready);
    assert!(client.workers("q").await.unwrap().is_empty());
}

#[tokio::test]
async fn a_goodbye_gives_back_what_is_held_without_blame() {
    let harness = Harness::start().await;
    let mut worker = raw(&harness, "w", 2).await;
    let (begun, unbegun) = (enqueue(&harness).await, enqueue(&harness).await);
    worker.next_delivery().await;
    worker.next_unstarted().await;
    let reason = "the machine goes down".to_owned();
    worker.say(Message::Goodbye(pb::Goodbye { reason })).await;
    worker.ended().await.unwrap();
    let mut other = raw(&harness, "other", 2).await;
    for _ in 0..2 {
        let delivery = other.next_delivery().await;
        assert_eq!(
            (delivery.run, delivery.attempt, delivery.crashes),
            (2, 1, 0)
        );
        other.complete(&delivery).await;
    }
    for id in [begun, unbegun] {
        let ended = harness.end_of(&id).await;
        assert_eq!(ended.history[0].outcome(), RunOutcome::Released);
        assert_eq!(ended.budgets.unwrap().deferrals, 1);
    }
}

#[tokio::test]
async fn after_a_goodbye_the_last_reports_are_still_answered() {
    let harness = Harness::start().await;
    let mut worker = raw(&harness, "w", 1).await;
    let id = enqueue(&harness).await;
    let delivery = worker.next_delivery().await;
    let reports = vec![make::complete(&delivery)];
    worker
        .say(Message::Reports(pb::ReportBatch { reports }))
        .await;
    worker.say(Message::Goodbye(pb::Goodbye::default())).await;
    let ack = worker.report(Vec::new()).await;
    assert!(ack.is_empty());
    worker.ended().await.unwrap();
    assert_eq!(harness.end_of(&id).await.state(), TaskState::Succeeded);
}

/// Reads that the coordinator sends the worker away, and ends the stream.
async fn sent_away(worker: &mut RawWorker) {
    let reconnect = worker.next("a Reconnect", |message| match message {
        work_response::Message::Reconnect(reconnect) => Some(reconnect.clone()),
        _ => None,
    });
    let reason = reconnect.await.reason;
    assert!(reason.contains("shutting down"), "{reason}");
    worker.ended().await.unwrap();
}

#[tokio::test]
async fn a_graceful_stop_with_everything_open_keeps_its_deadline_and_sends_workers_away() {
    let harness = Harness::start().await;
    let mut busy = raw(&harness, "busy", 1).await;
    let mut idle = raw(&harness, "idle", 0).await;
    let id = enqueue(&harness).await;
    busy.next_delivery().await;
    busy.round_trip().await;
    let waited = id.clone();
    let (client, mut tasks, mut workers) =
        (harness.client().clone(), harness.tasks(), harness.workers());
    let mut events = client.watch("", "").await.unwrap();
    let (items, outgoing) = mpsc::channel(1);
    let mut acks = tasks
        .clone()
        .enqueue_stream(ReceiverStream::new(outgoing))
        .await
        .unwrap();

    let wait = pb::WaitTaskRequest {
        task_id: waited,
        timeout: Some(make::ms(60_000)),
        ..Default::default()
    };
    let poll = pb::LeaseTasksRequest {
        worker: Some(make::worker_info("poller", "empty")),
        wait: Some(make::ms(60_000)),
        ..Default::default()
    };
    let sent_away = async {
        sent_away(&mut busy).await;
        sent_away(&mut idle).await;
    };
    let told = async {
        let end = within("the watch's end", futures::StreamExt::next(&mut events)).await;
        let end = end.expect("it says why").unwrap_err();
        assert_eq!(
            (end.code(), end.reason()),
            (Code::Unavailable, Some("SHUTTING_DOWN"))
        );
        let end = within("the enqueue stream's end", acks.get_mut().message()).await;
        assert_eq!(end.unwrap_err().code(), Code::Unavailable);
    };
    let calls = async {
        let (wait, poll) = tokio::join!(tasks.wait_task(wait), workers.lease_tasks(poll));
        assert!(
            !wait.unwrap().into_inner().ended,
            "the wait is answered early"
        );
        assert!(poll.unwrap().into_inner().deliveries.is_empty());
    };
    let mut calls = Box::pin(calls);
    // The same connection carries all: what is answered after the calls shows that they arrived.
    let arrived = async {
        for _ in 0..3 {
            client.server_info().await.unwrap();
        }
    };
    tokio::select! {
        () = &mut calls => panic!("nothing ends these calls yet"),
        () = arrived => {}
    }
    let (stopped, (), (), ()) = tokio::join!(harness.stop(), sent_away, told, calls);
    stopped.unwrap();
    drop(items);
}

#[tokio::test]
async fn a_client_that_does_not_let_go_cannot_hold_up_the_stop() {
    let harness = Harness::with(|config| {
        config.shutdown_deadline = Duration::from_millis(500);
    })
    .await;
    let proxy = Proxy::start(harness.address()).await;
    let hello = make::hello("stubborn", "q", 1);
    let mut worker = RawWorker::hello(proxy.address(), hello).await;
    worker.round_trip().await;
    // Nothing arrives there any more, so its side never agrees to any end.
    proxy.hold_answers();
    harness.stop().await.unwrap();
    drop(worker);
}

#[tokio::test]
async fn a_coordinator_that_is_dropped_is_noticed_by_its_workers() {
    let harness = Harness::start().await;
    let mut worker = raw(&harness, "w", 1).await;
    worker.round_trip().await;
    drop(harness);
    let end = worker.ended().await.unwrap_err();
    assert!(
        matches!(
            end.code(),
            Code::Unavailable | Code::Unknown | Code::Cancelled
        ),
        "{end:?}"
    );
}

#[tokio::test]
async fn a_worker_is_listed_with_what_it_holds_and_how_it_is() {
    let harness = Harness::start().await;
    let mut hello = make::hello("w", "q", 3);
    let info = hello.worker.as_mut().unwrap();
    (info.version, info.host) = ("1.2.3".to_owned(), "host-7".to_owned());
    info.kinds = vec!["k".to_owned()];
    let mut worker = RawWorker::hello(harness.address(), hello).await;
    harness.enqueue(NewTask::new("q", "k")).await;
    worker.next_delivery().await;
    worker.round_trip().await;
    let workers = harness.client().workers("").await.unwrap();
    let [listed] = &workers[..] else {
        panic!("{workers:?}")
    };
    let info = listed.info.as_ref().unwrap();
    assert_eq!(
        (&*info.worker_id, &*info.version, &*info.host),
        ("w", "1.2.3", "host-7")
    );
    assert_eq!(
        (listed.state(), listed.held, listed.tasks_max),
        (WorkerState::Live, 1, 3)
    );
    assert_eq!(listed.session_id, worker.welcome.session_id);
    assert!(
        harness
            .client()
            .workers("elsewhere")
            .await
            .unwrap()
            .is_empty()
    );
    let draining = pb::Capacity {
        tasks_max: 3,
        bytes_max: 0,
        draining: true,
    };
    worker.say(Message::Capacity(draining)).await;
    eventually("the worker says that it leaves", async || {
        let workers = harness.client().workers("").await.unwrap();
        (workers[0].state() == WorkerState::Draining).then_some(())
    })
    .await;
}
