//! The turns of the engine: what comes first in each, and when one is late.
//!
//! Owns the order (what the journal asks for, lateness, what has arrived, then timers), what one
//! turn had no room for, and since when nobody has been listening. Never waits, reads no clock and
//! performs nothing: the driver does, and the simulator in its place. Invariants: whoever speaks
//! now is heard after the lateness; all input that has arrived is handled before timers; a turn is
//! one frame of a bounded size.

use std::collections::VecDeque;

use crate::engine::command::Command;
use crate::engine::effect::Effect;
use crate::engine::event::Recorded;
use crate::engine::ids::Timestamp;
use crate::engine::{Deadline, Engine, Turn, Why, limits};
use crate::journal::{Asks, Frame};

/// Lateness up to this is usual. Beyond it silence is forgiven: nobody was listening.
const LATE_MS_MAX: u64 = 1000;

/// What a turn records, and what it lets go once that is durable.
pub type TurnFrame = Frame<Recorded, Vec<Effect>>;

/// What the turns need of the engine.
pub trait Decides: Send {
    /// See [`Engine::step`].
    fn step(&mut self, now: Timestamp, command: Command, turn: &mut Turn);
    /// See [`Engine::next_deadline`].
    fn next_deadline(&self) -> Option<Deadline>;
}

impl Decides for Engine {
    fn step(&mut self, now: Timestamp, command: Command, turn: &mut Turn) {
        Self::step(self, now, command, turn);
    }

    fn next_deadline(&self) -> Option<Deadline> {
        Self::next_deadline(self)
    }
}

/// The turns of one engine.
#[derive(Debug)]
pub struct Turns {
    disk_full: bool,
    /// Taken from the inbox; what one turn has no room for is the first of the next.
    commands: VecDeque<Command>,
    listening: Listening,
}

/// What a turn begins with, besides the commands that have arrived.
#[derive(Clone, Copy, Debug, Default)]
pub struct Begins {
    /// What the journal wants.
    pub asks: Asks,
    /// How late the turn is: what [`Turns::late_ms`] said. Milliseconds.
    pub late_ms: u64,
    /// The process is going down; said once.
    pub shuts_down: bool,
}

/// What a turn made.
#[derive(Debug, Default)]
pub struct Made {
    /// What is to be appended; nothing where nothing happened.
    pub frame: Option<TurnFrame>,
    /// The disk has become full, or has room again.
    pub disk_full: Option<bool>,
    /// How late the first timer was. Milliseconds.
    pub timer_lag_ms: Option<u64>,
}

/// Since when nobody has been listening.
#[derive(Debug, Default)]
struct Listening {
    turn_began: Timestamp,
    /// When the next turn was to begin at the latest; `None` means whenever something arrives.
    planned: Option<Timestamp>,
    /// How long the turn before took.
    deaf_ms: u64,
}

impl Turns {
    /// Turns that begin now.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self {
            disk_full: false,
            commands: VecDeque::with_capacity(limits::COMMANDS_PER_TURN_MAX),
            listening: Listening {
                turn_began: now,
                ..Listening::default()
            },
        }
    }

    /// What waits for the next turn; at most [`limits::COMMANDS_PER_TURN_MAX`] should.
    pub const fn commands(&mut self) -> &mut VecDeque<Command> {
        &mut self.commands
    }

    /// Whether the next turn has something to do at once.
    #[must_use]
    pub fn has_commands(&self) -> bool {
        !self.commands.is_empty()
    }

    /// The turn before is over, and the next one is due at the engine's deadline.
    pub fn rest(&mut self, now: Timestamp, deadline: Option<Deadline>) {
        self.listening.deaf_ms = now.since_ms(self.listening.turn_began);
        self.listening.planned = deadline.map(|deadline| deadline.at.max(now));
    }

    /// How long nobody was listening before a turn that begins now; 0 where it was no longer than
    /// usual. In engine time, so that sleep of the machine and steps of its clock count too.
    pub fn late_ms(&mut self, now: Timestamp) -> u64 {
        let planned = self.listening.planned;
        let overslept_ms = planned.map_or(0, |planned| now.since_ms(planned));
        let late_ms = overslept_ms.max(self.listening.deaf_ms);
        self.listening.turn_began = now;
        if late_ms > LATE_MS_MAX { late_ms } else { 0 }
    }

    /// One turn: everything that has arrived and is `wanted` (up to a number and a size), then
    /// timers, in one frame.
    pub fn turn(
        &mut self,
        now: Timestamp,
        engine: &mut impl Decides,
        begins: Begins,
        wanted: impl Fn(&Command) -> bool,
    ) -> Made {
        let mut turn = Turn::default();
        let mut made = Made::default();
        let asks = begins.asks;
        if asks.opener {
            engine.step(now, Command::OpenSegment, &mut turn);
        }
        if asks.refuse_growth != self.disk_full {
            self.disk_full = asks.refuse_growth;
            made.disk_full = Some(self.disk_full);
            engine.step(now, Command::DiskFull(self.disk_full), &mut turn);
        }
        if begins.late_ms > 0 {
            // Before what arrived meanwhile: whoever speaks now is heard after the lateness.
            let ms = begins.late_ms;
            engine.step(now, Command::Late { ms }, &mut turn);
        }
        if begins.shuts_down {
            engine.step(now, Command::Shutdown, &mut turn);
        }
        while !turn.is_full()
            && let Some(command) = self.commands.pop_front()
        {
            if wanted(&command) {
                engine.step(now, command, &mut turn);
            }
        }
        made.timer_lag_ms = tick(now, engine, &mut turn);
        let Turn {
            events, effects, ..
        } = turn;
        if !(events.is_empty() && effects.is_empty()) {
            made.frame = Some(Frame {
                records: events,
                release: effects,
                opens_segment: asks.opener,
            });
        }
        made
    }
}

/// Tells the engine that time has passed, where it asked for that; says how late a timer was.
fn tick(now: Timestamp, engine: &mut impl Decides, turn: &mut Turn) -> Option<u64> {
    let due = engine.next_deadline()?;
    if due.at > now {
        return None;
    }
    engine.step(now, Command::Tick, turn);
    (due.why == Why::Timer).then(|| now.since_ms(due.at))
}
