//! Claims about a run while it goes on: what its handler says, asks for, and is told.

use std::time::Duration;

use redrive_proto::v1::{
    Cancel, CancelBatch, CancelReason, Delivery, Heartbeat, HeartbeatAck, HeartbeatAckBatch,
    Refusal,
};
use redrive_worker::ExtendError;

use super::*;

fn wire(ms: u64) -> prost_types::Duration {
    Duration::from_millis(ms).try_into().unwrap()
}

/// A worker of one handler, and a delivery to it.
async fn begun(
    build: impl FnOnce(WorkerBuilder<()>) -> WorkerBuilder<()>,
    change: impl FnOnce(&mut Delivery),
) -> (Fake, Running, Peer) {
    let mut fake = Fake::start().await;
    let running = Running::start(build(builder(&fake)).build().unwrap());
    let peer = fake.welcome().await;
    let mut delivery = delivery(1, "t1", "k", "");
    change(&mut delivery);
    peer.deliver(vec![delivery]).await;
    (fake, running, peer)
}

async fn heartbeat(peer: &mut Peer) -> Heartbeat {
    peer.find(|message| {
        let work_request::Message::Heartbeats(batch) = message else {
            return None;
        };
        batch.heartbeats.first().cloned()
    })
    .await
}

async fn answer(peer: &Peer, ack: HeartbeatAck) {
    let ack = HeartbeatAck {
        lease_token: "t1".into(),
        ..ack
    };
    peer.send(work_response::Message::HeartbeatAcks(HeartbeatAckBatch {
        acks: vec![ack],
    }))
    .await;
}

async fn finish(running: Running, mut peer: Peer) -> Report {
    let report = peer.reports().await.remove(0);
    peer.ack(&report).await;
    running.stop(peer).await;
    report
}

#[tokio::test]
async fn progress_and_checkpoints_are_sent_while_the_handler_runs() {
    async fn handler(task: TaskContext) -> TaskResult<()> {
        task.save_checkpoint_json(&7)?;
        task.progress(7, 9, "page 7");
        task.stopped().await;
        task.check()
    }
    let (_fake, running, mut peer) = begun(|worker| worker.task("k", handler), |_| ()).await;
    // Said together or one after the other, as the threads have it.
    let (mut progress, mut checkpoint) = (None, None);
    while progress.is_none() || checkpoint.is_none() {
        let beat = heartbeat(&mut peer).await;
        progress = progress.or(beat.progress);
        checkpoint = checkpoint.or(beat.checkpoint);
    }
    let progress = progress.unwrap();
    assert_eq!(
        (progress.done, progress.total, progress.message.as_str()),
        (7, 9, "page 7")
    );
    assert_eq!(checkpoint.unwrap().data, "7");

    peer.send(cancel(CancelReason::Requested, None)).await;
    let report = finish(running, peer).await;
    assert_eq!(
        report.checkpoint.unwrap().data,
        "7",
        "the report has it, too: the stream may have lost the heartbeat"
    );
}

#[tokio::test]
async fn an_extension_moves_the_handlers_clock_and_takes_back_the_soft_limit() {
    async fn handler(task: TaskContext) -> TaskResult<Raw> {
        assert_eq!(task.stopped().await, StopReason::SoftTimeout);
        let hour = Duration::from_secs(3_600);
        let limits = task.extend(Some(hour), Some(2 * hour)).await?;
        assert_eq!((limits.soft, limits.hard), (Some(hour), Some(2 * hour)));
        assert!(task.time_left().unwrap() > hour);
        assert_eq!(task.stop_reason(), None);
        Ok(Raw("extended".into()))
    }
    let limited = |delivery: &mut Delivery| {
        delivery.soft_timeout = Some(wire(1));
        delivery.hard_timeout = Some(wire(60_000));
    };
    let (_fake, running, mut peer) = begun(|worker| worker.task("k", handler), limited).await;
    let timeouts = heartbeat(&mut peer).await.timeouts;
    assert_eq!(timeouts.unwrap().hard, Some(wire(7_200_000)));
    let ack = HeartbeatAck {
        held: true,
        timeouts,
        ..HeartbeatAck::default()
    };
    answer(&peer, ack).await;
    assert_eq!(result_of(&finish(running, peer).await), b"extended");
}

#[tokio::test]
async fn a_refused_extension_is_an_error_that_says_why_for_blocking_handlers_too() {
    fn handler(task: TaskContext) -> TaskResult<Raw> {
        let asked = task.extend_blocking(None, Some(Duration::from_secs(60)));
        let Err(ExtendError::Refused { reason, .. }) = asked else {
            return Err(TaskError::new(FailureClass::Internal, "not refused"));
        };
        Ok(Raw(reason.into()))
    }
    let (_fake, running, mut peer) =
        begun(|worker| worker.blocking_task("k", handler), |_| ()).await;
    heartbeat(&mut peer).await;
    let refusal = Refusal {
        reason: "OUT_OF_RANGE".to_owned(),
        ..Refusal::default()
    };
    let ack = HeartbeatAck {
        held: true,
        refusal: Some(refusal),
        ..HeartbeatAck::default()
    };
    answer(&peer, ack).await;
    assert_eq!(result_of(&finish(running, peer).await), b"OUT_OF_RANGE");
}

#[tokio::test]
async fn an_extension_waits_over_a_reconnect_for_its_answer() {
    async fn handler(task: TaskContext) -> TaskResult<Raw> {
        let limits = task.extend(None, Some(Duration::from_secs(60))).await?;
        Ok(Raw(format!("{:?}", limits.hard).into()))
    }
    let (mut fake, running, mut peer) = begun(|worker| worker.task("k", handler), |_| ()).await;
    heartbeat(&mut peer).await;
    peer.refuse(Status::unavailable("restarting")).await;

    let (mut peer, _) = fake.accept().await;
    peer.welcome("s1", true).await;
    let timeouts = heartbeat(&mut peer).await.timeouts;
    assert_eq!(timeouts.unwrap().hard, Some(wire(60_000)));
    let ack = HeartbeatAck {
        held: true,
        timeouts,
        ..HeartbeatAck::default()
    };
    answer(&peer, ack).await;
    assert_eq!(result_of(&finish(running, peer).await), b"Some(60s)");
}

#[tokio::test]
async fn a_handler_that_asks_with_a_lease_that_is_gone_is_stopped() {
    fn handler(State(gate): State<Arc<Notify>>, task: TaskContext) -> TaskResult<()> {
        let asked = task.extend_blocking(None, None);
        if asked == Err(ExtendError::Ended) && task.stop_reason() == Some(StopReason::LeaseLost) {
            gate.notify_one();
        }
        asked?;
        Ok(())
    }
    let gate = Arc::new(Notify::new());
    let build = |worker: WorkerBuilder<()>| {
        worker
            .with_state(Arc::clone(&gate))
            .blocking_task("k", handler)
            .with_state(())
    };
    let (_fake, running, mut peer) = begun(build, |_| ()).await;
    heartbeat(&mut peer).await;
    answer(&peer, HeartbeatAck::default()).await;
    gate.notified().await;
    let report = running.stop(peer).await;
    assert_eq!((report.lost, report.finished), (1, 0));
}

fn cancel(reason: CancelReason, grace: Option<prost_types::Duration>) -> work_response::Message {
    let cancel = Cancel {
        lease_token: "t1".into(),
        reason: reason.into(),
        grace,
        detail: "the order was withdrawn".to_owned(),
    };
    work_response::Message::Cancels(CancelBatch {
        cancels: vec![cancel],
    })
}

#[tokio::test]
async fn a_cancelled_handler_learns_how_long_it_may_take_and_why() {
    async fn handler(task: TaskContext) -> TaskResult<Raw> {
        let Some(order) = task.cancelled().await else {
            return Err(TaskError::new(FailureClass::Internal, "not cancelled"));
        };
        assert_eq!(task.stop_reason(), Some(StopReason::Requested));
        let grace = order.grace.unwrap();
        assert!(grace > Duration::from_secs(3_000) && grace <= Duration::from_secs(3_600));
        Ok(Raw(order.detail.as_bytes().to_vec().into()))
    }
    let (_fake, running, mut peer) = begun(|worker| worker.task("k", handler), |_| ()).await;
    peer.receipt().await;
    peer.send(cancel(CancelReason::Requested, Some(wire(3_600_000))))
        .await;
    let report = finish(running, peer).await;
    assert_eq!(result_of(&report), b"the order was withdrawn");
}

#[tokio::test]
async fn facts_of_the_task_reach_the_handler() {
    async fn handler(task: TaskContext) -> TaskResult<Raw> {
        let key = task.idempotency_key().unwrap_or("none");
        let cause = task.cause().map_or("none", |cause| &cause.task_id);
        for left in [task.time_left(), task.time_until_deadline()] {
            assert!(left.unwrap() <= Duration::from_secs(60), "{left:?}");
        }
        let mode = task.delivery_mode().as_str_name();
        Ok(Raw(format!("{key} {cause} {mode}").into()))
    }
    let change = |delivery: &mut Delivery| {
        delivery.hard_timeout = Some(wire(3_600_000));
        delivery.deadline = Some(wire(60_000));
        delivery.idempotency_key = "order-7".to_owned();
        delivery.set_delivery(redrive_worker::DeliveryMode::AtMostOnce);
        delivery.cause = Some(Box::new(redrive_worker::Cause {
            task_id: "t0".to_owned(),
            ..Default::default()
        }));
    };
    let (_fake, running, peer) = begun(|worker| worker.task("k", handler), change).await;
    assert_eq!(
        result_of(&finish(running, peer).await),
        b"order-7 t0 DELIVERY_MODE_AT_MOST_ONCE"
    );
}
