//! What the coordinator says became of each delivery, in the demo's own words.
//!
//! Owns the facts that the books and the tables are made of, and how a task of the protocol is
//! read. Never judges them.

use std::time::{Duration, SystemTime};

use redrive_proto::v1::{self, FailureClass, RunOutcome, TaskState};

use super::behaviour::Behaviour;
use super::policy::duration;

/// One delivery, as the coordinator tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TaskFacts {
    /// Its id.
    pub(super) task_id: String,
    /// How the upstream treated it.
    pub(super) behaviour: Behaviour,
    /// Where it stands.
    pub(super) end: End,
    /// How often it was handed out.
    pub(super) runs_total: u32,
    /// The runs that the coordinator remembers, oldest first.
    pub(super) runs: Vec<RunFacts>,
    /// How often it was redriven.
    pub(super) redrives: u32,
    /// Runs that it had when it was redriven; 0 where it was not.
    pub(super) runs_before_redrive: u32,
    /// The class of its latest failure.
    pub(super) last_class: Option<FailureClass>,
    /// What its latest failure said, in brief.
    pub(super) message: String,
}

/// Where a task stands at the end of the demo.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum End {
    /// It was delivered.
    Succeeded,
    /// It is a dead letter, for this reason.
    Dead(String),
    /// It ended for good without being delivered, for example FAILED by a rule that wants no dead
    /// letter: the state's name.
    Otherwise(String),
    /// It has not ended: the state's name. The books do not balance.
    Unfinished(String),
}

/// One run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RunFacts {
    /// Its number, from 1.
    pub(super) run: u32,
    /// The attempt, from 1, counted since the latest redrive.
    pub(super) attempt: u32,
    /// Who ran it.
    pub(super) worker_id: String,
    /// Whether the worker said that it began.
    pub(super) started: bool,
    /// How it ended.
    pub(super) outcome: RunOutcome,
    /// The class of its failure, where it failed.
    pub(super) class: Option<FailureClass>,
    /// The rule that decided what follows; empty for the policy's own backoff.
    pub(super) rule: String,
    /// The delay drawn, where another run followed.
    pub(super) delay: Option<Duration>,
    /// When it was leased, on the coordinator's clock.
    pub(super) leased: SystemTime,
    /// When it ended, on the coordinator's clock.
    pub(super) ended: SystemTime,
}

impl TaskFacts {
    /// Reads a task.
    pub(super) fn of(task: &v1::Task, behaviour: Behaviour, runs_before_redrive: u32) -> Self {
        let failure = task.last_failure.as_ref();
        Self {
            task_id: task.task_id.clone(),
            behaviour,
            end: End::of(task.state(), &task.state_reason),
            runs_total: task.runs,
            runs: task.history.iter().map(RunFacts::of).collect(),
            redrives: task.redrives,
            runs_before_redrive,
            last_class: failure.map(v1::Failure::failure_class),
            message: failure.map(brief).unwrap_or_default(),
        }
    }

    /// Its remembered runs since the latest redrive.
    pub(super) fn budget_before(&self, run: &RunFacts) -> impl Iterator<Item = &RunFacts> {
        let redriven_at = self.runs_before_redrive;
        let from = if run.run > redriven_at {
            redriven_at
        } else {
            0
        };
        let until = run.run;
        self.runs
            .iter()
            .filter(move |other| other.run > from && other.run < until)
    }
}

/// A failure of the http runner without what is the same for all: of an answer the status and what
/// its body says, of a broken call the innermost cause.
fn brief(failure: &v1::Failure) -> String {
    let Some((status, _url)) = failure.message.split_once(", from ") else {
        let cause = failure.message.rsplit(": ").next();
        return cause.unwrap_or_default().to_owned();
    };
    let body: serde_json::Value = serde_json::from_str(&failure.stack).unwrap_or_default();
    match body.get("error").and_then(serde_json::Value::as_str) {
        Some(error) => format!("{status}: {error}"),
        None => status.to_owned(),
    }
}

impl End {
    fn of(state: TaskState, reason: &str) -> Self {
        let name = || {
            let name = state.as_str_name();
            name.strip_prefix("TASK_STATE_").unwrap_or(name).to_owned()
        };
        match state {
            TaskState::Succeeded => Self::Succeeded,
            TaskState::Dead => Self::Dead(reason.to_owned()),
            TaskState::Failed | TaskState::Cancelled | TaskState::Discarded | TaskState::Routed => {
                Self::Otherwise(name())
            }
            TaskState::Unspecified
            | TaskState::Scheduled
            | TaskState::Ready
            | TaskState::Leased
            | TaskState::Running
            | TaskState::Retrying => Self::Unfinished(name()),
        }
    }
}

/// An instant of the protocol; one that is missing, which no run that ended has, is the epoch.
fn instant(at: Option<prost_types::Timestamp>) -> SystemTime {
    at.and_then(|at| SystemTime::try_from(at).ok())
        .unwrap_or(SystemTime::UNIX_EPOCH)
}

impl RunFacts {
    fn of(run: &v1::Run) -> Self {
        Self {
            run: run.run,
            attempt: run.attempt,
            worker_id: run.worker_id.clone(),
            started: run.started,
            outcome: run.outcome(),
            class: run.failure.as_ref().map(v1::Failure::failure_class),
            rule: run.rule.clone(),
            delay: run.delay.as_ref().map(duration),
            leased: instant(run.lease_time),
            ended: instant(run.end_time),
        }
    }

    /// True where the worker itself told how it ended: it ran to its end there.
    pub(super) fn is_reported(&self) -> bool {
        match self.outcome {
            RunOutcome::Succeeded
            | RunOutcome::Failed
            | RunOutcome::Retried
            | RunOutcome::Deferred
            | RunOutcome::Discarded => true,
            RunOutcome::Unspecified
            | RunOutcome::Released
            | RunOutcome::TimedOut
            | RunOutcome::Crashed
            | RunOutcome::Unstarted
            | RunOutcome::Cancelled => false,
        }
    }

    /// True where its worker was lost, so that nobody can say how far it came.
    pub(super) fn is_lost(&self) -> bool {
        matches!(self.outcome, RunOutcome::Crashed | RunOutcome::Unstarted)
    }

    /// True where a failure of its own was followed by another run.
    pub(super) fn is_retried(&self) -> bool {
        self.delay.is_some()
            && matches!(
                self.outcome,
                RunOutcome::Failed | RunOutcome::Retried | RunOutcome::TimedOut
            )
    }
}

/// The coordinator's own totals of one queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct QueueFacts {
    /// Its name.
    pub(super) queue: String,
    /// Accepted.
    pub(super) enqueued: u64,
    /// Ended well.
    pub(super) succeeded: u64,
    /// Dead letters now.
    pub(super) dead: u64,
    /// Waiting or running.
    pub(super) live: u64,
    /// Crashes counted.
    pub(super) crashes: u64,
    /// Failures counted.
    pub(super) failures: u64,
    /// Runs that failed and wait for their next attempt now.
    pub(super) retrying: u64,
    /// Held by workers now.
    pub(super) leased: u64,
    /// Redriven.
    pub(super) redriven: u64,
}

impl QueueFacts {
    /// Reads a queue.
    pub(super) fn of(queue: &v1::Queue) -> Self {
        let counts = queue.counts.unwrap_or_default();
        let waiting = counts.scheduled.saturating_add(counts.ready);
        Self {
            queue: queue.queue.clone(),
            enqueued: counts.enqueued_total,
            succeeded: counts.succeeded_total,
            dead: counts.dead,
            live: waiting
                .saturating_add(counts.leased)
                .saturating_add(counts.retrying),
            crashes: counts.crashes_total,
            failures: counts.failures_total,
            retrying: counts.retrying,
            leased: counts.leased,
            redriven: counts.redriven_total,
        }
    }

    /// Ended, in whatever way.
    pub(super) const fn finished(&self) -> u64 {
        self.enqueued.saturating_sub(self.live)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(message: &str, stack: &str) -> String {
        brief(&v1::Failure {
            message: message.to_owned(),
            stack: stack.to_owned(),
            ..v1::Failure::default()
        })
    }

    #[test]
    fn a_failure_is_told_without_its_url() {
        let from = "422 Unprocessable Entity, from POST http://127.0.0.1:1/invalid/-/h";
        assert_eq!(
            said(from, r#"{"error":"no id"}"#),
            "422 Unprocessable Entity: no id"
        );
        assert_eq!(said(from, "<html>"), "422 Unprocessable Entity");
        let broken = "POST http://127.0.0.1:1/h: error sending request: connection reset by peer";
        assert_eq!(said(broken, ""), "connection reset by peer");
        assert_eq!(said("", ""), "");
    }

    #[test]
    fn the_budget_of_a_run_begins_at_the_latest_redrive() {
        let run = |number| v1::Run {
            run: number,
            ..v1::Run::default()
        };
        let task = v1::Task {
            history: (1..=5).map(run).collect(),
            ..v1::Task::default()
        };
        let facts = TaskFacts::of(&task, Behaviour::Auth, 2);
        let before = |index: usize| -> Vec<u32> {
            facts
                .budget_before(&facts.runs[index])
                .map(|run| run.run)
                .collect()
        };
        assert_eq!(before(1), [1]);
        assert_eq!(before(2), [] as [u32; 0]);
        assert_eq!(before(4), [3, 4]);
    }

    #[test]
    fn every_state_is_an_end_or_is_not() {
        let of = |state| End::of(state, "RULE");
        assert_eq!(of(TaskState::Succeeded), End::Succeeded);
        assert_eq!(of(TaskState::Dead), End::Dead("RULE".to_owned()));
        assert_eq!(of(TaskState::Failed), End::Otherwise("FAILED".to_owned()));
        assert_eq!(
            of(TaskState::Retrying),
            End::Unfinished("RETRYING".to_owned())
        );
    }
}
