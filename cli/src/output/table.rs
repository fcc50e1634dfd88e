//! Tables for people: no borders, upper-case headers, cut to the width of the terminal.
//!
//! Pure but for [`Style::of_stdout`], which looks at the terminal once. Without a terminal nothing
//! is cut, so that `grep` and `awk` see everything.

use std::{
    io::{self, IsTerminal as _},
    time::SystemTime,
};

use comfy_table::{
    Cell, CellAlignment, Color, ColumnConstraint, ContentArrangement, Row, Width, presets::NOTHING,
};

use super::{fit::text_widths, human};

/// The spaces between two columns.
const GAP: u16 = 2;

/// Narrower than this, terminals are not catered for.
const WIDTH_MIN: u16 = 40;

/// For whom tables are drawn.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Style {
    /// The columns of the terminal; `None` for no limit.
    pub(crate) width: Option<u16>,
    /// Whether states are coloured.
    pub(crate) color: bool,
    /// Ages count from here.
    pub(crate) now: SystemTime,
}

impl Style {
    /// The style for what stdout is: a terminal of some width, or not.
    pub(crate) fn of_stdout(color: bool, now: SystemTime) -> Self {
        let terminal = io::stdout().is_terminal();
        let width = comfy_table::Table::new()
            .width()
            .filter(|&width| terminal && width > 0);
        Self {
            width: width.map(|width| width.max(WIDTH_MIN)),
            color: color && terminal,
            now,
        }
    }

    /// For tests and files: no limits, no colour.
    #[cfg(test)]
    pub(crate) fn plain() -> Self {
        Self {
            width: None,
            color: false,
            now: SystemTime::UNIX_EPOCH,
        }
    }
}

/// How a column is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Column {
    /// A text that may be cut.
    Text(&'static str),
    /// A text that is useless when cut, such as an id.
    Whole(&'static str),
    /// A number, to the right.
    Number(&'static str),
}

/// A table in the making.
#[derive(Debug)]
pub(crate) struct Table {
    style: Style,
    inner: comfy_table::Table,
    columns: Vec<Column>,
    /// The longest word of each column.
    words: Vec<u16>,
    /// Long texts go on below themselves instead of being cut.
    wraps: bool,
}

impl Table {
    /// The same as [`Table::new`], for tables where every word counts: nothing is cut.
    pub(crate) fn wrapped(style: &Style, columns: &[Column]) -> Self {
        Self {
            wraps: true,
            ..Self::new(style, columns)
        }
    }

    /// An empty table with these columns, each row of which will be one line.
    pub(crate) fn new(style: &Style, columns: &[Column]) -> Self {
        let mut inner = blank(style);
        inner.set_header(columns.iter().map(|column| match column {
            Column::Text(name) | Column::Whole(name) | Column::Number(name) => Cell::new(name),
        }));
        for (layout, column) in columns.iter().zip(inner.column_iter_mut()) {
            if matches!(layout, Column::Number(_)) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        Self {
            style: *style,
            inner,
            columns: columns.to_vec(),
            words: vec![0; columns.len()],
            wraps: false,
        }
    }

    /// Adds a row, of as many cells as there are columns.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.cells(cells.into());
    }

    /// The same, for tables whose columns are not known when they are written.
    pub(crate) fn cells(&mut self, cells: Vec<String>) {
        let color = self.style.color;
        for (longest, text) in self.words.iter_mut().zip(&cells) {
            let words = text.split_whitespace().map(|word| word.chars().count());
            let word = u16::try_from(words.max().unwrap_or(0)).unwrap_or(u16::MAX);
            *longest = word.max(*longest);
        }
        let mut row = Row::from(cells.into_iter().map(|text| {
            let mood = color.then(|| mood(&text)).flatten();
            let cell = Cell::new(one_line(&text));
            mood.map_or_else(|| cell.clone(), |mood| cell.clone().fg(mood))
        }));
        if !self.wraps {
            row.max_height(1);
        }
        self.inner.add_row(row);
    }

    /// The table's lines; an empty table is its header alone.
    pub(crate) fn render(mut self) -> String {
        space_out(&mut self.inner);
        if let Some(width) = self.style.width {
            self.fit(width);
        }
        self.inner.trim_fmt()
    }

    /// Ids and numbers keep their width; texts share what is left, or are left out.
    fn fit(&mut self, width: u16) {
        let natural = self.inner.column_max_content_widths();
        let is_text = |column: &Column| matches!(column, Column::Text(_));
        let pairs = || self.columns.iter().zip(natural.iter().copied());
        let whole = pairs().filter(|(column, _)| !is_text(column));
        let taken = whole
            .map(|(_, width)| width.saturating_add(GAP))
            .fold(0, u16::saturating_add);
        let texts: Vec<u16> = pairs()
            .filter(|(column, _)| is_text(column))
            .map(|(_, width)| width)
            .collect();
        let mut shares = if self.wraps {
            texts.iter().map(|_| None).collect()
        } else {
            text_widths(&texts, width.saturating_sub(taken), GAP)
        }
        .into_iter();
        let words = self.columns.iter().zip(&self.words);
        let words: Vec<Option<u16>> = words
            .map(|(column, word)| is_text(column).then_some(word.saturating_add(GAP)))
            .collect();
        let words_fit = words
            .iter()
            .flatten()
            .fold(taken, |sum, word| sum.saturating_add(*word))
            <= width;
        let columns = self.columns.iter().zip(words);
        for ((layout, word), column) in columns.zip(self.inner.column_iter_mut()) {
            let constraint = match (layout, self.wraps) {
                (Column::Whole(_) | Column::Number(_), _) => ColumnConstraint::ContentWidth,
                (Column::Text(_), true) => match word {
                    Some(word) if words_fit => ColumnConstraint::LowerBoundary(Width::Fixed(word)),
                    Some(_) | None => continue,
                },
                (Column::Text(_), false) => match shares.next().flatten() {
                    Some(share) => ColumnConstraint::Absolute(Width::Fixed(share + GAP)),
                    None => ColumnConstraint::Hidden,
                },
            };
            column.set_constraint(constraint);
        }
    }
}

/// Names and values, one a line; long values go on below themselves. Empty values are left out.
pub(crate) fn details(style: &Style, entries: &[(&str, String)]) -> String {
    let mut table = blank(style);
    for (name, value) in entries.iter().filter(|(_, value)| !value.is_empty()) {
        let color = style.color.then(|| mood(value)).flatten();
        let cell = Cell::new(human::printable(value));
        let cell = color.map_or_else(|| cell.clone(), |mood| cell.clone().fg(mood));
        table.add_row(vec![Cell::new(format!("{name}:")), cell]);
    }
    table.set_constraints([ColumnConstraint::ContentWidth]);
    space_out(&mut table);
    table.trim_fmt()
}

/// Columns begin at the left edge and stand two spaces apart.
fn space_out(table: &mut comfy_table::Table) {
    for column in table.column_iter_mut() {
        column.set_padding((0, GAP));
    }
}

fn blank(style: &Style) -> comfy_table::Table {
    let mut table = comfy_table::Table::new();
    table.load_style(NOTHING);
    table.set_truncation_indicator("…");
    match style.width {
        Some(width) => {
            table
                .set_content_arrangement(ContentArrangement::Dynamic)
                .set_width(width);
        }
        None => {
            table.set_content_arrangement(ContentArrangement::Disabled);
        }
    }
    if style.color {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    table
}

/// Control characters would break the table, or speak to the terminal.
fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

fn mood(text: &str) -> Option<Color> {
    match text {
        "DEAD" | "FAILED" | "CRASHED" | "TIMED_OUT" | "DEAD_LETTERED" => Some(Color::Red),
        "RETRYING" | "RETRIED" | "RETRY_SCHEDULED" | "SUSPECT" | "DISCONNECTED" => {
            Some(Color::Yellow)
        }
        "SUCCEEDED" | "RUNNING" | "LIVE" => Some(Color::Green),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(style: &Style) -> Table {
        let mut table = Table::new(
            style,
            &[
                Column::Whole("ID"),
                Column::Text("REASON"),
                Column::Number("RUNS"),
            ],
        );
        let reason = "a long\nreason that nobody could fit into a narrow terminal".to_owned();
        table.row(["0123456789".to_owned(), reason, "12".to_owned()]);
        table
    }

    #[test]
    fn without_a_terminal_nothing_is_cut_and_every_row_is_one_line() {
        let text = sample(&Style::plain()).render();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert!(lines[0].contains("ID") && lines[0].contains("REASON"));
        assert!(lines[1].contains("a long reason that nobody could fit into a narrow terminal"));
    }

    #[test]
    fn a_narrow_terminal_cuts_texts_but_never_ids_or_numbers() {
        let style = Style {
            width: Some(40),
            ..Style::plain()
        };
        let text = sample(&style).render();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert!(
            lines[1].contains("0123456789") && lines[1].contains("12"),
            "{text}"
        );
        assert!(lines[1].contains('…') && lines.iter().all(|line| line.chars().count() <= 40));
    }

    #[test]
    fn a_wrapped_table_fits_its_terminal_and_breaks_no_word_where_there_is_room() {
        for (width, breaks) in [(44, false), (40, true)] {
            let style = Style {
                width: Some(width),
                ..Style::plain()
            };
            let columns = [
                Column::Whole("ID"),
                Column::Text("MATCHES"),
                Column::Text("WAIT"),
            ];
            let mut table = Table::wrapped(&style, &columns);
            let wait = "exponential from a second and further".to_owned();
            table.row(["0123456789".to_owned(), "DEPENDENCY_DOWN".to_owned(), wait]);
            let text = table.render();
            assert!(
                text.lines()
                    .all(|line| line.chars().count() <= usize::from(width)),
                "{text}"
            );
            assert_eq!(!text.contains("DEPENDENCY_DOWN"), breaks, "{text}");
        }
    }

    #[test]
    fn colours_are_used_only_where_they_are_wanted() {
        let states = |style: &Style| {
            let mut table = Table::new(style, &[Column::Text("STATE")]);
            table.row(["DEAD".to_owned()]);
            table.render()
        };
        assert!(!states(&Style::plain()).contains('\u{1b}'));
        assert!(
            states(&Style {
                color: true,
                ..Style::plain()
            })
            .contains('\u{1b}')
        );
    }

    #[test]
    fn details_leave_out_what_is_empty() {
        let text = details(
            &Style::plain(),
            &[("Id", "1".to_owned()), ("Result", String::new())],
        );
        assert!(text.contains("Id:") && !text.contains("Result"), "{text}");
    }
}
