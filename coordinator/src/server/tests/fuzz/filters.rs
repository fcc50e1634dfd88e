//! Fuzzed filters: a text is refused in few words, or parsed into what it says, which every task
//! answers.

use crate::engine::filter::{Clause, Equality, Filter, Order};
use crate::engine::ids::Timestamp;
use crate::engine::ledger::task::{Finished, Outcome, Priority, State};
use crate::engine::limits;
use crate::engine::retry::DeadReason;
use crate::fuzz::{Target, run};
use crate::server::convert::field::timestamp;
use crate::server::convert::view::tests::full_view;
use crate::server::filter::parse;

const NOW: Timestamp = Timestamp(1_800_000_000_000);

/// A filter as a text that means the same.
fn printed(filter: &Filter) -> String {
    let clauses: Vec<String> = filter.clauses.iter().map(clause).collect();
    clauses.join(" AND ")
}

fn clause(clause: &Clause) -> String {
    match clause {
        Clause::State(is, state) => said("state", equality(*is), state.name()),
        Clause::Kind(is, kind) => said("kind", equality(*is), kind),
        Clause::Priority(is, priority) => said("priority", equality(*is), name(*priority)),
        Clause::Reason(is, reason) => said("reason", equality(*is), reason.name()),
        Clause::Class(is, class) => said("class", equality(*is), class.name()),
        Clause::ErrorType(is, wanted) => said("error_type", equality(*is), wanted),
        Clause::Label(is, key, wanted) => said(&format!("labels.{key}"), equality(*is), wanted),
        Clause::OutcomeLabel(is, wanted) => said("outcome_label", equality(*is), wanted),
        Clause::Attempts(by, count) => said("attempts", order(*by), &count.to_string()),
        Clause::Crashes(by, count) => said("crashes", order(*by), &count.to_string()),
        Clause::EnqueueTime(by, at) => said("enqueue_time", order(*by), &instant(*at)),
        Clause::EndTime(by, at) => said("end_time", order(*by), &instant(*at)),
    }
}

fn said(field: &str, sign: &str, value: &str) -> String {
    let value = value.replace('\\', r"\\").replace('"', r#"\""#);
    format!("{field} {sign} \"{value}\"")
}

fn instant(at: Timestamp) -> String {
    timestamp(at).to_string()
}

const fn name(priority: Priority) -> &'static str {
    match priority {
        Priority::Highest => "HIGHEST",
        Priority::High => "HIGH",
        Priority::Normal => "NORMAL",
        Priority::Low => "LOW",
        Priority::Lowest => "LOWEST",
    }
}

const fn equality(is: Equality) -> &'static str {
    match is {
        Equality::Is => "=",
        Equality::IsNot => "!=",
    }
}

const fn order(by: Order) -> &'static str {
    match by {
        Order::Less => "<",
        Order::AtMost => "<=",
        Order::Equal => "=",
        Order::NotEqual => "!=",
        Order::AtLeast => ">=",
        Order::Greater => ">",
    }
}

fn states() -> [State; 3] {
    let at = Timestamp(NOW.0 - 1000);
    let finished = Finished {
        outcome: Outcome::Succeeded,
        at,
        result: None,
        label: Some("fine".into()),
        expires_at: None,
    };
    let reason = DeadReason::Rule;
    [
        State::Pending { not_before: at },
        State::Dead { reason, at },
        State::Finished(Box::new(finished)),
    ]
}

fn check(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let query = match parse(text) {
        Ok(query) => query,
        Err(refused) => {
            // A refusal repeats little of what was sent.
            assert!(refused.to_string().len() < 512, "{refused}");
            return;
        }
    };
    let filter = query.at(NOW);
    assert!(filter.clauses.len() <= limits::FILTER_CLAUSES_MAX);
    for state in states() {
        let task = full_view(state).task;
        let each = |clause: &Clause| {
            let clauses = vec![clause.clone()];
            Filter { clauses }.matches(&task, NOW)
        };
        let all = filter.clauses.iter().all(each);
        assert_eq!(filter.matches(&task, NOW), all, "AND means all");
    }
    let text = printed(&filter);
    if text.len() <= limits::FILTER_BYTES_MAX {
        let again = parse(&text).unwrap_or_else(|refused| panic!("{text}: {refused}"));
        assert_eq!(again.at(NOW), filter, "{text}");
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let texts = [
        "state = DEAD AND kind != \"mail.*\"",
        "priority = HIGHEST and reason = RULE AND class != RATE_LIMITED",
        r#"error_type = "py:*" AND labels.team-a.x != "b \"c\" \\ d""#,
        "outcome_label = insufficient_* AND attempts >= 3 AND crashes < 4294967295",
        "enqueue_time < -1h AND end_time > \"1970-01-02T00:00:00.5Z\"",
        "end_time <= -99999999d AND enqueue_time != 2026-01-01T00:00:00+02:00",
        "kind = größe",
        "kind =",
    ];
    texts.map(|text| text.as_bytes().to_vec()).to_vec()
}

#[test]
fn filters_are_refused_or_mean_what_they_say() {
    let target = Target {
        corpus: "fuzz/filters",
        tries: 20_000,
        seeds,
    };
    run(&target, check);
}
