//! How runs end, and what follows: results, failures, retries, deferrals, panics, dead letters.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use redrive_client::NewTask;
use redrive_proto::v1::{FailureClass, RunOutcome, TaskState};
use redrive_tests::{Harness, make};
use redrive_worker::{Json, Labelled, State, TaskContext, TaskError, TaskResult};

use super::{run, task, worker};

async fn sum(Json(numbers): Json<Vec<u64>>) -> TaskResult<Labelled<Json<u64>>> {
    Ok(Labelled {
        label: "added".to_owned(),
        result: Json(numbers.iter().sum()),
    })
}

#[tokio::test]
async fn a_task_runs_on_a_worker_and_its_result_comes_to_who_waits() {
    let harness = Harness::start().await;
    let worker = run(worker(&harness).task("sum", sum).build());
    let new = NewTask::new("q", "sum").json(&[1, 2, 3]).unwrap();
    let id = harness.enqueue(new.label("team", "a")).await;
    let ended = harness.end_of(&id).await;
    assert_eq!(ended.state(), TaskState::Succeeded);
    let result = ended.result.unwrap();
    assert_eq!(
        (&*result.data, &*result.content_type),
        (&b"6"[..], "application/json")
    );
    assert_eq!(ended.outcome_label, "added");
    assert_eq!(ended.spec.unwrap().labels["team"], "a");
    assert_eq!(
        (ended.runs, ended.history[0].outcome()),
        (1, RunOutcome::Succeeded)
    );
    assert_eq!(ended.history[0].worker_id, "w");
    let report = worker.stop().await;
    assert_eq!((report.finished, report.exit_code()), (1, 0));
}

#[tokio::test]
async fn a_failing_handler_is_retried_as_the_policy_says_and_then_dead_lettered() {
    let harness = Harness::start().await;
    async fn locked(_: TaskContext) -> TaskResult<()> {
        let error = TaskError::new(FailureClass::Conflict, "the row is locked");
        Err(error
            .with_type("shop:Locked")
            .with_ancestor("shop:Error")
            .with_stack("at row 7"))
    }
    let _worker = run(worker(&harness).task("k", locked).build());
    let id = harness.enqueue(task("k", 3, 20)).await;
    let dead = harness.end_of(&id).await;
    assert_eq!(
        (dead.state(), &*dead.state_reason),
        (TaskState::Dead, "ATTEMPTS_EXHAUSTED")
    );
    let budgets = dead.budgets.unwrap();
    assert_eq!(
        (budgets.failures, budgets.attempts_max, budgets.crashes),
        (3, 3, 0)
    );
    assert_eq!(dead.history.len(), 3);
    for (index, run) in (1..).zip(&dead.history) {
        assert_eq!(
            (run.run, run.attempt, run.outcome()),
            (index, index, RunOutcome::Failed)
        );
        assert!(run.started);
        assert_eq!((&*run.retry_policy, &*run.rule), ("test", ""));
        let failure = run.failure.as_ref().unwrap();
        assert_eq!(
            (failure.failure_class(), &*failure.message),
            (FailureClass::Conflict, "the row is locked")
        );
        let retried = (index < 3).then(|| make::ms(20));
        assert_eq!((run.base_delay, run.delay), (retried, retried));
    }
    for pair in dead.history.windows(2) {
        assert!(
            make::ms_between(pair[0].end_time, pair[1].lease_time) >= 20,
            "not before"
        );
    }
    let last = dead.last_failure.unwrap();
    assert_eq!(
        (&*last.r#type, &*last.ancestors),
        ("shop:Locked", &["shop:Error".to_owned()][..])
    );
    assert_eq!(last.stack, "at row 7");
}

#[tokio::test]
async fn a_redriven_dead_letter_has_a_fresh_budget_and_may_succeed() {
    let harness = Harness::start().await;
    let healed = Arc::new(AtomicBool::new(false));
    async fn work(
        State(healed): State<Arc<AtomicBool>>,
        task: TaskContext,
    ) -> TaskResult<Json<u32>> {
        if healed.load(Ordering::SeqCst) {
            return Ok(Json(task.attempt()));
        }
        Err(TaskError::new(FailureClass::DependencyDown, "down"))
    }
    let builder = worker(&harness).with_state(Arc::clone(&healed));
    let _worker = run(builder.task("k", work).build());
    let id = harness.enqueue(task("k", 2, 1)).await;
    assert_eq!(harness.end_of(&id).await.state(), TaskState::Dead);
    healed.store(true, Ordering::SeqCst);
    let redriven = harness
        .client()
        .redrive(&id, Duration::ZERO, "it is up again")
        .await
        .unwrap();
    assert_eq!(
        (&redriven.task_id, redriven.budgets.unwrap().failures),
        (&id, 0)
    );
    let ended = harness.end_of(&id).await;
    assert_eq!(
        (ended.state(), ended.redrives, ended.runs),
        (TaskState::Succeeded, 1, 3)
    );
    assert_eq!(
        &*ended.result.unwrap().data,
        b"1",
        "attempts are counted anew"
    );
}

#[tokio::test]
async fn a_retry_after_is_never_undercut() {
    let harness = Harness::start().await;
    async fn busy(task: TaskContext) -> TaskResult<()> {
        if task.run() == 1 {
            return Err(TaskError::retry_after(Duration::from_millis(300)));
        }
        Ok(())
    }
    let _worker = run(worker(&harness).task("k", busy).build());
    let ended = harness
        .end_of(&harness.enqueue(task("k", 2, 1)).await)
        .await;
    assert_eq!(ended.state(), TaskState::Succeeded);
    let [first, second] = &ended.history[..] else {
        panic!("{:?}", ended.history)
    };
    assert!(make::ms_between(first.end_time, second.lease_time) >= 300);
    assert_eq!(
        first.failure.as_ref().unwrap().failure_class(),
        FailureClass::RateLimited
    );
}

#[tokio::test]
async fn a_retry_at_the_handlers_own_time_uses_up_an_attempt_and_hands_on_what_is_left() {
    let harness = Harness::start().await;
    async fn part(Json(left): Json<Vec<u32>>, task: TaskContext) -> TaskResult<Json<usize>> {
        if task.run() == 1 {
            task.save_checkpoint_json(&"page 2")?;
            let rest = serde_json::to_vec(&left[1..])?.into();
            let rest = redrive_proto::v1::Payload {
                data: rest,
                ..Default::default()
            };
            return Err(TaskError::retry_in(Duration::from_millis(50)).with_replaced_payload(rest));
        }
        assert_eq!(task.checkpoint_json::<String>()?.as_deref(), Some("page 2"));
        assert_eq!(
            task.previous_failure().unwrap().failure_class(),
            FailureClass::Internal
        );
        Ok(Json(left.len()))
    }
    let _worker = run(worker(&harness).task("k", part).build());
    let id = harness
        .enqueue(task("k", 2, 60_000).json(&[1, 2, 3]).unwrap())
        .await;
    let ended = harness.end_of(&id).await;
    assert_eq!(ended.state(), TaskState::Succeeded, "{ended:?}");
    assert_eq!(&*ended.result.unwrap().data, b"2");
    let [first, second] = &ended.history[..] else {
        panic!("{:?}", ended.history)
    };
    assert_eq!(
        (first.outcome(), first.delay),
        (RunOutcome::Retried, Some(make::ms(50)))
    );
    assert_eq!(second.attempt, 2);
}

#[tokio::test]
async fn a_deferred_or_released_task_comes_back_without_blame() {
    let harness = Harness::start().await;
    async fn work(task: TaskContext) -> TaskResult<()> {
        match task.run() {
            1 => Err(TaskError::defer(Duration::from_millis(100)).with_reason("too early")),
            2 => Err(TaskError::release("not mine")),
            _ => Ok(()),
        }
    }
    let _worker = run(worker(&harness).task("k", work).build());
    let ended = harness
        .end_of(&harness.enqueue(task("k", 1, 1)).await)
        .await;
    assert_eq!(ended.state(), TaskState::Succeeded);
    let budgets = ended.budgets.unwrap();
    assert_eq!(
        (budgets.failures, budgets.crashes, budgets.deferrals),
        (0, 0, 2)
    );
    let outcomes: Vec<_> = ended
        .history
        .iter()
        .map(|run| (run.outcome(), &*run.note))
        .collect();
    let expected = [
        (RunOutcome::Deferred, "too early"),
        (RunOutcome::Released, "not mine"),
        (RunOutcome::Succeeded, ""),
    ];
    assert_eq!(outcomes, expected);
    assert!(ended.history.iter().all(|run| run.attempt == 1));
    let pair = &ended.history[..2];
    assert!(make::ms_between(pair[0].end_time, pair[1].lease_time) >= 100);
}

#[tokio::test]
async fn a_panic_is_a_failure_that_the_policy_judges_and_the_worker_goes_on() {
    let harness = Harness::start().await;
    async fn work(task: TaskContext) -> TaskResult<()> {
        assert_ne!(task.attempt(), 1, "a bug on the first attempt");
        Ok(())
    }
    let _worker = run(worker(&harness).task("k", work).build());
    let ended = harness
        .end_of(&harness.enqueue(task("k", 2, 1)).await)
        .await;
    assert_eq!((ended.state(), ended.runs), (TaskState::Succeeded, 2));
    let failure = ended.history[0].failure.as_ref().unwrap();
    assert_eq!(
        (failure.failure_class(), &*failure.r#type),
        (FailureClass::Internal, "panic")
    );
    assert!(
        failure.message.contains("a bug on the first attempt"),
        "{}",
        failure.message
    );
}

#[tokio::test]
async fn an_error_arrives_with_its_type_its_ancestors_and_the_class_they_imply() {
    let harness = Harness::start().await;
    async fn work(_: TaskContext) -> TaskResult<()> {
        Err(io::Error::new(
            io::ErrorKind::ConnectionRefused,
            "nobody is there",
        ))?;
        Ok(())
    }
    let _worker = run(worker(&harness).task("k", work).build());
    let dead = harness
        .end_of(&harness.enqueue(task("k", 1, 1)).await)
        .await;
    let failure = dead.last_failure.unwrap();
    assert_eq!(
        (failure.failure_class(), &*failure.r#type),
        (FailureClass::Network, "rust:std::io::Error")
    );
    assert_eq!(
        failure.ancestors,
        ["rust:std::io::ErrorKind::ConnectionRefused"]
    );
    assert_eq!(failure.message, "nobody is there");
}

#[tokio::test]
async fn a_rule_matches_an_ancestor_of_the_error_and_decides_in_the_policys_place() {
    let harness = Harness::start().await;
    async fn work(_: TaskContext) -> TaskResult<()> {
        Err(TaskError::new(FailureClass::Internal, "x").with_ancestor("shop:Base"))
    }
    let _worker = run(worker(&harness).task("k", work).build());
    let mut policy = make::policy(5, 1);
    policy.rules.push(redrive_proto::v1::RetryRule {
        id: "give-up".to_owned(),
        r#match: Some(redrive_proto::v1::FailureMatch {
            error_types: vec!["shop:*".to_owned()],
            ..Default::default()
        }),
        action: redrive_proto::v1::RuleAction::DeadLetter.into(),
        ..Default::default()
    });
    let new = NewTask::new("q", "k").inline_retry_policy(policy);
    let dead = harness.end_of(&harness.enqueue(new).await).await;
    assert_eq!(
        (dead.state(), &*dead.state_reason, dead.runs),
        (TaskState::Dead, "RULE", 1)
    );
    assert_eq!(dead.history[0].rule, "give-up");
}

#[tokio::test]
async fn a_fatal_error_is_not_retried_and_a_discard_leaves_no_dead_letter() {
    let harness = Harness::start().await;
    async fn fatal(_: TaskContext) -> TaskResult<()> {
        Err(TaskError::fatal(TaskError::new(
            FailureClass::Invalid,
            "no such account",
        )))
    }
    async fn drop_it(_: TaskContext) -> TaskResult<()> {
        Err(TaskError::discard("nobody wants it any more"))
    }
    let builder = worker(&harness).task("fatal", fatal).task("drop", drop_it);
    let _worker = run(builder.build());
    let dead = harness
        .end_of(&harness.enqueue(task("fatal", 5, 1)).await)
        .await;
    assert_eq!((dead.runs, &*dead.state_reason), (1, "NOT_RETRYABLE"));
    let dropped = harness
        .end_of(&harness.enqueue(task("drop", 5, 1)).await)
        .await;
    assert_eq!(dropped.state(), TaskState::Discarded);
    assert_eq!(dropped.history[0].note, "nobody wants it any more");
}

#[tokio::test]
async fn a_payload_that_is_not_what_the_handler_wants_dies_at_once() {
    let harness = Harness::start().await;
    let _worker = run(worker(&harness).task("sum", sum).build());
    let new = task("sum", 5, 1).json("not a list").unwrap();
    let dead = harness.end_of(&harness.enqueue(new).await).await;
    assert_eq!((dead.runs, &*dead.state_reason), (1, "NOT_RETRYABLE"));
    assert_eq!(
        dead.last_failure.unwrap().failure_class(),
        FailureClass::Invalid
    );
}

#[tokio::test]
async fn a_task_of_a_kind_that_no_worker_has_waits_for_one_that_has() {
    let harness = Harness::start().await;
    async fn fine(_: TaskContext) -> TaskResult<()> {
        Ok(())
    }
    let first = run(worker(&harness).task("other", fine).build());
    let id = harness.enqueue(task("rare", 1, 1)).await;
    let other = harness.enqueue(task("other", 1, 1)).await;
    harness.end_of(&other).await;
    assert_eq!(
        harness.task(&id).await.state(),
        TaskState::Ready,
        "passed over, not failed"
    );
    let builder = redrive_worker::Worker::builder(harness.url())
        .worker_id("w2")
        .queue("q", 1);
    let _second = run(builder.task("rare", fine).build());
    let ended = harness.end_of(&id).await;
    assert_eq!(
        (ended.state(), &*ended.history[0].worker_id),
        (TaskState::Succeeded, "w2")
    );
    first.stop().await;
}

#[tokio::test]
async fn a_run_over_its_hard_limit_fails_as_a_timeout_and_is_retried() {
    let harness = Harness::start().await;
    let runs = Arc::new(AtomicU32::new(0));
    async fn slow_once(State(runs): State<Arc<AtomicU32>>) -> TaskResult<()> {
        if runs.fetch_add(1, Ordering::SeqCst) == 0 {
            std::future::pending::<()>().await;
        }
        Ok(())
    }
    let builder = worker(&harness).with_state(Arc::clone(&runs));
    let _worker = run(builder.task("k", slow_once).build());
    let new = task("k", 2, 1).timeouts(None, Some(Duration::from_millis(100)));
    let ended = harness.end_of(&harness.enqueue(new).await).await;
    assert_eq!(
        (ended.state(), runs.load(Ordering::SeqCst)),
        (TaskState::Succeeded, 2)
    );
    let failure = ended.history[0].failure.as_ref().unwrap();
    assert_eq!(failure.failure_class(), FailureClass::Timeout);
}
