//! `dev`: a coordinator to try things out, on this machine only; in memory unless it is given a
//! directory.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    process::ExitCode,
};

use clap::Args;
use redrive_coordinator::{config::Config, run::Running};

use super::coordinator::{self, SettingsArgs};
use crate::{
    args::ADDRESS_DEFAULT,
    context::Context,
    exit,
    output::{self, Format},
};

const HELP: &str = "\
The addresses and first commands are printed on stderr; with -o json or jsonl
the addresses are printed on stdout too, once it serves:
  {\"grpcAddress\":\"127.0.0.1:7480\",\"httpAddress\":\"127.0.0.1:7481\"}

Examples:
  redrive dev
  redrive dev --data-dir data              # goes on where it was
  redrive dev --port 0 -o json > addresses.json &";

/// The flags of `dev`.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct DevArgs {
    /// The port of gRPC; HTTP takes the next one. 0 takes free ones
    #[arg(
        long,
        env = "REDRIVE_PORT",
        hide_env_values = true,
        default_value_t = 7480,
        value_name = "PORT"
    )]
    port: u16,
    #[command(flatten)]
    settings: SettingsArgs,
}

pub(crate) async fn run(context: &Context, args: DevArgs) -> anyhow::Result<ExitCode> {
    let loopback = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
    let http_port = match args.port {
        0 => 0,
        port => port.checked_add(1).ok_or_else(|| {
            exit::usage("--port 65535 leaves no next port for HTTP; choose a lower one")
        })?,
    };
    let config = args
        .settings
        .config(loopback(args.port), loopback(http_port));
    let kept = kept(&config);
    coordinator::serve(config, |running| announce(context, running, &kept)).await
}

/// How long what it accepts is kept.
fn kept(config: &Config) -> String {
    match &config.data_dir {
        Some(dir) => format!(
            "Tasks are kept in {} ({}).",
            dir.display(),
            config.durability().name()
        ),
        None => "Everything is in memory and ends with it: Ctrl-C.".to_owned(),
    }
}

fn announce(context: &Context, running: &Running, kept: &str) -> anyhow::Result<()> {
    let (grpc, http) = (running.grpc_addr(), running.http_addr());
    match context.out.format {
        Format::Table => {}
        Format::Json | Format::Jsonl => context.out.text(
            &serde_json::json!({
                "grpcAddress": grpc.to_string(),
                "httpAddress": http.to_string(),
            })
            .to_string(),
        )?,
    }
    output::note(&welcome(grpc, http, kept));
    Ok(())
}

fn welcome(grpc: SocketAddr, http: SocketAddr, kept: &str) -> String {
    let set = if grpc.to_string() == ADDRESS_DEFAULT {
        String::new()
    } else {
        format!("  export REDRIVE_ADDRESS={grpc}\n")
    };
    format!(
        "\
Redrive is ready. {kept}
  gRPC  {grpc}
  HTTP  http://{http}/metrics

Try, in other terminals:
{set}  redrive worker exec --queue demo -- sh -c 'cat; echo >&2 done'
  redrive task enqueue hello --queue demo --payload '{{\"n\":1}}' --wait
  redrive queue list
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_to_try_say_the_address_only_where_it_is_not_the_default() {
        let at = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
        assert!(!welcome(at(7480), at(7481), "").contains("REDRIVE_ADDRESS"));
        let other = welcome(at(4000), at(4001), &kept(&Config::default()));
        assert!(
            other.contains("export REDRIVE_ADDRESS=127.0.0.1:4000"),
            "{other}"
        );
        assert!(other.lines().all(|line| line.len() <= 80), "{other}");
    }
}
