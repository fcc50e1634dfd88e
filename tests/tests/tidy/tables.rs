//! Tables of the pages that list what the protocol has: each value of an enum, each call.
//!
//! Owns which table lists what. Tables that tell more than names are compared where the code is:
//! errors (`server/status`), policies (`engine/retry`), transitions (`engine/tests`), records
//! (`codec/tests`), planted bugs (`tests/tests/sim.rs`). Never judges what a row says.

use std::collections::BTreeSet;

use crate::markdown::{code, tables};
use crate::tree::{Finding, Source, assert_finds, assert_none, below, read};

/// A page, the first cell of the head of its table, and the enum whose values that lists.
const ENUMS: [(&str, &str, &str); 4] = [
    ("docs/history.md", "Outcome", "RunOutcome"),
    ("docs/history.md", "Act", "ActKind"),
    ("docs/protocol.md", "Status", "ReportStatus"),
    ("docs/state-machine.md", "view", "TaskState"),
];
const CALLS: (&str, &str) = ("docs/protocol.md", "Call");

/// The names of an enum's values, without their prefix and without the one for "unspecified".
fn values(protos: &[Source], name: &str) -> BTreeSet<String> {
    let head = format!("\nenum {name} {{\n");
    let body = protos.iter().find_map(|it| it.text.split(&head).nth(1));
    let body = body.and_then(|rest| rest.split("\n}").next());
    let names = body.into_iter().flat_map(str::lines).filter_map(|line| {
        let (name, number) = line.trim().split_once(" = ")?;
        (number != "0;" && !name.starts_with("//")).then_some(name)
    });
    let prefix = prefix_of(name);
    names
        .map(|it| it.trim_start_matches(&*prefix).to_owned())
        .collect()
}

/// `RUN_OUTCOME_` of `RunOutcome`.
fn prefix_of(name: &str) -> String {
    let mut prefix = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !prefix.is_empty() {
            prefix.push('_');
        }
        prefix.push(letter.to_ascii_uppercase());
    }
    prefix + "_"
}

/// Every call, as `TaskService.GetTask`.
fn calls(protos: &[Source]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for proto in protos {
        let mut service = "";
        for line in proto.text.lines() {
            if let Some(rest) = line.strip_prefix("service ") {
                service = rest.trim_end_matches(" {");
            }
            if let Some(rest) = line.trim().strip_prefix("rpc ") {
                let name = rest.split('(').next().unwrap_or_default();
                found.insert(format!("{service}.{name}"));
            }
        }
    }
    found
}

/// What a first cell lists: `A, B`, `` `a` (default) `` or `` `S.A`, `B` ``, where B is of S as well.
fn listed(cell: &str) -> Vec<String> {
    let quoted = code(cell);
    let names = if quoted.is_empty() {
        cell.split(", ").collect()
    } else {
        quoted
    };
    let service = names.first().and_then(|it| it.split_once('.'));
    let whole = names.iter().map(|name| match service {
        Some((service, _)) if !name.contains('.') => format!("{service}.{name}"),
        _ => (*name).to_owned(),
    });
    whole.collect()
}

/// Names that the table does not list, and rows of none of them. Upper and lower case are the same,
/// `-` and `_` too.
fn differences(page: &Source, head: &str, of: &str, names: &BTreeSet<String>) -> Vec<Finding> {
    let plain = |name: &str| name.to_uppercase().replace('-', "_");
    let tables = tables(&page.text);
    let Some(table) = tables.iter().find(|it| it.head[0] == head) else {
        let says = format!("has no table that begins with {head}, of {of}");
        return vec![Finding::new(&page.path, 1, says)];
    };
    let listed: Vec<String> = table.rows.iter().flat_map(|row| listed(&row[0])).collect();
    let listed: BTreeSet<String> = listed.iter().map(|it| plain(it)).collect();
    let names: BTreeSet<String> = names.iter().map(|it| plain(it)).collect();
    let missing = names.difference(&listed);
    let missing = missing.map(|it| format!("the table lacks {it} of {of}: add a row"));
    let unknown = listed.difference(&names);
    let unknown = unknown.map(|it| format!("{of} has no {it}: take its row out"));
    let all = missing.chain(unknown);
    all.map(|says| Finding::new(&page.path, table.line, says))
        .collect()
}

#[test]
fn tables_of_the_pages_list_what_the_protocol_has() {
    let protos = below("proto/redrive", "proto");
    let (path, head) = CALLS;
    let mut found = differences(&read(path), head, "the protocol", &calls(&protos));
    for (path, head, name) in ENUMS {
        let values = values(&protos, name);
        assert!(!values.is_empty(), "no proto has the enum {name}");
        found.extend(differences(&read(path), head, name, &values));
    }
    assert_none(found);
}

#[test]
fn a_row_that_is_missing_or_too_much_is_found() {
    let proto = "\nservice S {\n  rpc A(B) returns (C);\n  rpc D(E) returns (F);\n}\n\
                 \nenum MyKind {\n  MY_KIND_UNSPECIFIED = 0;\n  // G = 1;\n  MY_KIND_G = 1;\n  MY_KIND_H_I = 2;\n}\n";
    let protos = [Source::new("a.proto", proto)];
    let page = Source::new(
        "a.md",
        "| Call | b |\n|---|---|\n| `S.A`, `D` | c |\n\n| Kind | b |\n|---|---|\n| `g` (default) | c |\n| J | c |\n",
    );
    assert_eq!(differences(&page, "Call", "it", &calls(&protos)), []);
    let found = differences(&page, "Kind", "MyKind", &values(&protos, "MyKind"));
    assert_finds(&found, 5, "lacks H_I of MyKind");
    assert_finds(&found, 5, "MyKind has no J");
    assert_eq!(found.len(), 2);
    let lost = differences(&page, "State", "MyState", &BTreeSet::new());
    assert_finds(&lost, 1, "has no table that begins with State");
}
