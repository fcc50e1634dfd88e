//! The loop that runs the coordinator: next input, turn, append.
//!
//! Owns the engine, the journal and the clock. Never performs an effect: the journal releases them
//! (I2). What comes first in a turn is `turns`. Invariants: the clock is read once a turn; a turn is
//! appended as one frame; the first failure of the journal is the end.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::clock::{Clock, Instant};
use super::desk::Desk;
pub(crate) use super::turns::Decides;
use super::turns::{Begins, Made, Turns};
use crate::engine::command::Command;
use crate::engine::effect::Effect;
use crate::engine::event::Recorded;
use crate::engine::ids::Timestamp;
use crate::engine::{Deadline, limits};
use crate::journal::{Journal, JournalError};

/// A turn with so many commands or more is one of many callers at once: the next one gathers.
const CROWD_COMMANDS: usize = 4;
/// A turn that would begin with so many commands or more does not gather.
const GATHERED_COMMANDS: usize = 64;

/// A journal of engine events that releases effects.
pub type TurnJournal = Box<dyn Journal<Recorded, Vec<Effect>>>;

/// The loop that runs the coordinator.
pub(crate) struct Driver<E> {
    engine: E,
    journal: TurnJournal,
    clock: Clock,
    desk: Arc<Desk>,
    failed: watch::Receiver<Option<JournalError>>,
    signals: Signals,
    shut_down: bool,
    turns: Turns,
    /// The turn before had many commands.
    crowded: bool,
}

/// What the driver is built from.
pub(crate) struct Parts<E> {
    pub(crate) engine: E,
    pub(crate) journal: TurnJournal,
    pub(crate) clock: Clock,
    pub(crate) desk: Arc<Desk>,
    /// Where the journal's sink puts the news of its failure.
    pub(crate) failed: watch::Receiver<Option<JournalError>>,
}

/// What the driver is told from outside.
#[derive(Clone, Debug, Default)]
pub(crate) struct Signals {
    /// Tell the engine that the process goes down, and go on.
    pub(crate) shut_down: CancellationToken,
    /// Close the journal and end.
    pub(crate) end: CancellationToken,
}

/// What begins a turn, or ends the loop.
#[derive(Debug)]
enum Input {
    /// The journal has failed.
    Failed(JournalError),
    /// The loop is to end.
    End,
    /// The process is going down.
    ShutDown,
    /// Commands have arrived.
    Commands,
    /// The engine's deadline has come.
    Deadline(&'static str),
}

impl<E: Decides> Driver<E> {
    pub(crate) fn new(parts: Parts<E>, signals: Signals) -> Self {
        let Parts {
            engine,
            journal,
            mut clock,
            desk,
            failed,
        } = parts;
        let turns = Turns::new(clock.read().now);
        Self {
            engine,
            journal,
            clock,
            desk,
            failed,
            signals,
            shut_down: false,
            turns,
            crowded: false,
        }
    }

    /// Runs until it is told to end, or the journal fails. Whatever the end, all callers are sent
    /// away and all streams end with it.
    pub(crate) async fn run(mut self) -> Result<(), JournalError> {
        let _closed_at_last = ClosesAtLast(Arc::clone(&self.desk));
        loop {
            match self.next_input().await {
                Input::Failed(error) => return Err(error),
                Input::End => return self.journal.close(),
                Input::ShutDown => {
                    self.shut_down = true;
                    self.turn("shutdown", true)?;
                }
                Input::Commands => {
                    self.gather();
                    self.turn("command", false)?;
                }
                Input::Deadline(why) => self.turn(why, false)?,
            }
        }
    }

    /// Waits for whatever comes first. What has arrived goes before deadlines, even overdue ones.
    async fn next_input(&mut self) -> Input {
        let now = self.clock.read().now;
        let deadline = self.engine.next_deadline();
        self.turns.rest(now, deadline);
        tokio::select! {
            biased;
            error = journal_failed(&mut self.failed) => Input::Failed(error),
            () = self.signals.end.cancelled() => Input::End,
            () = self.signals.shut_down.cancelled(), if !self.shut_down => Input::ShutDown,
            () = arrived(&self.desk, self.turns.has_commands()) => Input::Commands,
            why = alarm(now, deadline) => Input::Deadline(why),
        }
    }

    /// Among many callers, lets other threads run that wait for this core, once: what they are
    /// about to ask is handled in the same turn, synced and answered with it. Where no thread
    /// waits this returns at once. Few callers are not made to wait: the core may be wanted by
    /// another process, which would keep it for milliseconds.
    fn gather(&mut self) {
        let arrived = self.turns.commands().len() + self.desk.queue.len();
        if self.crowded && arrived < GATHERED_COMMANDS {
            std::thread::yield_now();
        }
    }

    /// One turn: everything that has arrived (up to a limit), then timers, then one frame.
    fn turn(&mut self, began_by: &'static str, shuts_down: bool) -> Result<(), JournalError> {
        let began = self.clock.read();
        let late_ms = self.turns.late_ms(began.now);
        self.measure_begin(began_by, late_ms);
        let commands = self.turns.commands();
        let room = limits::COMMANDS_PER_TURN_MAX.saturating_sub(commands.len());
        self.desk.queue.take(room, commands);
        self.crowded = commands.len() >= CROWD_COMMANDS;
        let begins = Begins {
            asks: self.journal.asks(),
            late_ms,
            shuts_down,
        };
        let desk = &self.desk;
        let wanted = |command: &Command| is_wanted(desk, command);
        let made = self.turns.turn(began.now, &mut self.engine, begins, wanted);
        self.tell(&made);
        if let Some(frame) = made.frame {
            self.journal.append(frame)?;
        }
        self.measure_end(began);
        Ok(())
    }

    /// Tells people and metrics what a turn found.
    fn tell(&self, made: &Made) {
        if let Some(ms) = made.timer_lag_ms {
            let lag = Duration::from_millis(ms);
            self.desk.telemetry.timer_lag.record(lag);
        }
        match made.disk_full {
            Some(true) => tracing::error!(
                "the journal's disk is full: enqueues are refused until there is room"
            ),
            Some(false) => {
                tracing::info!("the journal's disk has room again: enqueues are accepted");
            }
            None => {}
        }
    }

    fn measure_begin(&self, began_by: &'static str, late_ms: u64) {
        let telemetry = &self.desk.telemetry;
        telemetry.woken(began_by);
        telemetry
            .inbox_depth
            .set(u32::try_from(self.desk.queue.len()).unwrap_or(u32::MAX));
        telemetry.clock_skew.set(self.clock.skew().as_secs_f64());
        if late_ms > 0 {
            telemetry.late_turns.increment(1);
            tracing::warn!(
                late_ms,
                "the engine was not listening for a while; workers' silence is forgiven",
            );
        }
    }

    fn measure_end(&mut self, began: Instant) {
        let ended = self.clock.read();
        self.desk
            .telemetry
            .turn
            .record(ended.elapsed.saturating_sub(began.elapsed));
    }
}

/// A call whose caller left before its turn is not carried out: nobody would hear the answer.
fn is_wanted(desk: &Desk, command: &Command) -> bool {
    if let Command::Call { request, .. } = command {
        return desk.is_awaited(*request);
    }
    true
}

/// Waits until there are commands, be it what the last turn had no room for.
async fn arrived(desk: &Desk, are_left: bool) {
    if !are_left {
        desk.queue.arrived().await;
    }
}

/// Waits for the news that the journal has failed.
async fn journal_failed(failed: &mut watch::Receiver<Option<JournalError>>) -> JournalError {
    let failure = failed
        .wait_for(Option::is_some)
        .await
        .map(|error| (*error).clone());
    match failure {
        Ok(Some(error)) => error,
        // The sink is gone without a failure: then the journal is, and `append` says so.
        Ok(None) | Err(_) => std::future::pending().await,
    }
}

/// Waits until the engine's deadline, and says why it was set; for ever where there is none.
#[expect(
    clippy::disallowed_methods,
    reason = "the alarm that the engine asked for"
)]
async fn alarm(now: Timestamp, deadline: Option<Deadline>) -> &'static str {
    let Some(deadline) = deadline else {
        return std::future::pending().await;
    };
    let wait_ms = deadline.at.since_ms(now);
    if wait_ms > 0 {
        tokio::time::sleep(Duration::from_millis(wait_ms)).await;
    }
    deadline.why.name()
}

/// Closes the desk however the loop ends, a panic included.
struct ClosesAtLast(Arc<Desk>);

impl Drop for ClosesAtLast {
    fn drop(&mut self) {
        self.0.close();
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod whole_tests;
