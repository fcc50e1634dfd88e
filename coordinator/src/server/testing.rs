//! An engine made of one closure, behind the real inbox. Of tests only, and never in a product.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::edge::Edge;
use crate::engine::command::{Call, Caller, Command};
use crate::engine::effect::{Answer, Effect};
use crate::engine::rejection::Rejection;
use crate::journal::Sink as _;
use crate::shell::inbox::Inbox;
use crate::shell::testing::desk;
use crate::shell::{Desk, Outbox};

/// An engine that answers calls by a closure and keeps every other command for the test.
pub(crate) struct Engine {
    pub(crate) desk: Arc<Desk>,
    _serving: JoinSet<()>,
}

impl Engine {
    /// An engine that answers nothing.
    pub(crate) fn silent() -> Self {
        Self {
            desk: desk(),
            _serving: JoinSet::new(),
        }
    }

    /// An engine that answers calls like this.
    pub(crate) fn answering(
        mut answer: impl FnMut(Call) -> Result<Answer, Rejection> + Send + 'static,
    ) -> Self {
        Self::answering_callers(move |_, call| answer(call))
    }

    /// An engine that answers calls like this, and hears who asks.
    pub(crate) fn answering_callers(
        mut answer: impl FnMut(Caller, Call) -> Result<Answer, Rejection> + Send + 'static,
    ) -> Self {
        let engine = Self::silent();
        let desk = Arc::clone(&engine.desk);
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            loop {
                for command in commands(&desk).await {
                    if let Command::Call {
                        request,
                        caller,
                        call,
                    } = command
                    {
                        desk.reply(request, answer(caller, call));
                    }
                }
            }
        });
        Self {
            desk: engine.desk,
            _serving: serving,
        }
    }

    /// The services' way in.
    pub(crate) fn edge(&self) -> Edge {
        let inbox = Inbox::new(Arc::clone(&self.desk));
        let facts = Arc::new(inbox.facts().clone());
        Edge { inbox, facts }
    }

    /// The next commands, as soon as there are some.
    pub(crate) async fn commands(&self) -> Vec<Command> {
        commands(&self.desk).await
    }

    /// Lets effects leave.
    pub(crate) fn release(&self, effects: Vec<Effect>) {
        let (mut outbox, _failed) = Outbox::new(Arc::clone(&self.desk));
        outbox.release(effects);
    }
}

async fn commands(desk: &Desk) -> Vec<Command> {
    desk.queue.arrived().await;
    let mut commands = Vec::new();
    desk.queue.take(usize::MAX, &mut commands);
    commands
}
