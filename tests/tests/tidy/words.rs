//! Words that a module must not say, because another one has that duty.
//!
//! Owns the list. Looks at code only, never at comments or texts, and leaves tests alone.

use crate::rust::Rust;
use crate::tree::{Finding, Source, assert_finds, assert_none, below, read};

/// Below a folder no word of these, for this reason.
struct Ban {
    below: &'static str,
    /// Each a word, or a row of words and signs with blanks between them.
    words: &'static [&'static str],
    /// Files, by their end, that may all the same.
    but: &'static [&'static str],
    remedy: &'static str,
}

const BANS: [Ban; 9] = [
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
        words: &["HashMap", "HashSet"],
        but: HASHED,
        remedy: "an order of chance would differ on replay: take a BTreeMap or a DenseMap",
    },
    Ban {
        below: "coordinator/src/engine",
        words: &["ledger . apply"],
        but: &["ledger/mod.rs", "engine/shard.rs"],
        remedy: "only shard.rs applies events: one door (I1)",
    },
    Ban {
        below: "coordinator/src",
        words: &["retry :: decide"],
        but: &["handlers/end_run.rs"],
        remedy: "only handlers/end_run.rs asks the judge (I6)",
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
            "Lease",
            "Session",
            "QueueName",
            "Engine",
            "Worker",
            "retry",
            "fence",
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
];

/// Files of the engine with a hash map, which clippy keeps from being iterated.
const HASHED: &[&str] = &[];

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
    if source.is_test() || ban.but.iter().any(|end| source.path.ends_with(end)) {
        return Vec::new();
    }
    let words = ban.words.iter();
    // Reading it as Rust takes its time.
    let said = |word: &&str| {
        source
            .text
            .contains(word.split(' ').next_back().unwrap_or(word))
    };
    if !words.clone().any(|word| said(word)) {
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

#[test]
fn every_clock_is_read_in_its_one_place() {
    let mut found = Vec::new();
    for (folder, places) in CLOCKS {
        for source in below(folder, "rs") {
            let may = places.iter().any(|place| source.path.ends_with(place));
            if may || source.is_test() || !source.text.contains("::now") {
                continue;
            }
            let rust = Rust::of(&source);
            let clocks = ["Instant", "SystemTime"].map(|it| rust.lines_of(&[it, "::", "now"]));
            for line in clocks.concat() {
                let says = format!("reads a clock: only {places:?} do");
                found.extend((!rust.in_test(line)).then(|| Finding::new(&source.path, line, says)));
            }
        }
    }
    assert_none(found);
}

/// I6: one judge.
#[test]
fn exactly_one_place_asks_the_judge() {
    let place = read("coordinator/src/engine/handlers/end_run.rs");
    assert_eq!(
        Rust::of(&place).lines_of(&["retry", "::", "decide"]).len(),
        1,
        "I6: one judge"
    );
}

#[test]
fn every_file_that_may_all_the_same_is_there() {
    for ban in &BANS {
        for end in ban.but {
            let there = below(ban.below, "rs")
                .iter()
                .any(|source| source.path.ends_with(end));
            assert!(
                there,
                "{end} is not below {}: take it out of the list",
                ban.below
            );
        }
    }
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
    assert_eq!(
        found("a.rs", "/// tokio\nfn f() { g(\"tokio\") } // tokio"),
        []
    );
    assert_eq!(
        found("a.rs", "#[cfg(test)]\nmod tests { use tokio::net; }"),
        []
    );
}
