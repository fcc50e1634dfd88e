//! Claims of `docs/retry-policies.md` that the code must keep.

use std::fmt::Write as _;

use super::super::preview::{Preview, preview};
use super::*;

const DOC: &str = include_str!("../../../../../docs/retry-policies.md");

/// What stands between `<!-- name -->` and `<!-- end -->`.
fn section(name: &str) -> &'static str {
    let (_, rest) = DOC
        .split_once(&format!("<!-- {name} -->\n"))
        .expect("the section is there");
    rest.split_once("<!-- end -->").expect("the section ends").0
}

/// A time as people write it: two digits after the point at most.
fn time(ms: u64) -> String {
    let (number, unit) = match ms {
        0..120_000 => (ms as f64 / 1000.0, "s"),
        120_000..3_600_000 => (ms as f64 / 60_000.0, "min"),
        3_600_000..86_400_000 => (ms as f64 / 3_600_000.0, "h"),
        86_400_000.. => (ms as f64 / 86_400_000.0, "d"),
    };
    let text = format!("{number:.2}");
    format!(
        "{} {unit}",
        text.trim_end_matches('0').trim_end_matches('.')
    )
}

fn waits(shown: &Preview, count: usize) -> String {
    let one = |wait: super::super::Window| {
        if wait.min_ms == wait.max_ms {
            time(wait.min_ms)
        } else {
            format!("{} – {}", time(wait.min_ms), time(wait.max_ms))
        }
    };
    let shown: Vec<String> = shown
        .steps
        .iter()
        .filter_map(|step| step.wait)
        .take(count)
        .map(one)
        .collect();
    if shown.is_empty() {
        "none".into()
    } else {
        shown.join(", ")
    }
}

fn give_up(shown: &Preview) -> String {
    shown.give_up.map_or_else(
        || "never".into(),
        |give_up| {
            let (least, most) = (time(give_up.min_ms), time(give_up.max_ms));
            if least == most {
                most
            } else {
                format!("{least} – {most}, mean {}", time(give_up.mean_ms))
            }
        },
    )
}

fn same(name: &str, rendered: &str) {
    assert_eq!(
        section(name),
        rendered,
        "docs/retry-policies.md, {name}, must be:\n{rendered}"
    );
}

#[test]
fn the_table_of_presets_is_what_the_code_does() {
    let mut table =
        String::from("| Policy | Attempts | First waits | Gives up after |\n|---|---|---|---|\n");
    for policy in named_presets::all() {
        let shown = preview(&policy, &failure(FailureClass::Internal), None, 1000);
        let attempts = match policy.max_attempts {
            0 => "no end".into(),
            some => some.to_string(),
        };
        writeln!(
            table,
            "| `{}` | {attempts} | {} | {} |",
            policy.name,
            waits(&shown, 4),
            give_up(&shown)
        )
        .unwrap();
    }
    same("presets", &table);
}

#[test]
fn the_table_of_recommended_is_what_the_code_does() {
    let mut table =
        String::from("| Failure | Rule | Runs | First waits | Ends as |\n|---|---|---|---|---|\n");
    let policy = preset("recommended");
    let rows = FailureClass::ALL.iter().flat_map(|class| {
        let asked = (*class == FailureClass::RateLimited).then_some(Some(5000));
        [None].into_iter().chain(asked).map(|asked| (*class, asked))
    });
    for (class, retry_after_ms) in rows {
        let shown = preview(&policy, &failure(class), retry_after_ms, 1000);
        let asked = retry_after_ms.map(|ms| format!(", `retry_after` {}", time(ms)));
        let rule = shown.steps[0].rule.as_deref();
        writeln!(
            table,
            "| {}{} | {} | {} | {} | {} |",
            class.name(),
            asked.unwrap_or_default(),
            rule.map_or_else(|| "–".into(), |rule| format!("`{rule}`")),
            shown.steps.len(),
            waits(&shown, 3),
            shown.ends_as.map_or("", super::super::preview::End::name)
        )
        .unwrap();
    }
    same("recommended", &table);
}

#[test]
fn the_formulas_of_the_presets_are_their_descriptions() {
    let mut list = String::new();
    for policy in named_presets::all() {
        writeln!(list, "* **`{}`**: {}", policy.name, policy.description).unwrap();
    }
    same("formulas", &list);
}
