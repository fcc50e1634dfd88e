//! Everything that this binary prints: data on stdout, everything else on stderr.
//!
//! Owns the two streams; no other module writes to them. A reader of stdout that went away is an
//! [`io::Error`] that ends the process quietly (see `exit`); stderr going away is ignored.

mod fit;
pub(crate) mod human;
pub(crate) mod json;
pub(crate) mod table;

use std::io::{self, IsTerminal as _, Write as _};

use clap::ValueEnum;

pub(crate) use json::ProtoJson;
pub(crate) use table::Table;

use crate::clock;

/// How data is printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people; may change
    #[default]
    Table,
    /// Proto3 JSON of the whole answer
    Json,
    /// Proto3 JSON, one line for each item
    Jsonl,
}

/// How data is printed, and for whom.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    /// The format asked for.
    pub(crate) format: Format,
    style: table::Style,
}

impl Output {
    pub(crate) fn new(format: Format, color: bool) -> Self {
        Self {
            format,
            style: table::Style::of_stdout(color, clock::now()),
        }
    }

    /// Prints one answer: as JSON, or as the text that `view` makes of it.
    pub(crate) fn answer<M: ProtoJson>(
        &self,
        answer: &M,
        view: impl FnOnce(&table::Style) -> String,
    ) -> anyhow::Result<()> {
        match self.format {
            Format::Table => self.text(&view(&self.style)),
            Format::Json => self.text(&json::pretty(answer)?),
            Format::Jsonl => self.text(&json::line(answer)?),
        }
    }

    /// Prints one answer that is a list: as JSON whole, as JSON lines item by item, or as a table.
    pub(crate) fn list<M: ProtoJson, I: ProtoJson>(
        &self,
        answer: &M,
        items: &[I],
        view: impl FnOnce(&table::Style) -> String,
    ) -> anyhow::Result<()> {
        match self.format {
            Format::Table => self.text(&view(&self.style)),
            Format::Json => self.text(&json::pretty(answer)?),
            Format::Jsonl => self.items(items),
        }
    }

    /// Prints a report that is no message of the protocol.
    pub(crate) fn report(
        &self,
        report: &serde_json::Value,
        view: impl FnOnce(&table::Style) -> String,
    ) -> anyhow::Result<()> {
        match self.format {
            Format::Table => self.text(&view(&self.style)),
            Format::Json => self.text(&serde_json::to_string_pretty(report)?),
            Format::Jsonl => self.text(&report.to_string()),
        }
    }

    /// Prints items as JSON lines.
    pub(crate) fn items<I: ProtoJson>(&self, items: &[I]) -> anyhow::Result<()> {
        let mut text = String::new();
        for item in items {
            text.push_str(&json::line(item)?);
            text.push('\n');
        }
        self.bytes(text.as_bytes())
    }

    /// Prints a text, ended by a line end.
    pub(crate) fn text(&self, text: &str) -> anyhow::Result<()> {
        if text.is_empty() {
            return Ok(());
        }
        let end = if text.ends_with('\n') { "" } else { "\n" };
        self.bytes(format!("{text}{end}").as_bytes())
    }

    /// Prints bytes as they are.
    pub(crate) fn bytes(&self, bytes: &[u8]) -> anyhow::Result<()> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(bytes)?;
        stdout.flush()?;
        Ok(())
    }
}

/// Tells a person something, on stderr.
pub(crate) fn note(text: &str) {
    prompt(&format!("{text}\n"));
}

/// The same without a line end.
pub(crate) fn prompt(text: &str) {
    let mut stderr = io::stderr().lock();
    // Where nobody reads stderr there is nobody to tell.
    drop(
        stderr
            .write_all(text.as_bytes())
            .and_then(|()| stderr.flush()),
    );
}

/// True where a person reads stderr.
pub(crate) fn is_watched() -> bool {
    io::stderr().is_terminal()
}
