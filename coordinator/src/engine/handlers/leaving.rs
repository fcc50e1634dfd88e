//! Who is asked to leave: workers by an operator, everybody when the process goes down.
//!
//! Owns the asking. What a worker holds meanwhile goes on; how its runs end is `end_run`.

use std::sync::Arc;

use crate::engine::effect::{Answer, Effect, ToWorker};
use crate::engine::ids::{LinkId, SessionId};
use crate::engine::sessions::{Member, Session};
use crate::engine::step::Step;

/// An operator asks workers to leave.
pub(super) fn drain(
    step: &mut Step<'_>,
    namespace: &str,
    workers: &[Arc<str>],
    reason: &Arc<str>,
    deadline_ms: Option<u64>,
) -> Answer {
    let wanted = |session: &&Session| {
        &*session.info.namespace == namespace && workers.contains(&session.info.worker)
    };
    let found: Vec<(SessionId, Option<LinkId>, Arc<str>)> = step
        .sessions()
        .iter()
        .filter(wanted)
        .map(|session| (session.id, session.link, session.info.worker.clone()))
        .collect();
    let mut drained = Vec::new();
    for (id, link, worker) in found {
        step.sessions_mut()
            .get_mut(id)
            .expect("found a moment ago")
            .drain_asked = Some((reason.clone(), deadline_ms));
        step.sessions_mut().refresh(Member::Session(id));
        if let Some(link) = link {
            step.tell(
                link,
                ToWorker::Drain {
                    reason: reason.clone(),
                    deadline_ms,
                },
            );
        }
        drained.push(worker);
    }
    drained.sort();
    drained.dedup();
    Answer::Drained(drained)
}

/// Those of these workers that were asked to leave before.
pub(super) fn drained(step: &Step<'_>, namespace: &str, workers: &[Arc<str>]) -> Answer {
    let asked = step.sessions().iter().filter(|session| {
        &*session.info.namespace == namespace
            && workers.contains(&session.info.worker)
            && session.drain_asked.is_some()
    });
    let mut drained: Vec<Arc<str>> = asked.map(|it| it.info.worker.clone()).collect();
    drained.sort();
    drained.dedup();
    Answer::Drained(drained)
}

/// The process goes down: nothing more is granted, streams are sent away, waits are answered.
pub(super) fn shut_down(step: &mut Step<'_>) {
    let links: Vec<LinkId> = step
        .sessions()
        .iter()
        .filter_map(|session| session.link)
        .collect();
    for link in links {
        let reason = "the coordinator is shutting down".into();
        let after_ms = step.config().ping_ms / 5;
        step.tell(link, ToWorker::Reconnect { reason, after_ms });
        step.emit(Effect::CloseLink { link, why: None });
    }
    step.shut_down();
    let polls: Vec<_> = step.sessions().polls.keys().copied().collect();
    for request in polls {
        super::dispatch::finish_poll(step, request);
    }
    for request in step.waiting_requests() {
        super::query::end_wait(step, request);
    }
}
