//! Answers reports: does the token hold, and if not, what became of the run.
//!
//! Owns the answers RECORDED, DUPLICATE, SUPERSEDED, GONE and INVALID (rule 13). What a recorded
//! report means is `end_run`.

use crate::mutants::{self, Mutant};
use std::sync::Arc;

use crate::engine::command::{Report, ReportContent, ReportOutcome};
use crate::engine::effect::{ReportAck, ReportStatus};
use crate::engine::failure::FailureClass;
use crate::engine::ids::{LeaseToken, SessionId, TaskId};
use crate::engine::ledger::history::RunOutcome;
use crate::engine::ledger::task::{Holder, State, Task, run_of};
use crate::engine::rejection::Rejection;
use crate::engine::retry::Ending;
use crate::engine::step::Step;

use super::end_run::{Ended, Extra, end_run};
use super::enqueue::instant;

/// Answers each report by itself.
pub(super) fn reports(
    step: &mut Step<'_>,
    from: Option<SessionId>,
    reports: Vec<Report>,
) -> Vec<ReportAck> {
    reports
        .into_iter()
        .map(|report| settle(step, from, report))
        .collect()
}

fn settle(step: &mut Step<'_>, from: Option<SessionId>, report: Report) -> ReportAck {
    let raw_token = report.raw_token;
    let content = match report.content {
        Ok(content) => content,
        Err(malformed) => {
            let (field, problem) = (malformed.field, malformed.problem);
            let status = ReportStatus::Invalid(Rejection::Invalid { field, problem });
            return ReportAck {
                raw_token,
                status,
                state: None,
                next_attempt_at: None,
            };
        }
    };
    let token = content.token;
    let Some(task) = step.task(token.task) else {
        let session = from.and_then(|id| step.sessions().get(id));
        let lately = session.and_then(|session| session.settled(token.task, token.fence));
        let again = lately.is_some_and(|recorded| same(recorded, kind_of(&content.outcome)));
        let status = if again {
            ReportStatus::Duplicate
        } else {
            ReportStatus::Gone
        };
        return ReportAck {
            raw_token,
            status,
            state: None,
            next_attempt_at: None,
        };
    };
    let status = if task.token() == Some(known(task, token)) {
        record(step, content);
        ReportStatus::Recorded
    } else if counted(step, from, task, (token, kind_of(&content.outcome))) {
        if mutants::is(Mutant::DuplicateRecorded) {
            ReportStatus::Recorded
        } else {
            ReportStatus::Duplicate
        }
    } else if mutants::is(Mutant::LateReportGone) {
        ReportStatus::Gone
    } else {
        ReportStatus::Superseded
    };
    let task = step.task(token.task).expect("it ended or lives");
    let next_attempt_at = match &task.state {
        State::Pending { not_before } => Some(*not_before),
        State::Leased(_) | State::Dead { .. } | State::Finished(_) => None,
    };
    ReportAck {
        raw_token,
        status,
        state: Some(task.view(step.now())),
        next_attempt_at,
    }
}

/// The token as it is compared.
fn known(task: &Task, token: LeaseToken) -> LeaseToken {
    match task.token() {
        Some(held) if mutants::is(Mutant::StaleTokenAccepted) => held,
        Some(held) if mutants::is(Mutant::NonceIgnored) => LeaseToken {
            nonce: held.nonce,
            ..token
        },
        Some(_) | None => token,
    }
}

/// Whether the run of a token that does not hold any more was ended by this report. The session
/// knows what was reported, the history only how the run ended.
fn counted(
    step: &Step<'_>,
    from: Option<SessionId>,
    task: &Task,
    (token, reported): (LeaseToken, RunOutcome),
) -> bool {
    let session = from.and_then(|id| step.sessions().get(id));
    if let Some(lately) = session.and_then(|session| session.settled(token.task, token.fence)) {
        return lately == reported;
    }
    run_of(task, token.fence).is_some_and(|run| same(run.outcome, reported))
}

fn kind_of(outcome: &ReportOutcome) -> RunOutcome {
    match outcome {
        ReportOutcome::Complete { .. } => RunOutcome::Succeeded,
        ReportOutcome::Fail { failure, .. } if failure.class == FailureClass::WorkerLost => {
            RunOutcome::Crashed
        }
        ReportOutcome::Fail { .. } => RunOutcome::Failed,
        ReportOutcome::Retry { .. } => RunOutcome::Retried,
        ReportOutcome::Defer { .. } => RunOutcome::Deferred,
        ReportOutcome::Release { .. } => RunOutcome::Released,
        ReportOutcome::Discard { .. } => RunOutcome::Discarded,
    }
}

/// Whether a report is the one that was recorded: every end but success is recorded as cancelled
/// where a cancel was asked for.
fn same(recorded: RunOutcome, reported: RunOutcome) -> bool {
    recorded == reported || (recorded == RunOutcome::Cancelled && reported != RunOutcome::Succeeded)
}

/// Ends the run as the worker tells it.
fn record(step: &mut Step<'_>, content: ReportContent) {
    let id = content.token.task;
    begun(step, id, &content.outcome);
    let mut extra = Extra {
        checkpoint: content.checkpoint,
        ..Extra::default()
    };
    match content.outcome {
        ReportOutcome::Complete { result, label } => {
            end_run(step, id, Ended::Completed { result, label }, extra);
        }
        ReportOutcome::Fail { failure, .. } if failure.class == FailureClass::WorkerLost => {
            // A runner tells that its process was killed: what it ran is to blame (I6).
            let ending = Ending::Crashed { failure: &failure };
            end_run(step, id, Ended::Judged(ending), extra);
        }
        ReportOutcome::Fail {
            failure,
            not_retryable,
            retry_after_ms,
        } => {
            let ending = Ending::Failed {
                failure: &failure,
                not_retryable,
                retry_after_ms,
            };
            end_run(step, id, Ended::Judged(ending), extra);
        }
        ReportOutcome::Retry {
            failure,
            start,
            payload,
            max_attempts,
        } => {
            extra.payload = payload;
            extra.max_attempts = max_attempts;
            let now = step.now();
            let delay_ms = start.map(|start| instant(now, start).since_ms(now));
            let ending = Ending::Retried {
                failure: &failure,
                delay_ms,
            };
            end_run(step, id, Ended::Judged(ending), extra);
        }
        ReportOutcome::Defer {
            delay_ms,
            reason,
            payload,
        } => {
            extra.payload = payload;
            extra.note = noted(reason);
            end_run(
                step,
                id,
                Ended::Judged(Ending::Deferred { delay_ms }),
                extra,
            );
        }
        ReportOutcome::Release { reason } => {
            extra.note = noted(reason);
            end_run(step, id, Ended::Judged(Ending::Released), extra);
        }
        ReportOutcome::Discard { reason } => {
            extra.note = noted(reason);
            end_run(step, id, Ended::Discarded, extra);
        }
    }
}

/// Whoever tells how a run ended had begun it, unless it gives it back: a report needs no receipt of
/// its own.
fn begun(step: &mut Step<'_>, id: TaskId, outcome: &ReportOutcome) {
    if matches!(outcome, ReportOutcome::Release { .. }) {
        return;
    }
    let now = step.now();
    let lease = step.task(id).and_then(Task::lease);
    if let Some(Holder::Session(session)) = lease.map(|lease| lease.holder)
        && let Some(session) = step.sessions_mut().get_mut(session)
    {
        session.begin(id, now);
    }
}

fn noted(reason: Arc<str>) -> Option<Arc<str>> {
    Some(reason).filter(|reason| !reason.is_empty())
}
