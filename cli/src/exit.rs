//! Exit codes: which there are, and which one an error ends the process with.
//!
//! The table for people is in `args::AFTER_LONG_HELP`; a test holds both together.

use std::{error::Error as StdError, fmt, io, process::ExitCode};

use redrive_client::{CallFailure, Error as ClientError};
use redrive_coordinator::run::StartError;

use crate::output::{self, human};

/// Another error.
pub(crate) const OTHER: u8 = 1;
/// Wrong usage; clap's own code too.
pub(crate) const USAGE: u8 = 2;
/// The task waited for failed, was routed on, or is a dead letter.
pub(crate) const WAIT_FAILED: u8 = 10;
/// The task waited for was cancelled or discarded.
pub(crate) const WAIT_CANCELLED: u8 = 11;
/// The wait ran out of time.
pub(crate) const WAIT_TIMED_OUT: u8 = 12;
/// A call failed: this plus its gRPC code.
pub(crate) const RPC_BASE: u8 = 64;
/// The journal is damaged: the coordinator refuses to start. EX_CONFIG of sysexits.h.
pub(crate) const DAMAGED: u8 = 78;
/// The reader of stdout went away: 128 + SIGPIPE, as for programs that the signal ends.
pub(crate) const CLOSED_PIPE: u8 = 141;
/// Stopped at once by a signal: 128 + SIGINT.
pub(crate) const INTERRUPTED: u8 = 130;

/// A mistake on the command line that clap cannot see.
#[derive(Debug)]
pub(crate) struct Usage(pub(crate) String);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl StdError for Usage {}

/// An [`anyhow::Error`] that ends the process with [`USAGE`].
pub(crate) fn usage(problem: impl Into<String>) -> anyhow::Error {
    anyhow::Error::new(Usage(problem.into()))
}

/// The code that an error ends the process with.
pub(crate) fn code(error: &anyhow::Error) -> u8 {
    if is_closed_pipe(error) {
        return CLOSED_PIPE;
    }
    if let Some(error) = error.downcast_ref::<ClientError>() {
        let code = u8::try_from(i32::from(error.code())).unwrap_or_default();
        return RPC_BASE.saturating_add(code);
    }
    if error.downcast_ref::<Usage>().is_some() {
        USAGE
    } else if is_damage(error) {
        DAMAGED
    } else {
        OTHER
    }
}

fn is_damage(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<StartError>()
        .is_some_and(StartError::is_damage)
}

/// Tells the error on stderr, unless nobody reads any more, and answers its code.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    if !is_closed_pipe(error) {
        output::note(&format!("redrive: {}", sentence(error)));
    }
    ExitCode::from(code(error))
}

/// What went wrong and what to do about it, on one line.
pub(crate) fn sentence(error: &anyhow::Error) -> String {
    match error.downcast_ref::<ClientError>() {
        Some(ClientError::Connect { address, problem }) => format!(
            "no coordinator answers at {address} ({problem}); start one with `redrive dev`, or \
             name another with --address or REDRIVE_ADDRESS"
        ),
        Some(ClientError::Refused(failure)) => refusal(failure),
        Some(ClientError::Invalid { field, problem }) => match flag(field) {
            Some(flag) => format!("{flag} {problem}"),
            None => format!("{error:#}"),
        },
        Some(_) | None => format!("{error:#}"),
    }
}

/// The flag that sets a field.
fn flag(field: &str) -> Option<String> {
    const OTHERWISE_NAMED: [(&str, &str); 6] = [
        ("idempotency-key", "key"),
        ("idempotency-window", "key-window"),
        ("retry-policy", "policy"),
        ("inline-retry-policy", "policy-file"),
        ("labels", "label"),
        ("delivery", "at-most-once"),
    ];
    const LEVELS: [&str; 6] = [
        "task",
        "settings",
        "terms",
        "timeouts",
        "follow_ups",
        "task_key",
    ];
    if field == "settings.queue" {
        // A kind's; a queue names itself by position.
        return Some("--default-queue".to_owned());
    }
    let mut parts = field.split('.').skip_while(|part| LEVELS.contains(part));
    let name = match (parts.next()?, parts.next()) {
        ("unique", Some("scope")) => "unique_scope",
        ("unique", Some("on_conflict")) => "on_conflict",
        ("unique", Some("postpone_max")) => "postpone_max",
        (name, _) => name.split('[').next()?,
    };
    let name = name.replace('_', "-");
    let other = OTHERWISE_NAMED.iter().find(|(field, _)| *field == name);
    let flag = other.map_or(name.as_str(), |(_, flag)| flag);
    const POSITIONAL: [&str; 5] = ["kind", "task-id", "namespace", "address", "update"];
    (!POSITIONAL.contains(&flag)).then(|| format!("--{flag}"))
}

/// What was refused, in people's words first, then in those for machines.
pub(crate) fn refusal(failure: &CallFailure) -> String {
    let mut text = failure.message.clone();
    for violation in failure.violations_beyond_message() {
        text.push_str(&format!("; {}: {}", violation.field, violation.description));
    }
    if let Some(after) = failure.retry_after {
        text.push_str(&format!("; try again in {}", human::span(after)));
    }
    let code = upper_snake(&format!("{:?}", failure.code));
    let reason = if failure.reason.is_empty() { "" } else { " " };
    format!("{text} ({code}{reason}{})", failure.reason)
}

/// "NotFound" as "NOT_FOUND".
fn upper_snake(name: &str) -> String {
    let mut text = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() && !text.is_empty() {
            text.push('_');
        }
        text.push(c.to_ascii_uppercase());
    }
    text
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::args::Cli;

    fn connect_error() -> anyhow::Error {
        let address = "127.0.0.1:1".to_owned();
        ClientError::Connect {
            address,
            problem: "connection refused".to_owned(),
        }
        .into()
    }

    #[test]
    fn a_failed_call_ends_with_64_plus_its_code() {
        assert_eq!(code(&connect_error()), 78);
        let refusal = redrive_proto::v1::Refusal {
            code: 5,
            ..Default::default()
        };
        assert_eq!(code(&ClientError::from(refusal).into()), 69);
        let invalid = ClientError::Invalid {
            field: "a".to_owned(),
            problem: "b".to_owned(),
        };
        assert_eq!(code(&anyhow::Error::new(invalid).context("more")), 67);
    }

    #[test]
    fn usage_pipes_and_the_rest_have_their_own_codes() {
        assert_eq!(code(&usage("say --yes")), USAGE);
        assert_eq!(code(&anyhow::anyhow!("else")), OTHER);
        let pipe = io::Error::from(io::ErrorKind::BrokenPipe);
        assert_eq!(
            code(&anyhow::Error::new(pipe).context("writing")),
            CLOSED_PIPE
        );
    }

    #[test]
    fn nobody_listening_is_told_in_one_line_with_address_and_remedy() {
        let told = sentence(&connect_error());
        for part in [
            "127.0.0.1:1",
            "connection refused",
            "redrive dev",
            "REDRIVE_ADDRESS",
        ] {
            assert!(told.contains(part), "{told}");
        }
        assert!(!told.contains('\n'));
    }

    #[test]
    fn a_refusal_is_told_once_and_names_its_code_and_reason() {
        let refusal = redrive_proto::v1::Refusal {
            code: 8,
            reason: "MEMORY_FULL".to_owned(),
            message: "task.payload is too large".to_owned(),
            field: "task.payload".to_owned(),
            retry_after: Some(prost_types::Duration {
                seconds: 2,
                nanos: 0,
            }),
        };
        assert_eq!(
            sentence(&ClientError::from(refusal).into()),
            "task.payload is too large; try again in 2s (RESOURCE_EXHAUSTED MEMORY_FULL)"
        );
    }

    #[test]
    fn a_field_at_fault_is_told_by_its_flag() {
        for (field, told) in [
            ("task.queue", Some("--queue")),
            ("task.terms.ttl", Some("--ttl")),
            ("settings.terms.result_ttl", Some("--result-ttl")),
            ("task.timeouts.extend_max", Some("--extend-max")),
            (
                "task.terms.follow_ups.on_failure.kind",
                Some("--on-failure"),
            ),
            ("task.then[2].queue", Some("--then")),
            ("task.idempotency_key", Some("--key")),
            ("task.unique.key", Some("--unique")),
            ("task.unique.postpone_max", Some("--postpone-max")),
            ("task_key.idempotency_key", Some("--key")),
            ("task.labels.a", Some("--label")),
            ("settings.dead_letter_queue", Some("--dead-letter-queue")),
            ("settings.queue", Some("--default-queue")),
            (
                "settings.terms.follow_ups.on_failure.queue",
                Some("--on-failure"),
            ),
            ("request_id", Some("--request-id")),
            ("task.kind", None),
            ("task_id", None),
        ] {
            assert_eq!(flag(field).as_deref(), told, "{field}");
        }
    }

    #[test]
    fn the_help_names_every_code() {
        let help = Cli::command().render_long_help().to_string();
        let table = help.split("Exit codes:").nth(1).unwrap();
        let own = [
            OTHER,
            USAGE,
            WAIT_FAILED,
            WAIT_CANCELLED,
            WAIT_TIMED_OUT,
            DAMAGED,
            INTERRUPTED,
            CLOSED_PIPE,
        ];
        for code in own
            .into_iter()
            .chain([RPC_BASE + 3, RPC_BASE + 5, RPC_BASE + 14])
        {
            assert!(
                table
                    .lines()
                    .any(|line| line.split_whitespace().any(|w| w == code.to_string())),
                "{code} is not in {table}"
            );
        }
    }
}
