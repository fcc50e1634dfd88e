//! `dead` as operators use it.

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
