//! The Rust client of Redrive: enqueue tasks, follow them, operate queues and dead letters.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use redrive_client::{Client, NewTask, NextTask, TaskRef, Waited};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), redrive_client::Error> {
//! let client = Client::connect("127.0.0.1:7480").await?;
//!
//! // One task. Enqueued again with this key it would be answered with the same id.
//! let task = NewTask::new("mail", "welcome.send")
//!     .json(&["ada@example.com"])?
//!     .timeouts(None, Some(Duration::from_secs(30)))
//!     .idempotency_key("welcome:4711")
//!     .on_exhausted(NextTask::new("welcome.gave-up"))
//!     .label("tenant", "acme");
//! let accepted = client.enqueue(task).await?;
//! println!("{} {:?}", accepted.task_id, accepted.effect());
//!
//! // Its end and its result, without polling; by its id, or by its key.
//! let named = TaskRef::key("mail", "welcome:4711");
//! match client.wait(named, Duration::from_secs(300)).await? {
//!     Waited::Ended(task) => println!("{:?} {:?}", task.state(), task.result),
//!     Waited::TimedOut(task) => println!("still {:?}", task.state()),
//! }
//!
//! // Many tasks, without waiting for each. A cut loses none and doubles none.
//! let stream = client.enqueue_stream();
//! let mut tickets = Vec::new();
//! for user in ["ada", "grace"] {
//!     tickets.push(stream.send(NewTask::new("mail", "welcome.send").json(user)?).await?);
//! }
//! for ticket in tickets {
//!     match ticket.await {
//!         Ok(task_id) => println!("accepted as {task_id}"),
//!         Err(error) if error.is_outcome_unknown() => println!("look before resending: {error}"),
//!         Err(error) => println!("not accepted: {error}"),
//!     }
//! }
//! stream.finish().await?;
//! # Ok(())
//! # }
//! ```
//!
//! Answers are the messages of the protocol, [`v1`]. Every call has a deadline; what may safely be
//! tried again is tried again until then, with jittered pauses, and [`Error`] says of every failure
//! whether the call can have been performed.
//!
//! Owns no state but the connection. Never judges a task: what a failure means is the
//! coordinator's to decide. Invariant: a change is sent again only under the name that it was sent
//! with, by which the coordinator performs it once, or where it is certain that it was not performed.

mod admin;
mod call;
mod check;
mod check_life;
mod client;
mod clock;
pub mod connect;
mod dead_letters;
mod enqueue;
mod enqueue_stream;
mod error;
#[cfg(test)]
mod fake;
mod follow;
pub mod limits;
mod names;
mod next_task;
mod page;
mod queues;
mod task;
mod task_ref;
#[cfg(test)]
mod wire_tests;

pub use client::{Client, DEADLINE_DEFAULT};
pub use connect::{Address, ReconnectBackoff};
pub use enqueue::Accepted;
pub use enqueue_stream::{EnqueueStream, EnqueueTotals, Ticket};
pub use error::{CallFailure, Error, FieldViolation};
pub use follow::Waited;
pub use next_task::{NextTask, UniqueKey};
pub use redrive_proto::v1;
pub use task::NewTask;
pub use task_ref::{Cancel, TaskRef, TaskUpdate};
