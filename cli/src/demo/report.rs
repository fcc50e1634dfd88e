//! What the demo prints on stdout: tables of at most 80 columns, or one JSON object.
//!
//! Owns how numbers are laid out. Pure: it makes text, the caller writes it.

use comfy_table::{Cell, CellAlignment, ContentArrangement, LineStyle, Table, TableStyle};

use super::{
    books::Check,
    facts::TaskFacts,
    figures::{self, DeadRow, DelayRow, Row, Summary},
    text::{grouped, grouped_len},
};

/// The most columns of a line.
const WIDTH: u16 = 80;
/// The most discrepancies of a check that are printed; the rest is counted.
const DISCREPANCIES_SHOWN: usize = 5;
/// How the share of a tenth is drawn, from the least to the most.
const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The tables of what stands before the redrive.
pub(super) fn before_redrive(tasks: &[TaskFacts], delays: &[DelayRow]) -> String {
    format!(
        "\nWhat became of the deliveries (failed: by a rule that wants no dead letter)\n{}\n\n{}\n\nDead letters\n{}\n",
        behaviours(&figures::rows(tasks)),
        delay_table(delays),
        dead_table(&figures::dead_rows(tasks)),
    )
}

/// The tables of the end, and the books.
pub(super) fn end(summary: &Summary) -> String {
    let books = summary
        .books
        .iter()
        .map(check)
        .collect::<Vec<_>>()
        .join("\n");
    let verdict = if summary.books_balanced {
        "The books balance."
    } else {
        "The books DO NOT balance."
    };
    format!(
        "\nAfter the redrive\n{}\n\nDead letters that stay\n{}\n\nThe books\n{books}\n\n{verdict} \
         {} deliveries, {} attempts, {:.1} s.\n",
        behaviours(&summary.behaviours),
        dead_table(&summary.dead_letters),
        grouped(summary.tasks),
        grouped(summary.attempts),
        summary.seconds,
    )
}

/// The JSON object, indented.
///
/// # Errors
/// Never in practice: the summary has no keys that JSON cannot say.
pub(super) fn json(summary: &Summary) -> serde_json::Result<String> {
    serde_json::to_string_pretty(summary)
}

/// A table whose first column is text; the others are aligned to the right.
fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    let line = LineStyle::none().fill('─').junction('─');
    table.load_style(TableStyle::new().header_separator(line));
    table.set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.iter().copied());
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((1, 0));
        if index > 0 {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn behaviours(rows: &[Row]) -> Table {
    let header = [
        "behaviour",
        "tasks",
        "attempts",
        "retries",
        "crashes",
        "succeeded",
        "failed",
        "dead",
    ];
    let mut table = table(&header);
    for row in rows {
        let numbers = [
            row.tasks,
            row.attempts,
            row.retries,
            row.crashes,
            row.succeeded,
            row.failed,
            row.dead,
        ];
        let name = Cell::new(&row.behaviour);
        table.add_row(std::iter::once(name).chain(numbers.map(|n| Cell::new(grouped(n)))));
    }
    table
}

fn delay_table(rows: &[DelayRow]) -> String {
    let header = [
        "retry after",
        "no.",
        "drawn",
        "from",
        "mean",
        "to",
        "allowed",
        "spread",
    ];
    let mut table = table(&header);
    for row in rows {
        table.add_row([
            Cell::new(&row.cause),
            Cell::new(row.retry),
            Cell::new(grouped(row.count)),
            Cell::new(grouped(row.drawn_min_ms)),
            Cell::new(grouped(row.drawn_mean_ms)),
            Cell::new(grouped(row.drawn_max_ms)),
            Cell::new(format!(
                "{} - {}",
                grouped(row.allowed_min_ms),
                grouped(row.allowed_max_ms)
            )),
            Cell::new(spread(&row.tenths)),
        ]);
    }
    format!(
        "Delays drawn, in milliseconds, beside what the policy allows; the spread shows\n\
         how many fell into each tenth of what is allowed\n{table}"
    )
}

fn spread(tenths: &[u64]) -> String {
    let most = tenths.iter().copied().max().unwrap_or(0).max(1);
    let block = |count: &u64| match count.saturating_mul(7).checked_div(most) {
        _ if *count == 0 => ' ',
        Some(height) => usize::try_from(height)
            .ok()
            .and_then(|h| BLOCKS.get(h).copied())
            .unwrap_or('█'),
        None => ' ',
    };
    tenths.iter().map(block).collect()
}

fn dead_table(rows: &[DeadRow]) -> Table {
    let mut table = table(&["behaviour", "tasks", "reason", "the failure of one of them"]);
    table
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(WIDTH);
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Left);
    }
    for row in rows {
        table.add_row([
            Cell::new(row.behaviour),
            Cell::new(grouped(row.count)),
            Cell::new(&row.reason),
            Cell::new(&row.example),
        ]);
    }
    if rows.is_empty() {
        table.add_row(["none"]);
    }
    table
}

fn check(check: &Check) -> String {
    let verdict = if check.holds() { "OK    " } else { "FAILED" };
    let mut text = format!("  {verdict} {}\n         {}", check.name, check.numbers);
    for discrepancy in check.discrepancies.iter().take(DISCREPANCIES_SHOWN) {
        text.push_str(&format!("\n         ! {discrepancy}"));
    }
    let more = check
        .discrepancies
        .len()
        .saturating_sub(DISCREPANCIES_SHOWN);
    if more > 0 {
        text.push_str(&format!("\n         ! and {} more", grouped_len(more)));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::demo::behaviour::Behaviour;

    fn summary() -> Summary {
        let row = |name: &str| Row {
            behaviour: name.to_owned(),
            tasks: 20_000,
            attempts: 120_000,
            retries: 100_000,
            crashes: 1_000,
            succeeded: 19_000,
            failed: 0,
            dead: 1_000,
        };
        let broken = Check {
            name: "every task is in exactly one end state",
            numbers: "38,000 runs = 20,000 first + 15,000 retries + 60 lost + 2,940 redriven"
                .to_owned(),
            discrepancies: (0..7).map(|n| format!("task {n}")).collect(),
        };
        Summary {
            tasks: 20_000,
            succeeded: 19_000,
            failed: 0,
            dead: BTreeMap::from([("RULE".to_owned(), 1_000)]),
            attempts: 120_000,
            retries: 100_000,
            crashes: 1_000,
            books_balanced: false,
            dead_before_redrive: BTreeMap::new(),
            redriven: 9_000,
            coordinator_killed: true,
            coordinator_down_ms: 240,
            bad_lines: 0,
            scale: 100,
            seconds: 31.25,
            behaviours: vec![row("rate-limited"), row("all")],
            delays: vec![DelayRow {
                cause: "DEPENDENCY_DOWN".to_owned(),
                retry: 12,
                count: 20_000,
                drawn_min_ms: 10_000,
                drawn_mean_ms: 20_000,
                drawn_max_ms: 36_000,
                allowed_min_ms: 0,
                allowed_max_ms: 36_000,
                tenths: [0, 1, 2, 3, 4, 5, 6, 7, 8, 80],
            }],
            dead_letters: vec![DeadRow {
                behaviour: Behaviour::RateLimited,
                reason: "RETRY_DURATION_EXCEEDED".to_owned(),
                count: 20_000,
                example: "the upstream said 422: object.amount: is no whole number of cents"
                    .repeat(3),
            }],
            books: vec![broken],
        }
    }

    #[test]
    fn no_line_of_a_table_is_wider_than_eighty_columns() {
        let mut summary = summary();
        summary.books[0].discrepancies.clear();
        let text = format!("{}{}", end(&summary), delay_table(&summary.delays));
        for line in text.lines() {
            assert!(line.chars().count() <= WIDTH.into(), "{line}");
        }
    }

    #[test]
    fn a_failed_check_is_told_with_its_first_discrepancies() {
        let text = end(&summary());
        assert!(text.contains("FAILED every task"), "{text}");
        assert!(
            text.contains("! task 4\n") && text.contains("! and 2 more"),
            "{text}"
        );
        assert!(text.contains("DO NOT balance"), "{text}");
    }

    #[test]
    fn the_json_object_has_the_promised_keys() {
        let json: serde_json::Value = serde_json::from_str(&json(&summary()).unwrap()).unwrap();
        assert_eq!(json["tasks"], 20_000);
        assert_eq!(json["succeeded"], 19_000);
        assert_eq!(json["dead"]["RULE"], 1_000);
        assert_eq!(json["attempts"], 120_000);
        assert_eq!(json["crashes"], 1_000);
        assert_eq!(json["books_balanced"], false);
        assert_eq!(json["coordinator_killed"], true);
        assert_eq!(json["coordinator_down_ms"], 240);
    }

    #[test]
    fn the_spread_draws_the_fullest_tenth_highest_and_the_empty_ones_blank() {
        assert_eq!(spread(&[0, 1, 70, 35]), " ▁█▄");
    }
}
