//! `completion`: a script that teaches a shell the verbs and flags. Never names one itself: clap
//! has the only definition.

use std::process::ExitCode;

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use crate::{args::Cli, context::Context};

const HELP: &str = "\
Examples:
  source <(redrive completion bash)            # for this shell
  redrive completion zsh > ~/.zfunc/_redrive   # for all, with ~/.zfunc in fpath
  redrive completion fish > ~/.config/fish/completions/redrive.fish";

/// The flags of `completion`.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct CompletionArgs {
    /// Which shell
    #[arg(value_enum)]
    shell: Shell,
}

pub(crate) fn run(context: &Context, args: &CompletionArgs) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "redrive", &mut script);
    context.out.bytes(&script)?;
    Ok(ExitCode::SUCCESS)
}
