//! What lists and bulk acts select, and where a list goes on.
//!
//! Owns the format of page tokens: opaque to callers, good for as long as the data directory is.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use redrive_proto::v1 as pb;

use super::field::{At, Parsed, namespace, optional_queue};
use crate::engine::command::{Cursor, Selection};
use crate::engine::ids::{QueueName, ShardId, TaskId, Timestamp};
use crate::engine::limits;
use crate::server::filter::{self, Query};

/// The first byte of a token: what follows, and in which version of this format.
const TAG_TASK: u8 = 1;
const TAG_DEAD: u8 = 2;
const TAG_QUEUE: u8 = 3;
const TAG_KIND: u8 = 4;

/// A selection whose filter may still have to be told the time.
#[derive(Clone, Debug)]
pub(crate) struct Selected {
    namespace: std::sync::Arc<str>,
    queue: Option<QueueName>,
    query: Query,
}

impl Selected {
    /// Whether the filter speaks of ages, so that the engine's clock is needed.
    pub(crate) fn needs_clock(&self) -> bool {
        self.query.needs_clock()
    }

    /// The selection as it is at this instant.
    pub(crate) fn at(self, now: Timestamp) -> Selection {
        Selection {
            namespace: self.namespace,
            queue: self.queue,
            filter: self.query.at(now),
        }
    }
}

/// What a list or bulk act selects; unset means everything of the default namespace.
pub(crate) fn selection(value: Option<pb::Selection>) -> Parsed<Selected> {
    let value = value.unwrap_or_default();
    let root = At::Root;
    let at = root.field("selection");
    let namespace = namespace(&value.namespace, at.field("namespace"))?;
    let queue = optional_queue(&namespace, &value.queue, at.field("queue"))?;
    let query =
        filter::parse(&value.filter).map_err(|problem| at.field("filter").refuse(problem))?;
    Ok(Selected {
        namespace,
        queue,
        query,
    })
}

/// How many a page; 0 means the default.
pub(crate) fn page_size(value: u32) -> Parsed<usize> {
    let root = At::Root;
    let max = u32::try_from(limits::PAGE_SIZE_MAX).unwrap_or(u32::MAX);
    let default = u32::try_from(limits::PAGE_SIZE_DEFAULT).unwrap_or(max);
    let size = super::field::count(value, default, max, root.field("page_size"))?;
    Ok(usize::try_from(size).unwrap_or(limits::PAGE_SIZE_MAX))
}

/// Which list a page token belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ListOf {
    /// Tasks by id.
    Tasks,
    /// Dead letters by queue and time of death.
    DeadLetters,
}

/// The token of the page that begins after this cursor.
pub(crate) fn task_token(cursor: &Cursor) -> String {
    let mut bytes = Vec::with_capacity(64);
    match cursor {
        Cursor::Task { shard, id } => {
            bytes.push(TAG_TASK);
            bytes.extend(shard.0.to_be_bytes());
            bytes.extend(id.to_bytes());
        }
        Cursor::Dead {
            shard,
            queue,
            at,
            id,
        } => {
            bytes.push(TAG_DEAD);
            bytes.extend(shard.0.to_be_bytes());
            bytes.extend(id.to_bytes());
            bytes.extend(at.0.to_be_bytes());
            bytes.extend(queue.as_str().bytes());
        }
    }
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Where a page of tasks begins; `None` for the first one.
pub(crate) fn task_cursor(token: &str, list: ListOf) -> Parsed<Option<Cursor>> {
    if token.is_empty() {
        return Ok(None);
    }
    let cursor = decode(token).and_then(|bytes| read_cursor(&bytes));
    let fits = cursor.filter(|cursor| match cursor {
        Cursor::Task { .. } => list == ListOf::Tasks,
        Cursor::Dead { .. } => list == ListOf::DeadLetters,
    });
    fits.map(Some).ok_or_else(foreign)
}

/// Which list of names a page token belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NamesOf {
    /// Queues.
    Queues,
    /// Kinds.
    Kinds,
}

impl NamesOf {
    const fn tag(self) -> u8 {
        match self {
            Self::Queues => TAG_QUEUE,
            Self::Kinds => TAG_KIND,
        }
    }
}

/// The token of the page of names that begins after this one.
pub(crate) fn name_token(name: &QueueName, list: NamesOf) -> String {
    let mut bytes = vec![list.tag()];
    bytes.extend(name.as_str().bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Where a page of names begins; `None` for the first one.
pub(crate) fn name_cursor(token: &str, list: NamesOf) -> Parsed<Option<QueueName>> {
    if token.is_empty() {
        return Ok(None);
    }
    let bytes = decode(token).unwrap_or_default();
    match bytes.split_first() {
        Some((&tag, name)) if tag == list.tag() => read_queue(name).map(Some).ok_or_else(foreign),
        Some(_) | None => Err(foreign()),
    }
}

fn foreign() -> super::InvalidRequest {
    let root = At::Root;
    root.field("page_token").refuse(
        "is not a token of this list: send back next_page_token as it came, or leave it empty",
    )
}

fn decode(token: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(token).ok()
}

fn read_cursor(bytes: &[u8]) -> Option<Cursor> {
    let (&tag, rest) = bytes.split_first()?;
    let (shard, rest) = rest.split_first_chunk()?;
    let (id, rest) = rest.split_first_chunk()?;
    let shard = ShardId(u16::from_be_bytes(*shard));
    let id = TaskId::from_bytes(*id);
    match tag {
        TAG_TASK if rest.is_empty() => {
            // A scan that stopped before a shard's first id names the least id of all.
            let least = TaskId::MIN.to_bytes() == bytes.get(3..19)?;
            Some(Cursor::Task {
                shard,
                id: if least { TaskId::MIN } else { id? },
            })
        }
        TAG_DEAD => {
            let (at, name) = rest.split_first_chunk()?;
            let at = Timestamp(u64::from_be_bytes(*at));
            Some(Cursor::Dead {
                shard,
                queue: read_queue(name)?,
                at,
                id: id?,
            })
        }
        _ => None,
    }
}

fn read_queue(bytes: &[u8]) -> Option<QueueName> {
    let (namespace, queue) = std::str::from_utf8(bytes).ok()?.split_once('/')?;
    QueueName::new(namespace, queue).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> TaskId {
        TaskId::new(Timestamp(77), ShardId(3), 9)
    }

    #[test]
    fn tokens_bring_back_the_cursor_of_their_own_list() {
        let queue = QueueName::new("default", "mail").unwrap();
        let task = Cursor::Task {
            shard: ShardId(3),
            id: id(),
        };
        let least = Cursor::Task {
            shard: ShardId(4),
            id: TaskId::MIN,
        };
        let dead = Cursor::Dead {
            shard: ShardId(3),
            queue,
            at: Timestamp(5),
            id: id(),
        };
        for (cursor, list, other) in [
            (task, ListOf::Tasks, ListOf::DeadLetters),
            (least, ListOf::Tasks, ListOf::DeadLetters),
            (dead, ListOf::DeadLetters, ListOf::Tasks),
        ] {
            let token = task_token(&cursor);
            assert_eq!(task_cursor(&token, list), Ok(Some(cursor)));
            assert_eq!(task_cursor(&token, other).unwrap_err().field, "page_token");
        }
        assert_eq!(task_cursor("", ListOf::Tasks), Ok(None));
    }

    #[test]
    fn a_token_of_queues_brings_back_the_name() {
        let queue = QueueName::new("team-a", "mail").unwrap();
        assert_eq!(
            name_cursor(&name_token(&queue, NamesOf::Queues), NamesOf::Queues),
            Ok(Some(queue))
        );
        assert_eq!(name_cursor("", NamesOf::Queues), Ok(None));
    }

    #[test]
    fn every_cut_and_every_foreign_token_is_refused() {
        let queue = QueueName::new("default", "mail").unwrap();
        let token = task_token(&Cursor::Task {
            shard: ShardId(3),
            id: id(),
        });
        for end in 1..token.len() {
            assert!(
                task_cursor(&token[..end], ListOf::Tasks).is_err(),
                "{end} characters"
            );
        }
        for foreign in [
            "x",
            "%%%",
            "AA",
            name_token(&queue, NamesOf::Queues).as_str(),
            &"A".repeat(100_000),
        ] {
            let refused = task_cursor(foreign, ListOf::Tasks).unwrap_err();
            assert_eq!(refused.field, "page_token");
            assert!(refused.to_string().len() < 200);
        }
        assert!(name_cursor(&token, NamesOf::Queues).is_err());
    }

    #[test]
    fn page_sizes_have_a_default_and_a_limit() {
        assert_eq!(page_size(0), Ok(50));
        assert_eq!(page_size(1000), Ok(1000));
        assert_eq!(
            page_size(1001).unwrap_err().to_string(),
            "page_size is 1001, at most 1000 is allowed"
        );
    }

    #[test]
    fn a_bad_filter_is_the_selections() {
        let filter = "kinds = x".to_owned();
        let refused = selection(Some(pb::Selection {
            filter,
            ..Default::default()
        }))
        .unwrap_err();
        assert_eq!(refused.field, "selection.filter");
        let queue = "a b".to_owned();
        let refused = selection(Some(pb::Selection {
            queue,
            ..Default::default()
        }))
        .unwrap_err();
        assert_eq!(refused.field, "selection.queue");
    }
}
