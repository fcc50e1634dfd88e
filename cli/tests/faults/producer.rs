//! A producer that sends one task after the other and takes down what it was answered.
//!
//! Owns the tasks, large enough that files fill while it works. Never sends one twice.

use std::time::{Duration, SystemTime};

use redrive_client::{CallFailure, Client, Error, NewTask};
use redrive_tests::{
    process::{Coordinator, Setup},
    wait::within,
};

/// Bytes of a payload: a file of the journal takes ten.
const PAYLOAD_BYTES: usize = 100 * 1024;
/// How long a call may take before its outcome counts as unknown.
const DEADLINE: Duration = Duration::from_secs(2);
/// How long a coordinator that has not begun to listen is waited for at a time.
const CONNECT_DEADLINE: Duration = Duration::from_millis(100);

/// One task that was sent.
#[derive(Debug)]
pub(crate) struct Sent {
    /// Before it was sent.
    pub(crate) begun_at: SystemTime,
    /// After it was answered, or not.
    pub(crate) ended_at: SystemTime,
    /// What came of it.
    pub(crate) answer: Answer,
}

/// What the producer knows of a task.
#[derive(Debug)]
pub(crate) enum Answer {
    /// It was accepted: its id.
    Accepted(String),
    /// It was not.
    Refused(Box<CallFailure>),
    /// It may have been.
    Unknown,
}

/// Sends so many tasks, unless the coordinator ends first.
pub(crate) async fn send(setup: &Setup, coordinator: &mut Coordinator, tasks: usize) -> Vec<Sent> {
    let client = Client::lazy(&setup.address().to_string()).unwrap();
    let mut sent = Vec::new();
    while sent.len() < tasks && coordinator.ended().is_none() {
        sent.extend(send_one(&client, DEADLINE).await);
    }
    sent
}

/// Sends tasks until the coordinator has ended, which it must.
pub(crate) async fn send_until_end(setup: &Setup, coordinator: &mut Coordinator) -> Vec<Sent> {
    let client = Client::lazy(&setup.address().to_string()).unwrap();
    let mut sent = Vec::new();
    let sending = async {
        while coordinator.ended().is_none() {
            let deadline = if sent.is_empty() {
                CONNECT_DEADLINE
            } else {
                DEADLINE
            };
            sent.extend(send_one(&client, deadline).await);
        }
    };
    within("the coordinator ends by its failing disk", sending).await;
    sent
}

/// Sends a task; `None` where nobody listened.
#[expect(
    clippy::disallowed_methods,
    reason = "compared with the tracer's instants"
)]
pub(crate) async fn send_one(client: &Client, deadline: Duration) -> Option<Sent> {
    let task = NewTask::new("faults", "work").bytes(vec![7; PAYLOAD_BYTES], "");
    let begun_at = SystemTime::now();
    let answered = client.clone().with_deadline(deadline).enqueue(task).await;
    let ended_at = SystemTime::now();
    let answer = match answered {
        Ok(accepted) => Answer::Accepted(accepted.task_id),
        Err(Error::Refused(failure)) => Answer::Refused(failure),
        Err(Error::Connect { .. } | Error::NotSent { .. }) => return None,
        Err(Error::OutcomeUnknown(_) | Error::Unanswered(_) | Error::Incomplete { .. }) => {
            Answer::Unknown
        }
        Err(error @ Error::Invalid { .. }) => panic!("a task that cannot be one: {error}"),
    };
    Some(Sent {
        begun_at,
        ended_at,
        answer,
    })
}
