//! Claims about what is said at the start: mistakes of the builder, and the Hello.

use std::time::Duration;

use redrive_proto::v1::{
    KindDeclaration, KindSettings, Timeouts, WorkerInfo, kind_settings::Retry,
};
use redrive_worker::{FollowUp, KindDefaults};

use super::*;

#[test]
fn mistakes_are_named_when_the_worker_is_built() {
    let ok = || {
        Worker::builder("http://127.0.0.1:7480")
            .queue("q", 1)
            .task("k", add)
    };
    assert!(ok().build().is_ok());
    let field = |worker: WorkerBuilder<()>| worker.build().unwrap_err().field;
    assert_eq!(
        field(Worker::builder("nowhere").queue("q", 1).task("k", add)),
        "builder"
    );
    assert_eq!(field(Worker::builder("http://h:1").task("k", add)), "queue");
    assert_eq!(field(Worker::builder("http://h:1").queue("q", 1)), "task");
    assert_eq!(field(ok().queue("q", 1)), "queue");
    assert_eq!(field(ok().queue("r", 0)), "queue");
    assert_eq!(field(ok().queue("-r", 1)), "queue");
    assert_eq!(field(ok().slots(0)), "slots");
    assert_eq!(field(ok().slots(9_999).prefetch(2)), "slots");
    assert_eq!(field(ok().task("k", add)), "task");
    assert_eq!(field(ok().task("k 2", add)), "task");
    assert_eq!(field(ok().worker_id("")), "worker_id");
    assert_eq!(field(ok().namespace("a/b")), "namespace");
}

async fn told(build: impl FnOnce(WorkerBuilder<()>) -> WorkerBuilder<()>) -> WorkerInfo {
    let mut fake = Fake::start().await;
    let running = Running::start(build(builder(&fake)).build().unwrap());
    let (peer, hello) = fake.accept().await;
    peer.welcome("s1", false).await;
    running.stop(peer).await;
    hello.worker.unwrap()
}

fn range(kind: &KindDeclaration) -> (&str, u32, u32) {
    (&kind.kind, kind.version_min, kind.version_max)
}

#[tokio::test]
async fn versions_are_declared_as_one_range_for_each_kind() {
    let worker = told(|worker| {
        worker
            .task("every", add)
            .task_versions("open", 2.., add)
            .task_versions("split", 3..5, add)
            .task_versions("split", ..=2, add)
    })
    .await;
    assert_eq!(worker.kinds, ["every"]);
    let ranges: Vec<_> = worker.declared_kinds.iter().map(range).collect();
    assert_eq!(ranges, [("open", 2, 0), ("split", 0, 4)]);
}

#[tokio::test]
async fn proposals_travel_with_the_kind() {
    let defaults = KindDefaults::new()
        .queue("payments")
        .retry_policy("recommended")
        .max_attempts(3)
        .hard_timeout(Duration::from_secs(60))
        .ttl(Duration::from_secs(5))
        .on_exhausted(FollowUp::new("refund").queue("money"))
        .dead_letter_queue("dead");
    let worker = told(|worker| worker.task("k", add).kind_defaults("k", defaults)).await;
    assert_eq!(worker.kinds, [""; 0]);
    let declared = &worker.declared_kinds[0];
    assert_eq!(range(declared), ("k", 0, 0));
    let KindSettings {
        queue,
        retry,
        timeouts,
        max_attempts,
        terms,
        dead_letter_queue,
    } = declared.defaults.clone().unwrap();
    assert_eq!((&queue[..], &dead_letter_queue[..]), ("payments", "dead"));
    assert_eq!(retry, Some(Retry::RetryPolicy("recommended".to_owned())));
    let Timeouts { soft, hard, .. } = timeouts.unwrap();
    assert_eq!((soft, hard.unwrap().seconds), (None, 60));
    assert_eq!(max_attempts, Some(3));
    let terms = terms.unwrap();
    assert_eq!(terms.ttl.unwrap().seconds, 5);
    let refund = terms.follow_ups.unwrap().on_exhausted.unwrap();
    assert_eq!((&refund.kind[..], &refund.queue[..]), ("refund", "money"));
}

#[tokio::test]
async fn each_version_runs_the_handler_that_was_added_for_it() {
    async fn one(Raw(_): Raw) -> TaskResult<Raw> {
        Ok(Raw("one".into()))
    }
    async fn later(task: TaskContext) -> TaskResult<Raw> {
        Ok(Raw(format!("{:?}", task.schema_version()).into()))
    }
    let mut fake = Fake::start().await;
    let worker = builder(&fake)
        .task_versions("k", 1..=1, one)
        .task_versions("k", 2..=3, later);
    let running = Running::start(worker.build().unwrap());
    let mut peer = fake.welcome().await;
    for (sequence, token, version, expected) in
        [(1, "t1", 1, &b"one"[..]), (2, "t2", 3, b"Some(3)")]
    {
        let mut delivery = delivery(sequence, token, "k", "");
        delivery.schema_version = version;
        peer.deliver(vec![delivery]).await;
        let report = peer.reports().await.remove(0);
        assert_eq!(result_of(&report), expected);
        peer.ack(&report).await;
    }
    let mut unasked = delivery(3, "t3", "k", "");
    unasked.schema_version = 4;
    peer.deliver(vec![unasked]).await;
    let report = peer.reports().await.remove(0);
    let failure = failure_of(&report);
    assert_eq!(failure.failure_class(), FailureClass::UnknownKind);
    assert!(failure.message.contains("version 4"), "{failure:?}");
    peer.ack(&report).await;
    running.stop(peer).await;
}

#[test]
fn mistakes_of_versions_and_proposals_are_named() {
    let start = || Worker::builder("http://h:1").queue("q", 1);
    let wrong = |worker: WorkerBuilder<()>| {
        let error = worker.build().unwrap_err();
        (error.field, error.problem)
    };
    let defaults = KindDefaults::new;
    #[expect(clippy::reversed_empty_ranges, reason = "the mistake that is tested")]
    let reversed = 3..=1;
    for (worker, field, says) in [
        (
            start().task_versions("k", reversed, add),
            "task_versions",
            "without a version",
        ),
        (
            start().task_versions("k", ..=0, add),
            "task_versions",
            "no version",
        ),
        (
            start()
                .task_versions("k", 1..=2, add)
                .task_versions("k", 2..=3, add),
            "task_versions",
            "two handlers",
        ),
        (
            start()
                .task_versions("k", 1..=1, add)
                .task_versions("k", 3..=3, add),
            "task_versions",
            "leave no gap",
        ),
        (
            start().task_versions("k", 1..=1, add).fallback(add),
            "fallback",
            "two workers",
        ),
        (
            start().task("k", add).kind_defaults("other", defaults()),
            "kind_defaults",
            "no handler",
        ),
        (
            start()
                .task("k", add)
                .kind_defaults("k", defaults().queue("a/b")),
            "kind_defaults",
            "a/b",
        ),
        (
            start()
                .task("k", add)
                .kind_defaults("k", defaults().on_failure(FollowUp::new(""))),
            "kind_defaults",
            "on_failure",
        ),
    ] {
        let (named, problem) = wrong(worker);
        assert_eq!(named, field, "{problem}");
        assert!(problem.contains(says), "{problem}");
    }
}
