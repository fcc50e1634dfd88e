//! Bulk acts on dead letters: a sequence of bounded steps that the caller drives by reading.
//!
//! Owns the two passes. The counting pass changes nothing; it runs where the number matters before
//! anything is done: a dry run, an expected count, a spread. The acting pass changes at most what
//! was dead when the call began. Invariants: nothing is changed where the expected count differs; no
//! step is asked for that nobody waits for, so dropping the call stops the act between two steps; an
//! act that is logged as begun is logged as ended, however it ends.

use std::sync::Arc;

use super::edge::{Edge, confused};
use super::status::{Reason, Refused};
use crate::engine::command::{Bulk, BulkAct, Call, Cursor, Selection};
use crate::engine::effect::Answer;
use crate::engine::ids::Timestamp;
use crate::engine::limits;

/// What is done with the selected dead letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// Put them back, the last one so many milliseconds after the first.
    Redrive {
        /// Over how long.
        spread_ms: u64,
    },
    /// Delete them.
    Discard,
}

impl Act {
    const fn name(self) -> &'static str {
        match self {
            Self::Redrive { .. } => "redrive",
            Self::Discard => "discard",
        }
    }

    const fn spread_ms(self) -> Option<u64> {
        match self {
            Self::Redrive { spread_ms } => Some(spread_ms),
            Self::Discard => None,
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
    pub(crate) changed: u64,
    pub(crate) done: bool,
}

/// A bulk act under way.
#[derive(Debug)]
pub(crate) struct BulkRun {
    edge: Edge,
    plan: Plan,
    died_before: Timestamp,
    phase: Phase,
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

impl BulkRun {
    /// Begins an act on what is dead now.
    pub(crate) async fn begin(edge: Edge, plan: Plan) -> Result<Self, Refused> {
        let died_before = edge.engine_facts().await?.now.plus_ms(1);
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
            plan,
            died_before,
            phase,
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
            reason = &*plan.reason,
            "a bulk act on dead letters begins"
        );
    }

    async fn count(&mut self) -> Result<(), Refused> {
        let (matched, _changed) = self.step(BulkAct::Count, limits::BULK_TASKS_MAX).await?;
        self.progress.matched += matched;
        if self.after.is_some() {
            return Ok(());
        }
        let found = self.progress.matched;
        if let Some(expected) = self.plan.expected_count
            && expected != found
        {
            return Err(Refused::CountDiffers { expected, found });
        }
        if self.plan.dry_run || found == 0 {
            self.progress.done = true;
            return Ok(());
        }
        let acted_on = self.plan.count_max.map_or(found, |max| max.min(found));
        self.phase = Phase::Act {
            step_us: step_us(self.plan.act, acted_on),
            counted: true,
        };
        Ok(())
    }

    async fn act(&mut self, step_us: u64, counted: bool) -> Result<(), Refused> {
        let done = self.progress.changed;
        let left = self
            .plan
            .count_max
            .map_or(u64::MAX, |max| max.saturating_sub(done));
        let act = match self.plan.act {
            Act::Redrive { .. } => {
                let delay_ms = u64::try_from(u128::from(done) * u128::from(step_us) / 1000);
                BulkAct::Redrive {
                    delay_ms: delay_ms.unwrap_or(u64::MAX),
                    step_us,
                }
            }
            Act::Discard => BulkAct::Discard,
        };
        let count_max = usize::try_from(left)
            .unwrap_or(usize::MAX)
            .min(limits::BULK_TASKS_MAX);
        let (matched, changed) = self.step(act, count_max).await?;
        self.progress.changed += changed;
        if !counted {
            self.progress.matched += matched;
        }
        let enough = self
            .plan
            .count_max
            .is_some_and(|max| self.progress.changed >= max);
        self.progress.done = enough || self.after.is_none();
        Ok(())
    }

    /// One question to the engine; afterwards `self.after` is where to go on, `None` at the end.
    async fn step(&mut self, act: BulkAct, count_max: usize) -> Result<(u64, u64), Refused> {
        let bulk = Bulk {
            act,
            selection: self.plan.selection.clone(),
            before: self.died_before,
            after: self.after.take(),
            count_max,
        };
        let Answer::Bulk {
            matched,
            changed,
            next,
        } = self.edge.ask(Call::Bulk(bulk)).await?
        else {
            return Err(confused("a bulk act"));
        };
        self.after = next;
        Ok((matched, changed))
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
            outcome = self.outcome,
            "a bulk act on dead letters has ended"
        );
    }
}

/// What each further task waits more, so that `count` of them fill the spread evenly.
const fn step_us(act: Act, count: u64) -> u64 {
    match act {
        Act::Redrive { spread_ms } if count > 0 => spread_ms.saturating_mul(1000) / count,
        Act::Redrive { .. } | Act::Discard => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::effect::ServerFacts;
    use crate::engine::filter::Filter;
    use crate::engine::ids::{ShardId, TaskId};
    use crate::server::testing::Engine;

    fn plan(act: Act) -> Plan {
        let selection = Selection {
            namespace: "default".into(),
            queue: None,
            filter: Filter::default(),
        };
        Plan {
            act,
            selection,
            filter: String::new(),
            expected_count: None,
            count_max: None,
            dry_run: false,
            reason: "".into(),
        }
    }

    /// An engine with so many dead letters, which it hands out by cursor. Remembers what was asked.
    async fn run(dead: u64, plan: Plan) -> (Vec<Result<Progress, Refused>>, Vec<Bulk>) {
        let asked = Arc::new(std::sync::Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        let engine = Engine::answering(move |call| {
            let Call::Bulk(bulk) = call else {
                let facts = ServerFacts {
                    now: Timestamp(5000),
                    ..ServerFacts::default()
                };
                return Ok(Answer::Server(facts));
            };
            let seen = match &bulk.after {
                Some(Cursor::Task { id, .. }) => id.shard().0.into(),
                Some(Cursor::Dead { .. }) | None => 0,
            };
            let matched = (dead - seen).min(bulk.count_max as u64);
            let place = ShardId(u16::try_from(seen + matched).unwrap());
            let id = TaskId::new(Timestamp(0), place, 0);
            let next = (seen + matched < dead).then_some(Cursor::Task {
                shard: ShardId(0),
                id,
            });
            let changed = if bulk.act == BulkAct::Count {
                0
            } else {
                matched
            };
            log.lock().unwrap().push(bulk);
            Ok(Answer::Bulk {
                matched,
                changed,
                next,
            })
        });
        let mut bulk = BulkRun::begin(engine.edge(), plan).await.unwrap();
        let mut told = Vec::new();
        while let Some(progress) = bulk.next().await {
            told.push(progress);
        }
        let asked = asked.lock().unwrap().clone();
        (told, asked)
    }

    fn delays(asked: &[Bulk]) -> Vec<(u64, u64)> {
        let delay = |bulk: &Bulk| match bulk.act {
            BulkAct::Redrive { delay_ms, step_us } => Some((delay_ms, step_us)),
            BulkAct::Count | BulkAct::Discard => None,
        };
        asked.iter().filter_map(delay).collect()
    }

    const AT_ONCE: Act = Act::Redrive { spread_ms: 0 };

    #[tokio::test]
    async fn everything_that_was_dead_at_the_beginning_is_put_back_step_by_step() {
        let (told, asked) = run(2500, plan(AT_ONCE)).await;
        let told: Vec<Progress> = told.into_iter().map(Result::unwrap).collect();
        assert_eq!(
            told.iter().map(|p| p.changed).collect::<Vec<_>>(),
            [1000, 2000, 2500]
        );
        assert_eq!(
            told.iter().map(|p| p.done).collect::<Vec<_>>(),
            [false, false, true]
        );
        assert_eq!(told[2].matched, 2500);
        assert!(asked.iter().all(|bulk| bulk.died_before == Timestamp(5001)));
    }

    #[tokio::test]
    async fn an_act_on_nothing_tells_so_once() {
        let (told, _) = run(0, plan(Act::Discard)).await;
        assert_eq!(
            told,
            [Ok(Progress {
                matched: 0,
                changed: 0,
                done: true
            })]
        );
    }

    #[tokio::test]
    async fn a_dry_run_counts_and_changes_nothing() {
        let (told, asked) = run(
            1500,
            Plan {
                dry_run: true,
                ..plan(Act::Discard)
            },
        )
        .await;
        let last = Progress {
            matched: 1500,
            changed: 0,
            done: true,
        };
        assert_eq!(told.last(), Some(&Ok(last)));
        assert!(asked.iter().all(|bulk| bulk.act == BulkAct::Count));
    }

    #[tokio::test]
    async fn another_count_than_expected_changes_nothing() {
        let (told, asked) = run(
            7,
            Plan {
                expected_count: Some(8),
                ..plan(Act::Discard)
            },
        )
        .await;
        assert_eq!(
            told,
            [Err(Refused::CountDiffers {
                expected: 8,
                found: 7
            })]
        );
        assert!(asked.iter().all(|bulk| bulk.act == BulkAct::Count));
        let (told, asked) = run(
            7,
            Plan {
                expected_count: Some(7),
                ..plan(Act::Discard)
            },
        )
        .await;
        let last = Progress {
            matched: 7,
            changed: 7,
            done: true,
        };
        assert_eq!(told.last(), Some(&Ok(last)));
        assert_eq!(asked.last().map(|bulk| bulk.act), Some(BulkAct::Discard));
    }

    #[tokio::test]
    async fn it_stops_after_the_largest_count_that_was_asked_for() {
        let (told, asked) = run(
            2500,
            Plan {
                count_max: Some(1200),
                ..plan(AT_ONCE)
            },
        )
        .await;
        let last = told.last().unwrap().clone().unwrap();
        assert_eq!((last.changed, last.done), (1200, true));
        assert_eq!(
            asked.iter().map(|bulk| bulk.count_max).collect::<Vec<_>>(),
            [1000, 200]
        );
    }

    #[tokio::test]
    async fn a_spread_is_even_over_all_steps() {
        let (_, asked) = run(2000, plan(Act::Redrive { spread_ms: 60_000 })).await;
        assert_eq!(delays(&asked), [(0, 30_000), (30_000, 30_000)]);
        let few = Plan {
            count_max: Some(10),
            ..plan(Act::Redrive { spread_ms: 60_000 })
        };
        assert_eq!(delays(&run(2000, few).await.1), [(0, 6_000_000)]);
    }
}
