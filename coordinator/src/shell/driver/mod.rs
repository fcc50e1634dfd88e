//! The loop that runs the coordinator: next input, turn, append.
//!
//! Owns the engine, the journal and the clock. Never performs an effect: the journal releases them
//! (I2). Invariants: the clock is read once a turn; all input that has arrived is handled before
//! timers; a turn is appended as one frame; the first failure of the journal is the end.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::clock::{Clock, Instant};
use super::desk::Desk;
use crate::engine::command::Command;
use crate::engine::effect::Effect;
use crate::engine::event::Recorded;
use crate::engine::ids::Timestamp;
use crate::engine::{Deadline, Engine, Turn, Why, limits};
use crate::journal::{Frame, Journal, JournalError};

/// Lateness up to this is usual. Beyond it silence is forgiven: nobody was listening.
const LATE_MS_MAX: u64 = 1000;

/// A journal of engine events that releases effects.
pub type TurnJournal = Box<dyn Journal<Recorded, Vec<Effect>>>;

/// What the loop needs of the engine.
pub(crate) trait Decides: Send {
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

/// The loop that runs the coordinator.
pub(crate) struct Driver<E> {
    engine: E,
    journal: TurnJournal,
    clock: Clock,
    desk: Arc<Desk>,
    failed: watch::Receiver<Option<JournalError>>,
    signals: Signals,
    shut_down: bool,
    commands: Vec<Command>,
    listening: Listening,
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

/// Since when the driver has not been listening.
#[derive(Default)]
struct Listening {
    turn_began: Timestamp,
    /// When the next turn was to begin at the latest; `None` means whenever something arrives.
    planned: Option<Timestamp>,
    /// How long the turn before took.
    deaf_ms: u64,
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
        let listening = Listening {
            turn_began: clock.read().now,
            ..Listening::default()
        };
        Self {
            engine,
            journal,
            clock,
            desk,
            failed,
            signals,
            shut_down: false,
            commands: Vec::with_capacity(limits::COMMANDS_PER_TURN_MAX),
            listening,
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
                    self.turn("shutdown", Some(Command::Shutdown))?;
                }
                Input::Commands => self.turn("command", None)?,
                Input::Deadline(why) => self.turn(why, None)?,
            }
        }
    }

    /// Waits for whatever comes first. What has arrived goes before deadlines, even overdue ones.
    async fn next_input(&mut self) -> Input {
        let now = self.clock.read().now;
        let deadline = self.engine.next_deadline();
        self.listening.deaf_ms = now.since_ms(self.listening.turn_began);
        self.listening.planned = deadline.map(|deadline| deadline.at.max(now));
        tokio::select! {
            biased;
            error = journal_failed(&mut self.failed) => Input::Failed(error),
            () = self.signals.end.cancelled() => Input::End,
            () = self.signals.shut_down.cancelled(), if !self.shut_down => Input::ShutDown,
            () = self.desk.queue.arrived() => Input::Commands,
            why = alarm(now, deadline) => Input::Deadline(why),
        }
    }

    /// One turn: everything that has arrived (up to a limit), then timers, then one frame.
    fn turn(&mut self, began_by: &'static str, first: Option<Command>) -> Result<(), JournalError> {
        let began = self.clock.read();
        let now = began.now;
        let late_ms = self.listening.late_ms(now);
        self.listening.turn_began = now;
        self.measure_begin(began_by, late_ms);

        let mut turn = Turn::default();
        if late_ms > 0 {
            // Before what arrived meanwhile: whoever speaks now is heard after the lateness.
            self.engine
                .step(now, Command::Late { ms: late_ms }, &mut turn);
        }
        if let Some(command) = first {
            self.engine.step(now, command, &mut turn);
        }
        let mut commands = std::mem::take(&mut self.commands);
        self.desk
            .queue
            .take(limits::COMMANDS_PER_TURN_MAX, &mut commands);
        for command in commands.drain(..) {
            if self.is_wanted(&command) {
                self.engine.step(now, command, &mut turn);
            }
        }
        self.commands = commands;
        self.tick(now, &mut turn);

        let Turn { events, effects } = turn;
        if !(events.is_empty() && effects.is_empty()) {
            self.journal.append(Frame {
                records: events,
                release: effects,
                opens_segment: false,
            })?;
        }
        self.measure_end(began);
        Ok(())
    }

    /// A call whose caller left before its turn is not carried out: nobody would hear the answer.
    fn is_wanted(&self, command: &Command) -> bool {
        if let Command::Call { request, .. } = command {
            return self.desk.is_awaited(*request);
        }
        true
    }

    /// Tells the engine that time has passed, where it asked for that.
    fn tick(&mut self, now: Timestamp, turn: &mut Turn) {
        let due = self
            .engine
            .next_deadline()
            .filter(|deadline| deadline.at <= now);
        if let Some(deadline) = due.filter(|deadline| deadline.why == Why::Timer) {
            let lag = Duration::from_millis(now.since_ms(deadline.at));
            self.desk.telemetry.timer_lag.record(lag);
        }
        if due.is_some() {
            self.engine.step(now, Command::Tick, turn);
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

impl Listening {
    /// How long nobody was listening before a turn that begins now; 0 where it was no longer than
    /// usual. In engine time, so that sleep of the machine and steps of its clock count too.
    fn late_ms(&self, now: Timestamp) -> u64 {
        let overslept_ms = self.planned.map_or(0, |planned| now.since_ms(planned));
        let late_ms = overslept_ms.max(self.deaf_ms);
        if late_ms > LATE_MS_MAX { late_ms } else { 0 }
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
