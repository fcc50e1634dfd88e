//! What a handler is given, from flags: JSON, or a file of any bytes. Never looks into it beyond
//! whether it is JSON.

use std::path::PathBuf;

use clap::Args;
use redrive_proto::v1;

use crate::{exit, files};

/// What the handler is given.
#[derive(Debug, Args)]
pub(crate) struct PayloadArgs {
    /// What the handler is given, as JSON
    #[arg(short, long, value_name = "JSON", conflicts_with = "payload_file")]
    pub(crate) payload: Option<String>,
    /// The same, from a file of any bytes; `-` reads stdin
    #[arg(long, value_name = "FILE")]
    pub(crate) payload_file: Option<PathBuf>,
    /// What the bytes are [default: application/json for --payload and files that end in .json,
    /// else application/octet-stream]
    #[arg(long, value_name = "TYPE")]
    pub(crate) content_type: Option<String>,
}

/// Reads the payload that the flags name, where they name one.
///
/// # Errors
/// Where a text is no JSON and does not say what else it is, or a file cannot be read.
pub(crate) fn read_payload(args: PayloadArgs) -> anyhow::Result<Option<v1::Payload>> {
    const JSON: &str = "application/json";
    let (data, default) = match (args.payload, args.payload_file) {
        (Some(text), _) => {
            if args.content_type.is_none()
                && let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(&text)
            {
                return Err(exit::usage(format!(
                    "--payload is no JSON ({error}); quote texts as '\"text\"', or say what it is \
                     with --content-type, or give any bytes with --payload-file (- for stdin)"
                )));
            }
            (text.into_bytes(), JSON)
        }
        (None, Some(path)) => {
            let is_json = path.extension().is_some_and(|end| end == "json");
            let default = if is_json {
                JSON
            } else {
                "application/octet-stream"
            };
            (files::read(&path, files::PAYLOAD_BYTES_MAX)?, default)
        }
        (None, None) if args.content_type.is_some() => {
            return Err(exit::usage(
                "--content-type needs --payload or --payload-file",
            ));
        }
        (None, None) => return Ok(None),
    };
    let content_type = args.content_type.unwrap_or_else(|| default.to_owned());
    Ok(Some(v1::Payload {
        data: data.into(),
        content_type,
    }))
}
