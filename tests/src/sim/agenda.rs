//! What happens next in the simulated world.
//!
//! Owns the order: by time, then by the order of planning, so that the same seed is the same run.
//! Never runs anything. Invariant: time never goes back.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// What is planned, in its order.
#[derive(Debug)]
pub struct Agenda<T> {
    order: BinaryHeap<Reverse<(u64, u64, u32)>>,
    slots: Vec<Option<T>>,
    free: Vec<u32>,
    planned: u64,
    now_us: u64,
}

impl<T> Agenda<T> {
    /// Nothing is planned; time begins at 0.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            order: BinaryHeap::new(),
            slots: Vec::new(),
            free: Vec::new(),
            planned: 0,
            now_us: 0,
        }
    }

    /// What time it is. Microseconds since the beginning of the world.
    #[must_use]
    pub const fn now_us(&self) -> u64 {
        self.now_us
    }

    /// Something is to happen after so long.
    pub fn after(&mut self, us: u64, what: T) {
        self.at(self.now_us + us, what);
    }

    /// Something is to happen then, or now where that has passed.
    pub fn at(&mut self, at_us: u64, what: T) {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            u32::try_from(self.slots.len() - 1).unwrap()
        });
        self.slots[slot as usize] = Some(what);
        let at_us = at_us.max(self.now_us);
        self.order.push(Reverse((at_us, self.planned, slot)));
        self.planned += 1;
    }

    /// Goes to what comes next.
    pub fn pop(&mut self) -> Option<T> {
        let Reverse((at_us, _, slot)) = self.order.pop()?;
        self.now_us = at_us;
        self.free.push(slot);
        self.slots[slot as usize].take()
    }
}

impl<T> Default for Agenda<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_planned_for_the_same_instant_comes_in_the_order_of_planning() {
        let mut agenda = Agenda::new();
        agenda.after(5, 'b');
        agenda.after(5, 'c');
        agenda.after(1, 'a');
        let mut came = Vec::new();
        while let Some(what) = agenda.pop() {
            came.push((agenda.now_us(), what));
            if what == 'a' {
                agenda.at(0, 'x');
            }
        }
        assert_eq!(came, [(1, 'a'), (1, 'x'), (5, 'b'), (5, 'c')]);
    }
}
