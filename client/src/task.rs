//! A task to be enqueued, built and checked.
//!
//! Never talks to anybody. Invariant: what `build` returns keeps every limit that the protos state
//! for a `TaskSpec`; only the arithmetic of an inline retry policy is left to the coordinator,
//! which judges it.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use redrive_proto::v1;
use serde::Serialize;

use crate::{
    check::{
        check_delay, check_labels, check_name, check_payload, check_policy, check_policy_name,
        proto_duration, timeouts,
    },
    error::Error,
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
    labels: BTreeMap<String, String>,
    soft: Option<Duration>,
    hard: Option<Duration>,
    delay: Option<Duration>,
}

impl NewTask {
    /// A task of `kind` for `queue`, without a payload. Names have 1 to 128 letters, digits, '.',
    /// '_' and '-', and begin with a letter or digit.
    pub fn new(queue: impl Into<String>, kind: impl Into<String>) -> Self {
        let spec = v1::TaskSpec {
            queue: queue.into(),
            kind: kind.into(),
            ..Default::default()
        };
        Self {
            spec,
            labels: BTreeMap::new(),
            soft: None,
            hard: None,
            delay: None,
        }
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
        self.delay = Some(delay);
        self.spec.start = None;
        self
    }

    /// Start no earlier than this instant of the coordinator's clock. Default: at once.
    #[must_use]
    pub fn not_before(mut self, instant: SystemTime) -> Self {
        self.delay = None;
        self.spec.start = Some(v1::task_spec::Start::NotBefore(instant.into()));
        self
    }

    /// Time limits of each run: after `soft` the handler is asked to stop, after `hard` the run is
    /// ended as a failure. At least 1 ms, `soft` not above `hard`, `hard` at most 30 days. Default:
    /// the queue's.
    #[must_use]
    pub fn timeouts(mut self, soft: Option<Duration>, hard: Option<Duration>) -> Self {
        (self.soft, self.hard) = (soft, hard);
        self
    }

    /// The named retry policy that judges the task. Default: the queue's, else the server's.
    #[must_use]
    pub fn retry_policy(mut self, name: impl Into<String>) -> Self {
        self.spec.retry = Some(v1::task_spec::Retry::RetryPolicy(name.into()));
        self
    }

    /// A retry policy of the task's own.
    #[must_use]
    pub fn inline_retry_policy(mut self, policy: v1::RetryPolicy) -> Self {
        self.spec.retry = Some(v1::task_spec::Retry::InlineRetryPolicy(policy));
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
        self.labels.insert(key.into(), value.into());
        self
    }

    /// Checks names, sizes and combinations, and returns what goes over the wire.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming the first field at fault, its limit and the remedy.
    pub fn build(self) -> Result<v1::TaskSpec, Error> {
        let Self {
            mut spec,
            labels,
            soft,
            hard,
            delay,
        } = self;
        check_name("task.queue", &spec.queue)?;
        check_name("task.kind", &spec.kind)?;
        if let Some(payload) = &spec.payload {
            check_payload(payload)?;
        }
        if let Some(delay) = delay {
            check_delay(delay)?;
            spec.start = Some(v1::task_spec::Start::Delay(proto_duration(
                "task.delay",
                delay,
            )?));
        }
        if soft.is_some() || hard.is_some() {
            spec.timeouts = Some(timeouts("task.timeouts", soft, hard)?);
        }
        match &spec.retry {
            Some(v1::task_spec::Retry::RetryPolicy(name)) => {
                check_policy_name("task.retry_policy", name, false)?;
            }
            Some(v1::task_spec::Retry::InlineRetryPolicy(policy)) => check_policy(policy)?,
            None => {}
        }
        check_labels(&labels)?;
        spec.labels = labels.into_iter().collect();
        Ok(spec)
    }
}

/// A task as it was read elsewhere, for example from another coordinator; checked by `build` like
/// any other.
impl From<v1::TaskSpec> for NewTask {
    fn from(mut spec: v1::TaskSpec) -> Self {
        let labels = std::mem::take(&mut spec.labels).into_iter().collect();
        let read = |limit: Option<prost_types::Duration>| {
            // What is negative becomes zero, which `build` refuses.
            limit.map(|limit| Duration::try_from(limit).unwrap_or_default())
        };
        let limits = spec.timeouts.take().unwrap_or_default();
        let (delay, start) = match spec.start.take() {
            Some(v1::task_spec::Start::Delay(delay)) => (read(Some(delay)), None),
            start => (None, start),
        };
        spec.start = start;
        Self {
            spec,
            labels,
            soft: read(limits.soft),
            hard: read(limits.hard),
            delay,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{DELAY_MAX, HARD_TIMEOUT_MAX, PAYLOAD_BYTES_MAX};

    const SECOND: Duration = Duration::from_secs(1);

    fn task() -> NewTask {
        NewTask::new("mail", "send")
    }

    fn fault(task: NewTask) -> (String, String) {
        match task.build() {
            Err(Error::Invalid { field, problem }) => (field, problem),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn all_that_is_set_reaches_the_wire() {
        let spec = task()
            .json(&serde_json::json!({ "to": "ada" }))
            .unwrap()
            .priority(v1::Priority::High)
            .delay(SECOND)
            .timeouts(Some(SECOND), Some(2 * SECOND))
            .retry_policy("sidekiq")
            .max_attempts(3)
            .label("tenant", "acme")
            .build()
            .unwrap();
        let payload = spec.payload.unwrap();
        assert_eq!(payload.data, br#"{"to":"ada"}"#.as_slice());
        assert_eq!(payload.content_type, "application/json");
        assert_eq!(spec.priority, i32::from(v1::Priority::High));
        assert!(matches!(spec.start, Some(v1::task_spec::Start::Delay(d)) if d.seconds == 1));
        assert_eq!(spec.timeouts.unwrap().hard.unwrap().seconds, 2);
        assert_eq!(
            spec.retry,
            Some(v1::task_spec::Retry::RetryPolicy("sidekiq".to_owned()))
        );
        assert_eq!(spec.max_attempts, Some(3));
        assert_eq!(spec.labels["tenant"], "acme");
    }

    #[test]
    fn the_later_of_delay_and_not_before_holds() {
        let instant = SystemTime::UNIX_EPOCH + SECOND;
        let spec = task().delay(SECOND).not_before(instant).build().unwrap();
        assert!(matches!(spec.start, Some(v1::task_spec::Start::NotBefore(t)) if t.seconds == 1));
        let spec = task().not_before(instant).delay(SECOND).build().unwrap();
        assert!(matches!(spec.start, Some(v1::task_spec::Start::Delay(_))));
    }

    #[test]
    fn a_bad_name_is_refused_by_its_field() {
        for name in [
            "",
            "-a",
            ".a",
            "a b",
            "a/b",
            "\u{e4}",
            "a".repeat(129).as_str(),
        ] {
            assert_eq!(fault(NewTask::new(name, "send")).0, "task.queue", "{name}");
            assert_eq!(fault(NewTask::new("mail", name)).0, "task.kind", "{name}");
            assert_eq!(fault(task().label(name, "")).0, "task.labels", "{name}");
        }
        assert!(NewTask::new("a".repeat(128), "9.a_b-c").build().is_ok());
    }

    #[test]
    fn sizes_are_allowed_up_to_their_limit_and_refused_above() {
        assert!(task().bytes(vec![0; PAYLOAD_BYTES_MAX], "").build().is_ok());
        let (field, problem) = fault(task().bytes(vec![0; PAYLOAD_BYTES_MAX + 1], ""));
        assert_eq!(field, "task.payload.data");
        assert!(
            problem.contains("1048577") && problem.contains("1048576"),
            "{problem}"
        );

        assert!(task().label("k", "v".repeat(256)).build().is_ok());
        assert_eq!(fault(task().label("k", "v".repeat(257))).0, "task.labels.k");
        let labels = |n: usize| (0..n).fold(task(), |task, i| task.label(format!("k{i}"), ""));
        assert!(labels(16).build().is_ok());
        assert_eq!(fault(labels(17)).0, "task.labels");

        assert_eq!(
            fault(task().bytes("", "x".repeat(129))).0,
            "task.payload.content_type"
        );
        assert_eq!(
            fault(task().bytes("", "a\nb")).0,
            "task.payload.content_type"
        );
        assert!(task().delay(DELAY_MAX).build().is_ok());
        assert_eq!(fault(task().delay(DELAY_MAX + SECOND)).0, "task.delay");
    }

    #[test]
    fn time_limits_that_contradict_each_other_are_refused() {
        let limits = |soft, hard| task().timeouts(soft, hard);
        assert!(limits(Some(SECOND), Some(SECOND)).build().is_ok());
        let (field, problem) = fault(limits(Some(2 * SECOND), Some(SECOND)));
        assert_eq!(field, "task.timeouts.soft");
        assert!(
            problem.contains("2s") && problem.contains("1s"),
            "{problem}"
        );
        assert_eq!(
            fault(limits(Some(Duration::ZERO), None)).0,
            "task.timeouts.soft"
        );
        assert_eq!(
            fault(limits(None, Some(Duration::ZERO))).0,
            "task.timeouts.hard"
        );
        assert_eq!(
            fault(limits(None, Some(HARD_TIMEOUT_MAX + SECOND))).0,
            "task.timeouts.hard"
        );
    }

    #[test]
    fn a_policy_is_refused_by_the_rule_at_fault() {
        let rule = |id: &str| v1::RetryRule {
            id: id.to_owned(),
            ..Default::default()
        };
        let with = |rules| {
            task().inline_retry_policy(v1::RetryPolicy {
                rules,
                ..Default::default()
            })
        };
        assert!(with(vec![rule("a"), rule("b")]).build().is_ok());
        let at = |n, field| format!("task.inline_retry_policy.rules[{n}].{field}");
        assert_eq!(fault(with(vec![rule("a"), rule("a")])).0, at(1, "id"));
        assert_eq!(fault(with(vec![rule("")])).0, at(0, "id"));
        let sparing = v1::RetryRule {
            spares_attempts: true,
            ..rule("a")
        };
        assert_eq!(fault(with(vec![sparing])).0, at(0, "max_attempts"));
        let many = (0..33).map(|n| rule(&format!("r{n}"))).collect();
        assert_eq!(fault(with(many)).0, "task.inline_retry_policy.rules");
        assert_eq!(fault(task().retry_policy("")).0, "task.retry_policy");
    }

    #[test]
    fn a_spec_read_elsewhere_is_built_back_unchanged() {
        let spec = task()
            .delay(SECOND)
            .timeouts(None, Some(SECOND))
            .label("a", "b");
        let spec = spec.build().unwrap();
        assert_eq!(NewTask::from(spec.clone()).build().unwrap(), spec);
    }
}
