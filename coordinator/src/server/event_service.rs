//! EventService: what happens to tasks, as it happens.
//!
//! Owns the form of cursors, `<incarnation>.<number>` in hexadecimal: a cursor of another run of the
//! process is recognised, not misread. Filters by namespace and queue; the ring knows no filter.

use std::pin::Pin;
use std::sync::Arc;

use futures::stream::{self, Stream, StreamExt as _};
use redrive_proto::v1 as pb;
use redrive_proto::v1::event_service_server::EventService;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::convert::failure::failure_brief;
use super::convert::field::{quoted, timestamp};
use super::convert::{At, Parsed, field};
use super::edge::Edge;
use super::status::{Refused, answer};
use crate::engine::effect::{Notice, NoticeKind};
use crate::engine::ids::QueueName;
use crate::engine::rejection::Rejection;
use crate::shell::inbox::Watch;

const RPC: &str = "WatchEvents";

type EventStream = Pin<Box<dyn Stream<Item = Result<pb::WatchEventsResponse, Status>> + Send>>;

/// EventService over the engine's notices.
#[derive(Clone, Debug)]
pub(crate) struct Events {
    pub(crate) edge: Edge,
    pub(crate) shutdown: CancellationToken,
}

/// One reader.
struct Watcher {
    watch: Watch,
    namespace: Arc<str>,
    queue: Option<QueueName>,
    incarnation: u64,
    shutdown: CancellationToken,
    ended: bool,
}

impl Events {
    fn open(&self, request: &pb::WatchEventsRequest) -> Result<EventStream, Refused> {
        let root = At::Root;
        let namespace = field::namespace(&request.namespace, root.field("namespace"))?;
        let queue = field::optional_queue(&namespace, &request.queue, root.field("queue"))?;
        let incarnation = self.edge.facts.incarnation;
        let after = cursor(&request.cursor, incarnation)?;
        let watch = self
            .edge
            .inbox
            .watch(after)
            .map_err(|_gone| Refused::CursorGone)?;
        let shutdown = self.shutdown.clone();
        let watcher = Watcher {
            watch,
            namespace,
            queue,
            incarnation,
            shutdown,
            ended: false,
        };
        let step = |mut watcher: Watcher| async move {
            let next = watcher.next().await?;
            Some((next.map_err(|refused| refused.status(RPC)), watcher))
        };
        Ok(stream::unfold(watcher, step).boxed())
    }
}

/// The number behind which a watch begins; `None` for now.
fn cursor(text: &str, incarnation: u64) -> Result<Option<u64>, Refused> {
    if text.is_empty() {
        return Ok(None);
    }
    let (of, number) = read_cursor(text)?;
    if of == incarnation {
        Ok(Some(number))
    } else {
        Err(Refused::CursorGone)
    }
}

fn read_cursor(text: &str) -> Parsed<(u64, u64)> {
    let number = |part: &str| {
        let digits = part.len() == 16 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
        if digits {
            u64::from_str_radix(part, 16).ok()
        } else {
            None
        }
    };
    let parts = text.split_once('.');
    let read = parts.and_then(|(of, at)| Some((number(of)?, number(at)?)));
    read.ok_or_else(|| {
        let root = At::Root;
        root.field("cursor").refuse(format_args!(
            "is {}, not a cursor: send back the cursor of a WatchEventsResponse as it came",
            quoted(text)
        ))
    })
}

impl Watcher {
    /// The next events that are wanted.
    async fn next(&mut self) -> Option<Result<pb::WatchEventsResponse, Refused>> {
        loop {
            if self.ended {
                return None;
            }
            let next = tokio::select! {
                () = self.shutdown.cancelled() => Err(Refused::from(Rejection::ShuttingDown)),
                next = self.watch.next() => next.map_err(Refused::from),
            };
            let (notices, number) = match next {
                Ok(next) => next,
                Err(refused) => {
                    self.ended = true;
                    return Some(Err(refused));
                }
            };
            let wanted = notices.iter().filter(|notice| self.wants(notice));
            let events: Vec<pb::Event> = wanted.map(|notice| event_view(notice)).collect();
            if !events.is_empty() {
                let cursor = format!("{:016x}.{number:016x}", self.incarnation);
                return Some(Ok(pb::WatchEventsResponse { events, cursor }));
            }
        }
    }

    fn wants(&self, notice: &Notice) -> bool {
        match &self.queue {
            Some(queue) => *queue == notice.queue,
            None => notice.queue.namespace() == &*self.namespace,
        }
    }
}

fn event_view(notice: &Notice) -> pb::Event {
    let kind = match notice.kind {
        NoticeKind::Enqueued => pb::EventType::Enqueued,
        NoticeKind::Edited => pb::EventType::Edited,
        NoticeKind::Leased => pb::EventType::Leased,
        NoticeKind::RetryScheduled => pb::EventType::RetryScheduled,
        NoticeKind::Deferred => pb::EventType::Deferred,
        NoticeKind::DeadLettered => pb::EventType::DeadLettered,
        NoticeKind::Redriven => pb::EventType::Redriven,
        NoticeKind::Ended => pb::EventType::Ended,
        NoticeKind::CancelRequested => pb::EventType::CancelRequested,
    };
    pb::Event {
        r#type: kind.into(),
        time: Some(timestamp(notice.at)),
        task_id: notice.task.to_string(),
        namespace: notice.queue.namespace().to_owned(),
        queue: notice.queue.queue().to_owned(),
        kind: notice.task_kind.to_string(),
        attempt: notice.attempt,
        worker_id: notice.worker.as_deref().unwrap_or_default().to_owned(),
        failure: notice.failure.as_ref().map(failure_brief),
        next_attempt_time: notice.next_attempt_at.map(timestamp),
        reason: notice.reason.as_deref().unwrap_or_default().to_owned(),
    }
}

#[tonic::async_trait]
impl EventService for Events {
    type WatchEventsStream = EventStream;

    async fn watch_events(
        &self,
        request: Request<pb::WatchEventsRequest>,
    ) -> Result<Response<EventStream>, Status> {
        answer(RPC, self.open(request.get_ref()))
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;
    use crate::server::testing::Engine;
    use crate::shell::testing::notice;

    fn events(engine: &Engine) -> Events {
        Events {
            edge: engine.edge(),
            shutdown: CancellationToken::new(),
        }
    }

    fn happen(engine: &Engine, numbers: std::ops::RangeInclusive<u64>, queue: &str) {
        let queue = QueueName::new("default", queue).unwrap();
        engine.desk.notices.add(numbers.map(|number| {
            let mut notice = notice(number);
            notice.queue = queue.clone();
            Arc::new(notice)
        }));
    }

    async fn watch(events: &Events, queue: &str, cursor: &str) -> Result<EventStream, Status> {
        let (queue, cursor) = (queue.to_owned(), cursor.to_owned());
        let request = pb::WatchEventsRequest {
            queue,
            cursor,
            ..Default::default()
        };
        Ok(events
            .watch_events(Request::new(request))
            .await?
            .into_inner())
    }

    #[tokio::test]
    async fn a_watcher_of_one_queue_sees_that_queue_and_resumes_behind_it() {
        let engine = Engine::silent();
        let events = events(&engine);
        let mut stream = watch(&events, "mail", "").await.unwrap();
        happen(&engine, 1..=2, "sms");
        happen(&engine, 3..=4, "mail");
        let first = stream.next().await.unwrap().unwrap();
        assert_eq!(first.events.len(), 2);
        assert!(first.events.iter().all(|event| event.queue == "mail"));
        happen(&engine, 5..=5, "mail");
        let mut resumed = watch(&events, "", &first.cursor).await.unwrap();
        assert_eq!(resumed.next().await.unwrap().unwrap().events.len(), 1);
    }

    #[tokio::test]
    async fn cursors_of_another_run_are_out_of_range_and_others_are_malformed() {
        let engine = Engine::silent();
        let events = events(&engine);
        let code = |cursor: &'static str| {
            let events = events.clone();
            async move {
                watch(&events, "", cursor)
                    .await
                    .err()
                    .map(|status| status.code())
            }
        };
        let out_of_range = Some(Code::OutOfRange);
        assert_eq!(
            code("0000000000000007.0000000000000000").await,
            out_of_range
        );
        assert_eq!(
            code("000000000000002a.0000000000000009").await,
            out_of_range
        );
        assert_eq!(code("000000000000002a.0000000000000000").await, None);
        for malformed in [
            "x",
            "2a.0",
            "000000000000002a",
            "+00000000000002a.0000000000000000",
        ] {
            assert_eq!(
                code(malformed).await,
                Some(Code::InvalidArgument),
                "{malformed}"
            );
        }
    }

    #[tokio::test]
    async fn a_reader_that_falls_too_far_behind_is_told_and_the_stream_ends() {
        let engine = Engine::silent();
        let events = events(&engine);
        let mut stream = watch(&events, "", "").await.unwrap();
        let most = crate::engine::limits::EVENTS_REMEMBERED_MAX as u64;
        happen(&engine, 1..=most + 1, "mail");
        let status = stream.next().await.unwrap().unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert!(stream.next().await.is_none());
    }

    #[tokio::test]
    async fn a_shutdown_ends_the_stream() {
        let engine = Engine::silent();
        let events = events(&engine);
        let mut stream = watch(&events, "", "").await.unwrap();
        events.shutdown.cancel();
        assert_eq!(
            stream.next().await.unwrap().unwrap_err().code(),
            Code::Unavailable
        );
        assert!(stream.next().await.is_none());
    }
}
