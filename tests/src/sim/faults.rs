//! What befalls the coordinator, its disk and its network.
//!
//! Owns the faults, what a death leaves, and their end. Never touches what clients know.

use redrive_coordinator::engine::command::Command;

use super::calls::is_wanted;
use super::server::{Death, Remains};
use super::situations::Situation;
use super::world::{Due, World};

/// Kinds of faults; a plan has some of them.
const FAULTS: u64 = 12;
/// How long a coordinator is down. Microseconds.
const DOWN_US_MAX: u64 = 3_000_000;

/// What the next commit is: the last one.
#[derive(Clone, Copy, Debug)]
pub struct Doom {
    death: Death,
    /// After which part of its operations. Per mille.
    at: u64,
}

impl World {
    pub(super) fn plan_fault(&mut self) {
        if self.plan.faults_us > 0 && !self.healed {
            let us = self
                .dice
                .between(self.plan.faults_us / 4, self.plan.faults_us * 2);
            self.agenda.after(us, Due::Fault);
        }
    }

    pub(super) fn fault(&mut self) {
        if self.healed {
            return;
        }
        self.plan_fault();
        let fault = self.dice.between(0, FAULTS);
        if self.plan.faults >> fault & 1 == 0 {
            return;
        }
        match fault {
            0 => {
                self.saw(Situation::Killed);
                self.die(Death::Kill);
            }
            1 => {
                let death = self.power_cut();
                self.saw(Situation::PowerCut);
                self.die(death);
            }
            2 | 3 => {
                let death = if fault == 2 {
                    Death::Kill
                } else {
                    self.power_cut()
                };
                let at = self.dice.between(0, 1001);
                self.doom = Some(Doom { death, at });
            }
            4 => {
                let n = self.dice.between(1, 40);
                self.server_disk(|disk| disk.fail_nth_of_any(n));
            }
            5 => {
                let used = self
                    .server
                    .as_ref()
                    .map_or(0, |server| server.disk().used_bytes());
                self.saw(Situation::DiskFull);
                self.server_disk(|disk| disk.set_capacity(Some(used)));
                let us = self.dice.between(500_000, 4_000_000);
                self.agenda.after(us, Due::Clear);
            }
            6 => {
                self.saw(Situation::ClockForward);
                let us = self.dice.between(1000, 40_000_000);
                self.clocks.jump(i64::try_from(us).unwrap());
                self.plan_turn(0);
            }
            7 => {
                self.saw(Situation::ClockBack);
                let us = self.dice.between(1000, 40_000_000);
                self.clocks.jump(-i64::try_from(us).unwrap());
            }
            8 => {
                self.saw(Situation::EngineStalled);
                let us = self.dice.between(100_000, self.plan.engine.grace_ms * 2000);
                self.stalled_us = self.now_us() + us;
            }
            9 => {
                self.saw(Situation::DiskStalled);
                self.slow_us = self.dice.between(100_000, 8_000_000);
            }
            10 => self.shut_down(),
            _ => {
                self.saw(Situation::Partition);
                let us = self.dice.between(100_000, self.plan.engine.grace_ms * 2000);
                self.partition(us);
            }
        }
    }

    /// A power cut, where the coordinator promises to survive one.
    const fn power_cut(&mut self) -> Death {
        if self.plan.always {
            Death::PowerCut {
                seed: self.dice.any(),
            }
        } else {
            Death::Kill
        }
    }

    fn server_disk(
        &self,
        act: impl FnOnce(&redrive_coordinator::journal::simulated::SimulatedStorage),
    ) {
        if let Some(server) = &self.server {
            act(server.disk());
        }
    }

    /// The weather clears up.
    pub(super) fn clear(&mut self) {
        self.server_disk(|disk| disk.set_capacity(None));
    }

    /// Everybody is cut off for a while.
    fn partition(&mut self, us: u64) {
        self.partition_us = self.now_us() + us;
        let open = self.links.iter().filter(|(_, link)| link.near);
        let open: Vec<_> = open.map(|(id, _)| *id).collect();
        for link in open {
            if !self.one_in(3) {
                self.break_link(link);
                self.cut_far(link);
            }
        }
    }

    fn die(&mut self, death: Death) {
        if let Some(server) = self.server.take() {
            let remains = server.die(death);
            self.fall(remains);
        }
    }

    /// The disk has failed the coordinator: its process ends.
    pub(super) fn fail(&mut self) {
        self.saw(Situation::DiskFailed);
        let death = self.power_cut();
        self.die(death);
    }

    /// Whether the coordinator dies in this commit.
    pub(super) fn dies_writing(&mut self) -> bool {
        let Some(Doom { death, at }) = self.doom.take() else {
            return false;
        };
        let Some(server) = self.server.take() else {
            return false;
        };
        self.saw(match death {
            Death::Kill => Situation::KilledWriting,
            Death::PowerCut { .. } => Situation::PowerCutWriting,
        });
        let remains = server.die_writing(at, death);
        self.fall(remains);
        true
    }

    /// Asks the coordinator to end in good order; it starts again.
    fn shut_down(&mut self) {
        let Some(mut server) = self.server.take() else {
            return;
        };
        self.saw(Situation::ShutDown);
        let (judge, calls) = (&mut self.judge, &self.calls);
        let mut see = |now, command: &Command| judge.sees(now, command);
        let turned = server.turn(true, &mut see, &|command| is_wanted(calls, command));
        let (closed, remains) = server.close();
        if turned.is_err() || !closed {
            self.saw(Situation::DiskFailed);
        }
        self.fall(remains);
    }

    /// The coordinator is gone: what it had told is told, the rest nobody hears of.
    fn fall(&mut self, remains: Remains) {
        if !remains.released.is_empty() {
            self.saw(Situation::DiedBetweenSyncAndAnswer);
        }
        if !remains.unreleased.is_empty() {
            self.saw(Situation::DiedHoldingFrames);
        }
        self.release(remains.released);
        self.disk = remains.disk;
        self.judge.killed(remains.unreleased);
        self.life += 1;
        self.doom = None;
        let now = self.now_us();
        let open: Vec<u64> = std::mem::take(&mut self.calls).into_values().collect();
        for operation in open {
            let us = self.net_us();
            self.agenda.at(now + us, Due::Answer(operation, None));
        }
        let links: Vec<_> = self.links.keys().copied().collect();
        for link in links {
            self.link_ended(link);
            self.break_link(link);
        }
        let us = self.dice.between(1000, DOWN_US_MAX);
        self.agenda.after(us, Due::Start);
    }
}
