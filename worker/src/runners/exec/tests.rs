//! Claims about processes, on real ones.

use redrive_proto::v1::{Cause, Delivery, DeliveryMode, Failure, Transition, report};
use tokio::{
    io::AsyncReadExt as _,
    net::unix::pipe,
    sync::watch,
    task::{JoinSet, yield_now},
};

use super::*;
use crate::{
    context::{Cancel, Signals},
    testing::TestTask,
};

fn shell(script: &str) -> Runner {
    Runner::new("sh", ["-c", script], Options::default()).unwrap()
}

async fn run(script: &str) -> Outcome {
    TestTask::new("k")
        .payload("the payload", "text/x")
        .run(shell(script), &())
        .await
}

fn failure_of(outcome: &Outcome) -> &Failure {
    outcome
        .failure()
        .unwrap_or_else(|| panic!("no failure: {outcome:?}"))
}

fn complete_of(outcome: Outcome) -> Complete {
    let report::Outcome::Complete(complete) = outcome.outcome else {
        panic!("{outcome:?}")
    };
    complete
}

fn output_of(outcome: Outcome) -> String {
    String::from_utf8(complete_of(outcome).result.unwrap().data.to_vec()).unwrap()
}

/// A named pipe: what a script writes to it is seen, and that all who held it are gone.
struct Witness {
    directory: tempfile::TempDir,
    receiver: pipe::Receiver,
}

impl Witness {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("fifo");
        let made = std::process::Command::new("mkfifo")
            .arg(&path)
            .status()
            .unwrap();
        assert!(made.success());
        let receiver = pipe::OpenOptions::new().open_receiver(&path).unwrap();
        Self {
            directory,
            receiver,
        }
    }

    /// A script whose descriptor 3 is the pipe.
    fn script(&self, script: &str) -> String {
        let path = self.directory.path().join("fifo");
        format!("exec 3>'{}'; {script}", path.display())
    }

    async fn sees(&mut self, expected: &str) {
        let mut seen = vec![0; expected.len()];
        let mut read = 0;
        while read < seen.len() {
            // Without a writer yet, a read finds the end.
            match self.receiver.read(&mut seen[read..]).await.unwrap() {
                0 => yield_now().await,
                more => read += more,
            }
        }
        assert_eq!(String::from_utf8(seen).unwrap(), expected);
    }

    async fn sees_the_end(&mut self) {
        assert_eq!(self.receiver.read(&mut [0]).await.unwrap(), 0);
    }
}

/// A run whose signals the test sends.
fn started(runner: &Runner) -> (JoinSet<Outcome>, watch::Sender<Signals>) {
    let (sender, receiver) = watch::channel(Signals::default());
    let task = TaskContext::new(Delivery::default(), receiver);
    let mut set = JoinSet::new();
    set.spawn(Handler::call(runner, task, &()));
    (set, sender)
}

fn signal(sender: &watch::Sender<Signals>, reason: StopReason) {
    sender.send_modify(|signals| signals.stop = Some(reason));
}

#[tokio::test]
async fn the_payload_goes_in_and_the_output_is_the_result() {
    assert_eq!(output_of(run("tr a-z A-Z").await), "THE PAYLOAD");
}

#[tokio::test]
async fn a_command_that_ignores_its_payload_completes() {
    let payload = vec![b'x'; 1_048_576];
    let task = TestTask::new("k").payload(payload, "");
    assert_eq!(output_of(task.run(shell("echo done"), &()).await), "done\n");
}

#[tokio::test]
async fn the_facts_of_the_task_are_in_variables() {
    let failure = Failure {
        failure_class: FailureClass::Network.into(),
        r#type: "t".to_owned(),
        message: "m".to_owned(),
        ..Failure::default()
    };
    let task = TestTask::new("thumb")
        .payload("", "text/x")
        .attempt(5, 5)
        .previous_failure(failure)
        .with(|delivery| {
            delivery.labels = [("b", "2"), ("a", "1\0")]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into();
            delivery.idempotency_key = "order-7".to_owned();
            delivery.schema_version = 3;
            // Gone by when they are read, so that what is left is known.
            delivery.deadline = Some(prost_types::Duration::default());
            delivery.set_delivery(DeliveryMode::AtMostOnce);
            delivery.cause = Some(Box::new(Cause {
                task_id: "t0".to_owned(),
                transition: Transition::Exhausted.into(),
            }));
        });
    let output = output_of(task.run(shell("env | grep ^REDRIVE_ | sort"), &()).await);
    let expected = [
        "REDRIVE_ATTEMPT=5",
        "REDRIVE_ATTEMPTS_MAX=5",
        "REDRIVE_CAUSE_TASK_ID=t0",
        "REDRIVE_CAUSE_TRANSITION=EXHAUSTED",
        "REDRIVE_CONTENT_TYPE=text/x",
        "REDRIVE_CRASHES=0",
        "REDRIVE_DEADLINE_MS=0",
        "REDRIVE_DELIVERY=AT_MOST_ONCE",
        "REDRIVE_FENCE=1",
        "REDRIVE_FINAL_ATTEMPT=1",
        "REDRIVE_HARD_LIMIT_MS=0",
        "REDRIVE_IDEMPOTENCY_KEY=order-7",
        "REDRIVE_KIND=thumb",
        r#"REDRIVE_LABELS={"a":"1\u0000","b":"2"}"#,
        "REDRIVE_NAMESPACE=default",
        "REDRIVE_PREVIOUS_FAILURE_CLASS=NETWORK",
        "REDRIVE_PREVIOUS_FAILURE_MESSAGE=m",
        "REDRIVE_PREVIOUS_FAILURE_TYPE=t",
        "REDRIVE_PRIORITY=NORMAL",
        "REDRIVE_QUEUE=test",
        "REDRIVE_RUN=5",
        "REDRIVE_SCHEMA_VERSION=3",
        "REDRIVE_TASK_ID=01900000-0000-7000-8000-000000000000",
    ];
    assert_eq!(output.lines().collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn every_exit_code_is_reported_with_the_class_of_the_table() {
    use FailureClass as Class;
    for (code, class) in [
        (1, Class::Internal),
        (2, Class::Internal),
        (64, Class::Internal),
        (65, Class::Invalid),
        (68, Class::Network),
        (69, Class::DependencyDown),
        (70, Class::Internal),
        (76, Class::Conflict),
        (77, Class::Auth),
        (255, Class::Internal),
    ] {
        let outcome = run(&format!("exit {code}")).await;
        let failure = failure_of(&outcome);
        assert_eq!(failure.failure_class(), class, "{code}");
        assert_eq!(failure.r#type, format!("exec:exit:{code}"));
        assert_eq!(failure.ancestors, ["exec:exit"]);
        assert!(matches!(&outcome.outcome, report::Outcome::Fail(fail) if !fail.not_retryable));
    }
}

#[tokio::test]
async fn a_temporary_failure_asks_for_a_retry_when_the_policy_says() {
    let outcome = run("exit 75").await;
    let report::Outcome::Retry(retry) = outcome.outcome else {
        panic!("no retry")
    };
    assert_eq!(retry.start, None);
    assert_eq!(retry.failure.unwrap().r#type, "exec:exit:75");
}

#[tokio::test]
async fn the_last_lines_of_the_standard_error_are_in_the_failure() {
    let outcome = run("seq 1 5000 >&2; exit 1").await;
    let failure = failure_of(&outcome);
    let lines: Vec<&str> = failure.stack.lines().collect();
    assert_eq!(
        (lines.len(), lines[0], lines[49]),
        (STDERR_LINES_MAX, "4951", "5000")
    );
    assert_eq!(failure.message, "the command exited with 1: 5000");
}

#[tokio::test]
async fn a_command_that_is_killed_is_reported_as_a_crash() {
    let outcome = run("kill -SEGV $$").await;
    let failure = failure_of(&outcome);
    assert_eq!(failure.failure_class(), FailureClass::WorkerLost);
    assert_eq!(failure.r#type, "exec:signal:11");
    assert_eq!(failure.ancestors, ["exec:signal"]);
}

#[tokio::test]
async fn a_command_that_cannot_be_started_says_which() {
    let runner = Runner::new("/no/such/program", [""; 0], Options::default()).unwrap();
    let outcome = TestTask::new("k").run(runner, &()).await;
    let failure = failure_of(&outcome);
    assert_eq!(
        (failure.failure_class(), failure.r#type.as_str()),
        (FailureClass::Internal, "exec:spawn")
    );
    assert!(failure.message.contains("/no/such/program"));
}

#[tokio::test]
async fn an_output_above_its_bound_is_cut_and_marked() {
    let options = Options {
        result_bytes_max: 10,
        content_type: "text/x".to_owned(),
    };
    let runner = Runner::new("sh", ["-c", "seq 1 100000"], options).unwrap();
    let complete = complete_of(TestTask::new("k").run(runner, &()).await);
    let result = complete.result.unwrap();
    assert_eq!(
        (result.data.as_ref(), result.content_type.as_str()),
        (&b"1\n2\n3\n4\n5\n"[..], "text/x")
    );
    assert_eq!(complete.outcome_label, TRUNCATED_LABEL);
}

#[tokio::test]
async fn at_the_soft_limit_a_command_may_save_its_work_and_complete() {
    let mut witness = Witness::new();
    let script = "trap 'echo saved; exit 0' TERM; printf ready >&3; while :; do sleep 0.01; done";
    let (mut set, signals) = started(&shell(&witness.script(script)));
    witness.sees("ready").await;
    signal(&signals, StopReason::SoftTimeout);
    assert_eq!(
        output_of(set.join_next().await.unwrap().unwrap()),
        "saved\n"
    );
}

#[tokio::test]
async fn a_command_that_ends_badly_after_its_soft_limit_is_a_timeout() {
    for end in ["exit 3", "kill -KILL $$"] {
        let mut witness = Witness::new();
        let script = format!("trap '{end}' TERM; printf ready >&3; while :; do sleep 0.01; done");
        let (mut set, signals) = started(&shell(&witness.script(&script)));
        witness.sees("ready").await;
        signal(&signals, StopReason::SoftTimeout);
        let outcome = set.join_next().await.unwrap().unwrap();
        assert_eq!(
            failure_of(&outcome).failure_class(),
            FailureClass::Timeout,
            "{end}"
        );
    }
}

#[tokio::test]
async fn a_cancelled_command_is_asked_to_stop_and_its_task_given_back() {
    let mut witness = Witness::new();
    let (mut set, signals) = started(&shell(&witness.script("printf ready >&3; sleep 1000")));
    witness.sees("ready").await;
    signal(&signals, StopReason::Requested);
    let outcome = set.join_next().await.unwrap().unwrap();
    assert!(
        matches!(outcome.outcome, report::Outcome::Release(_)),
        "{outcome:?}"
    );
    witness.sees_the_end().await;
}

#[tokio::test]
async fn a_cancelled_command_that_does_not_stop_is_killed_when_the_grace_is_over() {
    let mut witness = Witness::new();
    let script = "trap '' TERM; printf ready >&3; while :; do sleep 0.01; done";
    let (mut set, signals) = started(&shell(&witness.script(script)));
    witness.sees("ready").await;
    signals.send_modify(|signals| {
        signals.cancel = Some(Cancel {
            until: Some(crate::clock::now()),
            detail: "".into(),
        });
        signals.stop(StopReason::Requested);
    });
    let outcome = set.join_next().await.unwrap().unwrap();
    assert!(
        matches!(outcome.outcome, report::Outcome::Release(_)),
        "{outcome:?}"
    );
    witness.sees_the_end().await;
}

#[tokio::test]
async fn a_run_that_is_aborted_leaves_no_process_of_its_group() {
    let mut witness = Witness::new();
    let script = "trap '' TERM; (sleep 1000; :) & sleep 1000 & printf ready >&3; wait";
    let (mut set, _signals) = started(&shell(&witness.script(script)));
    witness.sees("ready").await;
    set.abort_all();
    assert!(set.join_next().await.unwrap().unwrap_err().is_cancelled());
    witness.sees_the_end().await;
}

#[tokio::test]
async fn what_a_command_leaves_behind_in_its_group_is_killed_and_its_output_kept() {
    let mut witness = Witness::new();
    let script = witness.script("echo result; sleep 1000 & printf ready >&3; exit 0");
    assert_eq!(output_of(run(&script).await), "result\n");
    witness.sees("ready").await;
    witness.sees_the_end().await;
}

#[test]
fn options_out_of_bounds_are_refused_by_name() {
    let field = |program: &str, options| Runner::new(program, [""; 0], options).unwrap_err().field;
    assert_eq!(field("", Options::default()), "command");
    let options = Options {
        result_bytes_max: RESULT_BYTES_LIMIT + 1,
        ..Options::default()
    };
    assert_eq!(field("sh", options), "result_bytes_max");
    let options = Options {
        content_type: "x".repeat(129),
        ..Options::default()
    };
    assert_eq!(field("sh", options), "content_type");
}
