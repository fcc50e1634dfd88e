//! A task's life as producers and operators say and see it: keys, kinds, cancels, chains.

use super::stage::{Stage, stderr};

const KEY: [&str; 4] = ["--queue", "mail", "--key", "user:1"];

#[test]
fn a_task_is_enqueued_once_and_found_changed_and_cancelled_by_its_key() {
    let stage = Stage::new();
    let enqueue = [&["task", "enqueue", "send", "--delay", "1h"], &KEY[..]].concat();
    let id = stage.ok(&enqueue);
    let again = stage.run(&enqueue);
    assert_eq!(String::from_utf8_lossy(&again.stdout).trim(), id);
    assert!(
        stderr(&again).contains("earlier task"),
        "{}",
        stderr(&again)
    );
    let other = [&enqueue[..], &["--payload", "1"]].concat();
    assert_eq!(stage.code(&other), 64 + 6);

    let update = [
        &["task", "update"],
        &KEY[..],
        &["--hard", "1m", "--reason", "slow"],
    ]
    .concat();
    stage.ok(&update);
    let text = stage.ok(&[&["task", "get"], &KEY[..]].concat());
    for part in ["user:1", "EDITED", "ada@", "slow", "hard 1m", "TASK"] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    let cancel = [&["task", "cancel"], &KEY[..], &["--mode", "if-waiting"]].concat();
    let answer = stage.json(&cancel);
    assert_eq!(answer["disposition"], "CANCEL_DISPOSITION_CANCELLED");
    assert_eq!(stage.code(&[&["task", "wait"], &KEY[..]].concat()), 11);
}

#[test]
fn a_kind_gives_its_tasks_their_queue_and_says_so() {
    let stage = Stage::new();
    let set = [
        "kind",
        "set",
        "send",
        "--default-queue",
        "mail",
        "--max-attempts",
        "7",
        "--on-failure",
        "tell@ops",
    ];
    assert_eq!(stage.json(&set)["kind"]["settings"]["queue"], "mail");
    let id = stage.ok(&["task", "enqueue", "send"]);
    let answer = stage.json(&["task", "get", &id]);
    assert_eq!(answer["task"]["spec"]["queue"], "mail");
    let attempts = &answer["task"]["effective"]["maxAttempts"];
    assert_eq!(
        (&attempts["maxAttempts"], &attempts["source"]),
        (&7.into(), &"SOURCE_KIND".into())
    );
    assert!(stage.ok(&["kind", "list"]).contains("send"));
    let queue = stage.ok(&["queue", "get", "mail"]);
    assert!(queue.contains("no connected worker"), "{queue}");
    stage.ok(&["kind", "delete", "send"]);
    assert_eq!(stage.code(&["kind", "get", "send"]), 69);
    assert_eq!(stage.code(&["task", "enqueue", "other"]), 67);
}

#[test]
fn many_are_cancelled_by_filter_all_that_were_expected_or_none() {
    let stage = Stage::new();
    for kind in ["a", "a", "b"] {
        stage.ok(&["task", "enqueue", kind, "-q", "mail"]);
    }
    let select = ["task", "cancel", "--queue", "mail", "--filter", "kind = a"];
    let with = |more: &[&'static str]| [&select[..], more].concat();
    assert_eq!(stage.ok(&with(&["--dry-run"])), "would cancel 2");
    assert_eq!(stage.code(&select), 2, "without a terminal it needs --yes");
    let limited = with(&["--dry-run", "--limit", "1"]);
    assert_eq!(stage.ok(&limited), "would cancel 1 of 2");
    assert_eq!(stage.code(&with(&["--dry-run", "--expect", "5"])), 73);
    stage.ok(&with(&["--dry-run", "--expect", "2"]));
    assert_eq!(stage.code(&with(&["--expect", "5", "-y"])), 73);
    assert_eq!(stage.ok(&with(&["--expect", "2", "-y"])), "cancelled 2");
    assert_eq!(stage.code(&["task", "cancel"]), 2);
}

#[test]
fn each_of_several_tasks_is_cancelled_though_another_cannot_be() {
    let stage = Stage::new();
    let enqueue = || stage.ok(&["task", "enqueue", "a", "-q", "mail", "--delay", "1h"]);
    let ids = [enqueue(), enqueue(), enqueue()];
    stage.ok(&["task", "cancel", &ids[1]]);
    let unknown = "no id";
    let all = ["task", "cancel", &ids[0], unknown, &ids[1], &ids[2]];
    let output = stage.run(&[&all[..], &["-o", "json"]].concat());
    assert_eq!(output.status.code(), Some(67), "the first one's");
    let told = stderr(&output);
    assert_eq!(told.lines().count(), 2, "{told}");
    assert!(told.contains(unknown) && told.contains(&*ids[1]), "{told}");
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    let cancelled: Vec<String> = lines
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|answer| answer["task"]["taskId"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(cancelled, [ids[0].clone(), ids[2].clone()]);
}

#[test]
fn a_chain_goes_on_with_the_result_of_the_task_before() {
    let stage = Stage::new();
    let worker = stage.worker("w1", "tr a-z A-Z");
    let chain = [
        "task",
        "enqueue",
        "first",
        "-q",
        "mail",
        "--payload",
        "\"x\"",
        "--then",
        "second",
    ];
    let id = stage.ok(&chain);
    assert_eq!(stage.code(&["task", "wait", &id]), 0);
    let next = loop {
        let listed = stage.ok(&["task", "list", "--filter", "kind = second", "-o", "jsonl"]);
        if let Some(line) = listed.lines().next() {
            let task: serde_json::Value = serde_json::from_str(line).unwrap();
            break task["taskId"].as_str().unwrap().to_owned();
        }
    };
    let answer = stage.json(&["task", "wait", &next]);
    assert_eq!(answer["task"]["cause"]["taskId"], id);
    assert_eq!(answer["task"]["result"]["data"], "Ilgi", "{answer}");
    assert_eq!(worker.stop(), 0);
}
