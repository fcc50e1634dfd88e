//! How a bench is told: a table for each phase, of at most 80 columns, or one JSON object.
//!
//! Pure. JSON names every value with its unit and rounds nothing; tables round to what can be
//! read.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::{
    Outcome, Outcomes,
    check::SelfCheck,
    figure::{Figure, Metric, float, grouped},
    phase::Phase,
    settings::Settings,
};
use crate::output::{
    human,
    table::{Column, Style, Table},
};

/// What stands for a value that there is none of.
const NONE: &str = "-";

/// Everything as JSON.
pub(crate) fn json(settings: &Settings, outcomes: &Outcomes) -> Value {
    let phases: Vec<Value> = outcomes.phases.iter().map(phase_json).collect();
    let coordinator = outcomes.coordinator.as_ref().map(|info| {
        json!({
            "version": info.version,
            "durability": info.durability,
            "shards": info.shards,
            "own_process": settings.address.is_none(),
        })
    });
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "cpus": cpus(),
        "coordinator": coordinator,
        "settings": settings_json(settings),
        "phases": phases,
        "self_check": { "ok": outcomes.ok() },
    })
}

fn settings_json(settings: &Settings) -> Value {
    json!({
        "payload_bytes": settings.payload_bytes(),
        "connections": settings.connections,
        "workers": settings.workers,
        "queues": settings.queues,
        "keys": settings.keys,
        "tasks": settings.tasks,
        "duration_seconds": settings.duration.as_secs_f64(),
        "rate_per_second": settings.rate,
        "failures": settings.failures,
        "runs": settings.runs,
        "durability": settings.durability.map(|it| it.name()),
    })
}

fn phase_json(outcome: &Outcome) -> Value {
    let SelfCheck {
        enqueued,
        done,
        problems,
    } = &outcome.check;
    json!({
        "phase": outcome.phase.name(),
        "seconds": outcome.seconds,
        "figures": outcome.figures.iter().map(figure_json).collect::<Vec<Value>>(),
        "self_check": {
            "ok": outcome.check.ok(),
            "enqueued": enqueued,
            "done": done,
            "problems": problems,
        },
    })
}

fn figure_json(figure: &Figure) -> Value {
    let mut object = Map::new();
    object.insert("name".to_owned(), json!(figure.key));
    object.insert("title".to_owned(), json!(figure.title));
    object.insert("count".to_owned(), json!(figure.count));
    for (metric, value) in &figure.values {
        object.insert(metric.key().to_owned(), json!(value));
    }
    Value::Object(object)
}

/// Everything for people.
pub(crate) fn text(style: &Style, settings: &Settings, outcomes: &Outcomes) -> String {
    let mut text = head(settings, outcomes);
    for outcome in &outcomes.phases {
        text.push_str(&format!("\n\n{}", table(style, outcome)));
        if outcome.phase.needs_coordinator() || !outcome.check.ok() {
            text.push_str(&format!("\n{}", check_text(&outcome.check)));
        }
    }
    text.push_str(&format!("\n{}", legend(outcomes)));
    text
}

fn head(settings: &Settings, outcomes: &Outcomes) -> String {
    let coordinator = match &outcomes.coordinator {
        None => String::new(),
        Some(info) => {
            let whose = match &settings.address {
                None => "started for each run".to_owned(),
                Some(address) => format!("at {address}"),
            };
            format!(
                "coordinator  {}, {whose}, durability {}\n",
                info.version, info.durability
            )
        }
    };
    let many = |count: usize, what: &str| {
        let s = if count == 1 { "" } else { "s" };
        format!("{count} {what}{s}")
    };
    let runs = match settings.runs {
        1 => "one run".to_owned(),
        runs => format!("medians of {runs} runs"),
    };
    format!(
        "redrive bench {}\n{coordinator}clients      {}, {}, {}, payloads of {}\nmachine      {}, shared by all of it; {runs}",
        env!("CARGO_PKG_VERSION"),
        many(settings.connections, "connection"),
        many(settings.workers, "worker"),
        many(settings.queues, "queue"),
        human::size(settings.payload_bytes()),
        many(cpus(), "CPU"),
    )
}

/// A row for each figure, a column for each metric that any of them has.
fn table(style: &Style, outcome: &Outcome) -> String {
    let metrics: BTreeSet<Metric> = outcome
        .figures
        .iter()
        .flat_map(|figure| figure.values.keys().copied())
        .collect();
    let shown: Vec<(Metric, &str)> = metrics
        .into_iter()
        .filter(|metric| is_shown(outcome.phase, *metric))
        .filter_map(|metric| Some((metric, metric.head()?)))
        .collect();
    let mut columns = vec![Column::Whole(title(outcome.phase)), Column::Number("N")];
    columns.extend(shown.iter().map(|(_, head)| Column::Number(head)));
    let mut table = Table::new(style, &columns);
    for figure in &outcome.figures {
        let value = |metric: Metric| figure.get(metric).map(|value| metric.show(value));
        let values = shown
            .iter()
            .map(|(metric, _)| value(*metric).unwrap_or_else(|| NONE.to_owned()));
        let first = [figure.title.clone(), grouped(float(figure.count))];
        table.cells(first.into_iter().chain(values).collect());
    }
    table.render()
}

/// Quantiles leave no room for the CPU columns of `latency`, nor for the roles' but where the
/// whole life of a task is measured; JSON has them.
fn is_shown(phase: Phase, metric: Metric) -> bool {
    let cpu = metric == Metric::ServerCpu || metric == Metric::ClientCpu;
    let role = [Metric::EngineCpu, Metric::JournalCpu, Metric::GrpcCpu].contains(&metric);
    let whole = [Phase::Drain, Phase::Steady, Phase::Retries].contains(&phase);
    !(cpu && phase == Phase::Latency || role && !whole)
}

fn title(phase: Phase) -> &'static str {
    match phase {
        Phase::Sync => "SYNC",
        Phase::Baseline => "BASELINE",
        Phase::Enqueue => "ENQUEUE",
        Phase::Drain => "DRAIN",
        Phase::Steady => "STEADY",
        Phase::Latency => "LATENCY",
        Phase::Retries => "RETRIES",
        Phase::Timers => "TIMERS",
        Phase::Backlog => "BACKLOG",
        Phase::Memory => "MEMORY",
        Phase::Idle => "IDLE",
        Phase::Recovery => "RECOVERY",
    }
}

fn check_text(check: &SelfCheck) -> String {
    let counted = format!(
        "{} enqueued, {} done",
        grouped(float(check.enqueued)),
        grouped(float(check.done))
    );
    if check.ok() {
        return format!("self-check ok: {counted}, none twice");
    }
    let problems = check.problems.iter();
    let told: String = problems.map(|problem| format!("\n  {problem}")).collect();
    format!("SELF-CHECK FAILED: {counted}{told}")
}

/// What the columns mean that do not say it themselves.
fn legend(outcomes: &Outcomes) -> String {
    let has = |metric: Metric| {
        let mut figures = outcomes.phases.iter().flat_map(|phase| &phase.figures);
        figures.any(|figure| figure.get(metric).is_some())
    };
    let lines = [
        (
            has(Metric::ServerCpu) || has(Metric::ClientCpu),
            "SRV us, CLI us  CPU microseconds of the server and of this client for each",
        ),
        (
            has(Metric::EngineCpu),
            "ENG, JNL, RPC   of the server's: its engine, its journal, what speaks gRPC",
        ),
        (
            has(Metric::CoreShare),
            "CORE            share of one core that the server takes",
        ),
        (
            has(Metric::OfBare),
            "BARE            share of what a server that schedules nothing does here",
        ),
        (
            has(Metric::RssPerTask),
            "RSS B, ACC B, DISK B  bytes for each: resident, accounted for, on disk",
        ),
    ];
    lines
        .iter()
        .filter(|(wanted, _)| *wanted)
        .map(|(_, line)| format!("\n{line}"))
        .collect()
}

fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::settings::tests::settings;

    impl Figure {
        fn without(mut self, metrics: &[Metric]) -> Self {
            self.values.retain(|metric, _| !metrics.contains(metric));
            self
        }
    }

    fn outcomes(problems: &[&str]) -> Outcomes {
        let widest = |key: &str, title: &str| {
            Figure::new(key, title, 10_000_000)
                .with(Metric::Rate, 1_234_567.8)
                .with(Metric::P50, 1_234.0)
                .with(Metric::P99, 123_456.0)
                .with(Metric::ServerCpu, 1_234.56)
                .with(Metric::ClientCpu, 1_234.56)
                .with(Metric::OfBare, 1.0)
        };
        let enqueue = Outcome {
            phase: Phase::Enqueue,
            figures: vec![
                widest("unary_256", "call, 256 in flight"),
                Figure::new("stream", "stream", 5).with(Metric::Rate, 7.0),
            ],
            check: SelfCheck {
                enqueued: 5,
                done: 5,
                problems: problems.iter().map(|&one| one.to_owned()).collect(),
            },
            seconds: 2.5,
        };
        let latency = Outcome {
            phase: Phase::Latency,
            figures: vec![
                Figure::new("sent", "until started", 100_000)
                    .with(Metric::P50, 1.0)
                    .with(Metric::P90, 1_234.0)
                    .with(Metric::P99, 123_456.0)
                    .with(Metric::P999, 1_234_567.0)
                    .with(Metric::Max, 12_345_678.0)
                    .with(Metric::ServerCpu, 123.4)
                    .with(Metric::ClientCpu, 123.4),
            ],
            check: SelfCheck::default(),
            seconds: 1.0,
        };
        let timers = Outcome {
            phase: Phase::Timers,
            figures: vec![
                widest("started", "from due to started")
                    .with(Metric::Max, 123_456.0)
                    .with(Metric::Seconds, 123.456)
                    .without(&[Metric::Rate, Metric::OfBare]),
            ],
            check: SelfCheck::default(),
            seconds: 1.0,
        };
        let backlog = Outcome {
            phase: Phase::Backlog,
            figures: vec![
                Figure::new("beside", "beside 10,000,000 tasks", 100_000)
                    .with(Metric::ServerCpu, 1_234.5)
                    .with(Metric::ClientCpu, 1_234.5)
                    .with(Metric::EnqueueRate, 123_456.0)
                    .with(Metric::DrainRate, 123_456.0)
                    .with(Metric::Rss, 1e9),
            ],
            check: SelfCheck::default(),
            seconds: 1.0,
        };
        Outcomes {
            phases: vec![enqueue, latency, timers, backlog],
            coordinator: Some(v1()),
        }
    }

    fn v1() -> redrive_client::v1::GetServerInfoResponse {
        redrive_client::v1::GetServerInfoResponse {
            version: "1.2.3".to_owned(),
            durability: "memory".to_owned(),
            ..Default::default()
        }
    }

    #[test]
    fn the_widest_table_fits_eighty_columns() {
        let text = text(&Style::plain(), &settings(), &outcomes(&[]));
        for line in text.lines() {
            assert!(line.chars().count() <= 80, "{line:?} in\n{text}");
        }
        for part in [
            "1,234,568",
            "123ms",
            "100%",
            "durability memory",
            "self-check ok: 5 enqueued, 5 done",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
    }

    #[test]
    fn a_failed_check_is_told_in_both_forms() {
        let outcomes = outcomes(&["2 tasks were never done"]);
        assert!(!outcomes.ok());
        let text = text(&Style::plain(), &settings(), &outcomes);
        assert!(
            text.contains("SELF-CHECK FAILED") && text.contains("\n  2 tasks were never done"),
            "{text}"
        );
        let json = json(&settings(), &outcomes);
        assert_eq!(json["self_check"]["ok"], false);
        let check = &json["phases"][0]["self_check"];
        assert_eq!(check["problems"][0], "2 tasks were never done");
    }

    #[test]
    fn json_names_every_value_with_its_unit() {
        let json = json(&settings(), &outcomes(&[]));
        let figure = &json["phases"][0]["figures"][0];
        assert_eq!(figure["name"], "unary_256");
        assert_eq!(figure["rate_per_second"], 1_234_567.8);
        assert_eq!(figure["p99_us"], 123_456.0);
        assert_eq!(figure["coordinator_cpu_us_per_item"], 1_234.56);
        assert_eq!(json["coordinator"]["own_process"], true);
        assert_eq!(json["settings"]["payload_bytes"], 100);
    }
}
