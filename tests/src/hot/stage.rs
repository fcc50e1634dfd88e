//! An engine alone, with a worker and producers that do what is needed and no more.
//!
//! Owns the clock and what was recorded. Never checks what the engine does beyond that a task gets
//! where it should: rules are tested elsewhere.

use std::sync::Arc;

use bytes::Bytes;
use redrive_coordinator::engine::command::{
    Call, Caller, Capacity, Command, Enqueue, FromWorker, Hello, NewTask, Once, Report,
    ReportContent, ReportOutcome, Start, WorkerInfo,
};
use redrive_coordinator::engine::effect::{Effect, ToWorker};
use redrive_coordinator::engine::event::Recorded;
use redrive_coordinator::engine::failure::{Failure, FailureClass};
use redrive_coordinator::engine::ids::{
    LeaseToken, LinkId, QueueName, RequestId, TaskId, Timestamp,
};
use redrive_coordinator::engine::ledger::task::{Payload, State};
use redrive_coordinator::engine::retry::Policy;
use redrive_coordinator::engine::retry::policy::{Backoff, Jitter, Shape};
use redrive_coordinator::engine::{Engine, EngineConfig, Turn};

use super::BATCH;

/// When it all begins.
const START: Timestamp = Timestamp(1_800_000_000_000);
/// The worker's stream.
const LINK: LinkId = LinkId(1);
/// What a failure waits.
pub(super) const RETRY_MS: u64 = 1_000;
/// Bytes of a payload.
const PAYLOAD: [u8; 100] = [7; 100];

/// See the module.
pub(super) struct Stage {
    engine: Engine,
    now: Timestamp,
    /// One for all, as the edge has it.
    namespace: Arc<str>,
    queue: QueueName,
    kind: Arc<str>,
    requests: u64,
    received: u64,
    /// Delivered and not reported.
    held: Vec<LeaseToken>,
    pub(super) records: Vec<Recorded>,
}

impl Stage {
    /// An engine that knows nothing, to be told by a replay.
    pub(super) fn empty() -> Self {
        let fixed = Policy {
            backoff: Backoff {
                jitter: Jitter::None,
                ..Backoff::of(Shape::Fixed { delay_ms: RETRY_MS })
            },
            ..Policy::default()
        };
        let mut engine = Engine::new(EngineConfig {
            shard_count: 4,
            seed: 7,
            default_policy: Arc::new(fixed),
            ping_ms: 3_600_000,
            grace_ms: 7_200_000,
            hard_margin_ms: 10_000,
            memory_bytes_max: 1 << 32,
            finished_retention_ms: 3_600_000,
            finished_per_queue_max: 1_000,
            aging_ms: 600_000,
        });
        engine.begin_replay(1);
        Self {
            engine,
            now: START,
            queue: QueueName::new("default", "mail").expect("a good name"),
            namespace: "default".into(),
            kind: "send".into(),
            requests: 0,
            received: 0,
            held: Vec::new(),
            records: Vec::new(),
        }
    }

    /// An engine at work, with nobody connected.
    pub(super) fn set() -> Self {
        let mut stage = Self::empty();
        stage.engine.end_replay().expect("nothing was replayed");
        let mut turn = Turn::default();
        stage.engine.begin_epoch(stage.now, 1, &mut turn);
        stage.records.append(&mut turn.events);
        stage
    }

    pub(super) fn replay(&mut self, record: &Recorded) {
        self.engine.replay(record).expect("recorded by an engine");
    }

    /// One task by a call of its own, named by a request id.
    pub(super) fn enqueue_one(&mut self, number: usize) {
        let once = Once {
            namespace: Arc::clone(&self.namespace),
            id: format!("request-{number:08}").into(),
            ttl_ms: 600_000,
            digest: number as u64,
        };
        let tasks = vec![self.task(0)];
        self.call(Some(Box::new(once)), tasks);
    }

    /// So many tasks, a hundred a call, due in so many milliseconds.
    pub(super) fn enqueue_all(&mut self, count: usize, delay_ms: u64) {
        for _ in 0..count.div_ceil(BATCH) {
            let tasks = (0..BATCH).map(|_| self.task(delay_ms)).collect();
            self.call(None, tasks);
        }
    }

    /// Time passes, and timers with it.
    pub(super) fn pass(&mut self, ms: u64) {
        self.now = self.now.plus_ms(ms);
        self.step(Command::Tick);
    }

    /// A worker takes so many tasks, a hundred at a time, and reports them.
    pub(super) fn work(&mut self, count: usize, fails: bool) {
        self.begin();
        let mut done = 0;
        while done < count {
            let mut held = std::mem::take(&mut self.held);
            assert!(!held.is_empty(), "{done} of {count} were delivered");
            let rest = held.split_off(held.len().min(BATCH));
            self.held = rest;
            done += held.len();
            let through = self.received;
            self.say(FromWorker::Receipt {
                through,
                buffered: Vec::new(),
            });
            let reports = held.into_iter().map(|token| report(token, fails)).collect();
            self.say(FromWorker::Reports(reports));
            // What was begun is recorded by a tick.
            self.step(Command::Tick);
        }
        self.step(Command::LinkClosed { link: LINK });
    }

    /// As many as said wait in all.
    pub(super) fn assert_waiting(&self, count: usize) {
        let shard = self.queue.shard(4);
        let ledger = self.engine.ledger(shard).expect("a shard");
        let tasks = ledger.tasks_after(TaskId::MIN);
        let waiting = tasks.filter(|task| matches!(task.state, State::Pending { .. }));
        assert_eq!(waiting.count(), count, "tasks wait");
    }

    /// The worker says hello anew, with room for a hundred.
    fn begin(&mut self) {
        let hello = Hello {
            worker: WorkerInfo {
                namespace: "default".into(),
                worker: "w".into(),
                version: "".into(),
                host: "".into(),
                queues: vec![(self.queue.clone(), 1)],
                kinds: Vec::new(),
                proposals: Vec::new(),
            },
            session: None,
            held: Vec::new(),
            buffered: Vec::new(),
            capacity: Capacity {
                tasks_max: u32::try_from(BATCH).expect("a hundred"),
                bytes_max: None,
                draining: false,
            },
        };
        self.received = 0;
        let hello = Box::new(hello);
        self.step(Command::Hello { link: LINK, hello });
    }

    fn task(&self, delay_ms: u64) -> NewTask {
        NewTask {
            queue: Some(self.queue.clone()),
            kind: Arc::clone(&self.kind),
            payload: Payload {
                data: Bytes::from_static(&PAYLOAD),
                content_type: None,
            },
            start: Start::After { delay_ms },
            ..NewTask::of("send")
        }
    }

    fn call(&mut self, once: Option<Box<Once>>, tasks: Vec<NewTask>) {
        self.requests += 1;
        let enqueue = Enqueue {
            namespace: Arc::clone(&self.namespace),
            tasks,
            producer: None,
        };
        self.step(Command::Call {
            request: RequestId(self.requests),
            caller: Caller {
                by: "".into(),
                once,
            },
            call: Call::Enqueue(enqueue),
        });
    }

    fn say(&mut self, message: FromWorker) {
        self.step(Command::FromWorker {
            link: LINK,
            message,
        });
    }

    fn step(&mut self, command: Command) {
        let mut turn = Turn::default();
        self.engine.step(self.now, command, &mut turn);
        for effect in turn.effects {
            if let Effect::Tell {
                message: ToWorker::Delivery(delivery),
                ..
            } = effect
            {
                self.received = delivery.sequence;
                self.held.push(delivery.token);
            }
        }
        self.records.append(&mut turn.events);
    }
}

fn report(token: LeaseToken, fails: bool) -> Report {
    let outcome = if fails {
        ReportOutcome::Fail {
            failure: Failure::new(FailureClass::Network, "connection refused"),
            not_retryable: false,
            retry_after_ms: None,
        }
    } else {
        ReportOutcome::Complete {
            result: None,
            label: None,
        }
    };
    Report {
        raw_token: Bytes::copy_from_slice(&token.to_bytes()),
        content: Ok(ReportContent {
            token,
            outcome,
            checkpoint: None,
        }),
    }
}
