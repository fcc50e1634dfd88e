//! Fuzzed words and tokens: what is accepted as an id, a name, a token or a time is what it is when
//! it is written again.

use prost_types::{Duration, Timestamp as ProtoTimestamp};

use crate::engine::ids::{LeaseToken, QueueName, SessionId, ShardId, TaskId, Timestamp};
use crate::engine::limits;
use crate::fuzz::{Target, run};
use crate::server::convert::page::{
    ListOf, NamesOf, name_cursor, name_token, task_cursor, task_token,
};
use crate::server::convert::{At, InvalidRequest, field};

/// Bytes of a refusal, at most: it repeats few characters of what was sent.
const REFUSAL_BYTES_MAX: usize = 512;

/// What was parsed, or nothing after a refusal in few words.
fn accepted<T>(parsed: Result<T, InvalidRequest>) -> Option<T> {
    parsed
        .inspect_err(|refused| {
            let told = refused.to_string();
            assert!(told.len() < REFUSAL_BYTES_MAX, "{told}");
        })
        .ok()
}

fn names(text: &str) {
    let root = At::Root;
    let at = root.field("name");
    if let Some(id) = accepted(field::task_id(text, at)) {
        assert_eq!(TaskId::parse(&id.to_string()), Some(id));
        assert_eq!(TaskId::from_bytes(id.to_bytes()), Some(id));
        let (made_at, shard) = (id.made_at(), id.shard());
        assert!(made_at <= TaskId::MAX.made_at() && shard <= ShardId(4095));
    }
    if let Some(session) = SessionId::parse(text) {
        assert_eq!(SessionId::parse(&session.to_string()), Some(session));
    }
    if let Some(queue) = accepted(field::queue("default", text, at)) {
        assert_eq!(QueueName::parse(queue.as_str()), Ok(queue.clone()));
        assert_eq!((queue.namespace(), queue.queue()), ("default", text));
        assert!(queue.shard(16) < ShardId(16));
    }
    if let Ok(queue) = QueueName::parse(text) {
        assert_eq!(queue.as_str(), text);
    }
    if let Some(name) = accepted(field::namespace(text, at)) {
        assert!(!name.is_empty() && name.len() <= limits::NAME_BYTES_MAX);
    }
    if let Some(Some(key)) = accepted(field::optional_key(text, 128, at)) {
        assert!(key.len() <= 128 && !key.chars().any(char::is_control));
    }
    assert!(field::quoted(text).len() < REFUSAL_BYTES_MAX);
}

fn cursors(text: &str) {
    for list in [ListOf::Tasks, ListOf::DeadLetters] {
        if let Some(Some(cursor)) = accepted(task_cursor(text, list)) {
            assert_eq!(task_cursor(&task_token(&cursor), list), Ok(Some(cursor)));
        }
    }
    for list in [NamesOf::Queues, NamesOf::Kinds] {
        if let Some(Some(name)) = accepted(name_cursor(text, list)) {
            assert_eq!(name_cursor(&name_token(&name, list), list), Ok(Some(name)));
        }
    }
}

fn tokens(bytes: &[u8]) {
    let root = At::Root;
    if let Some(token) = accepted(field::token(bytes, root.field("lease_token"))) {
        assert_eq!(token.to_bytes().as_slice(), bytes);
        assert_eq!(LeaseToken::parse(bytes), Some(token));
    }
}

fn times(bytes: &[u8]) {
    let Some((seconds, rest)) = bytes.split_first_chunk() else {
        return;
    };
    let Some((nanos, rest)) = rest.split_first_chunk() else {
        return;
    };
    let (seconds, nanos) = (i64::from_le_bytes(*seconds), i32::from_le_bytes(*nanos));
    let ms_max = rest
        .first_chunk()
        .map_or(u64::MAX, |max| u64::from_le_bytes(*max));
    let root = At::Root;
    let at = root.field("time");
    if let Some(ms) = accepted(field::duration_ms(&Duration { seconds, nanos }, ms_max, at)) {
        assert!(ms <= ms_max);
        let again = field::duration_ms(&field::duration(ms), u64::MAX, at);
        assert_eq!(again, Ok(ms), "a duration of whole milliseconds stays");
    }
    if let Some(instant) = accepted(field::instant(&ProtoTimestamp { seconds, nanos }, at)) {
        assert_eq!(field::instant(&field::timestamp(instant), at), Ok(instant));
    }
    assert!(field::span(ms_max).len() < 64);
    let later = Timestamp(ms_max).plus_ms(ms_max);
    assert!(later >= Timestamp(ms_max) && later.since_ms(Timestamp(ms_max)) <= ms_max);
}

fn check(input: &[u8]) {
    let Some((kind, rest)) = input.split_first() else {
        return;
    };
    match kind % 4 {
        0 => tokens(rest),
        1 => times(rest),
        _ => {
            let text = String::from_utf8_lossy(rest);
            names(&text);
            cursors(&text);
        }
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let id = TaskId::new(Timestamp(1_800_000_000_000), ShardId(3), 9);
    let queue = QueueName::new("team-a", "mail").unwrap();
    let token = LeaseToken {
        task: id,
        fence: crate::engine::ids::Fence::new(1_800_000_000, 1),
        nonce: 7,
    };
    let dead = crate::engine::command::Cursor::Dead {
        shard: ShardId(3),
        queue: queue.clone(),
        at: Timestamp(5),
        id,
    };
    let task = crate::engine::command::Cursor::Task {
        shard: ShardId(3),
        id,
    };
    let words = [
        id.to_string(),
        SessionId(1 << 100).to_string(),
        queue.to_string(),
        task_token(&dead),
        task_token(&task),
        name_token(&queue, NamesOf::Queues),
        name_token(&queue, NamesOf::Kinds),
        "mail.send".to_owned(),
    ];
    let word = |word: &String| [b"\x02", word.as_bytes()].concat();
    let mut seeds: Vec<Vec<u8>> = words.iter().map(word).collect();
    seeds.push([b"\x00", &token.to_bytes()[..]].concat());
    for (seconds, nanos) in [
        (1_i64, 500_000_000_i32),
        (-1, 0),
        (253_402_300_799, 999_999_999),
    ] {
        let parts = [&seconds.to_le_bytes()[..], &nanos.to_le_bytes(), &[0xff; 8]];
        seeds.push([b"\x01", parts.concat().as_slice()].concat());
    }
    seeds
}

#[test]
fn words_tokens_and_times_are_refused_or_stay_what_they_are() {
    let target = Target {
        corpus: "fuzz/text",
        tries: 20_000,
        seeds,
    };
    run(&target, check);
}
