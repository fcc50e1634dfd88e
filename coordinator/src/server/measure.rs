//! How long calls take and how they end, for `rpc_server_call_duration_seconds`.
//!
//! Owns the layer around all services and the list of methods that have series of their own. Never
//! changes a call or its answer. Invariants: a method is named only if the descriptors of what is
//! served have it, so that strangers cannot make series; each call that reaches the services counts
//! once, also where the caller left before there was an answer.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use prost::Message as _;
use prost_types::FileDescriptorSet;
use tonic::service::Routes;
use tonic::{Code, Status};

use crate::shell::clock::SystemTimeSource;
use crate::telemetry::{OTHER, Telemetry};

/// The descriptors of all that is served.
const DESCRIPTORS: [&[u8]; 4] = [
    redrive_proto::DESCRIPTOR,
    tonic_health::pb::FILE_DESCRIPTOR_SET,
    tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
    tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
];

/// The same services, with every call measured from its request to the headers of its answer.
///
/// # Errors
/// Where a descriptor that this program was built with cannot be read.
pub(crate) fn measured(
    routes: Routes,
    telemetry: Arc<Telemetry>,
) -> Result<Routes, prost::DecodeError> {
    measured_by(routes, telemetry, SystemTimeSource::since_boot)
}

fn measured_by(
    routes: Routes,
    telemetry: Arc<Telemetry>,
    elapsed: fn() -> Duration,
) -> Result<Routes, prost::DecodeError> {
    let meter = Arc::new(Meter {
        telemetry,
        methods: methods()?,
        other: OTHER.into(),
        elapsed,
    });
    let layer = from_fn(move |request, next| measure(Arc::clone(&meter), request, next));
    Ok(routes.into_axum_router().layer(layer).into())
}

async fn measure(meter: Arc<Meter>, request: Request, next: Next) -> Response {
    let mut call = Call::begin(meter, request.uri().path());
    let response = next.run(request).await;
    call.code = code(&response);
    response
}

/// Every method of every service, as `package.Service/Method`.
fn methods() -> Result<BTreeSet<Arc<str>>, prost::DecodeError> {
    let mut methods = BTreeSet::new();
    for bytes in DESCRIPTORS {
        for file in FileDescriptorSet::decode(bytes)?.file {
            let package = file.package();
            for service in &file.service {
                for method in &service.method {
                    let path = format!("{package}.{}/{}", service.name(), method.name());
                    methods.insert(path.into());
                }
            }
        }
    }
    Ok(methods)
}

/// How a call ended: an error that was known before the answer began is in its headers. What comes
/// later is in the trailers, behind the end of what is measured.
fn code(response: &Response) -> Code {
    let status = response.headers().get(Status::GRPC_STATUS);
    status.map_or(Code::Ok, |status| Code::from_bytes(status.as_bytes()))
}

const fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

struct Meter {
    telemetry: Arc<Telemetry>,
    methods: BTreeSet<Arc<str>>,
    other: Arc<str>,
    elapsed: fn() -> Duration,
}

/// A call under way. It is counted when this is dropped, which a caller that leaves, or whose
/// deadline has passed, brings about too.
struct Call {
    meter: Arc<Meter>,
    method: Arc<str>,
    began: Duration,
    code: Code,
}

impl Call {
    fn begin(meter: Arc<Meter>, path: &str) -> Self {
        let method = path.strip_prefix('/').and_then(|m| meter.methods.get(m));
        let method = Arc::clone(method.unwrap_or(&meter.other));
        Self {
            method,
            began: (meter.elapsed)(),
            code: Code::Cancelled,
            meter,
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let took = (self.meter.elapsed)().saturating_sub(self.began);
        let method = Arc::clone(&self.method);
        self.meter.telemetry.called(method, name(self.code), took);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use axum::Router;
    use axum::body::Body;
    use futures::FutureExt as _;
    use tonic::codegen::Service;

    use super::*;

    const ENQUEUE: &str = "redrive.v1.TaskService/EnqueueTask";
    const WORK: &str = "redrive.v1.WorkerService/Work";

    /// A quarter of a second passes between any two looks at this clock.
    fn quarters() -> Duration {
        thread_local!(static NOW: Cell<Duration> = const { Cell::new(Duration::ZERO) });
        NOW.set(NOW.get() + Duration::from_millis(250));
        NOW.get()
    }

    /// Services that end calls as the query of the path says: a status at once, never, or well.
    fn services() -> (Router, Arc<Telemetry>) {
        let answer = async |request: Request| match request.uri().query() {
            None => Response::default(),
            Some("never") => std::future::pending().await,
            Some(code) => {
                let code = Code::from_bytes(code.as_bytes());
                Status::new(code, "no").into_http::<Body>()
            }
        };
        let telemetry = Arc::new(Telemetry::new("0.0.0").unwrap());
        let routes = Routes::from(Router::new().fallback(answer));
        let routes = measured_by(routes, Arc::clone(&telemetry), quarters).unwrap();
        (routes.into_axum_router(), telemetry)
    }

    async fn call(services: &mut Router, path: &str) -> Response {
        let request = Request::builder().uri(path).body(Body::empty()).unwrap();
        services.call(request).await.unwrap()
    }

    /// What was counted: method, status and number of calls.
    fn counted(telemetry: &Telemetry) -> BTreeSet<String> {
        let text = telemetry.render();
        let counts = text
            .lines()
            .filter_map(|line| line.strip_prefix("rpc_server_call_duration_seconds_count"));
        counts.map(str::to_owned).collect()
    }

    fn line(method: &str, code: &str, calls: u32) -> String {
        format!("{{rpc_method=\"{method}\",rpc_status_code=\"{code}\"}} {calls}")
    }

    #[tokio::test]
    async fn a_call_counts_under_its_method_and_the_status_of_the_answer_s_headers() {
        let (mut services, telemetry) = services();
        for query in ["", "", "?3", "?8", "?nonsense"] {
            call(&mut services, &format!("/{ENQUEUE}{query}")).await;
        }
        call(&mut services, &format!("/{WORK}")).await;
        let expected = [
            line(ENQUEUE, "OK", 2),
            line(ENQUEUE, "INVALID_ARGUMENT", 1),
            line(ENQUEUE, "RESOURCE_EXHAUSTED", 1),
            line(ENQUEUE, "UNKNOWN", 1),
            line(WORK, "OK", 1),
        ];
        assert_eq!(counted(&telemetry), BTreeSet::from(expected));
    }

    #[tokio::test]
    async fn whatever_paths_strangers_ask_for_share_one_series() {
        let (mut services, telemetry) = services();
        for index in 0..100 {
            call(&mut services, &format!("/any.Service{index}/Call?12")).await;
            let invented = format!("/redrive.v1.TaskService/Enqueue{index}?12");
            call(&mut services, &invented).await;
            call(&mut services, &format!("//{ENQUEUE}?12")).await;
        }
        let expected = BTreeSet::from([line("other", "UNIMPLEMENTED", 300)]);
        assert_eq!(counted(&telemetry), expected);
    }

    #[tokio::test]
    async fn a_call_whose_caller_left_before_the_answer_counts_as_cancelled() {
        let (mut services, telemetry) = services();
        let asked = format!("/{ENQUEUE}?never");
        assert!(call(&mut services, &asked).now_or_never().is_none());
        let expected = BTreeSet::from([line(ENQUEUE, "CANCELLED", 1)]);
        assert_eq!(counted(&telemetry), expected);
    }

    #[tokio::test]
    async fn the_time_from_request_to_headers_is_what_counts() {
        let (mut services, telemetry) = services();
        call(&mut services, &format!("/{ENQUEUE}")).await;
        let labels = format!("{{rpc_method=\"{ENQUEUE}\",rpc_status_code=\"OK\"}}");
        let sum = format!("\nrpc_server_call_duration_seconds_sum{labels} 0.25\n");
        let text = telemetry.render();
        assert!(text.contains(&sum), "no {sum} in:\n{text}");
    }

    #[test]
    fn every_service_that_is_served_has_its_methods_named() {
        let methods = methods().unwrap();
        for method in [
            ENQUEUE,
            WORK,
            "grpc.health.v1.Health/Check",
            "grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
            "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        ] {
            assert!(methods.contains(method), "{method}");
        }
    }
}
