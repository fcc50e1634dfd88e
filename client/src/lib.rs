//! The Rust client of Redrive: enqueue tasks, follow them, operate queues and dead letters.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use redrive_client::{Client, NewTask, Waited};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), redrive_client::Error> {
//! let client = Client::connect("127.0.0.1:7480").await?;
//!
//! // One task.
//! let task = NewTask::new("mail", "welcome.send")
//!     .json(&["ada@example.com"])?
//!     .timeouts(None, Some(Duration::from_secs(30)))
//!     .label("tenant", "acme");
//! let accepted = client.enqueue(task).await?;
//!
//! // Its end, without polling.
//! match client.wait(&accepted.task_id, Duration::from_secs(300)).await? {
//!     Waited::Ended(task) => println!("{:?}", task.state()),
//!     Waited::TimedOut(task) => println!("still {:?}", task.state()),
//! }
//!
//! // Many tasks, without waiting for each.
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
//! coordinator's to decide. Invariant: a change is sent again only where it is certain that it was
//! not performed.

mod admin;
mod call;
mod check;
mod client;
mod clock;
pub mod connect;
mod enqueue_stream;
mod error;
#[cfg(test)]
mod fake;
pub mod limits;
mod page;
mod task;
#[cfg(test)]
mod wire_tests;

pub use client::{Client, DEADLINE_DEFAULT, Waited};
pub use connect::{Address, ReconnectBackoff};
pub use enqueue_stream::{EnqueueStream, EnqueueTotals, Ticket};
pub use error::{CallFailure, Error, FieldViolation};
pub use redrive_proto::v1;
pub use task::NewTask;
