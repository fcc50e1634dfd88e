//! What makes enqueueing a task twice harmless: its idempotency key and its unique key.
//!
//! Owns the digest of what a task says, by which a key that is used for another task is found out.

use prost::Message as _;
use redrive_proto::v1 as pb;

use super::field::{At, Parsed, bounded_ms, key, optional_key, optional_ms, variant};
use super::request::{digest_of, spell_out};
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
        .map(|unique| new_unique(*unique, at.field("unique")))
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

/// The digest of all that a task says but its start, as it was sent, but that no priority is the
/// normal one; its keys were taken out before.
fn digest(spec: &mut pb::TaskSpec) -> u64 {
    spell_out(spec);
    let start = spec.start.take();
    let digest = digest_of([spec.encode_to_vec().as_slice()]);
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

#[cfg(test)]
mod tests {
    use prost_types::Duration;

    use super::*;

    const fn secs(seconds: i64) -> Duration {
        Duration { seconds, nanos: 0 }
    }

    fn keyed(key: &str) -> pb::TaskSpec {
        pb::TaskSpec {
            queue: "mail".into(),
            kind: "send".into(),
            idempotency_key: key.into(),
            ..Default::default()
        }
    }

    fn unique(key: &str, on_conflict: pb::ConflictAction) -> pb::UniqueKey {
        pb::UniqueKey {
            key: key.into(),
            on_conflict: on_conflict.into(),
            ..Default::default()
        }
    }

    fn parse(mut spec: pb::TaskSpec) -> Parsed<Option<Box<NewKeys>>> {
        let root = At::Root;
        new_keys(&mut spec, root.field("task"))
    }

    fn keys_of(spec: pb::TaskSpec) -> NewKeys {
        *parse(spec).unwrap().unwrap()
    }

    #[test]
    fn a_task_without_keys_has_none() {
        assert_eq!(parse(keyed("")), Ok(None));
    }

    #[test]
    fn a_key_has_a_window_and_a_digest_of_the_rest_of_what_is_said() {
        let plain = keys_of(keyed("k"));
        assert_eq!(plain.key.as_deref(), Some("k"));
        assert_eq!(plain.window_ms, 86_400_000);
        let other_keys_and_start = pb::TaskSpec {
            idempotency_window: Some(secs(30 * 86_400)),
            unique: Some(unique("u", pb::ConflictAction::Reject).into()),
            start: Some(pb::task_spec::Start::Delay(Duration::default())),
            ..keyed("l")
        };
        let same = keys_of(other_keys_and_start);
        assert_eq!(same.digest, plain.digest);
        assert_eq!(same.window_ms, 30 * 86_400_000);
        let other = pb::TaskSpec {
            schema_version: 2,
            ..keyed("k")
        };
        assert_ne!(keys_of(other).digest, plain.digest);
    }

    #[test]
    fn no_priority_and_the_normal_one_are_the_same_content() {
        let with = |priority: pb::Priority| {
            let spec = pb::TaskSpec {
                priority: priority.into(),
                ..keyed("k")
            };
            keys_of(spec).digest
        };
        let plain = with(pb::Priority::Unspecified);
        assert_eq!(with(pb::Priority::Normal), plain);
        assert_ne!(with(pb::Priority::High), plain);
    }

    #[test]
    fn the_start_is_still_there_when_the_digest_is_made() {
        let start = Some(pb::task_spec::Start::Delay(Duration::default()));
        let mut spec = pb::TaskSpec {
            start,
            ..keyed("k")
        };
        new_keys(&mut spec, At::Root).unwrap();
        assert_eq!(spec.start, start);
    }

    #[test]
    fn an_unnamed_scope_is_that_of_what_happens_on_a_conflict() {
        use pb::ConflictAction as Wire;
        let parse = |on_conflict| {
            let spec = pb::TaskSpec {
                unique: Some(unique("u", on_conflict).into()),
                ..keyed("")
            };
            let unique = keys_of(spec).unique.unwrap();
            let Scope {
                waiting,
                running,
                dead,
                finished,
            } = unique.scope;
            assert!(waiting && !dead && !finished);
            (unique.on_conflict, running)
        };
        assert_eq!(parse(Wire::Unspecified), (OnConflict::ReturnExisting, true));
        assert_eq!(
            parse(Wire::ReturnExisting),
            (OnConflict::ReturnExisting, true)
        );
        assert_eq!(parse(Wire::Reject), (OnConflict::Reject, true));
        assert_eq!(
            parse(Wire::ReplaceWaiting),
            (OnConflict::ReplaceWaiting, false)
        );
        let rescheduling = parse(Wire::RescheduleWaiting);
        assert_eq!(rescheduling, (OnConflict::RescheduleWaiting, false));
    }

    #[test]
    fn a_scope_is_what_is_named_and_comes_back() {
        let given = pb::UniqueKey {
            scope: vec![3, 4],
            postpone_max: Some(secs(60)),
            ..unique("u", pb::ConflictAction::ReplaceWaiting)
        };
        let spec = pb::TaskSpec {
            unique: Some(Box::new(given)),
            ..keyed("")
        };
        let parsed = keys_of(spec).unique.unwrap();
        assert_eq!(parsed.postpone_max_ms, Some(60_000));
        let held = Unique {
            key: parsed.key,
            scope: parsed.scope,
        };
        assert!(!held.scope.waiting && !held.scope.running);
        assert_eq!(unique_view(&held).scope, [3, 4]);
    }

    /// The field that the refusal names, what it says, and what was sent.
    type BadKeys = (&'static str, &'static str, fn(&mut pb::TaskSpec));

    fn spoiled(spec: &mut pb::TaskSpec, change: fn(&mut pb::UniqueKey)) {
        let mut key = unique("u", pb::ConflictAction::Unspecified);
        change(&mut key);
        spec.unique = Some(Box::new(key));
    }

    const BAD: &[BadKeys] = &[
        ("idempotency_key", "at most 256", |t| {
            t.idempotency_key = "x".repeat(257)
        }),
        ("idempotency_key", "printable", |t| {
            t.idempotency_key = "a\0".into()
        }),
        ("idempotency_window", "at least 1 s", |t| {
            t.idempotency_window = Some(secs(0))
        }),
        ("idempotency_window", "at most 30 days", |t| {
            t.idempotency_window = Some(secs(31 * 86_400))
        }),
        ("idempotency_window", "without an idempotency_key", |t| {
            t.idempotency_key.clear();
            t.idempotency_window = Some(secs(60));
        }),
        ("unique.key", "is required", |t| {
            spoiled(t, |u| u.key.clear())
        }),
        ("unique.key", "at most 256", |t| {
            spoiled(t, |u| u.key = "x".repeat(257))
        }),
        ("unique.scope[1]", "names no state", |t| {
            spoiled(t, |u| u.scope = vec![1, 0])
        }),
        ("unique.scope[0]", "is 5", |t| {
            spoiled(t, |u| u.scope = vec![5])
        }),
        ("unique.on_conflict", "is 5", |t| {
            spoiled(t, |u| u.on_conflict = 5)
        }),
        ("unique.postpone_max", "only on_conflict", |t| {
            spoiled(t, |u| u.postpone_max = Some(secs(1)))
        }),
        ("unique.postpone_max", "at most 3650 days", |t| {
            spoiled(t, |u| {
                u.on_conflict = pb::ConflictAction::RescheduleWaiting.into();
                u.postpone_max = Some(secs(3651 * 86_400));
            });
        }),
    ];

    #[test]
    fn what_is_wrong_in_keys_is_refused_with_its_field_its_limit_and_the_remedy() {
        for (field, says, spoil) in BAD {
            let mut sent = keyed("k");
            spoil(&mut sent);
            let refused = parse(sent).unwrap_err();
            assert_eq!(refused.field, format!("task.{field}"), "{refused}");
            assert!(refused.problem.contains(says), "{refused}");
        }
    }
}
