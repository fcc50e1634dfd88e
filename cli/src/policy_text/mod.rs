//! Retry policies in words: what a policy says, and what a preview of it means.
//!
//! Pure: protos in, text out. Never computes a delay; the coordinator's judge does.

#[cfg(test)]
mod tests;

use std::time::Duration;

use redrive_proto::v1::{self, backoff::Shape};

use crate::output::{
    Table, human,
    table::{Column, Style, details},
};

/// A cap this long is no cap.
const NO_CAP: Duration = Duration::from_secs(10 * 365 * 24 * 3_600);

/// A policy: its settings, then its rules.
pub(crate) fn policy(style: &Style, policy: &v1::RetryPolicy) -> String {
    let mut text = details(
        style,
        &[
            ("Name", policy.name.clone()),
            ("Description", policy.description.clone()),
            ("Attempts", limit(policy.max_attempts)),
            (
                "Backoff",
                policy.backoff.as_ref().map(backoff).unwrap_or_default(),
            ),
            ("Retries until", retry_duration(policy)),
            ("Crashes", limit(policy.max_crashes)),
            (
                "Crash backoff",
                policy
                    .crash_backoff
                    .as_ref()
                    .map(backoff)
                    .unwrap_or_default(),
            ),
            ("Deferrals", limit(policy.max_deferrals)),
            (
                "When spent",
                lower(policy.on_exhausted().as_str_name(), "EXHAUST_ACTION_"),
            ),
            (
                "Retry-After",
                retry_after(policy.retry_after_mode()).to_owned(),
            ),
            ("Timeouts", timeouts(policy)),
        ],
    );
    if !policy.rules.is_empty() {
        text.push_str("\n\n");
        text.push_str(&rules(style, &policy.rules));
    }
    text
}

/// The named policies, one a line.
pub(crate) fn list(style: &Style, policies: &[v1::RetryPolicy]) -> String {
    let columns = [
        Column::Whole("NAME"),
        Column::Number("ATTEMPTS"),
        Column::Number("RULES"),
        Column::Text("BACKOFF"),
    ];
    let mut table = Table::new(style, &columns);
    for policy in policies {
        table.row([
            policy.name.clone(),
            limit(policy.max_attempts),
            policy.rules.len().to_string(),
            policy.backoff.as_ref().map(backoff).unwrap_or_default(),
        ]);
    }
    table.render()
}

/// What a policy does attempt by attempt, then when it gives up. `policy` is the policy itself,
/// where it is known, for hints.
pub(crate) fn preview(
    style: &Style,
    preview: &v1::PreviewRetryPolicyResponse,
    policy: Option<&v1::RetryPolicy>,
) -> String {
    let columns = [
        Column::Number("ATTEMPT"),
        Column::Text("RULE"),
        Column::Number("BASE"),
        Column::Number("MIN"),
        Column::Number("MEAN"),
        Column::Number("MAX"),
        Column::Number("CUMULATIVE"),
    ];
    let mut table = Table::new(style, &columns);
    let mut latest = Duration::ZERO;
    for step in &preview.steps {
        let waits = step.max.is_some();
        latest = latest.saturating_add(span(step.max.as_ref()));
        let rule = if step.rule.is_empty() {
            "-".to_owned()
        } else {
            step.rule.clone()
        };
        let shown = |span: Option<&prost_types::Duration>| {
            span.map_or_else(|| "-".to_owned(), human::proto_span)
        };
        table.row([
            step.attempt.to_string(),
            rule,
            shown(step.base.as_ref()),
            shown(step.min.as_ref()),
            shown(step.mean.as_ref()),
            shown(step.max.as_ref()),
            if waits {
                human::span(latest)
            } else {
                "gives up".to_owned()
            },
        ]);
    }
    let mut text = table.render();
    text.push_str("\n\n");
    text.push_str(&verdict(preview));
    for hint in [immediate_hint(preview), cap_hint(preview, policy)]
        .into_iter()
        .flatten()
    {
        text.push_str("\nhint: ");
        text.push_str(&hint);
    }
    text
}

/// When and how it ends, in one sentence.
pub(crate) fn verdict(preview: &v1::PreviewRetryPolicyResponse) -> String {
    let shown = preview.steps.len();
    let ends_as = &preview.ends_as;
    match (&preview.give_up_max, &preview.give_up_mean) {
        _ if ends_as.is_empty() => {
            format!("does not give up within the {shown} attempts shown (--attempts shows more)")
        }
        (Some(most), Some(mean)) if shown > 1 => format!(
            "gives up after at most {} (mean {}) as {ends_as}",
            human::proto_span(most),
            human::proto_span(mean)
        ),
        (_, _) => format!("gives up at the first failure as {ends_as}"),
    }
}

fn immediate_hint(preview: &v1::PreviewRetryPolicyResponse) -> Option<String> {
    let can_be_zero = |step: &v1::PreviewStep| {
        span(step.min.as_ref()).is_zero() && !span(step.max.as_ref()).is_zero()
    };
    let hint = "a delay can be drawn as 0s; jitter EQUAL never waits less than half";
    preview
        .steps
        .iter()
        .any(can_be_zero)
        .then(|| hint.to_owned())
}

/// Says so where there is one cap, and no delay before jitter gets as long.
fn cap_hint(
    preview: &v1::PreviewRetryPolicyResponse,
    policy: Option<&v1::RetryPolicy>,
) -> Option<String> {
    let policy = policy?;
    let waits: Vec<(Duration, Duration)> = preview
        .steps
        .iter()
        .filter_map(|step| Some((span(Some(step.base.as_ref()?)), cap_of(policy, &step.rule))))
        .collect();
    let (longest, cap) = waits.iter().copied().max()?;
    let is_cap = !cap.is_zero() && cap < NO_CAP && waits.iter().all(|(_, other)| *other == cap);
    (is_cap && longest < cap && !preview.ends_as.is_empty()).then(|| {
        let (cap, longest) = (human::span(cap), human::span(longest));
        format!("the cap of {cap} is never reached: the longest base delay is {longest}")
    })
}

/// The longest delay before jitter that the rule allows, or the policy where no rule decided.
fn cap_of(policy: &v1::RetryPolicy, rule: &str) -> Duration {
    let own = policy
        .rules
        .iter()
        .find(|it| it.id == rule)
        .and_then(|it| it.backoff.as_ref());
    let backoff = own.or(policy.backoff.as_ref());
    span(backoff.and_then(|backoff| backoff.max.as_ref()))
}

fn rules(style: &Style, rules: &[v1::RetryRule]) -> String {
    let columns = [
        Column::Whole("RULE"),
        Column::Text("MATCHES"),
        Column::Text("ACTION"),
        Column::Number("ATTEMPTS"),
        Column::Text("WAIT"),
    ];
    let mut table = Table::wrapped(style, &columns);
    for rule in rules {
        table.row([
            rule.id.clone(),
            matches(rule.r#match.as_ref()),
            lower(rule.action().as_str_name(), "RULE_ACTION_"),
            if rule.max_attempts == 0 {
                String::new()
            } else {
                rule.max_attempts.to_string()
            },
            wait(rule),
        ]);
    }
    table.render()
}

/// How long a rule lets a task wait, where it differs from the policy, and at whose cost.
fn wait(rule: &v1::RetryRule) -> String {
    let mode = rule.retry_after_mode();
    let says = mode != v1::RetryAfterMode::Unspecified;
    let parts = [
        rule.backoff.as_ref().map(backoff),
        says.then(|| format!("a Retry-After is {}", retry_after(mode))),
        rule.spares_attempts
            .then(|| "uses up no attempt of the task".to_owned()),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    parts.join("; ")
}

fn matches(wanted: Option<&v1::FailureMatch>) -> String {
    let Some(wanted) = wanted else {
        return "everything".to_owned();
    };
    let mut parts: Vec<String> = Vec::new();
    let classes: Vec<String> = wanted
        .classes()
        .map(|class| human::enum_name(class.as_str_name(), "FAILURE_CLASS_"))
        .collect();
    parts.extend((!classes.is_empty()).then(|| classes.join("|")));
    let codes: Vec<String> = wanted
        .codes
        .iter()
        .map(|code| format!("code {code}"))
        .collect();
    parts.extend((!codes.is_empty()).then(|| codes.join("|")));
    let types = &wanted.error_types;
    parts.extend((!types.is_empty()).then(|| types.join("|")));
    let excluded = &wanted.exclude_error_types;
    parts.extend((!excluded.is_empty()).then(|| format!("not {}", excluded.join("|"))));
    parts.extend((wanted.attempt_min > 0).then(|| format!("attempt >= {}", wanted.attempt_min)));
    parts.extend((wanted.attempt_max > 0).then(|| format!("attempt <= {}", wanted.attempt_max)));
    if parts.is_empty() {
        "everything".to_owned()
    } else {
        parts.join(" and ")
    }
}

/// A backoff in words: "exponential from 1s, x2, at most 10m, full jitter".
pub(crate) fn backoff(backoff: &v1::Backoff) -> String {
    let mut parts = vec![shape(backoff.shape.as_ref())];
    let (min, max) = (span(backoff.min.as_ref()), span(backoff.max.as_ref()));
    parts.extend((!min.is_zero()).then(|| format!("at least {}", human::span(min))));
    let capped = !max.is_zero() && max < NO_CAP;
    parts.extend(capped.then(|| format!("at most {}", human::span(max))));
    if !matches!(backoff.shape, Some(Shape::Decorrelated(_))) {
        parts.push(jitter(backoff.jitter.as_ref()));
    }
    let granularity = span(backoff.granularity.as_ref());
    let coarse = granularity > Duration::from_millis(1);
    parts.extend(coarse.then(|| format!("multiples of {}", human::span(granularity))));
    parts.join(", ")
}

fn shape(shape: Option<&Shape>) -> String {
    let plus = |base: Option<&prost_types::Duration>| match span(base) {
        Duration::ZERO => String::new(),
        base => format!("{} + ", human::span(base)),
    };
    let of = |value: Option<&prost_types::Duration>| human::span(span(value));
    match shape {
        None => "none".to_owned(),
        Some(Shape::Exponential(it)) => {
            let growth = if it.multiplier == 0.0 {
                2.0
            } else {
                it.multiplier
            };
            let linear = match it.doublings_max {
                0 => String::new(),
                times => format!(" {times} times, then linear"),
            };
            let base = plus(it.base.as_ref());
            format!(
                "{base}exponential from {}, x{growth}{linear}",
                of(it.initial.as_ref())
            )
        }
        Some(Shape::Fixed(it)) => format!("fixed {}", of(it.delay.as_ref())),
        Some(Shape::Linear(it)) => {
            format!(
                "linear from {}, +{}",
                of(it.initial.as_ref()),
                of(it.step.as_ref())
            )
        }
        Some(Shape::Polynomial(it)) => {
            let base = plus(it.base.as_ref());
            let offset = if it.offset == 0 {
                String::new()
            } else {
                format!("+{}", it.offset)
            };
            format!(
                "{base}{} * (n{offset})^{}",
                of(it.scale.as_ref()),
                it.degree
            )
        }
        Some(Shape::Delays(it)) => {
            let delays: Vec<String> = it.delays.iter().map(human::proto_span).collect();
            delays.join(" ")
        }
        Some(Shape::Decorrelated(it)) => format!("decorrelated from {}", of(it.base.as_ref())),
    }
}

fn jitter(jitter: Option<&v1::Jitter>) -> String {
    let Some(jitter) = jitter else {
        return "full jitter".to_owned();
    };
    let percent = || format!("{}%", jitter.ratio * 100.0);
    match jitter.mode() {
        v1::JitterMode::None => "no jitter".to_owned(),
        v1::JitterMode::Unspecified | v1::JitterMode::Full => "full jitter".to_owned(),
        v1::JitterMode::Equal => "equal jitter".to_owned(),
        v1::JitterMode::Additive => format!("up to {} more", percent()),
        v1::JitterMode::Symmetric => format!("+-{}", percent()),
        v1::JitterMode::Below => format!("up to {} less", percent()),
        v1::JitterMode::PerAttempt => {
            let unit = human::maybe_span(jitter.per_attempt.as_ref());
            format!("up to {unit} * attempt more")
        }
    }
}

fn retry_after(mode: v1::RetryAfterMode) -> &'static str {
    match mode {
        v1::RetryAfterMode::Unspecified | v1::RetryAfterMode::Floor => "the least wait (+10%)",
        v1::RetryAfterMode::Exact => "the wait",
        v1::RetryAfterMode::Ignore => "ignored",
        v1::RetryAfterMode::Instead => "the wait (+10%)",
    }
}

fn retry_duration(policy: &v1::RetryPolicy) -> String {
    policy
        .max_retry_duration
        .as_ref()
        .map(|most| format!("{} after the enqueue", human::proto_span(most)))
        .unwrap_or_default()
}

fn timeouts(policy: &v1::RetryPolicy) -> String {
    if policy.timeout_growth <= 1.0 {
        return String::new();
    }
    let most = if policy.timeout_growth_max == 0.0 {
        4.0
    } else {
        policy.timeout_growth_max
    };
    format!(
        "x{} after each TIMEOUT, up to x{most}",
        policy.timeout_growth
    )
}

fn limit(limit: Option<u32>) -> String {
    match limit {
        None => String::new(),
        Some(0) => "unlimited".to_owned(),
        Some(limit) => limit.to_string(),
    }
}

fn lower(name: &str, prefix: &str) -> String {
    human::enum_name(name, prefix)
        .to_ascii_lowercase()
        .replace('_', " ")
}

fn span(proto: Option<&prost_types::Duration>) -> Duration {
    proto
        .and_then(|it| Duration::try_from(*it).ok())
        .unwrap_or_default()
}
