//! The coordinator's metrics: every name, unit and label in one place.
//!
//! Owns one recorder for each coordinator, none of it global: several run in one process without
//! meeting. Never reads a clock and never looks at the engine: what it shows was told to it.
//! Invariants: base units; counters, and only they, end in `_total`; no task ids in labels; at most
//! [`QUEUES_LABELLED_MAX`] queues have series of their own, all others share one labelled "other".

mod journal;
mod names;

pub use journal::JournalFacts;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, Key, Label, Level, Metadata, Recorder};
use metrics_exporter_prometheus::{
    BuildError, Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};

use crate::engine::effect::{Counts, Notice, NoticeKind, QueueView, ServerFacts};
use crate::engine::failure::FailureClass;
use crate::engine::ids::QueueName;
use names::*;

/// Queues that have series of their own.
pub const QUEUES_LABELLED_MAX: usize = 1000;
/// Namespaces whose queues are shown.
pub const NAMESPACES_SHOWN_MAX: usize = 1000;
/// Outcomes and reasons that a queue has series of their own for, in all its counters together.
const VALUES_PER_QUEUE_MAX: usize = 64;
/// Labels of outcomes among them.
const OUTCOMES_PER_QUEUE_MAX: usize = 32;
/// What stands for everything that has no series of its own.
pub(crate) const OTHER: &str = "other";
/// The outcome of a run whose worker was lost.
const CRASHED: &str = "crashed";

static METADATA: Metadata<'static> = Metadata::new("redrive", Level::INFO, None);

/// The metrics of one coordinator.
pub struct Telemetry {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    queues: Mutex<Queues>,
    wakeups: Mutex<BTreeMap<&'static str, Counter>>,
    queue_wait: Histogram,
    attempt_duration: Histogram,
    retry_delay: Histogram,
    workers: Gauge,
    links: Gauge,
    memory: Gauge,
    memory_limit: Gauge,
    pub(crate) turn: Histogram,
    pub(crate) timer_lag: Histogram,
    pub(crate) inbox_depth: Gauge,
    pub(crate) clock_skew: Gauge,
    pub(crate) start_time: Gauge,
    pub(crate) late_turns: Counter,
    pub(crate) inbox_refused: Counter,
    pub(crate) links_cut: Counter,
    leases_expired: Counter,
    slots: [Gauge; 2],
}

#[derive(Default)]
struct Queues {
    labelled: HashMap<QueueName, QueueMeters>,
    other: Option<QueueMeters>,
    namespaces: BTreeSet<Arc<str>>,
}

/// The series of one queue, or of all that have none of their own.
struct QueueMeters {
    namespace: Arc<str>,
    queue: Arc<str>,
    enqueued: Counter,
    redriven: Counter,
    states: [Gauge; 5],
    paused: Gauge,
    oldest_ready: Gauge,
    by_value: BTreeMap<(&'static str, Arc<str>), Counter>,
}

impl Telemetry {
    /// Metrics that begin at zero, for a coordinator of this version.
    ///
    /// # Errors
    /// Where a table of buckets is empty: a bug.
    pub fn new(version: &'static str) -> Result<Self, BuildError> {
        let mut builder = PrometheusBuilder::new();
        for (name, _, buckets) in HISTOGRAMS {
            builder = builder.set_buckets_for_metric(Matcher::Full(name.to_owned()), buckets)?;
        }
        let recorder = builder.build_recorder();
        for (name, help) in COUNTERS {
            recorder.describe_counter(name.into(), None, help.into());
        }
        for (name, help) in GAUGES {
            recorder.describe_gauge(name.into(), None, help.into());
        }
        for (name, help, _) in HISTOGRAMS {
            recorder.describe_histogram(name.into(), None, help.into());
        }
        let handle = recorder.handle();
        handle.run_upkeep();
        let counter = |name| recorder.register_counter(&Key::from_name(name), &METADATA);
        let gauge = |name| recorder.register_gauge(&Key::from_name(name), &METADATA);
        let histogram = |name| recorder.register_histogram(&Key::from_name(name), &METADATA);
        let slots = |state| {
            let key = Key::from_parts(WORKER_SLOTS, vec![Label::new("state", state)]);
            recorder.register_gauge(&key, &METADATA)
        };
        let build = Key::from_parts(BUILD_INFO, vec![Label::new("version", version)]);
        recorder.register_gauge(&build, &METADATA).set(1.0);
        let queues = Queues {
            namespaces: BTreeSet::from(["default".into()]),
            ..Queues::default()
        };
        Ok(Self {
            queue_wait: histogram(QUEUE_WAIT),
            attempt_duration: histogram(ATTEMPT_DURATION),
            retry_delay: histogram(RETRY_DELAY),
            workers: gauge(WORKERS),
            links: gauge(LINKS),
            memory: gauge(MEMORY),
            memory_limit: gauge(MEMORY_LIMIT),
            turn: histogram(TURN),
            timer_lag: histogram(TIMER_LAG),
            inbox_depth: gauge(INBOX_DEPTH),
            clock_skew: gauge(CLOCK_SKEW),
            start_time: gauge(START_TIME),
            late_turns: counter(LATE_TURNS),
            inbox_refused: counter(INBOX_REFUSED),
            links_cut: counter(LINKS_CUT),
            leases_expired: counter(LEASES_EXPIRED),
            slots: ["used", "free"].map(slots),
            queues: Mutex::new(queues),
            wakeups: Mutex::default(),
            recorder,
            handle,
        })
    }

    /// The metrics in Prometheus' text format, version 0.0.4.
    #[must_use]
    pub fn render(&self) -> String {
        self.handle.render()
    }

    /// Moves what the histograms have collected into their buckets; between two calls it takes
    /// memory. To be called about once a second.
    pub fn upkeep(&self) {
        self.handle.run_upkeep();
    }

    /// Counts a turn of the engine by what began it.
    pub(crate) fn woken(&self, reason: &'static str) {
        let mut wakeups = self.wakeups.lock().unwrap_or_else(PoisonError::into_inner);
        let counter = wakeups.entry(reason).or_insert_with(|| {
            let key = Key::from_parts(WAKEUPS, vec![Label::new("reason", reason)]);
            self.recorder.register_counter(&key, &METADATA)
        });
        counter.increment(1);
    }

    /// Counts a gRPC call: its method, one of a bounded number, its status, and how long it took.
    pub(crate) fn called(&self, method: Arc<str>, status: &'static str, took: Duration) {
        let labels = vec![
            Label::new("rpc_method", method),
            Label::new("rpc_status_code", status),
        ];
        let key = Key::from_parts(CALL_DURATION, labels);
        self.recorder
            .register_histogram(&key, &METADATA)
            .record(took);
    }

    /// Counts something that happened to a task.
    pub(crate) fn notice(&self, notice: &Notice) {
        if let Some(waited_ms) = notice.waited_ms {
            self.queue_wait.record(seconds(waited_ms));
        }
        if let Some(run_ms) = notice.run_ms {
            self.attempt_duration.record(seconds(run_ms));
        }
        let mut queues = self.queues();
        let meters = queues.meters(&notice.queue, &self.recorder);
        if notice.run_ms.is_some() {
            let outcome = outcome(notice);
            if outcome == CRASHED {
                self.leases_expired.increment(1);
            }
            meters.count(ATTEMPTS, "outcome", &outcome, &self.recorder);
        }
        match notice.kind {
            NoticeKind::Enqueued => meters.enqueued.increment(1),
            NoticeKind::RetryScheduled => {
                if let Some(delay_ms) = notice.delay_ms {
                    self.retry_delay.record(seconds(delay_ms));
                }
                let class = notice
                    .failure
                    .as_ref()
                    .map_or(OTHER, |failure| failure.class.name());
                meters.count(RETRIES, "reason", class, &self.recorder);
            }
            NoticeKind::DeadLettered => {
                let reason = notice.reason.as_deref().unwrap_or(OTHER);
                meters.count(DEAD_LETTERED, "reason", reason, &self.recorder);
            }
            NoticeKind::Redriven => meters.redriven.increment(1),
            NoticeKind::Ended => {
                // In lower case, as the states of redrive_tasks.
                let state = notice.reason.as_deref().unwrap_or(OTHER).to_lowercase();
                meters.count(ENDED, "state", &state, &self.recorder);
                if let Some(label) = &notice.outcome_label {
                    meters.count_outcome(label, &self.recorder);
                }
            }
            NoticeKind::Leased
            | NoticeKind::Deferred
            | NoticeKind::CancelRequested
            | NoticeKind::Edited => {}
        }
    }

    /// The namespaces in which something happened, and "default".
    #[must_use]
    pub fn namespaces(&self) -> Vec<Arc<str>> {
        self.queues().namespaces.iter().cloned().collect()
    }

    /// Shows how full queues are. Those without series of their own are added up.
    pub fn show_queues(&self, views: &[QueueView]) {
        let mut queues = self.queues();
        let mut others: Option<(Counts, bool, u64)> = None;
        for view in views {
            let paused = view.queue.paused.is_some();
            if queues.has_own(&view.queue.name) {
                queues.meters(&view.queue.name, &self.recorder).show(
                    view.counts,
                    paused,
                    view.oldest_ready_ms,
                );
            } else {
                let (sum, any_paused, oldest_ms) = others.unwrap_or_default();
                let oldest_ms = oldest_ms.max(view.oldest_ready_ms);
                others = Some((added(sum, view.counts), any_paused || paused, oldest_ms));
            }
        }
        if let Some((sum, any_paused, oldest_ms)) = others {
            queues
                .other(&self.recorder)
                .show(sum, any_paused, oldest_ms);
        }
    }

    /// Shows the engine's own facts and the streams that are open.
    pub fn show_server(&self, facts: &ServerFacts, links_open: usize) {
        self.workers.set(number(facts.workers));
        self.memory.set(number(facts.memory_bytes));
        self.memory_limit.set(number(facts.memory_bytes_max));
        self.links.set(number(links_open as u64));
        let [used, free] = &self.slots;
        used.set(number(facts.slots_used));
        free.set(number(facts.slots_free));
    }

    fn queues(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Telemetry").finish_non_exhaustive()
    }
}

impl Queues {
    /// Whether a queue has series of its own, or may still get them.
    fn has_own(&self, queue: &QueueName) -> bool {
        self.labelled.len() < QUEUES_LABELLED_MAX || self.labelled.contains_key(queue)
    }

    fn meters(&mut self, queue: &QueueName, recorder: &PrometheusRecorder) -> &mut QueueMeters {
        if !self.has_own(queue) {
            return self.other(recorder);
        }
        let namespaces = &mut self.namespaces;
        self.labelled.entry(queue.clone()).or_insert_with(|| {
            if namespaces.len() < NAMESPACES_SHOWN_MAX {
                namespaces.insert(queue.namespace().into());
            }
            QueueMeters::new(queue.namespace(), queue.queue(), recorder)
        })
    }

    fn other(&mut self, recorder: &PrometheusRecorder) -> &mut QueueMeters {
        self.other
            .get_or_insert_with(|| QueueMeters::new(OTHER, OTHER, recorder))
    }
}

impl QueueMeters {
    fn new(namespace: &str, queue: &str, recorder: &PrometheusRecorder) -> Self {
        let labels = || {
            let namespace = Label::new("namespace", namespace.to_owned());
            vec![namespace, Label::new("queue", queue.to_owned())]
        };
        let counter = |name| recorder.register_counter(&Key::from_parts(name, labels()), &METADATA);
        let gauge = |name| recorder.register_gauge(&Key::from_parts(name, labels()), &METADATA);
        let states = ["scheduled", "ready", "leased", "retrying", "dead"].map(|state| {
            let mut labels = labels();
            labels.push(Label::new("state", state));
            recorder.register_gauge(&Key::from_parts(TASKS, labels), &METADATA)
        });
        Self {
            namespace: namespace.into(),
            queue: queue.into(),
            enqueued: counter(ENQUEUED),
            redriven: counter(REDRIVEN),
            states,
            paused: gauge(QUEUE_PAUSED),
            oldest_ready: gauge(OLDEST_READY),
            by_value: BTreeMap::new(),
        }
    }

    /// Counts an outcome's label: handlers invent these, so that only so many have series.
    fn count_outcome(&mut self, label: &Arc<str>, recorder: &PrometheusRecorder) {
        let known = self.by_value.contains_key(&(OUTCOMES, label.clone()));
        let labels = self.by_value.keys().filter(|(name, _)| *name == OUTCOMES);
        let fits = known || labels.count() < OUTCOMES_PER_QUEUE_MAX;
        let label: &str = if fits { label } else { OTHER };
        self.count(OUTCOMES, "outcome_label", label, recorder);
    }

    /// Counts one in the series of `name` where the label has this value.
    fn count(
        &mut self,
        name: &'static str,
        label: &'static str,
        value: &str,
        recorder: &PrometheusRecorder,
    ) {
        let full = self.by_value.len() >= VALUES_PER_QUEUE_MAX;
        let known = || self.by_value.contains_key(&(name, Arc::from(value)));
        let value: Arc<str> = if full && !known() {
            OTHER.into()
        } else {
            value.into()
        };
        let (namespace, queue) = (&self.namespace, &self.queue);
        let counter = self
            .by_value
            .entry((name, value))
            .or_insert_with_key(|(_, value)| {
                let labels = vec![
                    Label::new("namespace", Arc::clone(namespace)),
                    Label::new("queue", Arc::clone(queue)),
                    Label::new(label, Arc::clone(value)),
                ];
                recorder.register_counter(&Key::from_parts(name, labels), &METADATA)
            });
        counter.increment(1);
    }

    fn show(&self, counts: Counts, paused: bool, oldest_ready_ms: u64) {
        let Counts {
            scheduled,
            ready,
            leased,
            retrying,
            dead,
        } = counts;
        for (gauge, count) in self
            .states
            .iter()
            .zip([scheduled, ready, leased, retrying, dead])
        {
            gauge.set(number(count));
        }
        self.paused.set(f64::from(u8::from(paused)));
        self.oldest_ready.set(seconds(oldest_ready_ms));
    }
}

/// How the run behind a notice ended, in lower case.
fn outcome(notice: &Notice) -> String {
    let lost = |class| class == FailureClass::WorkerLost;
    match (notice.kind, &notice.failure) {
        (_, Some(failure)) if lost(failure.class) => CRASHED.to_owned(),
        (NoticeKind::Ended, None) => notice
            .reason
            .as_deref()
            .unwrap_or(OTHER)
            .to_ascii_lowercase(),
        (_, Some(_)) => "failed".to_owned(),
        (_, None) => "deferred".to_owned(),
    }
}

fn added(one: Counts, two: Counts) -> Counts {
    Counts {
        scheduled: one.scheduled + two.scheduled,
        ready: one.ready + two.ready,
        leased: one.leased + two.leased,
        retrying: one.retrying + two.retrying,
        dead: one.dead + two.dead,
    }
}

fn seconds(ms: u64) -> f64 {
    number(ms) / 1000.0
}

/// A count as a metric's number: exact up to 2^53, which no count here reaches.
#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53")]
const fn number(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests;
