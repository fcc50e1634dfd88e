//! What is known of runs that go on, besides their leases. Volatile.
//!
//! Owns the bytes of checkpoints that are not recorded yet: they are accounted like all others (I9).

use super::Step;
use crate::engine::effect::Progress;
use crate::engine::handlers::Beat;
use crate::engine::ids::TaskId;
use crate::engine::ledger::task::Payload;

impl Step<'_> {
    /// How far the handler of a task is, as it says.
    pub(in crate::engine) fn progress(&self, id: TaskId) -> Option<&Progress> {
        self.core.beats.get(&id)?.progress.as_ref()
    }

    /// What is known of a run that goes on, made where nothing is.
    pub(in crate::engine) fn beat_mut(&mut self, id: TaskId) -> &mut Beat {
        self.core.beats.entry(id).or_default()
    }

    pub(in crate::engine) fn take_beat(&mut self, id: TaskId) -> Option<Beat> {
        let beat = self.core.beats.remove(&id)?;
        self.core.unsaved_bytes -= unsaved_bytes(&beat);
        Some(beat)
    }

    /// Puts a checkpoint in the place of the one of a run that is not recorded yet.
    pub(in crate::engine) fn set_unsaved(&mut self, id: TaskId, checkpoint: Option<Payload>) {
        let beat = self.core.beats.entry(id).or_default();
        self.core.unsaved_bytes -= unsaved_bytes(beat);
        beat.unsaved = checkpoint;
        self.core.unsaved_bytes += unsaved_bytes(beat);
    }
}

fn unsaved_bytes(beat: &Beat) -> u64 {
    beat.unsaved.as_ref().map_or(0, Payload::weight_bytes)
}
