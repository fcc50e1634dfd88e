//! What every refusal must say, however it arrives.
//!
//! Owns the form: a code, a stable reason of this product's domain, the field at fault, and words
//! for a person. Never knows what is right for a request: the tables in `tests/bad_input` do.

use redrive_proto::v1 as pb;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// Who makes the reasons.
const DOMAIN: &str = "redrive.dev";

/// What is expected of a refusal.
#[derive(Clone, Debug)]
pub struct Expected {
    /// The code.
    pub code: Code,
    /// The reason for machines.
    pub reason: &'static str,
    /// The path of the field at fault; empty where none is.
    pub field: String,
    /// What the message must contain: the limit, and the remedy.
    pub says: Vec<String>,
}

impl Expected {
    /// A field that can never be right as it is.
    #[must_use]
    pub fn field(field: &str, says: &[&str]) -> Self {
        let says = says.iter().map(|&says| says.to_owned()).collect();
        Self {
            code: Code::InvalidArgument,
            reason: "FIELD_INVALID",
            field: field.to_owned(),
            says,
        }
    }

    /// Anything else.
    #[must_use]
    pub fn reason(code: Code, reason: &'static str, says: &[&str]) -> Self {
        Self {
            code,
            reason,
            ..Self::field("", says)
        }
    }

    /// The same with its field behind another path.
    #[must_use]
    pub fn below(mut self, parent: &str) -> Self {
        self.field = format!("{parent}.{}", self.field);
        self
    }

    /// Compares with the end of a call or stream.
    ///
    /// # Panics
    /// Where it is not the refusal that is expected.
    pub fn check_status<T: std::fmt::Debug>(&self, name: &str, answer: Result<T, Status>) {
        let status = match answer {
            Ok(answer) => panic!("{name}: accepted: {answer:?}"),
            Err(status) => status,
        };
        let details = status.get_error_details();
        let info = details.error_info();
        let info = info.unwrap_or_else(|| panic!("{name}: no ErrorInfo: {status:?}"));
        assert_eq!(info.domain, DOMAIN, "{name}");
        let violations = details.bad_request();
        let fields: Vec<&str> = violations.map_or_else(Vec::new, |bad| {
            let violations = bad.field_violations.iter();
            let fields = violations.inspect(|one| self.check_words(name, &one.description, &[]));
            fields.map(|one| one.field.as_str()).collect()
        });
        assert!(fields.len() <= 1, "{name}: {fields:?}");
        let told = pb::Refusal {
            code: status.code().into(),
            reason: info.reason.clone(),
            message: status.message().to_owned(),
            field: fields.concat(),
            retry_after: None,
        };
        self.check(name, &told);
    }

    /// Compares with the refusal of one thing of many.
    ///
    /// # Panics
    /// Where it is not the refusal that is expected.
    pub fn check(&self, name: &str, told: &pb::Refusal) {
        let wanted = (self.code, self.reason, self.field.as_str());
        let code = Code::from_i32(told.code);
        let got = (code, told.reason.as_str(), told.field.as_str());
        assert_eq!(got, wanted, "{name}: {}", told.message);
        assert!(
            told.message.starts_with(&self.field),
            "{name}: the message names the field: {}",
            told.message
        );
        self.check_words(name, &told.message, &self.says);
    }

    fn check_words(&self, name: &str, message: &str, says: &[String]) {
        assert!(
            !message.is_empty() && !message.ends_with('.'),
            "{name}: {message:?}"
        );
        for words in says {
            assert!(
                message.contains(words),
                "{name}: {words:?} is missing in {message:?}"
            );
        }
    }
}
