//! Reads a task's payload as a request.
//!
//! Owns the format and its checks: whatever is wrong is named by field, and is final, because the
//! payload will not change.

use std::time::Duration;

use redrive_proto::v1::FailureClass;
use reqwest::{
    Method, Url,
    header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
};
use serde_json::{Map, Value};

use super::default_method;
use crate::{
    context::TaskContext,
    error::{TaskError, TaskResult},
};

/// What a task asks for: the JSON object `{"url", "method", "headers", "body"}`.
///
/// - `url`: required; `http` or `https`, with a host.
/// - `method`: default GET, or POST where there is a body.
/// - `headers`: an object of strings. `Redrive-Task-Id`, `Redrive-Attempt`, `Redrive-Run` and
///   `Redrive-Fence` are always set by the worker; `Idempotency-Key` is the task's id unless given.
/// - `body`: a string is sent as it is; any other value but null is sent as JSON, with that content
///   type unless a header says otherwise.
///
/// Any other field is refused: it would be a mistake that nobody sees.
#[derive(Clone, Debug)]
pub struct Request {
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Option<Vec<u8>>,
}

impl Request {
    /// Reads a payload.
    ///
    /// # Errors
    ///
    /// A final failure of class INVALID that names the field.
    pub fn parse(payload: &[u8]) -> TaskResult<Self> {
        let mut fields: Map<String, Value> = serde_json::from_slice(payload)
            .map_err(|error| invalid("payload", &format!("is no json object: {error}")))?;

        let url = match fields.remove("url") {
            Some(Value::String(url)) => parse_url(&url)?,
            Some(_) => return Err(invalid("url", "is no string")),
            None => return Err(invalid("url", "is missing")),
        };
        let mut headers = match fields.remove("headers") {
            Some(Value::Object(headers)) => parse_headers(headers)?,
            Some(Value::Null) | None => HeaderMap::new(),
            Some(_) => return Err(invalid("headers", "is no object of strings")),
        };
        let body = match fields.remove("body") {
            Some(Value::Null) | None => None,
            Some(Value::String(text)) => Some(text.into_bytes()),
            Some(
                json @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)),
            ) => {
                headers
                    .entry(CONTENT_TYPE)
                    .or_insert(HeaderValue::from_static("application/json"));
                Some(json.to_string().into_bytes())
            }
        };
        let method = match fields.remove("method") {
            Some(Value::String(method)) => Method::from_bytes(method.to_uppercase().as_bytes())
                .map_err(|error| invalid("method", &format!("{method:?}: {error}")))?,
            Some(Value::Null) | None => default_method(body.is_some()),
            Some(_) => return Err(invalid("method", "is no string")),
        };
        match fields.keys().next() {
            Some(other) => Err(invalid(
                other,
                "is not known; use url, method, headers, body",
            )),
            None => Ok(Self {
                method,
                url,
                headers,
                body,
            }),
        }
    }

    /// The request in words, without its query, which may hold secrets.
    pub(super) fn describe(&self) -> String {
        let host = self.url.host_str().unwrap_or_default();
        let port = self
            .url
            .port()
            .map(|port| format!(":{port}"))
            .unwrap_or_default();
        format!(
            "{} {}://{host}{port}{}",
            self.method,
            self.url.scheme(),
            self.url.path()
        )
    }

    pub(super) fn build(
        self,
        task: &TaskContext,
        timeout: Duration,
    ) -> TaskResult<reqwest::Request> {
        let mut request = reqwest::Request::new(self.method, self.url);
        let mut headers = self.headers;
        let id = HeaderValue::from_str(task.id())?;
        headers
            .entry("idempotency-key")
            .or_insert_with(|| id.clone());
        headers.insert("redrive-task-id", id);
        headers.insert("redrive-attempt", task.attempt().into());
        headers.insert("redrive-run", task.run().into());
        headers.insert("redrive-fence", task.fence().into());
        *request.headers_mut() = headers;
        *request.body_mut() = self.body.map(Into::into);
        *request.timeout_mut() = Some(timeout);
        Ok(request)
    }
}

fn parse_url(text: &str) -> TaskResult<Url> {
    let url = Url::parse(text).map_err(|error| invalid("url", &error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(invalid(
            "url",
            &format!("scheme {:?}; use http or https", url.scheme()),
        ));
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(invalid("url", "has no host"));
    }
    Ok(url)
}

fn parse_headers(fields: Map<String, Value>) -> TaskResult<HeaderMap> {
    let mut headers = HeaderMap::with_capacity(fields.len());
    for (name, value) in fields {
        let field = format!("headers.{name}");
        let Value::String(value) = value else {
            return Err(invalid(&field, "is no string"));
        };
        let name = HeaderName::from_bytes(name.as_bytes())
            .map_err(|error| invalid(&field, &error.to_string()))?;
        let value =
            HeaderValue::from_str(&value).map_err(|error| invalid(&field, &error.to_string()))?;
        headers.insert(name, value);
    }
    Ok(headers)
}

fn invalid(field: &str, problem: &str) -> TaskError {
    let text = format!("{field}: {problem}");
    TaskError::fatal(
        TaskError::new(FailureClass::Invalid, text)
            .with_type("rust:redrive_worker::InvalidPayload"),
    )
}
