//! Operators who cancel, redrive, pause and resume while the coordinator is killed.
//!
//! Owns what each has paused, and resumes it before it leaves. The client repeats its calls under
//! request ids, so that every answer is certain.

use crate::{
    Dice,
    history::{Cancelled, Fact, Recorder},
    make,
};
use redrive_client::{Cancel, Client, Error, v1 as pb};
use tokio::sync::watch;
use tonic::Code;

use super::words;
use super::{Context, OPERATORS, PATIENT, Phase, now, queue_of, work};

/// Queues that one has paused at once.
const PAUSED_MAX: usize = 2;

/// See the module.
pub(super) struct Operator {
    context: Context,
    client: Client,
    number: u64,
    dice: Dice,
    paused: Vec<String>,
}

impl Operator {
    /// Somebody who has done nothing yet.
    pub(super) fn new(context: Context, number: u64, dice: Dice) -> Self {
        let client = Client::lazy(&context.address.to_string()).unwrap();
        let client = client.with_deadline(PATIENT);
        Self {
            context,
            client: client.with_actor("ada@crash").unwrap(),
            number,
            dice,
            paused: Vec::new(),
        }
    }

    /// Operates until the load is over.
    pub(super) async fn run(mut self, phase: watch::Receiver<Phase>) {
        let mut beat = work::beat();
        while now(&phase) == Phase::Load {
            match self.dice.between(0, 100) {
                0..16 => self.cancel().await,
                16..30 => self.redrive().await,
                30..32 => self.pause().await,
                32..42 => self.resume().await,
                _ => {}
            }
            beat.tick().await;
        }
        while !self.paused.is_empty() {
            self.resume().await;
        }
    }

    async fn cancel(&mut self) {
        let Some(task_id) = self.context.any_task(&mut self.dice) else {
            return;
        };
        let how = match self.dice.between(0, 4) {
            0 => Cancel::cooperative(),
            1 => {
                Cancel::cooperative().grace(make::ms(self.dice.between(0, 300)).try_into().unwrap())
            }
            2 => Cancel::if_waiting(),
            _ => Cancel::force(),
        };
        self.context.history.note(Fact::CancelInvoked {
            task_id: task_id.clone(),
        });
        let answer = match self.client.cancel_with(&task_id, how).await {
            Ok(answer) => {
                let disposition = answer.disposition();
                let runs = answer.task.unwrap().runs;
                match disposition {
                    pb::CancelDisposition::Cancelled => Cancelled::Over { runs },
                    pb::CancelDisposition::Cancelling => Cancelled::Asked { runs },
                    pb::CancelDisposition::Unspecified => panic!("never answered: {disposition:?}"),
                }
            }
            Err(error) => {
                assert_refused(&error);
                Cancelled::Refused
            }
        };
        let ended = Fact::CancelEnded { task_id, answer };
        self.context.history.note(ended);
    }

    async fn redrive(&mut self) {
        let queue = queue_of(self.dice.any());
        let selection = self.client.select(&queue, "");
        let page = self.client.dead_letters_page(selection, 4, "").await;
        for task in page.unwrap().tasks {
            if self.dice.chance(500) {
                continue;
            }
            let task_id = task.task_id;
            self.context.history.note(Fact::RedriveInvoked {
                task_id: task_id.clone(),
            });
            let delay = make::ms(self.dice.between(0, 2) * 40).try_into().unwrap();
            let answer = self.client.redrive(&task_id, delay, "again").await;
            if let Err(error) = &answer {
                assert_refused(error);
            }
            let done = Some(answer.is_ok());
            self.context
                .history
                .note(Fact::RedriveEnded { task_id, done });
        }
    }

    async fn pause(&mut self) {
        // Each has queues of its own to pause: nobody ends another one's pause.
        let queue = queue_of(self.dice.any() / OPERATORS * OPERATORS + self.number);
        if self.paused.len() >= PAUSED_MAX || self.paused.contains(&queue) {
            return;
        }
        let answer = self.client.pause_queue(&queue, "a pause").await.unwrap();
        assert!(answer.paused, "{answer:?}");
        self.context.history.note(Fact::Paused {
            queue: queue.clone(),
            at_ms: words::ms(answer.pause_time),
        });
        self.paused.push(queue);
    }

    async fn resume(&mut self) {
        let Some(queue) = self.paused.pop() else {
            return;
        };
        self.context.history.note(Fact::Resuming {
            queue: queue.clone(),
            at_ms: Recorder::wall_ms(),
        });
        let answer = self.client.resume_queue(&queue).await.unwrap();
        assert!(!answer.paused, "{answer:?}");
    }
}

/// What ended in the meantime is refused; anything else leaves a fate open, which cannot be where
/// the client repeats itself.
fn assert_refused(error: &Error) {
    let failure = error.failure();
    let code = failure.map(|failure| failure.code);
    let refused = matches!(code, Some(Code::FailedPrecondition | Code::NotFound));
    assert!(refused && !error.is_outcome_unknown(), "{error}");
}
