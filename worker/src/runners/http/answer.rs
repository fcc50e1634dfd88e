//! Turns what came back into a result or a failure, by the table of the module above.
//!
//! Owns the table itself, the reading of `Retry-After`, and the bound of what is kept. Reads no more
//! of a body than it keeps.

use std::time::{Duration, SystemTime};

use redrive_proto::v1::{FailureClass, Payload};
use reqwest::{
    StatusCode,
    header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER},
};
use serde::{Deserialize, Serialize};

use crate::{
    error::{TaskError, TaskResult},
    report::{clip, json_payload},
};

/// How much of a failed answer is reported with the failure.
const EXCERPT_BYTES_MAX: usize = 8_192;
/// The most bytes of a result.
const RESULT_BYTES_MAX: usize = 262_144;
/// The longest wait that is passed on: 3,650 days.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3_650 * 24 * 3_600);

/// The result of a task that was an HTTP request, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Response {
    /// The status, 200 to 299.
    pub status: u16,
    /// The content type, where the answer had one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// The body as text; bytes that are no UTF-8 are replaced.
    pub body: String,
    /// True where the body was longer than is kept: `body` is its beginning.
    pub truncated: bool,
    /// True where bytes were replaced: the body was no text.
    pub lossy: bool,
}

impl Response {
    /// The response as a result. Whatever its body holds, it fits: a request that succeeded must not
    /// fail for its answer.
    pub(super) fn into_payload(mut self) -> TaskResult<Payload> {
        loop {
            let payload = json_payload(&self)?;
            if payload.data.len() <= RESULT_BYTES_MAX || self.body.is_empty() {
                return Ok(payload);
            }
            let mut half = self.body.len() / 2;
            while !self.body.is_char_boundary(half) {
                half -= 1;
            }
            self.body.truncate(half);
            self.truncated = true;
        }
    }
}

/// The class that a status implies. `None` for those that are no failure.
pub(crate) fn status_class(status: StatusCode) -> Option<FailureClass> {
    match status.as_u16() {
        429 => Some(FailureClass::RateLimited),
        409 | 423 => Some(FailureClass::Conflict),
        502..=504 => Some(FailureClass::DependencyDown),
        404 | 410 => Some(FailureClass::NotFound),
        401 | 403 => Some(FailureClass::Auth),
        408 => Some(FailureClass::Timeout),
        400..=499 => Some(FailureClass::Invalid),
        200..=299 => None,
        _ => Some(FailureClass::Internal),
    }
}

/// How long to wait by a `Retry-After`: seconds, or a date to compare with `now`. A date that has
/// passed means at once. `None` where there is none, or where it cannot be read.
pub fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = if value.bytes().all(|byte| byte.is_ascii_digit()) && !value.is_empty() {
        // More digits than a number has is a long time.
        value.parse().map_or(RETRY_AFTER_MAX, Duration::from_secs)
    } else {
        let date = httpdate::parse_http_date(value).ok()?;
        date.duration_since(now).unwrap_or_default()
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

/// Reads an answer up to its bound.
pub(super) async fn read(
    mut response: reqwest::Response,
    what: &str,
    (bytes_max, wall): (usize, fn() -> SystemTime),
) -> TaskResult<Response> {
    let status = response.status();
    let class = status_class(status);
    let bytes_max = if class.is_some() {
        EXCERPT_BYTES_MAX
    } else {
        bytes_max
    };
    let wait = retry_after(response.headers(), wall());
    let content_type = response.headers().get(CONTENT_TYPE);
    let content_type =
        content_type.map(|value| clip(&String::from_utf8_lossy(value.as_bytes()), 128));

    let mut body = Vec::new();
    let mut truncated = false;
    let mut unread = None;
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) => {
                let room = bytes_max - body.len();
                body.extend_from_slice(&chunk[..chunk.len().min(room)]);
                truncated = chunk.len() > room;
            }
            Ok(None) => break,
            Err(error) => {
                unread = Some(error);
                break;
            }
        }
        if truncated {
            break;
        }
    }

    if let Some(class) = class {
        // The status says enough, even where the rest of the answer did not arrive.
        return Err(failed(
            (status, class),
            what,
            wait,
            &String::from_utf8_lossy(&body),
        ));
    }
    if let Some(error) = unread {
        return Err(broken(error, what));
    }
    let (text, lossy) = text_of(body, truncated);
    Ok(Response {
        status: status.as_u16(),
        content_type,
        body: text,
        truncated,
        lossy,
    })
}

/// The bytes as text. A character that the bound cut in two is left out, not replaced.
fn text_of(mut body: Vec<u8>, truncated: bool) -> (String, bool) {
    if truncated
        && let Err(error) = std::str::from_utf8(&body)
        && error.error_len().is_none()
    {
        body.truncate(error.valid_up_to());
    }
    String::from_utf8(body).map_or_else(
        |error| (String::from_utf8_lossy(error.as_bytes()).into_owned(), true),
        |text| (text, false),
    )
}

fn failed(
    (status, class): (StatusCode, FailureClass),
    what: &str,
    wait: Option<Duration>,
    excerpt: &str,
) -> TaskError {
    let code = status.as_u16();
    let reason = status.canonical_reason().unwrap_or("without a name");
    let error = TaskError::new(class, format!("{code} {reason}, from {what}"))
        .with_type(&format!("http:{code}"))
        .with_ancestor(&format!("http:{}xx", code / 100))
        .with_stack(excerpt);
    match wait {
        Some(wait) => error.with_retry_after(wait),
        None => error,
    }
}

/// A request that got no answer, or not all of it.
pub(super) fn broken(error: reqwest::Error, what: &str) -> TaskError {
    let (class, kind) = if error.is_timeout() {
        (FailureClass::Timeout, "http:timeout")
    } else if error.is_redirect() {
        (FailureClass::Internal, "http:redirect")
    } else if error.is_connect() {
        (FailureClass::Network, "http:connect")
    } else if error.is_builder() {
        (FailureClass::Invalid, "http:request")
    } else {
        (FailureClass::Network, "http:broken")
    };
    // The error's own text has the whole address, query included.
    let facts = TaskError::from(error.without_url());
    let text = format!("{what}: {}", facts.failure().message);
    facts.with_class(class).with_type(kind).with_reason(&text)
}
