//! Which handler runs which kind.
//!
//! Owns the handlers, with the worker's state inside each. Never runs one: the pool does.

use std::{collections::BTreeMap, fmt, sync::Arc};

use redrive_proto::v1::FailureClass;

use crate::{
    context::TaskContext,
    handler::{BlockingHandler, BoxFuture, Handler},
    report::{Outcome, failure},
};

/// One run, ready to be started.
pub(crate) enum Work {
    Async(BoxFuture<Outcome>),
    Blocking(Box<dyn FnOnce() -> Outcome + Send>),
}

/// Begins a run of the handler that it holds.
pub(crate) type Begin = Arc<dyn Fn(TaskContext) -> Work + Send + Sync>;

/// The handlers of a worker, by kind.
#[derive(Clone, Default)]
pub(crate) struct Registry {
    kinds: BTreeMap<String, Begin>,
    fallback: Option<Begin>,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds: Vec<_> = self.kinds.keys().collect();
        f.debug_struct("Registry")
            .field("kinds", &kinds)
            .finish_non_exhaustive()
    }
}

pub(crate) fn asynchronous<S, A, H>(handler: H, state: S) -> Begin
where
    S: Clone + Send + Sync + 'static,
    H: Handler<S, A>,
{
    Arc::new(move |task| Work::Async(handler.call(task, &state)))
}

pub(crate) fn blocking<S, A, H>(handler: H, state: S) -> Begin
where
    S: Clone + Send + Sync + 'static,
    H: BlockingHandler<S, A>,
{
    let handler = Arc::new(handler);
    Arc::new(move |task| {
        let (handler, state) = (Arc::clone(&handler), state.clone());
        Work::Blocking(Box::new(move || handler.call(task, &state)))
    })
}

impl Registry {
    /// Adds a handler. False where the kind has one already.
    pub(crate) fn add(&mut self, kind: String, begin: Begin) -> bool {
        self.kinds.insert(kind, begin).is_none()
    }

    /// Sets the handler of every kind that has none of its own.
    pub(crate) fn set_fallback(&mut self, begin: Begin) {
        self.fallback = Some(begin);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.kinds.is_empty() && self.fallback.is_none()
    }

    /// The kinds to ask the coordinator for; none means every kind.
    pub(crate) fn kinds(&self) -> Vec<String> {
        if self.fallback.is_some() {
            Vec::new()
        } else {
            self.kinds.keys().cloned().collect()
        }
    }

    /// One run of the task, not started. A kind without a handler fails with class UNKNOWN_KIND.
    pub(crate) fn begin(&self, task: TaskContext) -> Work {
        match self.kinds.get(task.kind()).or(self.fallback.as_ref()) {
            Some(begin) => begin(task),
            None => {
                let text = format!("this worker has no handler for kind {:?}", task.kind());
                let unknown = failure(FailureClass::UnknownKind, UNKNOWN_KIND, &text);
                Work::Async(Box::pin(async move { Outcome::fail(unknown) }))
            }
        }
    }
}

const UNKNOWN_KIND: &str = "rust:redrive_worker::UnknownKind";
