//! Acts on many tasks: what they share, and how they look and ask before they act. Never acts
//! before the answer.

use clap::Args;
use futures::{TryStream, TryStreamExt as _};
use redrive_client::Error;

use super::SelectArgs;
use crate::{
    confirm::{self, Answer},
    context::Context,
    exit,
    output::{self, ProtoJson},
};

/// What every act on many has.
#[derive(Debug, Args)]
pub(crate) struct ActArgs {
    /// Count, change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// Why, for the history
    #[arg(
        long,
        default_value = "",
        value_name = "TEXT",
        hide_default_value = true
    )]
    pub(crate) reason: String,
}

/// Asks whether to act on `count` tasks; says so where there is nothing to do.
pub(crate) fn go_ahead(count: u64, question: &str) -> anyhow::Result<bool> {
    if count == 0 {
        output::note("nothing is selected");
        return Ok(false);
    }
    let answer = confirm::ask(question, false)?;
    if answer == Answer::No {
        output::note("nothing was changed");
    }
    Ok(answer == Answer::Yes)
}

/// Which of `what` are selected, in words, once it is certain that something is and that somebody can agree.
pub(crate) fn check_selected(
    what: &str,
    select: &SelectArgs,
    all: bool,
    act: &ActArgs,
) -> anyhow::Result<String> {
    if select.queue.is_empty() && select.filter.is_empty() && !all {
        return Err(exit::usage(
            "say which: TASK_ID, --queue with --key, --queue, --filter, or --all for every one",
        ));
    }
    confirm::check_possible(act.yes || act.dry_run)?;
    let queue = match select.queue.as_str() {
        "" => String::new(),
        queue => format!(" of queue {queue}"),
    };
    let filter = match select.filter.as_str() {
        "" => String::new(),
        filter => format!(" where {filter}"),
    };
    Ok(format!("{what}{queue}{filter}"))
}

/// The last message of a stream of progress; with `lines`, each is printed as it comes.
pub(crate) async fn last<M: ProtoJson>(
    context: &Context,
    mut progress: impl TryStream<Ok = M, Error = Error> + Unpin,
    lines: bool,
) -> anyhow::Result<M> {
    let mut last = None;
    while let Some(message) = progress.try_next().await? {
        if lines {
            context.out.items(std::slice::from_ref(&message))?;
        }
        last = Some(message);
    }
    Ok(last.ok_or(Error::Incomplete {
        missing: "progress",
    })?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn select(queue: &str, filter: &str) -> SelectArgs {
        SelectArgs {
            queue: queue.to_owned(),
            filter: filter.to_owned(),
        }
    }

    fn act(yes: bool) -> ActArgs {
        ActArgs {
            dry_run: false,
            yes,
            reason: String::new(),
        }
    }

    #[test]
    fn a_bulk_act_on_nothing_in_particular_is_refused() {
        let error = check_selected("dead letters", &select("", ""), false, &act(true)).unwrap_err();
        assert_eq!(exit::code(&error), exit::USAGE);
        assert!(error.to_string().contains("--all"));
    }

    #[test]
    fn the_question_says_what_is_selected() {
        let what = check_selected(
            "dead letters",
            &select("mail", "attempts > 3"),
            false,
            &act(true),
        )
        .unwrap();
        assert_eq!(what, "dead letters of queue mail where attempts > 3");
        assert_eq!(
            check_selected("dead letters", &select("", ""), true, &act(true)).unwrap(),
            "dead letters"
        );
    }
}
