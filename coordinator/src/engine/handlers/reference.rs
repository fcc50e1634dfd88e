//! Which task is meant, where it is named by what its producer called it.
//!
//! Owns the lookup of idempotency keys. Never makes one.

use crate::engine::command::TaskRef;
use crate::engine::ids::TaskId;
use crate::engine::rejection::Rejection;
use crate::engine::step::Step;

use super::{remember, unique};

/// The id of the task that is meant. It need not be known any more.
pub(super) fn id_of(step: &Step<'_>, task: &TaskRef) -> Result<TaskId, Rejection> {
    match task {
        TaskRef::Id(id) => Ok(*id),
        TaskRef::Key { queue, key } => {
            let memory = remember::known(step, &unique::memory_key(queue, key));
            let id = memory.and_then(|memory| memory.task(0));
            id.ok_or(Rejection::KeyNotFound)
        }
    }
}
