//! Workers with a stream, in the simulated world: most are honest, some crash, stall or lie.
//!
//! Owns what a worker knows: its session, what it holds, what it has reported. Never looks into the
//! coordinator. An honest worker keeps a report until it is acknowledged, over all its streams.

use redrive_coordinator::engine::command::{
    Capacity, Command, FromWorker, Heartbeat, HeartbeatContent, Hello, Report, ReportContent,
    ReportOutcome, Start, WorkerInfo,
};
use redrive_coordinator::engine::ids::{LeaseToken, LinkId, SessionId};

use super::situations::Situation;
use super::values::{NAMESPACE, Values};
use super::world::{Due, Who, World};

/// Tasks that a worker holds at most.
const SLOTS_MAX: u64 = 12;
/// How long a worker waits for its welcome. Microseconds.
const WELCOME_US_MAX: u64 = 10_000_000;
/// Tokens that a worker remembers after their end, to lie with.
const OLD_MAX: usize = 16;

/// A worker with a stream.
#[derive(Debug)]
pub struct Worker {
    name: String,
    pub(super) link: Option<LinkId>,
    pub(super) welcomed: bool,
    /// When it last said Hello. Microseconds.
    asked_us: u64,
    pub(super) session: Option<SessionId>,
    pub(super) jobs: Vec<Job>,
    pub(super) unacknowledged: Vec<(LeaseToken, ReportOutcome)>,
    pub(super) received: u64,
    pub(super) receipt_due: bool,
    slots: u64,
    pub(super) leaving: bool,
    /// It does nothing until then. Microseconds.
    pub(super) silent_us: u64,
    old: Vec<LeaseToken>,
}

/// What it runs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Job {
    pub(super) token: LeaseToken,
    pub(super) sequence: u64,
    pub(super) begun: bool,
    pub(super) until_us: u64,
}

impl Worker {
    /// A worker that was not there before.
    #[must_use]
    pub fn new(index: usize) -> Self {
        Self {
            name: format!("worker-{index}"),
            link: None,
            welcomed: false,
            asked_us: 0,
            session: None,
            jobs: Vec::new(),
            unacknowledged: Vec::new(),
            received: 0,
            receipt_due: false,
            slots: 0,
            leaving: false,
            silent_us: 0,
            old: Vec::new(),
        }
    }

    pub(super) fn holds(&self, token: LeaseToken) -> bool {
        self.jobs.iter().any(|job| job.token == token)
    }

    pub(super) fn drop_job(&mut self, token: LeaseToken) {
        self.jobs.retain(|job| job.token != token);
        self.unacknowledged.retain(|(of, _)| *of != token);
        if self.old.len() == OLD_MAX {
            self.old.remove(0);
        }
        self.old.push(token);
    }
}

/// A report as the edge would have parsed it.
pub fn report(token: LeaseToken, outcome: ReportOutcome, values: &mut Values) -> Report {
    let checkpoint = if values.one_in(8) {
        Some(values.payload())
    } else {
        None
    };
    Report {
        raw_token: bytes::Bytes::copy_from_slice(&token.to_bytes()),
        content: Ok(ReportContent {
            token,
            outcome,
            checkpoint,
        }),
    }
}

/// How a run ends.
pub fn outcome(fail_per_mille: u64, values: &mut Values) -> ReportOutcome {
    if !values.dice.chance(fail_per_mille) {
        return ReportOutcome::Complete {
            result: if values.one_in(4) {
                Some(values.payload())
            } else {
                None
            },
            label: if values.one_in(8) {
                Some(values.word("fine"))
            } else {
                None
            },
        };
    }
    match values.below(8) {
        0..=3 => ReportOutcome::Fail {
            failure: values.failure(),
            not_retryable: values.one_in(8),
            retry_after_ms: if values.one_in(4) {
                Some(values.below(800))
            } else {
                None
            },
        },
        4 => ReportOutcome::Retry {
            failure: values.failure(),
            start: values.one_of(&[None, Some(Start::After { delay_ms: 250 })]),
            payload: if values.one_in(2) {
                Some(values.payload())
            } else {
                None
            },
            max_attempts: values.one_of(&[None, None, Some(3)]),
        },
        5 => ReportOutcome::Defer {
            delay_ms: values.below(500),
            reason: values.word("later"),
            payload: if values.one_in(3) {
                Some(values.payload())
            } else {
                None
            },
        },
        6 => ReportOutcome::Release {
            reason: values.word("not mine"),
        },
        _ => ReportOutcome::Discard {
            reason: values.word("useless"),
        },
    }
}

impl World {
    /// A worker does what there is to do, and comes back soon.
    pub(super) fn worker_acts(&mut self, index: usize) {
        let rest_us = self.plan.work_us_max.clamp(2000, 100_000);
        let us = self.dice.between(rest_us / 8, rest_us);
        self.agenda.after(us, Due::Act(Who::Worker(index)));
        if self.workers[index].silent_us > self.now_us() && !self.healed {
            return;
        }
        if self.befalls(self.plan.crash) {
            return self.worker_crashes(index);
        }
        if self.befalls(self.plan.stall) {
            let grace_us = self.plan.engine.grace_ms * 1000;
            let us = self.dice.between(grace_us / 10, grace_us * 2);
            self.workers[index].silent_us = self.now_us() + us;
            self.saw(if us > grace_us {
                Situation::StallBeyondGrace
            } else {
                Situation::Stall
            });
            return;
        }
        if self.befalls(self.plan.cut)
            && let Some(link) = self.workers[index].link.take()
        {
            self.saw(Situation::StreamCut);
            self.workers[index].welcomed = false;
            self.cut(link);
            return;
        }
        if self.workers[index].link.is_none() {
            return self.worker_connects(index);
        }
        if self.workers[index].welcomed {
            self.worker_works(index);
        } else if self.now_us() - self.workers[index].asked_us > WELCOME_US_MAX
            && let Some(link) = self.workers[index].link.take()
        {
            self.cut(link);
        }
    }

    fn worker_crashes(&mut self, index: usize) {
        self.saw(if self.workers[index].jobs.iter().any(|job| job.begun) {
            Situation::WorkerCrashedWorking
        } else {
            Situation::WorkerCrashedIdle
        });
        if let Some(link) = self.workers[index].link.take() {
            self.cut(link);
        }
        let old = std::mem::take(&mut self.workers[index].jobs);
        let mut fresh = Worker::new(index);
        fresh.old = old.iter().map(|job| job.token).take(OLD_MAX).collect();
        self.workers[index] = fresh;
    }

    fn worker_connects(&mut self, index: usize) {
        let link = self.open_link(index);
        let lies = self.befalls(self.plan.lie);
        let info = self.worker_info(index);
        let slots = if self.healed {
            100
        } else {
            self.dice.between(0, SLOTS_MAX)
        };
        let bytes_max = (!self.healed && self.one_in(4)).then_some(300);
        let now_us = self.now_us();
        let worker = &mut self.workers[index];
        worker.link = Some(link);
        worker.welcomed = false;
        worker.asked_us = now_us;
        worker.leaving = false;
        worker.slots = slots;
        if lies && worker.jobs.pop().is_some() {
            self.seen.count(Situation::HelloForgetsOne);
        }
        let mut held: Vec<LeaseToken> = worker.jobs.iter().map(|job| job.token).collect();
        let unsent = worker.unacknowledged.iter().map(|(token, _)| *token);
        held.extend(unsent.filter(|token| !worker.jobs.iter().any(|job| job.token == *token)));
        if lies && let Some(old) = worker.old.last() {
            held.push(*old);
            self.seen.count(Situation::HelloClaimsOld);
        }
        held.sort_by_key(|token| (token.task, token.fence));
        held.dedup();
        let waiting = worker.jobs.iter().filter(|job| !job.begun);
        let hello = Hello {
            worker: info,
            session: worker.session,
            held,
            buffered: waiting.map(|job| (job.token, job.sequence)).collect(),
            capacity: Capacity {
                tasks_max: u32::try_from(slots).unwrap(),
                bytes_max,
                draining: false,
            },
        };
        if worker.session.is_some() {
            self.seen.count(Situation::ResumeAsked);
        }
        let hello = Box::new(hello);
        self.say(link, Command::Hello { link, hello });
    }

    fn worker_info(&mut self, index: usize) -> WorkerInfo {
        let all = self.values.queues().to_vec();
        let skip = if self.healed {
            0
        } else {
            self.dice.between(0, all.len() as u64)
        };
        let skip = usize::try_from(skip).unwrap();
        let weights = [1, 1, 5];
        let queues = all.into_iter().skip(skip);
        let queues = queues
            .map(|queue| (queue, self.values.one_of(&weights)))
            .collect();
        let kinds = if self.healed {
            Vec::new()
        } else {
            self.values.kinds_served()
        };
        let proposals = if self.plan.settings && self.one_in(6) && !self.healed {
            vec![(self.values.kind(), Box::new(self.values.kind_settings()))]
        } else {
            Vec::new()
        };
        WorkerInfo {
            namespace: self.values.word(NAMESPACE),
            worker: self.values.word(&self.workers[index].name),
            version: self.values.word("1.0"),
            host: self.values.word("host"),
            queues,
            kinds,
            proposals,
        }
    }

    fn worker_works(&mut self, index: usize) {
        let Some(link) = self.workers[index].link else {
            return;
        };
        self.begin_jobs(index);
        self.send_receipt(index, link);
        let reports = self.finished(index);
        if !reports.is_empty() {
            self.worker_says(link, FromWorker::Reports(reports));
        }
        if self.one_in(12) {
            self.beat(index, link);
        }
        if self.befalls(15) {
            self.change_capacity(index, link);
        }
        let idle =
            self.workers[index].jobs.is_empty() && self.workers[index].unacknowledged.is_empty();
        if self.workers[index].leaving && (idle || self.one_in(4)) || self.befalls(3) {
            self.saw(if idle {
                Situation::GoodbyeIdle
            } else {
                Situation::GoodbyeHolding
            });
            self.worker_says(link, FromWorker::Goodbye);
            let mut fresh = Worker::new(index);
            fresh.old = std::mem::take(&mut self.workers[index].old);
            self.workers[index] = fresh;
        }
    }

    pub(super) fn worker_says(&mut self, link: LinkId, message: FromWorker) {
        self.say(link, Command::FromWorker { link, message });
    }

    fn begin_jobs(&mut self, index: usize) {
        let (now, work) = (self.now_us(), self.plan.work_us_max);
        let lazy = self.befalls(200);
        for place in 0..self.workers[index].jobs.len() {
            let us = self.dice.between(1, work + 1);
            let job = &mut self.workers[index].jobs[place];
            if !(job.begun || lazy && place % 2 == 0) {
                job.begun = true;
                job.until_us = now + us;
                self.workers[index].receipt_due = true;
            }
        }
    }

    fn send_receipt(&mut self, index: usize, link: LinkId) {
        let worker = &mut self.workers[index];
        if !std::mem::take(&mut worker.receipt_due) {
            return;
        }
        let waiting = worker.jobs.iter().filter(|job| !job.begun);
        let mut buffered: Vec<u64> = waiting.map(|job| job.sequence).collect();
        buffered.sort_unstable();
        let through = worker.received;
        self.worker_says(link, FromWorker::Receipt { through, buffered });
    }

    /// Reports of what is done by now; those that were not acknowledged are sent again now and then.
    fn finished(&mut self, index: usize) -> Vec<Report> {
        let (now, fail) = (self.now_us(), if self.healed { 0 } else { self.plan.fail });
        let jobs = &self.workers[index].jobs;
        let done = jobs.iter().filter(|job| job.begun && job.until_us <= now);
        let done: Vec<LeaseToken> = done.map(|job| job.token).collect();
        let mut reports = Vec::new();
        for token in done {
            let outcome = outcome(fail, &mut self.values);
            let known = self.workers[index]
                .unacknowledged
                .iter()
                .any(|(of, _)| *of == token);
            self.workers[index].jobs.retain(|job| job.token != token);
            if !known {
                self.workers[index]
                    .unacknowledged
                    .push((token, outcome.clone()));
                reports.push(report(token, outcome, &mut self.values));
            }
        }
        if self.befalls(self.plan.repeat)
            && let Some((token, outcome)) = self.workers[index].unacknowledged.first().cloned()
        {
            self.saw(Situation::ReportRepeated);
            reports.push(report(token, outcome, &mut self.values));
        }
        if self.befalls(self.plan.lie) {
            reports.extend(self.lie(index));
        }
        reports
    }

    /// A report that is not this worker's to make.
    fn lie(&mut self, index: usize) -> Option<Report> {
        let old = self.workers[index].old.last().copied();
        let held = self.workers[index].jobs.first().map(|job| job.token);
        let others = self.workers.iter().find_map(|worker| worker.jobs.first());
        let others = others.map(|job| job.token);
        let (token, lie) = match self.dice.between(0, 4) {
            0 => (old?, Situation::StaleReport),
            1 => {
                let token = held?;
                let nonce = token.nonce ^ 1;
                (LeaseToken { nonce, ..token }, Situation::ForgedNonce)
            }
            2 => {
                let mut token = held?;
                token.fence.0 += 1;
                (token, Situation::ForgedFence)
            }
            _ => (others?, Situation::ReportForAnother),
        };
        self.saw(lie);
        let outcome = outcome(400, &mut self.values);
        Some(report(token, outcome, &mut self.values))
    }

    fn beat(&mut self, index: usize, link: LinkId) {
        let Some(job) = self.workers[index].jobs.iter().find(|job| job.begun) else {
            return;
        };
        let token = job.token;
        let values = &mut self.values;
        let content = HeartbeatContent {
            token,
            progress: Some((values.below(9), 9, values.word("on it"))),
            checkpoint: if values.one_in(2) {
                Some(values.payload())
            } else {
                None
            },
            timeouts: if values.one_in(4) {
                Some(values.timeouts())
            } else {
                None
            },
        };
        let beat = Heartbeat {
            raw_token: bytes::Bytes::copy_from_slice(&token.to_bytes()),
            content: Ok(content),
        };
        self.worker_says(link, FromWorker::Heartbeats(vec![beat]));
    }

    fn change_capacity(&mut self, index: usize, link: LinkId) {
        let slots = self.dice.between(0, SLOTS_MAX);
        let draining = self.one_in(8);
        self.workers[index].slots = slots;
        self.workers[index].leaving |= draining;
        let capacity = Capacity {
            tasks_max: u32::try_from(slots).unwrap(),
            bytes_max: None,
            draining,
        };
        self.saw(Situation::CapacityChanged);
        self.worker_says(link, FromWorker::Capacity(capacity));
    }
}
