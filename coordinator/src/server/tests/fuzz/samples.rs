//! Scripts of calls from which the corpus of requests began: lives of tasks, keys, kinds, workers
//! with and without a stream, and those who keep order.

use bytes::Bytes;
use prost::Message;
use prost_types::{Duration, FieldMask};
use redrive_proto::v1 as pb;

use super::calls::{HANG_UP, SAY, WAIT};

/// A script that grows call by call.
#[derive(Default)]
struct Script(Vec<u8>);

impl Script {
    fn bytes(mut self, number: u8, request: &[u8]) -> Self {
        let len = u16::try_from(request.len()).unwrap().to_le_bytes();
        self.0.extend([number, len[0], len[1]]);
        self.0.extend_from_slice(request);
        self
    }

    fn call(self, number: u8, request: &impl Message) -> Self {
        self.bytes(number, &request.encode_to_vec())
    }

    fn enqueue(self, task: pb::TaskSpec) -> Self {
        let request = pb::EnqueueTaskRequest {
            task: Some(task),
            request_id: "r-1".into(),
            ..Default::default()
        };
        self.call(0, &request)
    }

    fn say(self, message: pb::work_request::Message) -> Self {
        let message = Some(message);
        self.call(SAY, &pb::WorkRequest { message })
    }

    fn wait_ms(self, ms: u32) -> Self {
        self.bytes(WAIT, &ms.to_le_bytes())
    }

    /// A worker of the queue that takes four tasks.
    fn hello(self, session: &str) -> Self {
        self.say(pb::work_request::Message::Hello(pb::Hello {
            worker: Some(worker()),
            session_id: session.into(),
            capacity: Some(pb::Capacity {
                tasks_max: 4,
                ..Default::default()
            }),
            ..Default::default()
        }))
    }

    fn report(self, outcome: pb::report::Outcome) -> Self {
        let reports = vec![report(outcome)];
        self.say(pb::work_request::Message::Reports(pb::ReportBatch {
            reports,
        }))
    }
}

#[expect(clippy::unnecessary_wraps, reason = "as messages have it")]
const fn secs(seconds: i64) -> Option<Duration> {
    Some(Duration { seconds, nanos: 0 })
}

const TOKEN: Bytes = Bytes::from_static(&[0]);

fn worker() -> pb::WorkerInfo {
    pb::WorkerInfo {
        worker_id: "w".into(),
        queues: vec![pb::QueueSubscription {
            queue: "mail".into(),
            weight: 1,
        }],
        ..Default::default()
    }
}

fn report(outcome: pb::report::Outcome) -> pb::Report {
    pb::Report {
        lease_token: TOKEN,
        outcome: Some(outcome),
        checkpoint: None,
    }
}

#[expect(clippy::unnecessary_wraps, reason = "as messages have it")]
fn failure() -> Option<pb::Failure> {
    Some(pb::Failure {
        failure_class: pb::FailureClass::Network.into(),
        r#type: "OSError".into(),
        message: "refused".into(),
        ..Default::default()
    })
}

fn plain() -> pb::TaskSpec {
    pb::TaskSpec {
        queue: "mail".into(),
        kind: "send".into(),
        ..Default::default()
    }
}

fn rich() -> pb::TaskSpec {
    let template = |kind: &str| pb::TaskTemplate {
        queue: "mail".into(),
        kind: kind.into(),
        ..Default::default()
    };
    pb::TaskSpec {
        payload: Some(pb::Payload {
            data: Bytes::from_static(b"{}"),
            ..Default::default()
        }),
        labels: [("a".to_owned(), "b".to_owned())].into(),
        max_attempts: Some(2),
        idempotency_key: "k".into(),
        unique: Some(Box::new(pb::UniqueKey {
            key: "u".into(),
            on_conflict: pb::ConflictAction::ReplaceWaiting.into(),
            ..Default::default()
        })),
        terms: Some(Box::new(pb::Terms {
            ttl: secs(60),
            deadline: secs(3600),
            follow_ups: Some(Box::new(pb::FollowUps {
                on_success: Some(template("after")),
                on_exhausted: Some(template("sorry")),
                ..Default::default()
            })),
            ..Default::default()
        })),
        then: vec![template("next")],
        ..plain()
    }
}

#[expect(clippy::unnecessary_wraps, reason = "as messages have it")]
fn selection() -> Option<pb::Selection> {
    Some(pb::Selection {
        queue: "mail".into(),
        filter: "attempts >= 0 AND enqueue_time > -1h".into(),
        ..Default::default()
    })
}

fn of_streams() -> Vec<Script> {
    use pb::report::Outcome as O;
    use pb::work_request::Message as M;
    let base = || Script::default().enqueue(rich()).enqueue(plain()).hello("");
    let receipt = M::Receipt(pb::Receipt {
        received_through: 1,
        buffered: vec![2],
    });
    let beat = pb::Heartbeat {
        lease_token: TOKEN,
        timeouts: Some(pb::Timeouts::default()),
        ..Default::default()
    };
    let heartbeats = vec![beat];
    let complete = || O::Complete(pb::Complete::default());
    let fail = |not_retryable| {
        O::Fail(pb::Fail {
            failure: failure(),
            not_retryable,
            retry_after: None,
        })
    };
    let retry = O::Retry(pb::Retry {
        failure: failure(),
        max_attempts: Some(9),
        ..Default::default()
    });
    vec![
        base()
            .say(receipt.clone())
            .report(complete())
            .report(complete()),
        base()
            .report(fail(true))
            .report(fail(false))
            .wait_ms(90_000),
        base()
            .say(receipt)
            .report(retry)
            .report(O::Defer(pb::Defer::default())),
        base()
            .report(O::Release(pb::Release::default()))
            .report(O::Discard(pb::Discard::default())),
        base()
            .say(M::Heartbeats(pb::HeartbeatBatch { heartbeats }))
            .wait_ms(40_000),
        base()
            .bytes(HANG_UP, &[])
            .hello("@")
            .say(M::Pong(pb::Pong { nonce: 1 })),
        base().bytes(HANG_UP, &[]).wait_ms(40_000).hello("@"),
        base().say(M::Goodbye(pb::Goodbye::default())).wait_ms(10),
    ]
}

fn base() -> Script {
    Script::default().enqueue(rich()).enqueue(plain())
}

fn lease() -> pb::LeaseTasksRequest {
    pb::LeaseTasksRequest {
        worker: Some(worker()),
        tasks_max: 2,
        ..Default::default()
    }
}

fn list() -> pb::ListTasksRequest {
    pb::ListTasksRequest {
        selection: selection(),
        page_size: 1,
        ..Default::default()
    }
}

fn get() -> pb::GetTaskRequest {
    pb::GetTaskRequest {
        task_id: "#0".into(),
        ..Default::default()
    }
}

fn of_calls() -> Vec<Script> {
    let extend = pb::ExtendLeasesRequest {
        lease_tokens: vec![TOKEN],
        ..Default::default()
    };
    let update = pb::UpdateTaskRequest {
        task_id: "#0".into(),
        max_attempts: Some(3),
        priority: pb::Priority::High.into(),
        ..Default::default()
    };
    let cancel = pb::CancelTaskRequest {
        task_id: "#0".into(),
        grace: secs(5),
        ..Default::default()
    };
    let wait = pb::WaitTaskRequest {
        task_id: "#1".into(),
        timeout: secs(9),
        ..Default::default()
    };
    let cancel_all = pb::CancelTasksRequest {
        selection: selection(),
        mode: pb::CancelMode::Cooperative.into(),
        ..Default::default()
    };
    let workers = pb::ListWorkersRequest::default();
    vec![
        base()
            .call(3, &get())
            .call(8, &update)
            .call(6, &cancel)
            .call(5, &wait),
        base()
            .call(9, &lease())
            .call(11, &extend)
            .call(6, &cancel)
            .wait_ms(90_000),
        base()
            .call(4, &list())
            .call(7, &cancel_all)
            .call(12, &workers),
    ]
}

fn of_the_dead() -> Vec<Script> {
    let reports = vec![report(pb::report::Outcome::Fail(pb::Fail {
        failure: failure(),
        not_retryable: true,
        retry_after: None,
    }))];
    let reported = pb::ReportTasksRequest { reports };
    let dead = || {
        base()
            .call(9, &lease())
            .call(10, &reported)
            .call(10, &reported)
    };
    let redrive = pb::RedriveTaskRequest {
        task_id: "#0".into(),
        delay: secs(3),
        ..Default::default()
    };
    let redrive_all = pb::RedriveDeadLettersRequest {
        selection: selection(),
        spread: secs(60),
        ..Default::default()
    };
    let discard_all = pb::DiscardDeadLettersRequest {
        selection: selection(),
        expected_count: Some(2),
        ..Default::default()
    };
    let discard = pb::DiscardTaskRequest {
        task_id: "#0".into(),
        ..Default::default()
    };
    vec![
        dead()
            .call(24, &get())
            .call(25, &redrive)
            .wait_ms(5000)
            .call(9, &lease()),
        dead().call(27, &redrive_all).call(26, &discard),
        dead().call(23, &list()).call(28, &discard_all),
    ]
}

fn queue() -> String {
    "mail".to_owned()
}

fn update_queue() -> pb::UpdateQueueRequest {
    let settings = pb::QueueSettings {
        dead_letter_queue: "dead".into(),
        terms: Some(pb::Terms {
            result_ttl: secs(60),
            ..Default::default()
        }),
        aging: secs(9),
        finished_max: Some(1),
        ..Default::default()
    };
    let paths = [
        "dead_letter_queue",
        "terms.result_ttl",
        "aging",
        "finished_max",
    ];
    pb::UpdateQueueRequest {
        queue: queue(),
        settings: Some(settings),
        update_mask: Some(FieldMask {
            paths: paths.map(str::to_owned).to_vec(),
        }),
        ..Default::default()
    }
}

fn of_settings() -> Vec<Script> {
    let set_kind = pb::SetKindRequest {
        kind: "send".into(),
        settings: Some(pb::KindSettings {
            queue: queue(),
            max_attempts: Some(1),
            ..Default::default()
        }),
        ..Default::default()
    };
    let pause = pb::PauseQueueRequest {
        queue: queue(),
        reason: "why not".into(),
        ..Default::default()
    };
    let named = pb::GetQueueRequest {
        queue: queue(),
        ..Default::default()
    };
    let kind = pb::GetKindRequest {
        kind: "send".into(),
        ..Default::default()
    };
    let many = pb::EnqueueTasksRequest {
        tasks: vec![plain(), rich(), rich()],
        ..Default::default()
    };
    let item = |sequence| pb::EnqueueItem {
        sequence,
        task: Some(plain()),
    };
    let stream = pb::EnqueueStreamRequest {
        items: vec![item(1), item(2)],
        producer_id: "p".into(),
        ..Default::default()
    };
    let first = Script::default().call(16, &update_queue()).call(1, &many);
    let kinds = Script::default().call(19, &set_kind).call(20, &kind);
    let many = Script::default().call(1, &many);
    vec![
        first.call(17, &pause).call(14, &named).hello(""),
        kinds.call(2, &stream).call(21, &kind).call(22, &kind),
        many.call(17, &pause)
            .call(18, &named)
            .call(15, &named)
            .hello(""),
    ]
}

/// All scripts.
pub(super) fn seeds() -> Vec<Vec<u8>> {
    let scripts = [of_streams(), of_calls(), of_the_dead(), of_settings()];
    scripts
        .into_iter()
        .flatten()
        .map(|script| script.0)
        .collect()
}
