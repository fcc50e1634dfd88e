//! Bulk acts on dead letters and on live tasks: a sequence of bounded steps that the caller drives by
//! reading.
//!
//! Owns the passes. The counting pass changes nothing; it runs where the number matters before
//! anything is done: a dry run, an expected count, a spread. The acting pass changes at most what
//! was there when the call began; a cancel that asks workers goes twice, first over what waits and
//! then over the rest, so that what is over and what is asked to stop are counted apart. Invariants: nothing is changed where the expected count differs; no
//! step is asked for that nobody waits for, so dropping the call stops the act between two steps; an
//! act that is logged as begun is logged as ended, however it ends.

mod steps;

use std::sync::Arc;

pub(crate) use steps::{Stepwise, filter_text, steps};

use super::edge::{Edge, confused};
use super::status::{Reason, Refused};
use crate::engine::command::{Bulk, BulkAct, Call, Caller, Cancel, CancelMode, Cursor, Selection};
use crate::engine::effect::Answer;
use crate::engine::filter::{Clause, Equality};
use crate::engine::ids::Timestamp;
use crate::engine::ledger::task::TaskState;
use crate::engine::limits;

/// What is done with what is selected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// Put them back, the last one so many milliseconds after the first.
    Redrive {
        /// Over how long.
        spread_ms: u64,
    },
    /// Delete them.
    Discard,
    /// Cancel live tasks.
    Cancel(Cancel),
}

impl Act {
    const fn name(&self) -> &'static str {
        match self {
            Self::Redrive { .. } => "redrive",
            Self::Discard => "discard",
            Self::Cancel(_) => "cancel",
        }
    }

    /// What it acts on.
    const fn noun(&self) -> &'static str {
        match self {
            Self::Redrive { .. } | Self::Discard => "dead letters",
            Self::Cancel(_) => "live tasks",
        }
    }

    const fn spread_ms(&self) -> Option<u64> {
        match self {
            Self::Redrive { spread_ms } => Some(*spread_ms),
            Self::Discard | Self::Cancel(_) => None,
        }
    }

    /// Counts what this act would change.
    const fn count(&self) -> BulkAct {
        match self {
            Self::Redrive { .. } | Self::Discard => BulkAct::Count,
            Self::Cancel(_) => BulkAct::CountLive,
        }
    }

    /// Over what it goes first.
    const fn first_pass(&self) -> Pass {
        match self {
            Self::Redrive { .. } | Self::Discard => Pass::All,
            Self::Cancel(cancel) => match cancel.mode {
                CancelMode::IfWaiting => Pass::Waiting,
                CancelMode::Cooperative { .. } => Pass::WaitingFirst,
                CancelMode::Force => Pass::All,
            },
        }
    }
}

/// A bulk act as it was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) act: Act,
    pub(crate) selection: Selection,
    /// The selection's filter as the caller wrote it, for the log.
    pub(crate) filter: String,
    pub(crate) expected_count: Option<u64>,
    /// Stop after so many; `None` means no limit.
    pub(crate) count_max: Option<u64>,
    pub(crate) dry_run: bool,
    /// Who, as they say.
    pub(crate) by: Arc<str>,
    /// Why, for the log.
    pub(crate) reason: Arc<str>,
}

impl Plan {
    /// The queue; empty for all of the namespace.
    fn queue(&self) -> &str {
        self.selection
            .queue
            .as_ref()
            .map_or("", |queue| queue.queue())
    }
}

/// How far an act has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) matched: u64,
    /// What is done.
    pub(crate) changed: u64,
    /// What is asked for and not over yet.
    pub(crate) pending: u64,
    pub(crate) done: bool,
}

/// A bulk act under way.
#[derive(Debug)]
pub(crate) struct BulkRun {
    edge: Edge,
    plan: Plan,
    /// Only what was there before this instant.
    before: Timestamp,
    phase: Phase,
    pass: Pass,
    after: Option<Cursor>,
    progress: Progress,
    /// How it ended, for the log.
    outcome: &'static str,
}

/// The outcome of an act whose caller went away before its end.
const ABANDONED: &str = "ABANDONED";
/// The outcome of an act that did all that was asked.
const DONE: &str = "DONE";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Count,
    /// What each further task waits more, in microseconds; whether the matches were counted before.
    Act {
        step_us: u64,
        counted: bool,
    },
    Over,
}

/// Over what an act goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pass {
    /// Everything that is selected.
    All,
    /// What no worker holds, and nothing else.
    Waiting,
    /// What no worker holds, and the rest afterwards.
    WaitingFirst,
    /// That rest: it is held, and asked to stop.
    Rest,
}

impl BulkRun {
    /// Begins an act on what is there now.
    pub(crate) async fn begin(edge: Edge, plan: Plan) -> Result<Self, Refused> {
        let before = edge.engine_facts().await?.now.plus_ms(1);
        let spreads = matches!(plan.act, Act::Redrive { spread_ms } if spread_ms > 0);
        let phase = if plan.dry_run || plan.expected_count.is_some() || spreads {
            Phase::Count
        } else {
            Phase::Act {
                step_us: 0,
                counted: false,
            }
        };
        let run = Self {
            edge,
            before,
            phase,
            pass: plan.act.first_pass(),
            plan,
            after: None,
            progress: Progress::default(),
            outcome: ABANDONED,
        };
        run.log_begin();
        Ok(run)
    }

    /// Takes one step; `None` once the last progress was told.
    pub(crate) async fn next(&mut self) -> Option<Result<Progress, Refused>> {
        let stepped = match self.phase {
            Phase::Count => self.count().await,
            Phase::Act { step_us, counted } => self.act(step_us, counted).await,
            Phase::Over => return None,
        };
        match &stepped {
            Err(refused) => (self.phase, self.outcome) = (Phase::Over, refused.reason().row().0),
            Ok(()) if self.progress.done => (self.phase, self.outcome) = (Phase::Over, DONE),
            Ok(()) => {}
        }
        Some(stepped.map(|()| self.progress))
    }

    /// Takes no further step, for the coordinator shuts down. True where there might have been one.
    pub(crate) fn stop(&mut self) -> bool {
        let stopped = std::mem::replace(&mut self.phase, Phase::Over) != Phase::Over;
        if stopped {
            self.outcome = Reason::ShuttingDown.row().0;
        }
        stopped
    }

    fn log_begin(&self) {
        let plan = &self.plan;
        tracing::info!(
            act = plan.act.name(),
            namespace = &*plan.selection.namespace,
            queue = plan.queue(),
            filter = plan.filter,
            spread_ms = plan.act.spread_ms(),
            expected_count = plan.expected_count,
            count_max = plan.count_max,
            dry_run = plan.dry_run,
            actor = &*plan.by,
            reason = &*plan.reason,
            "a bulk act begins"
        );
    }

    async fn count(&mut self) -> Result<(), Refused> {
        let (matched, _changed) = self
            .step(self.plan.act.count(), limits::BULK_TASKS_MAX)
            .await?;
        self.progress.matched += matched;
        if self.after.is_some() {
            return Ok(());
        }
        let found = self.progress.matched;
        if let Some(expected) = self.plan.expected_count
            && expected != found
        {
            let what = self.plan.act.noun();
            return Err(Refused::CountDiffers {
                what,
                expected,
                found,
            });
        }
        if self.plan.dry_run || found == 0 {
            self.progress.done = true;
            return Ok(());
        }
        let acted_on = self.plan.count_max.map_or(found, |max| max.min(found));
        self.phase = Phase::Act {
            step_us: step_us(&self.plan.act, acted_on),
            counted: true,
        };
        Ok(())
    }

    async fn act(&mut self, step_us: u64, counted: bool) -> Result<(), Refused> {
        let done = self.progress.changed + self.progress.pending;
        let left = self
            .plan
            .count_max
            .map_or(u64::MAX, |max| max.saturating_sub(done));
        let act = match &self.plan.act {
            Act::Redrive { .. } => {
                let delay_ms = u64::try_from(u128::from(done) * u128::from(step_us) / 1000);
                BulkAct::Redrive {
                    delay_ms: delay_ms.unwrap_or(u64::MAX),
                    step_us,
                }
            }
            Act::Discard => BulkAct::Discard,
            Act::Cancel(cancel) => BulkAct::Cancel(cancel.clone()),
        };
        let count_max = usize::try_from(left)
            .unwrap_or(usize::MAX)
            .min(limits::BULK_TASKS_MAX);
        let (matched, changed) = self.step(act, count_max).await?;
        match self.pass {
            Pass::All | Pass::Waiting | Pass::WaitingFirst => self.progress.changed += changed,
            Pass::Rest => self.progress.pending += changed,
        }
        if !counted {
            self.progress.matched += matched;
        }
        let enough = self.plan.count_max.is_some_and(|max| done + changed >= max);
        if !enough && self.after.is_none() && self.pass == Pass::WaitingFirst {
            self.pass = Pass::Rest;
            return Ok(());
        }
        self.progress.done = enough || self.after.is_none();
        Ok(())
    }

    /// One question to the engine; afterwards `self.after` is where to go on, `None` at the end.
    async fn step(&mut self, act: BulkAct, count_max: usize) -> Result<(u64, u64), Refused> {
        let bulk = Bulk {
            selection: self.selection(&act),
            act,
            before: self.before,
            after: self.after.take(),
            count_max,
            reason: self.plan.reason.clone(),
        };
        let by = Caller {
            by: self.plan.by.clone(),
            once: None,
        };
        let Answer::Bulk {
            matched,
            changed,
            next,
        } = self.edge.ask_as(by, Call::Bulk(bulk)).await?
        else {
            return Err(confused("a bulk act"));
        };
        self.after = next;
        Ok((matched, changed))
    }

    /// What this pass looks at of what is selected.
    fn selection(&self, act: &BulkAct) -> Selection {
        let mut selection = self.plan.selection.clone();
        let counts = matches!(act, BulkAct::Count | BulkAct::CountLive);
        let waiting = match self.pass {
            Pass::Waiting => true,
            // Both passes are counted as one.
            Pass::WaitingFirst => !counts,
            Pass::All | Pass::Rest => false,
        };
        if waiting {
            let held = [TaskState::Leased, TaskState::Running];
            let not = |state| Clause::State(Equality::IsNot, state);
            selection.filter.clauses.extend(held.map(not));
        }
        selection
    }
}

impl Drop for BulkRun {
    fn drop(&mut self) {
        let (plan, progress) = (&self.plan, self.progress);
        tracing::info!(
            act = plan.act.name(),
            namespace = &*plan.selection.namespace,
            queue = plan.queue(),
            dry_run = plan.dry_run,
            matched = progress.matched,
            changed = progress.changed,
            pending = progress.pending,
            outcome = self.outcome,
            "a bulk act has ended"
        );
    }
}

/// What each further task waits more, so that `count` of them fill the spread evenly.
const fn step_us(act: &Act, count: u64) -> u64 {
    match act {
        Act::Redrive { spread_ms } if count > 0 => spread_ms.saturating_mul(1000) / count,
        Act::Redrive { .. } | Act::Discard | Act::Cancel(_) => 0,
    }
}

#[cfg(test)]
mod tests;
