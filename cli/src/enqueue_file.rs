//! Files of tasks: one JSON object a line.
//!
//! Owns how a line is read, and the reader that hands lines on one by one. A line is the proto3
//! JSON of a `TaskSpec`, except that `payload` may be any JSON value, which is then sent as it is
//! written, as `application/json`; an object of exactly the two texts `data` and `contentType` is a `Payload`
//! as the protocol writes it. Invariant: at most one line is held at a time, and it is bounded.

use std::{
    collections::BTreeMap,
    io::{self, BufRead, Read as _},
};

use redrive_proto::v1;
use serde_json::{Value, value::RawValue};

use crate::output::json;

/// The longest line that is read, in bytes: a payload of 1 MiB in base64, and room for the rest.
pub(crate) const LINE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// One line of a file.
#[derive(Debug, PartialEq)]
pub(crate) struct Line {
    /// Its number, from 1.
    pub(crate) number: u64,
    /// Bytes of the file up to its end.
    pub(crate) read_bytes: u64,
    /// The task, or why there is none.
    pub(crate) task: Result<v1::TaskSpec, String>,
}

/// Reads lines one after the other; empty lines are skipped.
#[derive(Debug)]
pub(crate) struct Lines<R> {
    input: R,
    number: u64,
    read_bytes: u64,
    buffer: Vec<u8>,
}

impl<R: BufRead> Lines<R> {
    pub(crate) fn new(input: R) -> Self {
        Self {
            input,
            number: 0,
            read_bytes: 0,
            buffer: Vec::new(),
        }
    }

    /// The next line; `None` at the end.
    ///
    /// # Errors
    /// Where the input cannot be read.
    pub(crate) fn next_line(&mut self) -> io::Result<Option<Line>> {
        loop {
            self.buffer.clear();
            let most = u64::try_from(LINE_BYTES_MAX).unwrap_or(u64::MAX);
            let read = self
                .input
                .by_ref()
                .take(most)
                .read_until(b'\n', &mut self.buffer)?;
            if read == 0 {
                return Ok(None);
            }
            self.number += 1;
            self.count(read);
            let task = if read == LINE_BYTES_MAX && self.buffer.last() != Some(&b'\n') {
                self.skip_rest()?;
                Err(format!(
                    "longer than {LINE_BYTES_MAX} bytes, the limit of a line"
                ))
            } else if self.buffer.trim_ascii().is_empty() {
                continue;
            } else {
                read_task(&self.buffer)
            };
            return Ok(Some(Line {
                number: self.number,
                read_bytes: self.read_bytes,
                task,
            }));
        }
    }

    fn count(&mut self, read: usize) {
        self.read_bytes += u64::try_from(read).unwrap_or_default();
    }

    /// Leaves out what is left of a line that is too long.
    fn skip_rest(&mut self) -> io::Result<()> {
        let skipped = self.input.skip_until(b'\n')?;
        self.count(skipped);
        Ok(())
    }
}

fn read_task(line: &[u8]) -> Result<v1::TaskSpec, String> {
    // Raw, so that a payload is sent as it was written: order, spaces and large numbers included.
    let mut fields: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(line)
        .map_err(|error| format!("no JSON object ({error}); write one TaskSpec a line"))?;
    if !fields.contains_key("kind") {
        return Err(
            "kind: is missing; every line says its kind, and its queue unless the kind has a \
             default one"
                .to_owned(),
        );
    }
    let payload = match fields.remove("payload") {
        Some(raw) if is_proto_payload(&raw) => {
            fields.insert("payload".to_owned(), raw);
            None
        }
        other => other,
    };
    let fields = fields
        .into_iter()
        .map(|(name, raw)| Ok((name, serde_json::from_str(raw.get())?)))
        .collect::<Result<_, serde_json::Error>>()
        .map_err(|error| error.to_string())?;
    let mut task: v1::TaskSpec =
        json::read(Value::Object(fields)).map_err(|error| error.to_string())?;
    if let Some(raw) = payload.filter(|raw| raw.get() != "null") {
        task.payload = Some(v1::Payload {
            data: raw.get().to_owned().into_bytes().into(),
            content_type: "application/json".to_owned(),
        });
    }
    Ok(task)
}

/// Whether a value is a `Payload` message rather than a payload.
fn is_proto_payload(raw: &RawValue) -> bool {
    let Ok(fields) = serde_json::from_str::<BTreeMap<&str, &RawValue>>(raw.get()) else {
        return false;
    };
    let text = |name: &str| {
        fields
            .get(name)
            .is_some_and(|raw| raw.get().starts_with('"'))
    };
    fields.len() == 2 && text("data") && (text("contentType") || text("content_type"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn lines(text: &[u8]) -> Vec<Line> {
        let mut lines = Lines::new(text);
        std::iter::from_fn(|| lines.next_line().unwrap()).collect()
    }

    fn task(value: &Value) -> Result<v1::TaskSpec, String> {
        read_task(value.to_string().as_bytes())
    }

    #[test]
    fn a_line_is_the_proto3_json_of_a_task() {
        let task = task(&json!({
            "queue": "mail", "kind": "send", "priority": "PRIORITY_HIGH", "delay": "300s",
            "maxAttempts": 3, "labels": { "a": "b" }, "timeouts": { "hard": "30s" },
        }));
        let task = task.unwrap();
        assert_eq!((task.queue.as_str(), task.kind.as_str()), ("mail", "send"));
        assert_eq!(task.priority(), v1::Priority::High);
        assert_eq!(task.max_attempts, Some(3));
        assert_eq!(task.labels["a"], "b");
        let delay = prost_types::Duration {
            seconds: 300,
            nanos: 0,
        };
        assert_eq!(task.start, Some(v1::task_spec::Start::Delay(delay)));
    }

    #[test]
    fn a_line_may_say_all_of_a_tasks_life() {
        let task = task(&json!({
            "kind": "send", "idempotencyKey": "user:1", "schemaVersion": 2,
            "terms": {
                "ttl": "60s", "delivery": "DELIVERY_MODE_AT_MOST_ONCE",
                "followUps": { "onFailure": { "kind": "tell", "queue": "ops" } },
            },
            "unique": { "key": "doc:7", "onConflict": "CONFLICT_ACTION_REJECT" },
            "then": [{ "kind": "next" }],
        }))
        .unwrap();
        assert_eq!((&*task.queue, &*task.idempotency_key), ("", "user:1"));
        let terms = task.terms.unwrap();
        assert_eq!(terms.delivery(), v1::DeliveryMode::AtMostOnce);
        assert_eq!(terms.follow_ups.unwrap().on_failure.unwrap().queue, "ops");
        let unique = task.unique.unwrap();
        assert_eq!(unique.on_conflict(), v1::ConflictAction::Reject);
        assert_eq!(
            (task.then[0].kind.as_str(), task.schema_version),
            ("next", 2)
        );
    }

    #[test]
    fn any_json_value_can_be_a_payload_and_is_sent_as_it_was_written() {
        for payload in [
            "{\"to\": \"ada\"}",
            "[1, 2]",
            "\"text\"",
            "123456789012345678901234567890",
        ] {
            let line = format!("{{\"queue\":\"q\",\"kind\":\"k\",\"payload\":{payload}}}");
            let sent = read_task(line.as_bytes()).unwrap().payload.unwrap();
            assert_eq!(sent.content_type, "application/json");
            assert_eq!(sent.data, payload.as_bytes());
        }
        let none = task(&json!({ "queue": "q", "kind": "k", "payload": null })).unwrap();
        assert_eq!(none.payload, None);
    }

    #[test]
    fn only_data_with_its_content_type_is_a_payload_message() {
        let of = |payload: Value| {
            let task = json!({ "queue": "q", "kind": "k", "payload": payload });
            read_task(task.to_string().as_bytes()).map(|task| task.payload.unwrap())
        };
        let message = of(json!({ "data": "aGk=", "contentType": "text/plain" })).unwrap();
        assert_eq!(
            (&message.data[..], message.content_type.as_str()),
            (&b"hi"[..], "text/plain")
        );
        assert_eq!(
            &of(json!({ "data": "aGk=", "contentType": "" }))
                .unwrap()
                .data[..],
            b"hi"
        );
        assert_eq!(
            &of(json!({ "data": "aGk=" })).unwrap().data[..],
            br#"{"data":"aGk="}"#
        );
        assert!(of(json!({ "data": "not base64!", "contentType": "" })).is_err());
    }

    #[test]
    fn a_bad_line_says_what_is_wrong_and_the_next_one_is_read() {
        let text =
            b"{\"queue\":\"q\",\"kind\":\"k\"}\n\nnonsense\n{\"queue\":\"q\",\"kind\":\"k\",\
                     \"quue\":1}\n{\"queue\":\"q\"}\n[]\n{\"queue\":\"q\",\"kind\":\"k\"}";
        let read = lines(text);
        let numbers: Vec<u64> = read.iter().map(|line| line.number).collect();
        assert_eq!(numbers, [1, 3, 4, 5, 6, 7]);
        let problem = |index: usize| read[index].task.clone().unwrap_err();
        assert!(problem(1).contains("no JSON object"), "{}", problem(1));
        assert!(problem(2).contains("quue"), "{}", problem(2));
        assert!(problem(3).starts_with("kind: is missing"), "{}", problem(3));
        assert!(problem(4).contains("object"), "{}", problem(4));
        assert!(read[0].task.is_ok() && read[5].task.is_ok());
        assert_eq!(read[5].read_bytes, u64::try_from(text.len()).unwrap());
    }

    #[test]
    fn a_line_that_is_too_long_is_refused_and_skipped_in_bounded_memory() {
        let mut text = vec![b'x'; 3 * LINE_BYTES_MAX];
        text.extend_from_slice(b"\n{\"queue\":\"q\",\"kind\":\"k\"}\n");
        let mut lines = Lines::new(text.as_slice());
        let first = lines.next_line().unwrap().unwrap();
        assert!(first.task.unwrap_err().contains("limit"));
        assert!(lines.buffer.capacity() <= 2 * LINE_BYTES_MAX);
        let second = lines.next_line().unwrap().unwrap();
        assert_eq!((second.number, second.task.is_ok()), (2, true));
        assert_eq!(lines.next_line().unwrap(), None);
    }
}
