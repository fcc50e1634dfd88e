//! Canonical proto3 JSON, both ways, by the descriptors that ship in `redrive-proto`.
//!
//! Pure. A message is encoded and decoded again as a dynamic one: what is printed is what the
//! protocol says, with its names, and needs no second definition.

use std::sync::LazyLock;

use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};
use redrive_proto::{DESCRIPTOR, v1};
use serde_json::Value;

static POOL: LazyLock<Result<DescriptorPool, String>> =
    LazyLock::new(|| DescriptorPool::decode(DESCRIPTOR).map_err(|error| error.to_string()));

/// A message of the protocol whose name is known.
pub(crate) trait ProtoJson: Message + Default {
    /// Its full name in the protos.
    const NAME: &'static str;
}

macro_rules! proto_json {
    ($($message:ident),* $(,)?) => {
        $(impl ProtoJson for v1::$message {
            const NAME: &'static str = concat!("redrive.v1.", stringify!($message));
        })*
        #[cfg(test)]
        const NAMES: &[&str] = &[$(<v1::$message as ProtoJson>::NAME),*];
    };
}

proto_json![
    CancelTaskResponse,
    CancelTasksResponse,
    DeleteKindResponse,
    DiscardDeadLettersResponse,
    DiscardTaskResponse,
    DrainWorkersResponse,
    EnqueueAck,
    EnqueueTaskResponse,
    Event,
    GetDeadLetterResponse,
    GetKindResponse,
    GetQueueResponse,
    GetRetryPolicyResponse,
    GetServerInfoResponse,
    GetTaskResponse,
    Kind,
    ListDeadLettersResponse,
    ListKindsResponse,
    ListQueuesResponse,
    ListRetryPoliciesResponse,
    ListTasksResponse,
    ListWorkersResponse,
    PauseQueueResponse,
    PreviewRetryPolicyResponse,
    PreviewStep,
    Queue,
    RedriveDeadLettersResponse,
    RedriveTaskResponse,
    ResumeQueueResponse,
    RetryPolicy,
    SetKindResponse,
    Task,
    TaskSpec,
    UpdateQueueResponse,
    UpdateTaskResponse,
    WaitTaskResponse,
    WatchEventsResponse,
    Worker,
];

/// A message as JSON, indented.
pub(crate) fn pretty<M: ProtoJson>(message: &M) -> anyhow::Result<String> {
    Ok(serde_json::to_string_pretty(&dynamic(message)?)?)
}

/// A message as JSON on one line.
pub(crate) fn line<M: ProtoJson>(message: &M) -> anyhow::Result<String> {
    Ok(serde_json::to_string(&dynamic(message)?)?)
}

/// A message from proto3 JSON. Unknown fields are refused.
pub(crate) fn read<M: ProtoJson>(value: Value) -> anyhow::Result<M> {
    let dynamic = DynamicMessage::deserialize(descriptor::<M>()?, value)?;
    Ok(dynamic.transcode_to()?)
}

fn dynamic<M: ProtoJson>(message: &M) -> anyhow::Result<DynamicMessage> {
    Ok(DynamicMessage::decode(
        descriptor::<M>()?,
        message.encode_to_vec().as_slice(),
    )?)
}

fn descriptor<M: ProtoJson>() -> anyhow::Result<MessageDescriptor> {
    let pool = POOL
        .as_ref()
        .map_err(|error| anyhow::anyhow!("the descriptors: {error}"))?;
    pool.get_message_by_name(M::NAME)
        .ok_or_else(|| anyhow::anyhow!("the descriptors have no message {}", M::NAME))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_that_is_printed_is_in_the_descriptors() {
        let pool = POOL.as_ref().unwrap();
        for name in NAMES {
            assert!(pool.get_message_by_name(name).is_some(), "{name}");
        }
    }

    #[test]
    fn json_is_canonical() {
        let task = v1::Task {
            task_id: "id".to_owned(),
            state: v1::TaskState::Dead.into(),
            fence: u64::MAX,
            enqueue_time: Some(prost_types::Timestamp {
                seconds: 0,
                nanos: 500_000_000,
            }),
            effective_timeouts: Some(v1::Timeouts {
                soft: Some(prost_types::Duration {
                    seconds: 1,
                    nanos: 500_000_000,
                }),
                hard: None,
                ..Default::default()
            }),
            ..Default::default()
        };
        let json: Value = serde_json::from_str(&line(&task).unwrap()).unwrap();
        let wanted = serde_json::json!({
            "taskId": "id",
            "state": "TASK_STATE_DEAD",
            "fence": "18446744073709551615",
            "enqueueTime": "1970-01-01T00:00:00.500Z",
            "effectiveTimeouts": { "soft": "1.500s" },
        });
        assert_eq!(json, wanted);
        assert_eq!(read::<v1::Task>(json).unwrap(), task);
    }

    #[test]
    fn an_unknown_field_is_refused_by_name() {
        let error = read::<v1::TaskSpec>(serde_json::json!({ "quue": "mail" })).unwrap_err();
        assert!(error.to_string().contains("quue"), "{error}");
    }
}
