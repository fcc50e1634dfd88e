//! What all services share: the way to the engine, and lists. Never knows one service from another.

use std::sync::Arc;

use prost::Message as _;
use redrive_proto::v1 as pb;
use tonic::Request;

use super::convert::page::{ListOf, Selected, page_size, selection, task_cursor, task_token};
use super::convert::request::{Repeatable, actor, caller};
use super::convert::view::{Detail, task_view};
use super::status::Refused;
use crate::engine::command::{Call, Caller, Cursor, ListTasks, Selection};
use crate::engine::effect::{Answer, ServerFacts, TaskView};
use crate::engine::ids::Timestamp;
use crate::engine::ledger::task::State;
use crate::engine::limits;
use crate::shell::inbox::{Facts, Inbox};

/// Bounded scans that one list call makes for a page; a page may come back short.
const SCANS_PER_PAGE_MAX: usize = 10;
/// Bytes of a page after which it is cut: the next one begins there.
pub(crate) const PAGE_BYTES_MAX: usize = limits::MESSAGE_BYTES_MAX / 2;

/// The way to the engine. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Edge {
    pub(crate) inbox: Inbox,
    pub(crate) facts: Arc<Facts>,
}

/// A page of tasks, as the wire has it.
#[derive(Debug, Default)]
pub(crate) struct Page {
    pub(crate) tasks: Vec<pb::Task>,
    pub(crate) next_page_token: String,
}

impl Edge {
    /// Asks the engine.
    pub(crate) async fn ask(&self, call: Call) -> Result<Answer, Refused> {
        Ok(self.inbox.call(call).await?)
    }

    /// Asks for somebody who said who they are, or gave the request an id.
    pub(crate) async fn ask_as(&self, by: Caller, call: Call) -> Result<Answer, Refused> {
        Ok(self.inbox.call_as(by, call).await?)
    }

    /// Asks for one task and shows it whole.
    pub(crate) async fn task(&self, by: Caller, call: Call) -> Result<pb::Task, Refused> {
        self.task_answer(by, call)
            .await
            .map(|view| task_view(&view, Detail::Whole))
    }

    /// Asks for one task.
    pub(crate) async fn task_answer(
        &self,
        by: Caller,
        call: Call,
    ) -> Result<Box<TaskView>, Refused> {
        let Answer::Task(view) = self.ask_as(by, call).await? else {
            return Err(confused("one task"));
        };
        Ok(view)
    }

    /// The engine's own facts, its clock among them.
    pub(crate) async fn engine_facts(&self) -> Result<ServerFacts, Refused> {
        let Answer::Server(facts) = self.ask(Call::ServerFacts).await? else {
            return Err(confused("the engine's facts"));
        };
        Ok(facts)
    }

    /// A selection at this instant. Asks for the time only where the filter speaks of ages.
    pub(crate) async fn selection(
        &self,
        value: Option<pb::Selection>,
    ) -> Result<Selection, Refused> {
        let selected: Selected = selection(value)?;
        let now = if selected.needs_clock() {
            self.engine_facts().await?.now
        } else {
            Timestamp::default()
        };
        Ok(selected.at(now))
    }

    /// Fills a page by a few bounded scans.
    pub(crate) async fn page(
        &self,
        request: pb::ListTasksRequest,
        list: ListOf,
    ) -> Result<Page, Refused> {
        let size = page_size(request.page_size)?;
        let mut after = task_cursor(&request.page_token, list)?;
        let selection = self.selection(request.selection).await?;
        let mut page = Page::default();
        let mut bytes = 0;
        for _ in 0..SCANS_PER_PAGE_MAX {
            let scan = ListTasks {
                selection: selection.clone(),
                after: after.take(),
                count_max: size - page.tasks.len(),
                dead_only: list == ListOf::DeadLetters,
            };
            let Answer::Page { tasks, next } = self.ask(Call::ListTasks(scan)).await? else {
                return Err(confused("a list"));
            };
            for view in tasks {
                let task = task_view(&view, Detail::Listed);
                bytes += task.encoded_len();
                page.tasks.push(task);
                if bytes > PAGE_BYTES_MAX {
                    page.next_page_token = task_token(&cursor_behind(&view, list));
                    return Ok(page);
                }
            }
            let Some(next) = next else { return Ok(page) };
            page.next_page_token = task_token(&next);
            if page.tasks.len() >= size {
                return Ok(page);
            }
            after = Some(next);
        }
        Ok(page)
    }
}

/// A call that changes something: who asks with which id, and the rest of the request.
pub(crate) fn asked<R: Repeatable>(request: Request<R>) -> Result<(Caller, R), Refused> {
    let (by, mut request) = said(request)?;
    Ok((caller(by, &mut request)?, request))
}

/// Who asks, as they say, and what.
pub(crate) fn said<R>(request: Request<R>) -> Result<(Arc<str>, R), Refused> {
    let by = actor(request.metadata())?;
    Ok((by, request.into_inner()))
}

/// Where a list goes on behind this task.
fn cursor_behind(view: &TaskView, list: ListOf) -> Cursor {
    let task = &view.task;
    let (shard, id) = (task.id.shard(), task.id);
    match (list, &task.state) {
        (ListOf::DeadLetters, State::Dead { at, .. }) => Cursor::Dead {
            shard,
            queue: task.queue.clone(),
            at: *at,
            id,
        },
        (
            ListOf::Tasks | ListOf::DeadLetters,
            State::Pending { .. } | State::Leased(_) | State::Dead { .. } | State::Finished(_),
        ) => Cursor::Task { shard, id },
    }
}

/// An answer of another kind than the question about `subject` wants: a defect.
pub(crate) fn confused(subject: &'static str) -> Refused {
    tracing::error!(subject, "the engine answered something else than was asked");
    Refused::Confused
}
