//! The Rust worker SDK of Redrive, and its built-in runners.
//!
//! A worker keeps one stream to the coordinator, runs what it is handed and reports how it went.
//! The coordinator alone decides what a failure means: there is no retry logic here.
//!
//! ```no_run
//! use redrive_worker::{FailureClass, Json, State, TaskContext, TaskError, TaskResult, Worker};
//!
//! #[derive(serde::Deserialize)]
//! struct Order { id: String, cents: u64 }
//!
//! #[derive(Clone)]
//! struct Ledger(std::path::PathBuf);
//!
//! async fn charge(
//!     Json(order): Json<Order>,
//!     State(ledger): State<Ledger>,
//!     task: TaskContext,
//! ) -> TaskResult<Json<u64>> {
//!     if order.cents == 0 {
//!         return Err(TaskError::fatal(TaskError::new(FailureClass::Business, "nothing to charge")));
//!     }
//!     std::fs::write(ledger.0.join(task.id()), &order.id)?; // `?` on any error: retryable
//!     Ok(Json(order.cents))
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let report = Worker::builder("http://127.0.0.1:7480")
//!     .queue("payments", 1)
//!     .slots(32)
//!     .with_state(Ledger("ledger".into()))
//!     .task("charge", charge)
//!     .build()?
//!     .run_until_signalled()
//!     .await?;
//! std::process::exit(report.exit_code().into());
//! # }
//! ```
//!
//! What holds for every handler:
//! - `?` on any error is a failure that the retry policy judges by class, type and ancestors;
//!   [`TaskError`] says more: fatal, come back later, put off, give back, drop.
//! - A panic is a failure of class INTERNAL and type "panic", and may be retried.
//! - A soft limit, a cancel and a drain are signals in the [`TaskContext`]; the hard limit ends an
//!   asynchronous handler at its next await.
//! - A long run tells its [`TaskContext`] how far it is, saves checkpoints for the next run, and asks
//!   for more time. No run outlives its task's deadline.
//! - A result is kept until the coordinator has recorded it, over any number of reconnects. A task
//!   may still run twice: make effects idempotent by its id, or guard them by its fence.

mod builder;
mod clock;
mod context;
mod driver;
mod error;
mod failure_context;
mod handler;
mod kinds;
mod names;
mod pool;
mod registry;
pub mod report;
pub mod runners;
pub mod session;
mod signals;
mod stream;
pub mod testing;

pub use builder::{
    BuildError, DEFAULT_BYTES_MAX, DEFAULT_DRAIN_TIMEOUT, DEFAULT_SLOTS, KINDS_MAX, QUEUES_MAX,
    RunError, WEIGHT_MAX, Worker, WorkerBuilder,
};
pub use context::{Cancellation, ExtendError, StopReason, TaskContext, Timeouts};
pub use error::{ResultExt, TaskError, TaskResult};
pub use failure_context::{Content, FailureContext, FailureFacts, RunFacts, Transition};
pub use handler::{BlockingHandler, BoxFuture, FromTask, Handler, Json, Raw, State};
pub use kinds::{FollowUp, KindDefaults};
pub use report::{IntoResult, Labelled, Outcome};
pub use session::StopReport;
pub use signals::{Stop, stops};

pub use redrive_proto::v1::{
    Cause, DeliveryMode, Failure, FailureClass, Payload, Priority, RetryPolicy,
};
