//! The small server that the demo delivers to, with its own count of what reached it.
//!
//! Owns the sockets, the hits and the state of the world (down, repaired). A hit is counted when
//! the head of its request has been read, before anything is answered. Every connection carries
//! one request: on a kept-alive connection a client may send a request again by itself when the
//! connection was reset, and the count would be of something else than runs.

mod conduct;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    fmt, io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Request, Response, StatusCode, body::Incoming, header, server::conn::http1, service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::JoinSet,
    time::Instant,
};

use super::{behaviour::Behaviour, clock};
pub(super) use conduct::RETRY_AFTER_SECONDS;
use conduct::{Answer, Ask, World};

/// The most connections at once; further ones wait in the listener's queue.
const CONNECTIONS_MAX: usize = 1_024;
/// The most bytes of a request's body.
const BODY_BYTES_MAX: usize = 1024 * 1024;
/// The longest that an answer is held back, so that there is something to kill.
const LATENCY_MS_MAX: u32 = 150;
/// How long [`Upstream::settle`] waits for requests that are still on their way in.
const SETTLE_MAX: Duration = Duration::from_secs(10);

/// The header in which the http runner names the task.
const TASK_HEADER: &str = "redrive-task-id";
/// The header in which the http runner names the run.
const RUN_HEADER: &str = "redrive-run";
/// The path of the request that [`Upstream::settle`] makes.
const SETTLE_PATH: &str = "/settle";

/// Which run of which task a request was made by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct HitKey {
    /// The task's id.
    pub(super) task_id: String,
    /// The number of the run.
    pub(super) run: u32,
}

/// What the upstream saw of one run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Hit {
    /// Requests whose head was read.
    pub(super) requests: u32,
    /// Those that were accepted with 200.
    pub(super) accepted: u32,
    /// What the latest 429 asked for.
    pub(super) retry_after: Option<Duration>,
}

/// Everything that reached the upstream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Hits {
    /// By run.
    pub(super) runs: BTreeMap<HitKey, Hit>,
    /// Requests that named no run.
    pub(super) strangers: u64,
}

#[derive(Default)]
struct Seen {
    hits: Hits,
    per_task: BTreeMap<String, u32>,
    repaired: bool,
    outage_ends: Option<Instant>,
}

struct Shared {
    outage: Duration,
    seen: Mutex<Seen>,
    /// Connections whose request has not been read yet.
    unread: watch::Sender<usize>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Seen> {
        // A count is whole after every statement, so a panic elsewhere leaves it usable.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running upstream; it ends when this is dropped.
pub(super) struct Upstream {
    address: SocketAddr,
    shared: Arc<Shared>,
    _server: JoinSet<()>,
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Upstream {
    /// Listens on a free port of this machine. The outage begins with the first request for what
    /// is down, and lasts as long as said.
    ///
    /// # Errors
    /// Where the operating system gives no port.
    pub(super) async fn start(outage: Duration) -> io::Result<Self> {
        let listener = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (unread, _) = watch::channel(0);
        let shared = Arc::new(Shared {
            outage,
            seen: Mutex::default(),
            unread,
        });
        let mut server = JoinSet::new();
        server.spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self {
            address,
            shared,
            _server: server,
        })
    }

    /// Where it listens.
    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Puts its pages, credentials and connections in order. Bad data stays bad.
    pub(super) fn repair(&self) {
        self.shared.lock().repaired = true;
    }

    /// The count, once everything that was sent before this call has been counted: connections are
    /// accepted in order, so whoever connected before this call's own connection is known when
    /// that one is answered, and is then waited for until its request was read or it left.
    ///
    /// # Errors
    /// Where a request is still unread after 10 s, or the upstream cannot be reached.
    pub(super) async fn settle(&self) -> io::Result<Hits> {
        let settled = async {
            let mut stream = TcpStream::connect(self.address).await?;
            let request = format!(
                "GET {SETTLE_PATH} HTTP/1.1\r\nhost: {}\r\n\r\n",
                self.address
            );
            stream.write_all(request.as_bytes()).await?;
            stream.read_to_end(&mut Vec::new()).await?;
            let mut unread = self.shared.unread.subscribe();
            unread
                .wait_for(|unread| *unread == 0)
                .await
                .map(drop)
                .map_err(io::Error::other)
        };
        match tokio::time::timeout(SETTLE_MAX, settled).await {
            Ok(settled) => settled?,
            Err(elapsed) => return Err(io::Error::new(io::ErrorKind::TimedOut, elapsed)),
        }
        Ok(self.shared.lock().hits.clone())
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
            return;
        };
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => {
                let unread = Unread::new(Arc::clone(&shared));
                let shared = Arc::clone(&shared);
                connections.spawn(async move {
                    serve(stream, shared, unread).await;
                    drop(permit);
                });
            }
            // Out of descriptors, or the peer left in the queue: the next one may do better.
            Err(_) => clock::pause(Duration::from_millis(10)).await,
        }
    }
}

/// Stands for one connection whose request has not been read.
struct Unread {
    shared: Arc<Shared>,
    counts: Mutex<bool>,
}

impl Unread {
    fn new(shared: Arc<Shared>) -> Self {
        shared
            .unread
            .send_modify(|unread| *unread = unread.saturating_add(1));
        Self {
            shared,
            counts: Mutex::new(true),
        }
    }

    fn read(&self) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::take(&mut *counts) {
            self.shared
                .unread
                .send_modify(|unread| *unread = unread.saturating_sub(1));
        }
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        self.read();
    }
}

/// Ends a connection without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the connection is to be reset")]
struct Reset;

async fn serve(stream: TcpStream, shared: Arc<Shared>, unread: Unread) {
    let service = service_fn(|request| handle(request, &shared, &unread));
    let mut connection = http1::Builder::new()
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    if (&mut connection).await.is_err() {
        // Closing with a linger of zero sends RST instead of FIN. Where it fails the peer left.
        let stream = connection.into_parts().io.into_inner();
        drop(stream.set_zero_linger());
    }
}

async fn handle(
    request: Request<Incoming>,
    shared: &Shared,
    unread: &Unread,
) -> Result<Response<Full<Bytes>>, Reset> {
    let (head, body) = request.into_parts();
    if head.uri.path() == SETTLE_PATH {
        unread.read();
        return Ok(respond(StatusCode::OK, "settled"));
    }
    let key = hit_key(&head.headers);
    let seen = shared.lock().count(key.as_ref());
    unread.read();
    let body = Limited::new(body, BODY_BYTES_MAX)
        .collect()
        .await
        .map_err(|_unusable| Reset)?;
    let (Some(key), Some(ask)) = (key, Ask::parse(head.uri.path(), seen)) else {
        return Ok(respond(
            StatusCode::BAD_REQUEST,
            "this upstream takes deliveries only",
        ));
    };
    clock::pause(latency(&key)).await;
    let answer = {
        let mut seen = shared.lock();
        let world = seen.world(ask.behaviour, shared.outage);
        let answer = conduct::answer(&ask, &body.to_bytes(), world);
        seen.note(&key, &answer);
        answer
    };
    act(answer).await
}

impl Seen {
    /// Counts a request; answers how often this task was seen before.
    fn count(&mut self, key: Option<&HitKey>) -> u32 {
        let Some(key) = key else {
            self.hits.strangers = self.hits.strangers.saturating_add(1);
            return 0;
        };
        let hit = self.hits.runs.entry(key.clone()).or_default();
        hit.requests = hit.requests.saturating_add(1);
        let of_task = self.per_task.entry(key.task_id.clone()).or_default();
        let before = *of_task;
        *of_task = before.saturating_add(1);
        before
    }

    /// The state of the world, as far as it matters to this behaviour.
    fn world(&mut self, behaviour: Behaviour, outage: Duration) -> World {
        let up = behaviour != Behaviour::Down || {
            let now = clock::now();
            now >= *self.outage_ends.get_or_insert(now + outage)
        };
        World {
            up,
            repaired: self.repaired,
        }
    }

    fn note(&mut self, key: &HitKey, answer: &Answer) {
        let hit = self.hits.runs.entry(key.clone()).or_default();
        match answer {
            Answer::Accept => hit.accepted = hit.accepted.saturating_add(1),
            Answer::Refuse {
                retry_after_seconds,
                ..
            } => {
                hit.retry_after =
                    retry_after_seconds.map(|seconds| Duration::from_secs(seconds.into()));
            }
            Answer::Reset | Answer::Hang => {}
        }
    }
}

fn hit_key(headers: &header::HeaderMap) -> Option<HitKey> {
    let task_id = headers.get(TASK_HEADER)?.to_str().ok()?.to_owned();
    let run = headers.get(RUN_HEADER)?.to_str().ok()?.parse().ok()?;
    Some(HitKey { task_id, run })
}

/// How long an answer is held back: the same for the same run, spread evenly over runs.
fn latency(key: &HitKey) -> Duration {
    let mixed = key.task_id.bytes().fold(key.run, |sum, byte| {
        sum.wrapping_mul(31).wrapping_add(u32::from(byte))
    });
    Duration::from_millis(u64::from(mixed % LATENCY_MS_MAX))
}

async fn act(answer: Answer) -> Result<Response<Full<Bytes>>, Reset> {
    match answer {
        Answer::Accept => Ok(respond(StatusCode::OK, "accepted")),
        Answer::Refuse {
            status,
            message,
            retry_after_seconds,
        } => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let body = serde_json::json!({ "error": message }).to_string();
            let mut response = respond(status, body);
            if let Some(seconds) = retry_after_seconds {
                response
                    .headers_mut()
                    .insert(header::RETRY_AFTER, seconds.into());
            }
            Ok(response)
        }
        Answer::Reset => Err(Reset),
        // Ends when the caller gives up: hyper drops this future when the connection closes.
        Answer::Hang => std::future::pending().await,
    }
}

fn respond(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response
}
