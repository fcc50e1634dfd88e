//! Who asks, what makes asking twice harmless, and which task is meant.
//!
//! Owns the metadata key of the actor, the bounds of request ids, and the digest of a request: of
//! what it says as it was sent, but that the default namespace and priority may be left unsaid.
//! Never knows what a repeated request is answered.

use std::sync::Arc;

use prost::Message;
use prost_types::Duration;
use redrive_proto::v1 as pb;
use tonic::metadata::MetadataMap;

use super::field::{At, NAMESPACE_DEFAULT, Parsed, bounded_ms, key, namespace, optional_key};
use super::field::{queue, task_id};
use crate::engine::command::{Caller, Once, TaskRef};
use crate::engine::limits;

/// The metadata in which a caller says who they are.
pub(crate) const ACTOR_KEY: &str = "redrive-actor";
/// The same as refusals name it.
const ACTOR_PATH: &str = "metadata.redrive-actor";
/// Bytes of a request id.
pub(crate) const REQUEST_ID_BYTES_MAX: usize = 128;
/// Least milliseconds that a request id is remembered.
pub(crate) const REQUEST_TTL_MS_MIN: u64 = 1000;

/// Who asks, as they say; empty where they do not.
pub(crate) fn actor(metadata: &MetadataMap) -> Parsed<Arc<str>> {
    let root = At::Root;
    let at = root.field(ACTOR_PATH);
    let Some(value) = metadata.get(ACTOR_KEY) else {
        return Ok(Arc::default());
    };
    let text = std::str::from_utf8(value.as_encoded_bytes())
        .map_err(|problem| at.refuse(format_args!("is not UTF-8: {problem}")))?;
    let said = optional_key(text, limits::ACTOR_BYTES_MAX, at)?;
    Ok(said.unwrap_or_default())
}

/// A request that can be made twice and is done once.
pub(crate) trait Repeatable: Message {
    /// Its call's name: the same id on another call is another request.
    const RPC: &'static str;

    /// Takes the id out of it, and for how long that is remembered.
    fn take_id(&mut self) -> (String, Option<Duration>);
    /// Where it names the namespace that the id is known in, if it can.
    fn namespace_mut(&mut self) -> Option<&mut String>;
    /// The tasks that it brings.
    fn tasks_mut(&mut self) -> &mut [pb::TaskSpec] {
        &mut []
    }
}

/// Who asks, and the id of the request, which is taken out of it.
pub(crate) fn caller<R: Repeatable>(by: Arc<str>, request: &mut R) -> Parsed<Caller> {
    let root = At::Root;
    let (id, ttl) = request.take_id();
    let id = optional_key(&id, REQUEST_ID_BYTES_MAX, root.field("request_id"))?;
    let at_ttl = root.field("request_ttl");
    let bounds = (REQUEST_TTL_MS_MIN, limits::REQUEST_TTL_MS_MAX);
    let ttl_ms = bounded_ms(ttl.as_ref(), bounds, at_ttl)?;
    let Some(id) = id else {
        return match ttl_ms {
            Some(_) => Err(at_ttl.refuse("is set without a request_id: set both or neither")),
            None => Ok(Caller { by, once: None }),
        };
    };
    // A namespace that is none is refused where the request is parsed.
    let namespace = request.namespace_mut().map(|named| {
        if named.is_empty() {
            NAMESPACE_DEFAULT.clone_into(named);
        }
        Arc::from(named.as_str())
    });
    request.tasks_mut().iter_mut().for_each(spell_out);
    let once = Once {
        namespace: namespace.unwrap_or_else(|| NAMESPACE_DEFAULT.into()),
        id,
        ttl_ms: ttl_ms.unwrap_or(limits::REQUEST_TTL_MS_DEFAULT),
        digest: digest_of([R::RPC.as_bytes(), &request.encode_to_vec()]),
    };
    Ok(Caller {
        by,
        once: Some(Box::new(once)),
    })
}

/// Says what a task that leaves its priority unsaid means, so that both have one digest.
pub(crate) fn spell_out(spec: &mut pb::TaskSpec) {
    if spec.priority == i32::from(pb::Priority::Unspecified) {
        spec.priority = pb::Priority::Normal.into();
    }
}

/// A digest of 64 bits of these parts: FNV-1a over words of 8 bytes, little-endian, the last one of
/// each part filled up with zeros, and its length behind it; the high half is folded into the low one
/// after each word, for the multiplication carries upwards only. What it makes is remembered in the
/// journal: it never changes.
pub(crate) fn digest_of<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> u64 {
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let mix = |hash: u64, word: u64| {
        let hash = (hash ^ word).wrapping_mul(PRIME);
        hash ^ (hash >> 32)
    };
    parts.into_iter().fold(0xcbf2_9ce4_8422_2325, |hash, part| {
        let (words, rest) = part.as_chunks::<8>();
        let words = words.iter().map(|word| u64::from_le_bytes(*word));
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        let tail = [u64::from_le_bytes(last), part.len() as u64];
        words.chain(tail).fold(hash, mix)
    })
}

/// The task that a request is about: by its id or by its idempotency key, not both.
pub(crate) fn task_ref(id: &str, by_key: Option<&pb::TaskKey>) -> Parsed<TaskRef> {
    let root = At::Root;
    match (id, by_key) {
        ("", None) => Err(root
            .field("task_id")
            .refuse("is required, or task_key in its place")),
        (id, None) => task_id(id, root.field("task_id")).map(TaskRef::Id),
        ("", Some(given)) => task_key(given, root.field("task_key")),
        (_, Some(_)) => Err(root
            .field("task_key")
            .refuse("is set beside task_id: name the task by one of them")),
    }
}

fn task_key(value: &pb::TaskKey, at: At<'_>) -> Parsed<TaskRef> {
    let namespace = namespace(&value.namespace, at.field("namespace"))?;
    let at_key = at.field("idempotency_key");
    Ok(TaskRef::Key {
        queue: queue(&namespace, &value.queue, at.field("queue"))?,
        key: key(&value.idempotency_key, limits::KEY_BYTES_MAX, at_key)?,
    })
}

/// Requests that name their namespace themselves.
macro_rules! repeatable {
    ($($request:ident = $rpc:literal $(bringing $tasks:ident)?),* $(,)?) => {$(
        impl Repeatable for pb::$request {
            const RPC: &'static str = $rpc;

            fn take_id(&mut self) -> (String, Option<Duration>) {
                (std::mem::take(&mut self.request_id), self.request_ttl.take())
            }

            fn namespace_mut(&mut self) -> Option<&mut String> {
                Some(&mut self.namespace)
            }

            $(fn tasks_mut(&mut self) -> &mut [pb::TaskSpec] {
                self.$tasks.as_mut_slice()
            })?
        }
    )*};
}

/// Requests about one task, by its id or its key.
macro_rules! repeatable_of_task {
    ($($request:ident = $rpc:literal),* $(,)?) => {$(
        impl Repeatable for pb::$request {
            const RPC: &'static str = $rpc;

            fn take_id(&mut self) -> (String, Option<Duration>) {
                (std::mem::take(&mut self.request_id), self.request_ttl.take())
            }

            fn namespace_mut(&mut self) -> Option<&mut String> {
                self.task_key.as_mut().map(|key| &mut key.namespace)
            }
        }
    )*};
}

repeatable! {
    EnqueueTaskRequest = "EnqueueTask" bringing task,
    EnqueueTasksRequest = "EnqueueTasks" bringing tasks,
    UpdateQueueRequest = "UpdateQueue",
    PauseQueueRequest = "PauseQueue",
    ResumeQueueRequest = "ResumeQueue",
    SetKindRequest = "SetKind",
    DeleteKindRequest = "DeleteKind",
    DrainWorkersRequest = "DrainWorkers",
}

repeatable_of_task! {
    CancelTaskRequest = "CancelTask",
    UpdateTaskRequest = "UpdateTask",
    RedriveTaskRequest = "RedriveTask",
    DiscardTaskRequest = "DiscardTask",
}

#[cfg(test)]
mod tests;
