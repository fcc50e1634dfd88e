//! The command line: the one definition of every verb, flag and environment variable.
//!
//! Owns the top of the tree and what all verbs share; each verb's own flags stand beside its code
//! in `commands`. Never acts. The environment is read by clap and nowhere else.

use clap::{Args, Parser, Subcommand, ValueEnum};
use redrive_client::connect::Address;

use crate::{
    commands::{
        bench::BenchArgs, completion::CompletionArgs, coordinator::CoordinatorArgs, dead::DeadArgs,
        dev::DevArgs, events::EventsArgs, info::InfoArgs, journal::JournalArgs, kind::KindArgs,
        policy::PolicyArgs, queue::QueueArgs, task::TaskArgs, worker::WorkerArgs,
    },
    demo,
    output::Format,
};

/// Where the coordinator is looked for unless told otherwise.
pub(crate) const ADDRESS_DEFAULT: &str = "127.0.0.1:7480";

/// The heading of the flags that every verb has.
const GLOBAL: &str = "Global options";

const ABOUT: &str = "Redrive, a task scheduler: queues, workers, retries, dead letters";

// Paragraphs are one line each: clap wraps them to the terminal.
const LONG_ABOUT: &str = "\
    Redrive, a task scheduler. Producers enqueue tasks, workers run them and report what happened, \
    and the coordinator alone decides what a failure means: when to try again, and when to give up \
    and keep the task as a dead letter, for a person to redrive.\n\nThis one binary is the \
    coordinator, two ready-made workers, and every client and operator verb.";

const AFTER_LONG_HELP: &str = "\
See it all at once:
  redrive demo

First steps, in three terminals:
  redrive dev
  redrive worker exec --queue demo -- sh -c 'cat; echo done >&2'
  redrive task enqueue hello --queue demo --payload '{\"n\":1}' --wait

When things went wrong:
  redrive queue list                        # how many tasks stand where
  redrive dead list --queue mail            # what was given up, and why
  redrive dead redrive --queue mail --spread 10m
  redrive policy preview recommended        # when a policy retries and gives up

Output:
  Data goes to stdout, everything else to stderr. `-o table` is for people and
  may change; `-o json` is the canonical proto3 JSON of the answer (redrive.v1);
  `-o jsonl` is one such object a line for each item, as it arrives.

Environment:
  REDRIVE_ADDRESS     the coordinator, as --address
  REDRIVE_NAMESPACE   the namespace, as --namespace
  REDRIVE_LOG         log filter, as --log; RUST_LOG counts where it is unset
  REDRIVE_LOG_FORMAT  text or json, as --log-format
  USER                who acts: user@host is kept with what is changed
  NO_COLOR            not empty: no colour
  Servers and workers have one for every flag: see their --help.

Exit codes:
    0  done
    1  another error; for --from-file: some lines were refused
    2  wrong usage
   10  task wait: the task failed, was routed on, or is a dead letter
   11  task wait: the task was cancelled or discarded
   12  task wait: the time ran out first
  64+n the call failed with gRPC code n, for example
       67 INVALID_ARGUMENT      68 DEADLINE_EXCEEDED     69 NOT_FOUND
       72 RESOURCE_EXHAUSTED    73 FAILED_PRECONDITION   78 UNAVAILABLE
   78  coordinator, dev, journal: the journal is damaged; it says what is lost
  130  stopped at once by a signal: bench by the first, others by the second
  141  the reader of stdout went away";

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "redrive",
    version,
    about = ABOUT,
    long_about = LONG_ABOUT,
    after_help = "Try `redrive dev` first; `redrive --help` explains output, environment and exit codes.",
    after_long_help = AFTER_LONG_HELP,
    max_term_width = 80,
    infer_subcommands = true,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub(crate) struct Cli {
    /// What every verb has.
    #[command(flatten)]
    pub(crate) global: Global,
    /// The verb.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The flags that every verb has.
#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// How data is printed on stdout
    #[arg(short, long, global = true, value_enum, default_value_t, help_heading = GLOBAL)]
    pub(crate) output: Format,
    /// The coordinator to talk to [default: 127.0.0.1:7480]
    #[arg(
        long,
        global = true,
        env = "REDRIVE_ADDRESS",
        hide_env_values = true,
        value_name = "HOST:PORT",
        help_heading = GLOBAL
    )]
    pub(crate) address: Option<Address>,
    /// The namespace to work in
    #[arg(
        short,
        long,
        global = true,
        env = "REDRIVE_NAMESPACE",
        hide_env_values = true,
        default_value = "default",
        value_name = "NAME",
        help_heading = GLOBAL
    )]
    pub(crate) namespace: String,
    /// What is logged on stderr: error, warn, info, debug, trace, or a filter such as
    /// "warn,redrive_worker=debug" [default: info for servers and workers, warn otherwise]
    #[arg(
        long,
        global = true,
        env = "REDRIVE_LOG",
        hide_env_values = true,
        value_name = "FILTER",
        help_heading = GLOBAL
    )]
    pub(crate) log: Option<String>,
    /// How it is logged [default: text on a terminal, else json]
    #[arg(
        long,
        global = true,
        value_enum,
        env = "REDRIVE_LOG_FORMAT",
        hide_env_values = true,
        value_name = "FORMAT",
        help_heading = GLOBAL
    )]
    pub(crate) log_format: Option<LogFormat>,
    /// Read for its variable only
    #[arg(long, global = true, env = "RUST_LOG", hide = true)]
    pub(crate) rust_log: Option<String>,
    /// Read for its variable only
    #[arg(long, global = true, env = "NO_COLOR", hide = true)]
    pub(crate) no_color: Option<String>,
    /// Read for its variable only
    #[arg(
        long = "redrive-user",
        id = "redrive-user",
        global = true,
        env = "USER",
        hide = true
    )]
    pub(crate) user: Option<String>,
}

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Lines for people
    Text,
    /// One JSON object a line
    Json,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a coordinator
    Coordinator(CoordinatorArgs),
    /// Run a coordinator to try things out: in memory, or with --data-dir
    Dev(DevArgs),
    /// See the whole product at work: webhooks, a failing upstream, retries, a
    /// killed worker, dead letters
    Demo(demo::Args),
    /// Measure a coordinator: rates, latencies, memory, and whether every task was
    /// done once
    Bench(BenchArgs),
    /// Run a ready-made worker, or see and drain those connected
    Worker(WorkerArgs),
    /// Enqueue, follow, change and cancel tasks
    Task(TaskArgs),
    /// See, configure, pause and resume queues
    Queue(QueueArgs),
    /// See and set what holds for all tasks of a kind
    Kind(KindArgs),
    /// See, redrive and discard dead letters
    Dead(DeadArgs),
    /// See retry policies and what they would do
    Policy(PolicyArgs),
    /// Print what happens to tasks, as it happens
    Events(EventsArgs),
    /// Ask the coordinator about itself: version, durability, limits
    Info(InfoArgs),
    /// Inspect, verify and repair the journal of a coordinator that does not run
    Journal(JournalArgs),
    /// Print a completion script for a shell
    Completion(CompletionArgs),
}

impl Command {
    /// True for what runs until it is told to stop, and logs what it does.
    pub(crate) fn is_server(&self) -> bool {
        match self {
            Self::Coordinator(_) | Self::Dev(_) => true,
            Self::Worker(args) => args.is_server(),
            Self::Bench(_)
            | Self::Demo(_)
            | Self::Task(_)
            | Self::Queue(_)
            | Self::Kind(_)
            | Self::Dead(_)
            | Self::Policy(_)
            | Self::Events(_)
            | Self::Info(_)
            | Self::Journal(_)
            | Self::Completion(_) => false,
        }
    }
}

impl Global {
    /// True where the environment asks for no colour (<https://no-color.org>).
    pub(crate) fn without_color(&self) -> bool {
        self.no_color
            .as_ref()
            .is_some_and(|value| !value.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use clap::{Command as Clap, CommandFactory as _, error::ErrorKind};

    use super::*;

    /// Every verb and the tree above it, with its path.
    fn verbs() -> Vec<(String, Clap)> {
        fn walk(command: &Clap, path: &str, found: &mut Vec<(String, Clap)>) {
            let path = format!("{path} {}", command.get_name());
            found.push((path.clone(), command.clone()));
            let own = command
                .get_subcommands()
                .filter(|it| it.get_name() != "help");
            own.for_each(|verb| walk(verb, &path, found));
        }
        let mut command = Cli::command();
        command.build();
        let mut found = Vec::new();
        walk(&command, "", &mut found);
        found
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_verb_and_every_flag_says_what_it_is_for() {
        for (path, verb) in verbs() {
            assert!(verb.get_about().is_some(), "{path} has no about");
            for arg in verb.get_arguments() {
                assert!(
                    arg.get_help().is_some(),
                    "{path}: {} has no help",
                    arg.get_id()
                );
            }
        }
    }

    #[test]
    fn every_help_can_be_read_in_eighty_columns() {
        for (path, mut verb) in verbs() {
            // What is broken into lines by hand would be broken again.
            let by_hand = [verb.get_after_help(), verb.get_after_long_help()];
            let by_hand: Vec<_> = by_hand.into_iter().flatten().cloned().collect();
            let rendered = [verb.clone().render_help(), verb.render_long_help()];
            for help in rendered.into_iter().chain(by_hand) {
                for line in help.to_string().lines() {
                    assert!(line.chars().count() <= 80, "{path}: {line:?} is too wide");
                }
            }
        }
    }

    #[test]
    fn verbs_with_flags_of_their_own_teach_by_example() {
        for path in [
            "task enqueue",
            "task wait",
            "task get",
            "task cancel",
            "task update",
            "queue set",
            "kind set",
            "dead redrive",
            "dead discard",
            "policy preview",
            "events",
            "bench",
        ] {
            let (_, mut verb) = verbs()
                .into_iter()
                .find(|(found, _)| found.ends_with(path))
                .unwrap();
            let help = verb.render_long_help().to_string();
            assert!(help.contains("Examples:\n  "), "{path} has no examples");
        }
    }

    #[test]
    fn global_flags_may_stand_before_or_after_the_verb() {
        let parse = |words: &[&str]| {
            let all = ["redrive"].iter().chain(words);
            Cli::try_parse_from(all).map(|cli| {
                (
                    cli.global.output,
                    cli.global.address.map(|it| it.to_string()),
                )
            })
        };
        let wanted = (Format::Jsonl, Some("10.0.0.1:7480".to_owned()));
        let flags = ["-o", "jsonl", "--address", "10.0.0.1:7480"];
        assert_eq!(
            parse(&[&flags[..], &["task", "list"]].concat()).unwrap(),
            wanted
        );
        assert_eq!(
            parse(&[&["task", "list"], &flags[..]].concat()).unwrap(),
            wanted
        );
    }

    #[test]
    fn an_address_that_cannot_be_one_is_a_usage_error() {
        let error = Cli::try_parse_from(["redrive", "--address", "localhost", "info"]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ValueValidation);
        assert!(error.to_string().contains("has no port"), "{error}");
    }
}
