//! What becomes of tasks, from enqueue to end, over real sockets.
//!
//! Handlers run in a worker of the SDK; the producers' and operators' side is the Rust client, or
//! the generated stubs where the client is too careful.

mod endings;
mod operators;
mod producers;
mod unary;

use redrive_client::NewTask;
use redrive_tests::{Harness, SdkWorker, make};
use redrive_worker::{Worker, WorkerBuilder};

/// A worker of the queue "q" with one slot.
fn worker(harness: &Harness) -> WorkerBuilder<()> {
    Worker::builder(harness.url())
        .worker_id("w")
        .queue("q", 1)
        .slots(1)
}

/// Runs a worker.
fn run(builder: Result<Worker, redrive_worker::BuildError>) -> SdkWorker {
    SdkWorker::start(builder.unwrap())
}

/// A task of the queue "q" that is tried so often, each time after so many milliseconds.
fn task(kind: &str, max_attempts: u32, delay_ms: u64) -> NewTask {
    NewTask::new("q", kind).inline_retry_policy(make::policy(max_attempts, delay_ms))
}
