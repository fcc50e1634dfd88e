//! What the metrics promise to whoever scrapes them.

use super::*;
use crate::engine::failure::Failure;
use crate::engine::ids::Timestamp;
use crate::engine::ledger::queue::{Pause, Queue};
use crate::shell::testing::notice;

fn telemetry() -> Telemetry {
    Telemetry::new("1.2.3").unwrap()
}

fn has(text: &str, line: &str) {
    assert!(
        text.lines().any(|l| l == line),
        "no line {line:?} in:\n{text}"
    );
}

fn view(namespace: &str, queue: &str, ready: u64) -> QueueView {
    let queue = Queue::new(QueueName::new(namespace, queue).unwrap(), 0);
    QueueView {
        queue,
        counts: Counts {
            ready,
            ..Counts::default()
        },
        oldest_ready_ms: 2500 * ready.min(1),
        unserved: Vec::new(),
    }
}

fn noticed(kind: NoticeKind, failure: Option<FailureClass>, reason: Option<&str>) -> Notice {
    let mut noticed = notice(1);
    noticed.kind = kind;
    noticed.failure = failure.map(|class| Failure::new(class, "it broke"));
    noticed.reason = reason.map(Arc::from);
    noticed.run_ms = Some(250);
    noticed
}

#[test]
fn outcomes_are_counted_by_their_labels_and_a_flood_of_labels_crowds_out_nothing() {
    let telemetry = telemetry();
    let ended = |label: &str| {
        let mut ended = noticed(NoticeKind::Ended, None, Some("SUCCEEDED"));
        ended.outcome_label = Some(label.into());
        ended
    };
    telemetry.notice(&ended("insufficient_funds"));
    (0..500).for_each(|number| telemetry.notice(&ended(&format!("label-{number}"))));
    telemetry.notice(&ended("insufficient_funds"));
    telemetry.notice(&noticed(NoticeKind::DeadLettered, None, Some("RULE")));
    let text = telemetry.render();
    let counted = |label: &str, value: &str| {
        let mut lines = text.lines();
        let line = lines.find(|line| {
            line.starts_with("redrive_task_outcomes_total")
                && line.contains(&format!("outcome_label=\"{label}\""))
        });
        assert!(
            line.is_some_and(|line| line.ends_with(value)),
            "{label}:\n{text}"
        );
    };
    counted("insufficient_funds", " 2");
    counted("other", " 469");
    assert!(text.contains("reason=\"RULE\""), "{text}");
}

#[test]
fn every_metric_has_a_help_text_base_units_and_a_name_that_fits_its_type() {
    let telemetry = telemetry();
    let mut all = noticed(
        NoticeKind::RetryScheduled,
        Some(FailureClass::Network),
        None,
    );
    all.waited_ms = Some(10);
    all.delay_ms = Some(1500);
    telemetry.notice(&all);
    let mut ended = noticed(NoticeKind::Ended, None, Some("SUCCEEDED"));
    ended.outcome_label = Some("sent".into());
    telemetry.notice(&ended);
    telemetry.notice(&noticed(NoticeKind::DeadLettered, None, Some("RULE")));
    telemetry.woken("command");
    telemetry.called("a.B/C".into(), "OK", Duration::from_millis(1));
    telemetry.turn.record(0.001);
    telemetry.timer_lag.record(0.001);
    telemetry.show_queues(&[view("default", "mail", 3)]);
    telemetry.show_journal(&JournalFacts::default());
    let text = telemetry.render();

    let mut types = BTreeMap::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').unwrap();
        assert_eq!(types.insert(name, kind), None, "{name} is described twice");
    }
    assert_eq!(
        types.len(),
        COUNTERS.len() + GAUGES.len() + HISTOGRAMS.len(),
        "{text}"
    );
    for (name, kind) in types {
        assert!(
            text.contains(&format!("# HELP {name} ")),
            "{name} has no help text"
        );
        assert!(
            name.starts_with("redrive_") || name.starts_with("rpc_server_"),
            "{name}"
        );
        assert_eq!(
            name.ends_with("_total"),
            kind == "counter",
            "{name} is a {kind}"
        );
        assert_eq!(
            kind == "histogram",
            name.ends_with("_seconds") && kind != "gauge",
            "{name}"
        );
        for unit in [
            "_ms",
            "_milliseconds",
            "_kb",
            "_percent",
            "_count",
            "_bucket",
            "_sum",
        ] {
            assert!(
                !name.ends_with(unit),
                "{name} is not in base units, or reserved"
            );
        }
    }
}

#[test]
fn runs_are_counted_by_how_they_ended() {
    let telemetry = telemetry();
    telemetry.notice(&noticed(NoticeKind::Ended, None, Some("SUCCEEDED")));
    telemetry.notice(&noticed(
        NoticeKind::RetryScheduled,
        Some(FailureClass::Timeout),
        None,
    ));
    telemetry.notice(&noticed(
        NoticeKind::RetryScheduled,
        Some(FailureClass::WorkerLost),
        None,
    ));
    telemetry.notice(&noticed(
        NoticeKind::DeadLettered,
        Some(FailureClass::Invalid),
        Some("NOT_RETRYABLE"),
    ));
    telemetry.notice(&noticed(NoticeKind::Deferred, None, None));
    let text = telemetry.render();

    let attempts = |outcome, count| {
        let labels = format!("namespace=\"default\",queue=\"mail\",outcome=\"{outcome}\"");
        has(
            &text,
            &format!("redrive_attempts_total{{{labels}}} {count}"),
        );
    };
    attempts("succeeded", 1);
    attempts("failed", 2);
    attempts("crashed", 1);
    attempts("deferred", 1);
    let labels = "namespace=\"default\",queue=\"mail\"";
    has(
        &text,
        &format!("redrive_retries_scheduled_total{{{labels},reason=\"TIMEOUT\"}} 1"),
    );
    has(
        &text,
        &format!("redrive_tasks_dead_lettered_total{{{labels},reason=\"NOT_RETRYABLE\"}} 1"),
    );
    has(
        &text,
        &format!("redrive_tasks_ended_total{{{labels},state=\"succeeded\"}} 1"),
    );
    has(
        &text,
        "redrive_attempt_duration_seconds_bucket{le=\"0.1\"} 0",
    );
    has(
        &text,
        "redrive_attempt_duration_seconds_bucket{le=\"0.5\"} 5",
    );
}

#[test]
fn queues_beyond_the_limit_share_one_label_and_are_added_up() {
    let telemetry = telemetry();
    let mut views: Vec<_> = (0..QUEUES_LABELLED_MAX + 2)
        .map(|number| view("default", &format!("q{number}"), 5))
        .collect();
    views[0].queue.paused = Some(Pause {
        at: Timestamp(1),
        reason: "why not".into(),
    });
    telemetry.show_queues(&views);
    telemetry.show_queues(&views);
    let mut late = notice(1);
    late.queue = QueueName::new("elsewhere", "late").unwrap();
    telemetry.notice(&late);
    let text = telemetry.render();

    has(
        &text,
        "redrive_tasks{namespace=\"default\",queue=\"q0\",state=\"ready\"} 5",
    );
    has(
        &text,
        "redrive_queue_paused{namespace=\"default\",queue=\"q0\"} 1",
    );
    has(
        &text,
        "redrive_tasks{namespace=\"other\",queue=\"other\",state=\"ready\"} 10",
    );
    has(
        &text,
        "redrive_tasks_enqueued_total{namespace=\"other\",queue=\"other\"} 1",
    );
    let ready = text
        .lines()
        .filter(|line| line.contains("state=\"ready\""))
        .count();
    assert_eq!(ready, QUEUES_LABELLED_MAX + 1);
}

#[test]
fn values_of_a_label_are_bounded_for_each_queue() {
    let telemetry = telemetry();
    for number in 0..10 * VALUES_PER_QUEUE_MAX {
        let reason = format!("REASON_{number}");
        telemetry.notice(&noticed(NoticeKind::DeadLettered, None, Some(&reason)));
    }
    let text = telemetry.render();
    let series = text
        .lines()
        .filter(|line| line.starts_with(DEAD_LETTERED))
        .count();
    assert!(series <= VALUES_PER_QUEUE_MAX + 1, "{series} series");
    assert!(text.contains("reason=\"other\""));
}

#[test]
fn coordinators_of_one_process_have_metrics_of_their_own() {
    let (one, two) = (telemetry(), telemetry());
    one.woken("command");
    has(&one.render(), "redrive_wakeups_total{reason=\"command\"} 1");
    assert!(!two.render().contains("redrive_wakeups_total{"));
    has(&two.render(), "redrive_build_info{version=\"1.2.3\"} 1");
}

#[test]
fn namespaces_become_known_when_something_happens_in_them() {
    let telemetry = telemetry();
    assert_eq!(telemetry.namespaces(), ["default".into()]);
    let mut elsewhere = notice(1);
    elsewhere.queue = QueueName::new("billing", "mail").unwrap();
    telemetry.notice(&elsewhere);
    assert_eq!(telemetry.namespaces(), ["billing".into(), "default".into()]);
}
