//! Each record, judged when it is durable.
//!
//! Owns what each event does to the model's tasks, and whether it may (docs/state-machine.md).

use std::sync::Arc;

use redrive_coordinator::engine::edit::Edit;
use redrive_coordinator::engine::event::{Event, Leaves, Recorded};
use redrive_coordinator::engine::failure::Failure;
use redrive_coordinator::engine::ids::{Fence, ShardId, TaskId, Timestamp};
use redrive_coordinator::engine::ledger::history::{RunOutcome, RunRecord};
use redrive_coordinator::engine::ledger::task::{Holder, Outcome, Task as Whole};
use redrive_coordinator::engine::ledger::terms::DeliveryMode;
use redrive_coordinator::engine::retry::{Budget, DeadReason};

use super::task::{Facts, Heard, Lease, Run, Stand, Task};
use super::verdict::{Allowed, Court, Fate};
use super::{Model, Rule, digest};

/// A limit of time that is over may be seen so much early by rounding. Milliseconds.
const EARLY_MS: u64 = 1;

/// The end of a run as it is recorded.
struct End<'a> {
    shard: ShardId,
    id: TaskId,
    run: &'a RunRecord,
    budget: Option<Budget>,
    leaves: &'a Leaves,
}

impl Model {
    /// A record is durable, or was found to be after a restart.
    pub fn recorded(&mut self, recorded: &Recorded) {
        self.records += 1;
        let shard = recorded.shard;
        let state = &mut self.shards[usize::from(shard.0)];
        let follows = recorded.seq == state.seq + 1;
        state.seq = recorded.seq;
        if !follows {
            let says = format!("event {} of {shard:?} follows none", recorded.seq);
            self.wrong(Rule::OneDoor, says);
        }
        self.apply(shard, &recorded.event);
    }

    /// The frame of the records before is over.
    pub fn frame_ends(&mut self) {
        self.check_followed();
    }

    fn apply(&mut self, shard: ShardId, event: &Event) {
        match event {
            Event::EpochStarted { epoch, .. } => self.epoch(shard, *epoch),
            Event::QueueConfigured {
                queue, settings, ..
            } => self.levels.set_queue(queue, settings),
            Event::QueuePaused { queue, .. } => self.lanes.pause(queue),
            Event::QueueResumed { queue } => self.lanes.resume(queue),
            Event::TaskEnqueued { task } => {
                self.check_was_asked(task);
                self.arrive(shard, task);
            }
            Event::LeaseGranted { id, .. } => self.grant(shard, *id, event),
            Event::LeaseStarted { id, .. } => self.started(*id),
            Event::CancelRequested { id, .. } => {
                self.with_lease(*id, |lease| lease.cancelled = true)
            }
            Event::LeaseExtended { id, timeouts } => {
                self.with_lease(*id, |lease| lease.hard_ms = timeouts.hard_ms);
            }
            Event::CheckpointSaved { id, checkpoint, .. } => {
                self.with_lease(*id, |_| {});
                self.change(*id, |task| task.checkpoint = Some(digest(checkpoint)));
            }
            Event::TaskEdited { id, edit, .. } => self.edited(*id, edit),
            Event::TaskExpired { id, at, reason } => self.expired(shard, *id, *at, *reason),
            Event::TimeoutsChanged { id, timeouts } => self.change(*id, |task| {
                let own = task.own.get_or_insert_default();
                own.timeouts = Some(*timeouts);
                if let Stand::Leased(lease) = &mut task.stand {
                    lease.hard_ms = timeouts.hard_ms;
                }
            }),
            Event::RetryScheduled { .. } | Event::TaskDied { .. } => self.run_ends(shard, event),
            Event::TaskFinished { run, .. } => {
                if run.is_some() {
                    self.run_ends(shard, event);
                } else {
                    self.finishes(shard, event);
                }
            }
            Event::TaskRedriven {
                id, at, not_before, ..
            } => self.redriven(*id, *at, *not_before),
            Event::TasksForgotten { ids } => ids.iter().for_each(|id| self.forget(shard, *id)),
            Event::ExpiredThrough { at, last } => self.expire(shard, *at, *last),
            Event::KindConfigured { kind } => {
                self.levels.set_kind(shard, &kind.name, &kind.settings);
            }
            Event::KindRemoved { name, .. } => self.levels.remove_kind(shard, name),
            Event::TransferSent {
                target,
                number,
                task,
            } => self.sent(shard, *target, *number, task),
            Event::TransferReceived {
                origin,
                number,
                task,
            } => {
                self.received(*origin, shard, *number, task);
                self.arrive(shard, task);
            }
            Event::TransferConfirmed { target, through } => {
                self.confirmed(shard, *target, *through)
            }
            Event::TaskImage { task } => self.image(task),
            Event::QueueImage { queue } => {
                let same = self.levels.queue(&queue.name) == Some(&queue.settings);
                if !same || queue.paused.is_some() != self.lanes.is_paused(&queue.name) {
                    let says = format!("the image of queue {} is not what it is", queue.name);
                    self.wrong(Rule::OneDoor, says);
                }
            }
            Event::Remembered { .. }
            | Event::RememberedMore { .. }
            | Event::MemoriesForgotten { .. }
            | Event::SegmentOpened { .. }
            | Event::TransferImage { .. }
            | Event::SegmentsCleaned { .. } => {}
        }
    }

    fn epoch(&mut self, shard: ShardId, epoch: u64) {
        let state = &mut self.shards[usize::from(shard.0)];
        let grows = epoch > state.epoch;
        state.epoch = epoch;
        if !grows {
            self.wrong(
                Rule::Time,
                format!("epoch {epoch} of {shard:?} is not above the one before"),
            );
        }
    }

    /// A task is new.
    fn arrive(&mut self, shard: ShardId, whole: &Whole) {
        let task = Task::of(whole);
        let fresh = (
            task.runs,
            task.fence,
            task.failures,
            task.crashes,
            task.deferrals,
        );
        if fresh != (0, 0, 0, 0, 0) || whole.id.shard() != shard {
            self.wrong(Rule::Runs, format!("{} is new and has a past", whole.id));
        }
        let at_once = matches!(task.stand, Stand::Pending(at) if at <= task.enqueued_at);
        self.wait(whole.id, &task, at_once);
        self.shards[usize::from(shard.0)].tasks += 1;
        if self.tasks.insert(whole.id, task).is_some() {
            self.wrong(
                Rule::Conservation,
                format!("the id {} was given twice", whole.id),
            );
        }
        self.touched.push(whole.id);
    }

    fn wait(&mut self, id: TaskId, task: &Task, at_once: bool) {
        if let Stand::Pending(not_before) = task.stand {
            let place = (task.priority, task.place, id);
            self.lanes.wait(&task.queue, place, not_before, at_once);
        }
    }

    fn leave(&mut self, id: TaskId, task: &Task) {
        let place = (task.priority, task.place, id);
        self.lanes.leave(&task.queue, place);
    }

    /// Changes a task that is known.
    fn change(&mut self, id: TaskId, change: impl FnOnce(&mut Task)) {
        self.touched.push(id);
        if let Some(task) = self.tasks.get_mut(&id) {
            change(task);
        } else {
            self.wrong(Rule::NoLoss, format!("{id} is spoken of and is not known"));
        }
    }

    fn with_lease(&mut self, id: TaskId, change: impl FnOnce(&mut Lease)) {
        let mut held = false;
        self.change(id, |task| {
            if let Stand::Leased(lease) = &mut task.stand {
                change(lease);
                held = true;
            }
        });
        if !held {
            self.wrong(
                Rule::Conservation,
                format!("{id} is spoken of as leased and is not"),
            );
        }
    }

    fn started(&mut self, id: TaskId) {
        self.with_lease(id, |lease| lease.started = true);
        self.change(id, |task| {
            task.unstarted_in_row = 0;
            if let Some(life) = &mut task.life {
                life.begun = true;
            }
        });
    }

    fn grant(&mut self, shard: ShardId, id: TaskId, event: &Event) {
        let Event::LeaseGranted {
            fence,
            nonce,
            holder,
            at,
            timeouts,
            started,
            delivery,
            ..
        } = event
        else {
            return;
        };
        let Some(mut task) = self.tasks.remove(&id) else {
            return self.wrong(Rule::NoLoss, format!("{id} is leased and is not known"));
        };
        self.check_grant(id, &task, (*fence, *at, *holder));
        self.leave(id, &task);
        if fence.0 >> 24 != self.shards[usize::from(shard.0)].epoch {
            self.wrong(
                Rule::Time,
                format!("{id} is leased in another epoch than the present one"),
            );
        }
        let run = Run {
            nonce: *nonce,
            payload: task.payload,
            checkpoint: task.checkpoint,
            attempt: task.failures + 1,
            granted_at: *at,
            ended: None,
            heard: Vec::new(),
            recorded: false,
        };
        if self.runs.insert((id, fence.0), run).is_some() {
            self.wrong(
                Rule::OneHolder,
                format!("fence {} of {id} was given twice", fence.0),
            );
        }
        task.runs += 1;
        task.fence = fence.0;
        task.stand = Stand::Leased(Lease {
            holder: *holder,
            at: *at,
            started: *started,
            hard_ms: timeouts.hard_ms,
            at_most_once: *delivery == DeliveryMode::AtMostOnce,
            cancelled: false,
        });
        if *started {
            task.unstarted_in_row = 0;
            if let Some(life) = &mut task.life {
                life.begun = true;
            }
        }
        if let Holder::Session(session) = holder {
            *self.held.entry(*session).or_default() += 1;
        }
        self.tasks.insert(id, task);
        self.touched.push(id);
    }

    fn check_grant(
        &mut self,
        id: TaskId,
        task: &Task,
        (fence, at, holder): (Fence, Timestamp, Holder),
    ) {
        let Stand::Pending(not_before) = task.stand else {
            let says = format!("{id} is leased while it is {:?}", task.stand);
            return self.wrong(Rule::OneHolder, says);
        };
        if not_before > at {
            self.wrong(
                Rule::NotBefore,
                format!("{id} is leased at {at:?}, not before {not_before:?}"),
            );
        }
        if fence.0 <= task.fence || fence.0 & 0xff_ffff != u64::from(task.runs + 1) {
            let says = format!("{id} had fence {:x} and now {:x}", task.fence, fence.0);
            self.wrong(Rule::OneHolder, says);
        }
        if self.lanes.is_paused(&task.queue) {
            self.wrong(
                Rule::NotBefore,
                format!("{id} is leased though {} is paused", task.queue),
            );
        }
        let over = task.life.as_ref().and_then(|life| {
            let start_by = life.start_by().filter(|_| !life.begun);
            start_by.into_iter().chain(life.end_by()).min()
        });
        if over.is_some_and(|over| at >= over) {
            self.wrong(
                Rule::NotBefore,
                format!("{id} is leased at {at:?}, its end was {over:?}"),
            );
        }
        let place = (task.priority, task.place, id);
        if self.levels.is_strict(&task.queue)
            && self.talk.runs_everything(holder)
            && let Some(first) = self.lanes.overtaken(&task.queue, place, at)
        {
            let says = format!("{id} is leased before {first}, which is ready and goes first");
            self.wrong(Rule::Order, says);
        }
    }

    fn edited(&mut self, id: TaskId, edit: &Edit) {
        let Some(mut task) = self.tasks.remove(&id) else {
            return self.wrong(Rule::NoLoss, format!("{id} is edited and is not known"));
        };
        self.leave(id, &task);
        if let Some(payload) = &edit.payload {
            task.payload = digest(payload);
            task.checkpoint = None;
        }
        task.version = edit.version.unwrap_or(task.version);
        task.priority = edit.priority.unwrap_or(task.priority);
        if let Some(own) = &edit.own {
            task.own = (**own).clone().said();
        }
        if edit.life.is_some() {
            task.life = edit.life;
        }
        if let (Some(at), Stand::Pending(_)) = (edit.not_before, task.stand) {
            task.stand = Stand::Pending(at);
        }
        self.wait(id, &task, false);
        self.tasks.insert(id, task);
        self.touched.push(id);
    }

    fn expired(&mut self, shard: ShardId, id: TaskId, at: Timestamp, reason: DeadReason) {
        let Some(task) = self.tasks.get(&id).cloned() else {
            return self.wrong(Rule::NoLoss, format!("{id} expires and is not known"));
        };
        self.check_overdue(id, &task, at, reason);
        self.leave(id, &task);
        if !matches!(task.stand, Stand::Pending(_)) {
            self.wrong(
                Rule::Conservation,
                format!("{id} expires while it does not wait"),
            );
        }
        self.wants(shard, id, &task, Fate::Dead(reason), false);
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
    fn run_ends(&mut self, shard: ShardId, event: &Event) {
        let end = match event {
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
            } => End {
                shard,
                id: *id,
                run,
                budget: Some(*budget),
                leaves,
            },
            Event::TaskFinished {
                id,
                run: Some(run),
                budget,
                leaves,
                ..
            } => End {
                shard,
                id: *id,
                run,
                budget: *budget,
                leaves,
            },
            _ => return,
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
        let routed = matches!(
            event,
            Event::TaskFinished {
                outcome: Outcome::Routed,
                ..
            }
        );
        if let Some(fate) = fate {
            self.wants(shard, id, &task, fate, routed);
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
        let policy = self.levels.policy(end.shard, task);
        let of_report = end.leaves.max_attempts;
        let court = Court {
            policy: &policy,
            task,
            max_attempts: of_report.or_else(|| self.levels.max_attempts(end.shard, task)),
            end_by: task.life.as_ref().and_then(|life| life.end_by()),
        };
        let failure: Option<&Failure> = end.leaves.failure.as_ref().or(end.run.failure.as_ref());
        let facts = Facts {
            failure,
            ended_at: end.run.ended_at,
        };
        let mut all: Vec<Allowed> = Vec::new();
        let run = self.runs.get(&(end.id, task.fence));
        for heard in run.iter().flat_map(|run| &run.heard) {
            all.push(court.judge(end.run.outcome, &facts, heard));
        }
        if !is_reported(end.run.outcome) || all.is_empty() {
            all.push(court.judge(end.run.outcome, &facts, &Heard::Release));
        }
        // What goes before the policy: a cancel, at most once, and the end of the task's time.
        let mut before: Vec<Fate> = Vec::new();
        if lease.cancelled || self.promises.was_cancelled(end.id) {
            before.push(Fate::Cancelled);
        }
        if lease.at_most_once && !is_reported(end.run.outcome) {
            before.push(Fate::Dead(DeadReason::LeaseLost));
        }
        for (reason, over) in [
            (DeadReason::DeadlineExceeded, court.end_by),
            (
                DeadReason::TtlExpired,
                task.life.as_ref().and_then(|life| life.start_by()),
            ),
        ] {
            if over.is_some_and(|over| end.run.ended_at.plus_ms(EARLY_MS) >= over) {
                before.push(court.overdue(reason));
            }
        }
        let seen = fates_of(event);
        let mut fitting = seen.iter().filter(|fate| {
            before.contains(fate) || all.iter().any(|allowed| allowed.fates.contains(fate))
        });
        let fate = fitting.next().copied();
        let routed = matches!(
            event,
            Event::TaskFinished {
                outcome: Outcome::Routed,
                ..
            }
        );
        if let Some(fate) = fate
            && lease.cancelled
            && fate != Fate::Cancelled
            && fate != Fate::Succeeded
        {
            let says = format!("{} was to be cancelled, and is {fate:?}", end.id);
            self.wrong(Rule::OneJudge, says);
        }
        if fate.is_none()
            && !(routed && all.iter().chain([]).any(|it| has_dead(&it.fates))
                || routed && has_dead(&before))
        {
            let says = format!(
                "{} ended as {:?} and is {seen:?}; allowed: {before:?} {all:?}",
                end.id, end.run.outcome
            );
            self.wrong(Rule::OneJudge, says);
        }
        self.check_wait(end, event, &all);
        if routed {
            let dead = before.iter().chain(all.iter().flat_map(|it| &it.fates));
            let dead: Vec<Fate> = dead
                .copied()
                .filter(|fate| matches!(fate, Fate::Dead(_)))
                .collect();
            if dead.iter().any(|fate| Some(fate) != dead.first()) {
                self.is_unclear(end.id);
            }
            return dead.first().copied();
        }
        fate
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
                self.wait(id, task, *not_before <= run.ended_at);
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
    fn finishes(&mut self, shard: ShardId, event: &Event) {
        let Event::TaskFinished {
            id, outcome, at, ..
        } = event
        else {
            return;
        };
        let Some(mut task) = self.tasks.remove(id) else {
            return self.wrong(Rule::NoLoss, format!("{id} ends and is not known"));
        };
        self.leave(*id, &task);
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
            Some(fate) => self.wants(shard, *id, &task, fate, *outcome == Outcome::Routed),
            None => {
                let says = format!("{id} is {:?} and ends as {outcome:?}", task.stand);
                self.wrong(Rule::Conservation, says);
            }
        }
        self.stand_after(shard, *id, &mut task, event);
        self.tasks.insert(*id, task);
        self.touched.push(*id);
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

    fn redriven(&mut self, id: TaskId, at: Timestamp, not_before: Timestamp) {
        let Some(mut task) = self.tasks.remove(&id) else {
            return self.wrong(Rule::NoLoss, format!("{id} is redriven and is not known"));
        };
        if !matches!(task.stand, Stand::Dead(_)) {
            self.wrong(
                Rule::Conservation,
                format!("{id} is redriven and is {:?}", task.stand),
            );
        }
        (task.failures, task.crashes, task.deferrals) = (0, 0, 0);
        (task.unstarted_in_row, task.timeouts_hit) = (0, 0);
        task.rule_retries.clear();
        task.previous_delay_ms = None;
        task.redrives += 1;
        task.budget_since = at;
        if let Some(life) = &mut task.life {
            (life.from, life.begun) = (not_before, false);
        }
        task.stand = Stand::Pending(not_before);
        self.wait(id, &task, not_before <= at);
        self.tasks.insert(id, task);
        self.touched.push(id);
    }

    fn forget(&mut self, shard: ShardId, id: TaskId) {
        let Some(task) = self.tasks.remove(&id) else {
            return self.wrong(Rule::NoLoss, format!("{id} is forgotten and is not known"));
        };
        let state = &mut self.shards[usize::from(shard.0)];
        state.tasks -= 1;
        if let Stand::Finished(_, expires_at) = task.stand {
            state.finished.remove(&(expires_at, id));
        } else {
            self.wrong(
                Rule::NoLoss,
                format!("{id} is forgotten and is {:?}", task.stand),
            );
        }
    }

    fn expire(&mut self, shard: ShardId, at: Timestamp, last: TaskId) {
        let state = &mut self.shards[usize::from(shard.0)];
        while let Some(first) = state
            .finished
            .first()
            .copied()
            .filter(|it| *it <= (at, last))
        {
            state.finished.remove(&first);
            state.tasks -= 1;
            self.tasks.remove(&first.1);
        }
    }

    /// An image of a task is what it is.
    fn image(&mut self, whole: &Whole) {
        let image = Task::of(whole);
        let differs = match self.tasks.get(&whole.id) {
            Some(task) => task.differs(&image),
            None => Some("existence"),
        };
        if let Some(what) = differs {
            self.wrong(
                Rule::OneDoor,
                format!("the image of {} has another {what}", whole.id),
            );
        }
    }
}

fn has_dead(fates: &[Fate]) -> bool {
    fates.iter().any(|fate| matches!(fate, Fate::Dead(_)))
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
