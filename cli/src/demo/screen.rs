//! What the demo shows on stderr while it works: bars on a terminal, plain lines elsewhere.
//!
//! Owns stderr for as long as the demo runs. Never shows results: those go to stdout at the end.

use std::io::{IsTerminal as _, Write as _, stderr};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::{behaviour::Behaviour, text::grouped};

/// How a bar looks.
const TEMPLATE: &str = "{prefix:>12} {bar:24.green} {pos:>5}/{len:<5} {msg}";

/// How far the deliveries of one behaviour are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Progress {
    /// Which.
    pub(super) behaviour: Behaviour,
    /// All of them.
    pub(super) total: u64,
    /// Ended or dead.
    pub(super) finished: u64,
    /// Running now.
    pub(super) running: u64,
    /// Waiting for their next attempt now.
    pub(super) retrying: u64,
    /// Dead letters now.
    pub(super) dead: u64,
}

/// The screen.
#[derive(Debug)]
pub(super) enum Screen {
    /// A terminal.
    Bars {
        /// All bars.
        all: MultiProgress,
        /// One for each behaviour shown so far.
        bars: Vec<(Behaviour, ProgressBar)>,
    },
    /// Anything else: a line for every tenth of the way.
    Lines {
        /// The tenth told last.
        tenth: u64,
    },
}

impl Screen {
    /// The screen that suits stderr.
    pub(super) fn new() -> Self {
        if stderr().is_terminal() {
            Self::Bars {
                all: MultiProgress::new(),
                bars: Vec::new(),
            }
        } else {
            Self::Lines { tenth: 0 }
        }
    }

    /// Tells something, above the bars. A reader who left is not told.
    pub(super) fn say(&self, text: &str) {
        match self {
            Self::Bars { all, .. } => drop(all.println(text)),
            Self::Lines { .. } => drop(writeln!(stderr(), "{text}")),
        }
    }

    /// Shows how far all are.
    pub(super) fn show(&mut self, progress: &[Progress]) {
        match self {
            Self::Bars { all, bars } => {
                for now in progress {
                    let bar = bar_of(all, bars, now.behaviour);
                    bar.set_length(now.total);
                    bar.set_position(now.finished);
                    bar.set_message(message(now));
                }
            }
            Self::Lines { tenth } => {
                let sum = |of: fn(&Progress) -> u64| progress.iter().map(of).sum::<u64>();
                let (total, finished) = (sum(|p| p.total), sum(|p| p.finished));
                let now = finished.saturating_mul(10).checked_div(total).unwrap_or(0);
                if now != *tenth {
                    *tenth = now;
                    let (running, retrying) = (sum(|p| p.running), sum(|p| p.retrying));
                    let (finished, total) = (grouped(finished), grouped(total));
                    let dead = grouped(sum(|p| p.dead));
                    let line = format!(
                        "  {finished} of {total} finished, {dead} of them dead; {running} running, \
                         {retrying} waiting to be retried"
                    );
                    drop(writeln!(stderr(), "{line}"));
                }
            }
        }
    }

    /// Leaves the bars as they stand and goes on below them.
    pub(super) fn settle(&mut self) {
        match self {
            Self::Bars { all, bars } => {
                for (_, bar) in bars.drain(..) {
                    bar.abandon();
                }
                // A later draw would go back over the old bars, and over what was printed since.
                *all = MultiProgress::new();
                drop(writeln!(stderr()));
            }
            Self::Lines { tenth } => *tenth = 0,
        }
    }
}

fn bar_of<'a>(
    all: &MultiProgress,
    bars: &'a mut Vec<(Behaviour, ProgressBar)>,
    behaviour: Behaviour,
) -> &'a ProgressBar {
    let index = match bars.iter().position(|(of, _)| *of == behaviour) {
        Some(index) => index,
        None => {
            let style = ProgressStyle::with_template(TEMPLATE).map_or_else(
                |_| ProgressStyle::default_bar(),
                |style| style.progress_chars("━╸─"),
            );
            let bar = ProgressBar::new(0)
                .with_style(style)
                .with_prefix(behaviour.name());
            bars.push((behaviour, all.add(bar)));
            bars.len().saturating_sub(1)
        }
    };
    &bars[index].1
}

fn message(now: &Progress) -> String {
    let parts = [
        (now.running, "running"),
        (now.retrying, "retrying"),
        (now.dead, "dead"),
    ];
    let shown = parts.iter().filter(|(count, _)| *count > 0);
    shown
        .map(|(count, what)| format!("{count} {what}"))
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_tells_only_what_there_is() {
        let mut now = Progress {
            behaviour: Behaviour::Auth,
            total: 9,
            finished: 3,
            running: 2,
            retrying: 0,
            dead: 1,
        };
        assert_eq!(message(&now), "2 running, 1 dead");
        (now.running, now.dead) = (0, 0);
        assert_eq!(message(&now), "");
    }

    #[test]
    fn the_template_of_a_bar_is_well_formed() {
        assert!(ProgressStyle::with_template(TEMPLATE).is_ok());
    }
}
