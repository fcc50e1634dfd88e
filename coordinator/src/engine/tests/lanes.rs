//! What goes first, against a scan of everything.
//!
//! Owns a slow and simple account of the order of delivery (rule 18), and random queues to compare
//! the index with.

use std::collections::BTreeMap;
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::world::follow::named;
use super::world::{World, enqueue_call, new_task};
use crate::engine::agenda::Aging;
use crate::engine::command::{KindServed, NewTask, Start};
use crate::engine::ids::{TaskId, Timestamp};
use crate::engine::ledger::Ledger;
use crate::engine::ledger::task::{Priority, State, Task};

const SEEDS: u64 = 40;
const KINDS: [&str; 4] = ["a", "b", "c", "d"];

/// Those that are ready, the first of each lane.
fn firsts(ledger: &Ledger, now: Timestamp) -> Vec<(&Task, Timestamp)> {
    let mut lanes: BTreeMap<(Priority, &Arc<str>, u32), (&Task, Timestamp)> = BTreeMap::new();
    for task in ledger.tasks_after(TaskId::MIN) {
        let State::Pending { not_before } = task.state else {
            continue;
        };
        if not_before > now {
            continue;
        }
        let first = lanes
            .entry((task.priority, &task.kind, task.version))
            .or_insert((task, not_before));
        if task.enqueue_seq < first.0.enqueue_seq {
            *first = (task, not_before);
        }
    }
    lanes.into_values().collect()
}

/// The task that goes first, as a scan finds it. With aging each lane rises as long as its first
/// task has been ready, where there is more than one level to rise over.
fn scan(ledger: &Ledger, now: Timestamp, kinds: &[KindServed], aging_ms: u64) -> Option<TaskId> {
    let firsts = firsts(ledger, now);
    let priority = |(task, _): &(&Task, Timestamp)| task.priority;
    let one_level = firsts.iter().map(priority).min() == firsts.iter().map(priority).max();
    let wanted = firsts.iter().filter(|(task, _)| {
        let mut kinds_of = kinds.iter().filter(|served| served.kind == task.kind);
        kinds.is_empty() || kinds_of.any(|served| served.has(task.version))
    });
    let place = |(task, not_before): &(&Task, Timestamp)| {
        let ready_since = (*not_before).max(task.enqueued_at);
        let waited = now.since_ms(ready_since).checked_div(aging_ms).unwrap_or(0);
        let waited = i64::try_from(waited).unwrap();
        let risen = if one_level { 0 } else { waited };
        let level = (task.priority.level() - risen).max(0);
        (level, task.enqueue_seq, task.id)
    };
    wanted.map(place).min().map(|(_, _, id)| id)
}

fn any_task(rng: &mut StdRng, levels: usize) -> NewTask {
    let delay_ms = [0, 0, 0, 500, 3000, 20_000][rng.random_range(0..6)];
    NewTask {
        kind: KINDS[rng.random_range(0..KINDS.len())].into(),
        version: rng.random_range(0..4),
        priority: Priority::ALL[rng.random_range(0..levels)],
        start: Start::After { delay_ms },
        ..new_task("mail")
    }
}

/// Some of the kinds, each in some versions; often all.
fn any_kinds(rng: &mut StdRng) -> Vec<KindServed> {
    let mut kinds = Vec::new();
    for kind in KINDS {
        if rng.random_bool(0.5) {
            let version_min = rng.random_range(0..4);
            let version_max = match rng.random_range(0..3) {
                0 => u32::MAX,
                1 => version_min,
                _ => rng.random_range(version_min..5),
            };
            kinds.push(KindServed {
                kind: kind.into(),
                version_min,
                version_max,
            });
        }
    }
    // More kinds than there are lanes, or fewer: both ways to search.
    for index in 0..rng.random_range(0..3) * 20 {
        kinds.push(KindServed::every_version(&format!("x{index:02}")));
    }
    kinds
}

#[test]
fn the_index_finds_what_a_scan_finds() {
    for seed in 0..SEEDS {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut world = World::new();
        let levels = [1, 2, 5][rng.random_range(0..3)];
        let mut found = 0;
        for _ in 0..60 {
            let tasks = (0..rng.random_range(0..4)).map(|_| any_task(&mut rng, levels));
            let tasks: Vec<NewTask> = tasks.collect();
            world.call(enqueue_call(tasks)).unwrap();
            world.wait_ms(rng.random_range(0..2000));
            let kinds = any_kinds(&mut rng);
            let aging_ms = [0, 700, 2500][rng.random_range(0..3)];
            let shard = &world.engine.core.shards()[0];
            let (ledger, now) = (shard.ledger(), world.now);
            let Some(index) = shard.agenda().queue(&named("mail")) else {
                continue;
            };
            let aging = Aging {
                aging_ms,
                now,
                ledger,
            };
            let aging = (aging_ms > 0).then_some(&aging);
            let first = index.first_ready(&kinds, aging);
            assert_eq!(first, scan(ledger, now, &kinds, aging_ms), "seed {seed}");
            found += usize::from(first.is_some());
            let is_first = first.filter(|_| rng.random_bool(0.6));
            if let Some(id) = is_first {
                let call = super::world::cancel(id, "taken");
                world.call(call).unwrap();
            }
        }
        assert!(found > 20, "seed {seed} says little: {found}");
    }
}
