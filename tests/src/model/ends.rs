//! The end of a run, and of a task: who could end it, and what follows.
//!
//! Owns the comparison of what the coordinator recorded with what the documents allow. Ambiguity is
//! allowed only where several reports were heard of one run.

use std::sync::Arc;

use redrive_coordinator::engine::event::{Event, Leaves};
use redrive_coordinator::engine::failure::Failure;
use redrive_coordinator::engine::ids::{ShardId, TaskId, Timestamp};
use redrive_coordinator::engine::ledger::history::{RunOutcome, RunRecord};
use redrive_coordinator::engine::ledger::task::{Holder, Outcome};
use redrive_coordinator::engine::retry::{Budget, DeadReason};

use super::task::{Facts, Heard, Lease, Stand, Task};
use super::verdict::{Allowed, Court, Fate};
use super::{Model, Rule, digest};

/// A limit of time that is over may be seen so much early by rounding. Milliseconds.
const EARLY_MS: u64 = 1;
/// Moves of a dead letter from queue to queue.
const MOVES_MAX: usize = 8;

/// The end of a run as it is recorded.
struct End<'a> {
    shard: ShardId,
    id: TaskId,
    run: &'a RunRecord,
    budget: Option<Budget>,
    leaves: &'a Leaves,
    routed: bool,
}

impl<'a> End<'a> {
    fn of(shard: ShardId, event: &'a Event) -> Option<Self> {
        let (id, run, budget, leaves) = match event {
            Event::RetryScheduled {
                id,
                run,
                budget,
                leaves,
                ..
            }
            | Event::TaskDied {
                id,
                run,
                budget,
                leaves,
                ..
            } => (id, run, Some(*budget), leaves),
            Event::TaskFinished {
                id,
                run: Some(run),
                budget,
                leaves,
                ..
            } => (id, run, *budget, leaves),
            _ => return None,
        };
        let outcome = Outcome::Routed;
        let routed = matches!(event, Event::TaskFinished { outcome: how, .. } if *how == outcome);
        Some(End {
            shard,
            id: *id,
            run,
            budget,
            leaves,
            routed,
        })
    }
}

impl Model {
    pub(super) fn expired(
        &mut self,
        shard: ShardId,
        id: TaskId,
        at: Timestamp,
        reason: DeadReason,
    ) {
        let Some(task) = self.tasks.get(&id).cloned() else {
            return self.wrong(Rule::NoLoss, format!("{id} expires and is not known"));
        };
        self.check_overdue(id, &task, at, reason);
        self.lanes.leave(id, &task);
        if !matches!(task.stand, Stand::Pending(_)) {
            self.wrong(
                Rule::Conservation,
                format!("{id} expires while it does not wait"),
            );
        }
        self.wants(shard, id, &task, (Fate::Dead(reason), false));
        self.check_route(shard, id, &task, (Fate::Dead(reason), false));
        self.change(id, |task| task.stand = Stand::Dead(reason));
    }

    fn check_overdue(&mut self, id: TaskId, task: &Task, at: Timestamp, reason: DeadReason) {
        let end = task.life.as_ref().and_then(|life| match reason {
            DeadReason::TtlExpired => life.start_by(),
            _ => life.end_by(),
        });
        if end.is_none_or(|end| end > at.plus_ms(EARLY_MS)) {
            self.wrong(
                Rule::NotBefore,
                format!("{id} is over at {at:?}, its end is {end:?}"),
            );
        }
    }

    /// A run ends, and with it perhaps its task.
    pub(super) fn run_ends(&mut self, shard: ShardId, event: &Event) {
        let Some(end) = End::of(shard, event) else {
            return;
        };
        let Some(mut task) = self.tasks.remove(&end.id) else {
            return self.wrong(
                Rule::NoLoss,
                format!("a run of {} ends, which is not known", end.id),
            );
        };
        let id = end.id;
        let Stand::Leased(lease) = task.stand else {
            self.tasks.insert(id, task);
            return self.wrong(
                Rule::OneHolder,
                format!("a run of {id} ends that nobody has"),
            );
        };
        self.check_run(&end, &task, &lease);
        self.check_cause(&end, &task, &lease);
        let fate = self.check_fate(&end, &task, &lease, event);
        if let Holder::Session(session) = lease.holder
            && let Some(held) = self.held.get_mut(&session)
        {
            *held -= 1;
        }
        if let Some(run) = self.runs.get_mut(&(id, task.fence)) {
            run.ended = Some(end.run.outcome);
        }
        let routed = end.routed;
        if let Some(fate) = fate {
            self.wants(shard, id, &task, (fate, routed));
            self.check_route(shard, id, &task, (fate, routed));
        }
        count(&mut task, &end);
        self.stand_after(shard, id, &mut task, event);
        self.tasks.insert(id, task);
        self.touched.push(id);
    }

    /// The record of a run is of this run.
    fn check_run(&mut self, end: &End<'_>, task: &Task, lease: &Lease) {
        let run = end.run;
        let is_it = run.run == task.runs && run.leased_at == lease.at;
        if !is_it || run.attempt != task.failures + 1 || run.ended_at < run.leased_at {
            let says = format!("{} ends run {run:?}, it is at {}", end.id, task.runs);
            self.wrong(Rule::Runs, says);
        }
    }

    /// Whoever ended a run could: its holder, or time, or a cancel.
    fn check_cause(&mut self, end: &End<'_>, task: &Task, lease: &Lease) {
        let run = self.runs.get(&(end.id, task.fence));
        let heard = run.map_or(&[][..], |run| &run.heard);
        let ran_ms = end.run.ended_at.since_ms(lease.at);
        let caused = match end.run.outcome {
            RunOutcome::Succeeded => heard.iter().any(|it| matches!(it, Heard::Complete)),
            RunOutcome::Failed => heard.iter().any(|it| matches!(it, Heard::Fail { .. })),
            RunOutcome::Retried => heard.iter().any(|it| matches!(it, Heard::Retry { .. })),
            RunOutcome::Deferred => heard.iter().any(|it| matches!(it, Heard::Defer { .. })),
            RunOutcome::Discarded => heard.iter().any(|it| matches!(it, Heard::Discard)),
            // By its holder, or by a worker that left, came back without it or never got it.
            RunOutcome::Released => true,
            RunOutcome::TimedOut => {
                let life = task.life.as_ref().and_then(|life| life.end_by());
                let over = life.is_some_and(|end_by| end.run.ended_at >= end_by);
                over || lease.hard_ms.is_some_and(|hard| ran_ms + EARLY_MS >= hard)
            }
            // A loss, or a report that the worker's own process was killed.
            RunOutcome::Crashed => end.run.started || lease.at_most_once || !heard.is_empty(),
            RunOutcome::Unstarted => !end.run.started,
            RunOutcome::Cancelled => lease.cancelled || self.promises.was_cancelled(end.id),
        };
        if !caused {
            let says = format!(
                "{} ends as {:?}, and nobody said so",
                end.id, end.run.outcome
            );
            self.wrong(Rule::OneHolder, says);
        }
    }

    /// What follows is what the policy says; answers what that is.
    fn check_fate(
        &mut self,
        end: &End<'_>,
        task: &Task,
        lease: &Lease,
        event: &Event,
    ) -> Option<Fate> {
        let (before, all) = self.allowed(end, task, lease);
        let of_policy = || all.iter().flat_map(|allowed| &allowed.fates);
        let seen = fates_of(event);
        let mut fitting = seen.iter().copied();
        let fate = fitting.find(|fate| before.iter().chain(of_policy()).any(|it| it == fate));
        let dead = before.iter().chain(of_policy()).copied();
        let dead: Vec<Fate> = dead.filter(|it| matches!(it, Fate::Dead(_))).collect();
        let ends_well = matches!(fate, None | Some(Fate::Cancelled | Fate::Succeeded));
        if lease.cancelled && !ends_well {
            let says = format!("{} was to be cancelled, and is {fate:?}", end.id);
            self.wrong(Rule::OneJudge, says);
        }
        if fate.is_none() && (!end.routed || dead.is_empty()) {
            let says = format!(
                "{} ended as {:?} and is {seen:?}; allowed: {before:?} {all:?}",
                end.id, end.run.outcome
            );
            self.wrong(Rule::OneJudge, says);
        }
        self.check_wait(end, event, &all);
        if !end.routed {
            return fate;
        }
        if dead.iter().any(|fate| Some(fate) != dead.first()) {
            self.is_unclear(end.id);
        }
        dead.first().copied()
    }

    /// What may follow: before any policy is asked, and by the policy for each report that was heard.
    fn allowed(&self, end: &End<'_>, task: &Task, lease: &Lease) -> (Vec<Fate>, Vec<Allowed>) {
        let outcome = end.run.outcome;
        let policy = self.levels.policy(end.shard, task);
        let of_report = end.leaves.max_attempts;
        let life = task.life.as_ref();
        let court = Court {
            policy: &policy,
            task,
            max_attempts: of_report.or_else(|| self.levels.max_attempts(end.shard, task)),
            end_by: life.and_then(|life| life.end_by()),
        };
        let failure: Option<&Failure> = end.leaves.failure.as_ref().or(end.run.failure.as_ref());
        let facts = Facts {
            failure,
            ended_at: end.run.ended_at,
        };
        let run = self.runs.get(&(end.id, task.fence));
        let heard = run.iter().flat_map(|run| &run.heard);
        let mut all: Vec<Allowed> = heard
            .map(|heard| court.judge(outcome, &facts, heard))
            .collect();
        if !is_reported(outcome) || all.is_empty() {
            all.push(court.judge(outcome, &facts, &Heard::Release));
        }
        let mut before: Vec<Fate> = Vec::new();
        if lease.cancelled || self.promises.was_cancelled(end.id) {
            before.push(Fate::Cancelled);
        }
        // Nobody knows what it did (docs/delivery.md): it is a dead letter, whatever the policy says.
        if lease.at_most_once && !is_reported(outcome) && outcome != RunOutcome::Cancelled {
            before.push(Fate::Dead(DeadReason::LeaseLost));
            all.clear();
        }
        let start_by = life.and_then(|life| life.start_by());
        for (reason, over) in [
            (DeadReason::DeadlineExceeded, court.end_by),
            (DeadReason::TtlExpired, start_by),
        ] {
            if over.is_some_and(|over| end.run.ended_at.plus_ms(EARLY_MS) >= over) {
                before.push(court.overdue(reason));
            }
        }
        (before, all)
    }

    /// The wait is within its bounds, and it is what was drawn.
    fn check_wait(&mut self, end: &End<'_>, event: &Event, all: &[Allowed]) {
        let Event::RetryScheduled { not_before, .. } = event else {
            return;
        };
        let ms = not_before.since_ms(end.run.ended_at);
        let drawn = end.run.delay.map(|delay| delay.drawn_ms);
        let starts_early = *not_before < end.run.ended_at;
        if starts_early || drawn.is_some_and(|drawn| drawn != ms) {
            let says = format!("{} waits {ms} ms, {drawn:?} was drawn", end.id);
            self.wrong(Rule::Backoff, says);
        }
        let mut waits = all.iter().filter_map(|allowed| allowed.wait);
        if !waits.any(|wait| wait.allows(ms)) {
            let says = format!(
                "{} waits {ms} ms after {:?}: {all:?}",
                end.id, end.run.outcome
            );
            self.wrong(Rule::Backoff, says);
        }
    }

    fn stand_after(&mut self, shard: ShardId, id: TaskId, task: &mut Task, event: &Event) {
        match event {
            Event::RetryScheduled {
                not_before, run, ..
            } => {
                task.stand = Stand::Pending(*not_before);
                self.lanes.wait(id, task, *not_before <= run.ended_at);
            }
            Event::TaskDied { reason, .. } => task.stand = Stand::Dead(*reason),
            Event::TaskFinished {
                outcome,
                at,
                expires_at,
                ..
            } => {
                let expires_at = expires_at.unwrap_or(*at);
                task.stand = Stand::Finished(*outcome, expires_at);
                let state = &mut self.shards[usize::from(shard.0)];
                state.finished.insert((expires_at, id));
            }
            _ => {}
        }
    }

    /// A task that nobody holds ends: by a cancel, a discard, its time, or on its way elsewhere.
    pub(super) fn finishes(&mut self, shard: ShardId, event: &Event) {
        let Event::TaskFinished {
            id, outcome, at, ..
        } = event
        else {
            return;
        };
        let Some(mut task) = self.tasks.remove(id) else {
            return self.wrong(Rule::NoLoss, format!("{id} ends and is not known"));
        };
        self.lanes.leave(*id, &task);
        let overdue = self.overdue_fate(shard, &task, *at);
        let fate = match (outcome, task.stand) {
            (Outcome::Cancelled, Stand::Pending(_)) if self.promises.was_cancelled(*id) => {
                Some(Fate::Cancelled)
            }
            (Outcome::Discarded, Stand::Dead(_)) => Some(Fate::Discarded),
            (Outcome::Discarded | Outcome::Failed, Stand::Pending(_)) => overdue,
            (Outcome::Routed, Stand::Pending(_)) => overdue,
            _ => None,
        };
        match fate {
            Some(fate) => self.wants(shard, *id, &task, (fate, *outcome == Outcome::Routed)),
            None => {
                let says = format!("{id} is {:?} and ends as {outcome:?}", task.stand);
                self.wrong(Rule::Conservation, says);
            }
        }
        self.stand_after(shard, *id, &mut task, event);
        self.tasks.insert(*id, task);
        self.touched.push(*id);
    }

    /// A dead letter goes on where there is a queue for that, where it has not been, and not too
    /// often (docs/follow-ups.md). Rules with a queue of their own are not known here.
    fn check_route(
        &mut self,
        shard: ShardId,
        id: TaskId,
        task: &Task,
        (fate, routed): (Fate, bool),
    ) {
        let queue = self.levels.dead_letter_queue(shard, task);
        let queue = queue.filter(|queue| **queue != task.queue && !task.visited.contains(queue));
        let goes_on = queue.is_some() && task.visited.len() < MOVES_MAX;
        if matches!(fate, Fate::Dead(_)) && goes_on != routed {
            let says = format!("{id} is {fate:?}, routed {routed}, where it should be {goes_on}");
            self.wrong(Rule::OneJudge, says);
        }
    }

    /// What a task becomes whose time is over; nothing where it is not.
    fn overdue_fate(&self, shard: ShardId, task: &Task, at: Timestamp) -> Option<Fate> {
        let policy = self.levels.policy(shard, task);
        let court = Court {
            policy: &policy,
            task,
            max_attempts: None,
            end_by: None,
        };
        let life = task.life.as_ref()?;
        if life.end_by().is_some_and(|end_by| at >= end_by) {
            return Some(court.overdue(DeadReason::DeadlineExceeded));
        }
        let over = life.start_by().is_some_and(|start_by| at >= start_by);
        over.then(|| court.overdue(DeadReason::TtlExpired))
    }
}

/// Whether the end of the run is what a report says.
const fn is_reported(outcome: RunOutcome) -> bool {
    match outcome {
        RunOutcome::Succeeded
        | RunOutcome::Failed
        | RunOutcome::Retried
        | RunOutcome::Deferred
        | RunOutcome::Discarded
        | RunOutcome::Released => true,
        RunOutcome::TimedOut
        | RunOutcome::Crashed
        | RunOutcome::Unstarted
        | RunOutcome::Cancelled => false,
    }
}

/// What an event makes of a task: some say less than others.
fn fates_of(event: &Event) -> Vec<Fate> {
    match event {
        Event::RetryScheduled { budget, .. } => vec![Fate::Again(*budget)],
        Event::TaskDied { reason, .. } => vec![Fate::Dead(*reason)],
        Event::TaskFinished { outcome, .. } => match outcome {
            Outcome::Succeeded => vec![Fate::Succeeded],
            Outcome::Failed => vec![Fate::Failed, Fate::FailedSpent],
            Outcome::Cancelled => vec![Fate::Cancelled],
            Outcome::Discarded => vec![Fate::Discarded],
            Outcome::Routed => Vec::new(),
        },
        _ => Vec::new(),
    }
}

/// What a run leaves in its task.
fn count(task: &mut Task, end: &End<'_>) {
    match end.budget {
        Some(Budget::Attempt) => task.failures += 1,
        Some(Budget::Crash) => task.crashes += 1,
        Some(Budget::Deferral) => task.deferrals += 1,
        None => {}
    }
    if end.run.started {
        task.unstarted_in_row = 0;
    } else if end.run.outcome == RunOutcome::Unstarted {
        task.unstarted_in_row += 1;
    }
    if end.run.started
        && let Some(life) = &mut task.life
    {
        life.begun = true;
    }
    let leaves = end.leaves;
    if let Some(id) = &leaves.rule_counted {
        match task.rule_retries.iter_mut().find(|(of, _)| of == id) {
            Some((_, count)) => *count += 1,
            None => task.rule_retries.push((Arc::clone(id), 1)),
        }
    }
    task.timeouts_hit += u32::from(leaves.timeout_hit);
    if leaves.delay_ms.is_some() {
        task.previous_delay_ms = leaves.delay_ms;
    }
    if let Some(payload) = &leaves.payload {
        task.payload = digest(payload);
    }
    if let Some(checkpoint) = &leaves.checkpoint {
        task.checkpoint = Some(digest(checkpoint));
    }
    if let Some(max) = leaves.max_attempts {
        task.own.get_or_insert_default().max_attempts = Some(max);
    }
}
