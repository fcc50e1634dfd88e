//! What is compared, counted anew and replayed in the simulated world, and its end.
//!
//! Owns the recounts: what the journal says is what the engine knows (I1, I14), all invariants hold,
//! damage is refused or harmless (I18), and when the faults have stopped everything comes to an end
//! (liveness). Never repairs anything.

use redrive_coordinator::engine::command::{Call, Caller, Start, TaskChange, TaskRef};
use redrive_coordinator::engine::event::{Event, Recorded};
use redrive_coordinator::engine::ids::{ShardId, TaskId};
use redrive_coordinator::engine::invariants;
use redrive_coordinator::engine::ledger::task::State;
use redrive_coordinator::engine::retry::Budget;
use redrive_coordinator::journal::Storage as _;

use super::server::{Server, replayed};
use super::situations::Situation;
use super::world::{Arriving, Due, Who, World};

/// How long everything may take to come to an end. Microseconds.
const HEALING_US_MAX: u64 = 3_600_000_000;
/// What happens at most until everything has come to an end.
const HEALING_EVENTS_MAX: u64 = 2_000_000;
/// How often it is looked whether everything has come to an end, in events.
const OVER_EVERY: u64 = 64;
/// How often the end is helped along. Microseconds.
const HELP_US: u64 = 2_000_000;
/// A wait that is longer than this is cut short at the end. Milliseconds.
const LONG_MS: u64 = 5000;

impl World {
    /// After a commit: what it touched.
    pub(super) fn check_touched(&mut self) {
        if let Some(server) = &self.server
            && !server.is_writing()
        {
            self.judge.agrees(&server.engine);
        }
    }

    /// Something that was recorded is durable.
    pub(super) fn notice(&mut self, recorded: &Recorded) {
        self.notice_restarts(&recorded.event);
        let what = match &recorded.event {
            Event::TaskImage { task } => match task.state {
                State::Leased(_) => Situation::ImageOfLeased,
                State::Dead { .. } => Situation::ImageOfDead,
                State::Pending { .. } | State::Finished(_) => return,
            },
            Event::TransferImage { .. } => Situation::ImageOfTransfer,
            Event::TransferReceived { origin, .. } if *origin != recorded.shard => {
                Situation::TransferCrossed
            }
            Event::TaskDied { .. } => Situation::Died,
            Event::TaskRedriven { .. } => Situation::Redriven,
            Event::TaskExpired { .. } => Situation::Expired,
            Event::RetryScheduled { budget, .. } => match budget {
                Budget::Attempt => Situation::RetryAfterFailure,
                Budget::Crash => Situation::RetryAfterCrash,
                Budget::Deferral => Situation::Deferred,
            },
            Event::TasksForgotten { .. } | Event::ExpiredThrough { .. } => Situation::Forgotten,
            Event::MemoriesForgotten { .. } => Situation::MemoryForgotten,
            _ => return,
        };
        self.saw(what);
    }

    /// Leases that outlive a life of the coordinator.
    fn notice_restarts(&mut self, event: &Event) {
        let life = self.life;
        if let Event::LeaseGranted { id, .. } = event {
            let before = self.leased_in.insert(*id, life);
            if before.is_some_and(|before| before < life) {
                self.saw(Situation::LeasedAgainAfterRestart);
            }
        } else if let Event::TaskFinished {
            id, run: Some(_), ..
        }
        | Event::RetryScheduled { id, .. } = event
            && self
                .leased_in
                .get(id)
                .is_some_and(|granted| *granted < life)
        {
            self.saw(Situation::SettledAfterRestart);
        }
    }

    /// Counts and compares everything that can be counted and compared.
    pub fn check_everything(&mut self) {
        let Some(server) = &self.server else { return };
        invariants::check(&server.engine);
        if server.is_writing() {
            return;
        }
        self.judge.agrees_whole(&server.engine);
        let disk = server.disk_now();
        match replayed(&self.plan, &disk, 1) {
            Err(why) => self
                .judge
                .wrong("NoLoss", &format!("the log cannot be replayed: {why}")),
            Ok((engine, _)) => {
                for shard in (0..self.plan.shards).map(ShardId) {
                    if engine.ledger(shard) != server.engine.ledger(shard) {
                        let says =
                            format!("the log of shard {} does not say what is there", shard.0);
                        self.judge.wrong("OneDoor", &says);
                    }
                }
            }
        }
    }

    /// One byte of a copy of the disk rots, behind everything that was confirmed: whoever starts on
    /// it is refused, or nothing that matters was hit.
    pub(super) fn check_rot(&mut self, server: &Server) {
        let disk = server.disk_now();
        let Ok(files) = disk.list() else { return };
        let segments = files
            .iter()
            .filter(|file| file.name.starts_with("segment-"));
        let mut segments: Vec<_> = segments.collect();
        // The last one may end in what nobody was told of.
        segments.sort_by(|one, two| one.name.cmp(&two.name));
        segments.pop();
        if segments.is_empty() {
            return;
        }
        let at = self.dice.between(0, segments.len() as u64);
        let segment = segments[usize::try_from(at).unwrap()];
        let offset = self.dice.between(0, segment.bytes.max(1));
        let offset = usize::try_from(offset).unwrap();
        let flipped = 1 << self.dice.between(0, 8);
        let Ok((sound, _)) = replayed(&self.plan, &server.disk_now(), 1) else {
            return;
        };
        disk.rot(&segment.name, offset, flipped);
        match replayed(&self.plan, &disk, 1) {
            Err(_refused) => self.saw(Situation::RotRefused),
            Ok((rotten, _)) => {
                self.saw(Situation::RotHarmless);
                let mut shards = (0..self.plan.shards).map(ShardId);
                if !shards.all(|shard| rotten.ledger(shard) == sound.ledger(shard)) {
                    let name = &segment.name;
                    let says = format!("a bit of byte {offset} of {name} changed what is known");
                    self.judge.wrong("NoLoss", &says);
                }
            }
        }
    }

    /// The faults stop, and everything must come to an end.
    pub fn heal(&mut self) {
        self.healed = true;
        self.clear();
        self.stalled_us = 0;
        self.partition_us = 0;
        self.doom = None;
        let since_us = self.now_us();
        let events = self.events;
        for index in 0..self.workers.len() {
            if let Some(link) = self.leave(index) {
                self.cut(link);
            }
        }
        let mut help_us = 0;
        while !self.events.is_multiple_of(OVER_EVERY) || !self.is_over() {
            if self.now_us() >= help_us {
                help_us = self.now_us() + HELP_US;
                self.help();
            }
            let late = self.now_us() - since_us > HEALING_US_MAX;
            if late || self.events - events > HEALING_EVENTS_MAX || !self.step() {
                let says = format!(
                    "{} after the faults: {}",
                    self.now_us() - since_us,
                    self.unfinished()
                );
                self.judge.wrong("liveness", &says);
                return;
            }
        }
    }

    /// Whether nothing is left to be done.
    fn is_over(&self) -> bool {
        let Some(server) = &self.server else {
            return false;
        };
        if server.is_writing() || self.judge.waiting() > 0 {
            return false;
        }
        (0..self.plan.shards).map(ShardId).all(|shard| {
            let Some(ledger) = server.engine.ledger(shard) else {
                return true;
            };
            ledger.outgoing().all(|(_, out)| out.unconfirmed.is_empty())
                && !ledger
                    .tasks_after(TaskId::MIN)
                    .any(|task| is_live(&task.state))
        })
    }

    /// What is not over yet, in words.
    fn unfinished(&self) -> String {
        let Some(server) = &self.server else {
            return "there is no coordinator".to_owned();
        };
        let ledgers =
            (0..self.plan.shards).filter_map(|shard| server.engine.ledger(ShardId(shard)));
        let live = ledgers.flat_map(|ledger| ledger.tasks_after(TaskId::MIN));
        let live = live.filter(|task| is_live(&task.state));
        let first: Vec<String> = live
            .take(3)
            .map(|task| format!("{} in {} {:?}", task.id, task.queue, task.state))
            .collect();
        let workers: Vec<String> = self
            .workers
            .iter()
            .map(|worker| format!("{worker:?}"))
            .collect();
        format!(
            "{} callers wait; {}; {}",
            self.judge.waiting(),
            first.join("; "),
            workers.join("; ")
        )
    }

    /// Operators resume what is paused, and start what would wait for long.
    fn help(&mut self) {
        let Some(server) = &self.server else { return };
        let soon = self.judge.now().plus_ms(LONG_MS);
        let mut calls = Vec::new();
        for shard in (0..self.plan.shards).map(ShardId) {
            let Some(ledger) = server.engine.ledger(shard) else {
                continue;
            };
            let paused = ledger.queues().filter(|queue| queue.paused.is_some());
            calls.extend(paused.map(|queue| Call::ResumeQueue(queue.name.clone())));
            let late = ledger.tasks_after(TaskId::MIN).filter(
                |task| matches!(task.state, State::Pending { not_before } if not_before > soon),
            );
            calls.extend(late.map(|task| Call::UpdateTask {
                task: TaskRef::Id(task.id),
                change: Box::new(TaskChange {
                    start: Some(Start::After { delay_ms: 0 }),
                    ..TaskChange::default()
                }),
            }));
        }
        for call in calls {
            let operation = self.fresh();
            self.operations.insert(operation, Who::Helper);
            let arriving = Arriving::Call(operation, Caller::default(), call);
            self.agenda.after(1, Due::Arrive(self.life, arriving));
        }
    }
}

const fn is_live(state: &State) -> bool {
    matches!(state, State::Pending { .. } | State::Leased(_))
}
