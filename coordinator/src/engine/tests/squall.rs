//! A squall within the storm: keys, requests, terms, kinds, edits and heartbeats at random.
//!
//! Owns the values, few of each so that they collide, and what producers and requests were promised:
//! what is sent again while it is remembered is the same task. What is done with them is `stress`.

use std::collections::BTreeMap;
use std::sync::Arc;

use rand::RngExt;

use super::storm::{HARD_MS_MIN, Storm};
use super::stress::KINDS;
use super::world::plain_policy;
use crate::engine::command::{
    Call, Caller, Cancel, CancelMode, Enqueue, Heartbeat, HeartbeatContent, Malformed, NewKeys,
    NewUnique, OnConflict, Once, Producer, Start, TaskChange, TaskRef,
};
use crate::engine::effect::{Answer, EnqueueEffect};
use crate::engine::ids::{LeaseToken, RequestId, TaskId, Timestamp};
use crate::engine::ledger::kind::{KindName, KindSettings};
use crate::engine::ledger::more::Scope;
use crate::engine::ledger::task::{Payload, Priority, Timeouts};
use crate::engine::ledger::terms::{DeliveryMode, FollowUps, Template, Terms};
use crate::engine::limits;
use crate::engine::retry::PolicyRef;

/// What a place of a request, or a sequence of a producer, became, and until when that holds.
#[derive(Default)]
pub(super) struct Promises {
    asked: BTreeMap<RequestId, (String, Vec<u64>, u64)>,
    made: BTreeMap<(String, u64), (TaskId, Timestamp)>,
}

impl Promises {
    pub(super) fn answered(&mut self, request: RequestId, answer: &Answer, now: Timestamp) {
        let Some((under, places, ttl_ms)) = self.asked.remove(&request) else {
            return;
        };
        let Answer::Enqueued(results) = answer else {
            panic!("an enqueue is answered item by item: {answer:?}")
        };
        for (place, result) in places.into_iter().zip(results) {
            let Ok(accepted) = result else { continue };
            let key = (under.clone(), place);
            let made = self.made.get(&key).filter(|(_, until)| *until > now);
            if let Some((id, _)) = made {
                assert_eq!(*id, accepted.id, "rule 8: {key:?} is one task");
            } else if accepted.how != EnqueueEffect::Existing {
                // What was there may have been promised for less by an answer that was lost.
                self.made.insert(key, (accepted.id, now.plus_ms(ttl_ms)));
            }
        }
    }

    /// Who asked before a restart gets no answer.
    pub(super) fn restarted(&mut self) {
        self.asked.clear();
    }
}

impl Storm {
    fn maybe<T>(&mut self, one_in: u64, value: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.one_in(one_in).then(|| value(self))
    }

    fn one_of<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.rng.random_range(0..from.len())]
    }

    fn key(&mut self) -> Arc<str> {
        format!("k{}", self.below(4)).into()
    }

    fn caller_of(&mut self, digest: u64) -> (Caller, String, u64) {
        let id = format!("r{}", self.below(6));
        let ttl_ms = self.one_of(&[1000, 20_000, 90_000]);
        let once = Once {
            namespace: "default".into(),
            id: id.as_str().into(),
            ttl_ms,
            digest,
        };
        let caller = Caller {
            by: "ann".into(),
            once: Some(Box::new(once)),
        };
        (caller, format!("{id} {digest}"), ttl_ms)
    }

    /// Who changes something: sometimes with a request id.
    pub(super) fn caller(&mut self) -> Caller {
        if self.one_in(3) {
            let digest = 10 + self.below(2);
            self.caller_of(digest).0
        } else {
            Caller::default()
        }
    }

    /// Tasks, sometimes with a request id, sometimes of a producer that sends some again.
    pub(super) fn enqueue(&mut self) {
        let count = self.below(8) + 1;
        let tasks = (0..count).map(|_| self.new_task()).collect();
        let mut enqueue = Enqueue {
            namespace: "default".into(),
            tasks,
            producer: None,
        };
        let mut caller = Caller::default();
        self.next += 1;
        let request = RequestId(self.next);
        match self.below(4) {
            0 => {
                let id = format!("p{}", self.below(3));
                let sequences: Vec<u64> = (0..count).map(|_| self.below(200)).collect();
                let asked = (id.clone(), sequences.clone(), limits::PRODUCER_TTL_MS);
                self.promises.asked.insert(request, asked);
                let id = id.as_str().into();
                enqueue.producer = Some(Producer { id, sequences });
            }
            1 => {
                let digest = self.below(2);
                let (with_id, under, ttl_ms) = self.caller_of(digest);
                caller = with_id;
                let places = (0..count).collect();
                self.promises.asked.insert(request, (under, places, ttl_ms));
            }
            _ => {}
        }
        self.call_with(request, caller, Call::Enqueue(enqueue));
    }

    pub(super) fn keys(&mut self) -> Option<Box<NewKeys>> {
        let key = self.maybe(4, Self::key);
        let unique = self.maybe(3, |storm| NewUnique {
            key: format!("u{}", storm.below(2)).into(),
            scope: Scope {
                waiting: !storm.one_in(4),
                running: storm.one_in(2),
                dead: storm.one_in(3),
                finished: storm.one_in(4),
            },
            on_conflict: storm.one_of(&[
                OnConflict::ReturnExisting,
                OnConflict::Reject,
                OnConflict::ReplaceWaiting,
                OnConflict::RescheduleWaiting,
            ]),
            postpone_max_ms: storm.maybe(2, |storm| storm.one_of(&[0, 4000, 100_000])),
        });
        (key.is_some() || unique.is_some()).then(|| {
            Box::new(NewKeys {
                key,
                window_ms: self.one_of(&[1000, 20_000, 200_000]),
                digest: self.below(2),
                unique,
            })
        })
    }

    fn payload(&mut self) -> Payload {
        let content_type = self.maybe(2, |_| "application/json".into());
        let data = self.one_of(&["", "{}", "{\"a\": [1, 2.5, null]}", "no json"]);
        let data = bytes::Bytes::from_static(data.as_bytes());
        Payload { data, content_type }
    }

    pub(super) fn any_template(&mut self) -> Template {
        Template {
            queue: self.maybe(2, Self::queue),
            kind: self.one_of(&KINDS).into(),
            payload: self.payload(),
            priority: self.one_of(&[Priority::Highest, Priority::Normal]),
            delay_ms: self.one_of(&[0, 0, 2000]),
            version: self.version(),
            labels: vec![("made".into(), "later".into())],
        }
    }

    pub(super) fn version(&mut self) -> u32 {
        self.one_of(&[0, 0, 0, 1, 2])
    }

    pub(super) fn any_terms(&mut self) -> Terms {
        let follow = |storm: &mut Self| storm.maybe(8, |storm| Box::new(storm.any_template()));
        Terms {
            ttl_ms: self.maybe(5, |storm| storm.one_of(&[1, 500, 3000, 40_000])),
            deadline_ms: self.maybe(5, |storm| storm.one_of(&[1, 2000, 20_000, 100_000])),
            result_ttl_ms: self.maybe(4, |storm| storm.one_of(&[0, 1000, 900_000])),
            delivery: self.maybe(4, |storm| {
                storm.one_of(&[DeliveryMode::AtLeastOnce, DeliveryMode::AtMostOnce])
            }),
            follow_ups: FollowUps {
                on_success: follow(self),
                on_failure: follow(self),
                on_exhausted: follow(self),
                on_cancelled: follow(self),
            },
        }
    }

    pub(super) fn timeouts(&mut self) -> Timeouts {
        let hard_ms = HARD_MS_MIN + self.below(3) * 10_000;
        Timeouts {
            soft_ms: self.maybe(2, |storm| storm.below(HARD_MS_MIN) + 1),
            hard_ms: self.maybe(2, |_| hard_ms),
            extend_max_ms: self.maybe(3, |_| hard_ms + 5000),
        }
    }

    pub(super) fn kind_settings(&mut self) -> KindSettings {
        KindSettings {
            queue: self.maybe(2, Self::queue),
            policy: self.maybe(3, |_| PolicyRef::Inline(plain_policy(2).into())),
            timeouts: self.maybe(3, Self::timeouts),
            max_attempts: self.maybe(3, |storm| storm.one_of(&[1, 2])),
            dead_letter_queue: self.maybe(4, Self::queue),
            terms: self.maybe(2, |storm| Box::new(storm.any_terms())),
        }
    }

    pub(super) fn about_kinds(&mut self) -> Call {
        let kind = self.one_of(&KINDS);
        let name = KindName::new("default", kind).unwrap();
        match self.below(5) {
            0..=2 => Call::SetKind {
                name,
                settings: Box::new(self.kind_settings()),
            },
            3 => Call::DeleteKind(name),
            _ => Call::ListKinds {
                namespace: "default".into(),
                after: self.maybe(2, |_| name),
                count_max: 2,
            },
        }
    }

    /// A task by its id, or by a key that it may have.
    pub(super) fn task_ref(&mut self, id: TaskId) -> TaskRef {
        if self.one_in(3) {
            let (queue, key) = (self.queue(), self.key());
            TaskRef::Key { queue, key }
        } else {
            TaskRef::Id(id)
        }
    }

    pub(super) fn cancel(&mut self) -> Cancel {
        let grace_ms = self.maybe(2, |storm| storm.one_of(&[0, 700, 60_000]));
        let mode = self.one_of(&[
            CancelMode::IfWaiting,
            CancelMode::Cooperative { grace_ms },
            CancelMode::Force,
        ]);
        let reason = "enough".into();
        Cancel { mode, reason }
    }

    pub(super) fn change(&mut self) -> Box<TaskChange> {
        Box::new(TaskChange {
            timeouts: self.maybe(2, Self::timeouts),
            payload: self.maybe(3, Self::payload),
            priority: self.maybe(3, |storm| storm.one_of(&[Priority::Highest, Priority::Low])),
            start: self.maybe(3, |storm| Start::After {
                delay_ms: storm.one_of(&[0, 1500, 50_000]),
            }),
            max_attempts: self.maybe(4, |storm| storm.one_of(&[0, 1, 5])),
            reason: "so".into(),
        })
    }

    /// Heartbeats of these runs, or of any.
    pub(super) fn beats(&mut self, from: &[LeaseToken]) -> Vec<Heartbeat> {
        let count = self.below(4);
        let tokens = (0..count).filter_map(|_| {
            let any = self.tokens.clone();
            self.pick(from).or_else(|| self.pick(&any))
        });
        let tokens: Vec<LeaseToken> = tokens.collect();
        tokens.into_iter().map(|token| self.beat(token)).collect()
    }

    fn beat(&mut self, token: LeaseToken) -> Heartbeat {
        let raw_token = bytes::Bytes::copy_from_slice(&token.to_bytes());
        let content = HeartbeatContent {
            token,
            progress: self.maybe(2, |storm| (storm.below(9), 9, "on it".into())),
            checkpoint: self.maybe(2, |storm| Payload {
                data: vec![7; storm.rng.random_range(0..300)].into(),
                content_type: None,
            }),
            timeouts: self.maybe(3, Self::timeouts),
        };
        let malformed = Malformed {
            field: "progress".to_owned(),
            problem: "is none".to_owned(),
        };
        let content = if self.one_in(9) {
            Err(malformed)
        } else {
            Ok(content)
        };
        Heartbeat { raw_token, content }
    }
}
