//! Each record, judged when it is durable.
//!
//! Owns what each event does to the model's tasks, and whether it may (docs/state-machine.md). What
//! ends a run or a task is `ends`.

use redrive_coordinator::engine::edit::Edit;
use redrive_coordinator::engine::event::{Event, Recorded};
use redrive_coordinator::engine::ids::{Fence, QueueName, ShardId, TaskId, Timestamp};
use redrive_coordinator::engine::ledger::task::{Holder, Task as Whole};
use redrive_coordinator::engine::ledger::terms::DeliveryMode;

use super::order::Granted;
use super::shares::Unfair;
use super::task::{Lease, Run, Stand, Task};
use super::{Model, Rule, digest};

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
            Event::TaskEnqueued { task } => {
                self.check_was_asked(task);
                self.arrive(shard, task);
            }
            Event::LeaseGranted { id, .. } => self.grant(shard, *id, event),
            Event::LeaseStarted { id, .. } => self.started(*id),
            Event::CancelRequested { id, .. } => {
                self.with_lease(*id, |lease| lease.cancelled = true);
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
            Event::RetryScheduled { .. }
            | Event::TaskDied { .. }
            | Event::TaskFinished { run: Some(_), .. } => self.run_ends(shard, event),
            Event::TaskFinished { .. } => self.finishes(shard, event),
            Event::TaskRedriven {
                id, at, not_before, ..
            } => self.redriven(*id, *at, *not_before),
            Event::TasksForgotten { ids } => ids.iter().for_each(|id| self.forget(shard, *id)),
            Event::ExpiredThrough { at, last } => self.expire(shard, *at, *last),
            Event::TaskImage { task } => self.image(task),
            _ => self.apply_to_others(shard, event),
        }
    }

    /// What is said of anything but tasks, or of tasks on their way.
    fn apply_to_others(&mut self, shard: ShardId, event: &Event) {
        match event {
            Event::EpochStarted { epoch, .. } => self.epoch(shard, *epoch),
            Event::QueueConfigured {
                queue, settings, ..
            } => self.levels.set_queue(queue, settings),
            Event::QueuePaused { queue, .. } => self.lanes.pause(queue),
            Event::QueueResumed { queue } => self.lanes.resume(queue),
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
                self.confirmed(shard, *target, *through);
            }
            Event::QueueImage { queue } => {
                let same = self.levels.queue(&queue.name) == Some(&queue.settings);
                if !same || queue.paused.is_some() != self.lanes.is_paused(&queue.name) {
                    let says = format!("the image of queue {} is not what it is", queue.name);
                    self.wrong(Rule::OneDoor, says);
                }
            }
            _ => {}
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
        self.lanes.wait(whole.id, &task, at_once);
        self.shards[usize::from(shard.0)].tasks += 1;
        self.made.insert(whole.id);
        if self.tasks.insert(whole.id, task).is_some() {
            self.wrong(
                Rule::Conservation,
                format!("the id {} was given twice", whole.id),
            );
        }
        self.touched.push(whole.id);
    }

    /// Changes a task that is known.
    pub(super) fn change(&mut self, id: TaskId, change: impl FnOnce(&mut Task)) {
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
        self.lanes.leave(id, &task);
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
        self.check_order(id, task, (at, holder));
    }

    /// The most urgent first, and each queue of the holder its share.
    fn check_order(&mut self, id: TaskId, task: &Task, (at, holder): (Timestamp, Holder)) {
        let Holder::Session(session) = holder else {
            return;
        };
        if !self.talk.runs_everything(session) {
            return self.shares.end(session);
        }
        let granted = Granted {
            queue: &task.queue,
            priority: task.priority,
            place: task.place,
            id,
            at,
            aging_ms: self.levels.aging_ms(&task.queue),
        };
        let overtaken = self.lanes.overtaken(&granted);
        self.seen.aged += usize::from(overtaken.is_none() && self.lanes.has_aged(&granted));
        if let Some(first) = overtaken {
            let says = format!("{id} is leased before {first}, which is ready and goes first");
            self.wrong(Rule::Order, says);
        }
        let lanes = &self.lanes;
        let has_work = |queue: &QueueName| lanes.has_ready(queue, at);
        let (compared, unfair) = self.shares.granted(session, &task.queue, has_work);
        self.seen.shares += compared;
        if let Some(Unfair { got, other, apart }) = unfair {
            let says = format!("{id}: {got:?} and {other:?} of one worker are {apart} apart");
            self.wrong(Rule::Shares, says);
        }
    }

    fn edited(&mut self, id: TaskId, edit: &Edit) {
        let Some(mut task) = self.tasks.remove(&id) else {
            return self.wrong(Rule::NoLoss, format!("{id} is edited and is not known"));
        };
        self.lanes.leave(id, &task);
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
        self.lanes.wait(id, &task, false);
        self.tasks.insert(id, task);
        self.touched.push(id);
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
        self.lanes.wait(id, &task, not_before <= at);
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
        if at > self.now() {
            let says = format!("what is kept until {at:?} is forgotten at {:?}", self.now());
            self.wrong(Rule::NoLoss, says);
        }
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
