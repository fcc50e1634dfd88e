//! What makes enqueueing a task twice harmless: its idempotency key and its unique key.
//!
//! Owns the digest of what a task says, by which a key that is used for another task is found out.

use prost::Message as _;
use redrive_proto::v1 as pb;

use super::field::{At, Parsed, bounded_ms, key, optional_key, optional_ms, variant};
use super::request::fnv1a;
use crate::engine::command::{NewKeys, NewUnique, OnConflict};
use crate::engine::ledger::more::{Scope, Unique};
use crate::engine::limits;

/// Least milliseconds that an idempotency key is remembered.
const KEY_WINDOW_MS_MIN: u64 = 1000;

/// The keys of a task, which are taken out of what it says; `None` where it has none.
pub(crate) fn new_keys(spec: &mut pb::TaskSpec, at: At<'_>) -> Parsed<Option<Box<NewKeys>>> {
    let given = std::mem::take(&mut spec.idempotency_key);
    let window = spec.idempotency_window.take();
    let unique = spec.unique.take();
    let at_key = at.field("idempotency_key");
    let given = optional_key(&given, limits::KEY_BYTES_MAX, at_key)?;
    let at_window = at.field("idempotency_window");
    let bounds = (KEY_WINDOW_MS_MIN, limits::KEY_WINDOW_MS_MAX);
    let window_ms = bounded_ms(window.as_ref(), bounds, at_window)?;
    if window_ms.is_some() && given.is_none() {
        return Err(at_window.refuse("is set without an idempotency_key: set both or neither"));
    }
    let unique = unique
        .map(|unique| new_unique(unique, at.field("unique")))
        .transpose()?;
    if given.is_none() && unique.is_none() {
        return Ok(None);
    }
    Ok(Some(Box::new(NewKeys {
        digest: given.as_ref().map_or(0, |_| digest(spec)),
        key: given,
        window_ms: window_ms.unwrap_or(limits::KEY_WINDOW_MS_DEFAULT),
        unique,
    })))
}

/// The digest of all that a task says but its start; its keys were taken out before.
fn digest(spec: &mut pb::TaskSpec) -> u64 {
    let start = spec.start.take();
    let digest = fnv1a([spec.encode_to_vec().as_slice()]);
    spec.start = start;
    digest
}

fn new_unique(value: pb::UniqueKey, at: At<'_>) -> Parsed<NewUnique> {
    let key = key(&value.key, limits::KEY_BYTES_MAX, at.field("key"))?;
    let on_conflict = match variant(value.on_conflict, at.field("on_conflict"))? {
        pb::ConflictAction::Unspecified | pb::ConflictAction::ReturnExisting => {
            OnConflict::ReturnExisting
        }
        pb::ConflictAction::Reject => OnConflict::Reject,
        pb::ConflictAction::ReplaceWaiting => OnConflict::ReplaceWaiting,
        pb::ConflictAction::RescheduleWaiting => OnConflict::RescheduleWaiting,
    };
    let moves = match on_conflict {
        OnConflict::ReturnExisting | OnConflict::Reject => false,
        OnConflict::ReplaceWaiting | OnConflict::RescheduleWaiting => true,
    };
    let at_postpone = at.field("postpone_max");
    let postpone = value.postpone_max.as_ref();
    let postpone_max_ms = optional_ms(postpone, limits::DELAY_MS_MAX, at_postpone)?;
    if postpone_max_ms.is_some() && !moves {
        return Err(at_postpone.refuse(
            "is set, but only on_conflict REPLACE_WAITING and RESCHEDULE_WAITING move a start: \
             leave it unset, or use one of these",
        ));
    }
    Ok(NewUnique {
        key,
        scope: scope(&value.scope, !moves, at.field("scope"))?,
        on_conflict,
        postpone_max_ms,
    })
}

/// In which states a task holds its key; where none is named, while it waits, and while it runs
/// where `running` says so.
fn scope(value: &[i32], running: bool, at: At<'_>) -> Parsed<Scope> {
    let mut scope = Scope {
        waiting: value.is_empty(),
        running: value.is_empty() && running,
        dead: false,
        finished: false,
    };
    for (index, number) in value.iter().enumerate() {
        let at = at.index(index);
        match variant(*number, at)? {
            pb::UniqueState::Unspecified => {
                return Err(at.refuse("names no state: use WAITING, RUNNING, DEAD or FINISHED"));
            }
            pb::UniqueState::Waiting => scope.waiting = true,
            pb::UniqueState::Running => scope.running = true,
            pb::UniqueState::Dead => scope.dead = true,
            pb::UniqueState::Finished => scope.finished = true,
        }
    }
    Ok(scope)
}

/// The unique key that a task has, as the wire has it. What happened on a conflict is over.
pub(crate) fn unique_view(unique: &Unique) -> pb::UniqueKey {
    let Scope {
        waiting,
        running,
        dead,
        finished,
    } = unique.scope;
    let states = [
        (waiting, pb::UniqueState::Waiting),
        (running, pb::UniqueState::Running),
        (dead, pb::UniqueState::Dead),
        (finished, pb::UniqueState::Finished),
    ];
    let named = states.into_iter().filter(|(holds, _)| *holds);
    pb::UniqueKey {
        key: unique.key.to_string(),
        scope: named.map(|(_, state)| state.into()).collect(),
        on_conflict: pb::ConflictAction::Unspecified.into(),
        postpone_max: None,
    }
}
