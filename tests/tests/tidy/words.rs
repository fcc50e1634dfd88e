//! Words that a module must not say, because another one has that duty.
//!
//! Owns the list. Looks at code only, never at comments or texts, and leaves tests alone.

use crate::rust::Rust;
use crate::tree::{Finding, Source, assert_finds, assert_none, below};

/// Below a folder no word of these, for this reason.
struct Ban {
    below: &'static str,
    /// Each a word, or a row of words and signs with blanks between them.
    words: &'static [&'static str],
    /// Files, by their end, that may all the same.
    but: &'static [&'static str],
    remedy: &'static str,
}

const BANS: [Ban; 10] = [
    Ban {
        below: "coordinator/src/engine",
        words: &[
            "tokio",
            "tonic",
            "prost",
            "async",
            "await",
            "Instant",
            "SystemTime",
            "tracing",
            "println",
            "eprintln",
            "redrive_proto",
            "std :: fs",
            "std :: io",
            "std :: net",
            "std :: thread",
            "std :: env",
            "std :: process",
            "std :: sync :: Mutex",
            "std :: sync :: atomic",
            "rand :: rng",
            "rand :: random",
            "OsRng",
            "RandomState",
        ],
        but: &[],
        remedy: "the engine is pure: give it what it needs in a command",
    },
    Ban {
        below: "coordinator/src/engine",
        words: &["ledger . apply"],
        but: &["ledger/mod.rs", "engine/shard.rs"],
        remedy: "only shard.rs applies events: one door (I1)",
    },
    Ban {
        below: "coordinator/src/engine/retry",
        words: &[
            "Task", "Queue", "Lease", "Session", "Ledger", "Event", "Command",
        ],
        but: &[],
        remedy: "the judge knows failures and policies, not what they befall",
    },
    Ban {
        below: "coordinator/src/journal",
        words: &[
            "tonic",
            "prost",
            "redrive_proto",
            "Event",
            "Task",
            "TaskId",
            "Ledger",
            "QueueName",
            "Engine",
        ],
        but: &[],
        remedy: "the journal keeps bytes and knows no task: put it in codec/ or shell/",
    },
    Ban {
        below: "coordinator/src/codec",
        words: &[
            "std :: fs",
            "tokio",
            "tonic",
            "prost",
            "redrive_proto",
            "Engine",
            "Instant",
            "SystemTime",
        ],
        but: &[],
        remedy: "the codec turns events into bytes and back, and does nothing else",
    },
    Ban {
        below: "coordinator/src/shell",
        words: &["tonic", "redrive_proto", "prost"],
        but: &[],
        remedy: "the wire is the server's",
    },
    Ban {
        below: "coordinator/src/server",
        words: &[
            "Ledger",
            "Shard",
            "Agenda",
            "decide",
            "judge",
            "engine :: Engine",
            "Journal",
            "Encoder",
            "apply",
        ],
        but: &["server/testing.rs"],
        remedy: "the edge parses, asks the inbox and answers; the engine decides",
    },
    Ban {
        below: "tests/src/model",
        words: &["Ledger", "Agenda", "Journal", "handlers", "decide"],
        but: &[],
        remedy: "the model is written from the documents: what it shares with the engine proves nothing",
    },
    Ban {
        below: "tests/src/sim",
        words: &[
            "Instant",
            "SystemTime",
            "HashMap",
            "HashSet",
            "tokio",
            "thread",
        ],
        but: &[],
        remedy: "a seed must be the same run again: take the world's clock, dice and ordered maps",
    },
    Ban {
        below: "tests/src/history",
        words: &["redrive_coordinator"],
        but: &[],
        remedy: "the judge of histories shares no code with what it judges",
    },
];

/// Where the clock of a crate is read.
const CLOCKS: [(&str, &[&str]); 4] = [
    (
        "coordinator/src",
        // The second measures how long a sync takes, the third keeps time for tests.
        &["shell/clock.rs", "journal/stats.rs", "shell/testing.rs"],
    ),
    ("worker/src", &["worker/src/clock.rs"]),
    ("client/src", &["client/src/clock.rs"]),
    ("proto/src", &[]),
];

fn banned(source: &Source, ban: &Ban) -> Vec<Finding> {
    let test = source.is_test() && !ban.below.starts_with("tests/");
    if test || ban.but.iter().any(|end| source.path.ends_with(end)) {
        return Vec::new();
    }
    let words = ban.words.iter();
    // Reading it as Rust takes its time.
    let said = |word: &&str| {
        source
            .text
            .contains(word.split(' ').next_back().unwrap_or(word))
    };
    if !words.clone().any(said) {
        return Vec::new();
    }
    let rust = Rust::of(source);
    let mut found = Vec::new();
    for word in words {
        let row: Vec<&str> = word.split(' ').collect();
        let lines = rust.lines_of(&row).into_iter();
        for line in lines.filter(|line| !rust.in_test(*line)) {
            found.push(Finding::new(
                &source.path,
                line,
                format!("says {word:?}: {}", ban.remedy),
            ));
        }
    }
    found
}

#[test]
fn no_module_says_a_word_of_anothers_duty() {
    let mut found = Vec::new();
    for ban in &BANS {
        found.extend(
            below(ban.below, "rs")
                .iter()
                .flat_map(|source| banned(source, ban)),
        );
    }
    assert_none(found);
}

/// Lines that read a clock outside of these places.
fn clocks(source: &Source, places: &[&str]) -> Vec<Finding> {
    let may = places.iter().any(|place| source.path.ends_with(place));
    if may || source.is_test() || !source.text.contains("::now") {
        return Vec::new();
    }
    let rust = Rust::of(source);
    let lines = ["Instant", "SystemTime"].map(|it| rust.lines_of(&[it, "::", "now"]));
    let lines = lines.concat().into_iter();
    let says = format!("reads a clock: only {places:?} do, be told the time");
    lines
        .filter(|line| !rust.in_test(*line))
        .map(|line| Finding::new(&source.path, line, says.clone()))
        .collect()
}

#[test]
fn every_clock_is_read_in_its_one_place() {
    let mut found = Vec::new();
    for (folder, places) in CLOCKS {
        let sources = below(folder, "rs");
        found.extend(sources.iter().flat_map(|source| clocks(source, places)));
    }
    assert_none(found);
}

#[test]
fn a_clock_that_is_read_elsewhere_is_found() {
    let found = |path: &str, text: &str| clocks(&Source::new(path, text), &["clock.rs"]);
    let reads = "fn f() {\n    std::time::Instant::now();\n}";
    assert_finds(&found("src/a.rs", reads), 2, "reads a clock");
    assert_eq!(found("src/clock.rs", reads), []);
    assert_eq!(found("src/tests/a.rs", reads), []);
}

/// Files that ask the judge of retries.
fn who_asks_the_judge(sources: &[Source]) -> Vec<&str> {
    let asks = |source: &&Source| {
        let may = source.text.contains("retry::decide") && !source.is_test();
        may && !Rust::of(source)
            .lines_of(&["retry", "::", "decide"])
            .is_empty()
    };
    sources
        .iter()
        .filter(asks)
        .map(|source| &*source.path)
        .collect()
}

/// One judge (I6), and one that asks it.
#[test]
fn only_the_end_of_a_run_asks_the_judge() {
    assert_eq!(
        who_asks_the_judge(&below("coordinator/src", "rs")),
        ["coordinator/src/engine/handlers/end_run.rs"],
        "I6: let end_run.rs ask the judge"
    );
    let sources = ["a.rs", "b.rs"].map(|path| Source::new(path, "fn f() { retry::decide(a) }"));
    assert_eq!(who_asks_the_judge(&sources), ["a.rs", "b.rs"]);
}

#[test]
fn a_word_is_found_in_code_and_only_there() {
    let ban = Ban {
        below: "",
        words: &["tokio", "std :: fs"],
        but: &["may.rs"],
        remedy: "mend it",
    };
    let found = |path: &str, text: &str| banned(&Source::new(path, text), &ban);
    assert_finds(&found("a.rs", "\nuse tokio::net;"), 2, "\"tokio\": mend it");
    assert_finds(
        &found("a.rs", "fn f() { std::fs::read(a) }"),
        1,
        "std :: fs",
    );
    assert_eq!(found("may.rs", "use tokio::net;"), []);
    assert_eq!(found("a/tests/b.rs", "use tokio::net;"), []);
    assert_eq!(
        found("a.rs", "/// tokio\nfn f() { g(\"tokio\") } // tokio"),
        []
    );
    assert_eq!(
        found("a.rs", "#[cfg(test)]\nmod tests { use tokio::net; }"),
        []
    );
}
