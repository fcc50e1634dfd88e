//! Tasks that are HTTP requests.
//!
//! Owns the client and the way from a task to a request to an outcome. The payload is a JSON object
//! (see [`Request`]); the answer's class follows this table, and the retry policy decides what it
//! means:
//!
//! | what happened | reported as |
//! |---|---|
//! | 2xx | completed, with the response as result (see [`Response`]) |
//! | no connection, TLS refused, connection broken before or within the response | NETWORK |
//! | no full response within the timeout; 408 | TIMEOUT |
//! | 429 | RATE_LIMITED |
//! | 409, 423 | CONFLICT |
//! | 502, 503, 504 | DEPENDENCY_DOWN |
//! | 404, 410 | NOT_FOUND |
//! | 401, 403 | AUTH |
//! | 400, 422 and every other 4xx | INVALID |
//! | every other 5xx; a redirect too many, or one that leads nowhere | INTERNAL |
//! | a payload that is no request | INVALID, not to be retried |
//!
//! A `Retry-After` of a failed answer, in seconds or as a date, is passed on. The failure's type is
//! `http:503` with the ancestor `http:5xx`, or `http:connect`, `http:timeout`, `http:broken`,
//! `http:redirect`; the beginning of the answer is its stack.
//!
//! Never reads proxies from the environment and never retries by itself. Whoever may enqueue can
//! make this worker call any address that it reaches: keep it in a network that allows for that.

mod answer;
mod request;
#[cfg(test)]
mod tests;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use redrive_proto::v1::FailureClass;
use reqwest::{Client, Method, redirect};

use crate::{
    clock,
    context::TaskContext,
    error::{TaskError, TaskResult},
    handler::{BoxFuture, Handler},
    report::Outcome,
};

pub(crate) use answer::status_class;
pub use answer::{Response, retry_after};
pub use request::Request;

/// How long a request may take at all, unless said otherwise.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
/// How much of a response is kept, unless said otherwise: 64 KiB.
pub const DEFAULT_BODY_BYTES_MAX: usize = 65_536;
/// The most that may be kept of a response. One whose JSON text is still too long for a result, full
/// of control characters, is cut further.
pub const BODY_BYTES_LIMIT: usize = 131_072;
/// How many redirects are followed.
pub const REDIRECTS_MAX: usize = 10;
/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How many idle connections are kept for each host, and for how long.
const IDLE_PER_HOST_MAX: usize = 32;
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// How requests are made.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long a request may take at all, its response included; never longer than the task's hard
    /// limit. Default: 30 s.
    pub timeout: Duration,
    /// How many bytes of a response are kept; the rest is not read. At most 131,072. Default:
    /// 65,536.
    pub body_bytes_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            timeout: DEFAULT_TIMEOUT,
            body_bytes_max: DEFAULT_BODY_BYTES_MAX,
        }
    }
}

/// Why a runner cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An option that cannot work.
    #[error("{field}: {problem}")]
    Option {
        /// Which one.
        field: &'static str,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// The TLS library could not be set up.
    #[error("tls cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
    /// The client could not be set up.
    #[error("the http client cannot be set up: {0}")]
    Client(#[from] reqwest::Error),
}

/// A handler that makes one HTTP request a task. Clones share their connections.
#[derive(Clone, Debug)]
pub struct Runner {
    client: Client,
    options: Options,
    wall: fn() -> SystemTime,
}

impl Runner {
    /// A runner with its own pool of connections: HTTP/1.1 and HTTP/2, TLS by the web's roots.
    ///
    /// # Errors
    ///
    /// Where an option is out of bounds, or the client cannot be set up.
    pub fn new(options: Options) -> Result<Self, Error> {
        let wrong = |field, problem: &str| {
            Err(Error::Option {
                field,
                problem: problem.to_owned(),
            })
        };
        if options.timeout.is_zero() {
            return wrong("timeout", "is zero; give at least 1 ms");
        }
        if options.body_bytes_max > BODY_BYTES_LIMIT {
            return wrong("body_bytes_max", "is above the limit of 131072 bytes");
        }
        let client = Client::builder()
            .tls_backend_preconfigured(tls()?)
            .user_agent(concat!("redrive-worker/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_max_idle_per_host(IDLE_PER_HOST_MAX)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .redirect(redirect::Policy::limited(REDIRECTS_MAX))
            .referer(false)
            .no_proxy()
            .build()?;
        Ok(Self {
            client,
            options,
            wall: clock::wall,
        })
    }

    async fn run(&self, task: &TaskContext) -> TaskResult<Response> {
        let request = Request::parse(&task.payload().data)?;
        let what = request.describe();
        let left = task.time_left().unwrap_or(Duration::MAX);
        let timeout = self.options.timeout.min(left);
        let sent = self.client.execute(request.build(task, timeout)?);
        let answered = async {
            let response = sent.await.map_err(|error| answer::broken(error, &what))?;
            answer::read(response, &what, (self.options.body_bytes_max, self.wall)).await
        };
        tokio::select! {
            answered = answered => answered,
            // The request is dropped, and with it its connection.
            _ = task.stopped() => {
                task.check()?;
                Err(TaskError::new(FailureClass::Internal, "stopped"))
            }
        }
    }
}

/// Names the implementation below; never a value.
#[derive(Debug)]
pub enum HttpTask {}

impl<S: Send + Sync + 'static> Handler<S, HttpTask> for Runner {
    fn call(&self, task: TaskContext, _: &S) -> BoxFuture<Outcome> {
        let runner = self.clone();
        Box::pin(async move {
            let response = runner.run(&task).await;
            match response.and_then(Response::into_payload) {
                Ok(result) => Outcome::complete(redrive_proto::v1::Complete {
                    result: Some(result),
                    outcome_label: String::new(),
                }),
                Err(error) => error.into(),
            }
        })
    }
}

/// TLS by ring and the web's roots: nothing is looked for on the machine.
fn tls() -> Result<rustls::ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let roots = webpki_roots::TLS_SERVER_ROOTS
        .iter()
        .cloned()
        .collect::<rustls::RootCertStore>();
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// The method of a request that does not name one.
fn default_method(has_body: bool) -> Method {
    if has_body { Method::POST } else { Method::GET }
}
