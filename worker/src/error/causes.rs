//! Reads an error's chain of sources into the facts of a failure.
//!
//! Owns the list of well-known error types: their public names, and the class that each implies.
//! Everything else is INTERNAL and named by what `Debug` shows. Never fails and never panics on an
//! odd error: a chain is read to a fixed depth.

use std::{any::type_name, error::Error as StdError, io};

use redrive_proto::v1::{Failure, FailureClass};
use tonic::Code;

use crate::report::{ANCESTORS_MAX, MESSAGE_BYTES_MAX, TYPE_BYTES_MAX, clip};

/// How deep a chain of sources is read.
const DEPTH_MAX: usize = ANCESTORS_MAX;

/// The facts of an error and of what caused it.
pub(super) fn failure_of<E: StdError + Send + Sync + 'static>(error: &E) -> Failure {
    let top = known(error);
    let kind = top.as_ref().map_or_else(
        || format!("rust:{}", type_name::<E>()),
        |known| known.name.to_owned(),
    );

    let mut class = top.as_ref().and_then(|known| known.class);
    let code = top.as_ref().map_or(0, |known| known.code);
    let mut ancestors: Vec<String> = top.into_iter().flat_map(|known| known.also).collect();
    let mut message = error.to_string();

    let mut source = error.source();
    for _ in 0..DEPTH_MAX {
        let Some(cause) = source else { break };
        match known(cause) {
            Some(known) => {
                class = class.or(known.class);
                ancestors.push(known.name.to_owned());
                ancestors.extend(known.also);
            }
            None => ancestors.extend(debug_head(cause)),
        }
        let text = cause.to_string();
        // Many errors print their source themselves.
        if !message.contains(&text) {
            message.push_str(": ");
            message.push_str(&text);
        }
        source = cause.source();
    }
    ancestors.dedup();
    ancestors.truncate(ANCESTORS_MAX);

    Failure {
        failure_class: class.unwrap_or(FailureClass::Internal).into(),
        code,
        r#type: clip(&kind, TYPE_BYTES_MAX),
        ancestors,
        message: clip(&message, MESSAGE_BYTES_MAX),
        ..Failure::default()
    }
}

/// What is known of a well-known error type.
struct Known {
    name: &'static str,
    /// More names that a rule may want to match, such as the kind of an IO error.
    also: Vec<String>,
    class: Option<FailureClass>,
    code: i32,
}

impl Known {
    fn named(name: &'static str) -> Self {
        Self {
            name,
            also: Vec::new(),
            class: None,
            code: 0,
        }
    }

    fn class(mut self, class: Option<FailureClass>) -> Self {
        self.class = class;
        self
    }
}

fn known(error: &(dyn StdError + 'static)) -> Option<Known> {
    if let Some(error) = error.downcast_ref::<io::Error>() {
        let mut known = Known::named("rust:std::io::Error").class(io_class(error.kind()));
        known
            .also
            .push(format!("rust:std::io::ErrorKind::{:?}", error.kind()));
        return Some(known);
    }
    if let Some(status) = error.downcast_ref::<tonic::Status>() {
        let mut known = Known::named("rust:tonic::Status").class(code_class(status.code()));
        known.code = status.code().into();
        return Some(known);
    }
    if let Some(error) = error.downcast_ref::<reqwest::Error>() {
        return Some(Known::named("rust:reqwest::Error").class(reqwest_class(error)));
    }
    if error.is::<tokio::time::error::Elapsed>() {
        let known = Known::named("rust:tokio::time::error::Elapsed");
        return Some(known.class(Some(FailureClass::Timeout)));
    }
    if error.is::<tonic::transport::Error>() {
        let known = Known::named("rust:tonic::transport::Error");
        return Some(known.class(Some(FailureClass::Network)));
    }
    if error.is::<serde_json::Error>() {
        return Some(Known::named("rust:serde_json::Error"));
    }
    if error.is::<std::num::ParseIntError>() {
        return Some(Known::named("rust:std::num::ParseIntError"));
    }
    if error.is::<std::str::Utf8Error>() {
        return Some(Known::named("rust:std::str::Utf8Error"));
    }
    None
}

/// The first word of an error's `Debug` form, where it begins with a name.
fn debug_head(error: &dyn StdError) -> Option<String> {
    let debug = format!("{error:?}");
    let head: String = debug
        .chars()
        .take_while(|c| c.is_ascii_alphanumeric() || *c == '_' || *c == ':')
        .take(TYPE_BYTES_MAX - "debug:".len())
        .collect();
    let named = head
        .chars()
        .next()
        .is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    named.then(|| format!("debug:{head}"))
}

/// The class that an IO error implies; `None` where its kind says nothing.
pub(crate) fn io_class(kind: io::ErrorKind) -> Option<FailureClass> {
    use io::ErrorKind;
    // `ErrorKind` is open: kinds that are not listed say nothing.
    if kind == ErrorKind::TimedOut {
        return Some(FailureClass::Timeout);
    }
    let network = [
        ErrorKind::ConnectionRefused,
        ErrorKind::ConnectionReset,
        ErrorKind::ConnectionAborted,
        ErrorKind::NotConnected,
        ErrorKind::BrokenPipe,
        ErrorKind::HostUnreachable,
        ErrorKind::NetworkUnreachable,
        ErrorKind::NetworkDown,
    ];
    network.contains(&kind).then_some(FailureClass::Network)
}

fn code_class(code: Code) -> Option<FailureClass> {
    match code {
        Code::Unavailable => Some(FailureClass::DependencyDown),
        Code::ResourceExhausted => Some(FailureClass::RateLimited),
        Code::Aborted | Code::AlreadyExists => Some(FailureClass::Conflict),
        Code::InvalidArgument | Code::OutOfRange => Some(FailureClass::Invalid),
        Code::NotFound => Some(FailureClass::NotFound),
        Code::Unauthenticated | Code::PermissionDenied => Some(FailureClass::Auth),
        Code::DeadlineExceeded => Some(FailureClass::Timeout),
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::FailedPrecondition
        | Code::Unimplemented
        | Code::Internal
        | Code::DataLoss => None,
    }
}

fn reqwest_class(error: &reqwest::Error) -> Option<FailureClass> {
    if error.is_timeout() {
        Some(FailureClass::Timeout)
    } else if let Some(status) = error.status() {
        crate::runners::http::status_class(status)
    } else if error.is_connect() || error.is_body() || error.is_request() {
        Some(FailureClass::Network)
    } else {
        None
    }
}
