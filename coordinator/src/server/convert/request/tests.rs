//! Who asks, request ids and references: what arrives and what is refused.

use super::*;
use crate::engine::ids::{QueueName, ShardId, TaskId, Timestamp};

fn cancel(id: &str) -> pb::CancelTaskRequest {
    pb::CancelTaskRequest {
        task_id: "t".into(),
        request_id: id.into(),
        ..Default::default()
    }
}

fn once<R: Repeatable>(mut request: R) -> Once {
    *caller(Arc::default(), &mut request).unwrap().once.unwrap()
}

fn refused(mut request: pb::CancelTaskRequest) -> String {
    caller(Arc::default(), &mut request)
        .unwrap_err()
        .to_string()
}

const fn secs(seconds: i64) -> Duration {
    Duration { seconds, nanos: 0 }
}

#[test]
fn an_actor_is_who_the_metadata_says_and_nobody_without_it() {
    let with = |bytes: &[u8]| {
        let value = tonic::codegen::http::HeaderValue::from_bytes(bytes).unwrap();
        let headers = [(ACTOR_KEY.parse().unwrap(), value)];
        actor(&MetadataMap::from_headers(headers.into_iter().collect()))
    };
    assert_eq!(&*actor(&MetadataMap::new()).unwrap(), "");
    assert_eq!(&*with(b"kim@desk").unwrap(), "kim@desk");
    assert_eq!(&*with("jürg".as_bytes()).unwrap(), "jürg");
    assert_eq!(with(&[b'x'; 128]).unwrap().len(), 128);
    let refused = with(&[b'x'; 129]).unwrap_err().to_string();
    assert_eq!(
        refused,
        "metadata.redrive-actor has 129 bytes, at most 128 are allowed"
    );
    assert!(with(b"a\tb").unwrap_err().problem.contains("printable"));
    assert!(with(&[0xff]).unwrap_err().problem.contains("not UTF-8"));
}

#[test]
fn a_request_without_an_id_is_not_remembered() {
    let mut request = cancel("");
    let caller = caller("kim".into(), &mut request).unwrap();
    assert_eq!((&*caller.by, caller.once), ("kim", None));
}

#[test]
fn a_request_id_has_a_namespace_a_ttl_and_a_digest() {
    let said = once(cancel("r-1"));
    assert_eq!((&*said.namespace, &*said.id), ("default", "r-1"));
    assert_eq!(said.ttl_ms, 600_000);
    let by_key = once(pb::CancelTaskRequest {
        task_key: Some(pb::TaskKey {
            namespace: "billing".into(),
            ..Default::default()
        }),
        request_ttl: Some(secs(3600)),
        ..cancel("r-1")
    });
    assert_eq!((&*by_key.namespace, by_key.ttl_ms), ("billing", 3_600_000));
    let named = once(pb::PauseQueueRequest {
        namespace: "ops".into(),
        request_id: "r".into(),
        ..Default::default()
    });
    assert_eq!(&*named.namespace, "ops");
}

#[test]
fn the_digest_is_of_the_call_and_all_that_it_asks_for_but_the_id() {
    let digest = |request| once(request).digest;
    let plain = digest(cancel("r-1"));
    let again = pb::CancelTaskRequest {
        request_ttl: Some(secs(9)),
        ..cancel("r-2")
    };
    assert_eq!(digest(again), plain);
    let other = pb::CancelTaskRequest {
        reason: "x".into(),
        ..cancel("r-1")
    };
    assert_ne!(digest(other), plain);
    // The same bytes, of another call.
    let pause = pb::PauseQueueRequest {
        namespace: "n".into(),
        queue: "q".into(),
        request_id: "r".into(),
        ..Default::default()
    };
    let resume = pb::ResumeQueueRequest {
        namespace: "n".into(),
        queue: "q".into(),
        request_id: "r".into(),
        ..Default::default()
    };
    assert_ne!(once(pause).digest, once(resume).digest);
}

#[test]
fn a_default_that_is_spelled_out_is_the_same_content() {
    use pb::Priority::{High, Normal, Unspecified};

    let task = |priority: pb::Priority| pb::TaskSpec {
        queue: "mail".into(),
        kind: "send".into(),
        priority: priority.into(),
        ..Default::default()
    };
    let one = |namespace: &str, priority| {
        once(pb::EnqueueTaskRequest {
            namespace: namespace.into(),
            task: Some(task(priority)),
            request_id: "r".into(),
            ..Default::default()
        })
        .digest
    };
    let many = |namespace: &str, priority| {
        once(pb::EnqueueTasksRequest {
            namespace: namespace.into(),
            tasks: vec![task(High), task(priority)],
            request_id: "r".into(),
            ..Default::default()
        })
        .digest
    };
    let by_key = |namespace: &str| {
        let key = pb::TaskKey {
            namespace: namespace.into(),
            ..Default::default()
        };
        let request = pb::CancelTaskRequest {
            task_key: Some(key),
            ..cancel("r")
        };
        once(request).digest
    };
    assert_eq!(one("", Unspecified), one("default", Normal));
    assert_eq!(many("", Unspecified), many("default", Normal));
    assert_eq!(by_key(""), by_key("default"));
    assert_ne!(one("", Unspecified), one("", High));
    assert_ne!(one("", Normal), one("other", Normal));
}

#[test]
fn the_digest_never_changes_for_the_journal_remembers_it() {
    assert_eq!(digest_of([]), 0xcbf2_9ce4_8422_2325);
    assert_eq!(
        digest_of([b"foo".as_slice(), b"bar"]),
        0xa1d1_7ac2_d0d7_809b
    );
}

#[test]
fn what_is_wrong_with_a_request_id_is_named() {
    let ttl = |id: &str, request_ttl| {
        refused(pb::CancelTaskRequest {
            request_ttl,
            ..cancel(id)
        })
    };
    assert_eq!(
        refused(cancel(&"x".repeat(129))),
        "request_id has 129 bytes, at most 128 are allowed"
    );
    assert!(refused(cancel("a\nb")).starts_with("request_id contains '\\n'"));
    assert_eq!(
        ttl("r", Some(secs(0))),
        "request_ttl is 0 ms, at least 1 s is needed"
    );
    assert_eq!(
        ttl("r", Some(secs(86_401))),
        "request_ttl is 86401 s, at most 24 h is allowed"
    );
    assert!(ttl("", Some(secs(5))).starts_with("request_ttl is set without a request_id"));
}

#[test]
fn a_task_is_named_by_its_id_or_by_its_key_and_not_by_both() {
    let id = TaskId::new(Timestamp(1), ShardId(0), 1);
    let text = id.to_string();
    let key = pb::TaskKey {
        namespace: String::new(),
        queue: "mail".into(),
        idempotency_key: "order 7".into(),
    };
    assert_eq!(task_ref(&text, None), Ok(TaskRef::Id(id)));
    let queue = QueueName::new("default", "mail").unwrap();
    let by_key = TaskRef::Key {
        queue,
        key: "order 7".into(),
    };
    assert_eq!(task_ref("", Some(&key)), Ok(by_key));
    let field = |id: &str, key: Option<&pb::TaskKey>| task_ref(id, key).unwrap_err().field;
    assert_eq!(field("", None), "task_id");
    assert_eq!(field("zz", None), "task_id");
    assert_eq!(field(&text, Some(&key)), "task_key");
    let with = |change: fn(&mut pb::TaskKey)| {
        let mut key = key.clone();
        change(&mut key);
        field("", Some(&key))
    };
    assert_eq!(with(|k| k.namespace = "a b".into()), "task_key.namespace");
    assert_eq!(with(|k| k.queue.clear()), "task_key.queue");
    let field_of_key = "task_key.idempotency_key";
    assert_eq!(with(|k| k.idempotency_key.clear()), field_of_key);
    assert_eq!(with(|k| k.idempotency_key = "x".repeat(257)), field_of_key);
}
