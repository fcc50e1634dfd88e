//! The retry policy: what may be said about trying again.
//!
//! Owns the types, with every default filled in (`RetryPolicy` of the proto documents them), and
//! the defaults themselves. Never says what they mean: that is `backoff` and `decide`, and what is
//! well formed is checked at the edge by [`Policy::check`].

use std::sync::Arc;

use crate::engine::failure::FailureClass;
use crate::engine::limits;

/// Failures that end a task whose policy names no number.
pub const MAX_ATTEMPTS_DEFAULT: u32 = 6;
/// Crashes that quarantine a task whose policy names no number.
pub const MAX_CRASHES_DEFAULT: u32 = 3;
/// Deferrals that end a task whose policy names no number.
pub const MAX_DEFERRALS_DEFAULT: u32 = 1000;
/// How far timeouts may grow where the policy names no number.
pub const TIMEOUT_GROWTH_MAX_DEFAULT: f64 = 4.0;

/// When a failed task is tried again, and when it is not.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// The preset's name, or what its author called it, or "inline".
    pub name: Arc<str>,
    /// What it is for.
    pub description: Arc<str>,
    /// Failures that end the task, all counted, where neither the task nor the rule that matched
    /// has a limit of its own; 0 means unlimited.
    pub max_attempts: u32,
    /// The wait where no rule says otherwise.
    pub backoff: Backoff,
    /// Exceptions; the first that matches decides.
    pub rules: Vec<Rule>,
    /// No retry starts later than this after the budget began; `None` means no limit.
    pub max_retry_duration_ms: Option<u64>,
    /// Crashes that quarantine the task; 0 means unlimited.
    pub max_crashes: u32,
    /// The wait after a crash.
    pub crash_backoff: Backoff,
    /// Deferrals that end the task; at least 1.
    pub max_deferrals: u32,
    /// What becomes of a task whose attempts are spent.
    pub on_exhausted: ExhaustAction,
    /// What a failure's retry_after does where no rule says otherwise.
    pub retry_after_mode: RetryAfterMode,
    /// What a worker's chosen delay does.
    pub worker_delay_mode: WorkerDelayMode,
    /// How many times longer the next run may take after a TIMEOUT; 1.0 means no growth.
    pub timeout_growth: f64,
    /// How far timeouts may grow, as a multiple of the first.
    pub timeout_growth_max: f64,
}

impl Default for Policy {
    /// What an empty `RetryPolicy` message means; its name is "inline".
    fn default() -> Self {
        Self {
            name: Arc::from("inline"),
            description: Arc::from(""),
            max_attempts: MAX_ATTEMPTS_DEFAULT,
            backoff: Backoff::default(),
            rules: Vec::new(),
            max_retry_duration_ms: None,
            max_crashes: MAX_CRASHES_DEFAULT,
            crash_backoff: Backoff::after_crash(),
            max_deferrals: MAX_DEFERRALS_DEFAULT,
            on_exhausted: ExhaustAction::DeadLetter,
            retry_after_mode: RetryAfterMode::Floor,
            worker_delay_mode: WorkerDelayMode::Exact,
            timeout_growth: 1.0,
            timeout_growth_max: TIMEOUT_GROWTH_MAX_DEFAULT,
        }
    }
}

impl Policy {
    /// The rule of this id, where there is one.
    #[must_use]
    pub fn rule(&self, id: &str) -> Option<&Rule> {
        self.rules.iter().find(|rule| &*rule.id == id)
    }
}

/// A growing wait: shape, then floor, then cap, then jitter, then granularity.
#[derive(Clone, Debug, PartialEq)]
pub struct Backoff {
    /// How the base delay grows.
    pub shape: Shape,
    /// No base delay is shorter.
    pub min_ms: u64,
    /// No base delay is longer.
    pub max_ms: u64,
    /// How it is spread.
    pub jitter: Jitter,
    /// Delays are rounded down to a multiple of this; at least 1.
    pub granularity_ms: u64,
}

impl Backoff {
    /// A backoff of this shape that says nothing else: no floor, a cap of ten years, full jitter
    /// (none beside the decorrelated shape, which is jitter in itself), milliseconds.
    #[must_use]
    pub fn of(shape: Shape) -> Self {
        let jitter = match shape {
            Shape::Decorrelated { .. } => Jitter::None,
            Shape::Exponential { .. }
            | Shape::Fixed { .. }
            | Shape::Linear { .. }
            | Shape::Polynomial { .. }
            | Shape::Delays(_) => Jitter::Full,
        };
        Self {
            shape,
            min_ms: 0,
            max_ms: limits::DELAY_MS_MAX,
            jitter,
            granularity_ms: 1,
        }
    }

    /// What an unset `crash_backoff` means: exponential from 1 s, doubling, at most 60 s, full
    /// jitter.
    #[must_use]
    pub fn after_crash() -> Self {
        Self {
            max_ms: 60_000,
            ..Self::default()
        }
    }
}

impl Default for Backoff {
    /// What an unset `backoff` means: exponential from 1 s, doubling, at most 600 s, full jitter.
    fn default() -> Self {
        Self {
            max_ms: 600_000,
            ..Self::of(Shape::doubling(1000))
        }
    }
}

/// How a base delay grows with n, the retries already made.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// base + initial * multiplier^n; after `doublings_max` multiplications (0: no end) linear by
    /// the step reached.
    Exponential {
        /// The delay at n = 0.
        initial_ms: u64,
        /// The growth.
        multiplier: f64,
        /// Where the growth turns linear; 0 for never.
        doublings_max: u32,
        /// Added to every delay.
        base_ms: u64,
    },
    /// Always the same.
    Fixed {
        /// The delay.
        delay_ms: u64,
    },
    /// initial + n * step.
    Linear {
        /// The delay at n = 0.
        initial_ms: u64,
        /// Added for each further retry.
        step_ms: u64,
    },
    /// base + scale * (n + offset)^degree.
    Polynomial {
        /// Added to every delay.
        base_ms: u64,
        /// The unit that is multiplied.
        scale_ms: u64,
        /// The exponent, 1 to 8.
        degree: u32,
        /// Added to n.
        offset: u32,
    },
    /// These; the last one repeats.
    Delays(Arc<[u64]>),
    /// uniform(base, 3 * previous delay).
    Decorrelated {
        /// The shortest delay, and the previous one of the first retry.
        base_ms: u64,
    },
}

impl Shape {
    /// initial * 2^n.
    #[must_use]
    pub const fn doubling(initial_ms: u64) -> Self {
        Self::Exponential {
            initial_ms,
            multiplier: 2.0,
            doublings_max: 0,
            base_ms: 0,
        }
    }
}

/// How a delay d is spread; u is uniform in [0, 1). Documented on `JitterMode` of the proto.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Jitter {
    /// d.
    None,
    /// u * d.
    Full,
    /// d/2 + u * d/2.
    Equal,
    /// d + u * ratio * d.
    Additive {
        /// The share.
        ratio: f64,
    },
    /// d - ratio * d + u * 2 * ratio * d.
    Symmetric {
        /// The share.
        ratio: f64,
    },
    /// d + u * per_attempt * (n + 1).
    PerAttempt {
        /// The unit that is multiplied.
        per_attempt_ms: u64,
    },
    /// d - u * ratio * d.
    Below {
        /// The share.
        ratio: f64,
    },
}

/// An exception in a policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Its name in histories and previews, unique in the policy.
    pub id: Arc<str>,
    /// Which failures it speaks of.
    pub matches: Match,
    /// What it does.
    pub action: RuleAction,
    /// The wait; `None` means the policy's.
    pub backoff: Option<Backoff>,
    /// Its own limit, on its own counter, in place of the policy's limit: failures that it may see,
    /// the last of which ends the task (the retries that it grants, plus one). A crash is none of
    /// them. 0 means the policy's limit.
    pub max_attempts: u32,
    /// A retry by this rule is counted as a deferral and uses up no attempt.
    pub spares_attempts: bool,
    /// What a failure's retry_after does where this rule decides; `None` means as the policy says.
    pub retry_after_mode: Option<RetryAfterMode>,
    /// The queue, in the task's namespace, where a dead letter of this rule goes on; `None` means
    /// that of the kind or queue.
    pub dead_letter_queue: Option<Arc<str>>,
}

impl Rule {
    /// A rule of this id and action for what matches, that says nothing else.
    #[must_use]
    pub fn new(id: &str, matches: Match, action: RuleAction) -> Self {
        Self {
            id: id.into(),
            matches,
            action,
            backoff: None,
            max_attempts: 0,
            spares_attempts: false,
            retry_after_mode: None,
            dead_letter_queue: None,
        }
    }
}

/// Which failures a rule speaks of: all that is set must match, what is empty matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Match {
    /// Any of these classes.
    pub classes: Vec<FailureClass>,
    /// Any of these google.rpc.Code numbers.
    pub codes: Vec<i32>,
    /// Any of these types or ancestors; a trailing '*' matches any rest.
    pub error_types: Vec<Arc<str>>,
    /// None of these.
    pub exclude_error_types: Vec<Arc<str>>,
    /// From this attempt; 0 from the first.
    pub attempt_min: u32,
    /// To this attempt; 0 to the last.
    pub attempt_max: u32,
}

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleAction {
    /// Try again.
    Retry,
    /// End as failed.
    Fail,
    /// Dead-letter at once.
    DeadLetter,
    /// End as discarded.
    Discard,
}

/// What becomes of a task whose attempts are spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExhaustAction {
    /// Keep it as a dead letter.
    DeadLetter,
    /// End it as failed.
    Fail,
    /// End it as discarded.
    Discard,
}

/// What a failure's retry_after does; a failure without one waits as the backoff says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryAfterMode {
    /// The wait is at least that, plus up to 10 %.
    Floor,
    /// The wait is that.
    Exact,
    /// Nothing.
    Ignore,
    /// The wait is that, plus up to 10 %, in place of the backoff.
    Instead,
}

/// What the delay in a worker's Retry report does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkerDelayMode {
    /// It is the wait.
    Exact,
    /// It is the wait, cut to the backoff's max.
    Clamp,
}

/// The policy that a task or queue brings.
#[derive(Clone, Debug, PartialEq)]
pub enum PolicyRef {
    /// One of the named policies.
    Named(Arc<Policy>),
    /// One of its own.
    Inline(Arc<Policy>),
}

impl Policy {
    /// What it takes in memory, for accounting.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let rules = self.rules.iter().map(Rule::bytes);
        let parts = [
            size_of::<Self>(),
            self.name.len(),
            self.description.len(),
            self.backoff.bytes(),
            self.crash_backoff.bytes(),
        ];
        parts.into_iter().chain(rules).sum()
    }
}

impl Backoff {
    /// What it takes besides itself.
    fn bytes(&self) -> usize {
        match &self.shape {
            Shape::Delays(delays) => size_of_val::<[u64]>(delays),
            Shape::Exponential { .. }
            | Shape::Fixed { .. }
            | Shape::Linear { .. }
            | Shape::Polynomial { .. }
            | Shape::Decorrelated { .. } => 0,
        }
    }
}

impl Rule {
    fn bytes(&self) -> usize {
        let matches = &self.matches;
        let types = matches
            .error_types
            .iter()
            .chain(&matches.exclude_error_types);
        let types = types.flat_map(|text| [text.len(), size_of::<Arc<str>>()]);
        let parts = [
            size_of::<Self>(),
            self.id.len(),
            size_of_val(matches.classes.as_slice()),
            size_of_val(matches.codes.as_slice()),
            self.backoff.as_ref().map_or(0, Backoff::bytes),
        ];
        parts.into_iter().chain(types).sum()
    }
}

impl PolicyRef {
    /// The policy itself.
    #[must_use]
    pub fn policy(&self) -> &Arc<Policy> {
        match self {
            Self::Named(policy) | Self::Inline(policy) => policy,
        }
    }
}
