//! A worker of the Rust SDK, running in the background.
//!
//! Owns its task and the way to stop it. Dropping it aborts the worker as a crash would.

use redrive_worker::{RunError, Stop, StopReport, Worker};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;

use crate::wait::within;

/// A worker that runs.
#[derive(Debug)]
pub struct SdkWorker {
    stops: mpsc::Sender<Stop>,
    running: JoinSet<Result<StopReport, RunError>>,
}

impl SdkWorker {
    /// Runs a worker.
    #[must_use]
    pub fn start(worker: Worker) -> Self {
        let (stops, asked) = mpsc::channel(2);
        let mut running = JoinSet::new();
        running.spawn(worker.run(ReceiverStream::new(asked)));
        Self { stops, running }
    }

    /// Asks it to leave, as the first SIGTERM does, or at once, as the second one does.
    pub async fn ask(&self, stop: Stop) {
        self.stops
            .send(stop)
            .await
            .expect("it takes stops while it runs");
    }

    /// Waits until it has left.
    ///
    /// # Errors
    /// Why it ended without finishing.
    pub async fn left(&mut self) -> Result<StopReport, RunError> {
        let left = within("the worker's leave", self.running.join_next()).await;
        left.expect("it leaves once").expect("it does not panic")
    }

    /// Asks it to leave and waits until it has.
    pub async fn stop(mut self) -> StopReport {
        self.ask(Stop::Drain).await;
        self.left().await.unwrap()
    }
}
