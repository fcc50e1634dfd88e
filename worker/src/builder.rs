//! Builds a worker: where the coordinator is, what is served, what runs.
//!
//! Owns the checks: a worker that was built can run. All mistakes that can be seen here are seen
//! here, and named by field.

use std::{fmt, future::Future, io, ops::RangeBounds, time::Duration};

use futures::{FutureExt as _, Stream, stream};
use redrive_client::connect::{Address, os_seed};
use redrive_proto::v1::{QueueSubscription, WorkerInfo};

use crate::{
    driver::Driver,
    handler::{BlockingHandler, Handler},
    kinds::KindDefaults,
    names::{NAME_BYTES_MAX, NAME_RULE, is_name},
    pool::Pool,
    registry::{self, Declared, Registry, Versions},
    session::{Session, SessionConfig, StopReport, TASKS_MAX},
    signals::{self, Stop},
    stream::Link,
};

/// The slots of a worker that does not say.
pub const DEFAULT_SLOTS: u32 = 16;
/// How long what runs may go on after a drain began, unless said otherwise. A supervisor should
/// wait some seconds longer before it kills.
pub const DEFAULT_DRAIN_TIMEOUT: Duration = Duration::from_secs(30);
/// The payload bytes that a worker holds at most, unless said otherwise: 64 MiB.
pub const DEFAULT_BYTES_MAX: u64 = 64 * 1_024 * 1_024;
/// The most queues of one worker.
pub const QUEUES_MAX: usize = 64;
/// The most kinds of one worker.
pub const KINDS_MAX: usize = 1_024;
/// The greatest weight of a queue.
pub const WEIGHT_MAX: u32 = 1_000;

/// A setting that cannot work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
#[non_exhaustive]
pub struct BuildError {
    /// The method of the builder that it was given to.
    pub field: &'static str,
    /// What is wrong and what would be right.
    pub problem: String,
}

/// Why a worker ended without finishing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The coordinator refused the worker, in a way that trying again cannot change.
    #[error("the coordinator refused this worker ({:?}): {}", .0.code(), .0.message())]
    Refused(Box<tonic::Status>),
    /// The signal handlers could not be installed.
    #[error("signal handlers cannot be installed: {0}")]
    Signals(#[from] io::Error),
}

/// A worker, ready to run.
pub struct Worker {
    address: Address,
    seed: u64,
    config: SessionConfig,
    registry: Registry,
    drain_timeout: Duration,
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("address", &self.address)
            .field("config", &self.config)
            .field("registry", &self.registry)
            .finish_non_exhaustive()
    }
}

impl Worker {
    /// Begins a worker of the coordinator at `address`, for example `http://127.0.0.1:7480`.
    pub fn builder(address: impl Into<String>) -> WorkerBuilder<()> {
        WorkerBuilder {
            address: address.into(),
            namespace: "default".to_owned(),
            worker_id: None,
            version: String::new(),
            queues: Vec::new(),
            slots: DEFAULT_SLOTS,
            prefetch: 0,
            bytes_max: DEFAULT_BYTES_MAX,
            drain_timeout: DEFAULT_DRAIN_TIMEOUT,
            state: (),
            registry: Registry::default(),
            problem: None,
        }
    }

    /// The worker's name, as the coordinator will know it.
    pub fn id(&self) -> &str {
        &self.config.worker.worker_id
    }

    /// Runs until `shutdown` is ready, then drains: what runs may finish within the drain timeout,
    /// the rest is given back. Reconnects for as long as it takes until then.
    ///
    /// # Errors
    ///
    /// [`RunError::Refused`] where the coordinator does not want this worker at all.
    pub async fn run_until(
        self,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> Result<StopReport, RunError> {
        self.run(shutdown.map(|()| Stop::Drain).into_stream()).await
    }

    /// Runs until SIGTERM or SIGINT, then drains; a second one gives everything back at once.
    ///
    /// # Errors
    ///
    /// As [`Worker::run_until`]; [`RunError::Signals`] where signals cannot be read.
    pub async fn run_until_signalled(self) -> Result<StopReport, RunError> {
        let stops = signals::stops()?;
        self.run(stops).await
    }

    /// Runs until `stops` says otherwise. Where the stream ends without a word, for ever.
    ///
    /// # Errors
    ///
    /// [`RunError::Refused`] where the coordinator does not want this worker at all.
    pub async fn run(
        self,
        stops: impl Stream<Item = Stop> + Send + 'static,
    ) -> Result<StopReport, RunError> {
        let session = Session::new(self.config);
        let pool = Pool::new(self.registry);
        let link = Link::new(self.address, self.seed);
        // A stream that has ended must not be polled again.
        let stops = Box::pin(futures::StreamExt::chain(stops, stream::pending()));
        Box::pin(Driver::new((session, pool, link), stops, self.drain_timeout).run()).await
    }
}

/// Settings of a [`Worker`]. `S` is the state that handlers may ask for.
pub struct WorkerBuilder<S> {
    address: String,
    namespace: String,
    worker_id: Option<String>,
    version: String,
    queues: Vec<QueueSubscription>,
    slots: u32,
    prefetch: u32,
    bytes_max: u64,
    drain_timeout: Duration,
    state: S,
    registry: Registry,
    problem: Option<BuildError>,
}

impl<S> fmt::Debug for WorkerBuilder<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerBuilder")
            .field("address", &self.address)
            .field("queues", &self.queues)
            .field("registry", &self.registry)
            .finish_non_exhaustive()
    }
}

impl<S: Clone + Send + Sync + 'static> WorkerBuilder<S> {
    /// The namespace whose queues are served. Default: "default".
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = namespace.into();
        self
    }

    /// The worker's name: 1 to 128 letters, digits, '.', '_' and '-'. Default: the machine's name
    /// and the process id.
    pub fn worker_id(mut self, id: impl Into<String>) -> Self {
        self.worker_id = Some(id.into());
        self
    }

    /// The build it runs, for people. At most 128 bytes. Default: none.
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.version = version.into();
        self
    }

    /// Serves a queue, with its share among the worker's queues while all have work: 1 to 1,000. 1
    /// to 64 queues are needed.
    pub fn queue(mut self, queue: impl Into<String>, weight: u32) -> Self {
        self.queues.push(QueueSubscription {
            queue: queue.into(),
            weight,
        });
        self
    }

    /// How many tasks run at once, 1 to 10,000. Default: 16.
    pub fn slots(mut self, slots: u32) -> Self {
        self.slots = slots;
        self
    }

    /// How many deliveries may wait here beyond the slots: hides the way to the coordinator for
    /// short tasks, and takes tasks from workers that are free. Slots and prefetch together are at
    /// most 10,000. Default: 0.
    pub fn prefetch(mut self, tasks: u32) -> Self {
        self.prefetch = tasks;
        self
    }

    /// The most payload bytes to hold; one task is always sent; 0 for no limit. Default: 64 MiB.
    pub fn bytes_max(mut self, bytes: u64) -> Self {
        self.bytes_max = bytes;
        self
    }

    /// How long what runs may go on once the worker is asked to stop; then it is given back.
    /// Default: 30 s.
    pub fn drain_timeout(mut self, timeout: Duration) -> Self {
        self.drain_timeout = timeout;
        self
    }

    /// Gives handlers that are added from here on a state to ask for by [`crate::State`]. It is
    /// cloned for every run: make it cheap, with `Arc`.
    pub fn with_state<T>(self, state: T) -> WorkerBuilder<T> {
        WorkerBuilder {
            address: self.address,
            namespace: self.namespace,
            worker_id: self.worker_id,
            version: self.version,
            queues: self.queues,
            slots: self.slots,
            prefetch: self.prefetch,
            bytes_max: self.bytes_max,
            drain_timeout: self.drain_timeout,
            state,
            registry: self.registry,
            problem: self.problem,
        }
    }

    /// Runs tasks of this kind by an asynchronous handler, whatever the version of their payload. At
    /// most 1,024 kinds, each once.
    pub fn task<A>(self, kind: impl Into<String>, handler: impl Handler<S, A>) -> Self {
        let begin = registry::asynchronous(handler, self.state.clone());
        self.add("task", kind.into(), (&(..), begin))
    }

    /// Runs tasks of this kind whose payload is of one of these versions, for example `1..=3` or
    /// `2..`; the worker is given no others. A range from 0 takes tasks that state no version, too.
    /// Each version of a kind has one handler, and together they leave no gap.
    pub fn task_versions<A>(
        self,
        kind: impl Into<String>,
        versions: impl RangeBounds<u32>,
        handler: impl Handler<S, A>,
    ) -> Self {
        let begin = registry::asynchronous(handler, self.state.clone());
        self.add("task_versions", kind.into(), (&versions, begin))
    }

    /// Runs tasks of this kind by a handler that blocks its thread.
    pub fn blocking_task<A>(
        self,
        kind: impl Into<String>,
        handler: impl BlockingHandler<S, A>,
    ) -> Self {
        let begin = registry::blocking(handler, self.state.clone());
        self.add("blocking_task", kind.into(), (&(..), begin))
    }

    /// [`WorkerBuilder::task_versions`] with a handler that blocks its thread.
    pub fn blocking_task_versions<A>(
        self,
        kind: impl Into<String>,
        versions: impl RangeBounds<u32>,
        handler: impl BlockingHandler<S, A>,
    ) -> Self {
        let begin = registry::blocking(handler, self.state.clone());
        self.add("blocking_task_versions", kind.into(), (&versions, begin))
    }

    /// Proposes settings for a kind that has a handler here. They hold until an operator sets the
    /// kind, or another worker proposes others.
    pub fn kind_defaults(mut self, kind: impl Into<String>, defaults: KindDefaults) -> Self {
        let kind = kind.into();
        if let Some(problem) = defaults.problem() {
            self.wrong("kind_defaults", format!("kind {kind:?}: {problem}"));
        } else if !self.registry.propose(kind.clone(), defaults) {
            let problem = format!("kind {kind:?} has two proposals; leave one");
            self.wrong("kind_defaults", problem);
        }
        self
    }

    /// Runs tasks of every kind that has no handler of its own; the worker then takes all kinds.
    pub fn fallback<A>(mut self, handler: impl Handler<S, A>) -> Self {
        let begin = registry::asynchronous(handler, self.state.clone());
        self.registry.set_fallback(begin);
        self
    }

    fn add(
        mut self,
        field: &'static str,
        kind: String,
        (versions, begin): (&impl RangeBounds<u32>, registry::Begin),
    ) -> Self {
        if !is_name(&kind) {
            self.wrong(field, format!("kind {kind:?} {NAME_RULE}"));
            return self;
        }
        let Some(versions) = Versions::of(versions) else {
            let problem = format!("kind {kind:?} has a range without a version; turn it round");
            self.wrong(field, problem);
            return self;
        };
        if !self.registry.add(kind.clone(), versions, begin) {
            let problem = format!("kind {kind:?} has two handlers for one version; leave one");
            self.wrong(field, problem);
        }
        self
    }

    fn wrong(&mut self, field: &'static str, problem: String) {
        self.problem.get_or_insert(BuildError { field, problem });
    }

    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// The first setting that cannot work.
    pub fn build(self) -> Result<Worker, BuildError> {
        if let Some(problem) = self.problem {
            return Err(problem);
        }
        let error = |field, problem| Err(BuildError { field, problem });
        let address: Address = match self.address.parse() {
            Ok(address) => address,
            Err(problem) => return error("builder", format!("{problem}")),
        };
        let host = host();
        let default_id = || format!("{}-{}", name_of(&host), std::process::id());
        let worker_id = self.worker_id.unwrap_or_else(default_id);
        for (field, name) in [("namespace", &self.namespace), ("worker_id", &worker_id)] {
            if !is_name(name) {
                return error(field, format!("{name:?} {NAME_RULE}"));
            }
        }
        if self.version.len() > NAME_BYTES_MAX {
            return error("version", format!("longer than {NAME_BYTES_MAX} bytes"));
        }
        check_queues(&self.queues)?;
        if self.slots == 0 || self.slots.saturating_add(self.prefetch) > TASKS_MAX {
            let problem = format!(
                "{} slots and {} prefetched; at least 1 slot, together at most {TASKS_MAX}",
                self.slots, self.prefetch
            );
            return error("slots", problem);
        }
        let kinds = self.registry.len();
        if self.registry.is_empty() || kinds > KINDS_MAX {
            let problem = format!("{kinds} kinds; add 1 to {KINDS_MAX}, or a fallback");
            return error("task", problem);
        }
        let declared = self.registry.declare();
        let Declared {
            kinds,
            declared_kinds,
        } = declared.map_err(|(field, problem)| BuildError { field, problem })?;
        let seed = match os_seed() {
            Ok(seed) => seed,
            Err(problem) => return error("builder", format!("{problem}")),
        };
        let worker = WorkerInfo {
            worker_id,
            version: self.version,
            host,
            queues: self.queues,
            kinds,
            declared_kinds,
        };
        let config = SessionConfig {
            namespace: self.namespace,
            worker,
            slots: self.slots,
            prefetch: self.prefetch,
            bytes_max: self.bytes_max,
        };
        let drain_timeout = self.drain_timeout;
        Ok(Worker {
            address,
            seed,
            config,
            registry: self.registry,
            drain_timeout,
        })
    }
}

fn check_queues(queues: &[QueueSubscription]) -> Result<(), BuildError> {
    let error = |problem| {
        Err(BuildError {
            field: "queue",
            problem,
        })
    };
    if queues.is_empty() || queues.len() > QUEUES_MAX {
        return error(format!("{} queues; name 1 to {QUEUES_MAX}", queues.len()));
    }
    for (index, QueueSubscription { queue, weight }) in queues.iter().enumerate() {
        if !is_name(queue) {
            return error(format!("{queue:?} {NAME_RULE}"));
        }
        if !(1..=WEIGHT_MAX).contains(weight) {
            return error(format!(
                "weight {weight} of {queue:?}; give 1 to {WEIGHT_MAX}"
            ));
        }
        if queues[..index]
            .iter()
            .any(|earlier| earlier.queue == *queue)
        {
            return error(format!("{queue:?} is named twice; name it once"));
        }
    }
    Ok(())
}

/// The machine's name, cut to what the protocol takes.
fn host() -> String {
    let name = rustix::system::uname();
    crate::report::clip(&name.nodename().to_string_lossy(), NAME_BYTES_MAX)
}

/// A host name as the beginning of a worker's name.
fn name_of(host: &str) -> String {
    let fits = |c: char| {
        if c.is_ascii_alphanumeric() || "._-".contains(c) {
            c
        } else {
            '-'
        }
    };
    let name: String = host.chars().map(fits).take(100).collect();
    let begins = name
        .bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_alphanumeric());
    if begins {
        name
    } else {
        format!("worker{name}")
    }
}
