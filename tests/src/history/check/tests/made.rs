//! Makes histories by hand: a good one, and what bad ones are made of. Never judges.

use crate::history::{
    Answer, Asks, Cancelled, Counted, Delivered, Enqueued, Entry, Fact, Found, FoundRun, Origin,
    Reported, RunEnd, Says, Stands,
};

const SECOND_US: u64 = 1_000_000;

pub(super) fn delivered(task_id: &str, run: u32, attempt: u32) -> Delivered {
    Delivered {
        task_id: task_id.to_owned(),
        origin: Origin::Sent(marker(task_id)),
        digest: 7,
        run,
        attempt,
        fence: 100 + u64::from(run),
    }
}

pub(super) fn marker(task_id: &str) -> u64 {
    task_id.bytes().map(u64::from).sum()
}

pub(super) fn report(task_id: &str, run: u32, says: Says) -> Reported {
    Reported {
        task_id: task_id.to_owned(),
        run,
        says,
        result: 5,
    }
}

pub(super) fn run(run: u32, attempt: u32, ended_by: Option<Says>) -> FoundRun {
    let at = u64::from(run) * 1000;
    FoundRun {
        run,
        attempt,
        end: ended_by.map_or(RunEnd::Lost, RunEnd::Report),
        leased_ms: 5000 + at,
        ended_ms: 5500 + at,
        delay_ms: (ended_by != Some(Says::Complete)).then_some(500),
    }
}

/// A history in the making: a second passes between entries.
#[derive(Clone, Default)]
pub(super) struct Made(pub(super) Vec<Entry>);

impl Made {
    pub(super) fn add(&mut self, fact: Fact) -> &mut Self {
        let at_us = (self.0.len() as u64 + 1) * SECOND_US;
        self.0.push(Entry { at_us, fact });
        self
    }

    pub(super) fn sent(&mut self, task_id: &str, delay_ms: u64) -> &mut Self {
        let asks = Asks {
            delay_ms,
            ..Asks::default()
        };
        self.asked(task_id, asks)
    }

    pub(super) fn asked(&mut self, task_id: &str, asks: Asks) -> &mut Self {
        self.add(Fact::EnqueueInvoked {
            marker: marker(task_id),
            digest: 7,
            asks,
        })
    }

    pub(super) fn ended(&mut self, task_id: &str, outcome: Enqueued) -> &mut Self {
        self.add(Fact::EnqueueEnded {
            marker: marker(task_id),
            outcome,
        })
    }

    pub(super) fn accepted(&mut self, task_id: &str) -> &mut Self {
        self.sent(task_id, 0);
        self.ended(task_id, Enqueued::Accepted(task_id.to_owned()))
    }

    pub(super) fn delivered(&mut self, task_id: &str, run: u32, attempt: u32) -> &mut Self {
        self.add(Fact::Delivered(delivered(task_id, run, attempt)))
    }

    pub(super) fn reported(&mut self, of: (&str, u32, Says), answer: Answer) -> &mut Self {
        let report = report(of.0, of.1, of.2);
        self.add(Fact::ReportInvoked(report.clone()));
        self.add(Fact::ReportEnded { report, answer })
    }

    pub(super) fn cancelled(&mut self, task_id: &str, answer: Cancelled) -> &mut Self {
        let task_id = || task_id.to_owned();
        self.add(Fact::CancelInvoked { task_id: task_id() });
        self.add(Fact::CancelEnded {
            task_id: task_id(),
            answer,
        })
    }

    pub(super) fn found(&mut self, found: Found) -> &mut Self {
        self.add(Fact::Found(found))
    }
}

pub(super) fn found(task_id: &str, stands: Stands, history: Vec<FoundRun>) -> Found {
    let fails = history
        .iter()
        .filter(|run| run.end == RunEnd::Report(Says::Fail));
    let failures = u32::try_from(fails.count()).unwrap();
    let runs = u32::try_from(history.len()).unwrap();
    Found {
        task_id: task_id.to_owned(),
        origin: Origin::Sent(marker(task_id)),
        queue: "q".to_owned(),
        stands,
        digest: 7,
        runs,
        fence: 100 + u64::from(runs),
        failures,
        result: 5,
        spent: stands == Stands::Dead,
        redriven_ms: Vec::new(),
        enqueued_ms: 1000,
        history,
    }
}

/// A history without a fault: "a" fails, is lost with its worker, and completes, with a report sent
/// again because its answer was lost; "b" is dead after one failure; "c" was refused; of "d" the
/// sender knows nothing, and it is there.
pub(super) fn good() -> Made {
    let mut made = Made::default();
    made.accepted("a").delivered("a", 1, 1);
    made.reported(("a", 1, Says::Fail), Answer::Unknown);
    made.reported(("a", 1, Says::Fail), Answer::Duplicate);
    made.delivered("a", 2, 2).delivered("a", 3, 2);
    made.reported(("a", 3, Says::Complete), Answer::Recorded);
    made.reported(("a", 2, Says::Complete), Answer::Superseded);
    made.accepted("b").delivered("b", 1, 1);
    made.reported(("b", 1, Says::Fail), Answer::Recorded);
    made.sent("c", 0).ended("c", Enqueued::Refused);
    made.sent("d", 0).ended("d", Enqueued::Unknown);
    made.delivered("d", 1, 1);
    made.reported(("d", 1, Says::Complete), Answer::Recorded);
    made
}

pub(super) fn ends() -> [Found; 3] {
    let (fail, complete) = (Some(Says::Fail), Some(Says::Complete));
    [
        found(
            "a",
            Stands::Succeeded,
            vec![run(1, 1, fail), run(2, 2, None), run(3, 2, complete)],
        ),
        found("b", Stands::Dead, vec![run(1, 1, fail)]),
        found("d", Stands::Succeeded, vec![run(1, 1, complete)]),
    ]
}

pub(super) fn counted() -> Counted {
    Counted {
        queue: "q".to_owned(),
        enqueued: 3,
        succeeded: 2,
        dead: 1,
        failures: 2,
        died: 1,
        ..Counted::default()
    }
}

/// What a queue counts that has these tasks and no others.
pub(super) fn counted_of(ends: &[Found]) -> Counted {
    let stand = |stands: Stands| ends.iter().filter(|found| found.stands == stands).count() as u64;
    let redriven = ends.iter().map(|found| found.redriven_ms.len() as u64);
    let redriven = redriven.sum();
    let runs = ends.iter().flat_map(|found| &found.history);
    let failed = runs.filter(|run| run.end == RunEnd::Report(Says::Fail));
    Counted {
        queue: "q".to_owned(),
        enqueued: ends.len() as u64,
        succeeded: stand(Stands::Succeeded),
        dead: stand(Stands::Dead),
        live: stand(Stands::Live),
        failures: failed.count() as u64,
        died: stand(Stands::Dead) + redriven,
        redriven,
    }
}

pub(super) fn with_ends(mut made: Made, ends: impl IntoIterator<Item = Found>) -> Made {
    for found in ends {
        made.found(found);
    }
    made.add(Fact::Counted(counted()));
    made
}
