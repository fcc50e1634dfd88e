//! The coordinator's metrics: every name, unit and label in one place.
//!
//! Owns one recorder for each coordinator, none of it global: several run in one process without
//! meeting. Never reads a clock and never looks at the engine: what it shows was told to it.
//! Invariants: base units; counters, and only they, end in `_total`; no task ids in labels; at most
//! [`QUEUES_LABELLED_MAX`] queues have series of their own, all others share one labelled "other".

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use metrics::{Counter, Gauge, Histogram, Key, Label, Level, Metadata, Recorder};
use metrics_exporter_prometheus::{
    BuildError, Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};

use crate::engine::effect::{Counts, Notice, NoticeKind, QueueView, ServerFacts};
use crate::engine::failure::FailureClass;
use crate::engine::ids::QueueName;

/// Queues that have series of their own.
pub const QUEUES_LABELLED_MAX: usize = 1000;
/// Namespaces whose queues are shown.
pub const NAMESPACES_SHOWN_MAX: usize = 1000;
/// Outcomes and reasons that a queue has series of their own for, in all its counters together.
const VALUES_PER_QUEUE_MAX: usize = 64;
/// What stands for everything that has no series of its own.
const OTHER: &str = "other";

const ENQUEUED: &str = "redrive_tasks_enqueued_total";
const ATTEMPTS: &str = "redrive_attempts_total";
const RETRIES: &str = "redrive_retries_scheduled_total";
const DEAD_LETTERED: &str = "redrive_tasks_dead_lettered_total";
const REDRIVEN: &str = "redrive_tasks_redriven_total";
const ENDED: &str = "redrive_tasks_ended_total";
const WAKEUPS: &str = "redrive_wakeups_total";
const LATE_TURNS: &str = "redrive_late_turns_total";
const INBOX_REFUSED: &str = "redrive_inbox_refused_total";
const LINKS_CUT: &str = "redrive_links_cut_total";
const TASKS: &str = "redrive_tasks";
const QUEUE_PAUSED: &str = "redrive_queue_paused";
const WORKERS: &str = "redrive_workers";
const LINKS: &str = "redrive_links";
const INBOX_DEPTH: &str = "redrive_inbox_depth";
const MEMORY: &str = "redrive_memory_bytes";
const MEMORY_LIMIT: &str = "redrive_memory_limit_bytes";
const CLOCK_SKEW: &str = "redrive_clock_skew_seconds";
const START_TIME: &str = "redrive_start_time_seconds";
const BUILD_INFO: &str = "redrive_build_info";
const QUEUE_WAIT: &str = "redrive_queue_wait_seconds";
const ATTEMPT_DURATION: &str = "redrive_attempt_duration_seconds";
const RETRY_DELAY: &str = "redrive_retry_delay_seconds";
const TIMER_LAG: &str = "redrive_timer_lag_seconds";
const TURN: &str = "redrive_turn_seconds";

const COUNTERS: [(&str, &str); 10] = [
    (ENQUEUED, "Tasks accepted, by queue."),
    (ATTEMPTS, "Runs that ended, by queue and outcome."),
    (
        RETRIES,
        "Retries scheduled, by queue and class of the failure.",
    ),
    (
        DEAD_LETTERED,
        "Tasks that became dead letters, by queue and reason.",
    ),
    (REDRIVEN, "Dead letters put back, by queue."),
    (ENDED, "Tasks that ended, by queue and final state."),
    (WAKEUPS, "Turns of the engine, by what began them."),
    (
        LATE_TURNS,
        "Turns that came so late that silence was forgiven.",
    ),
    (
        INBOX_REFUSED,
        "Calls refused because too many commands waited.",
    ),
    (
        LINKS_CUT,
        "Worker streams cut because they read too slowly.",
    ),
];

const GAUGES: [(&str, &str); 10] = [
    (TASKS, "Tasks now, by queue and state."),
    (QUEUE_PAUSED, "1 where the queue is paused, else 0."),
    (WORKERS, "Workers connected by a stream."),
    (LINKS, "Worker streams open."),
    (
        INBOX_DEPTH,
        "Commands that waited when the last turn began.",
    ),
    (MEMORY, "Bytes that tasks take, as accounted."),
    (
        MEMORY_LIMIT,
        "Limit of redrive_memory_bytes; enqueues are refused above 80 % of it.",
    ),
    (
        CLOCK_SKEW,
        "How far engine time is ahead of the wall clock.",
    ),
    (
        START_TIME,
        "When the coordinator started, in seconds since the Unix epoch.",
    ),
    (BUILD_INFO, "1, labelled with the version."),
];

/// Seconds; from a fast handler to a slow one.
const DURATION_BUCKETS: [f64; 14] = [
    0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0,
];
/// Seconds; from the first backoff to a day.
const DELAY_BUCKETS: [f64; 12] = [
    0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0, 3600.0, 14_400.0, 86_400.0,
];
/// Seconds; a turn takes microseconds, a timer should be on time to the millisecond.
const TURN_BUCKETS: [f64; 12] = [
    0.000_01, 0.000_05, 0.000_1, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0,
];

const HISTOGRAMS: [(&str, &str, &[f64]); 5] = [
    (
        QUEUE_WAIT,
        "From being ready to being leased.",
        &DURATION_BUCKETS,
    ),
    (
        ATTEMPT_DURATION,
        "From lease to report of one run.",
        &DURATION_BUCKETS,
    ),
    (RETRY_DELAY, "The delays drawn for retries.", &DELAY_BUCKETS),
    (
        TIMER_LAG,
        "How long after its deadline a timer was handled.",
        &TURN_BUCKETS,
    ),
    (
        TURN,
        "How long a turn of the engine took, journal append included.",
        &TURN_BUCKETS,
    ),
];

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
            meters.count(ATTEMPTS, "outcome", &outcome(notice), &self.recorder);
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
            }
            NoticeKind::Leased | NoticeKind::Deferred | NoticeKind::CancelRequested => {}
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
        let mut others: Option<(Counts, bool)> = None;
        for view in views {
            let paused = view.queue.paused.is_some();
            if queues.has_own(&view.queue.name) {
                queues
                    .meters(&view.queue.name, &self.recorder)
                    .show(view.counts, paused);
            } else {
                let (sum, any_paused) = others.unwrap_or_default();
                others = Some((added(sum, view.counts), any_paused || paused));
            }
        }
        if let Some((sum, any_paused)) = others {
            queues.other(&self.recorder).show(sum, any_paused);
        }
    }

    /// Shows the engine's own facts and the streams that are open.
    pub fn show_server(&self, facts: &ServerFacts, links_open: usize) {
        self.workers.set(number(facts.workers));
        self.memory.set(number(facts.memory_bytes));
        self.memory_limit.set(number(facts.memory_bytes_max));
        self.links.set(number(links_open as u64));
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
            paused: recorder.register_gauge(&Key::from_parts(QUEUE_PAUSED, labels()), &METADATA),
            by_value: BTreeMap::new(),
        }
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

    fn show(&self, counts: Counts, paused: bool) {
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
    }
}

/// How the run behind a notice ended, in lower case.
fn outcome(notice: &Notice) -> String {
    let lost = |class| class == FailureClass::WorkerLost;
    match (notice.kind, &notice.failure) {
        (_, Some(failure)) if lost(failure.class) => "crashed".to_owned(),
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
