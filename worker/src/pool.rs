//! Runs handlers.
//!
//! Owns the tasks and threads in which they run: each is in one tracked set, and each start is
//! followed by exactly one end. A panic is an outcome, never the end of the worker. Decides nothing
//! about leases: the session says what starts, what is asked to stop and what is stopped.

use std::{
    any::Any,
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use redrive_proto::v1::{Delivery, FailureClass, Payload};
use tokio::{
    sync::watch,
    task::{AbortHandle, Id, JoinError, JoinSet},
    time::Instant,
};

use crate::{
    context::{Cancel, ExtendError, Outbox, Signals, StopReason, TaskContext, Timeouts},
    registry::{Registry, Work},
    report::{Outcome, failure},
    session::{Limits, RunId, Said},
};

#[derive(Debug)]
struct Run {
    id: Id,
    abort: AbortHandle,
    signals: watch::Sender<Signals>,
    task: TaskContext,
}

/// The handlers that run.
#[derive(Debug)]
pub(crate) struct Pool {
    registry: Registry,
    set: JoinSet<Outcome>,
    runs: BTreeMap<RunId, Run>,
    by_id: HashMap<Id, RunId>,
    outbox: Arc<Outbox>,
    draining: bool,
}

impl Pool {
    pub(crate) fn new(registry: Registry) -> Self {
        Self {
            registry,
            set: JoinSet::new(),
            runs: BTreeMap::new(),
            by_id: HashMap::new(),
            outbox: Arc::default(),
            draining: false,
        }
    }

    /// Starts a handler. Its limits are only for it to read: the session enforces them.
    pub(crate) fn start(&mut self, run: RunId, delivery: Delivery, limits: Limits<Instant>) {
        let signals = Signals {
            limits,
            draining: self.draining,
            ..Signals::default()
        };
        let (signals, receiver) = watch::channel(signals);
        let outbox = (run, Arc::clone(&self.outbox));
        let task = TaskContext::of_run(delivery, receiver, outbox);
        let abort = match self.registry.begin(task.clone()) {
            Work::Async(future) => self.set.spawn(future),
            Work::Blocking(work) => self.set.spawn_blocking(work),
        };
        let id = abort.id();
        self.by_id.insert(id, run);
        self.runs.insert(
            run,
            Run {
                id,
                abort,
                signals,
                task,
            },
        );
    }

    fn tell(&self, run: RunId, change: impl FnOnce(&mut Signals)) {
        if let Some(run) = self.runs.get(&run) {
            run.signals.send_modify(change);
        }
    }

    /// Asks a handler to stop.
    pub(crate) fn signal(&self, run: RunId, reason: StopReason) {
        self.tell(run, |signals| signals.stop(reason));
    }

    /// Asks a handler to stop because its task was cancelled; it is stopped at `until`.
    pub(crate) fn cancel(&self, run: RunId, until: Option<Instant>, detail: &str) {
        let detail = detail.into();
        self.tell(run, |signals| {
            signals.cancel = Some(Cancel { until, detail });
            signals.stop(StopReason::Requested);
        });
    }

    /// Tells a handler its new limits.
    pub(crate) fn limits(&self, run: RunId, limits: Limits<Instant>) {
        self.tell(run, |signals| signals.set_limits(limits));
    }

    /// Which handlers have something to say.
    pub(crate) fn outbox(&self) -> Arc<Outbox> {
        Arc::clone(&self.outbox)
    }

    /// What a handler said since this was called before.
    pub(crate) fn collect(&self, run: RunId) -> Option<Said> {
        Some(self.runs.get(&run)?.task.collect())
    }

    /// Answers a handler's question for other limits.
    pub(crate) fn answer(&self, run: RunId, number: u64, answer: Result<Timeouts, ExtendError>) {
        if let Some(run) = self.runs.get(&run) {
            run.task.answer(number, answer);
        }
    }

    /// Stops a handler at its next await, or asks a blocking one. Returns what it saved for the
    /// next run. Its end is told by [`Pool::ended`] like any other.
    pub(crate) fn abort(&self, run: RunId, reason: StopReason) -> Option<Payload> {
        self.signal(run, reason);
        let run = self.runs.get(&run)?;
        run.abort.abort();
        run.task.close()
    }

    /// Tells every handler that the worker is on its way out.
    pub(crate) fn drain(&mut self) {
        self.draining = true;
        for run in self.runs.values() {
            run.signals.send_modify(|signals| signals.draining = true);
        }
    }

    /// True where nothing runs.
    pub(crate) fn is_empty(&self) -> bool {
        self.set.is_empty()
    }

    /// How many run.
    pub(crate) fn len(&self) -> usize {
        self.set.len()
    }

    /// Waits for the next handler to end; without any, for ever. `None` for an outcome: it was
    /// stopped. Safe to cancel.
    pub(crate) async fn ended(&mut self) -> (RunId, Option<Outcome>) {
        loop {
            let Some(joined) = self.set.join_next_with_id().await else {
                return std::future::pending().await;
            };
            let (id, outcome) = match joined {
                Ok((id, outcome)) => (id, Some(outcome)),
                Err(error) => (error.id(), panic_outcome(error)),
            };
            let Some(run) = self.by_id.remove(&id) else {
                continue;
            };
            let Some(ended) = self.runs.remove(&run) else {
                continue;
            };
            debug_assert_eq!(ended.id, id);
            let saved = ended.task.close();
            let outcome = outcome.map(|outcome| Outcome {
                checkpoint: outcome.checkpoint.or(saved),
                ..outcome
            });
            return (run, outcome);
        }
    }
}

/// A panic as an outcome: a failure of class INTERNAL that may be retried. `None`: aborted.
fn panic_outcome(error: JoinError) -> Option<Outcome> {
    let payload = error.try_into_panic().ok()?;
    let text = format!("the handler panicked: {}", panic_text(payload.as_ref()));
    Some(Outcome::fail(failure(FailureClass::Internal, PANIC, &text)))
}

fn panic_text(payload: &(dyn Any + Send)) -> &str {
    payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no text")
}

/// The type of the failure that a panic is reported as.
const PANIC: &str = "panic";
