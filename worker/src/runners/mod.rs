//! Ready-made handlers: tasks that are HTTP requests, tasks that are processes.
//!
//! Each is a library type that `WorkerBuilder::fallback` or `task` takes as it is. Neither decides
//! about retries: each maps what it saw to a failure's class, by a table in its documentation.

pub mod exec;
pub mod http;
