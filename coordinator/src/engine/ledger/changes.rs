//! What people do to a task: cancel, edit, redrive.
//!
//! Owns how each changes the task, and that it is kept among its acts. Part of the one table of
//! transitions: called from there, and from nowhere else.

use std::sync::Arc;

use super::more::{Act, ActKind, CancelOrder, Life};
use super::task::{State, Task};
use crate::engine::edit::Edit;
use crate::engine::event::Event;
use crate::engine::ids::Timestamp;

impl Task {
    pub(super) fn cancel_requested(&mut self, order: &CancelOrder) {
        let State::Leased(lease) = &mut self.state else {
            unreachable!("the table was asked");
        };
        lease.cancel_requested = true;
        if *order == CancelOrder::default() {
            // Of a record that did not say: images of the time before have nothing of it either.
            return;
        }
        lease.cancel = Some(Box::new(order.clone()));
        let what = ActKind::CancelRequested;
        self.act(order.at, what, &order.by, &order.reason);
    }

    pub(super) fn edited(&mut self, at: Timestamp, edit: &Edit) {
        if let Some(payload) = &edit.payload {
            self.payload = payload.clone();
            if let Some(side) = self.side.as_deref_mut() {
                side.checkpoint = None;
            }
        }
        if let Some(version) = edit.version {
            self.version = version;
        }
        if let Some(priority) = edit.priority {
            self.priority = priority;
        }
        if let Some(labels) = &edit.labels {
            self.side_mut().labels.clone_from(labels);
        }
        if let Some(own) = &edit.own {
            self.own = own.as_ref().clone().said();
        }
        if let (Some(new), State::Pending { not_before }) = (edit.not_before, &mut self.state) {
            *not_before = new;
        }
        if edit.life.is_some() {
            self.more_mut().life = edit.life;
        }
        self.act(at, edit.what, &edit.by, &edit.note);
    }

    pub(super) fn redriven(&mut self, event: &Event) {
        let Event::TaskRedriven {
            id: _,
            at,
            not_before,
            by,
            note,
            kept,
        } = event
        else {
            unreachable!("matched by the caller");
        };
        self.state = State::Pending {
            not_before: *not_before,
        };
        let since = self.unless_accepted(*at);
        self.side_mut().tally.begin(since);
        if let Some(life) = self.life_mut() {
            life.from = *not_before;
            life.begun = false;
        }
        if let Some(side) = self.side.as_deref_mut() {
            side.rule_retries.clear();
            side.previous_delay_ms = None;
        }
        if *kept {
            self.act(*at, ActKind::Redriven, by, note);
        }
    }

    pub(super) fn life_mut(&mut self) -> Option<&mut Life> {
        let more = self.side.as_deref_mut()?.more.as_deref_mut()?;
        more.life.as_mut()
    }

    fn act(&mut self, at: Timestamp, what: ActKind, by: &Arc<str>, note: &Arc<str>) {
        let (by, note) = (by.clone(), note.clone());
        self.more_mut().act(Act { at, what, by, note });
    }
}
