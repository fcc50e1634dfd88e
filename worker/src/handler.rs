//! Handlers: plain functions whose arguments say what they want to know.
//!
//! Owns the extractors (`Json`, `Raw`, `State`, `TaskContext`) and the traits that turn a function
//! into a handler. No macro is needed by the user: any function of one to four extractors is one, in
//! any order, each left out at will; payload, state, context is the usual one.

use std::{future::Future, pin::Pin};

use bytes::Bytes;
use redrive_proto::v1::{FailureClass, Payload};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    context::TaskContext,
    error::{TaskError, TaskResult},
    report::{IntoResult, Outcome, json_payload},
};

/// A future that can be sent to another thread.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Something that a handler can have as an argument.
pub trait FromTask<S>: Sized {
    /// Takes it from the task and the worker's state.
    ///
    /// # Errors
    ///
    /// What to report where the task does not have it; the handler is not called.
    fn from_task(task: &TaskContext, state: &S) -> TaskResult<Self>;
}

/// The payload as JSON; as a result, a value sent as JSON.
///
/// A payload that is not the JSON that is wanted fails the task for good, with class INVALID.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Json<T>(pub T);

impl<S, T: DeserializeOwned> FromTask<S> for Json<T> {
    fn from_task(task: &TaskContext, _: &S) -> TaskResult<Self> {
        serde_json::from_slice(&task.payload().data)
            .map(Self)
            .map_err(|error| {
                let text = format!("the payload is not the json that the handler wants: {error}");
                TaskError::fatal(
                    TaskError::new(FailureClass::Invalid, text)
                        .with_type("rust:redrive_worker::InvalidPayload"),
                )
            })
    }
}

impl<T: Serialize> IntoResult for Json<T> {
    fn into_result(self) -> TaskResult<redrive_proto::v1::Complete> {
        json_payload(&self.0)?.into_result()
    }
}

/// The payload's bytes as they are; as a result, bytes without a content type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Raw(pub Bytes);

impl<S> FromTask<S> for Raw {
    fn from_task(task: &TaskContext, _: &S) -> TaskResult<Self> {
        Ok(Self(task.payload().data.clone()))
    }
}

impl IntoResult for Raw {
    fn into_result(self) -> TaskResult<redrive_proto::v1::Complete> {
        Payload {
            data: self.0,
            content_type: String::new(),
        }
        .into_result()
    }
}

/// A clone of the worker's state, given to the builder by `with_state`.
#[derive(Clone, Copy, Debug, Default)]
pub struct State<S>(pub S);

impl<S: Clone> FromTask<S> for State<S> {
    fn from_task(_: &TaskContext, state: &S) -> TaskResult<Self> {
        Ok(Self(state.clone()))
    }
}

impl<S> FromTask<S> for TaskContext {
    fn from_task(task: &TaskContext, _: &S) -> TaskResult<Self> {
        Ok(task.clone())
    }
}

/// An asynchronous handler: `async fn(Json<T>, State<S>, TaskContext) -> TaskResult<R>` and the like.
///
/// `Args` only tells the compiler which implementation is meant; it is never named by users.
pub trait Handler<S, Args>: Send + Sync + 'static {
    /// Begins one run. The state is cloned if the handler asks for it.
    fn call(&self, task: TaskContext, state: &S) -> BoxFuture<Outcome>;
}

/// A handler that blocks its thread: `fn(Json<T>, State<S>, TaskContext) -> TaskResult<R>`.
///
/// It runs on tokio's blocking threads (512 unless the runtime says otherwise: more slots than that
/// wait for a thread while their limits already count). It cannot be interrupted: at its hard
/// limit the run is reported as failed, and its slot comes back when the function returns. Ask
/// [`TaskContext::stop_reason`] now and then.
pub trait BlockingHandler<S, Args>: Send + Sync + 'static {
    /// Runs to the end on this thread.
    fn call(&self, task: TaskContext, state: &S) -> Outcome;
}

/// The outcome of what a handler returned.
fn outcome_of<R: IntoResult, E: Into<TaskError>>(returned: Result<R, E>) -> Outcome {
    match returned.map_err(Into::into).and_then(R::into_result) {
        Ok(complete) => Outcome::complete(complete),
        Err(error) => error.into(),
    }
}

macro_rules! handlers {
    ($(($($arg:ident $value:ident),*))*) => { $(
        impl<S, F, Fut, R, E, $($arg),*> Handler<S, ($($arg,)*)> for F
        where
            S: Clone + Send + Sync + 'static,
            F: Fn($($arg),*) -> Fut + Clone + Send + Sync + 'static,
            Fut: Future<Output = Result<R, E>> + Send + 'static,
            R: IntoResult + Send + 'static,
            E: Into<TaskError> + Send + 'static,
            $($arg: FromTask<S> + Send + 'static,)*
        {
            fn call(&self, task: TaskContext, state: &S) -> BoxFuture<Outcome> {
                let handler = self.clone();
                let state = state.clone();
                // All of it runs in the future, where a panic is caught.
                Box::pin(async move {
                    $(let $value = match $arg::from_task(&task, &state) {
                        Ok(value) => value,
                        Err(error) => return error.into(),
                    };)*
                    outcome_of(handler($($value),*).await)
                })
            }
        }

        impl<S, F, R, E, $($arg),*> BlockingHandler<S, ($($arg,)*)> for F
        where
            S: Clone + Send + Sync + 'static,
            F: Fn($($arg),*) -> Result<R, E> + Send + Sync + 'static,
            R: IntoResult,
            E: Into<TaskError>,
            $($arg: FromTask<S>,)*
        {
            fn call(&self, task: TaskContext, state: &S) -> Outcome {
                $(let $value = match $arg::from_task(&task, state) {
                    Ok(value) => value,
                    Err(error) => return error.into(),
                };)*
                outcome_of(self($($value),*))
            }
        }
    )* };
}

handlers! { (A1 a1) (A1 a1, A2 a2) (A1 a1, A2 a2, A3 a3) (A1 a1, A2 a2, A3 a3, A4 a4) }
