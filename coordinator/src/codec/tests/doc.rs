//! `docs/journal-records.md` shows the format that the code has: numbers, names, order of fields.

use crate::codec::shape::Layout;
use crate::engine::edit::Edit;
use crate::engine::event::{Event, Leaves, ShardImage};
use crate::engine::failure::{Failure, FailureClass};
use crate::engine::ledger::history::{Delay, RunOutcome, RunRecord};
use crate::engine::ledger::kind::{Kind, KindSettings};
use crate::engine::ledger::memory::{Memory, MemoryKey};
use crate::engine::ledger::more::{Act, ActKind, CancelOrder, Cause, Life, More, Scope, Unique};
use crate::engine::ledger::queue::{Pause, Queue, QueueSettings, Totals};
use crate::engine::ledger::task::{
    Finished, Holder, Lease, Outcome, Own, Payload, Priority, Side, State, Task, Timeouts,
};
use crate::engine::ledger::terms::{DeliveryMode, FollowUps, Source, Template, Terms, Transition};
use crate::engine::retry::policy::{
    Backoff, ExhaustAction, Jitter, Match, RetryAfterMode, Rule, RuleAction, Shape, WorkerDelayMode,
};
use crate::engine::retry::{Budget, DeadReason, Policy, PolicyRef};

const DOC: &str = include_str!("../../../../docs/journal-records.md");

/// The rows of the doc's tables without the types of the fields, sorted.
fn rows_of_the_doc() -> Vec<String> {
    let lines: Vec<&str> = DOC.lines().collect();
    let is_head = |pair: &&[&str]| pair.last().is_some_and(|next| next.starts_with("| ---"));
    let rows = lines.windows(2).filter(|pair| !is_head(pair));
    let rows = rows.filter_map(|pair| pair.first().copied());
    let last = lines.last().copied();
    let rows = rows.chain(last).filter(|line| line.starts_with("| "));
    let rows = rows.filter(|line| !line.starts_with("| ---"));
    let mut rows: Vec<String> = rows.map(without_types).collect();
    rows.sort();
    rows
}

fn without_types(row: &str) -> String {
    let cells = row.trim_matches('|').split('|').map(|cell| {
        let parts = cell.split(';').map(|part| {
            let fields = part.split(',').map(|field| {
                let (name, _) = field.split_once(':').unwrap_or((field, ""));
                name.trim()
            });
            fields.collect::<Vec<_>>().join(", ")
        });
        parts.collect::<Vec<_>>().join("; ")
    });
    cells.collect::<Vec<_>>().join(" | ").trim().to_owned()
}

/// `a b ; c d ` as the doc has it: `a, b; c, d`.
fn fields(listed: &str) -> String {
    let parts = listed.split(';').map(|part| {
        let fields: Vec<&str> = part.split_whitespace().collect();
        fields.join(", ")
    });
    parts.collect::<Vec<_>>().join("; ")
}

fn kinds() -> Vec<String> {
    let rows = Event::ROWS.iter();
    rows.map(|(number, name, listed)| format!("{number} | {name} | {}", fields(listed)))
        .collect()
}

fn shape<T: Layout>() -> Vec<String> {
    let rows = T::ROWS.iter();
    rows.map(|(_, name, listed)| format!("{name} | {}", fields(listed)))
        .collect()
}

fn variants<T: Layout>() -> Vec<String> {
    let name = T::NAME;
    let rows = T::ROWS.iter().map(|(number, variant, listed)| {
        let row = format!("{name} | {number} | {variant} | {}", fields(listed));
        row.trim().to_owned()
    });
    rows.collect()
}

fn numbers<T: Layout>() -> Vec<String> {
    let numbers = T::ROWS.iter().map(|(number, variant, listed)| {
        assert!(listed.is_empty(), "{variant} has fields");
        format!("{number} {variant}")
    });
    vec![format!(
        "{} | {}",
        T::NAME,
        numbers.collect::<Vec<_>>().join(", ")
    )]
}

fn shapes() -> Vec<String> {
    let shapes = [
        shape::<Task>(),
        shape::<Own>(),
        shape::<Payload>(),
        shape::<Timeouts>(),
        shape::<Side>(),
        shape::<Lease>(),
        shape::<Finished>(),
        vec!["History | first, last, omitted".to_owned()],
        shape::<RunRecord>(),
        shape::<Delay>(),
        shape::<Failure>(),
        shape::<Leaves>(),
        shape::<Queue>(),
        shape::<QueueSettings>(),
        shape::<Pause>(),
        shape::<Totals>(),
        shape::<ShardImage>(),
        shape::<Policy>(),
        shape::<Backoff>(),
        shape::<Rule>(),
        shape::<Match>(),
        shape::<Terms>(),
        shape::<FollowUps>(),
        shape::<Template>(),
        shape::<More>(),
        shape::<Unique>(),
        shape::<Scope>(),
        shape::<Life>(),
        shape::<Cause>(),
        shape::<Act>(),
        shape::<CancelOrder>(),
        shape::<Edit>(),
        shape::<Memory>(),
        shape::<Kind>(),
        shape::<KindSettings>(),
    ];
    shapes.concat()
}

fn enums() -> Vec<String> {
    let enums = [
        variants::<State>(),
        variants::<Holder>(),
        variants::<MemoryKey>(),
        variants::<PolicyRef>(),
        variants::<Shape>(),
        variants::<Jitter>(),
        numbers::<Priority>(),
        numbers::<Outcome>(),
        numbers::<RunOutcome>(),
        numbers::<FailureClass>(),
        numbers::<Budget>(),
        numbers::<DeadReason>(),
        numbers::<DeliveryMode>(),
        numbers::<Transition>(),
        numbers::<Source>(),
        numbers::<ActKind>(),
        numbers::<RuleAction>(),
        numbers::<ExhaustAction>(),
        numbers::<RetryAfterMode>(),
        numbers::<WorkerDelayMode>(),
    ];
    enums.concat()
}

#[test]
fn the_doc_shows_the_numbers_and_the_order_of_fields_of_the_code() {
    let mut rows = [kinds(), shapes(), enums()].concat();
    rows.sort();
    assert_eq!(rows_of_the_doc(), rows);
}
