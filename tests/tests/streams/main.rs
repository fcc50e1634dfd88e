//! The worker's stream as a protocol, spoken by hand: what holds for workers of any language.

mod leaving;
mod liveness;
mod protocol;

use redrive_client::NewTask;
use redrive_tests::{Harness, RawWorker, make};

/// A worker of the queue "q" that holds so many tasks.
async fn raw(harness: &Harness, worker_id: &str, tasks_max: u32) -> RawWorker {
    RawWorker::hello(harness.address(), make::hello(worker_id, "q", tasks_max)).await
}

/// Enqueues a task of the queue "q" that is retried at once, and answers its id.
async fn enqueue(harness: &Harness) -> String {
    let new = NewTask::new("q", "k").inline_retry_policy(make::policy(5, 1));
    harness.enqueue(new).await
}
