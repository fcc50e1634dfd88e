//! The streams of the simulated network: in order, late, and cut.
//!
//! Owns what is on its way and which ends still listen. Invariant: what arrives on a stream arrives
//! in the order it was sent, and nothing after a cut.

use redrive_coordinator::engine::command::Command;
use redrive_coordinator::engine::effect::ToWorker;
use redrive_coordinator::engine::ids::LinkId;

use super::situations::Situation;
use super::world::{Arriving, Due, Link, World};

impl World {
    /// A worker opens a stream.
    pub(super) fn open_link(&mut self, worker: usize) -> LinkId {
        let id = LinkId(self.fresh());
        let link = Link {
            worker,
            near: true,
            far: true,
            up_us: self.now_us(),
            down_us: self.now_us(),
        };
        self.links.insert(id, link);
        id
    }

    /// A worker says something.
    pub(super) fn say(&mut self, link: LinkId, command: Command) {
        let us = self.net_us();
        // What is not cut by a partition waits for its end, as TCP does.
        let at_us = self.now_us().max(self.partition_us) + us;
        if let Some(state) = self.links.get_mut(&link) {
            state.up_us = state.up_us.max(at_us);
            let at_us = state.up_us;
            let arriving = Arriving::Link(link, command);
            self.agenda.at(at_us, Due::Arrive(self.life, arriving));
        }
    }

    /// The coordinator says something.
    pub(super) fn tell(&mut self, link: LinkId, message: ToWorker) {
        let us = self.net_us();
        // What is not cut by a partition waits for its end, as TCP does.
        let at_us = self.now_us().max(self.partition_us) + us;
        if let Some(state) = self.links.get_mut(&link) {
            state.down_us = state.down_us.max(at_us);
            let at_us = state.down_us;
            self.agenda.at(at_us, Due::Told(link, Box::new(message)));
        }
    }

    /// The coordinator listens no more.
    pub(super) fn link_ended(&mut self, link: LinkId) {
        if let Some(state) = self.links.get_mut(&link) {
            state.far = false;
            if !state.near {
                self.links.remove(&link);
            }
        }
    }

    /// The worker will find that its stream has ended, after what was said before.
    pub(super) fn break_link(&mut self, link: LinkId) {
        let us = self.net_us();
        let at_us = self.now_us() + us;
        if let Some(state) = self.links.get(&link) {
            self.agenda.at(at_us.max(state.down_us), Due::Broken(link));
        }
    }

    /// The network cuts a stream, or its worker does: what is on its way is lost.
    pub(super) fn cut(&mut self, link: LinkId) {
        let Some(state) = self.links.get_mut(&link) else {
            return;
        };
        state.near = false;
        if !state.far {
            self.links.remove(&link);
            return;
        }
        self.cut_far(link);
    }

    /// The coordinator learns of a cut soon, late, or never.
    pub(super) fn cut_far(&mut self, link: LinkId) {
        let half_open = self.befalls(250);
        let us = if half_open {
            self.saw(Situation::HalfOpen);
            self.plan.engine.grace_ms * self.dice.between(100, 1500)
        } else {
            self.net_us()
        };
        let arriving = Arriving::Link(link, Command::LinkClosed { link });
        self.agenda.after(us, Due::Arrive(self.life, arriving));
    }

    /// Whether a worker may hear something on a stream.
    pub(super) fn hears(&self, link: LinkId) -> Option<usize> {
        let state = self.links.get(&link)?;
        state.near.then_some(state.worker)
    }
}
