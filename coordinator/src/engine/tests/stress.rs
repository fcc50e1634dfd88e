//! Stress: random commands in random order, from seeds.
//!
//! Owns what is done to the engine. What must hold meanwhile is `storm`'s; which command has which
//! answer is the scripts' business.

use rand::RngExt;

use super::storm::{QUEUES, SHARDS, Storm, Worker};
use super::world::{complete, fail, fail_with, failure, info, new_task, plain_policy, report_with};
use crate::engine::command::{
    Bulk, BulkAct, Call, Capacity, Command, FromWorker, Hello, LeaseTasks, ListTasks, NewTask,
    QueueChange, Report, ReportOutcome, Selection, Start,
};
use crate::engine::event::Event;
use crate::engine::failure::{Failure, FailureClass};
use crate::engine::filter::Filter;
use crate::engine::ids::{LeaseToken, LinkId, QueueName, RequestId, ShardId, TaskId};
use crate::engine::ledger::task::{Payload, Priority, State, Timeouts};
use crate::engine::retry::PolicyRef;

const SEEDS: u64 = 32;
const STEPS: usize = 250;
pub(super) const KINDS: [&str; 3] = ["x", "y", "z"];

impl Storm {
    fn hello(&mut self, who: usize, slots: u32, kinds: &[&str]) {
        self.next += 1;
        let link = LinkId(self.next);
        self.links.insert(link);
        let honest = !self.one_in(3);
        let first = self.rng.random_range(0..QUEUES.len());
        let bytes_max = Some(200).filter(|_| self.one_in(3));
        let worker = &mut self.workers[who];
        if !honest {
            worker.held.pop();
        }
        worker.link = Some(link);
        let (session, held) = (worker.session, worker.held.clone());
        let mut info = info(&format!("w{who}"), &QUEUES[first..], kinds);
        for served in &mut info.kinds {
            served.version_min = self.version();
            served.version_max = served.version_min + self.version();
        }
        if self.one_in(4) {
            let kind = self.pick(&KINDS).unwrap().into();
            info.proposals = vec![(kind, Box::new(self.kind_settings()))];
        }
        let hello = Hello {
            worker: info,
            session,
            held,
            buffered: Vec::new(),
            capacity: Capacity {
                tasks_max: slots,
                bytes_max,
                draining: false,
            },
        };
        self.give(Command::Hello {
            link,
            hello: Box::new(hello),
        });
    }

    pub(super) fn new_task(&mut self) -> NewTask {
        let delay_ms = [0, 0, 1, 3000, 70_000][self.rng.random_range(0..5)];
        let hard_ms = Some(5000).filter(|_| self.one_in(3));
        let data = vec![0; self.rng.random_range(0..300)].into();
        let terms = self.one_in(3).then(|| Box::new(self.any_terms()));
        let chain = self.below(12).saturating_sub(9);
        NewTask {
            queue: Some(self.queue()).filter(|_| !self.one_in(8)),
            version: self.version(),
            terms,
            then: (0..chain).map(|_| self.any_template()).collect(),
            keys: self.keys(),
            kind: self.pick(&KINDS).unwrap().into(),
            payload: Payload {
                data,
                content_type: None,
            },
            priority: self
                .pick(&[Priority::High, Priority::Normal, Priority::Low])
                .unwrap(),
            start: Start::After { delay_ms },
            timeouts: hard_ms.map(|_| Timeouts {
                soft_ms: Some(2000),
                hard_ms,
                extend_max_ms: None,
            }),
            max_attempts: Some(1).filter(|_| self.one_in(2)),
            ..new_task("a")
        }
    }

    fn outcome(&mut self) -> ReportOutcome {
        let lost = Failure::new(FailureClass::WorkerLost, "killed");
        let delay_ms = self.below(3) * 1000;
        let payload = Some(Payload::default());
        match self.below(8) {
            0..=2 => complete(),
            3 => fail(),
            4 => fail_with(lost),
            5 => ReportOutcome::Retry {
                failure: failure(),
                start: Some(Start::After { delay_ms }),
                payload,
                max_attempts: None,
            },
            6 => ReportOutcome::Defer {
                delay_ms,
                reason: "later".into(),
                payload,
            },
            _ => ReportOutcome::Release { reason: "".into() },
        }
    }

    fn reports(&mut self, from: &[LeaseToken]) -> Vec<Report> {
        let count = self.below(8);
        let token = |storm: &mut Self| {
            storm
                .pick(from)
                .or_else(|| storm.pick(&storm.tokens.clone()))
        };
        let tokens: Vec<LeaseToken> = (0..count).filter_map(|_| token(self)).collect();
        tokens
            .into_iter()
            .map(|token| report_with(token, self.outcome()))
            .collect()
    }

    fn say(&mut self, who: usize) {
        let Some(link) = self.workers[who].link else {
            return;
        };
        let (held, sequence) = (self.workers[who].held.clone(), self.workers[who].sequence);
        let message = match self.below(13) {
            0..=4 => {
                let from = if self.one_in(4) { Vec::new() } else { held };
                FromWorker::Reports(self.reports(&from))
            }
            5..=7 => {
                let recent = sequence.saturating_sub(20)..=sequence;
                let buffered = recent.filter(|_| self.one_in(3)).collect();
                FromWorker::Receipt {
                    through: sequence.saturating_sub(self.below(4)) + self.below(2),
                    buffered,
                }
            }
            8 => {
                let from = if self.one_in(4) { Vec::new() } else { held };
                FromWorker::Heartbeats(self.beats(&from))
            }
            9 => FromWorker::Capacity(Capacity {
                tasks_max: self.rng.random_range(0..5),
                bytes_max: None,
                draining: self.one_in(2),
            }),
            10 if self.one_in(3) => FromWorker::Goodbye,
            _ => FromWorker::Pong,
        };
        self.give(Command::FromWorker { link, message });
    }

    /// Any task, or often one that is dead or leased.
    fn some_task(&mut self) -> TaskId {
        let mut ids = self.tasks.clone();
        let wanted = self.below(3);
        ids.retain(|id| {
            let task = self.engine.ledger(id.shard()).unwrap().task(*id);
            match task.map(|task| &task.state) {
                Some(State::Dead { .. }) => wanted != 2,
                Some(State::Leased(_)) => wanted != 1,
                Some(State::Pending { .. } | State::Finished(_)) | None => wanted == 0,
            }
        });
        self.pick(&ids).unwrap_or(TaskId::MIN)
    }

    fn operate(&mut self) {
        let queue = self.queue();
        let id = self.some_task();
        let task = self.task_ref(id);
        let call = match self.below(20) {
            0 | 1 => {
                let cancel = self.cancel();
                Call::CancelTask { task, cancel }
            }
            2 | 14 | 15 => {
                let change = self.change();
                Call::UpdateTask { task, change }
            }
            3 | 4 => Call::RedriveTask {
                task,
                delay_ms: self.below(2) * 1000,
                reason: "".into(),
            },
            16 => Call::DiscardTask {
                task,
                reason: "".into(),
            },
            17 => Call::GetTask(task),
            18 | 19 => self.about_kinds(),
            5..=7 => self.page(queue),
            8 => Call::PauseQueue {
                queue,
                reason: "".into(),
            },
            9 | 10 => Call::ResumeQueue(queue),
            11 => self.configure(queue),
            12 => {
                let timeout_ms = self.below(60_000);
                return self.call(Call::WaitTask { task, timeout_ms });
            }
            _ => Call::DrainWorkers {
                namespace: "default".into(),
                workers: vec![format!("w{}", self.below(8)).into()],
                reason: "".into(),
                deadline_ms: None,
            },
        };
        let caller = self.caller();
        self.next += 1;
        self.call_with(RequestId(self.next), caller, call);
    }

    /// A step of a bulk act or of a list, from wherever the step before stopped.
    fn page(&mut self, queue: QueueName) -> Call {
        let selection = Selection {
            namespace: "default".into(),
            queue: Some(queue).filter(|_| self.one_in(2)),
            filter: Filter::default(),
        };
        let (after, count_max) = (self.cursor.take(), self.rng.random_range(1..4));
        let delay_ms = self.below(2) * 500;
        let acts = [
            BulkAct::Count,
            BulkAct::Discard,
            BulkAct::Redrive {
                delay_ms,
                step_us: 1000,
            },
            BulkAct::CountLive,
            BulkAct::Cancel(self.cancel()),
        ];
        if self.one_in(3) {
            let dead_only = self.one_in(2);
            return Call::ListTasks(ListTasks {
                selection,
                after,
                count_max,
                dead_only,
            });
        }
        let (act, before) = (self.pick(&acts).unwrap(), self.now.plus_ms(1));
        Call::Bulk(Bulk {
            reason: "".into(),
            act,
            selection,
            before,
            after,
            count_max,
        })
    }

    fn configure(&mut self, queue: QueueName) -> Call {
        let target = self.queue();
        let policy = PolicyRef::Inline(plain_policy(self.rng.random_range(1..4)).into());
        let terms = Some(Box::new(self.any_terms())).filter(|_| self.one_in(2));
        let aging_ms = [Some(0), Some(3000), None][self.rng.random_range(0..3)];
        let change = QueueChange {
            timeouts: Some(Some(self.timeouts()).filter(|_| self.one_in(3))),
            terms: Some(terms),
            aging_ms: Some(aging_ms),
            finished_max: Some(self.one_in(2).then(|| self.rng.random_range(0..2))),
            policy: Some(Some(policy).filter(|_| self.one_in(2))),
            dead_letter_queue: Some(Some(target).filter(|_| !self.one_in(3))),
        };
        Call::ConfigureQueue { queue, change }
    }

    fn unary(&mut self) {
        let tokens: Vec<_> = (0..2).map(|_| self.pick(&self.tokens.clone())).collect();
        let reports = self.reports(&[]);
        let queue = self.pick(&QUEUES).unwrap();
        let call = match self.below(4) {
            0 | 1 => Call::LeaseTasks(LeaseTasks {
                worker: info("cron", &[queue], &[]),
                count_max: self.rng.random_range(1..4),
                wait_ms: self.below(3) * 4000,
                ttl_ms: 10_000,
            }),
            2 => Call::ReportTasks(reports),
            _ => Call::ExtendLeases {
                tokens,
                ttl_ms: 10_000,
                beats: self.beats(&[]),
            },
        };
        self.call(call);
        if self.one_in(4) {
            let request = RequestId(self.next);
            self.open.remove(&request);
            self.give(Command::Hangup { request });
        }
    }

    pub(super) fn any(&mut self) {
        let who = self.rng.random_range(0..4);
        match self.below(100) {
            0..=14 => self.enqueue(),
            15..=24 => {
                let (slots, kinds) = (self.rng.random_range(0..12), self.rng.random_range(0..3));
                self.hello(who, slots, &KINDS[..kinds]);
            }
            25..=26 => {
                if let Some(link) = self.workers[who].link.take() {
                    self.links.remove(&link);
                    self.give(Command::LinkClosed { link });
                }
            }
            27..=54 => self.say(who),
            55..=69 => self.operate(),
            70..=76 => self.unary(),
            77..=85 => self.carry(),
            86..=96 => {
                let ms = [1, 10, 100, 500, 1000, 3000, 31_000][self.rng.random_range(0..7)];
                self.pass(ms);
            }
            97 => {
                self.now = self.now.plus_ms(40_000);
                self.give(Command::Late { ms: 40_000 });
                self.give(Command::Tick);
            }
            98 if self.one_in(3) => self.restart(),
            98 => {
                let full = self.one_in(3);
                self.give(Command::DiskFull(full));
            }
            99 if self.one_in(6) => {
                self.give(Command::Shutdown);
                assert!(self.open.is_empty(), "who waits is answered before the end");
                self.restart();
            }
            _ => self.give(Command::Tick),
        }
        if self.one_in(2) {
            self.ring();
        }
    }

    fn carry(&mut self) {
        if let Some(transfer) = self.on_the_way.pop_front() {
            if self.one_in(5) {
                self.give(Command::Transfer(transfer.clone()));
            }
            self.give(Command::Transfer(transfer));
        }
    }

    /// The sky clears: one good worker for everything, until nothing is pending or leased.
    pub(super) fn clear_up(&mut self) {
        self.restart();
        for queue in QUEUES {
            let queue = QueueName::new("default", queue).unwrap();
            self.call(Call::ResumeQueue(queue));
        }
        self.workers = vec![Worker::default()];
        for _ in 0..400 {
            while !self.on_the_way.is_empty() {
                self.carry();
            }
            if self.workers[0].link.is_none() {
                self.next += 1;
                let link = LinkId(self.next);
                self.links.insert(link);
                self.workers[0].link = Some(link);
                let capacity = Capacity {
                    tasks_max: 1000,
                    ..Capacity::default()
                };
                let (worker, session) = (info("good", &QUEUES, &[]), None);
                let hello = Hello {
                    worker,
                    session,
                    held: Vec::new(),
                    buffered: Vec::new(),
                    capacity,
                };
                self.give(Command::Hello {
                    link,
                    hello: Box::new(hello),
                });
            }
            let held = std::mem::take(&mut self.workers[0].held);
            let reports: Vec<_> = held.iter().map(|t| report_with(*t, complete())).collect();
            let link = self.workers[0].link.unwrap();
            self.give(Command::FromWorker {
                link,
                message: FromWorker::Reports(reports),
            });
            if self.live() == 0 && self.on_the_way.is_empty() {
                return;
            }
            self.pass(1000);
        }
        panic!("{} tasks never came to an end", self.live());
    }

    fn live(&self) -> usize {
        let ledgers = (0..SHARDS).map(|shard| self.engine.ledger(ShardId(shard)).unwrap());
        let tasks = ledgers.flat_map(|ledger| ledger.tasks_after(TaskId::MIN));
        let over = |state: &State| matches!(state, State::Dead { .. } | State::Finished(_));
        tasks.filter(|task| !over(&task.state)).count()
    }
}

/// Something that happens, by a name.
type Happens = (&'static str, fn(&Event) -> bool);

/// What a storm must meet to be worth its name.
const MET: [Happens; 14] = [
    ("granted", |event| {
        matches!(event, Event::LeaseGranted { .. })
    }),
    ("cancel", |event| {
        matches!(event, Event::CancelRequested { .. })
    }),
    ("extended", |event| {
        matches!(event, Event::LeaseExtended { .. })
    }),
    ("saved", |event| {
        matches!(event, Event::CheckpointSaved { .. })
    }),
    ("edited", |event| matches!(event, Event::TaskEdited { .. })),
    ("expired", |event| {
        matches!(event, Event::TaskExpired { .. })
    }),
    ("redriven", |event| {
        matches!(event, Event::TaskRedriven { .. })
    }),
    ("forgotten", |event| {
        matches!(event, Event::TasksForgotten { .. })
    }),
    ("remembered", |event| {
        matches!(event, Event::Remembered { .. })
    }),
    ("more", |event| {
        matches!(event, Event::RememberedMore { .. })
    }),
    ("memories", |event| {
        matches!(event, Event::MemoriesForgotten { .. })
    }),
    ("kind", |event| {
        matches!(event, Event::KindConfigured { .. })
    }),
    ("no kind", |event| {
        matches!(event, Event::KindRemoved { .. })
    }),
    ("arrived", |event| {
        matches!(event, Event::TransferReceived { .. })
    }),
];

fn weather(seed: u64, steps: usize) -> Storm {
    let mut storm = Storm::new(seed);
    for _ in 0..steps {
        storm.any();
    }
    storm.check_indexes();
    storm.pass(60_000);
    assert!(storm.open.is_empty(), "no call waits longer than it may");
    storm.clear_up();
    storm.check_indexes();
    storm
}

/// After every step the recounts (I3, I4, I5, I9) and what this storm keeps itself (I1, I7, I10, I11,
/// I12, I13).
#[test]
fn whatever_happens_all_invariants_hold_and_every_task_comes_to_an_end() {
    let mut unmet = MET.to_vec();
    for seed in 0..SEEDS {
        let storm = weather(seed, STEPS);
        let met = |is: fn(&Event) -> bool| storm.journal.iter().any(|it| is(&it.event));
        unmet.retain(|(_, is)| !met(*is));
    }
    let unmet: Vec<&str> = unmet.iter().map(|(name, _)| *name).collect();
    assert!(unmet.is_empty(), "a calm: nothing was {unmet:?}");
}
