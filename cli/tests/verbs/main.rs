//! The binary as its users meet it: real processes, real sockets, a coordinator of its own for
//! each test. Waits for conditions only: for a line, for a task's end, for a process's end.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod bench;
mod dead;
mod journal;
mod lifecycle;
mod stage;

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    process::{Command, Stdio},
};

use serde_json::Value;
use stage::{Process, Stage, redrive, stderr};

#[test]
fn where_nobody_listens_one_line_says_so_with_the_remedy() {
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let address = free.to_string();
    let output = redrive()
        .args(["task", "list", "--address", &address])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(78));
    let told = stderr(&output);
    assert_eq!(told.lines().count(), 1, "{told}");
    assert!(
        told.contains(&address) && told.contains("redrive dev"),
        "{told}"
    );
    assert!(output.stdout.is_empty());
}

#[test]
fn a_reader_that_goes_away_ends_it_quietly() {
    let mut child = redrive()
        .args(["completion", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(141));
    assert_eq!(stderr(&output), "");
}

#[test]
fn a_policy_is_previewed_without_a_coordinator_as_with_one() {
    let words = ["policy", "preview", "celery-production"];
    let alone = redrive().args(words).output().unwrap();
    let text = String::from_utf8(alone.stdout).unwrap();
    assert!(
        text.contains("gives up after at most 31s (mean 15.5s) as ATTEMPTS_EXHAUSTED"),
        "{text}"
    );
    let stage = Stage::new();
    assert_eq!(stage.ok(&words), text.trim_end());
    let unknown = redrive()
        .args(["policy", "show", "nonsense"])
        .output()
        .unwrap();
    assert_eq!(unknown.status.code(), Some(69));
    assert_eq!(
        stage.run(&["policy", "show", "nonsense"]).stderr,
        unknown.stderr
    );
}

#[test]
fn a_policy_that_is_shown_can_be_given_back() {
    let shown = redrive()
        .args(["policy", "show", "recommended", "-o", "json"])
        .output()
        .unwrap();
    let mut child = redrive()
        .args(["policy", "preview", "--file", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(&shown.stdout)
        .unwrap();
    let by_file = child.wait_with_output().unwrap();
    let by_name = redrive()
        .args(["policy", "preview", "recommended"])
        .output()
        .unwrap();
    assert_eq!(by_file.stdout, by_name.stdout);
}

#[test]
fn a_task_goes_from_enqueue_to_its_result() {
    let stage = Stage::new();
    let worker = stage.worker("w1", "cat");
    let payload = r#"{"to": "ada"}"#;
    let id = stage.ok(&[
        "task",
        "enqueue",
        "send",
        "-q",
        "mail",
        "--payload",
        payload,
    ]);
    let answer = stage.json(&["task", "wait", &id]);
    assert_eq!(answer["ended"], true);
    assert_eq!(answer["task"]["state"], "TASK_STATE_SUCCEEDED");
    let text = stage.ok(&["task", "get", &id]);
    assert!(
        text.contains("SUCCEEDED") && text.contains(payload),
        "{text}"
    );
    assert_eq!(worker.stop(), 0);
    assert_eq!(stage.coordinator.stop(), 0);
}

#[test]
fn a_wait_tells_by_its_code_how_it_ended() {
    let stage = Stage::new();
    let id = stage.ok(&["task", "enqueue", "send", "-q", "mail", "--delay", "1h"]);
    assert_eq!(stage.code(&["task", "wait", &id, "--timeout", "1ms"]), 12);
    stage.ok(&["task", "cancel", &id, "--reason", "not needed"]);
    assert_eq!(stage.code(&["task", "wait", &id]), 11);
    assert_eq!(stage.code(&["task", "cancel", &id]), 73);
    let missing = "00000000-0000-7000-8000-000000000000";
    assert_eq!(stage.code(&["task", "get", missing]), 69);
}

#[test]
fn a_queue_is_configured_paused_and_resumed() {
    let stage = Stage::new();
    let set = [
        "queue", "set", "mail", "--policy", "sidekiq", "--soft", "25s", "--hard", "30s",
    ];
    let answer = stage.json(&set);
    assert_eq!(answer["queue"]["settings"]["retryPolicy"], "sidekiq");
    assert_eq!(answer["queue"]["settings"]["timeouts"]["hard"], "30s");
    let answer = stage.json(&["queue", "set", "mail", "--clear", "policy"]);
    assert_eq!(answer["queue"]["settings"].get("retryPolicy"), None);
    assert_eq!(answer["queue"]["settings"]["timeouts"]["soft"], "25s");
    let paused = stage.ok(&["queue", "pause", "mail", "--reason", "provider down"]);
    assert!(paused.contains("provider down"), "{paused}");
    assert_eq!(
        stage.json(&["queue", "resume", "mail"])["queue"].get("paused"),
        None
    );
    assert!(stage.ok(&["queue", "list"]).contains("mail"));
    assert_eq!(stage.code(&["queue", "get", "nobody"]), 69);
}

#[test]
fn a_file_of_tasks_goes_through_but_for_its_bad_lines() {
    let stage = Stage::new();
    let mut text = String::new();
    for number in 0..5_000 {
        text.push_str(&format!(
            "{{\"queue\":\"mail\",\"kind\":\"send\",\"payload\":{{\"n\":{number}}}}}\n"
        ));
    }
    text.push_str("nonsense\n{\"queue\":\"mail\"}\n{\"queue\":\"not a name\",\"kind\":\"send\"}\n");
    let mut child = stage
        .command(&["task", "enqueue", "--from-file", "-", "-o", "jsonl"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let feeder = std::thread::spawn(move || stdin.write_all(text.as_bytes()));
    let output = child.wait_with_output().unwrap();
    feeder.join().unwrap().unwrap();
    let told = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("accepted 5000, refused 3"), "{told}");
    for line in ["line 5001: ", "line 5002: kind", "line 5003: "] {
        assert!(told.contains(line), "{line} is not in {told}");
    }
    let first: Value =
        serde_json::from_slice(output.stdout.split(|&byte| byte == b'\n').next().unwrap()).unwrap();
    assert_eq!(first["sequence"], "1");
    let task = stage.json(&["task", "get", first["taskId"].as_str().unwrap()]);
    assert_eq!(
        task["task"]["spec"]["payload"]["contentType"],
        "application/json"
    );
    let all = stage.ok(&["task", "list", "--limit", "0", "-o", "jsonl"]);
    assert_eq!(all.lines().count(), 5_000);
}

#[test]
fn workers_are_listed_and_drained_by_name() {
    let stage = Stage::new();
    let mut worker = stage.worker("w1", "cat");
    stage.ok(&["task", "enqueue", "send", "-q", "mail", "--wait"]);
    let list = stage.ok(&["worker", "list"]);
    assert!(list.contains("w1") && list.contains("mail"), "{list}");
    let output = stage.run(&["worker", "drain", "w1", "nobody"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("not connected: nobody"),
        "{}",
        stderr(&output)
    );
    assert_eq!(worker.0.wait().unwrap().code(), Some(0));
}

#[test]
fn events_are_printed_as_they_happen() {
    let stage = Stage::new();
    let mut child = stage
        .command(&["events", "-o", "jsonl"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map(Process)
        .unwrap();
    let mut events = BufReader::new(child.0.stdout.take().unwrap());
    // The watch begins at some moment: tasks are enqueued until it has.
    let seen = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut line = String::new();
            events.read_line(&mut line).unwrap();
            line
        });
        while !reader.is_finished() {
            stage.ok(&["task", "enqueue", "send", "-q", "mail"]);
        }
        reader.join().unwrap()
    });
    let event: Value = serde_json::from_str(&seen).unwrap();
    assert_eq!(event["type"], "EVENT_TYPE_ENQUEUED");
    assert_eq!(event["queue"], "mail");
}

#[test]
fn the_coordinator_says_what_it_is() {
    let stage = Stage::new();
    assert_eq!(stage.json(&["info"])["durability"], "memory");
    let mut busy = redrive();
    busy.args(["coordinator", "--durability", "memory"]);
    busy.args(["--listen", &stage.address]);
    let output = busy.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains(&stage.address),
        "{}",
        stderr(&output)
    );
    let open = redrive()
        .args(["coordinator", "--durability", "memory"])
        .args(["--listen", "0.0.0.0:0"])
        .output()
        .unwrap();
    assert_eq!(open.status.code(), Some(2));
    assert!(stderr(&open).contains("--insecure"), "{}", stderr(&open));
}

#[test]
fn a_second_signal_stops_a_coordinator_at_once() {
    let mut child = redrive()
        .args(["dev", "--port", "0", "-o", "json", "--log", "info"])
        .args(["--shutdown-deadline", "1h"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map(Process)
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.0.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let addresses: Value = serde_json::from_str(&line).unwrap();
    // A connection that says nothing holds the stop in good order up until its deadline.
    let silent = TcpStream::connect(addresses["grpcAddress"].as_str().unwrap()).unwrap();
    let pid = child.0.id().to_string();
    let interrupt = || {
        let sent = Command::new("kill").args(["-INT", &pid]).status();
        assert!(sent.unwrap().success());
    };
    interrupt();
    let log = BufReader::new(child.0.stderr.take().unwrap()).lines();
    let stopping = log
        .map_while(Result::ok)
        .find(|line| line.contains("in good order"));
    assert!(stopping.is_some_and(|line| line.contains("SIGINT")));
    interrupt();
    assert_eq!(child.0.wait().unwrap().code(), Some(130));
    drop(silent);
}

#[test]
fn a_webhook_is_delivered_by_the_http_worker() {
    let stage = Stage::new();
    let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", upstream.local_addr().unwrap());
    let worker = stage
        .command(&["worker", "http", "--queue", "hooks:3", "--slots", "2"])
        .stderr(Stdio::null())
        .spawn()
        .map(Process)
        .unwrap();
    let payload = serde_json::json!({ "url": url, "body": { "n": 1 } }).to_string();
    let id = stage.ok(&[
        "task",
        "enqueue",
        "call",
        "-q",
        "hooks",
        "--payload",
        &payload,
    ]);
    let (mut stream, _) = upstream.accept().unwrap();
    let mut request = BufReader::new(stream.try_clone().unwrap());
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(request.read_line(&mut head).unwrap() > 0, "{head}");
    }
    assert!(
        head.starts_with("POST /hook ") && head.contains(&id),
        "{head}"
    );
    let mut body = [0; 7];
    request.read_exact(&mut body).unwrap();
    assert_eq!(&body, br#"{"n":1}"#);
    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";
    stream.write_all(answer).unwrap();
    assert_eq!(stage.code(&["task", "wait", &id]), 0);
    assert_eq!(worker.stop(), 0);
}
