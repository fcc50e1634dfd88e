//! `dead` as operators use it.

use std::{io, process::Stdio};

use serde_json::{Value, json};

use super::stage::{Stage, stderr};

#[test]
fn dead_letters_are_listed_redriven_and_discarded() {
    let stage = Stage::new();
    let worker = stage.worker("w1", "echo no >&2; exit 65");
    let ids = [stage.dead_task(), stage.dead_task(), stage.dead_task()];
    assert_eq!(worker.stop(), 0);
    let list = stage.ok(&["dead", "list", "-q", "mail"]);
    assert!(
        ids.iter().all(|id| list.contains(id.as_str())) && list.contains("INVALID"),
        "{list}"
    );

    assert_eq!(stage.code(&["dead", "redrive"]), 2);
    let refused = stage.run(&["dead", "redrive", "-q", "mail"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(stderr(&refused).contains("--yes"), "{}", stderr(&refused));

    assert_eq!(
        stage.ok(&["dead", "redrive", "-q", "mail", "--dry-run"]),
        "would redrive 3"
    );
    assert_eq!(
        stage.ok(&["dead", "redrive", &ids[0]]),
        format!("redriven {}", ids[0])
    );
    let limited = [
        "dead", "redrive", "--all", "--limit", "1", "--spread", "1m", "--yes",
    ];
    assert_eq!(stage.ok(&limited), "redriven 1");
    assert_eq!(stage.code(&["dead", "discard", "--all"]), 2);
    let filter = ["dead", "discard", "--filter", "class = INVALID", "--yes"];
    assert_eq!(stage.ok(&filter), "discarded 1");
    assert_eq!(stage.ok(&["dead", "list"]), "");
}

#[test]
fn dead_letters_named_by_id_are_discarded_all_or_none_and_never_unasked() {
    let stage = Stage::new();
    let worker = stage.worker("w1", "exit 65");
    let ids = [stage.dead_task(), stage.dead_task(), stage.dead_task()];
    assert_eq!(worker.stop(), 0);
    let [first, second, third] = &ids;
    let live = stage.ok(&["task", "enqueue", "send", "-q", "mail", "--delay", "1h"]);

    let unasked = stage.run(&["dead", "discard", first]);
    assert_eq!(unasked.status.code(), Some(2));
    assert!(stderr(&unasked).contains("--yes"), "{}", stderr(&unasked));
    assert_eq!(
        stage.ok(&["dead", "discard", first, "--dry-run"]),
        format!("would discard {first}")
    );
    let one_lives = ["dead", "discard", first, &live, "--yes"];
    assert_eq!(stage.code(&one_lives), 73);
    let list = stage.ok(&["dead", "list"]);
    assert!(ids.iter().all(|id| list.contains(id.as_str())), "{list}");

    let reason = ["--yes", "--reason", "bad import"];
    assert_eq!(
        stage.ok(&[&["dead", "discard", first, second], &reason[..]].concat()),
        format!("discarded {first}\ndiscarded {second}")
    );
    let answer = stage.json(&["dead", "discard", third, "--yes"]);
    assert_eq!(answer["task"]["state"], "TASK_STATE_DISCARDED");
    assert_eq!(stage.ok(&["dead", "list"]), "");
    assert_eq!(stage.code(&["dead", "discard", first, "--yes"]), 73);
    let both = ["dead", "discard", first, "-q", "mail", "--yes"];
    assert_eq!(stage.code(&both), 2);
}

#[test]
fn a_bulk_act_is_logged_with_what_was_asked_for_and_what_came_of_it() {
    let mut stage = Stage::logging("info", Stdio::piped());
    let worker = stage.worker("w1", "exit 65");
    stage.dead_task();
    stage.dead_task();
    assert_eq!(worker.stop(), 0);
    stage.ok(&[
        "dead",
        "redrive",
        "-q",
        "mail",
        "--filter",
        "class = INVALID",
        "--spread",
        "10m",
        "--limit",
        "1",
        "--yes",
        "--reason",
        "provider\nis back",
    ]);
    stage.ok(&["dead", "discard", "--all", "--dry-run"]);

    let log = stage.coordinator.0.stderr.take().unwrap();
    assert_eq!(stage.coordinator.stop(), 0);
    let log = io::read_to_string(log).unwrap();
    let mut acts = Vec::new();
    for line in log.lines().filter(|line| line.contains("bulk act")) {
        let mut line: Value = serde_json::from_str(line).unwrap();
        let fields = line.as_object_mut().unwrap();
        assert_eq!(fields.remove("level"), Some("INFO".into()));
        // Who begins an act is told; the machine's name is anybody's.
        let begins = fields["message"] == "a bulk act begins";
        let actor = fields.remove("actor").unwrap_or_default();
        assert_eq!(
            actor.as_str().is_some_and(|it| it.starts_with("ada@")),
            begins
        );
        fields.retain(|key, _| !["timestamp", "target", "message"].contains(&key.as_str()));
        acts.push(line);
    }
    let wanted = [
        json!({
            "act": "redrive", "namespace": "default", "queue": "mail", "dry_run": false,
            "filter": "class = INVALID", "spread_ms": 600_000, "count_max": 1,
            "reason": "provider\nis back",
        }),
        json!({
            "act": "redrive", "namespace": "default", "queue": "mail", "dry_run": false,
            "matched": 2, "changed": 1, "pending": 0, "outcome": "DONE",
        }),
        json!({
            "act": "discard", "namespace": "default", "queue": "", "dry_run": true,
            "filter": "", "reason": "",
        }),
        json!({
            "act": "discard", "namespace": "default", "queue": "", "dry_run": true,
            "matched": 1, "changed": 0, "pending": 0, "outcome": "DONE",
        }),
    ];
    assert_eq!(acts, wanted, "{log}");
}
