//! The HTTP listener: health, readiness and metrics, for machines that probe and scrape.
//!
//! Owns the three paths and the limits of the listener. Never changes anything. Invariants: at most
//! [`CONNECTIONS_MAX`] connections are open, none for longer than [`CONNECTION_LIFE_MAX`]; whoever
//! sends no request within [`HEADER_TIME_MAX`] is disconnected.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::engine::command::Call;
use crate::engine::effect::{Answer, QueueView};
use crate::journal::LogFiles;
use crate::shell::inbox::Inbox;
use crate::shell::shutdown::Phase;
use crate::telemetry::{JournalFacts, Telemetry};

/// Connections open at once.
pub const CONNECTIONS_MAX: usize = 64;
/// How long a client may take to send a request's head, idle time between requests included.
pub const HEADER_TIME_MAX: Duration = Duration::from_secs(10);
/// How long a connection may live, a response that is read slowly included.
pub const CONNECTION_LIFE_MAX: Duration = Duration::from_secs(120);
/// How long a scrape waits for the engine before it shows the counts of the scrape before.
const SCRAPE_TIME_MAX: Duration = Duration::from_secs(5);
/// Queues of a namespace that one question asks for.
const QUEUES_PER_CALL: usize = 1000;
/// Queues that one scrape looks at.
const QUEUES_PER_SCRAPE_MAX: usize = 20_000;
/// How long nothing is accepted after accepting has failed, for example for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the listener shows.
#[derive(Clone, Debug)]
pub struct Shown {
    /// The engine, once it has started.
    pub engine: Arc<OnceLock<ShownEngine>>,
    /// The metrics.
    pub telemetry: Arc<Telemetry>,
    /// Whether the coordinator is ready.
    pub phase: watch::Receiver<Phase>,
}

/// What is known once the engine has started.
#[derive(Clone, Debug)]
pub struct ShownEngine {
    /// Asked for the counts of queues.
    pub inbox: Inbox,
    /// The journal's files, where it has some.
    pub files: Option<LogFiles>,
}

impl Shown {
    /// What is shown before the engine has started.
    #[must_use]
    pub fn starting(telemetry: Arc<Telemetry>, phase: watch::Receiver<Phase>) -> Self {
        Self {
            engine: Arc::default(),
            telemetry,
            phase,
        }
    }
}

/// Serves until `shutdown`, then cuts off whoever is still connected. A connection that fails is
/// its client's trouble, and accepting is tried again.
pub async fn serve(listener: TcpListener, shown: Shown, shutdown: CancellationToken) {
    let router = router(shown);
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let accepted = async {
            let permit = Arc::clone(&room).acquire_owned().await;
            (listener.accept().await, permit)
        };
        let (accepted, permit) = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = accepted => accepted,
        };
        match accepted {
            Ok((stream, _peer)) => {
                let connection = connection(stream, router.clone());
                connections.spawn(async move {
                    connection.await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the HTTP listener cannot accept; trying again");
                pause().await;
            }
        }
    }
    connections.shutdown().await;
}

#[expect(
    clippy::disallowed_methods,
    reason = "nothing announces that descriptors are free again"
)]
async fn pause() {
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

async fn connection(stream: TcpStream, router: Router) {
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    match tokio::time::timeout(CONNECTION_LIFE_MAX, served).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "an HTTP connection ended badly"),
        Err(_elapsed) => tracing::debug!("an HTTP connection lived too long and was cut"),
    }
}

fn router(shown: Shown) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .fallback(nothing_here)
        .with_state(shown)
}

async fn healthz() -> &'static str {
    "ok\n"
}

async fn readyz(State(shown): State<Shown>) -> (StatusCode, &'static str) {
    let phase = *shown.phase.borrow();
    match phase {
        Phase::Ready => (StatusCode::OK, "ready\n"),
        Phase::Starting => (StatusCode::SERVICE_UNAVAILABLE, "not ready: starting\n"),
        Phase::Stopping => (
            StatusCode::SERVICE_UNAVAILABLE,
            "not ready: shutting down\n",
        ),
    }
}

async fn metrics(State(shown): State<Shown>) -> Response {
    if let Some(engine) = shown.engine.get()
        && tokio::time::timeout(SCRAPE_TIME_MAX, refresh(engine, &shown.telemetry))
            .await
            .is_err()
    {
        tracing::warn!("the engine did not answer a scrape in time; its counts are older ones");
    }
    let format = [(
        header::CONTENT_TYPE,
        "text/plain; version=0.0.4; charset=utf-8",
    )];
    (format, shown.telemetry.render()).into_response()
}

async fn nothing_here(uri: Uri) -> (StatusCode, String) {
    let text = format!(
        "there is nothing at {}; this listener serves /healthz, /readyz and /metrics, gRPC is \
         served on the port of --listen\n",
        uri.path()
    );
    (StatusCode::NOT_FOUND, text)
}

/// Brings the gauges up to date. Where the engine does not answer they stay as they were.
async fn refresh(engine: &ShownEngine, telemetry: &Telemetry) {
    let inbox = &engine.inbox;
    if let Some(files) = &engine.files {
        telemetry.show_journal(&JournalFacts::of(files));
    }
    if let Ok(Answer::Server(facts)) = inbox.call(Call::ServerFacts).await {
        telemetry.show_server(&facts, inbox.links_open());
    }
    let mut views = Vec::new();
    for namespace in telemetry.namespaces() {
        if !list_queues(inbox, namespace, &mut views).await {
            return;
        }
    }
    telemetry.show_queues(&views);
}

/// Adds the queues of a namespace; false where the engine does not answer.
async fn list_queues(inbox: &Inbox, namespace: Arc<str>, views: &mut Vec<QueueView>) -> bool {
    let mut after = None;
    while views.len() < QUEUES_PER_SCRAPE_MAX {
        let namespace = Arc::clone(&namespace);
        let call = Call::ListQueues {
            namespace,
            after: after.take(),
            count_max: QUEUES_PER_CALL,
        };
        let Ok(Answer::Queues { queues, more }) = inbox.call(call).await else {
            return false;
        };
        after = queues.last().map(|view| view.queue.name.clone());
        views.extend(queues);
        if !more || after.is_none() {
            break;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::engine::command::Command;
    use crate::engine::effect::{Counts, Effect, ServerFacts};
    use crate::engine::ids::{QueueName, Timestamp};
    use crate::engine::ledger::queue::Queue;
    use crate::engine::{Deadline, Turn};
    use crate::shell::Desk;
    use crate::shell::driver::{Decides, Signals};
    use crate::shell::testing::{desk, memory_driver};

    /// Knows two queues, one a page.
    struct TwoQueues;

    impl Decides for TwoQueues {
        fn step(&mut self, _: Timestamp, command: Command, turn: &mut Turn) {
            let Command::Call { request, call, .. } = command else {
                return;
            };
            let answer = if let Call::ListQueues { after, .. } = call {
                let name = if after.is_none() { "mail" } else { "reports" };
                let queue = Queue::new(QueueName::new("default", name).unwrap(), 0);
                let counts = Counts {
                    ready: 7,
                    dead: 2,
                    ..Counts::default()
                };
                Answer::Queues {
                    queues: vec![QueueView {
                        queue,
                        counts,
                        oldest_ready_ms: 1500,
                        unserved: Vec::new(),
                    }],
                    more: after.is_none(),
                }
            } else {
                Answer::Server(ServerFacts {
                    workers: 3,
                    ..ServerFacts::default()
                })
            };
            turn.effects.push(Effect::Reply {
                request,
                reply: Ok(answer),
            });
        }

        fn next_deadline(&self) -> Option<Deadline> {
            None
        }
    }

    /// Serves while `client` runs, which is handed the address and the phase.
    async fn while_serving<F: Future<Output = ()>>(
        desk: Arc<Desk>,
        client: impl FnOnce(std::net::SocketAddr, watch::Sender<Phase>) -> F,
    ) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (phase, phased) = watch::channel(Phase::Starting);
        let inbox = Inbox::new(Arc::clone(&desk));
        let shown = Shown::starting(Arc::clone(&desk.telemetry), phased);
        let files = None;
        shown.engine.get_or_init(|| ShownEngine { inbox, files });
        let (shutdown, signals) = (CancellationToken::new(), Signals::default());
        let driver = memory_driver(TwoQueues, &desk, signals.clone());
        let client = async {
            client(address, phase).await;
            shutdown.cancel();
            signals.end.cancel();
        };
        let served = serve(listener, shown, shutdown.clone());
        let ((), driven, ()) = tokio::join!(served, driver.run(), client);
        driven.unwrap();
    }

    async fn ask(address: std::net::SocketAddr, head: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    }

    async fn get_path(address: std::net::SocketAddr, path: &str) -> String {
        let head = format!("GET {path} HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n");
        ask(address, &head).await
    }

    #[tokio::test]
    async fn health_is_the_process_s_and_readiness_follows_the_phase() {
        while_serving(desk(), async |address, phase: watch::Sender<Phase>| {
            for (now, status) in [
                (Phase::Starting, "HTTP/1.1 503"),
                (Phase::Ready, "HTTP/1.1 200"),
                (Phase::Stopping, "HTTP/1.1 503"),
            ] {
                phase.send_replace(now);
                let health = get_path(address, "/healthz").await;
                assert!(health.starts_with("HTTP/1.1 200"), "{health}");
                let ready = get_path(address, "/readyz").await;
                assert!(ready.starts_with(status), "{now:?}: {ready}");
            }
        })
        .await;
    }

    #[tokio::test]
    async fn a_scrape_shows_the_counts_of_all_queues_as_they_are_now() {
        while_serving(desk(), async |address, _| {
            let text = get_path(address, "/metrics").await;
            assert!(
                text.contains("content-type: text/plain; version=0.0.4"),
                "{text}"
            );
            for line in [
                "redrive_tasks{namespace=\"default\",queue=\"mail\",state=\"ready\"} 7",
                "redrive_tasks{namespace=\"default\",queue=\"reports\",state=\"dead\"} 2",
                "redrive_workers 3",
                "redrive_build_info{version=\"0.0.0\"} 1",
            ] {
                assert!(
                    text.contains(&format!("\n{line}\n")),
                    "no {line} in:\n{text}"
                );
            }
        })
        .await;
    }

    #[tokio::test]
    async fn metrics_are_shown_when_the_engine_has_stopped() {
        let desk = desk();
        desk.close();
        while_serving(desk, async |address, _| {
            let text = get_path(address, "/metrics").await;
            assert!(text.starts_with("HTTP/1.1 200") && text.contains("redrive_workers 0"));
        })
        .await;
    }

    #[tokio::test]
    async fn other_paths_say_what_there_is() {
        while_serving(desk(), async |address, _| {
            let text = get_path(address, "/metric").await;
            assert!(text.starts_with("HTTP/1.1 404"), "{text}");
            assert!(text.contains("there is nothing at /metric;"), "{text}");
            assert!(text.contains("/healthz, /readyz and /metrics"), "{text}");
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn who_sends_no_request_is_disconnected() {
        while_serving(desk(), async |address, _| {
            let told = ask(address, "GET /healthz HTTP/1.1\r\nhost:").await;
            assert!(!told.contains("200"), "{told}");
        })
        .await;
    }
}
