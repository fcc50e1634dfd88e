//! Every bound of the coordinator, named, with its unit last (I9).
//!
//! Owns the numbers and the relations between them, which are checked when the crate is compiled.
//! Workers and clients learn the ones that concern them from GetServerInfo and Welcome.

/// Bytes of a queue, kind, namespace, worker id or label key.
pub const NAME_BYTES_MAX: usize = 128;
/// Bytes of a task's payload.
pub const PAYLOAD_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of a result or a checkpoint.
pub const RESULT_BYTES_MAX: usize = 256 * 1024;
/// Bytes of a content type.
pub const CONTENT_TYPE_BYTES_MAX: usize = 128;
/// Texts that a shard remembers, so that tasks with equal ones share them.
pub const SHARED_TEXTS_MAX: usize = 4096;
/// Bytes up to which a payload is copied where it is kept.
pub const PAYLOAD_COPIED_BYTES_MAX: usize = 1024;
/// Labels of a task.
pub const LABELS_MAX: usize = 16;
/// Bytes of a label's value.
pub const LABEL_VALUE_BYTES_MAX: usize = 256;
/// Bytes of a reason or another short text for people.
pub const REASON_BYTES_MAX: usize = 256;
/// Bytes of a failure's message as reported.
pub const FAILURE_MESSAGE_BYTES_MAX: usize = 4096;
/// Bytes of a failure's message as kept in each run of the history.
pub const HISTORY_MESSAGE_BYTES_MAX: usize = 256;
/// Bytes of a failure's stack as reported.
pub const STACK_BYTES_MAX: usize = 64 * 1024;
/// Bytes of the one stack that is kept, the latest failure's.
pub const STACK_KEPT_BYTES_MAX: usize = 8 * 1024;
/// Bytes of an error type.
pub const ERROR_TYPE_BYTES_MAX: usize = 256;
/// Ancestors of an error type.
pub const ANCESTORS_MAX: usize = 16;
/// Runs kept from the beginning of a task's life, and as many from its end.
pub const HISTORY_RUNS_MAX: usize = 8;
/// Tasks, reports or tokens of one message or call.
pub const BATCH_ITEMS_MAX: usize = 1000;
/// Bytes of one message in either direction.
pub const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes of deliveries that are put into one message before another is begun.
pub const DELIVERY_BATCH_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of tasks in one answer to a call that leases; one task is always given.
pub const UNARY_ANSWER_BYTES_MAX: u64 = 2 * 1024 * 1024;
/// Deliveries put into one message.
pub const DELIVERY_BATCH_ITEMS_MAX: usize = 256;
/// Items of an enqueue stream that are not acknowledged yet.
pub const ENQUEUE_STREAM_UNACKED_MAX: usize = 4096;

/// Milliseconds that a task may be delayed or deferred: 3,650 days.
pub const DELAY_MS_MAX: u64 = 3650 * 24 * 3600 * 1000;
/// Milliseconds of a hard timeout: 30 days.
pub const TIMEOUT_MS_MAX: u64 = 30 * 24 * 3600 * 1000;
/// Milliseconds of a wait for a task's end or for work.
pub const WAIT_MS_MAX: u64 = 60_000;
/// Milliseconds of a wait for a task's end that asks for none.
pub const WAIT_MS_DEFAULT: u64 = 30_000;
/// Least milliseconds of a unary lease.
pub const LEASE_TTL_MS_MIN: u64 = 1000;
/// Most milliseconds of a unary lease.
pub const LEASE_TTL_MS_MAX: u64 = 3_600_000;
/// Milliseconds of a unary lease that asks for none.
pub const LEASE_TTL_MS_DEFAULT: u64 = 30_000;
/// How many times its hard limit a running handler may ask for where no other bound is set.
pub const EXTENSION_FACTOR: u64 = 4;
/// Milliseconds that the coordinator adds to a hard timeout before it acts in the worker's place.
pub const HARD_TIMEOUT_MARGIN_MS: u64 = 10_000;

/// Queues that a worker serves.
pub const WORKER_QUEUES_MAX: usize = 64;
/// Weight of a queue among those that a worker serves.
pub const QUEUE_WEIGHT_MAX: u32 = 1000;
/// Kinds that a worker names, and kinds of pending tasks in one queue.
pub const KINDS_MAX: usize = 1024;
/// Tasks that one session holds.
pub const CAPACITY_MAX: u32 = 10_000;
/// Sessions at once.
pub const SESSIONS_MAX: usize = 100_000;
/// Unary leases live at once for one worker id.
pub const UNARY_LEASES_MAX: usize = 1024;
/// Tokens of settled runs that a session's duplicates are recognised by.
pub const SETTLED_TOKENS_MAX: usize = 1024;
/// Calls that wait for a task's end or for work at once.
pub const WAITS_MAX: usize = 100_000;
/// Queues of one shard.
pub const QUEUES_PER_SHARD_MAX: usize = 10_000;

/// Rules of a policy.
pub const RULES_MAX: usize = 32;
/// Patterns of a rule's list of error types.
pub const RULE_PATTERNS_MAX: usize = 32;
/// Entries of an explicit list of delays.
pub const EXPLICIT_DELAYS_MAX: usize = 64;
/// Bytes of a rule's id.
pub const RULE_ID_BYTES_MAX: usize = 64;
/// Bytes of a policy's description.
pub const DESCRIPTION_BYTES_MAX: usize = 1024;
/// Leases of a task over its life: 24 bits of the fence.
pub const RUNS_MAX: u32 = (1 << 24) - 1;
/// Unstarted losses in a row that quarantine a task.
pub const UNSTARTED_IN_ROW_MAX: u32 = 20;
/// Milliseconds of the longest wait after an unstarted loss.
pub const UNSTARTED_BACKOFF_MS_MAX: u64 = 60_000;
/// Moves of a task from queue to queue as a dead letter.
pub const ROUTE_HOPS_MAX: usize = 8;

/// Tasks of a chain after the first.
pub const CHAIN_MAX: usize = 32;
/// Follow-ups of follow-ups.
pub const FOLLOW_UP_DEPTH_MAX: u32 = 8;
/// Bytes of the argument of a task that is made later.
pub const TEMPLATE_PAYLOAD_BYTES_MAX: usize = 16 * 1024;
/// Bytes of a payload or result that a follow-up is told of; of a larger one it is told that.
pub const CONTEXT_PAYLOAD_BYTES_MAX: usize = 256 * 1024;
/// Acts that are kept of a task, the latest.
pub const ACTS_MAX: usize = 16;
/// Bytes of a name that somebody acts under.
pub const ACTOR_BYTES_MAX: usize = 128;
/// Kinds that something is said of.
pub const KIND_SETTINGS_MAX: usize = 10_000;

/// Bytes of a request id, a producer id, an idempotency key or a unique key.
pub const KEY_BYTES_MAX: usize = 256;
/// Memories of one shard: request ids, idempotency keys, producers.
pub const MEMORIES_PER_SHARD_MAX: usize = 1_000_000;
/// Producers of enqueue streams that one shard remembers.
pub const PRODUCERS_MAX: usize = 1000;
/// Sequences that are remembered of a producer.
pub const PRODUCER_SEQUENCES_MAX: usize = 4096;
/// Milliseconds that a producer is remembered after its latest item.
pub const PRODUCER_TTL_MS: u64 = 3_600_000;
/// Milliseconds that a request is remembered where it names no number.
pub const REQUEST_TTL_MS_DEFAULT: u64 = 600_000;
/// Most milliseconds that a request is remembered.
pub const REQUEST_TTL_MS_MAX: u64 = 24 * 3_600_000;
/// Milliseconds that an idempotency key is remembered where its task names no number.
pub const KEY_WINDOW_MS_DEFAULT: u64 = 24 * 3_600_000;
/// Most milliseconds that an idempotency key is remembered: 30 days.
pub const KEY_WINDOW_MS_MAX: u64 = 30 * 24 * 3_600_000;
/// Memories that one event forgets.
pub const MEMORIES_FORGOTTEN_MAX: usize = 4096;

/// Milliseconds between two checkpoints of a task in the journal, at least.
pub const CHECKPOINT_INTERVAL_MS: u64 = 1000;
/// Bytes of a checkpoint that make this interval one millisecond longer.
pub const CHECKPOINT_BYTES_PER_MS: u64 = 64;
/// Bytes of a message that goes with a task's progress.
pub const PROGRESS_MESSAGE_BYTES_MAX: usize = 256;

/// Milliseconds until a ready task counts as one level more urgent.
pub const AGING_MS_DEFAULT: u64 = 600_000;
/// Most milliseconds of the same.
pub const AGING_MS_MAX: u64 = 24 * 3_600_000;
/// Milliseconds that the handler of a cancelled task is given at most: 24 hours.
pub const CANCEL_GRACE_MS_MAX: u64 = 24 * 3_600_000;
/// Tasks that one tick ends because their time is over.
pub const EXPIRIES_PER_TURN_MAX: usize = 4096;

/// Timers promoted by one turn.
pub const PROMOTIONS_PER_TURN_MAX: usize = 4096;
/// Commands that one turn handles.
pub const COMMANDS_PER_TURN_MAX: usize = 512;
/// Commands that wait in the inbox.
pub const INBOX_COMMANDS_MAX: usize = 8192;
/// Messages that wait for one worker stream.
pub const LINK_MESSAGES_MAX: usize = 1024;
/// Tasks that one bulk command changes.
pub const BULK_TASKS_MAX: usize = 1000;
/// Entries that one list or bulk command looks at.
pub const SCAN_ENTRIES_MAX: usize = 10_000;
/// Tasks of a page.
pub const PAGE_SIZE_MAX: usize = 1000;
/// Tasks of a page that asks for no number.
pub const PAGE_SIZE_DEFAULT: usize = 50;
/// Bytes of a filter.
pub const FILTER_BYTES_MAX: usize = 2048;
/// Comparisons of a filter.
pub const FILTER_CLAUSES_MAX: usize = 16;
/// Transfers of one pair of shards that are sent and not confirmed.
pub const TRANSFERS_UNCONFIRMED_MAX: usize = 256;
/// Kinds without a worker that a queue shows.
pub const UNSERVED_LISTED_MAX: usize = 100;
/// Workers of one list.
pub const WORKERS_LISTED_MAX: usize = 10_000;
/// Entities that one command records again.
pub const REFRESH_ENTITIES_MAX: usize = 256;
/// Bytes of payloads that the events of a turn may take before it takes no further command.
pub const TURN_BYTES_MAX: u64 = 1024 * 1024;
/// Events that watchers can go back to.
pub const EVENTS_REMEMBERED_MAX: usize = 65_536;

/// Most milliseconds that a finished task is kept: 30 days.
pub const RESULT_TTL_MS_MAX: u64 = 30 * 24 * 3_600_000;
/// Most finished tasks that a queue may be set to keep.
pub const FINISHED_PER_QUEUE_LIMIT: u32 = 100_000;
/// Finished tasks kept for each queue.
pub const FINISHED_PER_QUEUE_MAX: usize = 1000;
/// How many finished tasks beyond that gather before they are forgotten in one event.
pub const FINISHED_SLACK_MAX: usize = 64;
/// Milliseconds that a finished task is kept.
pub const FINISHED_RETENTION_MS: u64 = 3_600_000;
/// Tasks that one event forgets.
pub const FORGET_ITEMS_MAX: usize = 256;

const _: () = {
    assert!(RESULT_BYTES_MAX <= PAYLOAD_BYTES_MAX);
    // The largest single delivery fits a message: payload, checkpoint, stack and the rest.
    assert!(PAYLOAD_BYTES_MAX + RESULT_BYTES_MAX + STACK_BYTES_MAX < MESSAGE_BYTES_MAX / 2);
    assert!(DELIVERY_BATCH_BYTES_MAX + PAYLOAD_BYTES_MAX + RESULT_BYTES_MAX < MESSAGE_BYTES_MAX);
    assert!(HISTORY_MESSAGE_BYTES_MAX <= FAILURE_MESSAGE_BYTES_MAX);
    assert!(STACK_KEPT_BYTES_MAX <= STACK_BYTES_MAX);
    assert!(BULK_TASKS_MAX <= SCAN_ENTRIES_MAX);
    assert!(FORGET_ITEMS_MAX >= FINISHED_SLACK_MAX);
    assert!(WAIT_MS_DEFAULT <= WAIT_MS_MAX);
    assert!(LEASE_TTL_MS_MIN <= LEASE_TTL_MS_DEFAULT && LEASE_TTL_MS_DEFAULT <= LEASE_TTL_MS_MAX);
};
