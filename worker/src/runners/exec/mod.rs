//! Tasks that are processes.
//!
//! Owns the way from a task to a process to an outcome. Each task runs the command once, in a
//! process group of its own; the payload is its standard input, the task's facts are in variables
//! (see [`facts`]), its standard output is the result. The exit decides, by the codes of sysexits.h:
//!
//! | how it ended | reported as |
//! |---|---|
//! | 0 | completed |
//! | 75 (EX_TEMPFAIL) | a retry, at the time the policy says |
//! | 65 (EX_DATAERR) | INVALID |
//! | 68 (EX_NOHOST) | NETWORK |
//! | 69 (EX_UNAVAILABLE) | DEPENDENCY_DOWN |
//! | 76 (EX_PROTOCOL) | CONFLICT |
//! | 77 (EX_NOPERM) | AUTH |
//! | any other code; a command that cannot be started | INTERNAL |
//! | killed by a signal that the worker did not send | WORKER_LOST |
//! | not 0 after the SIGTERM of its soft limit | TIMEOUT |
//! | not 0 after the SIGTERM of a cancel | given back, which ends a cancelled task |
//!
//! A process that was killed is a crash: a report has no word for that, so it is a failure of class
//! WORKER_LOST, which the coordinator counts as a crash and not as an attempt, so that a payload
//! that brings its handler down is quarantined after few tries.
//!
//! SIGTERM goes to the whole group at the soft limit or on a cancel. SIGKILL goes to the whole
//! group at the hard limit or the task's deadline, when the lease is lost, when the worker leaves, and
//! when the grace of a cancel is over, 30 s after one without a grace. When the command has exited, whatever it left running in its group is killed too. A process that
//! left the group is out of reach.

mod facts;
mod pipes;
#[cfg(test)]
mod tests;

use std::{
    ffi::{OsStr, OsString},
    io,
    os::unix::process::ExitStatusExt as _,
    pin::pin,
    process::{ExitStatus, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use redrive_proto::v1::{Complete, FailureClass, Payload};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    process::{Child, Command},
    time::timeout,
};

use crate::{
    context::{StopReason, TaskContext},
    error::{TaskError, TaskResult},
    handler::{BoxFuture, Handler},
    report::Outcome,
};

pub use facts::facts;
use pipes::Pipes;

/// How much of the standard output is kept, unless said otherwise: 64 KiB.
pub const DEFAULT_RESULT_BYTES_MAX: usize = 65_536;
/// The most that can be kept of it: the most bytes of a result.
pub const RESULT_BYTES_LIMIT: usize = 262_144;
/// How many of the last lines of the standard error go into a failure.
pub const STDERR_LINES_MAX: usize = 50;
/// The outcome label of a result that was cut at its bound.
pub const TRUNCATED_LABEL: &str = "result-truncated";
/// How long a cancelled command may take to end by itself, unless the cancel says.
const CANCEL_GRACE: Duration = Duration::from_secs(30);
/// How long output may still arrive when the command has exited and its group is gone.
const PIPES_WITHIN: Duration = Duration::from_secs(1);

/// How the command is run.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many bytes of the standard output are kept; the rest is read and dropped, and the outcome
    /// is labelled [`TRUNCATED_LABEL`]. At most 262,144. Default: 65,536.
    pub result_bytes_max: usize,
    /// The content type of the results, at most 128 bytes. Default: none.
    pub content_type: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            result_bytes_max: DEFAULT_RESULT_BYTES_MAX,
            content_type: String::new(),
        }
    }
}

/// An option that cannot work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
#[non_exhaustive]
pub struct OptionError {
    /// Which one.
    pub field: &'static str,
    /// What is wrong and what would be right.
    pub problem: String,
}

#[derive(Debug)]
struct Config {
    program: OsString,
    arguments: Vec<OsString>,
    options: Options,
}

/// A handler that runs one process a task.
#[derive(Clone, Debug)]
pub struct Runner {
    config: Arc<Config>,
}

impl Runner {
    /// A runner of `program` with these arguments. No shell is involved; the environment is the
    /// worker's own.
    ///
    /// # Errors
    ///
    /// Where the program is not named or an option is out of bounds.
    pub fn new(
        program: impl Into<OsString>,
        arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
        options: Options,
    ) -> Result<Self, OptionError> {
        let wrong = |field, problem: &str| {
            Err(OptionError {
                field,
                problem: problem.to_owned(),
            })
        };
        let program = program.into();
        if program.is_empty() {
            return wrong("command", "is empty; name the program to run");
        }
        if options.result_bytes_max > RESULT_BYTES_LIMIT {
            return wrong("result_bytes_max", "is above the limit of 262144 bytes");
        }
        if options.content_type.len() > 128 {
            return wrong("content_type", "is longer than 128 bytes");
        }
        let arguments = arguments
            .into_iter()
            .map(|argument| argument.as_ref().to_owned());
        let config = Config {
            program,
            arguments: arguments.collect(),
            options,
        };
        Ok(Self {
            config: Arc::new(config),
        })
    }

    async fn run(&self, task: &TaskContext) -> TaskResult<Complete> {
        let Config {
            program,
            arguments,
            options,
        } = &*self.config;
        let spawned = Command::new(program)
            .args(arguments)
            .envs(facts(task))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn();
        let mut child = spawned.map_err(|error| {
            let text = format!(
                "the command {} cannot be started: {error}",
                program.display()
            );
            TaskError::from(error)
                .with_class(FailureClass::Internal)
                .with_type("exec:spawn")
                .with_reason(&text)
        })?;
        // Owned from here on: however this future ends, the group is gone.
        let group = Group::of(&child)?;
        let mut pipes = Pipes::of(
            &mut child,
            task.payload().data.clone(),
            options.result_bytes_max,
        );

        let ended = {
            let mut pump = pin!(pipes.pump());
            let mut pumped = false;
            let mut supervised = pin!(supervise(&mut child, &group, task));
            let ended = loop {
                tokio::select! {
                    ended = &mut supervised => break ended?,
                    () = &mut pump, if !pumped => pumped = true,
                }
            };
            group.end();
            if !pumped && timeout(PIPES_WITHIN, pump).await.is_err() {
                tracing::debug!(
                    task = task.id(),
                    "a process outside the group keeps the pipes"
                );
            }
            ended
        };
        self.judge(&ended, pipes)
    }

    fn judge(&self, ended: &Ended, pipes: Pipes) -> TaskResult<Complete> {
        let (output, truncated, errors) = pipes.into_parts();
        if ended.status.success() {
            let content_type = self.config.options.content_type.clone();
            let result = Payload {
                data: output.into(),
                content_type,
            };
            let outcome_label = if truncated { TRUNCATED_LABEL } else { "" }.to_owned();
            return Ok(Complete {
                result: Some(result),
                outcome_label,
            });
        }
        let error = match ended.asked {
            None => by_status(ended.status, errors.lines().last()),
            Some(StopReason::SoftTimeout) => TaskError::new(
                FailureClass::Timeout,
                format!(
                    "the command ended with {} after its soft limit",
                    ended.status
                ),
            )
            .with_type("exec:soft-timeout"),
            Some(
                StopReason::Requested
                | StopReason::HardTimeout
                | StopReason::LeaseLost
                | StopReason::Leaving
                | StopReason::Deadline
                | StopReason::Revoked,
            ) => return Err(TaskError::release("the command was stopped when asked to")),
        };
        Err(error.with_stack(&errors))
    }
}

/// Names the implementation below; never a value.
#[derive(Debug)]
pub enum ExecTask {}

impl<S: Send + Sync + 'static> Handler<S, ExecTask> for Runner {
    fn call(&self, task: TaskContext, _: &S) -> BoxFuture<Outcome> {
        let runner = self.clone();
        Box::pin(async move {
            match runner.run(&task).await {
                Ok(complete) => Outcome::complete(complete),
                Err(error) => error.into(),
            }
        })
    }
}

/// How the command ended, and whether it had been asked to.
struct Ended {
    status: ExitStatus,
    asked: Option<StopReason>,
}

/// Waits for the command, and asks it to stop when the task says so.
async fn supervise(child: &mut Child, group: &Group, task: &TaskContext) -> io::Result<Ended> {
    let reason = tokio::select! {
        biased;
        status = child.wait() => return Ok(Ended { status: status?, asked: None }),
        reason = task.stopped() => reason,
    };
    group.signal(Signal::TERM);
    let asked = Some(reason);
    if reason == StopReason::SoftTimeout {
        // The hard limit, where there is one, ends this future.
        return Ok(Ended {
            status: child.wait().await?,
            asked,
        });
    }
    let grace = task.cancellation().and_then(|order| order.grace);
    if let Ok(status) = timeout(grace.unwrap_or(CANCEL_GRACE), child.wait()).await {
        return Ok(Ended {
            status: status?,
            asked,
        });
    }
    group.signal(Signal::KILL);
    Ok(Ended {
        status: child.wait().await?,
        asked,
    })
}

/// The process group of a command. Killed when dropped.
#[derive(Debug)]
struct Group {
    id: Pid,
    /// Set once it was killed after its leader's exit: its id may then name another group.
    gone: AtomicBool,
}

impl Group {
    fn of(child: &Child) -> io::Result<Self> {
        let id = child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw);
        id.map(|id| Self {
            id,
            gone: AtomicBool::new(false),
        })
        .ok_or_else(|| io::Error::other("the process has no id"))
    }

    /// Sends a signal to all of it. A group that is gone has nothing to hear.
    fn signal(&self, signal: Signal) {
        if let Err(error) = kill_process_group(self.id, signal) {
            tracing::trace!(group = ?self.id, %error, "no signal was sent");
        }
    }

    /// Kills all of it, once.
    fn end(&self) {
        if !self.gone.swap(true, Ordering::Relaxed) {
            self.signal(Signal::KILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.end();
    }
}

/// The failure of a command that ended by itself, and not well.
fn by_status(status: ExitStatus, last_line: Option<&str>) -> TaskError {
    let last_line = last_line
        .map(|line| format!(": {line}"))
        .unwrap_or_default();
    if let Some(signal) = status.signal() {
        let text = format!("the command was killed by signal {signal}{last_line}");
        return TaskError::new(FailureClass::WorkerLost, text)
            .with_type(&format!("exec:signal:{signal}"))
            .with_ancestor("exec:signal");
    }
    let code = status.code().unwrap_or(-1);
    let text = format!("the command exited with {code}{last_line}");
    let error = TaskError::new(code_class(code), text)
        .with_type(&format!("exec:exit:{code}"))
        .with_ancestor("exec:exit");
    if code == EX_TEMPFAIL {
        error.into_retry()
    } else {
        error
    }
}

/// "Try again later": sysexits.h.
const EX_TEMPFAIL: i32 = 75;

/// The class of an exit code other than 0, after sysexits.h.
fn code_class(code: i32) -> FailureClass {
    match code {
        65 => FailureClass::Invalid,
        68 => FailureClass::Network,
        69 => FailureClass::DependencyDown,
        76 => FailureClass::Conflict,
        77 => FailureClass::Auth,
        _ => FailureClass::Internal,
    }
}
