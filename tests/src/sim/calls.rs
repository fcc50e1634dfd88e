//! Calls on their way to the coordinator, and their answers.
//!
//! Owns what the network does to them: it delays, drops and repeats. Invariant: each operation of a
//! client has one answer, or the word that there is none.

use std::collections::BTreeMap;

use redrive_coordinator::engine::command::{Call, Caller, Command};
use redrive_coordinator::engine::effect::Answer;
use redrive_coordinator::engine::ids::RequestId;
use redrive_coordinator::engine::rejection::Rejection;

use super::situations::Situation;
use super::world::{Arriving, Due, Who, World};

/// How long a client waits for an answer that never comes, at most. Microseconds.
const PATIENCE_US: u64 = 4_000_000;

impl World {
    /// Somebody calls. There will be exactly one answer, or the word that there is none.
    pub(super) fn call(&mut self, who: Who, caller: Caller, call: Call) -> u64 {
        let operation = self.fresh();
        self.operations.insert(operation, who);
        let cut = self.partition_us > self.now_us();
        if cut || self.befalls(self.plan.lose) {
            self.saw(Situation::CallLost);
            self.nobody_answers(operation);
            return operation;
        }
        if self.befalls(self.plan.repeat) {
            self.saw(Situation::CallRepeated);
            let us = self.net_us() * 3;
            let again = Arriving::Call(operation, caller.clone(), call.clone());
            self.agenda.after(us, Due::Arrive(self.life, again));
        }
        let us = self.net_us();
        let arriving = Arriving::Call(operation, caller, call);
        self.agenda.after(us, Due::Arrive(self.life, arriving));
        operation
    }

    pub(super) fn nobody_answers(&mut self, operation: u64) {
        let us = self.dice.between(PATIENCE_US / 8, PATIENCE_US);
        self.agenda.after(us, Due::Answer(operation, None));
    }

    pub(super) fn answer(&mut self, operation: u64, reply: Option<Result<Answer, Rejection>>) {
        let Some(who) = self.operations.remove(&operation) else {
            return;
        };
        match who {
            Who::Producer(index) => self.producer_hears(index, reply),
            Who::Unary(index) => self.unary_hears(index, reply),
            Who::Operator(index) => self.operator_hears(index, reply),
            Who::Cleaner(place) => self.cleaner_hears(place, reply),
            Who::Worker(_) | Who::Helper => {}
        }
    }

    pub(super) fn arrive(&mut self, life: u32, what: Arriving) {
        let reaches = life == self.life && self.server.is_some();
        match what {
            Arriving::Call(operation, caller, call) => {
                if !self.operations.contains_key(&operation) {
                    return;
                }
                if !reaches {
                    // Nothing is there, or another one than was called.
                    self.saw(Situation::CallToNobody);
                    self.agenda.after(200, Due::Answer(operation, None));
                    return;
                }
                let request = RequestId(self.fresh());
                self.calls.insert(request, operation);
                self.give(Command::Call {
                    request,
                    caller,
                    call,
                });
            }
            Arriving::Hangup(operation) => {
                let mut calls = self.calls.iter();
                let found = calls.find(|(_, of)| **of == operation).map(|(id, _)| *id);
                if let Some(request) = found.filter(|_| reaches) {
                    self.saw(Situation::Hangup);
                    self.calls.remove(&request);
                    self.judge.hung_up(request);
                    self.give(Command::Hangup { request });
                }
                self.answer(operation, None);
            }
            Arriving::Link(link, command) => {
                let open = self.links.get(&link).is_some_and(|link| link.far);
                if reaches && open {
                    if let Command::LinkClosed { .. } = command {
                        self.link_ended(link);
                    }
                    self.give(command);
                } else if open {
                    self.break_link(link);
                }
            }
        }
    }

    /// The coordinator has a command: a turn follows.
    pub(super) fn give(&mut self, command: Command) {
        if let Some(server) = &mut self.server {
            server.take(command);
            self.plan_turn(0);
        }
    }
}

/// A call whose caller has left is not carried out.
pub(super) fn is_wanted(calls: &BTreeMap<RequestId, u64>, command: &Command) -> bool {
    if let Command::Call { request, .. } = command {
        return calls.contains_key(request);
    }
    true
}
