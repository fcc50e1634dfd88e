//! `kind`: what holds for all tasks of a kind, whichever queue they are in. Never resolves levels:
//! the coordinator does.

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Subcommand};
use redrive_proto::v1::{self, kind_settings::Retry};

use super::{
    PageArgs,
    life::{LimitArgs, TermsArgs},
    queue_view::{deadline, inline, terms},
    task_view,
};
use crate::{
    context::Context,
    files, listing,
    output::{
        self, Format, ProtoJson, Table, human,
        table::{Column, Style, details},
    },
};

/// The verbs of `kind`.
#[derive(Debug, Args)]
pub(crate) struct KindArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the kinds that have settings
    List(PageArgs),
    /// Show the settings of a kind
    Get(NameArgs),
    /// Set the settings of a kind, whole
    Set(Box<SetArgs>),
    /// Take the settings of a kind away: its tasks follow their queue's
    Delete(NameArgs),
}

#[derive(Debug, Args)]
struct NameArgs {
    /// The kind's name
    #[arg(value_name = "KIND")]
    name: String,
}

const SET_HELP: &str = "\
Replaces all settings: what is not named is unset from now on. What is set holds
for tasks that say nothing themselves, before what their queue says; for tasks
that are there already too, from their next failure or run. From then on what
workers propose for the kind changes nothing.

Examples:
  redrive kind set mail.send --default-queue mail --policy sidekiq --hard 30s
  redrive kind set card.charge --at-most-once --max-attempts 1
  redrive kind set otp.send --ttl 2m --on-exhausted otp.expired@ops
  redrive kind set invoice --dead-letter-queue invoice-dead --result-ttl 7d";

#[derive(Debug, Args)]
#[command(after_help = SET_HELP)]
struct SetArgs {
    /// The kind's name
    #[arg(value_name = "KIND")]
    name: String,
    /// The queue of tasks that name none
    #[arg(long, value_name = "QUEUE")]
    default_queue: Option<String>,
    /// The named retry policy of tasks that bring none
    #[arg(long, value_name = "NAME", conflicts_with = "policy_file")]
    policy: Option<String>,
    /// The same as a policy of its own: proto3 JSON of a RetryPolicy
    #[arg(long, value_name = "FILE")]
    policy_file: Option<PathBuf>,
    #[command(flatten)]
    limits: LimitArgs,
    /// Failures that end a task; 0 is unlimited, 1 never retries
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    max_attempts: Option<u32>,
    #[command(flatten)]
    terms: TermsArgs,
    /// Where tasks go on when they are dead
    #[arg(long, value_name = "QUEUE")]
    dead_letter_queue: Option<String>,
}

pub(crate) async fn run(context: &Context, args: KindArgs) -> anyhow::Result<ExitCode> {
    match args.verb {
        Verb::List(args) => list(context, &args).await?,
        Verb::Get(args) => {
            let kind = Some(context.client().await?.kind(&args.name).await?);
            let answer = v1::GetKindResponse { kind };
            show(context, &answer, answer.kind.as_ref())?;
        }
        Verb::Set(args) => {
            let name = args.name.clone();
            let settings = settings(*args)?;
            let client = context.client().await?;
            let kind = Some(client.set_kind(&name, settings).await?);
            let answer = v1::SetKindResponse { kind };
            show(context, &answer, answer.kind.as_ref())?;
        }
        Verb::Delete(args) => {
            context.client().await?.delete_kind(&args.name).await?;
            let answer = v1::DeleteKindResponse {};
            context
                .out
                .answer(&answer, |_style| format!("deleted {}", args.name))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn show<M: ProtoJson>(
    context: &Context,
    answer: &M,
    kind: Option<&v1::Kind>,
) -> anyhow::Result<()> {
    context.out.answer(answer, |style| {
        kind.map(|kind| full(style, kind)).unwrap_or_default()
    })
}

async fn list(context: &Context, args: &PageArgs) -> anyhow::Result<()> {
    let client = context.client().await?;
    let page = async |size: u32, token: String| {
        let page = client.kinds_page(size, &token).await?;
        Ok((page.kinds, page.next_page_token))
    };
    let Some((kinds, next_page_token)) = listing::run(context, args, page).await? else {
        return Ok(());
    };
    if kinds.is_empty() && context.out.format == Format::Table {
        output::note("no kind has settings; `redrive kind set` gives it some");
        return Ok(());
    }
    let answer = v1::ListKindsResponse {
        kinds,
        next_page_token,
    };
    context
        .out
        .list(&answer, &answer.kinds, |style| table(style, &answer.kinds))?;
    listing::note_more(context, &answer.next_page_token);
    Ok(())
}

fn settings(args: SetArgs) -> anyhow::Result<v1::KindSettings> {
    let retry = match (args.policy, args.policy_file) {
        (Some(name), _) => Some(Retry::RetryPolicy(name)),
        (None, Some(path)) => Some(Retry::InlineRetryPolicy(files::read_policy(&path)?)),
        (None, None) => None,
    };
    Ok(v1::KindSettings {
        queue: args.default_queue.unwrap_or_default(),
        retry,
        timeouts: args.limits.timeouts(),
        max_attempts: args.max_attempts,
        terms: args.terms.terms(),
        dead_letter_queue: args.dead_letter_queue.unwrap_or_default(),
    })
}

fn policy(settings: &v1::KindSettings) -> String {
    match &settings.retry {
        None => String::new(),
        Some(Retry::RetryPolicy(name)) => name.clone(),
        Some(Retry::InlineRetryPolicy(policy)) => inline(policy),
    }
}

/// Who said so: an operator, or the worker that proposed it.
fn origin(kind: &v1::Kind) -> String {
    match kind.proposed_by.as_str() {
        "" => "an operator".to_owned(),
        worker => format!("worker {worker}"),
    }
}

fn table(style: &Style, kinds: &[v1::Kind]) -> String {
    let columns = [
        Column::Text("KIND"),
        Column::Text("QUEUE"),
        Column::Text("POLICY"),
        Column::Text("TIMEOUTS"),
        Column::Text("DEADLINE"),
        Column::Text("SET BY"),
        Column::Number("REVISION"),
    ];
    let mut table = Table::new(style, &columns);
    for kind in kinds {
        let settings = kind.settings.clone().unwrap_or_default();
        table.row([
            kind.kind.clone(),
            settings.queue.clone(),
            policy(&settings),
            task_view::timeouts(settings.timeouts.as_ref()),
            deadline(settings.terms.as_ref()),
            origin(kind),
            kind.revision.to_string(),
        ]);
    }
    table.render()
}

fn full(style: &Style, kind: &v1::Kind) -> String {
    let settings = kind.settings.clone().unwrap_or_default();
    let attempts = match settings.max_attempts {
        None => String::new(),
        Some(0) => "unlimited".to_owned(),
        Some(attempts) => attempts.to_string(),
    };
    let dead = match settings.dead_letter_queue.as_str() {
        "" => String::new(),
        name => format!("go on in {name}"),
    };
    let mut entries = vec![
        ("Kind", kind.kind.clone()),
        ("Namespace", kind.namespace.clone()),
        ("Default queue", settings.queue.clone()),
        ("Policy", policy(&settings)),
        ("Timeouts", task_view::timeouts(settings.timeouts.as_ref())),
        ("Attempts", attempts),
    ];
    entries.extend(terms(settings.terms.as_ref()));
    entries.push(("Dead letters", dead));
    if settings == v1::KindSettings::default() {
        entries.push(("Settings", "none: the queue's hold".to_owned()));
    }
    entries.extend([
        ("Set by", origin(kind)),
        ("Set", human::instant(style.now, kind.update_time.as_ref())),
        ("Revision", kind.revision.to_string()),
    ]);
    details(style, &entries)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Only {
        #[command(flatten)]
        args: SetArgs,
    }

    fn set(flags: &[&str]) -> anyhow::Result<v1::KindSettings> {
        let words = ["set", "send"].iter().chain(flags);
        settings(Only::try_parse_from(words)?.args)
    }

    fn whole() -> v1::KindSettings {
        set(&[
            "--default-queue",
            "mail",
            "--policy",
            "sidekiq",
            "--soft",
            "20s",
            "--hard",
            "30s",
            "--extend-max",
            "5m",
            "--max-attempts",
            "3",
            "--ttl",
            "1h",
            "--deadline",
            "2h",
            "--result-ttl",
            "7d",
            "--at-most-once",
            "--on-exhausted",
            "tell@ops",
            "--dead-letter-queue",
            "mail-dead",
        ])
        .unwrap()
    }

    #[test]
    fn every_flag_reaches_the_settings_and_what_is_not_named_is_unset() {
        let settings = whole();
        assert_eq!(
            (&*settings.queue, &*settings.dead_letter_queue),
            ("mail", "mail-dead")
        );
        assert_eq!(
            settings.retry,
            Some(Retry::RetryPolicy("sidekiq".to_owned()))
        );
        assert_eq!(settings.timeouts.unwrap().extend_max.unwrap().seconds, 300);
        assert_eq!(settings.max_attempts, Some(3));
        let terms = settings.terms.unwrap();
        assert_eq!(terms.delivery(), v1::DeliveryMode::AtMostOnce);
        assert_eq!(terms.result_ttl.unwrap().seconds, 7 * 86_400);
        assert_eq!(set(&[]).unwrap(), v1::KindSettings::default());
        assert!(set(&["--policy", "a", "--policy-file", "b"]).is_err());
    }

    #[test]
    fn a_kind_shows_all_that_it_says_and_who_said_it_in_eighty_columns() {
        let mut kind = v1::Kind {
            kind: "mail.send".to_owned(),
            settings: Some(whole()),
            revision: 4,
            proposed_by: "worker-17".to_owned(),
            ..Default::default()
        };
        let style = Style {
            width: Some(80),
            ..Style::plain()
        };
        let text = full(&style, &kind);
        for part in [
            "sidekiq",
            "soft 20s, hard 30s, extend to 5m",
            "1h",
            "2h",
            "7d",
            "at most once",
            "tell in ops",
            "go on in mail-dead",
            "worker worker-17",
            "4",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        let listed = table(&style, &[kind.clone()]);
        assert!(
            listed.contains("mail.send") && listed.contains("sidekiq"),
            "{listed}"
        );
        for line in text.lines().chain(listed.lines()) {
            assert!(line.chars().count() <= 80, "{line}");
        }
        kind.settings = None;
        kind.proposed_by = String::new();
        let text = full(&style, &kind);
        assert!(
            text.contains("none") && text.contains("an operator"),
            "{text}"
        );
    }
}
