//! What is wrong is refused: with the right code and reason, the path of the field at fault, and
//! words that name the limit and the remedy. Whatever was refused, the coordinator still serves.
//!
//! Everything goes through the generated stubs, which check nothing.

mod policies;
mod reports;
mod requests;
mod selections;
mod specs;
mod states;
mod workers;

use redrive_tests::refusal::Expected;
use tonic::{Response, Status, Streaming};

/// A duration that goes back.
const NEGATIVE: prost_types::Duration = prost_types::Duration {
    seconds: -1,
    nanos: 0,
};
/// A duration whose parts disagree.
const MALFORMED: prost_types::Duration = prost_types::Duration {
    seconds: 1,
    nanos: -5,
};
/// A duration beyond every limit.
const ENDLESS: prost_types::Duration = prost_types::Duration {
    seconds: i64::MAX,
    nanos: 0,
};
/// A name that is none.
const BAD_NAME: &str = "no spaces";
/// What a refusal of it says.
const NAME_RULE: &str = "use letters, digits, '.', '_' and '-'";

/// The durations that are refused everywhere, with what is said of them.
const BAD_DURATIONS: [(prost_types::Duration, &str); 3] = [
    (NEGATIVE, "is negative (-1 s), durations are at least 0"),
    (MALFORMED, "is malformed: nanos must"),
    (ENDLESS, " is allowed"),
];

/// A call's request with one fault, and what is expected of the refusal.
type Case<T> = (T, Expected);

/// One case for each bad duration at a field.
fn durations<T>(field: &str, request: impl Fn(prost_types::Duration) -> T) -> Vec<Case<T>> {
    let case = |(bad, says): (prost_types::Duration, &str)| {
        (request(bad), Expected::field(field, &[says]))
    };
    BAD_DURATIONS.into_iter().map(case).collect()
}

/// All that a call streams, or how it ends.
async fn all<T>(call: Result<Response<Streaming<T>>, Status>) -> Result<Vec<T>, Status> {
    let mut stream = call?.into_inner();
    let mut messages = Vec::new();
    while let Some(message) = stream.message().await? {
        messages.push(message);
    }
    Ok(messages)
}

/// Makes a unary call for each case and compares its refusal.
macro_rules! refused {
    ($stub:expr, $method:ident, $cases:expr) => {{
        let mut stub = $stub;
        for (index, (request, expected)) in ($cases).into_iter().enumerate() {
            let name = format!("{} {index} ({})", stringify!($method), expected.field);
            let answer = redrive_tests::within(&name, stub.$method(request)).await;
            expected.check_status(&name, answer);
        }
    }};
}
pub(crate) use refused;

/// Makes a call that streams for each case and compares its refusal.
macro_rules! stream_refused {
    ($stub:expr, $method:ident, $cases:expr) => {{
        let mut stub = $stub;
        for (index, (request, expected)) in ($cases).into_iter().enumerate() {
            let name = format!("{} {index} ({})", stringify!($method), expected.field);
            let answer = crate::all(stub.$method(request).await);
            expected.check_status(&name, redrive_tests::within(&name, answer).await);
        }
    }};
}
pub(crate) use stream_refused;
