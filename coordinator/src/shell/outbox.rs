//! The outbox: performs effects that the journal has released.
//!
//! Owns the way from an effect to whoever waits for it. Never holds anything back: what arrives
//! here may be told (I2). Invariants: what one release has for one stream is one wake-up of it; the
//! order of what a stream is told is the order of the effects; nothing is performed after the
//! journal has failed.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;

use super::desk::{Desk, Post};
use super::inbox::Told;
use crate::engine::command::Command;
use crate::engine::effect::{Effect, Notice, ToWorker};
use crate::engine::ids::LinkId;
use crate::engine::rejection::Rejection;
use crate::journal::{JournalError, Sink};

/// Performs released effects, in the journal's thread.
pub(crate) struct Outbox {
    desk: Arc<Desk>,
    failure: watch::Sender<Option<JournalError>>,
}

impl Outbox {
    /// An outbox, and where the news of the journal's failure arrives.
    pub(crate) fn new(desk: Arc<Desk>) -> (Self, watch::Receiver<Option<JournalError>>) {
        let (failure, failed) = watch::channel(None);
        (Self { desk, failure }, failed)
    }

    fn tell(&self, link: LinkId, messages: Vec<ToWorker>) {
        let count = messages.len();
        if self.desk.post(link, Told::Messages(messages)) == Post::Cut {
            self.desk.telemetry.links_cut.increment(1);
            tracing::warn!(
                link = link.0,
                messages = count,
                "a worker stream reads too slowly and was cut; the worker reconnects and resumes",
            );
        }
    }

    fn close(&self, link: LinkId, why: Option<Rejection>) {
        // Where it does not fit, the end of the channel says the same without the reason.
        self.desk.post(link, Told::Close(why.map(Box::new)));
        self.desk.close_link(link);
    }
}

impl Sink<Vec<Effect>> for Outbox {
    fn release(&mut self, effects: Vec<Effect>) {
        if self.failure.borrow().is_some() {
            return;
        }
        let mut told: BTreeMap<LinkId, Vec<ToWorker>> = BTreeMap::new();
        let mut notices: Vec<Arc<Notice>> = Vec::new();
        for effect in effects {
            match effect {
                Effect::Reply { request, reply } => self.desk.reply(request, reply),
                Effect::Tell { link, message } => told.entry(link).or_default().push(message),
                Effect::CloseLink { link, why } => {
                    if let Some(messages) = told.remove(&link) {
                        self.tell(link, messages);
                    }
                    self.close(link, why);
                }
                Effect::Forward(transfer) => {
                    self.desk.queue.push_reserved(Command::Transfer(transfer));
                }
                Effect::Notice(notice) => {
                    self.desk.telemetry.notice(&notice);
                    notices.push(remembered(notice));
                }
            }
        }
        for (link, messages) in told {
            self.tell(link, messages);
        }
        self.desk.notices.add(notices.into_iter());
    }

    fn failed(&mut self, error: JournalError) {
        self.failure.send_replace(Some(error));
    }
}

/// The part of a notice that watchers are shown: a failure without its stack, which would make the
/// ring's memory large.
fn remembered(mut notice: Box<Notice>) -> Arc<Notice> {
    notice.failure = notice.failure.map(|failure| failure.for_history());
    Arc::from(notice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::limits;
    use crate::shell::inbox::Inbox;
    use crate::shell::testing::{desk, notice, reply_effect};

    fn ping(link: LinkId, nonce: u64) -> Effect {
        Effect::Tell {
            link,
            message: ToWorker::Ping { nonce },
        }
    }

    fn nonces(told: &Told) -> Vec<u64> {
        let Told::Messages(messages) = told else {
            panic!("not messages: {told:?}")
        };
        let nonce = |message: &ToWorker| match message {
            ToWorker::Ping { nonce } => *nonce,
            ToWorker::Welcome(_)
            | ToWorker::Delivery(_)
            | ToWorker::Acks(_)
            | ToWorker::Beats(_)
            | ToWorker::Cancel { .. }
            | ToWorker::Timeouts { .. }
            | ToWorker::Drain { .. }
            | ToWorker::Reconnect { .. }
            | ToWorker::Refused(_) => panic!("not sent here: {message:?}"),
        };
        messages.iter().map(nonce).collect()
    }

    #[tokio::test]
    async fn a_release_wakes_each_stream_once_with_all_it_has_for_it_in_order() {
        let desk = desk();
        let inbox = Inbox::new(Arc::clone(&desk));
        let (mut outbox, _failed) = Outbox::new(desk);
        let (mut one, mut two) = (inbox.open_link().unwrap(), inbox.open_link().unwrap());

        outbox.release(vec![
            ping(one.id, 1),
            ping(two.id, 2),
            ping(one.id, 3),
            ping(two.id, 4),
        ]);

        assert_eq!(nonces(&one.told.try_recv().unwrap()), [1, 3]);
        assert_eq!(nonces(&two.told.try_recv().unwrap()), [2, 4]);
        assert!(one.told.try_recv().is_err() && two.told.try_recv().is_err());
    }

    #[tokio::test]
    async fn a_stream_is_closed_behind_what_it_was_told_and_the_engine_hears_of_it_once() {
        let desk = desk();
        let inbox = Inbox::new(Arc::clone(&desk));
        let (mut outbox, _failed) = Outbox::new(Arc::clone(&desk));
        let mut link = inbox.open_link().unwrap();

        let why = Some(Rejection::ShuttingDown);
        outbox.release(vec![
            ping(link.id, 1),
            Effect::CloseLink { link: link.id, why },
        ]);

        assert_eq!(nonces(&link.told.recv().await.unwrap()), [1]);
        let closed = link.told.recv().await.unwrap();
        assert!(
            matches!(&closed, Told::Close(Some(why)) if **why == Rejection::ShuttingDown),
            "{closed:?}"
        );
        assert!(link.told.recv().await.is_none());
        let id = link.id;
        drop(link);
        let mut commands = Vec::new();
        desk.queue.take(10, &mut commands);
        assert!(
            matches!(commands[..], [Command::LinkClosed { link }] if link == id),
            "{commands:?}"
        );
    }

    #[tokio::test]
    async fn a_stream_that_reads_too_slowly_is_cut_and_the_others_are_not() {
        let desk = desk();
        let inbox = Inbox::new(Arc::clone(&desk));
        let (mut outbox, _failed) = Outbox::new(Arc::clone(&desk));
        let (mut slow, mut quick) = (inbox.open_link().unwrap(), inbox.open_link().unwrap());

        let releases = limits::LINK_MESSAGES_MAX as u64 + 1;
        for nonce in 0..releases {
            outbox.release(vec![ping(slow.id, nonce), ping(quick.id, nonce)]);
            assert_eq!(nonces(&quick.told.try_recv().unwrap()), [nonce]);
        }

        let mut read = 0;
        while slow.told.recv().await.is_some() {
            read += 1;
        }
        assert_eq!(
            read,
            limits::LINK_MESSAGES_MAX,
            "what was on its way, then the end"
        );
        assert!(
            slow.say(Command::LinkClosed { link: slow.id })
                .await
                .is_err()
        );
        assert_eq!(
            desk.queue.len(),
            1,
            "the engine is told that the stream is gone"
        );
        assert!(
            desk.telemetry
                .render()
                .contains("redrive_links_cut_total 1")
        );
    }

    #[tokio::test]
    async fn nothing_is_performed_after_the_journal_has_failed() {
        let desk = desk();
        let inbox = Inbox::new(Arc::clone(&desk));
        let (mut outbox, failed) = Outbox::new(Arc::clone(&desk));
        let mut link = inbox.open_link().unwrap();
        let (request, mut replied) = desk.await_reply();
        let mut watch = inbox.watch(None).unwrap();

        outbox.failed(JournalError {
            act: "sync".to_owned(),
            cause: "no disk".to_owned(),
        });
        outbox.release(vec![
            ping(link.id, 1),
            reply_effect(request),
            Effect::Notice(Box::new(notice(1))),
        ]);

        assert!(failed.borrow().is_some());
        assert!(link.told.try_recv().is_err());
        assert!(replied.try_recv().is_err());
        assert!(futures::FutureExt::now_or_never(watch.next()).is_none());
    }

    #[tokio::test]
    async fn watchers_see_failures_without_stacks() {
        let desk = desk();
        let inbox = Inbox::new(Arc::clone(&desk));
        let (mut outbox, _failed) = Outbox::new(desk);
        let mut watch = inbox.watch(None).unwrap();
        let mut noticed = notice(7);
        let class = crate::engine::failure::FailureClass::Network;
        let mut failure = crate::engine::failure::Failure::new(class, "refused");
        failure.stack = "main.rs:1".into();
        noticed.failure = Some(failure);

        outbox.release(vec![Effect::Notice(Box::new(noticed))]);

        let (notices, cursor) = watch.next().await.unwrap();
        let shown = notices[0].failure.as_ref().unwrap();
        assert_eq!((&*shown.message, &*shown.stack, cursor), ("refused", "", 1));
    }
}
