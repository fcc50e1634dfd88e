//! Scripts of what a follow-up is told: its payload, read as JSON.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};

use super::world::follow::{followed, for_every_end, template, with_terms};
use super::world::{World, complete, fail_with, new_task, plain_policy};
use crate::engine::command::{NewTask, ReportOutcome};
use crate::engine::context::BYTES_MAX;
use crate::engine::failure::{Failure, FailureClass};
use crate::engine::ids::Timestamp;
use crate::engine::ledger::task::Payload;
use crate::engine::ledger::terms::{FollowUps, Template, Terms, Transition};
use crate::engine::limits;
use crate::engine::retry::Policy;

fn payload(data: impl Into<Bytes>, content_type: &str) -> Payload {
    let content_type = (!content_type.is_empty()).then(|| content_type.into());
    Payload {
        data: data.into(),
        content_type,
    }
}

/// A task with this payload, with something to follow every end.
fn task(payload: Payload) -> NewTask {
    let task = NewTask {
        payload,
        ..new_task("mail")
    };
    with_terms(task, followed(for_every_end("then")))
}

fn world(attempts: u32) -> World {
    let mut world = World::with(|config| config.default_policy = plain_policy(attempts).into());
    world.hello("w1", &["mail"], 1);
    world
}

/// What is told of a task with this payload that failed for good.
fn told_of(content: Payload) -> Value {
    let mut world = world(1);
    world.enqueue_as("t1", task(content));
    world.report("w1", ("t1", 1), super::world::fail());
    World::json_of(&world.follower("t1", Transition::Failure))
}

fn broken_pipe() -> Failure {
    let mut failure = Failure::new(FailureClass::Network, "broken \"pipe\"\n");
    failure.code = 14;
    failure.error_type = "python:BrokenPipeError".into();
    failure.ancestors = vec!["python:OSError".into(), "python:Exception".into()];
    failure.stack = "at line 1\nat line 2".into();
    failure
}

#[test]
fn it_says_all_that_is_known_of_a_task_that_failed() {
    let mut world = world(2);
    let alarm = Template {
        payload: payload(r#"{"page":"ops"}"#, "application/json"),
        ..template("alarm")
    };
    let follow_ups = FollowUps {
        on_exhausted: Some(Box::new(alarm)),
        ..FollowUps::default()
    };
    let labels: Vec<(Arc<str>, Arc<str>)> = vec![
        ("region".into(), "eu".into()),
        ("tenant".into(), "acme".into()),
    ];
    let task = NewTask {
        version: 4,
        labels,
        payload: payload(r#"{"order": [1, 2]}"#, "application/json; charset=utf-8"),
        ..new_task("mail")
    };
    world.enqueue_as("t1", with_terms(task, followed(follow_ups)));
    let start = world.now;
    world.wait_ms(100);
    world.report("w1", ("t1", 1), fail_with(broken_pipe()));
    world.wait_alive_ms(10_000, &["w1"]);
    world.wait_ms(50);
    world.report("w1", ("t1", 2), fail_with(broken_pipe()));
    let run = |run: u32, from: Timestamp, to: Timestamp| {
        json!({
            "run": run, "attempt": run, "worker_id": "w1", "outcome": "FAILED",
            "class": "NETWORK", "error_type": "python:BrokenPipeError",
            "message": "broken \"pipe\"\n", "lease_time_ms": from.0, "end_time_ms": to.0,
        })
    };
    let (first, second, end) = (start.plus_ms(100), start.plus_ms(10_100), world.now);
    let expected = json!({
        "transition": "EXHAUSTED",
        "task_id": world.id("t1").to_string(),
        "namespace": "default", "queue": "mail", "kind": "work", "schema_version": 4,
        "payload": {
            "content_type": "application/json; charset=utf-8", "bytes": 17,
            "json": { "order": [1, 2] },
        },
        "labels": { "region": "eu", "tenant": "acme" },
        "attempts": 2, "crashes": 0, "runs": 2,
        "reason": "ATTEMPTS_EXHAUSTED",
        "enqueue_time_ms": start.0, "end_time_ms": end.0,
        "failure": {
            "class": "NETWORK", "code": 14, "error_type": "python:BrokenPipeError",
            "ancestors": ["python:OSError", "python:Exception"],
            "message": "broken \"pipe\"\n", "stack": "at line 1\nat line 2",
        },
        "history": [run(1, start, first), run(2, second, end)],
        "history_omitted": 0,
        "outcome_label": "",
        "argument": {
            "content_type": "application/json", "bytes": 14, "json": { "page": "ops" },
        },
    });
    let told = World::json_of(&world.follower("t1", Transition::Exhausted));
    assert_eq!(told, expected);
}

#[test]
fn of_a_success_it_says_the_result_and_what_the_handler_called_it() {
    let mut world = world(1);
    world.enqueue_as("t1", task(payload("", "")));
    let outcome = ReportOutcome::Complete {
        result: Some(payload("[true]", "application/json")),
        label: Some("refunded".into()),
    };
    world.report("w1", ("t1", 1), outcome);
    let told = World::json_of(&world.follower("t1", Transition::Success));
    assert_eq!(told["transition"], "SUCCEEDED");
    let result = json!({ "content_type": "application/json", "bytes": 6, "json": [true] });
    assert_eq!(told["result"], result);
    assert_eq!(told["outcome_label"], "refunded");
    let nothing = json!({ "content_type": "", "bytes": 0, "base64": "" });
    assert_eq!(told["payload"], nothing);
    assert_eq!(told["history"][0]["outcome"], "SUCCEEDED");
    assert_eq!(
        (&told["reason"], &told["attempts"]),
        (&json!(""), &json!(0))
    );
    for absent in ["failure", "argument"] {
        assert_eq!(told.get(absent), None);
    }
}

#[test]
fn a_success_without_a_result_has_none() {
    let mut world = world(1);
    world.enqueue_as("t1", task(payload("", "")));
    world.report("w1", ("t1", 1), complete());
    let told = World::json_of(&world.follower("t1", Transition::Success));
    assert_eq!(told.get("result"), None);
}

#[test]
fn of_a_task_that_never_ran_it_says_why() {
    let mut world = world(1);
    let terms = Terms {
        ttl_ms: Some(1000),
        ..followed(for_every_end("then"))
    };
    // The only slot is taken.
    world.enqueue("t0", "mail");
    world.enqueue_as("t1", with_terms(new_task("mail"), terms));
    world.wait_ms(1000);
    let told = World::json_of(&world.follower("t1", Transition::Exhausted));
    assert_eq!(told["reason"], "TTL_EXPIRED");
    assert_eq!((&told["runs"], &told["history"]), (&json!(0), &json!([])));
    assert_eq!(told.get("failure"), None);
    assert_eq!(told["end_time_ms"], world.now.0);
}

#[test]
fn of_a_lost_worker_it_says_that() {
    let policy = Policy {
        max_crashes: 1,
        ..plain_policy(3)
    };
    let mut world = World::with(|config| config.default_policy = policy.into());
    world.hello("w1", &["mail"], 1);
    world.enqueue_as("t1", task(payload("", "")));
    world.begin("w1");
    world.cut("w1");
    world.wait_ms(30_000);
    let told = World::json_of(&world.follower("t1", Transition::Failure));
    assert_eq!(
        (&told["crashes"], &told["attempts"]),
        (&json!(1), &json!(0))
    );
    assert_eq!(told["failure"]["class"], "WORKER_LOST");
    assert_eq!(told["history"][0]["outcome"], "CRASHED");
    assert_eq!(told["reason"], "CRASHES_EXHAUSTED");
}

#[test]
fn json_is_told_as_it_stands_and_everything_else_in_base64() {
    let exact = r#"{"n": 12345678901234567890123.50, "n": "twice"}"#;
    let mut world = world(1);
    world.enqueue_as("t1", task(payload(exact, "application/json")));
    world.report("w1", ("t1", 1), super::world::fail());
    let follower = world.follower("t1", Transition::Failure);
    let text = std::str::from_utf8(&follower.payload.data).unwrap();
    assert!(text.contains(exact), "{text}");

    let cases: [(&[u8], &str, &str, Value); 7] = [
        (b"[1]", "", "json", json!([1])),
        (b"null", "application/json", "json", json!(null)),
        (b"[1]", "application/vnd.acme+json", "json", json!([1])),
        (b"[1]", "text/plain", "base64", json!("WzFd")),
        (b"[1", "application/json", "base64", json!("WzE=")),
        (b"\"\xff\"", "application/json", "base64", json!("Iv8i")),
        (
            b"\xff\x00",
            "application/octet-stream",
            "base64",
            json!("/wA="),
        ),
    ];
    for (data, content_type, form, value) in cases {
        let told = &told_of(payload(data.to_vec(), content_type))["payload"];
        assert_eq!(told["content_type"], content_type);
        assert_eq!(told["bytes"], data.len());
        assert_eq!(told.get(form), Some(&value), "{told}");
        assert_eq!(told.as_object().unwrap().len(), 3, "{told}");
    }
}

#[test]
fn json_that_is_nested_too_deep_for_readers_is_told_in_base64() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    for (depth, form) in [(64, "json"), (65, "base64"), (100_000, "base64")] {
        let told = &told_of(payload(nested(depth), "application/json"))["payload"];
        assert!(told.get(form).is_some(), "{depth}");
    }
    let brackets_in_texts = format!(r#"["\"{}"]"#, "[".repeat(1000));
    let told = &told_of(payload(brackets_in_texts, "application/json"))["payload"];
    assert!(told.get("json").is_some());
    let siblings = format!("[{}1]", "[],{},".repeat(1000));
    let told = &told_of(payload(siblings, "application/json"))["payload"];
    assert!(told.get("json").is_some());
}

#[test]
fn what_is_larger_than_256_kib_is_left_out_and_that_is_said() {
    let max = limits::CONTEXT_PAYLOAD_BYTES_MAX;
    let told = &told_of(payload(vec![7; max], ""))["payload"];
    assert_eq!(told["bytes"], max);
    assert_eq!(told["base64"].as_str().unwrap().len(), max.div_ceil(3) * 4);
    for content_type in ["", "application/json"] {
        let told = &told_of(payload(vec![b'1'; max + 1], content_type))["payload"];
        let expected = json!({ "content_type": content_type, "bytes": max + 1 });
        assert_eq!(*told, expected);
    }
}

#[test]
fn of_many_runs_the_first_and_the_last_are_told_and_the_rest_is_counted() {
    let mut world = world(20);
    world.enqueue_as("t1", task(payload("", "")));
    for run in 1..=20 {
        world.report("w1", ("t1", run), super::world::fail());
        world.wait_alive_ms(10_000, &["w1"]);
    }
    let told = World::json_of(&world.follower("t1", Transition::Failure));
    assert_eq!(told["history"].as_array().unwrap().len(), 16);
    assert_eq!(
        (&told["history_omitted"], &told["runs"]),
        (&json!(4), &json!(20))
    );
}

/// Texts whose every byte takes six in JSON.
fn worst(bytes: usize) -> Arc<str> {
    "\u{1}".repeat(bytes).into()
}

#[test]
fn whatever_a_task_is_what_is_told_of_it_fits_a_payload() {
    let mut world = world(limits::RUNS_MAX);
    let worker = "w".repeat(limits::NAME_BYTES_MAX);
    world.hello(&worker, &["heavy"], 1);
    let labels = (0..limits::LABELS_MAX).map(|index| {
        let key = format!("{index:0>width$}", width = limits::NAME_BYTES_MAX);
        (key.into(), worst(limits::LABEL_VALUE_BYTES_MAX))
    });
    let bytes = || vec![0xff; limits::CONTEXT_PAYLOAD_BYTES_MAX];
    let content_type: Arc<str> = "x".repeat(limits::CONTENT_TYPE_BYTES_MAX).into();
    let argument = Template {
        payload: payload(
            vec![0xff; limits::TEMPLATE_PAYLOAD_BYTES_MAX],
            &content_type,
        ),
        ..template("alarm")
    };
    let follow_ups = FollowUps {
        on_success: Some(Box::new(argument)),
        ..FollowUps::default()
    };
    let task = NewTask {
        labels: labels.collect(),
        kind: "k".repeat(limits::NAME_BYTES_MAX).into(),
        payload: payload(bytes(), &content_type),
        ..new_task("heavy")
    };
    world.enqueue_as("t1", with_terms(task, followed(follow_ups)));
    let mut failure = Failure::new(FailureClass::DependencyDown, "");
    failure.code = i32::MIN;
    failure.message = worst(limits::FAILURE_MESSAGE_BYTES_MAX);
    failure.error_type = worst(limits::ERROR_TYPE_BYTES_MAX);
    failure.ancestors = vec![worst(limits::ERROR_TYPE_BYTES_MAX); limits::ANCESTORS_MAX];
    failure.stack = worst(limits::STACK_BYTES_MAX);
    let runs = u32::try_from(2 * limits::HISTORY_RUNS_MAX).unwrap();
    for run in 1..=runs {
        let retry = ReportOutcome::Retry {
            failure: failure.clone(),
            start: None,
            payload: None,
            max_attempts: None,
        };
        world.report(&worker, ("t1", run), retry);
        world.wait_alive_ms(10_000, &[&worker]);
    }
    let outcome = ReportOutcome::Complete {
        result: Some(payload(bytes(), &content_type)),
        label: Some(worst(limits::REASON_BYTES_MAX)),
    };
    world.report(&worker, ("t1", runs + 1), outcome);
    let follower = world.follower("t1", Transition::Success);
    let told = World::json_of(&follower);
    assert_eq!(
        told["history"].as_array().unwrap().len(),
        2 * limits::HISTORY_RUNS_MAX
    );
    let taken = follower.payload.data.len();
    assert!(taken > 800_000, "the worst was tried: {taken}");
    assert!(taken <= BYTES_MAX && BYTES_MAX <= limits::PAYLOAD_BYTES_MAX);
    assert!(
        BYTES_MAX - taken < 50_000,
        "and hardly less than was reckoned"
    );
}
