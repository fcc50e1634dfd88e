//! The limits that the client keeps to or checks, by name.
//!
//! They repeat what the protos say, so that a mistake is told before it costs a round trip. The
//! coordinator has the last word: its own limits can be lower (see `GetServerInfo`).

use std::time::Duration;

/// The most bytes of one gRPC message, each way.
pub const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The most bytes of tasks that the client puts into one message; leaves room for the rest.
pub const BATCH_BYTES_MAX: usize = 3 * 1024 * 1024;

/// The most tasks in one `EnqueueTasks` call or one `EnqueueStream` message.
pub const BATCH_TASKS_MAX: usize = 1_000;

/// The most items of an enqueue stream that are not acknowledged yet; sending waits there.
pub const UNACKNOWLEDGED_MAX: usize = 4_096;

/// The most bytes of tasks of an enqueue stream that are not acknowledged yet.
pub const UNACKNOWLEDGED_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How long an enqueue stream with unacknowledged items may hear nothing before it counts as cut.
pub const ACK_SILENCE_MAX: Duration = Duration::from_secs(60);

/// The longest that one `WaitTask` call waits.
pub const WAIT_SLICE_MAX: Duration = Duration::from_secs(60);

/// How many entries the streams over lists ask for a page.
pub const STREAM_PAGE_SIZE: u32 = 100;

/// The most bytes of a task's payload.
pub const PAYLOAD_BYTES_MAX: usize = 1_048_576;

/// The most bytes of a payload's content type.
pub const CONTENT_TYPE_BYTES_MAX: usize = 128;

/// The most characters of a queue's, kind's, namespace's or label key's name.
pub const NAME_CHARS_MAX: usize = 128;

/// The most labels of a task.
pub const LABELS_MAX: usize = 16;

/// The most bytes of a label's value.
pub const LABEL_VALUE_BYTES_MAX: usize = 256;

/// The longest delay before a task may start.
pub const DELAY_MAX: Duration = Duration::from_secs(3_650 * 24 * 3_600);

/// The shortest soft or hard timeout.
pub const TIMEOUT_MIN: Duration = Duration::from_millis(1);

/// The longest hard timeout.
pub const HARD_TIMEOUT_MAX: Duration = Duration::from_secs(30 * 24 * 3_600);

/// The most bytes of a retry policy's name.
pub const POLICY_NAME_BYTES_MAX: usize = 128;

/// The most bytes of a retry policy's description.
pub const POLICY_DESCRIPTION_BYTES_MAX: usize = 1_024;

/// The most rules of a retry policy.
pub const POLICY_RULES_MAX: usize = 32;

/// The most bytes of a retry rule's id.
pub const RULE_ID_BYTES_MAX: usize = 64;

/// The most error types that a retry rule names, and the most that it excludes.
pub const RULE_ERROR_TYPES_MAX: usize = 32;

/// The longest that a heartbeat may extend a hard timeout to.
pub const EXTEND_MAX_MAX: Duration = HARD_TIMEOUT_MAX;

/// The shortest ttl, deadline or aging.
pub const SPAN_MIN: Duration = Duration::from_millis(1);

/// The longest ttl or deadline of a task.
pub const LIFE_MAX: Duration = DELAY_MAX;

/// The longest that an ended task is kept with its result.
pub const RESULT_TTL_MAX: Duration = Duration::from_secs(30 * 24 * 3_600);

/// The most bytes of an idempotency key or a unique key.
pub const KEY_BYTES_MAX: usize = 256;

/// The shortest time that an idempotency key or a request id is remembered.
pub const MEMORY_MIN: Duration = Duration::from_secs(1);

/// The longest time that an idempotency key is remembered.
pub const IDEMPOTENCY_WINDOW_MAX: Duration = Duration::from_secs(30 * 24 * 3_600);

/// The most bytes of a request id.
pub const REQUEST_ID_BYTES_MAX: usize = 128;

/// The longest time that a request id is remembered.
pub const REQUEST_TTL_MAX: Duration = Duration::from_secs(24 * 3_600);

/// How much longer than a call may take the coordinator is asked to remember an id that the client
/// made for it: what was sent last may arrive late.
pub const REQUEST_TTL_MARGIN: Duration = Duration::from_secs(5);

/// The most bytes of the name of who acts.
pub const ACTOR_BYTES_MAX: usize = 128;

/// The most tasks that a chain goes on with.
pub const THEN_MAX: usize = 32;

/// The most bytes of a follow-up's own payload.
pub const FOLLOW_UP_PAYLOAD_BYTES_MAX: usize = 16_384;

/// The longest that a handler may be given to stop by itself.
pub const GRACE_MAX: Duration = Duration::from_secs(24 * 3_600);

/// The longest step of a queue's priority aging.
pub const AGING_MAX: Duration = Duration::from_secs(24 * 3_600);

/// The most ended tasks that a queue keeps.
pub const FINISHED_MAX_MAX: u32 = 100_000;

/// The most bytes of a reason given for people.
pub const REASON_BYTES_MAX: usize = 256;
