//! Asking before something happens that cannot be undone, or that happens to many tasks.
//!
//! Asks on stderr and reads from stdin, and only where a person sits at both. Elsewhere `--yes` is
//! required: a script says what it means, it is never asked.

use std::io::{self, IsTerminal as _};

use crate::{exit, output};

/// What the user decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Go ahead.
    Yes,
    /// Leave it.
    No,
}

/// Refuses unless there is somebody to ask, or `yes` was said.
///
/// # Errors
/// A usage error that names the remedy.
pub(crate) fn check_possible(yes: bool) -> anyhow::Result<()> {
    if yes || (io::stdin().is_terminal() && io::stderr().is_terminal()) {
        return Ok(());
    }
    Err(exit::usage(
        "this asks before it acts and there is no terminal to ask at; say --yes to go ahead, or \
         --dry-run to see what it would do",
    ))
}

/// Asks, unless `yes` was said. Blocks until there is an answer; none is a no.
///
/// # Errors
/// Where stdin cannot be read.
pub(crate) fn ask(question: &str, yes: bool) -> io::Result<Answer> {
    if yes {
        return Ok(Answer::Yes);
    }
    output::prompt(&format!("{question} [y/N] "));
    let mut line = String::new();
    io::stdin().read_line(&mut line)?;
    Ok(read(&line))
}

fn read(line: &str) -> Answer {
    match line.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Answer::Yes,
        _ => Answer::No,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_plain_yes_is_a_yes() {
        for line in ["y\n", "YES\n", " yes "] {
            assert_eq!(read(line), Answer::Yes, "{line:?}");
        }
        for line in ["", "\n", "n\n", "yep\n", "no\n"] {
            assert_eq!(read(line), Answer::No, "{line:?}");
        }
    }

    #[test]
    fn who_says_yes_needs_no_terminal() {
        assert!(check_possible(true).is_ok());
        assert_eq!(ask("sure?", true).unwrap(), Answer::Yes);
    }
}
