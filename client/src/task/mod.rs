//! A task to be enqueued, built and checked.
//!
//! Never talks to anybody. Invariant: what `build` returns keeps every limit that the protos state
//! for a `TaskSpec`; only the arithmetic of an inline retry policy is left to the coordinator,
//! which judges it.

#[cfg(test)]
mod tests;

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use redrive_proto::v1;
use serde::Serialize;

use crate::{
    check::{
        DELAY, check_labels, check_name, check_payload, check_policy, check_policy_name,
        check_span, check_timeouts, span,
    },
    check_life::{check_chain, check_keys, check_name_or_none, check_terms},
    error::Error,
    limits::PAYLOAD_BYTES_MAX,
    next_task::{NextTask, UniqueKey},
};

/// A task to be enqueued. Each setter replaces what an earlier one set; what is not set is left to
/// the queue and the coordinator.
///
/// ```
/// use std::time::Duration;
/// use redrive_client::NewTask;
///
/// let task = NewTask::new("mail", "welcome.send")
///     .json(&["ada@example.com"])?
///     .delay(Duration::from_secs(60))
///     .timeouts(Some(Duration::from_secs(20)), Some(Duration::from_secs(30)))
///     .label("tenant", "acme");
/// assert_eq!(task.build()?.queue, "mail");
/// # Ok::<(), redrive_client::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct NewTask {
    spec: v1::TaskSpec,
}

impl NewTask {
    /// A task of `kind` for `queue`, without a payload. Names have 1 to 128 letters, digits, '.',
    /// '_' and '-', and begin with a letter or digit. The queue may be empty where the kind has a
    /// default one.
    pub fn new(queue: impl Into<String>, kind: impl Into<String>) -> Self {
        let spec = v1::TaskSpec {
            queue: queue.into(),
            kind: kind.into(),
            ..Default::default()
        };
        Self { spec }
    }

    /// The payload as JSON, with the content type "application/json". At most
    /// [`PAYLOAD_BYTES_MAX`](crate::limits::PAYLOAD_BYTES_MAX).
    ///
    /// # Errors
    /// [`Error::Invalid`] where `value` has no JSON form.
    pub fn json<T: Serialize + ?Sized>(self, value: &T) -> Result<Self, Error> {
        let data = serde_json::to_vec(value)
            .map_err(|error| Error::invalid("task.payload", format!("has no JSON: {error}")))?;
        Ok(self.bytes(data, "application/json"))
    }

    /// The payload as it is; at most [`PAYLOAD_BYTES_MAX`](crate::limits::PAYLOAD_BYTES_MAX). `content_type` says what the bytes are,
    /// in at most 128 bytes of visible ASCII; empty says nothing.
    #[must_use]
    pub fn bytes(mut self, data: impl Into<Bytes>, content_type: impl Into<String>) -> Self {
        let content_type = content_type.into();
        self.spec.payload = Some(v1::Payload {
            data: data.into(),
            content_type,
        });
        self
    }

    /// How urgent the task is within its queue. Default: `NORMAL`.
    #[must_use]
    pub fn priority(mut self, priority: v1::Priority) -> Self {
        self.spec.priority = priority.into();
        self
    }

    /// Start after this long, counted by the coordinator; at most [`DELAY_MAX`](crate::limits::DELAY_MAX). Default: at once.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.spec.start = Some(v1::task_spec::Start::Delay(span(delay)));
        self
    }

    /// Start no earlier than this instant of the coordinator's clock. Default: at once.
    #[must_use]
    pub fn not_before(mut self, instant: SystemTime) -> Self {
        self.spec.start = Some(v1::task_spec::Start::NotBefore(instant.into()));
        self
    }

    /// Time limits of each run: after `soft` the handler is asked to stop, after `hard` the run is
    /// ended as a failure. At least 1 ms, `soft` not above `hard`, both at most 30 days. Default:
    /// the kind's, else the queue's.
    #[must_use]
    pub fn timeouts(mut self, soft: Option<Duration>, hard: Option<Duration>) -> Self {
        let mut timeouts = self.spec.timeouts.unwrap_or_default();
        (timeouts.soft, timeouts.hard) = (soft.map(span), hard.map(span));
        self.spec.timeouts = (timeouts != v1::Timeouts::default()).then_some(timeouts);
        self
    }

    /// How far a heartbeat may extend the hard limit of a running attempt, counted from its start;
    /// not below the hard limit, at most 30 days. Default: 4 times the hard limit.
    #[must_use]
    pub fn extend_max(mut self, most: Duration) -> Self {
        let timeouts = self.spec.timeouts.get_or_insert_default();
        timeouts.extend_max = Some(span(most));
        self
    }

    /// The named retry policy that judges the task. Default: the kind's, else the queue's, else the
    /// server's.
    #[must_use]
    pub fn retry_policy(mut self, name: impl Into<String>) -> Self {
        self.spec.retry = Some(v1::task_spec::Retry::RetryPolicy(name.into()));
        self
    }

    /// A retry policy of the task's own.
    #[must_use]
    pub fn inline_retry_policy(mut self, policy: v1::RetryPolicy) -> Self {
        self.spec.retry = Some(v1::task_spec::Retry::InlineRetryPolicy(policy.into()));
        self
    }

    /// How many failures end the task, the first run included, whatever its policy says: 0 means
    /// unlimited, 1 means never retry. Default: the policy's.
    #[must_use]
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.spec.max_attempts = Some(attempts);
        self
    }

    /// A searchable fact. At most 16; the key is a name like a queue's, the value has at most 256
    /// bytes.
    #[must_use]
    pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.spec.labels.insert(key.into(), value.into());
        self
    }

    /// How long the task may wait for its first run to begin, from when it may first start; then it
    /// is dead as `TTL_EXPIRED`. 1 ms to 3,650 days. Default: the kind's, else the queue's, else no
    /// limit.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.terms().ttl = Some(span(ttl));
        self
    }

    /// How long the task may live at all, runs and waits together; then it is dead as
    /// `DEADLINE_EXCEEDED`. 1 ms to 3,650 days. Default: as for [`NewTask::ttl`].
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.terms().deadline = Some(span(deadline));
        self
    }

    /// How long the task is kept with its result after it ended; at most 30 days. Default: the
    /// kind's, else the queue's, else 1 h.
    #[must_use]
    pub fn result_ttl(mut self, ttl: Duration) -> Self {
        self.terms().result_ttl = Some(span(ttl));
        self
    }

    /// A run that ends without a report leaves the task dead as `LEASE_LOST`: it is never run again
    /// by itself. Default: the kind's, else the queue's, else at least once.
    #[must_use]
    pub fn at_most_once(mut self) -> Self {
        self.terms().delivery = v1::DeliveryMode::AtMostOnce.into();
        self
    }

    /// A run that ends without a report is run again, whatever kind and queue say.
    #[must_use]
    pub fn at_least_once(mut self) -> Self {
        self.terms().delivery = v1::DeliveryMode::AtLeastOnce.into();
        self
    }

    /// Made when the task succeeded; of a chain, when its last task did.
    #[must_use]
    pub fn on_success(mut self, next: NextTask) -> Self {
        self.follow_ups().on_success = Some(next.into());
        self
    }

    /// Made when the task failed for good, whatever the reason. Its payload is a `FailureContext`.
    #[must_use]
    pub fn on_failure(mut self, next: NextTask) -> Self {
        self.follow_ups().on_failure = Some(next.into());
        self
    }

    /// Made, beside [`NewTask::on_failure`], when a budget or a time limit was spent.
    #[must_use]
    pub fn on_exhausted(mut self, next: NextTask) -> Self {
        self.follow_ups().on_exhausted = Some(next.into());
        self
    }

    /// Made when the task was cancelled.
    #[must_use]
    pub fn on_cancelled(mut self, next: NextTask) -> Self {
        self.follow_ups().on_cancelled = Some(next.into());
        self
    }

    /// Goes on with a chain: when the task before has succeeded, this one is made, with its result
    /// as payload. Each call adds a link; at most [`THEN_MAX`](crate::limits::THEN_MAX).
    #[must_use]
    pub fn then(mut self, next: NextTask) -> Self {
        self.spec.then.push(next.into());
        self
    }

    /// Makes enqueueing repeatable by what the task means: a second enqueue with this key into this
    /// queue, within the window, is answered with the first task's id and effect `EXISTING`. 1 to
    /// 256 bytes of printable text.
    #[must_use]
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.spec.idempotency_key = key.into();
        self
    }

    /// How long the idempotency key is remembered; 1 s to 30 days. Default: 24 h.
    #[must_use]
    pub fn idempotency_window(mut self, window: Duration) -> Self {
        self.spec.idempotency_window = Some(span(window));
        self
    }

    /// At most one task of the queue at a time has this key.
    #[must_use]
    pub fn unique(mut self, unique: UniqueKey) -> Self {
        self.spec.unique = Some(Box::new(unique.into()));
        self
    }

    /// Which version of its payload's format it has: only workers that can read it are given it.
    /// Default: 0, none stated.
    #[must_use]
    pub fn schema_version(mut self, version: u32) -> Self {
        self.spec.schema_version = version;
        self
    }

    fn terms(&mut self) -> &mut v1::Terms {
        self.spec.terms.get_or_insert_default()
    }

    fn follow_ups(&mut self) -> &mut v1::FollowUps {
        self.terms().follow_ups.get_or_insert_default()
    }

    /// Checks names, sizes and combinations, and returns what goes over the wire.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming the first field at fault, its limit and the remedy.
    pub fn build(self) -> Result<v1::TaskSpec, Error> {
        let spec = self.spec;
        check_name_or_none("task.queue", &spec.queue)?;
        check_name("task.kind", &spec.kind)?;
        if let Some(payload) = &spec.payload {
            check_payload("task.payload", payload, PAYLOAD_BYTES_MAX)?;
        }
        if let Some(v1::task_spec::Start::Delay(delay)) = &spec.start {
            check_span("task.delay", Some(delay), DELAY)?;
        }
        if let Some(timeouts) = &spec.timeouts {
            check_timeouts("task.timeouts", timeouts)?;
        }
        match &spec.retry {
            Some(v1::task_spec::Retry::RetryPolicy(name)) => {
                check_policy_name("task.retry_policy", name, false)?;
            }
            Some(v1::task_spec::Retry::InlineRetryPolicy(policy)) => {
                check_policy("task.inline_retry_policy", policy)?;
            }
            None => {}
        }
        check_labels("task.labels", &spec.labels)?;
        if let Some(terms) = &spec.terms {
            check_terms("task.terms", terms)?;
        }
        check_keys(&spec)?;
        check_chain(&spec.then)?;
        Ok(spec)
    }
}

/// A task as it was read elsewhere, for example from another coordinator; checked by `build` like
/// any other.
impl From<v1::TaskSpec> for NewTask {
    fn from(spec: v1::TaskSpec) -> Self {
        Self { spec }
    }
}
