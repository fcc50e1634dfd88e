//! The calls of an enqueue stream, one after the other: each carries what is unacknowledged.
//!
//! Batches what is there when the transport asks for more, so that a lone task leaves at once and a
//! flood leaves in full messages. Calls again after a cut, with jittered pauses, until nothing was
//! heard for the client's deadline while tasks wait; items refused by a coordinator that goes away
//! are a cut. Idle streams are not kept open after a cut: the next task opens one.

use std::{future::Future, pin::pin, sync::Arc, time::Duration};

use futures::stream;
use redrive_proto::v1::{self, task_service_client::TaskServiceClient};
use tokio::time::{Instant, timeout};
use tonic::{Code, Request, transport::Channel};

use super::{
    EnqueueTotals,
    ledger::{Load, Shared},
};
use crate::{
    call::{Again, Caller, Effect},
    clock,
    error::{CallFailure, Error, Verdict},
    limits::ACK_SILENCE_MAX,
};

/// Carries everything until the stream has ended, and answers the tickets that are left then.
pub(super) async fn drive(
    stub: TaskServiceClient<Channel>,
    shared: Arc<Shared>,
    caller: Caller,
) -> Result<EnqueueTotals, Error> {
    let ended = carry(stub, &shared, &caller).await;
    shared.close(ended)
}

async fn carry(
    stub: TaskServiceClient<Channel>,
    shared: &Arc<Shared>,
    caller: &Caller,
) -> Result<(), Error> {
    let mut backoff = caller.backoff();
    let mut give_up: Option<Instant> = None;
    loop {
        if !shared.ledger().owes() {
            give_up = None;
            if until_needed(shared).await == Need::Done {
                return Ok(());
            }
        }
        let mut call = Call {
            shared,
            caller,
            give_up,
        };
        let verdict = match call.carry(stub.clone()).await {
            // Nothing is owed: the next task calls again.
            Ok(()) => continue,
            Err(verdict) => verdict,
        };
        if call.give_up.is_none() {
            backoff.reset();
        }
        let until = call
            .give_up
            .unwrap_or_else(|| clock::now() + caller.deadline);
        give_up = Some(until);
        match caller
            .pause_before_retry(Effect::NamedChange, &verdict, &mut backoff, until)
            .await
        {
            Again::Yes => {}
            Again::No if !shared.ledger().owes() && is_cut(&verdict) => {}
            Again::No => return Err(caller.error(Effect::NamedChange, verdict)),
        }
    }
}

/// True where the call ended without a word of the coordinator.
fn is_cut(verdict: &Verdict) -> bool {
    match verdict {
        Verdict::NotConnected(_) => true,
        Verdict::Unclear(failure) => failure.code == Code::Unavailable,
        Verdict::Refused(_) => false,
    }
}

/// Whether a call is needed.
#[derive(Debug, PartialEq, Eq)]
enum Need {
    Call,
    Done,
}

async fn until_needed(shared: &Shared) -> Need {
    loop {
        let mut work = pin!(shared.work.notified());
        work.as_mut().enable();
        {
            let ledger = shared.ledger();
            if ledger.is_done() {
                return Need::Done;
            } else if ledger.owes() {
                return Need::Call;
            }
        }
        work.await;
    }
}

/// One call.
struct Call<'a> {
    shared: &'a Arc<Shared>,
    caller: &'a Caller,
    /// When to give up, unless something is heard before.
    give_up: Option<Instant>,
}

impl Call<'_> {
    /// Carries tasks until the call ends; well only where nothing is owed then.
    async fn carry(&mut self, mut stub: TaskServiceClient<Channel>) -> Result<(), Verdict> {
        let outgoing = Outgoing {
            shared: Arc::clone(self.shared),
            call: self.shared.ledger().begin_call(),
        };
        let mut request = Request::new(stream::unfold(outgoing, Outgoing::next));
        self.caller.sign(&mut request);
        let answer = self.unless_silent(stub.enqueue_stream(request)).await?;
        let mut answers = answer.map_err(|status| Verdict::of(&status))?.into_inner();
        loop {
            let answer = self.unless_silent(answers.message()).await?;
            match answer.map_err(|status| Verdict::of(&status))? {
                Some(batch) => self.acknowledged(batch.acks)?,
                None => return self.ended_well(),
            }
        }
    }

    /// Takes acknowledgements. One with which the coordinator goes away cuts the call, and is
    /// nothing heard: its task is sent again.
    fn acknowledged(&mut self, acks: Vec<v1::EnqueueAck>) -> Result<(), Verdict> {
        let mut ledger = self.shared.ledger();
        let mut goes_away = None;
        for ack in acks {
            match ledger.acknowledge(ack) {
                Some(failure) => goes_away = Some(failure),
                None => self.give_up = None,
            }
        }
        goes_away.map_or(Ok(()), |failure| Err(Verdict::Unclear(failure)))
    }

    fn ended_well(&self) -> Result<(), Verdict> {
        match self.shared.ledger().owed() {
            0 => Ok(()),
            owed => Err(cut(format!(
                "the stream ended with {owed} tasks unacknowledged"
            ))),
        }
    }

    /// Waits for `answer` while the stream is not silent with tasks unacknowledged.
    async fn unless_silent<T>(&self, answer: impl Future<Output = T>) -> Result<T, Verdict> {
        let mut answer = pin!(answer);
        loop {
            let owed = self.shared.ledger().owes();
            let most = self.silence_max();
            match timeout(most, &mut answer).await {
                Ok(answer) => return Ok(answer),
                Err(_elapsed) if owed => {
                    return Err(cut(format!("no acknowledgement came for {most:?}")));
                }
                Err(_elapsed) => {}
            }
        }
    }

    fn silence_max(&self) -> Duration {
        match self.give_up {
            Some(until) => ACK_SILENCE_MAX.min(until.saturating_duration_since(clock::now())),
            None => ACK_SILENCE_MAX,
        }
    }
}

fn cut(message: String) -> Verdict {
    Verdict::Unclear(CallFailure::new(Code::Unavailable, message))
}

/// The messages of one call, made when the transport asks for one.
struct Outgoing {
    shared: Arc<Shared>,
    call: u64,
}

impl Outgoing {
    async fn next(self) -> Option<(v1::EnqueueStreamRequest, Self)> {
        let items = self.items().await?;
        let request = v1::EnqueueStreamRequest {
            namespace: self.shared.namespace.clone(),
            items,
            producer_id: self.shared.producer_id.clone(),
        };
        Some((request, self))
    }

    async fn items(&self) -> Option<Vec<v1::EnqueueItem>> {
        loop {
            let mut work = pin!(self.shared.work.notified());
            work.as_mut().enable();
            let load = self.shared.ledger().load(self.call);
            match load {
                Load::Items(items) => return Some(items),
                Load::End => return None,
                Load::Nothing => work.await,
            }
        }
    }
}
