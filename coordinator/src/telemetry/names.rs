//! The names of the metrics, their units and what they say.
//!
//! Owns the text; base units, `_total` on counters only, no task ids in labels.

pub(super) const ENQUEUED: &str = "redrive_tasks_enqueued_total";
pub(super) const ATTEMPTS: &str = "redrive_attempts_total";
pub(super) const RETRIES: &str = "redrive_retries_scheduled_total";
pub(super) const DEAD_LETTERED: &str = "redrive_tasks_dead_lettered_total";
pub(super) const REDRIVEN: &str = "redrive_tasks_redriven_total";
pub(super) const ENDED: &str = "redrive_tasks_ended_total";
pub(super) const OUTCOMES: &str = "redrive_task_outcomes_total";
pub(super) const WAKEUPS: &str = "redrive_wakeups_total";
pub(super) const LATE_TURNS: &str = "redrive_late_turns_total";
pub(super) const INBOX_REFUSED: &str = "redrive_inbox_refused_total";
pub(super) const LINKS_CUT: &str = "redrive_links_cut_total";
pub(super) const LEASES_EXPIRED: &str = "redrive_leases_expired_total";
pub(super) const OLDEST_READY: &str = "redrive_queue_oldest_ready_seconds";
pub(super) const WORKER_SLOTS: &str = "redrive_worker_slots";
pub(super) const TASKS: &str = "redrive_tasks";
pub(super) const QUEUE_PAUSED: &str = "redrive_queue_paused";
pub(super) const WORKERS: &str = "redrive_workers";
pub(super) const LINKS: &str = "redrive_links";
pub(super) const INBOX_DEPTH: &str = "redrive_inbox_depth";
pub(super) const MEMORY: &str = "redrive_memory_bytes";
pub(super) const MEMORY_LIMIT: &str = "redrive_memory_limit_bytes";
pub(super) const CLOCK_SKEW: &str = "redrive_clock_skew_seconds";
pub(super) const START_TIME: &str = "redrive_start_time_seconds";
pub(super) const BUILD_INFO: &str = "redrive_build_info";
pub(super) const QUEUE_WAIT: &str = "redrive_queue_wait_seconds";
pub(super) const ATTEMPT_DURATION: &str = "redrive_attempt_duration_seconds";
pub(super) const RETRY_DELAY: &str = "redrive_retry_delay_seconds";
pub(super) const TIMER_LAG: &str = "redrive_timer_lag_seconds";
pub(super) const TURN: &str = "redrive_turn_seconds";
pub(super) const JOURNAL_FRAMES: &str = "redrive_journal_frames_total";
pub(super) const JOURNAL_RECORDS: &str = "redrive_journal_records_total";
pub(super) const JOURNAL_WRITTEN: &str = "redrive_journal_written_bytes_total";
pub(super) const JOURNAL_SYNCS: &str = "redrive_journal_syncs_total";
pub(super) const JOURNAL_SYNCING: &str = "redrive_journal_syncing_seconds";
pub(super) const JOURNAL_DISK: &str = "redrive_journal_disk_bytes";
pub(super) const JOURNAL_SEGMENTS: &str = "redrive_journal_segments";
pub(super) const JOURNAL_SPARES: &str = "redrive_journal_spares";
pub(super) const JOURNAL_FULL: &str = "redrive_journal_disk_full";
/// OpenTelemetry's `rpc.server.call.duration`, so that its dashboards fit.
pub(super) const CALL_DURATION: &str = "rpc_server_call_duration_seconds";

pub(super) const COUNTERS: [(&str, &str); 16] = [
    (ENQUEUED, "Tasks accepted, by queue."),
    (ATTEMPTS, "Runs that ended, by queue and outcome."),
    (
        RETRIES,
        "Retries scheduled, by queue and class of the failure.",
    ),
    (
        DEAD_LETTERED,
        "Tasks that became dead letters, by queue and reason.",
    ),
    (REDRIVEN, "Dead letters put back, by queue."),
    (ENDED, "Tasks that ended, by queue and final state."),
    (
        OUTCOMES,
        "Tasks that succeeded under a label of their handler's, by queue and label.",
    ),
    (WAKEUPS, "Turns of the engine, by what began them."),
    (
        LATE_TURNS,
        "Turns that came so late that silence was forgiven.",
    ),
    (
        INBOX_REFUSED,
        "Calls refused because too many commands waited.",
    ),
    (
        LINKS_CUT,
        "Worker streams cut because they read too slowly.",
    ),
    (
        LEASES_EXPIRED,
        "Leases taken from workers that were lost while they ran a task.",
    ),
    (JOURNAL_FRAMES, "Frames written to the journal."),
    (JOURNAL_RECORDS, "Records written to the journal."),
    (JOURNAL_WRITTEN, "Bytes written to the journal."),
    (JOURNAL_SYNCS, "Syncs of the journal."),
];

pub(super) const GAUGES: [(&str, &str); 17] = [
    (TASKS, "Tasks now, by queue and state."),
    (QUEUE_PAUSED, "1 where the queue is paused, else 0."),
    (
        OLDEST_READY,
        "How long the first ready task of the queue has been waiting; 0 where none is ready.",
    ),
    (
        WORKER_SLOTS,
        "Tasks that connected workers hold (used), and could hold besides (free).",
    ),
    (WORKERS, "Workers connected by a stream."),
    (LINKS, "Worker streams open."),
    (
        INBOX_DEPTH,
        "Commands that waited when the last turn began.",
    ),
    (MEMORY, "Bytes that tasks take, as accounted."),
    (
        MEMORY_LIMIT,
        "Limit of redrive_memory_bytes; enqueues are refused above 80 % of it.",
    ),
    (
        CLOCK_SKEW,
        "How far engine time is ahead of the wall clock.",
    ),
    (
        START_TIME,
        "When the coordinator started, in seconds since the Unix epoch.",
    ),
    (BUILD_INFO, "1, labelled with the version."),
    (
        JOURNAL_SYNCING,
        "How long the syncs of the journal took in all.",
    ),
    (
        JOURNAL_DISK,
        "Bytes of the journal on disk, reserve files included.",
    ),
    (JOURNAL_SEGMENTS, "Files of the journal that hold records."),
    (
        JOURNAL_SPARES,
        "Reserve files of the journal that are ready.",
    ),
    (
        JOURNAL_FULL,
        "1 while the journal's disk is full and enqueues are refused, else 0.",
    ),
];

/// Seconds; from a fast handler to a slow one.
pub(super) const DURATION_BUCKETS: [f64; 14] = [
    0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0,
];
/// Seconds; from the first backoff to a day.
pub(super) const DELAY_BUCKETS: [f64; 12] = [
    0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0, 3600.0, 14_400.0, 86_400.0,
];
/// Seconds; a turn takes microseconds, a timer should be on time to the millisecond.
pub(super) const TURN_BUCKETS: [f64; 12] = [
    0.000_01, 0.000_05, 0.000_1, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0,
];

/// Seconds; from a small call to the longest wait that a call may ask for.
pub(super) const CALL_BUCKETS: [f64; 13] = [
    0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 10.0, 60.0,
];

pub(super) const HISTOGRAMS: [(&str, &str, &[f64]); 6] = [
    (
        CALL_DURATION,
        "From a gRPC request to its answer's headers, by method and status. A streamed answer \
         counts when it begins, and as OK whatever ends it; a call left or out of time before its \
         answer began counts as CANCELLED.",
        &CALL_BUCKETS,
    ),
    (
        QUEUE_WAIT,
        "From being ready to being leased.",
        &DURATION_BUCKETS,
    ),
    (
        ATTEMPT_DURATION,
        "From lease to report of one run.",
        &DURATION_BUCKETS,
    ),
    (RETRY_DELAY, "The delays drawn for retries.", &DELAY_BUCKETS),
    (
        TIMER_LAG,
        "How long after its deadline a timer was handled.",
        &TURN_BUCKETS,
    ),
    (
        TURN,
        "How long a turn of the engine took, journal append included.",
        &TURN_BUCKETS,
    ),
];
