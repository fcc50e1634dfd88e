//! Counts beside those that were counted before.
//!
//! Owns the form of the table and how much may be missing to it. Pure.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::Path;

/// How far a count may be from the table's, in per cent: what another compiler or C library does to
/// it. More is a change that somebody made.
pub const TOLERANCE_PERCENT: u64 = 10;

/// The table as a file: a line for each path, and what a task takes of it.
#[must_use]
pub fn printed(counts: &BTreeMap<Path, u64>) -> String {
    let mut text = String::from(
        "# Instructions of one task on each of the engine's hot paths. `hot check` compares, `hot write`\n\
         # counts anew: see docs/performance.md.\n",
    );
    for (path, count) in counts {
        let _written = writeln!(text, "{:<8}{count:>8}", path.name());
    }
    text
}

/// The table in such a file.
///
/// # Errors
/// The line that is none of it.
pub fn parse(text: &str) -> Result<BTreeMap<Path, u64>, String> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let row = |line: &str| {
        let mut words = line.split_whitespace();
        let path = words.next().and_then(Path::named);
        let count = words.next().and_then(|word| word.parse().ok());
        path.zip(count).ok_or_else(|| format!("no row: {line:?}"))
    };
    lines.map(row).collect()
}

/// What to say of counts and those of before, and whether all is well: no path takes more than
/// before. One that takes less is told, so that the table is written anew and it stays so.
#[must_use]
pub fn compare(before: &BTreeMap<Path, u64>, now: &BTreeMap<Path, u64>) -> (String, bool) {
    let mut text = String::new();
    let mut well = true;
    for path in Path::ALL {
        let (was, is) = (before.get(&path), now.get(&path));
        let (Some(&was), Some(&is)) = (was, is) else {
            well = false;
            let _written = writeln!(text, "{:<8} is not in both: `hot write`", path.name());
            continue;
        };
        let room = was * TOLERANCE_PERCENT / 100;
        let verdict = if is > was + room {
            well = false;
            "SLOWER: find out why, or `hot write` and say why in the commit"
        } else if is + room < was {
            "faster: `hot write`, so that it stays so"
        } else {
            "ok"
        };
        let _written = writeln!(text, "{:<8}{was:>8} -> {is:>8}  {verdict}", path.name());
    }
    (text, well)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(count: u64) -> BTreeMap<Path, u64> {
        Path::ALL.map(|path| (path, count)).into()
    }

    #[test]
    fn what_is_slower_by_more_than_a_compiler_fails_and_what_is_faster_is_told() {
        for (is, well, says) in [
            (1_000, true, "ok"),
            (1_100, true, "ok"),
            (1_101, false, "SLOWER"),
            (900, true, "ok"),
            (899, true, "faster"),
        ] {
            let (text, found) = compare(&all(1_000), &all(is));
            assert_eq!(found, well, "{text}");
            assert!(text.contains(says), "{text}");
        }
        let mut one_less = all(1);
        one_less.remove(&Path::Timer);
        let (text, well) = compare(&one_less, &all(1));
        assert!(!well && text.contains("timer    is not in both"), "{text}");
    }

    #[test]
    fn a_table_is_read_as_it_was_written() {
        assert_eq!(parse(&printed(&all(1_234))), Ok(all(1_234)));
        assert!(parse("moon 5").is_err());
        assert!(parse("call much").is_err());
    }

    #[test]
    fn the_table_that_is_kept_has_every_path() {
        let kept = parse(include_str!("../../instructions.txt")).unwrap();
        assert_eq!(kept.len(), Path::ALL.len());
    }
}
