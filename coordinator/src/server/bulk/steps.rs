//! A bulk act as a stream of its progress: a step is taken when the caller reads. Never goes ahead
//! of its reader.

use std::pin::Pin;

use futures::stream::{self, Stream, StreamExt as _};
use redrive_proto::v1 as pb;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::{BulkRun, Progress};
use crate::engine::rejection::Rejection;
use crate::server::status::Refused;

/// The progress of a bulk act, step by step.
pub(crate) type Stepwise<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Tells the progress of each step, until the act is over or the coordinator shuts down.
pub(crate) fn steps<T: 'static>(
    rpc: &'static str,
    run: BulkRun,
    shutdown: CancellationToken,
    told: fn(Progress) -> T,
) -> Stepwise<T> {
    let step = move |mut run: BulkRun| {
        let shutdown = shutdown.clone();
        async move {
            let next = if !shutdown.is_cancelled() {
                run.next().await?
            } else if run.stop() {
                Err(Rejection::ShuttingDown.into())
            } else {
                return None;
            };
            let told = next.map(told);
            Some((told.map_err(|refused: Refused| refused.status(rpc)), run))
        }
    };
    stream::unfold(run, step).boxed()
}

/// The filter of a selection as the caller wrote it, for the log.
pub(crate) fn filter_text(selection: Option<&pb::Selection>) -> String {
    selection.map_or_else(String::new, |selection| selection.filter.clone())
}
