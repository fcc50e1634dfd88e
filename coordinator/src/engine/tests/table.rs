//! The table of transitions: in the code, in the docs, and nowhere a hole.

use crate::engine::ledger::{Stage, TaskEvent, transition};

/// The table as `docs/state-machine.md` shows it.
fn table() -> String {
    let mut text = String::from("| event | Pending | Leased | Dead | Finished |\n");
    text.push_str("| --- | --- | --- | --- | --- |\n");
    for event in TaskEvent::ALL {
        let cells = Stage::ALL.map(|stage| {
            transition(stage, event).map_or_else(|| "–".to_owned(), |to| format!("{to:?}"))
        });
        text.push_str(&format!("| {event:?} | {} |\n", cells.join(" | ")));
    }
    text
}

#[test]
fn the_docs_show_the_table_of_the_code() {
    let docs = include_str!("../../../../docs/state-machine.md");
    let table = table();
    assert!(
        docs.contains(&table),
        "docs/state-machine.md should contain:\n\n{table}"
    );
}

#[test]
fn what_is_over_stays_over() {
    for event in TaskEvent::ALL {
        assert_eq!(transition(Stage::Finished, event), None);
    }
}

#[test]
fn every_stage_can_be_reached_and_every_event_can_happen_somewhere() {
    for event in TaskEvent::ALL {
        assert!(
            Stage::ALL
                .iter()
                .any(|stage| transition(*stage, event).is_some()),
            "{event:?}"
        );
    }
    for to in Stage::ALL {
        let reached = Stage::ALL.iter().any(|from| {
            TaskEvent::ALL
                .iter()
                .any(|event| transition(*from, *event) == Some(to))
        });
        assert!(reached, "{to:?}");
    }
}
