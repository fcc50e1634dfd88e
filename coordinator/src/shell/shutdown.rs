//! The order in which a coordinator goes down, and the deadline it keeps.
//!
//! Owns the order: not ready; the engine stops granting and sends workers away, whose streams end
//! from this side; the server has gone quiet, or is cut off; the journal is flushed; the engine's
//! thread has ended. Never waits for a client without a deadline: connections that do not end by
//! themselves are known to exist (hyper issue 4170).

use std::future::Future;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::driver::Signals;
use super::thread::EngineEnded;

/// Of five parts of the deadline, the clients get so many; the rest is for the journal.
const CLIENTS_FIFTHS: u32 = 4;

/// Where a coordinator stands between start and stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Not ready yet.
    Starting,
    /// Ready for everything.
    Ready,
    /// On its way out.
    Stopping,
}

/// Why a coordinator did not go down well.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StopError {
    /// The engine ended before it was told to, or its journal could not be closed.
    #[error(transparent)]
    Engine(#[from] EngineEnded),
    /// The journal was not flushed in time.
    #[error(
        "the journal was not flushed within {0:?} of the shutdown deadline; what was acknowledged \
         is as durable as promised; allow more time with --shutdown-deadline"
    )]
    Deadline(Duration),
}

/// What a coordinator is brought down with.
pub(crate) struct ShutDown<'a> {
    /// Who asks whether the coordinator is ready looks here.
    pub(crate) phase: &'a watch::Sender<Phase>,
    /// Ends the server: nothing new is accepted.
    pub(crate) server: &'a CancellationToken,
    /// The engine's.
    pub(crate) signals: &'a Signals,
    /// How long all of it may take.
    pub(crate) deadline: Duration,
}

impl ShutDown<'_> {
    /// Brings the coordinator down. `quiet` resolves when the server has ended after its token was
    /// cancelled; dropping it must cut off whatever is left of it. `ended` resolves when the engine
    /// has ended.
    ///
    /// # Errors
    /// Where the engine had failed, or its journal could not be flushed in time.
    pub(crate) async fn run(
        self,
        quiet: impl Future<Output = ()>,
        ended: impl Future<Output = Result<(), EngineEnded>>,
    ) -> Result<(), StopError> {
        self.phase.send_replace(Phase::Stopping);
        self.signals.shut_down.cancel();
        self.server.cancel();
        let for_clients = self.deadline / 5 * CLIENTS_FIFTHS;
        if tokio::time::timeout(for_clients, quiet).await.is_err() {
            tracing::warn!(
                waited = ?for_clients,
                "some clients did not let go of their connections in time and are cut off",
            );
        }
        self.signals.end.cancel();
        let for_journal = self.deadline.saturating_sub(for_clients);
        match tokio::time::timeout(for_journal, ended).await {
            Ok(ended) => Ok(ended?),
            Err(_elapsed) => Err(StopError::Deadline(for_journal)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::engine::command::{Command, FromWorker};
    use crate::engine::effect::{Effect, ToWorker};
    use crate::engine::ids::{LinkId, Timestamp};
    use crate::engine::{Deadline, Turn};
    use crate::shell::driver::Decides;
    use crate::shell::inbox::{Inbox, Told};
    use crate::shell::testing::{desk, memory_driver};

    /// Sends away every stream that ever spoke.
    #[derive(Default)]
    struct Polite(Vec<LinkId>);

    impl Decides for Polite {
        fn step(&mut self, _: Timestamp, command: Command, turn: &mut Turn) {
            if let Command::FromWorker { link, .. } = command {
                self.0.push(link);
                turn.effects.push(Effect::Tell {
                    link,
                    message: ToWorker::Ping { nonce: 1 },
                });
            } else if let Command::Shutdown = command {
                let close = |link| Effect::CloseLink { link, why: None };
                turn.effects.extend(self.0.drain(..).map(close));
            }
        }

        fn next_deadline(&self) -> Option<Deadline> {
            None
        }
    }

    fn parts() -> (watch::Sender<Phase>, CancellationToken, Signals) {
        (
            watch::Sender::new(Phase::Ready),
            CancellationToken::new(),
            Signals::default(),
        )
    }

    const DEADLINE: Duration = Duration::from_secs(25);

    #[tokio::test(start_paused = true)]
    async fn streams_are_ended_from_this_side_before_the_engine_ends() {
        let desk = desk();
        let inbox = Inbox::new(Arc::clone(&desk));
        let (phase, server, signals) = parts();
        let driver = memory_driver(Polite::default(), &desk, signals.clone());
        let mut link = inbox.open_link().unwrap();
        let clients = async {
            let message = FromWorker::Pong;
            link.say(Command::FromWorker {
                link: link.id,
                message,
            })
            .await
            .unwrap();
            assert!(matches!(link.told.recv().await, Some(Told::Messages(_))));
            let shut_down = ShutDown {
                phase: &phase,
                server: &server,
                signals: &signals,
                deadline: DEADLINE,
            };
            let quiet = async {
                server.cancelled().await;
                assert_eq!(*phase.borrow(), Phase::Stopping, "not ready comes first");
                assert!(matches!(link.told.recv().await, Some(Told::Close(None))));
                assert!(
                    !desk.queue.is_closed(),
                    "reports are taken while streams end"
                );
            };
            let engine_told_to_end = async {
                signals.end.cancelled().await;
                Ok(())
            };
            shut_down.run(quiet, engine_told_to_end).await
        };
        let (stopped, driven) = tokio::join!(clients, driver.run());
        assert_eq!((stopped, driven), (Ok(()), Ok(())));
        assert!(desk.queue.is_closed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_never_lets_go_does_not_hold_up_the_end() {
        let (phase, server, signals) = parts();
        let shut_down = ShutDown {
            phase: &phase,
            server: &server,
            signals: &signals,
            deadline: DEADLINE,
        };
        let engine = async {
            signals.end.cancelled().await;
            Ok(())
        };
        assert_eq!(shut_down.run(std::future::pending(), engine).await, Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_journal_that_is_not_flushed_in_time_is_told_as_such() {
        let (phase, server, signals) = parts();
        let shut_down = ShutDown {
            phase: &phase,
            server: &server,
            signals: &signals,
            deadline: DEADLINE,
        };
        let stopped = shut_down.run(async {}, std::future::pending()).await;
        assert_eq!(stopped, Err(StopError::Deadline(DEADLINE / 5)));
        assert!(
            stopped
                .unwrap_err()
                .to_string()
                .contains("--shutdown-deadline")
        );
    }

    #[tokio::test(start_paused = true)]
    async fn an_engine_that_has_failed_is_told_as_such() {
        let (phase, server, signals) = parts();
        let shut_down = ShutDown {
            phase: &phase,
            server: &server,
            signals: &signals,
            deadline: DEADLINE,
        };
        let stopped = shut_down
            .run(async {}, async { Err(EngineEnded::Panicked) })
            .await;
        assert_eq!(stopped, Err(StopError::Engine(EngineEnded::Panicked)));
    }
}
