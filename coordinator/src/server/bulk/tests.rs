//! Bulk acts on an engine that hands out tasks by cursor.

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
        by: "kim".into(),
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
        let changed = if matches!(bulk.act, BulkAct::Count | BulkAct::CountLive) {
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
    let delay = |bulk: &Bulk| match &bulk.act {
        BulkAct::Redrive { delay_ms, step_us } => Some((*delay_ms, *step_us)),
        BulkAct::Count | BulkAct::Discard | BulkAct::CountLive | BulkAct::Cancel(_) => None,
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
    assert!(asked.iter().all(|bulk| bulk.before == Timestamp(5001)));
}

#[tokio::test]
async fn an_act_on_nothing_tells_so_once() {
    let (told, _) = run(0, plan(Act::Discard)).await;
    assert_eq!(
        told,
        [Ok(Progress {
            matched: 0,
            changed: 0,
            pending: 0,
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
        pending: 0,
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
            what: "dead letters",
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
        pending: 0,
        done: true,
    };
    assert_eq!(told.last(), Some(&Ok(last)));
    assert_eq!(
        asked.last().map(|bulk| bulk.act.clone()),
        Some(BulkAct::Discard)
    );
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

/// An engine with so many live tasks, the first of which wait; a worker holds the rest. A cancel
/// takes what its selection lets through.
async fn cancel(waiting: u64, held: u64, plan: Plan) -> (Vec<Progress>, Vec<Bulk>) {
    let asked = Arc::new(std::sync::Mutex::new(Vec::new()));
    let log = Arc::clone(&asked);
    let mut waiting = waiting;
    let engine = Engine::answering_callers(move |caller, call| {
        let Call::Bulk(bulk) = call else {
            return Ok(Answer::Server(ServerFacts::default()));
        };
        assert_eq!(&*caller.by, "kim");
        let unfiltered = bulk.selection.filter.clauses.is_empty();
        let seen = waiting + if unfiltered { held } else { 0 };
        let matched = seen.min(bulk.count_max as u64);
        let changed = if bulk.act == BulkAct::CountLive {
            0
        } else {
            waiting -= waiting.min(matched);
            matched
        };
        log.lock().unwrap().push(bulk);
        Ok(Answer::Bulk {
            matched,
            changed,
            next: None,
        })
    });
    let mut bulk = BulkRun::begin(engine.edge(), plan).await.unwrap();
    let mut told = Vec::new();
    while let Some(progress) = bulk.next().await {
        told.push(progress.unwrap());
    }
    let asked = asked.lock().unwrap().clone();
    (told, asked)
}

fn cancelling(mode: CancelMode) -> Plan {
    plan(Act::Cancel(Cancel {
        mode,
        reason: "over".into(),
    }))
}

const ASK: CancelMode = CancelMode::Cooperative { grace_ms: None };

#[tokio::test]
async fn a_cancel_counts_what_is_over_apart_from_what_is_asked_to_stop() {
    let (told, _) = cancel(5, 3, cancelling(ASK)).await;
    let last = told.last().unwrap();
    assert_eq!((last.matched, last.changed, last.pending), (8, 5, 3));
    assert_eq!(
        told.iter().map(|p| p.done).collect::<Vec<_>>(),
        [false, true]
    );
}

#[tokio::test]
async fn a_cancel_stops_after_its_largest_count_over_both_passes() {
    let few = |count_max| Plan {
        count_max: Some(count_max),
        ..cancelling(ASK)
    };
    let (told, asked) = cancel(5, 3, few(4)).await;
    let last = told.last().unwrap();
    assert_eq!((last.changed, last.pending, asked.len()), (4, 0, 1));
    let (told, _) = cancel(5, 3, few(6)).await;
    let last = told.last().unwrap();
    assert_eq!((last.changed, last.pending, last.done), (5, 1, true));
}

#[tokio::test]
async fn what_workers_hold_is_not_even_counted_where_only_what_waits_is_cancelled() {
    let expecting = Plan {
        expected_count: Some(5),
        ..cancelling(CancelMode::IfWaiting)
    };
    let (told, asked) = cancel(5, 3, expecting).await;
    let last = told.last().unwrap();
    assert_eq!((last.matched, last.changed, last.pending), (5, 5, 0));
    let clauses: Vec<usize> = asked
        .iter()
        .map(|bulk| bulk.selection.filter.clauses.len())
        .collect();
    assert_eq!(clauses, [2, 2]);
}

#[tokio::test]
async fn a_dry_run_of_a_cancel_counts_both_what_waits_and_what_is_held() {
    for mode in [ASK, CancelMode::Force] {
        let dry = Plan {
            dry_run: true,
            ..cancelling(mode)
        };
        let (told, asked) = cancel(5, 3, dry).await;
        let last = told.last().unwrap();
        assert_eq!((last.matched, last.changed, last.done), (8, 0, true));
        assert!(asked.iter().all(|bulk| bulk.act == BulkAct::CountLive));
    }
}
