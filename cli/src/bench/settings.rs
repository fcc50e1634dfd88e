//! What a bench is run with, checked: everything that the phases read. Never reads the command
//! line: `commands/bench.rs` does.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use redrive_client::{Address, v1};
use redrive_coordinator::journal::Durability;

use super::{meter::Timeline, phase::Phase};

/// The least memory limit that a coordinator is started with.
const MEMORY_LIMIT_MIN: u64 = 1024 * 1024 * 1024;
/// What the coordinator accounts for a waiting task, beside its payload, with room to spare: see
/// the phase `memory`.
const TASK_BYTES: u64 = 768;

/// What a bench is run with.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// The phases, in their order.
    pub(crate) phases: Vec<Phase>,
    /// A running coordinator to measure; none: one of the bench's own for each run of each phase.
    pub(crate) address: Option<Address>,
    /// The namespace of all tasks.
    pub(crate) namespace: String,
    /// Under which everything that is written to disk goes, into directories of the bench's own.
    pub(crate) data_dir: PathBuf,
    /// What the own coordinator promises; `None` where a running coordinator is measured, which has
    /// its own.
    pub(crate) durability: Option<Durability>,
    /// The payload of every task.
    pub(crate) payload: Bytes,
    /// Connections of producers.
    pub(crate) connections: usize,
    /// Workers, each with a stream of its own.
    pub(crate) workers: usize,
    /// Queues that tasks are spread over.
    pub(crate) queues: usize,
    /// Whether each task has an idempotency key of its own.
    pub(crate) keys: bool,
    /// Tasks of each phase, where it was said.
    pub(crate) tasks: Option<u64>,
    /// How long `latency` goes on.
    pub(crate) duration: Duration,
    /// Tasks a second of `latency`, and of the other queue of `timers`.
    pub(crate) rate: u32,
    /// How often each task of `retries` fails.
    pub(crate) failures: u32,
    /// Runs of each phase; medians are told.
    pub(crate) runs: u32,
    /// Whether `backlog` goes on to ten million.
    pub(crate) full: bool,
    /// Part of every queue's and worker's name, so that two benches do not meet.
    pub(crate) tag: String,
    /// The clock of all phases.
    pub(crate) timeline: Timeline,
}

impl Settings {
    /// How many tasks this phase takes.
    pub(crate) fn tasks_of(&self, phase: Phase) -> u64 {
        self.tasks.unwrap_or_else(|| phase.tasks_default()).max(1)
    }

    /// A share of a number of tasks, for what is slower by as much; at least one.
    pub(crate) fn share(tasks: u64, divisor: u64) -> u64 {
        tasks.checked_div(divisor).unwrap_or(tasks).max(1)
    }

    /// The bytes of a payload.
    pub(crate) fn payload_bytes(&self) -> u64 {
        super::check::count(self.payload.len())
    }

    /// The memory limit of a coordinator that is to hold so many waiting tasks: enqueues are
    /// refused above 80 % of it.
    pub(crate) fn memory_limit(&self, tasks: u64) -> u64 {
        let each = self.payload_bytes().saturating_add(TASK_BYTES);
        let held = tasks.saturating_mul(each);
        held.saturating_add(held / 4)
            .saturating_add(64 * 1024 * 1024)
            .max(MEMORY_LIMIT_MIN)
    }

    /// The names of the queues of one row of figures, or of a single one.
    pub(crate) fn queue_names(&self, row: &str, count: usize) -> Vec<String> {
        (0..count)
            .map(|number| format!("bench-{}-{row}-{number}", self.tag))
            .collect()
    }

    /// What makes the tasks for these queues.
    pub(crate) fn maker(&self, queues: &[String]) -> Maker {
        Maker {
            queues: queues.to_vec(),
            payload: self.payload.clone(),
            keys: self.keys.then(Arc::default),
            start: None,
            spread: None,
        }
    }
}

/// Makes tasks, one like the other, over some queues in turn.
#[derive(Debug, Clone)]
pub(crate) struct Maker {
    queues: Vec<String>,
    payload: Bytes,
    /// How many idempotency keys were made, where each task has one of its own.
    keys: Option<Arc<AtomicU64>>,
    /// When they may start; unset: at once.
    pub(crate) start: Option<v1::task_spec::Start>,
    /// Over what time they may start, one after the other, in place of that.
    pub(crate) spread: Option<Spread>,
}

/// Instants at equal distances.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spread {
    /// The first.
    pub(crate) first: SystemTime,
    /// From one to the next.
    pub(crate) step: Duration,
}

impl Spread {
    /// How long after the first one that of this number is.
    pub(crate) fn after(&self, number: u64) -> Duration {
        self.step.mul_f64(super::figure::float(number))
    }
}

impl Maker {
    /// The task of this number.
    pub(crate) fn spec(&self, number: u64) -> v1::TaskSpec {
        let turn = number.checked_rem(super::check::count(self.queues.len()));
        let queue = turn
            .and_then(|turn| usize::try_from(turn).ok())
            .and_then(|turn| self.queues.get(turn));
        let start = |spread: &Spread| {
            let at = spread.first.checked_add(spread.after(number))?;
            Some(v1::task_spec::Start::NotBefore(at.into()))
        };
        let queue = queue.cloned().unwrap_or_default();
        v1::TaskSpec {
            idempotency_key: match &self.keys {
                // The queue's name is another one in each bench.
                Some(made) => format!("{queue}-{}", made.fetch_add(1, Ordering::Relaxed)),
                None => String::new(),
            },
            queue,
            kind: "bench".to_owned(),
            payload: Some(v1::Payload {
                data: self.payload.clone(),
                content_type: String::new(),
            }),
            start: self.spread.as_ref().and_then(start).or(self.start),
            ..Default::default()
        }
    }

    /// How many tasks fit a message, of those wanted: 3 MiB of them.
    pub(crate) fn batch(&self, wanted: usize) -> usize {
        const ENVELOPE_BYTES: usize = 256;
        let each = self.payload.len() + ENVELOPE_BYTES;
        (redrive_client::limits::BATCH_BYTES_MAX / each).clamp(1, wanted.max(1))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn settings() -> Settings {
        Settings {
            phases: vec![Phase::Drain],
            address: None,
            namespace: "default".to_owned(),
            data_dir: PathBuf::new(),
            durability: None,
            payload: Bytes::from_static(&[0; 100]),
            connections: 2,
            workers: 2,
            queues: 3,
            keys: false,
            tasks: None,
            duration: Duration::from_secs(1),
            rate: 500,
            failures: 3,
            runs: 1,
            full: false,
            tag: "t".to_owned(),
            timeline: Timeline::begin(),
        }
    }

    #[test]
    fn tasks_go_to_the_queues_in_turn() {
        let settings = settings();
        let queues = settings.queue_names("drain", 3);
        let maker = settings.maker(&queues);
        let used: Vec<String> = (0..4).map(|number| maker.spec(number).queue).collect();
        assert_eq!(used[0], "bench-t-drain-0");
        assert_eq!((&used[1], &used[3]), (&queues[1], &queues[0]));
        assert_eq!(settings.maker(&[]).spec(1).queue, "");
    }

    #[test]
    fn batches_fit_a_message() {
        let mut settings = settings();
        assert_eq!(settings.maker(&[]).batch(1_000), 1_000);
        settings.payload = vec![0; 1024 * 1024].into();
        assert_eq!(settings.maker(&[]).batch(1_000), 2);
    }

    #[test]
    fn the_memory_limit_leaves_room_for_all_tasks() {
        let settings = settings();
        assert_eq!(settings.memory_limit(1), MEMORY_LIMIT_MIN);
        let ten_million = settings.memory_limit(10_000_000);
        assert!(ten_million * 8 / 10 > 10_000_000 * (100 + TASK_BYTES));
    }

    #[test]
    fn a_phase_takes_its_own_number_of_tasks_unless_told() {
        let mut settings = settings();
        assert_eq!(settings.tasks_of(Phase::Backlog), 20_000);
        settings.tasks = Some(7);
        assert_eq!(settings.tasks_of(Phase::Backlog), 7);
        assert_eq!(Settings::share(7, 20), 1);
    }
}
