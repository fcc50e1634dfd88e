//! What a worker proposes for the kinds that it has handlers for.
//!
//! Owns the words of a proposal and the checks that need no coordinator. A proposal is a default:
//! what an operator sets for the kind, and what a task brings, hold before it.

use std::time::Duration;

use redrive_proto::v1::{
    DeliveryMode, FollowUps, KindSettings, Payload, Priority, RetryPolicy, TaskTemplate, Terms,
    Timeouts, kind_settings::Retry,
};
use serde::Serialize;

use crate::{
    error::TaskResult,
    names::{NAME_RULE, is_name},
    report::json_payload,
    session::wire,
};

/// The most bytes of a follow-up's argument.
const ARGUMENT_BYTES_MAX: usize = 16_384;

/// What a worker proposes for a kind, for [`crate::WorkerBuilder::kind_defaults`]. What is left out is
/// said by the queue, else by the server. The latest proposal of any worker holds, until an operator
/// sets the kind.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KindDefaults {
    settings: KindSettings,
}

impl KindDefaults {
    /// A proposal without a word.
    pub fn new() -> Self {
        Self::default()
    }

    /// The queue of tasks that name none.
    pub fn queue(mut self, queue: impl Into<String>) -> Self {
        self.settings.queue = queue.into();
        self
    }

    /// The named policy that judges failures.
    pub fn retry_policy(mut self, name: impl Into<String>) -> Self {
        self.settings.retry = Some(Retry::RetryPolicy(name.into()));
        self
    }

    /// A policy of the kind's own. Takes the place of a named one.
    pub fn inline_retry_policy(mut self, policy: RetryPolicy) -> Self {
        self.settings.retry = Some(Retry::InlineRetryPolicy(policy));
        self
    }

    /// How many failures end a task, whatever the policy says: 0 for no limit, 1 for no retry.
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.settings.max_attempts = Some(attempts);
        self
    }

    fn timeouts(&mut self) -> &mut Timeouts {
        self.settings.timeouts.get_or_insert_default()
    }

    /// After this a run is asked to stop. At least 1 ms, not above the hard limit.
    pub fn soft_timeout(mut self, after: Duration) -> Self {
        self.timeouts().soft = Some(wire::of(after));
        self
    }

    /// After this a run is ended as a failure of class TIMEOUT. 1 ms to 30 days.
    pub fn hard_timeout(mut self, after: Duration) -> Self {
        self.timeouts().hard = Some(wire::of(after));
        self
    }

    /// How far [`crate::TaskContext::extend`] may move the hard limit, counted from the run's start.
    /// Default: 4 times the hard limit.
    pub fn extend_max(mut self, limit: Duration) -> Self {
        self.timeouts().extend_max = Some(wire::of(limit));
        self
    }

    fn terms(&mut self) -> &mut Terms {
        self.settings.terms.get_or_insert_default()
    }

    /// How long a task may wait for its first run. 1 ms to 3,650 days.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.terms().ttl = Some(wire::of(ttl));
        self
    }

    /// How long a task may live at all. 1 ms to 3,650 days.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.terms().deadline = Some(wire::of(deadline));
        self
    }

    /// How long a task is kept with its result after it ended, at most 30 days.
    pub fn result_ttl(mut self, ttl: Duration) -> Self {
        self.terms().result_ttl = Some(wire::of(ttl));
        self
    }

    /// What becomes of a run that ends without a report.
    pub fn delivery(mut self, mode: DeliveryMode) -> Self {
        self.terms().set_delivery(mode);
        self
    }

    fn follow_ups(&mut self) -> &mut FollowUps {
        self.terms().follow_ups.get_or_insert_default()
    }

    /// Made when a task succeeded; of a chain, when its last task did.
    pub fn on_success(mut self, follow_up: FollowUp) -> Self {
        self.follow_ups().on_success = Some(follow_up.template);
        self
    }

    /// Made when a task failed for good, whatever the reason.
    pub fn on_failure(mut self, follow_up: FollowUp) -> Self {
        self.follow_ups().on_failure = Some(follow_up.template);
        self
    }

    /// Made, beside the one of `on_failure`, when a budget or a time limit was spent.
    pub fn on_exhausted(mut self, follow_up: FollowUp) -> Self {
        self.follow_ups().on_exhausted = Some(follow_up.template);
        self
    }

    /// Made when a task was cancelled.
    pub fn on_cancelled(mut self, follow_up: FollowUp) -> Self {
        self.follow_ups().on_cancelled = Some(follow_up.template);
        self
    }

    /// Where dead tasks go on.
    pub fn dead_letter_queue(mut self, queue: impl Into<String>) -> Self {
        self.settings.dead_letter_queue = queue.into();
        self
    }

    /// The first thing that cannot work, if any.
    pub(crate) fn problem(&self) -> Option<String> {
        let settings = &self.settings;
        let queues = [
            ("queue", &settings.queue),
            ("dead_letter_queue", &settings.dead_letter_queue),
        ];
        for (field, queue) in queues {
            if !queue.is_empty() && !is_name(queue) {
                return Some(format!("{field} {queue:?} {NAME_RULE}"));
            }
        }
        if let Some(Timeouts { soft, hard, .. }) = settings.timeouts {
            let length = |limit: Option<_>| limit.map(wire::duration);
            if let (Some(soft), Some(hard)) = (length(soft), length(hard))
                && soft > hard
            {
                return Some(format!(
                    "soft_timeout of {soft:?} is above hard_timeout of {hard:?}; swap them"
                ));
            }
        }
        let follow_ups = settings.terms.as_ref()?.follow_ups.as_ref()?;
        let FollowUps {
            on_success,
            on_failure,
            on_exhausted,
            on_cancelled,
        } = &**follow_ups;
        [
            ("on_success", on_success),
            ("on_failure", on_failure),
            ("on_exhausted", on_exhausted),
            ("on_cancelled", on_cancelled),
        ]
        .into_iter()
        .find_map(|(field, template)| template_problem(field, template.as_ref()?))
    }

    pub(crate) fn into_settings(self) -> KindSettings {
        self.settings
    }
}

fn template_problem(field: &str, template: &TaskTemplate) -> Option<String> {
    let TaskTemplate { kind, queue, .. } = template;
    if !is_name(kind) {
        return Some(format!("{field}: kind {kind:?} {NAME_RULE}"));
    }
    if !queue.is_empty() && !is_name(queue) {
        return Some(format!("{field}: queue {queue:?} {NAME_RULE}"));
    }
    let size = template.payload.as_ref()?.data.len();
    (size > ARGUMENT_BYTES_MAX)
        .then(|| format!("{field}: an argument of {size} bytes; at most {ARGUMENT_BYTES_MAX}"))
}

/// A task that is made by another one's end, with a [`crate::FailureContext`] as its payload.
#[derive(Clone, Debug, PartialEq)]
pub struct FollowUp {
    template: TaskTemplate,
}

impl FollowUp {
    /// A follow-up of this kind, in its kind's default queue, else in the queue of the task that it
    /// follows.
    pub fn new(kind: impl Into<String>) -> Self {
        let template = TaskTemplate {
            kind: kind.into(),
            ..TaskTemplate::default()
        };
        Self { template }
    }

    /// Its queue, created on first use.
    pub fn queue(mut self, queue: impl Into<String>) -> Self {
        self.template.queue = queue.into();
        self
    }

    /// Handed on in [`crate::FailureContext`], at most 16,384 bytes.
    pub fn argument(mut self, argument: Payload) -> Self {
        self.template.payload = Some(argument);
        self
    }

    /// [`FollowUp::argument`] with a value in JSON.
    ///
    /// # Errors
    ///
    /// Where the value has no JSON form.
    pub fn argument_json<T: Serialize>(self, argument: &T) -> TaskResult<Self> {
        Ok(self.argument(json_payload(argument)?))
    }

    /// How urgent it is within its queue. Default: NORMAL.
    pub fn priority(mut self, priority: Priority) -> Self {
        self.template.set_priority(priority);
        self
    }

    /// It may start this long after it was made. Default: at once.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.template.delay = Some(wire::of(delay));
        self
    }

    /// The version of its payload's format. Default: none stated.
    pub fn schema_version(mut self, version: u32) -> Self {
        self.template.schema_version = version;
        self
    }

    /// One of its labels; at most 16.
    pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.template.labels.insert(key.into(), value.into());
        self
    }
}
