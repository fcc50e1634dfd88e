//! Kinds: what holds for all tasks of a kind, set by operators or proposed by workers.
//!
//! Owns who may say what: a proposal holds until an operator says something. What is said is
//! recorded in every shard in the same turn, and each shard judges by its own copy
//! (docs/decisions/0012).

use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;

use crate::engine::command::{Call, WorkerInfo};
use crate::engine::effect::Answer;
use crate::engine::event::Event;
use crate::engine::ids::ShardId;
use crate::engine::ledger::kind::{Kind, KindName, KindSettings};
use crate::engine::limits;
use crate::engine::rejection::Rejection;
use crate::engine::step::Step;

/// The shard whose copy is shown.
const FIRST: ShardId = ShardId(0);

/// A call about kinds.
pub(super) fn call(step: &mut Step<'_>, call: Call) -> Result<Answer, Rejection> {
    if let Call::SetKind { name, settings } = call {
        set(step, &name, *settings)
    } else if let Call::GetKind(name) = call {
        get(step, &name)
    } else if let Call::DeleteKind(name) = call {
        delete(step, &name)
    } else if let Call::ListKinds {
        namespace,
        after,
        count_max,
    } = call
    {
        Ok(list(step, &namespace, after.as_ref(), count_max))
    } else {
        unreachable!("only calls about kinds come here")
    }
}

/// An operator says what holds for a kind, in place of all that was said before.
fn set(step: &mut Step<'_>, name: &KindName, settings: KindSettings) -> Result<Answer, Rejection> {
    if step.disk_full() {
        return Err(Rejection::DiskFull);
    }
    configure(step, name, settings, None)?;
    get(step, name)
}

/// One kind.
pub(super) fn get(step: &Step<'_>, name: &KindName) -> Result<Answer, Rejection> {
    let kind = step.ledger(FIRST).kind(name);
    let kind = kind.ok_or_else(|| Rejection::KindNotFound(name.clone()))?;
    Ok(Answer::Kind(Box::new(kind.clone())))
}

/// Kinds of a namespace in the order of their names.
fn list(step: &Step<'_>, namespace: &str, after: Option<&KindName>, count_max: usize) -> Answer {
    let count_max = count_max.min(limits::PAGE_SIZE_MAX);
    let from = match after {
        Some(after) => Excluded(after.clone()),
        None => Unbounded,
    };
    let kinds = step.ledger(FIRST).kinds_from(from);
    let kinds = kinds.filter(|kind| kind.name.namespace() == namespace);
    let mut kinds: Vec<Kind> = kinds.take(count_max + 1).cloned().collect();
    let more = kinds.len() > count_max;
    kinds.truncate(count_max);
    Answer::Kinds { kinds, more }
}

/// What was said of a kind holds no more; its workers may propose anew.
fn delete(step: &mut Step<'_>, name: &KindName) -> Result<Answer, Rejection> {
    get(step, name)?;
    let at = step.now();
    for shard in step.shard_ids() {
        let name = name.clone();
        step.record(shard, Event::KindRemoved { name, at });
    }
    Ok(Answer::Done)
}

/// How a worker comes to propose something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proposer {
    /// It opened a session, which happens once: the latest one is heard.
    Session,
    /// It came back, or asked for work without a stream, which it does all the time.
    Again,
}

/// A worker proposes what should hold for its kinds. Never refuses the worker.
pub(super) fn propose(step: &mut Step<'_>, worker: &WorkerInfo, proposer: Proposer) {
    if step.disk_full() {
        return;
    }
    for (kind, settings) in &worker.proposals {
        let Ok(name) = KindName::new(&worker.namespace, kind) else {
            continue;
        };
        let known = step.ledger(FIRST).kind(&name);
        let stands = known.is_some_and(|known| stands(step, known, worker, proposer));
        let same = known.is_some_and(|known| known.settings == **settings);
        if !stands && !same {
            let by = Some(worker.worker.clone());
            // A proposal beyond the limit is no reason to refuse the worker.
            let _full = configure(step, &name, (**settings).clone(), by);
        }
    }
}

/// Whether what is said of a kind goes before a proposal of this worker: an operator's word always,
/// and for those that ask again and again another worker's, while that is new: two builds side by
/// side would otherwise take turns.
fn stands(step: &Step<'_>, known: &Kind, worker: &WorkerInfo, proposer: Proposer) -> bool {
    let Some(by) = &known.proposed_by else {
        return true;
    };
    let until = known.at.plus_ms(limits::PROPOSAL_STANDS_MS);
    proposer == Proposer::Again && *by != worker.worker && step.now() < until
}

fn configure(
    step: &mut Step<'_>,
    name: &KindName,
    settings: KindSettings,
    proposed_by: Option<Arc<str>>,
) -> Result<(), Rejection> {
    let ledger = step.ledger(FIRST);
    let known = ledger.kind(name);
    if known.is_none() && ledger.kind_count() >= limits::KIND_SETTINGS_MAX {
        return Err(Rejection::LimitReached {
            what: "kinds with settings",
            limit: limits::KIND_SETTINGS_MAX as u64,
        });
    }
    let kind = Kind {
        name: name.clone(),
        settings,
        revision: known.map_or(1, |known| known.revision + 1),
        at: step.now(),
        proposed_by,
        recorded_at: 0,
    };
    let (used_bytes, limit_bytes) = (step.bytes(), step.config().memory_bytes_max);
    let grows = known.is_none_or(|known| known.bytes() < kind.bytes());
    if grows && used_bytes > limit_bytes / 10 * 8 {
        return Err(Rejection::MemoryFull {
            used_bytes,
            limit_bytes,
        });
    }
    for shard in step.shard_ids() {
        let kind = Box::new(kind.clone());
        step.record(shard, Event::KindConfigured { kind });
    }
    Ok(())
}
