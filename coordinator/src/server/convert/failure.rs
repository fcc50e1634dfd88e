//! Failures, both ways. Names the field that cannot be used, and never judges a failure.

use std::sync::Arc;

use redrive_proto::v1 as pb;

use super::field::{At, Parsed, text, variant};
use crate::engine::failure::{Failure, FailureClass};
use crate::engine::limits;

/// The largest google.rpc.Code.
const CODE_MAX: i32 = 16;

/// A failure as a worker reports it; unset means one of class INTERNAL that says nothing.
pub(crate) fn optional_failure(value: Option<pb::Failure>, at: At<'_>) -> Parsed<Failure> {
    failure(value.unwrap_or_default(), at)
}

/// A failure as it is reported or previewed.
pub(crate) fn failure(value: pb::Failure, at: At<'_>) -> Parsed<Failure> {
    if !(0..=CODE_MAX).contains(&value.code) {
        return Err(at.field("code").refuse(format_args!(
            "is {}, a google.rpc.Code is 0 to {CODE_MAX}: leave it 0 where the failure was no RPC's",
            value.code
        )));
    }
    let at_ancestors = at.field("ancestors");
    if value.ancestors.len() > limits::ANCESTORS_MAX {
        return Err(at_ancestors.refuse(format_args!(
            "has {} elements, at most {} are allowed: keep the nearest",
            value.ancestors.len(),
            limits::ANCESTORS_MAX
        )));
    }
    let ancestors = value.ancestors.iter().enumerate().map(|(index, ancestor)| {
        text(
            ancestor,
            limits::ERROR_TYPE_BYTES_MAX,
            at_ancestors.index(index),
        )
    });
    Ok(Failure {
        class: class(variant(value.failure_class, at.field("failure_class"))?),
        code: value.code,
        error_type: text(
            &value.r#type,
            limits::ERROR_TYPE_BYTES_MAX,
            at.field("type"),
        )?,
        ancestors: ancestors.collect::<Parsed<Vec<Arc<str>>>>()?,
        message: text(
            &value.message,
            limits::FAILURE_MESSAGE_BYTES_MAX,
            at.field("message"),
        )?,
        stack: text(&value.stack, limits::STACK_BYTES_MAX, at.field("stack"))?,
        expected: value.expected,
    })
}

/// The class that a number of the wire means.
pub(crate) const fn class(value: pb::FailureClass) -> FailureClass {
    match value {
        pb::FailureClass::Network => FailureClass::Network,
        pb::FailureClass::RateLimited => FailureClass::RateLimited,
        pb::FailureClass::Conflict => FailureClass::Conflict,
        pb::FailureClass::DependencyDown => FailureClass::DependencyDown,
        pb::FailureClass::Invalid => FailureClass::Invalid,
        pb::FailureClass::NotFound => FailureClass::NotFound,
        pb::FailureClass::Auth => FailureClass::Auth,
        pb::FailureClass::Timeout => FailureClass::Timeout,
        pb::FailureClass::WorkerLost => FailureClass::WorkerLost,
        pb::FailureClass::UnknownKind => FailureClass::UnknownKind,
        pb::FailureClass::Unspecified | pb::FailureClass::Internal => FailureClass::Internal,
        pb::FailureClass::Business => FailureClass::Business,
    }
}

/// The number that a class has on the wire.
pub(crate) const fn class_view(class: FailureClass) -> pb::FailureClass {
    match class {
        FailureClass::Network => pb::FailureClass::Network,
        FailureClass::RateLimited => pb::FailureClass::RateLimited,
        FailureClass::Conflict => pb::FailureClass::Conflict,
        FailureClass::DependencyDown => pb::FailureClass::DependencyDown,
        FailureClass::Invalid => pb::FailureClass::Invalid,
        FailureClass::NotFound => pb::FailureClass::NotFound,
        FailureClass::Auth => pb::FailureClass::Auth,
        FailureClass::Timeout => pb::FailureClass::Timeout,
        FailureClass::WorkerLost => pb::FailureClass::WorkerLost,
        FailureClass::UnknownKind => pb::FailureClass::UnknownKind,
        FailureClass::Internal => pb::FailureClass::Internal,
        FailureClass::Business => pb::FailureClass::Business,
    }
}

/// A failure, whole.
pub(crate) fn failure_view(failure: &Failure) -> pb::Failure {
    pb::Failure {
        failure_class: class_view(failure.class).into(),
        code: failure.code,
        r#type: failure.error_type.to_string(),
        ancestors: failure.ancestors.iter().map(ToString::to_string).collect(),
        message: failure.message.to_string(),
        stack: failure.stack.to_string(),
        expected: failure.expected,
    }
}

/// A failure as lists and events have it: class, type and message.
pub(crate) fn failure_brief(failure: &Failure) -> pb::Failure {
    pb::Failure {
        failure_class: class_view(failure.class).into(),
        r#type: failure.error_type.to_string(),
        message: failure.message.to_string(),
        ..pb::Failure::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_has_its_own_number() {
        for each in FailureClass::ALL {
            assert_eq!(class(class_view(each)), each);
            let name = class_view(each).as_str_name();
            assert_eq!(name, format!("FAILURE_CLASS_{}", each.name()));
        }
    }

    #[test]
    fn a_failure_that_says_nothing_is_internal() {
        let parsed = optional_failure(None, At::Root).unwrap();
        assert_eq!(parsed, Failure::new(FailureClass::Internal, ""));
    }

    #[test]
    fn whatever_is_too_long_or_unknown_is_refused_by_name() {
        let base = pb::Failure::default;
        let long = |bytes: usize| "x".repeat(bytes);
        let cases = [
            (
                pb::Failure {
                    failure_class: 40,
                    ..base()
                },
                "failure_class",
            ),
            (pb::Failure { code: 17, ..base() }, "code"),
            (pb::Failure { code: -1, ..base() }, "code"),
            (
                pb::Failure {
                    r#type: long(257),
                    ..base()
                },
                "type",
            ),
            (
                pb::Failure {
                    ancestors: vec![String::new(); 17],
                    ..base()
                },
                "ancestors",
            ),
            (
                pb::Failure {
                    ancestors: vec![String::new(), long(257)],
                    ..base()
                },
                "ancestors[1]",
            ),
            (
                pb::Failure {
                    message: long(4097),
                    ..base()
                },
                "message",
            ),
            (
                pb::Failure {
                    stack: long(65_537),
                    ..base()
                },
                "stack",
            ),
        ];
        for (value, field) in cases {
            assert_eq!(failure(value, At::Root).unwrap_err().field, field);
        }
    }
}
