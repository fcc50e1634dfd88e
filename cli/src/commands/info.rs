//! `info`: what the coordinator is, what it promises and what it allows. Shows only what it was
//! answered, and never guesses.

use std::{collections::BTreeMap, process::ExitCode};

use clap::Args;
use redrive_proto::v1;

use crate::{
    context::Context,
    output::{
        human,
        table::{Style, details},
    },
};

const HELP: &str = "\
Examples:
  redrive info
  redrive info -o json | jq -r .durability";

/// The flags of `info`.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct InfoArgs {}

pub(crate) async fn run(context: &Context, _args: &InfoArgs) -> anyhow::Result<ExitCode> {
    let info = context.client().await?.server_info().await?;
    context.out.answer(&info, |style| view(style, &info))?;
    Ok(ExitCode::SUCCESS)
}

fn view(style: &Style, info: &v1::GetServerInfoResponse) -> String {
    let meaning = match info.durability.as_str() {
        "memory" => " (tasks are gone when it ends)",
        "interval" => " (written before the answer, synced soon after)",
        "always" => " (synced before the answer)",
        _ => "",
    };
    let mut text = details(
        style,
        &[
            ("Version", info.version.clone()),
            ("Durability", format!("{}{meaning}", info.durability)),
            (
                "Started",
                human::instant(style.now, info.start_time.as_ref()),
            ),
            (
                "Server time",
                info.server_time
                    .as_ref()
                    .map(human::to_millisecond)
                    .unwrap_or_default(),
            ),
            ("Shards", info.shards.to_string()),
            ("Default policy", info.default_retry_policy.clone()),
            ("Workers", info.workers.to_string()),
            (
                "Memory",
                format!(
                    "{} of {}",
                    human::size(info.memory_bytes),
                    human::size(info.memory_bytes_max)
                ),
            ),
        ],
    );
    text.push_str("\n\nLimits\n");
    let limits: BTreeMap<String, u64> = info.limits.clone().into_iter().collect();
    let rows: Vec<(&str, String)> = limits
        .iter()
        .map(|(name, value)| (name.as_str(), value.to_string()))
        .collect();
    text.push_str(&details(style, &rows));
    text
}
