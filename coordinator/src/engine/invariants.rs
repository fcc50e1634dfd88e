//! The numbered invariants, as code: checked after every step in tests and simulation.
//!
//! Owns the recounts. `ARCHITECTURE.md` lists the invariants by number; those that are cheap are
//! also asserted where they could break.

use std::collections::BTreeMap;

use super::Engine;
use super::agenda::Agenda;
use super::ids::TaskId;
use super::ledger::Ledger;
use super::ledger::task::{Holder, State, Task};

/// Counts everything anew.
///
/// # Panics
/// Where an invariant is broken; the message names it.
pub fn check(engine: &Engine) {
    let mut held: BTreeMap<TaskId, u64> = BTreeMap::new();
    for session in engine.core.sessions().iter() {
        for (task, lease) in &session.held {
            held.insert(*task, lease.fence.0);
        }
        let waiting = session.undelivered.len();
        assert!(
            waiting <= session.held.len(),
            "I9: {waiting} deliveries wait for a receipt"
        );
    }
    for shard in engine.core.shards() {
        let ledger = shard.ledger();
        assert_eq!(
            ledger.bytes(),
            ledger.recount_bytes(),
            "I9: bytes are accounted"
        );
        assert!(
            ledger.memories_are_indexed(),
            "I4: memories and their expiries"
        );
        agrees(shard.agenda(), ledger);
        for task in ledger.tasks_after(TaskId::MIN) {
            check_task(engine, task, &mut held);
        }
    }
    assert!(
        held.is_empty(),
        "I3: sessions hold only what is leased to them: {held:?}"
    );
}

fn check_task(engine: &Engine, task: &Task, held: &mut BTreeMap<TaskId, u64>) {
    let history = task.side.as_deref().map(|side| &side.history);
    let ended = history.map_or(0, |history| history.runs().count());
    let omitted = history.map_or(0, |history| history.omitted() as usize);
    let running = usize::from(matches!(task.state, State::Leased(_)));
    assert_eq!(
        ended + omitted + running,
        task.runs() as usize,
        "I5: one record a run: {task:?}"
    );
    if let State::Leased(lease) = &task.state
        && let Holder::Session(session) = lease.holder
    {
        let holder = held.remove(&task.id);
        assert_eq!(
            holder,
            Some(lease.fence.0),
            "I3: the holder holds it: {task:?}"
        );
        assert!(
            engine.core.sessions().get(session).is_some(),
            "I3: the holder is known"
        );
    }
}

/// The agenda mirrors the ledger: what a rebuild finds is what is there, up to timers that have
/// been promoted.
fn agrees(live: &Agenda, ledger: &Ledger) {
    let rebuilt = Agenda::rebuild(ledger);
    assert_eq!(live.deaths(), rebuilt.deaths(), "I4: what dies when");
    for (queue, index) in live.queues() {
        let theirs = rebuilt.queue(queue).map(|index| index.holders());
        let theirs = theirs.into_iter().flatten();
        assert!(
            index.holders().iter().eq(theirs),
            "I4: who holds the keys of {queue}"
        );
    }
    for (queue, index) in rebuilt.queues() {
        let (mine, theirs) = (live.queue(queue).map(|i| i.counts()), index.counts());
        let mine = mine.unwrap_or_default();
        let pending = |c: super::effect::Counts| c.ready + c.scheduled + c.retrying;
        assert_eq!(
            pending(mine),
            pending(theirs),
            "I4: pending tasks of {queue}"
        );
        assert_eq!(
            (mine.leased, mine.dead),
            (theirs.leased, theirs.dead),
            "I4: of {queue}"
        );
    }
}
