//! Small files named on the command line: payloads and policies. `-` is stdin.
//!
//! Never reads more than the limit that its caller names.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use anyhow::Context as _;
use redrive_proto::v1;

use crate::{exit, output::json};

/// The most bytes of a payload.
pub(crate) const PAYLOAD_BYTES_MAX: u64 = 1_048_576;

/// The most bytes of a policy file: far more than 32 rules of the longest texts.
const POLICY_BYTES_MAX: u64 = 1_048_576;

/// Reads a whole file.
///
/// # Errors
/// Where it cannot be read, or is larger than `bytes_max`.
pub(crate) fn read(path: &Path, bytes_max: u64) -> anyhow::Result<Vec<u8>> {
    let name = path.display();
    if path.as_os_str() == "-" {
        return read_up_to(io::stdin().lock(), bytes_max).context("stdin");
    }
    let file = File::open(path).with_context(|| format!("cannot open {name}"))?;
    read_up_to(file, bytes_max).with_context(|| format!("{name}"))
}

fn read_up_to(input: impl Read, bytes_max: u64) -> anyhow::Result<Vec<u8>> {
    let mut data = Vec::new();
    // One more than allowed, to notice.
    let read = input
        .take(bytes_max.saturating_add(1))
        .read_to_end(&mut data)?;
    if u64::try_from(read).unwrap_or(u64::MAX) > bytes_max {
        return Err(exit::usage(format!(
            "is larger than {bytes_max} bytes, the limit"
        )));
    }
    Ok(data)
}

/// Reads a file of proto3 JSON of a `RetryPolicy`.
///
/// # Errors
/// Where it cannot be read, or holds something else.
pub(crate) fn read_policy(path: &Path) -> anyhow::Result<v1::RetryPolicy> {
    let bytes = read(path, POLICY_BYTES_MAX)?;
    parse_policy(&bytes).with_context(|| format!("{} holds no RetryPolicy", path.display()))
}

fn parse_policy(bytes: &[u8]) -> anyhow::Result<v1::RetryPolicy> {
    let wrong = |error: anyhow::Error| {
        exit::usage(format!(
            "{error}; `redrive policy show recommended -o json` prints an example"
        ))
    };
    let value = serde_json::from_slice(bytes).map_err(|error| wrong(error.into()))?;
    json::read(value).map_err(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_up_to_its_limit() {
        assert_eq!(read_up_to(&b"1234"[..], 4).unwrap(), b"1234");
        let error = read_up_to(&b"12345"[..], 4).unwrap_err();
        assert!(error.to_string().contains("4 bytes"));
    }

    #[test]
    fn a_policy_is_proto3_json_and_mistakes_name_the_field() {
        let policy = parse_policy(br#"{"maxAttempts": 3, "backoff": {"fixed": {"delay": "5s"}}}"#);
        assert_eq!(policy.unwrap().max_attempts, Some(3));
        for (text, fault) in [
            ("{\"attempts\": 3}", "attempts"),
            ("nonsense", "expected"),
            ("{\"backoff\": 1}", ""),
        ] {
            let error = parse_policy(text.as_bytes()).unwrap_err();
            assert!(error.to_string().contains(fault), "{error}");
            assert!(error.to_string().contains("policy show"), "{error}");
            assert_eq!(exit::code(&error), exit::USAGE);
        }
    }
}
