//! Reads deliveries from a JSONL file; `samples/README.md` describes the format.
//!
//! Owns the format and its bounds. A line that cannot be used is reported with its number and left
//! out, never guessed at. Nothing outside this machine is ever called: of a URL only the host and
//! path are kept, as a path below the demo's own upstream.

use std::{collections::BTreeMap, fmt, path::Path};

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use serde_json::Value;

use super::behaviour::{Behaviour, Fails};

/// The most bytes of an input file.
pub(super) const INPUT_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// The most deliveries of one demo; further lines are left out.
pub(super) const DELIVERIES_MAX: usize = 20_000;
/// The most bytes of one line.
pub(super) const LINE_BYTES_MAX: usize = 64 * 1024;
/// The most characters of a kind.
const KIND_CHARS_MAX: usize = 128;

/// The deliveries that ship with the product.
pub(super) const SAMPLE: &str = include_str!("../../samples/webhooks.jsonl");

/// One webhook to deliver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Delivery {
    /// The line that it stands on, from 1.
    pub(super) line: usize,
    /// The sender's own id for it; "line-N" where the line names none.
    pub(super) id: String,
    /// What happened, for example "invoice.paid".
    pub(super) kind: String,
    /// How the upstream treats it.
    pub(super) behaviour: Behaviour,
    /// How often; `None` where the behaviour knows no such number.
    pub(super) fails: Option<Fails>,
    /// GET, POST, PUT, PATCH or DELETE.
    pub(super) method: String,
    /// The path below the upstream, from the behaviour's name to the query.
    pub(super) path: String,
    /// The request's headers.
    pub(super) headers: BTreeMap<String, String>,
    /// The request's body, as JSON; null for none.
    pub(super) body: Value,
}

/// What a file held.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Input {
    /// What can be delivered, in the order of the file.
    pub(super) deliveries: Vec<Delivery>,
    /// What cannot.
    pub(super) bad: Vec<BadLine>,
    /// Lines beyond [`DELIVERIES_MAX`] that were not read.
    pub(super) left_out: usize,
}

/// A line that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BadLine {
    /// Its number, from 1.
    pub(super) line: usize,
    /// What is wrong with it.
    pub(super) problem: String,
}

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.problem)
    }
}

/// A line as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    id: Option<String>,
    kind: String,
    behaviour: Option<String>,
    fails: Option<Value>,
    url: String,
    method: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    body: Value,
}

/// Reads a file of at most [`INPUT_BYTES_MAX`].
///
/// # Errors
/// Where the file cannot be read, is too large, or has no line that can be used.
pub(super) fn read(path: &Path) -> anyhow::Result<Input> {
    let shown = path.display();
    let bytes = std::fs::metadata(path)
        .with_context(|| format!("--input {shown}"))?
        .len();
    ensure!(
        bytes <= INPUT_BYTES_MAX,
        "--input {shown}: has {bytes} bytes, more than {INPUT_BYTES_MAX}; cut it into several files"
    );
    let text = std::fs::read_to_string(path).with_context(|| format!("--input {shown}"))?;
    let input = parse(&text);
    if let (true, Some(first)) = (input.deliveries.is_empty(), input.bad.first()) {
        anyhow::bail!(
            "--input {shown}: none of {} lines can be used; {first}",
            input.bad.len()
        );
    }
    ensure!(
        !input.deliveries.is_empty(),
        "--input {shown}: has no lines; write one JSON object a line"
    );
    Ok(input)
}

/// Reads all lines; empty ones are skipped.
pub(super) fn parse(text: &str) -> Input {
    let mut input = Input::default();
    let lines = text
        .lines()
        .zip(1..)
        .filter(|(text, _)| !text.trim().is_empty());
    for (text, line) in lines {
        if input.deliveries.len() == DELIVERIES_MAX {
            input.left_out = input.left_out.saturating_add(1);
            continue;
        }
        match delivery(text, line) {
            Ok(delivery) => input.deliveries.push(delivery),
            Err(problem) => input.bad.push(BadLine { line, problem }),
        }
    }
    input
}

fn delivery(text: &str, number: usize) -> Result<Delivery, String> {
    if text.len() > LINE_BYTES_MAX {
        return Err(format!(
            "has {} bytes, more than {LINE_BYTES_MAX}",
            text.len()
        ));
    }
    let line: Line = serde_json::from_str(text).map_err(|error| fault(&error))?;
    check_kind(&line.kind)?;
    let behaviour = match &line.behaviour {
        Some(name) => name.parse()?,
        None => spread(number),
    };
    let fails = fails(behaviour, line.fails.as_ref())?;
    let method = line.method.unwrap_or_else(|| "POST".to_owned());
    if !["GET", "POST", "PUT", "PATCH", "DELETE"].contains(&method.as_str()) {
        return Err(format!(
            "method: {method:?} is none of GET, POST, PUT, PATCH, DELETE"
        ));
    }
    let times = fails.map_or_else(|| "-".to_owned(), |fails| fails.to_string());
    Ok(Delivery {
        line: number,
        id: line.id.unwrap_or_else(|| format!("line-{number}")),
        kind: line.kind,
        behaviour,
        fails,
        method,
        path: format!("/{behaviour}/{times}/{}", target(&line.url)?),
        headers: line.headers,
        body: line.body,
    })
}

/// What is wrong with a line's JSON, and where; serde_json counts each line as its line 1.
fn fault(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let what = text.split(" at line ").next().unwrap_or_default();
    format!("{what} (column {})", error.column())
}

/// Which behaviour a line gets that names none: the eight in turn.
fn spread(line: usize) -> Behaviour {
    Behaviour::ALL
        .into_iter()
        .cycle()
        .nth(line.saturating_sub(1) % Behaviour::ALL.len())
        .unwrap_or(Behaviour::Network)
}

fn fails(behaviour: Behaviour, given: Option<&Value>) -> Result<Option<Fails>, String> {
    match (given, behaviour.default_fails()) {
        (None, default) => Ok(default),
        (Some(_), None) => Err(format!(
            "fails: means nothing to the behaviour {behaviour:?}; leave it out",
            behaviour = behaviour.name()
        )),
        (Some(Value::String(text)), Some(_)) => text.parse().map(Some),
        (Some(other), Some(_)) => other.to_string().parse().map(Some),
    }
}

fn check_kind(kind: &str) -> Result<(), String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let begins = kind.starts_with(|c: char| c.is_ascii_alphanumeric());
    if begins && kind.len() <= KIND_CHARS_MAX && kind.chars().all(allowed) {
        return Ok(());
    }
    Err(format!(
        "kind: {kind:?} is not 1 to {KIND_CHARS_MAX} letters, digits, '.', '_' or '-' that begin \
         with a letter or digit"
    ))
}

/// The URL without its scheme, leading slashes and fragment.
fn target(url: &str) -> Result<&str, String> {
    let rest = match url.split_once("://") {
        Some(("http" | "https", rest)) => rest,
        Some((scheme, _)) => {
            return Err(format!(
                "url: the scheme {scheme:?} is neither http nor https"
            ));
        }
        None => url.trim_start_matches('/'),
    };
    let rest = rest.split_once('#').map_or(rest, |(before, _)| before);
    if rest.is_empty() || !rest.chars().all(|c| c.is_ascii_graphic()) {
        return Err(format!(
            "url: {url:?} is empty or not printable ASCII without spaces"
        ));
    }
    Ok(rest)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_sample_has_two_thousand_deliveries_of_eight_kinds_and_eight_behaviours() {
        let input = parse(SAMPLE);
        assert_eq!(input.bad, []);
        assert!(
            input.deliveries.len() >= 2_000,
            "{}",
            input.deliveries.len()
        );
        assert!(SAMPLE.len() < 1_000_000, "{}", SAMPLE.len());
        let kinds: BTreeSet<_> = input.deliveries.iter().map(|d| d.kind.as_str()).collect();
        let behaviours: BTreeSet<_> = input.deliveries.iter().map(|d| d.behaviour).collect();
        let ids: BTreeSet<_> = input.deliveries.iter().map(|d| d.id.as_str()).collect();
        assert_eq!((kinds.len(), behaviours.len()), (8, 8));
        assert_eq!(ids.len(), input.deliveries.len());
    }

    #[test]
    fn a_line_becomes_a_path_below_the_upstream() {
        let input = parse(
            r#"{"id":"e1","kind":"invoice.paid","behaviour":"conflict","fails":3,"url":"https://a.example/in?x=1#f","headers":{"x-a":"b"},"body":{"n":1}}"#,
        );
        let delivery = &input.deliveries[0];
        assert_eq!(delivery.path, "/conflict/3/a.example/in?x=1");
        assert_eq!((delivery.method.as_str(), delivery.line), ("POST", 1));
        assert_eq!(delivery.headers["x-a"], "b");
        assert_eq!(delivery.body, serde_json::json!({"n": 1}));
    }

    #[test]
    fn a_line_without_a_behaviour_takes_the_next_of_the_eight() {
        let text = r#"{"kind":"k","url":"/hook"}
"#
        .repeat(9);
        let input = parse(&text);
        let behaviours: Vec<_> = input.deliveries.iter().map(|d| d.behaviour).collect();
        assert_eq!(behaviours[..8], Behaviour::ALL);
        assert_eq!(behaviours[8], Behaviour::Network);
        assert_eq!(input.deliveries[3].path, "/down/-/hook");
        assert_eq!(input.deliveries[0].id, "line-1");
    }

    #[test]
    fn a_bad_line_is_named_with_its_number_and_fault_and_the_rest_is_used() {
        let text = r#"{"kind":"a","url":"/x"}

not json
{"kind":"a b","url":"/x"}
{"kind":"a","url":"ftp://x/"}
{"kind":"a","url":"/x","behavior":"auth"}
{"kind":"a","url":"/x","behaviour":"teapot"}
{"kind":"a","url":"/x","behaviour":"down","fails":1}
{"kind":"a","url":"/x","behaviour":"auth","fails":99}
{"kind":"a","url":"/x","method":"BREW"}
{"kind":"a","url":"/ x"}"#;
        let input = parse(text);
        assert_eq!(input.deliveries.len(), 1);
        let faults = [
            "expected", "kind", "scheme", "behavior", "teapot", "fails", "fails", "method", "url",
        ];
        assert_eq!(input.bad.len(), faults.len());
        for (bad, (line, fault)) in input.bad.iter().zip((3..).zip(faults)) {
            assert_eq!(bad.line, line);
            assert!(bad.problem.contains(fault), "{bad}");
            assert!(!bad.problem.contains("line"), "{bad}");
        }
    }

    #[test]
    fn lines_beyond_the_limit_are_counted_and_left_out() {
        let text = "{\"kind\":\"k\",\"url\":\"/hook\"}\n".repeat(DELIVERIES_MAX + 3);
        let input = parse(&text);
        assert_eq!(
            (input.deliveries.len(), input.left_out),
            (DELIVERIES_MAX, 3)
        );
    }

    #[test]
    fn a_line_that_is_too_long_is_refused() {
        let text = format!(
            "{{\"kind\":\"k\",\"url\":\"/{}\"}}",
            "x".repeat(LINE_BYTES_MAX)
        );
        assert!(parse(&text).bad[0].problem.contains("65536"));
    }
}
