//! The layout of what was said of tasks on every level, of what few tasks have, of edits, memories
//! and kinds.
//!
//! Owns their order of fields and their numbers, which are the journal's format and never change.

use super::plain::part_unless_default;
use super::shape::{Item, fixed, shape, variants};
use crate::engine::edit::Edit;
use crate::engine::ledger::kind::{Kind, KindSettings};
use crate::engine::ledger::memory::{Memory, MemoryKey};
use crate::engine::ledger::more::{Act, ActKind, CancelOrder, Cause, Life, More, Scope, Unique};
use crate::engine::ledger::terms::{DeliveryMode, FollowUps, Source, Template, Terms, Transition};

shape!(Terms { ; ttl_ms, deadline_ms, result_ttl_ms, delivery, follow_ups });

variants!(DeliveryMode {
    1 = AtLeastOnce,
    2 = AtMostOnce,
});

shape!(FollowUps { ; on_success, on_failure, on_exhausted, on_cancelled });

shape!(Template { kind, payload; queue, priority, delay_ms, version, labels });

variants!(Transition {
    1 = Success,
    2 = Failure,
    3 = Exhausted,
    4 = Cancelled,
    5 = Then,
});

variants!(Source {
    1 = Task,
    2 = Kind,
    3 = Queue,
    4 = Server,
});

shape!(More { ; key, unique, life, cause, visited, acts, acts_omitted });

shape!(Unique { key, scope });

shape!(Scope { ; waiting, running, dead, finished });

shape!(Life { from; ttl_ms, deadline_ms, begun });

shape!(Cause { task, transition });

shape!(Act { at, what; by, note });

variants!(ActKind {
    1 = Redriven,
    2 = Edited,
    3 = Replaced,
    4 = Rescheduled,
    5 = CancelRequested,
    6 = Discarded,
});

shape!(CancelOrder { at; until, by, reason });

shape!(Edit { what; by, note, payload, version, priority, labels, own, not_before, life });

variants!(MemoryKey {
    1 = Request { namespace, id },
    2 = Key { queue, key },
    3 = Producer { namespace, id },
});

shape!(Memory { at, expires_at, digest via fixed; tasks } without { recorded_at: 0 });

shape!(Kind { name, settings, revision, at; proposed_by } without { recorded_at: 0 });

shape!(KindSettings {
    ;
    queue, policy, timeouts, max_attempts, dead_letter_queue, terms
});

part_unless_default!(DeliveryMode);
part_unless_default!(FollowUps);
part_unless_default!(Source);

impl Item for Template {
    const BYTES_MIN: usize = 4;
}

impl Item for Act {
    const BYTES_MIN: usize = 3;
}
